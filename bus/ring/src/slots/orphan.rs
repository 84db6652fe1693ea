//! Proof that a ticket's owner is dead, and the repair of what the dead left.
//!
//! **The rule**, on both sides: a ticket that has been won (`t < tail`, or `t < head`), is not finished (its
//! sequence word, or done word, is still of an older ticket), and is announced by no live participant, is an
//! *orphan*: nobody will ever finish it.
//!
//! **Why it is sound.** A participant announces a ticket in its claim word before it can win it, and the claim word
//! moves on only after the ticket is finished (or, for a worker, marked TAKEN). So, in this order: see the ticket
//! won (TAIL or HEAD: whoever won it had announced it before); see it unfinished; scan the claims (ANNOUNCE: a
//! claim that has moved on brings the finished word with it); see it *still* unfinished. Then no live owner exists,
//! and none can appear, because a ticket is won once. A loser that announces the ticket in passing, or is stopped
//! while it does, only delays the proof.
//!
//! A worker that was evicted and stores nothing any more ([`crate::members::fence`]) counts as dead in all of this.
//!
//! **Repair** is one compare-and-swap from the value seen, so any number of repairers may run, and die, at any
//! point. But attempts do not count beyond their maximum, so that a word which says TAKEN may come again: when another has
//! the same entry and the same event. Therefore such a word is replaced only under its entry's janitor lock, which keeps
//! others out of the entry from the look at its owner to the end of the swap; or by the owner itself. Consumers cannot write the producers' file: they use the proof alone and step over the ticket. A topic's
//! producer marks it ABORTED when it needs the slot. A worker hands a dead worker's events back as REDO.

use std::ops::Range;

use crate::layout;
use crate::members::fence;
use crate::members::lent::{self, LentSpan};
use crate::members::peers::{Peers, Side};
use crate::members::registry::{Status, status};
use crate::memory::{Edge, Memory};
use crate::slots::redo::{Backoff, Redo};
use crate::slots::word::{self, NO_CLAIM, Slots, covers, done, seq};

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
        // The fence after the claim: it is that of the claim's owner, or of a later one, which has it open.
        let fenced = || side == Side::Consumers && fence::is_closed(memory, index);
        covers(claim, t) && !fenced() && !peers.is_dead(side, index)
    })
}

/// Whether ticket `t` was won by a producer that died before it published it: it will never carry an event.
pub fn is_orphan<M: Memory, P: Peers>(
    ring: &M,
    data: &M,
    slots: Slots,
    entries: usize,
    t: u64,
    peers: &P,
) -> bool {
    // TAIL: the winner's announcement is visible once its ticket is.
    if t >= ring.load(layout::TAIL, Edge::Tail) {
        return false;
    }
    let at = slots.offset(t) + layout::SLOT_SEQ;
    let unfinished = || {
        // PUBLISH: as a reader would.
        let word = data.load(at, Edge::Publish);
        !slots.is_finished(word, t) && !slots.is_newer(word, t)
    };
    unfinished() && !is_announced(ring, Side::Producers, entries, t, peers) && unfinished()
}

/// A topic's producer needs the slot of ticket `t`, which is not finished: if its owner is dead, marks it ABORTED.
/// Returns whether the ticket is finished now.
pub fn abort_orphan<M: Memory, P: Peers>(
    ring: &M,
    data: &M,
    slots: Slots,
    entries: usize,
    t: u64,
    peers: &P,
) -> bool {
    let at = slots.offset(t) + layout::SLOT_SEQ;
    let seen = data.load(at, Edge::Publish);
    if slots.is_finished(seen, t) || slots.is_newer(seen, t) {
        return true;
    }
    // From the value seen before the proof: a producer that was faster with the repair, and with the next lap,
    // has changed it.
    is_orphan(ring, data, slots, entries, t, peers)
        && data.compare_exchange(at, seen, slots.state(t, seq::ABORTED), Edge::Publish).is_ok()
}

/// How often a sweep looks at a word that changes under its hands.
const LOOKS_MAX: u32 = 4;

/// What a sweep of the workers' side found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Events handed back for redelivery.
    pub redone: u64,
    /// Tickets of the dead worker in question that could not be judged yet, because a live participant announces
    /// them too (in passing: it will lose them, but it may be stopped before it does).
    pub unsettled: u64,
}

/// What a sweep needs to see.
#[derive(Debug)]
pub struct Sweeper<'a, M> {
    /// The producers' file.
    pub ring: &'a M,
    /// The consumers' file, writable.
    pub acks: &'a M,
    /// The slots.
    pub data: &'a M,
    /// The done words, writable.
    pub done: &'a M,
    /// Geometry.
    pub slots: Slots,
    /// Entries of the producers' registry.
    pub producers: usize,
    /// Entries of the consumers' registry.
    pub consumers: usize,
    /// The time by the clock of those who hand back, and how long what is handed back waits.
    pub now_ns: u64,
    /// See [`Self::now_ns`].
    pub backoff: Backoff,
}

