//! Reading a slot ring by cursor: a topic's subscriber, and a queue's tap. Every reader sees every
//! event, in the order of the tickets.
//!
//! **Promise.** A reliable reader loses no event that is published after its join. A lossy reader
//! returns whole events only, and reports which tickets it lost.
//!
//! **How it works.** The cursor of a *reliable* reader gates the producers, and the reader reads in
//! place. Its entry names the slots that it may read in place, an eighth of the ring at a time, for
//! the case that it is evicted ([`crate::members::lent`]).
//!
//! A *lossy* reader copies the slot and reads the sequence word again. Producers of a topic mark a
//! slot BUSY before they overwrite it, so an unchanged word proves that the copy is whole. A
//! queue's producers do not. A lossy tap reads the tail instead, which moves before a slot of the
//! next lap is written ([`SlotReader::of_queue`]).
//!
//! **Why joining is sound.** A reliable reader stores the tail as its cursor, executes a memory
//! fence, reads the tail again and starts there. A producer whose scan missed the cursor had read
//! no later tail, and allows itself at most one ring beyond it (JOIN).
//!
//! Earlier tickets may still be in their slots. A reader that wants them reads them as a lossy
//! reader would, until it reaches the tickets that are protected. All events that it loses on the
//! way lie before the tail at which it joined. That also holds when it leaves or dies and its
//! durable name resumes.
//!
//! **Left out.** It never waits; its caller does.

use crate::members::gates::NO_GATE;
use crate::members::join::{JoinError, StartAt};
use crate::members::lent::{self, LentSpan};
use crate::members::peers::Peers;
use crate::memory::{Edge, Memory};
use crate::slots::orphan::is_orphan;
use crate::slots::view::SlotView;
use crate::slots::word::seq;
use crate::{frame, layout};

/// The result of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotPoll {
    /// An event: its ticket and header word.
    Event(u64, u64),
    /// No event is there yet.
    Empty,
    /// The reader was overrun. These tickets are lost, and it has resumed behind them.
    Lost {
        /// The first lost ticket.
        from: u64,
        /// The ticket where it resumed.
        to: u64,
    },
    /// The ring holds a word that no producer writes.
    Corrupt,
}

/// A reader's private state.
#[derive(Debug)]
pub struct SlotReader<M> {
    view: SlotView<M>,
    /// The offset of its own registry entry.
    entry: usize,
    position: u64,
    published: u64,
    /// Tickets below this are not protected by the cursor, and are copied.
    protected_from: u64,
    /// Protected tickets below this may be read without publishing the cursor.
    fast_until: u64,
    /// The span that the entry names.
    lent: LentSpan,
    /// Whether the tail proves that a copy is whole.
    by_tail: bool,
}

impl<M: Memory> SlotReader<M> {
    /// Makes a reader for registry entry `index`. It has not joined yet: the caller calls
    /// [`Self::join`] or [`Self::resume`] next.
    pub fn new(view: SlotView<M>, index: usize) -> Self {
        SlotReader {
            view,
            entry: layout::entry(index),
            position: 0,
            published: NO_GATE,
            protected_from: u64::MAX,
            fast_until: 0,
            lent: LentSpan { from: 0, to: 0 },
            by_tail: false,
        }
    }

    /// Returns the same reader for a queue, whose producers do not mark the slots that they
    /// overwrite.
    pub fn of_queue(self) -> Self {
        SlotReader { by_tail: true, ..self }
    }

    /// The next ticket to be read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Joins at `from`. The cursor gates the producers unless `lossy` is set.
    pub fn join(&mut self, from: StartAt, lossy: bool) -> Result<(), JoinError> {
        let mut tail = self.view.ring.load(layout::TAIL, Edge::Tail);
        if !lossy {
            self.store_cursor(tail);
            // JOIN: pairs with the producers' rescan.
            self.view.acks.fence(Edge::Join);
            tail = self.view.ring.load(layout::TAIL, Edge::Tail);
            self.protected_from = tail;
        }
        let oldest = tail.saturating_sub(self.view.slots.count);
        self.position = match from {
            StartAt::Live => tail,
            StartAt::Last(events) => self.before(tail, oldest, events),
            StartAt::Oldest => oldest,
            StartAt::Position(wanted) if wanted < oldest => return Err(JoinError::TooOld(oldest)),
            StartAt::Position(wanted) if wanted > tail => return Err(JoinError::Beyond(tail)),
            StartAt::Position(wanted) => wanted,
        };
        if !lossy {
            self.store_cursor(self.position);
        }
        // STATE: the cursor is stored before, and protects everything at or above it.
        self.view.acks.store(self.entry + layout::JOINED, 1, Edge::State);
        Ok(())
    }

