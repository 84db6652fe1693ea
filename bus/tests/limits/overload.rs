//! Overload: the pressure that producers learn of, credits, diverting, and why there was no room.
//!
//! The pressure is compared with a model that knows every depth. Real processes contend where it
//! matters: for credits, and for the two channels of a diversion, with producers killed in between.
//! This does not prove anything about speed, nor about the pressure that several producers see
//! while the depth moves; only that it is right when nothing moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use railbus::info::ParticipantRole;
use railbus::{
    Attributes, Blocker, Bus, Channel, ChannelOptions, Error, Kind, Overflow, PublishEnd, ReadEnd, Reader,
    RecvError, SendError, SendOptions, Sender, SubscribeOptions, Ticket, WorkOptions,
};

use crate::children::{Actor, eventually, role, say, stay};

const SOON: Duration = Duration::from_secs(60);
const SLOTS: u64 = 64;

fn bus() -> (tempfile::TempDir, Bus) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "test").expect("a bus");
    (base, bus)
}

fn named(name: &str) -> SendOptions {
    SendOptions::default().name(name)
}

fn small(kind: Kind) -> ChannelOptions {
    match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096),
        _ => ChannelOptions::new(kind).slots(SLOTS).slot_bytes(64),
    }
}

/// The roles of child processes. Not a test: the tests start it.
#[test]
#[ignore = "a child process of the tests"]
fn child() {
    let Some((role, base)) = role() else { return };
    let attach = |name| Bus::at(&base, "test").and_then(|bus| bus.attach(name)).unwrap();
    match role.as_str() {
        "floods the queue" => flood(attach("jobs").producer(&named("noisy")).unwrap()),
        "floods the topic" => flood(attach("news").topic_publisher(&named("noisy")).unwrap()),
        "diverts from" | "diverts from the queue" => {
            let name = if role == "diverts from" { "news" } else { "jobs" };
            let channel = attach(name);
            let number = std::process::id();
            match channel.header().kind {
                Kind::Topic => divert(channel.topic_publisher(&named("diverts")).unwrap(), number),
                _ => divert(channel.producer(&named("diverts")).unwrap(), number),
            }
        }
        other => panic!("no role {other}"),
    }
}

/// Receives one event, if there is one soon, and passes it on; returns whether there was one.
type Receive = dyn FnMut(&mut dyn FnMut(&[u8])) -> bool;

/// Publishes as fast as it can, as long as it lives.
fn flood<R: PublishEnd>(mut sender: Sender<R>) {
    say(b"floods");
    loop {
        let _ = sender.publish_timeout(b"noise", Duration::from_millis(50));
    }
}

/// Publishes numbered events, and reports how many were diverted, and how many dropped.
fn divert<R: PublishEnd>(mut sender: Sender<R>, publisher: u32) {
    say(b"begins");
    let mut diverted = 0u64;
    let mut dropped = Vec::new();
    for number in 0..20_000u32 {
        let payload = (u64::from(publisher) << 32 | u64::from(number)).to_le_bytes();
        match sender.publish(&payload) {
            Ok(_) => {}
            Err(SendError::Diverted { .. }) => diverted += 1,
            Err(SendError::Dropped) => dropped.push(number),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((sender.diverted(), sender.dropped()), (diverted, dropped.len() as u64));
    say(format!("{diverted} {dropped:?}").as_bytes());
    stay();
}

// ---- the pressure ----

/// The hysteresis as it is documented.
struct Model {
    high: u64,
    low: u64,
    is_high: bool,
    changes: u64,
}

impl Model {
    fn new(capacity: u64, high_percent: u64, low_percent: u64) -> Model {
        let (high, low) = ((capacity * high_percent).div_ceil(100), capacity * low_percent / 100);
        Model { high, low, is_high: false, changes: 0 }
    }

    fn depth(&mut self, depth: u64) -> bool {
        let now = if self.is_high { depth > self.low } else { depth >= self.high };
        self.changes += u64::from(now != self.is_high);
        self.is_high = now;
        now
    }
}

/// One step of a story: a number of events from one of two senders, one at a time or as a batch; or
/// a number of reads.
#[derive(Debug, Clone, Copy)]
struct Step {
    publish: bool,
    count: u8,
    batch: bool,
    second: bool,
}

fn stories() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<bool>(), 0u8..40, any::<bool>(), any::<bool>());
    let step = step.prop_map(|(publish, count, batch, second)| Step { publish, count, batch, second });
    proptest::collection::vec(step, 1..60)
}

