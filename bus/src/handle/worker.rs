//! Working on a queue: each event goes to one worker, which reports when it is done.
//!
//! A [`Worker`] is one registered consumer. It adds to the protocol (`SlotWorker`) what that leaves
//! out: waiting, dead letters, the repair of dead workers, and the rules of `worker/rules.rs`
//! (priorities, bounds and keys).
//!
//! A worker whose done words are refused although nobody has evicted it works on corrupted memory.
//! It gives up its entry as if it had been evicted, so that others get what it held. From then on
//! its takes return [`RecvError::Corrupt`].

mod idle;
mod job;
mod letters;
mod rules;
mod ticket;
mod times;

pub use job::Job;
use std::time::Duration;
pub use ticket::Ticket;

use railbus_os::clock;
use railbus_os::fork::ForkGuard;
use railbus_ring::members::park::{Nudge, Waker};
use railbus_ring::members::registry;
use railbus_ring::slots::levels::Rank;
use railbus_ring::slots::redo::{Backoff, DELAY_NS_MAX};
use railbus_ring::slots::word::ATTEMPT_MAX;
use railbus_ring::slots::worker::{FIRST_DELIVERY, SlotWorker, TAKE_MAX, Taken};
use railbus_ring::tally::Tally;
use railbus_ring::{frame, layout};
use rules::Rules;

use crate::SlotPublishEnd;
use crate::channel::memories::SharedFutex;
use crate::error::RecvError;
use crate::event::{Event, Located};
use crate::handle::audit::Audit;
use crate::handle::bridge::Watch;
use crate::handle::latency_probe::LatencyProbe;
use crate::handle::member::{self, Member};
use crate::handle::sender::Sender;
use crate::handle::wait::{Idle, Pace, Wait};

/// The most events between two looks at the clock. There are fewer when each event takes its time.
const LOOK_EVERY_MAX: u64 = 256;
/// A busy worker looks for dead workers this often.
const SWEEP_EVERY_NS: u64 = 1_000_000;
/// Workers that sleep ask the kernel about the others this often, all of them together. That is
/// half as often as each of them wakes up to look.
const LOOK_TOGETHER_NS: u64 = 4_000_000;

/// A registered worker of a queue.
///
/// Each event goes to one worker. Delivery is at least once: if a worker dies, is evicted, or hands
/// an event back, the event is delivered again, with its attempts counted. After the channel's
/// `max_attempts` it goes to the dead-letter queue with its origin, if the channel names one.
///
/// [`Worker::take`] returns a [`Job`]. A job that is dropped without [`Job::done`] hands its event
/// back. To hold several events at once, use tickets: [`Worker::take_ticket`], [`Worker::event`]
/// and [`Worker::done`].
///
/// # Eviction
/// A worker may be **evicted** ([`Channel::evict`](crate::Channel::evict)) while it is stopped,
/// hangs, or works for too long. The events that it holds then go to others. From then on its
/// `done` returns false, and its next take returns [`RecvError::Evicted`]; open another worker to
/// continue. The bytes of an event that it still reads do not change until its next call. Only a
/// `done` that returned true proves that the work counted.
///
/// # Threads and processes
/// A worker is `Send` but not `Sync`: one thread uses it at a time. After `fork` it belongs to the
/// parent. In the child every take returns [`RecvError::Forked`], and the child must attach to the
/// channel again.
///
/// Dropping a worker hands back every event that it holds and ends its registration.
#[derive(Debug)]
pub struct Worker {
    core: SlotWorker<crate::channel::mapped::Trusted>,
    member: Member,
    waker: Waker,
    /// Wakes other workers.
    nudge: Nudge,
    /// The number of producers to wake when there is room. One producer takes it. But of those that
    /// wait for a credit of their own, the worker does not know which one gets it.
    space_wakes: u32,
    wait: Wait,
    until_closed: bool,
    /// The number of events that are taken from the ring at once, and whether that follows the
    /// load.
    grab: u32,
    grab_follows_load: bool,
    /// The number of events that the next take may ask for: one after an empty poll. A look beyond
    /// the event that was waited for would take the next slot's line away from the producer that is
    /// about to write it.
    eager: u32,
    max_attempts: u32,
    dead_letters: Option<Box<Sender<SlotPublishEnd<false>>>>,
    /// How long events that are handed back wait.
    backoff: Backoff,
    /// Whether the last poll ended because it had put many events back or ended them, although there
    /// may be one to take behind them.
    is_passing_untimely: bool,
    /// Priorities, bounds and the order of keys.
    rules: Option<Box<Rules>>,
    /// The guard that the fast path checks. It is the member's guard; or one that reports a fork in
    /// every address space, when no event may take the fast path.
    easy: ForkGuard,
    swept_ns: u64,
    /// This worker asks the kernel about the other workers when nobody has asked for this long.
    look_together_ns: u64,
    audit: Audit,
    tally: Tally,
    pace: Pace,
    idle: Idle,
    /// The count of events at which this worker looks around, and the number of events until the
    /// next look.
    look_at: u64,
    look_every: u64,
    /// On stamped channels, whose events take the slow path.
    latency: Option<Box<LatencyProbe>>,
    /// Whether this worker has given up its entry because the channel's files were corrupted.
    is_corrupted: bool,
    /// Why the last look around could not hand back what a dead worker held.
    cannot_repair: Option<&'static str>,
}

