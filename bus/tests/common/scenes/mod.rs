//! Scenes: for each role a script that an actor plays, and survivors that check what it left.
//!
//! The driver chooses the access before which the actor is stopped or killed. Whatever it chooses,
//! these rules hold in each scene. Events that the actor had committed are there, in order and
//! untorn, once. Events that it had begun are there or not. Events that a worker had taken and not
//! finished are delivered again, once. And the survivors go on for several laps.
#![allow(dead_code, reason = "each test program uses a part")]

mod orphans;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use railbus::{
    Bus, ChannelOptions, Error, Kind, PublishEnd, ReadEnd, Reader, RecvError, SendError, SendOptions, Sender,
    SlotReadEnd, SubscribeOptions, WorkOptions, Worker,
};
use railbus_ring::frame;
use railbus_ring::members::join::StartAt as Start;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{DURABLE, ROLE_PRODUCER, ROLE_SUBSCRIBER, ROLE_TAP, ROLE_WORKER};
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::reader::{SlotPoll, SlotReader};
use railbus_ring::slots::redo::{AT_ONCE, DELAY_NS_MAX};
use railbus_ring::slots::worker::{SlotWorker, Taken};
use railbus_ring::stream::places;
use railbus_ring::stream::publisher::StreamPublisher;
use railbus_ring::stream::subscriber::{self as stream_subscriber, StreamSubscriber};

use crate::forks::{Deadly, End, Part, Shared, arm, event, forked, number, pause, steps};

/// Far beyond any load of the machine: a step that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);
/// Slots of the queues and topics: the smallest number.
const SLOTS: u64 = 64;
/// Capacity of the streams.
const CAPACITY: u64 = 4096;

// The source of an event: numbers are `source * MILLION + n`.
const MILLION: u64 = 1_000_000;
const OLD: u64 = 0;
const ACTOR: u64 = 1;
const NEW: u64 = 2;
const OTHER: u64 = 3;

// Shared words.
const COMMITTED: usize = 0;
const BEGUN: usize = 1;
const ACKED: usize = 2;
/// How many accesses a script that has come to its end has made.
pub(crate) const STEPS: usize = 3;
/// How many tickets of dead participants the actor has repaired.
const REPAIRED: usize = 4;
const EVENTS: usize = 8;

// The report of a working actor about an event, in word EVENTS + its number.
const TAKEN: u64 = 1;
const FINISHING: u64 = 2;
const FINISHED: u64 = 3;

/// One run of a scene.
pub(crate) struct Stage<'a> {
    pub(crate) base: &'a Path,
    pub(crate) shared: &'a Shared,
    pub(crate) variant: u64,
    /// Before which accesses the actor is stopped and killed; 0 for never.
    pub(crate) stop_at: u64,
    pub(crate) kill_at: u64,
    /// How the actor ended, and whether it was stopped before.
    pub(crate) end: End,
    pub(crate) stopped: bool,
    bus: Bus,
    kind: Kind,
}

/// A role's script and its survivors.
pub(crate) type Scene = fn(&mut Stage<'_>);

/// All of them.
pub(crate) const SCENES: &[(&str, Scene, u64)] = &[
    ("stream publisher", stream_publisher, 6),
    ("stream subscriber", stream_subscriber, 6),
    ("stream resumption", stream_resumption, 3),
    ("queue producer", queue_producer, 3),
    ("queue worker", queue_worker, 6),
    ("registrant that sweeps a dead worker", sweeping_registrant, 3),
    ("worker that buries", burying_worker, 6),
    ("queue tap", queue_tap, 6),
    ("topic publisher", topic_publisher, 3),
    ("topic subscriber", topic_subscriber, 6),
    ("worker behind orphans", orphans::worker, 6),
    ("tap behind orphans", orphans::tap, 6),
    ("topic subscriber behind orphans", orphans::topic_subscriber, 6),
    ("topic publisher over orphans", orphans::topic_publisher, 3),
];

/// The scene with this name, and how many variants it has.
pub(crate) fn scene(name: &str) -> (Scene, u64) {
    let found = SCENES.iter().find(|(known, ..)| *known == name).expect("a scene");
    (found.1, found.2)
}

impl<'a> Stage<'a> {
    pub(crate) fn new(base: &'a Path, shared: &'a Shared, variant: u64) -> Stage<'a> {
        let bus = Bus::at(base, "bus").expect("a bus");
        Stage {
            base,
            shared,
            variant,
            stop_at: 0,
            kill_at: 0,
            end: End::Finished,
            stopped: false,
            bus,
            kind: Kind::Stream,
        }
    }

    /// Runs the scene in a directory of its own.
    pub(crate) fn run(
        base: &Path,
        shared: &Shared,
        scene: Scene,
        variant: u64,
        stop_at: u64,
        kill_at: u64,
    ) -> (End, bool) {
        let directory = tempfile::tempdir_in(base).expect("a directory");
        let mut stage = Stage::new(directory.path(), shared, variant);
        (stage.stop_at, stage.kill_at) = (stop_at, kill_at);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scene(&mut stage))) {
            eprintln!("in variant {variant}, stopped at {stop_at}, killed at {kill_at}");
            resume_unwind(panic);
        }
        (stage.end, stage.stopped)
    }

    /// Forks the actor. While it is stopped, `disturb` runs.
    pub(crate) fn act(&mut self, script: impl FnOnce(&Path, &Shared), mut disturb: impl FnMut()) {
        self.shared.clear();
        let (base, shared, stop_at, kill_at) = (self.base, self.shared, self.stop_at, self.kill_at);
        let mut actor = forked(|| {
            arm(stop_at, kill_at);
            script(base, shared);
            shared.set(STEPS, steps());
        });
        loop {
            self.end = actor.wait();
            if self.end != End::Stopped {
                return;
            }
            self.stopped = true;
            disturb();
            actor.signal(Signal::SIGCONT);
        }
    }

    /// Where the positions of this variant begin: at 0, just below a wrap, and just below a wrap
    /// far away.
    fn first(&self, kind: Kind) -> u64 {
        match (kind, self.variant % 3) {
            (_, 0) => 0,
            (Kind::Stream, 1) => CAPACITY * 5 - 400,
            (Kind::Stream, _) => (1 << 50) - 16,
            (_, 1) => SLOTS * 7 - 3,
            (_, _) => (1 << 47) - 2,
        }
    }

    pub(crate) fn channel(&mut self, kind: Kind) -> railbus::Channel {
        self.create(kind, 64)
    }

    fn create(&mut self, kind: Kind, consumers: u32) -> railbus::Channel {
        self.kind = kind;
        let options = ChannelOptions::new(kind).consumers_max(consumers).lock_memory(false);
        let options = options.first_position(self.first(kind)).pages(railbus::Pages::Ordinary);
        let options = match kind {
            Kind::Stream => options.capacity_bytes(CAPACITY),
            Kind::Queue | Kind::Topic | Kind::Table => options.slots(SLOTS).slot_bytes(128),
        };
        self.bus.create("c", &options).expect("a channel")
    }
}

