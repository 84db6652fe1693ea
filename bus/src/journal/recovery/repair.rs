//! Repair: moves what cannot be trusted out of the way, and records what is missing.

use std::io;
use std::path::Path;

use super::survey::{Checks, Corruption, Survey, survey};
use super::{finish_block, next_header, seal_sector, secure};
use crate::journal::block::Link;
use crate::journal::format::{
    BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, Gap, GapReason, RecordHeader, RecordKind,
    SECTOR_BYTES, Seal, SegmentHeader, page_checksum, record_bytes, seal_offset,
};
use crate::journal::store::Store;
use crate::journal::writer::random_id;
use crate::{Error, Result};

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Where the journal was corrupt; `None`: nowhere, and nothing was done.
    pub corruption: Option<Corruption>,
    /// Segments that were moved out of the journal.
    pub quarantined: Vec<u64>,
    /// The segment that was corrupt in the middle: it was kept, and ends before that place now.
    pub shortened: Option<u64>,
    /// The gap that was recorded.
    pub gap: Option<Gap>,
}

/// Repairs a corrupt journal, of which the caller holds the lock: every segment behind the corrupt place is moved out
/// of the way, the one it is in is ended before it, and a gap is recorded that reaches as far as anything is known.
///
/// It may be killed anywhere and run again. (Killed between the last move and the recording of the gap, when nothing
/// of the corrupt segment could be kept, it leaves a journal that opens, in which the gap is only seen by the
/// positions.)
///
/// # Errors
/// `Io` when the disk fails.
pub fn repair(store: &dyn Store, path: &Path, time_ns: u64) -> Result<Repair> {
    let survey = survey(store, Checks::FULL).map_err(|error| Error::io("read", path, error))?;
    let Some(corruption) = survey.corrupt else {
        return Ok(Repair { corruption: None, quarantined: Vec::new(), shortened: None, gap: None });
    };
    repair_at(store, &survey, corruption, time_ns).map_err(|error| Error::io("repair", path, error))
}

fn repair_at(store: &dyn Store, survey: &Survey, corruption: Corruption, time_ns: u64) -> io::Result<Repair> {
    let index = survey.corrupt_index;
    let corrupt = &survey.segments[index];
    let keeps = corruption.offset > BLOCKS_OFFSET && corrupt.end_offset > BLOCKS_OFFSET;
    let kept = if keeps { index + 1 } else { index };
    // The newest segment that is sound says whose journal it is; at worst, one with a harmed page does.
    let sound = survey.segments.iter().rev().filter(|segment| segment.page_flaw.is_none());
    let template =
        sound.chain(&survey.segments).find_map(|segment| Some((segment.number, segment.header.ok()?)));
    let mut page = vec![0; SECTOR_BYTES];
    if let Some((number, _)) = template {
        store.read_at(number, SECTOR_BYTES as u64, &mut page)?;
    }
    let mut repair =
        Repair { corruption: Some(corruption), quarantined: Vec::new(), shortened: None, gap: None };
    for segment in survey.segments[kept..].iter().rev() {
        store.quarantine(segment.number)?;
        repair.quarantined.push(segment.number);
    }
    secure(store, survey, kept)?;
    // The segment with the gap comes before the seal that it follows: until that is there, the journal is as corrupt
    // as it was, and the repair is begun again.
    let mut link = survey.link;
    let mut own_seal = None;
    if keeps && let Ok(header) = corrupt.header {
        let seal = Seal { blocks_end: corrupt.end_offset, last: true, states: corrupt.states };
        let (sector, behind) = seal_sector(&header, &link, &seal, link.end_position);
        link = behind;
        own_seal = Some((header, sector));
    }
    if let Some((_, template)) = template {
        let number = match kept.checked_sub(1) {
            Some(last) => survey.segments[last].number.saturating_add(1),
            None => survey.segments[0].number,
        };
        let header = SegmentHeader {
            number,
            segment_id: random_id()?,
            epoch: survey.epoch.saturating_add(1),
            created_ns: time_ns,
            page_checksum: page_checksum(&page),
            ..template
        };
        let gap = Gap {
            from: survey.link.end_position,
            to: survey.known_end,
            events: u64::MAX,
            reason: GapReason::Quarantined,
        };
        record_gap(store, &header, &page, link, &gap, time_ns)?;
        repair.gap = Some(gap);
    }
    if let Some((header, sector)) = own_seal {
        store.write_at(header.number, seal_offset(header.segment_bytes), &sector)?;
        store.sync(header.number)?;
        repair.shortened = Some(header.number);
    }
    Ok(repair)
}

/// Makes a segment that holds nothing but the gap.
fn record_gap(
    store: &dyn Store,
    segment: &SegmentHeader,
    channel_page: &[u8],
    link: Link,
    gap: &Gap,
    time_ns: u64,
) -> io::Result<()> {
    store.create(segment, channel_page)?;
    let body = gap.encode();
    let bytes = record_bytes(body.len());
    let record = RecordHeader {
        body_bytes: body.len() as u32,
        type_id: 0,
        flags: 0,
        kind: RecordKind::Gap,
        position_delta: 0,
        time_delta_ns: 0,
    };
    let mut block = vec![0; SECTOR_BYTES];
    let records = &mut block[BLOCK_HEADER_BYTES..][..bytes];
    let (head, rest) = records.split_at_mut(record.encode().len());
    head.copy_from_slice(&record.encode());
    rest[..body.len()].copy_from_slice(&body);
    let header = BlockHeader {
        kind: BlockKind::Records,
        stored_bytes: bytes as u32,
        records_bytes: bytes as u32,
        records: 1,
        end_position: gap.to,
        base_time_ns: link.time_ns.max(time_ns),
        ..next_header(segment, &link, SECTOR_BYTES)
    };
    let header = finish_block(header, &mut block);
    store.write_at(segment.number, BLOCKS_OFFSET, &block)?;
    store.sync(segment.number)?;
    let link = Link::behind(&header, 0, header.base_time_ns);
    let seal = Seal { blocks_end: BLOCKS_OFFSET + SECTOR_BYTES as u64, last: true, states: [0; 3] };
    let (sector, _) = seal_sector(segment, &link, &seal, gap.to);
    store.write_at(segment.number, seal_offset(segment.segment_bytes), &sector)?;
    store.sync(segment.number)
}
