//! `railbus bench` as scripts use it: real pinned processes, results parsed from JSON, nothing left
//! behind.
//!
//! Rings are made under a `$RAILBUS_DIR` of the test's own, which must be empty at the end.
//!
//! A pass does not prove that any figure is good. Only their presence, their order and the books
//! are checked.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn railbus() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_railbus"));
    command.arg("bench").stdin(Stdio::null());
    command
}

fn output(line: &str) -> Output {
    railbus().args(line.split_whitespace()).output().expect("the program starts")
}

fn json(line: &str) -> Value {
    let output = output(line);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {} {errors}", output.status);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{line}: not one JSON object: {error}"))
}

/// A directory for the buses of one test.
struct Buses(tempfile::TempDir);

impl Buses {
    fn new() -> Buses {
        Buses(tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm"))
    }

    fn railbus(&self) -> Command {
        let mut command = railbus();
        command.env("RAILBUS_DIR", self.0.path());
        command
    }

    fn output(&self, line: &str) -> Output {
        self.railbus().args(line.split_whitespace()).output().expect("the program starts")
    }

    /// Runs a line, which must succeed and leave nothing, and returns its report.
    fn json(&self, line: &str) -> Value {
        let output = self.output(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {} {errors}", output.status);
        assert!(self.left().is_empty(), "{line}: {:?} is left behind", self.left());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{line}: not one JSON object: {error}"))
    }

    fn left(&self) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(self.0.path()).expect("the directory");
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    }
}

const KINDS: [&str; 3] = ["stream", "queue", "topic"];

fn number(report: &Value, path: &str) -> f64 {
    let value = report.pointer(path).unwrap_or_else(|| panic!("{path} is missing in {report}"));
    value.as_f64().unwrap_or_else(|| panic!("{path} is {value}, not a number"))
}

fn assert_distribution(report: &Value, at: &str) {
    let values: Vec<f64> = ["p50", "p90", "p99", "p999", "p9999", "max"]
        .map(|name| number(report, &format!("{at}/{name}")))
        .into();
    assert!(values.is_sorted() && values[0] > 0.0, "{at}: {values:?}");
    assert!(number(report, &format!("{at}/mean")) > 0.0);
}

/// The run judges itself: whatever the machine does, a run that is called unreliable gives the
/// reasons, and no other does.
fn assert_judged(report: &Value) {
    let reasons = report["unreliable_because"].as_array().expect("reasons");
    assert_eq!(report["reliable"].as_bool(), Some(reasons.is_empty()), "{report}");
    let share = report["preempted_share"].as_f64();
    assert!(share.is_none_or(|share| (0.0..=1.0).contains(&share)), "{report}");
    let says_preempted =
        reasons.iter().any(|why| why.as_str().is_some_and(|why| why.contains("waited for a processor")));
    assert_eq!(says_preempted, share.is_some_and(|share| share > 0.05), "{report}");
    assert!(number(report, "/limit_drift") >= 1.0 && number(report, "/moved_share") >= 0.0);
}

/// The workers of `supervisor` that still exist.
fn workers_of(supervisor: u32) -> Vec<u32> {
    let path = format!("/proc/{supervisor}/task/{supervisor}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether the process runs: neither gone nor a zombie.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn latency_of_the_limit_has_the_promised_fields() {
    let report = json("latency --kind limit --payload 8 --seconds 0.2 --json");
    assert_eq!(report["kind"], "limit");
    assert_eq!(number(&report, "/payload_bytes"), 8.0);
    assert!(number(&report, "/samples") >= 16.0);
    // Not each round trip is stamped.
    assert!(number(&report, "/overall/events") >= number(&report, "/samples"), "{report}");
    assert_distribution(&report, "/rtt_ns");
    assert_distribution(&report, "/limit_rtt_ns");
    assert!(number(&report, "/ratio") > 0.0);
    assert!(report["pages"].is_string() && report["topology"]["relation"].is_string());
    assert_judged(&report);
    println!("the limit against itself: ratio {}", report["ratio"]);
}

#[test]
fn throughput_of_the_limit_has_the_promised_fields() {
    for payload in [8, 100, 4096] {
        let report = json(&format!(
            "throughput --kind limit --payload {payload} --seconds 0.1 --repetitions 1 --json"
        ));
        assert_eq!(number(&report, "/payload_bytes"), f64::from(payload));
        let events = number(&report, "/events_per_second");
        assert!(events > 0.0);
        let bytes = events * f64::from(payload);
        // Decimal text and back may cost the last bit.
        assert!((number(&report, "/bytes_per_second") / bytes - 1.0).abs() < 1e-9, "{report}");
        assert!(number(&report, "/copy_limit/events_per_second") > 0.0 && report["pages"].is_string());
        assert_judged(&report);
        println!("{payload} B, the copy limit against itself: ratio {}", report["ratio"]);
    }
}

#[test]
fn latency_of_each_kind_has_the_promised_fields() {
    let buses = Buses::new();
    for kind in KINDS {
        for (payload, more) in
            [(8, ""), (100, "--wait poll"), (56, "--send claim"), (64, "--send pod --wait yield")]
        {
            let line = format!(
                "latency --kind {kind} --payload {payload} --seconds 0.1 --repetitions 1 --json {more}"
            );
            let report = buses.json(&line);
            assert_eq!((report["kind"].as_str(), &report["limit"]), (Some(kind), &Value::from("bare words")));
            assert_eq!(number(&report, "/payload_bytes"), f64::from(payload));
            assert!(number(&report, "/samples") >= 16.0);
            assert_distribution(&report, "/rtt_ns");
            assert_distribution(&report, "/limit_rtt_ns");
            assert!(number(&report, "/ratio") > 0.0);
            assert!(report["pages"].as_str().is_some_and(|pages| pages.contains("pages")), "{report}");
            println!("{line}: ratio {}", report["ratio"]);
        }
    }
}

#[test]
fn throughput_of_each_kind_has_the_promised_fields() {
    let buses = Buses::new();
    for kind in KINDS {
        for (payload, more) in
            [(8, "--consumers 1"), (100, "--batch 7"), (4096, "--wait poll --batch 3"), (56, "--send claim")]
        {
            let line = format!(
                "throughput --kind {kind} --payload {payload} --seconds 0.1 --repetitions 1 --json {more}"
            );
            let report = buses.json(&line);
            assert_eq!(report["kind"], kind);
            assert_eq!(number(&report, "/payload_bytes"), f64::from(payload));
            let events = number(&report, "/events_per_second");
            let bytes = events * f64::from(payload);
            assert!((number(&report, "/bytes_per_second") / bytes - 1.0).abs() < 1e-9, "{report}");
            assert!(number(&report, "/copy_limit/events_per_second") > 0.0);
            assert!(report["pages"].as_str().is_some_and(|pages| pages.contains("pages")), "{report}");
            println!("{line}: ratio {}", report["ratio"]);
        }
    }
}

#[test]
fn many_producers_and_consumers_account_for_every_event() {
    let buses = Buses::new();
    for (kind, producers) in [("stream", 1), ("queue", 2), ("topic", 2)] {
        for batch in [1, 16] {
            let line = format!(
                "throughput --kind {kind} --producers {producers} --consumers 2 --batch {batch} --seconds 0.1 \
                 --repetitions 1 --json"
            );
            let report = buses.json(&line);
            assert_eq!(number(&report, "/consumers"), 2.0);
            assert!(number(&report, "/samples") >= 64.0, "{report}");
        }
    }
}

#[test]
fn sizes_and_pages_are_what_was_asked_for() {
    let buses = Buses::new();
    let report = buses.json("latency --capacity 4MiB --pages ordinary --seconds 0.05 --repetitions 1 --json");
    assert_eq!(number(&report, "/capacity_bytes"), f64::from(4 << 20));
    assert!(report["pages"].as_str().is_some_and(|pages| pages.contains("4 KiB pages")), "{report}");
    let line = "throughput --kind queue --slots 64 --slot-bytes 512 --seconds 0.05 --repetitions 1 --json";
    assert_eq!(number(&buses.json(line), "/capacity_bytes"), f64::from(64 * 512));
    for (line, code, named) in [
        ("latency --kind stream --capacity 5000", 2, "power of two"),
        ("throughput --kind queue --slots 65", 2, "power of two"),
        ("throughput --kind topic --payload 100 --slot-bytes 64", 2, "--payload 100"),
        ("latency --send pod --payload 24", 2, "--send pod"),
    ] {
        let output = buses.output(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(named), "{line}: {said}");
        assert!(buses.left().is_empty(), "{line}: {:?}", buses.left());
    }
}

#[test]
fn wake_ups_are_measured_beside_a_bare_futex() {
    let buses = Buses::new();
    for kind in KINDS {
        let report =
            buses.json(&format!("wake --kind {kind} --seconds 0.2 --repetitions 1 --block-ms 10 --json"));
        assert_eq!((report["limit"].as_str(), report["wait"].as_str()), (Some("futex"), Some("park")));
        assert_distribution(&report, "/rtt_ns");
        assert_distribution(&report, "/limit_rtt_ns");
        println!("{kind}: wake-up ratio {}", report["ratio"]);
    }
}

#[test]
fn attaching_and_idling_are_measured() {
    let buses = Buses::new();
    for kind in KINDS {
        let report = buses.json(&format!("attach --kind {kind} --size 4MiB --seconds 0.05 --json"));
        assert_distribution(&report, "/attach_ns");
        assert_eq!(number(&report, "/capacity_bytes"), f64::from(4 << 20));
        assert!(number(&report, "/samples") >= 1.0 && number(&report, "/first_attach_ns") > 0.0);
        let report = buses.json(&format!("idle --kind {kind} --seconds 0.2 --json"));
        assert!(number(&report, "/waited_ns") >= 0.2e9 * 0.99, "{report}");
        assert!(number(&report, "/cpu_share") >= 0.0 && number(&report, "/sleeps") >= 1.0, "{report}");
    }
}

#[test]
fn jitter_watches_each_core() {
    let report = json("jitter --seconds 0.2 --json");
    let watched = report["watched"].as_array().expect("a list of cores");
    assert!(!watched.is_empty());
    for core in watched {
        let share = number(core, "/taken_share");
        assert!((0.0..=1.0).contains(&share), "{core}");
        assert!(number(core, "/watched_ns") >= 0.2e9 * 0.99, "{core}");
    }
}

#[test]
fn processes_that_share_a_core_make_progress_and_it_is_said() {
    let all = json("jitter --seconds 0.05 --json");
    let core = all["watched"][0]["core"].as_u64().expect("a core");
    let report = json(&format!("latency --kind limit --cores {core} --seconds 0.1 --repetitions 1 --json"));
    let warning = report["warnings"][0].as_str().expect("a warning");
    assert!(warning.contains("share"), "{warning}");
}

#[test]
fn the_distributions_are_written_for_plotters() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("out.hgrm");
    let line = format!("latency --kind limit --seconds 0.1 --repetitions 1 --hgrm {}", file.display());
    assert!(output(&line).status.success());
    for name in ["out.hgrm", "out.limit.hgrm"] {
        let text = std::fs::read_to_string(folder.path().join(name)).expect(name);
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{text}");
        assert!(text.contains("#[Max     ="), "{text}");
    }
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for (line, named) in [
        ("latency --kind limit --payload 9", "--payload"),
        ("latency --kind limit --cores 4000", "core 4000"),
        ("throughput --kind stream --producers 2", "one publisher"),
        ("worker {}", "railbus bench"),
        ("worker nonsense", "railbus bench"),
    ] {
        let output = output(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        let said = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&said).contains(named), "{line}");
    }
}

