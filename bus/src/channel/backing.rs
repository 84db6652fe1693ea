//! Allocating a new channel's data in the best pages that are available. They are tried in this
//! order:
//!
//! ```text
//! 1  a file on hugetlbfs          pages set aside by an administrator: 1 GiB, 2 MiB
//! 2  tmpfs, collapsed             data of 2 MiB and more, at 2 MiB boundaries, populated, then MADV_COLLAPSE
//! 3  tmpfs, ordinary pages
//! ```
//!
//! A step counts as successful when smaps shows all of the data in its pages. Everything is
//! allocated and faulted in here, so that a full /dev/shm is an error now, and not a SIGBUS in the
//! middle of an event later. Limits of a memory cgroup are not checked: the kernel kills a process
//! that exceeds them, at creation and not later.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;
use railbus_os::hugetlb::{self, Mount};
use railbus_os::mapping::{Mapping, round_up};
use railbus_os::pages::{Backing, HUGE_1G, HUGE_2M, Locked, Missed, Numa, PageReport, Pages, bytes_text};
use railbus_os::{file_limit, numa};

use super::attach::see;
use super::header::Header;
use super::options::ChannelOptions;
use crate::error::{Error, Result};

/// Bytes allocated by one call, so that a signal does not undo all of a large allocation.
const CHUNK_BYTES: u64 = 64 << 20;

/// The data of a new channel.
pub(crate) struct Data {
    /// The file on hugetlbfs and its mount, if `.ring` does not hold the data.
    pub(crate) file: Option<(File, Mount)>,
    pub(crate) pages: PageReport,
}

/// Allocates the data of a channel, in `ring` or in a file on hugetlbfs. Records the place and the
/// kind of pages in the header.
pub(crate) fn allocate(
    ring: &File,
    ring_path: &Path,
    header: &mut Header,
    options: &ChannelOptions,
) -> Result<Data> {
    let mut missed = Vec::new();
    let large = header.data_bytes >= HUGE_2M;
    let sizes: &[u64] = match options.pages {
        Pages::Auto if large => &[HUGE_2M],
        Pages::Huge2M => &[HUGE_2M],
        Pages::Huge1G => &[HUGE_1G, HUGE_2M],
        Pages::Auto | Pages::Ordinary => &[],
    };
    for &page_bytes in sizes {
        match on_hugetlbfs(page_bytes, header, options)? {
            Ok(data) => return Ok(with_missed(data, missed)),
            Err(why) => missed.push(Missed { rung: format!("{} hugetlbfs", bytes_text(page_bytes)), why }),
        }
    }
    let wants_huge = options.pages != Pages::Ordinary;
    if wants_huge && !large {
        let why = format!("only {} of data", bytes_text(header.data_bytes));
        missed.push(Missed { rung: "2 MiB tmpfs pages".to_owned(), why });
    }
    if options.require_huge && !large {
        return Err(no_huge_pages(header, &missed));
    }
    let mut data = on_tmpfs(ring, ring_path, header, options, wants_huge && large)?;
    missed.append(&mut data.pages.missed);
    if options.require_huge && data.pages.got == Backing::Ordinary {
        return Err(no_huge_pages(header, &missed));
    }
    Ok(with_missed(data, missed))
}

fn with_missed(mut data: Data, missed: Vec<Missed>) -> Data {
    data.pages.missed = missed;
    data
}

fn no_huge_pages(header: &Header, missed: &[Missed]) -> Error {
    let reasons: Vec<String> =
        missed.iter().map(|missed| format!("{}: {}", missed.rung, missed.why)).collect();
    let what = format!("{} of channel {}", bytes_text(header.data_bytes), header.name);
    Error::NoHugePages { what, why: reasons.join("; ") }
}

