//! A survey of what a journal's files hold. It judges them without changing them.
//!
//! 1. The header, first block and seal of every segment are read: a few pages each.
//! 2. From the newest segment back, those that nothing vouches for are scanned whole, also after
//!    holes. The scan looks for the largest **durable position D** that any block carries. A seal
//!    that says `last` vouches for its segment and all before it, and so does a D beyond a
//!    segment's end.
//! 3. The chain is followed from the first segment on: by header, first block and seal where
//!    something vouches for the segment, and block by block elsewhere (or everywhere, for
//!    `verify`).
//! 4. Where the chain breaks, at position E, there is a hole. It is **corruption** if D is beyond E
//!    or a seal vouched for it. Otherwise it is the **torn tail** that every crash leaves.

use std::io;

use super::segment::{FoundSegment, decode_of, has_any_block, is_of, is_unused, scan};
use super::states::{States, read_state, take_state};
use super::window::Window;
use crate::block::{self, Assembler, Link};
use crate::disk::store::Store;
use crate::format::{
    BLOCKS_OFFSET, BlockHeader, BlockKind, Flaw, RecordKind, SECTOR_BYTES, Seal, SegmentHeader, seal_offset,
};

/// How closely to read a journal.
#[derive(Debug, Clone, Copy)]
pub struct Checks {
    /// Whether to read every block of every segment, not only of those that nothing vouches for.
    pub full: bool,
    /// Whether blocks must follow one another. Only a test that shows that this matters turns it
    /// off.
    #[doc(hidden)]
    pub chain: bool,
}

impl Checks {
    /// Reads header, first block and seal of old segments, and all of the newest.
    pub const QUICK: Checks = Checks { full: false, chain: true };
    /// Reads every block.
    pub const FULL: Checks = Checks { full: true, chain: true };
}

/// A place where the journal is corrupt, or where another version of railbus wrote data that are
/// not understood ([`Flaw::is_of_another_version`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corruption {
    /// The segment.
    pub segment: u64,
    /// Offset in its file, in bytes.
    pub offset: u64,
    /// Everything before this position is whole.
    pub position: u64,
    /// The flaw at that place.
    pub flaw: Flaw,
    /// The largest durable position that any block carries.
    pub durable_position: u64,
    /// The missing events, when segments are gone or one was cut short and the next segment shows
    /// how it begins.
    pub lost: Option<Lost>,
}

/// The events between the corrupt place and the next existing segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The segments whose files are missing: the first of them, and their number. The number is 0
    /// when the file was cut short.
    pub segments: (u64, u64),
    /// The first position that is missing.
    pub from: u64,
    /// The first position after the missing ones.
    pub to: u64,
    /// Number of missing events.
    pub events: u64,
}

/// The place where the chain breaks.
#[derive(Debug, Clone, Copy)]
struct Hole {
    index: usize,
    offset: u64,
    flaw: Flaw,
    /// Whether the checksum fits although no writer writes this: no crash explains it.
    impossible: bool,
}

#[derive(Debug)]
pub(super) struct Survey {
    pub(super) segments: Vec<FoundSegment>,
    /// Number of segments that belong to the journal; the others must be removed.
    pub(super) used: usize,
    /// Whether the last of them has no seal, or a wrong one, and ends at its `end_offset`.
    pub(super) unsealed: bool,
    /// The first segment that nothing vouches for.
    pub(super) unproven: usize,
    pub(super) link: Link,
    pub(super) first_position: u64,
    pub(super) first_time_ns: u64,
    pub(super) durable_position: u64,
    pub(super) torn_bytes: u64,
    /// Whether an event is cut of which some pieces are missing.
    pub(super) torn_event: bool,
    /// Whether the chain breaks among the pieces of a record.
    pub(super) within_record: bool,
    pub(super) corrupt: Option<Corruption>,
    /// The index of the corrupt segment and the end of all known positions, for the repair.
    pub(super) corrupt_index: usize,
    pub(super) known_end: u64,
    pub(super) epoch: u64,
    pub(super) states: States,
    pub(super) gaps: u64,
    pub(super) quarantined_events: u64,
    pub(super) bytes: u64,
    /// Whether the next record may continue one whose first piece was not read, or was removed.
    began_unseen: bool,
    /// Segment index and block offset where the last state, or large record, began.
    state_began: (usize, u64),
}

