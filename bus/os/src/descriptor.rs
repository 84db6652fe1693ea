//! Descriptors that a library may keep in a process that belongs to another program.
//!
//! A program may have closed its standard streams, as daemons do. The kernel gives the lowest free
//! number to the next file that is opened, and code that prints to "standard output" then writes
//! into that file. So every descriptor that is kept for longer than a call is moved above the
//! standard streams, by [`above_standard`]. It is close-on-exec like all the others.
//!
//! [`open_again`] makes another description of a file that is open already. It does not depend on
//! the working directory, and works when the file's name is gone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::file_id::FileId;

/// The lowest number above the standard streams.
const FIRST: i32 = libc::STDERR_FILENO + 1;

/// Returns the same open file under a number above those of the standard streams. No system call if
/// it has one already, which is nearly always so.
///
/// # Errors
/// Those of `fcntl(2)`: EMFILE.
pub fn above_standard<T: AsFd + From<OwnedFd>>(opened: T) -> io::Result<T> {
    let number = opened.as_fd().as_raw_fd();
    if number >= FIRST {
        return Ok(opened);
    }
    // SAFETY: the descriptor is open; the call makes a new one and touches no memory.
    let moved = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, FIRST) };
    if moved < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number was just made, and nobody else owns it.
    Ok(T::from(unsafe { OwnedFd::from_raw_fd(moved) }))
    // The low number is closed here, with `opened`.
}

/// Makes a descriptor by `make` while the numbers of the standard streams are taken, for a
/// descriptor that cannot be moved afterwards. Three more system calls.
pub fn made_above_standard<T>(make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut placeholders = Vec::new();
    // SAFETY: F_GETFD takes any number, and returns EBADF for one that is not a descriptor.
    while (0..FIRST).any(|number| unsafe { libc::fcntl(number, libc::F_GETFD) } < 0) {
        // A directory is opened, because every write to it fails.
        let placeholder = File::open("/")?;
        if placeholder.as_raw_fd() >= FIRST {
            // Another thread has taken the number.
            break;
        }
        placeholders.push(placeholder);
    }
    make()
}

/// Opens the file at `path` by `options`, under a number above those of the standard streams.
pub fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path).and_then(above_standard)
}

/// Opens the file of `opened` once more, for reading, and for writing as well if `write`. It looks
/// for the file at `path` if /proc is not available, or if the descriptor was closed or replaced.
/// The result is always the `expected` file.
///
/// # Errors
/// EACCES without the right to open it. ENOENT if it is not found in either way. ESTALE if another
/// file is at `path`.
pub fn open_again(opened: BorrowedFd<'_>, path: &Path, expected: FileId, write: bool) -> io::Result<OwnedFd> {
    let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    // The identity is checked before the file is opened. A stranger's device in its place could
    // block, or do something when it is opened.
    if FileId::of(opened).is_ok_and(|found| found == expected)
        && let Ok(file) = open(&options, Path::new(&link))
        && FileId::of(&file).is_ok_and(|found| found == expected)
    {
        return Ok(file.into());
    }
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = open(&options, path)?;
    match FileId::of(&file)? == expected {
        true => Ok(file.into()),
        false => Err(io::Error::from_raw_os_error(libc::ESTALE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> tempfile::NamedTempFile {
        tempfile::NamedTempFile::new_in("/dev/shm").unwrap()
    }

    #[test]
    fn a_high_number_is_kept() {
        let file = temporary().into_file();
        let number = file.as_raw_fd();
        assert_eq!(above_standard(file).unwrap().as_raw_fd(), number);
    }

    #[test]
    fn a_file_is_opened_again_without_its_name_or_without_its_descriptor() {
        let (file, other) = (temporary(), temporary());
        let id = FileId::of(file.as_file()).unwrap();
        // The descriptor leads to another file: only the name helps.
        let again = open_again(other.as_file().as_fd(), file.path(), id, true).unwrap();
        assert_eq!(FileId::of(&again).unwrap(), id);
        let opened = file.reopen().unwrap();
        drop(file);
        let again = open_again(opened.as_fd(), Path::new("/nowhere"), id, true).unwrap();
        assert_eq!(FileId::of(&again).unwrap(), id);
        let wrong = open_again(other.as_file().as_fd(), other.path(), id, true).unwrap_err();
        assert_eq!(wrong.raw_os_error(), Some(libc::ESTALE));
    }
}
