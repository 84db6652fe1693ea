//! Which unfinished events of a keyed queue carry which key, as one worker sees them.
//!
//! **Promise.** An event with a key is handed out only when every earlier event with that key is
//! done. A done event stays done. So two events with one key are never held at once, and a
//! redelivered one comes before later ones.
//!
//! **How it works.** Each worker finds out by itself, and writes nothing for it. Tickets are taken
//! in the order of the head. So a worker that looks at ticket `t` finds all earlier ones published,
//! or settled without an event. It reads each unfinished ticket's key once, from the slot, into a
//! set of its own, sorted by key and ticket. From then on it reads the done words only:
//!
//! ```text
//! open    (key 7, ticket 12) (key 7, ticket 31) (key 9, ticket 15) ...      done ones are dropped when found
//! may_run(31)?   is done[12] DONE                 ready   the first unfinished of each key that says REDO
//! ```
//!
//! **Why it is sound to read a slot that others may overwrite.** A slot is overwritten only when
//! its event is done. If the event is not done, the key is right. If it is done, the key may have
//! any value, and makes no difference. No event waits for an event whose done word says that it is
//! done. A worker that has not seen that word yet reads it again.
//!
//! **Cost.** Any number of events may wait for one key: the ring is the only bound. It takes one
//! search in the set to find whether a ticket may run. It takes one search per key to find the
//! events that may run now, however many wait behind the first event of a key. The set holds about
//! 35 bytes for each event that was taken and is not done.
//!
//! **Left out.** An event that was marked done although no worker held it (by an operator's purge)
//! counts as done.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::memory::{Edge, Memory};
use crate::slots::redo;
use crate::slots::view::SlotView;
use crate::slots::word::{self, done, seq};
use crate::{frame, layout};

/// The set is cleaned when it has grown to twice the number that was left, plus this.
const SLACK: usize = 64;

/// More new tickets than this are put into the set together.
const FEW: u64 = 64;

/// This many events that wait for the first of their key are stepped over one by one. More are
/// passed over by a search.
const FEW_WAIT: u32 = 8;

/// The words from which the order is computed.
impl<M: Memory> SlotView<M> {
    fn done_word(&self, t: u64) -> u64 {
        // DONE: a worker that finds the event done sees what its worker did.
        self.done.load(self.slots.done_offset(t), Edge::Done)
    }

    fn is_done(&self, t: u64, word: u64) -> bool {
        self.slots.is_newer(word, t) || word == self.slots.state(t, done::DONE)
    }

    /// Returns the key of ticket `t`, which was published. Returns `None` if it has none, or if its
    /// header is not valid.
    pub fn key(&self, t: u64) -> Option<u64> {
        let at = self.slots.offset(t);
        // Plain: the ticket was seen published. The contents of an overwritten slot make no
        // difference (see above).
        let header = self.data.load(at + layout::SLOT_META, Edge::Plain);
        let flags = frame::flags(header);
        let body_max = self.slots.slot_bytes() - layout::SLOT_BODY as u64;
        let has_key = flags & frame::KEYED != 0 && frame::is_event(header, body_max);
        has_key.then(|| self.data.load(at + layout::SLOT_BODY + frame::key_offset(flags), Edge::Plain))
    }
}

/// An event that was not done when its done word was last read. Events without a key are sorted
/// first, then by key and ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Open {
    key: Option<u64>,
    ticket: u64,
}

/// One worker's private state; see the [module](self).
#[derive(Debug, Default)]
pub struct KeyOrder {
    /// All tickets before this one have been read.
    until: u64,
    open: BTreeSet<Open>,
    /// Tickets that may run now and said REDO at the last look, with that word; the oldest first. A
    /// ticket that may run may always run. At most, another worker has taken it.
    ready: BinaryHeap<Reverse<(u64, u64)>>,
    /// The size of the set at which it is cleaned.
    clean_at: usize,
    /// Events that a look has found done. It is empty between two looks.
    gone: Vec<Open>,
    /// Whether to look for runnable events even if none was announced.
    look: bool,
    /// Whether the last take ended because it had put many events aside.
    passing: bool,
}

impl KeyOrder {
    /// The state of a worker that has seen nothing yet.
    pub fn new() -> KeyOrder {
        KeyOrder { clean_at: SLACK, look: true, ..KeyOrder::default() }
    }

