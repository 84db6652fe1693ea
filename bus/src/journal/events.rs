//! The events of a journal, in order: opens blocks, decodes records, and puts pieces together.
//!
//! An event's bytes are returned in place, in the block as it was read, unless the block was
//! compressed or the event spans blocks. At the present end of the journal reading returns `None`,
//! and the next call looks again.

use railbus_log::compress::decompress;
use railbus_log::format::{
    BlockHeader, BlockKind, Codec, FirstPiece, Flaw, Gap, PIECE_OF_STATE, PositionUnit, RECORD_HEADER_BYTES,
    RecordHeader, RecordKind, record_bytes,
};
use railbus_log::read::blocks::{Blocks, Missing, Next, Place};
use railbus_ring::frame;

use crate::channel::Kind;
use crate::error::{Error, Result};
use crate::event::{Event, Located};

/// Bytes that are reserved for an event in pieces before its pieces are read. The buffer grows with
/// them.
const RESERVE_BYTES: usize = 1 << 20;

/// An event as it was recorded.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Recorded<'a> {
    /// The event's position in its channel.
    pub position: u64,
    /// The lowest position at which the next event can begin.
    pub end_position: u64,
    /// When it was recorded, in ns of CLOCK_REALTIME. The journaller reads its clock once per
    /// batch. Times do not decrease, except where a journaller found that the clock had been ahead.
    pub time_ns: u64,
    word: u64,
    /// The body as it was in the ring: extensions, then the payload.
    pub body: &'a [u8],
}

impl<'a> Recorded<'a> {
    /// Returns the header word as it was in the ring; see [`frame`].
    pub fn header_word(&self) -> u64 {
        self.word
    }

    /// Returns the type id that the publisher set, 0 if none.
    pub fn type_id(&self) -> u16 {
        frame::type_id(self.word)
    }

    /// Returns the event's flags; see [`frame`].
    pub fn flags(&self) -> u8 {
        frame::flags(self.word)
    }

    /// Returns the payload.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        // The extensions fit the body, because every event's word was checked.
        &self.body[frame::extension_bytes(self.flags())..]
    }

    /// Returns the event as a subscriber sees it.
    #[inline]
    pub fn event(&self) -> Event<'a> {
        let located = Located { body: self.body.as_ptr(), header: self.word, position: self.position };
        // SAFETY: the word's length is that of the body, which is borrowed for 'a.
        unsafe { Event::new(located) }
    }
}

impl<'a> Recorded<'a> {
    /// Describes an event from a live channel of `kind`, received at `time_ns`, as if it had been
    /// recorded.
    pub fn live(event: &Event<'a>, kind: Kind, time_ns: u64) -> Recorded<'a> {
        let unit = if kind == Kind::Stream { PositionUnit::Bytes } else { PositionUnit::Events };
        let (position, body) = (event.position(), event.body());
        let end_position = unit.end(position, body.len() as u64);
        Recorded { position, end_position, time_ns, word: event.header_word(), body }
    }
}

impl std::fmt::Debug for Recorded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded")
            .field("position", &self.position)
            .field("time_ns", &self.time_ns)
            .field("type_id", &self.type_id())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// An item of a journal.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// An event.
    Event(Recorded<'a>),
    /// Events that are missing from the journal, with the reason.
    Gap {
        /// The missing positions, the number of events, and the reason.
        gap: Gap,
        /// When the gap was recorded, in ns of CLOCK_REALTIME.
        time_ns: u64,
    },
    /// Events whose segments are gone: retention overtook this reader, or a repair moved them to
    /// quarantine.
    Missing {
        /// The first position that is missing.
        from: u64,
        /// The first position after the missing ones.
        to: u64,
        /// Number of missing events; `u64::MAX` when it is unknown.
        events: u64,
    },
    /// A recorded state of the channel: acknowledgements, cursors or sequences.
    State {
        /// The kind of state.
        kind: RecordKind,
        /// The position for which it is valid.
        position: u64,
        /// When it was recorded, in ns of CLOCK_REALTIME.
        time_ns: u64,
        /// The encoded state.
        body: &'a [u8],
    },
}

/// Where the item that was found lies.
#[derive(Debug, Clone, Copy)]
enum FoundItem {
    /// In the records of the block, with its body at this offset.
    InPlace(RecordHeader, usize),
    /// In the pieces. The value is its time, in ns of CLOCK_REALTIME.
    Pieced(u64),
    Missing(Missing),
    End,
}

/// Where reading begins. An item that lies before any of these bounds is skipped.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    pub(super) position: u64,
    pub(super) time_ns: u64,
    /// Number of events of the whole journal before the first one that is wanted.
    pub(super) event: u64,
}

