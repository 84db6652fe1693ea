//! The queue under deaths, and under one preemption, at every access: a producer, a worker, a
//! participant that repairs after them, and two of these at once; with entries of the registry that
//! are used again.
//!
//! Each test checks that everything published is delivered. Nothing is delivered more than once,
//! plus once for each worker death and each time a worker handed it back. And everybody can go on
//! through all slots.
//!
//! A pass does not prove anything about weak memory or about two preemptions of one participant
//! (see the loom models), nor that a real kernel drops locks as `LockTable` does (see the tests
//! with real processes).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, Participant};
use railbus_loom_tests::loom_memory::is_deep;
use railbus_ring::members::fence::{self, Fenced, Stores};
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity, Registered};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::redo::{AT_ONCE, DELAY_NS_MAX};
use railbus_ring::slots::word::{ATTEMPT_MAX, done};
use railbus_ring::slots::worker::{SlotWorker, Taken};
use railbus_ring::{frame, layout};

const SLOTS: u64 = 4;

/// Where queues start: at 0; just below a lap; just below the wrap of claim words (2^48 tickets);
/// just below the wrap of the laps in state words (2^48 laps).
const STARTS: [u64; 4] = [0, 5 * SLOTS - 2, (1 << 48) - 2, (SLOTS << 48) - 2];

/// The history, kept outside of the channel.
#[derive(Default)]
struct Log {
    /// Values whose publication began and (true) ended.
    published: BTreeMap<u64, bool>,
    /// How often each value was delivered.
    delivered: BTreeMap<u64, u32>,
    /// How often each value was handed back by a live worker.
    handed_back: BTreeMap<u64, u32>,
    /// How often a worker learnt that each value is done.
    done: BTreeMap<u64, u32>,
}

#[derive(Clone)]
struct World {
    channel: CrashChannel,
    stores: Stores,
    log: Rc<RefCell<Log>>,
}

struct Producer {
    inner: SlotProducer<CrashMemory, false>,
    data: CrashMemory,
    world: World,
    registered: Registered,
}

struct Worker {
    inner: SlotWorker<CrashMemory>,
    data: CrashMemory,
    world: World,
    registered: Registered,
    who: Rc<Participant>,
}

impl World {
    fn new(start: u64, producers: usize, consumers: usize) -> World {
        let stores = Stores::Restart { area: 0 };
        World::storing(stores, start, producers, consumers)
    }

    fn storing(stores: Stores, start: u64, producers: usize, consumers: usize) -> World {
        let channel = CrashChannel::slot_ring(SLOTS, start, producers, consumers);
        World { channel, stores, log: Rc::default() }
    }

    /// `None` when a dead participant's entry cannot be used yet.
    fn producer(&self, who: &Rc<Participant>) -> Option<Producer> {
        let identity = Identity { policy: registry::ROLE_PRODUCER, ..Identity::default() };
        let c = &self.channel;
        let registered = c.register(Side::Producers, who, &identity).ok()?;
        let data = CrashMemory::writable(&c.data, who);
        let inner = SlotProducer::new(c.producers_view(who), registered.index);
        Some(Producer { inner, data, world: self.clone(), registered })
    }

    fn worker(&self, who: &Rc<Participant>) -> Option<Worker> {
        let fence = self.stores.open();
        let identity = Identity { policy: registry::ROLE_WORKER, fence, ..Identity::default() };
        let c = &self.channel;
        let registered = c.register(Side::Consumers, who, &identity).ok()?;
        let data = CrashMemory::read_only(&c.data, who);
        let inner = SlotWorker::new(c.consumers_view(who), registered.index).with(self.stores);
        Some(Worker { inner, data, world: self.clone(), registered, who: who.clone() })
    }
}

impl Producer {
    fn fill(&mut self, t: u64, value: u64) {
        self.world.log.borrow_mut().published.insert(value, false);
        let at = self.inner.body_offset(t);
        self.data.store(at, value, Edge::Plain);
        self.data.store(at + 8, value, Edge::Plain);
        self.inner.publish(t, frame::header(16, value as u16, 0));
        self.world.log.borrow_mut().published.insert(value, true);
    }

