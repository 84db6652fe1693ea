//! Recovery: brings a journal that was left in any state to one that a writer can continue, or
//! refuses.
//!
//! `survey` finds what is there. [`recover`] then removes what is after the cut (newest segment
//! first), makes what is before it durable, and ends it with a seal. Each step leaves a journal
//! that recovery judges in the same way. So recovery may be killed anywhere and run again, and
//! running it twice changes nothing.
//!
//! A hole below the durable position is corruption and is not touched: [`recover`] names the place.
//! [`repair`] replaces what is damaged by a recorded gap, or, where nothing sound follows, moves
//! segments out of the way.

mod across;
mod bridge;
mod prunable;
mod repair;
mod segment;
mod states;
mod survey;
mod window;

use std::io;
use std::path::Path;

use railbus_os::{Error, Result};

use crate::block::Link;
use crate::disk::store::Store;
use crate::format::{
    self, BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, SECTOR_BYTES, Seal, SegmentHeader,
    seal_offset,
};
use crate::write::Start;

pub use bridge::Bridge;
pub use prunable::prunable;
pub use repair::{Repair, repair};
use segment::FoundSegment;
pub use states::{State, States};
pub use survey::{Checks, Corruption, Lost};
use survey::{Survey, survey};

/// The findings of recovery, and where a writer continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Where a writer continues.
    pub start: Start,
    /// Header of the last segment, if there is one. It says to which channel the journal belongs.
    pub header: Option<SegmentHeader>,
    /// Position of the first record.
    pub first_position: u64,
    /// Everything before this position is in the journal, and is durable now.
    pub end_position: u64,
    /// The largest durable position that any block carried when recovery began.
    pub durable_position: u64,
    /// Number of events that the journal has ever taken, removed ones included.
    pub events: u64,
    /// Number of bytes that were written after the cut, as far as they left a trace.
    pub torn_bytes: u64,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
    /// The newest state of each kind.
    pub states: States,
}

/// A torn tail that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Everything before this position is kept.
    pub from: u64,
    /// No known event at or after this position was written, according to the headers of the blocks
    /// after the cut. It equals `from` when no such header is left.
    pub to: u64,
    /// Whether some of it may have been acknowledged as durable. A disk that keeps its promises
    /// loses no such data. But the remaining blocks cannot prove that there were none: a sync whose
    /// position no later block carries leaves no trace.
    pub may_be_acknowledged: bool,
}

/// A journal's state, judged without changing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Number of segments that belong to the journal.
    pub segments: u64,
    /// Number of events that the journal has ever taken, removed ones included.
    pub events: u64,
    /// Number of gaps that are recorded in the blocks that were read.
    pub gaps: u64,
    /// Number of those `events` that a repair has replaced by gaps, in the blocks that were read.
    pub quarantined_events: u64,
    /// Size of headers and blocks, in bytes.
    pub bytes: u64,
    /// Position of the first record.
    pub first_position: u64,
    /// Time of the first record, in ns of CLOCK_REALTIME.
    pub first_time_ns: u64,
    /// Everything before this position is in the journal.
    pub end_position: u64,
    /// Time of the last record, in ns of CLOCK_REALTIME.
    pub last_time_ns: u64,
    /// The largest durable position that any block carries.
    pub durable_position: u64,
    /// Number of bytes after the end that recovery would cut. While a writer is at work, these are
    /// what it is writing.
    pub torn_bytes: u64,
    /// The torn tail that recovery would cut.
    pub cut: Option<Cut>,
    /// The first corrupt place, if there is one; what is after it cannot be judged.
    pub corrupt: Option<Corruption>,
    /// The newest state of each kind.
    pub states: States,
}

impl Survey {
    fn cut(&self) -> Option<Cut> {
        (self.torn_bytes > 0 || self.torn_event).then_some(Cut {
            from: self.link.end_position,
            to: self.known_end.max(self.link.end_position),
            may_be_acknowledged: self.torn_bytes > 0,
        })
    }
}