/// Does the steps, with a look at the pressure after each. `read` reads the given number, and
/// returns the position before which nothing is in a producer's way.
fn tell<R: PublishEnd>(
    channel: &Channel,
    marks: (u32, u32),
    senders: &mut [Sender<R>],
    mut read: impl FnMut(u8) -> u64,
    steps: &[Step],
) {
    let header = channel.header();
    let capacity = if header.kind == Kind::Stream { header.capacity_bytes } else { header.slots };
    let mut model = Model::new(capacity, marks.0.into(), marks.1.into());
    let mut lowest = header.first_position;
    for (number, step) in steps.iter().enumerate() {
        let at = usize::from(step.second) % senders.len();
        let sender = &mut senders[at];
        if step.publish {
            let payloads = vec![[0u8; 8]; step.count.into()];
            let count = if step.batch {
                sender.try_publish_batch(&payloads).unwrap()
            } else {
                payloads.iter().take_while(|payload| sender.try_publish(&payload[..]).is_ok()).count()
            };
            if count < payloads.len() {
                // An event that finds no room means pressure, wherever the marks are.
                model.depth(u64::MAX);
            }
        } else {
            lowest = read(step.count);
        }
        let depth = channel.info().unwrap().positions.published - lowest;
        if step.publish && depth >= model.low && !model.is_high {
            // Raised by the publishing itself, without being asked.
            model.depth(depth);
            let seen = channel.info().unwrap().pressure.unwrap();
            assert_eq!((seen.is_high, seen.changes), (model.is_high, model.changes), "step {number}");
        }
        assert_eq!(sender.is_under_pressure(), model.depth(depth), "step {number}, depth {depth}");
        let seen = channel.info().unwrap().pressure.unwrap();
        assert_eq!((seen.is_high, seen.changes), (model.is_high, model.changes), "step {number}");
    }
}

fn story(kind: Kind, marks: (u32, u32), first: u64, steps: &[Step]) {
    let (_base, bus) = bus();
    let first = if kind == Kind::Stream { first & !7 } else { first };
    let options = small(kind).watermarks(marks.0, marks.1).first_position(first);
    let channel = bus.create("c", &options).unwrap();
    let options = SendOptions::default();
    match kind {
        Kind::Stream => {
            let mut reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
            let mut senders = [channel.publisher(&options).unwrap()];
            tell(&channel, marks, &mut senders, |count| skim(&mut reader, count), steps);
        }
        Kind::Topic => {
            let mut reader = channel.topic_subscriber(&SubscribeOptions::default()).unwrap();
            let mut senders = [0, 1].map(|_| channel.topic_publisher(&options).unwrap());
            tell(&channel, marks, &mut senders, |count| skim(&mut reader, count), steps);
        }
        Kind::Queue | Kind::Table => {
            let mut worker = channel.worker(&WorkOptions::default()).unwrap();
            let mut senders = [0, 1].map(|_| channel.producer(&options).unwrap());
            let mut held: BTreeMap<u64, Ticket> = BTreeMap::new();
            let mut next = first;
            let work = |count: u8| {
                for i in 0..count {
                    let Some(ticket) = worker.take_ticket().unwrap() else { break };
                    next = ticket.position() + 1;
                    held.insert(ticket.position(), ticket);
                    // Not in order: one is held for some steps, whatever is done after it.
                    if !i.is_multiple_of(3)
                        && let Some((_, ticket)) = held.pop_last()
                    {
                        assert!(worker.done(ticket));
                    }
                }
                if count.is_multiple_of(4) {
                    std::mem::take(&mut held).into_values().for_each(|ticket| assert!(worker.done(ticket)));
                }
                held.first_key_value().map_or(next, |(&position, _)| position)
            };
            tell(&channel, marks, &mut senders, work, steps);
        }
    }
}

fn skim<R: ReadEnd>(reader: &mut Reader<R>, count: u8) -> u64 {
    for _ in 0..count {
        if reader.try_recv().unwrap().is_none() {
            break;
        }
    }
    reader.acknowledge();
    reader.position()
}

