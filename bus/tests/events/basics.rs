//! The three kinds, end to end in one process: the examples of the README, and each verb once.

use std::time::Duration;

use railbus::{
    Attributes, Bus, ChannelOptions, Error, Kind, Overflow, RecvError, SendError, SendOptions, Start,
    SubscribeOptions, TraceContext, WorkOptions,
};

fn bus() -> (tempfile::TempDir, Bus) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "test").expect("a bus");
    (base, bus)
}

fn from_oldest() -> SubscribeOptions {
    SubscribeOptions::default().start(Start::Oldest)
}

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_stream_carries_every_size_in_order_around_the_ring() {
    let (_base, bus) = bus();
    let channel = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let mut subscriber = channel.subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
    let max = publisher.payload_max();
    assert_eq!(max, 4096 / 2 - 16);
    // 37 and the number of sizes have no divisor in common: each size comes once, in an order that
    // wraps everywhere.
    let sizes: Vec<usize> = (0..=max).map(|round| round * 37 % (max + 1)).collect();
    assert_eq!(sizes.iter().collect::<std::collections::BTreeSet<_>>().len(), max + 1);
    for (round, size) in sizes.into_iter().enumerate() {
        let payload: Vec<u8> = (0..size).map(|i| (i + round) as u8).collect();
        publisher.publish(&payload).unwrap();
        let event = subscriber.recv().unwrap();
        assert_eq!(event.payload(), payload);
        if payload.len() > 1024 - 8 {
            // Up to a quarter of the ring always fits beside an event that is still held; larger
            // events need its room back.
            subscriber.acknowledge();
        }
    }
    assert!(matches!(publisher.try_publish(&vec![0; max + 1]), Err(SendError::TooLong { .. })));
    assert!(subscriber.try_recv().unwrap().is_none());
    assert!(matches!(subscriber.recv_timeout(Duration::from_millis(3)), Err(RecvError::TimedOut)));
}

