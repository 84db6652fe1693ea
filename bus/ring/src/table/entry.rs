//! Reading an entry while its owner changes it.
//!
//! **Promise.** A reader gets a whole value of the key that it asked for, with its version, or
//! learns that the key has none. It never waits for a writer. A writer that was killed at any
//! instruction leaves the entry as it was, or as it was to become.
//!
//! **How it works.** An entry has four buffers. Version n is in buffer n modulo four. A writer fills
//! the buffer of the next version, and then stores the version: that store commits.
//!
//! ```text
//! version 6:   | 4 | 5 | 6 |(7)|     7 is being written
//! reader:      load the version; copy its buffer; (memory fence); load the version again
//! ```
//!
//! **Why it is sound.** A buffer is written again only after three more versions are committed. So the
//! copy is whole if the version has moved by at most two. Otherwise the reader begins again. Each new
//! beginning means that at least three changes of this key were committed while the reader copied.
//! With two buffers, one commit would be enough to spoil a copy, and a reader of large values might
//! never come to an end beside a busy writer.
//!
//! Whatever changes *which* key an entry has moves the version by four at least. So the same check
//! covers the key. The version never goes back, and never has the same value for a key again:
//! [`super::writer`] says why.
//!
//! **Left out.** Memory that a faulty writer changes all the time: the reader gives up after
//! [`ATTEMPTS`] and reports it.

use crate::layout::table as layout;
use crate::memory::{Edge, Memory};
use crate::table::geometry::{Geometry, length_word};
use crate::table::key::{Key, LINKED, VALID};

/// How often a reader begins again before it takes the memory for corrupt.
pub const ATTEMPTS: u32 = 1 << 16;
/// How often a search begins again, because an entry has left the chain or changed hands.
pub(crate) const SEARCHES: u32 = 256;

/// The version in a version word.
#[inline(always)]
pub const fn version_of(word: u64) -> u64 {
    word >> 1
}

/// Whether the version with this word has a value.
#[inline(always)]
pub const fn is_present(word: u64) -> bool {
    word & 1 != 0
}

/// Memory that no writer of this project leaves so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// The content of an entry, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The value of the key is in the caller's buffer.
    Value {
        /// Its version word.
        word: u64,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The key has no value.
    Absent {
        /// The version word since when.
        word: u64,
    },
    /// The entry is another key's.
    Other,
}

/// The memories of a table, and its geometry.
#[derive(Debug, Clone)]
pub struct Table<M> {
    /// The control block of `.ring`.
    pub ring: M,
    /// Buckets, marks and entries.
    pub data: M,
    /// Where they lie.
    pub geometry: Geometry,
}

impl<M: Memory> Table<M> {
    /// The number of entries that were ever used.
    pub fn used(&self) -> usize {
        // CHAIN: an entry that a chain names is below this.
        (self.ring.load(crate::layout::TABLE_HIGH, Edge::Chain) as usize).min(self.geometry.keys())
    }

    #[inline(always)]
    pub(crate) fn head(&self, entry: usize, field: usize, edge: Edge) -> u64 {
        self.data.load(self.geometry.entry(entry) + field, edge)
    }

    /// The version word of an entry.
    #[inline(always)]
    pub fn version_word(&self, entry: usize) -> u64 {
        self.head(entry, layout::VERSION, Edge::Version)
    }

    /// The owner word of an entry.
    #[inline(always)]
    pub fn owner(&self, entry: usize) -> u64 {
        self.head(entry, layout::OWNER, Edge::Owner)
    }

    /// Whether the entry seems to be the key's. The caller makes sure that it did not change hands in
    /// the meantime.
    #[inline(always)]
    pub(crate) fn is_of(&self, entry: usize, key: &Key) -> bool {
        // CHAIN: the key's bytes were stored before.
        key.is_like(self.head(entry, layout::KEY, Edge::Chain))
            && (0..key.words())
                .all(|i| self.head(entry, layout::KEY_BYTES + i * 8, Edge::Plain) == key.word(i))
    }

    /// As [`Self::is_of`], and the entry is in the key's chain. An entry that is not may belong to a writer
    /// that enters the key at this moment and finds that another one was faster.
    #[inline(always)]
    pub(crate) fn is_linked_of(&self, entry: usize, key: &Key) -> bool {
        // CHAIN: as in `is_of`.
        self.head(entry, layout::KEY, Edge::Chain) == key.meta() | LINKED
            && (0..key.words())
                .all(|i| self.head(entry, layout::KEY_BYTES + i * 8, Edge::Plain) == key.word(i))
    }

    /// Reads the value of an entry into `into`, which has room for the largest. `is_same` decides
    /// whether the entry is the one that is wanted.
    #[inline(always)]
    pub(crate) fn read(
        &self,
        entry: usize,
        into: &mut [u64],
        mut is_same: impl FnMut(&Self) -> bool,
    ) -> Result<Content, Broken> {
        for _ in 0..ATTEMPTS {
            // VERSION: the value was stored before.
            let word = self.version_word(entry);
            let mut bytes = 0;
            let same = is_same(self);
            if same && is_present(word) {
                bytes = self.length(entry, word);
                let from = self.geometry.buffer(entry, version_of(word));
                // Plain: opaque words, which are checked below.
                let words = bytes.min(self.geometry.value_bytes()).div_ceil(8);
                for (i, copied) in into.iter_mut().take(words).enumerate() {
                    *copied = self.data.load(from + i * 8, Edge::Plain);
                }
            }
            if !self.is_unspoilt(entry, word) {
                continue;
            }
            if bytes > self.geometry.value_bytes() {
                return Err(Broken("a value that is longer than the table's values"));
            }
            return Ok(match (same, is_present(word)) {
                (false, _) => Content::Other,
                (true, true) => Content::Value { word, bytes },
                (true, false) => Content::Absent { word },
            });
        }
        Err(Broken("a value that never stays the same while it is read"))
    }

    #[inline(always)]
    fn length(&self, entry: usize, word: u64) -> usize {
        let (at, shift) = length_word(version_of(word));
        (self.head(entry, at, Edge::Plain) >> shift) as u32 as usize
    }

    /// Whether nothing that was read since the version word was `word` can have been overwritten.
    #[inline(always)]
    fn is_unspoilt(&self, entry: usize, word: u64) -> bool {
        // VALIDATE: pairs with OVERWRITE in the writer. If any word above came from a later use of the
        // buffer, or from another key, the version before that is seen here.
        self.data.fence(Edge::Validate);
        let now = self.head(entry, layout::VERSION, Edge::Plain);
        version_of(now).wrapping_sub(version_of(word)) <= layout::BUFFERS as u64 - 2
    }

    /// Reads the value that an entry has now, with its key; `None` for the key if it has none.
    pub fn read_any(&self, entry: usize, into: &mut [u64]) -> Result<(Option<(Key, u64)>, Content), Broken> {
        let mut found = None;
        let read = self.read(entry, into, |table| {
            // CHAIN: as in `is_of`.
            let meta = table.head(entry, layout::KEY, Edge::Chain);
            let born = table.head(entry, layout::BORN, Edge::Plain);
            let key = Key::load(meta, |at| table.head(entry, at, Edge::Plain));
            found = key.filter(|_| meta & VALID != 0).map(|key| (key, born));
            true
        })?;
        Ok((found, read))
    }
}
