//! Finds participants that have not moved while an observer looked.
//!
//! A participant notes the time now and then, but its clock may not be the observer's. Time
//! namespaces (containers) have clocks of their own, and a process that may write the file can
//! write any time. So an observer remembers the words of each participant that holds others up, and
//! since when they have not changed by its own clock. The noted time only decides for which
//! participants a longer look is worth while.

use std::collections::BTreeMap;

use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::memory::{Edge, Memory};

use crate::snapshot::{Life, Participant, ParticipantRole};

/// The words of an entry that change when its owner moves.
const WORDS: [usize; 8] = [
    layout::SEEN_NS,
    layout::STATE,
    layout::CLAIM,
    layout::CURSOR,
    layout::POSITION,
    layout::EVENTS,
    layout::IN_HAND,
    layout::WAIT_POSITION,
];
/// Which of them is the noted time.
const NOTED: usize = 0;
/// A noted time that is further ahead of the observer's than this, in ns, is by another clock.
const AHEAD_NS: u64 = 100_000_000;

/// The words of a participant as they were seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    words: [u64; WORDS.len()],
    in_hand: u64,
    since_ns: u64,
    has_moved: bool,
}

/// An observer's memory of the participants that hold others up.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    seen: BTreeMap<(bool, usize, u64), Seen>,
}

impl Stillness {
    /// Looks at the participants at `now_ns` of the observer's clock. Sets, for each that holds
    /// others up, for how long it was seen not to move. `memory` returns the file of a side.
    pub(super) fn look<'a, M: Memory + 'a>(
        &mut self,
        participants: &mut [Participant],
        memory: impl Fn(Side) -> &'a M,
        stuck_after_ns: u64,
        now_ns: u64,
    ) {
        let mut seen = BTreeMap::new();
        for one in participants.iter_mut().filter(|one| holds_up(one)) {
            let entry = layout::entry(one.index);
            let words = WORDS.map(|field| memory(one.side).load(entry + field, Edge::Plain));
            let key = key(one);
            let before = self.seen.get(&key);
            let now = match before {
                Some(before) if (before.words, before.in_hand) == (words, one.in_hand) => *before,
                _ => Seen { words, in_hand: one.in_hand, since_ns: now_ns, has_moved: before.is_some() },
            };
            seen.insert(key, now);
            one.unmoved_ns = now_ns.saturating_sub(now.since_ns);
            one.stuck_ns = Some(one.unmoved_ns).filter(|&unmoved_ns| unmoved_ns > stuck_after_ns);
            one.may_be_stuck =
                one.stuck_ns.is_none() && !now.has_moved && is_suspect(words[NOTED], stuck_after_ns, now_ns);
        }
        self.seen = seen;
    }

    /// For how much longer an observer must look to decide about the participants that may be stuck
    /// by the last look, in ns. `None` when there are none.
    pub(super) fn undecided_ns(participants: &[Participant], stuck_after_ns: u64) -> Option<u64> {
        let undecided = participants.iter().filter(|one| one.may_be_stuck);
        // One more, because a participant is stuck if it has not moved for longer than that.
        undecided.map(|one| stuck_after_ns.saturating_sub(one.unmoved_ns).saturating_add(1)).max()
    }
}

/// Whether a noted time suggests that its owner is stuck: it is long ago, or by another clock.
fn is_suspect(noted_ns: u64, stuck_after_ns: u64, now_ns: u64) -> bool {
    noted_ns > now_ns.saturating_add(AHEAD_NS) || now_ns.saturating_sub(noted_ns) > stuck_after_ns
}

fn key(one: &Participant) -> (bool, usize, u64) {
    (one.side == Side::Consumers, one.index, one.generation)
}

/// Whether it lives and others wait for it: a reader with unread events, or the owner of a ticket
/// that is not finished.
fn holds_up(one: &Participant) -> bool {
    let has_work = match one.role {
        ParticipantRole::Subscriber | ParticipantRole::Tap => one.lag.is_some_and(|lag| lag > 0),
        _ => one.in_hand > 0,
    };
    one.life == Life::Live && has_work
}
