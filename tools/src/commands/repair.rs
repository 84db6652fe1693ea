//! `railbus repair`: repairs now what dead participants left, before another participant finds it.

use railbus::ChannelName;
use railbus_ring::members::peers::Side;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome, note};
use crate::open;
use crate::output::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  railbus repair demo/jobs
  railbus repair demo/jobs --json

This is never necessary: a participant that waits for a dead one repairs it within milliseconds. It is for a \
channel that nobody uses at the moment. Exit code 1 if something could not be settled yet.";

/// Free what dead participants hold, and hand their events back for redelivery
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RepairArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Repairs.
pub(crate) fn run(args: &RepairArgs) -> Outcome {
    let repaired = open::channel(&args.channel)?.repair()?;
    let names =
        |entries: &[(Side, usize)]| entries.iter().map(|&(side, index)| who(side, index)).collect::<Vec<_>>();
    let (buried, unsettled) = (names(&repaired.buried), names(&repaired.unsettled));
    for (_, why) in &repaired.skipped {
        note(&format!("one side is left alone: {why}"));
    }
    if args.json {
        print_json(&json!({
            "channel": args.channel.to_string(),
            "buried": buried,
            "unsettled": unsettled,
            "aborted": repaired.aborted,
            "redone": repaired.redone,
            "keys": repaired.keys,
            "skipped": repaired.skipped.iter().map(|(_, why)| why.to_string()).map(Value::from).collect::<Vec<Value>>(),
        }))?;
    } else {
        let list = if buried.is_empty() { String::new() } else { format!(" ({})", buried.join(", ")) };
        print(&format!(
            "{}: {} dead participants buried{list}, {} events for redelivery, {} tickets without an event{}\n",
            args.channel,
            buried.len(),
            repaired.redone,
            repaired.aborted,
            if repaired.keys > 0 { format!(", {} keys freed", repaired.keys) } else { String::new() }
        ))?;
    }
    if repaired.skipped.len() == 2 {
        let code = repaired.skipped[0].1.exit_code();
        return Err(Failure::Told { text: "neither side of the channel may be written".to_owned(), code });
    }
    match unsettled.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "{} could not be settled: a live participant is at the same events; try again",
            unsettled.join(", ")
        ))),
    }
}

/// The name of a participant in `info` and `evict`.
pub(crate) fn who(side: Side, index: usize) -> String {
    match side {
        Side::Producers => format!("producer:{index}"),
        Side::Consumers => format!("consumer:{index}"),
    }
}
