//! Survivors that could not go on, each test named for the reason.

use std::time::{Duration, Instant};

use railbus::internal::life::LifeClaim;
use railbus::{Bus, ChannelOptions, Kind, RecvError, SendOptions, SubscribeOptions, WorkOptions};
use railbus_os::file_id::FileId;
use railbus_ring::members::registry::{Locks, Registry};

use crate::children::{role, say};
use crate::forks::{End, drive, event, forked, number};

const HANG: Duration = Duration::from_secs(30);

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let bus = Bus::at(base, "bus").unwrap();
    match role.as_str() {
        "tap in a worker's place" => tap_in_a_workers_place(&bus),
        "batches only" => batches_only(&bus),
        "polling a topic" => polling_a_topic(&bus),
        "polling a queue" => polling_a_queue(&bus),
        "slow worker" => slow_worker(&bus),
        other => panic!("no role {other:?}"),
    }
    say(b"fine");
}

fn options(kind: Kind) -> ChannelOptions {
    let options = ChannelOptions::new(kind).lock_memory(false);
    if kind == Kind::Stream { options.capacity_bytes(4096) } else { options.slots(64) }
}

/// Dies (without a `Drop`) while the result of `body` is still alive.
fn die_with<T>(body: impl FnOnce() -> T) {
    let mut actor = forked(|| std::mem::forget(body()));
    assert_eq!(actor.wait(), End::Finished);
}

/// Calls `attempt` until it returns success.
fn until(what: &str, mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < HANG, "still not: {what}");
    }
}

#[test]
fn a_tap_that_takes_a_dead_workers_place_sweeps_it() {
    drive("tap in a worker's place");
}

