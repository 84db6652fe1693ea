//! Receiving many events at once: in place, or into the caller's memory.

use std::ffi::c_void;

use railbus::Event;

use crate::event::railbus_event;
use crate::failed::Failed;
use crate::reader::{
    AnyReader, Pending, ReaderBody, Source, no_place, railbus_reader, receive_otherwise, with_reader,
};
use crate::result::{Failure, RAILBUS_EMPTY, RAILBUS_OK, RAILBUS_WRONG_LENGTH, railbus_error};
use crate::shell::{self, PENDING, READY, Shell};
use crate::sized::{self, sized};

/// Arrays for copied events, with one payload every `stride_bytes`. Initialise it with
/// `RAILBUS_STRIDED_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_strided {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Payload i goes to `payloads + i * stride_bytes`.
    pub payloads: *mut c_void,
    /// The largest payload that fits, and the distance between two payloads.
    pub stride_bytes: usize,
    /// The number of events that there is room for.
    pub events_max: usize,
    /// Gets the bytes of each payload. If NULL, every payload must have exactly `stride_bytes`.
    pub lengths: *mut u32,
    /// Gets the position of each event; may be NULL.
    pub positions: *mut u64,
    /// Gets the type id of each event; may be NULL.
    pub type_ids: *mut u16,
    /// Gets the time at which each event was published, in ns of CLOCK_REALTIME, or 0 if it carries
    /// none; may be NULL.
    pub published_ns: *mut u64,
}

sized!(railbus_strided);

/// Receives up to `events_max` events that are there, in place, and holds them together. All
/// payloads may be read until the next call on this reader that receives, releases or closes. A
/// lossy reader reads copies, and gets one at a time.
///
/// Waits at most `timeout_ns` for the first one: 0 does not wait. `count` gets the number of
/// events, whatever the result is. If something else than an event, such as a loss, ends the batch,
/// the next call returns it.
///
/// A publisher has to wait for the room of these events, so call again, or call `railbus_release`,
/// soon.
///
/// Returns the results of `railbus_receive`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_receive_batch(
    reader: *mut railbus_reader,
    events: *mut railbus_event,
    events_max: usize,
    timeout_ns: u64,
    count: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    if count.is_null() || events.is_null() || events_max == 0 {
        return no_place(error);
    }
    // SAFETY: the caller's place.
    unsafe { count.write(0) };
    let handle = reader.cast::<Shell<ReaderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        let (result, found) = unsafe { receive_otherwise(handle, events, events_max, error) };
        // SAFETY: the caller's place.
        unsafe { count.write(found) };
        return result;
    };
    let receive = || {
        let held = std::mem::replace(&mut body.holds_batch, true);
        with_reader!(&mut body.reader, reader => {
            if held {
                reader.acknowledge();
            }
            match reader.next_batch(events, events_max, timeout_ns) {
                Ok(0) => RAILBUS_EMPTY,
                Ok(found) => {
                    // SAFETY: the caller's place.
                    unsafe { count.write(found) };
                    RAILBUS_OK
                }
                Err(failed) => failed.answer(error),
            }
        })
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, receive) }
}

/// Copies up to `to->events_max` events that are there into the caller's memory, and releases them.
/// `count` gets the number of events, whatever the result is.
///
/// Waits at most `timeout_ns` for the first one: 0 does not wait. An event that does not fit ends
/// the call. The next call then returns `RAILBUS_WRONG_LENGTH`, unless it is `railbus_receive` or
/// `railbus_receive_batch`, which return the event. If something else than an event, such as a
/// loss, ends the copying, the next call returns it, too.
///
/// Returns the results of `railbus_receive`, and `RAILBUS_WRONG_LENGTH`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_receive_into(
    reader: *mut railbus_reader,
    to: *const railbus_strided,
    timeout_ns: u64,
    count: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    if count.is_null() || to.is_null() {
        return no_place(error);
    }
    // SAFETY: the caller's place.
    unsafe { count.write(0) };
    let handle = reader.cast::<Shell<ReaderBody>>();
    // SAFETY: by the contract of the header; what is pending is handled below.
    let body = unsafe { shell::in_state(handle, READY).or_else(|| shell::in_state(handle, PENDING)) };
    let Some(body) = body else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    let receive = || {
        let to = match sized::read(to).and_then(Target::new) {
            Ok(to) => to,
            Err(failure) => return failure.tell(error),
        };
        // SAFETY: open, and this thread's.
        let body: &mut ReaderBody = unsafe { &mut *body };
        if body.pending.is_some() {
            return copy_pending(handle, body, &to, count, error);
        }
        let (found, end) = with_reader!(&mut body.reader, reader => receive_into(reader, &to, timeout_ns));
        // SAFETY: the caller's place.
        unsafe { count.write(found) };
        match end {
            End::Full => RAILBUS_OK,
            End::Empty if found == 0 => RAILBUS_EMPTY,
            End::Empty => RAILBUS_OK,
            End::Failed(failed) if found == 0 => failed.answer(error),
            End::Failed(failed) => {
                body.pending = Some(Pending::Failed(failed));
                // SAFETY: open, and this thread's.
                unsafe { shell::set_state(handle, PENDING) };
                RAILBUS_OK
            }
            End::DoesNotFit(event) => {
                body.pending = Some(Pending::Event(event));
                // SAFETY: open, and this thread's.
                unsafe { shell::set_state(handle, PENDING) };
                if found == 0 { to.wrong_length(&event).tell(error) } else { RAILBUS_OK }
            }
        }
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, receive) }
}

