//! The state words of staging: what a successor needs to know about blocks that a dead writer had in hand.
//!
//! The staging blocks and these words lie in shared memory (`NAME.stage`), so that events which were taken out of the
//! ring, but had not reached the disk, survive the writer. Records stand in a staging block as they do on disk, from
//! offset [`BLOCK_HEADER_BYTES`] on, positions and times relative to the words' base; `records_bytes` is stored after
//! each whole record.
//!
//! ```text
//! FREE -> FILLING (records are appended) -> WRITING (nothing is appended any more) -> FREE (it is in the journal)
//! ```
//!
//! A block becomes free only when it, and every block before it, has been written, and no event goes on behind it:
//! so the journal up to a kill, followed by what is not free, in order of `order`, has no hole.
//!
//! Left out: bodies have no checksum here. The words and the bytes were written by one process, the dead writer, in
//! memory that only writers may change; what they say is checked against the bounds of the block all the same.

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::block::Records;
use crate::format::{BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, PositionUnit};

/// Nothing in it that is not in the journal.
pub const FREE: u32 = 0;
/// Records are being appended.
pub const FILLING: u32 = 1;
/// It is full, or sealed early, and on its way to the disk.
pub const WRITING: u32 = 2;

/// The words of one staging block; written by the writer only. All zeros is a free block.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct StageBlock {
    /// [`FREE`], [`FILLING`] or [`WRITING`].
    state: AtomicU32,
    /// Bytes of whole records in the block.
    records_bytes: AtomicU32,
    /// Orders the blocks: counts the fillings of this writer.
    order: AtomicU64,
    /// The positions of its records are relative to this.
    first_position: AtomicU64,
    /// The times of its records are relative to this.
    base_time_ns: AtomicU64,
}

const _: () = assert!(size_of::<StageBlock>() == 64);

/// The state words of a writer's staging blocks; clones are the same ones.
#[derive(Clone)]
pub struct StageWords {
    blocks: NonNull<StageBlock>,
    count: usize,
    // Keeps the memory.
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the words are atomics in memory that `_owner`, which may be sent, keeps.
unsafe impl Send for StageWords {}
// SAFETY: as above.
unsafe impl Sync for StageWords {}

impl fmt::Debug for StageWords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.blocks()).finish()
    }
}

impl StageWords {
    /// Words in this process's own memory, all free: for writers without a successor.
    pub fn heap(count: usize) -> StageWords {
        let blocks: Arc<Vec<StageBlock>> = Arc::new((0..count).map(|_| StageBlock::default()).collect());
        let first = NonNull::from(&blocks[..]).cast();
        StageWords { blocks: first, count, _owner: blocks }
    }

    /// Words in shared memory.
    ///
    /// # Safety
    /// `blocks` points to `count` of them, which `owner` keeps mapped and which nobody accesses but as atomics.
    pub unsafe fn from_raw(
        blocks: NonNull<StageBlock>,
        count: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> StageWords {
        StageWords { blocks, count, _owner: owner }
    }

    /// The words of all blocks.
    pub fn blocks(&self) -> &[StageBlock] {
        // SAFETY: `from_raw`'s caller, or `heap`, vouches for the memory, and `_owner` keeps it.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr(), self.count) }
    }

    /// The blocks that are not free, in the order in which they were filled: what a successor takes over.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let mut found: Vec<Leftover> = (0..self.count).filter_map(|block| self.leftover(block)).collect();
        found.sort_by_key(|leftover| leftover.order);
        found
    }

    fn leftover(&self, block: usize) -> Option<Leftover> {
        let words = &self.blocks()[block];
        // RECORDS: pairs with the Release stores of the writer, which is dead; the lock it dropped orders us as well.
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

    /// Frees every block: the successor has appended what was left.
    pub fn clear(&self) {
        for words in self.blocks() {
            words.state.store(FREE, Ordering::Release);
        }
    }
}

impl StageBlock {
    /// Begins a block: the `order`-th, whose first event is at `first_position`; times count from `base_time_ns`.
    pub fn begin(&self, order: u64, first_position: u64, base_time_ns: u64) {
        self.records_bytes.store(0, Ordering::Relaxed);
        self.order.store(order, Ordering::Relaxed);
        self.first_position.store(first_position, Ordering::Relaxed);
        self.base_time_ns.store(base_time_ns, Ordering::Relaxed);
        // RECORDS: the words above are there before the state says so.
        self.state.store(FILLING, Ordering::Release);
    }

    /// RECORDS: pairs with the Acquire in `leftover`: the records are there before the count says so.
    #[inline(always)]
    pub fn set_records(&self, bytes: usize) {
        self.records_bytes.store(bytes as u32, Ordering::Release);
    }

    /// Says what the block is in the middle of.
    pub fn set_state(&self, state: u32) {
        self.state.store(state, Ordering::Release);
    }
}

/// A staging block that a dead writer left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftover {
    /// Which staging block.
    pub block: usize,
    /// Its place among the others.
    pub order: u64,
    /// Bytes of whole records.
    pub records_bytes: usize,
    /// Base of the positions.
    pub first_position: u64,
    /// Base of the times.
    pub base_time_ns: u64,
}

impl Leftover {
    /// Its records, given the staging block's bytes. Feed them, block after block, to an
    /// [`Assembler`](crate::block::Assembler); one that goes on from a block that is in the journal already begins
    /// with pieces that must be skipped.
    pub fn records<'a>(&self, unit: PositionUnit, staging: &'a [u8]) -> Records<'a> {
        let bytes = self.records_bytes.min(BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES);
        let records = staging.get(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + bytes).unwrap_or(&[]);
        Records::unfinished(unit, self.first_position, self.base_time_ns, records)
    }
}
