//! Each command of the real program, and each of its exit codes.

mod program;

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use program::{Base, eventually, failed, numbers};
use serde_json::Value;

#[test]
fn create_says_which_pages_it_got() {
    let base = Base::new();
    let text = base.fine("create demo/ticks --kind stream --capacity 4MiB");
    assert!(text.starts_with("demo/ticks: stream, 4 MiB in ") && text.lines().count() == 1, "{text}");
    let json =
        base.json("create demo/jobs --kind queue --slots 128 --slot-bytes 512 --max-attempts 3 --json");
    assert_eq!(
        (&json["channel"], &json["kind"], &json["capacity_bytes"], &json["dead_letters"]),
        (&"demo/jobs".into(), &"queue".into(), &65536.into(), &"jobs.dead".into())
    );
    assert!(json["page_bytes"].as_u64().is_some_and(|bytes| bytes >= 4096) && json["pages"].is_string());
    let again = base.fine("create demo/ticks --capacity 4MiB --if-missing");
    assert!(again.contains("was there already"), "{again}");
    let json = base.json("create demo/ticks --if-missing --json");
    assert_eq!(json["created"], false);
    base.fine("create demo/small --pages ordinary --no-lock --stamp --stuck-after 50ms --capacity 64KiB");
    let info = base.json("info demo/small --json");
    assert_eq!((&info["stamp"], &info["stuck_after_ns"]), (&true.into(), &50_000_000.into()));
    assert_eq!((&info["pages"]["locked"], &info["pages"]["backing"]), (&false.into(), &"tmpfs".into()));
}

#[test]
fn ls_and_info_tell_what_is_there() {
    let base = Base::new();
    assert!(base.fine("ls").starts_with("no channels in "));
    base.fine("create demo/ticks --producers-mode 664 --consumers-mode 666");
    base.fine("create other/jobs --kind queue");
    let table = base.fine("ls");
    assert!(table.starts_with("CHANNEL") && table.lines().count() == 3, "{table}");
    let json = base.json("ls --json");
    let names: Vec<&Value> =
        json["channels"].as_array().expect("a list").iter().map(|one| &one["channel"]).collect();
    assert_eq!(names, ["demo/ticks", "other/jobs"]);
    assert_eq!(base.json("ls demo --json")["channels"].as_array().map(Vec::len), Some(1));

    let mut publisher = base.start_fed("pub demo/ticks --name feed");
    let subscriber = base.start("sub demo/ticks --name screen");
    base.await_live("demo/ticks", "consumer", 1);
    base.await_live("demo/ticks", "producer", 1);
    let info = base.json("info demo/ticks --json");
    let all = info["participants"].as_array().expect("a list");
    let feed = all.iter().find(|one| one["name"] == "feed").expect("the publisher");
    assert_eq!(
        (&feed["role"], &feed["side"], &feed["index"]),
        (&"producer".into(), &"producer".into(), &0.into())
    );
    assert_eq!(feed["pid"], publisher.pid());
    let screen = all.iter().find(|one| one["name"] == "screen").expect("the subscriber");
    assert_eq!(
        (&screen["role"], &screen["lag"], &screen["stuck_ns"]),
        (&"subscriber".into(), &0.into(), &Value::Null)
    );
    assert_eq!(
        (&info["files"]["ring_access"]["mode"], &info["files"]["acks_access"]["mode"]),
        (&"664".into(), &"666".into())
    );
    assert_eq!(info["id"].as_str().map(str::len), Some(32));
    let report = base.fine("info demo/ticks");
    for word in
        ["demo/ticks, a stream of 4 MiB", "pages ", "rights ", "feed", "screen", "producer:0", "consumer:0"]
    {
        assert!(report.contains(word), "{word} is not in {report}");
    }
    assert_eq!(base.json("ls demo --json")["channels"][0]["consumers"], 1);
    drop(subscriber);
}

