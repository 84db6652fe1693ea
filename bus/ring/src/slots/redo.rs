//! The index of a queue's events that wait to be delivered again, with the time from which on each
//! may be taken.
//!
//! **Promise.** A worker finds the event that comes first without searching the ring.
//!
//! **How it works.** An event that was handed back says REDO in its done word and waits in its
//! slot. The index is a tree of minima over the slots:
//!
//! ```text
//! REDO_ROOT                  earliest time below | version
//!   nodes, 64 children each  earliest time below | version
//!     leaves, one a slot     the time from which on the slot's event may be taken; 0: none waits
//! ```
//!
//! - **Announcing** an event that already says REDO: store the leaf, then renew each node above it,
//!   up to the root.
//! - **Taking**: go down from the root to the earliest leaf; win the event by its done word; clear
//!   the leaf; renew the nodes.
//! - **Renewing** a node: read it, then its children, then replace it by compare-and-swap. The
//!   version makes each renewal a change. So a renewal that has read older children fails and reads
//!   again (INDEX).
//!
//! The root changes with every announcement, so it also shows workers that there is something new.
//!
//! **Why it is sound. The index is a hint; the done words decide.** If a process is killed between
//! storing REDO and renewing the root, the index does not show the event. The sweep that follows
//! each death announces it. A leaf without an event is cleared by the first worker that reaches it.
//! A worker that clears a leaf reads the done word once more after that. If it says REDO, the event
//! was handed back in between, and the worker announces it again.
//!
//! **Times** are of the host's CLOCK_MONOTONIC, which is the same in all containers. A time further
//! ahead than any delay ([`DELAY_NS_MAX`]) was not stored by a worker, and is taken to have come.
//!
//! **Left out.** Exact order: nodes hold times in units of about a quarter of a millisecond.

use crate::layout::{self, REDO_FANOUT};
use crate::memory::{Edge, Memory};
use crate::slots::word::{self, Slots, done};

/// The longest time that an event waits: one day, in ns.
pub const DELAY_NS_MAX: u64 = 24 * 3600 * 1_000_000_000;

/// The value of a leaf whose event may be taken at once, before events that were handed back later.
pub const AT_ONCE: u64 = 1;

/// The bits of a node that count its changes.
const VERSION_BITS: u32 = 20;
const VERSION_MASK: u64 = (1 << VERSION_BITS) - 1;
/// Nodes hold times in units of 2^18 ns, about a quarter of a millisecond.
const UNIT_BITS: u32 = 18;
/// How often a node's renewal is tried. Each try that fails was beaten by another renewal, so only
/// a node that is corrupted without end takes so many. The audit of an idle worker finds the events
/// that are missing then.
const TRIES_MAX: u32 = 1 << 12;

/// How long an event waits before it is delivered again: not at all after its first attempt, and
/// then longer each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the second attempt, in ns. It doubles with each further attempt.
    pub first_ns: u64,
    /// The longest delay, in ns.
    pub max_ns: u64,
    /// After this many deliveries an event becomes a dead letter, for which it need not wait; 0 for
    /// never.
    pub attempts_max: u32,
}

impl Backoff {
    /// The default of [`Self::first_ns`].
    pub const FIRST_NS: u64 = 1_000_000;
    /// The default of [`Self::max_ns`].
    pub const MAX_NS: u64 = 1_000_000_000;

    /// Returns the default delays, for a queue whose events are delivered at most `attempts_max`
    /// times, or without limit if that is 0.
    pub const fn of(attempts_max: u32) -> Backoff {
        Backoff { first_ns: Backoff::FIRST_NS, max_ns: Backoff::MAX_NS, attempts_max }
    }

