//! Looking at a queue's events that are not done, without taking them.
//!
//! An event that is not done stays in its slot. So a copy is whole if its event was still not done
//! after the copy was made.

use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::sequence::is_published;
use railbus_ring::slots::word::{self, Slots, done};
use railbus_ring::{frame, layout};

use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::span::slots_of;

/// Where an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// It waits for a worker.
    Waiting,
    /// A worker holds it, or held it when it died.
    InHand,
    /// Its producer writes it, or died before it was published.
    Unpublished,
}

/// A ticket that is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) ticket: u64,
    pub(crate) place: Where,
    /// Deliveries without success.
    pub(crate) attempts: u8,
    /// Its header word, unless it is unpublished.
    pub(crate) header: u64,
}

/// The tickets below `end` that are not done, in order.
pub(crate) fn unfinished(channel: &Channel, memories: &Memories, end: u64) -> Vec<Unfinished> {
    let slots = slots_of(channel);
    // HEAD: read first. An event that is taken after this load counts as waiting, which it was.
    let head = memories.acks.load(layout::HEAD, Edge::Head);
    let tail = memories.ring.load(layout::TAIL, Edge::Tail).min(end);
    (tail.saturating_sub(slots.count)..tail).filter_map(|t| look(memories, slots, head, t)).collect()
}

fn look(memories: &Memories, slots: Slots, head: u64, ticket: u64) -> Option<Unfinished> {
    let seen = memories.done.load(slots.done_offset(ticket), Edge::Done);
    let own = slots.is_of(seen, ticket);
    if slots.is_newer(seen, ticket) || own && word::kind(seen) == done::DONE {
        return None;
    }
    let published = is_published(&memories.data, slots, ticket);
    let place = match word::kind(seen) {
        done::REDO if own => Where::Waiting,
        done::TAKEN if own => Where::InHand,
        _ if ticket < head => Where::InHand,
        _ if published => Where::Waiting,
        _ => Where::Unpublished,
    };
    let header = memories.data.load(slots.offset(ticket) + layout::SLOT_META, Edge::Plain);
    let attempts = if own { word::attempt(seen) } else { 0 };
    Some(Unfinished { ticket, place, attempts, header: if published { header } else { 0 } })
}

/// A copy of the body of a ticket that is not done, as whole words. `None` if it was done in the
/// meantime, or if no correct producer writes such an event.
pub(crate) fn copy(memories: &Memories, slots: Slots, one: &Unfinished) -> Option<Vec<u64>> {
    let body_max = slots.slot_bytes() - layout::SLOT_BODY as u64;
    if !frame::is_event(one.header, body_max) {
        return None;
    }
    let words = frame::body_bytes(one.header).div_ceil(8) as usize;
    let at = slots.offset(one.ticket) + layout::SLOT_BODY;
    let body = (0..words).map(|i| memories.data.load(at + i * 8, Edge::Plain)).collect();
    // VALIDATE: if its slot had been used again, the look below would find it done.
    memories.done.fence(Edge::Validate);
    look(memories, slots, 0, one.ticket).map(|_| body)
}
