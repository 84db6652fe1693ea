//! Manual acknowledgement: the cursor of a subscription moves by `acknowledge_to` only, for all
//! kinds.
//!
//! A pass does not prove anything about the death of the machine. A cursor lies in memory, and a
//! journal records it now and then.

use std::path::Path;
use std::time::Duration;

use railbus::{
    AcknowledgeError, Bus, Channel, ChannelOptions, Error, Kind, Producer, Publisher, RecvError, Result,
    SendError, SendOptions, SubscribeOptions, Subscriber, TopicPublisher, TopicSubscriber,
};

use crate::children::{Actor, eventually, role, say, stay};

const KINDS: [Kind; 3] = [Kind::Stream, Kind::Topic, Kind::Queue];
const A_MOMENT: Duration = Duration::from_millis(2);
const SOON: Duration = Duration::from_secs(60);

/// A stream's subscriber, a topic's, or a queue's tap.
enum Any {
    Stream(Subscriber),
    Slots(TopicSubscriber),
}

macro_rules! each {
    ($any:expr, $reader:ident => $run:expr) => {
        match $any {
            Any::Stream($reader) => $run,
            Any::Slots($reader) => $run,
        }
    };
}

/// An event: its position and number.
type Seen = (u64, u64);

impl Any {
    fn open(channel: &Channel, options: &SubscribeOptions) -> Result<Any> {
        Ok(match channel.header().kind {
            Kind::Stream => Any::Stream(channel.subscriber(options)?),
            Kind::Topic => Any::Slots(channel.topic_subscriber(options)?),
            Kind::Queue => Any::Slots(channel.tap(options)?),
            Kind::Table => unreachable!("a table has no events"),
        })
    }

    /// The next event, by one of the ways to receive, if there is one.
    fn next(&mut self, way: usize) -> Option<Seen> {
        let seen = |event: railbus::Event<'_>| (event.position(), event.pod().expect("8 bytes"));
        each!(self, reader => match way % 4 {
            0 => reader.try_recv().unwrap().map(seen),
            1 => match reader.recv_timeout(A_MOMENT) {
                Ok(event) => Some(seen(event)),
                Err(RecvError::TimedOut) => None,
                Err(error) => panic!("{error}"),
            },
            2 => reader.batch(1).unwrap().iter().map(seen).next(),
            _ => match reader.batch_timeout(1, A_MOMENT) {
                Ok(batch) => batch.iter().map(seen).next(),
                Err(RecvError::TimedOut) => None,
                Err(error) => panic!("{error}"),
            },
        })
    }

    /// The next `count` events, by every way.
    fn take(&mut self, count: usize) -> Vec<Seen> {
        (0..count).map(|way| self.next(way).expect("there is one")).collect()
    }

    /// All events that are there, in batches of `most`.
    fn batches(&mut self, most: usize) -> Vec<Seen> {
        let mut all = Vec::new();
        each!(self, reader => loop {
            let batch = reader.batch(most).unwrap();
            if batch.is_empty() {
                return all;
            }
            all.extend(batch.iter().map(|event| (event.position(), event.pod::<u64>().unwrap())));
        })
    }

    fn acknowledge_to(&mut self, position: u64) -> std::result::Result<(), AcknowledgeError> {
        each!(self, reader => reader.acknowledge_to(position))
    }

    fn position(&self) -> u64 {
        each!(self, reader => reader.position())
    }

    fn acknowledged(&self) -> u64 {
        each!(self, reader => reader.acknowledged())
    }
}

/// The publisher, by kind.
enum Sends {
    Stream(Box<Publisher>),
    Topic(Box<TopicPublisher>),
    Queue(Box<Producer>),
}

impl Sends {
    fn open(channel: &Channel) -> Sends {
        let options = SendOptions::default();
        match channel.header().kind {
            Kind::Stream => Sends::Stream(Box::new(channel.publisher(&options).unwrap())),
            Kind::Topic => Sends::Topic(Box::new(channel.topic_publisher(&options).unwrap())),
            Kind::Queue => Sends::Queue(Box::new(channel.producer(&options).unwrap())),
            Kind::Table => unreachable!("a table has no events"),
        }
    }

