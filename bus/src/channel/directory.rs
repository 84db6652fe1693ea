//! The directories of buses and channels: `BASE/BUS/NAME.ring` and `NAME.acks`.
//!
//! The base directory is `$RAILBUS_DIR` or `/dev/shm/railbus`. It is open to everybody (mode
//! 01777); each bus below it belongs to the user who made it. Names appear and disappear only under
//! an exclusive lock of `BUS/.lock`, in an order that leaves something recognisable wherever their
//! maker is killed:
//!
//! ```text
//! creation   .acks linked   data file, .latency linked   .ring linked: from here on the channel exists
//! removal    .ring unlinked: the channel is gone   data file, .journal, .stage, .latency unlinked
//!            .acks unlinked
//! ```
//!
//! Few channels have a data file of their own, and only stamped ones have `.latency`.
//!
//! So a process that holds the lock and finds an `.acks` without its `.ring` knows that a dead
//! process left it. That `.acks` names its data file on hugetlbfs. The next creation of the name,
//! and [`prune`](super::remove::prune), clear both away. `replace.rs` describes what a replacement
//! leaves.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use railbus_os::hugetlb::is_hugetlbfs;
use railbus_os::{act_as, descriptor, lock};
use railbus_ring::layout::HEADER_BYTES;

use super::header::{FileRole, Header};
use super::name::{ChannelName, ChannelPaths, check_name};
use super::page::Page;
use crate::error::{Error, Result};

/// How long creation and removal wait for the lock of a bus, unless [`limit_lock_wait`] sets less.
pub const LOCK_WAIT: Duration = Duration::from_secs(10);
pub(super) const LOCK_NAME: &str = ".lock";

/// The base directory of all buses: `$RAILBUS_DIR`, or `/dev/shm/railbus` if that is not set.
///
/// # Errors
/// [`Error::Invalid`] if `$RAILBUS_DIR` is set and empty.
pub fn base_directory() -> Result<PathBuf> {
    match std::env::var_os("RAILBUS_DIR") {
        None => Ok(PathBuf::from("/dev/shm/railbus")),
        Some(path) if path.is_empty() => {
            Err(Error::invalid("$RAILBUS_DIR", "it is set, but empty; unset it or name a directory"))
        }
        Some(path) => Ok(PathBuf::from(path)),
    }
}

/// The directory of a bus. It is made, with the base directory, if it is missing. Nothing is made
/// on a file system that is not tmpfs.
///
/// # Errors
/// [`Error::Invalid`] for the name, a symbolic link, or another file system; [`Error::NotAllowed`];
/// [`Error::Busy`] if other processes keep removing the bus; [`Error::Io`].
pub fn make_bus(base: &Path, bus: &str) -> Result<PathBuf> {
    check_name("bus name", bus)?;
    let path = base.join(bus);
    for _ in 0..100 {
        let there = nearest_directory(&path);
        match OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(&there) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("open", &there, error)),
            Ok(directory) => check_file_system(&directory, &path)?,
        }
        let outcome = make_directory(base, 0o1777).and_then(|()| refuse_link(&path));
        let outcome = outcome.and_then(|()| make_directory(&path, 0o755));
        match outcome.and_then(|()| File::open(&path).map_err(|error| Error::io("open", &path, error))) {
            // It was pruned again already, or removed by a creator that was refused.
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
            Ok(directory) => return check_file_system(&directory, &path).map(|()| path),
        }
    }
    Err(Error::Busy { what: format!("bus {bus}"), why: "other processes keep removing it".to_owned() })
}

/// Refuses a bus that is a symbolic link. With a link its maker could give channels, and their
/// journals, the names of another bus, or have another bus used under a second name.
pub(crate) fn refuse_link(directory: &Path) -> Result<()> {
    match std::fs::symlink_metadata(directory) {
        Ok(about) if about.is_symlink() => {
            let why = "it is a symbolic link, which may lead to any other bus; a bus is a directory. Remove the link";
            Err(Error::invalid(format!("bus {}", directory.display()), why))
        }
        _ => Ok(()),
    }
}

