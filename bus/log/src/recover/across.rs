//! Repairing a place after which nothing sound is left in its segment, and segments that are gone.
//!
//! The first sound block of the next existing segment gives three facts: how many blocks are
//! missing before it, how many events ended in them, and the checksum of the block before it. So
//! each segment in between is given a seal, and `bridge.rs` fills what is before a seal as it fills
//! any damaged place:
//!
//! ```text
//! | 4: blocks, cut short     | 5 is gone     | 6: block n, ...      before
//! | 4: blocks          seal  |               | 6: block n, ...      step 1: room for missing blocks
//! | 4: blocks, gap ... seal  |               | 6: block n, ...      step 2: bridge.rs
//! | 4: blocks, gap ... seal  | 5:       seal | 6: block n, ...      step 3: the rest of the missing blocks
//! | 4: blocks, gap ... seal  | 5: marks seal | 6: block n, ...      step 4: bridge.rs
//! ```
//!
//! The seal just before the existing block gets the checksum that this block carries. All these
//! seals say `last`, which proves that something before them is missing until it is filled. So
//! after a kill at any step the journal is corrupt, and the repair is begun again. Each step is
//! durable before the next one begins. A segment of which neither header nor any block is left is
//! moved to the quarantine directory when its turn comes, and is then gone. One that still has its
//! header is filled like the one before it.

use std::io;

use super::bridge::{Bridge, write_headers_anew};
use super::segment::{FoundSegment, decode_of, is_of};
use super::survey::{Corruption, Survey};
use super::window::Window;
use super::{next_header, secure};
use crate::block::{self, Link};
use crate::disk::store::Store;
use crate::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, SECTOR_BYTES,
    SEGMENT_BYTES_MIN, Seal, SegmentHeader, page_checksum, seal_offset,
};
use crate::meet_checksum::meet_checksum;
use crate::write::random_id;

const SECTOR: u64 = SECTOR_BYTES as u64;

/// A step that was taken. The journal must be surveyed again after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Crossing {
    /// The segment now ends with a seal, up to which it can be filled.
    Sealed,
    /// A segment whose header pages were damaged has valid ones again.
    Mended(Bridge),
    /// This segment was gone, and now holds nothing but a seal.
    Made(u64),
    /// This segment, in which nothing is sound, was moved to quarantine.
    Moved(u64),
}

/// The first sound block after the place, and how many blocks are missing before it.
struct Continuation {
    index: usize,
    offset: u64,
    header: BlockHeader,
    missing: u64,
    /// The fewest and the most blocks that can lie before it in its own segment.
    fewest: u64,
    most: u64,
}

/// Takes the next step. Returns `None` when nothing sound is in a later segment, or when what is
/// there contradicts what is before the place. `made` lists the segments that this repair has made
/// already.
pub(super) fn step(
    store: &dyn Store,
    survey: &Survey,
    corruption: &Corruption,
    made: &[u64],
    time_ns: u64,
) -> io::Result<Option<Crossing>> {
    let index = survey.corrupt_index;
    let harmed = &survey.segments[index];
    if harmed.number != corruption.segment {
        return Ok(None);
    }
    let before = index.checked_sub(1).map(|before| survey.segments[before].number);
    let (fills, next) = match (harmed.header, corruption.offset < BLOCKS_OFFSET) {
        (Ok(header), false) => (Some(header), index + 1),
        (Ok(_), true) if before.is_some_and(|before| harmed.number > before + 1) => (None, index),
        _ => (None, index + 1),
    };
    let resume = match find_behind(store, survey, next)? {
        NextSound::Block(resume) => resume,
        NextSound::Mended(bridge) => return Ok(Some(Crossing::Mended(bridge))),
        NextSound::Nothing => return Ok(None),
    };
    match (fills, before) {
        (Some(header), _) => seal_here(store, survey, &header, corruption.offset, &resume, time_ns),
        (None, Some(before)) if next == index && !made.contains(&(before + 1)) => {
            make_missing(store, survey, before + 1, &resume, time_ns)
        }
        // Nothing shows to which journal the file belongs. From now on the missing segment before
        // one with blocks is evidence enough.
        (None, _) if next > index => {
            store.quarantine(harmed.number)?;
            Ok(Some(Crossing::Moved(harmed.number)))
        }
        _ => Ok(None),
    }
}

