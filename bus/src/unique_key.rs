//! Unique keys: how a program's key becomes 128 bits.
//!
//! ```text
//! byte 15         bytes 14..0
//! | 1 + length   | the bytes themselves, padded with zeros |    up to 15 bytes: exact
//! | 0x80         | 120 bits of SipHash-2-4-128             |    longer than 15 bytes
//! ```
//!
//! The last byte differs, so keys of two sorts are never the same. A number is its 8 bytes, the least
//! significant first.

use std::hash::Hasher;

use railbus_ring::slots::unique::JobKey;
use siphasher::sip128::{Hasher128, SipHasher24};

/// The unique key of a queue's event: of all events with one key, at most one is in the queue and
/// not finished. See [`Producer::publish_unique`](crate::Producer::publish_unique).
///
/// It is made of bytes of any length. A number counts as its 8 bytes, the least significant first. Up
/// to 15 bytes are kept as they are, so that two different keys never count as the same. Longer keys
/// are hashed to 120 bits: two different ones count as the same with a probability of 2^-120 for each
/// pair. The hash has no secret,
/// so do not let an adversary choose long keys.
///
/// # Examples
///
/// ```
/// use railbus::UniqueKey;
///
/// assert_eq!(UniqueKey::from("user 7"), UniqueKey::from(&b"user 7"[..]));
/// assert_ne!(UniqueKey::from(7), UniqueKey::from("7"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UniqueKey([u64; 2]);

impl UniqueKey {
    const HASHED: u64 = 0x80 << 56;

    /// The two words of the key, as an event carries them.
    pub fn words(self) -> [u64; 2] {
        self.0
    }

    /// The key of these words, as [`Self::words`] returned them. `None` if both are 0, which is no
    /// key.
    pub fn from_words(words: [u64; 2]) -> Option<UniqueKey> {
        (words != [0, 0]).then_some(UniqueKey(words))
    }

    pub(crate) fn key(self) -> JobKey {
        JobKey(self.0)
    }
}

impl From<u64> for UniqueKey {
    fn from(number: u64) -> UniqueKey {
        UniqueKey::from(&number.to_le_bytes()[..])
    }
}

impl From<&[u8]> for UniqueKey {
    fn from(bytes: &[u8]) -> UniqueKey {
        if bytes.len() > 15 {
            let [low, high] = siphash128([0, 0], bytes);
            return UniqueKey([low, high >> 8 | UniqueKey::HASHED]);
        }
        let mut padded = [0; 16];
        padded[..bytes.len()].copy_from_slice(bytes);
        padded[15] = bytes.len() as u8 + 1;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| padded[at + i]));
        UniqueKey([word(0), word(8)])
    }
}

impl From<&str> for UniqueKey {
    fn from(text: &str) -> UniqueKey {
        UniqueKey::from(text.as_bytes())
    }
}

/// SipHash-2-4 with a result of 128 bits (Aumasson and Bernstein): the low word, then the high one.
fn siphash128(key: [u64; 2], bytes: &[u8]) -> [u64; 2] {
    let mut hasher = SipHasher24::new_with_keys(key[0], key[1]);
    hasher.write(bytes);
    let hash = hasher.finish128();
    [hash.h1, hash.h2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // The first two of the authors' vectors: the key is 00 01 .. 0f, the input empty, and 00.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let bytes = |words: [u64; 2]| [words[0].to_le_bytes(), words[1].to_le_bytes()].concat();
        let empty =
            [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93];
        assert_eq!(bytes(siphash128(key, b"")), empty);
        let one =
            [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45];
        assert_eq!(bytes(siphash128(key, &[0])), one);
    }

    #[test]
    fn keys_of_any_sort_differ() {
        let texts =
            ["", "\0", "\0\0", "a", "a\0", "123456789012345", "1234567890123456", "12345678901234567"];
        let mut keys: Vec<UniqueKey> = texts.map(UniqueKey::from).to_vec();
        keys.extend([0, 1, 97, u64::MAX].map(UniqueKey::from));
        for (i, one) in keys.iter().enumerate() {
            assert_ne!(one.words(), [0, 0]);
            assert_eq!(UniqueKey::from_words(one.words()), Some(*one));
            assert!(keys[..i].iter().all(|other| other != one), "{one:?}");
        }
        assert_eq!(UniqueKey::from_words([0, 0]), None);
    }
}
