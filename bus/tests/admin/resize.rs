//! Making a channel again with another size: events that were not read or done are there, under the
//! same identity, and the caller learns which participant is in the way.

use std::time::Duration;

use railbus::admin::Resize;
use railbus::internal::Role;
use railbus::{
    Bus, Channel, ChannelOptions, Error, Kind, Recorder, RecvError, SendError, SendOptions, SubscribeOptions,
    WorkOptions,
};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::{frame, layout};

use crate::journals::{Place, held, quick};

fn base() -> (tempfile::TempDir, Bus) {
    let base = tempfile::Builder::new().prefix("railbus-resize-").tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "b").unwrap();
    (base, bus)
}

fn durable(name: &str) -> SubscribeOptions {
    SubscribeOptions::default().name(name).durable(true)
}

fn small(kind: Kind) -> ChannelOptions {
    match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096),
        _ => ChannelOptions::new(kind).slots(64).slot_bytes(128),
    }
}

/// Events of different lengths, each of which contains its number.
fn event(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number * 13 % 50) as usize, number as u8);
    bytes
}

fn number(payload: &[u8]) -> u64 {
    let number = u64::from_le_bytes(*payload.first_chunk().expect("8 bytes"));
    assert_eq!(payload, event(number), "torn");
    number
}

fn publish(channel: &Channel, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let options = SendOptions::default();
    match channel.header().kind {
        Kind::Stream => {
            let mut sender = channel.publisher(&options).unwrap();
            numbers.map(|i| sender.try_publish(&event(i)).unwrap()).collect()
        }
        Kind::Topic => {
            let mut sender = channel.topic_publisher(&options).unwrap();
            numbers.map(|i| sender.try_publish(&event(i)).unwrap()).collect()
        }
        Kind::Queue => {
            let mut sender = channel.producer(&options).unwrap();
            numbers.map(|i| sender.try_publish(&event(i)).unwrap()).collect()
        }
        Kind::Table => unreachable!("a table has no events"),
    }
}

fn read(channel: &Channel, name: &str, most: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut take = |received: Result<Option<u64>, RecvError>| {
        numbers.extend(received.unwrap());
        numbers.len() < most
    };
    match channel.header().kind {
        Kind::Stream => {
            let mut reader = channel.subscriber(&durable(name)).unwrap();
            let mut left = most;
            while left > 0 && take(reader.try_recv().map(|event| event.map(|event| number(&event)))) {
                left -= 1;
            }
        }
        Kind::Topic => {
            let mut reader = channel.topic_subscriber(&durable(name)).unwrap();
            let mut left = most;
            while left > 0 && take(reader.try_recv().map(|event| event.map(|event| number(&event)))) {
                left -= 1;
            }
        }
        Kind::Queue => {
            let mut reader = channel.tap(&durable(name)).unwrap();
            let mut left = most;
            while left > 0 && take(reader.try_recv().map(|event| event.map(|event| number(&event)))) {
                left -= 1;
            }
        }
        Kind::Table => unreachable!("a table has no events"),
    }
    numbers
}

fn sizes(kind: Kind, bytes: u64, slots: u64) -> Resize {
    match kind {
        Kind::Stream => Resize { capacity_bytes: Some(bytes), ..Resize::default() },
        _ => Resize { slots: Some(slots), ..Resize::default() },
    }
}

