//! A truncated file of a channel ends the commands that use it: with exit code 5 and the file's
//! name, and not by a signal.
//!
//! A pass does not prove that nothing is lost: an event that is published or received at that
//! moment may be.

mod program;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use program::{Base, Running, eventually};

/// Cuts a file of a channel short, as every user who may write it can.
fn truncate(base: &Base, file: &str) {
    let file = std::fs::OpenOptions::new().write(true).open(base.path().join(file)).expect("it is there");
    file.set_len(0).expect("its owner may");
}

/// The command ended because of this file.
fn ends_with(what: &str, running: Running, file: &str) {
    let (status, errors) = running.end();
    assert_eq!(status.code(), Some(5), "{what}: {status}: {errors}");
    assert!(errors.contains(file) && errors.contains("truncated"), "{what}: {errors}");
}

#[test]
fn a_command_that_takes_part_ends_with_an_error_that_names_the_file() {
    for (line, side) in [
        ("sub demo/s -q", "consumer"),
        ("tap demo/q -q", "consumer"),
        ("work demo/q -q", "consumer"),
        ("sub demo/t -q", "consumer"),
    ] {
        let base = Base::new();
        base.fine("create demo/s --kind stream --capacity 64KiB");
        base.fine("create demo/q --kind queue --slots 64");
        base.fine("create demo/t --kind topic --slots 64");
        let running = base.start(line);
        let name = line.split(' ').nth(1).expect("a channel");
        base.await_live(name, side, 1);
        truncate(&base, &format!("{name}.ring"));
        ends_with(line, running, &format!("{name}.ring"));
    }
}

#[test]
fn a_publisher_ends_with_an_error_that_names_the_file() {
    for (kind, file) in [("stream", "demo/c.ring"), ("queue", "demo/c.acks"), ("topic", "demo/c.ring")] {
        let base = Base::new();
        base.fine(&format!("create demo/c --kind {kind}"));
        let mut running = base.start_fed("pub demo/c --lines -q");
        base.await_live("demo/c", "producer", 1);
        truncate(&base, file);
        let mut input = running.child().stdin.take().expect("a pipe");
        // It may end before it has read all of it.
        let _ = input.write_all(program::numbers(1..=20_000).as_bytes());
        drop(input);
        ends_with(kind, running, file);
    }
}

#[test]
fn a_replay_into_a_channel_ends_with_an_error_that_names_the_file() {
    let (base, disk) = (Base::new(), tempfile::tempdir().expect("a directory"));
    base.fine("create demo/s --kind stream --capacity 64KiB");
    let mut daemon = base.start(&format!("journald --journal {} --channels demo/s", disk.path().display()));
    assert_eq!(daemon.read_line(), "ready\n");
    base.fine_fed("pub demo/s --lines -q", program::numbers(1..=1000).as_bytes());
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    base.fine("create demo/again --kind stream --capacity 64KiB");
    let journal = disk.path().join("demo/s");
    let running = base.start(&format!("replay {} --into demo/again --rate 50 -q", journal.display()));
    base.await_live("demo/again", "producer", 1);
    truncate(&base, "demo/again.ring");
    ends_with("replay", running, "demo/again.ring");
}

#[test]
fn a_command_that_looks_ends_with_an_error_that_names_the_file() {
    let base = Base::new();
    base.fine("create demo/s --kind stream --capacity 64KiB --stuck-after 60s");
    let mut reader = base.start("sub demo/s -q");
    base.await_live("demo/s", "consumer", 1);
    reader.signal(libc::SIGSTOP);
    base.fine_fed("pub demo/s -q", b"unread\n");
    forget_when_it_was_seen(&base.path().join("demo/s.acks"));
    let may_be_stuck = || {
        let info = base.json("info demo/s --json --look 1ms");
        info["participants"].as_array().expect("a list").iter().any(|one| one["may_be_stuck"] == true)
    };
    eventually("it may be stuck", may_be_stuck);
    assert!(base.fine("info demo/s --look 1ms").contains("MAYBE"));
    let line = "info demo/s --look 50s";
    let mut running = base.start(line);
    // It has mapped the file.
    let maps = format!("/proc/{}/maps", running.pid());
    eventually("it looks", || std::fs::read_to_string(&maps).is_ok_and(|maps| maps.contains("demo/s.acks")));
    truncate(&base, "demo/s.acks");
    ends_with(line, running, "demo/s.acks");
    reader.signal(libc::SIGCONT);
    ends_with("sub", reader, "demo/s.acks");
}

/// Makes the time that the consumer has stored a time of another clock.
fn forget_when_it_was_seen(acks: &Path) {
    use railbus_ring::layout::{HEADER_BYTES, SEEN_NS, entry};
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(acks).expect("it is there");
    file.write_all_at(&1u64.to_le_bytes(), (HEADER_BYTES + entry(0) + SEEN_NS) as u64).expect("it is ours");
}

#[test]
fn what_a_command_runs_has_the_default_handler_again() {
    let base = Base::new();
    base.fine("create demo/q --kind queue --slots 64");
    base.fine_fed("pub demo/q -q", b"job\n");
    let mut command = base.command("work demo/q -q -n 1 --exec");
    command.arg("grep SigCgt /proc/self/status").stdout(Stdio::piped());
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let caught = text.trim().rsplit(['\t', ' ']).next().and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let sigbus = 1 << (libc::SIGBUS - 1);
    assert!(caught.is_some_and(|caught| caught & sigbus == 0), "{text} {output:?}");
}
