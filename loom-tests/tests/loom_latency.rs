//! Latency histograms under loom: a copy of an observer belongs to the interval, and to the
//! consumer, that it names.
//!
//! A pass does not prove anything about the recorded times, nor about more than one turn of an
//! interval while it is copied.

use railbus_loom_tests::loom_memory::explore;
use railbus_loom_tests::models::latency;

#[test]
fn an_interval_takes_the_place_of_another() {
    explore(4, || latency::turn(None));
}

#[test]
fn a_consumer_takes_the_place_of_another() {
    explore(4, || latency::take_over(None));
}
