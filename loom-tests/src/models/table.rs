//! Models of the table: readers and watchers beside writers, two writers of one key, two that enter
//! one key at once, and an entry that gets another key beside its reader.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loom::thread;
use railbus_ring::layout::{self as shared, table as layout};
use railbus_ring::members::park::{Sleeper, Waker};
use railbus_ring::table::entry::{Content, Table, version_of};
use railbus_ring::table::geometry::Geometry;
use railbus_ring::table::key::Key;
use railbus_ring::table::watch::KeyWatch;
use railbus_ring::table::writer::{Expect, KeyWriter, Unset};

use super::park::{LoomFutex, Queue};
use crate::loom_memory::{Actor, LoomMemory, LoomPeers, Weak, Words};

const WRITERS: usize = 3;
/// The version of the key that is there at the start, with its value.
const FIRST: u64 = 8;

/// The files of a table with values of one word.
#[derive(Clone)]
struct Rig {
    ring: Rc<Words>,
    acks: Rc<Words>,
    data: Rc<Words>,
    geometry: Geometry,
    queue: Rc<Queue>,
}

/// The value of a key in a version.
fn value_of(key: u64, version: u64) -> u64 {
    key << 32 | version
}

impl Rig {
    /// A table of `keys` entries; with a first key, number 1, in entry 0.
    fn new(weak: Weak, keys: u64, with_first: bool) -> Rig {
        let geometry = Geometry::new(keys, 8).expect("in range");
        let key = Key::from(1);
        let mut data = (0..8).fold(Words::new(weak), |data, i| {
            let is_first = with_first && key.hash() as usize & 7 == i;
            data.shared(i * 8, u64::from(is_first))
        });
        data = data.shared(128, 0);
        for entry in 0..keys as usize {
            let at = geometry.entry(entry);
            let is_first = with_first && entry == 0;
            let words = [
                (layout::OWNER, 0),
                (layout::VERSION, FIRST << 1 | 1),
                (layout::BORN, FIRST - 1),
                (layout::KEY, 8 | 0x700),
                (layout::LENGTHS, 8),
                (layout::LENGTHS + 8, 0),
                (layout::NEXT, 0),
                (layout::KEY_BYTES, 1),
                (layout::HEAD_BYTES, value_of(1, FIRST)),
            ];
            for (field, value) in words {
                data = data.shared(at + field, if is_first { value } else { 0 });
            }
            for buffer in 1..layout::BUFFERS {
                data = data.shared(at + layout::HEAD_BYTES + buffer * 64, 0);
            }
        }
        let ring = (0..WRITERS).fold(Words::new(weak), |ring, index| {
            ring.fixed(shared::entry(index) + shared::STATE, 1 << 8 | 2)
        });
        Rig {
            ring: ring
                .shared(shared::TABLE_FLOOR, 0)
                .shared(shared::TABLE_HIGH, u64::from(with_first))
                .shared(shared::EVENTS_WAKE, 0)
                .share(),
            acks: Words::new(weak)
                .shared(shared::CONSUMERS_PARKED, 0)
                .shared(shared::TABLE_WATCHERS, 0)
                .share(),
            data: data.share(),
            geometry,
            queue: Rc::new(Queue::new()),
        }
    }

    fn table(&self, actor: &Rc<Actor>) -> Table<LoomMemory> {
        Table {
            ring: LoomMemory::read_only(&self.ring, actor),
            data: LoomMemory::read_only(&self.data, actor),
            geometry: self.geometry,
        }
    }

    fn writer(&self, index: usize, actor: &Rc<Actor>) -> KeyWriter<LoomMemory> {
        let table = Table {
            ring: LoomMemory::writable(&self.ring, actor),
            data: LoomMemory::writable(&self.data, actor),
            geometry: self.geometry,
        };
        let acks = LoomMemory::read_only(&self.acks, actor);
        KeyWriter::new(table, acks, index, 1 << 8 | 2, WRITERS)
    }

