//! Safe code that treats a handle as no careful program does: it panics in the middle of a batch,
//! forgets a guard, or keeps an old ticket. No event that was acknowledged is lost. Nobody is held
//! up for longer than until the handle is used next. And nothing is finished that its owner did not
//! finish.
//!
//! A pass does not prove that a handle that is never used again is noticed. A claim that was
//! forgotten, on a handle that lives and does nothing more, cannot be distinguished from one that
//! is being written.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use railbus::info::{Life, Participant};
use railbus::{
    Bus, Channel, ChannelOptions, Kind, Pages, Producer, RecvError, SendError, SendOptions, SubscribeOptions,
    Ticket, WorkOptions, Worker,
};
use railbus_ring::members::peers::Side;

const SOON: Duration = Duration::from_secs(60);
const BATCH: u32 = 8;

fn channel(kind: Kind) -> (tempfile::TempDir, Channel) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let options = ChannelOptions::new(kind).lock_memory(false).pages(Pages::Ordinary);
    let channel = Bus::at(base.path(), "bus").unwrap().create("c", &options).unwrap();
    (base, channel)
}

fn closing() -> WorkOptions {
    WorkOptions::default().until_closed(true)
}

/// A payload that panics when it is read for the `panics_at`-th time, counted over all of a batch.
struct Trap<'a> {
    looks: &'a Cell<u32>,
    panics_at: u32,
}

impl AsRef<[u8]> for Trap<'_> {
    fn as_ref(&self) -> &[u8] {
        self.looks.set(self.looks.get() + 1);
        assert_ne!(self.looks.get(), self.panics_at, "a fault of the caller's");
        b"trap"
    }
}

