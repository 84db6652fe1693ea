//! A file that a journaller keeps beside its channel: `NAME.journal` or `NAME.stage`.
//!
//! It is complete before it gets its name, under the lock of the bus. It belongs to one incarnation
//! of one channel; a file of another is replaced. A right file that exists is used again. So a
//! process that has it mapped sees the present journaller, and a successor finds the events that
//! its predecessor held.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;
use railbus_os::hugetlb::nameless;
use railbus_os::pages::bytes_text;
use railbus_os::{act_as, descriptor, file_limit};
use railbus_ring::layout::journal as layout;

use crate::channel::attach::Attached;
use crate::channel::directory::{BusLock, LOCK_WAIT, check_file_system};
use crate::error::{Error, Result};

/// The content of such a file's header page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Companion {
    /// The magic, which identifies one of the two kinds of file.
    pub(crate) magic: u64,
    /// The identity of the channel.
    pub(crate) channel_id: [u8; 16],
    /// The incarnation of the channel.
    pub(crate) incarnation: u64,
    /// The length of the file in bytes.
    pub(crate) file_bytes: u64,
    /// The number of staging blocks; 0 in `.journal`.
    pub(crate) blocks: u64,
    /// The offset of the staging blocks, in bytes.
    pub(crate) blocks_offset: u64,
}

impl Companion {
    fn encode(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(layout::MAGIC, &self.magic.to_le_bytes());
        put(layout::LAYOUT_FINGERPRINT, &layout::FINGERPRINT.to_le_bytes());
        put(layout::CHANNEL_ID, &self.channel_id);
        put(layout::INCARNATION, &self.incarnation.to_le_bytes());
        put(layout::FILE_BYTES, &self.file_bytes.to_le_bytes());
        put(layout::BLOCKS, &self.blocks.to_le_bytes());
        put(layout::BLOCKS_OFFSET, &self.blocks_offset.to_le_bytes());
        bytes
    }

    /// Reads the header page of a file; `None` if it is no such file, one of another version, or
    /// shorter than its header states.
    pub(crate) fn read(file: &File, magic: u64) -> io::Result<Option<Companion>> {
        let mut bytes = [0; 64];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let long = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        if long(layout::MAGIC) != magic || long(layout::LAYOUT_FINGERPRINT) != layout::FINGERPRINT {
            return Ok(None);
        }
        let mut channel_id = [0; 16];
        channel_id.copy_from_slice(&bytes[layout::CHANNEL_ID..layout::CHANNEL_ID + 16]);
        let companion = Companion {
            magic,
            channel_id,
            incarnation: long(layout::INCARNATION),
            file_bytes: long(layout::FILE_BYTES),
            blocks: long(layout::BLOCKS),
            blocks_offset: long(layout::BLOCKS_OFFSET),
        };
        Ok((file.metadata()?.len() == companion.file_bytes).then_some(companion))
    }

    /// Whether the file belongs to this channel and no other incarnation of it.
    pub(crate) fn is_of(&self, channel: &Attached) -> bool {
        let header = &channel.header;
        self.channel_id == header.channel_id && self.incarnation == header.incarnation
    }
}

/// Opens a companion file without following links; `None` if there is none.
pub(crate) fn open(path: &Path, write: bool) -> Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    match descriptor::open(&options, path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path, error)),
    }
}

/// Refuses the staging of a channel that another version of railbus left. It may hold events that
/// are nowhere else.
///
/// # Errors
/// [`Error::Version`]; [`Error::Io`].
pub(crate) fn check_version(file: &File, path: &Path, channel_id: [u8; 16]) -> Result<()> {
    let mut bytes = [0; layout::CHANNEL_ID + 16];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        read => read.map_err(|error| Error::io("read", path, error))?,
    }
    let word = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let is_staging = word(layout::MAGIC) == layout::STAGE_MAGIC && bytes[layout::CHANNEL_ID..] == channel_id;
    let found = word(layout::LAYOUT_FINGERPRINT);
    if !is_staging || found == layout::FINGERPRINT {
        return Ok(());
    }
    Err(Error::Version {
        what: format!("the staging {}", path.display()),
        why: format!(
            "its layout is {found:#x}, and that of railbus {} is {:#x}. It holds what a journaller that was killed had in \
             hand: start the railbus that wrote it once and stop it in order, or remove the file and lose that",
            env!("CARGO_PKG_VERSION"),
            layout::FINGERPRINT
        ),
    })
}

