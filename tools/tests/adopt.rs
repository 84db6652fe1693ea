//! A channel that was lost, and is created before anybody has made it again from its journal.

mod program;

use std::path::{Path, PathBuf};

use program::{Base, Running, fine};

/// A journaller that is ready.
fn journald(base: &Base, journal: &Path) -> Running {
    let mut daemon = base.start(&format!("journald --journal {} --channels demo/*", journal.display()));
    assert_eq!(daemon.read_line(), "ready\n");
    daemon
}

fn stop(mut daemon: Running) -> String {
    daemon.signal(libc::SIGTERM);
    let (status, said) = daemon.end();
    assert!(status.success(), "{said}");
    said
}

/// A queue with three jobs that were not done, recorded, and lost with its memory.
fn lost() -> (Base, tempfile::TempDir) {
    let base = Base::new();
    let journal = tempfile::tempdir().expect("a directory on disk");
    base.fine("create demo/jobs --kind queue --slots 64");
    let daemon = journald(&base, journal.path());
    base.fine_fed("pub demo/jobs --lines -q", b"one\ntwo\nthree\n");
    stop(daemon);
    std::fs::remove_dir_all(base.path().join("demo")).expect("a bus");
    (base, journal)
}

fn unfinished(base: &Base) -> u64 {
    base.json("info demo/jobs --json")["positions"]["unfinished"].as_u64().expect("a number")
}

#[test]
fn creating_looks_for_the_journal_of_a_lost_channel_first() {
    let (base, journal) = lost();
    let run = |line: &str| {
        let mut command = base.command(line);
        command.env("RAILBUS_JOURNAL", journal.path()).output().expect("the program starts")
    };
    let (code, said) = program::failed("create", run("create demo/jobs --kind queue --slots 64"));
    assert!(code == 1 && said.contains("journald") && said.contains("--if-missing"), "{code} {said}");
    assert!(!base.path().join("demo").exists());
    fine("create", run("create demo/jobs --kind queue --slots 64 --if-missing"));
    assert_eq!(unfinished(&base), 3);
    // A channel that has no journal there is created as usual.
    fine("create", run("create demo/other"));
}

#[test]
fn a_journal_that_was_set_aside_is_adopted_later() {
    let (base, journal) = lost();
    base.fine("create demo/jobs --kind queue --slots 64");
    let said = stop(journald(&base, journal.path()));
    assert_eq!(unfinished(&base), 0);
    let set_aside = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(journal.path().join("demo")).expect("journals");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.to_string_lossy().contains('~')).collect()
    };
    let aside = set_aside();
    assert_eq!(aside.len(), 1, "{said}");
    let adopt = format!("journal adopt {}", aside[0].display());
    let (code, said) = base.fails(&adopt);
    assert!(code == 1 && said.contains("railbus rm demo/jobs"), "{code} {said}");
    base.fine("rm demo/jobs --force");
    let told = base.fine(&adopt);
    assert!(told.contains("made again from its journal"), "{told}");
    assert_eq!(unfinished(&base), 3);
    // The other one was set aside in its place.
    let aside_now = set_aside();
    assert!(aside_now.len() == 1 && aside_now != aside, "{aside_now:?}");
    let (code, _) = base.fails(&format!("journal adopt {}", journal.path().join("demo/jobs").display()));
    assert_eq!(code, 2, "it is not set aside");
    // It is recorded on.
    stop(journald(&base, journal.path()));
}
