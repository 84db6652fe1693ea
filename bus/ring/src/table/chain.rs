//! Finding the entry of a key.
//!
//! **Promise.** A key has at most one entry. A lookup that runs beside any change finds a key that
//! is there all the time, and does not find one that is not.
//!
//! **How it works.** A hash of the key chooses a bucket: a word with the first entry of a chain and
//! a count. Each entry names the next.
//!
//! ```text
//! bucket   changes << 32 | 1 + first          entry   NEXT = 1 + next, or 0
//! enter:      NEXT = first; compare-and-swap of the bucket, from the very word that was searched
//! take out:   the entry before it (owned, too) names the one behind; changes += 1
//! ```
//!
//! **Why it is sound.** An entry is entered at the front, by a compare-and-swap from the word with
//! which the search for the key began. If another entry was entered since, or one was taken out, the
//! swap fails and the search begins again. So of two writers that enter one key at once, one finds
//! the other's entry.
//!
//! An entry that was taken out still names the next, so that a search which stands on it goes on. It
//! gets another key only after the count went up. A search that found nothing looks at the count
//! again, and does not trust its result if the count has moved.
//!
//! Every search ends: a chain of more entries than the table has is no chain.

use crate::layout::table as layout;
use crate::memory::{Edge, Memory};
use crate::table::entry::{Broken, Content, SEARCHES, Table};
use crate::table::key::Key;

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// This entry seems to be the one.
    Entry(usize),
    /// There is none as long as the bucket's word is this.
    None(u64),
}

/// How a walk along a chain ended.
enum Walk {
    /// At this entry, with the one before it.
    At(usize, Option<usize>),
    End,
    TooLong,
}

/// The count of a bucket's word.
const fn changes(word: u64) -> u64 {
    word >> 32
}

/// The word of a bucket with the same count and this first entry.
pub(crate) const fn with_first(word: u64, entry: usize) -> u64 {
    changes(word) << 32 | (entry as u64 + 1)
}

/// The word of a bucket after one more change.
const fn changed(word: u64, link: u64) -> u64 {
    changes(word).wrapping_add(1) << 32 | link
}

impl<M: Memory> Table<M> {
    /// Walks along the chain from `link` until `is_it`.
    #[inline]
    fn walk(&self, link: u64, mut is_it: impl FnMut(usize) -> bool) -> Walk {
        let (mut link, mut before) = (link, None);
        for _ in 0..=self.geometry.keys() {
            let Some(entry) = self.geometry.linked(link) else { return Walk::End };
            if is_it(entry) {
                return Walk::At(entry, before);
            }
            before = Some(entry);
            // CHAIN: an entry was filled before it was named.
            link = self.head(entry, layout::NEXT, Edge::Chain);
        }
        Walk::TooLong
    }

    /// Walks along the chain of a bucket until `is_it`, and again if an entry was taken out of it.
    fn search(
        &self,
        bucket: usize,
        mut is_it: impl FnMut(usize) -> bool,
    ) -> Result<(Search, Option<usize>), Broken> {
        for _ in 0..SEARCHES {
            // CHAIN: the entries of the chain were filled before, and what was taken out is seen.
            let word = self.data.load(bucket, Edge::Chain);
            let walk = self.walk(word, &mut is_it);
            if let Walk::At(entry, before) = walk {
                return Ok((Search::Entry(entry), before));
            }
            // VALIDATE: pairs with OVERWRITE where an entry gets its key. A word that was read above and
            // belongs to a later key of an entry comes after the count that is read here.
            self.data.fence(Edge::Validate);
            let is_same = changes(self.data.load(bucket, Edge::Plain)) == changes(word);
            match walk {
                Walk::TooLong if is_same => return Err(Broken("a chain of entries that has no end")),
                Walk::End if is_same => return Ok((Search::None(word), None)),
                _ => {}
            }
        }
        Err(Broken("a chain of entries that never stays the same"))
    }

    /// The entry of `key`.
    #[inline]
    pub(crate) fn find(&self, key: &Key, hash: u64) -> Result<Search, Broken> {
        self.search(self.geometry.bucket(hash), |entry| self.words(entry).is_of(key)).map(|(found, _)| found)
    }

