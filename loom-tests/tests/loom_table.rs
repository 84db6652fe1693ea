//! The table under loom.
//!
//! A pass does not prove anything that needs load buffering, more than the bounded number of
//! preemptions, or more than two writers at once. See `crash_table` for deaths and one preemption at
//! every access of larger scenes.

use railbus_loom_tests::loom_memory::{explore, explore_deaths};
use railbus_loom_tests::models::table;

#[test]
fn a_reader_beside_a_writer_gets_whole_values() {
    explore(2, || table::read_beside(None));
}

#[test]
fn two_writers_of_one_key_change_it_one_after_the_other() {
    explore(3, || table::two_writers(None));
}

#[test]
fn two_writers_that_enter_one_key_at_once_make_one_entry() {
    explore(3, || table::two_enter(None));
}

#[test]
fn a_key_is_entered_beside_a_reader() {
    explore(3, || table::enter_beside(None));
}

#[test]
fn an_entry_gets_another_key_beside_a_reader_of_both() {
    explore(2, || table::reuse_beside(None));
}

#[test]
fn a_watcher_that_begins_beside_a_writer_misses_no_change() {
    explore(3, || table::watch_begins(None));
}

#[test]
fn a_watcher_of_two_writers_misses_no_change() {
    explore(2, || table::watch_both(None));
}

#[test]
fn a_watcher_that_sleeps_is_woken() {
    explore(3, || table::watch_asleep(None));
}

#[test]
fn a_writer_dies_at_every_access() {
    assert!(explore_deaths(2, |k, killed| table::writer_dies(None, k, killed)) > 20);
}
