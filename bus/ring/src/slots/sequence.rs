//! The numbers that named publishers give their own events. They are kept so that a publisher that
//! was killed continues exactly where the channel has it.
//!
//! **Promise.** The successor of a named publisher leaves no event out. It publishes none twice,
//! with the one exception below.
//!
//! Each name has an entry in a table in `.ring`, which outlives its owner:
//!
//! ```text
//! publish number n:  claim;  AT = position;  NEXT = n;  commit the event;  LAST = n
//! take over:         NEXT == LAST: nothing is open.  Else LAST = NEXT if the event at AT was committed
//! ```
//!
//! **How it works.** AT is stored before NEXT, so that an open NEXT has its position. Both are
//! stored before the commit. The kind of ring decides whether the event at AT was committed:
//!
//! - A stream's successor settles every open entry when it takes over, before it writes a byte.
//!   Everything before its place is committed, and nothing else is.
//! - In a slot ring the sequence word of the ticket says it, as long as the slot was not used
//!   again. After that it cannot be known, and the event counts as not published. It may then be
//!   published twice, with the same number, which a reader can recognise.
//!
//! **Why it is sound.** Only one live owner has a name ([`crate::members::registry`]). A successor
//! has seen the owner's lock dropped by the kernel, which orders the owner's stores before it. For
//! all other participants the commit orders them.
//!
//! **Left out.** The recognition of a repeated number: a reader does that.

use crate::layout;
use crate::memory::{Edge, Memory};
use crate::slots::word::{Slots, seq};

/// The table of a channel.
#[derive(Debug, Clone)]
pub struct Sequences<M> {
    ring: M,
    /// The offset of the table in the control block of `.ring`.
    at: usize,
}

impl<M: Memory> Sequences<M> {
    /// The table of a channel whose registry has `producers` entries.
    pub fn new(ring: M, producers: usize) -> Sequences<M> {
        Sequences { ring, at: layout::sequences(producers) }
    }

    fn load(&self, index: usize, field: usize) -> u64 {
        self.ring.load(self.at + index * layout::SEQUENCE_BYTES + field, Edge::Plain)
    }

    fn store(&self, index: usize, field: usize, value: u64) {
        self.ring.store(self.at + index * layout::SEQUENCE_BYTES + field, value, Edge::Plain);
    }

    fn is_used(&self, index: usize) -> bool {
        // STATE: pairs with `enter`.
        self.ring.load(self.at + index * layout::SEQUENCE_BYTES + layout::SEQUENCE_USED, Edge::State) == 1
    }

    fn name(&self, index: usize) -> [u64; 8] {
        std::array::from_fn(|i| self.load(index, layout::SEQUENCE_NAME + i * 8))
    }

    /// The name (UTF-8, padded with zeros) and the last number of each entry in use.
    pub fn entries(&self) -> impl Iterator<Item = ([u64; 8], u64)> {
        let used = (0..layout::SEQUENCES_MAX).filter(|&index| self.is_used(index));
        used.map(|index| (self.name(index), self.load(index, layout::SEQUENCE_LAST)))
    }

    /// Returns the entry of `name`, and makes it with `last` if there is none. Returns `None` if
    /// the table is full. The caller holds the lock of the names.
    pub fn enter(&self, name: [u64; 8], last: u64) -> Option<usize> {
        let own = (0..layout::SEQUENCES_MAX).find(|&index| self.is_used(index) && self.name(index) == name);
        if own.is_some() {
            return own;
        }
        let index = (0..layout::SEQUENCES_MAX).find(|&index| !self.is_used(index))?;
        for (i, &word) in name.iter().enumerate() {
            self.store(index, layout::SEQUENCE_NAME + i * 8, word);
        }
        self.store(index, layout::SEQUENCE_LAST, last);
        self.store(index, layout::SEQUENCE_NEXT, last);
        // STATE: the entry is written before it is in use.
        self.ring.store(self.at + index * layout::SEQUENCE_BYTES + layout::SEQUENCE_USED, 1, Edge::State);
        Some(index)
    }

    /// Settles an event that a dead owner of entry `index` left open. `is_committed` says whether
    /// the event at a position was committed.
    pub fn settle(&self, index: usize, is_committed: impl FnOnce(u64) -> bool) {
        let (last, next) = (self.load(index, layout::SEQUENCE_LAST), self.load(index, layout::SEQUENCE_NEXT));
        if last == next || !self.is_used(index) {
            return;
        }
        if is_committed(self.load(index, layout::SEQUENCE_AT)) {
            self.store(index, layout::SEQUENCE_LAST, next);
        } else {
            self.store(index, layout::SEQUENCE_NEXT, last);
        }
    }

    /// Settles every entry: exactly the events before `end` were committed. The successor in a
    /// stream calls this.
    pub fn settle_before(&self, end: u64) {
        for index in 0..layout::SEQUENCES_MAX {
            self.settle(index, |at| at < end);
        }
    }

    /// The last number of entry `index`.
    pub fn last(&self, index: usize) -> u64 {
        self.load(index, layout::SEQUENCE_LAST)
    }

    /// Stores that event `number` is about to be committed at `position`.
    pub fn begin(&self, index: usize, position: u64, number: u64) {
        self.store(index, layout::SEQUENCE_AT, position);
        self.store(index, layout::SEQUENCE_NEXT, number);
    }

    /// Stores that event `number` was committed. With the number before it, stores that the event
    /// will not be committed.
    pub fn end(&self, index: usize, number: u64) {
        self.store(index, layout::SEQUENCE_LAST, number);
        self.store(index, layout::SEQUENCE_NEXT, number);
    }
}

/// Whether the event of ticket `t`, whose owner is dead, was published, as far as its slot still
/// shows that.
pub fn is_published<M: Memory>(data: &M, slots: Slots, t: u64) -> bool {
    // PUBLISH: as in the readers.
    data.load(slots.offset(t) + layout::SLOT_SEQ, Edge::Publish) == slots.state(t, seq::PUBLISHED)
}
