//! A [`Pipeline`] on io_uring.
//!
//! One thread uses the ring, with these flags:
//!
//! - `SINGLE_ISSUER | DEFER_TASKRUN`: completions are processed when that thread asks for them;
//! - `SUBMIT_ALL`: a failed submission does not hold up those after it.
//!
//! No kernel thread polls. Files and staging memory are registered. With O_DIRECT, writes go
//! straight to the disk. `FSYNC` with `DATASYNC` runs in a worker of the kernel, which can be kept
//! off the publishers' processors ([`UringOptions::worker_cpus`]).
//!
//! ```text
//! registered files   0: the directory's lock | 1..: open segments, by their place in the table
//! user data          kind in the high 32 bits, staging block or place in the table of syncs in the low 32
//! ```
//!
//! **The lock is registered in the ring.** The kernel takes a ring down only after its requests,
//! even if the process was killed. So a process that can take the lock knows that no write of an
//! earlier writer is in flight.
//!
//! Two features are not used: chains of requests (they break on a short write) and polled I/O (it
//! does not support fsync).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};
use railbus_os::eventfd::EventFd;
use railbus_os::fork_window::Hidden;

use super::write_again::Unproven;
use crate::disk::files::Files;
use crate::disk::lock::Lock;
use crate::disk::open_segments::{OPEN_MAX, SYNCS_MAX, Segments, invalid, too_many};
use crate::disk::prepare::Prepared;
use crate::disk::store::{Begun, Completion, Pipeline};
use crate::disk::whole::progress;
use crate::format::SegmentHeader;
use crate::stage::buffers::StageMemory;

/// Slot of the lock in the table of registered files; segments follow.
const LOCK_SLOT: u32 = 0;
const SEGMENT_SLOTS: u32 = 1;
/// Most repetitions of a request for which the kernel had no memory (EAGAIN).
const REPEATS_MAX: u32 = 1000;
/// How long a dropped pipeline waits for what is in flight.
const DROP_WAIT: Duration = Duration::from_secs(10);

const KIND_WRITE: u64 = 1 << 32;
const KIND_SYNC: u64 = 2 << 32;
const KIND_PREPARED: u64 = 3 << 32;
const KIND_NOP: u64 = 4 << 32;
const KIND_MASK: u64 = !0 << 32;

/// The options of the ring.
#[derive(Debug, Clone, Default)]
pub struct UringOptions {
    /// Most writes in flight; at least 1.
    pub depth: usize,
    /// Whether to bypass the page cache.
    pub direct: bool,
    /// The processors of the kernel's workers, which execute fsync. `None` means those of the
    /// writer's thread.
    pub worker_cpus: Option<Vec<usize>>,
}

/// The features of io_uring that this kernel lacks. The pipeline works without them, but slower.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UringReport {
    /// Why the ring has other flags than those named in this file's head.
    pub plain_ring: Option<String>,
    /// Why the staging memory is not registered.
    pub unregistered_memory: Option<String>,
}

/// The pipeline. It may be moved to another thread before its first use, and not after.
///
/// Dropping it waits for what is in flight, but not longer than 10 s. The lock stays taken until
/// the kernel has finished.
pub struct Uring {
    // This is dropped first. After that, nothing in flight uses the fields that follow.
    ring: Hidden<IoUring>,
    begun: bool,
    fixed_memory: bool,
    segments: Segments,
    memory: StageMemory,
    /// The write in flight of each staging block.
    writes: Vec<Option<WriteRequest>>,
    writes_in_flight: usize,
    syncs: [Option<SyncRequest>; SYNCS_MAX],
    /// For each place in the table of segments: the number of requests in flight, and whether the
    /// segment is to be closed after them.
    uses: [usize; OPEN_MAX],
    closing: [bool; OPEN_MAX],
    /// From the helper that prepares segments; it signals `event`.
    prepared: Receiver<Prepared>,
    event: Arc<EventFd>,
    /// Whether the ring is waiting for `event`.
    listening: bool,
    worker_cpus: Option<Vec<usize>>,
    depth: usize,
    _lock: Arc<Lock>,
}

#[derive(Clone, Copy)]
struct WriteRequest {
    place: usize,
    offset: u64,
    bytes: usize,
    done: usize,
    repeats: u32,
}

#[derive(Clone, Copy)]
struct SyncRequest {
    place: usize,
    segment: u64,
}

/// Makes a ring and does one request on it. The error says why io_uring cannot be used.
///
/// # Errors
/// The error of the system call that io_uring refused.
pub fn probe() -> io::Result<()> {
    let (mut ring, _) = make_ring(2)?;
    begin(&mut ring)
}

