//! The names that a killed replacement of a channel left (`replace.rs`), and how they are cleared
//! away.

use std::path::{Path, PathBuf};

use crate::channel::name::{OLD, beside};
use crate::channel::{ChannelPaths, FileRole};
use crate::error::{Error, Result};
use crate::internal::directory::{read_header, unlink, unlink_data};

/// The mark of a new file's name before it replaces the old file.
pub(super) const NEW: char = '+';

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| Error::io("put in place", to, error))
}

/// Clears away what a killed replacement left, and rolls back what it had not committed. The caller
/// holds the lock of the bus. The channel has no participant, or does not exist.
pub(super) fn tidy(paths: &ChannelPaths) -> Result<()> {
    let (old_acks, old_latency) = (beside(&paths.acks, OLD), beside(&paths.latency, OLD));
    let ring = read_header(&paths.ring, FileRole::Ring).ok();
    let is_current = |path: &Path, role| {
        let found = read_header(path, role).ok();
        (ring.is_some() && found == ring, found.and_then(|header| header.data_path))
    };
    let data = ring.as_ref().and_then(|header| header.data_path.clone());
    // The data file of a file that goes is removed before the name that leads to it.
    let unlink_other = |found: Option<PathBuf>| match found {
        Some(path) if Some(&path) != data.as_ref() => unlink_data(&path),
        _ => Ok(()),
    };
    if is_current(&old_latency, FileRole::Latency).0 {
        rename(&old_latency, &paths.latency)?;
    }
    if is_current(&old_acks, FileRole::Acks).0 {
        // Not committed. The new acks name the new data.
        unlink_other(is_current(&paths.acks, FileRole::Acks).1)?;
        // If the process was killed before the rename, these are two names of one file, and the
        // rename does nothing.
        rename(&old_acks, &paths.acks)?;
    }
    unlink_other(is_current(&old_acks, FileRole::Acks).1)?;
    let new_ring = beside(&paths.ring, NEW);
    unlink_other(is_current(&new_ring, FileRole::Ring).1)?;
    unlink(&new_ring)?;
    unlink(&beside(&paths.latency, NEW))?;
    unlink(&beside(&paths.acks, NEW))?;
    unlink(&old_latency)?;
    unlink(&old_acks)?;
    Ok(())
}

/// Clears away the names that a killed replacement left, before the channel itself is removed. The
/// caller holds the lock of the bus.
pub(crate) fn clear(paths: &ChannelPaths) -> Result<()> {
    let marked = |path: &Path| [beside(path, NEW), beside(path, OLD)].iter().any(|path| path.exists());
    if marked(&paths.acks) || marked(&paths.latency) || marked(&paths.ring) { tidy(paths) } else { Ok(()) }
}
