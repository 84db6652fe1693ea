//! The stage of the demo: a bus in a directory of its own, the processes, and the removal of all of
//! it.
//!
//! [`DemoStage::build`] builds the stage. Dropping it kills the processes and waits for them, and
//! removes the channels and the directory. Actors ask the kernel to kill them when the process that
//! started them dies, so none outlives it, however it ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use railbus::{Bus, Channel, ChannelOptions, Error, Result};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::part::{Part, PartPlan};
use crate::failure::Failure;
use crate::interrupt;

const BUS: &str = "demo";
/// No act takes this long, not even on one slow processor.
const PATIENCE: Duration = Duration::from_secs(120);

/// The stage.
pub(crate) struct DemoStage {
    /// Dropped in this order: actors, channels, directory.
    actors: Vec<Actor>,
    bus: Bus,
    directory: TempDir,
    cores: Vec<usize>,
}

/// A process on the stage.
struct Actor {
    name: String,
    child: Child,
    /// Whether its end by SIGKILL is part of the play.
    doomed: bool,
}

impl DemoStage {
    /// Makes a directory for a bus, beside the other buses.
    pub(crate) fn build(cores: Vec<usize>) -> Result<DemoStage> {
        let parent = match std::env::var_os("RAILBUS_DIR") {
            Some(_) => crate::open::base()?,
            None => "/dev/shm".into(),
        };
        let fail = |error| Error::io("make a directory in", &parent, error);
        std::fs::create_dir_all(&parent).map_err(fail)?;
        let directory = tempfile::Builder::new().prefix("railbus-demo-").tempdir_in(&parent).map_err(fail)?;
        let bus = Bus::at(directory.path(), BUS)?;
        Ok(DemoStage { actors: Vec::new(), bus, directory, cores })
    }

    /// Makes a channel.
    pub(crate) fn channel(&self, name: &str, options: &ChannelOptions) -> Result<Channel> {
        self.bus.create(name, options)
    }

    /// The directory of the bus.
    pub(crate) fn directory(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// The processors that processes are pinned to.
    pub(crate) fn cores(&self) -> &[usize] {
        &self.cores
    }

    /// The processors, for people.
    pub(crate) fn describe_cores(&self) -> String {
        match self.cores[..] {
            [core] => format!(
                "processor {core} alone: everything works, slowly, because processes wait for their turns"
            ),
            [first, .., last] if self.cores.len() > 2 => {
                format!("{} processors ({first} to {last})", self.cores.len())
            }
            _ => {
                let cores: Vec<String> = self.cores.iter().map(ToString::to_string).collect();
                format!("processors {}", cores.join(" and "))
            }
        }
    }

    /// Starts a process in a role, pinned to the `seat`-th processor. Returns its number on the stage.
    pub(crate) fn start(
        &mut self,
        name: &str,
        seat: usize,
        channel: &str,
        role: Part,
        input: Option<&File>,
    ) -> Result<usize> {
        let plan = PartPlan {
            role,
            base: self.directory.path().to_owned(),
            bus: BUS.to_owned(),
            channel: channel.to_owned(),
            core: self.cores[seat % self.cores.len()],
            supervisor: std::process::id(),
        };
        let fail = |error| Error::io("start", "/proc/self/exe", error);
        let plan =
            serde_json::to_string(&plan).map_err(|error| Error::corrupt("the plan", error.to_string()))?;
        let input = match input {
            Some(file) => Stdio::from(file.try_clone().map_err(fail)?),
            None => Stdio::null(),
        };
        let child = Command::new("/proc/self/exe")
            .arg0("railbus")
            .args([OsStr::new("demo-actor"), OsStr::new(&plan)])
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(fail)?;
        self.actors.push(Actor { name: name.to_owned(), child, doomed: false });
        Ok(self.actors.len() - 1)
    }

    /// Kills an actor with SIGKILL, as part of the play, and waits for its end. Returns how many ns
    /// that took.
    pub(crate) fn kill(&mut self, actor: usize) -> std::result::Result<u64, Failure> {
        self.watch()?;
        let actor = &mut self.actors[actor];
        let started = Instant::now();
        actor.doomed = true;
        let fail = |error| Error::io("kill", &actor.name, error);
        actor.child.kill().map_err(fail)?;
        let status = actor.child.wait().map_err(fail)?;
        match status.signal() {
            Some(libc::SIGKILL) => Ok(started.elapsed().as_nanos() as u64),
            _ => Err(Failure::new(format!("{} had ended before it was killed: {status}", actor.name))),
        }
    }

    /// Sleeps, watching the actors.
    pub(crate) fn pause(&mut self, time: Duration) -> std::result::Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            self.watch()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
    }

    /// Fails if the user asked to end, or if an actor failed.
    fn watch(&mut self) -> std::result::Result<(), Failure> {
        if interrupt::is_asked() {
            return Err(Failure::new("interrupted; everything is cleaned up"));
        }
        for actor in self.actors.iter_mut().filter(|actor| !actor.doomed) {
            let status = actor.child.try_wait().map_err(|error| Error::io("wait for", &actor.name, error))?;
            if let Some(status) = status.filter(|status| !status.success()) {
                return Err(Failure::new(format!("the {} ended with {status}", actor.name)));
            }
        }
        Ok(())
    }

    /// Waits until all actors have ended well. Returns the reports of those that were not killed,
    /// in the order in which they were started. The stage is empty then.
    pub(crate) fn finish<R: DeserializeOwned>(&mut self) -> std::result::Result<Vec<R>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.watch()?;
            let mut running = Vec::new();
            for actor in &mut self.actors {
                if matches!(actor.child.try_wait(), Ok(None)) {
                    running.push(actor.name.as_str());
                }
            }
            if running.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                let what = format!("the {} to end", running.join(", "));
                return Err(Error::TimedOut { what, after_ms: PATIENCE.as_millis() as u64 }.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut reports = Vec::new();
        for actor in self.actors.drain(..).filter(|actor| !actor.doomed) {
            let Actor { name, mut child, .. } = actor;
            let mut report = String::new();
            if let Some(pipe) = &mut child.stdout {
                pipe.read_to_string(&mut report).map_err(|error| Error::io("read from", &name, error))?;
            }
            let report = serde_json::from_str(&report)
                .map_err(|error| Failure::new(format!("the {name} reported nonsense: {error}")))?;
            reports.push(report);
        }
        Ok(reports)
    }
}

impl Drop for DemoStage {
    fn drop(&mut self) {
        for actor in &mut self.actors {
            // An actor that has ended, and was waited for, is not killed again.
            let _ = actor.child.kill();
        }
        for actor in &mut self.actors {
            let _ = actor.child.wait();
        }
        // One by one, because data may lie on hugetlbfs, outside of the directory.
        for channel in self.bus.channels().unwrap_or_default() {
            let _ = self.bus.remove(channel.channel());
        }
    }
}

/// Ties the life of this process to its supervisor's, and leaves Ctrl-C to the supervisor.
pub(crate) fn die_with(supervisor: u32) -> Result<()> {
    let failed = |errno: nix::Error| Error::io("prepare", "/proc/self", errno.into());
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed)?;
    if nix::unistd::getppid().as_raw() as u32 != supervisor {
        let why = "it ended before this process had started".to_owned();
        return Err(Error::PeerGone { what: "the demo".into(), why });
    }
    // SAFETY: ignoring a signal installs no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGINT, nix::sys::signal::SigHandler::SigIgn) }
        .map_err(failed)?;
    Ok(())
}
