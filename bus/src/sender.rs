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

use std::time::Duration;

use bytemuck::NoUninit;

use crate::bus::{Channel, SendOptions};
use crate::channel::Overflow;
use crate::copy::copy;
use crate::diversion::Diversion;
use crate::error::SendError;
use crate::event::{Attributes, Origin, Sequence};
use crate::layout;
use crate::member::{Member, Memories, SharedFutex};
use crate::memory::{Edge, Mapped, Memory};
use crate::opaque::opaque;
use crate::operate::StuckReader;
use crate::os::fork::ForkGuard;
use crate::os::stamp::StampClock;
use crate::outlet::{Outlet, Repair};
use crate::refusal::{Refusal, View};
use crate::ring::frame::{self, STAMPED};
use crate::ring::park::{Sleeper, Waker};
use crate::ring::pressure;
use crate::ring::registry;
use crate::ring::sequence::Sequences;
use crate::wait::{Step, Wait, Waiting};

/// Operations between two notes of the time, for observers.
const SEEN_EVERY: u64 = 1024;

/// Repairs on the way to one claim: more than there are dead readers, or tickets in a dead producer's hands. Bounded,
/// because what there is to repair is read from shared memory.
const REPAIRS_MAX: usize = 320;

/// A registered producer of a channel. See the [module](self).
#[derive(Debug)]
pub struct Sender<R: Outlet> {
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
    diversion: Option<Box<Diversion>>,
    diverted: u64,
    dropped: u64,
    /// How often there was no room.
    blocked: u64,
    /// What was in the way the last time.
    refused: Option<R::Refused>,
    /// Events and payload bytes published by this handle.
    events: u64,
    bytes: u64,
    /// The position that observers were told last, where they are not told each event.
    told: u64,
    /// The member's guard; one that tells every address space for a fork when nothing is ever easy.
    easy: ForkGuard,
    /// What this handle's name numbers its events with.
    numbers: Option<Numbers>,
}

/// The sequence of a named publisher.
#[derive(Debug)]
struct Numbers {
    table: Sequences<Mapped>,
    index: usize,
    /// What stands for the name in its events.
    publisher: u64,
    last: u64,
}

impl Numbers {
    fn of(member: &Member, name: &str) -> Option<Numbers> {
        let table = Sequences::new(member.memories.ring, member.channel.header().producers_max as usize);
        let index = member.sequence?;
        let last = table.last(index);
        Some(Numbers { table, index, publisher: Sequence::publisher_id(name), last })
    }
}

impl<R: Outlet> Sender<R> {
    pub(crate) fn new(
        ring: R,
        member: Member,
        options: &SendOptions,
        wakes: u32,
        diversion: Option<Box<Diversion>>,
    ) -> Sender<R> {
        let header = member.channel.header();
        let wait = options.wait;
        let is_never_easy = header.stamp || header.credits > 0;
        Sender {
            easy: if is_never_easy { member.guard.never() } else { member.guard },
            stuck: options.evict_stuck.then(StuckReader::default),
            waker: Waker::new(layout::EVENTS_WAKE, layout::CONSUMERS_PARKED),
            wakes,
            wait,
            overflow: header.overflow,
            stamp: header.stamp.then(StampClock::new),
            diversion,
            diverted: 0,
            dropped: 0,
            refused: None,
            numbers: Numbers::of(&member, &options.name),
            blocked: 0,
            events: 0,
            bytes: 0,
            told: ring.position_committed(),
            ring,
            member,
        }
    }

    /// Publishes a copy of `payload`, or says at once why not. Returns the event's position.
    ///
    /// Never blocks and makes no system call, but for waking a sleeping reader.
    #[inline]
    pub fn try_publish(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        match self.put_easily(payload) {
            Some(position) => Ok(position),
            None => self.try_publish_slowly(payload),
        }
    }

    #[inline(never)]
    fn try_publish_slowly(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        let header = self.plain_header(payload.len())?;
        self.tell();
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
        match self.put_easily(payload) {
            Some(position) => Ok(position),
            None => self.publish_slowly(payload),
        }
    }

