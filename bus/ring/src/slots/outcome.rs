//! How the events of a queue ended that were not simply done.
//!
//! **Promise.** As long as the done word of a ticket says that it is done, anybody can find out
//! whether it was done by a worker, became a dead letter, expired or was purged.
//!
//! **How it works.** There is a word for each slot, in the consumers' file behind the index of
//! events that wait:
//!
//! ```text
//!  63..16            15..8     7..0
//! | lap + 1 mod 2^48 | attempt | outcome: 0 none |
//! ```
//!
//! A worker that ends an event in another way than by doing it stores the outcome, and then DONE. A
//! word of another lap says nothing about the ticket. So an event that is simply done costs nothing.
//! Once the slot has been used again, the ticket is finished and its outcome is no longer known.
//!
//! **Why it is sound.** Only the holder of an event stores its outcome. If it is killed between the
//! two stores, the event is delivered again, with its attempt counted. The next holder takes the
//! slow path for that anyway, and first replaces the word by one with its own attempt and no
//! outcome ([`Outcomes::reset`]). An evicted worker stores by compare-and-swap from the word that it
//! saw while its fence was open. The next holder's reset has changed that word.
//!
//! **Left out.** Attempts beyond the highest that is counted: they all have one number.

use crate::layout;
use crate::memory::{Edge, Memory};
use crate::slots::word::{self, Slots, done};

/// The end of an event that no worker has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was delivered too often, and moved to the dead-letter queue.
    DeadLetter = 1,
    /// Its time was over, and it was moved to the dead-letter queue.
    ExpiredLetter = 2,
    /// Its time was over, and it was dropped.
    Expired = 3,
    /// An operator has discarded it.
    Purged = 4,
}

impl Outcome {
    fn from_code(code: u64) -> Option<Outcome> {
        [Outcome::DeadLetter, Outcome::ExpiredLetter, Outcome::Expired, Outcome::Purged]
            .into_iter()
            .find(|outcome| *outcome as u64 == code)
    }
}

/// Where a ticket is, as its words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// No producer has won it yet.
    Future,
    /// It is not finished: this is its done word.
    Open(u64),
    /// A worker has done it. A ticket that carries no event counts as done, too.
    Done,
    /// It has ended in another way.
    Ended(Outcome),
    /// It is finished, and its slot has been used again since.
    Forgotten,
}

/// The outcomes, in the files of a queue.
#[derive(Debug)]
pub struct Outcomes<'a, M> {
    /// The done words, with the index and the outcomes behind them.
    pub done: &'a M,
    /// The geometry.
    pub slots: Slots,
}

impl<M: Memory> Outcomes<'_, M> {
    fn at(&self, t: u64) -> usize {
        layout::outcomes(self.slots.count) as usize + self.slots.index(t) * 8
    }

    /// Loads the word of ticket `t`'s slot.
    pub fn load(&self, t: u64) -> u64 {
        // DONE: the words of the laps before come before it.
        self.done.load(self.at(t), Edge::Done)
    }

    /// Stores that ticket `t` has no outcome so far. The caller has taken the event for another
    /// attempt, and holds it.
    pub fn reset(&self, t: u64, attempt: u8) {
        // DONE: pairs with the load in `progress`.
        self.done.store(self.at(t), self.slots.held(t, 0, 0, attempt), Edge::Done);
    }

    /// Stores the outcome of ticket `t`, which the caller is about to finish, in place of the word
    /// `seen`. Returns false if somebody has changed the word.
    pub fn note(&self, t: u64, seen: u64, attempt: u8, outcome: Outcome) -> bool {
        let word = self.slots.held(t, 0, 0, attempt) | outcome as u64;
        // DONE: as in `reset`. The holder's DONE comes after it.
        self.done.compare_exchange(self.at(t), seen, word, Edge::Done).is_ok()
    }

    /// Where ticket `t` is. `tail` is the next ticket to be won.
    pub fn progress(&self, t: u64, tail: u64) -> Progress {
        if t >= tail {
            return Progress::Future;
        }
        // DONE: the outcome comes before it, as does everything that the worker did.
        let word = self.done.load(self.slots.done_offset(t), Edge::Done);
        if self.slots.is_newer(word, t) {
            return Progress::Forgotten;
        }
        if word != self.slots.state(t, done::DONE) {
            return Progress::Open(word);
        }
        let outcome = self.load(t);
        if self.slots.is_of(outcome, t) {
            return Outcome::from_code(outcome & 0xFF).map_or(Progress::Done, Progress::Ended);
        }
        // The slot's next event may be about to end. Its outcome comes before its DONE. An outcome of
        // a later lap than that comes after it (DONE).
        let is_next = self.slots.is_of(outcome, t.wrapping_add(self.slots.count));
        match is_next || self.done.load(self.slots.done_offset(t), Edge::Done) != word {
            true => Progress::Forgotten,
            false => Progress::Done,
        }
    }
}

