//! Publishing one event: by copy, with attributes, with a number.

use std::ffi::c_void;
use std::time::Duration;

use railbus::{PublishEnd, SendError, Sender};

use crate::event::{payload_of, railbus_attributes};
use crate::result::{
    RAILBUS_DIVERTED, RAILBUS_FULL, RAILBUS_OK, RAILBUS_PUBLISHED_BEFORE, RAILBUS_TIMED_OUT, railbus_error,
    send_failed,
};
use crate::sender::{AnySender, SenderBody, railbus_sender, with_sender};
use crate::shell;
use crate::wait::RAILBUS_FOREVER;

/// Publishes a copy of `payload_bytes` bytes.
///
/// Waits at most `timeout_ns` for room: 0 does not wait, `RAILBUS_FOREVER` does what the channel's
/// creator chose. The event's position goes to `position`, which may be NULL.
///
/// If it returns `RAILBUS_FULL` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_DROPPED`,
/// `RAILBUS_TOO_LONG`, `RAILBUS_NO_WORKER` or `RAILBUS_FORKED`, nothing was published.
/// `RAILBUS_DIVERTED` means that the event was published in the channel that this one diverts to;
/// `position` is its position there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish(
    sender: *mut railbus_sender,
    payload: *const c_void,
    payload_bytes: usize,
    timeout_ns: u64,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let publish = |body: &mut SenderBody| {
        // SAFETY: the caller vouches for the bytes.
        let payload = unsafe { payload_of(payload, payload_bytes) }?;
        let published = with_sender!(&mut body.sender, sender => publish(sender, payload, timeout_ns));
        // SAFETY: the caller's places.
        Ok(unsafe { tell(published, position, error) })
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(sender.cast(), error, publish) }
}

/// Reports to the caller where an event went, or why it was not published.
///
/// # Safety
/// `position` and `error` are the caller's places, or NULL.
#[inline(always)]
unsafe fn tell(published: Result<u64, SendError>, position: *mut u64, error: *mut railbus_error) -> i32 {
    let (at, result) = match published {
        Ok(at) => (at, RAILBUS_OK),
        Err(SendError::Diverted { position }) => (position, RAILBUS_DIVERTED),
        Err(failed) => return send_failed(failed, error),
    };
    if !position.is_null() {
        // SAFETY: by the contract.
        unsafe { position.write(at) };
    }
    if result == RAILBUS_OK { RAILBUS_OK } else { send_failed(SendError::Diverted { position: at }, error) }
}

#[inline(always)]
fn publish<R: PublishEnd>(sender: &mut Sender<R>, payload: &[u8], timeout_ns: u64) -> Result<u64, SendError> {
    match timeout_ns {
        0 => sender.try_publish(payload),
        RAILBUS_FOREVER => sender.publish(payload),
        timeout_ns => match sender.try_publish(payload) {
            Err(SendError::Full | SendError::NoWorker) => {
                sender.publish_timeout(payload, Duration::from_nanos(timeout_ns))
            }
            done => done,
        },
    }
}

/// Publishes as `railbus_publish` does, with a type id, trace context, time or origin. `attributes`
/// may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_with(
    sender: *mut railbus_sender,
    payload: *const c_void,
    payload_bytes: usize,
    attributes: *const railbus_attributes,
    timeout_ns: u64,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let publish = |body: &mut SenderBody| {
        // SAFETY: the caller vouches for the bytes.
        let payload = unsafe { payload_of(payload, payload_bytes) }?;
        let attributes = railbus_attributes::read(attributes)?;
        let published = with_sender!(&mut body.sender, sender => match (&attributes, timeout_ns) {
            (None, _) => publish(sender, payload, timeout_ns),
            (Some(attributes), 0) => sender.try_publish_with(payload, attributes),
            (Some(attributes), RAILBUS_FOREVER) => sender.publish_with(payload, attributes),
            (Some(attributes), timeout_ns) => {
                sender.publish_with_timeout(payload, attributes, Duration::from_nanos(timeout_ns))
            }
        });
        // SAFETY: the caller's places.
        Ok(unsafe { tell(published, position, error) })
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(sender.cast(), error, publish) }
}

/// Publishes event `number` of this sender's name, as `railbus_publish_with` does. Numbers count up
/// from 1, with gaps or without.
///
/// The number is kept in the channel. A publisher that is killed at any instruction can open again
/// under its name and publish everything again from its resume point (`railbus_sender_statistics`),
/// or from before it. Then no event is missing and none is published twice. There is one exception
/// in a queue or topic: if the other producers went round the whole ring in between, the one event
/// that was in work may come twice, with the same number. Readers find name and number by
/// `railbus_event_attributes`.
///
/// The event is never diverted: the call waits where other events would be diverted. Returns
/// `RAILBUS_PUBLISHED_BEFORE` for a number that the channel has already, `RAILBUS_NOT_SEQUENCED`,
/// and the results of `railbus_publish`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_numbered(
    sender: *mut railbus_sender,
    number: u64,
    payload: *const c_void,
    payload_bytes: usize,
    attributes: *const railbus_attributes,
    timeout_ns: u64,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let publish = |body: &mut SenderBody| {
        // SAFETY: the caller vouches for the bytes.
        let payload = unsafe { payload_of(payload, payload_bytes) }?;
        let attributes = railbus_attributes::read(attributes)?.unwrap_or_default();
        let published = with_sender!(&mut body.sender, sender => match timeout_ns {
            RAILBUS_FOREVER => sender.publish_numbered(number, payload, &attributes),
            timeout_ns => {
                let timeout = Duration::from_nanos(timeout_ns);
                sender.publish_numbered_timeout(number, payload, &attributes, timeout)
            }
        });
        Ok(match published {
            Ok(Some(at)) => {
                if !position.is_null() {
                    // SAFETY: the caller's place.
                    unsafe { position.write(at) };
                }
                RAILBUS_OK
            }
            Ok(None) => RAILBUS_PUBLISHED_BEFORE,
            Err(failed) => send_failed(failed, error),
        })
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(sender.cast(), error, publish) }
}

const _: () = assert!(RAILBUS_FULL > 0 && RAILBUS_TIMED_OUT > 0, "ordinary answers are positive");
