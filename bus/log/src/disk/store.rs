//! The traits through which a journal uses the disk.
//!
//! They are two views of the same directory. [`Store`] blocks; recovery and readers use it, and the
//! writer when it opens. [`Pipeline`] is how the writer writes: it begins writes and syncs, which
//! complete later and in any order. The real implementations are files through io_uring (or
//! `pwrite`). Tests run the same writer and the same recovery on a simulated disk that reorders,
//! tears, loses and fails.

use std::io;
use std::time::Duration;

use super::write_again::Unproven;
use crate::format::SegmentHeader;

/// A directory of segment files, with blocking calls.
pub trait Store {
    /// Returns the numbers of the segments, ascending.
    fn segments(&self) -> io::Result<Vec<u64>>;
    /// Returns the size of a segment's file, in bytes.
    fn length(&self, segment: u64) -> io::Result<u64>;
    /// Reads from `offset` on, and returns the number of bytes read. They are fewer than asked for
    /// only at the end of the file.
    fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;
    /// Writes whole sectors. They are durable only after [`sync`](Self::sync).
    fn write_at(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written to a segment.
    fn sync(&self, segment: u64) -> io::Result<()>;
    /// Makes a segment: a zero-filled file with its two header pages. File and name are durable on
    /// return.
    fn create(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()>;
    /// Makes a segment as [`create`](Self::create) does, with `seal` in its last sector. After the
    /// call, or after a kill during it, the segment exists with its seal, or does not exist at all.
    ///
    /// # Errors
    /// `Unsupported` (the default) for stores on which no repair runs.
    fn create_sealed(&self, header: &SegmentHeader, channel_page: &[u8], seal: &[u8]) -> io::Result<()> {
        let _ = (header, channel_page, seal);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Removes a segment, by retention or because it was prepared and never used. Durable on
    /// return.
    fn remove(&self, segment: u64) -> io::Result<()>;
    /// Moves a segment out of the journal, so that nothing reads it any more and a person can
    /// examine it. Durable on return.
    fn quarantine(&self, segment: u64) -> io::Result<()>;
    /// Copies bytes of a segment out of the journal, so that a person can examine them after a
    /// repair has written over them. Durable on return.
    ///
    /// # Errors
    /// `Unsupported` (the default) for stores on which no repair runs.
    fn keep_aside(&self, segment: u64, offset: u64, bytes: u64) -> io::Result<()> {
        let _ = (segment, offset, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Whether reads see the disk itself; the default is that they come from a cache. After a
    /// failed sync a cache may hold pages, and call them clean, that the disk never got. So before
    /// recovery relies on such data, it writes once more what it cannot prove to be on disk.
    fn reads_the_disk(&self) -> bool {
        false
    }
}

/// The operation that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// A write of staging block `block`.
    Write {
        /// The staging block, as passed to [`Pipeline::write`].
        block: usize,
    },
    /// A sync of a segment.
    Sync {
        /// The segment.
        segment: u64,
    },
    /// The preparation of a segment. When it succeeds, the file is zero-filled, and its headers and
    /// its name are durable.
    Prepare {
        /// The segment.
        segment: u64,
    },
}

/// An operation that has ended.
#[derive(Debug)]
pub struct Completion {
    /// The operation.
    pub begun: Begun,
    /// The result. A write that succeeded wrote everything: the pipeline itself resubmits the rest
    /// of a short write.
    pub result: io::Result<()>,
}

/// The writer's way to the disk. One thread uses it. Only completions order operations.
pub trait Pipeline {
    /// Returns how many writes may be in flight at once, at least 1.
    fn depth(&self) -> usize;
    /// Returns the bytes of staging block `block`: [`crate::format::BLOCK_BYTES_MAX`] of them,
    /// aligned to a sector. They must not be changed while a write of them is in flight.
    fn staging(&mut self, block: usize) -> &mut [u8];
    /// Returns the number of staging blocks.
    fn staging_blocks(&self) -> usize;
    /// Begins to write the first `bytes` (whole sectors) of staging block `block` at `offset` of
    /// `segment`.
    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()>;
    /// Begins to make durable every write to `segment` that had completed before this call.
    fn sync(&mut self, segment: u64) -> io::Result<()>;
    /// Checks what is written in a part of a segment, and writes it once more, because a sync of it
    /// found no room: see [`write_again`](super::write_again). Blocks. Nothing may be in flight.
    ///
    /// # Errors
    /// `InvalidData` when some of it is lost, `Unsupported` (the default) when it cannot be read,
    /// and the errors of writes.
    fn write_again(&mut self, part: &Unproven) -> io::Result<()> {
        let _ = part;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Asks for the next segment, which is made without delaying writes.
    fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()>;
    /// Declares that nothing will be written to `segment` any more. A segment that was prepared and
    /// never written to may be discarded.
    fn close(&mut self, segment: u64);
    /// Appends the operations that have ended to `ended`. Waits until one ends, at most for
    /// `timeout`; `Some(ZERO)` does not wait, and `None` waits without limit. This call submits
    /// writes that were begun to the system, if they were not submitted before.
    fn complete(&mut self, timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()>;
}
