//! Which unfinished events of a keyed queue carry which key, as one worker sees them.
//!
//! **The rule**: an event with a key is handed out only when every earlier event with that key is done. Done is for ever,
//! so two events with one key are never in hand at once, and a redelivered one comes before later ones.
//!
//! Each worker finds out by itself, and writes nothing for it. Tickets are taken in the order of the head; so a worker
//! that looks at ticket `t` finds all earlier ones published, or settled without an event. It reads each unfinished
//! ticket's key once, from the slot, into a set of its own, sorted by key and ticket, and from then on asks
//! the done words only:
//!
//! ```text
//! open    (key 7, ticket 12) (key 7, ticket 31) (key 9, ticket 15) ...      some may be done by now: dropped when met
//! may_run(31)?   is done[12] DONE                 ready   the first unfinished of each key that says REDO
//! ```
//!
//! **Why reading a slot that others may overwrite is sound.** A slot is overwritten only when its event is done. If it is
//! not, the key is right; if it is, the key may be anything, and makes no difference: nobody waits for an event whose
//! done word says that it is done, and a worker that has not seen that word yet asks again.
//!
//! **What it costs.** Any number of events may wait for one key: the ring is the only bound. To ask whether a
//! ticket may run takes a search in the set. A look for events that may run now takes a search for each key,
//! whatever waits behind the first event of a key. The set holds some 35 bytes for each event that was taken
//! and is not done.
//!
//! What it leaves out: events that were marked done although nobody had them in hand (an operator's purge) are done.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::memory::{Edge, Memory};
use crate::slots::redo::{self, Redo};
use crate::slots::word::{self, Slots, done, seq};
use crate::{frame, layout};

/// The set is cleaned when it has grown to twice what was left, and this.
const SLACK: usize = 64;

/// More tickets at once are put into the set together.
const FEW: u64 = 64;

/// So many events that wait for the first of their key are stepped over one by one; more are passed over by a
/// search.
const FEW_WAIT: u32 = 8;

/// The words that tell.
#[derive(Debug)]
pub struct View<'a, M> {
    /// The consumers' file.
    pub acks: &'a M,
    /// The slots.
    pub data: &'a M,
    /// The done words.
    pub done: &'a M,
    /// Geometry.
    pub slots: Slots,
}

impl<M: Memory> View<'_, M> {
    fn done_word(&self, t: u64) -> u64 {
        // DONE: what its worker did is visible to who finds it done.
        self.done.load(self.slots.done_offset(t), Edge::Done)
    }

    fn is_done(&self, t: u64, word: u64) -> bool {
        self.slots.is_newer(word, t) || word == self.slots.state(t, done::DONE)
    }

    /// The key of ticket `t`, which was published. `None` if it has none, or makes no sense.
    pub fn key(&self, t: u64) -> Option<u64> {
        let at = self.slots.offset(t);
        // Plain: the ticket was seen published; what an overwritten slot holds makes no difference (above).
        let header = self.data.load(at + layout::SLOT_META, Edge::Plain);
        let flags = frame::flags(header);
        let body_max = self.slots.slot_bytes() - layout::SLOT_BODY as u64;
        let has_key = flags & frame::KEYED != 0 && frame::is_event(header, body_max);
        has_key.then(|| self.data.load(at + layout::SLOT_BODY + frame::key_offset(flags), Edge::Plain))
    }
}

/// An event that was not done when it was last looked at. Sorted: those without a key first, then by key and ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Open {
    key: Option<u64>,
    ticket: u64,
}

/// One worker's private state; see the [module](self).
#[derive(Debug, Default)]
pub struct KeyOrder {
    /// Everything before this ticket was looked at.
    until: u64,
    open: BTreeSet<Open>,
    /// Tickets that may run now and said REDO when they were last looked for, with that word; the oldest
    /// first. A ticket that may run may always run: at most another worker has taken it.
    ready: BinaryHeap<Reverse<(u64, u64)>>,
    /// How large the set may grow before it is cleaned.
    clean_at: usize,
    /// Events that a look has found done. Empty between two looks.
    gone: Vec<Open>,
    /// Whether to look for runnable events even if nobody has said that there are any.
    look: bool,
    /// Whether the last take ended because it had put many events aside.
    passing: bool,
}

impl KeyOrder {
    /// A worker that has seen nothing yet.
    pub fn new() -> KeyOrder {
        KeyOrder { clean_at: SLACK, look: true, ..KeyOrder::default() }
    }

