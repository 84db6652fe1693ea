//! `MADV_COLLAPSE` tried on a file where channels lie, and verified in smaps.
//!
//! A file without a name is allocated, mapped at an address and offset that a huge page could have,
//! faulted in with ordinary pages and collapsed. The kernel's return value is not trusted:
//! `ShmemPmdMapped` of the mapping counts.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::{fs, io};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// The result of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collapse {
    /// Size of the huge page that was asked for, in bytes.
    pub(crate) huge_page_bytes: u64,
    /// Bytes of it that smaps shows as mapped by a huge page.
    pub(crate) huge_bytes: u64,
    /// The error of `madvise`, if it refused.
    pub(crate) refused: Option<String>,
}

/// Larger huge pages (512 MiB with 64 KiB base pages) are not tried: the probe must stay cheap.
const HUGE_PAGE_BYTES_MAX: usize = 64 << 20;

/// Tries to get one huge page for a file in `directory`. `huge_page_bytes` is the kernel's
/// `hpage_pmd_size`.
pub(crate) fn probe(directory: &Path, huge_page_bytes: Option<usize>) -> Result<Collapse, String> {
    let bytes = huge_page_bytes.filter(|bytes| bytes.is_power_of_two() && *bytes >= 4096).ok_or(
        "the kernel has no transparent huge pages (/sys/kernel/mm/transparent_hugepage/hpage_pmd_size)",
    )?;
    if bytes > HUGE_PAGE_BYTES_MAX {
        return Err(format!("a huge page has {} MiB here, which is too much to try", bytes >> 20));
    }
    let file = tempfile::tempfile_in(directory)
        .map_err(|error| format!("no file can be made in {}: {error}", directory.display()))?;
    // Allocation first: touching pages that a full tmpfs cannot give would be a SIGBUS.
    let length = i64::try_from(bytes).map_err(|error| error.to_string())?;
    fallocate(&file, FallocateFlags::empty(), 0, length).map_err(|error| {
        format!("cannot allocate {} KiB in {}: {error}", bytes >> 10, directory.display())
    })?;

    let area = Area::reserve(2 * bytes)?;
    let start = area.start.addr().get().next_multiple_of(bytes);
    let at = NonZeroUsize::new(start).ok_or("no address for the mapping")?;
    let length = NonZeroUsize::new(bytes).ok_or("no length for the mapping")?;
    // SAFETY: the fixed address range lies inside the reservation that `area` owns, and replaces
    // nothing else.
    let mapped = unsafe {
        mmap(
            Some(at),
            length,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_SHARED | MapFlags::MAP_FIXED,
            &file,
            0,
        )
    };
    let mapped = mapped.map_err(|error| format!("cannot map the file: {error}"))?;

    // SAFETY: the range was just mapped writable over allocated blocks, and nothing else uses it.
    let populated = unsafe { madvise(mapped, bytes, MmapAdvise::MADV_POPULATE_WRITE) };
    if populated.is_err() {
        // Before Linux 5.14: touch a byte of each possible page.
        for offset in (0..bytes).step_by(4096) {
            // SAFETY: inside the mapping, which is backed by allocated blocks.
            unsafe { mapped.cast::<u8>().add(offset).write_volatile(0) };
        }
    }
    // nix has no name for it yet.
    // SAFETY: advice on a range that is ours; collapsing keeps the contents.
    let result = unsafe { libc::madvise(mapped.as_ptr(), bytes, libc::MADV_COLLAPSE) };
    let refused = (result != 0).then(|| io::Error::last_os_error().to_string());
    // File names in it are arbitrary bytes.
    let smaps = fs::read("/proc/self/smaps").map_err(|error| format!("/proc/self/smaps: {error}"))?;
    let huge_bytes = pmd_mapped_bytes(&String::from_utf8_lossy(&smaps), start)
        .ok_or("/proc/self/smaps does not show ShmemPmdMapped for the mapping")?;
    Ok(Collapse { huge_page_bytes: bytes as u64, huge_bytes, refused })
}

/// `ShmemPmdMapped` plus `FilePmdMapped` of the mapping that starts at `start`, in bytes.
fn pmd_mapped_bytes(smaps: &str, start: usize) -> Option<u64> {
    let head = format!("{start:08x}-");
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&head)).skip(1);
    let mut total = None;
    // The fields of a mapping are `Name: value kB`; the next mapping's line starts with an address
    // range.
    for line in lines.by_ref() {
        let (name, value) = line.split_once(':').unwrap_or(("", ""));
        if name.contains('-') {
            break;
        }
        if matches!(name, "ShmemPmdMapped" | "FilePmdMapped") {
            let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
            total = Some(total.unwrap_or(0) + kib * 1024);
        }
    }
    total
}

/// A reserved range of addresses, unmapped when dropped together with what was mapped over it.
struct Area {
    start: NonNull<c_void>,
    bytes: usize,
}

impl Area {
    fn reserve(bytes: usize) -> Result<Area, String> {
        let length = NonZeroUsize::new(bytes).ok_or("no length to reserve")?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) };
        start.map(|start| Area { start, bytes }).map_err(|error| format!("cannot reserve addresses: {error}"))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the whole range was reserved by `reserve`, and no reference into it outlives the
        // probe.
        let unmapped = unsafe { munmap(self.start, self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "7f0000200000-7f0000400000 rw-s 00000000 00:17 5 /dev/shm/#5 (deleted)\n\
         Size:               2048 kB\nFilePmdMapped:         0 kB\nShmemPmdMapped:     2048 kB\n\
         VmFlags: rd wr\n\
         7f0000400000-7f0000600000 ---p 00000000 00:00 0 \nShmemPmdMapped:        0 kB\n";

    #[test]
    fn smaps_is_read_for_the_one_mapping() {
        assert_eq!(pmd_mapped_bytes(SMAPS, 0x7f00_0020_0000), Some(2 << 20));
        assert_eq!(pmd_mapped_bytes(SMAPS, 0x7f00_0040_0000), Some(0));
        assert_eq!(pmd_mapped_bytes(SMAPS, 0x7f00_0060_0000), None);
    }

    #[test]
    fn a_probe_where_no_file_can_be_made_says_so() {
        let error = probe(Path::new("/proc/self"), Some(2 << 20)).expect_err("no files in /proc");
        assert!(error.contains("/proc/self"), "{error}");
        assert!(probe(Path::new("/dev/shm"), None).is_err());
        assert!(probe(Path::new("/dev/shm"), Some(3)).is_err());
    }

    #[test]
    fn a_probe_never_claims_more_than_a_page_nor_less_than_it_was_told() {
        match probe(Path::new("/dev/shm"), Some(2 << 20)) {
            Ok(found) => {
                assert!(found.huge_bytes <= found.huge_page_bytes, "{found:?}");
                assert!(found.refused.is_some() || found.huge_bytes > 0, "{found:?}");
            }
            Err(reason) => println!("skipped: {reason}"),
        }
    }
}
