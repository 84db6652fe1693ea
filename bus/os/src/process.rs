//! Processes and processors: identities, start times, where threads run, and killing exactly one
//! process.
//!
//! A process is named by its pid **and** its start time, because pids are reused. Both belong to
//! the PID namespace that `/proc` shows.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// The pid of this process. One system call.
pub fn pid() -> u32 {
    std::process::id()
}

/// The kernel's number of this thread. One system call.
pub fn tid() -> i32 {
    nix::unistd::gettid().as_raw()
}

/// When a process started, in clock ticks since boot, from `/proc/PID/stat`. Several system calls,
/// about 10 us.
///
/// # Errors
/// `NotFound` if there is no such process, or `/proc` hides it; `InvalidData` if its `stat` is not
/// understood.
pub fn start_time_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).map_err(|error| match error.raw_os_error() {
        // The process ended while its file was read.
        Some(libc::ESRCH) => io::Error::from(io::ErrorKind::NotFound),
        _ => error,
    })?;
    start_time_in(&stat).ok_or_else(|| {
        let text = String::from_utf8_lossy(&stat).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no start time: {text:?}"))
    })
}

/// The 22nd field. The second field, the command in parentheses, may hold spaces, parentheses and
/// line ends. No field after it does, so the last parenthesis ends it.
fn start_time_in(stat: &[u8]) -> Option<u64> {
    let command_end = stat.iter().rposition(|&byte| byte == b')')?;
    let after = std::str::from_utf8(&stat[command_end + 1..]).ok()?;
    after.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// Returns the PID namespace of this process, as the inode of its file, if `/proc` shows that
/// namespace. Then a pid in it means the same process to every caller that gets the same result. A
/// few system calls.
pub fn pid_namespace() -> Option<u64> {
    let shown = fs::read_link("/proc/self").ok()?;
    if shown.to_str()?.parse() != Ok(self::pid()) {
        return None; // `/proc` shows another namespace.
    }
    fs::metadata("/proc/self/ns/pid").ok().map(|about| about.ino())
}

/// Whether the process that started at `start_time_ticks` under this pid has not ended. A process
/// that `/proc` hides, so that it cannot be examined, counts as alive. About 20 us.
pub fn lives(pid: u32, start_time_ticks: u64) -> bool {
    lives_if(pid, |found| found == start_time_ticks)
}

/// Does the same as [`lives`]. `is_it` decides by the start time whether it is the right process.
pub fn lives_if(pid: u32, is_it: impl FnOnce(u64) -> bool) -> bool {
    let Some(number) = i32::try_from(pid).ok().filter(|&number| number > 0) else { return false };
    let pidfd = match open_pidfd(number) {
        Ok(pidfd) => pidfd,
        // ESRCH means that it does not exist. If the kernel refuses for another reason, it counts
        // as alive.
        Err(error) => return error.raw_os_error() != Some(libc::ESRCH),
    };
    let is_another = self::start_time_ticks(pid).is_ok_and(|found| !is_it(found));
    !is_another && !has_ended(&pidfd, Duration::ZERO).unwrap_or(false)
}

/// The processor on which this thread runs now. No system call (vdso).
pub fn current_cpu() -> io::Result<usize> {
    Ok(sched_getcpu()?)
}

/// The processors on which this thread may run, ascending. One system call. It knows processors 0
/// to 1023; a machine with more is an error (EINVAL).
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// Lets this thread run on processor `cpu` only. One system call.
///
/// # Errors
/// [`Error::Invalid`] if there is no such processor, or the process may not use it.
pub fn pin_to_cpu(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.map_err(|error| match error {
        Errno::EINVAL => {
            let allowed = allowed_cpus().map_or_else(|error| error.to_string(), |cpus| format!("{cpus:?}"));
            Error::invalid(format!("processor {cpu}"), format!("this thread may run on {allowed}"))
        }
        other => Error::io("pin this thread in", "/proc/self", other.into()),
    })
}

/// The result of [`kill_exactly`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// It was killed, and has ended.
    Now,
    /// It had ended before. Another process may have its pid, and was not touched.
    Before,
}

