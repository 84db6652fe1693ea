//! Models of the queue: push, take, done; batches; held ranges; redelivery; the repair of what dead
//! participants left, and the proof that keeps repairs away from live ones.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loom::thread;
use railbus_ring::frame;
use railbus_ring::slots::redo::{AT_ONCE, Next, Redo};

use super::slot_rig::{RigWorker, SLOTS, Shape, SlotRig, later};
use crate::loom_memory::{Actor, LoomMemory, LoomPeers, Weak};

type Log = Rc<RefCell<Vec<u64>>>;

fn shape(weak: Weak, producers: usize, consumers: usize) -> Shape {
    Shape { weak, producers, consumers, ..Shape::default() }
}

/// Pushes until the queue has room, at the end, in the main thread. Everything before must be done
/// already.
fn go_on(rig: &SlotRig, producer: usize, worker: &mut RigWorker) {
    let mut last = rig.producer::<false>(producer, &Actor::immortal());
    for value in 1000..1000 + SLOTS + 1 {
        let t = last.push(value).expect("the queue has room again");
        assert_eq!(worker.take(1), Some((t, value)));
        assert!(worker.done(t));
    }
}

fn take_all(worker: &mut RigWorker, log: &Log) {
    while let Some((ticket, value)) = worker.take(1) {
        log.borrow_mut().push(value);
        assert!(worker.done(ticket));
    }
}

/// One producer, one worker, more events than slots.
pub fn one_to_one(weak: Weak) {
    one_to_one_storing(weak, false);
}

/// The same, with a worker that stores done words by compare-and-swap.
pub fn one_to_one_swapping(weak: Weak) {
    one_to_one_storing(weak, true);
}

fn one_to_one_storing(weak: Weak, swap: bool) {
    let rig = SlotRig::new(Shape { swap, ..shape(weak, 1, 1) }, true);
    let log = Log::default();
    let mut producer = rig.producer::<false>(0, &Actor::immortal());
    assert!(producer.push(1).is_some());
    let (taking, its) = (rig.clone(), log.clone());
    let worker = thread::spawn(move || {
        let mut worker = taking.worker(0, &Actor::immortal());
        for _ in 0..2 {
            if let Some((ticket, value)) = worker.take(1) {
                its.borrow_mut().push(value);
                assert!(worker.done(ticket));
            }
        }
        worker
    });
    let pushed = (2..=3).filter(|&value| producer.push(value).is_some()).count() as u64;
    let mut worker = worker.join().unwrap();
    take_all(&mut worker, &log);
    // The third may have found the queue full, so that values need not follow each other.
    assert_eq!(log.borrow().len() as u64, 1 + pushed);
    assert!(log.borrow().is_sorted());
    go_on(&rig, 0, &mut worker);
}

/// Two producers, one worker.
pub fn two_producers(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 2, 1), true);
    let log = Log::default();
    let producers: Vec<_> = (0..2)
        .map(|index| {
            let rig = rig.clone();
            thread::spawn(move || {
                let mut producer = rig.producer::<false>(index, &Actor::immortal());
                assert!(producer.push(10 + index as u64).is_some(), "there is room for both");
            })
        })
        .collect();
    let mut worker = rig.worker(0, &Actor::immortal());
    if let Some((ticket, value)) = worker.take(2) {
        log.borrow_mut().push(value);
        assert!(worker.done(ticket));
    }
    for producer in producers {
        producer.join().unwrap();
    }
    take_all(&mut worker, &log);
    log.borrow_mut().sort();
    assert_eq!(*log.borrow(), [10, 11]);
    go_on(&rig, 0, &mut worker);
}

/// One producer that laps, two workers.
pub fn two_workers(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 1, 2), true);
    let log = Log::default();
    let mut producer = rig.producer::<false>(0, &Actor::immortal());
    assert!(producer.push(1).is_some() && producer.push(2).is_some());
    let workers: Vec<_> = (0..2)
        .map(|index| {
            let (rig, log) = (rig.clone(), log.clone());
            thread::spawn(move || {
                let mut worker = rig.worker(index, &Actor::immortal());
                if let Some((ticket, value)) = worker.take(1) {
                    log.borrow_mut().push(value);
                    assert!(worker.done(ticket));
                }
                worker
            })
        })
        .collect();
    let third = producer.push(3).is_some();
    let mut workers: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    workers.iter_mut().for_each(|worker| take_all(worker, &log));
    log.borrow_mut().sort();
    assert_eq!(*log.borrow(), if third { vec![1, 2, 3] } else { vec![1, 2] });
    go_on(&rig, 0, &mut workers[1]);
}

