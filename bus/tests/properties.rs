//! Random stories, checked against a simple model, for all three kinds.
//!
//! Every participant is a process of its own that does what it is told, one thing at a time, and may be killed in
//! between (also with a claim open or events in hand). Because one thing happens at a time, the model is a list of
//! events and, for each reader, a place in it. Rings are small and begin just below a wrap.
//!
//! What it leaves out: concurrency, which is for loom, `kill_points` and `kill_random`.

mod children;
mod forks;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use children::{role, say};
use forks::{Forked, deep, drive, event, forked, number};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use railbus::inlet::Inlet;
use railbus::outlet::Outlet;
use railbus::reader::Reader;
use railbus::sender::Sender;
use railbus::{
    Bus, Channel, ChannelOptions, Kind, Pages, RecvError, SendError, SendOptions, Start, SubscribeOptions,
    WorkOptions, Worker,
};

/// What takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let kind: Kind = role.parse().expect("a kind");
    let cases = if deep() { 2000 } else { 60 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let steps = vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..80);
    let told = TestRunner::new(config).run(&steps, |steps| {
        let directory = tempfile::tempdir_in(&base).unwrap();
        let bus = Bus::at(directory.path(), "bus").unwrap();
        let story = || match kind {
            Kind::Stream | Kind::Topic => Log::new(&bus, kind).tell(&steps),
            Kind::Queue => Jobs::new(&bus).tell(&steps),
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(story))
            .map_err(|panic| TestCaseError::fail(text(panic.as_ref())))
    });
    told.unwrap_or_else(|failure| panic!("{failure}"));
    say(format!("{cases} stories").as_bytes());
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned())
}

// ---- participants that do as they are told ----

const PUBLISH: u64 = 0;
const BATCH: u64 = 1;
const SHORT_COMMIT: u64 = 2;
const ABORT: u64 = 3;
const LEAVE_OPEN: u64 = 4;
const READ: u64 = 5;
const READ_BATCH: u64 = 6;
const ACKNOWLEDGE: u64 = 7;
const TAKE: u64 = 8;
const DONE: u64 = 9;
const RETRY: u64 = 10;
const LEAVE: u64 = 11;

/// Whether there is something to read is not known.
const PERHAPS: u64 = u64::MAX;

/// What an answer says besides numbers.
const FULL: u64 = u64::MAX;
const LOST: u64 = u64::MAX - 1;
const REFUSED: u64 = u64::MAX - 2;

/// A process with a handle.
struct Servant {
    process: Forked,
    pipe: UnixStream,
}

impl Servant {
    /// Forks one that opens its handle and says so, or that it was refused.
    fn start(serve: impl FnOnce(&mut Pipe)) -> Servant {
        let (pipe, theirs) = UnixStream::pair().unwrap();
        pipe.set_read_timeout(Some(HANG * 2)).unwrap();
        let process = forked(move || serve(&mut Pipe(theirs)));
        Servant { process, pipe }
    }

    fn tell(&mut self, what: u64, a: u64, b: u64) {
        let mut bytes = Vec::new();
        [what, a, b].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        self.pipe.write_all(&bytes).unwrap();
    }

    fn answer(&mut self) -> Vec<u64> {
        let mut word = [0; 8];
        let mut next = || {
            self.pipe.read_exact(&mut word).expect("an answer");
            u64::from_le_bytes(word)
        };
        let count = next();
        (0..count).map(|_| next()).collect()
    }

    fn ask(&mut self, what: u64, a: u64, b: u64) -> Vec<u64> {
        self.tell(what, a, b);
        self.answer()
    }

    fn crash(mut self) {
        self.process.shoot();
        self.process.wait();
    }

    fn leave(mut self) {
        self.tell(LEAVE, 0, 0);
        self.process.wait();
    }
}

/// The servant's end.
struct Pipe(UnixStream);

impl Pipe {
    fn told(&mut self) -> [u64; 3] {
        let mut bytes = [0; 24];
        self.0.read_exact(&mut bytes).expect("orders");
        std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|j| bytes[i * 8 + j])))
    }

    fn say(&mut self, words: &[u64]) {
        let mut bytes = (words.len() as u64).to_le_bytes().to_vec();
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        self.0.write_all(&bytes).unwrap();
    }

    /// Opens a handle; says whether that worked.
    fn open<T>(&mut self, handle: railbus::Result<T>) -> Option<T> {
        self.say(&[if handle.is_ok() { 0 } else { REFUSED }]);
        handle.ok()
    }
}

