//! A journal directory on a real file system: [`Store`], and the names of everything in it.
//!
//! ```text
//! lock                      the writer holds its lock (lock.rs)
//! 00000000000000000001.seg  a segment: zero-filled or recycled, its headers durable before it has this name
//! 00000000000000000001.idx  its index: it can always be made again, and is removed with the segment
//! spare-zeroing-N.tmp       is being filled with zeros; after a kill, the next writer removes it
//! spare-used-N.tmp          a retired segment: its blocks are allocated and written, which saves the zeros
//! quarantine/               segments that were moved out of the journal
//! ```
//!
//! The directory is held open, and everything in it is opened relative to it. So it may be renamed
//! while readers and a writer use it. [`Store`] reads and writes through the page cache; the
//! pipelines write with O_DIRECT where they can.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use railbus_os::descriptor::above_standard;
use railbus_os::{Error, Result};

use crate::disk::lock::{self, Lock};
use crate::disk::store::Store;
use crate::shortage::Shortage;

/// Name of the directory for segments that were moved out of the journal.
pub const QUARANTINE: &str = "quarantine";
const SEGMENT_SUFFIX: &str = ".seg";
const ZEROING_PREFIX: &str = "spare-zeroing-";
const USED_PREFIX: &str = "spare-used-";
const SPARE_SUFFIX: &str = ".tmp";
/// Most retired segments that are kept for another use; further ones are removed.
pub const RETIRED_MAX: usize = 2;

/// Returns the name of a segment's file.
pub fn segment_name(segment: u64) -> String {
    format!("{segment:020}{SEGMENT_SUFFIX}")
}

/// Returns the name of a segment's index.
pub fn index_name(segment: u64) -> String {
    format!("{segment:020}.idx")
}

/// Returns the number in a segment file's name, or `None` for any other name.
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&number| all_digits && number > 0)
}

/// Returns the directories above `path` that are in its file system, the nearest first.
fn parents_of(path: &Path) -> Vec<PathBuf> {
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev()).ok();
    let own = device(path);
    path.ancestors().skip(1).take_while(|parent| device(parent) == own).map(Path::to_owned).collect()
}

/// Syncs a directory, once in the life of this process. Later names in it are synced where they are
/// made.
fn sync_once(directory: &Path) -> io::Result<()> {
    static SYNCED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let synced = || SYNCED.lock().unwrap_or_else(PoisonError::into_inner);
    if synced().contains(directory) {
        return Ok(());
    }
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        // A directory that this process may not read was not made by it.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    synced().insert(directory.to_owned());
    Ok(())
}

/// An open journal directory.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    pub(super) directory: File,
    /// The segment that was read last. Recovery and readers read segments one after the other.
    last_read: Mutex<Option<(u64, Arc<File>)>>,
}

