//! Actors made by `fork`, for tests that need thousands of processes.
//!
//! A test starts one process of this test program in a role (see `children`): it has one thread, so
//! it may fork. That *driver* makes a channel, plays the survivors, and forks an actor for each
//! death. An actor runs a protocol over a memory that counts its accesses ([`Deadly`]), and kills
//! or stops itself, with a real signal, just before the access that the driver has chosen. No actor
//! outlives its driver, and none hangs without end.
#![allow(dead_code, reason = "each test program uses a part")]

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use railbus::internal::life::{LifeClaim, LifeLock, Liveness, Probe};
use railbus::internal::mapped::Mapped;
use railbus::internal::{self as channel, Maps, Region, Role};
use railbus::{ChannelName, Header};
use railbus_os::file_id::FileId;
use railbus_os::quiesce::quiesce;
use railbus_os::{process, rseq};
use railbus_ring::layout;
use railbus_ring::members::fence::{self, Fenced, Stores};
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::{Identity, Locks, ROLE_WORKER, Registered, Registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::orphan::Sweeper;
use railbus_ring::slots::redo::Backoff;
use railbus_ring::slots::view::SlotView;
use railbus_ring::slots::word::Slots;
use railbus_ring::stream::view::StreamView;

use crate::children::Actor;

/// Whether the long versions were requested.
pub(crate) fn deep() -> bool {
    std::env::var_os("RAILBUS_DEEP").is_some_and(|value| value == "1")
}

/// Runs a role of the calling module in a process of its own and passes on its last line.
#[track_caller]
pub(crate) fn drive(role: &str) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let mut driver = Actor::start(role, base.path());
    println!("{role}: {}", driver.hear());
    assert!(driver.finish().success());
}

// ---- words that a driver and its actors share, whatever happens to the actors ----

/// How many words there are.
pub(crate) const WORDS: usize = 1 << 16;

/// Anonymous shared memory, zeroed.
pub(crate) struct Shared(*mut AtomicU64);

impl Shared {
    pub(crate) fn new() -> Shared {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let page = unsafe {
            libc::mmap(std::ptr::null_mut(), WORDS * 8, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        assert_ne!(page, libc::MAP_FAILED);
        Shared(page.cast())
    }

    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS);
        // SAFETY: in bounds, aligned, never unmapped, and accessed atomically only.
        unsafe { &*self.0.add(index) }
    }

    pub(crate) fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::SeqCst);
    }

    pub(crate) fn add(&self, index: usize, value: u64) -> u64 {
        self.word(index).fetch_add(value, Ordering::SeqCst)
    }

    /// Zeroes the first 256 words.
    pub(crate) fn clear(&self) {
        (0..256).for_each(|index| self.set(index, 0));
    }
}

// ---- actors ----

/// How an actor has ended, or paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Killed,
    Stopped,
}

/// A forked process; killed on drop.
pub(crate) struct Forked {
    pid: Pid,
    ended: bool,
}

/// Forks an actor that runs `body`. Only for processes of one thread.
pub(crate) fn forked(body: impl FnOnce()) -> Forked {
    let parent = nix::unistd::getpid();
    // SAFETY: this process has one thread, so that the child may do what it likes.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => Forked { pid: child, ended: false },
        ForkResult::Child => {
            // SAFETY: takes integers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            if nix::unistd::getppid() != parent {
                // SAFETY: _exit has no preconditions.
                unsafe { libc::_exit(1) };
            }
            // A hang ends with SIGALRM, which the driver reports.
            nix::unistd::alarm::set(if deep() { 600 } else { 120 });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: as above. Nothing is dropped: the actor ends as if killed after its last step.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) };
        }
    }
}

impl Forked {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it ends or stops; panics when it ends in an unexpected way.
    pub(crate) fn wait(&mut self) -> End {
        let end = match waitpid(self.pid, Some(WaitPidFlag::WUNTRACED)).expect("wait for a child") {
            WaitStatus::Exited(_, 0) => End::Finished,
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => End::Killed,
            WaitStatus::Stopped(..) => return End::Stopped,
            other => {
                self.ended = true;
                panic!("an actor ended with {other:?}");
            }
        };
        self.ended = true;
        end
    }

