//! Publishing: one handle type for the three kinds of ring.
//!
//! A [`Sender`] is one registered producer. It publishes events by copy ([`Sender::publish`]), in
//! place ([`Sender::claim`], `sender/claim.rs`), or many at once ([`Sender::publish_batch`],
//! `sender/batch.rs`).
//!
//! Most calls take the fast path: a comparison, a copy and a store. `sender/room.rs` has what a
//! sender does when there is no room. `sender/outlook.rs` has what it does now and then beside
//! publishing, and `sender/numbers.rs` has the numbers of publishers that must not publish anything
//! twice.

mod batch;
mod claim;
mod numbers;
mod outlook;
mod room;
mod unique;

use std::time::Duration;

use bytemuck::NoUninit;
use railbus_os::fork::ForkGuard;
use railbus_os::stamp::StampClock;
use railbus_ring::frame::{self, STAMPED};
use railbus_ring::layout;
use railbus_ring::members::park::Waker;

use self::numbers::EventNumbers;
use self::outlook::Outlook;
use self::room::Stalled;
use crate::channel::Overflow;
use crate::channel::memories::{Memories, SharedFutex};
use crate::channel::open::Channel;
use crate::error::SendError;
use crate::event::Attributes;
use crate::handle::copy::copy;
use crate::handle::member::Member;
use crate::handle::options::SendOptions;
use crate::handle::publish_end::{PublishEnd, SlotPublishEnd};
use crate::handle::stuck::StuckReader;
use crate::handle::wait::Wait;

pub use self::claim::Claim;

/// A sender to the channel that receives the events for which there is no room. Only senders of
/// channels whose policy is to divert have one.
pub(crate) trait Diversion: std::fmt::Debug + Send {
    /// Publishes the event in that channel, without waiting. Returns its position there.
    fn try_divert(&mut self, payload: &[u8], attributes: &Attributes) -> Result<u64, SendError>;
}

impl<const TOPIC: bool> Diversion for Sender<SlotPublishEnd<TOPIC>> {
    fn try_divert(&mut self, payload: &[u8], attributes: &Attributes) -> Result<u64, SendError> {
        self.try_publish_with(payload, attributes)
    }
}

/// A registered producer of a channel: a [`Publisher`](crate::Publisher), a
/// [`TopicPublisher`](crate::TopicPublisher) or a [`Producer`](crate::Producer).
///
/// The caller chooses with each call what happens when there is no room. [`Sender::try_publish`]
/// returns at once. [`Sender::publish_timeout`] waits. [`Sender::publish`] follows the policy that
/// the channel's creator chose: it waits, or drops the new event and counts it, or diverts it to
/// another channel. Afterwards [`Sender::refusal`] reports which participant was in the way.
/// [`Sender::is_under_pressure`] warns before the room is used up.
///
/// # Threads and processes
/// A sender is `Send` but not `Sync`: one thread uses it at a time. After `fork` it belongs to the
/// parent. In the child every call that publishes returns [`SendError::Forked`], and the child must
/// attach to the channel again.
///
/// Dropping a sender ends its registration.
#[derive(Debug)]
pub struct Sender<R: PublishEnd> {
    ring: R,
    pub(super) member: Member,
    waker: Waker,
    /// How many sleepers one event may wake.
    wakes: u32,
    wait: Wait,
    overflow: Overflow,
    /// The clock of the stamps, if the channel is stamped.
    stamp: Option<StampClock>,
    /// The watch over the reader in the way, which evicts it; `None` unless the sender was opened
    /// to do so.
    stuck: Option<StuckReader>,
    /// The sender to the channel that this one diverts to, if the channel's policy is to divert.
    diversion: Option<Box<dyn Diversion>>,
    diverted: u64,
    dropped: u64,
    /// The number of events that found no room.
    full: u64,
    /// The count of this handle's events when the last of those found no room.
    full_at: Option<u64>,
    /// The last wait for room, if it ended without any. The next call for the same event continues
    /// it.
    stalled: Option<Stalled>,
    /// Why the last claim was refused.
    refused: Option<R::Refused>,
    /// The position last reported to observers, where the sender does not report each event.
    told: u64,
    /// When to leave the fast path for the tasks beside publishing.
    outlook: Outlook,
    /// The guard that the fast path checks. While no event may take the fast path, and while a
    /// claim is open, it reports a fork in every address space ([`ForkGuard::never`]).
    easy: ForkGuard,
    /// The value of [`Self::easy`] while no claim is open.
    usual: ForkGuard,
    /// The claim that is open, or that was forgotten without its destructor.
    open: Option<R::Claim>,
    /// The numbers of this handle's events, if its name numbers them.
    numbers: Option<EventNumbers>,
}

