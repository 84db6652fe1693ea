//! Tests: each sleeper is woken by the call that changes what it waits for, of whatever kind that
//! is.
//!
//! Sleeps have no time slices here. So a missing wake-up is a hang, however fast the machine is.
//! Where the system refuses membarrier, sleeps are short all the same, and a pass proves nothing.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::memory::{Edge, Memory};

use crate::channel::bus::Bus;
use crate::channel::open::Channel;
use crate::channel::{ChannelOptions, Kind, Overflow};
use crate::handle::options::{SendOptions, SubscribeOptions, WorkOptions};
use crate::handle::wait::{SLICES_ARE_ENDLESS, Wait};

/// A wake-up takes some microseconds; a busy machine may take much longer.
const HANG: Duration = Duration::from_secs(60);
/// Usually long enough to fall asleep. A thread that has not makes the test weaker, but never fail.
const FALL_ASLEEP: Duration = Duration::from_millis(60);

fn made(options: &ChannelOptions) -> (tempfile::TempDir, Channel) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let channel = Bus::at(base.path(), "b").expect("a bus").create("c", options).expect("a channel");
    (base, channel)
}

const WAIT: Wait = Wait::Park { spin: Duration::ZERO };

fn send_options() -> SendOptions {
    SendOptions { wait: WAIT, ..SendOptions::default() }
}

fn subscribe_options() -> SubscribeOptions {
    SubscribeOptions { wait: WAIT, ..SubscribeOptions::default() }
}

fn work_options() -> WorkOptions {
    WorkOptions { wait: WAIT, grab: 1, ..WorkOptions::default() }
}

/// Runs `wait` in a thread of its own, and gives it the time to fall asleep.
fn asleep<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        SLICES_ARE_ENDLESS.set(true);
        let _ = tell.send(wait());
    });
    std::thread::sleep(FALL_ASLEEP);
    told
}

fn woken<T>(told: &Receiver<T>) -> T {
    told.recv_timeout(HANG).expect("it was not woken")
}

/// Each end of a channel with little room sleeps whenever it has nothing to do, thousands of times.
#[test]
fn a_parked_reader_and_a_parked_producer_are_woken() {
    const EVENTS: u64 = 5000;
    let (_base, channel) = made(&ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64));
    let mut producer = channel.producer(&send_options()).unwrap();
    let mut worker = channel.worker(&work_options()).unwrap();
    let ends = [
        asleep(move || (0..EVENTS).for_each(|i| _ = producer.publish(&i.to_le_bytes()).unwrap())),
        asleep(move || {
            for i in 0..EVENTS {
                let job = worker.take().unwrap();
                assert_eq!(job.event().pod::<u64>(), Some(i));
                let _ = job.done();
            }
        }),
    ];
    ends.iter().for_each(woken);
    for kind in [Kind::Stream, Kind::Topic] {
        let options = ChannelOptions::new(kind);
        let (_base, channel) = made(&match kind {
            Kind::Stream => options.capacity_bytes(4096),
            _ => options.slots(64).slot_bytes(64),
        });
        let its = channel.clone();
        let (ready, readies) = std::sync::mpsc::channel();
        let reader = asleep(move || {
            let read = |next: &mut dyn FnMut() -> Option<u64>| {
                ready.send(()).unwrap();
                (0..EVENTS).for_each(|i| assert_eq!(next(), Some(i)));
            };
            if kind == Kind::Stream {
                let mut reader = its.subscriber(&subscribe_options()).unwrap();
                read(&mut || reader.recv().unwrap().pod());
            } else {
                let mut reader = its.topic_subscriber(&subscribe_options()).unwrap();
                read(&mut || reader.recv().unwrap().pod());
            }
        });
        woken(&readies);
        let writer = asleep(move || {
            if kind == Kind::Stream {
                let mut publisher = channel.publisher(&send_options()).unwrap();
                (0..EVENTS).for_each(|i| _ = publisher.publish(&i.to_le_bytes()).unwrap());
            } else {
                let mut publisher = channel.topic_publisher(&send_options()).unwrap();
                (0..EVENTS).for_each(|i| _ = publisher.publish(&i.to_le_bytes()).unwrap());
            }
        });
        [reader, writer].iter().for_each(woken);
    }
}

