//! Which unfinished events of a keyed queue carry which key, as one worker sees them.
//!
//! **The rule**: an event with a key is handed out only when every earlier event with that key is done. Done is for ever,
//! so two events with one key are never in hand at once, and a redelivered one comes before later ones.
//!
//! Each worker finds out by itself, and writes nothing for it. Tickets are taken in the order of the head; so a worker
//! that looks at ticket `t` finds all earlier ones published, or settled without an event. It reads each unfinished
//! ticket's key once, from the slot, into a list of its own, sorted by key and ticket, and from then on asks the done
//! words only:
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
//! What it leaves out: events that were marked done although nobody had them in hand (an operator's purge) are done.

use crate::layout;
use crate::memory::{Edge, Memory};
use crate::ring::frame;
use crate::ring::redo::{self, Redo};
use crate::ring::word::{self, Slots, done, seq};

/// No fresh event is taken while so many wait for earlier ones with their keys: a bound on what each look costs. Events
/// behind them, with other keys, wait as long.
pub const ASIDE_MAX: usize = 256;

/// The list is cleaned when it has grown to twice what was left, and this.
const SLACK: usize = 64;

/// More tickets at once are put into the list by sorting it.
const FEW: u64 = 64;

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

/// A worker's private list; see the [module](self).
#[derive(Debug, Default)]
pub struct KeyOrder {
    /// Everything before this ticket was looked at.
    until: u64,
    open: Vec<Open>,
    /// Tickets that may run now and said REDO when they were last looked for, with that word; the oldest last. Who may run
    /// may always: only somebody else may have taken it.
    ready: Vec<(u64, u64)>,
    /// How long the list may grow before it is cleaned.
    clean_at: usize,
    /// Events that waited for earlier ones when they were last counted.
    aside: usize,
    /// Whether to look for runnable events even if nobody has said that there are any.
    look: bool,
}

impl KeyOrder {
    /// A worker that has seen nothing yet.
    pub fn new() -> KeyOrder {
        KeyOrder { clean_at: SLACK, look: true, ..KeyOrder::default() }
    }

    /// Whether so many events wait for others that no fresh one may be taken.
    pub fn is_full(&self) -> bool {
        self.aside >= ASIDE_MAX
    }

    /// The next take looks for runnable events whatever was announced.
    pub fn look_again(&mut self) {
        self.look = true;
    }

    pub(super) fn is_to_look(&self) -> bool {
        self.look
    }

    /// One more event waits.
    pub(super) fn put_aside(&mut self) {
        self.aside += 1;
    }

    /// One less waits.
    pub(super) fn picked_up(&mut self) {
        self.aside = self.aside.saturating_sub(1);
    }

    /// Looks at all tickets before `to`, which is at most the head.
    fn extend<M: Memory>(&mut self, view: &View<'_, M>, to: u64) {
        // What lies a whole ring back is done: its slot has been won again, or will not be looked at.
        let from = self.until.max(to.saturating_sub(view.slots.count));
        let are_many = to.saturating_sub(from) > FEW;
        for ticket in from..to {
            let word = view.done_word(ticket);
            if view.is_done(ticket, word) {
                continue;
            }
            // PUBLISH: as in taking. Without an event the ticket holds nobody up.
            let seen = view.data.load(view.slots.offset(ticket) + layout::SLOT_SEQ, Edge::Publish);
            if seen == view.slots.state(ticket, seq::PUBLISHED) {
                let open = Open { key: view.key(ticket), ticket };
                let at = if are_many { None } else { Some(self.open.partition_point(|other| *other < open)) };
                self.open.insert(at.unwrap_or(self.open.len()), open);
            }
        }
        if are_many {
            self.open.sort();
        }
        self.until = self.until.max(to);
        if self.open.len() >= self.clean_at {
            self.open.retain(|open| !view.is_done(open.ticket, view.done_word(open.ticket)));
            self.clean_at = 2 * self.open.len() + SLACK;
        }
    }

    /// Whether ticket `t`, which is won and not done, may be handed out now. Once true, always true.
    pub fn may_run<M: Memory>(&mut self, view: &View<'_, M>, t: u64) -> bool {
        let Some(key) = view.key(t) else { return true };
        self.extend(view, t);
        let first = self.open.partition_point(|open| open.key < Some(key));
        let mut end = first;
        let mut may = true;
        while let Some(open) = self.open.get(end).filter(|open| open.key == Some(key) && open.ticket < t) {
            if !view.is_done(open.ticket, view.done_word(open.ticket)) {
                may = false;
                break;
            }
            end += 1;
        }
        self.open.drain(first..end);
        may
    }

    /// Looks for events before `head` that were handed back, or put aside, and may run. Returns when the first of those may
    /// run that have still to wait, `u64::MAX` for never.
    pub(super) fn look<M: Memory>(&mut self, view: &View<'_, M>, head: u64, now_ns: impl Fn() -> u64) -> u64 {
        self.extend(view, head);
        let redo = Redo { acks: view.acks, done: view.done, slots: view.slots };
        let (mut now, mut first_due_ns) = (None, u64::MAX);
        let (ready, mut last_key, mut aside) = (&mut self.ready, None, 0);
        ready.clear();
        self.open.retain(|open| {
            let word = view.done_word(open.ticket);
            if view.is_done(open.ticket, word) {
                return false;
            }
            let is_first = open.key.is_none() || open.key != last_key;
            last_key = open.key;
            if view.slots.is_of(word, open.ticket) && word::kind(word) == done::REDO {
                if is_first {
                    let due_ns = redo.due(open.ticket);
                    if due_ns <= redo::AT_ONCE || redo::is_ripe(due_ns, *now.get_or_insert_with(&now_ns)) {
                        ready.push((open.ticket, word));
                    } else {
                        first_due_ns = first_due_ns.min(due_ns);
                    }
                } else {
                    aside += 1;
                }
            }
            true
        });
        ready.sort_unstable_by_key(|&(ticket, _)| std::cmp::Reverse(ticket));
        (self.aside, self.look) = (aside, false);
        self.clean_at = 2 * self.open.len() + SLACK;
        first_due_ns
    }

    /// The oldest event that may run, as far as [`Self::look`] has seen; with the done word to take it from.
    pub(super) fn next_ready(&mut self) -> Option<(u64, u64)> {
        self.ready.pop()
    }

    /// Whether the next event with `key` behind ticket `t`, which is done, was put aside: it waited for `t`, and is ready.
    pub(super) fn next_waits<M: Memory>(&mut self, view: &View<'_, M>, head: u64, key: u64, t: u64) -> bool {
        self.extend(view, head);
        let behind = Open { key: Some(key), ticket: t.saturating_add(1) };
        let first = self.open.partition_point(|open| *open < behind);
        for open in self.open[first..].iter().take_while(|open| open.key == Some(key)) {
            let word = view.done_word(open.ticket);
            if view.is_done(open.ticket, word) {
                continue;
            }
            let waits = word::kind(word) == done::REDO && view.slots.is_of(word, open.ticket);
            if waits {
                self.aside = self.aside.saturating_sub(1);
                let at = self.ready.partition_point(|&(ticket, _)| ticket > open.ticket);
                self.ready.insert(at, (open.ticket, word));
            }
            return waits;
        }
        false
    }
}
