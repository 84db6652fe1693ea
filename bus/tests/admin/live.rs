//! Changing a live bus: under load the counts add up, an unsafe change is refused with its reason,
//! and a dry run changes no byte.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use railbus::admin::{SeekTo, Select};
use railbus::journal::{FollowOptions, Followed};
use railbus::{
    Bus, Channel, ChannelOptions, Error, Kind, Overflow, Recorder, RecvError, SendError, SendOptions, Start,
    SubscribeOptions, WorkOptions,
};

use crate::journals;

const LONG: Duration = Duration::from_secs(60);

fn base() -> (tempfile::TempDir, Bus) {
    let base = tempfile::Builder::new().prefix("railbus-admin-").tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "b").unwrap();
    (base, bus)
}

fn durable(name: &str) -> SubscribeOptions {
    SubscribeOptions::default().name(name).durable(true)
}

/// Small channels, so that they wrap.
fn small(kind: Kind) -> ChannelOptions {
    match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096),
        _ => ChannelOptions::new(kind).slots(64).slot_bytes(64),
    }
}

/// Publishes 8 bytes; true unless there is no room.
type Publish = Box<dyn FnMut(u64) -> bool + Send>;

fn publisher(channel: &Channel) -> Publish {
    let fits = |outcome: Result<u64, SendError>| match outcome {
        Ok(_) => true,
        Err(SendError::Full | SendError::NoWorker) => false,
        Err(error) => panic!("{error}"),
    };
    let options = SendOptions::default();
    match channel.header().kind {
        Kind::Stream => {
            let mut sender = channel.publisher(&options).unwrap();
            Box::new(move |number| fits(sender.try_publish(&number.to_le_bytes())))
        }
        Kind::Topic => {
            let mut sender = channel.topic_publisher(&options).unwrap();
            Box::new(move |number| fits(sender.try_publish(&number.to_le_bytes())))
        }
        Kind::Queue | Kind::Table => {
            let mut sender = channel.producer(&options).unwrap();
            Box::new(move |number| fits(sender.try_publish(&number.to_le_bytes())))
        }
    }
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload.try_into().expect("8 bytes"))
}

/// Resumes the subscription, reads up to `most` events, acknowledges them and leaves. Returns the
/// numbers, and how many were lost.
fn read(channel: &Channel, name: &str, most: usize) -> (Vec<u64>, u64) {
    let (mut numbers, mut lost) = (Vec::new(), 0);
    let mut take = |received: Result<Option<u64>, RecvError>| match received {
        Ok(Some(number)) => {
            numbers.push(number);
            numbers.len() < most
        }
        Ok(None) => false,
        Err(RecvError::Lost { events, .. }) => {
            lost += events;
            true
        }
        Err(error) => panic!("{error}"),
    };
    match channel.header().kind {
        Kind::Stream => {
            let mut reader = channel.subscriber(&durable(name)).unwrap();
            while take(reader.try_recv().map(|event| event.map(|event| number(&event)))) {}
        }
        Kind::Topic => {
            let mut reader = channel.topic_subscriber(&durable(name)).unwrap();
            while take(reader.try_recv().map(|event| event.map(|event| number(&event)))) {}
        }
        Kind::Queue | Kind::Table => {
            let mut reader = channel.tap(&durable(name)).unwrap();
            while take(reader.try_recv().map(|event| event.map(|event| number(&event)))) {}
        }
    }
    (numbers, lost)
}

/// Ends the other threads of a test also when it fails.
struct Ends<'a>(&'a AtomicBool, bool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Relaxed);
    }
}

fn said<T: std::fmt::Debug>(result: railbus::Result<T>) -> String {
    result.expect_err("refused").to_string()
}

/// The number of the event at `position` when all have 8 bytes and one publisher counts from 0.
fn number_at(kind: Kind, position: u64) -> u64 {
    if kind == Kind::Stream { position / 16 } else { position }
}

