//! Events as C sees them, and the attributes that travel with their payloads.

use std::ffi::c_void;

use railbus::{Attributes, Event, Origin, Sequence, TraceContext};
use railbus_ring::frame::{JOB, KEYED, ORIGIN, REPLAYED, SEQUENCED, STAMPED, TRACED};

use crate::result::{Failure, railbus_error};
use crate::shell::guarded;
use crate::sized::{self, sized};

/// The event carries the time at which it was published.
pub const RAILBUS_HAS_TIME: u8 = 1;
/// The event carries a trace context.
pub const RAILBUS_HAS_TRACE: u8 = 2;
/// The event carries the origin of a dead letter.
pub const RAILBUS_HAS_ORIGIN: u8 = 4;
/// The event was replayed from a journal.
pub const RAILBUS_REPLAYED: u8 = 8;
/// The event carries the number that its publisher gave it.
pub const RAILBUS_HAS_SEQUENCE: u8 = 16;
/// The event carries a key.
pub const RAILBUS_HAS_KEY: u8 = 32;
/// The event carries times or a unique key.
pub const RAILBUS_HAS_JOB: u8 = 64;

const _: () = assert!(RAILBUS_HAS_JOB == JOB);
const _: () = assert!(RAILBUS_HAS_TIME == STAMPED && RAILBUS_HAS_TRACE == TRACED && RAILBUS_HAS_KEY == KEYED);
const _: () = assert!(
    RAILBUS_HAS_ORIGIN == ORIGIN && RAILBUS_REPLAYED == REPLAYED && RAILBUS_HAS_SEQUENCE == SEQUENCED
);

/// An event. Its bytes lie in the ring itself, or in the reader's own buffer if the reader is
/// lossy. Do not write them. The function that returned the event says how long they stay. This
/// struct does not grow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_event {
    /// The payload; aligned to 8 bytes. Never NULL.
    pub payload: *const u8,
    /// Its position in the channel: a byte offset in a stream, a ticket in a queue or topic. It
    /// never wraps.
    pub position: u64,
    /// Bytes of the payload; may be 0.
    pub payload_bytes: u32,
    /// The type id that its publisher gave it, 0 if none.
    pub type_id: u16,
    /// `RAILBUS_HAS_TIME` and others, or-ed together. `railbus_event_attributes` reads the
    /// attributes they name.
    pub flags: u8,
    /// Queue: which delivery this is, counted from 1; the count stops at 64. Otherwise 0.
    pub attempt: u8,
}

/// Bytes in the caller's memory. This struct does not grow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_bytes {
    /// Their address; NULL only if there are none.
    pub bytes: *const u8,
    /// Their number.
    pub count: usize,
}

impl AsRef<[u8]> for railbus_bytes {
    #[inline(always)]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: a caller that passes an array of these vouches for them; lengths are checked
        // before use.
        unsafe { bytes(self.bytes, self.count) }
    }
}

/// The attributes that travel with a payload. Initialise the struct with `RAILBUS_ATTRIBUTES_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_attributes {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Type id, for the reader's use.
    pub type_id: u16,
    /// Which of the following fields count: `RAILBUS_HAS_TIME`, `RAILBUS_HAS_TRACE`,
    /// `RAILBUS_HAS_ORIGIN`, `RAILBUS_HAS_SEQUENCE`, `RAILBUS_HAS_KEY`, `RAILBUS_HAS_JOB`,
    /// `RAILBUS_REPLAYED`, or-ed together.
    pub flags: u8,
    /// W3C trace flags: 1 is sampled.
    pub trace_flags: u8,
    /// Publish time in ns of CLOCK_REALTIME, in place of the channel's own stamp.
    pub published_ns: u64,
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// W3C id of the span that published.
    pub span_id: [u8; 8],
    /// Dead letter: first 8 bytes of the queue's channel id, as a little-endian number.
    pub origin_channel: u64,
    /// Dead letter: the queue's incarnation.
    pub origin_incarnation: u64,
    /// Dead letter: the event's position in that queue.
    pub origin_position: u64,
    /// Dead letter: how many times it was delivered without success.
    pub origin_attempts: u64,
    /// Numbered event: its publisher, as a hash of the publisher's name.
    pub sequence_publisher: u64,
    /// Numbered event: its number.
    pub sequence_number: u64,
    /// Event with a key: a queue with `RAILBUS_KEYED` handles events with one key one after the
    /// other, in order. For a key made of bytes, use their 64-bit FNV-1a, as the command line does.
    pub key: u64,
    /// `RAILBUS_HAS_JOB`: the time before which no worker of a queue takes the event, in ns of
    /// CLOCK_REALTIME; 0 for none.
    pub not_before_ns: u64,
    /// `RAILBUS_HAS_JOB`: the time from which on a queue's event is expired, in ns of CLOCK_REALTIME;
    /// 0 for none.
    pub expires_ns: u64,
    /// `RAILBUS_HAS_JOB`: the unique key of an event that was published with one; else zeros. It is
    /// not read when an event is published.
    pub unique_key: [u64; 2],
    /// Dead letter: 1 if its time was over, 0 if it was delivered too often.
    pub origin_expired: u32,
    /// Zero.
    pub reserved: u32,
}

sized!(railbus_attributes);