/// Publishes a batch that panics at the `panics_at`-th read; false when it did not come so far.
fn panics(publish: impl FnOnce(&[Trap<'_>]), panics_at: u32) -> bool {
    let looks = Cell::new(0);
    let batch: Vec<_> = (0..BATCH).map(|_| Trap { looks: &looks, panics_at }).collect();
    catch_unwind(AssertUnwindSafe(|| publish(&batch))).is_err()
}

#[test]
fn a_panic_in_the_middle_of_a_queues_batch_loses_nothing_that_is_acknowledged_later() {
    for panics_at in 1.. {
        let (_base, queue) = channel(Kind::Queue);
        let mut producer = queue.producer(&SendOptions::default()).unwrap();
        let mut worker = queue.worker(&closing()).unwrap();
        if !panics(|batch| producer.publish_batch(batch).unwrap(), panics_at) {
            assert!(panics_at > 2 * BATCH, "each payload is looked at twice");
            return;
        }
        let mut published = BTreeSet::new();
        for i in 0..20u32 {
            let body = i.to_le_bytes();
            published.insert(match i % 4 {
                0 => producer.publish(&body).unwrap(),
                1 => producer.publish_timeout(&body, SOON).unwrap(),
                2 => producer.claim(0).unwrap().commit(),
                _ => producer.try_publish(&body).unwrap(),
            });
        }
        drop(producer);
        let mut seen = BTreeSet::new();
        let end = loop {
            match worker.take_timeout(SOON) {
                Ok(job) => {
                    if &*job != b"trap" {
                        seen.insert(job.position());
                    }
                    assert!(job.done());
                }
                Err(error) => break error,
            }
        };
        assert_eq!((end, seen), (RecvError::Closed, published), "panicked at look {panics_at}");
    }
}

#[test]
fn a_panic_in_the_middle_of_a_batch_holds_no_reader_up() {
    let subscribe = SubscribeOptions::default().until_closed(true);
    for panics_at in [1, BATCH, BATCH + 1, BATCH + 3, 2 * BATCH] {
        let visible = panics_at.saturating_sub(BATCH + 1);
        let (_base, topic) = channel(Kind::Topic);
        let mut reader = topic.topic_subscriber(&subscribe).unwrap();
        let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
        assert!(panics(|batch| _ = publisher.try_publish_batch(batch), panics_at));
        // The reader waits for nothing, though the publisher does nothing more.
        for _ in 0..visible {
            assert_eq!(&*reader.try_recv().unwrap().expect("it is visible"), b"trap");
        }
        topic.topic_publisher(&SendOptions::default()).unwrap().publish(b"next").unwrap();
        assert_eq!(&*reader.try_recv().unwrap().expect("nothing is before it"), b"next", "{panics_at}");
        drop(publisher);

        let (_base, stream) = channel(Kind::Stream);
        let mut reader = stream.subscriber(&subscribe).unwrap();
        let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
        assert!(panics(|batch| publisher.publish_batch(batch).unwrap(), panics_at));
        publisher.publish(b"next").unwrap();
        drop(publisher);
        let mut count = 0;
        while &*reader.recv().unwrap() == b"trap" {
            count += 1;
        }
        // Events that were visible before the panic stay.
        assert!(count <= visible, "{count} of {visible}");
        assert_eq!(reader.recv().unwrap_err(), RecvError::Closed);
    }
}

/// A payload that is longer at each read.
struct Growing(Cell<usize>);

impl AsRef<[u8]> for Growing {
    fn as_ref(&self) -> &[u8] {
        self.0.set(self.0.get() + 4000);
        &[7; 16_000][..self.0.get().min(16_000)]
    }
}

#[test]
fn a_payload_that_grows_between_two_looks_is_refused() {
    let (_base, queue) = channel(Kind::Queue);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let max = producer.payload_max();
    let grows = Growing(Cell::new(max.saturating_sub(4000)));
    let failed = producer.publish_batch(&[grows]).unwrap_err();
    let (published, error) = (failed.published, failed.error);
    assert!(published == 0 && matches!(error, SendError::TooLong { .. }), "{error}");
    producer.publish(b"next").unwrap();
    assert_eq!(&*queue.worker(&closing()).unwrap().take().unwrap(), b"next");
}

/// Uses a producer whose claim was forgotten.
type Use = fn(&mut Producer);

#[test]
fn a_forgotten_claim_is_given_up_by_the_next_use_of_its_handle() {
    let uses: [(&str, Use); 6] = [
        ("publish", |producer| _ = producer.publish(b"own").unwrap()),
        ("publish_timeout", |producer| _ = producer.publish_timeout(b"own", SOON).unwrap()),
        ("batch", |producer| producer.publish_batch(&[b"own"]).unwrap()),
        ("try_batch", |producer| assert_eq!(producer.try_publish_batch(&[b"own"]).unwrap(), 1)),
        ("claim", |producer| {
            let mut claim = producer.claim(3).unwrap();
            claim.copy_from_slice(b"own");
            claim.commit();
        }),
        ("publish_with", |producer| _ = producer.publish_with(b"own", &Default::default()).unwrap()),
    ];
    for (name, use_it) in uses {
        let (_base, queue) = channel(Kind::Queue);
        let mut worker = queue.worker(&closing()).unwrap();
        let mut forgetful = queue.producer(&SendOptions::default()).unwrap();
        let mut other = queue.producer(&SendOptions::default()).unwrap();
        std::mem::forget(forgetful.claim(8).unwrap());
        other.publish(b"behind").unwrap();
        use_it(&mut forgetful);
        for expected in [b"behind".as_slice(), b"own"] {
            let job = worker.try_take().unwrap().unwrap_or_else(|| panic!("{name}: nothing is in the way"));
            assert_eq!(&*job, expected, "{name}");
            assert!(job.done());
        }
        // Dropping the handle is a use of it, too.
        std::mem::forget(forgetful.try_claim(8).unwrap());
        other.publish(b"last").unwrap();
        drop(forgetful);
        assert_eq!(&*worker.try_take().unwrap().expect("nothing is in the way"), b"last", "{name}");
    }
}

#[test]
fn a_forgotten_claim_of_a_stream_or_topic_leaves_nothing_in_the_way() {
    let (_base, stream) = channel(Kind::Stream);
    let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    std::mem::forget(publisher.claim(8).unwrap());
    publisher.publish(b"next").unwrap();
    assert_eq!(&*reader.try_recv().unwrap().unwrap(), b"next");

    let (_base, topic) = channel(Kind::Topic);
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    for _ in 0..5000 {
        std::mem::forget(publisher.claim(8).unwrap());
        publisher.publish(b"next").unwrap();
        assert_eq!(&*reader.try_recv().unwrap().expect("nothing is in the way"), b"next");
    }
}

#[test]
fn forgotten_jobs_and_batches_are_as_if_they_were_kept() {
    let (_base, queue) = channel(Kind::Queue);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&closing().grab(1)).unwrap();
    producer.publish(b"job").unwrap();
    std::mem::forget(worker.take().unwrap());
    assert_eq!(worker.in_hand(), 1);
    drop(worker);
    let mut worker = queue.worker(&closing()).unwrap();
    let job = worker.take().unwrap();
    assert_eq!((&*job, job.attempt()), (&b"job"[..], 2));
    assert!(job.done());

    let (_base, topic) = channel(Kind::Topic);
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    for round in 0..5000u32 {
        publisher.publish_timeout(&round.to_le_bytes(), SOON).unwrap();
        let batch = reader.batch(4).unwrap();
        assert_eq!(batch.get(0).unwrap().pod::<u32>(), Some(round));
        std::mem::forget(batch);
    }
}

/// Takes the event that was just handed back.
fn again(worker: &mut Worker) -> Ticket {
    worker.take_ticket_timeout(SOON).unwrap()
}

#[test]
fn a_stale_copy_of_a_ticket_does_nothing_to_a_later_delivery() {
    let (_base, queue) = channel(Kind::Queue);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    producer.publish(b"precious").unwrap();
    let mut worker = queue.worker(&closing()).unwrap();
    let mut stale = worker.take_ticket_timeout(SOON).unwrap();
    // Each waits twice as long as the one before.
    for delivery in 2..8u32 {
        assert!(worker.retry(stale));
        let ticket = again(&mut worker);
        assert_eq!((ticket.position(), ticket.attempt()), (stale.position(), delivery));
        for copy in [stale, ticket_of_words(stale)] {
            assert!(worker.event(copy).is_none(), "delivery {delivery}");
            assert!(!worker.done(copy) && !worker.retry(copy), "delivery {delivery}");
        }
        for copy in [ticket, ticket_of_words(ticket)] {
            assert_eq!(worker.event(copy).unwrap().payload(), b"precious");
        }
        assert_eq!(worker.in_hand(), 1);
        stale = ticket;
    }
    // Nor one of a worker that has gone.
    drop(worker);
    let mut heir = queue.worker(&closing()).unwrap();
    let ticket = again(&mut heir);
    assert!(!heir.done(stale) && heir.event(stale).is_none());
    assert!(heir.done(ticket_of_words(ticket)) && !heir.done(ticket));
    drop(producer);
    assert_eq!(heir.take_timeout(SOON).unwrap_err(), RecvError::Closed);
}

#[test]
fn a_stale_copy_of_a_ticket_of_a_keyed_queue_does_nothing_either() {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let options = ChannelOptions::new(Kind::Queue).lock_memory(false).keyed(true);
    let queue = Bus::at(base.path(), "bus").unwrap().create("c", &options).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    producer.publish_with(b"precious", &railbus::Attributes::keyed(1)).unwrap();
    let mut worker = queue.worker(&closing()).unwrap();
    let stale = worker.take_ticket_timeout(SOON).unwrap();
    assert!(worker.retry(stale));
    let ticket = again(&mut worker);
    assert!(!worker.done(stale) && worker.in_hand() == 1);
    assert!(worker.done(ticket));
}

/// Evicts the only consumer that lives.
fn evict(channel: &Channel) {
    let participants = channel.info().unwrap().participants;
    let is_meant = |one: &&Participant| one.side == Side::Consumers && one.life == Life::Live;
    channel.evict_exactly(participants.iter().find(is_meant).unwrap(), SOON).unwrap();
}

/// A payload that is no text, and would show in one.
const NO_TEXT: &[u8] = &[0xFF; 9];
const TEXT: &str = "good text";

/// Checks that bytes that were lent before an eviction are unchanged after others went round the
/// ring.
fn is_kept(lent: &[u8], publish: impl FnMut(&[u8])) {
    let text = std::str::from_utf8(lent).unwrap();
    (0..4000).for_each({
        let mut publish = publish;
        move |_| publish(NO_TEXT)
    });
    assert_eq!((text, std::str::from_utf8(text.as_bytes()).is_ok()), (TEXT, true));
}

fn small(kind: Kind) -> (tempfile::TempDir, Channel) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let options = ChannelOptions::new(kind).lock_memory(false);
    let options = match kind {
        Kind::Stream => options.capacity_bytes(4096),
        _ => options.slots(64).slot_bytes(64),
    };
    let channel = Bus::at(base.path(), "bus").unwrap().create("c", &options).unwrap();
    (base, channel)
}

