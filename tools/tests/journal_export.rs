//! Exported files opened by foreign programs: the Python packages `mcap` and `pyarrow`, and
//! Python's own `csv` and `json`. Each prints what it read as one line of JSON an event, which must
//! be what the journal holds.
//!
//! The packages are installed once, into target/venv. If that is impossible, the test reports it
//! and is skipped.

#[path = "../../bus/tests/common/journal_hand/mod.rs"]
mod journal_hand;
mod program;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use journal_hand::Hand;
use program::{Base, noise};
use railbus::Kind;
use railbus_log::format::{Gap, GapReason};
use railbus_ring::frame::{REPLAYED, STAMPED};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter that has the packages.
fn python() -> Option<PathBuf> {
    let python = program::python();
    python.inspect_err(|why| println!("skipped: Python's packages cannot be installed here: {why}")).ok()
}

/// The output of a program, line by line.
fn lines(python: &Path, program: &str, file: &Path) -> Vec<Value> {
    let output = Command::new(python).arg("-c").arg(program).arg(file).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

const MCAP: &str = r#"
import base64, json, sys
from mcap.reader import make_reader
with open(sys.argv[1], "rb") as file:
    reader = make_reader(file)
    about = {one.name: one.metadata for one in reader.iter_metadata()}["railbus"]
    print(json.dumps({"about": about}))
    for schema, channel, message in reader.iter_messages(log_time_order=False):
        data = message.data.decode() if channel.message_encoding == "json" else None
        print(json.dumps({
            "topic": channel.topic, "encoding": channel.message_encoding, "schema": schema.name if schema else None,
            "sequence": message.sequence, "log_time": message.log_time, "publish_time": message.publish_time,
            "data": json.loads(data) if data and data[0] == "{" else base64.b64encode(message.data).decode(),
        }))
"#;

const PARQUET: &str = r#"
import base64, json, sys
import pyarrow.parquet as parquet
file = parquet.ParquetFile(sys.argv[1])
print(json.dumps({key.decode(): value.decode() for key, value in file.metadata.metadata.items() if key.startswith(b"railbus.")}))
table = file.read()
assert [str(field.type) for field in table.schema] == [
    "uint64", "timestamp[ns, tz=UTC]", "uint16", "uint8", "timestamp[ns, tz=UTC]", "binary", "binary"], table.schema
time_ns = table["time_ns"].cast("int64").to_pylist()
published = table["published_ns"].cast("int64").to_pylist()
for i, row in enumerate(table.drop_columns(["time_ns", "published_ns"]).to_pylist()):
    print(json.dumps({
        "position": row["position"], "time_ns": time_ns[i], "type_id": row["type_id"], "flags": row["flags"],
        "published_ns": published[i], "extensions": row["extensions"] and base64.b64encode(row["extensions"]).decode(),
        "payload": base64.b64encode(row["payload"]).decode(),
    }))
"#;

const CSV: &str = r#"
import csv, json, sys
with open(sys.argv[1], newline="") as file:
    for row in csv.DictReader(file):
        print(json.dumps(row))
"#;

/// A journal with everything in it, and its events as `cat --json` prints them.
fn journal(base: &Base) -> (Hand, String, Vec<Value>) {
    let directory = base.path().join("journal/demo/ticks");
    let mut hand = Hand::of(&directory, journal_hand::channel_header(Kind::Stream), 4 << 20);
    // Positions that do not fit into 32 bits.
    hand.position = 5 << 32;
    let noise = noise(300_000, 7);
    for i in 0..2000usize {
        hand.time_ns += 1_000 * (i as u64 % 3);
        let payload = &noise[i * 100..][..i % 97];
        match i % 5 {
            0 => hand.event_of(7, 0, payload),
            1 => {
                let mut body = (hand.time_ns - 5).to_le_bytes().to_vec();
                body.extend_from_slice(payload);
                hand.event_of(0, STAMPED | REPLAYED, &body)
            }
            _ => hand.event(payload),
        };
        if i % 100 == 99 {
            hand.block();
        }
        if i == 999 {
            let from = hand.position;
            hand.gap(Gap { from, to: from + 800, events: u64::MAX, reason: GapReason::StagingLost });
        }
    }
    hand.block();
    let directory = directory.display().to_string();
    let text = base.fine(&format!("journal cat {directory} --json"));
    let events = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let events = events.filter(|event: &Value| event.get("gap").is_none()).collect();
    (hand, directory, events)
}

#[test]
fn mcap_opens_with_its_python_package_and_holds_the_same() {
    let Some(python) = python() else { return };
    let base = Base::new();
    let (hand, directory, events) = journal(&base);
    for compression in ["", "--uncompressed"] {
        let file = base.file("ticks.mcap");
        base.run(&format!("journal export {directory} --output {} --force {compression}", file.display()));
        let mut read = lines(&python, MCAP, &file);
        let about = &read.remove(0)["about"];
        assert_eq!((&about["channel"], &about["kind"]), (&"ticks".into(), &"stream".into()));
        assert_eq!(about["first_position"], (5u64 << 32).to_string());
        let gap = read.iter().position(|message| message["topic"] == "/ticks/gaps").expect("the gap");
        let gap = read.remove(gap);
        assert_eq!((&gap["data"]["gap"], &gap["data"]["events"]), (&"staging-lost".into(), &Value::Null));
        assert_eq!(read.len(), events.len());
        for (message, event) in read.iter().zip(&events) {
            assert_eq!(&message["data"], event);
            assert_eq!(message["log_time"], event["time_ns"]);
            let published = event.get("published_ns").unwrap_or(&event["time_ns"]);
            assert_eq!(&message["publish_time"], published);
            assert_eq!(message["sequence"], event["position"].as_u64().expect("a number") & 0xFFFF_FFFF);
            let topic = if event["type_id"] == 7 { "/ticks/type-7" } else { "/ticks" };
            assert_eq!((&message["topic"], &message["schema"]), (&topic.into(), &"railbus.Event".into()));
        }
    }
    drop(hand);
    // The payloads themselves.
    let file = base.file("raw.mcap");
    base.run(&format!(
        "journal export {directory} --output {} --payload-as x-noise -n 50 -q",
        file.display()
    ));
    let read = lines(&python, MCAP, &file);
    for (message, event) in read[1..].iter().zip(&events[..50]) {
        assert_eq!((&message["data"], &message["encoding"]), (&event["payload"], &"x-noise".into()));
    }
}

#[test]
fn parquet_opens_with_pyarrow_and_holds_the_same() {
    let Some(python) = python() else { return };
    let base = Base::new();
    let (hand, directory, events) = journal(&base);
    for compression in ["", "--uncompressed"] {
        let file = base.file("ticks.parquet");
        base.run(&format!("journal export {directory} --output {} --force {compression}", file.display()));
        let mut read = lines(&python, PARQUET, &file);
        let about = read.remove(0);
        assert_eq!((&about["railbus.channel"], &about["railbus.kind"]), (&"ticks".into(), &"stream".into()));
        let gaps: Value = serde_json::from_str(about["railbus.gaps"].as_str().expect("text")).expect("JSON");
        assert_eq!(gaps[0]["gap"], "staging-lost");
        assert_eq!(read.len(), events.len());
        for (row, event) in read.iter().zip(&events) {
            for field in ["position", "time_ns", "type_id", "flags", "payload"] {
                assert_eq!(row[field], event[field]);
            }
            assert_eq!(row["published_ns"], event.get("published_ns").cloned().unwrap_or(Value::Null));
            let extensions = event.get("published_ns").and_then(Value::as_u64).map(u64::to_le_bytes);
            assert_eq!(row["extensions"], Value::from(extensions.map(|bytes| BASE64_STANDARD.encode(bytes))));
        }
    }
    drop(hand);
}

#[test]
fn csv_and_json_lines_hold_the_same() {
    let base = Base::new();
    let (_hand, directory, events) = journal(&base);
    let file = base.file("ticks.jsonl");
    let told = base.run(&format!("journal export {directory} --output {}", file.display()));
    let told = String::from_utf8(told.stderr).expect("text");
    assert!(told.contains("2000 events in "), "{told}");
    let text = std::fs::read_to_string(&file).expect("read");
    assert_eq!(text, base.fine(&format!("journal cat {directory} --json")));
    let csv = base.run(&format!("journal export {directory} --format csv"));
    assert!(String::from_utf8_lossy(&csv.stderr).contains("events missing (staging-lost)"));
    let file = base.file("ticks.csv");
    std::fs::write(&file, csv.stdout).expect("written");
    // Python itself is enough; if there is none, the columns are counted.
    let Ok(rows) = std::panic::catch_unwind(|| lines(Path::new("python3"), CSV, &file)) else {
        println!("skipped in part: there is no python3");
        return;
    };
    assert_eq!(rows.len(), events.len());
    for (row, event) in rows.iter().zip(&events) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for field in ["position", "time_ns", "type_id", "flags"] {
            assert_eq!(text(&row[field]), text(&event[field]));
        }
        assert_eq!(row["payload_base64"], event["payload"]);
        let published = event.get("published_ns").map_or_else(String::new, text);
        assert_eq!(row["published_ns"], json!(published));
    }
}

#[test]
fn an_export_is_whole_or_not_there() {
    let base = Base::new();
    let (hand, directory, _) = journal(&base);
    let file = base.file("out.csv");
    // Not every payload is text.
    let (code, told) = base.fails(&format!("journal export {directory} --output {} --text", file.display()));
    assert!(code == 1 && told.contains("is no text"), "{code} {told}");
    assert!(!file.exists());
    std::fs::write(&file, "precious").expect("written");
    let (code, told) = base.fails(&format!("journal export {directory} --output {}", file.display()));
    assert!(code == 2 && told.contains("--force"), "{code} {told}");
    assert_eq!(std::fs::read(&file).expect("read"), b"precious");
    for usage in ["", "--format mcap", "--format csv --payload-as json", "--format json --text"] {
        assert_eq!(base.fails(&format!("journal export {directory} {usage}")).0, 2, "{usage}");
    }
    let missing = base.path().join("none/out.csv");
    assert_eq!(base.fails(&format!("journal export {directory} --output {}", missing.display())).0, 3);
    drop(hand);
    let left: Vec<_> =
        std::fs::read_dir(base.path()).expect("list").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("export")), "{left:?}");
}
