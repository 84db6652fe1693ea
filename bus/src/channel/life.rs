//! Proof of life, and proof of death.
//!
//! A participant is alive exactly as long as its address space exists: no heartbeat, no timeout, no
//! daemon. It takes a lock on its life byte ([`LIFE_LOCK`] + entry) of the channel's file, and ties
//! that lock to a mapping:
//!
//! ```text
//! LifeClaim   open a description of its own        (checked: same file, tmpfs or hugetlbfs)
//!             lock the janitor byte of an entry     sweep what its last owner left, write the entry
//!             lock the life byte
//! LifeLock    map one PROT_NONE page of it, MADV_DONTFORK, close the descriptor
//! ```
//!
//! From then on the mapping is the only reference to the description. SIGKILL, exit and `exec` drop
//! it with the address space; `close`, `close_range`, `dup` and daemonising cannot; a `fork` child
//! does not get it. The kernel drops the lock before the process can be waited for. A process that
//! dumps core is alive until the dump is written. So is a process whose memory another one is
//! reading through `/proc` at that moment.
//!
//! Only exclusive locks count, which need the right to write the file. Any process that may read
//! the file can take a shared lock, which excludes an exclusive one all the same. `proof.rs`
//! describes what a participant does then.
//!
//! [`Probe`] asks the kernel about lives. It has a description of its own that never locks, because
//! the kernel reports a description's own locks as free. It answers [`Liveness::Dead`] only when
//! the kernel has reported it for the right file.
//!
//! Not covered: children made by the bare `clone` system call, while a [`LifeClaim`] is open, keep
//! its description (`fork_window.rs`).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use railbus_os::descriptor::{self, open_again};
use railbus_os::file_id::FileId;
use railbus_os::fork::{ForkGuard, page_bytes};
use railbus_os::fork_window::HiddenFd;
use railbus_os::lock;
use railbus_ring::layout::{ENTRIES_MAX, JANITOR_LOCK, LIFE_LOCK, NAMES_LOCK};

use crate::error::{Error, Result};

/// The answer of a [`Probe`] about a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Its life byte is locked.
    Alive,
    /// Its life byte is free: nobody holds that entry, or its holder is gone without return.
    Dead,
    /// The file cannot be asked any more, because other code of this process has closed it and it
    /// was removed. Callers treat the participant as alive.
    Unknown,
}

/// An open description of a channel's file, on the way to a [`LifeLock`]. Dropping it releases all
/// its locks.
#[derive(Debug)]
pub struct LifeClaim {
    file: HiddenFd,
    path: PathBuf,
    expected: FileId,
    /// The entry whose life byte this description has locked.
    life: Option<usize>,
    /// The length of the smallest mapping of this file, in bytes.
    page_bytes: usize,
}

impl LifeClaim {
    /// Opens a description of its own, for reading and writing, of the file at `path`, which must
    /// be the `expected` one. Does not block.
    ///
    /// # Errors
    /// [`Error::Busy`] if another file has taken its place; [`Error::Invalid`] if it is not on
    /// tmpfs or hugetlbfs, because locks of other file systems are not reliable;
    /// [`Error::NotAllowed`] without the right to write it; [`Error::NotFound`] if it is gone.
    pub fn open(path: impl Into<PathBuf>, expected: FileId) -> Result<LifeClaim> {
        let path = path.into();
        let mut page_bytes = 0;
        let file = HiddenFd::open(|| {
            let file = open_file(&path, true).map_err(|error| Error::io("open", &path, error))?;
            check_identity(file.as_fd(), &path, expected)?;
            page_bytes = smallest_mapping_bytes(file.as_fd(), &path)?;
            Ok(file)
        })?;
        Ok(LifeClaim { file, path, expected, life: None, page_bytes })
    }