impl railbus_attributes {
    /// The attributes at `given`, `None` for NULL.
    pub(crate) fn read(given: *const railbus_attributes) -> Result<Option<Attributes>, Failure> {
        if given.is_null() {
            return Ok(None);
        }
        let from = sized::read(given)?;
        let known = RAILBUS_HAS_TIME
            | RAILBUS_HAS_TRACE
            | RAILBUS_HAS_ORIGIN
            | RAILBUS_HAS_SEQUENCE
            | RAILBUS_HAS_KEY
            | RAILBUS_HAS_JOB
            | RAILBUS_REPLAYED;
        if from.flags & !known != 0 {
            return Err(Failure::invalid(format!("attributes {:#x}: unknown ones among them", from.flags)));
        }
        let has = |flag| from.flags & flag != 0;
        Ok(Some(
            Attributes::default()
                .type_id(from.type_id)
                .trace(has(RAILBUS_HAS_TRACE).then_some(TraceContext {
                    trace_id: from.trace_id,
                    span_id: from.span_id,
                    flags: from.trace_flags,
                }))
                .published_ns(has(RAILBUS_HAS_TIME).then_some(from.published_ns))
                .origin(has(RAILBUS_HAS_ORIGIN).then_some(Origin {
                    channel: from.origin_channel,
                    incarnation: from.origin_incarnation,
                    position: from.origin_position,
                    attempts: from.origin_attempts,
                    expired: from.origin_expired != 0,
                }))
                .sequence(
                    has(RAILBUS_HAS_SEQUENCE).then_some(Sequence {
                        publisher: from.sequence_publisher,
                        number: from.sequence_number,
                    }),
                )
                .replayed(has(RAILBUS_REPLAYED))
                .key(has(RAILBUS_HAS_KEY).then_some(from.key))
                .not_before_ns(Some(from.not_before_ns).filter(|&ns| has(RAILBUS_HAS_JOB) && ns != 0))
                .expires_ns(Some(from.expires_ns).filter(|&ns| has(RAILBUS_HAS_JOB) && ns != 0)),
        ))
    }
}

impl railbus_event {
    #[inline(always)]
    pub(crate) fn of(event: Event<'_>, attempt: u32) -> railbus_event {
        let payload = event.payload();
        railbus_event {
            payload: payload.as_ptr(),
            position: event.position(),
            payload_bytes: payload.len() as u32,
            type_id: event.type_id(),
            flags: event.flags(),
            attempt: attempt as u8,
        }
    }
}

/// Reads the attributes that an event carries beside its payload: time, trace context, origin,
/// number, key, times. Call it only as long as the payload may be read. Attributes that are not in the
/// event's `flags` become zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_event_attributes(
    event: *const railbus_event,
    attributes: *mut railbus_attributes,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let Some(parts) = (unsafe { event.as_ref() }) else {
            return Err(Failure::invalid("the event is NULL"));
        };
        // SAFETY: the parts are of an event that a function of this library gave, and that may
        // still be read.
        let event = unsafe {
            Event::from_parts(parts.payload, parts.payload_bytes, parts.type_id, parts.flags, parts.position)
        };
        let trace = event.trace().unwrap_or_default();
        let origin = event.origin().unwrap_or_default();
        let filled = railbus_attributes {
            struct_size: 0,
            type_id: event.type_id(),
            flags: event.flags(),
            trace_flags: trace.flags,
            published_ns: event.published_ns().unwrap_or(0),
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            origin_channel: origin.channel,
            origin_incarnation: origin.incarnation,
            origin_position: origin.position,
            origin_attempts: origin.attempts,
            sequence_publisher: event.sequence().map_or(0, |sequence| sequence.publisher),
            sequence_number: event.sequence().map_or(0, |sequence| sequence.number),
            key: event.key().unwrap_or(0),
            not_before_ns: event.not_before_ns().unwrap_or(0),
            expires_ns: event.expires_ns().unwrap_or(0),
            unique_key: event.unique_key().map_or([0, 0], railbus::UniqueKey::words),
            origin_expired: origin.expired.into(),
            reserved: 0,
        };
        sized::write(attributes, &filled)
    })
}

/// The payload or key that the caller names.
///
/// # Safety
/// There are `count` bytes, if that many can be, and they stay for `'a`.
#[inline(always)]
pub(crate) unsafe fn payload_of<'a>(payload: *const c_void, count: usize) -> Result<&'a [u8], Failure> {
    if count > isize::MAX as usize || (payload.is_null() && count > 0) {
        return Err(bad_payload(count));
    }
    // SAFETY: by the contract; their number was checked.
    Ok(unsafe { bytes(payload.cast(), count) })
}

#[cold]
pub(crate) fn bad_payload(count: usize) -> Failure {
    Failure::invalid(format!("a payload of {count} bytes at NULL, or of no possible size"))
}

/// The caller's bytes; none for NULL.
///
/// # Safety
/// There are `count` bytes, at most `isize::MAX`, that stay for `'a`.
#[inline(always)]
pub(crate) unsafe fn bytes<'a>(bytes: *const u8, count: usize) -> &'a [u8] {
    if count == 0 {
        return &[];
    }
    // SAFETY: by the contract.
    unsafe { std::slice::from_raw_parts(bytes, count) }
}
