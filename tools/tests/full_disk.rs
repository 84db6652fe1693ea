//! A journal whose disk is full: every observer gets a report, and another when it is over. Real
//! disks, each in a mount namespace of the test's own.

#[path = "../../bus/tests/common/mounts/mod.rs"]
mod mounts;
mod program;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use mounts::{apart, run, text};
use program::{Base, Running, eventually};

/// A small disk in memory, of this many MiB.
fn small_disk(place: &Path, mebibytes: u32) -> Result<(), String> {
    run("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none", text(place)])
}

fn enlarge(place: &Path, mebibytes: u32) -> Result<(), String> {
    run("mount", &["-o", &format!("remount,size={mebibytes}m"), text(place)])
}

/// Starts the daemon with its standard error in a file, and waits until it is ready.
fn journald(base: &Base, disk: &Path, more: &str, errors: &Path) -> Running {
    let line = format!(
        "journald --journal {}/j --channels b/* --segment-bytes 2MiB --staging-bytes 1MiB {more}",
        disk.display()
    );
    let mut command = base.command(&line);
    let errors = std::fs::File::create(errors).expect("a file");
    command.stdout(std::process::Stdio::piped()).stderr(errors);
    let mut daemon = Running::of(command);
    assert_eq!(daemon.read_line(), "ready\n");
    daemon
}

fn said(path: &Path) -> String {
    std::fs::read_to_string(path).expect("text")
}

