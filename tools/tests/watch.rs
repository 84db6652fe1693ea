//! `railbus watch`: real processes of all kinds are stopped, found, evicted, and continued.

mod program;

use std::io::Write;
use std::process::{Command, Stdio};

use program::{Base, Running, eventually, failed, numbers};
use railbus::{Bus, SendOptions};
use serde_json::Value;

/// A process that claims room for an event in `demo/x`, and stops itself while it holds the claim.
#[test]
#[ignore = "the other tests run it as a child process"]
fn claimer() {
    let Some(role) = std::env::var_os("RAILBUS_TEST_CLAIMER") else { return };
    let channel = Bus::open("demo").and_then(|bus| bus.attach("x")).expect("attached");
    let options = SendOptions::default().name("claimer");
    let stop = || nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).expect("stopped");
    if role == "topic" {
        let mut sender = channel.topic_publisher(&options).expect("attached");
        let mut claim = sender.claim(5).expect("room");
        stop();
        claim.copy_from_slice(b"late!");
        claim.commit();
    } else {
        let mut sender = channel.producer(&options).expect("attached");
        let mut claim = sender.claim(5).expect("room");
        stop();
        claim.copy_from_slice(b"late!");
        claim.commit();
    }
}

/// Starts [`claimer`]; it is killed when the test ends.
fn start_claimer(base: &Base, kind: &str) -> Running {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "claimer", "--ignored", "--nocapture"]).env("RAILBUS_DIR", base.path());
    command
        .env("RAILBUS_TEST_CLAIMER", kind)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running::of(command)
}

/// The happenings that a watcher has reported so far, in its file.
fn told(base: &Base) -> Vec<Value> {
    let text = std::fs::read_to_string(base.file("told")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

fn happened(base: &Base, event: &str, name: &str) -> bool {
    told(base).iter().any(|one| one["event"] == event && (name.is_empty() || one["name"] == name))
}

/// Starts `watch` with its output in the file in which the tests find the happenings.
fn start_watch(base: &Base, arguments: &str) -> Running {
    let mut command = base.command(&format!("watch --json --interval 20ms {arguments}"));
    command.stdout(std::fs::File::create(base.file("told")).expect("a file")).stderr(Stdio::inherit());
    Running::of(command)
}

/// Whether a process has a handler for SIGTERM.
fn catches_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("caught signals");
    let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
    caught & 1 << (libc::SIGTERM - 1) != 0
}

/// Ends `watch` by SIGTERM, which ends a process that does not catch it yet in another way. It
/// looks at least once before.
fn ends_well(mut watch: Running) {
    let pid = watch.pid();
    eventually("it catches SIGTERM", || catches_sigterm(pid));
    watch.signal(libc::SIGTERM);
    assert!(watch.status().success());
}

#[test]
fn a_stopped_reader_of_each_kind_is_found_evicted_and_told() {
    for (kind, read) in [("stream", "sub"), ("topic", "sub"), ("queue", "tap")] {
        let base = Base::new();
        let size = if kind == "stream" { "--capacity 4KiB" } else { "--slots 64 --slot-bytes 64" };
        base.fine(&format!("create demo/x --kind {kind} {size} --stuck-after 20ms --stamp"));
        let mut slow = base.start(&format!("{read} demo/x --name slow"));
        base.await_live("demo/x", "consumer", 1);
        // Another process must empty the queue, or the producer waits for that.
        let _worker = (kind == "queue").then(|| base.start_to_file("work demo/x --name worker"));
        if kind == "queue" {
            base.await_live("demo/x", "consumer", 2);
        }
        slow.signal(libc::SIGSTOP);
        let mut publisher = base.start_fed("pub demo/x --name feed");
        let mut input = publisher.child().stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || input.write_all(numbers(1..=3000).as_bytes()));
        eventually("the publisher waits for the one who is stopped", || {
            base.participants("demo/x", "live")
                .iter()
                .any(|one| one["name"] == "feed" && !one["waiting"].is_null())
        });
        // An alarm is reported once, and nobody is evicted.
        let watch = start_watch(&base, "demo");
        eventually("it is told", || happened(&base, "stuck", "slow"));
        let (code, said) = base.fails("watch demo --once");
        assert!(code == 9 && said.contains("1 stuck"), "{kind}: {code} {said}");
        ends_well(watch);
        assert_eq!(told(&base).iter().filter(|one| one["event"] == "stuck").count(), 1, "{:?}", told(&base));
        assert!(!happened(&base, "evicted", ""));
        // With the policy it is evicted, and the publisher goes on.
        let watch = start_watch(&base, "--for demo/x=skip-to-live");
        eventually("it is evicted", || happened(&base, "evicted", "slow"));
        publisher.fine();
        writer.join().expect("a thread").expect("written");
        slow.signal(libc::SIGCONT);
        let (code, said) = failed(read, slow.finish());
        assert!(code == 7 && said.contains("evicted"), "{kind}: {code} {said}");
        ends_well(watch);
        let said = base.fine("watch demo --once");
        assert!(!said.contains("stuck"), "{kind}: nobody is any more: {said}");
    }
}