/// The directory itself, or the nearest one above it that exists. A directory that is made below it
/// is on the same file system.
pub(super) fn nearest_directory(path: &Path) -> PathBuf {
    let mut there = path;
    while !there.is_dir() {
        match there.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => there = parent,
            _ => return PathBuf::from("."),
        }
    }
    there.to_owned()
}

/// The directories that [`make_bus`] would make: that of the bus and those above it, inner ones
/// first.
pub(crate) fn missing_directories(base: &Path, bus: &str) -> Vec<PathBuf> {
    let bus = base.join(bus);
    let missing = bus.ancestors().take_while(|one| !one.as_os_str().is_empty() && !one.exists());
    missing.map(Path::to_owned).collect()
}

/// Removes directories that were made for a channel that was refused, inner ones first, unless
/// somebody else has put something there. A directory that cannot be removed stays.
pub(crate) fn unmake_bus(base: &Path, bus: &str, made: &[PathBuf]) {
    let bus = base.join(bus);
    for path in made {
        if *path == bus && names(path).is_ok_and(|names| names == [LOCK_NAME]) {
            let Ok(_held) = BusLock::take(path, Duration::from_millis(100)) else { return };
            // Others that wait for the lock notice that its file is gone, and make the bus again.
            if !is_unused(path) || unlink(&path.join(LOCK_NAME)).is_err() {
                return;
            }
        }
        // The kernel refuses it unless the directory is empty.
        if std::fs::remove_dir(path).is_err() {
            return;
        }
    }
}

/// Whether a bus's directory contains nothing but the lock. The caller holds the lock.
pub(super) fn is_unused(bus: &Path) -> bool {
    names(bus).is_ok_and(|names| names.iter().all(|name| name == LOCK_NAME))
}

/// Makes a directory that appears with its mode, whatever the umask is, or accepts one that exists.
fn make_directory(path: &Path, mode: u32) -> Result<()> {
    let fail = |error| Error::io("make the directory", path, error);
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(fail)?;
    let id = railbus_os::random::random_id().map_err(fail)?;
    let temporary = parent.join(format!(".railbus-{}", railbus_os::random::hex(&id)));
    std::fs::DirBuilder::new().mode(0o700).create(&temporary).map_err(fail)?;
    let renamed =
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode)).and_then(|()| {
            renameat2(AT_FDCWD, &temporary, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE)
                .map_err(io::Error::from)
        });
    if renamed.is_err() {
        let _ = std::fs::remove_dir(&temporary);
    }
    match renamed {
        // Another process made it, and may even have removed it again. An entry that is no
        // directory is in the way.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match std::fs::metadata(path) {
            Ok(about) if !about.is_dir() => Err(fail(io::Error::from_raw_os_error(libc::ENOTDIR))),
            _ => Ok(()),
        },
        result => result.map_err(fail),
    }
}

/// Proof of life rests on locks, and sharing rests on memory: both need tmpfs.
pub(crate) fn check_file_system(file: &File, path: &Path) -> Result<()> {
    let found = fstatfs(file.as_fd()).map_err(|error| Error::io("examine", path, error.into()))?;
    if found.filesystem_type() == TMPFS_MAGIC {
        return Ok(());
    }
    let what = format!("directory {}", path.display());
    let why = format!(
        "its file system (type {:#x}) is not tmpfs, whose locks and pages railbus relies on; \
         set RAILBUS_DIR to a directory below /dev/shm",
        found.filesystem_type().0
    );
    Err(Error::invalid(what, why))
}

/// The names of the buses below the base directory, sorted. There are none if there is no base
/// directory. Symbolic links do not count.
///
/// # Errors
/// [`Error::NotAllowed`]; [`Error::Io`].
pub fn list_buses(base: &Path) -> Result<Vec<String>> {
    let names = names(base).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(Error::io("list", base, error)),
    })?;
    Ok(names.into_iter().filter(|name| check_name("bus", name).is_ok() && is_bus(&base.join(name))).collect())
}

