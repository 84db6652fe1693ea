//! Where the newest durable states are. Retention must not remove anything from there on.
//!
//! A state counts from the sync on that covers the block of its last piece. Until every kind of
//! state that the journal has was appended again and made durable, the segments of the older states
//! are needed.

use std::collections::VecDeque;

use crate::format::RecordKind;

/// Most states that are tracked one by one while they are not durable. Further ones count when the
/// newest of them is durable.
const PENDING_MAX: usize = 64;

/// A state that is written, or on its way.
#[derive(Debug, Clone, Copy)]
struct PendingState {
    /// The number of the block that holds its last piece.
    sequence: u64,
    /// The segment in which it begins.
    segment: u64,
    /// Number of states of its kind up to this one.
    count: u64,
}

/// The history of one kind of state.
#[derive(Debug, Default)]
struct Kind {
    /// Whether the journal had one before this writer began.
    inherited: bool,
    /// The segment in which the newest state that is on its way begins.
    began: u64,
    /// Number of states whose write was begun, and number of those that are durable.
    written: u64,
    durable: u64,
    /// The segment in which the newest durable state begins.
    durable_in: Option<u64>,
    pending: VecDeque<PendingState>,
}

/// The states of a journal that is being written.
#[derive(Debug, Default)]
pub(super) struct Stated([Kind; RecordKind::STATES.len()]);

impl Stated {
    /// Creates the table for a journal that has these kinds of states.
    pub(super) fn new(inherited: [bool; RecordKind::STATES.len()]) -> Stated {
        Stated(inherited.map(|inherited| Kind { inherited, ..Kind::default() }))
    }

    /// Records that the write of a block of `segment` was begun: which kinds of states begin in it,
    /// and how many of each kind end in it.
    pub(super) fn written(
        &mut self,
        segment: u64,
        sequence: u64,
        begins: [bool; RecordKind::STATES.len()],
        ends: [u32; RecordKind::STATES.len()],
    ) {
        for ((kind, begins), ends) in self.0.iter_mut().zip(begins).zip(ends) {
            if begins {
                kind.began = segment;
            }
            if ends == 0 {
                continue;
            }
            kind.written += u64::from(ends);
            if kind.pending.len() == PENDING_MAX {
                kind.pending.pop_back();
            }
            kind.pending.push_back(PendingState { sequence, segment: kind.began, count: kind.written });
        }
    }

    /// Records that every block before this one is durable.
    pub(super) fn durable(&mut self, before: u64) {
        for kind in &mut self.0 {
            while kind.pending.front().is_some_and(|state| state.sequence < before)
                && let Some(state) = kind.pending.pop_front()
            {
                kind.durable_in = Some(state.segment);
                kind.durable = state.count;
            }
        }
    }

    /// Returns the oldest segment with a needed state; `u64::MAX` when no state was ever made
    /// durable.
    pub(super) fn needed_from(&self) -> u64 {
        let kinds = self.0.iter().filter(|kind| kind.inherited || kind.durable_in.is_some());
        kinds.map(|kind| kind.durable_in.unwrap_or(0)).min().unwrap_or(u64::MAX)
    }

    /// Returns how many of the states of a kind that this writer wrote are durable.
    pub(super) fn durable_count(&self, kind: usize) -> u64 {
        self.0[kind].durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_count_when_they_are_durable_and_what_the_journal_had_is_needed_until_then() {
        let mut stated = Stated::new([true, false, false]);
        assert_eq!(stated.needed_from(), 0, "the older one is all there is");
        stated.written(7, 100, [true, true, false], [1, 0, 0]);
        stated.durable(100);
        assert_eq!((stated.needed_from(), stated.durable_count(0)), (0, 0), "its block is not covered");
        stated.durable(101);
        assert_eq!((stated.needed_from(), stated.durable_count(0)), (7, 1));
        // The second kind's last piece is in the next segment; the state begins where its first
        // piece is.
        stated.written(8, 102, [true, false, false], [2, 1, 0]);
        stated.durable(103);
        assert_eq!((stated.needed_from(), stated.durable_count(0)), (7, 3));
        stated.written(9, 104, [false, true, false], [0, 1, 0]);
        stated.durable(105);
        assert_eq!(stated.needed_from(), 8);
    }

    #[test]
    fn no_state_is_no_reason_to_keep_anything() {
        assert_eq!(Stated::new([false; 3]).needed_from(), u64::MAX);
    }

    #[test]
    fn many_that_are_not_durable_are_counted_together() {
        let mut stated = Stated::new([false; 3]);
        for sequence in 0..1000 {
            stated.written(1 + sequence / 100, sequence, [true, false, false], [1, 0, 0]);
        }
        stated.durable(10);
        assert_eq!((stated.durable_count(0), stated.needed_from()), (10, 1));
        stated.durable(900);
        assert_eq!(stated.durable_count(0), PENDING_MAX as u64 - 1);
        stated.durable(1000);
        assert_eq!((stated.durable_count(0), stated.needed_from()), (1000, 10));
    }
}
