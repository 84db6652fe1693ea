//! Writing: setting and deleting the value of a key, and giving entries to keys.
//!
//! **Promise.** A key is changed by one writer at a time. A change is there as a whole or not at
//! all. A version never comes twice for a key, also across its deletion and return, so that a
//! compare-and-set from a version that was read changes nothing that the caller has not seen.
//!
//! **How it works.** A writer owns an entry while it changes it: it swaps the owner word from 0 to
//! its own, which has the index and the generation of its registry entry.
//!
//! ```text
//! set:      OWNER 0 -> own;  mark the group if somebody watches;  (memory fence);  buffer of version n + 1
//!           VERSION n -> n + 1                        the commit
//!           OWNER own -> 0
//! new key:  OWNER of a free entry;  VERSION jumps;  (memory fence);  key;  enter in the chain;  then set
//! delete:   as set, with a version that says that there is no value. The entry stays the key's.
//! ```
//!
//! An entry whose key has no value is given to another key when no entry was never used. Then its
//! version is first noted in `TABLE_FLOOR`, its key is marked invalid, and it leaves its chain.
//!
//! **Deaths.** A writer that finds an owner word asks whether that writer is dead
//! ([`KeyWriter::take_over`]). It is if its registry entry has another generation, or the kernel
//! says so. The word is then swapped from exactly the value seen to 0. A registry entry needs no sweep
//! before it is used again, because the generation is part of the word.
//!
//! Every state between two stores is one that a later owner can go on from:
//!
//! | the writer died | what the next owner finds |
//! |---|---|
//! | before the commit | the old version; a buffer that no version names |
//! | after it | the new version |
//! | before the entry is in the chain | a key without a value; it is searched for in the chain first |
//! | while the entry left the chain | an invalid key; the search and the count are repeated |
//!
//! **Versions.** A first entry starts at `TABLE_FLOOR`, and one that is used again four above that
//! and above its own version. No version of a key that lost its entry is above `TABLE_FLOOR`.
//!
//! **Left out.** Evicting a live writer: it stores in place, as every producer, so its process is
//! killed. Waiting for a live owner: the caller does it, and decides for how long.

use crate::layout::{self as shared, table as layout};
use crate::members::peers::{Peers, Side};
use crate::members::registry;
use crate::memory::{Edge, Memory};
use crate::table::chain::{Search, with_first};
use crate::table::entry::{Broken, EntryWords, SEARCHES, Table, is_present, version_of};
use crate::table::geometry::{buffer_of, length_word};
use crate::table::key::{Key, LINKED, VALID};

/// How far the version moves when an entry changes hands.
const JUMP: u64 = layout::BUFFERS as u64;

/// The state that a key must be in for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Any.
    Anything,
    /// It has no value.
    Absent,
    /// It has a value of this version.
    Version(u64),
}

/// Why a key was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// This entry, which is needed, has another owner.
    Held {
        /// The entry.
        entry: usize,
        /// Its owner word.
        owner: u64,
    },
    /// Every entry has a value.
    Full,
    /// The key is not in the expected state. Its version, if it has a value.
    Unexpected(Option<u64>),
    /// No writer leaves memory so.
    Corrupt(&'static str),
}

impl From<Broken> for Unset {
    fn from(Broken(why): Broken) -> Unset {
        Unset::Corrupt(why)
    }
}

/// One registered writer of a table.
#[derive(Debug)]
pub struct KeyWriter<M> {
    table: Table<M>,
    /// The control block of `.acks`.
    acks: M,
    /// Its owner word.
    own: u64,
    /// The number of producers' registry entries.
    producers: usize,
    /// Where the next search for an entry without a value begins.
    cursor: usize,
}

/// The registry index in an owner word.
pub const fn index_of(owner: u64) -> usize {
    (owner as usize & 0xFF).wrapping_sub(1)
}

impl<M: Memory> KeyWriter<M> {
    /// The writer in registry entry `index`, whose state word is `state`.
    pub fn new(table: Table<M>, acks: M, index: usize, state: u64, producers: usize) -> KeyWriter<M> {
        let own = registry::generation(state) << 8 | (index as u64 + 1);
        KeyWriter { table, acks, own, producers, cursor: 0 }
    }

    /// The table that it writes.
    pub fn table(&self) -> &Table<M> {
        &self.table
    }

    fn put(&self, entry: usize, field: usize, value: u64, edge: Edge) {
        self.table.data.store(self.table.geometry.entry(entry) + field, value, edge);
    }

