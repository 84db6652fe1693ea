//! The index of events that wait to be delivered again (`ring/redo.rs`), under a death at every
//! access: of a worker that returns events, takes them again and hands them back for another
//! time, and of the one that repairs after it.
//!
//! The ring is large enough for nodes between the leaves and the root, and the events lie below
//! different nodes. The tests check that the survivors get every event that was not finished, and
//! none that was. No event is held twice. Its attempts count its deliveries. And an event that was
//! handed back to wait is not taken before its time.
//!
//! A pass does not prove anything about weak memory (see the model `queue::index` of
//! `loom_queue.rs`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, Participant};
use railbus_loom_tests::loom_memory::is_deep;
use railbus_ring::frame;
use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity, Registered};
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::redo::{DELAY_NS_MAX, Next, Redo};
use railbus_ring::slots::word::done;
use railbus_ring::slots::worker::{SlotWorker, Taken};

/// Two nodes of 64 leaves each, below the root.
const SLOTS: u64 = 128;
const EVENTS: u64 = 4;
const MS: u64 = 1_000_000;
/// Later than every time at which an event of the story may be taken.
const LATE: u64 = 1000 * MS;
/// Where queues start: two events below each node; the second node first; just below the wrap of
/// the laps.
const STARTS: [u64; 3] = [62, 5 * SLOTS - 2, (SLOTS << 48) - 2];

/// The history of an event, kept outside of the channel.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    delivered: u32,
    is_in_hand: bool,
    /// Its worker has called `done`, and may have died before that became visible.
    is_finishing: bool,
    is_finished: bool,
    /// The time from which on it may be taken, if it was handed back to wait, and its attempts
    /// then. A worker that takes it and dies before the log knows counts one more, and the wait
    /// begins again.
    due_ns: u64,
    attempts: u8,
}

type Log = Rc<RefCell<BTreeMap<u64, Fate>>>;

#[derive(Clone)]
struct World {
    channel: CrashChannel,
    log: Log,
    first: u64,
    /// Another runs inside the steps of one that returns events. The time that the slower one announces
    /// last counts, so an event may come before its time.
    has_company: bool,
}

struct Worker {
    inner: SlotWorker<CrashMemory>,
    world: World,
    registered: Registered,
    who: Rc<Participant>,
}

impl World {
    /// A queue with its events in the ring.
    fn new(start: u64) -> World {
        let channel = CrashChannel::slot_ring(SLOTS, start, 1, 3);
        let world = World { channel, log: Rc::default(), first: start, has_company: false };
        let who = Participant::immortal();
        let c = &world.channel;
        let identity = Identity { policy: registry::ROLE_PRODUCER, ..Identity::default() };
        let registered = c.register(Side::Producers, &who, &identity).expect("an entry");
        let mut producer = SlotProducer::<_, false>::new(c.producers_view(&who), registered.index);
        for _ in 0..EVENTS {
            let t = producer.claim(1).expect("there is room").first;
            producer.publish(t, frame::header(0, 0, 0));
            world.log.borrow_mut().insert(t, Fate::default());
        }
        producer.retract();
        c.leave(Side::Producers, &who, &registered, false);
        world
    }

    fn worker(&self, who: &Rc<Participant>) -> Option<Worker> {
        let identity = Identity { policy: registry::ROLE_WORKER, ..Identity::default() };
        let c = &self.channel;
        let registered = c.register(Side::Consumers, who, &identity).ok()?;
        let inner = SlotWorker::new(c.consumers_view(who), registered.index);
        Some(Worker { inner, world: self.clone(), registered, who: who.clone() })
    }

    fn with_fate<R>(&self, ticket: u64, then: impl FnOnce(&mut Fate) -> R) -> R {
        then(self.log.borrow_mut().get_mut(&ticket).expect("one of the events"))
    }

    /// Nobody holds the events of a dead worker any more.
    fn bury(&self) {
        self.log.borrow_mut().values_mut().for_each(|fate| fate.is_in_hand = false);
    }
}

