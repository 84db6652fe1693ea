//! `railbus tap`: prints every event of a queue and takes none.

use railbus::{ChannelName, Start};

use crate::commands::subscribe::{ReadingArgs, print_events};
use crate::failure::Outcome;

const EXAMPLES: &str = "\
Examples:
  railbus tap demo/jobs                          what comes from now on
  railbus tap demo/jobs --json -n 10
  railbus tap demo/jobs --name audit --durable   resumes under its name
  railbus tap demo/jobs --lossy                  holds nobody up; losses are told

A tap that is not lossy holds producers up when it is a whole ring behind, as a subscriber of a topic does.";

/// Print every event of a queue without taking any
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TapArgs {
    /// The queue, as BUS/CHANNEL
    channel: ChannelName,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Lose events, and report it, rather than hold a producer up
    #[arg(long, conflicts_with = "durable")]
    lossy: bool,
}

/// Prints events.
pub(crate) fn run(args: &TapArgs) -> Outcome {
    args.reading.print_channel(&args.channel, Start::Live, |channel, start, progress| {
        let options = args.reading.options().lossy(args.lossy).start(start);
        print_events(channel.tap(&options)?, &args.channel, &args.reading, progress)
    })
}
