//! How participants enter a channel, leave it, and are swept when they die.
//!
//! ```text
//!            janitor lock + life lock
//!   FREE ------------------------------> FILLING --> ACTIVE --leave--> FREE, or HELD (a durable name stays)
//!    ^                                                 | \--evict (janitor lock)--> EVICTED
//!    +------------ sweep (janitor lock) ---------------+------------------------------+
//! ```
//!
//! An entry belongs to whoever holds its *life lock*, which the kernel drops when the owner's address space goes.
//! Whoever changes an entry that is not its own holds the entry's *janitor lock*, also dropped by the kernel: so a
//! janitor may die anywhere, and the next one finds the entry still marked and sweeps again. An entry is freed, or
//! used again, only after a full sweep that follows the death: a word that names a dead worker never comes to look
//! alive because its entry was given to another.
//!
//! The state word counts, as its generation, those who came as far as ACTIVE. Who dies, or is refused its life lock, while it
//! is FILLING leaves a generation that the next one uses: nobody has ever held it.
//!
//! Ticket repairs need none of these locks; see [`crate::slots::orphan`].

use crate::layout;
use crate::members::lent;
use crate::memory::{Edge, Memory};

/// The cursor of an entry that gates nobody.
pub const NO_GATE: u64 = u64::MAX;
/// The claim word of an entry that announces no ticket.
pub const NO_CLAIM: u64 = 0;

/// What an entry's state word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nobody's.
    Free,
    /// Being filled in by a registrant.
    Filling,
    /// In use, or left by somebody who died.
    Active,
    /// A durable subscription whose owner has left: its cursor still gates.
    Held,
    /// Evicted: its cursor gates nobody, its owner will be told.
    Evicted,
}

const FREE: u64 = 0;
const FILLING: u64 = 1;
const ACTIVE: u64 = 2;
const HELD: u64 = 3;
const EVICTED: u64 = 4;

/// Policy bit: the cursor outlives its owner.
pub const DURABLE: u64 = 1 << 8;
/// Policy bit: never gates, may lose events.
pub const LOSSY: u64 = 1 << 9;
/// Policy bit: a producer whose name numbers its events; one owner at a time.
pub const SEQUENCED: u64 = 1 << 10;
/// Policy bit: a reader whose cursor moves only as far as it says.
pub const MANUAL: u64 = 1 << 11;
/// Policy, low byte: publisher or producer.
pub const ROLE_PRODUCER: u64 = 1;
/// Policy, low byte: subscriber.
pub const ROLE_SUBSCRIBER: u64 = 2;
/// Policy, low byte: worker.
pub const ROLE_WORKER: u64 = 3;
/// Policy, low byte: tap.
pub const ROLE_TAP: u64 = 4;

/// The name of the journaller's registration, as [`Identity::name`] has it: `.journal`.
pub const JOURNALLER: [u64; 8] = [u64::from_le_bytes(*b".journal"), 0, 0, 0, 0, 0, 0, 0];

/// The status in a state word; words that no participant writes read as free.
#[inline(always)]
pub const fn status(state: u64) -> Status {
    match state & 0xFF {
        FILLING => Status::Filling,
        ACTIVE => Status::Active,
        HELD => Status::Held,
        EVICTED => Status::Evicted,
        _ => Status::Free,
    }
}

/// The generation in a state word: it counts those who were ever valid in its entry. One that is still filling it in, and so
/// does not hold its life lock yet, or has died there, was not, and is never taken for the one that is valid after it.
#[inline(always)]
pub const fn generation(state: u64) -> u64 {
    (state >> 8).wrapping_sub(matches!(status(state), Status::Filling) as u64)
}

