//! Records: events, gaps and states, whole or in pieces.

use railbus_ring::frame;

use super::{Flaw, RECORD_HEADER_BYTES, put, u16_at, u32_at, u64_at};

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A whole event. The body is the event's, extensions included.
    Event = 1,
    /// The first piece of a record that spans blocks: a [`FirstPiece`], then the beginning of the body.
    First = 2,
    /// A further piece.
    Middle = 3,
    /// The last piece. The record counts from here on.
    Last = 4,
    /// Events that are missing: the body is a [`Gap`].
    Gap = 5,
    /// Which of a queue's events before the record's position are unfinished.
    Acks = 6,
    /// The cursors of the durable subscriptions.
    Cursors = 7,
    /// The last sequence of each named publisher.
    Sequences = 8,
}

impl RecordKind {
    /// The kinds that record a state. The newest one counts, and the writer repeats it in every segment.
    pub const STATES: [RecordKind; 3] = [RecordKind::Acks, RecordKind::Cursors, RecordKind::Sequences];

    /// The index of this kind in [`STATES`](Self::STATES), if it is one of them.
    pub fn state_index(self) -> Option<usize> {
        Self::STATES.iter().position(|&kind| kind == self)
    }

    /// Whether the record is a piece, and not the first one.
    pub const fn continues(self) -> bool {
        matches!(self, RecordKind::Middle | RecordKind::Last)
    }

    fn decode(value: u8) -> Result<RecordKind, Flaw> {
        Ok(match value {
            1 => RecordKind::Event,
            2 => RecordKind::First,
            3 => RecordKind::Middle,
            4 => RecordKind::Last,
            5 => RecordKind::Gap,
            6 => RecordKind::Acks,
            7 => RecordKind::Cursors,
            8 => RecordKind::Sequences,
            kind => return Err(Flaw::Unknown { what: "kind of record", value: kind.into() }),
        })
    }
}

/// The beginning of the body of a record of kind [`RecordKind::First`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstPiece {
    /// Size of the whole body, in bytes.
    pub body_bytes: u32,
    /// The kind of the whole record: an event or a state.
    pub kind: RecordKind,
}

impl FirstPiece {
    /// Size of the encoded value, in bytes.
    pub const BYTES: usize = 8;

    /// Encodes the value: length at 0, kind at 4.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, 0, self.body_bytes.to_le_bytes());
        put(&mut bytes, 4, [self.kind as u8]);
        bytes
    }

    /// Decodes the value, and returns the part of the body that follows it.
    ///
    /// # Errors
    /// The first [`Flaw`] found.
    pub fn decode(piece: &[u8]) -> Result<(FirstPiece, &[u8]), Flaw> {
        let (bytes, rest) = piece.split_at_checked(Self::BYTES).ok_or(Flaw::Short)?;
        let first = FirstPiece { body_bytes: u32_at(bytes, 0), kind: RecordKind::decode(bytes[4])? };
        if first.kind != RecordKind::Event && first.kind.state_index().is_none() {
            return Err(Flaw::Nonsense("a piece of what is never cut into pieces"));
        }
        Ok((first, rest))
    }
}

/// A flag of a piece: the whole record is a state, not an event. No event has this flag.
pub const PIECE_OF_STATE: u8 = 0x80;

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Size of the body that follows, in bytes, without padding.
    pub body_bytes: u32,
    /// The event's type id.
    pub type_id: u16,
    /// The event's flags; see [`frame`].
    pub flags: u8,
    /// The kind of the record.
    pub kind: RecordKind,
    /// The record's position minus the block's first position.
    pub position_delta: u32,
    /// The record's time minus the block's base time, in ns.
    pub time_delta_ns: u32,
}

impl RecordHeader {
    /// Encodes the header: length at 0, type at 4, flags at 6, kind at 7, position at 8, time at 12.
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        put(&mut bytes, 0, self.body_bytes.to_le_bytes());
        put(&mut bytes, 4, self.type_id.to_le_bytes());
        put(&mut bytes, 6, [self.flags, self.kind as u8]);
        put(&mut bytes, 8, self.position_delta.to_le_bytes());
        put(&mut bytes, 12, self.time_delta_ns.to_le_bytes());
        bytes
    }

    /// Decodes the record at the beginning of `records`, and returns its header and its body.
    ///
    /// # Errors
    /// The first [`Flaw`] found.
    pub fn decode(records: &[u8]) -> Result<(RecordHeader, &[u8]), Flaw> {
        let bytes = records.get(..RECORD_HEADER_BYTES).ok_or(Flaw::Short)?;
        let kind = RecordKind::decode(bytes[7])?;
        let header = RecordHeader {
            body_bytes: u32_at(bytes, 0),
            type_id: u16_at(bytes, 4),
            flags: bytes[6],
            kind,
            position_delta: u32_at(bytes, 8),
            time_delta_ns: u32_at(bytes, 12),
        };
        let end = RECORD_HEADER_BYTES.checked_add(header.body_bytes as usize).ok_or(Flaw::Short)?;
        let body = records.get(RECORD_HEADER_BYTES..end).ok_or(Flaw::Short)?;
        if kind == RecordKind::Event && !frame::is_event(header.event_word(), u32::MAX.into()) {
            return Err(Flaw::Nonsense("an event that no publisher writes"));
        }
        Ok((header, body))
    }

    /// Returns the header word that a whole event had in the ring.
    pub fn event_word(&self) -> u64 {
        frame::header(self.body_bytes, self.type_id, self.flags)
    }
}

/// The reason why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum GapReason {
    /// The journal was lossy, and was overrun.
    Overrun = 1,
    /// The disk was full, and the policy is to drop events.
    DiskFull = 2,
    /// A writer died, and the events in its staging are lost.
    StagingLost = 3,
    /// The journal was not recording.
    NotRecorded = 4,
    /// The events were in a corrupt part of the journal, which `railbus journal repair` moved away.
    Quarantined = 5,
}

/// Events that are missing: the body of a [`RecordKind::Gap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first position that is missing.
    pub from: u64,
    /// The first position after the gap.
    pub to: u64,
    /// Number of missing events; `u64::MAX` when it is unknown.
    pub events: u64,
    /// The reason why they are missing.
    pub reason: GapReason,
}

impl Gap {
    /// Size of a gap's body, in bytes.
    pub const BYTES: usize = 32;

    /// Encodes the body: from at 0, to at 8, events at 16, reason at 24.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, 0, self.from.to_le_bytes());
        put(&mut bytes, 8, self.to.to_le_bytes());
        put(&mut bytes, 16, self.events.to_le_bytes());
        put(&mut bytes, 24, (self.reason as u32).to_le_bytes());
        bytes
    }

    /// Decodes and checks a gap's body.
    ///
    /// # Errors
    /// The first [`Flaw`] found.
    pub fn decode(body: &[u8]) -> Result<Gap, Flaw> {
        if body.len() != Self::BYTES {
            return Err(Flaw::Unknown { what: "length of a gap", value: body.len() as u32 });
        }
        let reason = match u32_at(body, 24) {
            1 => GapReason::Overrun,
            2 => GapReason::DiskFull,
            3 => GapReason::StagingLost,
            4 => GapReason::NotRecorded,
            5 => GapReason::Quarantined,
            reason => return Err(Flaw::Unknown { what: "reason of a gap", value: reason }),
        };
        let gap = Gap { from: u64_at(body, 0), to: u64_at(body, 8), events: u64_at(body, 16), reason };
        if gap.to < gap.from {
            return Err(Flaw::Nonsense("a gap that ends before it begins"));
        }
        Ok(gap)
    }
}
