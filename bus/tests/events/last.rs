//! Readers that start at the last events: exactly those, then live, without a gap or a duplicate.
//!
//! A pass does not prove orderings, which loom and the crash models check (`loom_stream.rs`,
//! `crash_stream.rs`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use railbus::{
    Bus, Channel, ChannelOptions, Error, Kind, ReadEnd, Reader, RecvError, SendOptions, Start,
    SubscribeOptions, WorkOptions,
};

fn bus() -> (tempfile::TempDir, Bus) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "test").expect("a bus");
    (base, bus)
}

fn last(events: u64, lossy: bool) -> SubscribeOptions {
    SubscribeOptions::default().start(Start::Last(events)).lossy(lossy)
}

/// The numbers of all events that are there.
fn drain<E: ReadEnd>(mut reader: Reader<E>) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Some(event) = reader.try_recv().expect("nothing is lost") {
        seen.push(event.pod::<u64>().expect("a number"));
    }
    seen
}

/// The events that a new reader of any kind finds.
fn found(channel: &Channel, options: &SubscribeOptions) -> Vec<u64> {
    match channel.header().kind {
        Kind::Stream => drain(channel.subscriber(options).unwrap()),
        Kind::Topic => drain(channel.topic_subscriber(options).unwrap()),
        _ => drain(channel.tap(options).unwrap()),
    }
}

fn options(kind: Kind) -> ChannelOptions {
    match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096),
        _ => ChannelOptions::new(kind).slots(64).slot_bytes(64),
    }
}

/// Publishes the events `from..to`, and finishes them in a queue.
fn publish(channel: &Channel, from: u64, to: u64) {
    match channel.header().kind {
        Kind::Stream => {
            let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
            for n in from..to {
                publisher.publish_pod(&n).unwrap();
            }
        }
        Kind::Topic => {
            let mut publisher = channel.topic_publisher(&SendOptions::default()).unwrap();
            for n in from..to {
                publisher.publish_pod(&n).unwrap();
            }
        }
        _ => {
            let mut producer = channel.producer(&SendOptions::default()).unwrap();
            let mut worker = channel.worker(&WorkOptions::default()).unwrap();
            for n in from..to {
                producer.publish_pod(&n).unwrap();
                assert!(worker.take().unwrap().done());
            }
        }
    }
}

#[test]
fn a_reader_of_each_kind_gets_the_last_events_that_were_published_before() {
    let (_base, bus) = bus();
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let channel = bus.create(&kind.to_string(), &options(kind)).unwrap();
        for lossy in [false, true] {
            assert!(found(&channel, &last(3, lossy)).len() <= 3, "{kind}, also when there are fewer");
        }
        let mut end = 0;
        // Some laps, which end at different places.
        for more in [1, 2, 40, 33, 64, 129, 1000] {
            publish(&channel, end, end + more);
            end += more;
            for (events, lossy) in [(0, false), (1, false), (5, false), (1, true), (5, true), (20, true)] {
                let expected: Vec<u64> = (end.saturating_sub(events)..end).collect();
                assert_eq!(found(&channel, &last(events, lossy)), expected, "{kind}, {events} of {end}");
            }
            // More than the ring has: everything from the oldest on.
            let all = found(&channel, &last(u64::MAX, false));
            assert_eq!(all, (end - all.len() as u64..end).collect::<Vec<_>>(), "{kind}");
            assert!(all.len() as u64 >= end.min(40), "{kind}: {} of {end}", all.len());
        }
    }
}

#[test]
fn claims_that_are_open_or_aborted_do_not_count() {
    let (_base, bus) = bus();
    let topic = bus.create("topic", &options(Kind::Topic)).unwrap();
    let mut one = topic.topic_publisher(&SendOptions::default()).unwrap();
    let mut other = topic.topic_publisher(&SendOptions::default()).unwrap();
    one.publish_pod(&1u64).unwrap();
    drop(one.claim(8).unwrap());
    one.publish_pod(&2u64).unwrap();
    let mut open = other.claim(8).unwrap();
    one.publish_pod(&3u64).unwrap();
    let mut reader = topic.topic_subscriber(&last(2, false)).unwrap();
    assert_eq!(reader.recv().unwrap().pod::<u64>().unwrap(), 2);
    assert!(reader.try_recv().unwrap().is_none(), "the open claim comes first");
    open.copy_from_slice(&7u64.to_le_bytes());
    open.commit();
    assert_eq!(reader.recv().unwrap().pod::<u64>().unwrap(), 7);
    assert_eq!(reader.recv().unwrap().pod::<u64>().unwrap(), 3);
}

