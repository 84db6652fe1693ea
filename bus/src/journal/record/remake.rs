//! Making a lost channel again: the same identity, the next incarnation, and the initial content of
//! its words.
//!
//! The new channel begins where its journal ends, so no position is used twice. The following is
//! done before any process sees it:
//!
//! - The **durable subscriptions** are entered in the registry of consumers again, without owners.
//!   Their cursors hold the ring from its beginning. The word `BEHIND` of an entry records where
//!   the subscription stood before that, and its owner reads the events in between from the
//!   journal. The journaller's own subscription is among them, so that it gets everything that is
//!   published.
//! - The **unfinished events of a queue** are put back into their slots and published. They wait to
//!   be delivered again with the attempts that they had. At most one ring of them can be
//!   unfinished, because no slot is used again before its event is done.

use railbus_os::clock;
use railbus_ring::members::registry::{ROLE_SUBSCRIBER, ROLE_TAP, Registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::redo::Redo;
use railbus_ring::slots::sequence as ring;
use railbus_ring::slots::word::{Slots, done, seq};
use railbus_ring::{frame, layout};

use crate::channel::bus::Bus;
use crate::channel::initial::{initialise, register_journaller, restore_unique};
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::{self, ChannelName, ChannelOptions, Header, Kind, Maps, Overflow, Permissions};
use crate::error::{Error, Result};
use crate::journal::record::recorded_state::{Cursors, Sequences};

/// An event of a queue that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnfinishedEvent {
    /// Its position.
    pub(crate) ticket: u64,
    /// Its header word, as it was in the slot.
    pub(crate) header: u64,
    /// The bytes of its body.
    pub(crate) body: Vec<u8>,
    /// Number of deliveries that have failed.
    pub(crate) attempts: u8,
}

/// The description of the channel to be made.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The header of the lost channel.
    pub(crate) header: Header,
    /// Owner, groups and modes of its files.
    pub(crate) permissions: Permissions,
    /// The end of its journal.
    pub(crate) end: u64,
    /// Its durable subscriptions.
    pub(crate) cursors: Cursors,
    /// The last numbers of its publishers that number their events.
    pub(crate) sequences: Sequences,
    /// The unfinished events of a queue: at most one ring, all before `end`.
    pub(crate) unfinished: Vec<UnfinishedEvent>,
}

impl Plan {
    fn options(&self) -> ChannelOptions {
        let options = self.header.next_incarnation();
        options.permissions(self.permissions.clone()).first_position(self.end)
    }

    /// Makes the channel. The caller has made its dead-letter queue before.
    ///
    /// # Errors
    /// Those of creating a channel; [`Error::Exists`] when another process has made it in the
    /// meantime.
    pub(crate) fn make(&self, bus: &Bus, name: &ChannelName) -> Result<Channel> {
        let options = self.options();
        let created = channel::create(bus.base(), name, &options, &|maps| {
            initialise(maps, &options)?;
            self.fill(maps)
        })?;
        Ok(Channel::new(bus, created.attached, Some(created.pages)))
    }

    fn fill(&self, maps: &Maps) -> Result<()> {
        // SAFETY: the maps outlive these copies, and the creator has all of them mapped writable.
        let memories = unsafe { Memories::of(maps) };
        self.register(&memories)?;
        let table = ring::Sequences::new(memories.ring, self.header.producers_max as usize);
        for (name, last) in &self.sequences.0 {
            if table.enter(padded(name), *last).is_none() {
                return Err(Error::corrupt(
                    format!("the journal of {}", self.header.name),
                    "it has more publishers that number their events than the channel has places for",
                ));
            }
        }
        let slots = match self.header.kind {
            Kind::Queue => Slots::new(self.header.slots, self.header.slot_bytes),
            _ => return Ok(()),
        };
        for event in &self.unfinished {
            self.put(&memories, slots, event)?;
        }
        let redo = Redo { acks: &memories.acks, done: &memories.done, slots };
        redo.announce_in_order(self.unfinished.iter().map(|event| event.ticket), clock::host_ns());
        if self.header.unique {
            let tickets = self.unfinished.iter().map(|event| event.ticket);
            restore_unique(&memories, self.header.producers_max, slots, tickets);
        }
        Ok(())
    }

