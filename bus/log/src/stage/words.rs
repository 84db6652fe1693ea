//! The state words of staging: what a successor needs to know about blocks that a dead writer held.
//!
//! The staging blocks and these words lie in shared memory (`NAME.stage`). So events that were
//! taken out of the ring, but had not reached the disk, survive the writer. Records lie in a
//! staging block as they do on disk, from offset [`BLOCK_HEADER_BYTES`] on. Positions and times are
//! relative to the base in the words. `records_bytes` is stored after each whole record.
//!
//! ```text
//! FREE -> FILLING (records are appended) -> WRITING (no record is appended) -> FREE (it is in the journal)
//! ```
//!
//! A block becomes free only when it, and every block before it, has been written, and no event
//! continues after it. So the journal up to a kill, followed by the blocks that are not free, in
//! order of `order`, has no hole.
//!
//! Left out: bodies have no checksum here. One process, the dead writer, wrote the words and the
//! bytes, in memory that only writers may change. Even so, the words are checked against the bounds
//! of the block.

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::block::Records;
use crate::format::{BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, PositionUnit};

/// The block holds nothing that is not in the journal.
pub const FREE: u32 = 0;
/// Records are being appended.
pub const FILLING: u32 = 1;
/// The block is full, or was closed early, and is on its way to the disk.
pub const WRITING: u32 = 2;

/// The words of one staging block. Only the writer writes them. All zeros is a free block.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct StageBlock {
    /// [`FREE`], [`FILLING`] or [`WRITING`].
    state: AtomicU32,
    /// Size of the whole records in the block, in bytes.
    records_bytes: AtomicU32,
    /// The order of the blocks: counts the fillings of this writer.
    order: AtomicU64,
    /// The base of its records' positions.
    first_position: AtomicU64,
    /// The base of its records' times, in ns of CLOCK_REALTIME.
    base_time_ns: AtomicU64,
}

const _: () = assert!(size_of::<StageBlock>() == 64);

/// The state words of a writer's staging blocks. Clones refer to the same words.
#[derive(Clone)]
pub struct StageWords {
    blocks: NonNull<StageBlock>,
    count: usize,
    // Keeps the memory.
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the words are atomics in memory that `_owner` keeps, and `_owner` may be sent.
unsafe impl Send for StageWords {}
// SAFETY: the words are atomics in memory that `_owner` keeps, and `_owner` is `Sync`.
unsafe impl Sync for StageWords {}

impl fmt::Debug for StageWords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.blocks()).finish()
    }
}

impl StageWords {
    /// Creates words in this process's own memory, all free, for a writer without a successor.
    pub fn heap(count: usize) -> StageWords {
        let blocks: Arc<Vec<StageBlock>> = Arc::new((0..count).map(|_| StageBlock::default()).collect());
        let first = NonNull::from(&blocks[..]).cast();
        StageWords { blocks: first, count, _owner: blocks }
    }

    /// Uses words in shared memory.
    ///
    /// # Safety
    /// `blocks` points to `count` of them, which `owner` keeps mapped and which all code accesses
    /// only as atomics.
    pub unsafe fn from_raw(
        blocks: NonNull<StageBlock>,
        count: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> StageWords {
        StageWords { blocks, count, _owner: owner }
    }

    /// The words of all blocks.
    pub fn blocks(&self) -> &[StageBlock] {
        // SAFETY: the caller of `from_raw`, or `heap`, vouches for the memory, and `_owner` keeps
        // it.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr(), self.count) }
    }

    /// Returns the blocks that are not free, in the order in which they were filled. A successor
    /// takes them over.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let mut found: Vec<Leftover> = (0..self.count).filter_map(|block| self.leftover(block)).collect();
        found.sort_by_key(|leftover| leftover.order);
        found
    }

    fn leftover(&self, block: usize) -> Option<Leftover> {
        let words = &self.blocks()[block];
        // RECORDS: pairs with the Release stores of the writer, which is dead. The lock that it
        // dropped orders these accesses as well.
        if words.state.load(Ordering::Acquire) == FREE {
            return None;
        }
        Some(Leftover {
            block,
            order: words.order.load(Ordering::Relaxed),
            records_bytes: words.records_bytes.load(Ordering::Acquire) as usize,
            first_position: words.first_position.load(Ordering::Relaxed),
            base_time_ns: words.base_time_ns.load(Ordering::Relaxed),
        })
    }

    /// Frees every block, after the successor has appended what was left.
    pub fn clear(&self) {
        for words in self.blocks() {
            words.state.store(FREE, Ordering::Release);
        }
    }
}

impl StageBlock {
    /// Begins the `order`-th block, whose first event is at `first_position`. Times count from
    /// `base_time_ns`.
    pub fn begin(&self, order: u64, first_position: u64, base_time_ns: u64) {
        self.records_bytes.store(0, Ordering::Relaxed);
        self.order.store(order, Ordering::Relaxed);
        self.first_position.store(first_position, Ordering::Relaxed);
        self.base_time_ns.store(base_time_ns, Ordering::Relaxed);
        // RECORDS: the words above are stored before the state.
        self.state.store(FILLING, Ordering::Release);
    }

    /// Stores the size of the whole records. RECORDS: pairs with the Acquire in `leftover`: the
    /// records are stored before their size.
    #[inline(always)]
    pub fn set_records(&self, bytes: usize) {
        self.records_bytes.store(bytes as u32, Ordering::Release);
    }

    /// Stores the state of the block. RECORDS: pairs with the Acquire in `leftover`.
    pub fn set_state(&self, state: u32) {
        self.state.store(state, Ordering::Release);
    }
}

/// A staging block that a dead writer left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftover {
    /// The index of the staging block.
    pub block: usize,
    /// Its order among the others.
    pub order: u64,
    /// Size of the whole records, in bytes.
    pub records_bytes: usize,
    /// The base of the positions.
    pub first_position: u64,
    /// The base of the times, in ns of CLOCK_REALTIME.
    pub base_time_ns: u64,
}

impl Leftover {
    /// Returns its records, given the staging block's bytes. The caller passes them, block after
    /// block, to an [`Assembler`](crate::block::Assembler). If the first block continues a record
    /// whose beginning is in the journal, it begins with pieces that must be skipped.
    pub fn records<'a>(&self, unit: PositionUnit, staging: &'a [u8]) -> Records<'a> {
        let bytes = self.records_bytes.min(BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES);
        let records = staging.get(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + bytes).unwrap_or(&[]);
        Records::unfinished(unit, self.first_position, self.base_time_ns, records)
    }
}
