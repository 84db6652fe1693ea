//! Whose turn it is among workers of several priorities.
//!
//! **Promise.** Level 0 is served first. A worker of a lower level (a higher number) takes only
//! when it finds every worker of the levels above it *saturated* or *not moving*.
//!
//! **How it works.** These words of the consumers' registry decide. Each is written by its owner:
//!
//! ```text
//! STATE      the entry is ACTIVE: a worker that has left, was evicted, or was buried does not count
//! POLICY     a worker; its level; its bound (0: opened without one), written when it registers
//! IN_HAND    with a bound: saturated when it is at least the bound
//! CLAIM      without one: saturated while an event of its last take is not done
//! SEEN_NS    not moving when it has not changed for `stuck_after`, or for 100 ms if that is more
//! ```
//!
//! Each worker finds out whether a word has changed from its own earlier looks and its own clock
//! ([`Looks`]), because clocks of other time namespaces differ. A worker stores the time when it
//! takes and, while it waits or polls, at least every 64 ms. So a worker that is stopped, or stays
//! away while it holds fewer events than its bound, delays the others for `stuck_after` only. A
//! dead worker delays them until it is buried; a waiting worker does that within a few ms.
//!
//! **Why it is sound.** It is a rule about moments: between a worker's check and its take, a worker
//! above it may become free. Only the order of service depends on it. The queue itself makes sure
//! that each event goes to one worker.
//!
//! **Left out.** The order of workers within one level.

use crate::layout;
use crate::members::registry::{ROLE_WORKER, Status, status};
use crate::memory::{Edge, Memory};
use crate::slots::view::SlotView;

/// The highest bound of held events.
pub const IN_HAND_MAX: u32 = 65_535;
/// A worker that moved less than this time ago counts as moving, in ns, however short the channel's
/// `stuck_after` is.
pub const STILL_NS_MIN: u64 = 100_000_000;

const LEVEL_SHIFT: u32 = 16;
const BOUND_SHIFT: u32 = 32;

/// The rank in a worker's policy word. The default is that of a plain worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rank {
    /// The level; 0 is served first.
    pub level: u8,
    /// The number of held events at which the worker is saturated and takes no more; 0 for a worker
    /// that was opened without a bound.
    pub in_hand_max: u16,
}

impl Rank {
    /// The bits of the policy word.
    pub const fn policy(self) -> u64 {
        (self.level as u64) << LEVEL_SHIFT | (self.in_hand_max as u64) << BOUND_SHIFT
    }

    /// The rank in a policy word.
    pub const fn of(policy: u64) -> Rank {
        Rank { level: (policy >> LEVEL_SHIFT) as u8, in_hand_max: (policy >> BOUND_SHIFT) as u16 }
    }
}

/// How a worker has seen the others at its earlier looks.
#[derive(Debug, Clone, Default)]
pub struct Looks {
    /// For each entry: its state word, its stored time, and since when the two have not changed, by
    /// this worker's own clock.
    seen: Vec<[u64; 3]>,
}

impl Looks {
    /// Returns for how long the two words of entry `index` have not changed, in ns; 0 at the first
    /// look.
    fn still_ns(&mut self, index: usize, state: u64, noted_ns: u64, now_ns: u64) -> u64 {
        if self.seen.len() <= index {
            self.seen.resize(index + 1, [u64::MAX; 3]);
        }
        let seen = &mut self.seen[index];
        if seen[..2] != [state, noted_ns] {
            *seen = [state, noted_ns, now_ns];
        }
        now_ns.saturating_sub(seen[2])
    }
}

/// The rule, over the memory from which it is computed.
#[derive(Debug)]
pub struct Levels<'a, M> {
    /// The queue.
    pub view: &'a SlotView<M>,
    /// The channel's `stuck_after`, in ns.
    pub stuck_after_ns: u64,
}

impl<M: Memory> Levels<'_, M> {
    /// Whether it is the turn of a worker of `level`, which has had these `looks`. `now_ns` is the
    /// time of CLOCK_MONOTONIC.
    pub fn is_turn_of(&self, level: u8, looks: &mut Looks, now_ns: u64) -> bool {
        let used =
            (self.view.acks.load(layout::CONSUMERS_HIGH, Edge::State) as usize).min(self.view.consumers);
        (0..used).all(|index| !self.is_before(index, level, looks, now_ns))
    }

    /// Whether the worker in entry `index` is of a level above `level`, and is moving and not
    /// saturated.
    fn is_before(&self, index: usize, level: u8, looks: &mut Looks, now_ns: u64) -> bool {
        let entry = layout::entry(index);
        // STATE: the policy belongs to this registration, or to a later one.
        let state = self.view.acks.load(entry + layout::STATE, Edge::State);
        let policy = self.view.acks.load(entry + layout::POLICY, Edge::Plain);
        if status(state) != Status::Active || policy & 0xFF != ROLE_WORKER {
            return false;
        }
        let rank = Rank::of(policy);
        if rank.level >= level {
            return false;
        }
        let seen_ns = self.view.acks.load(entry + layout::SEEN_NS, Edge::Plain);
        let is_still = looks.still_ns(index, state, seen_ns, now_ns) > self.stuck_after_ns.max(STILL_NS_MIN);
        !is_still && !self.is_saturated(entry, rank)
    }

    fn is_saturated(&self, entry: usize, rank: Rank) -> bool {
        if rank.in_hand_max > 0 {
            // Plain: the word is only a hint. The queue itself decides what is held.
            return self.view.acks.load(entry + layout::IN_HAND, Edge::Plain) >= rank.in_hand_max as u64;
        }
        let claim = self.view.acks.load(entry + layout::CLAIM, Edge::Announce);
        let head = self.view.acks.load(layout::HEAD, Edge::Head);
        // The claim word holds 48 bits of the ticket, so the distance is counted back from the
        // head. A worker that loses a ticket announces one at the head.
        let back = head.wrapping_sub(claim >> 16) & ((1 << 48) - 1);
        let first = head.saturating_sub(back);
        let count = (claim & 0xFFFF).min(self.view.slots.count).min(back);
        (first..first + count).any(|t| {
            self.view.done.load(self.view.slots.done_offset(t), Edge::Done)
                == self.view.slots.previous_lap_done(t)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_travels_in_a_policy_word() {
        for (level, in_hand_max) in [(0, 0), (0, 7), (255, 65_535), (3, 1)] {
            let rank = Rank { level, in_hand_max };
            let policy = rank.policy();
            assert_eq!(Rank::of(policy | ROLE_WORKER | 0xF << 8), rank);
            assert_eq!(policy & 0xFFFF, 0, "the role and the policy bits are others'");
        }
    }
}
