//! Repairing a damaged place where it is, so that everything sound after it stays.
//!
//! The block after a damaged place carries its own number, and the checksum of the header before
//! it. So the place is filled with as many blocks as are missing. The last of them records the gap,
//! and gets the checksum that is expected of it: four reserved bytes of its header are chosen for
//! that. Until that block is on disk the journal still ends where the damaged place began, and the
//! blocks after it prove that something is missing.
//!
//! ```text
//! | block n | ####### damaged ####### | block n+4 |      before
//! | block n | n+1 | n+2 |   gap n+3   | block n+4 |      after: n+1 and n+2 hold nothing
//! ```
//!
//! Where nothing sound follows the place in its segment, `across.rs` first gives the segment a new
//! seal.
//!
//! A segment's first two sectors are written again from its blocks and from another segment of the
//! same channel. Bytes that will be overwritten are first copied to the quarantine directory. Each
//! step leaves either the old place or a smaller one, so the repair may be killed anywhere and run
//! again.

use std::io;

use super::segment::{decode_of, is_of};
use super::survey::{Corruption, Survey};
use super::window::Window;
use super::{finish_block, next_header};
use crate::block::{self, Link};
use crate::disk::store::Store;
use crate::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, Gap, GapReason, RecordHeader,
    RecordKind, SECTOR_BYTES, SegmentHeader, page_checksum, record_bytes,
};
use crate::meet_checksum::meet_checksum;

/// A damaged place that was repaired. The blocks after it stay in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The segment.
    pub segment: u64,
    /// Offset of the damaged bytes in the segment's file. A copy of them is in the quarantine
    /// directory.
    pub offset: u64,
    /// Number of bytes that were replaced.
    pub bytes: u64,
    /// The gap that was recorded; `None` when no record was lost.
    pub gap: Option<Gap>,
}

/// The block with which the chain continues after a damaged place.
struct Resume {
    offset: u64,
    header: BlockHeader,
}

/// Repairs the first corrupt place of a survey, if anything sound follows it in the same segment,
/// or if it is in a segment's first two sectors. Returns `None` when it cannot be repaired in
/// place.
pub(super) fn bridge(
    store: &dyn Store,
    survey: &Survey,
    corruption: &Corruption,
    time_ns: u64,
) -> io::Result<Option<Bridge>> {
    if corruption.offset < BLOCKS_OFFSET {
        let index = survey.corrupt_index;
        if survey.segments[index].number != corruption.segment {
            return Ok(None);
        }
        return write_headers_anew(store, survey, index);
    }
    let segment = &survey.segments[survey.corrupt_index];
    let (Ok(header), Some(offset)) = (segment.header, Some(corruption.offset)) else { return Ok(None) };
    if segment.number != corruption.segment {
        return Ok(None);
    }
    // The beginning of this journal was removed and the oldest segment is damaged: nothing shows
    // what was before its first block.
    let unknown_start = survey.corrupt_index == 0
        && offset == BLOCKS_OFFSET
        && segment.number > 1
        && survey.link == Link::default();
    let Some(resume) = find_resume(store, survey, &header, offset, unknown_start)? else { return Ok(None) };
    let bytes = resume.offset - offset;
    let mut link = survey.link;
    if unknown_start {
        let blocks = bytes.div_ceil(BLOCK_BYTES_MAX as u64);
        link = Link {
            sequence: resume.header.sequence - blocks,
            end_position: resume.header.first_position,
            events: resume.header.events_before,
            ..Link::default()
        };
    }
    let gap = Gap {
        from: link.end_position,
        to: resume.header.first_position,
        events: if unknown_start { u64::MAX } else { resume.header.events_before - link.events },
        reason: GapReason::Quarantined,
    };
    // A segment that was gone may hold none of the missing records: the gap is in the segment
    // before it.
    let is_gap = gap.to > gap.from || gap.events > 0 || survey.within_record;
    let gap = Some(gap).filter(|_| is_gap);
    let filled = fill(&header, link, &resume, bytes as usize, gap.as_ref(), time_ns);
    store.keep_aside(segment.number, offset, bytes)?;
    store.write_at(segment.number, offset, &filled)?;
    store.sync(segment.number)?;
    Ok(Some(Bridge { segment: segment.number, offset, bytes, gap }))
}

/// Finds the first sound block, or the seal, after a damaged place that can follow what is before
/// it.
fn find_resume(
    store: &dyn Store,
    survey: &Survey,
    segment: &SegmentHeader,
    from: u64,
    unknown_start: bool,
) -> io::Result<Option<Resume>> {
    let index = survey.corrupt_index;
    let seal = survey.segments[index].seal;
    let end = seal.map_or(super::seal_offset(segment.segment_bytes), |(_, seal)| seal.blocks_end);
    let link = &survey.link;
    let follows = |offset: u64, header: &BlockHeader| {
        let room = (offset - from) / SECTOR_BYTES as u64;
        let most = (offset - from).div_ceil(BLOCK_BYTES_MAX as u64);
        let missing = match unknown_start {
            true => most,
            false => header.sequence.saturating_sub(link.sequence),
        };
        missing >= most.max(1)
            && missing <= room
            && header.sequence >= missing
            && header.first_position >= link.end_position
            && header.events_before >= link.events
            && header.base_time_ns >= link.time_ns
            && header.durable_position >= link.durable_position
    };
    let mut window = Window::new(store, segment.number, end);
    let mut scratch = Vec::new();
    let mut offset = from + SECTOR_BYTES as u64;
    while offset < end {
        if let Ok(header) = decode_of(window.at(offset, SECTOR_BYTES)?, segment)
            && is_of(&header, segment)
            && header.kind != BlockKind::Seal
            && follows(offset, &header)
        {
            let bytes = window.at(offset, header.block_bytes as usize)?;
            if block::open(&header, bytes, &mut scratch).is_ok_and(|records| begins_anew(&header, records)) {
                return Ok(Some(Resume { offset, header }));
            }
        }
        offset += SECTOR_BYTES as u64;
    }
    Ok(seal
        .filter(|(header, seal)| seal.blocks_end > from && follows(seal.blocks_end, header))
        .map(|(header, seal)| Resume { offset: seal.blocks_end, header }))
}

