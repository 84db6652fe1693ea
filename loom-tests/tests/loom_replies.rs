//! The replies of a service under loom.
//!
//! A pass does not prove anything that needs load buffering, more than the bounded number of
//! preemptions, or more than two participants at once. See `crash_replies` for deaths and one preemption
//! at every access.

use railbus_loom_tests::loom_memory::explore;
use railbus_loom_tests::models::replies;

#[test]
fn a_client_beside_its_server_gets_the_whole_reply() {
    explore(3, || replies::read_beside(None));
}

#[test]
fn a_slot_is_used_again_only_when_no_server_writes_in_it() {
    explore(3, || replies::reuse_beside(None));
}

#[test]
fn an_evicted_server_and_its_successor_never_write_at_once() {
    explore(3, || replies::two_servers(None));
}

#[test]
fn a_reply_that_begins_again_is_never_mixed_with_the_first() {
    explore(3, || replies::again_beside(None));
}

#[test]
fn nothing_is_written_over_that_was_not_read() {
    explore(3, || replies::room_beside(None));
}
