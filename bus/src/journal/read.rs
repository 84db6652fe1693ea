//! Reading a journal, also while a writer appends.
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
//! Opening lists the directory and reads the header of a segment or two, whatever the journal's
//! size. A seek bisects: first the segments, by the first block of each, and then the segment. It
//! uses the segment's index (see [`railbus_log::segment::index`]) or, where there is no usable one,
//! the blocks themselves. Readers lock nobody out, and write nothing.

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
    /// At the oldest event in the journal.
    Beginning,
    /// At the first event at or after this position, which must not lie before the journal's
    /// beginning nor beyond its end.
    Position(u64),
    /// At the first event recorded at or after this time, in ns of CLOCK_REALTIME.
    Time(u64),
    /// At this event, counted from 0 for the journal's very first event.
    Event(u64),
    /// After everything that is in the journal now.
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
    /// Everything before this position is in the journal, except for recorded gaps.
    pub end_position: u64,
    /// When the last block was begun, in ns of CLOCK_REALTIME.
    pub last_time_ns: u64,
    /// Everything before this position was known to be durable when the last block was written.
    /// More may be.
    pub durable_position: u64,
    /// Number of events before the oldest that can be read: those that retention removed.
    pub events_before: u64,
    /// Number of events up to the end, counted from the journal's very first event.
    pub events_end: u64,
    /// The last block: its place, and its number in the journal.
    pub last: (Place, u64),
    /// Whether its segment is sealed after it. Then the writer has ended in order, or recovery has
    /// sealed it.
    pub is_sealed: bool,
}

/// A segment of a journal.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The path of its file.
    pub path: PathBuf,
    /// The header in its first page.
    pub header: SegmentHeader,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// The header of its first block, if it has one.
    pub first: Option<BlockHeader>,
    /// The offset where its blocks end, in bytes, if it is sealed.
    pub sealed_bytes: Option<u64>,
}

/// A journal that is open for reading. It takes no lock and may be used while a writer appends.
#[derive(Debug, Clone)]
pub struct Journal {
    directory: PathBuf,
    channel: Header,
    latest: SegmentHeader,
}

impl Journal {
    /// Opens the journal in `directory`: `JOURNAL/BUS/CHANNEL`. Blocks only for reading files.
    ///
    /// # Errors
    /// - [`Error::NoJournal`] when there are no segments.
    /// - [`Error::Corrupt`] and [`Error::Layout`] when the newest segment is not a valid one.
    /// - [`Error::Version`] for a segment of another version of railbus.
    /// - [`Error::NotAllowed`] and [`Error::Io`] when a file cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # let disk = tempfile::tempdir().unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, Recorder, RecorderOptions, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// # let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// # let recorder = Recorder::start(&ticks, disk.path(), &RecorderOptions::default())?;
    /// # ticks.publisher(&SendOptions::default())?.publish(b"tick")?;
    /// # recorder.stop()?;
    /// use railbus::Journal;
    ///
    /// let journal = Journal::open(disk.path().join("demo/ticks"))?;
    /// assert_eq!(journal.channel().name, "ticks");
    /// let extent = journal.extent()?.expect("something was recorded");
    /// assert_eq!((extent.first_position, extent.events_end), (0, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(directory: impl Into<PathBuf>) -> Result<Journal> {
        let directory = directory.into();
        // Takes the newest segment that is ready, since the last one may be in preparation.
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

    /// Like [`Self::open`], for a channel that is being recorded: there may be no segment yet.
    pub(super) fn of_channel(directory: PathBuf, channel: &Header) -> Result<Journal> {
        match Journal::open(&directory) {
            Err(Error::NoJournal { .. }) => {
                Ok(Journal { directory, channel: channel.clone(), latest: SegmentHeader::default() })
            }
            opened => opened,
        }
    }

    /// The journal's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The channel that it records, as it was when the newest segment was prepared.
    pub fn channel(&self) -> &Header {
        &self.channel
    }

    /// The header of the segment that was newest when the journal was opened.
    pub fn latest(&self) -> &SegmentHeader {
        &self.latest
    }

    /// Returns its segments, the oldest first. Opens each of them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Version`] for a segment that is not a valid one;
    /// [`Error::NotAllowed`] and [`Error::Io`] when a file cannot be read.
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