    /// The next take looks for runnable events whatever was announced.
    pub fn look_again(&mut self) {
        self.look = true;
    }

    /// Whether the last take put so many events aside that it ended, although there may be one to take behind
    /// them. The next take goes on there.
    pub fn is_passing(&self) -> bool {
        self.passing
    }

    pub(super) fn passing(&mut self, passing: bool) {
        self.passing = passing;
    }

    pub(super) fn is_to_look(&self) -> bool {
        self.look
    }

    /// Looks at all tickets before `to`, which is at most the head.
    fn extend<M: Memory>(&mut self, view: &View<'_, M>, to: u64) {
        // What lies a whole ring back is done: its slot has been won again, or will not be looked at.
        let from = self.until.max(to.saturating_sub(view.slots.count));
        let found = (from..to).filter_map(|ticket| Self::open(view, ticket));
        if to.saturating_sub(from) > FEW {
            self.open.append(&mut found.collect());
        } else {
            self.open.extend(found);
        }
        self.until = self.until.max(to);
        if self.open.len() >= self.clean_at {
            self.open.retain(|open| !view.is_done(open.ticket, view.done_word(open.ticket)));
            self.clean_at = 2 * self.open.len() + SLACK;
        }
    }

    /// Ticket `ticket`, which is before the head, if it carries an event that is not done.
    fn open<M: Memory>(view: &View<'_, M>, ticket: u64) -> Option<Open> {
        if view.is_done(ticket, view.done_word(ticket)) {
            return None;
        }
        // PUBLISH: as in taking. Without an event the ticket holds nobody up.
        let seen = view.data.load(view.slots.offset(ticket) + layout::SLOT_SEQ, Edge::Publish);
        let is_event = seen == view.slots.state(ticket, seq::PUBLISHED);
        is_event.then(|| Open { key: view.key(ticket), ticket })
    }

    /// Whether ticket `t`, which is won and not done, may be handed out now. Once true, always true.
    pub fn may_run<M: Memory>(&mut self, view: &View<'_, M>, t: u64) -> bool {
        let Some(key) = view.key(t) else { return true };
        self.extend(view, t);
        let (first, end) = (Open { key: Some(key), ticket: 0 }, Open { key: Some(key), ticket: t });
        while let Some(&open) = self.open.range(first..end).next() {
            if !view.is_done(open.ticket, view.done_word(open.ticket)) {
                return false;
            }
            self.open.remove(&open);
        }
        true
    }

    /// Looks for events before `head` that were handed back, or put aside, and may run. Returns when the first of those may
    /// run that have still to wait, `u64::MAX` for never.
    pub(super) fn look<M: Memory>(&mut self, view: &View<'_, M>, head: u64, now_ns: impl Fn() -> u64) -> u64 {
        self.extend(view, head);
        let redo = Redo { acks: view.acks, done: view.done, slots: view.slots };
        let (mut now, mut first_due_ns) = (None, u64::MAX);
        let (mut last_key, mut passed) = (None, 0);
        self.ready.clear();
        let mut rest = self.open.range(..);
        while let Some(open) = rest.next() {
            if open.key.is_some() && open.key == last_key {
                // It waits for the first of its key.
                passed += 1;
                if passed == FEW_WAIT {
                    let Some(next) = open.key.and_then(|key| key.checked_add(1)) else { break };
                    rest = self.open.range(Open { key: Some(next), ticket: 0 }..);
                }
                continue;
            }
            let word = view.done_word(open.ticket);
            if view.is_done(open.ticket, word) {
                self.gone.push(*open);
                continue;
            }
            (last_key, passed) = (open.key, 0);
            if view.slots.is_of(word, open.ticket) && word::kind(word) == done::REDO {
                let due_ns = redo.due(open.ticket);
                if due_ns <= redo::AT_ONCE || redo::is_ripe(due_ns, *now.get_or_insert_with(&now_ns)) {
                    self.ready.push(Reverse((open.ticket, word)));
                } else {
                    first_due_ns = first_due_ns.min(due_ns);
                }
            }
        }
        for open in self.gone.drain(..) {
            self.open.remove(&open);
        }
        self.look = false;
        self.clean_at = 2 * self.open.len() + SLACK;
        first_due_ns
    }

    /// The oldest event that may run, as far as [`Self::look`] has seen; with the done word to take it from.
    pub(super) fn next_ready(&mut self) -> Option<(u64, u64)> {
        self.ready.pop().map(|Reverse(found)| found)
    }

