//! A worker hands on the events that a dead one held, whatever its process has done since it
//! attached: changed its directory, given up its rights, lost the files' names, or closed its
//! descriptors. If it cannot, it reports that.
//!
//! A pass does not prove that a process which closes the descriptors while another thread of it is
//! repairing gets further than an error.

use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use railbus::{Bus, ChannelOptions, Kind, RecvError, SendOptions, Wait, WorkOptions, Worker};

use crate::children::{role, say};
use crate::forks::{End, drive, forked};

const HANG: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65534;
const EVENTS: usize = 3;

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    std::fs::set_permissions(&base, std::fs::Permissions::from_mode(0o755)).unwrap();
    match role.as_str() {
        "changes its directory" => {
            std::env::set_current_dir(&base).unwrap();
            let change = |_: &Bus| std::env::set_current_dir("/").unwrap();
            assert_eq!(scene(Path::new("."), change), None);
        }
        "gives up its rights" => assert_eq!(scene(&base, |_| give_up_rights()), None),
        "its channel is removed" => assert_eq!(scene(&base, remove), Some(RecvError::Removed)),
        "its descriptors are closed" => assert_eq!(scene(&base, |_| close_all()), None),
        "has no way back" => {
            let change = |bus: &Bus| {
                remove(bus);
                close_all();
            };
            let refused = scene(&base, change);
            assert!(matches!(refused, Some(RecvError::CannotRepair(_) | RecvError::Removed)), "{refused:?}");
        }
        "may only look" => may_not_come_back(&base, 0o644, "may not open it again"),
        "may not look" => may_not_come_back(&base, 0o600, "cannot tell who is dead"),
        other => panic!("no role {other:?}"),
    }
    say(b"fine");
}

fn may_not_come_back(base: &Path, mode: u32, why: &str) {
    let change = |bus: &Bus| {
        let paths = bus.attach("q").unwrap().paths().clone();
        for path in [&paths.ring, &paths.acks] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        close_all();
        give_up_rights();
    };
    let refused = scene(base, change).expect("an error");
    assert!(matches!(refused, RecvError::CannotRepair(_)), "{refused:?}");
    let error = railbus::Error::from(refused);
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains(why), "{error}");
}

/// A worker dies while it holds all events; another one, in whose process `change` was made before,
/// takes them. Returns the error that it gets in place of an event, or at the end in place of
/// waiting on.
fn scene(base: &Path, change: impl FnOnce(&Bus)) -> Option<RecvError> {
    let bus = Bus::at(base, "bus").unwrap();
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    (0..EVENTS).for_each(|_| {
        producer.publish(b"job").unwrap();
    });
    // Its end is its death: this process may have no right to kill it at that time.
    let (end, alive) = nix::unistd::pipe().unwrap();
    let (joined, joins) = nix::unistd::pipe().unwrap();
    let mut holder = forked(|| {
        close(alive.as_raw_fd());
        let queue = Bus::at(base, "bus").unwrap().attach("q").unwrap();
        let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
        (0..EVENTS).for_each(|_| {
            worker.take().unwrap().keep();
        });
        std::mem::forget(worker);
        nix::unistd::write(&joins, b"j").unwrap();
        let _ = nix::unistd::read(&end, &mut [0]);
    });
    nix::unistd::read(&joined, &mut [0]).unwrap();
    let wait = Wait::Park { spin: Duration::ZERO };
    let mut worker = queue.worker(&WorkOptions::default().wait(wait)).unwrap();
    change(&bus);
    // Closed already if all descriptors are.
    close(alive.into_raw_fd());
    assert_eq!(holder.wait(), End::Finished);
    let told = (0..EVENTS).find_map(|_| match take(&mut worker) {
        Ok(attempt) => {
            assert_eq!(attempt, 2);
            None
        }
        Err(error) => Some(error),
    });
    let last = || worker.take_timeout(Duration::from_millis(200)).map(drop).err();
    let told = told.or_else(last).filter(|&error| error != RecvError::TimedOut);
    // Their descriptors may be closed, on which their destructors would fail.
    std::mem::forget((worker, producer, queue, end, joined, joins));
    told
}

fn close(number: i32) {
    // SAFETY: the number is the caller's own descriptor, or not open.
    unsafe { libc::close(number) };
}

fn take(worker: &mut Worker) -> Result<u32, RecvError> {
    worker.take_timeout(HANG).map(|job| {
        let attempt = job.attempt();
        assert!(job.done());
        attempt
    })
}

fn give_up_rights() {
    nix::unistd::setgroups(&[]).unwrap();
    nix::unistd::setgid(NOBODY.into()).unwrap();
    nix::unistd::setuid(NOBODY.into()).unwrap();
}

fn remove(bus: &Bus) {
    bus.remove("q").unwrap();
}

/// As daemons do that close whatever they may have inherited.
fn close_all() {
    // SAFETY: the library checks its descriptors before each use, which is the point of this test;
    // no others are in use.
    assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }, 0);
}

#[test]
fn a_worker_that_changed_its_directory_hands_on_what_a_dead_one_held() {
    drive("changes its directory");
}

#[test]
fn a_worker_that_gave_up_its_rights_hands_on_what_a_dead_one_held() {
    drive("gives up its rights");
}

#[test]
fn a_worker_of_a_removed_channel_hands_on_what_a_dead_one_held() {
    drive("its channel is removed");
}

#[test]
fn a_worker_whose_descriptors_were_closed_opens_the_file_again() {
    drive("its descriptors are closed");
}

#[test]
fn a_worker_that_cannot_repair_says_so() {
    drive("has no way back");
    drive("may only look");
    drive("may not look");
}
