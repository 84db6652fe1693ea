//! Exclusive locks on single bytes of a file, owned by an open file description.
//!
//! Such an "OFD lock" belongs to the description, not to the process or the descriptor. It is
//! dropped by [`unlock`], or when the last reference to the description goes away. References are
//! its descriptors in any process, and the mappings made through it. It does not matter how they
//! end; SIGKILL is included. The byte may lie far beyond the end of the file. Nothing here blocks:
//! each function is one system call, well under 1 us.
//!
//! Tying a lock to the life of a process is left to `life.rs`.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// A request for `bytes` bytes from `first`. Offsets beyond `off_t` are an error.
fn request(kind: libc::c_int, first: u64, bytes: u64) -> io::Result<libc::flock> {
    let offset = |value: u64| {
        libc::off_t::try_from(value).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("lock offset {value:#x} is beyond 2^63 - 1"))
        })
    };
    Ok(libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset(first)?,
        l_len: offset(bytes)?,
        l_pid: 0, // OFD requests must say 0: the owner is the description.
    })
}

/// Takes the exclusive lock on `byte`. Returns `Ok(false)` if another description holds it, and
/// `Ok(true)` also if this description holds it already. The descriptor must be open for writing
/// (EBADF otherwise). One system call.
pub fn try_lock(fd: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
    match fcntl(fd, FcntlArg::F_OFD_SETLK(&request(libc::F_WRLCK, byte, 1)?)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Releases this description's lock on `byte`, if it has one. Never call it in a `fork` child for a
/// description that the parent uses: the lock is the same one. One system call.
pub fn unlock(fd: BorrowedFd<'_>, byte: u64) -> io::Result<()> {
    unlock_range(fd, byte, 1)
}

/// Releases this description's locks on `bytes` bytes from `first`. One system call.
pub fn unlock_range(fd: BorrowedFd<'_>, first: u64, bytes: u64) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_OFD_SETLK(&request(libc::F_UNLCK, first, bytes)?))?;
    Ok(())
}

/// Whether a description *other than this one* holds the exclusive lock on `byte`. A read-only
/// descriptor is enough to ask. Shared locks are not seen: a process that may only read the file
/// can take those. One system call.
pub fn is_locked(fd: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
    // It asks for a shared lock, which only exclusive locks prevent.
    is_in_the_way(fd, libc::F_RDLCK, byte)
}

/// Does the same for any lock, shared ones included: those for which [`try_lock`] is refused.
pub fn is_locked_or_shared(fd: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
    is_in_the_way(fd, libc::F_WRLCK, byte)
}

fn is_in_the_way(fd: BorrowedFd<'_>, kind: libc::c_int, byte: u64) -> io::Result<bool> {
    let mut answer = request(kind, byte, 1)?;
    fcntl(fd, FcntlArg::F_OFD_GETLK(&mut answer))?;
    Ok(libc::c_int::from(answer.l_type) != libc::F_UNLCK)
}

/// Takes a shared lock on `byte`. Returns `Ok(false)` if another description holds the exclusive
/// one. The descriptor must be open for reading. One system call.
pub fn try_share(fd: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
    match fcntl(fd, FcntlArg::F_OFD_SETLK(&request(libc::F_RDLCK, byte, 1)?)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsFd;

    /// Bytes of locks far beyond the data of the file.
    const LIFE_LOCK: u64 = 1 << 40;
    const JANITOR_LOCK: u64 = 1 << 41;

    fn file() -> tempfile::NamedTempFile {
        tempfile::Builder::new().tempfile_in("/dev/shm").unwrap()
    }

    fn writable(file: &tempfile::NamedTempFile) -> File {
        OpenOptions::new().read(true).write(true).open(file.path()).unwrap()
    }

    #[test]
    fn one_description_excludes_the_others() {
        let file = file();
        let (a, b) = (writable(&file), writable(&file));
        assert!(try_lock(a.as_fd(), LIFE_LOCK).unwrap());
        assert!(try_lock(a.as_fd(), LIFE_LOCK).unwrap(), "its own lock is no obstacle");
        assert!(!try_lock(b.as_fd(), LIFE_LOCK).unwrap());
        assert!(try_lock(b.as_fd(), LIFE_LOCK + 1).unwrap(), "the next byte is another lock");
        assert!(try_lock(b.as_fd(), JANITOR_LOCK).unwrap());
        unlock(a.as_fd(), LIFE_LOCK).unwrap();
        assert!(try_lock(b.as_fd(), LIFE_LOCK).unwrap());
    }

    #[test]
    fn asking_works_read_only_and_is_about_others() {
        let file = file();
        let owner = writable(&file);
        let asker = File::open(file.path()).unwrap();
        assert!(!is_locked(asker.as_fd(), LIFE_LOCK).unwrap());
        assert!(try_lock(owner.as_fd(), LIFE_LOCK).unwrap());
        assert!(is_locked(asker.as_fd(), LIFE_LOCK).unwrap());
        assert!(!is_locked(asker.as_fd(), LIFE_LOCK + 1).unwrap());
        assert!(!is_locked(owner.as_fd(), LIFE_LOCK).unwrap(), "the owner's own description says free");
        drop(owner);
        assert!(!is_locked(asker.as_fd(), LIFE_LOCK).unwrap());
    }

    #[test]
    fn a_readers_shared_lock_is_in_the_way_and_counts_for_nothing_else() {
        let file = file();
        let (owner, stranger) = (writable(&file), File::open(file.path()).unwrap());
        assert!(try_share(stranger.as_fd(), 5).unwrap());
        assert!(!try_lock(owner.as_fd(), 5).unwrap(), "the kernel grants no exclusive lock beside it");
        assert!(!is_locked(owner.as_fd(), 5).unwrap() && is_locked_or_shared(owner.as_fd(), 5).unwrap());
        assert!(try_share(owner.as_fd(), 5).unwrap(), "shared ones go together");
        drop(stranger);
        assert!(try_lock(owner.as_fd(), 5).unwrap());
        let stranger = File::open(file.path()).unwrap();
        assert!(!try_share(stranger.as_fd(), 5).unwrap() && is_locked(stranger.as_fd(), 5).unwrap());
    }

    #[test]
    fn a_range_is_given_up_at_once_and_no_more() {
        let file = file();
        let (owner, asker) = (writable(&file), writable(&file));
        for byte in [9, 10, 12, 13] {
            assert!(try_lock(owner.as_fd(), byte).unwrap());
        }
        unlock_range(owner.as_fd(), 10, 3).unwrap();
        let held: Vec<u64> = (8..15).filter(|&byte| is_locked(asker.as_fd(), byte).unwrap()).collect();
        assert_eq!(held, [9, 13]);
    }

    #[test]
    fn closing_another_descriptor_of_the_file_keeps_the_lock() {
        let file = file();
        let (owner, asker) = (writable(&file), writable(&file));
        assert!(try_lock(owner.as_fd(), 7).unwrap());
        drop(writable(&file)); // Classic POSIX locks would be lost here.
        drop(owner.try_clone().unwrap());
        assert!(is_locked(asker.as_fd(), 7).unwrap());
    }

    #[test]
    fn a_read_only_descriptor_cannot_lock_and_a_wild_offset_is_an_error() {
        let file = file();
        let reader = File::open(file.path()).unwrap();
        assert_eq!(try_lock(reader.as_fd(), 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let wild = is_locked(reader.as_fd(), u64::MAX).unwrap_err();
        assert_eq!(wild.kind(), io::ErrorKind::InvalidInput);
    }
}