pub(crate) const CHANNEL: &str = "bus/c";

fn sending() -> SendOptions {
    SendOptions::default()
}

fn working() -> WorkOptions {
    // Ends when everything that was ever pushed is done.
    WorkOptions::default().until_closed(true).grab(3)
}

/// Asks again while another holds a resource that will soon be free.
fn patiently<T>(mut ask: impl FnMut() -> railbus::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(Error::Busy { .. }) if start.elapsed() < HANG => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A reader with the events that it has seen.
struct Follower<R: ReadEnd> {
    reader: Reader<R>,
    seen: Vec<u64>,
    lost: u64,
}

impl<R: ReadEnd> Follower<R> {
    fn new(reader: Reader<R>) -> Follower<R> {
        Follower { reader, seen: Vec::new(), lost: 0 }
    }

    /// Reads the events that are there.
    fn drain(&mut self) {
        while self.receive(Duration::ZERO) {}
    }

    fn receive(&mut self, timeout: Duration) -> bool {
        match self.reader.recv_timeout(timeout) {
            Ok(event) => self.seen.push(number(&event)),
            Err(RecvError::Lost { events, .. }) => self.lost += events,
            Err(RecvError::TimedOut) => return false,
            Err(error) => panic!("{error}"),
        }
        true
    }

    /// Reads until the event `last` has come.
    fn until(&mut self, last: u64) {
        let start = Instant::now();
        while self.seen.last() != Some(&last) {
            self.receive(Duration::from_millis(20));
            assert!(start.elapsed() < HANG, "event {last} does not come; seen {:?}", self.seen);
        }
    }
}

/// The events of each source must be its first ones, in order. Returns how many there are of each.
fn sources(seen: &[u64]) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for &number in seen {
        let count = counts.entry(number / MILLION).or_insert(0);
        assert_eq!(number % MILLION, *count, "lost, repeated or out of order: {seen:?}");
        *count += 1;
    }
    counts
}

fn count(counts: &BTreeMap<u64, u64>, source: u64) -> u64 {
    counts.get(&source).copied().unwrap_or(0)
}

/// Publishes `count` events of `source`; `drain` makes room.
fn publish<R: PublishEnd>(
    sender: &mut Sender<R>,
    source: u64,
    from: u64,
    count: u64,
    mut drain: impl FnMut(),
) {
    let start = Instant::now();
    for n in from..from + count {
        let bytes = event(source * MILLION + n, 16 + (n as usize * 24) % 90);
        loop {
            match sender.try_publish(&bytes) {
                Ok(_) => break,
                Err(SendError::Full | SendError::NoWorker) => drain(),
                Err(error) => panic!("{error}"),
            }
            assert!(start.elapsed() < HANG, "no room for event {n} of {source}");
        }
    }
}

/// Events that the actor had committed must be there; those that it had begun may be.
fn check_actor(stage: &Stage<'_>, published: u64) {
    let (committed, begun) = (stage.shared.get(COMMITTED), stage.shared.get(BEGUN));
    assert!(
        (committed..=begun).contains(&published),
        "{committed} committed, {begun} begun, {published} seen"
    );
    if stage.end == End::Finished {
        assert_eq!(published, begun);
    }
}

