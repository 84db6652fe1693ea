//! A process of the demo: this program again, with its plan as an argument. It prints its report as JSON.

use railbus::{Bus, Error};
use railbus_os::process::pin_to_cpu;
use serde::Serialize;

use super::part::{Part, PartPlan};
use super::{file, jobs, stage, ticks};
use crate::failure::{Failure, Outcome};
use crate::output::print;

/// One process of the demo; started by `railbus demo` only
#[derive(Debug, clap::Args)]
pub(crate) struct ActorArgs {
    /// Its plan, as JSON
    plan: String,
}

/// Plays the part.
pub(crate) fn run(args: &ActorArgs) -> Outcome {
    let plan: PartPlan = serde_json::from_str(&args.plan).map_err(|error| {
        Error::invalid("the plan", format!("it is started by `railbus demo` only ({error})"))
    })?;
    stage::die_with(plan.supervisor)?;
    pin_to_cpu(plan.core)?;
    let channel = Bus::at(&plan.base, &plan.bus)?.attach(&plan.channel)?;
    match &plan.role {
        Part::FilePublisher(path) => report(&file::publish(&channel, path)?),
        Part::FileSubscriber => report(&file::subscribe(&channel)?),
        Part::TickPublisher(publisher, ticks) => report(&ticks::publish(&channel, *publisher, *ticks)?),
        Part::TickSubscriber(ticks) => report(&ticks::subscribe(&channel, *ticks)?),
        Part::JobProducer(seat, generation) => report(&jobs::produce(&channel, *seat, *generation)?),
        Part::JobWorker(seat) => report(&jobs::work(&channel, *seat)?),
    }
}

fn report(report: &impl Serialize) -> Outcome {
    let text = serde_json::to_string(report).map_err(|error| Failure::new(format!("the report: {error}")))?;
    print(&text)
}
