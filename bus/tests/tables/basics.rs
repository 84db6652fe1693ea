//! Tables in one process, through their handles.

use std::path::Path;
use std::time::Duration;

use railbus::{
    Bus, Channel, ChannelOptions, Error, Key, KeyHandle, Kind, Pages, Side, TableError, TableOptions,
};

pub(crate) fn table(base: &Path, keys: u64, value_bytes: u64) -> Channel {
    let options = ChannelOptions::new(Kind::Table).lock_memory(false).pages(Pages::Ordinary);
    let options = options.keys(keys).value_bytes(value_bytes).stuck_after(Duration::from_millis(200));
    Bus::at(base, "bus").unwrap().create("state", &options).unwrap()
}

pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

#[test]
fn a_late_reader_gets_the_latest_value_of_each_key() {
    let base = directory();
    let channel = table(base.path(), 10, 64);
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    for round in 0..5u64 {
        for key in 0..8u64 {
            assert_eq!(writer.set(key, &[round as u8; 60][..key as usize * 8]).unwrap(), round + 1);
        }
    }
    drop(writer);
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    for key in 0..8u64 {
        let value = reader.get(key).unwrap().expect("it was set");
        assert_eq!((value.bytes(), value.version()), (&vec![4u8; key as usize * 8][..], 5));
    }
    assert!(reader.get(8).unwrap().is_none() && reader.get("0").unwrap().is_none());
    let mut all = reader.get_all().unwrap();
    all.sort_by_key(|one| one.key.number());
    assert_eq!(all.iter().filter_map(|one| one.key.number()).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!((reader.count().unwrap(), all[3].value.as_slice()), (8, &[4; 24][..]));
}

#[test]
fn a_version_never_comes_again_although_the_key_lost_its_entry() {
    let base = directory();
    let channel = table(base.path(), 1, 8);
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut last = 0;
    for round in 0..50u64 {
        let version = writer.compare_and_set("a", None, &round.to_le_bytes()).unwrap();
        assert!(version > last);
        let stale = writer.compare_and_set("a", Some(last), b"stale");
        assert_eq!(stale, Err(TableError::Changed { version: Some(version) }));
        assert_eq!(writer.set("b", b"no"), Err(TableError::Full));
        assert_eq!(
            writer.compare_and_delete("a", version + 1),
            Err(TableError::Changed { version: Some(version) })
        );
        last = writer.compare_and_delete("a", version).unwrap();
        assert!(last > version);
        // Another key has the only entry in between.
        writer.set("b", b"yes").unwrap();
        assert_eq!(
            writer.compare_and_set("a", Some(version), b""),
            Err(TableError::Changed { version: None })
        );
        assert!(writer.delete("b").unwrap().is_some() && writer.delete("b").unwrap().is_none());
    }
    assert_eq!(Error::from(TableError::Full).exit_code(), 6);
}

#[test]
fn handles_of_keys_follow_them_from_entry_to_entry_and_from_table_to_table() {
    let base = directory();
    let channel = table(base.path(), 2, 8);
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    let (a, b) = (KeyHandle::new("a").unwrap(), KeyHandle::new("b").unwrap());
    assert!(reader.get_at(&a).unwrap().is_none());
    for round in 0..20u64 {
        for (handle, name) in [(&a, "a"), (&b, "b")] {
            writer.set_at(handle, &round.to_le_bytes()).unwrap();
            assert_eq!(reader.get_at(handle).unwrap().and_then(|value| value.pod()), Some(round));
            assert_eq!(reader.get(name).unwrap().and_then(|value| value.pod()), Some(round));
        }
        // The entries of both change hands.
        for key in ["a", "b"] {
            writer.delete(key).unwrap();
        }
        assert!(reader.get_at(&a).unwrap().is_none() && reader.get_at(&b).unwrap().is_none());
        writer.set(if round % 2 == 0 { "c" } else { "b" }, b"c").unwrap();
        writer.set("a", b"1").unwrap();
        for key in ["c", "b"] {
            writer.delete(key).unwrap();
        }
        assert_eq!(reader.get_at(&a).unwrap().map(|value| value.to_vec()), Some(b"1".to_vec()));
    }
    let other = Bus::at(base.path(), "bus").unwrap();
    let options = ChannelOptions::new(Kind::Table).keys(1).value_bytes(8).lock_memory(false);
    let other = other.create("other", &options.pages(Pages::Ordinary)).unwrap();
    other.table_writer(&TableOptions::default()).unwrap().set_at(&b, b"there").unwrap();
    let mut there = other.table_reader(&TableOptions::default()).unwrap();
    assert_eq!(there.get_at(&b).unwrap().map(|value| value.to_vec()), Some(b"there".to_vec()));
    assert!(there.get_at(&a).unwrap().is_none());
}

#[test]
fn keys_and_values_of_every_length_and_no_longer() {
    let base = directory();
    let channel = table(base.path(), 65, 72);
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    for length in 1..=64 {
        let (key, value) = (vec![length as u8; length], vec![!length as u8; length + 8]);
        writer.set(&key, &value).unwrap();
        assert_eq!(reader.get(&key).unwrap().map(|found| found.to_vec()), Some(value));
    }
    assert_eq!(writer.set([0u8; 65], b""), Err(TableError::BadKey { bytes: 65 }));
    assert_eq!(reader.get("").map(|_| ()), Err(TableError::BadKey { bytes: 0 }));
    assert_eq!(writer.set("a", &[0; 73]), Err(TableError::TooLong { bytes: 73, max: 72 }));
    // A number is another key than its bytes.
    writer.set(7, b"number").unwrap();
    assert!(reader.get(7u64.to_le_bytes()).unwrap().is_none());
    assert_eq!(reader.get(Key::from(7)).unwrap().map(|value| value.to_vec()), Some(b"number".to_vec()));
}

#[test]
fn many_writers_in_threads_count_one_key_up_together() {
    const EACH: u64 = 2000;
    let base = directory();
    let channel = table(base.path(), 4, 8);
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let channel = channel.clone();
            std::thread::spawn(move || {
                let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
                let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
                for _ in 0..EACH {
                    loop {
                        let seen = reader.get("count").unwrap();
                        let seen = seen.map(|value| (value.version(), value.pod::<u64>().unwrap()));
                        let next = seen.map_or(0, |(_, count)| count) + 1;
                        let version = seen.map(|(version, _)| version);
                        match writer.compare_and_set("count", version, &next.to_le_bytes()) {
                            Ok(_) => break,
                            Err(TableError::Changed { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    let count = reader.get("count").unwrap().unwrap();
    assert_eq!((count.pod(), count.version()), (Some(4 * EACH), 4 * EACH));
}

#[test]
fn an_observer_sees_keys_changes_and_writers() {
    let base = directory();
    let channel = table(base.path(), 100, 8);
    let mut first = channel.table_writer(&TableOptions::default().name("first")).unwrap();
    let mut second = channel.table_writer(&TableOptions::default().name("second")).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default().name("screen")).unwrap();
    for key in 0..7u64 {
        first.set(key, b"1").unwrap();
    }
    second.set(3, b"2").unwrap();
    second.delete(4).unwrap();
    while reader.next_change().unwrap().is_some() {}
    let seen = || {
        let info = channel.info().unwrap();
        let keys = info.keys.expect("it is a table");
        ((keys.keys, keys.keys_max, keys.changes), (info.positions.depth, info.positions.events), info)
    };
    let (keys, positions, info) = seen();
    assert_eq!((keys, positions), ((6, 100, 9), (6, 9)));
    let events: Vec<_> = info.participants.iter().map(|one| (one.name.as_str(), one.events)).collect();
    assert_eq!(events, [("first", 7), ("second", 2), ("screen", 6)]);
    assert!(info.participants.iter().all(|one| one.in_hand == 0 && one.stuck_ns.is_none()));
    // The changes of a writer count on when it has left.
    drop(first);
    assert_eq!(seen().0, (6, 100, 9));
    let names = ["keys", "value-bytes", "slots"];
    let settings: Vec<_> = info
        .settings()
        .iter()
        .filter(|one| names.contains(&one.name))
        .map(|one| one.value.to_string())
        .collect();
    assert_eq!(settings, ["none", "100", "8 B"]);
}

#[test]
fn an_evicted_reader_and_readers_of_a_removed_table_find_out() {
    let base = directory();
    let channel = table(base.path(), 4, 8);
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    channel.evict(Side::Consumers, 0, Duration::from_secs(60)).unwrap();
    assert_eq!(reader.get("a").map(|_| ()), Err(TableError::Evicted));
    assert_eq!(reader.wait_change("a", None, None).map(|_| ()), Err(TableError::Evicted));
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    writer.set("a", b"1").unwrap();
    Bus::at(base.path(), "bus").unwrap().remove("state").unwrap();
    let seen = reader.get("a").unwrap().map(|value| value.version());
    assert_eq!(reader.wait_change("a", seen, None).map(|_| ()), Err(TableError::Removed));
    let ends = (0..10_000).find_map(|_| writer.set("a", b"2").err());
    assert_eq!(ends, Some(TableError::Removed));
    assert!(reader.is_removed() && writer.is_removed());
}
