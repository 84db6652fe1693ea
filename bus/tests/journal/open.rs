//! Appended records are read back, whatever they are; and opening a long journal reads a few pages
//! of each old segment.

use std::cell::Cell;
use std::io;
use std::path::Path;

use proptest::prelude::*;
use railbus_log::disk::store::Store;
use railbus_log::format::{BLOCKS_OFFSET, Codec, PositionUnit, RecordKind, SECTOR_BYTES, SegmentHeader};
use railbus_log::recover::{self as recovery, Checks};
use railbus_log::write::WriterOptions;

use crate::simulated::disk::Disk;
use crate::simulated::oracle;
use crate::simulated::plain::{Scribe, small};

/// A record to append.
#[derive(Debug, Clone)]
enum Append {
    Event { bytes: usize, fill: u8, type_id: u16 },
    Gap { bytes: u64 },
    State { kind: usize, bytes: usize },
    Settle,
}

fn appends() -> impl Strategy<Value = Vec<Append>> {
    let event = |most: usize| {
        (0..=most, any::<u8>(), any::<u16>()).prop_map(|(bytes, fill, type_id)| Append::Event {
            bytes,
            fill,
            type_id,
        })
    };
    let append = prop_oneof![
        8 => event(200),
        2 => event(5_000),
        1 => event(60_000),
        1 => (1..100_000u64).prop_map(|bytes| Append::Gap { bytes: 8 * bytes }),
        1 => (0..3usize, 0..10_000usize).prop_map(|(kind, bytes)| Append::State { kind, bytes }),
        2 => Just(Append::Settle),
    ];
    proptest::collection::vec(append, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_appended_is_read_back(
        sessions in proptest::collection::vec(appends(), 1..3),
        block_sectors in 1..5usize,
        room in 0..4usize,
        codec in prop_oneof![Just(Codec::None), Just(Codec::Lz4), Just(Codec::Zstd)],
        unit in prop_oneof![Just(PositionUnit::Bytes), Just(PositionUnit::Events)],
    ) {
        let disk = Disk::new(1);
        let options =
            WriterOptions { block_bytes: block_sectors * SECTOR_BYTES, ..small(block_sectors + room, codec) };
        let mut entries = Vec::new();
        for session in sessions {
            let mut scribe = Scribe::new(&disk, unit, &options);
            for append in session {
                match append {
                    Append::Event { bytes, fill, type_id } => scribe.event(&vec![fill; bytes], type_id),
                    Append::Gap { bytes } => {
                        scribe.settle();
                        scribe.gap(bytes);
                    }
                    Append::State { kind, bytes } => scribe.state(RecordKind::STATES[kind], &vec![7; bytes]),
                    Append::Settle => scribe.settle(),
                }
            }
            scribe.finish();
            entries.append(&mut scribe.entries);
        }
        let recovered = recovery::recover(&disk, Path::new("proptest")).expect("a finished journal");
        prop_assert_eq!(recovered.cut, None);
        prop_assert_eq!(oracle::read(&disk).expect("a finished journal"), entries);
    }
}

/// Counts the bytes read.
struct Counting<'a> {
    disk: &'a Disk,
    bytes: Cell<usize>,
}

impl Store for Counting<'_> {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.disk.segments()
    }
    fn length(&self, segment: u64) -> io::Result<u64> {
        self.disk.length(segment)
    }
    fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.disk.read_at(segment, offset, bytes)?;
        self.bytes.set(self.bytes.get() + read);
        Ok(read)
    }
    fn write_at(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(segment, offset, bytes)
    }
    fn sync(&self, segment: u64) -> io::Result<()> {
        self.disk.sync(segment)
    }
    fn create(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        self.disk.create(header, channel_page)
    }
    fn remove(&self, segment: u64) -> io::Result<()> {
        self.disk.remove(segment)
    }
    fn quarantine(&self, segment: u64) -> io::Result<()> {
        self.disk.quarantine(segment)
    }
}

#[test]
fn opening_reads_a_few_pages_of_old_segments_and_the_newest_whole() {
    let segment_bytes = 512 << 10;
    for finished in [true, false] {
        let disk = Disk::new(1);
        let options = WriterOptions { segment_bytes, block_bytes: 64 << 10, ..WriterOptions::default() };
        let mut scribe = Scribe::new(&disk, PositionUnit::Bytes, &options);
        scribe.state(RecordKind::Cursors, b"the only one, in the oldest segment");
        while disk.segments().expect("a disk").len() < 40 {
            scribe.event(&[1; 50_000], 1);
        }
        scribe.settle();
        if finished {
            scribe.finish();
        }
        let events = scribe.entries.iter().filter(|entry| entry.kind == RecordKind::Event).count() as u64;
        drop(scribe);
        let segments = disk.segments().expect("a disk").len();
        let counting = Counting { disk: &disk, bytes: Cell::new(0) };
        let report = recovery::examine(&counting, Path::new("long"), Checks::QUICK).expect("a sound journal");
        assert_eq!((report.events, report.corrupt), (events, None));
        assert!(report.states[1].is_some(), "found by the seal of the oldest segment");
        // Three sectors and the seal of each, and a window on the blocks from the state on. If no
        // writer finished, also the newest segment with blocks and those prepared after it, scanned
        // and followed.
        let pages = segments * (BLOCKS_OFFSET as usize + 2 * SECTOR_BYTES) + (1 << 20);
        let whole = if finished { 0 } else { 5 * segment_bytes as usize };
        let read = counting.bytes.get();
        assert!(read <= pages + whole, "{read} B read of {segments} segments, finished: {finished}");
    }
}
