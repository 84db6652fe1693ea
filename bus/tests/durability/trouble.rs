//! A journal in trouble: a disk that fails, one that is full, one that stands still. Real ones,
//! each in a file system of the test's own, and limits of a process of its own.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use railbus::journal::{Io, Retention, WhenFull};
use railbus::{
    Bus, Channel, ChannelOptions, Error, JournalState, Kind, Recorder, RecorderOptions, SendError,
    SendOptions,
};
use railbus_log::disk::files::Files;
use railbus_log::disk::store::Store;
use railbus_log::format::GapReason;

use crate::children::{Actor, eventually, role, say, stay};
use crate::journals::{held, quick, small};
use crate::mounts::{Mounted, apart, make_ext4};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

fn bus(base: &Path) -> Bus {
    Bus::at(base.join("shm"), "b").expect("a bus")
}

fn stream(base: &Path) -> Channel {
    bus(base).create("c", &small(Kind::Stream)).expect("a channel")
}

/// 1000 bytes that contain their number.
fn event(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(1000, number as u8);
    bytes
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let channel = bus(&base).attach("c").expect("the channel");
    let journal = std::fs::read_link(base.join("journal")).expect("a link");
    let io = if role == "uring" { Io::Auto } else { Io::Blocking };
    let recorder = Recorder::start(&channel, journal, &quick().io(io)).expect("a recorder");
    say(b"recording");
    eventually("the limit is wanted", || base.join("limit").exists());
    // From here on no file grows beyond this, and none is written beyond it.
    let limit = 512 << 10;
    // SAFETY: a disposition that is no function.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_FSIZE, limit, limit).expect("a limit");
    say(b"limited");
    stay();
    assert!(recorder.stop().is_err());
    say(b"it said so");
}

/// A failed write ends the journal: every waiter gets the disk's own error at once, and nothing
/// that was acknowledged is missing. The next journaller has the rest from the staging and the
/// ring.
#[test]
fn a_failed_write_poisons_the_journal_and_reaches_waiters_at_once() {
    for io in ["uring", "blocking"] {
        let shm =
            tempfile::Builder::new().prefix("railbus-trouble-").tempdir_in("/dev/shm").expect("a directory");
        let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        std::os::unix::fs::symlink(disk.path(), shm.path().join("journal")).expect("a link");
        let channel = stream(shm.path());
        let mut journaller = Actor::start(io, shm.path());
        journaller.expect("recording");
        let mut publisher = channel.publisher(&SendOptions::default()).expect("a publisher");
        let mut sent = Vec::new();
        let mut durable = 0;
        for number in 0..100 {
            let position = publisher.publish_durable(&event(number), LONG).expect("durable");
            sent.push((position, event(number)));
            durable = position;
        }
        let waiting = {
            let channel = channel.clone();
            // A position far beyond all that will ever be published.
            std::thread::spawn(move || channel.wait_durable(1 << 40, LONG))
        };
        std::fs::write(shm.path().join("limit"), "").expect("a file");
        journaller.expect("limited");
        let mut number = 100;
        while !waiting.is_finished() {
            match publisher.publish_timeout(&event(number), SHORT) {
                Ok(position) => sent.push((position, event(number))),
                Err(SendError::TimedOut) => continue,
                Err(error) => panic!("{error}"),
            }
            number += 1;
        }
        let told = waiting.join().expect("it ends").expect_err("nothing was published there");
        assert!(matches!(&told, Error::Io { .. }), "{io}: {told:?}");
        let positions = channel.journal_positions().expect("positions");
        assert_eq!(positions.state, JournalState::Poisoned);
        assert!(positions.error.is_some_and(|text| text.contains("os error 27")), "EFBIG is what it was");
        let again = channel.wait_durable(1 << 40, LONG).map(drop);
        assert!(matches!(again, Err(Error::Io { .. })), "{again:?}");
        channel.wait_durable(durable, Duration::ZERO).expect("what was durable stays so");
        assert!(journaller.finish().success());
        Recorder::start(&channel, disk.path(), &quick()).expect("a recorder").stop().expect("a clean end");
        let held = held(&disk.path().join("b").join("c"));
        assert!(held.gaps.is_empty() && held.events == sent, "{io}: {} of {}", held.events.len(), sent.len());
    }
}