    #[inline(never)]
    fn publish_slowly(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        let header = self.plain_header(payload.len())?;
        self.tell();
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
    fn put_easily(&mut self, payload: &[u8]) -> Option<u64> {
        let claim = self.claim_easily(payload.len())?;
        let at = self.member.memories.data.address(self.ring.body_offset(claim));
        // SAFETY: the claim's body has this many bytes, inside the data, which nobody else touches before the
        // commit; the payload is the caller's own memory.
        unsafe { copy(payload.as_ptr(), at, payload.len()) };
        self.ring.commit_easily(claim, frame::header(payload.len() as u32, 0, 0));
        self.published(1, payload.len() as u64);
        Some(self.ring.position(claim))
    }

    /// Publishes a copy of `payload`, waiting at most `timeout` for room.
    pub fn publish_timeout(&mut self, payload: &[u8], timeout: Duration) -> Result<u64, SendError> {
        let header = self.plain_header(payload.len())?;
        self.tell();
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

    /// The number of the last event that the channel has from this handle's name, 0 if none: where a publisher that was
    /// killed goes on. `None` unless the handle was opened with [`SendOptions::sequenced`].
    pub fn resume_point(&self) -> Option<u64> {
        self.numbers.as_ref().map(|numbers| numbers.last)
    }

    /// Publishes event `number` of this handle's name with attributes, waiting as [`Self::publish`] does. Numbers count
    /// up, with gaps or without. An event whose number is not above [`Self::resume_point`] was published before: it is
    /// dropped, and the result is `None`; otherwise the event's position. The event carries name and number
    /// ([`Event::sequence`](crate::Event::sequence)).
    ///
    /// The number is kept in the channel, so that a publisher which is killed at any instruction, opens again under its
    /// name and publishes everything anew leaves out nothing and publishes nothing twice. (In a queue or topic whose
    /// other producers have gone round the whole ring in between, the one event that was in work may come twice, with
    /// the same number.) As long as the channel exists; with a journal also when it is made again. It is never diverted:
    /// where others would be, it waits.
    ///
    /// # Errors
    /// [`SendError::NotSequenced`]; otherwise as [`Self::publish`].
    pub fn publish_numbered(
        &mut self,
        number: u64,
        payload: &[u8],
        attributes: &Attributes,
    ) -> Result<Option<u64>, SendError> {
        self.publish_number(number, payload, attributes, None)
    }

    /// As [`Self::publish_numbered`], waiting at most `timeout` for room; zero says at once when there is none.
    pub fn publish_numbered_timeout(
        &mut self,
        number: u64,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Duration,
    ) -> Result<Option<u64>, SendError> {
        self.publish_number(number, payload, attributes, Some(timeout))
    }

    fn publish_number(
        &mut self,
        number: u64,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Option<Duration>,
    ) -> Result<Option<u64>, SendError> {
        if self.member.is_forked() {
            return Err(SendError::Forked);
        }
        let numbers = self.numbers.as_ref().ok_or(SendError::NotSequenced)?;
        if number <= numbers.last {
            return Ok(None);
        }
        let sequence = Some(Sequence { publisher: numbers.publisher, number });
        let waits = self.overflow == Overflow::Divert && timeout.is_none();
        let timeout = if waits { Some(Duration::MAX) } else { timeout };
        let mut claim = self.claim_inner(payload.len(), &Attributes { sequence, ..*attributes }, timeout)?;
        claim.copy_from_slice(payload);
        let position = claim.position();
        claim.sender.number(|numbers| numbers.table.begin(numbers.index, position, number));
        let position = claim.commit();
        self.number(|numbers| {
            numbers.table.end(numbers.index, number);
            numbers.last = number;
        });
        Ok(Some(position))
    }

    fn number(&mut self, act: impl FnMut(&mut Numbers)) {
        self.numbers.iter_mut().for_each(act);
    }

    /// Claims room for a payload of `payload_bytes` to be written in place, waiting as [`Self::publish`] does.
    ///
    /// What is written in place cannot be diverted: on a channel that diverts, this says [`SendError::Full`] at once.
    ///
    /// The bytes are what the ring held before. Fill them with ordinary stores and then [`Claim::commit`]; dropping
    /// the claim aborts it. Asynchronous I/O into a claim may land after the claim, or the process, is gone: copy.
    #[inline]
    pub fn claim(&mut self, payload_bytes: usize) -> Result<Claim<'_, R>, SendError> {
        match self.claim_easily(payload_bytes) {
            Some(claim) => Ok(self.claimed(claim, payload_bytes)),
            None => self.claim_inner(payload_bytes, &Attributes::default(), None),
        }
    }

    /// As [`Self::claim`], with attributes.
    pub fn claim_with(
        &mut self,
        payload_bytes: usize,
        attributes: &Attributes,
    ) -> Result<Claim<'_, R>, SendError> {
        self.claim_inner(payload_bytes, attributes, None)
    }