#[test]
fn a_subscription_is_moved_under_load_and_finds_what_is_at_its_position() {
    for kind in [Kind::Stream, Kind::Topic] {
        let (_base, bus) = base();
        let channel = bus.create("c", &small(kind)).unwrap();
        let _ = read(&channel, "audit", 0);
        let stop = AtomicBool::new(false);
        let published = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut publish = publisher(&channel);
                while !stop.load(Ordering::Relaxed) {
                    let next = published.load(Ordering::Relaxed);
                    if publish(next) {
                        published.store(next + 1, Ordering::Relaxed);
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
            let _end = Ends(&stop, true);
            let mut skipped = 0;
            for round in 0..60u64 {
                let moved = match round % 4 {
                    0 => channel.skip_subscription("audit", 1 + round % 7, false).unwrap(),
                    1 => channel.seek_subscription("audit", SeekTo::Oldest, false).unwrap(),
                    2 => channel.seek_subscription("audit", SeekTo::Live, false).unwrap(),
                    _ => {
                        let back = channel.seek_subscription("audit", SeekTo::Oldest, true).unwrap();
                        let forth = number_at(kind, back.to).max(number_at(kind, back.from));
                        let to = if kind == Kind::Stream { forth * 16 } else { forth };
                        channel.seek_subscription("audit", SeekTo::Position(to), false).unwrap()
                    }
                };
                if moved.to >= moved.from && moved.lost == 0 && round % 4 != 2 {
                    let between = number_at(kind, moved.to) - number_at(kind, moved.from);
                    assert_eq!(moved.events, between, "{kind} round {round}: {moved:?}");
                    assert_eq!(moved.bytes, 8 * between);
                }
                skipped += u64::from(moved.to > moved.from);
                assert_eq!(channel.subscriptions().unwrap()[0].position, moved.to);
                let (numbers, lost) = read(&channel, "audit", 40);
                assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1] || lost > 0), "{numbers:?}");
                if let Some(&first) = numbers.first() {
                    let expected = number_at(kind, moved.to);
                    assert!(
                        first == expected || lost > 0 && first > expected,
                        "{kind} {round} {lost} {moved:?} {first}"
                    );
                    assert!(lost == 0 || kind == Kind::Topic && moved.to < moved.from, "{moved:?}");
                }
            }
            assert!(skipped > 10 && published.load(Ordering::Relaxed) > 100);
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_queue_is_purged_and_skipped_under_load_and_the_counts_add_up() {
    let (_base, bus) = base();
    let queue = bus.create("q", &small(Kind::Queue)).unwrap();
    let (stop, begun) = (AtomicBool::new(false), Barrier::new(4));
    let finish = |worker: &mut railbus::Worker, seen: &mut Vec<u64>| {
        let Some(job) = worker.try_take().unwrap() else { return false };
        assert_eq!(job.attempt(), 1, "nothing is handed back");
        seen.push(number(&job));
        let _ = job.done();
        true
    };
    std::thread::scope(|scope| {
        let producers: Vec<_> = (1..=2u64)
            .map(|source| {
                let (stop, begun, queue) = (&stop, &begun, &queue);
                scope.spawn(move || {
                    let mut publish = publisher(queue);
                    begun.wait();
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        if publish(source << 32 | count) { count += 1 } else { std::thread::yield_now() }
                    }
                    count
                })
            })
            .collect();
        let worker = scope.spawn(|| {
            let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
            let mut seen = Vec::new();
            begun.wait();
            while !stop.load(Ordering::Relaxed) {
                // At a slow pace, so that there is something to purge.
                finish(&mut worker, &mut seen);
                std::thread::sleep(Duration::from_micros(20));
            }
            seen
        });
        begun.wait();
        let _end = Ends(&stop, true);
        let (mut purged, mut skipped) = (0, 0);
        let deadline = Instant::now() + LONG;
        for round in 0u64.. {
            if round >= 40 && purged > 0 && skipped > 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{purged} purged, {skipped} skipped");
            let events = queue.purge(false).unwrap();
            assert!(events.events <= 64 && events.bytes == events.events * 8, "{events:?}");
            purged += events.events;
            let some = queue.skip_events(1 + round % 3, false, LONG, false).unwrap();
            assert!(
                some.positions.len() as u64 <= 1 + round % 3 && some.bytes == 8 * some.positions.len() as u64
            );
            skipped += some.positions.len() as u64;
        }
        stop.store(true, Ordering::Relaxed);
        let published: u64 = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
        let mut seen = worker.join().unwrap();
        let mut heir = queue.worker(&WorkOptions::default()).unwrap();
        while finish(&mut heir, &mut seen) {}
        let distinct: HashSet<u64> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "delivered twice");
        assert_eq!(published, seen.len() as u64 + purged + skipped, "{purged} purged, {skipped} skipped");
    });
    assert_eq!(queue.info().unwrap().positions.unfinished, Some(0));
}

