//! Unique keys under loom.
//!
//! A pass does not prove anything that needs load buffering, more than three preemptions
//! (`RAILBUS_DEEP=1` adds one), or more than two producers of one key. `crash_unique.rs` has more
//! participants and laps.

use railbus_loom_tests::loom_memory::{explore, explore_deaths};
use railbus_loom_tests::models::unique;

#[test]
fn of_two_producers_one_publishes_at_most() {
    explore(3, || unique::two_producers(None));
}

#[test]
fn a_producer_dies_at_every_access_beside_another() {
    assert!(explore_deaths(2, |k, killed| unique::a_producer_dies(None, k, killed)) > 10);
}
