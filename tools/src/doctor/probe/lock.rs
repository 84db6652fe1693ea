//! The proof of life that railbus relies on, tried in the directory of channels.
//!
//! A participant locks a byte of a file through a description of its own, maps a page of it and
//! closes the descriptor: the lock then lives exactly as long as the address space. The probe does
//! just that. Through a second description it checks that the lock is seen while the mapping lives,
//! and is gone when the mapping is gone.

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::statfs::fstatfs;

/// Why there is no proof of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It could not be tried.
    NotTried(String),
    /// It was tried and does not work.
    Broken(String),
}

/// Takes a lock, keeps it through a mapping only, and lets it go.
pub(crate) fn probe(directory: &Path) -> Result<(), Refused> {
    let owner = tempfile::tempfile_in(directory).map_err(|error| {
        Refused::NotTried(format!("no file can be made in {}: {error}", directory.display()))
    })?;
    // One page, of which only the address is used here.
    let page_bytes = fstatfs(&owner).ok().and_then(|found| usize::try_from(found.block_size()).ok());
    let length = page_bytes.and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN.saturating_add(4095));
    owner
        .set_len(length.get() as u64)
        .map_err(|error| Refused::NotTried(format!("the file cannot be extended: {error}")))?;
    // A path through /proc makes a description of its own, where `try_clone` would share the owner's.
    let path = format!("/proc/self/fd/{}", owner.as_raw_fd());
    let witness = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| Refused::NotTried(format!("{path}: {error}")))?;

    fcntl(&owner, FcntlArg::F_OFD_SETLK(&byte_lock()))
        .map_err(|error| Refused::Broken(format!("a byte cannot be locked: {error}")))?;
    expect(&witness, true, "a lock is not seen by others")?;

    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice; it is never accessed.
    let mapped = unsafe { mmap(None, length, ProtFlags::PROT_NONE, flags, &owner, 0) };
    let mapped =
        mapped.map_err(|error| Refused::Broken(format!("the locked file cannot be mapped: {error}")))?;
    drop(owner);
    let kept =
        expect(&witness, true, "a lock is lost when its descriptor is closed, though the file is mapped");
    // SAFETY: this is the mapping made above, of that length, and nothing refers to it.
    let unmapped = unsafe { munmap(mapped, length.get()) };
    kept?;
    unmapped.map_err(|error| Refused::Broken(format!("the locked file cannot be unmapped: {error}")))?;

    // Another thread of this process that is between fork and exec holds the description a moment
    // longer.
    for _ in 0..100 {
        if !is_locked(&witness)? {
            return Ok(());
        }
        sleep(Duration::from_millis(1));
    }
    Err(Refused::Broken("a lock outlives its owner".into()))
}

/// A write lock on the first byte of a file.
fn byte_lock() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    }
}

fn is_locked(witness: &File) -> Result<bool, Refused> {
    let mut asked = byte_lock();
    fcntl(witness, FcntlArg::F_OFD_GETLK(&mut asked))
        .map_err(|error| Refused::Broken(format!("a lock cannot be asked for: {error}")))?;
    Ok(asked.l_type != libc::F_UNLCK as i16)
}

fn expect(witness: &File, locked: bool, otherwise: &str) -> Result<(), Refused> {
    if is_locked(witness)? == locked { Ok(()) } else { Err(Refused::Broken(otherwise.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_work_on_a_local_file_system() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(probe(directory.path()), Ok(()));
    }

    #[test]
    fn where_no_file_can_be_made_nothing_is_claimed() {
        assert!(matches!(probe(Path::new("/proc/self")), Err(Refused::NotTried(_))));
    }
}
