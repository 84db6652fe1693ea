//! The commands that change a live bus: they ask, refuse, print what they would do, and do it; and
//! the output of `export-config` makes the same channels again.

mod program;
mod pty;

use std::io::{Read, Write};
use std::process::Command;

use program::{Base, eventually, numbers};
use railbus::{Bus, ChannelOptions, Kind, SubscribeOptions, WorkOptions};
use serde_json::Value;

/// A queue with five events, and a stream with five that a durable subscription has not read.
fn scene() -> Base {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64 --max-attempts 1");
    base.fine_fed("pub demo/jobs --lines", numbers(1..=5).as_bytes());
    base.fine("create demo/ticks --capacity 4KiB");
    let stream = Bus::at(base.path(), "demo").expect("a bus").attach("ticks").expect("there");
    let audit = SubscribeOptions::default().name("audit").durable(true);
    drop(stream.subscriber(&audit).expect("joined"));
    base.fine_fed("pub demo/ticks --lines", numbers(1..=5).as_bytes());
    base
}

/// Every command that asks, and a part of its announcement.
const ASKING: [(&str, &str); 7] = [
    ("purge demo/jobs", "would discard 5 events of 5 B"),
    ("purge demo/ticks", "would move audit from 0 to the end at 80, over 5 events of 5 B"),
    ("skip demo/jobs -n 2", "would finish 2 events of 2 B, at 0, 1"),
    ("skip demo/ticks --subscription audit", "would move audit from 0 to 16, over 1 events of 1 B"),
    ("seek demo/ticks --subscription audit --to 48", "would move audit from 0 to 48, over 3 events of 3 B"),
    ("resize demo/jobs --slots 128", "would make it anew, and carry over 5 events of 5 B"),
    ("evict demo/ticks audit", "the durable subscription (audit) is forgotten"),
];

fn bytes_below(base: &Base) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(base.path().join("demo")).expect("a bus");
    let mut all: Vec<_> = files
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.display().to_string(), std::fs::read(path).expect("read")))
        .collect();
    all.sort();
    all
}

#[test]
fn without_a_terminal_and_without_yes_they_refuse_and_a_dry_run_changes_nothing() {
    let base = scene();
    let before = bytes_below(&base);
    for (line, would) in ASKING {
        let (code, said) = base.fails(line);
        assert!(code == 2 && said.contains("--yes") && said.contains("--dry-run"), "{line}: {code} {said}");
        let told = base.fine(&format!("{line} --dry-run"));
        assert!(told.contains(would), "{line}: {told}");
        let told = base.json(&format!("{line} --dry-run --json"));
        assert_eq!(told["dry_run"], true, "{line}");
        assert_eq!(base.fails(&format!("{line} --dry-run --yes")).0, 2);
    }
    assert!(before == bytes_below(&base), "something was changed");
}

/// Runs a command in a terminal of its own, answers its question, and returns its exit code and
/// what was on the screen.
fn answered(command: Command, answer: &str) -> (Option<i32>, String) {
    let (mut child, mut screen) = pty::start(command, (24, 80));
    let mut keys = screen.try_clone().expect("a descriptor");
    let (mut shown, mut bytes) = (String::new(), [0; 4096]);
    let mut asked = false;
    // The end of the last process in the terminal is an error here (EIO).
    while let Ok(count @ 1..) = screen.read(&mut bytes) {
        shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        if !asked && shown.contains("type yes to do it: ") {
            asked = true;
            keys.write_all(answer.as_bytes()).expect("written");
        }
    }
    assert!(asked, "{shown}");
    (child.wait().expect("it ends").code(), shown)
}

#[test]
fn on_a_terminal_they_say_what_they_would_do_and_ask() {
    let base = scene();
    let before = bytes_below(&base);
    for (line, would) in ASKING {
        for answer in ["no\n", "y\n", "\n", "\u{4}"] {
            let (code, shown) = answered(base.command(line), answer);
            assert!(code == Some(1) && shown.contains(would), "{line}: {code:?} {shown}");
            assert!(shown.contains("nothing was changed"), "{shown}");
        }
    }
    assert!(before == bytes_below(&base), "something was changed");
    let (code, shown) = answered(base.command("purge demo/jobs"), "yes\n");
    assert!(code == Some(0) && shown.contains("discarded 5 events of 5 B"), "{shown}");
    let (code, shown) = answered(base.command("evict demo/ticks audit"), "yes\n");
    assert!(code == Some(0) && shown.contains("forgotten: nobody was behind it"), "{shown}");
    assert!(base.participants("demo/ticks", "held").is_empty());
}

