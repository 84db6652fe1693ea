//! A process with handles of every kind, and something open in each, forks. The child's copies
//! refuse every call with `Forked`, or do nothing if a call has no error; dropping them does
//! nothing either. No byte of any channel changes, and the parent goes on with everything that it
//! had open.
//!
//! Left out: the bytes that were borrowed before the fork (an event's payload, a claim's), which
//! are not mapped in the child; and the life lock, which is for `life`.

use std::path::Path;
use std::time::Duration;

use railbus::{
    Attributes, Bridge, Bus, Channel, ChannelOptions, Error, Kind, Pages, PublishEnd, ReadEnd, Reader,
    RecvError, SendError, SendOptions, Sender, SubscribeOptions, Ticket, Watch, WorkOptions, Worker,
};

use crate::children::{role, say};
use crate::forks::{End, drive, event, forked, number};

const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    // Every call of a handle has a fast path, from which stamps, keys and limits keep it.
    for rich in [false, true] {
        let directory = tempfile::tempdir_in(&base).unwrap();
        let bus = Bus::at(directory.path(), "bus").unwrap();
        match role.as_str() {
            "stream" => stream(&create(&bus, Kind::Stream, rich)),
            "topic" => topic(&create(&bus, Kind::Topic, rich)),
            "queue" => queue(&create(&bus, Kind::Queue, rich)),
            other => panic!("no role {other:?}"),
        }
    }
    say(b"done");
}

fn create(bus: &Bus, kind: Kind, rich: bool) -> Channel {
    let options = ChannelOptions::new(kind).lock_memory(false).pages(Pages::Ordinary);
    let options = if kind == Kind::Stream { options } else { options.slots(64) };
    let options = if rich { options.stamp(true).watermarks(50, 25) } else { options };
    let options = if rich && kind == Kind::Queue { options.keyed(true).credits(40) } else { options };
    bus.create("c", &options).unwrap()
}

/// Runs `child` in a fork, in which nothing may happen to the channel.
fn in_fork(channel: &Channel, child: impl FnOnce()) {
    let bytes = || {
        let paths = channel.paths();
        [&paths.ring, &paths.acks].map(|path: &std::path::PathBuf| std::fs::read::<&Path>(path).unwrap())
    };
    let before = bytes();
    assert_eq!(forked(child).wait(), End::Finished);
    assert!(before == bytes(), "the child has changed the channel");
}

/// Every call of a publisher.
fn refuse_sending<R: PublishEnd>(sender: &mut Sender<R>) {
    let bytes = event(9, 32);
    let with = Attributes::typed(7);
    let said = [
        sender.try_publish(&bytes),
        sender.publish(&bytes),
        sender.publish_timeout(&bytes, SOON),
        sender.publish_pod(&9u64),
        sender.publish_with(&bytes, &with),
        sender.try_publish_with(&bytes, &with),
        sender.publish_with_timeout(&bytes, &with, SOON),
        sender.publish_numbered(9, &bytes, &with).map(|_| 0),
        sender.publish_numbered_timeout(9, &bytes, &with, SOON).map(|_| 0),
        sender.try_publish_batch(&[&bytes, &bytes]).map(|_| 0),
        sender.try_publish_batch::<&[u8]>(&[]).map(|_| 0),
        sender.publish_batch(&[&bytes, &bytes]).map(|_| 0).map_err(|failed| failed.error),
        sender.claim(32).map(|_| 0),
        sender.try_claim(32).map(|_| 0),
        sender.claim_with(32, &with).map(|_| 0),
        sender.claim_with_timeout(32, &with, SOON).map(|_| 0),
    ];
    for (which, said) in said.iter().enumerate() {
        assert_eq!(said, &Err(SendError::Forked), "call {which}");
    }
    assert!(!sender.is_under_pressure());
    assert_eq!((sender.events(), sender.readers()), (0, 0));
    assert!(sender.refusal().is_none());
}

