//! One writer per journal directory.
//!
//! The file `lock` in the directory carries an open-file-description lock. The kernel drops that
//! lock together with the last reference to the description, so at the latest with the process,
//! however it ends. A pipeline keeps a reference to it as long as a write is in flight. With
//! io_uring the lock is registered in the ring, which the kernel takes down only after its
//! requests. So a lock that can be taken proves that no write of an earlier writer is in flight.
//!
//! For the same reason taking the lock needs patience. For a moment after SIGKILL the kernel may
//! still hold the ring of a process that is gone, and with it the lock. The holder writes its
//! process id into the file, for the error message of a second writer; nothing else is concluded
//! from it.
//!
//! `fork` children close the descriptors of the lock and of the ring at once. So a child that
//! outlives its parent does not keep the next writer out of the journal.
//! `bus/os/src/fork_window.rs` names the exceptions.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use railbus_os::fork_window::Hidden;
use railbus_os::{Error, Result, file_limit, lock as byte_lock, process};

/// Name of the lock's file in the journal directory.
pub const LOCK_NAME: &str = "lock";
/// How long to wait for the lock of a process that has just been killed.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Mode of the lock's file: only its owner may open it, because any process that may read a file
/// may hold a shared lock on it.
const MODE: u32 = 0o600;
/// The byte that is locked.
const BYTE: u64 = 0;

/// The right to write to a journal directory, until the last reference to it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: Hidden<File>,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of the directory that is open at `directory`; `path` is its name for
    /// messages. Blocks for at most `patience`, and tries every 5 ms.
    ///
    /// # Errors
    /// [`Error::Busy`] names the process that holds the lock. [`Error::Invalid`] where the file
    /// system does not enforce locks.
    pub(crate) fn take(directory: BorrowedFd<'_>, path: &Path, patience: Duration) -> Result<Lock> {
        let path = path.join(LOCK_NAME);
        let failed = |action, error: io::Error| Error::io(action, &path, error);
        let file = Hidden::open(|| open(directory, OFlag::O_RDWR | OFlag::O_CREAT));
        let file = file.map_err(|error| failed("open", error))?;
        // A process that may read the file could hold a shared lock on it, and so keep every writer
        // out. If another user made the file, this process cannot change its mode.
        let _ = file.set_permissions(std::fs::Permissions::from_mode(MODE));
        let deadline = Instant::now() + patience;
        while !byte_lock::try_lock(file.as_fd(), BYTE).map_err(|error| failed("lock", error))? {
            if Instant::now() >= deadline {
                return Err(Error::Busy {
                    what: format!("the journal directory {}", path.with_file_name("").display()),
                    why: format!("{}; one process writes to it at a time", Holder::read(&file)),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let lock = Lock { file, path };
        lock.verify(directory)?;
        // It only names the holder, for people; a full disk may refuse it.
        let _ = lock.sign();
        Ok(lock)
    }

    /// Checks that another file description sees this lock, because some file systems grant every
    /// lock.
    fn verify(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let seen = open(directory, OFlag::O_RDONLY)
            .and_then(|other| byte_lock::is_locked(other.as_fd(), BYTE))
            .map_err(|error| Error::io("check the lock of", &self.path, error))?;
        if seen {
            return Ok(());
        }
        Err(Error::invalid(
            self.path.display().to_string(),
            "its file system grants locks that others do not see: put the journal on a local disk",
        ))
    }

    fn sign(&self) -> io::Result<()> {
        let pid = process::pid();
        let text = format!("{pid} {}", process::start_time_ticks(pid).unwrap_or(0));
        // The length is always the same, so the file keeps its one block even on a full disk.
        file_limit::without_signal(|| self.file.write_all_at(format!("{text:<62}\n").as_bytes(), 0))
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Describes the holder of a directory's lock, for people; `None` when no process holds it. Also
/// returns `None` when this process may not open the lock's file, since it can change nothing there
/// either.
pub(crate) fn holder(directory: BorrowedFd<'_>) -> io::Result<Option<String>> {
    let file = match open(directory, OFlag::O_RDONLY) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    let held = byte_lock::is_locked(file.as_fd(), BYTE)?;
    Ok(held.then(|| Holder::read(&file).to_string()))
}

fn open(directory: BorrowedFd<'_>, flags: OFlag) -> io::Result<File> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let fd: OwnedFd = openat(directory, LOCK_NAME, flags, Mode::from_bits_truncate(MODE))?;
    Ok(File::from(fd))
}

/// The holder of the lock, according to the content of the lock's file.
enum Holder {
    /// The process that took the lock is running.
    Alive(u32),
    /// The process that took the lock has ended.
    Ended(u32),
    /// The content of the file cannot be understood.
    Unknown,
}

impl Holder {
    fn read(file: &File) -> Holder {
        let mut bytes = [0; 64];
        let read = file.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..read]);
        let mut words = text.split_ascii_whitespace();
        let (Some(Ok(pid)), Some(Ok(start))) =
            (words.next().map(str::parse), words.next().map(str::parse::<u64>))
        else {
            return Holder::Unknown;
        };
        match process::start_time_ticks(pid) {
            Ok(found) if found == start => Holder::Alive(pid),
            _ => Holder::Ended(pid),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Alive(pid) => write!(f, "process {pid} holds its lock"),
            Holder::Ended(pid) => write!(
                f,
                "its lock is held on behalf of process {pid}, which has ended or is in another PID namespace: a \
                 child that it forked, or a write that the disk has not finished"
            ),
            Holder::Unknown => write!(f, "a process that has not told its number holds its lock"),
        }
    }
}
