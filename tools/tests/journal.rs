//! `railbus journal` and `railbus replay` on journals written by hand.

#[path = "../../bus/tests/common/journal_hand/mod.rs"]
mod journal_hand;
mod program;

use journal_hand::Hand;
use program::Base;
use railbus::Kind;
use railbus_log::format::{Gap, GapReason};
use railbus_ring::frame::{REPLAYED, STAMPED};
use serde_json::Value;
use std::os::unix::fs::FileExt;

/// A small journal of a topic: three events, a gap, two events.
fn small(base: &Base) -> (Hand, String) {
    let directory = base.path().join("journal/demo/ticks");
    let mut hand = Hand::new(&directory, Kind::Topic);
    hand.event(b"one");
    hand.time_ns += 1_500_000_000;
    hand.event_of(7, 0, b"two\nlines");
    let mut stamped = 1234u64.to_le_bytes().to_vec();
    stamped.extend_from_slice(b"\xff three");
    hand.event_of(0, STAMPED | REPLAYED, &stamped);
    hand.block();
    hand.gap(Gap { from: 3, to: 6, events: 3, reason: GapReason::DiskFull });
    hand.event(b"seven");
    hand.time_ns += 500_000_000;
    hand.event_of(7, 0, b"eight");
    hand.block();
    (hand, directory.display().to_string())
}