/// Batches on both sides; one event of each batch is aborted.
pub fn batches(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 1, 1), true);
    let log = Log::default();
    let (pushing, its) = (rig.clone(), log.clone());
    let producer = thread::spawn(move || {
        let mut producer = pushing.producer::<false>(0, &Actor::immortal());
        for batch in 0..2 {
            if let Ok(tickets) = producer.inner.claim(2) {
                producer.fill(tickets.first, batch);
                if tickets.count == 2 {
                    producer.inner.abort(tickets.first + 1);
                }
                its.borrow_mut().push(batch);
            }
        }
    });
    let mut worker = rig.worker(0, &Actor::immortal());
    let taken = Log::default();
    for _ in 0..2 {
        if let Some((ticket, value)) = worker.take(2) {
            taken.borrow_mut().push(value);
            assert!(worker.done(ticket));
        }
    }
    producer.join().unwrap();
    take_all(&mut worker, &taken);
    assert_eq!(*taken.borrow(), *log.borrow());
    go_on(&rig, 0, &mut worker);
}

/// A worker holds one ticket, takes another (its claim word moves on) and works on, while another
/// participant sweeps. The worker keeps what it holds. Its sweeper believes in two deaths that did
/// not happen only if an ordering is missing.
pub fn sweep_among_the_living(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 1, 2), true);
    let log = Log::default();
    let mut producer = rig.producer::<false>(0, &Actor::immortal());
    assert!(producer.push(1).is_some() && producer.push(2).is_some());
    let (taking, its) = (rig.clone(), log.clone());
    let holder = thread::spawn(move || {
        let mut worker = taking.worker(0, &Actor::immortal());
        let first = worker.take(1).expect("nobody else takes");
        let second = worker.take(1).expect("nobody else takes");
        for (ticket, value) in [first, second] {
            its.borrow_mut().push(value);
            assert_eq!(worker.read(ticket), value);
            assert!(worker.done(ticket));
        }
        worker
    });
    let peers = LoomPeers::default();
    let sweeper = Actor::immortal();
    rig.sweep(&sweeper, &peers, None);
    holder.join().unwrap();
    let mut other = rig.worker(1, &sweeper);
    take_all(&mut other, &log);
    assert_eq!(*log.borrow(), [1, 2], "each came once, to its holder");
    go_on(&rig, 0, &mut other);
}

/// A worker finds a ticket won but not published, again and again, and looks for its owner. The
/// owner lives, publishes, and goes on to the next ticket: nothing is stepped over.
pub fn skip_among_the_living(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 2, 1), true);
    let log = Log::default();
    let producers: Vec<_> = (0..1)
        .map(|index| {
            let rig = rig.clone();
            thread::spawn(move || {
                let mut producer = rig.producer::<false>(index, &Actor::immortal());
                assert!(producer.push(1).is_some(), "there is room");
                assert!(producer.push(2).is_some(), "there is room");
            })
        })
        .collect();
    let peers = LoomPeers::default();
    let mut worker = rig.worker(0, &Actor::immortal());
    if let Some(t) = worker.inner.stuck_behind() {
        worker.inner.skip_orphan(t, &peers);
    }
    for producer in producers {
        producer.join().unwrap();
    }
    take_all(&mut worker, &log);
    assert_eq!(*log.borrow(), [1, 2]);
    go_on(&rig, 0, &mut worker);
}

