//! The commands for tables, with the real program.

mod program;

use program::{Base, failed};
use serde_json::Value;

fn lines(output: &std::process::Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

#[test]
fn values_are_set_read_listed_and_deleted() {
    let base = Base::new();
    base.fine("create demo/state --kind table --keys 4 --value-bytes 64");
    assert_eq!(base.run("set demo/state bid 42").stdout, b"");
    assert_eq!(base.run("get demo/state bid").stdout, b"42");
    let got = base.json("get demo/state bid --json");
    assert_eq!(got["key"], "bid");
    assert_eq!((&got["version"], &got["value"], &got["text"]), (&1.into(), &"NDI=".into(), &"42".into()));
    // Any bytes, from standard input.
    let bytes = [0, 1, 255, b'\n', 7];
    assert!(base.feed("set demo/state raw", &bytes).status.success());
    assert_eq!(base.run("get demo/state raw").stdout, bytes);
    let (code, said) = failed("get", base.run("get demo/state ask"));
    assert!(code == 3 && said.contains("key \"ask\" has no value"), "{code} {said}");
    base.fine("set demo/state 7 seven --numbers");
    let all = lines(&base.run("dump demo/state --json"));
    let keys: Vec<_> = all.iter().map(|one| one["key"].clone()).collect();
    assert_eq!(keys, [Value::from(7), "bid".into(), "raw".into()]);
    let text = String::from_utf8(base.run("dump demo/state").stdout).expect("text");
    assert!(
        text.starts_with("7\t1\tseven\nbid\t1\t42\n") && text.contains("\\x00\\x01\\xff\\n\\x07"),
        "{text}"
    );
    base.fine("set demo/state bid --delete");
    assert_eq!(failed("get", base.run("get demo/state bid")).0, 3);
}

#[test]
fn conditions_and_limits_have_their_exit_codes() {
    let base = Base::new();
    base.fine("create demo/state --kind table --keys 1 --value-bytes 8");
    let version = base.json("set demo/state a 1 --if-absent --json")["version"].as_u64().expect("a number");
    for (line, expected, words) in [
        ("set demo/state a 2 --if-absent".to_owned(), 1, "has version"),
        (format!("set demo/state a 2 --if-version {}", version + 1), 1, "has version"),
        ("set demo/state b 2".to_owned(), 6, "every key of the table is in use"),
        ("set demo/state a 123456789".to_owned(), 2, "--value-bytes"),
        ("get demo/nothing a".to_owned(), 3, "does not exist"),
        ("get demo/state b --wait 20ms".to_owned(), 8, "timed out"),
        ("watch-key demo/state b --timeout 20ms".to_owned(), 8, "timed out"),
        ("sub demo/state".to_owned(), 2, "is a table"),
        ("pub demo/state".to_owned(), 2, "is a table"),
        ("resize demo/state --slots 64 --yes".to_owned(), 2, "is a table"),
        ("create demo/t --kind table --slots 64".to_owned(), 2, "keys"),
        ("create demo/t --kind table --journaled".to_owned(), 2, "journaled"),
    ] {
        let (code, said) = failed(&line, base.run(&line));
        assert!(code == expected && said.contains(words), "{line}: {code} {said}");
    }
    base.fine(&format!("set demo/state a 2 --if-version {version}"));
    assert_eq!(base.run("get demo/state a").stdout, b"2");
}

#[test]
fn watch_key_prints_what_is_there_and_each_change() {
    let base = Base::new();
    base.fine("create demo/state --kind table");
    base.fine("set demo/state early 1");
    let seen = lines(&base.run("watch-key demo/state --json -n 1"));
    assert_eq!((&seen[0]["key"], &seen[0]["text"]), (&"early".into(), &"1".into()));
    let mut watching = base.start("watch-key demo/state bid --json -n 3");
    base.await_live("demo/state", "consumer", 1);
    let mut seen = Vec::new();
    for line in ["set demo/state bid 1", "set demo/state bid 2", "set demo/state bid --delete"] {
        base.fine("set demo/state other x");
        base.fine(line);
        // Each is seen before the next is set: changes are conflated.
        seen.push(serde_json::from_str::<Value>(&watching.read_line()).expect("a JSON object"));
    }
    watching.fine();
    let texts: Vec<_> = seen.iter().map(|one| (one["version"].clone(), one["text"].clone())).collect();
    assert_eq!(texts, [(1.into(), "1".into()), (2.into(), "2".into()), (3.into(), Value::Null)]);
    assert_eq!(seen[2]["deleted"], true);
}

#[test]
fn info_ls_stat_metrics_and_export_know_tables() {
    let base = Base::new();
    base.fine("create demo/state --kind table --keys 10 --value-bytes 16");
    for key in ["a", "b", "a"] {
        base.fine(&format!("set demo/state {key} 1"));
    }
    let info = base.json("info demo/state --json");
    assert_eq!(info["table"], serde_json::json!({ "keys": 2, "keys_max": 10, "changes": 3 }));
    let text = String::from_utf8(base.run("info demo/state").stdout).expect("text");
    assert!(text.contains("a table of 10 keys with values of 16 B") && text.contains("--keys 10"), "{text}");
    let listed = String::from_utf8(base.run("ls demo").stdout).expect("text");
    assert!(listed.contains("10 x 16 B") && listed.contains("2 keys"), "{listed}");
    let exported = base.run("export-config demo").stdout;
    let file = base.file("demo.toml");
    std::fs::write(&file, exported).expect("it is ours");
    base.fine("rm demo/state --yes");
    base.fine(&format!("create --from {}", file.display()));
    let again = base.json("info demo/state --json");
    assert_eq!(
        (&again["keys"], &again["value_bytes"], &again["kind"]),
        (&10.into(), &16.into(), &"table".into())
    );
    assert!(base.run("repair demo/state").status.success() && base.run("ls").status.success());
}

#[test]
fn a_daemon_that_records_by_pattern_leaves_tables_out() {
    let base = Base::new();
    base.fine("create demo/early --kind table");
    let journal = base.file("journal");
    let mut daemon = base.start(&format!("journald --journal {} --channels demo/*", journal.display()));
    assert!(daemon.read_line().contains("ready"));
    base.fine("create demo/late --kind table");
    base.fine("set demo/late a 1");
    // A stream that is made later is recorded, so the daemon has looked through the bus before that.
    base.fine("create demo/events --kind stream");
    program::eventually("the stream is recorded", || {
        base.json("info demo/events --json")["journal"]["state"] == "recording"
    });
    daemon.signal(libc::SIGTERM);
    let output = daemon.finish();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("late") && !said.contains("early"), "{said}");
    assert!(journal.join("demo/events").exists() && !journal.join("demo/late").exists());
    let (code, said) = failed("journal", base.run(&format!("journal tail {}/demo/late", journal.display())));
    assert!(code == 3, "{code} {said}");
}
