//! Where the parts of a table's data lie. Every offset is computed from the geometry of a checked
//! header and from an entry's number below `keys`, never from a word of shared memory.

use crate::layout::table::{BUFFERS, GROUP, HEAD_BYTES, MARK_BYTES};
use crate::layout::{LINE_BYTES, table as layout};

/// The most keys that a table may have.
pub const KEYS_MAX: u64 = 1 << 20;
/// The most bytes that a value may have.
pub const VALUE_BYTES_MAX: u64 = 1 << 20;

const BUCKETS_MIN: usize = 8;

/// The geometry of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The number of keys, and of entries.
    keys: usize,
    /// The most bytes of a value: a multiple of 8.
    value_bytes: usize,
    /// A power of two.
    buckets: usize,
    marks_at: usize,
    entries_at: usize,
    entry_bytes: usize,
    buffer_bytes: usize,
}

const fn up(bytes: usize, to: usize) -> usize {
    bytes.div_ceil(to) * to
}

impl Geometry {
    /// The geometry of a table of `keys` keys, 1 to [`KEYS_MAX`], and values of up to `value_bytes`
    /// bytes, a multiple of 8 up to [`VALUE_BYTES_MAX`]. `None` for other numbers.
    pub const fn new(keys: u64, value_bytes: u64) -> Option<Geometry> {
        let fits = keys > 0 && keys <= KEYS_MAX && value_bytes > 0 && value_bytes <= VALUE_BYTES_MAX;
        if !fits || !value_bytes.is_multiple_of(8) {
            return None;
        }
        let (keys, value_bytes) = (keys as usize, value_bytes as usize);
        let buckets = keys.next_power_of_two();
        let buckets = if buckets < BUCKETS_MIN { BUCKETS_MIN } else { buckets };
        let marks_at = up(buckets * 8, LINE_BYTES);
        let entries_at = up(marks_at + keys.div_ceil(GROUP) * MARK_BYTES, LINE_BYTES);
        let buffer_bytes = up(value_bytes, 64);
        let entry_bytes = up(HEAD_BYTES + BUFFERS * buffer_bytes, LINE_BYTES);
        Some(Geometry { keys, value_bytes, buckets, marks_at, entries_at, entry_bytes, buffer_bytes })
    }

    /// The bytes of all data: below 2^43.
    pub const fn bytes(&self) -> u64 {
        (self.entries_at + self.keys * self.entry_bytes) as u64
    }

    /// The number of keys, and of entries.
    #[inline(always)]
    pub const fn keys(&self) -> usize {
        self.keys
    }

    /// The most bytes of a value.
    #[inline(always)]
    pub const fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// The number of groups of entries.
    #[inline(always)]
    pub const fn groups(&self) -> usize {
        self.keys.div_ceil(GROUP)
    }

    /// The offset of the bucket of this hash.
    #[inline(always)]
    pub(crate) const fn bucket(&self, hash: u64) -> usize {
        (hash as usize & (self.buckets - 1)) * 8
    }

    /// The offset of the mark of group `group`.
    #[inline(always)]
    pub(crate) const fn mark(&self, group: usize) -> usize {
        debug_assert!(group < self.groups());
        self.marks_at + group * MARK_BYTES
    }

    /// The offset of entry `entry`.
    #[inline(always)]
    pub const fn entry(&self, entry: usize) -> usize {
        debug_assert!(entry < self.keys);
        self.entries_at + entry * self.entry_bytes
    }

    /// The distance of two buffers of an entry, the first of which follows the head.
    #[inline(always)]
    pub(crate) const fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// The entry that a link (1 + the number of an entry, in the low half) names; `None` for none, and
    /// for a number that no entry has.
    #[inline(always)]
    pub(crate) const fn linked(&self, link: u64) -> Option<usize> {
        let entry = (link as u32 as usize).wrapping_sub(1);
        if entry < self.keys { Some(entry) } else { None }
    }
}

/// The number of the buffer of a version.
#[inline(always)]
pub(crate) const fn buffer_of(version: u64) -> usize {
    version as usize & (BUFFERS - 1)
}

/// The offset of the word that holds the length of the value of `version`, and the bit from which on
/// it does, from the start of the entry.
#[inline(always)]
pub(crate) const fn length_word(version: u64) -> (usize, u32) {
    let buffer = buffer_of(version);
    (layout::LENGTHS + buffer / 2 * 8, buffer as u32 % 2 * 32)
}

const _: () = assert!(BUFFERS.is_power_of_two() && BUFFERS * 4 == 16);
const _: () = assert!(layout::HEAD_BYTES.is_multiple_of(LINE_BYTES));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap_and_the_last_byte_is_inside() {
        for (keys, value_bytes) in [(1, 8), (7, 64), (64, 72), (1000, 8), (1 << 20, 1 << 20)] {
            let g = Geometry::new(keys, value_bytes).expect("in range");
            assert!(g.bucket(u64::MAX) + 8 <= g.mark(0));
            assert!(g.mark(g.groups() - 1) + MARK_BYTES <= g.entry(0));
            let last = g.keys() - 1;
            let end = g.entry(last) + HEAD_BYTES + buffer_of(7) * g.buffer_bytes() + g.value_bytes();
            assert!(end as u64 <= g.bytes() && g.bytes() < 1 << 43, "{keys} {value_bytes}");
            assert!(g.entry(0).is_multiple_of(LINE_BYTES) && g.buffer_bytes().is_multiple_of(64));
            assert_eq!((g.linked(0), g.linked(1), g.linked(keys + 1)), (None, Some(0), None));
        }
        for (keys, value_bytes) in [(0, 8), (KEYS_MAX + 1, 8), (8, 0), (8, 12), (8, VALUE_BYTES_MAX + 8)] {
            assert_eq!(Geometry::new(keys, value_bytes), None);
        }
    }
}