// ---- the stream ----

fn stream_publisher(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Stream);
    let subscribe = |lossy| SubscribeOptions::default().lossy(lossy);
    let mut reliable = Follower::new(channel.subscriber(&subscribe(false)).unwrap());
    let mut lossy = Follower::new(channel.subscriber(&subscribe(true)).unwrap());
    let mut old = channel.publisher(&sending()).unwrap();
    publish(&mut old, OLD, 0, 3 + stage.variant * 2, || ());
    reliable.drain();
    drop(old);
    stage.act(publish_frames, || {
        assert!(matches!(channel.publisher(&sending()), Err(Error::Busy { .. }) | Ok(_)));
        reliable.receive(Duration::from_millis(6));
        reliable.drain();
    });
    let mut new = patiently(|| channel.publisher(&sending()));
    publish(&mut new, NEW, 0, 250, || reliable.drain());
    let mut late =
        Follower::new(channel.subscriber(&SubscribeOptions::default().start(Start::Oldest)).unwrap());
    publish(&mut new, NEW, 250, 100, || {
        reliable.drain();
        late.drain();
    });
    let last = NEW * MILLION + 349;
    reliable.until(last);
    late.until(last);
    lossy.until(last);
    let counts = sources(&reliable.seen);
    assert_eq!((count(&counts, OLD), count(&counts, NEW)), (3 + stage.variant * 2, 350));
    check_actor(stage, count(&counts, ACTOR));
    assert!(reliable.seen.ends_with(&late.seen));
    assert_eq!(lossy.lost + lossy.seen.len() as u64, reliable.seen.len() as u64, "an inexact loss report");
}

/// Singles, a frame after padding, a short commit, an abandoned claim, batches, and rescans on the
/// way.
fn publish_frames(base: &Path, shared: &Shared) {
    let part = Part::register(base, CHANNEL, Side::Producers, ROLE_PRODUCER, "").expect("a place");
    let core = StreamPublisher::take_over(part.stream_view(), part.registered.index);
    let mut core = core.expect("a sound stream");
    let next = Cell::new(0);
    let put = |core: &mut StreamPublisher<_>, claimed: usize, bytes: usize| {
        let claim = core.claim(claimed as u64).expect("room");
        let body = event(ACTOR * MILLION + next.get(), bytes);
        part.write(core.body_offset(claim), &body);
        next.set(next.get() + 1);
        shared.set(BEGUN, next.get());
        core.commit(claim, frame::header(bytes as u32, 0, 0));
        shared.set(COMMITTED, next.get());
    };
    put(&mut core, 16, 16);
    put(&mut core, 100, 100);
    put(&mut core, 600, 600);
    put(&mut core, 300, 24);
    let abandoned = core.claim(200).expect("room");
    part.write(core.body_offset(abandoned), &[0xEE; 200]);
    let batch = [40, 16, 333];
    let bodies: Vec<_> =
        (next.get()..).zip(batch).map(|(n, bytes)| event(ACTOR * MILLION + n, bytes)).collect();
    shared.set(BEGUN, next.get() + 3);
    let easy = core.publish_all_fast(bodies.iter().map(Vec::as_slice), |at, body| part.write(at, body));
    assert!(easy > 0, "a batch that is published one by one");
    next.set(next.get() + easy as u64);
    shared.set(COMMITTED, next.get());
    for &bytes in &batch[easy..] {
        put(&mut core, bytes, bytes);
    }
    put(&mut core, 16, 16);
    put(&mut core, 500, 500);
    put(&mut core, 31, 31);
    part.registry.leave(&part.registered, false);
}

fn stream_subscriber(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Stream);
    let durable = stage.variant >= 3;
    let mut publisher = channel.publisher(&sending()).unwrap();
    publish(&mut publisher, OLD, 0, 20, || ());
    let mut other = Follower::new(channel.subscriber(&SubscribeOptions::default()).unwrap());
    let mut published = 20;
    stage.act(
        move |base, shared| subscribe_frames(base, shared, durable),
        || published += disturb_by_publishing(&mut publisher, published, || other.drain()),
    );
    let named = SubscribeOptions::default().name("durable").durable(true).start(Start::Oldest);
    let resumed = durable.then(|| Follower::new(patiently(|| channel.subscriber(&named))));
    go_on_reading(stage, &mut publisher, published, &mut other, resumed);
}