#[test]
fn a_subscription_is_skipped_and_sought() {
    let base = scene();
    let json = base.json("skip demo/ticks --subscription audit -n 2 --yes --json");
    assert_eq!((&json["from"], &json["to"], &json["events"]), (&0.into(), &32.into(), &2.into()));
    assert_eq!(base.fine("sub demo/ticks --name audit --durable --lines -n 1"), "3\n");
    let told = base.fine("seek demo/ticks --subscription audit --to oldest --yes");
    assert!(told.contains("moved audit from 48 to 0, back, to read 3 events of 3 B again"), "{told}");
    assert_eq!(base.fine("sub demo/ticks --name audit --durable --lines -n 2"), "1\n2\n");
    base.fine("seek demo/ticks --subscription audit --to live --yes");
    for (line, code, why) in [
        ("seek demo/ticks --subscription audit --to 8 --yes", 2, "no event starts there"),
        ("seek demo/ticks --subscription audit --to 800 --yes", 2, "positions 0 to 80 can be gone to"),
        ("seek demo/ticks --subscription audit --to=-1h --yes", 7, "start `railbus journald`"),
        ("seek demo/ticks --subscription audit --to nowhere --yes", 2, "expected a position"),
        ("seek demo/ticks --subscription nobody --to live --yes", 3, "does not exist"),
        ("skip demo/ticks --yes", 2, "--subscription"),
        ("skip demo/nothing --yes", 3, "does not exist"),
        ("skip demo/jobs --subscription audit --to-dead-letters --yes", 2, "cannot be used with"),
        ("resize demo/ticks --yes", 2, "nothing to change"),
        ("resize demo/ticks --slots 64 --yes", 2, "a stream has none"),
        ("resize demo/jobs --slots 100 --yes", 2, "power of two"),
    ] {
        let (found, said) = base.fails(line);
        assert!(found == code && said.contains(why), "{line}: {found} {said}");
    }
    let holder = base.start("sub demo/ticks --name audit --durable");
    base.await_live("demo/ticks", "consumer", 1);
    for line in [
        "skip demo/ticks --subscription audit --yes",
        "seek demo/ticks --subscription audit --to live --yes",
        "resize demo/ticks --capacity 8KiB --yes",
    ] {
        let (code, said) = base.fails(line);
        assert!(
            code == 1 && (said.contains("holds it") || said.contains("take part")),
            "{line}: {code} {said}"
        );
    }
    let told = base.fine("purge demo/ticks --yes");
    assert!(told.contains("audit is left: process"), "{told}");
    holder.kill();
}

#[test]
fn dead_letters_are_listed_retried_and_dropped() {
    let base = scene();
    assert_eq!(base.fine("dead-letters ls demo/jobs"), "demo/jobs.dead: no dead letters\n");
    let (code, _) = base.fails("work demo/jobs --exec false -n 1 --timeout 1s");
    assert_ne!(code, 0);
    // It was handed back with its one attempt counted, so the next worker that takes makes it a
    // dead letter.
    let queue = Bus::at(base.path(), "demo").expect("a bus").attach("jobs").expect("there");
    let mut worker = queue.worker(&WorkOptions::default()).expect("a worker");
    eventually("a dead letter", || {
        if let Some(job) = worker.try_take().expect("fine") {
            job.retry();
        }
        base.json("dead-letters ls demo/jobs --json")["letters"].as_array().is_some_and(|all| all.len() == 5)
    });
    drop(worker);
    let json = base.json("dead-letters ls demo/jobs.dead --json");
    let first = &json["letters"][0];
    assert_eq!((&first["queue"], &first["attempts"]), (&"demo/jobs".into(), &1.into()), "{first}");
    assert_eq!((&first["payload_base64"], &first["position"]), (&"MQ==".into(), &0.into()));
    let table = base.fine("dead-letters ls demo/jobs");
    assert!(table.starts_with("POSITION") && table.contains("demo/jobs 0") && table.lines().count() == 6);
    for verb in ["retry", "drop"] {
        assert_eq!(base.fails(&format!("dead-letters {verb} demo/jobs --all")).0, 2);
        assert_eq!(base.fails(&format!("dead-letters {verb} demo/jobs --yes")).0, 2, "which?");
        assert_eq!(base.fails(&format!("dead-letters {verb} demo/jobs --position 99 --yes")).0, 3);
        let told = base.fine(&format!("dead-letters {verb} demo/jobs --all --dry-run"));
        assert!(told.contains(&format!("would {verb} 5 dead letters")), "{told}");
    }
    let json = base.json("dead-letters retry demo/jobs --position 3 --yes --json");
    assert_eq!(json["retried"][0]["queue"], "demo/jobs");
    assert_eq!(json["retried"][0]["new_position"], 5);
    assert!(base.fine("dead-letters drop demo/jobs --position 0 --yes").contains("dropped 1 dead letters"));
    let told = base.fine("dead-letters retry demo/jobs.dead --all --yes");
    assert!(told.contains("retried 3 dead letters") && told.contains("to demo/jobs as"), "{told}");
    let mut done: Vec<String> = base.fine("work demo/jobs --lines -n 4").lines().map(str::to_owned).collect();
    done.sort();
    assert_eq!(done, ["2", "3", "4", "5"]);
}