    /// As [`Self::wait`] for one that may still be running.
    pub(crate) fn poll(&mut self) -> Option<End> {
        let flags = WaitPidFlag::WNOHANG;
        let end = match waitpid(self.pid, Some(flags)).expect("wait for a child") {
            WaitStatus::StillAlive => return None,
            WaitStatus::Exited(_, 0) => End::Finished,
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => End::Killed,
            other => {
                self.ended = true;
                panic!("an actor ended with {other:?}");
            }
        };
        self.ended = true;
        Some(end)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("signal a child");
    }

    /// SIGKILL, without waiting.
    pub(crate) fn shoot(&self) {
        self.signal(Signal::SIGKILL);
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

// ---- the memory that kills its user ----

static STEPS: AtomicU64 = AtomicU64::new(0);
static KILL_AT: AtomicU64 = AtomicU64::new(0);
static STOP_AT: AtomicU64 = AtomicU64::new(0);

/// Chooses the accesses before which this process stops and is killed; 0 for never. They count from
/// here.
pub(crate) fn arm(stop_at: u64, kill_at: u64) {
    STEPS.store(0, Ordering::Relaxed);
    STOP_AT.store(stop_at, Ordering::Relaxed);
    KILL_AT.store(kill_at, Ordering::Relaxed);
}

/// How many there were.
pub(crate) fn steps() -> u64 {
    STEPS.load(Ordering::Relaxed)
}

/// Stops this process until its driver continues it.
pub(crate) fn pause() {
    kill(nix::unistd::getpid(), Signal::SIGSTOP).expect("stop");
}

/// One access.
pub(crate) fn step() {
    let step = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    if step == STOP_AT.load(Ordering::Relaxed) {
        kill(nix::unistd::getpid(), Signal::SIGSTOP).expect("stop");
    }
    if step == KILL_AT.load(Ordering::Relaxed) {
        kill(nix::unistd::getpid(), Signal::SIGKILL).expect("die");
        unreachable!("killed");
    }
}

/// Mapped memory, each access to which is a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadly(pub(crate) Mapped);

impl Memory for Deadly {
    fn load(&self, at: usize, edge: Edge) -> u64 {
        step();
        self.0.load(at, edge)
    }

    fn store(&self, at: usize, value: u64, edge: Edge) {
        step();
        self.0.store(at, value, edge);
    }

    fn compare_exchange(&self, at: usize, current: u64, new: u64, edge: Edge) -> Result<u64, u64> {
        step();
        self.0.compare_exchange(at, current, new, edge)
    }

    fn fetch_add(&self, at: usize, value: u64, edge: Edge) -> u64 {
        step();
        self.0.fetch_add(at, value, edge)
    }

    fn store_if(
        &self,
        at: usize,
        value: u64,
        edge: Edge,
        guard: &Self,
        guard_at: usize,
        area: isize,
    ) -> bool {
        step();
        self.0.store_if(at, value, edge, &guard.0, guard_at, area)
    }

    fn fence(&self, edge: Edge) {
        self.0.fence(edge);
    }

    fn light_fence(&self, edge: Edge) {
        self.0.light_fence(edge);
    }
}

pub(crate) struct DeadlyLocks(RefCell<LifeClaim>);

impl Locks for DeadlyLocks {
    fn try_janitor(&self, index: usize) -> bool {
        step();
        self.0.borrow().try_janitor(index).expect("janitor lock")
    }

    fn release_janitor(&self, index: usize) {
        step();
        self.0.borrow().release_janitor(index).expect("release");
    }

    fn try_life(&self, index: usize) -> bool {
        step();
        self.0.borrow_mut().try_life(index).expect("life lock")
    }

    fn is_life_held(&self, index: usize) -> bool {
        step();
        self.0.borrow().is_life_locked(index).expect("ask")
    }
}

/// The kernel's answers.
pub(crate) struct Kernel {
    producers: RefCell<Probe>,
    consumers: RefCell<Probe>,
}

impl Peers for Kernel {
    fn is_dead(&self, side: Side, index: usize) -> bool {
        step();
        let probe = match side {
            Side::Producers => &self.producers,
            Side::Consumers => &self.consumers,
        };
        probe.borrow_mut().life(index) == Liveness::Dead
    }
}

/// A participant made of the protocol's own parts, as the handles are, over [`Deadly`] memory.
pub(crate) struct Part {
    pub(crate) ring: Deadly,
    pub(crate) acks: Deadly,
    pub(crate) data: Deadly,
    pub(crate) done: Deadly,
    pub(crate) header: Header,
    pub(crate) peers: Kernel,
    pub(crate) registered: Registered,
    pub(crate) registry: Registry<Deadly>,
    /// How it stores done words, if it is a worker.
    pub(crate) stores: Stores,
    _life: LifeLock,
    _maps: Maps,
}

/// How workers store done words here.
pub(crate) fn best_stores() -> Stores {
    rseq::offset().map_or(Stores::Swap, |area| Stores::Restart { area })
}

/// A name in the form of registry entries.
pub(crate) fn name(text: &str) -> [u64; 8] {
    let mut padded = [0u8; 64];
    padded[..text.len()].copy_from_slice(text.as_bytes());
    std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|j| padded[i * 8 + j])))
}

