//! The memory from which a pipeline writes: blocks of [`BLOCK_BYTES_MAX`] bytes, aligned for direct
//! I/O.
//!
//! A journaller's staging lies in a shared file, so that a successor finds what a killed journaller
//! held; this type only carries its address. A journal whose staging need not survive uses an
//! anonymous mapping, in 2 MiB pages where the kernel provides them. They make direct I/O from it
//! about a third faster.

use std::any::Any;
use std::ptr::NonNull;
use std::{io, slice};

use railbus_os::fork::ForkGuard;
use railbus_os::mapping::page_bytes;

use crate::format::{BLOCK_BYTES_MAX, SECTOR_BYTES};

/// Most staging blocks. They are registered with io_uring as one buffer, which may have 1 GiB.
pub const STAGE_BLOCKS_MAX: usize = (1 << 30) / BLOCK_BYTES_MAX;
const HUGE_BYTES: usize = 2 << 20;

/// Staging blocks: their address, and the owner of their memory.
pub struct StageMemory {
    base: NonNull<u8>,
    blocks: usize,
    pages: StagePages,
    /// The owner of the memory, which is dropped with its last user.
    _keeper: Box<dyn Any + Send>,
}

/// The kind of pages of staging blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagePages {
    /// 2 MiB pages that were reserved (hugetlb).
    Hugetlb,
    /// 2 MiB pages that the kernel has put together.
    Collapsed,
    /// Ordinary pages.
    Ordinary,
    /// The caller's pages, whose kind only the caller knows.
    Foreign,
}

// SAFETY: the memory belongs to the process, not to a thread, and any thread may drop its keeper
// (it is `Send`).
unsafe impl Send for StageMemory {}

impl StageMemory {
    /// Uses `blocks` blocks at `base`, which `keeper` keeps mapped.
    ///
    /// # Errors
    /// `InvalidInput` if there are none or more than [`STAGE_BLOCKS_MAX`], or `base` is not aligned
    /// to a sector.
    ///
    /// # Safety
    /// `blocks * BLOCK_BYTES_MAX` bytes from `base` on are mapped readable and writable until
    /// `keeper` is dropped. Before then, no other code writes to them or forms references to them.
    pub unsafe fn new(
        base: NonNull<u8>,
        blocks: usize,
        keeper: Box<dyn Any + Send>,
    ) -> io::Result<StageMemory> {
        check(blocks)?;
        if !base.as_ptr().addr().is_multiple_of(SECTOR_BYTES) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "staging memory that is not aligned"));
        }
        Ok(StageMemory { base, blocks, pages: StagePages::Foreign, _keeper: keeper })
    }

    /// Allocates `blocks` blocks of zeros in memory of this process, and faults them in.
    ///
    /// # Errors
    /// `InvalidInput` for a number of blocks out of range; otherwise the error of the mapping.
    pub fn anonymous(blocks: usize) -> io::Result<StageMemory> {
        check(blocks)?;
        let (area, pages) = Area::map(blocks * BLOCK_BYTES_MAX)?;
        Ok(StageMemory { base: area.base, blocks, pages, _keeper: Box::new(area) })
    }

    /// Returns the number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Returns the kind of pages.
    pub fn pages(&self) -> StagePages {
        self.pages
    }

    /// Returns the address of the first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Returns the size in bytes.
    pub fn bytes(&self) -> usize {
        self.blocks * BLOCK_BYTES_MAX
    }

    /// Returns the address of block `block`, which must be one of [`blocks`](Self::blocks).
    pub(crate) fn address(&self, block: usize) -> *mut u8 {
        assert!(block < self.blocks, "staging block {block} of {}", self.blocks);
        // SAFETY: inside the memory, by the assertion and the contract of `new`.
        unsafe { self.base.as_ptr().add(block * BLOCK_BYTES_MAX) }
    }

    /// Returns block `block`, to be filled. The caller has made sure that no write of it is in
    /// flight.
    pub(crate) fn block(&mut self, block: usize) -> &mut [u8] {
        let address = self.address(block);
        // SAFETY: the bytes are mapped and initialised (fresh pages are zeros). By the contract of
        // `new` no other code writes to them, and the exclusive borrow of self excludes other
        // references of this type.
        unsafe { slice::from_raw_parts_mut(address, BLOCK_BYTES_MAX) }
    }
}

impl std::fmt::Debug for StageMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StageMemory({} blocks at {:?}, {:?} pages)", self.blocks, self.base, self.pages)
    }
}

