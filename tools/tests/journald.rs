//! The daemon as scripts and systemd use it: real processes, real signals, a real journal.

mod program;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use program::{Base, Running, eventually};

/// A journal directory on disk.
fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// Starts the daemon, with its standard error in a file, and waits until it is ready.
fn journald(base: &Base, journal: &Path, more: &str) -> Running {
    let line =
        format!("journald --journal {} --segment-bytes 1MiB --staging-bytes 2MiB {more}", journal.display());
    let mut daemon = base.start(&line);
    assert_eq!(daemon.read_line(), "ready\n");
    daemon
}

fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| format!("line {number}\n").into_bytes()).collect()
}

/// The contents of a journal, as lines.
fn held(base: &Base, directory: &Path) -> Vec<u8> {
    let output = base.run(&format!("replay {} --to-stdout lines", directory.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn await_recorded(base: &Base, channel: &str) {
    eventually(&format!("{channel} is recorded"), || {
        base.participants(channel, "live").iter().any(|one| one["name"] == ".journal")
    });
}

#[test]
fn it_records_what_fits_and_channels_made_later_and_seals_at_sigterm() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create demo/ticks --kind stream --capacity 64KiB");
    base.fine("create other/ticks --kind stream --capacity 64KiB");
    let mut daemon = journald(&base, disk.path(), "--channels demo/* --sync always");
    let sent = lines(20_000);
    base.fine_fed("pub demo/ticks", &sent);
    base.fine_fed("pub other/ticks", b"not recorded\n");
    base.fine("create demo/late --kind topic --slots 64");
    base.fine_fed("pub demo/late", &lines(1000));
    await_recorded(&base, "demo/late");
    base.fine("create demo/gone --kind stream");
    base.fine_fed("pub demo/gone", b"the last words\n");
    await_recorded(&base, "demo/gone");
    base.fine("rm --force demo/gone");
    daemon.signal(libc::SIGTERM);
    let (status, errors) = daemon.end();
    assert!(status.success(), "{errors}");
    assert!(held(&base, &disk.path().join("demo/ticks")) == sent);
    assert!(held(&base, &disk.path().join("demo/late")).ends_with(b"line 999\n"));
    assert_eq!(held(&base, &disk.path().join("demo/gone")), b"the last words\n");
    assert!(!disk.path().join("other").exists());
    let report = base.json(&format!("journal verify {} --json", disk.path().join("demo/ticks").display()));
    assert_eq!(report["events"], 20_000, "{report}");
    assert_eq!(report["torn_bytes"], 0, "{report}");
}

/// The first events of a new channel, and of one that was removed and made again: a journaller that
/// only looks around would miss them.
#[test]
fn new_channels_and_those_made_again_are_recorded_from_their_first_event() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create demo/old --kind stream --capacity 64KiB");
    let mut daemon = journald(&base, disk.path(), "--channels demo/*");
    let sent = lines(30_000);
    for (channel, kind) in [("demo/new", "stream"), ("demo/topic", "topic --slots 64")] {
        // Far more than the ring holds, at once.
        base.fine(&format!("create {channel} --kind {kind}"));
        base.fine_fed(&format!("pub {channel}"), &sent);
    }
    base.fine_fed("pub demo/old", b"of the old one\n");
    base.fine("rm --force demo/old");
    base.fine("create demo/old --kind stream --capacity 64KiB");
    base.fine_fed("pub demo/old", &sent);
    daemon.signal(libc::SIGTERM);
    let (status, errors) = daemon.end();
    assert!(status.success(), "{errors}");
    for channel in ["demo/new", "demo/topic", "demo/old"] {
        assert!(held(&base, &disk.path().join(channel)) == sent, "{channel}: {errors}");
    }
}

#[test]
fn a_channel_made_with_its_journallers_subscription_loses_nothing_before_there_is_one() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create demo/born --kind stream --capacity 4KiB --journaled");
    let sent = lines(2000);
    let input = base.file("input");
    std::fs::write(&input, &sent).expect("a file");
    let mut command = base.command("pub demo/born");
    command.stdin(std::fs::File::open(&input).expect("a file"));
    let mut publisher = base.spawn(&mut command);
    eventually("the ring is full", || {
        base.json("info demo/born --json")["held_by"].as_str().is_some_and(|by| by.contains(".journal"))
    });
    let mut daemon = journald(&base, disk.path(), "--channels demo/*");
    assert!(publisher.status().success());
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    assert!(held(&base, &disk.path().join("demo/born")) == sent);
    let (code, errors) = base.fails("create demo/lossy --kind topic --overflow lossy-readers --journaled");
    assert!(code == 2 && errors.contains("journaled"), "{code} {errors}");
}

