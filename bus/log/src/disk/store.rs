//! What a journal asks of the disk.
//!
//! Two views of the same directory. [`Store`] blocks; recovery and readers use it, and the writer when it opens.
//! [`Pipeline`] is how the writer writes: writes and syncs are begun, and complete later, in any order. The real ones
//! are files through io_uring (or `pwrite`); tests run the same writer and the same recovery on a simulated disk that
//! reorders, tears, loses and fails.

use std::io;
use std::time::Duration;

use super::write_again::Unproven;
use crate::format::SegmentHeader;

/// A directory of segment files, without hurry.
pub trait Store {
    /// Numbers of the segments, ascending.
    fn segments(&self) -> io::Result<Vec<u64>>;
    /// Bytes of a segment's file.
    fn length(&self, segment: u64) -> io::Result<u64>;
    /// Reads from `offset` on; returns how many bytes, fewer than asked for only at the end of the file.
    fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;
    /// Writes whole sectors. Durable only after [`sync`](Self::sync).
    fn write_at(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written to a segment durable.
    fn sync(&self, segment: u64) -> io::Result<()>;
    /// Makes a segment, blocking: a zero-filled file with its two header pages, file and name durable on return.
    fn create(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()>;
    /// Makes a segment as [`create`](Self::create) does, of which the last sector holds `seal`. On return, or
    /// when killed on the way, the segment is there with its seal, or not at all.
    ///
    /// # Errors
    /// `Unsupported` by stores that nobody repairs.
    fn create_sealed(&self, header: &SegmentHeader, channel_page: &[u8], seal: &[u8]) -> io::Result<()> {
        let _ = (header, channel_page, seal);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Removes a segment (retention, or a segment that was prepared and never used). Durable on return.
    fn remove(&self, segment: u64) -> io::Result<()>;
    /// Moves a segment out of the journal, so that nothing reads it any more and a person can look at it. Durable on
    /// return.
    fn quarantine(&self, segment: u64) -> io::Result<()>;
    /// Copies bytes of a segment out of the journal, so that a person can look at them after a repair has written over
    /// them. Durable on return.
    ///
    /// # Errors
    /// `Unsupported` by stores that nobody repairs.
    fn keep_aside(&self, segment: u64, offset: u64, bytes: u64) -> io::Result<()> {
        let _ = (segment, offset, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Whether reads see the disk itself. When they come from a cache instead (the default), recovery writes what it
    /// read, but cannot prove to be on disk, once more before it relies on it: after a failed sync a cache may hold,
    /// and call clean, what the disk never got.
    fn reads_the_disk(&self) -> bool {
        false
    }
}

/// What was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// A write of this many bytes of staging block `block`.
    Write {
        /// Which staging block, as given to [`Pipeline::write`].
        block: usize,
    },
    /// A sync of a segment.
    Sync {
        /// The segment.
        segment: u64,
    },
    /// A segment that was asked for is there: zero-filled, its headers and its name durable.
    Prepare {
        /// The segment.
        segment: u64,
    },
}

/// Something that was begun and has ended.
#[derive(Debug)]
pub struct Completion {
    /// What it was.
    pub begun: Begun,
    /// How it ended. A write that succeeded wrote everything: the pipeline resubmits what is missing itself.
    pub result: io::Result<()>,
}

/// The writer's way to the disk. One thread uses it. Nothing is ordered but by completions.
pub trait Pipeline {
    /// How many writes may be in flight at once, at least 1.
    fn depth(&self) -> usize;
    /// The bytes of staging block `block`: [`crate::format::BLOCK_BYTES_MAX`] of them, aligned to a sector.
    /// Not to be changed while a write of it is in flight.
    fn staging(&mut self, block: usize) -> &mut [u8];
    /// How many staging blocks there are.
    fn staging_blocks(&self) -> usize;
    /// Begins to write the first `bytes` (whole sectors) of staging block `block` at `offset` of `segment`.
    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()>;
    /// Begins to make durable every write to `segment` that has completed before this call.
    fn sync(&mut self, segment: u64) -> io::Result<()>;
    /// Checks what is written in a part of a segment, and writes it once more, because a sync of it found no
    /// room: see [`write_again`](super::write_again). Blocks. Nothing may be in flight.
    ///
    /// # Errors `InvalidData` when something of it is lost, `Unsupported` (the default) when it cannot be
    /// read; those of writes.
    fn write_again(&mut self, part: &Unproven) -> io::Result<()> {
        let _ = part;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Asks for the next segment, which is made without holding up writes.
    fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()>;
    /// Says that nothing will be written to `segment` any more. One that was prepared and never written to may be
    /// discarded.
    fn close(&mut self, segment: u64);
    /// Hands over what has ended. Waits for something to end, at most `timeout`; `Some(ZERO)` does not wait. Begun
    /// writes are submitted to the system here at the latest.
    fn complete(&mut self, timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()>;
}
