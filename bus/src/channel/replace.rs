//! Replacing a channel by its next incarnation. At every moment one of the two exists, and is
//! whole.
//!
//! A channel is several files, and a rename replaces one of them. So the old files that are
//! replaced before `.ring` keep a second name for a while. [`attach()`](super::attach()) finds them
//! under it as long as `.ring` is the old one:
//!
//! ```text
//! NAME.acks+ NAME.latency+ NAME.ring+   the new files, complete, and the new data file under its own name
//! NAME.acks~ NAME.latency~              a second name of the old files
//! NAME.acks+ -> NAME.acks               from here on an old .ring goes with NAME.acks~
//! NAME.ring+ -> NAME.ring               the COMMIT: now the new files go together
//! the old data file, NAME.latency~, NAME.acks~ unlinked
//! ```
//!
//! A process that is killed in between leaves names that do no damage. Those with `+` belong to no
//! channel. Those with `~` belong to the old channel, if that is still the current one, and
//! otherwise to none. The next replacement clears them away, and so does removing the channel. All
//! of it happens under the lock of the bus.
//!
//! The caller holds a [`Fence`]. So during the replacement nobody takes part in the old channel, or
//! registers, sweeps or evicts there.

use std::path::Path;

use railbus_os::file_limit;

use super::attach::{Attached, Maps};
use super::create::{Built, Created, build, link};
use super::directory::{BusLock, LOCK_WAIT};
use super::leftovers::{rename, tidy};
use super::name::{OLD, beside};
use super::options::ChannelOptions;
use super::quiet::Fence;
use crate::channel::leftovers::NEW;
use crate::error::{Error, Result};

/// A channel that was built to replace another one.
pub(crate) struct Replacement {
    built: Built,
}

impl Replacement {
    /// Builds the new channel, out of sight. `init` is that of [`create`](super::create()).
    pub(crate) fn build(
        old: &Attached,
        options: &ChannelOptions,
        init: &dyn Fn(&Maps) -> Result<()>,
    ) -> Result<Replacement> {
        let paths = old.name.paths(old.paths.directory.parent().unwrap_or(Path::new(".")));
        let built = file_limit::without_signal(|| build(&old.name, &paths, options, init));
        Ok(Replacement { built: built? })
    }

    /// Puts the new channel in the place of `old`. If it fails, or the process is killed, one of
    /// the two is there.
    pub(crate) fn commit(self, old: &Attached, _fence: &Fence) -> Result<Created> {
        let new = &self.built.created.attached;
        let paths = &new.paths;
        let _lock = BusLock::take(&paths.directory, LOCK_WAIT)?;
        if old.is_removed()? {
            let why = "it was removed, or made anew, meanwhile; attach again";
            return Err(Error::Busy { what: format!("channel {}", old.name), why: why.to_owned() });
        }
        tidy(paths)?;
        let prepared = self.prepare(old);
        if let Err(error) = prepared {
            // As if the process had been killed there: nobody else has the lock.
            let _ = tidy(paths);
            return Err(error);
        }
        // COMMIT.
        rename(&beside(&paths.ring, NEW), &paths.ring)?;
        // The files that are left now do no damage. If they cannot be cleared away, the next
        // replacement tries again.
        let _ = tidy(paths);
        Ok(self.built.created)
    }

    fn prepare(&self, old: &Attached) -> Result<()> {
        let new = &self.built.created.attached;
        let paths = &new.paths;
        link(&new.acks.file, &beside(&paths.acks, NEW))?;
        if let Some(latency) = &self.built.latency {
            link(latency, &beside(&paths.latency, NEW))?;
        }
        link(&new.ring.file, &beside(&paths.ring, NEW))?;
        // Linked after the names that lead to it, so that it never exists without them.
        if let (Some(file), Some(path)) = (&new.data, &new.header.data_path) {
            link(&file.file, path)?;
        }
        link(&old.acks.file, &beside(&paths.acks, OLD))?;
        if self.built.latency.is_some() {
            match std::fs::hard_link(&paths.latency, beside(&paths.latency, OLD)) {
                // Somebody removed it, so nobody measured there.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                result => result.map_err(|error| Error::io("name", &paths.latency, error))?,
            }
            rename(&beside(&paths.latency, NEW), &paths.latency)?;
        }
        rename(&beside(&paths.acks, NEW), &paths.acks)
    }
}
