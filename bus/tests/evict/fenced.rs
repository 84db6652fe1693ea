//! Workers that are evicted while they live: stopped while they hold events, running, at every
//! access; in both ways in which a worker stores its words. The events that it held go to another,
//! its late `done` is refused, and each event counts once.
//!
//! A pass does not prove that a processor keeps the order of accesses that loom's models assume. In
//! the runs at every access a worker is stopped before it, and not inside a restartable sequence.
//! The tests of `os::quiesce` show that it is sent back to the beginning of one, and so do the
//! workers here that run at full speed while they are evicted.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use railbus::admin::Evicted;
use railbus::info::Life;
use railbus::{Bus, Channel, ChannelOptions, Error, Kind, RecvError, SendOptions, WorkOptions, Worker};
use railbus_os::rseq;
use railbus_ring::frame;
use railbus_ring::members::fence::{Fenced, Stores};
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{ROLE_TAP, ROLE_WORKER};
use railbus_ring::slots::redo::{AT_ONCE, DELAY_NS_MAX};
use railbus_ring::slots::worker::Taken;

use crate::children::{Actor, eventually, role, say, stay};
use crate::forks;
use crate::forks::{End, Part, Shared, deep, drive, event, forked, number};
use crate::scenes::{CHANNEL, STEPS, Stage, worker_of};

const SOON: Duration = Duration::from_secs(60);
/// Slots of the queues: the smallest number.
const SLOTS: u64 = 64;
/// Asks for compare-and-swap.
const SWAP: (&str, &str) = ("RAILBUS_FENCE", "swap");
/// Takes restartable sequences away.
const NO_RSEQ: (&str, &str) = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");

/// The ways in which a child can be made to store.
const WAYS: [&[(&str, &str)]; 3] = [&[], &[SWAP], &[NO_RSEQ]];

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    match role.as_str() {
        "holds three" => hold_three(&base),
        "runs and is evicted" => run_and_be_evicted(&base),
        "is evicted at every access" => {
            let shared = Shared::new();
            let mut stops = 0;
            for variant in 0..6 {
                let (first, stride) = if deep() { (1, 1) } else { (1 + variant / 2, 3) };
                for stop_at in (first..).step_by(stride as usize) {
                    let (end, _) = Stage::run(&base, &shared, evicted_worker, variant, stop_at, 0);
                    assert_eq!(end, End::Finished, "nobody has killed it");
                    if shared.get(STEPS) < stop_at {
                        break;
                    }
                    stops += 1;
                }
            }
            say(format!("{stops} stops").as_bytes());
        }
        "evictor dies" => evictors_die(&base),
        "writes a dead letter" => write_a_dead_letter(&base),
        other => panic!("no role {other}"),
    }
}

fn queue_at(base: &Path) -> Channel {
    let options = ChannelOptions::new(Kind::Queue).slots(SLOTS).lock_memory(false);
    Bus::at(base, "bus").unwrap().create("c", &options).unwrap()
}

/// The entry of the worker of process `pid`.
fn entry_of(channel: &Channel, pid: u32) -> Option<usize> {
    let info = channel.info().unwrap();
    info.participants.iter().find(|one| one.side == Side::Consumers && one.pid == pid).map(|one| one.index)
}

fn is_stopped(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
}

// ---- stopped with events in hand ----

/// Takes three of four, and stops itself. Continued, it reports the results of its `done`.
fn hold_three(base: &Path) {
    let queue = Bus::at(base, "bus").unwrap().attach("c").unwrap();
    let mut worker = queue.worker(&WorkOptions::default().grab(2)).unwrap();
    // Used on another thread than it was opened on.
    std::thread::spawn(move || {
        let tickets: Vec<_> = (0..3).map(|_| worker.take_ticket_timeout(SOON).unwrap()).collect();
        say(b"holds");
        forks::pause();
        // The signal may reach another thread first, and this one a moment later.
        while !worker.is_evicted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!worker.done(tickets[0]) && !worker.retry(tickets[1]) && !worker.done(tickets[2]));
        assert_eq!(worker.try_take().unwrap_err(), RecvError::Evicted);
        assert_eq!(worker.take_timeout(SOON).unwrap_err(), RecvError::Evicted);
        assert_eq!(worker.take().unwrap_err(), RecvError::Evicted);
        assert!(worker.is_evicted() && worker.in_hand() == 0 && worker.event(tickets[0]).is_none());
        say(b"refused");
        stay();
    })
    .join()
    .unwrap();
}

