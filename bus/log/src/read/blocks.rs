//! The blocks of a journal, one after the other, across its segments, also while a writer appends.
//!
//! Each block is checked: its checksums, and that it follows the one before it (number, checksum,
//! position, time). Blocks are read into a buffer, a MiB at a time; see `read_ahead.rs`.
//!
//! **A place without a valid block** is either the end, where the writer may be writing at this
//! moment, or damage. The rule is recovery's: if any later block carries a durable position beyond
//! the hole, the hole was durable once, and is damage. (The header of such a block has its own
//! checksum, and is enough to be believed.) Otherwise it is the end for now, and a later look may
//! find more. Repeated looks at the end must be cheap. So the first look searches everything beyond
//! the end, and later ones search ever more rarely.
//!
//! **Segments that are gone** are no damage either. Retention removed or recycled them while this
//! reader lagged, or a repair moved them to quarantine. They are reported as [`Missing`], with the
//! number of events, and reading continues after them.

use std::path::{Path, PathBuf};

use railbus_os::{Error, Result};

use crate::disk::files::segment_name;
use crate::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, Flaw, SECTOR_BYTES,
};
use crate::read::read_ahead::{self, CHUNK_BYTES, HEAD_BYTES, ReadAhead};
use crate::segment::file::{self as segments, Found, Segment, walk};

/// How far a search at the tail looks, in bytes: farther than a writer writes ahead of its oldest
/// unfinished write.
const AHEAD_BYTES: u64 = 8 << 20;

/// The number of the block before the journal's first: the next is 0.
const BEFORE_FIRST: u64 = u64::MAX;

/// The place of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number.
    pub segment: u64,
    /// Byte offset in its file.
    pub offset: u64,
}

/// Segments that are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// First position that is missing.
    pub from: u64,
    /// The first position after the missing ones.
    pub to: u64,
    /// Number of events that the journal held before that position.
    pub events_before: u64,
}

/// The result of [`Blocks::next_block`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A block whose checks succeeded. [`Blocks::stored`] returns its records.
    Block(BlockHeader, Place),
    /// Segments that are gone.
    Missing(Missing),
    /// Nothing more for now.
    End,
}

/// The block that the next block must follow.
#[derive(Debug, Clone, Copy)]
struct BlockLink {
    sequence: u64,
    checksum: u32,
    end_position: u64,
    time_ns: u64,
}

/// Reads blocks in order.
#[derive(Debug)]
pub struct Blocks {
    directory: PathBuf,
    channel_id: [u8; 16],
    /// The segment that is read; `None` before it is opened.
    segment: Option<Segment>,
    /// Its seal, once a valid one was seen, and where the seal says that the blocks end.
    seal: Option<(BlockHeader, u64)>,
    /// The place of the next block.
    next: Place,
    link: Option<BlockLink>,
    /// Whether the next block need not follow the link, because segments between them are missing.
    leaped: bool,
    buffer: Vec<u8>,
    ahead: ReadAhead,
    /// The bytes of the file at `next.offset` begin here in the buffer ...
    from: usize,
    /// ... and end here.
    to: usize,
    /// The range of the last block's records in the buffer.
    stored: std::ops::Range<usize>,
    durable_position: u64,
    /// Number of looks in a row at a place that holds no block.
    looks: u64,
    /// Whether everything after a hole was searched once.
    searched: bool,
}

impl Blocks {
    /// Begins at a block that is known to exist, or at a segment's first block.
    pub fn at(directory: &Path, channel_id: [u8; 16], place: Place) -> Blocks {
        Blocks {
            directory: directory.to_owned(),
            channel_id,
            segment: None,
            seal: None,
            next: place,
            link: None,
            leaped: false,
            buffer: Vec::new(),
            ahead: ReadAhead::default(),
            from: 0,
            to: 0,
            stored: 0..0,
            durable_position: 0,
            looks: 0,
            searched: false,
        }
    }

    /// Begins at the journal's first block, which nothing precedes.
    pub fn at_beginning(directory: &Path, channel_id: [u8; 16]) -> Blocks {
        let place = Place { segment: 1, offset: BLOCKS_OFFSET };
        let link = BlockLink { sequence: BEFORE_FIRST, checksum: 0, end_position: 0, time_ns: 0 };
        Blocks { link: Some(link), ..Blocks::at(directory, channel_id, place) }
    }

    /// The place where the next block is, or will be.
    pub fn place(&self) -> Place {
        self.next
    }