    /// As [`Self::open`], for the file that `opened` is open on, even if its name is gone. `path`
    /// is where it was found.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_again(opened: impl AsFd, path: impl Into<PathBuf>, expected: FileId) -> Result<LifeClaim> {
        let path = path.into();
        let mut page_bytes = 0;
        let file = HiddenFd::open(|| {
            let file = open_again(opened.as_fd(), &path, expected, true);
            let file = file.map_err(|error| Error::io("open", &path, error))?;
            page_bytes = smallest_mapping_bytes(file.as_fd(), &path)?;
            Ok(file)
        })?;
        Ok(LifeClaim { file, path, expected, life: None, page_bytes })
    }

    /// Whether the descriptor is still the one that was opened. Code of the same process may have
    /// closed or replaced it.
    pub fn is_intact(&self) -> bool {
        self.file.is_intact()
    }

    /// Takes the janitor lock of entry `index`: the right to sweep, register in and free it.
    /// Returns false if another description has it. Two system calls.
    pub fn try_janitor(&self, index: usize) -> Result<bool> {
        self.ask(index, "lock", |fd| lock::try_lock(fd, JANITOR_LOCK + index as u64))
    }

    /// Takes a shared lock on the janitor byte of entry `index`, beside strangers that may only
    /// read the file. Returns false if another description has it exclusively. Two system calls.
    pub fn try_shared_janitor(&self, index: usize) -> Result<bool> {
        self.ask(index, "lock", |fd| lock::try_share(fd, JANITOR_LOCK + index as u64))
    }

    /// Releases the lock on the janitor byte of entry `index`, of either kind. Two system calls.
    pub fn release_janitor(&self, index: usize) -> Result<()> {
        self.ask(index, "unlock", |fd| lock::unlock(fd, JANITOR_LOCK + index as u64))
    }

    /// Whether *another* description holds the life byte of entry `index`. Two system calls.
    pub fn is_life_locked(&self, index: usize) -> Result<bool> {
        self.ask(index, "ask for locks of", |fd| lock::is_locked(fd, LIFE_LOCK + index as u64))
    }

    /// Whether another description holds a lock of any kind on the life byte of entry `index`. Two
    /// system calls.
    pub fn is_life_shared(&self, index: usize) -> Result<bool> {
        self.ask(index, "ask for locks of", |fd| lock::is_locked_or_shared(fd, LIFE_LOCK + index as u64))
    }

    /// Takes a shared lock on the life byte of entry `index`, beside strangers that may only read
    /// the file. Returns false if another description has it exclusively. It proves a life only
    /// together with the process that the entry names. Two system calls.
    pub fn try_shared_life(&mut self, index: usize) -> Result<bool> {
        self.take_life(index, lock::try_share)
    }

    /// Takes the life byte of entry `index`. Returns false if another description has it. A claim
    /// takes at most one life. Two system calls.
    pub fn try_life(&mut self, index: usize) -> Result<bool> {
        self.take_life(index, lock::try_lock)
    }

    fn take_life(&mut self, index: usize, lock: fn(BorrowedFd<'_>, u64) -> io::Result<bool>) -> Result<bool> {
        if let Some(taken) = self.life.filter(|&taken| taken != index) {
            return Err(Error::invalid(
                format!("entry {index}"),
                format!("this claim has taken entry {taken}"),
            ));
        }
        let taken = self.ask(index, "lock", |fd| lock(fd, LIFE_LOCK + index as u64))?;
        if taken {
            self.life = Some(index);
        }
        Ok(taken)
    }

    /// Ties the life byte to this address space, releases every janitor lock and closes the
    /// descriptor. A few system calls, about 10 us.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no life was taken; [`Error::Busy`] if other code of this process has
    /// closed or replaced the descriptor; [`Error::NoSpace`] if the process may not map more. After
    /// an error the life is released.
    pub fn into_life(self) -> Result<LifeLock> {
        let Some(index) = self.life else {
            return Err(Error::invalid("life", "no life byte was taken by this claim"));
        };
        if self.file.is_forked() {
            return Err(Error::Forked);
        }
        let guard = ForkGuard::current().map_err(|error| Error::io("watch for forks", &self.path, error))?;
        let LifeClaim { file, path, expected, page_bytes, .. } = self;
        let page = file.close_after(|fd| {
            check_identity(fd, &path, expected)?;
            lock::unlock_range(fd, JANITOR_LOCK, NAMES_LOCK as u64 + 1)
                .map_err(|error| Error::io("unlock", &path, error))?;
            map_life(fd, index, page_bytes).map_err(|error| Error::io("map", &path, error))
        })?;
        Ok(LifeLock { page, page_bytes, index, guard })
    }

    /// Performs `question` about entry `index`. All claims and questions have the same errors.
    ///
    /// # Errors
    /// [`Error::Forked`] in a `fork` child; [`Error::Invalid`] for an index that no registry has;
    /// [`Error::Busy`] if the descriptor is not the file any more, because then an answer would be
    /// worth nothing.
    fn ask<T>(
        &self,
        index: usize,
        action: &'static str,
        question: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Result<T> {
        if self.file.is_forked() {
            return Err(Error::Forked);
        }
        if index > NAMES_LOCK {
            let why = format!("a registry has at most {ENTRIES_MAX} entries");
            return Err(Error::invalid(format!("registry entry {index}"), why));
        }
        let answer = question(self.file.as_fd());
        check_identity(self.file.as_fd(), &self.path, self.expected)?;
        answer.map_err(|error| Error::io(action, &self.path, error))
    }
}

/// A held life byte. It keeps the participant alive until it is dropped, or until the address space
/// is gone.
///
/// It does not exist in a `fork` child. The child does not keep its parent alive, nor does it end
/// its parent's life by dropping its copy of this handle.
#[derive(Debug)]
pub struct LifeLock {
    /// The start of the mapping, which nobody may access.
    page: NonNull<libc::c_void>,
    page_bytes: usize,
    index: usize,
    guard: ForkGuard,
}

// SAFETY: the mapping is never accessed, and unmapping it is right from any thread.
unsafe impl Send for LifeLock {}
// SAFETY: a shared reference allows nothing but reading the index and the guard.
unsafe impl Sync for LifeLock {}

impl LifeLock {
    /// The registry entry whose life this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The guard that finds out whether this process is a `fork` child of the one that is alive.
    pub fn guard(&self) -> ForkGuard {
        self.guard
    }
}

impl Drop for LifeLock {
    fn drop(&mut self) {
        if self.guard.is_forked() {
            return; // The page was not copied; something else may be mapped at its address.
        }
        // SAFETY: `map_life` made this mapping with this size, nobody else has its address, and
        // this is not a fork child. It drops the last reference to the description, and so the
        // lock.
        unsafe { libc::munmap(self.page.as_ptr(), self.page_bytes) };
    }
}

/// Asks whether participants live. It never locks, and only needs the right to read the file.
#[derive(Debug)]
pub struct Probe {
    /// A descriptor that this probe opened. Other code of this process may have closed or replaced
    /// it since.
    fd: RawFd,
    path: PathBuf,
    expected: FileId,
}

impl Probe {
    /// Opens a description of its own, for reading, of the file at `path`, which must be the
    /// `expected` one. A relative path is resolved against the present working directory. Does not
    /// block.
    ///
    /// # Errors
    /// Those of [`LifeClaim::open`].
    pub fn open(path: impl AsRef<Path>, expected: FileId) -> Result<Probe> {
        let path = path.as_ref();
        let path = std::path::absolute(path).map_err(|error| Error::io("find", path, error))?;
        let file = open_file(&path, false).map_err(|error| Error::io("open", &path, error))?;
        check_identity(file.as_fd(), &path, expected)?;
        smallest_mapping_bytes(file.as_fd(), &path)?;
        Ok(Probe { fd: file.into_raw_fd(), path, expected })
    }

    /// As [`Self::open`], for the file that `opened` is open on, even if its name is gone. `path`
    /// is where it was found.
    ///
    /// # Errors
    /// Those of [`LifeClaim::open`].
    pub fn open_again(opened: impl AsFd, path: impl AsRef<Path>, expected: FileId) -> Result<Probe> {
        let path = path.as_ref();
        let path = std::path::absolute(path).map_err(|error| Error::io("find", path, error))?;
        let file = open_again(opened.as_fd(), &path, expected, false);
        let file = file.map_err(|error| Error::io("open", &path, error))?;
        smallest_mapping_bytes(file.as_fd(), &path)?;
        Ok(Probe { fd: file.into_raw_fd(), path, expected })
    }

    /// Whether the participant in entry `index` lives. Two system calls, about 0.7 us; two more for
    /// a death, about 1.1 us; and a few if the descriptor must be opened again.
    pub fn life(&mut self, index: usize) -> Liveness {
        self.ask(LIFE_LOCK, index)
    }

    /// Whether any description holds a lock of any kind on the life byte of entry `index`. That
    /// includes shared locks, which any process that may read the file can take. Without an answer
    /// it returns true.
    pub fn is_life_shared(&mut self, index: usize) -> bool {
        let is_intact = self.is_intact() || self.reopen();
        let locked = lock::is_locked_or_shared(self.borrow(), LIFE_LOCK + index as u64);
        !is_intact || locked.unwrap_or(true) || !self.is_intact()
    }

    /// As [`Self::life`] for the janitor byte: [`Liveness::Alive`] while a description holds it.
    pub fn janitor(&mut self, index: usize) -> Liveness {
        self.ask(JANITOR_LOCK, index)
    }

    fn ask(&mut self, first: u64, index: usize) -> Liveness {
        if index >= ENTRIES_MAX || !(self.is_intact() || self.reopen()) {
            return Liveness::Unknown;
        }
        match lock::is_locked(self.borrow(), first + index as u64) {
            Ok(true) => Liveness::Alive,
            // Another thread may have replaced the descriptor since it was checked. If a claim of
            // this very process has its number now, the question is about that claim's own locks.
            // Claims are open for writing.
            Ok(false) if self.is_intact() && self.is_read_only() => Liveness::Dead,
            Ok(false) | Err(_) => Liveness::Unknown,
        }
    }

    /// Whether the number still refers to the file.
    fn is_intact(&self) -> bool {
        FileId::of(self.borrow()).is_ok_and(|found| found == self.expected)
    }

    fn is_read_only(&self) -> bool {
        // SAFETY: F_GETFL has no argument and changes nothing; a number that is not open is an error.
        let flags = unsafe { libc::fcntl(self.fd, libc::F_GETFL) };
        flags >= 0 && flags & libc::O_ACCMODE == libc::O_RDONLY
    }

    /// Opens the file again. Returns whether it is the right one. The old number is not closed,
    /// because it belongs to other code now.
    fn reopen(&mut self) -> bool {
        let Ok(file) = open_file(&self.path, false) else { return false };
        if !FileId::of(&file).is_ok_and(|found| found == self.expected) {
            return false;
        }
        self.fd = file.into_raw_fd();
        true
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: the number is not -1. The caller must find out whether it is still the descriptor
        // that was opened. It is used to ask only, which damages no file.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.is_intact() && self.is_read_only() {
            // SAFETY: the number is open on our file, read-only, as this probe opened it, and this
            // is its only owner.
            drop(unsafe { OwnedFd::from_raw_fd(self.fd) });
        }
    }
}

