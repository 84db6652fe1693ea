//! Models of a series of latency histograms: an observer never counts an event in an interval, or
//! for an owner, to which it does not belong. There is one interval of two buckets: the next
//! interval takes its place.

use std::rc::Rc;

use loom::thread;
use railbus::internal::series::{Shape, Writer, copy, observe};
use railbus_ring::layout::{
    INTERVAL_COUNTS, INTERVAL_MAX_NS, INTERVAL_NUMBER, SERIES_CLOCK, SERIES_COUNT, SERIES_INTERVALS,
    SERIES_OWNER, SERIES_STEPS, SERIES_SUM_NS, SERIES_UNMEASURED,
};

use crate::loom_memory::{Actor, LoomMemory, Weak, Words};

const SHAPE: Shape = Shape { intervals: 1, buckets: 2 };

fn series(weak: Weak, owner: u64) -> Rc<Words> {
    let words = Words::new(weak).shared(SERIES_OWNER, owner).shared(SERIES_COUNT, 0).silent(SERIES_SUM_NS);
    let words = words.silent(SERIES_CLOCK).silent(SERIES_UNMEASURED).silent(SERIES_STEPS);
    words
        .shared(SERIES_INTERVALS + INTERVAL_NUMBER, 0)
        .shared(SERIES_INTERVALS + INTERVAL_MAX_NS, 0)
        .shared(SERIES_INTERVALS + INTERVAL_COUNTS, 0)
        .share()
}

/// A 0 is recorded in interval 1, then a 1 in interval 2.
pub fn turn(weak: Weak) {
    let words = series(weak, 0);
    let mut writer = Writer::begin(LoomMemory::writable(&words, &Actor::immortal()), SHAPE, 7, 1);
    let observed = words.clone();
    let observer = thread::spawn(move || {
        let memory = LoomMemory::read_only(&observed, &Actor::immortal());
        let first = copy(&memory, SHAPE, 1, 1);
        assert!(first.counts[0] <= 1 && first.counts[1] == 0 && first.max_ns == 0, "{first:?}");
        let second = copy(&memory, SHAPE, 2, 2);
        assert!(second.counts[0] == 0 && second.counts[1] <= 1, "{second:?}");
    });
    writer.record(1, 0);
    writer.record(2, 1);
    observer.join().unwrap();
    let last = copy(&LoomMemory::read_only(&words, &Actor::immortal()), SHAPE, 1, 2);
    assert_eq!((last.counts, last.max_ns), (vec![0, 1], 1));
}

/// The series of one owner, with a 0, is taken over by another, who records a 1.
pub fn take_over(weak: Weak) {
    let words = series(weak, 0);
    let own = || LoomMemory::writable(&words, &Actor::immortal());
    Writer::begin(own(), SHAPE, 1, 1).record(1, 0);
    let observed = words.clone();
    let observer = thread::spawn(move || {
        let memory = LoomMemory::read_only(&observed, &Actor::immortal());
        if let Some(seen) = observe(&memory, SHAPE, 1, 1) {
            let expected = if seen.owner == 1 { vec![1, 0] } else { vec![0, seen.copied.counts[1]] };
            assert_eq!((seen.copied.counts, seen.count <= 1), (expected, true));
        }
    });
    Writer::begin(own(), SHAPE, 2, 1).record(1, 1);
    observer.join().unwrap();
    let last = observe(&LoomMemory::read_only(&words, &Actor::immortal()), SHAPE, 1, 1);
    assert_eq!(last.map(|seen| (seen.owner, seen.copied.counts, seen.count)), Some((2, vec![0, 1], 1)));
}