/// Surveys a whole journal.
pub(super) fn survey(store: &dyn Store, checks: Checks) -> io::Result<Survey> {
    let mut segments = Vec::new();
    for number in store.segments()? {
        segments.push(FoundSegment::load(store, number)?);
    }
    let seals = segments.iter().filter_map(|segment| segment.seal);
    let mut durable_position = seals.map(|(header, _)| header.durable_position).max().unwrap_or(0);
    let mut unproven = segments.len();
    while unproven > 0 && !segments[unproven - 1].is_vouched_for(durable_position) {
        unproven -= 1;
        let unused = is_unused(&segments, unproven);
        let segment = &mut segments[unproven];
        if let (Ok(header), false) = (segment.header, unused) {
            let scan = scan(store, &header)?;
            durable_position = durable_position.max(scan.durable_position);
            segment.foreign_version = scan.foreign_version.or(segment.foreign_version);
            segment.scan = Some(scan);
        }
    }
    let mut survey = Survey {
        epoch: segments
            .iter()
            .filter_map(|segment| segment.header.ok())
            .map(|header| header.epoch)
            .max()
            .unwrap_or(0),
        used: segments.len(),
        segments,
        unsealed: false,
        unproven,
        link: Link::default(),
        first_position: 0,
        first_time_ns: 0,
        durable_position,
        torn_bytes: 0,
        torn_event: false,
        within_record: false,
        corrupt: None,
        corrupt_index: 0,
        known_end: 0,
        states: States::default(),
        gaps: 0,
        quarantined_events: 0,
        bytes: 0,
        began_unseen: true,
        state_began: (0, 0),
    };
    let hole = survey.follow(store, checks)?;
    if let Some(hole) = hole {
        survey.judge(store, hole)?;
    }
    survey.find_states(store)?;
    Ok(survey)
}

impl Survey {
    /// Follows the chain to its end, or to where it breaks.
    fn follow(&mut self, store: &dyn Store, checks: Checks) -> io::Result<Option<Hole>> {
        let mut assembler = Assembler::new();
        for index in 0..self.segments.len() {
            let segment = &self.segments[index];
            let hole = |offset, flaw| Ok(Some(Hole { index, offset, flaw, impossible: false }));
            let seal = segment.seal;
            let header = match segment.header {
                Ok(header) => header,
                Err(flaw) => return hole(0, flaw),
            };
            if let Some(flaw) = segment.page_flaw {
                return hole(SECTOR_BYTES as u64, flaw);
            }
            if index > 0 && segment.number != self.segments[index - 1].number + 1 {
                return hole(0, Flaw::Nonsense("the segment before it is missing"));
            }
            if let Some(Ok(first)) = self.segments.first().map(|first| first.header)
                && (first.channel_id != header.channel_id || first.unit != header.unit)
            {
                return hole(0, Flaw::Nonsense("a segment of another channel"));
            }
            if header.steps_back() {
                self.link.time_ns = 0;
            }
            if index == 0
                && let Ok(first) = segment.first
            {
                self.begin(&first, &header);
            }
            if assembler.is_pending() && header.epoch != self.epoch_before(index) {
                assembler.reset(); // its writer died within a record
            }
            // A segment that something vouches for but that has no seal is walked, to find where it
            // breaks.
            let found = match seal {
                Some(seal) if index < self.unproven && !checks.full => {
                    self.step_over(index, &header, &seal, checks)
                }
                _ => self.walk(store, index, &header, checks, &mut assembler)?,
            };
            if found.is_some() {
                self.torn_event = assembler.is_pending();
                self.within_record = self.torn_event;
                return Ok(found);
            }
        }
        self.torn_event = false;
        Ok(None)
    }

    fn epoch_before(&self, index: usize) -> u64 {
        let before = index.checked_sub(1).and_then(|before| self.segments[before].header.ok());
        before.map_or(0, |header| header.epoch)
    }

    /// Sets the beginning of the chain from the journal's first block. Only segment 1 begins with
    /// nothing before it.
    fn begin(&mut self, first: &BlockHeader, segment: &SegmentHeader) {
        if first.segment_id != segment.segment_id {
            return;
        }
        if segment.number > 1 {
            self.link = Link {
                sequence: first.sequence,
                checksum: first.previous_checksum,
                end_position: first.first_position,
                events: first.events_before,
                time_ns: 0,
                durable_position: 0,
            };
        }
        self.first_position = first.first_position;
        self.first_time_ns = first.base_time_ns;
    }

    fn check_link(&self, header: &BlockHeader, checks: Checks) -> Result<(), Flaw> {
        if checks.chain { self.link.check(header) } else { Ok(()) }
    }