/// A small disk, most of which is taken by a file that can be removed.
fn small_disk(place: &Path) -> Result<(Mounted, std::path::PathBuf), String> {
    let image = place.join("image");
    make_ext4(&image, 16)?;
    let disk = Mounted::at(&image, &place.join("disk"), false)?;
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).map_err(|error| error.to_string())?;
    Ok((disk, ballast))
}

#[test]
fn a_full_disk_holds_publishers_back_until_there_is_room_and_nothing_is_lost() {
    apart(|place| {
        let (disk, ballast) = small_disk(place)?;
        let channel = stream(place);
        let mut publisher = channel.publisher(&SendOptions::default()).expect("a publisher");
        let recorder = Recorder::start(&channel, disk.path(), &quick()).expect("a recorder");
        let mut sent = Vec::new();
        let mut number = 0;
        // More than the disk, the staging and the ring hold.
        let refused = loop {
            assert!(number < 40_000, "a disk of 16 MiB does not hold that");
            match publisher.publish_timeout(&event(number), Duration::from_millis(500)) {
                Ok(position) => sent.push((position, event(number))),
                Err(error) if channel.journal_positions().expect("positions").no_space => break error,
                Err(error) => assert_eq!(error, SendError::TimedOut),
            }
            number += 1;
        };
        assert_eq!(refused, SendError::TimedOut);
        let last = sent.last().map_or(0, |&(position, _)| position);
        let told = channel.wait_written(last, SHORT).map(drop);
        assert!(matches!(told, Err(Error::TimedOut { .. })), "it may still come: {told:?}");
        // Stopped like this, it cannot write the events that it holds; its successor can.
        let stopped = recorder.stop().expect_err("the disk is full").to_string();
        assert!(stopped.contains("space") || stopped.contains("room"), "{stopped}");
        std::fs::remove_file(ballast).map_err(|error| error.to_string())?;
        let recorder = Recorder::start(&channel, disk.path(), &quick()).expect("a recorder");
        assert!(recorder.report().taken_over > 0);
        for number in 50_000..50_500 {
            sent.push((publisher.publish_timeout(&event(number), LONG).expect("room"), event(number)));
        }
        recorder.stop().expect("a clean end");
        let held = held(&disk.path().join("b").join("c"));
        // An event that was refused was not published: its number is missing here and there.
        assert!(held.gaps.is_empty() && held.events == sent, "{} of {}", held.events.len(), sent.len());
        Ok(())
    });
}

#[test]
fn a_full_disk_lets_events_go_when_it_is_told_to_and_says_which() {
    apart(|place| {
        let (disk, ballast) = small_disk(place)?;
        let channel = stream(place);
        let mut publisher = channel.publisher(&SendOptions::default()).expect("a publisher");
        let options = quick().when_full(WhenFull::Drop);
        let recorder = Recorder::start(&channel, disk.path(), &options).expect("a recorder");
        let mut sent = Vec::new();
        let mut told = false;
        for number in 0..30_000 {
            let position = publisher.publish_timeout(&event(number), LONG).expect("nobody is held back");
            sent.push((position, event(number)));
            if number % 1000 == 999 && !told {
                told = matches!(channel.wait_written(position, SHORT), Err(Error::NoSpace { .. }));
            }
        }
        assert!(told, "who waits for an event that was dropped is told");
        std::fs::remove_file(ballast).map_err(|error| error.to_string())?;
        let mut number = 50_000;
        eventually("it records again", || {
            let position = publisher.publish_timeout(&event(number), LONG).expect("room");
            sent.push((position, event(number)));
            number += 1;
            channel.wait_durable(position, SHORT).is_ok()
        });
        recorder.stop().expect("a clean end");
        let held = held(&disk.path().join("b").join("c"));
        assert!(!held.gaps.is_empty() && held.gaps.iter().all(|gap| gap.reason == GapReason::DiskFull));
        let is_missing = |position| held.gaps.iter().any(|gap| (gap.from..gap.to).contains(&position));
        let (missing, kept): (Vec<_>, Vec<_>) =
            sent.into_iter().partition(|(position, _)| is_missing(*position));
        assert!(held.events == kept, "{} of {}", held.events.len(), kept.len());
        assert_eq!(held.gaps.iter().map(|gap| gap.events).sum::<u64>(), missing.len() as u64);
        Ok(())
    });
}

