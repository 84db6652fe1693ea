//! Commands that destroy something report what would be lost, ask before it is, and touch nothing
//! else. A command that is refused leaves nothing behind.

mod program;

use program::{Base, numbers};
use railbus::{Bus, SubscribeOptions, WorkOptions};
use serde_json::json;

/// A queue with three jobs, of which one was handed back; a stream with five events that a durable
/// subscription has not read; and a channel that nobody would miss.
fn scene() -> Base {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64");
    base.fine_fed("pub demo/jobs --lines", numbers(1..=3).as_bytes());
    let queue = Bus::at(base.path(), "demo").expect("a bus").attach("jobs").expect("there");
    let mut worker = queue.worker(&WorkOptions::default()).expect("a worker");
    worker.try_take().expect("fine").expect("a job").retry();
    drop(worker);
    base.fine("create demo/ticks --capacity 4KiB");
    let stream = Bus::at(base.path(), "demo").expect("a bus").attach("ticks").expect("there");
    let audit = SubscribeOptions::default().name("audit").durable(true);
    drop(stream.subscriber(&audit).expect("joined"));
    base.fine_fed("pub demo/ticks --lines", numbers(1..=5).as_bytes());
    base.fine("create demo/empty");
    base.fine_fed("pub demo/empty --lines", b"nobody waits for this\n");
    base
}

fn channels(base: &Base) -> Vec<String> {
    let json = base.json("ls --json");
    let names = json["channels"].as_array().expect("a list").iter();
    names.map(|one| one["channel"].as_str().expect("a name").to_owned()).collect()
}

const ALL: [&str; 3] = ["demo/empty", "demo/jobs", "demo/ticks"];
const LOST: [&str; 2] = [
    "demo/jobs: 3 events that are not done are lost",
    "80 B that the durable subscription audit has not read",
];

#[test]
fn rm_and_prune_ask_before_undone_jobs_and_unread_events_are_lost() {
    for line in ["rm demo/ticks demo/jobs demo/empty", "rm demo --all", "prune --all", "prune demo --all"] {
        let base = scene();
        let (code, said) = base.fails(line);
        assert!(code == 2 && said.contains("--yes") && said.contains("--dry-run"), "{line}: {code} {said}");
        assert!(LOST.iter().all(|lost| said.contains(lost)), "{line}: {said}");
        assert_eq!(channels(&base), ALL, "{line}");
        let told = base.fine(&format!("{line} --dry-run"));
        assert!(LOST.iter().all(|lost| told.contains(lost)), "{line}: {told}");
        assert_eq!(base.json(&format!("{line} --dry-run --json"))["dry_run"], true);
        assert_eq!(base.fails(&format!("{line} --dry-run --yes")).0, 2, "{line}");
        assert_eq!(channels(&base), ALL, "{line}");
        let told = base.fine(&format!("{line} --yes"));
        assert!(LOST.iter().all(|lost| told.contains(lost)), "{line}: {told}");
        assert!(channels(&base).is_empty(), "{line}");
    }
}

#[test]
fn rm_of_what_nobody_misses_does_not_ask_and_says_what_it_did() {
    let base = scene();
    assert_eq!(base.fine("rm demo/empty"), "demo/empty: removed\n");
    base.fine("sub demo/ticks --name audit --durable -n 5");
    assert_eq!(base.fine("rm demo/ticks"), "demo/ticks: removed\n");
    let json = base.json("rm demo/jobs --force --json");
    assert_eq!(
        json["removed"],
        json!([{ "channel": "demo/jobs", "undone": 3, "in_hand": 0, "unread": [] }]),
        "by force, and said"
    );
    base.fine("create demo/jobs --kind queue");
    base.fine_fed("pub demo/jobs", b"1\n");
    base.fine("work demo/jobs -n 1");
    let (code, said) = base.fails("rm demo/none demo/jobs");
    assert!(code == 3 && said.contains("demo/none"), "{said}");
    assert!(channels(&base).is_empty(), "the other one is removed all the same");
}

