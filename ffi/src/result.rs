//! Results and the error struct.
//!
//! Zero is success. Positive results are ordinary answers of a bus at work: no event, no room,
//! events lost. Negative ones are errors. The caller owns the struct that describes an error, so it
//! does not matter on which thread it is read.

use std::ffi::c_char;

use railbus::{AcknowledgeError, Error, RecvError, SendError, TableError};

/// Success.
pub const RAILBUS_OK: i32 = 0;
/// There is no event now. Returned for a timeout of 0 only; leaves the error struct alone.
pub const RAILBUS_EMPTY: i32 = 1;
/// There is no room now; nothing was published. Returned for a timeout of 0 only; leaves the error
/// struct alone.
pub const RAILBUS_FULL: i32 = 2;
/// The timeout passed: no event came, or there was no room. Leaves the error struct alone when the
/// call waited for events or room.
pub const RAILBUS_TIMED_OUT: i32 = 3;
/// The event was counted as dropped. The channel is full, and its creator chose to drop the newest
/// event, or to divert events to a channel where there is no room either.
pub const RAILBUS_DROPPED: i32 = 4;
/// Events are missing: exactly those from `lost_from` up to `lost_to` of the error struct. The next
/// call goes on after them.
pub const RAILBUS_LOST: i32 = 5;
/// The last publisher has left and everything was read. Only for readers and workers opened with
/// `RAILBUS_UNTIL_CLOSED`.
pub const RAILBUS_CLOSED: i32 = 6;
/// The channel has an event of this publisher with this number, or a higher one, already. The event
/// was not published.
pub const RAILBUS_PUBLISHED_BEFORE: i32 = 7;
/// A replay has come to its end.
pub const RAILBUS_END: i32 = 8;
/// The channel is full, and its creator chose to divert: the event is in the other channel, and not
/// in this one.
pub const RAILBUS_DIVERTED: i32 = 9;

/// The key of a table has no value. Leaves the error struct alone.
pub const RAILBUS_ABSENT: i32 = 12;
/// The key of a table is not of the version that the caller has seen. Nothing was changed.
pub const RAILBUS_CHANGED: i32 = 13;

/// An argument is out of its range, or contradicts another.
pub const RAILBUS_INVALID: i32 = -1;
/// There is no such bus, channel, participant or journal.
pub const RAILBUS_NOT_FOUND: i32 = -2;
/// It exists already although it was to be created, or it is of another kind or size.
pub const RAILBUS_EXISTS: i32 = -3;
/// The rights of this process do not allow it.
pub const RAILBUS_NOT_ALLOWED: i32 = -4;
/// The channel was made by a version of railbus with another layout.
pub const RAILBUS_LAYOUT: i32 = -5;
/// Shared memory or a file has contents that no correct peer writes.
pub const RAILBUS_CORRUPT: i32 = -6;
/// There is not enough memory or space.
pub const RAILBUS_NO_SPACE: i32 = -7;
/// Huge pages were required and are not available.
pub const RAILBUS_NO_HUGE_PAGES: i32 = -8;
/// Another participant has the only one: the stream's publisher, a durable name, the last registry
/// entry.
pub const RAILBUS_BUSY: i32 = -9;
/// A peer that is needed is dead or has left.
pub const RAILBUS_PEER_GONE: i32 = -10;
/// The handle was made before `fork`: open the channel again in the child.
pub const RAILBUS_FORKED: i32 = -11;
/// The operating system refused for another reason.
pub const RAILBUS_IO: i32 = -12;
/// This participant was evicted. The events that it held may have gone to another. Open it again.
pub const RAILBUS_EVICTED: i32 = -13;
/// The event is larger than this channel allows.
pub const RAILBUS_TOO_LONG: i32 = -14;
/// The queue is full and no worker is alive to take events.
pub const RAILBUS_NO_WORKER: i32 = -15;
/// The handle was closed, or is not of this type.
pub const RAILBUS_CLOSED_HANDLE: i32 = -16;
/// The buffer is too small, or has another size than the event.
pub const RAILBUS_WRONG_LENGTH: i32 = -17;
/// This worker does not hold the event: it is done, was handed back, or belongs to another worker.
pub const RAILBUS_NOT_HELD: i32 = -18;
/// The sender has an open claim: commit or abort it first. Or it has none: claim first.
pub const RAILBUS_CLAIM: i32 = -19;
/// The header and the library are of different versions.
pub const RAILBUS_WRONG_VERSION: i32 = -20;
/// The channel was removed while this participant was attached, and everything in it was read. It
/// can no longer be found. Attach again.
pub const RAILBUS_REMOVED: i32 = -21;
/// The sender does not number its events: open it with a name and `RAILBUS_SEQUENCED`.
pub const RAILBUS_NOT_SEQUENCED: i32 = -22;
/// The queue holds an unfinished event with this unique key. Nothing was published.
pub const RAILBUS_DUPLICATE: i32 = -24;
/// The channel was made without `RAILBUS_UNIQUE`, or is no queue.
pub const RAILBUS_NOT_UNIQUE: i32 = -25;
/// A bug in railbus: it panicked. The handle can only be closed.
pub const RAILBUS_PANIC: i32 = -23;