    /// The ticket of the last event but `events` before `tail`, as far as the slots are not
    /// overwritten. Tickets without an event do not count: they are aborted, or not published yet.
    fn before(&self, tail: u64, oldest: u64, events: u64) -> u64 {
        let (mut t, mut left) = (tail, events);
        while left > 0 && t > oldest {
            // PUBLISH: as in `poll_lossy`, which copies the event and checks it again.
            let word = self.view.data.load(self.view.slots.offset(t - 1) + layout::SLOT_SEQ, Edge::Publish);
            if self.view.slots.is_newer(word, t - 1) {
                break;
            }
            t -= 1;
            left -= u64::from(word == self.view.slots.state(t, seq::PUBLISHED));
        }
        t
    }

    /// Resumes at a cursor that has gated the producers all the time: the cursor of a reader that
    /// had joined live.
    pub fn resume(&mut self, cursor: u64) {
        (self.position, self.published, self.protected_from) = (cursor, cursor, 0);
    }

    /// Resumes at a cursor that may lie before the events that it protects. Its reader had joined
    /// at an older event and died before it reached the tail of its join. The events that are still
    /// in the ring are copied, as that reader would have done.
    pub fn resume_before_tail(&mut self, cursor: u64) {
        self.resume(cursor);
        // TAIL: this tail is not before the tail that the join had read.
        self.protected_from = self.view.ring.load(layout::TAIL, Edge::Tail);
    }

    /// Whether the cursor protects the next event, so that [`Self::poll`] may read it in place.
    /// Otherwise [`Self::poll_lossy`] must copy it.
    #[inline(always)]
    pub fn is_protected(&self) -> bool {
        self.position >= self.protected_from
    }

    /// Returns the ticket and header of the next event, in place, if it is published and has no
    /// flags and the cursor need not be published.
    #[inline(always)]
    pub fn poll_fast(&mut self) -> Option<(u64, u64)> {
        let t = self.position;
        if t >= self.fast_until || !self.is_protected() {
            return None;
        }
        let header = self.plain(t, self.body_max())?;
        self.position = t + 1;
        Some((t, header))
    }

    /// Calls `each` for up to `most` of the next events, as long as [`Self::poll_fast`] would
    /// return them. The last argument is the byte offset of the body. Returns how many events there
    /// were.
    #[inline(always)]
    pub fn poll_all_fast(&mut self, most: usize, mut each: impl FnMut(u64, u64, usize)) -> usize {
        if !self.is_protected() {
            return 0;
        }
        let (first, body_max) = (self.position, self.body_max());
        let end = self.fast_until.min(first.saturating_add(most as u64));
        let mut t = first;
        while t < end {
            let Some(header) = self.plain(t, body_max) else { break };
            each(t, header, self.body_offset(t));
            t += 1;
        }
        self.position = t;
        (t - first) as usize
    }