#[test]
fn cat_prints_four_forms_and_tells_of_gaps() {
    let base = Base::new();
    let (_, directory) = small(&base);
    let json = base.fine(&format!("journal cat {directory} --json"));
    let golden = "\
{\"position\":0,\"time_ns\":1000000000,\"type_id\":0,\"flags\":0,\"payload\":\"b25l\"}
{\"position\":1,\"time_ns\":2500000000,\"type_id\":7,\"flags\":0,\"payload\":\"dHdvCmxpbmVz\"}
{\"position\":2,\"time_ns\":2500000000,\"type_id\":0,\"flags\":9,\"published_ns\":1234,\"payload\":\"/yB0aHJlZQ==\"}
{\"gap\":\"disk-full\",\"from\":3,\"to\":6,\"events\":3,\"time_ns\":2500000000}
{\"position\":6,\"time_ns\":2500000000,\"type_id\":0,\"flags\":0,\"payload\":\"c2V2ZW4=\"}
{\"position\":7,\"time_ns\":3000000000,\"type_id\":7,\"flags\":0,\"payload\":\"ZWlnaHQ=\"}
";
    assert_eq!(json, golden);
    for line in json.lines() {
        serde_json::from_str::<Value>(line).expect("JSON");
    }
    let output = base.run(&format!("journal cat {directory}"));
    assert_eq!(output.stdout, b"one\ntwo\nlines\n\xff three\nseven\neight\n");
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(told, "railbus: 3 events missing (disk-full): positions 3 up to 6\n");
    assert_eq!(base.run(&format!("journal cat {directory} --raw --to 3")).stdout, b"onetwo\nlines\xff three");
    let framed = base.run(&format!("journal cat {directory} --length-prefixed --from 6 -n 1"));
    assert_eq!(framed.stdout, b"\x05\0\0\0seven");
    for (part, lines) in [
        ("--from @2.6", "eight\n"),
        ("--from 1970-01-01T00:00:01.000000001Z --type 7", "two\nlines\neight\n"),
        ("--to 1970-01-01T00:00:02Z", "one\n"),
        ("--from end", ""),
        ("--from 2 --to 3 -n 5", "\u{fffd} three\n"),
        ("--from -1h", ""),
    ] {
        let output = base.run(&format!("journal cat {directory} {part}"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), lines, "{part}");
        assert!(output.status.success(), "{part}");
    }
}

#[test]
fn replay_prints_and_refuses_to_feed_itself() {
    let base = Base::new();
    let (_, directory) = small(&base);
    let raw = base.run(&format!("replay {directory} --to-stdout raw"));
    assert_eq!(raw.stdout, b"onetwo\nlines\xff threeseveneight");
    let json = base.run(&format!("replay {directory} --to-stdout json --speed 10x"));
    assert_eq!(json.stdout, base.run(&format!("journal cat {directory} --json")).stdout);
    let told = String::from_utf8(json.stderr).expect("text");
    assert!(told.contains("replayed 5 events in ") && told.contains("late by p50 "), "{told}");
    let quiet = base.run(&format!("replay {directory} --to-stdout lines --rate 1000 --from 6 --quiet"));
    assert_eq!((quiet.stdout, quiet.stderr), (b"seven\neight\n".to_vec(), Vec::new()));
    let looped = base.run(&format!("replay {directory} --to-stdout lines --loop --from 6 -n 5"));
    assert_eq!(looped.stdout, b"seven\neight\nseven\neight\nseven\n");
    for usage in
        ["--to-stdout xml", "--to-stdout raw --into a/b", "", "--to-stdout raw --speed 2", "--from x"]
    {
        assert_eq!(base.fails(&format!("replay {directory} {usage}")).0, 2, "{usage}");
    }
    // Into another channel of another kind, marked.
    base.fine("create demo/again --kind stream --capacity 64KiB");
    let subscriber = base.start("sub demo/again --json -n 5");
    base.await_live("demo/again", "consumer", 1);
    let output = base.run(&format!("replay {directory} --into demo/again"));
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(subscriber.fine()).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["payload"], &lines[1]["type_id"]), (&"one".into(), &7.into()));
    assert_eq!(lines[2]["published_ns"], 1234);
    // Into a channel whose events are too small.
    base.fine("create demo/small --kind topic --slots 64 --slot-bytes 64");
    let (mut hand, _) = small(&Base::new());
    let large = base.path().join("journal/demo/large");
    hand = Hand::of(&large, hand.channel.clone(), hand.segment.segment_bytes);
    hand.event(&[1; 500]);
    hand.block();
    let (code, told) = base.fails(&format!("replay {} --into demo/small", large.display()));
    assert!(code == 2 && told.contains("500 bytes"), "{code} {told}");
    assert_eq!(base.fails(&format!("replay {directory} --into demo/none")).0, 3);
}

#[test]
fn a_channel_is_not_fed_with_its_own_journal() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream");
    let channel =
        railbus::Bus::at(base.path(), "demo").and_then(|bus| bus.attach("ticks")).expect("attached");
    let directory = base.path().join("journal/demo/ticks");
    let mut hand = Hand::of(&directory, channel.header().clone(), 1 << 20);
    hand.event(b"one");
    hand.block();
    let (code, told) = base.fails(&format!("replay {} --into demo/ticks", directory.display()));
    assert!(code == 2 && told.contains("fed with itself"), "{code} {told}");
}

#[test]
fn verify_says_what_is_there_torn_and_corrupt() {
    let base = Base::new();
    let (mut hand, directory) = small(&base);
    hand.durable = hand.position;
    hand.event(b"nine");
    let nine = hand.block();
    let verified = base.json(&format!("journal verify {directory} --json"));
    let expected: Value = serde_json::json!({
        "journal": directory, "segments": 1, "events": 6, "bytes": 8192 + 3 * 4096, "gaps": 1,
        "first_position": 0, "first_time_ns": 1_000_000_000u64, "first_time": "1970-01-01T00:00:01.000000000Z", "last_position": 8,
        "last_time_ns": 3_000_000_000u64, "last_time": "1970-01-01T00:00:03.000000000Z", "end_position": 9, "durable_position": 8, "torn_bytes": 0,
        "corrupt": [],
    });
    assert_eq!(verified, expected);
    assert!(base.fine(&format!("journal verify {directory}")).starts_with("6 events in 1 segments, "));
    // The last block is torn: it was not durable.
    hand.file(1).write_all_at(b"x", nine.offset + 4000).expect("harmed");
    let torn = base.json(&format!("journal verify {directory} --json"));
    assert_eq!(
        (&torn["events"], &torn["last_position"], &torn["corrupt"]),
        (&5.into(), &7.into(), &serde_json::json!([]))
    );
    assert!(torn["torn_bytes"].as_u64() > Some(0), "{torn}");
    hand.write(&nine);
    // The one before it was durable.
    hand.file(1).write_all_at(b"x", nine.offset - 4096 + 200).expect("harmed");
    let output = base.run(&format!("journal verify {directory} --json"));
    assert_eq!(output.status.code(), Some(5));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("00000000000000000001.seg") && told.contains("position 3"), "{told}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let corrupt = &json["corrupt"][0];
    assert_eq!(
        (&corrupt["segment"], &corrupt["offset"], &corrupt["position"]),
        (&1.into(), &12288.into(), &3.into())
    );
    // The events before it are printed, and then the place is named.
    let output = base.run(&format!("journal cat {directory}"));
    assert_eq!((output.stdout, output.status.code()), (b"one\ntwo\nlines\n\xff three\n".to_vec(), Some(5)));
    let output = base.run(&format!("replay {directory} --to-stdout raw"));
    assert_eq!((output.stdout, output.status.code()), (b"onetwo\nlines\xff three".to_vec(), Some(5)));
}

#[test]
fn what_is_no_journal_has_its_exit_code() {
    let base = Base::new();
    let empty = base.path().join("empty");
    std::fs::create_dir(&empty).expect("made");
    let foreign = base.path().join("foreign");
    std::fs::create_dir(&foreign).expect("made");
    std::fs::write(foreign.join("00000000000000000001.seg"), vec![7u8; 9000]).expect("written");
    let file = base.path().join("file");
    std::fs::write(&file, "text").expect("written");
    for verb in ["journal cat", "journal verify", "replay --to-stdout raw"] {
        for (path, code) in [("empty", 3), ("none", 3), ("foreign", 5), ("file", 2)] {
            let (got, told) = base.fails(&format!("{verb} {}", base.path().join(path).display()));
            assert_eq!(got, code, "{verb} {path}: {told}");
            assert_eq!(told.lines().count(), 1, "{verb} {path}: {told}");
        }
    }
}

#[test]
fn ls_info_stats_and_tail_tell_what_is_there() {
    let base = Base::new();
    let (_hand, directory) = small(&base);
    let journals = base.path().join("journal").display().to_string();
    let listed = base.fine(&format!("journal ls {journals}"));
    let golden = "\
CHANNEL     KIND   EVENTS  FILES  SIZE     LAST                  WRITER
demo/ticks  topic  5       1      268 KiB  1970-01-01 00:00:02Z  -
";
    assert_eq!(listed, golden);
    let json = base.json(&format!("journal ls {journals} --json"));
    let one = &json["journals"][0];
    assert_eq!((&one["events"], &one["end_position"], &one["writer"]), (&5.into(), &8.into(), &Value::Null));
    assert!(base.fine(&format!("journal ls {directory}")).starts_with("no journals in "));
    assert_eq!(base.fails("journal ls /none/such").0, 3);

    let info = base.fine(&format!("journal info {directory}"));
    for part in ["the topic \"ticks\"", "5 events, positions 0 up to 8", "nobody writes", "open"] {
        assert!(info.contains(part), "{part} is not in {info}");
    }
    let info = base.json(&format!("journal info {directory} --json"));
    assert_eq!(
        (&info["kind"], &info["sealed"], &info["segments"][0]["number"]),
        (&"topic".into(), &false.into(), &1.into())
    );

    let stats = base.json(&format!("journal stats {directory} --json"));
    assert_eq!(
        (&stats["events"], &stats["gaps"], &stats["events_missing"]),
        (&5.into(), &1.into(), &3.into())
    );
    assert_eq!(stats["by_type"][1], serde_json::json!({ "type_id": 7, "events": 2, "payload_bytes": 14 }));
    let golden = "\
5 events, 29 B of payload, in 2.0 s
payloads of 3 to 9 B, half of them up to 5, 99 % up to 9
2 events a second, at most 3
1 gaps, 3 events missing
TYPE  EVENTS  PAYLOAD
0     3       15 B
7     2       14 B
";
    assert_eq!(base.fine(&format!("journal stats {directory}")), golden);

    for (count, text) in [("-n 1", "eight\n"), ("-n 2", "seven\neight\n"), ("-n 0", "")] {
        let tail = base.run(&format!("journal tail {directory} {count}"));
        assert_eq!(String::from_utf8_lossy(&tail.stdout), text, "{count}");
    }
    assert_eq!(
        base.run(&format!("journal tail {directory} --json")).stdout,
        base.run(&format!("journal cat {directory} --json")).stdout
    );
}

/// A journal of five segments of a stream, 600 events.
fn segmented(base: &Base) -> (Hand, String) {
    let directory = base.path().join("journal/demo/many");
    let mut hand = Hand::new(&directory, Kind::Stream);
    for segment in 0..5u64 {
        for block in 0..6u64 {
            for event in 0..20u64 {
                hand.time_ns += 1_000_000;
                hand.event(&[block as u8; 100][..(event * 5) as usize]);
            }
            hand.block();
            hand.durable = hand.position;
        }
        if segment < 4 {
            hand.rotate();
        }
    }
    (hand, directory.display().to_string())
}

#[test]
fn index_and_prune_change_nothing_that_is_kept() {
    let base = Base::new();
    let (hand, directory) = segmented(&base);
    let all = base.fine(&format!("journal cat {directory} --json"));
    assert_eq!(
        base.fine(&format!("journal index {directory}")),
        "4 indexes written, 0 were there, 1 segments are not sealed yet\n"
    );
    assert_eq!(
        base.json(&format!("journal index {directory} --json"))["present"],
        serde_json::json!([1, 2, 3, 4])
    );
    assert_eq!(base.fine(&format!("journal cat {directory} --json")), all);
    assert!(base.fine(&format!("journal info {directory}")).contains(", indexed"));
    let lines: Vec<&str> = all.lines().collect();
    // The third segment begins with event 240; the segments before it may go, but not the newest
    // two segments.
    let third: Value = serde_json::from_str(lines[240]).expect("JSON");
    let position = third["position"].as_u64().expect("a number");
    let dry = base.fine(&format!("journal prune {directory} --before {} --dry-run", position + 1));
    assert_eq!(dry, format!("2 segments would go, 536 KiB; the journal begins at position {position}\n"));
    assert_eq!(base.fine(&format!("journal cat {directory} --json")), all);
    // A consumer's checkpoint in the second segment keeps it; the older of its two saves counts.
    let mut checkpoint = railbus::journal::Checkpoint::open(&directory, "sum").expect("a checkpoint");
    checkpoint.save(position - 1, b"state").expect("saved");
    checkpoint.save(position + 100, b"later").expect("saved");
    let dry = base.json(&format!("journal prune {directory} --before {position} --dry-run --json"));
    assert_eq!((&dry["removed"], &dry["kept_for_checkpoint"]), (&serde_json::json!([1]), &"sum".into()));
    checkpoint.save(position, b"state").expect("saved");
    let pruned = base.json(&format!("journal prune {directory} --before {position} --json"));
    assert_eq!(
        (&pruned["removed"], &pruned["first_position"]),
        (&serde_json::json!([1, 2]), &position.into())
    );
    let rest = base.fine(&format!("journal cat {directory} --json"));
    assert_eq!(rest.lines().collect::<Vec<_>>(), lines[240..]);
    let (code, told) = base.fails(&format!("journal cat {directory} --from 0"));
    assert!(code == 2 && told.contains(&format!("begins at position {position}")), "{code} {told}");
    let kept = base.json(&format!("journal prune {directory} --keep 0 --json"));
    assert_eq!((&kept["removed"], &kept["kept_for_checkpoint"]), (&serde_json::json!([]), &"sum".into()));
    let unread = format!("journal prune {directory} --keep 0 --ignore-checkpoints");
    let (code, said) = base.fails(&unread);
    assert!(code == 2 && said.contains("--yes") && said.contains("checkpoint sum at position"), "{said}");
    assert_eq!(base.json(&format!("{unread} --dry-run --json"))["removed"], serde_json::json!([3]));
    assert!(hand.path(3).exists(), "it was asked, and not told to");
    let ignoring = base.fine(&format!("{unread} --yes"));
    assert!(ignoring.starts_with("1 segments removed"), "{ignoring}");
    assert_eq!(base.fails(&format!("journal prune {directory}")).0, 2);
    let verified = base.json(&format!("journal verify {directory} --json"));
    assert_eq!((&verified["events"], &verified["corrupt"]), (&240.into(), &serde_json::json!([])));
    assert!(!hand.path(1).exists() && hand.path(4).exists());
}

#[test]
fn repair_cuts_a_torn_tail_and_quarantines_only_when_asked() {
    let base = Base::new();
    let (mut hand, directory) = segmented(&base);
    hand.event(b"torn");
    let torn = hand.make(railbus_log::format::BlockKind::Records);
    hand.file(torn.segment).write_all_at(&torn.bytes[..600], torn.offset).expect("written");
    hand.file(torn.segment).write_all_at(b"x", torn.offset + 300).expect("written");
    let told = base.run(&format!("journal repair {directory}"));
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("cut at position ") && told.contains("the journal is sound up to"), "{told}");
    assert_eq!(base.json(&format!("journal verify {directory} --json"))["torn_bytes"], 0);
    // Segment 3 in its middle.
    hand.file(3).write_all_at(b"damaged", 8192 + 3 * 4096 + 500).expect("harmed");
    let (code, told) = base.fails(&format!("journal repair {directory}"));
    assert!(code == 5 && told.contains("--quarantine"), "{code} {told}");
    let repaired = base.json(&format!("journal repair {directory} --quarantine --json"));
    assert_eq!((&repaired["bridged"][0]["segment"], &repaired["shortened"]), (&3.into(), &Value::Null));
    let lost = repaired["bridged"][0]["gap"]["events"].as_u64().expect("a number of events");
    let text = base.fine(&format!("journal cat {directory} --json"));
    let gap: Vec<&str> = text.lines().filter(|line| line.contains("\"gap\":\"quarantined\"")).collect();
    assert_eq!(gap.len(), 1, "{text}");
    // One block of 4 KiB is lost, and everything after it stays.
    assert!(lost > 0 && text.lines().count() as u64 == 601 - lost, "{lost} of {}", text.lines().count());
    let verified = base.json(&format!("journal verify {directory} --json"));
    assert_eq!((&verified["corrupt"], &verified["events"]), (&serde_json::json!([]), &(600 - lost).into()));
    assert!(base.path().join("journal/demo/many/quarantine").is_dir());
}

/// A segment in the middle was removed, and another was cut short.
#[test]
fn what_is_behind_a_missing_segment_is_kept_and_everybody_says_what_is_missing() {
    let base = Base::new();
    let (hand, directory) = segmented(&base);
    let counted = |from: u64| {
        let text = base.fine(&format!("journal cat {directory} --json"));
        let lines = text.lines().filter(|line| line.contains("\"payload\"")).count() as u64;
        assert_eq!(lines, 600 - from, "{text}");
        text
    };
    let segments = base.json(&format!("journal info {directory} --json"))["segments"].clone();
    let (second, third) = (&segments[1]["first_position"], &segments[2]["first_position"]);
    std::fs::remove_file(hand.path(2)).expect("removed");
    // A reader reports which positions are gone, and goes on after them.
    let missing = "\"gap\":\"removed\"";
    let text = base.fine(&format!("journal cat {directory} --json"));
    let told = text.lines().find(|line| line.contains(missing)).unwrap_or_else(|| panic!("{text}"));
    let told: Value = serde_json::from_str(told).expect("JSON");
    assert_eq!((&told["from"], &told["to"]), (second, third), "{told}");
    let lost = told["events"].as_u64().expect("a number of events");
    counted(lost);
    let verified = base.run(&format!("journal verify {directory} --json"));
    assert_eq!(verified.status.code(), Some(5));
    let report: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    let said = &report["corrupt"][0]["lost"];
    assert_eq!((&said["from"], &said["to"], &said["events"]), (second, third, &lost.into()), "{said}");
    let why = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(why.contains("segment 2 (") && why.contains(&format!("is gone: {lost} events")), "{why}");
    let repaired = base.json(&format!("journal repair {directory} --quarantine --json"));
    assert_eq!(
        (&repaired["made"], &repaired["quarantined"]),
        (&serde_json::json!([2]), &serde_json::json!([]))
    );
    assert_eq!(repaired["bridged"][0]["gap"]["events"], lost);
    let text = counted(lost);
    assert_eq!(text.matches("\"gap\":\"quarantined\"").count(), 1, "{text}");
    let verified = base.json(&format!("journal verify {directory} --json"));
    assert_eq!((&verified["corrupt"], &verified["events"]), (&serde_json::json!([]), &(600 - lost).into()));
    // The first one, cut short: the cut is reported, too, and only that part is missing.
    hand.file(1).set_len(8192 + 4096 + 100).expect("cut");
    let (code, told) = base.fails(&format!("journal verify {directory}"));
    assert!(code == 5 && told.contains("its file was cut short: "), "{code} {told}");
    let text = base.fine(&format!("journal repair {directory} --quarantine"));
    assert!(text.contains("a gap in their place: "), "{text}");
    assert_eq!(base.json(&format!("journal verify {directory} --json"))["corrupt"], serde_json::json!([]));
}