    /// Judges a segment by its header, its first block and its seal.
    fn step_over(
        &mut self,
        index: usize,
        header: &SegmentHeader,
        (last, seal): &(BlockHeader, Seal),
        checks: Checks,
    ) -> Option<Hole> {
        let segment = &self.segments[index];
        let hole = |offset, flaw| Some(Hole { index, offset, flaw, impossible: false });
        if seal.blocks_end == BLOCKS_OFFSET {
            if let Err(flaw) = self.check_link(last, checks) {
                return hole(BLOCKS_OFFSET, flaw);
            }
        } else {
            let first = segment.first.and_then(|first| {
                if !is_of(&first, header) {
                    return Err(Flaw::Nonsense("a block of another segment"));
                }
                self.check_link(&first, checks)
            });
            if let Err(flaw) = first {
                return hole(BLOCKS_OFFSET, flaw);
            }
        }
        self.bytes += seal.blocks_end;
        self.began_unseen = true;
        self.segments[index].end_offset = seal.blocks_end;
        self.link = Link::behind(last, 0, 0);
        None
    }

    /// Follows a segment block by block.
    fn walk(
        &mut self,
        store: &dyn Store,
        index: usize,
        segment: &SegmentHeader,
        checks: Checks,
        assembler: &mut Assembler,
    ) -> io::Result<Option<Hole>> {
        let seal = self.segments[index].seal;
        let end = seal.map_or(seal_offset(segment.segment_bytes), |(_, seal)| seal.blocks_end);
        let mut window = Window::new(store, segment.number, end);
        let mut scratch = Vec::new();
        let mut offset = BLOCKS_OFFSET;
        loop {
            self.segments[index].end_offset = offset;
            let hole = |flaw, impossible| Ok(Some(Hole { index, offset, flaw, impossible }));
            if let Some((header, seal)) = seal
                && offset == seal.blocks_end
            {
                if let Err(flaw) = self.check_link(&header, checks) {
                    return hole(flaw, false);
                }
                self.bytes += offset;
                self.link = Link::behind(&header, 0, 0);
                return Ok(None);
            }
            if offset >= end {
                return hole(Flaw::Short, false);
            }
            let header = match self.next_header(window.at(offset, SECTOR_BYTES)?, segment, checks) {
                Ok(header) if offset + u64::from(header.block_bytes) <= end => header,
                Ok(_) => return hole(Flaw::Nonsense("a block that reaches beyond the last"), false),
                Err(flaw) => return hole(flaw, false),
            };
            let bytes = window.at(offset, header.block_bytes as usize)?;
            if let Err(flaw) = header.check_body(bytes) {
                return hole(flaw, false);
            }
            // From here on, the bytes are proven to be those that the writer wrote.
            let content = block::open(&header, bytes, &mut scratch)
                .and_then(|records| self.take_records((index, offset), &header, records, assembler));
            match content {
                Ok(content) => self.link = Link::behind(&header, content.events, content.time_ns),
                Err(flaw) => return hole(flaw, true),
            }
            if header.end_position >= self.durable_position {
                self.segments[index].unproven_offset.get_or_insert(offset);
            }
            offset += u64::from(header.block_bytes);
        }
    }

    fn next_header(
        &self,
        sector: &[u8],
        segment: &SegmentHeader,
        checks: Checks,
    ) -> Result<BlockHeader, Flaw> {
        let header = decode_of(sector, segment)?;
        if !is_of(&header, segment) || header.kind == BlockKind::Seal {
            return Err(Flaw::Nonsense("a block of another segment"));
        }
        self.check_link(&header, checks)?;
        Ok(header)
    }

    fn take_records(
        &mut self,
        (index, offset): (usize, u64),
        header: &BlockHeader,
        records: &[u8],
        assembler: &mut Assembler,
    ) -> Result<block::Content, Flaw> {
        let content = block::content(header, records)?;
        for record in block::Records::new(header, records) {
            let record = record?;
            if record.kind.continues() && self.began_unseen {
                continue;
            }
            self.began_unseen = false;
            if record.kind == RecordKind::First || record.kind.state_index().is_some() {
                self.state_began = (index, offset);
            }
            if let Some(whole) = assembler.push(record, header.unit)? {
                if let Some(state) = whole.kind.state_index() {
                    let (index, offset) = self.state_began;
                    self.segments[index].states[state] = offset;
                }
                take_state(&mut self.states, &whole);
                self.gaps += u64::from(whole.kind == RecordKind::Gap);
                if whole.kind == RecordKind::Gap {
                    self.quarantined_events += block::events_of(&whole)?;
                }
            }
        }
        Ok(content)
    }

