//! Keyed queues: events with one key are handled one after the other, in their order, and never two
//! at once, whichever worker hands back, leaves, or is killed with SIGKILL.
//!
//! The stories are random and checked against a simple model: an event that waits may be handed out
//! when no earlier one with its key waits or is held, and when there is such an event, a worker
//! that asks gets one. The kills are real: workers are forked, killed at random and replaced, and
//! write down their work in memory that survives them.
//!
//! A pass does not prove interleavings that do not happen here; those are for `loom_keyed` and
//! `crash_keyed`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestRunner};
use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Event, Kind, Pages, Producer, RecvError, SendOptions, Ticket,
    Wait, WorkOptions, Worker, key_of,
};

use crate::children::{role, say};
use crate::forks::{Shared, deep, drive, forked};

fn queue(base: &std::path::Path, options: impl FnOnce(ChannelOptions) -> ChannelOptions) -> Channel {
    let fresh = ChannelOptions::new(Kind::Queue).lock_memory(false).pages(Pages::Ordinary);
    let fresh = fresh.slots(64).slot_bytes(128).first_position(64 * 5 - 3).keyed(true);
    Bus::at(base, "bus").unwrap().create("c", &options(fresh)).unwrap()
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn put(producer: &mut Producer, number: u64, key: Option<u64>) {
    let attributes = Attributes::default().key(key);
    producer.publish_with(&number.to_le_bytes(), &attributes).unwrap();
}

fn number(event: &Event<'_>) -> u64 {
    u64::from_le_bytes(event.payload().try_into().unwrap())
}

fn take(worker: &mut Worker) -> Option<(Ticket, u64)> {
    let ticket = worker.take_ticket().unwrap()?;
    let number = number(&worker.event(ticket).unwrap());
    Some((ticket, number))
}

/// As [`take`], of an event whose time may not have come yet.
fn take_later(worker: &mut Worker) -> (Ticket, u64) {
    let ticket = worker.take_ticket_timeout(Duration::from_secs(60)).unwrap();
    let number = number(&worker.event(ticket).unwrap());
    (ticket, number)
}

#[test]
fn a_key_travels_and_a_stable_hash_makes_one_of_bytes() {
    // The published test vectors of 64-bit FNV-1a.
    assert_eq!((key_of(b""), key_of(b"foobar")), (0xcbf2_9ce4_8422_2325, 0x8594_4171_f739_67e8));
    let directory = directory();
    let channel = queue(directory.path(), |options| options.stamp(true));
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    for key in [Some(0), Some(u64::MAX), None] {
        producer.publish_with(b"x", &Attributes::typed(3).key(key)).unwrap();
        let job = worker.take().unwrap();
        assert_eq!((job.event().key(), job.event().type_id(), &*job), (key, 3, &b"x"[..]));
        assert!(job.event().published_ns().is_some());
        let _ = job.done();
    }
    assert!(channel.header().keyed);
}

#[test]
fn later_events_of_a_key_wait_for_earlier_ones_and_others_do_not() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut one = channel.worker(&WorkOptions::default()).unwrap();
    let mut two = channel.worker(&WorkOptions::default()).unwrap();
    for (number, key) in [(0, Some(7)), (1, Some(7)), (2, Some(9)), (3, None), (4, Some(7))] {
        put(&mut producer, number, key);
    }
    let (first, n) = take(&mut one).unwrap();
    assert_eq!(n, 0);
    let others = [take(&mut two).unwrap(), take(&mut two).unwrap()];
    assert_eq!(others.map(|(_, n)| n), [2, 3], "1 and 4 wait for 0, and hold nobody up");
    assert!(take(&mut two).is_none() && take(&mut one).is_none());
    // Handed back: it comes again before the later ones, with its attempt counted; they count none.
    assert!(one.retry(first));
    let (again, n) = take(&mut two).unwrap();
    assert_eq!((n, again.attempt()), (0, 2));
    assert!(take(&mut one).is_none());
    assert!(two.done(again));
    let (next, n) = take(&mut one).unwrap();
    assert_eq!((n, next.attempt()), (1, 1));
    assert!(take(&mut two).is_none());
    // Its worker leaves with it.
    drop(one);
    let (next, n) = take(&mut two).unwrap();
    assert_eq!((n, next.attempt()), (1, 2));
    assert!(two.done(next));
    let (last, n) = take(&mut two).unwrap();
    assert_eq!((n, last.attempt()), (4, 1));
}

#[test]
fn without_keyed_the_same_events_are_in_hand_at_once() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options.keyed(false));
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    put(&mut producer, 0, Some(7));
    put(&mut producer, 1, Some(7));
    assert_eq!([take(&mut worker).unwrap().1, take(&mut worker).unwrap().1], [0, 1]);
}