    /// As [`Self::claim_with`], waiting at most `timeout` for room; zero says at once when there is none.
    pub fn claim_with_timeout(
        &mut self,
        payload_bytes: usize,
        attributes: &Attributes,
        timeout: Duration,
    ) -> Result<Claim<'_, R>, SendError> {
        self.claim_inner(payload_bytes, attributes, Some(timeout))
    }

    /// As [`Self::claim`], but says at once when there is no room.
    #[inline]
    pub fn try_claim(&mut self, payload_bytes: usize) -> Result<Claim<'_, R>, SendError> {
        match self.claim_easily(payload_bytes) {
            Some(claim) => Ok(self.claimed(claim, payload_bytes)),
            None => self.claim_inner(payload_bytes, &Attributes::default(), Some(Duration::ZERO)),
        }
    }

    /// Claims room where nothing is in the way: no stamp, no look at the cursors, no retry.
    #[inline(always)]
    fn claim_easily(&mut self, payload_bytes: usize) -> Option<R::Claim> {
        if self.easy.is_forked() { None } else { self.ring.claim_easily(payload_bytes as u64) }
    }

    #[inline(always)]
    fn claimed(&mut self, claim: R::Claim, payload_bytes: usize) -> Claim<'_, R> {
        let at = self.member.memories.data.address(self.ring.body_offset(claim));
        Claim {
            header: frame::header(payload_bytes as u32, 0, 0),
            // SAFETY: the claim's body has this many bytes, inside the data, which nobody else touches before it is
            // committed.
            payload: unsafe { std::slice::from_raw_parts_mut(at, payload_bytes) },
            claim: Some(claim),
            sender: self,
        }
    }

    fn claim_inner(
        &mut self,
        payload_bytes: usize,
        attributes: &Attributes,
        timeout: Option<Duration>,
    ) -> Result<Claim<'_, R>, SendError> {
        let mut attributes = *attributes;
        let stamps = self.stamp.is_some() && attributes.published_ns.is_none();
        if stamps {
            attributes.published_ns = Some(0);
        }
        let flags = attributes.flags();
        let extension_bytes = frame::extension_bytes(flags);
        let body_bytes = self.check(payload_bytes, extension_bytes)?;
        self.tell();
        let claim = match (self.ring.claim(body_bytes as u64), timeout) {
            (Ok(claim), _) => claim,
            (Err(refused), None) => self.claim_by_policy(body_bytes as u64, refused)?,
            (Err(refused), Some(Duration::ZERO)) => self.claim_at_once(body_bytes as u64, refused)?,
            (Err(refused), timeout) => self.claim_waiting(body_bytes as u64, refused, timeout)?,
        };
        if let Some(clock) = self.stamp.as_mut().filter(|_| stamps) {
            // After the wait for room, as where events are copied in.
            attributes.published_ns = Some(clock.now_ns());
        }
        let mut at = self.member.memories.data.address(self.ring.body_offset(claim));
        attributes.write(|bytes| {
            // SAFETY: the claim has room for the extensions that the flags announce, and they are written in order.
            unsafe { copy(bytes.as_ptr(), at, bytes.len()) };
            // SAFETY: as above.
            at = unsafe { at.add(bytes.len()) };
        });
        Ok(Claim {
            header: frame::header(body_bytes, attributes.type_id, flags),
            // SAFETY: the payload follows the extensions inside the claimed room, which nobody else touches until
            // it is committed.
            payload: unsafe { std::slice::from_raw_parts_mut(at, payload_bytes) },
            claim: Some(claim),
            sender: self,
        })
    }

    /// Publishes copies of all payloads, in order, waiting for room without end, whatever the channel's policy. Readers may see them a few at a
    /// time. On an error the number of those already published is in the result.
    pub fn publish_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<(), (usize, SendError)> {
        for payload in payloads {
            self.plain_header(payload.as_ref().len()).map_err(|error| (0, error))?;
        }
        let mut published = 0;
        while published < payloads.len() {
            published += match self.try_publish_batch(&payloads[published..]) {
                Ok(0) => {
                    let payload = payloads[published].as_ref();
                    let sent = match self.overflow {
                        Overflow::Block | Overflow::LossyReaders => self.publish(payload),
                        // A batch waits also where single events would be dropped: it says how far it came.
                        Overflow::DropNewest | Overflow::Divert => {
                            self.publish_timeout(payload, Duration::MAX)
                        }
                    };
                    sent.map_err(|error| (published, error))?;
                    1
                }
                Ok(count) => count,
                Err(error) => return Err((published, error)),
            };
        }
        Ok(())
    }

    /// Publishes copies of as many payloads as there is room for, in order, and returns how many.
    ///
    /// A batch costs one commit (stream), or one step of the shared tail (queue, topic), for many events.
    pub fn try_publish_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<usize, SendError> {
        for payload in payloads {
            self.plain_header(payload.as_ref().len())?;
        }
        self.ring.begin_batch(payloads.len());
        let mut published = 0;
        for payload in payloads {
            let payload = payload.as_ref();
            // Cannot fail: checked above.
            let Ok(header) = self.plain_header(payload.len()) else { break };
            let claim = match self.ring.claim(frame::body_bytes(header) as u64) {
                Ok(claim) => claim,
                Err(refused) => {
                    // Somebody who publishes only in batches must get past the dead, too: by the next call.
                    self.note_blocked(refused);
                    self.ring.repair(refused, &self.member.peers);
                    break;
                }
            };
            self.fill(claim, header, payload);
            published += 1;
        }
        self.ring.end_batch();
        self.published(published as u64, payloads[..published].iter().map(|p| p.as_ref().len() as u64).sum());
        self.tell();
        Ok(published)
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.member.channel
    }

    /// Events published by this handle; 0 in a fork child.
    pub fn events(&self) -> u64 {
        if self.member.is_forked() { 0 } else { self.events }
    }

    /// Events dropped by this handle because the channel was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Events of this handle that went to the channel that this one diverts to.
    pub fn diverted(&self) -> u64 {
        self.diverted
    }

    /// Whether the channel is under pressure: from when its depth reaches the high watermark until it is down to the low
    /// one ([`ChannelOptions::watermarks`](crate::ChannelOptions::watermarks); never without). While it is not: two
    /// loads of words that rarely change. While it is, this measures the depth, so that it is seen to fall also when
    /// nobody publishes: a look at every reader and, in a queue, at each event published since the last look.
    ///
    /// The first event that brings the depth to the high mark raises the pressure, whoever publishes it, before its
    /// call returns. A hint, in time for slowing down; it holds nobody back.
    #[inline]
    pub fn is_under_pressure(&mut self) -> bool {
        !self.member.is_forked()
            && pressure::is_high(pressure::load(&self.member.memories.ring))
            && self.ring.look_at_pressure()
    }

    /// Why there was no room, the last time that a call of this handle found none: who was in the way, and how far
    /// behind it is now. `None` when there always was room. Takes a microsecond or so, and no system call.
    pub fn refusal(&self) -> Option<Refusal> {
        let refused = self.refused.filter(|_| !self.member.is_forked())?;
        let Member { channel, memories, .. } = &self.member;
        let view = View { header: channel.header(), memories, published: self.ring.position_committed() };
        Some(Refusal::of(self.ring.obstacle(refused), &view))
    }

    /// Largest payload, in bytes, that the channel takes (without a trace context or origin).
    pub fn payload_max(&self) -> usize {
        self.ring.body_max() as usize - if self.stamp.is_some() { frame::extension_bytes(STAMPED) } else { 0 }
    }

    /// How many live readers (subscribers, workers, taps) have joined: they receive what is published from now on.
    /// A system call for each.
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
        let body_bytes = payload_bytes + extension_bytes;
        let max = (self.ring.body_max()).min(u32::MAX as u64) as usize;
        if body_bytes > max {
            return Err(SendError::TooLong { bytes: payload_bytes, max: max - extension_bytes });
        }
        Ok(body_bytes as u32)
    }

    #[inline(always)]
    fn put(&mut self, claim: R::Claim, header: u64, payload: &[u8]) -> u64 {
        self.fill(claim, header, payload);
        self.published(1, payload.len() as u64);
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

    /// After events have become visible: counts them and wakes readers.
    #[inline(always)]
    fn published(&mut self, events: u64, bytes: u64) {
        // One by one, as in `Reader::count`.
        self.events = opaque(self.events + events);
        self.bytes += bytes;
        if R::TELLS_EACH {
            self.member.note(layout::BYTES, self.bytes);
            self.member.note(layout::EVENTS, self.events);
            if self.events.is_multiple_of(SEEN_EVERY) {
                self.member.seen();
            }
        }
        let Memories { ring, acks, .. } = &self.member.memories;
        self.waker.wake(ring, acks, &SharedFutex(*ring), || {
            self.wakes.saturating_mul(events.min(u32::MAX as u64) as u32)
        });
    }

    /// Tells observers how far this publisher has come, where it does not at each event. They add what they find
    /// committed behind that position, which must therefore be retained: it is renewed on the slow path that every
    /// eighth of the ring takes.
    fn tell(&mut self) {
        if R::TELLS_EACH {
            return;
        }
        let position = self.ring.position_committed();
        if position - self.told >= self.member.channel.header().capacity_bytes / 16 {
            self.tell_now(position);
            self.member.seen();
        }
    }

    fn tell_now(&mut self, position: u64) {
        self.told = position;
        self.member.tell(position, self.events, self.bytes);
    }

    #[cold]
    fn claim_at_once(&mut self, body_bytes: u64, refused: R::Refused) -> Result<R::Claim, SendError> {
        self.member.seen();
        self.claim_past_the_dead(body_bytes, refused).map_err(|(refused, repair)| {
            self.note_blocked(refused);
            match repair {
                Repair::NeedsWorker if self.has_no_worker() => SendError::NoWorker,
                _ => SendError::Full,
            }
        })
    }

    /// Tells observers that there was no room.
    #[cold]
    fn note_blocked(&mut self, refused: R::Refused) {
        self.refused = Some(refused);
        self.blocked += 1;
        self.member.note(layout::BLOCKED, self.blocked);
    }

    /// Repairs what is in the way, and claims again, as long as that helps: a repair passes over one of the dead, or
    /// finishes one ticket, and there may be many.
    fn claim_past_the_dead(
        &mut self,
        body_bytes: u64,
        mut refused: R::Refused,
    ) -> Result<R::Claim, (R::Refused, Repair)> {
        for _ in 0..REPAIRS_MAX {
            let repair = self.ring.repair(refused, &self.member.peers);
            if repair != Repair::Retry {
                return Err((refused, repair));
            }
            match self.ring.claim(body_bytes) {
                Ok(claim) => return Ok(claim),
                Err(again) => refused = again,
            }
        }
        Err((refused, Repair::Wait))
    }

    fn has_no_worker(&self) -> bool {
        self.member.others_live(|policy| policy & 0xFF == registry::ROLE_WORKER) == Some(false)
    }

    #[cold]
    fn claim_by_policy(&mut self, body_bytes: u64, refused: R::Refused) -> Result<R::Claim, SendError> {
        match self.overflow {
            // With lossy readers only a topic's slot that is being written refuses, for a moment.
            Overflow::Block | Overflow::LossyReaders => self.claim_waiting(body_bytes, refused, None),
            Overflow::DropNewest | Overflow::Divert => {
                // Repaired first, so that a dead reader does not make the channel drop for ever.
                let (refused, _) = match self.claim_past_the_dead(body_bytes, refused) {
                    Ok(claim) => return Ok(claim),
                    Err(refused) => refused,
                };
                self.note_blocked(refused);
                Err(if self.overflow == Overflow::Divert { SendError::Full } else { self.drop_one() })
            }
        }
    }

    /// Counts an event that is lost for want of room.
    fn drop_one(&mut self) -> SendError {
        self.dropped += 1;
        self.member.note(layout::LOST, self.dropped);
        // Counted for the channel too; other producers count in the same word. No order is needed.
        self.member.memories.ring.fetch_add(layout::DROPPED, 1, Edge::Plain);
        SendError::Dropped
    }

    /// After `error`: where that is a want of room, publishes the event in the channel that this one diverts to.
    #[cold]
    fn divert(&mut self, error: SendError, payload: &[u8], attributes: &Attributes) -> SendError {
        let Some(diversion) = self.diversion.as_mut().filter(|_| error == SendError::Full) else {
            return error;
        };
        let header = self.member.channel.header();
        let mut attributes = *attributes;
        if let Some(clock) = &mut self.stamp {
            attributes.published_ns.get_or_insert_with(|| clock.now_ns());
        }
        attributes.origin.get_or_insert(Origin {
            channel: header.channel_word(),
            incarnation: header.incarnation,
            position: self.ring.position_committed(),
            attempts: 0,
        });
        match diversion.try_publish_with(payload, &attributes) {
            Ok(position) => {
                self.diverted += 1;
                // As `DROPPED`.
                self.member.memories.ring.fetch_add(layout::DIVERTED, 1, Edge::Plain);
                SendError::Diverted { position }
            }
            Err(_) => self.drop_one(),
        }
    }

    #[cold]
    fn claim_waiting(
        &mut self,
        body_bytes: u64,
        refused: R::Refused,
        timeout: Option<Duration>,
    ) -> Result<R::Claim, SendError> {
        self.note_blocked(refused);
        let mut waiting = Waiting::new(self.wait, timeout);
        let mut sleeper = Sleeper::default();
        let mut refused = refused;
        let result = loop {
            match waiting.step() {
                Step::Poll => {}
                Step::TimedOut => {
                    self.refused = Some(refused);
                    let hopeless = self.ring.repair(refused, &self.member.peers) == Repair::NeedsWorker;
                    break Err(if hopeless && self.has_no_worker() {
                        SendError::NoWorker
                    } else {
                        SendError::TimedOut
                    });
                }
                Step::Probe => {
                    match self.claim_past_the_dead(body_bytes, refused) {
                        Ok(claim) => break Ok(claim),
                        Err((again, _)) => refused = again,
                    }
                    if let (Some(stuck), Some(reader)) = (&mut self.stuck, self.ring.gate(refused)) {
                        stuck.watch(&self.member.channel, &self.member.memories.acks, reader);
                    }
                    self.member.seen();
                    self.member.note(layout::WAIT_SINCE_NS, waiting.since_ns());
                    self.member.note(layout::WAIT_POSITION, self.ring.blocked_at(refused));
                }
                Step::Sleep(slice_ns) => {
                    let mut claim = Err(refused);
                    self.member.memories.sleep_for_space(&mut sleeper, slice_ns, || {
                        claim = self.ring.claim(body_bytes);
                        claim.is_ok()
                    });
                    if let Ok(claim) = claim {
                        break Ok(claim);
                    }
                }
            }
            match self.ring.claim(body_bytes) {
                Ok(claim) => break Ok(claim),
                Err(again) => refused = again,
            }
            if self.member.is_forked() {
                break Err(SendError::Forked);
            }
        };
        if waiting.since_ns() != 0 && !self.member.is_forked() {
            self.member.note(layout::WAIT_SINCE_NS, 0);
        }
        result
    }
}

