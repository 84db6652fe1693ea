//! Every byte of a journal, defined once.
//!
//! ```text
//! segment file    | segment header 4 KiB | channel header page 4 KiB | block | block | ...  (unused) | seal 4 KiB |
//! block           | header 128 B | record | record | ... | zeros up to a multiple of 4 KiB |
//! record          | header 16 B | body | zeros up to a multiple of 8 B |
//! ```
//!
//! All integers are little-endian. Nothing is ever overwritten with other bytes once its write has completed, but for
//! the seal of a segment whose torn tail is cut. The seal is always the file's last sector, so that it is found
//! without reading what is before it; it says where the blocks end.
//!
//! - A **segment** carries a number (from 1, without holes) and a random id that is fresh each time its file is
//!   used, so that blocks of an earlier use of the file are recognised as foreign.
//! - A **block** carries the segment's id, its own number in the journal (from 0, without holes), the range of
//!   positions it covers, the durable position known when it was written, the checksum of the block before it, its
//!   own checksum over everything behind its header, and a checksum of its header (which covers the others).
//! - A **record** is an event (whole, or a piece of one that spans blocks), or a statement about the channel: a gap,
//!   the state of a queue's acknowledgements, the cursors of durable subscriptions, the last sequences of named publishers.
//!
//! Decoding checks everything that can be checked without other blocks, and allocates nothing: a length is believed
//! only after the checksum over it, and never beyond the bytes at hand.

use railbus_ring::frame;

/// Version of the format; another is refused.
pub const VERSION: u32 = 1;
/// Version of the header of a segment whose [`SegmentHeader::clock_step`] is not 0. An older program, which
/// would take times that go back for damage, refuses it.
pub const VERSION_STEPPED: u32 = 2;
/// Unit of blocks, headers and direct I/O.
pub const SECTOR_BYTES: usize = 4096;
/// Where a segment's first block starts: behind its header and the channel's header page.
pub const BLOCKS_OFFSET: u64 = 2 * SECTOR_BYTES as u64;
/// The largest block.
pub const BLOCK_BYTES_MAX: usize = 256 << 10;
/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 128;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 16;
/// A segment file's size unless said otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 256 << 20;
/// Where a segment's blocks end at the latest, which is where its seal is.
pub const fn seal_offset(segment_bytes: u64) -> u64 {
    segment_bytes - SECTOR_BYTES as u64
}
/// The smallest segment file: its headers, one block of a sector and the seal. A writer needs room for the largest
/// block that it writes.
pub const SEGMENT_BYTES_MIN: u64 = BLOCKS_OFFSET + 2 * SECTOR_BYTES as u64;
/// The largest segment file.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 30;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"RBSEGMT1");
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"RBLK");

/// The checksum of everything here: CRC-32C (Castagnoli), which x86 and Arm compute in hardware.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// A checksum continued over further bytes.
pub fn checksum_more(checksum: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(checksum, bytes)
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(take(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(take(bytes, at))
}

/// `bytes` rounded up to whole sectors.
pub const fn sectors(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR_BYTES)
}

/// Bytes a record with this body takes in a block.
pub const fn record_bytes(body_bytes: usize) -> usize {
    RECORD_HEADER_BYTES + body_bytes.next_multiple_of(8)
}

/// What is wrong with bytes that should be a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Nothing was ever written here.
    #[error("nothing but zeros")]
    Empty,
    /// There are fewer bytes than it says, or needs.
    #[error("cut short")]
    Short,
    /// It does not begin with the magic number.
    #[error("no magic number")]
    Magic,
    /// Its checksum fits, and it is of another version of the format.
    #[error(
        "format version {0}; railbus {program} reads version {VERSION}: use the railbus that wrote it, or a newer one",
        program = env!("CARGO_PKG_VERSION")
    )]
    Version(u32),
    /// Its checksum fits, and something in it is of a kind that came with a newer railbus.
    #[error(
        "{what} {value}, which railbus {program} does not know: use the railbus that wrote it, or a newer one",
        program = env!("CARGO_PKG_VERSION")
    )]
    Unknown {
        /// What is not known.
        what: &'static str,
        /// What stands there.
        value: u32,
    },
    /// The checksum of the header differs.
    #[error("the header's checksum differs")]
    HeaderChecksum,
    /// The checksum of the body differs.
    #[error("the checksum differs")]
    Checksum,
    /// The checksums fit, and yet no writer writes this.
    #[error("{0}")]
    Nonsense(&'static str),
}