/// A producer is killed at its k-th access of three pushes or a batch. A worker runs beside it and
/// steps over the tickets that it left. Exactly the published events are delivered.
pub fn producer_dies(weak: Weak, batch: bool, k: u32, killed: &Arc<AtomicBool>) {
    let rig = SlotRig::new(shape(weak, 2, 1), true);
    let (published, log) = (Log::default(), Log::default());
    let dying = Actor::mortal(k, killed);
    let (pushing, its, actor) = (rig.clone(), published.clone(), dying.clone());
    let producer = thread::spawn(move || {
        actor.live(|| {
            let mut producer = pushing.producer::<false>(0, &actor);
            if batch {
                let tickets = producer.inner.claim(2).expect("the queue is empty");
                for t in tickets.first..tickets.first + tickets.count as u64 {
                    producer.fill(t, t);
                    its.borrow_mut().push(t);
                }
            } else {
                for value in 0..2 {
                    producer.push(value).expect("the queue is empty");
                    its.borrow_mut().push(value);
                }
            }
        });
    });
    let peers = LoomPeers { producers: vec![Some(dying.clone()), None], consumers: vec![] };
    let mut worker = rig.worker(0, &Actor::immortal());
    match worker.take(1) {
        Some((ticket, value)) => {
            log.borrow_mut().push(value);
            assert!(worker.done(ticket));
        }
        None => {
            if let Some(t) = worker.inner.stuck_behind() {
                worker.inner.skip_orphan(t, &peers);
            }
        }
    }
    producer.join().unwrap();
    for _ in 0..2 {
        take_all(&mut worker, &log);
        while let Some(t) = worker.inner.stuck_behind() {
            assert!(worker.inner.skip_orphan(t, &peers), "nobody else is in the way");
        }
    }
    assert_eq!(*log.borrow(), *published.borrow(), "exactly what was published");
    go_on(&rig, 1, &mut worker);
}

/// A worker is killed at its k-th access while it takes, holds, retries and finishes; another
/// sweeps and takes beside it. Everything is delivered, and again at most once more than the worker
/// handed back itself.
pub fn worker_dies(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let rig = SlotRig::new(shape(weak, 1, 3), true);
    let log = Log::default();
    let mut producer = rig.producer::<false>(0, &Actor::immortal());
    assert!(producer.push(1).is_some() && producer.push(2).is_some());
    let dying = Actor::mortal(k, killed);
    let (taking, its, actor) = (rig.clone(), log.clone(), dying.clone());
    let worker = thread::spawn(move || {
        actor.live(|| {
            let mut worker = taking.worker(0, &actor);
            let first = worker.take(1);
            its.borrow_mut().extend(first.map(|(_, value)| value));
            let second = worker.take(1);
            its.borrow_mut().extend(second.map(|(_, value)| value));
            for (ticket, _) in [first, second].into_iter().flatten() {
                assert!(worker.done(ticket));
            }
        });
    });
    let peers = LoomPeers { producers: vec![], consumers: vec![Some(dying.clone()), None, None] };
    let sweeper = Actor::immortal();
    rig.sweep(&sweeper, &peers, None);
    worker.join().unwrap();
    assert!(rig.sweep(&sweeper, &peers, Some(0)), "nobody else announces anything");
    let mut other = rig.worker(1, &sweeper);
    take_all(&mut other, &log);
    for value in [1, 2] {
        let times = log.borrow().iter().filter(|&&v| v == value).count();
        let most = 1 + dying.is_dead() as usize;
        assert!((1..=most).contains(&times), "{value} came {times} times, killed at {k}");
    }
    go_on(&rig, 0, &mut other);
}

/// The tickets that a dead worker has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// One ticket whose done word says TAKEN.
    Taken,
    /// One ticket that only its claim word announces.
    Announced,
    /// One of each.
    Both,
}

