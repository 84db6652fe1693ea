//! Producing into a slot ring: a queue's producer and a topic's publisher.
//!
//! ```text
//! claim:   t = tail;  is t free, and not a gate's lap?        (both cached)
//!          announce t in the own claim word                   (before it can be won)
//!          CAS tail: t -> t + n                               (won)
//! publish: payload, meta, then seq[t] = PUBLISHED             (PUBLISH)
//! ```
//!
//! A queue's ticket is free when the done word says that the slot's previous ticket is done. A topic has no done
//! words: its ticket is free when the slot's previous ticket is published or aborted, and every cursor is past it.
//! A topic also marks a slot BUSY before it overwrites it, for lossy readers; a queue's look at the tail.
//!
//! **The gate limit** (queues have gates too: taps): read the tail, fence, scan the cursors; tickets below
//! `min(cursors, that tail) + slots` may be won. A joiner stores its cursor, fences, and starts at the tail it then
//! reads: a scan that missed it had read no later tail (JOIN).
//!
//! **Watermarks and credits** cost nothing where there are none. With watermarks, the one comparison of the fast path also
//! stops where the depth may come to the high mark (see [`crate::members::pressure`]). With credits, the caller asks
//! [`SlotProducer::credit`] before each claim, and does not claim easily (see [`crate::members::credits`]).
//!
//! **Slots that an evicted consumer may still look at** ([`crate::members::lent`]) are stepped over: their
//! tickets are won and marked ABORTED, and no byte of their bodies is written.
//!
//! One claim range is open per producer; the claim word keeps announcing it until the next claim.

use crate::layout;
use crate::members::credits::Credits;
use crate::members::gates::{Gates, Lowest};
use crate::members::lent::Lent;
use crate::members::peers::{Peers, Side};
use crate::members::pressure::{Pressure, Watermarks};
use crate::memory::{Edge, Memory};
use crate::slots::orphan;
use crate::slots::word::{NO_CLAIM, Slots, claim, done, seq};

/// How far ahead free tickets are looked for: done words come eight to a cache line.
const LOOK_AHEAD: u64 = 32;
/// Most done words that an event looks at for the pressure: some ten microseconds.
const DONE_A_LOOK: u64 = 1 << 14;
/// How many slots ahead a publisher asks to own. The more, the more lines are on their way to it at once, which counts
/// where the cores are far apart; a queue's worker that keeps up is then robbed of lines, where they are near.
const fn prefetch(topic: bool) -> u64 {
    if topic { 4 } else { 2 }
}

/// Tickets that were won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tickets {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u32,
}

/// Why nothing could be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The queue's slot of this older ticket is not done.
    NotDone(u64),
    /// The topic's slot of this older ticket is not finished by its producer.
    NotPublished(u64),
    /// The reader in this consumer entry is a ring behind.
    Gate(usize),
    /// As many events of this producer are unfinished as it has credits.
    OutOfCredits,
}

/// A producer's private state. `TOPIC` chooses between the two kinds of slot ring.
#[derive(Debug)]
pub struct SlotProducer<M, const TOPIC: bool> {
    ring: M,
    acks: M,
    data: M,
    done: M,
    slots: Slots,
    /// Own registry entry, as an offset.
    entry: usize,
    producers: usize,
    gates: Gates,
    /// Tickets below this are known to be free (queue).
    free_until: u64,
    /// Tickets below this overrun no gate.
    gate_limit: u64,
    /// Cuts the fast path short where the depth may come to the high watermark.
    pressure: Pressure,
    /// Minimum of these (a topic's free slots are looked at one by one), so that the fast path compares once.
    ready_until: u64,
    /// Queue: tickets below this are known to be done.
    done_until: u64,
    /// How many own tickets may be unfinished; `None` without limit.
    credits: Option<Credits>,
    /// The next tickets whose slots are to be left alone, and the count of changes that it was looked for at.
    lent: Option<Lent>,
    lent_changes: u64,
    /// Topic: every gate is known to be past the tickets below this.
    passed: u64,
    announced: bool,
}

