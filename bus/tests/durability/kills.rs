//! SIGKILL and SIGSTOP of publisher, journaller and consumer, at random moments and again and
//! again, with the whole history of each checked. Events that were acknowledged as durable are in
//! the journal, byte for byte. Published events are in the journal or in the ring, once, in order,
//! without a hole; and the consumer misses nothing.
//!
//! A publisher numbers its events, and writes down which it has published and which were reported
//! as durable, with one write each to a file that outlives it. The moments come from a seed, which
//! is printed; `RAILBUS_SEED` chooses it. This does not show the death of the machine: that is for
//! the simulated disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use railbus::{
    Bus, Channel, Error, Kind, Recorder, RecvError, SendError, SendOptions, Start, SubscribeOptions,
    WorkOptions,
};

use crate::children::{Actor, eventually, role, say, stay};
use crate::journals::{held, quick, small};
use crate::moments::Moments;

const KINDS: [Kind; 3] = [Kind::Stream, Kind::Topic, Kind::Queue];

struct Scene {
    base: PathBuf,
    kind: Kind,
}

impl Scene {
    fn bus(&self) -> Bus {
        Bus::at(self.base.join("shm"), "b").expect("a bus")
    }

    fn channel(&self) -> Channel {
        self.bus().attach("c").expect("the channel")
    }

    fn journal(&self) -> PathBuf {
        std::fs::read_link(self.base.join("journal")).expect("a link to the journal")
    }

    fn log(&self, name: &str) -> File {
        let path = self.base.join(name);
        OpenOptions::new().create(true).append(true).open(path).expect("a log")
    }

    fn words(&self, name: &str) -> Vec<[u64; 2]> {
        let bytes = std::fs::read(self.base.join(name)).unwrap_or_default();
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        bytes.chunks_exact(16).map(|pair| [word(&pair[..8]), word(&pair[8..])]).collect()
    }
}

fn note(log: &mut File, number: u64, position: u64) {
    let mut pair = [0; 16];
    pair[..8].copy_from_slice(&number.to_le_bytes());
    pair[8..].copy_from_slice(&position.to_le_bytes());
    log.write_all(&pair).expect("the log takes it");
}

/// An event that contains its number and can be distinguished from a torn one.
fn event(number: u64, kind: Kind) -> Vec<u8> {
    let most = if kind == Kind::Stream && number % 97 == 5 { 20_000 } else { 90 };
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number.wrapping_mul(7919) % most) as usize, number as u8 ^ 0xA5);
    bytes
}

fn number_of(payload: &[u8]) -> u64 {
    payload[..8].try_into().map_or(u64::MAX, u64::from_le_bytes)
}

/// Publishes a payload, waiting at most this long for room.
type Publish = Box<dyn FnMut(&[u8], Duration) -> Result<u64, SendError>>;

fn publisher_of(channel: &Channel) -> Result<Publish, Error> {
    let options = SendOptions::default();
    Ok(match channel.header().kind {
        Kind::Stream => {
            let mut sender = channel.publisher(&options)?;
            Box::new(move |payload, timeout| sender.publish_timeout(payload, timeout))
        }
        Kind::Topic => {
            let mut sender = channel.topic_publisher(&options)?;
            Box::new(move |payload, timeout| sender.publish_timeout(payload, timeout))
        }
        Kind::Queue => {
            let mut sender = channel.producer(&options)?;
            Box::new(move |payload, timeout| sender.publish_timeout(payload, timeout))
        }
        Kind::Table => unreachable!("a table has no events"),
    })
}