/// Three producers, each of which waits for a credit of its own.
#[test]
fn a_producer_out_of_credits_when_one_comes_back() {
    const EVENTS: u64 = 300;
    let (_base, channel) = made(&ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64).credits(1));
    let mut worker = channel.worker(&work_options()).unwrap();
    let producers: Vec<_> = (0..3)
        .map(|_| {
            let mut producer = channel.producer(&send_options()).unwrap();
            asleep(move || (0..EVENTS).for_each(|i| _ = producer.publish(&i.to_le_bytes()).unwrap()))
        })
        .collect();
    let worker = asleep(move || (0..3 * EVENTS).for_each(|_| assert!(worker.take().unwrap().done())));
    producers.iter().chain([&worker]).for_each(woken);
}

/// Those that wait for the end of an event take no wake-up from a producer that waits for room.
#[test]
fn a_waiter_for_the_end_of_an_event_however_it_ends() {
    let letters = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(256);
    let (base, channel) = made(&letters);
    let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64);
    let options = options.max_attempts(1).dead_letters(Some("c".into()));
    let bus = Bus::at(base.path(), "b").unwrap();
    let queue = bus.create("q", &options).unwrap();
    let mut worker = queue.worker(&work_options()).unwrap();
    let mut producer = queue.producer(&send_options()).unwrap();
    let expired = crate::Attributes::default().expires_ns(1);
    for round in 0..12 {
        let position = match round % 4 {
            3 => producer.publish_with(b"x", &expired).unwrap(),
            _ => producer.publish(b"x").unwrap(),
        };
        let its = queue.clone();
        let waiters = [(); 2].map(|()| {
            let its = its.clone();
            asleep(move || its.wait_done(position, HANG).unwrap())
        });
        (1..64).for_each(|_| _ = producer.publish(b"in the way").unwrap());
        let mut blocked = queue.producer(&send_options()).unwrap();
        let blocked = asleep(move || blocked.publish(b"y").unwrap());
        let end = match round % 4 {
            0 => {
                assert!(worker.take().unwrap().done());
                crate::JobEnd::Done
            }
            1 => {
                worker.take().unwrap().retry();
                let ticket = worker.take().unwrap().keep();
                assert!(worker.done(ticket));
                crate::JobEnd::DeadLetter
            }
            2 => {
                assert_eq!(queue.purge(false).unwrap().events, 64);
                crate::JobEnd::Purged
            }
            _ => {
                assert!(worker.take().unwrap().done());
                crate::JobEnd::Expired { dead_letter: true }
            }
        };
        if round % 4 == 1 {
            // The fresh event that is taken by turns may come first.
            while queue.wait_done(position, Duration::ZERO).is_err() {
                assert!(worker.take().unwrap().done());
            }
        }
        waiters.iter().for_each(|waiter| assert_eq!(woken(waiter), end));
        woken(&blocked);
        while let Some(job) = worker.try_take().unwrap() {
            assert!(job.done());
        }
        channel.purge(false).unwrap();
    }
}

