//! The memory that the ring protocols run on.
//!
//! A protocol is written once, generic over [`Memory`]: words at byte offsets, with every access naming the
//! [`Edge`] it takes part in. Three memories exist: [`Words`] is shared memory; the loom and crash memories of
//! `loom-tests` run the same code under every interleaving, and with its actor killed at every access. An edge
//! pins the ordering at both of its ends in one place, so that a test can weaken one end and must see a failure.
//!
//! Payload bytes do not pass through here: they are plain bytes that an edge publishes.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::os::rseq;
use crate::ring::fence::RESTARTS;

/// A happens-before edge of the protocols: a store that publishes and the load that relies on it, or a pair of
/// fences. The name is written at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// No ordering is needed; the comment at the access says why.
    Plain,
    /// Stream: a frame's header word is stored after its bytes and after the next header was zeroed; the reader
    /// that sees it may read the frame and then look at the next header.
    Commit,
    /// Readers: a cursor is stored after the reader's last access to what lies before it; the producer that sees
    /// it may overwrite that.
    Cursor,
    /// Stream: an anchor entry is filled before the index that names it.
    Anchor,
    /// Join and rescan (Dekker): a joiner stores its cursor, then reads the anchor (or tail) again; a producer
    /// stores the anchor (or reads the tail), then scans the cursors. One of them sees the other.
    Join,
    /// Lossy reading, the writer's end: the floor (a busy sequence word, the tail) is stored before any byte is overwritten.
    Overwrite,
    /// Lossy reading, the reader's end: the bytes are copied before the floor (sequence word, tail) is read again.
    Validate,
    /// A claim word is stored before its tickets can be won, and before it moves on, after everything done under
    /// it; a reaper that sees the newer claim sees what was published under the older.
    Announce,
    /// Tickets are won from the tail: the chain of read-modify-writes carries the announcements before them.
    Tail,
    /// Tickets are taken from the head, as with the tail.
    Head,
    /// A slot's sequence word is stored after the slot's bytes; who sees it may read the slot.
    Publish,
    /// A done word is stored after the worker's last access to the slot; who sees it may reuse the slot.
    Done,
    /// Keyed queues (Dekker): an event is put aside, then the one before it is looked at again; an event is done, then
    /// the next is looked at. One of them sees the other.
    Aside,
    /// The index of events that wait to be delivered again: a done word says REDO before its leaf tells so, and what is below
    /// a node is stored before the node; a node is read before what is below it, when it is renewed.
    Index,
    /// A registry entry is written before its state makes it valid.
    State,
    /// Eviction (Dekker): a consumer says what it may look at, then looks whether it was evicted; a producer
    /// sees that it was, then looks at what it said. One of them sees the other.
    Lent,
    /// Park and wake (Dekker): a sleeper announces itself, then looks at the ring again; a waker changes the ring,
    /// then looks for sleepers. On the waker's side the sleeper's membarrier stands in for the fence.
    Park,
    /// A waker counts the wake word up before it wakes; a sleeper reads it before it announces itself.
    Wake,
}

impl Edge {
    /// The ordering of a load at the receiving end of this edge.
    #[inline(always)]
    pub const fn load(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::Acquire,
        }
    }

    /// The ordering of a store at the publishing end of this edge.
    #[inline(always)]
    pub const fn store(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::Release,
        }
    }

    /// The ordering of a successful read-modify-write, which is both ends at once.
    #[inline(always)]
    pub const fn update(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::AcqRel,
        }
    }

    /// The ordering of a fence.
    #[inline(always)]
    pub const fn fence(self) -> Ordering {
        match self {
            Edge::Overwrite => Ordering::Release,
            Edge::Validate => Ordering::Acquire,
            _ => Ordering::SeqCst,
        }
    }
}

