//! Scenes that begin with tickets that a dead producer had won and never published. The actor
//! repairs them in place, as every participant does that finds them, and dies, or is stopped, at
//! that.

use std::path::Path;
use std::time::Duration;

use railbus::{Kind, SubscribeOptions, WorkOptions};
use railbus_ring::frame;
use railbus_ring::members::join::StartAt as Start;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{ROLE_PRODUCER, ROLE_SUBSCRIBER, ROLE_TAP, ROLE_WORKER};
use railbus_ring::slots::redo::DELAY_NS_MAX;

use super::{
    ACTOR, BEGUN, CHANNEL, COMMITTED, EVENTS, FINISHED, FINISHING, Follower, MILLION, OLD, REPAIRED, SLOTS,
    Stage, TAKEN, disturb_by_publishing, go_on_publishing, go_on_reading, go_on_tapping, go_on_working,
    patiently, producer_of, publish, read_slots, sending, take_beside, take_some, worker_of, working,
};
use crate::forks::{End, Part, Shared, event, forked, number};

/// Tickets that the dead producer had won.
const WON: u64 = 3;

/// A producer wins three tickets, publishes event `number` with the second, and is dead.
fn die_with_open_tickets<const TOPIC: bool>(base: &Path, number: u64) {
    let mut dead = forked(|| {
        let part = Part::register(base, CHANNEL, Side::Producers, ROLE_PRODUCER, "").expect("a place");
        let mut core = producer_of::<TOPIC>(&part);
        let tickets = core.claim(WON as u32).expect("room");
        assert_eq!(tickets.count as u64, WON);
        part.write(core.body_offset(tickets.first + 1), &event(number, 40));
        core.publish(tickets.first + 1, frame::header(40, 0, 0));
    });
    assert_eq!(dead.wait(), End::Finished);
}

/// An actor that has ended undisturbed has found what the dead producer left.
fn check_repairs(stage: &Stage<'_>) {
    if stage.end == End::Finished && stage.stop_at == 0 {
        assert_ne!(stage.shared.get(REPAIRED), 0, "nothing was in the way");
    }
}

pub(super) fn worker(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Queue);
    let mut producer = channel.producer(&sending()).unwrap();
    publish(&mut producer, OLD, 0, 2, || ());
    die_with_open_tickets::<false>(stage.base, OLD * MILLION + 2);
    publish(&mut producer, OLD, 3, 4, || ());
    die_with_open_tickets::<false>(stage.base, OLD * MILLION + 7);
    publish(&mut producer, OLD, 8, 20, || ());
    let mut other = (stage.variant >= 3).then(|| channel.worker(&working()).unwrap());
    let mut seen = Vec::new();
    let shared = stage.shared;
    stage.act(work, || {
        if let Some(other) = &mut other {
            take_beside(shared, other, &mut seen);
        }
    });
    check_repairs(stage);
    let other = other.unwrap_or_else(|| channel.worker(&working()).unwrap());
    go_on_working(stage, producer, other, seen);
}

/// Takes ten events, stepping over the orphans in its way, and finishes all but every third.
fn work(base: &Path, shared: &Shared) {
    let part = Part::register(base, CHANNEL, Side::Consumers, ROLE_WORKER, "").expect("a place");
    let mut core = worker_of(&part);
    for round in 0..10 {
        let taken = loop {
            if let Some(taken) = core.take(2, || DELAY_NS_MAX) {
                break taken;
            }
            let Some(ticket) = core.stuck_behind() else { return };
            assert!(core.skip_orphan(ticket, &part.peers), "its producer is dead");
            shared.add(REPAIRED, 1);
        };
        let bytes = frame::body_bytes(core.header(taken.ticket)) as usize;
        let n = number(&part.read(core.body_offset(taken.ticket), bytes)) as usize;
        shared.set(EVENTS + n, TAKEN);
        if round % 3 != 1 {
            shared.set(EVENTS + n, FINISHING);
            assert!(core.done(taken.ticket));
            shared.set(EVENTS + n, FINISHED);
        }
    }
}