    #[inline(always)]
    fn own(&self, entry: usize) -> Result<(), Unset> {
        let at = self.table.geometry.entry(entry) + layout::OWNER;
        // OWNER: pairs with the last owner's release of the word. Its changes are seen.
        match self.table.data.compare_exchange(at, 0, self.own, Edge::Owner) {
            Ok(_) => Ok(()),
            Err(owner) => Err(Unset::Held { entry, owner }),
        }
    }

    #[inline(always)]
    fn give_back(&self, entry: usize) {
        // OWNER: the next owner sees everything that this one has changed.
        self.put(entry, layout::OWNER, 0, Edge::Owner);
    }

    /// Whether nobody owns an entry any more by this word. It makes a system call.
    fn is_gone(&self, owner: u64, peers: &impl Peers) -> bool {
        let index = index_of(owner);
        if owner == self.own || index >= self.producers {
            return true;
        }
        // STATE: a registrant that changed it has seen that the owner before it was dead.
        let state = self.table.ring.load(shared::entry(index) + shared::STATE, Edge::State);
        registry::generation(state) != owner >> 8 || peers.is_dead(Side::Producers, index)
    }

    /// Takes an entry from `owner`, if that writer is dead, and frees it. Returns whether the owner
    /// word is not that writer's any more. It makes a system call.
    pub fn take_over(&self, entry: usize, owner: u64, peers: &impl Peers) -> bool {
        if !self.is_gone(owner, peers) {
            return false;
        }
        let at = self.table.geometry.entry(entry) + layout::OWNER;
        // OWNER: from the very word that names the dead writer, whose stores are all visible. It
        // left a state from which the next owner goes on.
        let _ = self.table.data.compare_exchange(at, owner, 0, Edge::Owner);
        true
    }

    /// Frees every entry that a dead writer owns. Returns how many there were. It looks at every entry.
    pub fn repair(&self, peers: &impl Peers) -> usize {
        let is_repaired = |&entry: &usize| {
            let owner = self.table.owner(entry);
            owner != 0 && owner != self.own && self.take_over(entry, owner, peers)
        };
        (0..self.table.geometry.keys()).filter(is_repaired).count()
    }

    /// Sets the value of `key`, or deletes it with `None`, if it is in the expected state. Returns the
    /// new version, and the entry. The value fits the table.
    ///
    /// Deleting a key that has no value changes nothing, and returns `None`.
    #[inline(always)]
    pub fn change(
        &mut self,
        key: &Key,
        expect: Expect,
        value: Option<&[u8]>,
    ) -> Result<Option<(u64, usize)>, Unset> {
        let hash = key.hash();
        // The common case: the key is the first in its chain. CHAIN: the entry was filled before.
        let bucket = self.table.data.load(self.table.geometry.bucket(hash), Edge::Chain);
        if let Some(entry) = self.table.geometry.linked(bucket)
            && self.table.words(entry).is_linked_of(key)
        {
            self.own(entry)?;
            if self.table.words(entry).is_linked_of(key) {
                return Ok(self.commit(entry, expect, value)?.map(|version| (version, entry)));
            }
            self.give_back(entry);
        }
        self.change_behind(key, hash, expect, value)
    }

    #[inline(never)]
    fn change_behind(
        &mut self,
        key: &Key,
        hash: u64,
        expect: Expect,
        value: Option<&[u8]>,
    ) -> Result<Option<(u64, usize)>, Unset> {
        for _ in 0..SEARCHES {
            let entry = match self.table.find(key, hash)? {
                Search::Entry(entry) => {
                    self.own(entry)?;
                    self.is_still(entry, key, hash)?.then_some(entry)
                }
                Search::None(_) if matches!(expect, Expect::Version(_)) => {
                    return Err(Unset::Unexpected(None));
                }
                Search::None(_) if value.is_none() => return Ok(None),
                Search::None(word) => self.insert(key, hash, word)?,
            };
            let Some(entry) = entry else { continue };
            return Ok(self.commit(entry, expect, value)?.map(|version| (version, entry)));
        }
        Err(Unset::Corrupt("a key that never stays in one place"))
    }

    /// As [`Self::change`], if the key is in this entry. `None` if it is not: then it may be elsewhere.
    #[inline(always)]
    pub fn change_at(
        &mut self,
        entry: usize,
        key: &Key,
        expect: Expect,
        value: Option<&[u8]>,
    ) -> Result<Option<Option<u64>>, Unset> {
        if entry >= self.table.geometry.keys() {
            return Ok(None);
        }
        self.own(entry)?;
        if !self.table.words(entry).is_linked_of(key) {
            self.give_back(entry);
            return Ok(None);
        }
        self.commit(entry, expect, value).map(Some)
    }