#[test]
fn purging_discards_nothing_that_is_in_hand_or_newer_or_that_somebody_holds() {
    let (_base, bus) = base();
    let queue = bus.create("q", &small(Kind::Queue)).unwrap();
    let mut publish = publisher(&queue);
    (0..10).for_each(|i| assert!(publish(i)));
    let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
    let held = worker.take_ticket().unwrap().unwrap();
    let again = worker.take_ticket().unwrap().unwrap();
    assert!(worker.retry(again));
    let would = queue.purge(true).unwrap();
    let purged = queue.purge(false).unwrap();
    assert_eq!(would, purged);
    assert_eq!((purged.events, purged.bytes, purged.in_hand), (9, 72, 1));
    assert!(worker.event(held).is_some_and(|event| number(&event) == 0));
    assert!(worker.done(held) && worker.take_ticket().unwrap().is_none());
    assert!(publish(10));
    assert_eq!(worker.take_ticket().unwrap().map(|ticket| ticket.position()), Some(10));

    let topic = bus.create("t", &small(Kind::Topic)).unwrap();
    let _ = read(&topic, "gone", 0);
    let holder = topic.topic_subscriber(&durable("held")).unwrap();
    let mut publish = publisher(&topic);
    (0..5).for_each(|i| assert!(publish(i)));
    let purged = topic.purge(false).unwrap();
    assert_eq!(purged.moved.len(), 1);
    assert_eq!((purged.moved[0].name.as_str(), purged.moved[0].events, purged.moved[0].to), ("gone", 5, 5));
    let me = format!("process {} holds it", std::process::id());
    assert_eq!(purged.left, [("held".to_owned(), me)]);
    assert_eq!(holder.position(), 0);
    // Room for the one that waited for the one that is gone.
    drop(holder);
    assert_eq!(topic.purge(false).unwrap().moved.len(), 2);
    (5..69).for_each(|i| assert!(publish(i)));
}

#[test]
fn what_is_unsafe_is_refused_with_its_reason() {
    let (_base, bus) = base();
    let stream = bus.create("s", &small(Kind::Stream)).unwrap();
    let mut publish = publisher(&stream);
    let holder = stream.subscriber(&durable("audit")).unwrap();
    (0..100).for_each(|i| assert!(publish(i)));
    let refused = said(stream.skip_subscription("audit", 1, false));
    assert!(refused.contains(&format!("process {} holds it", std::process::id())), "{refused}");
    assert!(matches!(stream.seek_subscription("audit", SeekTo::Live, true), Err(Error::Busy { .. })));
    assert!(matches!(stream.skip_subscription("nobody", 1, false), Err(Error::NotFound { .. })));
    let refused = said(stream.skip_subscription(".journal", 1, false));
    assert!(refused.contains("gap in the journal"), "{refused}");
    drop(holder);
    let seek = |to| stream.seek_subscription("audit", SeekTo::Position(to), false);
    let refused = said(seek(8));
    assert!(refused.contains("no event starts there"), "{refused}");
    let refused = said(seek(1616));
    assert!(refused.contains("ends at 1600; positions 0 to 1600"), "{refused}");
    assert_eq!(seek(160).unwrap().events, 10);
    let refused = said(seek(8));
    assert!(refused.contains("no event starts there"), "{refused}");
    assert_eq!(stream.subscriptions().unwrap()[0].position, 160);
    assert!(matches!(stream.skip_events(1, false, LONG, false), Err(Error::Invalid { .. })));
    assert!(said(stream.dead_letters()).contains("only a queue"));
    assert_eq!(stream.seek_subscription("audit", SeekTo::Live, false).unwrap().events, 90);
    (100..1000).for_each(|i| {
        assert!(publish(i));
        stream.seek_subscription("audit", SeekTo::Live, false).unwrap();
    });
    let refused = said(seek(0));
    assert!(refused.contains("neither the ring nor a journal has it; positions "), "{refused}");

    let topic = bus.create("t", &small(Kind::Topic)).unwrap();
    let mut publish = publisher(&topic);
    (0..100).for_each(|i| assert!(publish(i)));
    let _ = read(&topic, "audit", 0);
    let refused = said(topic.seek_subscription("audit", SeekTo::Position(35), false));
    assert!(refused.contains("positions 36 to 100"), "{refused}");

    let queue = bus.create("q", &small(Kind::Queue)).unwrap();
    let mut publish = publisher(&queue);
    let _ = read(&queue, "tap", 0);
    (0..10).for_each(|i| assert!(publish(i)));
    assert_eq!(queue.skip_subscription("tap", 4, false).unwrap().to, 4);
    let refused = said(queue.seek_subscription("tap", SeekTo::Position(3), false));
    assert!(refused.contains("a queue's tap cannot go back"), "{refused}");
    let refused = said(queue.skip_events(1, true, LONG, false));
    assert!(refused.contains("--max-attempts"), "{refused}");
    assert_eq!(read(&queue, "tap", 1).0, [4]);
}

