//! Unique keys (`ring/unique.rs`), with a producer that dies at every access, or into whose every
//! access other participants are put.
//!
//! After each step of the story, at most one ticket with the key is published and not done. Whatever
//! has died, the next producer of the key succeeds or is refused by an event that a worker gets. Once
//! that is finished, the key is free.
//!
//! A pass does not prove anything about weak memory, nor about two producers that interrupt each other
//! more than once (see the models of `loom_unique.rs`).

use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, Participant};
use railbus_loom_tests::loom_memory::is_deep;
use railbus_ring::frame;
use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::unique::{JobKey, Published};
use railbus_ring::slots::word::{Slots, done, seq};
use railbus_ring::slots::worker::SlotWorker;

const SLOTS: u64 = 4;
const KEY: JobKey = JobKey([11, 7]);
const OTHER: JobKey = JobKey([12, 7]);
/// Where queues start: at the first lap, just before the second, and just below the wrap of the laps.
const STARTS: [u64; 3] = [0, SLOTS - 1, (SLOTS << 48) - 2];
const TRIES: usize = 8;

#[derive(Clone)]
struct World {
    channel: CrashChannel,
}

impl World {
    fn new(start: u64) -> World {
        let channel = CrashChannel::ring_of(Slots::new(SLOTS, 64), start, 3, 2);
        World { channel }
    }

    /// The tickets that have the key, are published and not done.
    fn unfinished(&self) -> Vec<u64> {
        let CrashChannel { ring, data, done: words, slots, .. } = &self.channel;
        let tail = ring.get(layout::TAIL);
        let has_key = |t: &u64| {
            let at = slots.offset(*t);
            data.get(at + layout::SLOT_SEQ) == slots.state(*t, seq::PUBLISHED)
                && words.get(slots.done_offset(*t)) != slots.state(*t, done::DONE)
                && data.get(at + layout::SLOT_BODY + frame::JOB_UNIQUE) == KEY.0[0]
        };
        (tail.saturating_sub(SLOTS)..tail).filter(has_key).collect()
    }

    fn check(&self, what: &dyn std::fmt::Debug) -> Vec<u64> {
        let found = self.unfinished();
        assert!(found.len() <= 1, "{found:?} have one key: {what:?}");
        found
    }

    /// A producer's life: it publishes one event with this key. `None` if there was no room.
    fn produce(&self, who: &Rc<Participant>, key: JobKey) -> Option<Published> {
        let identity = Identity { policy: registry::ROLE_PRODUCER, ..Identity::default() };
        let c = &self.channel;
        let registered = c.register(Side::Producers, who, &identity).ok()?;
        let data = CrashMemory::writable(&c.data, who);
        let mut producer = SlotProducer::<_, false>::new(c.producers_view(who), registered.index);
        let mut end = None;
        for _ in 0..TRIES {
            if let Some(t) = producer.unique_keys().find(key) {
                end = Some(Published::After(t));
                break;
            }
            let Ok(won) = producer.claim(1) else { break };
            let body = producer.body_offset(won.first);
            [0, 0, key.0[0], key.0[1]]
                .into_iter()
                .enumerate()
                .for_each(|(i, word)| data.store(body + i * 8, word, Edge::Plain));
            let header = frame::header(32, 0, frame::JOB);
            match producer.unique_keys().publish(won.first, header, key, 2) {
                Published::Crossed => {}
                published => {
                    end = Some(published);
                    break;
                }
            }
        }
        producer.retract();
        c.leave(Side::Producers, who, &registered, false);
        end
    }

    /// A worker's life: it takes up to `most` events and finishes them. Returns how many had the key.
    fn work(&self, who: &Rc<Participant>, most: u32) -> u32 {
        let c = &self.channel;
        let identity = Identity { policy: registry::ROLE_WORKER, ..Identity::default() };
        let Ok(registered) = c.register(Side::Consumers, who, &identity) else { return 0 };
        let mut worker = SlotWorker::new(c.consumers_view(who), registered.index);
        let mut with_key = 0;
        for _ in 0..most {
            let taken = worker.take(1, || 0).or_else(|| {
                while worker.stuck_behind().is_some_and(|t| worker.skip_orphan(t, &c.peers())) {}
                worker.take(1, || 0)
            });
            let Some(taken) = taken else { break };
            let at = c.slots.offset(taken.ticket) + layout::SLOT_BODY + frame::JOB_UNIQUE;
            with_key += u32::from(c.data.get(at) == KEY.0[0]);
            assert!(worker.done(taken.ticket));
        }
        worker.hand_back();
        c.leave(Side::Consumers, who, &registered, false);
        with_key
    }

    fn bury(&self) {
        let who = Participant::immortal();
        (0..self.channel.producers).for_each(|index| _ = self.channel.bury(Side::Producers, &who, index));
    }

