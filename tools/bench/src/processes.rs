//! The processes of a run: started, watched, and never left behind.
//!
//! Each worker is this program again, with a hidden subcommand, pinned to its core. It gets its
//! plan as an argument, the shared memory as standard input, and prints its result as JSON to
//! standard output, which is a pipe. The supervisor sleeps in `poll` on these pipes and on a
//! signalfd, so that it takes no time from the cores. A worker that dies closes its pipe: the
//! others are killed and the error names it. Workers ask the kernel to kill them when their
//! supervisor dies, so no spinning process outlives a run, however it ends.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use railbus::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::judgement::Scheduling;
use super::plan::Plan;

/// The most bytes that a worker may print.
const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// The output of a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Output {
    /// Its result, `null` for those that only follow, and the times that the scheduler gave it.
    Result(serde_json::Value, Scheduling),
    /// The reason of its failure, and the exit code for it.
    Error(String, u8),
}

/// While it exists, `poll` sees SIGINT, SIGTERM and SIGHUP. It also sums how the scheduler
/// interrupted the workers of all runs.
#[derive(Debug)]
pub struct Interrupts {
    signals: SignalFd,
    mask_before: SigSet,
    scheduling: Cell<Scheduling>,
}

impl Interrupts {
    /// Blocks the signals in the calling thread, which starts and awaits the workers.
    pub fn block() -> Result<Interrupts> {
        let failed = |errno: nix::Error| Error::io("block signals of", "/proc/self", errno.into());
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            mask.add(signal);
        }
        let mask_before = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).map_err(failed)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        match SignalFd::with_flags(&mask, flags) {
            Ok(signals) => Ok(Interrupts { signals, mask_before, scheduling: Cell::default() }),
            Err(errno) => {
                let _ = mask_before.thread_set_mask();
                Err(failed(errno))
            }
        }
    }

    /// The scheduler's times of the workers of all runs so far.
    pub fn scheduling(&self) -> Scheduling {
        self.scheduling.get()
    }

    /// The error to stop with, if a signal has come.
    fn check(&self) -> Result<()> {
        match self.signals.read_signal() {
            Ok(Some(info)) => {
                let name = Signal::try_from(info.ssi_signo as i32).map_or("a signal", Signal::as_str);
                let source = std::io::Error::other(format!("{name} came; no process is left behind"));
                Err(Error::Io { action: "finish", path: "the measurement".into(), source })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // A failure is ignored, and there is none for a mask that was valid.
        let _ = self.mask_before.thread_set_mask();
    }
}

/// A running worker.
struct Member {
    name: String,
    child: Child,
    /// `None` once it was read to its end.
    pipe: Option<ChildStdout>,
    output: Vec<u8>,
}

/// All workers of a run. Dropping it kills those that still run.
struct Crew(Vec<Member>);

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.0 {
            // `Child::kill` does not kill a process again that has ended and was waited for.
            let _ = member.child.kill();
        }
        for member in &mut self.0 {
            let _ = member.child.wait();
        }
    }
}

/// Starts a worker for each plan and waits for their results, which come in the order of the
/// plans.
///
/// Blocks until all have ended, one has failed, a signal has come, or the limit has passed; the
/// last three are errors.
pub fn run<R: DeserializeOwned>(
    arena: &File,
    plans: &[Plan],
    interrupts: &Interrupts,
    limit: Duration,
) -> Result<Vec<Option<R>>> {
    let started = Instant::now();
    let mut crew = Crew(Vec::new());
    for plan in plans {
        crew.0.push(start(arena, plan)?);
    }
    while crew.0.iter().any(|member| member.pipe.is_some()) {
        interrupts.check()?;
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            let running = crew.0.iter().filter(|member| member.pipe.is_some());
            let names: Vec<&str> = running.map(|member| member.name.as_str()).collect();
            return Err(Error::TimedOut { what: names.join(", "), after_ms: limit.as_millis() as u64 });
        }
        await_any(&crew, interrupts, left)?;
        for member in &mut crew.0 {
            if member.is_readable()? {
                member.read()?;
            }
        }
        // A signal to the whole group may have ended a worker as well; then the signal is reported.
        interrupts.check()?;
        for member in &mut crew.0 {
            member.check_end()?;
        }
    }
    crew.0.iter_mut().map(|member| member.result(interrupts)).collect()
}

