//! The numbers that named publishers give their own events, kept so that a publisher that was killed goes on where the
//! channel has it, neither leaving an event out nor publishing one twice.
//!
//! Each name has an entry in a table in `.ring`, which outlives its owner:
//!
//! ```text
//! publish number n:  claim;  AT = position;  NEXT = n;  commit the event;  LAST = n
//! take over:         NEXT == LAST: LAST it is.  Otherwise NEXT, if the event at AT was committed; else LAST
//! ```
//!
//! AT is stored before NEXT, so that an open NEXT has its position; both before the commit. Whether the event at AT was
//! committed is for the kind of ring to say: a stream's successor settles every open entry when it takes over, before it
//! writes a byte: what lies before its place is committed, and nothing else is. In a slot ring the sequence word of the
//! ticket says it, as long as the slot was not used again; after that nobody knows, and the event counts as not
//! published: it may be published twice, with the same number, by which a reader can tell.
//!
//! Only one live owner has a name (see registering). Its stores need no order among themselves beyond what the kernel
//! gives a successor that has seen the owner's lock dropped; the commit orders them for everybody else.

use crate::layout;
use crate::memory::{Edge, Memory};
use crate::slots::word::{Slots, seq};

/// The table of a channel.
#[derive(Debug, Clone)]
pub struct Sequences<M> {
    ring: M,
    /// Where the table is in `.ring`'s control block.
    at: usize,
}

impl<M: Memory> Sequences<M> {
    /// The table of a channel with a registry of `producers` entries.
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

    /// The entries in use: name (UTF-8, zero-padded) and last number.
    pub fn entries(&self) -> impl Iterator<Item = ([u64; 8], u64)> {
        let used = (0..layout::SEQUENCES_MAX).filter(|&index| self.is_used(index));
        used.map(|index| (self.name(index), self.load(index, layout::SEQUENCE_LAST)))
    }

    /// The entry of `name`, made with `last` if there is none. `None` when the table is full. The caller holds the lock
    /// of the names.
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

    /// Settles what a dead owner of entry `index` left open; `is_committed` tells of a position.
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

    /// Settles every entry: what lies before `end` was committed. For who takes over a stream.
    pub fn settle_before(&self, end: u64) {
        for index in 0..layout::SEQUENCES_MAX {
            self.settle(index, |at| at < end);
        }
    }

    /// The last number of entry `index`.
    pub fn last(&self, index: usize) -> u64 {
        self.load(index, layout::SEQUENCE_LAST)
    }

    /// Notes that event `number` is about to be committed at `position`.
    pub fn begin(&self, index: usize, position: u64, number: u64) {
        self.store(index, layout::SEQUENCE_AT, position);
        self.store(index, layout::SEQUENCE_NEXT, number);
    }

    /// Notes that it was, or, with the number before it, that it will not be.
    pub fn end(&self, index: usize, number: u64) {
        self.store(index, layout::SEQUENCE_LAST, number);
        self.store(index, layout::SEQUENCE_NEXT, number);
    }
}

/// Whether the event of ticket `t`, whose owner is dead, was published, as far as its slot still tells.
pub fn is_published<M: Memory>(data: &M, slots: Slots, t: u64) -> bool {
    // PUBLISH: as in the readers.
    data.load(slots.offset(t) + layout::SLOT_SEQ, Edge::Publish) == slots.state(t, seq::PUBLISHED)
}
