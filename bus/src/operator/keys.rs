//! A table as an observer sees it: its keys, and which writers hold one.

use railbus_ring::layout;
use railbus_ring::members::registry;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::table::entry::is_present;
use railbus_ring::table::writer::index_of;

use crate::channel::Header;
use crate::channel::memories::Memories;

/// The entries of a table, as they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeysSeen {
    /// How many keys have a value.
    pub(super) keys: u64,
    /// How many changes were ever made, except those whose writer died and was not buried.
    pub(super) changes: u64,
    /// How many entries each producer holds, by its registry index.
    held: Vec<u64>,
}

impl KeysSeen {
    /// Looks at every entry that was ever used; `None` for other kinds of channels.
    pub(super) fn of(header: &Header, memories: &Memories) -> Option<KeysSeen> {
        let table = memories.table(header)?;
        let mut seen = KeysSeen { keys: 0, changes: 0, held: vec![0; header.producers_max as usize] };
        for entry in 0..table.used() {
            seen.keys += u64::from(is_present(table.version_word(entry)));
            let owner = table.owner(entry);
            let index = index_of(owner);
            if owner != 0 && index < seen.held.len() && generation_of(memories, index) == owner >> 8 {
                seen.held[index] += 1;
            }
        }
        seen.changes = memories.ring.load(layout::TABLE_CHANGES, Edge::Plain);
        for index in 0..seen.held.len() {
            // Those of a writer that has left are counted, and its own figure is 0.
            let changes = memories.ring.load(layout::entry(index) + layout::EVENTS, Edge::Plain);
            seen.changes = seen.changes.wrapping_add(changes);
        }
        Some(seen)
    }

    /// How many entries the producer in this registry entry holds.
    pub(super) fn held_by(&self, index: usize) -> u64 {
        self.held.get(index).copied().unwrap_or(0)
    }
}

fn generation_of(memories: &Memories, index: usize) -> u64 {
    registry::generation(memories.ring.load(layout::entry(index) + layout::STATE, Edge::State))
}
