//! The proof that a ticket has no live owner, and the repair of tickets that dead participants
//! left.
//!
//! **Promise.** An *orphan* is a ticket with three properties, on either side. It has been won
//! (`t < tail` or `t < head`). It is not finished: its sequence word or done word still belongs to
//! an older ticket. And no live participant announces it, so that nobody will ever finish it. This
//! module finds orphans, and never takes a live participant's ticket for one.
//!
//! **How it works.** A participant announces a ticket in its claim word before it can win it. The
//! claim word moves on only after the ticket is finished or, for a worker, marked TAKEN. The proof
//! needs this order:
//!
//! 1. See the ticket won (TAIL or HEAD): its winner had announced it before.
//! 2. See it unfinished.
//! 3. Scan the claim words (ANNOUNCE): a claim word that has moved on brings the finished word with
//!    it.
//! 4. See it *still* unfinished.
//!
//! **Why it is sound.** After step 4 no live owner exists. None can appear, because a ticket is won
//! once. A participant that announces the ticket and then loses it, or is stopped while it does,
//! only delays the proof. A worker that was evicted and stores nothing any more
//! ([`crate::members::fence`]) counts as dead in all of this.
//!
//! **Repair** is one compare-and-swap from the value seen, so any number of repairers may run, and
//! may die, at any point. There is one exception. Attempts are not counted beyond their maximum, so
//! a TAKEN word may come again when another worker has the same entry and the same event. Such a
//! word is therefore replaced only by the owner itself, or under its entry's janitor lock. The lock
//! keeps others out of the entry from the check of its owner to the end of the swap.
//!
//! Consumers cannot write the producers' file: they use the proof alone and step over the ticket. A
//! topic's producer marks it ABORTED when it needs the slot. A worker hands a dead worker's events
//! back as REDO.
//!
//! **Left out.** The question whether a participant is dead: [`Peers`] answers it.

use std::ops::Range;

use crate::layout;
use crate::members::fence;
use crate::members::lent::{self, LentSpan};
use crate::members::peers::{Peers, Side};
use crate::members::registry::{Status, status};
use crate::memory::{Edge, Memory};
use crate::slots::job::{Due, Now, Times};
use crate::slots::redo::{Backoff, DELAY_NS_MAX, Redo};
use crate::slots::view::SlotView;
use crate::slots::word::{self, NO_CLAIM, covers, done, seq};

/// Whether a live participant of one side announces ticket `t`.
pub fn is_announced<M: Memory, P: Peers>(memory: &M, side: Side, entries: usize, t: u64, peers: &P) -> bool {
    let high = match side {
        Side::Producers => layout::PRODUCERS_HIGH,
        Side::Consumers => layout::CONSUMERS_HIGH,
    };
    // STATE: an owner was registered, and counted here, before it announced anything.
    let used = (memory.load(high, Edge::State) as usize).min(entries);
    (0..used).any(|index| {
        // ANNOUNCE: pairs with the stores of claim words.
        let claim = memory.load(layout::entry(index) + layout::CLAIM, Edge::Announce);
        // The fence is read after the claim word. It belongs to the claim's owner, or to a later
        // owner, whose fence is open.
        let fenced = || side == Side::Consumers && fence::is_closed(memory, index);
        covers(claim, t) && !fenced() && !peers.is_dead(side, index)
    })
}

/// Whether ticket `t` was won by a producer that died before it published it. Such a ticket will
/// never carry an event.
pub fn is_orphan<M: Memory, P: Peers>(view: &SlotView<M>, t: u64, peers: &P) -> bool {
    let SlotView { ring, data, slots, producers, .. } = view;
    // TAIL: the winner's announcement is visible once its ticket is.
    if t >= ring.load(layout::TAIL, Edge::Tail) {
        return false;
    }
    let at = slots.offset(t) + layout::SLOT_SEQ;
    let unfinished = || {
        // PUBLISH: as in a reader.
        let word = data.load(at, Edge::Publish);
        !slots.is_finished(word, t) && !slots.is_newer(word, t)
    };
    unfinished() && !is_announced(ring, Side::Producers, *producers, t, peers) && unfinished()
}