impl Flaw {
    /// Whether nothing is damaged: another version of railbus wrote this. It must be refused, and never be changed.
    pub const fn is_of_another_version(&self) -> bool {
        matches!(self, Flaw::Version(_) | Flaw::Unknown { .. })
    }
}

/// What positions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum PositionUnit {
    /// Bytes: an event ends a whole frame behind its position (streams).
    #[default]
    Bytes = 0,
    /// Events: an event ends at the next position (queues and topics).
    Events = 1,
}

impl PositionUnit {
    /// The position behind an event.
    #[inline]
    pub const fn end(self, position: u64, body_bytes: u64) -> u64 {
        match self {
            PositionUnit::Bytes => position.saturating_add(frame::frame_bytes(body_bytes)),
            PositionUnit::Events => position.saturating_add(1),
        }
    }

    fn decode(value: u8) -> Result<PositionUnit, Flaw> {
        match value {
            0 => Ok(PositionUnit::Bytes),
            1 => Ok(PositionUnit::Events),
            _ => Err(Flaw::Unknown { what: "unit of positions", value: value.into() }),
        }
    }
}

/// The first page of a segment file. Written, and made durable, before the segment's first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentHeader {
    /// Which segment of the journal, from 1.
    pub number: u64,
    /// Random, fresh for each use of the file; in every block.
    pub segment_id: u64,
    /// The channel's identity.
    pub channel_id: [u8; 16],
    /// The channel's incarnation: counts its re-creations.
    pub incarnation: u64,
    /// Counts the times a writer opened this journal, from 1.
    pub epoch: u64,
    /// CLOCK_REALTIME when the segment was prepared, in ns.
    pub created_ns: u64,
    /// Size of the file in bytes, a multiple of a sector.
    pub segment_bytes: u64,
    /// Owner (uid) of the channel's files, to make them again.
    pub owner: u32,
    /// Group (gid) of `.ring`.
    pub ring_group: u32,
    /// Mode of `.ring`.
    pub ring_mode: u32,
    /// Group (gid) of `.acks`.
    pub acks_group: u32,
    /// Mode of `.acks`.
    pub acks_mode: u32,
    /// What positions count.
    pub unit: PositionUnit,
    /// [`page_checksum`] of the channel's header page; 0 when nobody computed it.
    pub page_checksum: u32,
    /// The newest segment, up to this one, whose times begin before the end of the segment before it, because
    /// the wall clock had been ahead; 0: there is none in the journal. Within a segment, and elsewhere, times
    /// never go back.
    pub clock_step: u64,
}

/// The checksum of a channel's header page, of which there may be fewer bytes than a sector: the rest is zeros.
pub fn page_checksum(page: &[u8]) -> u32 {
    let mut sector = [0; SECTOR_BYTES];
    let bytes = page.len().min(SECTOR_BYTES);
    sector[..bytes].copy_from_slice(&page[..bytes]);
    checksum(&sector)
}

impl SegmentHeader {
    /// The page: magic 0, version 8, header bytes 12, then the fields; CRC-32C of the rest in the last 4 bytes.
    pub fn encode(&self) -> Box<[u8; SECTOR_BYTES]> {
        let mut page = Box::new([0; SECTOR_BYTES]);
        let bytes = &mut page[..];
        put(bytes, 0, SEGMENT_MAGIC.to_le_bytes());
        let version = if self.clock_step == 0 { VERSION } else { VERSION_STEPPED };
        put(bytes, 8, version.to_le_bytes());
        put(bytes, 12, (SECTOR_BYTES as u32).to_le_bytes());
        put(bytes, 16, self.number.to_le_bytes());
        put(bytes, 24, self.segment_id.to_le_bytes());
        put(bytes, 32, self.channel_id);
        put(bytes, 48, self.incarnation.to_le_bytes());
        put(bytes, 56, self.epoch.to_le_bytes());
        put(bytes, 64, self.created_ns.to_le_bytes());
        put(bytes, 72, self.segment_bytes.to_le_bytes());
        put(bytes, 80, self.owner.to_le_bytes());
        put(bytes, 84, self.ring_group.to_le_bytes());
        put(bytes, 88, self.ring_mode.to_le_bytes());
        put(bytes, 92, self.acks_group.to_le_bytes());
        put(bytes, 96, self.acks_mode.to_le_bytes());
        put(bytes, 100, [self.unit as u8]);
        put(bytes, 104, self.page_checksum.to_le_bytes());
        put(bytes, 112, self.clock_step.to_le_bytes());
        let sum = checksum(&bytes[..SECTOR_BYTES - 4]);
        put(bytes, SECTOR_BYTES - 4, sum.to_le_bytes());
        page
    }

