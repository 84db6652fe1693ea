//! The progress of an event of a queue: looking at it, and waiting until it is finished.
//!
//! A waiter reads the done word of the event's slot, and the outcome beside it. It sleeps on a futex
//! word of its own (`FINISHED_WAKE`), so that it takes no wake-up from a producer that waits for
//! room. Every worker that finishes an event while a waiter sleeps wakes all waiters. A waiter that
//! was woken in vain pauses before it announces itself again, so that a busy queue is not slowed
//! down by those that wait for something else.
//!
//! A waiter depends on no worker's life: a dead worker's event is handed out again, and then
//! finished by another. If there is no other worker, the wait goes on until its deadline.

use std::time::{Duration, Instant};

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::members::park::Sleeper;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::outcome::{self, Outcomes, Progress};
use railbus_ring::slots::redo::Redo;
use railbus_ring::slots::word::{self, Slots, covers, done};

use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::peers::Kernel;
use crate::channel::span::slots_of;
use crate::channel::{Kind, Role};
use crate::error::{Error, Result};
use crate::handle::publish_end::SlotPublishEnd;
use crate::handle::refusal::name_of;
use crate::handle::sender::Sender;
use crate::handle::wait::{Step, Wait, Waiting};

/// How long a waiter polls before it sleeps.
const SPIN: Duration = Duration::from_micros(20);
/// The pause of a waiter that was woken for another event.
const PAUSE: Duration = Duration::from_micros(50);

/// The end of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobEnd {
    /// A worker has done it.
    Done,
    /// It was delivered too often, or skipped by an operator, and moved to the dead-letter queue.
    DeadLetter,
    /// Its time was over before a worker took it.
    Expired {
        /// Whether it was moved to the dead-letter queue. Otherwise it was dropped.
        dead_letter: bool,
    },
    /// An operator has discarded it.
    Purged,
    /// It is finished. Its slot has been used again since, so how it ended is no longer known.
    Forgotten,
}

impl JobEnd {
    fn of(progress: Progress) -> Option<JobEnd> {
        use outcome::Outcome;
        match progress {
            Progress::Future | Progress::Open(_) => None,
            Progress::Done => Some(JobEnd::Done),
            Progress::Ended(Outcome::DeadLetter) => Some(JobEnd::DeadLetter),
            Progress::Ended(Outcome::ExpiredLetter) => Some(JobEnd::Expired { dead_letter: true }),
            Progress::Ended(Outcome::Expired) => Some(JobEnd::Expired { dead_letter: false }),
            Progress::Ended(Outcome::Purged) => Some(JobEnd::Purged),
            Progress::Forgotten => Some(JobEnd::Forgotten),
        }
    }
}

impl std::fmt::Display for JobEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            JobEnd::Done => "done",
            JobEnd::DeadLetter => "a dead letter",
            JobEnd::Expired { dead_letter: true } => "expired, and a dead letter",
            JobEnd::Expired { dead_letter: false } => "expired, and dropped",
            JobEnd::Purged => "purged",
            JobEnd::Forgotten => {
                "finished; its slot was used again since, so how it ended is no longer known"
            }
        })
    }
}

/// Where an event of a queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// No event has this position yet.
    Future,
    /// It waits for a worker.
    Waiting {
        /// How often it was delivered without success.
        attempts: u32,
        /// How long it still waits for its time, as far as a worker has seen that it must.
        due_in: Option<Duration>,
    },
    /// A worker holds it.
    Held {
        /// The process of the worker, in its own PID namespace.
        pid: u32,
        /// The name of the worker.
        worker: String,
        /// The number of this delivery, counted from 1.
        attempt: u32,
        /// Whether the worker is dead, so that another one will get the event.
        is_dead: bool,
    },
    /// It is finished.
    Finished(JobEnd),
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JobState::Future => f.write_str("nobody has published it"),
            JobState::Waiting { attempts, due_in } => {
                f.write_str("it waits for a worker")?;
                if *attempts > 0 {
                    write!(f, ", after {attempts} deliveries without success")?;
                }
                due_in.map_or(Ok(()), |due_in| write!(f, ", and is due in {due_in:.1?}"))
            }
            JobState::Held { pid, worker, attempt, is_dead } => {
                let life = if *is_dead { "which is dead" } else { "which lives" };
                let name = if worker.is_empty() { String::new() } else { format!(" {worker:?}") };
                write!(f, "worker{name} (process {pid}, {life}) has it, delivery {attempt}")
            }
            JobState::Finished(end) => write!(f, "it is {end}"),
        }
    }
}

