//! The depth of a queue is the number of events that are not done, wherever it is shown: waiting
//! events, whether they were never taken or handed back, and events that workers hold.

mod program;

use program::{Base, numbers};
use railbus::{Bus, WorkOptions};
use serde_json::Value;

#[test]
fn the_depth_of_a_queue_counts_what_is_not_done() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64");
    base.fine_fed("pub demo/jobs --lines", numbers(1..=10).as_bytes());
    let queue = Bus::at(base.path(), "demo").expect("a bus").attach("jobs").expect("there");
    let open = || queue.worker(&WorkOptions::default().grab(1)).expect("a worker");
    // All are taken, so that nothing is behind the head: two are done, one is in hand, the others are handed back.
    let mut worker = open();
    let mut handed_back = Vec::new();
    for turn in 0..10 {
        let ticket = worker.take_ticket().expect("fine").expect("a job");
        match turn {
            0 | 1 => assert!(worker.done(ticket)),
            _ => handed_back.push(ticket),
        }
    }
    handed_back.into_iter().for_each(|ticket| assert!(worker.retry(ticket)));
    let mut holder = open();
    let held = holder.try_take().expect("fine").expect("a job");
    let expect = |seen: &Value, from: &str| {
        let seen = ["depth", "waiting", "in_hand"].map(|name| seen[name].as_u64());
        assert_eq!(seen, [Some(8), Some(7), Some(1)], "{from}");
    };
    expect(&base.json("info demo/jobs --json")["positions"], "info");
    expect(&base.json("ls --json")["channels"][0], "ls");
    expect(&base.json("stat --interval 10ms --json")[0], "stat");
    assert!(base.fine("info demo/jobs").contains("8 of 64 not done: 7 waiting, 1 in hand"));
    assert!(base.fine("ls").contains("8 (1 in hand)"));
    let table = base.fine("stat --interval 10ms");
    assert!(table.contains("WAITING") && table.contains("IN HAND"), "{table}");
    let _ = held.done();
    let after = base.json("ls --json");
    assert_eq!((&after["channels"][0]["depth"], &after["channels"][0]["in_hand"]), (&7.into(), &0.into()));
}
