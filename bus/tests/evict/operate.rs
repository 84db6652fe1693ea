//! The view of an observer, and the actions of an operator: with real processes that are stopped
//! and killed.

use std::path::Path;
use std::time::{Duration, Instant};

use railbus::admin::Evicted;
use railbus::info::{LOOK_MAX, Life, ParticipantRole};
use railbus::{
    Bus, Channel, ChannelOptions, Error, Kind, RecvError, SendOptions, SubscribeOptions, WorkOptions,
};
use railbus_ring::layout;
use railbus_ring::members::peers::Side;

use crate::children::{Actor, eventually, role, say, stay};

const SOON: Duration = Duration::from_secs(60);

/// The roles of child processes. Not a test: the tests start it.
#[test]
#[ignore = "a child process of the tests"]
fn child() {
    let Some((role, base)) = role() else { return };
    let attach = |name| Bus::at(&base, "test").and_then(|bus| bus.attach(name)).unwrap();
    match role.as_str() {
        "takes three" => {
            let mut worker = attach("q").worker(&WorkOptions::default().grab(2)).unwrap();
            for _ in 0..3 {
                worker.take_ticket_timeout(SOON).unwrap();
            }
            say(b"holds");
            stay();
        }
        "claims" => {
            let mut publisher = attach("t").topic_publisher(&SendOptions::default()).unwrap();
            publisher.publish(b"whole").unwrap();
            let claim = publisher.claim(8).unwrap();
            say(b"holds");
            stay();
            drop(claim);
        }
        "reads the topic" => {
            let subscriber = attach("t").topic_subscriber(&named("child", false)).unwrap();
            say(b"holds");
            stay();
            drop(subscriber);
        }
        "subscribes" => {
            let subscriber = attach("s").subscriber(&named("child", false)).unwrap();
            say(b"holds");
            stay();
            drop(subscriber);
        }
        "reads slowly" => {
            let mut subscriber = attach("s").subscriber(&named("slow", false)).unwrap();
            say(format!("holds {}", railbus_os::clock::monotonic_ns()).as_bytes());
            // One event at a time, always behind, until the parent ends it.
            loop {
                if subscriber.recv_timeout(SOON).is_ok() {
                    subscriber.acknowledge();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        "subscribes durably" => {
            let subscriber = attach("s").subscriber(&named("audit", true)).unwrap();
            say(b"holds");
            stay();
            drop(subscriber);
        }
        other => panic!("no role {other}"),
    }
}

fn named(name: &str, durable: bool) -> SubscribeOptions {
    SubscribeOptions::default().name(name).durable(durable)
}

fn base() -> (tempfile::TempDir, Bus) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "test").expect("a bus");
    (base, bus)
}

fn start(role: &str, base: &Path) -> Actor {
    let mut actor = Actor::start(role, base);
    actor.expect("holds");
    actor
}

fn lives(channel: &Channel) -> Vec<Life> {
    channel.info().unwrap().participants.iter().map(|one| one.life).collect()
}

#[test]
fn an_observer_sees_everybody_and_disturbs_nobody() {
    let (_base, bus) = base();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let info = stream.info().unwrap();
    assert!(info.participants.is_empty() && info.positions.published == 0 && info.positions.depth == 0);
    let mut publisher = stream.publisher(&SendOptions::default().name("feed")).unwrap();
    let mut reader = stream.subscriber(&named("screen", false)).unwrap();
    let lossy = named("lossy", false).lossy(true);
    let _lossy = stream.subscriber(&lossy).unwrap();
    publisher.publish(&[1; 100]).unwrap();
    publisher.publish(&[2; 100]).unwrap();
    let info = stream.info().unwrap();
    let [feed, screen, lossy] = &info.participants[..] else { panic!("{:?}", info.participants) };
    assert_eq!(
        (feed.side, feed.role, feed.name.as_str()),
        (Side::Producers, ParticipantRole::Producer, "feed")
    );
    assert_eq!((feed.pid, feed.events, feed.bytes, feed.position), (std::process::id(), 2, 200, Some(224)));
    assert_eq!((screen.role, screen.life, screen.lag), (ParticipantRole::Subscriber, Life::Live, Some(224)));
    assert_eq!((screen.cursor, screen.stuck_ns, screen.waits), (Some(0), None, None));
    assert_eq!((lossy.lossy, lossy.cursor, lossy.lag), (true, None, None));
    assert_eq!((info.positions.published, info.positions.depth, info.positions.capacity), (224, 224, 4096));
    assert_eq!(reader.recv().unwrap().payload(), [1; 100]);
    assert_eq!(reader.recv().unwrap().payload(), [2; 100]);
    reader.acknowledge();
    assert_eq!(stream.info().unwrap().positions.depth, 0);
    drop(publisher);
    assert_eq!(stream.info().unwrap().participants.len(), 2);
    assert_eq!(stream.info().unwrap().positions.published, 224);

    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slots(64).first_position(1000)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    let mut worker = queue.worker(&WorkOptions::default().grab(4)).unwrap();
    for i in 0..10u64 {
        producer.publish(&i.to_le_bytes()).unwrap();
    }
    let tickets: Vec<_> = (0..6).map(|_| worker.take_ticket().unwrap().unwrap()).collect();
    let info = queue.info().unwrap();
    let positions = &info.positions;
    assert_eq!((positions.published, positions.head, positions.depth), (1010, Some(1008), 10));
    assert_eq!((positions.unfinished, positions.oldest), (Some(10), 1000));
    assert_eq!(info.participants[1].in_hand, 8, "4 as TAKEN, 4 by the claim");
    for ticket in tickets {
        let _ = worker.done(ticket);
    }
    drop(worker);
    let info = queue.info().unwrap();
    assert_eq!(info.positions.unfinished, Some(4));
    assert_eq!(info.participants.len(), 1);
}

#[test]
fn the_dead_are_shown_and_buried_and_their_events_handed_back() {
    let (base, bus) = base();
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slots(64)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for i in 0..10u64 {
        producer.publish(&i.to_le_bytes()).unwrap();
    }
    let mut worker = start("takes three", base.path());
    let info = queue.info().unwrap();
    assert_eq!((info.participants[1].life, info.participants[1].pid), (Life::Live, worker.pid() as u32));
    assert!(queue.repair().unwrap().buried.is_empty(), "nobody is dead");
    worker.kill();
    assert_eq!(lives(&queue), [Life::Live, Life::Dead]);
    let repaired = queue.repair().unwrap();
    assert_eq!(repaired.buried, [(Side::Consumers, 0)]);
    assert!(repaired.unsettled.is_empty() && repaired.skipped.is_empty(), "{repaired:?}");
    assert_eq!(repaired.redone, 4, "three were handed out, one more was taken from the ring with the last");
    assert_eq!(lives(&queue), [Life::Live]);
    let mut heir = queue.worker(&WorkOptions::default()).unwrap();
    let mut seen = Vec::new();
    while let Some(job) = heir.try_take().unwrap() {
        let number = job.event().pod::<u64>().unwrap();
        assert_eq!(job.attempt() > 1, number < 4, "{number}");
        seen.push(number);
        let _ = job.done();
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..10));
    assert_eq!(queue.info().unwrap().counters.redelivered, 4);
}

