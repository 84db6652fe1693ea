//! A series of histograms in shared memory, with one writer and any number of readers, none of
//! which waits.
//!
//! The interval that is being filled is at place (number mod intervals). When the next one begins,
//! the writer clears the oldest and goes on there. The interval's number is a sequence lock around
//! that:
//!
//! ```text
//! writer   number = 0;  fence OVERWRITE;  counts = 0;  number = n (STATE);   count += 1 ...
//! reader   n = number (STATE);  copy the counts;  fence VALIDATE;  number == n?
//! ```
//!
//! Within an interval counts only grow, each by plain stores of its one writer. So a copy has every
//! event that was recorded before the copy began, perhaps some that were recorded during it, and
//! nothing else. Intervals that were over before the copy began are exact. A copy during which the
//! place was taken for another interval is thrown away.
//!
//! Two counts of 32 bits share a word. They stop at their largest value, which one interval reaches
//! at 143 million events a second.

use railbus_ring::layout::{
    BUCKETS, INTERVAL_BYTES, INTERVAL_COUNTS, INTERVAL_MAX_NS, INTERVAL_NS, INTERVAL_NUMBER, INTERVALS,
    SERIES_CLOCK, SERIES_COUNT, SERIES_INTERVALS, SERIES_OWNER, SERIES_STEPS, SERIES_SUM_NS,
    SERIES_UNMEASURED,
};
use railbus_ring::memory::{Edge, Memory};

use super::buckets;

/// How large a series is: [`Shape::REAL`], or a small one for models of it.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The number of intervals.
    pub intervals: usize,
    /// The number of buckets of each. Larger values count in the last one.
    pub buckets: usize,
}

impl Shape {
    /// The shape in the layout of the shared files.
    pub const REAL: Shape = Shape { intervals: INTERVALS, buckets: BUCKETS };

    const fn interval(self, number: u64) -> usize {
        SERIES_INTERVALS + (number % self.intervals as u64) as usize * INTERVAL_BYTES
    }

    const fn words(self) -> usize {
        self.buckets.div_ceil(2)
    }
}

/// The number of the interval at this moment of CLOCK_MONOTONIC; never 0.
#[inline(always)]
pub fn number(monotonic_ns: u64) -> u64 {
    monotonic_ns / INTERVAL_NS + 1
}

/// The writing end.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
    shape: Shape,
    /// The interval that is being filled, and its offset.
    number: u64,
    at: usize,
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl<M: Memory> Writer<M> {
    /// Takes a series over from its former owner, and empties it. `owner` must not be 0. `clock` is
    /// stored in [`SERIES_CLOCK`].
    pub fn begin(memory: M, shape: Shape, owner: u64, clock: u64) -> Writer<M> {
        memory.store(SERIES_OWNER, 0, Edge::Plain);
        // OVERWRITE: a reader that sees any later store sees that the former owner's series is
        // over.
        memory.fence(Edge::Overwrite);
        for n in 0..shape.intervals as u64 {
            memory.store(shape.interval(n) + INTERVAL_NUMBER, 0, Edge::Plain);
        }
        for field in [SERIES_UNMEASURED, SERIES_STEPS, SERIES_COUNT, SERIES_SUM_NS] {
            memory.store(field, 0, Edge::Plain);
        }
        memory.store(SERIES_CLOCK, clock, Edge::Plain);
        // STATE: a reader that sees the owner sees its series, and nothing of the one before.
        memory.store(SERIES_OWNER, owner, Edge::State);
        Writer { memory, shape, number: 0, at: 0, count: 0, sum_ns: 0, max_ns: 0 }
    }

    /// Records one value in the interval `number`, or in the latest one if that is later.
    #[inline]
    pub fn record(&mut self, number: u64, value_ns: u64) {
        if number > self.number {
            self.turn(number);
        }
        let index = buckets::index(value_ns).min(self.shape.buckets - 1);
        let at = self.at + INTERVAL_COUNTS + index / 2 * 8;
        let shift = index % 2 * 32;
        // Plain, here and below: nothing else writes these words, and readers use each on its own.
        let word = self.memory.load(at, Edge::Plain);
        if (word >> shift) as u32 != u32::MAX {
            self.memory.store(at, word + (1 << shift), Edge::Plain);
        }
        if value_ns > self.max_ns {
            self.max_ns = value_ns;
            self.memory.store(self.at + INTERVAL_MAX_NS, value_ns, Edge::Plain);
        }
        self.count = self.count.wrapping_add(1);
        self.sum_ns = self.sum_ns.wrapping_add(value_ns);
        self.memory.store(SERIES_COUNT, self.count, Edge::Plain);
        self.memory.store(SERIES_SUM_NS, self.sum_ns, Edge::Plain);
    }

    /// Begins an interval. Takes about a microsecond, every 30 s.
    #[cold]
    fn turn(&mut self, number: u64) {
        (self.number, self.at, self.max_ns) = (number, self.shape.interval(number), 0);
        self.memory.store(self.at + INTERVAL_NUMBER, 0, Edge::Plain);
        // OVERWRITE: pairs with the fence in `copy`.
        self.memory.fence(Edge::Overwrite);
        self.memory.store(self.at + INTERVAL_MAX_NS, 0, Edge::Plain);
        for word in 0..self.shape.words() {
            self.memory.store(self.at + INTERVAL_COUNTS + word * 8, 0, Edge::Plain);
        }
        // STATE: a reader that sees the number sees the counts cleared.
        self.memory.store(self.at + INTERVAL_NUMBER, number, Edge::State);
    }

    /// Publishes the numbers of events that could not be measured, and of steps of the clock.
    #[cold]
    pub fn tell_unmeasured(&mut self, events: u64, steps: u64) {
        self.memory.store(SERIES_UNMEASURED, events, Edge::Plain);
        self.memory.store(SERIES_STEPS, steps, Edge::Plain);
    }
}

