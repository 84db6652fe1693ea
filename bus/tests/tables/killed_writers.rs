//! Writers are killed with SIGKILL at random moments, beside readers that check every value.
//!
//! Each value has a checksum over its key, and a count that only goes up. The driver replaces each
//! writer that it kills. Keys are deleted and come back, and there are more keys than entries, so
//! that entries change hands and writers die while they do that.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use railbus::info::Life;
use railbus::{Channel, Error, Side, TableError, TableOptions, TableReader, TableWriter};

use super::basics::table;
use crate::children::{role, say};
use crate::forks::{End, Forked, Shared, deep, drive, forked};

const KEYS: u64 = 24;
const ENTRIES: u64 = 20;
const WRITERS: usize = 4;
const READERS: usize = 2;
/// Words of a value: key, count, fill, checksum.
const WORDS: usize = 12;
const VALUE_BYTES: u64 = WORDS as u64 * 8;
const HANG: Duration = Duration::from_secs(60);

// Shared words.
const STOP: usize = 0;
const READS: usize = 1;
const CHANGES: usize = 2;
const SEEN: usize = 3;

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    match role.as_str() {
        "kills" => kills(&table(&base, ENTRIES, VALUE_BYTES)),
        "stopped" => stopped(&table(&base, 4, VALUE_BYTES)),
        "inherited" => inherited(&table(&base, 4, 8)),
        other => panic!("no role {other:?}"),
    }
}

#[test]
fn readers_get_whole_values_beside_writers_that_are_killed() {
    drive("kills");
}

#[test]
fn a_stopped_writer_holds_its_key_only_and_another_is_told_who_it_is() {
    drive("stopped");
}

#[test]
fn a_child_of_fork_gets_an_error_and_leaves_its_parents_handles_alone() {
    drive("inherited");
}

fn value_of(key: u64, count: u64, words: &mut [u64; WORDS]) {
    words.fill(key ^ count.rotate_left(17));
    (words[0], words[1]) = (key, count);
    words[WORDS - 1] = words[..WORDS - 1].iter().fold(0, |sum: u64, word| sum.rotate_left(5) ^ word);
}

fn check(key: u64, words: &[u64; WORDS]) -> u64 {
    let mut whole = [0; WORDS];
    value_of(key, words[1], &mut whole);
    assert_eq!(*words, whole, "a torn value of key {key}");
    words[1]
}

