//! Pressure: reports to producers that a channel fills up, before there is no room.
//!
//! ```text
//! depth   high mark ----------------*-------------------
//!                                  / \     /\
//!         low mark  --------------/---\---/--\-*--------
//!         PRESSURE  0  0  0  0  0 | 1  1  1  1 | 2  2     (odd: under pressure)
//! ```
//!
//! **Promise.** The first event that reaches the high mark raises the pressure, whichever producer
//! publishes it. The pressure ends at the low mark, when a participant asks or publishes.
//!
//! **How it works.** The depth is the distance that can stop a producer. It goes from the slowest
//! reliable reader, or from the oldest event of a queue that is not done, to the end of the event
//! that is being published. One word of `.ring` counts the changes. Producers change it where they
//! take a slow path anyway, and a producer whose events would reach the high mark takes that path.
//!
//! **Why it is sound.** A producer has read the word before it measures the depth, and changes it
//! only from the value that it read. So each change rests on a measurement that began after the
//! change before. The word is a hint: no data depend on it, so no order is needed.
//!
//! No rise is missed. While the pressure is low, a producer goes on without a measurement only up
//! to the high mark above the lowest position that it saw; the true one is not lower. While the
//! pressure is high, it goes on by less than the distance of the marks. For the pressure to fall
//! and to rise again, that many events have to be published.
//!
//! **Left out.** Two rises are seen only by the next measurement. One is that of a reader that
//! joins at older events. The other is that of a queue in which other producers publish very many
//! events at the same time.

use crate::layout;
use crate::memory::{Edge, Memory};

/// The marks of a channel, in bytes of a stream or events of a slot ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Depths from this one on are high.
    pub high: u64,
    /// Depths up to this one are low. It is less than `high`.
    pub low: u64,
}

impl Watermarks {
    /// Makes the marks of a channel of `capacity`, at most 2^57, in percent: `high` is 1 to 100,
    /// `low` is less.
    pub fn new(capacity: u64, high_percent: u32, low_percent: u32) -> Watermarks {
        debug_assert!(low_percent < high_percent && high_percent <= 100);
        let high = (capacity * u64::from(high_percent)).div_ceil(100);
        Watermarks { high, low: capacity * u64::from(low_percent) / 100 }
    }

    /// Whether a depth means pressure. `before` says whether the channel was under pressure before.
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
    /// Events that end at or before this position need no measurement.
    pub until: u64,
}

impl Pressure {
    /// Makes a view with these marks; `None` for none.
    pub fn new(marks: Option<Watermarks>) -> Pressure {
        Pressure { marks, until: if marks.is_some() { 0 } else { u64::MAX } }
    }

    /// Whether an event that ends at `end` needs a measurement.
    #[inline(always)]
    pub fn is_due(&self, end: u64) -> bool {
        end > self.until
    }

    /// Measures the depth with everything before `end` in the ring, and changes the word if it
    /// must. Returns whether the channel is under pressure.
    ///
    /// `measure` returns the position before which nothing stops a producer, and then the end of
    /// the published events, at least `end`. They are read in this order, so that the depth is
    /// never less than it was.
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
            // Another producer was faster. Its measurement counts, and the next event measures
            // again.
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
