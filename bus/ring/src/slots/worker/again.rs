//! Taking events that were handed back, when they are due.

use super::{SlotWorker, Taken, UNSEEN};
use crate::layout;
use crate::memory::{Edge, Memory};
use crate::slots::job::Times;
use crate::slots::redo::{Next, Redo};
use crate::slots::word::{self, done};

/// How many events one take tries to win when other workers take them, too.
const REDO_LOOKS: u32 = 64;

impl<M: Memory> SlotWorker<M> {
    /// Takes the first event that was handed back, if its time has come.
    #[cold]
    pub(super) fn take_redo(&mut self, now_ns: u64) -> Option<Taken> {
        // Other workers may be faster with each event that is found. The next call finds the rest.
        for _ in 0..REDO_LOOKS {
            let (next, root) = self.redo().next(now_ns);
            let (slot, due_ns) = match next {
                Next::Ripe(slot, due_ns) => (slot, due_ns),
                Next::Later(due_ns) => {
                    (self.redo_seen, self.redo_due_ns) = (root, due_ns);
                    return None;
                }
                Next::Nothing => {
                    (self.redo_seen, self.redo_due_ns) = (root, u64::MAX);
                    return None;
                }
            };
            if self.is_fenced() {
                return None; // It would be handed back at once, with one more attempt.
            }
            let head = self.view.acks.load(layout::HEAD, Edge::Head);
            let t = self.view.slots.last_in(slot, head);
            let seen = self.view.done.load(self.view.slots.done_offset(t), Edge::Done);
            let attempt = word::attempt(seen);
            let waits = self.view.slots.is_of(seen, t) && word::kind(seen) == done::REDO;
            let won = waits && self.win_redo(t, seen, attempt);
            // The leaf is also cleared if another worker was faster or has died on the way, so that
            // no worker comes here in vain.
            self.redo().withdraw(t, due_ns);
            if won {
                return Some(Taken { ticket: t, attempt });
            }
        }
        None
    }

    /// Takes a ticket that says REDO. Returns false if another worker was faster.
    pub(super) fn win_redo(&mut self, ticket: u64, seen: u64, attempt: u8) -> bool {
        let held = self.view.slots.held(ticket, done::TAKEN, attempt, self.index as u8);
        // DONE: one of the takers wins. The last holder's accesses come before the REDO that it or
        // a repairer stored.
        let won = self
            .view
            .done
            .compare_exchange(self.view.slots.done_offset(ticket), seen, held, Edge::Done)
            .is_ok();
        if won {
            self.redeliveries = self.redeliveries.wrapping_add((attempt > 0) as u8);
            self.taken.add(ticket, self.delivery_of(Taken { ticket, attempt }));
        }
        won
    }

    pub(super) fn redo(&self) -> Redo<'_, M> {
        self.view.redo()
    }

    /// The time from which on the first event that was handed back may be taken, as this worker has
    /// seen it; `u64::MAX` for never.
    pub fn redo_due_ns(&self) -> u64 {
        self.redo_due_ns
    }

    /// Makes the next take look for events that were handed back, even if nothing has changed.
    pub fn look_again(&mut self) {
        self.redo_seen = UNSEEN;
    }

    /// The times of a ticket that this worker holds, whose header word was checked.
    pub fn times(&self, ticket: u64, header: u64) -> Option<Times> {
        Times::of(&self.view.data, self.view.slots, ticket, header)
    }

    /// The root of the index of waiting events when this worker last read it.
    pub fn redo_seen(&self) -> u64 {
        self.redo_seen
    }
}
