//! Mapped shared memory as the [`Memory`] on which the protocols run.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use railbus_os::rseq;
use railbus_ring::members::fence::RESTARTS;
use railbus_ring::memory::{Edge, Memory};

/// A region of shared memory that checks every access against its size, also in release builds. An
/// offset beyond the region, or one that is no multiple of 8, panics. Copies are handles to the
/// same region.
pub type Mapped = Words<true>;

/// The region on which the handles of this crate run. Its offsets are not checked in release
/// builds: see [`Words::trusted`].
pub(crate) type Trusted = Words<false>;

/// A region of shared memory: words at byte offsets. With `CHECKED` each offset is checked in
/// release builds, too.
///
/// The maker of a region promises that it stays mapped, with the rights that the protocol's role
/// needs, as long as any copy is used.
#[derive(Debug, Clone, Copy)]
pub struct Words<const CHECKED: bool> {
    base: *mut u8,
    bytes: usize,
    /// Whether every sleeper executes the membarrier with which wakers need no memory fence.
    light: bool,
}

// SAFETY: a region is shared words that are accessed atomically only; its maker keeps it mapped
// (see `new`).
unsafe impl<const CHECKED: bool> Send for Words<CHECKED> {}

impl Words<true> {
    /// A region of `bytes` bytes at `base`. `light` is true if this process is registered for
    /// membarrier.
    ///
    /// # Safety
    /// Until the last copy is dropped, the `bytes` bytes at `base` must be mapped readable, and
    /// writable if anything is stored through a copy; and every access to them must be atomic.
    /// Offsets need no promise: they are checked.
    ///
    /// # Panics
    /// If `base` or `bytes` is no multiple of 8.
    pub unsafe fn new(base: *mut u8, bytes: usize, light: bool) -> Mapped {
        assert!(base.addr().is_multiple_of(8) && bytes.is_multiple_of(8), "a region of whole words");
        Words { base, bytes, light }
    }
}

impl Words<false> {
    /// As [`Mapped::new`], without checks of offsets in release builds.
    ///
    /// # Safety
    /// As for [`Mapped::new`]. In addition, every offset that is ever given to a copy must be a
    /// multiple of 8 with a whole word of the region behind it. So no copy may reach code that
    /// takes offsets, or a geometry, from its caller. The rings fulfil this: they mask positions by
    /// the geometry of a header that was checked at attach.
    pub(crate) unsafe fn trusted(base: *mut u8, bytes: usize, light: bool) -> Trusted {
        debug_assert!(base.addr().is_multiple_of(8) && bytes.is_multiple_of(8));
        Words { base, bytes, light }
    }
}

impl<const CHECKED: bool> Words<CHECKED> {
    /// The address of the byte at `at`.
    #[inline(always)]
    pub fn address(&self, at: usize) -> *mut u8 {
        if CHECKED {
            assert!(at <= self.bytes, "byte {at} of a region of {} bytes", self.bytes);
        }
        debug_assert!(at <= self.bytes);
        // SAFETY: `at` is inside the region, by the check above or the contract of `trusted`.
        unsafe { self.base.add(at) }
    }

    /// The part of the region from byte `at` on, which is a multiple of 8.
    pub fn part(&self, at: usize) -> Words<CHECKED> {
        assert!(at <= self.bytes && at.is_multiple_of(8));
        Words { base: self.address(at), bytes: self.bytes - at, light: self.light }
    }

    /// The size of the region in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline(always)]
    fn is_word(&self, at: usize) -> bool {
        at.is_multiple_of(8) && at < self.bytes
    }

    #[inline(always)]
    fn word(&self, at: usize) -> &AtomicU64 {
        if CHECKED {
            assert!(self.is_word(at), "word {at} of a region of {} bytes", self.bytes);
        }
        debug_assert!(self.is_word(at));
        // SAFETY: in bounds and aligned (above, or by the contract of `trusted`; the region is of
        // whole words), mapped as long as any copy lives, and every access to these words by any
        // process is atomic.
        unsafe { AtomicU64::from_ptr(self.base.add(at).cast()) }
    }
}

impl<const CHECKED: bool> Memory for Words<CHECKED> {
    #[inline(always)]
    fn load(&self, at: usize, edge: Edge) -> u64 {
        self.word(at).load(edge.load())
    }

    #[inline(always)]
    fn store(&self, at: usize, value: u64, edge: Edge) {
        self.word(at).store(value, edge.store());
    }

    #[inline(always)]
    fn compare_exchange(&self, at: usize, current: u64, new: u64, edge: Edge) -> Result<u64, u64> {
        self.word(at).compare_exchange(current, new, edge.update(), edge.load())
    }

    #[inline(always)]
    fn fetch_add(&self, at: usize, value: u64, edge: Edge) -> u64 {
        self.word(at).fetch_add(value, edge.update())
    }

    #[inline(always)]
    fn store_if(&self, at: usize, value: u64, _: Edge, guard: &Self, guard_at: usize, area: isize) -> bool {
        const OPEN: i8 = RESTARTS as i8;
        if CHECKED {
            assert_eq!(rseq::offset(), Some(area), "the area that the system told");
        }
        let (word, guard) = (self.word(at).as_ptr(), guard.word(guard_at).as_ptr());
        // SAFETY: both words are in bounds and mapped, this one writable (`word`, `new`). The area
        // is the one that the system reports: checked above, or given by this crate's own workers.
        // The store is a release, whatever the edge.
        unsafe { rseq::store_if::<OPEN>(word, value, guard, area) }
    }

    #[inline(always)]
    fn fence(&self, edge: Edge) {
        fence(edge.fence());
    }

    #[inline(always)]
    fn light_fence(&self, edge: Edge) {
        if self.light {
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        } else {
            fence(edge.fence());
        }
    }

    #[inline(always)]
    fn prefetch_write(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: prefetching is a hint and cannot fault, wherever the address points. PREFETCHW is what
        // `_MM_HINT_ET0` compiles to on every x86-64 processor that knows it, and a no-op on the others.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) self.address(at), options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics(what: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(what).is_err()
    }

    #[test]
    fn a_public_region_checks_every_offset_also_in_release_builds() {
        let mut words = [7u64; 4];
        // SAFETY: two words of the array, which outlives every copy; nothing else uses them in the
        // meantime.
        let region = unsafe { Mapped::new(words.as_mut_ptr().cast(), 16, false) };
        assert_eq!((region.load(8, Edge::Plain), region.bytes()), (7, 16));
        for at in [16, 24, 1, 9, usize::MAX, usize::MAX - 7] {
            let region = std::panic::AssertUnwindSafe(region);
            assert!(panics(|| _ = region.load(at, Edge::Plain)), "load {at}");
            assert!(panics(|| region.store(at, 1, Edge::Plain)), "store {at}");
            assert!(panics(|| _ = region.compare_exchange(at, 7, 1, Edge::Plain)), "swap {at}");
            assert!(panics(|| _ = region.fetch_add(at, 1, Edge::Plain)), "add {at}");
            assert!(panics(|| _ = region.store_if(0, 1, Edge::Done, &region, at, 0)), "guard {at}");
            assert!(panics(|| _ = region.part(8).load(at, Edge::Plain)), "part {at}");
        }
        let region = std::panic::AssertUnwindSafe(region);
        assert!(panics(|| _ = region.address(17)) && !panics(|| _ = region.address(16)));
        let elsewhere = rseq::offset().map_or(0, |area| area + 8);
        assert!(panics(|| _ = region.store_if(0, 1, Edge::Done, &region, 8, elsewhere)));
        assert_eq!(words, [7; 4]);
    }
}
