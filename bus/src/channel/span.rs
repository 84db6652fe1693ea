//! The number of events between two positions of a ring, found by a read-only walk.
//!
//! A subscription's cursor holds the events of the walk, so that they stay while they are counted.
//! If the subscription moves in the meantime (in a dry run nobody owns it), the walk finds frames
//! that do not follow each other, and returns an error.

use railbus_ring::members::peers::Peers;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::orphan::is_orphan;
use railbus_ring::slots::sequence::is_published;
use railbus_ring::slots::word::{Slots, seq};
use railbus_ring::stream::places::{self, Place};
use railbus_ring::stream::subscriber::walk_each;
use railbus_ring::{frame, layout};

use crate::channel::Kind;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::error::{Error, Result};

/// The result of a walk between two positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// The position where the walk began.
    pub(crate) from: u64,
    /// The position where it ended: the start of an event, or behind the last one.
    pub(crate) to: u64,
    /// The number of events between.
    pub(crate) events: u64,
    /// The bytes of their payloads.
    pub(crate) bytes: u64,
    /// The number of positions between that no longer hold their events (of a topic that was
    /// overrun).
    pub(crate) lost: u64,
}

/// The bytes of an event's payload.
pub(crate) fn payload_bytes(header: u64) -> u64 {
    u64::from(frame::body_bytes(header)).saturating_sub(frame::extension_bytes(frame::flags(header)) as u64)
}

/// The geometry of a queue or topic.
pub(crate) fn slots_of(channel: &Channel) -> Slots {
    Slots::new(channel.header().slots, channel.header().slot_bytes)
}

/// The end of the channel: behind what is committed (stream), or what producers have won.
pub(crate) fn end_of(channel: &Channel, memories: &Memories) -> Result<u64> {
    if channel.header().kind != Kind::Stream {
        return Ok(memories.ring.load(layout::TAIL, Edge::Tail));
    }
    for _ in 0..100 {
        let places = places::read(&memories.ring, 1000).ok_or_else(|| corrupt(channel))?;
        let end = walk_each(&memories.data, channel.header().capacity_bytes, places.recent, None, |_| {});
        // VALIDATE: as a lossy reader does.
        memories.data.fence(Edge::Validate);
        if memories.ring.load(layout::ANCHOR_FLOOR, Edge::Places) <= places.recent.position {
            return Ok(end.ok_or_else(|| corrupt(channel))?.position);
        }
    }
    Err(moved(channel))
}

/// Walks from `from`, the start of an event, over at most `events` events, to `end` at most.
pub(crate) fn walk(
    channel: &Channel,
    memories: &Memories,
    peers: &impl Peers,
    from: u64,
    end: u64,
    events: u64,
) -> Result<Span> {
    match channel.header().kind {
        Kind::Stream => walk_frames(channel, memories, from, end, events),
        _ => Ok(walk_slots(channel, memories, peers, from, end, events)),
    }
}

fn walk_frames(channel: &Channel, memories: &Memories, from: u64, end: u64, events: u64) -> Result<Span> {
    let capacity = channel.header().capacity_bytes;
    let mut span = Span { from, to: from, ..Span::default() };
    while span.to < end && span.events < events {
        let (mut count, mut bytes) = (0, 0);
        let place = Place { position: span.to, count: 0 };
        // One frame, or the padding before it.
        let step = walk_each(&memories.data, capacity, place, Some(span.to + 1), |header| {
            count += 1;
            bytes += payload_bytes(header);
        });
        let to = step.ok_or_else(|| moved(channel))?.position;
        if to == span.to {
            break;
        }
        if to - from > capacity {
            return Err(moved(channel));
        }
        (span.to, span.events, span.bytes) = (to, span.events + count, span.bytes + bytes);
    }
    Ok(span)
}

fn walk_slots(
    channel: &Channel,
    memories: &Memories,
    peers: &impl Peers,
    from: u64,
    end: u64,
    events: u64,
) -> Span {
    let slots = slots_of(channel);
    let view = memories.slots(channel.header());
    let tail = memories.ring.load(layout::TAIL, Edge::Tail);
    // Positions that the ring no longer holds need not be read.
    let oldest = tail.saturating_sub(slots.count).min(end).max(from);
    let mut span = Span { from, to: oldest, lost: oldest - from, ..Span::default() };
    while span.to < end && span.events < events {
        let t = span.to;
        // PUBLISH: as in the readers.
        let word = memories.data.load(slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
        if is_published(&memories.data, slots, t) {
            let header = memories.data.load(slots.offset(t) + layout::SLOT_META, Edge::Plain);
            span.events += 1;
            span.bytes += payload_bytes(header);
        } else if slots.is_newer(word, t) {
            span.lost += 1;
        } else if word != slots.state(t, seq::ABORTED) && !is_orphan(&view, t, peers) {
            // A live producer is writing it.
            break;
        }
        span.to = t + 1;
    }
    span
}

pub(crate) fn corrupt(channel: &Channel) -> Error {
    Error::corrupt(format!("channel {}", channel.name()), "its frames do not follow each other")
}

fn moved(channel: &Channel) -> Error {
    Error::Busy {
        what: format!("a subscription of {}", channel.name()),
        why: "it moved while it was looked at: somebody reads it; try again".to_owned(),
    }
}