/// Every call of a subscriber or a tap.
fn refuse_reading<R: ReadEnd>(reader: &mut Reader<R>) {
    let said = [
        reader.try_recv().map(|_| ()).unwrap_err(),
        reader.recv().map(|_| ()).unwrap_err(),
        reader.recv_timeout(SOON).map(|_| ()).unwrap_err(),
        reader.batch(4).map(|_| ()).unwrap_err(),
        reader.batch_timeout(4, SOON).map(|_| ()).unwrap_err(),
    ];
    assert_eq!(said, [const { RecvError::Forked }; 5]);
    reader.acknowledge();
    assert!(!reader.publishers_left());
    reader.leave_unmeasured();
    reader.watch();
}

/// Every call of a worker.
fn refuse_working(worker: &mut Worker, ticket: Ticket) {
    let said = [
        worker.try_take().map(|_| ()).unwrap_err(),
        worker.take().map(|_| ()).unwrap_err(),
        worker.take_timeout(SOON).map(|_| ()).unwrap_err(),
        worker.take_ticket().map(|_| ()).unwrap_err(),
        worker.take_ticket_timeout(SOON).map(|_| ()).unwrap_err(),
    ];
    assert_eq!(said, [const { RecvError::Forked }; 5]);
    assert!(worker.event(ticket).is_none());
    assert!(!worker.done(ticket) && !worker.retry(ticket));
    assert!(!worker.is_evicted() && !worker.producers_left());
    worker.watch();
}

/// A publisher with a claim open, and readers with a batch open. The child checks its copies; then
/// the parent goes on.
fn go_on<O: PublishEnd, I: ReadEnd>(channel: &Channel, sender: Sender<O>, readers: Vec<Reader<I>>) {
    let (mut sender, mut readers) = (Some(sender), readers);
    let publishing = sender.as_mut().expect("there");
    let joined = publishing.readers();
    for n in 0..5 {
        publishing.try_publish(&event(n, 32)).unwrap();
    }
    for reader in &mut readers {
        assert_eq!(number(&reader.try_recv().unwrap().unwrap()), 0);
    }
    // An open claim: both ways to end it end nothing.
    let mut claim = Some(publishing.claim(32).unwrap());
    in_fork(channel, || drop(claim.take()));
    in_fork(channel, || {
        claim.take().expect("there").commit();
    });
    let mut claim = claim.expect("the parent's is still there");
    claim.copy_from_slice(&event(5, 32));
    claim.commit();
    let mut batches: Vec<_> = readers.iter_mut().map(|reader| Some(reader.batch(2).unwrap())).collect();
    in_fork(channel, || batches.iter_mut().for_each(|batch| drop(batch.take())));
    for batch in batches {
        let numbers: Vec<_> = batch.expect("there").iter().map(|event| number(&event)).collect();
        assert_eq!(numbers, (1..1 + numbers.len() as u64).collect::<Vec<_>>());
    }
    in_fork(channel, || {
        refuse_sending(sender.as_mut().expect("there"));
        readers.iter_mut().for_each(refuse_reading);
        // And once more, after those calls.
        assert_eq!(sender.as_mut().expect("there").try_publish(b"late"), Err(SendError::Forked));
        drop(sender.take());
        readers.clear();
    });
    let mut sender = sender.expect("there");
    sender.try_publish(&event(6, 32)).unwrap();
    assert!(joined >= readers.len() && sender.readers() == joined);
    for reader in &mut readers {
        let first = reader.events();
        for n in first..7 {
            assert_eq!(number(&reader.recv_timeout(SOON).unwrap()), n);
        }
        assert!(reader.try_recv().unwrap().is_none() && !reader.publishers_left());
    }
}

