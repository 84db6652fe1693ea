//! The commands that are attached to a channel when it is removed.

mod program;

use std::io::Write;

use program::{Base, eventually, failed};

/// By `railbus rm --force`, or by a person who cleans up /dev/shm; and another one is made of the
/// same name.
fn remove(base: &Base, by_hand: bool, options: &str) {
    match by_hand {
        true => std::fs::remove_dir_all(base.path().join("demo")).expect("a bus"),
        false => assert!(base.fine("rm --force demo/c").starts_with("demo/c: removed\n")),
    }
    base.fine(&format!("create demo/c {options}"));
}

#[test]
fn commands_that_wait_for_an_event_end_with_the_reason() {
    for (kind, command) in [("stream", "sub"), ("topic", "sub"), ("queue", "work"), ("queue", "tap")] {
        for by_hand in [false, true] {
            let base = Base::new();
            let options = format!("--kind {kind}");
            base.fine(&format!("create demo/c {options}"));
            let waiting = base.start(&format!("{command} demo/c"));
            base.await_live("demo/c", "consumer", 1);
            remove(&base, by_hand, &options);
            let (code, said) = failed(command, waiting.finish());
            assert!(
                code == 7 && said.contains("demo/c: the channel was removed"),
                "{command}: {code} {said}"
            );
        }
    }
}

#[test]
fn a_publisher_ends_with_the_reason_also_while_it_has_no_input() {
    for kind in ["stream", "topic", "queue"] {
        for (by_hand, line) in
            [(false, "pub demo/c"), (true, "pub demo/c"), (true, "pub demo/c --wait-subscribers 1")]
        {
            let base = Base::new();
            let options = format!("--kind {kind}");
            base.fine(&format!("create demo/c {options}"));
            let mut waiting = base.start_fed(line);
            base.await_live("demo/c", "producer", 1);
            let mut input = waiting.child().stdin.take().expect("a pipe");
            input.write_all(b"one\n").expect("it reads");
            remove(&base, by_hand, &options);
            let (code, said) = failed(line, waiting.finish());
            assert!(code == 7 && said.contains("demo/c: the channel was removed"), "{line}: {code} {said}");
            drop(input);
        }
    }
}

#[test]
fn a_publisher_that_publishes_into_a_removed_channel_fails() {
    let base = Base::new();
    base.fine("create demo/c");
    let mut publisher = base.start_fed("pub demo/c");
    base.await_live("demo/c", "producer", 1);
    let mut input = publisher.child().stdin.take().expect("a pipe");
    remove(&base, false, "");
    // The test waits for a closed pipe.
    eventually("it ends", || input.write_all(b"event\n").is_err());
    let (code, said) = failed("pub", publisher.finish());
    assert!(code == 7 && said.contains("removed"), "{code} {said}");
    assert_eq!(
        base.json("info demo/c --json")["positions"]["published"],
        0,
        "the new channel is another one"
    );
}
