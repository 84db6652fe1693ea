//! Directories: their file system, how much room there is, and which operations it allows.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::statfs::statfs;
use nix::unistd::{AccessFlags, access};
use railbus::Owner;

/// A directory to be used.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    /// The directory asked for.
    pub(crate) path: PathBuf,
    /// Itself, or the nearest directory above it that exists.
    pub(crate) nearest: PathBuf,
    /// Whether the directory itself exists.
    pub(crate) exists: bool,
    /// Whether this user may make files in `nearest`.
    pub(crate) writable: bool,
    /// The type of the file system, or why it is not known.
    pub(crate) kind: Result<String, String>,
    /// Size of the file system in bytes; 0 where it has no limit of its own.
    pub(crate) total_bytes: u64,
    /// Bytes that this user may still use there.
    pub(crate) free_bytes: u64,
    /// Why buses there could belong to another user, if they could.
    pub(crate) untrusted: Option<String>,
}

/// Looks at `path` without changing anything.
pub(crate) fn look(path: &Path) -> Directory {
    let exists = path.is_dir();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let nearest = absolute.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned();
    // A file in the way of the directory is found here: nothing can be made below it.
    let blocked =
        absolute.ancestors().take_while(|path| *path != nearest).any(|path| path.symlink_metadata().is_ok());
    let mut directory = Directory {
        path: path.to_owned(),
        exists,
        writable: !blocked && may_write(&nearest),
        nearest,
        kind: Err(String::new()),
        total_bytes: 0,
        free_bytes: 0,
        untrusted: untrusted(path),
    };
    match statfs(&directory.nearest) {
        Ok(found) => {
            let block_bytes = u64::try_from(found.block_size()).unwrap_or(0);
            directory.total_bytes = found.blocks().saturating_mul(block_bytes);
            directory.free_bytes = found.blocks_available().saturating_mul(block_bytes);
            directory.kind = Ok(kind_name(found.filesystem_type().0 as u32));
        }
        Err(error) => directory.kind = Err(format!("{}: {error}", directory.nearest.display())),
    }
    if blocked {
        directory.kind = Err(format!("{} is not a directory", path.display()));
    }
    directory
}

/// Whether another user can rearrange the directory, and put links in the place of buses.
fn untrusted(path: &Path) -> Option<String> {
    if let Err(error) = Owner::from_environment().and_then(|owner| owner.check_base(path)) {
        return Some(error.to_string());
    }
    let links = fs::read_dir(path).ok()?.flatten();
    let links = links.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    let names: Vec<String> = links.map(|entry| entry.path().display().to_string()).take(10).collect();
    let why = "symbolic links in the place of buses, which are not used";
    (!names.is_empty()).then(|| format!("{why}: {}", names.join(", ")))
}