/// Says how many events it has published; `bytes` is what single events have.
fn serve_sender<R: Outlet>(pipe: &mut Pipe, mut sender: Sender<R>) {
    loop {
        let [what, first, amount] = pipe.told();
        let bytes = 16 + amount as usize % (sender.payload_max() / 2);
        let published = match what {
            PUBLISH => match sender.try_publish(&event(first, bytes)) {
                Ok(_) => 1,
                Err(SendError::Full | SendError::NoWorker) => FULL,
                Err(error) => panic!("{error}"),
            },
            BATCH => {
                let batch: Vec<_> = (0..1 + amount % 7).map(|n| event(first + n, 24)).collect();
                sender.try_publish_batch(&batch).unwrap() as u64
            }
            SHORT_COMMIT => match sender.try_claim(bytes) {
                Ok(mut claim) => {
                    claim[..16].copy_from_slice(&event(first, 16));
                    claim.commit_bytes(16);
                    1
                }
                Err(_) => FULL,
            },
            ABORT => {
                drop(sender.try_claim(bytes));
                0
            }
            LEAVE_OPEN => {
                std::mem::forget(sender.try_claim(bytes));
                0
            }
            _ => return,
        };
        pipe.say(&[published]);
    }
}

/// Says the numbers it has read, and after [`LOST`] how many it has lost.
fn serve_reader<R: Inlet>(pipe: &mut Pipe, mut reader: Reader<R>) {
    loop {
        let [what, most, there] = pipe.told();
        let mut words = Vec::new();
        match what {
            READ => {
                for i in 0..most {
                    // Where the model knows of an event, what is in its way must be stepped over in time.
                    let timeout = match there {
                        PERHAPS => Duration::from_millis(20),
                        _ if i < there => HANG,
                        _ => Duration::ZERO,
                    };
                    match reader.recv_timeout(timeout) {
                        Ok(event) => words.push(number(&event)),
                        Err(RecvError::Lost { events, .. }) => words.extend([LOST, events]),
                        Err(RecvError::TimedOut) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            READ_BATCH => match reader.batch(most as usize) {
                Ok(batch) => words.extend(batch.iter().map(|event| number(&event))),
                Err(RecvError::Lost { events, .. }) => words.extend([LOST, events]),
                Err(error) => panic!("{error}"),
            },
            ACKNOWLEDGE => reader.acknowledge(),
            _ => return,
        }
        pipe.say(&words);
    }
}

/// Says the number and the attempt of what it was given.
fn serve_worker(pipe: &mut Pipe, mut worker: Worker) {
    let mut held = Vec::new();
    loop {
        let [what, which, there] = pipe.told();
        let mut words = Vec::new();
        match what {
            TAKE => {
                let timeout = if there > 0 { HANG } else { Duration::ZERO };
                match worker.take_ticket_timeout(timeout) {
                    Ok(ticket) => {
                        words.extend([number(&worker.event(ticket).unwrap()), ticket.attempt() as u64]);
                        held.push(ticket);
                    }
                    Err(RecvError::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            DONE => {
                let ticket = held.remove(which as usize);
                words.push(worker.done(ticket).into());
                assert!(!worker.done(ticket) && worker.event(ticket).is_none());
            }
            RETRY => words.push(worker.retry(held.remove(which as usize)).into()),
            _ => return,
        }
        pipe.say(&words);
    }
}

fn create(bus: &Bus, kind: Kind) -> Channel {
    let options = ChannelOptions::new(kind).lock_memory(false).pages(Pages::Ordinary).consumers_max(6);
    let options = match kind {
        Kind::Stream => options.capacity_bytes(4096).first_position(4096 * 3 - 200),
        _ => options.producers_max(3).slots(64).slot_bytes(128).first_position(64 * 5 - 3),
    };
    bus.create("c", &options).unwrap()
}

// ---- stream and topic: a list of events, and places in it ----

struct Follower {
    servant: Option<Servant>,
    lossy: bool,
    durable: bool,
    /// The next event's place in the log; unknown after a join at the oldest and after a loss.
    next: Option<usize>,
    /// A durable subscription resumes at or behind this.
    acknowledged: usize,
    /// It was killed: it resumes anywhere from there to where it was.
    resumes_by: Option<usize>,
    /// How many events, and tickets without one, it was told are lost before the next.
    may_skip: usize,
}

struct Log<'a> {
    bus: &'a Bus,
    kind: Kind,
    events: Vec<u64>,
    numbers: u64,
    senders: [Option<Servant>; 2],
    followers: Vec<Follower>,
}

impl<'a> Log<'a> {
    fn new(bus: &'a Bus, kind: Kind) -> Log<'a> {
        create(bus, kind);
        let follower = |lossy, durable| Follower {
            servant: None,
            lossy,
            durable,
            next: None,
            acknowledged: 0,
            resumes_by: None,
            may_skip: 0,
        };
        let followers = vec![follower(false, false), follower(true, false), follower(false, true)];
        Log { bus, kind, events: Vec::new(), numbers: 0, senders: [None, None], followers }
    }

    fn tell(&mut self, steps: &[(u8, u8, u8)]) {
        for &(who, what, amount) in steps {
            match who % 5 {
                0 | 1 => self.send(who as usize / 5, what, amount),
                _ => self.follow(who as usize % 5 - 2, what, amount),
            }
        }
        self.settle();
    }

    fn sender(&mut self, which: usize) -> &mut Servant {
        // A stream has one publisher.
        let which = if self.kind == Kind::Stream { 0 } else { which % 2 };
        let (bus, kind) = (self.bus, self.kind);
        self.senders[which].get_or_insert_with(|| {
            let mut servant = Servant::start(|pipe| {
                let channel = bus.attach("c").unwrap();
                let options = SendOptions::default();
                match kind {
                    Kind::Stream => pipe.open(channel.publisher(&options)).map(|it| serve_sender(pipe, it)),
                    _ => pipe.open(channel.topic_publisher(&options)).map(|it| serve_sender(pipe, it)),
                };
            });
            assert_eq!(servant.answer(), [0], "a publisher's place is free when the last has gone");
            servant
        })
    }

    fn send(&mut self, which: usize, what: u8, amount: u8) {
        let which = if self.kind == Kind::Stream { 0 } else { which % 2 };
        let first = self.numbers;
        let what = match what % 16 {
            0 => return self.senders[which].take().map_or((), Servant::crash),
            1 => return self.senders[which].take().map_or((), Servant::leave),
            2 => {
                self.sender(which).ask(LEAVE_OPEN, first, amount.into());
                return self.senders[which].take().map_or((), Servant::crash);
            }
            3 => ABORT,
            4 => SHORT_COMMIT,
            5..8 => BATCH,
            _ => PUBLISH,
        };
        let published = self.sender(which).ask(what, first, amount.into())[0];
        if published != FULL {
            self.events.extend(first..first + published);
            self.numbers += published;
        }
    }

    fn follow(&mut self, which: usize, what: u8, amount: u8) {
        if self.followers[which].servant.is_none() {
            self.join(which, what);
            return;
        }
        let most = 1 + amount as u64 % 40;
        let follower = &mut self.followers[which];
        let servant = follower.servant.as_mut().expect("joined");
        match what % 12 {
            0 => {
                follower.resumes_by = follower.next.or(Some(self.events.len()));
                if let Some(servant) = follower.servant.take() {
                    servant.crash();
                }
            }
            1 => {
                // What was polled is acknowledged by leaving.
                follower.acknowledged = follower.next.unwrap_or(follower.acknowledged);
                follower.resumes_by = follower.next.or(Some(self.events.len()));
                if let Some(servant) = follower.servant.take() {
                    servant.leave();
                }
            }
            2 => {
                servant.ask(ACKNOWLEDGE, 0, 0);
                follower.acknowledged = follower.next.unwrap_or(follower.acknowledged);
            }
            3..6 => {
                let words = servant.ask(READ_BATCH, most, 0);
                self.check(which, &words);
                let follower = &mut self.followers[which];
                follower.acknowledged = follower.next.unwrap_or(follower.acknowledged);
            }
            _ => {
                let known = follower.next.is_some() && !follower.lossy;
                let there = follower.next.map_or(0, |next| (self.events.len() - next) as u64);
                let words = servant.ask(READ, most, if follower.lossy { 0 } else { there });
                self.check(which, &words);
                let next = self.followers[which].next.unwrap_or(self.events.len());
                let ended = (words.len() as u64) < most && !words.contains(&LOST);
                // Otherwise it may be behind an orphan, which takes a wait to step over.
                if ended && known {
                    assert_eq!(next, self.events.len(), "a reader does not see what was published");
                }
            }
        }
    }

    fn join(&mut self, which: usize, what: u8) {
        let follower = &mut self.followers[which];
        let start = if what.is_multiple_of(2) { Start::Live } else { Start::Oldest };
        let name = if follower.durable { "durable".to_owned() } else { String::new() };
        let (lossy, durable) = (follower.lossy, follower.durable);
        let options = SubscribeOptions { name, lossy, durable, start, ..SubscribeOptions::default() };
        let (bus, kind) = (self.bus, self.kind);
        let mut servant = Servant::start(|pipe| {
            let channel = bus.attach("c").unwrap();
            match kind {
                Kind::Stream => pipe.open(channel.subscriber(&options)).map(|it| serve_reader(pipe, it)),
                _ => pipe.open(channel.topic_subscriber(&options)).map(|it| serve_reader(pipe, it)),
            };
        });
        assert_eq!(servant.answer(), [0], "a reader may join at any time");
        follower.servant = Some(servant);
        if durable && follower.resumes_by.is_some() {
            follower.next = None;
        } else {
            follower.next = (start == Start::Live).then_some(self.events.len());
            follower.may_skip = 0;
            follower.acknowledged = 0;
        }
    }

    /// What a reader has read follows on what it had read before.
    fn check(&mut self, which: usize, words: &[u64]) {
        let topic = self.kind == Kind::Topic;
        let follower = &mut self.followers[which];
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            if word == LOST {
                let events = *words.next().expect("a count") as usize;
                // A reliable topic reader may lose what lay before its join.
                assert!(follower.lossy || topic, "a reliable reader has lost {events} events");
                if topic {
                    follower.may_skip += events;
                } else {
                    follower.next = follower.next.map(|next| next + events);
                }
                continue;
            }
            let place = self.events.iter().position(|&event| event == word).expect("nobody published it");
            let may_skip = std::mem::take(&mut follower.may_skip);
            match (follower.next, follower.resumes_by.take()) {
                (Some(next), _) => {
                    assert!((next..=next + may_skip).contains(&place), "read {place}, expected {next}");
                }
                (None, Some(by)) if follower.durable => {
                    let least = follower.acknowledged;
                    assert!((least..=by + may_skip).contains(&place), "resumed at {place}: {least} to {by}");
                }
                (None, _) => {}
            }
            follower.next = Some(place + 1);
        }
    }

    /// Everybody who is still there reads to the end; then the ring is free for laps.
    fn settle(&mut self) {
        for which in 0..self.followers.len() {
            let durable = self.followers[which].durable && self.followers[which].resumes_by.is_some();
            if self.followers[which].servant.is_none() && durable {
                self.join(which, 1);
            }
        }
        for _ in 0..200 {
            let first = self.numbers;
            let published = self.sender(0).ask(PUBLISH, first, 30)[0];
            if published == FULL {
                for which in 0..self.followers.len() {
                    self.read_all(which);
                }
            } else {
                self.events.push(first);
                self.numbers += 1;
            }
        }
        assert!(self.events.len() >= 64, "nobody was in the way, and there was no room");
        for which in 0..self.followers.len() {
            self.read_all(which);
        }
        for sender in &mut self.senders {
            if let Some(servant) = sender.take() {
                servant.leave();
            }
        }
    }

    fn read_all(&mut self, which: usize) {
        let start = std::time::Instant::now();
        while let Some(servant) = &mut self.followers[which].servant {
            let words = servant.ask(READ, 1, 0);
            self.check(which, &words);
            if words.is_empty() && self.followers[which].next == Some(self.events.len()) {
                return;
            }
            if words.is_empty() {
                // An orphan may be in its way.
                let words = self.followers[which].servant.as_mut().expect("there").ask(READ, 1, PERHAPS);
                self.check(which, &words);
                if words.is_empty() && self.followers[which].next.is_none() {
                    return;
                }
            }
            assert!(start.elapsed() < HANG, "reader {which} does not come to the end");
        }
    }
}

// ---- the queue: each event waits, is in somebody's hands, or is done ----

/// An event in a worker's hands: number and attempt.
type Held = (u64, u64);

struct Jobs<'a> {
    bus: &'a Bus,
    numbers: u64,
    /// Deliveries so far of each event that is not done and in nobody's hands.
    waiting: BTreeMap<u64, u64>,
    producers: [Option<Servant>; 2],
    /// Each with what it holds.
    workers: [Option<(Servant, Vec<Held>)>; 2],
}

impl<'a> Jobs<'a> {
    fn new(bus: &'a Bus) -> Jobs<'a> {
        create(bus, Kind::Queue);
        Jobs { bus, numbers: 0, waiting: BTreeMap::new(), producers: [None, None], workers: [None, None] }
    }

    fn tell(&mut self, steps: &[(u8, u8, u8)]) {
        for &(who, what, amount) in steps {
            match who % 4 {
                0 | 1 => self.produce(who as usize % 4, what, amount),
                _ => self.work(who as usize % 4 - 2, what, amount),
            }
        }
        self.settle();
    }

    fn producer(&mut self, which: usize) -> &mut Servant {
        let bus = self.bus;
        self.producers[which].get_or_insert_with(|| {
            let mut servant = Servant::start(|pipe| {
                let producer = bus.attach("c").unwrap().producer(&SendOptions::default());
                if let Some(producer) = pipe.open(producer) {
                    serve_sender(pipe, producer);
                }
            });
            assert_eq!(servant.answer(), [0]);
            servant
        })
    }

    fn produce(&mut self, which: usize, what: u8, amount: u8) {
        let first = self.numbers;
        let what = match what % 16 {
            0 => return self.producers[which].take().map_or((), Servant::crash),
            1 => return self.producers[which].take().map_or((), Servant::leave),
            2 => {
                self.producer(which).ask(LEAVE_OPEN, first, amount.into());
                return self.producers[which].take().map_or((), Servant::crash);
            }
            3 => ABORT,
            4 => SHORT_COMMIT,
            5..8 => BATCH,
            _ => PUBLISH,
        };
        let published = self.producer(which).ask(what, first, amount.into())[0];
        if published != FULL {
            self.waiting.extend((first..first + published).map(|n| (n, 0)));
            self.numbers += published;
        }
    }

    fn work(&mut self, which: usize, what: u8, amount: u8) {
        let bus = self.bus;
        let (worker, held) = self.workers[which].get_or_insert_with(|| {
            let mut servant = Servant::start(|pipe| {
                let worker = bus.attach("c").unwrap().worker(&WorkOptions::default());
                if let Some(worker) = pipe.open(worker) {
                    serve_worker(pipe, worker);
                }
            });
            assert_eq!(servant.answer(), [0], "a worker may come at any time");
            (servant, Vec::new())
        });
        let some = |held: &Vec<Held>| amount as usize % held.len();
        match what % 16 {
            0 | 1 => {
                // Whether it leaves or dies: what it holds is delivered again, with the attempt counted.
                let (servant, held) = self.workers[which].take().expect("there");
                self.waiting.extend(held);
                if what.is_multiple_of(16) { servant.crash() } else { servant.leave() }
            }
            2 | 3 if !held.is_empty() => {
                let at = some(held);
                assert_eq!(worker.ask(RETRY, at as u64, 0), [1]);
                let (number, attempt) = held.remove(at);
                self.waiting.insert(number, attempt);
            }
            4..9 if !held.is_empty() => {
                let at = some(held);
                assert_eq!(worker.ask(DONE, at as u64, 0), [1]);
                held.remove(at);
            }
            _ => {
                let words = worker.ask(TAKE, 0, self.waiting.len() as u64);
                match words[..] {
                    [] => assert!(self.waiting.is_empty(), "events wait, and a worker gets none"),
                    [number, attempt] => {
                        let before = self.waiting.remove(&number);
                        assert_eq!(before, Some(attempt - 1), "event {number} at attempt {attempt}");
                        held.push((number, attempt));
                    }
                    _ => panic!("{words:?}"),
                }
            }
        }
    }

    /// Everything is done in the end, and the ring is free for laps.
    fn settle(&mut self) {
        for _ in 0..3 * 64 {
            self.produce(0, PUBLISH as u8 + 15, 20);
            while self.workers[0].as_ref().is_none_or(|(_, held)| !held.is_empty())
                || !self.waiting.is_empty()
            {
                if self.workers[0].as_ref().is_some_and(|(_, held)| !held.is_empty()) {
                    self.work(0, 4, 0);
                } else {
                    self.work(0, 15, 0);
                }
            }
            // What the other still holds comes back when it leaves.
            if let Some((servant, held)) = self.workers[1].take() {
                self.waiting.extend(held);
                servant.leave();
            }
        }
        assert!(self.numbers >= 64, "nobody was in the way, and there was no room");
    }
}

#[test]
fn a_stream_is_a_log_with_places() {
    drive("stream");
}

#[test]
fn a_topic_is_a_log_with_places() {
    drive("topic");
}

#[test]
fn a_queue_hands_each_event_to_one_until_it_is_done() {
    drive("queue");
}
