//! An event as a reader sees it, and the attributes that travel with its payload.
//!
//! The body of an event is its extensions, then the payload (see [`railbus_ring::frame`]). An
//! extension is decoded only when it is asked for.

use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use bytemuck::AnyBitPattern;
use railbus_os::clock;
use railbus_ring::frame::{self, JOB, KEYED, ORIGIN, REPLAYED, SEQUENCED, STAMPED, TRACED};
use railbus_ring::layout;

use crate::setters::setters;
use crate::unique_key::UniqueKey;

/// A W3C trace context, carried unchanged from publisher to reader. It is parsed from and displayed as
/// the text of a `traceparent` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span that published the event.
    pub span_id: [u8; 8],
    /// Trace flags: 1 means sampled.
    pub flags: u8,
}

impl TraceContext {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = self.flags;
        bytes
    }

    fn decode(bytes: &[u8]) -> TraceContext {
        let mut context = TraceContext { flags: bytes[24], ..TraceContext::default() };
        context.trace_id.copy_from_slice(&bytes[..16]);
        context.span_id.copy_from_slice(&bytes[16..24]);
        context
    }
}

/// Where a dead letter, or a diverted event, comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// First 8 bytes of the queue's channel id.
    pub channel: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// The event's position there. Channel, incarnation and position together identify the event,
    /// so a letter that was delivered twice can be recognised. A diverted event has no position
    /// there: this is how far that channel was.
    pub position: u64,
    /// How often it was delivered without success; 0 for a diverted event, and for one that expired
    /// before it was delivered. At most 2^32 - 1.
    pub attempts: u64,
    /// Whether it is a dead letter because its time was over, and not because of its attempts.
    pub expired: bool,
}

impl Origin {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let attempts = self.attempts.min(u32::MAX.into()) | u64::from(self.expired) << 32;
        for (i, word) in [self.channel, self.incarnation, self.position, attempts].into_iter().enumerate() {
            bytes[i * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Origin {
        Origin {
            channel: word(bytes, 0),
            incarnation: word(bytes, 8),
            position: word(bytes, 16),
            attempts: word(bytes, frame::ORIGIN_ATTEMPTS) & u64::from(u32::MAX),
            expired: word(bytes, frame::ORIGIN_ATTEMPTS) >> 32 & 1 != 0,
        }
    }
}

/// The number that a named publisher gave an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence {
    /// The publisher, as the [`Sequence::publisher_id`] of its name.
    pub publisher: u64,
    /// The event's number. Each is larger than the one before.
    pub number: u64,
}

impl Sequence {
    pub(crate) const BYTES: usize = 16;

    /// The number that represents a publisher's name in its events: the name's 64-bit FNV-1a.
    pub fn publisher_id(name: &str) -> u64 {
        layout::fnv1a(name.as_bytes())
    }

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.publisher.to_le_bytes());
        bytes[8..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Sequence {
        Sequence { publisher: word(bytes, 0), number: word(bytes, 8) }
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Where an event's bytes are. The protocol has checked the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    pub(crate) body: *const u8,
    pub(crate) header: u64,
    pub(crate) position: u64,
}

impl Located {
    /// A placeholder for no event.
    pub(crate) const NOWHERE: Located = Located { body: std::ptr::null(), header: 0, position: 0 };
}

// SAFETY: it locates bytes that are only read. The code that makes an `Event` of it guarantees how
// long they are there, on any thread.
unsafe impl Send for Located {}
// SAFETY: as above.
unsafe impl Sync for Located {}

/// An event. It dereferences to its payload.
///
/// The bytes lie in the ring itself, or for a lossy reader in its own buffer. They stay as they are
/// while the event is borrowed. In safe code that also holds when this program or another process
/// evicts the very reader or worker that has lent them ([`Channel::evict`](crate::Channel::evict),
/// `railbus evict`, a policy).
///
/// A hostile process that may write the channel's files can change an event at any time. If you do
/// not trust all of these processes, copy the event first and check the copy.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    located: Located,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Event<'a> {
    /// # Safety
    /// The body must be readable, with the length its header says, for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn new(located: Located) -> Event<'a> {
        Event { located, borrowed: PhantomData }
    }

