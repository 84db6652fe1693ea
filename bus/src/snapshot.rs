//! A channel as an observer sees it: the records of a snapshot, which
//! [`Channel::info`](crate::Channel::info) takes.

use railbus_os::pages::PageReport;
use railbus_ring::members::peers::Side;
use railbus_ring::stream::places::Place;

use crate::channel::name::JOURNALLER;
use crate::channel::settings::{Access, Setting, settings};
use crate::channel::{ChannelName, ChannelPaths, Header};
use crate::handle::refusal::Blocker;
use crate::latency::Measures;

/// A snapshot of a channel; see [`Channel::info`](crate::Channel::info).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Info {
    /// `BUS/CHANNEL`.
    pub name: ChannelName,
    /// Its header: the options that its creator decided.
    pub header: Header,
    /// Its files.
    pub paths: ChannelPaths,
    /// The pages of its data as this process maps them.
    pub pages: PageReport,
    /// Length of both files and of the data file on hugetlbfs, if there is one, in bytes.
    pub total_bytes: u64,
    /// Owner and mode of `.ring`, which decide who may produce.
    pub ring_access: Access,
    /// Owner and mode of `.acks`, which decide who may consume.
    pub acks_access: Access,
    /// How far the channel and its participants are.
    pub positions: Positions,
    /// Counts of events that were dropped, diverted, delivered again or moved.
    pub counters: Counters,
    /// The keys of a table; `None` for other kinds.
    pub keys: Option<KeysInUse>,
    /// Whether producers are under pressure, as the last one that published or asked has found it;
    /// `None` without watermarks.
    pub pressure: Option<PressureSeen>,
    /// The participant or event that holds producers back most: the slowest reliable reader, or the
    /// oldest event of a queue that is not done. `None` when nothing holds them back.
    pub held_by: Option<Blocker>,
    /// All registered participants: producers first, each side by index.
    pub participants: Vec<Participant>,
}

impl Info {
    /// Every option of the channel, by the names of `railbus create`.
    pub fn settings(&self) -> Vec<Setting> {
        let is_journaled = self.participants.iter().any(Participant::is_journaller);
        settings(&self.header, self.ring_access, self.acks_access, is_journaled)
    }
}

/// The keys of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeysInUse {
    /// How many keys have a value.
    pub keys: u64,
    /// How many there may be.
    pub keys_max: u64,
    /// How many changes of keys were ever made.
    pub changes: u64,
}

/// How far a channel is. Positions are bytes in a stream, tickets (events) in a queue or topic, and
/// changes of keys in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Positions {
    /// The next position to be published (stream), or to be won by a producer.
    pub published: u64,
    /// How many events were ever published. In a queue or topic, those that a dead producer left
    /// unpublished count, too.
    pub events: u64,
    /// The oldest position that is retained.
    pub oldest: u64,
    /// Queue: the next ticket to be taken by a worker.
    pub head: Option<u64>,
    /// How full it is. In a table, the keys that have a value. In a queue, the events that no worker
    /// has done ([`Self::waiting`] and [`Self::in_hand`] together). Otherwise, the part that the
    /// slowest reader that holds producers back has not read.
    pub depth: u64,
    /// Queue: events that no worker holds, because they were never taken or were handed back.
    pub waiting: Option<u64>,
    /// Queue: of [`Self::waiting`], those that wait for their time, because they were delayed or handed
    /// back. Delayed events that no worker has come to yet are not counted.
    pub not_due: Option<u64>,
    /// Queue: events that workers hold. Those of a dead worker count until they are handed back.
    pub in_hand: Option<u64>,
    /// The capacity: bytes of a stream, slots of a queue or topic, keys of a table.
    pub capacity: u64,
    /// Queue: events published, or being published, that no worker has done yet.
    pub unfinished: Option<u64>,
    /// Stream: the oldest place, and the place of the publisher's last rescan, with the events before each.
    pub places: Option<(Place, Place)>,
}

/// Counts of events that were dropped, diverted, delivered again or moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Dropped because the channel was full.
    pub dropped: u64,
    /// Published in the channel that this one diverts to, because this one was full.
    pub diverted: u64,
    /// Delivered again (queue).
    pub redelivered: u64,
    /// Moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Ended because their time was over (queue). Those that were moved to the dead-letter queue count
    /// there, too.
    pub expired: u64,
}

/// The pressure as the producers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PressureSeen {
    /// Whether they are under pressure.
    pub is_high: bool,
    /// How often that has changed.
    pub changes: u64,
}