#[test]
fn a_stuck_subscriber_is_shown_evicted_and_told() {
    let base = Base::new();
    base.fine("create demo/ticks --capacity 4KiB --stuck-after 20ms");
    let mut subscriber = base.start("sub demo/ticks --name slow");
    base.await_live("demo/ticks", "consumer", 1);
    subscriber.signal(libc::SIGSTOP);
    // Fills the ring, and waits for the reader that does not move.
    let mut publisher = base.start_fed("pub demo/ticks --name feed");
    let mut input = publisher.child().stdin.take().expect("a pipe");
    let lines = numbers(1..=5000);
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, lines.as_bytes()));
    eventually("the subscriber is stuck, and the publisher waits", || {
        let live = base.participants("demo/ticks", "live");
        let is =
            |name: &str, field: &str| live.iter().any(|one| one["name"] == name && !one[field].is_null());
        is("slow", "stuck_ns") && is("feed", "waiting")
    });
    assert!(base.fine("info demo/ticks").contains("STUCK"));
    assert_eq!(base.json("ls --json")["channels"][0]["stuck"], 1);
    let json = base.json("evict demo/ticks slow --yes --json");
    assert_eq!((&json["who"], &json["outcome"]), (&"consumer:0".into(), &"told".into()));
    publisher.fine();
    writer.join().expect("a thread").expect("written");
    assert_eq!(base.participants("demo/ticks", "evicted").len(), 1);
    subscriber.signal(libc::SIGCONT);
    let (code, said) = failed("sub", subscriber.finish());
    assert!(code == 7 && said.contains("evicted"), "{code} {said}");
}

#[test]
fn a_publisher_may_evict_who_holds_it_up_but_not_the_durable() {
    let base = Base::new();
    base.fine("create demo/ticks --capacity 4KiB --stuck-after 20ms");
    let mut subscriber = base.start("sub demo/ticks");
    base.await_live("demo/ticks", "consumer", 1);
    subscriber.signal(libc::SIGSTOP);
    base.fine_fed("pub demo/ticks --evict-stuck --timeout 60s", numbers(1..=5000).as_bytes());
    subscriber.signal(libc::SIGCONT);
    assert_eq!(failed("sub", subscriber.finish()).0, 7);
    let mut durable = base.start("sub demo/ticks --name audit --durable");
    base.await_live("demo/ticks", "consumer", 1);
    durable.signal(libc::SIGSTOP);
    let output = base.feed("pub demo/ticks --evict-stuck --timeout 200ms", numbers(1..=5000).as_bytes());
    let (code, said) = failed("pub", output);
    assert!(code == 8 && said.contains("room in demo/ticks"), "{code} {said}");
    assert_eq!(base.participants("demo/ticks", "evicted").len(), 0);
}

#[test]
fn a_worker_and_a_producer_are_killed_exactly_them() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue");
    let mut worker = base.start("work demo/jobs --name tired");
    let mut producer = base.start_fed("pub demo/jobs --name endless");
    base.await_live("demo/jobs", "consumer", 1);
    base.await_live("demo/jobs", "producer", 1);
    // Stopped processes die of SIGKILL, too.
    worker.signal(libc::SIGSTOP);
    assert!(base.fine("evict demo/jobs tired --kill --yes").contains("was killed"));
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&worker.status()), Some(libc::SIGKILL));
    assert_eq!(base.json("evict demo/jobs producer:0 --yes --json")["outcome"], "killed");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&producer.status()), Some(libc::SIGKILL));
    assert_eq!(base.participants("demo/jobs", "live").len(), 0);
    assert_eq!(base.participants("demo/jobs", "dead").len(), 2);
    assert!(base.fine("evict demo/jobs tired --yes").contains("had died before"));
    let json = base.json("repair demo/jobs --json");
    assert_eq!(json["buried"], serde_json::json!(["producer:0", "consumer:0"]));
    assert!(base.json("info demo/jobs --json")["participants"].as_array().is_some_and(Vec::is_empty));
    assert!(base.fine("repair demo/jobs").contains("0 dead participants buried"));
    assert_eq!(base.fails("evict demo/jobs consumer:0").0, 3);
    assert_eq!(base.fails("evict demo/jobs consumer:99999").0, 3);
    let (code, told) = base.fails("evict demo/jobs nobody");
    assert!(code == 3 && told.contains("railbus info demo/jobs"), "{code} {told}");
}

