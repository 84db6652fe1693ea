//! The journal of a channel: waiting for an event to be written or durable, and how far the journal
//! is.

use std::ffi::{c_char, c_void};
use std::time::{Duration, Instant};

use railbus::{Channel, JournalState};

use crate::channel::{channel, railbus_channel};
use crate::claim::claim;
use crate::event::{payload_of, railbus_attributes};
use crate::info::RAILBUS_NONE;
use crate::result::{Failure, RAILBUS_OK, railbus_error, send_failed};
use crate::sender::{AnySender, SenderBody, railbus_sender, with_sender};
use crate::shell::{self, guarded};
use crate::sized::{self, sized};
use crate::text::array;
use crate::wait::RAILBUS_FOREVER;

/// Journal: its journaller is recovering the records on disk.
pub const RAILBUS_JOURNAL_STARTING: u32 = 1;
/// Journal: it records.
pub const RAILBUS_JOURNAL_RECORDING: u32 = 2;
/// Journal: its journaller was asked to stop, and writes the events that it still holds.
pub const RAILBUS_JOURNAL_DRAINING: u32 = 3;
/// Journal: its journaller has stopped; everything that it took is durable.
pub const RAILBUS_JOURNAL_STOPPED: u32 = 4;
/// Journal: the disk failed. Nothing more is recorded until a journaller starts again.
pub const RAILBUS_JOURNAL_POISONED: u32 = 5;
/// Journal: its journaller is dead. The next journaller goes on from there.
pub const RAILBUS_JOURNAL_DEAD: u32 = 6;

/// How far the journal of a channel is. Initialise `struct_size` before the call that fills it. A
/// position here is exclusive: everything before it is in the journal.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_journal {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// One of `RAILBUS_JOURNAL_`.
    pub state: u32,
    /// Everything before this survives the death of any process.
    pub written: u64,
    /// Everything before this survives the death of the machine.
    pub durable: u64,
    /// Everything before this was taken from the ring.
    pub end: u64,
    /// The oldest position in the journal.
    pub first: u64,
    /// When the journaller started, in ns of CLOCK_REALTIME.
    pub started_ns: u64,
    /// Events recorded since that start.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Gaps since that start: lossy overruns, a full disk, and events that a dead journaller lost.
    pub gaps: u64,
    /// Events in those gaps, as far as they could be counted.
    pub lost: u64,
    /// The journaller's process id.
    pub pid: u32,
    /// Whether the disk is full now: 0 or 1.
    pub no_space: u32,
    /// The directory of the journal, for `railbus_replay_open`. Zero-terminated.
    pub directory: [c_char; 1024],
    /// The failure that poisoned it; empty if there was none. UTF-8, zero-terminated.
    pub failure: [c_char; 512],
}

sized!(railbus_journal);

/// Fills `journal` with the positions and the state of this channel's journal. Some system calls.
///
/// Returns `RAILBUS_PEER_GONE` when nothing has ever recorded this channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_journal_positions(
    channel: *const railbus_channel,
    journal: *mut railbus_journal,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let channel = unsafe { self::channel(channel) }?;
        let found = channel.journal_positions()?;
        let directory = found.directory.to_str().ok_or_else(|| {
            Failure::invalid(format!("the journal's directory {} is not UTF-8", found.directory.display()))
        })?;
        let filled = railbus_journal {
            struct_size: 0,
            state: match found.state {
                JournalState::Starting => RAILBUS_JOURNAL_STARTING,
                JournalState::Recording => RAILBUS_JOURNAL_RECORDING,
                JournalState::Draining => RAILBUS_JOURNAL_DRAINING,
                JournalState::Stopped => RAILBUS_JOURNAL_STOPPED,
                JournalState::Poisoned => RAILBUS_JOURNAL_POISONED,
                JournalState::Dead => RAILBUS_JOURNAL_DEAD,
            },
            written: found.written,
            durable: found.durable,
            end: found.end,
            first: found.first,
            started_ns: found.started_ns,
            events: found.events,
            bytes: found.bytes,
            gaps: found.gaps,
            lost: found.lost,
            pid: found.pid,
            no_space: found.no_space.into(),
            directory: array(directory),
            failure: array(found.error.as_deref().unwrap_or("")),
        };
        sized::write(journal, &filled)
    })
}