    /// The event whose payload lies at `payload`, as [`Self::payload`] returned it. It is for code
    /// that keeps an event as its parts, such as the C ABI. `payload_bytes`, `type_id`, `flags` and
    /// `position` are the event's own.
    ///
    /// # Safety
    /// The parts come from one event, and what it borrowed is still borrowed for `'a`.
    #[inline]
    pub unsafe fn from_parts(
        payload: *const u8,
        payload_bytes: u32,
        type_id: u16,
        flags: u8,
        position: u64,
    ) -> Event<'a> {
        let extension_bytes = frame::extension_bytes(flags);
        let header = frame::header(payload_bytes + extension_bytes as u32, type_id, flags);
        // SAFETY: the body begins with the extensions that the flags name, and the payload follows
        // them.
        let body = unsafe { payload.sub(extension_bytes) };
        Event { located: Located { body, header, position }, borrowed: PhantomData }
    }

    /// Where it lies.
    pub(crate) fn located(&self) -> Located {
        self.located
    }

    #[inline(always)]
    pub(crate) fn body(&self) -> &'a [u8] {
        let bytes = frame::body_bytes(self.located.header) as usize;
        // SAFETY: by the contract of `new`.
        unsafe { std::slice::from_raw_parts(self.located.body, bytes) }
    }

    /// The payload.
    #[inline(always)]
    pub fn payload(&self) -> &'a [u8] {
        let body = self.body();
        if self.flags() == 0 { body } else { &body[frame::extension_bytes(self.flags())..] }
    }

    /// The event's position in its channel: a byte offset in a stream, a ticket in a queue or
    /// topic. It never wraps. With the channel's id and incarnation it identifies the event, and no
    /// other event gets it.
    #[inline(always)]
    pub fn position(&self) -> u64 {
        self.located.position
    }

    /// The type id that the publisher gave it, or 0.
    #[inline(always)]
    pub fn type_id(&self) -> u16 {
        frame::type_id(self.located.header)
    }

    /// Its header word; see [`railbus_ring::frame`].
    pub(crate) fn header_word(&self) -> u64 {
        self.located.header
    }

    /// Its flags; see [`railbus_ring::frame`].
    #[inline(always)]
    pub fn flags(&self) -> u8 {
        frame::flags(self.located.header)
    }

    /// Whether it was replayed from a journal.
    pub fn is_replayed(&self) -> bool {
        self.flags() & REPLAYED != 0
    }

    /// When it was published, in ns of CLOCK_REALTIME, if the channel or the publisher stamps. It
    /// is exact to some tens of ns, but a clock that somebody sets is noticed up to a ms later
    /// ([`railbus_os::stamp`]). For an event written in place it is the time of the claim.
    pub fn published_ns(&self) -> Option<u64> {
        (self.flags() & STAMPED != 0).then(|| word(self.body(), 0))
    }

    /// Its trace context, if it has one.
    pub fn trace(&self) -> Option<TraceContext> {
        let at = frame::extension_bytes(self.flags() & STAMPED);
        (self.flags() & TRACED != 0).then(|| TraceContext::decode(&self.body()[at..]))
    }

    /// Where it comes from, if it is a dead letter or was diverted.
    pub fn origin(&self) -> Option<Origin> {
        let at = frame::extension_bytes(self.flags() & (STAMPED | TRACED));
        (self.flags() & ORIGIN != 0).then(|| Origin::decode(&self.body()[at..]))
    }

    /// The number that its publisher gave it, if the publisher numbers its events.
    pub fn sequence(&self) -> Option<Sequence> {
        let at = frame::extension_bytes(self.flags() & (STAMPED | TRACED | ORIGIN));
        (self.flags() & SEQUENCED != 0).then(|| Sequence::decode(&self.body()[at..]))
    }

    /// Its key, if it has one. In a queue made with
    /// [`ChannelOptions::keyed`](crate::ChannelOptions::keyed), events with one key are worked on
    /// one after the other, in order.
    pub fn key(&self) -> Option<u64> {
        (self.flags() & KEYED != 0).then(|| word(self.body(), frame::key_offset(self.flags())))
    }

    /// A word of its job extension. 0 stands for none.
    fn job_word(&self, at: usize) -> Option<u64> {
        let has_job = self.flags() & JOB != 0;
        has_job.then(|| word(self.body(), frame::job_offset(self.flags()) + at)).filter(|&word| word != 0)
    }

    /// The time before which no worker takes it, in ns of CLOCK_REALTIME, if it has one. In a dead
    /// letter it is the time that the event had.
    pub fn not_before_ns(&self) -> Option<u64> {
        self.job_word(0)
    }

    /// The time from which on it is expired, in ns of CLOCK_REALTIME, if it has one. In a dead letter
    /// it is the time that the event had.
    pub fn expires_ns(&self) -> Option<u64> {
        self.job_word(8)
    }

    /// The key with which it was published by
    /// [`Producer::publish_unique`](crate::Producer::publish_unique), if it was.
    pub fn unique_key(&self) -> Option<UniqueKey> {
        let word = |at: usize| self.job_word(frame::JOB_UNIQUE + at).unwrap_or(0);
        UniqueKey::from_words([word(0), word(8)])
    }

    /// The payload as a value of a plain type, copied. `None` when the size differs.
    #[inline(always)]
    pub fn pod<T: AnyBitPattern>(&self) -> Option<T> {
        bytemuck::try_pod_read_unaligned(self.payload()).ok()
    }

    /// The payload as a plain type, in place. `None` when size or alignment differ. Payloads are
    /// aligned to 8 bytes, because the sizes of all extensions are multiples of 8.
    #[inline(always)]
    pub fn pod_ref<T: AnyBitPattern>(&self) -> Option<&'a T> {
        bytemuck::try_from_bytes(self.payload()).ok()
    }
}