/// The first step. The inner error is the reason to continue with the next one.
fn on_hugetlbfs(
    page_bytes: u64,
    header: &mut Header,
    options: &ChannelOptions,
) -> Result<std::result::Result<Data, String>> {
    let Some(data_bytes) = round_up(header.capacity_bytes, page_bytes) else {
        return Ok(Err("too large".to_owned()));
    };
    let (file, mount) = match hugetlb::make_file(page_bytes, data_bytes) {
        Ok(made) => made,
        Err(why) => return Ok(Err(why)),
    };
    let (Ok(bytes), Ok(alignment)) = (usize::try_from(data_bytes), usize::try_from(page_bytes)) else {
        return Ok(Err("too large".to_owned()));
    };
    let mapping = match Mapping::of_file(&file, 0, bytes, true, alignment) {
        Ok(mapping) => mapping,
        Err(error) => return Ok(Err(format!("mapping: {error}"))),
    };
    if let Some(node) = options.numa_node {
        bind(&mapping, node)?;
    } else if let Err(error) = reserve(&file, 0, data_bytes) {
        // The policy of a mapping does not apply to allocation by offset. So bound pages come from
        // faults alone.
        return Ok(Err(format!("allocating: {error}")));
    }
    if let Err(error) = mapping.populate(options.numa_node.is_none()) {
        return Ok(Err(format!("faulting in: {error}")));
    }
    let (got, seen_page_bytes, huge_bytes_seen) = observed(&mapping)?;
    if got != Backing::Hugetlb || seen_page_bytes != page_bytes {
        return Ok(Err(format!("smaps shows {} only", bytes_text(huge_bytes_seen))));
    }
    header.backing = got;
    header.page_bytes = page_bytes;
    header.data_bytes = data_bytes;
    header.data_offset = 0;
    header.data_path = Some(mount.path.join(header.data_file_name()));
    let pages = report(&mapping, header, options, huge_bytes_seen);
    Ok(Ok(Data { file: Some((file, mount)), pages }))
}

/// The second step; or the third, if the pages turn out to be ordinary.
fn on_tmpfs(
    ring: &File,
    path: &Path,
    header: &mut Header,
    options: &ChannelOptions,
    huge: bool,
) -> Result<Data> {
    let end = header.data_offset.checked_add(header.data_bytes);
    let end = end.ok_or_else(|| Error::invalid("capacity", "does not fit a file"))?;
    let fail = |error| no_space(ring, path, header.data_bytes, error);
    set_length(ring, path, end)?;
    check_free(ring, path, header.data_bytes)?;
    let bytes = usize::try_from(header.data_bytes)
        .map_err(|_| Error::invalid("capacity", "does not fit this machine"))?;
    let alignment = usize::try_from(header.data_alignment()).unwrap_or(1 << 21);
    let mapping = Mapping::of_file(ring, header.data_offset, bytes, true, alignment);
    let mapping = mapping.map_err(|error| Error::io("map", path, error))?;
    if let Some(node) = options.numa_node {
        // tmpfs keeps the policy with the file, so that allocation by offset follows it, too.
        bind(&mapping, node)?;
    }
    let mut missed = Vec::new();
    let mut collapsed = Ok(());
    if huge {
        // One page in each 2 MiB is enough for the kernel to collapse them, and spares it copying
        // the others.
        for at in (0..header.data_bytes).step_by(HUGE_2M as usize) {
            reserve(ring, header.data_offset + at, header.page_bytes).map_err(fail)?;
        }
        collapsed = mapping.collapse();
    }
    reserve(ring, header.data_offset, header.data_bytes).map_err(fail)?;
    mapping.populate(true).map_err(fail)?;
    if huge && let Err(error) = collapsed.or_else(|_| mapping.collapse()) {
        let setting =
            std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
        let why = match error.raw_os_error() {
            Some(libc::EINVAL) if setting.contains("[deny]") => "shmem_enabled is deny".to_owned(),
            Some(libc::EINVAL) => {
                format!("{error}; MADV_COLLAPSE needs Linux 6.1 with transparent huge pages")
            }
            _ => format!("MADV_COLLAPSE: {error}"),
        };
        missed.push(Missed { rung: "2 MiB tmpfs pages".to_owned(), why });
    }
    let (got, page_bytes, huge_bytes_seen) = observed(&mapping)?;
    if huge && got == Backing::Ordinary && missed.is_empty() {
        let why =
            format!("smaps shows {} of {} only", bytes_text(huge_bytes_seen), bytes_text(header.data_bytes));
        missed.push(Missed { rung: "2 MiB tmpfs pages".to_owned(), why });
    }
    header.backing = got;
    header.page_bytes = page_bytes;
    let mut pages = report(&mapping, header, options, huge_bytes_seen);
    pages.missed = missed;
    Ok(Data { file: None, pages })
}

fn observed(mapping: &Mapping) -> Result<(Backing, u64, u64)> {
    see(mapping).map_err(|error| Error::io("read", "/proc/self/smaps", error))
}