#[test]
fn a_topic_and_a_queue_carry_every_size() {
    let (_base, bus) = bus();
    let options = |kind| ChannelOptions::new(kind).slots(64).slot_bytes(256);
    let topic = bus.create("t", &options(Kind::Topic)).unwrap();
    let queue = bus.create("q", &options(Kind::Queue)).unwrap();
    let mut subscriber = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut tap = queue.tap(&SubscribeOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let max = producer.payload_max();
    assert_eq!((max, publisher.payload_max()), (256 - 16, 256 - 16));
    for size in 0..=max {
        let payload: Vec<u8> = (0..size).map(|i| (3 * i + size) as u8).collect();
        publisher.publish(&payload).unwrap();
        producer.publish(&payload).unwrap();
        assert_eq!(subscriber.recv().unwrap().payload(), payload);
        assert_eq!(tap.recv().unwrap().payload(), payload);
        let job = worker.take().unwrap();
        assert_eq!(job.event().payload(), payload);
        let _ = job.done();
    }
    let too_long = vec![0; max + 1];
    assert!(matches!(publisher.try_publish(&too_long), Err(SendError::TooLong { .. })));
    assert!(matches!(producer.try_publish(&too_long), Err(SendError::TooLong { .. })));
}

/// Lengths near the end of the numbers, as an underflow in the caller makes them, are refused by
/// every call.
#[test]
fn a_claim_of_absurd_length_is_refused() {
    fn refuse<O: railbus::PublishEnd>(mut sender: railbus::Sender<O>) {
        let traced = Attributes::default().trace(Some(TraceContext::default()));
        for bytes in (0..64).map(|less| usize::MAX - less).chain([1 << 62, u32::MAX as usize, 1 << 32]) {
            let refused = |result: Result<_, SendError>| {
                assert!(
                    matches!(result, Err(SendError::TooLong { bytes: said, .. }) if said == bytes),
                    "{bytes}"
                );
            };
            refused(sender.claim(bytes).map(|_| ()));
            refused(sender.try_claim(bytes).map(|_| ()));
            refused(sender.claim_with(bytes, &traced).map(|_| ()));
        }
        assert_eq!(sender.publish(b"after"), Ok(0));
    }
    let (_base, bus) = bus();
    for stamp in [false, true] {
        let name = |kind: Kind| format!("{kind}{stamp}");
        let create = |kind: Kind| {
            let options = ChannelOptions::new(kind).stamp(stamp);
            let options = match kind {
                Kind::Stream => options.capacity_bytes(4096),
                Kind::Queue | Kind::Topic => options.slots(64).slot_bytes(64),
                Kind::Table => unreachable!("a table has no events"),
            };
            bus.create(&name(kind), &options).unwrap()
        };
        let options = SendOptions::default();
        refuse(create(Kind::Stream).publisher(&options).unwrap());
        refuse(create(Kind::Queue).producer(&options).unwrap());
        refuse(create(Kind::Topic).topic_publisher(&options).unwrap());
    }
}

#[test]
fn a_full_stream_refuses_and_goes_on_when_read() {
    let (_base, bus) = bus();
    let channel = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let mut subscriber = channel.subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
    let mut sent = 0u64;
    while publisher.try_publish(&sent.to_le_bytes()).is_ok() {
        sent += 1;
    }
    assert!((150..256).contains(&sent), "{sent}");
    assert_eq!(publisher.publish_timeout(b"x", Duration::from_millis(2)), Err(SendError::TimedOut));
    for i in 0..sent {
        assert_eq!(subscriber.recv().unwrap().pod::<u64>(), Some(i));
    }
    assert!(subscriber.try_recv().unwrap().is_none());
    publisher.publish(b"again").unwrap();
    assert_eq!(&*subscriber.recv().unwrap(), b"again");
}

#[test]
fn attributes_travel_with_the_payload() {
    let (_base, bus) = bus();
    let channel = bus.create("s", &ChannelOptions::new(Kind::Stream).stamp(true)).unwrap();
    let mut subscriber = channel.subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
    let trace = TraceContext { trace_id: [7; 16], span_id: [9; 8], flags: 1 };
    let attributes = Attributes::default().type_id(77).trace(Some(trace));
    publisher.publish_with(b"traced", &attributes).unwrap();
    publisher.publish(b"plain").unwrap();
    let event = subscriber.recv().unwrap();
    assert_eq!((event.payload(), event.type_id(), event.trace()), (&b"traced"[..], 77, Some(trace)));
    assert!(event.published_ns().is_some_and(|ns| ns > 1_600_000_000_000_000_000));
    let event = subscriber.recv().unwrap();
    assert_eq!((event.payload(), event.type_id(), event.trace()), (&b"plain"[..], 0, None));
    assert!(event.published_ns().is_some());
}

#[test]
fn claims_are_written_in_place_shortened_and_aborted() {
    let (_base, bus) = bus();
    for kind in [Kind::Stream, Kind::Queue, Kind::Topic] {
        let name = kind.to_string();
        let channel = bus.create(&name, &ChannelOptions::new(kind)).unwrap();
        match kind {
            Kind::Stream => {
                let mut reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
                let mut sender = channel.publisher(&SendOptions::default()).unwrap();
                claim_some(&mut sender);
                assert_eq!(&*reader.recv().unwrap(), b"keep");
                assert_eq!(&*reader.recv().unwrap(), b"end");
            }
            Kind::Topic => {
                let mut reader = channel.topic_subscriber(&SubscribeOptions::default()).unwrap();
                let mut sender = channel.topic_publisher(&SendOptions::default()).unwrap();
                claim_some(&mut sender);
                assert_eq!(&*reader.recv().unwrap(), b"keep");
                assert_eq!(&*reader.recv().unwrap(), b"end");
            }
            Kind::Queue => {
                let mut worker = channel.worker(&WorkOptions::default()).unwrap();
                let mut tap = channel.tap(&SubscribeOptions::default()).unwrap();
                let mut sender = channel.producer(&SendOptions::default()).unwrap();
                claim_some(&mut sender);
                for expected in [&b"keep"[..], b"end"] {
                    let job = worker.take().unwrap();
                    assert_eq!(&*job, expected);
                    let _ = job.done();
                    assert_eq!(&*tap.recv().unwrap(), expected);
                }
            }
            Kind::Table => unreachable!("a table has no events"),
        }
    }
}

fn claim_some<R: railbus::PublishEnd>(sender: &mut railbus::Sender<R>) {
    let mut claim = sender.claim(100).unwrap();
    claim[..4].copy_from_slice(b"keep");
    claim.commit_bytes(4);
    let mut claim = sender.claim(8).unwrap();
    claim.fill(b'x');
    claim.abort();
    drop(sender.claim(3).unwrap());
    sender.publish(b"end").unwrap();
}

#[test]
fn batches_carry_many_and_are_held_together() {
    let (_base, bus) = bus();
    let payloads: Vec<Vec<u8>> = (0..500u32).map(|i| vec![i as u8; i as usize % 60]).collect();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 16)).unwrap();
    let mut subscriber = stream.subscriber(&SubscribeOptions::default()).unwrap();
    stream.publisher(&SendOptions::default()).unwrap().publish_batch(&payloads).unwrap();
    let mut seen = Vec::new();
    while seen.len() < payloads.len() {
        let batch = subscriber.batch(64).unwrap();
        assert!(!batch.is_empty() && batch.len() <= 64);
        seen.extend(batch.iter().map(|event| event.payload().to_vec()));
    }
    assert_eq!(seen, payloads);

    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slot_bytes(128)).unwrap();
    let mut worker = queue.worker(&WorkOptions::default().grab(16)).unwrap();
    queue.producer(&SendOptions::default()).unwrap().publish_batch(&payloads).unwrap();
    for payload in &payloads {
        let job = worker.take().unwrap();
        assert_eq!(&*job, payload.as_slice());
        let _ = job.done();
    }
    assert!(worker.try_take().unwrap().is_none());
}

