//! A channel whose shared memory is gone is made again from its journal, with everything that must
//! go on.

use std::time::Duration;

use railbus::journal::{lost, restore};
use railbus::{
    Attributes, Bus, ChannelOptions, Error, Kind, Overflow, Recorder, SendError, SendOptions, Start,
    SubscribeOptions,
};

use crate::children;
use crate::children::{Actor, role, say, stay};
use crate::journals::{Place, held, quick, small};

const LONG: Duration = Duration::from_secs(60);

/// The effect of a reboot on a bus.
fn lose(place: &Place) {
    std::fs::remove_dir_all(place.base.path().join("b")).expect("the files of the bus");
}

fn durable(name: &str) -> SubscribeOptions {
    SubscribeOptions::default().name(name).durable(true).start(Start::Oldest)
}

#[test]
fn a_stream_goes_on_where_its_journal_ends_again_and_again() {
    let place = Place::new();
    let permissions = railbus::Permissions { ring_mode: 0o640, acks_mode: 0o660, ..Default::default() };
    let options = small(Kind::Stream).stamp(true).permissions(permissions).consumers_max(7);
    let mut channel = place.bus().create("c", &options).expect("a channel");
    let id = channel.header().channel_id;
    let mut sent = Vec::new();
    for incarnation in 1..=4u64 {
        let header = channel.header().clone();
        assert_eq!((header.channel_id, header.incarnation), (id, incarnation));
        assert_eq!((header.capacity_bytes, header.consumers_max, header.stamp), (64 << 10, 7, true));
        use std::os::unix::fs::MetadataExt;
        let mode = |path| std::fs::metadata(path).expect("a file").mode() & 0o777;
        assert_eq!((mode(&channel.paths().ring), mode(&channel.paths().acks)), (0o640, 0o660));
        let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
        let mut publisher = channel.publisher(&SendOptions::default()).expect("a publisher");
        for number in 0..3000u64 {
            let payload = (incarnation << 32 | number).to_le_bytes();
            sent.push(publisher.publish(&payload).expect("room"));
        }
        recorder.stop().expect("a clean end");
        drop(publisher);
        lose(&place);
        assert_eq!(lost(place.base.path(), place.journal()).expect("a list").len(), 1);
        let restored = restore(&place.bus(), "c", place.journal()).expect("made again");
        assert!(restored.first_position > *sent.last().expect("events"));
        channel = restored.channel;
        assert!(lost(place.base.path(), place.journal()).expect("a list").is_empty());
        let again = restore(&place.bus(), "c", place.journal()).map(drop);
        assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
    }
    let held = held(&place.directory("c"));
    let positions: Vec<u64> = held.events.iter().map(|(position, _)| *position).collect();
    assert!(positions == sent && held.gaps.is_empty());
}

#[test]
fn nothing_published_between_the_restore_and_the_journallers_start_is_missing() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let place = Place::new();
        let channel = place.bus().create("c", &small(kind)).expect("a channel");
        Recorder::start(&channel, place.journal(), &quick())
            .expect("a recorder")
            .stop()
            .expect("a clean end");
        lose(&place);
        let channel = restore(&place.bus(), "c", place.journal()).expect("made again").channel;
        let options = SendOptions::default();
        let mut published = 0u64;
        // Until the ring is full: it is held for the journaller.
        match kind {
            Kind::Stream => {
                let mut sender = channel.publisher(&options).expect("a publisher");
                while sender.try_publish(&published.to_le_bytes()).is_ok() {
                    published += 1;
                }
            }
            Kind::Topic => {
                let mut sender = channel.topic_publisher(&options).expect("a publisher");
                while sender.try_publish(&published.to_le_bytes()).is_ok() {
                    published += 1;
                }
            }
            Kind::Queue => {
                let mut sender = channel.producer(&options).expect("a producer");
                while sender.try_publish(&published.to_le_bytes()).is_ok() {
                    published += 1;
                }
            }
            Kind::Table => unreachable!("a table has no events"),
        }
        assert!(published >= 256);
        Recorder::start(&channel, place.journal(), &quick())
            .expect("a recorder")
            .stop()
            .expect("a clean end");
        let held = held(&place.directory("c"));
        assert!(held.gaps.is_empty() && held.events.len() as u64 == published, "{kind}");
    }
}

