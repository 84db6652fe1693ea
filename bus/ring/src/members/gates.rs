//! The cursors that a producer must not overrun.
//!
//! **Promise.** A producer that stays below the lowest gate overwrites nothing that a reliable
//! reader still needs.
//!
//! **How it works.** A producer caches how far it may go. Only when that is used up does it load
//! the cursors, one load each. A cursor of [`NO_GATE`] gates nobody. The cursor of an evicted
//! participant is passed over. So is the cursor of a dead participant without a durable name, *by
//! proof*: the producer cannot write the consumers' file, so it remembers the state word of the
//! entry that it has seen dead, with its generation.
//!
//! **Why it is sound.** The cursor of an entry is loaded first, then its state. A new registrant
//! stores its state before its cursor. So if the state is still that of the dead participant, the
//! cursor that was loaded before it was the dead participant's, too.
//!
//! **Lent bytes.** An evicted participant that lives may hold an event that it reads in place. It
//! gates nobody, but the bytes that it may read stay as they are until it has noticed, has left or
//! has died. Producers step over them in each lap ([`crate::members::lent`]).
//!
//! **Left out.** The proof of death itself: the caller has it.

use crate::layout;
use crate::members::lent::{self, Lent};
use crate::members::registry::{self, Status};
use crate::memory::{Edge, Memory};

pub use crate::members::registry::NO_GATE;

/// The result of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lowest {
    /// The lowest cursor, or the bound that the scan started from.
    pub position: u64,
    /// The registry entry that it belongs to.
    pub entry: Option<usize>,
    /// Whether an evicted participant was passed over. Then [`Gates::lent`] returns the bytes that
    /// must not be written.
    pub passed_evicted: bool,
}

/// A producer's view of the consumers' cursors.
#[derive(Debug)]
pub struct Gates {
    /// For each entry, the state word that was proven dead; 0 for none.
    dead: Box<[u64]>,
}

impl Gates {
    /// Makes the view of a registry of `entries` entries.
    pub fn new(entries: usize) -> Gates {
        Gates { dead: vec![0; entries].into_boxed_slice() }
    }

    /// The lowest cursor below `bound`.
    #[inline(never)]
    pub fn lowest<M: Memory>(&self, acks: &M, bound: u64) -> Lowest {
        let mut lowest = Lowest { position: bound, entry: None, passed_evicted: false };
        // STATE: a registrant raises the high-water word before it stores a cursor.
        let high = (acks.load(layout::CONSUMERS_HIGH, Edge::State) as usize).min(self.dead.len());
        for (index, &dead) in self.dead[..high].iter().enumerate() {
            let entry = layout::entry(index);
            // CURSOR: pairs with the store in the readers. Everything before the cursor may be
            // overwritten.
            let cursor = acks.load(entry + layout::CURSOR, Edge::Cursor);
            if cursor >= lowest.position {
                continue;
            }
            let state = acks.load(entry + layout::STATE, Edge::State);
            if state == dead && dead != 0 {
                continue;
            }
            if registry::status(state) == Status::Evicted {
                lowest.passed_evicted = true;
                continue;
            }
            lowest = Lowest { position: cursor, entry: Some(index), ..lowest };
        }
        lowest
    }

    /// Returns the next range behind `position` that must not be written, because evicted
    /// participants may still read it. The ring has `size` slots or bytes. It loads every entry and
    /// executes a memory fence, so it is called only if a participant was evicted.
    #[cold]
    pub fn lent<M: Memory>(&self, acks: &M, position: u64, size: u64) -> Option<Lent> {
        // STATE: as in `lowest`.
        let high = (acks.load(layout::CONSUMERS_HIGH, Edge::State) as usize).min(self.dead.len());
        let of = |(entry, &dead): (usize, &u64)| {
            let state = acks.load(layout::entry(entry) + layout::STATE, Edge::State);
            let may_look = registry::status(state) == Status::Evicted && state != dead;
            let span = may_look.then(|| lent::of_evicted(acks, entry)).flatten()?;
            Some(span.next_image(entry, position, size))
        };
        let all = || self.dead[..high].iter().enumerate().filter_map(of);
        let mut next = all().min_by_key(|lent| lent.from)?;
        // The range ends where no other range continues it. Behind that, any byte may be written.
        while let Some(other) = all().find(|other| other.from <= next.to && other.to > next.to) {
            next.to = other.to;
        }
        Some(next)
    }

    /// Passes over the participant that is registered in `index` now, if that is allowed. It must
    /// have been seen dead *after* its state word was read, and must hold no durable name. Returns
    /// whether it is passed over.
    pub fn pass_over_dead<M: Memory>(
        &mut self,
        acks: &M,
        index: usize,
        is_dead: impl FnOnce() -> bool,
    ) -> bool {
        let entry = layout::entry(index);
        let state = acks.load(entry + layout::STATE, Edge::State);
        let is_evicted = registry::status(state) == Status::Evicted;
        if !is_evicted && registry::status(state) != Status::Active || !is_dead() {
            return false;
        }
        // This comes after the proof, because the owner may have joined just before it died. If the
        // state is unchanged after this, both belong to the same owner.
        if !is_evicted && registry::is_registered(acks, entry) {
            return false;
        }
        if acks.load(entry + layout::STATE, Edge::State) != state {
            return false;
        }
        self.dead[index] = state;
        true
    }
}
