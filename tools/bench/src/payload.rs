//! The payload of the events. The sender writes every byte; the receiver reads and sums every word.
//!
//! ```text
//! | tag u64 | body ... | tag u64 |      16 bytes and more: the tag at both ends shows a torn or stale event
//! | tag u64 | body ...           |      8 to 15 bytes
//! ```
//! The tag is the sequence number, with the producer in its upper byte. The body is a fixed
//! pseudo-random pattern that is copied in, as an application copies its data in. Its sum is known,
//! so the sum over all words is a check.

/// The smallest payload: the tag.
pub const MIN_BYTES: usize = 8;

/// Bits of a tag that hold the sequence number.
pub const SEQUENCE_BITS: u32 = 56;

/// The tag of a producer's `sequence`-th event.
#[inline(always)]
pub fn tag(producer: usize, sequence: u64) -> u64 {
    (producer as u64) << SEQUENCE_BITS | sequence
}

/// A payload of one size, to be written and checked many times.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The pattern; its tag words are zero.
    pattern: Vec<u8>,
    /// The sum of the pattern's words and trailing bytes.
    sum: u64,
}

impl Payload {
    /// A payload of `bytes` bytes, at least [`MIN_BYTES`].
    pub fn new(bytes: usize) -> Payload {
        assert!(bytes >= MIN_BYTES, "the arguments were validated");
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut pattern = vec![0; bytes];
        for byte in &mut pattern[8..] {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        if bytes >= 16 {
            pattern[bytes - 8..].fill(0);
        }
        let sum = sum(&pattern);
        Payload { pattern, sum }
    }

    /// Size in bytes.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.pattern.len()
    }

    /// Writes every byte of an event. `event` has [`Payload::bytes`] bytes.
    #[inline(always)]
    pub fn write(&self, event: &mut [u8], tag: u64) {
        let bytes = event.len();
        if bytes > 8 {
            event.copy_from_slice(&self.pattern);
        }
        self.stamp(event, tag);
    }

    /// An event without its tag, to be stamped and published by copy.
    pub fn event(&self) -> Box<[u8]> {
        self.pattern.clone().into_boxed_slice()
    }

    /// Writes the tag into an event that [`Payload::event`] made, as an application changes a field
    /// of its struct before it publishes it. `event` has [`Payload::bytes`] bytes.
    #[inline(always)]
    pub fn stamp(&self, event: &mut [u8], tag: u64) {
        let bytes = event.len();
        if bytes >= 16 {
            event[bytes - 8..].copy_from_slice(&tag.to_le_bytes());
        }
        event[..8].copy_from_slice(&tag.to_le_bytes());
    }

    /// Reads every byte of an event. Returns its tag, or `None` if [`Payload::write`] did not write
    /// the event.
    #[inline(always)]
    pub fn read(&self, event: &[u8]) -> Option<u64> {
        if event.len() != self.pattern.len() {
            return None;
        }
        let (first, _) = event.split_first_chunk::<8>()?;
        let tag = u64::from_le_bytes(*first);
        if event.len() == 8 {
            return Some(tag);
        }
        let expected = self.sum.wrapping_add(tag);
        if event.len() < 16 {
            return (sum(event) == expected).then_some(tag);
        }
        // The last tag may straddle two words: its bytes are checked by themselves.
        let (body, last) = event.split_last_chunk::<8>()?;
        (sum(body) == expected && u64::from_le_bytes(*last) == tag).then_some(tag)
    }
}

/// The wrapping sum of all words, and of the trailing bytes as a last, shorter word.
#[inline(always)]
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let whole = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().enumerate().fold(whole, |sum, (i, &byte)| sum.wrapping_add(u64::from(byte) << (8 * i)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_changed_byte_is_noticed() {
        for bytes in [8, 9, 15, 16, 17, 23, 24, 31, 56, 64, 100, 1024] {
            let payload = Payload::new(bytes);
            let mut event = vec![0xff; bytes];
            payload.write(&mut event, tag(3, 77));
            assert_eq!(payload.read(&event), Some(tag(3, 77)), "{bytes} bytes");
            let mut stamped = payload.event();
            payload.stamp(&mut stamped, tag(3, 77));
            assert_eq!(*stamped, *event);
            for at in 0..bytes {
                event[at] ^= 1;
                assert_ne!(payload.read(&event), Some(tag(3, 77)), "byte {at} of {bytes}");
                event[at] ^= 1;
            }
            assert_eq!(payload.read(&event[..bytes - 1]), None);
        }
    }

    #[test]
    fn an_event_of_another_lap_is_not_taken_for_a_new_one() {
        let payload = Payload::new(64);
        let (mut old, mut new) = (vec![0; 64], vec![0; 64]);
        payload.write(&mut old, 1);
        payload.write(&mut new, 2);
        new[8..].copy_from_slice(&old[8..]);
        assert_eq!(payload.read(&new), None);
    }
}