#[test]
fn a_stopped_workers_events_go_to_another_and_its_late_done_is_refused() {
    for way in WAYS {
        let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let queue = queue_at(base.path());
        let mut producer = queue.producer(&SendOptions::default()).unwrap();
        for n in 0..5 {
            producer.publish(&event(n, 16)).unwrap();
        }
        let mut victim = Actor::start_with("holds three", base.path(), way);
        victim.expect("holds");
        eventually("it is stopped", || is_stopped(victim.pid()));
        let mut heir = queue.worker(&WorkOptions::default()).unwrap();
        assert_eq!(number(&heir.take_timeout(SOON).unwrap()), 4, "the others are in its hands");
        let index = entry_of(&queue, victim.pid() as u32).unwrap();
        // Two at once: one does it, or both do it one after the other.
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let evict = || scope.spawn(|| queue.evict(Side::Consumers, index, SOON));
            [evict(), evict()].map(|one| one.join().unwrap()).into_iter().collect()
        });
        let fenced = |one: &railbus::Result<Evicted>| matches!(one, Ok(Evicted::Fenced { events: 4 | 5 }));
        assert!(outcomes.iter().any(fenced), "{outcomes:?}");
        assert!(
            outcomes.iter().all(|one| fenced(one) || matches!(one, Err(Error::Busy { .. }))),
            "{outcomes:?}"
        );
        assert!(is_stopped(victim.pid()), "nobody has touched it");
        let mut attempts = Vec::new();
        for _ in 0..5 {
            let job = heir.take_timeout(SOON).unwrap();
            attempts.push((number(&job), job.attempt()));
            assert!(job.done());
        }
        attempts.sort_unstable();
        assert_eq!(attempts, (0..5).map(|n| (n, 2)).collect::<Vec<_>>(), "the heir has dropped its first");
        for n in 5..5 + 3 * SLOTS {
            producer.publish_timeout(&event(n, 16), SOON).unwrap();
            let job = heir.take_timeout(SOON).unwrap();
            assert_eq!((number(&job), job.attempt()), (n, 1));
            assert!(job.done());
        }
        // SAFETY: the pid is of our own child, which was not waited for yet.
        assert_eq!(unsafe { libc::kill(victim.pid(), libc::SIGCONT) }, 0);
        victim.expect("refused");
        let life = |life| queue.info().unwrap().participants.iter().any(|one| one.life == life);
        assert!(life(Life::Evicted));
        for n in 0..SLOTS + 1 {
            producer.publish_timeout(&event(n, 16), SOON).unwrap();
            assert!(heir.take_timeout(SOON).unwrap().done());
        }
        assert!(heir.try_take().unwrap().is_none());
        assert!(victim.finish().success());
        queue.repair().unwrap();
        assert!(!life(Life::Evicted) && !life(Life::Dead), "its place is free");
        assert_eq!(queue.info().unwrap().positions.unfinished, Some(0));
    }
}

// ---- stopped while it writes a dead letter ----

/// Bytes of an event that spans several pages.
const LETTER_BYTES: usize = 3 * PAGE_BYTES;
const PAGE_BYTES: usize = 4096;
/// The page that nobody can read before this process was stopped.
static BARRED: AtomicUsize = AtomicUsize::new(0);

/// A thread has come to the barred page: opens it, and stops the process.
extern "C" fn stop_at_the_bar(_signal: libc::c_int) {
    // SAFETY: the page is a whole one of a mapping that stays, and was readable.
    let opened =
        unsafe { libc::mprotect(BARRED.load(Ordering::SeqCst) as *mut _, PAGE_BYTES, libc::PROT_READ) };
    // SAFETY: no preconditions.
    let stopped = opened == 0 && unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) } == 0;
    if !stopped {
        // SAFETY: no preconditions.
        unsafe { libc::_exit(9) };
    }
}

