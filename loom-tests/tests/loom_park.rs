//! Parking under loom: no wake-up is lost, though nobody's wait has a time limit.
//!
//! A pass does not prove anything about membarrier (both sides fence here, as where membarrier is refused), nor what
//! needs load buffering or more than the bounded number of preemptions (`RAILBUS_DEEP=1` adds one).

use railbus_loom_tests::loom_memory::explore;
use railbus_loom_tests::models::park;

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
fn a_nudge() {
    explore(4, || park::nudged(None));
}