#[test]
fn the_pressure_is_the_hysteresis_of_the_depth() {
    let kinds = prop_oneof![Just(Kind::Stream), Just(Kind::Topic), Just(Kind::Queue)];
    let firsts = prop_oneof![Just(0u64), Just(64 * 5 - 3), 1u64..1 << 40];
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(
        kind in kinds,
        high in 1u32..=100,
        low in 0u32..100,
        first in firsts,
        steps in stories(),
    )| story(kind, (high, low % high), first, &steps));
}

#[test]
fn without_watermarks_there_is_no_pressure() {
    let (_base, bus) = bus();
    let channel = bus.create("c", &small(Kind::Topic)).unwrap();
    let _reader = channel.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut sender = channel.topic_publisher(&SendOptions::default()).unwrap();
    while sender.try_publish(b"x").is_ok() {}
    assert!(!sender.is_under_pressure());
    assert_eq!(channel.info().unwrap().pressure, None);
}

#[test]
fn pressure_outlives_the_publisher_that_found_it() {
    let (_base, bus) = bus();
    let channel = bus.create("c", &small(Kind::Stream).watermarks(50, 10)).unwrap();
    let mut reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
    let mut sender = channel.publisher(&SendOptions::default()).unwrap();
    while sender.try_publish(b"x").is_ok() {}
    assert!(sender.is_under_pressure());
    drop(sender);
    let mut next = channel.publisher(&SendOptions::default()).unwrap();
    assert!(next.is_under_pressure());
    skim(&mut reader, 255);
    skim(&mut reader, 255);
    assert!(!next.is_under_pressure());
    assert_eq!(channel.info().unwrap().pressure.map(|seen| seen.changes), Some(2));
}

/// A producer of a large queue catches up over some events, and not over one very long one.
#[test]
fn a_producer_that_comes_back_learns_of_the_pressure() {
    let (_base, bus) = bus();
    let options = small(Kind::Queue).slots(1 << 16).watermarks(50, 0);
    let channel = bus.create("q", &options).unwrap();
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    let [mut idle, mut busy] = [0, 1].map(|_| channel.producer(&SendOptions::default()).unwrap());
    for _ in 0..1 << 16 {
        busy.publish(b"x").unwrap();
        let _ = worker.take().unwrap().done();
    }
    drop(busy);
    // From the depth of 0 to just below the mark, and then to the mark, by one that has missed it
    // all.
    for _ in 1..1 << 15 {
        idle.try_publish(b"x").unwrap();
    }
    assert!(!idle.is_under_pressure());
    idle.try_publish(b"x").unwrap();
    assert!(idle.is_under_pressure());
    (0..1 << 15).for_each(|_| assert!(worker.take().unwrap().done()));
    assert!(!idle.is_under_pressure());
}

// ---- credits ----

#[test]
fn a_producer_has_at_most_its_credits_in_the_ring() {
    let (_base, bus) = bus();
    for kind in [Kind::Queue, Kind::Topic] {
        let channel = bus.create(&kind.to_string(), &small(kind).credits(5)).unwrap();
        match kind {
            Kind::Topic => {
                let mut reader = channel.topic_subscriber(&SubscribeOptions::default()).unwrap();
                let first = channel.topic_publisher(&named("first")).unwrap();
                let second = channel.topic_publisher(&named("second")).unwrap();
                five_at_a_time(first, second, |count| _ = skim(&mut reader, count));
            }
            _ => {
                let mut worker = channel.worker(&WorkOptions::default()).unwrap();
                let first = channel.producer(&named("first")).unwrap();
                let second = channel.producer(&named("second")).unwrap();
                five_at_a_time(first, second, |count| {
                    (0..count).for_each(|_| assert!(worker.try_take().unwrap().unwrap().done()))
                });
            }
        }
    }
}

fn five_at_a_time<R: PublishEnd>(mut first: Sender<R>, mut second: Sender<R>, mut read: impl FnMut(u8)) {
    for _ in 0..40 {
        assert_eq!((0..9).filter(|_| first.try_publish(b"first").is_ok()).count(), 5);
        let refusal = first.refusal().unwrap();
        assert_eq!(refusal.out_of_credits, Some(5));
        assert!(refusal.to_string().starts_with("all 5 credits"), "{refusal}");
        assert_eq!(first.publish_timeout(b"first", Duration::from_millis(1)), Err(SendError::TimedOut));
        assert!(matches!(first.try_claim(1), Err(SendError::Full)));
        // The other has its own; a batch gets what is left.
        assert_eq!(second.try_publish_batch(&[b"2"; 3]).unwrap(), 3);
        assert_eq!(second.try_publish_batch(&[b"2"; 3]).unwrap(), 2);
        read(3);
        assert_eq!(second.try_publish_batch(&[b"2"; 3]).unwrap(), 0);
        assert_eq!(first.try_publish_batch(&[b"1"; 64]).unwrap(), 3);
        // Claims count, too, and give their credit back when they are gone from the ring.
        read(7);
        drop(first.try_claim(4).unwrap());
        second.try_publish(b"behind").unwrap();
        read(4);
    }
}

