//! `sub` and `tap` with `--manual`: the cursor goes where standard input sends it, and nowhere
//! else.

mod program;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use program::Base;
use serde_json::Value;

/// A reader whose events are read, and which gets the progress on its standard input.
struct Reading {
    child: Child,
    acknowledgements: Option<ChildStdin>,
    events: BufReader<ChildStdout>,
}

impl Reading {
    fn start(base: &Base, line: &str) -> Reading {
        let mut command = base.command(line);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let acknowledgements = child.stdin.take();
        let events = BufReader::new(child.stdout.take().expect("a pipe"));
        Reading { child, acknowledgements, events }
    }

    /// The next event: its position and payload.
    fn event(&mut self) -> (u64, String) {
        let mut line = String::new();
        self.events.read_line(&mut line).expect("it prints text");
        let event: Value = serde_json::from_str(&line).expect("a JSON object");
        (event["position"].as_u64().expect("a position"), event["payload"].as_str().expect("text").to_owned())
    }

    fn payloads(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.event().1).collect()
    }

    fn acknowledge(&mut self, position: impl std::fmt::Display) {
        writeln!(self.acknowledgements.as_mut().expect("it is open"), "{position}").expect("it reads");
    }

    /// Ends its standard input, and waits for its end. Returns the exit code and its stderr.
    fn end(mut self) -> (i32, String) {
        drop(self.acknowledgements.take());
        let output = self.child.wait_with_output().expect("it ends");
        (output.status.code().expect("no signal"), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// The commands, by kind of channel: how to create it, and how to read it.
const KINDS: [(&str, &str); 3] = [
    ("--kind stream", "sub demo/c"),
    ("--kind topic --slots 64", "sub demo/c"),
    ("--kind queue --slots 64", "tap demo/c"),
];

/// A channel with a manual subscription that has joined, and 40 events.
fn place(create: &str, read: &str) -> (Base, String) {
    let base = Base::new();
    base.fine(&format!("create demo/c {create}"));
    let read = format!("{read} --name batch --durable --manual --json -q");
    assert_eq!(base.fine(&format!("{read} -n 0")), "");
    let events: String = numbers(1..=40).into_iter().map(|number| number + "\n").collect();
    base.fine_fed("pub demo/c --lines -q", events.as_bytes());
    (base, read)
}

#[test]
fn only_what_standard_input_says_is_acknowledged() {
    for (create, read) in KINDS {
        let (base, read) = place(create, read);
        // Nothing is acknowledged, by one that ends in order and by one that is killed.
        let mut reading = Reading::start(&base, &format!("{read} -n 30"));
        assert_eq!(reading.payloads(30), numbers(1..=30));
        assert_eq!(reading.end(), (0, String::new()));
        let mut reading = Reading::start(&base, &read);
        assert_eq!(reading.payloads(40), numbers(1..=40));
        reading.kill();
        // The position of the first event that is not done.
        let mut reading = Reading::start(&base, &format!("{read} -n 20"));
        assert_eq!(reading.payloads(7), numbers(1..=7));
        let (eighth, _) = reading.event();
        reading.acknowledge(eighth);
        assert_eq!(reading.payloads(12), numbers(9..=20));
        assert_eq!(reading.end(), (0, String::new()));
        let info = base.json("info demo/c --json");
        let one = info["participants"].as_array().unwrap().iter().find(|one| one["name"] == "batch").unwrap();
        assert!(one["manual"] == true && one["cursor"] == eighth && one["state"] == "held", "{one}");
        let mut reading = Reading::start(&base, &format!("{read} -n 33"));
        assert_eq!(reading.payloads(33), numbers(8..=40));
        assert_eq!(reading.end(), (0, String::new()));
    }
}

#[test]
fn what_cannot_be_acknowledged_ends_the_command() {
    for (create, read) in KINDS {
        let (base, read) = place(create, read);
        for (said, code, text) in [
            ("99999999", 2, "was not received"),
            ("eight", 1, "each line is a position"),
            ("-1", 1, "each line is a position"),
        ] {
            let mut reading = Reading::start(&base, &read);
            reading.payloads(5);
            reading.acknowledge(said);
            let (ended, why) = reading.end();
            assert!(ended == code && why.contains(text), "{said}: {ended}, {why}");
        }
        let (code, why) = base.fails(&read.replace("--json", ""));
        assert!(code == 2 && why.contains("--json"), "{why}");
        let (code, why) = base.fails(&read.replace("--durable", "--lossy"));
        assert!(code == 2 && why.contains("--lossy"), "{why}");
    }
}
