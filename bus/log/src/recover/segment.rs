//! A segment as recovery sees it: its first and last pages, and a scan of the rest for traces of
//! its use.

use std::io;

use super::window::Window;
use crate::disk::store::Store;
use crate::format::{
    BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, Flaw, RecordKind, SECTOR_BYTES, Seal,
    SegmentHeader, page_checksum, seal_offset,
};

/// A segment, according to its first and last pages.
#[derive(Debug)]
pub(super) struct FoundSegment {
    pub(super) number: u64,
    pub(super) header: Result<SegmentHeader, Flaw>,
    /// Set when the channel's header page does not have the checksum in the segment's header.
    pub(super) page_flaw: Option<Flaw>,
    pub(super) first: Result<BlockHeader, Flaw>,
    pub(super) seal: Option<(BlockHeader, Seal)>,
    /// Where another version of railbus wrote a block or the seal, and what is not understood.
    pub(super) foreign_version: Option<(u64, Flaw)>,
    pub(super) scan: Option<Scan>,
    /// Where the blocks begin that are not known to be on disk.
    pub(super) unproven_offset: Option<u64>,
    /// Where its valid blocks end.
    pub(super) end_offset: u64,
    /// Where the newest states are, as in [`Seal::states`], in those of its blocks that were
    /// walked.
    pub(super) states: [u64; RecordKind::STATES.len()],
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scan {
    pub(super) durable_position: u64,
    pub(super) end_position: u64,
    /// Where the last trace of this segment's use ends; 0 when there is none.
    pub(super) trace_end: u64,
    pub(super) blocks: u64,
    /// The first block of this segment that another version wrote, and what is not understood.
    pub(super) foreign_version: Option<(u64, Flaw)>,
}

impl FoundSegment {
    pub(super) fn load(store: &dyn Store, number: u64) -> io::Result<FoundSegment> {
        let mut pages = vec![0; BLOCKS_OFFSET as usize + SECTOR_BYTES];
        let got = store.read_at(number, 0, &mut pages)?;
        pages.truncate(got);
        let mut segment = FoundSegment {
            number,
            header: SegmentHeader::decode(&pages),
            page_flaw: None,
            first: pages.get(BLOCKS_OFFSET as usize..).ok_or(Flaw::Short).and_then(BlockHeader::decode),
            seal: None,
            foreign_version: None,
            scan: None,
            unproven_offset: None,
            end_offset: BLOCKS_OFFSET,
            states: [0; RecordKind::STATES.len()],
        };
        if segment.header.is_ok_and(|header| header.number != number) {
            segment.header = Err(Flaw::Nonsense("the header of another segment"));
        }
        if let Ok(header) = segment.header {
            let page = pages.get(SECTOR_BYTES..2 * SECTOR_BYTES).unwrap_or(&[]);
            if header.page_checksum != 0 && header.page_checksum != page_checksum(page) {
                segment.page_flaw = Some(Flaw::Checksum);
            }
            match read_seal(store, &header)? {
                Ok(seal) => segment.seal = Some(seal),
                Err(flaw) if flaw.is_of_another_version() => {
                    segment.foreign_version = Some((seal_offset(header.segment_bytes), flaw));
                }
                Err(_) => {}
            }
        }
        Ok(segment)
    }

    /// Whether the seal or the durable position proves that everything in it was durable.
    pub(super) fn is_vouched_for(&self, durable_position: u64) -> bool {
        self.seal.is_some_and(|(header, seal)| seal.last || durable_position > header.end_position)
    }