/// The memories and the geometry of a queue, for looking at its events.
pub(crate) struct QueueLook<'a> {
    pub(crate) memories: &'a Memories,
    pub(crate) slots: Slots,
    pub(crate) consumers: usize,
}

impl QueueLook<'_> {
    pub(crate) fn progress(&self, position: u64) -> Progress {
        let Memories { ring, done, .. } = self.memories;
        // TAIL: a caller that knows the position has seen it won.
        Outcomes { done, slots: self.slots }.progress(position, ring.load(layout::TAIL, Edge::Tail))
    }

    fn end(&self, position: u64) -> Option<JobEnd> {
        JobEnd::of(self.progress(position))
    }

    fn state(&self, position: u64, peers: &Kernel) -> JobState {
        let progress = self.progress(position);
        let word = match (progress, JobEnd::of(progress)) {
            (Progress::Open(word), _) => word,
            (_, Some(end)) => return JobState::Finished(end),
            _ => return JobState::Future,
        };
        if let Some((index, before)) = self.holder(position, word) {
            let acks = &self.memories.acks;
            return JobState::Held {
                pid: acks.load(layout::entry(index) + layout::PID, Edge::Plain) as u32,
                worker: name_of(acks, index),
                attempt: u32::from(before) + 1,
                is_dead: peers.is_dead(Side::Consumers, index),
            };
        }
        let waits = self.slots.is_of(word, position) && word::kind(word) == done::REDO;
        let Memories { acks, done, .. } = self.memories;
        let due_ns = if waits { Redo { acks, done, slots: self.slots }.due(position) } else { 0 };
        let due_in = due_ns.checked_sub(clock::host_ns()).filter(|&ns| ns > 0).map(Duration::from_nanos);
        JobState::Waiting { attempts: if waits { word::attempt(word).into() } else { 0 }, due_in }
    }

    /// The worker that holds the event with this done word, and how often it was delivered before.
    pub(crate) fn holder(&self, position: u64, word: u64) -> Option<(usize, u8)> {
        let held = if self.slots.is_of(word, position) {
            outcome::holder(word)
        } else {
            self.announcer(position).map(|index| (index, 0))
        };
        held.filter(|&(index, _)| index < self.consumers)
    }

    /// The worker whose claim word announces a ticket that was taken.
    fn announcer(&self, position: u64) -> Option<usize> {
        let acks = &self.memories.acks;
        if acks.load(layout::HEAD, Edge::Head) <= position {
            return None;
        }
        (0..self.consumers).find(|&index| {
            // ANNOUNCE: as in a sweep.
            covers(acks.load(layout::entry(index) + layout::CLAIM, Edge::Announce), position)
        })
    }

    /// Waits until an event is finished.
    fn wait(&self, channel: &Channel, position: u64, timeout: Duration, may_park: bool) -> Result<JobEnd> {
        let mut waiting = Waiting::new(Wait::Park { spin: SPIN }, Some(timeout));
        let mut sleeper = Sleeper::default();
        loop {
            if let Some(end) = self.end(position) {
                return Ok(end);
            }
            match waiting.step() {
                Step::Poll => {}
                Step::TimedOut => {
                    let state = self.state(position, &Kernel::of(channel, self.memories)?);
                    if let JobState::Finished(end) = state {
                        return Ok(end);
                    }
                    return Err(Error::TimedOut {
                        what: format!("event {position} of {} to be finished: {state}", channel.name()),
                        after_ms: timeout.as_millis() as u64,
                    });
                }
                Step::Probe => {
                    if channel.is_removed().unwrap_or(false) && self.end(position).is_none() {
                        return Err(Error::PeerGone {
                            what: format!("the queue {}", channel.name()),
                            why: format!("it was removed before event {position} was finished"),
                        });
                    }
                }
                Step::Sleep(slice_ns) if may_park => {
                    let began = Instant::now();
                    self.memories
                        .sleep_until_finished(&mut sleeper, slice_ns, || self.end(position).is_some());
                    let is_woken = began.elapsed() < Duration::from_nanos(slice_ns);
                    if is_woken && self.end(position).is_none() {
                        std::thread::sleep(PAUSE);
                    }
                }
                // Without the right to announce itself, a waiter looks now and then.
                Step::Sleep(slice_ns) => std::thread::sleep(Duration::from_nanos(slice_ns.min(1_000_000))),
            }
        }
    }
}

