//! Attaching to a channel that is not there yet.
//!
//! The channel's maker links `.ring` last, so a name that is there is a whole channel. This process
//! watches the directory of the bus, or the nearest one above that exists, and then looks: a name
//! that appears between the two wakes the watch.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use railbus_os::directory_watch::DirectoryWatch;

use crate::channel::bus::Bus;
use crate::channel::directory::nearest_directory;
use crate::channel::open::Channel;
use crate::error::{Error, Result};

/// The longest time between two looks although nothing was reported: a directory above the watched
/// one may have been renamed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time between two looks if the directory cannot be watched.
const LOOK_UNWATCHED: Duration = Duration::from_millis(10);

impl Bus {
    /// Attaches to a channel as [`Self::attach`] does. If there is no such channel, waits at most
    /// `timeout` for another process to make it: [`Duration::MAX`] waits without end, zero does not
    /// wait. The bus, and the directory of all buses, need not exist either.
    ///
    /// The wait sleeps, and uses an inotify instance. Without one (a user has 128 by default, and
    /// the directory must be readable) it looks every 10 ms.
    ///
    /// # Errors
    /// Those of [`Self::attach`] but for [`Error::NotFound`]; [`Error::TimedOut`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Error, Kind};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use std::time::Duration;
    ///
    /// let soon = Duration::from_millis(5);
    /// assert!(matches!(bus.attach_timeout("ticks", soon), Err(Error::TimedOut { .. })));
    /// # let maker = bus.clone();
    /// std::thread::spawn(move || maker.create("ticks", &ChannelOptions::new(Kind::Stream)));
    /// let ticks = bus.attach_timeout("ticks", Duration::MAX)?;
    /// # assert_eq!(ticks.header().kind, Kind::Stream);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach_timeout(&self, name: &str, timeout: Duration) -> Result<Channel> {
        let begun = Instant::now();
        let directory = self.base().join(self.name());
        loop {
            let watch = watch(&directory);
            match self.attach(name) {
                Err(Error::NotFound { .. }) => {}
                found => return found,
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let what = format!("channel {}/{name} to be made", self.name());
                return Err(Error::TimedOut { what, after_ms: timeout.as_millis() as u64 });
            }
            match watch.and_then(|watch| watch.wait(left.min(LOOK_EVERY)).ok()) {
                Some(()) => {}
                None => std::thread::sleep(left.min(LOOK_UNWATCHED)),
            }
        }
    }
}

/// A watch of the directory, or of the nearest one above it that exists. `None` if it cannot be
/// watched.
fn watch(directory: &Path) -> Option<DirectoryWatch> {
    // A directory that appears before its parent is watched does not wake. So it is looked for again.
    let mut nearest: PathBuf = nearest_directory(directory);
    loop {
        let watch = DirectoryWatch::of(&nearest).ok()?;
        let now = nearest_directory(directory);
        if now == nearest {
            return Some(watch);
        }
        nearest = now;
    }
}
