//! Following a channel from its journal into its ring: no gap, no duplicate, under load, rotation
//! and wrap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use railbus::journal::{Behind, FollowOptions, Followed, Follower, Journal, Retention, Seek, Source};
use railbus::{Channel, Error, Kind, Recorder, RecorderOptions};

use crate::journals::{Place, publisher, quick, small};

const LONG: Duration = Duration::from_secs(60);

/// An event that contains its number and can be distinguished from a torn one.
fn event(number: u64) -> Vec<u8> {
    let length = 8 + (number * 7919) as usize % 100;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(length, number as u8 ^ 0x5A);
    bytes
}

fn number_of(payload: &[u8]) -> u64 {
    let number = payload.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    assert_eq!(payload, event(number), "torn");
    number
}

/// Segments that are full after some hundred events.
fn rotating() -> RecorderOptions {
    quick().segment_bytes(272 << 10)
}

/// The numbers that a follower sees up to `last`, and the gaps.
fn follow(follower: &mut Follower, last: u64, mut each: impl FnMut(u64, Source)) -> Vec<u64> {
    let mut seen = Vec::new();
    let deadline = Instant::now() + LONG;
    while seen.last() != Some(&last) {
        assert!(Instant::now() < deadline, "{} seen, now in {:?}", seen.len(), follower.source());
        let source = follower.source();
        match follower.recv_timeout(Duration::from_millis(200)).expect("followed") {
            Some(Followed::Event(event)) => {
                let number = number_of(&event);
                seen.push(number);
                each(number, source);
            }
            Some(lost) => panic!("{lost:?} after {:?}", seen.last()),
            None => {}
        }
    }
    seen
}

#[test]
fn from_the_journal_into_the_ring_under_load_without_gap_or_duplicate() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        for behind in [Behind::Hold, Behind::ReadJournal] {
            if (kind, behind) == (Kind::Queue, Behind::ReadJournal) {
                continue;
            }
            let place = Place::new();
            let channel = place.bus().create("c", &small(kind)).expect("a channel");
            let recorder = Recorder::start(&channel, place.journal(), &rotating()).expect("a recorder");
            let total = 30_000u64;
            let published = AtomicU64::new(0);
            std::thread::scope(|scope| {
                let mut publish = publisher(&channel);
                if kind == Kind::Queue {
                    let mut worker = channel.worker(&Default::default()).expect("a worker");
                    scope.spawn(move || {
                        for _ in 0..total {
                            let _ = worker.take().expect("a job").done();
                        }
                    });
                }
                let published = &published;
                scope.spawn(move || {
                    for number in 0..total {
                        publish(&event(number), LONG).expect("room");
                        published.store(number + 1, Ordering::Relaxed);
                        if number % 64 == 0 {
                            std::thread::yield_now();
                        }
                    }
                });
                // Three followers that begin at different times, and one that is slow.
                for which in 0..4u64 {
                    let channel = channel.clone();
                    scope.spawn(move || {
                        while published.load(Ordering::Relaxed) < which * 4000 {
                            std::thread::yield_now();
                        }
                        let options = FollowOptions::default().behind(behind);
                        let mut follower = channel.follow(&options).expect("a follower");
                        let mut in_ring = 0u64;
                        let seen = follow(&mut follower, total - 1, |number, source| {
                            in_ring += u64::from(source == Source::Ring);
                            if which == 3 && number % 3000 == 0 {
                                std::thread::sleep(Duration::from_millis(20));
                            }
                        });
                        assert!(seen.iter().copied().eq(0..total), "{kind} {behind:?} {which}");
                        // When everything is quiet it is in the ring, or about to be.
                        assert!(follower.try_recv().expect("followed").is_none());
                        assert_eq!(follower.source(), Source::Ring, "{kind} {behind:?} {which}");
                    });
                }
            });
            recorder.stop().expect("a clean end");
            let segments =
                Journal::open(place.directory("c")).expect("a journal").segments().expect("segments");
            assert!(segments.len() > 5, "{} segments", segments.len());
        }
    }
}

#[test]
fn an_overrun_follower_goes_back_to_the_journal_and_holds_nobody() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = Place::new();
        let channel = place.bus().create("c", &small(kind)).expect("a channel");
        let recorder = Recorder::start(&channel, place.journal(), &rotating()).expect("a recorder");
        let mut publish = publisher(&channel);
        let options = FollowOptions::default().behind(Behind::ReadJournal);
        let mut follower = channel.follow(&options).expect("a follower");
        let mut next = 0u64;
        let mut expected = 0u64;
        for round in 0..10 {
            // A few, which it reads in the ring; then many rings' worth, while it does not read.
            for count in [10, 5000] {
                for _ in 0..count {
                    publish(&event(next), LONG).expect("room: it holds nobody");
                    next += 1;
                }
                let seen = follow(&mut follower, next - 1, |_, _| {});
                assert!(seen.iter().copied().eq(expected..next), "{kind} {round}");
                expected = next;
                assert!(follower.try_recv().expect("followed").is_none());
                assert_eq!(follower.source(), Source::Ring, "{kind} {round}");
            }
        }
        assert!(follower.returns() >= 10, "{} returns", follower.returns());
        drop(follower);
        recorder.stop().expect("a clean end");
    }
}

