//! The program's messages when something is wrong: the true reason, the right object, and how to
//! correct it.

mod program;

use std::process::Command;

use program::{Base, failed};
use railbus::{Bus, WorkOptions};

#[test]
fn a_limit_is_told_of_what_it_limits() {
    let base = Base::new();
    for (name, kind) in [("jobs", "queue"), ("prices", "topic")] {
        base.fine(&format!("create demo/{name} --kind {kind} --producers-max 1 --consumers-max 1"));
    }
    base.fine("create demo/ticks --consumers-max 1");
    let consumers = [
        ("work demo/jobs", "workers and taps"),
        ("sub demo/prices", "subscribers"),
        ("sub demo/ticks", "subscribers"),
    ];
    for (line, who) in consumers {
        let first = base.start(line);
        base.await_live(line.split_once(' ').expect("two words").1, "consumer", 1);
        let (code, said) = base.fails(line);
        assert!(code == 1 && said.contains(&format!("every place for {who} of")), "{line}: {code} {said}");
        assert!(said.contains("--consumers-max") && !said.contains("a stream has one"), "{line}: {said}");
        first.kill();
    }
    for (channel, who) in [("demo/jobs", "producers"), ("demo/prices", "publishers")] {
        let mut first = base.start_fed(&format!("pub {channel}"));
        base.await_live(channel, "producer", 1);
        let (code, said) = base.fails(&format!("pub {channel}"));
        assert!(code == 1 && said.contains(&format!("every place for {who} of {channel}")), "{code} {said}");
        assert!(
            said.contains("--producers-max") && said.contains(&format!("process {}", first.pid())),
            "{said}"
        );
        assert!(!said.contains("a stream has one"), "{said}");
        first.kill();
    }
    let first = base.start_fed("pub demo/ticks");
    base.await_live("demo/ticks", "producer", 1);
    assert!(base.fails("pub demo/ticks").1.contains("a stream has one publisher at a time"));
    first.kill();
}

#[test]
fn a_dead_letter_queue_that_nobody_asked_for_is_in_nobodys_way() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64 --max-attempts 3 --consumers-max 80");
    let queue = Bus::at(base.path(), "demo").expect("a bus").attach("jobs").expect("there");
    let open = || queue.worker(&WorkOptions::default());
    let workers: Vec<_> = (0..80).map(|_| open().expect("a place for each")).collect();
    let refused = open().map(|_| ()).expect_err("no more").to_string();
    assert!(refused.contains("every place for workers and taps of demo/jobs"), "{refused}");
    drop(workers);
    // Too few registry entries in a queue that the user made himself.
    base.fine("create demo/bin --kind queue --slots 64 --slot-bytes 512 --producers-max 1");
    base.fine("create demo/tasks --kind queue --slots 64 --max-attempts 3 --dead-letters bin");
    let first = base.start("work demo/tasks");
    base.await_live("demo/tasks", "consumer", 1);
    let (code, said) = base.fails("work demo/tasks");
    assert!(code == 1 && said.contains("demo/bin, the dead-letter queue of demo/tasks"), "{code} {said}");
    first.kill();
    let (code, said) =
        base.fails("create demo/large --kind queue --slots 64 --slot-bytes 1MiB --max-attempts 3");
    assert!(
        code == 2 && said.contains("at most 512 KiB") && said.contains("dead-letter queue"),
        "{code} {said}"
    );
    let long = "x".repeat(96);
    let (code, said) = base.fails(&format!("create demo/{long} --kind queue --max-attempts 3"));
    assert!(
        code == 2 && said.contains("--dead-letters") && said.contains("at most 100 bytes"),
        "{code} {said}"
    );
    base.fine(&format!("create demo/{long} --kind queue --max-attempts 3 --dead-letters bin2"));
}

#[test]
fn a_time_that_is_too_long_is_not_called_negative() {
    let base = Base::new();
    base.fine("create demo/ticks");
    for (time, why) in [("99999999999999999999s", "too long a time"), ("-1", "not negative")] {
        let (code, said) = base.fails(&format!("sub demo/ticks --timeout={time}"));
        assert!(code == 2 && said.contains(why), "{time}: {code} {said}");
    }
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    let base = Base::new();
    for line in ["--help", "--version", "pub --help", "help pub", "journal --help"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let output = base.command(line).stdout(full).output().expect("it runs");
        let (code, said) = failed(line, output);
        assert!(code != 0 && said.contains("standard output"), "{line}: {code} {said}");
    }
    assert!(base.fails("nonsense").0 == 2, "usage errors are told as before");
}

