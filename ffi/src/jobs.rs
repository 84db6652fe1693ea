//! Jobs: unique keys, events that are handed back for a while, and waiting until an event is finished.

use std::ffi::c_void;
use std::time::Duration;

use railbus::{Channel, JobEnd, SendError, UniqueKey, Worker};

use crate::channel::{channel, railbus_channel};
use crate::event::{payload_of, railbus_attributes};
use crate::result::{Failure, RAILBUS_OK, railbus_error, send_failed};
use crate::sender::{AnySender, SenderBody, railbus_sender};
use crate::shell::{self, guarded};
use crate::wait::RAILBUS_FOREVER;
use crate::worker::{finish, railbus_job, railbus_worker};

/// The end of an event: a worker has done it.
pub const RAILBUS_END_DONE: u32 = 1;
/// The end of an event: it was delivered too often, or skipped by an operator, and moved to the
/// dead-letter queue.
pub const RAILBUS_END_DEAD_LETTER: u32 = 2;
/// The end of an event: its time was over, and it was moved to the dead-letter queue.
pub const RAILBUS_END_EXPIRED_LETTER: u32 = 3;
/// The end of an event: its time was over, and it was dropped.
pub const RAILBUS_END_EXPIRED: u32 = 4;
/// The end of an event: an operator has discarded it.
pub const RAILBUS_END_PURGED: u32 = 5;
/// The end of an event: it is finished, and its slot has been used again since, so how it ended is no
/// longer known.
pub const RAILBUS_END_FORGOTTEN: u32 = 6;

/// Publishes a copy of `payload_bytes` bytes into a queue with `RAILBUS_UNIQUE`, unless the queue holds
/// an unfinished event with the same unique key. The key is `key_bytes` bytes of any kind; for a
/// number, give its 8 bytes, the least significant first. `attributes` may be NULL. `timeout_ns` is as
/// for `railbus_publish`.
///
/// An event is unfinished until a worker has done it, or it became a dead letter, expired or was
/// purged. Of all senders that publish with one key at the same time, one succeeds. Keys of up to 15
/// bytes are compared whole, longer ones by a hash of 120 bits.
///
/// `position`, which may be NULL, gets the event's position. If the result is `RAILBUS_DUPLICATE`, it
/// gets the position of the unfinished event.
///
/// Returns `RAILBUS_DUPLICATE`, `RAILBUS_NOT_UNIQUE`, and the results of `railbus_publish`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_unique(
    sender: *mut railbus_sender,
    key: *const c_void,
    key_bytes: usize,
    payload: *const c_void,
    payload_bytes: usize,
    attributes: *const railbus_attributes,
    timeout_ns: u64,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let publish = |body: &mut SenderBody| {
        // SAFETY: the caller vouches for the bytes.
        let (payload, key) = unsafe { (payload_of(payload, payload_bytes)?, payload_of(key, key_bytes)?) };
        let key = UniqueKey::from(key);
        let attributes = railbus_attributes::read(attributes)?.unwrap_or_default();
        let published = match &mut body.sender {
            AnySender::Queue(sender) if timeout_ns == RAILBUS_FOREVER => {
                sender.publish_unique(key, payload, &attributes)
            }
            AnySender::Queue(sender) => {
                sender.publish_unique_timeout(key, payload, &attributes, Duration::from_nanos(timeout_ns))
            }
            AnySender::Stream(_) | AnySender::Topic(_) => Err(SendError::NotUnique),
        };
        if let (Ok(at) | Err(SendError::Duplicate { position: at }), false) = (published, position.is_null())
        {
            // SAFETY: the caller's place.
            unsafe { position.write(at) };
        }
        Ok(match published {
            Ok(_) => RAILBUS_OK,
            Err(failed) => send_failed(failed, error),
        })
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(sender.cast(), error, publish) }
}

/// Hands `count` events back, as `railbus_retry` does, to be delivered again after `delay_ns`, at most
/// 24 h.
///
/// Returns the results of `railbus_retry`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_retry_after(
    worker: *mut railbus_worker,
    jobs: *const railbus_job,
    count: usize,
    delay_ns: u64,
    error: *mut railbus_error,
) -> i32 {
    let delay = Duration::from_nanos(delay_ns);
    let retry = |worker: &mut Worker, ticket| worker.retry_after(ticket, delay);
    // SAFETY: by the contract of the header.
    unsafe { finish(worker, jobs, count, error, retry) }
}

/// Waits until the event at `position` of a queue is finished, at most `timeout_ns`, where 0 looks
/// once. `end` gets how it ended: one of `RAILBUS_END_`. Any process may wait that may look at the
/// queue. If the worker that holds the event dies, the wait goes on.
///
/// Returns `RAILBUS_TIMED_OUT`, and the error says where the event is; `RAILBUS_PEER_GONE` if the queue
/// was removed; `RAILBUS_INVALID` if the channel is no queue; `RAILBUS_NOT_ALLOWED`, `RAILBUS_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_wait_done(
    channel: *const railbus_channel,
    position: u64,
    timeout_ns: u64,
    end: *mut u32,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let channel: &Channel = unsafe { self::channel(channel) }?;
        // SAFETY: as above.
        let end = (unsafe { end.as_mut() }).ok_or_else(|| Failure::invalid("end is NULL"))?;
        *end = match channel.wait_done(position, Duration::from_nanos(timeout_ns))? {
            JobEnd::Done => RAILBUS_END_DONE,
            JobEnd::DeadLetter => RAILBUS_END_DEAD_LETTER,
            JobEnd::Expired { dead_letter: true } => RAILBUS_END_EXPIRED_LETTER,
            JobEnd::Expired { dead_letter: false } => RAILBUS_END_EXPIRED,
            JobEnd::Purged => RAILBUS_END_PURGED,
            _ => RAILBUS_END_FORGOTTEN,
        };
        Ok(())
    })
}
