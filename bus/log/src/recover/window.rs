//! Reads a segment's file forward in large pieces.

use std::io;

use crate::disk::store::Store;
use crate::format::{BLOCK_BYTES_MAX, SECTOR_BYTES};

const WINDOW_BYTES: usize = 4 * BLOCK_BYTES_MAX;

/// A moving window on a segment's file. Its buffer has at most a fixed size, whatever the file
/// says.
pub(super) struct Window<'a> {
    store: &'a dyn Store,
    segment: u64,
    end: u64,
    buffer: Vec<u8>,
    start: u64,
    valid: usize,
}

impl<'a> Window<'a> {
    /// Creates a window that shows nothing at or after `end`.
    pub(super) fn new(store: &'a dyn Store, segment: u64, end: u64) -> Window<'a> {
        Window { store, segment, end, buffer: Vec::new(), start: 0, valid: 0 }
    }

    /// Returns up to `bytes` bytes (at most a largest block) at `offset`, a multiple of a sector.
    /// They are fewer only at the end.
    pub(super) fn at(&mut self, offset: u64, bytes: usize) -> io::Result<&[u8]> {
        let wanted = (bytes as u64).min(self.end.saturating_sub(offset)) as usize;
        let inside = offset >= self.start && offset + wanted as u64 <= self.start + self.valid as u64;
        if !inside {
            // The first read is small, because often one page is enough.
            let ahead = if self.valid == 0 && self.start == 0 { 4 * SECTOR_BYTES } else { WINDOW_BYTES };
            let most = (self.end.saturating_sub(offset)).min(ahead.max(wanted) as u64) as usize;
            if self.buffer.len() < most {
                self.buffer = vec![0; most.max(ahead.min(self.end as usize))];
            }
            self.valid = self.store.read_at(self.segment, offset, &mut self.buffer[..most])?;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        let to = (from + wanted).min(self.valid);
        Ok(self.buffer.get(from..to).unwrap_or(&[]))
    }
}
