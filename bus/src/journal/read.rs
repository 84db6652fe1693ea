//! A journal, for reading: also while a writer appends.
//!
//! ```
//! # fn main() -> railbus::Result<()> {
//! # fn read(directory: &std::path::Path) -> railbus::Result<()> {
//! use railbus::journal::{Item, Journal, Seek};
//!
//! let journal = Journal::open(directory)?;
//! let mut events = journal.events(Seek::Beginning)?;
//! while let Some(item) = events.next_event()? {
//!     if let Item::Event(event) = item {
//!         println!("{} {:?}", event.position, event.payload());
//!     }
//! }
//! # Ok(())
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! Opening lists the directory and reads the header of a segment or two, whatever the journal's size. Seeking bisects: first
//! the segments, by the first block of each, then the segment, by its index (see [`railbus_log::segment::index`]) or, where there is
//! none that fits, by the blocks themselves. Nobody is locked out, and nothing is written.

use std::path::{Path, PathBuf};

use railbus_log::format::{BLOCKS_OFFSET, BlockHeader, SECTOR_BYTES, SegmentHeader};
use railbus_log::read::blocks::{Blocks, Place};
use railbus_log::segment::file::{self as segments, Segment, walk};
use railbus_log::segment::index;

use crate::channel::Header;
use crate::error::{Error, Result};
use crate::journal::events::{Bounds, Events};

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// At the oldest event there is.
    Beginning,
    /// At the first event at or behind this position, which the journal must reach back to, and up to.
    Position(u64),
    /// At the first event recorded at or after this time, in ns of CLOCK_REALTIME.
    Time(u64),
    /// At this event, counted from the journal's first ever, which is 0.
    Event(u64),
    /// Behind everything that is there now.
    End,
}

/// How far a journal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The oldest position that can be read.
    pub first_position: u64,
    /// When its block was begun, in ns of CLOCK_REALTIME.
    pub first_time_ns: u64,
    /// Everything before this position is there, but for recorded gaps.
    pub end_position: u64,
    /// When the last block was begun, in ns of CLOCK_REALTIME.
    pub last_time_ns: u64,
    /// Everything before this position was known to be durable when the last block was written; more may be.
    pub durable_position: u64,
    /// Events before the oldest that can be read: those that retention removed.
    pub events_before: u64,
    /// Events up to the end, counted from the journal's first ever.
    pub events_end: u64,
    /// The last block: its segment, and its own number.
    pub last: (Place, u64),
    /// Whether its segment is sealed behind it: the writer has ended in order, or was recovered from.
    pub is_sealed: bool,
}

/// A segment of a journal.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its file.
    pub path: PathBuf,
    /// What its first page says.
    pub header: SegmentHeader,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Its first block, if it has one.
    pub first: Option<BlockHeader>,
    /// Where its blocks end, if it is sealed.
    pub sealed_bytes: Option<u64>,
}

/// A journal that is open for reading. See the [module](self).
#[derive(Debug, Clone)]
pub struct Journal {
    directory: PathBuf,
    channel: Header,
    latest: SegmentHeader,
}

impl Journal {
    /// Opens the journal in `directory`: `JOURNAL/BUS/CHANNEL`.
    ///
    /// # Errors
    /// [`Error::NoJournal`] when there are no segments, [`Error::Corrupt`] and [`Error::Layout`] when the newest is not
    /// one of ours, [`Error::NotAllowed`], [`Error::Io`].
    pub fn open(directory: impl Into<PathBuf>) -> Result<Journal> {
        let directory = directory.into();
        // The newest that is ready: one may be in preparation.
        for number in segments::list(&directory)?.into_iter().rev() {
            if let Some(segment) = Segment::open(&directory, number)? {
                let channel = Header::decode_recorded(&*segment.channel_page()?, &segment.path)?;
                if channel.channel_id != segment.header.channel_id {
                    let what = format!("segment file {}", segment.path.display());
                    return Err(Error::corrupt(what, "its two header pages name different channels"));
                }
                return Ok(Journal { directory, channel, latest: segment.header });
            }
        }
        Err(segments::no_journal(&directory))
    }

    /// As [`Self::open`], of a channel that is being recorded: there may be no segment yet.
    pub(super) fn of_channel(directory: PathBuf, channel: &Header) -> Result<Journal> {
        match Journal::open(&directory) {
            Err(Error::NoJournal { .. }) => {
                Ok(Journal { directory, channel: channel.clone(), latest: SegmentHeader::default() })
            }
            opened => opened,
        }
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The channel it records, as it was when the newest segment was prepared.
    pub fn channel(&self) -> &Header {
        &self.channel
    }

    /// What the newest segment's first page says.
    pub fn latest(&self) -> &SegmentHeader {
        &self.latest
    }

    /// Its segments, oldest first. Opens each.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        let mut found = Vec::new();
        for number in segments::list(&self.directory)? {
            let Some(segment) = Segment::open(&self.directory, number)? else { continue };
            let (file_bytes, first) = (segment.length()?, segment.first_block()?);
            let sealed_bytes = segment.seal()?.map(|(_, seal)| seal.blocks_end);
            let Segment { path, header, .. } = segment;
            found.push(SegmentInfo { path, header, file_bytes, first, sealed_bytes });
        }
        Ok(found)
    }

