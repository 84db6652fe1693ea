//! Taking from a queue: each event goes to one worker, which reports when it is done.
//!
//! **Promise.** At any time, at most one worker holds an event, and an event that a worker has
//! marked as done is never delivered again. An event whose worker dies or is evicted is delivered
//! again.
//!
//! ```text
//! take:  an event handed back (REDO) whose time has come:  CAS done[t]: REDO -> TAKEN(me)
//!        else  h = head;  seq[h..] published?  mark TAKEN what is held;  announce h;  CAS head: h -> h + n
//! done:  done[t] = DONE                       (DONE: the slot may be reused)
//! retry: done[t] = REDO, attempt + 1          (another worker, or this one, gets it again, from a time on)
//! ```
//!
//! **How it works.** An index says which events were handed back, and when their times come
//! ([`crate::slots::redo`]). A worker reads its root only, as long as the root does not change and
//! no time has come. Between two events that were handed back it takes a fresh one, if there is
//! any, so that neither kind delays the other.
//!
//! **Why it is sound.** While a worker's claim word covers a ticket, the ticket's done word stays
//! as it was: the claim word says that the ticket is held. Before the claim word moves on, every
//! ticket that is still held is marked TAKEN in its done word, which names the worker. From then on
//! that word says that the ticket is held. Every store to a done word checks a fence
//! ([`crate::members::fence`]): a worker that was evicted stores nothing.
//!
//! **Left out.** Waiting for events, and dead letters: the handles of `railbus` have those.

mod again;
mod back;
mod finished;
mod hand;
mod keyed;
mod leave;

pub use keyed::DoneInOrder;

use crate::layout;
use crate::members::fence::Stores;
use crate::members::peers::{Peers, Side};
use crate::memory::{Edge, Memory};
use crate::slots::job::Now;
use crate::slots::orphan::{Sweeper, is_orphan};
use crate::slots::redo::{Backoff, Next};
use crate::slots::view::SlotView;
use crate::slots::word::{NO_CLAIM, claim, done, seq};
use hand::Hand;

/// The most tickets of one take: each has one bit of a word.
pub const TAKE_MAX: u32 = 64;

/// An event that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its ticket, which is its position.
    pub ticket: u64,
    /// How often it was delivered before.
    pub attempt: u8,
}

/// The delivery by which a worker holds an event, with the attempt in the low byte. Attempts stop
/// at [`crate::slots::word::ATTEMPT_MAX`], so the high byte counts this worker's takes of events
/// that were delivered before.
pub type Delivery = u16;

/// The first delivery of an event.
pub const FIRST_DELIVERY: Delivery = 0;

/// A value that the root of the index never has.
const UNSEEN: u64 = u64::MAX;

/// A stand-in for [`Peers`] that reports nobody as dead.
struct Unknown;

impl Peers for Unknown {
    fn is_dead(&self, _: Side, _: usize) -> bool {
        false
    }
}

/// A worker's private state.
#[derive(Debug)]
pub struct SlotWorker<M> {
    view: SlotView<M>,
    /// Its own registry entry.
    index: usize,
    /// The first ticket of the claim word's range.
    first: u64,
    /// Which tickets of that range are held: bit i is for `first + i`.
    held: u64,
    /// Which of them have not been handed out yet.
    waiting: u64,
    announced: bool,
    /// Held tickets whose done word says TAKEN.
    taken: Hand,
    /// Counts the takes of events that were delivered before. It wraps.
    redeliveries: u8,
    /// The root of the index of waiting events when this worker last read it.
    redo_seen: u64,
    /// When the first of them may be taken, according to that root; `u64::MAX` for never.
    redo_due_ns: u64,
    /// Whether a fresh event is next, because the last one had been handed back.
    fresh_first: bool,
    /// Every ticket before this one was found done.
    done_until: u64,
    /// How long events wait that a sweep hands back.
    backoff: Backoff,
    /// How done words are stored.
    stores: Stores,
    /// Whether a store was refused. Then nothing is held any more, and nothing is taken.
    refused: bool,
    /// The event whose store was refused.
    refused_at: Option<Taken>,
    /// Whether the events that were held have been handed back since.
    has_given_up: bool,
}

impl<M: Memory> SlotWorker<M> {
    /// Makes a worker for registry entry `index`, which is below 256.
    pub fn new(view: SlotView<M>, index: usize) -> Self {
        SlotWorker {
            view,
            index,
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
            has_given_up: false,
        }
    }