/// Publishes up to four laps, as far as there is room. Returns how many events.
fn disturb_by_publishing<R: PublishEnd>(sender: &mut Sender<R>, from: u64, mut drain: impl FnMut()) -> u64 {
    for n in 0..300 {
        let bytes = event(OLD * MILLION + from + n, 16 + ((from + n) as usize * 24) % 90);
        match sender.publish_timeout(&bytes, Duration::from_millis(6)) {
            Ok(_) => drain(),
            Err(SendError::TimedOut) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    300
}

/// After the end of an actor that read: the others go on, and its name resumes where it must.
fn go_on_reading<O: PublishEnd, R: ReadEnd>(
    stage: &Stage<'_>,
    sender: &mut Sender<O>,
    published: u64,
    other: &mut Follower<R>,
    resumed: Option<Follower<R>>,
) {
    let Some(mut resumed) = resumed else {
        publish(sender, OLD, published, 300, || other.drain());
        other.until(published + 299);
        assert!(other.seen.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{:?}", other.seen);
        return;
    };
    publish(sender, OLD, published, 300, || {
        other.drain();
        resumed.drain();
    });
    other.until(published + 299);
    resumed.until(published + 299);
    assert!(other.seen.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{:?}", other.seen);
    // Events that the join had not yet protected may be lost, which is then reported.
    let gaps: u64 = resumed.seen.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
    let first = resumed.seen[0];
    // No event that was not polled is skipped, and no acknowledged event comes again.
    let (polled, acknowledged) = (stage.shared.get(BEGUN), stage.shared.get(ACKED));
    assert!(first >= acknowledged, "{first} came again, {acknowledged} were acknowledged");
    let skipped = if polled > 0 { first.saturating_sub(polled) } else { 0 };
    if stage.kind == Kind::Topic {
        // A loss is reported in tickets, some of which carried no event.
        assert!(skipped + gaps <= resumed.lost, "{polled} were read, and the name resumed at {first}");
    } else {
        assert_eq!(
            (skipped, gaps, resumed.lost),
            (0, 0, 0),
            "{polled} were read, the name resumed at {first}"
        );
    }
}

/// A durable subscription changes owners while the publisher moves.
fn stream_resumption(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Stream);
    let named = SubscribeOptions::default().name("durable").durable(true);
    let mut publisher = channel.publisher(&sending()).unwrap();
    let mut other = Follower::new(channel.subscriber(&SubscribeOptions::default()).unwrap());
    let mut before = Follower::new(channel.subscriber(&named).unwrap());
    // The cursor stops between the floor and the recent place: the resumption walks from the floor.
    publish(&mut publisher, OLD, 0, 40, || ());
    other.drain();
    for _ in 0..20 {
        assert!(before.receive(HANG));
    }
    drop(before);
    let mut published = 40;
    stage.act(
        |base, shared| {
            let policy = ROLE_SUBSCRIBER | DURABLE;
            let part = Part::register(base, CHANNEL, Side::Consumers, policy, "durable").expect("a place");
            let index = part.registered.index;
            let mut core = StreamSubscriber::new(part.stream_view(), index, false);
            core.resume(part.registered.resumed.expect("a cursor")).expect("a sound stream");
            assert_eq!(core.place().count, 20);
            shared.set(ACKED, 20);
            part.registry.leave(&part.registered, true);
        },
        || published += disturb_by_publishing(&mut publisher, published, || other.drain()),
    );
    let resumed = Some(Follower::new(patiently(|| channel.subscriber(&named))));
    go_on_reading(stage, &mut publisher, published, &mut other, resumed);
}

fn subscribe_frames(base: &Path, shared: &Shared, durable: bool) {
    let policy = ROLE_SUBSCRIBER | if durable { DURABLE } else { 0 };
    let part = Part::register(base, CHANNEL, Side::Consumers, policy, "durable").expect("a place");
    let mut core = StreamSubscriber::new(part.stream_view(), part.registered.index, false);
    core.join(Start::Oldest).expect("a sound stream");
    let mut expected = None;
    for round in 0..12 {
        let stream_subscriber::Poll::Event(found) = core.poll(|| ()) else { break };
        let bytes = frame::body_bytes(found.header) as usize;
        let read = number(&part.read(core.body_offset(found), bytes));
        assert!(expected.is_none_or(|expected| expected == read), "{expected:?} {read}");
        expected = Some(read + 1);
        shared.set(BEGUN, read + 1);
        if round % 4 == 3 {
            let _ = core.acknowledge();
            shared.set(ACKED, read + 1);
        }
    }
    let _ = core.acknowledge();
    part.registry.leave(&part.registered, durable);
    assert!(places::read(&part.ring, 1000).is_some());
}

// ---- the queue ----

fn queue_producer(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Queue);
    let mut worker = channel.worker(&working()).unwrap();
    let mut seen = Vec::new();
    let mut other = channel.producer(&sending()).unwrap();
    publish(&mut other, OLD, 0, 40, || ());
    take_all(&mut worker, &mut seen, 36);
    let mut published = 40;
    stage.act(push_slots::<false>, || {
        for _ in 0..5 {
            if other.publish_timeout(&event(published, 16), Duration::from_millis(6)).is_ok() {
                published += 1;
            }
            while let Ok(job) = worker.take_timeout(Duration::from_millis(6)) {
                seen.push(number(&job));
                let _ = job.done();
            }
        }
    });
    let mut new = channel.producer(&sending()).unwrap();
    for n in 0..3 * SLOTS {
        publish(&mut new, NEW, n, 1, || take_some(&mut worker, &mut seen));
        publish(&mut other, OLD, published + n, 1, || take_some(&mut worker, &mut seen));
    }
    drop((new, other));
    take_to_the_end(&mut worker, &mut seen);
    let counts = sources(&seen);
    assert_eq!((count(&counts, OLD), count(&counts, NEW)), (published + 3 * SLOTS, 3 * SLOTS));
    check_actor(stage, count(&counts, ACTOR));
}

/// Singles, an abort, a claim of several with one aborted in the middle, and a claim that is left
/// open.
fn push_slots<const TOPIC: bool>(base: &Path, shared: &Shared) {
    let part = Part::register(base, CHANNEL, Side::Producers, ROLE_PRODUCER, "").expect("a place");
    let mut core = producer_of::<TOPIC>(&part);
    let mut next = 0;
    let mut put = |core: &mut SlotProducer<_, TOPIC>, ticket: u64| {
        let bytes = 16 + next as usize * 7 % 90;
        part.write(core.body_offset(ticket), &event(ACTOR * MILLION + next, bytes));
        next += 1;
        shared.set(BEGUN, next);
        core.publish(ticket, frame::header(bytes as u32, 0, 0));
        shared.set(COMMITTED, next);
    };
    let claim = |core: &mut SlotProducer<_, TOPIC>, wanted| {
        let tickets = core.claim(wanted).expect("room");
        (tickets.first, tickets.count as u64)
    };
    for _ in 0..2 {
        let (ticket, _) = claim(&mut core, 1);
        put(&mut core, ticket);
    }
    let (ticket, _) = claim(&mut core, 1);
    core.abort(ticket);
    let (first, count) = claim(&mut core, 4);
    for i in 0..count {
        if i == 1 { core.abort(first + i) } else { put(&mut core, first + i) }
    }
    for _ in 0..2 {
        let (ticket, _) = claim(&mut core, 1);
        put(&mut core, ticket);
    }
    core.retract();
    // Left open: this actor ends with three tickets won and one of them published.
    let (first, _) = claim(&mut core, 3);
    put(&mut core, first + 1);
}

fn take_some(worker: &mut Worker, seen: &mut Vec<u64>) {
    if let Ok(job) = worker.take_timeout(Duration::from_millis(1)) {
        seen.push(number(&job));
        let _ = job.done();
    }
}

fn take_all(worker: &mut Worker, seen: &mut Vec<u64>, count: usize) {
    for _ in 0..count {
        let job = worker.take_timeout(HANG).expect("an event");
        seen.push(number(&job));
        let _ = job.done();
    }
}

/// Takes until every event of the queue is done.
fn take_to_the_end(worker: &mut Worker, seen: &mut Vec<u64>) {
    loop {
        match worker.take_timeout(HANG) {
            Ok(job) => {
                seen.push(number(&job));
                let _ = job.done();
            }
            Err(RecvError::Closed) => return,
            Err(error) => panic!("{error}; seen {seen:?}"),
        }
    }
}

fn producer_of<const TOPIC: bool>(part: &Part) -> SlotProducer<Deadly, TOPIC> {
    SlotProducer::new(part.slot_view(), part.registered.index)
}

pub(crate) fn worker_of(part: &Part) -> SlotWorker<Deadly> {
    SlotWorker::new(part.slot_view(), part.registered.index).with(part.stores)
}

fn queue_worker(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Queue);
    let mut producer = channel.producer(&sending()).unwrap();
    publish(&mut producer, OLD, 0, 24, || ());
    drop(producer.claim(16).unwrap());
    publish(&mut producer, OLD, 24, 4, || ());
    let mut other = (stage.variant >= 3).then(|| channel.worker(&working()).unwrap());
    let mut seen = Vec::new();
    let shared = stage.shared;
    stage.act(work, || {
        if let Some(other) = &mut other {
            take_beside(shared, other, &mut seen);
        }
    });
    let other = other.unwrap_or_else(|| channel.worker(&working()).unwrap());
    go_on_working(stage, producer, other, seen);
}

/// Takes the events beside a stopped worker: those that the stopped one holds are not handed out;
/// the rest are.
fn take_beside(shared: &Shared, other: &mut Worker, seen: &mut Vec<u64>) {
    while let Ok(job) = other.take_timeout(Duration::from_millis(12)) {
        let n = number(&job);
        assert_eq!(shared.get(EVENTS + n as usize), 0, "event {n} is in the hands of a stopped worker");
        seen.push(n);
        let _ = job.done();
    }
}

/// After the end of an actor that worked on the first 28 events: another goes on for laps, and does
/// the rest.
fn go_on_working(stage: &Stage<'_>, mut producer: railbus::Producer, mut other: Worker, mut seen: Vec<u64>) {
    for n in 28..28 + 3 * SLOTS {
        publish(&mut producer, OLD, n, 1, || take_some(&mut other, &mut seen));
    }
    drop(producer);
    take_to_the_end(&mut other, &mut seen);
    let mut times = vec![0u64; 28 + 3 * SLOTS as usize];
    seen.iter().for_each(|&n| times[n as usize] += 1);
    check_deliveries(stage, &times);
}

/// Each event is finished once: by the actor, or else by the survivors, which got it once.
fn check_deliveries(stage: &Stage<'_>, times: &[u64]) {
    for (n, &times) in times.iter().enumerate() {
        let said = if n < 28 { stage.shared.get(EVENTS + n) } else { 0 };
        match said {
            FINISHED => assert_eq!(times, 0, "event {n} was done, and came again"),
            FINISHING => assert!(times <= 1, "event {n} came {times} times after one death"),
            _ => assert_eq!(times, 1, "event {n} (the actor said {said}) came {times} times"),
        }
    }
}

/// Takes one and several, finishes in and out of order, hands back, takes handed-back ones, and
/// leaves some open.
fn work(base: &Path, shared: &Shared) {
    let part = Part::register(base, CHANNEL, Side::Consumers, ROLE_WORKER, "").expect("a place");
    let mut core = worker_of(&part);
    let read = |core: &SlotWorker<_>, taken: Taken| {
        let bytes = frame::body_bytes(core.header(taken.ticket)) as usize;
        number(&part.read(core.body_offset(taken.ticket), bytes)) as usize
    };
    let take = |core: &mut SlotWorker<_>, most: u32| {
        let taken = core.take(most, || DELAY_NS_MAX)?;
        let n = read(core, taken);
        shared.set(EVENTS + n, TAKEN);
        Some((taken, n))
    };
    let finish = |core: &mut SlotWorker<_>, (taken, n): (Taken, usize)| {
        shared.set(EVENTS + n, FINISHING);
        assert!(core.done(taken.ticket));
        shared.set(EVENTS + n, FINISHED);
    };
    for _ in 0..2 {
        let Some(one) = take(&mut core, 1) else { return };
        finish(&mut core, one);
    }
    let held: Vec<_> = std::iter::from_fn(|| take(&mut core, 4)).take(6).collect();
    for &one in held.iter().skip(2).rev() {
        finish(&mut core, one);
    }
    if let Some(&(taken, n)) = held.first() {
        shared.set(EVENTS + n, 0);
        core.retry(taken.ticket, |_, _| AT_ONCE);
    }
    if let Some(&(taken, n)) = held.get(1) {
        shared.set(EVENTS + n, 0);
        core.put_back(taken, |_, _| AT_ONCE);
    }
    for most in [1, 3] {
        let Some(one) = take(&mut core, most) else { return };
        finish(&mut core, one);
    }
    // Holds five, two of them under the claim word alone, one of them not looked at.
    let _open: Vec<_> = std::iter::from_fn(|| take(&mut core, 3)).take(5).collect();
    // Events that were handed back are not held any more.
    for n in 0..28 {
        if shared.get(EVENTS + n) == TAKEN {
            shared.set(EVENTS + n, 0);
        }
    }
    core.hand_back();
    part.registry.leave(&part.registered, false);
}

/// A worker dies while it holds events; the next registrant in its entry has to sweep them, and
/// dies at that.
fn sweeping_registrant(stage: &mut Stage<'_>) {
    let channel = stage.create(Kind::Queue, 1);
    let mut producer = channel.producer(&sending()).unwrap();
    publish(&mut producer, OLD, 0, 28, || ());
    let base = stage.base;
    // Events in all states: done, TAKEN by an earlier claim, under the claim word, and not taken.
    let mut first = forked(|| {
        let part = Part::register(base, CHANNEL, Side::Consumers, ROLE_WORKER, "").expect("a place");
        let mut core = worker_of(&part);
        for most in [1, 2, 4, 4] {
            let taken = core.take(most, || DELAY_NS_MAX).expect("an event");
            if most == 1 {
                core.done(taken.ticket);
            }
        }
        for _ in 0..5 {
            core.take(4, || DELAY_NS_MAX).expect("an event");
        }
    });
    assert_eq!(first.wait(), End::Finished);
    stage.act(work, || ());
    let other = patiently(|| channel.worker(&working()));
    go_on_working(stage, producer, other, vec![0]);
}

/// Events that were delivered as often as allowed: each becomes a dead letter.
const POISON: u64 = 6;
const MAX_ATTEMPTS: u32 = 2;

/// A worker dies while it writes dead letters, and while it holds events that are not to be buried
/// yet.
fn burying_worker(stage: &mut Stage<'_>) {
    stage.kind = Kind::Queue;
    let slots = |bytes| ChannelOptions::new(Kind::Queue).slots(SLOTS).slot_bytes(bytes).lock_memory(false);
    let first = stage.first(Kind::Queue);
    let letters = stage.bus.create("letters", &slots(256).first_position(first)).expect("a channel");
    let options = slots(128).first_position(first).max_attempts(MAX_ATTEMPTS);
    let queue = stage.bus.create("c", &options.dead_letters(Some("letters".into()))).expect("a channel");
    let mut producer = queue.producer(&sending()).unwrap();
    publish(&mut producer, OLD, 0, POISON, || ());
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    for _ in 0..POISON * MAX_ATTEMPTS as u64 {
        worker.take_timeout(HANG).expect("poison").retry();
    }
    // Half of the time the others are there from the beginning.
    let worker = (stage.variant >= 3).then_some(worker);
    publish(&mut producer, OLD, POISON, 28 - POISON, || ());
    stage.act(bury, || ());
    let mut other = worker.unwrap_or_else(|| queue.worker(&working()).unwrap());
    let mut seen = Vec::new();
    for n in 28..28 + 3 * SLOTS {
        publish(&mut producer, OLD, n, 1, || take_some(&mut other, &mut seen));
    }
    drop(producer);
    drop(other);
    take_to_the_end(&mut queue.worker(&working()).unwrap(), &mut seen);
    let mut times = vec![0u64; 28 + 3 * SLOTS as usize];
    seen.iter().for_each(|&n| times[n as usize] += 1);
    let (poison, fresh) = times.split_at(POISON as usize);
    assert!(poison.iter().all(|&times| times == 0), "delivered more than {MAX_ATTEMPTS} times");
    // As if the poison had been done: its end is a letter.
    let times: Vec<u64> = (0..POISON).map(|n| letter_due(stage, n)).chain(fresh.iter().copied()).collect();
    check_deliveries(stage, &times);
    let mut undertaker = letters.worker(&working()).unwrap();
    let mut written = Vec::new();
    take_to_the_end(&mut undertaker, &mut written);
    for n in 0..POISON {
        let letters = written.iter().filter(|&&letter| letter == n).count() as u64;
        // Killed between the letter and the done, it is written once more.
        let most = 1 + u64::from(stage.shared.get(EVENTS + n as usize) == FINISHING);
        assert!((1..=most).contains(&letters), "{letters} letters of event {n}, at most {most}");
    }
    assert!(written.iter().all(|&letter| letter < POISON), "{written:?}");
}

/// How often another participant than the actor had to end event `n`.
fn letter_due(stage: &Stage<'_>, n: u64) -> u64 {
    u64::from(stage.shared.get(EVENTS + n as usize) != FINISHED)
}

/// Takes events that were handed back, and buries them in the order in which a worker does; works
/// on the rest, and leaves some open.
fn bury(base: &Path, shared: &Shared) {
    let part = Part::register(base, CHANNEL, Side::Consumers, ROLE_WORKER, "").expect("a place");
    let grave = Part::register(base, "bus/letters", Side::Producers, ROLE_PRODUCER, "").expect("a place");
    let mut core = worker_of(&part);
    let mut letters = producer_of::<false>(&grave);
    for round in 0..POISON + 6 {
        let Some(taken) = core.take(1 + round as u32 % 3, || DELAY_NS_MAX) else { return };
        let body =
            part.read(core.body_offset(taken.ticket), frame::body_bytes(core.header(taken.ticket)) as usize);
        let n = number(&body) as usize;
        shared.set(EVENTS + n, TAKEN);
        if u32::from(taken.attempt) < MAX_ATTEMPTS {
            if round % 3 == 0 {
                shared.set(EVENTS + n, FINISHING);
                assert!(core.done(taken.ticket));
                shared.set(EVENTS + n, FINISHED);
            }
            continue;
        }
        let claim = letters.claim(1).expect("room").first;
        grave.write(letters.body_offset(claim), &body);
        assert!(!core.is_fenced());
        shared.set(EVENTS + n, FINISHING);
        letters.publish(claim, frame::header(body.len() as u32, 0, 0));
        assert!(core.done(taken.ticket));
        shared.set(EVENTS + n, FINISHED);
    }
    core.hand_back();
    // Events that were handed back are not held any more.
    for n in 0..28 {
        if shared.get(EVENTS + n) == TAKEN {
            shared.set(EVENTS + n, 0);
        }
    }
    part.registry.leave(&part.registered, false);
}

fn queue_tap(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Queue);
    let durable = stage.variant >= 3;
    let mut producer = channel.producer(&sending()).unwrap();
    let mut other = Follower::new(channel.tap(&SubscribeOptions::default()).unwrap());
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    publish(&mut producer, OLD, 0, 20, || ());
    let mut published = 20;
    stage.act(
        move |base, shared| read_slots(base, shared, ROLE_TAP, durable, Start::Live),
        || {
            let drain = || {
                other.drain();
                take_some(&mut worker, &mut Vec::new());
            };
            published += disturb_by_publishing(&mut producer, published, drain);
        },
    );
    let named = SubscribeOptions::default().name("durable").durable(true);
    let resumed = durable.then(|| Follower::new(patiently(|| channel.tap(&named))));
    go_on_tapping(stage, producer, worker, published, other, resumed);
}

