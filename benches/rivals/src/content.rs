//! The content of each event, which its receiver checks.
//!
//! Every word of a payload depends on the event's number. So an event that is lost, repeated, torn
//! or out of order is noticed.

/// Fills a payload.
#[inline(always)]
pub fn fill(payload: &mut [u8], number: u64) {
    for (at, word) in (0u64..).zip(payload.as_chunks_mut::<8>().0) {
        *word = number.wrapping_add(at).to_le_bytes();
    }
}

/// Whether a payload of `bytes` bytes is that of event `number`. Every word is read.
#[inline(always)]
pub fn is_right(payload: &[u8], bytes: usize, number: u64) -> bool {
    let mut wrong = 0;
    for (at, word) in (0u64..).zip(payload.as_chunks::<8>().0) {
        wrong |= u64::from_le_bytes(*word) ^ number.wrapping_add(at);
    }
    wrong == 0 && payload.len() == bytes
}
