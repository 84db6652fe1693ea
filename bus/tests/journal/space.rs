//! How little of the disk a journal takes and reads: segments that are used again, quiet channels,
//! and segments that were prepared and never used.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use railbus::journal::Retention;
use railbus::{Kind, Recorder, SendOptions};
use railbus_log::disk::files::Files;
use railbus_log::disk::store::Store;
use railbus_log::format::{Codec, PositionUnit, SegmentHeader};
use railbus_log::recover as recovery;
use railbus_log::write::SyncPolicy;

use crate::journals::{Place, held, quick, small};
use crate::simulated;
use crate::simulated::disk::Disk;
use crate::simulated::plain::Scribe;
use crate::simulated::run::identity;

/// A bound on hangs.
const LONG: Duration = Duration::from_secs(60);

fn inodes(directory: &Path) -> BTreeSet<u64> {
    let files = std::fs::read_dir(directory).expect("the journal").flatten();
    let segments = files.filter(|file| file.path().extension().is_some_and(|end| end == "seg"));
    segments.filter_map(|file| file.metadata().ok()).map(|about| about.ino()).collect()
}

#[test]
fn segments_of_the_full_size_are_used_again() {
    let place = Place::new();
    let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
    let retention = Retention::default().max_bytes(Some(3 << 20));
    let options = quick().retention(retention);
    let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
    let mut publisher = channel.publisher(&SendOptions::default()).expect("a publisher");
    // Files are held open, so that no other file gets the number of one that was removed.
    let (mut held_open, mut seen) = (Vec::new(), BTreeSet::new());
    let directory = place.directory("c");
    let (deadline, mut newest) = (Instant::now() + LONG, 0);
    let mut used_again = false;
    while !used_again {
        assert!(Instant::now() < deadline, "{newest} segments, and none of their files was used twice");
        publisher.publish_durable(&[7; 20_000], LONG).expect("it goes on");
        let files = Files::open(&directory).expect("the journal");
        for segment in files.segments().expect("a list").into_iter().filter(move |&segment| segment > newest)
        {
            let path = directory.join(format!("{segment:020}.seg"));
            let Ok(file) = std::fs::File::open(path) else { continue };
            newest = segment;
            used_again |= !seen.insert(file.metadata().expect("a file").ino());
            held_open.push(file);
        }
    }
    recorder.stop().expect("a clean end");
    assert!(inodes(&directory).len() <= 6);
    assert!(!held(&directory).events.is_empty(), "and the journal is sound");
}

#[test]
fn a_quiet_channel_takes_a_sector_for_many_events_unless_each_is_synced() {
    let mut bytes = Vec::new();
    for sync in [SyncPolicy::Interval(LONG), SyncPolicy::Never] {
        let place = Place::new();
        let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
        let recorder = Recorder::start(&channel, place.journal(), &quick().sync(sync)).expect("a recorder");
        let mut publisher = channel.publisher(&SendOptions::default()).expect("a publisher");
        for _ in 0..100 {
            publisher.publish(&[7; 100]).expect("room");
            std::thread::sleep(Duration::from_millis(2));
        }
        recorder.stop().expect("a clean end");
        let report = recovery::examine(
            &Files::open(place.directory("c")).expect("the journal"),
            &place.directory("c"),
            recovery::Checks::FULL,
        );
        let report = report.expect("a journal");
        assert_eq!(report.events, 100);
        bytes.push(report.bytes);
    }
    // A sector each would be 400 KiB; a slow machine makes it less, never more.
    assert!(bytes.iter().all(|&bytes| bytes < 200 << 10), "{bytes:?}");
}

/// Counts the bytes read.
struct Counting<'a>(&'a Disk, Cell<u64>);

impl Store for Counting<'_> {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.0.segments()
    }
    fn length(&self, segment: u64) -> io::Result<u64> {
        self.0.length(segment)
    }
    fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.1.set(self.1.get() + bytes.len() as u64);
        self.0.read_at(segment, offset, bytes)
    }
    fn write_at(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(segment, offset, bytes)
    }
    fn sync(&self, segment: u64) -> io::Result<()> {
        self.0.sync(segment)
    }
    fn create(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        self.0.create(header, channel_page)
    }
    fn remove(&self, segment: u64) -> io::Result<()> {
        self.0.remove(segment)
    }
    fn quarantine(&self, segment: u64) -> io::Result<()> {
        self.0.quarantine(segment)
    }
}

#[test]
fn a_segment_that_was_prepared_and_never_used_is_not_read_through() {
    const BYTES: u64 = 64 << 20;
    let disk = Disk::new(1);
    let mut scribe = Scribe::new(&disk, PositionUnit::Bytes, &simulated::plain::small(3, Codec::None));
    scribe.event(&[7; 1000], 1);
    scribe.settle();
    let entries = scribe.entries.len() as u64;
    // The journaller was killed: the segment in use has no seal, and a large one was prepared after
    // it.
    drop(scribe);
    let last = disk.segments().expect("a list").last().copied().expect("a segment");
    let prepared = SegmentHeader {
        number: last + 1,
        segment_id: 77,
        epoch: 1,
        segment_bytes: BYTES,
        ..identity(PositionUnit::Bytes, 1).header
    };
    disk.create(&prepared, &[]).expect("a segment");
    let counting = Counting(&disk, Cell::new(0));
    let recovered = recovery::recover(&counting, Path::new("simulated")).expect("a journal");
    assert_eq!((recovered.events, recovered.cut), (entries, None));
    assert!(counting.1.get() < 20 << 20, "{} B were read", counting.1.get());
    assert!(!disk.segments().expect("a list").contains(&(last + 1)), "it goes");
}