/// After the end of a tap: the others go on. A worker goes on beside, so that only the taps can be
/// in the way.
fn go_on_tapping(
    stage: &Stage<'_>,
    mut producer: railbus::Producer,
    worker: Worker,
    published: u64,
    mut other: Follower<SlotReadEnd>,
    resumed: Option<Follower<SlotReadEnd>>,
) {
    let finished = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut worker = worker;
            while !finished.load(Ordering::Relaxed) {
                take_some(&mut worker, &mut Vec::new());
            }
        });
        let result = catch_unwind(AssertUnwindSafe(|| {
            go_on_reading(stage, &mut producer, published, &mut other, resumed);
        }));
        finished.store(true, Ordering::Relaxed);
        result
    });
    result.unwrap_or_else(|panic| resume_unwind(panic));
}

// ---- the topic ----

fn topic_publisher(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Topic);
    let subscribe = |lossy| SubscribeOptions::default().lossy(lossy);
    let mut one = Follower::new(channel.topic_subscriber(&subscribe(false)).unwrap());
    let two = Follower::new(channel.topic_subscriber(&subscribe(false)).unwrap());
    let lossy = Follower::new(channel.topic_subscriber(&subscribe(true)).unwrap());
    let mut other = channel.topic_publisher(&sending()).unwrap();
    publish(&mut other, OLD, 0, 40, || ());
    one.drain();
    let mut published = 40;
    stage.act(push_slots::<true>, || {
        for _ in 0..5 {
            if other.publish_timeout(&event(published, 16), Duration::from_millis(6)).is_ok() {
                published += 1;
            }
            one.receive(Duration::from_millis(6));
            one.drain();
        }
    });
    go_on_publishing(stage, &channel, other, published, [one, two, lossy]);
}