    /// The survivors: the key can be published, or is there, is handed out once, and is free then.
    fn judge(&self, what: &dyn std::fmt::Debug) {
        self.bury();
        let who = Participant::immortal();
        let before = self.check(what);
        match (self.produce(&who, KEY), before.first()) {
            (Some(Published::Alone), None) => {}
            (Some(Published::After(t)), Some(&found)) if t == found => {}
            // All slots are taken by events, or by tickets of dead producers.
            (None, _) => {}
            other => panic!("{other:?}: {what:?}"),
        }
        let unfinished = self.check(what).len() as u32;
        assert_eq!(self.work(&who, 2 * SLOTS as u32), unfinished, "{what:?}");
        assert_eq!(self.check(what), [], "{what:?}");
        assert_eq!(self.produce(&who, KEY), Some(Published::Alone), "the key is free: {what:?}");
        assert_eq!(self.check(what).len(), 1);
    }
}

/// The acts of others inside one access of a producer.
type Company = fn(&World);

fn another_publishes(world: &World) {
    world.produce(&Participant::immortal(), KEY);
}

fn another_publishes_and_its_event_is_done(world: &World) {
    another_publishes(world);
    world.work(&Participant::immortal(), 1);
}

fn two_publish_and_one_is_done_between(world: &World) {
    another_publishes_and_its_event_is_done(world);
    another_publishes(world);
}

/// The ring goes round: the slots of the producer that is interrupted are used again, if they can be.
fn the_ring_goes_round(world: &World) {
    let who = Participant::immortal();
    for key in [OTHER, KEY, JobKey([13, 7]), KEY, OTHER] {
        world.produce(&who, key);
        world.work(&who, 1);
    }
    world.produce(&who, KEY);
}

fn a_worker_finishes_what_there_is(world: &World) {
    world.work(&Participant::immortal(), 2 * SLOTS as u32);
}

const COMPANIES: [Company; 5] = [
    another_publishes,
    another_publishes_and_its_event_is_done,
    two_publish_and_one_is_done_between,
    the_ring_goes_round,
    a_worker_finishes_what_there_is,
];

#[test]
fn a_producer_dies_at_every_access() {
    for start in STARTS {
        for is_there in [false, true] {
            for k in 0.. {
                let world = World::new(start);
                if is_there {
                    another_publishes(&world);
                }
                let one = Participant::dying_at(Some(k));
                let end = one.live(|| world.produce(&one, KEY));
                world.check(&(start, k));
                let died = one.is_dead();
                one.kill();
                world.judge(&(start, is_there, k, end));
                if !died {
                    assert!(k > 20, "{k} accesses");
                    break;
                }
            }
        }
    }
}

#[test]
fn others_are_inside_every_access_of_a_producer() {
    for start in STARTS {
        for (which, company) in COMPANIES.into_iter().enumerate() {
            for k in 0.. {
                let world = World::new(start);
                if which == 4 {
                    another_publishes(&world);
                }
                let its = world.clone();
                let one = Participant::interrupted_at(k, move || company(&its));
                let end = world.produce(&one, KEY);
                let found = world.check(&(start, which, k));
                if which == 0 {
                    // Nobody works.
                    assert_eq!(found.len(), 1, "{start} {k}: {end:?}");
                }
                one.kill();
                world.judge(&(start, which, k, end));
                if one.is_yet_to_be_interrupted() {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_producer_dies_after_others_were_inside() {
    let step = if is_deep() { 1 } else { 3 };
    let mut deaths = 0;
    for start in STARTS {
        for (which, company) in COMPANIES.into_iter().enumerate() {
            for k in 0.. {
                let mut more = true;
                for dies_at in (k..).step_by(step) {
                    let world = World::new(start);
                    let its = world.clone();
                    let one = Participant::interrupted_and_dying(k, move || company(&its), dies_at);
                    one.live(|| world.produce(&one, KEY));
                    world.check(&(start, which, k, dies_at));
                    let died = one.is_dead();
                    more = !one.is_yet_to_be_interrupted();
                    one.kill();
                    world.judge(&(start, which, k, dies_at));
                    deaths += u32::from(died);
                    if !died {
                        break;
                    }
                }
                if !more && k > 0 {
                    break;
                }
            }
        }
    }
    assert!(deaths > 1000, "{deaths}");
}

/// The checks above notice a producer that does not look again after it has inserted its ticket.
#[test]
fn a_producer_that_does_not_look_again_lets_a_second_in() {
    let is_wrong_at = |k| {
        let world = World::new(0);
        let its = world.clone();
        let one = Participant::interrupted_at(k, move || another_publishes(&its));
        // It publishes as for an event without a key, once it has found the key free.
        let c = &world.channel;
        let identity = Identity { policy: registry::ROLE_PRODUCER, ..Identity::default() };
        let registered = c.register(Side::Producers, &one, &identity).expect("an entry");
        let data = CrashMemory::writable(&c.data, &one);
        let mut producer = SlotProducer::<_, false>::new(c.producers_view(&one), registered.index);
        if producer.unique_keys().find(KEY).is_none() {
            let t = producer.claim(1).expect("there is room").first;
            let body = producer.body_offset(t) + frame::JOB_UNIQUE;
            data.store(body, KEY.0[0], Edge::Plain);
            data.store(body + 8, KEY.0[1], Edge::Plain);
            producer.publish(t, frame::header(32, 0, frame::JOB));
        }
        world.unfinished().len() > 1
    };
    assert!((0..60).any(is_wrong_at));
}
