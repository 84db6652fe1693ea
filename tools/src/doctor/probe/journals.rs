//! The owners of the journals, and who may open them.
//!
//! Journals belong to the user who records them, who is the owner of their directory. No other user
//! writes there, and only users who may read all events read there. A journal of another user stops
//! its channel: often a daemon ran as root once, and as a service user later.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most files that are looked at: the doctor does not walk a directory without end.
const ENTRIES_MAX: usize = 100_000;
/// The locks of the directory of all journals and of a journal.
const LOCKS: [&str; 2] = [".journald", "lock"];

/// A faulty entry below the directory of all journals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wrong {
    /// Its fault.
    pub(crate) why: Why,
    /// The file or directory.
    pub(crate) path: PathBuf,
    /// The command that corrects it.
    pub(crate) command: String,
}

/// The fault of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It belongs to another user than the directory of all journals.
    OfAnotherUser,
    /// Others may write there.
    Writable,
    /// Every user may read it.
    Readable,
    /// Users other than its owner may open the lock, and so keep the journaller out.
    OpenLock,
}

impl Why {
    /// The fault in words, for several of them.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Why::OfAnotherUser => "of another user than the directory's",
            Why::Writable => "that others may write",
            Why::Readable => "that every user may read, with all their events",
            Why::OpenLock => "whose lock others may open, who can keep the journaller out by that",
        }
    }
}

/// All faults below `journal`, the directory of all journals, the directory itself included.
/// Nothing if it does not exist.
pub(crate) fn wrongs(journal: &Path) -> Result<Vec<Wrong>, String> {
    let about = match fs::metadata(journal) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", journal.display())),
    };
    let mut found = judge(journal, &about, about.uid());
    // The directory itself may belong to root; then root decides who records there.
    let owner = about.uid();
    let mut left = vec![journal.to_owned()];
    let mut seen = 0;
    while let Some(directory) = left.pop() {
        let entries =
            fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        for entry in entries.flatten() {
            seen += 1;
            if seen > ENTRIES_MAX {
                return Err(format!("{} holds more than {ENTRIES_MAX} files", journal.display()));
            }
            // Not through a link; an entry that has just been removed does not matter.
            let Ok(about) = entry.metadata() else { continue };
            let path = entry.path();
            found.extend(judge(&path, &about, owner));
            if about.is_dir() {
                left.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The faults of one file or directory, if `owner` records.
fn judge(path: &Path, about: &Metadata, owner: u32) -> Vec<Wrong> {
    let (mode, shown) = (about.mode(), path.display());
    let is_lock = path.file_name().is_some_and(|name| LOCKS.iter().any(|lock| *lock == name));
    let mut found = Vec::new();
    let mut add = |why, command| found.push(Wrong { why, path: path.to_owned(), command });
    if about.uid() != owner {
        add(Why::OfAnotherUser, format!("chown {owner} '{shown}'"));
    }
    if about.is_symlink() {
        return found; // Its mode says nothing.
    }
    if is_lock && mode & 0o077 != 0 {
        add(Why::OpenLock, format!("chmod 600 '{shown}'"));
    } else if mode & 0o022 != 0 {
        add(Why::Writable, format!("chmod go-w '{shown}'"));
    }
    // Files below a closed directory are closed, too: only directories are checked.
    if about.is_dir() && mode & 0o004 != 0 {
        add(Why::Readable, format!("chmod o-rwx '{shown}'"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn what_is_wrong_with_journals_is_named_with_the_command_that_mends_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = directory.path().join("journal");
        let channel = journal.join("demo/ticks");
        assert_eq!(wrongs(&journal), Ok(Vec::new()), "it is not there yet");
        fs::create_dir_all(&channel).expect("directories");
        let files = [journal.join(".journald"), channel.join("lock"), channel.join("1.seg")];
        for path in [&journal, &journal.join("demo"), &channel] {
            chmod(path, 0o750);
        }
        for file in &files {
            fs::write(file, "").expect("a file");
            chmod(file, 0o600);
        }
        assert_eq!(wrongs(&journal), Ok(Vec::new()));

        chmod(&files[1], 0o644);
        chmod(&files[2], 0o664);
        chmod(&journal.join("demo"), 0o755);
        let found = wrongs(&journal).expect("it can be read");
        let why: Vec<Why> = found.iter().map(|wrong| wrong.why).collect();
        assert_eq!(why, [Why::Writable, Why::Readable, Why::OpenLock], "{found:?}");
        assert!(found[2].command.starts_with("chmod 600 '") && found[2].path == files[1], "{found:?}");

        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&channel, Some(65534), None).expect("root may");
            let found = wrongs(&journal).expect("it can be read");
            assert_eq!((found[0].why, &found[0].path), (Why::OfAnotherUser, &channel));
            assert!(found[0].command.starts_with("chown 0 '"), "{found:?}");
        }
    }
}