    fn watch(&self, actor: &Rc<Actor>) -> KeyWatch {
        // Loom has no membarrier: both sides use a memory fence.
        KeyWatch::begin(&self.table(actor), &LoomMemory::writable(&self.acks, actor), || true)
    }

    /// Reads a key: its version, if it has a value, which must be that of the version.
    fn get(&self, actor: &Rc<Actor>, key: u64) -> Option<u64> {
        let mut words = [0];
        let (read, _) = self.table(actor).get(&Key::from(key), &mut words).expect("a sound table");
        let Content::Value { word, bytes } = read else { return None };
        let version = version_of(word);
        assert_eq!((bytes, words[0]), (8, value_of(key, version)), "version {version} of key {key} is torn");
        Some(version)
    }

    fn futex(&self) -> LoomFutex {
        LoomFutex { queue: self.queue.clone(), memory: LoomMemory::read_only(&self.ring, &Actor::immortal()) }
    }
}

/// Sets a key to the value of `version`, which is the next one. `None` if another writer holds the
/// entry.
fn set(writer: &mut KeyWriter<LoomMemory>, key: u64, version: u64) -> Option<u64> {
    let bytes = value_of(key, version).to_le_bytes();
    match writer.change(&Key::from(key), Expect::Anything, Some(&bytes)) {
        Ok(changed) => changed.map(|(version, _)| version),
        Err(Unset::Held { .. } | Unset::Full) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// A reader beside a writer that comes round to the buffer that it reads.
pub fn read_beside(weak: Weak) {
    let rig = Rig::new(weak, 1, true);
    let its = rig.clone();
    let writing = thread::spawn(move || {
        let mut writer = its.writer(0, &Actor::immortal());
        for version in FIRST + 1..=FIRST + 4 {
            assert_eq!(set(&mut writer, 1, version), Some(version));
        }
    });
    let reader = Actor::immortal();
    let first = rig.get(&reader, 1).expect("the key has a value all the time");
    let second = rig.get(&reader, 1).expect("the key has a value all the time");
    assert!(first <= second, "a version went back");
    writing.join().unwrap();
    assert_eq!(rig.get(&reader, 1), Some(FIRST + 4));
}

/// Two writers of one key: each change has a version of its own, and its value.
pub fn two_writers(weak: Weak) {
    let rig = Rig::new(weak, 1, true);
    let versions: Rc<RefCell<Vec<u64>>> = Rc::default();
    let write = |index: usize, rig: Rig, versions: Rc<RefCell<Vec<u64>>>| {
        move || {
            let mut writer = rig.writer(index, &Actor::immortal());
            for _ in 0..2 {
                // The value has to name its version: it is set only if no other change comes between.
                let actor = Actor::immortal();
                let Some(seen) = rig.get(&actor, 1) else { continue };
                let bytes = value_of(1, seen + 1).to_le_bytes();
                match writer.change(&Key::from(1), Expect::Version(seen), Some(&bytes)) {
                    Ok(changed) => versions.borrow_mut().extend(changed.map(|(version, _)| version)),
                    Err(Unset::Held { .. } | Unset::Unexpected(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    };
    let other = thread::spawn(write(1, rig.clone(), versions.clone()));
    write(0, rig.clone(), versions.clone())();
    other.join().unwrap();
    let mut versions = versions.take();
    versions.sort();
    let expected: Vec<u64> = (FIRST + 1..).take(versions.len()).collect();
    assert!(!versions.is_empty() && versions == expected, "{versions:?}");
    assert_eq!(rig.get(&Actor::immortal(), 1), versions.last().copied());
}

/// Two writers enter one key at once, beside a reader: it gets one entry.
pub fn two_enter(weak: Weak) {
    let rig = Rig::new(weak, 2, false);
    let its = rig.clone();
    let other = thread::spawn(move || set(&mut its.writer(1, &Actor::immortal()), 1, 1));
    let mine = set(&mut rig.writer(0, &Actor::immortal()), 1, 1);
    let other = other.join().unwrap();
    let actor = Actor::immortal();
    let table = rig.table(&actor);
    let entries = (0..2).filter(|&entry| {
        let found = table.read_any(entry, &mut [0]).expect("a sound table").0;
        found.is_some()
    });
    assert_eq!(entries.count(), 1, "{mine:?} {other:?}");
    // The first to commit has version 1. The other one came later, or found the entry held.
    let mut got = [mine, other];
    got.sort();
    assert!(matches!(got, [None, Some(1)] | [Some(1), Some(2)]), "{got:?}");
}

/// A key that is entered beside a reader: the reader sees all of it or nothing.
pub fn enter_beside(weak: Weak) {
    let rig = Rig::new(weak, 1, false);
    let its = rig.clone();
    let writing = thread::spawn(move || {
        assert_eq!(set(&mut its.writer(0, &Actor::immortal()), 2, 1), Some(1));
    });
    let reader = Actor::immortal();
    let _ = rig.get(&reader, 2);
    writing.join().unwrap();
    assert_eq!(rig.get(&reader, 2), Some(1));
}

/// The only entry gets another key beside a reader of both.
pub fn reuse_beside(weak: Weak) {
    let rig = Rig::new(weak, 1, true);
    let its = rig.clone();
    let writing = thread::spawn(move || {
        let mut writer = its.writer(0, &Actor::immortal());
        let deleted = writer.change(&Key::from(1), Expect::Anything, None).expect("nobody holds it");
        assert!(deleted.is_some());
        // The first version above all that the entry has had. The third is in the buffer of the old key's
        // value.
        let version = FIRST + 1 + layout::BUFFERS as u64 + 1;
        for version in version..version + 3 {
            assert_eq!(set(&mut writer, 2, version), Some(version));
        }
    });
    let reader = Actor::immortal();
    let old = rig.get(&reader, 1);
    assert!(matches!(old, None | Some(FIRST)), "{old:?}");
    let new = rig.get(&reader, 2);
    // When the new key is there, the old one is not.
    assert!(new.is_none() || rig.get(&reader, 1).is_none());
    writing.join().unwrap();
    assert!(rig.get(&reader, 2).is_some() && rig.get(&reader, 1).is_none());
}

/// The changes that a watcher finds: the version words of entries, in the order in which it sees them.
fn look(rig: &Rig, actor: &Rc<Actor>, watch: &mut KeyWatch) -> Vec<(usize, u64)> {
    let table = rig.table(actor);
    let mut found = Vec::new();
    watch.restart();
    while let Some(entry) = watch.next(&table) {
        let mut words = [0];
        let read = table.read_any(entry, &mut words).expect("a sound table").1;
        let (Content::Value { word, .. } | Content::Absent { word }) = read else { unreachable!("any key") };
        watch.saw(entry, word);
        found.push((entry, word));
    }
    found
}

/// A watcher that announces itself beside a writer: after all, it has seen the last version.
pub fn watch_begins(weak: Weak) {
    let rig = Rig::new(weak, 1, true);
    let its = rig.clone();
    let writing = thread::spawn(move || set(&mut its.writer(0, &Actor::immortal()), 1, FIRST + 1));
    let actor = Actor::immortal();
    let mut watch = rig.watch(&actor);
    let mut seen = look(&rig, &actor, &mut watch);
    assert_eq!(writing.join().unwrap(), Some(FIRST + 1));
    seen.extend(look(&rig, &actor, &mut watch));
    let last = seen.last().map(|(_, word)| version_of(*word));
    assert_eq!(last, Some(FIRST + 1), "a change was missed: {seen:?}");
}

/// A watcher that sleeps until the next change, with no time limit: a lost wake-up is a deadlock.
pub fn watch_asleep(weak: Weak) {
    let rig = Rig::new(weak, 1, true);
    let its = rig.clone();
    let watching = thread::spawn(move || {
        let actor = Actor::immortal();
        let ring = LoomMemory::read_only(&its.ring, &actor);
        let own = LoomMemory::writable(&its.acks, &actor);
        let mut watch = its.watch(&actor);
        let mut last = 0;
        let mut sleeper = Sleeper::default();
        let words = (shared::EVENTS_WAKE, &[shared::CONSUMERS_PARKED][..]);
        while last < FIRST + 1 {
            let mut found = Vec::new();
            sleeper.sleep(&own, &ring, &its.futex(), words, u64::MAX, || {
                found = look(&its, &actor, &mut watch);
                !found.is_empty()
            });
            last = found.last().map_or(last, |(_, word)| version_of(*word));
        }
    });
    let actor = Actor::immortal();
    let mut writer = rig.writer(0, &actor);
    let own = LoomMemory::writable(&rig.ring, &actor);
    let peers = LoomMemory::read_only(&rig.acks, &actor);
    let mut waker = Waker::new(shared::EVENTS_WAKE, shared::CONSUMERS_PARKED);
    assert_eq!(set(&mut writer, 1, FIRST + 1), Some(FIRST + 1));
    waker.wake(&own, &peers, &rig.futex(), || u32::MAX >> 1);
    watching.join().unwrap();
}

/// A writer is killed at its k-th access while it changes a key and enters another one. A second one
/// goes on with both, beside a reader.
pub fn writer_dies(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let rig = Rig::new(weak, 2, true);
    let dying = Actor::mortal(k, killed);
    let (its, actor) = (rig.clone(), dying.clone());
    let first = thread::spawn(move || {
        actor.live(|| {
            let mut writer = its.writer(0, &actor);
            set(&mut writer, 1, FIRST + 1);
            set(&mut writer, 2, 1);
        });
    });
    let other = Actor::immortal();
    let before = rig.get(&other, 1).expect("the key has a value all the time");
    assert!(before == FIRST || before == FIRST + 1);
    first.join().unwrap();
    let peers = LoomPeers { producers: vec![Some(dying), None, None], consumers: vec![] };
    let mut writer = rig.writer(1, &other);
    writer.repair(&peers);
    for key in [1, 2] {
        let next = match rig.table(&other).get(&Key::from(key), &mut [0]).expect("a sound table") {
            (Content::Value { word, .. } | Content::Absent { word }, _) => version_of(word) + 1,
            (Content::Other, _) => 0,
        };
        let bytes = value_of(key, next).to_le_bytes();
        let changed = writer.change(&Key::from(key), Expect::Anything, Some(&bytes));
        assert!(matches!(changed, Ok(Some(_))), "{changed:?}");
    }
    assert!(rig.table(&other).get(&Key::from(2), &mut [0]).is_ok_and(|(read, _)| read != Content::Other));
}

/// A watcher that was there before two writers of one group: it has seen the last version of each
/// entry after all.
pub fn watch_both(weak: Weak) {
    let rig = Rig::new(weak, 2, true);
    let actor = Actor::immortal();
    let mut watch = rig.watch(&actor);
    let mut seen = look(&rig, &actor, &mut watch);
    let writers = [1, 2].map(|key| {
        let its = rig.clone();
        let (index, version) = (key as usize, if key == 1 { FIRST + 1 } else { 1 });
        thread::spawn(move || set(&mut its.writer(index, &Actor::immortal()), key, version))
    });
    seen.extend(look(&rig, &actor, &mut watch));
    for writer in writers {
        writer.join().unwrap();
    }
    seen.extend(look(&rig, &actor, &mut watch));
    for entry in 0..2 {
        let now = rig.table(&actor).version_word(entry);
        let last = seen.iter().rev().find(|(one, _)| *one == entry).map(|(_, word)| *word);
        assert_eq!(last, Some(now), "a change of entry {entry} was missed: {seen:?}");
    }
}
