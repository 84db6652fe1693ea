//! `railbus tap`: prints every event of a queue and takes none.

use crate::commands::subscribe::{ReadingArgs, print_events};
use crate::failure::Outcome;
use crate::{interrupt, open};
use railbus::ChannelName;

const EXAMPLES: &str = "\
Examples:
  railbus tap demo/jobs                          what comes from now on
  railbus tap demo/jobs --json -n 10
  railbus tap demo/jobs --name audit --durable   resumes under its name

A tap holds producers up when it is a whole ring behind, as a subscriber of a topic does.";

/// Print every event of a queue without taking any
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TapArgs {
    /// The queue, as BUS/CHANNEL
    channel: ChannelName,
    #[command(flatten)]
    reading: ReadingArgs,
}

/// Prints events.
pub(crate) fn run(args: &TapArgs) -> Outcome {
    let channel = open::channel(&args.channel)?;
    interrupt::catch();
    print_events(channel.tap(&args.reading.options())?, &args.channel, &args.reading)
}