#[test]
fn of_two_administrators_at_once_each_skips_what_it_says() {
    let (_base, bus) = base();
    let channel = bus.create("t", &small(Kind::Topic)).unwrap();
    let _ = read(&channel, "audit", 0);
    let mut publish = publisher(&channel);
    (0..64).for_each(|i| assert!(publish(i)));
    let skipped = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..8 {
                    match channel.skip_subscription("audit", 1, false) {
                        Ok(moved) => _ = skipped.fetch_add(moved.events, Ordering::Relaxed),
                        Err(Error::Busy { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let skipped = skipped.into_inner();
    assert!(skipped > 0);
    assert_eq!(channel.subscriptions().unwrap()[0].position, skipped);
    assert_eq!(read(&channel, "audit", 1).0, [skipped]);
}

/// A queue whose worker fails at every fifth event the first time, and its dead letters.
#[test]
fn dead_letters_are_retried_and_dropped_under_load_and_none_is_lost() {
    let (_base, bus) = base();
    // Room for all possible letters: two full queues would wait for each other.
    bus.create("q.dead", &ChannelOptions::new(Kind::Queue).slots(1 << 16).slot_bytes(128)).unwrap();
    let queue = bus.create("q", &small(Kind::Queue).max_attempts(1)).unwrap();
    let stop = AtomicBool::new(false);
    let working = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut publish = publisher(&queue);
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                // Never so much that others find no room.
                let is_calm = queue.info().unwrap().positions.unfinished < Some(32);
                if is_calm && publish(count) {
                    count += 1;
                } else {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            count
        });
        let worker = scope.spawn(|| {
            let mut worker = queue.worker(&WorkOptions::default()).unwrap();
            let (mut seen, mut done) = (HashSet::new(), Vec::new());
            while working.load(Ordering::Relaxed) {
                let Some(job) = worker.try_take().unwrap() else {
                    std::thread::yield_now();
                    continue;
                };
                let number = number(&job);
                if number.is_multiple_of(5) && seen.insert(number) {
                    job.retry();
                } else {
                    done.push(number);
                    let _ = job.done();
                }
            }
            done
        });
        let _end = (Ends(&stop, true), Ends(&working, false));
        let letters = queue.dead_letters().unwrap();
        assert_eq!(letters.channel().name().to_string(), "b/q.dead");
        let mut dropped = BTreeSet::new();
        let deadline = Instant::now() + LONG;
        let mut rounds = 0;
        let mut retried = 0;
        while rounds < 40 {
            assert!(Instant::now() < deadline);
            let list = letters.list().unwrap();
            let Some(first) = list.iter().find(|letter| !letter.in_hand) else {
                std::thread::yield_now();
                continue;
            };
            rounds += 1;
            let origin = first.origin.expect("an origin");
            assert_eq!((origin.attempts, first.queue.as_deref()), (1, Some("b/q")));
            assert_eq!(number(&first.payload) % 5, 0);
            if rounds % 4 == 0 {
                let gone = letters.drop_letters(Select::Position(first.position), false).unwrap();
                assert!(gone.left.is_empty() && gone.letters.len() == 1, "{gone:?}");
                assert!(dropped.insert(number(&first.payload)));
            } else {
                let gone = letters.retry(Select::All, LONG, false).unwrap();
                assert!(gone.left.is_empty(), "{:?}", gone.left[0]);
                retried += gone.letters.len();
            }
        }
        assert!(retried > 20);
        stop.store(true, Ordering::Relaxed);
        let published = producer.join().unwrap();
        // The events that are still there, until there are none.
        while queue.info().unwrap().positions.unfinished != Some(0) || !letters.list().unwrap().is_empty() {
            assert!(Instant::now() < deadline);
            letters.retry(Select::All, LONG, false).unwrap();
        }
        working.store(false, Ordering::Relaxed);
        let done = worker.join().unwrap();
        let all: BTreeMap<u64, usize> =
            done.iter().chain(&dropped).fold(BTreeMap::new(), |mut all, &number| {
                *all.entry(number).or_default() += 1;
                all
            });
        assert_eq!(all.len() as u64, published, "some are lost");
        assert!(all.values().all(|&times| times == 1), "some were done twice");
        assert_eq!(dropped.len(), 10);
    });
}

#[test]
fn letters_for_which_there_is_no_room_are_left() {
    let (_base, bus) = base();
    let queue = bus.create("q", &small(Kind::Queue).max_attempts(1)).unwrap();
    let mut publish = publisher(&queue);
    (0..3).for_each(|i| assert!(publish(i)));
    queue.skip_events(3, true, LONG, false).unwrap();
    (3..67).for_each(|i| assert!(publish(i)));
    let letters = queue.dead_letters().unwrap();
    let retried = letters.retry(Select::All, Duration::from_millis(10), false).unwrap();
    assert!(retried.letters.is_empty() && retried.left.len() == 3, "{retried:?}");
    assert!(retried.left[0].1.contains("timed out"), "{retried:?}");
    assert_eq!(letters.list().unwrap().len(), 3);
    queue.purge(false).unwrap();
    assert_eq!(letters.retry(Select::All, LONG, false).unwrap().letters.len(), 3);
}

#[test]
fn queues_that_share_their_dead_letters_keep_them_apart() {
    let (_base, bus) = base();
    let options = small(Kind::Queue).max_attempts(1).dead_letters(Some("dead".into()));
    let [one, two] = ["one", "two"].map(|name| bus.create(name, &options).unwrap());
    for (queue, first) in [(&one, 100), (&two, 200)] {
        let mut publish = publisher(queue);
        (first..first + 3).for_each(|i| assert!(publish(i)));
        let skipped = queue.skip_events(2, true, LONG, false).unwrap();
        assert_eq!((skipped.positions, skipped.dead_letters.as_deref()), (vec![0, 1], Some("dead")));
    }
    let dead = bus.attach("dead").unwrap();
    dead.producer(&SendOptions::default()).unwrap().publish(b"stray").unwrap();
    let numbers = |letters: &railbus::admin::DeadLetters| -> Vec<u64> {
        let list = letters.list().unwrap();
        list.iter().filter(|one| one.payload.len() == 8).map(|one| number(&one.payload)).collect()
    };
    let of_one = one.dead_letters().unwrap();
    let all = dead.dead_letters().unwrap();
    assert_eq!(numbers(&of_one), [100, 101]);
    assert_eq!(numbers(&all), [100, 101, 200, 201]);
    assert!(matches!(of_one.retry(Select::Position(2), LONG, false), Err(Error::NotFound { .. })));
    let retried = of_one.retry(Select::All, LONG, false).unwrap();
    assert_eq!(retried.letters.len(), 2);
    assert!(retried.letters.iter().all(|one| one.home.as_ref().is_some_and(|home| home.queue == "b/one")));
    assert_eq!(numbers(&all), [200, 201]);
    // The letters that were not selected went back, and are unchanged but for the attempts in their
    // own queue.
    let retried = all.retry(Select::All, LONG, false).unwrap();
    assert_eq!((retried.letters.len(), retried.left.len()), (2, 1));
    assert!(retried.left[0].1.contains("no origin"), "{retried:?}");
    bus.remove("two").unwrap();
    let dropped = all.drop_letters(Select::All, false).unwrap();
    assert!(dropped.letters.is_empty() && dropped.left.len() == 1, "a stray is no letter: {dropped:?}");
    let mut worker = one.worker(&WorkOptions::default()).unwrap();
    let mut got = Vec::new();
    while let Some(job) = worker.try_take().unwrap() {
        assert!(job.event().origin().is_none() && job.attempt() == 1);
        got.push(number(&job));
        let _ = job.done();
    }
    assert_eq!(got, [102, 100, 101]);
}

#[test]
fn events_that_are_no_dead_letters_are_neither_dropped_nor_retried() {
    let (_base, bus) = base();
    let live = bus.create("live", &small(Kind::Queue)).unwrap();
    let mut publish = publisher(&live);
    (0..3).for_each(|i| assert!(publish(i)));
    assert!(said(live.dead_letters()).contains("it has no dead-letter queue, and is none"));
    // A queue that others divert to holds events with an origin; that alone does not make it a
    // dead-letter queue.
    let spill = bus.create("spill", &small(Kind::Queue).slot_bytes(256)).unwrap();
    let diverting = small(Kind::Queue).overflow(Overflow::Divert).divert_to(Some("spill".into()));
    let full = bus.create("full", &diverting).unwrap();
    let mut producer = full.producer(&SendOptions::default()).unwrap();
    while !matches!(producer.publish(b"x"), Err(SendError::Diverted { .. })) {}
    assert!(said(spill.dead_letters()).contains("is none"));
    // Nor does it make these events dead letters once it is one.
    let options = small(Kind::Queue).max_attempts(1).dead_letters(Some("spill".into()));
    let failing = bus.create("failing", &options).unwrap();
    assert!(publisher(&failing)(7));
    failing.skip_events(1, true, LONG, false).unwrap();
    spill.producer(&SendOptions::default()).unwrap().publish(b"stray").unwrap();
    let letters = spill.dead_letters().unwrap();
    for dry_run in [true, false] {
        let dropped = letters.drop_letters(Select::All, dry_run).unwrap();
        assert_eq!((dropped.letters.len(), dropped.left.len()), (1, 2), "{dropped:?}");
        assert!(dropped.left[0].1.contains("diverted") && dropped.left[1].1.contains("no origin"));
    }
    let mut worker = live.worker(&WorkOptions::default()).unwrap();
    for i in 0..3 {
        let job = worker.try_take().unwrap().unwrap();
        assert_eq!((number(&job), job.attempt()), (i, 1), "as it was");
        let _ = job.done();
    }
}

/// Every byte of every file below `path`.
fn bytes_below(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| (file.display().to_string(), std::fs::read(&file).unwrap())).collect()
}

