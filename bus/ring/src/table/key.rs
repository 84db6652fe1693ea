//! Keys of a table: up to 64 bytes, or a number.
//!
//! A number and the bytes that encode it are different keys.

use crate::layout::table as layout;

/// The most bytes of a key.
pub const KEY_BYTES_MAX: usize = 64;

/// Meta word: the entry belongs to its key. Lookups find it.
pub(crate) const VALID: u64 = 1 << 8;
/// Meta word: the entry is in the chain of its key.
pub(crate) const LINKED: u64 = 1 << 9;
const NUMBER: u64 = 1 << 10;
const LENGTH: u64 = 0xFF;

/// A key.
///
/// # Examples
///
/// ```
/// use railbus_ring::table::key::Key;
///
/// let bid = Key::bytes(b"bid").expect("1 to 64 bytes");
/// assert_eq!((bid.as_bytes(), bid.number()), (&b"bid"[..], None));
/// assert_eq!(Key::from(42).number(), Some(42));
/// assert_ne!(Key::from(42), Key::bytes(&42u64.to_le_bytes()).expect("8 bytes"));
/// assert!(Key::bytes(b"").is_none() && Key::bytes(&[0; 65]).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Zero-padded.
    bytes: [u8; KEY_BYTES_MAX],
    /// The length, and whether it is a number.
    meta: u64,
}

impl Key {
    /// The key of these bytes; `None` unless they are 1 to 64.
    #[inline(always)]
    pub fn bytes(bytes: &[u8]) -> Option<Key> {
        if bytes.is_empty() || bytes.len() > KEY_BYTES_MAX {
            return None;
        }
        let mut padded = [0; KEY_BYTES_MAX];
        let length = bytes.len();
        if length <= 8 {
            // As one word, which is loaded again at once: the bytes of a smaller store would have to leave
            // the store buffer before.
            padded[..8].copy_from_slice(&short(bytes).to_le_bytes());
        } else {
            padded[..length].copy_from_slice(bytes);
        }
        Some(Key { bytes: padded, meta: length as u64 })
    }

    /// The bytes of the key: 8 little-endian ones of a number.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length()]
    }

    /// The number, if the key is one.
    pub fn number(&self) -> Option<u64> {
        (self.meta & NUMBER != 0).then(|| self.word(0))
    }

    #[inline(always)]
    fn length(&self) -> usize {
        (self.meta & LENGTH) as usize
    }

    /// The number of words that hold its bytes.
    #[inline(always)]
    pub(crate) fn words(&self) -> usize {
        self.length().div_ceil(8)
    }

    /// Whether its bytes are in one word.
    #[inline(always)]
    pub(crate) fn is_short(&self) -> bool {
        self.meta & LENGTH <= 8
    }

    /// Word `i` of its bytes.
    #[inline(always)]
    pub(crate) fn word(&self, i: usize) -> u64 {
        let (words, _) = self.bytes.as_chunks::<8>();
        words.get(i).map_or(0, |word| u64::from_le_bytes(*word))
    }

    /// The meta word of an entry that is this key's and not in its chain yet.
    #[inline(always)]
    pub(crate) fn meta(&self) -> u64 {
        self.meta | VALID
    }

    /// Whether a meta word is that of an entry of a key of this sort and length.
    #[inline(always)]
    pub(crate) fn is_like(&self, meta: u64) -> bool {
        meta & !LINKED == self.meta()
    }

    /// The key in an entry with this meta word, whose words `load` returns. `None` if no writer writes
    /// such a word.
    pub(crate) fn load(meta: u64, load: impl Fn(usize) -> u64) -> Option<Key> {
        let length = (meta & LENGTH) as usize;
        let meta = meta & (LENGTH | NUMBER);
        if length == 0 || length > KEY_BYTES_MAX || meta & NUMBER != 0 && length != 8 {
            return None;
        }
        let mut key = Key { bytes: [0; KEY_BYTES_MAX], meta };
        for (i, chunk) in key.bytes[..length].chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&load(layout::KEY_BYTES + i * 8).to_le_bytes()[..chunk.len()]);
        }
        Some(key)
    }

    /// A hash of the key, the same in every process.
    #[inline(always)]
    pub fn hash(&self) -> u64 {
        /// Both halves of the product of 64-bit numbers.
        #[inline(always)]
        fn fold(a: u64, b: u64) -> u64 {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ (product >> 64) as u64
        }
        let start = fold(self.meta ^ 0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9);
        (0..self.words())
            .fold(start, |hash, i| fold(hash ^ self.word(i) ^ 0x9e37_79b9_7f4a_7c15, 0x4b33_a62e_d433_d4a3))
    }
}

/// One to eight bytes as a word, padded with zeros: from two parts that may overlap.
#[inline(always)]
fn short(bytes: &[u8]) -> u64 {
    let part = |from: usize, count: usize| {
        bytes[from..from + count].iter().rev().fold(0, |word: u64, byte| word << 8 | u64::from(*byte))
    };
    let length = bytes.len();
    match length {
        4.. => part(0, 4) | part(length - 4, 4) << ((length - 4) * 8),
        2.. => part(0, 2) | part(length - 2, 2) << ((length - 2) * 8),
        _ => part(0, 1),
    }
}

impl From<u64> for Key {
    #[inline(always)]
    fn from(number: u64) -> Key {
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Key { bytes, meta: 8 | NUMBER }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({self})")
    }
}

impl std::fmt::Display for Key {
    /// A number in decimal, bytes as text with escapes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number() {
            Some(number) => write!(f, "{number}"),
            None => write!(f, "{}", self.as_bytes().escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_have_different_words_or_metas_and_hashes() {
        let mut hashes = std::collections::HashSet::new();
        let lengths = (1..=64)
            .map(|length| &b"0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"[..length]);
        lengths.for_each(|bytes| {
            assert_eq!(Key::bytes(bytes).map(|key| key.as_bytes().to_vec()), Some(bytes.to_vec()))
        });
        let texts = (0..1000u64).map(|i| Key::bytes(format!("key {i}").as_bytes()).expect("short"));
        for key in texts.chain((0..1000).map(Key::from)) {
            assert!(hashes.insert(key.hash()), "{key}");
            let back = Key::load(key.meta() | LINKED, |at| key.word((at - layout::KEY_BYTES) / 8));
            assert_eq!(back, Some(key));
            assert!(key.is_like(key.meta() | LINKED) && !key.is_like(key.meta() & !VALID));
        }
        // Zero bytes at the end count.
        assert_ne!(Key::bytes(b"a").map(|key| key.hash()), Key::bytes(b"a\0").map(|key| key.hash()));
    }

    #[test]
    fn the_low_bits_of_hashes_are_spread() {
        let mut buckets = vec![0; 1024];
        (0..1024).for_each(|i| buckets[Key::from(i).hash() as usize % 1024] += 1);
        let most = buckets.iter().max().copied();
        assert!(most < Some(10), "{most:?} of 1024 numbers share a bucket");
    }

    #[test]
    fn words_that_no_writer_writes_are_no_key() {
        for meta in [0, 65, 255, 7 | NUMBER, VALID | LINKED] {
            assert_eq!(Key::load(meta, |_| u64::MAX), None, "{meta}");
        }
    }
}
