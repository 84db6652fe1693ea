//! Giving events back: handed back with an attempt counted, or put back as they were; and the
//! outcomes of those that end without being done.

use super::{SlotWorker, Taken};
use crate::memory::Memory;
use crate::slots::outcome::{Outcome, Outcomes};
use crate::slots::redo::AT_ONCE;
use crate::slots::word::{self, done};

impl<M: Memory> SlotWorker<M> {
    /// Hands an event back: it is delivered again, with its attempt counted. `due_ns` returns the
    /// time from which on it may be taken, from the ticket and its attempts. Returns false if this
    /// worker does not hold the event, or no longer holds it.
    pub fn retry(&mut self, ticket: u64, due_ns: impl FnOnce(u64, u8) -> u64) -> bool {
        let Some((attempt, from)) = self.release(ticket) else { return false };
        let attempts = (attempt + 1).min(word::ATTEMPT_MAX);
        self.let_wait(ticket, from, attempts, due_ns(ticket, attempts))
    }

    /// Puts an event back that this worker has not handed out, because its time has not come. It is
    /// taken again from `due_ns` on, and no attempt is counted. Returns false if this worker does
    /// not hold the event, or no longer holds it.
    pub fn postpone(&mut self, ticket: u64, due_ns: u64) -> bool {
        let Some((attempt, from)) = self.release(ticket) else { return false };
        self.let_wait(ticket, from, attempt, due_ns)
    }

    /// Replaces the word `from`, which says that this worker holds the ticket, by REDO with this
    /// many attempts, and announces that the event may be taken from `due_ns` on.
    fn let_wait(&mut self, ticket: u64, from: u64, attempts: u8, due_ns: u64) -> bool {
        let word = self.view.slots.held(ticket, done::REDO, attempts, 0);
        self.redo().prepare(ticket, due_ns);
        // DONE: this worker's accesses to the slot come before it.
        if !self.settle(ticket, from, word) {
            return false;
        }
        // This comes after the REDO. If the worker is killed between the two, the sweep that
        // follows its death announces the event.
        self.redo().announce(ticket, due_ns);
        true
    }

    /// Puts an event back for another time. An event that was never handed out goes back as it was,
    /// to be taken at once. Any other event is handed back as by [`Self::retry`].
    pub fn put_back(&mut self, taken: Taken, due_ns: impl FnOnce(u64, u8) -> u64) -> bool {
        if taken.attempt > 0 {
            return self.retry(taken.ticket, due_ns);
        }
        let put = self.leave_for_later(taken.ticket);
        if put {
            self.redo().announce(taken.ticket, AT_ONCE);
        }
        put
    }

    /// Puts an event back that was never handed out, and announces that to nobody. Returns false if
    /// this worker does not hold it, or no longer holds it.
    pub(super) fn leave_for_later(&mut self, ticket: u64) -> bool {
        let Some((_, from)) = self.release(ticket) else { return false };
        let word = self.view.slots.held(ticket, done::REDO, 0, 0);
        // DONE: as in `retry`.
        self.settle(ticket, from, word)
    }

    fn outcomes(&self) -> Outcomes<'_, M> {
        Outcomes { done: &self.view.done, slots: self.view.slots }
    }

    /// Forgets the outcome that an earlier holder may have noted and not completed. To be called
    /// when an event was taken that was delivered before, and before it is handed out.
    pub fn reset_outcome(&self, taken: Taken) {
        self.outcomes().reset(taken.ticket, taken.attempt);
    }

    /// Notes the outcome of an event that this worker holds and is about to finish.
    pub fn note_outcome(&self, taken: Taken, outcome: Outcome) {
        let seen = self.outcomes().load(taken.ticket);
        // The fence is read after the word: while it is open, no other worker has begun with the
        // event, and what was seen is not a later holder's.
        if self.holds(taken.ticket) && !self.is_fenced() {
            self.outcomes().note(taken.ticket, seen, taken.attempt, outcome);
        }
    }
}