/// Hands an event back as often as allowed, takes it once more, and is stopped in the middle of
/// copying it to the dead-letter queue.
fn write_a_dead_letter(base: &Path) {
    let queue = Bus::at(base, "bus").unwrap().attach("c").unwrap();
    let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
    let ticket = worker.take_ticket_timeout(SOON).unwrap();
    let body = worker.event(ticket).unwrap().payload().as_ptr() as usize;
    // A page of the payload alone, not the first: half of the event is copied already.
    let page = body.next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
    assert!(page + PAGE_BYTES <= body + LETTER_BYTES);
    BARRED.store(page, Ordering::SeqCst);
    assert!(worker.retry(ticket));
    let handler: extern "C" fn(libc::c_int) = stop_at_the_bar;
    // SAFETY: the handler makes system calls only.
    assert_ne!(unsafe { libc::signal(libc::SIGSEGV, handler as libc::sighandler_t) }, libc::SIG_ERR);
    // SAFETY: a page of the mapping of the ring, which is read only; a thread that reads it comes
    // to the handler.
    assert_eq!(unsafe { libc::mprotect(page as *mut _, PAGE_BYTES, libc::PROT_NONE) }, 0);
    say(b"writes");
    assert_eq!(worker.take_timeout(SOON).map(|job| job.position()).unwrap_err(), RecvError::Evicted);
    say(b"refused");
    stay();
}

/// The part that it had copied, and the part that it copies when it comes back, belong to two
/// events: neither may become a letter.
#[test]
fn a_worker_evicted_while_it_writes_a_dead_letter_writes_none() {
    for way in WAYS {
        let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let bus = Bus::at(base.path(), "bus").unwrap();
        let options = ChannelOptions::new(Kind::Queue).slots(SLOTS).slot_bytes(4 * PAGE_BYTES as u64);
        let options = options.lock_memory(false).pages(railbus::Pages::Ordinary).max_attempts(1);
        let queue = bus.create("c", &options).unwrap();
        let mut producer = queue.producer(&SendOptions::default()).unwrap();
        producer.publish(&event(0, LETTER_BYTES)).unwrap();
        let mut victim = Actor::start_with("writes a dead letter", base.path(), way);
        victim.expect("writes");
        eventually("it is stopped", || is_stopped(victim.pid()));
        let index = entry_of(&queue, victim.pid() as u32).unwrap();
        let evicted = queue.evict(Side::Consumers, index, SOON);
        assert!(matches!(evicted, Ok(Evicted::Fenced { events: 1 })), "{evicted:?}");
        // Another writes the letter, and works on for more than a lap.
        let mut heir = queue.worker(&WorkOptions::default()).unwrap();
        for n in 1..2 * SLOTS {
            producer.publish_timeout(&event(n, LETTER_BYTES), SOON).unwrap();
            let job = heir.take_timeout(SOON).unwrap();
            assert_eq!(number(&job), n);
            assert!(job.done());
        }
        // SAFETY: the pid is of our own child, which was not waited for yet.
        assert_eq!(unsafe { libc::kill(victim.pid(), libc::SIGCONT) }, 0);
        victim.expect("refused");
        let mut undertaker = bus.attach("c.dead").unwrap().worker(&WorkOptions::default()).unwrap();
        let job = undertaker.take_timeout(SOON).unwrap();
        assert_eq!((number(&job), job.event().origin().unwrap().position), (0, 0));
        assert!(job.done());
        assert!(undertaker.try_take().unwrap().is_none(), "one letter");
        assert!(victim.finish().success());
        assert_eq!(queue.info().unwrap().positions.unfinished, Some(0));
    }
}

// ---- running ----

