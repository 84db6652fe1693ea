//! Memory mappings of shared files.
//!
//! A [`Mapping`] owns a range of addresses that shows a file.
//!
//! - It lies at a multiple of the requested alignment, so that 2 MiB of a file at a 2 MiB boundary
//!   can be one huge page.
//! - It is never inherited over `fork` (`MADV_DONTFORK`), because a child that runs a parent's
//!   protocol state corrupts both.
//! - It can be faulted in and locked before it is used.
//!
//! How many pages are in fact huge is reported by [`super::smaps`].

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::truncated::{self, Place};

/// The size of the processor's ordinary pages, in bytes.
pub fn page_bytes() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: sysconf has no preconditions.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
    })
}

/// Rounds `value` up to a multiple of `unit`, a power of two. Returns `None` if the result does not
/// fit.
pub const fn round_up(value: u64, unit: u64) -> Option<u64> {
    match value.checked_add(unit - 1) {
        Some(sum) => Some(sum & !(unit - 1)),
        None => None,
    }
}

/// A range of addresses that shows part of a file, shared with every other process that maps it. It
/// is unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    writable: bool,
    /// Where the handler that contains truncation finds it.
    place: Option<&'static Place>,
}

// SAFETY: a mapping is an address range that belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: its methods take no reference to the bytes. The code that makes one is responsible for
// how they are shared.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes of `file` from `offset` on, at an address that is a multiple of
    /// `alignment`.
    ///
    /// `alignment` is a power of two and at least a page; `offset` and `bytes` are multiples of the
    /// page size behind the file. The range must lie inside the file: touching bytes behind its end
    /// raises SIGBUS.
    pub fn of_file(
        file: &File,
        offset: u64,
        bytes: usize,
        writable: bool,
        alignment: usize,
    ) -> io::Result<Mapping> {
        let page = page_bytes();
        let offset =
            libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        let room = bytes.checked_add(alignment).filter(|&room| isize::try_from(room).is_ok());
        let (Some(room), false) = (room, bytes == 0) else {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        };
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let descriptor = file.as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        // Files of hugetlbfs get an address that fits their pages without further request.
        let found =
            unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, descriptor, offset) };
        let first = Mapping::owning(found, bytes, writable)?;
        if first.address().is_multiple_of(alignment) || alignment <= page {
            return Ok(first.not_inherited()?.watched(file));
        }
        drop(first);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: as above; this only reserves addresses, so that an aligned range can be picked
        // from them.
        let found = unsafe { libc::mmap(ptr::null_mut(), room, libc::PROT_NONE, flags, -1, 0) };
        let reserved = Mapping::owning(found, room, false)?;
        let skip = reserved.address().next_multiple_of(alignment) - reserved.address();
        // SAFETY: `skip < alignment` and `bytes + alignment == room`, so the result is inside the
        // reservation.
        let target = unsafe { reserved.base.as_ptr().add(skip) };
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: replaces a part of the reservation above, which nobody else knows.
        let found = unsafe { libc::mmap(target.cast(), bytes, protection, flags, descriptor, offset) };
        let mapping = Mapping::owning(found, bytes, writable)?;
        let start = reserved.base.as_ptr();
        std::mem::forget(reserved);
        // SAFETY: the head of the reservation, which is still owned here and unused.
        unsafe { unmap(start, skip) };
        // SAFETY: the end of the new mapping is inside the reservation, as computed above.
        let tail = unsafe { target.add(bytes) };
        // SAFETY: the tail of the reservation, which is still owned here and unused.
        unsafe { unmap(tail, room - skip - bytes) };
        Ok(mapping.not_inherited()?.watched(file))
    }

    fn owning(found: *mut libc::c_void, bytes: usize, writable: bool) -> io::Result<Mapping> {
        if found == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(found.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Mapping { base, bytes, writable, place: None })
    }

    fn not_inherited(self) -> io::Result<Mapping> {
        self.advise(libc::MADV_DONTFORK)?;
        Ok(self)
    }

    /// Registers the mapping with the handler for truncated files, if there is one.
    fn watched(mut self, file: &File) -> Mapping {
        let start = self.base.as_ptr().expose_provenance();
        self.place = truncated::watch(file.as_fd(), start, self.bytes, self.writable);
        self
    }

    /// Whether the file was truncated, and zeros were put in its place; see [`super::truncated`].
    pub fn is_lost(&self) -> bool {
        self.place.is_some_and(Place::is_lost)
    }

    /// The first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The first byte's address.
    pub fn address(&self) -> usize {
        self.base.as_ptr().addr()
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether this process may write through it.
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// Calls `madvise` for the whole mapping.
    pub fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        self.advise_range(0, self.bytes, advice)
    }

    /// Calls `madvise` for `bytes` from `offset` on.
    fn advise_range(&self, offset: usize, bytes: usize, advice: libc::c_int) -> io::Result<()> {
        assert!(offset <= self.bytes && bytes <= self.bytes - offset, "a range outside of the mapping");
        // SAFETY: the address is inside the mapping, as was just checked.
        let at = unsafe { self.base.as_ptr().add(offset) };
        // SAFETY: this mapping owns the range. The advices used in this crate (fault in, collapse,
        // dump, fork) keep its contents.
        let result = unsafe { libc::madvise(at.cast(), bytes, advice) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Keeps the mapping out of core dumps, in which gigabytes of ring are of no use. Best effort.
    pub fn exclude_from_dumps(&self) {
        let _ = self.advise(libc::MADV_DONTDUMP);
    }

    /// Faults every page in, so that no access takes a page fault later: for writing if the mapping
    /// is writable. The contents do not change. If the file's blocks are not available this is an
    /// error (`EFAULT`, `ENOMEM`).
    ///
    /// Kernels before 5.14 have to touch pages instead. Then `reserved` must be true: the blocks
    /// are allocated already, so that touching them cannot raise SIGBUS.
    pub fn populate(&self, reserved: bool) -> io::Result<()> {
        self.populate_range(0, self.bytes, reserved)
    }

    /// Does the same as [`populate`](Self::populate) for `bytes` bytes from `offset` on, both
    /// multiples of a page.
    pub fn populate_range(&self, offset: usize, bytes: usize, reserved: bool) -> io::Result<()> {
        let advice = if self.writable { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
        for _ in 0..100 {
            match self.advise_range(offset, bytes, advice) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && reserved => {
                    self.touch(offset, bytes);
                    return Ok(());
                }
                result => return result,
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn touch(&self, offset: usize, bytes: usize) {
        for at in (offset..offset + bytes).step_by(page_bytes()) {
            // SAFETY: inside the mapping, and aligned because pages are.
            let word = unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) };
            if self.writable {
                // Adding zero is the one write that peers which use the word cannot notice.
                word.fetch_add(0, Ordering::Relaxed);
            } else {
                word.load(Ordering::Relaxed);
            }
        }
    }

    /// Asks for 2 MiB pages now (Linux 6.1). It makes several attempts, because the kernel gives up
    /// on pages that are being moved.
    pub fn collapse(&self) -> io::Result<()> {
        self.collapse_from(0)
    }

    /// Does the same as [`collapse`](Self::collapse), from `offset` on, which is a multiple of a
    /// page.
    pub fn collapse_from(&self, offset: usize) -> io::Result<()> {
        let mut last = Ok(());
        for _ in 0..5 {
            last = self.advise_range(offset, self.bytes - offset, libc::MADV_COLLAPSE);
            match &last {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                _ => break,
            }
        }
        last
    }

    /// Keeps the pages in memory (`mlock`). Fails if the process's limit for locked memory is
    /// lower.
    pub fn lock(&self) -> io::Result<()> {
        // SAFETY: this mapping owns the range, and locking does not change it.
        let result = unsafe { libc::mlock(self.base.as_ptr().cast(), self.bytes) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.give_back();
        }
        // SAFETY: this mapping owns the range. The code that made pointers into it has promised
        // that they are gone.
        unsafe { unmap(self.base.as_ptr(), self.bytes) };
    }
}

/// # Safety
/// Nothing uses the range any more.
unsafe fn unmap(start: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: by this function's contract.
        unsafe { libc::munmap(start.cast(), bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_file_ends_its_mapping_and_not_the_process() {
        truncated::contain().unwrap();
        let map = || {
            let file = tempfile::tempfile_in("/dev/shm").unwrap();
            file.set_len(1 << 16).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[7; 8], 1 << 15).unwrap();
            (Mapping::of_file(&file, 0, 1 << 16, true, page_bytes()).unwrap(), file)
        };
        // More than one chunk of places.
        let all: Vec<_> = (0..600).map(|_| map()).collect();
        let word = |mapping: &Mapping| {
            // SAFETY: inside the mapping, and aligned.
            unsafe { AtomicU64::from_ptr(mapping.base().as_ptr().add(1 << 15).cast()) }
                .load(Ordering::Relaxed)
        };
        for (mapping, file) in all.iter().step_by(7) {
            file.set_len(0).unwrap();
            assert_eq!(word(mapping), 0);
            assert!(mapping.is_lost());
        }
        for (i, (mapping, _)) in all.iter().enumerate().filter(|(i, _)| i % 7 != 0) {
            assert!(word(mapping) == 0x0707_0707_0707_0707 && !mapping.is_lost(), "{i}");
        }
        drop(all);
        let (again, _file) = map();
        assert!(!again.is_lost() && word(&again) != 0, "a place that is used again is no lost one");
    }

    #[test]
    fn a_mapping_is_aligned_and_shows_the_file() -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        const ALIGN: usize = 2 << 20;
        let file = tempfile::tempfile_in("/dev/shm")?;
        file.set_len(3 * ALIGN as u64)?;
        file.write_all_at(b"here", ALIGN as u64)?;
        for _ in 0..4 {
            let mapping = Mapping::of_file(&file, ALIGN as u64, 2 * ALIGN, true, ALIGN)?;
            assert!(mapping.address().is_multiple_of(ALIGN));
            mapping.populate(true)?;
            mapping.touch(0, mapping.bytes());
            // SAFETY: four bytes at the start of a mapping that lives.
            let seen = unsafe { std::slice::from_raw_parts(mapping.base().as_ptr(), 4) };
            assert_eq!(seen, b"here");
        }
        let read_only = Mapping::of_file(&file, 0, ALIGN, false, page_bytes())?;
        read_only.populate(true)?;
        read_only.touch(0, read_only.bytes());
        Ok(())
    }

    #[test]
    fn impossible_sizes_are_errors() -> io::Result<()> {
        let file = tempfile::tempfile_in("/dev/shm")?;
        for bytes in [0, usize::MAX, isize::MAX as usize] {
            assert!(Mapping::of_file(&file, 0, bytes, true, 4096).is_err());
        }
        assert!(Mapping::of_file(&file, u64::MAX, 4096, true, 4096).is_err());
        assert_eq!(round_up(u64::MAX, 4096), None);
        assert_eq!(round_up(4097, 4096), Some(8192));
        Ok(())
    }

    #[test]
    fn populating_beyond_the_end_is_an_error_and_no_signal() -> io::Result<()> {
        let file = tempfile::tempfile_in("/dev/shm")?;
        file.set_len(4096)?;
        let mapping = Mapping::of_file(&file, 0, 3 * page_bytes(), true, page_bytes())?;
        assert!(mapping.populate(false).is_err());
        Ok(())
    }
}