pub(super) fn tap(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Queue);
    let durable = stage.variant >= 3;
    let mut producer = channel.producer(&sending()).unwrap();
    let mut other = Follower::new(channel.tap(&SubscribeOptions::default()).unwrap());
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    publish(&mut producer, OLD, 0, 20, || ());
    let mut published = 20;
    let base = stage.base;
    let mut first = true;
    stage.act(
        move |base, shared| read_slots(base, shared, ROLE_TAP, durable, Start::Live),
        || {
            if std::mem::take(&mut first) {
                die_with_open_tickets::<false>(base, OLD * MILLION + published);
                published += 1;
            }
            let drain = || {
                other.drain();
                take_some(&mut worker, &mut Vec::new());
            };
            published += disturb_by_publishing(&mut producer, published, drain);
        },
    );
    let named = SubscribeOptions::default().name("durable").durable(true);
    check_repairs(stage);
    let resumed = durable.then(|| Follower::new(patiently(|| channel.tap(&named))));
    go_on_tapping(stage, producer, worker, published, other, resumed);
}

/// In every other variant the actor copies, before the tail it joined at; otherwise it reads in place.
pub(super) fn topic_subscriber(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Topic);
    let durable = stage.variant >= 3;
    let copies = stage.variant.is_multiple_of(2);
    let mut publisher = channel.topic_publisher(&sending()).unwrap();
    publish(&mut publisher, OLD, 0, 5, || ());
    if copies {
        die_with_open_tickets::<true>(stage.base, OLD * MILLION + 5);
        publish(&mut publisher, OLD, 6, 14, || ());
    } else {
        publish(&mut publisher, OLD, 5, 15, || ());
    }
    let mut other = Follower::new(channel.topic_subscriber(&SubscribeOptions::default()).unwrap());
    let mut published = 20;
    let base = stage.base;
    let mut first = !copies;
    let start = if copies { Start::Oldest } else { Start::Live };
    stage.act(
        move |base, shared| read_slots(base, shared, ROLE_SUBSCRIBER, durable, start),
        || {
            if std::mem::take(&mut first) {
                die_with_open_tickets::<true>(base, OLD * MILLION + published);
                published += 1;
            }
            published += disturb_by_publishing(&mut publisher, published, || other.drain());
        },
    );
    let named = SubscribeOptions::default().name("durable").durable(true);
    check_repairs(stage);
    let resumed = durable.then(|| Follower::new(patiently(|| channel.topic_subscriber(&named))));
    go_on_reading(stage, &mut publisher, published, &mut other, resumed);
}

/// A ring later: the next ticket but one is that of a slot whose last ticket was never published.
pub(super) fn topic_publisher(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Topic);
    let subscribe = |lossy| SubscribeOptions::default().lossy(lossy);
    let subscriber = |lossy| Follower::new(channel.topic_subscriber(&subscribe(lossy)).unwrap());
    let (mut one, mut two, lossy) = (subscriber(false), subscriber(false), subscriber(true));
    let mut other = channel.topic_publisher(&sending()).unwrap();
    publish(&mut other, OLD, 0, 10, || ());
    die_with_open_tickets::<true>(stage.base, OLD * MILLION + 10);
    publish(&mut other, OLD, 11, SLOTS - WON - 1, || {
        one.receive(Duration::from_millis(1));
        two.receive(Duration::from_millis(1));
    });
    let mut published = 11 + SLOTS - WON - 1;
    for follower in [&mut one, &mut two] {
        follower.until(OLD * MILLION + published - 1);
        follower.reader.acknowledge();
    }
    stage.act(publish_over_orphans, || {
        for n in 0..5 {
            let bytes = event(OLD * MILLION + published, 16 + n * 20);
            if other.publish_timeout(&bytes, Duration::from_millis(6)).is_ok() {
                published += 1;
            }
            one.drain();
        }
    });
    check_repairs(stage);
    go_on_publishing(stage, &channel, other, published, [one, two, lossy]);
}

/// Publishes one at a time and several at once, aborting the orphans in its way.
fn publish_over_orphans(base: &Path, shared: &Shared) {
    let part = Part::register(base, CHANNEL, Side::Producers, ROLE_PRODUCER, "").expect("a place");
    let mut core = producer_of::<true>(&part);
    let mut next = 0;
    for wanted in [1, 1, 3, 1] {
        let tickets = loop {
            match core.claim(wanted) {
                Ok(tickets) => break tickets,
                // Another participant may have repaired it first, or have won the ticket first.
                Err(refused) => _ = shared.add(REPAIRED, core.repair(refused, &part.peers).into()),
            }
        };
        for ticket in tickets.first..tickets.first + tickets.count as u64 {
            let bytes = 16 + next as usize * 7;
            part.write(core.body_offset(ticket), &event(ACTOR * MILLION + next, bytes));
            next += 1;
            shared.set(BEGUN, next);
            core.publish(ticket, frame::header(bytes as u32, 0, 0));
            shared.set(COMMITTED, next);
        }
    }
    core.retract();
}