impl<R: PublishEnd> Sender<R> {
    pub(crate) fn new(
        ring: R,
        member: Member,
        options: &SendOptions,
        wakes: u32,
        diversion: Option<Box<dyn Diversion>>,
        stuck: Option<StuckReader>,
    ) -> Sender<R> {
        let header = member.channel.header();
        let wait = options.wait;
        let is_never_fast = header.stamp || header.credits > 0;
        let usual = if is_never_fast { member.guard.never() } else { member.guard };
        Sender {
            easy: usual,
            usual,
            open: None,
            stuck,
            waker: Waker::new(layout::EVENTS_WAKE, layout::CONSUMERS_PARKED)
                .with_others(layout::READERS_WAKE, layout::READERS_PARKED),
            wakes,
            wait,
            overflow: header.overflow,
            stamp: header.stamp.then(StampClock::new),
            diversion,
            diverted: 0,
            dropped: 0,
            refused: None,
            numbers: EventNumbers::of(&member, &options.name),
            full: 0,
            full_at: None,
            stalled: None,
            told: ring.position_committed(),
            outlook: Outlook::default(),
            ring,
            member,
        }
    }

    /// Publishes a copy of `payload` if there is room now. Returns the event's position.
    ///
    /// Never blocks. It makes a system call only to wake a sleeping reader; when there is no room,
    /// to find out whether a dead participant is in the way; and every 250 ms at most, to find out
    /// whether the channel was removed.
    ///
    /// # Errors
    /// [`SendError::Full`] or [`SendError::NoWorker`] when there is no room;
    /// [`SendError::TooLong`]; [`SendError::Removed`]; [`SendError::Forked`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::SendError;
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue).slots(64))?;
    /// let _worker = jobs.worker(&WorkOptions::default())?;
    /// let mut producer = jobs.producer(&SendOptions::default())?;
    /// let mut published = 0;
    /// let error = loop {
    ///     match producer.try_publish(b"job") {
    ///         Ok(_) => published += 1,
    ///         Err(error) => break error, // do something else, and try again later
    ///     }
    /// };
    /// assert_eq!((published, error), (64, SendError::Full));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn try_publish(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        match self.put_fast(payload) {
            Some(position) => Ok(position),
            None => self.try_publish_slow(payload),
        }
    }

    #[inline(never)]
    fn try_publish_slow(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        self.prepare();
        let header = self.plain_header(payload.len())?;
        let body_bytes = frame::body_bytes(header) as u64;
        let claim = match self.ring.claim(body_bytes) {
            Ok(claim) => claim,
            Err(refused) => self.claim_at_once(body_bytes, refused)?,
        };
        Ok(self.put(claim, header, payload))
    }

    /// Publishes a copy of `payload`, and returns the event's position. When there is no room, it
    /// follows the channel's policy
    /// ([`ChannelOptions::overflow`](crate::ChannelOptions::overflow)):
    ///
    /// - block: it waits for room without end, in the way that the handle's [`Wait`] sets;
    /// - drop the newest: it drops the event, counts it, and returns [`SendError::Dropped`];
    /// - divert: it publishes the event in the other channel, counts it, and returns
    ///   [`SendError::Diverted`]. If that channel has no room either, the event is dropped.
    ///
    /// # Errors
    /// [`SendError::Dropped`] and [`SendError::Diverted`] as above; [`SendError::TooLong`];
    /// [`SendError::Removed`]; [`SendError::CannotRepair`]; [`SendError::Forked`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{Overflow, SendError};
    ///
    /// let options = ChannelOptions::new(Kind::Queue).slots(64).overflow(Overflow::DropNewest);
    /// let mut producer = bus.create("jobs", &options)?.producer(&SendOptions::default())?;
    /// for position in 0..64 {
    ///     assert_eq!(producer.publish(b"job")?, position);
    /// }
    /// assert_eq!(producer.publish(b"one more"), Err(SendError::Dropped));
    /// assert_eq!(producer.dropped(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn publish(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        match self.put_fast(payload) {
            Some(position) => Ok(position),
            None => self.publish_slow(payload),
        }
    }

    #[inline(never)]
    fn publish_slow(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        self.prepare();
        let header = self.plain_header(payload.len())?;
        let body_bytes = frame::body_bytes(header) as u64;
        let claim = match self.ring.claim(body_bytes) {
            Ok(claim) => claim,
            Err(refused) => match self.claim_by_policy(body_bytes, refused) {
                Ok(claim) => claim,
                Err(error) => return Err(self.divert(error, payload, &Attributes::default())),
            },
        };
        Ok(self.put(claim, header, payload))
    }

    /// Publishes on the fast path: no stamp, no scan of the cursors, no retry. `None` if it is not
    /// possible.
    #[inline(always)]
    fn put_fast(&mut self, payload: &[u8]) -> Option<u64> {
        let claim = self.claim_fast(payload.len())?;
        let at = self.member.memories.data.address(self.ring.body_offset(claim));
        // SAFETY: the claim's body has this many bytes, inside the data, which nobody else touches
        // before the commit; the payload is the caller's own memory.
        unsafe { copy(payload.as_ptr(), at, payload.len()) };
        self.ring.commit_fast(claim, frame::header(payload.len() as u32, 0, 0));
        self.published(1);
        Some(self.ring.position(claim))
    }

    /// Publishes a copy of `payload`, and waits at most `timeout` for room, whatever the channel's
    /// policy is. Returns the event's position. A timeout of zero never blocks.
    ///
    /// # Errors
    /// [`SendError::TimedOut`], or [`SendError::NoWorker`] if the time is over and no worker lives
    /// to make room; otherwise those of [`Self::publish`], except that the event is never dropped
    /// or diverted. With a timeout of zero, those of [`Self::try_publish`].
    pub fn publish_timeout(&mut self, payload: &[u8], timeout: Duration) -> Result<u64, SendError> {
        self.prepare();
        let header = self.plain_header(payload.len())?;
        let body_bytes = frame::body_bytes(header) as u64;
        let claim = match self.ring.claim(body_bytes) {
            Ok(claim) => claim,
            Err(refused) => self.claim_waiting(body_bytes, refused, Some(timeout))?,
        };
        Ok(self.put(claim, header, payload))
    }

    /// Publishes a copy of a plain value, as [`Self::publish`] does. This is the fastest way,
    /// because the compiler knows the size.
    ///
    /// # Errors
    /// Those of [`Self::publish`].
    #[inline]
    pub fn publish_pod<T: NoUninit>(&mut self, value: &T) -> Result<u64, SendError> {
        self.publish(bytemuck::bytes_of(value))
    }

    /// Publishes a copy of `payload` with a type id, trace context, time or origin. When there is
    /// no room, it does what [`Self::publish`] does. Returns the event's position.
    ///
    /// # Errors
    /// Those of [`Self::publish`].
    pub fn publish_with(&mut self, payload: &[u8], attributes: &Attributes) -> Result<u64, SendError> {
        match self.claim_with(payload.len(), attributes) {
            Ok(mut claim) => {
                claim.copy_from_slice(payload);
                return Ok(claim.commit());
            }
            Err(SendError::Full) => {}
            Err(error) => return Err(error),
        }
        Err(self.divert(SendError::Full, payload, attributes))
    }

    /// As [`Self::publish_with`], but it never blocks.
    ///
    /// # Errors
    /// Those of [`Self::try_publish`].
    pub fn try_publish_with(&mut self, payload: &[u8], attributes: &Attributes) -> Result<u64, SendError> {
        let mut claim = self.claim_inner(payload.len(), attributes, Some(Duration::ZERO))?;
        claim.copy_from_slice(payload);
        Ok(claim.commit())
    }

    /// As [`Self::publish_with`], but it waits at most `timeout` for room, whatever the channel's
    /// policy is.
    ///
    /// # Errors
    /// Those of [`Self::publish_timeout`]; with a timeout of zero, those of [`Self::try_publish`].
    pub fn publish_with_timeout(
        &mut self,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Duration,
    ) -> Result<u64, SendError> {
        let mut claim = self.claim_inner(payload.len(), attributes, Some(timeout))?;
        claim.copy_from_slice(payload);
        Ok(claim.commit())
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.member.channel
    }

    /// The number of events published by this handle; 0 in a fork child.
    pub fn events(&self) -> u64 {
        if self.member.is_forked() { 0 } else { self.ring.tally().events }
    }

    /// The largest payload that the channel takes, in bytes, for an event without a trace context
    /// or an origin.
    pub fn payload_max(&self) -> usize {
        let stamp_bytes = if self.stamp.is_some() { frame::extension_bytes(STAMPED) } else { 0 };
        (self.ring.body_max() as usize).saturating_sub(stamp_bytes)
    }

    /// The number of live readers (subscribers, workers, taps) that have joined. They receive
    /// everything that is published from now on. The journaller is not counted. Makes a system call
    /// for each reader. Returns 0 in a fork child.
    pub fn readers(&self) -> usize {
        self.member.count_joined()
    }

    /// The header word of an event without attributes, or the reason why it cannot be published.
    #[inline(always)]
    fn plain_header(&self, payload_bytes: usize) -> Result<u64, SendError> {
        let flags = if self.stamp.is_some() { STAMPED } else { 0 };
        let body_bytes = self.check(payload_bytes, frame::extension_bytes(flags))?;
        Ok(frame::header(body_bytes, 0, flags))
    }

    #[inline(always)]
    fn check(&self, payload_bytes: usize, extension_bytes: usize) -> Result<u32, SendError> {
        if self.member.is_forked() {
            return Err(SendError::Forked);
        }
        if self.outlook.is_removed() {
            return Err(SendError::Removed);
        }
        let body_max = self.ring.body_max().min(u32::MAX as u64) as usize;
        // In a small slot the extensions may need more bytes than there are.
        match body_max.checked_sub(extension_bytes) {
            Some(max) if payload_bytes <= max => Ok((payload_bytes + extension_bytes) as u32),
            max => Err(SendError::TooLong { bytes: payload_bytes, max: max.unwrap_or(0) }),
        }
    }

    #[inline(always)]
    fn put(&mut self, claim: R::Claim, header: u64, payload: &[u8]) -> u64 {
        self.fill(claim, header, payload);
        self.published(1);
        self.ring.position(claim)
    }

    #[inline(always)]
    fn fill(&mut self, claim: R::Claim, header: u64, payload: &[u8]) {
        let mut at = self.member.memories.data.address(self.ring.body_offset(claim));
        if let Some(clock) = &mut self.stamp {
            let now = clock.now_ns().to_le_bytes();
            // SAFETY: the claim's body has room for the stamp and the payload (see `check`).
            unsafe { copy(now.as_ptr(), at, now.len()) };
            // SAFETY: as above.
            at = unsafe { at.add(now.len()) };
        }
        // SAFETY: the claim's body has this many bytes, inside the data, which nobody else touches
        // before the commit; the payload is the caller's own memory.
        unsafe { copy(payload.as_ptr(), at, payload.len()) };
        self.ring.commit(claim, header);
    }

    /// Wakes readers. To be called after `events` events have become visible.
    #[inline(always)]
    fn published(&mut self, events: u64) {
        if R::TELLS_EACH {
            let tally = self.ring.tally();
            self.member.note_tally(tally);
            if self.outlook.is_due(tally.events) {
                self.look_up(tally.events);
            }
        }
        let Memories { ring, acks, .. } = &self.member.memories;
        let moved = self.waker.wake(ring, acks, &SharedFutex(*ring), || {
            self.wakes.saturating_mul(events.min(u32::MAX as u64) as u32)
        });
        if moved {
            self.look_after_waking();
        }
    }

    /// Prepares for a claim on the slow path.
    #[inline]
    fn prepare(&mut self) {
        if self.open.is_some() {
            self.abort_forgotten();
        }
        self.tell();
    }

    /// Aborts a claim whose destructor did not run ([`std::mem::forget`]). Nobody can write it any
    /// more, because it borrowed this handle. No other room was claimed since, because no call
    /// takes the fast path while a claim is open.
    #[cold]
    fn abort_forgotten(&mut self) {
        self.easy = self.usual;
        if let Some(claim) = self.open.take().filter(|_| !self.member.is_forked()) {
            self.ring.abort(claim);
            // Readers may wait behind it.
            self.published(1);
        }
    }

    /// Reports to observers how far this publisher has come, if it does not report each event.
    /// Observers count the events that are committed behind that position, so the ring must still
    /// retain them. Therefore the slow path, which every eighth of the ring takes, renews the
    /// position.
    fn tell(&mut self) {
        // The maps do not exist in a fork child.
        if R::TELLS_EACH || self.member.is_forked() {
            return;
        }
        let position = self.ring.position_committed();
        if self.outlook.is_due(position) {
            self.look_up(position);
            self.ring.ease(self.outlook.ease());
        }
        if position - self.told >= self.member.channel.header().capacity_bytes / 16 {
            self.tell_now(position);
            self.member.seen();
        }
    }

    fn tell_now(&mut self, position: u64) {
        self.told = position;
        self.member.tell(position, self.ring.tally());
    }
}

impl<R: PublishEnd> Drop for Sender<R> {
    fn drop(&mut self) {
        self.abort_forgotten();
        if !R::TELLS_EACH && !self.member.is_forked() {
            self.tell_now(self.ring.position_committed());
        }
    }
}
