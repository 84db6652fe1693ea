//! Sweeping a queue's tickets from outside of its workers: for registering, burying and evicting.

use crate::bus::Channel;
use crate::member::{Kernel, Memories};
use crate::memory::Trusted;
use crate::os::clock;
use crate::ring::orphan::{Sweeper, Swept};
use crate::ring::redo::Backoff;
use crate::ring::word::Slots;

/// Sweeps what the dead owner of a worker's registry entry left. For registering.
pub(crate) fn sweep_entry(channel: &Channel, memories: &Memories, peers: &Kernel, index: usize) -> bool {
    sweep_entry_of(channel, memories, peers, index).unsettled == 0
}

/// The same, with what was found.
pub(crate) fn sweep_entry_of(channel: &Channel, memories: &Memories, peers: &Kernel, index: usize) -> Swept {
    sweeper_of(channel, memories).sweep(peers, Some(index))
}

/// The sweeper of a queue's tickets, for a process that is not the worker in question.
pub(crate) fn sweeper_of<'a>(channel: &Channel, memories: &'a Memories) -> Sweeper<'a, Trusted> {
    let header = channel.header();
    Sweeper {
        ring: &memories.ring,
        acks: &memories.acks,
        data: &memories.data,
        done: &memories.done,
        slots: Slots::new(header.slots, header.slot_bytes),
        producers: header.producers_max as usize,
        consumers: header.consumers_max as usize,
        now_ns: clock::host_ns(),
        backoff: Backoff::of(header.max_attempts),
    }
}
