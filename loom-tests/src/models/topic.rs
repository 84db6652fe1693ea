//! Models of the topic, of taps, and of joining a slot ring.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loom::thread;
use railbus_ring::frame;
use railbus_ring::members::join::StartAt;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::slots::producer::NoSlot;
use railbus_ring::slots::reader::SlotPoll;

use super::slot_rig::{RigProducer, SLOTS, Shape, SlotRig, later};
use crate::loom_memory::{Actor, LoomPeers, Weak};

type Log = Rc<RefCell<Vec<u64>>>;

fn shape(weak: Weak, producers: usize, gates: usize) -> Shape {
    Shape { weak, producers, consumers: gates, gates, ..Shape::default() }
}

/// Two publishers, two subscribers that gate from the start: both see everything, in one order.
pub fn one_order(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 2, 2), false);
    let mut last = rig.reader(1, &Actor::immortal());
    last.inner.join(StartAt::Live, false).expect("live");
    let mut first = rig.reader(0, &Actor::immortal());
    first.inner.join(StartAt::Live, false).expect("live");
    let publishers: Vec<_> = (0..2)
        .map(|index| {
            let rig = rig.clone();
            thread::spawn(move || {
                let mut publisher = rig.producer::<true>(index, &Actor::immortal());
                assert!(publisher.push(10 + index as u64).is_some(), "there is room for both");
            })
        })
        .collect();
    let mut early: Vec<_> = (0..2).filter_map(|_| first.poll()).collect();
    for publisher in publishers {
        publisher.join().unwrap();
    }
    early.extend(std::iter::from_fn(|| first.poll()));
    let late: Vec<_> = std::iter::from_fn(|| last.poll()).collect();
    assert_eq!(early, late, "one order");
    assert!(early.iter().map(|event| event.0).eq(0..2));
}

/// A subscriber that gates, and a publisher that laps as far as the cursor lets it.
pub fn gate(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 1, 1), false);
    let mut reader = rig.reader(0, &Actor::immortal());
    reader.inner.join(StartAt::Live, false).expect("live");
    let mut publisher = rig.producer::<true>(0, &Actor::immortal());
    assert!(publisher.push(0).is_some() && publisher.push(1).is_some());
    let reading = thread::spawn(move || {
        let mut seen: Vec<_> = (0..2).filter_map(|_| reader.poll()).collect();
        let _ = reader.inner.acknowledge();
        seen.extend(reader.poll());
        (reader, seen)
    });
    let pushed = (2..4).filter(|&value| publisher.push(value).is_some()).count() as u64;
    let (mut reader, mut seen) = reading.join().unwrap();
    seen.extend(std::iter::from_fn(|| reader.poll()));
    assert!(seen.iter().map(|event| event.0).eq(0..2 + pushed));
    assert!(seen.iter().map(|event| event.1).is_sorted());
}

/// A subscriber that lives is evicted at any moment, and the publisher laps: the events that it has
/// lent are not overwritten.
pub fn evicted(weak: Weak) {
    let rig = SlotRig::new(Shape { evicts: true, ..shape(weak, 1, 1) }, false);
    let mut reader = rig.reader(0, &Actor::immortal());
    reader.inner.join(StartAt::Live, false).expect("live");
    let mut publisher = rig.producer::<true>(0, &Actor::immortal());
    assert!(publisher.push(0).is_some() && publisher.push(1).is_some());
    let reading = thread::spawn(move || {
        for value in 0..2 {
            let polled = reader.inner.poll(|| ());
            if !reader.is_registered() {
                return reader.inner.take_back_lent();
            }
            let SlotPoll::Event(t, _) = polled else { return };
            assert_eq!((t, reader.read(t), reader.read(t)), (value, value, value));
        }
    });
    rig.evict_reader();
    for value in 2..4 {
        publisher.push(value);
    }
    reading.join().unwrap();
}