/// Bytes of `railbus_error.message`.
pub const RAILBUS_MESSAGE_BYTES: usize = 256;

/// A description of an error. Owned by the caller; need not be initialised. Every function takes
/// NULL instead.
///
/// It is written when a function returns anything but `RAILBUS_OK`, `RAILBUS_EMPTY`,
/// `RAILBUS_FULL`, `RAILBUS_ABSENT`, or a `RAILBUS_TIMED_OUT` of waiting for an event, for a change or
/// for room. Those are too frequent and too clear to be described.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_error {
    /// The result of the function.
    pub code: i32,
    /// Zero.
    pub reserved: u32,
    /// `RAILBUS_LOST`: the first position that is missing.
    pub lost_from: u64,
    /// `RAILBUS_LOST`: the first position after the gap.
    pub lost_to: u64,
    /// `RAILBUS_LOST`: the number of events in the gap. `RAILBUS_NONE` if the gap is in a journal
    /// and the number is not known.
    pub lost_events: u64,
    /// The operation that failed, on which object, why, and how to correct it. UTF-8,
    /// zero-terminated, cut if too long.
    pub message: [c_char; RAILBUS_MESSAGE_BYTES],
}

/// A failure on its way to the caller.
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) lost: (u64, u64, u64),
}

impl Failure {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), lost: (0, 0, 0) }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(RAILBUS_INVALID, message)
    }

    /// Reports the failure to the caller.
    #[cold]
    pub(crate) fn tell(&self, error: *mut railbus_error) -> i32 {
        if error.is_null() {
            return self.code;
        }
        let mut message: [c_char; RAILBUS_MESSAGE_BYTES] = [0; RAILBUS_MESSAGE_BYTES];
        let mut end = self.message.len().min(RAILBUS_MESSAGE_BYTES - 1);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        for (to, from) in message.iter_mut().zip(self.message[..end].bytes()) {
            // A zero byte, perhaps of a name in the message, would end it early.
            *to = if from == 0 { b' ' } else { from } as c_char;
        }
        let (lost_from, lost_to, lost_events) = self.lost;
        let told = railbus_error { code: self.code, reserved: 0, lost_from, lost_to, lost_events, message };
        // SAFETY: the caller vouches for the struct; it may be uninitialised.
        unsafe { error.write(told) };
        self.code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match &error {
            Error::Invalid { .. } => RAILBUS_INVALID,
            Error::NotFound { .. } | Error::NoJournal { .. } => RAILBUS_NOT_FOUND,
            Error::Exists { .. } => RAILBUS_EXISTS,
            Error::NotAllowed { .. } => RAILBUS_NOT_ALLOWED,
            Error::Layout { .. } | Error::Version { .. } => RAILBUS_LAYOUT,
            Error::Corrupt { .. } => RAILBUS_CORRUPT,
            Error::NoSpace { .. } => RAILBUS_NO_SPACE,
            Error::NoHugePages { .. } => RAILBUS_NO_HUGE_PAGES,
            Error::Busy { .. } => RAILBUS_BUSY,
            Error::TimedOut { .. } => RAILBUS_TIMED_OUT,
            Error::Duplicate { .. } => RAILBUS_DUPLICATE,
            Error::PeerGone { .. } => RAILBUS_PEER_GONE,
            Error::Forked => RAILBUS_FORKED,
            _ => RAILBUS_IO,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        let code = match error {
            SendError::Full => RAILBUS_FULL,
            SendError::NoWorker => RAILBUS_NO_WORKER,
            SendError::TimedOut => RAILBUS_TIMED_OUT,
            SendError::TooLong { .. } => RAILBUS_TOO_LONG,
            SendError::Dropped => RAILBUS_DROPPED,
            SendError::Diverted { .. } => RAILBUS_DIVERTED,
            SendError::Evicted => RAILBUS_EVICTED,
            SendError::Removed => RAILBUS_REMOVED,
            SendError::CannotRepair(_) => RAILBUS_NOT_ALLOWED,
            SendError::Forked => RAILBUS_FORKED,
            SendError::Corrupt(_) => RAILBUS_CORRUPT,
            SendError::NotSequenced => RAILBUS_NOT_SEQUENCED,
            SendError::Duplicate { .. } => RAILBUS_DUPLICATE,
            SendError::NotUnique => RAILBUS_NOT_UNIQUE,
            _ => RAILBUS_IO,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<AcknowledgeError> for Failure {
    fn from(error: AcknowledgeError) -> Failure {
        match error {
            AcknowledgeError::Reader(error) => error.into(),
            error => Failure::invalid(error.to_string()),
        }
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Failure {
        let code = match error {
            TableError::Full => RAILBUS_NO_SPACE,
            TableError::TooLong { .. } => RAILBUS_TOO_LONG,
            TableError::BadKey { .. } => RAILBUS_INVALID,
            TableError::Changed { .. } => RAILBUS_CHANGED,
            TableError::Held { .. } => RAILBUS_BUSY,
            TableError::TimedOut => RAILBUS_TIMED_OUT,
            TableError::Evicted => RAILBUS_EVICTED,
            TableError::Removed => RAILBUS_REMOVED,
            TableError::CannotRepair(_) => RAILBUS_NOT_ALLOWED,
            TableError::Forked => RAILBUS_FORKED,
            TableError::Corrupt(_) => RAILBUS_CORRUPT,
            _ => RAILBUS_IO,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<RecvError> for Failure {
    fn from(error: RecvError) -> Failure {
        let code = match error {
            RecvError::Lost { .. } => RAILBUS_LOST,
            RecvError::TimedOut => RAILBUS_TIMED_OUT,
            RecvError::Closed => RAILBUS_CLOSED,
            RecvError::Evicted => RAILBUS_EVICTED,
            RecvError::Removed => RAILBUS_REMOVED,
            RecvError::CannotRepair(_) => RAILBUS_NOT_ALLOWED,
            RecvError::Forked => RAILBUS_FORKED,
            RecvError::Corrupt(_) => RAILBUS_CORRUPT,
            RecvError::HandsFull => RAILBUS_BUSY,
            _ => RAILBUS_IO,
        };
        let lost = match error {
            RecvError::Lost { from, to, events } => (from, to, events),
            _ => (0, 0, 0),
        };
        Failure { code, message: error.to_string(), lost }
    }
}

/// The result of a reader or worker that has no event, or that failed.
#[cold]
pub(crate) fn receive_failed(failed: RecvError, error: *mut railbus_error) -> i32 {
    match failed {
        RecvError::TimedOut => RAILBUS_TIMED_OUT,
        failed => Failure::from(failed).tell(error),
    }
}

/// The result of a sender that found no room, or that failed.
#[cold]
pub(crate) fn send_failed(failed: SendError, error: *mut railbus_error) -> i32 {
    match failed {
        SendError::Full => RAILBUS_FULL,
        SendError::TimedOut => RAILBUS_TIMED_OUT,
        failed => Failure::from(failed).tell(error),
    }
}

/// Returns a few words for a result, such as "there is no room now". Never NULL; do not free it.
#[unsafe(no_mangle)]
pub extern "C" fn railbus_describe(code: i32) -> *const c_char {
    let text = match code {
        RAILBUS_OK => c"success",
        RAILBUS_EMPTY => c"there is no event now",
        RAILBUS_FULL => c"there is no room now",
        RAILBUS_TIMED_OUT => c"the timeout passed",
        RAILBUS_DROPPED => c"dropped: the channel is full",
        RAILBUS_DIVERTED => c"diverted: the channel is full",
        RAILBUS_LOST => c"events were lost",
        RAILBUS_CLOSED => c"the last publisher has left",
        RAILBUS_PUBLISHED_BEFORE => c"it was published before",
        RAILBUS_END => c"the replay has ended",
        RAILBUS_ABSENT => c"the key has no value",
        RAILBUS_CHANGED => c"the key is not of the version that was seen",
        RAILBUS_INVALID => c"an argument is invalid",
        RAILBUS_NOT_FOUND => c"not found",
        RAILBUS_EXISTS => c"it exists already",
        RAILBUS_NOT_ALLOWED => c"not allowed",
        RAILBUS_LAYOUT => c"the channel has another layout",
        RAILBUS_CORRUPT => c"corrupt",
        RAILBUS_NO_SPACE => c"no space or memory",
        RAILBUS_NO_HUGE_PAGES => c"no huge pages",
        RAILBUS_BUSY => c"taken by somebody else",
        RAILBUS_PEER_GONE => c"a peer is gone",
        RAILBUS_FORKED => c"the handle was made before fork()",
        RAILBUS_IO => c"an operating system call failed",
        RAILBUS_EVICTED => c"this participant was evicted",
        RAILBUS_REMOVED => c"the channel was removed",
        RAILBUS_TOO_LONG => c"the event is too long for the channel",
        RAILBUS_NO_WORKER => c"the queue is full and has no live worker",
        RAILBUS_CLOSED_HANDLE => c"the handle is closed, or of another type",
        RAILBUS_WRONG_LENGTH => c"the buffer does not fit",
        RAILBUS_NOT_HELD => c"this worker does not hold the event",
        RAILBUS_CLAIM => c"a claim is open, or missing",
        RAILBUS_WRONG_VERSION => c"header and library are of different versions",
        RAILBUS_NOT_SEQUENCED => c"the sender does not number its events",
        RAILBUS_DUPLICATE => c"an unfinished event with this unique key is in the queue",
        RAILBUS_NOT_UNIQUE => c"the channel has no unique keys",
        RAILBUS_PANIC => c"a bug in railbus: it panicked",
        _ => c"not a result of railbus",
    };
    text.as_ptr()
}