    pub(super) fn has_blocks(&self) -> bool {
        self.seal.is_some() || self.scan.is_some_and(|scan| scan.blocks > 0)
    }
}

/// Reads the seal of a segment, or says why it has none.
fn read_seal(store: &dyn Store, segment: &SegmentHeader) -> io::Result<Result<(BlockHeader, Seal), Flaw>> {
    let mut sector = vec![0; SECTOR_BYTES];
    let got = store.read_at(segment.number, seal_offset(segment.segment_bytes), &mut sector)?;
    sector.truncate(got);
    Ok(decode_seal(&sector, segment))
}

fn decode_seal(sector: &[u8], segment: &SegmentHeader) -> Result<(BlockHeader, Seal), Flaw> {
    let header = decode_of(sector, segment)?;
    if header.kind != BlockKind::Seal || !is_of(&header, segment) {
        return Err(Flaw::Nonsense("not the segment's seal"));
    }
    header.check_body(sector)?;
    let body = sector.get(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + header.stored_bytes as usize);
    Ok((header, Seal::decode(body.ok_or(Flaw::Short)?, segment.segment_bytes)?))
}

/// Decodes a block's header. A block of another version that belongs to another use of the file is
/// only foreign.
pub(super) fn decode_of(sector: &[u8], segment: &SegmentHeader) -> Result<BlockHeader, Flaw> {
    BlockHeader::decode(sector).map_err(|flaw| match flaw.is_of_another_version() {
        true if BlockHeader::segment_id_of(sector) != Some(segment.segment_id) => {
            Flaw::Nonsense("a block of another segment")
        }
        _ => flaw,
    })
}

pub(super) fn is_of(header: &BlockHeader, segment: &SegmentHeader) -> bool {
    header.segment_id == segment.segment_id
        && header.epoch == segment.epoch
        && header.incarnation == segment.incarnation
        && header.unit == segment.unit
}

/// A segment that holds nothing in so many bytes from its first block on is not read closely any
/// further, because a writer has fewer bytes in flight.
const EMPTY_BYTES: u64 = 8 << 20;
/// After those bytes, one sector of each so many bytes is read.
const SAMPLE_BYTES: u64 = 64 << 10;

/// Whether every sampled sector from `offset` on is zeros, as in a segment that was prepared and
/// never used.
fn looks_empty(store: &dyn Store, segment: u64, mut offset: u64, end: u64) -> io::Result<bool> {
    let mut sector = vec![0; SECTOR_BYTES];
    while offset < end {
        let read = store.read_at(segment, offset, &mut sector)?;
        if sector[..read].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        offset += SAMPLE_BYTES;
    }
    Ok(true)
}

/// Scans the whole segment, sector by sector, also after holes. A segment that was prepared and
/// never used is not read in full: it begins with zeros, and the samples of the rest are zeros.
pub(super) fn scan(store: &dyn Store, segment: &SegmentHeader) -> io::Result<Scan> {
    let end = seal_offset(segment.segment_bytes);
    let mut window = Window::new(store, segment.number, end);
    let mut scan = Scan::default();
    let (mut foreign, mut bytes_end) = (false, 0);
    let mut offset = BLOCKS_OFFSET;
    let mut may_be_empty = true;
    while offset < end {
        if may_be_empty && offset >= BLOCKS_OFFSET + EMPTY_BYTES {
            may_be_empty = false;
            if !foreign
                && bytes_end == 0
                && scan.blocks == 0
                && looks_empty(store, segment.number, offset, end)?
            {
                break;
            }
        }
        let sector = window.at(offset, SECTOR_BYTES)?;
        if sector.is_empty() {
            break;
        }
        let next = offset + SECTOR_BYTES as u64;
        let header = match decode_of(sector, segment) {
            Ok(header) => header,
            Err(flaw) => {
                if flaw.is_of_another_version() {
                    scan.foreign_version.get_or_insert((offset, flaw));
                }
                foreign |= BlockHeader::segment_id_of(sector).is_some_and(|id| id != segment.segment_id);
                if sector.iter().any(|&byte| byte != 0) {
                    bytes_end = next;
                }
                offset = next;
                continue;
            }
        };
        let block_end = offset + u64::from(header.block_bytes);
        if header.segment_id == segment.segment_id {
            // The header alone is proof: it was written at once, by a writer of this segment.
            scan.durable_position = scan.durable_position.max(header.durable_position);
            scan.end_position = scan.end_position.max(header.end_position);
            scan.trace_end = scan.trace_end.max(block_end);
            scan.blocks += 1;
        } else {
            foreign = true;
        }
        let whole = header.check_body(window.at(offset, header.block_bytes as usize)?).is_ok();
        offset = if whole { block_end } else { next };
    }
    if !foreign {
        scan.trace_end = scan.trace_end.max(bytes_end);
    }
    Ok(scan)
}

/// Whether a segment was prepared but never written to. The seal before it shows that its writer
/// needed no further segment.
pub(super) fn is_unused(segments: &[FoundSegment], index: usize) -> bool {
    let Some(before) = index.checked_sub(1).and_then(|before| segments[before].seal) else { return false };
    let segment = &segments[index];
    let Ok(header) = segment.header else { return false };
    // A repair's seal says `last` as well, and blocks of the same writer follow it.
    let is_begun = segment.first.is_ok_and(|first| first.segment_id == header.segment_id);
    before.1.last && header.epoch == before.0.epoch && !is_begun && segment.seal.is_none()
}

/// Whether a segment whose header is lost holds any valid block header.
pub(super) fn has_any_block(store: &dyn Store, number: u64) -> io::Result<bool> {
    let end = store.length(number)?;
    let mut window = Window::new(store, number, end);
    let mut offset = BLOCKS_OFFSET;
    while offset < end {
        if BlockHeader::decode(window.at(offset, SECTOR_BYTES)?).is_ok() {
            return Ok(true);
        }
        offset += SECTOR_BYTES as u64;
    }
    Ok(false)
}
