//! Reads the contents of a disk, and compares them with the appended records.
//!
//! The walk over segments is written again here, so that a mistake of recovery is not made twice.

use railbus_log::block::{self, Assembler, Records};
use railbus_log::disk::store::Store;
use railbus_log::format::{
    BLOCKS_OFFSET, BlockHeader, BlockKind, RecordKind, SECTOR_BYTES, Seal, SegmentHeader,
};

use crate::simulated::disk::Disk;

/// A record as it was appended, or as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) end_position: u64,
    pub(crate) time_ns: u64,
    pub(crate) kind: RecordKind,
    pub(crate) type_id: u16,
    pub(crate) flags: u8,
    pub(crate) body: Vec<u8>,
}

impl Entry {
    pub(crate) fn of(record: &block::Record<'_>) -> Entry {
        Entry {
            position: record.position,
            end_position: record.end_position,
            time_ns: record.time_ns,
            kind: record.kind,
            type_id: record.type_id,
            flags: record.flags,
            body: record.body.to_vec(),
        }
    }

    pub(crate) fn is_state(&self) -> bool {
        self.kind.state_index().is_some()
    }

    pub(crate) fn brief(&self) -> String {
        format!("{:?} at {}..{} of {} B", self.kind, self.position, self.end_position, self.body.len())
    }
}

/// Every record of a recovered journal, pieces put together.
pub(crate) fn read(disk: &Disk) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut assembler = Assembler::new();
    let mut epoch = 0;
    for number in disk.segments().map_err(|error| error.to_string())? {
        let mut page = vec![0; SECTOR_BYTES];
        disk.read_at(number, 0, &mut page).map_err(|error| error.to_string())?;
        let segment = SegmentHeader::decode(&page).map_err(|flaw| format!("segment {number}: {flaw}"))?;
        if segment.epoch != epoch {
            assembler.reset();
            epoch = segment.epoch;
        }
        disk.read_at(number, segment.segment_bytes - SECTOR_BYTES as u64, &mut page)
            .map_err(|error| error.to_string())?;
        let seal = BlockHeader::decode(&page).map_err(|flaw| format!("seal of segment {number}: {flaw}"))?;
        if seal.kind != BlockKind::Seal || seal.segment_id != segment.segment_id {
            return Err(format!("segment {number} is not sealed"));
        }
        let seal = Seal::decode(&page[128..128 + Seal::BYTES], segment.segment_bytes)
            .map_err(|flaw| format!("seal of segment {number}: {flaw}"))?;
        let mut offset = BLOCKS_OFFSET;
        let mut scratch = Vec::new();
        while offset < seal.blocks_end {
            let at = |flaw| format!("segment {number} at {offset}: {flaw}");
            disk.read_at(number, offset, &mut page).map_err(|error| error.to_string())?;
            let header = BlockHeader::decode(&page).map_err(at)?;
            let mut bytes = vec![0; header.block_bytes as usize];
            disk.read_at(number, offset, &mut bytes).map_err(|error| error.to_string())?;
            if header.segment_id != segment.segment_id {
                return Err(format!("segment {number} at {offset}: a foreign block"));
            }
            let records = block::open(&header, &bytes, &mut scratch).map_err(at)?;
            for record in Records::new(&header, records) {
                let goes_on = record.as_ref().is_ok_and(|record| record.kind.continues());
                if goes_on && entries.is_empty() && !assembler.is_pending() {
                    continue; // pruned within this record
                }
                if let Some(whole) = assembler.push(record.map_err(at)?, header.unit).map_err(at)? {
                    entries.push(Entry::of(&whole));
                }
            }
            offset += u64::from(header.block_bytes);
        }
    }
    Ok(entries)
}

/// How many whole records begin in the segments up to `last`. The journal may be one that is being
/// written.
pub(crate) fn begun_up_to(disk: &Disk, last: u64) -> Result<usize, String> {
    let text = |error: std::io::Error| error.to_string();
    let (mut assembler, mut scratch) = (Assembler::new(), Vec::new());
    let (mut epoch, mut began, mut count) = (0, 0, 0);
    for number in disk.segments().map_err(text)? {
        let mut page = vec![0; SECTOR_BYTES];
        disk.read_at(number, 0, &mut page).map_err(text)?;
        let segment = SegmentHeader::decode(&page).map_err(|flaw| format!("segment {number}: {flaw}"))?;
        if segment.epoch != epoch {
            assembler.reset();
            epoch = segment.epoch;
        }
        if number > last && !assembler.is_pending() {
            break;
        }
        let mut offset = BLOCKS_OFFSET;
        while offset < segment.segment_bytes - SECTOR_BYTES as u64 {
            disk.read_at(number, offset, &mut page).map_err(text)?;
            let Ok(header) = BlockHeader::decode(&page) else { break };
            let mut bytes = vec![0; header.block_bytes as usize];
            disk.read_at(number, offset, &mut bytes).map_err(text)?;
            let Ok(records) = block::open(&header, &bytes, &mut scratch) else { break };
            if header.segment_id != segment.segment_id || header.kind == BlockKind::Seal {
                break;
            }
            for record in Records::new(&header, records) {
                let record = record.map_err(|flaw| format!("segment {number} at {offset}: {flaw}"))?;
                if record.kind.continues() && !assembler.is_pending() {
                    continue; // began in a segment that was removed before
                }
                if !record.kind.continues() {
                    began = number;
                }
                let whole = assembler.push(record, header.unit).map_err(|flaw| flaw.to_string())?;
                count += usize::from(whole.is_some() && began <= last);
            }
            offset += u64::from(header.block_bytes);
        }
    }
    Ok(count)
}

/// Checks that `found` is a prefix of `appended` that reaches at least to `promised`; returns its
/// length. States at its very end may be missing: they have no position to be promised.
pub(crate) fn is_prefix(found: &[Entry], appended: &[Entry], promised: u64) -> Result<usize, String> {
    for (i, entry) in found.iter().enumerate() {
        match appended.get(i) {
            None => return Err(format!("invented: record {i}, {}", entry.brief())),
            Some(wanted) if wanted != entry => {
                return Err(format!("record {i} is {}, and was {}", entry.brief(), wanted.brief()));
            }
            Some(_) => {}
        }
    }
    match appended[found.len()..].iter().find(|entry| !entry.is_state() && entry.end_position <= promised) {
        Some(lost) => Err(format!(
            "lost: record {}, {}, though everything before {promised} was promised",
            found.len(),
            lost.brief()
        )),
        None => Ok(found.len()),
    }
}