/// After the end of an actor that published: the others go on, and every subscriber has seen the same.
fn go_on_publishing(
    stage: &Stage<'_>,
    channel: &railbus::Channel,
    mut other: railbus::TopicPublisher,
    published: u64,
    followers: [Follower<SlotReadEnd>; 3],
) {
    let [mut one, mut two, mut lossy] = followers;
    let mut new = channel.topic_publisher(&sending()).unwrap();
    for n in 0..3 * SLOTS {
        publish(&mut new, NEW, n, 1, || {
            one.receive(Duration::from_millis(1));
            two.receive(Duration::from_millis(1));
        });
        publish(&mut other, OLD, published + n, 1, || {
            one.receive(Duration::from_millis(1));
            two.receive(Duration::from_millis(1));
        });
    }
    let last = published + 3 * SLOTS - 1;
    one.until(last);
    two.until(last);
    lossy.until(last);
    let counts = sources(&one.seen);
    assert_eq!((count(&counts, OLD), count(&counts, NEW)), (published + 3 * SLOTS, 3 * SLOTS));
    check_actor(stage, count(&counts, ACTOR));
    assert_eq!(one.seen, two.seen, "one total order");
    assert!(one.seen.ends_with(&lossy.seen[lossy.seen.len().saturating_sub(8)..]));
}