#[test]
fn what_was_published_before_there_was_a_journal_is_a_recorded_gap() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create demo/late --kind topic --slots 64 --slot-bytes 64");
    base.fine_fed("pub demo/late", &lines(1000));
    let mut daemon = journald(&base, disk.path(), "--channels demo/*");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    let directory = disk.path().join("demo/late").display().to_string();
    let report = base.json(&format!("journal verify {directory} --json"));
    assert_eq!((&report["gaps"], &report["first_position"]), (&1.into(), &0.into()), "{report}");
    let text = base.run(&format!("journal cat {directory}"));
    let said = format!("{}{}", String::from_utf8_lossy(&text.stdout), String::from_utf8_lossy(&text.stderr));
    assert!(said.contains("not recording") || said.contains("missing"), "{said}");
    // The gap and the events after it are all that was published.
    let kept = report["events"].as_u64().expect("a number");
    assert!((1..=64).contains(&kept), "what the ring still held: {report}");
    let text = base.fine(&format!("journal cat {directory} --json"));
    let gap = text.lines().find(|line| line.contains("\"gap\"")).expect("a gap");
    let gap: serde_json::Value = serde_json::from_str(gap).expect("JSON");
    assert_eq!(gap["events"].as_u64(), Some(1000 - kept), "{gap}");
}

#[test]
fn one_daemon_writes_to_a_directory_and_the_second_is_told_who() {
    let (base, disk) = (Base::new(), disk());
    let mut daemon = journald(&base, disk.path(), "--channels demo/*");
    let (code, errors) =
        base.fails(&format!("journald --journal {} --channels demo/*", disk.path().display()));
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains(&format!("process {}", daemon.pid())), "{errors}");
    daemon.signal(libc::SIGINT);
    assert!(daemon.end().0.success());
    // The lock goes with it.
    let mut daemon = journald(&base, disk.path(), "--channels demo/*");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
}

#[test]
fn a_killed_daemon_is_replaced_without_a_loss_and_a_lost_channel_is_made_again() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create demo/ticks --kind stream --capacity 64KiB");
    base.fine("create demo/jobs --kind queue");
    let mut all = Vec::new();
    for round in 0..4 {
        let mut daemon = journald(&base, disk.path(), "--channels demo/*");
        let sent = lines(5000 + round);
        base.fine_fed("pub demo/ticks", &sent);
        all.extend(sent);
        daemon.signal(libc::SIGKILL);
        daemon.end();
    }
    base.fine_fed("pub demo/jobs", &lines(10));
    let done = base.fine("work demo/jobs -n 4");
    assert_eq!(done.lines().count(), 4);
    let mut daemon = journald(&base, disk.path(), "--channels demo/*");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    assert!(held(&base, &disk.path().join("demo/ticks")) == all);
    std::fs::remove_dir_all(base.path().join("demo")).expect("the bus is lost");
    let mut daemon = journald(&base, disk.path(), "--channels demo/*");
    let info = base.json("info demo/ticks --json");
    assert_eq!(info["incarnation"], 2, "{info}");
    base.fine_fed("pub demo/ticks", b"after the loss\n");
    all.extend(b"after the loss\n");
    daemon.signal(libc::SIGTERM);
    let (status, errors) = daemon.end();
    assert!(status.success() && errors.contains("made again"), "{errors}");
    assert!(held(&base, &disk.path().join("demo/ticks")) == all);
}