#[test]
fn prune_says_what_would_go_and_keeps_what_holds_something() {
    let base = scene();
    let told = base.json("prune --dry-run --json");
    let expected = (json!(["demo/empty"]), json!(["demo/jobs", "demo/ticks"]));
    assert_eq!((&told["removed"], &told["in_use"]), (&expected.0, &expected.1));
    assert_eq!(channels(&base), ALL);
    let done = base.json("prune --json");
    assert_eq!((&done["removed"], &done["in_use"]), (&expected.0, &expected.1));
    let subscriber = base.start("sub demo/ticks");
    base.await_live("demo/ticks", "consumer", 1);
    let told = base.json("prune --all --dry-run --json");
    assert_eq!((&told["removed"], &told["in_use"]), (&json!(["demo/jobs"]), &json!(["demo/ticks"])));
    subscriber.kill();
}

#[test]
fn jobs_of_a_queue_that_is_no_dead_letter_queue_are_no_dead_letters() {
    let base = scene();
    for line in ["ls demo/jobs", "drop demo/jobs --all --yes", "retry demo/jobs --all --yes"] {
        let (code, said) = base.fails(&format!("dead-letters {line}"));
        assert!(code == 2 && said.contains("it has no dead-letter queue, and is none"), "{line}: {said}");
    }
    let worked = base.fine("work demo/jobs --json -n 3");
    let attempts = worked.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let attempts: Vec<_> = attempts.map(|one| one["attempt"].as_u64().expect("a number")).collect();
    assert!(attempts.len() == 3 && attempts.iter().sum::<u64>() == 4, "no attempt was counted: {attempts:?}");
}

#[test]
fn a_key_for_a_queue_that_is_not_keyed_is_refused() {
    let base = scene();
    for key in ["--key a", "--key-field 1"] {
        let (code, said) = program::failed("pub", base.feed(&format!("pub demo/jobs {key}"), b"x\n"));
        assert!(code == 2 && said.contains("is not keyed") && said.contains("--keyed"), "{said}");
    }
    assert_eq!(base.json("info demo/jobs --json")["positions"]["published"], 3);
    base.fine_fed("pub demo/new --create --kind queue --key-field 1", b"x\n");
    assert_eq!(base.json("info demo/new --json")["keyed"], true);
    base.fine_fed("pub demo/new --key-field 1", b"x\n");
    base.fine_fed("pub demo/ticks --key a", b"the key travels with the event\n");
}

#[test]
fn a_refused_create_leaves_nothing_behind() {
    let base = Base::new();
    let below = base.path().join("deep/base");
    for (line, code) in [
        ("create demo/x --capacity 1TiB", 6),
        ("create demo/x --require-huge --capacity 64KiB", 6),
        ("create demo/x --capacity 5000", 2),
        ("create demo/x --kind queue --overflow divert --divert-to none", 3),
        ("create demo/x --kind queue --slots 16777216 --slot-bytes 65536 --max-attempts 3", 6),
        ("create demo/x --kind queue --max-attempts 3 --require-huge --slots 64", 6),
    ] {
        let output = base.command(line).env("RAILBUS_DIR", &below).output().expect("it runs");
        assert_eq!(program::failed(line, output).0, code, "{line}");
        let left: Vec<_> = std::fs::read_dir(base.path()).expect("a list").collect();
        assert!(left.is_empty(), "{line}: {left:?}");
    }
    // The channels that were there before stay.
    base.fine("create demo/x --kind queue");
    assert_eq!(base.fails("create demo/x --kind queue --max-attempts 3").0, 1);
    assert_eq!(channels(&base), ["demo/x"], "no dead-letter queue of a refused channel");
    // A directory that is not on tmpfs is refused before anything is made there.
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let below = elsewhere.path().join("deep/base");
    let output = base.command("create demo/x").env("RAILBUS_DIR", &below).output().expect("it runs");
    let (code, said) = program::failed("create", output);
    if code == 0 {
        return; // The build directory is on tmpfs.
    }
    assert!(code == 2 && said.contains("is not tmpfs"), "{code} {said}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).expect("a list").count(), 0);
}
