//! An administrator is killed with a real SIGKILL before and after each of its system calls, and
//! some instructions later: the state that it left is right, and another process goes on.
//!
//! The administrator runs the library itself, traced: it is stopped at every system call, steps on
//! for some instructions, and is killed there. A pass does not prove every instruction between two
//! system calls; they are sampled, differently each time the library changes.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use railbus::admin::{Resize, SeekTo, Select};
use railbus::info::Participant;
use railbus::{Bus, Channel, ChannelOptions, Kind, SendOptions, SubscribeOptions, WorkOptions};
use railbus_ring::members::peers::Side;

use crate::children;
use crate::children::say;
use crate::forks;
use crate::forks::{deep, drive, forked};

const LONG: Duration = Duration::from_secs(30);

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = children::role() else { return };
    let scene = SCENES.iter().find(|(name, ..)| *name == role).expect("a scene");
    let kills = every_point(&base, scene);
    say(format!("{kills} kills").as_bytes());
}

/// Prepares a bus; the action of the administrator; the checks after its death.
type Scene = (&'static str, fn(&Bus), fn(&Bus), fn(&Bus));

const SCENES: &[Scene] = &[
    ("skips", subscription, |bus| drop(topic(bus).skip_subscription("audit", 3, false)), check_skip),
    ("seeks back", stream_subscription, seek_back, check_seek),
    ("purges", queue, |bus| drop(bus.attach("q").unwrap().purge(false)), check_queue),
    ("makes dead letters", queue, make_letters, check_queue),
    ("retries dead letters", letters, retry, check_letters),
    ("makes a stream anew", stream_subscription, |bus| resize(bus, "s"), check_resized_stream),
    ("makes a queue anew", queue, |bus| resize(bus, "q"), check_resized_queue),
    ("makes a queue anew, which is removed", queue, |bus| resize(bus, "q"), check_removed),
    ("evicts its own worker", events, evict_own_worker, check_events),
    ("evicts its own reader", topic_events, evict_own_reader, check_topic),
];

// ---- killing ----

fn ptrace(request: libc::c_uint, pid: Pid) -> bool {
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests read and write no memory of this process.
    unsafe { libc::ptrace(request, pid.as_raw(), null, null) == 0 }
}

/// Whether the actor is stopped before a system call that gives or takes a name.
fn is_naming(pid: Pid) -> bool {
    // op, architecture, two pointers, and before a call its number.
    let mut info = [0u64; 16];
    let bytes = size_of_val(&info);
    // SAFETY: the kernel writes at most so many bytes.
    let got = unsafe {
        libc::ptrace(
            libc::PTRACE_GET_SYSCALL_INFO,
            pid.as_raw(),
            bytes,
            info.as_mut_ptr().cast::<libc::c_void>(),
        )
    };
    assert!(got > 0, "Linux 5.3");
    let names = [libc::SYS_linkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_unlinkat];
    #[cfg(target_arch = "x86_64")]
    let names = [&names[..], &[libc::SYS_link, libc::SYS_rename, libc::SYS_unlink]].concat();
    info[0] & 0xFF == 1 && names.contains(&(info[3] as libc::c_long))
}

/// Waits for the actor; true if it has stopped, false if it has ended, well or by SIGKILL.
fn stopped(pid: Pid) -> bool {
    let mut status = 0;
    // SAFETY: the pointer is valid for writing an int.
    let waited = unsafe { libc::waitpid(pid.as_raw(), &raw mut status, 0) };
    assert_eq!(waited, pid.as_raw());
    if libc::WIFSTOPPED(status) {
        return true;
    }
    let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    assert!(killed || libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "ended with {status:#x}");
    false
}

/// Runs the script up to the `stops`-th stop at a system call, goes on for `steps` instructions,
/// and kills it. If the script ended before, returns for each stop whether a name was about to be
/// given or taken.
fn run(base: &Path, scene: &Scene, stops: usize, steps: usize) -> Option<Vec<bool>> {
    let directory = tempfile::tempdir_in(base).unwrap();
    let bus = Bus::at(directory.path(), "b").unwrap();
    (scene.1)(&bus);
    let actor = forked(|| {
        // SAFETY: reads and writes no memory of this process.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }, 0, "traced");
        forks::pause();
        (scene.2)(&bus);
    });
    let pid = actor.pid();
    // This function waits for it.
    std::mem::forget(actor);
    assert!(stopped(pid));
    // SAFETY: reads and writes no memory of this process.
    let set = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid.as_raw(), 0, libc::PTRACE_O_TRACESYSGOOD) };
    assert_eq!(set, 0);
    let mut seen = Vec::new();
    let mut ended = false;
    while seen.len() < stops && !ended {
        assert!(ptrace(libc::PTRACE_SYSCALL, pid));
        ended = !stopped(pid);
        seen.push(!ended && is_naming(pid));
    }
    for _ in 0..steps {
        if ended {
            break;
        }
        assert!(ptrace(libc::PTRACE_SINGLESTEP, pid));
        ended = !stopped(pid);
    }
    if !ended {
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert!(!stopped(pid));
    }
    (scene.3)(&bus);
    (ended && seen.len() < stops).then_some(seen)
}