/// The next sound block after a place, if there is one.
enum NextSound {
    Block(Continuation),
    /// The header pages of a segment were written again: the journal must be read again.
    Mended(Bridge),
    Nothing,
}

/// Finds the first segment, from `index` on, in which something is sound.
fn find_behind(store: &dyn Store, survey: &Survey, index: usize) -> io::Result<NextSound> {
    for index in index..survey.segments.len() {
        let segment = &survey.segments[index];
        if segment.header.is_err() || segment.page_flaw.is_some() {
            if let Some(bridge) = write_headers_anew(store, survey, index)? {
                return Ok(NextSound::Mended(bridge));
            }
        } else if let Some(resume) = find_resume(store, survey, index)? {
            return Ok(NextSound::Block(resume));
        }
    }
    Ok(NextSound::Nothing)
}

/// Finds the first sound block of a segment, if it can follow what is before the place.
fn find_resume(store: &dyn Store, survey: &Survey, index: usize) -> io::Result<Option<Continuation>> {
    let segment: &FoundSegment = &survey.segments[index];
    let Ok(own) = segment.header else { return Ok(None) };
    let end = segment.seal.map_or(seal_offset(own.segment_bytes), |(_, seal)| seal.blocks_end);
    let link = &survey.link;
    let mut window = Window::new(store, segment.number, end);
    let mut scratch = Vec::new();
    let mut offset = BLOCKS_OFFSET;
    while offset < end {
        if let Ok(header) = decode_of(window.at(offset, SECTOR_BYTES)?, &own)
            && is_of(&header, &own)
            && header.kind != BlockKind::Seal
            && header.sequence > link.sequence
            && header.first_position >= link.end_position
            && header.events_before >= link.events
            && (header.base_time_ns >= link.time_ns || own.clock_step != 0)
            && header.durable_position >= link.durable_position
        {
            let bytes = window.at(offset, header.block_bytes as usize)?;
            let is_sound = block::open(&header, bytes, &mut scratch)
                .is_ok_and(|records| block::content(&header, records).is_ok());
            if is_sound {
                let room = offset - BLOCKS_OFFSET;
                return Ok(Some(Continuation {
                    index,
                    offset,
                    header,
                    missing: header.sequence - link.sequence,
                    fewest: room.div_ceil(BLOCK_BYTES_MAX as u64),
                    most: room / SECTOR,
                }));
            }
        }
        offset += SECTOR;
    }
    Ok(None)
}

/// Ends the damaged segment with a seal, after room for as many of the missing blocks as it can
/// hold.
fn seal_here(
    store: &dyn Store,
    survey: &Survey,
    header: &SegmentHeader,
    offset: u64,
    resume: &Continuation,
    time_ns: u64,
) -> io::Result<Option<Crossing>> {
    let harmed = &survey.segments[survey.corrupt_index];
    let between = survey.segments[resume.index].number - harmed.number - 1;
    // Each segment that is gone takes at least a block and its seal.
    let elsewhere = 2 * between + resume.fewest;
    let Some(most) = resume.missing.checked_sub(1 + elsewhere) else { return Ok(None) };
    let at = seal_offset(header.segment_bytes);
    let fill = most.min(at.saturating_sub(offset) / SECTOR);
    let left = resume.missing - 1 - fill;
    let steps_back = survey.segments[resume.index].header.is_ok_and(|next| next.steps_back());
    let goes_back = resume.header.base_time_ns < survey.link.time_ns;
    if between == 0 && (left > resume.most || goes_back && !steps_back) {
        return Ok(None);
    }
    let seal = Seal { blocks_end: offset + fill * SECTOR, last: true, states: harmed.states };
    let Some(sector) = seal_before(header, survey, resume, &seal, (fill, left), time_ns) else {
        return Ok(None);
    };
    secure(store, survey, survey.corrupt_index)?;
    if store.length(harmed.number)? > at {
        store.keep_aside(harmed.number, at, SECTOR)?;
    }
    store.write_at(harmed.number, at, &sector)?;
    store.sync(harmed.number)?;
    Ok(Some(Crossing::Sealed))
}