/// Opens the file at `path` if `keep` accepts it; otherwise makes it as `wanted` in its place.
/// Returns whether it was made.
///
/// The caller is the only journaller of the channel. Waits for the lock of the bus, at most
/// [`LOCK_WAIT`].
pub(crate) fn open_or_make(
    channel: &Attached,
    path: &Path,
    wanted: Companion,
    mode: u32,
    keep: impl Fn(&Companion) -> bool,
) -> Result<(File, bool)> {
    let directory = &channel.paths.directory;
    let _lock = BusLock::take(directory, LOCK_WAIT)?;
    if let Some(file) = open(path, true)? {
        let found = Companion::read(&file, wanted.magic).map_err(|error| Error::io("read", path, error))?;
        let about = file.metadata().map_err(|error| Error::io("examine", path, error))?;
        // A file that another user may write, or truncate under its mapping, is not used.
        if act_as::is_own_word(&about) && found.is_some_and(|found| found.is_of(channel) && keep(&found)) {
            return Ok((file, false));
        }
        if found.is_none() && wanted.magic == layout::STAGE_MAGIC {
            check_version(&file, path, wanted.channel_id)?;
        }
        std::fs::remove_file(path).map_err(|error| Error::io("replace", path, error))?;
    }
    if channel.is_removed()? {
        return Err(Error::NotFound { what: format!("channel {}", channel.name), path: path.to_owned() });
    }
    let file = nameless(directory).map_err(|error| Error::io("create", path, error))?;
    check_file_system(&file, path)?;
    file.set_permissions(PermissionsExt::from_mode(mode))
        .map_err(|error| Error::io("set the mode of", path, error))?;
    file_limit::check(wanted.file_bytes, path)?;
    // Between the words and the blocks of a staging is a hole, so that the blocks begin at a large
    // page.
    let words_bytes = layout::HEADER_BYTES as u64 + wanted.blocks * layout::BLOCK_WORDS_BYTES as u64;
    let head_bytes = if wanted.blocks == 0 { wanted.file_bytes } else { words_bytes };
    reserve(&file, path, 0, head_bytes)?;
    reserve(&file, path, wanted.blocks_offset, wanted.file_bytes - wanted.blocks_offset)?;
    let header = wanted.encode();
    file.write_all_at(&header[8..], 8).map_err(|error| Error::io("write", path, error))?;
    file.write_all_at(&header[..8], 0).map_err(|error| Error::io("write", path, error))?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, nameless.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)
        .map_err(|error| Error::io("name", path, error.into()))?;
    Ok((file, true))
}

/// Allocates a part of the file, and sets the file's length, so that touching it never fails later.
fn reserve(file: &File, path: &Path, from: u64, bytes: u64) -> Result<()> {
    let number = |bytes: u64| {
        libc::off_t::try_from(bytes)
            .map_err(|_| Error::invalid("staging", format!("{} do not fit a file", bytes_text(bytes))))
    };
    let (from, length) = (number(from)?, number(bytes)?);
    loop {
        // SAFETY: allocates blocks of an open file that nobody else has; touches no memory of this
        // process.
        let result = unsafe { libc::posix_fallocate(file.as_raw_fd(), from, length) };
        match result {
            0 => return Ok(()),
            libc::EINTR => {}
            libc::ENOSPC | libc::ENOMEM => {
                return Err(Error::NoSpace {
                    what: format!("{} ({})", path.display(), bytes_text(bytes)),
                    why: "the tmpfs is full: take less --staging, remove channels (`railbus prune`), or make it \
                          larger (docker: --shm-size; else: mount -o remount,size=... /dev/shm)"
                        .to_owned(),
                });
            }
            error => return Err(Error::io("allocate", path, io::Error::from_raw_os_error(error))),
        }
    }
}
