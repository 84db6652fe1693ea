//! The options of a reader: its flags, and where it starts.

use std::ffi::c_char;

use crate::sized::sized;

/// Reader option: the subscription outlives its owner. Its cursor holds events back until a reader
/// opens with its name again.
pub const RAILBUS_DURABLE: u32 = 1;
/// Reader option: the reader never holds a publisher back. It loses events instead, and reports
/// exactly which.
pub const RAILBUS_LOSSY: u32 = 2;
/// Reader and worker option: receiving ends with `RAILBUS_CLOSED` when the last publisher has left
/// and everything was read (or done, for a worker).
pub const RAILBUS_UNTIL_CLOSED: u32 = 4;

/// Reader option: only `railbus_acknowledge_to` moves the cursor. Events that were received and not
/// acknowledged stay in the ring, hold publishers back, and are delivered again when a durable
/// subscription resumes. Not with `RAILBUS_LOSSY`, and not for readers that follow the journal.
pub const RAILBUS_MANUAL: u32 = 8;

/// Start: after everything published so far. The default.
pub const RAILBUS_START_LIVE: u32 = 0;
/// Start: at the oldest event that is retained.
pub const RAILBUS_START_OLDEST: u32 = 1;
/// Start: at `position`, which must be retained and the start of an event.
pub const RAILBUS_START_POSITION: u32 = 2;
/// Start: at the first event recorded at `time_ns` or later. Only for readers that follow the journal.
pub const RAILBUS_START_TIME: u32 = 3;
/// Start: at the last `position` events that are retained, or at all if there are fewer. Not for
/// readers that follow the journal.
pub const RAILBUS_START_LAST: u32 = 4;

/// How a reader behaves. Initialise it with `RAILBUS_READER_OPTIONS_INIT`; zero is the default of
/// everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_reader_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_DURABLE`, `RAILBUS_LOSSY`, `RAILBUS_UNTIL_CLOSED`, `RAILBUS_MANUAL`, or-ed together.
    pub flags: u32,
    /// A name of at most 64 bytes: for observers, or the identity of a durable subscription. May be
    /// NULL.
    pub name: *const c_char,
    /// Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
    pub name_bytes: usize,
    /// How to wait for events: one of `RAILBUS_WAIT_`.
    pub wait: u32,
    /// Where to start: one of `RAILBUS_START_`. A durable subscription that exists resumes instead.
    pub start: u32,
    /// How long to poll before sleeping or yielding, in ns.
    pub spin_ns: u64,
    /// With `RAILBUS_START_POSITION`: the position. With `RAILBUS_START_LAST`: how many events.
    pub position: u64,
    /// With `RAILBUS_START_TIME`: the time, in ns of CLOCK_REALTIME.
    pub time_ns: u64,
    /// Whether to begin in the channel's journal: one of `RAILBUS_FOLLOW_`. If so,
    /// `RAILBUS_START_OLDEST` means the journal's oldest event, and a position may be any position
    /// in the journal.
    pub follow: u32,
    /// Zero.
    pub reserved: u32,
}

sized!(railbus_reader_options);