impl Deref for Event<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.payload()
    }
}

impl std::fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("position", &self.position())
            .field("type_id", &self.type_id())
            .field("payload_bytes", &self.payload().len())
            .finish()
    }
}

/// The attributes that a publisher gives an event beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Attributes {
    /// Type id. Its meaning is the program's own.
    pub type_id: u16,
    /// Trace context.
    pub trace: Option<TraceContext>,
    /// Publish time in ns of CLOCK_REALTIME, in place of the channel's own stamp.
    pub published_ns: Option<u64>,
    /// Origin of a dead letter.
    pub origin: Option<Origin>,
    /// Marks the event as replayed.
    pub replayed: bool,
    /// The number of an event that was numbered elsewhere, such as a dead letter or a replayed
    /// event. A publisher's own numbers are given with
    /// [`Sender::publish_numbered`](crate::handle::sender::Sender::publish_numbered).
    pub sequence: Option<Sequence>,
    /// The event's key: a number that is the same for all events that must stay in order, such as
    /// [`key_of`] the bytes of a name. It takes 8 bytes beside the payload.
    pub key: Option<u64>,
    /// The time before which no worker of a queue takes the event, in ns of CLOCK_REALTIME. See
    /// [`Self::delay`]. The times and the unique key together take 32 bytes beside the payload.
    pub not_before_ns: Option<u64>,
    /// The time from which on a queue's event is expired, in ns of CLOCK_REALTIME. See
    /// [`Self::ttl`].
    pub expires_ns: Option<u64>,
    /// The unique key. Only the calls that publish with one set it, and those that publish an event
    /// again.
    pub(crate) unique: Option<UniqueKey>,
}

/// A key for these bytes: their 64-bit FNV-1a, the same in every release, language and process.
/// Different bytes share a key about once in 2^64 pairs. Then the events of both stay in one order.
pub fn key_of(bytes: &[u8]) -> u64 {
    layout::fnv1a(bytes)
}

