//! Taking from a queue: each event goes to one worker, which says when it is done.
//!
//! ```text
//! take:  an event handed back (REDO) whose time has come:  CAS done[t]: REDO -> TAKEN(me)
//!        else  h = head;  seq[h..] published?  mark TAKEN what is still held;  announce h;  CAS head: h -> h + n
//! done:  done[t] = DONE                       (DONE: the slot may be reused)
//! retry: done[t] = REDO, attempt + 1          (another worker, or this one, gets it again, from a time on)
//! ```
//!
//! Which events were handed back, and when their times come, is in an index ([`crate::slots::redo`]). A worker looks at its
//! root only, as long as that does not change and no time has come. Between two events that were handed back it takes a
//! fresh one, if there is any: neither sort holds up the other.
//!
//! While a ticket is covered by the worker's claim word, its done word stays untouched: the claim is what says
//! "held". Before the claim word moves on, every ticket still held is marked TAKEN in its done word, which names
//! the worker: from then on that says "held".
//!
//! Every store to a done word goes through a fence ([`crate::members::fence`]): a worker that was evicted stores nothing.

mod finished;
mod hand;
mod keyed;

pub use keyed::DoneInOrder;

use crate::layout;
use crate::members::fence::{self, Stores};
use crate::members::lent;
use crate::members::peers::{Peers, Side};
use crate::members::registry::{Status, status};
use crate::memory::{Edge, Memory};
use crate::slots::orphan::{Sweeper, is_orphan};
use crate::slots::redo::{AT_ONCE, Backoff, Next, Redo};
use crate::slots::word::{self, NO_CLAIM, Slots, claim, done, seq};
use hand::Hand;

/// Most tickets of one take: one bit each in a word.
pub const TAKE_MAX: u32 = 64;

/// An event in a worker's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its ticket, which is its position.
    pub ticket: u64,
    /// Deliveries before this one.
    pub attempt: u8,
}

/// Which delivery of an event a worker has in hand: the attempt in the low byte. Attempts stop at
/// [`word::ATTEMPT_MAX`], so the high byte counts this worker's takes of events that were delivered before.
pub type Delivery = u16;

/// The first delivery of an event.
pub const FIRST_DELIVERY: Delivery = 0;

/// How many events that others are taking, too, one take tries for.
const REDO_LOOKS: u32 = 64;
/// No root of the index is this.
const UNSEEN: u64 = u64::MAX;

/// Peers that nobody can be asked about: nobody is dead.
struct Unknown;

impl Peers for Unknown {
    fn is_dead(&self, _: Side, _: usize) -> bool {
        false
    }
}

/// A worker's private state.
#[derive(Debug)]
pub struct SlotWorker<M> {
    ring: M,
    acks: M,
    /// Where events are read. It may be a copy of the ring's that is behind: what a word there says has happened, has;
    /// what it does not say may have happened.
    data: M,
    done: M,
    slots: Slots,
    /// Own registry entry.
    index: usize,
    producers: usize,
    consumers: usize,
    /// First ticket of the claim word's range.
    first: u64,
    /// Which tickets of that range are held: bit i for `first + i`.
    held: u64,
    /// Which of them have not been handed out yet.
    waiting: u64,
    announced: bool,
    /// Held tickets whose done word says TAKEN.
    taken: Hand,
    /// Counts takes of events that were delivered before; it wraps.
    redeliveries: u8,
    /// The root of the index of events that wait, when this worker last looked at it.
    redo_seen: u64,
    /// When the first of them may be taken, as far as that root told; `u64::MAX` for never.
    redo_due_ns: u64,
    /// Whether a fresh event has its turn: the last one had been handed back.
    fresh_first: bool,
    /// Every ticket before this one was found done.
    done_until: u64,
    /// How long what a sweep hands back waits.
    backoff: Backoff,
    /// How done words are stored.
    stores: Stores,
    /// A store was refused: nothing is held any more, and nothing is taken.
    refused: bool,
    /// Which one.
    refused_at: Option<Taken>,
    /// What was held was handed back after that.
    resigned: bool,
}

