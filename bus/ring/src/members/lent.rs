//! The bytes that evicted participants may still read.
//!
//! **Promise.** An event that a participant has borrowed does not change, even if the participant
//! is evicted. No producer waits for that participant.
//!
//! **Why it is needed.** A reader or worker reads events in place, in memory that it lends as
//! `&[u8]`. When it is evicted, its cursor gates nobody any more, and its events go to others. But
//! it lives, and may hold a borrowed event. So the bytes that it may read stay as they are until it
//! notices, leaves or dies. Producers step over those bytes in each lap:
//!
//! ```text
//! slot ring:  the tickets of these slots are won, and marked ABORTED: no byte of the slot's event is written
//! stream:     a padding frame spans them: its header word lies before the first body that may be read
//! ```
//!
//! **How it works.** The participant's entry names the bytes, as a span of positions from
//! `LENT_FROM` to `LENT_TO`:
//!
//! - *A reader* stores a span of about an eighth of the ring whenever it comes to the end of the
//!   last one, not for each event. It stores the span, executes a memory fence, and then checks
//!   whether it was evicted (LENT). It lends events of the span only.
//! - *A worker's* span is stored by its evictor. It covers the tickets that the worker holds
//!   according to its claim and the done words, at a time when its fence is closing and it hands
//!   out nothing more. The span is stored before the first of these events is handed back.
//!
//! **Why it is sound.** A producer that sees an entry evicted fences, and reads the span (LENT). So
//! one of the two sees the other. Either the reader finds itself evicted before it lends anything
//! of a newer span, or the producer finds that span. The evicted participant takes its span back
//! with its next call, and no borrowed event outlives that call.
//!
//! **Left out.** Protection against a process that breaks the protocol: it can change borrowed
//! bytes.

use crate::layout;
use crate::memory::{Edge, Memory};

/// A span of positions: bytes of a stream, or tickets of a slot ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LentSpan {
    /// The first position.
    pub from: u64,
    /// The position behind the last. It is above `from`.
    pub to: u64,
}

/// The part of a later lap that must not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent {
    /// The first position.
    pub from: u64,
    /// The position behind the last.
    pub to: u64,
    /// The entry of the participant that may read there.
    pub entry: usize,
}

/// The span that the evicted participant in entry `index` may read. The caller has seen that it is
/// evicted.
pub fn of_evicted<M: Memory>(acks: &M, index: usize) -> Option<LentSpan> {
    // LENT: pairs with the fence in `lend`. Either the participant finds itself evicted, or its
    // span is seen here.
    acks.fence(Edge::Lent);
    of(acks, index)
}

/// The span that is stored in entry `index`.
fn of<M: Memory>(acks: &M, index: usize) -> Option<LentSpan> {
    // CURSOR: a participant that moved the span on, or took it back, had finished its reads outside
    // the new span before. The fence in `of_evicted` makes sure that the newest span is seen. For a
    // worker, the edges named in `note` do that.
    let word = |field| acks.load(layout::entry(index) + field, Edge::Cursor);
    let (from, to) = (word(layout::LENT_FROM), word(layout::LENT_TO));
    (from < to).then_some(LentSpan { from, to })
}

impl LentSpan {
    /// Returns where the memory of this span lies behind `position` in a later lap than its own, in
    /// a ring of `size`.
    pub fn next_image(self, entry: usize, position: u64, size: u64) -> Lent {
        // No participant writes a longer span. A corrupted one must not overflow.
        let length = (self.to - self.from).min(size);
        let to = self.from.saturating_add(length);
        let laps = position.saturating_sub(to) / size + 1;
        let from = self.from.saturating_add(laps.saturating_mul(size));
        Lent { from, to: from.saturating_add(length), entry }
    }
}

impl Lent {
    /// Whether it has a position in common with the range from `from` to before `to`.
    pub fn meets(&self, from: u64, to: u64) -> bool {
        self.from < to && from < self.to
    }
}

/// Stores the span that a reader may read from now on. The reader checks after this whether it was
/// evicted, and before it lends anything of the span.
#[inline(never)]
pub fn lend<M: Memory>(acks: &M, entry: usize, span: LentSpan) {
    // CURSOR: all reads of bytes that were lent before come before these stores.
    acks.store(entry + layout::LENT_FROM, span.from, Edge::Cursor);
    acks.store(entry + layout::LENT_TO, span.to, Edge::Cursor);
    // LENT: pairs with the fence in `of_evicted`.
    acks.fence(Edge::Lent);
}

/// Clears the span: the participant in the entry at `entry` reads nothing any more.
pub fn take_back<M: Memory>(acks: &M, entry: usize) {
    // CURSOR: as with a cursor that moves: all reads of lent bytes come before it.
    acks.store(entry + layout::LENT_TO, 0, Edge::Cursor);
}

/// Adds `span` to the bytes that the worker in entry `index`, which is being evicted, may read. It
/// is called before any of them is handed back. A producer that finds such a ticket done (DONE)
/// sees this span, too.
pub fn note<M: Memory>(acks: &M, index: usize, span: LentSpan) {
    let entry = layout::entry(index);
    let span = match of(acks, index) {
        Some(before) => LentSpan { from: before.from.min(span.from), to: before.to.max(span.to) },
        None => span,
    };
    // Plain: the closing of the fence and the done words come after these stores (STATE, DONE). An
    // evictor that is killed between the two has closed no fence, so the next one comes here again.
    acks.store(entry + layout::LENT_FROM, span.from, Edge::Plain);
    acks.store(entry + layout::LENT_TO, span.to, Edge::Plain);
    acks.fetch_add(layout::LENT_CHANGES, 1, Edge::State);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_comes_round_in_every_later_lap() {
        let span = LentSpan { from: 10, to: 12 };
        let image = |position| {
            let Lent { from, to, entry: 7 } = span.next_image(7, position, 16) else {
                panic!("another entry")
            };
            (from, to)
        };
        // Its own lap is not over yet where it reaches beyond the published events.
        assert_eq!([0, 9, 11, 12, 27].map(image), [(26, 28); 5]);
        assert_eq!([28, 43].map(image), [(42, 44); 2]);
        assert!(span.next_image(0, 20, 16).meets(27, 30) && !span.next_image(0, 20, 16).meets(28, 30));
    }

    #[test]
    fn no_word_overflows() {
        for (from, to) in [(0, u64::MAX), (u64::MAX - 1, u64::MAX), (5, 6)] {
            for position in [0, 6, u64::MAX] {
                let lent = LentSpan { from, to }.next_image(0, position, 64);
                assert!(lent.to - lent.from <= 64);
            }
        }
    }
}
