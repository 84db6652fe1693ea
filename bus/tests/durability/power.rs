//! Cuts of the power, on a real ext4: events that are durable are there afterwards.
//!
//! The journal writes through the real pipelines to an ext4 on a disk that logs every write and
//! every flush (`logged_disk`). For each flush, two disks are made as a cut just before the next
//! flush might leave them: with nothing of the later writes, and with some of them. Each is
//! mounted, so that ext4 recovers, and then checked. A pass says nothing about disks that lie about
//! flushes.
//!
//! The same disk, made to hold back writes, shows that the lock of a killed writer is not free
//! while one is in flight.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use railbus::Error;
use railbus_log::disk::choose::{self as disk, Disk, DiskOptions};
use railbus_log::disk::files::Files;
use railbus_log::disk::lock::{Lock, PATIENCE};
use railbus_log::disk::store::{Begun, Completion, Pipeline, Store};
use railbus_log::format::{BLOCK_BYTES_MAX, BLOCKS_OFFSET, PositionUnit, SECTOR_BYTES, SegmentHeader};
use railbus_log::recover::{Recovered, recover};
use railbus_log::stage::buffers::StageMemory;
use railbus_log::stage::words::StageWords;
use railbus_log::write::{Identity, Writer, WriterOptions};
use railbus_os::clock;
use railbus_ring::frame;

use crate::children;
use crate::journals;
use crate::logged_disk;
use crate::logged_disk::{Cuts, LoggedDisk, Server};
use crate::mounts;
use crate::mounts::Mounted;

const DISK_MEBIBYTES: u64 = 24;
const SEGMENT_BYTES: u64 = BLOCKS_OFFSET + 4 * BLOCK_BYTES_MAX as u64;

fn header(number: u64) -> SegmentHeader {
    SegmentHeader {
        number,
        segment_id: 1000 + number,
        incarnation: 1,
        epoch: 1,
        segment_bytes: SEGMENT_BYTES,
        ..SegmentHeader::default()
    }
}

fn open(path: &Path, options: &DiskOptions) -> (Arc<Files>, Disk) {
    let files = Arc::new(Files::create(path).unwrap());
    let lock = Arc::new(files.lock(PATIENCE).unwrap());
    let memory = StageMemory::anonymous(6).unwrap();
    let (pipeline, report) = disk::open(&files, &lock, memory, options).unwrap();
    println!("{report}");
    (files, pipeline)
}

fn ends(pipeline: &mut Disk, count: usize) -> Vec<Completion> {
    let mut ended = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while ended.len() < count {
        assert!(Instant::now() < deadline, "{count} things were begun, these have ended: {ended:?}");
        pipeline.complete(Some(Duration::from_millis(50)), &mut ended).unwrap();
    }
    for completion in &ended {
        completion.result.as_ref().unwrap();
    }
    ended
}