/// Makes a ring that must not be used before [`begin`], and says why it has fewer flags than it
/// should.
fn make_ring(entries: u32) -> io::Result<(Hidden<IoUring>, Option<String>)> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_r_disabled();
    let mut best = builder.clone();
    best.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
    let (ring, plain) = match Hidden::open(|| best.build(entries)) {
        Ok(ring) => (ring, None),
        // The kernel is older than Linux 6.1.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let why =
                format!("this kernel knows no SINGLE_ISSUER and DEFER_TASKRUN ({error}); Linux 6.1 does");
            (Hidden::open(|| builder.build(entries))?, Some(why))
        }
        Err(error) => return Err(error),
    };
    if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel's io_uring cannot wait with a timeout; Linux 5.11 can",
        ));
    }
    Ok((ring, plain))
}

/// Makes the ring belong to the calling thread, with a request that does nothing.
fn begin(ring: &mut IoUring) -> io::Result<()> {
    ring.submitter().register_enable_rings()?;
    // SAFETY: this request touches no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build().user_data(KIND_NOP)) }
        .map_err(io::Error::other)?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    match ring.completion().next() {
        Some(done) if done.result() >= 0 => Ok(()),
        Some(done) => Err(io::Error::from_raw_os_error(-done.result())),
        None => Err(io::Error::other("io_uring lost a request")),
    }
}

impl Uring {
    /// Creates a pipeline over the staging blocks of `memory`. Fails where io_uring is refused or
    /// too old, and then returns `memory`.
    pub fn new(
        files: Arc<Files>,
        lock: Arc<Lock>,
        memory: StageMemory,
        options: &UringOptions,
    ) -> Result<(Uring, UringReport), (io::Error, StageMemory)> {
        // The ring must have room for all requests that can be in flight: writes, syncs, and
        // waiting for the helper.
        let depth = options.depth.clamp(1, memory.blocks());
        let entries = (depth + SYNCS_MAX + 1).next_power_of_two() as u32;
        let made = make_ring(entries).and_then(|(ring, plain_ring)| {
            let submitter = ring.submitter();
            let mut slots = [-1; SEGMENT_SLOTS as usize + OPEN_MAX];
            slots[LOCK_SLOT as usize] = lock.as_fd().as_raw_fd();
            submitter.register_files(&slots)?;
            let buffer = libc::iovec { iov_base: memory.base().as_ptr().cast(), iov_len: memory.bytes() };
            // SAFETY: the memory is mapped as long as `memory` lives, which is dropped after the
            // ring.
            let registered = unsafe { submitter.register_buffers(&[buffer]) };
            let unregistered_memory = registered.err().map(|error| match error.raw_os_error() {
                Some(libc::ENOMEM) => format!("{error}: raise the limit of locked memory (ulimit -l)"),
                _ => error.to_string(),
            });
            let (tell, prepared) = channel();
            let event = Arc::new(EventFd::new()?);
            let signal = event.clone();
            let segments = Segments::new(files, options.direct, move |one| {
                // There is no receiver while the pipeline is being dropped.
                let _ = tell.send(one);
                let _ = signal.signal();
            })?;
            Ok((ring, UringReport { plain_ring, unregistered_memory }, prepared, event, segments))
        });
        let (ring, report, prepared, event, segments) = match made {
            Ok(made) => made,
            Err(error) => return Err((error, memory)),
        };
        let pipeline = Uring {
            ring,
            begun: false,
            fixed_memory: report.unregistered_memory.is_none(),
            segments,
            writes: vec![None; memory.blocks()],
            memory,
            writes_in_flight: 0,
            syncs: [None; SYNCS_MAX],
            uses: [0; OPEN_MAX],
            closing: [false; OPEN_MAX],
            prepared,
            event,
            listening: false,
            worker_cpus: options.worker_cpus.clone(),
            depth,
            _lock: lock,
        };
        Ok((pipeline, report))
    }

    /// Prepares the first use: from here on the ring belongs to the calling thread.
    fn begin(&mut self) -> io::Result<()> {
        if self.ring.is_forked() {
            return Err(io::Error::other("this journal was opened before fork(), and is the parent's"));
        }
        if self.begun {
            return Ok(());
        }
        begin(&mut self.ring)?;
        if let Some(cpus) = &self.worker_cpus {
            self.ring.submitter().register_iowq_aff(&cpu_set(cpus)?)?;
        }
        self.begun = true;
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what the entry refers to outlives the request. Files are registered. The staging
        // memory is mapped until after the ring is gone, and no reference to a block is returned
        // while a write of it is in flight.
        let pushed = unsafe { self.ring.submission().push(entry) };
        // This cannot fail, because the ring has room for all requests that may be in flight.
        pushed.map_err(|_| io::Error::other("the submission queue is full"))
    }