#[test]
fn a_lossy_subscriber_learns_exactly_what_it_lost() {
    let (_base, bus) = bus();
    let lossy = SubscribeOptions::default().lossy(true);
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let mut subscriber = stream.subscriber(&lossy).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    // The position of each event: of several sizes, so that positions and numbers of events differ.
    let mut positions = Vec::new();
    let mut publish = |positions: &mut Vec<u64>, count: u64| {
        for _ in 0..count {
            let i = positions.len() as u64;
            positions.push(publisher.publish(&i.to_le_bytes().repeat(1 + i as usize % 5)).unwrap());
        }
    };
    let (mut next, mut lost_before) = (0, 0);
    for count in [10_000, 3, 1000, 777] {
        publish(&mut positions, count);
        loop {
            match subscriber.try_recv() {
                Ok(Some(event)) => {
                    assert_eq!((event.position(), event[..8].to_vec()), {
                        (positions[next], (next as u64).to_le_bytes().to_vec())
                    });
                    next += 1;
                }
                Ok(None) => break,
                Err(RecvError::Lost { from, to, events }) => {
                    // From the event that would have come next, up to the one that does.
                    assert_eq!(from, positions[next]);
                    next += events as usize;
                    assert_eq!(to, positions[next]);
                    lost_before += events;
                    assert_eq!(subscriber.lost(), lost_before);
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(next, positions.len(), "everything was received, or told as lost");
    }
    assert!(lost_before > 10_000, "it was overrun more than once");

    let topic = bus.create("t", &ChannelOptions::new(Kind::Topic).slots(64)).unwrap();
    let mut subscriber = topic.topic_subscriber(&lossy).unwrap();
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    for i in 0..1000u64 {
        publisher.publish(&i.to_le_bytes()).unwrap();
    }
    let Err(RecvError::Lost { from, to, events }) = subscriber.try_recv() else { panic!("not lost") };
    assert_eq!((from, to), (0, events), "tickets count the events of a topic");
    for number in to..1000 {
        let event = subscriber.recv().unwrap();
        assert_eq!((event.position(), event.pod::<u64>()), (number, Some(number)));
    }
    assert!(subscriber.try_recv().unwrap().is_none());
}

#[test]
fn joining_at_the_oldest_at_a_position_and_live() {
    let (_base, bus) = bus();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream)).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    let positions: Vec<u64> = (0..100u64).map(|i| publisher.publish(&i.to_le_bytes()).unwrap()).collect();
    let first = |options: &SubscribeOptions| stream.subscriber(options).unwrap().recv().unwrap().pod::<u64>();
    assert_eq!(first(&from_oldest()), Some(0));
    let at = |position| SubscribeOptions::default().start(Start::Position(position));
    assert_eq!(first(&at(positions[42])), Some(42));
    assert!(matches!(stream.subscriber(&at(positions[42] + 8)), Err(Error::Invalid { .. })));
    assert!(matches!(stream.subscriber(&at(1 << 40)), Err(Error::Invalid { .. })));
    let mut live = stream.subscriber(&SubscribeOptions::default()).unwrap();
    assert!(live.try_recv().unwrap().is_none());
    publisher.publish(b"news").unwrap();
    assert_eq!(&*live.recv().unwrap(), b"news");

    let topic = bus.create("t", &ChannelOptions::new(Kind::Topic).slots(64)).unwrap();
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    for i in 0..100u64 {
        publisher.publish(&i.to_le_bytes()).unwrap();
    }
    let mut oldest = topic.topic_subscriber(&from_oldest()).unwrap();
    for i in 36..100u64 {
        assert_eq!(oldest.recv().unwrap().pod::<u64>(), Some(i));
    }
    publisher.publish(b"news").unwrap();
    assert_eq!(&*oldest.recv().unwrap(), b"news");
}

#[test]
fn a_durable_subscription_resumes_and_holds() {
    let (_base, bus) = bus();
    let durable = SubscribeOptions::default().name("audit").durable(true);
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    let mut subscriber = stream.subscriber(&durable).unwrap();
    assert!(matches!(stream.subscriber(&durable), Err(Error::Busy { .. })));
    publisher.publish(b"one").unwrap();
    publisher.publish(b"two").unwrap();
    assert_eq!(&*subscriber.recv().unwrap(), b"one");
    drop(subscriber);
    while publisher.try_publish(b"filler").is_ok() {}
    let mut subscriber = stream.subscriber(&durable).unwrap();
    assert_eq!(&*subscriber.recv().unwrap(), b"two");
    while subscriber.try_recv().unwrap().is_some() {}
    publisher.publish(b"more").unwrap();
}

/// It had joined at the oldest event of a full ring, and leaves before it has read up to the
/// position of its join.
#[test]
fn a_durable_topic_subscription_that_resumes_on_the_way_loses_nothing_newer_than_its_join() {
    let (_base, bus) = bus();
    let durable = from_oldest().name("audit").durable(true);
    let topic = bus.create("t", &ChannelOptions::new(Kind::Topic).slots(64)).unwrap();
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    let mut number = 0..u64::MAX;
    let mut publish = |count: usize| {
        for number in number.by_ref().take(count) {
            publisher.try_publish(&number.to_le_bytes()).unwrap();
        }
    };
    publish(65);
    drop(topic.topic_subscriber(&durable).unwrap());
    // The publisher has looked at the cursors before: it goes on, but not over events that are
    // newer than the join.
    publish(40);
    let mut resumed = topic.topic_subscriber(&durable).unwrap();
    let mut seen = Vec::new();
    let mut lost = 0;
    loop {
        match resumed.try_recv() {
            Ok(Some(event)) => seen.push(event.pod::<u64>().unwrap()),
            Ok(None) => break,
            Err(RecvError::Lost { from, to, events }) => {
                assert!(to <= 65 && events == to - from, "lost from {from} to {to}");
                lost += events;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(seen, (1 + lost..105).collect::<Vec<_>>());
    assert_eq!(lost, 40, "what the publisher has overwritten, and no more");
}

/// Each event goes to the first worker that asks. The numbers of one worker rise, and together they
/// get all in order.
#[test]
fn fresh_events_are_taken_in_the_order_they_were_published() {
    let (_base, bus) = bus();
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slots(64)).unwrap();
    let mut producers: Vec<_> = (0..2).map(|_| queue.producer(&SendOptions::default()).unwrap()).collect();
    let options = WorkOptions::default().grab(1);
    let mut workers: Vec<_> = (0..3).map(|_| queue.worker(&options).unwrap()).collect();
    let (mut published, mut taken) = (0..u64::MAX, 0..);
    for round in 0..500usize {
        for number in published.by_ref().take(1 + round * 7 % 50) {
            producers[number as usize / 3 % 2].publish(&number.to_le_bytes()).unwrap();
        }
        for (turn, number) in taken.by_ref().take(1 + round * 7 % 50).enumerate() {
            let job = workers[(round + turn) % 3].try_take().unwrap().unwrap();
            assert_eq!(job.event().pod::<u64>(), Some(number));
            assert!(job.done());
        }
    }
}

#[test]
fn queue_events_are_retried_and_become_dead_letters() {
    let (_base, bus) = bus();
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).max_attempts(2)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    producer.publish(b"good").unwrap();
    let position = producer.publish(b"poison").unwrap();
    let _ = worker.take().unwrap().done();
    for attempt in 1..=2 {
        let job = worker.take().unwrap();
        assert_eq!((&*job, job.attempt()), (&b"poison"[..], attempt));
        job.retry();
    }
    assert!(worker.try_take().unwrap().is_none());
    let letters = bus.attach("q.dead").unwrap();
    let mut undertaker = letters.worker(&WorkOptions::default()).unwrap();
    let job = undertaker.take_timeout(SOON).unwrap();
    assert_eq!(&*job, b"poison");
    let origin = job.event().origin().unwrap();
    assert_eq!((origin.position, origin.attempts), (position, 2));
    let header = queue.header();
    let channel = u64::from_le_bytes(header.channel_id[..8].try_into().unwrap());
    assert_eq!((origin.channel, origin.incarnation), (channel, header.incarnation));
    let _ = job.done();
}

#[test]
fn several_events_in_hand() {
    let (_base, bus) = bus();
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slots(64)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default().grab(3)).unwrap();
    for i in 0..10u64 {
        producer.publish(&i.to_le_bytes()).unwrap();
    }
    let mut tickets = Vec::new();
    while let Some(ticket) = worker.take_ticket().unwrap() {
        tickets.push(ticket);
    }
    assert_eq!((tickets.len(), worker.in_hand()), (10, 10));
    for (i, &ticket) in tickets.iter().enumerate().rev() {
        assert_eq!(worker.event(ticket).unwrap().pod::<u64>(), Some(i as u64));
        assert!(worker.done(ticket) && !worker.done(ticket));
    }
    // Every held event goes back when the worker leaves.
    producer.publish(b"left").unwrap();
    assert!(worker.take_ticket().unwrap().is_some());
    drop(worker);
    let mut other = queue.worker(&WorkOptions::default()).unwrap();
    let job = other.take_timeout(SOON).unwrap();
    assert_eq!((&*job, job.attempt()), (&b"left"[..], 2));
    let _ = job.done();
}

#[test]
fn dropping_the_newest_is_counted() {
    let (_base, bus) = bus();
    let options = ChannelOptions::new(Kind::Queue).slots(64).overflow(Overflow::DropNewest);
    let queue = bus.create("q", &options).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let refused =
        (0..100u64).filter(|i| producer.publish(&i.to_le_bytes()) == Err(SendError::Dropped)).count();
    assert_eq!((refused, producer.dropped()), (36, 36));
    let info = queue.info().unwrap();
    let seen = &info.participants[0];
    assert_eq!((seen.dropped, seen.lost, seen.full, info.counters.dropped), (36, 0, 36, 36));
}

#[test]
fn a_channel_for_lossy_readers_is_never_full() {
    let (_base, bus) = bus();
    for kind in [Kind::Stream, Kind::Topic] {
        let options = ChannelOptions::new(kind).overflow(Overflow::LossyReaders);
        let channel = bus.create(&kind.to_string(), &options).unwrap();
        let reliable = SubscribeOptions::default();
        let lossy = SubscribeOptions::default().lossy(true);
        if kind == Kind::Stream {
            assert!(matches!(channel.subscriber(&reliable), Err(Error::Invalid { .. })));
            let _reader = channel.subscriber(&lossy).unwrap();
            let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
            (0..100_000u64)
                .for_each(|i| assert!(publisher.try_publish(&[0; 200][..i as usize % 200]).is_ok()));
        } else {
            assert!(matches!(channel.topic_subscriber(&reliable), Err(Error::Invalid { .. })));
            let _reader = channel.topic_subscriber(&lossy).unwrap();
            let mut publisher = channel.topic_publisher(&SendOptions::default()).unwrap();
            (0..100_000).for_each(|_| assert!(publisher.try_publish(b"x").is_ok()));
        }
    }
    let queue = ChannelOptions::new(Kind::Queue).overflow(Overflow::LossyReaders);
    assert!(matches!(bus.create("q", &queue), Err(Error::Invalid { .. })));
}

#[test]
fn one_publisher_at_a_time_and_the_next_continues() {
    let (_base, bus) = bus();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let mut subscriber = stream.subscriber(&SubscribeOptions::default()).unwrap();
    for round in 0..100u64 {
        let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
        assert!(matches!(stream.publisher(&SendOptions::default()), Err(Error::Busy { .. })));
        for i in 0..7 {
            publisher.publish(&(round * 7 + i).to_le_bytes()).unwrap();
        }
        for i in 0..7 {
            assert_eq!(subscriber.recv().unwrap().pod::<u64>(), Some(round * 7 + i));
        }
    }
}

#[test]
fn the_end_is_told_when_the_last_publisher_has_left() {
    let (_base, bus) = bus();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream)).unwrap();
    let closing = SubscribeOptions::default().until_closed(true);
    let mut subscriber = stream.subscriber(&closing).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    publisher.publish(b"last").unwrap();
    drop(publisher);
    assert_eq!(&*subscriber.recv().unwrap(), b"last");
    assert_eq!(subscriber.recv().unwrap_err(), RecvError::Closed);
}

