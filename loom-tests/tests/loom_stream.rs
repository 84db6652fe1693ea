//! The stream under loom.
//!
//! A pass does not prove anything that needs load buffering, more than the bounded number of
//! preemptions (`RAILBUS_DEEP=1` adds one), more than four threads, or more than two laps of four
//! frames. Membarrier and real stores of payload bytes are not modelled: payload is one word, as a
//! cell or as an atomic.

use railbus_loom_tests::loom_memory::{explore, explore_deaths};
use railbus_loom_tests::models::stream;
use railbus_ring::members::join::StartAt;

#[test]
fn publish_next() {
    explore(5, || stream::publish_next(None));
}

#[test]
fn gate() {
    explore(4, || stream::gate(None));
}

#[test]
fn what_is_seen_of_a_batch_is_whole() {
    explore(4, || stream::batch(None));
}

#[test]
fn a_short_commit_leaves_nothing() {
    explore(4, || stream::short_commit(None));
}

#[test]
fn padding_appears_with_its_frame() {
    explore(4, || stream::padding(None));
}

#[test]
fn join_at_the_oldest() {
    explore(2, || stream::join(None, StartAt::Oldest));
}

#[test]
fn join_live() {
    explore(1, || stream::join(None, StartAt::Live));
}

#[test]
fn join_at_the_last() {
    explore(1, || stream::join(None, StartAt::Last(1)));
}

#[test]
fn a_lossy_reader_sees_nothing_torn_and_counts_its_losses() {
    explore(2, || stream::lossy(None, false));
}

#[test]
fn an_overrun_reader_resumes_no_earlier_than_the_floor() {
    explore(1, || stream::lossy_far_behind(None));
}

#[test]
fn a_lossy_reader_joins_live() {
    explore(2, || stream::lossy(None, true));
}

#[test]
fn a_publisher_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| stream::publisher_dies(None, k, killed)) > 20);
}

#[test]
fn a_successor_refills_the_places_under_a_joiner() {
    assert!(explore_deaths(2, |k, killed| stream::successor_refills_the_places(None, k, killed)) > 20);
}