    /// Whether an entry is in the chain of this hash.
    pub(crate) fn is_in_chain(&self, entry: usize, hash: u64) -> Result<bool, Broken> {
        let (found, _) = self.search(self.geometry.bucket(hash), |one| one == entry)?;
        Ok(found == Search::Entry(entry))
    }

    /// Reads the value of `key` into `into`, which has room for the largest. Also returns the entry, if
    /// the key has one.
    #[inline]
    pub fn get(&self, key: &Key, into: &mut [u64]) -> Result<(Content, Option<usize>), Broken> {
        let hash = key.hash();
        // The common case: the key is the first in its chain.
        let word = self.data.load(self.geometry.bucket(hash), Edge::Chain);
        if let Some(entry) = self.geometry.linked(word) {
            let read = self.read(entry, into, |words| words.is_of(key))?;
            if read != Content::Other {
                return Ok((read, Some(entry)));
            }
        }
        self.get_behind(key, hash, into)
    }

    /// As [`Self::get`], if the key is in this entry. If it is not, [`Content::Other`]: then it may be
    /// elsewhere.
    #[inline(always)]
    pub fn get_at(&self, entry: usize, key: &Key, into: &mut [u64]) -> Result<Content, Broken> {
        if entry >= self.geometry.keys() {
            return Ok(Content::Other);
        }
        self.read(entry, into, |words| words.is_linked_of(key))
    }

    #[inline(never)]
    fn get_behind(&self, key: &Key, hash: u64, into: &mut [u64]) -> Result<(Content, Option<usize>), Broken> {
        for _ in 0..SEARCHES {
            let Search::Entry(entry) = self.find(key, hash)? else { return Ok((Content::Other, None)) };
            let read = self.read(entry, into, |words| words.is_of(key))?;
            if read != Content::Other {
                return Ok((read, Some(entry)));
            }
        }
        Err(Broken("a key that never stays in one place"))
    }

    /// Takes an entry, which the caller owns, out of the chain of `hash`, if it is there. `own` gets
    /// another entry for the caller and `give_back` returns it. Afterwards no search that begins
    /// finds the entry, and each that had begun before finds out.
    pub(crate) fn unlink<E: From<Broken>>(
        &self,
        entry: usize,
        hash: u64,
        own: impl Fn(usize) -> Result<(), E>,
        give_back: impl Fn(usize),
    ) -> Result<(), E> {
        let bucket = self.geometry.bucket(hash);
        let mut attempts = 0;
        loop {
            let (found, before) = self.search(bucket, |one| one == entry)?;
            let Search::Entry(_) = found else { break };
            attempts += 1;
            if attempts > SEARCHES {
                return Err(Broken("an entry that never leaves its chain").into());
            }
            let next = self.head(entry, layout::NEXT, Edge::Chain);
            match before {
                None => {
                    let word = self.data.load(bucket, Edge::Chain);
                    if self.geometry.linked(word) == Some(entry) {
                        // CHAIN: the next entry stays filled; the count goes up in the same step.
                        let _ = self.data.compare_exchange(bucket, word, changed(word, next), Edge::Chain);
                    }
                }
                Some(before) => {
                    // As long as it is owned, nobody else takes it out or changes what it names. If it had
                    // left the chain before, the next search finds another one.
                    own(before)?;
                    let at = self.geometry.entry(before) + layout::NEXT;
                    if self.geometry.linked(self.data.load(at, Edge::Chain)) == Some(entry) {
                        // CHAIN: the next entry was filled before.
                        self.data.store(at, next, Edge::Chain);
                    }
                    give_back(before);
                }
            }
        }
        // Also if it was in no chain any more: a writer may have died before it counted.
        let mut word = self.data.load(bucket, Edge::Chain);
        while let Err(found) =
            self.data.compare_exchange(bucket, word, changed(word, word & 0xFFFF_FFFF), Edge::Chain)
        {
            word = found;
        }
        Ok(())
    }
}
