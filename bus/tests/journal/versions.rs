//! A journal in which another version of railbus wrote something. Recovery and repair refuse it and
//! leave it byte for byte as it was, wherever the foreign bytes are. Bytes that remain from an
//! earlier use of a file do not count.
//!
//! A pass does not prove that a later version keeps the rules for all versions (docs/JOURNAL.md,
//! Versions).

use std::collections::BTreeMap;
use std::path::Path;

use railbus::journal::Checkpoint;
use railbus::{Error, Kind, Recorder};
use railbus_log::format::{
    BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, Codec, PositionUnit, RECORD_HEADER_BYTES, RecordKind,
    SECTOR_BYTES, SegmentHeader, checksum,
};
use railbus_log::recover::{self as recovery, Checks};

use crate::journals;
use crate::journals::{Place, quick};
use crate::simulated::disk::Disk;
use crate::simulated::plain::{Scribe, small};

type Contents = BTreeMap<u64, Vec<u8>>;

/// Three segments and the beginning of a fourth: events, a gap and a state in each; ended in order
/// or not.
fn journal(sealed: bool) -> Contents {
    let disk = Disk::new(1);
    let mut scribe = Scribe::new(&disk, PositionUnit::Events, &small(4, Codec::None));
    for number in 0..14u64 {
        scribe.state(RecordKind::Cursors, &number.to_le_bytes());
        scribe.event(&[number as u8; 3_000], 1);
        scribe.gap(2);
        scribe.settle();
    }
    if sealed {
        scribe.finish();
    }
    disk.contents()
}

fn seal(content: &[u8]) -> usize {
    content.len() - SECTOR_BYTES
}

/// Makes the checksums of the block at `at` fit its present contents.
fn sign_block(content: &mut [u8], at: usize) {
    let bytes = content[at + 8..][..4].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
    let body = checksum(&content[at + BLOCK_HEADER_BYTES..at + bytes]);
    content[at + 100..at + 104].copy_from_slice(&body.to_le_bytes());
    let header = checksum(&content[at..at + BLOCK_HEADER_BYTES - 4]);
    content[at + BLOCK_HEADER_BYTES - 4..at + BLOCK_HEADER_BYTES].copy_from_slice(&header.to_le_bytes());
}

