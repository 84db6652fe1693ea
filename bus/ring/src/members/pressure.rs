//! Pressure: whether a channel fills up, told to producers before there is no room.
//!
//! ```text
//! depth   high mark ----------------*-------------------
//!                                  / \     /\
//!         low mark  --------------/---\---/--\-*--------
//!         PRESSURE  0  0  0  0  0 | 1  1  1  1 | 2  2     (odd: under pressure)
//! ```
//!
//! The depth is what keeps a producer from going on: from the slowest reliable reader, or from the oldest event of a
//! queue that is not done, to the end of the event that is being published. One word of `.ring` counts the changes;
//! producers change it where they take a slow path anyway, and a producer whose events would reach the high mark takes
//! that path: so the first event at the high mark raises the pressure, whoever publishes it. What falls is found out by
//! who asks, or publishes.
//!
//! **Who changes it** has read the word before it measured the depth, and changes it only from what it read: each
//! change rests on a measurement that began after the change before. It is a hint: no data depend on it, so no order is
//! needed.
//!
//! **No rise is missed.** While the pressure is low, a producer goes on without a look only as far as the high mark above
//! the lowest position that it saw; the true one is not lower. While it is high, by less than the distance of
//! the marks: for the pressure to fall and to rise again, so much has to be published.
//! Only a reader that joins at older events is not seen before the next look, nor, in a queue, what others have published
//! meanwhile when that is very much.

use crate::layout;
use crate::memory::{Edge, Memory};

/// The marks of a channel, in bytes of a stream, events of a slot ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Depths from here on are high.
    pub high: u64,
    /// Depths up to here are low; less than `high`.
    pub low: u64,
}

impl Watermarks {
    /// Of a channel of `capacity`, at most 2^57, by percents: `high` 1 to 100, `low` less.
    pub fn new(capacity: u64, high_percent: u32, low_percent: u32) -> Watermarks {
        debug_assert!(low_percent < high_percent && high_percent <= 100);
        let high = (capacity * u64::from(high_percent)).div_ceil(100);
        Watermarks { high, low: capacity * u64::from(low_percent) / 100 }
    }

    /// Whether a depth means pressure, when it was so before.
    pub fn is_high(self, depth: u64, before: bool) -> bool {
        if before { depth > self.low } else { depth >= self.high }
    }
}

/// Whether a pressure word says that the channel is under pressure.
#[inline(always)]
pub const fn is_high(word: u64) -> bool {
    word & 1 == 1
}

/// The pressure word.
#[inline(always)]
pub fn load<M: Memory>(ring: &M) -> u64 {
    ring.load(layout::PRESSURE, Edge::Plain)
}

/// A producer's view of the pressure. Without marks it never has anything to do.
#[derive(Debug)]
pub struct Pressure {
    marks: Option<Watermarks>,
    /// Events that end at or before this position need no look.
    pub until: u64,
}

impl Pressure {
    /// With these marks; `None` for none.
    pub fn new(marks: Option<Watermarks>) -> Pressure {
        Pressure { marks, until: if marks.is_some() { 0 } else { u64::MAX } }
    }

    /// Whether an event that ends at `end` needs a look.
    #[inline(always)]
    pub fn is_due(&self, end: u64) -> bool {
        end > self.until
    }

    /// Measures the depth with everything before `end` in the ring, changes the word where it must, and returns whether
    /// the channel is under pressure. `measure` gives the position before which nothing is in a producer's way, and then
    /// the end of what is published, at least `end`: read in this order, so that the depth is never less than it was.
    pub fn look<M: Memory>(&mut self, ring: &M, measure: impl FnOnce() -> (u64, u64)) -> bool {
        let Some(marks) = self.marks else { return false };
        let word = load(ring);
        let (lowest, end) = measure();
        let depth = end.saturating_sub(lowest);
        let now = marks.is_high(depth, is_high(word));
        let stands = if now == is_high(word) {
            load(ring) == word
        } else {
            ring.compare_exchange(layout::PRESSURE, word, word.wrapping_add(1), Edge::Plain).is_ok()
        };
        self.until = match (stands, now) {
            // Another was faster: its measurement counts, and the next event looks again.
            (false, _) => 0,
            (true, true) => end.saturating_add(marks.high - marks.low - 1),
            (true, false) => end.saturating_sub(depth).saturating_add(marks.high - 1),
        };
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_within_the_ring_and_apart() {
        for capacity in [64, 1024, 4096, 1 << 40] {
            for high in 1..=100 {
                for low in 0..high {
                    let marks = Watermarks::new(capacity, high, low);
                    assert!(marks.low < marks.high && (1..=capacity).contains(&marks.high), "{marks:?}");
                    assert!(marks.is_high(marks.high, false) && !marks.is_high(marks.high - 1, false));
                    assert!(!marks.is_high(marks.low, true) && marks.is_high(marks.low + 1, true));
                }
            }
        }
    }
}
