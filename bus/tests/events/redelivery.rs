//! Events that are handed back: they wait, longer each time, and hold nobody up.
//!
//! A pass does not prove how late they come: times are asserted from below only.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use railbus::{Bus, Channel, ChannelOptions, Kind, SendOptions, WorkOptions};

/// Long enough for anything on a busy machine.
const HANG: Duration = Duration::from_secs(60);

fn queue(slots: u64) -> (tempfile::TempDir, Channel) {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = ChannelOptions::new(Kind::Queue).slots(slots).slot_bytes(64);
    let channel = Bus::at(base.path(), "b").unwrap().create("q", &options).unwrap();
    (base, channel)
}

#[test]
fn an_event_that_is_handed_back_again_and_again_does_not_hold_up_good_ones() {
    let (_base, channel) = queue(1024);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    producer.publish(b"poison").unwrap();
    (0..100).for_each(|_| assert!(producer.publish(b"good").is_ok()));
    let (mut good, mut poison) = (0, 0);
    while good < 100 {
        let job = worker.take_timeout(HANG).unwrap();
        if &*job == b"good" {
            assert!(job.done());
            good += 1;
        } else {
            job.retry();
            poison += 1;
        }
        assert!(poison <= good + 2, "the poison came {poison} times, good ones {good} times");
    }
    // It is still there.
    let job = worker.take_timeout(HANG).unwrap();
    assert_eq!((&*job, job.attempt()), (&b"poison"[..], poison + 1));
}

#[test]
fn fresh_events_go_on_beside_any_number_that_were_handed_back() {
    let (_base, channel) = queue(1024);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    let mut publish = |from: u64, to: u64| {
        (from..to).for_each(|number| assert!(producer.publish(&number.to_le_bytes()).is_ok()));
    };
    publish(0, 500);
    let tickets: Vec<_> = (0..500).map(|_| worker.take_ticket().unwrap().unwrap()).collect();
    assert_eq!(worker.in_hand(), 500);
    tickets.into_iter().for_each(|ticket| assert!(worker.retry(ticket)));
    // All of them may be taken at once, and so may the fresh ones.
    publish(500, 600);
    let mut fresh = Vec::new();
    for _ in 0..200 {
        let job = worker.take_timeout(HANG).unwrap();
        let number: u64 = job.event().pod().unwrap();
        if number >= 500 {
            fresh.push(number);
        }
        let _ = job.done();
    }
    assert_eq!(fresh, (500..600).collect::<Vec<_>>(), "every second one is fresh");
    let rest = std::iter::from_fn(|| worker.try_take().unwrap().map(|job| job.done())).count();
    assert_eq!(rest, 400);
}

#[test]
fn a_handed_back_event_waits_longer_each_time() {
    let (_base, channel) = queue(64);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    producer.publish(b"x").unwrap();
    let mut handed_back = Instant::now();
    for attempt in 1..=8u32 {
        let job = worker.take_timeout(HANG).unwrap();
        assert_eq!(job.attempt(), attempt);
        if attempt > 2 {
            // Up to a quarter is taken off.
            let least = Duration::from_micros(749 << (attempt - 3));
            let waited = handed_back.elapsed();
            assert!(waited >= least, "{waited:?} before attempt {attempt}");
        }
        handed_back = Instant::now();
        job.retry();
    }
    let _ = worker.take_timeout(HANG).unwrap().done();
}

#[test]
fn another_worker_takes_over_what_waits_when_the_one_that_handed_it_back_leaves() {
    let (_base, channel) = queue(1 << 16);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut one = channel.worker(&WorkOptions::default()).unwrap();
    let mut other = channel.worker(&WorkOptions::default()).unwrap();
    let mut attempts: BTreeMap<u64, u32> = BTreeMap::new();
    for number in 0..300u64 {
        producer.publish(&number.to_le_bytes()).unwrap();
    }
    while attempts.values().sum::<u32>() < 900 {
        let job = one.take_timeout(HANG).unwrap();
        *attempts.entry(job.event().pod().unwrap()).or_default() += 1;
        job.retry();
    }
    drop(one);
    while let Some((&number, _)) = attempts.first_key_value() {
        let job = other.take_timeout(HANG).unwrap();
        let found: u64 = job.event().pod().unwrap();
        assert_eq!(
            attempts.remove(&found).map(|attempts| attempts + 1),
            Some(job.attempt()),
            "{number} is left"
        );
        let _ = job.done();
    }
    assert!(other.try_take().unwrap().is_none());
}
