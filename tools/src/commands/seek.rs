//! `railbus seek`: moves a durable subscription.

use railbus::ChannelName;
use railbus::admin::SeekTo;
use railbus::journal::Seek;

use crate::commands::journal::when::parse_seek;
use crate::commands::skip::{moved_text, with_channel};
use crate::confirm::ConfirmArgs;
use crate::failure::Outcome;
use crate::open;
use crate::output::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  railbus seek demo/ticks --subscription audit --to live        gives up what it has not read
  railbus seek demo/ticks --subscription audit --to 81920       to the event at this position
  railbus seek demo/ticks --subscription audit --to oldest --dry-run
  railbus seek demo/ticks --subscription audit --to=-10m --yes  needs a journal, which knows times

Only while nobody holds the subscription. Back only to what the ring still has; or, where a journal has it, to \
there: then its owner must read on from the journal (`Channel::follow` in a program). A topic's events before \
where it stood may be overwritten before they are read: what is lost is reported then. A queue's tap goes \
forward only.";

/// Move a durable subscription that nobody holds to another position
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SeekArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    /// The durable subscription
    #[arg(short, long, value_name = "NAME")]
    subscription: String,
    /// Where to: a position, oldest, live, or with a journal a time, such as 2026-01-31T12:34:56Z
    /// or -10m
    #[arg(long, value_name = "PLACE", value_parser = parse_to, allow_hyphen_values = true)]
    to: SeekTo,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_to(text: &str) -> Result<SeekTo, String> {
    Ok(match parse_seek(text)? {
        Seek::Beginning => SeekTo::Oldest,
        Seek::End => SeekTo::Live,
        Seek::Position(position) => SeekTo::Position(position),
        Seek::Time(ns) => SeekTo::Time(ns),
        Seek::Event(_) => return Err("expected a position, oldest, live, or a time".to_owned()),
    })
}

/// Seeks.
pub(crate) fn run(args: &SeekArgs) -> Outcome {
    let channel = open::channel(&args.channel)?;
    let seek = |dry_run| channel.seek_subscription(&args.subscription, args.to, dry_run);
    if !args.confirm.dry_run {
        args.confirm.ask(|| Ok(moved_text(&args.channel, &seek(true)?, true)))?;
    }
    let moved = seek(args.confirm.dry_run)?;
    if args.json {
        return print_json(&with_channel(&args.channel, &moved, args.confirm.dry_run));
    }
    print(&moved_text(&args.channel, &moved, args.confirm.dry_run))
}
