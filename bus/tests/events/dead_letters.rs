//! Events that no worker can handle, and a dead-letter queue without room for them.
//!
//! Deaths while a letter is written are in `kill_points.rs`, evictions in `fenced.rs`.

use std::time::Duration;

use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Kind, Origin, Producer, RecvError, SendError, SendOptions,
    Sequence, TraceContext, WorkOptions, Worker,
};

/// Far beyond any load of the machine.
const SOON: Duration = Duration::from_secs(60);
/// Slots of both queues: the smallest number.
const SLOTS: u64 = 64;
const MAX_ATTEMPTS: u32 = 2;
const POISON: u64 = 3;

struct Scene {
    _base: tempfile::TempDir,
    queue: Channel,
    letters: Channel,
    producer: Producer,
}

/// A queue, with poison in it that was delivered as often as allowed, and its dead-letter queue,
/// which is full.
fn scene(keyed: bool) -> Scene {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "bus").unwrap();
    let small = || ChannelOptions::new(Kind::Queue).slots(SLOTS).slot_bytes(128).lock_memory(false);
    let letters = bus.create("letters", &small()).unwrap();
    let options = small().slot_bytes(64).keyed(keyed).max_attempts(MAX_ATTEMPTS);
    let queue = bus.create("q", &options.dead_letters(Some("letters".into()))).unwrap();
    let mut filler = letters.producer(&SendOptions::default()).unwrap();
    for _ in 0..SLOTS {
        filler.publish(b"in the way").unwrap();
    }
    assert!(matches!(filler.try_publish(b"no room"), Err(SendError::Full | SendError::NoWorker)));
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    for n in 0..POISON {
        producer.publish(&n.to_le_bytes()).unwrap();
    }
    let mut delivered = [0; POISON as usize];
    for _ in 0..POISON as u32 * MAX_ATTEMPTS {
        let job = worker.take_timeout(SOON).unwrap();
        delivered[number(&job) as usize] += 1;
        job.retry();
    }
    assert_eq!(delivered, [MAX_ATTEMPTS; POISON as usize]);
    Scene { _base: base, queue, letters, producer }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn unfinished(channel: &Channel) -> u64 {
    channel.info().unwrap().positions.unfinished.unwrap()
}

fn worker(channel: &Channel, until_closed: bool) -> Worker {
    channel.worker(&WorkOptions::default().until_closed(until_closed)).unwrap()
}

/// Works on fresh events for longer than it takes to try the dead-letter queue again, several times.
fn go_on(scene: &mut Scene, workers: &mut [&mut Worker], next: &mut u64) {
    for _ in 0..6 {
        for worker in workers.iter_mut() {
            scene.producer.publish_timeout(&next.to_le_bytes(), SOON).unwrap();
            let job = worker.take_timeout(SOON).unwrap();
            assert_eq!((number(&job), job.attempt()), (*next, 1), "poison is not handed out again");
            assert!(job.done());
            *next += 1;
            assert!(worker.try_take().unwrap().is_none());
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    assert_eq!((unfinished(&scene.queue), unfinished(&scene.letters)), (POISON, SLOTS), "it waits");
}

/// Once round the ring: the poison keeps its slots.
fn go_round(scene: &mut Scene, worker: &mut Worker, next: &mut u64) {
    while *next < SLOTS {
        scene.producer.publish_timeout(&next.to_le_bytes(), SOON).unwrap();
        assert!(worker.take_timeout(SOON).unwrap().done());
        *next += 1;
    }
    assert_eq!(scene.producer.try_publish(b"no room").unwrap_err(), SendError::Full);
    assert!(worker.try_take().unwrap().is_none());
}

/// The letters that are written once there is room: each once, with its origin.
fn expect_letters(scene: Scene, mut worker: Worker) {
    let Scene { queue, letters, producer, _base } = scene;
    let mut undertaker = self::worker(&letters, false);
    for _ in 0..SLOTS {
        let job = undertaker.take_timeout(SOON).unwrap();
        assert_eq!(&*job, b"in the way");
        assert!(job.done());
    }
    drop(producer);
    assert_eq!(worker.take_timeout(SOON).map(|job| number(&job)).unwrap_err(), RecvError::Closed);
    assert_eq!(unfinished(&queue), 0);
    let mut found = Vec::new();
    while let Some(job) = undertaker.try_take().unwrap() {
        let origin = job.event().origin().unwrap();
        assert_eq!((origin.position, origin.attempts), (number(&job), MAX_ATTEMPTS as u64));
        found.push(origin.position);
        assert!(job.done());
    }
    found.sort_unstable();
    assert_eq!(found, (0..POISON).collect::<Vec<_>>());
}

#[test]
fn poison_waits_for_room_in_the_dead_letter_queue_and_others_go_on() {
    for keyed in [false, true] {
        let mut scene = scene(keyed);
        let (mut one, mut two) = (worker(&scene.queue, true), worker(&scene.queue, true));
        let mut next = POISON;
        go_on(&mut scene, &mut [&mut one, &mut two], &mut next);
        // A worker that leaves while it waits leaves the letter to others; so does one that comes.
        drop(one);
        go_on(&mut scene, &mut [&mut two], &mut next);
        let mut three = worker(&scene.queue, true);
        drop(two);
        go_on(&mut scene, &mut [&mut three], &mut next);
        go_round(&mut scene, &mut three, &mut next);
        expect_letters(scene, three);
    }
}

/// The attributes of an event travel with its letter.
#[test]
fn a_letter_keeps_key_type_number_and_trace_of_its_event() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "bus").unwrap();
    let options = ChannelOptions::new(Kind::Queue).keyed(true).max_attempts(1).lock_memory(false);
    let queue = bus.create("q", &options).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let trace = TraceContext { trace_id: [7; 16], span_id: [9; 8], flags: 1 };
    let given = Attributes::keyed(0xFACE)
        .type_id(77)
        .trace(Some(trace))
        .published_ns(Some(12_345))
        .sequence(Some(Sequence { publisher: 5, number: 6 }));
    let position = producer.publish_with(b"poison", &given).unwrap();
    let mut worker = worker(&queue, false);
    worker.take_timeout(SOON).unwrap().retry();
    assert!(worker.try_take().unwrap().is_none());
    let mut undertaker = self::worker(&bus.attach("q.dead").unwrap(), false);
    let job = undertaker.take_timeout(SOON).unwrap();
    let event = job.event();
    assert_eq!((event.payload(), event.type_id()), (&b"poison"[..], 77));
    assert_eq!((event.key(), event.trace()), (Some(0xFACE), Some(trace)));
    assert_eq!((event.published_ns(), event.sequence()), (given.published_ns, given.sequence));
    let channel = u64::from_le_bytes(queue.header().channel_id[..8].try_into().unwrap());
    let origin =
        Origin { channel, incarnation: queue.header().incarnation, position, attempts: 1, expired: false };
    assert_eq!(event.origin(), Some(origin));
    assert!(job.done());
}

#[test]
fn a_queue_with_poison_that_waits_is_not_finished() {
    let mut scene = scene(false);
    let mut last = worker(&scene.queue, true);
    drop(scene.producer);
    let waited = last.take_timeout(Duration::from_millis(30)).map(|job| number(&job));
    assert_eq!(waited.unwrap_err(), RecvError::TimedOut, "all producers have left, and it has to be buried");
    scene.producer = scene.queue.producer(&SendOptions::default()).unwrap();
    expect_letters(scene, last);
}
