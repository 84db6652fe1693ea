//! `railbus skip`: passes over the next events.

use std::time::Duration;

use railbus::admin::{Moved, Skipped};
use railbus::{ChannelName, Kind};
use railbus_os::pages::bytes_text;
use serde_json::json;

use crate::commands::purge::moved_object;
use crate::confirm::ConfirmArgs;
use crate::failure::{Failure, Outcome};
use crate::open;
use crate::output::{print, print_json};
use crate::units::parse_time;

const EXAMPLES: &str = "\
Examples:
  railbus skip demo/ticks --subscription audit        over one event: the one it fails at
  railbus skip demo/ticks --subscription audit -n 100 --dry-run
  railbus skip demo/jobs -n 3 --yes                   takes three events that wait, and finishes them
  railbus skip demo/jobs --to-dead-letters            the next one becomes a dead letter

A durable subscription is moved while nobody holds it. Of a queue, events that were handed back come first. Fewer \
events are skipped if there are fewer.";

/// Pass over the next events: of a durable subscription that nobody holds, or of a queue
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SkipArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    /// The durable subscription; of a queue, a tap's
    #[arg(short, long, value_name = "NAME")]
    subscription: Option<String>,
    /// How many events
    #[arg(short = 'n', long, default_value_t = 1, value_name = "N")]
    count: u64,
    /// Publish them to the queue's dead-letter queue rather than discard them
    #[arg(long, conflicts_with = "subscription")]
    to_dead_letters: bool,
    /// How long to wait for room in the dead-letter queue
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_time)]
    timeout: Duration,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Skips.
pub(crate) fn run(args: &SkipArgs) -> Outcome {
    let channel = open::channel(&args.channel)?;
    let dry_run = args.confirm.dry_run;
    if let Some(name) = &args.subscription {
        let skip = |dry_run| channel.skip_subscription(name, args.count, dry_run);
        if !dry_run {
            args.confirm.ask(|| Ok(moved_text(&args.channel, &skip(true)?, true)))?;
        }
        let moved = skip(dry_run)?;
        if args.json {
            return print_json(&with_channel(&args.channel, &moved, dry_run));
        }
        return print(&moved_text(&args.channel, &moved, dry_run));
    }
    if channel.header().kind != Kind::Queue {
        return Err(Failure::usage(format!(
            "{} is a {}: name the durable subscription that is to skip, with --subscription",
            args.channel,
            channel.header().kind
        )));
    }
    let skip = |dry_run| channel.skip_events(args.count, args.to_dead_letters, args.timeout, dry_run);
    if !dry_run {
        args.confirm.ask(|| Ok(skipped_text(&args.channel, &skip(true)?, true)))?;
    }
    let skipped = skip(dry_run)?;
    if args.json {
        return print_json(&json!({
            "channel": args.channel.to_string(),
            "dry_run": dry_run,
            "events": skipped.positions.len(),
            "bytes": skipped.bytes,
            "positions": skipped.positions,
            "dead_letters": skipped.dead_letters,
        }));
    }
    print(&skipped_text(&args.channel, &skipped, dry_run))
}

/// A subscription's move, with the channel.
pub(crate) fn with_channel(name: &ChannelName, moved: &Moved, dry_run: bool) -> serde_json::Value {
    let mut object = moved_object(moved);
    object["channel"] = name.to_string().into();
    object["dry_run"] = dry_run.into();
    object
}

/// A subscription's move, in a line.
pub(crate) fn moved_text(name: &ChannelName, moved: &Moved, would: bool) -> String {
    let verb = if would { "would move" } else { "moved" };
    let Moved { from, to, events, bytes, .. } = moved;
    let lost =
        if moved.lost > 0 { format!("; {} more are not there any more", moved.lost) } else { String::new() };
    let how = match () {
        () if moved.from_journal => "back, to read on from the journal".to_owned(),
        () if to < from => format!("back, to read {events} events of {} again{lost}", bytes_text(*bytes)),
        () => format!("over {events} events of {}{lost}", bytes_text(*bytes)),
    };
    format!("{name}: {verb} {} from {from} to {to}, {how}\n", moved.name)
}

fn skipped_text(name: &ChannelName, skipped: &Skipped, would: bool) -> String {
    let verb = match (&skipped.dead_letters, would) {
        (None, false) => "finished".to_owned(),
        (None, true) => "would finish".to_owned(),
        (Some(letters), false) => format!("moved to {}/{letters}", name.bus()),
        (Some(letters), true) => format!("would move to {}/{letters}", name.bus()),
    };
    let positions: Vec<String> = skipped.positions.iter().take(20).map(u64::to_string).collect();
    let more = if skipped.positions.len() > 20 { ", ..." } else { "" };
    let at =
        if positions.is_empty() { String::new() } else { format!(", at {}{more}", positions.join(", ")) };
    format!("{name}: {verb} {} events of {}{at}\n", skipped.positions.len(), bytes_text(skipped.bytes))
}
