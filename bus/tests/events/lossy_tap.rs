//! A queue's lossy tap: it gates nobody, the events that it returns are whole and in order, and its
//! losses are exact.
//!
//! A pass does not prove orderings, which loom checks (`loom_topic.rs`, `loom_weakened.rs`).

use std::sync::atomic::{AtomicBool, Ordering};

use railbus::{Bus, ChannelOptions, Kind, RecvError, SendOptions, SubscribeOptions, Tap, WorkOptions};

fn bus() -> (tempfile::TempDir, Bus) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "test").expect("a bus");
    (base, bus)
}

fn lossy() -> SubscribeOptions {
    SubscribeOptions::default().lossy(true)
}

/// All events that are there: the positions seen, and how many were lost. Checks order and
/// payloads.
fn drain(tap: &mut Tap, next: &mut u64) -> (Vec<u64>, u64) {
    let (mut seen, mut lost) = (Vec::new(), 0);
    loop {
        match tap.try_recv() {
            Ok(Some(event)) => {
                assert_eq!(event.position(), *next);
                let words: Vec<u64> = event
                    .payload()
                    .chunks_exact(8)
                    .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
                    .collect();
                assert!(words.len() == 7 && words.iter().all(|&word| word == words[0]), "torn: {words:?}");
                seen.push(event.position());
                *next += 1;
            }
            Ok(None) => return (seen, lost),
            Err(RecvError::Lost { from, to, events }) => {
                assert!(
                    from == *next && to > from && events == to - from,
                    "{from} {to} {events}, not {next}"
                );
                lost += events;
                *next = to;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn payload(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(7)
}

#[test]
fn it_holds_nobody_up_and_is_told_exactly_what_it_lost() {
    let (_base, bus) = bus();
    let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(128);
    let jobs = bus.create("jobs", &options).unwrap();
    let mut producer = jobs.producer(&SendOptions::default()).unwrap();
    let mut worker = jobs.worker(&WorkOptions::default()).unwrap();
    let mut tap = jobs.tap(&lossy()).unwrap();
    let mut next = 0;
    let mut push = |count: u64| {
        for n in 0..count {
            producer.try_publish(&payload(n)).unwrap();
            let _ = worker.take().unwrap().done();
        }
    };
    push(64);
    assert_eq!(drain(&mut tap, &mut next), ((0..64).collect(), 0), "a whole ring");
    push(65);
    // One was overwritten; it resumes in the middle of the ring.
    assert_eq!(drain(&mut tap, &mut next), ((97..129).collect(), 33));
    push(1000);
    let (seen, lost) = drain(&mut tap, &mut next);
    assert_eq!((seen.len() as u64 + lost, next), (1000, 1129));
    assert_eq!(tap.lost(), 33 + lost);
    // One that is not lossy gates, beside it.
    let mut gating = jobs.tap(&SubscribeOptions::default()).unwrap();
    push(64);
    assert!(producer.try_publish(&payload(0)).is_err());
    assert_eq!(std::iter::from_fn(|| gating.try_recv().unwrap().map(|_| ())).count(), 64);
}

#[test]
fn nothing_is_torn_while_producers_and_workers_race_over_it() {
    let (_base, bus) = bus();
    let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(128);
    let jobs = bus.create("jobs", &options).unwrap();
    let mut tap = jobs.tap(&lossy()).unwrap();
    let (per_producer, stop) = (30_000u64, AtomicBool::new(false));
    let (mut seen, mut lost, mut next) = (0, 0, 0);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let mut worker = jobs.worker(&WorkOptions::default()).unwrap();
            for _ in 0..2 * per_producer {
                let _ = worker.take().unwrap().done();
            }
        });
        for producer in 0..2 {
            let jobs = &jobs;
            scope.spawn(move || {
                let mut sender = jobs.producer(&SendOptions::default()).unwrap();
                for n in 0..per_producer {
                    sender.publish(&payload(n * 2 + producer)).unwrap();
                }
            });
        }
        scope.spawn(|| {
            working.join().unwrap();
            stop.store(true, Ordering::Release);
        });
        loop {
            let ended = stop.load(Ordering::Acquire);
            let (events, missed) = drain(&mut tap, &mut next);
            (seen, lost) = (seen + events.len() as u64, lost + missed);
            if ended {
                break;
            }
        }
    });
    assert_eq!(seen + lost, 2 * per_producer, "{seen} seen, {lost} lost");
    assert!(seen > 0);
}