#[test]
fn a_follower_may_begin_anywhere() {
    let place = Place::new();
    let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
    let recorder = Recorder::start(&channel, place.journal(), &rotating()).expect("a recorder");
    let mut publish = publisher(&channel);
    let positions: Vec<u64> = (0..8000).map(|number| publish(&event(number), LONG).expect("room")).collect();
    channel.wait_written(positions[7999], LONG).expect("written");
    for start in [0usize, 1, 3000, 7500, 7990, 7999] {
        for from in [Seek::Position(positions[start]), Seek::Event(start as u64)] {
            let options = FollowOptions::default().from(from);
            let mut follower = channel.follow(&options).expect("a follower");
            let seen = follow(&mut follower, 7999, |_, _| {});
            assert!(seen.iter().copied().eq(start as u64..8000), "{start}");
            assert_eq!(follower.position(), recorder_end(&channel));
        }
    }
    for from in [Seek::End, Seek::Time(u64::MAX)] {
        let options = FollowOptions::default().from(from);
        let mut follower = channel.follow(&options).expect("a follower");
        assert!(follower.try_recv().expect("followed").is_none());
        let position = publish(&event(1), LONG).expect("room");
        let Some(Followed::Event(received)) = follower.recv_timeout(LONG).expect("followed") else {
            panic!()
        };
        assert_eq!(number_of(&received), 1);
        // Events that the journal does not have yet have no time: the next would receive it.
        channel.wait_written(position, LONG).expect("written");
    }
    let beyond = FollowOptions::default().from(Seek::Position(1 << 50));
    let mut follower = channel.follow(&beyond).expect("a follower");
    let beyond = loop {
        match follower.recv_timeout(LONG) {
            Ok(None) => {}
            other => break other.map(|_| ()),
        }
    };
    assert!(matches!(&beyond, Err(Error::Invalid { why, .. }) if why.contains("ends at")), "{beyond:?}");
    recorder.stop().expect("a clean end");
}

fn recorder_end(channel: &Channel) -> u64 {
    channel.journal_positions().expect("positions").end
}

#[test]
fn a_journaller_that_is_gone_is_an_error_only_for_who_needs_it() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = Place::new();
        let channel = place.bus().create("c", &small(kind)).expect("a channel");
        let options = rotating().lossy(true);
        let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
        let mut publish = publisher(&channel);
        let mut last = 0;
        for number in 0..1000 {
            last = publish(&event(number), LONG).expect("room");
        }
        channel.wait_written(last, LONG).expect("written");
        recorder.stop().expect("a clean end");
        // If the ring continues it, no journaller is needed.
        let mut follower = channel.follow(&FollowOptions::default()).expect("a follower");
        let lossy = FollowOptions::default().behind(Behind::ReadJournal);
        let mut overrun = channel.follow(&lossy).expect("a follower");
        for follower in [&mut follower, &mut overrun] {
            // A lossy journaller may itself have been overrun, which is reported.
            while follower.recv_timeout(Duration::from_millis(1)).expect("followed").is_some() {}
            assert_eq!(follower.source(), Source::Ring);
        }
        drop(follower);
        for number in 0..10_000 {
            publish(&event(number), LONG).expect("room");
        }
        // An event that is in neither is an error, at once and again.
        for _ in 0..2 {
            let error = overrun.recv_timeout(LONG).map(|_| ());
            assert!(
                matches!(&error, Err(Error::PeerGone { why, .. }) if why.contains("stopped")),
                "{error:?}"
            );
        }
        let new = FollowOptions::default().from(Seek::End);
        let error = channel.follow(&new).and_then(|mut follower| follower.recv_timeout(LONG).map(|_| ()));
        assert!(matches!(error, Err(Error::PeerGone { .. })), "{error:?}");
    }
    let place = Place::new();
    let channel = place.bus().create("never", &small(Kind::Stream)).expect("a channel");
    assert!(matches!(channel.follow(&FollowOptions::default()), Err(Error::PeerGone { .. })));
}

