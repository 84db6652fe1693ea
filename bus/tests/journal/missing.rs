//! Segments that are gone or cut short in the middle of a journal: the intact part after them
//! stays, and a recorded gap says exactly what is missing.
//!
//! Small journals with events of many sizes, some of them larger than a segment, are damaged in
//! every such way. After a repair, the remaining events and the events that the gaps count are all
//! that there were, in order; positions of remaining events lie in no gap. A repair may be killed
//! after each step, by a power cut too.
//!
//! A pass does not prove that no more is lost than must be. A block that begins with the rest of a
//! lost event is lost with it.

use std::collections::BTreeMap;
use std::path::Path;

use railbus_log::format::{
    BLOCKS_OFFSET, BlockHeader, Codec, Gap, GapReason, PositionUnit, RecordKind, SECTOR_BYTES,
};
use railbus_log::recover::{self as recovery, Checks, Repair};

use crate::simulated::disk::{Disk, Faults};
use crate::simulated::oracle::{self, Entry};
use crate::simulated::plain::{Scribe, small};
use crate::simulated::random::Random;

type Files = BTreeMap<u64, Vec<u8>>;

const PATH: &str = "missing";

/// A journal of about ten segments of three blocks each; its events have up to `sizes` bytes.
fn journal(seed: u64, sizes: usize, unit: PositionUnit, codec: Codec) -> (Files, Vec<Entry>) {
    let mut random = Random::new(seed);
    let disk = Disk::new(seed);
    let mut scribe = Scribe::new(&disk, unit, &small(3, codec));
    let mut bytes = 0;
    while bytes < 100_000 {
        let size = random.index(sizes + 1);
        let mut body = vec![0; size];
        for chunk in body.chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
        scribe.event(&body, 1);
        bytes += size;
        if random.once_in(4) {
            scribe.settle();
        }
        if random.once_in(9) {
            scribe.state(RecordKind::Cursors, b"how things stand");
        }
    }
    scribe.settle();
    scribe.finish();
    let entries = scribe.entries.clone();
    drop(scribe);
    let mut files = disk.contents();
    // A segment that was only prepared does not count.
    files.retain(|_, file| BlockHeader::decode(&file[BLOCKS_OFFSET as usize..]).is_ok());
    assert!(files.len() >= 6, "{} segments", files.len());
    (files, entries)
}

/// Every journal that is tried.
fn journals() -> Vec<(Files, Vec<Entry>)> {
    let mut journals = Vec::new();
    for (seed, sizes) in [(1, 300), (2, 3_000), (3, 9_000), (4, 60_000)] {
        for unit in [PositionUnit::Bytes, PositionUnit::Events] {
            let codec = if seed == 2 { Codec::Lz4 } else { Codec::None };
            journals.push(journal(seed, sizes, unit, codec));
        }
    }
    journals
}