impl Part {
    /// Registers on `side` with these policy bits, sweeping as a worker does. `None` when no entry
    /// is free.
    pub(crate) fn register(base: &Path, full: &str, side: Side, policy: u64, called: &str) -> Option<Part> {
        Part::register_storing(base, full, side, policy, called, best_stores())
    }

    /// The same, for a worker that stores done words this way.
    pub(crate) fn register_storing(
        base: &Path,
        full: &str,
        side: Side,
        policy: u64,
        called: &str,
        stores: Stores,
    ) -> Option<Part> {
        let full: ChannelName = full.parse().expect("a name");
        let attached = channel::attach(base, &full).expect("attach");
        let role = if side == Side::Producers { Role::Producer } else { Role::Consumer };
        let maps = attached.map(role).expect("map");
        // SAFETY: the maps are kept beside the memories, and a role stores only where it may.
        let of = |region: &Region| Deadly(unsafe { region.memory(false) });
        let (ring, acks, data, done) = (of(&maps.ring), of(&maps.acks), of(&maps.data), of(&maps.done));
        let (ring_path, acks_path) = (&attached.paths.ring, &attached.paths.acks);
        let ring_id = FileId::of(attached.ring_file()).expect("an id");
        let acks_id = FileId::of(attached.acks_file()).expect("an id");
        let peers = Kernel {
            producers: RefCell::new(Probe::open(ring_path, ring_id).expect("a probe")),
            consumers: RefCell::new(Probe::open(acks_path, acks_id).expect("a probe")),
        };
        let header = attached.header.clone();
        let (producers, consumers) = (header.producers_max as usize, header.consumers_max as usize);
        let (claim, registry) = match side {
            Side::Producers => (
                LifeClaim::open(ring_path.clone(), ring_id),
                Registry::new(ring, producers, layout::PRODUCERS_HIGH),
            ),
            Side::Consumers => (
                LifeClaim::open(acks_path.clone(), acks_id),
                Registry::new(acks, consumers, layout::CONSUMERS_HIGH),
            ),
        };
        let locks = DeadlyLocks(RefCell::new(claim.expect("a claim")));
        let is_worker = policy & 0xFF == ROLE_WORKER;
        let pid = process::pid();
        let who = Identity {
            policy,
            name: name(called),
            pid_tid: pid as u64,
            start_time: if is_worker { process::start_time_ticks(pid).expect("a time") } else { 0 },
            fence: if is_worker { stores.open() } else { 0 },
            ..Identity::default()
        };
        let is_queue = header.done_offset != 0;
        let registered = registry
            .register(&locks, &who, |index| {
                side == Side::Producers
                    || !is_queue
                    || sweeper(&slot_view(ring, acks, data, done, &header))
                        .sweep(&peers, Some(index))
                        .unsettled
                        == 0
            })
            .ok()?;
        step();
        let life = locks.0.into_inner().into_life().expect("a life");
        Some(Part {
            ring,
            acks,
            data,
            done,
            header,
            peers,
            registered,
            registry,
            stores,
            _life: life,
            _maps: maps,
        })
    }