/// A noisy process fills all that it may; the quiet one always has room for its own events, at
/// once.
#[test]
fn a_noisy_producer_cannot_starve_the_others() {
    let (base, bus) = bus();
    let credits = SLOTS as u32 / 2;
    let jobs = bus.create("jobs", &small(Kind::Queue).credits(credits)).unwrap();
    let mut noisy = Actor::start("floods the queue", base.path());
    noisy.expect("floods");
    // No worker: everything the noisy one may publish stays.
    eventually("the noisy one is out of credits", || {
        jobs.info().unwrap().positions.published == u64::from(credits)
    });
    let mut quiet = jobs.producer(&named("quiet")).unwrap();
    for _ in 0..credits {
        quiet.try_publish(b"quiet").unwrap();
    }
    assert_eq!(jobs.info().unwrap().positions.published, SLOTS);
    // And while everything moves.
    let mut worker = jobs.worker(&WorkOptions::default()).unwrap();
    for _ in 0..20_000 {
        let _ = worker.take_timeout(SOON).unwrap().done();
        while quiet.try_publish(b"quiet").is_ok() {}
        assert_eq!(quiet.refusal().unwrap().out_of_credits, Some(credits as usize));
    }
    noisy.kill();

    let news = bus.create("news", &small(Kind::Topic).credits(credits)).unwrap();
    let mut reader = news.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut noisy = Actor::start("floods the topic", base.path());
    noisy.expect("floods");
    eventually("the noisy one is out of credits", || {
        news.info().unwrap().positions.published == u64::from(credits)
    });
    let mut quiet = news.topic_publisher(&named("quiet")).unwrap();
    for _ in 0..credits {
        quiet.try_publish(b"quiet").unwrap();
    }
    let (mut from_quiet, mut from_noisy) = (0, 0);
    while from_quiet < 20_000 || from_noisy < 1000 {
        let event = reader.recv_timeout(SOON).unwrap();
        *if event.payload() == b"quiet" { &mut from_quiet } else { &mut from_noisy } += 1;
        reader.acknowledge();
        while quiet.try_publish(b"quiet").is_ok() {}
    }
    // A dead reader gives back the credits of the events that it did not read.
    drop(reader);
    noisy.kill();
}

// ---- diverting ----

#[test]
fn what_finds_no_room_is_in_the_other_channel_with_its_origin() {
    let (_base, bus) = bus();
    let spill = bus.create("spill", &ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(128)).unwrap();
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let options = small(kind).overflow(Overflow::Divert).divert_to(Some("spill".into())).stamp(true);
        let channel = bus.create(&kind.to_string(), &options).unwrap();
        let mut worker = spill.worker(&WorkOptions::default()).unwrap();
        let (stream, topic);
        let diverted = match kind {
            Kind::Stream => {
                stream = channel.subscriber(&SubscribeOptions::default()).unwrap();
                let diverted = overflow(channel.publisher(&named("p")).unwrap());
                drop(stream);
                diverted
            }
            Kind::Topic => {
                topic = channel.topic_subscriber(&SubscribeOptions::default()).unwrap();
                let diverted = overflow(channel.topic_publisher(&named("p")).unwrap());
                drop(topic);
                diverted
            }
            Kind::Queue | Kind::Table => overflow(channel.producer(&named("p")).unwrap()),
        };
        let info = channel.info().unwrap();
        assert_eq!((info.counters.diverted, info.counters.dropped), (diverted, 2));
        for number in 0..diverted {
            let job = worker.try_take().unwrap().unwrap();
            let origin = job.event().origin().unwrap();
            assert_eq!(origin.channel.to_le_bytes(), channel.header().channel_id[..8]);
            assert_eq!((origin.incarnation, origin.attempts), (1, 0));
            assert_eq!(origin.position, info.positions.published);
            assert!(job.event().published_ns().is_some());
            assert_eq!(job.event().type_id(), if number == 1 { 7 } else { 0 });
            assert_eq!(&*job, b"is diverted");
            let _ = job.done();
        }
        assert!(worker.try_take().unwrap().is_none());
    }
}