/// Waits until the event at `position` is written: it is in the channel's journal and survives the
/// death of any process. `position` is that of the publishing call. The call waits at most
/// `timeout_ns`, where 0 looks once. `reached`, which may be NULL, gets the position before which
/// everything is written; it is beyond `position`.
///
/// Returns the results of `railbus_wait_durable`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_wait_written(
    channel: *const railbus_channel,
    position: u64,
    timeout_ns: u64,
    reached: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let wait = |channel: &Channel| channel.wait_written(position, Duration::from_nanos(timeout_ns));
    // SAFETY: by the contract of the header.
    unsafe { wait_for(channel, reached, error, wait) }
}

/// Waits until the event at `position` is durable: it is in the channel's journal and survives the
/// death of the machine. `position` is that of the publishing call. The call waits at most
/// `timeout_ns`, where 0 looks once. `reached`, which may be NULL, gets the position before which
/// everything is durable; it is beyond `position`.
///
/// A journal with the sync policy `RAILBUS_SYNC_NEVER` makes nothing durable before it stops. For
/// such a journal, wait for written.
///
/// Returns `RAILBUS_TIMED_OUT` or `RAILBUS_FORKED`. Returns `RAILBUS_PEER_GONE` at once when
/// nothing records this channel, when its journaller is dead or has stopped, or when the event is
/// in a gap of the journal. If the journal has failed, it returns the error of the disk at once:
/// `RAILBUS_IO`, `RAILBUS_NO_SPACE`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_wait_durable(
    channel: *const railbus_channel,
    position: u64,
    timeout_ns: u64,
    reached: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let wait = |channel: &Channel| channel.wait_durable(position, Duration::from_nanos(timeout_ns));
    // SAFETY: by the contract of the header.
    unsafe { wait_for(channel, reached, error, wait) }
}

/// # Safety
/// As for [`channel`]; `reached` is NULL or the caller's place.
unsafe fn wait_for(
    channel: *const railbus_channel,
    reached: *mut u64,
    error: *mut railbus_error,
    wait: impl FnOnce(&Channel) -> railbus::Result<u64>,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract.
        let found = wait(unsafe { self::channel(channel) }?)?;
        if !reached.is_null() {
            // SAFETY: the caller's place.
            unsafe { reached.write(found) };
        }
        Ok(())
    })
}

/// Publishes a copy of `payload_bytes` bytes, as `railbus_publish_with` does, and waits until the
/// event is durable in the channel's journal. `timeout_ns` bounds both together. `attributes` may
/// be NULL.
///
/// `position`, which may be NULL, says how far the call came, whatever its result is. It gets
/// `RAILBUS_NONE` when nothing was published, and the event's position when it was published, even
/// if the wait failed. In that case it is not known whether the event will be durable: do not
/// publish it again, but call `railbus_wait_durable`.
///
/// Returns the results of `railbus_publish` and `railbus_wait_durable`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_durable(
    sender: *mut railbus_sender,
    payload: *const c_void,
    payload_bytes: usize,
    attributes: *const railbus_attributes,
    timeout_ns: u64,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    if !position.is_null() {
        // SAFETY: the caller's place.
        unsafe { position.write(RAILBUS_NONE) };
    }
    let publish = |body: &mut SenderBody| {
        // SAFETY: the caller vouches for the bytes.
        let payload = unsafe { payload_of(payload, payload_bytes) }?;
        let attributes = railbus_attributes::read(attributes)?;
        let started = Instant::now();
        let published = with_sender!(&mut body.sender, sender => claim(
            sender,
            payload.len(),
            attributes.as_ref(),
            timeout_ns,
        )
        .map(|mut claim| {
            claim.copy_from_slice(payload);
            claim.commit()
        }));
        let at = match published {
            Ok(at) => at,
            Err(failed) => return Ok(send_failed(failed, error)),
        };
        if !position.is_null() {
            // SAFETY: the caller's place.
            unsafe { position.write(at) };
        }
        let rest = match timeout_ns {
            RAILBUS_FOREVER => Duration::from_nanos(RAILBUS_FOREVER),
            timeout_ns => Duration::from_nanos(timeout_ns).saturating_sub(started.elapsed()),
        };
        body.channel.wait_durable(at, rest)?;
        Ok(RAILBUS_OK)
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(sender.cast(), error, publish) }
}
