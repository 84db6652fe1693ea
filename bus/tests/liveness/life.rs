//! Proof of life and death, with real processes and real SIGKILLs.
//!
//! A pass proves that the lock follows the address space on this kernel and the file systems tried.
//! A death is waited for with a generous limit instead of asserted at once, because a stranger that
//! reads the dead process's `/proc` files keeps its memory for that moment.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use railbus::Error;
use railbus::internal::life::{LifeClaim, LifeLock, Liveness, Probe};
use railbus_os::file_id::FileId;

use crate::children;
use crate::children::{Actor, eventually, say, stay};

const ENTRY: usize = 3;

/// A channel's file in a directory of tmpfs, removed on drop.
struct Channel {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Channel {
    fn make() -> Channel {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("file");
        File::create(&path).unwrap().set_len(4096).unwrap();
        Channel { _directory: directory, path }
    }

    fn probe(&self) -> Probe {
        Probe::open(&self.path, id(&self.path)).unwrap()
    }
}

fn id(path: &Path) -> FileId {
    FileId::of(File::open(path).unwrap()).unwrap()
}

fn live(path: &Path) -> LifeLock {
    let mut claim = LifeClaim::open(path, id(path)).unwrap();
    assert!(claim.try_life(ENTRY).unwrap());
    claim.into_life().unwrap()
}

fn dies(probe: &mut Probe) {
    eventually("dead", || probe.life(ENTRY) == Liveness::Dead);
}

/// Forks; the child runs `child`, which must be async-signal-safe, and leaves by _exit.
fn fork(child: impl FnOnce()) {
    // SAFETY: the child calls async-signal-safe functions only, then _exit.
    if let nix::unistd::ForkResult::Child = unsafe { nix::unistd::fork() }.unwrap() {
        child();
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(0) };
    }
}

/// Sends the parent the id of this process. Safe after `fork`.
fn say_pid() {
    let mut digits = [b'0'; 10];
    let mut rest = std::process::id();
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    say(&digits);
}

/// Whether the process exists: signal 0 only asks.
fn exists(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
}

fn close_everything() {
    // SAFETY: a careless host program does that, and it is the point of the test. Only in a child
    // process.
    assert_eq!(unsafe { libc::close_range(3, libc::c_uint::MAX, 0) }, 0);
}

