//! A disk in memory that remembers every write and every flush, below a real file system.
//!
//! ```text
//! ext4 -> loop device (direct I/O) -> a file served by FUSE from this process
//!      -> bytes, and the log of what changed them
//! ```
//!
//! The state after a power cut is then made from the log: everything that was written before the
//! last flush, and any part of the later writes. The disk can also be made to hold back writes.
//!
//! The file is served by a process of its own, outside the test's mount namespace. In the test's
//! process it could end in a deadlock when that is killed: the kernel would unmount ext4, which
//! writes, and wait for the dying server.

#![allow(dead_code, reason = "each test program uses a part")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session,
    SessionACL, WriteFlags,
};

use crate::children::{self, Actor};
use crate::mounts::{self, Mounted, text};

/// The role of the serving process: the module that starts it passes [`serve`] the path.
pub(crate) const ROLE: &str = "serve a disk";

const FILE: INodeNo = INodeNo(2);
const NAME: &str = "disk";
const FOR_EVER: Duration = Duration::from_secs(1 << 30);
/// In the log in place of an offset: a flush.
const FLUSH: u64 = u64::MAX;

/// The serving process and its files: `image`, the disk before the log; `log`; `mounted` once it
/// is; `held` while writes are held back; `waiting` once one was; `failing` when it is to fail.
pub(crate) struct Server {
    process: Actor,
    files: tempfile::TempDir,
}

impl Server {
    /// Serves a fresh ext4 of this many MiB. To be called outside [`mounts::apart`].
    #[track_caller]
    pub(crate) fn start(mebibytes: u64) -> Result<Server, String> {
        let files = tempfile::tempdir_in("/dev/shm").unwrap();
        mounts::make_ext4(&files.path().join("image"), mebibytes)?;
        Ok(Server { process: Actor::start(ROLE, files.path()), files })
    }

    /// The descriptor of /dev/fuse on which the process answers.
    fn descriptor(&mut self) -> Result<OwnedFd, String> {
        let said = self.process.hear();
        let number: i32 = said.parse().map_err(|_| said)?;
        let duplicate = || -> std::io::Result<OwnedFd> {
            // SAFETY: the call takes two integers.
            let pidfd = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, self.process.pid(), 0) })?;
            // SAFETY: the call takes three integers; the descriptor is open.
            owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })
        };
        duplicate().map_err(|error| format!("pidfd_getfd: {error}"))
    }
}

fn owned(result: libc::c_long) -> std::io::Result<OwnedFd> {
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

/// The work of the serving process: it answers until the file system is unmounted or its parent
/// ends.
pub(crate) fn serve(files: &Path) {
    let fuse = match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(fuse) => fuse,
        Err(error) => return children::say(format!("/dev/fuse: {error}").as_bytes()),
    };
    let served = Served {
        bytes: Mutex::new(fs::read(files.join("image")).unwrap()),
        log: Mutex::new(File::create(files.join("log")).unwrap()),
        files: files.to_owned(),
    };
    children::say(fuse.as_raw_fd().to_string().as_bytes());
    std::thread::spawn(|| {
        children::stay();
        std::process::exit(0);
    });
    // Before it is mounted there is nothing to read.
    while !files.join("mounted").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let session = Session::from_fd(served, fuse.into(), SessionACL::Owner, Config::default());
    session.and_then(Session::run).unwrap();
}

/// The disk, with an ext4 mounted on it. Only inside [`mounts::apart`].
pub(crate) struct LoggedDisk {
    // Dropped in this order: the mounted file system, then the one below it.
    mounted: Option<Mounted>,
    fuse: Option<Mounted>,
    server: Server,
}

impl LoggedDisk {
    pub(crate) fn mount(place: &Path, server: Result<Server, String>) -> Result<LoggedDisk, String> {
        let mut server = server?;
        let directory = place.join("server");
        fs::create_dir(&directory).unwrap();
        let fuse = server.descriptor()?;
        let fuse = Mounted::fuse(fuse, &directory)?;
        File::create(server.files.path().join("mounted")).unwrap();
        let mut disk = LoggedDisk { mounted: None, fuse: Some(fuse), server };
        let file = directory.join(NAME);
        let device = mounts::output("losetup", &["--direct-io=on", "--show", "-f", text(&file)])?;
        let mounted = Mounted::at(Path::new(&device), &place.join("disk"), true);
        // In use it goes when it is unmounted; not mounted, at once.
        mounts::run("losetup", &["-d", &device])?;
        disk.mounted = Some(mounted?);
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.mounted.as_ref().map(Mounted::path).unwrap()
    }

    /// The present length of the log.
    pub(crate) fn now(&self) -> u64 {
        fs::metadata(self.file("log")).unwrap().len()
    }

    /// Holds back writes from now on.
    pub(crate) fn hold(&self) {
        File::create(self.file("held")).unwrap();
    }

    /// Whether it has held back a write.
    pub(crate) fn holds(&self) -> bool {
        self.file("waiting").exists()
    }