    /// Everything before this position was in the blocks so far; `None` before the first block.
    pub fn end_position(&self) -> Option<u64> {
        self.known().map(|link| link.end_position)
    }

    /// Returns the link, if it is to a block that was read.
    fn known(&self) -> Option<BlockLink> {
        self.link.filter(|link| link.sequence != BEFORE_FIRST)
    }

    /// The largest durable position that any block so far carried.
    pub fn durable_position(&self) -> u64 {
        self.durable_position
    }

    /// The records of the last block, as they are stored.
    pub fn stored(&self) -> &[u8] {
        &self.buffer[self.stored.clone()]
    }

    /// Advances to the next block. After an error the place does not change.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the place. [`Error::Version`] when another version of railbus wrote
    /// the data there. [`Error::Io`] and [`Error::NotAllowed`] when a file cannot be read.
    pub fn next_block(&mut self) -> Result<Next> {
        loop {
            if self.segment.is_none() && !self.open()? {
                match self.leap()? {
                    Some(next) => return Ok(next),
                    None => continue,
                }
            }
            if let Some((header, blocks_end)) = self.seal
                && blocks_end == self.next.offset
            {
                return self.take(header);
            }
            match self.fetch()? {
                Ok(header) => return self.take(header),
                Err(flaw) if flaw.is_of_another_version() => {
                    return Err(self.of_another_version(self.next, flaw));
                }
                Err(flaw) => match self.at_hole(flaw)? {
                    BlockHole::End => return Ok(Next::End),
                    BlockHole::Filled => {}
                    BlockHole::Gone => {
                        self.close();
                        if let Some(next) = self.leap()? {
                            return Ok(next);
                        }
                    }
                },
            }
        }
    }

    /// Opens the segment to be read. Returns whether it exists.
    fn open(&mut self) -> Result<bool> {
        let Some(segment) = Segment::open(&self.directory, self.next.segment)? else { return Ok(false) };
        if segment.header.channel_id != self.channel_id {
            let what = format!("segment file {}", segment.path.display());
            return Err(Error::corrupt(what, "it belongs to another channel than the others; move it away"));
        }
        segment.advise_sequential();
        self.seal = segment.seal()?.map(|(header, seal)| (header, seal.blocks_end));
        // The clock was set right before this segment, or in one that is missing.
        let steps_back = segment.header.steps_back() || self.leaped && segment.header.clock_step != 0;
        if let Some(link) = self.link.as_mut().filter(|_| steps_back && self.next.offset == BLOCKS_OFFSET) {
            link.time_ns = 0;
        }
        self.segment = Some(segment);
        (self.from, self.to) = (0, 0);
        Ok(true)
    }

    fn close(&mut self) {
        (self.segment, self.seal) = (None, None);
        (self.from, self.to) = (0, 0);
    }

    /// Returns the header of the whole, valid block at the next place, or what is wrong there.
    fn fetch(&mut self) -> Result<std::result::Result<BlockHeader, Flaw>> {
        let Some(segment) = &self.segment else { return Ok(Err(Flaw::Empty)) };
        if let Ok(header) = judge(segment, &self.buffer[self.from..self.to]) {
            return Ok(Ok(header));
        }
        // The block is not wholly in the buffer, or it was incomplete when the buffer was read.
        if self.looks > 0
            && let Found::Nothing(flaw) = segment.look(self.next.offset)?
        {
            return Ok(Err(flaw));
        }
        if self.buffer.is_empty() {
            self.buffer = read_ahead::buffer();
        }
        // Only the end of a chunk is kept, less than a block: copying it is cheaper than reading it
        // again.
        if self.looks == 0 && self.to - self.from < BLOCK_BYTES_MAX {
            self.read_on()?;
            if let Some(segment) = &self.segment
                && let Ok(header) = judge(segment, &self.buffer[self.from..self.to])
            {
                return Ok(Ok(header));
            }
        }
        // The bytes that were kept, or read ahead, may be older than what the file holds now.
        let Some(segment) = &self.segment else { return Ok(Err(Flaw::Empty)) };
        let block = HEAD_BYTES..HEAD_BYTES + BLOCK_BYTES_MAX;
        self.from = HEAD_BYTES;
        self.to = HEAD_BYTES + segment.read_at(self.next.offset, &mut self.buffer[block])?;
        Ok(judge(segment, &self.buffer[self.from..self.to]))
    }