    fn push(&mut self, value: u64) -> bool {
        // The fast path first, as the handles do.
        let easy = self.inner.claim_fast();
        let claimed = easy.or_else(|| self.inner.claim(1).ok().map(|tickets| tickets.first));
        if let Some(t) = claimed {
            self.fill(t, value);
        }
        claimed.is_some()
    }

    /// Claims up to four at once; publishes from the last to the first and aborts one of them.
    fn push_batch(&mut self, value: u64) {
        if let Ok(tickets) = self.inner.claim(3) {
            for i in (0..tickets.count as u64).rev() {
                if i == 1 {
                    self.inner.abort(tickets.first + i);
                } else {
                    self.fill(tickets.first + i, value + i);
                }
            }
        }
    }
}

impl Worker {
    fn take(&mut self, most: u32) -> Option<Taken> {
        // The fast path first, as the handles do; batches only without it.
        let easy = self.inner.take_fast(most);
        let taken = match easy {
            Some(ticket) => Taken { ticket, attempt: 0 },
            None => self.inner.take(most, || DELAY_NS_MAX)?,
        };
        let value = self.read(taken.ticket);
        *self.world.log.borrow_mut().delivered.entry(value).or_default() += 1;
        Some(taken)
    }

    fn read(&self, ticket: u64) -> u64 {
        let at = self.inner.body_offset(ticket);
        let value = self.data.load(at, Edge::Plain);
        assert_eq!(value, self.data.load(at + 8, Edge::Plain), "torn");
        assert_eq!(value as u16, frame::type_id(self.inner.header(ticket)));
        value
    }

    fn finish(&mut self, taken: Option<Taken>) {
        if let Some(taken) = taken {
            let value = self.read(taken.ticket);
            assert!(self.inner.done(taken.ticket));
            *self.world.log.borrow_mut().done.entry(value).or_default() += 1;
        }
    }

    fn hand_back(&mut self, taken: Option<Taken>, counted: bool) {
        if let Some(taken) = taken {
            let value = self.read(taken.ticket);
            *self.world.log.borrow_mut().handed_back.entry(value).or_default() += 1;
            assert!(if counted {
                self.inner.retry(taken.ticket, |_, _| AT_ONCE)
            } else {
                self.inner.put_back(taken, |_, _| AT_ONCE)
            });
        }
    }

    /// The work of a worker that finds nothing: step over orphans, sweep after dead workers, bury
    /// them.
    fn repair(&mut self) {
        let channel = self.world.channel.clone();
        if let Some(t) = self.inner.stuck_behind() {
            self.inner.skip_orphan(t, &channel.peers());
        }
        self.inner.sweeper(0).sweep(&channel.peers(), None);
        let acks = CrashMemory::writable(&channel.acks, &self.who);
        let locks = channel.locks_for(Side::Consumers, &self.who);
        for index in 0..channel.consumers {
            fence::go_on(&locks, &acks, index, || channel.sweep(&self.who, index));
        }
        for index in 0..channel.consumers {
            if index != self.registered.index {
                channel.bury(Side::Consumers, &self.who, index);
            }
        }
    }

    /// Takes and finishes until there are no events, repairing in between.
    fn drain(&mut self) {
        for _ in 0..3 {
            for _ in 0..2 * SLOTS {
                while let Some(taken) = self.take(2) {
                    self.finish(Some(taken));
                }
                self.repair();
            }
        }
    }
}

/// A producer's life: single pushes, a batch with an abort, until the queue is full; then it leaves.
fn produce(world: &World, who: &Rc<Participant>, first_value: u64) {
    let Some(mut producer) = world.producer(who) else { return };
    producer.push(first_value);
    producer.push_batch(first_value + 10);
    producer.push(first_value + 20);
    producer.inner.retract();
    world.channel.leave(Side::Producers, who, &producer.registered, false);
}