    /// The header of its oldest block; `None` while it holds none.
    pub fn first_block(&self) -> Result<Option<BlockHeader>> {
        match self.used()?.first() {
            Some(&oldest) => self.segment(oldest)?.first_block(),
            None => Ok(None),
        }
    }

    /// How far it goes now; `None` while it holds no block. Looks through the newest segment.
    pub fn extent(&self) -> Result<Option<Extent>> {
        let numbers = self.used()?;
        let (Some(&oldest), Some(&newest)) = (numbers.first(), numbers.last()) else { return Ok(None) };
        let oldest = self.segment(oldest)?;
        let Some(first) = oldest.first_block()? else { return Ok(None) };
        let segment = self.segment(newest)?;
        let (offset, last, durable_position, is_sealed) = self.last_block(&segment)?;
        let place = Place { segment: newest, offset };
        let events_end = last.events_before + self.count(place)?;
        Ok(Some(Extent {
            first_position: first.first_position,
            first_time_ns: first.base_time_ns,
            end_position: last.end_position,
            last_time_ns: last.base_time_ns,
            durable_position,
            events_before: first.events_before,
            events_end,
            last: (place, last.sequence),
            is_sealed,
        }))
    }

    /// Its events from `seek` on.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the position is not in the journal: older than what is kept, or beyond its end.
    pub fn events(&self, seek: Seek) -> Result<Events> {
        let (target, from) = match seek {
            Seek::Beginning => (Target::Position(0), Bounds::default()),
            Seek::Position(position) => {
                (Target::Position(position), Bounds { position, ..Bounds::default() })
            }
            Seek::Time(time_ns) => (Target::Time(time_ns), Bounds { time_ns, ..Bounds::default() }),
            Seek::Event(event) => (Target::Event(event), Bounds { event, ..Bounds::default() }),
            Seek::End => {
                let position = self.extent()?.map_or(0, |end| end.end_position);
                (Target::Position(position), Bounds { position, ..Bounds::default() })
            }
        };
        let numbers = self.used()?;
        let Some(&oldest) = numbers.first() else {
            // Nothing was recorded yet: what comes, comes in the first segment there is.
            let oldest = segments::list(&self.directory)?.first().copied().unwrap_or(1);
            let place = Place { segment: oldest, offset: BLOCKS_OFFSET };
            let blocks = match oldest {
                1 => self.beginning(),
                _ => Blocks::at(&self.directory, self.channel.channel_id, place),
            };
            return Ok(Events::new(blocks, from));
        };
        if let Seek::Position(position) = seek {
            self.check_retained(position, oldest)?;
        }
        let number = self.segment_before(&numbers, target)?;
        let blocks = match self.block_before(number, target)? {
            // From the journal's first block on, the chain is known.
            Place { segment: 1, offset: BLOCKS_OFFSET } => self.beginning(),
            place => Blocks::at(&self.directory, self.channel.channel_id, place),
        };
        let events = Events::new(blocks, from);
        match seek {
            Seek::Position(position) => self.check_reached(events, position),
            _ => Ok(events),
        }
    }

    /// Its events from `position` on, which the journal may not have reached yet.
    pub(super) fn events_from(&self, position: u64) -> Result<Events> {
        let end = self.extent()?.map_or(0, |extent| extent.end_position);
        let mut events = self.events(Seek::Position(position.min(end)))?;
        events.begin_at(position);
        Ok(events)
    }

    /// Whether the journal begins behind `position`.
    pub(super) fn is_before(&self, position: u64) -> Result<bool> {
        Ok(self.first_block()?.is_some_and(|first| position < first.first_position))
    }

    fn beginning(&self) -> Blocks {
        Blocks::at_beginning(&self.directory, self.channel.channel_id)
    }

    fn segment(&self, number: u64) -> Result<Segment> {
        Segment::open(&self.directory, number)?.ok_or_else(|| Error::PeerGone {
            what: format!("segment {number} of {}", self.directory.display()),
            why: "it was removed at this moment; try again".to_owned(),
        })
    }

    /// The numbers of the segments that hold blocks. Those in preparation are the newest.
    fn used(&self) -> Result<Vec<u64>> {
        let mut numbers = segments::list(&self.directory)?;
        while let Some(&number) = numbers.last() {
            if let Some(segment) = Segment::open(&self.directory, number)?
                && segment.first_block()?.is_some()
            {
                break;
            }
            numbers.pop();
        }
        Ok(numbers)
    }

    fn check_retained(&self, position: u64, oldest: u64) -> Result<()> {
        let first = self.segment(oldest)?.first_block()?;
        match first {
            Some(first) if position < first.first_position => Err(Error::invalid(
                format!("position {position} of the journal {}", self.directory.display()),
                format!("it begins at position {}", first.first_position),
            )),
            _ => Ok(()),
        }
    }

