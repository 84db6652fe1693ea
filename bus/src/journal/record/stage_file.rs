//! `NAME.stage`: what a journaller has taken from the ring and not yet written, in memory that
//! outlives it.
//!
//! ```text
//! header page | 64 bytes of words for each block | (up to 2 MiB) | block | block | ...
//! ```
//!
//! The ring is freed as soon as an event is staged, so a journaller that is killed leaves events
//! that are nowhere else. Its successor opens the same file. It finds in each block's words how
//! many bytes of whole records the block holds, and records again those that the journal does not
//! have. The writer owns the words (`bus/log/src/stage/words.rs`); this file provides the memory.
//! It is allocated whole when it is made, aligned for direct I/O, and in 2 MiB pages where the
//! kernel provides them. The file's mode is 0600, because it holds the events themselves.

use std::fs::File;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::Arc;

use railbus_log::format::BLOCK_BYTES_MAX;
use railbus_os::mapping::{Mapping, page_bytes};
use railbus_os::pages::HUGE_2M;
use railbus_ring::layout::journal as layout;

use crate::channel::open::Channel;
use crate::channel::side_file::{self, Companion};
use crate::error::{Error, Result};

/// The fewest blocks: one to fill, one in flight, and spare ones between.
pub(crate) const BLOCKS_MIN: usize = 4;
/// The most blocks: 1 GiB, as much as io_uring takes as one buffer.
pub(crate) const BLOCKS_MAX: usize = (1 << 30) / BLOCK_BYTES_MAX;

const _: () = assert!(layout::HEADER_BYTES + BLOCKS_MAX * layout::BLOCK_WORDS_BYTES <= HUGE_2M as usize);

/// The staging of a channel, mapped.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    mapping: Arc<Mapping>,
    blocks: usize,
    /// Whether it was made just now, so that nothing was left in it.
    fresh: bool,
    path: PathBuf,
}

impl Stage {
    /// Opens the staging of `channel`, or makes one of `blocks` blocks. The staging that a
    /// predecessor left is used as it is, with as many blocks as it has. The caller is the
    /// channel's only journaller.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NoSpace`], [`Error::NotAllowed`]; [`Error::Version`] for a
    /// staging that another version of railbus left.
    pub(crate) fn open(channel: &Channel, blocks: usize) -> Result<Stage> {
        Stage::open_or_make(channel, blocks, is_sound)
    }

    /// Makes a staging of `blocks` blocks, in the place of one that is no longer needed.
    pub(crate) fn make(channel: &Channel, blocks: usize) -> Result<Stage> {
        Stage::open_or_make(channel, blocks, |_| false)
    }

    fn open_or_make(channel: &Channel, blocks: usize, keep: impl Fn(&Companion) -> bool) -> Result<Stage> {
        if !(BLOCKS_MIN..=BLOCKS_MAX).contains(&blocks) {
            return Err(Error::invalid(
                format!("staging of {blocks} blocks"),
                format!("must be {BLOCKS_MIN} to {BLOCKS_MAX} blocks of {} KiB", BLOCK_BYTES_MAX >> 10),
            ));
        }
        let path = channel.paths().stage.clone();
        let header = channel.header();
        let wanted = Companion {
            magic: layout::STAGE_MAGIC,
            channel_id: header.channel_id,
            incarnation: header.incarnation,
            file_bytes: HUGE_2M + (blocks * BLOCK_BYTES_MAX) as u64,
            blocks: blocks as u64,
            blocks_offset: HUGE_2M,
        };
        let (file, fresh) = side_file::open_or_make(channel.attached(), &path, wanted, 0o600, keep)?;
        Stage::map(file, path, fresh)
    }

