//! Workers in priority levels, as real processes: a lower level gets nothing while one above is
//! unsaturated, and everything when those above are saturated, stopped, killed, or have left.
//!
//! No test here waits for a time to pass and then expects something to have happened. Something
//! that must come is waited for, and something that must not come is requested many times.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use railbus::info::ParticipantRole;
use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Error, Kind, Pages, Producer, RecvError, SendOptions, Wait,
    WorkOptions, Worker,
};

use crate::children::{eventually, role, say};
use crate::forks::{End, Forked, Shared, drive, forked};

fn queue(base: &Path, options: impl FnOnce(ChannelOptions) -> ChannelOptions) -> Channel {
    let fresh = ChannelOptions::new(Kind::Queue).lock_memory(false).pages(Pages::Ordinary).slots(64);
    // Long, so that no worker counts as stuck because the machine is busy.
    let fresh = fresh.stuck_after(Duration::from_secs(600));
    Bus::at(base, "bus").unwrap().create("c", &options(fresh)).unwrap()
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn options(priority: u8, in_hand_max: u32) -> WorkOptions {
    WorkOptions::default().priority(priority).in_hand_max(in_hand_max)
}

fn put(producer: &mut Producer, count: u64) {
    for number in 0..count {
        producer.publish(&number.to_le_bytes()).unwrap();
    }
}

/// Takes all events that it can get, and finishes them.
fn drain(worker: &mut Worker) -> u64 {
    let mut count = 0;
    while let Some(ticket) = worker.take_ticket().unwrap() {
        assert!(worker.done(ticket));
        count += 1;
    }
    count
}

/// The events that a worker gets that asks many times.
fn gets(worker: &mut Worker) -> u64 {
    (0..2000).map(|_| drain(worker)).sum()
}

#[test]
fn a_lower_level_gets_nothing_until_all_above_are_saturated() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut high = channel.worker(&options(0, 2)).unwrap();
    let mut middle = channel.worker(&options(1, 0)).unwrap();
    let mut low = channel.worker(&options(200, 3)).unwrap();
    put(&mut producer, 20);
    assert_eq!((gets(&mut middle), gets(&mut low)), (0, 0));
    let one = high.take_ticket().unwrap().unwrap();
    assert_eq!((gets(&mut middle), gets(&mut low)), (0, 0), "one of two in hand is not saturated");
    let two = high.take_ticket().unwrap().unwrap();
    assert_eq!(gets(&mut low), 0, "the middle one is free");
    let three = middle.take_ticket().unwrap().unwrap();
    assert_eq!(middle.take_ticket(), Err(RecvError::HandsFull), "one in hand unless said otherwise");
    let four = low.take_ticket().unwrap().unwrap();
    assert!(middle.done(three));
    assert_eq!(gets(&mut low), 0);
    assert!(low.done(four), "what is in hand may be finished at any time");
    assert!(high.retry(one));
    assert_eq!((gets(&mut middle), gets(&mut low)), (0, 0), "neither what is handed back");
    let again = high.take_ticket().unwrap().unwrap();
    assert_eq!((again.position(), again.attempt()), (one.position(), 2));
    assert_eq!(high.take_ticket(), Err(RecvError::HandsFull));
    assert_eq!(high.take().err(), Some(RecvError::HandsFull));
    assert_eq!(gets(&mut middle), 16);
    assert!(high.done(two) && high.done(again));
    let info = channel.info().unwrap();
    let places = info.participants.iter().filter(|one| one.role == ParticipantRole::Worker);
    let places: Vec<_> = places.map(|one| (one.priority, one.in_hand_max)).collect();
    assert_eq!(places, [(0, Some(2)), (1, Some(1)), (200, Some(3))]);
}

#[test]
fn on_one_level_they_share() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let _high = channel.worker(&options(0, 2)).unwrap();
    let mut same = channel.worker(&options(0, 2)).unwrap();
    put(&mut producer, 20);
    assert_eq!(gets(&mut same), 20, "the level decides, and nothing else");
}

#[test]
fn a_plain_worker_is_saturated_while_what_it_took_last_is_not_done() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut plain = channel.worker(&WorkOptions::default()).unwrap();
    let mut low = channel.worker(&options(1, 0)).unwrap();
    put(&mut producer, 5);
    assert_eq!(gets(&mut low), 0);
    let job = plain.take().unwrap();
    assert_eq!(gets(&mut low), 4);
    let _ = job.done();
    put(&mut producer, 5);
    assert_eq!(gets(&mut low), 0);
    drop(plain);
    assert_eq!(gets(&mut low), 5, "nobody is above it any more");
}