/// Checks that the remaining events, and those that the gaps report as missing, make the whole.
/// Returns the number of lost events.
fn check(disk: &Disk, entries: &[Entry], what: &str) -> u64 {
    recovery::recover(disk, Path::new(PATH)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let report = recovery::examine(disk, Path::new(PATH), Checks::FULL).expect("a disk that works");
    assert!(report.corrupt.is_none() && report.torn_bytes == 0, "{what}: {report:?}");
    let read = oracle::read(disk).unwrap_or_else(|why| panic!("{what}: {why}"));
    let mut left = read.iter().filter(|entry| !entry.is_state());
    let mut events = entries.iter().filter(|entry| entry.kind == RecordKind::Event).peekable();
    let mut lost = 0;
    let mut end = 0;
    for entry in left.by_ref() {
        assert!(entry.position >= end, "{what}: {} goes back behind {end}", entry.brief());
        end = entry.end_position;
        if entry.kind != RecordKind::Gap {
            assert_eq!(events.next(), Some(entry), "{what}");
            continue;
        }
        let gap = Gap::decode(&entry.body).expect("a gap");
        assert_eq!(gap.reason, GapReason::Quarantined, "{what}");
        let mut inside = 0;
        while events.next_if(|event| event.end_position <= gap.to).is_some() {
            inside += 1;
        }
        assert_eq!(inside, gap.events, "{what}: {gap:?}");
        lost += inside;
    }
    assert_eq!(events.next(), None, "{what}: the end is missing");
    assert_eq!(report.events, entries.iter().filter(|entry| entry.kind == RecordKind::Event).count() as u64);
    lost
}

fn repair(disk: &Disk, what: &str) -> Repair {
    let before = disk.contents();
    let refused = recovery::recover(disk, Path::new(PATH));
    assert!(refused.is_err() || before == disk.contents(), "{what}: a harm that was taken for nothing");
    recovery::repair(disk, Path::new(PATH), 1).unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn what_is_behind_missing_segments_stays_and_the_gap_is_exact() {
    for (files, entries) in journals() {
        let numbers: Vec<u64> = files.keys().copied().collect();
        for count in 1..=3 {
            for gone in numbers[1..numbers.len() - 1].windows(count) {
                let mut harmed = files.clone();
                harmed.retain(|number, _| !gone.contains(number));
                let disk = Disk::holding(&harmed);
                let what = format!("without {gone:?} of {}", numbers.len());
                let repaired = repair(&disk, &what);
                assert_eq!(repaired.made, gone, "{what}");
                assert!(repaired.quarantined.is_empty() && repaired.gap.is_none(), "{what}: {repaired:?}");
                check(&disk, &entries, &what);
            }
        }
    }
}

#[test]
fn what_is_behind_a_segment_that_was_cut_short_stays_and_the_gap_is_exact() {
    for (files, entries) in journals() {
        let numbers: Vec<u64> = files.keys().copied().collect();
        for &number in numbers[1..numbers.len() - 1].iter().step_by(3) {
            let whole = files[&number].len();
            for bytes in (0..whole).filter(|bytes| matches!(bytes % SECTOR_BYTES, 0 | 20 | 2_000)) {
                let mut harmed = files.clone();
                harmed.get_mut(&number).expect("a segment").truncate(bytes);
                let disk = Disk::holding(&harmed);
                let what = format!("segment {number} of {} cut to {bytes} of {whole}", numbers.len());
                let repaired = repair(&disk, &what);
                assert!(repaired.gap.is_none() && repaired.shortened.is_none(), "{what}: {repaired:?}");
                let lost = check(&disk, &entries, &what);
                // Only the seal is gone.
                assert!(bytes < whole - SECTOR_BYTES || lost == 0, "{what}: {lost} lost");
            }
        }
    }
}

#[test]
fn cut_and_missing_segments_beside_one_another_and_a_damaged_block_are_one_gap_after_the_other() {
    for (files, entries) in journals() {
        let numbers: Vec<u64> = files.keys().copied().collect();
        for gone in numbers[2..numbers.len() - 2].windows(2) {
            let (before, behind) = (gone[0] - 1, gone[1] + 1);
            for (cut_before, hurt_behind) in [(true, false), (false, true), (true, true)] {
                let mut harmed = files.clone();
                harmed.retain(|number, _| !gone.contains(number));
                if cut_before {
                    harmed.get_mut(&before).expect("a segment").truncate(BLOCKS_OFFSET as usize + 5_000);
                }
                if hurt_behind {
                    harmed.get_mut(&behind).expect("a segment")[BLOCKS_OFFSET as usize + 200] ^= 1;
                }
                let disk = Disk::holding(&harmed);
                let what = format!("without {gone:?}, cut before: {cut_before}, hurt: {hurt_behind}");
                let repaired = repair(&disk, &what);
                assert!(repaired.gap.is_none() && repaired.shortened.is_none(), "{what}: {repaired:?}");
                check(&disk, &entries, &what);
            }
        }
    }
}

#[test]
fn a_repair_of_missing_segments_can_be_killed_anywhere() {
    let (files, entries) = journal(5, 6_000, PositionUnit::Bytes, Codec::None);
    let numbers: Vec<u64> = files.keys().copied().collect();
    let gone = [numbers[3], numbers[4]];
    let mut harmed = files.clone();
    harmed.retain(|number, _| !gone.contains(number));
    harmed.get_mut(&numbers[2]).expect("a segment").truncate(BLOCKS_OFFSET as usize + 5_000);
    harmed.get_mut(&numbers[6]).expect("a segment").truncate(20);
    let wanted = {
        let disk = Disk::holding(&harmed);
        repair(&disk, "unharmed");
        check(&disk, &entries, "unharmed")
    };
    for power in [false, true] {
        let mut steps = 0;
        loop {
            let disk = Disk::holding(&harmed);
            disk.set_faults(Faults { crash_after: Some(steps), ..Faults::default() });
            let first = recovery::repair(&disk, Path::new(PATH), 1);
            let crashed = disk.has_crashed();
            assert_eq!(first.is_err(), crashed, "{first:?}");
            if power {
                disk.cut_power();
            } else {
                disk.restart();
            }
            let what = format!("killed after {steps} steps, power cut: {power}");
            repair(&disk, &what);
            assert_eq!(check(&disk, &entries, &what), wanted, "{what}");
            if !crashed {
                break;
            }
            steps += 1;
        }
        assert!(steps > 50, "only {steps} steps: is the crash still injected?");
    }
}
