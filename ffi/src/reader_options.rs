//! How a reader behaves: its flags, where it starts, and its options.

use std::ffi::c_char;

use crate::sized::sized;

/// Reader option: the subscription outlives its owner. Its cursor holds events back until the name comes again.
pub const RAILBUS_DURABLE: u32 = 1;
/// Reader option: lose events, exactly reported, rather than ever hold a publisher back.
pub const RAILBUS_LOSSY: u32 = 2;
/// Reader and worker option: receiving ends with `RAILBUS_CLOSED` when the last publisher has left and everything was
/// read (done, for a worker).
pub const RAILBUS_UNTIL_CLOSED: u32 = 4;

/// Reader option: the cursor moves by `railbus_acknowledge_to` only. What was received and not acknowledged stays in the
/// ring, holds publishers back, and comes again to whoever resumes a durable subscription. Not with `RAILBUS_LOSSY`, and not
/// for readers that follow the journal.
pub const RAILBUS_MANUAL: u32 = 8;

/// Start: behind everything published so far. The default.
pub const RAILBUS_START_LIVE: u32 = 0;
/// Start: at the oldest event that is retained.
pub const RAILBUS_START_OLDEST: u32 = 1;
/// Start: at `position`, which must be retained and the start of an event.
pub const RAILBUS_START_POSITION: u32 = 2;
/// Start: at the first event recorded at `time_ns` or later. Only for readers that follow the journal.
pub const RAILBUS_START_TIME: u32 = 3;

/// How a reader behaves. Initialise it with `RAILBUS_READER_OPTIONS_INIT`; zero is the default of everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_reader_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_DURABLE`, `RAILBUS_LOSSY`, `RAILBUS_UNTIL_CLOSED`, `RAILBUS_MANUAL`, or-ed together.
    pub flags: u32,
    /// A name, at most 64 bytes: for observers, or the identity of a durable subscription; may be NULL.
    pub name: *const c_char,
    /// Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
    pub name_bytes: usize,
    /// How to wait for events: one of `RAILBUS_WAIT_`.
    pub wait: u32,
    /// Where to start: one of `RAILBUS_START_`. A durable subscription that exists resumes instead.
    pub start: u32,
    /// How long to poll first, in ns.
    pub spin_ns: u64,
    /// With `RAILBUS_START_POSITION`: where.
    pub position: u64,
    /// With `RAILBUS_START_TIME`: when, in ns of CLOCK_REALTIME.
    pub time_ns: u64,
    /// Whether to begin in the channel's journal: one of `RAILBUS_FOLLOW_`. Then `RAILBUS_START_OLDEST` is the journal's
    /// oldest event, and a position may be any that is in the journal.
    pub follow: u32,
    /// Zero.
    pub reserved: u32,
}

sized!(railbus_reader_options);