impl Worker {
    fn take(&mut self, now_ns: u64) -> Option<Taken> {
        let taken = self.inner.take(EVENTS as u32, || now_ns)?;
        self.world.with_fate(taken.ticket, |fate| {
            assert!(!fate.is_in_hand, "{taken:?} is in two hands");
            assert!(!fate.is_finished, "{taken:?} was finished before");
            let has_waited = fate.due_ns <= now_ns || taken.attempt > fate.attempts || self.world.has_company;
            assert!(has_waited, "{taken:?} was to wait until {}, not {now_ns}", fate.due_ns);
            assert!(
                taken.attempt as u32 >= fate.delivered,
                "{taken:?} was delivered {} times",
                fate.delivered
            );
            *fate = Fate { delivered: fate.delivered + 1, is_in_hand: true, due_ns: 0, ..*fate };
        });
        Some(taken)
    }

    fn finish(&mut self, taken: Option<Taken>) {
        let Some(Taken { ticket, .. }) = taken else { return };
        self.world.with_fate(ticket, |fate| fate.is_finishing = true);
        assert!(self.inner.done(ticket));
        self.world.with_fate(ticket, |fate| *fate = Fate { is_finished: true, is_in_hand: false, ..*fate });
    }

    /// Hands an event back, to wait until `due_ns`. The promise holds from the return of the call.
    fn hand_back(&mut self, taken: Option<Taken>, due_ns: u64) {
        let Some(Taken { ticket, attempt }) = taken else { return };
        let delivered = self.world.with_fate(ticket, |fate| {
            fate.is_in_hand = false;
            fate.delivered
        });
        assert!(self.inner.retry(ticket, |_, _| due_ns));
        self.world.with_fate(ticket, |fate| {
            // Another worker may have taken it since.
            if fate.delivered == delivered {
                (fate.due_ns, fate.attempts) = (due_ns, attempt + 1);
            }
        });
    }

    fn repair(&mut self) {
        let channel = self.world.channel.clone();
        self.inner.sweeper(0).sweep(&channel.peers(), None);
        for index in 0..channel.consumers {
            if index != self.registered.index {
                channel.bury(Side::Consumers, &self.who, index);
            }
        }
    }

    fn leave(mut self) {
        // It hands back the events that it holds, to be taken at once.
        self.world.bury();
        self.inner.hand_back();
        self.world.channel.leave(Side::Consumers, &self.who, &self.registered, false);
    }
}

/// A worker's life: every event is taken and waits for another time; one is taken again, and waits
/// again; two are finished.
fn work(world: &World, who: &Rc<Participant>) {
    let Some(mut worker) = world.worker(who) else { return };
    let [first, second, third, fourth] = [(); 4].map(|()| worker.take(0));
    worker.hand_back(first, 3 * MS);
    worker.hand_back(third, MS);
    worker.hand_back(fourth, 2 * MS);
    worker.finish(second);
    let again = worker.take(MS);
    // For another time: its leaf, and the nodes above it, change.
    worker.hand_back(again, 6 * MS);
    let next = worker.take(2 * MS + MS / 2);
    worker.finish(next);
    worker.repair();
    let last = worker.take(4 * MS);
    worker.hand_back(last, 5 * MS);
    worker.leave();
}

/// Repairs, and takes and finishes the events that are due at each of these times.
fn survive(world: &World, who: &Rc<Participant>) {
    let Some(mut worker) = world.worker(who) else { return };
    for now_ns in [0, MS, 4 * MS, LATE] {
        worker.repair();
        // A look that finds nothing below a node repairs the node; the next one goes on.
        for _ in 0..4 {
            while let Some(taken) = worker.take(now_ns) {
                worker.finish(Some(taken));
            }
        }
    }
    worker.leave();
}