/// Whether the path is a directory, and no link to one.
fn is_bus(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
}

/// The names of the channels of a bus, sorted. The channels are not opened.
///
/// # Errors
/// [`Error::NotFound`] if there is no such bus; [`Error::Invalid`] for its name, or if it is a
/// symbolic link; [`Error::NotAllowed`]; [`Error::Io`].
pub fn list_channels(base: &Path, bus: &str) -> Result<Vec<ChannelName>> {
    let channels = with_suffix(base, bus, ".ring")?;
    Ok(channels.into_iter().filter_map(|channel| ChannelName::new(bus, channel).ok()).collect())
}

pub(super) fn with_suffix(base: &Path, bus: &str, suffix: &str) -> Result<Vec<String>> {
    check_name("bus name", bus)?;
    let path = base.join(bus);
    refuse_link(&path)?;
    let names = names(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound { what: format!("bus {bus}"), path: path.clone() },
        _ => Error::io("list", &path, error),
    })?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect())
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The longest time that this process waits for the lock of a bus, in ms.
static LOCK_WAIT_MS: AtomicU64 = AtomicU64::new(LOCK_WAIT.as_millis() as u64);
/// After a lock could not be taken, locks of the same holder are tried for this long, and not
/// waited for.
const HELD_FOR: Duration = Duration::from_secs(5);

/// Limits the time that this process waits for the lock of a bus to `patience`, in place of
/// [`LOCK_WAIT`]. It is for daemons that look after the buses of many users, because the owner of a
/// bus may hold its lock for any length of time. It is effective for all threads, in whole
/// milliseconds.
pub fn limit_lock_wait(patience: Duration) {
    LOCK_WAIT_MS.store(patience.as_millis() as u64, Ordering::Relaxed);
}

/// The locks that could not be taken recently: by bus, or by owner if that is another user. So a
/// user makes this process wait only once, however many buses and channels he has.
static HELD: Mutex<BTreeMap<Holder, Instant>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    User(u32),
    Bus(PathBuf),
}

impl Holder {
    fn of(directory: &Path) -> Holder {
        match std::fs::metadata(directory) {
            Ok(about) if about.uid() != act_as::user() && about.uid() != 0 => Holder::User(about.uid()),
            _ => Holder::Bus(directory.to_owned()),
        }
    }

    fn has_held(&self) -> bool {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, since| since.elapsed() < HELD_FOR);
        held.contains_key(self)
    }

    fn note(self) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(self, Instant::now());
    }
}

/// The lock of a bus's directory, held while names appear or disappear in it. It is released when
/// it is dropped, or by the kernel.
pub(crate) struct BusLock {
    file: File,
}

