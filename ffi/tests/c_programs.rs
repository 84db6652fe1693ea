//! The C programs: examples, and everything again under valgrind and AddressSanitizer.
//!
//! Rust compiles the library itself without instrumentation. So AddressSanitizer sees its
//! allocations and the accesses of the C side, but a pass proves nothing about the library's own
//! accesses.

#[path = "../../conformance/rust/payload.rs"]
#[allow(dead_code)]
mod payload;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Linked, compile, root, run, scratch, sources};

const SANITIZED: [&str; 3] =
    ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];

/// Ways to run a program so that it is watched.
#[derive(Debug, Clone, Copy)]
enum Watched {
    Valgrind,
    Sanitizer,
}

impl Watched {
    /// The program with a watcher, or the reason why it cannot be watched.
    fn program(self, name: &str, sources: &[PathBuf]) -> Result<Vec<String>, String> {
        let program = scratch(&format!("{name}-{self:?}"));
        match self {
            Watched::Valgrind => {
                if Command::new("valgrind").arg("--version").output().is_err() {
                    return Err("there is no valgrind and it could not be installed".into());
                }
                // Without debugging information valgrind starts in a fifth of the time.
                let program = compile(sources, &program, &["-Wl,--strip-debug"], Linked::Statically);
                let valgrind = "valgrind --quiet --error-exitcode=99 --leak-check=full \
                                --errors-for-leak-kinds=definite,indirect --child-silent-after-fork=yes";
                let words = valgrind.split_whitespace().map(str::to_owned);
                Ok(words.chain([program.display().to_string()]).collect())
            }
            Watched::Sanitizer => {
                let probe = scratch("probe.c");
                std::fs::write(&probe, "int main(void) { return 0; }\n").expect("scratch can be written");
                let mut compiler = Command::new("cc");
                compiler.args(SANITIZED).arg(&probe).arg("-o").arg(scratch(&format!("probe-{name}")));
                match compiler.output() {
                    Ok(output) if output.status.success() => {}
                    _ => return Err("the C compiler has no AddressSanitizer".into()),
                }
                let program = compile(sources, &program, &SANITIZED, Linked::Dynamically);
                Ok(vec![program.display().to_string()])
            }
        }
    }
}

fn start(words: &[String], base: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(more).env("RAILBUS_DIR", base).stdin(Stdio::null());
    command
}

#[test]
fn the_examples_work_together() {
    let example = |name: &str| {
        let source = root().join(format!("bindings/c/examples/{name}.c"));
        compile(&[source], &scratch(&format!("example-{name}")), &[], Linked::Dynamically)
            .display()
            .to_string()
    };
    let base = support::base();
    let mut subscriber = start(&[example("subscriber")], base.path(), &["bus", "ticks"]);
    let subscriber = subscriber.stdout(Stdio::piped()).spawn().expect("it starts");
    run(&mut start(&[example("publisher")], base.path(), &["bus", "ticks", "3"]));
    let seen = subscriber.wait_with_output().expect("it is our child");
    assert!(seen.status.success());
    let seen = String::from_utf8_lossy(&seen.stdout);
    assert_eq!(seen, "0: event number 0\n24: event number 1\n48: event number 2\n");

    let table = [example("table")];
    run(&mut start(&table, base.path(), &["bus", "state", "bid", "41"]));
    run(&mut start(&table, base.path(), &["bus", "state", "bid", "42"]));
    let shown = run(&mut start(&table, base.path(), &["bus", "state"]));
    assert_eq!(shown, "bid = 42, version 2\n");

    let worked = run(&mut start(&[example("worker")], base.path(), &["bus", "jobs", "one", "bad", "two"]));
    let mut lines: Vec<&str> = worked.lines().collect();
    lines.sort();
    assert_eq!(
        lines,
        ["done one (attempt 1)", "done two (attempt 1)", "failed bad (attempt 1)", "failed bad (attempt 2)"]
    );
}

#[test]
fn the_page_about_c_has_an_example_that_runs() {
    let page = std::fs::read_to_string(root().join("docs/C.md")).expect("the page is there");
    let mut programs = 0;
    for block in page.split("```c\n").skip(1) {
        let source = scratch(&format!("page-{programs}.c"));
        std::fs::write(&source, block.split("```").next().unwrap_or_default())
            .expect("scratch can be written");
        let program = compile(&[source], &scratch(&format!("page-{programs}")), &[], Linked::Dynamically);
        let base = support::base();
        let told = run(&mut start(&[program.display().to_string()], base.path(), &[]));
        assert_eq!(told, "hello at position 0\n");
        programs += 1;
    }
    assert_eq!(programs, 1);
    let header = std::fs::read_to_string(root().join("ffi/include/railbus.h")).expect("it is committed");
    for name in page.split('`').skip(1).step_by(2).filter(|name| name.starts_with("railbus_")) {
        assert!(header.contains(&format!("{name}(")), "docs/C.md names {name}, which is not in railbus.h");
    }
}

