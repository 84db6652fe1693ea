//! Blocks as readers see them: check a block, unpack its records, walk them, and put pieces
//! together.
//!
//! ```text
//! bytes -> open() -> header + records (decompressed) -> Records -> Record -> Assembler -> whole records
//! ```
//!
//! Everything here is pure and works on bytes in memory. Code that follows the chain from block to
//! block (recovery and the readers) checks with [`Link`] that a block is the next one of the chain.

use crate::compress;
use crate::format::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, FirstPiece, Flaw, Gap, GapReason, PIECE_OF_STATE,
    PositionUnit, RecordHeader, RecordKind, record_bytes,
};

/// A record of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The record's position. For an event it is the event's own, for a gap where the gap begins. A
    /// state is valid for all events before its position.
    pub position: u64,
    /// Once this record is in the journal, so is everything before this position. For a first or
    /// middle piece it equals `position`.
    pub end_position: u64,
    /// When the record was written into the journal, in ns of CLOCK_REALTIME.
    pub time_ns: u64,
    /// The kind of the record.
    pub kind: RecordKind,
    /// The event's type id.
    pub type_id: u16,
    /// The event's flags.
    pub flags: u8,
    /// The body, or this piece's part of it.
    pub body: &'a [u8],
}

/// Checks a whole block and returns its records. `scratch` receives them when they are compressed.
///
/// # Errors
/// [`Flaw::Checksum`] or [`Flaw::Short`] for a damaged block; [`Flaw::Nonsense`] when the records
/// do not decompress to the size in the header.
pub fn open<'a>(header: &BlockHeader, block: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Flaw> {
    header.check_body(block)?;
    let end = BLOCK_HEADER_BYTES + header.stored_bytes as usize;
    let stored = block.get(BLOCK_HEADER_BYTES..end).ok_or(Flaw::Short)?;
    if header.codec == Codec::None {
        return Ok(stored);
    }
    scratch.resize(header.records_bytes as usize, 0); // at most a block: the header was checked
    compress::decompress(header.codec, stored, scratch)?;
    Ok(scratch)
}

/// The records of one block, in order. The iterator ends after the first flaw.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    first_position: u64,
    base_time_ns: u64,
    unit: PositionUnit,
    /// Number of records that must still follow, when a header gives it.
    left: Option<u32>,
}

impl<'a> Records<'a> {
    /// Returns the records of a block that [`open`] unpacked. A mark or a seal has none.
    pub fn new(header: &BlockHeader, records: &'a [u8]) -> Records<'a> {
        let rest = if header.kind == BlockKind::Records { records } else { &[] };
        Records {
            rest,
            first_position: header.first_position,
            base_time_ns: header.base_time_ns,
            unit: header.unit,
            left: Some(header.records),
        }
    }

    /// Returns the records of a block that was still being filled, according to its stage words.
    pub fn unfinished(
        unit: PositionUnit,
        first_position: u64,
        base_time_ns: u64,
        records: &'a [u8],
    ) -> Records<'a> {
        Records { rest: records, first_position, base_time_ns, unit, left: None }
    }

    fn decode(&mut self) -> Result<Record<'a>, Flaw> {
        let (header, body) = RecordHeader::decode(self.rest)?;
        let bytes = record_bytes(body.len());
        self.rest = self.rest.get(bytes..).ok_or(Flaw::Short)?;
        let position = self
            .first_position
            .checked_add(header.position_delta.into())
            .ok_or(Flaw::Nonsense("a position beyond the last"))?;
        let end_position = match header.kind {
            RecordKind::Event => self.unit.end(position, header.body_bytes.into()),
            RecordKind::Gap => Gap::decode(body)?.to,
            _ => position,
        };
        Ok(Record {
            position,
            end_position,
            time_ns: self.base_time_ns.saturating_add(header.time_delta_ns.into()),
            kind: header.kind,
            type_id: header.type_id,
            flags: header.flags,
            body,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return match self.left.replace(0) {
                None | Some(0) => None,
                Some(_) => Some(Err(Flaw::Nonsense("fewer records than the header says"))),
            };
        }
        let record = match &mut self.left {
            Some(0) => Err(Flaw::Nonsense("more records than the header says")),
            left => {
                if let Some(left) = left {
                    *left -= 1;
                }
                self.decode()
            }
        };
        if record.is_err() {
            self.rest = &[];
            self.left = Some(0);
        }
        Some(record)
    }
}

/// Puts the pieces of large records together. The caller passes it every record of a journal, in
/// order.
#[derive(Debug, Default)]
pub struct Assembler {
    body: Vec<u8>,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    position: u64,
    kind: RecordKind,
    type_id: u16,
    flags: u8,
    body_bytes: usize,
}

impl Assembler {
    /// Creates an assembler that holds no pieces.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// Whether the last record was a piece, so that more pieces must follow.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Discards the pieces collected so far. Call it after a jump, and where a new writer's epoch
    /// begins, because the earlier writer may have died within a record.
    pub fn reset(&mut self) {
        self.pending = None;
        self.body = Vec::new();
    }