#[test]
fn a_dead_publishers_claim_is_aborted() {
    let (base, bus) = base();
    let topic = bus.create("t", &ChannelOptions::new(Kind::Topic).slots(64)).unwrap();
    let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
    let mut dead = start("claims", base.path());
    assert_eq!(topic.info().unwrap().participants[0].in_hand, 1);
    dead.kill();
    let repaired = topic.repair().unwrap();
    assert_eq!((repaired.aborted, &repaired.buried[..]), (1, &[(Side::Producers, 0)][..]));
    topic.topic_publisher(&SendOptions::default()).unwrap().publish(b"next").unwrap();
    assert_eq!(&*reader.try_recv().unwrap().unwrap(), b"whole");
    assert_eq!(&*reader.try_recv().unwrap().unwrap(), b"next", "without waiting for a proof");
    assert_eq!(topic.repair().unwrap().aborted, 0);
}

#[test]
fn a_reader_is_evicted_and_told() {
    let (_base, bus) = base();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    while publisher.try_publish(&[0; 100]).is_ok() {}
    assert_eq!(stream.evict(Side::Consumers, 0, Duration::ZERO).unwrap(), Evicted::Told);
    assert_eq!(lives(&stream), [Life::Live, Life::Evicted]);
    for _ in 0..100 {
        publisher.publish_timeout(&[1; 100], SOON).unwrap();
    }
    let end = loop {
        match reader.try_recv() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an evicted reader is told"),
            Err(error) => break error,
        }
    };
    assert_eq!(end, RecvError::Evicted);
    // It may come again.
    drop(reader);
    let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
    publisher.publish(b"again").unwrap();
    assert_eq!(&*reader.recv().unwrap(), b"again");
}