/// Sleeps until a pipe or a signal is ready, or the time is over.
fn await_any(crew: &Crew, interrupts: &Interrupts, limit: Duration) -> Result<()> {
    let pipes = crew.0.iter().filter_map(|member| member.pipe.as_ref());
    let mut polled: Vec<PollFd<'_>> =
        pipes.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)).collect();
    polled.push(PollFd::new(interrupts.signals.as_fd(), PollFlags::POLLIN));
    let timeout = PollTimeout::try_from(limit.min(Duration::from_secs(3600))).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, timeout) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(errno) => Err(Error::io("wait for", "the workers", errno.into())),
    }
}

fn start(arena: &File, plan: &Plan) -> Result<Member> {
    let program = "/proc/self/exe";
    let json = serde_json::to_string(plan).map_err(|error| Error::invalid("plan", error.to_string()))?;
    let arena = arena.try_clone().map_err(|error| Error::io("share", "the arena", error))?;
    let mut child = Command::new(program)
        .args(["bench", "worker", &json])
        .stdin(arena)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::io("start", program, error))?;
    let pipe = child.stdout.take();
    Ok(Member { name: plan.name(), child, pipe, output: Vec::new() })
}

impl Member {
    fn is_readable(&self) -> Result<bool> {
        let Some(pipe) = &self.pipe else { return Ok(false) };
        let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::ZERO) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::Error::EINTR) => Ok(false),
            Err(errno) => Err(Error::io("look at", "the workers", errno.into())),
        }
    }

    /// Reads the bytes that are there; at the end of the pipe, closes it.
    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 65536];
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        match pipe.read(&mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(bytes) if self.output.len() + bytes <= MAX_OUTPUT_BYTES => {
                self.output.extend_from_slice(&buffer[..bytes]);
            }
            Ok(_) => return Err(Error::corrupt(&self.name, "it printed far more than a result")),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read from", self.name.clone(), error)),
        }
        Ok(())
    }

    /// For a worker whose pipe is closed: waits for its end and reports a failure.
    fn check_end(&mut self) -> Result<()> {
        if self.pipe.is_some() {
            return Ok(());
        }
        let status = self.child.wait().map_err(|error| Error::io("wait for", self.name.clone(), error))?;
        match serde_json::from_slice(&self.output) {
            Ok(Output::Error(why, code)) => Err(worker_error(&self.name, why, code)),
            Ok(Output::Result(..)) if status.success() => Ok(()),
            _ => Err(Error::PeerGone {
                what: format!("the worker \"{}\" (pid {})", self.name, self.child.id()),
                why: format!("{}; the measurement was stopped", describe_end(status)),
            }),
        }
    }

    fn result<R: DeserializeOwned>(&mut self, interrupts: &Interrupts) -> Result<Option<R>> {
        let unreadable = |error: serde_json::Error| Error::corrupt(self.name.clone(), error.to_string());
        match serde_json::from_slice(&self.output).map_err(unreadable)? {
            Output::Result(value, scheduling) => {
                interrupts.scheduling.set(interrupts.scheduling.get().and(scheduling));
                serde_json::from_value(value).map_err(unreadable)
            }
            Output::Error(why, code) => Err(worker_error(&self.name, why, code)),
        }
    }
}

fn describe_end(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            format!("it was killed by signal {signal} ({name})")
        }
        (None, Some(code)) => format!("it ended with code {code} and no result"),
        (None, None) => "it ended".to_string(),
    }
}

/// A worker's error, in the class that gives the same exit code.
fn worker_error(name: &str, why: String, code: u8) -> Error {
    let what = name.to_string();
    match code {
        2 => Error::Invalid { what, why },
        5 => Error::Corrupt { what, why },
        6 => Error::NoSpace { what, why },
        7 => Error::PeerGone { what, why },
        _ => Error::Io { action: "run", path: what.into(), source: std::io::Error::other(why) },
    }
}
