//! The events of a journal that was just recovered, read through its [`Store`].

use std::path::Path;

use railbus_os::{Error, Result};
use railbus_ring::frame;

use crate::block::{self, Assembler, Records};
use crate::disk::store::Store;
use crate::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, RecordKind, SECTOR_BYTES,
    SegmentHeader,
};

/// Calls `take` with position, header word and body of every event from `from` on, in order. The
/// journal must just have been recovered.
///
/// # Errors
/// [`Error::Corrupt`] names a damaged place; [`Error::Io`] when the store fails.
pub fn events_from(
    store: &dyn Store,
    directory: &Path,
    from: u64,
    take: &mut dyn FnMut(u64, u64, &[u8]),
) -> Result<()> {
    let failed = |error| Error::io("read", directory, error);
    let segments = store.segments().map_err(failed)?;
    // The last segment that begins at or before `from`, or else the oldest.
    let mut first = 0;
    for (i, &segment) in segments.iter().enumerate().rev() {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        store.read_at(segment, BLOCKS_OFFSET, &mut bytes).map_err(failed)?;
        if BlockHeader::decode(&bytes).is_ok_and(|block| block.first_position <= from) {
            first = i;
            break;
        }
    }
    let mut assembler = Assembler::new();
    let (mut bytes, mut scratch) = (vec![0; BLOCK_BYTES_MAX], Vec::new());
    for &segment in &segments[first..] {
        let mut page = vec![0; SECTOR_BYTES];
        store.read_at(segment, 0, &mut page).map_err(failed)?;
        let Ok(owner) = SegmentHeader::decode(&page) else { continue };
        let mut offset = BLOCKS_OFFSET;
        loop {
            let read = store.read_at(segment, offset, &mut bytes).map_err(failed)?;
            let Ok(header) = BlockHeader::decode(&bytes[..read]) else { break };
            if header.segment_id != owner.segment_id || header.kind == BlockKind::Seal {
                break;
            }
            let corrupt = |flaw| {
                Error::corrupt(
                    format!("segment {segment} of {}", directory.display()),
                    format!("at {offset}: {flaw}"),
                )
            };
            let records = block::open(&header, &bytes[..read], &mut scratch).map_err(corrupt)?;
            for record in Records::new(&header, records) {
                let record = record.map_err(corrupt)?;
                if record.kind.continues() && !assembler.is_pending() {
                    continue;
                }
                let whole = assembler.push(record, owner.unit).map_err(corrupt)?;
                if let Some(whole) = whole.filter(|w| w.kind == RecordKind::Event && w.position >= from) {
                    let word = frame::header(whole.body.len() as u32, whole.type_id, whole.flags);
                    take(whole.position, word, whole.body);
                }
            }
            offset += u64::from(header.block_bytes);
        }
        // An event continues in the next segment only under the same writer. The pieces of a dead
        // writer's event end with its last segment.
        if assembler.is_pending() && is_last_of_epoch(store, &segments, segment).map_err(failed)? {
            assembler.reset();
        }
    }
    Ok(())
}

/// Whether another writer began the next segment, or there is none.
fn is_last_of_epoch(store: &dyn Store, segments: &[u64], segment: u64) -> std::io::Result<bool> {
    let epoch = |segment: u64| -> std::io::Result<Option<u64>> {
        let mut page = vec![0; SECTOR_BYTES];
        store.read_at(segment, 0, &mut page)?;
        Ok(SegmentHeader::decode(&page).ok().map(|header| header.epoch))
    };
    let next = segments.iter().copied().find(|&next| next > segment);
    match next {
        Some(next) => Ok(epoch(next)? != epoch(segment)?),
        None => Ok(true),
    }
}
