//! Tests of one process: the protocol against a map, and its costs.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::layout;
use crate::members::peers::{Peers, Side};
use crate::memory::plain::Plain;
use crate::memory::{Edge, Memory};
use crate::table::entry::{Broken, Content, Table, version_of};
use crate::table::geometry::Geometry;
use crate::table::key::Key;
use crate::table::watch::KeyWatch;
use crate::table::writer::{Expect, KeyWriter, Unset};

struct AllDead;

impl Peers for AllDead {
    fn is_dead(&self, _: Side, _: usize) -> bool {
        true
    }
}

fn table(keys: u64, value_bytes: u64) -> Table<Plain> {
    let geometry = Geometry::new(keys, value_bytes).expect("in range");
    let ring = Plain::zeroed(layout::entry(2) / 8);
    let data = Plain::zeroed(geometry.bytes() as usize / 8);
    Table { ring, data, geometry }
}

fn writer(table: &Table<Plain>) -> KeyWriter<Plain> {
    KeyWriter::new(table.clone(), table.ring.clone(), 0, 1 << 8 | 2, 2)
}

fn value_of(table: &Table<Plain>, key: &Key) -> Result<Option<(u64, Vec<u8>)>, Broken> {
    let mut words = vec![0; table.geometry.value_bytes() / 8];
    Ok(match table.get(key, &mut words)?.0 {
        Content::Value { word, bytes } => {
            let all: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            Some((version_of(word), all[..bytes].to_vec()))
        }
        _ => None,
    })
}

#[test]
fn values_versions_and_places() -> Result<(), Unset> {
    let table = table(2, 16);
    let mut writer = writer(&table);
    let (a, b, c) = (Key::from(1), Key::from(2), Key::from(3));
    assert_eq!(value_of(&table, &a)?, None);
    let (version, entry) = writer.change(&a, Expect::Anything, Some(b"first"))?.expect("it is set");
    assert_eq!(value_of(&table, &a)?, Some((version, b"first".to_vec())));
    let changed = writer.change_at(entry, &a, Expect::Version(version), Some(b""))?;
    assert_eq!(changed, Some(Some(version + 1)));
    assert_eq!(value_of(&table, &a)?, Some((version + 1, vec![])));
    let refused = writer.change(&a, Expect::Version(version), Some(b"late"));
    assert_eq!(refused, Err(Unset::Unexpected(Some(version + 1))));
    assert_eq!(writer.change(&a, Expect::Absent, None), Err(Unset::Unexpected(Some(version + 1))));
    assert_eq!(writer.change(&b, Expect::Version(1), Some(b"")), Err(Unset::Unexpected(None)));
    assert_eq!(writer.change(&b, Expect::Anything, None), Ok(None));
    writer.change(&b, Expect::Absent, Some(&[7; 16]))?;
    assert_eq!(writer.change(&c, Expect::Anything, Some(b"x")), Err(Unset::Full));
    // A deleted key makes room for another one, and has a greater version when it comes back.
    let deleted = writer.change(&a, Expect::Anything, None)?.expect("it had a value").0;
    writer.change(&c, Expect::Anything, Some(b"c"))?;
    assert_eq!(writer.change_at(entry, &a, Expect::Anything, Some(b"no")), Ok(None));
    assert!(matches!(table.get_at(entry, &c, &mut [0; 2])?, Content::Value { .. }));
    assert_eq!(table.get_at(entry, &a, &mut [0; 2])?, Content::Other);
    assert_eq!(table.get_at(usize::MAX, &b, &mut [0; 2])?, Content::Other);
    assert_eq!((value_of(&table, &a)?, value_of(&table, &b)?.map(|b| b.1)), (None, Some(vec![7; 16])));
    writer.change(&b, Expect::Anything, None)?;
    let (version, _) = writer.change(&a, Expect::Absent, Some(b"again"))?.expect("it is set");
    assert!(version > deleted, "{version} after {deleted}");
    Ok(())
}

#[test]
fn an_entry_of_a_dead_writer_is_taken_over_with_its_value() -> Result<(), Unset> {
    let table = table(4, 8);
    let mut writer = writer(&table);
    let key = Key::from(9);
    let (version, entry) = writer.change(&key, Expect::Anything, Some(b"kept"))?.expect("it is set");
    let at = table.geometry.entry(entry) + layout::table::OWNER;
    // Of another generation, of the same entry, and of an entry that there is not.
    for owner in [0x101, 0x901, 0x102, 0xFF] {
        table.data.store(at, owner, Edge::Owner);
        let refused = writer.change(&key, Expect::Anything, Some(b"new"));
        assert_eq!(refused, Err(Unset::Held { entry, owner }));
        assert!(writer.take_over(entry, owner, &AllDead));
        assert_eq!(value_of(&table, &key)?, Some((version, b"kept".to_vec())));
    }
    assert_eq!(writer.repair(&AllDead), 0);
    table.data.store(at, 0x902, Edge::Owner);
    assert_eq!(writer.repair(&AllDead), 1);
    Ok(())
}