/// Kills at every stop; or, if there are many, at a sample of them, and around each at which names
/// change.
fn every_point(base: &Path, scene: &Scene) -> usize {
    let all = run(base, scene, usize::MAX, 0).expect("it comes to its end");
    let is_naming = |at: usize| all.get(at).copied().unwrap_or(false);
    let all_points = all.len();
    let mut points: Vec<usize> = (1..=all_points).collect();
    if !deep() && all_points > 150 {
        // Stop n is the n-th: before it, at it, after the call.
        points.retain(|point| {
            point % (all_points / 60) == 0 || (0..3).any(|i| is_naming((point + 1).wrapping_sub(i)))
        });
    }
    let all = all_points;
    let mut kills = 0;
    for &point in &points {
        // Some instructions on, a few or many: different for each point, and the same in each run.
        let steps = [0, 1 + point * 7919 % 40, point * 104_729 % 3000];
        for steps in if deep() { &steps[..] } else { &steps[point % 3..=point % 3] } {
            let outcome = std::panic::catch_unwind(|| run(base, scene, point, *steps));
            if let Err(panic) = outcome {
                eprintln!("killed at stop {point} of {all}, {steps} instructions on");
                std::panic::resume_unwind(panic);
            }
            kills += 1;
        }
    }
    kills
}

#[test]
fn who_skips_dies_anywhere() {
    drive("skips");
}

#[test]
fn who_seeks_back_dies_anywhere() {
    drive("seeks back");
}

#[test]
fn who_purges_dies_anywhere() {
    drive("purges");
}

#[test]
fn who_makes_dead_letters_dies_anywhere() {
    drive("makes dead letters");
}

#[test]
fn who_retries_dead_letters_dies_anywhere() {
    drive("retries dead letters");
}

#[test]
fn who_evicts_its_own_worker_dies_anywhere() {
    drive("evicts its own worker");
}

#[test]
fn who_evicts_its_own_reader_dies_anywhere() {
    drive("evicts its own reader");
}

#[test]
fn who_makes_a_stream_anew_dies_anywhere() {
    drive("makes a stream anew");
}

#[test]
fn who_makes_a_queue_anew_dies_anywhere() {
    drive("makes a queue anew");
}

#[test]
fn what_a_dead_one_left_of_a_new_queue_goes_with_it() {
    drive("makes a queue anew, which is removed");
}

// ---- the scenes ----

fn durable() -> SubscribeOptions {
    SubscribeOptions::default().name("audit").durable(true)
}

fn plain(kind: Kind) -> ChannelOptions {
    let options =
        ChannelOptions::new(kind).lock_memory(false).pages(railbus::Pages::Ordinary).consumers_max(8);
    match kind {
        Kind::Stream => options.capacity_bytes(4096),
        _ => options.slots(64).slot_bytes(128).producers_max(8),
    }
}

fn topic(bus: &Bus) -> Channel {
    bus.attach("t").unwrap()
}

fn word(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload.try_into().expect("8 bytes"))
}

fn subscription(bus: &Bus) {
    let topic = bus.create("t", &plain(Kind::Topic)).unwrap();
    drop(topic.topic_subscriber(&durable()).unwrap());
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    (0..10u64).for_each(|i| _ = publisher.publish(&i.to_le_bytes()).unwrap());
}