/// An observer refuses, too; handles that the channel opens in the child belong to the child.
fn observe(channel: &Channel) {
    let mut observer = channel.observe().unwrap();
    in_fork(channel, || {
        assert!(matches!(observer.info(), Err(Error::Forked)));
        assert!(matches!(observer.latencies(), Err(Error::Forked)));
        assert_eq!(channel.info().unwrap().positions.events, 7);
    });
    assert_eq!(observer.info().unwrap().positions.events, 7);
}

/// A bridge does nothing in a child, which may drop it: its thread belongs to the parent.
fn refuse_bridging(channel: &Channel, watch: Watch) {
    let mut bridge = Some(Bridge::new(channel).unwrap());
    in_fork(channel, || {
        let bridge = bridge.take().expect("there");
        bridge.arm(watch);
        bridge.drain();
    });
    bridge.expect("there").arm(watch);
}

/// A child opens the channel again, like any other process.
fn a_child_has_handles_of_its_own(channel: &Channel, publish: impl Fn() -> railbus::Result<u64>) {
    assert_eq!(forked(|| assert!(publish().is_ok())).wait(), End::Finished);
    assert_eq!(channel.info().unwrap().positions.events, 8);
}

fn numbering() -> SendOptions {
    SendOptions::default().name("numbers").sequenced(true)
}

fn readers<I: ReadEnd>(open: impl Fn(&SubscribeOptions) -> railbus::Result<Reader<I>>) -> Vec<Reader<I>> {
    let durable = SubscribeOptions::default().name("audit").durable(true);
    let lossy = SubscribeOptions::default().lossy(true);
    [SubscribeOptions::default(), lossy, durable].iter().map(|options| open(options).unwrap()).collect()
}

fn stream(channel: &Channel) {
    let readers = readers(|options| channel.subscriber(options));
    refuse_bridging(channel, readers[0].watch());
    go_on(channel, channel.publisher(&numbering()).unwrap(), readers);
    observe(channel);
    a_child_has_handles_of_its_own(channel, || {
        Ok(channel.publisher(&SendOptions::default())?.publish(&event(7, 32))?)
    });
}

fn topic(channel: &Channel) {
    let readers = readers(|options| channel.topic_subscriber(options));
    go_on(channel, channel.topic_publisher(&numbering()).unwrap(), readers);
    observe(channel);
    a_child_has_handles_of_its_own(channel, || {
        Ok(channel.topic_publisher(&SendOptions::default())?.publish(&event(7, 32))?)
    });
}

fn queue(channel: &Channel) {
    let mut worker = Some(channel.worker(&WorkOptions::default()).unwrap());
    refuse_bridging(channel, worker.as_mut().expect("there").watch());
    let taps = readers(|options| channel.tap(options));
    go_on(channel, channel.producer(&numbering()).unwrap(), taps);
    // The seven events that this test published are there.
    let working = worker.as_mut().expect("there");
    let ticket = working.take_ticket().unwrap().expect("an event");
    let mut job = Some(working.try_take().unwrap().expect("an event"));
    in_fork(channel, || drop(job.take()));
    in_fork(channel, || assert!(!job.take().expect("there").done()));
    assert!(job.expect("there").done());
    in_fork(channel, || {
        refuse_working(worker.as_mut().expect("there"), ticket);
        drop(worker.take());
    });
    let mut worker = worker.expect("there");
    assert_eq!(number(&worker.event(ticket).expect("in hand")), 0);
    assert!(worker.done(ticket));
    for n in 2..7 {
        let job = worker.take_timeout(SOON).unwrap();
        assert_eq!((number(&job), job.attempt()), (n, 1));
        assert!(job.done());
    }
    assert!(worker.try_take().unwrap().is_none());
}

#[test]
fn a_streams_handles_refuse_in_a_fork_child() {
    drive("stream");
}

#[test]
fn a_topics_handles_refuse_in_a_fork_child() {
    drive("topic");
}

#[test]
fn a_queues_handles_refuse_in_a_fork_child() {
    drive("queue");
}