#[test]
fn a_stopped_worker_is_evicted_another_does_its_event_and_its_own_done_is_refused() {
    for way in ["rseq", "swap"] {
        let base = Base::new();
        base.fine("create demo/jobs --kind queue");
        base.fine_fed("pub demo/jobs", b"one\ntwo\n");
        // It stops itself while it holds the event.
        let mut command = base.command("work demo/jobs --name tired --exec");
        let mut worker = base.spawn(command.arg("kill -STOP $PPID").env("RAILBUS_FENCE", way));
        let pid = worker.pid();
        let stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(") T ")
        };
        eventually("it is stopped", stopped);
        let json = base.json(&format!("evict demo/jobs {pid} --yes --json"));
        assert_eq!((&json["who"], &json["outcome"]), (&"consumer:0".into(), &"fenced".into()));
        assert_eq!(base.participants("demo/jobs", "evicted").len(), 1);
        let done = base.fine("work demo/jobs --json --until-closed");
        let attempts: Vec<_> = done
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["attempt"].clone())
            .collect();
        assert_eq!(attempts.iter().filter(|&one| *one == 2).count(), 1, "{done}");
        assert_eq!(attempts.len(), 2, "{done}");
        worker.signal(libc::SIGCONT);
        let (code, said) = failed("work", worker.finish());
        assert!(code == 7 && said.contains("evicted while it had 1 events in hand"), "{code} {said}");
        assert_eq!(base.json("info demo/jobs --json")["positions"]["unfinished"], 0);
    }
}

#[test]
fn a_worker_whose_words_were_harmed_ends_as_corrupt_and_another_does_its_event() {
    for way in ["rseq", "swap"] {
        let base = Base::new();
        base.fine("create demo/jobs --kind queue");
        base.fine_fed("pub demo/jobs", b"one\ntwo\n");
        let bus = railbus::Bus::at(base.path(), "demo").expect("the bus");
        let queue = bus.attach("jobs").expect("the queue");
        let entry = railbus_ring::layout::HEADER_BYTES + railbus_ring::layout::entry(0);
        // Its fence, as with restartable sequences; and the done word of the held event, which
        // another consumer calls handed back.
        let (at, word) = match railbus_os::rseq::offset() {
            Some(_) if way == "rseq" => (entry + railbus_ring::layout::FENCE, r"\0\0\0\0\0\0\0\0"),
            _ => (queue.header().done_offset as usize, r"\001\0\001\0\0\0\0\0"),
        };
        let acks = queue.paths().acks.display();
        let harm = format!("printf '{word}' | dd of='{acks}' bs=1 seek={at} conv=notrunc 2> /dev/null");
        let mut command = base.command("work demo/jobs --timeout 60s -n 1 --exec");
        let worker = base.spawn(command.arg(harm).env("RAILBUS_FENCE", way));
        let (code, said) = failed("work", worker.finish());
        assert!(code == 5 && said.contains("corrupt"), "{way}: {code} {said}");
        let done = base.fine("work demo/jobs --lines -n 2 --timeout 60s");
        let mut lines: Vec<_> = done.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["one", "two"], "{way}");
        assert_eq!(base.json("info demo/jobs --json")["positions"]["unfinished"], 0);
    }
}

