//! The keyed queue under loom.
//!
//! A pass does not prove anything that needs load buffering, more than the bounded number of
//! preemptions, or more than two workers at once. See `crash_keyed` for deaths and one preemption
//! at every access of larger scenes.

use railbus_loom_tests::loom_memory::{explore, explore_deaths, failure};
use railbus_loom_tests::models::keyed;

#[test]
fn two_workers_never_have_one_key_in_hand_at_once() {
    explore(3, || keyed::two_workers(None));
}

#[test]
fn without_the_rule_the_model_fails() {
    let failure = failure(|| explore(3, || keyed::two_workers_without_the_rule(None)));
    assert!(failure.is_some(), "two workers had one key in hand, and nobody noticed");
}

#[test]
fn an_event_that_is_handed_back_comes_before_later_ones() {
    explore(3, || keyed::retry(None));
}

#[test]
fn a_worker_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| keyed::worker_dies(None, k, killed)) > 10);
}

#[test]
fn a_batch_puts_aside_what_waits_for_its_first() {
    explore(3, || keyed::batch_then_lap(None));
}
