//! Real probes: what this machine lets this process do, tried rather than read from settings.
//!
//! They are apart from the checks, which judge their results ([`Facts`]) without a system call. A
//! probe leaves nothing behind, also when it is killed: its files have no name, and its
//! registrations end with the process. An `Err` says why a probe could not be tried or what was
//! refused, as a text for people.

pub(crate) mod calls;
pub(crate) mod clock;
pub(crate) mod collapse;
pub(crate) mod directory;
pub(crate) mod journals;
pub(crate) mod lock;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::system::System;

/// Everything that was tried.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// $RAILBUS_DIR.
    pub(crate) bus: directory::Directory,
    /// Where the probes made their files: in the directory of channels, or elsewhere on the same
    /// file system.
    pub(crate) place: PathBuf,
    /// /dev/shm.
    pub(crate) shm: directory::Directory,
    /// The directory of `--journal`.
    pub(crate) journal: Option<(directory::Directory, Result<directory::Direct, String>)>,
    /// Faults in the rights of the journals below it; empty without `--journal`.
    pub(crate) journals: Result<Vec<journals::Wrong>, String>,
    /// Huge pages for a file in the directory of channels.
    pub(crate) collapse: Result<collapse::Collapse, String>,
    /// Proof of life by a lock, in the directory of channels.
    pub(crate) lock: Result<(), lock::Refused>,
    /// Leftovers of killed processes in the directory of the buses.
    pub(crate) leftovers: Result<Vec<directory::Leftover>, String>,
    /// Commands that open locks of buses to the users who may use their directories.
    pub(crate) narrow_locks: Result<Vec<String>, String>,
    /// Whether this user may write at each hugetlbfs mount.
    pub(crate) hugetlbfs_writable: BTreeMap<String, bool>,
    /// io_uring.
    pub(crate) io_uring: Result<calls::Uring, String>,
    /// `membarrier(GLOBAL_EXPEDITED)`.
    pub(crate) membarrier: Result<(), String>,
    /// The monotonic clock.
    pub(crate) clock: clock::ProbedClock,
    /// The tolerated exit latency in us of all CPUs, if it may be read.
    pub(crate) dma_latency_us: Option<i32>,
}

impl Facts {
    /// Tries everything. Takes some ms; `bus` is $RAILBUS_DIR.
    pub(crate) fn gather(system: &System, bus: &Path, journal: Option<&Path>) -> Facts {
        let bus = directory::look(bus);
        let shm = directory::look(Path::new("/dev/shm"));
        // Channels would lie below the nearest directory that exists already. A user who may only
        // attach there can still try the same file system elsewhere.
        let place = if !bus.writable && shm.writable && directory::same_device(&bus.nearest, &shm.nearest) {
            shm.nearest.clone()
        } else {
            bus.nearest.clone()
        };
        let huge_page_bytes = system.number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").ok();
        let hugetlbfs =
            system.mounts().unwrap_or_default().into_iter().filter(|mount| mount.kind == "hugetlbfs");
        Facts {
            collapse: collapse::probe(&place, huge_page_bytes.and_then(|bytes| usize::try_from(bytes).ok())),
            lock: lock::probe(&place),
            leftovers: directory::leftovers(&bus.path),
            narrow_locks: directory::narrow_locks(&bus.path),
            shm,
            journal: journal.map(|path| (directory::look(path), directory::direct(path))),
            journals: journal.map_or(Ok(Vec::new()), journals::wrongs),
            hugetlbfs_writable: hugetlbfs
                .map(|mount| {
                    let writable = directory::may_write(Path::new(&mount.point));
                    (mount.point, writable)
                })
                .collect(),
            io_uring: calls::io_uring(),
            membarrier: calls::membarrier(),
            clock: clock::measure(),
            dma_latency_us: calls::dma_latency_us(),
            place,
            bus,
        }
    }
}

#[cfg(test)]
impl Facts {
    /// The facts of a machine where everything works.
    pub(crate) fn good() -> Facts {
        let tmpfs = |path: &str| directory::Directory {
            path: path.into(),
            nearest: path.into(),
            exists: true,
            writable: true,
            kind: Ok("tmpfs".into()),
            total_bytes: 32 << 30,
            free_bytes: 31 << 30,
            untrusted: None,
        };
        Facts {
            bus: tmpfs("/dev/shm/railbus"),
            place: "/dev/shm/railbus".into(),
            shm: tmpfs("/dev/shm"),
            journal: Some((
                directory::Directory { kind: Ok("xfs".into()), ..tmpfs("/var/lib/railbus") },
                Ok(directory::Direct {
                    memory_align_bytes: Some(512),
                    offset_align_bytes: Some(512),
                    write: Ok(()),
                }),
            )),
            journals: Ok(Vec::new()),
            collapse: Ok(collapse::Collapse { huge_page_bytes: 2 << 20, huge_bytes: 2 << 20, refused: None }),
            lock: Ok(()),
            leftovers: Ok(Vec::new()),
            narrow_locks: Ok(Vec::new()),
            hugetlbfs_writable: [("/dev/hugepages".to_owned(), true)].into(),
            io_uring: Ok(calls::Uring { all_flags: true }),
            membarrier: Ok(()),
            clock: clock::ProbedClock { step_ns: 10, read_ns: 25 },
            dma_latency_us: None,
        }
    }
}
