//! Latency histograms under loom: what an observer copies is of the interval, and of the consumer, that it is told.
//!
//! A pass does not prove anything about the times that are recorded, nor about more than one turn of an interval while
//! it is copied.

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
