//! Proof that each thread of another process was off its processor for a moment.
//!
//! **Promise.** A thread that loses its processor inside a restartable sequence ([`super::rseq`])
//! begins it again. So after [`quiesce`] no thread of the process acts on a value that it loaded,
//! inside such a sequence, before the call.
//!
//! **How it works.** One of three observations proves it of a thread. Each is made after the call:
//!
//! - The kernel says in which system call, or other sleep, the thread is
//!   (`/proc/PID/task/TID/syscall`). The kernel itself makes sure that the thread is off its
//!   processor. This needs the right to trace the process.
//! - The thread was last on the processor on which this very thread runs at that time. A helper
//!   thread goes there and checks: a thread that runs makes room for it.
//! - The thread has moved to another processor.
//!
//! **Left out.** No signal is sent and nothing is stopped. Not even the state `T` would be proof: a
//! thread is marked as stopped a little before it gives its processor up, and may be continued in
//! between.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::process;

/// A thread that has not been seen off its processor yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thread {
    tid: i32,
    /// The processor on which it was last.
    processor: usize,
}

/// Waits, at most `timeout`, until each thread of a process was off its processor at some time
/// after the call. The process is `pid`, which started at `start_time_ticks`. A process that has
/// ended has no threads. About 0.1 ms, and 0.1 ms more for each processor that has to be visited.
///
/// # Errors
/// - [`Error::Invalid`] if `/proc` does not show the process (it runs in another PID namespace, or
///   `/proc` hides it), or if this process may not run where one of its threads does.
/// - [`Error::TimedOut`] if a thread does not make room because it runs at a real-time priority, or
///   if the process starts and ends threads all the time.
/// - [`Error::Io`].
pub fn quiesce(pid: u32, start_time_ticks: u64, timeout: Duration) -> Result<()> {
    let started = Instant::now();
    if !is_there(pid, start_time_ticks)? {
        return Ok(());
    }
    let threads = threads_of(pid, (started, timeout))?;
    let pending: Vec<Thread> = threads.into_iter().filter(|thread| !sleeps(pid, thread.tid)).collect();
    if pending.is_empty() {
        return Ok(());
    }
    visit(pid, pending, (started, timeout))
}