    /// Decodes and checks the first page of a segment file.
    pub fn decode(page: &[u8]) -> Result<SegmentHeader, Flaw> {
        let bytes = page.get(..SECTOR_BYTES).ok_or(Flaw::Short)?;
        if u64_at(bytes, 0) != SEGMENT_MAGIC {
            return Err(if bytes.iter().all(|&byte| byte == 0) { Flaw::Empty } else { Flaw::Magic });
        }
        if checksum(&bytes[..SECTOR_BYTES - 4]) != u32_at(bytes, SECTOR_BYTES - 4) {
            return Err(Flaw::HeaderChecksum);
        }
        let (version, clock_step) = (u32_at(bytes, 8), u64_at(bytes, 112));
        if version != if clock_step == 0 { VERSION } else { VERSION_STEPPED } {
            return Err(Flaw::Version(version));
        }
        let header = SegmentHeader {
            number: u64_at(bytes, 16),
            segment_id: u64_at(bytes, 24),
            channel_id: take(bytes, 32),
            incarnation: u64_at(bytes, 48),
            epoch: u64_at(bytes, 56),
            created_ns: u64_at(bytes, 64),
            segment_bytes: u64_at(bytes, 72),
            owner: u32_at(bytes, 80),
            ring_group: u32_at(bytes, 84),
            ring_mode: u32_at(bytes, 88),
            acks_group: u32_at(bytes, 92),
            acks_mode: u32_at(bytes, 96),
            unit: PositionUnit::decode(bytes[100])?,
            page_checksum: u32_at(bytes, 104),
            clock_step,
        };
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !sizes.contains(&header.segment_bytes) || !header.segment_bytes.is_multiple_of(SECTOR_BYTES as u64)
        {
            return Err(Flaw::Nonsense("a segment size out of range"));
        }
        if header.number == 0 || header.epoch == 0 || header.incarnation == 0 {
            return Err(Flaw::Nonsense("a number that counts from 1 is 0"));
        }
        if header.clock_step > header.number {
            return Err(Flaw::Nonsense("a step of the clock in a later segment"));
        }
        Ok(header)
    }

    /// Whether the times of this segment may begin before the end of the one before it.
    pub fn steps_back(&self) -> bool {
        self.clock_step == self.number
    }
}

/// What a block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum BlockKind {
    /// It holds records.
    #[default]
    Records = 1,
    /// It holds nothing: it was written, after an idle sync, to carry the durable position.
    Mark = 2,
    /// The end of a segment, in its last sector: its body is a [`Seal`].
    Seal = 3,
}

/// How a block's records are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    #[default]
    None = 0,
    /// LZ4 block format.
    Lz4 = 1,
    /// Zstandard.
    Zstd = 2,
}

/// The header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockHeader {
    /// What it is for.
    pub kind: BlockKind,
    /// How its records are stored.
    pub codec: Codec,
    /// What positions count.
    pub unit: PositionUnit,
    /// Bytes on disk, header and padding included: a multiple of a sector, at most [`BLOCK_BYTES_MAX`].
    pub block_bytes: u32,
    /// Bytes of records as they are stored.
    pub stored_bytes: u32,
    /// Bytes of records once they are decompressed; at most [`BLOCK_BYTES_MAX`].
    pub records_bytes: u32,
    /// Records in it, pieces counted singly.
    pub records: u32,
    /// The segment's id.
    pub segment_id: u64,
    /// Which block of the journal, from 0.
    pub sequence: u64,
    /// Position of its first record. Everything before it is in blocks before this one.
    pub first_position: u64,
    /// Everything before this position is in this block or before.
    pub end_position: u64,
    /// The durable position known when it was written.
    pub durable_position: u64,
    /// Events that end in blocks before this one.
    pub events_before: u64,
    /// CLOCK_REALTIME of its first record, in ns; never before that of the block before.
    pub base_time_ns: u64,
    /// The channel's incarnation.
    pub incarnation: u64,
    /// The writer's epoch.
    pub epoch: u64,
    /// [`BlockHeader::header_checksum`] of the block before this one; 0 in the journal's first.
    pub previous_checksum: u32,
    /// CRC-32C of everything behind the header, up to `block_bytes`.
    pub body_checksum: u32,
    /// CRC-32C of the header's other bytes. Set by [`encode`](Self::encode).
    pub header_checksum: u32,
}