/// A bridge waits in the place of a reader of any kind, and learns of the same changes.
#[test]
fn a_bridge_when_something_comes_or_is_handed_back() {
    let bridge_of = |channel: &Channel, watch| {
        SLICES_ARE_ENDLESS.set(true);
        let bridge = crate::handle::bridge::Bridge::new(channel).unwrap();
        SLICES_ARE_ENDLESS.set(false);
        bridge.arm(watch);
        std::thread::sleep(FALL_ASLEEP);
        bridge
    };
    let is_readable = |bridge: &crate::handle::bridge::Bridge| {
        use std::os::fd::AsFd;
        let mut fds = [nix::poll::PollFd::new(bridge.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, HANG.as_millis() as u16).unwrap() == 1
    };
    let (_base, channel) = made(&ChannelOptions::new(Kind::Stream));
    let reader = channel.subscriber(&subscribe_options()).unwrap();
    let bridge = bridge_of(&channel, reader.watch());
    channel.publisher(&send_options()).unwrap().publish(b"x").unwrap();
    assert!(is_readable(&bridge), "of a stream");

    let (_base, channel) = made(&ChannelOptions::new(Kind::Topic));
    let reader = channel.topic_subscriber(&subscribe_options()).unwrap();
    let bridge = bridge_of(&channel, reader.watch());
    channel.topic_publisher(&send_options()).unwrap().publish(b"x").unwrap();
    assert!(is_readable(&bridge), "of a topic");

    for (keyed, leaves) in [(false, false), (false, true), (true, false)] {
        let (_base, channel) = made(&ChannelOptions::new(Kind::Queue).keyed(keyed));
        let mut producer = channel.producer(&send_options()).unwrap();
        let attributes = crate::event::Attributes { key: keyed.then_some(7), ..Default::default() };
        let mut one = channel.worker(&work_options()).unwrap();
        let mut two = channel.worker(&work_options()).unwrap();
        let bridge = bridge_of(&channel, two.watch());
        producer.publish_with(b"x", &attributes).unwrap();
        assert!(is_readable(&bridge), "of a queue");
        let ticket = one.take_ticket().unwrap().unwrap();
        if keyed {
            producer.publish_with(b"y", &attributes).unwrap();
        }
        assert!(two.take_ticket().unwrap().is_none());
        drop(bridge);
        let bridge = bridge_of(&channel, two.watch());
        match (keyed, leaves) {
            (true, _) => assert!(one.done(ticket), "the next of its key may run"),
            (_, true) => drop(one),
            _ => assert!(one.retry(ticket)),
        }
        assert!(is_readable(&bridge), "keyed: {keyed}, leaves: {leaves}");
        assert!(two.take_ticket().unwrap().is_some());
    }
}

#[test]
fn a_publisher_when_its_readers_poll_moves_the_cursor() {
    for payload_bytes in [2_000, 10_000, 30_000] {
        let (_base, channel) = made(&ChannelOptions::new(Kind::Stream).capacity_bytes(64 << 10));
        let mut reader = channel.subscriber(&subscribe_options()).unwrap();
        let mut publisher = channel.publisher(&send_options()).unwrap();
        let payload = vec![7; payload_bytes];
        while publisher.try_publish(&payload).is_ok() {}
        let waiting = asleep(move || publisher.publish(&payload).map(|_| ()));
        while reader.try_recv().unwrap().is_some() {}
        woken(&waiting).unwrap();
    }
    let (_base, channel) = made(&ChannelOptions::new(Kind::Topic).slots(64).slot_bytes(64));
    let mut reader = channel.topic_subscriber(&subscribe_options()).unwrap();
    let mut publisher = channel.topic_publisher(&send_options()).unwrap();
    while publisher.try_publish(b"x").is_ok() {}
    let waiting = asleep(move || publisher.publish(b"x").map(|_| ()));
    // The reader works on the last of these, and asks for no other.
    (0..33).for_each(|_| assert!(reader.try_recv().unwrap().is_some()));
    woken(&waiting).unwrap();
}

#[test]
fn a_publisher_when_its_reader_leaves_or_is_evicted() {
    for evicts in [false, true] {
        let (_base, channel) = made(&ChannelOptions::new(Kind::Topic).slots(64).slot_bytes(64));
        let reader = channel.topic_subscriber(&subscribe_options()).unwrap();
        let mut publisher = channel.topic_publisher(&send_options()).unwrap();
        while publisher.try_publish(b"x").is_ok() {}
        let waiting = asleep(move || publisher.publish(b"x").map(|_| ()));
        if evicts {
            channel.evict(Side::Consumers, 0, HANG).unwrap();
        } else {
            drop(reader);
        }
        woken(&waiting).unwrap();
    }
}

#[test]
fn producers_when_one_event_that_is_done_makes_room_for_several() {
    let (_base, channel) = made(&ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64));
    let mut worker = channel.worker(&work_options()).unwrap();
    let mut producers: Vec<_> = (0..2).map(|_| channel.producer(&send_options()).unwrap()).collect();
    while producers[0].try_publish(b"x").is_ok() {}
    let tickets: Vec<_> = (0..64).map(|_| worker.take_ticket().unwrap().unwrap()).collect();
    let waiting: Vec<_> = producers
        .into_iter()
        .map(|mut producer| asleep(move || producer.publish(b"y").map(|_| ())))
        .collect();
    // The later event makes no room before the earlier one is done. Nobody may have been woken for
    // it.
    assert!(worker.done(tickets[1]));
    std::thread::sleep(FALL_ASLEEP);
    assert!(worker.done(tickets[0]));
    waiting.iter().for_each(|waiting| woken(waiting).unwrap());
}