/// A worker's life: single takes and batches, tickets held over later takes, finished out of order,
/// handed back; then it hands back what it holds and leaves.
fn work(world: &World, who: &Rc<Participant>) {
    let Some(mut worker) = world.worker(who) else { return };
    let first = worker.take(1);
    let second = worker.take(2);
    worker.hand_back(first, true);
    let third = worker.take(2);
    worker.finish(second);
    let fourth = worker.take(1);
    worker.hand_back(third, false);
    worker.repair();
    let fifth = worker.take(1);
    worker.finish(fifth);
    // Events that are still held are handed back; each time an event was handed out counts as an
    // attempt.
    if let Some(taken) = fourth {
        let value = worker.read(taken.ticket);
        *world.log.borrow_mut().handed_back.entry(value).or_default() += 1;
    }
    worker.inner.hand_back();
    world.channel.leave(Side::Consumers, who, &worker.registered, false);
}

/// Repairs and drains with participants that live, pushes through all slots, and judges the log.
fn judge(world: &World, worker_deaths: u32, what: &dyn std::fmt::Debug) {
    let last = Participant::immortal();
    let mut worker = world.worker(&last).unwrap_or_else(|| panic!("no entry can be used again: {what:?}"));
    worker.drain();
    let pushing = Participant::immortal();
    let mut producer = world.producer(&pushing).unwrap_or_else(|| panic!("no entry: {what:?}"));
    for value in 5000..5000 + 3 * SLOTS {
        assert!(producer.push(value), "the queue does not go on: {what:?}");
        if value % 3 == 0 {
            worker.drain();
        }
    }
    worker.drain();
    assert_eq!(worker.inner.in_hand(), 0);
    let c = &world.channel;
    let tail = c.ring.get(layout::TAIL);
    assert_eq!(c.acks.get(layout::HEAD), tail, "{what:?}");
    for t in tail - SLOTS..tail {
        let word = c.done.get(c.slots.done_offset(t));
        assert_eq!(word, c.slots.state(t, done::DONE), "ticket {t} is done: {what:?}");
    }
    let log = world.log.borrow();
    for (value, &ended) in &log.published {
        let times = log.delivered.get(value).copied().unwrap_or(0);
        let most = 1 + worker_deaths + log.handed_back.get(value).copied().unwrap_or(0);
        assert!(times >= ended as u32, "{value} is lost: {what:?}");
        assert!(times <= most, "{value} came {times} times: {what:?}");
    }
    assert!(log.delivered.keys().all(|value| log.published.contains_key(value)), "{what:?}");
}

type Deaths = [Option<u32>; 4];

/// A producer, a worker, another worker that also repairs, another producer: each may die. Returns
/// which did.
fn run(start: u64, deaths: Deaths) -> [bool; 4] {
    // Few entries, so that those of dead participants are used again.
    let world = World::new(start, 2, 2);
    let who: Vec<_> = deaths.iter().map(|&k| Participant::dying_at(k)).collect();
    who[0].live(|| produce(&world, &who[0], 100));
    who[1].live(|| work(&world, &who[1]));
    who[2].live(|| work(&world, &who[2]));
    who[3].live(|| produce(&world, &who[3], 200));
    let died = [0, 1, 2, 3].map(|i| who[i].is_dead());
    judge(&world, died[1] as u32 + died[2] as u32, &(start, deaths));
    died
}

/// Every access of participant `i`, with the given fate of the others.
fn every_access(start: u64, deaths: Deaths, i: usize, mut then: impl FnMut(Deaths)) {
    for k in 0.. {
        let mut deaths = deaths;
        deaths[i] = Some(k);
        if !run(start, deaths)[i] {
            return;
        }
        then(deaths);
    }
}

#[test]
fn nobody_dies() {
    for start in STARTS {
        assert_eq!(run(start, [None; 4]), [false; 4]);
    }
}