/// Opens the file at `path` without creating it, following a last symbolic link, or blocking,
/// whatever is there.
fn open_file(path: &Path, write: bool) -> io::Result<OwnedFd> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(flags);
    descriptor::open(&options, path).map(OwnedFd::from)
}

fn check_identity(fd: BorrowedFd<'_>, path: &Path, expected: FileId) -> Result<()> {
    match FileId::of(fd) {
        Ok(found) if found == expected => Ok(()),
        Ok(_) => Err(Error::Busy {
            what: path.display().to_string(),
            why:
                "another file has taken its place, or a stranger in this process its descriptor; attach again"
                    .into(),
        }),
        Err(error) => Err(Error::io("examine", path, error)),
    }
}

/// The bytes of the smallest mapping of the file. It is an error if the locks of its file system
/// are not reliable.
pub(crate) fn smallest_mapping_bytes(fd: BorrowedFd<'_>, path: &Path) -> Result<usize> {
    // SAFETY: statfs is a plain structure of integers, for which zero is a valid value.
    let mut status: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the pointer valid for writing one structure.
    if unsafe { libc::fstatfs(fd.as_raw_fd(), &mut status) } != 0 {
        return Err(Error::io("examine the file system of", path, io::Error::last_os_error()));
    }
    let kind = status.f_type as libc::c_long;
    if kind == libc::TMPFS_MAGIC as libc::c_long {
        Ok(page_bytes())
    } else if kind == libc::HUGETLBFS_MAGIC as libc::c_long {
        // hugetlbfs reports its page size as the block size, and maps whole pages only.
        usize::try_from(status.f_bsize)
            .map_err(|_| Error::corrupt(path.display().to_string(), "wild page size"))
    } else {
        let why = format!(
            "is on a file system of type {kind:#x}; a bus needs tmpfs or hugetlbfs: choose a directory in /dev/shm"
        );
        Err(Error::invalid(path.display().to_string(), why))
    }
}