#[test]
fn a_dry_run_changes_no_byte() {
    use railbus::admin::Resize;
    let (base, bus) = base();
    let queue = bus.create("q", &small(Kind::Queue).max_attempts(2)).unwrap();
    let _ = read(&queue, "tap", 0);
    let mut publish = publisher(&queue);
    (0..20).for_each(|i| assert!(publish(i)));
    queue.skip_events(2, true, LONG, false).unwrap();
    let channels = [Kind::Stream, Kind::Topic].map(|kind| {
        let channel = bus.create(&kind.to_string(), &small(kind)).unwrap();
        let _ = read(&channel, "audit", 0);
        let mut publish = publisher(&channel);
        (0..20).for_each(|i| assert!(publish(i)));
        assert_eq!(channel.skip_subscription("audit", 5, false).unwrap().events, 5);
        channel
    });
    drop(publish);
    let before = bytes_below(&base.path().join("b"));
    assert_eq!(queue.purge(true).unwrap().events, 18);
    assert_eq!(queue.skip_events(3, false, LONG, true).unwrap().positions, [2, 3, 4]);
    assert_eq!(queue.skip_events(3, true, LONG, true).unwrap().positions, [2, 3, 4]);
    let letters = queue.dead_letters().unwrap();
    assert_eq!(letters.list().unwrap().len(), 2);
    assert_eq!(letters.retry(Select::All, LONG, true).unwrap().letters.len(), 2);
    assert_eq!(letters.drop_letters(Select::Position(1), true).unwrap().letters.len(), 1);
    let resized = queue.resize(&Resize { slots: Some(128), ..Resize::default() }, true).unwrap();
    assert_eq!((resized.incarnation, resized.first_position, resized.carried.events), (2, 20, 20));
    for channel in &channels {
        let kind = channel.header().kind;
        assert_eq!(channel.purge(true).unwrap().moved[0].events, 15, "{kind}");
        assert_eq!(channel.skip_subscription("audit", 2, true).unwrap().events, 2);
        assert_eq!(channel.seek_subscription("audit", SeekTo::Position(0), true).unwrap().events, 5);
        assert_eq!(channel.seek_subscription("audit", SeekTo::Live, true).unwrap().events, 15);
        let resize = match kind {
            Kind::Stream => Resize { capacity_bytes: Some(8192), ..Resize::default() },
            _ => Resize { slots: Some(128), ..Resize::default() },
        };
        assert_eq!(channel.resize(&resize, true).unwrap().carried.events, 15);
    }
    assert_eq!(before, bytes_below(&base.path().join("b")), "a dry run wrote");
}