/// Whether exactly this process exists. A process that `/proc` does not show may well exist.
fn is_there(pid: u32, start_time_ticks: u64) -> Result<bool> {
    match process::start_time_ticks(pid) {
        Ok(found) if found == start_time_ticks => Ok(true),
        // The pid belongs to another process now, or means another process here.
        Ok(_) => Err(elsewhere(pid)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(elsewhere(pid)),
        Err(error) => Err(Error::io("read", format!("/proc/{pid}/stat"), error)),
    }
}

fn elsewhere(pid: u32) -> Error {
    Error::invalid(
        format!("process {pid}"),
        "/proc does not show it under this number: it has just ended, or runs in another PID namespace (a container); \
         evict it from there",
    )
}

/// Returns all threads of the process. The directory may leave threads out while others end. So it
/// is read until two readings agree with each other and with the kernel's count. It is read at
/// least twice, however little time there is.
fn threads_of(pid: u32, (started, timeout): (Instant, Duration)) -> Result<Vec<Thread>> {
    let failed = |error| Error::io("look at the threads of", format!("/proc/{pid}/task"), error);
    let mut before = read_tids(pid).map_err(failed)?;
    loop {
        let tids = read_tids(pid).map_err(failed)?;
        // The first thread may have ended before the others.
        let Some(leader) = stat(pid, pid as i32).map_err(failed)? else { return Ok(Vec::new()) };
        if tids == before && leader.threads == tids.len() {
            break;
        }
        if started.elapsed() >= timeout {
            return Err(Error::TimedOut {
                what: format!(
                    "two looks at the threads of process {pid} that agree (it starts and ends them all the time; stop it \
                     with SIGSTOP, and try again)"
                ),
                after_ms: millis(timeout),
            });
        }
        before = tids;
    }
    let mut threads = Vec::new();
    for tid in before {
        if let Some(stat) = stat(pid, tid).map_err(failed)?.filter(|stat| !stat.has_ended) {
            threads.push(Thread { tid, processor: stat.processor });
        }
    }
    Ok(threads)
}

/// The threads that the directory shows, in order; none if the process is gone.
fn read_tids(pid: u32) -> io::Result<Vec<i32>> {
    let entries = match fs::read_dir(format!("/proc/{pid}/task")) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut tids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        tids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    tids.sort_unstable();
    Ok(tids)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The fields of a thread's `stat` that are used here.
struct Stat {
    /// Whether it will never run again.
    has_ended: bool,
    /// The number of threads of its process.
    threads: usize,
    /// The processor on which it runs, or ran last.
    processor: usize,
}

/// Returns `None` if there is no such thread any more.
fn stat(pid: u32, tid: i32) -> io::Result<Option<Stat>> {
    match fs::read(format!("/proc/{pid}/task/{tid}/stat")) {
        Ok(text) => stat_in(&text)
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a stat that is not understood")),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn stat_in(text: &[u8]) -> Option<Stat> {
    // The command, in parentheses, may hold any byte. No field after it does.
    let command_end = text.iter().rposition(|&byte| byte == b')')?;
    let fields: Vec<&str> = str::from_utf8(&text[command_end + 1..]).ok()?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        has_ended: matches!(field(3)?, "Z" | "X"),
        threads: field(20)?.parse().ok()?,
        processor: field(39)?.parse().ok()?,
    })
}

/// Whether the kernel says that the thread sleeps. The kernel has then made sure that it is off its
/// processor.
fn sleeps(pid: u32, tid: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"));
    // The file holds the number of a system call and its arguments, or -1 for another sleep. This
    // thread itself is in no sequence.
    text.is_ok_and(|text| text.starts_with(|first: char| first.is_ascii_digit() || first == '-'))
}

/// Sends a helper to the processors of these threads. The helper is a thread of its own for two
/// reasons. Only threads move, and a thread at a real-time priority may keep it waiting without
/// end.
fn visit(pid: u32, pending: Vec<Thread>, (started, timeout): (Instant, Duration)) -> Result<()> {
    let everywhere = sched_getaffinity(Pid::from_raw(0))
        .map_err(|error| Error::io("read the processors of", "/proc/self", error.into()))?;
    let (helper, is_over) = (AtomicI32::new(0), AtomicBool::new(false));
    let (told, hear) = sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(|| {
            helper.store(process::tid(), Ordering::Release);
            let _ = told.send(look_from_everywhere(pid, pending, &is_over));
        });
        let left = timeout.saturating_sub(started.elapsed());
        match hear.recv_timeout(left) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Disconnected) => Err(Error::invalid("the helper thread", "it has failed")),
            Err(RecvTimeoutError::Timeout) => {
                is_over.store(true, Ordering::Release);
                // Moves the helper away from the processor on which it waits for its turn.
                while !matches!(hear.try_recv(), Ok(_) | Err(std::sync::mpsc::TryRecvError::Disconnected)) {
                    let tid = helper.load(Ordering::Acquire);
                    let _ = sched_setaffinity(Pid::from_raw(tid), &everywhere);
                    thread::sleep(Duration::from_millis(1));
                }
                Err(Error::TimedOut {
                    what: format!(
                        "a thread of process {pid} to make place for a moment (does it run at a real-time priority? \
                         stop it with SIGSTOP, and try again)"
                    ),
                    after_ms: millis(timeout),
                })
            }
        }
    })
}