#[test]
fn several_at_once_respect_the_bound() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&options(0, 5).grab(16)).unwrap();
    put(&mut producer, 20);
    let held: Vec<_> = (0..5).map(|_| worker.take_ticket().unwrap().unwrap()).collect();
    assert_eq!((worker.in_hand(), worker.take_ticket()), (5, Err(RecvError::HandsFull)));
    let mut other = channel.worker(&WorkOptions::default()).unwrap();
    assert_eq!(drain(&mut other), 15, "no more than five were taken from the ring");
    held.into_iter().for_each(|ticket| assert!(worker.done(ticket)));
}

#[test]
fn priorities_and_keys_go_together() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options.keyed(true));
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut high = channel.worker(&options(0, 1)).unwrap();
    let mut low = channel.worker(&options(1, 9)).unwrap();
    for number in 0..6u64 {
        producer.publish_with(&number.to_le_bytes(), &Attributes::keyed(number % 2)).unwrap();
    }
    let first = high.take_ticket().unwrap().unwrap();
    // The high one has the first of the even: the low one gets the odd, one after the other.
    let odd: Vec<u64> = std::iter::from_fn(|| {
        let ticket = low.take_ticket().unwrap()?;
        assert!(low.take_ticket().unwrap().is_none(), "the others wait for this one, or for the high one's");
        assert!(low.done(ticket));
        Some(ticket.position())
    })
    .collect();
    assert_eq!(odd, [1, 3, 5]);
    assert!(high.done(first));
    assert_eq!(gets(&mut low), 0, "the next even one may run, but it is the high one's turn");
    assert_eq!(drain(&mut high), 2);
}

#[test]
fn bounds_have_a_range() {
    let directory = directory();
    let channel = queue(directory.path(), |options| options);
    let error = channel.worker(&options(0, 65_536)).map(drop).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains("65535"), "{error}");
    assert!(channel.worker(&options(255, 65_535)).is_ok());
}

// ---- processes ----

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let shared = Shared::new();
    match role.as_str() {
        "idle" => idle(&base, &shared),
        "saturated" => saturated(&base, &shared),
        "stopped" => stopped(&base, &shared),
        "killed" => gone(&base, &shared, true),
        "left" => gone(&base, &shared, false),
        _ => panic!("{role}?"),
    }
}

/// Shared words: which are ready; how many events each level got; the order for the high one.
const READY: usize = 0;
const GOT: usize = 10;
const ORDER: usize = 20;
/// Orders.
const WORK: u64 = 1;
const HOLD: u64 = 2;
const LEAVE: u64 = 3;

