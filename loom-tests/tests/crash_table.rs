//! The table with a writer killed before each of its accesses, two in a row, and with another
//! writer's or reader's whole life inside each access. The others go on, each key has the value
//! from before the death or the one after it, no version comes twice, and a watcher misses nothing.
//!
//! A pass does not prove anything about weak memory, or about two preemptions of one participant.
//! See `loom_table` for these.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, CrashWords, Participant};
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{Identity, ROLE_PRODUCER};
use railbus_ring::table::entry::{Content, Table, version_of};
use railbus_ring::table::geometry::Geometry;
use railbus_ring::table::key::Key;
use railbus_ring::table::watch::KeyWatch;
use railbus_ring::table::writer::{Expect, KeyWriter, Unset};

/// Two entries only, so that a third key needs the entry of a deleted one. Values of two words.
const KEYS: u64 = 2;
const VALUE_BYTES: u64 = 16;
const NAMES: [u64; 3] = [1, 2, 3];

/// Every version with which a key was ever read or set, with its value.
type Versions = BTreeMap<(u64, u64), u64>;

/// The keys and values that a watcher has seen, by entry.
type Copy = BTreeMap<usize, Option<(Key, u64)>>;

#[derive(Clone)]
struct Bench {
    channel: CrashChannel,
    data: CrashWords,
    geometry: Geometry,
    versions: Rc<RefCell<Versions>>,
}

/// A change of the scenes: a key, and its new value or none.
type Step = (u64, Option<u64>);

impl Bench {
    fn new() -> Bench {
        let geometry = Geometry::new(KEYS, VALUE_BYTES).expect("in range");
        Bench {
            channel: CrashChannel::slot_ring(64, 0, 8, 2),
            data: CrashWords::new(geometry.bytes() as usize),
            geometry,
            versions: Rc::default(),
        }
    }

    fn table(&self, who: &Rc<Participant>) -> Table<CrashMemory> {
        Table {
            ring: CrashMemory::read_only(&self.channel.ring, who),
            data: CrashMemory::read_only(&self.data, who),
            geometry: self.geometry,
        }
    }

    fn writer(&self, who: &Rc<Participant>) -> KeyWriter<CrashMemory> {
        let identity = Identity { policy: ROLE_PRODUCER, ..Identity::default() };
        let registered = self.channel.register(Side::Producers, who, &identity).expect("there is an entry");
        let table = Table {
            ring: CrashMemory::writable(&self.channel.ring, who),
            data: CrashMemory::writable(&self.data, who),
            geometry: self.geometry,
        };
        let acks = CrashMemory::read_only(&self.channel.acks, who);
        KeyWriter::new(table, acks, registered.index, registered.state, self.channel.producers)
    }

    fn watch(&self) -> KeyWatch {
        let who = Participant::immortal();
        KeyWatch::begin(&self.table(&who), &CrashMemory::writable(&self.channel.acks, &who), || true)
    }

