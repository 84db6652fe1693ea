//! The programs in `examples/` run, print what they should, and leave nothing on the disk.
//!
//! `cargo test` builds them; `cargo test --test examples` alone does not.
//!
//! A pass does not prove that the latency printed by `pinned_latency` is that of a quiet machine.

use std::path::PathBuf;
use std::process::Command;

/// The program that cargo has built of an example.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "{} is not built: run `cargo build -p railbus --examples` first", path.display());
    path
}

/// Runs an example. It must succeed and print a line with each of these texts.
fn runs(name: &str, texts: &[&str]) {
    let disk = tempfile::tempdir().expect("a directory on a disk");
    let output = Command::new(program(name)).env("TMPDIR", disk.path()).output().expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {printed}{errors}");
    for text in texts {
        assert!(printed.lines().any(|line| line.contains(text)), "{name} does not print {text:?}: {printed}");
    }
    let left = disk.path().read_dir().expect("the directory is there").count();
    assert_eq!(left, 0, "{name} leaves {left} files in {}", disk.path().display());
}

#[test]
fn hello() {
    runs("hello", &["hello at position 0", "2 events, and the publisher has left"]);
}

#[test]
fn a_service_is_asked() {
    let lines = ["40 + 2 = 42", "failed with code 33", "part one", "part three", "nobody serves it any more"];
    runs("ask_a_service", &lines);
}

#[test]
fn a_late_reader_has_the_latest_values() {
    runs("latest_value", &["bid was set before, version 1", "bid is 41.8 now, version 3", "ask is deleted"]);
}

#[test]
fn a_job_comes_again_after_its_worker_was_killed() {
    let texts =
        ["has taken: resize cat.png", "attempt 2: resize cat.png", "3 jobs done, 1 of them delivered twice"];
    runs("queue_with_a_death", &texts);
}

#[test]
fn a_follower_goes_from_the_journal_into_the_live_stream() {
    runs("record_and_follow", &["21000 events in order"]);
}

#[test]
fn a_bridge_in_an_epoll_loop() {
    runs("epoll_bridge", &["tick 1", "tick 5", "5 events in an epoll loop"]);
}

#[test]
fn a_killed_consumer_ends_with_the_exact_sum() {
    let texts =
        ["began after 0 events, ends after 2500", "began after 2000 events, ends after 5000, sum 12502500"];
    runs("checkpoint", &texts);
}

#[test]
fn a_round_trip_between_pinned_processes() {
    // "no round trip" where there is one processor only.
    runs("pinned_latency", &["round trip"]);
}