#[test]
fn the_bench_compiles_and_runs() {
    let source = root().join("bindings/c/bench.c");
    let bench = compile(&[source], &scratch("bench"), &[], Linked::Statically);
    let base = support::base();
    let told = run(&mut start(&[bench.display().to_string()], base.path(), &["1024", "64"]));
    assert!(told.contains("round trip") && told.contains("batches: "), "{told}");
}

#[test]
fn misuse_is_answered_and_touches_nothing() {
    let source = [root().join("ffi/tests/c/misuse.c")];
    let plain = compile(&source, &scratch("misuse"), &[], Linked::Dynamically);
    let base = support::base();
    let told = run(&mut start(&[plain.display().to_string()], base.path(), &[]));
    assert!(told.ends_with(" checks\n"), "{told}");
}

#[test]
fn every_function_of_tables_answers_as_documented() {
    let source = [root().join("ffi/tests/c/table.c")];
    let plain = compile(&source, &scratch("table"), &[], Linked::Dynamically);
    let base = support::base();
    let told = run(&mut start(&[plain.display().to_string()], base.path(), &[]));
    assert!(told.ends_with(" checks\n"), "{told}");
}

fn watch_everything(how: Watched) {
    let base = support::base();
    for name in ["misuse", "table"] {
        match how.program(name, &[root().join(format!("ffi/tests/c/{name}.c"))]) {
            Ok(words) => _ = run(&mut start(&words, base.path(), &[])),
            Err(why) => return println!("SKIPPED: {how:?}: {why}"),
        }
    }

    let conformance = how.program("conformance", &sources("conformance/c")).expect("as before");
    let suite = std::fs::read_to_string(root().join("conformance/cases.json")).expect("it is there");
    let suite: serde_json::Value = serde_json::from_str(&suite).expect("it is well-formed");
    let probes = suite["probes"].as_object().expect("they are named");
    let mut words = vec!["probe", "bus=probes"];
    words.extend(probes.keys().map(String::as_str));
    let told = run(&mut start(&conformance, base.path(), &words));
    for (line, (name, answer)) in told.lines().zip(probes) {
        assert_eq!(line, format!("probe {name} {}", answer.as_str().unwrap_or_default()), "{how:?}");
    }

    // Every program that publishes, with every program that receives.
    let bus = railbus::Bus::at(base.path(), "bus").expect("the name is fine");
    let every = [
        ("copy", "receive"),
        ("claim", "view"),
        ("batch", "batch"),
        ("strided", "into"),
        ("attributes", "view"),
        ("copy", "bridge"),
    ];
    // A topic shares its code with the queue's sender and the stream's reader.
    let kinds = [
        (railbus::Kind::Stream, &every[..]),
        (railbus::Kind::Topic, &every[..2]),
        (railbus::Kind::Queue, &every[..4]),
    ];
    for (kind, pairs) in kinds {
        for &(send, receive) in pairs {
            let name = format!("{kind}-{send}-{receive}");
            let options = match kind {
                railbus::Kind::Stream => railbus::ChannelOptions::new(kind).capacity_bytes(4096),
                _ => railbus::ChannelOptions::new(kind).slots(64).slot_bytes(256),
            };
            bus.create(&name, &options).expect("there is room");
            let is_queue = kind == railbus::Kind::Queue;
            let role = if is_queue { "work" } else { "subscribe" };
            let mode = match receive {
                "batch" | "into" if is_queue => "batch",
                _ if is_queue => "take",
                other => other,
            };
            let channel = format!("channel={name}");
            let mode = format!("mode={mode}");
            let mut reader =
                start(&conformance, base.path(), &[role, "bus=bus", &channel, "events=200", &mode]);
            let reader = reader.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            let attached = bus.attach(&name).expect("it is there");
            // Events published before a subscriber has joined are not for it.
            while attached.info().expect("it is ours").participants.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let mode = format!("mode={send}");
            let how_many = ["publish", "bus=bus", &channel, "events=200", "sizes=8,0,33,64", &mode];
            let published = run(&mut start(&conformance, base.path(), &how_many));
            let received = reader.wait_with_output().expect("it is our child");
            let text = String::from_utf8_lossy(&received.stdout);
            let told = String::from_utf8_lossy(&received.stderr);
            assert!(received.status.success(), "{how:?} {name}: {}\n{text}\n{told}", received.status);
            let sum = |text: &str| {
                text.split(' ').find(|word| word.starts_with("sum=")).map(str::trim).map(str::to_owned)
            };
            assert!(
                sum(&text).is_some() && sum(&text) == sum(&published),
                "{how:?} {name}: {text} {published}"
            );
        }
    }
    for kind in ["stream-copy-receive", "topic-copy-receive", "queue-copy-receive"] {
        let channel = format!("channel={kind}");
        run(&mut start(&conformance, base.path(), &["churn", "bus=bus", &channel, "opens=70", "events=100"]));
    }
}

#[test]
fn valgrind_finds_nothing() {
    watch_everything(Watched::Valgrind);
}

#[test]
fn address_sanitizer_finds_nothing() {
    watch_everything(Watched::Sanitizer);
}