    /// Whether the entry, which is owned, is the key's and in its chain. Otherwise it is given back.
    #[inline(always)]
    fn is_still(&self, entry: usize, key: &Key, hash: u64) -> Result<bool, Unset> {
        if self.table.words(entry).is_linked_of(key) {
            return Ok(true);
        }
        let settled =
            if self.table.words(entry).is_of(key) { self.settle(entry, key, hash) } else { Ok(false) };
        if settled != Ok(true) {
            self.give_back(entry);
        }
        settled
    }

    /// Finds out whether a writer that died had entered the entry in its chain.
    #[cold]
    fn settle(&self, entry: usize, key: &Key, hash: u64) -> Result<bool, Unset> {
        let is_in = self.table.is_in_chain(entry, hash)?;
        // CHAIN: as in `insert`.
        self.put(entry, layout::KEY, if is_in { key.meta() | LINKED } else { 0 }, Edge::Chain);
        Ok(is_in)
    }

    /// Changes an entry that is owned, and gives it back.
    #[inline(always)]
    fn commit(&mut self, entry: usize, expect: Expect, value: Option<&[u8]>) -> Result<Option<u64>, Unset> {
        let words = self.table.words(entry);
        // Plain: the version is changed by the owner only, and the owner before was seen.
        let word = words.load(layout::VERSION, Edge::Plain);
        let found = is_present(word).then(|| version_of(word));
        let is_expected = match expect {
            Expect::Anything => true,
            Expect::Absent => found.is_none(),
            Expect::Version(version) => found == Some(version),
        };
        if !is_expected || value.is_none() && found.is_none() {
            self.give_back(entry);
            return if is_expected { Ok(None) } else { Err(Unset::Unexpected(found)) };
        }
        let version = version_of(word).wrapping_add(1);
        // MARK: the entry has its owner. A watcher that is not seen here looks at every entry after this,
        // and finds it owned.
        self.table.data.light_fence(Edge::Mark);
        if self.acks.load(shared::TABLE_WATCHERS, Edge::Plain) != 0 {
            // MARK: the entry has its owner, and its version changes later. Each mark carries those
            // before it.
            let mark = self.table.geometry.mark(entry / layout::GROUP);
            self.table.data.fetch_add(mark, 1, Edge::Mark);
        }
        if let Some(value) = value {
            // OVERWRITE: a reader that sees a word of this value sees the version before this one, and
            // with it that the version which was in this buffer is too old.
            self.table.data.fence(Edge::Overwrite);
            let most = value.len().min(self.table.geometry.value_bytes());
            fill(&words, self.table.geometry.buffer_bytes(), version, &value[..most]);
        }
        // VERSION: this is the commit. The value was stored before.
        words.store(layout::VERSION, version << 1 | u64::from(value.is_some()), Edge::Version);
        // OWNER: the next owner sees everything that this one has changed.
        words.store(layout::OWNER, 0, Edge::Owner);
        Ok(Some(version))
    }

    /// Gives an entry to a key that has none, if the bucket's word is still `word`. Returns the entry,
    /// which is owned; `None` if the bucket has changed.
    #[cold]
    fn insert(&mut self, key: &Key, hash: u64, word: u64) -> Result<Option<usize>, Unset> {
        let entry = self.allocate()?;
        self.cursor = entry;
        let own_version = version_of(self.table.version_word(entry));
        // Plain: a key that has lost its entry was found to have none by a search, which saw the entry's
        // key invalid, and the floor that was raised before.
        let floor = self.table.ring.load(shared::TABLE_FLOOR, Edge::Plain);
        let born = if own_version == 0 { floor } else { floor.max(own_version).wrapping_add(JUMP) };
        self.put(entry, layout::VERSION, born << 1, Edge::Version);
        // OVERWRITE: a reader that sees a word of the new key sees that version, or the count of the
        // chain that the entry has left.
        self.table.data.fence(Edge::Overwrite);
        self.put(entry, layout::BORN, born, Edge::Plain);
        for i in 0..key.words() {
            self.put(entry, layout::KEY_BYTES + i * 8, key.word(i), Edge::Plain);
        }
        self.put(entry, layout::NEXT, word & 0xFFFF_FFFF, Edge::Plain);
        // CHAIN: the whole key is there when the entry is the key's.
        self.put(entry, layout::KEY, key.meta(), Edge::Chain);
        let bucket = self.table.geometry.bucket(hash);
        // CHAIN: the entry is filled before the chain names it.
        let entered =
            self.table.data.compare_exchange(bucket, word, with_first(word, entry), Edge::Chain).is_ok();
        // CHAIN: a writer that sees LINKED need not look.
        self.put(entry, layout::KEY, if entered { key.meta() | LINKED } else { 0 }, Edge::Chain);
        if !entered {
            self.give_back(entry);
        }
        Ok(entered.then_some(entry))
    }