/// Fills the ring, then the other channel. Returns how many were diverted.
fn overflow<R: PublishEnd>(mut sender: Sender<R>) -> u64 {
    while sender.try_publish(b"in the ring").is_ok() {}
    // A call that returns at once, or waits as long as it is asked to, diverts nothing; nor does a
    // claim.
    assert!(matches!(sender.try_publish(b"has no room"), Err(SendError::Full | SendError::NoWorker)));
    let waited = sender.publish_timeout(b"has no room", Duration::from_millis(1));
    assert!(matches!(waited, Err(SendError::TimedOut | SendError::NoWorker)), "{waited:?}");
    assert!(matches!(sender.claim(11), Err(SendError::Full)));
    assert_eq!(sender.diverted(), 0);
    let mut diverted = 0;
    loop {
        let sent = match diverted {
            1 => sender.publish_with(b"is diverted", &Attributes::typed(7)),
            _ => sender.publish(b"is diverted"),
        };
        match sent {
            Err(SendError::Diverted { .. }) => diverted += 1,
            Err(SendError::Dropped) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sender.publish_with(b"it was lost", &Attributes::typed(7)), Err(SendError::Dropped));
    assert_eq!((sender.diverted(), sender.dropped(), diverted), (diverted, 2, 64));
    diverted
}

#[test]
fn what_is_too_long_for_the_other_channel_is_dropped_and_counted() {
    let (_base, bus) = bus();
    bus.create("spill", &small(Kind::Topic)).unwrap();
    let options = small(Kind::Stream).overflow(Overflow::Divert).divert_to(Some("spill".into()));
    let channel = bus.create("s", &options).unwrap();
    let _reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
    let mut sender = channel.publisher(&SendOptions::default()).unwrap();
    while sender.try_publish(b"x").is_ok() {}
    assert_eq!(sender.publish(&[0; 17]), Err(SendError::Dropped));
    assert!(matches!(sender.publish(&[0; 16]), Err(SendError::Diverted { position: 0 })));
    assert_eq!((sender.dropped(), sender.diverted()), (1, 1));
}

#[test]
fn only_a_channel_that_takes_its_events_can_be_diverted_to() {
    let (_base, bus) = bus();
    let divert = |to: &str| small(Kind::Queue).overflow(Overflow::Divert).divert_to(Some(to.into()));
    bus.create("stream", &small(Kind::Stream)).unwrap();
    bus.create("narrow", &small(Kind::Queue)).unwrap();
    bus.create("wide", &small(Kind::Topic).slot_bytes(128)).unwrap();
    let says = |name: &str, to: &str, expected: &str| {
        let text = bus.create(name, &divert(to)).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    says("a", "a", "itself");
    says("a", "stream", "a stream");
    says("a", "narrow", "more than 64 bytes");
    says("a", "missing", "does not exist");
    assert!(bus.attach("a").is_err(), "nothing was made");
    let channel = bus.create("a", &divert("wide")).unwrap();
    // Two that divert to each other are no circle.
    let back = small(Kind::Queue).slot_bytes(128).overflow(Overflow::Divert).divert_to(Some("b".into()));
    bus.create("b", &small(Kind::Queue).slot_bytes(256)).unwrap();
    bus.create("c", &back).unwrap();
    bus.remove("wide").unwrap();
    assert!(matches!(channel.producer(&SendOptions::default()), Err(Error::NotFound { .. })));
}

/// Many processes, one of them killed now and then: each event is in one of the two channels, or
/// was dropped, and the counters say the same.
#[test]
fn each_event_is_once_in_one_of_the_two_channels() {
    let (base, bus) = bus();
    let spill = bus.create("spill", &ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(128)).unwrap();
    for (kind, name, role) in
        [(Kind::Topic, "news", "diverts from"), (Kind::Queue, "jobs", "diverts from the queue")]
    {
        let options = small(kind).overflow(Overflow::Divert).divert_to(Some("spill".into())).credits(20);
        let channel = bus.create(name, &options).unwrap();
        let mut letters = spill.worker(&WorkOptions::default()).unwrap();
        let mut seen = BTreeMap::new();
        let mut count = |payload: &[u8]| {
            let id = u64::from_le_bytes(payload.try_into().unwrap());
            *seen.entry(id).or_insert(0u32) += 1;
        };
        let mut from_here: Box<Receive> = if kind == Kind::Topic {
            let mut reader = channel.topic_subscriber(&SubscribeOptions::default()).unwrap();
            Box::new(move |count| match reader.recv_timeout(Duration::from_micros(20)) {
                Ok(event) => {
                    count(&event);
                    true
                }
                Err(RecvError::TimedOut) => false,
                Err(error) => panic!("{error}"),
            })
        } else {
            let mut worker = channel.worker(&WorkOptions::default()).unwrap();
            Box::new(move |count| match worker.take_timeout(Duration::from_micros(20)) {
                Ok(job) => {
                    count(&job);
                    let _ = job.done();
                    true
                }
                Err(RecvError::TimedOut) => false,
                Err(error) => panic!("{error}"),
            })
        };
        let mut actors: Vec<Actor> = (0..3).map(|_| Actor::start(role, base.path())).collect();
        actors.iter_mut().for_each(|actor| actor.expect("begins"));
        let mut victim = actors.pop().unwrap();
        let victim_id = victim.pid() as u32;
        let (told, hears) = mpsc::channel();
        let listeners: Vec<_> = actors
            .into_iter()
            .map(|mut actor| {
                let told = told.clone();
                std::thread::spawn(move || told.send((actor.pid() as u32, actor.hear())).unwrap())
            })
            .collect();
        let started = Instant::now();
        let (mut lines, mut killed) = (Vec::new(), false);
        let mut idle = 0;
        let mut diverted = 0;
        while idle < 3 || lines.len() < 2 || !killed {
            let mut moved = from_here(&mut count);
            if let Some(job) = letters.try_take().unwrap() {
                assert!(job.event().origin().is_some());
                count(&job);
                let _ = job.done();
                (moved, diverted) = (true, diverted + 1);
            }
            idle = if moved { 0 } else { idle + 1 };
            lines.extend(hears.try_recv());
            if !killed && started.elapsed() > Duration::from_millis(30) {
                victim.kill();
                killed = true;
            }
            assert!(started.elapsed() < SOON, "{lines:?}");
        }
        listeners.into_iter().for_each(|listener| listener.join().unwrap());
        let mut counted = 0;
        for (publisher, line) in lines {
            let (count, dropped) = line.split_once(' ').unwrap();
            counted += count.parse::<u64>().unwrap();
            let dropped: BTreeSet<u32> =
                dropped.trim_matches(['[', ']']).split(", ").filter_map(|n| n.parse().ok()).collect();
            for number in 0..20_000 {
                let times = seen.remove(&(u64::from(publisher) << 32 | u64::from(number))).unwrap_or(0);
                assert_eq!(times, u32::from(!dropped.contains(&number)), "{publisher} {number}");
            }
        }
        assert!(seen.iter().all(|(id, &times)| times == 1 && id >> 32 == u64::from(victim_id)), "{seen:?}");
        let counters = channel.info().unwrap().counters;
        // The one that was killed may have been killed before it counted its last.
        assert!(
            counters.diverted <= diverted && counters.diverted >= diverted - 1,
            "{counters:?} {diverted}"
        );
        assert!(counted <= counters.diverted, "{counted} {counters:?}");
        assert!(letters.try_take().unwrap().is_none());
    }
}

// ---- why there was no room ----

#[test]
fn a_refusal_names_who_is_in_the_way() {
    let (_base, bus) = bus();
    let options = |name: &str| SubscribeOptions::default().name(name);

    let stream = bus.create("s", &small(Kind::Stream)).unwrap();
    let mut sender = stream.publisher(&SendOptions::default()).unwrap();
    assert_eq!(sender.refusal(), None);
    let mut fast = stream.subscriber(&options("fast")).unwrap();
    let mut slow = stream.subscriber(&options("slow")).unwrap();
    while sender.try_publish(b"12345678").is_ok() {
        skim(&mut fast, 1);
    }
    skim(&mut fast, 255);
    let position = stream.info().unwrap().positions.published;
    let refusal = sender.refusal().unwrap();
    let Blocker::Reader { peer, cursor: 0, behind, in_bytes: true } = &refusal.blocker else {
        panic!("{refusal:?}")
    };
    assert_eq!((&*peer.name, peer.index, peer.pid, *behind), ("slow", 1, std::process::id(), position));
    assert!(refusal.to_string().contains("consumer:1 'slow' (process"), "{refusal}");
    assert_eq!(stream.info().unwrap().held_by, Some(refusal.blocker));
    skim(&mut slow, 255);
    skim(&mut slow, 255);
    assert_eq!(sender.refusal().unwrap().blocker, Blocker::Gone);
    assert_eq!(stream.info().unwrap().held_by, None);

    let queue = bus.create("q", &small(Kind::Queue)).unwrap();
    let mut sender = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default().name("ana")).unwrap();
    while sender.try_publish(b"job").is_ok() {}
    assert_eq!(sender.refusal().unwrap().blocker, Blocker::Waiting { position: 0 });
    assert_eq!(queue.info().unwrap().held_by, Some(Blocker::Waiting { position: 0 }));
    let ticket = worker.take_ticket().unwrap().unwrap();
    let blocker = sender.refusal().unwrap().blocker;
    let Blocker::Taken { position: 0, peer } = &blocker else { panic!("{blocker:?}") };
    assert_eq!((&*peer.name, peer.pid), ("ana", std::process::id()));
    assert_eq!(queue.info().unwrap().held_by, Some(blocker));
    assert!(worker.retry(ticket));
    assert_eq!(sender.refusal().unwrap().blocker, Blocker::Redo { position: 0 });
    let _ = worker.try_take().unwrap().unwrap().done();
    assert_eq!(sender.refusal().unwrap().blocker, Blocker::Gone);
    drop(worker);
    sender.try_publish(b"job").unwrap();
    assert_eq!(sender.try_publish(b"job"), Err(SendError::NoWorker));
    assert_eq!(sender.refusal().unwrap().blocker, Blocker::Waiting { position: 1 });

    let topic = bus.create("t", &small(Kind::Topic)).unwrap();
    let mut sender = topic.topic_publisher(&SendOptions::default()).unwrap();
    let mut other = topic.topic_publisher(&named("pen")).unwrap();
    let claim = other.claim(1).unwrap();
    while sender.try_publish(b"news").is_ok() {}
    let blocker = sender.refusal().unwrap().blocker;
    let Blocker::Unpublished { position: 0, peer: Some(peer) } = &blocker else { panic!("{blocker:?}") };
    assert_eq!((&*peer.name, peer.index), ("pen", 1));
    claim.commit();
    let mut reader = topic.topic_subscriber(&options("last")).unwrap();
    while sender.try_publish(b"news").is_ok() {}
    let blocker = sender.refusal().unwrap().blocker;
    assert!(
        matches!(&blocker, Blocker::Reader { peer, behind: SLOTS, .. } if peer.name == "last"),
        "{blocker:?}"
    );
    skim(&mut reader, 1);
}

#[test]
fn results_stay_small() {
    assert!(size_of::<Result<u64, SendError>>() <= 24, "as it was before events were diverted");
}

#[test]
fn a_wait_in_slices_is_one_wait_of_one_event() {
    let (_base, bus) = bus();
    let topic = bus.create("t", &small(Kind::Topic)).unwrap();
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut sender = topic.topic_publisher(&SendOptions::default()).unwrap();
    while sender.try_publish(b"x").is_ok() {}
    let (tell, told) = mpsc::channel();
    let waiting = std::thread::spawn(move || {
        // As programs wait that check for signals in between.
        while sender.publish_timeout(b"x", Duration::from_millis(10)).is_err() {
            if told.try_recv().is_ok() {
                break;
            }
        }
        sender
    });
    let producer = || {
        let participants = topic.info().unwrap().participants;
        participants.into_iter().find(|one| one.role == ParticipantRole::Producer).unwrap()
    };
    // Longer than any of its slices, by far.
    eventually("it waits for 300 ms", || producer().waits.is_some_and(|waits| waits.for_ns > 300_000_000));
    assert_eq!(producer().full, 1, "one event found no room");
    tell.send(()).unwrap();
    let mut sender = waiting.join().unwrap();
    assert!(reader.try_recv().unwrap().is_some());
    reader.acknowledge();
    sender.publish(b"x").unwrap();
    assert!(producer().waits.is_none());
    assert!(sender.try_publish(b"x").is_err());
    assert_eq!(producer().full, 2, "so did another");
}
