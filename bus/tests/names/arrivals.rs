//! Waiting for a channel that is not there yet.
//!
//! A pass does not prove how soon a waiter finds the channel. That it sleeps in the kernel until then
//! is shown by `tools/tests/arrival.rs`.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use railbus::{Bus, Channel, ChannelOptions, Error, Kind, RecvError, SendOptions, Start, SubscribeOptions};

const HANG: Duration = Duration::from_secs(60);

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm")
}

fn options() -> ChannelOptions {
    ChannelOptions::new(Kind::Stream).capacity_bytes(4096)
}

/// Waits for channel "c" in a thread, and at the same time calls `act` with a function that asserts that
/// the thread still waits.
fn await_beside(bus: &Bus, act: impl FnOnce(&dyn Fn())) -> railbus::Result<Channel> {
    let (done, is_done) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || done.send(bus.attach_timeout("c", HANG)));
        let waits = || {
            let early = is_done.recv_timeout(Duration::from_millis(30));
            assert!(matches!(early, Err(mpsc::RecvTimeoutError::Timeout)), "{early:?}");
        };
        act(&waits);
        is_done.recv().expect("it ends")
    })
}

#[test]
fn a_channel_that_is_there_is_attached_at_once_and_another_times_out() {
    let base = directory();
    let bus = Bus::at(base.path(), "b").unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(20)] {
        let error = bus.attach_timeout("c", timeout).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }) && error.exit_code() == 8, "{error}");
        assert!(error.to_string().contains("channel b/c to be made"), "{error}");
    }
    bus.create("c", &options()).unwrap();
    assert_eq!(bus.attach_timeout("c", Duration::ZERO).unwrap().name().channel(), "c");
    assert!(matches!(bus.attach_timeout("no/name", HANG), Err(Error::Invalid { .. })));
}

#[test]
fn a_channel_is_found_when_its_bus_and_base_were_missing_too() {
    let above = directory();
    for base in ["there", "not/there/yet"] {
        let bus = Bus::at(above.path().join(base), "b").unwrap();
        let found = await_beside(&bus, |waits| {
            waits();
            // Directories that lead elsewhere change nothing.
            std::fs::create_dir(above.path().join(format!("other-{}", base.len()))).unwrap();
            waits();
            std::fs::create_dir_all(bus.base()).unwrap();
            waits();
            bus.create("other", &options()).unwrap();
            waits();
            bus.create("c", &options()).unwrap();
        });
        assert_eq!(found.unwrap().name().to_string(), "b/c");
    }
}

#[test]
fn a_bus_that_comes_and_goes_does_not_lose_the_waiter() {
    let base = directory();
    let bus = Bus::at(base.path().join("base"), "b").unwrap();
    let found = await_beside(&bus, |waits| {
        for _ in 0..20 {
            std::fs::create_dir_all(bus.base().join("b")).unwrap();
            std::fs::remove_dir_all(bus.base()).unwrap();
        }
        waits();
        std::fs::create_dir_all(bus.base().join("b")).unwrap();
        waits();
        std::fs::remove_dir_all(bus.base()).unwrap();
        bus.create("c", &options()).unwrap();
    });
    found.unwrap();
}

/// A creator that is killed between the two links leaves `.acks` alone.
#[test]
fn a_half_made_channel_is_not_seen() {
    let base = directory();
    let bus = Bus::at(base.path(), "b").unwrap();
    bus.create("c", &options()).unwrap();
    let (ring, aside) = (base.path().join("b/c.ring"), base.path().join("aside"));
    std::fs::rename(&ring, &aside).unwrap();
    let found = await_beside(&bus, |waits| {
        waits();
        // Some files that are not the channel.
        std::fs::write(base.path().join("b/c.ring~"), b"").unwrap();
        std::fs::write(base.path().join("b/d.ring"), b"").unwrap();
        waits();
        std::fs::hard_link(&aside, &ring).unwrap();
    });
    found.unwrap().subscriber(&SubscribeOptions::default()).unwrap();
}

#[test]
fn a_wrong_channel_ends_the_wait_with_its_error() {
    let base = directory();
    let bus = Bus::at(base.path(), "b").unwrap();
    let found = await_beside(&bus, |waits| {
        std::fs::create_dir(base.path().join("b")).unwrap();
        waits();
        std::fs::write(base.path().join("aside"), [7; 8192]).unwrap();
        std::fs::rename(base.path().join("aside"), base.path().join("b/c.ring")).unwrap();
    });
    let error = found.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. } | Error::Layout { .. }), "{error}");
    let bus = Bus::at(base.path().join("b/c.ring"), "b").unwrap();
    assert!(!matches!(bus.attach_timeout("c", HANG), Err(Error::TimedOut { .. }) | Ok(_)));
}

#[test]
fn a_channel_that_is_made_while_many_wait_is_found_by_all() {
    let base = directory();
    let base: &Path = base.path();
    for round in 0..30 {
        let bus = Bus::at(base, &format!("b{round}")).unwrap();
        std::thread::scope(|scope| {
            let waiters: Vec<_> =
                (0..4).map(|_| scope.spawn(|| bus.attach_timeout("c", HANG).map(drop))).collect();
            // Sometimes before they wait, sometimes afterwards.
            std::thread::sleep(Duration::from_micros(100 * (round % 10)));
            bus.create("c", &options()).unwrap();
            for waiter in waiters {
                waiter.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_reader_follows_a_channel_that_is_made_again() {
    let base = directory();
    let bus = Bus::at(base.path(), "b").unwrap();
    let all = SubscribeOptions::default().start(Start::Last(u64::MAX));
    let mut channel = bus.create("c", &options()).unwrap();
    for round in 0..5u8 {
        let mut reader = channel.subscriber(&all).unwrap();
        channel.publisher(&SendOptions::default()).unwrap().publish(&[round]).unwrap();
        assert_eq!(&*reader.recv().unwrap(), [round]);
        bus.remove("c").unwrap();
        let remade = std::thread::scope(|scope| {
            let maker = scope.spawn(|| bus.create("c", &options()).unwrap());
            assert_eq!(reader.recv_timeout(HANG).map(drop), Err(RecvError::Removed));
            let found = bus.attach_timeout("c", HANG).unwrap();
            maker.join().unwrap();
            found
        });
        assert!(channel.is_removed().unwrap() && !remade.is_removed().unwrap());
        channel = remade;
    }
}

#[test]
fn the_wait_is_as_long_as_it_was_asked_for_although_others_are_made() {
    let base = directory();
    let bus = Bus::at(base.path(), "b").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Relaxed: the flag orders nothing else.
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                bus.create("other", &options()).unwrap();
                bus.remove("other").unwrap();
            }
        });
        let (started, wanted) = (Instant::now(), Duration::from_millis(50));
        let error = bus.attach_timeout("c", wanted).unwrap_err();
        assert!(matches!(error, Error::TimedOut { after_ms: 50, .. }), "{error}");
        assert!(started.elapsed() >= wanted && started.elapsed() < HANG);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