// ---- the work of the child processes ----

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, path)) = children::role() else { return };
    match role.as_str() {
        "live" => {
            let _life = live(&path);
            say(b"alive");
            stay();
        }
        "fork and stay" => {
            let _life = live(&path);
            fork(|| {
                say_pid();
                stay();
            });
            say(b"alive");
            stay();
        }
        "fork while claiming" => {
            let mut claim = LifeClaim::open(&path, id(&path)).unwrap();
            assert!(claim.try_life(ENTRY).unwrap());
            fork(|| {
                say_pid();
                stay();
            });
            let _life = claim.into_life().unwrap();
            say(b"alive");
            stay();
        }
        "let the fork drop it" => {
            let life = live(&path);
            let mut copy = Some(life);
            // SAFETY: the child drops its copy of the handle and calls _exit.
            match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Child => {
                    drop(copy.take());
                    // SAFETY: _exit has no preconditions.
                    unsafe { libc::_exit(0) };
                }
                nix::unistd::ForkResult::Parent { child } => {
                    nix::sys::wait::waitpid(child, None).unwrap();
                }
            }
            say(b"alive");
            stay();
            drop(copy);
        }
        "start a program" => {
            let _life = live(&path);
            let mut program = Command::new("cat").stdout(Stdio::null()).spawn().unwrap();
            say(program.id().to_string().as_bytes());
            // It ends with the standard input that it shares with this process.
            program.wait().unwrap();
        }
        "close everything" => {
            let _life = live(&path);
            close_everything();
            say(b"alive");
            stay();
        }
        "close everything while claiming" => {
            let mut claim = LifeClaim::open(&path, id(&path)).unwrap();
            assert!(claim.try_life(ENTRY).unwrap());
            close_everything();
            assert!(claim.is_life_locked(ENTRY + 1).is_err(), "an answer about no file");
            let error = claim.into_life().unwrap_err();
            assert!(!matches!(error, Error::Invalid { .. }), "{error}");
            // A descriptor that a stranger got in its place survives both the claim and the probe.
            let mut claim = LifeClaim::open(&path, id(&path)).unwrap();
            assert!(claim.try_life(ENTRY).unwrap());
            let probe = Probe::open(&path, id(&path)).unwrap();
            close_everything();
            let strangers: Vec<OwnedFd> = (0..8).map(|_| File::open("/dev/null").unwrap().into()).collect();
            assert!(matches!(claim.try_janitor(ENTRY), Err(Error::Busy { .. })));
            assert!(matches!(claim.into_life(), Err(Error::Busy { .. })));
            drop(probe);
            assert!(strangers.iter().all(|fd| FileId::of(fd).is_ok()));
            say(b"done");
        }
        "probe after closing everything" => {
            let mut probe = Probe::open(&path, id(&path)).unwrap();
            assert_eq!(probe.life(ENTRY), Liveness::Alive);
            close_everything();
            assert_eq!(probe.life(ENTRY), Liveness::Alive);
            assert_eq!(probe.life(ENTRY + 1), Liveness::Dead);
            close_everything();
            // Whatever number the probe had, it leads to other files now, on which nothing is
            // locked.
            let strangers: Vec<OwnedFd> = (0..8).map(|_| File::open("/dev/null").unwrap().into()).collect();
            assert_eq!(probe.life(ENTRY), Liveness::Alive);
            assert!(
                strangers.iter().all(|fd| FileId::of(fd).is_ok()),
                "the probe closed another's descriptor"
            );
            std::fs::rename(&path, path.with_extension("moved")).unwrap();
            assert_eq!(probe.life(ENTRY), Liveness::Alive, "an open descriptor needs no name");
            File::create(&path).unwrap();
            drop(strangers);
            close_everything();
            assert_eq!(probe.life(ENTRY), Liveness::Unknown, "another file has the name");
            std::fs::remove_file(&path).unwrap();
            assert_eq!(probe.life(ENTRY), Liveness::Unknown, "no file has the name");
            std::fs::rename(path.with_extension("moved"), &path).unwrap();
            assert_eq!(probe.life(ENTRY), Liveness::Alive, "it is back");
            say(b"done");
        }
        "on hugetlbfs" => {
            mount_hugetlbfs(&path);
            let file = path.join("file");
            File::create(&file).unwrap();
            let mut probe = Probe::open(&file, id(&file)).unwrap();
            assert_eq!(probe.life(ENTRY), Liveness::Dead);
            // The grandchild sees the mount because it is started from here.
            let mut owner = Actor::start("live", &file);
            owner.expect("alive");
            assert_eq!(probe.life(ENTRY), Liveness::Alive);
            owner.kill();
            dies(&mut probe);
            say(b"done");
        }
        other => panic!("no role {other:?}"),
    }
}

/// Mounts hugetlbfs at `directory`, for this thread and its children only; the mount goes with them.
fn mount_hugetlbfs(directory: &Path) {
    let text = |text: &str| std::ffi::CString::new(text).unwrap();
    // SAFETY: takes flags only; the thread gets its own mount namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "{}", std::io::Error::last_os_error());
    let (none, root, kind) = (text("none"), text("/"), text("hugetlbfs"));
    let (private, null) = (libc::MS_REC | libc::MS_PRIVATE, std::ptr::null());
    // SAFETY: the strings are live and null-terminated; a change of propagation takes no type and
    // no data.
    let made_private = unsafe { libc::mount(none.as_ptr(), root.as_ptr(), null, private, null.cast()) };
    assert_eq!(made_private, 0, "{}", std::io::Error::last_os_error());
    let target = text(directory.to_str().unwrap());
    // SAFETY: the strings are live and null-terminated; no data are passed.
    let mounted = unsafe { libc::mount(none.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, null.cast()) };
    assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
}

// ---- the tests ----

#[test]
fn life_ends_with_sigkill() {
    let channel = Channel::make();
    let mut probe = channel.probe();
    assert_eq!(probe.life(ENTRY), Liveness::Dead);
    for _ in 0..3 {
        let mut owner = Actor::start("live", &channel.path);
        owner.expect("alive");
        assert_eq!(probe.life(ENTRY), Liveness::Alive);
        assert_eq!(probe.life(ENTRY + 1), Liveness::Dead);
        owner.kill();
        dies(&mut probe);
    }
}

/// The next process that gets the process id of one that died is not taken for it.
#[test]
fn a_process_with_the_id_of_the_dead_one_does_not_keep_it_alive() {
    let channel = Channel::make();
    let mut probe = channel.probe();
    let mut owner = Actor::start("live", &channel.path);
    owner.expect("alive");
    let pid = owner.pid();
    owner.kill();
    let Some(stranger) = Stranger::with_id(pid) else {
        println!(
            "SKIPPED: this process may not choose the id of another (that needs root, or CAP_CHECKPOINT_RESTORE)"
        );
        return;
    };
    assert!(exists(pid));
    dies(&mut probe);
    assert!(exists(pid), "it lives, and is another");
    drop(stranger);
}

