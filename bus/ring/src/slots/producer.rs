//! Producing into a slot ring: a queue's producer and a topic's publisher.
//!
//! **Promise.** Each ticket is won by one producer. A slot is written only when its previous ticket
//! is finished and every reliable reader is past it. A producer that dies at any instruction leaves
//! a ticket that others can prove to be an orphan ([`crate::slots::orphan`]).
//!
//! ```text
//! claim:   t = tail;  is t free, and not a gate's lap?        (both cached)
//!          announce t in the own claim word                   (before it can be won)
//!          CAS tail: t -> t + n                               (won)
//! publish: payload, meta, then seq[t] = PUBLISHED             (PUBLISH)
//! ```
//!
//! **How it works.** A queue's ticket is free when the done word says that the slot's previous
//! ticket is done. A topic has no done words. Its ticket is free when the slot's previous ticket is
//! published or aborted, and every cursor is past it. A topic also marks a slot BUSY before it
//! overwrites it, for lossy readers; a lossy reader of a queue checks the tail instead.
//!
//! One range of tickets is open per producer. The claim word announces it until the next claim.
//!
//! **Watermarks and credits** cost nothing where there are none. With watermarks, the one
//! comparison of the fast path also stops where the depth may reach the high mark
//! ([`crate::members::pressure`]). With credits, the caller asks [`SlotProducer::credit`] before
//! each claim and does not use the fast path ([`crate::members::credits`]).
//!
//! **Slots that an evicted consumer may still read** ([`crate::members::lent`]) are stepped over:
//! their tickets are won and marked ABORTED, and no byte of their bodies is written.
//!
//! **Why the gate limit is sound.** Queues have gates, too: their taps. A producer reads the tail,
//! executes a memory fence, and scans the cursors. Tickets below `min(cursors, that tail) + slots`
//! may be won. A joiner stores its cursor, fences, and starts at the tail that it reads then. A
//! scan that missed the cursor had read no later tail (JOIN).
//!
//! **Left out.** Waiting for room, and waking readers.

use crate::layout;
use crate::members::credits::Credits;
use crate::members::gates::{Gates, Lowest};
use crate::members::lent::Lent;
use crate::members::peers::{Peers, Side};
use crate::members::pressure::{Pressure, Watermarks};
use crate::memory::{Edge, Memory};
use crate::slots::orphan;
use crate::slots::unique::UniqueKeys;
use crate::slots::view::SlotView;
use crate::slots::word::{NO_CLAIM, Slots, claim, done, seq};

/// How far ahead free tickets are looked for. Eight done words share a cache line.
const LOOK_AHEAD: u64 = 32;
/// The most done words that one event reads to measure the pressure. They take some ten
/// microseconds.
const DONE_A_LOOK: u64 = 1 << 14;
/// How many slots ahead a publisher asks to own. A higher number brings more lines at once, which
/// counts where the cores are far apart. Where the cores are near, it takes lines away from a
/// queue's worker that keeps up.
const fn prefetch(topic: bool) -> u64 {
    if topic { 4 } else { 2 }
}

/// Tickets that were won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tickets {
    /// The first ticket.
    pub first: u64,
    /// How many tickets.
    pub count: u32,
}

/// Why nothing could be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// The slot's older ticket is not done (queue).
    NotDone(u64),
    /// The slot's older ticket was not finished by its producer (topic).
    NotPublished(u64),
    /// The reader in this consumer entry is a whole ring behind.
    Gate(usize),
    /// As many events of this producer are unfinished as it has credits.
    OutOfCredits,
}

