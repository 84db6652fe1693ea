//! Spans on their way from the thread that reads to the thread that sends: a bounded queue that
//! gives them out in batches. The reader never waits; a span that finds no room is dropped and
//! counted.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;

/// The queue. See the [module](self).
#[derive(Debug)]
pub(super) struct SpanQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    spans_max: usize,
    batch_max: usize,
    interval: Duration,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Span>,
    /// When the oldest of them is to be sent, however few they are.
    due: Option<Instant>,
    dropped: u64,
    closed: bool,
    broken: bool,
}

impl SpanQueue {
    /// At most `spans_max` wait. They go in batches of at most `batch_max`: when there are so many,
    /// or after `interval`.
    pub(super) fn new(spans_max: usize, batch_max: usize, interval: Duration) -> SpanQueue {
        SpanQueue { state: Mutex::default(), changed: Condvar::new(), spans_max, batch_max, interval }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a span, or drops it. Never blocks for longer than a batch takes to be moved.
    pub(super) fn push(&self, span: Span) {
        let mut state = self.state();
        if state.waiting.len() >= self.spans_max {
            state.dropped += 1;
            return;
        }
        state.waiting.push_back(span);
        let first = state.waiting.len() == 1;
        if first {
            state.due = Some(Instant::now() + self.interval);
        }
        let full = state.waiting.len() == self.batch_max;
        drop(state);
        if first || full {
            self.changed.notify_one();
        }
    }

    /// Whether the next span would be dropped.
    pub(super) fn is_full(&self) -> bool {
        self.state().waiting.len() >= self.spans_max
    }

    /// The next batch, waiting for it; `None` when the queue is closed and empty.
    pub(super) fn next_batch(&self) -> Option<Vec<Span>> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let is_due = state.due.is_some_and(|due| due <= now);
            if state.waiting.len() >= self.batch_max || state.closed || is_due {
                break;
            }
            let patience = state.due.map_or(Duration::from_secs(1), |due| due - now);
            state = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = state.waiting.len().min(self.batch_max);
        let batch: Vec<Span> = state.waiting.drain(..count).collect();
        // The remaining spans came later, but have waited, too.
        state.due = if state.waiting.is_empty() { None } else { Some(Instant::now() + self.interval) };
        (!batch.is_empty()).then_some(batch)
    }

    /// Closes the queue: no more spans will come.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Whether no more spans will come.
    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Breaks the queue: nobody takes spans any more.
    pub(super) fn break_off(&self) {
        self.state().broken = true;
    }

    /// Whether nobody takes spans any more.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Throws the waiting spans away, and counts them as dropped.
    pub(super) fn discard(&self) {
        let mut state = self.state();
        state.dropped += state.waiting.len() as u64;
        state.waiting.clear();
    }

    /// How many spans were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.state().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(n: u64) -> Span {
        Span { start_time_unix_nano: n, ..Span::default() }
    }

    #[test]
    fn batches_in_order_and_drops_counted() {
        let queue = SpanQueue::new(10, 4, Duration::from_secs(3600));
        (0..13).for_each(|n| queue.push(span(n)));
        assert!(queue.is_full() && queue.dropped() == 3);
        let numbers = |batch: Option<Vec<Span>>| {
            batch.map(|batch| batch.iter().map(|span| span.start_time_unix_nano).collect::<Vec<_>>())
        };
        assert_eq!(numbers(queue.next_batch()), Some(vec![0, 1, 2, 3]));
        assert_eq!(numbers(queue.next_batch()), Some(vec![4, 5, 6, 7]));
        queue.close();
        assert_eq!(numbers(queue.next_batch()), Some(vec![8, 9]));
        assert_eq!(queue.next_batch(), None);
    }

    #[test]
    fn a_few_are_given_out_after_the_interval_and_a_waiter_is_woken() {
        let queue = SpanQueue::new(10, 4, Duration::from_millis(5));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| queue.next_batch().map(|batch| batch.len()));
            queue.push(span(1));
            assert_eq!(waiter.join().unwrap(), Some(1));
            let waiter = scope.spawn(|| queue.next_batch());
            queue.close();
            assert_eq!(waiter.join().unwrap(), None);
        });
    }

    #[test]
    fn what_is_discarded_is_dropped() {
        let queue = SpanQueue::new(10, 4, Duration::from_secs(1));
        (0..7).for_each(|n| queue.push(span(n)));
        queue.discard();
        queue.close();
        assert_eq!((queue.next_batch(), queue.dropped()), (None, 7));
    }
}