#[test]
fn a_durable_subscription_is_held_and_can_be_forgotten() {
    let (base, bus) = base();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let mut actor = start("subscribes durably", base.path());
    actor.kill();
    assert_eq!(lives(&stream), [Life::Held]);
    assert!(stream.repair().unwrap().buried.is_empty(), "the durable are nobody's prey");
    let mut publisher = stream.publisher(&SendOptions::default().evict_stuck(true)).unwrap();
    while publisher.try_publish(&[0; 100]).is_ok() {}
    assert_eq!(stream.evict(Side::Consumers, 0, Duration::ZERO).unwrap(), Evicted::Forgotten);
    publisher.publish_timeout(&[0; 100], SOON).unwrap();
    assert_eq!(lives(&stream), [Life::Live]);
}

#[test]
fn a_worker_is_killed_when_asked_and_never_another_process() {
    let (base, bus) = base();
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slots(64)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for _ in 0..5 {
        producer.publish(b"job").unwrap();
    }
    // Not itself.
    assert!(matches!(queue.evict(Side::Producers, 0, SOON), Err(Error::Invalid { .. })));
    for nobody in [1, 63, 255, 256, usize::MAX] {
        let error = queue.evict(Side::Producers, nobody, SOON).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{nobody}: {error}");
    }
    let worker = start("takes three", base.path());
    let pid = worker.pid() as u32;
    assert_eq!(queue.kill(Side::Consumers, 0, SOON).unwrap(), Evicted::Killed { pid });
    assert_eq!(lives(&queue), [Life::Live, Life::Dead]);
    assert_eq!(queue.evict(Side::Consumers, 0, SOON).unwrap(), Evicted::Dead);
    let mut heir = queue.worker(&WorkOptions::default()).unwrap();
    for _ in 0..5 {
        let _ = heir.take_timeout(SOON).unwrap().done();
    }
}

#[test]
fn a_stopped_reader_is_stuck_and_is_evicted_by_policy() {
    let (base, bus) = base();
    let options =
        ChannelOptions::new(Kind::Stream).capacity_bytes(4096).stuck_after(Duration::from_millis(20));
    let stream = bus.create("s", &options).unwrap();
    let reader = start("subscribes", base.path());
    // SAFETY: the pid is of our own child, which was not waited for yet.
    assert_eq!(unsafe { libc::kill(reader.pid(), libc::SIGSTOP) }, 0);
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    while publisher.try_publish(&[0; 100]).is_ok() {}
    eventually("it is stuck", || {
        stream.info_after(LOOK_MAX).unwrap().participants[1].stuck_ns.is_some_and(|ns| ns > 20_000_000)
    });
    assert!(
        publisher.publish_timeout(&[0; 100], Duration::from_millis(100)).is_err(),
        "nobody asked to evict"
    );
    drop(publisher);
    let mut publisher = stream.publisher(&SendOptions::default().evict_stuck(true)).unwrap();
    publisher.publish_timeout(&[0; 100], SOON).unwrap();
    assert_eq!(lives(&stream), [Life::Live, Life::Evicted]);
}

#[test]
fn a_reader_that_joins_is_not_counted_before_it_is_ready() {
    let (_base, bus) = base();
    let stream = bus.create("s", &ChannelOptions::new(Kind::Stream)).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    for round in 0..200u64 {
        std::thread::scope(|scope| {
            let joining = scope.spawn(|| {
                let mut reader = stream.subscriber(&SubscribeOptions::default()).unwrap();
                reader.recv_timeout(SOON).unwrap().pod::<u64>()
            });
            while publisher.readers() == 0 {
                std::hint::spin_loop();
            }
            publisher.publish(&round.to_le_bytes()).unwrap();
            assert_eq!(
                joining.join().unwrap(),
                Some(round),
                "what is published after it was counted, it sees"
            );
        });
    }
}

#[test]
fn a_live_subscriber_waits_for_the_first_publisher_of_a_used_channel() {
    let (_base, bus) = base();
    let closing = SubscribeOptions::default().until_closed(true);
    for kind in [Kind::Stream, Kind::Topic] {
        let name = kind.to_string();
        let channel = bus.create(&name, &ChannelOptions::new(kind)).unwrap();
        for _round in 0..3 {
            let patience = Duration::from_millis(30);
            if kind == Kind::Stream {
                let mut reader = channel.subscriber(&closing).unwrap();
                assert_eq!(reader.recv_timeout(patience).unwrap_err(), RecvError::TimedOut);
                drop(channel.publisher(&SendOptions::default()).unwrap());
                assert_eq!(reader.recv_timeout(SOON).unwrap_err(), RecvError::Closed);
            } else {
                let mut reader = channel.topic_subscriber(&closing).unwrap();
                assert_eq!(reader.recv_timeout(patience).unwrap_err(), RecvError::TimedOut);
                drop(channel.topic_publisher(&SendOptions::default()).unwrap());
                assert_eq!(reader.recv_timeout(SOON).unwrap_err(), RecvError::Closed);
            }
        }
    }
}

