//! Users with different rights, and a kernel that refuses the calls that parking prefers.
//!
//! File modes decide who produces and who consumes. Each side must repair obstacles in its own way
//! with the rights it has. A consumer that may not write events steps over a dead producer's
//! ticket; a producer that may not write acknowledgements passes over a dead reader.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use railbus::internal::life::{Liveness, Probe};
use railbus::internal::{self as channel, Role};
use railbus::{
    Bus, ChannelOptions, Error, Kind, Permissions, SendOptions, SubscribeOptions, Wait, WorkOptions,
};
use railbus_os::file_id::FileId;
use railbus_os::membarrier;

use crate::children::{role, say};
use crate::forks::{End, drive, event, forked, number};

const HANG: Duration = Duration::from_secs(60);
const PRODUCER: u32 = 65533;
const CONSUMER: u32 = 65534;
const STRANGER: u32 = 65532;

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    match role.as_str() {
        "users" => users(&base),
        "membarrier refused to both" => parked_without_membarrier(&base, true, true),
        "membarrier refused to the reader" => parked_without_membarrier(&base, true, false),
        "membarrier refused to the publisher" => parked_without_membarrier(&base, false, true),
        other => panic!("no role {other:?}"),
    }
    say(b"fine");
}

/// Runs `body` as another user.
fn as_user(user: u32, body: impl FnOnce()) {
    let mut actor = forked(|| {
        become_user(user);
        body();
    });
    assert_eq!(actor.wait(), End::Finished);
}