impl BusLock {
    /// Waits for the lock, at most for `patience` and for the limit of [`limit_lock_wait`]. If the
    /// same lock, or one of the same other user, could not be taken a few seconds ago, it is tried
    /// once.
    pub(crate) fn take(directory: &Path, patience: Duration) -> Result<BusLock> {
        refuse_link(directory)?;
        let path = directory.join(LOCK_NAME);
        let holder = Holder::of(directory);
        let limit = Duration::from_millis(LOCK_WAIT_MS.load(Ordering::Relaxed));
        let patience = if holder.has_held() { Duration::ZERO } else { patience.min(limit) };
        let started = Instant::now();
        loop {
            let file = open_lock(directory, &path)?;
            let mut pause = Duration::from_micros(20);
            while !lock::try_lock(file.as_fd(), 0).map_err(|error| Error::io("lock", &path, error))? {
                if started.elapsed() >= patience {
                    let what = format!(
                        "the lock of {}, which another process creates or removes channels under",
                        path.display()
                    );
                    if !patience.is_zero() {
                        holder.note();
                    }
                    return Err(Error::TimedOut { what, after_ms: patience.as_millis() as u64 });
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
            // The bus may have been removed during the wait. In that case this lock protects
            // nothing.
            let links = file.metadata().map_err(|error| Error::io("examine", &path, error))?.nlink();
            if links > 0 {
                return Ok(BusLock { file });
            }
        }
    }
}

impl Drop for BusLock {
    fn drop(&mut self) {
        // Explicitly, because a child that was forked in the meantime shares the lock.
        let _ = lock::unlock(self.file.as_fd(), 0);
    }
}

/// The mode of the lock of a bus whose directory has this mode. A user who may make files in the
/// directory may open the lock.
fn lock_mode(directory: u32) -> u32 {
    0o600 | ((directory & 0o022) * 3)
}

/// Opens the lock to the users to whom its owner has opened the directory since it was made. Only
/// the owner can do it, and a failure is ignored.
fn follow_directory(directory: &Path, file: &File) {
    let (Ok(bus), Ok(lock)) = (std::fs::metadata(directory), file.metadata()) else { return };
    let is_ours = lock.uid() == act_as::user() && lock.nlink() == 1;
    if is_ours && (lock.mode() & 0o777 != lock_mode(bus.mode()) || lock.gid() != bus.gid()) {
        // The group comes first, because a mode for one group must not hold for another.
        let given = std::os::unix::fs::fchown(file, None, Some(bus.gid()));
        let _ = given.and_then(|()| file.set_permissions(PermissionsExt::from_mode(lock_mode(bus.mode()))));
    }
}

/// The error when the lock of a bus cannot be opened, with its reason and a remedy.
fn lock_refused(directory: &Path, path: &Path, error: io::Error) -> Error {
    let (Ok(bus), Ok(lock)) = (std::fs::metadata(directory), std::fs::symlink_metadata(path)) else {
        return Error::io("open", path, error);
    };
    let (mode, gid) = (lock_mode(bus.mode()), bus.gid());
    let open_bus = "open the bus to a group that this user is in";
    let why = if lock.mode() & 0o777 != mode || lock.gid() != gid {
        format!(
            "it belongs to uid {}, gid {}, mode {:#o}, and its directory was opened to others since it was made. As its \
             owner: chgrp {gid} {lock} && chmod {mode:o} {lock}",
            lock.uid(),
            lock.gid(),
            lock.mode() & 0o777,
            lock = path.display()
        )
    } else {
        format!(
            "it belongs to uid {}, gid {}, mode {mode:#o}; whoever creates, removes or records channels of a bus takes its \
             lock. As the owner, {open_bus}: chgrp GROUP {bus} {lock} && chmod 2775 {bus} && chmod 660 {lock}",
            lock.uid(),
            lock.gid(),
            bus = directory.display(),
            lock = path.display()
        )
    };
    Error::NotAllowed { action: "open", path: path.to_owned(), why }
}

/// Opens the lock file. A user who may make files in the directory may open it.
fn open_lock(directory: &Path, path: &Path) -> Result<File> {
    let fail = |error| Error::io("open", path, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    for _ in 0..100 {
        match descriptor::open(&options, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(lock_refused(directory, path, error));
            }
            Err(error) => return Err(fail(error)),
            Ok(file) => {
                follow_directory(directory, &file);
                return Ok(file);
            }
        }
        let about = std::fs::metadata(directory).map_err(|error| Error::io("examine", directory, error))?;
        match descriptor::open(options.clone().create_new(true).mode(0o600), path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail(error)),
            Ok(file) => {
                // Gives it to the owner of the bus if this process is root, otherwise to the group
                // of the bus.
                let whole = std::os::unix::fs::fchown(&file, Some(about.uid()), Some(about.gid()));
                let _ = whole.or_else(|_| std::os::unix::fs::fchown(&file, None, Some(about.gid())));
                file.set_permissions(PermissionsExt::from_mode(lock_mode(about.mode()))).map_err(fail)?;
                return Ok(file);
            }
        }
    }
    Err(Error::Busy {
        what: path.display().to_string(),
        why: "it comes and goes; is the bus being removed?".to_owned(),
    })
}

pub(crate) fn not_found(channel: &ChannelName, paths: ChannelPaths) -> Error {
    Error::NotFound { what: format!("channel {channel}"), path: paths.ring }
}

/// Unlinks a name. Returns whether it existed.
pub(super) fn unlink(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path, error)),
    }
}

