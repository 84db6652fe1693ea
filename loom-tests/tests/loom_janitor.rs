//! Janitor locks beside readers that hold shared locks on their bytes, under loom.
//!
//! A pass does not prove that the kernel's locks carry happens-before, nor that a process is known
//! to have ended (see the tests with real processes). It proves nothing beyond the bounded number
//! of preemptions.

use railbus_loom_tests::loom_memory::{explore, explore_deaths};
use railbus_loom_tests::models::janitor;

#[test]
fn janitors_change_an_entry_one_after_the_other() {
    explore(3, || janitor::one_at_a_time::<false>(None));
}

#[test]
fn so_do_janitors_beside_a_reader_who_holds_a_shared_lock() {
    explore(3, || janitor::one_at_a_time::<true>(None));
}

#[test]
fn a_reader_who_comes_and_goes_lets_no_two_janitors_in() {
    explore(2, || janitor::a_stranger_comes_and_goes(None));
}

#[test]
fn a_janitor_that_dies_at_any_access_keeps_nobody_out() {
    assert!(explore_deaths(2, |k, killed| janitor::a_janitor_dies(None, k, killed)) > 3);
}