/// An event in pieces.
#[derive(Debug, Default)]
struct Pieces {
    bytes: Vec<u8>,
    /// Size of the whole record in bytes; `None` when no record is begun.
    whole: Option<usize>,
    kind: Option<RecordKind>,
    position: u64,
    word: u64,
}

/// Reads a journal's items in order. [`Journal::events`](super::Journal::events) creates it. At the
/// end of the journal its methods return `None`, and a later call looks for more.
#[derive(Debug)]
pub struct Events {
    blocks: Blocks,
    unit: PositionUnit,
    /// Offset of the next record in the block's records, and the end of the records.
    at: usize,
    end: usize,
    base_position: u64,
    base_time_ns: u64,
    epoch: u64,
    block: Place,
    block_end_position: u64,
    /// The decompressed records of a compressed block.
    plain: Vec<u8>,
    is_compressed: bool,
    pieces: Pieces,
    from: Bounds,
    /// Everything before this position was returned or skipped.
    position: u64,
    /// Number of events of the whole journal up to here; `None` before the first block.
    events: Option<u64>,
    /// The item that was found last.
    last: FoundItem,
}

impl Events {
    /// Reads items from `from` on. `blocks` begins at or before it.
    pub(super) fn new(blocks: Blocks, from: Bounds) -> Events {
        Events {
            blocks,
            unit: PositionUnit::default(),
            at: 0,
            end: 0,
            base_position: 0,
            base_time_ns: 0,
            epoch: 0,
            block: Place { segment: 0, offset: 0 },
            block_end_position: from.position,
            plain: Vec::new(),
            is_compressed: false,
            pieces: Pieces::default(),
            from,
            position: from.position,
            events: None,
            last: FoundItem::End,
        }
    }

    /// Makes reading begin at `position`.
    pub(super) fn begin_at(&mut self, position: u64) {
        self.from.position = position;
    }