impl BlockHeader {
    /// Writes the header to the first [`BLOCK_HEADER_BYTES`] of `block`, and returns its checksum, which the next
    /// block carries.
    pub fn encode(&self, block: &mut [u8]) -> u32 {
        let bytes = &mut block[..BLOCK_HEADER_BYTES];
        bytes.fill(0);
        put(bytes, 0, BLOCK_MAGIC.to_le_bytes());
        put(bytes, 4, [VERSION as u8, self.kind as u8, self.codec as u8, self.unit as u8]);
        put(bytes, 8, self.block_bytes.to_le_bytes());
        put(bytes, 12, self.stored_bytes.to_le_bytes());
        put(bytes, 16, self.records_bytes.to_le_bytes());
        put(bytes, 20, self.records.to_le_bytes());
        put(bytes, 24, self.segment_id.to_le_bytes());
        put(bytes, 32, self.sequence.to_le_bytes());
        put(bytes, 40, self.first_position.to_le_bytes());
        put(bytes, 48, self.end_position.to_le_bytes());
        put(bytes, 56, self.durable_position.to_le_bytes());
        put(bytes, 64, self.events_before.to_le_bytes());
        put(bytes, 72, self.base_time_ns.to_le_bytes());
        put(bytes, 80, self.incarnation.to_le_bytes());
        put(bytes, 88, self.epoch.to_le_bytes());
        put(bytes, 96, self.previous_checksum.to_le_bytes());
        put(bytes, 100, self.body_checksum.to_le_bytes());
        let sum = checksum(&bytes[..BLOCK_HEADER_BYTES - 4]);
        put(bytes, BLOCK_HEADER_BYTES - 4, sum.to_le_bytes());
        sum
    }

    /// Decodes and checks a header. What follows it is checked by [`check_body`](Self::check_body).
    pub fn decode(block: &[u8]) -> Result<BlockHeader, Flaw> {
        let bytes = block.get(..BLOCK_HEADER_BYTES).ok_or(Flaw::Short)?;
        if u32_at(bytes, 0) != BLOCK_MAGIC {
            return Err(if bytes.iter().all(|&byte| byte == 0) { Flaw::Empty } else { Flaw::Magic });
        }
        let header_checksum = u32_at(bytes, BLOCK_HEADER_BYTES - 4);
        if checksum(&bytes[..BLOCK_HEADER_BYTES - 4]) != header_checksum {
            return Err(Flaw::HeaderChecksum);
        }
        if u32::from(bytes[4]) != VERSION {
            return Err(Flaw::Version(bytes[4].into()));
        }
        let kind = match bytes[5] {
            1 => BlockKind::Records,
            2 => BlockKind::Mark,
            3 => BlockKind::Seal,
            kind => return Err(Flaw::Unknown { what: "kind of block", value: kind.into() }),
        };
        let codec = match bytes[6] {
            0 => Codec::None,
            1 => Codec::Lz4,
            2 => Codec::Zstd,
            codec => return Err(Flaw::Unknown { what: "compression", value: codec.into() }),
        };
        let header = BlockHeader {
            kind,
            codec,
            unit: PositionUnit::decode(bytes[7])?,
            block_bytes: u32_at(bytes, 8),
            stored_bytes: u32_at(bytes, 12),
            records_bytes: u32_at(bytes, 16),
            records: u32_at(bytes, 20),
            segment_id: u64_at(bytes, 24),
            sequence: u64_at(bytes, 32),
            first_position: u64_at(bytes, 40),
            end_position: u64_at(bytes, 48),
            durable_position: u64_at(bytes, 56),
            events_before: u64_at(bytes, 64),
            base_time_ns: u64_at(bytes, 72),
            incarnation: u64_at(bytes, 80),
            epoch: u64_at(bytes, 88),
            previous_checksum: u32_at(bytes, 96),
            body_checksum: u32_at(bytes, 100),
            header_checksum,
        };
        header.check()
    }