fn check(blocks: usize) -> io::Result<()> {
    if (1..=STAGE_BLOCKS_MAX).contains(&blocks) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{blocks} staging blocks: there must be 1 to {STAGE_BLOCKS_MAX}"),
    ))
}

/// An anonymous mapping, which is unmapped on drop and not inherited over `fork`.
struct Area {
    base: NonNull<u8>,
    bytes: usize,
    guard: ForkGuard,
}

// SAFETY: a mapping belongs to the process, not to a thread.
unsafe impl Send for Area {}

impl Area {
    fn map(bytes: usize) -> io::Result<(Area, StagePages)> {
        let huge_bytes = bytes.next_multiple_of(HUGE_BYTES);
        if let Ok(area) = Area::reserve(huge_bytes, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB)
            && area.ready().is_ok()
        {
            return Ok((area, StagePages::Hugetlb));
        }
        // The kernel aligns large anonymous mappings to 2 MiB by itself only since 6.7. So this
        // takes 2 MiB more and cuts the mapping.
        let mut area = Area::reserve(huge_bytes + HUGE_BYTES, 0)?;
        let skip = area.base.as_ptr().addr().next_multiple_of(HUGE_BYTES) - area.base.as_ptr().addr();
        area.cut(skip, huge_bytes);
        // Best effort: without huge pages it works as well, only slower.
        let _ = area.advise(libc::MADV_HUGEPAGE);
        area.ready()?;
        let collapsed = area.advise(libc::MADV_COLLAPSE).is_ok();
        Ok((area, if collapsed { StagePages::Collapsed } else { StagePages::Ordinary }))
    }

    fn reserve(bytes: usize, more: libc::c_int) -> io::Result<Area> {
        let guard = ForkGuard::current()?;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | more;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let found = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, flags, -1, 0) };
        if found == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(found.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Area { base, bytes, guard })
    }

    /// Excludes the mapping from fork children, and faults in every page. So a page that the kernel
    /// cannot provide is an error now, and no signal later.
    fn ready(&self) -> io::Result<()> {
        self.advise(libc::MADV_DONTFORK)?;
        match self.advise(libc::MADV_POPULATE_WRITE) {
            // Before Linux 5.14, pages are faulted in when they are touched.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: this value owns the range, and none of the advices used here changes what it
        // holds.
        let result = unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes, advice) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Keeps `bytes` bytes from `skip` on and unmaps the rest; both are multiples of a page.
    fn cut(&mut self, skip: usize, bytes: usize) {
        debug_assert!(skip.is_multiple_of(page_bytes()) && skip + bytes <= self.bytes);
        let start = self.base;
        // SAFETY: inside the mapping.
        self.base = unsafe { start.add(skip) };
        // SAFETY: inside the mapping, or just at its end.
        let tail = unsafe { self.base.add(bytes) };
        for (from, length) in [(start, skip), (tail, self.bytes - skip - bytes)] {
            if length > 0 {
                // SAFETY: a part of the mapping to which no address was given out.
                unsafe { libc::munmap(from.as_ptr().cast(), length) };
            }
        }
        self.bytes = bytes;
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if self.guard.is_forked() {
            return; // It was not inherited: something else may be there.
        }
        // SAFETY: this value owns the range, and its users are gone with the StageMemory that kept
        // it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_blocks_are_zeros_aligned_and_apart() -> io::Result<()> {
        let mut memory = StageMemory::anonymous(9)?;
        println!("{memory:?}");
        for block in 0..9 {
            let bytes = memory.block(block);
            assert_eq!(bytes.len(), BLOCK_BYTES_MAX);
            assert!(
                bytes.as_ptr().addr().is_multiple_of(SECTOR_BYTES) && bytes.iter().all(|&byte| byte == 0)
            );
            bytes.fill(block as u8 + 1);
        }
        for block in 0..9 {
            assert!(memory.block(block).iter().all(|&byte| byte == block as u8 + 1));
        }
        Ok(())
    }

    #[test]
    fn sizes_and_addresses_out_of_range_are_errors() {
        for blocks in [0, STAGE_BLOCKS_MAX + 1, usize::MAX] {
            assert_eq!(StageMemory::anonymous(blocks).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        let odd = NonNull::without_provenance(std::num::NonZero::new(4097usize).unwrap());
        // SAFETY: it is refused because it is not aligned, and never used.
        let refused = unsafe { StageMemory::new(odd, 1, Box::new(())) };
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