    fn push_write(&mut self, block: usize, write: WriteRequest) -> io::Result<()> {
        // SAFETY: `done` is less than `bytes`, which `check_write` has limited to the size of a
        // block.
        let address = unsafe { self.memory.address(block).add(write.done) };
        let length = (write.bytes - write.done) as u32;
        let offset = write.offset + write.done as u64;
        let file = slot(write.place);
        let entry = if self.fixed_memory {
            opcode::WriteFixed::new(file, address, length, 0).offset(offset).build()
        } else {
            opcode::Write::new(file, address, length).offset(offset).build()
        };
        self.push(&entry.user_data(KIND_WRITE | block as u64))?;
        self.writes[block] = Some(write);
        Ok(())
    }

    /// Registers the file of an open segment.
    fn register(&self, place: usize) -> io::Result<()> {
        let Some(open) = self.segments.at(place) else { return Ok(()) };
        let fd = open.file.as_raw_fd();
        self.ring.submitter().register_files_update(SEGMENT_SLOTS + place as u32, &[fd]).map(drop)
    }

    fn find_or_open(&mut self, segment: u64) -> io::Result<usize> {
        self.begin()?;
        let (place, opened) = self.segments.find_or_open(segment)?;
        if opened && let Err(error) = self.register(place) {
            self.segments.close(segment);
            return Err(error);
        }
        self.closing[place] = false;
        Ok(place)
    }

    /// Counts one request less for a segment.
    fn used(&mut self, place: usize) {
        self.uses[place] -= 1;
        if self.uses[place] == 0 && self.closing[place] {
            self.let_go(place);
        }
    }

    fn let_go(&mut self, place: usize) {
        self.closing[place] = false;
        let Some(number) = self.segments.at(place).map(|open| open.number) else { return };
        self.segments.close(number);
        // If this fails, the ring keeps an unused file open until its place is used again.
        let _ = self.ring.submitter().register_files_update(SEGMENT_SLOTS + place as u32, &[-1]);
    }

    fn take_prepared(&mut self, ended: &mut Vec<Completion>) {
        while self.segments.preparing() {
            let Ok(prepared) = self.prepared.try_recv() else { return };
            let (place, completion) = self.segments.admit(prepared);
            if let Some(place) = place
                && self.register(place).is_err()
            {
                self.let_go(place); // The first write opens it, and reports an error if that fails too.
            }
            ended.push(completion);
        }
    }

    /// Makes the ring also wait for the helper.
    fn listen(&mut self) -> io::Result<()> {
        if !self.listening && self.segments.preparing() {
            let fd = types::Fd(self.event.as_fd().as_raw_fd());
            let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).build();
            self.push(&entry.user_data(KIND_PREPARED))?;
            self.listening = true;
        }
        Ok(())
    }

    /// Submits what was pushed. If `wait` is given, also waits for a completion, at most for that
    /// time.
    fn enter(&mut self, wait: Option<Option<Duration>>) -> io::Result<()> {
        let deadline = wait.flatten().map(|timeout| Instant::now() + timeout);
        let mut repeats = 0;
        loop {
            let entered = match wait {
                None => {
                    let submission = self.ring.submission();
                    let idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
                    drop(submission);
                    if idle { Ok(0) } else { self.ring.submit() }
                }
                Some(None) => self.ring.submit_and_wait(1),
                Some(Some(_)) => {
                    let left =
                        deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
                    let left = types::Timespec::from(left);
                    let args = types::SubmitArgs::new().timespec(&left);
                    self.ring.submitter().submit_with_args(1, &args)
                }
            };
            let Err(error) = entered else { return Ok(()) };
            match error.raw_os_error() {
                // The time is over, or there are completions to be taken first.
                Some(libc::ETIME | libc::EBUSY) => return Ok(()),
                Some(libc::EINTR) if wait.is_none() => {}
                // A signal arrived: the caller looks at what has ended, and at its deadline.
                Some(libc::EINTR) => return Ok(()),
                Some(libc::EAGAIN) if repeats < REPEATS_MAX => {
                    repeats += 1;
                    std::thread::sleep(Duration::from_micros(100));
                }
                _ => return Err(error),
            }
        }
    }

    fn reap(&mut self, ended: &mut Vec<Completion>) -> io::Result<()> {
        // Takes one completion at a time, because handling one may need the ring.
        loop {
            let Some(entry) = self.ring.completion().next() else { return Ok(()) };
            let (data, result) = (entry.user_data(), entry.result());
            let index = (data & !KIND_MASK) as usize;
            match data & KIND_MASK {
                KIND_WRITE => self.write_ended(index, result, ended)?,
                KIND_SYNC => {
                    let Some(sync) = self.syncs.get_mut(index).and_then(Option::take) else { continue };
                    self.used(sync.place);
                    let begun = Begun::Sync { segment: sync.segment };
                    ended.push(Completion { begun, result: outcome(result).map(drop) });
                }
                KIND_PREPARED => {
                    self.listening = false;
                    self.event.drain()?;
                }
                _ => {}
            }
        }
    }

    fn write_ended(&mut self, block: usize, result: i32, ended: &mut Vec<Completion>) -> io::Result<()> {
        let Some(mut write) = self.writes.get(block).copied().flatten() else { return Ok(()) };
        let again = matches!(-result, libc::EAGAIN | libc::EINTR) && write.repeats < REPEATS_MAX;
        let result = if again {
            write.repeats += 1;
            Ok(write.done)
        } else {
            outcome(result).and_then(|more| progress(write.done, more, write.bytes))
        };
        let result = match result {
            Ok(done) if done < write.bytes => {
                write.done = done;
                return self.push_write(block, write);
            }
            result => result.map(drop),
        };
        self.writes[block] = None;
        self.writes_in_flight -= 1;
        self.used(write.place);
        ended.push(Completion { begun: Begun::Write { block }, result });
        Ok(())
    }

    fn waiting(&self) -> bool {
        self.writes_in_flight > 0 || self.syncs.iter().any(Option::is_some) || self.segments.preparing()
    }
}