/// Workers in threads of this process run at full speed; one after the other is evicted.
fn run_and_be_evicted(base: &Path) {
    let queue = queue_at(base);
    let rounds = if deep() { 2000 } else { 60 };
    let done: Vec<AtomicU64> = (0..1 << 22).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    let refusals = AtomicU64::new(0);
    let work = |mut worker: Worker| loop {
        // Some hold an event over the next take.
        let first = match worker.take_ticket_timeout(Duration::from_millis(20)) {
            Ok(ticket) => ticket,
            Err(RecvError::TimedOut) if stop.load(Ordering::Relaxed) => return,
            Err(RecvError::TimedOut) => continue,
            Err(RecvError::Evicted) => return,
            Err(error) => panic!("{error}"),
        };
        let second = worker.take_ticket().unwrap_or(None);
        for ticket in [second, Some(first)].into_iter().flatten() {
            let n = worker.event(ticket).map(|event| number(&event));
            if worker.done(ticket) {
                done[n.expect("it was in hand") as usize].fetch_add(1, Ordering::Relaxed);
            } else {
                assert!(worker.is_evicted());
                refusals.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let published = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut producer = queue.producer(&SendOptions::default()).unwrap();
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) && n < done.len() as u64 {
                if producer.publish_timeout(&event(n, 16), Duration::from_millis(10)).is_ok() {
                    n += 1;
                }
            }
            n
        });
        // A worker that stays.
        let heir = queue.worker(&WorkOptions::default()).unwrap();
        scope.spawn(|| work(heir));
        for round in 0..rounds {
            let worker = queue.worker(&WorkOptions::default().name("victim")).unwrap();
            let entry = |channel: &Channel| {
                let info = channel.info().unwrap();
                let is_it =
                    |one: &&railbus::info::Participant| one.name == "victim" && one.life == Life::Live;
                info.participants.iter().find(is_it).map(|one| one.index)
            };
            let index = entry(&queue).expect("it is registered");
            let working = scope.spawn(|| work(worker));
            std::thread::sleep(Duration::from_micros(round * 97 % 3000));
            let evicted = queue.evict(Side::Consumers, index, SOON);
            assert!(matches!(evicted, Ok(Evicted::Fenced { .. })), "{evicted:?}");
            working.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        publishing.join().unwrap()
    });
    let mut last = queue.worker(&WorkOptions::default()).unwrap();
    while let Ok(job) = last.take_timeout(Duration::from_millis(100)) {
        let n = number(&job);
        assert!(job.done());
        done[n as usize].fetch_add(1, Ordering::Relaxed);
    }
    for (n, times) in done.iter().enumerate() {
        let times = times.load(Ordering::Relaxed);
        assert_eq!(times, ((n as u64) < published) as u64, "how often event {n} of {published} was done");
    }
    assert_eq!(queue.info().unwrap().positions.unfinished, Some(0));
    say(format!("{published} events, {} refused", refusals.load(Ordering::Relaxed)).as_bytes());
}

#[test]
fn workers_that_run_are_evicted_and_each_event_is_done_once() {
    for way in WAYS {
        let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let mut child = Actor::start_with("runs and is evicted", base.path(), way);
        println!("{way:?}: {}", child.hear());
        assert!(child.finish().success());
    }
}

// ---- at every access ----

// The report of an actor about an event, in word EVENTS + its number.
const EVENTS: usize = 8;
const FINISHED: u64 = 3;

fn stores_of(variant: u64) -> Stores {
    match rseq::offset() {
        Some(area) if variant.is_multiple_of(2) => Stores::Restart { area },
        _ => Stores::Swap,
    }
}

