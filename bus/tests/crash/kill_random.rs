//! SIGKILL at random moments, under load, several at once, with the whole history of each
//! participant checked.
//!
//! Each producer numbers its events and writes down, in memory that outlives it, which it has begun
//! and which it has committed. Each reader and worker writes down the events that it got. A killed
//! actor is replaced at once, so that registering, taking over and sweeping happen under fire too,
//! and are themselves killed. The moments come from a seed, which is printed; `RAILBUS_SEED`
//! chooses it. The moments are the same then, but not their effects.

use std::path::Path;
use std::time::{Duration, Instant};

use railbus::{
    Bus, Channel, ChannelOptions, Kind, Pages, RecvError, SendOptions, Start, SubscribeOptions, WorkOptions,
};

use crate::children::{role, say};
use crate::forks::{End, Forked, Shared, WORDS, deep, drive, event, forked, number};
use crate::moments::Moments;

/// A step that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);
/// Events of one source at most, so that each has its words.
const MOST: usize = 20_000;
/// The last event of all.
const LAST: u64 = u64::MAX;

// Shared words: a few for each source or reader, then one for each event of two sources.
const BEGUN: usize = 0;
const COMMITTED: usize = 2;
const STOP: usize = 4;
const NEXT: usize = 5;
const COUNT: usize = 8;
const ORDER: usize = 10;
const UNCERTAIN: usize = 1 << 10;
const DELIVERED: usize = UNCERTAIN + MOST;
const DONE: usize = DELIVERED + MOST;
const _: () = assert!(DONE + MOST <= WORDS);