fn check_skip(bus: &Bus) {
    let topic = topic(bus);
    let at = topic.subscriptions().unwrap()[0].position;
    assert!(at == 0 || at == 3, "{at}");
    let mut reader = topic.topic_subscriber(&durable()).unwrap();
    assert_eq!(word(&reader.try_recv().unwrap().unwrap()), at);
    drop(reader);
    assert_eq!(topic.skip_subscription("audit", 1, false).unwrap().from, at + 1);
}

fn stream_subscription(bus: &Bus) {
    let stream = bus.create("s", &plain(Kind::Stream)).unwrap();
    drop(stream.subscriber(&durable()).unwrap());
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    // Nearly a ring, and the cursor near its end: there is room for most of a ring now.
    (0..250u64).for_each(|i| _ = publisher.try_publish(&i.to_le_bytes()).unwrap());
    stream.skip_subscription("audit", 240, false).unwrap();
}

fn seek_back(bus: &Bus) {
    drop(bus.attach("s").unwrap().seek_subscription("audit", SeekTo::Position(1600), false));
}

fn check_seek(bus: &Bus) {
    let stream = bus.attach("s").unwrap();
    let at = stream.subscriptions().unwrap()[0].position / 16;
    assert!(at == 100 || at == 240, "{at}");
    // A publisher goes on until it is held; nothing after the cursor is overwritten.
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    let mut end = 250u64;
    while publisher.try_publish(&end.to_le_bytes()).is_ok() {
        end += 1;
        assert!(end < 1000, "nobody holds it");
    }
    let mut reader = stream.subscriber(&durable()).unwrap();
    for i in at..end {
        assert_eq!(word(&reader.try_recv().unwrap().unwrap()), i);
    }
}