/// The text that `railbus metrics` serves.
fn metrics(base: &Base) -> String {
    let mut server = base.start("metrics --listen 127.0.0.1:0");
    let line = server.read_line();
    let address = line.trim_start_matches("http://").split('/').next().expect("an address").to_owned();
    let mut stream = TcpStream::connect(&address).expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// Waits until the daemon takes no more events: its last segment and its memory are full.
fn fill_up(base: &Base) {
    let (mut end, mut same) = (0, 0);
    eventually("the daemon takes no more", || {
        let now = base.json("info b/s --json")["journal"]["end"].as_u64().expect("a position");
        same = if now == end { same + 1 } else { 0 };
        end = now;
        same == 20
    });
}

/// Numbers of 300 digits: more than the small disk holds.
fn many_lines() -> Vec<u8> {
    (1..=60_000u32).flat_map(|number| format!("{number:0300}\n").into_bytes()).collect()
}

#[test]
fn a_full_disk_is_named_by_everybody_who_looks_and_so_is_its_end() {
    apart(|place| {
        let (base, disk) = (Base::new(), place.join("disk"));
        std::fs::create_dir(&disk).expect("a directory");
        small_disk(&disk, 12)?;
        base.fine("create b/s --capacity 64KiB");
        let errors = base.file("errors");
        let mut daemon = journald(&base, &disk, "", &errors);
        let input = base.file("input");
        std::fs::write(&input, many_lines()).expect("a file");
        let mut command = base.command("pub b/s");
        command.stdin(std::fs::File::open(&input).expect("a file"));
        let publisher = base.spawn(&mut command);
        eventually("the disk is full", || base.json("info b/s --json")["journal"]["no_space"] == true);
        eventually("the daemon says so", || said(&errors).contains("b/s: the disk is full"));
        let info = base.fine("info b/s");
        assert!(info.contains("IT WAITS: the disk is full"), "{info}");
        let stat = base.json("stat b/s --interval 10ms --json");
        assert_eq!(stat[0]["journal_no_space"], true, "{stat}");
        assert_eq!(stat[0]["journal_waits_for"], "space", "{stat}");
        assert!(base.fine("stat b/s --interval 10ms").contains("disk full"));
        let metrics = metrics(&base);
        let line = metrics.lines().find(|line| line.starts_with("railbus_journal_no_space{"));
        assert!(line.is_some_and(|line| line.ends_with(" 1.0")), "{metrics}");
        eventually("watch tells", || {
            let output = base.run("watch --once");
            let told = String::from_utf8_lossy(&output.stdout).contains("the disk is full");
            // There may also be a stuck participant, which is the greater alarm.
            told && matches!(output.status.code(), Some(6 | 9))
        });
        enlarge(&disk, 64)?;
        let (status, refused) = publisher.end();
        assert!(status.success(), "{refused}");
        assert!(refused.is_empty() || refused.contains("disk is full"), "{refused}");
        eventually("the daemon says that it is over", || said(&errors).contains("shortage is over"));
        eventually("nobody waits", || base.json("info b/s --json")["journal"]["no_space"] == false);
        assert_eq!(base.run("watch --once").status.code(), Some(0));
        daemon.signal(libc::SIGTERM);
        assert!(daemon.status().success(), "{}", said(&errors));
        let journal = disk.join("j/b/s");
        let verified = base.json(&format!("journal verify {} --json", journal.display()));
        assert_eq!(verified["events"], 60_000, "{verified}");
        Ok(())
    });
}

#[test]
fn who_is_refused_because_the_disk_is_full_is_told_so() {
    apart(|place| {
        let (base, disk) = (Base::new(), place.join("disk"));
        std::fs::create_dir(&disk).expect("a directory");
        small_disk(&disk, 12)?;
        base.fine("create b/s --capacity 64KiB");
        let errors = base.file("errors");
        let _daemon = journald(&base, &disk, "", &errors);
        let output = base.feed("pub b/s --timeout 1s", &many_lines());
        let refused = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{refused}");
        assert!(refused.contains("the disk is full"), "{refused}");
        Ok(())
    });
}

#[test]
fn a_daemon_that_starts_on_a_full_disk_waits_and_does_with_events_as_it_was_told() {
    for policy in ["drop", "block"] {
        apart(move |place| {
            let (base, disk) = (Base::new(), place.join("disk"));
            std::fs::create_dir(&disk).expect("a directory");
            small_disk(&disk, 12)?;
            base.fine("create b/s --capacity 64KiB");
            let errors = base.file("errors");
            let more = format!("--when-full {policy}");
            let mut daemon = journald(&base, &disk, &more, &errors);
            let input = base.file("input");
            std::fs::write(&input, many_lines()).expect("a file");
            let mut command = base.command("pub b/s");
            command.stdin(std::fs::File::open(&input).expect("a file"));
            let mut publisher = base.spawn(&mut command);
            eventually("the disk is full", || base.json("info b/s --json")["journal"]["no_space"] == true);
            daemon.signal(libc::SIGKILL);
            daemon.status();
            let again = base.file("again");
            let mut daemon = journald(&base, &disk, &more, &again);
            eventually("it says what it waits for", || said(&again).contains("the disk is full"));
            if policy == "drop" {
                // The whole input goes through: nobody is held back.
                let status = publisher.status();
                assert!(status.success(), "{status}");
                assert!(base.json("info b/s --json")["journal"]["lost"].as_u64() > Some(0));
            }
            enlarge(&disk, 64)?;
            eventually("it is over", || base.json("info b/s --json")["journal"]["no_space"] == false);
            if policy == "block" {
                assert!(publisher.status().success());
            }
            base.fine_fed("pub b/s", b"the last words\n");
            daemon.signal(libc::SIGTERM);
            assert!(daemon.status().success(), "{}", said(&again));
            let journal = disk.join("j/b/s");
            let stats = base.json(&format!("journal stats {} --json", journal.display()));
            let text = base.run(&format!("journal cat {} --lines -q", journal.display()));
            let text = String::from_utf8_lossy(&text.stdout).into_owned();
            let recorded = text.lines().filter(|line| line.len() == 300).count();
            assert!(text.contains("the last words"), "{stats}");
            match policy {
                "block" => assert_eq!(recorded, 60_000, "{stats}"),
                _ => assert!(recorded < 60_000 && stats["gaps"] != 0, "{stats}"),
            }
            Ok(())
        });
    }
}

#[test]
fn a_daemon_ends_when_it_is_told_to_while_the_disk_is_full_and_the_next_goes_on() {
    for policy in ["drop", "block"] {
        apart(move |place| {
            let (base, disk) = (Base::new(), place.join("disk"));
            std::fs::create_dir(&disk).expect("a directory");
            small_disk(&disk, 12)?;
            base.fine("create b/s --capacity 64KiB");
            let errors = base.file("errors");
            let more = format!("--when-full {policy}");
            let mut daemon = journald(&base, &disk, &more, &errors);
            let input = base.file("input");
            std::fs::write(&input, many_lines()).expect("a file");
            let mut command = base.command("pub b/s");
            command.stdin(std::fs::File::open(&input).expect("a file"));
            let mut publisher = base.spawn(&mut command);
            eventually("the disk is full", || base.json("info b/s --json")["journal"]["no_space"] == true);
            if policy == "drop" {
                assert!(publisher.status().success());
                eventually("events were dropped", || {
                    base.json("info b/s --json")["journal"]["lost"].as_u64() > Some(0)
                });
            } else {
                // The next segment finds no room while the last one has some left.
                fill_up(&base);
            }
            daemon.signal(libc::SIGTERM);
            let status = daemon.status();
            assert_eq!(status.code(), Some(1), "{}", said(&errors));
            assert!(said(&errors).contains("wait in memory"), "{}", said(&errors));
            enlarge(&disk, 64)?;
            let again = base.file("again");
            let mut daemon = journald(&base, &disk, &more, &again);
            if policy == "block" {
                assert!(publisher.status().success());
            }
            base.fine_fed("pub b/s", b"the last words\n");
            daemon.signal(libc::SIGTERM);
            assert!(daemon.status().success(), "{}", said(&again));
            let journal = disk.join("j/b/s");
            let stats = base.json(&format!("journal stats {} --json", journal.display()));
            let text = base.run(&format!("journal cat {} --lines -q", journal.display()));
            let text = String::from_utf8_lossy(&text.stdout).into_owned();
            let recorded = text.lines().filter(|line| line.len() == 300).count();
            assert!(text.contains("the last words"), "{stats}");
            match policy {
                "block" => assert_eq!(recorded, 60_000, "{stats}"),
                _ => assert!(recorded < 60_000 && stats["gaps"] != 0, "{stats}"),
            }
            Ok(())
        });
    }
}