    /// How long ticket `t` waits after this many attempts, in ns. Up to a quarter is taken off,
    /// differently for each ticket and attempt, so that events that failed together do not come
    /// back together.
    pub fn delay_ns(self, t: u64, attempts: u8) -> u64 {
        let is_last = self.attempts_max > 0 && attempts as u32 >= self.attempts_max;
        if attempts < 2 || is_last {
            return 0;
        }
        let times = 1u64.checked_shl(attempts as u32 - 2).unwrap_or(u64::MAX);
        let delay = self.first_ns.saturating_mul(times).min(self.max_ns).min(DELAY_NS_MAX);
        // The high bits of a product with 2^64 / phi are spread evenly.
        let spread = (t ^ ((attempts as u64) << 56)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        delay - ((delay / 4 * spread) >> 8)
    }

    /// The time from which on ticket `t` may be taken again after this many attempts, if the time
    /// is `now_ns`.
    pub fn due_ns(self, now_ns: u64, t: u64, attempts: u8) -> u64 {
        match attempts {
            0 => AT_ONCE,
            _ => now_ns.saturating_add(self.delay_ns(t, attempts)).max(AT_ONCE),
        }
    }
}

/// The first event of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// No event waits.
    Nothing,
    /// No event may be taken before this time.
    Later(u64),
    /// The event in this slot may be taken. The second value is the leaf's time.
    Ripe(usize, u64),
}

/// The index, in the files of a queue.
#[derive(Debug)]
pub struct Redo<'a, M> {
    /// The consumers' file.
    pub acks: &'a M,
    /// The done words, with the index behind them.
    pub done: &'a M,
    /// The geometry.
    pub slots: Slots,
}

/// One level of the index. Level 0 is the leaves.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// Where it starts behind the done words.
    at: usize,
    /// How many nodes it has. The root's level has one.
    nodes: u64,
}

impl Level {
    fn above(self) -> Level {
        Level { at: self.at + self.nodes as usize * 8, nodes: self.nodes.div_ceil(REDO_FANOUT) }
    }
}

/// A time as a node holds it.
fn code_of(due_ns: u64) -> u64 {
    // A time that does not fit was not stored by a worker.
    ((due_ns >> UNIT_BITS) + 1).min(u64::MAX >> VERSION_BITS)
}

/// The time in a node, rounded down; `None` if no event waits below it.
fn time_of(node: u64) -> Option<u64> {
    (node >> VERSION_BITS).checked_sub(1).map(|units| units << UNIT_BITS)
}

/// Whether a time has come.
pub(super) fn is_ripe(due_ns: u64, now_ns: u64) -> bool {
    due_ns <= now_ns || due_ns - now_ns > DELAY_NS_MAX
}

