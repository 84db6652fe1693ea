//! Parking under loom: no wake-up is lost, though nobody's wait has a time limit.
//!
//! A pass does not prove anything about membarrier (both sides use a memory fence here, as when
//! membarrier is refused), nor anything that needs load buffering or more than the bounded number
//! of preemptions (`RAILBUS_DEEP=1` adds one).

use railbus_loom_tests::loom_memory::{explore, failure};
use railbus_loom_tests::models::{callers, park};

#[test]
fn one_sleeper() {
    explore(4, || park::one_sleeper(None));
}

#[test]
fn two_wakers() {
    explore(2, || park::two_wakers(None));
}

#[test]
fn two_sleepers() {
    explore(2, || park::two_sleepers(None));
}

#[test]
fn a_publisher_that_waits_is_woken_by_its_readers_poll() {
    explore(2, || callers::room(None, true));
    let failure = failure(|| explore(2, || callers::room(None, false)));
    assert!(failure.is_some(), "the publisher was not woken, and nobody noticed");
}

#[test]
fn a_tap_takes_no_workers_wake_up() {
    explore(2, || callers::worker_and_tap(None, true));
    let failure = failure(|| explore(2, || callers::worker_and_tap(None, false)));
    assert!(failure.is_some(), "one of the two was not woken, and nobody noticed");
}

#[test]
fn a_claim_that_is_given_up_wakes_its_readers() {
    explore(2, || callers::given_up(None, true));
    let failure = failure(|| explore(2, || callers::given_up(None, false)));
    assert!(failure.is_some(), "the reader was not woken, and nobody noticed");
}

#[test]
fn a_nudge() {
    explore(4, || park::nudged(None));
    explore(4, || park::nudged_as_other(None));
}