    /// Whether the next event with `key` behind ticket `t`, which is done, was put aside: it waited for `t`, and is ready.
    pub(super) fn next_waits<M: Memory>(&mut self, view: &View<'_, M>, head: u64, key: u64, t: u64) -> bool {
        self.extend(view, head);
        let behind = Open { key: Some(key), ticket: t.saturating_add(1) };
        for open in self.open.range(behind..).take_while(|open| open.key == Some(key)) {
            let word = view.done_word(open.ticket);
            if view.is_done(open.ticket, word) {
                continue;
            }
            let waits = word::kind(word) == done::REDO && view.slots.is_of(word, open.ticket);
            if waits {
                self.ready.push(Reverse((open.ticket, word)));
            }
            return waits;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::Alone;

    /// A queue of `count` slots in which tickets 0 up to `until` were published, ticket t with the key that
    /// `key` tells.
    fn with_queue(count: u64, until: u64, key: impl Fn(u64) -> u64, then: impl FnOnce(&View<'_, Alone>)) {
        let slots = Slots::new(count, 64);
        let (acks, data) = (Alone::new(layout::CONTROL_BYTES as u64), Alone::new(64 * count));
        let done = Alone::new(layout::done_bytes(count));
        for t in 0..until {
            let at = slots.offset(t);
            let body_at = at + layout::SLOT_BODY + frame::key_offset(frame::KEYED);
            data.store(body_at, key(t), Edge::Plain);
            data.store(at + layout::SLOT_META, frame::header(8, 0, frame::KEYED), Edge::Plain);
            data.store(at + layout::SLOT_SEQ, slots.state(t, seq::PUBLISHED), Edge::Publish);
        }
        then(&View { acks: &acks, data: &data, done: &done, slots });
    }

    fn say(view: &View<'_, Alone>, t: u64, kind: u64) {
        view.done.store(view.slots.done_offset(t), view.slots.held(t, kind, 0, 0), Edge::Done);
    }

    #[test]
    fn what_a_look_costs_does_not_grow_with_what_waits_for_a_key() {
        for waiting in [300, 10_000, 100_000u64] {
            // Keys 1 to 5: one event each in somebody's hands, and all others behind those of key 3.
            let key = |t| if t < 5 { t + 1 } else { 3 };
            with_queue(1 << 17, waiting + 5, key, |view| {
                let mut order = KeyOrder::new();
                (0..waiting + 5).for_each(|t| say(view, t, if t < 5 { done::TAKEN } else { done::REDO }));
                order.look(view, waiting + 5, || 0);
                assert_eq!(order.next_ready(), None);
                let before = view.done.loads();
                assert!(!order.may_run(view, waiting + 4));
                order.look(view, waiting + 5, || 0);
                assert_eq!(order.next_ready(), None);
                assert!(!order.next_waits(view, waiting + 5, 1, 0));
                // The event in front of them is done: the next may run, and no other.
                say(view, 2, done::DONE);
                assert!(order.next_waits(view, waiting + 5, 3, 2));
                assert_eq!(order.next_ready().map(|(t, _)| t), Some(5));
                assert_eq!(order.next_ready(), None);
                order.look(view, waiting + 5, || 0);
                assert_eq!(order.next_ready().map(|(t, _)| t), Some(5), "nobody has taken it");
                assert_eq!(order.next_ready(), None);
                let loads = view.done.loads() - before;
                assert!(loads < 100, "{loads} loads while {waiting} wait");
            });
        }
    }

    #[test]
    fn the_first_of_each_key_may_run_the_oldest_first_whatever_the_keys() {
        let keys = [u64::MAX, 0, u64::MAX, 7, 0, u64::MAX, 7];
        let count = 20 * keys.len() as u64;
        with_queue(
            256,
            count,
            |t| keys[t as usize % keys.len()],
            |view| {
                let mut order = KeyOrder::new();
                (0..count).for_each(|t| say(view, t, done::REDO));
                order.look(view, count, || 0);
                let ready: Vec<u64> = std::iter::from_fn(|| order.next_ready()).map(|(t, _)| t).collect();
                assert_eq!(ready, [0, 1, 3]);
                // All but the last of each key are done; some by an operator, who keeps to no order.
                (0..count - keys.len() as u64).for_each(|t| say(view, t, done::DONE));
                say(view, count - 5, done::DONE);
                order.look(view, count, || 0);
                let ready: Vec<u64> = std::iter::from_fn(|| order.next_ready()).map(|(t, _)| t).collect();
                assert_eq!(ready, [count - 7, count - 6, count - 4]);
            },
        );
    }
}
