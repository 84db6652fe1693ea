//! Keys and priorities at the command line: `create --keyed`, `pub --key` and `--key-field`, `work
//! --priority` and `--in-hand`, the output of `info`, and the way of a key through a journal and
//! back.

mod program;

use std::process::Stdio;

use program::{Base, Running, eventually};
use serde_json::Value;

/// Starts the daemon and waits until it is ready.
fn journald(base: &Base, journal: &tempfile::TempDir) -> Running {
    let line = format!(
        "journald --journal {} --channels demo/* --sync always --segment-bytes 1MiB --staging-bytes 2MiB",
        journal.path().display()
    );
    let mut daemon = base.start(&line);
    assert_eq!(daemon.read_line(), "ready\n");
    daemon
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A number above 2^53 is a string in JSON.
fn key(object: &Value) -> u64 {
    let text = object["key"].as_str().map(|text| text.parse().expect("a number"));
    text.or(object["key"].as_u64()).expect("a key")
}

fn keys(objects: &[Value]) -> Vec<u64> {
    objects.iter().map(key).collect()
}

/// 64-bit FNV-1a, as the documentation says.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn a_key_is_a_word_of_the_event_and_survives_a_journal() {
    let base = Base::new();
    let journal = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    base.fine("create demo/orders --kind queue --keyed --slots 64");
    base.fine("create copies/orders --kind queue --keyed --slots 64 --slot-bytes 512");
    let mut daemon = journald(&base, &journal);
    base.fine_fed("pub demo/orders --key-field 2", b"buy ann 1\nbuy bob 2\nsell ann 3\n");
    base.fine_fed("pub demo/orders --key ann", b"cancel\n");
    let expected = ["ann", "bob", "ann", "ann"].map(hash).to_vec();
    let directory = journal.path().join("demo/orders").display().to_string();
    let mut recorded = Vec::new();
    eventually("they are recorded", || {
        let output = base.run(&format!("journal cat {directory} --json"));
        recorded = objects(&String::from_utf8_lossy(&output.stdout));
        recorded.len() == 4
    });
    assert_eq!(keys(&recorded), expected);
    let exported = base.run(&format!("journal export {directory} --format json"));
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    assert_eq!(keys(&objects(&String::from_utf8_lossy(&exported.stdout))), expected);
    let replayed = base.run(&format!("replay {directory} --into copies/orders"));
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    // `work` takes all that it can get at once: one of each customer, then the next.
    let worked = objects(&base.fine("work copies/orders -n 4 --json"));
    let mut of_ann = worked.iter().filter(|one| key(one) == hash("ann"));
    assert!(of_ann.clone().is_sorted_by_key(|one| one["position"].as_u64()), "{worked:?}");
    assert_eq!((of_ann.clone().count(), of_ann.next().unwrap()["payload"].clone()), (3, "buy ann 1".into()));
    // Lost, and made again from the journal: keyed, with the events that are not done.
    base.fine("work demo/orders -n 1");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    std::fs::remove_dir_all(base.path().join("demo")).expect("the bus is lost");
    let mut daemon = journald(&base, &journal);
    let info = base.json("info demo/orders --json");
    assert_eq!((&info["keyed"], &info["incarnation"]), (&true.into(), &2.into()), "{info}");
    let left = objects(&base.fine("work demo/orders -n 3 --json"));
    assert_eq!(left.len(), 3);
    let of_ann: Vec<_> = left.iter().filter(|one| key(one) == hash("ann")).collect();
    assert_eq!(
        of_ann.iter().map(|one| one["payload"].as_str().unwrap()).collect::<Vec<_>>(),
        ["sell ann 3", "cancel"]
    );
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
}

#[test]
fn mistakes_are_told() {
    let base = Base::new();
    base.fine("create demo/orders --kind queue --keyed");
    let (code, errors) = base.fails("create demo/ticks --kind stream --keyed");
    assert!(code == 2 && errors.contains("only a queue"), "{code}: {errors}");
    let output = base.feed("pub demo/orders --key-field 2", b"a b\nc\n");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && errors.contains("event 2"), "{errors}");
    let (code, errors) = base.fails("pub demo/orders --key a --key-field 2");
    assert!(code == 2 && errors.contains("--key"), "{code}: {errors}");
    let (code, errors) = base.fails("work demo/orders --in-hand 0");
    assert!(code == 2 && errors.contains("in-hand"), "{code}: {errors}");
}

/// Starts a worker that appends its events to the file `to`, and then waits while the file `gate`
/// exists.
fn worker(base: &Base, line: &str, to: &str) -> Running {
    let (to, gate) = (base.file(to), base.file("gate"));
    let script =
        format!("cat >> {}; echo >> {0}; while [ -e {} ]; do sleep 0.02; done", to.display(), gate.display());
    let mut command = base.command(line);
    command.args(["--exec", &script, "--quiet"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::of(command)
}

#[test]
fn a_worker_of_a_lower_level_gets_what_a_busy_one_above_cannot_take() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64 --stuck-after 600s");
    let held = |to: &str| std::fs::read_to_string(base.file(to)).unwrap_or_default();
    let in_hand = |name: &str| {
        let live = base.participants("demo/jobs", "live");
        live.iter().find(|one| one["name"] == name).map(|one| one["in_hand"].clone())
    };
    std::fs::write(base.file("gate"), "").expect("a file");
    let mut high = worker(&base, "work demo/jobs --name high --in-hand 1", "high");
    base.await_live("demo/jobs", "consumer", 1);
    base.fine_fed("pub demo/jobs", b"1\n");
    eventually("the high one is busy", || held("high") == "1\n");
    let mut low = worker(&base, "work demo/jobs --name low --priority 1", "low");
    base.await_live("demo/jobs", "consumer", 2);
    base.fine_fed("pub demo/jobs", b"2\n");
    eventually("the low one gets the next", || held("low") == "2\n");
    let text = base.fine("info demo/jobs");
    assert!(text.contains("level 1, 1 of 1 in hand") && text.contains("1 of 1 in hand"), "{text}");
    let live = base.participants("demo/jobs", "live");
    let ranks: Vec<_> = live.iter().map(|one| (&one["priority"], &one["in_hand_max"])).collect();
    assert_eq!(ranks, [(&0.into(), &1.into()), (&1.into(), &1.into())]);
    std::fs::remove_file(base.file("gate")).expect("removed");
    eventually("both are free", || in_hand("high") == Some(0.into()) && in_hand("low") == Some(0.into()));
    base.fine_fed("pub demo/jobs", b"3\n");
    eventually("the high one gets what it can take", || held("high") == "1\n3\n");
    assert_eq!(held("low"), "2\n");
    for one in [&mut high, &mut low] {
        one.signal(libc::SIGTERM);
    }
    assert!(high.end().0.success() && low.end().0.success());
}
