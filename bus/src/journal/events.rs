//! The events of a journal, in order: blocks opened, records decoded, pieces put together.
//!
//! Events are handed out where they lie: in the block as it was read, unless it was compressed or the event spans
//! blocks. Reading ends for now where the journal ends for now; the next call looks again.

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

/// Room that is made for an event in pieces before its pieces are there. More is made as they come.
const RESERVE_BYTES: usize = 1 << 20;

/// An event as it was recorded.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Recorded<'a> {
    /// Its position in the channel.
    pub position: u64,
    /// Where the next event starts at the earliest.
    pub end_position: u64,
    /// When it was recorded, in ns of CLOCK_REALTIME: the journaller's clock, once per batch, never decreasing.
    pub time_ns: u64,
    word: u64,
    /// The body as it was in the ring: extensions, then the payload.
    pub body: &'a [u8],
}

impl<'a> Recorded<'a> {
    /// Its header word as it was in the ring; see [`frame`].
    pub fn header_word(&self) -> u64 {
        self.word
    }

    /// The type id the publisher gave it, 0 if none.
    pub fn type_id(&self) -> u16 {
        frame::type_id(self.word)
    }

    /// Its flags; see [`frame`].
    pub fn flags(&self) -> u8 {
        frame::flags(self.word)
    }

    /// Its payload.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        // The extensions fit the body: every event's word was checked.
        &self.body[frame::extension_bytes(self.flags())..]
    }

    /// The event as a subscriber sees it.
    #[inline]
    pub fn event(&self) -> Event<'a> {
        let located = Located { body: self.body.as_ptr(), header: self.word, position: self.position };
        // SAFETY: the word's length is the body's, which is borrowed for 'a.
        unsafe { Event::new(located) }
    }
}

impl<'a> Recorded<'a> {
    /// An event that came from the channel of `kind`, at `time_ns`, as it would be recorded.
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

/// What a journal holds.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// An event.
    Event(Recorded<'a>),
    /// Events that were never recorded, and why.
    Gap {
        /// What is missing.
        gap: Gap,
        /// When that was recorded, in ns of CLOCK_REALTIME.
        time_ns: u64,
    },
    /// Events whose segments are gone: retention passed this reader, or they were put into quarantine.
    Missing {
        /// First position that is missing.
        from: u64,
        /// First position behind.
        to: u64,
        /// How many events; `u64::MAX` when nobody knows.
        events: u64,
    },
    /// What the journal says about the channel: acknowledgements, cursors, sequences.
    State {
        /// Of what kind.
        kind: RecordKind,
        /// The position it is about.
        position: u64,
        /// When it was recorded, in ns of CLOCK_REALTIME.
        time_ns: u64,
        /// As it is stored.
        body: &'a [u8],
    },
}

/// Where what was found lies.
#[derive(Debug, Clone, Copy)]
enum FoundItem {
    /// In the records of the block, from here on.
    InPlace(RecordHeader, usize),
    /// In the pieces; its time.
    Pieced(u64),
    Missing(Missing),
    End,
}

/// Where reading begins: what lies before any of these is passed over.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    pub(super) position: u64,
    pub(super) time_ns: u64,
    /// Events of the whole journal before the first.
    pub(super) event: u64,
}

/// An event in pieces.
#[derive(Debug, Default)]
struct Pieces {
    bytes: Vec<u8>,
    /// Bytes it will have; `None` when no record is begun.
    whole: Option<usize>,
    kind: Option<RecordKind>,
    position: u64,
    word: u64,
}

/// Reads a journal's events in order. See the [module](self).
#[derive(Debug)]
pub struct Events {
    blocks: Blocks,
    unit: PositionUnit,
    /// Where in the block's records the next one is, and where they end.
    at: usize,
    end: usize,
    base_position: u64,
    base_time_ns: u64,
    epoch: u64,
    block: Place,
    block_end_position: u64,
    /// The records of a compressed block.
    plain: Vec<u8>,
    is_compressed: bool,
    pieces: Pieces,
    from: Bounds,
    /// Everything before this was handed out or passed over.
    position: u64,
    /// Events of the whole journal up to here; `None` before the first block.
    events: Option<u64>,
    /// What was found last.
    last: FoundItem,
}

impl Events {
    /// Events and gaps from `from` on; `blocks` begins before it.
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

    /// Passes over what lies before `position`.
    pub(super) fn begin_at(&mut self, position: u64) {
        self.from.position = position;
    }

    /// The next event, gap or state; `None` at the end for now: the next call looks again. Reads a MiB at a time,
    /// and blocks for nothing else.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the place, and comes again if called again; [`Error::Io`].
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>> {
        self.last = self.find(true)?;
        self.item()
    }

    /// The next event, or gap of any kind: states are passed over.
    ///
    /// # Errors
    /// As [`Self::next_item`].
    #[inline]
    pub fn next_event(&mut self) -> Result<Option<Item<'_>>> {
        self.last = self.find(false)?;
        self.item()
    }

    /// The item that was handed out last, again.
    #[inline]
    pub(super) fn again(&mut self) -> Result<Option<Item<'_>>> {
        self.item()
    }

    /// Everything before this position was handed out, passed over, or is in no event.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The largest durable position that was seen so far.
    pub fn durable_position(&self) -> u64 {
        self.blocks.durable_position()
    }

    /// Events of the whole journal, from its first ever, up to here; `None` before the first block was read.
    pub fn events(&self) -> Option<u64> {
        self.events
    }

    /// How many events end in the next block.
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

    /// Where the block that is being read is.
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
                        // Its beginning lies before where reading began.
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

    /// Whether what is at `position` is not before the beginning. Of events so far, `ahead` more is about to come.
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
            // A writer that died in the middle of an event: what there was of it is no event.
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
            // At most a block: the header was checked.
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
        // After a seek the first piece may lie before: then the others are passed over.
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

    /// The block's checksums fit, and yet its records make no sense.
    fn nonsense(&self, flaw: Flaw) -> Error {
        if flaw.is_of_another_version() {
            return self.blocks.of_another_version(self.block, flaw);
        }
        let why = format!("its checksum fits, but at byte {} of its records there is: {flaw}", self.at);
        self.blocks.corrupt_at(self.block, &why)
    }
}