#[test]
fn a_channel_may_begin_at_any_position() {
    let (_base, bus) = bus();
    let far = (1 << 63) - 16 * 77;
    for (kind, first) in [(Kind::Stream, far), (Kind::Queue, 1_000_003), (Kind::Topic, (1 << 47) + 5)] {
        let name = kind.to_string();
        let options = match kind {
            Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096),
            _ => ChannelOptions::new(kind).slots(64),
        };
        let options = options.first_position(first & !7);
        let channel = bus.create(&name, &options).unwrap();
        let expected = first & !7;
        for round in 0..400u64 {
            let position = match kind {
                Kind::Stream => channel.publisher(&SendOptions::default()).unwrap().publish(b"12345678"),
                Kind::Queue => {
                    let position = channel.producer(&SendOptions::default()).unwrap().publish(b"12345678");
                    let _ = channel.worker(&WorkOptions::default()).unwrap().take().unwrap().done();
                    position
                }
                Kind::Topic => channel.topic_publisher(&SendOptions::default()).unwrap().publish(b"12345678"),
                Kind::Table => unreachable!("a table has no events"),
            };
            let step = if kind == Kind::Stream { 16 } else { 1 };
            assert_eq!(position, Ok(expected + round * step));
        }
    }
}

#[test]
fn a_bridge_makes_a_descriptor_readable() {
    use std::os::fd::AsFd;
    let (_base, bus) = bus();
    let readable = |bridge: &railbus::Bridge, ms: u16| {
        let mut fds = [nix::poll::PollFd::new(bridge.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, ms).unwrap() == 1
    };
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream)).unwrap();
    let mut subscriber = stream.subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    let bridge = railbus::Bridge::new(&stream).unwrap();
    for round in 0..50u64 {
        assert!(subscriber.try_recv().unwrap().is_none());
        bridge.arm(subscriber.watch());
        assert!(round > 2 || !readable(&bridge, 10), "nothing was published");
        publisher.publish(&round.to_le_bytes()).unwrap();
        assert!(readable(&bridge, 10_000));
        bridge.drain();
        assert_eq!(subscriber.try_recv().unwrap().and_then(|event| event.pod()), Some(round));
    }
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue)).unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let bridge = railbus::Bridge::new(&queue).unwrap();
    bridge.arm(worker.watch());
    producer.publish(b"job").unwrap();
    assert!(readable(&bridge, 10_000));
    bridge.drain();
    // Handed back: that is work, too.
    worker.try_take().unwrap().unwrap().retry();
    bridge.arm(worker.watch());
    assert!(readable(&bridge, 10_000));
    let _ = worker.try_take().unwrap().unwrap().done();
}

#[test]
fn a_removed_channel_takes_nobody_in() {
    let (_base, bus) = bus();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream)).unwrap();
    let _publisher = stream.publisher(&SendOptions::default()).unwrap();
    bus.remove("s").unwrap();
    assert!(matches!(stream.subscriber(&SubscribeOptions::default()), Err(Error::NotFound { .. })));
    assert!(matches!(bus.attach("s"), Err(Error::NotFound { .. })));
}