#[test]
fn only_the_participant_that_was_seen_is_evicted() {
    let (base, bus) = base();
    let only = |channel: &Channel, side| {
        let participants = channel.info().unwrap().participants;
        participants.into_iter().find(|one| one.side == side).expect("somebody is there")
    };
    let is_refused = |outcome: railbus::Result<Evicted>| {
        let said = outcome.expect_err("it is another").to_string();
        assert!(said.contains("changed hands"), "{said}");
    };
    // A reader that has left made its entry free for a durable one.
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(4096).consumers_max(1);
    let stream = bus.create("s", &options).unwrap();
    let gone = stream.subscriber(&named("screen", false)).unwrap();
    let seen = only(&stream, Side::Consumers);
    drop(gone);
    // The only entry. A child that another test starts at this moment has the lock of the one that
    // has left, too, until it calls exec.
    let deadline = Instant::now() + SOON;
    let mut audit = loop {
        match stream.subscriber(&named("audit", true)) {
            Ok(audit) => break audit,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(only(&stream, Side::Consumers).index, seen.index);
    is_refused(stream.evict_exactly(&seen, SOON));
    is_refused(stream.kill_exactly(&seen, SOON));
    stream.publisher(&SendOptions::default()).unwrap().publish(b"kept").unwrap();
    assert_eq!(&*audit.try_recv().unwrap().unwrap(), b"kept");
    assert_eq!(stream.evict_exactly(&only(&stream, Side::Consumers), SOON).unwrap(), Evicted::Told);

    // A worker that has left, and one that was killed, made their entries free for others.
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slots(64)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for _ in 0..20 {
        producer.publish(b"job").unwrap();
    }
    drop(queue.worker(&WorkOptions::default()).unwrap());
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    let seen = only(&queue, Side::Consumers);
    drop(worker.take().unwrap());
    drop(worker);
    let mut killed = start("takes three", base.path());
    is_refused(queue.evict_exactly(&seen, SOON));
    is_refused(queue.kill_exactly(&seen, SOON));
    let seen = only(&queue, Side::Consumers);
    killed.kill();
    assert_eq!(queue.repair().unwrap().buried, [(Side::Consumers, seen.index)]);
    let heir = start("takes three", base.path());
    assert_eq!(only(&queue, Side::Consumers).index, seen.index);
    is_refused(queue.kill_exactly(&seen, SOON));
    assert_eq!(lives(&queue), [Life::Live, Life::Live]);
    let seen = only(&queue, Side::Consumers);
    assert_eq!(queue.kill_exactly(&seen, SOON).unwrap(), Evicted::Killed { pid: heir.pid() as u32 });
    // Nobody is there any more.
    queue.repair().unwrap();
    assert!(matches!(queue.evict_exactly(&seen, SOON), Err(Error::NotFound { .. })));
    drop(producer);
}

/// A user who may write a channel's files can write any pid and start time into an entry.
#[test]
fn a_process_that_does_not_hold_the_participants_lock_is_never_killed() {
    let (base, bus) = base();
    let topic = bus.create("t", &ChannelOptions::new(Kind::Topic).slots(64)).unwrap();
    bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096)).unwrap();
    let mut producer = start("claims", base.path());
    // One that has nothing to do with the channel, and one that takes part in another way.
    let mut stranger = start("subscribes", base.path());
    let mut reader = start("reads the topic", base.path());
    let ring = std::fs::OpenOptions::new().write(true).open(base.path().join("test/t.ring")).unwrap();
    let forge = |pid: u32| {
        use std::os::unix::fs::FileExt;
        let start = railbus_os::process::start_time_ticks(pid).unwrap();
        let entry = (layout::HEADER_BYTES + layout::entry(0)) as u64;
        ring.write_all_at(&pid.to_le_bytes(), entry + layout::PID as u64).unwrap();
        ring.write_all_at(&start.to_le_bytes(), entry + layout::START_TIME as u64).unwrap();
    };
    for victim in [&mut stranger, &mut reader] {
        forge(victim.pid() as u32);
        let error = topic.evict(Side::Producers, 0, SOON).unwrap_err();
        assert!(
            matches!(&error, Error::Invalid { why, .. } if why.contains("nothing was killed")),
            "{error}"
        );
        assert!(!victim.has_ended());
    }
    let pid = producer.pid() as u32;
    forge(pid);
    assert_eq!(topic.evict(Side::Producers, 0, SOON).unwrap(), Evicted::Killed { pid });
    producer.kill();
}