    /// An entry that no key has and no chain names, owned by this writer.
    fn allocate(&mut self) -> Result<usize, Unset> {
        let keys = self.table.geometry.keys();
        let mut held = None;
        let used = self.table.used();
        // The one that this writer could not use a moment ago, then those that were never used, then
        // every other.
        let first = (self.cursor < used).then_some(self.cursor);
        for entry in first.into_iter().chain(used..keys).chain(0..used) {
            if is_present(self.table.version_word(entry)) {
                continue;
            }
            match self.own(entry).and_then(|()| self.prepare(entry)) {
                Ok(true) => return Ok(entry),
                Ok(false) => {}
                Err(Unset::Held { entry, owner }) => held = held.or(Some(Unset::Held { entry, owner })),
                Err(error) => return Err(error),
            }
        }
        Err(held.unwrap_or(Unset::Full))
    }

    /// Makes an entry that is owned free of its last key. Gives it back if that is not possible; false
    /// if it has a value.
    fn prepare(&self, entry: usize) -> Result<bool, Unset> {
        let word = self.table.version_word(entry);
        if is_present(word) {
            self.give_back(entry);
            return Ok(false);
        }
        self.raise(shared::TABLE_HIGH, entry as u64 + 1);
        // Plain: the owner before was seen.
        let meta = self.table.head(entry, layout::KEY, Edge::Plain);
        let Some(key) = Key::load(meta, |at| self.table.head(entry, at, Edge::Plain)) else {
            return Ok(true); // It is in no chain.
        };
        self.raise(shared::TABLE_FLOOR, version_of(word));
        // CHAIN: a search that sees the key invalid sees the floor.
        self.put(entry, layout::KEY, meta & !(VALID | LINKED), Edge::Chain);
        let unlinked = self.table.unlink(
            entry,
            key.hash(),
            |before| self.own(before),
            |before| {
                self.give_back(before);
            },
        );
        if let Err(error) = unlinked {
            self.give_back(entry);
            return Err(error);
        }
        // CHAIN: it is in no chain any more.
        self.put(entry, layout::KEY, 0, Edge::Chain);
        Ok(true)
    }

    fn raise(&self, at: usize, to: u64) {
        let mut seen = self.table.ring.load(at, Edge::Chain);
        while seen < to {
            // CHAIN: before any chain names the entry, or its key is invalid.
            match self.table.ring.compare_exchange(at, seen, to, Edge::Chain) {
                Ok(_) => return,
                Err(found) => seen = found,
            }
        }
    }
}

/// Stores a value in the buffer of its version.
#[inline(always)]
fn fill<M: Memory>(words: &EntryWords<M>, buffer_bytes: usize, version: u64, value: &[u8]) {
    let (at, shift) = length_word(version);
    let other = words.load(at, Edge::Plain) & !(0xFFFF_FFFF << shift);
    words.store(at, other | (value.len() as u64) << shift, Edge::Plain);
    let to = layout::HEAD_BYTES + buffer_of(version) * buffer_bytes;
    match <&[u8; 64]>::try_from(value) {
        Ok(line) => fill_line(words, to, line),
        Err(_) => fill_any(words, to, value),
    }
}

#[inline(always)]
fn fill_line<M: Memory>(words: &EntryWords<M>, to: usize, line: &[u8; 64]) {
    let (line, _) = line.as_chunks::<8>();
    for (i, word) in line.iter().enumerate() {
        words.store(to + i * 8, u64::from_le_bytes(*word), Edge::Plain);
    }
}

/// A value of any length, a line at a time.
#[inline(never)]
fn fill_any<M: Memory>(words: &EntryWords<M>, mut to: usize, value: &[u8]) {
    let (lines, rest) = value.as_chunks::<64>();
    for line in lines {
        fill_line(words, to, line);
        to += 64;
    }
    let (some, rest) = rest.as_chunks::<8>();
    for word in some {
        words.store(to, u64::from_le_bytes(*word), Edge::Plain);
        to += 8;
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words.store(to, u64::from_le_bytes(last), Edge::Plain);
    }
}
