//! Copying small payloads without a call.
//!
//! A `memcpy` of a length the compiler does not know is a call and a few unpredictable branches; next to an event
//! of 8 bytes that is most of the cost. Up to 64 bytes are copied as two overlapping halves; larger copies go to
//! `memcpy`, which is good at them.

use std::ptr::{copy_nonoverlapping, read_unaligned, write_unaligned};

/// Copies `count` bytes from `from` to `to`.
///
/// # Safety
/// Both ranges are valid for `count` bytes and do not overlap.
#[inline(always)]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
    /// Copies `size_of::<W>()..=2 * size_of::<W>()` bytes as two words that overlap.
    #[inline(always)]
    unsafe fn halves<W: Copy>(from: *const u8, to: *mut u8, count: usize) {
        let last = count - size_of::<W>();
        // SAFETY: the caller's ranges hold at least one W, at their start and at their end.
        let (first_word, last_word) =
            unsafe { (read_unaligned(from.cast::<W>()), read_unaligned(from.add(last).cast::<W>())) };
        // SAFETY: as above.
        unsafe { write_unaligned(to.cast::<W>(), first_word) };
        // SAFETY: as above.
        unsafe { write_unaligned(to.add(last).cast::<W>(), last_word) };
    }
    // SAFETY: each arm copies exactly `count` bytes, which the caller vouches for.
    unsafe {
        match count {
            8..=16 => halves::<u64>(from, to, count),
            17..=32 => halves::<u128>(from, to, count),
            33..=64 => halves::<[u128; 2]>(from, to, count),
            4..=7 => halves::<u32>(from, to, count),
            _ => copy_nonoverlapping(from, to, count),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_small_length_is_copied_exactly() {
        let from: Vec<u8> = (1..=200).collect();
        for count in 0..150 {
            for shift in 0..9 {
                let mut to = [0u8; 200];
                // SAFETY: both arrays are longer than shift + count.
                unsafe { super::copy(from[shift..].as_ptr(), to[3..].as_mut_ptr(), count) };
                assert_eq!(&to[3..3 + count], &from[shift..shift + count]);
                assert!(to[..3].iter().chain(&to[3 + count..]).all(|&byte| byte == 0));
            }
        }
    }
}
