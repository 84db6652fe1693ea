//! The queue under loom.
//!
//! A pass does not prove anything that needs load buffering, more than the bounded number of
//! preemptions (3 unless a test has another number; `RAILBUS_DEEP=1` adds one), more than four
//! threads, or more than three laps of two slots.

use railbus_loom_tests::loom_memory::{explore, explore_deaths, failure};
use railbus_loom_tests::models::queue::{self, Left};

#[test]
fn one_to_one() {
    explore(3, || queue::one_to_one(None));
    explore(3, || queue::one_to_one_swapping(None));
}

#[test]
fn two_producers() {
    explore(2, || queue::two_producers(None));
}

#[test]
fn two_workers() {
    explore(2, || queue::two_workers(None));
}

#[test]
fn batches() {
    explore(3, || queue::batches(None));
}

#[test]
fn a_held_range_survives_a_sweep() {
    explore(3, || queue::sweep_among_the_living(None));
}

#[test]
fn a_live_producer_is_not_stepped_over() {
    explore(3, || queue::skip_among_the_living(None));
}

#[test]
fn a_producer_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| queue::producer_dies(None, false, k, killed)) > 10);
}

#[test]
fn a_producer_of_a_batch_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| queue::producer_dies(None, true, k, killed)) > 10);
}

#[test]
fn a_worker_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| queue::worker_dies(None, k, killed)) > 10);
}

fn a_sweeper_dies(preemptions: usize, left: Left) {
    let deaths = explore_deaths(preemptions, move |k, killed| queue::sweeper_dies(None, left, k, killed));
    assert!(deaths > 5, "{left:?}");
}

#[test]
fn a_sweeper_of_a_taken_event_dies_at_every_access() {
    a_sweeper_dies(2, Left::Taken);
}

#[test]
fn a_sweeper_of_an_announced_range_dies_at_every_access() {
    a_sweeper_dies(2, Left::Announced);
}

#[test]
fn a_sweeper_of_both_dies_at_every_access() {
    // Both at once have too many interleavings for two preemptions: the index has words for each.
    a_sweeper_dies(1, Left::Both);
}

#[test]
fn a_retried_slot_is_lapped_after_both_reads() {
    explore(2, || queue::retry_then_lap(None));
}

#[test]
fn events_that_wait_are_found_once_each() {
    explore(2, || queue::index(None));
}

#[test]
fn a_dead_workers_slot_is_lapped_after_its_read() {
    explore(2, || queue::dead_then_lap(None));
}

#[test]
fn an_evicted_worker_comes_back() {
    explore(2, || queue::evicted(None, false, false));
}

#[test]
fn an_evicted_worker_that_swaps_comes_back() {
    explore(2, || queue::evicted(None, true, false));
}

#[test]
fn an_evicted_worker_that_does_not_look_is_noticed() {
    let why = failure(|| explore(2, || queue::evicted(None, false, true)));
    let why = why.expect("a late store is noticed");
    println!("noticed: {why}");
    assert!(!why.contains("the model has no word"), "{why}");
}
