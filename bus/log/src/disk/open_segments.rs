//! The segments that a pipeline has open. Both pipelines share these checks, and the helper that
//! makes the next segment.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::write_again::{Unproven, write_file_again};
use crate::disk::files::Files;
use crate::disk::prepare::{Helper, Prepared};
use crate::disk::store::{Begun, Completion};
use crate::format::{BLOCK_BYTES_MAX, BLOCKS_OFFSET, SECTOR_BYTES, SegmentHeader};

/// Most segments that may be open at once. A writer has two, the one that it writes and the next
/// one, and three while it syncs an old one.
pub(crate) const OPEN_MAX: usize = 8;
/// Most syncs that may be in flight at once. A writer has one.
pub(crate) const SYNCS_MAX: usize = 4;
/// Most segments that may be asked for at once. A writer asks for one.
const PREPARING_MAX: usize = 4;

/// A segment that is open for writing.
pub(crate) struct Open {
    pub(crate) number: u64,
    pub(crate) file: Arc<File>,
    length: u64,
}

/// The table of open segments. A segment keeps its place while it is open.
pub(crate) struct Segments {
    files: Arc<Files>,
    direct: bool,
    open: [Option<Open>; OPEN_MAX],
    helper: Helper,
    preparing: Vec<u64>,
}

pub(crate) fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The error for too many requests in flight: the caller can ask again after a completion.
pub(crate) fn too_many(what: &str, most: usize) -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, format!("{most} {what} are in flight already"))
}

impl Segments {
    /// Creates the table. `ended` is called in the helper's thread, with a value for
    /// [`admit`](Self::admit).
    pub(crate) fn new(
        files: Arc<Files>,
        direct: bool,
        ended: impl Fn(Prepared) + Send + Sync + 'static,
    ) -> io::Result<Segments> {
        let helper = Helper::start(files.clone(), direct, ended)?;
        let segments = Segments { files, direct, open: Default::default(), helper, preparing: Vec::new() };
        segments.set_urgency();
        Ok(segments)
    }

    /// Whether a segment was asked for and is not ready.
    pub(crate) fn preparing(&self) -> bool {
        !self.preparing.is_empty()
    }

    /// Checks a part of a segment and writes it once more.
    pub(super) fn write_again(&mut self, part: &Unproven) -> io::Result<()> {
        let file = self.files.open_for_writing(part.segment, self.direct)?;
        write_file_again(&file, part)
    }

    /// Asks the helper for a segment.
    pub(crate) fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        if self.preparing.contains(&header.number) {
            return Err(invalid(format!("segment {} was asked for already", header.number)));
        }
        if self.preparing.len() >= PREPARING_MAX {
            return Err(too_many("segments", PREPARING_MAX));
        }
        self.helper.order(header, channel_page)?;
        self.preparing.push(header.number);
        Ok(())
    }

    /// Takes a segment from the helper. Returns its place in the table, if it got one, and the
    /// completion to report to the writer.
    pub(crate) fn admit(&mut self, prepared: Prepared) -> (Option<usize>, Completion) {
        let segment = prepared.segment;
        self.preparing.retain(|&number| number != segment);
        // When the table is full the segment exists all the same, and the first write to it opens
        // it.
        let (place, result) = match prepared.result {
            Ok(file) => (self.place(segment, file).ok(), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.set_urgency();
        (place, Completion { begun: Begun::Prepare { segment }, result })
    }

    /// Returns the segment at a place.
    pub(crate) fn at(&self, place: usize) -> Option<&Open> {
        self.open.get(place)?.as_ref()
    }

    /// Returns the place of a segment that is open.
    pub(crate) fn find(&self, segment: u64) -> Option<usize> {
        self.open.iter().position(|open| open.as_ref().is_some_and(|open| open.number == segment))
    }

    /// Returns the place of a segment, and whether this call opened it.
    pub(crate) fn find_or_open(&mut self, segment: u64) -> io::Result<(usize, bool)> {
        match self.find(segment) {
            Some(place) => Ok((place, false)),
            None => {
                let file = self.files.open_for_writing(segment, self.direct)?;
                let place = self.place(segment, file)?;
                self.set_urgency();
                Ok((place, true))
            }
        }
    }

    /// Checks a write to an open segment.
    pub(crate) fn check_write(&self, place: usize, offset: u64, bytes: usize) -> io::Result<()> {
        let Some(open) = self.at(place) else { return Err(invalid("no such segment is open".into())) };
        let sector = SECTOR_BYTES as u64;
        if bytes == 0 || bytes > BLOCK_BYTES_MAX || !bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(invalid(format!(
                "a write of {bytes} B: it must have {SECTOR_BYTES} to {BLOCK_BYTES_MAX} B, in whole sectors"
            )));
        }
        let end = offset.checked_add(bytes as u64);
        if offset < BLOCKS_OFFSET || !offset.is_multiple_of(sector) || end.is_none_or(|end| end > open.length)
        {
            return Err(invalid(format!(
                "a write of {bytes} B at {offset} of segment {}: blocks lie from {BLOCKS_OFFSET} to {}, at whole \
                 sectors",
                open.number, open.length
            )));
        }
        Ok(())
    }

    /// Counts the bytes of a write that was begun.
    pub(crate) fn consumed(&self, bytes: usize) {
        self.helper.consumed(bytes as u64);
    }

    /// Frees a segment's place. Requests in flight have references of their own.
    pub(crate) fn close(&mut self, segment: u64) -> Option<usize> {
        let place = self.find(segment)?;
        self.open[place] = None;
        self.set_urgency();
        Some(place)
    }

    fn place(&mut self, number: u64, file: File) -> io::Result<usize> {
        let length = file.metadata()?.len();
        let Some(place) = self.open.iter().position(Option::is_none) else {
            return Err(io::Error::other(format!(
                "{OPEN_MAX} segments are open: close those that are written before going on to segment {number}"
            )));
        };
        self.open[place] = Some(Open { number, file: Arc::new(file), length });
        Ok(place)
    }

    fn set_urgency(&self) {
        self.helper.urgent(self.open.iter().all(Option::is_none));
    }
}
