//! Opening an existing channel, and mapping it for a role.
//!
//! [`attach()`] opens both files with the rights that the process has, and checks everything in
//! their headers once. Afterwards the geometry comes from the copy in [`Attached::header`], never
//! from shared memory. [`Attached::map`] then gives a role its mappings. Memory that the role does
//! not write is mapped read-only, whatever the rights are.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus_os::file_id::FileId;
use railbus_os::hugetlb::is_hugetlbfs;
use railbus_os::mapping::{Mapping, page_bytes, round_up};
use railbus_os::pages::{Backing, HUGE_2M, Locked, Numa, PageReport, bytes_text};
use railbus_os::{descriptor, smaps};
use railbus_ring::layout::{self, HEADER_BYTES};
use railbus_ring::members::peers::Side;

use super::directory::{check_file_system, not_found, read_page, refuse_link};
use super::header::{FileRole, Header};
use super::name::{ChannelName, ChannelPaths, OLD, beside};
use crate::channel::mapped::{Mapped, Trusted};
use crate::error::{Error, Result};

/// The role of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Writes `.ring`, reads `.acks`.
    Producer,
    /// Reads `.ring`, writes `.acks`.
    Consumer,
    /// Reads both.
    Observer,
}

/// A channel whose files are open and whose headers were checked.
#[derive(Debug)]
pub struct Attached {
    /// The decisions of the creator, which are the same in both files.
    pub header: Header,
    /// The name of the channel.
    pub name: ChannelName,
    /// The paths at which its files were found.
    pub paths: ChannelPaths,
    pub(crate) ring: OpenedFile,
    pub(crate) acks: OpenedFile,
    pub(crate) data: Option<OpenedFile>,
}

/// An open file, and the rights with which it could be opened.
#[derive(Debug)]
pub(crate) struct OpenedFile {
    pub(crate) file: File,
    /// The identity of the file, because code of the same process may close or replace the
    /// descriptor.
    pub(crate) id: FileId,
    pub(crate) writable: bool,
}

impl OpenedFile {
    /// A file that was opened at `path`. One system call.
    pub(crate) fn of(file: File, path: &Path, writable: bool) -> Result<OpenedFile> {
        let id = FileId::of(&file).map_err(|error| Error::io("examine", path, error))?;
        Ok(OpenedFile { file, id, writable })
    }
}

