//! `railbus purge`: discards the events that wait in a channel.

use std::fmt::Write;

use railbus::admin::{Moved, Purged};
use railbus::{ChannelName, Kind};
use railbus_os::pages::bytes_text;
use serde_json::{Value, json};

use crate::confirm::ConfirmArgs;
use crate::failure::Outcome;
use crate::open;
use crate::output::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  railbus purge demo/jobs --dry-run       what waits
  railbus purge demo/jobs                 asks, and discards it
  railbus purge demo/ticks --yes --json   for scripts

A queue: every event that waits is taken and finished; what workers have in hand is left, and dead letters \
are not touched (see `railbus dead-letters drop`). Any channel: durable subscriptions that nobody holds \
go to the end; those that somebody holds are left and named, as is the journaller's. Nothing that is published after \
the command began is discarded.";

/// Discard waiting events: those of a queue, and those that durable subscriptions without an owner
/// have not read
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PurgeArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Purges.
pub(crate) fn run(args: &PurgeArgs) -> Outcome {
    let channel = open::channel(&args.channel)?;
    let is_queue = channel.header().kind == Kind::Queue;
    let text = |purged: &Purged, would: bool| report(&args.channel, purged, is_queue, would);
    if !args.confirm.dry_run {
        args.confirm.ask(|| Ok(text(&channel.purge(true)?, true)))?;
    }
    let purged = channel.purge(args.confirm.dry_run)?;
    if args.json {
        return print_json(&object(&args.channel, &purged, args.confirm.dry_run));
    }
    print(&text(&purged, args.confirm.dry_run))
}

/// A subscription's move, for programs.
pub(crate) fn moved_object(moved: &Moved) -> Value {
    json!({
        "subscription": moved.name,
        "from": moved.from,
        "to": moved.to,
        "events": moved.events,
        "bytes": moved.bytes,
        "lost": moved.lost,
        "from_journal": moved.from_journal,
    })
}

fn object(name: &ChannelName, purged: &Purged, dry_run: bool) -> Value {
    let left = |(name, why): &(String, String)| json!({ "subscription": name, "why": why });
    json!({
        "channel": name.to_string(),
        "dry_run": dry_run,
        "events": purged.events,
        "bytes": purged.bytes,
        "in_hand": purged.in_hand,
        "unpublished": purged.unpublished,
        "moved": purged.moved.iter().map(moved_object).collect::<Vec<_>>(),
        "left": purged.left.iter().map(left).collect::<Vec<_>>(),
    })
}

fn report(name: &ChannelName, purged: &Purged, is_queue: bool, would: bool) -> String {
    let mut text = String::new();
    let would = if would { "would " } else { "" };
    if is_queue {
        let verb = if would.is_empty() { "discarded" } else { "discard" };
        let bytes = bytes_text(purged.bytes);
        let _ = writeln!(text, "{name}: {would}{verb} {} events of {bytes}", purged.events);
    } else if purged.moved.is_empty() {
        let _ = writeln!(text, "{name}: no durable subscription without an owner: nothing to discard");
    }
    let verb = if would.is_empty() { "moved" } else { "move" };
    for one in &purged.moved {
        let (events, bytes) = (one.events, bytes_text(one.bytes));
        let _ = writeln!(
            text,
            "{name}: {would}{verb} {} from {} to the end at {}, over {events} events of {bytes}",
            one.name, one.from, one.to
        );
    }
    if purged.in_hand > 0 {
        let _ = writeln!(text, "{name}: {} events in the hands of workers are left", purged.in_hand);
    }
    if purged.unpublished > 0 {
        let _ = writeln!(
            text,
            "{name}: {} events are left behind a producer that is writing",
            purged.unpublished
        );
    }
    for (subscription, why) in &purged.left {
        let _ = writeln!(text, "{name}: {subscription} is left: {why}");
    }
    text
}