/// Everything was handed out, and nothing waits in the index.
fn judge(world: &World, what: &dyn std::fmt::Debug) {
    let who = Participant::immortal();
    world.bury();
    survive(world, &who);
    let c = &world.channel;
    assert_eq!(c.acks.get(layout::HEAD), world.first + EVENTS, "{what:?}");
    for (&t, fate) in world.log.borrow().iter() {
        assert!(fate.is_finished || fate.is_finishing, "{t} is lost: {what:?}: {fate:?}");
        let word = c.done.get(c.slots.done_offset(t));
        assert_eq!(word, c.slots.state(t, done::DONE), "{t} is done: {what:?}");
    }
    let (acks, done) = (CrashMemory::writable(&c.acks, &who), CrashMemory::writable(&c.done, &who));
    let redo = Redo { acks: &acks, done: &done, slots: c.slots };
    for _ in 0..4 {
        // A node that was left without a leaf is repaired by the next look.
        redo.next(DELAY_NS_MAX);
    }
    assert_eq!(redo.next(DELAY_NS_MAX).0, Next::Nothing, "{what:?}");
}

#[test]
fn a_worker_dies_at_every_step_of_the_index_and_so_does_who_repairs_after_it() {
    let (mut runs, mut second_deaths) = (0, 0);
    for start in STARTS {
        for k in 0.. {
            // The second one dies at another access each time; with deep models, at many.
            let step = if is_deep() { 37 } else { 911 };
            let mut second = k % step;
            loop {
                let world = World::new(start);
                let one = Participant::dying_at(Some(k));
                one.live(|| work(&world, &one));
                let first_died = one.is_dead();
                one.kill();
                world.bury();
                let two = Participant::dying_at(Some(second));
                two.live(|| survive(&world, &two));
                let both = two.is_dead();
                two.kill();
                judge(&world, &(start, k, second));
                (runs, second_deaths) = (runs + 1, second_deaths + both as u32);
                second += step;
                if !both || !first_died {
                    break;
                }
            }
            let world = World::new(start);
            let one = Participant::dying_at(Some(k));
            one.live(|| work(&world, &one));
            let died = one.is_dead();
            one.kill();
            judge(&world, &(start, k));
            if !died {
                assert!(k > 500, "{k} accesses");
                break;
            }
        }
    }
    assert!(runs > 3000 && second_deaths > 1000, "{runs} runs, {second_deaths} second deaths");
}

#[test]
fn a_worker_inside_every_step_of_the_index() {
    for start in STARTS {
        for k in 0.. {
            let world = World { has_company: true, ..World::new(start) };
            let its = world.clone();
            let outer = Participant::interrupted_at(k, move || {
                let who = Participant::immortal();
                let Some(mut worker) = its.worker(&who) else { return };
                for now_ns in [MS, 4 * MS] {
                    let taken = worker.take(now_ns);
                    worker.hand_back(taken, 5 * MS);
                }
                let taken = worker.take(4 * MS);
                worker.finish(taken);
                its.channel.leave(Side::Consumers, &who, &worker.registered, false);
            });
            work(&world, &outer);
            judge(&world, &(start, k));
            if outer.is_yet_to_be_interrupted() {
                assert!(k > 500, "{k} accesses");
                break;
            }
        }
    }
}

/// The checks above detect an index that forgets: without the sweep that follows a death, an event
/// is lost.
#[test]
fn without_the_sweep_after_a_death_an_event_is_lost() {
    let is_lost_at = |k| {
        let world = World::new(STARTS[0]);
        let one = Participant::dying_at(Some(k));
        one.live(|| work(&world, &one));
        one.kill();
        let who = Participant::immortal();
        let mut worker = world.worker(&who).expect("a free entry");
        while let Some(taken) = worker.inner.take(1, || LATE) {
            assert!(worker.inner.done(taken.ticket));
        }
        let c = &world.channel;
        (world.first..world.first + EVENTS)
            .any(|t| c.done.get(c.slots.done_offset(t)) != c.slots.state(t, done::DONE))
    };
    assert!((0..2000).any(is_lost_at));
}