#[test]
fn a_worker_of_several_puts_aside_what_waits_for_its_own() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&WorkOptions::default().grab(16)).unwrap();
    for number in 0..10 {
        put(&mut producer, number, Some(number % 3));
    }
    let mut seen = Vec::new();
    let mut held = Vec::new();
    while seen.len() < 10 {
        while let Some((ticket, number)) = take(&mut worker) {
            seen.push(number);
            held.push(ticket);
        }
        assert!(held.len() <= 3, "one of each key: {seen:?}");
        held.drain(..).for_each(|ticket| assert!(worker.done(ticket)));
    }
    for key in 0..3 {
        assert!(seen.iter().filter(|&n| n % 3 == key).is_sorted(), "{seen:?}");
    }
}

#[test]
fn a_key_with_a_long_backlog_holds_no_other_key_up() {
    const BACKLOG: u64 = 3000;
    let directory = directory();
    let channel = queue(directory.path(), |options| options.slots(4096));
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut one = channel.worker(&WorkOptions::default()).unwrap();
    put(&mut producer, 0, Some(7));
    let (first, _) = take(&mut one).unwrap();
    (1..=BACKLOG).for_each(|number| put(&mut producer, number, Some(7)));
    put(&mut producer, BACKLOG + 1, Some(9));
    // A worker that only polls puts a part of them aside each time.
    let mut two = channel.worker(&WorkOptions::default()).unwrap();
    let polled = (0..10).find_map(|_| take(&mut two)).expect("the event of the other key");
    assert_eq!(polled.1, BACKLOG + 1);
    assert!(two.done(polled.0));
    // They come in their order, and none has counted an attempt.
    assert!(one.done(first));
    for number in 1..=BACKLOG {
        let worker = if number % 3 == 0 { &mut one } else { &mut two };
        let (ticket, found) = take(worker).unwrap();
        assert_eq!((found, ticket.attempt()), (number, 1));
        assert!(worker.done(ticket));
    }
    assert!(take(&mut one).is_none() && take(&mut two).is_none());
}

#[test]
fn who_waits_gets_the_event_of_another_key_behind_a_long_backlog() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options.slots(4096));
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut one = channel.worker(&WorkOptions::default()).unwrap();
    put(&mut producer, 0, Some(7));
    let (first, _) = take(&mut one).unwrap();
    (1..=3000).for_each(|number| put(&mut producer, number, Some(7)));
    put(&mut producer, 3001, None);
    let options = WorkOptions::default().wait(Wait::Park { spin: Duration::ZERO });
    let mut two = channel.worker(&options).unwrap();
    assert_eq!(take_later(&mut two).1, 3001);
    // As many as the ring has room for may wait.
    let filled = (3002..).take_while(|number: &u64| {
        let attributes = Attributes::default().key(Some(7));
        producer.try_publish_with(&number.to_le_bytes(), &attributes).is_ok()
    });
    assert_eq!(filled.count(), 4096 - 3002);
    assert_eq!(two.take_ticket_timeout(Duration::from_millis(50)), Err(RecvError::TimedOut));
    assert!(one.done(first));
    assert_eq!(take_later(&mut two).1, 1);
}

#[test]
fn a_key_whose_event_becomes_a_dead_letter_goes_on_and_the_letter_keeps_the_key() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options.max_attempts(2));
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    put(&mut producer, 0, Some(7));
    put(&mut producer, 1, Some(7));
    for _ in 0..2 {
        let (ticket, number) = take(&mut worker).unwrap();
        assert_eq!(number, 0);
        assert!(worker.retry(ticket));
    }
    let (ticket, n) = take(&mut worker).unwrap();
    assert_eq!((n, ticket.attempt()), (1, 1));
    let letters = channel.bus().attach("c.dead").unwrap();
    let mut reader = letters.worker(&WorkOptions::default()).unwrap();
    let letter = reader.take().unwrap();
    assert_eq!((number(&letter.event()), letter.event().key()), (0, Some(7)));
}