    /// The id of the segment that a block belongs to, also of a block that another version wrote: every version has it
    /// here, and the header's magic number and checksum where they are. `None` when the checksum differs.
    pub fn segment_id_of(block: &[u8]) -> Option<u64> {
        let bytes = block.get(..BLOCK_HEADER_BYTES)?;
        let is_whole = u32_at(bytes, 0) == BLOCK_MAGIC
            && checksum(&bytes[..BLOCK_HEADER_BYTES - 4]) == u32_at(bytes, BLOCK_HEADER_BYTES - 4);
        is_whole.then(|| u64_at(bytes, 24))
    }

    fn check(self) -> Result<BlockHeader, Flaw> {
        let block = self.block_bytes as usize;
        let fits = |bytes: u32| bytes as usize <= BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES;
        if block == 0 || !block.is_multiple_of(SECTOR_BYTES) || block > BLOCK_BYTES_MAX {
            return Err(Flaw::Nonsense("a block size out of range"));
        }
        if self.stored_bytes as usize > block - BLOCK_HEADER_BYTES || !fits(self.records_bytes) {
            return Err(Flaw::Nonsense("more records than a block holds"));
        }
        if self.kind != BlockKind::Records && (self.codec != Codec::None || self.records != 0) {
            return Err(Flaw::Nonsense("records in a block that holds none"));
        }
        if self.codec == Codec::None && self.stored_bytes != self.records_bytes {
            return Err(Flaw::Nonsense("two lengths of one thing"));
        }
        if self.end_position < self.first_position || self.durable_position > self.first_position {
            return Err(Flaw::Nonsense("positions that do not ascend"));
        }
        Ok(self)
    }

    /// Checks the bytes of the whole block, header included, against its checksum.
    pub fn check_body(&self, block: &[u8]) -> Result<(), Flaw> {
        let body = block.get(BLOCK_HEADER_BYTES..self.block_bytes as usize).ok_or(Flaw::Short)?;
        if checksum(body) == self.body_checksum { Ok(()) } else { Err(Flaw::Checksum) }
    }
}

/// The body of a block of kind [`BlockKind::Seal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seal {
    /// Where the segment's blocks end, in bytes from the start of the file.
    pub blocks_end: u64,
    /// It was written after everything before it was durable, and nothing was written behind it by the same writer:
    /// it vouches for the whole segment.
    pub last: bool,
    /// For each of [`RecordKind::STATES`]: where the block begins that holds the newest such record of the segment, or
    /// its first piece; 0 when there is none.
    pub states: [u64; RecordKind::STATES.len()],
}

impl Seal {
    /// Bytes of a seal's body.
    pub const BYTES: usize = 40;

    /// The bytes: blocks_end 0, last 8, states 16.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, 0, self.blocks_end.to_le_bytes());
        put(&mut bytes, 8, [self.last as u8]);
        for (i, offset) in self.states.iter().enumerate() {
            put(&mut bytes, 16 + 8 * i, offset.to_le_bytes());
        }
        bytes
    }

    /// Decodes and checks a seal's body, for a segment of that size.
    pub fn decode(body: &[u8], segment_bytes: u64) -> Result<Seal, Flaw> {
        if body.len() != Self::BYTES {
            return Err(Flaw::Unknown { what: "length of a seal", value: body.len() as u32 });
        }
        let seal = Seal {
            blocks_end: u64_at(body, 0),
            last: body[8] == 1,
            states: [u64_at(body, 16), u64_at(body, 24), u64_at(body, 32)],
        };
        let is_offset = |offset: u64| {
            offset.is_multiple_of(SECTOR_BYTES as u64)
                && (BLOCKS_OFFSET..=seal_offset(segment_bytes)).contains(&offset)
        };
        if body[8] > 1 {
            return Err(Flaw::Unknown { what: "ending of a segment", value: body[8].into() });
        }
        if !is_offset(seal.blocks_end) || seal.states.iter().any(|&at| at != 0 && !is_offset(at)) {
            return Err(Flaw::Nonsense("a seal that points outside of its segment"));
        }
        Ok(seal)
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A whole event: its body is the event's, extensions included.
    Event = 1,
    /// The first piece of a record that spans blocks: a [`FirstPiece`], then the beginning of its body.
    First = 2,
    /// A further piece.
    Middle = 3,
    /// The last piece: the record counts from here on.
    Last = 4,
    /// Events that are missing: [`Gap`].
    Gap = 5,
    /// What is not yet done of a queue's events before the record's position.
    Acks = 6,
    /// Where the durable subscriptions stand.
    Cursors = 7,
    /// The last sequence of every named publisher.
    Sequences = 8,
}