/// Changes keys until it is killed, or asked to stop.
fn write(channel: &Channel, shared: &Shared, seed: u64) {
    let mut writer = loop {
        match channel.table_writer(&TableOptions::default()) {
            Ok(writer) => break writer,
            // The entries of those that were killed are freed one after the other.
            Err(Error::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let mut random = seed | 1;
    let mut words = [0; WORDS];
    while shared.get(STOP) == 0 {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let key = (random >> 33) % KEYS;
        let changed = if (random >> 50).is_multiple_of(8) {
            writer.delete(key).map(|_| ())
        } else {
            value_of(key, shared.add(CHANGES, 1), &mut words);
            writer.set_pod(key, &words).map(|_| ())
        };
        match changed {
            Ok(()) | Err(TableError::Full) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads every key until asked to stop, and checks each value and that its version goes on.
fn read(channel: &Channel, shared: &Shared, watches: bool) {
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    let mut versions = [0; KEYS as usize];
    while shared.get(STOP) == 0 {
        for key in 0..KEYS {
            let Some(value) = reader.get(key).unwrap() else { continue };
            let words: [u64; WORDS] = value.pod().expect("its whole length");
            check(key, &words);
            let last = std::mem::replace(&mut versions[key as usize], value.version());
            assert!(last <= value.version(), "key {key} went back from {last} to {}", value.version());
            shared.add(READS, 1);
        }
        while let Some(change) = watches.then(|| reader.next_change().unwrap()).flatten() {
            let key = change.key.number().expect("keys are numbers");
            if let Some(bytes) = change.value {
                check(key, &bytemuck::pod_read_unaligned(bytes));
            }
            shared.add(SEEN, 1);
        }
    }
}

fn kills(channel: &Channel) {
    let wanted = if deep() { 1000 } else { 80 };
    let shared = Shared::new();
    let seed = u64::from(std::process::id());
    let start = |i: u64| forked(|| write(channel, &shared, seed.wrapping_mul(31).wrapping_add(i)));
    let mut writers: Vec<Forked> = (0..WRITERS as u64).map(start).collect();
    let mut readers: Vec<Forked> = (0..READERS).map(|i| forked(|| read(channel, &shared, i == 0))).collect();
    let mut random = seed;
    for kill in 0..wanted {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        std::thread::sleep(Duration::from_micros(random >> 54));
        let victim = &mut writers[kill % WRITERS];
        victim.shoot();
        *victim = start(kill as u64 + 100);
        assert!(readers.iter_mut().all(|reader| reader.poll().is_none()), "a reader has failed");
    }
    // Everybody moved on behind the last death.
    let (reads, changes, seen) = (shared.get(READS), shared.get(CHANGES), shared.get(SEEN));
    let started = Instant::now();
    while shared.get(READS) < reads + 1000
        || shared.get(CHANGES) < changes + 1000
        || shared.get(SEEN) < seen + 10
    {
        assert!(started.elapsed() < HANG, "somebody hangs behind a death");
        std::thread::sleep(Duration::from_millis(1));
    }
    shared.set(STOP, 1);
    for one in writers.iter_mut().chain(&mut readers) {
        assert_eq!(one.wait(), End::Finished);
    }
    let repaired = channel.repair().unwrap();
    let info = channel.info().unwrap();
    assert!(info.participants.iter().all(|one| one.life != Life::Dead), "{repaired:?}");
    every_key_can_be_changed(channel);
    say(format!("{wanted} kills, {} reads, {} changes", shared.get(READS), shared.get(CHANGES)).as_bytes());
}

fn every_key_can_be_changed(channel: &Channel) {
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    let mut words = [0; WORDS];
    for key in 0..KEYS {
        writer.delete(key).unwrap();
    }
    for key in 0..ENTRIES {
        value_of(key, 7, &mut words);
        writer.set_pod(key, &words).unwrap();
        assert_eq!(reader.get(key).unwrap().and_then(|value| value.pod()), Some(words));
    }
    assert_eq!(writer.set(ENTRIES, b""), Err(TableError::Full));
    assert_eq!(reader.count().unwrap(), ENTRIES as usize);
}

/// The registry entry of a writer that holds a key, as an observer sees it.
fn holder(channel: &Channel) -> Option<usize> {
    let participants = channel.info().unwrap().participants;
    participants.iter().find(|one| one.side == Side::Producers && one.in_hand > 0).map(|one| one.index)
}

fn stopped(channel: &Channel) {
    let shared = Shared::new();
    let mut reader: TableReader = channel.table_reader(&TableOptions::default()).unwrap();
    let mut words = [0; WORDS];
    let mut rounds = 0;
    loop {
        let mut writer = forked(|| {
            let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
            let mut words = [0; WORDS];
            loop {
                value_of(1, shared.add(CHANGES, 1), &mut words);
                writer.set_pod(1, &words).unwrap();
            }
        });
        let started = Instant::now();
        while reader.get(1).unwrap().is_none() {
            assert!(started.elapsed() < HANG);
        }
        writer.signal(Signal::SIGSTOP);
        assert_eq!(writer.wait(), End::Stopped);
        rounds += 1;
        // Whether or not it was stopped in the middle of a change, its key has a whole value.
        let value = reader.get(1).unwrap().expect("it was set");
        check(1, &value.pod().expect("its whole length"));
        if let Some(writer) = holder(channel) {
            let mut other: TableWriter = channel.table_writer(&TableOptions::default()).unwrap();
            value_of(2, 1, &mut words);
            other.set_pod(2, &words).unwrap();
            let held = other.set(1, b"");
            assert_eq!(held, Err(TableError::Held { writer }), "after the channel's stuck_after");
            assert_eq!(Error::from(TableError::Held { writer }).exit_code(), 1);
            let info = channel.info_after(HANG).unwrap();
            let stuck: Vec<_> = info.participants.iter().filter(|one| one.stuck_ns.is_some()).collect();
            assert!(stuck.len() == 1 && stuck[0].index == writer && stuck[0].in_hand == 1, "{stuck:?}");
            // It is a producer: evicting it kills its process.
            channel.evict_exactly(stuck[0], HANG).unwrap();
            other.set_pod(1, &words).unwrap();
            assert_eq!(reader.get(1).unwrap().and_then(|value| value.pod()), Some(words));
            break;
        }
        writer.shoot();
    }
    say(format!("stopped while it held the key in round {rounds}").as_bytes());
}

fn inherited(channel: &Channel) {
    let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
    let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
    writer.set("a", b"parent").unwrap();
    while reader.next_change().unwrap().is_some() {}
    let mut child = forked(|| {
        assert_eq!(writer.set("a", b"child"), Err(TableError::Forked));
        assert_eq!(reader.get("a").map(|_| ()), Err(TableError::Forked));
        assert_eq!(reader.next_change().map(|_| ()), Err(TableError::Forked));
        reader.watch();
    });
    assert_eq!(child.wait(), End::Finished);
    // Its handles are dropped with it; the parent's go on.
    let mut other = forked(|| drop(channel.table_reader(&TableOptions::default()).unwrap()));
    assert_eq!(other.wait(), End::Finished);
    writer.set("a", b"again").unwrap();
    assert_eq!(reader.next_change().unwrap().and_then(|change| change.value), Some(&b"again"[..]));
    say(b"inherited");
}
