//! A user who may only read a channel's files can hold shared locks on every byte of them. He
//! delays nobody: dead participants are found dead, others register, and a channel is evicted from,
//! resized and pruned.
//!
//! A pass does not prove anything about janitors in other PID namespaces that die while such locks
//! are held.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use railbus::admin::{Evicted, Resize, prune};
use railbus::info::Life;
use railbus::{Bus, Channel, ChannelOptions, Kind, Permissions, SendOptions, SubscribeOptions, WorkOptions};
use railbus_os::lock;
use railbus_ring::layout;
use railbus_ring::members::peers::Side;

use crate::children::{Actor, eventually, role, say, stay};

const SOON: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65534;

/// The roles of child processes. Not a test: the tests start it.
#[test]
#[ignore = "a child process of the tests"]
fn child() {
    let Some((role, base)) = role() else { return };
    if role == "locks everything" {
        return lock_everything(&base);
    }
    let queue = Bus::at(&base, "test").and_then(|bus| bus.attach("q")).unwrap();
    let options = WorkOptions::default().grab(1);
    let mut worker = queue.worker(&options).unwrap();
    match role.as_str() {
        "works" => drop(worker.take_ticket_timeout(SOON).unwrap()),
        "leaves" => drop(worker),
        "comes and goes" => {
            drop(worker);
            say(b"holds");
            loop {
                drop(queue.worker(&options).unwrap());
                // Also under the lock of names.
                drop(queue.tap(&durable("audit")));
            }
        }
        other => panic!("no role {other}"),
    }
    say(b"holds");
    stay();
}

/// Every byte that a lock of a channel is on.
fn bytes() -> impl Iterator<Item = u64> {
    let all = layout::NAMES_LOCK as u64 + 1;
    (layout::LIFE_LOCK..layout::LIFE_LOCK + all).chain(layout::JANITOR_LOCK..layout::JANITOR_LOCK + all)
}

/// As another user, if this one is root: takes shared locks on every byte of a channel's files that
/// it can get, until the parent ends it.
fn lock_everything(base: &Path) {
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setgid(NOBODY.into()).unwrap();
        nix::unistd::setuid(NOBODY.into()).unwrap();
        assert!(File::options().write(true).open(base.join("test/q.ring")).is_err(), "it may only read");
    }
    let mut held: Vec<(u64, File)> = Vec::new();
    let mut has_told = false;
    let mut input = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid structure.
    while unsafe { libc::poll(&mut input, 1, 1) } == 0 {
        for name in ["q.ring", "q.acks"] {
            // A channel that was made again has other files.
            let Ok(file) = File::open(base.join("test").join(name)) else { continue };
            let inode = file.metadata().unwrap().ino();
            if held.iter().all(|(known, _)| *known != inode) {
                held.push((inode, file));
            }
        }
        for (_, file) in &held {
            for byte in bytes() {
                let _ = lock::try_share(file.as_fd(), byte).unwrap();
            }
        }
        if !has_told {
            say(b"locked");
            has_told = true;
        }
    }
}

/// Takes a shared lock on each byte that nobody has exclusively, at every call.
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
            for byte in bytes() {
                let _ = lock::try_share(file.as_fd(), byte).unwrap();
            }
        }
    }
}

fn start(role: &str, base: &Path) -> Actor {
    let mut actor = Actor::start(role, base);
    actor.expect("holds");
    actor
}

fn durable(name: &str) -> SubscribeOptions {
    SubscribeOptions::default().name(name).durable(true)
}

fn scene() -> (tempfile::TempDir, Channel) {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let permissions = Permissions { ring_mode: 0o644, acks_mode: 0o644, ..Permissions::default() };
    let options = ChannelOptions::new(Kind::Queue).slots(64).producers_max(4).consumers_max(4);
    let options = options.permissions(permissions);
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
            let _ = job.done();
            byte
        })
        .collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2], "what the dead had in hand is delivered again");
    // Many producers come and go, each in the entry of another.
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
    // Four entries, all of them taken by the same process again and again.
    for _ in 0..10 {
        drop(queue.worker(&WorkOptions::default()).unwrap());
        stranger.lock();
    }
    // Without the stranger the next ones behave as usual.
    drop(stranger);
    let all: Vec<_> = (0..4).map(|_| queue.worker(&WorkOptions::default()).unwrap()).collect();
    assert!(queue.worker(&WorkOptions::default()).is_err(), "there are four places");
    drop(all);
    let stranger = Stranger::of(base.path());
    let tap = queue.tap(&durable("audit")).unwrap();
    assert!(queue.tap(&durable("audit")).is_err(), "one owner at a time");
    drop(tap);
    stranger.lock();
    drop(queue.tap(&durable("audit")).unwrap());
}

#[test]
fn another_user_who_locks_every_byte_that_he_may_read_delays_nothing() {
    let (base, queue) = scene();
    let mut stranger = Actor::start("locks everything", base.path());
    stranger.expect("locked");
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    producer.publish(b"job").unwrap();
    let mut worker = start("works", base.path());
    worker.kill();
    let mut second = queue.worker(&WorkOptions::default()).unwrap();
    assert_eq!(&*second.take_timeout(SOON).unwrap(), b"job", "what the dead held is delivered again");
    drop(second);
    // Everybody comes and goes as often as he likes.
    for _ in 0..20 {
        drop(queue.worker(&WorkOptions::default()).unwrap());
        drop(queue.tap(&durable("audit")).unwrap());
    }
    let mut tap = queue.tap(&durable("screen")).unwrap();
    let index = queue.info().unwrap().participants.iter().find(|one| one.name == "screen").unwrap().index;
    assert_eq!(queue.evict(Side::Consumers, index, SOON).unwrap(), Evicted::Told);
    assert!(tap.recv_timeout(SOON).is_err(), "it was evicted");
    drop((tap, producer));
    queue.repair().unwrap();

    let larger = Resize { slots: Some(128), ..Resize::default() };
    let resized = queue.resize(&Resize { wait: SOON, ..larger }, false).unwrap();
    assert_eq!(resized.channel.header().slots, 128);
    drop(queue);
    let worker = resized.channel.worker(&WorkOptions::default()).unwrap();
    assert_eq!(prune(base.path(), "test", |_| false).unwrap().in_use.len(), 1, "somebody works there");
    drop(worker);
    eventually("it is pruned", || !prune(base.path(), "test", |_| false).unwrap().removed.is_empty());
    assert!(stranger.finish().success());
}

#[test]
fn who_dies_while_it_registers_beside_a_stranger_keeps_nobody_out() {
    let (base, queue) = scene();
    let mut stranger = Actor::start("locks everything", base.path());
    stranger.expect("locked");
    for round in 0..30 {
        let mut actor = start("comes and goes", base.path());
        // Each time at another moment.
        std::thread::sleep(Duration::from_micros(100 * round));
        actor.kill();
        let all: Vec<_> = (0..3).map(|_| queue.worker(&WorkOptions::default()).unwrap()).collect();
        drop(queue.tap(&durable("audit")).unwrap());
        drop(all);
    }
    assert!(stranger.finish().success());
}