/// A producer's private state. `TOPIC` selects the kind of slot ring.
#[derive(Debug)]
pub struct SlotProducer<M, const TOPIC: bool> {
    view: SlotView<M>,
    /// The geometry of the view again. Through the view, a publish takes one or two instructions
    /// more.
    slots: Slots,
    /// The offset of its own registry entry.
    entry: usize,
    gates: Gates,
    /// Tickets below this are known to be free (queue).
    free_until: u64,
    /// Tickets below this overrun no gate.
    gate_limit: u64,
    /// Ends the fast path early where the depth may reach the high watermark.
    pressure: Pressure,
    /// The minimum of these limits, so that the fast path compares once. A topic checks its free
    /// slots one by one.
    ready_until: u64,
    /// Tickets below this are known to be done (queue).
    done_until: u64,
    /// How many of its own tickets may be unfinished; `None` for no limit.
    credits: Option<Credits>,
    /// The next tickets whose slots must not be written, and the count of changes at which they
    /// were looked for.
    lent: Option<Lent>,
    lent_changes: u64,
    /// Every gate is known to be past the tickets below this (topic).
    passed: u64,
    announced: bool,
}

impl<M: Memory, const TOPIC: bool> SlotProducer<M, TOPIC> {
    /// Makes a producer for registry entry `index`.
    pub fn new(view: SlotView<M>, index: usize) -> Self {
        SlotProducer {
            entry: layout::entry(index),
            gates: Gates::new(view.consumers),
            slots: view.slots,
            view,
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

    /// Returns the same producer, which publishes the pressure by these watermarks and has this
    /// many credits; 0 means no limit.
    pub fn with_limits(self, marks: Option<Watermarks>, credits: u32) -> Self {
        let credits = (credits > 0).then(|| Credits::new(credits));
        SlotProducer { pressure: Pressure::new(marks), credits, ..self }
    }

    /// Whether [`Self::credit`] must be called before each claim.
    #[inline(always)]
    pub fn has_credits(&self) -> bool {
        self.credits.is_some()
    }

    /// Returns how many of `wanted` tickets this producer may claim now: at least one.
    pub fn credit(&mut self, wanted: u32) -> Result<u32, NoSlot> {
        let SlotProducer { view: SlotView { ring, acks, done, slots, .. }, gates, credits, passed, .. } =
            self;
        let Some(credits) = credits else { return Ok(wanted) };
        let available = if TOPIC {
            let known = *passed;
            match credits.available(wanted, |t| t < known) {
                0 => {
                    // CURSOR: every reader's cursor is read only when all credits are used up.
                    let tail = ring.load(layout::TAIL, Edge::Tail);
                    *passed = gates.lowest(acks, tail).position;
                    credits.available(wanted, |t| t < *passed)
                }
                some => some,
            }
        } else {
            credits.available(wanted, |t| is_done(done, *slots, t))
        };
        if available == 0 { Err(NoSlot::OutOfCredits) } else { Ok(available) }
    }

    /// Accounts for tickets that were claimed: at most as many as [`Self::credit`] allowed.
    pub fn spend(&mut self, won: Tickets) {
        if let Some(credits) = &mut self.credits {
            (0..won.count as u64).for_each(|i| credits.spend(won.first + i));
        }
    }

    /// Returns how many credits there are, and the oldest ticket that still uses one. Returns
    /// `None` without credits.
    pub fn credits(&self) -> Option<(usize, Option<u64>)> {
        self.credits.as_ref().map(|credits| (credits.count(), credits.oldest()))
    }

    /// Claims up to `wanted` tickets: at least one, at most 65535 and at most the ring. Each of
    /// them must be published or aborted before the next claim.
    #[inline(always)]
    pub fn claim(&mut self, wanted: u32) -> Result<Tickets, NoSlot> {
        let mut left_alone = 0;
        loop {
            // TAIL: the chain of read-modify-writes on the tail carries all earlier announcements.
            let first = self.view.ring.load(layout::TAIL, Edge::Tail);
            let (count, lent_by) = if self.is_ready(first, wanted) {
                (wanted, None)
            } else {
                match self.look(first, wanted) {
                    Ok(found) => found,
                    // The tail was stale: the ticket's slot has moved on to that ticket.
                    Err(_) if self.view.ring.load(layout::TAIL, Edge::Tail) != first => continue,
                    Err(refused) => {
                        self.retract();
                        return Err(refused);
                    }
                }
            };
            // ANNOUNCE: the store comes before the ticket can be won. Everything that was published
            // under the last claim is visible to a participant that sees this one.
            self.view.ring.store(self.entry + layout::CLAIM, claim(first, count), Edge::Announce);
            self.announced = true;
            // TAIL: as above.
            let next = first + count as u64;
            if self.view.ring.compare_exchange(layout::TAIL, first, next, Edge::Tail).is_ok() {
                self.begin_overwriting(first, count);
                let Some(entry) = lent_by else { return Ok(Tickets { first, count }) };
                (first..next).for_each(|t| self.abort(t));
                left_alone += count as u64;
                if left_alone >= self.slots.count {
                    // All slots are lent.
                    self.retract();
                    return Err(NoSlot::Gate(entry));
                }
            }
        }
    }

    /// Claims one ticket if the first attempt succeeds and no limit has to be renewed.
    #[inline(always)]
    pub fn claim_fast(&mut self) -> Option<u64> {
        // TAIL, ANNOUNCE, TAIL: as in `claim`.
        let first = self.view.ring.load(layout::TAIL, Edge::Tail);
        if !self.is_ready(first, 1) {
            return None;
        }
        self.view.ring.store(self.entry + layout::CLAIM, claim(first, 1), Edge::Announce);
        self.announced = true;
        if self.view.ring.compare_exchange(layout::TAIL, first, first + 1, Edge::Tail).is_err() {
            return None; // `claim` goes on, and takes the announcement back if it must.
        }
        self.begin_overwriting(first, 1);
        Some(first)
    }

    /// Whether all `wanted` tickets from `first` may be won, as far as one comparison shows. A
    /// topic also reads the one slot that is about to be written.
    #[inline(always)]
    fn is_ready(&self, first: u64, wanted: u32) -> bool {
        if TOPIC {
            // A topic does not look ahead: reading the slots ahead would share lines that are about
            // to be written.
            wanted == 1 && first < self.ready_until && self.is_free(first)
        } else {
            // A tail that no producer wrote may have any value. The sum must not wrap around and
            // look ready.
            first.saturating_add(wanted as u64) <= self.ready_until
        }
    }

    /// Whether no older producer writes the slot of ticket `t` any more.
    #[inline(always)]
    fn is_free(&self, t: u64) -> bool {
        // PUBLISH: the older producer's last store to the slot comes before its word.
        self.slots.is_settled_before(self.view.data.load(self.seq_at(t), Edge::Publish), t)
    }

    /// Returns how many of the `wanted` tickets from `first` may be won now. The second value is
    /// the consumer entry for whose sake their slots must not be written, if that is the only
    /// purpose of winning them.
    #[cold]
    fn look(&mut self, first: u64, wanted: u32) -> Result<(u32, Option<usize>), NoSlot> {
        let wanted = wanted as u64;
        if first.saturating_add(wanted) > self.gate_limit {
            self.rescan(first)?;
        }
        if TOPIC {
            self.free_until = self.free_slots(first, wanted)?;
        } else if first.saturating_add(wanted) > self.free_until {
            self.free_until = self.done_slots(first, wanted.max(LOOK_AHEAD))?;
        }
        // DONE, STATE: the span of an evicted worker was noted before its events were handed back,
        // and so before they were done.
        if !TOPIC && self.view.acks.load(layout::LENT_CHANGES, Edge::State) != self.lent_changes
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

    /// Finds the next slots from `first` on that must not be written.
    #[cold]
    fn find_lent(&mut self, first: u64) {
        self.lent_changes = self.view.acks.load(layout::LENT_CHANGES, Edge::State);
        self.lent = self.gates.lent(&self.view.acks, first, self.slots.count);
    }

    /// Measures the depth up to `end` while an event is being claimed.
    #[cold]
    fn measure_pressure(&mut self, end: u64) {
        if TOPIC || self.count_done(end, DONE_A_LOOK) {
            self.judge_pressure(end);
        } else {
            // Others have published that many events since the last measurement. The next event
            // goes on counting.
            self.pressure.until = end;
        }
    }

    fn judge_pressure(&mut self, end: u64) -> bool {
        let SlotProducer { view: SlotView { ring, acks, .. }, gates, done_until, .. } = self;
        self.pressure.look(ring, || {
            let lowest = gates.lowest(acks, end).position;
            let lowest = if TOPIC { lowest } else { lowest.min(*done_until) };
            (lowest, end.max(ring.load(layout::TAIL, Edge::Tail)))
        })
    }

    /// Advances `done_until` to the oldest ticket before `end` that is not done, reading at most
    /// `most` words. A done ticket stays done, so each is read once, or never if its slot has been
    /// used again. Returns whether the search is complete.
    fn count_done(&mut self, end: u64, most: u64) -> bool {
        let from = self.done_until.max(end.saturating_sub(self.slots.count));
        let to = end.min(from.saturating_add(most));
        self.done_until = from;
        while self.done_until < to && is_done(&self.view.done, self.slots, self.done_until) {
            self.done_until += 1;
        }
        self.done_until < to || to == end
    }

    /// Measures the pressure again, however many tickets have to be read for that, and returns it.
    /// The next claim looks at the cursors.
    pub fn look_at_pressure(&mut self) -> bool {
        self.ready_until = 0;
        let end = self.tail();
        if !TOPIC {
            self.count_done(end, self.slots.count);
        }
        self.judge_pressure(end)
    }

    /// The slowest reader that holds back ticket `t` or one before it.
    pub fn slowest(&self, t: u64) -> Lowest {
        self.gates.lowest(&self.view.acks, t.saturating_add(1))
    }

    fn rescan(&mut self, first: u64) -> Result<(), NoSlot> {
        // JOIN: the caller read the tail before this fence; the cursors are read after it.
        self.view.ring.fence(Edge::Join);
        let lowest = self.gates.lowest(&self.view.acks, first);
        self.gate_limit = lowest.position.saturating_add(self.slots.count);
        self.ready_until = self.ready_until.min(self.gate_limit);
        if lowest.passed_evicted {
            self.find_lent(first);
        }
        match lowest.entry {
            Some(reader) if self.gate_limit <= first => Err(NoSlot::Gate(reader)),
            _ => Ok(()),
        }
    }

    /// Returns the end of the run of tickets from `first` whose slots are done.
    fn done_slots(&self, first: u64, at_most: u64) -> Result<u64, NoSlot> {
        let end = first.saturating_add(at_most.min(self.slots.count));
        let mut t = first;
        // DONE: the worker's last access to the slot comes before the word. A ticket that is not
        // won stays free.
        while t < end
            && self.view.done.load(self.slots.done_offset(t), Edge::Done) == self.slots.previous_lap_done(t)
        {
            t += 1;
        }
        if t == first { Err(NoSlot::NotDone(first.wrapping_sub(self.slots.count))) } else { Ok(t) }
    }

    /// Returns the end of the run of tickets from `first` whose slots no older producer writes any
    /// more.
    fn free_slots(&self, first: u64, at_most: u64) -> Result<u64, NoSlot> {
        let end = first.saturating_add(at_most.min(self.slots.count));
        let mut t = first;
        while t < end && self.is_free(t) {
            t += 1;
        }
        if t == first { Err(NoSlot::NotPublished(first.wrapping_sub(self.slots.count))) } else { Ok(t) }
    }

    /// Shows lossy readers that these slots are about to be written.
    #[inline(always)]
    fn begin_overwriting(&self, first: u64, count: u32) {
        if TOPIC {
            for t in first..first + count as u64 {
                // PUBLISH: a reader that sees the busy word sees that its ticket is won. A lossy
                // reader that is lapped reads the tail, and a tail from before this lap would look
                // like corruption.
                self.view.data.store(self.seq_at(t), self.slots.state(t, seq::BUSY), Edge::Publish);
            }
        }
        // OVERWRITE: the busy words (in a queue, the tail) come before any byte of the new events.
        // Pairs with VALIDATE in lossy readers. It is no instruction on x86.
        self.view.data.fence(Edge::Overwrite);
    }

    /// Retracts an announcement that won nothing. If it stayed, it would delay a repair.
    #[inline(always)]
    pub fn retract(&mut self) {
        if self.announced {
            self.announced = false;
            // ANNOUNCE: as with any claim word that moves on.
            self.view.ring.store(self.entry + layout::CLAIM, NO_CLAIM, Edge::Announce);
        }
    }

    #[inline(always)]
    fn seq_at(&self, t: u64) -> usize {
        self.slots.offset(t) + layout::SLOT_SEQ
    }

    /// The byte offset in the data of ticket `t`'s body.
    #[inline(always)]
    pub fn body_offset(&self, t: u64) -> usize {
        self.slots.offset(t) + layout::SLOT_BODY
    }

    /// The largest body, in bytes.
    pub fn body_max(&self) -> u64 {
        self.slots.slot_bytes() - layout::SLOT_BODY as u64
    }

    /// Publishes ticket `t`, whose body has been written, with this header word.
    #[inline(always)]
    pub fn publish(&mut self, t: u64, header: u64) {
        self.view.data.store(self.slots.offset(t) + layout::SLOT_META, header, Edge::Plain);
        // PUBLISH: pairs with the loads of readers and workers. The slot's bytes come before it.
        self.view.data.store(self.seq_at(t), self.slots.state(t, seq::PUBLISHED), Edge::Publish);
        self.view.data.prefetch_write(self.slots.offset(t.wrapping_add(prefetch(TOPIC))));
    }

    /// The table of unique keys. Only queues that were made with one have it.
    pub fn unique_keys(&self) -> UniqueKeys<'_, M> {
        UniqueKeys { view: &self.view }
    }

    /// Gives up ticket `t`: readers step over it.
    #[inline(always)]
    pub fn abort(&mut self, t: u64) {
        // PUBLISH: as in `publish`. The slot's next producer comes after everything that was
        // written here.
        self.view.data.store(self.seq_at(t), self.slots.state(t, seq::ABORTED), Edge::Publish);
    }

    /// Repairs the cause of a refused claim, if it can be repaired. Returns true if the caller
    /// should try again.
    pub fn repair<P: Peers>(&mut self, refused: NoSlot, peers: &P) -> bool {
        match refused {
            NoSlot::Gate(reader) => {
                self.gates.pass_over_dead(&self.view.acks, reader, || peers.is_dead(Side::Consumers, reader))
            }
            NoSlot::NotPublished(t) => orphan::abort_orphan(&self.view, t, peers),
            NoSlot::OutOfCredits if TOPIC => {
                let oldest = self.credits().and_then(|(_, oldest)| oldest).unwrap_or(0);
                self.slowest(oldest).entry.is_some_and(|reader| {
                    self.gates
                        .pass_over_dead(&self.view.acks, reader, || peers.is_dead(Side::Consumers, reader))
                })
            }
            // Done words belong to the workers: only a live worker can repair them.
            NoSlot::NotDone(_) | NoSlot::OutOfCredits => false,
        }
    }

    /// The next ticket to be won, as this producer sees it.
    pub fn tail(&self) -> u64 {
        self.view.ring.load(layout::TAIL, Edge::Tail)
    }
}

/// Whether ticket `t` of a queue is done: its done word says so, or belongs to a later lap.
fn is_done<M: Memory>(done_words: &M, slots: Slots, t: u64) -> bool {
    // DONE: the result is only counted. A producer that wins the slot checks the word again.
    let word = done_words.load(slots.done_offset(t), Edge::Done);
    word == slots.state(t, done::DONE) || slots.is_newer(word, t)
}