/// Whether a block can be understood without the one before it: its records are sound, and the
/// first one does not continue an earlier record.
fn begins_anew(header: &BlockHeader, records: &[u8]) -> bool {
    let first = block::Records::new(header, records).next();
    block::content(header, records).is_ok()
        && first.is_none_or(|record| record.is_ok_and(|record| !record.kind.continues()))
}

/// Builds the blocks that fill a damaged place of `bytes` bytes.
fn fill(
    segment: &SegmentHeader,
    mut link: Link,
    resume: &Resume,
    bytes: usize,
    gap: Option<&Gap>,
    time_ns: u64,
) -> Vec<u8> {
    let blocks = (resume.header.sequence - link.sequence) as usize;
    // The time is never later than that of the next block.
    let time_ns = time_ns.clamp(link.time_ns, resume.header.base_time_ns.max(link.time_ns));
    let mut filled = Vec::with_capacity(bytes);
    for left in (0..blocks).rev() {
        let most = bytes - filled.len() - left * SECTOR_BYTES;
        let mut block = vec![0; if left == 0 { most } else { most.min(BLOCK_BYTES_MAX) }];
        let mut header = BlockHeader { kind: BlockKind::Mark, ..next_header(segment, &link, block.len()) };
        if let Some(gap) = gap.filter(|_| left == 0) {
            let stored = put_gap(gap, &mut block);
            header = BlockHeader {
                kind: BlockKind::Records,
                stored_bytes: stored,
                records_bytes: stored,
                records: 1,
                end_position: gap.to,
                base_time_ns: time_ns,
                ..header
            };
        }
        let mut header = finish_block(header, &mut block);
        if left == 0 {
            header.header_checksum = meet_checksum(&mut block, resume.header.previous_checksum);
        }
        link = Link::behind(&header, 0, time_ns);
        filled.extend_from_slice(&block);
    }
    filled
}

/// Writes the record of a gap to a block, and returns its size in bytes.
pub(super) fn put_gap(gap: &Gap, block: &mut [u8]) -> u32 {
    let body = gap.encode();
    let record = RecordHeader {
        body_bytes: body.len() as u32,
        type_id: 0,
        flags: 0,
        kind: RecordKind::Gap,
        position_delta: 0,
        time_delta_ns: 0,
    };
    let bytes = record_bytes(body.len());
    let records = &mut block[BLOCK_HEADER_BYTES..][..bytes];
    let (head, rest) = records.split_at_mut(record.encode().len());
    head.copy_from_slice(&record.encode());
    rest[..body.len()].copy_from_slice(&body);
    bytes as u32
}

/// Writes the two header pages of a segment again: what its blocks say, and the rest as in another
/// segment of the channel. Returns `None` when they are sound, or when none of its blocks shows
/// what they were.
pub(super) fn write_headers_anew(
    store: &dyn Store,
    survey: &Survey,
    index: usize,
) -> io::Result<Option<Bridge>> {
    let harmed = &survey.segments[index];
    if harmed.header.is_ok() && harmed.page_flaw.is_none() {
        return Ok(None);
    }
    let sound = survey.segments.iter().filter(|segment| segment.page_flaw.is_none());
    let templates: Vec<SegmentHeader> = sound.filter_map(|segment| segment.header.ok()).collect();
    let length = store.length(harmed.number)?;
    let Some(first) = first_block(store, harmed.number, length)? else { return Ok(None) };
    let same = templates.iter().find(|template| template.incarnation == first.incarnation);
    let Some(template) = same.or(templates.last()) else { return Ok(None) };
    let mut page = vec![0; SECTOR_BYTES];
    store.read_at(template.number, SECTOR_BYTES as u64, &mut page)?;
    let header = SegmentHeader {
        number: harmed.number,
        segment_id: first.segment_id,
        incarnation: first.incarnation,
        epoch: first.epoch,
        unit: first.unit,
        segment_bytes: length,
        page_checksum: page_checksum(&page),
        ..harmed.header.ok().filter(|own| own.channel_id == template.channel_id).unwrap_or(*template)
    };
    // Only a header that can be read back is better than what is there.
    if SegmentHeader::decode(&header.encode()[..]) != Ok(header) {
        return Ok(None);
    }
    let mut pages = header.encode().to_vec();
    pages.extend_from_slice(&page);
    store.keep_aside(harmed.number, 0, BLOCKS_OFFSET)?;
    store.write_at(harmed.number, 0, &pages)?;
    store.sync(harmed.number)?;
    Ok(Some(Bridge { segment: harmed.number, offset: 0, bytes: BLOCKS_OFFSET, gap: None }))
}

/// Returns the header of a segment's first block, or of its seal if the first block is damaged.
fn first_block(store: &dyn Store, number: u64, length: u64) -> io::Result<Option<BlockHeader>> {
    let mut sector = vec![0; SECTOR_BYTES];
    for offset in [BLOCKS_OFFSET, length.saturating_sub(SECTOR_BYTES as u64)] {
        let read = store.read_at(number, offset, &mut sector)?;
        if let Ok(header) = BlockHeader::decode(&sector[..read]) {
            return Ok(Some(header));
        }
    }
    Ok(None)
}