/// Whether the entry at `entry` holds a durable name whose owner has joined: from then on its cursor is where the
/// subscription stands, and outlives it. Before that the cursor is a passing one of the join, which nobody could resume
/// at.
pub fn is_registered<M: Memory>(memory: &M, entry: usize) -> bool {
    // STATE: pairs with the readers' store when they have joined.
    memory.load(entry + layout::JOINED, Edge::State) != 0
        && memory.load(entry + layout::POLICY, Edge::Plain) & DURABLE != 0
}

/// The words of an entry about the process that proves its owner's life, where strangers' locks are in the
/// way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    state: u64,
    /// The inode of its PID namespace; 0 where no process proves a life.
    pub namespace: u64,
}

/// The first two of these words in entry `index`.
pub fn proof_of<M: Memory>(memory: &M, index: usize) -> Proof {
    let entry = layout::entry(index);
    // STATE: pairs with the registrant's store of the state, which follows its proof.
    let state = memory.load(entry + layout::STATE, Edge::State);
    Proof { state, namespace: memory.load(entry + layout::PROOF, Edge::Plain) }
}

impl Proof {
    /// The pid and start time that entry `index` says beside it; `None` where it has changed hands since:
    /// somebody who asks again sees one owner's words.
    pub fn process<M: Memory>(self, memory: &M, index: usize) -> Option<(u32, u64)> {
        let load = |field| memory.load(layout::entry(index) + field, Edge::Plain);
        let process = (load(layout::PID) as u32, load(layout::START_TIME));
        // VALIDATE: pairs with OVERWRITE in `fill`. Had any word above come from a later owner, its state is
        // seen here.
        memory.fence(Edge::Validate);
        let is_same = load(layout::STATE) == self.state && load(layout::PROOF) == self.namespace;
        is_same.then_some(process)
    }

    /// Whether somebody is filling the entry in: then its words may be of two owners. The new one holds its
    /// janitor lock, and no life yet.
    pub fn is_filling(self) -> bool {
        status(self.state) == Status::Filling
    }
}

const fn with(state: u64, status: u64) -> u64 {
    state & !0xFF | status
}

/// The byte locks of one side's file, asked through a description of the registrant's own.
pub trait Locks {
    /// Takes an entry's janitor lock without waiting.
    fn try_janitor(&self, index: usize) -> bool;
    /// Gives it back.
    fn release_janitor(&self, index: usize);
    /// Takes an entry's life lock without waiting.
    fn try_life(&self, index: usize) -> bool;
    /// Whether another description holds an entry's life lock.
    fn is_life_held(&self, index: usize) -> bool;
}

/// Who registers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity {
    /// Role and policy bits.
    pub policy: u64,
    /// Process id in the low half, thread id in the high half.
    pub pid_tid: u64,
    /// Start time of the process.
    pub start_time: u64,
    /// Now, CLOCK_MONOTONIC.
    pub now_ns: u64,
    /// UTF-8, zero-padded; all zero for none.
    pub name: [u64; 8],
    /// What the entry's fence says at first; see [`crate::members::fence`].
    pub fence: u64,
}

/// A successful registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The entry.
    pub index: usize,
    /// Its state word: ACTIVE with a fresh generation.
    pub state: u64,
    /// The cursor of the durable subscription that is resumed.
    pub resumed: Option<u64>,
}

/// Why nobody could be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Every entry is in use.
    Full,
    /// The durable name is in use by the live participant in this entry.
    NameTaken(usize),
}

/// One side's registry.
#[derive(Debug, Clone)]
pub struct Registry<M> {
    memory: M,
    entries: usize,
    high: usize,
}

impl<M: Memory> Registry<M> {
    /// The registry of `entries` entries in `memory`; `high` is the offset of its high-water word
    /// ([`layout::PRODUCERS_HIGH`] or [`layout::CONSUMERS_HIGH`]).
    pub fn new(memory: M, entries: usize, high: usize) -> Registry<M> {
        Registry { memory, entries, high }
    }

    /// The memory it lies in.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Entries that were ever used.
    pub fn used(&self) -> usize {
        (self.memory.load(self.high, Edge::State) as usize).min(self.entries)
    }

