//! Following a channel: its events from anywhere in its journal, and then live from the ring,
//! without a gap and without a duplicate.
//!
//! ```text
//! journal   read without holding any publisher, until at most half a ring is left to the live end
//! join      register in the ring at the next position: a stream or topic still has everything from there on
//! bridge    (a queue's tap can only join live, at position S:) read the journal up to exactly S
//! ring      read like any subscriber
//! ```
//!
//! The policy [`Behind`] decides what happens when a [`Follower`] falls behind in the ring. Either
//! it holds the publishers, or it gates none of them. In the second case, when it is overrun, it
//! goes back to the journal, which has what it missed. If a journaller has died while some event is
//! neither in the ring nor in the journal, the result is an error, never a hang.
//!
//! A durable subscription that was restored with its channel (see [`crate::journal::restore()`])
//! may stand before the ring's first event. A follower of its name reads on from the journal, and
//! is then a durable subscriber like any other.
//!
//! Left out: a follower with [`Behind::ReadJournal`] has no durable name in the ring, because such
//! a name holds publishers while it has no owner. Keep its position in a
//! [`Checkpoint`](super::Checkpoint) instead.

mod options;

pub use options::{Behind, FollowOptions};
use std::time::{Duration, Instant};

use railbus_ring::members::join::{JoinError, StartAt as Start};

use crate::channel::Kind;
use crate::channel::journal_status::JournalState;
use crate::channel::open::Channel;
use crate::error::{Error, RecvError, Result};
use crate::event::{Event, Located};
use crate::handle::open::{Subscriber, TopicSubscriber};
use crate::handle::options::SubscribeOptions;
use crate::journal::events::{Events, Item};
use crate::journal::read::{Journal, Seek};
use crate::snapshot::Participant;

/// Number of events read from the journal between two looks at how far behind they are.
const LOOK_EVERY: u32 = 4096;
/// How long to sleep while the journaller has not written the next event.
const PAUSE: Duration = Duration::from_micros(500);
/// The longest wait in the ring before the caller's deadline is checked.
const SLICE: Duration = Duration::from_millis(100);

/// The result of a receive.
#[derive(Debug, Clone, Copy)]
pub enum Followed<'a> {
    /// An event. It stays valid as long as it is borrowed.
    Event(Event<'a>),
    /// Events that neither the journal nor the ring has: a recorded gap, or segments that were
    /// removed.
    Lost {
        /// The first position that is missing.
        from: u64,
        /// The first position after the missing ones.
        to: u64,
        /// Number of missing events; `u64::MAX` when it is unknown.
        events: u64,
    },
    /// The last publisher has left and everything was read; see [`FollowOptions::until_closed`].
    Closed,
}

/// Where a follower reads, for observers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It reads the journal.
    Journal,
    /// It has joined the ring, and reads the journal up to where it joined.
    Bridge,
    /// It reads the ring.
    Ring,
}

/// The reader of the ring.
#[derive(Debug)]
enum FollowedRing {
    Stream(Subscriber),
    Slots(TopicSubscriber),
}

/// Calls the same method of either reader.
macro_rules! either {
    ($ring:expr, $reader:ident => $call:expr) => {
        match $ring {
            FollowedRing::Stream($reader) => $call,
            FollowedRing::Slots($reader) => $call,
        }
    };
}

impl FollowedRing {
    fn try_recv(&mut self) -> std::result::Result<Option<Located>, RecvError> {
        either!(self, reader => Ok(reader.try_recv()?.map(|event| event.located())))
    }

