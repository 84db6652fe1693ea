//! Why there was no room: which participant is in a producer's way.
//!
//! The fast path only reports that there is no room.
//! [`Sender::refusal`](crate::handle::sender::Sender::refusal) reports the rest, from the ring and
//! the registries as they are at that moment. So does
//! [`Info::held_by`](crate::snapshot::Info::held_by) for a channel as a whole. Words of other
//! participants are decoded lossily and never trusted. A participant that leaves in the meantime
//! may appear with half of its name.

use std::fmt;

use railbus_os::pages::bytes_text;
use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::word::{self, Slots, done};

use crate::channel::mapped::Trusted;
use crate::channel::memories::Memories;
use crate::channel::name::JOURNALLER;
use crate::channel::open::Channel;
use crate::channel::{Header, Kind};
use crate::handle::publish_end::Obstacle;

#[cfg(feature = "journal")]
use crate::journal::JournalState;

/// A participant that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its side.
    pub side: Side,
    /// The index of its entry in the registry of that side.
    pub index: usize,
    /// Its process, by the PID in its own PID namespace.
    pub pid: u32,
    /// Its name; may be empty.
    pub name: String,
}

impl Peer {
    fn of(memories: &Memories, side: Side, index: usize) -> Peer {
        let memory = match side {
            Side::Producers => &memories.ring,
            Side::Consumers => &memories.acks,
        };
        let pid = memory.load(layout::entry(index) + layout::PID, Edge::Plain) as u32;
        Peer { side, index, pid, name: name_of(memory, index) }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == Side::Producers { "producer" } else { "consumer" };
        write!(f, "{side}:{}", self.index)?;
        if !self.name.is_empty() {
            write!(f, " '{}'", self.name)?;
        }
        write!(f, " (process {})", self.pid)
    }
}

/// The obstacle that keeps a producer from finding room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blocker {
    /// A reliable reader has not read the events in the way.
    Reader {
        /// The reader.
        peer: Peer,
        /// Its published cursor: it has read everything before this position.
        cursor: u64,
        /// How far that is behind what is published: bytes of a stream, events of a queue or topic.
        behind: u64,
        /// Whether `behind` counts bytes.
        in_bytes: bool,
    },
    /// An event of a queue waits to be taken by a worker.
    Waiting {
        /// The event's position.
        position: u64,
    },
    /// An event of a queue was handed back, and waits to be delivered again.
    Redo {
        /// The event's position.
        position: u64,
    },
    /// A worker holds an event of a queue.
    Taken {
        /// The event's position.
        position: u64,
        /// The worker.
        peer: Peer,
    },
    /// A producer has claimed an event and has not finished writing it.
    Unpublished {
        /// The event's position.
        position: u64,
        /// The producer, if it still announces the event.
        peer: Option<Peer>,
    },
    /// Nothing is in the way any more.
    Gone,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocker::Reader { peer, cursor, behind, in_bytes } => {
                let amount = if *in_bytes { bytes_text(*behind) } else { format!("{behind} events") };
                write!(f, "{peer} is {amount} behind, at position {cursor}")
            }
            Blocker::Waiting { position } => write!(f, "event {position} waits for a worker to take it"),
            Blocker::Redo { position } => write!(f, "event {position} waits to be delivered again"),
            Blocker::Taken { position, peer } => write!(f, "event {position} is in the hands of {peer}"),
            Blocker::Unpublished { position, peer: Some(peer) } => {
                write!(f, "event {position} is being written by {peer}")
            }
            Blocker::Unpublished { position, peer: None } => write!(f, "event {position} is being written"),
            Blocker::Gone => f.write_str("what was in the way has gone"),
        }
    }
}

/// Why a producer found no room. Its [`Display`](fmt::Display) text is a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The obstacle as it is now.
    pub blocker: Blocker,
    /// The number of the producer's credits, if these were used up; `None` if the ring was full.
    pub out_of_credits: Option<usize>,
    /// Why the channel's journal does not continue, if the journaller is in the way and there is a
    /// reason. The disk may be full, or the journaller dead.
    pub journal: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.out_of_credits {
            None => write!(f, "{}", self.blocker)?,
            Some(1) => write!(f, "the 1 credit of this producer is used up: {}", self.blocker)?,
            Some(credits) => {
                write!(f, "all {credits} credits of this producer are used up: {}", self.blocker)?;
            }
        }
        self.journal.as_ref().map_or(Ok(()), |why| write!(f, "; {why}"))
    }
}

impl Refusal {
    pub(crate) fn of(obstacle: Obstacle, view: &RefusalView<'_>) -> Refusal {
        let (blocker, out_of_credits) = match obstacle {
            Obstacle::Reader(reader) => (reader.map_or(Blocker::Gone, |reader| view.reader(reader)), None),
            Obstacle::NotDone(position) => (view.event(position), None),
            Obstacle::Unpublished(position) => (view.unpublished(position), None),
            Obstacle::OutOfCredits { credits, oldest, reader } => {
                let blocker = match (view.header.kind, reader) {
                    (Kind::Queue, _) => view.event(oldest),
                    (_, Some(reader)) => view.reader(reader),
                    (_, None) => Blocker::Gone,
                };
                (blocker, Some(credits))
            }
        };
        Refusal { blocker, out_of_credits, journal: None }
    }