#[derive(Debug, Clone)]
enum Step {
    Set(u64, u8),
    Delete(u64),
    SetIf(u64, u64, u8),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..12u64, any::<u8>()).prop_map(|(key, value)| Step::Set(key, value)),
        (0..12u64).prop_map(Step::Delete),
        (0..12u64, 0..4u64, any::<u8>()).prop_map(|(key, back, value)| Step::SetIf(key, back, value)),
        Just(Step::Look),
    ];
    proptest::collection::vec(step, 1..200)
}

/// Reads what changed into `seen`, as a watcher keeps a copy of the table.
fn look(table: &Table<Plain>, watch: &mut KeyWatch, seen: &mut HashMap<usize, Option<(Key, Vec<u64>)>>) {
    let mut words = vec![0; table.geometry.value_bytes() / 8];
    while let Some(entry) = watch.next(table) {
        let (key, read) = table.read_any(entry, &mut words).expect("a sound table");
        let word = match read {
            Content::Value { word, .. } | Content::Absent { word } => word,
            Content::Other => unreachable!("any key will do"),
        };
        watch.saw(entry, word);
        let is_there = matches!(read, Content::Value { .. });
        seen.insert(entry, key.filter(|_| is_there).map(|(key, _)| (key, words.clone())));
    }
}

proptest! {
    /// Keys are more than the table holds, so entries change hands all the time.
    #[test]
    fn a_table_is_a_map_and_a_watcher_has_a_copy(steps in steps(), keys in 1u64..9) {
        let table = table(keys, 8);
        let mut writer = writer(&table);
        let mut map: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut highest: HashMap<u64, u64> = HashMap::new();
        let (mut watch, mut seen) = (KeyWatch::begin(&table, &table.ring, || true), HashMap::new());
        for step in steps {
            let (number, expect, value) = match step {
                Step::Look => {
                    look(&table, &mut watch, &mut seen);
                    let mut copy: Vec<_> = seen.values().flatten().map(|(key, words)| (*key, words[0])).collect();
                    let mut there: Vec<_> = map.iter().map(|(&key, &(_, value))| (Key::from(key), value)).collect();
                    copy.sort_by_key(|(key, _)| key.number());
                    there.sort_by_key(|(key, _)| key.number());
                    prop_assert_eq!(copy, there);
                    continue;
                }
                Step::Set(number, value) => (number, Expect::Anything, Some(u64::from(value))),
                Step::Delete(number) => (number, Expect::Anything, None),
                Step::SetIf(number, back, value) => {
                    let version = highest.get(&number).map_or(0, |last| last.saturating_sub(back));
                    (number, Expect::Version(version), Some(u64::from(value)))
                }
            };
            let bytes = value.map(u64::to_le_bytes);
            let result = writer.change(&Key::from(number), expect, bytes.as_ref().map(|bytes| &bytes[..]));
            let before = map.get(&number).map(|&(version, _)| version);
            match (expect, value) {
                (Expect::Version(wanted), _) if before != Some(wanted) => {
                    prop_assert_eq!(result, Err(Unset::Unexpected(before)));
                }
                (_, None) if before.is_none() => prop_assert_eq!(result, Ok(None)),
                (_, Some(_)) if before.is_none() && map.len() as u64 == keys => {
                    prop_assert_eq!(result, Err(Unset::Full));
                }
                _ => {
                    let version = result.ok().flatten().map_or(0, |(version, _)| version);
                    let last = highest.insert(number, version).unwrap_or(0);
                    prop_assert!(version > last, "version {} of {} after {}", version, number, last);
                    match value {
                        Some(value) => _ = map.insert(number, (version, value)),
                        None => _ = map.remove(&number),
                    }
                }
            }
            for number in 0..12 {
                let found = value_of(&table, &Key::from(number));
                let expected = map.get(&number).map(|&(version, value)| (version, value.to_le_bytes().to_vec()));
                prop_assert_eq!(found, Ok(expected));
            }
        }
    }

    /// Nothing that the memory may hold makes a reader, a writer or a watcher panic or go on without end.
    #[test]
    fn random_memory_is_survived(words in proptest::collection::vec(any::<u64>(), 1..40), seed in any::<u64>()) {
        let table = table(5, 16);
        let total = table.geometry.bytes() as usize / 8;
        for i in 0..total {
            // Small numbers are links and flags; others are anything.
            let word = words[(seed as usize).wrapping_add(i) % words.len()];
            table.data.store(i * 8, if word % 3 == 0 { word % 16 } else { word }, Edge::Plain);
        }
        for (i, at) in [layout::TABLE_FLOOR, layout::TABLE_HIGH].into_iter().enumerate() {
            table.ring.store(at, words[i % words.len()], Edge::Plain);
        }
        let mut writer = writer(&table);
        let mut watch = KeyWatch::begin(&table, &table.ring, || true);
        for number in 0..20 {
            let key = Key::from(number);
            let _ = value_of(&table, &key);
            for value in [Some(&b"value"[..]), None] {
                if let Err(Unset::Held { entry, owner }) = writer.change(&key, Expect::Anything, value) {
                    writer.take_over(entry, owner, &AllDead);
                }
            }
            for _ in 0..10 {
                let Some(entry) = watch.next(&table) else { break };
                let _ = table.read_any(entry, &mut [0; 2]);
                watch.saw(entry, table.version_word(entry));
            }
        }
        writer.repair(&AllDead);
    }
}