#[test]
fn a_durable_reader_is_told_and_never_evicted_and_moves_again() {
    let base = Base::new();
    base.fine("create demo/x --capacity 4KiB --stuck-after 20ms");
    let mut audit = base.start_to_file("sub demo/x --name audit --durable");
    base.await_live("demo/x", "consumer", 1);
    audit.signal(libc::SIGSTOP);
    let mut publisher = base.start_fed("pub demo/x --name feed");
    let mut input = publisher.child().stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(numbers(1..=2000).as_bytes()));
    let watch = start_watch(&base, "demo/x --policy evict");
    eventually("it is told", || happened(&base, "stuck", "audit"));
    assert!(base.participants("demo/x", "live").iter().any(|one| one["name"] == "audit"));
    audit.signal(libc::SIGCONT);
    eventually("it moves", || happened(&base, "moves", "audit"));
    publisher.fine();
    writer.join().expect("a thread").expect("written");
    ends_well(watch);
    assert!(!happened(&base, "evicted", ""), "{:?}", told(&base));
    audit.signal(libc::SIGTERM);
    assert_eq!(String::from_utf8(audit.fine()).expect("text"), numbers(1..=2000));
}

#[test]
fn a_stopped_worker_is_evicted_and_its_event_given_to_another() {
    let base = Base::new();
    base.fine("create demo/x --kind queue --slots 64 --slot-bytes 64 --stuck-after 20ms");
    // The worker is stopped before the command ends.
    let mut command = base.command("work demo/x --name slow --quiet --exec");
    command.arg("sleep 1");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut slow = Running::of(command);
    base.await_live("demo/x", "consumer", 1);
    base.fine_fed("pub demo/x", b"precious\n");
    eventually("it has the event", || {
        base.participants("demo/x", "live").iter().any(|one| one["name"] == "slow" && one["in_hand"] == 1)
    });
    slow.signal(libc::SIGSTOP);
    // Skipping to live is for readers: a worker is reported, no more.
    let watch = start_watch(&base, "demo/x --policy skip-to-live");
    eventually("it is told", || happened(&base, "stuck", "slow"));
    ends_well(watch);
    assert!(!happened(&base, "evicted", ""));
    let log = base.file("log");
    let mut command = base.command("watch demo/x --json --interval 20ms --policy evict --exec");
    command
        .arg(format!("echo $RAILBUS_EVENT $RAILBUS_CHANNEL $RAILBUS_WHO $RAILBUS_PID >> {}", log.display()));
    command.stdout(std::fs::File::create(base.file("told")).expect("a file"));
    let watch = Running::of(command);
    eventually("it is evicted", || happened(&base, "evicted", "slow"));
    let json = base.fine("work demo/x --json -n 1 --timeout 60s");
    let event: Value = serde_json::from_str(json.trim()).expect("an event");
    assert_eq!((&event["payload"], &event["attempt"]), (&"precious".into(), &2.into()), "{event}");
    slow.signal(libc::SIGCONT);
    assert_eq!(slow.status().code(), Some(7), "it is told");
    eventually("its place is freed", || happened(&base, "repaired", ""));
    ends_well(watch);
    // The commands have run, and know which participant it was.
    let log = std::fs::read_to_string(log).expect("written");
    for event in ["stuck", "evicted", "repaired"] {
        assert!(log.lines().any(|line| line.starts_with(&format!("{event} demo/x"))), "{log}");
    }
    assert!(log.contains(&format!("evicted demo/x consumer:0 {}", slow.pid())), "{log}");
}

