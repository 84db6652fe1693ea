//! [`CrashMemory`]: single-threaded shared words whose users die, or are interrupted, at their k-th
//! access.
//!
//! The protocols are deterministic when nobody else runs. So a participant that is killed before
//! access k, for each k, has been killed everywhere. Another participant's whole life may also be
//! put *into* access k. That gives every interleaving with one preemption. A test loops over k (and
//! over pairs) until the access is never reached.
//!
//! A death drops the participant's locks ([`LockTable`]), as the kernel does, and [`CrashPeers`]
//! reports it.
//!
//! This cannot show errors that need two preemptions of one participant, or weak memory. Loom's
//! models do.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use railbus_ring::layout;
use railbus_ring::members::fence::{self, Fenced, RESTARTS};
use railbus_ring::members::gates::NO_GATE;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::{Identity, Locks, RegisterError, Registered, Registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::job::Now;
use railbus_ring::slots::orphan::Sweeper;
use railbus_ring::slots::redo::Backoff;
use railbus_ring::slots::view::SlotView;
use railbus_ring::slots::word::{Slots, done, seq};
use railbus_ring::stream::places::Place;
use railbus_ring::stream::view::StreamView;

/// How a participant that was killed unwinds.
struct Killed;

type Interruption = (u32, Box<dyn FnOnce()>);

/// The process of one handle, which accesses memory.
#[derive(Default)]
pub struct Participant {
    accesses: Cell<u32>,
    dies_at: Cell<Option<u32>>,
    interrupted_at: RefCell<Option<Interruption>>,
    busy_at_joins: RefCell<Option<Box<dyn FnMut()>>>,
    dead: Cell<bool>,
    blind: Cell<bool>,
}

impl Participant {
    /// Never dies.
    pub fn immortal() -> Rc<Participant> {
        Rc::default()
    }

    /// Dies before its access number `k`, counted from 0. `None` means never.
    pub fn dying_at(k: Option<u32>) -> Rc<Participant> {
        let participant = Participant::default();
        participant.dies_at.set(k);
        Rc::new(participant)
    }

    /// `other` runs before its access number `k`.
    pub fn interrupted_at(k: u32, other: impl FnOnce() + 'static) -> Rc<Participant> {
        let participant = Participant::default();
        *participant.interrupted_at.borrow_mut() = Some((k, Box::new(other)));
        Rc::new(participant)
    }

    /// As [`Self::interrupted_at`], and then dies before its access number `dies_at`.
    pub fn interrupted_and_dying(k: u32, other: impl FnOnce() + 'static, dies_at: u32) -> Rc<Participant> {
        let participant = Participant::interrupted_at(k, other);
        participant.dies_at.set(Some(dies_at));
        participant
    }

    /// `others` run before each of its [`Edge::Join`] fences.
    pub fn busy_at_joins(others: impl FnMut() + 'static) -> Rc<Participant> {
        let participant = Participant::default();
        *participant.busy_at_joins.borrow_mut() = Some(Box::new(others));
        Rc::new(participant)
    }

    /// Whether it was killed.
    pub fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// How many accesses it has made.
    pub fn accesses(&self) -> u32 {
        self.accesses.get()
    }

    /// Its stores do not check the guard from now on: a planted mistake.
    pub fn go_blind(&self) {
        self.blind.set(true);
    }

    /// Whether its interruption has not happened yet.
    pub fn is_yet_to_be_interrupted(&self) -> bool {
        self.interrupted_at.borrow().is_some()
    }

    /// Kills it now, between two accesses.
    pub fn kill(&self) {
        self.dead.set(true);
    }

    /// Runs `life` until it returns (`Some`) or is killed (`None`).
    pub fn live<R>(&self, life: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(life)) {
            Ok(result) => Some(result),
            Err(payload) if payload.is::<Killed>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }

    fn access(&self) {
        assert!(!self.dead.get(), "the dead touch no memory");
        let k = self.accesses.get();
        self.accesses.set(k + 1);
        if self.dies_at.get() == Some(k) {
            self.dead.set(true);
            resume_unwind(Box::new(Killed));
        }
        let due = self.interrupted_at.borrow().as_ref().is_some_and(|(at, _)| *at == k);
        if due {
            let interruption = self.interrupted_at.borrow_mut().take();
            if let Some((_, other)) = interruption {
                other();
            }
        }
    }
}

/// The words of one file.
#[derive(Clone)]
pub struct CrashWords(Rc<[Cell<u64>]>);

impl CrashWords {
    /// Zeroed words for `bytes` bytes.
    pub fn new(bytes: usize) -> CrashWords {
        CrashWords((0..bytes.div_ceil(8)).map(|_| Cell::new(0)).collect())
    }

    /// The value of the word at byte offset `at`. It counts as no participant's access.
    pub fn get(&self, at: usize) -> u64 {
        self.0[at / 8].get()
    }

    /// Sets the word at byte offset `at`, before a test.
    pub fn set(&self, at: usize, value: u64) {
        self.0[at / 8].set(value);
    }
}

/// A participant's mapping of [`CrashWords`].
#[derive(Clone)]
pub struct CrashMemory {
    words: CrashWords,
    who: Rc<Participant>,
    writable: bool,
}

impl CrashMemory {
    /// A mapping that may be written.
    pub fn writable(words: &CrashWords, who: &Rc<Participant>) -> CrashMemory {
        CrashMemory { words: words.clone(), who: who.clone(), writable: true }
    }

    /// A mapping whose stores panic.
    pub fn read_only(words: &CrashWords, who: &Rc<Participant>) -> CrashMemory {
        CrashMemory { words: words.clone(), who: who.clone(), writable: false }
    }

    fn write(&self, at: usize, value: u64) {
        assert!(self.writable, "a store at {at} through a read-only mapping");
        self.words.set(at, value);
    }
}

impl Memory for CrashMemory {
    fn load(&self, at: usize, _: Edge) -> u64 {
        self.who.access();
        self.words.get(at)
    }

    fn store(&self, at: usize, value: u64, _: Edge) {
        self.who.access();
        self.write(at, value);
    }

    fn compare_exchange(&self, at: usize, current: u64, new: u64, _: Edge) -> Result<u64, u64> {
        self.who.access();
        let found = self.words.get(at);
        if found != current {
            return Err(found);
        }
        self.write(at, new);
        Ok(found)
    }

    fn fetch_add(&self, at: usize, value: u64, _: Edge) -> u64 {
        self.who.access();
        let found = self.words.get(at);
        self.write(at, found.wrapping_add(value));
        found
    }

    fn store_if(&self, at: usize, value: u64, _: Edge, guard: &Self, guard_at: usize, _: isize) -> bool {
        // One step: a participant that is stopped in the middle of it begins again.
        self.who.access();
        let open = guard.words.get(guard_at) == RESTARTS;
        if open || self.who.blind.get() {
            self.write(at, value);
        }
        open || self.who.blind.get()
    }

    fn fence(&self, edge: Edge) {
        self.who.access();
        if edge == Edge::Join
            && let Some(others) = self.who.busy_at_joins.borrow_mut().as_mut()
        {
            others();
        }
    }

    fn light_fence(&self, _: Edge) {
        self.who.access();
    }
}

type Held = RefCell<HashMap<(Side, usize), Rc<Participant>>>;

/// The kernel's byte locks of both files.
#[derive(Clone, Default)]
pub struct LockTable(Rc<(Held, Held)>);

fn holder(held: &Held, side: Side, index: usize) -> Option<Rc<Participant>> {
    held.borrow().get(&(side, index)).filter(|who| !who.is_dead()).cloned()
}

impl LockTable {
    fn janitors(&self) -> &Held {
        &self.0.0
    }

    fn lives(&self) -> &Held {
        &self.0.1
    }

    /// Drops a life lock, as closing the mapping that holds it does.
    pub fn drop_life(&self, side: Side, index: usize) {
        self.lives().borrow_mut().remove(&(side, index));
    }
}

/// The locks as one participant requests them.
pub struct CrashLocks {
    table: LockTable,
    side: Side,
    who: Rc<Participant>,
}

impl CrashLocks {
    fn take(&self, held: &Held, index: usize) -> bool {
        let free = holder(held, self.side, index).is_none();
        if free {
            held.borrow_mut().insert((self.side, index), self.who.clone());
        }
        free
    }
}

impl Locks for CrashLocks {
    fn try_janitor(&self, index: usize) -> bool {
        self.take(self.table.janitors(), index)
    }

    fn release_janitor(&self, index: usize) {
        self.table.janitors().borrow_mut().remove(&(self.side, index));
    }

    fn try_life(&self, index: usize) -> bool {
        self.take(self.table.lives(), index)
    }

    fn is_life_held(&self, index: usize) -> bool {
        holder(self.table.lives(), self.side, index).is_some_and(|who| !Rc::ptr_eq(&who, &self.who))
    }
}

/// A participant is dead if nobody holds its life lock.
pub struct CrashPeers(LockTable);

impl Peers for CrashPeers {
    fn is_dead(&self, side: Side, index: usize) -> bool {
        holder(self.0.lives(), side, index).is_none()
    }
}

/// A channel: its files, its locks, its geometry.
#[derive(Clone)]
pub struct CrashChannel {
    /// `.ring` without its data.
    pub ring: CrashWords,
    /// `.acks` without its done words.
    pub acks: CrashWords,
    /// Frames or slots.
    pub data: CrashWords,
    /// Done words.
    pub done: CrashWords,
    /// The kernel's locks.
    pub locks: LockTable,
    /// Producers' registry entries.
    pub producers: usize,
    /// Consumers' registry entries.
    pub consumers: usize,
    /// Slots of a slot ring.
    pub slots: Slots,
    /// Capacity of a stream.
    pub capacity: u64,
}

/// Bytes of the small slots used here: two words of payload.
pub const SLOT_BYTES: u64 = 32;

impl CrashChannel {
    fn new(producers: usize, consumers: usize, data_bytes: u64, slots: Slots, capacity: u64) -> CrashChannel {
        CrashChannel {
            ring: CrashWords::new(layout::unique(producers) + layout::unique_bytes(slots.count) as usize),
            acks: CrashWords::new(layout::entry(consumers)),
            data: CrashWords::new(data_bytes as usize),
            done: CrashWords::new(layout::done_bytes(slots.count) as usize),
            locks: LockTable::default(),
            producers,
            consumers,
            slots,
            capacity,
        }
    }

    /// A stream whose next event goes to `start` and has `count` events before it.
    pub fn stream(capacity: u64, start: Place, consumers: usize) -> CrashChannel {
        let channel = CrashChannel::new(2, consumers, capacity, Slots::new(1, SLOT_BYTES), capacity);
        let words = [start.position, start.count, start.position, start.count];
        for (i, word) in words.into_iter().chain(words).enumerate() {
            channel.ring.set(layout::ANCHOR_ENTRIES + i * 8, word);
        }
        channel.ring.set(layout::ANCHOR_FLOOR, start.position);
        channel.close(consumers)
    }

    /// A queue or topic of `count` slots whose next ticket is `first`; everything before is
    /// published and done.
    pub fn slot_ring(count: u64, first: u64, producers: usize, consumers: usize) -> CrashChannel {
        CrashChannel::ring_of(Slots::new(count, SLOT_BYTES), first, producers, consumers)
    }

    /// The same, with slots of any size.
    pub fn ring_of(slots: Slots, first: u64, producers: usize, consumers: usize) -> CrashChannel {
        let count = slots.count;
        let channel = CrashChannel::new(producers, consumers, count * slots.slot_bytes(), slots, 0);
        for t in first.saturating_sub(count)..first {
            channel.data.set(slots.offset(t) + layout::SLOT_SEQ, slots.state(t, seq::ABORTED));
            channel.done.set(slots.done_offset(t), slots.state(t, done::DONE));
        }
        channel.ring.set(layout::TAIL, first);
        channel.acks.set(layout::HEAD, first);
        channel.close(consumers)
    }

    fn close(self, consumers: usize) -> CrashChannel {
        for index in 0..consumers {
            self.acks.set(layout::entry(index) + layout::CURSOR, NO_GATE);
        }
        self
    }

    /// Reports which participants are dead.
    pub fn peers(&self) -> CrashPeers {
        CrashPeers(self.locks.clone())
    }

    /// The locks for `who`.
    pub fn locks_for(&self, side: Side, who: &Rc<Participant>) -> CrashLocks {
        CrashLocks { table: self.locks.clone(), side, who: who.clone() }
    }

    /// The memory of a slot ring as a producer has it.
    pub fn producers_view(&self, who: &Rc<Participant>) -> SlotView<CrashMemory> {
        SlotView {
            ring: CrashMemory::writable(&self.ring, who),
            acks: CrashMemory::read_only(&self.acks, who),
            data: CrashMemory::writable(&self.data, who),
            done: CrashMemory::read_only(&self.done, who),
            slots: self.slots,
            producers: self.producers,
            consumers: self.consumers,
        }
    }

    /// The memory of a slot ring as a reader or worker has it.
    pub fn consumers_view(&self, who: &Rc<Participant>) -> SlotView<CrashMemory> {
        SlotView {
            ring: CrashMemory::read_only(&self.ring, who),
            acks: CrashMemory::writable(&self.acks, who),
            data: CrashMemory::read_only(&self.data, who),
            done: CrashMemory::writable(&self.done, who),
            slots: self.slots,
            producers: self.producers,
            consumers: self.consumers,
        }
    }

    /// The memory of a stream as its publisher has it.
    pub fn publishers_view(&self, who: &Rc<Participant>) -> StreamView<CrashMemory> {
        StreamView {
            ring: CrashMemory::writable(&self.ring, who),
            acks: CrashMemory::read_only(&self.acks, who),
            data: CrashMemory::writable(&self.data, who),
            capacity: self.capacity,
            consumers: self.consumers,
        }
    }

    /// The memory of a stream as a subscriber has it.
    pub fn subscribers_view(&self, who: &Rc<Participant>) -> StreamView<CrashMemory> {
        StreamView {
            ring: CrashMemory::read_only(&self.ring, who),
            acks: CrashMemory::writable(&self.acks, who),
            data: CrashMemory::read_only(&self.data, who),
            capacity: self.capacity,
            consumers: self.consumers,
        }
    }

    /// The registry as `who` sees it.
    pub fn registry(&self, side: Side, who: &Rc<Participant>) -> Registry<CrashMemory> {
        match side {
            Side::Producers => {
                Registry::new(CrashMemory::writable(&self.ring, who), self.producers, layout::PRODUCERS_HIGH)
            }
            Side::Consumers => {
                Registry::new(CrashMemory::writable(&self.acks, who), self.consumers, layout::CONSUMERS_HIGH)
            }
        }
    }

    /// Sweeps what the dead consumer in `index` left in a queue. Returns whether nothing of it
    /// remains.
    pub fn sweep(&self, who: &Rc<Participant>, index: usize) -> bool {
        self.with_sweeper(who, |sweeper| sweeper.sweep(&self.peers(), Some(index)).unsettled == 0)
    }

    fn note_lent(&self, who: &Rc<Participant>, index: usize) {
        self.with_sweeper(who, |sweeper| sweeper.note_lent(index));
    }

    fn with_sweeper<T>(&self, who: &Rc<Participant>, then: impl FnOnce(Sweeper<'_, CrashMemory>) -> T) -> T {
        then(Sweeper { view: &self.consumers_view(who), now: Now::default(), backoff: Backoff::of(0) })
    }

    /// Evicts the live worker in entry `index`.
    pub fn fence(&self, who: &Rc<Participant>, index: usize) -> Fenced {
        let registry = self.registry(Side::Consumers, who);
        let (acks, locks) = (CrashMemory::writable(&self.acks, who), self.locks_for(Side::Consumers, who));
        // Nobody else runs, so the worker is not inside a step.
        let quiesce = || Ok::<(), std::convert::Infallible>(());
        let state = registry.state(index);
        let steps = (|| self.note_lent(who, index), || self.sweep(who, index));
        fence::evict(&registry, &locks, &acks, index, state, quiesce, steps)
            .unwrap_or_else(|never| match never {})
    }

    /// Registers `who`, sweeping dead consumers' entries.
    pub fn register(
        &self,
        side: Side,
        who: &Rc<Participant>,
        identity: &Identity,
    ) -> Result<Registered, RegisterError> {
        let locks = self.locks_for(side, who);
        self.registry(side, who).register(&locks, identity, |index| {
            side == Side::Producers || self.capacity != 0 || self.sweep(who, index)
        })
    }

    /// Frees the entry of a dead participant. Returns whether the entry is free.
    pub fn bury(&self, side: Side, who: &Rc<Participant>, index: usize) -> bool {
        let locks = self.locks_for(side, who);
        self.registry(side, who).bury(&locks, index, |index| {
            side == Side::Producers || self.capacity != 0 || self.sweep(who, index)
        })
    }

    /// Leaves and drops the life lock.
    pub fn leave(&self, side: Side, who: &Rc<Participant>, registered: &Registered, durable: bool) {
        self.registry(side, who).leave(registered, durable);
        self.locks.drop_life(side, registered.index);
    }
}