fn topic_subscriber(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Topic);
    let durable = stage.variant >= 3;
    let start = if stage.variant.is_multiple_of(2) { Start::Oldest } else { Start::Live };
    let mut publisher = channel.topic_publisher(&sending()).unwrap();
    publish(&mut publisher, OLD, 0, 20, || ());
    let mut other = Follower::new(channel.topic_subscriber(&SubscribeOptions::default()).unwrap());
    let mut published = 20;
    stage.act(
        move |base, shared| read_slots(base, shared, ROLE_SUBSCRIBER, durable, start),
        || published += disturb_by_publishing(&mut publisher, published, || other.drain()),
    );
    let named = SubscribeOptions::default().name("durable").durable(true);
    let resumed = durable.then(|| Follower::new(patiently(|| channel.topic_subscriber(&named))));
    go_on_reading(stage, &mut publisher, published, &mut other, resumed);
}

fn read_slots(base: &Path, shared: &Shared, role: u64, durable: bool, start: Start) {
    let policy = role | if durable { DURABLE } else { 0 };
    let part = Part::register(base, CHANNEL, Side::Consumers, policy, "durable").expect("a place");
    let mut core = SlotReader::new(part.slot_view(), part.registered.index);
    core.join(start, false).expect("a sound ring");
    if start == Start::Live {
        // The driver publishes.
        pause();
    }
    let mut copy = Vec::new();
    for round in 0..12 {
        let mut poll = || {
            loop {
                let protected = core.is_protected();
                let poll = if protected { core.poll(|| ()) } else { core.poll_lossy(&mut copy) };
                let over = poll == SlotPoll::Empty && core.is_stuck();
                if !(over && core.skip_orphan(&part.peers)) {
                    return (poll, protected);
                }
                shared.add(REPAIRED, 1);
            }
        };
        let (SlotPoll::Event(ticket, header), protected) = poll() else { break };
        let bytes = frame::body_bytes(header) as usize;
        let body = if protected {
            part.read(core.body_offset(ticket), bytes)
        } else {
            copy.iter().flat_map(|word| word.to_le_bytes()).take(bytes).collect()
        };
        let read = number(&body);
        shared.set(BEGUN, read + 1);
        if round % 4 == 3 {
            let _ = core.acknowledge();
            shared.set(ACKED, read + 1);
        }
    }
    let _ = core.acknowledge();
    part.registry.leave(&part.registered, durable);
}
