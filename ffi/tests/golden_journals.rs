//! Golden journals: segment files as they were when they were committed to the repository. Every
//! language replays them, and must find the contents of `records.jsonl` beside them;
//! `bus/tests/journal/golden.rs` makes them.
//!
//! A segment's second page is the header page of the channel it records, which has the layout of
//! shared memory. Only the journal's format is golden. So the committed files hold a filler there,
//! and are read as copies with a current page.

mod driver;
#[path = "../../conformance/rust/payload.rs"]
#[allow(dead_code)]
mod payload;
mod support;

use std::path::{Path, PathBuf};

use driver::{Place, languages};
use payload::Tally;
use railbus::{Attributes, ChannelOptions, Kind};
use railbus_log::format::{Gap, PositionUnit, SECTOR_BYTES, SegmentHeader, page_checksum};
use serde::Deserialize;

/// A line of `records.jsonl`.
#[derive(Deserialize)]
struct Line {
    position: u64,
    kind: String,
    type_id: u16,
    flags: u8,
    body: String,
}

/// The events of these type ids, or all, and how many events are missing.
fn expected(journal: &Path, type_ids: &[u16]) -> (Tally, u64) {
    let text = std::fs::read_to_string(journal.join("records.jsonl")).expect("it is committed");
    let (mut tally, mut lost) = (Tally::default(), 0);
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).expect("a record");
        let digits = |at: usize| u8::from_str_radix(&line.body[at..at + 2], 16).expect("hexadecimal");
        let body: Vec<u8> = (0..line.body.len()).step_by(2).map(digits).collect();
        match line.kind.as_str() {
            "Event" => {
                assert_eq!(line.flags, 0, "this test knows of no extensions");
                let attributes = Attributes::default().type_id(line.type_id);
                if type_ids.is_empty() || type_ids.contains(&line.type_id) {
                    tally.add(&body, line.position, Some(&attributes));
                }
            }
            "Gap" => lost += Gap::decode(&body).expect("a gap").events,
            _ => {}
        }
    }
    (tally, lost)
}

fn journals() -> Vec<PathBuf> {
    let directory = support::root().join("conformance/journal");
    let found = std::fs::read_dir(&directory).expect("they are committed").flatten();
    let mut journals: Vec<PathBuf> = found.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    journals.sort();
    journals
}

/// Copies a journal to the place, as one that was recorded of a current channel.
fn copy(journal: &Path, place: &Place) -> PathBuf {
    let name = journal.file_name().and_then(|name| name.to_str()).expect("a name");
    let directory = place.base().join(format!("journal-{name}"));
    std::fs::create_dir(&directory).expect("it is ours");
    let mut page = None;
    for entry in std::fs::read_dir(journal).expect("it is committed").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let mut bytes = std::fs::read(&path).expect("it is committed");
        let mut header = SegmentHeader::decode(&bytes[..SECTOR_BYTES]).expect("a segment");
        let page = page.get_or_insert_with(|| {
            let kind = if header.unit == PositionUnit::Bytes { Kind::Stream } else { Kind::Queue };
            let options: ChannelOptions = driver::small(kind).channel_id(Some(header.channel_id));
            let channel = place.make(name, &options);
            let ring = std::fs::read(&channel.paths().ring).expect("it is ours");
            ring[..SECTOR_BYTES].to_vec()
        });
        header.page_checksum = page_checksum(page);
        bytes[..SECTOR_BYTES].copy_from_slice(&header.encode()[..]);
        bytes[SECTOR_BYTES..2 * SECTOR_BYTES].copy_from_slice(page);
        std::fs::write(directory.join(entry.file_name()), bytes).expect("it is ours");
    }
    directory
}

#[test]
fn every_language_replays_the_golden_journals() {
    let journals = journals();
    assert!(journals.len() >= 4, "{journals:?}");
    for journal in journals {
        let place = Place::new();
        let copied = copy(&journal, &place).display().to_string();
        for type_ids in [&[][..], &[1, 300]] {
            let (tally, lost) = expected(&journal, type_ids);
            assert!(tally.events > 0, "{}: {type_ids:?}", journal.display());
            let list: Vec<String> = type_ids.iter().map(u16::to_string).collect();
            let list = list.join(",");
            for language in languages() {
                for mode in ["next", "batch"] {
                    let mut how = vec![("journal", copied.as_str()), ("mode", mode), ("batch", "7")];
                    if !list.is_empty() {
                        how.push(("type_ids", &list));
                    }
                    let mut program = place.start(language, "replay", "", &how);
                    program.says("done").expect(&[
                        ("events", tally.events),
                        ("first", tally.first),
                        ("last", tally.last),
                        ("digest", tally.digest.into()),
                        ("sum", tally.sum),
                        ("lost", lost),
                    ]);
                    program.finish();
                }
            }
        }
    }
}

#[test]
fn every_language_is_told_of_a_journal_that_is_missing_or_damaged() {
    let place = Place::new();
    let copy = copy(&support::root().join("conformance/journal/stream"), &place);
    // A bit of the first block: the blocks after it prove that it was whole once.
    let segment = copy.join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("it is ours");
    let first = railbus_log::format::BLOCKS_OFFSET as usize + 200;
    bytes[first] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    for language in languages() {
        for (journal, symbol) in [(&copy, "CORRUPT"), (&place.base().join("nowhere"), "NOT_FOUND")] {
            let directory = journal.display().to_string();
            let mut program = place.start(language, "replay", "", &[("journal", &directory)]);
            let line = program.line().unwrap_or_default();
            assert!(line.starts_with(&format!("failed {symbol} ")), "{}: {line}", language.name);
        }
    }
}
