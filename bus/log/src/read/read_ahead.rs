//! Reads the next chunk of a file while the last one is checked and looked at.
//!
//! The kernel reads ahead from the disk; but copying out of the page cache and computing checksums cost about the same,
//! and one after the other they make a reader half as fast as the file can be read. So a thread does the one while the
//! caller does the other. It is started for those who read a lot in a row, has one chunk in hand, and ends with its
//! owner. What it reads may be older than what the file holds by the time it is looked at: whoever finds it invalid reads
//! again.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::disk::whole::read_full;
use crate::format::BLOCK_BYTES_MAX;

/// Bytes read at once.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// A chunk begins here in its buffer: before it is room for the beginning of a block that spans two chunks.
pub(crate) const HEAD_BYTES: usize = BLOCK_BYTES_MAX;
/// Chunks in a row after which it is worth a thread.
const IN_A_ROW: u32 = 4;

/// Which chunk: a segment's number, and an offset in its file.
pub(crate) type Which = (u64, u64);

/// A buffer for a chunk.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; HEAD_BYTES + CHUNK_BYTES]
}

struct Order {
    file: Arc<File>,
    offset: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Helper {
    orders: Sender<Order>,
    ready: Receiver<(Vec<u8>, io::Result<usize>)>,
    /// A thread does not follow its process into a fork child.
    process: u32,
}

/// Reads ahead. See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    helper: Option<Helper>,
    ordered: Option<Which>,
    in_a_row: u32,
    spare: Option<Vec<u8>>,
}

impl ReadAhead {
    /// The chunk, if it was ordered: its buffer and how many bytes were read.
    pub(crate) fn take(&mut self, which: Which) -> Option<(Vec<u8>, io::Result<usize>)> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let ordered = self.ordered.take()?;
        let helper = self.helper.as_ref()?;
        if helper.process != std::process::id() {
            // What this handle holds of the thread is of no use here, and nothing will ever come.
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

    /// Orders the chunk that will be wanted next, if it is worth it.
    pub(crate) fn order(&mut self, file: &Arc<File>, which: Which) {
        if self.in_a_row < IN_A_ROW || self.ordered.is_some() {
            return;
        }
        if self.helper.is_none() {
            self.helper = start();
        }
        let Some(helper) = &self.helper else { return };
        let buffer = self.spare.take().unwrap_or_else(buffer);
        let order = Order { file: Arc::clone(file), offset: which.1, buffer };
        if helper.orders.send(order).is_ok() {
            self.ordered = Some(which);
        }
    }

    /// Takes a buffer back.
    pub(crate) fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.len() == HEAD_BYTES + CHUNK_BYTES {
            self.spare = Some(buffer);
        }
    }
}

/// The thread; `None` where there can be none, and reading goes on without.
fn start() -> Option<Helper> {
    let (orders, ordered) = channel::<Order>();
    let (done, ready) = channel();
    let work = move || {
        for Order { file, offset, mut buffer } in ordered {
            let read = read_full(&file, offset, &mut buffer[HEAD_BYTES..]);
            if done.send((buffer, read)).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("railbus-read".to_owned()).spawn(work).ok()?;
    Some(Helper { orders, ready, process: std::process::id() })
}