/// Joins again and again while another thread publishes without end.
fn race(kind: Kind, lossy: bool) {
    const EVENTS: u64 = 7;
    let (_base, bus) = bus();
    let channel = bus.create("c", &options(kind)).unwrap();
    publish(&channel, 0, 100);
    let (published, stop) = (AtomicU64::new(100), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 100;
            while !stop.load(Ordering::Relaxed) {
                publish(&channel, next, next + 50);
                next += 50;
                published.store(next, Ordering::SeqCst);
            }
        });
        for _ in 0..300 {
            let before = published.load(Ordering::SeqCst);
            let first = match kind {
                Kind::Stream => consecutive(channel.subscriber(&last(EVENTS, lossy)).unwrap()),
                Kind::Topic => consecutive(channel.topic_subscriber(&last(EVENTS, lossy)).unwrap()),
                _ => consecutive(channel.tap(&last(EVENTS, lossy)).unwrap()),
            };
            // A reader that lost its first events has not seen where it started.
            if let Some(first) = first {
                assert!(first + EVENTS >= before, "{kind}: {first} is older than asked for at {before}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Receives some events, which must follow each other but for losses that are reported. Returns the
/// number of the first, if none was lost before it.
fn consecutive<E: ReadEnd>(mut reader: Reader<E>) -> Option<u64> {
    let (mut first, mut next, mut lost) = (None, None, false);
    for _ in 0..30 {
        match reader.recv() {
            Ok(event) => {
                let number = event.pod::<u64>().expect("a number");
                assert!(next.is_none_or(|next| next == number), "{number} follows, not {next:?}");
                first = first.or((!lost).then_some(number));
                next = Some(number + 1);
            }
            Err(RecvError::Lost { events, .. }) => {
                lost |= next.is_none();
                next = next.map(|next| next + events);
            }
            Err(error) => panic!("{error}"),
        }
    }
    first
}

#[test]
fn a_stream_that_wraps_under_a_joiner_has_neither_gap_nor_duplicate() {
    race(Kind::Stream, false);
    race(Kind::Stream, true);
}

#[test]
fn a_topic_that_wraps_under_a_joiner_has_neither_gap_nor_duplicate() {
    race(Kind::Topic, false);
    race(Kind::Topic, true);
}

#[test]
fn a_queue_that_wraps_under_a_tap_has_neither_gap_nor_duplicate() {
    race(Kind::Queue, false);
    race(Kind::Queue, true);
}

#[test]
fn a_durable_tap_that_started_at_the_last_events_resumes_where_it_was() {
    let (_base, bus) = bus();
    let queue = bus.create("q", &options(Kind::Queue)).unwrap();
    publish(&queue, 0, 10);
    let durable = last(4, false).name("audit").durable(true);
    let mut tap = queue.tap(&durable).unwrap();
    assert_eq!(tap.recv().unwrap().pod::<u64>().unwrap(), 6);
    drop(tap);
    publish(&queue, 10, 12);
    assert_eq!(found(&queue, &durable), [7, 8, 9, 10, 11]);
}

#[test]
fn a_tap_starts_at_no_position() {
    let (_base, bus) = bus();
    let queue = bus.create("q", &options(Kind::Queue)).unwrap();
    for start in [Start::Oldest, Start::Position(0)] {
        let Err(refused) = queue.tap(&SubscribeOptions::default().start(start)) else { panic!("{start:?}") };
        assert!(
            matches!(&refused, Error::Invalid { .. }) && refused.to_string().contains("at the last events")
        );
    }
}