/// A process that does nothing, with a process id of our choice.
struct Stranger(i32);

impl Stranger {
    fn with_id(pid: i32) -> Option<Stranger> {
        let wanted = [pid];
        // SAFETY: every field of this plain struct may be zero.
        let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
        how.exit_signal = libc::SIGCHLD as u64;
        how.set_tid = wanted.as_ptr() as u64;
        how.set_tid_size = 1;
        // SAFETY: as `fork`: the child calls async-signal-safe functions only.
        match unsafe { libc::syscall(libc::SYS_clone3, &raw const how, size_of_val(&how)) } {
            0 => loop {
                // SAFETY: takes nothing; ended by its parent.
                unsafe { libc::pause() };
            },
            child if child > 0 => Some(Stranger(child as i32)),
            _ => None,
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(pid, None).unwrap();
    }
}

#[test]
fn life_ends_with_exit_and_not_with_a_stop() {
    let channel = Channel::make();
    let mut probe = channel.probe();
    let mut owner = Actor::start("live", &channel.path);
    owner.expect("alive");
    let pid = nix::unistd::Pid::from_raw(owner.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    assert_eq!(probe.life(ENTRY), Liveness::Alive, "a stopped process is not dead");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    assert!(owner.finish().success());
    dies(&mut probe);
}

#[test]
fn a_fork_child_does_not_keep_its_parent_alive() {
    for role in ["fork and stay", "fork while claiming"] {
        let channel = Channel::make();
        let mut probe = channel.probe();
        let mut owner = Actor::start(role, &channel.path);
        let mut heard = [owner.hear(), owner.hear()];
        heard.sort();
        let forked: i32 = heard[0].parse().unwrap();
        assert_eq!(heard[1], "alive");
        assert_eq!(probe.life(ENTRY), Liveness::Alive);
        owner.kill();
        dies(&mut probe);
        // The pipe that the fork child inherited as standard input is still open, so it is still there.
        assert!(exists(forked));
    }
}

#[test]
fn a_fork_child_that_drops_the_handle_does_not_end_the_parents_life() {
    let channel = Channel::make();
    let mut probe = channel.probe();
    let mut owner = Actor::start("let the fork drop it", &channel.path);
    owner.expect("alive");
    assert_eq!(probe.life(ENTRY), Liveness::Alive);
    owner.kill();
    dies(&mut probe);
}

#[test]
fn a_program_that_was_started_does_not_keep_its_parent_alive() {
    let channel = Channel::make();
    let mut probe = channel.probe();
    let mut owner = Actor::start("start a program", &channel.path);
    let program: i32 = owner.hear().parse().unwrap();
    owner.kill();
    dies(&mut probe);
    assert!(exists(program), "its standard input is still open");
}

#[test]
fn closing_every_descriptor_does_not_end_a_life() {
    let channel = Channel::make();
    let mut probe = channel.probe();
    let mut owner = Actor::start("close everything", &channel.path);
    owner.expect("alive");
    assert_eq!(probe.life(ENTRY), Liveness::Alive);
    owner.kill();
    dies(&mut probe);
}

#[test]
fn a_claim_whose_descriptor_was_taken_away_is_an_error() {
    let channel = Channel::make();
    let mut claimer = Actor::start("close everything while claiming", &channel.path);
    claimer.expect("done");
    assert!(claimer.finish().success());
}

#[test]
fn a_probe_survives_the_loss_of_its_descriptor() {
    let channel = Channel::make();
    let _life = live(&channel.path);
    let mut prober = Actor::start("probe after closing everything", &channel.path);
    prober.expect("done");
    assert!(prober.finish().success());
}

#[test]
fn a_life_on_hugetlbfs_is_the_same() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root may mount hugetlbfs");
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut actor = Actor::start("on hugetlbfs", directory.path());
    actor.expect("done");
    assert!(actor.finish().success());
}

#[test]
fn a_process_is_told_of_its_own_lives() {
    let channel = Channel::make();
    let mut probe = channel.probe();
    let life = live(&channel.path);
    assert_eq!(life.index(), ENTRY);
    assert_eq!(probe.life(ENTRY), Liveness::Alive);
    let other = LifeClaim::open(&channel.path, id(&channel.path)).unwrap();
    assert!(other.is_life_locked(ENTRY).unwrap());
    // Other descriptors of the file come and go without effect.
    let stranger = File::open(&channel.path).unwrap();
    drop(stranger.try_clone().unwrap());
    drop(stranger);
    drop(other);
    assert_eq!(probe.life(ENTRY), Liveness::Alive);
    drop(life);
    eventually("free", || probe.life(ENTRY) == Liveness::Dead);
}

#[test]
fn a_janitor_excludes_others_until_the_claim_ends() {
    let channel = Channel::make();
    let mut probe = channel.probe();
    let open = || LifeClaim::open(&channel.path, id(&channel.path)).unwrap();
    let (mut first, mut second) = (open(), open());
    assert!(first.try_janitor(ENTRY).unwrap());
    assert!(!second.try_janitor(ENTRY).unwrap());
    assert!(second.try_janitor(ENTRY + 1).unwrap());
    assert_eq!(probe.janitor(ENTRY), Liveness::Alive);
    first.release_janitor(ENTRY).unwrap();
    eventually("released", || second.try_janitor(ENTRY).unwrap());
    assert!(first.try_life(ENTRY).unwrap());
    assert!(!second.try_life(ENTRY).unwrap());
    assert!(matches!(first.try_life(ENTRY + 1), Err(Error::Invalid { .. })));
    assert!(first.try_janitor(ENTRY + 2).unwrap());
    let life = first.into_life().unwrap();
    assert_eq!(probe.janitor(ENTRY + 2), Liveness::Dead, "a life takes no janitor lock along");
    drop(second);
    eventually("all janitors gone", || probe.janitor(ENTRY) == Liveness::Dead);
    assert_eq!(probe.life(ENTRY), Liveness::Alive);
    drop(life);
}

#[test]
fn many_claims_at_once_agree_on_one_winner() {
    let channel = Channel::make();
    let barrier = std::sync::Barrier::new(8);
    let winners = std::thread::scope(|scope| {
        let claim = || {
            let mut claim = LifeClaim::open(&channel.path, id(&channel.path)).unwrap();
            barrier.wait();
            if claim.try_life(ENTRY).unwrap() { Some(claim.into_life().unwrap()) } else { None }
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(winners.len(), 1);
    assert_eq!(channel.probe().life(ENTRY), Liveness::Alive);
}

#[test]
fn wrong_files_and_indices_are_told_apart() {
    let channel = Channel::make();
    let other = Channel::make();
    let expected = id(&channel.path);
    assert!(matches!(LifeClaim::open(&other.path, expected), Err(Error::Busy { .. })));
    assert!(matches!(Probe::open(&other.path, expected), Err(Error::Busy { .. })));
    let missing = channel.path.with_extension("missing");
    assert!(matches!(LifeClaim::open(&missing, expected), Err(Error::NotFound { .. })));
    assert!(matches!(Probe::open(&missing, expected), Err(Error::NotFound { .. })));

    let mut claim = LifeClaim::open(&channel.path, expected).unwrap();
    for index in [256, usize::MAX] {
        assert!(matches!(claim.try_janitor(index), Err(Error::Invalid { .. })));
        assert!(matches!(claim.try_life(index), Err(Error::Invalid { .. })));
        assert!(matches!(claim.is_life_locked(index), Err(Error::Invalid { .. })));
        assert_eq!(channel.probe().life(index), Liveness::Unknown);
    }
    assert!(claim.try_life(255).unwrap());
    drop(claim);
    let unclaimed = LifeClaim::open(&channel.path, expected).unwrap();
    assert!(matches!(unclaimed.into_life(), Err(Error::Invalid { .. })));
}

#[test]
fn a_file_system_whose_locks_may_lie_is_refused() {
    let proc = Path::new("/proc/self/comm");
    let expected = id(proc);
    let error = LifeClaim::open(proc, expected).unwrap_err();
    assert!(error.to_string().contains("tmpfs or hugetlbfs"), "{error}");
    assert!(matches!(Probe::open(proc, expected), Err(Error::Invalid { .. })));
}

#[test]
fn descriptors_are_not_left_open() {
    let channel = Channel::make();
    let count = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        links
            .filter(|link| {
                std::fs::read_link(link.as_ref().unwrap().path()).is_ok_and(|to| to == channel.path)
            })
            .count()
    };
    let life = live(&channel.path);
    assert_eq!(count(), 0, "a life has no descriptor");
    let probe = channel.probe();
    let open: Vec<i32> = vec![File::open(&channel.path).unwrap().as_raw_fd()];
    assert!(open[0] > 2);
    assert_eq!(count(), 1);
    drop(probe);
    drop(LifeClaim::open(&channel.path, id(&channel.path)).unwrap());
    assert_eq!(count(), 0);
    drop(life);
}