fn queue(bus: &Bus) {
    let queue = bus.create("q", &plain(Kind::Queue).max_attempts(3)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    (0..6u64).for_each(|i| _ = producer.publish(&i.to_le_bytes()).unwrap());
    let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
    worker.take().unwrap().retry();
}

/// The entry of the consumer of this very process.
fn own_entry(channel: &Channel) -> usize {
    let info = channel.info().unwrap();
    let is_own = |one: &&Participant| one.side == Side::Consumers && one.pid == std::process::id();
    info.participants.iter().find(is_own).expect("it is registered").index
}

fn events(bus: &Bus) {
    let queue = bus.create("q", &plain(Kind::Queue)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    (0..6u64).for_each(|i| _ = producer.publish(&i.to_le_bytes()).unwrap());
}

/// Its events go to others; the memory that it uses is set aside first.
fn evict_own_worker(bus: &Bus) {
    let queue = bus.attach("q").unwrap();
    let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
    let tickets = [(); 2].map(|()| worker.take_ticket().unwrap().unwrap());
    let event = worker.event(tickets[1]).unwrap();
    queue.evict(Side::Consumers, own_entry(&queue), LONG).unwrap();
    assert_eq!(word(&event), 1);
    assert!(!worker.done(tickets[0]));
}

/// Every event is there, once.
fn check_events(bus: &Bus) {
    let queue = bus.attach("q").unwrap();
    assert_eq!(drain(&queue), [0, 1, 2, 3, 4, 5]);
    go_on(&queue);
}

fn topic_events(bus: &Bus) {
    bus.create("t", &plain(Kind::Topic)).unwrap();
}

fn evict_own_reader(bus: &Bus) {
    let topic = bus.attach("t").unwrap();
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    publisher.publish(&7u64.to_le_bytes()).unwrap();
    let event = reader.recv_timeout(LONG).unwrap();
    topic.evict(Side::Consumers, own_entry(&topic), LONG).unwrap();
    for i in 0..200u64 {
        publisher.publish_timeout(&i.to_le_bytes(), LONG).unwrap();
    }
    assert_eq!(word(&event), 7);
}

/// Nobody holds a publisher up.
fn check_topic(bus: &Bus) {
    let topic = bus.attach("t").unwrap();
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
    for i in 0..200u64 {
        publisher.publish_timeout(&i.to_le_bytes(), LONG).unwrap();
        assert_eq!(word(&reader.recv_timeout(LONG).unwrap()), i);
    }
}

fn make_letters(bus: &Bus) {
    drop(bus.attach("q").unwrap().skip_events(3, true, LONG, false));
}

/// Takes every event that is there, once. An event that was delivered twice before waits about 1 ms for its
/// next delivery.
fn drain(queue: &Channel) -> Vec<u64> {
    queue.repair().unwrap();
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let mut got = Vec::new();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        while let Some(job) = worker.try_take().unwrap() {
            got.push(word(&job));
            assert!(job.done());
        }
        if queue.info().unwrap().positions.unfinished == Some(0) {
            break;
        }
        assert!(Instant::now() < until, "an event that nobody gets: {:?}", queue.info().unwrap());
    }
    got.sort_unstable();
    got
}

/// Every event that is not there was finished, in order of delivery; and the queue goes on for
/// laps.
fn check_queue(bus: &Bus) {
    let queue = bus.attach("q").unwrap();
    let got = drain(&queue);
    assert!(got.is_empty() || got[..] == (6 - got.len() as u64..6).collect::<Vec<_>>()[..], "{got:?}");
    let letters = drain(queue.dead_letters().unwrap().channel());
    let gone: Vec<u64> = (0..6).filter(|i| !got.contains(i)).collect();
    // Published before it is finished: at most one more than the missing ones.
    assert!(
        letters.is_empty() || letters.starts_with(&gone) && letters.len() <= gone.len() + 1,
        "{letters:?}"
    );
    go_on(&queue);
}

fn go_on(queue: &Channel) {
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for lap in 0..6u64 {
        (0..40).for_each(|i| _ = producer.try_publish(&(lap * 100 + i).to_le_bytes()).unwrap());
        assert_eq!(drain(queue).len(), 40);
    }
    assert_eq!(queue.purge(false).unwrap().events, 0);
}

fn letters(bus: &Bus) {
    queue(bus);
    make_letters(bus);
}

fn retry(bus: &Bus) {
    drop(bus.attach("q").unwrap().dead_letters().unwrap().retry(Select::All, LONG, false));
}

fn check_letters(bus: &Bus) {
    let queue = bus.attach("q").unwrap();
    let (got, letters) = (drain(&queue), drain(queue.dead_letters().unwrap().channel()));
    let mut all = [got, letters].concat();
    all.sort_unstable();
    let many = all.len();
    all.dedup();
    assert_eq!(all, [0, 1, 2, 3, 4, 5], "lost");
    assert!(many <= 7, "more than one twice");
    go_on(&queue);
}

fn resize(bus: &Bus, name: &str) {
    drop(bus.attach(name).unwrap().resize(&larger(name), false));
}

fn larger(name: &str) -> Resize {
    match name {
        "s" => Resize { capacity_bytes: Some(8192), ..Resize::default() },
        _ => Resize { slots: Some(128), ..Resize::default() },
    }
}

/// The old one is there, or the new one. Another process can make it again, and then nothing is
/// left behind.
fn check_resized(bus: &Bus, name: &str, files: usize) -> Channel {
    let channel = bus.attach(name).unwrap();
    let incarnation = channel.header().incarnation;
    let size = channel.header().capacity_bytes;
    let old = if name == "s" { 4096 } else { 64 * 128 };
    assert!((incarnation, size) == (1, old) || (incarnation, size) == (2, 2 * old), "{incarnation} {size}");
    let again = channel.resize(&larger(name), false).unwrap().channel;
    assert_eq!(again.header().incarnation, incarnation + 1);
    let names = std::fs::read_dir(bus.base().join("b")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), files, "{names:?}");
    again
}

fn check_resized_stream(bus: &Bus) {
    let before = bus.attach("s").unwrap();
    let mut reader = before.subscriber(&durable()).unwrap();
    assert_eq!(word(&reader.try_recv().unwrap().unwrap()), 240);
    drop(reader);
    let stream = check_resized(bus, "s", 3);
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    (250..300u64).for_each(|i| _ = publisher.try_publish(&i.to_le_bytes()).unwrap());
    let mut reader = stream.subscriber(&durable()).unwrap();
    for i in 241..300 {
        assert_eq!(word(&reader.try_recv().unwrap().unwrap()), i);
    }
}

fn check_resized_queue(bus: &Bus) {
    let queue = check_resized(bus, "q", 5);
    assert_eq!(drain(&queue), [0, 1, 2, 3, 4, 5]);
    go_on(&queue);
}

fn check_removed(bus: &Bus) {
    bus.remove("q").unwrap();
    bus.remove("q.dead").unwrap();
    let left = std::fs::read_dir(bus.base().join("b")).unwrap();
    assert!(left.map(|entry| entry.unwrap().file_name()).all(|name| name == ".lock"));
}