    /// Decides what a hole is, and what that means for the segments after it.
    fn judge(&mut self, store: &dyn Store, hole: Hole) -> io::Result<()> {
        let Hole { index, offset, flaw, impossible } = hole;
        let position = self.link.end_position;
        let behind = &self.segments[index..];
        let vouched = behind.iter().any(|segment| segment.seal.is_some_and(|(_, seal)| seal.last));
        let lost_start = index == 0 && offset <= BLOCKS_OFFSET && self.segments[0].number > 1;
        let header_lost = offset < BLOCKS_OFFSET && {
            let mut blocks = behind.iter().any(FoundSegment::has_blocks);
            for segment in behind.iter().filter(|segment| segment.header.is_err()) {
                blocks |= has_any_block(store, segment.number)?;
            }
            blocks
        };
        let scans = behind.iter().filter_map(|segment| segment.scan.map(|scan| scan.end_position));
        let seals = behind.iter().filter_map(|segment| segment.seal.map(|(header, _)| header.end_position));
        self.known_end = scans.chain(seals).fold(self.durable_position.max(position), u64::max);
        if let Some((segment, offset, flaw)) = foreign_version(behind, &hole) {
            let durable_position = self.durable_position;
            self.corrupt = Some(Corruption { segment, offset, position, flaw, durable_position, lost: None });
            self.corrupt_index = index;
            self.torn_event = false;
            return Ok(());
        }
        if self.durable_position > position
            || vouched
            || impossible
            || header_lost
            || lost_start
            || index < self.unproven
        {
            let segment = self.segments[index].number;
            let durable_position = self.durable_position;
            let lost = self.lost(store, index, offset)?;
            self.corrupt = Some(Corruption { segment, offset, position, flaw, durable_position, lost });
            self.corrupt_index = index;
            self.torn_event = false;
            return Ok(());
        }
        let trace = |segment: &FoundSegment, from: u64| {
            segment.scan.map_or(0, |scan| scan.trace_end.saturating_sub(from))
        };
        self.torn_bytes = trace(&self.segments[index], offset);
        self.torn_bytes +=
            self.segments[index + 1..].iter().map(|later| trace(later, BLOCKS_OFFSET)).sum::<u64>();
        self.unsealed = offset > BLOCKS_OFFSET;
        self.used = if self.unsealed { index + 1 } else { index };
        if self.unsealed {
            self.bytes += offset;
        }
        Ok(())
    }

    /// Returns the events that are missing at a hole, if a segment is gone or shorter than it
    /// should be.
    fn lost(&self, store: &dyn Store, index: usize, offset: u64) -> io::Result<Option<Lost>> {
        let here = &self.segments[index];
        let before = index.checked_sub(1).map_or(0, |before| self.segments[before].number);
        let is_gone = offset == 0 && index > 0 && here.number > before + 1;
        let is_short = match here.header {
            Ok(header) => store.length(here.number)? < header.segment_bytes,
            Err(flaw) => matches!(flaw, Flaw::Short),
        };
        let next = match (is_gone, is_short) {
            (true, _) => index,
            (_, true) => index + 1,
            _ => return Ok(None),
        };
        let Some(next) = self.segments.get(next) else { return Ok(None) };
        let (Ok(header), Ok(first)) = (next.header, next.first) else { return Ok(None) };
        if !is_of(&first, &header) || first.first_position < self.link.end_position {
            return Ok(None);
        }
        let (first_gone, behind) =
            if is_gone { (before + 1, next.number) } else { (here.number + 1, next.number) };
        Ok(Some(Lost {
            segments: (first_gone, behind - first_gone),
            from: self.link.end_position,
            to: first.first_position,
            events: first.events_before.saturating_sub(self.link.events),
        }))
    }

    /// Reads those states that no walked block had from where the seals point.
    fn find_states(&mut self, store: &dyn Store) -> io::Result<()> {
        let used = &self.segments[..self.used];
        for index in (0..used.len()).rev() {
            let Some((_, seal)) = used[index].seal else { continue };
            for (kind, offset) in seal.states.into_iter().enumerate() {
                if offset != 0 && self.states[kind].is_none() {
                    let segments = &used[index..];
                    let mut state = read_state(store, segments, offset, kind, true)?;
                    if state.is_none() {
                        // The newest one was cut; an older one may be before it.
                        state = read_state(store, segments, BLOCKS_OFFSET, kind, false)?;
                    }
                    self.states[kind] = state;
                }
            }
            if self.states.iter().all(Option::is_some) {
                break;
            }
        }
        Ok(())
    }
}

/// Finds, from a hole on, what another version of railbus wrote. Data that are not understood are
/// never called torn, because they may hold acknowledged events.
fn foreign_version(behind: &[FoundSegment], hole: &Hole) -> Option<(u64, u64, Flaw)> {
    let (first, rest) = behind.split_first()?;
    if hole.flaw.is_of_another_version() {
        return Some((first.number, hole.offset, hole.flaw));
    }
    let place = |segment: &FoundSegment| {
        let header = segment.header.err().filter(Flaw::is_of_another_version).map(|flaw| (0, flaw));
        header.or(segment.foreign_version).map(|(offset, flaw)| (segment.number, offset, flaw))
    };
    place(first).or_else(|| rest.iter().find_map(place))
}