/// An actor works and is stopped before an access. It is evicted, another finishes the events that
/// it held, and the ring goes on for laps. Then it is continued, and works on as a worker that
/// checks its fence.
fn evicted_worker(stage: &mut Stage<'_>) {
    let channel = stage.channel(Kind::Queue);
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    for n in 0..20 {
        producer.publish(&event(n, 16 + n as usize)).unwrap();
    }
    let mut other = channel.worker(&WorkOptions::default().grab(2)).unwrap();
    let own = entry_of(&channel, std::process::id());
    let mut times = vec![0; 240];
    let mut published = 20;
    let (stores, shared) = (stores_of(stage.variant), stage.shared);
    let mut finish_all = |other: &mut Worker, patience_ms: u64| {
        while let Ok(job) = other.take_timeout(Duration::from_millis(patience_ms)) {
            let n = number(&job) as usize;
            assert!(job.done());
            times[n] += 1;
        }
    };
    stage.act(
        move |base, shared| work_warily(base, shared, stores),
        || {
            let info = channel.info().unwrap();
            let is_victim = |index: usize| Some(index) != own;
            let victims = info.participants.iter().filter(|one| one.side == Side::Consumers);
            for index in victims.map(|one| one.index).filter(|&index| is_victim(index)) {
                match channel.evict(Side::Consumers, index, SOON) {
                    // It registers, or leaves, and holds nothing.
                    Ok(Evicted::Fenced { .. } | Evicted::Dead)
                    | Err(Error::Busy { .. } | Error::NotFound { .. }) => {}
                    outcome => panic!("{outcome:?}"),
                }
            }
            finish_all(&mut other, 3);
            for _ in 0..2 * SLOTS {
                if producer.try_publish(&event(published, 16)).is_err() {
                    break; // One that could not be evicted holds a ticket.
                }
                published += 1;
                finish_all(&mut other, 0);
            }
        },
    );
    finish_all(&mut other, 10);
    for _ in 0..SLOTS + 1 {
        producer.publish_timeout(&event(published, 16), SOON).unwrap();
        published += 1;
        finish_all(&mut other, 0);
    }
    finish_all(&mut other, 10);
    for (n, &times) in times.iter().enumerate().take(published as usize) {
        let by_it = (shared.get(EVENTS + n) == FINISHED) as u64;
        assert_eq!(times + by_it, 1, "event {n}: finished by the other, and {by_it} times by the actor");
    }
    assert_eq!(channel.info().unwrap().positions.unfinished, Some(0));
}

/// As a handle: checks the fence after it has looked at an event, and resigns when something is
/// refused.
fn work_warily(base: &Path, shared: &Shared, stores: Stores) {
    let part =
        Part::register_storing(base, CHANNEL, Side::Consumers, ROLE_WORKER, "", stores).expect("a place");
    let mut core = worker_of(&part);
    let mut held: Vec<(Taken, usize)> = Vec::new();
    for round in 0..7 {
        let easy = if round % 2 == 0 { core.take_fast(1) } else { None };
        let taken = easy
            .map(|ticket| Taken { ticket, attempt: 0 })
            .or_else(|| core.take(1 + round % 3, || DELAY_NS_MAX));
        if let Some(taken) = taken {
            let bytes = frame::body_bytes(core.header(taken.ticket)) as usize;
            let body = part.read(core.body_offset(taken.ticket), bytes.min(112));
            if core.is_fenced() {
                core.keep_waiting(taken.ticket);
                break;
            }
            held.push((taken, number(&body) as usize));
        }
        if round % 3 == 1 && !held.is_empty() {
            let (taken, n) = held.remove(0);
            if !core.done(taken.ticket) {
                break;
            }
            shared.set(EVENTS + n, FINISHED);
        }
        if round == 5
            && let Some((taken, _)) = held.pop()
            && !core.retry(taken.ticket, |_, _| AT_ONCE)
        {
            break;
        }
    }
    if core.is_fenced() {
        core.give_up(&part.peers, 0);
    } else {
        core.hand_back();
        if core.is_fenced() {
            core.give_up(&part.peers, 0);
        }
    }
    part.registry.leave(&part.registered, false);
}

#[test]
fn a_worker_is_evicted_before_every_access_and_comes_back() {
    drive("is evicted at every access");
}

// ---- the evictor dies ----