#[test]
fn what_an_evicted_reader_has_lent_stays_as_it_was() {
    let (_base, stream) = small(Kind::Stream);
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
    publisher.publish(TEXT.as_bytes()).unwrap();
    let event = reader.recv().unwrap();
    evict(&stream);
    is_kept(event.payload(), |bytes| _ = publisher.publish_timeout(bytes, SOON).unwrap());
    assert_eq!(reader.try_recv().unwrap_err(), RecvError::Evicted);
    drop(reader);

    let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
    publisher.publish_batch(&[TEXT.as_bytes(); 5]).unwrap();
    let batch = reader.batch(5).unwrap();
    let last = batch.get(4).unwrap();
    evict(&stream);
    is_kept(&last, |bytes| _ = publisher.publish_timeout(bytes, SOON).unwrap());
    assert_eq!((batch.len(), &*batch.get(0).unwrap()), (5, TEXT.as_bytes()));
    drop(batch);
    assert_eq!(reader.recv().unwrap_err(), RecvError::Evicted);

    let (_base, topic) = small(Kind::Topic);
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    publisher.publish(TEXT.as_bytes()).unwrap();
    let event = reader.recv().unwrap();
    evict(&topic);
    is_kept(event.payload(), |bytes| _ = publisher.publish_timeout(bytes, SOON).unwrap());
    assert_eq!(reader.recv().unwrap_err(), RecvError::Evicted);
}