#[test]
fn a_reload_applies_the_config_and_a_bad_one_changes_nothing() {
    let (base, disk) = (Base::new(), disk());
    for channel in ["demo/a", "demo/b", "demo/c"] {
        base.fine(&format!("create {channel} --kind stream --capacity 64KiB"));
    }
    let config = base.file("journald.toml");
    let write = |channels: &str, more: &str| {
        let text = format!(
            "journal = {:?}\nchannels = [{channels}]\n[defaults]\nsegment-bytes = \"1MiB\"\n{more}",
            disk.path()
        );
        std::fs::write(&config, text).expect("a config");
    };
    write("\"demo/a\", \"demo/b\"", "");
    let mut daemon = base.start(&format!("journald --config {}", config.display()));
    assert_eq!(daemon.read_line(), "ready\n");
    base.fine_fed("pub demo/a", b"one\n");
    write("\"demo/[\", nonsense", "");
    daemon.signal(libc::SIGHUP);
    std::thread::sleep(Duration::from_millis(100));
    await_recorded(&base, "demo/a");
    write(
        "\"demo/a\", \"demo/c\"",
        "sync = \"interval=5ms\"\n[[channel]]\nmatch = \"demo/c\"\nmax-age = \"1h\"",
    );
    daemon.signal(libc::SIGHUP);
    await_recorded(&base, "demo/c");
    eventually("demo/b is let go", || base.participants("demo/b", "live").is_empty());
    await_recorded(&base, "demo/a");
    base.fine_fed("pub demo/a", b"two\n");
    base.fine_fed("pub demo/c", b"three\n");
    daemon.signal(libc::SIGTERM);
    let (status, errors) = daemon.end();
    assert!(status.success() && errors.contains("not reloaded"), "{errors}");
    assert_eq!(held(&base, &disk.path().join("demo/a")), b"one\ntwo\n");
    assert_eq!(held(&base, &disk.path().join("demo/c")), b"three\n");
}

#[test]
fn systemd_is_told_and_its_watchdog_fed() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create demo/ticks --kind stream --capacity 64KiB");
    let path: PathBuf = base.file("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let hear = |word: &str| {
        let mut bytes = [0; 4096];
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let read = socket.recv(&mut bytes).expect("a datagram");
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            if text.lines().any(|line| line.starts_with(word)) {
                return;
            }
        }
        panic!("never told {word}");
    };
    let line = format!("journald --journal {} --channels demo/* --segment-bytes 1MiB", disk.path().display());
    let mut command = base.command(&line);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut daemon = Running::of(command);
    for word in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        hear(word);
    }
    daemon.signal(libc::SIGHUP);
    for word in ["RELOADING=1", "READY=1"] {
        hear(word);
    }
    daemon.signal(libc::SIGTERM);
    hear("STOPPING=1");
    assert!(daemon.end().0.success());
}

#[test]
fn what_cannot_be_recorded_is_told_with_an_exit_code() {
    let (base, disk) = (Base::new(), disk());
    let journal = disk.path().display();
    for (line, code, word) in [
        (format!("journald --journal {journal}"), 2, "--channels"),
        ("journald --channels demo/*".to_owned(), 2, "--journal"),
        (format!("journald --journal {journal} --channels demo"), 2, "BUS/CHANNEL"),
        (format!("journald --journal {journal} --channels demo/* --sync often"), 2, "interval"),
        (format!("journald --journal {journal} --channels demo/* --segment-bytes 1KiB"), 2, "segments"),
        ("journald --config /does/not/exist".to_owned(), 3, "/does/not/exist"),
        ("journald --journal /proc/nowhere --channels demo/*".to_owned(), 3, "/proc"),
    ] {
        let (found, errors) = base.fails(&line);
        assert!(found == code && errors.contains(word), "{line}: {found} {errors}");
    }
    // The only channel that fits is a queue, and lossy.
    base.fine("create demo/jobs --kind queue");
    let (code, errors) = base.fails(&format!("journald --journal {journal} --channels demo/* --mode lossy"));
    assert!(code == 2 && errors.contains("lossy"), "{code} {errors}");
}