impl<M: Memory> Redo<'_, M> {
    /// The current root.
    #[inline(always)]
    pub fn root(&self) -> u64 {
        // INDEX: pairs with the renewal of the root. Everything that the root stands for is
        // visible.
        self.acks.load(layout::REDO_ROOT, Edge::Index)
    }

    /// Whether no event waits, as far as the root shows it.
    pub fn is_empty(&self) -> bool {
        time_of(self.root()).is_none()
    }

    fn leaves(&self) -> Level {
        Level { at: self.slots.count as usize * 8, nodes: self.slots.count }
    }

    fn leaf_at(&self, slot: usize) -> usize {
        self.leaves().at + slot * 8
    }

    /// The time from which on the event in the slot of ticket `t` may be taken; 0 if the index has
    /// none there.
    pub fn due(&self, t: u64) -> u64 {
        // INDEX: as with any child.
        self.done.load(self.leaf_at(self.slots.index(t)), Edge::Index)
    }

    /// Stores the time from which on ticket `t` may be taken, for workers that read the done word
    /// first. The caller holds the ticket and is about to hand it back.
    pub fn prepare(&self, t: u64, due_ns: u64) {
        self.done.store(self.leaf_at(self.slots.index(t)), due_ns.max(AT_ONCE), Edge::Index);
    }

    /// Announces that ticket `t`, whose done word says REDO, may be taken from `due_ns` on.
    pub fn announce(&self, t: u64, due_ns: u64) {
        let at = self.leaf_at(self.slots.index(t));
        let mut seen = self.due(t);
        for _ in 0..TRIES_MAX {
            // INDEX: this comes after the REDO. A worker that sees the leaf, or clears it, sees the
            // REDO.
            match self.done.compare_exchange(at, seen, due_ns.max(AT_ONCE), Edge::Index) {
                Ok(_) => break,
                Err(found) => seen = found,
            }
        }
        self.climb(self.slots.index(t));
    }

    /// Announces these tickets, whose done words say REDO, to be taken at once and in this order.
    /// `now_ns` is the time.
    pub fn announce_in_order(&self, tickets: impl ExactSizeIterator<Item = u64>, now_ns: u64) {
        let count = tickets.len() as u64;
        for (i, t) in tickets.enumerate() {
            // Nodes distinguish times that differ by one unit.
            self.announce(t, now_ns.saturating_sub((count - i as u64) << UNIT_BITS));
        }
    }

    /// Announces ticket `t`, whose done word says REDO, if the index does not show it.
    pub fn ensure(&self, t: u64, due_ns: u64) {
        let due = match self.due(t) {
            0 => return self.announce(t, due_ns),
            due => due,
        };
        let (mut level, mut node) = (self.leaves(), self.slots.index(t) as u64);
        let is_shown = loop {
            node /= REDO_FANOUT;
            level = level.above();
            if time_of(self.node(level, node)).is_none_or(|time| time > due) {
                break false;
            }
            if level.nodes == 1 {
                break true;
            }
        };
        if !is_shown {
            self.climb(self.slots.index(t));
        }
    }

    /// Clears the leaf of ticket `t`, which held `seen`: the event can no longer be taken there.
    pub fn withdraw(&self, t: u64, seen: u64) {
        let slot = self.slots.index(t);
        // INDEX: if the event was handed back again with the same time, the leaf brings its REDO.
        if self.done.compare_exchange(self.leaf_at(slot), seen, 0, Edge::Index).is_err() {
            return; // Another worker has changed it.
        }
        self.climb(slot);
        let word = self.done.load(self.slots.done_offset(t), Edge::Done);
        if self.slots.is_of(word, t) && word::kind(word) == done::REDO {
            self.announce(t, seen);
        }
    }

    /// Changes the root, so that every worker looks for an event that it may take. Returns the root
    /// before and after.
    pub fn touch(&self) -> (u64, u64) {
        let mut before = self.root();
        for _ in 0..TRIES_MAX {
            let after = changed(before, before >> VERSION_BITS);
            match self.acks.compare_exchange(layout::REDO_ROOT, before, after, Edge::Index) {
                Ok(_) => return (before, after),
                Err(found) => before = found,
            }
        }
        (before, before)
    }

    /// Returns the event that may be taken at the time `now_ns`, and the root that was read.
    pub fn next(&self, now_ns: u64) -> (Next, u64) {
        let root = self.root();
        let found = match time_of(root) {
            None => Next::Nothing,
            Some(time) if !is_ripe(time, now_ns) => Next::Later(time),
            Some(_) => self.descend(now_ns),
        };
        (found, root)
    }

    /// Goes down from the root to the earliest leaf.
    #[cold]
    fn descend(&self, now_ns: u64) -> Next {
        let mut levels = [self.leaves(); 8];
        let mut depth = 0;
        while levels[depth].nodes > REDO_FANOUT && depth + 1 < levels.len() {
            levels[depth + 1] = levels[depth].above();
            depth += 1;
        }
        let mut parent = 0;
        for (below, &level) in levels[..=depth].iter().enumerate().rev() {
            let Some((child, word)) = self.first_child(level, below == 0, parent) else {
                // Another worker is between a leaf and the nodes above it, or was killed there.
                let first_leaf = (0..below).fold(parent * REDO_FANOUT, |node, _| node * REDO_FANOUT);
                self.climb(first_leaf.min(self.slots.count - 1) as usize);
                return Next::Later(now_ns);
            };
            if below == 0 {
                return match is_ripe(word, now_ns) {
                    true => Next::Ripe(child as usize, word),
                    false => Next::Later(word),
                };
            }
            parent = child;
        }
        Next::Nothing
    }

    /// Renews the nodes above a slot's leaf.
    fn climb(&self, slot: usize) {
        let (mut below, mut node) = (self.leaves(), slot as u64);
        let mut are_leaves = true;
        loop {
            node /= REDO_FANOUT;
            let level = below.above();
            self.renew(below, are_leaves, level, node);
            if level.nodes == 1 {
                return;
            }
            (below, are_leaves) = (level, false);
        }
    }

    /// Stores in a node the earliest time of its children on the level below, which are read after
    /// the node.
    fn renew(&self, below: Level, are_leaves: bool, level: Level, node: u64) {
        for _ in 0..TRIES_MAX {
            // INDEX: the node is read before its children. They are not older than the
            // announcements that this node shows.
            let seen = self.node(level, node);
            let code = match self.first_child(below, are_leaves, node) {
                None => 0,
                Some((_, word)) if are_leaves => code_of(word),
                Some((_, word)) => word >> VERSION_BITS,
            };
            let (memory, at) = self.place(level, node);
            // INDEX: the children are stored before. A worker that sees the node sees them.
            if memory.compare_exchange(at, seen, changed(seen, code), Edge::Index).is_ok() {
                return;
            }
        }
    }

    /// Returns the number and the word of the earliest of a node's children; `None` if no event
    /// waits there.
    fn first_child(&self, level: Level, are_leaves: bool, parent: u64) -> Option<(u64, u64)> {
        let first = parent * REDO_FANOUT;
        let mut found: Option<(u64, u64)> = None;
        for child in first..level.nodes.min(first + REDO_FANOUT) {
            // INDEX: pairs with the stores of leaves and nodes.
            let word = self.done.load(level.at + child as usize * 8, Edge::Index);
            let order = |word: u64| if are_leaves { word } else { word >> VERSION_BITS };
            if order(word) != 0 && found.is_none_or(|(_, best)| order(word) < order(best)) {
                found = Some((child, word));
            }
        }
        found
    }

    fn node(&self, level: Level, node: u64) -> u64 {
        let (memory, at) = self.place(level, node);
        memory.load(at, Edge::Index)
    }

    /// Where a node above the leaves is stored.
    fn place(&self, level: Level, node: u64) -> (&M, usize) {
        match level.nodes {
            1 => (self.acks, layout::REDO_ROOT),
            _ => (self.done, level.at + node as usize * 8),
        }
    }
}

