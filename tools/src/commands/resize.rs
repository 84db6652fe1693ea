//! `railbus resize`: makes a channel again with another size, at a quiet point.

use std::time::Duration;

use railbus::admin::{Resize, Resized};
use railbus::{ChannelName, Kind};
use railbus_os::pages::bytes_text;
use serde_json::json;

use crate::confirm::ConfirmArgs;
use crate::failure::{Failure, Outcome};
use crate::open;
use crate::output::{print, print_json};
use crate::units::{parse_bytes, parse_time};

const EXAMPLES: &str = "\
Examples:
  railbus resize demo/ticks --capacity 64MiB
  railbus resize demo/jobs --slots 4096 --slot-bytes 512 --wait 30s
  railbus resize demo/jobs --consumers-max 128 --dry-run
  railbus resize demo/ticks --capacity 1MiB --discard --yes

Refused while anybody is attached, who is named. What was not read or done is carried over: a queue's \
unfinished events, and of any channel what durable subscriptions have not read. It stays the same channel, in its \
next incarnation, from the position where it ended. Both are in memory for a moment. Killed anywhere, the old channel or \
the new one is there.";

/// Make a channel again with another size, while nobody uses it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResizeArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    /// Bytes of a stream, a power of two
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    capacity: Option<u64>,
    /// Slots of a queue or topic, a power of two
    #[arg(long, value_name = "N")]
    slots: Option<u64>,
    /// Bytes of a slot, a power of two
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    slot_bytes: Option<u64>,
    /// Producers that can be attached at once (queue, topic)
    #[arg(long, value_name = "N")]
    producers_max: Option<u32>,
    /// Subscribers, workers and taps that can be attached at once
    #[arg(long, value_name = "N")]
    consumers_max: Option<u32>,
    /// Give up events that were not read or done
    #[arg(long)]
    discard: bool,
    /// Wait so long for the attached participants to leave
    #[arg(long, default_value = "0", value_name = "TIME", value_parser = parse_time)]
    wait: Duration,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Resizes.
pub(crate) fn run(args: &ResizeArgs) -> Outcome {
    let resize = Resize {
        capacity_bytes: args.capacity,
        slots: args.slots,
        slot_bytes: args.slot_bytes,
        producers_max: args.producers_max,
        consumers_max: args.consumers_max,
        discard: args.discard,
        wait: args.wait,
    };
    if resize == (Resize { discard: args.discard, wait: args.wait, ..Resize::default() }) {
        return Err(Failure::usage(
            "nothing to change: give --capacity, --slots, --slot-bytes, --producers-max or --consumers-max",
        ));
    }
    let channel = open::channel(&args.channel)?;
    let dry_run = args.confirm.dry_run;
    let text = |resized: &Resized, would| report(args, resized, would);
    if !dry_run {
        args.confirm.ask(|| Ok(text(&channel.resize(&resize, true)?, true)))?;
    }
    let resized = channel.resize(&resize, dry_run)?;
    if args.json {
        let header = resized.channel.header();
        return print_json(&json!({
            "channel": args.channel.to_string(),
            "dry_run": dry_run,
            "incarnation": resized.incarnation,
            "first_position": resized.first_position,
            "discarded": args.discard,
            "events": resized.carried.events,
            "bytes": resized.carried.bytes,
            "subscriptions": resized.carried.subscriptions,
            "capacity_bytes": header.capacity_bytes,
            "slots": header.slots,
            "slot_bytes": header.slot_bytes,
            "producers_max": header.producers_max,
            "consumers_max": header.consumers_max,
        }));
    }
    print(&text(&resized, dry_run))
}

fn report(args: &ResizeArgs, resized: &Resized, would: bool) -> String {
    let header = resized.channel.header();
    let kind = header.kind;
    let shape = match kind {
        Kind::Stream => format!("stream of {}", bytes_text(args.capacity.unwrap_or(header.capacity_bytes))),
        kind => format!(
            "{kind} of {} slots of {}",
            args.slots.unwrap_or(header.slots),
            bytes_text(args.slot_bytes.unwrap_or(header.slot_bytes))
        ),
    };
    let verb = match (would, args.discard) {
        (false, false) => "made anew, and carried over",
        (false, true) => "made anew, and gave up",
        (true, false) => "would make it anew, and carry over",
        (true, true) => "would make it anew, and give up",
    };
    let carried = &resized.carried;
    format!(
        "{}: {verb} {} events of {}, with {} durable subscriptions: a {shape}, incarnation {}, from position {}\n",
        args.channel,
        carried.events,
        bytes_text(carried.bytes),
        carried.subscriptions,
        resized.incarnation,
        resized.first_position
    )
}
