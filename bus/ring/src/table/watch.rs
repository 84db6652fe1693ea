//! Which entries have changed since the last look.
//!
//! **Promise.** A watcher learns of each change that was committed before its look, or of a later
//! change of the same key. There is no queue: a slow watcher costs writers nothing, and skips
//! versions.
//!
//! **How it works.** The watcher has a private copy of the version of each entry. While there are
//! watchers, a writer counts up the mark of its entry's group before it changes the entry. A look
//! loads the mark of each group, and goes through the 64 entries only if the mark has moved.
//!
//! ```text
//! writer:   own the entry;  (compiler fence)  if there are watchers: mark += 1;  value;  version;  give back
//! watcher:  watchers += 1;  membarrier;  look at all
//!           later: mark (and keep it);  for each entry: owner, version;  owned: look again next time
//! ```
//!
//! **Why it is sound.** The mark moves before the version. So a watcher that does not see the mark
//! does not see the change, and will see the mark later. A watcher that sees the mark sees the entry
//! owned, or given back with its new version. In the first case the group stays *pending*: the next
//! look goes through it whatever its mark is. That also covers a writer that was killed between mark
//! and version. Marks are read-modify-writes, so that one of them carries those before it.
//!
//! A writer that found no watcher owned its entry before. The first look of a watcher comes after its
//! membarrier, and so finds that entry owned or changed. If the system refuses the membarrier, each
//! look goes through all entries.
//!
//! **Left out.** A watcher that is killed stays counted, and costs each change its mark.

use crate::layout::{self as shared, table as layout};
use crate::memory::{Edge, Memory};
use crate::table::entry::Table;

/// A watcher's private state. It has 8 bytes for each entry and 16 for each group.
#[derive(Debug)]
pub struct KeyWatch {
    groups: Vec<Group>,
    /// The version word of each entry as it was seen last.
    seen: Vec<u64>,
    /// The group that is looked at next or now.
    group: usize,
    /// The next entry of that group, if the watcher is going through it.
    within: Option<usize>,
    /// How many groups to look at before nothing has changed.
    left: usize,
    /// Whether writers may not know of this watcher, so that marks prove nothing.
    is_unknown: bool,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    mark: u64,
    pending: bool,
}

impl KeyWatch {
    /// Announces a watcher that has seen nothing: each key that has a value is a change. `acks` is the
    /// consumers' file, and `barrier` executes a barrier on every processor that runs a writer. It
    /// returns false if that is refused.
    pub fn begin<M: Memory>(table: &Table<M>, acks: &M, barrier: impl FnOnce() -> bool) -> KeyWatch {
        acks.fetch_add(shared::TABLE_WATCHERS, 1, Edge::Mark);
        let is_unknown = !barrier();
        // MARK: the announcement comes before the first look.
        acks.fence(Edge::Mark);
        let groups = table.geometry.groups();
        KeyWatch {
            groups: vec![Group { mark: 0, pending: true }; groups],
            seen: vec![0; table.geometry.keys()],
            group: 0,
            within: None,
            left: groups,
            is_unknown,
        }
    }

    /// Ends the watch: writers need not mark for it any more.
    pub fn end<M: Memory>(self, acks: &M) {
        acks.fetch_add(shared::TABLE_WATCHERS, u64::MAX, Edge::Mark);
    }

    /// The next entry that has changed; `None` once every group was looked at since the last one. The
    /// caller reads the entry and reports with [`Self::saw`] what it found. Otherwise the entry comes
    /// again at the next look.
    pub fn next<M: Memory>(&mut self, table: &Table<M>) -> Option<usize> {
        let keys = table.geometry.keys();
        while self.left > 0 {
            let first = self.group * layout::GROUP;
            let mut at = match self.within {
                Some(at) => at,
                None => {
                    if self.has_moved(table) {
                        first
                    } else {
                        keys
                    }
                }
            };
            let end = (first + layout::GROUP).min(keys);
            while at < end {
                let entry = at;
                at += 1;
                // OWNER, VERSION: in this order. An entry that was given back has its new version.
                let is_owned = table.owner(entry) != 0;
                let changed = table.version_word(entry) != self.seen[entry];
                let group = &mut self.groups[self.group];
                // A change stays pending until it is seen.
                group.pending |= is_owned || changed;
                if changed {
                    self.within = Some(at);
                    self.left = self.groups.len() + 1;
                    return Some(entry);
                }
            }
            self.within = None;
            self.group = (self.group + 1) % self.groups.len();
            self.left -= 1;
        }
        self.left = self.groups.len();
        None
    }

    /// Begins a look at every group. A sleeper looks so after it has announced itself.
    pub fn restart(&mut self) {
        self.left = self.groups.len() + 1;
    }

    /// The marks that it has seen, in one number, and whether it has to look again without a new one.
    pub fn standing(&self) -> (u64, bool) {
        let marks = self.groups.iter().fold(0u64, |sum, group| sum.wrapping_add(group.mark));
        (marks, self.is_unknown || self.groups.iter().any(|group| group.pending))
    }

    /// The marks now, as one number: another one than [`Self::standing`]'s once a change was marked.
    pub fn marks<M: Memory>(table: &Table<M>) -> u64 {
        // MARK: as in `has_moved`.
        let mark = |group| table.data.load(table.geometry.mark(group), Edge::Mark);
        (0..table.geometry.groups()).fold(0u64, |sum, group| sum.wrapping_add(mark(group)))
    }

    /// Whether the entries of the group have to be looked at.
    fn has_moved<M: Memory>(&mut self, table: &Table<M>) -> bool {
        // MARK: an entry whose change is marked has its owner, or its new version.
        let mark = table.data.load(table.geometry.mark(self.group), Edge::Mark);
        let group = &mut self.groups[self.group];
        let moved = group.pending || mark != group.mark || self.is_unknown;
        *group = Group { mark, pending: false };
        moved
    }

    /// The caller has read this version word of the entry. Returns the one it had seen before.
    pub fn saw(&mut self, entry: usize, word: u64) -> u64 {
        std::mem::replace(&mut self.seen[entry], word)
    }
}
