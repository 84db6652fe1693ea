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
use crate::table::geometry::{Geometry, buffer_of, length_word};
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

    /// The words of an entry.
    #[inline(always)]
    pub(crate) fn words(&self, entry: usize) -> EntryWords<M> {
        EntryWords { data: self.data.clone(), at: self.geometry.entry(entry) }
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

    /// Reads the value of an entry into `into`, which has room for the largest. `is_same` decides
    /// whether the entry is the one that is wanted.
    #[inline(always)]
    pub(crate) fn read(
        &self,
        entry: usize,
        into: &mut [u64],
        mut is_same: impl FnMut(&EntryWords<M>) -> bool,
    ) -> Result<Content, Broken> {
        let words = self.words(entry);
        let value_bytes = self.geometry.value_bytes();
        match words.read(self.geometry.buffer_bytes(), value_bytes, into, &mut is_same) {
            Some(read) => read,
            None => self.read_again(entry, into, is_same),
        }
    }

    #[cold]
    fn read_again(
        &self,
        entry: usize,
        into: &mut [u64],
        mut is_same: impl FnMut(&EntryWords<M>) -> bool,
    ) -> Result<Content, Broken> {
        let words = self.words(entry);
        let (buffer_bytes, value_bytes) = (self.geometry.buffer_bytes(), self.geometry.value_bytes());
        (0..ATTEMPTS)
            .find_map(|_| words.read(buffer_bytes, value_bytes, into, &mut is_same))
            .unwrap_or(Err(Broken("a value that never stays the same while it is read")))
    }

    /// Reads the value that an entry has now, with its key; `None` for the key if it has none.
    pub fn read_any(&self, entry: usize, into: &mut [u64]) -> Result<(Option<(Key, u64)>, Content), Broken> {
        let mut found = None;
        let read = self.read(entry, into, |words| {
            // CHAIN: as in `is_of`.
            let meta = words.load(layout::KEY, Edge::Chain);
            let born = words.load(layout::BORN, Edge::Plain);
            let key = Key::load(meta, |at| words.load(at, Edge::Plain));
            found = key.filter(|_| meta & VALID != 0).map(|key| (key, born));
            true
        })?;
        Ok((found, read))
    }
}

/// The words of one entry. It is a value of its own, so that the compiler keeps the address in a
/// register across atomic accesses.
#[derive(Debug, Clone)]
pub(crate) struct EntryWords<M> {
    data: M,
    at: usize,
}

impl<M: Memory> EntryWords<M> {
    #[inline(always)]
    pub(crate) fn load(&self, field: usize, edge: Edge) -> u64 {
        self.data.load(self.at + field, edge)
    }

    #[inline(always)]
    pub(crate) fn store(&self, field: usize, value: u64, edge: Edge) {
        self.data.store(self.at + field, value, edge);
    }

    /// Whether the entry seems to be the key's. The caller makes sure that it did not change hands in
    /// the meantime.
    #[inline(always)]
    pub(crate) fn is_of(&self, key: &Key) -> bool {
        // CHAIN: the key's bytes were stored before.
        key.is_like(self.load(layout::KEY, Edge::Chain)) && self.has_bytes_of(key)
    }

    #[inline(always)]
    fn has_bytes_of(&self, key: &Key) -> bool {
        // Plain: the meta word has brought them.
        self.load(layout::KEY_BYTES, Edge::Plain) == key.word(0) && (key.is_short() || self.has_rest_of(key))
    }

    #[inline(never)]
    fn has_rest_of(&self, key: &Key) -> bool {
        (1..key.words()).all(|i| self.load(layout::KEY_BYTES + i * 8, Edge::Plain) == key.word(i))
    }

    /// As [`Self::is_of`], and the entry is in the key's chain. An entry that is not may belong to a
    /// writer that enters the key at this moment and finds that another one was faster.
    #[inline(always)]
    pub(crate) fn is_linked_of(&self, key: &Key) -> bool {
        // CHAIN: as in `is_of`.
        self.load(layout::KEY, Edge::Chain) == key.meta() | LINKED && self.has_bytes_of(key)
    }

    /// Reads the value once; `None` if it was overwritten in the meantime.
    #[inline(always)]
    fn read(
        &self,
        buffer_bytes: usize,
        value_bytes: usize,
        into: &mut [u64],
        is_same: &mut impl FnMut(&Self) -> bool,
    ) -> Option<Result<Content, Broken>> {
        // VERSION: the value was stored before.
        let word = self.load(layout::VERSION, Edge::Version);
        let mut bytes = 0;
        let same = is_same(self);
        if same && is_present(word) {
            let (at, shift) = length_word(version_of(word));
            bytes = (self.load(at, Edge::Plain) >> shift) as u32 as usize;
            let from = layout::HEAD_BYTES + buffer_of(version_of(word)) * buffer_bytes;
            let into_one_line = into.first_chunk_mut::<8>().filter(|_| bytes == 64);
            match into_one_line {
                Some(line) => self.copy_line(from, line),
                None => {
                    let words = bytes.min(value_bytes).div_ceil(8).min(into.len());
                    self.copy(from, &mut into[..words]);
                }
            }
        }
        // VALIDATE: pairs with OVERWRITE in the writer. If any word above came from a later use of the
        // buffer, or from another key, the version before that is seen here.
        self.data.fence(Edge::Validate);
        let now = self.load(layout::VERSION, Edge::Plain);
        if version_of(now).wrapping_sub(version_of(word)) > layout::BUFFERS as u64 - 2 {
            return None;
        }
        if bytes > value_bytes {
            return Some(Err(Broken("a value that is longer than the table's values")));
        }
        Some(Ok(match (same, is_present(word)) {
            (false, _) => Content::Other,
            (true, true) => Content::Value { word, bytes },
            (true, false) => Content::Absent { word },
        }))
    }

    /// Copies the eight words from `field` on.
    #[inline(always)]
    fn copy_line(&self, field: usize, into: &mut [u64; 8]) {
        // Plain: opaque words, which are checked afterwards.
        *into = std::array::from_fn(|i| self.load(field + i * 8, Edge::Plain));
    }

    /// Copies words from `field` on, a line at a time.
    #[inline(never)]
    fn copy(&self, mut field: usize, into: &mut [u64]) {
        let (lines, rest) = into.as_chunks_mut::<8>();
        for line in lines {
            self.copy_line(field, line);
            field += 64;
        }
        for (i, word) in rest.iter_mut().enumerate() {
            *word = self.load(field + i * 8, Edge::Plain);
        }
    }
}