#[test]
fn a_stray_dead_letter_is_left_and_said() {
    let base = scene();
    base.fine_fed("pub demo/jobs.dead --lines", b"stray\n");
    let output = base.run("dead-letters retry demo/jobs.dead --all --yes");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("0 is left: it has no origin"));
    assert!(base.fine("dead-letters ls demo/jobs").contains("no dead letters"), "not that queue's");
    assert!(base.fine("dead-letters ls demo/jobs.dead").contains("stray"));
}

#[test]
fn resize_carries_over_and_says_so() {
    let base = scene();
    let json = base.json("resize demo/ticks --capacity 16KiB --consumers-max 8 --yes --json");
    assert_eq!(
        (&json["events"], &json["subscriptions"], &json["incarnation"]),
        (&5.into(), &1.into(), &2.into())
    );
    assert_eq!((&json["capacity_bytes"], &json["consumers_max"]), (&16384.into(), &8.into()));
    assert_eq!(base.fine("sub demo/ticks --name audit --durable --lines -n 5"), numbers(1..=5));
    let told = base.fine("resize demo/jobs --slots 256 --wait 1s --yes");
    assert!(told.contains("made anew, and carried over 5 events of 5 B"), "{told}");
    let info = base.json("info demo/jobs --json");
    assert_eq!((&info["slots"], &info["positions"]["unfinished"]), (&256.into(), &5.into()));
    assert_eq!(base.fine("work demo/jobs --lines -n 5"), numbers(1..=5));
    let told = base.fine("resize demo/ticks --capacity 4KiB --discard --yes");
    assert!(told.contains("made anew, and gave up 0 events"), "{told}");
}

/// The part that must be the same in a channel that was made again.
fn same(mut info: Value) -> Value {
    let all = info.as_object_mut().expect("an object");
    for name in [
        "id",
        "incarnation",
        "created_ns",
        "created",
        "creator_pid",
        "first_position",
        "positions",
        "participants",
    ] {
        all.remove(name);
    }
    if let Some(files) = all.get_mut("files").and_then(Value::as_object_mut) {
        ["ring", "acks", "data"].iter().for_each(|path| _ = files.remove(*path));
    }
    all.remove("channel");
    info
}

#[test]
fn an_export_makes_the_same_channels_again() {
    let base = Base::new();
    let bus = Bus::at(base.path(), "demo").expect("a bus");
    for line in [
        "create demo/plain",
        "create demo/ticks --capacity 64KiB --consumers-max 7 --stuck-after 1.5s --stamp --overflow drop-newest",
        "create demo/jobs --kind queue --slots 128 --slot-bytes 512 --max-attempts 3 --dead-letters bin",
        "create demo/prices --kind topic --producers-max 3 --no-lock --producers-mode 640 --consumers-mode 660",
        "create demo/large --capacity 4MiB --pages ordinary",
        "create demo/spill --kind queue --slot-bytes 512",
        "create demo/calm --kind queue --high-watermark 80 --low-watermark 50 --credits 16 --overflow divert --divert-to spill",
    ] {
        base.fine(line);
    }
    bus.create("it's $HOME", &ChannelOptions::new(Kind::Topic).slots(64)).expect("made");
    bus.create("loss", &ChannelOptions::new(Kind::Topic).overflow(railbus::Overflow::LossyReaders))
        .expect("made");
    let infos = |bus: &str| -> Vec<Value> {
        let json = base.json(&format!("ls {bus} --json"));
        let names = json["channels"].as_array().expect("a list").iter();
        let infos = names.map(|one| {
            let mut command = base.command("info --json");
            let output = command.arg(one["channel"].as_str().expect("a name")).output().expect("it ends");
            serde_json::from_slice(&output.stdout).expect("an object")
        });
        infos.map(same).collect()
    };
    let before = infos("demo");
    assert_eq!(before.len(), 10);
    let toml = base.fine("export-config demo");
    let shell = base.fine("export-config demo --format sh");
    assert_eq!(toml.matches("\n\n").count(), 10);
    let file = base.file("demo.toml");
    std::fs::write(&file, &toml).expect("written");
    base.fine("rm demo --all");
    let create = |more: &str| base.run(&format!("create --from {} {more}", file.display()));
    assert!(create("").status.success());
    assert_eq!(infos("demo"), before, "from TOML");
    assert_eq!(create("").status.code(), Some(1), "they are there");
    assert!(create("--if-missing --json").status.success());
    base.fine("rm demo --all");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_railbus")).parent().expect("a directory");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &shell]).env("PATH", path).env("RAILBUS_DIR", base.path());
    assert!(command.output().expect("a shell").status.success(), "{shell}");
    assert_eq!(infos("demo"), before, "from commands");
    let one = base.fine("export-config demo/jobs --format sh");
    assert!(one.starts_with("railbus create demo/jobs --kind queue --slots 128 --slot-bytes 512"), "{one}");
    assert_eq!(base.fails("export-config nothing").0, 3);
    assert_eq!(base.fails("export-config demo/nothing").0, 3);
}