    /// An entry's state word.
    pub fn state(&self, index: usize) -> u64 {
        self.memory.load(layout::entry(index) + layout::STATE, Edge::State)
    }

    fn policy(&self, index: usize) -> u64 {
        self.memory.load(layout::entry(index) + layout::POLICY, Edge::Plain)
    }

    /// The name in an entry.
    pub fn name(&self, index: usize) -> [u64; 8] {
        std::array::from_fn(|i| self.memory.load(layout::entry(index) + layout::NAME + i * 8, Edge::Plain))
    }

    /// The process id in an entry.
    pub fn pid(&self, index: usize) -> u32 {
        self.memory.load(layout::entry(index) + layout::PID, Edge::Plain) as u32
    }

    /// Whether an entry holds a durable subscription, in use or not.
    pub fn is_durable(&self, index: usize) -> bool {
        self.has_durable_name(index) && is_registered(&self.memory, layout::entry(index))
    }

    fn has_durable_name(&self, index: usize) -> bool {
        matches!(status(self.state(index)), Status::Active | Status::Held)
            && self.policy(index) & DURABLE != 0
    }

    /// Registers. `sweep` repairs what the dead owner of an entry left and says whether nothing of it remains.
    ///
    /// Two registrants of one durable *new* name must be kept apart by the caller (the registry's name lock).
    pub fn register<L: Locks>(
        &self,
        locks: &L,
        who: &Identity,
        mut sweep: impl FnMut(usize) -> bool,
    ) -> std::result::Result<Registered, Refused> {
        if who.policy & DURABLE != 0 {
            for index in 0..self.used() {
                if !self.has_durable_name(index) || self.name(index) != who.name {
                    continue;
                }
                if self.is_durable(index) {
                    return self.resume(locks, who, index).ok_or(Refused::NameTaken(index));
                }
                // It is joining, or has died before it had joined.
                if locks.is_life_held(index) {
                    return Err(Refused::NameTaken(index));
                }
            }
        }
        if who.policy & SEQUENCED != 0 {
            let is_namesake = |&index: &usize| {
                status(self.state(index)) == Status::Active
                    && self.policy(index) & SEQUENCED != 0
                    && self.name(index) == who.name
                    && locks.is_life_held(index)
            };
            if let Some(index) = (0..self.used()).find(is_namesake) {
                return Err(Refused::NameTaken(index));
            }
        }
        // Fresh entries first: they need no sweep.
        for free_only in [true, false] {
            for index in 0..self.entries {
                if (status(self.state(index)) == Status::Free) != free_only || !locks.try_janitor(index) {
                    continue;
                }
                let registered = self.enter(locks, who, index, &mut sweep);
                locks.release_janitor(index);
                if let Some(registered) = registered {
                    return Ok(registered);
                }
            }
        }
        Err(Refused::Full)
    }

    /// Enters `index`, whose janitor lock is held.
    fn enter<L: Locks>(
        &self,
        locks: &L,
        who: &Identity,
        index: usize,
        sweep: &mut impl FnMut(usize) -> bool,
    ) -> Option<Registered> {
        // Read again under the lock: the entry may have changed hands before it was ours.
        let state = self.state(index);
        if locks.is_life_held(index) || self.is_durable(index) {
            return None;
        }
        if status(state) != Status::Free && !sweep(index) {
            return None;
        }
        self.fill(locks, who, index, state, None)
    }

    /// Takes over the durable subscription in `index`.
    fn resume<L: Locks>(&self, locks: &L, who: &Identity, index: usize) -> Option<Registered> {
        if !locks.try_janitor(index) {
            return None;
        }
        let state = self.state(index);
        let registered =
            if locks.is_life_held(index) || !self.is_durable(index) || self.name(index) != who.name {
                None
            } else {
                let cursor = self.memory.load(layout::entry(index) + layout::CURSOR, Edge::Cursor);
                self.fill(locks, who, index, state, Some(cursor))
            };
        locks.release_janitor(index);
        registered
    }

