//! The library in a foreign process: it takes none of the numbers of the standard streams and
//! leaves nothing open over `exec`. A limit for files does not kill it, and it reads the kernel's
//! files whatever bytes are in them.
//!
//! A pass does not prove that nothing is ever open under such a number for the moment of a call.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus::{
    Bridge, Bus, Channel, ChannelOptions, Checkpoint, Error, Kind, RecorderOptions, Recorders, SendOptions,
    SubscribeOptions, WorkOptions,
};

use crate::children::{Actor, role, say};

const HANG: Duration = Duration::from_secs(60);

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    match role.as_str() {
        "closed its streams" => closed_streams(&base),
        "may write small files" => small_files(&base),
        "maps a file of any name" => any_name(&base),
        other => panic!("no role {other:?}"),
    }
    say(b"fine");
}

fn run(role: &str) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let mut actor = Actor::start(role, base.path());
    actor.expect("fine");
    assert!(actor.finish().success());
}

fn stamped(bus: &Bus, kind: Kind) -> Channel {
    let options = ChannelOptions::new(kind).stamp(true);
    let options = match kind {
        Kind::Stream => options.capacity_bytes(64 << 10),
        _ => options.slots(64).slot_bytes(128),
    };
    bus.create(&kind.to_string(), &options).unwrap()
}

fn journal_beside(base: &Path) -> PathBuf {
    // Not on tmpfs, where io_uring and O_DIRECT behave differently.
    let name = format!("railbus-host-{}", base.file_name().unwrap().to_string_lossy());
    std::env::temp_dir().join(name)
}

/// The numbers that are open, with what they lead to.
fn open_numbers() -> Vec<(i32, PathBuf)> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<i32>().unwrap());
    let numbers: Vec<i32> = numbers.collect();
    // The listing itself had one, which is closed already.
    numbers
        .into_iter()
        .filter_map(|number| Some((number, std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?)))
        .collect()
}

fn closed_streams(base: &Path) {
    let kept: Vec<i32> = (0..3)
        .map(|number| {
            // SAFETY: makes a new descriptor, close-on-exec.
            unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 100) }
        })
        .collect();
    // SAFETY: nobody of this process uses the streams until they are put back.
    (0..3).for_each(|number| assert_eq!(unsafe { libc::close(number) }, 0));
    let outcome = std::panic::catch_unwind(|| attach_to_everything(base));
    for (number, &copy) in kept.iter().enumerate() {
        // SAFETY: puts a stream back where it was.
        assert_eq!(unsafe { libc::dup2(copy, number as i32) }, number as i32);
    }
    let (open, kept_open) = outcome.unwrap();
    assert!(open.len() > 10, "{open:?}");
    assert!(open.iter().all(|&(number, _)| number > 2), "{open:?}");
    assert!(kept_open.is_empty(), "open over exec: {kept_open:?}");
}

/// Descriptors, and what each is open on.
type Descriptors = Vec<(i32, PathBuf)>;

/// Every object that keeps a descriptor, at once; the open descriptors, and those of them that
/// survive an `exec`.
fn attach_to_everything(base: &Path) -> (Descriptors, Descriptors) {
    let journal = journal_beside(base);
    // The descriptors that the harness left to this process.
    let inherited = open_numbers();
    let bus = Bus::at(base, "bus").unwrap();
    let (stream, queue) = (stamped(&bus, Kind::Stream), stamped(&bus, Kind::Queue));
    let sending = SendOptions::default().evict_stuck(true);
    let mut publisher = stream.publisher(&sending).unwrap();
    let mut subscriber = stream.subscriber(&SubscribeOptions::default()).unwrap();
    let _producer = queue.producer(&SendOptions::default()).unwrap();
    let _worker = queue.worker(&WorkOptions::default()).unwrap();
    let bridge = Bridge::new(&queue).unwrap();
    assert!(std::os::fd::AsFd::as_fd(&bridge).as_raw_fd() > 2);
    let recorders = Recorders::start(None).unwrap();
    recorders.record(&stream, &journal, &RecorderOptions::default()).unwrap();
    let _again = bus.attach("stream").unwrap().observe().unwrap();
    publisher.publish(b"one").unwrap();
    let position = publisher.publish(b"two").unwrap();
    stream.wait_durable(position, HANG).unwrap();
    assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload(), b"one");
    let directory = railbus::journal::directory_of(&journal, stream.name());
    let mut checkpoint = Checkpoint::open(&directory, "mine").unwrap();
    checkpoint.save(0, b"state").unwrap();
    let mut open = open_numbers();
    open.retain(|one| !inherited.contains(one));
    let survives = |&&(number, _): &&(i32, PathBuf)| {
        // SAFETY: asks for a flag.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        flags >= 0 && flags & libc::FD_CLOEXEC == 0
    };
    let kept_open = open.iter().filter(survives).cloned().collect();
    drop(recorders);
    std::fs::remove_dir_all(&journal).unwrap();
    (open, kept_open)
}