#[test]
fn numbers_that_json_readers_would_round_are_strings() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --keyed --stamp");
    base.fine_fed("pub demo/jobs --key ann", b"x\n");
    let line = base.fine("work demo/jobs --json -n 1");
    let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let is_text = |name: &str| event[name].as_str().is_some_and(|text| text.parse::<u64>().is_ok());
    assert!(is_text("published_ns") && is_text("key"), "{event}");
    assert_eq!(event["position"], 0, "small numbers stay numbers");
    let created = base.json("info demo/jobs --json")["created"].as_str().map(str::to_owned);
    assert!(created.as_ref().is_some_and(|text| text.len() == 30 && text.ends_with('Z')), "{created:?}");
}

#[test]
fn evict_means_who_lives_rather_than_a_dead_namesake() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue");
    let first = base.start("work demo/jobs --name twin");
    base.await_live("demo/jobs", "consumer", 1);
    let mut second = base.start("work demo/jobs --name twin");
    base.await_live("demo/jobs", "consumer", 2);
    let (code, said) = base.fails("evict demo/jobs twin --yes");
    assert!(code == 2 && said.contains("2 participants are called"), "{code} {said}");
    first.kill();
    let told = base.json("evict demo/jobs twin --yes --json");
    assert_eq!(told["outcome"], "fenced", "{told}");
    assert_eq!(second.status().code(), Some(7));
}

#[test]
fn a_truncated_copy_of_a_journal_is_called_one() {
    let base = Base::new();
    let journal = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    base.fine("create demo/ticks --capacity 64KiB");
    let directory = journal.path().join("demo/ticks");
    let mut daemon =
        base.start(&format!("journald --journal {} --channels demo/ticks", journal.path().display()));
    assert_eq!(daemon.read_line(), "ready\n");
    base.fine_fed("pub demo/ticks --lines", program::numbers(1..=100).as_bytes());
    program::eventually("it is recorded", || {
        let output = base.run(&format!("journal cat {}", directory.display()));
        output.stdout.ends_with(b"\n100\n")
    });
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    let first = std::fs::read_dir(&directory).expect("a list").map(|entry| entry.expect("an entry").path());
    let first =
        first.filter(|path| path.extension().is_some_and(|end| end == "seg")).min().expect("a segment");
    std::fs::OpenOptions::new().write(true).open(first).expect("open").set_len(16384).expect("cut");
    for line in ["tail", "cat", "verify", "info"] {
        let output = base.run(&format!("journal {line} {}", directory.display()));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("is truncated: it has 16384 bytes of"), "{line}: {said}");
    }
}

#[test]
fn a_base_directory_that_is_not_there_is_named() {
    let base = Base::new();
    let nowhere = base.path().join("typo");
    let run = |line: &str| base.command(line).env("RAILBUS_DIR", &nowhere).output().expect("it runs");
    for line in ["ls", "prune", "ls --json"] {
        let output = run(line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("there is no such directory"), "{line}: {said}");
        assert!(said.contains(&nowhere.display().to_string()), "{line}: {said}");
    }
    for line in ["info demo/ticks", "sub demo/ticks", "ls demo", "rm demo/ticks"] {
        let (code, said) = failed(line, run(line));
        assert!(code == 3 && said.contains("does not exist: check $RAILBUS_DIR"), "{line}: {code} {said}");
    }
}

#[test]
fn a_name_that_a_journal_would_take_for_its_own_is_refused() {
    let base = Base::new();
    for line in [
        "create shop/orders~eu",
        "create shop~1/orders",
        "create shop/q --kind queue --max-attempts 2 --dead-letters a~b",
    ] {
        let (code, said) = base.fails(line);
        assert!(code == 2 && said.contains("has no '~' in it"), "{line}: {code} {said}");
    }
    let (code, said) = failed("pub", base.feed("pub shop/a~b --create", b"x\n"));
    assert!(code == 2 && said.contains("'~'"), "{said}");
}

#[test]
fn running_out_of_descriptors_says_which_limit_to_raise() {
    let base = Base::new();
    base.fine("create demo/ticks");
    let program = env!("CARGO_BIN_EXE_railbus");
    let told = (4..12).any(|limit| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec {program} info demo/ticks")]);
        let output = command.env("RAILBUS_DIR", base.path()).output().expect("a shell");
        String::from_utf8_lossy(&output.stderr).contains("raise its limit (`ulimit -n`")
    });
    assert!(told, "with few descriptors, opening the channel fails and says why");
}
