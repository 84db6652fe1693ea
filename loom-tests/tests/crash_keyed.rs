//! The keyed queue under deaths, and under one preemption, at every access: workers that take,
//! hold, hand back and finish events of two keys, one of them beside another's whole life.
//!
//! The test checks three rules. An event is handed out only when every earlier one with its key was
//! finished, or its worker was about to finish it and may have died just before. Everything is
//! delivered, and not more often than deaths and retries explain. And an event that nobody held
//! counts no attempt, unless its worker died between taking it and putting it aside.
//!
//! A pass does not prove anything about weak memory (see `loom_keyed`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, Participant};
use railbus_loom_tests::loom_memory::is_deep;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity, Registered};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::key_order::KeyOrder;
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::redo::{AT_ONCE, DELAY_NS_MAX};
use railbus_ring::slots::word::done;
use railbus_ring::slots::worker::{SlotWorker, Taken};
use railbus_ring::{frame, layout};

const SLOTS: u64 = 4;
/// The keys of the events in the ring: the last has none. A payload word identifies the event.
const KEYS: [Option<u64>; 4] = [Some(1), Some(1), Some(2), None];

/// The history, kept outside of the channel.
#[derive(Default)]
struct Log {
    /// How often each event was handed out.
    handed_out: BTreeMap<u64, u32>,
    /// Events that a worker is about to finish, or has finished.
    finished: BTreeSet<u64>,
    /// Events that a live participant holds, by participant.
    held: BTreeMap<u64, u32>,
    handed_back: BTreeMap<u64, u32>,
}

#[derive(Clone)]
struct World {
    channel: CrashChannel,
    log: Rc<RefCell<Log>>,
    in_order: bool,
}

struct Worker {
    inner: SlotWorker<CrashMemory>,
    order: KeyOrder,
    data: CrashMemory,
    world: World,
    registered: Registered,
    who: Rc<Participant>,
    id: u32,
}

impl World {
    fn new(start: u64, in_order: bool) -> World {
        let world =
            World { channel: CrashChannel::slot_ring(SLOTS, start, 1, 3), log: Rc::default(), in_order };
        world.fill(0);
        world
    }

    fn fill(&self, first: u64) {
        let who = Participant::immortal();
        let c = &self.channel;
        let identity = Identity { policy: registry::ROLE_PRODUCER, ..Identity::default() };
        let registered = c.register(Side::Producers, &who, &identity).expect("an entry");
        let data = CrashMemory::writable(&c.data, &who);
        let mut producer = SlotProducer::<_, false>::new(c.producers_view(&who), registered.index);
        for (value, key) in (first..).zip(KEYS) {
            let t = producer.claim(1).expect("there is room").first;
            let at = producer.body_offset(t);
            match key {
                Some(key) => {
                    data.store(at, key, Edge::Plain);
                    data.store(at + 8, value, Edge::Plain);
                    producer.publish(t, frame::header(16, 0, frame::KEYED));
                }
                None => {
                    data.store(at, value, Edge::Plain);
                    producer.publish(t, frame::header(8, 0, 0));
                }
            }
        }
        producer.retract();
        c.leave(Side::Producers, &who, &registered, false);
    }

    fn worker(&self, who: &Rc<Participant>, id: u32) -> Option<Worker> {
        let identity = Identity { policy: registry::ROLE_WORKER, ..Identity::default() };
        let c = &self.channel;
        let registered = c.register(Side::Consumers, who, &identity).ok()?;
        let data = CrashMemory::read_only(&c.data, who);
        let inner = SlotWorker::new(c.consumers_view(who), registered.index);
        let world = self.clone();
        Some(Worker { inner, order: KeyOrder::new(), data, world, registered, who: who.clone(), id })
    }
}

fn key_of(value: u64) -> Option<u64> {
    KEYS[(value % SLOTS) as usize]
}

impl Worker {
    fn take(&mut self, most: u32) -> Option<Taken> {
        let taken = if self.world.in_order {
            self.inner.take_in_order(&mut self.order, most, || DELAY_NS_MAX)?
        } else {
            self.inner.take(most, || DELAY_NS_MAX)?
        };
        // The taking has ended; these accesses of the log count for nobody.
        let value = self.value(taken.ticket);
        let mut log = self.world.log.borrow_mut();
        assert!(!log.held.contains_key(&value), "{value} is in two hands");
        for earlier in 0..value {
            let is_before = key_of(value).is_some() && key_of(earlier) == key_of(value);
            assert!(
                !is_before || log.finished.contains(&earlier),
                "{value} was handed out before {earlier} was done"
            );
            assert!(
                !is_before || !log.held.contains_key(&earlier),
                "{earlier} is in hand, and so is {value}"
            );
        }
        *log.handed_out.entry(value).or_default() += 1;
        log.held.insert(value, self.id);
        Some(taken)
    }

    /// Which event a held ticket carries, without an access that could be its worker's last.
    fn value(&self, ticket: u64) -> u64 {
        let at = self.inner.body_offset(ticket);
        let header = self.world.channel.data.get(self.world.channel.slots.offset(ticket) + layout::SLOT_META);
        self.world.channel.data.get(at + frame::extension_bytes(frame::flags(header)))
    }