#[test]
fn a_worker_that_dies_is_named_and_the_others_end() {
    for kind in ["limit", "stream", "queue", "topic"] {
        a_worker_of_this_kind_dies(kind);
    }
}

fn a_worker_of_this_kind_dies(kind: &str) {
    let buses = Buses::new();
    let line = ["latency", "--kind", kind, "--seconds", "60"];
    let mut command = buses.railbus();
    let child = command.args(line).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    eventually("two workers", || workers_of(child.id()).len() == 2);
    let workers = workers_of(child.id());
    std::thread::sleep(Duration::from_millis(200));
    // SAFETY: the pid is of a worker that was just seen and that only its parent, which waits for
    // it, can reap.
    unsafe { libc::kill(workers[1] as libc::pid_t, libc::SIGKILL) };
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("pong on core") && said.contains("SIGKILL"), "{said}");
    assert!(buses.left().is_empty(), "{:?}", buses.left());
    eventually("no worker is left", || !workers.iter().any(|&pid| runs(pid)));
}

#[test]
fn an_interrupt_or_the_supervisors_death_ends_the_workers() {
    let all = [libc::SIGINT, libc::SIGTERM, libc::SIGKILL].map(|signal| KINDS.map(|kind| (signal, kind)));
    for (signal, kind) in all.into_iter().flatten().chain([(libc::SIGINT, "limit")]) {
        let buses = Buses::new();
        let line = ["throughput", "--kind", kind, "--seconds", "60"];
        let mut command = buses.railbus();
        let child = command.args(line).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        eventually("two workers", || workers_of(child.id()).len() == 2);
        let workers = workers_of(child.id());
        std::thread::sleep(Duration::from_millis(200));
        // SAFETY: the pid is of our own child, which was not waited for yet.
        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        if signal == libc::SIGKILL {
            assert_eq!(output.status.signal(), Some(signal));
        } else {
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" }), "{said}");
            assert!(buses.left().is_empty(), "{:?}", buses.left());
        }
        eventually("no worker is left", || !workers.iter().any(|&pid| runs(pid)));
    }
}