#[test]
fn rm_refuses_what_is_used_and_prune_keeps_what_holds_something() {
    let base = Base::new();
    for line in ["demo/used", "demo/unused", "demo/jobs --kind queue", "demo/audited", "old/unused"] {
        base.fine(&format!("create {line}"));
    }
    base.fine_fed("pub demo/jobs", b"undone\n");
    base.fine("sub demo/audited --name audit --durable -n 0");
    let subscriber = base.start("sub demo/used");
    base.await_live("demo/used", "consumer", 1);
    let (code, said) = base.fails("rm demo/used");
    assert!(code == 1 && said.contains("in use by subscriber"), "{code} {said}");
    let json = base.json("prune --json");
    assert_eq!(json["removed"], serde_json::json!(["demo/unused", "old/unused"]));
    assert_eq!(json["in_use"], serde_json::json!(["demo/audited", "demo/jobs", "demo/used"]));
    assert!(!base.path().join("old").exists(), "the empty bus is gone");
    assert_eq!(
        base.json("prune demo --all --yes --json")["removed"],
        serde_json::json!(["demo/audited", "demo/jobs"])
    );
    base.fine("rm --force demo/used");
    drop(subscriber);
    assert!(base.fine("ls").starts_with("no channels"));
    base.fine("create demo/a");
    base.fine("create demo/b");
    base.fine("rm demo --all");
    assert_eq!(std::fs::read_dir(base.path()).expect("the base").count(), 0);
}

#[test]
fn exit_codes_tell_what_is_the_matter() {
    let base = Base::new();
    base.fine("create demo/ticks --capacity 64KiB");
    base.fine("create demo/jobs --kind queue --slots 64");
    for (expected, line, word) in [
        (1, "create demo/ticks", "exists already"),
        (2, "create ticks", "BUS/CHANNEL"),
        (2, "create demo/x --capacity 5000", "power of two"),
        (2, "create demo/x --kind stream --slots 64", "slots"),
        (2, "create demo/x --kind ring", "stream"),
        (2, "create demo/x --capacity 4XB", "unit"),
        (2, "create demo/x --producers-mode 777", "666"),
        (2, "sub demo/ticks --durable", "--name"),
        (2, "sub demo/ticks --raw --json", "cannot be used with"),
        (2, "tap demo/ticks", "not a queue"),
        (2, "work demo/ticks", "not a queue"),
        (2, "pub demo/ticks --chunk 0", "at least one byte"),
        (2, "pub demo/ticks --chunk 1GiB", "at most"),
        (2, "pub demo/ticks --rate 0", "--rate"),
        (2, "nonsense", "nonsense"),
        (3, "info demo/none", "does not exist"),
        (3, "sub none/none", "does not exist"),
        (3, "rm demo/none", "does not exist"),
        (3, "ls none", "does not exist"),
        (3, "prune none", "does not exist"),
        (6, "create demo/x --capacity 1TiB", "no room"),
        (6, "create demo/x --capacity 64KiB --require-huge", "huge"),
        (8, "pub demo/ticks --wait-subscribers 1 --timeout 50ms", "subscribers"),
        (8, "sub demo/ticks --timeout 50ms", "an event of demo/ticks"),
        (8, "work demo/jobs --timeout 50ms", "an event of demo/jobs"),
    ] {
        let (code, said) = base.fails(line);
        assert!(code == expected && said.contains(word), "{line}: {code}, not {expected}: {said}");
    }
    let output = base.feed("pub demo/jobs --timeout 100ms", numbers(1..=100).as_bytes());
    let (code, said) = failed("pub", output);
    assert!(code == 7 && said.contains("no worker is alive"), "{code} {said}");
    let output = base.feed("pub demo/jobs --lines", &[b'x'; 500]);
    let (code, said) = failed("pub", output);
    assert!(code == 2 && said.contains("event 1 of the input"), "{code} {said}");
    let output = base.feed("pub demo/ticks --length-prefixed", b"\x01\0\0\0a\x05\0\0\0xy");
    let (code, said) = failed("pub", output);
    assert!(code == 1 && said.contains("3 bytes before the end of event 2; the 1 before"), "{code} {said}");
    let output = base.command("ls").env("RAILBUS_DIR", "").output().expect("it runs");
    assert_eq!(failed("ls", output).0, 2);
    // The hint about creation is for channels only.
    let (code, said) = base.fails("demo /nonexistent");
    assert!(code == 3 && said.contains("/nonexistent") && !said.contains("railbus create"), "{code} {said}");
    let output = base.command("create demo/x").env("RAILBUS_DIR", "/proc/x").output().expect("it runs");
    let (code, said) = failed("create", output);
    assert!(code == 2 && said.contains("is not tmpfs") && said.contains("/proc/x"), "{said}");
    assert!(!said.contains("`railbus create`"), "{said}");
    let mut held = base.start("sub demo/ticks --name audit --durable");
    base.await_live("demo/ticks", "consumer", 1);
    let (code, said) = base.fails("sub demo/ticks --name audit --durable");
    assert!(code == 1 && said.contains("the name \"audit\" in demo/ticks is taken"), "{code} {said}");
    assert!(said.contains("choose another name"), "{said}");
    held.signal(libc::SIGINT);
    assert!(held.status().success());
}