    pub(crate) fn slots(&self) -> Slots {
        Slots::new(self.header.slots, self.header.slot_bytes)
    }

    /// The memories with the geometry of a queue or topic.
    pub(crate) fn slot_view(&self) -> SlotView<Deadly> {
        slot_view(self.ring, self.acks, self.data, self.done, &self.header)
    }

    /// The memories with the geometry of a stream.
    pub(crate) fn stream_view(&self) -> StreamView<Deadly> {
        StreamView {
            ring: self.ring,
            acks: self.acks,
            data: self.data,
            capacity: self.header.capacity_bytes,
            consumers: self.header.consumers_max as usize,
        }
    }

    /// Evicts the worker in entry `index`; each step may be the last.
    pub(crate) fn evict(&self, base: &Path, full: &str, index: usize) -> Fenced {
        let full: ChannelName = full.parse().expect("a name");
        let attached = channel::attach(base, &full).expect("attach");
        let id = FileId::of(attached.acks_file()).expect("an id");
        let claim = LifeClaim::open(attached.paths.acks.clone(), id).expect("a claim");
        let locks = DeadlyLocks(RefCell::new(claim));
        let pid = self.acks.load(layout::entry(index) + layout::PID, Edge::Plain) as u32;
        let start_time = self.acks.load(layout::entry(index) + layout::START_TIME, Edge::Plain);
        let quiesce = || {
            step();
            quiesce(pid, start_time, std::time::Duration::from_secs(60))
        };
        let view = self.slot_view();
        let sweeper = || sweeper(&view);
        let note_lent = || sweeper().note_lent(index);
        let sweep = || sweeper().sweep(&self.peers, Some(index)).unsettled == 0;
        let state = self.registry.state(index);
        let steps = (note_lent, sweep);
        fence::evict(&self.registry, &locks, &self.acks, index, state, quiesce, steps).expect("evicted")
    }

    /// Writes a body: in two steps, so that it can be torn.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        let (one, two) = bytes.split_at(bytes.len() / 2);
        for (at, part) in [(at, one), (at + one.len(), two)] {
            step();
            // SAFETY: the caller has claimed this many bytes at this offset.
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), self.data.0.address(at), part.len()) };
        }
    }

    /// Reads a body that the caller may read.
    pub(crate) fn read(&self, at: usize, bytes: usize) -> Vec<u8> {
        step();
        // SAFETY: the caller holds an event with this many bytes at this offset.
        unsafe { std::slice::from_raw_parts(self.data.0.address(at), bytes) }.to_vec()
    }
}

fn slot_view(ring: Deadly, acks: Deadly, data: Deadly, done: Deadly, header: &Header) -> SlotView<Deadly> {
    SlotView {
        ring,
        acks,
        data,
        done,
        slots: Slots::new(header.slots, header.slot_bytes),
        producers: header.producers_max as usize,
        consumers: header.consumers_max as usize,
    }
}

fn sweeper(view: &SlotView<Deadly>) -> Sweeper<'_, Deadly> {
    Sweeper { view, now: railbus_ring::slots::job::Now::default(), backoff: Backoff::of(0) }
}

// ---- events that prove themselves ----

/// An event of at least 16 bytes that carries its number and can be checked.
pub(crate) fn event(number: u64, bytes: usize) -> Vec<u8> {
    let mut event = number.to_le_bytes().to_vec();
    event.extend((bytes as u64).to_le_bytes());
    event.extend((16..bytes).map(|i| (number as usize * 31 + i) as u8));
    event
}

/// The number of an event that was made by [`event`]; panics when any byte is wrong.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let number = word(0);
    assert!(bytes == event(number, word(8) as usize), "a torn event: {bytes:?}");
    number
}