/// Judges a journal without changing it. `path` is for messages.
///
/// # Errors
/// [`Error::Io`] when it cannot be read. Corruption is no error here: the report names it.
pub fn examine(store: &dyn Store, path: &Path, checks: Checks) -> Result<Report> {
    let survey = survey(store, checks).map_err(|error| Error::io("read", path, error))?;
    Ok(Report {
        segments: survey.used as u64,
        events: survey.link.events,
        gaps: survey.gaps,
        quarantined_events: survey.quarantined_events,
        bytes: survey.bytes,
        first_position: survey.first_position,
        first_time_ns: survey.first_time_ns,
        end_position: survey.link.end_position,
        last_time_ns: survey.link.time_ns,
        durable_position: survey.durable_position,
        torn_bytes: survey.torn_bytes,
        cut: survey.cut(),
        corrupt: survey.corrupt,
        states: survey.states,
    })
}

/// Recovers a journal whose lock the caller holds. `path` is for messages.
///
/// # Errors
/// - [`Error::Corrupt`] names the place. Nothing is changed.
/// - [`Error::Version`] when another version of railbus wrote data that are not understood. Nothing
///   is changed.
/// - [`Error::Io`] when the disk fails. Recovery can be run again.
pub fn recover(store: &dyn Store, path: &Path) -> Result<Recovered> {
    recover_checked(store, path, Checks::QUICK)
}

/// Like [`recover`], with other checks than usual.
///
/// # Errors
/// Those of [`recover`].
#[doc(hidden)]
pub fn recover_checked(store: &dyn Store, path: &Path, checks: Checks) -> Result<Recovered> {
    let survey = survey(store, checks).map_err(|error| Error::io("read", path, error))?;
    if let Some(corruption) = survey.corrupt {
        return Err(corrupt(path, &corruption));
    }
    let failed = |error| Error::io("recover", path, error);
    for segment in survey.segments[survey.used..].iter().rev() {
        store.remove(segment.number).map_err(failed)?;
    }
    secure(store, &survey, survey.used).map_err(failed)?;
    let (mut link, mut segment) = (survey.link, 1);
    if let Some(last) = survey.segments[..survey.used].last() {
        segment = last.number.saturating_add(1);
        if survey.unsealed {
            link = seal(store, last, &survey).map_err(failed)?;
        }
    } else if let Some(first) = survey.segments.first() {
        segment = first.number;
    }
    Ok(Recovered {
        start: Start {
            segment,
            epoch: survey.epoch.saturating_add(1),
            link,
            states: survey.states.each_ref().map(Option::is_some),
        },
        header: survey.segments[..survey.used].last().and_then(|segment| segment.header.ok()),
        first_position: survey.first_position,
        end_position: link.end_position,
        durable_position: survey.durable_position,
        events: link.events,
        torn_bytes: survey.torn_bytes,
        cut: survey.cut(),
        states: survey.states,
    })
}

/// Returns the error for a corrupt journal, or for one that another version of railbus wrote.
pub fn corrupt(path: &Path, corruption: &Corruption) -> Error {
    let Corruption { segment, offset, position, flaw, durable_position, lost } = corruption;
    if flaw.is_of_another_version() {
        return Error::Version {
            what: format!("journal {}", path.display()),
            why: format!(
                "segment {segment} ({segment:020}.seg) at offset {offset}, behind position {position}: {flaw}. Nothing \
                 was changed"
            ),
        };
    }
    Error::corrupt(
        format!("journal {}", path.display()),
        format!(
            "segment {segment} ({segment:020}.seg) at offset {offset}, position {position}: {flaw}{}; everything before \
             position {durable_position} was durable. Nothing was changed. Restore the file from a copy, or put \
             what is damaged aside with `railbus journal repair --quarantine`, which records a gap in its place",
            lost.map(|lost| lost.to_string()).unwrap_or_default()
        ),
    )
}

