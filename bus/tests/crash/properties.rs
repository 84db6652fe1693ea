//! Random stories, checked against a simple model, for all three kinds.
//!
//! Every participant is a process of its own that follows orders, one at a time, and may be killed
//! in between (also with a claim open or events held). Because one thing happens at a time, the
//! model is a list of events and, for each reader (subscriber or tap), a place in it; and for a
//! queue, which worker holds which event, how often it was delivered. Rings are small and begin
//! just below a wrap.
//!
//! Left out: concurrency, which is for loom, `kill_points` and `kill_random`.

mod log;
mod queue;
mod readers;
mod servant;

use std::time::Duration;

use log::Log;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use queue::Jobs;
use railbus::{Bus, Channel, ChannelOptions, Kind, Pages};

use crate::children::{role, say};
use crate::forks::{deep, drive};

/// A step that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let kind: Kind = role.parse().expect("a kind");
    let cases = if deep() { 2000 } else { 60 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let steps = vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..80);
    let told = TestRunner::new(config).run(&steps, |steps| {
        let directory = tempfile::tempdir_in(&base).unwrap();
        let bus = Bus::at(directory.path(), "bus").unwrap();
        let story = || match kind {
            Kind::Stream | Kind::Topic => Log::new(&bus, kind).tell(&steps),
            Kind::Queue => Jobs::new(&bus).tell(&steps),
            Kind::Table => unreachable!("a table has no events"),
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(story))
            .map_err(|panic| TestCaseError::fail(text(panic.as_ref())))
    });
    told.unwrap_or_else(|failure| panic!("{failure}"));
    say(format!("{cases} stories").as_bytes());
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned())
}

fn create(bus: &Bus, kind: Kind) -> Channel {
    let options = ChannelOptions::new(kind).lock_memory(false).pages(Pages::Ordinary).consumers_max(6);
    let options = match kind {
        Kind::Stream => options.capacity_bytes(4096).first_position(4096 * 3 - 200),
        _ => options.producers_max(3).slots(64).slot_bytes(128).first_position(64 * 5 - 3),
    };
    bus.create("c", &options).unwrap()
}

#[test]
fn a_stream_is_a_log_with_places() {
    drive("stream");
}

#[test]
fn a_topic_is_a_log_with_places() {
    drive("topic");
}

#[test]
fn a_queue_hands_each_event_to_one_until_it_is_done() {
    drive("queue");
}