/// A reader's copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The count of each bucket, over all intervals that were asked for.
    pub counts: Vec<u64>,
    /// The largest value of these intervals.
    pub max_ns: u64,
}

/// Adds up the intervals from `oldest` to `newest`. An interval whose place is taken for another
/// one in the meantime is left out, because it is not among the last any more.
pub fn copy<M: Memory>(memory: &M, shape: Shape, oldest: u64, newest: u64) -> Copied {
    let mut all = Copied { counts: vec![0; shape.buckets], max_ns: 0 };
    let mut words = Vec::with_capacity(shape.words());
    for place in 0..shape.intervals as u64 {
        let at = shape.interval(place);
        // STATE: pairs with the store in `turn`.
        let number = memory.load(at + INTERVAL_NUMBER, Edge::State);
        if number == 0 || number < oldest || number > newest {
            continue;
        }
        words.clear();
        words
            .extend((0..shape.words()).map(|word| memory.load(at + INTERVAL_COUNTS + word * 8, Edge::Plain)));
        let max_ns = memory.load(at + INTERVAL_MAX_NS, Edge::Plain);
        // VALIDATE: pairs with the fence in `turn`: a count of a later interval shows that the
        // number has changed.
        memory.fence(Edge::Validate);
        if memory.load(at + INTERVAL_NUMBER, Edge::Plain) != number {
            continue;
        }
        for (i, count) in all.counts.iter_mut().enumerate() {
            *count += words[i / 2] >> (i % 2 * 32) & u64::from(u32::MAX);
        }
        all.max_ns = all.max_ns.max(max_ns);
    }
    all
}

/// A copy of a series, with its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// [`SERIES_OWNER`].
    pub owner: u64,
    /// The intervals that were asked for.
    pub copied: Copied,
    /// [`SERIES_COUNT`].
    pub count: u64,
    /// [`SERIES_SUM_NS`].
    pub sum_ns: u64,
}

/// Like [`copy`], for one owner. `None` when there is none, or when the series was taken over in
/// the meantime.
pub fn observe<M: Memory>(memory: &M, shape: Shape, oldest: u64, newest: u64) -> Option<Observed> {
    // STATE: pairs with the store in `Writer::begin`.
    let owner = memory.load(SERIES_OWNER, Edge::State);
    if owner == 0 {
        return None;
    }
    let copied = copy(memory, shape, oldest, newest);
    let count = memory.load(SERIES_COUNT, Edge::Plain);
    let sum_ns = memory.load(SERIES_SUM_NS, Edge::Plain);
    // VALIDATE: pairs with the fence in `Writer::begin`: a word of a later owner shows that the
    // owner has changed.
    memory.fence(Edge::Validate);
    (memory.load(SERIES_OWNER, Edge::Plain) == owner).then_some(Observed { owner, copied, count, sum_ns })
}