/// Marks ticket `t` ABORTED if its owner is dead, for a topic's producer that needs its slot.
/// Returns whether the ticket is finished now.
pub fn abort_orphan<M: Memory, P: Peers>(view: &SlotView<M>, t: u64, peers: &P) -> bool {
    let SlotView { data, slots, .. } = view;
    let at = slots.offset(t) + layout::SLOT_SEQ;
    let seen = data.load(at, Edge::Publish);
    if slots.is_finished(seen, t) || slots.is_newer(seen, t) {
        return true;
    }
    // The swap is from the value that was seen before the proof. Another producer that was faster
    // with the repair, and with the next lap, has changed that value.
    is_orphan(view, t, peers)
        && data.compare_exchange(at, seen, slots.state(t, seq::ABORTED), Edge::Publish).is_ok()
}

/// How often a sweep reads a word that changes at the same time.
const LOOKS_MAX: u32 = 4;

/// The result of a sweep of the workers' side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Events that were handed back for redelivery.
    pub redone: u64,
    /// Tickets of the dead worker in question that could not be judged yet, because a live
    /// participant announces them, too. That participant will lose them, but may be stopped before
    /// it does.
    pub unsettled: u64,
}

/// A sweep of a queue's tickets.
#[derive(Debug)]
pub struct Sweeper<'a, M> {
    /// The queue, with `acks` and `done` writable.
    pub view: &'a SlotView<M>,
    /// The time now. An event that is handed back waits from it on.
    pub now: Now,
    /// How long an event that is handed back waits.
    pub backoff: Backoff,
}