/// The offset of entry `index`'s page in the file. Each entry has another one, so that
/// `/proc/PID/maps` shows whose life a mapping is. It may lie beyond the end of the file, because
/// nobody ever accesses it.
fn life_page_offset(index: usize, page_bytes: usize) -> u64 {
    index as u64 * page_bytes as u64
}

/// Whether process `pid` holds the life of entry `index` of the file: whether it maps that entry's
/// page, shared and without any access. Only the process itself can make such a mapping. `pid` is
/// looked up in the `/proc` of this process, so it is of the PID namespace that this `/proc` shows.
/// Makes several system calls, and reads all of `/proc/PID/maps`.
///
/// # Errors
/// `PermissionDenied` without the right to look into that process (another user's, or one that is
/// not dumpable); `NotFound` if `/proc` shows no such process.
pub fn holds_life(pid: u32, file: FileId, index: usize, page_bytes: usize) -> io::Result<bool> {
    let maps = std::fs::read(format!("/proc/{pid}/maps")).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => io::Error::from(io::ErrorKind::NotFound),
        _ => error,
    })?;
    let offset = life_page_offset(index, page_bytes);
    Ok(maps.split(|&byte| byte == b'\n').any(|line| is_life_mapping(line, file, offset)))
}

/// Whether a line of `/proc/PID/maps` is a mapping that [`map_life`] made: `start-end ---s offset
/// major:minor inode`.
fn is_life_mapping(line: &[u8], file: FileId, offset: u64) -> bool {
    let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
    let mut next = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (Some(_), Some("---s"), Some(at), Some(device), Some(inode)) =
        (next(), next(), next(), next(), next())
    else {
        return false;
    };
    let number = |text| u64::from_str_radix(text, 16).ok();
    let Some((major, minor)) = device.split_once(':') else { return false };
    number(at) == Some(offset)
        && number(major) == Some(nix::sys::stat::major(file.device))
        && number(minor) == Some(nix::sys::stat::minor(file.device))
        && inode.parse() == Ok(file.inode)
}