/// A participant that sweeps after a worker that died while it held tickets is killed at its k-th
/// access. Another sweeps and takes beside it.
pub fn sweeper_dies(weak: Weak, left: Left, k: u32, killed: &Arc<AtomicBool>) {
    let rig = SlotRig::new(shape(weak, 1, 3), true);
    let log = Log::default();
    let mut producer = rig.producer::<false>(0, &Actor::immortal());
    assert!(producer.push(1).is_some() && producer.push(2).is_some());
    let dead = Actor::mortal(u32::MAX - 1, &Arc::default());
    {
        let mut worker = rig.worker(0, &dead);
        let first = worker.take(1).expect("nobody else takes");
        if left == Left::Announced {
            log.borrow_mut().push(first.1);
            assert!(worker.done(first.0));
        }
        let second = worker.take(1).expect("nobody else takes");
        if left == Left::Taken {
            log.borrow_mut().push(second.1);
            assert!(worker.done(second.0));
        }
        dead.kill();
    }
    let dying = Actor::mortal(k, killed);
    let peers =
        LoomPeers { producers: vec![], consumers: vec![Some(dead.clone()), Some(dying.clone()), None] };
    let (sweeping, actor, knows) = (rig.clone(), dying.clone(), peers.clone());
    let first = thread::spawn(move || {
        actor.live(|| sweeping.sweep(&actor, &knows, Some(0)));
    });
    let other = Actor::immortal();
    let mut worker = rig.worker(2, &other);
    rig.sweep(&other, &peers, Some(0));
    if let Some((ticket, value)) = worker.take(1) {
        log.borrow_mut().push(value);
        assert!(worker.done(ticket));
    }
    first.join().unwrap();
    assert!(rig.sweep(&other, &peers, Some(0)));
    take_all(&mut worker, &log);
    log.borrow_mut().sort();
    assert_eq!(*log.borrow(), [1, 2], "each once more: one worker died");
    go_on(&rig, 0, &mut worker);
}

/// A worker reads an event and hands it back; another takes it, finishes it, and the producer laps.
/// The producer's store to the slot must come after both workers' reads.
pub fn retry_then_lap(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 1, 2), true);
    let mut producer = rig.producer::<false>(0, &Actor::immortal());
    assert!(producer.push(1).is_some());
    let first = rig.clone();
    let back = thread::spawn(move || {
        let mut worker = first.worker(0, &Actor::immortal());
        let (ticket, _) = worker.take(1).expect("nobody else takes fresh events");
        assert!(worker.inner.retry(ticket, |_, _| AT_ONCE));
    });
    let second = rig.clone();
    let again = thread::spawn(move || {
        let mut worker = second.worker(1, &Actor::immortal());
        // Only the event that was handed back: the hint must have moved.
        if worker.hint_moved()
            && let Some((ticket, value)) = worker.take(1)
        {
            assert_eq!(value, 1);
            assert!(worker.done(ticket));
        }
    });
    // The last push laps, if the event is done.
    let lapped = producer.push(2).is_some() && producer.push(3).is_some();
    back.join().unwrap();
    again.join().unwrap();
    let log = Log::default();
    let mut worker = rig.worker(1, &Actor::immortal());
    take_all(&mut worker, &log);
    log.borrow_mut().sort();
    let left = log.borrow().clone();
    assert!(if lapped { left == [2, 3] } else { left == [2] || left == [1, 2] }, "{left:?}");
}

/// A worker died after it had read; a sweeper hands the event back; a worker takes and finishes it;
/// the producer laps. The producer's store must come after the dead worker's read.
pub fn dead_then_lap(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 1, 3), true);
    let mut producer = rig.producer::<false>(0, &Actor::immortal());
    assert!(producer.push(1).is_some());
    let dead = Actor::mortal(u32::MAX - 1, &Arc::default());
    let peers = LoomPeers { producers: vec![], consumers: vec![Some(dead.clone()), None, None] };
    let (taking, actor) = (rig.clone(), dead.clone());
    let first = thread::spawn(move || {
        let mut worker = taking.worker(0, &actor);
        assert!(worker.take(1).is_some(), "nobody else takes fresh events");
        actor.kill();
    });
    let (sweeping, knows) = (rig.clone(), peers.clone());
    let sweep = thread::spawn(move || {
        sweeping.sweep(&Actor::immortal(), &knows, Some(0));
    });
    let second = rig.clone();
    let again = thread::spawn(move || {
        let mut worker = second.worker(1, &Actor::immortal());
        if worker.hint_moved()
            && let Some((ticket, value)) = worker.take(1)
        {
            assert_eq!(value, 1, "the hint brings what it hints at");
            assert!(worker.done(ticket));
        }
    });
    let _ = producer.push(2).is_some() && producer.push(3).is_some();
    first.join().unwrap();
    sweep.join().unwrap();
    again.join().unwrap();
}

