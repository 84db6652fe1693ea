//! Every byte of a journal, defined once.
//!
//! ```text
//! segment file   | segment header 4 KiB | channel header page 4 KiB | block | ...  (unused) | seal 4 KiB |
//! block          | header 128 B | record | record | ... | zeros up to a multiple of 4 KiB |
//! record         | header 16 B | body | zeros up to a multiple of 8 B |
//! ```
//!
//! All integers are little-endian. Once the write of some bytes has completed, nothing overwrites them with
//! other bytes. The one exception is the seal of a segment whose torn tail is cut. The seal is always the
//! file's last sector, so that it is found without reading what is before it; it says where the blocks end.
//!
//! - A **segment** carries a number (from 1, without holes) and a random id. The id is fresh each time the
//!   file is used, so blocks of an earlier use of the file are recognised as foreign.
//! - A **block** carries the segment's id and its own number in the journal (from 0, without holes). It also
//!   carries the range of positions that it covers, and the durable position that was known when it was
//!   written. It has three checksums: that of the block before it, that of everything after its own header,
//!   and that of its header, which covers the other two.
//! - A **record** is an event (whole, or a piece of one that spans blocks) or a statement about the channel.
//!   A statement is a gap, the state of a queue's acknowledgements, the cursors of durable subscriptions, or
//!   the last sequences of named publishers.
//!
//! Decoding checks everything that can be checked without other blocks, and allocates nothing. It believes a
//! length only after it has verified the checksum over it, and never reads beyond the bytes that it was
//! given.

mod record;

use railbus_ring::frame;
pub use record::{FirstPiece, Gap, GapReason, PIECE_OF_STATE, RecordHeader, RecordKind};

/// Version of the format; any other version is refused.
pub const VERSION: u32 = 1;
/// Version of the header of a segment whose [`SegmentHeader::clock_step`] is not 0. An older program refuses
/// it; otherwise it would take times that go back for damage.
pub const VERSION_STEPPED: u32 = 2;
/// Unit of blocks, headers and direct I/O, in bytes.
pub const SECTOR_BYTES: usize = 4096;
/// Offset of a segment's first block: after its header and the channel's header page.
pub const BLOCKS_OFFSET: u64 = 2 * SECTOR_BYTES as u64;
/// Size of the largest block, in bytes.
pub const BLOCK_BYTES_MAX: usize = 256 << 10;
/// Size of a block's header, in bytes.
pub const BLOCK_HEADER_BYTES: usize = 128;
/// Size of a record's header, in bytes.
pub const RECORD_HEADER_BYTES: usize = 16;
/// Size of a segment file in bytes, unless an option says otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 256 << 20;
/// The offset of a segment's seal, which is also the latest end of its blocks.
pub const fn seal_offset(segment_bytes: u64) -> u64 {
    segment_bytes - SECTOR_BYTES as u64
}
/// Size of the smallest segment file, in bytes: its headers, one block of a sector, and the seal. A writer
/// needs room for the largest block that it writes.
pub const SEGMENT_BYTES_MIN: u64 = BLOCKS_OFFSET + 2 * SECTOR_BYTES as u64;
/// Size of the largest segment file, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 30;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"RBSEGMT1");
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"RBLK");

/// The checksum of everything in a journal: CRC-32C (Castagnoli), which x86 and Arm compute in hardware.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Continues a checksum over further bytes.
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

/// Rounds `bytes` up to whole sectors.
pub const fn sectors(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR_BYTES)
}

/// Returns how many bytes a record with a body of `body_bytes` takes in a block.
pub const fn record_bytes(body_bytes: usize) -> usize {
    RECORD_HEADER_BYTES + body_bytes.next_multiple_of(8)
}

