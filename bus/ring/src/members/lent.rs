//! The bytes that evicted participants may still look at.
//!
//! A reader, or a worker, reads events in place, in memory that it lends as `&[u8]`. When it is evicted, its
//! cursor gates nobody any more, and its events go to others. But it lives, and may have a borrowed event in
//! hand. So the bytes that it may look at stay as they are until it notices, leaves or dies. Producers do
//! not wait for that. They step over those bytes in each lap:
//!
//! ```text
//! slot ring:  the tickets of these slots are won, and marked ABORTED: the sequence word only, no byte of the slot's event
//! stream:     a padding frame spans them: its header word lies before the first body that may be looked at
//! ```
//!
//! The participant's entry names them, as a span of positions from `LENT_FROM` to `LENT_TO`:
//!
//! - *A reader* stores a span of about an eighth of the ring whenever it comes to the end of the last one,
//!   not for each event. It stores the span, fences, and then looks whether it was evicted (LENT); it lends
//!   events of the span only.
//! - *A worker's* span is stored by its evictor: the tickets that it has in hand, as its claim and the
//!   done words tell, when its fence is closing and it hands out nothing more. It is stored before the first
//!   of them is handed back.
//!
//! A producer that sees an entry evicted fences, and reads the span (LENT). So one of the two sees the
//! other: the reader finds itself evicted before it lends anything of a newer span, or the producer finds
//! that span. The one who was evicted takes its span back with its next call, which nothing borrowed
//! outlives.

use crate::layout;
use crate::memory::{Edge, Memory};

/// A span of positions: bytes of a stream, tickets of a slot ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LentSpan {
    /// The first.
    pub from: u64,
    /// Behind the last, and above `from`.
    pub to: u64,
}

/// The part that is to be left alone in a lap that is yet to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent {
    /// The first position.
    pub from: u64,
    /// Behind the last position.
    pub to: u64,
    /// The entry of the participant that may look there.
    pub entry: usize,
}

/// The span that the evicted participant in entry `index` may look at. The caller has seen that it is
/// evicted.
pub fn of_evicted<M: Memory>(acks: &M, index: usize) -> Option<LentSpan> {
    // LENT: pairs with the fence in `lend`: it finds itself evicted, or its span is seen here.
    acks.fence(Edge::Lent);
    of(acks, index)
}

/// The span that is noted in entry `index`.
fn of<M: Memory>(acks: &M, index: usize) -> Option<LentSpan> {
    // CURSOR: who moved the span on, or took it back, had looked at what it does not name any more before.
    // That the newest is seen, the fence of `of_evicted` sees to, or for a worker the edges named in `note`.
    let word = |field| acks.load(layout::entry(index) + field, Edge::Cursor);
    let (from, to) = (word(layout::LENT_FROM), word(layout::LENT_TO));
    (from < to).then_some(LentSpan { from, to })
}

impl LentSpan {
    /// Where the memory of this span comes round, in a ring of `size`, behind `position`: in a later lap
    /// than its own.
    pub fn next_image(self, entry: usize, position: u64, size: u64) -> Lent {
        // Nobody writes a longer one; what others harm must not overflow.
        let length = (self.to - self.from).min(size);
        let to = self.from.saturating_add(length);
        let laps = position.saturating_sub(to) / size + 1;
        let from = self.from.saturating_add(laps.saturating_mul(size));
        Lent { from, to: from.saturating_add(length), entry }
    }
}

impl Lent {
    /// Whether it has a position in common with those from `from` to before `to`.
    pub fn meets(&self, from: u64, to: u64) -> bool {
        self.from < to && from < self.to
    }
}

/// A reader says what it may look at from now on. Whether it was evicted is looked at after this, and before
/// anything of the span is lent.
#[inline(never)]
pub fn lend<M: Memory>(acks: &M, entry: usize, span: LentSpan) {
    // CURSOR: all reads of what was lent before are before these.
    acks.store(entry + layout::LENT_FROM, span.from, Edge::Cursor);
    acks.store(entry + layout::LENT_TO, span.to, Edge::Cursor);
    // LENT: pairs with the fence in `of_evicted`.
    acks.fence(Edge::Lent);
}

/// The participant in the entry at `entry` looks at nothing any more.
pub fn take_back<M: Memory>(acks: &M, entry: usize) {
    // CURSOR: as a cursor that passes: all reads of what was lent are before it.
    acks.store(entry + layout::LENT_TO, 0, Edge::Cursor);
}

/// Adds `span` to what the worker in entry `index`, which is being evicted, may look at. Before anything of
/// it is handed back: who finds it done (DONE) sees this, too.
pub fn note<M: Memory>(acks: &M, index: usize, span: LentSpan) {
    let entry = layout::entry(index);
    let span = match of(acks, index) {
        Some(before) => LentSpan { from: before.from.min(span.from), to: before.to.max(span.to) },
        None => span,
    };
    // Plain: the closing of the fence, and the done words, come after it (STATE, DONE). An evictor that is
    // killed between the two has closed no fence: the next one comes here again.
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
        // Its own lap is not yet over where it reaches beyond what was published.
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
