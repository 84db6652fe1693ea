//! The choice of how a journal writes: the best way that this directory, kernel and process allow.
//!
//! ```text
//! io_uring, O_DIRECT -> io_uring, page cache -> pwrite + fdatasync (with O_DIRECT where that works)
//! ```
//!
//! The [`DiskReport`] lists every step down with its reason. Nothing else makes a journal take one.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use railbus_os::pages::Missed;
use railbus_os::{Error, Result};

use super::write_again::Unproven;
use crate::disk::files::Files;
use crate::disk::lock::Lock;
use crate::disk::probe::{self, Alignment};
use crate::disk::pwrite::Blocking;
use crate::disk::store::{Completion, Pipeline};
use crate::disk::uring::{Uring, UringOptions};
use crate::format::SegmentHeader;
use crate::stage::buffers::{StageMemory, StagePages};

/// The options of [`open`].
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// Most writes in flight, 1 to 64. Eight blocks of 256 KiB keep an NVMe disk busy; more of them
    /// only wait longer.
    pub depth: usize,
    /// Whether to use io_uring where it works.
    pub io_uring: bool,
    /// Whether to bypass the page cache where that works.
    pub direct: bool,
    /// The processors on which the kernel's workers of io_uring may execute fsync. `None` means all
    /// processors that this thread may use.
    pub worker_cpus: Option<Vec<usize>>,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions { depth: 8, io_uring: true, direct: true, worker_cpus: None }
    }
}

/// The upper limit of [`DiskOptions::depth`].
pub const DEPTH_MAX: usize = 64;

/// The way to the disk that was chosen.
pub enum Disk {
    /// Through io_uring.
    Uring(Box<Uring>),
    /// By system calls in another thread.
    Blocking(Box<Blocking>),
}

/// How a journal writes. `Display` prints one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskReport {
    /// Whether the journal writes through io_uring.
    pub io_uring: bool,
    /// The alignment of direct I/O; `None` when the journal writes through the page cache.
    pub direct: Option<Alignment>,
    /// Most writes in flight.
    pub depth: usize,
    /// The name of the file system.
    pub filesystem: String,
    /// The kind of pages of the staging memory.
    pub pages: StagePages,
    /// The abilities that the options asked for and this system refused, with the reasons.
    pub missed: Vec<Missed>,
}

/// Whether a file system needs free room for each write, even into blocks that a file already has.
pub fn copies_on_write(filesystem: &str) -> bool {
    matches!(filesystem, "btrfs" | "zfs" | "bcachefs")
}

impl fmt::Display for DiskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.io_uring { "io_uring" } else { "pwrite and fdatasync in a thread" })?;
        match self.direct {
            Some(_) => write!(f, ", O_DIRECT")?,
            None => write!(f, ", through the page cache")?,
        }
        write!(f, ", {} in flight, on {}", self.depth, self.filesystem)?;
        if copies_on_write(&self.filesystem) {
            f.write_str(
                ", which copies on each write: when it is full, also what was prepared cannot be written",
            )?;
        }
        for missed in &self.missed {
            write!(f, "; no {}: {}", missed.rung, missed.why)?;
        }
        Ok(())
    }
}

/// Opens a way to write to the directory whose lock the caller holds.
///
/// The pipeline belongs to one thread from its first use on. `memory` holds the blocks that the
/// writer will fill. The call blocks while it probes the disk.
///
/// # Errors
/// [`Error::Invalid`] for options out of range. [`Error::NotAllowed`] or [`Error::Io`] if the
/// directory cannot be written or threads cannot be started. A refusal of io_uring or O_DIRECT is
/// no error: the report lists it.
pub fn open(
    files: &Arc<Files>,
    lock: &Arc<Lock>,
    memory: StageMemory,
    options: &DiskOptions,
) -> Result<(Disk, DiskReport)> {
    if !(1..=DEPTH_MAX).contains(&options.depth) {
        return Err(Error::invalid(
            format!("{} writes in flight", options.depth),
            format!("must be 1 to {DEPTH_MAX}"),
        ));
    }
    let probed = probe::probe(files.path())?;
    let mut missed = Vec::new();
    let mut miss = |rung: &str, why: String| missed.push(Missed { rung: rung.into(), why });
    let direct = match probed.direct {
        Ok(alignment) => options.direct.then_some(alignment),
        Err(why) => {
            if options.direct {
                miss("O_DIRECT", why);
            }
            None
        }
    };
    let pages = memory.pages();
    let depth = options.depth.min(memory.blocks());
    let report = |io_uring, missed| DiskReport {
        io_uring,
        direct,
        depth,
        filesystem: probed.filesystem.clone(),
        pages,
        missed,
    };
    let mut memory = memory;
    match probed.io_uring {
        Ok(()) if options.io_uring => {
            let asked =
                UringOptions { depth, direct: direct.is_some(), worker_cpus: options.worker_cpus.clone() };
            match Uring::new(files.clone(), lock.clone(), memory, &asked) {
                Ok((ring, slower)) => {
                    if let Some(why) = slower.plain_ring {
                        miss("ring of one thread", why);
                    }
                    if let Some(why) = slower.unregistered_memory {
                        miss("registered staging memory", why);
                    }
                    return Ok((Disk::Uring(Box::new(ring)), report(true, missed)));
                }
                Err((error, given_back)) => {
                    miss("io_uring", error.to_string());
                    memory = given_back;
                }
            }
        }
        Ok(()) => {}
        Err(why) => {
            if options.io_uring {
                miss("io_uring", why);
            }
        }
    }
    let blocking = Blocking::new(files.clone(), lock.clone(), memory, depth, direct.is_some())
        .map_err(|error| Error::io("start the threads that write to", files.path(), error))?;
    Ok((Disk::Blocking(Box::new(blocking)), report(false, missed)))
}

impl Disk {
    fn way(&self) -> &dyn Pipeline {
        match self {
            Disk::Uring(ring) => &**ring,
            Disk::Blocking(threads) => &**threads,
        }
    }

    fn way_mut(&mut self) -> &mut dyn Pipeline {
        match self {
            Disk::Uring(ring) => &mut **ring,
            Disk::Blocking(threads) => &mut **threads,
        }
    }
}

impl Pipeline for Disk {
    fn depth(&self) -> usize {
        self.way().depth()
    }

    fn staging(&mut self, block: usize) -> &mut [u8] {
        self.way_mut().staging(block)
    }

    fn staging_blocks(&self) -> usize {
        self.way().staging_blocks()
    }

    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()> {
        self.way_mut().write(segment, offset, block, bytes)
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.way_mut().sync(segment)
    }

    fn write_again(&mut self, part: &Unproven) -> io::Result<()> {
        self.way_mut().write_again(part)
    }

    fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        self.way_mut().prepare(header, channel_page)
    }

    fn close(&mut self, segment: u64) {
        self.way_mut().close(segment);
    }

    fn complete(&mut self, timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()> {
        self.way_mut().complete(timeout, ended)
    }
}
