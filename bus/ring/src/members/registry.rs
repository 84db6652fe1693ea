//! How participants enter a channel, leave it, and are swept when they die.
//!
//! ```text
//!            janitor lock + life lock
//!   FREE ------------------------------> FILLING --> ACTIVE --leave--> FREE, or HELD (a durable name stays)
//!    ^                                                 | \--evict (janitor lock)--> EVICTED
//!    +------------ sweep (janitor lock) ---------------+------------------------------+
//! ```
//!
//! **Promise.** At most one live participant owns an entry. An entry is freed, or used again, only
//! after a full sweep that follows its owner's death.
//!
//! **How it works.** An entry belongs to the participant that holds its *life lock*, which the
//! kernel drops when the owner's address space goes. A process that changes another participant's
//! entry holds the entry's *janitor lock*, which the kernel drops, too.
//!
//! The state word counts the owners that came as far as ACTIVE, as its generation. A registrant
//! that dies, or is refused its life lock, while it is FILLING leaves a generation that the next
//! one uses: it never held it.
//!
//! **Why it is sound.** A janitor may die anywhere: the next one finds the entry still marked, and
//! sweeps again. A word that names a dead worker never comes to look alive because its entry was
//! given to another worker.
//!
//! **Left out.** Repairs of tickets need none of these locks; see [`crate::slots::orphan`].

use crate::layout;
use crate::members::lent;
use crate::memory::{Edge, Memory};

/// The cursor of an entry that gates nobody.
pub const NO_GATE: u64 = u64::MAX;
/// The claim word of an entry that announces no ticket.
pub const NO_CLAIM: u64 = 0;

/// The status in an entry's state word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has no owner.
    Free,
    /// A registrant is filling it in.
    Filling,
    /// It is in use, or its owner died.
    Active,
    /// It is a durable subscription whose owner has left. Its cursor still gates.
    Held,
    /// Its owner was evicted. Its cursor gates nobody, and the owner finds out at its next call.
    Evicted,
}

const FREE: u64 = 0;
const FILLING: u64 = 1;
const ACTIVE: u64 = 2;
const HELD: u64 = 3;
const EVICTED: u64 = 4;

/// Policy bit: the cursor outlives its owner.
pub const DURABLE: u64 = 1 << 8;
/// Policy bit: the reader never gates, and may lose events.
pub const LOSSY: u64 = 1 << 9;
/// Policy bit: a producer whose name numbers its events. There is one owner at a time.
pub const SEQUENCED: u64 = 1 << 10;
/// Policy bit: a reader whose cursor moves only by explicit acknowledgement.
pub const MANUAL: u64 = 1 << 11;
/// Policy, low byte: a publisher or producer.
pub const ROLE_PRODUCER: u64 = 1;
/// Policy, low byte: a subscriber.
pub const ROLE_SUBSCRIBER: u64 = 2;
/// Policy, low byte: a worker.
pub const ROLE_WORKER: u64 = 3;
/// Policy, low byte: a tap.
pub const ROLE_TAP: u64 = 4;

/// The name of the journaller's registration, in the form of [`Identity::name`]: `.journal`.
pub const JOURNALLER: [u64; 8] = [u64::from_le_bytes(*b".journal"), 0, 0, 0, 0, 0, 0, 0];

/// The status in a state word. Words that no participant writes read as free.
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

/// The generation in a state word: it counts the owners that were ever valid in its entry. A
/// registrant that is still filling it in does not hold its life lock yet, or has died there. It
/// was never valid, and is never taken for the owner that is valid after it.
#[inline(always)]
pub const fn generation(state: u64) -> u64 {
    (state >> 8).wrapping_sub(matches!(status(state), Status::Filling) as u64)
}

/// Whether the entry at `entry` holds a durable name whose owner has joined. From then on its
/// cursor is the position of the subscription, and outlives the owner. Before that it is a
/// temporary cursor of the join, at which nobody could resume.
pub fn is_registered<M: Memory>(memory: &M, entry: usize) -> bool {
    // STATE: pairs with the readers' store when they have joined.
    memory.load(entry + layout::JOINED, Edge::State) != 0
        && memory.load(entry + layout::POLICY, Edge::Plain) & DURABLE != 0
}