/// The reason why bytes that should be a header or a body are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Nothing was ever written here.
    #[error("nothing but zeros")]
    Empty,
    /// There are fewer bytes than the header says, or fewer than it needs.
    #[error("cut short")]
    Short,
    /// The bytes do not begin with the magic number.
    #[error("no magic number")]
    Magic,
    /// The checksum fits, and the version of the format is another one.
    #[error(
        "format version {0}; railbus {program} reads version {VERSION}: use the railbus that wrote it, or a newer one",
        program = env!("CARGO_PKG_VERSION")
    )]
    Version(u32),
    /// The checksum fits, and some value was introduced by a newer railbus.
    #[error(
        "{what} {value}, which railbus {program} does not know: use the railbus that wrote it, or a newer one",
        program = env!("CARGO_PKG_VERSION")
    )]
    Unknown {
        /// The part of the format that has the unknown value.
        what: &'static str,
        /// The unknown value.
        value: u32,
    },
    /// The checksum of the header differs.
    #[error("the header's checksum differs")]
    HeaderChecksum,
    /// The checksum of the body differs.
    #[error("the checksum differs")]
    Checksum,
    /// The checksums fit, but no writer writes these bytes.
    #[error("{0}")]
    Nonsense(&'static str),
}

impl Flaw {
    /// Whether another version of railbus wrote these bytes and nothing is damaged. Such data must be
    /// refused, and must never be changed.
    pub const fn is_of_another_version(&self) -> bool {
        matches!(self, Flaw::Version(_) | Flaw::Unknown { .. })
    }
}

/// The unit in which positions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum PositionUnit {
    /// Bytes, for streams: an event ends one whole frame after its position.
    #[default]
    Bytes = 0,
    /// Events, for queues and topics: an event ends at the next position.
    Events = 1,
}

impl PositionUnit {
    /// Returns the position after an event.
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

/// The first page of a segment file. It is written, and made durable, before the segment's first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentHeader {
    /// The segment's number in the journal, from 1.
    pub number: u64,
    /// A random number that is fresh for each use of the file. Every block carries it.
    pub segment_id: u64,
    /// The channel's identity.
    pub channel_id: [u8; 16],
    /// The channel's incarnation, which counts its re-creations.
    pub incarnation: u64,
    /// The writer's epoch: how many times a writer has opened this journal, from 1.
    pub epoch: u64,
    /// CLOCK_REALTIME when the segment was asked for, in ns.
    pub created_ns: u64,
    /// Size of the file in bytes, a multiple of a sector.
    pub segment_bytes: u64,
    /// Owner (uid) of the channel's files, which is needed to make them again.
    pub owner: u32,
    /// Group (gid) of `.ring`.
    pub ring_group: u32,
    /// Mode of `.ring`.
    pub ring_mode: u32,
    /// Group (gid) of `.acks`.
    pub acks_group: u32,
    /// Mode of `.acks`.
    pub acks_mode: u32,
    /// The unit in which positions count.
    pub unit: PositionUnit,
    /// [`page_checksum`] of the channel's header page; 0 when it was not computed.
    pub page_checksum: u32,
    /// The newest segment, up to this one, whose times begin before the end of the segment before it,
    /// because the wall clock had been ahead. 0 means that the journal has no such segment. Times never go
    /// back within a segment, nor anywhere else.
    pub clock_step: u64,
}

/// The checksum of a channel's header page. A page of fewer bytes than a sector is filled up with zeros.
pub fn page_checksum(page: &[u8]) -> u32 {
    let mut sector = [0; SECTOR_BYTES];
    let bytes = page.len().min(SECTOR_BYTES);
    sector[..bytes].copy_from_slice(&page[..bytes]);
    checksum(&sector)
}

impl SegmentHeader {
    /// Encodes the page: magic number at 0, version at 8, size of the header at 12, then the fields. The
    /// last 4 bytes are the CRC-32C of the rest.
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
    ///
    /// # Errors
    /// The first [`Flaw`] found.
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

/// The purpose of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum BlockKind {
    /// The block holds records.
    #[default]
    Records = 1,
    /// The block holds nothing. It was written after an idle sync, to carry the durable position.
    Mark = 2,
    /// The block ends a segment and lies in its last sector. Its body is a [`Seal`].
    Seal = 3,
}