/// A subscriber (of a topic) or tap (of a queue, whose events a worker takes) joins live while the
/// producer, which has cached "no gates", goes on. From the place where it starts, it misses
/// nothing and nothing is overwritten under it.
pub fn join_live<const TOPIC: bool>(weak: Weak) {
    let consumers = if TOPIC { 1 } else { 2 };
    let rig = SlotRig::new(Shape { weak, producers: 1, consumers, gates: 1, ..Shape::default() }, !TOPIC);
    let mut producer = rig.producer::<TOPIC>(0, &Actor::immortal());
    let mut worker = (!TOPIC).then(|| rig.worker(0, &Actor::immortal()));
    let mut push = move |producer: &mut RigProducer<TOPIC>, value| {
        let pushed = producer.push(value);
        if let (Some(worker), Some(t)) = (&mut worker, pushed) {
            assert_eq!(worker.take(1), Some((t, value)));
            assert!(worker.inner.done(t));
        }
        pushed.is_some()
    };
    assert!(push(&mut producer, 0));
    let joining = rig.clone();
    let joiner = thread::spawn(move || {
        let mut reader = joining.reader(consumers - 1, &Actor::immortal());
        reader.inner.join(StartAt::Live, false).expect("live");
        let start = reader.inner.position();
        let seen: Vec<_> = reader.poll().into_iter().collect();
        (reader, start, seen)
    });
    let pushed = (1..5).take_while(|&value| push(&mut producer, value)).count() as u64;
    let (mut reader, start, mut seen) = joiner.join().unwrap();
    seen.extend(std::iter::from_fn(|| reader.poll()));
    assert!(seen.iter().map(|event| event.0).eq(start..1 + pushed), "{seen:?} from {start} of {pushed}");
    assert!(seen.iter().all(|event| event.0 == event.1));
}

/// A lossy reader (of a topic) or tap (of a queue, whose events a worker takes) while the producer
/// laps: no event is torn, losses are reported, nothing is called corrupt.
pub fn lossy<const TOPIC: bool>(weak: Weak) {
    let consumers = if TOPIC { 0 } else { 2 };
    let shape = Shape { weak, producers: 1, consumers, payload_words: true, ..Shape::default() };
    let rig = SlotRig::new(shape, !TOPIC);
    let mut producer = rig.producer::<TOPIC>(0, &Actor::immortal());
    let mut worker = (!TOPIC).then(|| rig.worker(0, &Actor::immortal()));
    let mut push = move |value| {
        let pushed = producer.push(value);
        if let (Some(worker), Some(t)) = (&mut worker, pushed) {
            assert_eq!(worker.inner.take(1, later).map(|taken| taken.ticket), Some(t));
            assert!(worker.inner.done(t));
        }
        pushed.is_some()
    };
    assert!(push(0));
    let reading = rig.clone();
    let lossy = thread::spawn(move || {
        let mut reader = reading.reader(if TOPIC { 0 } else { 1 }, &Actor::immortal());
        if !TOPIC {
            reader.inner = reader.inner.of_queue();
        }
        reader.inner.join(StartAt::Oldest, true).expect("oldest");
        let mut copy = Vec::new();
        let mut next = reader.inner.position();
        for _ in 0..3 {
            match reader.inner.poll_lossy(&mut copy) {
                SlotPoll::Event(t, header) => {
                    assert_eq!(t, next);
                    assert_eq!((frame::type_id(header) as u64, &copy[..]), (t, &[t, t][..]), "torn");
                    next = t + 1;
                }
                SlotPoll::Lost { from, to } => {
                    assert!(from == next && to > from);
                    next = to;
                }
                SlotPoll::Empty => {}
                SlotPoll::Corrupt => panic!("nothing is corrupt"),
            }
            assert_eq!(reader.inner.position(), next);
        }
    });
    for value in 1..4 {
        assert!(push(value), "nobody gates");
    }
    lossy.join().unwrap();
}

