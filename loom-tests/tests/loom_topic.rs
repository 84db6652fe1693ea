//! The topic, taps and joining a slot ring, under loom.
//!
//! A pass does not prove anything that needs load buffering, more than the bounded number of
//! preemptions (`RAILBUS_DEEP=1` adds one), more than four threads, or more than three laps of two
//! slots.

use railbus_loom_tests::loom_memory::{explore, explore_deaths};
use railbus_loom_tests::models::topic;

#[test]
fn one_order() {
    explore(3, || topic::one_order(None));
}

#[test]
fn gate() {
    explore(4, || topic::gate(None));
}

#[test]
fn what_an_evicted_subscriber_has_lent_stays() {
    explore(3, || topic::evicted(None));
}

#[test]
fn join_a_topic_live() {
    explore(4, || topic::join_live::<true>(None));
}

#[test]
fn join_a_queue_as_a_tap() {
    explore(4, || topic::join_live::<false>(None));
}

#[test]
fn a_lossy_reader_sees_nothing_torn_or_corrupt() {
    explore(3, || topic::lossy::<true>(None));
}

#[test]
fn a_lossy_tap_sees_nothing_torn_or_corrupt() {
    explore(3, || topic::lossy::<false>(None));
}

#[test]
fn a_publisher_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| topic::publisher_dies(None, k, killed)) > 10);
}

#[test]
fn a_dead_publishers_slot_is_lapped_after_its_writes() {
    explore(2, || topic::dead_then_lap(None));
}