fn small_files(base: &Path) {
    let bus = Bus::at(base, "bus").unwrap();
    let queue = stamped(&bus, Kind::Queue);
    let journal = journal_beside(base);
    let recorders = Recorders::start(None).unwrap();
    let stream = stamped(&bus, Kind::Stream);
    recorders.record(&stream, &journal, &RecorderOptions::default()).unwrap();
    let position = stream.publisher(&SendOptions::default()).unwrap().publish(b"first").unwrap();
    stream.wait_durable(position, HANG).unwrap();
    let limit = libc::rlimit { rlim_cur: 1024, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is valid.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    let no_space = |result: railbus::Result<()>| match result {
        Err(error @ Error::NoSpace { .. }) => assert!(error.to_string().contains("ulimit -f"), "{error}"),
        other => panic!("{other:?}"),
    };
    no_space(bus.create("more", &ChannelOptions::new(Kind::Queue)).map(drop));
    // Its histograms do not fit: it works without.
    let mut worker = queue.worker(&WorkOptions::default()).unwrap();
    no_space(recorders.record(&queue, &journal, &RecorderOptions::default()).map(drop));
    let directory = railbus::journal::directory_of(&journal, &"bus/stream".parse().unwrap());
    let mut checkpoint = Checkpoint::open(&directory, "mine").unwrap();
    checkpoint.save(0, &[0; 100]).unwrap();
    no_space(checkpoint.save(0, &[0; 4096]));
    queue.producer(&SendOptions::default()).unwrap().publish(b"job").unwrap();
    assert!(worker.take_timeout(HANG).unwrap().done());
    // It marks the file far beyond the limit.
    bus.remove("queue").unwrap();
    // No signal is left pending that would kill this process later, and its mask is unchanged.
    // SAFETY: a set of signals may be all zeros before it is filled.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for the set.
    unsafe { libc::sigpending(&mut set) };
    // SAFETY: the set was filled.
    assert_eq!(unsafe { libc::sigismember(&set, libc::SIGXFSZ) }, 0);
    // SAFETY: asks for the mask, for which there is room.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set) };
    // SAFETY: the set was filled.
    assert_eq!(unsafe { libc::sigismember(&set, libc::SIGXFSZ) }, 0);
    // The recorder goes on if it need not write beyond the limit, or reports why it does not.
    drop(recorders);
    std::fs::remove_dir_all(&journal).unwrap();
}

fn any_name(base: &Path) {
    let path = base.join(OsStr::from_bytes(b"name-\xff\xfe\n"));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(4096).unwrap();
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let mapped = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert_ne!(mapped, libc::MAP_FAILED);
    let bus = Bus::at(base, "bus").unwrap();
    let channel = stamped(&bus, Kind::Stream);
    assert!(channel.created().is_some());
    assert_eq!(channel.info().unwrap().positions.published, 0);
}

#[test]
fn it_takes_no_number_of_a_standard_stream_and_leaves_nothing_open_over_exec() {
    run("closed its streams");
}

#[test]
fn a_limit_for_files_is_an_error_and_kills_nobody() {
    run("may write small files");
}

#[test]
fn mapped_files_may_have_any_name() {
    run("maps a file of any name");
}