#[test]
fn a_worker_beside_taps_and_bridges() {
    let (_base, channel) = made(&ChannelOptions::new(Kind::Queue));
    let its = channel.clone();
    let tap = asleep(move || {
        let mut tap = its.tap(&subscribe_options()).unwrap();
        tap.recv().map(|event| event.position())
    });
    let worker_to_come = channel.worker(&work_options()).unwrap();
    let bridge = crate::handle::bridge::Bridge::new(&channel).unwrap();
    bridge.arm(worker_to_come.watch());
    std::thread::sleep(FALL_ASLEEP);
    let its = channel.clone();
    let worker = asleep(move || {
        let mut worker = its.worker(&work_options()).unwrap();
        worker.take().map(|job| job.position())
    });
    channel.producer(&send_options()).unwrap().publish(b"x").unwrap();
    assert_eq!(woken(&worker), Ok(0));
    assert_eq!(woken(&tap), Ok(0));
}

#[test]
fn readers_and_workers_behind_a_claim_that_is_given_up() {
    for aborts in [false, true] {
        let (_base, channel) = made(&ChannelOptions::new(Kind::Topic));
        let mut reader = channel.topic_subscriber(&subscribe_options()).unwrap();
        let mut claims = channel.topic_publisher(&send_options()).unwrap();
        let claim = claims.claim(8).unwrap();
        let waiting = asleep(move || reader.recv().map(|event| event.position()));
        channel.topic_publisher(&send_options()).unwrap().publish(b"behind").unwrap();
        // The reader looks, finds the claim in its way, and sleeps again.
        std::thread::sleep(FALL_ASLEEP);
        if aborts {
            claim.abort()
        } else {
            drop(claim)
        }
        assert_eq!(woken(&waiting), Ok(1));

        let (_base, channel) = made(&ChannelOptions::new(Kind::Queue));
        let mut claims = channel.producer(&send_options()).unwrap();
        let claim = claims.claim(8).unwrap();
        let its = channel.clone();
        let waiting = asleep(move || {
            let mut worker = its.worker(&work_options()).unwrap();
            worker.take().map(|job| job.position())
        });
        channel.producer(&send_options()).unwrap().publish(b"behind").unwrap();
        std::thread::sleep(FALL_ASLEEP);
        if aborts {
            claim.abort()
        } else {
            drop(claim)
        }
        assert_eq!(woken(&waiting), Ok(1));
    }
}

#[test]
fn each_of_two_workers_when_a_claim_before_an_event_is_published() {
    let (_base, channel) = made(&ChannelOptions::new(Kind::Queue));
    let mut claims = channel.producer(&send_options()).unwrap();
    let claim = claims.claim(8).unwrap();
    // Each worker keeps the event that it takes.
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let its = channel.clone();
            asleep(move || {
                let mut worker = its.worker(&work_options()).unwrap();
                let ticket = worker.take_ticket_timeout(2 * HANG).map(|ticket| ticket.position());
                (worker, ticket)
            })
        })
        .collect();
    let mut other = channel.producer(&send_options()).unwrap();
    other.publish(b"behind").unwrap();
    std::thread::sleep(FALL_ASLEEP);
    claim.commit();
    let mut positions: Vec<_> = waiting.iter().map(|waiting| woken(waiting).1.unwrap()).collect();
    positions.sort_unstable();
    assert_eq!(positions, [0, 1]);
}

#[test]
fn a_worker_when_another_hands_an_event_back_or_leaves() {
    for leaves in [false, true] {
        let (_base, channel) = made(&ChannelOptions::new(Kind::Queue));
        channel.producer(&send_options()).unwrap().publish(b"x").unwrap();
        let mut one = channel.worker(&work_options()).unwrap();
        let ticket = one.take_ticket().unwrap().unwrap();
        let its = channel.clone();
        let waiting = asleep(move || {
            let mut worker = its.worker(&work_options()).unwrap();
            worker.take().map(|job| job.attempt())
        });
        if leaves {
            drop(one);
        } else {
            assert!(one.retry(ticket));
        }
        assert_eq!(woken(&waiting), Ok(2));
    }
}