/// The worker that a done word names, and the deliveries before this one; `None` unless the ticket
/// is taken.
pub fn holder(word: u64) -> Option<(usize, u8)> {
    (word::kind(word) == done::TAKEN).then(|| (word::worker(word) as usize, word::attempt(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::plain::Plain;

    #[test]
    fn an_outcome_counts_for_its_own_lap_only() {
        let slots = Slots::new(64, 64);
        let done = Plain::zeroed(layout::done_bytes(64) as usize / 8);
        let outcomes = Outcomes { done: &done, slots };
        for t in [5, 64 + 5, (64 << 48) - 64 + 5] {
            assert_eq!(outcomes.progress(t, t), Progress::Future);
            done.store(slots.done_offset(t), slots.previous_lap_done(t), Edge::Done);
            assert_eq!(outcomes.progress(t, t + 1), Progress::Open(slots.previous_lap_done(t)));
            let held = slots.held(t, done::TAKEN, 3, 200);
            done.store(slots.done_offset(t), held, Edge::Done);
            assert_eq!(outcomes.progress(t, t + 1), Progress::Open(held));
            assert_eq!(holder(held), Some((200, 3)));
            done.store(slots.done_offset(t), slots.state(t, done::DONE), Edge::Done);
            assert_eq!(outcomes.progress(t, t + 1), Progress::Done);
            for outcome in [Outcome::DeadLetter, Outcome::ExpiredLetter, Outcome::Expired, Outcome::Purged] {
                assert!(outcomes.note(t, outcomes.load(t), 3, outcome));
                assert_eq!(outcomes.progress(t, t + 1), Progress::Ended(outcome));
            }
            outcomes.reset(t, 4);
            assert_eq!(outcomes.progress(t, t + 1), Progress::Done);
            assert!(outcomes.note(t, outcomes.load(t), 4, Outcome::Purged));
            done.store(slots.done_offset(t), slots.state(t + 64, done::DONE), Edge::Done);
            assert_eq!(outcomes.progress(t, t + 65), Progress::Forgotten);
            assert_eq!(
                outcomes.progress(t + 64, t + 65),
                Progress::Done,
                "not the outcome of the lap before"
            );
        }
    }

    #[test]
    fn a_note_of_an_evicted_worker_comes_to_nothing_once_the_next_holder_has_begun() {
        let slots = Slots::new(64, 64);
        let done = Plain::zeroed(layout::done_bytes(64) as usize / 8);
        let outcomes = Outcomes { done: &done, slots };
        let seen = outcomes.load(7);
        outcomes.reset(7, 1);
        assert!(!outcomes.note(7, seen, 0, Outcome::Purged));
        done.store(slots.done_offset(7), slots.state(7, done::DONE), Edge::Done);
        assert_eq!(outcomes.progress(7, 8), Progress::Done);
    }
}
