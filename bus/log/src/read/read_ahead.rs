//! Reads the next chunk of a file while the last one is checked and used.
//!
//! The kernel reads ahead from the disk. But copying out of the page cache and computing checksums
//! cost about the same. Done one after the other, they make a reader half as fast as the file can
//! be read. So a thread does the copying while the caller does the rest. The thread is started only
//! for a reader that reads a lot in a row. It reads one chunk ahead, and ends with its owner. A
//! chunk may be older than what the file holds when it is used, so a reader that finds it invalid
//! reads again.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::disk::whole::read_full;
use crate::format::BLOCK_BYTES_MAX;

/// Bytes read at once.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// Offset of a chunk in its buffer. The room before it is for the beginning of a block that spans
/// two chunks.
pub(crate) const HEAD_BYTES: usize = BLOCK_BYTES_MAX;
/// Number of chunks in a row after which a thread is worth its cost.
const IN_A_ROW: u32 = 4;

/// The identity of a chunk: a segment's number, and an offset in its file in bytes.
pub(crate) type Which = (u64, u64);

/// Creates a buffer for a chunk.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; HEAD_BYTES + CHUNK_BYTES]
}

struct ReadOrder {
    file: Arc<File>,
    offset: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct ReadAheadThread {
    orders: Sender<ReadOrder>,
    ready: Receiver<(Vec<u8>, io::Result<usize>)>,
    /// The process of the thread, which does not exist in a fork child.
    process: u32,
}

/// Reads ahead. See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    helper: Option<ReadAheadThread>,
    ordered: Option<Which>,
    in_a_row: u32,
    spare: Option<Vec<u8>>,
}

impl ReadAhead {
    /// Returns the chunk if it was ordered: its buffer and how many bytes were read.
    pub(crate) fn take(&mut self, which: Which) -> Option<(Vec<u8>, io::Result<usize>)> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let ordered = self.ordered.take()?;
        let helper = self.helper.as_ref()?;
        if helper.process != std::process::id() {
            // This is a fork child: the thread is not here, and nothing will ever arrive.
            std::mem::forget(self.helper.take());
            self.in_a_row = 0;
            return None;
        }
        let (buffer, read) = helper.ready.recv().ok()?;
        if ordered != which {
            self.spare = Some(buffer);
            self.in_a_row = 0;
            return None;
        }
        Some((buffer, read))
    }

    /// Orders the chunk that will be needed next, if that is worth a thread.
    pub(crate) fn order(&mut self, file: &Arc<File>, which: Which) {
        if self.in_a_row < IN_A_ROW || self.ordered.is_some() {
            return;
        }
        if self.helper.is_none() {
            self.helper = start();
        }
        let Some(helper) = &self.helper else { return };
        let buffer = self.spare.take().unwrap_or_else(buffer);
        let order = ReadOrder { file: Arc::clone(file), offset: which.1, buffer };
        if helper.orders.send(order).is_ok() {
            self.ordered = Some(which);
        }
    }

    /// Takes a buffer back for another use.
    pub(crate) fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.len() == HEAD_BYTES + CHUNK_BYTES {
            self.spare = Some(buffer);
        }
    }
}

/// Starts the thread; `None` where that fails, and reading continues without one.
fn start() -> Option<ReadAheadThread> {
    let (orders, ordered) = channel::<ReadOrder>();
    let (done, ready) = channel();
    let work = move || {
        for ReadOrder { file, offset, mut buffer } in ordered {
            let read = read_full(&file, offset, &mut buffer[HEAD_BYTES..]);
            if done.send((buffer, read)).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("railbus-read".to_owned()).spawn(work).ok()?;
    Some(ReadAheadThread { orders, ready, process: std::process::id() })
}
