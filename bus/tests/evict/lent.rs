//! Events that a reader or worker has lent stay as they are when *another process* evicts it: two
//! real processes, in which the reading one holds a `&str` of the ring in safe code. Nobody waits
//! for it.
//!
//! A pass does not prove that every order of accesses is harmless (see `loom-tests`: the models
//! `topic::evicted` and `queue::evicted`, and the crash models that evict at every access and kill
//! the evictor at each of its accesses).

use std::path::Path;
use std::time::Duration;

use railbus::admin::Evicted;
use railbus::{
    Bus, Channel, ChannelOptions, Kind, Producer, Publisher, SendOptions, SubscribeOptions, TopicPublisher,
    WorkOptions,
};
use railbus_ring::members::peers::Side;

use crate::children::{Actor, role, say, stay};

const SOON: Duration = Duration::from_secs(60);
/// The text that is lent, and bytes of the same length that are published over it, and are no text.
const TEXT: &str = "Grüße aus Zürich und Köln";
const OTHER: [u8; TEXT.len()] = [0xFF; TEXT.len()];
/// Events that are published before the eviction, and held in a batch or as jobs.
const HELD: usize = 5;
/// More than three laps of the small rings.
const MANY: usize = 400;

/// The reading side: no unsafe code sees an event change.
mod reading {
    #![forbid(unsafe_code)]

    use super::*;