impl RecordKind {
    /// The kinds that say how things stand: the newest one counts, and the writer repeats it in every segment.
    pub const STATES: [RecordKind; 3] = [RecordKind::Acks, RecordKind::Cursors, RecordKind::Sequences];

    /// Which of [`STATES`](Self::STATES) it is.
    pub fn state_index(self) -> Option<usize> {
        Self::STATES.iter().position(|&kind| kind == self)
    }

    /// Whether it is a piece behind the first one.
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

/// What a record of kind [`RecordKind::First`] begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstPiece {
    /// Bytes of the whole body.
    pub body_bytes: u32,
    /// What the whole is: an event or a state.
    pub kind: RecordKind,
}

impl FirstPiece {
    /// Bytes of it.
    pub const BYTES: usize = 8;

    /// The bytes: length 0, kind 4.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, 0, self.body_bytes.to_le_bytes());
        put(&mut bytes, 4, [self.kind as u8]);
        bytes
    }

    /// Decodes it, and returns the piece's part of the body.
    pub fn decode(piece: &[u8]) -> Result<(FirstPiece, &[u8]), Flaw> {
        let (bytes, rest) = piece.split_at_checked(Self::BYTES).ok_or(Flaw::Short)?;
        let first = FirstPiece { body_bytes: u32_at(bytes, 0), kind: RecordKind::decode(bytes[4])? };
        if first.kind != RecordKind::Event && first.kind.state_index().is_none() {
            return Err(Flaw::Nonsense("a piece of what is never cut into pieces"));
        }
        Ok((first, rest))
    }
}

/// Flag of a piece: the whole is a state, not an event. No event has it.
pub const PIECE_OF_STATE: u8 = 0x80;

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the body that follows, without padding.
    pub body_bytes: u32,
    /// The event's type id.
    pub type_id: u16,
    /// The event's flags; see [`frame`].
    pub flags: u8,
    /// What it is.
    pub kind: RecordKind,
    /// The record's position less the block's first.
    pub position_delta: u32,
    /// The record's time less the block's base time, in ns.
    pub time_delta_ns: u32,
}

impl RecordHeader {
    /// The bytes: length 0, type 4, flags 6, kind 7, position 8, time 12.
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        put(&mut bytes, 0, self.body_bytes.to_le_bytes());
        put(&mut bytes, 4, self.type_id.to_le_bytes());
        put(&mut bytes, 6, [self.flags, self.kind as u8]);
        put(&mut bytes, 8, self.position_delta.to_le_bytes());
        put(&mut bytes, 12, self.time_delta_ns.to_le_bytes());
        bytes
    }

    /// Decodes the record at the beginning of `records`: its header and its body.
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

    /// The event's header word as it was in the ring, for a whole event.
    pub fn event_word(&self) -> u64 {
        frame::header(self.body_bytes, self.type_id, self.flags)
    }
}

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum GapReason {
    /// A lossy journal was overrun.
    Overrun = 1,
    /// The disk was full, and the policy is to drop.
    DiskFull = 2,
    /// The writer died, and what it had in hand is lost.
    StagingLost = 3,
    /// The journal was not recording.
    NotRecorded = 4,
    /// They were in a part of the journal that was corrupt, and `railbus journal repair` moved it away.
    Quarantined = 5,
}

/// Events that are missing: the body of a [`RecordKind::Gap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First position that is missing.
    pub from: u64,
    /// First position behind the gap.
    pub to: u64,
    /// How many events; `u64::MAX` when nobody knows.
    pub events: u64,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// Bytes of a gap's body.
    pub const BYTES: usize = 32;

    /// The bytes: from 0, to 8, events 16, reason 24.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, 0, self.from.to_le_bytes());
        put(&mut bytes, 8, self.to.to_le_bytes());
        put(&mut bytes, 16, self.events.to_le_bytes());
        put(&mut bytes, 24, (self.reason as u32).to_le_bytes());
        bytes
    }

    /// Decodes and checks a gap's body.
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