#[test]
fn a_wrong_file_makes_nothing_and_says_what_is_wrong() {
    let base = Base::new();
    let file = base.file("wrong.toml");
    for (text, why) in [
        ("[\"demo/a\"]\n[\"demo/b\"]\nkimd = \"queue\"\n", "kimd"),
        ("[\"demo/a\"]\nkind = \"heap\"\n", "heap"),
        ("[\"demo/a\"]\nslots = [1]\n", "slots is array"),
        ("[\"demo\"]\n", "BUS/CHANNEL"),
        ("demo = 1\n", "BUS/CHANNEL"),
        ("\"demo/a\" = 1\n", "expected a table"),
        ("[\"demo/a\"]\nfrom = \"x\"\n", "from"),
        ("[demo", "TOML"),
    ] {
        std::fs::write(&file, text).expect("written");
        let (code, said) = base.fails(&format!("create --from {}", file.display()));
        assert!(code == 2 && said.contains(why), "{text}: {code} {said}");
        assert!(!base.path().join("demo").exists());
    }
    assert_eq!(base.fails("create --from /nowhere/at/all").0, 3);
    assert_eq!(base.fails("create").0, 2);
}

/// Every flag of `create` that sets a property of a channel, with a value other than the default.
const FLAGS: &str = "--keyed --unique --drop-expired --retry-delay=2ms --retry-delay-max=3s --stamp --credits=7 --overflow=divert --divert-to=spill --high-watermark=80 \
    --low-watermark=50 --max-attempts=3 --dead-letters=letters --stuck-after=5s --no-lock --producers-mode=644 \
    --consumers-mode=640 --slots=64 --slot-bytes=128 --producers-max=3 --consumers-max=4";

#[test]
fn every_option_is_compared_shown_and_exported() {
    let base = Base::new();
    base.fine("create demo/spill --kind queue --slot-bytes 1024");
    base.fine("create demo/plain --kind queue");
    base.fine(&format!("create demo/full --kind queue {FLAGS}"));
    for flag in FLAGS.split_whitespace() {
        let name = flag.trim_start_matches("--").split('=').next().expect("a name");
        let more = match name {
            "divert-to" => "--overflow=divert",
            "overflow" => "--divert-to=spill",
            "high-watermark" => "--low-watermark=50",
            "low-watermark" => "--high-watermark=80",
            "dead-letters" => "--max-attempts=3",
            _ => "",
        };
        let (code, said) = base.fails(&format!("create demo/plain --kind queue {flag} {more} --if-missing"));
        assert!(code == 1 && said.contains(&format!("{name} ")), "{flag}: {code} {said}");
        base.fine(&format!("create demo/full --kind queue {flag} {more} --if-missing"));
    }
    base.fine(&format!("create demo/full --kind queue {FLAGS} --if-missing"));
    base.fine("create demo/full --kind queue --if-missing");
    assert!(base.fails("info demo/plain.dead").0 == 3, "what is refused leaves nothing behind");
    // By the help of `create`, and not by a list of this test.
    let help = base.fine("create --help");
    let info = base.json("info demo/full --json");
    let exported = base.fine("export-config demo/full --format sh");
    let text = base.fine("info demo/full");
    let of_the_command = ["from", "if-missing", "json", "help"];
    for line in help.lines().map(str::trim_start) {
        let Some(name) = line.split_whitespace().find_map(|word| word.strip_prefix("--")) else { continue };
        if !line.starts_with('-') || of_the_command.contains(&name) {
            continue;
        }
        assert!(info["options"].get(name).is_some(), "info --json has no {name}: {}", info["options"]);
        if FLAGS.contains(&format!("--{name}")) {
            assert!(exported.contains(&format!("--{name}")), "{name}: {exported}");
            assert!(text.contains(&format!("--{name}")), "{name}: {text}");
        }
    }
}