    fn publish(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.try_publish(number).unwrap();
        }
    }

    fn try_publish(&mut self, number: u64) -> std::result::Result<u64, SendError> {
        let payload = number.to_le_bytes();
        match self {
            Sends::Stream(publisher) => publisher.try_publish(&payload),
            Sends::Topic(publisher) => publisher.try_publish(&payload),
            Sends::Queue(producer) => producer.try_publish(&payload),
        }
    }

    fn publish_waiting(&mut self, number: u64) -> u64 {
        let payload = number.to_le_bytes();
        match self {
            Sends::Stream(publisher) => publisher.publish(&payload),
            Sends::Topic(publisher) => publisher.publish(&payload),
            Sends::Queue(producer) => producer.publish(&payload),
        }
        .unwrap()
    }
}

/// A channel for some 64 events of 8 bytes, whose first position is just before a wrap.
fn channel(base: &Path, kind: Kind) -> Channel {
    let options = match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096).first_position(4096 * 5 - 64),
        _ => ChannelOptions::new(kind).slots(64).first_position(62),
    };
    Bus::at(base, "bus").unwrap().create("c", &options.lock_memory(false)).unwrap()
}

fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm")
}

fn manual() -> SubscribeOptions {
    SubscribeOptions::default().name("batches").durable(true).manual(true)
}

/// Runs a test for each kind, with a channel, a publisher, and a subscription that has joined.
fn each_kind(test: impl Fn(&Channel, Sends, Any)) {
    for kind in KINDS {
        let base = place();
        let channel = channel(base.path(), kind);
        let reader = Any::open(&channel, &manual()).unwrap();
        test(&channel, Sends::open(&channel), reader);
    }
}

fn numbers(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|&(_, number)| number).collect()
}

#[test]
fn what_was_not_acknowledged_comes_again_after_an_orderly_exit() {
    each_kind(|channel, mut publisher, mut reader| {
        publisher.publish(0..40);
        assert_eq!(numbers(&reader.take(30)), (0..30).collect::<Vec<_>>());
        // Nor does a look that finds nothing, a batch, or an explicit release of the received
        // events.
        assert_eq!(numbers(&reader.batches(7)), (30..40).collect::<Vec<_>>());
        for way in 0..4 {
            assert_eq!(reader.next(way), None);
        }
        each!(&mut reader, reader => reader.acknowledge());
        drop(reader);
        for most in [1, 16, 1000] {
            let mut reader = Any::open(channel, &manual()).unwrap();
            assert_eq!(numbers(&reader.batches(most)), (0..40).collect::<Vec<_>>());
        }
    });
}

#[test]
fn it_resumes_exactly_where_it_acknowledged() {
    each_kind(|channel, mut publisher, mut reader| {
        publisher.publish(0..40);
        let mut done = 0;
        for step in [1, 0, 5, 13, 2] {
            let left = 40 - done;
            let seen = reader.take(left);
            done += step;
            // The position of the first event that is not done.
            let position = seen[step].0;
            reader.acknowledge_to(position).unwrap();
            assert_eq!(reader.acknowledged(), position);
            drop(reader);
            reader = Any::open(channel, &manual()).unwrap();
            assert_eq!((reader.acknowledged(), reader.position()), (position, position));
        }
        assert_eq!(numbers(&reader.batches(64)), (done as u64..40).collect::<Vec<_>>());
        // Or the end of everything received.
        reader.acknowledge_to(reader.position()).unwrap();
        drop(reader);
        assert_eq!(Any::open(channel, &manual()).unwrap().next(0), None);
    });
}

#[test]
fn acknowledging_is_idempotent_and_never_goes_back() {
    each_kind(|channel, mut publisher, mut reader| {
        publisher.publish(0..20);
        let seen = reader.take(20);
        for position in [seen[7].0, seen[7].0, seen[0].0, 0, seen[12].0, seen[3].0] {
            reader.acknowledge_to(position).unwrap();
        }
        assert_eq!(reader.acknowledged(), seen[12].0);
        drop(reader);
        assert_eq!(
            numbers(&Any::open(channel, &manual()).unwrap().batches(64)),
            (12..20).collect::<Vec<_>>()
        );
    });
}