#[test]
fn a_queues_unfinished_events_are_delivered_again_and_its_finished_ones_are_not() {
    let place = Place::new();
    let options = small(Kind::Queue).max_attempts(9);
    let queue = place.bus().create("jobs", &options).expect("a queue");
    let letters = place.bus().attach("jobs.dead").expect("its dead letters");
    let recorder = Recorder::start(&queue, place.journal(), &quick()).expect("a recorder");
    let of_letters = Recorder::start(&letters, place.journal(), &quick()).expect("a recorder");
    let mut producer = queue.producer(&SendOptions::default()).expect("a producer");
    let mut worker = queue.worker(&Default::default()).expect("a worker");
    let mut unfinished = Vec::new();
    for number in 0..2000u64 {
        producer.publish(&number.to_le_bytes()).expect("room");
        let job = worker.take().expect("a job");
        if number % 40 == 7 && number > 1800 {
            // It holds these when the memory is lost.
            unfinished.push((number, job.attempt()));
            std::mem::forget(job);
        } else {
            let _ = job.done();
        }
    }
    for number in 2000..2010u64 {
        producer.publish(&number.to_le_bytes()).expect("room");
        unfinished.push((number, 0));
    }
    recorder.stop().expect("a clean end");
    of_letters.stop().expect("a clean end");
    std::mem::forget(worker);
    lose(&place);
    let restored = restore(&place.bus(), "jobs", place.journal()).expect("made again");
    assert_eq!(restored.unfinished, unfinished.len());
    let dead = place.bus().attach("jobs.dead").expect("the dead letters are there again");
    assert_eq!(dead.header().channel_id, letters.header().channel_id);
    let mut worker = restored.channel.worker(&Default::default()).expect("a worker");
    let mut got = Vec::new();
    while let Some(job) = worker.try_take().expect("a sound queue") {
        got.push(u64::from_le_bytes(job[..8].try_into().expect("a number")));
        let _ = job.done();
    }
    let numbers: Vec<u64> = unfinished.iter().map(|&(number, _)| number).collect();
    assert_eq!(got, numbers);
}

#[test]
fn what_a_channel_does_under_overload_is_made_again_with_the_channel_it_diverts_to() {
    let place = Place::new();
    let spill = place.bus().create("spill", &small(Kind::Queue).slot_bytes(256)).expect("a queue");
    let options = small(Kind::Topic).watermarks(70, 30).credits(100).overflow(Overflow::Divert);
    let topic = place.bus().create("news", &options.divert_to(Some("spill".into()))).expect("a topic");
    let recorders = [&topic, &spill]
        .map(|channel| Recorder::start(channel, place.journal(), &quick()).expect("a recorder"));
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).expect("a subscriber");
    let mut publisher = topic.topic_publisher(&SendOptions::default()).expect("a publisher");
    for number in 0..102u64 {
        let sent = publisher.publish(&number.to_le_bytes());
        assert!(sent.is_ok() || matches!(sent, Err(SendError::Diverted { .. })), "{sent:?}");
    }
    assert_eq!(publisher.diverted(), 2);
    assert!(reader.try_recv().expect("a sound topic").is_some());
    recorders.into_iter().for_each(|recorder| recorder.stop().expect("a clean end"));
    lose(&place);
    let restored = restore(&place.bus(), "news", place.journal()).expect("made again");
    let header = restored.channel.header();
    assert_eq!((header.watermarks, header.credits, header.overflow), (Some((70, 30)), 100, Overflow::Divert));
    assert_eq!(header.divert_to.as_deref(), Some("spill"));
    restored.channel.topic_publisher(&SendOptions::default()).expect("a publisher, here and there");
    let spill = place.bus().attach("spill").expect("what it diverts to is there again");
    let mut worker = spill.worker(&Default::default()).expect("a worker");
    for number in 100..102u64 {
        let job = worker.try_take().expect("a sound queue").expect("what was diverted");
        assert_eq!(*job, number.to_le_bytes());
        let _ = job.done();
    }
}