/// Unlinks a data file that a header named, if that name can be trusted. A header decodes only if
/// the name is made from the channel's identity; here the file must also be on hugetlbfs.
pub(super) fn unlink_data(path: &Path) -> Result<()> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path);
    match opened.and_then(|file| is_hugetlbfs(&file)) {
        Ok(true) => unlink(path).map(|_| ()),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path, error)),
    }
}

pub(super) fn read_header(path: &Path, role: FileRole) -> Result<Header> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    let file = descriptor::open(&options, path).map_err(|error| Error::io("open", path, error))?;
    Header::decode(&*read_page(&file, path)?, role, path)
}

/// Reads the header page of a file. A file that is too short for one is corrupt.
pub(crate) fn read_page(file: &File, path: &Path) -> Result<Box<Page>> {
    let mut page = Box::new([0u8; HEADER_BYTES]);
    file.read_exact_at(&mut page[..], 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            let bytes = file.metadata().map(|about| about.len()).unwrap_or(0);
            let why = format!("it is truncated: {bytes} bytes, the header alone has {HEADER_BYTES}");
            Error::corrupt(path.display().to_string(), why)
        }
        _ => Error::io("read", path, error),
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix("railbus-directory-").tempdir_in("/dev/shm")
    }

    #[test]
    fn buses_are_made_listed_and_removed() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let root = base()?;
        let base = root.path().join("deep/base");
        assert!(list_buses(&base)?.is_empty());
        make_bus(&base, "two")?;
        make_bus(&base, "one")?;
        make_bus(&base, "one")?;
        assert_eq!(std::fs::metadata(&base)?.mode() & 0o7777, 0o1777);
        assert_eq!(std::fs::metadata(base.join("one"))?.mode() & 0o7777, 0o755);
        assert_eq!(list_buses(&base)?, ["one", "two"]);
        assert!(list_channels(&base, "one")?.is_empty());
        assert!(matches!(list_channels(&base, "none"), Err(Error::NotFound { .. })));
        assert_eq!(list_buses(&base)?, ["one", "two"]);
        Ok(())
    }

    #[test]
    fn a_bus_outside_of_tmpfs_is_refused() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let error =
            check_file_system(&File::open("/proc/self")?, Path::new("/proc/self")).map_err(|e| e.to_string());
        assert!(error.is_err_and(|text| text.contains("RAILBUS_DIR")));
        Ok(())
    }

    #[test]
    fn the_lock_is_exclusive_and_its_wait_bounded() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let root = base()?;
        let bus = make_bus(root.path(), "b")?;
        let held = BusLock::take(&bus, LOCK_WAIT)?;
        let refused = BusLock::take(&bus, Duration::from_millis(20)).map(|_| ());
        assert!(matches!(refused, Err(Error::TimedOut { after_ms: 20, .. })));
        // A holder that kept the lock so long is not waited for again; but a free lock is taken at
        // once.
        let started = Instant::now();
        let refused = BusLock::take(&bus, LOCK_WAIT).map(|_| ());
        assert!(matches!(refused, Err(Error::TimedOut { after_ms: 0, .. })));
        assert!(started.elapsed() < LOCK_WAIT);
        drop(held);
        BusLock::take(&bus, Duration::ZERO)?;
        Ok(())
    }

    #[test]
    fn a_data_file_outside_of_hugetlbfs_is_never_removed()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let root = base()?;
        let precious = root.path().join("railbus-00-1");
        std::fs::write(&precious, b"keep")?;
        unlink_data(&precious)?;
        assert!(precious.exists());
        Ok(())
    }
}
