//! The directory of all journals: who may write there, and the lock that keeps a second daemon out.
//!
//! The daemon often runs as root, and makes and truncates files below this directory. So no other
//! user may be able to put anything there: the directory belongs to the daemon's user or to root,
//! and is not writable for all. The lock's file is never opened through a link, and only its
//! owner may open it, because a shared lock of any user who may read it would keep the daemon out.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use railbus::Error;
use railbus_os::{act_as, lock};

use crate::failure::Failure;

const LOCK_NAME: &str = ".journald";

/// Makes the directory if it does not exist, and takes its lock for as long as the file is open.
/// Tries for a second, because a daemon that was killed keeps its lock for a moment.
pub(super) fn lock(journal: &Path) -> Result<File, Failure> {
    let make = DirBuilder::new().recursive(true).mode(0o750).create(journal);
    make.map_err(|error| Error::io("make the directory", journal, error))?;
    check(journal)?;
    let path = journal.join(LOCK_NAME);
    let failed = |action, error| Error::io(action, &path, error);
    let mut options = OpenOptions::new();
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let mut file = options.open(&path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => refused(&path, "it is a symbolic link, which might lead anywhere; remove it"),
        _ => failed("open", error),
    })?;
    let about = file.metadata().map_err(|error| failed("examine", error))?;
    if !about.is_file() || about.nlink() != 1 || about.uid() != act_as::user() {
        let why = "it is not a plain file of this user with one name; remove it";
        return Err(refused(&path, why).into());
    }
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|error| failed("set the mode of", error))?;
    for try_ in 0..100 {
        if lock::try_lock(file.as_fd(), 0).map_err(|error| failed("lock", error))? {
            // The text only names the holder, for people; a full disk may refuse it.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            return Ok(file);
        }
        if try_ < 99 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let mut holder = String::new();
    let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut holder);
    let error = Error::Busy {
        what: format!("the journal directory {}", journal.display()),
        why: format!("process {} records to it: one daemon for one directory", holder.trim()),
    };
    Err(error.into())
}

/// Refuses a directory where another user could put files or links.
fn check(journal: &Path) -> Result<(), Failure> {
    let about = std::fs::metadata(journal).map_err(|error| Error::io("examine", journal, error))?;
    if about.uid() != act_as::user() && about.uid() != 0 {
        let why = format!(
            "it belongs to user {}, who could make this process, of user {}, write elsewhere; give it to the user who \
             records, with `chown`, or run as its owner",
            about.uid(),
            act_as::user()
        );
        return Err(refused(journal, &why).into());
    }
    if about.mode() & 0o002 != 0 {
        let why =
            "every user may write there; take that right away with `chmod o-w`, or name another directory";
        return Err(refused(journal, why).into());
    }
    Ok(())
}

fn refused(path: &Path, why: &str) -> Error {
    Error::NotAllowed { action: "keep journals with", path: path.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(journal: &Path) -> String {
        match lock(journal) {
            Ok(_) => String::new(),
            Err(Failure::Told { text, .. }) => text,
            Err(_) => panic!("another failure"),
        }
    }

    #[test]
    fn the_lock_is_not_taken_through_a_link_and_nothing_is_truncated() {
        let base = tempfile::tempdir().expect("a directory");
        let (journal, precious) = (base.path().join("journal"), base.path().join("precious"));
        std::fs::create_dir(&journal).expect("a directory");
        std::fs::write(&precious, b"keep").expect("a file");
        std::os::unix::fs::symlink(&precious, journal.join(LOCK_NAME)).expect("a link");
        assert!(text(&journal).contains("symbolic link"));
        std::fs::remove_file(journal.join(LOCK_NAME)).expect("it is there");
        std::fs::hard_link(&precious, journal.join(LOCK_NAME)).expect("a link");
        assert!(text(&journal).contains("one name"));
        assert_eq!(std::fs::read(&precious).expect("it is there"), b"keep");
    }

    #[test]
    fn only_its_owner_may_open_the_lock_and_a_directory_open_to_all_is_refused() {
        let base = tempfile::tempdir().expect("a directory");
        let journal = base.path().join("journal");
        std::fs::create_dir(&journal).expect("a directory");
        std::fs::write(journal.join(LOCK_NAME), b"77").expect("a file of an older version");
        let held = lock(&journal).expect("the lock is free");
        assert_eq!(held.metadata().expect("it is open").mode() & 0o777, 0o600);
        assert!(text(&journal).contains(&format!("process {}", std::process::id())), "who holds it is named");
        drop(held);
        std::fs::set_permissions(&journal, Permissions::from_mode(0o1777)).expect("it is ours");
        assert!(text(&journal).contains("chmod o-w"));
    }
}
