//! Waiting until an event is finished, and what is known of how it ended.

use std::time::Duration;

use nix::sys::signal::Signal;
use railbus::{
    Bus, Channel, ChannelOptions, Error, JobEnd, JobState, Kind, SendOptions, SubscribeOptions, WorkOptions,
};

use crate::children::{role, say};
use crate::forks::{Shared, drive, forked};

/// Far beyond any load of the machine.
const SOON: Duration = Duration::from_secs(60);

fn queue(base: &tempfile::TempDir) -> Channel {
    let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64).lock_memory(false);
    Bus::at(base.path(), "bus").unwrap().create("q", &options).unwrap()
}

fn base() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

#[test]
fn an_event_is_followed_from_its_publication_to_its_end_and_beyond() {
    let base = base();
    let queue = queue(&base);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let named = WorkOptions::default().name("ant");
    let mut worker = queue.worker(&named).unwrap();
    assert_eq!(queue.job_state(0).unwrap(), JobState::Future);
    let position = producer.publish(b"x").unwrap();
    assert_eq!(queue.job_state(position).unwrap(), JobState::Waiting { attempts: 0, due_in: None });
    for attempt in 1..=2 {
        let ticket = worker.take().unwrap().keep();
        let pid = std::process::id();
        let held = JobState::Held { pid, worker: "ant".into(), attempt, is_dead: false };
        assert_eq!(queue.job_state(position).unwrap(), held);
        let error = producer.wait_done(position, Duration::from_millis(2)).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, Error::TimedOut { .. }) && said.contains("\"ant\""), "{said}");
        assert!(said.contains(&format!("delivery {attempt}")), "{said}");
        if attempt == 1 {
            assert!(worker.retry(ticket));
            assert!(matches!(queue.job_state(position).unwrap(), JobState::Waiting { attempts: 1, .. }));
        } else {
            assert!(worker.done(ticket));
        }
    }
    // It is known for as long as the slot is not used again.
    for _ in 0..64 {
        assert_eq!(queue.wait_done(position, Duration::ZERO).unwrap(), JobEnd::Done);
        assert_eq!(queue.job_state(position).unwrap(), JobState::Finished(JobEnd::Done));
        producer.publish(b"y").unwrap();
        assert!(worker.take().unwrap().done());
    }
    assert_eq!(queue.wait_done(position, Duration::ZERO).unwrap(), JobEnd::Forgotten);
}

#[test]
fn an_outcome_is_that_of_its_own_event_in_every_lap() {
    let base = base();
    let queue = queue(&base);
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    for n in 0..1000u64 {
        let position = producer.publish(b"x").unwrap();
        let end = if n % 3 == 0 {
            assert_eq!(queue.purge(false).unwrap().events, 1);
            JobEnd::Purged
        } else {
            assert!(worker.take().unwrap().done());
            JobEnd::Done
        };
        assert_eq!(queue.wait_done(position, Duration::ZERO).unwrap(), end, "{position}");
    }
}

#[test]
fn other_channels_and_removed_ones_are_errors() {
    let base = base();
    let bus = Bus::at(base.path(), "bus").unwrap();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream).lock_memory(false)).unwrap();
    assert!(matches!(stream.wait_done(0, SOON), Err(Error::Invalid { .. })));
    assert!(matches!(stream.job_state(0), Err(Error::Invalid { .. })));
    let queue = queue(&base);
    let position = queue.producer(&SendOptions::default()).unwrap().publish(b"x").unwrap();
    // A tap is in nobody's way here.
    let _tap = queue.tap(&SubscribeOptions::default()).unwrap();
    bus.remove("q").unwrap();
    assert!(matches!(queue.wait_done(position, SOON), Err(Error::PeerGone { .. })));
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    assert_eq!(role, "a worker dies");
    let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64).lock_memory(false);
    let bus = Bus::at(&base, "bus").unwrap();
    let queue = bus.create("q", &options).unwrap();
    let position = queue.producer(&SendOptions::default()).unwrap().publish(b"x").unwrap();
    let shared = Shared::new();
    let mut holder = forked(|| {
        let queue = bus.attach("q").unwrap();
        let mut worker = queue.worker(&WorkOptions::default()).unwrap();
        let _held = worker.take().unwrap().keep();
        shared.set(0, 1);
        std::thread::sleep(SOON);
    });
    while shared.get(0) == 0 {
        std::thread::yield_now();
    }
    holder.signal(Signal::SIGKILL);
    holder.wait();
    let state = queue.job_state(position).unwrap();
    assert!(matches!(state, JobState::Held { is_dead: true, attempt: 1, .. }), "{state:?}");
    let said = queue.wait_done(position, Duration::from_millis(5)).unwrap_err().to_string();
    assert!(said.contains("which is dead"), "{said}");
    // Another worker gets it, and the wait goes on until it is done.
    let mut other = forked(|| {
        let queue = bus.attach("q").unwrap();
        let mut worker = queue.worker(&WorkOptions::default()).unwrap();
        let job = worker.take_timeout(SOON).unwrap();
        assert_eq!(job.attempt(), 2);
        assert!(job.done());
    });
    assert_eq!(queue.wait_done(position, SOON).unwrap(), JobEnd::Done);
    other.wait();
    say(b"done");
}

#[test]
fn a_wait_goes_on_when_the_worker_dies() {
    drive("a worker dies");
}
