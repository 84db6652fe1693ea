//! Models of sleepers and wakers: whole calls, with the rings between them. A futex wait here has
//! no time limit, so a missing wake-up is a deadlock, which loom reports.

use std::rc::Rc;

use loom::thread;
use railbus_ring::layout::{
    CONSUMERS_PARKED, EVENTS_WAKE, PRODUCERS_PARKED, READERS_PARKED, READERS_WAKE, SPACE_WAKE,
};
use railbus_ring::members::join::StartAt;
use railbus_ring::members::park::{Futex, Sleeper, Waker};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::reader::SlotPoll;

use super::park::Queue;
use super::slot_rig::{Shape, SlotRig, later};
use crate::loom_memory::{Actor, LoomMemory, Weak, Words};

/// The wait queues of the words of one file.
struct Kernel {
    words: Rc<Words>,
    queues: Vec<(usize, Queue)>,
}

impl Kernel {
    fn new(words: &Rc<Words>, at: &[usize]) -> Rc<Kernel> {
        let queues = at.iter().map(|&at| (at, Queue::new())).collect();
        Rc::new(Kernel { words: words.clone(), queues })
    }

    fn queue(&self, at: usize) -> &Queue {
        &self.queues.iter().find(|(word, _)| *word == at).expect("a futex of the model").1
    }
}

impl Futex for Kernel {
    fn wait(&self, at: usize, expected: u32, _: u64) {
        let memory = LoomMemory::read_only(&self.words, &Actor::immortal());
        self.queue(at).wait(|| memory.load(at, Edge::Plain) as u32 == expected);
    }

    fn wake(&self, at: usize, count: u32) -> u32 {
        self.queue(at).wake(count)
    }

    fn barrier(&self) -> bool {
        // Loom has no membarrier, so both sides use a memory fence.
        false
    }
}

/// A publisher waits for room. Its reader polls, which moves the cursor, and then works on the last
/// event it got. Without the wake this model fails.
pub fn room(weak: Weak, wakes: bool) {
    let rig = SlotRig::new(Shape { weak, producers: 1, consumers: 1, gates: 1, ..Shape::default() }, false);
    let kernel = Kernel::new(&rig.acks, &[SPACE_WAKE]);
    let actor = Actor::immortal();
    let mut reader = rig.reader(0, &actor);
    reader.inner.join(StartAt::Live, false).expect("it joins");
    let mut producer = rig.producer::<true>(0, &actor);
    assert!(producer.push(1).is_some() && producer.push(2).is_some() && producer.push(3).is_none());
    let (its, futex) = (rig.clone(), kernel.clone());
    let reading = thread::spawn(move || {
        let actor = Actor::immortal();
        let (own, peers) =
            (LoomMemory::writable(&its.acks, &actor), LoomMemory::read_only(&its.ring, &actor));
        let mut waker = Waker::new(SPACE_WAKE, PRODUCERS_PARKED);
        for t in 0..2 {
            let found = reader.inner.poll(|| {
                if wakes {
                    waker.wake(&own, &peers, &*futex, || u32::MAX);
                }
            });
            assert!(matches!(found, SlotPoll::Event(found, _) if found == t));
        }
    });
    let (own, peers) = (LoomMemory::writable(&rig.ring, &actor), LoomMemory::read_only(&rig.acks, &actor));
    let mut sleeper = Sleeper::default();
    while producer.inner.claim(1).is_err() {
        let mut claimed = false;
        sleeper.sleep(&own, &peers, &*kernel, (SPACE_WAKE, &[PRODUCERS_PARKED]), u64::MAX, || {
            claimed = producer.inner.claim(1).is_ok();
            claimed
        });
        if claimed {
            break;
        }
    }
    reading.join().unwrap();
}