    fn register(&self, memories: &Memories) -> Result<()> {
        let registry =
            Registry::new(memories.acks, self.header.consumers_max as usize, layout::CONSUMERS_HIGH);
        if self.header.overflow == Overflow::LossyReaders {
            return Ok(());
        }
        register_journaller(memories, self.header.kind, self.header.consumers_max, self.end);
        let places = self.header.consumers_max as usize - 1;
        if self.cursors.0.len() > places {
            return Err(Error::corrupt(
                format!("the journal of {}", self.header.name),
                format!(
                    "it has {} durable subscriptions, and the channel {places} places",
                    self.cursors.0.len()
                ),
            ));
        }
        for (i, cursor) in self.cursors.0.iter().enumerate() {
            let role = if cursor.is_tap { ROLE_TAP } else { ROLE_SUBSCRIBER };
            let behind = (cursor.position < self.end).then_some(cursor.position);
            registry.restore(1 + i, role, padded(&cursor.name), self.end, behind);
        }
        Ok(())
    }

    fn put(&self, memories: &Memories, slots: Slots, event: &UnfinishedEvent) -> Result<()> {
        let body_max = slots.slot_bytes() - layout::SLOT_BODY as u64;
        let is_in_ring = event.ticket < self.end && event.ticket + slots.count >= self.end;
        let is_whole = event.body.len() as u64 <= body_max
            && frame::is_event(event.header, body_max)
            && frame::body_bytes(event.header) as usize == event.body.len();
        if !is_in_ring || !is_whole {
            return Err(Error::corrupt(
                format!("event {} in the journal of {}", event.ticket, self.header.name),
                "it does not fit the channel's slots",
            ));
        }
        let at = slots.offset(event.ticket);
        memories.data.store(at + layout::SLOT_META, event.header, Edge::Plain);
        for (i, chunk) in event.body.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            memories.data.store(at + layout::SLOT_BODY + i * 8, u64::from_le_bytes(word), Edge::Plain);
        }
        let published = slots.state(event.ticket, seq::PUBLISHED);
        memories.data.store(at + layout::SLOT_SEQ, published, Edge::Publish);
        let redo = slots.held(event.ticket, done::REDO, event.attempts, 0);
        memories.done.store(slots.done_offset(event.ticket), redo, Edge::Done);
        Ok(())
    }
}