/// Why copying ended.
enum End {
    Full,
    Empty,
    Failed(Failure),
    DoesNotFit(railbus_event),
}

fn receive_into(reader: &mut impl Source, to: &Target, timeout_ns: u64) -> (usize, End) {
    for i in 0..to.0.events_max {
        let timeout_ns = if i == 0 { timeout_ns } else { 0 };
        match reader.next(timeout_ns) {
            Ok(Some(event)) => {
                if !to.put(i, &event) {
                    return (i, End::DoesNotFit(railbus_event::of(event, 0)));
                }
            }
            Ok(None) => return (i, End::Empty),
            Err(failed) => return (i, End::Failed(failed.keep())),
        }
    }
    (to.0.events_max, End::Full)
}

/// Deals with the result that an earlier call could not copy.
#[cold]
fn copy_pending(
    handle: *mut Shell<ReaderBody>,
    body: &mut ReaderBody,
    to: &Target,
    count: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    let result = match &body.pending {
        Some(Pending::Event(event)) => {
            // SAFETY: the event was given by this reader, which has not been asked for another since.
            let found = unsafe {
                Event::from_parts(
                    event.payload,
                    event.payload_bytes,
                    event.type_id,
                    event.flags,
                    event.position,
                )
            };
            if !to.put(0, &found) {
                return to.wrong_length(event).tell(error);
            }
            // SAFETY: the caller's place.
            unsafe { count.write(1) };
            RAILBUS_OK
        }
        Some(Pending::Failed(failed)) => failed.tell(error),
        None => RAILBUS_EMPTY,
    };
    body.pending = None;
    // SAFETY: open, and this thread's.
    unsafe { shell::set_state(handle, READY) };
    result
}

/// A strided buffer that was checked.
struct Target(railbus_strided);

impl Target {
    fn new(to: railbus_strided) -> Result<Target, Failure> {
        let all = to.stride_bytes.checked_mul(to.events_max).filter(|&all| all <= isize::MAX as usize);
        if all.is_none() || (to.payloads.is_null() && all != Some(0)) || to.events_max == 0 {
            return Err(Failure::invalid(format!(
                "room for {} payloads, {} bytes apart, at {:p}",
                to.events_max, to.stride_bytes, to.payloads
            )));
        }
        Ok(Target(to))
    }

    /// Copies event `i`, if it fits.
    #[inline(always)]
    fn put(&self, i: usize, event: &Event<'_>) -> bool {
        let to = &self.0;
        let payload = event.payload();
        if payload.len() > to.stride_bytes || (to.lengths.is_null() && payload.len() != to.stride_bytes) {
            return false;
        }
        let place = to.payloads.cast::<u8>().wrapping_add(i * to.stride_bytes);
        // SAFETY: the caller vouches for `events_max` places of `stride_bytes`; none of them lies
        // in the ring.
        unsafe { payload.as_ptr().copy_to_nonoverlapping(place, payload.len()) };
        if !to.lengths.is_null() {
            // SAFETY: as above, for the lengths.
            unsafe { to.lengths.add(i).write(payload.len() as u32) };
        }
        if !to.positions.is_null() {
            // SAFETY: as above, for the positions.
            unsafe { to.positions.add(i).write(event.position()) };
        }
        if !to.type_ids.is_null() {
            // SAFETY: as above, for the type ids.
            unsafe { to.type_ids.add(i).write(event.type_id()) };
        }
        if !to.published_ns.is_null() {
            // SAFETY: as above, for the times.
            unsafe { to.published_ns.add(i).write(event.published_ns().unwrap_or(0)) };
        }
        true
    }

    fn wrong_length(&self, event: &railbus_event) -> Failure {
        let (bytes, stride_bytes) = (event.payload_bytes, self.0.stride_bytes);
        let wanted = if self.0.lengths.is_null() { "exactly" } else { "at most" };
        let why = format!(
            "the event at {} has {bytes} bytes, the buffer takes {wanted} {stride_bytes}: railbus_receive gives it \
             out",
            event.position
        );
        Failure::new(RAILBUS_WRONG_LENGTH, why)
    }
}
