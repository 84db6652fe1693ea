//! A process of the demo: this program again, with its plan as an argument. It prints its report as JSON.

use super::{file, jobs, stage, ticks};
use crate::failure::{Failure, Outcome};
use crate::output::print;
use railbus::os::process::pin_to_cpu;
use railbus::{Bus, Error};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One process of the demo; started by `railbus demo` only
#[derive(Debug, clap::Args)]
pub(crate) struct ActorArgs {
    /// Its plan, as JSON
    plan: String,
}

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) role: Role,
    /// The directory of all buses of the demo.
    pub(crate) base: PathBuf,
    pub(crate) bus: String,
    pub(crate) channel: String,
    /// The processor to be pinned to.
    pub(crate) core: usize,
    /// The process that started it.
    pub(crate) supervisor: u32,
}

/// The parts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Publishes a file.
    FilePublisher(PathBuf),
    /// Receives it.
    FileSubscriber,
    /// Publishes ticks: which publisher, and how many.
    TickPublisher(u32, u64),
    /// Receives the ticks of all publishers: how many.
    TickSubscriber(u64),
    /// Produces numbered jobs: its seat and its generation.
    JobProducer(usize, usize),
    /// Works on them: its seat.
    JobWorker(usize),
}

/// Plays the part.
pub(crate) fn run(args: &ActorArgs) -> Outcome {
    let plan: Plan = serde_json::from_str(&args.plan).map_err(|error| {
        Error::invalid("the plan", format!("it is started by `railbus demo` only ({error})"))
    })?;
    stage::die_with(plan.supervisor)?;
    pin_to_cpu(plan.core)?;
    let channel = Bus::at(&plan.base, &plan.bus)?.attach(&plan.channel)?;
    match &plan.role {
        Role::FilePublisher(path) => report(&file::publish(&channel, path)?),
        Role::FileSubscriber => report(&file::subscribe(&channel)?),
        Role::TickPublisher(publisher, ticks) => report(&ticks::publish(&channel, *publisher, *ticks)?),
        Role::TickSubscriber(ticks) => report(&ticks::subscribe(&channel, *ticks)?),
        Role::JobProducer(seat, generation) => report(&jobs::produce(&channel, *seat, *generation)?),
        Role::JobWorker(seat) => report(&jobs::work(&channel, *seat)?),
    }
}

fn report(report: &impl Serialize) -> Outcome {
    let text = serde_json::to_string(report).map_err(|error| Failure::new(format!("the report: {error}")))?;
    print(&text)
}