/// A worker that sleeps while there is nothing, finishes its events at once, and counts them.
fn worker_of(base: &Path, shared: &Shared, level: u8, in_hand_max: u32) -> Forked {
    forked(|| {
        let wait = Wait::Park { spin: Duration::from_micros(20) };
        let bus = Bus::at(base, "bus").unwrap();
        let mut worker = bus.attach("c").unwrap().worker(&options(level, in_hand_max).wait(wait)).unwrap();
        shared.set(READY + level as usize, 1);
        let mut held = Vec::new();
        loop {
            match shared.get(ORDER + level as usize) {
                LEAVE => return,
                HOLD => {
                    shared.set(READY + level as usize, 2);
                    while worker.in_hand() < in_hand_max as usize {
                        held.extend(worker.take_ticket_timeout(Duration::from_millis(1)));
                    }
                    shared.set(READY + level as usize, 3);
                    std::thread::sleep(Duration::from_millis(1));
                }
                _ => {
                    if !held.is_empty() {
                        held.drain(..).for_each(|ticket| assert!(worker.done(ticket)));
                        shared.set(READY + level as usize, 4);
                    }
                    match worker.take_timeout(Duration::from_millis(5)) {
                        Ok(job) => {
                            shared.add(GOT + level as usize, 1);
                            let _ = job.done();
                        }
                        Err(RecvError::TimedOut) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    })
}

struct Scene {
    producer: Producer,
    high: Forked,
    low: Forked,
}

fn scene(base: &Path, shared: &Shared, stuck_after: Duration) -> Scene {
    let channel = queue(base, |options| options.stuck_after(stuck_after));
    let producer = channel.producer(&SendOptions::default()).unwrap();
    let high = worker_of(base, shared, 0, 8);
    let low = worker_of(base, shared, 1, 8);
    eventually("both are there", || shared.get(READY) == 1 && shared.get(READY + 1) == 1);
    Scene { producer, high, low }
}

fn got(shared: &Shared, level: usize) -> u64 {
    shared.get(GOT + level)
}

fn end(mut scene: Scene, shared: &Shared, what: &str) {
    shared.set(ORDER + 1, LEAVE);
    assert_eq!(scene.low.wait(), End::Finished);
    say(what.as_bytes());
}

/// While the high one is not saturated it gets everything.
fn idle(base: &Path, shared: &Shared) {
    let mut scene = scene(base, shared, Duration::from_secs(600));
    for round in 1..=1000 {
        // Fewer than its bound at once.
        put(&mut scene.producer, 5);
        eventually("they are done", || got(shared, 0) + got(shared, 1) == 5 * round);
        assert_eq!(got(shared, 1), 0, "the low one got something");
    }
    shared.set(ORDER, LEAVE);
    assert_eq!(scene.high.wait(), End::Finished);
    end(scene, shared, "5000 to the high one");
}

/// While it is saturated the low one gets everything, and after that nothing.
fn saturated(base: &Path, shared: &Shared) {
    let mut scene = scene(base, shared, Duration::from_secs(600));
    for round in 1..=20 {
        shared.set(READY, 1);
        shared.set(ORDER, HOLD);
        eventually("the high one has its orders", || shared.get(READY) == 2);
        let before = got(shared, 0);
        put(&mut scene.producer, 8 + 40);
        eventually("the high one has its hands full", || shared.get(READY) == 3);
        eventually("the low one gets the others", || {
            assert_eq!(got(shared, 0), before, "the high one takes no more");
            got(shared, 1) == 40 * round
        });
        shared.set(ORDER, WORK);
        eventually("its hands are empty", || shared.get(READY) == 4);
        put(&mut scene.producer, 3);
        eventually("the high one is back", || got(shared, 0) == before + 3);
        assert_eq!(got(shared, 1), 40 * round);
    }
    shared.set(ORDER, LEAVE);
    assert_eq!(scene.high.wait(), End::Finished);
    end(scene, shared, "20 times");
}

/// A high one that is stopped starves the queue for `stuck_after` only.
fn stopped(base: &Path, shared: &Shared) {
    let mut scene = scene(base, shared, Duration::from_millis(200));
    scene.high.signal(Signal::SIGSTOP);
    assert_eq!(scene.high.wait(), End::Stopped);
    put(&mut scene.producer, 30);
    eventually("the low one gets all", || got(shared, 1) == 30);
    scene.high.signal(Signal::SIGCONT);
    // It moves again: new events are its own again.
    eventually("the high one gets some", || {
        put(&mut scene.producer, 1);
        std::thread::sleep(Duration::from_millis(2));
        got(shared, 0) > 3
    });
    shared.set(ORDER, LEAVE);
    assert_eq!(scene.high.wait(), End::Finished);
    end(scene, shared, "stopped and continued");
}

/// A high one that is killed, or leaves, holds nobody up.
fn gone(base: &Path, shared: &Shared, killed: bool) {
    let mut scene = scene(base, shared, Duration::from_secs(600));
    if killed {
        scene.high.shoot();
    } else {
        shared.set(ORDER, LEAVE);
    }
    assert_eq!(scene.high.wait(), if killed { End::Killed } else { End::Finished });
    put(&mut scene.producer, 30);
    eventually("the low one gets all", || got(shared, 1) == 30);
    end(scene, shared, "30 to the low one");
}

#[test]
fn a_high_worker_that_is_not_saturated_gets_everything() {
    drive("idle");
}

#[test]
fn what_a_saturated_one_cannot_take_goes_to_the_low_one() {
    drive("saturated");
}

#[test]
fn a_stopped_high_worker_holds_the_low_one_up_for_a_while_only() {
    drive("stopped");
}

#[test]
fn a_killed_high_worker_holds_nobody_up() {
    drive("killed");
}

#[test]
fn a_high_worker_that_leaves_holds_nobody_up() {
    drive("left");
}
