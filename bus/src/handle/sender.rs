//! Publishing: one handle type for the three kinds of ring.
//!
//! A [`Sender`] is one registered producer. It is used by one thread at a time (it is `Send`, not `Sync`), and not
//! after `fork`. Events are published by copy ([`Sender::publish`]), in place ([`Sender::claim`]), or many at once
//! ([`Sender::publish_batch`]).
//!
//! What happens when there is no room is the caller's choice per call: [`Sender::try_publish`] says so at once,
//! [`Sender::publish_timeout`] waits, and [`Sender::publish`] does what the channel's creator chose: block, drop the
//! newest and count it, or divert it to another channel. [`Sender::refusal`] then tells who was in the way, and
//! [`Sender::is_under_pressure`] that there will soon be no room.

mod claim;
mod numbers;
mod outlook;
mod room;

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
use crate::error::{BatchError, SendError};
use crate::event::Attributes;
use crate::handle::copy::copy;
use crate::handle::member::Member;
use crate::handle::options::SendOptions;
use crate::handle::publish_end::{PublishEnd, SlotPublishEnd};
use crate::handle::stuck::StuckReader;
use crate::handle::wait::Wait;

pub use self::claim::Claim;

/// Where events go that find no room, on a channel whose policy is to divert them: a sender to another channel.
pub(crate) trait Diversion: std::fmt::Debug + Send {
    /// Publishes there at once, or not at all. Returns the position there.
    fn try_divert(&mut self, payload: &[u8], attributes: &Attributes) -> Result<u64, SendError>;
}

impl<const TOPIC: bool> Diversion for Sender<SlotPublishEnd<TOPIC>> {
    fn try_divert(&mut self, payload: &[u8], attributes: &Attributes) -> Result<u64, SendError> {
        self.try_publish_with(payload, attributes)
    }
}