impl<M: Memory> SlotWorker<M> {
    /// A worker registered in entry `index` (below 256).
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        ring: M,
        acks: M,
        data: M,
        done: M,
        index: usize,
        slots: Slots,
        producers: usize,
        consumers: usize,
    ) -> Self {
        SlotWorker {
            ring,
            acks,
            data,
            done,
            slots,
            index,
            producers,
            consumers,
            first: 0,
            held: 0,
            waiting: 0,
            announced: false,
            taken: Hand::default(),
            redeliveries: 0,
            redo_seen: 0,
            redo_due_ns: u64::MAX,
            fresh_first: false,
            done_until: 0,
            backoff: Backoff::of(0),
            stores: Stores::Swap,
            refused: false,
            refused_at: None,
            resigned: false,
        }
    }

    /// The same worker, which stores done words as the fence of its entry says ([`Stores::open`]).
    pub fn with(self, stores: Stores) -> Self {
        SlotWorker { stores, ..self }
    }

    /// The same worker, which hands back what others held to wait so long.
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        SlotWorker { backoff, ..self }
    }

    /// The next event, taking up to `most` (at least 1) from the ring at once when none is at hand. `now_ns` tells the time
    /// by the clock of those who hand back; it is asked only while events wait to be delivered again.
    #[inline(always)]
    pub fn take(&mut self, most: u32, now_ns: impl FnOnce() -> u64) -> Option<Taken> {
        if self.refused {
            return None;
        }
        if self.waiting != 0 {
            return Some(self.hand_out());
        }
        // INDEX: a hint here; reading it late only delays.
        let root = self.acks.load(layout::REDO_ROOT, Edge::Index);
        if root != self.redo_seen || self.redo_due_ns != u64::MAX {
            return self.take_either(most, now_ns());
        }
        self.take_fresh(most)
    }

    /// An event that was handed back, or a fresh one: by turns, where there are both.
    #[cold]
    fn take_either(&mut self, most: u32, now_ns: u64) -> Option<Taken> {
        if std::mem::take(&mut self.fresh_first)
            && let Some(taken) = self.take_fresh(most)
        {
            return Some(taken);
        }
        if let Some(taken) = self.take_redo(now_ns) {
            self.fresh_first = true;
            return Some(taken);
        }
        self.take_fresh(most)
    }

    /// The next fresh event, where one is at hand or at the head, nothing that was handed out before is still in this
    /// worker's hands, nothing was handed back, and the first attempt wins it. Takes up to `most` (1 to [`TAKE_MAX`])
    /// from the ring at once.
    #[inline(always)]
    pub fn take_fast(&mut self, most: u32) -> Option<u64> {
        if self.waiting != 0 {
            return Some(self.hand_out().ticket);
        }
        // INDEX: as in `take`. What may be taken only later, `look_again` tells when its time has come.
        if self.held != 0 || self.acks.load(layout::REDO_ROOT, Edge::Index) != self.redo_seen {
            return None;
        }
        // HEAD, PUBLISH: as in `take_fresh`; ANNOUNCE and HEAD: in `win`.
        let head = self.acks.load(layout::HEAD, Edge::Head);
        let is_published = |t: u64| {
            let word = self.data.load(self.slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
            word == self.slots.state(t, seq::PUBLISHED)
        };
        if !is_published(head) {
            return None;
        }
        let mut count = 1;
        while count < most && is_published(head.wrapping_add(count as u64)) {
            count += 1;
        }
        let won = self.win(head, count, u64::MAX >> (64 - count));
        won.then(|| self.hand_out().ticket)
    }

    /// Puts a fresh event that was given last back in the row of those to be handed out.
    pub fn hand_out_again(&mut self, ticket: u64) {
        let bit = ticket.wrapping_sub(self.first);
        if bit < 64 {
            self.waiting |= self.held & 1 << bit;
        }
    }

    /// As [`Self::take`], passing over events that were handed back.
    pub fn take_without_redo(&mut self, most: u32) -> Option<Taken> {
        if self.refused {
            return None;
        }
        if self.waiting != 0 { Some(self.hand_out()) } else { self.take_fresh(most) }
    }

    /// The `bit`-th ticket of the claim word's range. The head that it began at may be anything if it was harmed.
    #[inline(always)]
    fn nth(&self, bit: u32) -> u64 {
        self.first.wrapping_add(bit as u64)
    }

    #[inline(always)]
    fn hand_out(&mut self) -> Taken {
        let bit = self.waiting.trailing_zeros();
        self.waiting &= self.waiting - 1;
        Taken { ticket: self.nth(bit), attempt: 0 }
    }

    #[inline(always)]
    fn take_fresh(&mut self, most: u32) -> Option<Taken> {
        let most = most.clamp(1, TAKE_MAX) as u64;
        loop {
            // HEAD: the chain of read-modify-writes on the head carries all earlier announcements.
            let head = self.acks.load(layout::HEAD, Edge::Head);
            let (mut count, mut events) = (0, 0u64);
            while count < most {
                let t = head.wrapping_add(count);
                // PUBLISH: pairs with the producer's store; the slot's bytes are visible.
                let word = self.data.load(self.slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
                if word == self.slots.state(t, seq::PUBLISHED) {
                    events |= 1 << count;
                } else if word != self.slots.state(t, seq::ABORTED) {
                    break;
                }
                count += 1;
            }
            if count == 0 {
                // A stale head: its slot has moved on, it is not empty.
                if self.acks.load(layout::HEAD, Edge::Head) != head {
                    continue;
                }
                self.retract();
                return None;
            }
            if !self.win(head, count as u32, events) {
                if self.refused {
                    return None;
                }
                continue;
            }
            for i in 0..count {
                let t = head.wrapping_add(i);
                if events & 1 << i == 0 && !self.finish(t, self.slots.previous_lap_done(t)) {
                    return None;
                }
            }
            if events != 0 {
                return Some(self.hand_out());
            }
        }
    }

    /// Announces and wins `count` tickets from `head`, of which those in `events` carry events.
    #[inline(always)]
    fn win(&mut self, head: u64, count: u32, events: u64) -> bool {
        debug_assert_eq!(self.waiting, 0, "everything at hand is handed out first");
        if self.held != 0 && !self.mark_held() {
            return false;
        }
        let entry = layout::entry(self.index);
        // ANNOUNCE: before the tickets can be won; and everything finished, or marked TAKEN, under the last claim
        // is visible to who sees this one.
        self.acks.store(entry + layout::CLAIM, claim(head, count), Edge::Announce);
        self.announced = true;
        // HEAD.
        let next = head.wrapping_add(count as u64);
        let won = self.acks.compare_exchange(layout::HEAD, head, next, Edge::Head).is_ok();
        if won {
            (self.first, self.held, self.waiting) = (head, events, events);
        }
        won
    }

    /// Marks every ticket that the claim word alone says is held: the claim word is about to move on. False when refused.
    #[inline(always)]
    fn mark_held(&mut self) -> bool {
        while self.held != 0 {
            let ticket = self.nth(self.held.trailing_zeros());
            self.held &= self.held - 1;
            let word = self.slots.held(ticket, done::TAKEN, 0, self.index as u8);
            // DONE: ordered before the claim word moves on by ANNOUNCE; the edge is for repairers of TAKEN.
            if !self.settle(ticket, self.slots.previous_lap_done(ticket), word) {
                return false;
            }
            self.taken.add(ticket, FIRST_DELIVERY);
        }
        true
    }

    /// Takes back an announcement that holds nothing.
    #[inline(always)]
    pub fn retract(&mut self) {
        if self.announced && self.held == 0 {
            self.announced = false;
            // ANNOUNCE: as with any claim that moves on.
            self.acks.store(layout::entry(self.index) + layout::CLAIM, NO_CLAIM, Edge::Announce);
        }
    }

    /// The first event that was handed back, if its time has come.
    #[cold]
    fn take_redo(&mut self, now_ns: u64) -> Option<Taken> {
        // Others may be faster with each that is found; what remains is there at the next call.
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
                return None; // It would have to be handed back at once, an attempt more.
            }
            let head = self.acks.load(layout::HEAD, Edge::Head);
            let t = self.slots.last_in(slot, head);
            let seen = self.done.load(self.slots.done_offset(t), Edge::Done);
            let attempt = word::attempt(seen);
            let waits = self.slots.is_of(seen, t) && word::kind(seen) == done::REDO;
            let won = waits && self.win_redo(t, seen, attempt);
            // Also where another was faster, or has died on the way: nobody is to come here in vain.
            self.redo().withdraw(t, due_ns);
            if won {
                return Some(Taken { ticket: t, attempt });
            }
        }
        None
    }

    /// Takes a ticket that says REDO; false where another worker was faster.
    fn win_redo(&mut self, ticket: u64, seen: u64, attempt: u8) -> bool {
        let held = self.slots.held(ticket, done::TAKEN, attempt, self.index as u8);
        // DONE: one of the takers wins; the last holder's accesses are before the REDO it or a repairer stored.
        let won = self.done.compare_exchange(self.slots.done_offset(ticket), seen, held, Edge::Done).is_ok();
        if won {
            self.redeliveries = self.redeliveries.wrapping_add((attempt > 0) as u8);
            self.taken.add(ticket, self.delivery_of(Taken { ticket, attempt }));
        }
        won
    }

    /// Which delivery the event is that was taken last.
    #[inline(always)]
    pub fn delivery_of(&self, taken: Taken) -> Delivery {
        if taken.attempt == 0 {
            return FIRST_DELIVERY;
        }
        taken.attempt as Delivery | (self.redeliveries as Delivery) << 8
    }

    fn redo(&self) -> Redo<'_, M> {
        Redo { acks: &self.acks, done: &self.done, slots: self.slots }
    }

    /// When the first event that was handed back may be taken, as far as this worker has seen; `u64::MAX` for never.
    pub fn redo_due_ns(&self) -> u64 {
        self.redo_due_ns
    }

    /// The next take looks for events that were handed back, whatever has changed.
    pub fn look_again(&mut self) {
        self.redo_seen = UNSEEN;
    }

    /// Says that an event is done. False when this worker does not hold it, or does not any more: it was evicted.
    #[inline(always)]
    pub fn done(&mut self, ticket: u64) -> bool {
        if self.release_announced(ticket) {
            return self.finish(ticket, self.slots.previous_lap_done(ticket));
        }
        self.done_taken(ticket, None)
    }

    /// As [`Self::done`], and false, too, when the event is in hand by another delivery.
    #[inline(always)]
    pub fn done_delivery(&mut self, ticket: u64, delivery: Delivery) -> bool {
        // What the claim word alone says is held has never been delivered before: no older delivery can be meant.
        if self.release_announced(ticket) {
            return self.finish(ticket, self.slots.previous_lap_done(ticket));
        }
        self.done_taken(ticket, Some(delivery))
    }

    #[inline(never)]
    fn done_taken(&mut self, ticket: u64, delivery: Option<Delivery>) -> bool {
        if delivery.is_some_and(|delivery| !self.holds_delivery(ticket, delivery)) {
            return false;
        }
        let Some(attempt) = self.release_taken(ticket) else { return false };
        self.finish(ticket, self.taken_word(ticket, attempt))
    }

    /// Hands an event back: it is delivered again, with its attempt counted, from the time on that `due_ns` tells of the
    /// ticket and its attempts. False when this worker does not hold it, or does not any more.
    pub fn retry(&mut self, ticket: u64, due_ns: impl FnOnce(u64, u8) -> u64) -> bool {
        let Some((attempt, from)) = self.release(ticket) else { return false };
        let attempts = (attempt + 1).min(word::ATTEMPT_MAX);
        let word = self.slots.held(ticket, done::REDO, attempts, 0);
        let due_ns = due_ns(ticket, attempts);
        self.redo().prepare(ticket, due_ns);
        // DONE: this worker's accesses to the slot are before it.
        if !self.settle(ticket, from, word) {
            return false;
        }
        // After the REDO. Killed between the two: the sweep that follows this worker's death announces it.
        self.redo().announce(ticket, due_ns);
        true
    }

    /// Puts an event back for another time. One that was never handed out goes back as it was, to be taken at once;
    /// otherwise as [`Self::retry`].
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

    /// Puts an event back that was never handed out, without saying so to anybody. False when this worker does not hold
    /// it, or does not any more.
    fn leave_for_later(&mut self, ticket: u64) -> bool {
        let Some((_, from)) = self.release(ticket) else { return false };
        let word = self.slots.held(ticket, done::REDO, 0, 0);
        // DONE: as in `retry`.
        self.settle(ticket, from, word)
    }

    /// Forgets a held ticket; its attempt, and the done word that says it is held.
    fn release(&mut self, ticket: u64) -> Option<(u8, u64)> {
        if self.release_announced(ticket) {
            return Some((0, self.slots.previous_lap_done(ticket)));
        }
        let attempt = self.release_taken(ticket)?;
        Some((attempt, self.taken_word(ticket, attempt)))
    }

    fn taken_word(&self, ticket: u64, attempt: u8) -> u64 {
        self.slots.held(ticket, done::TAKEN, attempt, self.index as u8)
    }

    /// Forgets a ticket that the claim word alone says is held.
    #[inline(always)]
    fn release_announced(&mut self, ticket: u64) -> bool {
        let bit = ticket.wrapping_sub(self.first);
        let held = bit < 64 && self.held >> bit & 1 != 0;
        if held {
            self.held &= !(1 << bit);
            self.waiting &= !(1 << bit);
        }
        held
    }

    /// Forgets a ticket whose done word says that it is held.
    fn release_taken(&mut self, ticket: u64) -> Option<u8> {
        self.taken.remove(ticket).map(|delivery| delivery as u8)
    }

    #[inline(always)]
    fn finish(&mut self, ticket: u64, from: u64) -> bool {
        // DONE: pairs with the producer's load: all accesses to the slot are before it.
        self.settle(ticket, from, self.slots.state(ticket, done::DONE))
    }

    /// Replaces the done word `from`, which says that this worker holds the ticket. False when the fence is closed, or the
    /// event was handed on.
    #[inline(always)]
    fn settle(&mut self, ticket: u64, from: u64, to: u64) -> bool {
        let at = self.slots.done_offset(ticket);
        if let Stores::Restart { area } = self.stores {
            let fence_at = layout::entry(self.index) + layout::FENCE;
            if self.done.store_if(at, to, Edge::Done, &self.acks, fence_at, area) {
                return true;
            }
        } else if self.swap(at, from, to) {
            return true;
        }
        self.refuse_at(ticket, from);
        false
    }

    #[cold]
    #[inline(never)]
    fn refuse_at(&mut self, ticket: u64, from: u64) {
        self.refused_at = Some(Taken { ticket, attempt: word::attempt(from) });
        self.refuse();
    }

    #[inline(never)]
    fn swap(&self, at: usize, from: u64, to: u64) -> bool {
        self.done.compare_exchange(at, from, to, Edge::Done).is_ok()
    }

    /// Forgets everything that is held, and takes nothing any more. What was not handed out is put back as it was, where
    /// nobody else has seen to that; the rest is for a sweep.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self) {
        while self.waiting != 0 {
            let ticket = self.nth(self.waiting.trailing_zeros());
            self.waiting &= self.waiting - 1;
            let (at, from) = (self.slots.done_offset(ticket), self.slots.previous_lap_done(ticket));
            let word = self.slots.held(ticket, done::REDO, 0, 0);
            // DONE: as in `retry`. From the word that says it is held, which needs no fence.
            if self.done.compare_exchange(at, from, word, Edge::Done).is_ok() {
                self.redo().announce(ticket, AT_ONCE);
            }
        }
        self.held = 0;
        self.taken.clear();
        self.refused = true;
        // No root is this: the fast path always ends here.
        self.redo_seen = UNSEEN;
    }

    /// Whether this worker was evicted: what it held is another's, or will be.
    #[inline(always)]
    pub fn is_fenced(&self) -> bool {
        fence::of(&self.acks, self.index) >= fence::CLOSING
    }

    /// Whether a store was refused, because this worker was evicted or a word that says what it holds was harmed: it holds
    /// nothing any more, and takes nothing.
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// To be called by a worker that was refused though nobody has evicted it. Somebody has changed the word that said what
    /// it held: if no worker writes such a word, no sweep can tell whose it is, and the event is handed back here.
    #[cold]
    pub fn redeem(&mut self) {
        let Some(Taken { ticket, attempt }) = self.refused_at.take() else { return };
        let (slots, at) = (self.slots, self.slots.done_offset(ticket));
        let seen = self.done.load(at, Edge::Done);
        // HEAD: whoever stores a word of the next lap has taken it from the head before.
        let head = self.acks.load(layout::HEAD, Edge::Head);
        if seen == slots.previous_lap_done(ticket)
            || self.is_anybodys(seen, ticket)
            || head > ticket.saturating_add(slots.count)
        {
            return;
        }
        let event = self.data.load(slots.offset(ticket) + layout::SLOT_SEQ, Edge::Publish);
        let is_event = event == slots.state(ticket, seq::PUBLISHED);
        let word = match is_event {
            true => slots.held(ticket, done::REDO, attempt + 1, 0),
            false => slots.state(ticket, done::DONE),
        };
        // DONE: as in `retry`.
        if self.done.compare_exchange(at, seen, word, Edge::Done).is_ok() && is_event {
            self.redo().announce(ticket, AT_ONCE);
        }
    }

    /// Whether this is a done word of ticket `t` as workers store them, and whoever it says holds it may be there.
    fn is_anybodys(&self, word: u64, t: u64) -> bool {
        let worker = word::worker(word) as usize;
        match word::kind(word) {
            _ if !self.slots.is_of(word, t) => false,
            done::DONE => word == self.slots.state(t, done::DONE),
            done::REDO => true,
            done::TAKEN if worker < self.consumers => {
                let state = self.acks.load(layout::entry(worker) + layout::STATE, Edge::State);
                status(state) != Status::Free
            }
            _ => false,
        }
    }

    /// To be called by a worker that finds itself evicted, or refused without that: closes its fence for good and hands back
    /// what it held, unless that was done. From then on it takes nothing. What is handed back waits as from `now_ns` on.
    #[cold]
    pub fn resign<P: Peers>(&mut self, peers: &P, now_ns: u64) {
        if self.resigned {
            return;
        }
        // Also where others have swept: it may have won a ticket since.
        self.resigned = true;
        self.refuse();
        lent::take_back(&self.acks, layout::entry(self.index));
        // This worker's own thread is in no sequence.
        let closed = fence::close(&self.acks, self.index);
        if self.sweeper(now_ns).sweep(peers, Some(self.index)).unsettled == 0 {
            fence::settle(&self.acks, self.index, closed);
        }
    }

    /// Hands back everything held, to be taken at once, counting the attempt of what was handed out, and retracts the claim.
    /// For leaving, also after a refusal without an eviction, which only a harmed word brings about.
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
            // What it had marked is in nobody's row any more, and nobody sweeps for who has left. No word on the dead is needed.
            self.resign(&Unknown, 0);
        }
        self.retract();
    }

    /// The root of the index of events that wait, when this worker last looked at it.
    pub fn redo_seen(&self) -> u64 {
        self.redo_seen
    }

    /// Whether this worker holds `ticket`.
    #[inline(always)]
    pub fn holds(&self, ticket: u64) -> bool {
        let bit = ticket.wrapping_sub(self.first);
        bit < 64 && self.held & 1 << bit != 0 || self.taken.delivery(ticket).is_some()
    }

    /// Whether this worker holds `ticket` by this delivery.
    #[inline(always)]
    pub fn holds_delivery(&self, ticket: u64, delivery: Delivery) -> bool {
        let bit = ticket.wrapping_sub(self.first);
        bit < 64 && self.held & 1 << bit != 0 || self.taken.delivery(ticket) == Some(delivery)
    }

    /// Whether an event that was taken from the ring has still to be handed out.
    pub fn has_waiting(&self) -> bool {
        self.waiting != 0
    }

    /// Whether there is another event to be taken, by this worker or another: one at the head, or one that was handed back.
    pub fn has_more(&self) -> bool {
        let head = self.acks.load(layout::HEAD, Edge::Head);
        // PUBLISH: as in `take_fresh`.
        let word = self.data.load(self.slots.offset(head) + layout::SLOT_SEQ, Edge::Publish);
        self.slots.is_finished(word, head) || !matches!(self.redo().next(u64::MAX / 2).0, Next::Nothing)
    }

    /// How many events are held.
    pub fn in_hand(&self) -> usize {
        self.held.count_ones() as usize + self.taken.len()
    }

    /// Ticket `t`'s meta word.
    #[inline(always)]
    pub fn header(&self, ticket: u64) -> u64 {
        // PUBLISH: the ticket was seen published; but if this worker was evicted, and this is the word of a later lap, its
        // fence is closed when it is looked at after this.
        self.data.load(self.slots.offset(ticket) + layout::SLOT_META, Edge::Publish)
    }

    /// Byte offset in the data of ticket `t`'s body.
    #[inline(always)]
    pub fn body_offset(&self, ticket: u64) -> usize {
        self.slots.offset(ticket) + layout::SLOT_BODY
    }

    /// Largest body in bytes.
    pub fn body_max(&self) -> u64 {
        self.slots.slot_bytes() - layout::SLOT_BODY as u64
    }

    /// The ticket at the head if it has been won by a producer but not published: what every worker waits for.
    /// Reads the tail, whose line the producers write: not for the fast path.
    pub fn stuck_behind(&self) -> Option<u64> {
        let head = self.acks.load(layout::HEAD, Edge::Head);
        let word = self.data.load(self.slots.offset(head) + layout::SLOT_SEQ, Edge::Publish);
        let unpublished = !self.slots.is_finished(word, head) && !self.slots.is_newer(word, head);
        (unpublished && self.ring.load(layout::TAIL, Edge::Tail) > head).then_some(head)
    }

    /// Whether head, tail and the slot at the head may be as they are. No participant that keeps to the rules leaves them
    /// otherwise: then nothing at the head is ever found, whatever is published. Reads the tail, as
    /// [`Self::stuck_behind`].
    pub fn is_head_sound(&self) -> bool {
        let head = self.acks.load(layout::HEAD, Edge::Head);
        // PUBLISH, TAIL: a producer comes round to the head's slot, in word or tail, after it was done, and so after the
        // head had moved on.
        let word = self.data.load(self.slots.offset(head) + layout::SLOT_SEQ, Edge::Publish);
        let tail = self.ring.load(layout::TAIL, Edge::Tail);
        let is_near = head <= tail && tail - head <= self.slots.count;
        is_near && !self.slots.is_newer(word, head) || self.acks.load(layout::HEAD, Edge::Head) != head
    }

    /// Steps over ticket `t` at the head if its producer is dead. The proof is enough; the producers' file is not
    /// written. Returns whether the head has moved past `t`.
    pub fn skip_orphan<P: Peers>(&mut self, t: u64, peers: &P) -> bool {
        if self.refused || !is_orphan(&self.ring, &self.data, self.slots, self.producers, t, peers) {
            return self.acks.load(layout::HEAD, Edge::Head) > t;
        }
        if self.win(t, 1, 0) {
            self.finish(t, self.slots.previous_lap_done(t));
        }
        true
    }

    /// What repairs the tickets that dead workers left. What it hands back waits as from `now_ns` on.
    pub fn sweeper(&self, now_ns: u64) -> Sweeper<'_, M> {
        Sweeper {
            now_ns,
            backoff: self.backoff,
            ring: &self.ring,
            acks: &self.acks,
            data: &self.data,
            done: &self.done,
            slots: self.slots,
            producers: self.producers,
            consumers: self.consumers,
        }
    }
}