/// Opens a channel and checks its files. `base` is the directory of all buses.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::NotAllowed`] if one of the files may not even be read;
/// [`Error::Layout`] for files of another version; [`Error::Corrupt`] for truncated, foreign and
/// unfinished files.
pub fn attach(base: &Path, channel: &ChannelName) -> Result<Attached> {
    let paths = channel.paths(base);
    // Another process may be removing or replacing the channel between the two opens. So it is
    // tried again.
    let mut last = not_found(channel, paths.clone());
    for _ in 0..20 {
        last = match attach_once(channel, &paths) {
            Err(Attempt::Again(error)) => error,
            Err(Attempt::Failed(error)) => return Err(advise(channel, error)),
            Ok(attached) => return Ok(attached),
        };
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(advise(channel, last))
}

/// Adds to the error for corrupt files what to do about them.
fn advise(channel: &ChannelName, error: Error) -> Error {
    match error {
        Error::Corrupt { what, why } => Error::Corrupt {
            what,
            why: format!("{why}; remove the channel with `railbus rm {channel}`, and create it again"),
        },
        error => error,
    }
}

enum Attempt {
    /// The files did not belong together, which may be temporary.
    Again(Error),
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Attempt {
        Attempt::Failed(error)
    }
}

fn attach_once(channel: &ChannelName, paths: &ChannelPaths) -> std::result::Result<Attached, Attempt> {
    refuse_link(&paths.directory)?;
    let ring = open(&paths.ring, true).map_err(|error| match error {
        Error::NotFound { .. } => not_found(channel, paths.clone()),
        error => error,
    })?;
    check_file_system(&ring.file, &paths.ring)?;
    let header = Header::decode(&*read_page(&ring.file, &paths.ring)?, FileRole::Ring, &paths.ring)?;
    if header.name != channel.channel() {
        let why = format!("it was made as channel {:?}; a channel cannot be renamed", header.name);
        return Err(Error::corrupt(paths.ring.display().to_string(), why).into());
    }
    let mut paths = paths.clone();
    let mut acks = open(&paths.acks, true).map_err(|error| match error {
        Error::NotFound { .. } => {
            let why = format!("{} is missing", paths.acks.display());
            Attempt::Again(Error::corrupt(format!("channel {channel}"), why))
        }
        error => Attempt::Failed(error),
    })?;
    let mut other = Header::decode(&*read_page(&acks.file, &paths.acks)?, FileRole::Acks, &paths.acks)?;
    if header != other
        && let Some((old, again)) = open_old(&header, &paths.acks, FileRole::Acks)
    {
        (acks, other) = (again, header.clone());
        paths.acks = old;
    }
    if header != other {
        let why = "its two files belong to different channels".to_owned();
        return Err(Attempt::Again(Error::corrupt(format!("channel {channel}"), why)));
    }
    let lengths = header.lengths();
    let lengths = lengths.ok_or_else(|| Error::corrupt(format!("channel {channel}"), "lengths overflow"))?;
    check_length(&ring.file, &paths.ring, lengths.ring)?;
    check_length(&acks.file, &paths.acks, lengths.acks)?;
    let data = match (&header.data_path, lengths.data) {
        (Some(path), Some(bytes)) => {
            Some(open_data(path, bytes, &header, &ring.file).map_err(|error| match error {
                // The data file goes before `.acks` when a channel is removed.
                Error::NotFound { .. } => Attempt::Again(error),
                error => Attempt::Failed(error),
            })?)
        }
        _ => None,
    };
    Ok(Attached { header, name: channel.clone(), paths, ring, acks, data })
}

/// The file that belongs to `header` under its second name. It has that name while its channel is
/// made again; or permanently, if the process that did so was killed before the commit.
fn open_old(header: &Header, path: &Path, role: FileRole) -> Option<(PathBuf, OpenedFile)> {
    let path = beside(path, OLD);
    let opened = open(&path, true).ok()?;
    let found = Header::decode(&*read_page(&opened.file, &path).ok()?, role, &path).ok()?;
    (found == *header).then_some((path, opened))
}

/// Opens a file for reading and writing, or else for reading.
fn open(path: &Path, try_write: bool) -> Result<OpenedFile> {
    let mut options = OpenOptions::new();
    // With these flags neither a symbolic link nor a pipe in the place of the file does any harm.
    options.read(true).write(try_write).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    let file = match descriptor::open(&options, path) {
        Ok(file) => file,
        Err(error) if try_write && is_refusal(&error) => return open(path, false),
        Err(error) if is_refusal(&error) => return Err(refusal("read", path)),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let about = file.metadata().map_err(|error| Error::io("examine", path, error))?;
    if !about.is_file() {
        return Err(Error::corrupt(path.display().to_string(), "it is not a regular file"));
    }
    OpenedFile::of(file, path, try_write)
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

/// The error that names owner and mode of the file, and a remedy.
fn refusal(action: &'static str, path: &Path) -> Error {
    // SAFETY: geteuid has no preconditions.
    let user = unsafe { libc::geteuid() };
    let found = match std::fs::symlink_metadata(path) {
        Ok(about) => {
            format!(
                "it belongs to uid {}, gid {}, mode {:#o}",
                about.uid(),
                about.gid(),
                about.mode() & 0o7777
            )
        }
        Err(error) => format!("its directory cannot be searched ({error})"),
    };
    let why = format!(
        "{found}, and this process is uid {user}; run as that user, or have the channel created with a \
         group and mode that let you in"
    );
    Error::NotAllowed { action, path: path.to_owned(), why }
}

fn check_length(file: &File, path: &Path, expected: u64) -> Result<()> {
    let found = file.metadata().map_err(|error| Error::io("examine", path, error))?.len();
    if found == expected {
        return Ok(());
    }
    let state = if found < expected { "truncated" } else { "too long" };
    let why = format!("it is {state}: {found} bytes, its header says {expected}");
    Err(Error::corrupt(path.display().to_string(), why))
}

/// Opens the file on hugetlbfs that a header names. Other users write headers. So the file must be
/// one that only the creator of `.ring` could have put there; otherwise a hostile header could
/// redirect what is written.
fn open_data(path: &Path, bytes: u64, header: &Header, ring: &File) -> Result<OpenedFile> {
    let opened = open(path, true)?;
    let on_hugetlbfs = is_hugetlbfs(&opened.file).map_err(|error| Error::io("examine", path, error))?;
    let about = opened.file.metadata().map_err(|error| Error::io("examine", path, error))?;
    let owner = ring.metadata().map_err(|error| Error::io("examine", path, error))?.uid();
    if !on_hugetlbfs || about.uid() != owner || about.blksize() != header.page_bytes {
        let why = format!(
            "it holds the data of a channel by the header of its .ring, but is not a file of the same owner on \
             a hugetlbfs with pages of {}",
            bytes_text(header.page_bytes)
        );
        return Err(Error::corrupt(path.display().to_string(), why));
    }
    check_length(&opened.file, path, bytes)?;
    Ok(opened)
}

impl Attached {
    /// Maps the channel for a role and faults everything in. Takes no locks and registers no
    /// participant.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] if the role has to write a file that this process may only read.
    pub fn map(&self, role: Role) -> Result<Maps> {
        let (ring, acks) = (role == Role::Producer, role == Role::Consumer);
        if ring && !self.ring.writable {
            return Err(refusal("publish to", &self.paths.ring));
        }
        if acks && !self.acks.writable {
            return Err(refusal("acknowledge events in", &self.paths.acks));
        }
        if let (true, Some(data), Some(path)) = (ring, &self.data, &self.header.data_path)
            && !data.writable
        {
            return Err(refusal("publish to", path));
        }
        self.map_as(ring, acks)
    }

    pub(crate) fn map_as(&self, write_ring: bool, write_acks: bool) -> Result<Maps> {
        let header = &self.header;
        let page = page_bytes();
        let control = |end: usize| (HEADER_BYTES as u64, (end - HEADER_BYTES) as u64);
        let ring_end = size(header.ring_end())?;
        let acks_end = layout::registry_end(header.consumers_max as usize);
        let ring = Region::of(&self.ring.file, &self.paths.ring, control(ring_end), write_ring, page)?;
        let acks = Region::of(&self.acks.file, &self.paths.acks, control(acks_end), write_acks, page)?;
        let (file, path) = match (&self.data, &header.data_path) {
            (Some(data), Some(path)) => (&data.file, path),
            _ => (&self.ring.file, &self.paths.ring),
        };
        let range = (header.data_offset, header.data_bytes);
        let data = Region::of(file, path, range, write_ring, size(header.data_alignment())?)?;
        let done = match header.done_bytes() {
            0 => Region::empty(),
            bytes => {
                let alignment = if bytes >= HUGE_2M { size(HUGE_2M)? } else { page };
                Region::of(
                    &self.acks.file,
                    &self.paths.acks,
                    (header.done_offset, bytes),
                    write_acks,
                    alignment,
                )?
            }
        };
        if let Some(mapping) = &data.mapping {
            mapping.exclude_from_dumps();
        }
        let locked = if header.lock_memory { lock([&data, &ring, &acks, &done]) } else { Locked::NotAsked };
        if let (Backing::ShmHuge, Some(mapping)) = (header.backing, &data.mapping) {
            // The pages are huge, but may not be mapped as such here yet. The request costs nothing
            // if they are. `Maps::pages` finds out the result, because reading smaps takes longer
            // than all the rest.
            let _ = mapping.collapse();
        }
        let numa = header.numa_node.map_or(Numa::Anywhere, Numa::Bound);
        Ok(Maps { ring, data, acks, done, locked, numa })
    }

    /// Maps the control block and the registry of a side, writable.
    pub(crate) fn map_words(&self, side: Side) -> Result<Region> {
        let (file, path, end) = match side {
            Side::Producers => (&self.ring.file, &self.paths.ring, size(self.header.ring_end())?),
            Side::Consumers => {
                (&self.acks.file, &self.paths.acks, layout::registry_end(self.header.consumers_max as usize))
            }
        };
        Region::of(file, path, (HEADER_BYTES as u64, (end - HEADER_BYTES) as u64), true, page_bytes())
    }

    /// `.ring`, as it was opened.
    pub fn ring_file(&self) -> &File {
        &self.ring.file
    }

    /// `.acks`, as it was opened.
    pub fn acks_file(&self) -> &File {
        &self.acks.file
    }

    /// Opens a file of the channel again: the same file, even if its name is gone. The new
    /// description has locks of its own.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] without the right to write, if `write` asks for it; [`Error::Io`].
    pub fn reopen(&self, which: FileRole, write: bool) -> Result<File> {
        let (file, path) = match which {
            FileRole::Ring => (&self.ring.file, &self.paths.ring),
            FileRole::Acks => (&self.acks.file, &self.paths.acks),
            FileRole::Latency => return self.latency_file(write),
        };
        let failed = |error: io::Error| match is_refusal(&error) {
            true => refusal("open for writing", path),
            false => Error::io("open again", path, error),
        };
        let id = FileId::of(file).map_err(failed)?;
        descriptor::open_again(file.as_fd(), path, id, write).map(File::from).map_err(failed)
    }

    /// Opens `.latency`, which stamped channels have, and checks that it belongs to this channel.
    pub(crate) fn latency_file(&self, write: bool) -> Result<File> {
        let mut path = self.paths.latency.clone();
        let mut opened = open(&path, write)?;
        let is_own = |opened: &OpenedFile, path: &Path| {
            let page = read_page(&opened.file, path).ok();
            page.and_then(|page| Header::decode(&page, FileRole::Latency, path).ok()).as_ref()
                == Some(&self.header)
        };
        if !is_own(&opened, &path)
            && let Some((old, again)) = open_old(&self.header, &path, FileRole::Latency)
        {
            (path, opened) = (old, again);
        }
        let path = &path;
        if write && !opened.writable {
            return Err(refusal("measure latency in", path));
        }
        let header = Header::decode(&*read_page(&opened.file, path)?, FileRole::Latency, path)?;
        if header != self.header {
            return Err(Error::corrupt(path.display().to_string(), "it belongs to another channel"));
        }
        check_length(&opened.file, path, self.header.latency_bytes())?;
        Ok(opened.file)
    }

    /// Whether the channel was removed since it was opened: its file has no name any more. If a
    /// channel has its name now, it is another one. Makes one system call. Participants ask now and
    /// then by themselves, see [`RecvError::Removed`](crate::RecvError::Removed).
    ///
    /// # Errors
    /// [`Error::Io`] if the system cannot answer.
    pub fn is_removed(&self) -> Result<bool> {
        let (file, path, id) = self.side_file(Side::Producers);
        match nix::sys::stat::fstat(file) {
            Ok(about) if (FileId { device: about.st_dev, inode: about.st_ino }) == id => {
                Ok(about.st_nlink == 0)
            }
            // Other code of this process has closed the descriptor, so only the name can answer.
            _ => match std::fs::symlink_metadata(path) {
                Ok(about) => Ok(FileId::from(&about) != id),
                // In another root directory, as after chroot, none of the files of this one is
                // found.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Ok(self.paths.directory.parent().is_some_and(Path::is_dir))
                }
                Err(error) => Err(Error::io("examine", path, error)),
            },
        }
    }

    /// The file of one side as it was opened, its path at that time, and its identity.
    pub(crate) fn side_file(&self, side: Side) -> (&File, &Path, FileId) {
        match side {
            Side::Producers => (&self.ring.file, &self.paths.ring, self.ring.id),
            Side::Consumers => (&self.acks.file, &self.paths.acks, self.acks.id),
        }
    }
}

/// The number of bytes as a size of this machine's addresses.
fn size(bytes: u64) -> Result<usize> {
    usize::try_from(bytes)
        .map_err(|_| Error::invalid("size", format!("{bytes} bytes do not fit this machine's addresses")))
}

/// Backing, page size and huge bytes of a mapping, as smaps shows them.
pub(crate) fn see(mapping: &Mapping) -> io::Result<(Backing, u64, u64)> {
    let seen = smaps::seen(mapping.address(), mapping.bytes())?;
    let bytes = mapping.bytes() as u64;
    Ok(if seen.hugetlb_bytes >= bytes {
        (Backing::Hugetlb, seen.kernel_page_bytes, seen.hugetlb_bytes)
    } else if seen.shm_huge_bytes >= bytes {
        (Backing::ShmHuge, HUGE_2M, seen.shm_huge_bytes)
    } else {
        (Backing::Ordinary, seen.kernel_page_bytes, seen.shm_huge_bytes)
    })
}

fn lock(regions: [&Region; 4]) -> Locked {
    for mapping in regions.into_iter().filter_map(|region| region.mapping.as_ref()) {
        if let Err(error) = mapping.lock() {
            let limit = match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK) {
                Ok((soft, _)) => {
                    format!("the limit for locked memory is {}, see `ulimit -l`", bytes_text(soft))
                }
                Err(_) => "the limit for locked memory is unknown".to_owned(),
            };
            return Locked::No(format!("{} more: {error}; {limit}", bytes_text(mapping.bytes() as u64)));
        }
    }
    Locked::Yes
}

/// The mappings of a channel.
#[derive(Debug)]
pub struct Maps {
    /// Control block and producer registry.
    pub ring: Region,
    /// Frames or slots.
    pub data: Region,
    /// Control block and consumer registry.
    pub acks: Region,
    /// Done words of a queue; empty otherwise.
    pub done: Region,
    /// Whether all of it is locked in memory.
    pub locked: Locked,
    numa: Numa,
}

impl Maps {
    /// Whether one of the files was truncated while it was mapped, so that zeros are in its place
    /// ([`railbus_os::truncated`]).
    pub(crate) fn is_lost(&self) -> bool {
        let regions = [&self.ring, &self.data, &self.acks, &self.done];
        regions.iter().any(|region| region.mapping.as_ref().is_some_and(Mapping::is_lost))
    }

    /// The pages of the data in this process, as smaps shows them. Takes a few 100 us.
    pub fn pages(&self) -> Result<PageReport> {
        let Some(mapping) = &self.data.mapping else {
            return Err(Error::corrupt("channel", "it has no data"));
        };
        let (got, page_bytes, huge_bytes_seen) =
            see(mapping).map_err(|error| Error::io("read", "/proc/self/smaps", error))?;
        Ok(PageReport {
            asked: None,
            got,
            data_bytes: self.data.bytes as u64,
            page_bytes,
            huge_bytes_seen,
            locked: self.locked.clone(),
            numa: self.numa.clone(),
            missed: Vec::new(),
        })
    }
}

/// A part of a file in memory. It is unmapped when dropped.
#[derive(Debug)]
pub struct Region {
    mapping: Option<Mapping>,
    /// The bytes from the start of the mapping to the region, because mappings begin at pages.
    skip: usize,
    bytes: usize,
}

impl Region {
    fn empty() -> Region {
        Region { mapping: None, skip: 0, bytes: 0 }
    }

    pub(crate) fn of(
        file: &File,
        path: &Path,
        range: (u64, u64),
        writable: bool,
        alignment: usize,
    ) -> Result<Region> {
        let region = Region::reserved(file, path, range, writable, alignment)?;
        if let Some(mapping) = &region.mapping {
            mapping.populate(true).map_err(|error| Error::io("fault in", path, error))?;
        }
        Ok(region)
    }

    /// As [`Self::of`], with pages that are faulted in when they are touched.
    fn reserved(
        file: &File,
        path: &Path,
        range: (u64, u64),
        writable: bool,
        alignment: usize,
    ) -> Result<Region> {
        let (offset, bytes) = range;
        let page = page_bytes() as u64;
        let start = offset & !(page - 1);
        let whole = (offset - start).checked_add(bytes).and_then(|sum| round_up(sum, page));
        let whole =
            size(whole.ok_or_else(|| Error::corrupt(path.display().to_string(), "lengths overflow"))?)?;
        let mapping = Mapping::of_file(file, start, whole, writable, alignment);
        let mapping = mapping.map_err(|error| Error::io("map", path, error))?;
        Ok(Region { mapping: Some(mapping), skip: size(offset - start)?, bytes: size(bytes)? })
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether this process may write it.
    pub fn writable(&self) -> bool {
        self.mapping.as_ref().is_some_and(Mapping::writable)
    }

    /// The region as memory that checks every offset. `light` is true if this process is registered
    /// for membarrier.
    ///
    /// # Safety
    /// The region is kept as long as any copy of the memory is used, and nothing is stored into a
    /// region that is not [`writable`](Region::writable).
    pub unsafe fn memory(&self, light: bool) -> Mapped {
        // SAFETY: mapped as long as the region is kept, which the caller promises; aligned, because
        // offsets in files are multiples of 8 and mappings begin at pages. An empty region has no
        // word that could be accessed.
        unsafe { Mapped::new(self.base(), self.bytes, light) }
    }

    /// As [`Region::memory`], for the handles of this crate.
    ///
    /// # Safety
    /// As for [`Region::memory`], and as [`Trusted::trusted`] requires of offsets.
    pub(crate) unsafe fn trusted(&self, light: bool) -> Trusted {
        // SAFETY: as in `memory`, and by the contract.
        unsafe { Trusted::trusted(self.base(), self.bytes, light) }
    }

    fn base(&self) -> *mut u8 {
        match &self.mapping {
            // SAFETY: `skip + bytes` is at most the length of the mapping, by construction.
            Some(mapping) => unsafe { mapping.base().as_ptr().add(self.skip) },
            None => std::ptr::without_provenance_mut(8),
        }
    }
}