/// The words of an entry about the process that proves its owner's life, for the case that
/// strangers' locks are in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    state: u64,
    /// The inode of the process's PID namespace; 0 if no process proves a life.
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
    /// Returns the PID and start time in entry `index` that belong to these words. Returns `None`
    /// if the entry has changed hands since. A caller that asks again sees one owner's words.
    pub fn process<M: Memory>(self, memory: &M, index: usize) -> Option<(u32, u64)> {
        let load = |field| memory.load(layout::entry(index) + field, Edge::Plain);
        let process = (load(layout::PID) as u32, load(layout::START_TIME));
        // VALIDATE: pairs with OVERWRITE in `fill`. If any word above came from a later owner, its
        // state is seen here.
        memory.fence(Edge::Validate);
        let is_same = load(layout::STATE) == self.state && load(layout::PROOF) == self.namespace;
        is_same.then_some(process)
    }

    /// Whether a registrant is filling the entry in. Then its words may be of two owners. The new
    /// one holds its janitor lock, and no life lock yet.
    pub fn is_filling(self) -> bool {
        status(self.state) == Status::Filling
    }
}

const fn with(state: u64, status: u64) -> u64 {
    state & !0xFF | status
}

/// The byte locks of one side's file, through a description of the registrant's own.
pub trait Locks {
    /// Takes an entry's janitor lock without waiting. Returns whether it was granted.
    fn try_janitor(&self, index: usize) -> bool;
    /// Releases it.
    fn release_janitor(&self, index: usize);
    /// Takes an entry's life lock without waiting. Returns whether it was granted.
    fn try_life(&self, index: usize) -> bool;
    /// Whether another description holds an entry's life lock.
    fn is_life_held(&self, index: usize) -> bool;
}

/// The participant that registers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity {
    /// Its role and policy bits.
    pub policy: u64,
    /// The process id in the low half, the thread id in the high half.
    pub pid_tid: u64,
    /// The start time of the process.
    pub start_time: u64,
    /// The time now, by CLOCK_MONOTONIC.
    pub now_ns: u64,
    /// The name in UTF-8, padded with zeros; all zero for none.
    pub name: [u64; 8],
    /// The first value of the entry's fence; see [`crate::members::fence`].
    pub fence: u64,
}

/// A successful registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The entry.
    pub index: usize,
    /// Its state word: ACTIVE with a new generation.
    pub state: u64,
    /// The cursor of the durable subscription that is resumed.
    pub resumed: Option<u64>,
}

/// Why the participant could not be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterError {
    /// Every entry is in use.
    Full,
    /// The durable name is in use by the live participant in this entry.
    NameTaken(usize),
}

/// The registry of one side.
#[derive(Debug, Clone)]
pub struct Registry<M> {
    memory: M,
    entries: usize,
    high: usize,
}

impl<M: Memory> Registry<M> {
    /// The registry of `entries` entries in `memory`. `high` is the offset of its high-water word
    /// ([`layout::PRODUCERS_HIGH`] or [`layout::CONSUMERS_HIGH`]).
    pub fn new(memory: M, entries: usize, high: usize) -> Registry<M> {
        Registry { memory, entries, high }
    }

    /// The memory that it lies in.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The number of entries that were ever used.
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