impl std::fmt::Display for Lost {
    /// Writes a part of a sentence.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.segments {
            (_, 0) => write!(f, ", its file was cut short")?,
            (first, 1) => write!(f, ", segment {first} ({first:020}.seg) is gone")?,
            (first, count) => write!(f, ", segments {first} to {} are gone", first + count - 1)?,
        }
        write!(f, ": {} events are missing, positions {} up to {}", self.events, self.from, self.to)
    }
}

/// Makes the first `used` segments durable, except those that are already proven durable.
fn secure(store: &dyn Store, survey: &Survey, used: usize) -> io::Result<()> {
    for (index, segment) in survey.segments[..used].iter().enumerate() {
        let newest = index + 1 == used;
        if index < survey.unproven && !newest {
            continue;
        }
        if !store.reads_the_disk() {
            if let Some(from) = segment.unproven_offset {
                write_again(store, segment.number, from, segment.end_offset)?;
            }
            if let (Ok(header), Some((_, seal))) = (segment.header, segment.seal)
                && seal.blocks_end == segment.end_offset
            {
                let offset = seal_offset(header.segment_bytes);
                write_again(store, segment.number, offset, header.segment_bytes)?;
            }
        }
        store.sync(segment.number)?;
    }
    Ok(())
}

/// Writes the same bytes once more, because a cache may hold what the disk does not.
fn write_again(store: &dyn Store, segment: u64, mut offset: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK_BYTES_MAX];
    while offset < end {
        let bytes = (end - offset).min(BLOCK_BYTES_MAX as u64) as usize;
        let got = store.read_at(segment, offset, &mut buffer[..bytes])?;
        if got < bytes {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        store.write_at(segment, offset, &buffer[..bytes])?;
        offset += bytes as u64;
    }
    Ok(())
}

/// Ends a segment where its valid blocks end. Returns the link after the seal.
fn seal(store: &dyn Store, segment: &FoundSegment, survey: &Survey) -> io::Result<Link> {
    let header = segment.header.map_err(io::Error::other)?;
    let seal = Seal { blocks_end: segment.end_offset, last: true, states: segment.states };
    let (sector, link) = seal_sector(&header, &survey.link, &seal, survey.durable_position);
    store.write_at(segment.number, seal_offset(header.segment_bytes), &sector)?;
    store.sync(segment.number)?;
    Ok(link)
}

/// Builds the bytes of a seal, and the link after it.
fn seal_sector(segment: &SegmentHeader, link: &Link, seal: &Seal, durable_position: u64) -> (Vec<u8>, Link) {
    let mut sector = vec![0; SECTOR_BYTES];
    sector[BLOCK_HEADER_BYTES..][..Seal::BYTES].copy_from_slice(&seal.encode());
    let header = BlockHeader {
        kind: BlockKind::Seal,
        stored_bytes: Seal::BYTES as u32,
        records_bytes: Seal::BYTES as u32,
        durable_position: durable_position.min(link.end_position),
        ..next_header(segment, link, SECTOR_BYTES)
    };
    let header = finish_block(header, &mut sector);
    (sector, Link::behind(&header, 0, link.time_ns))
}

/// Builds a header that follows `link`.
fn next_header(segment: &SegmentHeader, link: &Link, bytes: usize) -> BlockHeader {
    BlockHeader {
        unit: segment.unit,
        block_bytes: bytes as u32,
        segment_id: segment.segment_id,
        sequence: link.sequence,
        first_position: link.end_position,
        end_position: link.end_position,
        durable_position: link.durable_position,
        events_before: link.events,
        base_time_ns: link.time_ns,
        incarnation: segment.incarnation,
        epoch: segment.epoch,
        previous_checksum: link.checksum,
        ..BlockHeader::default()
    }
}

/// Sets the checksums, and writes the header to the block.
fn finish_block(mut header: BlockHeader, block: &mut [u8]) -> BlockHeader {
    header.body_checksum = format::checksum(&block[BLOCK_HEADER_BYTES..]);
    header.header_checksum = header.encode(block);
    header
}