/// The tap is alive under the index that the dead worker's TAKEN words name: they would look held
/// without end.
fn tap_in_a_workers_place(bus: &Bus) {
    let queue = bus.create("q", &options(Kind::Queue).consumers_max(2)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for n in 0..3 {
        producer.publish(&event(n, 16)).unwrap();
    }
    die_with(|| {
        let mut worker = queue.worker(&WorkOptions::default()).unwrap();
        for _ in 0..3 {
            worker.take_ticket().unwrap().unwrap();
        }
        worker
    });
    // The second entry is in use, so the tap gets the dead worker's.
    let place = queue.tap(&SubscribeOptions::default()).unwrap();
    let _tap = queue.tap(&SubscribeOptions::default()).unwrap();
    drop(place);
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    for n in 0..3 {
        let job = worker.take_timeout(HANG).expect("an event of the dead worker");
        assert_eq!((number(&job), job.attempt()), (n, 2));
        let _ = job.done();
    }
}

#[test]
fn a_publisher_of_batches_passes_over_a_dead_reader() {
    drive("batches only");
}

fn batches_only(bus: &Bus) {
    let batch: Vec<Vec<u8>> = (0..7).map(|n| event(n, 40)).collect();
    let stream = bus.create("s", &options(Kind::Stream)).unwrap();
    die_with(|| stream.subscriber(&SubscribeOptions::default()).unwrap());
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    let mut published = 0;
    until("three laps of the stream", || {
        published += publisher.try_publish_batch(&batch).unwrap();
        published > 300
    });
    let topic = bus.create("t", &options(Kind::Topic)).unwrap();
    die_with(|| topic.topic_subscriber(&SubscribeOptions::default()).unwrap());
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    let mut published = 0;
    until("three laps of the topic", || {
        published += publisher.try_publish_batch(&batch).unwrap();
        published > 200
    });
}

#[test]
fn a_reader_that_only_polls_steps_over_an_orphan() {
    drive("polling a topic");
}

fn polling_a_topic(bus: &Bus) {
    let topic = bus.create("t", &options(Kind::Topic)).unwrap();
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let lossy = SubscribeOptions::default().lossy(true);
    let mut lossy = topic.topic_subscriber(&lossy).unwrap();
    let mut batches = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut impatient = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    die_with(|| {
        let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
        std::mem::forget(publisher.claim(8).unwrap());
        publisher
    });
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    publisher.publish(b"behind").unwrap();
    until("the event behind the orphan", || reader.try_recv().unwrap().is_some());
    until("the event behind the orphan, lossy", || lossy.try_recv().unwrap().is_some());
    until("the event behind the orphan, in short waits", || impatient.recv_timeout(Duration::ZERO).is_ok());
    until("the event behind the orphan, in a batch", || !batches.batch(3).unwrap().is_empty());
}

#[test]
fn a_worker_that_only_polls_repairs_what_the_dead_left() {
    drive("polling a queue");
}

fn polling_a_queue(bus: &Bus) {
    let queue = bus.create("q", &options(Kind::Queue)).unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let lossy = SubscribeOptions::default().lossy(true);
    let mut tap = queue.tap(&lossy).unwrap();
    die_with(|| {
        let mut producer = queue.producer(&SendOptions::default()).unwrap();
        std::mem::forget(producer.claim(8).unwrap());
        producer
    });
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    producer.publish(&event(1, 16)).unwrap();
    until("the event behind the orphan", || match worker.try_take().unwrap() {
        Some(job) => {
            let _ = job.done();
            true
        }
        None => false,
    });
    until("the event behind the orphan, at a lossy tap", || tap.try_recv().unwrap().is_some());
    drop(tap);
    producer.publish(&event(2, 16)).unwrap();
    die_with(|| {
        let mut worker = queue.worker(&WorkOptions::default()).unwrap();
        worker.take_ticket().unwrap().unwrap();
        worker
    });
    until("the dead worker's event", || match worker.take_ticket().unwrap() {
        Some(ticket) => {
            assert_eq!((ticket.attempt(), number(&worker.event(ticket).unwrap())), (2, 2));
            worker.done(ticket)
        }
        None => false,
    });
}

#[test]
fn a_busy_slow_worker_repairs_what_the_dead_left() {
    drive("slow worker");
}

/// It always finds a next event at once, and each takes it a while: it must check by time, not by
/// count.
fn slow_worker(bus: &Bus) {
    let queue = bus.create("q", &options(Kind::Queue)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    producer.publish(&event(0, 16)).unwrap();
    die_with(|| {
        let mut worker = queue.worker(&WorkOptions::default()).unwrap();
        worker.take_ticket().unwrap().unwrap();
        worker
    });
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    for n in 1..60 {
        producer.publish(&event(n, 16)).unwrap();
    }
    let mut before = 0;
    loop {
        let job = worker.take_timeout(HANG).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        let n = number(&job);
        let _ = job.done();
        if n == 0 {
            break;
        }
        before += 1;
    }
    assert!(before < 59, "the whole backlog came before the dead worker's event");
}

/// The locks of the consumers' registry, for an operator.
struct Operator(std::cell::RefCell<LifeClaim>);

impl Locks for Operator {
    fn try_janitor(&self, index: usize) -> bool {
        self.0.borrow().try_janitor(index).unwrap()
    }

    fn release_janitor(&self, index: usize) {
        self.0.borrow().release_janitor(index).unwrap();
    }

    fn try_life(&self, index: usize) -> bool {
        self.0.borrow_mut().try_life(index).unwrap()
    }

    fn is_life_held(&self, index: usize) -> bool {
        self.0.borrow().is_life_locked(index).unwrap()
    }
}

/// Evicts the first consumer of a channel.
fn evict(base: &std::path::Path, name: &str) {
    let attached = railbus::internal::attach(base, &name.parse().unwrap()).unwrap();
    let maps = attached.map(railbus::internal::Role::Consumer).unwrap();
    // SAFETY: the maps outlive the memory, and an operator may write this file.
    let acks = unsafe { maps.acks.memory(false) };
    let id = FileId::of(attached.acks_file()).unwrap();
    let locks = Operator(LifeClaim::open(attached.paths.acks.clone(), id).unwrap().into());
    let registry = Registry::new(acks, 64, railbus_ring::layout::CONSUMERS_HIGH);
    assert!(registry.evict(&locks, 0, registry.state(0)));
}

#[test]
fn an_evicted_reader_is_told_before_it_takes_a_later_lap_for_its_own() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "bus").unwrap();
    // Frames of 64 bytes: a whole lap later another frame begins at the very same place.
    let stream = bus.create("s", &options(Kind::Stream)).unwrap();
    let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
    let mut batches = stream.subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    for n in 0..8 {
        publisher.publish(&event(n, 56)).unwrap();
    }
    assert_eq!(number(&reader.try_recv().unwrap().unwrap()), 0);
    assert_eq!(batches.batch(8).unwrap().len(), 8);
    evict(base.path(), "bus/s");
    drop(batches);
    for n in 8..2 * 64 + 2 {
        publisher.publish_timeout(&event(n, 56), HANG).expect("the evicted reader is not in the way");
    }
    match reader.batch(3).map(|batch| batch.iter().map(|event| number(&event)).collect::<Vec<_>>()) {
        Err(RecvError::Evicted) => {}
        other => panic!("{other:?}"),
    }
    match reader.try_recv() {
        Err(RecvError::Evicted) => {}
        other => panic!("{:?}", other.map(|event| event.map(|event| number(&event)))),
    }
}