    /// Makes the changes, and takes over what dead writers hold. Leaves out what a live one holds.
    fn change(&self, writer: &mut KeyWriter<CrashMemory>, steps: &[Step]) -> usize {
        let mut made = 0;
        for &(name, value) in steps {
            let bytes = value.map(|value| [value.to_le_bytes(), (!value).to_le_bytes()].concat());
            loop {
                match writer.change(&Key::from(name), Expect::Anything, bytes.as_deref()) {
                    Ok(changed) => {
                        made += 1;
                        if let (Some((version, _)), Some(value)) = (changed, value) {
                            self.note(name, version, value);
                        }
                        break;
                    }
                    Err(Unset::Held { entry, owner }) => {
                        if !writer.take_over(entry, owner, &self.channel.peers()) {
                            break;
                        }
                    }
                    Err(Unset::Full) => break,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        made
    }

    /// A key has one value in each version.
    fn note(&self, name: u64, version: u64, value: u64) {
        let known = *self.versions.borrow_mut().entry((name, version)).or_insert(value);
        assert_eq!(known, value, "version {version} of key {name} came twice");
    }

    /// The values of all keys, whole.
    fn values(&self, who: &Rc<Participant>) -> Vec<Option<u64>> {
        let table = self.table(who);
        let value_of = |&name: &u64| {
            let mut words = [0; 2];
            let (read, _) = table.get(&Key::from(name), &mut words).expect("a sound table");
            let Content::Value { word, bytes } = read else { return None };
            assert_eq!((bytes, words[1]), (16, !words[0]), "a torn value");
            self.note(name, version_of(word), words[0]);
            Some(words[0])
        };
        NAMES.iter().map(value_of).collect()
    }

    /// Nobody holds anything, each key is in one entry at most, and a watcher that began before has a
    /// copy of the table.
    fn judge(&self, watch: &mut KeyWatch, copy: &mut Copy) {
        let who = Participant::immortal();
        let values = self.values(&who);
        let table = self.table(&who);
        let mut keys = BTreeSet::new();
        for entry in 0..self.geometry.keys() {
            assert_eq!(table.owner(entry), 0, "entry {entry} is held");
            if let (Some((key, _)), _) = table.read_any(entry, &mut [0; 2]).expect("a sound table") {
                assert!(keys.insert(key.number()), "two entries of {key}");
            }
        }
        self.look(watch, copy);
        let mut seen: Vec<_> =
            copy.values().flatten().map(|(key, value)| (key.number(), Some(*value))).collect();
        seen.sort();
        let there = NAMES.iter().map(|&name| Some(name)).zip(values).filter(|(_, value)| value.is_some());
        assert_eq!(seen, there.collect::<Vec<_>>(), "the watcher missed a change");
    }

    fn look(&self, watch: &mut KeyWatch, copy: &mut Copy) {
        self.look_as(&Participant::immortal(), watch, copy);
    }

    fn look_as(&self, who: &Rc<Participant>, watch: &mut KeyWatch, copy: &mut Copy) {
        let table = self.table(who);
        while let Some(entry) = watch.next(&table) {
            let mut words = [0; 2];
            let (key, read) = table.read_any(entry, &mut words).expect("a sound table");
            let (word, value) = match read {
                Content::Value { word, .. } => (word, Some(words[0])),
                Content::Absent { word } => (word, None),
                Content::Other => unreachable!("any key will do"),
            };
            watch.saw(entry, word);
            copy.insert(entry, value.and_then(|value| Some((key?.0, value))));
        }
    }
}

/// The changes before, and those of the writer that dies.
const SCENES: [(&[Step], &[Step]); 5] = [
    // A first value; a new one; a deletion.
    (&[], &[(1, Some(10))]),
    (&[(1, Some(10))], &[(1, Some(11)), (1, Some(12))]),
    (&[(1, Some(10)), (2, Some(20))], &[(1, None), (1, Some(11))]),
    // A key gets the entry of another; both entries' keys come back.
    (&[(1, Some(10)), (2, Some(20)), (1, None)], &[(3, Some(30)), (3, None), (1, Some(11))]),
    // Both entries leave their chains, of which one may be the other's.
    (&[(1, Some(10)), (2, Some(20)), (1, None), (2, None)], &[(3, Some(30)), (1, Some(11))]),
];

/// Each key has one of the values that it had at any time of these changes.
fn assert_possible(values: &[Option<u64>], before: &[Step], dying: &[Step], at: &str) {
    let mut possible: Vec<BTreeSet<Option<u64>>> = vec![BTreeSet::from([None]); NAMES.len()];
    for &(name, value) in before {
        possible[name as usize - 1] = BTreeSet::from([value]);
    }
    for &(name, value) in dying {
        possible[name as usize - 1].insert(value);
    }
    for (name, (value, possible)) in values.iter().zip(possible).enumerate() {
        assert!(possible.contains(value), "key {}: {value:?} of {possible:?}, {at}", name + 1);
    }
}

/// The end of each run: another writer goes on with every key.
const REST: [Step; 5] = [(2, None), (3, None), (1, Some(101)), (2, Some(102)), (1, Some(103))];

#[test]
fn a_writer_is_killed_before_each_access_and_the_next_one_too() {
    let mut runs = 0;
    for (scene, (before, dying)) in SCENES.into_iter().enumerate() {
        for first in 0.. {
            let mut first_died = false;
            for second in 0.. {
                let at = format!("scene {scene}, deaths at {first} and {second}");
                let bench = Bench::new();
                let mut watch = bench.watch();
                let mut copy = BTreeMap::new();
                let setting = Participant::immortal();
                bench.change(&mut bench.writer(&setting), before);
                bench.look(&mut watch, &mut copy);
                let one = Participant::dying_at(Some(first));
                one.live(|| bench.change(&mut bench.writer(&one), dying));
                first_died |= one.is_dead();
                assert_possible(&bench.values(&Participant::immortal()), before, dying, &at);
                bench.look(&mut watch, &mut copy);
                // The next one dies in the same work, and while it takes over.
                let two = Participant::dying_at(Some(second));
                two.live(|| bench.change(&mut bench.writer(&two), dying));
                assert_possible(&bench.values(&Participant::immortal()), before, dying, &at);
                bench.look(&mut watch, &mut copy);
                let last = Participant::immortal();
                let mut writer = bench.writer(&last);
                assert_eq!(bench.change(&mut writer, &REST), REST.len(), "{at}");
                let values = bench.values(&last);
                assert_eq!(values, [Some(103), Some(102), None], "{at}");
                writer.repair(&bench.channel.peers());
                bench.judge(&mut watch, &mut copy);
                runs += 1;
                if !two.is_dead() {
                    break;
                }
            }
            if !first_died {
                break;
            }
        }
    }
    assert!(runs > 5_000, "{runs} runs");
}

#[test]
fn another_writer_and_a_reader_live_inside_each_access() {
    let mut runs = 0;
    let others: [&[Step]; 4] = [
        &[(1, Some(41))],
        &[(1, None), (3, Some(43))],
        &[(3, None), (2, Some(42)), (3, Some(44))],
        &[(2, None), (3, Some(43)), (1, None), (2, Some(42))],
    ];
    for (scene, (before, steps)) in SCENES.into_iter().enumerate() {
        for other in others {
            for k in 0.. {
                let bench = Bench::new();
                let mut watch = bench.watch();
                let mut copy = BTreeMap::new();
                bench.change(&mut bench.writer(&Participant::immortal()), before);
                bench.look(&mut watch, &mut copy);
                let its = bench.clone();
                let interrupted = Participant::interrupted_at(k, move || {
                    let who = Participant::immortal();
                    its.values(&who);
                    its.change(&mut its.writer(&who), other);
                    its.values(&who);
                });
                let mut writer = bench.writer(&interrupted);
                bench.change(&mut writer, steps);
                bench.values(&interrupted);
                let was_reached = !interrupted.is_yet_to_be_interrupted();
                bench.look(&mut watch, &mut copy);
                bench.change(&mut writer, &REST);
                assert_eq!(
                    bench.values(&Participant::immortal()),
                    [Some(103), Some(102), None],
                    "scene {scene}, interrupted at {k} by {other:?}"
                );
                bench.judge(&mut watch, &mut copy);
                runs += 1;
                if !was_reached {
                    break;
                }
            }
        }
    }
    assert!(runs > 1_000, "{runs} runs");
}

#[test]
fn changes_live_inside_each_access_of_a_reader_and_of_a_watcher() {
    let mut runs = 0;
    // Many changes: each buffer is written again, and the entry gets another key.
    let busy: Vec<Step> = (50..58).map(|value| (1, Some(value))).collect();
    let moving = [(1, None), (3, Some(31)), (3, Some(32)), (3, None), (1, Some(59)), (2, Some(21))];
    for steps in [&busy[..1], &busy[..3], &busy[..5], &busy[..], &moving] {
        for k in 0.. {
            let bench = Bench::new();
            let mut watch = bench.watch();
            let mut copy = BTreeMap::new();
            let before = [(1, Some(10)), (2, Some(20))];
            bench.change(&mut bench.writer(&Participant::immortal()), &before);
            let (its, steps) = (bench.clone(), steps.to_vec());
            let reader = Participant::interrupted_at(k, move || {
                let who = Participant::immortal();
                its.change(&mut its.writer(&who), &steps);
            });
            bench.values(&reader);
            bench.look_as(&reader, &mut watch, &mut copy);
            let was_reached = !reader.is_yet_to_be_interrupted();
            bench.judge(&mut watch, &mut copy);
            runs += 1;
            if !was_reached {
                break;
            }
        }
    }
    assert!(runs > 200, "{runs} runs");
}
