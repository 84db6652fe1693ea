//! Leaving: refusals, eviction, and handing back what a worker holds.

use super::{SlotWorker, Taken, UNSEEN, Unknown};
use crate::layout;
use crate::members::fence;
use crate::members::lent;
use crate::members::peers::Peers;
use crate::members::registry::{Status, status};
use crate::memory::{Edge, Memory};
use crate::slots::redo::AT_ONCE;
use crate::slots::word::{self, done, seq};

impl<M: Memory> SlotWorker<M> {
    #[cold]
    #[inline(never)]
    pub(super) fn refuse_at(&mut self, ticket: u64, from: u64) {
        self.refused_at = Some(Taken { ticket, attempt: word::attempt(from) });
        self.refuse();
    }

    /// Forgets all held tickets, and takes nothing any more. Events that were not handed out are
    /// put back as they were, unless another participant has done that. The rest is left to a
    /// sweep.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse(&mut self) {
        while self.waiting != 0 {
            let ticket = self.nth(self.waiting.trailing_zeros());
            self.waiting &= self.waiting - 1;
            let (at, from) = (self.view.slots.done_offset(ticket), self.view.slots.previous_lap_done(ticket));
            let word = self.view.slots.held(ticket, done::REDO, 0, 0);
            // DONE: as in `retry`. The swap is from the word that says the ticket is held, so it
            // needs no fence.
            if self.view.done.compare_exchange(at, from, word, Edge::Done).is_ok() {
                self.redo().announce(ticket, AT_ONCE);
            }
        }
        self.held = 0;
        self.taken.clear();
        self.refused = true;
        // The root never has this value, so the fast path always ends here.
        self.redo_seen = UNSEEN;
    }

    /// Whether this worker was evicted. The events that it held belong to other workers, or will.
    #[inline(always)]
    pub fn is_fenced(&self) -> bool {
        fence::of(&self.view.acks, self.index) >= fence::CLOSING
    }

    /// Whether a store was refused, because this worker was evicted or because a word that says
    /// what it holds was corrupted. Then it holds nothing any more, and takes nothing.
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// Hands one event back after a refusal without an eviction: another process has changed the
    /// word that said that this worker held the event. If no worker writes such a word, no sweep
    /// can find its owner. The caller calls this if it was refused but is not evicted.
    #[cold]
    pub fn hand_back_refused(&mut self) {
        let Some(Taken { ticket, attempt }) = self.refused_at.take() else { return };
        let (slots, at) = (self.view.slots, self.view.slots.done_offset(ticket));
        let seen = self.view.done.load(at, Edge::Done);
        // HEAD: a worker that stores a word of the next lap has taken that ticket from the head
        // before.
        let head = self.view.acks.load(layout::HEAD, Edge::Head);
        if seen == slots.previous_lap_done(ticket)
            || self.is_anybodys(seen, ticket)
            || head > ticket.saturating_add(slots.count)
        {
            return;
        }
        let event = self.view.data.load(slots.offset(ticket) + layout::SLOT_SEQ, Edge::Publish);
        let is_event = event == slots.state(ticket, seq::PUBLISHED);
        let word = match is_event {
            true => slots.held(ticket, done::REDO, attempt + 1, 0),
            false => slots.state(ticket, done::DONE),
        };
        // DONE: as in `retry`.
        if self.view.done.compare_exchange(at, seen, word, Edge::Done).is_ok() && is_event {
            self.redo().announce(ticket, AT_ONCE);
        }
    }

    /// Whether this is a done word of ticket `t` as workers store it, and the worker that it may
    /// name can exist.
    pub(super) fn is_anybodys(&self, word: u64, t: u64) -> bool {
        let worker = word::worker(word) as usize;
        match word::kind(word) {
            _ if !self.view.slots.is_of(word, t) => false,
            done::DONE => word == self.view.slots.state(t, done::DONE),
            done::REDO => true,
            done::TAKEN if worker < self.view.consumers => {
                let state = self.view.acks.load(layout::entry(worker) + layout::STATE, Edge::State);
                status(state) != Status::Free
            }
            _ => false,
        }
    }

    /// Closes this worker's fence for good and hands back the events that it held, unless that
    /// was done before. They wait from `now_ns` on. From then on it takes nothing. A worker that
    /// finds itself evicted, or refused without an eviction, calls this.
    #[cold]
    pub fn give_up<P: Peers>(&mut self, peers: &P, now_ns: u64) {
        if self.has_given_up {
            return;
        }
        // This is also done if others have swept: this worker may have won a ticket since.
        self.has_given_up = true;
        self.refuse();
        lent::take_back(&self.view.acks, layout::entry(self.index));
        // This worker's own thread is in no sequence.
        let closed = fence::close(&self.view.acks, self.index);
        if self.sweeper(now_ns).sweep(peers, Some(self.index)).unsettled == 0 {
            fence::settle(&self.view.acks, self.index, closed);
        }
    }

    /// Hands back all held events, to be taken at once, and retracts the claim word. The attempt is
    /// counted for those that were handed out. A worker calls this when it leaves, also after a
    /// refusal without an eviction, which only a corrupted word can cause.
    pub fn hand_back(&mut self) {
        let due_ns = |_, _| AT_ONCE;
        while self.waiting != 0 {
            let ticket = self.nth(self.waiting.trailing_zeros());
            self.put_back(Taken { ticket, attempt: 0 }, due_ns);
        }
        while self.held != 0 {
            self.retry(self.nth(self.held.trailing_zeros()), due_ns);
        }
        while let Some(ticket) = self.taken.any() {
            self.retry(ticket, due_ns);
        }
        if self.refused {
            // The TAKEN words that this worker wrote are no longer in its list, and an entry that
            // was left in an orderly way is never swept. So they are handed back here. That needs
            // no check which participants are dead.
            self.give_up(&Unknown, 0);
        }
        self.retract();
    }
}
