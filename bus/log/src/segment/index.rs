//! The sparse index of a segment: where its blocks are, by position and by time.
//!
//! ```text
//! header 64 B   magic 0 "RBINDEX1" | version 8 u32 | entries 12 u32 | segment id 16 | segment number 24
//!               | bytes of the segment that are covered 32 | zeros 40 | CRC-32C of everything else 60 u32
//! entry 48 B    offset 0 | first position 8 | base time 16, ns | events before it 24 | block number 32
//!               | the block header's checksum 40 u32 | zero 44 u32
//! ```
//!
//! All integers are little-endian; entries ascend. There is one entry for the segment's first
//! block, and then one for the first block at least [`EVERY_BYTES`] after the last one indexed.
//! Only sealed segments are indexed, because they never change.
//!
//! An index is a hint that can always be made again. One that is missing, damaged, or of another
//! segment is ignored. An entry counts only if the block that it names is there with the checksum
//! in the entry.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use railbus_os::{Error, Result, descriptor, file_limit};

use crate::disk::files::index_name;
use crate::format::{BLOCKS_OFFSET, SECTOR_BYTES, SEGMENT_BYTES_MAX, checksum, checksum_more};
use crate::segment::file::{Found, Segment, walk};

/// Least distance of two entries in the segment, in bytes.
pub const EVERY_BYTES: u64 = 256 << 10;

const MAGIC: [u8; 8] = *b"RBINDEX1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 48;
const BYTES_MAX: u64 = HEADER_BYTES as u64 + (SEGMENT_BYTES_MAX / EVERY_BYTES + 1) * ENTRY_BYTES as u64;

/// The place of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Offset of the block in the segment file, in bytes.
    pub offset: u64,
    /// The block's first position.
    pub first_position: u64,
    /// Its base time, in ns of CLOCK_REALTIME.
    pub time_ns: u64,
    /// Number of events that end in earlier blocks.
    pub events_before: u64,
    /// The block's number in the journal.
    pub sequence: u64,
    /// The checksum of its header.
    pub header_checksum: u32,
}

/// A segment's index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    /// The segment's id.
    pub segment_id: u64,
    /// The segment's number.
    pub number: u64,
    /// Number of bytes of the segment that the entries cover: all up to the end of its blocks.
    pub covered_bytes: u64,
    entries: Vec<Entry>,
}