#[test]
fn what_was_not_received_cannot_be_acknowledged() {
    each_kind(|channel, mut publisher, mut reader| {
        publisher.publish(0..20);
        let refuses = |reader: &mut Any, position: u64, why: AcknowledgeError| {
            let before = reader.acknowledged();
            assert_eq!(reader.acknowledge_to(position), Err(why));
            assert_eq!(reader.acknowledged(), before);
        };
        let beyond = |position, received| AcknowledgeError::NotReceived { position, received };
        let start = reader.position();
        refuses(&mut reader, start + 1, beyond(start + 1, start));
        let seen = reader.take(10);
        let end = reader.position();
        refuses(&mut reader, end + 1, beyond(end + 1, end));
        refuses(&mut reader, u64::MAX, beyond(u64::MAX, end));
        if channel.header().kind == Kind::Stream {
            for position in [seen[4].0 + 8, seen[4].0 + 1] {
                refuses(&mut reader, position, AcknowledgeError::NoEvent { position });
            }
        }
        reader.acknowledge_to(end).unwrap();
        drop(reader);
        // Others acknowledge by themselves.
        let mut other = Any::open(channel, &manual().manual(false)).unwrap();
        refuses(&mut other, end, AcknowledgeError::NotManual);
        assert_eq!(numbers(&other.batches(64)), (10..20).collect::<Vec<_>>());
        drop(other);
        assert_eq!(Any::open(channel, &manual()).unwrap().next(0), None);
        let lossy = SubscribeOptions::default().lossy(true).manual(true);
        assert!(matches!(Any::open(channel, &lossy), Err(Error::Invalid { .. })));
    });
}

/// The ring holds the events that are not acknowledged, also without an owner.
#[test]
fn a_publisher_waits_for_what_is_not_acknowledged_and_is_woken() {
    each_kind(|channel, mut publisher, mut reader| {
        let mut published = 0;
        while publisher.try_publish(published).is_ok() {
            published += 1;
        }
        // All of it is received, many times around; none of it makes room.
        let seen = reader.batches(1000);
        assert_eq!(numbers(&seen), (0..published).collect::<Vec<_>>());
        assert_eq!(reader.next(1), None);
        assert!(matches!(publisher.try_publish(0), Err(SendError::Full | SendError::NoWorker)));
        drop(reader);
        assert!(matches!(publisher.try_publish(0), Err(SendError::Full | SendError::NoWorker)));
        // A queue is also full of events that nobody has worked on.
        if channel.header().kind == Kind::Queue {
            let mut worker = channel.worker(&railbus::WorkOptions::default()).unwrap();
            while let Some(job) = worker.try_take().unwrap() {
                let _ = job.done();
            }
            assert!(publisher.try_publish(0).is_err());
        }
        let mut reader = Any::open(channel, &manual()).unwrap();
        assert_eq!(reader.batches(1000), seen);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| publisher.publish_waiting(published));
            eventually("the publisher waits", || {
                channel.info().unwrap().participants.iter().any(|one| one.waits.is_some())
            });
            reader.acknowledge_to(seen[seen.len() / 2].0).unwrap();
            waiting.join().unwrap();
        });
        assert_eq!(reader.next(1).map(|(_, number)| number), Some(published));
    });
}

#[test]
fn observers_see_what_is_received_and_not_acknowledged() {
    each_kind(|channel, mut publisher, mut reader| {
        let seen = |channel: &Channel| {
            let info = channel.info().unwrap();
            let one = info.participants.into_iter().find(|one| one.name == "batches").unwrap();
            assert!(one.manual && one.durable);
            (one.unacknowledged, one.cursor, one.lag)
        };
        let start = reader.position();
        assert_eq!(seen(channel), (Some(0), Some(start), Some(0)));
        publisher.publish(0..20);
        let positions = reader.take(10);
        each!(&mut reader, reader => reader.acknowledge());
        let (unacknowledged, cursor, lag) = seen(channel);
        assert_eq!((unacknowledged, cursor), (Some(reader.position() - start), Some(start)));
        assert!(lag > unacknowledged);
        reader.acknowledge_to(positions[4].0).unwrap();
        let (unacknowledged, cursor, _) = seen(channel);
        assert_eq!(
            (unacknowledged, cursor),
            (Some(reader.position() - positions[4].0), Some(positions[4].0))
        );
        drop(reader);
        let (unacknowledged, cursor, _) = seen(channel);
        assert_eq!((unacknowledged, cursor), (None, Some(positions[4].0)));
    });
}

