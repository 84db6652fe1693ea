//! Unique, delayed and expiring jobs, with producers and workers that are killed all the time.
//!
//! Producers publish with a few keys; events may be delayed, and may expire. Workers write down, in
//! memory that outlives them, which event of a key they are at. The driver kills and replaces both at
//! random. After each round it kills them all, and takes everything that is left.
//!
//! Three things are checked. No key has two unfinished events: neither at two workers at once, nor when
//! the round is over. No event is handed out before its time. And a job that the driver publishes and
//! waits for comes to its end while the others die.
//!
//! A pass does not prove that each step was interrupted: `loom-tests/tests/crash_unique.rs` and
//! `crash_jobs.rs` do that.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use railbus::{
    Attributes, Bus, Channel, ChannelOptions, JobEnd, Kind, RecvError, SendError, SendOptions, WorkOptions,
};

use crate::children::{role, say};
use crate::forks::{Forked, Shared, deep, drive, forked};
use crate::moments::Moments;

/// Far beyond any load of the machine.
const HANG: Duration = Duration::from_secs(60);
const KEYS: u64 = 4;
/// Shared words: by key, the event that a worker is at, as [`mark`] has it; then counts.
const AT_IT: usize = 0;
const TWICE: usize = 16;
const EARLY: usize = 17;
const HANDED_OUT: usize = 18;
const PUBLISHED: usize = 19;
const REFUSED: usize = 20;

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    match role.as_str() {
        "kills" => kills(&base, true),
        "kills without unique keys" => kills(&base, false),
        _ => panic!("{role}?"),
    }
}

fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn attach(base: &Path) -> Channel {
    Bus::at(base, "bus").unwrap().attach("q").unwrap()
}

