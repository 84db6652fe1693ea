//! Readers that wait: for a key, for any change, asleep, and through a bridge.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use railbus::{Bridge, Key, TableError, TableOptions, TableReader, TableWriter, Wait};

use super::basics::{directory, table};

const HANG: Duration = Duration::from_secs(60);

fn changes(reader: &mut TableReader) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    while let Some(change) = reader.next_change().unwrap() {
        all.insert(change.key.to_string(), change.value.map(<[u8]>::to_vec));
    }
    all
}

fn map(changes: &[(&str, Option<&[u8]>)]) -> BTreeMap<String, Option<Vec<u8>>> {
    changes.iter().map(|(key, value)| (key.to_string(), value.map(<[u8]>::to_vec))).collect()
}

#[test]
fn each_look_has_the_keys_that_changed_since_the_last_one_and_no_others() {
    let base = directory();
    let channel = table(base.path(), 200, 8);
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    writer.set("early", b"1").unwrap();
    writer.set("gone", b"1").unwrap();
    writer.delete("gone").unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    assert_eq!(changes(&mut reader), map(&[("early", Some(b"1"))]), "at first, what is there");
    assert_eq!(changes(&mut reader), map(&[]));
    for value in [b"1", b"2", b"3"] {
        writer.set("a", value).unwrap();
    }
    writer.set("shortly", b"x").unwrap();
    writer.delete("shortly").unwrap();
    writer.delete("early").unwrap();
    assert_eq!(changes(&mut reader), map(&[("a", Some(b"3")), ("early", None)]), "the last one of each key");
    // Far apart, in groups of their own.
    for key in 0..190u64 {
        writer.set(key, &key.to_le_bytes()).unwrap();
    }
    assert_eq!(changes(&mut reader).len(), 190);
    writer.set(150, b"new").unwrap();
    assert_eq!(changes(&mut reader), map(&[("150", Some(b"new"))]));
    assert_eq!(reader.changes(), 1 + 2 + 190 + 1);
}

#[test]
fn a_key_whose_entry_went_to_another_is_reported_as_deleted() {
    let base = directory();
    let channel = table(base.path(), 1, 8);
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    writer.set("old", b"1").unwrap();
    let seen = reader.next_change().unwrap().unwrap().version;
    writer.delete("old").unwrap();
    writer.set("new", b"2").unwrap();
    let gone = reader.next_change().unwrap().unwrap();
    assert_eq!((gone.key, gone.value), (Key::bytes(b"old").unwrap(), None));
    assert!(gone.version > seen);
    let new = reader.next_change().unwrap().unwrap();
    assert_eq!((new.key, new.value), (Key::bytes(b"new").unwrap(), Some(&b"2"[..])));
    assert!(reader.next_change().unwrap().is_none());
}

#[test]
fn a_key_that_changes_all_the_time_does_not_hide_others() {
    let base = directory();
    let channel = table(base.path(), 3, 8);
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    for key in ["a", "b", "c"] {
        writer.set(key, b"0").unwrap();
    }
    let mut seen = BTreeMap::new();
    for round in 0..30u64 {
        writer.set("a", &round.to_le_bytes()).unwrap();
        let change = reader.next_change().unwrap().unwrap();
        *seen.entry(change.key.to_string()).or_insert(0) += 1;
    }
    assert!(seen["b"] == 1 && seen["c"] == 1 && seen["a"] == 28, "{seen:?}");
}

#[test]
fn a_wait_ends_with_the_change_or_its_time() {
    let base = directory();
    let channel = table(base.path(), 4, 8);
    for wait in [Wait::Spin, Wait::Park { spin: Duration::ZERO }, Wait::Yield { spin: Duration::ZERO }] {
        let options = TableOptions::default().wait(wait);
        let mut writer = channel.table_writer(&options).unwrap();
        let mut reader = channel.table_reader(&options).unwrap();
        let version = writer.set("a", b"1").unwrap();
        let short = Some(Duration::from_millis(2));
        assert_eq!(reader.wait_change("a", Some(version), short).map(|_| ()), Err(TableError::TimedOut));
        assert!(reader.wait_change("a", None, short).unwrap().is_some(), "it has changed already");
        let waiting = std::thread::spawn(move || {
            // A reader that is late sees only the deletion.
            let mut seen = version;
            while let Some(value) = reader.wait_change("a", Some(seen), Some(HANG)).unwrap() {
                assert_eq!((&*value, value.version() > seen), (&b"2"[..], true));
                seen = value.version();
            }
            while reader.next_change().unwrap().is_some() {}
            let change = reader.wait_next_change(Some(HANG)).unwrap();
            assert_eq!(change.value, Some(&b"last"[..]));
        });
        std::thread::sleep(Duration::from_millis(5));
        writer.set("b", b"other").unwrap();
        writer.set("a", b"2").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        writer.delete("a").unwrap();
        while !waiting.is_finished() {
            writer.set("c", b"last").unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        waiting.join().unwrap();
        writer.delete("b").unwrap();
        writer.delete("c").unwrap();
    }
}

/// Two ends that wait for each other, asleep: a lost wake-up would cost the end of a slice each time.
fn rounds(
    mut writer: TableWriter,
    mut reader: TableReader,
    mine: &str,
    other: &str,
    count: u64,
    first: bool,
) {
    let mut seen = None;
    for round in 0..count {
        if first {
            writer.set(mine, &round.to_le_bytes()).unwrap();
        }
        let value = reader.wait_change(other, seen, Some(HANG)).unwrap().unwrap();
        assert_eq!(value.pod(), Some(round));
        seen = Some(value.version());
        if !first {
            writer.set(mine, &round.to_le_bytes()).unwrap();
        }
    }
}

#[test]
fn parked_readers_are_woken_by_each_change() {
    let base = directory();
    let channel = table(base.path(), 2, 8);
    let options = TableOptions::default().wait(Wait::Park { spin: Duration::ZERO });
    let ends = [("ping", "pong"), ("pong", "ping")].map(|(mine, other)| {
        let (writer, reader) =
            (channel.table_writer(&options).unwrap(), channel.table_reader(&options).unwrap());
        std::thread::spawn(move || rounds(writer, reader, mine, other, 2000, mine == "ping"))
    });
    ends.into_iter().for_each(|end| end.join().unwrap());
}

#[test]
fn a_bridge_becomes_readable_when_a_key_has_changed() {
    let base = directory();
    let channel = table(base.path(), 100, 8);
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    let bridge = Bridge::new(&channel).unwrap();
    let writing = std::thread::spawn(move || {
        for round in 0..300u64 {
            writer.set(round % 90, &round.to_le_bytes()).unwrap();
            if round % 50 == 0 {
                std::thread::sleep(Duration::from_millis(3));
            }
        }
    });
    let mut copy = BTreeMap::new();
    let done = |copy: &BTreeMap<u64, u64>| copy.len() == 90 && copy.values().max() == Some(&299);
    while !done(&copy) {
        while let Some(change) = reader.next_change().unwrap() {
            let value = u64::from_le_bytes(change.value.unwrap().try_into().unwrap());
            copy.insert(change.key.number().unwrap(), value);
        }
        if done(&copy) {
            break;
        }
        bridge.arm(reader.watch());
        let timeout = PollTimeout::try_from(HANG).unwrap();
        let ready = poll(&mut [PollFd::new(bridge.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
        assert_eq!(ready, 1, "the bridge hangs");
        bridge.drain();
    }
    writing.join().unwrap();
    assert!((210..300).all(|round| copy[&(round % 90)] == round), "{copy:?}");
}
