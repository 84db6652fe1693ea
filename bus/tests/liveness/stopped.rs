//! A stopped process is not a dead one: SIGSTOP before an access, far longer than every interval of
//! the waits (the spin, the probe every ms, the slice of 4 ms), then SIGCONT.
//!
//! While it is stopped, none of its state is repaired and none of its events handed out, and nobody
//! overwrites the bytes that it reads. Participants that do not depend on it go on. When it
//! continues, everything completes, with each event exactly once. A stopped participant inevitably
//! delays others: delivery in order waits for it, and so does a repair of a ticket that it
//! announces without having won it.

use crate::children;
use crate::children::say;
use crate::forks::{End, Shared, deep, drive};
use crate::scenes::{SCENES, STEPS, Stage, scene};

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = children::role() else { return };
    let shared = Shared::new();
    let (scene, variants) = scene(&role);
    let mut stops = 0;
    for variant in 0..variants {
        // Each variant begins elsewhere, so that together they cover most accesses.
        let (first, stride) = if deep() { (1, 1) } else { (1 + variant * 2, 13) };
        for stop_at in (first..).step_by(stride) {
            let (end, _) = Stage::run(&base, &shared, scene, variant, stop_at, 0);
            assert_eq!(end, End::Finished, "nobody has killed it");
            if shared.get(STEPS) < stop_at {
                break;
            }
            stops += 1;
        }
    }
    say(format!("{stops} stops").as_bytes());
}

#[test]
fn a_stopped_stream_publisher_keeps_its_place() {
    drive("stream publisher");
}

#[test]
fn a_stopped_subscriber_still_gates() {
    drive("stream subscriber");
}

#[test]
fn a_resumption_stopped_while_the_publisher_raises_the_floor_is_no_corruption() {
    drive("stream resumption");
}

#[test]
fn a_stopped_producers_ticket_is_not_skipped() {
    drive("queue producer");
}

#[test]
fn a_stopped_workers_event_is_not_handed_out() {
    drive("queue worker");
    drive("registrant that sweeps a dead worker");
    drive("worker that buries");
}

#[test]
fn a_stopped_tap_still_gates() {
    drive("queue tap");
}

#[test]
fn a_stopped_topic_publishers_ticket_is_not_skipped() {
    drive("topic publisher");
}

#[test]
fn a_stopped_topic_subscriber_still_gates() {
    drive("topic subscriber");
}

#[test]
fn who_stops_while_it_repairs_and_continues_later_repairs_nothing_wrongly() {
    drive("worker behind orphans");
    drive("tap behind orphans");
    drive("topic subscriber behind orphans");
    drive("topic publisher over orphans");
}

#[test]
fn every_scene_is_played() {
    assert_eq!(SCENES.len(), 14);
}
