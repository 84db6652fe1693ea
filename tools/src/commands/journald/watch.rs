//! Notices that a bus directory has changed: a channel was made, or removed.
//!
//! Names appear and disappear in directories, and the directories' modification times show it.
//! Reading them costs a system call for each bus, some twenty times a second.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use railbus::admin::{list_buses, list_channels};
use railbus::{Bus, ChannelName, Kind, Owner, Result};

/// Everything is looked through this often, even without a change.
const ANYWAY: Duration = Duration::from_secs(2);

/// Whether the channel is a table, which has no events to record.
pub(crate) fn is_table(base: &Path, name: &ChannelName) -> bool {
    let channel =
        Bus::at(base, name.bus()).and_then(|bus| bus.owned_by(Owner::Anybody).attach(name.channel()));
    channel.is_ok_and(|channel| channel.header().kind == Kind::Table)
}

/// The directories at the last look.
#[derive(Debug)]
pub(crate) struct Watch {
    base: PathBuf,
    seen: Vec<(PathBuf, i64, i64, u64)>,
    when: Instant,
}

impl Watch {
    /// Nothing is known yet.
    pub(crate) fn new(base: &Path) -> Watch {
        Watch { base: base.to_owned(), seen: Vec::new(), when: Instant::now() }
    }

    fn look(&self) -> Vec<(PathBuf, i64, i64, u64)> {
        let mut paths = vec![self.base.clone()];
        // A base directory that cannot be listed has no buses to watch.
        paths.extend(list_buses(&self.base).unwrap_or_default().iter().map(|bus| self.base.join(bus)));
        let stamp = |path: PathBuf| {
            let about = std::fs::metadata(&path).ok()?;
            Some((path, about.mtime(), about.mtime_nsec(), about.ino()))
        };
        paths.into_iter().filter_map(stamp).collect()
    }

    /// Remembers the current state. Call it before looking through everything.
    pub(crate) fn note(&mut self) {
        self.seen = self.look();
        self.when = Instant::now();
    }

    /// Forgets the last state: everything is looked through at the next look.
    pub(crate) fn look_again(&mut self) {
        self.seen.clear();
    }

    /// Whether anything has changed since.
    pub(crate) fn has_changed(&self) -> bool {
        self.when.elapsed() >= ANYWAY || self.look() != self.seen
    }

    /// The channels of the buses that are wanted.
    pub(crate) fn channels(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<ChannelName> {
        let buses = list_buses(&self.base).unwrap_or_default();
        let channels = |bus: &String| -> Result<Vec<ChannelName>> { list_channels(&self.base, bus) };
        // A bus that disappears in the meantime has no channels.
        buses.iter().filter(|bus| is_wanted(bus)).flat_map(|bus| channels(bus).unwrap_or_default()).collect()
    }
}