    fn fill<L: Locks>(
        &self,
        locks: &L,
        who: &Identity,
        index: usize,
        state: u64,
        resumed: Option<u64>,
    ) -> Option<Registered> {
        let m = &self.memory;
        let entry = layout::entry(index);
        // One that was never valid is filled in anew: generations count those that were.
        let generation =
            if status(state) == Status::Filling { state & !0xFF } else { (state | 0xFF).wrapping_add(1) };
        // A durable subscription stays ACTIVE while it changes hands: its cursor must gate all the time.
        if resumed.is_none() {
            // ANNOUNCE, CURSOR: as if the last owner had stored them, whose leave or death this registrant has
            // seen: a reaper or producer that finds these words must see what the last owner did before.
            m.store(entry + layout::CLAIM, NO_CLAIM, Edge::Announce);
            m.store(entry + layout::CURSOR, NO_GATE, Edge::Cursor);
            // STATE: as the state word. Who sees a ticket won by this owner, whose claim it is, sees its fence too (HEAD).
            m.store(entry + layout::FENCE, who.fence, Edge::State);
            // STATE: no cursor or claim of the last owner is left when this generation is seen.
            m.store(entry + layout::STATE, with(generation, FILLING), Edge::State);
            // OVERWRITE: who sees a word that follows sees that the entry has changed hands.
            m.fence(Edge::Overwrite);
            m.store(entry + layout::JOINED, 0, Edge::Plain);
            m.store(entry + layout::BEHIND, 0, Edge::Plain);
        }
        let counts = [
            layout::EVENTS,
            layout::LOST,
            layout::BLOCKED,
            layout::BYTES,
            layout::WAIT_SINCE_NS,
            layout::IN_HAND,
            layout::LENT_FROM,
            layout::LENT_TO,
        ];
        for offset in counts {
            m.store(entry + offset, 0, Edge::Plain);
        }
        m.store(entry + layout::PID, who.pid_tid, Edge::Plain);
        m.store(entry + layout::START_TIME, who.start_time, Edge::Plain);
        m.store(entry + layout::ATTACHED_NS, who.now_ns, Edge::Plain);
        m.store(entry + layout::SEEN_NS, who.now_ns, Edge::Plain);
        m.store(entry + layout::POLICY, who.policy, Edge::Plain);
        for (i, &word) in who.name.iter().enumerate() {
            m.store(entry + layout::NAME + i * 8, word, Edge::Plain);
        }
        self.raise_high(index + 1);
        if !locks.try_life(index) {
            return None; // The kernel refused the lock: as if this registrant had died here.
        }
        let state = with(generation, ACTIVE);
        // STATE: all of the entry is written before it is valid.
        m.store(entry + layout::STATE, state, Edge::State);
        Some(Registered { index, state, resumed: resumed.filter(|&cursor| cursor != NO_GATE) })
    }

    /// Puts a durable subscription that has no owner into entry `index` of a registry that nobody else sees yet. It holds
    /// everything from `cursor` on; with `behind`, it really stands there, and what lies between is in the journal.
    pub fn restore(&self, index: usize, policy: u64, name: [u64; 8], cursor: u64, behind: Option<u64>) {
        let m = &self.memory;
        let entry = layout::entry(index);
        m.store(entry + layout::CURSOR, cursor, Edge::Cursor);
        m.store(entry + layout::BEHIND, behind.map_or(0, |position| position + 1), Edge::Plain);
        m.store(entry + layout::POLICY, policy | DURABLE, Edge::Plain);
        for (i, &word) in name.iter().enumerate() {
            m.store(entry + layout::NAME + i * 8, word, Edge::Plain);
        }
        m.store(entry + layout::JOINED, 1, Edge::State);
        m.store(entry + layout::STATE, 1 << 8 | HELD, Edge::State);
        self.raise_high(index + 1);
    }

