//! Unique keys: at most one unfinished event has a key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Kind, Overflow, SendError, SendOptions, WorkOptions, Worker,
};

/// Far beyond any load of the machine.
const SOON: Duration = Duration::from_secs(60);

fn queue(base: &tempfile::TempDir, change: impl FnOnce(ChannelOptions) -> ChannelOptions) -> Channel {
    let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(128).lock_memory(false).unique(true);
    Bus::at(base.path(), "bus").unwrap().create("q", &change(options)).unwrap()
}

fn base() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn finish(worker: &mut Worker) {
    assert!(worker.take_timeout(SOON).unwrap().done());
}

#[test]
fn a_key_is_free_again_when_its_event_is_finished_in_any_way() {
    let base = base();
    let letters = ChannelOptions::new(Kind::Queue).slots(512).slot_bytes(256).lock_memory(false);
    Bus::at(base.path(), "bus").unwrap().create("dead", &letters).unwrap();
    let queue = queue(&base, |options| options.max_attempts(1).dead_letters(Some("dead".into())));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let plain = Attributes::default();
    for round in 0..300 {
        let position = producer.publish_unique("the job", b"x", &plain).unwrap();
        let taken = (round % 2 == 0).then(|| worker.take_timeout(SOON).unwrap().keep());
        let duplicate = producer.publish_unique("the job", b"y", &plain);
        assert_eq!(duplicate, Err(SendError::Duplicate { position }));
        assert!(producer.publish_unique(format!("another {round}").as_str(), b"z", &plain).is_ok());
        match (taken, round % 4) {
            (Some(ticket), 0) => assert!(worker.done(ticket)),
            (Some(ticket), _) => {
                // One attempt: it becomes a dead letter.
                assert!(worker.retry(ticket));
                assert!(worker.take_timeout(SOON).unwrap().done());
            }
            (None, 1) => assert_eq!(queue.purge(false).unwrap().events, 2),
            (None, _) => finish(&mut worker),
        }
        while let Some(job) = worker.try_take().unwrap() {
            assert!(job.done());
        }
    }
    let expired = Attributes::default().expires_ns(1);
    producer.publish_unique("the job", b"x", &expired).unwrap();
    assert!(worker.try_take().unwrap().is_none());
    producer.publish_unique("the job", b"x", &plain).unwrap();
}

#[test]
fn keys_are_compared_whole() {
    let base = base();
    let queue = queue(&base, |options| options);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let plain = Attributes::default();
    let long = "a key that is longer than fifteen bytes, ";
    for (n, key) in ["", "a", "a\0", long, &format!("{long}too")].into_iter().enumerate() {
        assert_eq!(producer.publish_unique(key, b"x", &plain).unwrap(), n as u64);
        assert_eq!(
            producer.publish_unique(key, b"x", &plain),
            Err(SendError::Duplicate { position: n as u64 })
        );
    }
    for number in [0, 1, 97, u64::MAX] {
        assert!(producer.publish_unique(number, b"x", &plain).is_ok());
        assert!(producer.publish_unique(number, b"x", &plain).is_err());
    }
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let key = worker.take().unwrap().event().unique_key();
    assert_eq!(key, Some(railbus::UniqueKey::from("")));
}

