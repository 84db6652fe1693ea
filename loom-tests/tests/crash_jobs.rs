//! Events with times, with a worker that dies at every access while it puts an event back that is not
//! due, and with one that repairs after it and dies as well.
//!
//! The survivors get the event when its time has come, and not before; and no attempt is counted,
//! because no worker has handed it out. An event that ends in another way than by being done is ended
//! once by a survivor, and its outcome is known.
//!
//! A pass does not prove anything about weak memory.

use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, Participant};
use railbus_ring::frame;
use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity, Registered};
use railbus_ring::slots::job::{Due, Now, Times};
use railbus_ring::slots::outcome::{Outcome, Outcomes, Progress};
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::word::Slots;
use railbus_ring::slots::worker::{SlotWorker, Taken};

const SLOTS: u64 = 4;
const MS: u64 = 1_000_000;
/// When the delayed event may be taken: at this time of the wall clock, which is a second ahead of the
/// host's.
const DUE_NS: u64 = 1_010 * MS;
const AHEAD_NS: u64 = 1_000 * MS;
const STARTS: [u64; 3] = [0, SLOTS - 1, (SLOTS << 48) - 2];

fn now(host_ns: u64) -> Now {
    Now { host_ns, wall_ns: host_ns + AHEAD_NS }
}

#[derive(Clone)]
struct World {
    channel: CrashChannel,
    /// The delayed event, and the one behind it.
    delayed: u64,
    other: u64,
}

struct Worker {
    inner: SlotWorker<CrashMemory>,
    world: World,
    registered: Registered,
    who: Rc<Participant>,
}

impl World {
    fn new(start: u64) -> World {
        let channel = CrashChannel::ring_of(Slots::new(SLOTS, 64), start, 1, 3);
        let who = Participant::immortal();
        let identity = Identity { policy: registry::ROLE_PRODUCER, ..Identity::default() };
        let registered = channel.register(Side::Producers, &who, &identity).expect("an entry");
        let mut producer = SlotProducer::<_, false>::new(channel.producers_view(&who), registered.index);
        let delayed = producer.claim(1).expect("there is room").first;
        channel.data.set(channel.slots.offset(delayed) + layout::SLOT_BODY, DUE_NS);
        producer.publish(delayed, frame::header(32, 0, frame::JOB));
        let other = producer.claim(1).expect("there is room").first;
        producer.publish(other, frame::header(0, 0, 0));
        producer.retract();
        channel.leave(Side::Producers, &who, &registered, false);
        World { channel, delayed, other }
    }

    fn worker(&self, who: &Rc<Participant>) -> Option<Worker> {
        let identity = Identity { policy: registry::ROLE_WORKER, ..Identity::default() };
        let registered = self.channel.register(Side::Consumers, who, &identity).ok()?;
        let inner = SlotWorker::new(self.channel.consumers_view(who), registered.index);
        Some(Worker { inner, world: self.clone(), registered, who: who.clone() })
    }

    fn progress(&self, t: u64) -> Progress {
        let who = Participant::immortal();
        let done = CrashMemory::read_only(&self.channel.done, &who);
        Outcomes { done: &done, slots: self.channel.slots }.progress(t, self.channel.ring.get(layout::TAIL))
    }
}

impl Worker {
    /// Takes the next event that may be handed out at this time, and puts back those that may not.
    fn take(&mut self, host_ns: u64) -> Option<Taken> {
        for _ in 0..4 {
            let taken = self.inner.take(1, || host_ns)?;
            let times: Option<Times> = self.inner.times(taken.ticket, self.inner.header(taken.ticket));
            match times.map(|times| times.due(now(host_ns).wall_ns)) {
                Some(Due::In(ns)) => assert!(self.inner.postpone(taken.ticket, host_ns + ns)),
                _ => return Some(taken),
            }
        }
        None
    }

    fn repair(&mut self, host_ns: u64) {
        let channel = self.world.channel.clone();
        self.inner.sweeper(now(host_ns)).sweep(&channel.peers(), None);
        for index in (0..channel.consumers).filter(|&index| index != self.registered.index) {
            let inner = &self.inner;
            let locks = channel.locks_for(Side::Consumers, &self.who);
            channel.registry(Side::Consumers, &self.who).bury(&locks, index, |index| {
                inner.sweeper(now(host_ns)).sweep(&channel.peers(), Some(index)).unsettled == 0
            });
        }
    }

