//! The wishes of journallers: which channels they want to record from the first event on.
//!
//! A journaller that records by pattern would notice a new channel some milliseconds after its
//! first events. So it writes in the base directory what it records. A process that makes a
//! matching channel makes it with the journaller's subscription, and the ring then holds every
//! event until the journaller has it. A journaller that ends in an orderly way removes its file,
//! because nobody would drain the rings of new channels. The file of one that was killed stays,
//! because it is started again.
//!
//! ```text
//! $RAILBUS_DIR/.journaled-UID-HASH      HASH is of the journal's directory
//!
//! journal /var/lib/railbus/journal      for people
//! record demo/*                         channels that are recorded
//! lossy demo/prices                     among them, whose journal holds nobody; later lines win
//! gating demo/prices2
//! ```
//!
//! The base directory is open to every user. So a file counts only if nobody else could have
//! written it: it belongs to root, to this user, to one whom this process trusts, or to the owner
//! of the base directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use railbus_os::act_as;
use railbus_ring::layout;

use crate::channel::pattern::Pattern;
use crate::channel::{ChannelName, Owner};
use crate::error::{Error, Result};

const PREFIX: &str = ".journaled-";
/// The most bytes that are read of a file.
const BYTES_MAX: u64 = 64 << 10;

/// One line of a journaller's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Matching channels are recorded.
    Record(Pattern),
    /// The journal of matching channels holds publishers back rather than miss an event. This is
    /// the default.
    Gating(Pattern),
    /// The journal of matching channels holds nobody back.
    Lossy(Pattern),
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wish::Record(pattern) => write!(f, "record {pattern}"),
            Wish::Gating(pattern) => write!(f, "gating {pattern}"),
            Wish::Lossy(pattern) => write!(f, "lossy {pattern}"),
        }
    }
}

/// A line that is not understood comes from a newer version, and asks for nothing.
fn parse(line: &str) -> Option<Wish> {
    let (word, pattern) = line.split_once(' ')?;
    let pattern = pattern.parse().ok()?;
    match word {
        "record" => Some(Wish::Record(pattern)),
        "gating" => Some(Wish::Gating(pattern)),
        "lossy" => Some(Wish::Lossy(pattern)),
        _ => None,
    }
}

fn path_of(base: &Path, journal: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let hash = layout::fnv1a(journal.as_os_str().as_bytes());
    base.join(format!("{PREFIX}{}-{hash:016x}", act_as::user()))
}

/// Writes in the base directory `base` what the journaller of the directory `journal` records. It
/// replaces what that journaller announced before.
///
/// # Errors
/// [`Error::NotFound`] without a base directory; [`Error::NotAllowed`]; [`Error::NoSpace`];
/// [`Error::Io`]. After an error, channels are recorded from the moment when they are noticed.
pub fn announce(base: &Path, journal: &Path, wishes: &[Wish]) -> Result<()> {
    let journal = std::path::absolute(journal).map_err(|error| Error::io("find", journal, error))?;
    let path = path_of(base, &journal);
    let failed = |error| Error::io("write", &path, error);
    let mut text = format!("journal {}\n", journal.display());
    for wish in wishes {
        text.push_str(&format!("{wish}\n"));
    }
    let new = path.with_extension("new");
    // A file or link that another user put in its place is not followed, and not used.
    let _ = std::fs::remove_file(&new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let mut file = options.open(&new).map_err(failed)?;
    // Whatever the umask is: every process that makes channels reads the file.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    std::fs::rename(&new, &path).map_err(failed)
}

/// Removes what the journaller of the directory `journal` has announced in `base`. Channels that
/// are made from now on are made without its subscription. It is no error if nothing was announced.
///
/// # Errors
/// [`Error::NotAllowed`]; [`Error::Io`].
pub fn retract(base: &Path, journal: &Path) -> Result<()> {
    let journal = std::path::absolute(journal).map_err(|error| Error::io("find", journal, error))?;
    let path = path_of(base, &journal);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path, error)),
        _ => Ok(()),
    }
}

/// Whether a channel that is made now gets the journaller's subscription.
pub(crate) fn is_wanted(base: &Path, name: &ChannelName, owner: Owner) -> bool {
    let Ok(entries) = std::fs::read_dir(base) else { return false };
    let base_owner = std::fs::metadata(base).map_or(0, |about| about.uid());
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)))
        .filter_map(|entry| read(&entry.path(), base_owner, owner))
        .any(|text| wants(&text, name))
}

fn wants(text: &str, name: &ChannelName) -> bool {
    let (mut recorded, mut lossy) = (false, false);
    for wish in text.lines().filter_map(parse) {
        match wish {
            Wish::Record(pattern) => recorded |= pattern.fits(name),
            Wish::Gating(pattern) if pattern.fits(name) => lossy = false,
            Wish::Lossy(pattern) if pattern.fits(name) => lossy = true,
            Wish::Gating(_) | Wish::Lossy(_) => {}
        }
    }
    recorded && !lossy
}

/// The text of a file that nobody else could have written.
fn read(path: &Path, base_owner: u32, owner: Owner) -> Option<String> {
    if path.extension().is_some() {
        return None; // It is not complete.
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    let file: File = options.open(path).ok()?;
    let about = file.metadata().ok()?;
    let is_trusted = owner.admits(about.uid()) || about.uid() == base_owner;
    if !is_trusted || !about.is_file() || about.mode() & 0o022 != 0 || about.len() > BYTES_MAX {
        return None;
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_about_a_channel_wins_and_only_recorded_ones_count() {
        let text =
            "journal /j\nrecord demo/*\nsomething new\nlossy demo/p*\ngating demo/prices\ngating other/x\n";
        let name = |text: &str| text.parse::<ChannelName>().unwrap();
        assert!(wants(text, &name("demo/ticks")) && wants(text, &name("demo/prices")));
        assert!(!wants(text, &name("demo/p")) && !wants(text, &name("other/x")));
    }

    #[test]
    fn what_others_could_have_written_asks_for_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let (journal, name) = (Path::new("/j"), "demo/ticks".parse().unwrap());
        let wanted = || is_wanted(base.path(), &name, Owner::SelfOrRoot);
        assert!(!wanted());
        announce(base.path(), journal, &[Wish::Record("demo/*".parse().unwrap())]).unwrap();
        assert!(wanted());
        let path = path_of(base.path(), journal);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        assert!(!wanted(), "every user may write it");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(base.path().join("elsewhere"), "record demo/*\n").unwrap();
        std::os::unix::fs::symlink(base.path().join("elsewhere"), &path).unwrap();
        assert!(!wanted(), "a link leads anywhere");
        announce(base.path(), journal, &[Wish::Record("other/*".parse().unwrap())]).unwrap();
        assert!(!wanted(), "it records others now");
        announce(base.path(), journal, &[Wish::Record("demo/*".parse().unwrap())]).unwrap();
        assert!(wanted());
        retract(base.path(), journal).unwrap();
        assert!(!wanted(), "it was taken back");
        retract(base.path(), journal).unwrap();
    }
}