/// A worker is evicted at any moment while it takes, holds and finishes two events. Another takes
/// the events that it held, the producer laps, and the evicted worker comes back. Each event is
/// done once, whichever worker reports it. `swap`: how the worker stores; `blind`: it does not
/// check its fence, a mistake that must be noticed.
pub fn evicted(weak: Weak, swap: bool, blind: bool) {
    let rig = SlotRig::new(Shape { swap, evicts: true, ..shape(weak, 1, 2) }, true);
    let log = Log::default();
    let mut producer = rig.producer::<false>(0, &Actor::immortal());
    assert!(producer.push(0).is_some() && producer.push(1).is_some());
    let victim = if blind { Actor::blind() } else { Actor::immortal() };
    let (taking, its, actor) = (rig.clone(), log.clone(), victim.clone());
    let working = thread::spawn(move || {
        let peers = LoomPeers::default();
        let mut eyes = taking.worker(0, &actor);
        let mut held = Vec::new();
        for _ in 0..2 {
            let worker = &mut eyes.inner;
            let Some(ticket) =
                worker.take_fast(1).or_else(|| worker.take(1, later).map(|taken| taken.ticket))
            else {
                break;
            };
            let value = frame::type_id(worker.header(ticket)) as u64;
            eyes.barrier();
            let worker = &mut eyes.inner;
            if worker.is_fenced() {
                worker.keep_waiting(ticket);
                return worker.give_up(&peers, 0);
            }
            held.push((ticket, value));
        }
        for (ticket, value) in held {
            // Others may have finished it already: the lent bytes stay as they were.
            assert_eq!(eyes.read_lent(ticket), value);
            let worker = &mut eyes.inner;
            if !worker.done(ticket) {
                return worker.give_up(&peers, 0);
            }
            its.borrow_mut().push(value);
        }
        eyes.inner.retract();
    });
    let operator = Actor::immortal();
    rig.evict(&operator, &victim);
    let mut other = rig.worker(1, &operator);
    take_all(&mut other, &log);
    // The producer laps, if everything is done.
    let pushed: Vec<u64> = [2, 3].into_iter().filter(|&value| producer.push(value).is_some()).collect();
    working.join().unwrap();
    rig.leave_evicted(&operator);
    take_all(&mut other, &log);
    // As the other worker does every ms: its own claim prevented the victim's sweep.
    if rig.is_closed(&operator) {
        assert!(rig.sweep(&operator, &LoomPeers::default(), Some(0)));
        take_all(&mut other, &log);
    }
    log.borrow_mut().sort();
    assert_eq!(*log.borrow(), [&[0, 1], &pushed[..]].concat(), "each is done once");
    go_on(&rig, 0, &mut other);
}

/// Two announce events in the index of waiting events, while another takes the events that it finds
/// there: each event is found once.
pub fn index(weak: Weak) {
    let rig = SlotRig::new(shape(weak, 1, 3), true);
    let actor = Actor::immortal();
    let mut producer = rig.producer::<false>(0, &actor);
    assert!(producer.push(1).is_some() && producer.push(2).is_some());
    let mut holders = [rig.worker(0, &actor), rig.worker(1, &actor)];
    let tickets: Vec<u64> =
        holders.iter_mut().map(|worker| worker.take(1).expect("nobody else takes").0).collect();
    let [mut one, mut two] = holders;
    let ticket = tickets[0];
    let other = thread::spawn(move || assert!(one.inner.retry(ticket, |_, _| AT_ONCE)));
    let taking = rig.clone();
    let taker = thread::spawn(move || {
        let mut worker = taking.worker(2, &Actor::immortal());
        let found = worker.inner.take(1, later).map(|taken| taken.ticket);
        (worker, found)
    });
    assert!(two.inner.retry(tickets[1], |_, _| AT_ONCE));
    other.join().unwrap();
    let (mut worker, found) = taker.join().unwrap();
    let mut found: Vec<u64> = found.into_iter().collect();
    while let Some(taken) = worker.inner.take(1, later) {
        found.push(taken.ticket);
    }
    found.sort_unstable();
    assert_eq!(found, tickets);
    let (acks, done) = (LoomMemory::read_only(&rig.acks, &actor), LoomMemory::read_only(&rig.done, &actor));
    let redo = Redo { acks: &acks, done: &done, slots: rig.slots() };
    assert_eq!(redo.next(later()).0, Next::Nothing);
}
