//! The words of a new channel that must not be zero at the start.

use railbus_ring::layout;
use railbus_ring::members::registry::{JOURNALLER, ROLE_SUBSCRIBER, ROLE_TAP, Registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::unique::UniqueKeys;
use railbus_ring::slots::view::SlotView;
use railbus_ring::slots::word::{Slots, seq};
use railbus_ring::stream::places::POSITION_MAX;

use crate::channel::memories::Memories;
use crate::channel::{ChannelOptions, Kind, Maps};
use crate::error::{Error, Result};

/// Fills the table of unique keys of a queue that was filled with the events of another, if it has
/// one. It has this many entries for producers.
pub(crate) fn restore_unique(
    memories: &Memories,
    producers: u32,
    slots: Slots,
    tickets: impl Iterator<Item = u64>,
) {
    let Memories { ring, acks, data, done } = *memories;
    let view = SlotView { ring, acks, data, done, slots, producers: producers as usize, consumers: 0 };
    tickets.for_each(|ticket| UniqueKeys { view: &view }.put_back(ticket));
}

/// Writes the words that must not be zero at the start: the journaller's subscription, and
/// positions that do not begin at 0.
pub(crate) fn initialise(maps: &Maps, options: &ChannelOptions) -> Result<()> {
    let first = options.first_position;
    if options.journaled {
        // SAFETY: the maps outlive these copies, and the creator has all of them writable.
        let memories = unsafe { Memories::of(maps) };
        register_journaller(&memories, options.kind(), options.consumers(), first);
    }
    if first == 0 {
        return Ok(());
    }
    if first > POSITION_MAX {
        return Err(Error::invalid(format!("first position {first}"), format!("at most {POSITION_MAX}")));
    }
    // SAFETY: the maps outlive these copies, and the creator has all of them writable.
    let memories = unsafe { Memories::of(maps) };
    let store = |at, value| memories.ring.store(at, value, Edge::Plain);
    if options.kind() == Kind::Table {
        return Err(Error::invalid(format!("first position {first}"), "a table has no positions"));
    }
    if options.kind() == Kind::Stream {
        store(layout::ANCHOR_FLOOR, first);
        store(layout::ANCHOR_ENTRIES, first);
        store(layout::ANCHOR_ENTRIES + 16, first);
        return Ok(());
    }
    let slots = Slots::new(options.slot_count(), options.slot_size_bytes());
    store(layout::TAIL, first);
    memories.acks.store(layout::HEAD, first, Edge::Plain);
    for t in first..first + slots.count {
        if options.kind() == Kind::Queue {
            memories.done.store(slots.done_offset(t), slots.previous_lap_done(t), Edge::Plain);
        }
        if let Some(before) = t.checked_sub(slots.count) {
            let word = slots.state(before, seq::ABORTED);
            memories.data.store(slots.offset(t) + layout::SLOT_SEQ, word, Edge::Plain);
        }
    }
    Ok(())
}

/// Puts the journaller's subscription into a channel that nobody sees yet. It has read everything
/// before `position`.
pub(crate) fn register_journaller(memories: &Memories, kind: Kind, consumers_max: u32, position: u64) {
    let registry = Registry::new(memories.acks, consumers_max as usize, layout::CONSUMERS_HIGH);
    let role = if kind == Kind::Queue { ROLE_TAP } else { ROLE_SUBSCRIBER };
    registry.restore(0, role, JOURNALLER, position, None);
}