#[test]
fn what_a_queue_held_before_its_journal_began_is_in_it() {
    let place = Place::new();
    let queue = place.bus().create("c", &small(Kind::Queue)).expect("a queue");
    let mut producer = queue.producer(&SendOptions::default()).expect("a producer");
    let mut worker = queue.worker(&Default::default()).expect("a worker");
    for number in 0..300u64 {
        producer.publish(&number.to_le_bytes()).expect("room");
        if number < 200 {
            let _ = worker.take().expect("a job").done();
        }
    }
    let recorder = Recorder::start(&queue, place.journal(), &quick()).expect("a recorder");
    // The 200th is held, and is not done.
    std::mem::forget(worker.take().expect("a job"));
    producer.publish(&300u64.to_le_bytes()).expect("room");
    recorder.stop().expect("a clean end");
    let told = queue.wait_durable(100, Duration::ZERO).map(drop);
    assert!(told.is_err(), "it was done before the journal began: {told:?}");
    lose(&place);
    let restored = restore(&place.bus(), "c", place.journal()).expect("made again");
    assert_eq!((restored.unfinished, restored.first_position), (101, 301));
    let mut worker = restored.channel.worker(&Default::default()).expect("a worker");
    for number in 200..=300u64 {
        let job = worker.try_take().expect("a sound queue").expect("a job");
        assert_eq!(job[..8], number.to_le_bytes());
        let _ = job.done();
    }
}

#[test]
fn durable_subscriptions_and_numbering_publishers_resume() {
    let place = Place::new();
    let topic = place.bus().create("c", &small(Kind::Topic)).expect("a topic");
    let recorder = Recorder::start(&topic, place.journal(), &quick()).expect("a recorder");
    let numbered = SendOptions::default().name("feed").sequenced(true);
    let mut publisher = topic.topic_publisher(&numbered).expect("a publisher");
    let mut behind = topic.topic_subscriber(&durable("behind")).expect("a subscriber");
    let mut upto_date = topic.topic_subscriber(&durable("up-to-date")).expect("a subscriber");
    for number in 1..=200u64 {
        publisher.publish_numbered(number, &number.to_le_bytes(), &Attributes::default()).expect("room");
    }
    for _ in 0..50 {
        behind.recv_timeout(LONG).expect("an event");
    }
    for _ in 0..200 {
        upto_date.recv_timeout(LONG).expect("an event");
    }
    behind.acknowledge();
    upto_date.acknowledge();
    drop((publisher, behind, upto_date));
    recorder.stop().expect("a clean end");
    lose(&place);
    let restored = restore(&place.bus(), "c", place.journal()).expect("made again");
    assert_eq!((restored.subscriptions, restored.first_position), (2, 200));
    let topic = restored.channel;
    let mut publisher = topic.topic_publisher(&numbered).expect("a publisher");
    assert_eq!(publisher.resume_point(), Some(200));
    publisher.publish_numbered(201, b"new", &Attributes::default()).expect("room");
    let mut upto_date = topic.topic_subscriber(&durable("up-to-date")).expect("a subscriber");
    assert_eq!(upto_date.recv_timeout(LONG).expect("the new event").position(), 200);
    // The other one has events to read that are in the journal only; it is not led past them.
    let refused = topic.topic_subscriber(&durable("behind")).map(drop).expect_err("it is behind").to_string();
    assert!(refused.contains("50") && refused.contains("journal"), "{refused}");
}

#[test]
fn what_was_removed_on_purpose_is_not_lost_and_a_corrupt_journal_is_told() {
    let place = Place::new();
    let channel = place.bus().create("c", &small(Kind::Queue)).expect("a channel");
    let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
    channel.producer(&SendOptions::default()).expect("a producer").publish(&[7; 100]).expect("room");
    recorder.stop().expect("a clean end");
    place.bus().remove("c").expect("removed");
    assert!(lost(place.base.path(), place.journal()).expect("a list").is_empty());
    // But a caller that requests it by name gets it.
    restore(&place.bus(), "c", place.journal()).expect("made again");
    let none = restore(&place.bus(), "other", place.journal()).map(drop);
    assert!(matches!(none, Err(Error::NotFound { .. })), "{none:?}");
    lose(&place);
    let segment = place.directory("c").join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let at = bytes.windows(100).position(|window| window == [7; 100]).expect("the event");
    bytes[at + 50] ^= 1;
    std::fs::write(&segment, bytes).expect("harmed");
    let told = restore(&place.bus(), "c", place.journal()).map(drop);
    assert!(matches!(told, Err(Error::Corrupt { .. })), "{told:?}");
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let channel = Bus::at(base.join("shm"), "b").and_then(|bus| bus.attach("c")).expect("the channel");
    let journal = std::fs::read_link(base.join("journal")).expect("a link");
    let linger = if role == "record at once" { Duration::ZERO } else { LONG };
    let _recorder = Recorder::start(&channel, journal, &quick().linger(linger)).expect("a recorder");
    say(b"recording");
    stay();
}