fn become_user(user: u32) {
    nix::unistd::setgroups(&[]).unwrap();
    nix::unistd::setgid(user.into()).unwrap();
    nix::unistd::setuid(user.into()).unwrap();
    // A change of user removes the signal at the parent's death. SAFETY: takes integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn users(base: &Path) {
    std::fs::set_permissions(base, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bus = Bus::at(base, "bus").unwrap();
    let permissions = Permissions {
        ring_group: Some(PRODUCER),
        acks_group: Some(CONSUMER),
        ring_mode: 0o664,
        acks_mode: 0o664,
        ..Permissions::default()
    };
    for kind in [Kind::Stream, Kind::Queue, Kind::Topic] {
        let options = ChannelOptions::new(kind).permissions(permissions.clone());
        let options = match kind {
            Kind::Stream => options.capacity_bytes(4096),
            _ => options.slots(64).slot_bytes(64),
        };
        bus.create(&kind.to_string(), &options).unwrap();
    }
    each_role_is_refused_what_it_may_not_do(base, &bus);
    events_pass_between_two_users(&bus);
    each_side_repairs_with_its_own_rights(&bus);
}

fn each_role_is_refused_what_it_may_not_do(base: &Path, bus: &Bus) {
    let refused = |result: railbus::Result<()>| match result {
        Err(error @ Error::NotAllowed { .. }) => assert_eq!(error.exit_code(), 4),
        other => panic!("{other:?}"),
    };
    let produce = |bus: &Bus| bus.attach("queue")?.producer(&SendOptions::default()).map(drop);
    let work = |bus: &Bus| bus.attach("queue")?.worker(&WorkOptions::default()).map(drop);
    let subscribe = |bus: &Bus| bus.attach("stream")?.subscriber(&SubscribeOptions::default()).map(drop);
    let publish = |bus: &Bus| bus.attach("stream")?.publisher(&SendOptions::default()).map(drop);
    as_user(PRODUCER, || {
        refused(work(bus));
        refused(subscribe(bus));
        produce(bus).unwrap();
        publish(bus).unwrap();
    });
    as_user(CONSUMER, || {
        refused(produce(bus));
        refused(publish(bus));
        work(bus).unwrap();
        subscribe(bus).unwrap();
    });
    let alive = bus.attach("queue").unwrap().worker(&WorkOptions::default()).unwrap();
    as_user(STRANGER, || {
        refused(produce(bus));
        refused(work(bus));
        refused(subscribe(bus));
        refused(publish(bus));
        // Looking is allowed, also at which participants live.
        let attached = channel::attach(base, &"bus/queue".parse().unwrap()).unwrap();
        let maps = attached.map(Role::Observer).unwrap();
        assert!(!maps.ring.writable() && !maps.acks.writable() && !maps.data.writable());
        let id = FileId::of(attached.acks_file()).unwrap();
        let mut probe = Probe::open(&attached.paths.acks, id).unwrap();
        assert_eq!((probe.life(0), probe.life(1)), (Liveness::Alive, Liveness::Dead));
    });
    drop(alive);
}

fn events_pass_between_two_users(bus: &Bus) {
    const EVENTS: u64 = 2000;
    let stream = bus.attach("stream").unwrap();
    // The first to come waits for the other.
    let _place = stream.subscriber(&SubscribeOptions::default()).unwrap();
    drop(_place);
    let mut consumer = forked(|| {
        become_user(CONSUMER);
        let mut reader = bus.attach("stream").unwrap().subscriber(&SubscribeOptions::default()).unwrap();
        let mut worker = bus.attach("queue").unwrap().worker(&WorkOptions::default()).unwrap();
        for n in 0..EVENTS {
            assert_eq!(number(&reader.recv_timeout(HANG).unwrap()), n);
            let job = worker.take_timeout(HANG).unwrap();
            assert_eq!(number(&job), n);
            let _ = job.done();
        }
    });
    as_user(PRODUCER, || {
        let mut publisher = bus.attach("stream").unwrap().publisher(&SendOptions::default()).unwrap();
        let mut producer = bus.attach("queue").unwrap().producer(&SendOptions::default()).unwrap();
        let start = std::time::Instant::now();
        // The worker registers after its subscriber has joined.
        while producer.readers() == 0 {
            assert!(start.elapsed() < HANG);
            std::thread::sleep(Duration::from_millis(1));
        }
        for n in 0..EVENTS {
            publisher.publish_timeout(&event(n, 32), HANG).unwrap();
            while producer.try_publish(&event(n, 32)).is_err() {
                assert!(start.elapsed() < HANG);
            }
        }
    });
    assert_eq!(consumer.wait(), End::Finished);
}

fn each_side_repairs_with_its_own_rights(bus: &Bus) {
    // Readers die: the producing user goes on for laps.
    for user in [CONSUMER, 0] {
        as_user(user, || {
            std::mem::forget(bus.attach("stream").unwrap().subscriber(&SubscribeOptions::default()).unwrap());
            let topic = bus.attach("topic").unwrap();
            std::mem::forget(topic.topic_subscriber(&SubscribeOptions::default()).unwrap());
        });
        as_user(PRODUCER, || {
            let mut publisher = bus.attach("stream").unwrap().publisher(&SendOptions::default()).unwrap();
            let topic = bus.attach("topic").unwrap();
            let mut topic_publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
            for n in 0..300 {
                publisher.publish_timeout(&event(n, 40), HANG).unwrap();
                topic_publisher.publish_timeout(&event(n, 40), HANG).unwrap();
            }
        });
    }
    // Producers die with tickets won: the consuming user steps over them.
    let mut topic_reader = forked(|| {
        become_user(CONSUMER);
        let topic = bus.attach("topic").unwrap();
        let mut reader = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
        assert_eq!(number(&reader.recv_timeout(HANG).unwrap()), 7);
    });
    let watch = bus.attach("topic").unwrap().topic_publisher(&SendOptions::default()).unwrap();
    while watch.readers() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    as_user(PRODUCER, || {
        let mut producer = bus.attach("queue").unwrap().producer(&SendOptions::default()).unwrap();
        let topic = bus.attach("topic").unwrap();
        let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
        std::mem::forget(producer.claim(8).unwrap());
        std::mem::forget(publisher.claim(8).unwrap());
        std::mem::forget((producer, publisher));
    });
    as_user(PRODUCER, || {
        let mut producer = bus.attach("queue").unwrap().producer(&SendOptions::default()).unwrap();
        let topic = bus.attach("topic").unwrap();
        let mut publisher = topic.topic_publisher(&SendOptions::default()).unwrap();
        producer.publish(&event(7, 40)).unwrap();
        publisher.publish(&event(7, 40)).unwrap();
    });
    assert_eq!(topic_reader.wait(), End::Finished);
    // A worker of another user dies with an event: it is delivered again.
    as_user(0, || {
        let mut worker = bus.attach("queue").unwrap().worker(&WorkOptions::default()).unwrap();
        let job = worker.take_timeout(HANG).unwrap();
        assert_eq!(number(&job), 7);
        std::mem::forget(job);
        std::mem::forget(worker);
    });
    as_user(CONSUMER, || {
        let mut worker = bus.attach("queue").unwrap().worker(&WorkOptions::default()).unwrap();
        let job = worker.take_timeout(HANG).unwrap();
        assert_eq!((number(&job), job.attempt()), (7, 2));
        let _ = job.done();
    });
}

/// Two processes that park at once pass an event to and fro.
fn parked_without_membarrier(base: &Path, reader_refused: bool, publisher_refused: bool) {
    const ROUNDS: u64 = 3000;
    let bus = Bus::at(base, "bus").unwrap();
    let (there, back) = (ChannelOptions::new(Kind::Stream), ChannelOptions::new(Kind::Queue));
    bus.create("there", &there).unwrap();
    bus.create("back", &back).unwrap();
    let wait = Wait::Park { spin: Duration::ZERO };
    let sending = SendOptions::default().wait(wait);
    let mut echo = forked(|| {
        if reader_refused {
            refuse_membarrier();
        }
        let (there, back) = (bus.attach("there").unwrap(), bus.attach("back").unwrap());
        let reading = SubscribeOptions::default().wait(wait);
        let mut reader = there.subscriber(&reading).unwrap();
        let mut producer = back.producer(&sending).unwrap();
        assert_eq!(membarrier::registered(), !reader_refused);
        for n in 0..ROUNDS {
            assert_eq!(number(&reader.recv_timeout(HANG).unwrap()), n);
            producer.publish(&event(n, 16)).unwrap();
        }
    });
    let mut first = forked(|| {
        if publisher_refused {
            refuse_membarrier();
        }
        let (there, back) = (bus.attach("there").unwrap(), bus.attach("back").unwrap());
        let mut worker = back.worker(&WorkOptions::default().wait(wait)).unwrap();
        let mut publisher = there.publisher(&sending).unwrap();
        while publisher.readers() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        for n in 0..ROUNDS {
            publisher.publish(&event(n, 16)).unwrap();
            let job = worker.take_timeout(HANG).unwrap();
            assert_eq!(number(&job), n);
            let _ = job.done();
        }
    });
    assert_eq!((first.wait(), echo.wait()), (End::Finished, End::Finished));
}

/// Installs a seccomp filter on this process that answers `membarrier` with EPERM and allows the rest.
fn refuse_membarrier() {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let number_at = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, number_at),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_membarrier as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes integers only; it forbids this thread to gain rights by exec.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its instructions are live during the call, which copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn users_do_what_the_modes_let_them_and_repair_with_it() {
    if nix::unistd::geteuid().is_root() {
        drive("users");
    } else {
        eprintln!("skipped: only root can become another user");
    }
}

#[test]
fn parking_works_where_membarrier_is_refused() {
    drive("membarrier refused to both");
}

#[test]
fn parking_works_where_membarrier_is_refused_to_one_side() {
    drive("membarrier refused to the reader");
    drive("membarrier refused to the publisher");
}