impl<M: Memory> Sweeper<'_, M> {
    /// Repairs every ticket that nobody announces, because its worker is dead or fenced. Anybody with the right to write
    /// the consumers' file may do this at any time. With `dead`, the registry entry of a worker known to be dead or fenced,
    /// also those that are marked TAKEN by it, and the result says whether anything of that worker's is left: the caller
    /// holds the entry's janitor lock, or is its owner.
    pub fn sweep<P: Peers>(&self, peers: &P, dead: Option<usize>) -> Swept {
        let tickets = self.tickets();
        // ANNOUNCE: the dead worker's last range; its other tickets are marked TAKEN.
        let claim =
            dead.map_or(NO_CLAIM, |i| self.acks.load(layout::entry(i) + layout::CLAIM, Edge::Announce));
        self.sweep_tickets(tickets, peers, dead, claim)
    }

    /// The tickets that were taken and may be unfinished.
    pub fn tickets(&self) -> Range<u64> {
        // HEAD: whoever took the tickets below had announced them before.
        let head = self.acks.load(layout::HEAD, Edge::Head);
        head.saturating_sub(self.slots.count)..head
    }

    /// Notes what the worker in entry `index` has in hand, and may go on looking at when others have it: its
    /// fence is closing, so that it hands out nothing more. Called by its evictor before anything is handed
    /// back ([`crate::members::lent`]).
    pub fn note_lent(&self, index: usize) {
        // ANNOUNCE: as in `sweep`.
        let claim = self.acks.load(layout::entry(index) + layout::CLAIM, Edge::Announce);
        let is_held = |&t: &u64| {
            let word = self.done.load(self.slots.done_offset(t), Edge::Done);
            let is_taken = self.slots.is_of(word, t) && word::kind(word) == done::TAKEN;
            let is_claimed = word == self.slots.previous_lap_done(t) && covers(claim, t);
            is_claimed || is_taken && word::worker(word) as usize == index
        };
        let mut held = self.tickets().filter(is_held);
        if let Some(from) = held.next() {
            let last = held.next_back().unwrap_or(from);
            lent::note(self.acks, index, LentSpan { from, to: last.saturating_add(1) });
        }
    }

    /// As [`Self::sweep`] of some of [`Self::tickets`], where nobody has died: finds what is nobody's although nobody may
    /// leave it so, behind a head that was harmed.
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
            // A word that somebody changes meanwhile is looked at again.
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
            // One that is in the index already may run only now: the dead worker has finished the one before it. A sweeper
            // killed before this line leaves its own registry entry to be swept for, which comes by here again.
            self.redo().touch();
        }
        swept
    }

    /// Whether ticket `t` needs no second look.
    fn repair<P: Peers>(
        &self,
        t: u64,
        dead: Option<usize>,
        claim: u64,
        peers: &P,
        swept: &mut Swept,
    ) -> bool {
        let slots = self.slots;
        let at = slots.done_offset(t);
        let seen = self.done.load(at, Edge::Done);
        let repaired = if seen == slots.previous_lap_done(t) {
            if is_announced(self.acks, Side::Consumers, self.consumers, t, peers) {
                swept.unsettled += covers(claim, t) as u64;
                return true;
            }
            if self.done.load(at, Edge::Done) != seen {
                return false; // Finished, or marked TAKEN, in the meantime.
            }
            let event = self.data.load(slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
            if event == slots.state(t, seq::PUBLISHED) {
                slots.held(t, done::REDO, 1, 0)
            } else if event == slots.state(t, seq::ABORTED)
                || is_orphan(self.ring, self.data, slots, self.producers, t, peers)
            {
                slots.state(t, done::DONE)
            } else {
                swept.unsettled += covers(claim, t) as u64;
                return true;
            }
        } else if slots.is_of(seen, t) && word::kind(seen) == done::TAKEN {
            let worker = word::worker(seen) as usize;
            // Another's is for a sweep under the lock of that entry. This one's has no new owner before the end of this.
            if dead != Some(worker) || !self.is_gone_worker(worker, peers) {
                return true;
            }
            slots.held(t, done::REDO, word::attempt(seen) + 1, 0)
        } else {
            if slots.is_of(seen, t) && word::kind(seen) == done::REDO {
                swept.redone += 1;
                // Handed back already, perhaps by somebody who died before saying so.
                self.redo().ensure(t, self.due_ns(t, seen));
            }
            return true;
        };
        // From the value seen: idempotent, and harmless if anybody was faster. What nobody had marked yet never comes again.
        if self.done.compare_exchange(at, seen, repaired, Edge::Done).is_err() {
            return false;
        }
        if word::kind(repaired) == done::REDO {
            swept.redone += 1;
            // A sweeper killed before this line leaves its own registry entry to be swept for, which comes by here again.
            self.redo().announce(t, self.due_ns(t, repaired));
        }
        true
    }

    fn redo(&self) -> Redo<'_, M> {
        Redo { acks: self.acks, done: self.done, slots: self.slots }
    }

    /// From when on ticket `t` with this done word may be taken.
    fn due_ns(&self, t: u64, redo: u64) -> u64 {
        self.backoff.due_ns(self.now_ns, t, word::attempt(redo))
    }

    fn is_gone_worker<P: Peers>(&self, index: usize, peers: &P) -> bool {
        if index >= self.consumers {
            return false;
        }
        let state = self.acks.load(layout::entry(index) + layout::STATE, Edge::State);
        status(state) == Status::Free
            || fence::is_closed(self.acks, index)
            || peers.is_dead(Side::Consumers, index)
    }
}
