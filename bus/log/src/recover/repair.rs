//! Repair: moves what cannot be trusted out of the way, and records what is missing.

use std::io;
use std::path::Path;

use railbus_os::{Error, Result};

use super::across::{self, Crossing};
use super::bridge::{Bridge, bridge, put_gap};
use super::survey::{Checks, Corruption, Survey, survey};
use super::{corrupt, finish_block, next_header, seal_sector, secure};
use crate::block::Link;
use crate::disk::store::Store;
use crate::format::{
    BLOCKS_OFFSET, BlockHeader, BlockKind, Gap, GapReason, SECTOR_BYTES, Seal, SegmentHeader, page_checksum,
    seal_offset,
};
use crate::write::random_id;

/// The result of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// The first place where the journal was corrupt; `None` when it was not, and nothing was done.
    pub corruption: Option<Corruption>,
    /// Damaged places that were repaired where they are: what is after them stays.
    pub bridges: Vec<Bridge>,
    /// Segments that were gone and were made again. Together with [`bridges`](Self::bridges) they
    /// record what is missing.
    pub made: Vec<u64>,
    /// Segments that were moved out of the journal.
    pub quarantined: Vec<u64>,
    /// The segment with a corrupt place in the middle, which was kept: it now ends before that
    /// place.
    pub shortened: Option<u64>,
    /// The gap that was recorded after what was kept.
    pub gap: Option<Gap>,
}

/// Repairs a corrupt journal whose lock the caller holds. `time_ns` is the time of the gaps, in ns
/// of CLOCK_REALTIME.
///
/// - A damaged place with something sound after it in the same segment is filled with a recorded
///   gap, and damaged header pages are written again (`bridge.rs`). Everything else stays.
/// - The same is done where a segment was cut short or is gone, if a later one is sound
///   (`across.rs`).
/// - Otherwise nothing sound follows. Every segment after the corrupt place is moved out of the
///   way, and the damaged segment is ended before the place. A gap is recorded up to the last known
///   position.
///
/// The repair may be killed anywhere and run again.
///
/// # Errors
/// [`Error::Version`] when another version of railbus wrote data that are not understood: nothing
/// is changed. [`Error::Io`] when the disk fails.
pub fn repair(store: &dyn Store, path: &Path, time_ns: u64) -> Result<Repair> {
    let failed = |error| Error::io("repair", path, error);
    let mut repair = Repair::default();
    let mut last = None;
    loop {
        let survey = survey(store, Checks::FULL).map_err(|error| Error::io("read", path, error))?;
        let Some(corruption) = survey.corrupt else { return Ok(repair) };
        if corruption.flaw.is_of_another_version() {
            return Err(corrupt(path, &corruption));
        }
        repair.corruption.get_or_insert(corruption);
        // Each repaired place is after the one before, and no segment is made twice, so this loop
        // ends.
        let place = Some((corruption.segment, corruption.offset));
        let bridged =
            if place > last { bridge(store, &survey, &corruption, time_ns).map_err(failed)? } else { None };
        last = place;
        if let Some(bridged) = bridged {
            repair.bridges.push(bridged);
            continue;
        }
        match across::step(store, &survey, &corruption, &repair.made, time_ns).map_err(failed)? {
            Some(step) => {
                last = None;
                match step {
                    Crossing::Sealed => {}
                    Crossing::Mended(bridge) => repair.bridges.push(bridge),
                    Crossing::Made(segment) => repair.made.push(segment),
                    Crossing::Moved(segment) => repair.quarantined.push(segment),
                }
            }
            None => {
                let cut = repair_at(store, &survey, corruption, time_ns).map_err(failed)?;
                repair.quarantined.extend(cut.quarantined);
                return Ok(Repair { shortened: cut.shortened, gap: cut.gap, ..repair });
            }
        }
    }
}