    /// Makes the next take look for runnable events, even if nothing was announced.
    pub fn look_again(&mut self) {
        self.look = true;
    }

    /// Whether the last take ended because it had put many events aside, although there may be one
    /// to take behind them. The next take goes on there.
    pub fn is_passing(&self) -> bool {
        self.passing
    }

    pub(super) fn passing(&mut self, passing: bool) {
        self.passing = passing;
    }

    pub(super) fn is_to_look(&self) -> bool {
        self.look
    }

    /// Reads all tickets before `to`, which is at most the head.
    fn extend<M: Memory>(&mut self, view: &SlotView<M>, to: u64) {
        // A ticket that is a whole ring old is done: its slot has been won again, or will not be
        // read.
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

    /// Returns ticket `ticket`, which is before the head, if it carries an event that is not done.
    fn open<M: Memory>(view: &SlotView<M>, ticket: u64) -> Option<Open> {
        if view.is_done(ticket, view.done_word(ticket)) {
            return None;
        }
        // PUBLISH: as in taking. A ticket without an event delays no other.
        let seen = view.data.load(view.slots.offset(ticket) + layout::SLOT_SEQ, Edge::Publish);
        let is_event = seen == view.slots.state(ticket, seq::PUBLISHED);
        is_event.then(|| Open { key: view.key(ticket), ticket })
    }

    /// Whether ticket `t`, which is won and not done, may be handed out now. Once true, always
    /// true.
    pub fn may_run<M: Memory>(&mut self, view: &SlotView<M>, t: u64) -> bool {
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

    /// Looks for events before `head` that were handed back or put aside, and may run. Returns when
    /// the first may run of those that still have to wait; `u64::MAX` for never.
    pub(super) fn look<M: Memory>(&mut self, view: &SlotView<M>, head: u64, now_ns: impl Fn() -> u64) -> u64 {
        self.extend(view, head);
        let redo = view.redo();
        let (mut now, mut first_due_ns) = (None, u64::MAX);
        let (mut last_key, mut passed) = (None, 0);
        self.ready.clear();
        let mut rest = self.open.range(..);
        while let Some(open) = rest.next() {
            if open.key.is_some() && open.key == last_key {
                // It waits for the first event with its key.
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

    /// Returns the oldest event that may run, according to the last [`Self::look`], and the done
    /// word to take it from.
    pub(super) fn next_ready(&mut self) -> Option<(u64, u64)> {
        self.ready.pop().map(|Reverse(found)| found)
    }

    /// Whether the next event with `key` behind ticket `t`, which is done, was put aside. It waited
    /// for `t`, and is ready now.
    pub(super) fn next_waits<M: Memory>(&mut self, view: &SlotView<M>, head: u64, key: u64, t: u64) -> bool {
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
    use crate::slots::word::Slots;

    /// A queue of `count` slots in which tickets 0 up to `until` were published, ticket t with the
    /// key that `key` returns.
    fn with_queue(count: u64, until: u64, key: impl Fn(u64) -> u64, then: impl FnOnce(&SlotView<Alone>)) {
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
        let ring = Alone::new(layout::CONTROL_BYTES as u64);
        then(&SlotView { ring, acks, data, done, slots, producers: 1, consumers: 1 });
    }

    fn say(view: &SlotView<Alone>, t: u64, kind: u64) {
        view.done.store(view.slots.done_offset(t), view.slots.held(t, kind, 0, 0), Edge::Done);
    }

    #[test]
    fn what_a_look_costs_does_not_grow_with_what_waits_for_a_key() {
        for waiting in [300, 10_000, 100_000u64] {
            // Keys 1 to 5: a worker holds one event of each, and all others wait behind those of
            // key 3.
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
                // The event before them is done: the next may run, and no other.
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
                // All but the last of each key are done, some by an operator, who keeps to no
                // order.
                (0..count - keys.len() as u64).for_each(|t| say(view, t, done::DONE));
                say(view, count - 5, done::DONE);
                order.look(view, count, || 0);
                let ready: Vec<u64> = std::iter::from_fn(|| order.next_ready()).map(|(t, _)| t).collect();
                assert_eq!(ready, [count - 7, count - 6, count - 4]);
            },
        );
    }
}