/// A recorder that panics is started again. When it goes on panicking, the daemon seals the other
/// channels, gives the reason and ends with exit code 1; `info` and `stat` show it. A debug build
/// makes the fault on request.
#[test]
fn a_recorder_that_panics_again_and_again_ends_the_daemon_and_is_told() {
    if !cfg!(debug_assertions) {
        return;
    }
    for asked in ["demo/bad", "thread:demo/bad"] {
        let (base, disk) = (Base::new(), disk());
        for name in ["bad", "good"] {
            base.fine(&format!("create demo/{name} --kind stream --capacity 64KiB"));
        }
        let line = format!(
            "journald --journal {} --channels demo/* --segment-bytes 1MiB --staging-bytes 2MiB",
            disk.path().display()
        );
        let mut daemon = base.spawn(base.command(&line).env("RAILBUS_TEST_CRASH_RECORDER", asked));
        assert_eq!(daemon.read_line(), "ready\n");
        let (status, errors) = daemon.end();
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(errors.contains("demo/bad: the recorder of demo/bad is gone: it has panicked"), "{errors}");
        assert!(errors.contains("its recorder is started again in 500 ms"), "{errors}");
        assert!(errors.contains("the recorder of demo/bad panics again and again"), "{errors}");
        if asked == "demo/bad" {
            assert!(errors.contains("demo/good: sealed at position"), "{errors}");
            let info = base.json("info demo/bad --json");
            assert_eq!(
                (&info["journal"]["crashes"], &info["journal"]["state"]),
                (&4.into(), &"poisoned".into())
            );
            assert!(base.fine("info demo/bad").contains("ITS RECORDER HAS PANICKED"));
            let stat = base.fine("stat demo/bad --interval 10ms --json");
            assert!(stat.contains("\"journal_crashes\":4"), "{stat}");
        }
        let mut again = journald(&base, disk.path(), "--channels demo/* --sync always");
        base.fine_fed("pub demo/bad", b"recorded after all\n");
        again.signal(libc::SIGTERM);
        let (status, errors) = again.end();
        assert!(status.success(), "{errors}");
        assert_eq!(held(&base, &disk.path().join("demo/bad")), b"recorded after all\n");
    }
}

/// A journal that a newer railbus has continued: every command refuses it with exit code 5, and not
/// a byte changes.
#[test]
fn a_journal_of_a_newer_version_is_refused_by_every_command_and_stays() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create demo/ticks --kind stream --capacity 1MiB");
    let mut daemon = journald(&base, disk.path(), "--channels demo/* --sync always");
    base.fine_fed("pub demo/ticks", &lines(1000));
    daemon.signal(libc::SIGTERM);
    let (status, errors) = daemon.end();
    assert!(status.success(), "{errors}");
    let directory = disk.path().join("demo/ticks");
    for entry in std::fs::read_dir(&directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            age(&path);
        }
    }
    let before = segments(&directory);
    let at = directory.display();
    let daemon = format!("journald --journal {} --channels demo/*", disk.path().display());
    let commands = [
        format!("journal verify {at}"),
        format!("journal info {at}"),
        format!("journal cat {at}"),
        format!("journal repair {at}"),
        format!("journal repair {at} --quarantine"),
        format!("journal prune {at} --keep 0"),
        format!("journal index {at}"),
        format!("replay {at} --to-stdout lines"),
        daemon.clone(),
    ];
    for line in &commands {
        let (code, errors) = base.fails(line);
        assert_eq!(code, 5, "{line}: {errors}");
        assert!(
            errors.contains("version 2; railbus") && errors.contains("reads version 1"),
            "{line}: {errors}"
        );
        assert!(segments(&directory) == before, "{line} changed the journal");
    }
    // The channel is lost: it is not made again from a journal that is not understood.
    for name in ["ticks.ring", "ticks.acks"] {
        std::fs::remove_file(base.path().join("demo").join(name)).expect("removed");
    }
    let (code, errors) = base.fails(&daemon);
    assert_eq!(code, 5, "{errors}");
    assert!(segments(&directory) == before, "making the channel again changed the journal");
}

/// The segments of a journal, byte for byte.
fn segments(directory: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let segments = paths.filter(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.map(|path| (path.clone(), std::fs::read(path).expect("a segment"))).collect()
}

/// Makes a segment, and every block in it, one of format version 2.
fn age(path: &Path) {
    let mut content = std::fs::read(path).expect("a segment");
    let sign = |bytes: &mut [u8]| {
        let at = bytes.len() - 4;
        let sum = railbus_log::format::checksum(&bytes[..at]);
        bytes[at..].copy_from_slice(&sum.to_le_bytes());
    };
    content[8] = 2;
    sign(&mut content[..4096]);
    for sector in content.chunks_mut(4096).skip(2).filter(|sector| sector.starts_with(b"RBLK")) {
        sector[4] = 2;
        sign(&mut sector[..128]);
    }
    std::fs::write(path, content).expect("written");
}