    /// Takes one record. Returns a whole record: the one passed, or the one that this piece
    /// completes. Returns `None` when more pieces must follow. An assembled record has the position
    /// of its first piece and the time of its last.
    ///
    /// # Errors
    /// A middle or last piece without a first one is an error. A caller that starts in the middle
    /// of a journal must skip such pieces. A record among the pieces of another one is an error,
    /// too.
    pub fn push<'a>(
        &'a mut self,
        record: Record<'a>,
        unit: PositionUnit,
    ) -> Result<Option<Record<'a>>, Flaw> {
        match (record.kind, self.pending) {
            (RecordKind::First, None) => {
                let (first, piece) = FirstPiece::decode(record.body)?;
                self.body.clear();
                self.body.extend_from_slice(piece);
                self.pending = Some(Pending {
                    position: record.position,
                    kind: first.kind,
                    type_id: record.type_id,
                    flags: record.flags & !PIECE_OF_STATE,
                    body_bytes: first.body_bytes as usize,
                });
                self.check_length(false)?;
                Ok(None)
            }
            (RecordKind::Middle | RecordKind::Last, Some(pending)) => {
                if record.position != pending.position {
                    return Err(Flaw::Nonsense("a piece of another record"));
                }
                self.body.extend_from_slice(record.body);
                let last = record.kind == RecordKind::Last;
                self.check_length(last)?;
                if !last {
                    return Ok(None);
                }
                self.pending = None;
                let end_position = match pending.kind {
                    RecordKind::Event => unit.end(pending.position, pending.body_bytes as u64),
                    _ => pending.position,
                };
                Ok(Some(Record {
                    position: pending.position,
                    end_position,
                    time_ns: record.time_ns,
                    kind: pending.kind,
                    type_id: pending.type_id,
                    flags: pending.flags,
                    body: &self.body,
                }))
            }
            (RecordKind::Middle | RecordKind::Last, None) => {
                Err(Flaw::Nonsense("a piece without a first one"))
            }
            (RecordKind::Gap, Some(pending)) if pending.position == record.position => {
                self.reset(); // the rest of the event was dropped
                Ok(Some(record))
            }
            (_, Some(_)) => Err(Flaw::Nonsense("a record among the pieces of another")),
            (_, None) => Ok(Some(record)),
        }
    }

    /// Checks the length of the pieces so far. The body grows by the bytes read, never by a
    /// promised length.
    fn check_length(&self, last: bool) -> Result<(), Flaw> {
        let wanted = self.pending.map_or(0, |pending| pending.body_bytes);
        if self.body.len() > wanted || (last && self.body.len() != wanted) {
            return Err(Flaw::Nonsense("pieces of another length than their whole"));
        }
        Ok(())
    }
}

/// The facts with which the next block of the chain must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// The next block's number.
    pub sequence: u64,
    /// The header checksum of the block before it.
    pub checksum: u32,
    /// The end of the positions before it.
    pub end_position: u64,
    /// Number of events that ended before it.
    pub events: u64,
    /// The newest time before it, in ns.
    pub time_ns: u64,
    /// The largest durable position before it.
    pub durable_position: u64,
}

impl Link {
    /// Checks that the block is the next one of the chain. The caller compares the segment's id.
    ///
    /// # Errors
    /// [`Flaw::Nonsense`] for any other block.
    pub fn check(&self, header: &BlockHeader) -> Result<(), Flaw> {
        if header.sequence != self.sequence || header.previous_checksum != self.checksum {
            return Err(Flaw::Nonsense("a block that does not follow the one before it"));
        }
        if header.first_position < self.end_position
            || header.events_before != self.events
            || header.base_time_ns < self.time_ns
            || header.durable_position < self.durable_position
        {
            return Err(Flaw::Nonsense("a block that contradicts the one before it"));
        }
        Ok(())
    }

    /// Returns the link after a block in which `events` events end and whose last record has
    /// `time_ns`.
    pub fn behind(header: &BlockHeader, events: u64, time_ns: u64) -> Link {
        Link {
            sequence: header.sequence.saturating_add(1),
            checksum: header.header_checksum,
            end_position: header.end_position,
            events: header.events_before.saturating_add(events),
            time_ns: time_ns.max(header.base_time_ns),
            durable_position: header.durable_position,
        }
    }
}

/// The summary of a block whose records were all found to be well-formed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    /// Number of events that end in the block.
    pub events: u64,
    /// The time of its last record in ns, or its base time if it has none.
    pub time_ns: u64,
}

/// Walks a block's records and checks them against its header.
///
/// # Errors
/// The first flaw of the records.
pub fn content(header: &BlockHeader, records: &[u8]) -> Result<Content, Flaw> {
    let mut content = Content { events: 0, time_ns: header.base_time_ns };
    let mut position = header.first_position;
    for record in Records::new(header, records) {
        let record = record?;
        if record.position < position || record.end_position > header.end_position {
            return Err(Flaw::Nonsense("a record outside of its block's positions"));
        }
        if record.time_ns < content.time_ns {
            return Err(Flaw::Nonsense("a record older than the one before it"));
        }
        position = record.end_position.max(record.position);
        content.time_ns = record.time_ns;
        content.events = content.events.saturating_add(events_of(&record)?);
    }
    Ok(content)
}

/// Returns how many events this record adds to the journal's count. A gap adds the events that a
/// repair replaced: they had been counted before, and later blocks include them in `events_before`.
pub(crate) fn events_of(record: &Record<'_>) -> Result<u64, Flaw> {
    if record.kind != RecordKind::Gap {
        return Ok(ends_an_event(record).into());
    }
    let gap = Gap::decode(record.body)?;
    let is_counted = gap.reason == GapReason::Quarantined && gap.events != u64::MAX;
    Ok(if is_counted { gap.events } else { 0 })
}

/// Whether an event ends with this record.
pub fn ends_an_event(record: &Record<'_>) -> bool {
    match record.kind {
        RecordKind::Event => true,
        RecordKind::Last => record.flags & PIECE_OF_STATE == 0,
        _ => false,
    }
}