/// Events of both sources share the words: even numbers are the first's.
fn index(source: u64, n: u64) -> usize {
    ((n * 2 + source) as usize).min(MOST - 1)
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let asked = std::env::var("RAILBUS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = asked.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("RAILBUS_SEED={seed}");
    let mut moments = Moments(seed);
    let wanted = if deep() { 5000 } else { 600 };
    let (mut kills, mut runs) = (0, 0);
    while kills < wanted {
        let directory = tempfile::tempdir_in(&base).unwrap();
        let most = (wanted - kills).min(120);
        kills += match role.as_str() {
            "stream" => stream(directory.path(), &mut moments, most),
            "queue" => queue(directory.path(), &mut moments, most),
            "topic" => topic(directory.path(), &mut moments, most),
            other => panic!("no role {other:?}"),
        };
        runs += 1;
    }
    say(format!("{kills} kills in {runs} runs, seed {seed}").as_bytes());
}

fn create(base: &Path, kind: Kind) -> Channel {
    let options = ChannelOptions::new(kind).lock_memory(false).pages(Pages::Ordinary).consumers_max(8);
    let options = match kind {
        Kind::Stream => options.capacity_bytes(4096).first_position((1 << 40) - 512),
        _ => options.producers_max(8).slots(64).slot_bytes(64).first_position(64 * 9 - 20),
    };
    Bus::at(base, "bus").unwrap().create("c", &options).unwrap()
}

/// A handle, requested again while the dead participant's entry is being freed.
fn patiently<T>(mut ask: impl FnMut() -> railbus::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(handle) => return handle,
            Err(railbus::Error::Busy { .. }) if start.elapsed() < HANG => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Publishes events of `source` until it is asked to stop. Its notes bracket each of them.
fn produce<R: railbus::PublishEnd>(
    shared: &Shared,
    source: u64,
    sender: &mut railbus::Sender<R>,
    payload_max: usize,
) {
    let (begun, committed) = (BEGUN + source as usize, COMMITTED + source as usize);
    let mut n = shared.get(committed);
    while shared.get(STOP) == 0 && index(source, n + 8) < MOST - 2 {
        let bytes = |n: u64| event(source << 32 | n, 16 + n as usize * 7 % (payload_max - 16));
        let count = if n % 11 == 3 { 5 } else { 1 };
        let batch: Vec<_> = (n..n + count).map(bytes).collect();
        shared.set(begun, n + count);
        if count == 1 {
            sender.publish_timeout(&batch[0], HANG).expect("room");
        } else {
            sender.publish_batch(&batch).expect("room");
        }
        n += count;
        shared.set(committed, n);
        if n.is_multiple_of(16) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// After a producer's death: an event that it had begun and not committed may be there or not.
fn settle(shared: &Shared, source: u64) {
    let (begun, committed) = (shared.get(BEGUN + source as usize), shared.get(COMMITTED + source as usize));
    for n in committed..begun {
        shared.set(UNCERTAIN + index(source, n), 1);
    }
    shared.set(COMMITTED + source as usize, begun);
}

/// Kills random actors, one to three at once, and starts others in their places, until `most` have
/// died. Returns how many died of each place.
fn shoot(
    moments: &mut Moments,
    most: u64,
    places: usize,
    mut start: impl FnMut(usize) -> Forked,
    mut settle: impl FnMut(usize),
) -> (Vec<u64>, Vec<Forked>) {
    let mut actors: Vec<Forked> = (0..places).map(&mut start).collect();
    let mut deaths = vec![0; places];
    while deaths.iter().sum::<u64>() < most {
        std::thread::sleep(Duration::from_micros(moments.below(4000)));
        let mut shot: Vec<usize> =
            (0..1 + moments.below(3)).map(|_| moments.below(places as u64) as usize).collect();
        shot.sort_unstable();
        shot.dedup();
        shot.iter().for_each(|&place| actors[place].shoot());
        for &place in &shot {
            // It may have ended by itself, when its numbers were used up.
            deaths[place] += u64::from(actors[place].wait() == End::Killed);
            settle(place);
            actors[place] = start(place);
        }
    }
    (deaths, actors)
}

fn finish(actors: Vec<Forked>) {
    for mut actor in actors {
        assert_eq!(actor.wait(), End::Finished);
    }
}

// ---- the queue ----

fn queue(base: &Path, moments: &mut Moments, most: u64) -> u64 {
    let shared = &Shared::new();
    let channel = create(base, Kind::Queue);
    let open = channel.producer(&SendOptions::default()).unwrap();
    let start = |place: usize| match place {
        0 | 1 => forked(|| {
            let mut producer = patiently(|| channel.producer(&SendOptions::default()));
            produce(shared, place as u64, &mut producer, 48);
            drop(producer);
        }),
        _ => forked(|| work(shared, &channel)),
    };
    let settle_producers = |place: usize| {
        if place < 2 {
            settle(shared, place as u64);
        }
    };
    let (deaths, mut actors) = shoot(moments, most, 4, start, settle_producers);
    shared.set(STOP, 1);
    let workers = actors.split_off(2);
    finish(actors);
    drop(open);
    finish(workers);
    let workers_died = deaths[2] + deaths[3];
    let mut again = 0;
    for source in 0..2 {
        for n in 0..shared.get(COMMITTED + source as usize) {
            let at = index(source, n);
            let (delivered, done) = (shared.get(DELIVERED + at), shared.get(DONE + at));
            if shared.get(UNCERTAIN + at) == 0 {
                assert!(delivered >= 1, "event {n} of {source} was committed and is lost");
            }
            assert!(done <= 1, "event {n} of {source} was done {done} times");
            again += delivered.saturating_sub(1);
        }
    }
    assert!(
        again <= workers_died * 9,
        "{again} came again after {workers_died} deaths with at most 9 in hand"
    );
    deaths.iter().sum()
}

/// Takes, holds up to six, and finishes them out of order, until the queue is closed.
fn work(shared: &Shared, channel: &Channel) {
    let options = WorkOptions::default().until_closed(true).grab(4);
    let mut worker = patiently(|| channel.worker(&options));
    let mut held = Vec::new();
    loop {
        let ticket = match worker.take_ticket_timeout(Duration::from_millis(2)) {
            Ok(ticket) => ticket,
            // While this worker holds events, the queue is not finished.
            Err(RecvError::TimedOut) if !held.is_empty() => {
                finish_one(shared, &mut worker, &mut held, 0);
                continue;
            }
            Err(RecvError::TimedOut) => continue,
            Err(RecvError::Closed) => return,
            Err(error) => panic!("{error}"),
        };
        let number = number(&worker.event(ticket).expect("in hand"));
        let at = index(number >> 32, number & 0xFFFF_FFFF);
        shared.add(DELIVERED + at, 1);
        held.push((ticket, at));
        if held.len() > 5 {
            finish_one(shared, &mut worker, &mut held, at % 5);
        }
    }
}

fn finish_one(
    shared: &Shared,
    worker: &mut railbus::Worker,
    held: &mut Vec<(railbus::Ticket, usize)>,
    which: usize,
) {
    let (ticket, at) = held.remove(which);
    assert!(worker.done(ticket));
    shared.add(DONE + at, 1);
}

// ---- the stream ----

fn stream(base: &Path, moments: &mut Moments, most: u64) -> u64 {
    let shared = &Shared::new();
    let channel = create(base, Kind::Stream);
    let all = SubscribeOptions::default();
    let witness = channel.subscriber(&all).unwrap();
    let durable = all.clone().name("durable").durable(true);
    // It exists from the start, so that whoever resumes it has a place to resume at.
    drop(channel.subscriber(&durable).unwrap());
    drop(witness);
    let observer = forked(|| {
        let start = all.clone().start(Start::Oldest);
        read_everything(shared, channel.subscriber(&start).unwrap(), 0);
    });
    // Nothing is published before the witness has joined.
    while channel_readers(&channel) == 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
    let start = |place: usize| match place {
        0 => forked(|| {
            let mut publisher = patiently(|| channel.publisher(&SendOptions::default()));
            produce(shared, 0, &mut publisher, 400);
            drop(publisher);
        }),
        1 => forked(|| resume(shared, patiently(|| channel.subscriber(&durable)))),
        _ => forked(|| {
            let start = all.clone().start(Start::Oldest).lossy(true);
            read_some(shared, patiently(|| channel.subscriber(&start)));
        }),
    };
    let settle_publisher = |place: usize| {
        if place == 0 {
            settle(shared, 0);
        }
    };
    let (deaths, mut actors) = shoot(moments, most, 3, start, settle_publisher);
    shared.set(STOP, 1);
    assert_eq!(actors.remove(0).wait(), End::Finished);
    let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
    publisher.publish_timeout(&event(LAST, 16), HANG).expect("room");
    actors.push(observer);
    finish(actors);
    check_read(shared, 1, 0);
    deaths.iter().sum()
}

fn channel_readers(channel: &Channel) -> usize {
    channel.publisher(&SendOptions::default()).map_or(0, |publisher| publisher.readers())
}

/// Reads to the last event; of each source the numbers rise. Writes down the events, how many and
/// in which order.
fn read_everything<R: railbus::ReadEnd>(shared: &Shared, mut reader: railbus::Reader<R>, which: usize) {
    let mut next = [0, 0];
    let mut order = 0u64;
    loop {
        let number = number(&reader.recv_timeout(HANG).expect("an event"));
        if number == LAST {
            shared.set(ORDER + which, order);
            return;
        }
        order = (order ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        let (source, n) = (number >> 32, number & 0xFFFF_FFFF);
        assert!(n >= next[source as usize], "event {n} of {source} came after {:?}", next[source as usize]);
        next[source as usize] = n + 1;
        shared.add(COUNT + which, 1);
        if which == 0 {
            shared.add(DELIVERED + index(source, n), 1);
        }
    }
}

/// Every committed event came once.
fn check_read(shared: &Shared, sources: u64, which: usize) {
    let mut count = 0;
    for source in 0..sources {
        for n in 0..shared.get(COMMITTED + source as usize) {
            let at = index(source, n);
            let (came, uncertain) = (shared.get(DELIVERED + at), shared.get(UNCERTAIN + at) == 1);
            assert!(came == 1 || came == 0 && uncertain, "event {n} of {source} came {came} times");
            count += came;
        }
    }
    assert_eq!(count, shared.get(COUNT + which));
}

/// A durable subscription with a new owner again and again: nothing is ever skipped.
fn resume<R: railbus::ReadEnd>(shared: &Shared, mut reader: railbus::Reader<R>) {
    loop {
        let number = number(&reader.recv_timeout(HANG).expect("an event"));
        if number == LAST {
            return;
        }
        let (source, n) = (number >> 32, number & 0xFFFF_FFFF);
        let word = NEXT + source as usize;
        let next = shared.get(word);
        let skipped = (next..n).find(|&n| shared.get(UNCERTAIN + index(source, n)) == 0);
        assert_eq!(skipped, None, "event {n} of {source} came, {next} was expected");
        shared.set(word, next.max(n + 1));
        if n % 5 == 0 {
            reader.acknowledge();
        }
    }
}

/// A reader that may miss events, also the last, but sees none torn.
fn read_some<R: railbus::ReadEnd>(shared: &Shared, mut reader: railbus::Reader<R>) {
    loop {
        match reader.recv_timeout(Duration::from_millis(50)) {
            Ok(event) if number(&event) == LAST => return,
            Err(RecvError::TimedOut) if shared.get(STOP) == 1 => return,
            Ok(_) | Err(RecvError::Lost { .. } | RecvError::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

// ---- the topic ----

fn topic(base: &Path, moments: &mut Moments, most: u64) -> u64 {
    let shared = &Shared::new();
    let channel = create(base, Kind::Topic);
    let all = SubscribeOptions::default();
    let durable = all.clone().name("durable").durable(true);
    drop(channel.topic_subscriber(&durable).unwrap());
    let witnesses = [0, 1].map(|which| {
        forked(|| {
            let start = all.clone().start(Start::Position(64 * 9 - 20));
            read_everything(shared, channel.topic_subscriber(&start).unwrap(), which);
        })
    });
    let open = channel.topic_publisher(&SendOptions::default()).unwrap();
    let start_of_hang = Instant::now();
    while open.readers() < 2 {
        assert!(start_of_hang.elapsed() < HANG);
        std::thread::sleep(Duration::from_micros(100));
    }
    let start = |place: usize| match place {
        0 | 1 => forked(|| {
            let mut publisher = patiently(|| channel.topic_publisher(&SendOptions::default()));
            produce(shared, place as u64, &mut publisher, 48);
            drop(publisher);
        }),
        2 => forked(|| resume(shared, patiently(|| channel.topic_subscriber(&durable)))),
        _ => forked(|| {
            let start = all.clone().lossy(place == 4);
            read_some(shared, patiently(|| channel.topic_subscriber(&start)));
        }),
    };
    let settle_publishers = |place: usize| {
        if place < 2 {
            settle(shared, place as u64);
        }
    };
    let (deaths, mut actors) = shoot(moments, most, 5, start, settle_publishers);
    shared.set(STOP, 1);
    for _ in 0..2 {
        assert_eq!(actors.remove(0).wait(), End::Finished);
    }
    let mut open = open;
    open.publish_timeout(&event(LAST, 16), HANG).expect("room");
    finish(actors);
    finish(witnesses.into());
    check_read(shared, 2, 0);
    assert_eq!(shared.get(ORDER), shared.get(ORDER + 1), "one total order");
    assert_eq!(shared.get(COUNT), shared.get(COUNT + 1));
    deaths.iter().sum()
}

#[test]
fn a_stream_outlives_its_publishers_and_readers() {
    drive("stream");
}

#[test]
fn a_queue_outlives_its_producers_and_workers() {
    drive("queue");
}

#[test]
fn a_topic_outlives_its_publishers_and_subscribers() {
    drive("topic");
}