/// Room for one event, to be filled in place. Dereferences to the payload's bytes.
#[derive(Debug)]
pub struct Claim<'a, R: Outlet> {
    sender: &'a mut Sender<R>,
    claim: Option<R::Claim>,
    header: u64,
    payload: &'a mut [u8],
}

impl<R: Outlet> Claim<'_, R> {
    /// Publishes the event with all of the payload. Returns its position.
    #[inline]
    pub fn commit(self) -> u64 {
        let all = self.payload.len();
        self.commit_bytes(all)
    }

    /// Publishes the event with the first `payload_bytes` of the payload, at most what was claimed.
    #[inline]
    pub fn commit_bytes(mut self, payload_bytes: usize) -> u64 {
        let unused = self.payload.len().saturating_sub(payload_bytes) as u64;
        let Some(claim) = self.claim.take() else { return 0 };
        if self.sender.member.is_forked() {
            return 0; // The claim belongs to the parent.
        }
        self.sender.ring.commit(claim, self.header - unused);
        self.sender.published(1, self.payload.len() as u64 - unused);
        self.sender.ring.position(claim)
    }

    /// The position it will have.
    pub fn position(&self) -> u64 {
        self.claim.map_or(0, |claim| self.sender.ring.position(claim))
    }

    /// Gives the room back. Nothing was ever visible. Dropping the claim does the same.
    pub fn abort(self) {}
}

impl<R: Outlet> Drop for Sender<R> {
    fn drop(&mut self) {
        if !R::TELLS_EACH && !self.member.is_forked() {
            self.tell_now(self.ring.position_committed());
        }
    }
}

impl<R: Outlet> Drop for Claim<'_, R> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take()
            && !self.sender.member.is_forked()
        {
            self.sender.ring.abort(claim);
        }
    }
}

impl<R: Outlet> std::ops::Deref for Claim<'_, R> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.payload
    }
}

impl<R: Outlet> std::ops::DerefMut for Claim<'_, R> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.payload
    }
}
