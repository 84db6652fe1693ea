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
//! A topic also marks a slot BUSY before it overwrites it, for lossy readers.
//!
//! **The gate limit** (queues have gates too: taps): read the tail, fence, scan the cursors; tickets below
//! `min(cursors, that tail) + slots` may be won. A joiner stores its cursor, fences, and starts at the tail it then
//! reads: a scan that missed it had read no later tail (JOIN).
//!
//! One claim range is open per producer; the claim word keeps announcing it until the next claim.

use crate::layout;
use crate::memory::{Edge, Memory};
use crate::ring::gates::Gates;
use crate::ring::orphan;
use crate::ring::peers::{Peers, Side};
use crate::ring::word::{NO_CLAIM, Slots, claim, seq};

/// How far ahead free tickets are looked for: done words come eight to a cache line.
const LOOK_AHEAD: u64 = 32;
/// How many slots ahead a publisher asks to own.
const PREFETCH: u64 = 2;

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
    /// Minimum of the two, so that the fast path compares once.
    ready_until: u64,
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
            ready_until: 0,
            announced: false,
        }
    }

    /// Claims up to `wanted` tickets (at least one, at most 65535 and the ring). Every ticket must then be
    /// published or aborted before the next claim.
    #[inline(always)]
    pub fn claim(&mut self, wanted: u32) -> Result<Tickets, Refused> {
        loop {
            // TAIL: the chain of read-modify-writes on the tail carries all earlier announcements.
            let first = self.ring.load(layout::TAIL, Edge::Tail);
            let count = if self.is_ready(first, wanted) {
                wanted
            } else {
                match self.look(first, wanted) {
                    Ok(count) => count,
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
                if TOPIC {
                    self.mark_busy(first, count);
                }
                return Ok(Tickets { first, count });
            }
        }
    }

    /// Claims one ticket if the first attempt succeeds and nothing has to be looked at.
    #[inline(always)]
    pub fn claim_easily(&mut self) -> Option<u64> {
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
        if TOPIC {
            self.mark_busy(first, 1);
        }
        Some(first)
    }

    /// Whether all `wanted` tickets from `first` may be won, as far as one comparison (and, in a topic, the one slot
    /// that is about to be written) tells.
    #[inline(always)]
    fn is_ready(&self, first: u64, wanted: u32) -> bool {
        if TOPIC {
            // No look-ahead: reading the slots ahead would share lines that are about to be written.
            wanted == 1 && first < self.gate_limit && self.is_free(first)
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

    /// How many of the `wanted` tickets from `first` may be won now.
    #[cold]
    fn look(&mut self, first: u64, wanted: u32) -> Result<u32, Refused> {
        let wanted = wanted as u64;
        if first.saturating_add(wanted) > self.gate_limit {
            self.rescan(first)?;
        }
        if TOPIC {
            self.free_until = self.free_slots(first, wanted)?;
        } else if first.saturating_add(wanted) > self.free_until {
            self.free_until = self.done_slots(first, wanted.max(LOOK_AHEAD))?;
        }
        self.ready_until = self.free_until.min(self.gate_limit);
        Ok(self.ready_until.saturating_sub(first).min(wanted) as u32)
    }

    fn rescan(&mut self, first: u64) -> Result<(), Refused> {
        // JOIN: the tail was read (by the caller) before the fence, the cursors are read after it.
        self.ring.fence(Edge::Join);
        let lowest = self.gates.lowest(&self.acks, first);
        self.gate_limit = lowest.position.saturating_add(self.slots.count);
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
        while t < end && self.done.load(self.slots.done_offset(t), Edge::Done) == self.slots.free_for(t) {
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

    fn mark_busy(&self, first: u64, count: u32) {
        for t in first..first + count as u64 {
            // PUBLISH: who sees the busy word sees its ticket won. A lossy reader that is lapped looks where the
            // tail is, and a tail from before this lap would look like corruption.
            self.data.store(self.seq_at(t), self.slots.state(t, seq::BUSY), Edge::Publish);
        }
        // OVERWRITE: the busy words come before any byte of the new events; pairs with VALIDATE in lossy readers.
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
        self.data.prefetch_write(self.slots.offset(t.wrapping_add(PREFETCH)));
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
            // Done words belong to the workers: only a live one can repair them.
            Refused::NotDone(_) => false,
        }
    }

    /// The next ticket to be won, as far as this producer can see.
    pub fn tail(&self) -> u64 {
        self.ring.load(layout::TAIL, Edge::Tail)
    }
}
