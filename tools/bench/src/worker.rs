//! A worker of a run: from its plan to its printed result.

use std::io::Write;
use std::os::fd::AsFd;

use nix::sys::signal::{SigHandler, Signal};
use railbus::{Error, Result};

use super::arena::Arena;
use super::args::WorkerArgs;
use super::judgement::Scheduling;
use super::plan::{Plan, Role};
use super::processes::Output;
use super::transport::Site;
use super::{attach, idle, jitter, latency, throughput, topology};

/// The hidden subcommand: one worker, from its plan to its printed result. Returns the exit code.
pub fn worker(args: &WorkerArgs) -> u8 {
    let (output, code) = match work(args) {
        Ok(value) => (Output::Result(value, Scheduling::own()), 0),
        Err(error) => (Output::Error(error.to_string(), error.exit_code()), error.exit_code()),
    };
    let written = serde_json::to_string(&output).map_err(std::io::Error::other).and_then(|json| {
        let mut out = std::io::stdout().lock();
        out.write_all(json.as_bytes())?;
        out.flush()
    });
    if written.is_ok() { code } else { 1 }
}

fn work(args: &WorkerArgs) -> Result<serde_json::Value> {
    let plan: Plan = serde_json::from_str(&args.plan).map_err(|error| {
        Error::invalid("bench worker", format!("it is started by `railbus bench` only ({error})"))
    })?;
    die_with(plan.supervisor)?;
    topology::pin(plan.core)?;
    let stdin = std::io::stdin();
    let arena = Arena::attach(stdin.as_fd(), plan.copy_lanes, plan.copy_bytes)?;
    let site = Site { plan: &plan, arena: &arena };
    match plan.role {
        Role::Ping | Role::Pong => latency::work(site),
        Role::Producer | Role::Consumer => throughput::work(site),
        Role::Watcher => jitter::work(site),
        Role::Attacher => attach::work(site),
        Role::Idler => idle::work(site),
    }
}

/// Ties the life of this process to its supervisor's, and leaves Ctrl-C to the supervisor.
fn die_with(supervisor: u32) -> Result<()> {
    let failed = |errno: nix::Error| Error::io("prepare", "the worker", errno.into());
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed)?;
    if nix::unistd::getppid().as_raw() as u32 != supervisor {
        let why = "it ended before its worker had started".to_string();
        return Err(Error::PeerGone { what: "the supervisor".into(), why });
    }
    // SAFETY: ignoring a signal installs no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGINT, SigHandler::SigIgn) }.map_err(failed)?;
    Ok(())
}
