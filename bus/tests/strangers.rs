//! Whoever may only read a channel's files can hold shared locks on every byte of them. He freezes nobody: the dead are dead,
//! and others register.
//!
//! What a pass does not prove: anything about janitor bytes, on which such locks keep others from registering.

mod children;

use children::{Actor, eventually, role, say, stay};
use railbus::info::Life;
use railbus::os::lock;
use railbus::{Bus, Channel, ChannelOptions, Kind, SendOptions, SubscribeOptions, WorkOptions, layout};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// The roles of child processes. Not a test: the tests start it.
#[test]
#[ignore = "a child process of the tests"]
fn child() {
    let Some((role, base)) = role() else { return };
    let queue = Bus::at(&base, "test").and_then(|bus| bus.attach("q")).unwrap();
    let options = WorkOptions { grab: 1, ..WorkOptions::default() };
    let mut worker = queue.worker(&options).unwrap();
    match role.as_str() {
        "works" => drop(worker.take_ticket_timeout(SOON).unwrap()),
        "leaves" => drop(worker),
        other => panic!("no role {other}"),
    }
    say(b"holds");
    stay();
}

/// Takes a shared lock on each life byte that nobody has exclusively, as often as it is called.
struct Stranger {
    files: Vec<File>,
}

impl Stranger {
    fn of(base: &Path) -> Stranger {
        let open = |name| File::open(base.join("test").join(name)).unwrap();
        let stranger = Stranger { files: vec![open("q.ring"), open("q.acks")] };
        stranger.lock();
        stranger
    }

    fn lock(&self) {
        for file in &self.files {
            for index in 0..layout::ENTRIES_MAX as u64 {
                let _ = lock::try_share(file.as_fd(), layout::LIFE_LOCK + index).unwrap();
            }
        }
    }
}

fn start(role: &str, base: &Path) -> Actor {
    let mut actor = Actor::start(role, base);
    actor.expect("holds");
    actor
}

fn scene() -> (tempfile::TempDir, Channel) {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = ChannelOptions::new(Kind::Queue).slots(64).producers_max(4).consumers_max(4);
    let queue = Bus::at(base.path(), "test").unwrap().create("q", &options).unwrap();
    (base, queue)
}

fn lives(channel: &Channel) -> Vec<Life> {
    channel.info().unwrap().participants.iter().map(|one| one.life).collect()
}

#[test]
fn the_dead_are_dead_and_others_register_whatever_a_reader_has_locked() {
    let (base, queue) = scene();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for i in 0..3u8 {
        producer.publish(&[i]).unwrap();
    }
    let mut before = start("works", base.path());
    let stranger = Stranger::of(base.path());
    before.kill();
    stranger.lock();
    assert_eq!(lives(&queue), [Life::Live, Life::Dead], "the stranger's lock is no life");

    // One that registers beside the stranger lives as long as its process, and no longer.
    let mut beside = start("works", base.path());
    assert_eq!(lives(&queue).iter().filter(|&&life| life == Life::Live).count(), 2);
    stranger.lock();
    beside.kill();
    eventually("its death is seen", || lives(&queue).iter().filter(|&&life| life == Life::Live).count() == 1);

    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let mut got: Vec<u8> = (0..3)
        .map(|_| {
            let job = worker.take_timeout(SOON).unwrap();
            let byte = job[0];
            job.done();
            byte
        })
        .collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2], "what the dead had in hand is delivered again");
    // Many producers come and go, each in the place of another.
    for _ in 0..20 {
        queue.producer(&SendOptions::default()).unwrap().publish(b"x").unwrap();
        stranger.lock();
    }
}

#[test]
fn who_leaves_beside_a_stranger_has_left_although_its_process_lives() {
    let (base, queue) = scene();
    let stranger = Stranger::of(base.path());
    let _left = start("leaves", base.path());
    stranger.lock();
    assert_eq!(lives(&queue), []);
    // Four places, all of them had by the same process again and again.
    for _ in 0..10 {
        drop(queue.worker(&WorkOptions::default()).unwrap());
        stranger.lock();
    }
    // Without the stranger the next ones are as ever.
    drop(stranger);
    let all: Vec<_> = (0..4).map(|_| queue.worker(&WorkOptions::default()).unwrap()).collect();
    assert!(queue.worker(&WorkOptions::default()).is_err(), "there are four places");
    drop(all);
    let durable = SubscribeOptions { name: "audit".into(), durable: true, ..SubscribeOptions::default() };
    let stranger = Stranger::of(base.path());
    let tap = queue.tap(&durable).unwrap();
    assert!(queue.tap(&durable).is_err(), "one owner at a time");
    drop(tap);
    stranger.lock();
    drop(queue.tap(&durable).unwrap());
}