#[test]
fn damaged_files_are_corrupt_and_can_be_removed() {
    let base = Base::new();
    let ring = base.path().join("demo/ticks.ring");
    for damage in ["truncated", "foreign", "layout"] {
        base.fine("create demo/ticks --capacity 64KiB");
        match damage {
            "truncated" => {
                std::fs::OpenOptions::new().write(true).open(&ring).expect("open").set_len(8192).expect("cut")
            }
            "foreign" => std::fs::write(&ring, [b'x'; 100_000]).expect("written"),
            _ => {
                let mut bytes = std::fs::read(&ring).expect("read");
                bytes[8] ^= 1; // The fingerprint of the layout.
                std::fs::write(&ring, bytes).expect("written");
            }
        }
        for line in ["info demo/ticks", "sub demo/ticks -n 1", "pub demo/ticks"] {
            let (code, said) = base.fails(line);
            assert!(code == 5, "{damage}: {line}: {code}: {said}");
            assert!(said.contains("railbus rm demo/ticks") || damage == "layout", "{damage}: {line}: {said}");
        }
        let json = base.json("ls --json");
        assert!(json["channels"][0]["error"].is_string(), "{json}");
        base.fine("rm demo/ticks");
    }
}

/// Runs the program as a user who owns nothing, if this process may; otherwise as this user.
fn as_stranger(base: &Base, line: &str) -> std::process::Output {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return base.run(line);
    }
    // By an open descriptor, because the stranger may not be able to reach the program by its path.
    let program = std::fs::File::open(env!("CARGO_BIN_EXE_railbus")).expect("the program");
    // SAFETY: clears close-on-exec of a descriptor of our own.
    assert_eq!(unsafe { libc::fcntl(program.as_raw_fd(), libc::F_SETFD, 0) }, 0);
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command
        .args(line.split_whitespace())
        .env("RAILBUS_DIR", base.path())
        .current_dir("/")
        .uid(65534)
        .gid(65534);
    command.stdin(std::process::Stdio::null()).output().expect("it runs")
}

#[test]
fn without_the_right_the_answer_is_not_allowed() {
    let base = Base::new();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o755)).expect("open to others");
    base.fine("create demo/closed --producers-mode 000 --consumers-mode 000");
    base.fine("create demo/readable --producers-mode 444 --consumers-mode 444");
    for line in [
        "info demo/closed",
        "pub demo/closed",
        "sub demo/closed -n 0",
        "pub demo/readable",
        "sub demo/readable -n 0",
    ] {
        let (code, said) = failed(line, as_stranger(&base, line));
        assert!(code == 4 && said.contains("not allowed"), "{line}: {code}: {said}");
    }
    let output = as_stranger(&base, "info demo/readable --json");
    assert!(output.status.success(), "an observer needs to read only: {output:?}");
    let (code, said) = failed("repair", as_stranger(&base, "repair demo/readable"));
    assert!(code == 4 && said.contains("one side is left alone"), "{code}: {said}");
}

