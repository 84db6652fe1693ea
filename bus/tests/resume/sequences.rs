//! Publishers that number their events: duplicates are dropped, and the numbers outlive their
//! owner. A publisher that is killed again and again and always starts over from its resume point
//! delivers each number once.

use std::path::Path;
use std::time::Duration;

use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Error, Kind, PublishEnd, RecvError, Result, SendError,
    SendOptions, Sender, Sequence, Start, SubscribeOptions,
};

use crate::children;
use crate::children::{Actor, say};

/// Numbers that the killed publishers publish together.
const EVENTS: u64 = 60_000;

fn named(name: &str) -> SendOptions {
    SendOptions::default().name(name).sequenced(true)
}

fn publish_row<O: PublishEnd>(mut sender: Sender<O>) {
    let resume = sender.resume_point().unwrap();
    say(b"ready");
    // A source that starts a little too early, as one does that keeps its own place carelessly.
    for number in resume.saturating_sub(5).max(1)..=EVENTS {
        let attributes = Attributes::typed(number as u16);
        let published = sender.publish_numbered(number, &number.to_le_bytes(), &attributes).unwrap();
        assert_eq!(published.is_some(), number > resume);
    }
    say(b"finished");
    children::stay();
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = children::role() else { return };
    let channel = Bus::at(base, "numbers").unwrap().attach("row").unwrap();
    match role.as_str() {
        "stream" => publish_row(channel.publisher(&named("feed")).unwrap()),
        "topic" => publish_row(channel.topic_publisher(&named("feed")).unwrap()),
        "queue" => publish_row(channel.producer(&named("feed")).unwrap()),
        _ => panic!("no role {role}"),
    }
}

fn make(base: &Path, kind: Kind) -> Result<Channel> {
    let options = ChannelOptions::new(kind);
    let options = if kind == Kind::Stream { options.capacity_bytes(64 << 10) } else { options.slots(256) };
    Bus::at(base, "numbers")?.create("row", &options)
}

/// Receives the whole row while its publisher is killed after every few thousand events.
fn receive_row(base: &Path, kind: Kind, mut next: impl FnMut() -> Option<u64>) {
    let mut publisher = Actor::start(&kind.to_string(), base);
    publisher.expect("ready");
    let mut kills = 0;
    for expected in 1..=EVENTS {
        let number = next().unwrap_or_else(|| panic!("no event {expected} after {kills} kills"));
        assert_eq!(number, expected, "after {kills} kills");
        if expected % 1999 == 0 && expected < EVENTS - 4000 {
            publisher.kill();
            kills += 1;
            publisher = Actor::start(&kind.to_string(), base);
            publisher.expect("ready");
        }
    }
    publisher.expect("finished");
    assert!(next().is_none(), "nothing comes twice");
    assert!(kills > 20, "{kills} kills");
}

fn number_of(event: &railbus::Event<'_>) -> u64 {
    let number = event.pod::<u64>().unwrap();
    let sequence = Sequence { publisher: Sequence::publisher_id("feed"), number };
    assert_eq!((event.sequence(), event.type_id()), (Some(sequence), number as u16));
    number
}

#[test]
fn a_killed_streams_publisher_resumes_exactly() -> Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut subscriber = make(base.path(), Kind::Stream)?.subscriber(&SubscribeOptions::default())?;
    receive_row(base.path(), Kind::Stream, || match subscriber.recv_timeout(Duration::from_millis(500)) {
        Ok(event) => Some(number_of(&event)),
        Err(RecvError::TimedOut) => None,
        Err(error) => panic!("{error}"),
    });
    Ok(())
}

#[test]
fn a_killed_topics_publisher_resumes_exactly() -> Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut subscriber = make(base.path(), Kind::Topic)?.topic_subscriber(&SubscribeOptions::default())?;
    receive_row(base.path(), Kind::Topic, || match subscriber.recv_timeout(Duration::from_millis(500)) {
        Ok(event) => Some(number_of(&event)),
        Err(RecvError::TimedOut) => None,
        Err(error) => panic!("{error}"),
    });
    Ok(())
}

#[test]
fn a_killed_queues_producer_resumes_exactly() -> Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut worker = make(base.path(), Kind::Queue)?.worker(&Default::default())?;
    receive_row(base.path(), Kind::Queue, || match worker.take_timeout(Duration::from_millis(500)) {
        Ok(job) => {
            let number = number_of(&job.event());
            let _ = job.done();
            Some(number)
        }
        Err(RecvError::TimedOut) => None,
        Err(error) => panic!("{error}"),
    });
    Ok(())
}

#[test]
fn numbers_belong_to_names() -> Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let channel = make(base.path(), Kind::Topic)?;
    let plain = Attributes::default();
    let subscribe = SubscribeOptions::default().start(Start::Oldest);
    let mut subscriber = channel.topic_subscriber(&subscribe)?;

    let mut one = channel.topic_publisher(&named("one"))?;
    let mut two = channel.topic_publisher(&named("two"))?;
    assert_eq!((one.resume_point(), two.resume_point()), (Some(0), Some(0)));
    assert!(one.publish_numbered(10, b"a", &plain)?.is_some());
    assert!(two.publish_numbered(3, b"b", &plain)?.is_some());
    assert!(one.publish_numbered(10, b"a", &plain)?.is_none(), "a duplicate");
    assert!(one.publish_numbered(7, b"a", &plain)?.is_none(), "an older one");
    assert!(two.publish_numbered(7, b"c", &plain)?.is_some(), "another name's numbers are others");

    let error = channel.topic_publisher(&named("one")).expect_err("the name is in use");
    assert!(matches!(error, Error::Busy { .. }) && error.to_string().contains("uses it"), "{error}");
    drop(one);
    assert_eq!(channel.topic_publisher(&named("one"))?.resume_point(), Some(10), "it outlives its owner");

    let mut unnumbered = channel.topic_publisher(&SendOptions::default())?;
    assert_eq!(unnumbered.resume_point(), None);
    assert_eq!(unnumbered.publish_numbered(1, b"", &plain), Err(SendError::NotSequenced));
    let error = channel.topic_publisher(&named("")).expect_err("it has no name");
    assert!(matches!(error, Error::Invalid { .. }), "{error}");

    let mut seen = Vec::new();
    while let Some(event) = subscriber.try_recv()? {
        seen.push((event.to_vec(), event.sequence().map(|sequence| sequence.number)));
    }
    assert_eq!(seen, [(b"a".to_vec(), Some(10)), (b"b".to_vec(), Some(3)), (b"c".to_vec(), Some(7))]);
    Ok(())
}

#[test]
fn a_full_table_of_names_says_so() -> Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let channel = make(base.path(), Kind::Queue)?;
    for i in 0..railbus_ring::layout::SEQUENCES_MAX {
        channel.producer(&named(&format!("name {i}")))?.publish_numbered(
            1 + i as u64,
            b"",
            &Attributes::default(),
        )?;
    }
    let error = channel.producer(&named("one more")).expect_err("the table is full");
    assert!(matches!(error, Error::Busy { .. }) && error.to_string().contains("64 names"), "{error}");
    assert_eq!(channel.producer(&named("name 63"))?.resume_point(), Some(64), "those in it go on");
    Ok(())
}