    /// Looks at the lent bytes until `stay` returns, and once more.
    fn watch(texts: &[&str]) {
        std::thread::scope(|scope| {
            let staying = scope.spawn(stay);
            while !staying.is_finished() {
                for text in texts {
                    assert_eq!(*text, TEXT, "a borrowed text has changed");
                    assert!(std::str::from_utf8(text.as_bytes()).is_ok());
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        assert!(texts.iter().all(|&text| text == TEXT), "a borrowed text has changed");
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("the text as it was published")
    }

    macro_rules! read {
        ($channel:expr, $reader:expr, $how:expr) => {{
            let mut reader = $reader;
            say(b"ready");
            if $how == "batch" {
                while $channel.info().unwrap().positions.events < HELD as u64 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let batch = reader.batch_timeout(HELD, SOON).unwrap();
                assert_eq!(batch.len(), HELD);
                let texts: Vec<_> = (0..HELD).map(|i| batch.get(i).unwrap()).collect();
                let texts: Vec<_> = texts.iter().map(|event| text(event)).collect();
                say(b"holds");
                watch(&texts);
            } else {
                for _ in 1..HELD {
                    reader.recv_timeout(SOON).unwrap();
                }
                let event = reader.recv_timeout(SOON).unwrap();
                say(b"holds");
                watch(&[text(&event)]);
            }
            assert_eq!(reader.try_recv().unwrap_err(), railbus::RecvError::Evicted);
        }};
    }

    pub(super) fn run(channel: &Channel, how: &str) {
        let manual = how == "manual";
        let name = if manual { "reader" } else { "" };
        let options = SubscribeOptions::default().manual(manual).name(name).durable(manual);
        match channel.header().kind {
            Kind::Stream => read!(channel, channel.subscriber(&options).unwrap(), how),
            Kind::Topic => read!(channel, channel.topic_subscriber(&options).unwrap(), how),
            Kind::Queue if how == "job" || how == "tickets" => work(channel, how),
            Kind::Queue => read!(channel, channel.tap(&options).unwrap(), how),
            Kind::Table => unreachable!("a table has no events"),
        }
    }

    fn work(channel: &Channel, how: &str) {
        let mut worker = channel.worker(&WorkOptions::default().grab(2)).unwrap();
        say(b"ready");
        if how == "job" {
            let job = worker.take_timeout(SOON).unwrap();
            say(b"holds");
            watch(&[text(&job)]);
            assert!(!job.done());
            return;
        }
        let tickets: Vec<_> = (0..HELD).map(|_| worker.take_ticket_timeout(SOON).unwrap()).collect();
        let events: Vec<_> = tickets.iter().map(|&ticket| worker.event(ticket).unwrap()).collect();
        let texts: Vec<_> = events.iter().map(|event| text(event)).collect();
        say(b"holds");
        watch(&texts);
        assert!(!worker.done(tickets[0]) && worker.event(tickets[1]).is_none());
    }
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    reading::run(&channel_at(&base), &role);
}

fn channel_at(base: &Path) -> Channel {
    Bus::at(base, "bus").unwrap().attach("c").unwrap()
}

/// A publisher of any kind, and in a queue a worker beside it that does everything.
enum Outside {
    Stream(Box<Publisher>),
    Topic(Box<TopicPublisher>),
    Queue(Box<Producer>, Channel),
}

impl Outside {
    fn of(channel: &Channel) -> Outside {
        let options = SendOptions::default();
        match channel.header().kind {
            Kind::Stream => Outside::Stream(Box::new(channel.publisher(&options).unwrap())),
            Kind::Topic => Outside::Topic(Box::new(channel.topic_publisher(&options).unwrap())),
            Kind::Queue => Outside::Queue(Box::new(channel.producer(&options).unwrap()), channel.clone()),
            Kind::Table => unreachable!("a table has no events"),
        }
    }

    fn publish(&mut self, bytes: &[u8], count: usize) {
        for _ in 0..count {
            match self {
                Outside::Stream(publisher) => publisher.publish_timeout(bytes, SOON).unwrap(),
                Outside::Topic(publisher) => publisher.publish_timeout(bytes, SOON).unwrap(),
                Outside::Queue(producer, _) => producer.publish_timeout(bytes, SOON).unwrap(),
            };
        }
    }

    /// Publishes for laps; in a queue another does it all.
    fn lap(&mut self) {
        let Outside::Queue(_, channel) = self else { return self.publish(&OTHER, MANY) };
        let mut worker = channel.worker(&WorkOptions::default()).unwrap();
        for _ in 0..MANY {
            self.publish(&OTHER, 1);
            while let Some(job) = worker.try_take().unwrap() {
                assert!(job.done());
            }
        }
    }
}

#[test]
fn what_a_participant_of_another_process_has_lent_stays_when_it_is_evicted() {
    let ways: [(Kind, &[&str]); 3] = [
        (Kind::Stream, &["event", "batch", "manual"]),
        (Kind::Topic, &["event", "batch", "manual"]),
        (Kind::Queue, &["event", "batch", "job", "tickets"]),
    ];
    for (kind, ways) in ways {
        for how in ways {
            let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
            let options = ChannelOptions::new(kind).lock_memory(false);
            let options = match kind {
                Kind::Stream => options.capacity_bytes(4096),
                _ => options.slots(64).slot_bytes(64),
            };
            let channel = Bus::at(base.path(), "bus").unwrap().create("c", &options).unwrap();
            let mut reader = Actor::start(how, base.path());
            reader.expect("ready");
            let mut outside = Outside::of(&channel);
            outside.publish(TEXT.as_bytes(), HELD);
            reader.expect("holds");
            let info = channel.info().unwrap();
            let is_it = |one: &&railbus::info::Participant| {
                one.side == Side::Consumers && one.pid as i32 == reader.pid()
            };
            let index = info.participants.iter().find(is_it).expect("it is registered").index;
            let evicted = channel.evict(Side::Consumers, index, SOON).unwrap();
            assert!(matches!(evicted, Evicted::Told | Evicted::Fenced { .. }), "{evicted:?}");
            outside.lap();
            // Another publisher finds its way, and another reader reads.
            drop(outside);
            Outside::of(&channel).lap();
            assert!(reader.finish().success(), "{kind:?} {how}");
            // Its entry is used again; everything goes on.
            channel.repair().unwrap();
            Outside::of(&channel).lap();
        }
    }
}