impl Worker {
    pub(crate) fn new(
        member: Member,
        wait: Wait,
        until_closed: bool,
        grab: u32,
        rank: Rank,
        dead_letters: Option<Sender<SlotPublishEnd<false>>>,
    ) -> Worker {
        member.joined();
        let rules = Rules::of(rank, &member);
        let header = member.channel.header();
        let core = SlotWorker::new(member.memories.slots(header), member.registered.index)
            .with(member::stores())
            .with_backoff(header.backoff());
        Worker {
            core,
            waker: Waker::new(layout::SPACE_WAKE, layout::PRODUCERS_PARKED)
                .with_others(layout::FINISHED_WAKE, layout::WAITERS_PARKED),
            nudge: Nudge::new(layout::EVENTS_WAKE, layout::CONSUMERS_PARKED)
                .with_others(layout::READERS_WAKE, layout::READERS_PARKED),
            space_wakes: if member.channel.header().credits > 0 { u32::MAX >> 1 } else { 1 },
            wait,
            until_closed,
            grab: grab.clamp(1, TAKE_MAX),
            eager: grab.clamp(1, TAKE_MAX),
            // A death counts an attempt for each event that the worker held. With one attempt,
            // that must be one event.
            grab_follows_load: grab == 0 && header.max_attempts != 1 && rules.is_none(),
            max_attempts: header.max_attempts,
            dead_letters: dead_letters.map(Box::new),
            backoff: header.backoff(),
            is_passing_untimely: false,
            easy: if rules.is_some() { member.guard.never() } else { member.guard },
            rules,
            swept_ns: 0,
            look_together_ns: if matches!(wait, Wait::Park { .. }) {
                LOOK_TOGETHER_NS
            } else {
                SWEEP_EVERY_NS
            },
            audit: Audit::default(),
            tally: Tally::default(),
            pace: Pace::default(),
            idle: Idle::default(),
            look_at: 1,
            look_every: 1,
            latency: LatencyProbe::open(&member, true),
            is_corrupted: false,
            cannot_repair: None,
            member,
        }
    }