    /// Returns the header of its oldest block; `None` while it holds none.
    ///
    /// # Errors
    /// Those of [`segments`](Self::segments); [`Error::PeerGone`] when the segment was removed at
    /// this moment.
    pub fn first_block(&self) -> Result<Option<BlockHeader>> {
        match self.used()?.first() {
            Some(&oldest) => self.segment(oldest)?.first_block(),
            None => Ok(None),
        }
    }

    /// Returns how far the journal goes now; `None` while it holds no block. Reads through the
    /// headers of the newest segment.
    ///
    /// # Errors
    /// Those of [`first_block`](Self::first_block).
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

    /// Returns its events from `seek` on. Blocks only for reading files.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a position is not in the journal: it is older than what is kept, or
    /// beyond the end. Otherwise those of [`first_block`](Self::first_block).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # let disk = tempfile::tempdir().unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, Recorder, RecorderOptions, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// # let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// # let recorder = Recorder::start(&ticks, disk.path(), &RecorderOptions::default())?;
    /// # ticks.publisher(&SendOptions::default())?.publish(b"tick")?;
    /// # recorder.stop()?;
    /// # let journal = railbus::Journal::open(disk.path().join("demo/ticks"))?;
    /// use railbus::journal::{Item, Seek};
    ///
    /// let mut payloads = Vec::new();
    /// let mut events = journal.events(Seek::Beginning)?;
    /// while let Some(item) = events.next_event()? {
    ///     match item {
    ///         Item::Event(event) => payloads.push(event.payload().to_vec()),
    ///         Item::Gap { .. } | Item::Missing { .. } => println!("lost: {item:?}"),
    ///         _ => {}
    ///     }
    /// }
    /// assert_eq!(payloads, [b"tick"]);
    /// # Ok(())
    /// # }
    /// ```
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
            // Nothing was recorded yet. Future events will be in the first segment that exists.
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

    /// Returns its events from `position` on, which the journal may not have reached yet.
    pub(super) fn events_from(&self, position: u64) -> Result<Events> {
        let end = self.extent()?.map_or(0, |extent| extent.end_position);
        let mut events = self.events(Seek::Position(position.min(end)))?;
        events.begin_at(position);
        Ok(events)
    }

    /// Whether the journal begins after `position`.
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

    /// Returns the numbers of the segments up to the newest that holds blocks. Later ones are in
    /// preparation.
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

    /// Refuses a position beyond the end.
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

    /// Returns the last segment that begins before the target, or the first.
    ///
    /// Times go back where the clock was set right, and only there. Then the last such segment of
    /// the journal is meant: events that were recorded with a wrong clock hide nothing after them.
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
            // A segment whose first block is damaged cannot be compared, so take the one before it.
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
                    // No segment in this range can be compared: begin before all of them.
                    high = low + 1;
                }
            }
        }
        Ok(numbers[low])
    }

    /// Returns the last block of a segment that begins before the target, or some block before
    /// that, or the first.
    fn block_before(&self, number: u64, target: Target) -> Result<Place> {
        let segment = self.segment(number)?;
        let mut best = BLOCKS_OFFSET;
        if let Some(index) = index::load(&segment)? {
            let entries = index.entries();
            let at = entries.partition_point(|entry| target.is_after_entry(entry));
            // The index is a hint, so the block that it names is checked.
            let named = entries[..at].iter().rev().find(|entry| index::is_true(&segment, entry));
            return Ok(Place { segment: number, offset: named.map_or(best, |entry| entry.offset) });
        }
        // Without an index, bisect. That needs a seal, which tells the journal's blocks from
        // leftovers of a torn tail.
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

    /// Returns how many events end in the block at a place.
    fn count(&self, place: Place) -> Result<u64> {
        let blocks = Blocks::at(&self.directory, self.channel.channel_id, place);
        Events::new(blocks, Bounds::default()).count_block()
    }

    /// Returns the place of the newest segment's last block, its header, the largest durable
    /// position, and whether the segment is sealed after it.
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

/// A range of so many bytes is read through rather than bisected.
const BISECT_BYTES: u64 = 1 << 20;

/// The target of a search.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Position(u64),
    Time(u64),
    Event(u64),
}

impl Target {
    /// Whether the target may be in this block or after it, but not in any block before it.
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
