//! The cursors a producer must not overrun.
//!
//! A producer caches how far it may go. Only when that is used up does it look at the cursors, one load each. A
//! cursor of [`NO_GATE`] gates nobody. The cursor of an evicted participant, or of a dead one without a durable
//! name, is passed over *by proof*: the producer cannot write the consumers' file, so it remembers the state word
//! (with its generation) of the entry it has seen dead.
//!
//! Order at an entry: the cursor first, then the state. A new registrant stores its state before its cursor, so a
//! state seen as still the dead one's proves that the cursor, read before it, was the dead one's too.
//!
//! **Lent bytes.** An evicted participant that lives may have an event in hand,
//! which it reads in place. It gates nobody, but the bytes that it may look at stay as they are until it has
//! noticed, has left or has died: producers step over them, lap after lap (see [`crate::members::lent`]).

use crate::layout;
use crate::members::lent::{self, Lent};
use crate::members::registry::{self, Status};
use crate::memory::{Edge, Memory};

pub use crate::members::registry::NO_GATE;

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lowest {
    /// The lowest cursor, or the bound that the scan started from.
    pub position: u64,
    /// The registry entry it belongs to.
    pub entry: Option<usize>,
    /// Whether an evicted participant was passed over: [`Gates::lent`] tells what is to be left alone for it.
    pub passed_evicted: bool,
}

/// A producer's view of the consumers' cursors.
#[derive(Debug)]
pub struct Gates {
    /// For each entry the state word that was proven dead; 0 for none.
    dead: Box<[u64]>,
}

impl Gates {
    /// For a registry of `entries` entries.
    pub fn new(entries: usize) -> Gates {
        Gates { dead: vec![0; entries].into_boxed_slice() }
    }

    /// The lowest cursor below `bound`.
    #[inline(never)]
    pub fn lowest<M: Memory>(&self, acks: &M, bound: u64) -> Lowest {
        let mut lowest = Lowest { position: bound, entry: None, passed_evicted: false };
        // STATE: a registrant raises the mark before it stores a cursor.
        let high = (acks.load(layout::CONSUMERS_HIGH, Edge::State) as usize).min(self.dead.len());
        for (index, &dead) in self.dead[..high].iter().enumerate() {
            let entry = layout::entry(index);
            // CURSOR: pairs with the store in the readers; what lies before the cursor may be overwritten.
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

    /// The next that is to be left alone behind `position`, in a ring of `size` (slots, or bytes), for
    /// participants that were evicted and may still look at it. A look at every entry, and a fence: only
    /// where somebody was evicted.
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
        // It ends where nobody else's goes on: what is written behind it is nobody's.
        while let Some(other) = all().find(|other| other.from <= next.to && other.to > next.to) {
            next.to = other.to;
        }
        Some(next)
    }

    /// Passes over the participant that is registered in `index` now, if it may be: it was seen dead *after* this
    /// state word was read, and holds no durable name. Returns whether it is passed over.
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
        // After the proof: the owner may have joined just before it died. If the state is unchanged after this, both
        // belong together.
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