/// The role of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParticipantRole {
    /// Publishes to a stream or topic, produces into a queue, or writes a table.
    Producer,
    /// Reads a stream, topic or table.
    Subscriber,
    /// Takes events from a queue.
    Worker,
    /// Reads a queue without taking anything.
    Tap,
    /// Calls a service.
    Client,
    /// Takes requests from a service.
    Server,
    /// The registry holds a role that no participant writes.
    Unknown,
}

impl ParticipantRole {
    /// Its name, in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            ParticipantRole::Producer => "producer",
            ParticipantRole::Subscriber => "subscriber",
            ParticipantRole::Worker => "worker",
            ParticipantRole::Tap => "tap",
            ParticipantRole::Client => "client",
            ParticipantRole::Server => "server",
            ParticipantRole::Unknown => "unknown",
        }
    }
}

/// Whether a participant lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// Its process lives.
    Live,
    /// It died. The next participant that finds what it left repairs it.
    Dead,
    /// A durable subscription whose owner has left or died: its cursor holds events back.
    Held,
    /// It lives, but was evicted: it holds nobody back any more, and its next call returns an
    /// error.
    Evicted,
}

impl Life {
    /// Its name, in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Life::Live => "live",
            Life::Dead => "dead",
            Life::Held => "held",
            Life::Evicted => "evicted",
        }
    }
}

/// A wait of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waits {
    /// For how long, in ns.
    pub for_ns: u64,
    /// The position that it waits for.
    pub position: u64,
}

/// A registered participant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// Its side: which registry it is in.
    pub side: Side,
    /// Its entry there.
    pub index: usize,
    /// Counts the registrations in this entry. With side and index it names this participant, and
    /// never a later one.
    pub generation: u64,
    /// Its role.
    pub role: ParticipantRole,
    /// Its name, which may be empty.
    pub name: String,
    /// Its process, in its own PID namespace.
    pub pid: u32,
    /// The thread that made the handle.
    pub tid: u32,
    /// When the process started, in clock ticks since boot.
    pub start_time: u64,
    /// Whether it lives.
    pub life: Life,
    /// Whether it is a durable subscription, whose cursor outlives it.
    pub durable: bool,
    /// Whether it loses events rather than hold producers back.
    pub lossy: bool,
    /// Readers: whether the cursor moves by manual acknowledgement only.
    pub manual: bool,
    /// Live readers with manual acknowledgement: how far the cursor is behind what the reader has
    /// received, in bytes or events. The ring keeps these events. The figure follows lazily.
    pub unacknowledged: Option<u64>,
    /// Readers: everything before this position was read. A lossy reader does not publish it.
    pub cursor: Option<u64>,
    /// A stream's publisher: the next position it writes.
    pub position: Option<u64>,
    /// Readers: how far the cursor is behind what is published, in bytes or events. It follows
    /// lazily.
    pub lag: Option<u64>,
    /// Workers and slot-ring producers: tickets claimed and not finished. Writers of a table: keys that
    /// they are changing.
    pub in_hand: u64,
    /// Workers: their priority level. Level 0, which all other participants have, is served first.
    pub priority: u8,
    /// Workers that were opened with a bound: the most events that they hold.
    pub in_hand_max: Option<u32>,
    /// Events published or received.
    pub events: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Readers: events lost to overrun.
    pub lost: u64,
    /// Producers: events dropped because the channel was full.
    pub dropped: u64,
    /// Producers: how many of their events found no room. An event that is tried again counts once.
    pub full: u64,
    /// Consumers: whether they measure latencies.
    pub measures: Measures,
    /// How long ago it attached, in ns.
    pub attached_ns: u64,
    /// How long ago it last noted the time, in ns. It does so every ms while it waits, and now and
    /// then while it is busy.
    pub seen_ns: u64,
    /// The wait it is in, if a peer keeps it waiting for room.
    pub waits: Option<Waits>,
    /// For how long it was seen not to move while it holds others up, in ns. 0 if it holds up
    /// nobody, or at the first look.
    pub unmoved_ns: u64,
    /// For how long it has not moved, if it is stuck.
    pub stuck_ns: Option<u64>,
    /// Whether it may be stuck, because the look was too short to decide. It was not seen to move,
    /// and the time that it noted is longer ago than the channel's `stuck_after`, or is by another
    /// clock. Then [`Self::stuck_ns`] is `None`.
    pub may_be_stuck: bool,
}

impl Participant {
    /// Whether it is the journaller of its channel, or the place that is kept for one.
    pub fn is_journaller(&self) -> bool {
        self.durable && self.side == Side::Consumers && self.name == JOURNALLER
    }
}
