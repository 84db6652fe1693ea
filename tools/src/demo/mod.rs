//! `railbus demo`: the main job on real input, with real processes, proved on this machine in half
//! a minute.
//!
//! ```text
//! stage    a bus of its own, the processes, and what takes all of it away again
//! actor    what the processes do: they are this program again, pinned, with a hidden command
//! file     act 1: a file through a stream, hashed at both ends
//! ticks    act 2: typed market data through a topic: two publishers, two subscribers, one order
//! jobs     act 3: a queue whose producers and workers are killed with SIGKILL
//! ledger   act 3's books: memory in which the processes write what they did, out of reach of their deaths
//! latency  act 4: round trips beside the physical limit, by `railbus bench`
//! ```
//! It needs no rights and no huge pages, and reports which pages it got. Nothing is left behind,
//! also after Ctrl-C.
//!
//! A pass does not prove that nothing can be lost. The tests kill at every instruction of the
//! protocol, and thousands of times; this kills a few, where everybody can watch.

pub(crate) mod actor;
mod file;
mod jobs;
mod latency;
mod ledger;
mod part;
mod stage;
mod ticks;

use std::path::PathBuf;
use std::time::Instant;

use railbus_os::process::allowed_cpus;
use stage::DemoStage;

use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  railbus demo                     sends this program's own binary through a stream
  railbus demo /usr/bin/python3    another file
  railbus demo --cores 2,3         on these processors

Takes less than 30 s. Exit code 0 says that every check passed.";

/// Prove it on this machine: every byte checked, processes killed in mid-flight, latency beside the
/// limit
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// The file to send [default: this program's own binary]
    file: Option<PathBuf>,
    /// The processors to pin processes to [default: all that are allowed]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Option<Vec<usize>>,
    /// Some seconds shorter, for tests
    #[arg(long, hide = true)]
    quick: bool,
}

/// The amounts of everything.
pub(crate) struct Scale {
    /// Ticks of each publisher.
    pub(crate) ticks: u64,
    /// How often a producer and a worker are killed.
    pub(crate) kills: usize,
    /// Seconds of each latency measurement.
    pub(crate) latency_seconds: f64,
    /// The latencies to measure: kind and payload bytes.
    pub(crate) latencies: &'static [(&'static str, usize)],
}

const FULL: Scale = Scale {
    ticks: 500_000,
    kills: 5,
    latency_seconds: 1.2,
    latencies: &[("stream", 8), ("stream", 56), ("topic", 8), ("topic", 56), ("queue", 8), ("queue", 56)],
};
const QUICK: Scale = Scale { ticks: 20_000, kills: 2, latency_seconds: 0.1, latencies: &[("stream", 8)] };

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Outcome {
    let started = Instant::now();
    interrupt::catch();
    let cores = choose_cores(args)?;
    let scale = if args.quick { QUICK } else { FULL };
    let mut stage = DemoStage::build(cores)?;
    say(&format!("railbus demo on {}, in {}", stage.describe_cores(), stage.directory()))?;
    file::play(&mut stage, args.file.as_deref())?;
    ticks::play(&mut stage, scale.ticks)?;
    jobs::play(&mut stage, scale.kills)?;
    latency::play(&stage, &scale)?;
    drop(stage);
    say(&format!(
        "\nEvery check passed, and everything is cleaned up, after {:.1} s.",
        started.elapsed().as_secs_f64()
    ))
}

/// Prints a line at once.
fn say(line: &str) -> Outcome {
    print(&format!("{line}\n"))
}

fn choose_cores(args: &DemoArgs) -> Result<Vec<usize>, Failure> {
    let allowed = allowed_cpus()
        .map_err(|error| railbus::Error::io("read the allowed processors of", "/proc/self", error))?;
    let Some(cores) = &args.cores else { return Ok(allowed) };
    match cores.iter().find(|core| !allowed.contains(core)) {
        Some(core) => Err(Failure::usage(format!(
            "--cores: processor {core} is not one of {allowed:?}, where this process may run"
        ))),
        None => Ok(cores.clone()),
    }
}
