//! Taking from a keyed queue: as from any, but an event whose key is in work, or waits, is put aside.
//!
//! ```text
//! take:  an event handed back, or put aside, that may run:   CAS done[t]: REDO -> TAKEN(me)
//!        else  win a ticket t from the head;   may it run?   hand it out
//!                                              else          done[t] = REDO; fence; may it run now?
//! done:  done[t] = DONE; fence;  was the next with its key put aside?   count the hint up, wake a worker
//! ```
//!
//! Any number of events may be put aside, so that a key with a long backlog holds no other key up: the ring
//! is the bound.
//!
//! An event that is put aside belongs to nobody: whoever comes first when it may run takes it, nobody's death or pause
//! holds it up, and no attempt is counted for it. It waits in its slot, as everything that is handed back does.
//!
//! **Nobody waits in a circle.** An event waits for earlier ones only. The earliest unfinished event of a key is in a
//! live worker's hands, or in a dead one's (and handed back by the sweep), or says REDO and may run. **Nobody waits for
//! ever** (ASIDE): whoever puts `t` aside stores REDO, fences, and looks at the event before it again; whoever finishes
//! that stores DONE, fences, and looks whether the next was put aside. One of them sees the other. A worker that is killed
//! or stopped between its DONE and the hint is made up for by the sweep after its death, and by every worker's look
//! about each ms of waiting.

use super::{Delivery, SlotWorker, Taken};
use crate::layout;
use crate::memory::{Edge, Memory};
use crate::slots::key_order::{KeyOrder, View};
use crate::slots::word::{self, done};

/// One take puts about so many events aside at most, so that its caller can look at its deadline and at its
/// peers.
const PASS_MAX: u32 = 1024;

/// What became of [`SlotWorker::done_in_order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoneInOrder {
    /// Whether the event was in this worker's hands.
    pub held: bool,
    /// Whether another event may run now that could not before: somebody should be woken for it.
    pub frees: bool,
}

impl<M: Memory> SlotWorker<M> {
    /// As [`Self::take`], in the order of the keys. Where an event that was handed back waits for its time, later ones with
    /// its key wait, too. With nothing to hand out, [`KeyOrder::is_passing`] tells whether there may be more
    /// behind what was put aside.
    pub fn take_in_order(
        &mut self,
        order: &mut KeyOrder,
        most: u32,
        now_ns: impl Fn() -> u64,
    ) -> Option<Taken> {
        let mut passed = 0;
        order.passing(false);
        while !self.refused {
            while self.waiting != 0 {
                let taken = self.hand_out();
                if order.may_run(&self.view(), taken.ticket) || self.put_aside(order, taken.ticket) {
                    return Some(taken);
                }
                passed += 1;
            }
            if passed >= PASS_MAX {
                self.retract();
                order.passing(true);
                return None;
            }
            // INDEX: as in `take`.
            let root = self.acks.load(layout::REDO_ROOT, Edge::Index);
            if root != self.redo_seen
                || order.is_to_look()
                || (self.redo_due_ns != u64::MAX && self.redo_due_ns <= now_ns())
            {
                let head = self.acks.load(layout::HEAD, Edge::Head);
                self.redo_due_ns = order.look(&self.view(), head, &now_ns);
                self.redo_seen = root;
            }
            if std::mem::take(&mut self.fresh_first)
                && let Some(taken) = self.take_fresh(most)
            {
                self.hand_out_again(taken.ticket);
                continue;
            }
            while let Some((ticket, seen)) = order.next_ready() {
                let attempt = word::attempt(seen);
                // Where it fails another worker was faster.
                if self.pick_up(ticket, seen, attempt) {
                    self.fresh_first = true;
                    return Some(Taken { ticket, attempt });
                }
            }
            let taken = self.take_fresh(most)?;
            self.hand_out_again(taken.ticket);
        }
        None
    }

    /// As [`Self::done_delivery`], and finds out whether the next event with the same key waits for this one.
    pub fn done_in_order(&mut self, order: &mut KeyOrder, ticket: u64, delivery: Delivery) -> DoneInOrder {
        if !self.holds_delivery(ticket, delivery) {
            return DoneInOrder { held: false, frees: false };
        }
        // Before it is done: then the slot is another's.
        let key = self.view().key(ticket);
        let held = self.done(ticket);
        let Some(key) = key.filter(|_| held) else { return DoneInOrder { held, frees: false } };
        // ASIDE: the DONE comes before the look at the next one's word.
        self.done.fence(Edge::Aside);
        let head = self.acks.load(layout::HEAD, Edge::Head);
        let frees = order.next_waits(&self.view(), head, key, ticket);
        if frees {
            // After the DONE; as after a REDO in `retry`. This worker knows already.
            let (before, after) = self.redo().touch();
            if before == self.redo_seen {
                self.redo_seen = after;
            }
        }
        DoneInOrder { held, frees }
    }

    fn view(&self) -> View<'_, M> {
        View { acks: &self.acks, data: &self.data, done: &self.done, slots: self.slots }
    }

    /// Puts a ticket aside that was won and not handed out. True when it may run after all, and is in hand again.
    fn put_aside(&mut self, order: &mut KeyOrder, ticket: u64) -> bool {
        if !self.leave_for_later(ticket) {
            return false;
        }
        // ASIDE: the REDO comes before the second look at the events before it.
        self.done.fence(Edge::Aside);
        let aside = self.slots.held(ticket, done::REDO, 0, 0);
        order.may_run(&self.view(), ticket) && self.pick_up(ticket, aside, 0)
    }

    /// Takes a ticket that says REDO. It may run: who takes it hands it out, so that its TAKEN word never comes again.
    pub fn pick_up(&mut self, ticket: u64, seen: u64, attempt: u8) -> bool {
        if self.is_fenced() {
            return false; // It would have to be handed back at once, an attempt more.
        }
        let due_ns = self.redo().due(ticket);
        let won = self.win_redo(ticket, seen, attempt);
        if won && due_ns != 0 {
            self.redo().withdraw(ticket, due_ns);
        }
        won
    }
}
