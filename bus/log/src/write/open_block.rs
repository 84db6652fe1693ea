//! The block being filled, and those that are full.

use crate::format::{BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordKind, record_bytes};

/// The description of the records in one staging block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling {
    /// The index of the staging block.
    pub(super) block: usize,
    /// Bytes of records in it, and of room for more.
    pub(super) used_bytes: usize,
    pub(super) room_bytes: usize,
    pub(super) records: u32,
    /// Number of events that end in it.
    pub(super) events: u32,
    pub(super) first_position: u64,
    pub(super) end_position: u64,
    pub(super) base_time_ns: u64,
    pub(super) last_time_ns: u64,
    /// When (monotonic clock, ns) a turn first saw it with records.
    pub(super) seen_ns: Option<u64>,
    /// Whether its last record is a piece, and more follow.
    pub(super) unfinished: bool,
    /// Which states have a record, or its first piece, in it.
    pub(super) states: [bool; RecordKind::STATES.len()],
    /// Number of states of each kind that end in it.
    pub(super) states_end: [u32; RecordKind::STATES.len()],
}

/// A record to be put into a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Put<'a> {
    pub(super) kind: RecordKind,
    pub(super) type_id: u16,
    pub(super) flags: u8,
    pub(super) position: u64,
    pub(super) time_ns: u64,
    /// The beginning of the body: a first piece's header, or nothing.
    pub(super) prefix: &'a [u8],
    pub(super) body: &'a [u8],
}

impl Filling {
    pub(super) fn new(block: usize, block_bytes: usize, position: u64, time_ns: u64) -> Filling {
        Filling {
            block,
            used_bytes: 0,
            room_bytes: block_bytes - BLOCK_HEADER_BYTES,
            records: 0,
            events: 0,
            first_position: position,
            end_position: position,
            base_time_ns: time_ns,
            last_time_ns: time_ns,
            seen_ns: None,
            unfinished: false,
            states: [false; RecordKind::STATES.len()],
            states_end: [0; RecordKind::STATES.len()],
        }
    }

    /// Whether a record with that body fits, and its position and time are close enough to the
    /// block's base.
    #[inline(always)]
    pub(super) fn takes(&self, body_bytes: usize, position: u64, time_ns: u64) -> bool {
        let near = u64::from(u32::MAX);
        record_bytes(body_bytes) <= self.room_bytes
            && position.wrapping_sub(self.first_position) <= near
            && time_ns.wrapping_sub(self.base_time_ns) <= near
    }

    /// Appends a record that the block [`takes`](Self::takes). Returns the size of all its records,
    /// in bytes.
    #[inline(always)]
    pub(super) fn put(&mut self, staging: &mut [u8], record: &Put<'_>) -> usize {
        let body_bytes = record.prefix.len() + record.body.len();
        let bytes = record_bytes(body_bytes);
        let header = RecordHeader {
            body_bytes: body_bytes as u32,
            type_id: record.type_id,
            flags: record.flags,
            kind: record.kind,
            position_delta: (record.position - self.first_position) as u32,
            time_delta_ns: (record.time_ns - self.base_time_ns) as u32,
        };
        let target = &mut staging[BLOCK_HEADER_BYTES + self.used_bytes..][..bytes];
        if bytes > RECORD_HEADER_BYTES {
            target[bytes - 8..].fill(0); // the padding
        }
        target[..RECORD_HEADER_BYTES].copy_from_slice(&header.encode());
        let body = &mut target[RECORD_HEADER_BYTES..][..body_bytes];
        let (prefix, rest) = body.split_at_mut(record.prefix.len());
        prefix.copy_from_slice(record.prefix);
        rest.copy_from_slice(record.body);
        self.used_bytes += bytes;
        self.room_bytes -= bytes;
        self.records += 1;
        self.last_time_ns = record.time_ns;
        self.used_bytes
    }
}