#[test]
fn a_durable_subscription_of_a_harmed_stream_is_an_error() {
    let (_base, bus) = base();
    let stream = bus.create("s", &small(Kind::Stream)).unwrap();
    let _ = read(&stream, "audit", 0);
    let mut publish = publisher(&stream);
    (0..20).for_each(|i| assert!(publish(i)));
    drop(publish);
    let header = stream.header();
    let ring = std::fs::OpenOptions::new().write(true).open(&stream.paths().ring).unwrap();
    use std::os::unix::fs::FileExt;
    ring.write_all_at(&u64::MAX.to_le_bytes(), header.data_offset + 32).unwrap();
    assert!(stream.skip_subscription("audit", 5, true).is_err());
    assert!(stream.skip_subscription("audit", 5, false).is_err());
    assert_eq!(stream.subscriptions().unwrap()[0].position, 0, "it stays");
    let late = SubscribeOptions::default().start(Start::Live);
    assert!(stream.subscriber(&late).is_err());
}

#[test]
fn a_subscription_goes_back_to_what_the_journal_alone_has_and_reads_on_from_there() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = journals::Place::new();
        let channel = place.bus().create("c", &small(kind)).unwrap();
        let recorder = Recorder::start(&channel, place.journal(), &journals::quick()).unwrap();
        let _ = read(&channel, "audit", 0);
        let mut publish = publisher(&channel);
        let deadline = Instant::now() + LONG;
        for i in 0..1000u64 {
            while !publish(i) {
                read(&channel, "audit", 100);
                assert!(Instant::now() < deadline);
            }
        }
        let _ = read(&channel, "audit", 100);
        recorder.stop().unwrap();
        let cursor = channel.subscriptions().unwrap()[0].position;
        let wanted = if kind == Kind::Stream { 160 } else { 10 };
        let refused = said(channel.seek_subscription("audit", SeekTo::Position(wanted * 100_000), false));
        assert!(refused.contains("ends at"), "{refused}");
        if kind == Kind::Stream {
            let refused = said(channel.seek_subscription("audit", SeekTo::Position(168), false));
            assert!(refused.contains("no event starts there, the next one at 176"), "{refused}");
        }
        let moved = channel.seek_subscription("audit", SeekTo::Position(wanted), false).unwrap();
        assert_eq!((moved.from, moved.to, moved.from_journal), (cursor, wanted, true));
        let refused = said(channel.skip_subscription("audit", 1, false));
        assert!(refused.contains("reads on from the journal"), "{refused}");
        let options = FollowOptions::default().name("audit").durable(true);
        let mut follower = channel.follow(&options).unwrap();
        for expected in 10..1000 {
            match follower.recv_timeout(LONG).unwrap() {
                Some(Followed::Event(event)) => assert_eq!(number(&event), expected, "{kind}"),
                other => panic!("{other:?}"),
            }
        }
        drop(follower);
        // Forward again, over the events in the journal; and to a time before everything.
        let moved = channel.seek_subscription("audit", SeekTo::Time(0), false).unwrap();
        assert_eq!((moved.to, moved.from_journal), (0, true));
        let moved = channel.seek_subscription("audit", SeekTo::Live, false).unwrap();
        assert_eq!((moved.from, moved.from_journal), (0, false));
        assert_eq!(read(&channel, "audit", 10).0, []);
    }
}