/// A node with `code`, as the next change of `node`.
fn changed(node: u64, code: u64) -> u64 {
    code << VERSION_BITS | (node.wrapping_add(1) & VERSION_MASK)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::alone::Alone;

    /// The index of a queue of so many slots.
    fn with_index(count: u64, then: impl FnOnce(&Redo<'_, Alone>)) {
        let slots = Slots::new(count, 64);
        let acks = Alone::new(layout::CONTROL_BYTES as u64);
        let done = Alone::new(layout::done_bytes(count));
        then(&Redo { acks: &acks, done: &done, slots });
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn the_earliest_is_found_whatever_comes_and_goes() {
        for count in [1, 2, 64, 128, 4096, 1 << 13] {
            with_index(count, |redo| {
                let mut waiting: BTreeMap<usize, u64> = BTreeMap::new();
                let mut dice = 1u64;
                for _ in 0..2000 {
                    dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let slot = (dice >> 33) % count;
                    if dice >> 63 == 0 {
                        let due_ns = 1 + (dice >> 40) % 1000 * MS;
                        redo.announce(slot, due_ns);
                        waiting.insert(slot as usize, due_ns);
                    } else if let Some(due_ns) = waiting.remove(&(slot as usize)) {
                        redo.withdraw(slot, due_ns);
                    }
                    let first = waiting.values().min().copied();
                    match (redo.next(u64::MAX / 2).0, first) {
                        (Next::Nothing, None) => {}
                        (Next::Ripe(slot, due_ns), Some(first)) => {
                            assert_eq!((due_ns, waiting.get(&slot)), (first, Some(&first)));
                        }
                        other => panic!("{other:?} of {count}"),
                    }
                    if let Some(first) = first {
                        // A unit of a node is about a quarter of a millisecond.
                        let Next::Later(due_ns) = redo.next(first - 1).0 else { panic!("too early") };
                        assert!(due_ns <= first && first - due_ns < MS, "{due_ns} for {first}");
                        assert!(matches!(redo.next(first).0, Next::Ripe(..)));
                    }
                }
            });
        }
    }

    #[test]
    fn what_is_announced_in_order_is_found_in_order() {
        with_index(256, |redo| {
            let tickets = [250, 251, 300, 260, 257];
            redo.announce_in_order(tickets.into_iter(), 3600 * 1000 * MS);
            for t in tickets {
                let Next::Ripe(slot, due_ns) = redo.next(3600 * 1000 * MS).0 else { panic!("nothing") };
                assert_eq!(slot, redo.slots.index(t));
                redo.withdraw(t, due_ns);
            }
        });
    }

    #[test]
    fn a_time_that_no_worker_stores_has_come() {
        with_index(128, |redo| {
            redo.announce(100, u64::MAX);
            assert_eq!(redo.next(MS).0, Next::Ripe(100, u64::MAX));
        });
    }

    #[test]
    fn an_event_that_was_not_announced_to_the_root_is_shown_by_the_next_look_at_it() {
        with_index(1 << 13, |redo| {
            redo.announce(5, 10 * MS);
            redo.prepare(777, 2 * MS);
            redo.ensure(777, MS);
            assert_eq!(redo.next(u64::MAX / 2).0, Next::Ripe(777, 2 * MS), "its own time stays");
            let before = redo.root();
            redo.ensure(777, MS);
            redo.ensure(5, MS);
            assert_eq!(redo.root(), before, "what is shown already changes nothing");
        });
    }

    #[test]
    fn who_finds_nothing_below_a_node_mends_it() {
        with_index(1 << 13, |redo| {
            redo.announce(777, MS);
            // As if a worker had been killed after it stored the leaf.
            redo.done.store(redo.leaf_at(777), 0, Edge::Index);
            assert_eq!(redo.next(2 * MS).0, Next::Later(2 * MS));
            assert_eq!(redo.next(2 * MS).0, Next::Nothing);
        });
    }

    #[test]
    fn what_it_costs_does_not_grow_with_the_ring() {
        for count in [1 << 12, 1 << 18, 1 << 24] {
            with_index(count, |redo| {
                // Others wait, all over the ring.
                (0..100).for_each(|i| redo.announce(i * (count / 100), 500 * MS));
                let before = redo.done.loads();
                redo.announce(7, MS);
                assert!(matches!(redo.next(2 * MS).0, Next::Ripe(7, _)));
                redo.withdraw(7, MS);
                let loads = redo.done.loads() - before;
                assert!(loads < 4 * 3 * (REDO_FANOUT + 2), "{loads} loads in a queue of {count}");
            });
        }
    }

    #[test]
    fn delays_double_up_to_the_greatest_and_differ_a_little() {
        let backoff = Backoff::of(0);
        for attempts in 2..=63 {
            let nominal = (MS << (attempts as u32 - 2).min(20)).min(backoff.max_ns);
            for t in 0..100 {
                let delay = backoff.delay_ns(t, attempts);
                assert!(delay <= nominal && delay > nominal / 4 * 3 - 1, "{delay} of {nominal}");
            }
        }
        assert_ne!(backoff.delay_ns(1, 9), backoff.delay_ns(2, 9));
        assert_eq!([0, 1].map(|attempts| backoff.due_ns(MS, 7, attempts)), [AT_ONCE, MS]);
        assert_eq!(Backoff::of(3).delay_ns(7, 3), 0, "it becomes a dead letter");
        assert_ne!(Backoff::of(3).delay_ns(7, 2), 0);
    }
}