#[test]
fn what_was_not_read_or_done_is_there_again_and_the_channel_goes_on() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        for (bytes, slots) in [(16 << 10, 256), (2048 * 2, 64), (64 << 10, 1024)] {
            let (base, bus) = base();
            let old =
                bus.create("c", &small(kind).max_attempts(if kind == Kind::Queue { 3 } else { 0 })).unwrap();
            assert_eq!(read(&old, "early", 0), []);
            // Several laps, so that it begins in the middle of one.
            for lap in 0..6 {
                publish(&old, lap * 40..(lap + 1) * 40);
                assert_eq!(read(&old, "early", 100).len(), 40);
                if kind == Kind::Queue {
                    assert_eq!(old.purge(false).unwrap().events, 40);
                }
            }
            publish(&old, 240..250);
            assert_eq!(read(&old, "late", 0), []);
            publish(&old, 250..260);
            assert_eq!(read(&old, "early", 3), [240, 241, 242]);
            if kind == Kind::Queue {
                let mut worker = old.worker(&WorkOptions::default().grab(1)).unwrap();
                let jobs: Vec<_> = (0..6).map(|_| worker.take_ticket().unwrap().unwrap()).collect();
                assert!(worker.done(jobs[1]) && worker.done(jobs[4]) && worker.retry(jobs[2]));
            }
            let would = old.resize(&sizes(kind, bytes, slots), true).unwrap();
            let resized = old.resize(&sizes(kind, bytes, slots), false).unwrap();
            assert_eq!(would.carried, resized.carried);
            assert_eq!(resized.carried.subscriptions, 2);
            let (before, after) = (old.header(), resized.channel.header());
            assert_eq!((after.channel_id, after.incarnation), (before.channel_id, 2));
            assert_eq!(after.first_position, resized.first_position);
            let channel = bus.attach("c").unwrap();
            assert_eq!(channel.header(), after);
            match kind {
                Kind::Stream => assert_eq!(after.capacity_bytes, bytes),
                _ => assert_eq!(after.slots, slots),
            }
            // Nothing is left behind.
            let names = std::fs::read_dir(base.path().join("b")).unwrap();
            let names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
            assert_eq!(names.len(), if kind == Kind::Queue { 5 } else { 3 }, "{names:?}");
            let first_new = publish(&channel, 260..265)[0];
            assert!(first_new >= resized.first_position, "{first_new}");
            assert_eq!(
                read(&channel, "early", 100),
                (243..265).collect::<Vec<_>>(),
                "{kind} {bytes} {slots}"
            );
            assert_eq!(read(&channel, "late", 100), (250..265).collect::<Vec<_>>());
            if kind == Kind::Queue {
                let mut worker = channel.worker(&WorkOptions::default()).unwrap();
                let mut got = std::collections::BTreeMap::new();
                while let Some(job) = worker.try_take().unwrap() {
                    assert!(got.insert(number(&job), job.attempt()).is_none());
                    let _ = job.done();
                }
                let all: Vec<u64> = (240..265).filter(|i| ![241, 244].contains(i)).collect();
                assert_eq!(got.keys().copied().collect::<Vec<_>>(), all);
                assert_eq!((got[&240], got[&242], got[&245], got[&246]), (2, 2, 2, 1));
            }
            // And it goes on for laps.
            for lap in 0..40 {
                publish(&channel, lap * 20..(lap + 1) * 20);
                assert_eq!(read(&channel, "early", 100).len(), 20);
                assert_eq!(read(&channel, "late", 100).len(), 20);
                if kind == Kind::Queue {
                    assert_eq!(channel.purge(false).unwrap().events, 20);
                }
            }
        }
    }
}

#[test]
fn who_takes_part_is_named_and_who_comes_late_is_told() {
    let (_base, bus) = base();
    let channel = bus.create("c", &small(Kind::Topic)).unwrap();
    let resize = sizes(Kind::Topic, 0, 128);
    let holder = channel.topic_subscriber(&durable("audit")).unwrap();
    let refused = channel.resize(&resize, false).unwrap_err().to_string();
    assert!(refused.contains(&format!("subscriber {} (audit) take part", std::process::id())), "{refused}");
    assert_eq!(channel.resize(&resize, true).unwrap_err().to_string(), refused);
    // It waits for the given time.
    let leaver = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(holder);
    });
    let patient = Resize { wait: Duration::from_secs(60), ..resize.clone() };
    let resized = channel.resize(&patient, false).unwrap();
    leaver.join().unwrap();
    for refused in [
        channel.topic_publisher(&SendOptions::default()).map(drop),
        channel.topic_subscriber(&durable("audit")).map(drop),
        channel.resize(&resize, false).map(drop),
    ] {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("attach again") || text.contains("does not exist"), "{text}");
    }
    assert_eq!(read(&resized.channel, "audit", 10), []);
    let nothing = resized.channel.resize(&Resize { capacity_bytes: Some(4096), ..Resize::default() }, false);
    assert!(matches!(nothing, Err(Error::Invalid { .. })));
    assert_eq!(bus.attach("c").unwrap().header().incarnation, 2);
}

