//! Events with times: delayed ones, expiring ones, and those that are handed back for a while.

use std::time::{Duration, Instant};

use railbus::{
    Attributes, Bus, Channel, ChannelOptions, JobEnd, JobState, Kind, RecvError, SendOptions, WorkOptions,
    Worker,
};

/// Far beyond any load of the machine.
const SOON: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

struct Scene {
    _base: tempfile::TempDir,
    bus: Bus,
}

impl Scene {
    fn new() -> Scene {
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let bus = Bus::at(base.path(), "bus").unwrap();
        Scene { _base: base, bus }
    }

    fn queue(&self, name: &str, change: impl FnOnce(ChannelOptions) -> ChannelOptions) -> Channel {
        let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(128).lock_memory(false);
        self.bus.create(name, &change(options)).unwrap()
    }
}

fn worker(queue: &Channel) -> Worker {
    queue.worker(&WorkOptions::default()).unwrap()
}

fn delayed(delay: Duration) -> Attributes {
    Attributes::default().delay(delay)
}

/// An event that expired in the past.
fn expired() -> Attributes {
    Attributes::default().expires_ns(1)
}

/// Takes events until none comes for a moment, and finishes each.
fn drain(worker: &mut Worker) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    loop {
        match worker.take_timeout(SHORT) {
            Ok(job) => {
                taken.push(job.to_vec());
                assert!(job.done());
            }
            Err(RecvError::TimedOut) => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_delayed_event_comes_not_before_its_time_and_holds_nobody_behind_it_up() {
    let scene = Scene::new();
    let queue = scene.queue("q", |options| options);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let delay = Duration::from_millis(300);
    let began = Instant::now();
    let late = producer.publish_with(b"late", &delayed(delay)).unwrap();
    for _ in 0..10 {
        producer.publish(b"now").unwrap();
    }
    let mut worker = worker(&queue);
    for _ in 0..10 {
        let job = worker.take_timeout(SOON).unwrap();
        assert_eq!(&*job, b"now");
        assert!(job.done());
    }
    let state = queue.job_state(late).unwrap();
    assert!(matches!(state, JobState::Waiting { attempts: 0, due_in: Some(_) }), "{state:?}");
    let job = worker.take_timeout(SOON).unwrap();
    // Both clocks advance alike, give or take a correction of NTP.
    assert!(began.elapsed() > delay * 9 / 10, "{:?}", began.elapsed());
    assert_eq!((&*job, job.attempt(), job.position()), (&b"late"[..], 1, late));
    assert!(job.event().not_before_ns().is_some() && job.event().expires_ns().is_none());
    assert!(job.done());
    let counters = queue.info().unwrap().counters;
    assert_eq!((counters.redelivered, counters.expired), (0, 0));
}

#[test]
fn a_delayed_event_wakes_a_worker_that_sleeps_when_its_time_comes() {
    let scene = Scene::new();
    let queue = scene.queue("q", |options| options);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = worker(&queue);
    for _ in 0..5 {
        producer.publish_with(b"x", &delayed(Duration::from_millis(20))).unwrap();
        assert!(worker.take_timeout(SOON).unwrap().done());
    }
}

#[test]
fn many_delayed_events_end_no_deadline() {
    let scene = Scene::new();
    let queue = scene.queue("q", |options| options.slots(1 << 14));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for _ in 0..10_000 {
        producer.publish_with(b"much later", &delayed(Duration::from_secs(3600))).unwrap();
    }
    let last = producer.publish(b"now").unwrap();
    let mut worker = worker(&queue);
    // One poll puts back some hundred. The next goes on, and a wait does not sleep before the end.
    let mut polls = 1;
    while worker.try_take().unwrap().is_none_or(|job| job.position() != last || !job.done()) {
        polls += 1;
    }
    assert!((10..1000).contains(&polls), "{polls} polls");
    assert_eq!(queue.info().unwrap().positions.waiting, Some(10_000));
    assert!(matches!(worker.take_timeout(SHORT), Err(RecvError::TimedOut)));
    let purged = queue.purge(false).unwrap();
    assert_eq!(purged.events, 10_000, "an operator discards them, too");
}

#[test]
fn a_delay_that_is_longer_than_the_index_can_hold_waits_on() {
    let scene = Scene::new();
    let queue = scene.queue("q", |options| options);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let position = producer.publish_with(b"x", &delayed(Duration::from_secs(365 * 24 * 3600))).unwrap();
    let never = Attributes::default().not_before_ns(u64::MAX);
    producer.publish_with(b"never", &never).unwrap();
    assert!(drain(&mut worker(&queue)).is_empty());
    let state = queue.job_state(position).unwrap();
    let JobState::Waiting { attempts: 0, due_in: Some(due_in) } = state else { panic!("{state:?}") };
    assert!(due_in > Duration::from_secs(3600), "{due_in:?}");
}

#[test]
fn an_expired_event_is_dropped_and_counted_or_becomes_a_dead_letter() {
    for (letters, drops) in [(false, false), (true, false), (true, true)] {
        let scene = Scene::new();
        let dead = scene.queue("dead", |options| options.slot_bytes(256));
        let queue = scene.queue("q", |options| {
            let options = options.drop_expired(drops);
            if letters { options.max_attempts(3).dead_letters(Some("dead".into())) } else { options }
        });
        let mut producer = queue.producer(&SendOptions::default()).unwrap();
        let over = producer.publish_with(b"over", &expired().type_id(7).key(5)).unwrap();
        let fresh = producer.publish_with(b"fresh", &Attributes::default().ttl(SOON)).unwrap();
        assert_eq!(drain(&mut worker(&queue)), [b"fresh".to_vec()]);
        let is_letter = letters && !drops;
        let end = JobEnd::Expired { dead_letter: is_letter };
        assert_eq!(queue.wait_done(over, Duration::ZERO).unwrap(), end);
        assert_eq!(queue.wait_done(fresh, Duration::ZERO).unwrap(), JobEnd::Done);
        let counters = queue.info().unwrap().counters;
        assert_eq!((counters.expired, counters.dead_lettered), (1, u64::from(is_letter)));
        if is_letter {
            let listed = queue.dead_letters().unwrap().list().unwrap();
            let origin = listed[0].origin.unwrap();
            assert_eq!((origin.position, origin.attempts, origin.expired), (over, 0, true));
            // It is not expired once more where it is now.
            let mut reader = worker(&dead);
            let job = reader.take_timeout(SOON).unwrap();
            assert_eq!(
                (&*job, job.event().key(), job.event().expires_ns()),
                (&b"over"[..], Some(5), Some(1))
            );
            drop(job);
            drop(reader);
            // Back home it has no times any more.
            let retried =
                queue.dead_letters().unwrap().retry(railbus::admin::Select::All, SOON, false).unwrap();
            assert_eq!(retried.letters.len(), 1, "{retried:?}");
            assert_eq!(drain(&mut worker(&queue)), [b"over".to_vec()]);
        } else {
            assert_eq!(dead.info().unwrap().positions.published, 0);
        }
    }
}

#[test]
fn a_waiting_event_expires_when_its_time_is_over() {
    let scene = Scene::new();
    let queue = scene.queue("q", |options| options);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = worker(&queue);
    let delayed = Attributes::default().delay(Duration::from_secs(3600)).ttl(Duration::from_millis(50));
    let first = producer.publish_with(b"delayed", &delayed).unwrap();
    let failing = Attributes::default().ttl(Duration::from_millis(500));
    let second = producer.publish_with(b"handed back", &failing).unwrap();
    let ticket = worker.take_timeout(SOON).unwrap().keep();
    assert_eq!(ticket.position(), second);
    assert!(worker.retry_after(ticket, Duration::from_secs(3600)));
    let began = Instant::now();
    // The worker has to look for the time to pass.
    while queue.info().unwrap().counters.expired < 2 {
        assert!(began.elapsed() < SOON);
        assert!(matches!(worker.take_timeout(SHORT), Err(RecvError::TimedOut)));
    }
    for position in [first, second] {
        let end = queue.wait_done(position, Duration::ZERO).unwrap();
        assert_eq!(end, JobEnd::Expired { dead_letter: false });
    }
}

#[test]
fn a_full_dead_letter_queue_keeps_an_expired_event_without_counting_attempts() {
    let scene = Scene::new();
    let dead = scene.queue("dead", |options| options.slot_bytes(256));
    let queue = scene.queue("q", |options| options.max_attempts(1).dead_letters(Some("dead".into())));
    let mut filler = dead.producer(&SendOptions::default()).unwrap();
    (0..64).for_each(|_| _ = filler.publish(b"in the way").unwrap());
    let over = queue.producer(&SendOptions::default()).unwrap().publish_with(b"over", &expired()).unwrap();
    let mut queue_worker = worker(&queue);
    for _ in 0..3 {
        assert!(matches!(queue_worker.take_timeout(SHORT), Err(RecvError::TimedOut)));
        let state = queue.job_state(over).unwrap();
        assert!(matches!(state, JobState::Waiting { attempts: 0, .. }), "{state:?}");
    }
    let mut reader = worker(&dead);
    assert!(reader.take_timeout(SOON).unwrap().done());
    while queue.info().unwrap().counters.expired == 0 {
        assert!(matches!(queue_worker.take_timeout(SHORT), Err(RecvError::TimedOut)));
    }
    let letter = queue.dead_letters().unwrap().list().unwrap().pop().unwrap();
    assert_eq!(letter.origin.map(|origin| (origin.attempts, origin.expired)), Some((0, true)));
}

#[test]
fn an_event_that_is_handed_back_for_a_while_comes_after_it_and_counts_one_attempt() {
    let scene = Scene::new();
    scene.queue("dead", |options| options.slot_bytes(256));
    let queue = scene.queue("q", |options| options.max_attempts(3).dead_letters(Some("dead".into())));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let position = producer.publish(b"x").unwrap();
    let mut worker = worker(&queue);
    let delay = Duration::from_millis(200);
    for attempt in 1..=3 {
        let began = Instant::now();
        let job = worker.take_timeout(SOON).unwrap();
        assert_eq!(job.attempt(), attempt);
        if attempt > 1 {
            assert!(began.elapsed() > delay * 9 / 10);
        }
        job.retry_after(delay);
    }
    // Its attempts are used up: it does not wait to become a dead letter.
    let began = Instant::now();
    assert!(matches!(worker.try_take(), Ok(None)));
    assert_eq!(queue.wait_done(position, Duration::ZERO).unwrap(), JobEnd::DeadLetter);
    assert!(began.elapsed() < delay, "{:?}", began.elapsed());
    assert!(!worker.retry_after(railbus::Ticket::from_words(position, 3, 0), delay), "it is not held");
}

#[test]
fn the_channel_sets_how_long_events_wait_that_are_handed_back() {
    let scene = Scene::new();
    let hour = Duration::from_secs(3600);
    let queue = scene.queue("q", |options| options.retry_delay(hour).retry_delay_max(hour * 3));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let position = producer.publish(b"x").unwrap();
    let mut worker = worker(&queue);
    worker.take_timeout(SOON).unwrap().retry();
    worker.take_timeout(SOON).unwrap().retry();
    let state = queue.job_state(position).unwrap();
    let JobState::Waiting { attempts: 2, due_in: Some(due_in) } = state else { panic!("{state:?}") };
    assert!(due_in <= hour && due_in > hour / 2, "{due_in:?}");
    // A queue without delays hands an event back at once, as often as it is handed back.
    let queue =
        scene.queue("eager", |options| options.retry_delay_max(Duration::ZERO).retry_delay(Duration::ZERO));
    queue.producer(&SendOptions::default()).unwrap().publish(b"x").unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    for attempt in 1..=20 {
        let job = worker.try_take().unwrap().expect("it is there at once");
        assert_eq!(job.attempt(), attempt);
        job.retry();
    }
}

#[test]
fn a_delayed_event_of_a_keyed_queue_keeps_its_place_among_those_with_its_key() {
    let scene = Scene::new();
    let queue = scene.queue("q", |options| options.keyed(true));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    producer.publish_with(b"first", &delayed(Duration::from_millis(100)).key(1)).unwrap();
    producer.publish_with(b"second", &Attributes::keyed(1)).unwrap();
    producer.publish_with(b"other", &Attributes::keyed(2)).unwrap();
    let mut worker = worker(&queue);
    let mut order = Vec::new();
    while order.len() < 3 {
        let job = worker.take_timeout(SOON).unwrap();
        order.push(job.to_vec());
        assert!(job.done());
    }
    assert_eq!(order, [b"other".to_vec(), b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn times_survive_a_resize() {
    let scene = Scene::new();
    let queue = scene.queue("q", |options| options.unique(true));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let position = producer.publish_unique("k", b"x", &delayed(Duration::from_secs(3600))).unwrap();
    drop(producer);
    let resize = railbus::admin::Resize { slots: Some(256), ..railbus::admin::Resize::default() };
    queue.resize(&resize, false).unwrap();
    let queue = scene.bus.attach("q").unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let again = producer.publish_unique("k", b"x", &Attributes::default());
    assert_eq!(again, Err(railbus::SendError::Duplicate { position }));
    assert!(drain(&mut worker(&queue)).is_empty());
}