/// Pushes, aborting orphans in the way.
fn push_repairing(publisher: &mut RigProducer<true>, value: u64, peers: &LoomPeers) -> Option<u64> {
    for _ in 0..4 {
        match publisher.inner.claim(1) {
            Ok(tickets) => {
                publisher.fill(tickets.first, value);
                return Some(tickets.first);
            }
            Err(refused @ NoSlot::NotPublished(_)) => {
                publisher.inner.repair(refused, peers);
            }
            Err(_) => return None,
        }
    }
    None
}

/// A publisher is killed at its k-th access. Another laps over the tickets that it left, and a
/// subscriber steps over them. Exactly the published events are seen, in order.
pub fn publisher_dies(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let rig = SlotRig::new(shape(weak, 2, 1), false);
    let published = Log::default();
    let mut reader = rig.reader(0, &Actor::immortal());
    reader.inner.join(StartAt::Live, false).expect("live");
    let dying = Actor::mortal(k, killed);
    let peers = LoomPeers { producers: vec![Some(dying.clone()), None], consumers: vec![] };
    let (pushing, its, actor) = (rig.clone(), published.clone(), dying.clone());
    let first = thread::spawn(move || {
        actor.live(|| {
            let mut publisher = pushing.producer::<true>(0, &actor);
            for value in 0..2 {
                if publisher.push(value).is_some() {
                    its.borrow_mut().push(value);
                }
            }
        });
    });
    let mut publisher = rig.producer::<true>(1, &Actor::immortal());
    if push_repairing(&mut publisher, 10, &peers).is_some() {
        published.borrow_mut().push(10);
    }
    let mut seen: Vec<u64> = Vec::new();
    if reader.inner.is_stuck() {
        reader.inner.skip_orphan(&peers);
    }
    seen.extend(reader.poll().map(|event| event.1));
    first.join().unwrap();
    let mut drain = |seen: &mut Vec<u64>| {
        loop {
            seen.extend(std::iter::from_fn(|| reader.poll()).map(|event| event.1));
            if !reader.inner.is_stuck() {
                break;
            }
            assert!(reader.inner.skip_orphan(&peers), "nobody else is in the way");
        }
        let _ = reader.inner.acknowledge();
    };
    drain(&mut seen);
    for value in 20..21 + SLOTS {
        let pushed = push_repairing(&mut publisher, value, &peers);
        assert!(pushed.is_some(), "everybody can go on");
        published.borrow_mut().push(value);
        drain(&mut seen);
    }
    seen.sort();
    published.borrow_mut().sort();
    assert_eq!(seen, *published.borrow());
}

/// A publisher dies while it writes its slot; a second aborts the ticket; a third laps. The third's
/// store to the slot must come after what the dead publisher wrote, though it learns of it only
/// through the second.
pub fn dead_then_lap(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 2, 0), false);
    let dead = Actor::mortal(u32::MAX - 1, &Arc::default());
    let peers = LoomPeers { producers: vec![Some(dead.clone()), None], consumers: vec![] };
    let aborting = rig.clone();
    let second = thread::spawn(move || {
        if peers.is_dead(Side::Producers, 0) {
            let mut publisher = aborting.producer::<true>(1, &Actor::immortal());
            publisher.inner.repair(NoSlot::NotPublished(0), &peers);
        }
    });
    let lapping = rig.clone();
    let third = thread::spawn(move || {
        let mut publisher = lapping.producer::<true>(1, &Actor::immortal());
        if publisher.inner.tail() == SLOTS {
            publisher.push(2);
        }
    });
    let mut publisher = rig.producer::<true>(0, &dead);
    let tickets = publisher.inner.claim(2).expect("the topic is empty");
    assert_eq!((tickets.first, tickets.count), (0, 2));
    publisher.fill(1, 1);
    publisher.write_only(0, 0);
    dead.kill();
    second.join().unwrap();
    third.join().unwrap();
}