    /// Returns the next event if there is one.
    ///
    /// Never blocks. When nothing has come for some milliseconds, it makes system calls to find out
    /// whether its peers live and whether the channel was removed.
    ///
    /// # Errors
    /// [`RecvError::Evicted`]; [`RecvError::HandsFull`]; [`RecvError::Removed`];
    /// [`RecvError::CannotRepair`]; [`RecvError::Corrupt`]; [`RecvError::Forked`]. A worker opened
    /// with [`until_closed`](crate::WorkOptions::until_closed) gets [`RecvError::Closed`] as from
    /// [`Self::take`].
    #[inline(always)]
    pub fn try_take(&mut self) -> Result<Option<Job<'_>>, RecvError> {
        if let Some(ticket) = self.poll_fast() {
            return Ok(Some(Job { worker: self, ticket }));
        }
        Ok(self.take_ticket_slow()?.map(|ticket| Job { worker: self, ticket }))
    }

    /// Returns the next event, and waits for it without end, in the way that the handle's [`Wait`] sets.
    ///
    /// # Errors
    /// Those of [`Self::try_take`]. A worker opened with
    /// [`until_closed`](crate::WorkOptions::until_closed) gets [`RecvError::Closed`] when the last
    /// producer has left and every event is done.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
    /// let mut worker = jobs.worker(&WorkOptions::default())?;
    ///
    /// let job = worker.take()?;
    /// assert_eq!(&*job, b"resize cat.png");
    /// assert!(job.done());
    /// # Ok(())
    /// # }
    /// ```
    #[inline(always)]
    pub fn take(&mut self) -> Result<Job<'_>, RecvError> {
        if let Some(ticket) = self.poll_fast() {
            return Ok(Job { worker: self, ticket });
        }
        let ticket = self.wait(None)?;
        Ok(Job { worker: self, ticket })
    }

    /// As [`Self::take`], but it waits at most `timeout`. A timeout of zero never blocks.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`]; otherwise those of [`Self::take`].
    pub fn take_timeout(&mut self, timeout: Duration) -> Result<Job<'_>, RecvError> {
        if let Some(ticket) = self.poll_fast() {
            return Ok(Job { worker: self, ticket });
        }
        let ticket = self.wait(Some(timeout))?;
        Ok(Job { worker: self, ticket })
    }

    /// Returns the next event as a ticket, if there is one. Never blocks. This worker holds the
    /// event, beside others, until [`Self::done`] or [`Self::retry`], or until this handle is
    /// dropped.
    ///
    /// # Errors
    /// Those of [`Self::try_take`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// let mut producer = jobs.producer(&SendOptions::default())?;
    /// producer.publish(b"one")?;
    /// producer.publish(b"two")?;
    ///
    /// let mut worker = jobs.worker(&WorkOptions::default())?;
    /// let mut held = Vec::new(); // two events at the same time
    /// while let Some(ticket) = worker.take_ticket()? {
    ///     held.push(ticket);
    /// }
    /// assert_eq!(worker.event(held[1]).as_deref(), Some(&b"two"[..]));
    /// assert!(held.into_iter().rev().all(|ticket| worker.done(ticket)), "in any order");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn take_ticket(&mut self) -> Result<Option<Ticket>, RecvError> {
        match self.poll_fast() {
            Some(ticket) => Ok(Some(ticket)),
            None => self.take_ticket_slow(),
        }
    }

    fn take_ticket_slow(&mut self) -> Result<Option<Ticket>, RecvError> {
        match self.poll_slow()? {
            Some(ticket) => Ok(Some(ticket)),
            None if self.idle.is_due() => self.probe(),
            None => Ok(None),
        }
    }

    /// The argument for [`Bridge::arm`](crate::Bridge::arm), when this worker has found nothing.
    pub fn watch(&self) -> Watch {
        self.idle.rest();
        Watch {
            position: None,
            redo_seen: self.core.redo_seen(),
            redo_due_ns: self.core.redo_due_ns(),
            barred: self.is_barred(),
        }
    }

    /// As [`Self::take_ticket`], but it waits at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`]; otherwise those of [`Self::take`].
    pub fn take_ticket_timeout(&mut self, timeout: Duration) -> Result<Ticket, RecvError> {
        match self.poll()? {
            Some(ticket) => Ok(ticket),
            None => self.wait(Some(timeout)),
        }
    }

    /// The event that a ticket names, in place. `None` if this worker does not hold it, and in a
    /// fork child.
    #[inline]
    pub fn event(&self, ticket: Ticket) -> Option<Event<'_>> {
        // The header was checked when the ticket was made, but perhaps by a worker of another
        // queue.
        let sound = frame::is_event(ticket.header, self.core.body_max());
        if self.member.is_forked() || !sound || !self.core.holds_delivery(ticket.position, ticket.delivery) {
            return None;
        }
        // SAFETY: the worker holds the event, so nobody overwrites it; the body that the header
        // describes lies in the slot.
        Some(unsafe { Event::new(self.locate(ticket)) })
    }

    /// Marks an event as done: it is not delivered again. Never blocks.
    ///
    /// Returns false if this worker does not hold the event, and in a fork child. It also returns
    /// false if the worker was evicted ([`Worker::is_evicted`]) or the channel turns out to be
    /// corrupt. Then the event goes to another worker, the work does not count, and the next take
    /// returns the error.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
    /// let mut worker = jobs.worker(&WorkOptions::default())?;
    /// let ticket = worker.take()?.keep();
    /// assert!(worker.done(ticket), "the work counts");
    /// assert!(!worker.done(ticket), "this worker does not hold it any more");
    /// # Ok(())
    /// # }
    /// ```
    #[inline(always)]
    #[must_use = "false says that the work did not count: another worker has the event"]
    pub fn done(&mut self, ticket: Ticket) -> bool {
        if self.easy.is_forked() {
            return self.done_by_rules(ticket.position, ticket.delivery, ticket.header);
        }
        let held = self.core.done_delivery(ticket.position, ticket.delivery);
        if !frame::is_plain(ticket.header) {
            self.measure_done(ticket.position, held);
        }
        if !held {
            self.give_up();
        }
        let own = self.member.memories.acks;
        self.waker.wake(&own, &self.member.memories.ring, &SharedFutex(own), || self.space_wakes);
        held
    }

    /// Hands an event back. It is delivered again, to this worker or another, with its attempts
    /// counted. Never blocks.
    ///
    /// After its first attempt it is delivered again at once. After the second attempt it waits for
    /// about 1 ms, and then twice as long each time, up to 1 s, or as the channel was created
    /// ([`ChannelOptions::retry_delay`](crate::ChannelOptions::retry_delay)). Other events do not wait
    /// for it. Returns false if this worker does not hold the event or was evicted, and in a fork
    /// child.
    pub fn retry(&mut self, ticket: Ticket) -> bool {
        let backoff = self.backoff;
        self.hand_back(ticket, |ticket, attempts| backoff.due_ns(clock::host_ns(), ticket, attempts))
    }

    /// As [`Self::retry`], but the event is delivered again after `delay`, 24 hours at most. If it
    /// becomes a dead letter because of its attempts, it does so at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use std::time::Duration;
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// jobs.producer(&SendOptions::default())?.publish(b"fetch the page")?;
    /// let mut worker = jobs.worker(&WorkOptions::default())?;
    /// let ticket = worker.take()?.keep();
    /// worker.retry_after(ticket, Duration::from_millis(20)); // the server is busy
    /// assert!(worker.try_take()?.is_none());
    /// assert_eq!(worker.take()?.attempt(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn retry_after(&mut self, ticket: Ticket, delay: Duration) -> bool {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX).min(DELAY_NS_MAX);
        let attempts_max = self.backoff.attempts_max;
        self.hand_back(ticket, |_, attempts| {
            let is_last = attempts_max > 0 && u32::from(attempts) >= attempts_max;
            clock::host_ns().saturating_add(if is_last { 0 } else { delay_ns })
        })
    }

    fn hand_back(&mut self, ticket: Ticket, due_ns: impl FnOnce(u64, u8) -> u64) -> bool {
        if self.member.is_forked() {
            return false;
        }
        let held = self.core.holds_delivery(ticket.position, ticket.delivery) && {
            let attempts = (ticket.delivery as u8 + 1).min(ATTEMPT_MAX);
            let due_ns = self.until_expiry(ticket, due_ns(ticket.position, attempts));
            self.core.retry(ticket.position, |_, _| due_ns)
        };
        if held {
            self.handed_back();
        } else {
            self.give_up();
        }
        held
    }

    /// Whether this worker was evicted. Nothing that it does counts any more. False in a fork
    /// child.
    pub fn is_evicted(&self) -> bool {
        !self.is_corrupted
            && !self.member.is_forked()
            && (self.core.is_fenced() || !self.member.is_registered())
    }

    /// Whether the channel was removed. A wait reports it, too, by [`RecvError::Removed`]. Makes
    /// one system call. False in a fork child.
    pub fn is_removed(&self) -> bool {
        self.member.is_removed()
    }

    /// The number of events that this worker holds.
    pub fn in_hand(&self) -> usize {
        self.core.in_hand()
    }

    /// The number of events taken by this handle, including those delivered again.
    pub fn events(&self) -> u64 {
        self.tally.events
    }

    /// Whether every producer has left, after at least one was there. Makes a system call for each
    /// producer until a live one is found. False in a fork child.
    pub fn producers_left(&self) -> bool {
        self.member.others_live(|policy| policy & 0xFF == registry::ROLE_PRODUCER) == Some(false)
    }

    #[inline(always)]
    fn locate(&self, ticket: Ticket) -> Located {
        let Ticket { position, header, .. } = ticket;
        let body = self.member.memories.data.address(self.core.body_offset(position));
        Located { body, header, position }
    }

    #[inline(always)]
    fn poll(&mut self) -> Result<Option<Ticket>, RecvError> {
        match self.poll_fast() {
            Some(ticket) => Ok(Some(ticket)),
            None => self.poll_slow(),
        }
    }

    /// Takes the next event on the fast path; `None` if there is none or it needs the slow path.
    #[inline(always)]
    fn poll_fast(&mut self) -> Option<Ticket> {
        if self.easy.is_forked() {
            return None;
        }
        let ticket = self.core.take_fast(self.eager)?;
        self.eager = self.grab;
        let header = self.core.header(ticket);
        let sound = frame::is_plain(header) && frame::body_bytes(header) as u64 <= self.core.body_max();
        // The fence is checked after the header is loaded, so the header of another lap is not
        // taken for this event's.
        if sound && !self.core.is_fenced() {
            self.count(header);
            return Some(Ticket { position: ticket, delivery: FIRST_DELIVERY, header });
        }
        // The slow path delivers it, after more checks.
        self.core.keep_waiting(ticket);
        None
    }

    #[inline(always)]
    fn count(&mut self, header: u64) {
        self.tally.add(frame::body_bytes(header) as u64);
        if self.tally.events >= self.look_at {
            self.look_by_the_way();
        }
    }

    #[inline(never)]
    fn poll_slow(&mut self) -> Result<Option<Ticket>, RecvError> {
        if self.member.is_forked() {
            return Err(RecvError::Forked);
        }
        let mut untimely = 0;
        self.is_passing_untimely = false;
        loop {
            if self.core.is_fenced() {
                self.give_up();
                return Err(self.why_given_up());
            }
            let taken = match self.rules {
                Some(_) => self.take_by_rules()?,
                None => self.core.take(self.eager, clock::host_ns),
            };
            let Some(taken) = taken else {
                if self.core.has_refused() {
                    self.give_up();
                    return Err(self.why_given_up());
                }
                self.eager = 1;
                if self.pace.empty(self.tally.events) {
                    self.tell();
                    self.idle.restart();
                }
                return Ok(None);
            };
            let header = self.core.header(taken.ticket);
            if self.core.is_fenced() {
                self.core.keep_waiting(taken.ticket);
                continue;
            }
            if !frame::is_event(header, self.core.body_max()) {
                // The worker keeps it, because nobody can make sense of it.
                return Err(RecvError::Corrupt("an event that no producer writes; remove the channel"));
            }
            let delivery = self.core.delivery_of(taken);
            let ticket = Ticket { position: taken.ticket, delivery, header };
            if frame::flags(header) & frame::JOB != 0 && !self.is_timely(taken, ticket) {
                untimely += 1;
                if untimely == times::UNTIMELY_MAX {
                    self.is_passing_untimely = true;
                    return Ok(None);
                }
                continue;
            }
            if taken.attempt == 0 || self.is_redelivered(taken, ticket) {
                self.count(header);
                // The extensions of an event do not count as payload.
                self.tally.bytes -= frame::extension_bytes(frame::flags(header)) as u64;
                self.measure(ticket);
                return Ok(Some(ticket));
            }
        }
    }

    /// Measures how long an event took to come here, on a stamped channel.
    fn measure(&mut self, ticket: Ticket) {
        let located = self.locate(ticket);
        if let Some(latency) = &mut self.latency {
            // SAFETY: the event was checked, and this worker holds it.
            latency.taken(unsafe { Event::new(located) });
        }
    }

    /// Measures how long this worker held an event, on a stamped channel. It is a function of its
    /// own, and takes no ticket, because an argument that is passed in memory would be kept in
    /// memory by its caller, too.
    #[cold]
    #[inline(never)]
    fn measure_done(&mut self, position: u64, held: bool) {
        if let Some(latency) = self.latency.as_mut().filter(|_| held) {
            latency.done(position);
        }
    }

    /// Reports to observers how far this worker has come.
    fn tell(&self) {
        self.member.note_tally(self.tally);
    }

    /// Whether this is the only worker. An evicted worker counts until it has gone, because what it
    /// held may come back late.
    fn is_alone(&self) -> bool {
        self.member.count_own(2, |policy| policy & 0xFF == registry::ROLE_WORKER) == 1
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.member.is_forked() && !self.give_up() {
            self.core.hand_back();
            self.leave_by_rules();
            // The worker may have been refused just now.
            self.give_up();
        }
    }
}