#[test]
fn what_an_evicted_worker_or_tap_has_lent_stays_as_it_was() {
    for how in ["job", "event", "tap"] {
        let (_base, queue) = small(Kind::Queue);
        let mut producer = queue.producer(&SendOptions::default()).unwrap();
        let go_round = |producer: &mut Producer, lent: &[u8]| {
            let mut other = queue.worker(&WorkOptions::default()).unwrap();
            is_kept(lent, |bytes| {
                producer.publish_timeout(bytes, SOON).unwrap();
                while let Some(job) = other.try_take().unwrap() {
                    let _ = job.done();
                }
            });
        };
        if how == "tap" {
            let mut tap = queue.tap(&SubscribeOptions::default()).unwrap();
            producer.publish(TEXT.as_bytes()).unwrap();
            let event = tap.recv().unwrap();
            evict(&queue);
            go_round(&mut producer, &event);
            assert_eq!(tap.recv().unwrap_err(), RecvError::Evicted);
            continue;
        }
        let mut worker = queue.worker(&WorkOptions::default()).unwrap();
        producer.publish(TEXT.as_bytes()).unwrap();
        let job = worker.take().unwrap();
        if how == "job" {
            evict(&queue);
            go_round(&mut producer, &job);
            assert!(!job.done());
            continue;
        }
        let ticket = job.keep();
        let event = worker.event(ticket).unwrap();
        evict(&queue);
        go_round(&mut producer, &event);
        assert!(!worker.done(ticket) && worker.event(ticket).is_none());
    }
}

#[test]
fn a_publisher_that_evicts_the_stuck_leaves_what_they_look_at() {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let options =
        ChannelOptions::new(Kind::Stream).capacity_bytes(4096).stuck_after(Duration::from_millis(20));
    let stream = Bus::at(base.path(), "bus").unwrap().create("c", &options).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default().evict_stuck(true)).unwrap();
    let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
    publisher.publish(TEXT.as_bytes()).unwrap();
    let event = reader.recv().unwrap();
    is_kept(&event, |bytes| _ = publisher.publish_timeout(bytes, SOON).unwrap());
    assert_eq!(reader.recv().unwrap_err(), RecvError::Evicted);
}

/// Readers that run at full speed are evicted, one after the other: no event changes while they
/// read it, none is torn, and each gets the error at once.
#[test]
fn readers_that_run_are_evicted_and_see_no_event_change() {
    let (_base, stream) = small(Kind::Stream);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
            let mut n = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let _ = publisher.publish_timeout(&[n as u8; 100], Duration::from_millis(10));
                n += 1;
            }
        });
        for round in 0..100u64 {
            let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
            let reading = scope.spawn(move || {
                loop {
                    match reader.recv_timeout(SOON) {
                        Ok(event) => {
                            let first = event.payload()[0];
                            for _ in 0..20 {
                                assert_eq!(event.payload(), [first; 100]);
                            }
                        }
                        Err(error) => break error,
                    }
                }
            });
            std::thread::sleep(Duration::from_micros(round * 97 % 3000));
            evict(&stream);
            assert_eq!(reading.join().unwrap(), RecvError::Evicted);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn ticket_of_words(ticket: Ticket) -> Ticket {
    let (position, attempt, token) = ticket.words();
    Ticket::from_words(position, attempt, token)
}