    /// A position beyond the end is a mistake.
    fn check_reached(&self, events: Events, position: u64) -> Result<Events> {
        let Some(extent) = self.extent()? else { return Ok(events) };
        if position > extent.end_position {
            return Err(Error::invalid(
                format!("position {position} of the journal {}", self.directory.display()),
                format!("it ends at position {}", extent.end_position),
            ));
        }
        Ok(events)
    }

    /// The last segment that begins before the target, or the first.
    ///
    /// Times go back where the clock was set right, and only there. Then the last such segment of the journal
    /// is meant: what was recorded with a wrong clock hides nothing behind it.
    fn segment_before(&self, numbers: &[u64], target: Target) -> Result<u64> {
        let (mut low, mut high) = (0, numbers.len());
        while let Target::Time(_) = target
            && let Some(newest) = high.checked_sub(1)
        {
            let step = self.segment(numbers[newest])?.header.clock_step;
            low = numbers[..high].partition_point(|&number| number < step);
            let first = if low > 0 { self.segment(numbers[low])?.first_block()? } else { None };
            if low == 0 || first.is_some_and(|first| target.is_after(&first)) {
                break;
            }
            (low, high) = (0, low);
        }
        while high - low > 1 {
            let mut middle = low + (high - low) / 2;
            // A segment whose first block is damaged says nothing; the one before it does.
            let first = loop {
                match self.segment(numbers[middle])?.first_block()? {
                    Some(first) => break Some(first),
                    None if middle > low + 1 => middle -= 1,
                    None => break None,
                }
            };
            match first {
                Some(first) if target.is_after(&first) => low = middle,
                Some(_) => high = middle,
                None => {
                    // Nothing between here and there tells: begin before all of it.
                    high = low + 1;
                }
            }
        }
        Ok(numbers[low])
    }

    /// The last block of a segment that begins before the target, or some block before that, or the first.
    fn block_before(&self, number: u64, target: Target) -> Result<Place> {
        let segment = self.segment(number)?;
        let mut best = BLOCKS_OFFSET;
        if let Some(index) = index::load(&segment)? {
            let entries = index.entries();
            let at = entries.partition_point(|entry| target.is_after_entry(entry));
            // The index is a hint: what it names must be what it says.
            let named = entries[..at].iter().rev().find(|entry| index::is_true(&segment, entry));
            return Ok(Place { segment: number, offset: named.map_or(best, |entry| entry.offset) });
        }
        // Without: bisect, where a seal tells which blocks belong to the journal. Others may be left of a torn tail.
        let Some((_, seal)) = segment.seal()? else { return self.walk_before(&segment, target) };
        let (mut low, mut high) = (BLOCKS_OFFSET, seal.blocks_end);
        while high - low > BISECT_BYTES {
            let middle = (low + (high - low) / 2).next_multiple_of(SECTOR_BYTES as u64);
            match segment.find(middle, high, true, |_| true)? {
                Some((offset, header)) if target.is_after(&header) => (low, best) = (offset, offset),
                _ => high = middle,
            }
        }
        Ok(Place { segment: number, offset: best })
    }

    fn walk_before(&self, segment: &Segment, target: Target) -> Result<Place> {
        let mut place = Place { segment: segment.header.number, offset: BLOCKS_OFFSET };
        walk(segment, |offset, header| {
            if target.is_after(header) {
                place.offset = offset;
            }
        })?;
        Ok(place)
    }

    /// Events that end in the block at a place.
    fn count(&self, place: Place) -> Result<u64> {
        let blocks = Blocks::at(&self.directory, self.channel.channel_id, place);
        Events::new(blocks, Bounds::default()).count_block()
    }

    /// Where the last block of the newest segment is, its header, the largest durable position, and whether it is
    /// sealed behind it.
    fn last_block(&self, segment: &Segment) -> Result<(u64, BlockHeader, u64, bool)> {
        let mut last = (BLOCKS_OFFSET, BlockHeader::default(), 0);
        let end =
            walk(segment, |offset, header| last = (offset, *header, header.durable_position.max(last.2)))?;
        let (offset, header, durable) = last;
        let seal = segment.seal()?.filter(|(_, seal)| seal.blocks_end == end);
        let told = seal.map_or(durable, |(seal, _)| seal.durable_position.max(durable));
        Ok((offset, header, told, seal.is_some()))
    }
}

/// Bytes that are read through rather than bisected.
const BISECT_BYTES: u64 = 1 << 20;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Position(u64),
    Time(u64),
    Event(u64),
}

impl Target {
    /// Whether what is looked for may be in this block, or behind it, but in none before.
    fn is_after(self, block: &BlockHeader) -> bool {
        match self {
            Target::Position(position) => block.first_position < position,
            Target::Time(time_ns) => block.base_time_ns < time_ns,
            Target::Event(event) => block.events_before < event,
        }
    }

    fn is_after_entry(self, entry: &index::Entry) -> bool {
        match self {
            Target::Position(position) => entry.first_position < position,
            Target::Time(time_ns) => entry.time_ns < time_ns,
            Target::Event(event) => entry.events_before < event,
        }
    }
}