/// Words at byte offsets. Offsets are multiples of 8 and inside the memory: the protocols mask positions by
/// geometry that was checked at attach, so no offset comes from shared memory itself.
pub trait Memory: Clone {
    /// Loads the word at byte offset `at`.
    fn load(&self, at: usize, edge: Edge) -> u64;
    /// Stores the word at byte offset `at`.
    fn store(&self, at: usize, value: u64, edge: Edge);
    /// Replaces `current` by `new`; the error is the value found, which is loaded as [`Memory::load`] would.
    fn compare_exchange(&self, at: usize, current: u64, new: u64, edge: Edge) -> Result<u64, u64>;
    /// Adds and returns the value before.
    fn fetch_add(&self, at: usize, value: u64, edge: Edge) -> u64;
    /// Stores the word at byte offset `at` if the one at `guard_at` of `guard` is [`RESTARTS`], and says whether it did.
    /// The two are one step to whoever has changed the guard and seen this thread off its processor after that. `area` is
    /// what [`rseq::offset`] gave.
    fn store_if(&self, at: usize, value: u64, edge: Edge, guard: &Self, guard_at: usize, area: isize)
    -> bool;
    /// A fence.
    fn fence(&self, edge: Edge);
    /// A fence that the other side's membarrier makes unnecessary: nothing but a barrier to the compiler where
    /// that works, a full fence elsewhere.
    fn light_fence(&self, edge: Edge);
    /// Asks the processor to own the line at `at` for writing. A hint.
    #[inline(always)]
    fn prefetch_write(&self, _at: usize) {}
}

/// A region of shared memory whose every access is checked against its size, also in release builds: an offset beyond the
/// region, or one that is no multiple of 8, panics. Copies are handles to the same region.
pub type Mapped = Words<true>;

/// The region that the handles of this crate run on. Its offsets are not checked in release builds: see [`Words::trusted`].
pub(crate) type Trusted = Words<false>;

/// A region of shared memory: words at byte offsets. With `CHECKED` each offset is checked in release builds, too.
///
/// Whoever makes one promises that the region stays mapped, with the rights the protocol's role needs, for as
/// long as any copy is used.
#[derive(Debug, Clone, Copy)]
pub struct Words<const CHECKED: bool> {
    base: *mut u8,
    bytes: usize,
    /// Whether every sleeper can be trusted to run the membarrier that lets wakers go without a fence.
    light: bool,
}

// SAFETY: a region is shared words that are accessed atomically only; its maker keeps it mapped (see `new`).
unsafe impl<const CHECKED: bool> Send for Words<CHECKED> {}

impl Words<true> {
    /// A region of `bytes` bytes at `base`. `light` says that this process is registered for membarrier.
    ///
    /// # Safety
    /// Until the last copy is dropped, the `bytes` bytes at `base` must be mapped readable, and writable if anything is
    /// stored through a copy; and nothing may access them but atomically. Offsets need no promise: they are checked.
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
    /// As for [`Mapped::new`]. And every offset that is ever given to a copy must be a multiple of 8 with a whole word of
    /// the region behind it: no copy may reach code that takes offsets, or a geometry, from its caller. The rings keep to
    /// that: they mask positions by the geometry of a header that was checked at attach.
    pub(crate) unsafe fn trusted(base: *mut u8, bytes: usize, light: bool) -> Trusted {
        debug_assert!(base.addr().is_multiple_of(8) && bytes.is_multiple_of(8));
        Words { base, bytes, light }
    }
}

impl<const CHECKED: bool> Words<CHECKED> {
    /// Address of the byte at `at`.
    #[inline(always)]
    pub fn address(&self, at: usize) -> *mut u8 {
        if CHECKED {
            assert!(at <= self.bytes, "byte {at} of a region of {} bytes", self.bytes);
        }
        debug_assert!(at <= self.bytes);
        // SAFETY: `at` is inside the region, by the check above or the contract of `trusted`.
        unsafe { self.base.add(at) }
    }

    /// The part of the region from byte `at` on, a multiple of 8.
    pub fn part(&self, at: usize) -> Words<CHECKED> {
        assert!(at <= self.bytes && at.is_multiple_of(8));
        Words { base: self.address(at), bytes: self.bytes - at, light: self.light }
    }

    /// Size of the region in bytes.
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
        // SAFETY: in bounds and aligned (above, or by the contract of `trusted`; the region is of whole words), mapped as
        // long as any copy lives, and every access to these words by any process is atomic.
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
        // SAFETY: both words are in bounds and mapped, this one writable (`word`, `new`). The area is the system's: checked
        // above, or given by this crate's own workers. The store is a release, whatever the edge.
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
        // SAFETY: two words of the array, which outlives every copy; nothing else uses them meanwhile.
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