    /// Returns the next event, gap or state, or `None` at the present end of the journal; the next
    /// call looks again. Reads a MiB at a time, and blocks only for that.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the place; a repeated call returns it again. [`Error::Version`] for
    /// data of another version of railbus. [`Error::Io`] and [`Error::NotAllowed`] when a file
    /// cannot be read.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>> {
        self.last = self.find(true)?;
        self.item()
    }

    /// Returns the next event, or gap of any kind, and skips states. Otherwise like
    /// [`next_item`](Self::next_item).
    ///
    /// # Errors
    /// Those of [`next_item`](Self::next_item).
    #[inline]
    pub fn next_event(&mut self) -> Result<Option<Item<'_>>> {
        self.last = self.find(false)?;
        self.item()
    }

    /// Returns the item that was returned last, again.
    #[inline]
    pub(super) fn again(&mut self) -> Result<Option<Item<'_>>> {
        self.item()
    }

    /// Everything before this position was returned or skipped, or is in no event.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The largest durable position that any block so far carried.
    pub fn durable_position(&self) -> u64 {
        self.blocks.durable_position()
    }

    /// Number of events of the whole journal, from its very first one, up to here; `None` before
    /// the first block was read.
    pub fn events(&self) -> Option<u64> {
        self.events
    }

    /// Returns how many events end in the next block.
    pub(super) fn count_block(mut self) -> Result<u64> {
        let Next::Block(header, place) = self.blocks.next_block()? else { return Ok(0) };
        self.enter(&header, place)?;
        let records = &self.records()[..self.end];
        let (mut at, mut events) = (0, 0);
        while at < records.len() {
            let (record, body) = RecordHeader::decode(&records[at..]).map_err(|flaw| self.nonsense(flaw))?;
            events += u64::from(match record.kind {
                RecordKind::Event => true,
                RecordKind::Last => record.flags & PIECE_OF_STATE == 0,
                _ => false,
            });
            at += record_bytes(body.len());
        }
        Ok(events)
    }

    /// The place of the block that is being read.
    pub fn place(&self) -> Place {
        self.block
    }

    #[inline]
    fn records(&self) -> &[u8] {
        if self.is_compressed { &self.plain } else { self.blocks.stored() }
    }

    #[inline]
    fn find(&mut self, states: bool) -> Result<FoundItem> {
        loop {
            if self.at >= self.end {
                self.position = self.position.max(self.block_end_position);
                match self.blocks.next_block()? {
                    Next::End => return Ok(FoundItem::End),
                    Next::Missing(missing) => {
                        self.pieces.whole = None;
                        if missing.to > self.position {
                            return Ok(FoundItem::Missing(missing));
                        }
                    }
                    Next::Block(header, place) => self.enter(&header, place)?,
                }
                continue;
            }
            let rest = &self.records()[self.at..self.end];
            let (header, body) = RecordHeader::decode(rest).map_err(|flaw| self.nonsense(flaw))?;
            let body_at = self.at + RECORD_HEADER_BYTES;
            let wanted = match header.kind {
                RecordKind::Event => {
                    self.count();
                    self.is_behind(self.position_of(&header), self.time(&header), 0)
                }
                RecordKind::Gap => {
                    let gap = Gap::decode(body).map_err(|flaw| self.nonsense(flaw))?;
                    gap.to > self.from.position && self.is_behind(gap.to - 1, self.time(&header), 1)
                }
                RecordKind::First | RecordKind::Middle | RecordKind::Last => {
                    let bytes = body.len();
                    self.take_piece(&header, body_at..body_at + bytes)?;
                    self.at += record_bytes(bytes);
                    if header.kind == RecordKind::Last && self.pieces.whole.take().is_some() {
                        let time_ns = self.time(&header);
                        let wanted = match self.pieces.kind {
                            Some(RecordKind::Event) => {
                                self.count();
                                self.is_behind(self.pieces.position, time_ns, 0)
                            }
                            _ => states,
                        };
                        if wanted {
                            return Ok(FoundItem::Pieced(time_ns));
                        }
                    } else if header.kind == RecordKind::Last && header.flags & PIECE_OF_STATE == 0 {
                        // Its beginning lies before the place where reading began.
                        self.count();
                    }
                    continue;
                }
                RecordKind::Acks | RecordKind::Cursors | RecordKind::Sequences => states,
            };
            self.at += record_bytes(header.body_bytes as usize);
            if wanted {
                return Ok(FoundItem::InPlace(header, body_at));
            }
        }
    }

    /// Whether an item is not before the bounds. `ahead` is 1 for an item that precedes the next
    /// event.
    #[inline]
    fn is_behind(&self, position: u64, time_ns: u64, ahead: u64) -> bool {
        position >= self.from.position
            && time_ns >= self.from.time_ns
            && self.events.is_none_or(|events| events + ahead > self.from.event)
    }

    #[inline]
    fn position_of(&self, header: &RecordHeader) -> u64 {
        self.base_position + u64::from(header.position_delta)
    }

    #[inline]
    fn time(&self, header: &RecordHeader) -> u64 {
        self.base_time_ns + u64::from(header.time_delta_ns)
    }

    #[inline]
    fn count(&mut self) {
        self.events = self.events.map(|events| events.wrapping_add(1));
    }

    /// Begins with the records of a block.
    fn enter(&mut self, header: &BlockHeader, place: Place) -> Result<()> {
        if header.epoch != self.epoch {
            // A writer died in the middle of an event: the pieces that it wrote are no event.
            self.pieces.whole = None;
        }
        // Only blocks of records have any; a seal's body is something else.
        let end = if header.kind == BlockKind::Records { header.records_bytes as usize } else { 0 };
        (self.at, self.end) = (0, end);
        self.unit = header.unit;
        (self.base_position, self.base_time_ns) = (header.first_position, header.base_time_ns);
        (self.epoch, self.block) = (header.epoch, place);
        self.block_end_position = header.end_position;
        self.events = Some(header.events_before);
        self.is_compressed = header.codec != Codec::None && end > 0;
        if self.is_compressed {
            // The size is at most a block's: the header was checked.
            self.plain.resize(end, 0);
            let unpacked = decompress(header.codec, self.blocks.stored(), &mut self.plain);
            unpacked.map_err(|flaw| self.nonsense(flaw))?;
        }
        Ok(())
    }

    /// Adds a piece; its bytes are in the records at `body`.
    fn take_piece(&mut self, header: &RecordHeader, body: std::ops::Range<usize>) -> Result<()> {
        let position = self.position_of(header);
        let Events { blocks, plain, is_compressed, pieces, .. } = self;
        let records = if *is_compressed { &plain[..] } else { blocks.stored() };
        let mut piece = &records[body];
        let flaw = match header.kind {
            RecordKind::First => match FirstPiece::decode(piece) {
                Ok((first, beginning)) => {
                    piece = beginning;
                    let whole = first.body_bytes as usize;
                    let word = frame::header(first.body_bytes, header.type_id, header.flags);
                    pieces.bytes.clear();
                    pieces.bytes.reserve(RESERVE_BYTES.min(whole));
                    (pieces.kind, pieces.whole) = (Some(first.kind), Some(whole));
                    (pieces.position, pieces.word) = (position, word);
                    let sound = first.kind != RecordKind::Event || frame::is_event(word, u32::MAX.into());
                    (!sound).then_some(Flaw::Nonsense("an event that no publisher writes"))
                }
                Err(flaw) => Some(flaw),
            },
            _ => None,
        };
        // After a seek the first piece may lie before the place where reading began. Then the
        // others are skipped.
        let flaw = flaw.or_else(|| {
            let whole = pieces.whole?;
            pieces.bytes.extend_from_slice(piece);
            let fits = match header.kind {
                RecordKind::Last => pieces.bytes.len() == whole,
                _ => pieces.bytes.len() < whole,
            };
            (!fits).then_some(Flaw::Nonsense("pieces that do not make the event"))
        });
        match flaw {
            Some(flaw) => Err(self.nonsense(flaw)),
            None => Ok(()),
        }
    }

    #[inline]
    fn item(&mut self) -> Result<Option<Item<'_>>> {
        match self.last {
            FoundItem::End => Ok(None),
            FoundItem::InPlace(header, body_at) if header.kind == RecordKind::Event => {
                let position = self.position_of(&header);
                let end_position = self.end_of(position, header.body_bytes);
                let (time_ns, word) = (self.time(&header), header.event_word());
                self.position = end_position;
                let body = &self.records()[body_at..body_at + header.body_bytes as usize];
                Ok(Some(Item::Event(Recorded { position, end_position, time_ns, word, body })))
            }
            FoundItem::Pieced(time_ns) => {
                let Pieces { position, word, kind, .. } = self.pieces;
                if let Some(kind) = kind.filter(|&kind| kind != RecordKind::Event) {
                    return Ok(Some(Item::State { kind, position, time_ns, body: &self.pieces.bytes }));
                }
                let end_position = self.end_of(position, frame::body_bytes(word));
                self.position = end_position;
                let body = &self.pieces.bytes[..];
                Ok(Some(Item::Event(Recorded { position, end_position, time_ns, word, body })))
            }
            FoundItem::InPlace(header, body_at) => {
                let time_ns = self.time(&header);
                let position = self.position_of(&header);
                let body = body_at..body_at + header.body_bytes as usize;
                if header.kind != RecordKind::Gap {
                    return Ok(Some(Item::State {
                        kind: header.kind,
                        position,
                        time_ns,
                        body: &self.records()[body],
                    }));
                }
                let gap = Gap::decode(&self.records()[body]).map_err(|flaw| self.nonsense(flaw))?;
                self.position = self.position.max(gap.to);
                Ok(Some(Item::Gap { gap, time_ns }))
            }
            FoundItem::Missing(Missing { from, to, events_before }) => {
                let events = self.events.map_or(u64::MAX, |before| events_before.saturating_sub(before));
                self.position = to;
                Ok(Some(Item::Missing { from, to, events }))
            }
        }
    }

    fn end_of(&self, position: u64, body_bytes: u32) -> u64 {
        self.unit.end(position, body_bytes.into())
    }

    /// Returns the error for a block whose checksums fit and whose records make no sense.
    fn nonsense(&self, flaw: Flaw) -> Error {
        if flaw.is_of_another_version() {
            return self.blocks.of_another_version(self.block, flaw);
        }
        let why = format!("its checksum fits, but at byte {} of its records there is: {flaw}", self.at);
        self.blocks.corrupt_at(self.block, &why)
    }
}