/// A worker and a tap wait for events, on words of their own, or both on the workers' word, in
/// which case this model fails. One event is for both.
pub fn worker_and_tap(weak: Weak, apart: bool) {
    let rig = SlotRig::new(Shape { weak, producers: 1, consumers: 2, gates: 1, ..Shape::default() }, true);
    let kernel = Kernel::new(&rig.ring, &[EVENTS_WAKE, READERS_WAKE]);
    let actor = Actor::immortal();
    let mut tap = rig.reader(1, &actor);
    tap.inner.join(StartAt::Live, false).expect("it joins");
    let (its, futex) = (rig.clone(), kernel.clone());
    let tapping = thread::spawn(move || {
        let actor = Actor::immortal();
        let (own, peers) =
            (LoomMemory::writable(&its.acks, &actor), LoomMemory::read_only(&its.ring, &actor));
        let words = match apart {
            true => (READERS_WAKE, &[READERS_PARKED, CONSUMERS_PARKED][..]),
            false => (EVENTS_WAKE, &[CONSUMERS_PARKED][..]),
        };
        let (mut sleeper, mut found) = (Sleeper::default(), tap.poll());
        while found.is_none() {
            sleeper.sleep(&own, &peers, &*futex, words, u64::MAX, || {
                found = tap.poll();
                found.is_some()
            });
            found = found.or_else(|| tap.poll());
        }
    });
    let (its, futex) = (rig.clone(), kernel.clone());
    let working = thread::spawn(move || {
        let actor = Actor::immortal();
        let mut worker = its.worker(0, &actor);
        let (own, peers) =
            (LoomMemory::writable(&its.acks, &actor), LoomMemory::read_only(&its.ring, &actor));
        let words = (EVENTS_WAKE, &[CONSUMERS_PARKED][..]);
        let (mut sleeper, mut found) = (Sleeper::default(), worker.inner.take(1, later));
        while found.is_none() {
            sleeper.sleep(&own, &peers, &*futex, words, u64::MAX, || {
                found = worker.inner.take(1, later);
                found.is_some()
            });
            found = found.or_else(|| worker.inner.take(1, later));
        }
    });
    let mut producer = rig.producer::<false>(0, &actor);
    let (own, peers) = (LoomMemory::writable(&rig.ring, &actor), LoomMemory::read_only(&rig.acks, &actor));
    let mut waker = Waker::new(EVENTS_WAKE, CONSUMERS_PARKED).with_others(READERS_WAKE, READERS_PARKED);
    assert!(producer.push(1).is_some());
    waker.wake(&own, &peers, &*kernel, || 1);
    tapping.join().unwrap();
    working.join().unwrap();
}

/// A reader waits at a claim that is aborted, with an event after it. Without the wake this model
/// fails.
pub fn given_up(weak: Weak, wakes: bool) {
    let rig = SlotRig::new(Shape { weak, producers: 2, consumers: 1, gates: 1, ..Shape::default() }, false);
    let kernel = Kernel::new(&rig.ring, &[EVENTS_WAKE]);
    let actor = Actor::immortal();
    let mut reader = rig.reader(0, &actor);
    reader.inner.join(StartAt::Live, false).expect("it joins");
    let mut claims = rig.producer::<true>(0, &actor);
    let claimed = claims.inner.claim(1).expect("there is room").first;
    let (its, futex) = (rig.clone(), kernel.clone());
    let reading = thread::spawn(move || {
        let actor = Actor::immortal();
        let (own, peers) =
            (LoomMemory::writable(&its.acks, &actor), LoomMemory::read_only(&its.ring, &actor));
        let words = (EVENTS_WAKE, &[CONSUMERS_PARKED][..]);
        let (mut sleeper, mut found) = (Sleeper::default(), reader.poll());
        while found.is_none() {
            sleeper.sleep(&own, &peers, &*futex, words, u64::MAX, || {
                found = reader.poll();
                found.is_some()
            });
            found = found.or_else(|| reader.poll());
        }
        assert_eq!(found, Some((1, 7)));
    });
    let mut producer = rig.producer::<true>(1, &actor);
    let (own, peers) = (LoomMemory::writable(&rig.ring, &actor), LoomMemory::read_only(&rig.acks, &actor));
    let mut wakers = [(); 2].map(|()| Waker::new(EVENTS_WAKE, CONSUMERS_PARKED));
    assert!(producer.push(7).is_some());
    wakers[0].wake(&own, &peers, &*kernel, || u32::MAX);
    claims.inner.abort(claimed);
    if wakes {
        wakers[1].wake(&own, &peers, &*kernel, || u32::MAX);
    }
    reading.join().unwrap();
}