/// Whether this user may make files in `path`.
pub(crate) fn may_write(path: &Path) -> bool {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Whether both are on one file system.
pub(crate) fn same_device(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    device(one).is_some_and(|number| device(other) == Some(number))
}

/// The name of a file system's magic number (statfs(2)).
fn kind_name(magic: u32) -> String {
    let name = match magic {
        0x0102_1994 => "tmpfs",
        0x9584_58f6 => "hugetlbfs",
        0x8584_58f6 => "ramfs",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0xf2f5_2010 => "f2fs",
        0x2fc1_2fc1 => "zfs",
        0xca45_1a4e => "bcachefs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 => "smb",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        _ => return format!("type {magic:#x}"),
    };
    name.to_owned()
}

/// The leftover of a process that was killed while it made or removed something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leftover {
    /// The directory of a bus, or of all buses, that never got its name.
    Directory(PathBuf),
    /// The `.acks` file of a channel without its `.ring`: the channel does not exist yet, or no
    /// longer.
    HalfChannel { bus: String, channel: String },
}

impl Leftover {
    /// The command that removes it.
    pub(crate) fn removal(&self) -> String {
        match self {
            Leftover::Directory(path) => format!("rmdir '{}'", path.display()),
            Leftover::HalfChannel { bus, channel } => format!("railbus rm {bus}/{channel}"),
        }
    }
}

/// The prefix of directories that are not finished.
const TEMPORARY_PREFIX: &str = ".railbus-";
/// A half-made entry that is older than this is not in progress.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);
/// The most entries that are looked at: the doctor does not walk a directory without end.
const ENTRIES_MAX: usize = 100_000;

/// The leftovers of killed processes in `base`, beside it, and in the buses in it, if they are
/// older than a minute.
pub(crate) fn leftovers(base: &Path) -> Result<Vec<Leftover>, String> {
    let mut found = Vec::new();
    let mut buses = Vec::new();
    // The base directory itself is made beside its name, too.
    let beside = base.parent().map(old_entries).transpose()?.unwrap_or_default();
    found.extend(beside.into_iter().filter(|name| name.starts_with(TEMPORARY_PREFIX)).map(|name| {
        let path = base.with_file_name(name);
        Leftover::Directory(path)
    }));
    for name in old_entries(base)? {
        if name.starts_with(TEMPORARY_PREFIX) {
            found.push(Leftover::Directory(base.join(name)));
        } else if base.join(&name).is_dir() {
            buses.push(name);
        }
    }
    for bus in buses {
        for name in old_entries(&base.join(&bus))? {
            let Some(channel) = name.strip_suffix(".acks") else { continue };
            // Creation names `.ring` last and removal unlinks it first.
            if !base.join(&bus).join(format!("{channel}.ring")).exists() {
                found.push(Leftover::HalfChannel { bus: bus.clone(), channel: channel.to_owned() });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The commands that open the locks of buses to the users who may use their directories, if those
/// directories were opened after the lock was made. A user who may not open the lock can neither
/// create nor record there.
pub(crate) fn narrow_locks(base: &Path) -> Result<Vec<String>, String> {
    let entries = match fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", base.display())),
    };
    let mut commands = Vec::new();
    for entry in entries.flatten().take(ENTRIES_MAX) {
        let path = entry.path().join(".lock");
        let (Ok(bus), Ok(lock)) = (entry.metadata(), fs::symlink_metadata(&path)) else { continue };
        let shared = bus.mode() & 0o022;
        if !bus.is_dir() || shared == 0 || !lock.is_file() {
            continue;
        }
        let mode = 0o600 | (shared * 3);
        if lock.mode() & 0o666 != mode || lock.gid() != bus.gid() {
            commands.push(format!(
                "chgrp {} {path} && chmod {mode:o} {path}",
                bus.gid(),
                path = path.display()
            ));
        }
    }
    commands.sort();
    Ok(commands)
}

/// Names in `directory` that have not changed for a minute, and all directories; nothing where
/// there is none.
fn old_entries(directory: &Path) -> Result<Vec<String>, String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", directory.display())),
    };
    let mut names = Vec::new();
    for (count, entry) in entries.flatten().enumerate() {
        if count == ENTRIES_MAX {
            return Err(format!("{} holds more than {ENTRIES_MAX} files", directory.display()));
        }
        let (Ok(metadata), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else {
            continue; // It has just been removed, or is not ours: our names are ASCII.
        };
        let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        let temporary = name.starts_with(TEMPORARY_PREFIX);
        if age.is_some_and(|age| age >= LEFTOVER_AGE) || (metadata.is_dir() && !temporary) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The reports of a directory's file system about O_DIRECT, and the result of its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Direct {
    /// Alignment of memory in bytes, if the kernel reports it (from Linux 6.1); 0 is "not
    /// supported".
    pub(crate) memory_align_bytes: Option<u32>,
    /// Alignment of file offsets and lengths in bytes, likewise.
    pub(crate) offset_align_bytes: Option<u32>,
    /// Whether a 4 KiB block could be written and read again.
    pub(crate) write: Result<(), String>,
}

/// A block that is aligned as the journal's are.
#[repr(C, align(4096))]
struct ProbeBlock([u8; 4096]);

/// Writes a block with O_DIRECT into a file without a name in `directory`.
pub(crate) fn direct(directory: &Path) -> Result<Direct, String> {
    let mut file = tempfile::tempfile_in(directory)
        .map_err(|error| format!("no file can be made in {}: {error}", directory.display()))?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let write = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .map_err(|error| format!("open with O_DIRECT: {error}"))
        .and_then(|direct| {
            direct
                .write_all_at(&ProbeBlock([7; 4096]).0, 0)
                .map_err(|error| format!("write with O_DIRECT: {error}"))
        })
        .and_then(|()| {
            let mut back = Vec::new();
            file.read_to_end(&mut back).map_err(|error| format!("read back: {error}"))?;
            if back == [7; 4096] { Ok(()) } else { Err("a written block reads back differently".to_owned()) }
        });
    let (memory_align_bytes, offset_align_bytes) = direct_alignment(&file);
    Ok(Direct { memory_align_bytes, offset_align_bytes, write })
}

/// statx STATX_DIOALIGN, for kernels and file systems that answer it.
fn direct_alignment(file: &fs::File) -> (Option<u32>, Option<u32>) {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the descriptor is open, the path is an empty C string, and the answer has the call's
    // size.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            answer.as_mut_ptr(),
        )
    };
    // SAFETY: all fields are integers, for which the zeroed start is a value, whatever the call wrote.
    let answer = unsafe { answer.assume_init() };
    if result != 0 || answer.stx_mask & libc::STATX_DIOALIGN == 0 {
        return (None, None);
    }
    (Some(answer.stx_dio_mem_align), Some(answer.stx_dio_offset_align))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_judged_by_its_nearest_ancestor() {
        let directory = tempfile::tempdir().expect("a directory");
        let found = look(&directory.path().join("a/b"));
        assert_eq!((found.exists, found.writable), (false, true));
        assert_eq!(found.nearest, directory.path());
        assert!(found.kind.is_ok() && found.total_bytes >= found.free_bytes);
    }

    #[test]
    fn a_file_in_the_way_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("a"), "").expect("a file");
        let found = look(&directory.path().join("a"));
        assert!(!found.writable && found.kind.expect_err("a file").contains("not a directory"));
    }

    #[test]
    fn a_lock_that_did_not_follow_its_bus_is_named_with_the_command() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().expect("a directory");
        let (bus, lock) = (base.path().join("bank"), base.path().join("bank/.lock"));
        fs::create_dir(&bus).expect("a bus");
        fs::write(&lock, "").expect("a lock");
        let chmod =
            |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        chmod(&lock, 0o600);
        chmod(&bus, 0o755);
        assert_eq!(narrow_locks(base.path()), Ok(Vec::new()));
        chmod(&bus, 0o2775);
        let found = narrow_locks(base.path()).expect("readable");
        assert!(
            found.len() == 1 && found[0].ends_with(&format!("chmod 660 {}", lock.display())),
            "{found:?}"
        );
        chmod(&lock, 0o660);
        assert_eq!(narrow_locks(base.path()), Ok(Vec::new()));
    }

    #[test]
    fn only_what_is_old_and_half_made_is_a_leftover() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path().join("base");
        let bus = base.join("bus");
        fs::create_dir_all(&bus).expect("a bus");
        let age = |path: &Path| {
            let time = SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(path).and_then(|file| file.set_modified(time)).expect("an old file");
        };
        // A finished channel, the lock of the bus, a half-made channel that is old and one that is new.
        for name in ["ticks.ring", "ticks.acks", ".lock", "dead.acks"] {
            fs::write(bus.join(name), "").expect("a file");
            age(&bus.join(name));
        }
        fs::write(bus.join("new.acks"), "").expect("a file");
        for path in [directory.path().join(".railbus-1"), base.join(".railbus-2")] {
            fs::create_dir(&path).expect("a directory");
            age(&path);
        }
        fs::create_dir(base.join(".railbus-3")).expect("a directory");
        let left = vec![
            Leftover::Directory(directory.path().join(".railbus-1")),
            Leftover::Directory(base.join(".railbus-2")),
            Leftover::HalfChannel { bus: "bus".into(), channel: "dead".into() },
        ];
        assert_eq!(leftovers(&base), Ok(left));
        assert_eq!(leftovers(&bus.join("absent")), Ok(Vec::new()));
        assert!(leftovers(&bus.join("ticks.ring")).is_err());
    }

    #[test]
    fn direct_writes_are_tried_and_leave_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let found = direct(directory.path()).expect("a file can be made");
        if let Err(reason) = found.write {
            println!("no O_DIRECT here: {reason}");
        }
        assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 0);
        assert!(direct(&directory.path().join("absent")).is_err());
    }
}