impl<M: Memory> Sweeper<'_, M> {
    /// Repairs every ticket that no participant announces because its worker is dead or fenced. Any
    /// process that may write the consumers' file may do this at any time.
    ///
    /// `dead` is the registry entry of a worker known to be dead or fenced. With it, the tickets
    /// that are marked TAKEN by that worker are repaired, too, and the result says whether any of
    /// its tickets is left. The caller then holds the entry's janitor lock, or is its owner.
    pub fn sweep<P: Peers>(&self, peers: &P, dead: Option<usize>) -> Swept {
        let tickets = self.tickets();
        // ANNOUNCE: this is the dead worker's last range. Its other tickets are marked TAKEN.
        let claim =
            dead.map_or(NO_CLAIM, |i| self.view.acks.load(layout::entry(i) + layout::CLAIM, Edge::Announce));
        self.sweep_tickets(tickets, peers, dead, claim)
    }

    /// The tickets that were taken and may be unfinished.
    pub fn tickets(&self) -> Range<u64> {
        // HEAD: the takers of the tickets below had announced them before.
        let head = self.view.acks.load(layout::HEAD, Edge::Head);
        head.saturating_sub(self.view.slots.count)..head
    }

    /// Notes which events the worker in entry `index` holds, and may go on reading when others have
    /// them. Its fence is closing, so it hands out no more events. Its evictor calls this before
    /// anything is handed back ([`crate::members::lent`]).
    pub fn note_lent(&self, index: usize) {
        // ANNOUNCE: as in `sweep`.
        let claim = self.view.acks.load(layout::entry(index) + layout::CLAIM, Edge::Announce);
        let is_held = |&t: &u64| {
            let word = self.view.done.load(self.view.slots.done_offset(t), Edge::Done);
            let is_taken = self.view.slots.is_of(word, t) && word::kind(word) == done::TAKEN;
            let is_claimed = word == self.view.slots.previous_lap_done(t) && covers(claim, t);
            is_claimed || is_taken && word::worker(word) as usize == index
        };
        let mut held = self.tickets().filter(is_held);
        if let Some(from) = held.next() {
            let last = held.next_back().unwrap_or(from);
            lent::note(&self.view.acks, index, LentSpan { from, to: last.saturating_add(1) });
        }
    }

    /// Does the same as [`Self::sweep`] for some of [`Self::tickets`], without a dead worker. Finds
    /// events behind the head that no worker owns, which happens only if the head word was
    /// corrupted.
    pub fn audit<P: Peers>(&self, tickets: Range<u64>, peers: &P) -> Swept {
        self.sweep_tickets(tickets, peers, None, NO_CLAIM)
    }

    fn sweep_tickets<P: Peers>(
        &self,
        tickets: Range<u64>,
        peers: &P,
        dead: Option<usize>,
        claim: u64,
    ) -> Swept {
        let mut swept = Swept::default();
        for t in tickets {
            // A word that changes at the same time is read again.
            let mut looks = 0;
            while !self.repair(t, dead, claim, peers, &mut swept) {
                looks += 1;
                if looks == LOOKS_MAX {
                    swept.unsettled += dead.is_some() as u64;
                    break;
                }
            }
        }
        if swept.redone > 0 {
            // An event that is in the index already may have become ready only now, because the
            // dead worker has finished the one before it. If this sweeper is killed before this
            // line, its own registry entry has to be swept, and that sweep comes here again.
            self.redo().touch();
        }
        swept
    }

    /// Repairs ticket `t` if it must. Returns whether the ticket needs no second look.
    fn repair<P: Peers>(
        &self,
        t: u64,
        dead: Option<usize>,
        claim: u64,
        peers: &P,
        swept: &mut Swept,
    ) -> bool {
        let slots = self.view.slots;
        let at = slots.done_offset(t);
        let seen = self.view.done.load(at, Edge::Done);
        let repaired = if seen == slots.previous_lap_done(t) {
            if is_announced(&self.view.acks, Side::Consumers, self.view.consumers, t, peers) {
                swept.unsettled += covers(claim, t) as u64;
                return true;
            }
            if self.view.done.load(at, Edge::Done) != seen {
                return false; // Finished, or marked TAKEN, in the meantime.
            }
            let event = self.view.data.load(slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
            if event == slots.state(t, seq::PUBLISHED) {
                slots.held(t, done::REDO, self.wait_ns(t).is_none() as u8, 0)
            } else if event == slots.state(t, seq::ABORTED) || is_orphan(self.view, t, peers) {
                slots.state(t, done::DONE)
            } else {
                swept.unsettled += covers(claim, t) as u64;
                return true;
            }
        } else if slots.is_of(seen, t) && word::kind(seen) == done::TAKEN {
            let worker = word::worker(seen) as usize;
            // Another worker's ticket is left to a sweep under the lock of that entry. This
            // worker's entry has no new owner before the end of this sweep.
            if dead != Some(worker) || !self.is_gone_worker(worker, peers) {
                return true;
            }
            slots.held(t, done::REDO, word::attempt(seen) + self.wait_ns(t).is_none() as u8, 0)
        } else {
            if slots.is_of(seen, t) && word::kind(seen) == done::REDO {
                swept.redone += 1;
                // It was handed back already, perhaps by a participant that died before it
                // announced that.
                self.redo().ensure(t, self.due_ns(t, seen));
            }
            return true;
        };
        // The swap is from the value seen. It is idempotent, and does no harm if another
        // participant was faster. A word from before any worker had marked the ticket never comes
        // again.
        if self.view.done.compare_exchange(at, seen, repaired, Edge::Done).is_err() {
            return false;
        }
        if word::kind(repaired) == done::REDO {
            swept.redone += 1;
            // If this sweeper is killed before this line, its own registry entry has to be swept,
            // and that sweep comes here again.
            self.redo().announce(t, self.due_ns(t, repaired));
        }
        true
    }

    fn redo(&self) -> Redo<'_, M> {
        self.view.redo()
    }

    /// How long ticket `t`, an event, still has to wait for its own time; `None` if that has come.
    /// No worker has handed out an event before its time. So a worker that died with it counts no
    /// attempt.
    fn wait_ns(&self, t: u64) -> Option<u64> {
        if self.now.wall_ns == 0 {
            return None;
        }
        // PUBLISH: the event was seen published, and is not finished.
        let SlotView { data, slots, .. } = self.view;
        let header = data.load(slots.offset(t) + layout::SLOT_META, Edge::Publish);
        match Times::of(data, *slots, t, header)?.due(self.now.wall_ns) {
            Due::In(ns) => Some(ns.min(DELAY_NS_MAX)),
            Due::Now | Due::Expired => None,
        }
    }

    /// The time from which on ticket `t` with this done word may be taken.
    fn due_ns(&self, t: u64, redo: u64) -> u64 {
        let now_ns = self.now.host_ns;
        let own_ns = self.wait_ns(t).map_or(0, |ns| now_ns.saturating_add(ns));
        self.backoff.due_ns(now_ns, t, word::attempt(redo)).max(own_ns)
    }

    fn is_gone_worker<P: Peers>(&self, index: usize, peers: &P) -> bool {
        if index >= self.view.consumers {
            return false;
        }
        let state = self.view.acks.load(layout::entry(index) + layout::STATE, Edge::State);
        status(state) == Status::Free
            || fence::is_closed(&self.view.acks, index)
            || peers.is_dead(Side::Consumers, index)
    }
}