#[test]
fn a_worker_that_sleeps_is_woken_when_the_event_in_front_is_done_elsewhere() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut one = channel.worker(&WorkOptions::default()).unwrap();
    put(&mut producer, 0, Some(7));
    put(&mut producer, 1, Some(7));
    let (first, _) = take(&mut one).unwrap();
    let theirs = channel.clone();
    let sleeper = std::thread::spawn(move || {
        let options = WorkOptions::default().wait(Wait::Park { spin: Duration::ZERO });
        let mut two = theirs.worker(&options).unwrap();
        let job = two.take_timeout(Duration::from_secs(60)).unwrap();
        let number = number(&job.event());
        let _ = job.done();
        number
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(one.done(first));
    // The first worker does not take: the other one must.
    assert_eq!(sleeper.join().unwrap(), 1);
}

// ---- stories ----

/// A worker, and the events that it holds.
type Working = (Worker, Vec<(Ticket, u64)>);

/// The state of the model.
struct Story {
    channel: Channel,
    producer: Producer,
    next: u64,
    workers: Vec<Option<Working>>,
    /// Deliveries so far of each event that waits.
    waiting: BTreeMap<u64, u32>,
    /// The limits of each worker.
    options: [WorkOptions; 3],
}

/// Some events have no key; the others share a few.
fn key_of_number(number: u64) -> Option<u64> {
    (!number.is_multiple_of(5)).then_some(number * 7 % 3)
}

impl Story {
    fn new(base: &std::path::Path) -> Story {
        let channel = queue(base, |options| options);
        let producer = channel.producer(&SendOptions::default()).unwrap();
        let options = [(0, 0), (0, 3), (5, 0)]
            .map(|(in_hand_max, grab)| WorkOptions::default().in_hand_max(in_hand_max).grab(grab));
        Story {
            channel,
            producer,
            next: 0,
            workers: vec![None, None, None],
            waiting: BTreeMap::new(),
            options,
        }
    }

    fn may_run(&self, number: u64) -> bool {
        let Some(key) = key_of_number(number) else { return true };
        let held = self.workers.iter().flatten().flat_map(|(_, held)| held.iter().map(|&(_, n)| n));
        !self.waiting.keys().copied().chain(held).any(|n| n < number && key_of_number(n) == Some(key))
    }

    /// Events that a worker took in one grab are not available to others.
    fn grabs(&self) -> bool {
        self.workers[1].is_some()
    }

    fn step(&mut self, who: usize, what: u8, amount: u8) {
        if what < 90 {
            let attributes = Attributes::default().key(key_of_number(self.next));
            // Full: the oldest event is not done.
            if self.producer.try_publish_with(&self.next.to_le_bytes(), &attributes).is_ok() {
                self.waiting.insert(self.next, 0);
                self.next += 1;
            }
            return;
        }
        let (channel, options) = (&self.channel, &self.options[who]);
        let (worker, held) =
            self.workers[who].get_or_insert_with(|| (channel.worker(options).unwrap(), Vec::new()));
        let at = amount as usize % held.len().max(1);
        match what % 8 {
            0 if amount < 60 => {
                let (worker, held) = self.workers[who].take().unwrap();
                drop(worker);
                self.waiting.extend(held.into_iter().map(|(ticket, n)| (n, ticket.attempt())));
            }
            1 if !held.is_empty() => {
                let (ticket, number) = held.swap_remove(at);
                assert!(worker.retry(ticket));
                self.waiting.insert(number, ticket.attempt());
            }
            2..5 if !held.is_empty() => {
                let (ticket, _) = held.swap_remove(at);
                assert!(worker.done(ticket) && !worker.done(ticket));
            }
            _ => {
                if options.in_hand_max > 0 && worker.in_hand() == options.in_hand_max as usize {
                    assert_eq!(worker.take_ticket(), Err(RecvError::HandsFull));
                    return;
                }
                let taken = match take(worker) {
                    None if self.waiting.keys().any(|&number| self.may_run(number)) && !self.grabs() => {
                        // It was handed back more than once, and is not due yet.
                        let (worker, _) = self.workers[who].as_mut().expect("it takes");
                        Some(take_later(worker))
                    }
                    taken => taken,
                };
                let Some((ticket, number)) = taken else { return };
                assert!(self.may_run(number), "{number} was handed out before an earlier one was done");
                assert_eq!(self.waiting.remove(&number), Some(ticket.attempt() - 1), "{number}");
                if let Some((_, held)) = &mut self.workers[who] {
                    held.push((ticket, number));
                }
            }
        }
    }

    fn settle(mut self) {
        for who in 0..3 {
            if let Some((worker, held)) = self.workers[who].take() {
                drop(worker);
                self.waiting.extend(held.into_iter().map(|(ticket, n)| (n, ticket.attempt())));
            }
        }
        let mut worker = self.channel.worker(&WorkOptions::default()).unwrap();
        while !self.waiting.is_empty() {
            let (ticket, number) = take_later(&mut worker);
            assert!(self.may_run(number), "{number}");
            assert_eq!(self.waiting.remove(&number), Some(ticket.attempt() - 1), "{number}");
            assert!(worker.done(ticket));
        }
        assert!(take(&mut worker).is_none());
    }
}

#[test]
fn random_stories_agree_with_a_simple_model() {
    let cases = if deep() { 2000 } else { 100 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let steps = vec((0..3usize, any::<u8>(), any::<u8>()), 1..400);
    let told = TestRunner::new(config).run(&steps, |steps| {
        let directory = directory();
        let mut story = Story::new(directory.path());
        steps.into_iter().for_each(|(who, what, amount)| story.step(who, what, amount));
        story.settle();
        Ok(())
    });
    told.unwrap_or_else(|failure| panic!("{failure}"));
}

// ---- kills ----

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    match role.as_str() {
        "kills" => kills(&base, true),
        "kills without the rule" => kills(&base, false),
        _ => panic!("{role}?"),
    }
}

const KEYS: u64 = 5;
/// How many events each key has.
const EACH: u64 = 2000;
/// Shared words: by key, how many events are finished; by key, which worker is at it; which rule
/// was broken; how many hand-outs.
const FINISHED: usize = 0;
const AT_IT: usize = 16;
const BROKEN: usize = 32;
const HANDED_OUT: usize = 33;

/// A worker: writes down that it is at a key, does a little, and checks that no other has come
/// between.
fn work(base: &std::path::Path, shared: &Shared, token: u64) {
    let options = WorkOptions::default().until_closed(true);
    let mut worker = Bus::at(base, "bus").unwrap().attach("c").unwrap().worker(&options).unwrap();
    let mut turn = 0;
    loop {
        let job = match worker.take() {
            Ok(job) => job,
            Err(RecvError::Closed) => return,
            Err(error) => panic!("{error}"),
        };
        let (key, number) = (job.event().key().unwrap() as usize, number(&job.event()));
        shared.add(HANDED_OUT, 1);
        turn += 1;
        let mine = token << 32 | turn;
        // A worker that was killed here has left its mark, and its event is this one.
        let is_at_it = shared.get(AT_IT + key);
        let finished = shared.get(FINISHED + key);
        if is_at_it != 0 && job.attempt() == 1 || finished != number && finished != number + 1 {
            shared.add(BROKEN, 1);
        }
        shared.set(AT_IT + key, mine);
        for _ in 0..number % 7 * 40 {
            std::hint::spin_loop();
        }
        if number.is_multiple_of(11) {
            std::thread::yield_now();
        }
        if shared.get(AT_IT + key) != mine {
            shared.add(BROKEN, 1);
        }
        if number.is_multiple_of(13) && job.attempt() == 1 {
            shared.set(AT_IT + key, 0);
            job.retry();
            continue;
        }
        shared.set(FINISHED + key, number + 1);
        shared.set(AT_IT + key, 0);
        let _ = job.done();
    }
}

/// Forks workers, kills and replaces them while events are published, and reads what they wrote
/// down.
fn kills(base: &std::path::Path, keyed: bool) {
    let shared = Shared::new();
    let channel = queue(base, |options| options.slots(256).keyed(keyed));
    let mut producer = Some(channel.producer(&SendOptions::default()).unwrap());
    let mut tokens = 0;
    let mut start = || {
        tokens += 1;
        forked(|| work(base, &shared, tokens))
    };
    let mut workers: Vec<_> = (0..3).map(|_| start()).collect();
    let (mut published, mut killed) = (0, 0u64);
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let begun = Instant::now();
    while workers.iter().len() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(100), "it does not come to an end");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        for _ in 0..random >> 59 {
            if published == KEYS * EACH {
                producer = None;
                break;
            }
            let Some(producer) = &mut producer else { break };
            // One key is hot at a time, so that many wait for one.
            let attributes = Attributes::keyed(published / 10 % KEYS);
            let number = published / (KEYS * 10) * 10 + published % 10;
            match producer.try_publish_with(&number.to_le_bytes(), &attributes) {
                Ok(_) => published += 1,
                Err(_) => break,
            }
        }
        std::thread::sleep(Duration::from_micros(300));
        if producer.is_some() && random >> 40 & 3 == 0 {
            let which = (random >> 44) as usize % workers.len();
            workers[which].shoot();
            workers[which].wait();
            workers[which] = start();
            killed += 1;
        }
        if producer.is_none() {
            workers.retain_mut(|worker| worker.poll().is_none());
        }
    }
    let (broken, handed_out) = (shared.get(BROKEN), shared.get(HANDED_OUT));
    let finished: Vec<_> = (0..KEYS as usize).map(|key| shared.get(FINISHED + key)).collect();
    if keyed {
        assert_eq!(broken, 0, "two workers were at one key, or out of order");
        assert_eq!(finished, [EACH; KEYS as usize]);
    } else {
        assert!(broken > 0, "without the rule nobody came between anybody");
    }
    assert!(killed > 20 && handed_out >= KEYS * EACH, "{killed} kills, {handed_out} hand-outs");
    say(format!("{killed} kills, {handed_out} hand-outs, {broken} out of order").as_bytes());
}

#[test]
fn keys_keep_their_order_while_workers_are_killed() {
    drive("kills");
}

#[test]
fn without_the_rule_they_do_not() {
    drive("kills without the rule");
}
