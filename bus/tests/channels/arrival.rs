//! Attaching to a channel that is not there yet.

use std::time::{Duration, Instant};

use railbus::{Bus, ChannelOptions, Error, Kind};

#[test]
fn a_channel_is_found_whichever_directories_are_missing() {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory");
    for depth in 0..3 {
        // The directory of all buses may be missing, and the one above it.
        let below = (0..depth).fold(base.path().join(depth.to_string()), |path, _| path.join("deeper"));
        for round in 0..20 {
            let bus = Bus::at(&below, &format!("bus{round}")).expect("a bus");
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| bus.attach_timeout("c", Duration::MAX));
                if round % 2 == 0 {
                    std::thread::sleep(Duration::from_millis(round / 2));
                }
                std::fs::create_dir_all(below.parent().expect("one")).expect("made");
                bus.create("c", &ChannelOptions::new(Kind::Topic).slots(64)).expect("made");
                let found = waiting.join().expect("no panic").expect("it is there");
                assert_eq!(found.header().slots, 64);
            });
        }
    }
}

#[test]
fn a_wait_ends_in_time_and_with_other_errors_at_once() {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let bus = Bus::at(base.path(), "demo").expect("a bus");
    let begun = Instant::now();
    for time in [Duration::ZERO, Duration::from_millis(20)] {
        let error = bus.attach_timeout("c", time).expect_err("there is none");
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
        assert!(error.to_string().contains("channel demo/c to be made"), "{error}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert!(matches!(bus.attach_timeout("no/name", Duration::MAX), Err(Error::Invalid { .. })));
    std::fs::create_dir(base.path().join("demo")).expect("made");
    std::fs::write(base.path().join("demo/c.ring"), [1; 8192]).expect("written");
    assert!(matches!(
        bus.attach_timeout("c", Duration::MAX),
        Err(Error::Corrupt { .. } | Error::Layout { .. })
    ));
}

#[test]
fn a_bus_that_comes_and_goes_is_found_at_last() {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let bus = Bus::at(base.path(), "demo").expect("a bus");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bus.attach_timeout("c", Duration::MAX));
        for _ in 0..200 {
            std::fs::create_dir(base.path().join("demo")).expect("made");
            std::fs::remove_dir(base.path().join("demo")).expect("removed");
        }
        bus.create("c", &ChannelOptions::new(Kind::Queue)).expect("made");
        waiting.join().expect("no panic").expect("it is there");
    });
}