fn bind(mapping: &Mapping, node: u32) -> Result<()> {
    numa::bind(mapping, node).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => Error::NotAllowed {
            action: "bind memory to",
            path: format!("/sys/devices/system/node/node{node}").into(),
            why: "mbind is refused, as in containers without CAP_SYS_NICE; add it or leave the node out"
                .to_owned(),
        },
        _ => Error::invalid(format!("NUMA node {node}"), format!("mbind: {error}")),
    })
}

fn report(mapping: &Mapping, header: &Header, options: &ChannelOptions, huge_bytes_seen: u64) -> PageReport {
    let numa = options.numa_node.map_or(Numa::Anywhere, |node| match numa::count(mapping, node) {
        Ok(placement) => Numa::Seen { node, sampled: placement.sampled, there: placement.there },
        Err(error) => Numa::Unverified(node, format!("move_pages: {error}")),
    });
    PageReport {
        asked: Some(options.pages),
        got: header.backing,
        data_bytes: header.data_bytes,
        page_bytes: header.page_bytes,
        huge_bytes_seen,
        locked: Locked::NotAsked,
        numa,
        missed: Vec::new(),
    }
}

/// Sets a file's length, unless the process's limit for files is lower.
pub(crate) fn set_length(file: &File, path: &Path, bytes: u64) -> Result<()> {
    file_limit::check(bytes, path)?;
    file.set_len(bytes).map_err(|error| match error.raw_os_error() {
        Some(libc::EFBIG) => {
            Error::invalid("capacity", format!("{} do not fit a file here", bytes_text(bytes)))
        }
        _ => Error::io("set the length of", path, error),
    })
}

/// Allocates blocks of a file on tmpfs. The error names what is missing.
pub(crate) fn reserve_or_explain(file: &File, path: &Path, offset: u64, bytes: u64) -> Result<()> {
    check_free(file, path, bytes)?;
    reserve(file, offset, bytes).map_err(|error| no_space(file, path, bytes, error))
}

/// Allocates blocks of a file. Existing content stays.
fn reserve(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let mut at = offset;
    let end = offset.checked_add(bytes).ok_or_else(|| io::Error::from_raw_os_error(libc::EFBIG))?;
    let signed = |value: u64| i64::try_from(value).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
    let mut interruptions = 0;
    while at < end {
        let step = CHUNK_BYTES.min(end - at);
        match fallocate(file.as_fd(), FallocateFlags::empty(), signed(at)?, signed(step)?) {
            Ok(()) => at += step,
            Err(nix::Error::EINTR) if interruptions < 1000 => interruptions += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Refuses what cannot fit before the kernel tries. That would take long, or take memory that
/// others need.
fn check_free(file: &File, path: &Path, bytes: u64) -> Result<()> {
    let too_large = || no_space(file, path, bytes, io::Error::from_raw_os_error(libc::ENOSPC));
    if free_bytes(file).is_some_and(|free| free < bytes) {
        return Err(too_large());
    }
    if let Some(available) = available_memory_bytes()
        && available < bytes
    {
        let why =
            format!("the machine has {} of memory available; use a smaller capacity", bytes_text(available));
        return Err(Error::NoSpace { what: format!("{} in {}", bytes_text(bytes), path.display()), why });
    }
    Ok(())
}

/// The free bytes of the file system; `None` if it has no limit or does not report one.
fn free_bytes(file: &File) -> Option<u64> {
    let found = fstatvfs(file.as_fd()).ok()?;
    (found.blocks() > 0).then(|| found.blocks_available().saturating_mul(found.fragment_size()))
}

fn available_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(field("MemAvailable:")?.saturating_add(field("SwapFree:").unwrap_or(0)).saturating_mul(1024))
}

fn no_space(file: &File, path: &Path, bytes: u64, error: io::Error) -> Error {
    let raw = error.raw_os_error();
    if !matches!(raw, Some(libc::ENOSPC | libc::ENOMEM | libc::EFAULT | libc::EDQUOT)) {
        return Error::io("allocate", path, error);
    }
    let directory = path.parent().unwrap_or(path);
    let free = free_bytes(file).map_or_else(|| "an unknown amount".to_owned(), bytes_text);
    let why = format!(
        "the file system of {} has {free} free; make it larger (docker: --shm-size or --ipc=host, else \
         `mount -o remount,size=...`), use a smaller --capacity, or remove channels with `railbus rm`",
        directory.display()
    );
    Error::NoSpace { what: format!("{} in {}", bytes_text(bytes), path.display()), why }
}