    /// Returns the header of ticket `t` if it is published, without flags, and has at most
    /// `body_max` bytes.
    #[inline(always)]
    fn plain(&self, t: u64, body_max: u64) -> Option<u64> {
        // PUBLISH: as in `poll_held`.
        let word = self.view.data.load(self.view.slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
        if word != self.view.slots.state(t, seq::PUBLISHED) {
            return None;
        }
        let header = self.view.data.load(self.view.slots.offset(t) + layout::SLOT_META, Edge::Plain);
        (frame::is_plain(header) && frame::body_bytes(header) as u64 <= body_max).then_some(header)
    }

    /// Returns the next event, in place, and releases those before it: the cursor may pass them. If
    /// the cursor moves, `released` is called, because producers may wait for that room.
    #[inline(always)]
    pub fn poll(&mut self, released: impl FnOnce()) -> SlotPoll {
        if self.position.wrapping_sub(self.published) >= self.view.slots.count / 8 && self.acknowledge() {
            released();
        }
        self.poll_next(false)
    }

    /// Returns the next event, in place, while no other event is lent. The fast path then covers an
    /// eighth of the ring, counted from the cursor, or from the position if `unreleased`.
    #[inline(always)]
    fn poll_next(&mut self, unreleased: bool) -> SlotPoll {
        let before = self.position;
        let polled = self.poll_in_place();
        if self.position > self.lent.to && matches!(polled, SlotPoll::Event(..)) {
            self.lend(before);
        }
        self.renew_fast_until(if unreleased { self.position } else { self.published });
        polled
    }

    /// Returns the next event, in place, and does not release those before it: they stay lent.
    #[inline(always)]
    pub fn poll_held(&mut self) -> SlotPoll {
        let before = self.position;
        let polled = self.poll_in_place();
        if self.position > self.lent.to && matches!(polled, SlotPoll::Event(..)) {
            self.lend(if self.lent.to == 0 { before } else { self.lent.from });
        }
        polled
    }

    /// Names the span that a batch may lend. The caller calls this while nothing is lent, before it
    /// polls several events and holds them.
    pub fn begin_batch(&mut self) {
        if self.position >= self.fast_until && self.is_protected() {
            self.lend(self.position);
            self.renew_fast_until(self.published);
        }
    }

    /// Names a lent span that begins at `from` and ends an eighth of the ring after the position.
    fn lend(&mut self, from: u64) {
        self.lent = LentSpan { from, to: self.position.saturating_add((self.view.slots.count / 8).max(1)) };
        lent::lend(&self.view.acks, self.entry, self.lent);
    }

    /// Ends the lending. A reader that finds itself evicted calls this.
    pub fn take_back_lent(&mut self) {
        self.lent = LentSpan { from: 0, to: 0 };
        self.fast_until = 0;
        lent::take_back(&self.view.acks, self.entry);
    }

    #[inline(always)]
    fn renew_fast_until(&mut self, cursor: u64) {
        self.fast_until = cursor.saturating_add(self.view.slots.count / 8).min(self.lent.to);
    }

    #[inline(always)]
    fn poll_in_place(&mut self) -> SlotPoll {
        // A ring holds no more than this many aborted tickets in a row.
        for _ in 0..=self.view.slots.count {
            let t = self.position;
            // PUBLISH: pairs with the producer's store. The slot's bytes are visible.
            let word = self.view.data.load(self.view.slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
            if word == self.view.slots.state(t, seq::PUBLISHED) {
                self.position = t.wrapping_add(1);
                let header = self.view.data.load(self.view.slots.offset(t) + layout::SLOT_META, Edge::Plain);
                return SlotPoll::Event(t, header);
            }
            if word != self.view.slots.state(t, seq::ABORTED) {
                // The slot at the cursor is of a newer lap: this reader was evicted, or the ring is
                // corrupt.
                return if self.view.slots.is_newer(word, t) { SlotPoll::Corrupt } else { SlotPoll::Empty };
            }
            self.position = t.wrapping_add(1);
        }
        SlotPoll::Corrupt
    }

    /// Returns the next event, copied into `copy` in whole words, for readers whose cursor does not
    /// protect it.
    pub fn poll_lossy(&mut self, copy: &mut Vec<u64>) -> SlotPoll {
        for _ in 0..=self.view.slots.count {
            let t = self.position;
            let at = self.view.slots.offset(t);
            // PUBLISH: as in `poll_held`.
            let word = self.view.data.load(at + layout::SLOT_SEQ, Edge::Publish);
            if self.view.slots.is_newer(word, t) {
                return self.skip(t);
            }
            if word == self.view.slots.state(t, seq::ABORTED) {
                self.position = t.wrapping_add(1);
                continue;
            }
            if word != self.view.slots.state(t, seq::PUBLISHED) {
                return SlotPoll::Empty;
            }
            let header = self.view.data.load(at + layout::SLOT_META, Edge::Plain);
            let most = self.view.slots.slot_bytes() - layout::SLOT_BODY as u64;
            let words = (frame::body_bytes(header) as u64).min(most).div_ceil(8) as usize;
            copy.clear();
            copy.extend((0..words).map(|i| self.view.data.load(at + layout::SLOT_BODY + i * 8, Edge::Plain)));
            // VALIDATE: pairs with OVERWRITE. If any word above came from a newer event, the load
            // below finds its BUSY.
            self.view.data.fence(Edge::Validate);
            // PUBLISH: a newer word brings the tail that `skip` reads.
            if self.view.data.load(at + layout::SLOT_SEQ, Edge::Publish) != word || self.is_lapped(t) {
                return self.skip(t);
            }
            if !frame::is_event(header, most) {
                return SlotPoll::Corrupt;
            }
            self.position = t.wrapping_add(1);
            return SlotPoll::Event(t, header);
        }
        SlotPoll::Corrupt
    }

    /// Whether the slot of ticket `t`, which was read before a fence, may belong to a queue's next
    /// lap.
    fn is_lapped(&self, t: u64) -> bool {
        // VALIDATE: the next lap's ticket was won before any word of it was written (OVERWRITE).
        self.by_tail
            && self.view.ring.load(layout::TAIL, Edge::Tail) > t.saturating_add(self.view.slots.count)
    }

    /// Resumes behind the lost events. A lossy reader resumes in the middle of the ring: elsewhere
    /// it would be overrun again at once. A reliable one resumes at the oldest ticket that no
    /// producer has overwritten.
    ///
    /// That ticket is never beyond the tail of its join, from which on every event is promised. A
    /// producer that still relies on a scan from before the join stops a ring behind that tail.
    fn skip(&mut self, lost: u64) -> SlotPoll {
        let tail = self.view.ring.load(layout::TAIL, Edge::Tail);
        let is_lossy = self.protected_from == u64::MAX;
        let kept = if is_lossy { self.view.slots.count / 2 } else { self.view.slots.count };
        let to = tail.saturating_sub(kept).min(self.protected_from);
        if to <= lost {
            // The slot is of a newer lap, so the tail is at least one lap ahead.
            return SlotPoll::Corrupt;
        }
        self.position = to;
        SlotPoll::Lost { from: lost, to }
    }

    /// Publishes the cursor: everything polled so far may be overwritten. Returns whether the
    /// cursor moved. If it did, the caller wakes the producers that wait for room.
    #[must_use]
    #[inline(always)]
    pub fn acknowledge(&mut self) -> bool {
        let behind = self.is_behind();
        if behind {
            self.store_cursor(self.position);
        }
        behind
    }

    /// Publishes `position`, which is not beyond the polled events, as the cursor. A position
    /// before the cursor changes nothing. Returns whether the cursor moved.
    pub fn acknowledge_to(&mut self, position: u64) -> Result<bool, JoinError> {
        if position > self.position {
            return Err(JoinError::Beyond(self.position));
        }
        let moves = position > self.published;
        if moves {
            self.store_cursor(position);
        }
        Ok(moves)
    }

    /// The value of the cursor word: everything before it is acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.published
    }

    /// Does the same as [`Self::poll`], but releases no event: the cursor stays.
    pub fn poll_unreleased(&mut self) -> SlotPoll {
        self.poll_next(true)
    }

    /// Does the same as [`Self::poll_held`], with the cursor as in [`Self::poll_unreleased`].
    pub fn poll_held_unreleased(&mut self) -> SlotPoll {
        let polled = self.poll_held();
        self.renew_fast_until(self.position);
        polled
    }

    /// Whether the cursor word lags behind the polled position.
    #[inline(always)]
    pub fn is_behind(&self) -> bool {
        self.published != self.position
    }

    #[inline(always)]
    fn store_cursor(&mut self, position: u64) {
        self.published = position;
        self.renew_fast_until(position);
        // CURSOR: pairs with the load in `Gates::lowest`. All reads of the slots before this
        // position are done.
        self.view.acks.store(self.entry + layout::CURSOR, position, Edge::Cursor);
    }

    /// The byte offset in the data of a ticket's body.
    #[inline(always)]
    pub fn body_offset(&self, ticket: u64) -> usize {
        self.view.slots.offset(ticket) + layout::SLOT_BODY
    }

    /// The largest body, in bytes.
    pub fn body_max(&self) -> u64 {
        self.view.slots.slot_bytes() - layout::SLOT_BODY as u64
    }

    /// Whether the next ticket has been won by a producer but not published. It reads the tail,
    /// whose line the producers write, so it is not for the fast path.
    pub fn is_stuck(&self) -> bool {
        let word =
            self.view.data.load(self.view.slots.offset(self.position) + layout::SLOT_SEQ, Edge::Publish);
        let t = self.position;
        let unpublished = !self.view.slots.is_finished(word, t) && !self.view.slots.is_newer(word, t);
        unpublished && self.view.ring.load(layout::TAIL, Edge::Tail) > t
    }

    /// Steps over the next ticket if its producer is dead. Returns whether it did.
    pub fn skip_orphan<P: Peers>(&mut self, peers: &P) -> bool {
        let orphan = is_orphan(&self.view, self.position, peers);
        if orphan {
            self.position = self.position.wrapping_add(1);
        }
        orphan
    }
}
