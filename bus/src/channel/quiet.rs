//! Keeping everybody out of a channel that nobody uses, while it is replaced or removed.
//!
//! A process needs the janitor lock of an entry to register, sweep or evict in it. So while one
//! process holds the janitor locks of all entries of both sides, no new life can begin. If there is
//! none, nobody takes part until the locks are released. Readers that hold shared locks on bytes of
//! the files are not in the way: see `railbus_ring::members::janitor`.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use railbus_os::{descriptor, lock};
use railbus_ring::layout;
use railbus_ring::members::peers::Side;

use super::attach::{Attached, Region};
use super::header::FileRole;
use super::name::{ChannelName, ChannelPaths};
use super::owner::Owner;
use crate::channel::bus::Bus;
use crate::channel::file_locks::FileLocks;
use crate::channel::name::{OLD, beside};
use crate::channel::open::Channel;
use crate::error::{Error, Result};

/// The right to keep everybody out of a channel. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Fence {
    channel: Channel,
    /// Before the maps, whose words they use.
    locks: [FileLocks; 2],
    _maps: [Region; 2],
    /// These hold the life byte that no entry has. It explains to participants that find no entry
    /// why they find none ([`layout::NAMES_LOCK`]).
    signs: RefCell<Vec<File>>,
}

impl Fence {
    /// Opens the files and locks that it needs. Nobody is kept out yet.
    ///
    /// # Errors
    /// [`Error::NotAllowed`](crate::Error::NotAllowed) without the right to write both files.
    pub(crate) fn open(channel: &Channel) -> Result<Fence> {
        let attached = channel.attached();
        attached.reopen(FileRole::Ring, true)?;
        attached.reopen(FileRole::Acks, true)?;
        let maps = [attached.map_words(Side::Producers)?, attached.map_words(Side::Consumers)?];
        let open = |side: Side, map: &Region| {
            // SAFETY: the maps are kept beside the locks, and dropped after them.
            let memory = unsafe { map.trusted(false) };
            FileLocks::open_on(channel, side, memory)
        };
        let locks = [open(Side::Producers, &maps[0])?, open(Side::Consumers, &maps[1])?];
        Ok(Fence { channel: channel.clone(), locks, _maps: maps, signs: RefCell::default() })
    }

    /// Keeps everybody out. If somebody takes part, registers, sweeps or evicts, it returns false
    /// and holds nothing.
    pub(crate) fn try_take(&self) -> Result<bool> {
        let [producers, consumers] = &self.locks;
        if !producers.try_all_janitors()? {
            return Ok(false);
        }
        if !consumers.try_all_janitors()? {
            producers.release_all_janitors();
            return Ok(false);
        }
        if producers.has_life() || consumers.has_life() {
            producers.release_all_janitors();
            consumers.release_all_janitors();
            return Ok(false);
        }
        *self.signs.borrow_mut() = signs(self.channel.attached());
        Ok(true)
    }
}

/// A failure is ignored: the error of a participant that is kept out then explains less.
fn signs(attached: &Attached) -> Vec<File> {
    let files =
        [FileRole::Ring, FileRole::Acks].into_iter().filter_map(|which| attached.reopen(which, true).ok());
    let byte = layout::LIFE_LOCK + layout::NAMES_LOCK as u64;
    files.filter(|file| lock::try_lock(file.as_fd(), byte).unwrap_or(false)).collect()
}

/// Keeps everybody out of a channel that is removed, until it is dropped.
pub(super) struct Shut {
    _fence: Option<Fence>,
    _files: Vec<File>,
}

/// Keeps everybody out of a channel that nobody uses; `None` if somebody uses it.
///
/// Files that are no whole channel of this layout have no words that could be trusted. In that case
/// every life byte of them is locked, and a reader's shared lock is in the way.
pub(super) fn shut(base: &Path, channel: &ChannelName, paths: &ChannelPaths) -> Result<Option<Shut>> {
    // Consumers are there if a process was killed while it replaced the channel.
    let old = beside(&paths.acks, OLD);
    let whole = Bus::at(base, channel.bus())?.owned_by(Owner::Anybody).attach(channel.channel());
    let (fence, files) = match whole {
        Ok(whole) => (Some(Fence::open(&whole)?), vec![&old]),
        Err(_) => (None, vec![&paths.ring, &paths.acks, &old]),
    };
    if let Some(fence) = &fence
        && !fence.try_take()?
    {
        return Ok(None);
    }
    let mut shut = Shut { _fence: fence, _files: Vec::new() };
    for path in files {
        match lock_lives(path)? {
            Some(file) => shut._files.extend(file),
            None => return Ok(None),
        }
    }
    Ok(Some(shut))
}

/// Locks every life byte of a file; the outer `None` means that another process has one. A missing
/// file has none.
fn lock_lives(path: &Path) -> Result<Option<Option<File>>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    let file = match descriptor::open(&options, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(None)),
        result => result.map_err(|error| Error::io("open", path, error))?,
    };
    for byte in layout::LIFE_LOCK..layout::LIFE_LOCK + layout::ENTRIES_MAX as u64 {
        if !lock::try_lock(file.as_fd(), byte).map_err(|error| Error::io("lock", path, error))? {
            return Ok(None);
        }
    }
    Ok(Some(Some(file)))
}