    fn leave(mut self) {
        self.inner.hand_back();
        self.world.channel.leave(Side::Consumers, &self.who, &self.registered, false);
    }
}

/// Puts the delayed event back, and finishes the other one.
fn put_back(world: &World, who: &Rc<Participant>) {
    let Some(mut worker) = world.worker(who) else { return };
    worker.repair(MS);
    let other = worker.take(MS);
    if let Some(taken) = other {
        assert_ne!(taken.ticket, world.delayed, "it is not due");
        worker.inner.done(taken.ticket);
    }
    worker.take(2 * MS);
    worker.leave();
}

/// The rest is handed out at its time, with no attempt counted for the delayed event.
fn judge(world: &World, what: &dyn std::fmt::Debug) {
    let who = Participant::immortal();
    let mut worker = world.worker(&who).expect("a free entry");
    let mut taken_at = Vec::new();
    for host_ns in [3 * MS, 4 * MS, 9 * MS, 10 * MS, 2_000 * MS] {
        worker.repair(host_ns);
        for _ in 0..4 {
            while let Some(taken) = worker.take(host_ns) {
                if taken.ticket == world.delayed {
                    assert!(now(host_ns).wall_ns >= DUE_NS, "{taken:?} too early: {what:?}");
                    assert_eq!(taken.attempt, 0, "{what:?}");
                }
                taken_at.push(taken.ticket);
                assert!(worker.inner.done(taken.ticket));
            }
        }
    }
    worker.leave();
    assert_eq!(taken_at.iter().filter(|&&t| t == world.delayed).count(), 1, "{what:?}: {taken_at:?}");
    for t in [world.delayed, world.other] {
        assert_eq!(world.progress(t), Progress::Done, "{t}: {what:?}");
    }
}

#[test]
fn a_worker_dies_at_every_step_of_putting_an_event_back_that_is_not_due() {
    let mut second_deaths = 0;
    for start in STARTS {
        for k in 0.. {
            let mut one_died = true;
            for second in (0..).step_by(7) {
                let world = World::new(start);
                let one = Participant::dying_at(Some(k));
                one.live(|| put_back(&world, &one));
                one_died = one.is_dead();
                one.kill();
                let two = Participant::dying_at(Some(second));
                two.live(|| put_back(&world, &two));
                let two_died = two.is_dead();
                two.kill();
                judge(&world, &(start, k, second));
                second_deaths += u32::from(two_died);
                if !two_died {
                    break;
                }
            }
            if !one_died {
                assert!(k > 50, "{k} accesses");
                break;
            }
        }
    }
    assert!(second_deaths > 500, "{second_deaths}");
}

/// A worker ends an event with an outcome.
fn end(world: &World, who: &Rc<Participant>, outcome: Outcome) {
    let Some(mut worker) = world.worker(who) else { return };
    worker.repair(2_000 * MS);
    if let Some(taken) = worker.take(2_000 * MS) {
        if taken.attempt > 0 {
            worker.inner.reset_outcome(taken);
        }
        worker.inner.note_outcome(taken, outcome);
        worker.inner.done(taken.ticket);
    }
    worker.leave();
}

#[test]
fn an_outcome_that_a_dead_worker_has_noted_does_not_count_for_the_next_holder() {
    let mut others = 0;
    for start in STARTS {
        for k in 0.. {
            let world = World::new(start);
            let one = Participant::dying_at(Some(k));
            one.live(|| end(&world, &one, Outcome::Purged));
            let died = one.is_dead();
            one.kill();
            let purged = Progress::Ended(Outcome::Purged);
            let was_finished = world.progress(world.delayed) == purged;
            // The next holder does what is left.
            let who = Participant::immortal();
            let mut worker = world.worker(&who).expect("a free entry");
            worker.repair(2_000 * MS);
            while let Some(taken) = worker.take(4_000 * MS) {
                if taken.attempt > 0 {
                    worker.inner.reset_outcome(taken);
                    others += 1;
                }
                assert!(worker.inner.done(taken.ticket));
            }
            worker.leave();
            let expected = if was_finished { purged } else { Progress::Done };
            assert_eq!(world.progress(world.delayed), expected, "{start} {k}");
            assert_eq!(world.progress(world.other), Progress::Done, "{start} {k}");
            if !died {
                break;
            }
        }
    }
    assert!(others > 10, "{others}");
}