impl Channel {
    fn with_look<T>(&self, then: impl FnOnce(QueueLook<'_>, bool) -> Result<T>) -> Result<T> {
        if self.header().kind != Kind::Queue {
            let why = format!("only a queue's events are jobs, this is a {}", self.header().kind);
            return Err(Error::invalid(format!("progress of an event of {}", self.name()), why));
        }
        // A producer may announce that it sleeps, anybody else may look.
        let (maps, may_park) = match self.map(Role::Producer) {
            Ok(maps) => (maps, true),
            Err(Error::NotAllowed { .. }) => (self.map(Role::Observer)?, false),
            Err(error) => return Err(error),
        };
        // SAFETY: the maps are dropped after the memories, and only a producer's words are written.
        let memories = unsafe { Memories::of(&maps) };
        let consumers = self.header().consumers_max as usize;
        then(QueueLook { memories: &memories, slots: slots_of(self), consumers }, may_park)
    }

    /// Where the event at `position` of this queue is: waiting, held by a worker, or finished. Makes
    /// some system calls, and does not block.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the channel is no queue; [`Error::NotAllowed`] without the right to look
    /// at it; [`Error::Forked`] after `fork`.
    pub fn job_state(&self, position: u64) -> Result<JobState> {
        self.with_look(|look, _| Ok(look.state(position, &Kernel::of(self, look.memories)?)))
    }

    /// Waits until the event at `position` of this queue is finished, and returns how it ended. Any
    /// process may wait that may look at the queue; one that may produce is woken at once.
    ///
    /// It waits `timeout` at most; a timeout of zero looks once. If the worker that holds the event
    /// dies, the wait goes on: the event is delivered again. How an event ended is known until its
    /// slot is used again, one ring of events later. After that the result is
    /// [`JobEnd::Forgotten`].
    ///
    /// # Errors
    /// - [`Error::TimedOut`], whose text says where the event is: see [`Self::job_state`];
    /// - [`Error::PeerGone`] if the queue was removed;
    /// - [`Error::Invalid`] if the channel is no queue; [`Error::NotAllowed`]; [`Error::Forked`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::JobEnd;
    /// use std::time::Duration;
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// let position = jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
    /// let error = jobs.wait_done(position, Duration::from_millis(1)).unwrap_err();
    /// assert!(error.to_string().contains("it waits for a worker"));
    ///
    /// assert!(jobs.worker(&WorkOptions::default())?.take()?.done());
    /// assert_eq!(jobs.wait_done(position, Duration::from_secs(1))?, JobEnd::Done);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_done(&self, position: u64, timeout: Duration) -> Result<JobEnd> {
        self.with_look(|look, may_park| look.wait(self, position, timeout, may_park))
    }
}

impl Sender<SlotPublishEnd<false>> {
    /// Waits until the event at `position` is finished, as [`Channel::wait_done`] does, by this
    /// handle's maps.
    ///
    /// # Errors
    /// Those of [`Channel::wait_done`].
    pub fn wait_done(&self, position: u64, timeout: Duration) -> Result<JobEnd> {
        if self.member.is_forked() {
            return Err(Error::Forked);
        }
        let (channel, memories) = (&self.member.channel, &self.member.memories);
        let consumers = channel.header().consumers_max as usize;
        QueueLook { memories, slots: slots_of(channel), consumers }.wait(channel, position, timeout, true)
    }
}