fn place_of(disk: &tempfile::TempDir) -> std::path::PathBuf {
    disk.path().join("b").join("c")
}

/// All participants are killed. Events that were finished before the newest record are not
/// delivered again. Later ones may be, once, and unfinished ones are.
#[test]
fn what_was_finished_before_the_newest_record_is_not_delivered_again_after_a_kill() {
    let shm =
        tempfile::Builder::new().prefix("railbus-restore-").tempdir_in("/dev/shm").expect("a directory");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    std::os::unix::fs::symlink(disk.path(), shm.path().join("journal")).expect("a link");
    let bus = Bus::at(shm.path().join("shm"), "b").expect("a bus");
    let queue = bus.create("c", &small(Kind::Queue)).expect("a queue");
    let mut journaller = Actor::start("record at once", shm.path());
    journaller.expect("recording");
    let mut producer = queue.producer(&SendOptions::default()).expect("a producer");
    let mut worker = queue.worker(&Default::default()).expect("a worker");
    let last = (0..20u64).map(|number| producer.publish(&number.to_le_bytes()).expect("room")).last();
    queue.wait_durable(last.expect("events"), LONG).expect("durable");
    let states = || held(&place_of(&disk)).states;
    (0..10).for_each(|_| assert!(worker.take().expect("a job").done()));
    // A record that began before the tenth event was finished may still be on its way. Four in a
    // row are not.
    for _ in 0..4 {
        let before = states();
        assert!(worker.take().expect("a job").done());
        children::eventually("what changed is recorded", || states() > before);
    }
    journaller.kill();
    std::mem::forget(worker);
    std::fs::remove_dir_all(queue.paths().ring.parent().expect("a directory")).expect("gone");
    let restored = restore(&bus, "c", disk.path()).expect("made again");
    let mut worker = restored.channel.worker(&Default::default()).expect("a worker");
    let mut got = Vec::new();
    while let Some(job) = worker.try_take().expect("a sound queue") {
        got.push(u64::from_le_bytes(job[..8].try_into().expect("a number")));
        assert!(job.done());
    }
    let first = *got.first().expect("six were not finished");
    assert!((11..=14).contains(&first) && got.iter().copied().eq(first..20), "{got:?}");
}

/// The ring is gone, the staging is not: events that were only there get into the journal before
/// the channel is made again.
#[test]
fn staging_that_outlived_the_channel_is_taken_over() {
    let shm =
        tempfile::Builder::new().prefix("railbus-restore-").tempdir_in("/dev/shm").expect("a directory");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    std::os::unix::fs::symlink(disk.path(), shm.path().join("journal")).expect("a link");
    let bus = Bus::at(shm.path().join("shm"), "b").expect("a bus");
    let channel =
        bus.create("c", &ChannelOptions::new(Kind::Topic).slots(1024).slot_bytes(64)).expect("a channel");
    let mut taken_over = 0;
    for round in 0..10 {
        let channel = bus.attach("c").expect("the channel");
        let mut journaller = Actor::start("record", shm.path());
        journaller.expect("recording");
        let mut publisher = channel.topic_publisher(&SendOptions::default()).expect("a publisher");
        if round == 0 {
            // Before anything was written the journal does not name its owner.
            children::eventually("the first record is written", || held(&place_of(&disk)).states > 0);
        }
        for number in 0..500u64 {
            publisher.publish(&number.to_le_bytes()).expect("room");
        }
        drop(publisher);
        let end = channel.info().expect("a snapshot").positions.published;
        children::eventually("the journaller has taken everything from the ring", || {
            channel.journal_positions().is_ok_and(|positions| positions.end == end)
        });
        journaller.kill();
        std::fs::remove_file(&channel.paths().ring).expect("gone");
        std::fs::remove_file(&channel.paths().acks).expect("gone");
        let restored = restore(&bus, "c", disk.path()).expect("made again");
        taken_over += restored.taken_over;
        assert_eq!(restored.first_position, end);
    }
    assert_eq!(held(&place_of(&disk)).events.len(), 5000);
    // The journallers wrote no block that was not full.
    assert!(taken_over > 0, "all was written before the kills");
    drop(channel);
}
