//! Copying small payloads without a call.
//!
//! A `memcpy` of a length that the compiler does not know is a call and a few unpredictable
//! branches. Next to an event of 8 bytes that is most of the cost. So 4 to 64 bytes are copied as two
//! overlapping halves, and 129 to 512 bytes as two ends and what lies between. Other copies go
//! to `memcpy`, which is good at them.
//!
//! Halves and ends are copied word by word. An application changes fields of its event and
//! publishes it at once. A wider load would cover bytes of several stores that are still in the
//! store buffer. It would wait until they have left it, behind everything that was written to the
//! ring before.

use std::ptr::{copy_nonoverlapping, read_unaligned, write_unaligned};

use railbus_ring::opaque::opaque;

/// Copies `count` bytes from `from` to `to`.
///
/// # Safety
/// Both ranges are valid for `count` bytes and do not overlap.
#[inline(always)]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
    /// Copies 8 * `N` to 16 * `N` bytes as two halves of `N` words that overlap.
    #[inline(always)]
    unsafe fn halves<const N: usize>(from: *const u8, to: *mut u8, count: usize) {
        let last = count - 8 * N;
        // SAFETY: the caller's ranges hold at least N words, at their start and at their end.
        let word = |at: usize| opaque(unsafe { read_unaligned(from.add(at).cast::<u64>()) });
        let starts: [usize; N] = std::array::from_fn(|i| 8 * i);
        let (first_words, last_words) = (starts.map(word), starts.map(|at| word(last + at)));
        for (i, (first_word, last_word)) in first_words.into_iter().zip(last_words).enumerate() {
            // SAFETY: as above.
            unsafe { write_unaligned(to.add(8 * i).cast::<u64>(), first_word) };
            // SAFETY: as above.
            unsafe { write_unaligned(to.add(last + 8 * i).cast::<u64>(), last_word) };
        }
    }
    /// Copies `N` words.
    #[inline(always)]
    unsafe fn words<const N: usize>(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's ranges hold N words.
        let words: [u64; N] =
            std::array::from_fn(|i| opaque(unsafe { read_unaligned(from.add(8 * i).cast::<u64>()) }));
        for (i, word) in words.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { write_unaligned(to.add(8 * i).cast::<u64>(), word) };
        }
    }
    // SAFETY: each arm copies exactly `count` bytes, which the caller vouches for.
    unsafe {
        match count {
            8..=16 => halves::<1>(from, to, count),
            17..=32 => halves::<2>(from, to, count),
            33..=64 => halves::<4>(from, to, count),
            129..=512 => {
                words::<8>(from, to);
                let mut at = 64;
                // The last of these may reach into the end, which is copied afterwards.
                while at < count - 64 {
                    let wide = read_unaligned(from.add(at).cast::<u128>());
                    write_unaligned(to.add(at).cast::<u128>(), wide);
                    at += 16;
                }
                words::<8>(from.add(count - 64), to.add(count - 64));
            }
            4..=7 => {
                let (first, last) = (from.cast::<u32>(), from.add(count - 4).cast::<u32>());
                let (first, last) = (read_unaligned(first), read_unaligned(last));
                write_unaligned(to.cast::<u32>(), first);
                write_unaligned(to.add(count - 4).cast::<u32>(), last);
            }
            _ => copy_nonoverlapping(from, to, count),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_small_length_is_copied_exactly() {
        let from: Vec<u8> = (0..600).map(|i| (i % 251) as u8 + 1).collect();
        for count in (0..150).chain(240..280).chain(490..530) {
            for shift in 0..9 {
                let mut to = [0u8; 600];
                // SAFETY: both arrays are longer than shift + count.
                unsafe { super::copy(from[shift..].as_ptr(), to[3..].as_mut_ptr(), count) };
                assert_eq!(&to[3..3 + count], &from[shift..shift + count]);
                assert!(to[..3].iter().chain(&to[3 + count..]).all(|&byte| byte == 0));
            }
        }
    }
}