    fn recv_timeout(&mut self, timeout: Duration) -> std::result::Result<Option<Located>, RecvError> {
        let received = either!(self, reader => reader.recv_timeout(timeout).map(|event| event.located()));
        match received {
            Ok(located) => Ok(Some(located)),
            Err(RecvError::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn position(&self) -> u64 {
        either!(self, reader => reader.position())
    }

    fn behind(&self) -> Option<u64> {
        either!(self, reader => reader.behind())
    }

    fn set_behind(&self, position: Option<u64>) {
        either!(self, reader => reader.set_behind(position));
    }

    fn acknowledge(&mut self) {
        either!(self, reader => reader.acknowledge());
    }
}

/// The result of a step.
enum FollowStep {
    Located(Located),
    Lost { from: u64, to: u64, events: u64 },
    Closed,
    Nothing,
}

/// Follows a channel from its journal into its ring. [`Channel::follow`] creates one for the
/// channel's own journal.
#[derive(Debug)]
pub struct Follower {
    channel: Channel,
    journal: Journal,
    options: FollowOptions,
    /// Reads the journal; `None` once it has left the journal.
    events: Option<Box<Events>>,
    /// The reader of the ring, once it has joined. While `events` is also set, the journal is read
    /// up to where the ring was joined.
    ring: Option<FollowedRing>,
    /// Everything before this position was returned, or reported as lost.
    position: u64,
    /// The positions that retention removed before they were read.
    removed: Option<(u64, u64)>,
    /// Number of events until the next look at how far behind the journal's reader is.
    until_look: u32,
    /// How often it went from the ring back to the journal.
    returns: u64,
}

impl Channel {
    /// Follows this channel from its journal, whose directory the channel's journaller has
    /// published. Blocks for reading the journal's files.
    ///
    /// # Errors
    /// [`Error::PeerGone`] when nothing has ever recorded this channel; otherwise those of
    /// [`Follower::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # let disk = tempfile::tempdir().unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, Recorder, RecorderOptions, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// # let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// # let recorder = Recorder::start(&ticks, disk.path(), &RecorderOptions::default())?;
    /// # let mut publisher = ticks.publisher(&SendOptions::default())?;
    /// use railbus::{FollowOptions, Followed};
    ///
    /// publisher.publish(b"recorded")?;
    /// let mut follower = ticks.follow(&FollowOptions::default())?; // from the journal's beginning
    /// publisher.publish(b"live")?;
    /// for expected in ["recorded", "live"] {
    ///     match follower.recv()? {
    ///         Followed::Event(event) => assert_eq!(event.payload(), expected.as_bytes()),
    ///         other => panic!("{other:?}"),
    ///     }
    /// }
    /// # recorder.stop()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self, options: &FollowOptions) -> Result<Follower> {
        let journal = Journal::of_channel(self.journal_positions()?.directory, self.header())?;
        Follower::new(self, &journal, options)
    }
}

impl Follower {
    /// Follows `channel` from `journal`, which must be its own. Blocks for reading the journal's
    /// files.
    ///
    /// # Errors
    /// - [`Error::Invalid`] when the journal is another channel's, when it does not reach back to
    ///   the beginning that was asked for, or for options that exclude each other. A beginning
    ///   beyond the channel's end is reported by the first receive.
    /// - [`Error::Busy`] when the durable name is in use.
    /// - [`Error::Corrupt`], [`Error::NotAllowed`] and [`Error::Io`] when the journal cannot be
    ///   read.
    pub fn new(channel: &Channel, journal: &Journal, options: &FollowOptions) -> Result<Follower> {
        channel.expect_events("following")?;
        let header = channel.header();
        if journal.channel().channel_id != header.channel_id {
            return Err(Error::invalid(
                format!("journal {} for {}", journal.directory().display(), channel.name()),
                "it records another channel, or one of the same name that was removed",
            ));
        }
        let reads = options.behind == Behind::ReadJournal;
        if reads && options.durable {
            let why = "a durable name holds publishers; keep the position in a checkpoint instead";
            return Err(Error::invalid("durable follower that reads on from the journal", why));
        }
        if reads && header.kind == Kind::Queue {
            return Err(Error::invalid(
                "follower that reads on from the journal",
                "a queue's taps always hold",
            ));
        }
        let mut follower = Follower {
            channel: channel.clone(),
            journal: journal.clone(),
            options: options.clone(),
            events: None,
            ring: None,
            position: 0,
            removed: None,
            until_look: LOOK_EVERY,
            returns: 0,
        };
        if !(options.durable && follower.resume()?) {
            match options.from {
                // A consumer that has read the ring may be ahead of the journal.
                Seek::Position(position) if !journal.is_before(position)? => {
                    follower.events = Some(Box::new(journal.events_from(position)?));
                    follower.position = position;
                }
                from => {
                    let events = journal.events(from)?;
                    follower.position = events.position();
                    follower.events = Some(Box::new(events));
                }
            }
        }
        Ok(follower)
    }

    /// Takes over an existing durable subscription, whether it is in the ring or before it. Returns
    /// whether there is one.
    fn resume(&mut self) -> Result<bool> {
        let is_known = |one: &Participant| one.durable && one.name == self.options.name;
        if !self.channel.info()?.participants.iter().any(is_known) {
            return Ok(false);
        }
        let ring = self.enter(Start::Live)?.map_err(|error| self.unusable(error))?;
        match ring.behind() {
            Some(position) => self.read_from(position)?,
            None => self.position = ring.position(),
        }
        self.ring = Some(ring);
        Ok(true)
    }

    /// Returns the next event or loss, if there is one now. Blocks only for reading the journal's
    /// files.
    ///
    /// # Errors
    /// - [`Error::PeerGone`] when the next event is in neither the ring nor the journal, and the
    ///   journaller is dead, has stopped or has failed.
    /// - [`Error::Invalid`] when the position to begin at is beyond the channel's end.
    /// - [`Error::Corrupt`] and [`Error::Io`] when the journal cannot be read.
    pub fn try_recv(&mut self) -> Result<Option<Followed<'_>>> {
        let step = self.step(None)?;
        Ok(self.hand_out(step))
    }

    /// Returns the next event or loss, and waits for it at most `timeout`; `None` when there was
    /// none.
    ///
    /// # Errors
    /// Those of [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Followed<'_>>> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            let step = self.step(Some(left.min(SLICE)))?;
            if !matches!(step, FollowStep::Nothing) || left.is_zero() {
                return Ok(self.hand_out(step));
            }
        }
    }

    /// Returns the next event or loss, and waits for it without limit.
    ///
    /// # Errors
    /// Those of [`try_recv`](Self::try_recv).
    pub fn recv(&mut self) -> Result<Followed<'_>> {
        let step = loop {
            match self.step(Some(SLICE))? {
                FollowStep::Nothing => {}
                step => break step,
            }
        };
        Ok(self.hand_out(step).unwrap_or(Followed::Closed))
    }

    /// Everything before this position was returned, or reported as lost. A consumer keeps it in a
    /// checkpoint once it has processed what was returned.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where it reads at the moment.
    pub fn source(&self) -> Source {
        match (&self.events, &self.ring) {
            (Some(_), Some(_)) => Source::Bridge,
            (None, Some(_)) => Source::Ring,
            (_, None) => Source::Journal,
        }
    }

    /// How often it was overrun in the ring, and went back to the journal.
    pub fn returns(&self) -> u64 {
        self.returns
    }

    /// Declares everything received so far as done: publishers may overwrite it, and a durable
    /// subscription resumes after it.
    pub fn acknowledge(&mut self) {
        match (&self.events, &mut self.ring) {
            (_, None) => {}
            (Some(_), Some(ring)) if self.options.durable => ring.set_behind(Some(self.position)),
            (Some(_), Some(_)) => {}
            (None, Some(ring)) => ring.acknowledge(),
        }
    }

    fn hand_out(&self, step: FollowStep) -> Option<Followed<'_>> {
        match step {
            // SAFETY: a step's event lies in the ring, or in a reader's buffer, until the next
            // step, which needs this handle mutably.
            FollowStep::Located(located) => Some(Followed::Event(unsafe { Event::new(located) })),
            FollowStep::Lost { from, to, events } => Some(Followed::Lost { from, to, events }),
            FollowStep::Closed => Some(Followed::Closed),
            FollowStep::Nothing => None,
        }
    }

    /// Takes one step. When there is nothing, it waits for about `patience` at most.
    fn step(&mut self, patience: Option<Duration>) -> Result<FollowStep> {
        loop {
            if let Some((from, to)) = self.removed.take() {
                self.position = to;
                return Ok(FollowStep::Lost { from, to, events: u64::MAX });
            }
            let Some(events) = &mut self.events else {
                match self.step_in_ring(patience)? {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            };
            if self.until_look == 0 {
                // No returned event is borrowed here any more.
                self.until_look = LOOK_EVERY;
                self.join_if_near()?;
                continue;
            }
            let mut found = take(events)?;
            // This position is after what was returned or skipped; at the end of the journal, it is
            // after the last block.
            let end = events.position();
            if found.is_none() {
                self.position = self.position.max(end);
                if self.join_if_near()? {
                    continue;
                }
                let Some(gone) = self.journaller_gone() else {
                    if let Some(patience) = patience {
                        std::thread::sleep(patience.min(PAUSE));
                    }
                    return Ok(FollowStep::Nothing);
                };
                // The last progress of the journaller came before its end was seen, so look once
                // more.
                found = self.events.as_mut().map_or(Ok(None), |events| take(events))?;
                if found.is_none() && !(self.ring.is_none() && self.join()?) && !self.has_crossed() {
                    return Err(gone);
                }
            }
            let Some(step) = found else { continue };
            if self.ring.as_ref().is_some_and(|ring| step.start() >= ring.position()) {
                // The ring has it, too.
                self.cross();
                continue;
            }
            self.position = self.events.as_ref().map_or(end, |events| events.position());
            self.until_look = self.until_look.saturating_sub(u32::from(self.ring.is_none()));
            return Ok(step);
        }
    }

    /// Takes a step in the ring. Returns `None` when it went back to the journal.
    fn step_in_ring(&mut self, patience: Option<Duration>) -> Result<Option<FollowStep>> {
        let Some(ring) = &mut self.ring else { return Ok(Some(FollowStep::Nothing)) };
        let received = match patience {
            Some(patience) => ring.recv_timeout(patience),
            None => ring.try_recv(),
        };
        match received {
            Ok(Some(located)) => {
                self.position = ring.position();
                Ok(Some(FollowStep::Located(located)))
            }
            Ok(None) => Ok(Some(FollowStep::Nothing)),
            Err(RecvError::Closed) => Ok(Some(FollowStep::Closed)),
            // The events that it has not seen are in the journal.
            Err(RecvError::Lost { .. } | RecvError::Evicted) => {
                self.ring = None;
                self.returns += 1;
                self.read_from(self.position)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the journal from `position` on. Positions that retention has removed are reported
    /// first.
    fn read_from(&mut self, position: u64) -> Result<()> {
        self.position = position;
        let first = self.journal.first_block()?.map_or(0, |first| first.first_position);
        self.removed = (first > position).then_some((position, first));
        self.events = Some(Box::new(self.journal.events_from(position.max(first))?));
        self.until_look = LOOK_EVERY;
        Ok(())
    }

    /// Joins the ring if at most half of it lies between here and what the journaller took last.
    /// Returns whether anything has changed.
    fn join_if_near(&mut self) -> Result<bool> {
        if self.ring.is_some() {
            return Ok(self.has_crossed());
        }
        let is_near = match self.channel.journal_positions() {
            Ok(positions) => positions.end.saturating_sub(self.position) <= self.half_a_ring(),
            Err(_) => true,
        };
        Ok(is_near && self.join()?)
    }

    fn half_a_ring(&self) -> u64 {
        let header = self.channel.header();
        if header.kind == Kind::Stream { header.capacity_bytes / 2 } else { header.slots / 2 }
    }

    /// Joins the ring at the next position, if the ring still has it. In a queue it joins live.
    /// Returns whether it has joined.
    fn join(&mut self) -> Result<bool> {
        let start = match self.channel.header().kind {
            Kind::Queue => Start::Live,
            Kind::Stream | Kind::Topic | Kind::Table => Start::Position(self.position),
        };
        let ring = match self.enter(start)? {
            Ok(ring) => ring,
            Err(JoinError::TooOld(_)) => return Ok(false),
            Err(error) => return Err(self.unusable(error)),
        };
        self.ring = Some(ring);
        self.has_crossed();
        Ok(true)
    }

    fn enter(&self, start: Start) -> Result<std::result::Result<FollowedRing, JoinError>> {
        let options = SubscribeOptions {
            name: self.options.name.clone(),
            durable: self.options.durable,
            lossy: self.options.behind == Behind::ReadJournal,
            start,
            wait: self.options.wait,
            until_closed: self.options.until_closed,
            ..SubscribeOptions::default()
        };
        Ok(match self.channel.header().kind {
            Kind::Stream => self.channel.try_subscriber(&options)?.map(FollowedRing::Stream),
            Kind::Topic => self.channel.try_topic_subscriber(&options)?.map(FollowedRing::Slots),
            Kind::Queue => Ok(FollowedRing::Slots(self.channel.tap(&options)?)),
            Kind::Table => return Err(Error::invalid("follower", "a table has no events to follow")),
        })
    }

    /// Leaves the journal if the ring has everything from here on. Returns whether it does.
    fn has_crossed(&mut self) -> bool {
        let crosses = self.ring.as_ref().is_some_and(|ring| self.position >= ring.position());
        if crosses {
            self.cross();
        }
        crosses
    }

    fn cross(&mut self) {
        self.events = None;
        if let Some(ring) = &self.ring {
            self.position = ring.position();
            if self.options.durable {
                ring.set_behind(None);
            }
        }
    }

    /// Returns why nothing more will come from the journal, if that is so. Costs some system calls.
    fn journaller_gone(&self) -> Option<Error> {
        let why = match self.channel.journal_positions() {
            Err(error) => return Some(error),
            Ok(positions) => match positions.state {
                JournalState::Starting | JournalState::Recording | JournalState::Draining => return None,
                JournalState::Poisoned => positions.error.unwrap_or_else(|| "its disk has failed".to_owned()),
                JournalState::Stopped => "its journaller was stopped; start it again".to_owned(),
                JournalState::Dead => "its journaller has died; start it again".to_owned(),
            },
        };
        Some(Error::PeerGone {
            what: format!("the journal of {}", self.channel.name()),
            why: format!("position {} is neither in it nor in the ring: {why}", self.position),
        })
    }

    /// Returns the error for a position that the ring does not have, and never will.
    fn unusable(&self, error: JoinError) -> Error {
        let what = format!("position {} to follow {} from", self.position, self.channel.name());
        match error {
            JoinError::TooOld(oldest) => Error::invalid(what, format!("the oldest retained is {oldest}")),
            JoinError::Beyond(end) => {
                Error::invalid(what, format!("the channel ends at {end}; it may have been made anew since"))
            }
            JoinError::NoBoundary => Error::invalid(what, "no event starts there"),
            JoinError::Corrupt => Error::corrupt(
                format!("channel {}", self.channel.name()),
                "its frames do not follow each other",
            ),
        }
    }
}

impl FollowStep {
    /// Where the step's event or loss begins.
    fn start(&self) -> u64 {
        match self {
            FollowStep::Located(located) => located.position,
            FollowStep::Lost { from, .. } => *from,
            FollowStep::Closed | FollowStep::Nothing => 0,
        }
    }
}

/// Returns the next event or gap of the journal.
fn take(events: &mut Events) -> Result<Option<FollowStep>> {
    Ok(events.next_event()?.and_then(|item| match item {
        Item::Event(event) => Some(FollowStep::Located(event.event().located())),
        Item::Gap { gap, .. } => Some(FollowStep::Lost { from: gap.from, to: gap.to, events: gap.events }),
        Item::Missing { from, to, events } => Some(FollowStep::Lost { from, to, events }),
        Item::State { .. } => None,
    }))
}