fn look_from_everywhere(pid: u32, mut pending: Vec<Thread>, is_over: &AtomicBool) -> Result<()> {
    while let Some(&Thread { processor, .. }) = pending.first() {
        if is_over.load(Ordering::Acquire) {
            return Ok(()); // The caller has given up waiting.
        }
        let mut only = CpuSet::new();
        let moved = only.set(processor).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only));
        match moved {
            Ok(()) => {}
            Err(Errno::EINVAL) => {
                let why = format!(
                    "it runs on processor {processor}, where this process may not (a cpuset); evict it from there, \
                     or with the right to trace it"
                );
                return Err(Error::invalid(format!("process {pid}"), why));
            }
            Err(error) => return Err(Error::io("move a thread in", "/proc/self", error.into())),
        }
        // From here on this thread runs on that processor only: a thread whose processor is the
        // same does not run.
        let mut later = Vec::new();
        for thread in pending {
            let now = stat(pid, thread.tid)
                .map_err(|error| Error::io("read", format!("/proc/{pid}/task"), error))?;
            // It has ended, makes room for this thread, or has moved since.
            let was_off = now.is_none_or(|now| {
                now.has_ended || now.processor == processor || now.processor != thread.processor
            });
            if !was_off && !sleeps(pid, thread.tid) {
                later.push(thread);
            }
        }
        pending = later;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rseq;
    use std::process::{Command, Stdio};
    use std::sync::atomic::AtomicU64;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn threads_that_sleep_run_or_are_stopped_are_seen_off_their_processors() {
        for (script, stop) in
            [("exec sleep 1000", false), ("while :; do :; done", false), ("while :; do :; done", true)]
        {
            let mut child =
                Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::null()).spawn().unwrap();
            let pid = child.id();
            let start = process::start_time_ticks(pid).unwrap();
            if stop {
                // SAFETY: the pid is of this process's own child, which was not waited for.
                assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGSTOP) }, 0);
            }
            quiesce(pid, start, SOON).unwrap();
            assert!(quiesce(pid, start + 1, SOON).is_err(), "another process");
            child.kill().unwrap();
            // A zombie has no threads that run.
            quiesce(pid, start, SOON).unwrap();
            child.wait().unwrap();
            assert!(matches!(quiesce(pid, start, SOON), Err(Error::Invalid { .. })), "it is not shown");
        }
    }

    #[test]
    fn threads_that_come_and_go_all_the_time_do_not_hold_it_up_for_ever() {
        let stop = AtomicBool::new(false);
        let pid = process::pid();
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let short = || thread::sleep(Duration::from_micros(200));
                        thread::spawn(short).join().unwrap();
                    }
                });
            }
            let begun = Instant::now();
            let mut outcome = Ok(Vec::new());
            // Tries again as long as two readings in a row agree.
            while outcome.is_ok() && begun.elapsed() < SOON {
                outcome = threads_of(pid, (begun, Duration::ZERO));
            }
            stop.store(true, Ordering::Relaxed);
            assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
        });
    }

    #[test]
    fn a_helper_sees_every_thread_of_its_own_process() {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let pid = process::pid();
            for _ in 0..20 {
                let soon = (Instant::now(), SOON);
                let threads = threads_of(pid, soon).unwrap();
                assert!(threads.len() >= 4, "{threads:?}");
                visit(pid, threads, soon).unwrap();
            }
            quiesce(pid, process::start_time_ticks(pid).unwrap(), SOON).unwrap();
            stop.store(true, Ordering::Relaxed);
        });
    }

    /// Tests both together: nothing that a thread does inside a sequence is stored after the guard
    /// was closed and the thread was off its processor.
    #[test]
    fn no_store_comes_after_the_guard_was_closed_and_the_thread_was_seen_off() {
        let Some(area) = rseq::offset() else {
            println!("skipped: this process has no restartable sequences");
            return;
        };
        const OPEN: u64 = 2;
        let (word, guard, stop) = (AtomicU64::new(0), AtomicU64::new(OPEN), AtomicBool::new(false));
        let stored = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // SAFETY: both words outlive the thread, and are atomic.
                    let done = unsafe { rseq::store_if::<2>(word.as_ptr(), 1, guard.as_ptr(), area) };
                    stored.fetch_add(done as u64, Ordering::Relaxed);
                }
            });
            let pid = process::pid();
            for _ in 0..500 {
                guard.store(3, Ordering::SeqCst);
                let soon = (Instant::now(), SOON);
                visit(pid, threads_of(pid, soon).unwrap(), soon).unwrap();
                word.store(0, Ordering::SeqCst);
                for _ in 0..2000 {
                    assert_eq!(word.load(Ordering::Relaxed), 0, "a late store");
                }
                guard.store(OPEN, Ordering::SeqCst);
                let before = stored.load(Ordering::Relaxed);
                while stored.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn the_stat_of_a_hostile_name_is_read() {
        let rest = (4..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        for name in ["cat", "a b", ") Z 9 (", "\n) S"] {
            let stat = stat_in(format!("77 ({name}) R {rest}").as_bytes()).unwrap();
            assert_eq!((stat.has_ended, stat.threads, stat.processor), (false, 20, 39), "{name:?}");
        }
        assert!(stat_in(format!("77 (x) Z {rest}").as_bytes()).unwrap().has_ended);
        assert!(stat_in(b"77 (x) R 1 2 3").is_none());
    }
}