/// The channel's only entry of a kind is free a moment after its owner was killed.
fn patiently<T>(mut open: impl FnMut() -> Result<T, Error>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match open() {
            Ok(handle) => return handle,
            Err(Error::Busy { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn publish(scene: &Scene, generation: u64) {
    let channel = scene.channel();
    let mut publish = patiently(|| publisher_of(&channel));
    let (mut published, mut acknowledged) = (scene.log("published"), scene.log("acknowledged"));
    say(b"publishing");
    let stop = scene.base.join("stop");
    for i in 0u64.. {
        let number = generation << 32 | i;
        let payload = event(number, scene.kind);
        let position = loop {
            match publish(&payload, Duration::from_millis(50)) {
                Ok(position) => break position,
                Err(SendError::TimedOut | SendError::NoWorker) => {}
                Err(error) => panic!("{error}"),
            }
        };
        note(&mut published, number, position);
        if i % 16 == 3 && channel.wait_durable(position, Duration::from_millis(20)).is_ok() {
            note(&mut acknowledged, number, position);
        }
        if i % 64 == 0 && stop.exists() {
            break;
        }
    }
    say(b"stopped");
    stay();
}

fn consume(scene: &Scene) {
    let channel = scene.channel();
    let mut received = scene.log("received");
    let stop = scene.base.join("consumed");
    say(b"consuming");
    if scene.kind == Kind::Queue {
        let mut worker = channel.worker(&WorkOptions::default()).expect("a worker");
        loop {
            match worker.take_timeout(Duration::from_millis(10)) {
                Ok(job) => {
                    note(&mut received, number_of(&job), job.position());
                    let _ = job.done();
                }
                Err(RecvError::TimedOut) if stop.exists() => break,
                Err(RecvError::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
        return;
    }
    let options = SubscribeOptions::default().name("audit").durable(true).start(Start::Oldest);
    macro_rules! read {
        ($reader:expr) => {{
            let mut reader = $reader;
            loop {
                match reader.recv_timeout(Duration::from_millis(10)) {
                    Ok(event) => note(&mut received, number_of(&event), event.position()),
                    Err(RecvError::TimedOut) if stop.exists() => break,
                    Err(RecvError::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }};
    }
    match scene.kind {
        Kind::Stream => read!(patiently(|| channel.subscriber(&options))),
        _ => read!(patiently(|| channel.topic_subscriber(&options))),
    }
}

fn record(scene: &Scene) {
    let channel = scene.channel();
    let recorder = patiently(|| Recorder::start(&channel, scene.journal(), &quick()));
    say(b"recording");
    stay();
    recorder.stop().expect("a clean end");
    say(b"sealed");
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let words: Vec<&str> = role.split(' ').collect();
    let kind = KINDS[words[1].parse::<usize>().expect("a kind")];
    let scene = Scene { base, kind };
    match words[0] {
        "publish" => publish(&scene, words[2].parse().expect("a generation")),
        "consume" => consume(&scene),
        "record" => record(&scene),
        other => panic!("no role {other:?}"),
    }
}

fn signal(actor: &Actor, signal: libc::c_int) {
    // SAFETY: the process is a child that was not waited for.
    assert_eq!(unsafe { libc::kill(actor.pid(), signal) }, 0);
}

fn kills_and_stops(which: usize) {
    let kind = KINDS[which];
    let asked = std::env::var("RAILBUS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = asked.unwrap_or_else(|| u64::from(std::process::id()));
    println!("RAILBUS_SEED={seed}");
    let mut moments = Moments(seed);
    let shm = tempfile::Builder::new().prefix("railbus-kills-").tempdir_in("/dev/shm").expect("a directory");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    std::os::unix::fs::symlink(disk.path(), shm.path().join("journal")).expect("a link");
    let scene = Scene { base: shm.path().to_owned(), kind };
    let channel = scene.bus().create("c", &small(kind)).expect("a channel");
    let start =
        |role: &str, generation: u64| Actor::start(&format!("{role} {which} {generation}"), shm.path());
    let mut generation = 0;
    let mut journaller = start("record", 0);
    journaller.expect("recording");
    let mut consumer = start("consume", 0);
    consumer.expect("consuming");
    let mut publisher = start("publish", generation);
    publisher.expect("publishing");
    let rounds = if std::env::var_os("RAILBUS_DEEP").is_some() { 1500 } else { 60 };
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_micros(moments.below(20_000)));
        let stops = moments.below(3) == 0;
        let whom = moments.below(4);
        let victim = match whom {
            0 => &publisher,
            1 => &consumer,
            _ => &journaller,
        };
        if stops {
            signal(victim, libc::SIGSTOP);
            std::thread::sleep(Duration::from_micros(moments.below(10_000)));
            // Some of the stopped ones are killed while they are stopped.
            if moments.below(2) == 0 {
                signal(victim, libc::SIGCONT);
                continue;
            }
        }
        match whom {
            0 => {
                publisher.kill();
                generation += 1;
                publisher = start("publish", generation);
            }
            1 => {
                consumer.kill();
                consumer = start("consume", 0);
            }
            _ => {
                journaller.kill();
                journaller = start("record", 0);
                // Often it is killed again before it records.
                if moments.below(2) == 0 {
                    journaller.expect("recording");
                }
            }
        }
    }
    std::fs::write(shm.path().join("stop"), "").expect("a file");
    publisher.expect_last("stopped");
    std::fs::write(shm.path().join("consumed"), "").expect("a file");
    eventually("the consumer has everything", || consumer.has_ended());
    assert!(journaller.finish().success());
    check(&scene, &channel);
}

fn check(scene: &Scene, channel: &Channel) {
    let held = held(&scene.journal().join("b").join("c"));
    assert!(held.gaps.is_empty(), "{:?}", held.gaps);
    let positions = channel.journal_positions().expect("positions");
    assert_eq!(positions.written, positions.end);
    // Each publisher's events are there from the first on, without a hole; the last may not have
    // been written down.
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    let mut at: BTreeMap<u64, u64> = BTreeMap::new();
    for (position, body) in &held.events {
        let number = number_of(body);
        assert!(*body == event(number, scene.kind), "event {number:#x} is not what was published");
        let expected = next.entry(number >> 32).or_default();
        assert_eq!(number & 0xFFFF_FFFF, *expected, "of publisher {}", number >> 32);
        *expected += 1;
        at.insert(number, *position);
    }
    let (published, acknowledged) = (scene.words("published"), scene.words("acknowledged"));
    for [number, position] in &published {
        assert_eq!(at.get(number), Some(position), "published event {number:#x}");
    }
    for [number, position] in &acknowledged {
        assert_eq!(at.get(number), Some(position), "acknowledged event {number:#x}");
    }
    assert!(held.events.len() - published.len() <= next.len(), "at most one each was not written down");
    let received: BTreeSet<u64> = scene.words("received").iter().map(|&[number, _]| number).collect();
    let recorded: BTreeSet<u64> = at.keys().copied().collect();
    assert!(received == recorded, "{} received, {} recorded", received.len(), recorded.len());
    println!(
        "{} events of {} publishers, {} acknowledged, {} states",
        recorded.len(),
        next.len(),
        acknowledged.len(),
        held.states
    );
    assert!(!acknowledged.is_empty());
}

#[test]
fn a_stream_loses_nothing() {
    kills_and_stops(0);
}

#[test]
fn a_topic_loses_nothing() {
    kills_and_stops(1);
}

#[test]
fn a_queue_loses_nothing() {
    kills_and_stops(2);
}

/// Events on the way when the journaller dies are with its successor.
#[test]
fn a_killed_journallers_staging_is_finished_by_its_successor() {
    let shm = tempfile::Builder::new().prefix("railbus-kills-").tempdir_in("/dev/shm").expect("a directory");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    std::os::unix::fs::symlink(disk.path(), shm.path().join("journal")).expect("a link");
    let scene = Scene { base: shm.path().to_owned(), kind: Kind::Stream };
    let channel = scene.bus().create("c", &small(Kind::Stream)).expect("a channel");
    let mut publish = publisher_of(&channel).expect("a publisher");
    let (mut sent, mut taken_over) = (Vec::new(), 0);
    let mut number = 0;
    // A fast disk may have all of it before the kill.
    for round in 0..200 {
        if round >= 12 && taken_over > 0 {
            break;
        }
        let mut journaller = Actor::start("record 0", shm.path());
        journaller.expect("recording");
        for _ in 0..400 * (1 + round % 3) {
            let payload = event(number, Kind::Stream);
            sent.push((publish(&payload, Duration::from_secs(60)).expect("room"), payload));
            number += 1;
        }
        journaller.kill();
        let recorder = patiently(|| Recorder::start(&channel, scene.journal(), &quick()));
        taken_over += recorder.report().taken_over;
        recorder.stop().expect("a clean end");
    }
    let held = held(&disk.path().join("b").join("c"));
    assert!(held.gaps.is_empty() && held.events == sent, "{} of {}", held.events.len(), sent.len());
    assert!(taken_over > 0, "all was written before the kills");
}