impl<M: Memory, const TOPIC: bool> SlotProducer<M, TOPIC> {
    /// A producer registered in entry `index`.
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
        SlotProducer {
            ring,
            acks,
            data,
            done,
            slots,
            entry: layout::entry(index),
            producers,
            gates: Gates::new(consumers),
            free_until: 0,
            gate_limit: 0,
            pressure: Pressure::new(None),
            ready_until: 0,
            done_until: 0,
            credits: None,
            lent: None,
            lent_changes: 0,
            passed: 0,
            announced: false,
        }
    }

    /// The same, telling the pressure, and with so many credits; 0 is without limit.
    pub fn with_limits(self, marks: Option<Watermarks>, credits: u32) -> Self {
        let credits = (credits > 0).then(|| Credits::new(credits));
        SlotProducer { pressure: Pressure::new(marks), credits, ..self }
    }

    /// Whether [`Self::credit`] is to be asked before each claim.
    #[inline(always)]
    pub fn has_credits(&self) -> bool {
        self.credits.is_some()
    }

    /// How many of `wanted` tickets this producer may claim now: at least one.
    pub fn credit(&mut self, wanted: u32) -> Result<u32, Refused> {
        let SlotProducer { done, slots, credits, passed, .. } = self;
        let Some(credits) = credits else { return Ok(wanted) };
        let available = if TOPIC {
            let known = *passed;
            match credits.available(wanted, |t| t < known) {
                0 => {
                    // CURSOR: a look at every reader, only when all credits are used up.
                    let tail = self.ring.load(layout::TAIL, Edge::Tail);
                    *passed = self.gates.lowest(&self.acks, tail).position;
                    credits.available(wanted, |t| t < *passed)
                }
                some => some,
            }
        } else {
            credits.available(wanted, |t| is_done(done, *slots, t))
        };
        if available == 0 { Err(Refused::OutOfCredits) } else { Ok(available) }
    }

    /// Accounts for what was claimed, at most what [`Self::credit`] allowed.
    pub fn spend(&mut self, won: Tickets) {
        if let Some(credits) = &mut self.credits {
            (0..won.count as u64).for_each(|i| credits.spend(won.first + i));
        }
    }

    /// How many credits there are, and the oldest ticket that has not given its credit back; `None` without credits.
    pub fn credits(&self) -> Option<(usize, Option<u64>)> {
        self.credits.as_ref().map(|credits| (credits.count(), credits.oldest()))
    }

    /// Claims up to `wanted` tickets (at least one, at most 65535 and the ring). Every ticket must then be
    /// published or aborted before the next claim.
    #[inline(always)]
    pub fn claim(&mut self, wanted: u32) -> Result<Tickets, Refused> {
        let mut left_alone = 0;
        loop {
            // TAIL: the chain of read-modify-writes on the tail carries all earlier announcements.
            let first = self.ring.load(layout::TAIL, Edge::Tail);
            let (count, lent_by) = if self.is_ready(first, wanted) {
                (wanted, None)
            } else {
                match self.look(first, wanted) {
                    Ok(found) => found,
                    // The tail was stale: the ticket's slot has moved on to it.
                    Err(_) if self.ring.load(layout::TAIL, Edge::Tail) != first => continue,
                    Err(refused) => {
                        self.retract();
                        return Err(refused);
                    }
                }
            };
            // ANNOUNCE: before the ticket can be won; and everything published under the last claim is visible to
            // who sees this one.
            self.ring.store(self.entry + layout::CLAIM, claim(first, count), Edge::Announce);
            self.announced = true;
            // TAIL.
            let next = first + count as u64;
            if self.ring.compare_exchange(layout::TAIL, first, next, Edge::Tail).is_ok() {
                self.begin_overwriting(first, count);
                let Some(entry) = lent_by else { return Ok(Tickets { first, count }) };
                (first..next).for_each(|t| self.abort(t));
                left_alone += count as u64;
                if left_alone >= self.slots.count {
                    // All slots are to be left alone.
                    self.retract();
                    return Err(Refused::Gate(entry));
                }
            }
        }
    }

    /// Claims one ticket if the first attempt succeeds and nothing has to be looked at.
    #[inline(always)]
    pub fn claim_fast(&mut self) -> Option<u64> {
        // TAIL, ANNOUNCE, TAIL: as in `claim`.
        let first = self.ring.load(layout::TAIL, Edge::Tail);
        if !self.is_ready(first, 1) {
            return None;
        }
        self.ring.store(self.entry + layout::CLAIM, claim(first, 1), Edge::Announce);
        self.announced = true;
        if self.ring.compare_exchange(layout::TAIL, first, first + 1, Edge::Tail).is_err() {
            return None; // `claim` goes on, and takes the announcement back if it must.
        }
        self.begin_overwriting(first, 1);
        Some(first)
    }

    /// Whether all `wanted` tickets from `first` may be won, as far as one comparison (and, in a topic, the one slot
    /// that is about to be written) tells.
    #[inline(always)]
    fn is_ready(&self, first: u64, wanted: u32) -> bool {
        if TOPIC {
            // No look-ahead: reading the slots ahead would share lines that are about to be written.
            wanted == 1 && first < self.ready_until && self.is_free(first)
        } else {
            // A tail that no producer wrote may be anything: it must not wrap around to look ready.
            first.saturating_add(wanted as u64) <= self.ready_until
        }
    }

    /// Whether no older producer writes the slot of ticket `t` any more.
    #[inline(always)]
    fn is_free(&self, t: u64) -> bool {
        // PUBLISH: the older producer's last store to the slot is before its word.
        self.slots.is_settled_before(self.data.load(self.seq_at(t), Edge::Publish), t)
    }

    /// How many of the `wanted` tickets from `first` may be won now; and if they are to be won only to leave
    /// their slots alone, for which consumer.
    #[cold]
    fn look(&mut self, first: u64, wanted: u32) -> Result<(u32, Option<usize>), Refused> {
        let wanted = wanted as u64;
        if first.saturating_add(wanted) > self.gate_limit {
            self.rescan(first)?;
        }
        if TOPIC {
            self.free_until = self.free_slots(first, wanted)?;
        } else if first.saturating_add(wanted) > self.free_until {
            self.free_until = self.done_slots(first, wanted.max(LOOK_AHEAD))?;
        }
        // DONE, STATE: what an evicted worker may look at was noted before it was handed back, and so before
        // it was done.
        if !TOPIC && self.acks.load(layout::LENT_CHANGES, Edge::State) != self.lent_changes
            || self.lent.is_some()
        {
            self.find_lent(first);
        }
        let lent = self.lent.unwrap_or(Lent { from: u64::MAX, to: u64::MAX, entry: 0 });
        let (lent_by, end) = if lent.from <= first { (Some(lent.entry), lent.to) } else { (None, lent.from) };
        let count = self.free_until.min(self.gate_limit).min(end).saturating_sub(first).min(wanted);
        if self.pressure.is_due(first + count) {
            self.measure_pressure(first + count);
        }
        let limit = self.gate_limit.min(self.pressure.until);
        let limit = if TOPIC { limit } else { limit.min(self.free_until) };
        self.ready_until = limit.min(lent.from);
        Ok((count as u32, lent_by))
    }

    /// Looks for what is to be left alone from `first` on.
    #[cold]
    fn find_lent(&mut self, first: u64) {
        self.lent_changes = self.acks.load(layout::LENT_CHANGES, Edge::State);
        self.lent = self.gates.lent(&self.acks, first, self.slots.count);
    }

    /// Measures the depth up to `end` on the way of an event.
    #[cold]
    fn measure_pressure(&mut self, end: u64) {
        if TOPIC || self.count_done(end, DONE_A_LOOK) {
            self.judge_pressure(end);
        } else {
            // Others have published that much since the last look: the next event goes on with it.
            self.pressure.until = end;
        }
    }

    fn judge_pressure(&mut self, end: u64) -> bool {
        let SlotProducer { ring, acks, gates, done_until, .. } = self;
        self.pressure.look(ring, || {
            let lowest = gates.lowest(acks, end).position;
            let lowest = if TOPIC { lowest } else { lowest.min(*done_until) };
            (lowest, end.max(ring.load(layout::TAIL, Edge::Tail)))
        })
    }

    /// Looks on from where it was to the oldest ticket before `end` that is not done, `most` words at most. Tickets stay
    /// done: each is looked at once, and not at all when the ring has forgotten it. Returns whether it came there.
    fn count_done(&mut self, end: u64, most: u64) -> bool {
        let from = self.done_until.max(end.saturating_sub(self.slots.count));
        let to = end.min(from.saturating_add(most));
        self.done_until = from;
        while self.done_until < to && is_done(&self.done, self.slots, self.done_until) {
            self.done_until += 1;
        }
        self.done_until < to || to == end
    }

    /// Measures the pressure anew, however many tickets that takes a look at. The next claim looks at the cursors.
    pub fn look_at_pressure(&mut self) -> bool {
        self.ready_until = 0;
        let end = self.tail();
        if !TOPIC {
            self.count_done(end, self.slots.count);
        }
        self.judge_pressure(end)
    }

    /// The slowest reader that holds ticket `t`, or one before it, back.
    pub fn slowest(&self, t: u64) -> Lowest {
        self.gates.lowest(&self.acks, t.saturating_add(1))
    }

    fn rescan(&mut self, first: u64) -> Result<(), Refused> {
        // JOIN: the tail was read (by the caller) before the fence, the cursors are read after it.
        self.ring.fence(Edge::Join);
        let lowest = self.gates.lowest(&self.acks, first);
        self.gate_limit = lowest.position.saturating_add(self.slots.count);
        self.ready_until = self.ready_until.min(self.gate_limit);
        if lowest.passed_evicted {
            self.find_lent(first);
        }
        match lowest.entry {
            Some(reader) if self.gate_limit <= first => Err(Refused::Gate(reader)),
            _ => Ok(()),
        }
    }

    /// End of the run of tickets from `first` whose slots are done.
    fn done_slots(&self, first: u64, at_most: u64) -> Result<u64, Refused> {
        let end = first.saturating_add(at_most.min(self.slots.count));
        let mut t = first;
        // DONE: the worker's last access to the slot is before the word. A ticket that is not won stays free.
        while t < end
            && self.done.load(self.slots.done_offset(t), Edge::Done) == self.slots.previous_lap_done(t)
        {
            t += 1;
        }
        if t == first { Err(Refused::NotDone(first.wrapping_sub(self.slots.count))) } else { Ok(t) }
    }

    /// End of the run of tickets from `first` whose slots no older producer writes any more.
    fn free_slots(&self, first: u64, at_most: u64) -> Result<u64, Refused> {
        let end = first.saturating_add(at_most.min(self.slots.count));
        let mut t = first;
        while t < end && self.is_free(t) {
            t += 1;
        }
        if t == first { Err(Refused::NotPublished(first.wrapping_sub(self.slots.count))) } else { Ok(t) }
    }

    /// Lets lossy readers know that these slots are about to be written.
    #[inline(always)]
    fn begin_overwriting(&self, first: u64, count: u32) {
        if TOPIC {
            for t in first..first + count as u64 {
                // PUBLISH: who sees the busy word sees its ticket won. A lossy reader that is lapped looks where the
                // tail is, and a tail from before this lap would look like corruption.
                self.data.store(self.seq_at(t), self.slots.state(t, seq::BUSY), Edge::Publish);
            }
        }
        // OVERWRITE: the busy words, in a queue the tail, come before any byte of the new events; pairs with VALIDATE
        // in lossy readers. No instruction on x86.
        self.data.fence(Edge::Overwrite);
    }

    /// Takes back an announcement that won nothing: left standing, it would delay a repair.
    #[inline(always)]
    pub fn retract(&mut self) {
        if self.announced {
            self.announced = false;
            // ANNOUNCE: as with any claim that moves on.
            self.ring.store(self.entry + layout::CLAIM, NO_CLAIM, Edge::Announce);
        }
    }

    #[inline(always)]
    fn seq_at(&self, t: u64) -> usize {
        self.slots.offset(t) + layout::SLOT_SEQ
    }

    /// Byte offset in the data of ticket `t`'s body.
    #[inline(always)]
    pub fn body_offset(&self, t: u64) -> usize {
        self.slots.offset(t) + layout::SLOT_BODY
    }

    /// Largest body in bytes.
    pub fn body_max(&self) -> u64 {
        self.slots.slot_bytes() - layout::SLOT_BODY as u64
    }

    /// Publishes ticket `t`, whose body has been written, with this header word.
    #[inline(always)]
    pub fn publish(&mut self, t: u64, header: u64) {
        self.data.store(self.slots.offset(t) + layout::SLOT_META, header, Edge::Plain);
        // PUBLISH: pairs with the loads of readers and workers: the slot's bytes are before it.
        self.data.store(self.seq_at(t), self.slots.state(t, seq::PUBLISHED), Edge::Publish);
        self.data.prefetch_write(self.slots.offset(t.wrapping_add(prefetch(TOPIC))));
    }

    /// Gives up ticket `t`: readers step over it.
    #[inline(always)]
    pub fn abort(&mut self, t: u64) {
        // PUBLISH: as in `publish`; the slot's next producer comes after whatever was written here.
        self.data.store(self.seq_at(t), self.slots.state(t, seq::ABORTED), Edge::Publish);
    }

    /// Does what can be done about what refused a claim. True: try again.
    pub fn repair<P: Peers>(&mut self, refused: Refused, peers: &P) -> bool {
        match refused {
            Refused::Gate(reader) => {
                self.gates.pass_over_dead(&self.acks, reader, || peers.is_dead(Side::Consumers, reader))
            }
            Refused::NotPublished(t) => {
                orphan::abort_orphan(&self.ring, &self.data, self.slots, self.producers, t, peers)
            }
            Refused::OutOfCredits if TOPIC => {
                let oldest = self.credits().and_then(|(_, oldest)| oldest).unwrap_or(0);
                self.slowest(oldest).entry.is_some_and(|reader| {
                    self.gates.pass_over_dead(&self.acks, reader, || peers.is_dead(Side::Consumers, reader))
                })
            }
            // Done words belong to the workers: only a live one can repair them.
            Refused::NotDone(_) | Refused::OutOfCredits => false,
        }
    }

    /// The next ticket to be won, as far as this producer can see.
    pub fn tail(&self) -> u64 {
        self.ring.load(layout::TAIL, Edge::Tail)
    }
}

/// Whether ticket `t` of a queue is done: by its done word, or because the word has moved on.
fn is_done<M: Memory>(done_words: &M, slots: Slots, t: u64) -> bool {
    // DONE: only counted; whoever wins the slot looks again.
    let word = done_words.load(slots.done_offset(t), Edge::Done);
    word == slots.state(t, done::DONE) || slots.is_newer(word, t)
}
