//! Participants of a channel that is removed learn of it, however it was removed: by `railbus rm`,
//! which leaves a mark, or by unlinking the files, as system services do that clean /dev/shm up.
//!
//! A pass does not prove how soon a publisher learns that files were unlinked when it publishes at
//! full speed. It checks four times a second, if it publishes that often.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use railbus::{
    Attributes, Bridge, Bus, Channel, ChannelOptions, Error, Kind, RecvError, SendError, SendOptions,
    SubscribeOptions, Wait, WorkOptions,
};

const HANG: Duration = Duration::from_secs(60);
const WAITS: [Wait; 3] =
    [Wait::Spin, Wait::Yield { spin: Duration::ZERO }, Wait::Park { spin: Duration::ZERO }];

fn bus() -> (tempfile::TempDir, Bus) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "b").expect("a bus");
    (base, bus)
}

fn create(bus: &Bus, kind: Kind) -> Channel {
    let options = ChannelOptions::new(kind);
    let options = match kind {
        Kind::Stream => options.capacity_bytes(4096),
        _ => options.slots(64).slot_bytes(64),
    };
    bus.create("c", &options).expect("a channel")
}

/// As `railbus rm --force`, or as `rm -rf`.
fn remove(bus: &Bus, by_hand: bool) {
    match by_hand {
        true => std::fs::remove_dir_all(bus.base().join("b")).unwrap(),
        false => bus.remove("c").unwrap(),
    }
}

/// A sender, of whatever kind.
trait Send {
    fn send(&mut self, payload: &[u8]) -> Result<u64, SendError>;
    fn send_batch(&mut self) -> Result<usize, SendError>;
    fn send_in_place(&mut self) -> Result<(), SendError>;
    fn send_waiting(&mut self) -> Result<u64, SendError>;
    fn asked(&self) -> bool;
}

impl<R: railbus::PublishEnd> Send for railbus::Sender<R> {
    fn send(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        self.try_publish(payload)
    }

    fn send_batch(&mut self) -> Result<usize, SendError> {
        self.try_publish_batch(&[b"one", b"two"])
    }

    fn send_in_place(&mut self) -> Result<(), SendError> {
        self.try_claim(3).map(|claim| claim.abort())?;
        self.try_publish_with(b"with", &Attributes::default()).map(drop)
    }

    fn send_waiting(&mut self) -> Result<u64, SendError> {
        self.publish_timeout(b"waiting", HANG)
    }

    fn asked(&self) -> bool {
        self.is_removed()
    }
}

fn sender(channel: &Channel, wait: Wait) -> Box<dyn Send> {
    let options = SendOptions::default().wait(wait);
    match channel.header().kind {
        Kind::Stream => Box::new(channel.publisher(&options).unwrap()),
        Kind::Topic => Box::new(channel.topic_publisher(&options).unwrap()),
        Kind::Queue => Box::new(channel.producer(&options).unwrap()),
        Kind::Table => unreachable!("a table has no events"),
    }
}

/// Waits for an event of the channel, of whatever kind, and returns the error that came instead of
/// one.
fn receive(channel: &Channel, wait: Wait, durable: bool, ready: impl FnOnce()) -> Vec<RecvError> {
    let name = if durable { "durable".to_owned() } else { String::new() };
    let options = SubscribeOptions::default().wait(wait).durable(durable).name(name);
    match channel.header().kind {
        Kind::Stream => {
            let mut reader = channel.subscriber(&options).unwrap();
            ready();
            (0..2).filter_map(|_| reader.recv_timeout(HANG).map(drop).err()).collect()
        }
        Kind::Topic => {
            let mut reader = channel.topic_subscriber(&options).unwrap();
            ready();
            (0..2).filter_map(|_| reader.recv_timeout(HANG).map(drop).err()).collect()
        }
        Kind::Queue => {
            let mut worker = channel.worker(&WorkOptions::default().wait(wait)).unwrap();
            ready();
            (0..2).filter_map(|_| worker.take_timeout(HANG).map(drop).err()).collect()
        }
        Kind::Table => unreachable!("a table has no events"),
    }
}

#[test]
fn who_waits_for_an_event_is_told() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        for (wait, by_hand) in WAITS.into_iter().zip([false, true, true]).chain([(WAITS[2], false)]) {
            let (_base, bus) = bus();
            let channel = create(&bus, kind);
            let (ready, is_ready) = std::sync::mpsc::channel();
            let waiter = {
                let channel = channel.clone();
                std::thread::spawn(move || receive(&channel, wait, true, || ready.send(()).unwrap()))
            };
            is_ready.recv().unwrap();
            remove(&bus, by_hand);
            // The channel that has the name now is another one.
            let anew = create(&bus, kind);
            assert_eq!(waiter.join().unwrap(), [RecvError::Removed; 2], "{kind}, {by_hand}");
            assert!(channel.is_removed().unwrap() && !anew.is_removed().unwrap());
        }
    }
}