    /// Answers every write and flush with EIO from now on.
    pub(crate) fn fail(&self) {
        File::create(self.file("failing")).unwrap();
    }

    /// Lets writes go on.
    pub(crate) fn release(&self) {
        let _ = fs::remove_file(self.file("held"));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.server.files.path().join(name)
    }

    /// Unmounts everything, and returns the disks that cuts of the power would have left until
    /// `end`, a length of the log.
    pub(crate) fn unplug(self, end: u64) -> Cuts {
        let bytes = fs::read(self.file("image")).unwrap();
        let mut log = fs::read(self.file("log")).unwrap();
        log.truncate(end as usize);
        Cuts { log, bytes, applied: 0 }
    }
}

impl Drop for LoggedDisk {
    fn drop(&mut self) {
        self.release();
        self.mounted = None;
        self.fuse = None;
    }
}

/// The one file, and its directory.
struct Served {
    bytes: Mutex<Vec<u8>>,
    log: Mutex<File>,
    files: PathBuf,
}

impl Served {
    /// An entry of the log: offset, length, bytes.
    fn note(&self, offset: u64, bytes: &[u8]) {
        let mut entry = [offset.to_le_bytes(), (bytes.len() as u64).to_le_bytes()].concat();
        entry.extend_from_slice(bytes);
        self.log.lock().unwrap().write_all(&entry).unwrap();
    }

    fn attributes(&self, number: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match number {
            INodeNo::ROOT => (FileType::Directory, 0o755, 0),
            FILE => (FileType::RegularFile, 0o600, self.bytes.lock().unwrap().len() as u64),
            _ => return None,
        };
        Some(FileAttr {
            ino: number,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE) {
            Some(attributes) if name == NAME => reply.entry(&FOR_EVER, &attributes, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(number) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Without the page cache in between, which would merge and delay the writes.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let all = self.bytes.lock().unwrap();
        let from = (offset as usize).min(all.len());
        let to = (from + bytes as usize).min(all.len());
        reply.data(&all[from..to]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        while self.files.join("held").exists() {
            File::create(self.files.join("waiting")).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.files.join("failing").exists() {
            return reply.error(Errno::EIO);
        }
        let mut all = self.bytes.lock().unwrap();
        match all.get_mut(offset as usize..offset as usize + bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => return reply.error(Errno::ENOSPC),
        }
        self.note(offset, bytes);
        reply.written(bytes.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if self.files.join("failing").exists() {
            return reply.error(Errno::EIO);
        }
        // Requests come one at a time, and every write before this one was answered.
        self.note(FLUSH, &[]);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok(); // A descriptor was closed: no promise.
    }
}

/// The states after cuts of the power: the disk at each flush of a log.
pub(crate) struct Cuts {
    log: Vec<u8>,
    /// The disk after the first `applied` bytes of the log.
    bytes: Vec<u8>,
    applied: usize,
}

/// The entries of a log from `at` on: offset, bytes, and where the entry ends.
fn entries(log: &[u8], mut at: usize) -> impl Iterator<Item = (u64, &[u8], usize)> {
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u64::from_le_bytes(log.get(at..at + 8)?.try_into().unwrap()));
        let (offset, length) = (word(at)?, word(at + 8)? as usize);
        let bytes = log.get(at + 16..at + 16 + length)?;
        at += 16 + length;
        Some((offset, bytes, at))
    })
}

impl Cuts {
    /// Lengths of the log up to and with each flush.
    pub(crate) fn flushes(&self) -> Vec<usize> {
        let flush = |(offset, _, end)| (offset == FLUSH).then_some(end);
        entries(&self.log, 0).filter_map(flush).collect()
    }

    /// Length of the log at the last moment before the next flush after the one that ends at
    /// `flush`. Promises made before that must not depend on that next flush.
    pub(crate) fn last_moment(&self, flush: usize) -> u64 {
        let unflushed = entries(&self.log, flush).take_while(|(offset, ..)| *offset != FLUSH);
        unflushed.last().map_or(flush, |(_, _, end)| end) as u64
    }

    /// The disk when the power goes after the flush that ends at `flush`. For each 4 KiB written
    /// from there to the next flush, `stays` says whether they are there. (Smaller pieces are more
    /// than ext4 itself survives: its superblock has two sectors.) Flushes must be requested in
    /// ascending order.
    pub(crate) fn after(&mut self, flush: usize, mut stays: impl FnMut() -> bool) -> Vec<u8> {
        assert!(self.applied <= flush, "in ascending order");
        for (offset, bytes, _) in entries(&self.log[..flush], self.applied) {
            if offset != FLUSH {
                self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            }
        }
        self.applied = flush;
        let mut left = self.bytes.clone();
        for (offset, bytes, _) in entries(&self.log, flush).take_while(|(offset, ..)| *offset != FLUSH) {
            for (index, piece) in bytes.chunks(4096).enumerate() {
                if stays() {
                    left[offset as usize + index * 4096..][..piece.len()].copy_from_slice(piece);
                }
            }
        }
        left
    }
}