#[test]
fn what_retention_removed_is_told() {
    let place = Place::new();
    let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
    let retention = Retention::default().max_bytes(Some(1 << 20));
    let options = rotating().retention(retention);
    let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
    let mut publish = publisher(&channel);
    let options = FollowOptions::default().behind(Behind::ReadJournal);
    let mut follower = channel.follow(&options).expect("a follower");
    assert!(follower.try_recv().expect("followed").is_none());
    let mut number = 0;
    let started = Instant::now();
    // Until its place is gone.
    while channel.journal_positions().expect("positions").first == 0 {
        publish(&event(number), LONG).expect("room");
        number += 1;
        assert!(started.elapsed() < LONG, "retention removes nothing");
    }
    let last = number - 1;
    let (mut next, mut lost) = (0, 0);
    while next <= last {
        match follower.recv_timeout(LONG).expect("followed") {
            Some(Followed::Event(event)) => {
                let number = number_of(&event);
                assert!(number == next || lost > 0 && number > next, "{number} after {next}");
                next = number + 1;
            }
            Some(Followed::Lost { from, to, .. }) => {
                assert!(to > from);
                lost += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(lost > 0);
    recorder.stop().expect("a clean end");
}

#[test]
fn a_durable_follower_is_a_durable_subscription() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let place = Place::new();
        let channel = place.bus().create("c", &small(kind)).expect("a channel");
        let recorder = Recorder::start(&channel, place.journal(), &rotating()).expect("a recorder");
        let mut publish = publisher(&channel);
        for number in 0..50 {
            publish(&event(number), LONG).expect("room");
        }
        let options = FollowOptions::default().name("audit").durable(true);
        let mut follower = channel.follow(&options).expect("a follower");
        let seen = follow(&mut follower, 49, |_, _| {});
        assert!(seen.iter().copied().eq(0..50), "{kind}");
        while follower.source() != Source::Ring {
            // A tap crosses with the next event.
            publish(&event(50), LONG).expect("room");
            follow(&mut follower, 50, |_, _| {});
        }
        follower.acknowledge();
        drop(follower);
        for number in 100..120 {
            publish(&event(number), LONG).expect("room");
        }
        let mut follower = channel.follow(&options).expect("a follower");
        let seen = follow(&mut follower, 119, |_, _| {});
        assert!(seen.iter().copied().eq(100..120), "{kind}: {seen:?}");
        assert!(matches!(channel.follow(&options), Err(Error::Busy { .. })));
        drop(follower);
        recorder.stop().expect("a clean end");
    }
}

#[test]
fn a_restored_durable_subscription_reads_on_from_the_journal() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = Place::new();
        let bus = place.bus();
        let channel = bus.create("c", &small(kind)).expect("a channel");
        let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
        let options = FollowOptions::default().name("audit").durable(true);
        let mut follower = channel.follow(&options).expect("a follower");
        // It joins the ring now. Later, it could read everything from the journal and never join, and a
        // subscription that has not joined is not in the channel.
        assert!(follower.try_recv().expect("nothing is wrong").is_none());
        assert_eq!(follower.source(), Source::Ring);
        let mut publish = publisher(&channel);
        for number in 0..30 {
            publish(&event(number), LONG).expect("room");
        }
        let seen = follow(&mut follower, 9, |_, _| {});
        assert_eq!(seen.len(), 10);
        follower.acknowledge();
        drop(follower);
        recorder.stop().expect("a clean end");
        drop(publish);
        // The shared memory is gone: a reboot.
        bus.remove("c").expect("removed");
        drop(channel);
        railbus::journal::restore(&bus, "c", place.journal()).expect("restored");
        let channel = bus.attach("c").expect("attached");
        let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
        let mut publish = publisher(&channel);
        for number in 30..40 {
            publish(&event(number), LONG).expect("room");
        }
        let mut follower = channel.follow(&options).expect("a follower");
        let seen = follow(&mut follower, 39, |_, _| {});
        // At least once: events that were acknowledged before the journaller looked are not seen
        // again.
        assert!(seen.first() <= Some(&10) && seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
        assert_eq!(follower.source(), Source::Ring);
        follower.acknowledge();
        drop(follower);
        // It is one like any other now.
        let subscribe = railbus::SubscribeOptions::default().name("audit").durable(true);
        match kind {
            Kind::Stream => drop(channel.subscriber(&subscribe).expect("in the ring")),
            _ => drop(channel.topic_subscriber(&subscribe).expect("in the ring")),
        }
        recorder.stop().expect("a clean end");
    }
}

#[test]
fn another_channels_journal_is_refused() {
    let place = Place::new();
    let bus = place.bus();
    let channel = bus.create("c", &small(Kind::Stream)).expect("a channel");
    let other = bus.create("d", &small(Kind::Stream)).expect("a channel");
    let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
    let position = publisher(&channel)(&event(0), LONG).expect("room");
    channel.wait_written(position, LONG).expect("written");
    recorder.stop().expect("a clean end");
    let journal = Journal::open(place.directory("c")).expect("a journal");
    let refused = Follower::new(&other, &journal, &FollowOptions::default());
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    let durable = FollowOptions::default().behind(Behind::ReadJournal).durable(true).name("x");
    assert!(matches!(Follower::new(&channel, &journal, &durable), Err(Error::Invalid { .. })));
}
