//! `railbus replay --then-live`, and replay into a channel, beside a real `railbus journald`.

mod program;

use std::io::{BufRead, BufReader, Write};

use program::{Base, Running, eventually, numbers};

/// A directory for journals, on disk.
fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// Starts the daemon, and waits until it records.
fn journald(base: &Base, journal: &tempfile::TempDir) -> Running {
    let line = format!(
        "journald --journal {} --channels demo/* --sync always --segment-bytes 4MiB",
        journal.path().display()
    );
    let mut daemon = base.start(&line);
    let output = daemon.child().stdout.take().expect("a pipe");
    let ready = BufReader::new(output).lines().map_while(Result::ok).any(|line| line == "ready");
    assert!(ready, "it says when it records");
    daemon
}

#[test]
fn a_replay_goes_on_live_without_gap_or_duplicate_while_the_journaller_is_killed() {
    for kind in [
        "stream --capacity 64KiB",
        "topic --slots 1024 --slot-bytes 64",
        "queue --slots 1024 --slot-bytes 64",
    ] {
        let (base, journal) = (Base::new(), disk());
        base.fine(&format!("create demo/ticks --kind {kind}"));
        let mut daemon = journald(&base, &journal);
        let worker = kind.starts_with("queue").then(|| base.start_to_file("work demo/ticks --raw"));
        let mut publisher = base.start_fed("pub demo/ticks");
        let mut input = publisher.child().stdin.take().expect("a pipe");
        input.write_all(numbers(1..=5000).as_bytes()).expect("written");
        let directory = journal.path().join("demo/ticks").display().to_string();
        eventually("some of it is recorded", || {
            base.run(&format!("journal cat {directory} -n 100")).stdout.len() > 100
        });
        let live =
            base.start_to_file(&format!("replay {directory} --to-stdout lines --then-live --until-closed"));
        base.await_live("demo/ticks", "producer", 1);
        let writer = std::thread::spawn(move || {
            for part in 0..5u64 {
                input
                    .write_all(numbers(5001 + part * 3000..=8000 + part * 3000).as_bytes())
                    .expect("written");
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(70));
        daemon.kill();
        daemon = journald(&base, &journal);
        writer.join().expect("a thread");
        // It may have reported that it had to wait for the journaller.
        assert!(publisher.finish().status.success());
        let output = String::from_utf8(live.fine()).expect("text");
        assert!(output == numbers(1..=20_000), "{kind}: {} lines", output.lines().count());
        drop(worker);
        daemon.signal(libc::SIGTERM);
        assert!(daemon.status().success());
        // The recorded events, and the events of a channel into which they are replayed.
        let raw = base.run(&format!("replay {directory} --to-stdout lines"));
        assert!(raw.stdout == numbers(1..=20_000).as_bytes());
        base.fine("create demo/again --kind stream --capacity 64KiB");
        let subscriber = base.start_to_file("sub demo/again -n 20000");
        base.await_live("demo/again", "consumer", 1);
        let told = base.run(&format!("replay {directory} --into demo/again --speed max"));
        assert!(told.status.success(), "{told:?}");
        assert!(subscriber.fine() == numbers(1..=20_000).as_bytes());
        let (code, told) = base.fails(&format!("replay {directory} --into demo/ticks"));
        assert!(code == 2 && told.contains("fed with itself"), "{code} {told}");
    }
}

#[test]
fn what_cannot_be_followed_live_is_said_at_once() {
    let (base, journal) = (Base::new(), disk());
    base.fine("create demo/ticks --kind stream");
    let mut daemon = journald(&base, &journal);
    base.fine_fed("pub demo/ticks", b"one\n");
    let directory = journal.path().join("demo/ticks").display().to_string();
    eventually("it is recorded", || base.run(&format!("journal cat {directory}")).stdout == b"one\n");
    let mut tail = base.start(&format!("journal tail {directory} -f -n 1"));
    let mut lines = BufReader::new(tail.child().stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("one"));
    base.fine_fed("pub demo/ticks", b"two\nthree\n");
    assert_eq!((lines.next().as_deref(), lines.next().as_deref()), (Some("two"), Some("three")));
    tail.signal(libc::SIGTERM);
    assert!(tail.status().success());
    let info = base.json(&format!("journal info {directory} --json"));
    assert!(info["writer"].is_string() && info["events"] == 3, "{info}");
    let (code, told) = base.fails(&format!("journal repair {directory}"));
    assert!(code == 1 && told.contains("is taken"), "{code} {told}");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.status().success());
    base.fine("rm demo/ticks");
    let (code, told) = base.fails(&format!("replay {directory} --to-stdout raw --then-live"));
    assert!(code == 3 && told.contains("demo/ticks"), "{code} {told}");
    base.fine("create demo/ticks --kind stream");
    let (code, told) = base.fails(&format!("replay {directory} --to-stdout raw --then-live"));
    assert!(code == 2 && told.contains("another channel"), "{code} {told}");
}