impl Files {
    /// Opens a directory that exists. This needs only the right to read it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotAllowed`], [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Files> {
        let path = path.into();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match openat(AT_FDCWD, &path, flags, Mode::empty()) {
            Ok(fd) => {
                let directory = above_standard(File::from(fd));
                let directory = directory.map_err(|error| Error::io("open", &path, error))?;
                Ok(Files { path, directory, last_read: Mutex::new(None) })
            }
            Err(Errno::ENOENT) => Err(Error::NotFound { what: "the journal".into(), path }),
            Err(error) => Err(Error::io("open", path, error.into())),
        }
    }

    /// Opens a directory, and makes it and those above it if they do not exist. A directory that
    /// was made is durable on return.
    ///
    /// # Errors
    /// [`Error::NotAllowed`], [`Error::NoSpace`], [`Error::Io`].
    pub fn create(path: impl Into<PathBuf>) -> Result<Files> {
        let path = path.into();
        let failed = |at: &Path, error| Error::io("make", at, error);
        let absolute = std::path::absolute(&path).map_err(|error| failed(&path, error))?;
        let missing: Vec<&Path> = absolute.ancestors().take_while(|path| !path.exists()).collect();
        for directory in missing.iter().rev() {
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed(directory, error));
                }
                _ => {}
            }
            if let Some(parent) = directory.parent() {
                let synced = File::open(parent).and_then(|parent| parent.sync_all());
                synced.map_err(|error| failed(parent, error))?;
            }
        }
        // Another process may have made those above, and may have been killed before it synced
        // them.
        for parent in parents_of(&absolute) {
            sync_once(&parent).map_err(|error| failed(&parent, error))?;
        }
        Files::open(path)
    }

    /// The path of the directory when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the writer's lock, and waits at most `patience` for it ([`lock::PATIENCE`] is enough
    /// for the lock of a writer that was killed). Then it removes what a killed writer left
    /// half-made.
    ///
    /// # Errors
    /// [`Error::Busy`] names the process that holds the lock. [`Error::Invalid`] where the file
    /// system does not enforce locks. [`Error::NotAllowed`] and [`Error::Io`] when the files cannot
    /// be changed.
    pub fn lock(&self, patience: Duration) -> Result<Lock> {
        let lock = Lock::take(self.directory.as_fd(), &self.path, patience)?;
        self.remove_half_made().map_err(|error| Error::io("tidy up", &self.path, error))?;
        Ok(lock)
    }

    /// Describes the process that holds the writer's lock; `None` when no process does. Needs no
    /// right to write.
    ///
    /// # Errors
    /// The error of the lock's file.
    pub fn writer(&self) -> io::Result<Option<String>> {
        lock::holder(self.directory.as_fd())
    }

    /// Takes a segment out of the journal, and keeps its file for `prepare` to use again. It
    /// removes the file instead if there are [`RETIRED_MAX`] already, or if the file has holes. A
    /// reader that has the file open sees foreign blocks when it is used again, and recognises them
    /// by the segment's id.
    ///
    /// `wanted_bytes` is the size of future segments. A file of another size, such as the small
    /// first segments of a writer, is removed.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn retire(&self, segment: u64, wanted_bytes: u64) -> io::Result<()> {
        let kept = self.names()?.iter().filter(|name| spare_number(name, USED_PREFIX).is_some()).count();
        let metadata = self.open_at(&segment_name(segment), OFlag::O_RDONLY)?.metadata()?;
        let is_wanted = metadata.len() == wanted_bytes && metadata.blocks() * 512 >= metadata.len();
        if kept >= RETIRED_MAX || !is_wanted {
            return self.remove(segment);
        }
        let spare = format!("{USED_PREFIX}{segment}{SPARE_SUFFIX}");
        self.forget(segment);
        self.rename(&segment_name(segment), &spare)?;
        self.unlink_if_there(&index_name(segment))?;
        self.sync_directory()
    }

    /// Opens a segment for writing. `direct` bypasses the page cache.
    pub(crate) fn open_for_writing(&self, segment: u64, direct: bool) -> io::Result<File> {
        self.open_at(&segment_name(segment), writing(direct))
    }

    /// Returns a retired segment file of exactly `bytes`, if there is one.
    pub(crate) fn used_spare(&self, bytes: u64, direct: bool) -> io::Result<Option<(String, File)>> {
        for name in self.names()?.into_iter().filter(|name| spare_number(name, USED_PREFIX).is_some()) {
            let file = match self.open_at(&name, writing(direct)) {
                // The name is not a file of the journal, or its file has just gone: it is no spare.
                Err(error) if Shortage::of(&error).is_none() => continue,
                file => file?,
            };
            if file.metadata()?.len() == bytes {
                return Ok(Some((name, file)));
            }
        }
        Ok(None)
    }

    /// Creates a new, empty file to be filled with zeros.
    pub(crate) fn new_spare(&self, segment: u64, direct: bool) -> io::Result<(String, File)> {
        let name = format!("{ZEROING_PREFIX}{segment}{SPARE_SUFFIX}");
        self.unlink_if_there(&name)?;
        let file = self.open_at(&name, writing(direct) | OFlag::O_CREAT | OFlag::O_EXCL)?;
        Ok((name, file))
    }

    /// Gives the name of a segment to a spare whose bytes are durable. The name is durable on
    /// return.
    pub(crate) fn adopt_spare(&self, spare: &str, segment: u64) -> io::Result<()> {
        let name = segment_name(segment);
        if self.exists(&name)? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} exists already")));
        }
        self.rename(spare, &name)?;
        self.sync_directory().inspect_err(|_| {
            // The segment will be made again under this name. If the name cannot be taken back now,
            // that attempt fails.
            let _ = self.rename(&name, spare);
        })
    }

    /// Whether a segment of this number exists.
    pub(crate) fn has_segment(&self, segment: u64) -> io::Result<bool> {
        self.exists(&segment_name(segment))
    }

    pub(crate) fn remove_spare(&self, name: &str) -> io::Result<()> {
        self.unlink_if_there(name)
    }

    fn remove_half_made(&self) -> io::Result<()> {
        for name in self.names()?.iter().filter(|name| spare_number(name, ZEROING_PREFIX).is_some()) {
            self.unlink_if_there(name)?;
        }
        Ok(())
    }

    /// Opens the directory for what was moved out of the journal, and makes it if it does not
    /// exist.
    pub(super) fn open_quarantine(&self) -> io::Result<File> {
        match nix::sys::stat::mkdirat(&self.directory, QUARANTINE, Mode::from_bits_truncate(0o750)) {
            Ok(()) => self.sync_directory()?,
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.open_at(QUARANTINE, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
    }

    /// The names in the directory that are UTF-8, as all names of a journal are.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        // Goes through the descriptor, because the directory may have been renamed.
        let by_descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.directory));
        let entries = fs::read_dir(by_descriptor).or_else(|_| fs::read_dir(&self.path))?;
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn open_at(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd: OwnedFd = openat(&self.directory, name, flags, Mode::from_bits_truncate(0o640))?;
        above_standard(File::from(fd))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        match nix::sys::stat::fstatat(&self.directory, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.directory, from, &self.directory, to)?)
    }

    pub(super) fn unlink_if_there(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn last_read(&self) -> MutexGuard<'_, Option<(u64, Arc<File>)>> {
        // A panic cannot leave the data behind this lock inconsistent.
        self.last_read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self, segment: u64) {
        let mut last = self.last_read();
        if last.as_ref().is_some_and(|(number, _)| *number == segment) {
            *last = None;
        }
    }

    pub(super) fn reading(&self, segment: u64) -> io::Result<Arc<File>> {
        let mut last = self.last_read();
        match &*last {
            Some((number, file)) if *number == segment => Ok(file.clone()),
            _ => {
                let file = Arc::new(self.open_at(&segment_name(segment), OFlag::O_RDONLY)?);
                *last = Some((segment, file.clone()));
                Ok(file)
            }
        }
    }
}

fn writing(direct: bool) -> OFlag {
    if direct { OFlag::O_RDWR | OFlag::O_DIRECT } else { OFlag::O_RDWR }
}

fn spare_number(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.strip_suffix(SPARE_SUFFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_above_a_journal_in_its_file_system_is_synced() {
        let base = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let journal = base.path().join("srv/of/a/service/journal/bus/channel");
        fs::create_dir_all(&journal).expect("directories that nobody has synced");
        let above: Vec<PathBuf> = journal.ancestors().skip(1).take(8).map(Path::to_owned).collect();
        let parents = parents_of(&journal);
        assert_eq!(parents[..7], above[..7]);
        assert_eq!(parents.last().map(PathBuf::as_path), Some(Path::new("/dev/shm")), "and none of another");
        Files::create(&journal).expect("a journal");
        // A directory that was synced once is not synced again for each channel.
        fs::remove_dir_all(base.path().join("srv")).expect("removed");
        assert!(parents.iter().all(|parent| sync_once(parent).is_ok()));
    }
}
