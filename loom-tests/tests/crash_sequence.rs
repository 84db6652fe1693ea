//! A publisher that numbers its events, killed at every access of its life, and its successor too.
//! The last publisher publishes everything above the resume point and completes the row, each
//! number once.

use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, Participant};
use railbus_ring::members::join::StartAt;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::reader::{SlotPoll, SlotReader};
use railbus_ring::slots::sequence::{Sequences, is_published};
use railbus_ring::stream::places::Place;
use railbus_ring::stream::publisher::StreamPublisher;
use railbus_ring::stream::subscriber::{Poll, StreamSubscriber};
use railbus_ring::{frame, layout};

const NAME: [u64; 8] = [0x6565; 8];
const EVENTS: u64 = 6;

/// Takes the name over and publishes the missing part of the row, with a stream's publisher.
fn stream_life(channel: &CrashChannel, who: &Rc<Participant>) {
    let ring = CrashMemory::writable(&channel.ring, who);
    let table = Sequences::new(ring.clone(), channel.producers);
    let own = table.enter(NAME, 0).expect("there is room");
    let data = CrashMemory::writable(&channel.data, who);
    let mut publisher = StreamPublisher::take_over(channel.publishers_view(who), 0)
        .expect("the ring holds what a publisher wrote");
    table.settle_before(publisher.place().position);
    for number in table.last(own) + 1..=EVENTS {
        let claim = publisher.claim(24).expect("there is room");
        data.store(publisher.body_offset(claim), number, Edge::Plain);
        table.begin(own, claim.position(), number);
        publisher.commit(claim, frame::header(24, 0, 0));
        table.end(own, number);
    }
}

#[test]
fn a_streams_numbers_come_once_and_in_order_wherever_two_publishers_die() {
    let mut runs = 0;
    // From the second start on, a padding frame lies within the row.
    for start in [0, 5 * 512 - 48] {
        for first in 0.. {
            let mut first_died = false;
            for second in 0.. {
                let channel = CrashChannel::stream(512, Place { position: start, count: 0 }, 2);
                let reading = Participant::immortal();
                let identity = Identity { policy: registry::ROLE_SUBSCRIBER, ..Identity::default() };
                let registered =
                    channel.register(Side::Consumers, &reading, &identity).expect("there is an entry");
                let data = CrashMemory::read_only(&channel.data, &reading);
                let mut subscriber =
                    StreamSubscriber::new(channel.subscribers_view(&reading), registered.index, false);
                subscriber.join(StartAt::Oldest).expect("the oldest is retained");
                let one = Participant::dying_at(Some(first));
                one.live(|| stream_life(&channel, &one));
                first_died |= one.is_dead();
                let two = Participant::dying_at(Some(second));
                two.live(|| stream_life(&channel, &two));
                let last = Participant::immortal();
                stream_life(&channel, &last);
                let mut row = Vec::new();
                while let Poll::Event(event) = subscriber.poll(|| ()) {
                    row.push(data.load(subscriber.body_offset(event), Edge::Plain));
                }
                assert_eq!(row, (1..=EVENTS).collect::<Vec<_>>(), "deaths at {first} and {second}");
                runs += 1;
                if !two.is_dead() {
                    break;
                }
            }
            if !first_died {
                break;
            }
        }
    }
    assert!(runs > 5_000, "{runs} runs");
}

/// As above, with a topic's publisher.
fn topic_life(channel: &CrashChannel, who: &Rc<Participant>) {
    let identity = Identity { policy: registry::ROLE_PRODUCER, ..Identity::default() };
    let Ok(registered) = channel.register(Side::Producers, who, &identity) else { return };
    let ring = CrashMemory::writable(&channel.ring, who);
    let table = Sequences::new(ring.clone(), channel.producers);
    let own = table.enter(NAME, 0).expect("there is room");
    let data = CrashMemory::writable(&channel.data, who);
    let mut producer = SlotProducer::<_, true>::new(channel.producers_view(who), registered.index);
    table.settle(own, |ticket| is_published(&data, channel.slots, ticket));
    for number in table.last(own) + 1..=EVENTS {
        let ticket = producer.claim(1).expect("there is room").first;
        data.store(producer.body_offset(ticket), number, Edge::Plain);
        table.begin(own, ticket, number);
        producer.publish(ticket, frame::header(24, 0, 0));
        table.end(own, number);
    }
}

#[test]
fn a_topics_numbers_come_once_and_in_order_wherever_two_publishers_die() {
    // The first lap's beginning; its end within the row; the wrap of claim words within the row.
    let runs: u32 = [0, 60, (1 << 48) - 2].into_iter().map(topics_two_deaths).sum();
    assert!(runs > 15_000, "{runs} runs");
}

/// Every pair of deaths in a topic whose next ticket is `start`. Returns the number of runs.
fn topics_two_deaths(start: u64) -> u32 {
    let mut runs = 0;
    for first in 0.. {
        let mut first_died = false;
        for second in 0.. {
            let channel = CrashChannel::slot_ring(64, start, 4, 2);
            let reading = Participant::immortal();
            let identity = Identity { policy: registry::ROLE_SUBSCRIBER, ..Identity::default() };
            let registered =
                channel.register(Side::Consumers, &reading, &identity).expect("there is an entry");
            let data = CrashMemory::read_only(&channel.data, &reading);
            let mut reader = SlotReader::new(channel.consumers_view(&reading), registered.index);
            reader.join(StartAt::Live, false).expect("the live end is there");
            let one = Participant::dying_at(Some(first));
            one.live(|| topic_life(&channel, &one));
            first_died |= one.is_dead();
            let two = Participant::dying_at(Some(second));
            two.live(|| topic_life(&channel, &two));
            let last = Participant::immortal();
            topic_life(&channel, &last);
            let mut row = Vec::new();
            loop {
                match reader.poll(|| ()) {
                    SlotPoll::Event(ticket, _) => {
                        row.push(data.load(channel.slots.offset(ticket) + layout::SLOT_BODY, Edge::Plain));
                    }
                    // A ticket that a publisher held when it died.
                    _ if reader.is_stuck() && reader.skip_orphan(&channel.peers()) => {}
                    _ => break,
                }
            }
            assert_eq!(row, (1..=EVENTS).collect::<Vec<_>>(), "from {start}, deaths at {first} and {second}");
            runs += 1;
            if !two.is_dead() {
                break;
            }
        }
        if !first_died {
            break;
        }
    }
    runs
}
