//! The cursors a producer must not overrun.
//!
//! A producer caches how far it may go. Only when that is used up does it look at the cursors, one load each. A
//! cursor of [`NO_GATE`] gates nobody. The cursor of an evicted participant, or of a dead one without a durable
//! name, is passed over *by proof*: the producer cannot write the consumers' file, so it remembers the state word
//! (with its generation) of the entry it has seen dead.
//!
//! Order at an entry: the cursor first, then the state. A new registrant stores its state before its cursor, so a
//! state seen as still the dead one's proves that the cursor, read before it, was the dead one's too.

use crate::layout;
use crate::memory::{Edge, Memory};
use crate::ring::registry::{self, Status};

/// The cursor of an entry that gates nobody.
pub const NO_GATE: u64 = u64::MAX;

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lowest {
    /// The lowest cursor, or the bound that the scan started from.
    pub position: u64,
    /// The registry entry it belongs to.
    pub entry: Option<usize>,
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
        let mut lowest = Lowest { position: bound, entry: None };
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
            if state == dead && dead != 0 || registry::status(state) == Status::Evicted {
                continue;
            }
            lowest = Lowest { position: cursor, entry: Some(index) };
        }
        lowest
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
        if registry::status(state) != Status::Active || !is_dead() {
            return false;
        }
        // After the proof: the owner may have joined just before it died. If the state is unchanged after this, both
        // belong together.
        if registry::is_standing(acks, entry) {
            return false;
        }
        if acks.load(entry + layout::STATE, Edge::State) != state {
            return false;
        }
        self.dead[index] = state;
        true
    }
}
