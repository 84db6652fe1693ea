//! Models of parking: no wake-up is lost. A futex wait here has no time limit, so that a lost
//! wake-up is a deadlock, which loom reports.

use std::cell::Cell;
use std::rc::Rc;

use loom::sync::{Condvar, Mutex};
use loom::thread;
use railbus_ring::members::park::{Futex, Nudge, Sleeper, Waker};
use railbus_ring::memory::{Edge, Memory};

use crate::loom_memory::{Actor, LoomMemory, Weak, Words};

const WAKE: usize = 0;
const EVENTS: usize = 8;
const PARKED: usize = 0;

/// The kernel's wait queue of one futex word.
pub(super) struct Queue {
    /// Sleepers, and wake-ups that were given and not yet received.
    state: Mutex<(u32, u32)>,
    changed: Condvar,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { state: Mutex::new((0, 0)), changed: Condvar::new() }
    }

    /// Sleeps until woken, if the word is what the sleeper expects.
    pub(super) fn wait(&self, is_as_expected: impl FnOnce() -> bool) {
        let mut state = self.state.lock().unwrap();
        // The kernel checks under the queue's lock; only that lock orders the check.
        if !is_as_expected() {
            return;
        }
        state.0 += 1;
        while state.1 == 0 {
            state = self.changed.wait(state).unwrap();
        }
        state.1 -= 1;
    }

    /// Wakes up to `count` sleepers. Returns how many there were.
    pub(super) fn wake(&self, count: u32) -> u32 {
        let mut state = self.state.lock().unwrap();
        let woken = state.0.min(count);
        state.0 -= woken;
        state.1 += woken;
        self.changed.notify_all();
        woken
    }
}

/// A futex word of this memory.
pub(super) struct LoomFutex {
    pub(super) queue: Rc<Queue>,
    pub(super) memory: LoomMemory,
}

impl Futex for LoomFutex {
    fn wait(&self, at: usize, expected: u32, slice_ns: u64) {
        if slice_ns == 0 {
            return; // The slice is over before it begins.
        }
        self.queue.wait(|| self.memory.load(at, Edge::Plain) as u32 == expected);
    }

    fn wake(&self, _: usize, count: u32) -> u32 {
        self.queue.wake(count)
    }

    fn barrier(&self) -> bool {
        // Loom has no membarrier, so both sides use a memory fence.
        false
    }
}

/// Counts the calls to sleepers on the word at this offset, and wakes nobody.
struct Calls(Cell<u32>, usize);

impl Futex for Calls {
    fn wait(&self, _: usize, _: u32, _: u64) {}

    fn wake(&self, at: usize, _: u32) -> u32 {
        self.0.set(self.0.get() + u32::from(at == self.1));
        0
    }

    fn barrier(&self) -> bool {
        false
    }
}

struct Bench {
    wakers: Rc<Words>,
    sleepers: Rc<Words>,
    queue: Rc<Queue>,
}

impl Bench {
    fn new(weak: Weak) -> Rc<Bench> {
        Rc::new(Bench {
            wakers: Words::new(weak).shared(WAKE, 0).shared(EVENTS, 0).share(),
            sleepers: Words::new(weak).shared(PARKED, 0).share(),
            queue: Rc::new(Queue::new()),
        })
    }

    fn futex(&self) -> LoomFutex {
        LoomFutex {
            queue: self.queue.clone(),
            memory: LoomMemory::read_only(&self.wakers, &Actor::immortal()),
        }
    }

    /// Sleeps until `wanted` events are there.
    fn sleep_until(&self, wanted: u64) {
        let actor = Actor::immortal();
        let ring = LoomMemory::read_only(&self.wakers, &actor);
        let own = LoomMemory::writable(&self.sleepers, &actor);
        let is_ready = || ring.load(EVENTS, Edge::Publish) >= wanted;
        let mut sleeper = Sleeper::default();
        // The first slice ends at once: the next one goes without another announcement if nobody
        // woke the sleeper.
        let mut slice_ns = 0;
        while !is_ready() {
            sleeper.sleep(&own, &ring, &self.futex(), (WAKE, &[PARKED]), slice_ns, is_ready);
            slice_ns = u64::MAX;
        }
    }