/// Makes a segment that is gone: it holds a seal, and room for the missing blocks before it.
fn make_missing(
    store: &dyn Store,
    survey: &Survey,
    number: u64,
    resume: &Continuation,
    time_ns: u64,
) -> io::Result<Option<Crossing>> {
    let template = &survey.segments[resume.index];
    let Ok(like) = template.header else { return Ok(None) };
    let between = template.number - number - 1;
    let elsewhere = 2 * between + resume.fewest;
    // The segment is no larger than the largest existing one. So a number in a block does not
    // decide how much of the disk is taken.
    let sizes = survey.segments.iter().filter_map(|segment| segment.header.ok());
    let largest = sizes.map(|header| header.segment_bytes).max().unwrap_or(SEGMENT_BYTES_MIN);
    let most = largest.saturating_sub(BLOCKS_OFFSET + SECTOR) / SECTOR;
    let Some(fill) = resume.missing.checked_sub(1 + elsewhere).map(|fill| fill.min(most)) else {
        return Ok(None);
    };
    let left = resume.missing - 1 - fill;
    if fill == 0 || between == 0 && left > resume.most {
        return Ok(None);
    }
    let mut page = vec![0; SECTOR_BYTES];
    store.read_at(template.number, SECTOR, &mut page)?;
    let header = SegmentHeader {
        number,
        segment_id: random_id()?,
        created_ns: time_ns,
        segment_bytes: BLOCKS_OFFSET + (fill + 1) * SECTOR,
        page_checksum: page_checksum(&page),
        clock_step: step_before(number, survey, resume, &like),
        ..like
    };
    let seal = Seal { blocks_end: BLOCKS_OFFSET + fill * SECTOR, last: true, states: Seal::default().states };
    let Some(sector) = seal_before(&header, survey, resume, &seal, (fill, left), time_ns) else {
        return Ok(None);
    };
    secure(store, survey, survey.corrupt_index)?;
    store.create_sealed(&header, &page, &sector)?;
    Ok(Some(Crossing::Made(number)))
}

/// Returns the `clock_step` of a segment that is made again: its own number if the times after it
/// are earlier.
fn step_before(number: u64, survey: &Survey, resume: &Continuation, like: &SegmentHeader) -> u64 {
    let earlier = if like.clock_step < number { like.clock_step } else { 0 };
    if resume.header.base_time_ns < survey.link.time_ns { number } else { earlier }
}

/// Builds the seal that ends a segment between the place and the sound block. `fill` missing blocks
/// lie before it in its segment, and `left` after it.
fn seal_before(
    segment: &SegmentHeader,
    survey: &Survey,
    resume: &Continuation,
    seal: &Seal,
    (fill, left): (u64, u64),
    time_ns: u64,
) -> Option<Vec<u8>> {
    let link = &survey.link;
    let next = &resume.header;
    let lost = next.first_position > link.end_position || next.events_before > link.events;
    if fill + left == 0 && lost {
        return None; // no block is missing, but events are
    }
    // The blocks that are filled in before the seal bring the chain up to the sound block.
    let filled = Link {
        sequence: link.sequence + fill,
        end_position: next.first_position,
        events: next.events_before,
        time_ns: time_ns.clamp(link.time_ns, next.base_time_ns.max(link.time_ns)),
        ..*link
    };
    let link = if fill > 0 { &filled } else { link };
    let mut sector = vec![0; SECTOR_BYTES];
    sector[BLOCK_HEADER_BYTES..][..Seal::BYTES].copy_from_slice(&seal.encode());
    let header = BlockHeader {
        kind: BlockKind::Seal,
        stored_bytes: Seal::BYTES as u32,
        records_bytes: Seal::BYTES as u32,
        ..next_header(segment, link, SECTOR_BYTES)
    };
    super::finish_block(header, &mut sector);
    if left == 0 && resume.offset == BLOCKS_OFFSET {
        meet_checksum(&mut sector, next.previous_checksum);
    }
    Some(sector)
}