fn sign_segment(content: &mut [u8]) {
    let sum = checksum(&content[..SECTOR_BYTES - 4]);
    content[SECTOR_BYTES - 4..SECTOR_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// A change that another version may have made in a segment's file. False if the file has no such
/// place.
type Change = fn(&mut [u8]) -> bool;

fn in_block(content: &mut [u8], at: usize, offset: usize, value: u8) -> bool {
    if BlockHeader::decode(&content[at..]).is_err() {
        return false;
    }
    content[at + offset] = value;
    sign_block(content, at);
    true
}

fn last_block(content: &[u8]) -> Option<usize> {
    let segment = SegmentHeader::decode(content).ok()?;
    let is_own = |at: &usize| {
        BlockHeader::decode(&content[*at..]).is_ok_and(|header| header.segment_id == segment.segment_id)
    };
    (BLOCKS_OFFSET as usize..seal(content)).step_by(SECTOR_BYTES).rfind(is_own)
}

const FIRST: usize = BLOCKS_OFFSET as usize;
const RECORD: usize = BLOCK_HEADER_BYTES;

const CHANGES: [(&str, Change); 11] = [
    ("the version of the segment", |content| {
        content[8] = 2;
        sign_segment(content);
        true
    }),
    ("the unit of the segment", |content| {
        content[100] = 9;
        sign_segment(content);
        true
    }),
    ("the version of the first block", |content| in_block(content, FIRST, 4, 2)),
    ("the version of the last block", |content| {
        last_block(content).is_some_and(|at| in_block(content, at, 4, 7))
    }),
    ("the kind of a block", |content| in_block(content, FIRST, 5, 4)),
    ("the compression of a block", |content| in_block(content, FIRST, 6, 3)),
    ("the kind of a record", |content| in_block(content, FIRST, RECORD + 7, 9)),
    ("the reason of a gap", |content| {
        let Some(gap) = find_gap(content) else { return false };
        in_block(content, FIRST, gap + RECORD_HEADER_BYTES + 24, 6)
    }),
    ("the version of the seal", |content| in_block(content, seal(content), 4, 2)),
    ("the length of the seal", |content| {
        let at = seal(content);
        in_block(content, at, 12, 48) && in_block(content, at, 16, 48)
    }),
    ("the ending that the seal tells", |content| in_block(content, seal(content), BLOCK_HEADER_BYTES + 8, 2)),
];

/// Where in the first block a gap begins.
fn find_gap(content: &[u8]) -> Option<usize> {
    let header = BlockHeader::decode(&content[FIRST..]).ok()?;
    let mut at = RECORD;
    for _ in 0..header.records {
        let record = &content[FIRST + at..];
        if record[7] == RecordKind::Gap as u8 {
            return Some(at);
        }
        let bytes = record.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
        at += RECORD_HEADER_BYTES + bytes.next_multiple_of(8);
    }
    None
}

#[test]
fn what_another_version_wrote_is_refused_and_stays_as_it_is() {
    let path = Path::new("journal");
    let mut changed = 0;
    for sealed in [true, false] {
        let sound = journal(sealed);
        let newest = *sound.keys().last().expect("segments");
        for (what, change) in CHANGES {
            for segment in sound.keys().copied() {
                let mut contents = sound.clone();
                if !contents.get_mut(&segment).is_some_and(|content| change(content)) {
                    continue;
                }
                changed += 1;
                let at = format!("{what} {segment} of {newest}, sealed: {sealed}");
                let disk = Disk::holding(&contents);
                let report = recovery::examine(&disk, path, Checks::FULL).expect("a disk that works");
                let corrupt = report.corrupt.unwrap_or_else(|| panic!("{at}: nothing is wrong"));
                assert!(corrupt.flaw.is_of_another_version(), "{at}: {corrupt:?}");
                let repaired = recovery::repair(&disk, path, 1);
                assert!(matches!(repaired, Err(Error::Version { .. })), "{at}: {repaired:?}");
                match recovery::recover(&disk, path) {
                    Err(Error::Version { .. }) => assert!(disk.contents() == contents, "{at}: changed"),
                    // A writer checks the newest segments only, and keeps the others as they are.
                    Ok(_) if segment < newest => {
                        assert!(disk.contents()[&segment] == contents[&segment], "{at}: changed");
                    }
                    other => panic!("{at}: {other:?}"),
                }
            }
        }
    }
    assert!(changed > 60, "{changed} changes were tried");
}

/// A torn block, where recovery would cut, is followed by a block that another version wrote.
#[test]
fn a_torn_tail_that_hides_what_another_version_wrote_is_not_cut() {
    let mut contents = journal(false);
    let (_, content) = contents.iter_mut().next_back().expect("segments");
    let next = last_block(content).map_or(FIRST, |at| at + SECTOR_BYTES);
    let segment = SegmentHeader::decode(content).expect("a header");
    let header = BlockHeader {
        segment_id: segment.segment_id,
        block_bytes: SECTOR_BYTES as u32,
        ..BlockHeader::default()
    };
    let at = next + SECTOR_BYTES;
    assert!(at + SECTOR_BYTES <= seal(content), "room behind the torn block");
    content[next] = 7;
    header.encode(&mut content[at..]);
    content[at + 4] = 2;
    sign_block(content, at);
    let disk = Disk::holding(&contents);
    let refused = recovery::recover(&disk, "journal".as_ref());
    assert!(matches!(refused, Err(Error::Version { .. })), "{refused:?}");
    assert!(disk.contents() == contents);
}

/// After a rollback, a file that the newer version had used may be used again: its old blocks do
/// not count.
#[test]
fn blocks_of_an_earlier_use_of_the_file_are_nobodys() {
    let mut contents = journal(false);
    let (_, content) = contents.iter_mut().next_back().expect("segments");
    let next = last_block(content).map_or(FIRST, |at| at + SECTOR_BYTES);
    let header =
        BlockHeader { segment_id: 0xF0E, block_bytes: SECTOR_BYTES as u32, ..BlockHeader::default() };
    header.encode(&mut content[next..]);
    content[next + 4] = 2;
    sign_block(content, next);
    let disk = Disk::holding(&contents);
    let recovered = recovery::recover(&disk, "journal".as_ref()).expect("a sound journal");
    assert_eq!(recovered.torn_bytes, 0);
}

/// Events that a killed journaller of another version held are not thrown away.
#[test]
fn staging_of_another_version_is_refused_and_stays() {
    let place = Place::new();
    let channel = place.bus().create("c", &journals::small(Kind::Stream)).expect("a channel");
    let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
    let stage = place.base.path().join("b/c.stage");
    let mut bytes = std::fs::read(&stage).expect("the staging");
    recorder.stop().expect("a clean end");
    bytes[8] ^= 1; // the fingerprint of its layout
    std::fs::write(&stage, &bytes).expect("written");
    let refused = Recorder::start(&channel, place.journal(), &quick());
    assert!(matches!(refused, Err(Error::Version { .. })), "{refused:?}");
    assert!(std::fs::read(&stage).expect("the staging") == bytes);
    for name in ["c.ring", "c.acks"] {
        std::fs::remove_file(place.base.path().join("b").join(name)).expect("removed");
    }
    let refused = railbus::journal::restore(&place.bus(), "c", place.journal());
    assert!(matches!(refused, Err(Error::Version { .. })), "{refused:?}");
    assert!(std::fs::read(&stage).expect("the staging") == bytes);
}

/// A checkpoint of another version does not count as damaged; it would be overwritten then.
#[test]
fn a_checkpoint_of_another_version_is_refused_and_stays() {
    let place = Place::new();
    let channel = place.bus().create("c", &journals::small(Kind::Stream)).expect("a channel");
    Recorder::start(&channel, place.journal(), &quick()).expect("a recorder").stop().expect("a clean end");
    let directory = place.directory("c");
    let mut checkpoint = Checkpoint::open(&directory, "k").expect("a checkpoint");
    checkpoint.save(0, b"a state").expect("saved");
    drop(checkpoint);
    let file = ["k.a", "k.b"].map(|name| directory.join("checkpoints").join(name));
    let file = file.iter().find(|file| file.exists()).expect("a save");
    let mut bytes = std::fs::read(file).expect("a save");
    bytes[8] = 2;
    let sum = checksum(&bytes[..124]);
    bytes[124..128].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(file, &bytes).expect("written");
    let refused = Checkpoint::open(&directory, "k");
    assert!(matches!(refused, Err(Error::Version { .. })), "{refused:?}");
    assert!(std::fs::read(file).expect("a save") == bytes);
}
