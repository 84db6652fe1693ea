//! Waiting until names appear in a directory, or the directory goes away: inotify.
//!
//! A watch only says that it is time to look again. It may wake for other names, and a caller that
//! looks after it has begun to watch misses nothing.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::descriptor;

/// A watch of one directory at a time. Closed on drop.
#[derive(Debug)]
pub struct DirectoryWatch {
    inotify: Inotify,
}

impl DirectoryWatch {
    /// Watches `directory`. Two system calls.
    ///
    /// # Errors
    /// Those of `inotify_init1(2)` and `inotify_add_watch(2)`: EMFILE when the user has no inotify
    /// instances left, ENOENT, EACCES when the directory may not be read.
    pub fn of(directory: &Path) -> io::Result<DirectoryWatch> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = descriptor::made_above_standard(|| Ok(Inotify::init(flags)?))?;
        let what = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(directory, what)?;
        Ok(DirectoryWatch { inotify })
    }

    /// Waits at most `time`, and at most a minute, until something has happened since the last wait.
    /// Returns early at a signal.
    pub fn wait(&self, time: Duration) -> io::Result<()> {
        // Rounded up, so that a short wait is one.
        let time_ms = time.as_nanos().div_ceil(1_000_000).min(60_000) as u16;
        let mut waits = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waits, PollTimeout::from(time_ms)) {
            Ok(0) | Err(Errno::EINTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match self.inotify.read_events() {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_name_that_appears_wakes() {
        let directory = tempfile::tempdir().expect("a directory");
        let watch = DirectoryWatch::of(directory.path()).expect("a watch");
        watch.wait(Duration::from_millis(1)).expect("nothing has happened");
        std::thread::scope(|scope| {
            scope.spawn(|| std::fs::write(directory.path().join("name"), "").expect("written"));
            // Were it not woken, it would return after a minute, and the test would be cut off.
            let begun = Instant::now();
            watch.wait(Duration::from_secs(60)).expect("woken");
            assert!(begun.elapsed() < Duration::from_secs(50));
        });
    }

    #[test]
    fn a_directory_that_goes_away_wakes_and_one_that_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let watch = DirectoryWatch::of(directory.path()).expect("a watch");
        let path = directory.path().to_owned();
        drop(directory);
        watch.wait(Duration::from_secs(60)).expect("woken");
        let error = DirectoryWatch::of(&path).expect_err("it is gone");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
