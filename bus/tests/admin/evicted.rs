//! Administrators at work in a queue that are evicted, kept waiting, or find events that were put
//! aside.

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use railbus::admin::{Select, Skipped};
use railbus::info::Participant;
use railbus::internal::Role;
use railbus::{
    Attributes, Bridge, Bus, Channel, ChannelOptions, Error, Kind, Producer, SendOptions, WorkOptions,
};
use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::memory::{Edge, Memory};

const LONG: Duration = Duration::from_secs(60);
/// Slots of the queues: the smallest number.
const SLOTS: u64 = 64;
const KEY: u64 = 7;

fn small() -> ChannelOptions {
    ChannelOptions::new(Kind::Queue).slots(SLOTS).slot_bytes(128).lock_memory(false)
}

/// A queue, and its dead-letter queue, which has no room.
fn full_letters(options: ChannelOptions) -> (tempfile::TempDir, Channel, Channel) {
    let base = tempfile::Builder::new().prefix("railbus-admin-").tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "b").unwrap();
    let dead = bus.create("dead", &small().slot_bytes(256)).unwrap();
    let queue = bus.create("q", &options.max_attempts(3).dead_letters(Some("dead".into()))).unwrap();
    let mut producer = producer(&dead);
    (0..SLOTS).for_each(|_| put(&mut producer, u64::MAX, None));
    (base, queue, dead)
}

fn producer(queue: &Channel) -> Producer {
    queue.producer(&SendOptions::default()).unwrap()
}

fn put(producer: &mut Producer, number: u64, key: Option<u64>) {
    let attributes = Attributes::default().key(key);
    producer.try_publish_with(&number.to_le_bytes(), &attributes).unwrap();
}

/// Finishes all waiting events.
fn drain(queue: &Channel) -> u64 {
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let mut count = 0;
    while let Some(job) = worker.try_take().unwrap() {
        let _ = job.done();
        count += 1;
    }
    count
}

/// Runs on a thread of its own, so that a hang fails the test.
fn apart<T: Send + 'static>(
    queue: &Channel,
    act: impl FnOnce(&Channel) -> T + Send + 'static,
) -> Receiver<T> {
    let (told, hear) = channel();
    let queue = queue.clone();
    std::thread::spawn(move || told.send(act(&queue)));
    hear
}

