//! Registering, leaving and dying under loom, with the kernel's byte locks as atomics that carry
//! happens-before.
//!
//! A pass does not prove that the kernel's locks do that (see the tests with real processes), nor
//! anything that needs load buffering, more than the bounded number of preemptions
//! (`RAILBUS_DEEP=1` adds one) or more than four threads.

use railbus_loom_tests::loom_memory::{explore, explore_deaths};
use railbus_loom_tests::models::registration;

#[test]
fn a_producers_entry_changes_hands_and_its_event_stays() {
    explore(3, || registration::producers_change_hands(None));
}

#[test]
fn a_readers_entry_changes_hands_and_its_read_is_over() {
    explore(3, || registration::readers_change_hands(None));
}

#[test]
fn a_durable_subscriber_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| registration::durable_subscriber_dies(None, k, killed)) > 15);
}

#[test]
fn registrants_race_and_one_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| registration::registrants_race(None, k, killed)) > 10);
}

#[test]
fn leaving_evicting_and_burying_race() {
    explore(3, || registration::leave_evict_bury(None));
}

#[test]
fn only_the_reader_that_was_seen_is_evicted() {
    explore(3, || registration::evict_whom_it_saw(None));
}

#[test]
fn a_durable_name_in_use_is_known_with_its_entry() {
    explore(3, || registration::name_is_known(None));
}

#[test]
fn an_evicted_workers_entry_changes_hands_and_its_event_stays() {
    explore(3, || registration::an_evicted_workers_entry_changes_hands(None));
}

#[test]
fn the_process_that_proves_a_life_is_one_owners() {
    explore(3, || registration::proof_changes_hands(None));
}

#[test]
fn a_numbering_name_is_known_with_its_entry() {
    explore(3, || registration::sequence_is_known(None));
}