#[test]
fn what_does_not_fit_is_refused_unless_it_is_given_up() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let (_base, bus) = base();
        let options = match kind {
            Kind::Stream => small(kind).capacity_bytes(16 << 10),
            _ => small(kind).slots(256),
        };
        let channel = bus.create("c", &options).unwrap();
        let _ = read(&channel, "audit", 0);
        publish(&channel, 0..100);
        let mut resize = sizes(kind, 4096, 64);
        for dry_run in [true, false] {
            let refused = channel.resize(&resize, dry_run).unwrap_err().to_string();
            assert!(refused.contains("--discard") && refused.contains("take"), "{kind}: {refused}");
        }
        resize.discard = true;
        let resized = channel.resize(&resize, false).unwrap();
        assert_eq!(resized.carried.events, 100);
        assert_eq!(read(&resized.channel, "audit", 10), []);
        publish(&resized.channel, 7..9);
        assert_eq!(read(&resized.channel, "audit", 10), [7, 8]);
        let too_small = Resize { consumers_max: Some(1), ..Resize::default() };
        let _ = read(&resized.channel, "second", 0);
        let refused = resized.channel.resize(&too_small, false).unwrap_err().to_string();
        assert!(refused.contains("2 durable subscriptions"), "{refused}");
    }
    let (_base, bus) = base();
    let queue = bus.create("q", &small(Kind::Queue).max_attempts(2)).unwrap();
    let large = Resize { slot_bytes: Some(256), ..Resize::default() };
    let refused = queue.resize(&large, false).unwrap_err().to_string();
    assert!(refused.contains("b/q.dead takes its dead letters"), "{refused}");
    bus.attach("q.dead")
        .unwrap()
        .resize(&Resize { slot_bytes: Some(512), ..Resize::default() }, false)
        .unwrap();
    assert_eq!(queue.resize(&large, false).unwrap().channel.header().slot_bytes, 256);
    let small = Resize { slot_bytes: Some(256), ..Resize::default() };
    let refused = bus.attach("q.dead").unwrap().resize(&small, false).unwrap_err().to_string();
    assert!(refused.contains("b/q sends its dead letters"), "{refused}");
}

#[test]
fn publishers_that_number_their_events_go_on_where_they_were() {
    let numbered = SendOptions::default().name("feed").sequenced(true);
    let (_base, bus) = base();
    let topic = bus.create("t", &small(Kind::Topic)).unwrap();
    topic.topic_publisher(&numbered).unwrap().publish_numbered(77, b"x", &Default::default()).unwrap();
    let resized = topic.resize(&sizes(Kind::Topic, 0, 128), false).unwrap();
    assert_eq!(resized.channel.topic_publisher(&numbered).unwrap().resume_point(), Some(77));
}

#[test]
fn stamped_channels_keep_their_histograms_file_and_rights_stay() {
    use std::os::unix::fs::PermissionsExt;
    let (base, bus) = base();
    let topic = bus.create("t", &small(Kind::Topic).stamp(true)).unwrap();
    let ring = base.path().join("b/t.ring");
    std::fs::set_permissions(&ring, std::fs::Permissions::from_mode(0o640)).unwrap();
    let resized = topic.resize(&sizes(Kind::Topic, 0, 128), false).unwrap();
    assert_eq!(std::fs::metadata(&ring).unwrap().permissions().mode() & 0o777, 0o640);
    let mut reader = resized.channel.topic_subscriber(&SubscribeOptions::default()).unwrap();
    publish(&resized.channel, 0..3);
    while reader.try_recv().unwrap().is_some() {}
    assert_eq!(resized.channel.latencies().unwrap().map(|all| all.consumers.len()), Some(1));
}