    /// Reads the next chunk, and keeps the unused rest of the buffer before it.
    fn read_on(&mut self) -> Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let keep = self.to - self.from;
        let at = self.next.offset + keep as u64;
        let begin = HEAD_BYTES - keep;
        let read = match self.ahead.take((self.next.segment, at)) {
            Some((mut buffer, read)) => {
                let read = read.map_err(|error| Error::io("read", &segment.path, error))?;
                buffer[begin..HEAD_BYTES].copy_from_slice(&self.buffer[self.from..self.to]);
                self.ahead.keep(std::mem::replace(&mut self.buffer, buffer));
                read
            }
            None => {
                self.buffer.copy_within(self.from..self.to, begin);
                segment.read_at(at, &mut self.buffer[HEAD_BYTES..])?
            }
        };
        (self.from, self.to) = (begin, HEAD_BYTES + read);
        if read == CHUNK_BYTES {
            self.ahead.order(segment.file(), (self.next.segment, at + read as u64));
        }
        Ok(())
    }

    /// Takes the block in the buffer.
    fn take(&mut self, header: BlockHeader) -> Result<Next> {
        if header.kind == BlockKind::Seal && self.seal.is_none_or(|(seal, _)| seal != header) {
            // Blocks may reach up to the seal, which is then found here before it is looked for.
            self.seal = self.read_seal()?;
        }
        if header.kind == BlockKind::Seal && self.seal != Some((header, self.next.offset)) {
            return Err(self.corrupt("there is a seal, which belongs at the end of the file"));
        }
        if let Err(why) = self.check_link(&header) {
            return Err(self.corrupt(&why));
        }
        let place = self.next;
        let bytes = header.block_bytes as usize;
        let records = self.from + BLOCK_HEADER_BYTES;
        // A seal is elsewhere in the file, and has no records.
        self.stored = if header.kind == BlockKind::Seal {
            0..0
        } else {
            records..records + header.stored_bytes as usize
        };
        self.link = Some(BlockLink {
            sequence: header.sequence,
            checksum: header.header_checksum,
            end_position: header.end_position,
            time_ns: header.base_time_ns,
        });
        self.leaped = false;
        self.looks = 0;
        self.durable_position = self.durable_position.max(header.durable_position);
        if header.kind == BlockKind::Seal {
            self.close();
            self.next = Place { segment: place.segment + 1, offset: BLOCKS_OFFSET };
        } else {
            self.next.offset += bytes as u64;
            self.from += bytes;
        }
        Ok(Next::Block(header, place))
    }

    /// Reads the segment's seal. Returns its header, and where it says that the blocks end.
    fn read_seal(&self) -> Result<Option<(BlockHeader, u64)>> {
        let seal = self.segment.as_ref().map_or(Ok(None), Segment::seal)?;
        Ok(seal.map(|(header, seal)| (header, seal.blocks_end)))
    }

    fn check_link(&self, header: &BlockHeader) -> std::result::Result<(), String> {
        let Some(link) = self.link else { return Ok(()) };
        let expected = link.sequence.wrapping_add(1);
        if !self.leaped {
            if header.sequence != expected {
                return Err(format!(
                    "it is block {} of the journal where block {expected} belongs",
                    header.sequence
                ));
            }
            if header.previous_checksum != link.checksum {
                return Err(
                    "it does not continue the block before it: the chain of checksums is broken".to_owned()
                );
            }
        }
        if header.first_position < link.end_position || header.base_time_ns < link.time_ns {
            return Err(format!(
                "it begins at position {} and time {}, before the end of the block before it ({}, {})",
                header.first_position, header.base_time_ns, link.end_position, link.time_ns
            ));
        }
        Ok(())
    }

    /// Decides what it means that there is no valid block at the next place.
    fn at_hole(&mut self, flaw: Flaw) -> Result<BlockHole> {
        let Some(segment) = &self.segment else { return Ok(BlockHole::End) };
        self.looks += 1;
        let seal = self.read_seal()?;
        if seal != self.seal {
            // The seal was written in the meantime, or recovery has moved it.
            self.seal = seal;
            return Ok(BlockHole::Filled);
        }
        if !self.looks.is_power_of_two() {
            return Ok(BlockHole::End);
        }
        if segment.is_stale()? {
            // A file that was prepared and never used may be replaced by one of the same number.
            let unused = self.next.offset == BLOCKS_OFFSET;
            self.close();
            return Ok(if unused { BlockHole::Filled } else { BlockHole::Gone });
        }
        if !self.was_durable(segment)? {
            self.searched = true;
            return Ok(BlockHole::End);
        }
        // The writer, or recovery, may have filled the hole or sealed the segment since the hole
        // was seen.
        let seal = self.read_seal()?;
        if seal != self.seal {
            self.seal = seal;
            return Ok(BlockHole::Filled);
        }
        let now = segment.look(self.next.offset)?;
        if let Found::Block(_) = now
            && let Ok(_) = self.fetch()?
        {
            return Ok(BlockHole::Filled);
        }
        match self.segment.as_ref().map_or(Ok(false), Segment::is_stale)? {
            false => Err(self.corrupt(&format!("{flaw}; and what was there had been durable"))),
            true => Ok(BlockHole::Gone),
        }
    }

    /// Whether some later block shows that the missing block was durable.
    fn was_durable(&self, segment: &Segment) -> Result<bool> {
        let behind = self.next.offset + SECTOR_BYTES as u64;
        let end = if self.searched { self.next.offset + AHEAD_BYTES } else { segment.length()? };
        let next = self.link.map_or(0, |link| link.sequence.wrapping_add(1));
        let position = match self.known() {
            Some(link) => link.end_position,
            // The missing block ends before the first block that is there.
            None => match segment.find(behind, end, false, |header| header.sequence > next)? {
                Some((_, first)) => first.first_position.saturating_sub(1),
                None => return Ok(false),
            },
        };
        // A seal that ends a journal in order proves that all blocks before it were durable.
        if segment.seal()?.is_some_and(|(header, seal)| seal.last || header.durable_position > position) {
            return Ok(true);
        }
        for number in segments::list(&self.directory)?.into_iter().rev() {
            if number <= self.next.segment {
                break;
            }
            let Ok(Some(later)) = Segment::open(&self.directory, number) else { continue };
            let mut told = later.seal()?.map_or(0, |(header, _)| header.durable_position);
            walk(&later, |_, header| told = told.max(header.durable_position))?;
            if told > position {
                return Ok(true);
            }
        }
        let tells = |header: &BlockHeader| header.sequence > next && header.durable_position > position;
        Ok(segment.find(behind, end, false, tells)?.is_some())
    }

    /// Moves on when the segment to be read does not exist. If later segments have blocks, leaps to
    /// the first of these. Returns `None` when the segment has appeared in the meantime.
    fn leap(&mut self) -> Result<Option<Next>> {
        for number in segments::list(&self.directory)? {
            if number <= self.next.segment {
                continue;
            }
            let Some(segment) = Segment::open(&self.directory, number)? else { continue };
            let Some(first) = segment.first_block()? else { continue };
            if self.open()? {
                return Ok(None);
            }
            self.next = Place { segment: number, offset: BLOCKS_OFFSET };
            self.leaped = true;
            self.looks = 0;
            let from = self.known().map_or(first.first_position, |link| link.end_position);
            let (to, events_before) = (first.first_position, first.events_before);
            return Ok(Some(Next::Missing(Missing { from, to, events_before })));
        }
        Ok(Some(Next::End))
    }

    /// Returns the error for a block that another version of railbus wrote.
    pub fn of_another_version(&self, place: Place, flaw: Flaw) -> Error {
        let path = self.directory.join(segment_name(place.segment));
        Error::Version {
            what: format!("the block at byte {} of {}", place.offset, path.display()),
            why: flaw.to_string(),
        }
    }

    /// Returns the error that names the next place as corrupt.
    pub fn corrupt(&self, why: &str) -> Error {
        self.corrupt_at(self.next, why)
    }

    /// Returns the error that names a place as corrupt.
    pub fn corrupt_at(&self, place: Place, why: &str) -> Error {
        let when = match self.link {
            Some(link) if link.time_ns > 0 => {
                format!("position {}, {} ns after 1970", link.end_position, link.time_ns)
            }
            Some(link) => format!("position {}", link.end_position),
            None => "its first block".to_owned(),
        };
        Error::corrupt(
            format!(
                "the block at byte {} of {} ({when})",
                place.offset,
                self.directory.join(segment_name(place.segment)).display()
            ),
            format!(
                "{why}. `railbus journal verify` tells what is affected, `railbus journal repair --quarantine` \
                 puts it aside"
            ),
        )
    }
}

/// Returns the header of the whole, valid block at the beginning of `bytes`.
fn judge(segment: &Segment, bytes: &[u8]) -> std::result::Result<BlockHeader, Flaw> {
    match segment.judge(bytes) {
        Found::Nothing(flaw) => Err(flaw),
        Found::Block(header) => header.check_body(bytes).map(|()| header),
    }
}

/// The meaning of a hole.
enum BlockHole {
    End,
    Filled,
    Gone,
}