/// A registered producer of a channel. See the [module](self).
#[derive(Debug)]
pub struct Sender<R: PublishEnd> {
    ring: R,
    member: Member,
    waker: Waker,
    /// How many sleepers one event may wake.
    wakes: u32,
    wait: Wait,
    overflow: Overflow,
    /// The clock of the stamps, if the channel is stamped.
    stamp: Option<StampClock>,
    /// The reader in the way, watched in order to evict it; `None` unless the sender was opened to do so.
    stuck: Option<StuckReader>,
    /// Where events go that find no room, if the channel's policy is to divert them.
    diversion: Option<Box<dyn Diversion>>,
    diverted: u64,
    dropped: u64,
    /// How many events found no room.
    blocked: u64,
    /// How many events there had been when the last of those came.
    blocked_at: Option<u64>,
    /// A wait for room that has ended without any, and may go on with the next call.
    stalled: Option<Stalled>,
    /// What was in the way the last time.
    refused: Option<R::Refused>,
    /// The position that observers were told last, where they are not told each event.
    told: u64,
    /// When to look up from publishing.
    outlook: Outlook,
    /// The member's guard; one that tells every address space for a fork when nothing is ever easy, and while a claim is
    /// open.
    easy: ForkGuard,
    /// What [`Self::easy`] is while no claim is open.
    usual: ForkGuard,
    /// The claim that is open, or was forgotten without its destructor.
    open: Option<R::Claim>,
    /// What this handle's name numbers its events with.
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
            blocked: 0,
            blocked_at: None,
            stalled: None,
            told: ring.position_committed(),
            outlook: Outlook::default(),
            ring,
            member,
        }
    }

    /// Publishes a copy of `payload`, or says at once why not. Returns the event's position.
    ///
    /// Never blocks and makes no system call, but for waking a sleeping reader.
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

    /// Publishes a copy of `payload` as the channel's policy says: waits for room without end; or, when there is none,
    /// drops the event, counts it, and returns [`SendError::Dropped`]; or publishes it in the channel that this one
    /// diverts to, counts it, and returns [`SendError::Diverted`].
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

    /// Publishes where nothing is in the way: no stamp, no look at the cursors, no retry.
    #[inline(always)]
    fn put_fast(&mut self, payload: &[u8]) -> Option<u64> {
        let claim = self.claim_fast(payload.len())?;
        let at = self.member.memories.data.address(self.ring.body_offset(claim));
        // SAFETY: the claim's body has this many bytes, inside the data, which nobody else touches before the
        // commit; the payload is the caller's own memory.
        unsafe { copy(payload.as_ptr(), at, payload.len()) };
        self.ring.commit_fast(claim, frame::header(payload.len() as u32, 0, 0));
        self.published(1);
        Some(self.ring.position(claim))
    }

    /// Publishes a copy of `payload`, waiting at most `timeout` for room.
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

    /// Publishes a plain value. Its size is known to the compiler, so this is the fastest way.
    #[inline]
    pub fn publish_pod<T: NoUninit>(&mut self, value: &T) -> Result<u64, SendError> {
        self.publish(bytemuck::bytes_of(value))
    }

    /// Publishes a copy of `payload` with a type id, trace context, time or origin, waiting as [`Self::publish`] does.
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

    /// As [`Self::publish_with`], but says at once when there is no room.
    pub fn try_publish_with(&mut self, payload: &[u8], attributes: &Attributes) -> Result<u64, SendError> {
        let mut claim = self.claim_inner(payload.len(), attributes, Some(Duration::ZERO))?;
        claim.copy_from_slice(payload);
        Ok(claim.commit())
    }

    /// As [`Self::publish_with`], waiting at most `timeout` for room.
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

    /// Publishes copies of all payloads, in order, waiting for room without end, whatever the channel's policy. Readers
    /// may see them a few at a time.
    ///
    /// # Errors
    /// [`BatchError`]: why the next one was not published, and how many were.
    pub fn publish_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<(), BatchError> {
        self.check_batch(payloads).map_err(|error| BatchError { published: 0, error })?;
        let mut published = 0;
        while published < payloads.len() {
            published += match self.put_batch(&payloads[published..]) {
                0 => {
                    let payload = payloads[published].as_ref();
                    let sent = match self.overflow {
                        Overflow::Block | Overflow::LossyReaders => self.publish(payload),
                        // A batch waits also where single events would be dropped: it says how far it came.
                        Overflow::DropNewest | Overflow::Divert => {
                            self.publish_timeout(payload, Duration::MAX)
                        }
                    };
                    sent.map_err(|error| BatchError { published, error })?;
                    1
                }
                count => count,
            };
        }
        Ok(())
    }

    /// Publishes copies of as many payloads as there is room for, in order, and returns how many.
    ///
    /// A batch costs one look for sleeping readers and, in a queue or topic, one step of the shared tail for up to 64
    /// events.
    pub fn try_publish_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<usize, SendError> {
        self.check_batch(payloads)?;
        Ok(self.put_batch(payloads))
    }

    fn check_batch<P: AsRef<[u8]>>(&self, payloads: &[P]) -> Result<(), SendError> {
        match payloads.iter().map(|payload| payload.as_ref().len()).max() {
            Some(longest) => self.plain_header(longest).map(|_| ()),
            None if self.member.is_forked() => Err(SendError::Forked),
            None => Ok(()),
        }
    }

    /// Publishes as many payloads as there is room for; how many. They have been checked.
    fn put_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> usize {
        let batch = OpenBatch::begin(self, payloads.len());
        let sender = &mut *batch.sender;
        let mut published = 0;
        loop {
            published += sender.put_batch_fast(&payloads[published..]);
            let Some(payload) = payloads.get(published).map(AsRef::as_ref) else { break };
            // Fails only where the payload is longer than when it was checked: it is published by itself, and refused.
            let Ok(header) = sender.plain_header(payload.len()) else { break };
            sender.tell();
            match sender.ring.claim(frame::body_bytes(header) as u64) {
                Ok(claim) => sender.fill(claim, header, payload),
                Err(refused) => {
                    // Somebody who publishes only in batches must get past the dead, too: by the next call.
                    sender.note_blocked(refused);
                    sender.ring.repair(refused, &sender.member.peers);
                    break;
                }
            }
            published += 1;
        }
        published
    }

    /// Publishes the first of `payloads`, as far as nothing is in the way; how many.
    #[inline(always)]
    fn put_batch_fast<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> usize {
        if self.easy.is_forked() {
            return 0;
        }
        let data = self.member.memories.data;
        self.ring.publish_all_fast(payloads.iter().map(AsRef::as_ref), |body_offset, payload| {
            // SAFETY: as in `put_fast`.
            unsafe { copy(payload.as_ptr(), data.address(body_offset), payload.len()) };
        })
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.member.channel
    }

    /// Events published by this handle; 0 in a fork child.
    pub fn events(&self) -> u64 {
        if self.member.is_forked() { 0 } else { self.ring.tally().events }
    }

    /// Largest payload, in bytes, that the channel takes (without a trace context or origin).
    pub fn payload_max(&self) -> usize {
        let stamp_bytes = if self.stamp.is_some() { frame::extension_bytes(STAMPED) } else { 0 };
        (self.ring.body_max() as usize).saturating_sub(stamp_bytes)
    }

    /// How many live readers (subscribers, workers, taps) have joined: they receive what is published from now on.
    /// A system call for each. 0 in a fork child.
    pub fn readers(&self) -> usize {
        self.member.count_joined()
    }

    /// The header word of an event without attributes, or why there is none.
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
        // Of a small slot the extensions may be more than there is.
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
        // SAFETY: the claim's body has this many bytes, inside the data, which nobody else touches before the
        // commit; the payload is the caller's own memory.
        unsafe { copy(payload.as_ptr(), at, payload.len()) };
        self.ring.commit(claim, header);
    }

    /// After `events` events have become visible: wakes readers.
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

    /// Before a claim that is not easy.
    #[inline]
    fn prepare(&mut self) {
        if self.open.is_some() {
            self.abort_forgotten();
        }
        self.tell();
    }

    /// Gives up a claim whose destructor did not run ([`std::mem::forget`]). Nobody can write it any more: it borrowed
    /// this handle. No other room was claimed since, because nothing is easy while a claim is open.
    #[cold]
    fn abort_forgotten(&mut self) {
        self.easy = self.usual;
        if let Some(claim) = self.open.take().filter(|_| !self.member.is_forked()) {
            self.ring.abort(claim);
            // Readers may wait behind it.
            self.published(1);
        }
    }

    /// Tells observers how far this publisher has come, where it does not at each event. They add what they find
    /// committed behind that position, which must therefore be retained: it is renewed on the slow path that every
    /// eighth of the ring takes.
    fn tell(&mut self) {
        // In a fork child the maps are not there.
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

/// A batch that is being published. It is ended also when a caller's [`AsRef`] panics in the middle: what was claimed for
/// it is given up, and readers are woken for what is visible.
struct OpenBatch<'a, R: PublishEnd> {
    sender: &'a mut Sender<R>,
    events_before: u64,
}

impl<'a, R: PublishEnd> OpenBatch<'a, R> {
    fn begin(sender: &'a mut Sender<R>, events: usize) -> Self {
        sender.prepare();
        let events_before = sender.ring.tally().events;
        sender.ring.begin_batch(events);
        OpenBatch { sender, events_before }
    }
}

impl<R: PublishEnd> Drop for OpenBatch<'_, R> {
    fn drop(&mut self) {
        self.sender.ring.end_batch();
        let published = self.sender.ring.tally().events - self.events_before;
        // Also if nothing was published: readers may wait behind what was given up.
        self.sender.published(published.max(1));
    }
}