/// Numbers that look random and are the same each time.
fn dice(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// Calls `look` with the moment of the cut, as a length of the log, and with the disk as it was
/// left, mounted; for about `most` flushes. The power goes at the last moment before the next
/// flush.
fn after_each_cut(place: &Path, mut cuts: Cuts, most: usize, mut look: impl FnMut(u64, &Path)) {
    let flushes = cuts.flushes();
    // Not each third or so: that could miss the same moment in each round of the test.
    let mut choose = dice(flushes.len() as u64);
    let chosen: Vec<usize> =
        flushes.iter().copied().filter(|_| choose() % flushes.len() as u64 <= most as u64).collect();
    println!("{} flushes, {} are cuts", flushes.len(), chosen.len());
    let image = place.join("cut");
    let directory = place.join("after");
    for flush in chosen {
        let mut die = dice(flush as u64);
        let odds = die() % 100;
        let moment = cuts.last_moment(flush);
        let lefts = [cuts.after(flush, || false), cuts.after(flush, || die() % 100 < odds)];
        for left in lefts {
            std::fs::write(&image, left).unwrap();
            let mounted = Mounted::at(&image, &directory, false).expect("ext4 recovers");
            look(moment, mounted.path());
        }
    }
}

/// As many cuts as `make test` has time for.
fn cuts_max() -> usize {
    if std::env::var_os("RAILBUS_DEEP").is_some() { usize::MAX } else { 16 }
}

/// A promise of the pipeline, and the length of the log then.
enum Promise {
    Segment(u64),
    Block { segment: u64, offset: u64, fill: u8 },
}

#[test]
fn what_a_pipeline_calls_durable_survives_every_cut() {
    for io_uring in [true, false] {
        let server = Server::start(DISK_MEBIBYTES);
        mounts::apart(move |place| {
            let logged = LoggedDisk::mount(place, server)?;
            let options = DiskOptions { depth: 4, io_uring, ..DiskOptions::default() };
            let mut promises: Vec<(u64, Promise)> = Vec::new();
            let (files, mut pipeline) = open(&logged.path().join("journal"), &options);
            let prepare = |pipeline: &mut Disk, promises: &mut Vec<_>, segment| {
                pipeline.prepare(&header(segment), b"page").unwrap();
                ends(pipeline, 1);
                promises.push((logged.now(), Promise::Segment(segment)));
            };
            for segment in 1..7u64 {
                prepare(&mut pipeline, &mut promises, segment);
                for turn in 0..4u64 {
                    // Four sectors, one in each block's place, then one sync for all.
                    let fill = (segment * 16 + turn) as u8;
                    for block in 0..4 {
                        pipeline.staging(block)[..SECTOR_BYTES].fill(fill);
                        let offset = block_offset(block as u64, turn);
                        pipeline.write(segment, offset, block, SECTOR_BYTES).unwrap();
                    }
                    ends(&mut pipeline, 4);
                    pipeline.sync(segment).unwrap();
                    ends(&mut pipeline, 1);
                    let now = logged.now();
                    promises.extend((0..4).map(|block| {
                        (now, Promise::Block { segment, offset: block_offset(block, turn), fill })
                    }));
                }
                pipeline.close(segment);
                if segment == 3 {
                    // From here on segments 1 to 3 may be gone, or belong to others; their promises
                    // end.
                    promises.clear();
                    for old in 1..=3 {
                        files.retire(old, SEGMENT_BYTES).unwrap();
                    }
                }
            }
            drop((pipeline, files));
            let end = logged.now();
            let mut kept = 0;
            after_each_cut(place, logged.unplug(end), cuts_max(), |moment, disk| {
                let path = disk.join("journal");
                for (_, promise) in promises.iter().filter(|(made, _)| *made <= moment) {
                    check(&Files::open(&path).unwrap(), promise, moment);
                    kept += 1;
                }
                // Every file with a segment's name is a segment, from its first moment.
                let Ok(files) = Files::open(&path) else { return };
                for segment in files.segments().unwrap() {
                    let header = SegmentHeader::decode(&read(&files, segment, 0)).unwrap();
                    assert_eq!((header.number, files.length(segment).unwrap()), (segment, SEGMENT_BYTES));
                }
            });
            println!("{} promises were kept {kept} times", promises.len());
            assert!(kept > 100);
            Ok(())
        });
    }
}

/// Events with positions 0, 1, 2, ..., each of another length and content.
fn event(position: u64) -> Vec<u8> {
    let mut die = dice(position + 1);
    let length = match die() % 20 {
        0 => die() % 100_000, // larger than a block
        1..5 => die() % 5000,
        _ => die() % 100,
    };
    (0..length).map(|index| (position * 31 + index) as u8).collect()
}

/// Recovers the journal in `path`, and checks that this has an end.
fn recovered(path: &Path) -> (Arc<Files>, Arc<Lock>, Recovered) {
    let files = Arc::new(Files::create(path).unwrap());
    let lock = Arc::new(files.lock(PATIENCE).unwrap());
    let first = recover(&*files, path).unwrap();
    let again = recover(&*files, path).unwrap();
    assert_eq!(again.end_position, first.end_position, "{first:?}, then {again:?}");
    assert_eq!((again.torn_bytes, again.cut), (0, None), "{first:?}, then {again:?}");
    (files, lock, again)
}

/// Goes on writing a journal that was recovered.
fn writer(path: &Path, (files, lock, recovered): (Arc<Files>, Arc<Lock>, Recovered)) -> Writer<Disk> {
    let memory = StageMemory::anonymous(6).unwrap();
    let (pipeline, _) = disk::open(&files, &lock, memory, &DiskOptions::default()).unwrap();
    let template = SegmentHeader { incarnation: 1, unit: PositionUnit::Events, ..SegmentHeader::default() };
    let identity = Identity::new(template, &[7; SECTOR_BYTES], path).unwrap();
    let options = WriterOptions { segment_bytes: 1 << 20, block_bytes: 64 << 10, ..WriterOptions::default() };
    let words = StageWords::heap(6);
    Writer::new(pipeline, words, recovered.start, identity, options).unwrap()
}

/// Appends an event, however long the disk takes.
fn append(writer: &mut Writer<Disk>, position: u64, body: &[u8], mut progress: impl FnMut(u64)) {
    let word = frame::header(body.len() as u32, 0, 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while writer.append(word, position, position + 1, body, clock::realtime_ns()).is_err() {
        assert!(Instant::now() < deadline, "no room in staging for a minute");
        progress(writer.turn(clock::monotonic_ns(), Duration::from_millis(10)).unwrap().durable);
    }
}

#[test]
fn what_the_writer_calls_durable_is_recovered_after_every_cut() {
    let server = Server::start(DISK_MEBIBYTES);
    mounts::apart(|place| {
        let logged = LoggedDisk::mount(place, server)?;
        let path = logged.path().join("journal");
        let events: Vec<Vec<u8>> = (0..1000).map(event).collect();
        // Lengths of the log, and the durable positions at those times.
        let mut promises: Vec<(u64, u64)> = Vec::new();
        let mut position = 0;
        for run in 0..3 {
            let durable = promises.last().map_or(0, |&(_, durable)| durable);
            let journal = recovered(&path);
            // A run that does not finish may leave less than it has appended, and not less than it
            // has promised.
            assert!((durable..=position).contains(&journal.2.end_position), "{:?}", journal.2);
            position = journal.2.end_position;
            let mut writer = writer(&path, journal);
            let mut promise = |durable| {
                if promises.last().is_none_or(|&(_, before)| durable > before) {
                    promises.push((logged.now(), durable));
                }
            };
            let mut die = dice(run + 1);
            for _ in 0..300 {
                append(&mut writer, position, &events[position as usize], &mut promise);
                position += 1;
                if die().is_multiple_of(4) {
                    let wait = Duration::from_micros(die() % 500);
                    promise(writer.turn(clock::monotonic_ns(), wait).unwrap().durable);
                }
                // However slow the disk is, something new becomes durable now and then.
                let before = writer.durable();
                while position % 25 == 0 && writer.durable() == before {
                    promise(writer.turn(clock::monotonic_ns(), Duration::from_millis(1)).unwrap().durable);
                }
            }
            if run == 1 {
                writer.finish(clock::monotonic_ns()).unwrap();
                promise(writer.durable());
            }
        }
        let end = logged.now();
        println!("{} promises, {position} events", promises.len());
        let mut cuts = 0;
        after_each_cut(place, logged.unplug(end), cuts_max(), |moment, disk| {
            let path = disk.join("journal");
            let kept = promises.iter().take_while(|(made, _)| *made <= moment).last();
            let durable = kept.map_or(0, |&(_, durable)| durable);
            let journal = recovered(&path);
            let end = journal.2.end_position;
            assert!(end >= durable, "cut at {moment} of the log: {durable} was durable; {:?}", journal.2);
            let check = |end: u64| {
                let found = journals::held(&path).events;
                assert_eq!(found.len() as u64, end, "cut at {moment} of the log");
                for (expected, (position, body)) in found.iter().enumerate() {
                    let same = *position == expected as u64 && *body == events[expected];
                    assert!(same, "event {expected}, found as {position}; cut at {moment} of the log");
                }
            };
            check(end);
            // And it goes on from there.
            cuts += 1;
            if cuts % 8 == 0 {
                let mut writer = writer(&path, journal);
                for position in end..end + 10 {
                    append(&mut writer, position, &events[position as usize], |_| {});
                }
                writer.finish(clock::monotonic_ns()).unwrap();
                check(end + 10);
            }
        });
        assert!(promises.len() > 30, "{promises:?}");
        Ok(())
    });
}

#[test]
fn a_disk_that_fails_stops_the_writer_for_good() {
    let server = Server::start(DISK_MEBIBYTES);
    mounts::apart(|place| {
        let logged = LoggedDisk::mount(place, server)?;
        let path = logged.path().join("journal");
        let mut writer = writer(&path, recovered(&path));
        append(&mut writer, 0, b"before", |_| {});
        let durable = writer.flush(clock::monotonic_ns()).unwrap().durable;
        assert_eq!(durable, 1);
        // A write or a sync fails, or the preparation of the next segment.
        logged.fail();
        append(&mut writer, 1, b"after", |_| {});
        let failed = writer.flush(clock::monotonic_ns()).unwrap_err();
        println!("{failed}");
        let names_file = ["1.seg", "2.seg"].iter().any(|name| failed.to_string().contains(name));
        assert!(matches!(failed, Error::Io { .. }) && names_file, "{failed}");
        for _ in 0..3 {
            let again = writer.turn(clock::monotonic_ns(), Duration::ZERO).unwrap_err();
            assert_eq!(again.to_string(), failed.to_string());
        }
        assert_eq!(writer.durable(), durable, "what failed is not durable");
        Ok(())
    });
}

fn block_offset(block: u64, turn: u64) -> u64 {
    BLOCKS_OFFSET + block * BLOCK_BYTES_MAX as u64 + turn * SECTOR_BYTES as u64
}

fn read(files: &Files, segment: u64, offset: u64) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR_BYTES];
    assert_eq!(files.read_at(segment, offset, &mut bytes).unwrap(), SECTOR_BYTES);
    bytes
}