    /// Whether the channel's journaller is in the way.
    pub(crate) fn is_by_journaller(&self) -> bool {
        matches!(&self.blocker, Blocker::Reader { peer, .. } if peer.name == JOURNALLER)
    }
}

/// Why the journal of a channel takes no events, as far as its page shows; `None` if it is only
/// slow. Makes some system calls.
#[cfg(feature = "journal")]
pub(crate) fn journal_trouble(channel: &Channel) -> Option<String> {
    let journal = channel.journal_positions().ok()?;
    let place = journal.directory.display();
    match (journal.state, journal.shortage) {
        (JournalState::Dead, _) => Some("its journaller has died: start it again".to_owned()),
        (JournalState::Stopped, _) => Some("its journaller was stopped: start it again".to_owned()),
        (JournalState::Poisoned, _) => {
            Some(format!("its journal has failed: {}", journal.error.unwrap_or_default()))
        }
        (_, Some(shortage)) => Some(format!("its journal in {place} waits: {}", shortage.advice())),
        (_, None) => None,
    }
}

/// Without the journal feature nothing is known of a journal.
#[cfg(not(feature = "journal"))]
pub(crate) fn journal_trouble(_: &Channel) -> Option<String> {
    None
}

/// A view of the ring and the registries, from which an obstacle is explained.
pub(crate) struct RefusalView<'a> {
    pub(crate) header: &'a Header,
    pub(crate) memories: &'a Memories,
    /// The next position to be published.
    pub(crate) published: u64,
}

impl RefusalView<'_> {
    fn slots(&self) -> Slots {
        Slots::new(self.header.slots, self.header.slot_bytes)
    }

    /// The reader in this consumer entry as a blocker, unless it has read everything.
    pub(crate) fn reader(&self, index: usize) -> Blocker {
        if index >= self.header.consumers_max as usize {
            return Blocker::Gone;
        }
        let cursor = self.memories.acks.load(layout::entry(index) + layout::CURSOR, Edge::Plain);
        if cursor >= self.published {
            return Blocker::Gone;
        }
        Blocker::Reader {
            peer: Peer::of(self.memories, Side::Consumers, index),
            cursor,
            behind: self.published - cursor,
            in_bytes: self.header.kind == Kind::Stream,
        }
    }

    /// The blocker at `position` of a queue, if the event there is not done.
    pub(crate) fn event(&self, position: u64) -> Blocker {
        let slots = self.slots();
        let word = self.memories.done.load(slots.done_offset(position), Edge::Plain);
        if word == slots.previous_lap_done(position) {
            let slot = self.memories.data.load(slots.offset(position) + layout::SLOT_SEQ, Edge::Plain);
            if !slots.is_finished(slot, position) {
                return self.unpublished(position);
            }
            // If a worker has only just taken the event, its claim word alone shows it.
            let taken = self.memories.acks.load(layout::HEAD, Edge::Plain) > position;
            let taker = taken.then(|| self.claimant(Side::Consumers, position)).flatten();
            return taker.map_or(Blocker::Waiting { position }, |peer| Blocker::Taken { position, peer });
        }
        match word::kind(word) {
            _ if !slots.is_of(word, position) => Blocker::Gone,
            done::REDO => Blocker::Redo { position },
            done::TAKEN if (word::worker(word) as u32) < self.header.consumers_max => Blocker::Taken {
                position,
                peer: Peer::of(self.memories, Side::Consumers, word::worker(word) as usize),
            },
            _ => Blocker::Gone,
        }
    }

    fn unpublished(&self, position: u64) -> Blocker {
        let slots = self.slots();
        let slot = self.memories.data.load(slots.offset(position) + layout::SLOT_SEQ, Edge::Plain);
        if slots.is_finished(slot, position) || slots.is_newer(slot, position) {
            return Blocker::Gone;
        }
        Blocker::Unpublished { position, peer: self.claimant(Side::Producers, position) }
    }

    /// The participant that announces the ticket.
    fn claimant(&self, side: Side, ticket: u64) -> Option<Peer> {
        let (memory, entries) = match side {
            Side::Producers => (&self.memories.ring, self.header.producers_max),
            Side::Consumers => (&self.memories.acks, self.header.consumers_max),
        };
        let claims = |&index: &usize| {
            word::covers(memory.load(layout::entry(index) + layout::CLAIM, Edge::Plain), ticket)
        };
        let index = (0..entries as usize).find(claims)?;
        Some(Peer::of(self.memories, side, index))
    }
}

/// The name in an entry. Control characters are replaced, so that a name cannot steer the terminal
/// that it is printed on.
pub(crate) fn name_of(memory: &Trusted, index: usize) -> String {
    let at = layout::entry(index) + layout::NAME;
    let words = (0..8).map(|i| memory.load(at + i * 8, Edge::Plain));
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
