//! The calls of an operator: repair and evict.

use std::time::Duration;

use railbus::admin::Evicted;
use railbus_ring::members::peers::Side;

use crate::channel::{channel, railbus_channel};
use crate::info::{RAILBUS_CONSUMERS, RAILBUS_PRODUCERS};
use crate::result::{Failure, railbus_error};
use crate::shell::guarded;
use crate::sized::{self, sized};

/// Evicted: the reader holds nobody back any more. Its next call reports the eviction.
pub const RAILBUS_EVICTED_TOLD: u32 = 1;
/// Evicted: the worker's events go to others, and its `railbus_done` is refused. Its next call
/// reports the eviction.
pub const RAILBUS_EVICTED_FENCED: u32 = 5;
/// Evicted: a durable subscription without an owner was removed.
pub const RAILBUS_EVICTED_FORGOTTEN: u32 = 2;
/// Evicted: the process was killed.
pub const RAILBUS_EVICTED_KILLED: u32 = 3;
/// Evicted: its process was dead already.
pub const RAILBUS_EVICTED_DEAD: u32 = 4;

/// The results of a repair. Initialise `struct_size` before the call that fills it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_repaired {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Sides that were left alone because this process may not write them.
    pub skipped: u32,
    /// Registry entries of dead participants that were freed.
    pub buried: u64,
    /// Entries of dead participants that could not be freed yet: try again.
    pub unsettled: u64,
    /// Topic: tickets of dead publishers that were marked as carrying no event.
    pub aborted: u64,
    /// Queue: events of dead workers that were handed back.
    pub redone: u64,
}

sized!(railbus_repaired);

/// Frees the entries of all dead participants, after it has repaired what they left. This is never
/// necessary, because a participant that waits repairs what is in its way. Durable subscriptions
/// are not touched. Safe at any time.
///
/// `repaired` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_repair(
    channel: *const railbus_channel,
    repaired: *mut railbus_repaired,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let done = unsafe { self::channel(channel) }?.repair()?;
        let filled = railbus_repaired {
            struct_size: 0,
            skipped: done.skipped.len() as u32,
            buried: done.buried.len() as u64,
            unsettled: done.unsettled.len() as u64,
            aborted: done.aborted,
            redone: done.redone,
        };
        if repaired.is_null() { Ok(()) } else { sized::write(repaired, &filled) }
    })
}

/// Evicts a participant that lives but does not move. A reader holds nobody back any more, and its
/// next call reports the eviction. The events of a worker go to others, and its calls about them
/// are refused with `RAILBUS_EVICTED`. A sender writes in place, so its process is killed with
/// SIGKILL. A durable subscription without an owner is removed.
///
/// `side` and `index` are those of a `railbus_participant`. `outcome`, which may be NULL, gets one
/// of `RAILBUS_EVICTED_`. The call waits up to `timeout_ns` until a killed process is gone, or
/// until a running worker has left the processor.
///
/// Returns `RAILBUS_NOT_FOUND` if there is no such participant, `RAILBUS_INVALID` for a sender of
/// this process itself, `RAILBUS_NOT_ALLOWED`, `RAILBUS_TIMED_OUT`, `RAILBUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_evict(
    channel: *const railbus_channel,
    side: u32,
    index: u32,
    timeout_ns: u64,
    outcome: *mut u32,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let side = match side {
            RAILBUS_PRODUCERS => Side::Producers,
            RAILBUS_CONSUMERS => Side::Consumers,
            other => {
                let why = format!("side {other}: must be RAILBUS_PRODUCERS or RAILBUS_CONSUMERS");
                return Err(Failure::invalid(why));
            }
        };
        // SAFETY: by the contract of the header.
        let channel = unsafe { self::channel(channel) }?;
        let evicted = match channel.evict(side, index as usize, Duration::from_nanos(timeout_ns))? {
            Evicted::Told => RAILBUS_EVICTED_TOLD,
            Evicted::Fenced { .. } => RAILBUS_EVICTED_FENCED,
            Evicted::Forgotten => RAILBUS_EVICTED_FORGOTTEN,
            Evicted::Killed { .. } => RAILBUS_EVICTED_KILLED,
            Evicted::Dead => RAILBUS_EVICTED_DEAD,
        };
        if !outcome.is_null() {
            // SAFETY: the caller's place.
            unsafe { outcome.write(evicted) };
        }
        Ok(())
    })
}