/// A worker of this process holds four; a forked process that evicts it is killed before each of
/// its accesses. Then another evicts, or the worker finds out itself, or those that work beside it
/// do.
fn evictors_die(base: &Path) {
    let mut kills = 0;
    for variant in 0..2 * 3 {
        for kill_at in 1.. {
            let directory = tempfile::tempdir_in(base).unwrap();
            let queue = queue_at(directory.path());
            let mut producer = queue.producer(&SendOptions::default()).unwrap();
            for n in 0..6 {
                producer.publish(&event(n, 16)).unwrap();
            }
            let mut victim = queue.worker(&WorkOptions::default().grab(2)).unwrap();
            let held: Vec<_> = (0..4).map(|_| victim.take_ticket().unwrap().unwrap()).collect();
            let index = entry_of(&queue, std::process::id()).unwrap();
            let mut evictor = forked(|| {
                let part = Part::register(directory.path(), CHANNEL, Side::Consumers, ROLE_TAP, "").unwrap();
                forks::arm(0, kill_at);
                assert_eq!(part.evict(directory.path(), CHANNEL, index), Fenced::Settled);
            });
            let end = evictor.wait();
            assert_ne!(end, End::Stopped);
            let mut heir = queue.worker(&WorkOptions::default()).unwrap();
            let (mut times, mut again) = ([0; 6], false);
            match variant % 3 {
                0 => {
                    let evicted = queue.evict(Side::Consumers, index, SOON).unwrap();
                    assert!(matches!(evicted, Evicted::Fenced { .. }), "{evicted:?}");
                    again = true;
                }
                // It finds out itself, when it works on or leaves.
                1 => {
                    for (n, &ticket) in held.iter().enumerate() {
                        times[n] += victim.done(ticket) as u64;
                    }
                }
                _ => {}
            }
            if variant % 3 != 2 {
                for (n, &ticket) in held.iter().enumerate() {
                    let done = victim.done(ticket);
                    assert!(!done || times[n] == 0 && !again, "{n} was handed on");
                }
            }
            drop(victim);
            while times.iter().sum::<u64>() < 6 {
                let job = heir.take_timeout(SOON).expect("what it held");
                times[number(&job) as usize] += 1;
                assert!(job.done());
            }
            assert_eq!(times, [1; 6], "variant {variant}, killed at {kill_at}");
            for n in 6..6 + 2 * SLOTS {
                producer.publish_timeout(&event(n, 16), SOON).unwrap();
                let job = heir.take_timeout(SOON).unwrap();
                assert_eq!(number(&job), n);
                assert!(job.done());
            }
            if end == End::Finished {
                break;
            }
            kills += 1;
        }
    }
    say(format!("{kills} kills").as_bytes());
}

#[test]
fn whoever_evicts_is_killed_at_every_access() {
    for way in WAYS {
        let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let mut driver = Actor::start_with("evictor dies", base.path(), way);
        println!("{way:?}: {}", driver.hear());
        assert!(driver.finish().success());
    }
}

// ---- refusals ----

#[test]
fn eviction_says_why_it_cannot_be() {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let queue = queue_at(base.path());
    let worker = queue.worker(&WorkOptions::default()).unwrap();
    assert!(matches!(queue.evict(Side::Consumers, 1, SOON), Err(Error::NotFound { .. })));
    // This process itself is not killed, but its worker is evicted.
    assert!(matches!(queue.kill(Side::Consumers, 0, SOON), Err(Error::Invalid { .. })));
    assert_eq!(queue.evict(Side::Consumers, 0, SOON).unwrap(), Evicted::Fenced { events: 0 });
    assert_eq!(queue.evict(Side::Consumers, 0, SOON).unwrap(), Evicted::Fenced { events: 0 });
    assert!(worker.is_evicted());
    drop(worker);
    let mut next = queue.worker(&WorkOptions::default()).unwrap();
    assert!(!next.is_evicted(), "the place has a new owner");
    assert!(next.try_take().unwrap().is_none());
}

#[test]
fn a_worker_may_still_be_killed() {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let queue = queue_at(base.path());
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for n in 0..4 {
        producer.publish(&event(n, 16)).unwrap();
    }
    let mut victim = Actor::start("holds three", base.path());
    victim.expect("holds");
    let pid = victim.pid() as u32;
    let index = entry_of(&queue, pid).unwrap();
    assert_eq!(queue.kill(Side::Consumers, index, SOON).unwrap(), Evicted::Killed { pid });
    assert_eq!(queue.kill(Side::Consumers, index, SOON).unwrap(), Evicted::Dead);
    let mut heir = queue.worker(&WorkOptions::default()).unwrap();
    for _ in 0..4 {
        assert_eq!(heir.take_timeout(SOON).unwrap().attempt(), 2);
    }
}
