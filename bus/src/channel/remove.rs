//! Removing channels: one by its name, or all channels of a bus that nobody uses.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use railbus_os::{descriptor, file_limit};
use railbus_ring::layout::{self, HEADER_BYTES};

use super::directory::{LOCK_NAME, is_unused, with_suffix};
use super::quiet;
use crate::channel::directory::{BusLock, LOCK_WAIT, not_found};

#[cfg(feature = "journal")]
use crate::channel::journal_status::note_removal;
use crate::channel::{ChannelName, ChannelPaths, FileRole, leftovers};
use crate::error::{Error, Result};
use crate::internal::directory::{read_header, unlink, unlink_data};

/// Removes a channel. Attached participants keep their memory, and can read what is left in it.
/// They find out about the removal by [`SendError::Removed`](crate::SendError::Removed) and
/// [`RecvError::Removed`](crate::RecvError::Removed). Waits for the lock of the bus, at most
/// [`LOCK_WAIT`].
///
/// # Errors
/// [`Error::NotFound`] if there is no such bus or channel; [`Error::NotAllowed`];
/// [`Error::TimedOut`] waiting for the lock; [`Error::Invalid`] if the bus is a symbolic link;
/// [`Error::Io`].
pub fn remove(base: &Path, channel: &ChannelName) -> Result<()> {
    let paths = channel.paths(base);
    if !paths.directory.is_dir() {
        return Err(Error::NotFound { what: format!("bus {}", channel.bus()), path: paths.directory });
    }
    let _lock = BusLock::take(&paths.directory, LOCK_WAIT)?;
    if remove_locked(&paths)? { Ok(()) } else { Err(not_found(channel, paths)) }
}

/// Removes the files of a channel, `.ring` first. Returns whether there were any.
fn remove_locked(paths: &ChannelPaths) -> Result<bool> {
    file_limit::without_signal(|| remove_quietly(paths))
}

fn remove_quietly(paths: &ChannelPaths) -> Result<bool> {
    leftovers::clear(paths)?;
    let data = [(&paths.ring, FileRole::Ring), (&paths.acks, FileRole::Acks)]
        .into_iter()
        .find_map(|(path, role)| read_header(path, role).ok()?.data_path);
    let acks_file = open_to_mark(&paths.acks);
    let ring = unlink(&paths.ring)?;
    if let Some(file) = acks_file {
        mark_removed(&file);
    }
    if let Some(data) = data {
        unlink_data(&data)?;
    }
    if ring {
        #[cfg(feature = "journal")]
        note_removal(paths);
    }
    unlink(&paths.journal)?;
    unlink(&paths.stage)?;
    unlink(&paths.latency)?;
    let acks = unlink(&paths.acks)?;
    Ok(ring || acks)
}

fn open_to_mark(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    descriptor::open(&options, path).ok().filter(|file| file.metadata().is_ok_and(|about| about.is_file()))
}

/// Marks the channel as removed for attached publishers, which load this word after each event. If
/// it cannot be written, or a sleeper changes it at the same moment, they find out a little later
/// by themselves, so an error is ignored. The file is not mapped for this, because its owner may
/// truncate it.
fn mark_removed(file: &File) {
    let at = (HEADER_BYTES + layout::CONSUMERS_PARKED) as u64;
    let mut word = [0; 8];
    if file.read_exact_at(&mut word, at).is_ok() {
        let marked = u64::from_le_bytes(word) | layout::REMOVED_MARK;
        let _ = file.write_all_at(&marked.to_le_bytes(), at);
    }
}

/// Removes what a dead creator or remover left of a channel. The lock is held and there is no
/// `.ring`.
pub(crate) fn clear_half_made(paths: &ChannelPaths, _lock: &BusLock) -> Result<()> {
    remove_locked(paths).map(|_| ())
}

/// The result of [`prune`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// Channels that were removed, and unfinished ones that were cleared away.
    pub removed: Vec<ChannelName>,
    /// Channels that are in use.
    pub in_use: Vec<ChannelName>,
    /// Channels that could not be examined or removed, and the reason.
    pub failed: Vec<(ChannelName, Error)>,
    /// Whether the bus itself was empty at the end, and was removed.
    pub bus_removed: bool,
}

/// Removes the channels of a bus that nobody uses, what dead creators left, and the bus if it is
/// empty at the end. Waits for the lock of the bus, at most [`LOCK_WAIT`].
///
/// A participant lives as long as its byte of `.ring` or `.acks` is locked. Nobody can register in
/// a channel while it is removed here. This needs the right to write both files. `in_use` is called
/// with the path of each of the two files; a channel is kept if it returns true.
///
/// # Errors
/// [`Error::NotFound`] if there is no such bus; [`Error::NotAllowed`]; [`Error::TimedOut`] waiting
/// for the lock; [`Error::Invalid`]; [`Error::Io`]. Errors with one channel are in
/// [`Pruned::failed`].
pub fn prune(base: &Path, bus: &str, in_use: impl Fn(&Path) -> bool) -> Result<Pruned> {
    let mut names = with_suffix(base, bus, ".ring")?;
    names.extend(with_suffix(base, bus, ".acks")?);
    names.sort();
    names.dedup();
    let directory = base.join(bus);
    let mut pruned = Pruned::default();
    let held = BusLock::take(&directory, LOCK_WAIT)?;
    for channel in names.into_iter().filter_map(|name| ChannelName::new(bus, name).ok()) {
        let paths = channel.paths(base);
        let outcome = quiet::shut(base, &channel, &paths).and_then(|shut| match shut {
            Some(_) if in_use(&paths.ring) || in_use(&paths.acks) => Ok(None),
            Some(_) => remove_locked(&paths).map(Some),
            None => Ok(None),
        });
        match outcome {
            Ok(Some(true)) => pruned.removed.push(channel),
            Ok(Some(false)) => {}
            Ok(None) => pruned.in_use.push(channel),
            Err(error) => pruned.failed.push((channel, error)),
        }
    }
    // Others that wait for the lock notice that its file is gone, and make the bus again.
    if is_unused(&directory) && unlink(&directory.join(LOCK_NAME)).is_ok() {
        pruned.bus_removed = std::fs::remove_dir(&directory).is_ok();
    }
    drop(held);
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::directory::{list_buses, make_bus};

    #[test]
    fn an_empty_bus_is_removed() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let root = tempfile::Builder::new().prefix("railbus-directory-").tempdir_in("/dev/shm")?;
        make_bus(root.path(), "two")?;
        make_bus(root.path(), "one")?;
        assert!(prune(root.path(), "one", |_| false)?.bus_removed);
        assert_eq!(list_buses(root.path())?, ["two"]);
        Ok(())
    }
}
