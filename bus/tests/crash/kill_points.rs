//! A real SIGKILL before every single access to shared memory, and every lock, of every role.
//!
//! The actor runs the protocol's own code over the channel's real memory; only the counting is
//! added. A pass does not prove the order in which other processors see the accesses (loom does),
//! nor deaths inside the copying of a payload other than before it, in its middle and after it.

use crate::children;
use crate::children::say;
use crate::forks::{End, Shared, deep, drive};
use crate::scenes;
use crate::scenes::{SCENES, Stage, scene};

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = children::role() else { return };
    let shared = Shared::new();
    let (name, paused) = match role.strip_prefix("paused ") {
        Some(name) => (name, true),
        None => (role.as_str(), false),
    };
    let (scene, variants) = scene(name);
    let mut kills = 0;
    // A deep run goes on until there are 1000.
    loop {
        for variant in 0..variants {
            kills += if paused {
                while_the_others_move(&base, &shared, scene, variant)
            } else {
                every_point(&base, &shared, scene, variant, if deep() || variant == 0 { 1 } else { 3 })
            };
        }
        if !deep() || kills >= 1000 {
            break;
        }
    }
    say(format!("{kills} kills").as_bytes());
}

/// Kills at every `stride`-th access until the script is through. Returns how many times.
fn every_point(
    base: &std::path::Path,
    shared: &Shared,
    scene: scenes::Scene,
    variant: u64,
    stride: usize,
) -> u64 {
    for (kills, kill_at) in (1..).step_by(stride).enumerate() {
        let (end, _) = Stage::run(base, shared, scene, variant, 0, kill_at);
        if end == End::Finished {
            return kills as u64;
        }
    }
    unreachable!("the range has no end")
}

/// Stops the actor, lets the others go on for laps, and kills it a few accesses later.
fn while_the_others_move(base: &std::path::Path, shared: &Shared, scene: scenes::Scene, variant: u64) -> u64 {
    let mut kills = 0;
    let stride = if deep() { 1 } else { 3 };
    for stop_at in (1..).step_by(stride) {
        let mut stopped = false;
        for later in if deep() { 1..4 } else { 1..2 } {
            let (end, has_stopped) = Stage::run(base, shared, scene, variant, stop_at, stop_at + later);
            kills += u64::from(end == End::Killed);
            stopped |= has_stopped && end == End::Killed;
        }
        if !stopped {
            return kills;
        }
    }
    unreachable!("the range has no end")
}

#[test]
fn a_stream_publisher_dies_anywhere() {
    drive("stream publisher");
}

#[test]
fn a_stream_subscriber_dies_anywhere() {
    drive("stream subscriber");
}

#[test]
fn a_stream_subscriber_pauses_and_dies_anywhere() {
    drive("paused stream subscriber");
}

#[test]
fn a_durable_subscription_changes_hands_while_the_publisher_moves() {
    drive("stream resumption");
    drive("paused stream resumption");
}

#[test]
fn a_queue_producer_dies_anywhere() {
    drive("queue producer");
}

#[test]
fn a_queue_worker_dies_anywhere() {
    drive("queue worker");
}

#[test]
fn a_registrant_dies_while_it_sweeps_what_a_dead_worker_left() {
    drive("registrant that sweeps a dead worker");
}

#[test]
fn a_worker_dies_anywhere_while_it_writes_dead_letters() {
    drive("worker that buries");
}

#[test]
fn a_tap_dies_anywhere() {
    drive("queue tap");
}

#[test]
fn a_topic_publisher_dies_anywhere() {
    drive("topic publisher");
}

#[test]
fn a_topic_subscriber_dies_anywhere() {
    drive("topic subscriber");
}

#[test]
fn a_topic_subscriber_pauses_and_dies_anywhere() {
    drive("paused topic subscriber");
}

#[test]
fn a_worker_dies_while_it_steps_over_what_a_dead_producer_left() {
    drive("worker behind orphans");
}

#[test]
fn a_tap_dies_while_it_steps_over_what_a_dead_producer_left() {
    drive("tap behind orphans");
}

#[test]
fn a_topic_subscriber_dies_while_it_steps_over_what_a_dead_publisher_left() {
    drive("topic subscriber behind orphans");
}

#[test]
fn a_topic_publisher_dies_while_it_aborts_what_a_dead_publisher_left() {
    drive("topic publisher over orphans");
}

#[test]
fn no_scene_is_forgotten() {
    assert_eq!(SCENES.len(), 14);
}
