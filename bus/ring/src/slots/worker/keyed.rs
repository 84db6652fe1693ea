//! Taking from a keyed queue. It works as in any queue, except that an event is put aside while an
//! earlier event with its key is not done.
//!
//! **Promise.** Events with one key are handed out one after another, in order. Any number of
//! events may be put aside, so a key with a long backlog delays no other key: the ring is the only
//! bound.
//!
//! ```text
//! take:  an event handed back, or put aside, that may run:   CAS done[t]: REDO -> TAKEN(me)
//!        else  win a ticket t from the head;   may it run?   hand it out
//!                                              else          done[t] = REDO; fence; may it run now?
//! done:  done[t] = DONE; fence;  was the next with its key put aside?   count the hint up, wake a worker
//! ```
//!
//! **How it works.** An event that is put aside belongs to no worker. The first worker that looks
//! when it may run takes it. So no worker's death or pause delays it, and no attempt is counted for
//! it. It waits in its slot, as every event does that was handed back.
//!
//! **Why it is sound. There is no circle**, because an event waits for earlier events only. The
//! earliest unfinished event of a key is held by a live worker, or was held by a dead one (the
//! sweep hands it back), or says REDO and may run.
//!
//! **No wake-up is lost** (ASIDE). A worker that puts `t` aside stores REDO, fences, and reads the
//! done word of the event before it again. A worker that finishes that event stores DONE, fences,
//! and looks whether the next was put aside. One of them sees the other. If a worker is killed or
//! stopped between its DONE and the hint, two others make up for it. One is the sweep after its
//! death, the other every worker's look after each millisecond or so of waiting.
//!
//! **Left out.** Which unfinished events carry which key: see [`crate::slots::key_order`].

use super::{Delivery, SlotWorker, Taken};
use crate::layout;
use crate::memory::{Edge, Memory};
use crate::slots::key_order::KeyOrder;
use crate::slots::word::{self, done};

/// One take puts about this many events aside at most, so that its caller can check its deadline
/// and its peers.
const PASS_MAX: u32 = 1024;

/// The result of [`SlotWorker::done_in_order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoneInOrder {
    /// Whether this worker held the event.
    pub held: bool,
    /// Whether another event may run now that could not before. Then a worker should be woken for
    /// it.
    pub frees: bool,
}

impl<M: Memory> SlotWorker<M> {
    /// Does the same as [`Self::take`], in the order of the keys. While an event that was handed
    /// back waits for its time, later events with its key wait, too. If no event is returned,
    /// [`KeyOrder::is_passing`] says whether there may be more behind those that were put aside.
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
                if order.may_run(&self.view, taken.ticket) || self.put_aside(order, taken.ticket) {
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
            let root = self.view.acks.load(layout::REDO_ROOT, Edge::Index);
            if root != self.redo_seen
                || order.is_to_look()
                || (self.redo_due_ns != u64::MAX && self.redo_due_ns <= now_ns())
            {
                let head = self.view.acks.load(layout::HEAD, Edge::Head);
                self.redo_due_ns = order.look(&self.view, head, &now_ns);
                self.redo_seen = root;
            }
            if std::mem::take(&mut self.fresh_first)
                && let Some(taken) = self.take_fresh(most)
            {
                self.keep_waiting(taken.ticket);
                continue;
            }
            while let Some((ticket, seen)) = order.next_ready() {
                let attempt = word::attempt(seen);
                // If this fails, another worker was faster.
                if self.pick_up(ticket, seen, attempt) {
                    self.fresh_first = true;
                    return Some(Taken { ticket, attempt });
                }
            }
            let taken = self.take_fresh(most)?;
            self.keep_waiting(taken.ticket);
        }
        None
    }

    /// Does the same as [`Self::done_delivery`], and finds out whether the next event with the same
    /// key waits for this one.
    pub fn done_in_order(&mut self, order: &mut KeyOrder, ticket: u64, delivery: Delivery) -> DoneInOrder {
        if !self.holds_delivery(ticket, delivery) {
            return DoneInOrder { held: false, frees: false };
        }
        // The key is read before the event is done: after that the slot belongs to others.
        let key = self.view.key(ticket);
        let held = self.done(ticket);
        let Some(key) = key.filter(|_| held) else { return DoneInOrder { held, frees: false } };
        // ASIDE: the DONE comes before the load of the next event's done word.
        self.view.done.fence(Edge::Aside);
        let head = self.view.acks.load(layout::HEAD, Edge::Head);
        let frees = order.next_waits(&self.view, head, key, ticket);
        if frees {
            // This comes after the DONE, as after a REDO in `retry`. This worker has seen the
            // change already.
            let (before, after) = self.redo().touch();
            if before == self.redo_seen {
                self.redo_seen = after;
            }
        }
        DoneInOrder { held, frees }
    }

    /// Puts a ticket aside that was won and not handed out. Returns true if it may run after all,
    /// and is held again.
    fn put_aside(&mut self, order: &mut KeyOrder, ticket: u64) -> bool {
        if !self.leave_for_later(ticket) {
            return false;
        }
        // ASIDE: the REDO comes before the second look at the events before it.
        self.view.done.fence(Edge::Aside);
        let aside = self.view.slots.held(ticket, done::REDO, 0, 0);
        order.may_run(&self.view, ticket) && self.pick_up(ticket, aside, 0)
    }

    /// Takes a ticket that says REDO and may run. The worker that takes it hands it out, so its
    /// TAKEN word never comes again.
    pub fn pick_up(&mut self, ticket: u64, seen: u64, attempt: u8) -> bool {
        if self.is_fenced() {
            return false; // It would be handed back at once, with one more attempt.
        }
        let due_ns = self.redo().due(ticket);
        let won = self.win_redo(ticket, seen, attempt);
        if won && due_ns != 0 {
            self.redo().withdraw(ticket, due_ns);
        }
        won
    }
}
