//! What an operator may do to a channel.

use std::time::Duration;

use railbus::admin::Evicted;
use railbus_ring::members::peers::Side;

use crate::channel::{channel, railbus_channel};
use crate::info::{RAILBUS_CONSUMERS, RAILBUS_PRODUCERS};
use crate::result::{Failure, railbus_error};
use crate::shell::guarded;
use crate::sized::{self, sized};

/// Evicted: the reader holds nobody back any more, and is told when it next looks.
pub const RAILBUS_EVICTED_TOLD: u32 = 1;
/// Evicted: the worker's events are handed to others, its `railbus_done` is refused, and it is told when it next looks.
pub const RAILBUS_EVICTED_FENCED: u32 = 5;
/// Evicted: a durable subscription without an owner is forgotten.
pub const RAILBUS_EVICTED_FORGOTTEN: u32 = 2;
/// Evicted: the process was killed.
pub const RAILBUS_EVICTED_KILLED: u32 = 3;
/// Evicted: its process had died before.
pub const RAILBUS_EVICTED_DEAD: u32 = 4;

/// What a repair did. Initialise `struct_size` before it is filled.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_repaired {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Sides that this process may not write, and that were left alone.
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

/// Frees the entries of all dead participants, after repairing what they left. Nobody needs this: whoever waits
/// repairs what is in the way. Durable subscriptions are not touched. Safe at any time.
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

/// Fences a participant that lives but does not move: a reader is told, and holds nobody back any more; a worker's
/// events are handed to others, and what it says of them is refused with `RAILBUS_EVICTED`; the process of a sender, which
/// writes in place, is killed with SIGKILL. A durable subscription without an owner is forgotten.
///
/// `side` and `index` are those of a `railbus_participant`. `outcome`, which may be NULL, gets one of
/// `RAILBUS_EVICTED_`. A killed process may take up to `timeout_ns` to be gone, a running worker to make place.
///
/// Returns `RAILBUS_NOT_FOUND` if nobody is there, `RAILBUS_INVALID` for a sender of this process itself, `RAILBUS_NOT_ALLOWED`,
/// `RAILBUS_TIMED_OUT`, `RAILBUS_BUSY`.
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
