//! The options with which a participant is opened.

use railbus_ring::members::join::StartAt as Start;
use railbus_ring::members::registry::{DURABLE, LOSSY, MANUAL, ROLE_PRODUCER, SEQUENCED};
use railbus_ring::slots::levels::{IN_HAND_MAX, Rank};

use crate::error::{Error, Result};
use crate::handle::member::Introduction;
use crate::handle::wait::Wait;
use crate::setters::setters;

/// How a producing handle behaves.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SendOptions {
    /// A name for observers: at most 64 bytes of UTF-8 without zero bytes.
    pub name: String,
    /// How to wait for room.
    pub wait: Wait,
    /// Whether to evict a live reader that has held this producer back, without moving, for longer
    /// than the channel's `stuck_after`. Such a reader gets
    /// [`RecvError::Evicted`](crate::RecvError::Evicted). Durable subscriptions are never evicted.
    /// This needs the right to write `NAME.acks`, which opening checks.
    pub evict_stuck: bool,
    /// Whether this publisher numbers its events, under its name: see
    /// [`Sender::publish_numbered`](crate::handle::sender::Sender::publish_numbered). It must have
    /// a name, which no other live publisher that numbers its events may use.
    pub sequenced: bool,
}

impl SendOptions {
    pub(crate) fn introduction(&self) -> Result<Introduction> {
        if self.sequenced && self.name.is_empty() {
            return Err(Error::invalid("publisher that numbers its events", "it needs a name"));
        }
        let policy = ROLE_PRODUCER | if self.sequenced { SEQUENCED } else { 0 };
        Ok(Introduction { policy, name: self.name.clone() })
    }
}

/// How a subscriber or tap behaves.
///
/// # Examples
///
/// ```
/// # fn main() -> railbus::Result<()> {
/// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
/// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
/// # let bus = Bus::at(base.path(), "demo")?;
/// use railbus::{Start, SubscribeOptions, Wait};
///
/// # let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
/// let options = SubscribeOptions::default()
///     .name("display")
///     .lossy(true) // never holds the publisher back
///     .start(Start::Oldest)
///     .wait(Wait::Spin); // the lowest latency, and a busy core
/// let subscriber = ticks.subscriber(&options)?;
/// assert_eq!(subscriber.position(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// A name, at most 64 bytes of UTF-8 without zero bytes: for observers, or the identity of a
    /// durable subscription.
    pub name: String,
    /// Whether the subscription outlives its owner: its cursor holds producers back until the name
    /// comes again. It needs a name, and cannot be lossy.
    pub durable: bool,
    /// Whether to lose events rather than ever hold a publisher back. The reader reports exactly
    /// which it lost.
    pub lossy: bool,
    /// Whether the cursor moves by [`Reader::acknowledge_to`](crate::Reader::acknowledge_to) only.
    /// Events that were received and not acknowledged stay in the ring and hold publishers back.
    /// The process that resumes a durable subscription receives them again, after a kill and after
    /// an orderly exit. Use it in programs that process many events before the first of them is
    /// done. It is not for lossy readers.
    pub manual: bool,
    /// Where to start. A durable subscription that exists resumes instead.
    pub start: Start,
    /// How to wait for events.
    pub wait: Wait,
    /// Whether receiving ends when the last publisher has left and everything was read. A
    /// subscriber that starts live and finds no publisher first waits for one to come.
    pub until_closed: bool,
}

impl Default for SubscribeOptions {
    fn default() -> SubscribeOptions {
        SubscribeOptions {
            name: String::new(),
            durable: false,
            lossy: false,
            manual: false,
            start: Start::Live,
            wait: Wait::default(),
            until_closed: false,
        }
    }
}

impl SubscribeOptions {
    pub(crate) fn introduction(&self, role: u64) -> Result<Introduction> {
        if self.durable && (self.name.is_empty() || self.lossy) {
            return Err(Error::invalid("durable subscription", "it needs a name, and cannot be lossy"));
        }
        if self.manual && self.lossy {
            let why = "what it has not acknowledged would have to stay in the ring: it cannot be lossy";
            return Err(Error::invalid("subscription with manual acknowledgement", why));
        }
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        let flags = flag(self.durable, DURABLE) | flag(self.lossy, LOSSY) | flag(self.manual, MANUAL);
        let policy = role | flags;
        Ok(Introduction { policy, name: self.name.clone() })
    }
}

/// How a worker behaves.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WorkOptions {
    /// A name for observers: at most 64 bytes of UTF-8 without zero bytes.
    pub name: String,
    /// How to wait for events.
    pub wait: Wait,
    /// Whether taking ends when the last producer has left and every event is done.
    pub until_closed: bool,
    /// How many events to take from the ring at once, 1 to 64. A larger number counts as 64. More
    /// is faster with one worker. It is less fair between several, because no other worker can take
    /// what one has taken.
    ///
    /// 0, the default, follows the load: 16 while this worker is the only one and takes more than
    /// 256 events a millisecond, otherwise 1. It is always 1 with a priority, a bound or a keyed
    /// queue, and if an event has one attempt only. A worker never takes more than
    /// [`Self::in_hand_max`] leaves room for.
    pub grab: u32,
    /// Priority level. Level 0, the default, is served first. A worker of a lower level, 1 to 255,
    /// gets events only while every worker of the levels above it is saturated or does not move. A
    /// worker with a bound is saturated when it holds [`Self::in_hand_max`] events. One without a
    /// bound is saturated while an event of its last take is not done. A worker does not move if it
    /// has neither taken nor waited nor polled for longer than the channel's `stuck_after`, at
    /// least 100 ms.
    ///
    /// A worker that waits for its turn is woken when a worker above it that has a bound becomes
    /// saturated or leaves. Otherwise it finds out within 8 ms: when the worker above has no bound,
    /// is stopped, or dies. Through a [`Bridge`](crate::Bridge) it looks every 4 ms. A worker that
    /// waits by a bridge and does not poll for longer than `stuck_after` counts as one that does
    /// not move.
    pub priority: u8,
    /// The most events that this worker holds at once, 1 to 65535. To take more is refused with
    /// [`RecvError::HandsFull`](crate::RecvError::HandsFull). 0, the default, means no bound on
    /// level 0, and 1 on the levels below.
    pub in_hand_max: u32,
}

impl WorkOptions {
    pub(crate) fn rank(&self) -> Result<Rank> {
        let most = if self.in_hand_max == 0 && self.priority > 0 { 1 } else { self.in_hand_max };
        match u16::try_from(most) {
            Ok(in_hand_max) => Ok(Rank { level: self.priority, in_hand_max }),
            Err(_) => {
                let what = format!("in_hand_max {most}");
                Err(Error::invalid(what, format!("must be 1 to {IN_HAND_MAX}, or 0 for the default")))
            }
        }
    }
}

setters!(SendOptions: name: impl Into<String>, wait: Wait, evict_stuck: bool, sequenced: bool);
setters!(SubscribeOptions: name: impl Into<String>, durable: bool, lossy: bool, manual: bool, start: Start, wait: Wait, until_closed: bool);
setters!(WorkOptions: name: impl Into<String>, wait: Wait, until_closed: bool, grab: u32, priority: u8, in_hand_max: u32);