fn check(files: &Files, promise: &Promise, moment: u64) {
    match *promise {
        Promise::Segment(segment) => {
            let decoded = SegmentHeader::decode(&read(files, segment, 0)).unwrap();
            assert_eq!(decoded, header(segment), "cut at {moment} of the log");
        }
        Promise::Block { segment, offset, fill } => {
            let found = read(files, segment, offset);
            assert!(
                found == [fill; SECTOR_BYTES],
                "segment {segment} at {offset}, cut at {moment} of the log"
            );
        }
    }
}

/// Entry of the child processes.
#[test]
#[ignore = "runs in child processes only"]
fn child() {
    let Some((role, path)) = children::role() else { return };
    if role == logged_disk::ROLE {
        return logged_disk::serve(&path);
    }
    let (_files, mut pipeline) = open(&path, &DiskOptions { depth: 4, ..DiskOptions::default() });
    pipeline.prepare(&header(1), b"").unwrap();
    ends(&mut pipeline, 1);
    children::say(b"ready");
    let mut ended = Vec::new();
    for turn in 0u64.. {
        let offset = BLOCKS_OFFSET + (turn % 16) * SECTOR_BYTES as u64;
        pipeline.write(1, offset, 0, SECTOR_BYTES).unwrap();
        pipeline.complete(None, &mut ended).unwrap();
        assert!(matches!(ended.pop().unwrap().begun, Begun::Write { .. }));
    }
}

#[test]
fn the_lock_of_a_killed_writer_is_not_free_while_a_write_of_it_is_in_flight() {
    let server = Server::start(DISK_MEBIBYTES);
    mounts::apart(|place| {
        let logged = LoggedDisk::mount(place, server)?;
        let path = logged.path().join("journal");
        let mut writer = children::Actor::start("write", &path);
        writer.expect("ready");
        let files = Files::open(&path).unwrap();
        logged.hold();
        children::eventually("held back", || logged.holds());
        writer.kill();
        // The process is gone, its write is not. (The check does not write to the disk, which would
        // wait for it.)
        std::thread::sleep(Duration::from_millis(100));
        let holder = files.writer().unwrap().expect("the lock is held");
        assert!(holder.contains(&format!("on behalf of process {}", writer.pid())), "{holder}");
        let before = logged.now();
        logged.release();
        let lock = files.lock(PATIENCE).unwrap();
        assert!(logged.now() > before, "the write has ended before the lock was free");
        drop(lock);
        Ok(())
    });
}