/// The compression of a block's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Codec {
    /// The records are not compressed.
    #[default]
    None = 0,
    /// The LZ4 block format.
    Lz4 = 1,
    /// A Zstandard frame.
    Zstd = 2,
}

/// The header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockHeader {
    /// The purpose of the block.
    pub kind: BlockKind,
    /// The compression of its records.
    pub codec: Codec,
    /// The unit in which positions count.
    pub unit: PositionUnit,
    /// Size on disk in bytes, header and padding included: a multiple of a sector, at most
    /// [`BLOCK_BYTES_MAX`].
    pub block_bytes: u32,
    /// Size of the records, or of a seal's body, as stored, in bytes.
    pub stored_bytes: u32,
    /// Size of the records in bytes once they are decompressed. Together with the header they are at most
    /// [`BLOCK_BYTES_MAX`].
    pub records_bytes: u32,
    /// Number of records in the block; each piece of a record counts as one.
    pub records: u32,
    /// The segment's id.
    pub segment_id: u64,
    /// The block's number in the journal, from 0.
    pub sequence: u64,
    /// Position of the first record. Everything before it is in earlier blocks.
    pub first_position: u64,
    /// Everything before this position is in this block or in an earlier one.
    pub end_position: u64,
    /// The durable position that was known when the block was written.
    pub durable_position: u64,
    /// Number of events that end in earlier blocks.
    pub events_before: u64,
    /// CLOCK_REALTIME of the first record, in ns. It is never earlier than that of the block before, except
    /// at the beginning of a segment whose [`SegmentHeader::clock_step`] is its own number.
    pub base_time_ns: u64,
    /// The channel's incarnation.
    pub incarnation: u64,
    /// The writer's epoch.
    pub epoch: u64,
    /// [`BlockHeader::header_checksum`] of the block before this one; 0 in the journal's first block.
    pub previous_checksum: u32,
    /// CRC-32C of everything after the header, up to `block_bytes`.
    pub body_checksum: u32,
    /// CRC-32C of the header's other bytes. Set by [`encode`](Self::encode).
    pub header_checksum: u32,
}

impl BlockHeader {
    /// Writes the header to the first [`BLOCK_HEADER_BYTES`] of `block`, and returns the header's checksum,
    /// which the next block carries.
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

    /// Decodes and checks a header. [`check_body`](Self::check_body) checks the bytes after it.
    ///
    /// # Errors
    /// The first [`Flaw`] found.
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

    /// Returns the id of the segment that a block belongs to, even of a block that another version wrote:
    /// every version keeps this id, the magic number and the header's checksum at the same place. Returns
    /// `None` when the checksum differs.
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

    /// Checks everything after the header of `block`, which is the whole block, against the checksum.
    ///
    /// # Errors
    /// [`Flaw::Checksum`] when it differs, [`Flaw::Short`] when bytes are missing.
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
    /// Whether the seal vouches for the whole segment. Then it was written after everything before it was
    /// durable, and its writer wrote nothing after it.
    pub last: bool,
    /// The offset of the newest record of each of [`RecordKind::STATES`] in the segment: where the block
    /// begins that holds the record or its first piece. 0 means that there is none.
    pub states: [u64; RecordKind::STATES.len()],
}

impl Seal {
    /// Size of a seal's body, in bytes.
    pub const BYTES: usize = 40;

    /// Encodes the body: blocks_end at 0, last at 8, states at 16.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, 0, self.blocks_end.to_le_bytes());
        put(&mut bytes, 8, [self.last as u8]);
        for (i, offset) in self.states.iter().enumerate() {
            put(&mut bytes, 16 + 8 * i, offset.to_le_bytes());
        }
        bytes
    }

    /// Decodes and checks the body of a seal, for a segment of `segment_bytes`.
    ///
    /// # Errors
    /// The first [`Flaw`] found.
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