/// Encodes a name as in shared words.
fn padded(name: &str) -> [u64; 8] {
    let mut padded = [0u8; 64];
    let length = name.len().min(64);
    padded[..length].copy_from_slice(&name.as_bytes()[..length]);
    std::array::from_fn(|word| {
        let mut long = [0; 8];
        long.copy_from_slice(&padded[word * 8..][..8]);
        u64::from_le_bytes(long)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::options::{SendOptions, SubscribeOptions};
    use crate::journal::record::recorded_state::RecordedCursor;

    fn unfinished(ticket: u64, attempts: u8) -> UnfinishedEvent {
        let body = format!("event {ticket}").into_bytes();
        UnfinishedEvent { ticket, header: frame::header(body.len() as u32, 0, 0), body, attempts }
    }

    fn remake(
        kind: Kind,
        end: u64,
        cursors: Vec<RecordedCursor>,
        events: Vec<UnfinishedEvent>,
    ) -> (tempfile::TempDir, Channel) {
        let base = tempfile::Builder::new().prefix("railbus-remake-").tempdir_in("/dev/shm").unwrap();
        let bus = Bus::at(base.path(), "b").unwrap();
        let options = match kind {
            Kind::Stream => ChannelOptions::new(kind).capacity_bytes(1 << 14),
            _ => ChannelOptions::new(kind).slots(64).slot_bytes(64),
        };
        let header = bus.create("c", &options).unwrap().header().clone();
        bus.remove("c").unwrap();
        let plan = Plan {
            header: header.clone(),
            permissions: Permissions::default(),
            end,
            cursors: Cursors(cursors),
            sequences: Sequences(vec![("feed".into(), 77)]),
            unfinished: events,
        };
        let channel = plan.make(&bus, &ChannelName::new("b", "c").unwrap()).unwrap();
        let now = channel.header();
        assert_eq!((now.channel_id, now.incarnation), (header.channel_id, header.incarnation + 1));
        let numbered = SendOptions { name: "feed".into(), sequenced: true, ..SendOptions::default() };
        let resumed = match kind {
            Kind::Stream => channel.publisher(&numbered).unwrap().resume_point(),
            Kind::Topic => channel.topic_publisher(&numbered).unwrap().resume_point(),
            Kind::Queue => channel.producer(&numbered).unwrap().resume_point(),
            Kind::Table => unreachable!("a table has no events"),
        };
        assert_eq!(resumed, Some(77));
        assert_eq!((now.capacity_bytes, now.first_position), (header.capacity_bytes, end));
        (base, channel)
    }

    #[test]
    fn unfinished_events_are_delivered_again_with_their_attempts_and_no_other_is() {
        for end in [100u64, 64, 3, (1 << 40) + 5] {
            let oldest = end.saturating_sub(64);
            let tickets: Vec<u64> = (oldest..end).filter(|ticket| ticket % 3 == 0).collect();
            let events = tickets.iter().map(|&ticket| unfinished(ticket, (ticket % 5) as u8)).collect();
            let (_base, queue) = remake(Kind::Queue, end, Vec::new(), events);
            let mut worker = queue.worker(&Default::default()).unwrap();
            let mut producer = queue.producer(&SendOptions::default()).unwrap();
            let mut got = Vec::new();
            while let Some(job) = worker.try_take().unwrap() {
                assert_eq!(&*job, format!("event {}", job.position()).as_bytes());
                assert_eq!(u64::from(job.attempt()), job.position() % 5 + 1);
                got.push(job.position());
                let _ = job.done();
            }
            assert_eq!(got, tickets);
            for i in 0..200u64 {
                assert_eq!(producer.publish(b"new").unwrap(), end + i);
                let job = worker.take().unwrap();
                assert_eq!((job.position(), job.attempt()), (end + i, 1));
                let _ = job.done();
                // The journaller's place holds the ring, as it should, so this tap reads along.
                if i % 32 == 31 {
                    let options =
                        SubscribeOptions { name: ".journal".into(), durable: true, ..Default::default() };
                    let mut tap = queue.tap(&options).unwrap();
                    while tap.try_recv().unwrap().is_some() {}
                }
            }
        }
    }

    #[test]
    fn durable_subscriptions_hold_and_say_where_they_really_stand() {
        for kind in [Kind::Stream, Kind::Topic] {
            let cursor = |name: &str, position| RecordedCursor { name: name.into(), position, is_tap: false };
            let (_base, channel) =
                remake(kind, 4096, vec![cursor("late", 80), cursor("at-end", 4096)], vec![]);
            let options =
                |name: &str| SubscribeOptions { name: name.into(), durable: true, ..Default::default() };
            let open = |name: &str| match kind {
                Kind::Stream => channel.subscriber(&options(name)).map(|reader| reader.position()),
                _ => channel.topic_subscriber(&options(name)).map(|reader| reader.position()),
            };
            assert_eq!(open("at-end").unwrap(), 4096);
            let refused = open("late").unwrap_err().to_string();
            assert!(refused.contains("journal only"), "{refused}");
            let behind = match kind {
                Kind::Stream => channel.subscriber_behind(&options("late")).unwrap().behind(),
                _ => channel.topic_subscriber_behind(&options("late")).unwrap().behind(),
            };
            assert_eq!(behind, Some(80));
            // Events published from the beginning on are held for the journaller and for both
            // subscriptions.
            let full = (0..100_000u32).find_map(|_| match kind {
                Kind::Stream => {
                    channel.publisher(&SendOptions::default()).unwrap().try_publish(&[0; 40]).err()
                }
                _ => channel.topic_publisher(&SendOptions::default()).unwrap().try_publish(&[0; 40]).err(),
            });
            assert_eq!(full, Some(crate::SendError::Full));
        }
    }
}