#[test]
fn one_dies_at_every_access() {
    let mut runs = 0;
    for start in STARTS {
        for i in 0..4 {
            every_access(start, [None; 4], i, |_| runs += 1);
        }
    }
    assert!(runs > 800, "{runs} runs");
}

/// All pairs; the second death may be that of the participant that repairs after the first.
#[test]
fn two_die_at_every_pair_of_accesses() {
    let starts = if is_deep() { &STARTS[..] } else { &STARTS[2..3] };
    let mut runs = 0;
    for &start in starts {
        for (i, j) in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
            every_access(start, [None; 4], i, |deaths| {
                every_access(start, deaths, j, |_| runs += 1);
            });
        }
    }
    assert!(runs > 10_000, "{runs} runs");
}

/// A participant's whole life inside every access of another live one: repairs take nothing away
/// from live participants.
fn inside(outer: fn(&World, &Rc<Participant>), inner: fn(&World, &Rc<Participant>)) {
    for start in STARTS {
        for waiting in 0..=SLOTS {
            for k in 0.. {
                let world = World::new(start, 3, 4);
                let mut warm = world.producer(&Participant::immortal()).expect("an entry");
                (0..waiting).for_each(|value| assert!(warm.push(value)));
                warm.inner.retract();
                let its = world.clone();
                let participant =
                    Participant::interrupted_at(k, move || inner(&its, &Participant::immortal()));
                outer(&world, &participant);
                participant.kill();
                judge(&world, 0, &(start, waiting, k));
                if participant.is_yet_to_be_interrupted() {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_worker_inside_every_step_of_a_worker() {
    inside(work, work);
}

#[test]
fn a_worker_inside_every_step_of_a_producer() {
    inside(|world, who| produce(world, who, 400), work);
}

#[test]
fn a_producer_inside_every_step_of_a_worker() {
    inside(work, |world, who| produce(world, who, 400));
}

#[test]
fn a_producer_inside_every_step_of_a_producer() {
    inside(|world, who| produce(world, who, 400), |world, who| produce(world, who, 600));
}

/// Repairs, and everything else a worker does when it finds nothing, inside every step of a live
/// worker that holds several ranges.
#[test]
fn a_repair_inside_every_step_of_a_live_worker() {
    inside(work, |world, who| {
        if let Some(mut worker) = world.worker(who) {
            worker.repair();
            worker.repair();
            world.channel.leave(Side::Consumers, who, &worker.registered, false);
        }
    });
}

#[test]
fn a_repair_inside_every_step_of_a_live_producer() {
    inside(
        |world, who| produce(world, who, 400),
        |world, who| {
            if let Some(mut worker) = world.worker(who) {
                worker.repair();
                worker.repair();
                world.channel.leave(Side::Consumers, who, &worker.registered, false);
            }
        },
    );
}

// ---- eviction ----

/// The result of a take by a worker that may be evicted.
enum Found {
    Nothing,
    Event(Taken, u64),
    Evicted,
}

impl Worker {
    /// Takes as the handles do, which check the fence after they have looked at the event.
    fn take_warily(&mut self, most: u32) -> Found {
        let easy = self.inner.take_fast(most).map(|ticket| Taken { ticket, attempt: 0 });
        let Some(taken) = easy.or_else(|| self.inner.take(most, || DELAY_NS_MAX)) else {
            return if self.inner.is_fenced() { self.give_up() } else { Found::Nothing };
        };
        let value = self.data.load(self.inner.body_offset(taken.ticket), Edge::Plain);
        let header = self.inner.header(taken.ticket);
        if self.inner.is_fenced() {
            self.inner.keep_waiting(taken.ticket);
            return self.give_up();
        }
        assert_eq!(value as u16, frame::type_id(header), "another lap's event is handed out");
        *self.world.log.borrow_mut().delivered.entry(value).or_default() += 1;
        Found::Event(taken, value)
    }

    fn give_up(&mut self) -> Found {
        self.inner.give_up(&self.world.channel.peers(), 0);
        assert!(!self.inner.done(0) && self.inner.in_hand() == 0);
        Found::Evicted
    }

    /// Every event that it holds is unchanged, also when it belongs to another worker through an
    /// eviction that this worker has not noticed.
    fn looks_at(&self, held: &[(Taken, u64)]) {
        for &(taken, value) in held {
            let at = self.inner.body_offset(taken.ticket);
            let words = [at, at + 8].map(|at| self.world.channel.data.get(at));
            assert_eq!(
                words, [value; 2],
                "ticket {} was overwritten while it may be looked at",
                taken.ticket
            );
        }
    }

    /// Finishes an event; false when that is refused.
    fn done_warily(&mut self, (taken, value): (Taken, u64)) -> bool {
        self.looks_at(&[(taken, value)]);
        let done = self.inner.done(taken.ticket);
        if done {
            *self.world.log.borrow_mut().done.entry(value).or_default() += 1;
        } else {
            self.give_up();
        }
        done
    }
}

/// The life of a worker that may be evicted at any moment: takes one and several, holds some over
/// later takes, finishes out of order, hands back one.
fn work_warily(world: &World, who: &Rc<Participant>) {
    let Some(mut worker) = world.worker(who) else { return };
    let mut held = Vec::new();
    for round in 0..7 {
        worker.looks_at(&held);
        match worker.take_warily(1 + round % 3) {
            Found::Nothing => {}
            Found::Event(taken, value) => held.push((taken, value)),
            Found::Evicted => break,
        }
        if round % 3 == 1 && !held.is_empty() && !worker.done_warily(held.remove(0)) {
            break;
        }
        if round == 5
            && let Some((taken, value)) = held.pop()
        {
            *world.log.borrow_mut().handed_back.entry(value).or_default() += 1;
            if !worker.inner.retry(taken.ticket, |_, _| AT_ONCE) {
                worker.give_up();
                break;
            }
        }
    }
    if worker.inner.is_fenced() {
        worker.give_up();
    } else {
        let mut log = world.log.borrow_mut();
        held.iter().for_each(|(_, value)| *log.handed_back.entry(*value).or_default() += 1);
        drop(log);
        worker.inner.hand_back();
    }
    world.channel.leave(Side::Consumers, who, &worker.registered, false);
}

/// Evicts every worker that can be evicted, and goes on for laps with another.
fn evict_and_lap(world: &World, who: &Rc<Participant>) {
    let acks = CrashMemory::writable(&world.channel.acks, who);
    for index in 0..world.channel.consumers {
        if matches!(fence::of(&acks, index), fence::SWAPS | fence::RESTARTS) {
            // A registrant prevents it: it has taken nothing yet.
            let fenced = world.channel.fence(who, index);
            assert!(matches!(fenced, Fenced::Settled | Fenced::Changed | Fenced::Busy), "{fenced:?}");
        }
    }
    lap(world, who);
}

/// Goes on for laps, with another worker.
fn lap(world: &World, who: &Rc<Participant>) {
    let (Some(mut worker), Some(mut producer)) = (world.worker(who), world.producer(who)) else {
        panic!("there are places");
    };
    worker.drain();
    for value in 2000..2000 + 2 * SLOTS + 1 {
        if !producer.push(value) {
            // A worker that could not be evicted yet holds something.
            break;
        }
        if value % 2 == 0 {
            worker.drain();
        }
    }
    worker.drain();
    producer.inner.retract();
    world.channel.leave(Side::Producers, who, &producer.registered, false);
    world.channel.leave(Side::Consumers, who, &worker.registered, false);
}

/// Each event that was published is done exactly once, whichever worker finished it.
fn judge_done(world: &World, what: &dyn std::fmt::Debug) {
    judge(world, 1, what);
    let log = world.log.borrow();
    for value in log.published.keys() {
        assert_eq!(log.done.get(value), Some(&1), "how often {value} was done: {what:?}");
    }
}

const STORES: [Stores; 2] = [Stores::Swap, Stores::Restart { area: 0 }];

/// A worker is evicted before its access `k`, others go on for laps, and it comes back. Returns
/// whether it came to that access.
fn evicted_at(stores: Stores, start: u64, waiting: u64, k: u32, blind: bool) -> bool {
    let world = World::storing(stores, start, 4, 4);
    let mut warm = world.producer(&Participant::immortal()).expect("an entry");
    (0..waiting).for_each(|value| assert!(warm.push(value)));
    warm.inner.retract();
    let its = world.clone();
    let victim = Participant::interrupted_at(k, move || evict_and_lap(&its, &Participant::immortal()));
    if blind {
        victim.go_blind();
    }
    work_warily(&world, &victim);
    victim.kill();
    judge_done(&world, &(stores, start, waiting, k));
    !victim.is_yet_to_be_interrupted()
}

#[test]
fn a_worker_is_evicted_at_every_access_and_comes_back() {
    let mut runs = 0;
    for stores in STORES {
        for start in STARTS {
            for waiting in 0..=SLOTS {
                runs += (0..).take_while(|&k| evicted_at(stores, start, waiting, k, false)).count();
            }
        }
    }
    assert!(runs > 2000, "{runs} runs");
}

#[test]
fn without_a_look_at_the_fence_a_late_store_is_noticed() {
    let noticed = (0..100).filter(|&k| {
        let run = || evicted_at(STORES[1], STARTS[1], SLOTS, k, true);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
    });
    assert!(noticed.count() >= 3, "the model does not see what fences are for");
}

/// The evictor is killed before its access `k`. Then another evicts again, or nobody does.
fn evictor_dies_at(stores: Stores, start: u64, k: u32, again: bool) -> bool {
    let world = World::storing(stores, start, 4, 4);
    let mut warm = world.producer(&Participant::immortal()).expect("an entry");
    (0..SLOTS).for_each(|value| assert!(warm.push(value)));
    warm.inner.retract();
    let who = Participant::immortal();
    let mut victim = world.worker(&who).expect("an entry");
    let held: Vec<_> = (0..3)
        .filter_map(|_| match victim.take_warily(2) {
            Found::Event(taken, value) => Some((taken, value)),
            _ => None,
        })
        .collect();
    assert_eq!(held.len(), 3);
    let index = victim.registered.index;
    let evictor = Participant::dying_at(Some(k));
    evictor.live(|| world.channel.fence(&evictor, index));
    if again {
        assert_eq!(world.channel.fence(&Participant::immortal(), index), Fenced::Settled);
        evict_and_lap(&world, &Participant::immortal());
        victim.looks_at(&held);
        assert!(!victim.done_warily(held[0]), "it was handed on");
    } else {
        lap(&world, &Participant::immortal());
        victim.looks_at(&held);
        // The events that it held are finished by it, or handed back by it, or by those that find
        // it closed.
        for &one in &held {
            if !victim.done_warily(one) {
                break;
            }
        }
    }
    if victim.inner.is_fenced() {
        victim.give_up();
    } else {
        victim.inner.hand_back();
    }
    world.channel.leave(Side::Consumers, &who, &victim.registered, false);
    who.kill();
    judge_done(&world, &(stores, start, k, again));
    evictor.is_dead()
}

#[test]
fn whoever_evicts_dies_at_every_access() {
    let mut runs = 0;
    for stores in STORES {
        for start in STARTS {
            for again in [true, false] {
                runs += (0..).take_while(|&k| evictor_dies_at(stores, start, k, again)).count();
            }
        }
    }
    assert!(runs > 200, "{runs} runs");
}

// ---- words that come again ----

/// Why a participant sweeps while another worker's word comes again.
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// Another worker has died, too.
    Dead,
    /// Another worker was evicted by a participant that died before it had handed back everything.
    Closed,
}

/// Attempts stay at the maximum, so a worker's TAKEN word comes again when another worker has its
/// entry and its event. A worker sweeps. Before its access `k`, the owner of a word that it may
/// have seen is buried, and the word comes again under a live owner: that event is not taken away.
/// Returns whether the worker came to that access.
fn word_recurs_at(stores: Stores, start: u64, reason: Reason, k: u32) -> bool {
    let world = World::storing(stores, start, 2, 4);
    let mut warm = world.producer(&Participant::immortal()).expect("an entry");
    assert!(warm.push(1));
    warm.inner.retract();
    let other = Participant::immortal();
    let index = world.worker(&other).expect("an entry").registered.index;
    match reason {
        Reason::Dead => other.kill(),
        Reason::Closed => {
            let evictor = (0..).map(|k| Participant::dying_at(Some(k))).find(|evictor| {
                evictor.live(|| world.channel.fence(evictor, index));
                fence::kind(fence::of(&CrashMemory::read_only(&world.channel.acks, &other), index))
                    == fence::CLOSED
            });
            assert!(evictor.is_some_and(|evictor| evictor.is_dead()));
        }
    }
    let dead = Participant::immortal();
    let mut worker = world.worker(&dead).expect("an entry");
    let mut taken = worker.take(1).expect("an event");
    while taken.attempt < ATTEMPT_MAX {
        worker.hand_back(Some(taken), true);
        taken = worker.take(1).expect("the same event");
    }
    let (index, ticket) = (worker.registered.index, taken.ticket);
    dead.kill();
    let heir: Rc<RefCell<Option<(Worker, Taken)>>> = Rc::default();
    let (its, has) = (world.clone(), heir.clone());
    let looker = Participant::interrupted_at(k, move || {
        if !its.channel.bury(Side::Consumers, &Participant::immortal(), index) {
            return; // Somebody is about to.
        }
        let mut worker = its.worker(&Participant::immortal()).expect("an entry");
        *has.borrow_mut() = worker.take(1).map(|taken| (worker, taken));
    });
    let mut worker = world.worker(&looker).expect("an entry");
    worker.repair();
    worker.drain();
    if let Some((mut heir, taken)) = heir.take() {
        assert_eq!((taken.ticket, taken.attempt), (ticket, ATTEMPT_MAX));
        heir.finish(Some(taken));
        heir.who.kill();
    }
    other.kill();
    looker.kill();
    judge_done(&world, &(stores, start, reason, k));
    !looker.is_yet_to_be_interrupted()
}

#[test]
fn a_word_that_comes_again_is_its_new_owners() {
    let mut runs = 0;
    for stores in STORES {
        for start in STARTS {
            for reason in [Reason::Dead, Reason::Closed] {
                runs += (0..).take_while(|&k| word_recurs_at(stores, start, reason, k)).count();
            }
        }
    }
    assert!(runs > 1000, "{runs} runs");
}

/// A word that a worker holds is corrupted, which its store finds out: the other events that it
/// held are handed back when it leaves.
#[test]
fn who_was_refused_leaves_nothing_behind() {
    let world = World::storing(Stores::Swap, 0, 2, 2);
    let mut warm = world.producer(&Participant::immortal()).expect("an entry");
    (0..3).for_each(|value| assert!(warm.push(value)));
    let who = Participant::immortal();
    let mut worker = world.worker(&who).expect("an entry");
    let taken: Vec<_> = std::iter::from_fn(|| worker.take(1)).collect();
    assert_eq!(taken.len(), 3);
    let at = world.channel.slots.done_offset(taken[1].ticket);
    let held = world.channel.done.get(at);
    world.channel.done.set(at, held ^ 1);
    assert!(!worker.inner.done(taken[1].ticket));
    world.channel.done.set(at, held);
    worker.inner.hand_back();
    world.channel.leave(Side::Consumers, &who, &worker.registered, false);
    judge(&world, 1, &"after a refusal");
}