    /// Registers a participant. `sweep` repairs the tickets that the dead owner of an entry left,
    /// and returns whether nothing of it remains.
    ///
    /// The caller must keep two registrants of one *new* durable name apart (by the registry's name
    /// lock).
    pub fn register<L: Locks>(
        &self,
        locks: &L,
        who: &Identity,
        mut sweep: impl FnMut(usize) -> bool,
    ) -> std::result::Result<Registered, RegisterError> {
        if who.policy & DURABLE != 0 {
            for index in 0..self.used() {
                if !self.has_durable_name(index) || self.name(index) != who.name {
                    continue;
                }
                if self.is_durable(index) {
                    return self.resume(locks, who, index).ok_or(RegisterError::NameTaken(index));
                }
                // The owner of the name is joining, or died before it had joined.
                if locks.is_life_held(index) {
                    return Err(RegisterError::NameTaken(index));
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
                return Err(RegisterError::NameTaken(index));
            }
        }
        // Fresh entries come first: they need no sweep.
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
        Err(RegisterError::Full)
    }

    /// Enters `index`, whose janitor lock is held.
    fn enter<L: Locks>(
        &self,
        locks: &L,
        who: &Identity,
        index: usize,
        sweep: &mut impl FnMut(usize) -> bool,
    ) -> Option<Registered> {
        // The state is read again under the lock: the entry may have changed hands before the lock
        // was taken.
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
        // A generation that was never valid is used again: generations count the valid owners.
        let generation =
            if status(state) == Status::Filling { state & !0xFF } else { (state | 0xFF).wrapping_add(1) };
        // A durable subscription stays ACTIVE while it changes hands: its cursor must gate all the
        // time.
        if resumed.is_none() {
            // ANNOUNCE, CURSOR: these stores are made for the last owner, whose leave or death this
            // registrant has seen. A repairer or producer that finds these words must see what the
            // last owner did before.
            m.store(entry + layout::CLAIM, NO_CLAIM, Edge::Announce);
            m.store(entry + layout::CURSOR, NO_GATE, Edge::Cursor);
            // STATE: as for the state word. A participant that sees a ticket won by this owner,
            // whose claim it is, sees its fence, too (HEAD).
            m.store(entry + layout::FENCE, who.fence, Edge::State);
            // STATE: no cursor or claim word of the last owner is left when this generation is
            // seen.
            m.store(entry + layout::STATE, with(generation, FILLING), Edge::State);
            // OVERWRITE: a participant that sees a later word of this entry sees that the entry has
            // changed hands.
            m.fence(Edge::Overwrite);
            m.store(entry + layout::JOINED, 0, Edge::Plain);
            m.store(entry + layout::BEHIND, 0, Edge::Plain);
        }
        let counts = [
            layout::EVENTS,
            layout::LOST_OR_DROPPED,
            layout::FULL,
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
            return None; // The kernel refused the lock. The entry stays as if this registrant had died here.
        }
        let state = with(generation, ACTIVE);
        // STATE: the whole entry is written before it is valid.
        m.store(entry + layout::STATE, state, Edge::State);
        Some(Registered { index, state, resumed: resumed.filter(|&cursor| cursor != NO_GATE) })
    }

    /// Puts a durable subscription without an owner into entry `index` of a registry that no other
    /// process sees yet. It holds everything from `cursor` on. With `behind`, its true position is
    /// there, and the events in between are in the journal.
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

    /// Leaves: the owner gives its entry back, after it has finished or handed back its own
    /// tickets. A durable subscription keeps its cursor. The life lock is dropped after this.
    pub fn leave(&self, registered: &Registered, durable: bool) {
        let m = &self.memory;
        let entry = layout::entry(registered.index);
        let durable = durable && is_registered(m, entry);
        // No borrowed event outlives the handle. The entry of an evicted participant stays as it
        // is.
        lent::take_back(m, entry);
        m.store(entry + layout::CLAIM, NO_CLAIM, Edge::Announce);
        if !durable {
            m.store(entry + layout::CURSOR, NO_GATE, Edge::Cursor);
        }
        let left = with(registered.state, if durable { HELD } else { FREE });
        // This is one step. If an evictor was faster, the entry stays evicted, and the next
        // registrant sweeps it.
        let _ = m.compare_exchange(entry + layout::STATE, registered.state, left, Edge::State);
    }

    /// Whether the owner's registration is still valid.
    #[inline(always)]
    pub fn is_registered(&self, registered: &Registered) -> bool {
        // Plain: an eviction is reported as soon as it is seen. Its consequence for held events is
        // reported when they are released.
        self.memory.load(layout::entry(registered.index) + layout::STATE, Edge::Plain) == registered.state
    }

    /// Evicts the reader whose state word is `state`. Its cursor gates nobody from now on, and its
    /// owner, if it lives, finds out at its next call.
    ///
    /// Not for workers, see [`crate::members::fence`], nor for producers, which write in place and
    /// must be killed instead. Returns false if the entry has another state, does not hold a
    /// reader, or is being changed by another process.
    pub fn evict<L: Locks>(&self, locks: &L, index: usize, state: u64) -> bool {
        if !locks.try_janitor(index) {
            return false;
        }
        // Under the lock the policy belongs to the state, if that is still the given one.
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

    /// Frees the entry of a dead participant, unless it holds a durable name. Returns whether the
    /// entry is free of its dead owner now.
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
            // A registrant that never became valid does not count.
            let last = if status(state) == Status::Filling { state.wrapping_sub(0x100) } else { state };
            self.memory.store(entry + layout::STATE, with(last, FREE), Edge::State);
        }
        locks.release_janitor(index);
        swept
    }
}
