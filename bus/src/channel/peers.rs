//! Whether peers live, and the registries of their entries.

use std::cell::{Cell, RefCell};

use railbus_ring::layout;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::Registry;

use crate::channel::life::{Liveness, Probe};
use crate::channel::mapped::Trusted;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::proof;
use crate::error::Result;

/// The kernel's answers about the life of peers.
#[derive(Debug)]
pub(crate) struct Kernel {
    producers: RefCell<Probe>,
    consumers: RefCell<Probe>,
    /// Whether a question had no answer since the last call of [`Self::was_blind`].
    is_blind: Cell<bool>,
    /// The memories in which entries name the proof of their owners' lives.
    memories: Memories,
}

impl Kernel {
    /// The memories' maps are kept as long as this.
    pub(crate) fn of(channel: &Channel, memories: &Memories) -> Result<Kernel> {
        Ok(Kernel {
            memories: *memories,
            producers: RefCell::new(probe(channel, Side::Producers)?),
            consumers: RefCell::new(probe(channel, Side::Consumers)?),
            is_blind: Cell::new(false),
        })
    }

    /// Whether a question since the last call had no answer. In that case a dead peer may be taken
    /// for a live one.
    pub(crate) fn was_blind(&self) -> bool {
        self.is_blind.take()
    }
}

fn probe(channel: &Channel, side: Side) -> Result<Probe> {
    let (file, path, id) = channel.side_file(side);
    Probe::open_again(file, path, id)
}

impl Peers for Kernel {
    fn is_dead(&self, side: Side, index: usize) -> bool {
        let (probe, memory) = match side {
            Side::Producers => (&self.producers, &self.memories.ring),
            Side::Consumers => (&self.consumers, &self.memories.acks),
        };
        let mut probe = probe.borrow_mut();
        let life = probe.life(index);
        if life == Liveness::Unknown {
            self.is_blind.set(true);
        }
        life == Liveness::Dead && !proof::lives_by_process(memory, index, || probe.is_life_shared(index))
    }
}

pub(crate) fn registry_of(memories: &Memories, channel: &Channel, side: Side) -> Registry<Trusted> {
    match side {
        Side::Producers => {
            Registry::new(memories.ring, channel.header().producers_max as usize, layout::PRODUCERS_HIGH)
        }
        Side::Consumers => {
            Registry::new(memories.acks, channel.header().consumers_max as usize, layout::CONSUMERS_HIGH)
        }
    }
}