fn repair_at(store: &dyn Store, survey: &Survey, corruption: Corruption, time_ns: u64) -> io::Result<Repair> {
    let index = survey.corrupt_index;
    let harmed = &survey.segments[index];
    let keeps = corruption.offset > BLOCKS_OFFSET && harmed.end_offset > BLOCKS_OFFSET;
    let kept = if keeps { index + 1 } else { index };
    // The newest sound segment says to which channel the journal belongs. Failing that, a segment
    // with a damaged channel page does.
    let sound = survey.segments.iter().rev().filter(|segment| segment.page_flaw.is_none());
    let template =
        sound.chain(&survey.segments).find_map(|segment| Some((segment.number, segment.header.ok()?)));
    let mut page = vec![0; SECTOR_BYTES];
    if let Some((number, _)) = template {
        store.read_at(number, SECTOR_BYTES as u64, &mut page)?;
    }
    let mut repair = Repair { corruption: Some(corruption), ..Repair::default() };
    let gap = Gap {
        from: survey.link.end_position,
        to: survey.known_end,
        events: u64::MAX,
        reason: GapReason::Quarantined,
    };
    // After a segment that is kept in part, the chain continues from a seal that is written last of
    // all.
    let mut link = survey.link;
    let mut own_seal = None;
    if keeps && let Ok(header) = harmed.header {
        let seal = Seal { blocks_end: harmed.end_offset, last: true, states: harmed.states };
        let (sector, behind) = seal_sector(&header, &link, &seal, link.end_position);
        link = behind;
        own_seal = Some((header, sector));
    }
    let recorder = template.filter(|_| gap.to > gap.from).map(|(_, header)| GapRecorder {
        template: SegmentHeader {
            epoch: survey.epoch.saturating_add(1),
            created_ns: time_ns,
            page_checksum: page_checksum(&page),
            ..header
        },
        page,
        link,
        gap,
        time_ns,
    });
    let number_of = |index: usize| survey.segments[index].number;
    let place = kept.checked_sub(1).map_or(number_of(0), |last| number_of(last).saturating_add(1));
    let behind_all = number_of(survey.segments.len() - 1).saturating_add(1);
    // When segments are moved away, the evidence that anything is missing goes with them. So the
    // gap is first recorded after all of them. Until the last step, whatever is left is corrupt,
    // and the repair is begun again.
    if let Some(recorder) = recorder.as_ref().filter(|_| behind_all != place) {
        recorder.record(store, behind_all)?;
    }
    for segment in survey.segments[kept..].iter().rev() {
        store.quarantine(segment.number)?;
        repair.quarantined.push(segment.number);
    }
    secure(store, survey, kept)?;
    if let Some(recorder) = recorder {
        recorder.record(store, place)?;
        repair.gap = Some(gap);
        if behind_all != place {
            store.remove(behind_all)?;
        }
    }
    if let Some((header, sector)) = own_seal {
        store.write_at(header.number, seal_offset(header.segment_bytes), &sector)?;
        store.sync(header.number)?;
        repair.shortened = Some(header.number);
    }
    Ok(repair)
}

/// Makes segments that hold nothing but the gap.
struct GapRecorder {
    template: SegmentHeader,
    page: Vec<u8>,
    link: Link,
    gap: Gap,
    time_ns: u64,
}

impl GapRecorder {
    fn record(&self, store: &dyn Store, number: u64) -> io::Result<()> {
        let header = SegmentHeader { number, segment_id: random_id()?, ..self.template };
        record_gap(store, &header, &self.page, self.link, &self.gap, self.time_ns)
    }
}

/// Makes one such segment.
fn record_gap(
    store: &dyn Store,
    segment: &SegmentHeader,
    channel_page: &[u8],
    link: Link,
    gap: &Gap,
    time_ns: u64,
) -> io::Result<()> {
    store.create(segment, channel_page)?;
    let mut block = vec![0; SECTOR_BYTES];
    let bytes = put_gap(gap, &mut block);
    let header = BlockHeader {
        kind: BlockKind::Records,
        stored_bytes: bytes,
        records_bytes: bytes,
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