#[test]
fn every_command_has_help_with_examples() {
    let base = Base::new();
    let help = base.fine("--help");
    assert!(help.contains("railbus create demo/ticks") && help.contains("Exit codes: 0 fine"), "{help}");
    for verb in [
        "demo",
        "create",
        "ls",
        "info",
        "pub",
        "sub",
        "tap",
        "work",
        "repair",
        "evict",
        "purge",
        "skip",
        "seek",
        "dead-letters",
        "resize",
        "export-config",
        "rm",
        "prune",
        "doctor",
        "bench",
        "completions",
        "man",
    ] {
        let help = base.fine(&format!("{verb} --help"));
        assert!(help.contains("Examples:\n") && help.contains(&format!("railbus {verb}")), "{verb}: {help}");
    }
    for (alias, verb) in [("publish", "pub"), ("subscribe", "sub")] {
        assert!(base.fine(&format!("{alias} --help")).contains(&format!("railbus {verb}")));
    }
    assert!(base.fine("--version").starts_with("railbus "));
    assert!(!help.contains("demo-actor"));
}

#[test]
fn completions_for_the_usual_shells() {
    let base = Base::new();
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef railbus"), ("fish", "complete -c railbus")]
    {
        let script = base.fine(&format!("completions {shell}"));
        assert!(script.contains(word) && script.contains("wait-subscribers"), "{shell}");
        assert!(script.contains("dead-letters") && script.contains("version"), "{shell}");
        for hidden in ["demo-actor", "bench,worker", "One process of a measurement"] {
            assert!(!script.contains(hidden), "{shell} offers {hidden}");
        }
    }
    let script = base.file("bash");
    std::fs::write(&script, base.fine("completions bash")).expect("written");
    match Command::new("bash").arg("-n").arg(&script).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => println!("skipped: no bash here: {error}"),
    }
    assert_eq!(base.fails("completions tcsh").0, 2);
}

#[test]
fn a_late_subscriber_prints_the_last_events() {
    let base = Base::new();
    for kind in ["stream", "topic", "queue"] {
        base.fine(&format!("create demo/{kind} --kind {kind}"));
        for text in ["one", "two", "three"] {
            base.fine_fed(&format!("pub demo/{kind} --lines"), format!("{text}\n").as_bytes());
        }
        assert_eq!(base.fine(&format!("sub demo/{kind} --from last -n 1")), "three\n");
        assert_eq!(base.fine(&format!("sub demo/{kind} --from last=2 -n 2")), "two\nthree\n");
        assert_eq!(base.fine(&format!("sub demo/{kind} --from last=9 -n 3")), "one\ntwo\nthree\n");
        let (code, said) = base.fails(&format!("sub demo/{kind} --from last=x"));
        assert!(code == 2 && said.contains("number of events"), "{code}: {said}");
    }
}

#[test]
fn a_manual_page_for_each_command() {
    let base = Base::new();
    let pages = base.file("pages");
    let (code, said) = base.fails(&format!("man {}", pages.display()));
    assert!(code == 1 && said.contains("directory that exists"), "{code}: {said}");
    std::fs::create_dir(&pages).expect("a directory");
    base.fine(&format!("man {}", pages.display()));
    for (page, text) in
        [("railbus", "railbus"), ("railbus-sub", "BUS/CHANNEL"), ("railbus-bench-latency", "cores")]
    {
        let page = std::fs::read_to_string(pages.join(format!("{page}.1"))).expect("a page");
        assert!(page.starts_with(".ie") && page.contains(text), "{page}");
    }
    assert!(!pages.join("railbus-demo-actor.1").exists());
}

#[test]
fn a_closed_output_is_no_error() {
    let base = Base::new();
    base.fine("create demo/ticks");
    for line in ["info demo/ticks", "info demo/ticks --json", "ls", "completions bash", "--help"] {
        let mut running = base.start(line);
        drop(running.child().stdout.take());
        let output = running.finish();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{line}: {}: {said}", output.status);
    }
}
