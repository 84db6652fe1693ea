//! The path of an event makes no system call and no page fault.
//!
//! The kernel proves it: a process warms a channel up, then forbids itself every system call but
//! its exit (a seccomp filter that kills), and publishes and receives around the ring several
//! times. Page faults are counted over the same work without the filter.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use railbus::{Bus, ChannelOptions, Kind, Pages, SendOptions, SubscribeOptions, WorkOptions};

use crate::children::{role, say};
use crate::forks::{End, drive, forked};

/// Events in the measured window: several laps of each ring.
const EVENTS: u64 = 20_000;

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let kind: Kind = role.parse().expect("a kind");
    let bus = Bus::at(base, "bus").unwrap();
    let options = ChannelOptions::new(kind).pages(Pages::Ordinary);
    let options = match kind {
        Kind::Stream => options.capacity_bytes(1 << 16),
        _ => options.slots(1024).slot_bytes(128),
    };
    // Stamped, each event is timed and counted in its consumer's histogram, too.
    for stamp in [false, true] {
        let name = format!("{kind}-{stamp}");
        bus.create(&name, &options.clone().stamp(stamp)).unwrap();
        for forbid in [false, true] {
            // A process of its own, whose exit ends the filter, too.
            let mut actor = forked(|| move_events(&bus, &name, kind, forbid));
            assert_eq!(actor.wait(), End::Finished);
        }
    }
    // The filter works: the same process with one system call too many is killed for it.
    let caught = std::panic::catch_unwind(|| {
        forked(|| {
            forbid_system_calls();
            // SAFETY: takes nothing; here it does not come back.
            unsafe { libc::syscall(libc::SYS_getppid) };
        })
        .wait()
    });
    assert!(caught.is_err(), "a system call went through");
    say(b"none");
}

fn move_events(bus: &Bus, name: &str, kind: Kind, forbid: bool) {
    let channel = bus.attach(name).unwrap();
    let sending = SendOptions::default();
    let reading = SubscribeOptions::default();
    match kind {
        Kind::Stream => {
            let mut sender = channel.publisher(&sending).unwrap();
            let mut reader = channel.subscriber(&reading).unwrap();
            window(forbid, |n| {
                sender.publish(&[n as u8; 40]).unwrap();
                reader.recv().unwrap()[39] == n as u8
            });
        }
        Kind::Topic => {
            let mut sender = channel.topic_publisher(&sending).unwrap();
            let mut reader = channel.topic_subscriber(&reading).unwrap();
            window(forbid, |n| {
                sender.publish(&[n as u8; 40]).unwrap();
                reader.recv().unwrap()[39] == n as u8
            });
        }
        Kind::Queue => {
            let mut sender = channel.producer(&sending).unwrap();
            let mut worker = channel.worker(&WorkOptions::default()).unwrap();
            window(forbid, |n| {
                sender.publish(&[n as u8; 40]).unwrap();
                let job = worker.take().unwrap();
                let right = job[39] == n as u8;
                let _ = job.done();
                right
            });
        }
        Kind::Table => unreachable!("a table has no events"),
    }
}

/// Warms up, then does the same in the window.
fn window(forbid: bool, mut carry: impl FnMut(u64) -> bool) {
    // A publisher checks a few times a second whether its channel was removed: the code of that is
    // warm, too.
    populate_code();
    let warm = Instant::now() + Duration::from_secs(1);
    (0..EVENTS).for_each(|n| assert!(carry(n)));
    while Instant::now() < warm {
        assert!(carry(0));
    }
    if forbid {
        forbid_system_calls();
        let right = (0..EVENTS).all(&mut carry);
        // SAFETY: _exit has no preconditions; it is the one system call that is allowed.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let faults = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        usage.minor_page_faults() + usage.major_page_faults()
    };
    faults();
    let before = faults();
    let right = (0..EVENTS).all(&mut carry);
    let after = faults();
    assert!(right);
    assert_eq!(after - before, 0, "page faults");
}

/// Faults in the code and the constants of this program. A rare path whose code runs for the first
/// time in the window would count as a fault of an event.
fn populate_code() {
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) =
            (usize::from_str_radix(from, 16).unwrap(), usize::from_str_radix(to, 16).unwrap_or(0));
        if line.contains('/') && !line.contains("/dev/shm") && rights.starts_with("r-") && to > from {
            // SAFETY: reads pages that are mapped, and changes nothing. It may be refused.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_POPULATE_READ) };
        }
    }
}

/// From now on this thread is killed for any system call but its exit and `fstat`, by which a
/// publisher checks at most a few times a second whether its channel was removed.
fn forbid_system_calls() {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        instruction(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            0,
            0,
            std::mem::offset_of!(libc::seccomp_data, nr) as u32,
        ),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 3, 0, libc::SYS_exit_group as u32),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, libc::SYS_fstat as u32),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, libc::SYS_newfstatat as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
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
fn an_event_of_a_stream_makes_no_system_call_and_no_fault() {
    drive("stream");
}

#[test]
fn an_event_of_a_queue_makes_no_system_call_and_no_fault() {
    drive("queue");
}

#[test]
fn an_event_of_a_topic_makes_no_system_call_and_no_fault() {
    drive("topic");
}
