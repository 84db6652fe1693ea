//! What an observer sees of a channel: the records of a snapshot, which [`Channel::info`](crate::Channel::info) takes.

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
    /// What its creator decided.
    pub header: Header,
    /// Its files.
    pub paths: ChannelPaths,
    /// The pages of its data as this process maps them.
    pub pages: PageReport,
    /// Length of both files and of the data file on hugetlbfs, if there is one, in bytes.
    pub total_bytes: u64,
    /// Owner and mode of `.ring`: who may produce.
    pub ring_access: Access,
    /// Owner and mode of `.acks`: who may consume.
    pub acks_access: Access,
    /// How far everybody is.
    pub positions: Positions,
    /// Events that took a side road.
    pub counters: Counters,
    /// Whether producers are under pressure, as those found it who published or asked last; `None` without watermarks.
    pub pressure: Option<PressureSeen>,
    /// What holds producers back most: the slowest reliable reader, or the oldest event of a queue that is not done.
    /// `None` when nothing does.
    pub held_by: Option<Blocker>,
    /// Everybody who is registered: producers first, each side by index.
    pub participants: Vec<Participant>,
}

impl Info {
    /// Every option of the channel, by the names of `railbus create`.
    pub fn settings(&self) -> Vec<Setting> {
        let is_journaled = self.participants.iter().any(Participant::is_journaller);
        settings(&self.header, self.ring_access, self.acks_access, is_journaled)
    }
}

/// How far a channel is. Positions are bytes in a stream, tickets (events) in a queue or topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Positions {
    /// The next position to be published (stream), or to be won by a producer.
    pub published: u64,
    /// How many events were published ever (in a queue or topic, those that a dead producer left unpublished too).
    pub events: u64,
    /// The oldest position that is retained.
    pub oldest: u64,
    /// Queue: the next ticket to be taken by a worker.
    pub head: Option<u64>,
    /// What is held: events that no worker has done (queue: [`Self::waiting`] and [`Self::in_hand`] together), or what
    /// the slowest reader that holds producers back has not read.
    pub depth: u64,
    /// Queue: events that nobody has in hand, whether they were never taken or were handed back.
    pub waiting: Option<u64>,
    /// Queue: events in the hands of workers, also of dead ones until somebody repairs that.
    pub in_hand: Option<u64>,
    /// The most that fits: bytes of a stream, slots of a queue or topic.
    pub capacity: u64,
    /// Queue: events published, or being published, that no worker has done yet.
    pub unfinished: Option<u64>,
    /// Stream: the oldest place, and the place of the publisher's last rescan, with the events before each.
    pub places: Option<(Place, Place)>,
}

/// Events that took a side road.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Dropped because the channel was full.
    pub dropped: u64,
    /// Published in the channel that this one diverts to, because it was full.
    pub diverted: u64,
    /// Delivered again (queue).
    pub redelivered: u64,
    /// Moved to the dead-letter queue.
    pub dead_lettered: u64,
}

/// What producers know of the pressure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PressureSeen {
    /// Whether they are under pressure.
    pub is_high: bool,
    /// How often that has changed.
    pub changes: u64,
}

/// What a participant does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParticipantRole {
    /// Publishes to a stream or topic, or produces into a queue.
    Producer,
    /// Reads a stream or topic.
    Subscriber,
    /// Takes events from a queue.
    Worker,
    /// Reads a queue without taking.
    Tap,
    /// The registry holds a role that no participant writes.
    Unknown,
}

impl ParticipantRole {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            ParticipantRole::Producer => "producer",
            ParticipantRole::Subscriber => "subscriber",
            ParticipantRole::Worker => "worker",
            ParticipantRole::Tap => "tap",
            ParticipantRole::Unknown => "unknown",
        }
    }
}

/// Whether a participant lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// Its process lives.
    Live,
    /// It died; what it left is repaired by whoever meets it.
    Dead,
    /// A durable subscription whose owner has left or died: its cursor holds events back.
    Held,
    /// It lives, but was evicted: it holds nobody back any more, and is told when it next looks.
    Evicted,
}

impl Life {
    /// One word.
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
    /// Which position it waits for.
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
    /// Counts the registrations in this entry: with side and index it names this participant for ever.
    pub generation: u64,
    /// What it does.
    pub role: ParticipantRole,
    /// Its name, may be empty.
    pub name: String,
    /// Its process, in its own PID namespace.
    pub pid: u32,
    /// The thread that made the handle.
    pub tid: u32,
    /// When the process started, in clock ticks since boot.
    pub start_time: u64,
    /// Whether it lives.
    pub life: Life,
    /// Whether its cursor outlives it.
    pub durable: bool,
    /// Whether it loses events rather than hold producers back.
    pub lossy: bool,
    /// Readers: whether the cursor moves only as far as it acknowledges.
    pub manual: bool,
    /// Readers with manual acknowledgement that live: how far the cursor is behind what it has received (bytes, or
    /// events). The ring holds that for them. It follows lazily.
    pub unacknowledged: Option<u64>,
    /// Readers: everything before this was read. A lossy reader keeps it to itself.
    pub cursor: Option<u64>,
    /// A stream's publisher: the next position it writes.
    pub position: Option<u64>,
    /// Readers: how far the cursor is behind what is published (bytes, or events). It follows lazily.
    pub lag: Option<u64>,
    /// Workers and slot-ring producers: tickets claimed and not finished.
    pub in_hand: u64,
    /// Workers: their priority level; 0, which all others have, is served first.
    pub priority: u8,
    /// Workers that were opened with a bound: how many events they take in hand at most.
    pub in_hand_max: Option<u32>,
    /// Events published or received.
    pub events: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Readers: events lost to overrun; producers: events dropped.
    pub lost: u64,
    /// Producers: how many of their events found no room. One that is tried again counts once.
    pub blocked: u64,
    /// Consumers: whether they measure latencies.
    pub measures: Measures,
    /// How long ago it attached, in ns.
    pub attached_ns: u64,
    /// How long ago it last noted the time, in ns: when it waits, every ms; when it is busy, now and then.
    pub seen_ns: u64,
    /// The wait it is in, if a peer keeps it waiting for room.
    pub waits: Option<Waits>,
    /// For how long it was seen not to move while it holds others up, in ns; 0 if it holds up nobody, or at the first look.
    pub unmoved_ns: u64,
    /// For how long it has not moved, if it is stuck.
    pub stuck_ns: Option<u64>,
    /// Whether it may be stuck: the look was too short to tell. It was not seen to move, and the time that it
    /// noted is longer ago than the channel's `stuck_after`, or is by another clock. Then [`Self::stuck_ns`]
    /// is `None`.
    pub may_be_stuck: bool,
}

impl Participant {
    /// Whether it is the journaller of its channel, or the place that is kept for one.
    pub fn is_journaller(&self) -> bool {
        self.durable && self.side == Side::Consumers && self.name == JOURNALLER
    }
}