/// A producer: publishes with a random key, at once or later.
fn produce(base: &Path, shared: &Shared, seed: u64, is_unique: bool) {
    let mut producer = attach(base).producer(&SendOptions::default()).unwrap();
    let mut moments = Moments(seed);
    loop {
        let key = moments.below(KEYS);
        let mut attributes = Attributes::default().key(key);
        let due_ns = wall_ns() + moments.below(3) * moments.below(2_000_000);
        attributes = attributes.not_before_ns(due_ns);
        if moments.below(5) == 0 {
            attributes = attributes.ttl(Duration::from_micros(500));
        }
        let payload = due_ns.to_le_bytes();
        let published = match is_unique {
            true => producer.publish_unique_timeout(key, &payload, &attributes, Duration::from_millis(1)),
            false => producer.publish_with_timeout(&payload, &attributes, Duration::from_millis(1)),
        };
        match published {
            Ok(_) => _ = shared.add(PUBLISHED, 1),
            Err(SendError::Duplicate { .. }) => _ = shared.add(REFUSED, 1),
            Err(SendError::TimedOut | SendError::NoWorker) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// An event, and whether it may expire after a worker was at it and handed it back.
fn mark(position: u64, expires: bool) -> u64 {
    (position + 1) << 1 | u64::from(expires)
}

/// Notes that this worker is at an event, and what it finds wrong.
fn begin(queue: &Channel, shared: &Shared, key: usize, mark: u64, due_ns: u64) {
    shared.add(HANDED_OUT, 1);
    if wall_ns() < due_ns {
        shared.add(EARLY, 1);
    }
    let found = shared.get(AT_IT + key);
    let has_expired = || found & 1 != 0 && queue.wait_done((found >> 1) - 1, Duration::ZERO).is_ok();
    if found != 0 && found != mark && !has_expired() {
        shared.add(TWICE, 1);
    }
    shared.set(AT_IT + key, mark);
}

/// A worker: takes, dawdles, and finishes or hands back.
fn work(base: &Path, shared: &Shared, seed: u64) {
    let queue = attach(base);
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let mut moments = Moments(seed);
    loop {
        let job = match worker.take_timeout(HANG) {
            Ok(job) => job,
            Err(error) => panic!("{error}"),
        };
        let due_ns = u64::from_le_bytes((*job).try_into().unwrap());
        let key = job.event().key().unwrap() as usize;
        begin(&queue, shared, key, mark(job.position(), job.event().expires_ns().is_some()), due_ns);
        for _ in 0..moments.below(3000) {
            std::hint::spin_loop();
        }
        match moments.below(8) {
            0 => job.retry_after(Duration::from_micros(moments.below(1500))),
            1 => job.retry(),
            _ => {
                // Before the event is done: after that its key is free.
                shared.set(AT_IT + key, 0);
                let _ = job.done();
            }
        }
    }
}

/// Takes everything that is left, and counts the events of each key.
fn drain(queue: &Channel) -> [u64; KEYS as usize] {
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let mut left = [0; KEYS as usize];
    let begun = Instant::now();
    while queue.info().unwrap().positions.unfinished != Some(0) {
        assert!(
            begun.elapsed() < HANG,
            "something is never handed out: {:?}",
            queue.info().unwrap().positions
        );
        match worker.take_timeout(Duration::from_millis(20)) {
            Ok(job) => {
                left[job.event().key().unwrap() as usize] += 1;
                assert!(job.done());
            }
            Err(RecvError::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
    left
}

fn kills(base: &Path, is_unique: bool) {
    let shared = Shared::new();
    let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(128).lock_memory(false);
    let queue = Bus::at(base, "bus").unwrap().create("q", &options.unique(true)).unwrap();
    let mut moments = Moments(u64::from(std::process::id()));
    let (mut killed, mut doubled, mut waited) = (0u64, 0u64, 0u64);
    let rounds = if deep() { 300 } else { 12 };
    let mut seed = 0;
    for _ in 0..rounds {
        let mut start = |is_worker: bool| -> Forked {
            seed += 1;
            forked(|| {
                if is_worker { work(base, &shared, seed) } else { produce(base, &shared, seed, is_unique) }
            })
        };
        let roles = [true, false, true, false, true];
        let mut actors: Vec<Forked> = roles.into_iter().map(&mut start).collect();
        for _ in 0..12 {
            std::thread::sleep(Duration::from_micros(500 + moments.below(2500)));
            let which = moments.below(actors.len() as u64) as usize;
            actors[which].shoot();
            actors[which].wait();
            actors[which] = start(roles[which]);
            killed += 1;
        }
        // A job of the driver's own, with a key that nobody else has.
        let mut producer = queue.producer(&SendOptions::default()).unwrap();
        let attributes = Attributes::default().key(KEYS - 1).delay(Duration::from_millis(2));
        if is_unique {
            let now = 0u64.to_le_bytes();
            // The workers know its key by number only; it counts as one of the last key's.
            actors.iter().zip(roles).filter(|(_, is_worker)| !is_worker).for_each(|(one, _)| one.shoot());
            let published = producer.publish_unique_timeout(KEYS - 1, &now, &attributes, HANG);
            match published {
                Ok(position) | Err(SendError::Duplicate { position }) => {
                    let end = producer.wait_done(position, HANG).unwrap();
                    assert!(
                        matches!(end, JobEnd::Done | JobEnd::Expired { .. } | JobEnd::Forgotten),
                        "{end}"
                    );
                    waited += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        drop(producer);
        actors.iter().for_each(Forked::shoot);
        actors.iter_mut().for_each(|actor| _ = actor.wait());
        (0..KEYS as usize).for_each(|key| shared.set(AT_IT + key, 0));
        doubled += drain(&queue).iter().filter(|&&left| left > 1).count() as u64;
    }
    let [twice, early, handed_out] = [TWICE, EARLY, HANDED_OUT].map(|word| shared.get(word));
    let (published, refused) = (shared.get(PUBLISHED), shared.get(REFUSED));
    assert_eq!(early, 0, "an event came before its time");
    if is_unique {
        assert_eq!((twice, doubled), (0, 0), "a key had two unfinished events");
        assert!(refused > 0, "no two producers wanted one key");
    } else {
        assert!(twice + doubled > 0, "without unique keys no key had two events");
    }
    let counts = format!(
        "{killed} kills, {published} published, {refused} refused, {handed_out} handed out, {waited} waited for"
    );
    assert!(killed > 100 && handed_out > 100, "{counts}");
    say(counts.as_bytes());
}

#[test]
fn keys_stay_unique_and_times_are_kept_while_everybody_is_killed() {
    drive("kills");
}

#[test]
fn without_unique_keys_they_do_not() {
    drive("kills without unique keys");
}