/// The time of CLOCK_REALTIME after so much time from now on, in ns.
fn from_now(time: Duration) -> u64 {
    clock::realtime_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

setters!(Attributes: type_id: u16, trace: impl Into<Option<TraceContext>>, published_ns: impl Into<Option<u64>>, origin: impl Into<Option<Origin>>, replayed: bool, sequence: impl Into<Option<Sequence>>, key: impl Into<Option<u64>>, not_before_ns: impl Into<Option<u64>>, expires_ns: impl Into<Option<u64>>);

impl Attributes {
    /// An event of this type.
    pub fn typed(type_id: u16) -> Attributes {
        Attributes { type_id, ..Attributes::default() }
    }

    /// An event with this key.
    pub fn keyed(key: u64) -> Attributes {
        Attributes { key: Some(key), ..Attributes::default() }
    }

    /// Returns the attributes with [`Self::not_before_ns`] set to this time from now on.
    ///
    /// No worker of the queue takes the event before. Events behind it do not wait for it, except
    /// those with its key in a keyed queue. It keeps its slot, so the ring must have room for all
    /// events that are published in the meantime. A step of CLOCK_REALTIME moves the time. In a stream
    /// or topic the time has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::Attributes;
    /// use std::time::Duration;
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// let mut producer = jobs.producer(&SendOptions::default())?;
    /// producer.publish_with(b"later", &Attributes::default().delay(Duration::from_millis(20)))?;
    /// producer.publish(b"now")?;
    /// let mut worker = jobs.worker(&WorkOptions::default())?;
    /// for expected in [&b"now"[..], b"later"] {
    ///     let job = worker.take()?;
    ///     assert_eq!(&*job, expected);
    ///     assert!(job.done());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn delay(self, delay: Duration) -> Attributes {
        Attributes { not_before_ns: Some(from_now(delay)), ..self }
    }

    /// Returns the attributes with [`Self::expires_ns`] set to this time from now on.
    ///
    /// A worker that comes to the event then does not hand it out. It moves the event to the
    /// dead-letter queue, or drops and counts it, as the channel was created
    /// ([`ChannelOptions::drop_expired`](crate::ChannelOptions::drop_expired)). A worker that has the
    /// event already is not interrupted, and its `done` counts. A step of CLOCK_REALTIME moves the
    /// time. In a stream or topic the time has no effect.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Attributes {
        Attributes { expires_ns: Some(from_now(ttl)), ..self }
    }

    /// All attributes of `event`, for publishing it elsewhere. If it has no origin of its own,
    /// `origin` is taken.
    pub(crate) fn of(event: &Event<'_>, origin: Origin) -> Attributes {
        Attributes {
            type_id: event.type_id(),
            trace: event.trace(),
            published_ns: event.published_ns(),
            replayed: event.is_replayed(),
            sequence: event.sequence(),
            key: event.key(),
            not_before_ns: event.not_before_ns(),
            expires_ns: event.expires_ns(),
            unique: event.unique_key(),
            origin: Some(event.origin().unwrap_or(origin)),
        }
    }

    fn has_job(&self) -> bool {
        self.not_before_ns.is_some() || self.expires_ns.is_some() || self.unique.is_some()
    }

    pub(crate) fn flags(&self) -> u8 {
        (self.published_ns.is_some() as u8 * STAMPED)
            | (self.trace.is_some() as u8 * TRACED)
            | (self.origin.is_some() as u8 * ORIGIN)
            | (self.replayed as u8 * REPLAYED)
            | (self.sequence.is_some() as u8 * SEQUENCED)
            | (self.key.is_some() as u8 * KEYED)
            | (self.has_job() as u8 * JOB)
    }

    /// Writes the extensions in their order.
    pub(crate) fn write(&self, mut put: impl FnMut(&[u8])) {
        if let Some(ns) = self.published_ns {
            put(&ns.to_le_bytes());
        }
        if let Some(trace) = &self.trace {
            put(&trace.encode());
        }
        if let Some(origin) = &self.origin {
            put(&origin.encode());
        }
        if let Some(sequence) = &self.sequence {
            put(&sequence.encode());
        }
        if let Some(key) = self.key {
            put(&key.to_le_bytes());
        }
        if self.has_job() {
            let unique = self.unique.map_or([0, 0], UniqueKey::words);
            // The times 0 stand for none: an event that expires at time 0 expires at time 1.
            let times = [self.not_before_ns.unwrap_or(0), self.expires_ns.map_or(0, |ns| ns.max(1))];
            times.into_iter().chain(unique).for_each(|word| put(&word.to_le_bytes()));
        }
    }
}

const _: () = assert!(TraceContext::BYTES == frame::extension_bytes(TRACED));
const _: () = assert!(Origin::BYTES == frame::extension_bytes(ORIGIN));
const _: () = assert!(Sequence::BYTES == frame::extension_bytes(SEQUENCED));