    fn finish(&mut self, taken: Option<Taken>) {
        let Some(taken) = taken else { return };
        let value = self.value(taken.ticket);
        // An access of its own, so that the worker may die while it holds the event.
        self.data.load(self.inner.body_offset(taken.ticket), Edge::Plain);
        self.world.log.borrow_mut().finished.insert(value);
        self.world.log.borrow_mut().held.remove(&value);
        let delivery = self.inner.delivery_of(taken);
        assert!(self.inner.done_in_order(&mut self.order, taken.ticket, delivery).held);
    }

    fn hand_back(&mut self, taken: Option<Taken>) {
        let Some(taken) = taken else { return };
        let value = self.value(taken.ticket);
        *self.world.log.borrow_mut().handed_back.entry(value).or_default() += 1;
        self.world.log.borrow_mut().held.remove(&value);
        assert!(self.inner.retry(taken.ticket, |_, _| AT_ONCE));
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
}

/// A worker's life: single takes and a batch, tickets held over later takes, one handed back, the
/// others finished in another order; then it hands back what it holds and leaves.
fn work(world: &World, who: &Rc<Participant>, id: u32, most: u32) {
    let Some(mut worker) = world.worker(who, id) else { return };
    let first = worker.take(most);
    let second = worker.take(1);
    worker.hand_back(first);
    let third = worker.take(most);
    worker.finish(third);
    worker.repair();
    let fourth = worker.take(1);
    worker.finish(second);
    let fifth = worker.take(1);
    worker.finish(fifth);
    if let Some(taken) = fourth {
        let value = worker.value(taken.ticket);
        *world.log.borrow_mut().handed_back.entry(value).or_default() += 1;
        world.log.borrow_mut().held.remove(&value);
    }
    worker.inner.hand_back();
    world.channel.leave(Side::Consumers, who, &worker.registered, false);
}

/// Nobody holds the events of a dead participant any more.
fn bury(world: &World, id: u32) {
    world.log.borrow_mut().held.retain(|_, holder| *holder != id);
}

/// Drains, goes round the ring once more, and judges the log.
fn judge(world: &World, deaths: u32, what: &dyn std::fmt::Debug) {
    let last = Participant::immortal();
    let mut worker = world.worker(&last, 99).unwrap_or_else(|| panic!("no entry: {what:?}"));
    let mut drain = || {
        for _ in 0..4 {
            worker.repair();
            while let Some(taken) = worker.take(2) {
                worker.finish(Some(taken));
            }
        }
    };
    drain();
    world.fill(SLOTS);
    drain();
    let c = &world.channel;
    let tail = c.ring.get(layout::TAIL);
    assert_eq!(c.acks.get(layout::HEAD), tail, "{what:?}");
    for t in tail - SLOTS..tail {
        let word = c.done.get(c.slots.done_offset(t));
        assert_eq!(word, c.slots.state(t, done::DONE), "ticket {t} is done: {what:?}");
    }
    let log = world.log.borrow();
    for value in 0..2 * SLOTS {
        let times = log.handed_out.get(&value).copied().unwrap_or(0);
        let most = 1 + deaths + log.handed_back.get(&value).copied().unwrap_or(0);
        assert!((1..=most).contains(&times), "{value} came {times} times: {what:?}");
    }
}

const STARTS: [u64; 3] = [0, 5 * SLOTS - 2, (SLOTS << 48) - 2];

#[test]
fn one_worker_inside_every_step_of_another() {
    for start in STARTS {
        for most in [1, 3] {
            for k in 0.. {
                let world = World::new(start, true);
                let its = world.clone();
                let outer = Participant::interrupted_at(k, move || {
                    work(&its, &Participant::immortal(), 2, most);
                });
                work(&world, &outer, 1, most);
                judge(&world, 0, &(start, most, k));
                if outer.is_yet_to_be_interrupted() {
                    assert!(k > 50, "{k} accesses");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_worker_dies_at_every_access_and_so_does_the_next() {
    let starts = if is_deep() { &STARTS[..] } else { &STARTS[1..2] };
    let mut runs = 0;
    for &start in starts {
        for most in [1, 3] {
            for k in 0.. {
                let mut first_died = false;
                for j in 0.. {
                    let world = World::new(start, true);
                    let (one, two) = (Participant::dying_at(Some(k)), Participant::dying_at(Some(j)));
                    one.live(|| work(&world, &one, 1, most));
                    first_died = one.is_dead();
                    one.kill();
                    bury(&world, 1);
                    two.live(|| work(&world, &two, 2, most));
                    let died = first_died as u32 + two.is_dead() as u32;
                    let both = two.is_dead();
                    two.kill();
                    bury(&world, 2);
                    judge(&world, died, &(start, most, k, j));
                    runs += 1;
                    if !both {
                        break;
                    }
                }
                if !first_died {
                    break;
                }
            }
        }
    }
    assert!(runs > 1000, "{runs} runs");
}

#[test]
fn without_the_rule_the_log_shows_it() {
    let story = || {
        let world = World::new(0, false);
        work(&world, &Participant::immortal(), 1, 1);
        judge(&world, 0, &"without the rule");
    };
    let failure =
        std::panic::catch_unwind(story).expect_err("a later event was handed out, and nobody noticed");
    let text = failure.downcast_ref::<String>().expect("a message");
    assert!(text.contains("before 0 was done"), "{text}");
}