fn skip(queue: &Channel, events: u64) -> Receiver<railbus::Result<Skipped>> {
    apart(queue, move |queue| queue.skip_events(events, true, LONG, false))
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The administrator, once it holds an event.
fn administrator(queue: &Channel) -> Participant {
    eventually("an administrator has an event in hand", || {
        let participants = queue.info().unwrap().participants;
        participants.into_iter().find(|one| one.name == "railbus admin" && one.in_hand == 1)
    })
}

#[test]
fn what_an_evicted_administrator_had_in_hand_becomes_no_dead_letter_of_another_event() {
    let (_base, queue, dead) = full_letters(small());
    let mut producer = producer(&queue);
    (0..3).for_each(|n| put(&mut producer, n, None));
    let skipping = skip(&queue, 3);
    let index = administrator(&queue).index;
    queue.evict(Side::Consumers, index, LONG).unwrap();
    // Another worker has it, and its slot is used again; then there is room.
    for lap in 0..2 {
        assert!(drain(&queue) > 0);
        (0..SLOTS).for_each(|n| put(&mut producer, 1000 * (lap + 1) + n, None));
    }
    assert_eq!(drain(&dead), SLOTS);
    let outcome = skipping.recv_timeout(LONG).expect("it ends");
    assert!(matches!(outcome, Err(Error::PeerGone { .. })), "{outcome:?}");
    assert_eq!(dead.info().unwrap().positions.unfinished, Some(0), "a letter of what was not in its hands");
    assert_eq!(queue.info().unwrap().counters.dead_lettered, 0);
    assert_eq!(drain(&queue), SLOTS);
}

#[test]
fn an_evicted_administrator_retries_no_letter() {
    let (_base, queue, dead) = full_letters(small());
    assert_eq!(drain(&dead), SLOTS);
    let mut producer = producer(&queue);
    put(&mut producer, 0, None);
    assert_eq!(queue.skip_events(1, true, LONG, false).unwrap().positions, [0]);
    (0..SLOTS).for_each(|n| put(&mut producer, 100 + n, None));
    let retrying = apart(&queue, |queue| queue.dead_letters()?.retry(Select::All, LONG, false));
    let index = administrator(&dead).index;
    dead.evict(Side::Consumers, index, LONG).unwrap();
    assert_eq!(drain(&dead), 1);
    assert_eq!(drain(&queue), SLOTS);
    let outcome = retrying.recv_timeout(LONG).expect("it ends");
    assert!(matches!(outcome, Err(Error::PeerGone { .. })), "{outcome:?}");
    assert_eq!(drain(&queue), 0, "a letter that another has settled is back");
}

#[test]
fn what_is_put_aside_is_purged_while_the_event_before_it_is_in_hand() {
    let (_base, queue, _dead) = full_letters(small().keyed(true));
    let mut producer = producer(&queue);
    put(&mut producer, 0, Some(KEY));
    put(&mut producer, 1, Some(KEY));
    let mut first = queue.worker(&WorkOptions::default()).unwrap();
    let held = first.take_ticket().unwrap().expect("the first of the key");
    let mut second = queue.worker(&WorkOptions::default()).unwrap();
    assert!(second.take_ticket().unwrap().is_none(), "it is put aside");
    let purged = apart(&queue, |queue| queue.purge(false)).recv_timeout(LONG).expect("it ends").unwrap();
    assert_eq!((purged.events, purged.in_hand, purged.unpublished), (1, 1, 0));
    assert!(first.done(held));
    assert_eq!(queue.info().unwrap().positions.unfinished, Some(0));
}

#[test]
fn what_an_administrator_has_finished_lets_the_next_of_its_key_run() {
    let (_base, queue, dead) = full_letters(small().keyed(true));
    let mut producer = producer(&queue);
    put(&mut producer, 0, Some(KEY));
    put(&mut producer, 1, Some(KEY));
    let skipping = skip(&queue, 1);
    administrator(&queue);
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    assert!(worker.take_ticket().unwrap().is_none(), "it is put aside");
    let bridge = Bridge::new(&queue).unwrap();
    bridge.arm(worker.watch());
    assert!(drain(&dead) >= SLOTS);
    assert_eq!(skipping.recv_timeout(LONG).expect("it ends").unwrap().positions, [0]);
    let mut fds = [PollFd::new(bridge.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, 10_000u16).unwrap(), 1, "nobody was told that the next may run");
    bridge.drain();
    let ticket = worker.take_ticket().unwrap().expect("the next of the key");
    assert_eq!(ticket.position(), 1);
    assert!(worker.done(ticket));
}

#[test]
fn an_administrator_that_waits_for_room_is_seen_to_move() {
    let (_base, queue, dead) = full_letters(small());
    put(&mut producer(&queue), 0, None);
    let skipping = skip(&queue, 1);
    let index = administrator(&queue).index;
    let (old, new) = (200_000_000, 100_000_000);
    eventually("it was seen a moment ago", || {
        let participants = queue.info().unwrap().participants;
        let one = participants.into_iter().find(|one| one.side == Side::Consumers && one.index == index)?;
        (one.attached_ns > old && one.seen_ns < new).then_some(())
    });
    assert!(drain(&dead) >= SLOTS);
    skipping.recv_timeout(LONG).expect("it ends").unwrap();
}

#[test]
fn what_is_handed_back_meanwhile_is_purged_too() {
    let (_base, queue, _dead) = full_letters(small());
    let mut producer = producer(&queue);
    (0..SLOTS).for_each(|n| put(&mut producer, n, None));
    let mut worker = queue.worker(&WorkOptions::default().grab(8)).unwrap();
    let tickets: Vec<_> = (0..8).map(|_| worker.take_ticket().unwrap().unwrap()).collect();
    for (n, ticket) in tickets.into_iter().enumerate() {
        if n % 2 == 0 {
            assert!(worker.retry(ticket));
        }
    }
    let skipped = queue.skip_events(6, false, LONG, false).unwrap();
    assert_eq!(skipped.positions, [0, 2, 4, 6, 8, 9], "those that were handed back come first");
    let purged = queue.purge(false).unwrap();
    assert_eq!((purged.events, purged.in_hand, purged.unpublished), (SLOTS - 10, 4, 0));
    drop(worker);
    assert_eq!(queue.purge(false).unwrap().events, 4);
}

#[test]
fn a_purge_looks_at_each_event_once_and_at_no_more_than_a_ring_has() {
    let (base, _, _dead) = full_letters(small());
    let bus = Bus::at(base.path(), "b").unwrap();
    let queue = bus.create("large", &ChannelOptions::new(Kind::Queue).slots(1 << 17).slot_bytes(64)).unwrap();
    let mut large = producer(&queue);
    (0..1 << 17).for_each(|n| put(&mut large, n, None));
    drop(large);
    let purge =
        |queue: &Channel| apart(queue, |queue| queue.purge(false)).recv_timeout(LONG).expect("it ends");
    assert_eq!(purge(&queue).unwrap().events, 1 << 17);
    // A producer that runs wild claims that there is far more.
    let attached = railbus::internal::attach(base.path(), &"b/large".parse().unwrap()).unwrap();
    let maps = attached.map(Role::Producer).unwrap();
    // SAFETY: the maps outlive the memory, and are a producer's, who may write it.
    let ring = unsafe { maps.ring.memory(false) };
    ring.store(layout::TAIL, 1 << 40, Edge::Tail);
    assert_eq!(purge(&queue).unwrap().events, 0);
}