    /// Adds `events` events, waking one sleeper (or all) after each.
    fn wake_after(&self, events: u64, asked: u32) {
        let actor = Actor::immortal();
        let own = LoomMemory::writable(&self.wakers, &actor);
        let peers = LoomMemory::read_only(&self.sleepers, &actor);
        let mut waker = Waker::new(WAKE, PARKED);
        for _ in 0..events {
            own.fetch_add(EVENTS, 1, Edge::Publish);
            waker.wake(&own, &peers, &self.futex(), || asked);
        }
    }
}

/// One sleeper, one waker with two events: the second wake uses what the first has learnt.
pub fn one_sleeper(weak: Weak) {
    let bench = Bench::new(weak);
    let sleeping = bench.clone();
    let sleeper = thread::spawn(move || {
        sleeping.sleep_until(1);
        sleeping.sleep_until(2);
    });
    bench.wake_after(2, 1);
    sleeper.join().unwrap();
}

/// A participant of the sleeper's own side stores something and nudges, without a word to count up.
/// Either the sleeper finds the store at its second look, or it is called.
pub fn nudged(weak: Weak) {
    nudge(weak, false);
}

/// The same with a sleeper that has words of its own, as a bridge.
pub fn nudged_as_other(weak: Weak) {
    nudge(weak, true);
}

fn nudge(weak: Weak, as_other: bool) {
    const STORED: usize = 8;
    const OTHERS_PARKED: usize = 16;
    const OTHERS_WAKE: usize = 24;
    let acks = Words::new(weak).shared(PARKED, 0).shared(STORED, 0).shared(OTHERS_PARKED, 0).share();
    let bench = Bench::new(weak);
    let own = LoomMemory::writable(&acks, &Actor::immortal());
    let mut nudge = Nudge::new(WAKE, PARKED).with_others(OTHERS_WAKE, OTHERS_PARKED);
    // Calls nobody, and so learns who is absent.
    nudge.wake(&own, &bench.futex(), 1);
    let (its, sleeping) = (acks.clone(), bench.clone());
    let sleeper = thread::spawn(move || {
        let actor = Actor::immortal();
        let own = LoomMemory::writable(&its, &actor);
        let ring = LoomMemory::read_only(&sleeping.wakers, &actor);
        let mut found = false;
        let look = || {
            found = own.load(STORED, Edge::Done) != 0;
            found
        };
        let parked_at = if as_other { &[OTHERS_PARKED, PARKED][..] } else { &[PARKED] };
        Sleeper::default().sleep(&own, &ring, &sleeping.futex(), (WAKE, parked_at), 0, look);
        found
    });
    own.store(STORED, 1, Edge::Done);
    let calls = Calls(Cell::new(0), if as_other { OTHERS_WAKE } else { WAKE });
    nudge.wake(&own, &calls, 1);
    let found = sleeper.join().unwrap();
    assert!(found || calls.0.get() == 1, "a nudge is lost");
}

/// One sleeper, two wakers.
pub fn two_wakers(weak: Weak) {
    let bench = Bench::new(weak);
    let waking = bench.clone();
    let other = thread::spawn(move || waking.wake_after(1, 1));
    let sleeping = bench.clone();
    let sleeper = thread::spawn(move || sleeping.sleep_until(2));
    bench.wake_after(1, 1);
    other.join().unwrap();
    sleeper.join().unwrap();
}

/// Two sleepers, one waker that wakes all of them.
pub fn two_sleepers(weak: Weak) {
    let bench = Bench::new(weak);
    let sleepers: Vec<_> = (0..2)
        .map(|_| {
            let sleeping = bench.clone();
            thread::spawn(move || sleeping.sleep_until(1))
        })
        .collect();
    bench.wake_after(1, u32::MAX);
    for sleeper in sleepers {
        sleeper.join().unwrap();
    }
}