#[test]
fn a_recorded_topic_is_recorded_on_without_a_gap() {
    let place = Place::new();
    let topic = place.bus().create("t", &small(Kind::Topic)).unwrap();
    let _ = read(&topic, "audit", 0);
    let recorder = Recorder::start(&topic, place.journal(), &quick()).unwrap();
    publish(&topic, 0..50);
    let refused = topic.resize(&sizes(Kind::Topic, 0, 128), false).unwrap_err().to_string();
    assert!(refused.contains(".journal"), "{refused}");
    recorder.stop().unwrap();
    // Events that the journal does not have yet are held for it, and carried over.
    publish(&topic, 50..60);
    let resized = topic.resize(&sizes(Kind::Topic, 0, 128), false).unwrap();
    assert_eq!(resized.carried.events, 60);
    let recorder = Recorder::start(&resized.channel, place.journal(), &quick()).unwrap();
    publish(&resized.channel, 60..100);
    recorder.stop().unwrap();
    assert_eq!(read(&resized.channel, "audit", 1000), (0..100).collect::<Vec<_>>());
    let held = held(&place.directory("t"));
    assert!(held.gaps.is_empty(), "{:?}", held.gaps);
    let recorded: Vec<(u64, u64)> = held.events.iter().map(|(at, body)| (*at, number(body))).collect();
    assert_eq!(recorded, (0..100).map(|i| (i, i)).collect::<Vec<_>>());
}

#[test]
fn a_full_ring_stays_full_and_a_larger_one_has_room() {
    let (_base, bus) = base();
    let topic = bus.create("t", &small(Kind::Topic)).unwrap();
    let _ = read(&topic, "audit", 0);
    publish(&topic, 0..64);
    let full = |channel: &Channel| {
        channel.topic_publisher(&SendOptions::default()).unwrap().try_publish(&event(64)).err()
    };
    assert_eq!(full(&topic), Some(SendError::Full));
    let same = topic.resize(&Resize { consumers_max: Some(8), ..Resize::default() }, false).unwrap().channel;
    assert_eq!(full(&same), Some(SendError::Full));
    let larger = same.resize(&sizes(Kind::Topic, 0, 128), false).unwrap().channel;
    assert_eq!(larger.header().incarnation, 3);
    publish(&larger, 64..128);
    assert_eq!(full(&larger), Some(SendError::Full));
    assert_eq!(read(&larger, "audit", 1000), (0..128).collect::<Vec<_>>());
}

#[test]
fn an_end_that_no_publisher_has_reached_is_corrupt_and_makes_no_endless_walk() {
    let (base, bus) = base();
    let channel = bus.create("s", &small(Kind::Stream)).unwrap();
    read(&channel, "audit", 0);
    publish(&channel, 0..3);
    let attached = railbus::internal::attach(base.path(), &"b/s".parse().unwrap()).unwrap();
    let maps = attached.map(Role::Producer).unwrap();
    // SAFETY: the maps outlive the memories, and belong to a producer, which may write both.
    let (ring, data) = unsafe { (maps.ring.memory(false), maps.data.memory(false)) };
    // A ring full of frames, none of which starts at the empty header at byte 8, and an end that
    // lies there.
    for at in (0..4096).step_by(16) {
        data.store(at, frame::header(8, 0, 0), Edge::Commit);
        data.store(at + 8, 0, Edge::Plain);
    }
    let end = (1u64 << 60) + 8;
    for entry in [0, 32] {
        for word in [0, 16] {
            ring.store(layout::ANCHOR_ENTRIES + entry + word, end, Edge::Plain);
        }
    }
    ring.store(layout::ANCHOR_FLOOR, end, Edge::Places);
    drop(maps);
    for dry_run in [true, false] {
        let (told, hear) = std::sync::mpsc::channel();
        let channel = channel.clone();
        let resize =
            Resize { capacity_bytes: Some(8192), wait: Duration::from_secs(10), ..Resize::default() };
        std::thread::spawn(move || told.send(channel.resize(&resize, dry_run).map(|_| ())));
        let outcome = hear.recv_timeout(Duration::from_secs(60)).expect("it ends");
        assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{outcome:?}");
    }
}
