//! A [`Pipeline`] of plain system calls: `pwrite` and `fdatasync`, in threads that all journals on
//! a disk share.
//!
//! It is for kernels and sandboxes that refuse io_uring. A journal's calls are made one after the
//! other, in the order asked for (`disk_threads.rs`). So a sync covers every write begun before it,
//! and the writer's thread does not wait for the disk. Only one write of a journal is at the disk
//! at a time: expect a third to a half of the throughput of io_uring.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use super::disk_threads::Lane;
use super::write_again::Unproven;
use crate::disk::files::Files;
use crate::disk::lock::Lock;
use crate::disk::open_segments::{SYNCS_MAX, Segments, invalid, too_many};
use crate::disk::prepare::Prepared;
use crate::disk::store::{Begun, Completion, Pipeline};
use crate::disk::whole::write_whole;
use crate::format::SegmentHeader;
use crate::stage::buffers::StageMemory;

/// The pipeline. Dropping it first finishes what was begun, however long the disk takes.
pub struct Blocking {
    /// This is dropped first: it waits for what was begun, which uses the memory.
    lane: Lane,
    tell: Sender<EndedTask>,
    ended: Receiver<EndedTask>,
    segments: Segments,
    memory: StageMemory,
    in_flight: Vec<bool>,
    writes: usize,
    syncs: usize,
    depth: usize,
    _lock: Arc<Lock>,
}

enum Task {
    Write { file: Arc<File>, offset: u64, block: usize, bytes: Bytes },
    Sync { file: Arc<File>, segment: u64 },
}

/// Staging bytes that are being written. No thread changes them until the write is reported.
struct Bytes(*const u8, usize);

// SAFETY: an address and a length of memory of the process. `Blocking::write` says how the memory
// stays valid and unchanged.
unsafe impl Send for Bytes {}

enum EndedTask {
    Io(Completion),
    Prepared(Prepared),
}

impl Blocking {
    /// Creates a pipeline over the staging blocks of `memory` with at most `depth` writes in
    /// flight. `direct` bypasses the page cache.
    ///
    /// # Errors
    /// When there is no thread and none can be started, or after `fork()`.
    pub fn new(
        files: Arc<Files>,
        lock: Arc<Lock>,
        memory: StageMemory,
        depth: usize,
        direct: bool,
    ) -> io::Result<Blocking> {
        let lane = Lane::new(std::fs::metadata(files.path())?.dev())?;
        let (tell, ended) = channel();
        let tell_prepared = tell.clone();
        let segments = Segments::new(files, direct, move |prepared| {
            // There is no receiver while the pipeline is being dropped.
            let _ = tell_prepared.send(EndedTask::Prepared(prepared));
        })?;
        Ok(Blocking {
            lane,
            tell,
            ended,
            segments,
            in_flight: vec![false; memory.blocks()],
            memory,
            writes: 0,
            syncs: 0,
            depth: depth.max(1),
            _lock: lock,
        })
    }

    fn order(&self, order: Task) -> io::Result<()> {
        let tell = self.tell.clone();
        self.lane.give(move || {
            // There is no receiver while the pipeline is being dropped.
            let _ = tell.send(EndedTask::Io(execute(order)));
        })
    }

    fn take(&mut self, ended: EndedTask) -> Completion {
        match ended {
            EndedTask::Prepared(prepared) => self.segments.admit(prepared).1,
            EndedTask::Io(completion) => {
                match completion.begun {
                    Begun::Write { block } => {
                        self.in_flight[block] = false;
                        self.writes -= 1;
                    }
                    _ => self.syncs -= 1,
                }
                completion
            }
        }
    }

    fn waiting(&self) -> bool {
        self.writes > 0 || self.syncs > 0 || self.segments.preparing()
    }
}

fn execute(order: Task) -> Completion {
    match order {
        Task::Write { file, offset, block, bytes } => {
            // SAFETY: the block stays mapped, because the pipeline waits for its lane before it
            // drops the memory. It stays unchanged, because the pipeline returns no reference to a
            // block in flight.
            let bytes = unsafe { std::slice::from_raw_parts(bytes.0, bytes.1) };
            Completion { begun: Begun::Write { block }, result: write_whole(&file, bytes, offset) }
        }
        // Syncs only once: data that a failed sync has lost, a second one would report as durable.
        Task::Sync { file, segment } => {
            Completion { begun: Begun::Sync { segment }, result: file.sync_data() }
        }
    }
}

impl Pipeline for Blocking {
    fn depth(&self) -> usize {
        self.depth
    }

    fn staging(&mut self, block: usize) -> &mut [u8] {
        assert!(!self.in_flight[block], "staging block {block} is being written");
        self.memory.block(block)
    }

    fn staging_blocks(&self) -> usize {
        self.memory.blocks()
    }

    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()> {
        if self.in_flight.get(block) != Some(&false) {
            return Err(invalid(format!("staging block {block} is not there, or being written")));
        }
        if self.writes >= self.depth {
            return Err(too_many("writes", self.depth));
        }
        let (place, _) = self.segments.find_or_open(segment)?;
        self.segments.check_write(place, offset, bytes)?;
        let Some(open) = self.segments.at(place) else { return Err(io::ErrorKind::NotFound.into()) };
        let order = Task::Write {
            file: open.file.clone(),
            offset,
            block,
            bytes: Bytes(self.memory.address(block), bytes),
        };
        self.order(order)?;
        self.segments.consumed(bytes);
        self.in_flight[block] = true;
        self.writes += 1;
        Ok(())
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        if self.syncs >= SYNCS_MAX {
            return Err(too_many("syncs", SYNCS_MAX));
        }
        let (place, _) = self.segments.find_or_open(segment)?;
        let Some(open) = self.segments.at(place) else { return Err(io::ErrorKind::NotFound.into()) };
        self.order(Task::Sync { file: open.file.clone(), segment })?;
        self.syncs += 1;
        Ok(())
    }

    fn write_again(&mut self, part: &Unproven) -> io::Result<()> {
        self.segments.write_again(part)
    }

    fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        self.segments.prepare(header, channel_page)
    }

    fn close(&mut self, segment: u64) {
        self.segments.close(segment);
    }

    fn complete(&mut self, timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()> {
        let before = ended.len();
        loop {
            match self.ended.try_recv() {
                Ok(one) => {
                    let completion = self.take(one);
                    ended.push(completion);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the threads that write to the disk have ended"));
                }
            }
        }
        if ended.len() > before || !self.waiting() || timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        let one = match timeout {
            None => self.ended.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(timeout) => self.ended.recv_timeout(timeout),
        };
        match one {
            Ok(one) => {
                let completion = self.take(one);
                ended.push(completion);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the threads that write to the disk have ended"))
            }
        }
    }
}
