//! The abilities of a directory's disk that matter to a journal. Each is tried, and not assumed.
//!
//! [`probe`] writes one sector into a file without a name and leaves nothing behind. `Display`
//! prints the line that `doctor` and the daemon show.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::{fmt, io};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;
use nix::unistd::unlink;
use railbus_os::{Error, Result};

use crate::disk::uring;
use crate::disk::whole::write_whole;
use crate::format::SECTOR_BYTES;
use crate::stage::buffers::StageMemory;

/// How direct I/O must be aligned, in bytes; 0 where the kernel does not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alignment {
    /// Alignment of memory.
    pub memory_bytes: u32,
    /// Alignment of offsets and lengths in the file.
    pub offset_bytes: u32,
}

/// The result of [`probe`]. A reason is the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskProbe {
    /// The name of the file system: `ext4`, `xfs`, ...
    pub filesystem: String,
    /// Number of bytes that this user may still write.
    pub free_bytes: u64,
    /// The alignment of direct I/O in the journal's sectors, or the reason why it does not work.
    pub direct: std::result::Result<Alignment, String>,
    /// Whether io_uring works, or the reason why it does not.
    pub io_uring: std::result::Result<(), String>,
}

impl fmt::Display for DiskProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.filesystem)?;
        match &self.direct {
            Ok(Alignment { memory_bytes: 0, .. }) => write!(f, ", O_DIRECT (alignment not told)")?,
            Ok(align) => write!(
                f,
                ", O_DIRECT ({} B in memory, {} B in the file)",
                align.memory_bytes, align.offset_bytes
            )?,
            Err(why) => write!(f, ", no O_DIRECT: {why}")?,
        }
        match &self.io_uring {
            Ok(()) => write!(f, ", io_uring"),
            Err(why) => write!(f, ", no io_uring: {why}"),
        }
    }
}

/// Tries what the disk of `directory` can do. Blocks for a write of one sector.
///
/// # Errors
/// If no file can be made there. An ability that the disk lacks is no error.
pub fn probe(directory: &Path) -> Result<DiskProbe> {
    let failed = |action, error: io::Error| Error::io(action, directory, error);
    let file = unnamed_file(directory).map_err(|error| failed("make a file in", error))?;
    let found = fstatfs(&file).map_err(|error| failed("look at the file system of", error.into()))?;
    let block_bytes = u64::try_from(found.block_size()).unwrap_or(0);
    Ok(DiskProbe {
        filesystem: filesystem_name(found.filesystem_type().0 as u32),
        free_bytes: found.blocks_available().saturating_mul(block_bytes),
        direct: direct(&file),
        io_uring: io_uring(),
    })
}

/// Tries whether io_uring works in this process. The error says why it does not.
///
/// # Errors
/// The reason, as the end of a sentence.
pub fn io_uring() -> std::result::Result<(), String> {
    uring::probe().map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => match std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
            Ok(text) if text.trim() != "0" => {
                format!("refused (sysctl kernel.io_uring_disabled is {}; 0 allows it)", text.trim())
            }
            _ => format!("refused ({error}; a seccomp filter of the container or service)"),
        },
        Some(libc::ENOSYS) => format!("not there ({error}; an old kernel, or a seccomp filter)"),
        _ => error.to_string(),
    })
}

fn unnamed_file(directory: &Path) -> io::Result<File> {
    let mode = Mode::from_bits_truncate(0o600);
    match open(directory, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, mode) {
        Ok(fd) => return Ok(fd.into()),
        // Some file systems cannot make a file without a name (some of FUSE and the network).
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => {}
        Err(error) => return Err(error.into()),
    }
    // The file has the name of a spare. If this process is killed here, the next writer removes the
    // file.
    let path = directory.join(format!("spare-zeroing-{}.tmp", std::process::id()));
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let fd = open(&path, flags, mode)?;
    unlink(&path)?;
    Ok(fd.into())
}

fn direct(file: &File) -> std::result::Result<Alignment, String> {
    // SAFETY: the descriptor is open and owned by `file`; the call takes integers only.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_DIRECT) } != 0 {
        return Err(format!("the file system refuses it ({})", io::Error::last_os_error()));
    }
    let told = alignment(file);
    if let Some(align) = told {
        let sector = SECTOR_BYTES as u32;
        let fits = |bytes: u32| bytes > 0 && sector.is_multiple_of(bytes);
        if align.memory_bytes == 0 || align.offset_bytes == 0 {
            return Err("the file system does not support it".into());
        }
        if !fits(align.memory_bytes) || !fits(align.offset_bytes) {
            return Err(format!(
                "the disk wants {} B in memory and {} B in the file, more than a sector of {sector} B",
                align.memory_bytes, align.offset_bytes
            ));
        }
    }
    let written = StageMemory::anonymous(1)
        .and_then(|mut memory| write_whole(file, &memory.block(0)[..SECTOR_BYTES], 0));
    match written {
        Ok(()) => {}
        // A full disk says nothing about how it can be written.
        Err(error) if error.kind() == io::ErrorKind::StorageFull && told.is_some() => {}
        Err(error) => return Err(format!("a write failed ({error})")),
    }
    Ok(told.unwrap_or(Alignment { memory_bytes: 0, offset_bytes: 0 }))
}

/// Asks statx for STATX_DIOALIGN; `None` where the kernel or file system does not report it.
fn alignment(file: &File) -> Option<Alignment> {
    // SAFETY: all fields are integers, for which zeros are a value.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN);
    // SAFETY: the descriptor is open, the path is an empty C string, and the answer has the call's size.
    let result = unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, mask, &raw mut answer) };
    if result != 0 || answer.stx_mask & libc::STATX_DIOALIGN == 0 {
        return None;
    }
    Some(Alignment { memory_bytes: answer.stx_dio_mem_align, offset_bytes: answer.stx_dio_offset_align })
}

/// Returns the name for a file system's magic number (statfs(2)).
fn filesystem_name(magic: u32) -> String {
    let name = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0xf2f5_2010 => "f2fs",
        0x2fc1_2fc1 => "zfs",
        0xca45_1a4e => "bcachefs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 => "smb",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        _ => return format!("file system {magic:#x}"),
    };
    name.to_owned()
}