fn slot(place: usize) -> types::Fixed {
    types::Fixed(SEGMENT_SLOTS + place as u32)
}

fn outcome(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

fn cpu_set(cpus: &[usize]) -> io::Result<libc::cpu_set_t> {
    // SAFETY: a set of bits, for which zeros are a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(invalid(format!("processor {cpu}: they are numbered below {}", libc::CPU_SETSIZE)));
        }
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    Ok(set)
}

impl Pipeline for Uring {
    fn depth(&self) -> usize {
        self.depth
    }

    fn staging(&mut self, block: usize) -> &mut [u8] {
        assert!(self.writes[block].is_none(), "staging block {block} is being written");
        self.memory.block(block)
    }

    fn staging_blocks(&self) -> usize {
        self.memory.blocks()
    }

    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()> {
        if !matches!(self.writes.get(block), Some(None)) {
            return Err(invalid(format!("staging block {block} is not there, or being written")));
        }
        if self.writes_in_flight >= self.depth {
            return Err(too_many("writes", self.depth));
        }
        let place = self.find_or_open(segment)?;
        self.segments.check_write(place, offset, bytes)?;
        self.push_write(block, WriteRequest { place, offset, bytes, done: 0, repeats: 0 })?;
        self.segments.consumed(bytes);
        self.uses[place] += 1;
        self.writes_in_flight += 1;
        Ok(())
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        let Some(free) = self.syncs.iter().position(Option::is_none) else {
            return Err(too_many("syncs", SYNCS_MAX));
        };
        let place = self.find_or_open(segment)?;
        let entry = opcode::Fsync::new(slot(place)).flags(types::FsyncFlags::DATASYNC).build();
        self.push(&entry.user_data(KIND_SYNC | free as u64))?;
        self.syncs[free] = Some(SyncRequest { place, segment });
        self.uses[place] += 1;
        Ok(())
    }

    fn write_again(&mut self, part: &Unproven) -> io::Result<()> {
        self.segments.write_again(part)
    }

    fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        self.begin()?;
        self.segments.prepare(header, channel_page)
    }

    fn close(&mut self, segment: u64) {
        if self.ring.is_forked() {
            return;
        }
        let Some(place) = self.segments.find(segment) else { return };
        self.closing[place] = true;
        if self.uses[place] == 0 {
            self.let_go(place);
        }
    }

    fn complete(&mut self, timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()> {
        self.begin()?;
        let before = ended.len();
        // `None` means no limit, or one that is too far away to represent.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.listen()?;
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let time_is_over = left == Some(Duration::ZERO);
            let wait = self.waiting() && !time_is_over;
            self.enter(wait.then_some(left))?;
            self.reap(ended)?;
            self.take_prepared(ended);
            if ended.len() > before || !self.waiting() || time_is_over {
                break;
            }
        }
        // Submits the rest of short writes.
        self.enter(None)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.ring.is_forked() {
            return;
        }
        let deadline = Instant::now() + DROP_WAIT;
        let mut ended = Vec::new();
        while self.writes_in_flight > 0 || self.syncs.iter().any(Option::is_some) {
            let left = deadline.saturating_duration_since(Instant::now());
            // An error means that this is not the ring's thread. The kernel finishes what is in
            // flight anyway.
            if left.is_zero() || self.complete(Some(left), &mut ended).is_err() {
                break;
            }
        }
    }
}