    fn raise_high(&self, to: usize) {
        let mut high = self.memory.load(self.high, Edge::State);
        while high < to as u64 {
            match self.memory.compare_exchange(self.high, high, to as u64, Edge::State) {
                Ok(_) => return,
                Err(found) => high = found,
            }
        }
    }

    /// Leaves: the owner gives its entry back, after it has finished or handed back its own tickets. A durable
    /// subscription keeps its cursor. The life lock is dropped after this.
    pub fn leave(&self, registered: &Registered, durable: bool) {
        let m = &self.memory;
        let entry = layout::entry(registered.index);
        let durable = durable && is_registered(m, entry);
        // Nothing borrowed outlives the handle; the entry of an evicted one stays as it is.
        lent::take_back(m, entry);
        m.store(entry + layout::CLAIM, NO_CLAIM, Edge::Announce);
        if !durable {
            m.store(entry + layout::CURSOR, NO_GATE, Edge::Cursor);
        }
        let left = with(registered.state, if durable { HELD } else { FREE });
        // One step: if an evictor was faster, the entry stays evicted and is swept by the next registrant.
        let _ = m.compare_exchange(entry + layout::STATE, registered.state, left, Edge::State);
    }

    /// Whether the owner's registration still stands.
    #[inline(always)]
    pub fn is_registered(&self, registered: &Registered) -> bool {
        // Plain: eviction is told as soon as it is seen; what it means for held events is said on release.
        self.memory.load(layout::entry(registered.index) + layout::STATE, Edge::Plain) == registered.state
    }

    /// Evicts the reader whose state word is `state`: its cursor gates nobody from now on, and its owner, if it lives, is
    /// told so when it next looks. Not for workers, see [`crate::members::fence`], nor for producers, which write in place and
    /// must be killed instead. Returns false when the entry has another state by now, does not hold a reader, or somebody
    /// else is changing it.
    pub fn evict<L: Locks>(&self, locks: &L, index: usize, state: u64) -> bool {
        if !locks.try_janitor(index) {
            return false;
        }
        // Under the lock the policy belongs to the state, if that is still the one given.
        let reader = matches!(self.policy(index) & 0xFF, ROLE_SUBSCRIBER | ROLE_TAP);
        let evicted = reader
            && matches!(status(state), Status::Active | Status::Held)
            && self.mark_evicted(index, state);
        locks.release_janitor(index);
        evicted
    }

    /// Marks the entry, whose janitor lock is held, as evicted, if its state word is still `state`.
    pub fn mark_evicted(&self, index: usize, state: u64) -> bool {
        let at = layout::entry(index) + layout::STATE;
        self.memory.compare_exchange(at, state, with(state, EVICTED), Edge::State).is_ok()
    }

    /// Frees the entry of a dead participant, unless it holds a durable name. Returns whether the entry is free of
    /// its dead owner now.
    pub fn bury<L: Locks>(&self, locks: &L, index: usize, mut sweep: impl FnMut(usize) -> bool) -> bool {
        if !locks.try_janitor(index) {
            return false;
        }
        let state = self.state(index);
        let dead = status(state) != Status::Free && !locks.is_life_held(index) && !self.is_durable(index);
        let swept = dead && sweep(index);
        if swept {
            let entry = layout::entry(index);
            self.memory.store(entry + layout::CLAIM, NO_CLAIM, Edge::Announce);
            self.memory.store(entry + layout::CURSOR, NO_GATE, Edge::Cursor);
            // Who never came to be valid does not count.
            let last = if status(state) == Status::Filling { state.wrapping_sub(0x100) } else { state };
            self.memory.store(entry + layout::STATE, with(last, FREE), Edge::State);
        }
        locks.release_janitor(index);
        swept
    }
}