#[test]
fn what_was_published_before_is_read_first() {
    for kind in [Kind::Stream, Kind::Topic] {
        let (_base, bus) = bus();
        let channel = create(&bus, kind);
        let ready = || {
            sender(&channel, Wait::Spin).send(b"last").unwrap();
            remove(&bus, false);
        };
        assert_eq!(receive(&channel, Wait::default(), false, ready), [RecvError::Removed]);
    }
}

#[test]
fn who_only_polls_is_told() {
    let (_base, bus) = bus();
    let channel = create(&bus, Kind::Stream);
    let mut reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
    remove(&bus, true);
    let started = Instant::now();
    let told = loop {
        match reader.try_recv() {
            Ok(event) => assert!(event.is_none() && started.elapsed() < HANG),
            Err(error) => break error,
        }
    };
    assert_eq!(told, RecvError::Removed);
    assert_eq!(Error::from(told).exit_code(), 7);
}

#[test]
fn who_waits_on_a_bridge_is_told() {
    let (_base, bus) = bus();
    let channel = create(&bus, Kind::Queue);
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    let bridge = Bridge::new(&channel).unwrap();
    remove(&bus, true);
    let started = Instant::now();
    let told = loop {
        match worker.take_ticket() {
            Ok(ticket) => assert!(ticket.is_none() && started.elapsed() < HANG),
            Err(error) => break error,
        }
        bridge.arm(worker.watch());
        let mut waited = [nix::poll::PollFd::new(bridge.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut waited, 60_000u16).unwrap();
        bridge.drain();
    };
    assert_eq!(told, RecvError::Removed);
}

/// The event that is on its way when the mark is set may still go; every call refuses the next one.
#[test]
fn a_publisher_is_told_of_a_mark_by_the_next_event_but_one() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let (_base, bus) = bus();
        let channel = create(&bus, kind);
        let mut sender = sender(&channel, Wait::Spin);
        sender.send(b"before").unwrap();
        remove(&bus, false);
        assert!(sender.asked());
        let _ = sender.send(b"on its way");
        assert_eq!(sender.send(b"after"), Err(SendError::Removed), "{kind}");
        assert_eq!(sender.send_batch(), Err(SendError::Removed), "{kind}");
        assert_eq!(sender.send_in_place(), Err(SendError::Removed), "{kind}");
        assert_eq!(sender.send_waiting(), Err(SendError::Removed), "{kind}");
    }
}

/// Without a mark, and with nobody there to set one.
#[test]
fn a_publisher_that_nobody_hears_is_told_soon() {
    for kind in [Kind::Stream, Kind::Topic] {
        for pause_ms in [0, 1, 30] {
            let (_base, bus) = bus();
            let channel = create(&bus, kind);
            let mut sender = sender(&channel, Wait::Spin);
            // It may have checked just now.
            (0..3).for_each(|_| {
                sender.send(b"before").unwrap();
            });
            remove(&bus, true);
            let started = Instant::now();
            while let Ok(_position) = sender.send(b"after") {
                assert!(started.elapsed() < HANG, "{kind}");
                std::thread::sleep(Duration::from_millis(pause_ms));
            }
            assert_eq!(sender.send(b"after"), Err(SendError::Removed), "{kind}");
        }
    }
}

#[test]
fn a_publisher_that_waits_for_room_is_told() {
    for (kind, by_hand) in [(Kind::Stream, true), (Kind::Queue, false)] {
        for wait in WAITS {
            let (_base, bus) = bus();
            let channel = create(&bus, kind);
            let durable = SubscribeOptions::default().durable(true).name("slow");
            let _reader = (kind == Kind::Stream).then(|| channel.subscriber(&durable).unwrap());
            let mut sender = sender(&channel, wait);
            while sender.send(&[0; 40]).is_ok() {}
            let (told, is_told) = std::sync::mpsc::channel();
            std::thread::scope(|scope| {
                let bus = &bus;
                scope.spawn(move || {
                    is_told.recv().unwrap();
                    remove(bus, by_hand);
                });
                told.send(()).unwrap();
                // A queue without a worker would report that first.
                let refused = loop {
                    match sender.send_waiting() {
                        Err(SendError::TimedOut | SendError::NoWorker) => {}
                        refused => break refused,
                    }
                };
                assert_eq!(refused, Err(SendError::Removed), "{kind}");
            });
        }
    }
}