#[test]
fn a_publisher_when_what_was_received_is_acknowledged() {
    let (_base, channel) = made(&ChannelOptions::new(Kind::Topic).slots(64).slot_bytes(64));
    let options = SubscribeOptions { manual: true, ..subscribe_options() };
    let mut reader = channel.topic_subscriber(&options).unwrap();
    let mut publisher = channel.topic_publisher(&send_options()).unwrap();
    while publisher.try_publish(b"x").is_ok() {}
    while reader.try_recv().unwrap().is_some() {}
    let waiting = asleep(move || publisher.publish(b"x").map(|_| ()));
    reader.acknowledge_to(32).unwrap();
    woken(&waiting).unwrap();
}

#[test]
fn a_worker_when_the_event_before_its_own_is_done() {
    let (_base, channel) = made(&ChannelOptions::new(Kind::Queue).keyed(true));
    let mut producer = channel.producer(&send_options()).unwrap();
    let attributes = crate::event::Attributes { key: Some(7), ..Default::default() };
    (0..2).for_each(|_| _ = producer.publish_with(b"x", &attributes).unwrap());
    let mut one = channel.worker(&work_options()).unwrap();
    let ticket = one.take_ticket().unwrap().unwrap();
    let its = channel.clone();
    let waiting = asleep(move || {
        let mut worker = its.worker(&work_options()).unwrap();
        worker.take().map(|job| job.position())
    });
    assert!(one.done(ticket));
    assert_eq!(woken(&waiting), Ok(1));
}

/// A worker of a lower level sleeps until its turn has come.
#[test]
fn a_worker_of_a_lower_level_when_the_one_above_is_saturated_or_leaves() {
    for leaves in [false, true] {
        let (_base, channel) = made(&ChannelOptions::new(Kind::Queue));
        let mut above = channel.worker(&WorkOptions { in_hand_max: 1, ..work_options() }).unwrap();
        let its = channel.clone();
        let waiting = asleep(move || {
            let mut worker = its.worker(&WorkOptions { priority: 1, ..work_options() }).unwrap();
            worker.take().map(|job| job.position())
        });
        let mut producer = channel.producer(&send_options()).unwrap();
        (0..2).for_each(|_| _ = producer.publish(b"x").unwrap());
        let expected = if leaves {
            drop(above);
            0
        } else {
            assert!(above.take_ticket().unwrap().is_some());
            1
        };
        assert_eq!(woken(&waiting), Ok(expected));
    }
}

#[test]
fn a_reader_that_waits_for_the_end_when_the_last_publisher_leaves() {
    let (_base, channel) =
        made(&ChannelOptions::new(Kind::Topic).overflow(Overflow::Block).slots(64).slot_bytes(64));
    let publisher = channel.topic_publisher(&send_options()).unwrap();
    let options = SubscribeOptions { until_closed: true, ..subscribe_options() };
    let mut reader = channel.topic_subscriber(&options).unwrap();
    let waiting = asleep(move || reader.recv().map(|event| event.position()));
    drop(publisher);
    assert_eq!(woken(&waiting), Err(crate::error::RecvError::Closed));
}

#[test]
fn of_many_workers_one_at_a_time_asks_who_has_died() {
    let (_base, channel) = made(&ChannelOptions::new(Kind::Queue));
    let members: Vec<_> = (0..8)
        .map(|_| {
            let who = crate::handle::member::Introduction::default();
            crate::handle::member::Member::register(&channel, Side::Consumers, &who, |_, _, _| true).unwrap()
        })
        .collect();
    // Longer than this test takes.
    let every_ns = railbus_os::clock::host_ns() / 2;
    let turns = || members.iter().filter(|member| member.is_turn_to_look(every_ns)).count();
    assert_eq!((turns(), turns()), (1, 0), "nobody has looked before, and then nobody need look any more");
    // A time in the future was not stored by a worker.
    let acks = members[0].memories.acks;
    acks.store(layout::LOOKED_NS, u64::MAX - 1, Edge::Plain);
    assert_eq!((turns(), turns()), (1, 0));
}