impl Index {
    /// The entries, ascending.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Encodes the bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.entries.len() * ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for word in [self.segment_id, self.number, self.covered_bytes] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.resize(HEADER_BYTES, 0);
        for entry in &self.entries {
            for word in
                [entry.offset, entry.first_position, entry.time_ns, entry.events_before, entry.sequence]
            {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.extend_from_slice(&entry.header_checksum.to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
        }
        let sum = sum(&bytes);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Decodes the bytes of a file, or says what is wrong with them.
    ///
    /// # Errors
    /// The text says what is wrong.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Index, &'static str> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or("cut short")?;
        if header[..8] != MAGIC {
            return Err("no magic number");
        }
        if u32_at(header, 8) != VERSION {
            return Err("another version");
        }
        let entries = u32_at(header, 12) as usize;
        if entries.checked_mul(ENTRY_BYTES) != Some(rest.len()) {
            return Err("another length than it says");
        }
        if sum(bytes) != u32_at(header, HEADER_BYTES - 4) {
            return Err("the checksum differs");
        }
        let entry = |bytes: &[u8]| Entry {
            offset: u64_at(bytes, 0),
            first_position: u64_at(bytes, 8),
            time_ns: u64_at(bytes, 16),
            events_before: u64_at(bytes, 24),
            sequence: u64_at(bytes, 32),
            header_checksum: u32_at(bytes, 40),
        };
        let entries: Vec<Entry> = rest.chunks_exact(ENTRY_BYTES).map(entry).collect();
        let ascend = |pair: &[Entry]| {
            pair[0].offset < pair[1].offset
                && pair[0].first_position <= pair[1].first_position
                && pair[0].time_ns <= pair[1].time_ns
                && pair[0].events_before <= pair[1].events_before
        };
        if !entries.windows(2).all(ascend) {
            return Err("entries that do not ascend");
        }
        Ok(Index {
            segment_id: u64_at(header, 16),
            number: u64_at(header, 24),
            covered_bytes: u64_at(header, 32),
            entries,
        })
    }
}

fn sum(bytes: &[u8]) -> u32 {
    checksum_more(checksum(&bytes[..HEADER_BYTES - 4]), &bytes[HEADER_BYTES..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Returns the index of a segment, if there is one that can be used.
///
/// # Errors
/// None at present: an index that cannot be read is ignored.
pub fn load(segment: &Segment) -> Result<Option<Index>> {
    let path = segment.path.with_file_name(index_name(segment.header.number));
    match fs::metadata(&path) {
        Ok(about) if about.is_file() && about.len() <= BYTES_MAX => {}
        _ => return Ok(None),
    }
    let Ok(bytes) = fs::read(&path) else { return Ok(None) };
    let index = Index::decode(&bytes).ok();
    Ok(index.filter(|index| {
        (index.segment_id, index.number) == (segment.header.segment_id, segment.header.number)
    }))
}

/// Whether the block that an entry names is there.
pub fn is_true(segment: &Segment, entry: &Entry) -> bool {
    let at_sector = entry.offset >= BLOCKS_OFFSET && entry.offset.is_multiple_of(SECTOR_BYTES as u64);
    let found = if at_sector { segment.look(entry.offset).ok() } else { None };
    let Some(Found::Block(block)) = found else { return false };
    (block.sequence, block.header_checksum) == (entry.sequence, entry.header_checksum)
}

/// The result of [`build`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// A usable index was there already.
    Present,
    /// The index was written.
    Written,
    /// The segment is not sealed and still grows.
    NotSealed,
}

/// Makes the index of a segment, unless a usable one exists. The last argument forces a new one.
/// After a kill the file is there as a whole, or not at all.
///
/// # Errors
/// [`Error::Io`], [`Error::NotAllowed`], [`Error::NoSpace`]; [`Error::Corrupt`] and
/// [`Error::Version`] for a segment that cannot be read.
pub fn build(directory: &Path, number: u64, anew: bool) -> Result<Built> {
    let Some(segment) = Segment::open(directory, number)? else { return Ok(Built::NotSealed) };
    if !anew && load(&segment)?.is_some() {
        return Ok(Built::Present);
    }
    let mut index =
        Index { segment_id: segment.header.segment_id, number, covered_bytes: 0, entries: Vec::new() };
    let end = walk(&segment, |offset, block| {
        if index.entries.last().is_none_or(|last| offset >= last.offset + EVERY_BYTES) {
            index.entries.push(Entry {
                offset,
                first_position: block.first_position,
                time_ns: block.base_time_ns,
                events_before: block.events_before,
                sequence: block.sequence,
                header_checksum: block.header_checksum,
            });
        }
    })?;
    index.covered_bytes = end;
    if segment.seal()?.is_none_or(|(_, seal)| seal.blocks_end != end) {
        return Ok(Built::NotSealed);
    }
    let path = directory.join(index_name(number));
    let fail = |error| Error::io("write", &path, error);
    let mut file = tempfile_beside(&path).map_err(fail)?;
    let written = file_limit::without_signal(|| file.1.write_all(&index.encode()));
    let written = written.and_then(|()| file.1.sync_data());
    let renamed = written.and_then(|()| fs::rename(&file.0, &path));
    if renamed.is_err() {
        let _ = fs::remove_file(&file.0);
    }
    renamed.map_err(fail)?;
    Ok(Built::Written)
}

/// Creates a new file in the same directory, under a name that no reader opens. A file of that name
/// that a killed process left is overwritten.
fn tempfile_beside(path: &Path) -> std::io::Result<(PathBuf, fs::File)> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    // Relaxed: the count alone matters.
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_file_name(format!(".index-{}-{count}.tmp", std::process::id()));
    let file = descriptor::open(fs::OpenOptions::new().write(true).create(true).truncate(true), &beside)?;
    Ok((beside, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let entry = |i: u64| Entry {
            offset: BLOCKS_OFFSET + i * EVERY_BYTES,
            first_position: i * 1000,
            time_ns: 5 + i,
            events_before: i * 2,
            sequence: i * 3,
            header_checksum: i as u32,
        };
        Index { segment_id: 7, number: 3, covered_bytes: 1 << 20, entries: (0..4).map(entry).collect() }
    }

    #[test]
    fn an_index_round_trips() {
        assert_eq!(Index::decode(&sample().encode()), Ok(sample()));
        assert_eq!(Index::decode(&Index::default().encode()), Ok(Index::default()));
    }

    #[test]
    fn whatever_is_changed_or_cut_is_noticed() {
        let whole = sample().encode();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Index::decode(&bytes).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(Index::decode(&whole[..length]).is_err(), "{length} bytes");
        }
    }
}