#[test]
fn what_is_refused_takes_no_room_and_says_why() {
    let base = base();
    let queue = queue(&base, |options| options.overflow(Overflow::DropNewest));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let plain = Attributes::default();
    let position = producer.publish_unique(1, b"x", &plain).unwrap();
    for _ in 0..1000 {
        assert_eq!(producer.publish_unique(1, b"x", &plain), Err(SendError::Duplicate { position }));
    }
    assert_eq!(queue.info().unwrap().positions.published, 1);
    assert!(matches!(producer.publish_unique(2, &[0; 90], &plain), Err(SendError::TooLong { max: 80, .. })));
    for key in 100..163 {
        producer.publish_unique(key, b"x", &plain).unwrap();
    }
    assert_eq!(producer.publish_unique(999, b"x", &plain), Err(SendError::Dropped));
    let timed_out = producer.publish_unique_timeout(999, b"x", &plain, Duration::from_millis(5));
    assert!(matches!(timed_out, Err(SendError::TimedOut | SendError::NoWorker)), "{timed_out:?}");
    let full = producer.publish_unique_timeout(999, b"x", &plain, Duration::ZERO);
    assert!(matches!(full, Err(SendError::Full | SendError::NoWorker)), "{full:?}");
    let ordinary = ChannelOptions::new(Kind::Queue).lock_memory(false);
    let other = Bus::at(base.path(), "bus").unwrap().create("ordinary", &ordinary).unwrap();
    let mut producer = other.producer(&SendOptions::default()).unwrap();
    assert_eq!(producer.publish_unique(1, b"x", &plain), Err(SendError::NotUnique));
}

#[test]
fn a_letter_that_goes_home_has_its_key_again() {
    let base = base();
    let bus = Bus::at(base.path(), "bus").unwrap();
    let letters = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(256).lock_memory(false);
    bus.create("dead", &letters).unwrap();
    let queue = queue(&base, |options| options.max_attempts(1).dead_letters(Some("dead".into())));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let plain = Attributes::default();
    let mut fail = |producer: &mut railbus::Producer| {
        producer.publish_unique("k", b"x", &plain).unwrap();
        worker.take_timeout(SOON).unwrap().retry();
        assert!(worker.try_take().unwrap().is_none());
    };
    fail(&mut producer);
    fail(&mut producer);
    let retried = queue.dead_letters().unwrap().retry(railbus::admin::Select::All, SOON, false).unwrap();
    assert_eq!((retried.letters.len(), retried.left.len()), (1, 1), "{retried:?}");
    assert!(retried.left[0].1.contains("unique key"), "{retried:?}");
    let again = producer.publish_unique("k", b"x", &plain);
    assert!(matches!(again, Err(SendError::Duplicate { .. })), "{again:?}");
}

/// Threads publish with a few keys while others work. A table beside the queue counts the unfinished
/// events of each key: it is raised when an event is handed out for the first time, and lowered before
/// it is finished.
#[test]
fn of_many_producers_one_at_a_time_has_a_key() {
    const KEYS: u64 = 5;
    const EACH: u64 = 2000;
    let base = base();
    let queue = queue(&base, |options| options);
    let held: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let published: u64 = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..3u64)
            .map(|who| {
                let queue = queue.clone();
                scope.spawn(move || {
                    let mut producer = queue.producer(&SendOptions::default()).unwrap();
                    let mut positions = BTreeMap::new();
                    for n in 0..EACH {
                        let key = (n * 7 + who) % KEYS;
                        match producer.publish_unique(key, &key.to_le_bytes(), &Attributes::default()) {
                            Ok(position) => _ = positions.insert(position, key),
                            Err(SendError::Duplicate { .. }) => std::thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    positions.len() as u64
                })
            })
            .collect();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (queue, held) = (queue.clone(), &held);
                scope.spawn(move || {
                    let mut worker = queue.worker(&WorkOptions::default().until_closed(true)).unwrap();
                    let mut taken = 0u64;
                    while let Ok(job) = worker.take() {
                        let key = u64::from_le_bytes((*job).try_into().unwrap());
                        assert_eq!(held[key as usize].fetch_add(1, Ordering::SeqCst), 0, "key {key} twice");
                        held[key as usize].fetch_sub(1, Ordering::SeqCst);
                        assert!(job.done());
                        taken += 1;
                    }
                    taken
                })
            })
            .collect();
        let published = producers.into_iter().map(|one| one.join().unwrap()).sum();
        let taken: u64 = workers.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!(taken, published);
        published
    });
    assert!(published >= KEYS, "{published}");
}