    /// The shared memory that this worker works on.
    pub fn view(&self) -> &SlotView<M> {
        &self.view
    }

    /// Returns the same worker, which stores done words in the way that the fence of its entry says
    /// ([`Stores::open`]).
    pub fn with(self, stores: Stores) -> Self {
        SlotWorker { stores, ..self }
    }

    /// Returns the same worker, which lets events that it hands back for others wait by this rule.
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        SlotWorker { backoff, ..self }
    }

    /// Returns the next event. If none is waiting to be handed out, it takes up to `most` (at least 1)
    /// from the ring at once. `now_ns` returns the time of the clock by which events are handed
    /// back. It is called only while events wait to be delivered again.
    #[inline(always)]
    pub fn take(&mut self, most: u32, now_ns: impl FnOnce() -> u64) -> Option<Taken> {
        if self.refused {
            return None;
        }
        if self.waiting != 0 {
            return Some(self.hand_out());
        }
        // INDEX: the root is only a hint here. Reading an old one delays, and does no more.
        let root = self.view.acks.load(layout::REDO_ROOT, Edge::Index);
        if root != self.redo_seen || self.redo_due_ns != u64::MAX {
            return self.take_either(most, now_ns());
        }
        self.take_fresh(most)
    }

    /// Takes an event that was handed back or a fresh one, by turns if there are both.
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

    /// Returns the next fresh event on the fast path: one that waits to be handed out, or one at
    /// the head. The second needs three conditions: this worker holds no event that it has handed
    /// out, nothing was handed back, and the first attempt wins. Takes up to `most` (1 to
    /// [`TAKE_MAX`]) from the ring at once.
    #[inline(always)]
    pub fn take_fast(&mut self, most: u32) -> Option<u64> {
        if self.waiting != 0 {
            return Some(self.hand_out().ticket);
        }
        // INDEX: as in `take`. For events that may be taken only later, the caller calls
        // `look_again` when their time has come.
        if self.held != 0 || self.view.acks.load(layout::REDO_ROOT, Edge::Index) != self.redo_seen {
            return None;
        }
        // HEAD, PUBLISH: as in `take_fresh`; ANNOUNCE and HEAD: in `win`.
        let head = self.view.acks.load(layout::HEAD, Edge::Head);
        let is_published = |t: u64| {
            let word = self.view.data.load(self.view.slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
            word == self.view.slots.state(t, seq::PUBLISHED)
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

    /// Returns a fresh event, the last one that was handed out, to those that wait to be handed
    /// out.
    pub fn keep_waiting(&mut self, ticket: u64) {
        let bit = ticket.wrapping_sub(self.first);
        if bit < 64 {
            self.waiting |= self.held & 1 << bit;
        }
    }

    /// Does the same as [`Self::take`], but passes over events that were handed back.
    pub fn take_without_redo(&mut self, most: u32) -> Option<Taken> {
        if self.refused {
            return None;
        }
        if self.waiting != 0 { Some(self.hand_out()) } else { self.take_fresh(most) }
    }

    /// The ticket of bit `bit` in the claim word's range. If the head was corrupted, the range may
    /// begin anywhere, so the sum may wrap.
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
            let head = self.view.acks.load(layout::HEAD, Edge::Head);
            let (mut count, mut events) = (0, 0u64);
            while count < most {
                let t = head.wrapping_add(count);
                // PUBLISH: pairs with the producer's store. The slot's bytes are visible.
                let word = self.view.data.load(self.view.slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
                if word == self.view.slots.state(t, seq::PUBLISHED) {
                    events |= 1 << count;
                } else if word != self.view.slots.state(t, seq::ABORTED) {
                    break;
                }
                count += 1;
            }
            if count == 0 {
                // The head may be stale: then its slot has moved on and is not empty.
                if self.view.acks.load(layout::HEAD, Edge::Head) != head {
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
                if events & 1 << i == 0 && !self.finish(t, self.view.slots.previous_lap_done(t)) {
                    return None;
                }
            }
            if events != 0 {
                return Some(self.hand_out());
            }
        }
    }

    /// Announces and wins `count` tickets from `head`. Those in `events` carry events.
    #[inline(always)]
    fn win(&mut self, head: u64, count: u32, events: u64) -> bool {
        debug_assert_eq!(self.waiting, 0, "everything at hand is handed out first");
        if self.held != 0 && !self.mark_held() {
            return false;
        }
        let entry = layout::entry(self.index);
        // ANNOUNCE: the store comes before the tickets can be won. Everything that was finished, or
        // marked TAKEN, under the last claim is visible to a participant that sees this one.
        self.view.acks.store(entry + layout::CLAIM, claim(head, count), Edge::Announce);
        self.announced = true;
        // HEAD: as in `take_fresh`.
        let next = head.wrapping_add(count as u64);
        let won = self.view.acks.compare_exchange(layout::HEAD, head, next, Edge::Head).is_ok();
        if won {
            (self.first, self.held, self.waiting) = (head, events, events);
        }
        won
    }

    /// Marks every ticket TAKEN that only the claim word says is held, because the claim word is
    /// about to move on. Returns false if a store was refused.
    #[inline(always)]
    fn mark_held(&mut self) -> bool {
        while self.held != 0 {
            let ticket = self.nth(self.held.trailing_zeros());
            self.held &= self.held - 1;
            let word = self.view.slots.held(ticket, done::TAKEN, 0, self.index as u8);
            // DONE: ANNOUNCE orders the store before the claim word moves on. The edge is for
            // repairers of TAKEN.
            if !self.settle(ticket, self.view.slots.previous_lap_done(ticket), word) {
                return false;
            }
            self.taken.add(ticket, FIRST_DELIVERY);
        }
        true
    }

    /// Retracts an announcement that holds no ticket.
    #[inline(always)]
    pub fn retract(&mut self) {
        if self.announced && self.held == 0 {
            self.announced = false;
            // ANNOUNCE: as with any claim word that moves on.
            self.view.acks.store(layout::entry(self.index) + layout::CLAIM, NO_CLAIM, Edge::Announce);
        }
    }

    /// Returns by which delivery this worker holds the event that it took last.
    #[inline(always)]
    pub fn delivery_of(&self, taken: Taken) -> Delivery {
        if taken.attempt == 0 {
            return FIRST_DELIVERY;
        }
        taken.attempt as Delivery | (self.redeliveries as Delivery) << 8
    }

    /// Marks an event as done. Returns false if this worker does not hold it, or no longer holds it
    /// because it was evicted.
    #[inline(always)]
    pub fn done(&mut self, ticket: u64) -> bool {
        if self.release_announced(ticket) {
            return self.finish(ticket, self.view.slots.previous_lap_done(ticket));
        }
        self.done_taken(ticket, None)
    }

    /// Does the same as [`Self::done`], and also returns false if the event is held by another
    /// delivery.
    #[inline(always)]
    pub fn done_delivery(&mut self, ticket: u64, delivery: Delivery) -> bool {
        // A ticket that only the claim word says is held has never been delivered before, so no
        // older delivery can be meant.
        if self.release_announced(ticket) {
            return self.finish(ticket, self.view.slots.previous_lap_done(ticket));
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

    /// Forgets a held ticket. Returns its attempt, and the done word that says it is held.
    fn release(&mut self, ticket: u64) -> Option<(u8, u64)> {
        if self.release_announced(ticket) {
            return Some((0, self.view.slots.previous_lap_done(ticket)));
        }
        let attempt = self.release_taken(ticket)?;
        Some((attempt, self.taken_word(ticket, attempt)))
    }

    fn taken_word(&self, ticket: u64, attempt: u8) -> u64 {
        self.view.slots.held(ticket, done::TAKEN, attempt, self.index as u8)
    }

    /// Forgets a ticket that only the claim word says is held.
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
        // DONE: pairs with the producer's load. All accesses to the slot come before it.
        self.settle(ticket, from, self.view.slots.state(ticket, done::DONE))
    }

    /// Replaces the done word `from`, which says that this worker holds the ticket. Returns false
    /// if the fence is closed, or the event was given to another worker.
    #[inline(always)]
    fn settle(&mut self, ticket: u64, from: u64, to: u64) -> bool {
        let at = self.view.slots.done_offset(ticket);
        if let Stores::Restart { area } = self.stores {
            let fence_at = layout::entry(self.index) + layout::FENCE;
            if self.view.done.store_if(at, to, Edge::Done, &self.view.acks, fence_at, area) {
                return true;
            }
        } else if self.swap(at, from, to) {
            return true;
        }
        self.refuse_at(ticket, from);
        false
    }

    #[inline(never)]
    fn swap(&self, at: usize, from: u64, to: u64) -> bool {
        self.view.done.compare_exchange(at, from, to, Edge::Done).is_ok()
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

    /// Whether an event that was taken from the ring still waits to be handed out.
    pub fn has_waiting(&self) -> bool {
        self.waiting != 0
    }

    /// Whether there is another event for this worker or another one: one at the head, or one that
    /// was handed back.
    pub fn has_more(&self) -> bool {
        let head = self.view.acks.load(layout::HEAD, Edge::Head);
        // PUBLISH: as in `take_fresh`.
        let word = self.view.data.load(self.view.slots.offset(head) + layout::SLOT_SEQ, Edge::Publish);
        self.view.slots.is_finished(word, head) || !matches!(self.redo().next(u64::MAX / 2).0, Next::Nothing)
    }

    /// How many events this worker holds.
    pub fn in_hand(&self) -> usize {
        self.held.count_ones() as usize + self.taken.len()
    }

    /// The meta word of a ticket.
    #[inline(always)]
    pub fn header(&self, ticket: u64) -> u64 {
        // PUBLISH: the ticket was seen published. If this worker was evicted and this is the word
        // of a later lap, a check of its fence after this finds the fence closed.
        self.view.data.load(self.view.slots.offset(ticket) + layout::SLOT_META, Edge::Publish)
    }

    /// The byte offset in the data of a ticket's body.
    #[inline(always)]
    pub fn body_offset(&self, ticket: u64) -> usize {
        self.view.slots.offset(ticket) + layout::SLOT_BODY
    }

    /// The largest body, in bytes.
    pub fn body_max(&self) -> u64 {
        self.view.slots.slot_bytes() - layout::SLOT_BODY as u64
    }

    /// Returns the ticket at the head if a producer has won it but not published it, so that every
    /// worker waits for it. It reads the tail, whose line the producers write, so it is not for the
    /// fast path.
    pub fn stuck_behind(&self) -> Option<u64> {
        let head = self.view.acks.load(layout::HEAD, Edge::Head);
        let word = self.view.data.load(self.view.slots.offset(head) + layout::SLOT_SEQ, Edge::Publish);
        let unpublished = !self.view.slots.is_finished(word, head) && !self.view.slots.is_newer(word, head);
        (unpublished && self.view.ring.load(layout::TAIL, Edge::Tail) > head).then_some(head)
    }

    /// Whether head, tail and the slot at the head are consistent. No participant that keeps to the
    /// protocol leaves them otherwise. If they are not, no event at the head is ever found,
    /// whatever is published. It reads the tail, as [`Self::stuck_behind`] does.
    pub fn is_head_sound(&self) -> bool {
        let head = self.view.acks.load(layout::HEAD, Edge::Head);
        // PUBLISH, TAIL: a producer reaches the head's slot again, in word or tail, only after its
        // ticket was done, and so after the head had moved on.
        let word = self.view.data.load(self.view.slots.offset(head) + layout::SLOT_SEQ, Edge::Publish);
        let tail = self.view.ring.load(layout::TAIL, Edge::Tail);
        let is_near = head <= tail && tail - head <= self.view.slots.count;
        is_near && !self.view.slots.is_newer(word, head)
            || self.view.acks.load(layout::HEAD, Edge::Head) != head
    }

    /// Steps over ticket `t` at the head if its producer is dead. The proof is enough: the
    /// producers' file is not written. Returns whether the head has moved past `t`.
    pub fn skip_orphan<P: Peers>(&mut self, t: u64, peers: &P) -> bool {
        if self.refused || !is_orphan(&self.view, t, peers) {
            return self.view.acks.load(layout::HEAD, Edge::Head) > t;
        }
        if self.win(t, 1, 0) {
            self.finish(t, self.view.slots.previous_lap_done(t));
        }
        true
    }

    /// Returns the sweeper that repairs the tickets which dead workers left. Events that it hands
    /// back wait from `now` on.
    pub fn sweeper(&self, now: impl Into<Now>) -> Sweeper<'_, M> {
        Sweeper { view: &self.view, now: now.into(), backoff: self.backoff }
    }
}
