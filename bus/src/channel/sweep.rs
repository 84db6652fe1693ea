//! Sweeping a queue's tickets from outside of its workers: for registering, burying and evicting.

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::job::Now;
use railbus_ring::slots::orphan::{Sweeper, Swept};
use railbus_ring::slots::view::SlotView;

use crate::channel::Kind;
use crate::channel::mapped::Trusted;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::peers::Kernel;

/// Sweeps what the dead owner of a worker's registry entry left, and returns whether nothing
/// remains. For registering.
pub(crate) fn sweep_entry(channel: &Channel, memories: &Memories, peers: &Kernel, index: usize) -> bool {
    sweep_entry_of(channel, memories, peers, index).unsettled == 0
}

/// The same, with a report of what was found.
pub(crate) fn sweep_entry_of(channel: &Channel, memories: &Memories, peers: &Kernel, index: usize) -> Swept {
    let view = memories.slots(channel.header());
    sweeper_of(channel, &view).sweep(peers, Some(index))
}

/// Counts the changes of a dead writer of a table among those of all that are gone. Its keys need no
/// sweep: the next writer of each takes it over, no matter who has the registry entry then.
pub(crate) fn keep_changes(memories: &Memories, index: usize) {
    let at = layout::entry(index) + layout::EVENTS;
    // Plain: figures for observers. A process that dies here makes them wrong, and nothing else.
    let changes = memories.ring.load(at, Edge::Plain);
    memories.ring.store(at, 0, Edge::Plain);
    memories.ring.fetch_add(layout::TABLE_CHANGES, changes, Edge::Plain);
}

/// The present moment, by the clocks that a queue's protocol uses.
pub(crate) fn now() -> Now {
    Now { host_ns: clock::host_ns(), wall_ns: clock::realtime_ns() }
}

/// The sweeper of a queue's tickets, for a process that is not the worker in question.
pub(crate) fn sweeper_of<'a>(channel: &Channel, view: &'a SlotView<Trusted>) -> Sweeper<'a, Trusted> {
    Sweeper { view, now: now(), backoff: channel.header().backoff() }
}

impl Channel {
    /// Hands back what the dead owner of an entry held, if it was a queue's worker.
    pub(crate) fn sweep_for_burial(
        &self,
        memories: &Memories,
        peers: &Kernel,
        side: Side,
        index: usize,
    ) -> Swept {
        match (side, self.header().kind) {
            (Side::Consumers, Kind::Queue) => sweep_entry_of(self, memories, peers, index),
            (Side::Producers, Kind::Table) => {
                keep_changes(memories, index);
                Swept::default()
            }
            _ => Swept::default(),
        }
    }
}