#[test]
fn who_was_evicted_acknowledges_nothing() {
    for kind in KINDS {
        let base = place();
        let channel = channel(base.path(), kind);
        let mut publisher = Sends::open(&channel);
        let options = SubscribeOptions::default().manual(true).name("one");
        let mut reader = Any::open(&channel, &options).unwrap();
        publisher.publish(0..20);
        reader.take(10);
        let one = channel.info().unwrap().participants.into_iter().find(|one| one.name == "one").unwrap();
        channel.evict(one.side, one.index, SOON).unwrap();
        let position = reader.position();
        assert_eq!(reader.acknowledge_to(position), Err(AcknowledgeError::Reader(RecvError::Evicted)));
        assert_eq!(reader.acknowledged(), 62.max(channel.header().first_position));
    }
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let channel = Bus::at(&base, "bus").unwrap().attach("c").unwrap();
    let options = manual().manual(role != "acknowledges by itself");
    let mut reader = Any::open(&channel, &options).unwrap();
    match role.as_str() {
        "acknowledges by itself" => {
            say(format!("{}", reader.take(10).len()).as_bytes());
            stay();
        }
        // Acknowledges in steps of 3, behind the received position, until it is killed.
        "works in batches" => {
            let mut pending = std::collections::VecDeque::new();
            for way in 0.. {
                let Some(seen) = reader.next(way) else { continue };
                pending.push_back(seen.0);
                if pending.len() == 16 {
                    pending.drain(..3);
                    reader.acknowledge_to(pending[0]).unwrap();
                    say(format!("{}", pending[0]).as_bytes());
                }
            }
        }
        // It received 30 of 40, and looked once more.
        "receives and looks" => {
            let seen = reader.take(40);
            assert_eq!(reader.next(1), None);
            say(format!("{}", seen.len()).as_bytes());
            stay();
        }
        other => panic!("no role {other}"),
    }
}

/// Without manual acknowledgement, events that were received since the cursor was last published
/// are seen again after a kill, but not after an orderly exit. In the meantime the subscription
/// holds everything from its cursor on.
#[test]
fn an_automatic_cursor_repeats_some_events_after_a_kill_and_none_after_an_exit() {
    each_kind(|channel, mut publisher, reader| {
        drop(reader);
        publisher.publish(0..40);
        let automatic = manual().manual(false);
        let mut killed = Actor::start("acknowledges by itself", channel.bus().base());
        killed.expect("10");
        killed.kill();
        let mut reader = Any::open(channel, &automatic).unwrap();
        let first = reader.take(1)[0].1;
        assert!(
            first < 10,
            "event {first} comes first: of ten that were received, one at least was not released"
        );
        assert_eq!(numbers(&reader.take(10)), (first + 1..first + 11).collect::<Vec<_>>());
        drop(reader);
        let mut reader = Any::open(channel, &automatic).unwrap();
        assert_eq!(reader.take(1)[0].1, first + 11, "an orderly exit repeats nothing");
        drop(reader);
        // While nobody owns it, it holds the publisher back at its cursor.
        let mut number = 40;
        while publisher.try_publish(number).is_ok() {
            number += 1;
        }
        let mut reader = Any::open(channel, &automatic).unwrap();
        assert_eq!(numbers(&reader.batches(64)), (first + 12..number).collect::<Vec<_>>());
    });
}

#[test]
fn a_kill_loses_nothing_that_was_not_acknowledged() {
    each_kind(|channel, mut publisher, reader| {
        drop(reader);
        publisher.publish(0..40);
        let mut killed = Actor::start("receives and looks", channel.bus().base());
        killed.expect("40");
        killed.kill();
        assert_eq!(numbers(&Any::open(channel, &manual()).unwrap().batches(64)), (0..40).collect::<Vec<_>>());
    });
}

#[test]
fn killed_at_any_moment_it_resumes_where_it_acknowledged() {
    each_kind(|channel, mut publisher, reader| {
        drop(reader);
        let mut next = 0;
        let mut worker = (channel.header().kind == Kind::Queue)
            .then(|| channel.worker(&railbus::WorkOptions::default()).unwrap());
        let mut fill = || {
            while publisher.try_publish(next).is_ok() {
                next += 1;
                if let Some(worker) = &mut worker {
                    while let Some(job) = worker.try_take().unwrap() {
                        let _ = job.done();
                    }
                }
            }
        };
        let mut first = 0;
        for round in 0..12 {
            fill();
            let mut killed = Actor::start("works in batches", channel.bus().base());
            let mut said = 0;
            for _ in 0..round % 4 {
                said = killed.hear().parse().unwrap();
                fill();
            }
            killed.kill();
            let mut reader = Any::open(channel, &manual()).unwrap();
            assert!(reader.acknowledged() >= said, "what was acknowledged stays so");
            let rest = numbers(&reader.batches(1000));
            // Steps of 3, and perhaps one that it acknowledged without having reported it.
            assert!(rest[0] >= first && (rest[0] - first).is_multiple_of(3), "{} after {first}", rest[0]);
            assert_eq!(rest, (rest[0]..rest[0] + rest.len() as u64).collect::<Vec<_>>());
            first = rest[0];
        }
    });
}
