//! The buckets of HdrHistogram with two significant digits and a lowest value of 1.
//!
//! ```text
//! values      0 .. 255      one bucket for each
//! 256 .. 511                128 buckets, each 2 wide
//! 512 .. 1023               128 buckets, each 4 wide      ... and so on
//! ```
//!
//! No bucket is wider than 1/128 of its values.

use railbus_ring::layout::BUCKETS;

/// Larger values count in the last bucket.
pub const VALUE_MAX: u64 = (1 << 42) - 1;

const HALF: usize = 128;
const HALF_BITS: u32 = 7;

/// The bucket that counts `value`.
#[inline(always)]
pub fn index(value: u64) -> usize {
    let value = if value > VALUE_MAX { VALUE_MAX } else { value };
    let shift = (64 - HALF_BITS - 1) - (value | 0xFF).leading_zeros();
    ((shift as usize + 1) << HALF_BITS) + (value >> shift) as usize - HALF
}

/// The smallest and the largest value that bucket `index` counts.
pub fn bounds(index: usize) -> (u64, u64) {
    let half = index >> HALF_BITS;
    let (shift, part) = match half.checked_sub(1) {
        None => (0, index),
        Some(shift) => (shift, (index & (HALF - 1)) + HALF),
    };
    let low = (part as u64) << shift;
    (low, low + (1 << shift) - 1)
}

const _: () = assert!(BUCKETS == 36 * HALF);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_value_is_in_its_bucket_and_buckets_are_contiguous() {
        let mut next = 0;
        for i in 0..BUCKETS {
            let (low, high) = bounds(i);
            assert_eq!(low, next);
            assert_eq!((index(low), index(high)), (i, i), "{low} {high}");
            next = high + 1;
        }
        assert_eq!(next, VALUE_MAX + 1);
        assert_eq!(index(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn the_buckets_are_those_of_hdrhistogram(value in 0..=VALUE_MAX, bits in 0..42u32) {
            let value = value >> bits;
            let mut histogram = hdrhistogram::Histogram::<u64>::new_with_bounds(1, VALUE_MAX, 2)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(histogram.distinct_values(), BUCKETS);
            histogram.saturating_record(value);
            let (low, high) = bounds(index(value));
            prop_assert_eq!(histogram.lowest_equivalent(value), low);
            prop_assert_eq!(histogram.highest_equivalent(value), high);
            prop_assert_eq!(histogram.count_at(low), 1);
        }
    }
}