/// Retention, and a process that removes the same segments at the same time.
#[test]
fn retention_beside_other_removers_stops_nothing() {
    let shm =
        tempfile::Builder::new().prefix("railbus-trouble-").tempdir_in("/dev/shm").expect("a directory");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let channel = stream(shm.path());
    let retention = Retention::default().max_bytes(Some(1 << 20));
    let recorder = Recorder::start(&channel, disk.path(), &quick().retention(retention)).expect("a recorder");
    let directory = disk.path().join("b").join("c");
    let mut publisher = channel.publisher(&SendOptions::default()).expect("a publisher");
    let stop = Arc::new(AtomicBool::new(false));
    let remover = {
        let (directory, stop) = (directory.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let files = Files::open(&directory).expect("the journal");
            while !stop.load(Ordering::Relaxed) {
                let segments = files.segments().expect("a list");
                // The two newest are in use.
                for &segment in segments.iter().rev().skip(3) {
                    let _ = files.remove(segment);
                }
            }
        })
    };
    for number in 0..30_000 {
        publisher.publish_timeout(&event(number), LONG).expect("it goes on");
    }
    let last = publisher.publish_durable(&event(30_000), LONG).expect("durable");
    stop.store(true, Ordering::Relaxed);
    remover.join().expect("it ends");
    let positions = channel.journal_positions().expect("positions");
    assert_eq!(positions.state, JournalState::Recording);
    assert!(positions.durable > last && recorder.status().is_some_and(|status| status.error.is_none()));
    recorder.stop().expect("a clean end");
}

/// Freezes a file system: every write to it waits until it is thawed, which happens on drop at the
/// latest.
struct Frozen(File);

const FIFREEZE: libc::c_ulong = 0xC004_5877;
const FITHAW: libc::c_ulong = 0xC004_5878;

impl Frozen {
    fn freeze(directory: &Path) -> Result<Frozen, String> {
        let file = File::open(directory).map_err(|error| error.to_string())?;
        // SAFETY: the argument of this request is not used.
        match unsafe { libc::ioctl(file.as_raw_fd(), FIFREEZE, 0) } {
            0 => Ok(Frozen(file)),
            _ => Err(format!("freeze: {}", std::io::Error::last_os_error())),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::ioctl(self.0.as_raw_fd(), FITHAW, 0) };
    }
}

#[test]
fn a_disk_that_stands_still_is_not_felt_before_staging_and_ring_are_full() {
    for io in [Io::Auto, Io::Blocking] {
        apart(move |place| {
            let image = place.join("image");
            make_ext4(&image, 64)?;
            let disk = Mounted::at(&image, &place.join("disk"), false)?;
            let channel = bus(place)
                .create("c", &ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 20))
                .expect("one");
            let options = RecorderOptions::default().io(io).staging_bytes(8 << 20).segment_bytes(16 << 20);
            let recorder = Recorder::start(&channel, disk.path(), &options).expect("a recorder");
            let mut publisher = channel.publisher(&SendOptions::default()).expect("a publisher");
            let mut sent = Vec::new();
            for number in 0..100 {
                sent.push((publisher.publish_durable(&event(number), LONG).expect("durable"), event(number)));
            }
            let frozen = Frozen::freeze(disk.path())?;
            let mut number = 100;
            // Blocks are sealed early while the disk is idle, and one is kept: at least three
            // quarters are there.
            while number < 6000 {
                let position = publisher.publish_timeout(&event(number), LONG).expect("the disk is not felt");
                sent.push((position, event(number)));
                number += 1;
            }
            let last = sent.last().map_or(0, |&(position, _)| position);
            let waited = channel.wait_durable(last, SHORT).map(drop);
            assert!(matches!(waited, Err(Error::TimedOut { .. })), "{waited:?}");
            // In the end it is: there is no other place.
            let refused = loop {
                assert!(number < 12_000, "more than staging and ring hold");
                match publisher.publish_timeout(&event(number), Duration::from_millis(500)) {
                    Ok(position) => sent.push((position, event(number))),
                    Err(error) => break error,
                }
                number += 1;
            };
            assert_eq!(refused, SendError::TimedOut);
            drop(frozen);
            channel.wait_durable(sent.last().map_or(0, |&(position, _)| position), LONG).expect("durable");
            recorder.stop().expect("a clean end");
            let held = held(&disk.path().join("b").join("c"));
            assert!(held.gaps.is_empty() && held.events == sent, "{} of {}", held.events.len(), sent.len());
            Ok(())
        });
    }
}
