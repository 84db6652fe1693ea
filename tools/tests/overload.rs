//! Overload as an operator sees it: watermarks, credits and diverting from the command line.

mod program;

use program::{Base, eventually, numbers};
use serde_json::{Value, json};

#[test]
fn the_options_are_told_and_refused_clearly() {
    let base = Base::new();
    base.fine("create demo/spill --kind queue --slots 64 --slot-bytes 512");
    base.fine(
        "create demo/jobs --kind queue --slots 64 --high-watermark 80 --low-watermark 50 --credits 16 \
         --overflow divert --divert-to spill",
    );
    let info = base.json("info demo/jobs --json");
    let told = ["overflow", "divert_to", "high_watermark", "low_watermark", "credits", "under_pressure"];
    assert_eq!(
        told.map(|name| info[name].clone()),
        [json!("divert"), json!("spill"), json!(80), json!(50), json!(16), json!(false)]
    );
    let report = base.fine("info demo/jobs");
    for words in
        ["overflow divert to demo/spill", "watermarks 80% and 50%", "16 credits a producer", "no pressure"]
    {
        assert!(report.contains(words), "{words} is not in {report}");
    }
    let plain = base.json("info demo/spill --json");
    let absent = ["divert_to", "high_watermark", "under_pressure", "pressure_changes", "held_by"];
    assert_eq!(absent.map(|name| plain[name].clone()), [(); 5].map(|()| Value::Null));
    for (line, code, words) in [
        ("create demo/a --high-watermark 50 --low-watermark 50", 2, "below it"),
        ("create demo/a --high-watermark 80", 2, "--low-watermark"),
        ("create demo/a --credits 5", 2, "one publisher"),
        ("create demo/a --kind queue --overflow divert", 2, "name the queue or topic"),
        ("create demo/a --kind queue --overflow divert --divert-to missing", 3, "demo/missing"),
        ("create demo/a --kind queue --overflow block --divert-to spill", 2, "nothing is diverted"),
        ("create demo/a --kind queue --slot-bytes 512 --overflow divert --divert-to spill", 2, "512 bytes"),
    ] {
        let (found, text) = base.fails(line);
        assert!(found == code && text.contains(words), "{line}: {found}, {text}");
    }
}

#[test]
fn what_finds_no_room_is_diverted_and_shown_everywhere() {
    let base = Base::new();
    base.fine("create demo/spill --kind queue --slots 64 --slot-bytes 512");
    base.fine(
        "create demo/jobs --kind queue --slots 64 --high-watermark 80 --low-watermark 50 --overflow divert \
         --divert-to spill",
    );
    let output = base.feed("pub demo/jobs --name feed -q", numbers(1..=100).as_bytes());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("36 of 100 events were diverted: demo/jobs was full (event 0 waits for"), "{said}");
    let info = base.json("info demo/jobs --json");
    assert_eq!((&info["under_pressure"], &info["pressure_changes"]), (&true.into(), &1.into()));
    assert_eq!(info["counters"]["diverted"], 36);
    assert_eq!(info["held_by"], "event 0 waits for a worker to take it");
    assert!(base.fine("info demo/jobs").contains("UNDER PRESSURE, 1 changes"));
    let stat = base.json("stat demo/jobs --json --interval 10ms");
    assert_eq!((&stat[0]["diverted"], &stat[0]["under_pressure"]), (&36.into(), &true.into()));
    assert_eq!(base.json("stat demo/spill --json --interval 10ms")[0]["under_pressure"], Value::Null);
    let taken = base.fine("work demo/spill -n 36");
    assert_eq!(taken, numbers(65..=100));
    // Full there, too: an event without room anywhere is dropped, and that is a failure.
    let output = base.feed("pub demo/jobs -q", numbers(1..=70).as_bytes());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("64 of 70 events were diverted") && said.contains("6 of 70 events were dropped"));
    assert_eq!(base.json("info demo/jobs --json")["counters"]["dropped"], 6);
}

#[test]
fn a_publisher_that_waits_says_for_whom() {
    let base = Base::new();
    base.fine("create demo/news --kind topic --slots 64 --credits 10");
    let mut slow = base.start("sub demo/news --name slow");
    base.await_live("demo/news", "consumer", 1);
    slow.signal(libc::SIGSTOP);
    let line = "pub demo/news --name feed -q --timeout 300ms";
    let output = base.feed(line, numbers(1..=20).as_bytes());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(
        said.contains("all 10 credits of this producer are used up: consumer:0 'slow' (process"),
        "{said}"
    );
    eventually("who holds it is told", || {
        let held_by = base.json("info demo/news --json")["held_by"].clone();
        held_by.as_str().is_some_and(|text| text.contains("'slow'") && text.contains("10 events behind"))
    });
    slow.signal(libc::SIGCONT);
}
