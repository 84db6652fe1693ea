//! The segment files of a journal directory, for reading: which segments exist, and what is at a
//! place in one.
//!
//! Files are read with `pread`, not mapped. So a file that is cut short gives a short read, and
//! never a SIGBUS. Nothing here decides what an invalid block means; see [`crate::read::blocks`].

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use railbus_os::descriptor::above_standard;
use railbus_os::{Error, Result};
use railbus_ring::layout::HEADER_BYTES as CHANNEL_PAGE_BYTES;

use crate::disk::files::{segment_name, segment_number};
use crate::disk::whole::read_full;
use crate::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, Flaw, SECTOR_BYTES, Seal,
    SegmentHeader, seal_offset,
};

/// Returns the numbers of the segments in a journal's directory, ascending.
///
/// # Errors
/// [`Error::NoJournal`] when the directory does not exist, [`Error::Invalid`] when it is a file,
/// [`Error::NotAllowed`] and [`Error::Io`].
pub fn list(directory: &Path) -> Result<Vec<u64>> {
    let fail = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => no_journal(directory),
        ErrorKind::NotADirectory => Error::invalid(
            format!("journal {}", directory.display()),
            "it is a file; a journal is a directory, JOURNAL/BUS/CHANNEL",
        ),
        _ => Error::io("list", directory, error),
    };
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        numbers.extend(name.to_str().and_then(segment_number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns the error for a directory that holds no journal.
pub fn no_journal(directory: &Path) -> Error {
    Error::NoJournal { path: directory.to_owned() }
}

/// The flaw of a block that belongs to an earlier use of the file.
const EARLIER_USE: Flaw = Flaw::Nonsense("a block of an earlier use of the file");

/// Returns the error for data in a segment file that another version of railbus wrote.
pub(crate) fn of_another_version(path: &Path, flaw: Flaw) -> Error {
    Error::Version { what: format!("segment file {}", path.display()), why: flaw.to_string() }
}

/// A segment file that is open for reading.
#[derive(Debug)]
pub struct Segment {
    /// The path of the file.
    pub path: PathBuf,
    /// The header in its first page.
    pub header: SegmentHeader,
    file: Arc<File>,
}

/// The content of a place where a block could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A header of this segment; the body is unchecked.
    Block(BlockHeader),
    /// No block, or one of an earlier use of the file.
    Nothing(Flaw),
}

impl Segment {
    /// Opens segment `number`, and checks its first page. Returns `None` when there is no such
    /// file, or when the file is not ready: its first page is all zeros, or it is shorter than one
    /// page.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a first page that is damaged or of another segment,
    /// [`Error::Version`] for one of another version of railbus, and [`Error::Io`].
    pub fn open(directory: &Path, number: u64) -> Result<Option<Segment>> {
        let path = directory.join(segment_name(number));
        let file = match File::open(&path).and_then(above_standard) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| Error::io("open", &path, error))?,
        };
        let mut page = [0; SECTOR_BYTES];
        let read = read_full(&file, 0, &mut page).map_err(|error| Error::io("read", &path, error))?;
        let header = match SegmentHeader::decode(&page[..read]) {
            Ok(header) => header,
            Err(Flaw::Empty | Flaw::Short) => return Ok(None),
            Err(flaw) if flaw.is_of_another_version() => return Err(of_another_version(&path, flaw)),
            Err(flaw) => {
                let what = format!("segment file {}", path.display());
                return Err(Error::corrupt(what, format!("its first page: {flaw}")));
            }
        };
        if header.number != number {
            let why = format!("its first page says that it is segment {}; it was renamed", header.number);
            return Err(Error::corrupt(format!("segment file {}", path.display()), why));
        }
        Ok(Some(Segment { path, header, file: Arc::new(file) }))
    }

    /// Returns the page of the channel's header, as it was when the segment was prepared. The layer
    /// above interprets its bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file is shorter; [`Error::Io`].
    pub fn channel_page(&self) -> Result<Box<[u8; CHANNEL_PAGE_BYTES]>> {
        let mut page = Box::new([0; CHANNEL_PAGE_BYTES]);
        let read = self.read_at(SECTOR_BYTES as u64, &mut page[..])?;
        if read < CHANNEL_PAGE_BYTES {
            let what = format!("segment file {}", self.path.display());
            return Err(Error::corrupt(what, format!("it has only {} bytes", SECTOR_BYTES + read)));
        }
        Ok(page)
    }

    /// Reads from `offset` on. It returns the number of bytes read, fewer than asked for only at
    /// the end of the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        read_full(&self.file, offset, bytes).map_err(|error| Error::io("read", &self.path, error))
    }

    /// The file, for reading it in another thread.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Returns the size of the file in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn length(&self) -> Result<u64> {
        let about = self.file.metadata().map_err(|error| Error::io("examine", &self.path, error))?;
        Ok(about.len())
    }

    /// Advises the kernel that the file is read from front to back.
    pub fn advise_sequential(&self) {
        // This is a hint: nothing depends on it.
        let _ = nix::fcntl::posix_fadvise(
            &*self.file,
            0,
            0,
            nix::fcntl::PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL,
        );
    }

    /// Whether this file is no longer the journal's segment of its number: it was removed,
    /// replaced, or reused for another segment.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_stale(&self) -> Result<bool> {
        let fail = |error| Error::io("examine", &self.path, error);
        let here = self.file.metadata().map_err(fail)?;
        let there = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            about => about.map_err(fail)?,
        };
        let mut page = [0; SECTOR_BYTES];
        let read = self.read_at(0, &mut page)?;
        let now = SegmentHeader::decode(&page[..read]).ok();
        Ok((here.dev(), here.ino()) != (there.dev(), there.ino())
            || now.is_some_and(|now| now.segment_id != self.header.segment_id))
    }

    /// Returns what is at `offset`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn look(&self, offset: u64) -> Result<Found> {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let read = self.read_at(offset, &mut bytes)?;
        Ok(self.judge(&bytes[..read]))
    }

    /// Judges `bytes` as the beginning of a block of this segment.
    pub fn judge(&self, bytes: &[u8]) -> Found {
        match BlockHeader::decode(bytes) {
            Ok(header) if header.segment_id == self.header.segment_id => Found::Block(header),
            Ok(_) => Found::Nothing(EARLIER_USE),
            Err(flaw)
                if flaw.is_of_another_version()
                    && BlockHeader::segment_id_of(bytes) != Some(self.header.segment_id) =>
            {
                Found::Nothing(EARLIER_USE)
            }
            Err(flaw) => Found::Nothing(flaw),
        }
    }

    /// Returns the segment's seal, if there is a valid one: its header and its content.
    ///
    /// # Errors
    /// [`Error::Version`] for a seal of another version of railbus; [`Error::Io`].
    pub fn seal(&self) -> Result<Option<(BlockHeader, Seal)>> {
        let mut block = [0; SECTOR_BYTES];
        let read = self.read_at(seal_offset(self.header.segment_bytes), &mut block)?;
        let header = match self.judge(&block[..read]) {
            Found::Block(header) => header,
            Found::Nothing(flaw) if flaw.is_of_another_version() => {
                return Err(of_another_version(&self.path, flaw));
            }
            Found::Nothing(_) => return Ok(None),
        };
        if header.kind != BlockKind::Seal || header.check_body(&block[..read]).is_err() {
            return Ok(None);
        }
        let body = &block[BLOCK_HEADER_BYTES..][..header.stored_bytes as usize];
        match Seal::decode(body, self.header.segment_bytes) {
            Ok(seal) => Ok(Some((header, seal))),
            Err(flaw) if flaw.is_of_another_version() => Err(of_another_version(&self.path, flaw)),
            Err(_) => Ok(None),
        }
    }

    /// Returns the first block's header, if there is one.
    ///
    /// # Errors
    /// [`Error::Version`] for a block of another version of railbus; [`Error::Io`].
    pub fn first_block(&self) -> Result<Option<BlockHeader>> {
        Ok(match self.look(BLOCKS_OFFSET)? {
            Found::Block(header) => Some(header),
            Found::Nothing(flaw) if flaw.is_of_another_version() => {
                return Err(of_another_version(&self.path, flaw));
            }
            Found::Nothing(_) => None,
        })
    }

    /// Finds the first block that starts in `from..to` and for which `is_wanted` is true. Returns
    /// its offset and its header. Looks at every sector. With `whole`, only a block whose body fits
    /// its checksum counts.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn find(
        &self,
        from: u64,
        to: u64,
        whole: bool,
        mut is_wanted: impl FnMut(&BlockHeader) -> bool,
    ) -> Result<Option<(u64, BlockHeader)>> {
        let mut chunk = vec![0; 1 << 20];
        let mut block = vec![0; BLOCK_BYTES_MAX];
        let mut at = from;
        while at < to {
            let most = chunk.len().min(usize::try_from(to - at).unwrap_or(usize::MAX));
            let read = self.read_at(at, &mut chunk[..most.next_multiple_of(SECTOR_BYTES)])?;
            for (i, sector) in chunk[..read.min(most)].chunks(SECTOR_BYTES).enumerate() {
                let Found::Block(header) = self.judge(sector) else { continue };
                let offset = at + (i * SECTOR_BYTES) as u64;
                if is_wanted(&header) && (!whole || self.is_whole(offset, &header, &mut block)?) {
                    return Ok(Some((offset, header)));
                }
            }
            if read < most {
                break;
            }
            at += most as u64;
        }
        Ok(None)
    }

    /// Whether the block's bytes agree with its checksum.
    fn is_whole(&self, offset: u64, header: &BlockHeader, block: &mut [u8]) -> Result<bool> {
        let bytes = header.block_bytes as usize;
        let read = self.read_at(offset, &mut block[..bytes])?;
        Ok(header.check_body(&block[..read]).is_ok())
    }
}

/// Calls `see` with every block's offset and header, up to the seal or the end. Returns where the
/// blocks end.
///
/// # Errors
/// Those of [`Segment::seal`].
pub fn walk(segment: &Segment, mut see: impl FnMut(u64, &BlockHeader)) -> Result<u64> {
    let end = segment.seal()?.map_or(u64::MAX, |(_, seal)| seal.blocks_end);
    let mut offset = BLOCKS_OFFSET;
    let mut before: Option<BlockHeader> = None;
    while offset < end
        && let Found::Block(header) = segment.look(offset)?
        && header.kind != BlockKind::Seal
    {
        let follows = |before: BlockHeader| {
            header.sequence == before.sequence + 1 && header.previous_checksum == before.header_checksum
        };
        if !before.is_none_or(follows) {
            break;
        }
        see(offset, &header);
        offset += u64::from(header.block_bytes);
        before = Some(header);
    }
    Ok(offset)
}