    /// Finds the staging of a lost channel, and its incarnation, if its memory still exists and is
    /// no older than `incarnation`. The caller holds the lock of its journal.
    pub(crate) fn find(
        path: PathBuf,
        channel_id: [u8; 16],
        incarnation: u64,
    ) -> Result<Option<(Stage, u64)>> {
        let Some(file) = side_file::open(&path, true)? else { return Ok(None) };
        let found =
            Companion::read(&file, layout::STAGE_MAGIC).map_err(|error| Error::io("read", &path, error))?;
        if found.is_none() {
            side_file::check_version(&file, &path, channel_id)?;
        }
        let is_its = |found: &Companion| found.channel_id == channel_id && found.incarnation >= incarnation;
        match found.filter(|found| is_sound(found) && is_its(found)) {
            Some(found) => Ok(Some((Stage::map(file, path, false)?, found.incarnation))),
            None => Ok(None),
        }
    }

    fn map(file: File, path: PathBuf, fresh: bool) -> Result<Stage> {
        let found =
            Companion::read(&file, layout::STAGE_MAGIC).map_err(|error| Error::io("read", &path, error))?;
        let found = found.filter(is_sound).ok_or_else(|| {
            Error::corrupt(path.display().to_string(), "its header changed while it was opened")
        })?;
        let mapping = Mapping::of_file(&file, 0, found.file_bytes as usize, true, HUGE_2M as usize)
            .map_err(|error| Error::io("map", &path, error))?;
        // The range between the words and the blocks is a hole in the file, and takes no memory.
        let blocks_bytes = found.blocks as usize * BLOCK_BYTES_MAX;
        let words_bytes = layout::HEADER_BYTES + found.blocks as usize * layout::BLOCK_WORDS_BYTES;
        let head_bytes = words_bytes.next_multiple_of(page_bytes());
        mapping
            .populate_range(0, head_bytes, true)
            .and_then(|()| mapping.populate_range(HUGE_2M as usize, blocks_bytes, true))
            .map_err(|error| Error::io("fault in", &path, error))?;
        mapping.exclude_from_dumps();
        // Best effort: direct I/O from huge pages is faster, and works as well from others.
        let _ = mapping.collapse_from(HUGE_2M as usize);
        Ok(Stage { mapping: Arc::new(mapping), blocks: found.blocks as usize, fresh, path })
    }

    /// Returns the number of blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Whether it was made just now.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Returns the owner of the mapping, which keeps the memory mapped.
    pub(crate) fn keeper(&self) -> Arc<Mapping> {
        Arc::clone(&self.mapping)
    }

    /// Returns the address of the first block.
    pub(crate) fn base(&self) -> NonNull<u8> {
        // SAFETY: the blocks start 2 MiB into the mapping, which is longer (`is_sound`).
        unsafe { self.mapping.base().add(HUGE_2M as usize) }
    }

    /// Returns the address of the first block's words; those of the other blocks follow.
    pub(crate) fn words_base(&self) -> NonNull<u8> {
        // SAFETY: one page into the mapping, which is longer (`is_sound`).
        unsafe { self.mapping.base().add(layout::HEADER_BYTES) }
    }

    /// Returns the bytes of block `block`, as a predecessor left them.
    ///
    /// # Safety
    /// No code writes to the block as long as the bytes are borrowed.
    pub(crate) unsafe fn bytes(&self, block: usize) -> &[u8] {
        assert!(block < self.blocks, "staging block {block} of {}", self.blocks);
        // SAFETY: inside the mapping (`is_sound`).
        let at = unsafe { self.base().as_ptr().add(block * BLOCK_BYTES_MAX) };
        // SAFETY: mapped as long as self lives, and not written during the borrow, by the contract.
        unsafe { std::slice::from_raw_parts(at, BLOCK_BYTES_MAX) }
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

/// Whether the numbers of a header are consistent.
fn is_sound(found: &Companion) -> bool {
    found.blocks_offset == HUGE_2M
        && (BLOCKS_MIN as u64..=BLOCKS_MAX as u64).contains(&found.blocks)
        && found.file_bytes == HUGE_2M + found.blocks * BLOCK_BYTES_MAX as u64
}
