//! The identity of the file that a descriptor is open on, whatever the file's name is now.

use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::fstat;

/// A file's identity: two descriptors with equal identities are open on the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The device of the file system.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
}

impl FileId {
    /// Asks the kernel which file a descriptor is open on. One system call.
    pub fn of(fd: impl AsFd) -> io::Result<FileId> {
        let status = fstat(fd)?;
        Ok(FileId { device: status.st_dev, inode: status.st_ino })
    }
}

impl From<&Metadata> for FileId {
    fn from(about: &Metadata) -> FileId {
        FileId { device: about.dev(), inode: about.ino() }
    }
}