/// Starts a role in a time namespace whose CLOCK_MONOTONIC is `offset_s` ahead; `None` if that is
/// not possible.
fn start_in_another_time(role: &str, base: &Path, offset_s: i64) -> Option<Actor> {
    use std::os::unix::process::CommandExt;
    let enter = move || {
        // SAFETY: unshare takes an integer and changes this process only, which has one thread.
        if unsafe { libc::unshare(0x80) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // From `exec` on.
        std::fs::write("/proc/self/timens_offsets", format!("monotonic {offset_s} 0\n"))
    };
    let mut probe = std::process::Command::new("/bin/true");
    // SAFETY: the closure makes a system call and writes a file.
    let can = unsafe { probe.pre_exec(enter) }.status().is_ok_and(|status| status.success());
    if !can {
        println!("skipped: this process may make no time namespace");
        return None;
    }
    // SAFETY: as above.
    let mut actor = Actor::start_changed(role, base, |command| unsafe {
        command.pre_exec(enter);
    });
    let said = actor.hear();
    let there: i64 = said.strip_prefix("holds ").expect("its time").parse().expect("a number");
    let here = railbus_os::clock::monotonic_ns() as i64;
    if (there - here).abs() < 5_000_000_000 {
        println!("skipped: the kernel does not enter the namespace at exec");
        return None;
    }
    Some(actor)
}

#[test]
fn who_moves_is_not_stuck_and_who_stops_is_whatever_his_clock_says() {
    for offset_s in [1_000_000, -30] {
        let (base, bus) = base();
        let options =
            ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 16).stuck_after(Duration::from_secs(1));
        let stream = bus.create("s", &options).unwrap();
        let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
        let Some(mut reader) = start_in_another_time("reads slowly", base.path(), offset_s) else { return };
        let mut publish = || while publisher.try_publish(&[7; 64]).is_ok() {};
        publish();
        for _ in 0..3 {
            let info = stream.info_after(LOOK_MAX).unwrap();
            let slow = info.participants.iter().find(|one| one.name == "slow").unwrap();
            assert_eq!((slow.life, slow.stuck_ns), (Life::Live, None), "{offset_s}: it moves");
            publish();
        }
        // SAFETY: the pid is of a child that was not waited for.
        assert_eq!(unsafe { libc::kill(reader.pid(), libc::SIGSTOP) }, 0);
        publish();
        eventually("it is stuck", || {
            let info = stream.info_after(LOOK_MAX).unwrap();
            info.participants.iter().any(|one| one.name == "slow" && one.stuck_ns.is_some())
        });
        reader.kill();
    }
}

#[test]
fn a_look_that_is_too_short_says_that_it_does_not_know_who_is_stuck() {
    use std::os::unix::fs::FileExt;
    let (_base, bus) = base();
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 16);
    let stream = bus.create("s", &options.stuck_after(Duration::from_secs(60))).unwrap();
    let mut publisher = stream.publisher(&SendOptions::default()).unwrap();
    let _reader = stream.subscriber(&named("slow", false)).unwrap();
    publisher.publish(b"unread").unwrap();
    let look = || {
        let info = stream.info_after(Duration::from_millis(20)).unwrap();
        let slow = info.participants.into_iter().find(|one| one.name == "slow").unwrap();
        (slow.stuck_ns, slow.may_be_stuck)
    };
    assert_eq!(look(), (None, false), "it has noted the time just now");
    // The time that it stores is by another clock: the machine has been up for longer than a minute
    // here, and it has not there.
    let acks = std::fs::OpenOptions::new().write(true).open(&stream.paths().acks).unwrap();
    let seen_at = (layout::HEADER_BYTES + layout::entry(0) + layout::SEEN_NS) as u64;
    for noted_ns in [1, u64::MAX / 2] {
        acks.write_all_at(&noted_ns.to_le_bytes(), seen_at).unwrap();
        assert_eq!(look(), (None, true), "{noted_ns}");
    }
}