/// Kills process `pid` with SIGKILL if it is still the one that started at `start_time_ticks`, and
/// waits at most `timeout` until it has ended. It never hits another process: the pidfd pins the
/// process before its start time is compared.
///
/// # Errors
/// [`Error::Invalid`] for the caller itself or a number that is no pid. [`Error::NotAllowed`]
/// without the right to kill it. [`Error::TimedOut`] if it has not ended: it may sleep in the
/// kernel, and the signal stays pending.
pub fn kill_exactly(pid: u32, start_time_ticks: u64, timeout: Duration) -> Result<Killed> {
    kill_proven(pid, start_time_ticks, timeout, || Ok(()))
}

/// Does the same as [`kill_exactly`]. While the pidfd pins the process, `prove` decides whether it
/// is the one to be killed. A pid and a start time that others have written prove nothing.
///
/// # Errors
/// Those of [`kill_exactly`] and those of `prove`. In the second case nothing was killed.
pub fn kill_proven(
    pid: u32,
    start_time_ticks: u64,
    timeout: Duration,
    prove: impl FnOnce() -> Result<()>,
) -> Result<Killed> {
    let process = || format!("process {pid}");
    let failed = |action, error: io::Error| Error::io(action, format!("/proc/{pid}"), error);
    let number = i32::try_from(pid).ok().filter(|&number| number > 0);
    let Some(number) = number.filter(|_| pid != self::pid()) else {
        return Err(Error::invalid(process(), "is the caller itself, or no process id: nothing was killed"));
    };
    let pidfd = match open_pidfd(number) {
        Ok(pidfd) => pidfd,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(Killed::Before),
        Err(error) => return Err(failed("open", error)),
    };
    // If the start time matches here, there are two cases. Either the process had this pid when the
    // pidfd was opened, or the pidfd is of a process that has ended since. In the second case the
    // signal below reaches nobody.
    match self::start_time_ticks(pid) {
        Ok(found) if found == start_time_ticks => {}
        Ok(_) => return Ok(Killed::Before),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_ended(&pidfd, Duration::ZERO).map_err(|error| failed("wait for", error))? {
                return Ok(Killed::Before);
            }
            return Err(Error::invalid(
                process(),
                "/proc does not show it, so it cannot be told from another",
            ));
        }
        Err(error) => return Err(failed("read", error)),
    }
    if has_ended(&pidfd, Duration::ZERO).map_err(|error| failed("wait for", error))? {
        return Ok(Killed::Before); // A zombie: ended, but not waited for by its parent.
    }
    let proof = prove();
    // The contents of `/proc` belonged to this process only if it has not ended yet: then the
    // pid was its own all the time.
    if has_ended(&pidfd, Duration::ZERO).map_err(|error| failed("wait for", error))? {
        return Ok(Killed::Before);
    }
    proof?;
    match send_kill(&pidfd) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(Killed::Before),
        Err(error) => return Err(failed("kill", error)),
    }
    if has_ended(&pidfd, timeout).map_err(|error| failed("wait for", error))? {
        return Ok(Killed::Now);
    }
    let after_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    Err(Error::TimedOut { what: format!("{} to end after SIGKILL", process()), after_ms })
}

fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers; the flags are 0.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor (close-on-exec), and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn send_kill(pidfd: &OwnedFd) -> io::Result<()> {
    let no_details = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and no details are passed.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, no_details, 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits at most `timeout` until the process has ended. Then all its threads are gone, and its
/// address space with them.
fn has_ended(pidfd: &OwnedFd, timeout: Duration) -> io::Result<bool> {
    let deadline = Instant::now().checked_add(timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // The slice is rounded up, so that the last one is not a busy loop. It is at most a minute,
        // and is then repeated.
        let slice_ms = left.map_or(60_000, |left| left.as_micros().div_ceil(1000).min(60_000) as u16);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(slice_ms)) {
            Ok(0) if left.is_some_and(|left| left.is_zero() || left.as_millis() < 60_000) => {
                return Ok(false);
            }
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A child that sleeps, and is killed and waited for on drop.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Sleeper {
            Sleeper(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_start_time_is_found_behind_a_hostile_name() {
        let rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n";
        for name in ["cat", "a b", "a) R 1 2 (b", ") 9 9 9", "((", "\n) S", "\u{fffd}é"] {
            assert_eq!(start_time_in(format!("77 ({name}){rest}").as_bytes()), Some(4711), "{name:?}");
        }
        let mut raw = b"77 (\xff\xfe)".to_vec();
        raw.extend_from_slice(rest.as_bytes());
        assert_eq!(start_time_in(&raw), Some(4711));
        for broken in
            ["", "77", "77 (cat", "77 (cat) S 1 2", "77 (cat) S 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 x"]
        {
            assert_eq!(start_time_in(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn start_times_of_real_processes() {
        let own = start_time_ticks(pid()).unwrap();
        assert!(own > 0);
        let child = Sleeper::start();
        assert!(start_time_ticks(child.0.id()).unwrap() >= own, "a child starts no earlier than its parent");
        assert_eq!(start_time_ticks(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_is_killed_by_its_full_name() {
        let mut child = Sleeper::start();
        let start = start_time_ticks(child.0.id()).unwrap();
        let timeout = Duration::from_secs(60);
        assert!(lives(child.0.id(), start) && !lives(child.0.id(), start + 1) && !lives(0, start));
        assert!(pid_namespace().is_some());
        assert_eq!(kill_exactly(child.0.id(), start, timeout).unwrap(), Killed::Now);
        assert!(!lives(child.0.id(), start), "a zombie has ended");
        assert_eq!(kill_exactly(child.0.id(), start, timeout).unwrap(), Killed::Before, "a zombie has ended");
        let status = child.0.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
        assert_eq!(kill_exactly(child.0.id(), start, timeout).unwrap(), Killed::Before);
    }

    #[test]
    fn another_process_with_that_pid_is_left_alone() {
        let mut child = Sleeper::start();
        let start = start_time_ticks(child.0.id()).unwrap();
        assert_eq!(kill_exactly(child.0.id(), start + 1, Duration::from_secs(60)).unwrap(), Killed::Before);
        assert_eq!(child.0.try_wait().unwrap(), None, "it lives");
    }

    #[test]
    fn neither_itself_nor_a_group_is_killed() {
        for wrong in [pid(), 0, u32::MAX] {
            let error = kill_exactly(wrong, 0, Duration::ZERO).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
        }
    }

    #[test]
    fn waiting_for_a_live_process_is_bounded() {
        let child = Sleeper::start();
        let pidfd = open_pidfd(child.0.id() as i32).unwrap();
        assert!(!has_ended(&pidfd, Duration::ZERO).unwrap());
        assert!(!has_ended(&pidfd, Duration::from_millis(5)).unwrap());
    }

    #[test]
    fn threads_are_pinned_and_others_are_not() {
        let allowed = allowed_cpus().unwrap();
        assert!(allowed.contains(&current_cpu().unwrap()), "{allowed:?}");
        let last = *allowed.last().unwrap();
        std::thread::spawn(move || {
            pin_to_cpu(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
            assert_eq!(current_cpu().unwrap(), last);
            assert_ne!(tid(), pid() as i32);
        })
        .join()
        .unwrap();
        assert_eq!(allowed_cpus().unwrap(), allowed);
        for missing in [1023, 1024, usize::MAX] {
            assert!(matches!(pin_to_cpu(missing), Err(Error::Invalid { .. })), "{missing}");
        }
    }
}
