//! Golden journals: segment files as they were when they were committed to the repository, and
//! their contents.
//!
//! Whatever becomes of the writer, these must stay readable, record by record; and the writer must
//! still produce the same bytes for journals without compression. When the format's version
//! changes, `RAILBUS_WRITE_GOLDEN=1 cargo test --package railbus --test journal golden` writes them
//! again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use railbus_log::format::{BLOCKS_OFFSET, BlockHeader, Codec, PositionUnit, RecordKind};
use railbus_log::recover as recovery;
use railbus_log::write::WriterOptions;

use crate::simulated::disk::Disk;
use crate::simulated::oracle::{self, Entry};
use crate::simulated::plain::{Scribe, small};

type Files = BTreeMap<u64, Vec<u8>>;

/// A golden journal, as this program would write it.
struct Golden {
    name: &'static str,
    files: Files,
    /// The entries that recovery keeps of it.
    entries: Vec<Entry>,
    /// Whether the bytes depend on the compressor's version.
    compressed: bool,
}

/// Without segments that were only prepared.
fn used(disk: &Disk) -> Files {
    let mut files = disk.contents();
    files.retain(|_, file| BlockHeader::decode(&file[BLOCKS_OFFSET as usize..]).is_ok());
    files
}

/// A stream: events of all sizes, one in three pieces, a gap, states, over several segments and two
/// writers.
fn stream() -> Golden {
    let disk = Disk::new(1);
    let options = small(3, Codec::None);
    let mut entries = Vec::new();
    for session in 0..2u8 {
        let mut scribe = Scribe::new(&disk, PositionUnit::Bytes, &options);
        for i in 0..5u8 {
            scribe.event(&vec![i + session; 37 * usize::from(i)], u16::from(i));
        }
        scribe.settle();
        scribe.event(&[0xEE; 10_000], 300);
        scribe.gap(4_096);
        scribe.state(RecordKind::Acks, b"acknowledgements");
        scribe.state(RecordKind::Cursors, b"cursors");
        scribe.state(RecordKind::Sequences, b"sequences");
        scribe.event(b"the last one", 65_535);
        scribe.finish();
        entries.append(&mut scribe.entries);
    }
    Golden { name: "stream", files: used(&disk), entries, compressed: false }
}

/// A queue, compressed.
fn compressed(name: &'static str, codec: Codec) -> Golden {
    let disk = Disk::new(1);
    let options = WriterOptions { block_bytes: 16 << 10, ..small(8, codec) };
    let mut scribe = Scribe::new(&disk, PositionUnit::Events, &options);
    for i in 0..60u16 {
        scribe.event(format!("job number {i} of some sixty: resize cat.png").repeat(3).as_bytes(), i);
    }
    scribe.finish();
    Golden { name, files: used(&disk), entries: scribe.entries, compressed: true }
}

/// A stream whose writer died while its last block was being written: recovery cuts it.
fn torn() -> Golden {
    let disk = Disk::new(1);
    let mut scribe = Scribe::new(&disk, PositionUnit::Bytes, &small(6, Codec::None));
    for i in 0..4u8 {
        scribe.event(&vec![i; 2_000], u16::from(i));
        scribe.settle();
    }
    let mut entries = scribe.entries;
    entries.pop();
    let mut files = used(&disk);
    if let Some(file) = files.get_mut(&1) {
        file[BLOCKS_OFFSET as usize + 3 * 4096 + 512..][..512].fill(0);
    }
    Golden { name: "torn", files, entries, compressed: false }
}

fn all() -> Vec<Golden> {
    vec![stream(), compressed("lz4", Codec::Lz4), compressed("zstd", Codec::Zstd), torn()]
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/journal").join(name)
}

/// One line of JSON for each record; the body in hexadecimal digits.
fn lines(entries: &[Entry]) -> String {
    let mut text = String::new();
    for Entry { position, end_position, time_ns, kind, type_id, flags, body } in entries {
        let body = body.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // a string takes everything
            text
        });
        let _ = writeln!(
            text,
            "{{\"position\":{position},\"end_position\":{end_position},\"time_ns\":{time_ns},\"kind\":\"{kind:?}\",\
             \"type_id\":{type_id},\"flags\":{flags},\"body\":\"{body}\"}}"
        );
    }
    text
}

fn committed(name: &str) -> (Files, String) {
    let directory = directory(name);
    let say = |error: std::io::Error| format!("{}: {error}", directory.display());
    let read = || -> std::io::Result<(Files, String)> {
        let mut files = Files::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                let number =
                    path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
                files.insert(number.expect("a segment's number"), fs::read(&path)?);
            }
        }
        Ok((files, fs::read_to_string(directory.join("records.jsonl"))?))
    };
    read().map_err(say).expect("a golden journal")
}

#[test]
fn golden_journals_stay_what_they_are() {
    for golden in all() {
        if std::env::var_os("RAILBUS_WRITE_GOLDEN").is_some() {
            let directory = directory(golden.name);
            fs::create_dir_all(&directory).expect("a directory");
            for (number, file) in &golden.files {
                fs::write(directory.join(format!("{number:020}.seg")), file).expect("a file");
            }
            fs::write(directory.join("records.jsonl"), lines(&golden.entries)).expect("a file");
        }
        let (files, records) = committed(golden.name);
        assert!(!files.is_empty() && !records.is_empty(), "{}: nothing there", golden.name);
        if !golden.compressed {
            let same = files == golden.files;
            assert!(same, "{}: the writer writes other bytes than it did", golden.name);
        }
        // Readable, and recoverable, without end.
        let disk = Disk::holding(&files);
        let recovered = recovery::recover(&disk, Path::new(golden.name)).expect("a journal that recovers");
        assert_eq!(recovered.cut.is_some(), golden.name == "torn", "{}: {recovered:?}", golden.name);
        let read = oracle::read(&disk).unwrap_or_else(|why| panic!("{}: {why}", golden.name));
        assert_eq!(lines(&read), records, "{}", golden.name);
        assert_eq!(read, golden.entries, "{}", golden.name);
    }
}