#[test]
fn a_producer_stopped_with_a_claim_is_killed_and_the_others_go_on() {
    for kind in ["topic", "queue"] {
        let base = Base::new();
        base.fine(&format!("create demo/x --kind {kind} --slots 64 --slot-bytes 64 --stuck-after 20ms"));
        let read = if kind == "topic" { "sub" } else { "work" };
        let reader = base.start_to_file(&format!("{read} demo/x -n 3"));
        base.await_live("demo/x", "consumer", 1);
        let mut claimer = start_claimer(&base, kind);
        eventually("it has claimed", || {
            base.participants("demo/x", "live")
                .iter()
                .any(|one| one["name"] == "claimer" && one["in_hand"] == 1)
        });
        // Delivery in order waits for a live producer, however long.
        base.fine_fed("pub demo/x", b"one\ntwo\nthree\n");
        let watch = start_watch(&base, "demo/x --policy evict");
        eventually("it is evicted", || happened(&base, "evicted", "claimer"));
        let status = claimer.status();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL), "{kind}");
        assert_eq!(reader.fine(), b"one\ntwo\nthree\n", "{kind}");
        ends_well(watch);
    }
}

#[test]
fn what_the_dead_left_is_buried_and_unused_channels_are_pruned() {
    let base = Base::new();
    base.fine("create demo/x --kind queue --slots 64 --slot-bytes 64");
    base.fine("create demo/full --kind queue --slots 64 --slot-bytes 64");
    base.fine_fed("pub demo/full", b"to do\n");
    let worker = base.start("work demo/x --name dead");
    base.await_live("demo/x", "consumer", 1);
    worker.kill();
    let (code, said) = base.fails("watch --once --prune-after 1s");
    assert!(code == 2 && said.contains("railbus prune"), "{said}");
    let watch = start_watch(&base, "--no-repair");
    eventually("it looks", || base.participants("demo/x", "dead").len() == 1);
    ends_well(watch);
    assert_eq!(told(&base).len(), 0);
    let watch = start_watch(&base, "--prune-after 100ms");
    eventually("it is buried", || happened(&base, "repaired", ""));
    eventually("it is pruned", || happened(&base, "pruned", ""));
    // A bus that is gone is no reason to end; and a channel that holds events is not removed.
    ends_well(watch);
    let pruned: Vec<Value> = told(&base).into_iter().filter(|one| one["event"] == "pruned").collect();
    assert_eq!(pruned.iter().map(|one| &one["channel"]).collect::<Vec<_>>(), ["demo/x"]);
    assert_eq!(base.json("ls --json")["channels"].as_array().map(Vec::len), Some(1));
}

#[test]
fn mistakes_are_explained() {
    let base = Base::new();
    for (line, expected, word) in [
        ("watch --policy kill", 2, "skip-to-live"),
        ("watch --for demo=evict", 2, "BUS/CHANNEL"),
        ("watch --for demo/x", 2, "POLICY"),
        ("watch --interval 1us", 2, "10ms"),
        ("watch nowhere --once", 3, "nowhere"),
    ] {
        let (code, said) = base.fails(line);
        assert!(code == expected && said.contains(word), "{line}: {code} {said}");
    }
    // Without --once it waits for later events.
    let watch = start_watch(&base, "later");
    base.fine("create later/x --kind queue --slots 64 --slot-bytes 64");
    let worker = base.start("work later/x");
    base.await_live("later/x", "consumer", 1);
    worker.kill();
    eventually("it is seen", || happened(&base, "repaired", ""));
    ends_well(watch);
}
