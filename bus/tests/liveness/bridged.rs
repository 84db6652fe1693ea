//! A program that waits only on a bridge's descriptor notices deaths and evictions, too.
//!
//! A pass does not prove how soon. Nothing here is measured.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use railbus::admin::Evicted;
use railbus::{
    Bridge, Bus, Channel, ChannelOptions, Kind, RecvError, SendOptions, SubscribeOptions, WorkOptions, Worker,
};
use railbus_ring::members::peers::Side;

use crate::children::{Actor, role, say, stay};

const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let channel = Bus::at(&base, "bus").unwrap().attach("c").unwrap();
    match role.as_str() {
        "holds an event" => {
            let mut worker = channel.worker(&WorkOptions::default()).unwrap();
            let ticket = worker.take_ticket_timeout(SOON).unwrap();
            say(b"taken");
            stay();
            assert!(worker.done(ticket));
        }
        "publishes" => {
            let _publisher = channel.publisher(&SendOptions::default()).unwrap();
            say(b"there");
            stay();
        }
        other => panic!("no role {other}"),
    }
}

fn channel_at(base: &Path, kind: Kind) -> Channel {
    Bus::at(base, "bus").unwrap().create("c", &ChannelOptions::new(kind).lock_memory(false)).unwrap()
}

/// Sleeps until the bridge's descriptor is readable.
fn wait(bridge: &Bridge, until: Instant) {
    let left = until.saturating_duration_since(Instant::now()).as_millis() as u32;
    let mut fds = [PollFd::new(bridge.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap(), 1, "nothing wakes it");
    bridge.drain();
}

/// The loop that the documentation shows, until an event comes, which is done, or an error.
fn work(worker: &mut Worker, bridge: &Bridge) -> Result<u32, RecvError> {
    let until = Instant::now() + SOON;
    loop {
        if let Some(job) = worker.try_take()? {
            let attempt = job.attempt();
            assert!(job.done());
            return Ok(attempt);
        }
        bridge.arm(worker.watch());
        wait(bridge, until);
    }
}

#[test]
fn a_killed_workers_event_comes_to_one_that_waits_on_a_bridge() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let channel = channel_at(base.path(), Kind::Queue);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    producer.publish(b"job").unwrap();
    let mut holder = Actor::start("holds an event", base.path());
    holder.expect("taken");
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    let bridge = Bridge::new(&channel).unwrap();
    assert!(worker.try_take().unwrap().is_none());
    bridge.arm(worker.watch());
    holder.kill();
    wait(&bridge, Instant::now() + SOON);
    assert_eq!(work(&mut worker, &bridge), Ok(2), "it is delivered again");
}

#[test]
fn an_evicted_worker_that_waits_on_a_bridge_is_told() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let channel = channel_at(base.path(), Kind::Queue);
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    let bridge = Bridge::new(&channel).unwrap();
    let its = channel.clone();
    let waiting = std::thread::spawn(move || work(&mut worker, &bridge));
    let index = channel.info().unwrap().participants[0].index;
    assert_eq!(its.evict(Side::Consumers, index, SOON).unwrap(), Evicted::Fenced { events: 0 });
    assert_eq!(waiting.join().unwrap(), Err(RecvError::Evicted));
}

#[test]
fn a_killed_publisher_ends_a_subscriber_that_waits_on_a_bridge() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let channel = channel_at(base.path(), Kind::Stream);
    let mut publisher = Actor::start("publishes", base.path());
    publisher.expect("there");
    let options = SubscribeOptions::default().until_closed(true);
    let mut subscriber = channel.subscriber(&options).unwrap();
    let bridge = Bridge::new(&channel).unwrap();
    publisher.kill();
    let until = Instant::now() + SOON;
    let end = loop {
        match subscriber.try_recv() {
            Ok(event) => assert!(event.is_none()),
            Err(end) => break end,
        }
        bridge.arm(subscriber.watch());
        wait(&bridge, until);
    };
    assert_eq!(end, RecvError::Closed);
}