/// Maps the page of entry `index`, which nobody can access and no `fork` copies.
fn map_life(fd: BorrowedFd<'_>, index: usize, bytes: usize) -> io::Result<NonNull<libc::c_void>> {
    // NORESERVE: on hugetlbfs the page must not count against the reserved ones, because it is
    // never touched.
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    let offset = life_page_offset(index, bytes);
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe {
        libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, fd.as_raw_fd(), offset as libc::off_t)
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range is the mapping made above.
    if unsafe { libc::madvise(address, bytes, libc::MADV_DONTFORK) } != 0 {
        let error = io::Error::last_os_error();
        // SAFETY: the mapping was made above and nobody has its address.
        unsafe { libc::munmap(address, bytes) };
        return Err(error);
    }
    NonNull::new(address).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    #[test]
    fn a_fork_child_that_drops_the_handle_unmaps_nothing_of_its_own() {
        let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        let mut claim = LifeClaim::open(file.path(), FileId::of(file.as_file()).unwrap()).unwrap();
        assert!(claim.try_life(0).unwrap());
        let mut life = Some(claim.into_life().unwrap());
        let (address, bytes) = life.as_ref().map(|life| (life.page.as_ptr(), life.page_bytes)).unwrap();
        // SAFETY: the child makes system calls and drops a handle that owns no memory, and leaves
        // by _exit.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                // SAFETY: with NOREPLACE nothing that exists is touched: it succeeds only if the
                // page is not there.
                let page = unsafe { libc::mmap(address, bytes, libc::PROT_READ, flags, -1, 0) };
                drop(life.take());
                // SAFETY: the call only asks whether the page is mapped.
                let still_mapped = unsafe { libc::msync(address, bytes, libc::MS_ASYNC) } == 0;
                // SAFETY: _exit has no preconditions.
                unsafe { libc::_exit(i32::from(page != address || !still_mapped)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            }
        }
        let mut probe = Probe::open(file.path(), FileId::of(file.as_file()).unwrap()).unwrap();
        assert_eq!(probe.life(0), Liveness::Alive);
    }

    #[test]
    fn a_claim_in_a_fork_child_is_refused() {
        let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        let mut claim = LifeClaim::open(file.path(), FileId::of(file.as_file()).unwrap()).unwrap();
        assert!(claim.try_janitor(0).unwrap());
        // SAFETY: the child makes system calls only and leaves by _exit; the errors hold no memory.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let right = matches!(claim.release_janitor(0), Err(Error::Forked))
                    && matches!(claim.try_janitor(1), Err(Error::Forked))
                    && matches!(claim.is_life_locked(1), Err(Error::Forked))
                    && matches!(claim.try_life(1), Err(Error::Forked));
                // SAFETY: _exit has no preconditions.
                unsafe { libc::_exit(i32::from(!right)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            }
        }
        let mut probe = Probe::open(file.path(), FileId::of(file.as_file()).unwrap()).unwrap();
        assert_eq!(probe.janitor(0), Liveness::Alive, "the child has not given up its parent's lock");
    }
}
