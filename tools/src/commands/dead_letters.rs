//! `railbus dead-letters`: lists dead letters, publishes them again, or drops them.

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use railbus::ChannelName;
use railbus::admin::{DeadLetters, Home, Letter, Retried, Select, Settled};
use railbus_os::clock::realtime_ns;
use serde_json::{Value, json};

use crate::commands::ls::align;
use crate::confirm::ConfirmArgs;
use crate::failure::{Failure, Outcome};
use crate::open;
use crate::output::{print, print_json};
use crate::units::{parse_time, time_text, whole};

const EXAMPLES: &str = "\
Examples:
  railbus dead-letters ls demo/jobs                     the queue whose dead letters are meant
  railbus dead-letters ls demo/jobs.dead --json         or the dead-letter queue itself: of all queues that use it
  railbus dead-letters retry demo/jobs --position 3
  railbus dead-letters retry demo/jobs --all --yes      publishes them again in the queues they come from
  railbus dead-letters drop demo/jobs --all --dry-run

A letter is published again first, and finished after: at least once. Killed in between, it is still a letter, \
and may be published twice. Exit code 1 when some that were meant are left.";

const LS_EXAMPLES: &str = "\
Examples:
  railbus dead-letters ls demo/jobs
  railbus dead-letters ls demo/jobs --json | jq -r '.letters[0].payload_base64' | base64 -d

POSITION is in the dead-letter queue, ORIGIN where it comes from. AGE is known of stamped events. Looking takes \
nothing.";

const RETRY_EXAMPLES: &str = "\
Examples:
  railbus dead-letters retry demo/jobs --position 3
  railbus dead-letters retry demo/jobs --all --yes

At least once: killed between publishing a letter and finishing it, it may be published twice.";

const DROP_EXAMPLES: &str = "\
Examples:
  railbus dead-letters drop demo/jobs --position 3
  railbus dead-letters drop demo/jobs --all --yes";

/// List, retry or drop the dead letters of a queue
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    verb: LettersVerb,
}

#[derive(Debug, clap::Subcommand)]
enum LettersVerb {
    /// List them, oldest first, without taking them
    #[command(after_help = LS_EXAMPLES)]
    Ls(LettersLsArgs),
    /// Publish them again in the queues they come from, and finish them
    #[command(after_help = RETRY_EXAMPLES)]
    Retry(RetryArgs),
    /// Finish them
    #[command(after_help = DROP_EXAMPLES)]
    Drop(ActArgs),
}

#[derive(Debug, clap::Args)]
struct LettersLsArgs {
    /// The queue, or its dead-letter queue, as BUS/CHANNEL
    channel: ChannelName,
    /// Print one JSON object, with whole payloads in base64
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RetryArgs {
    #[command(flatten)]
    act: ActArgs,
    /// How long to wait for room in a queue that is full
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_time)]
    timeout: Duration,
}

#[derive(Debug, clap::Args)]
struct ActArgs {
    /// The queue, or its dead-letter queue, as BUS/CHANNEL
    channel: ChannelName,
    /// The letter at this position of the dead-letter queue
    #[arg(short, long, value_name = "P", required_unless_present = "all", conflicts_with = "all")]
    position: Option<u64>,
    /// All of them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Does the requested operation.
pub(crate) fn run(args: &DeadLettersArgs) -> Outcome {
    match &args.verb {
        LettersVerb::Ls(args) => list(args),
        LettersVerb::Retry(args) => act(&args.act, ["retry", "retried"], |letters, select, dry_run| {
            letters.retry(select, args.timeout, dry_run)
        }),
        LettersVerb::Drop(args) => act(args, ["drop", "dropped"], DeadLetters::drop_letters),
    }
}

fn list(args: &LettersLsArgs) -> Outcome {
    let letters = open::channel(&args.channel)?.dead_letters()?;
    let all = letters.list()?;
    if args.json {
        return print_json(&json!({
            "channel": args.channel.to_string(),
            "dead_letters": letters.channel().name().to_string(),
            "letters": all.iter().map(object).collect::<Vec<_>>(),
        }));
    }
    if all.is_empty() {
        return print(&format!("{}: no dead letters\n", letters.channel().name()));
    }
    let heads = ["POSITION", "ATTEMPTS", "REASON", "ORIGIN", "AGE", "TYPE", "BYTES", "PAYLOAD"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(all.iter().map(row));
    print(&align(&rows))
}

/// Why an event became a dead letter.
fn reason(letter: &Letter) -> Option<&'static str> {
    let origin = letter.origin?;
    Some(match (origin.expired, origin.attempts) {
        (true, _) => "expired",
        (false, 0) => "moved",
        (false, _) => "attempts",
    })
}

fn row(letter: &Letter) -> [String; 8] {
    let origin = match (&letter.origin, &letter.queue) {
        (Some(origin), Some(queue)) => format!("{queue} {}", origin.position),
        (Some(origin), None) => format!("{:016x} {}", origin.channel.swap_bytes(), origin.position),
        (None, _) => "-".to_owned(),
    };
    let age = letter.published_ns.map(|ns| time_text(realtime_ns().saturating_sub(ns)));
    let attempts = letter.origin.map(|origin| origin.attempts.to_string());
    let note = if letter.in_hand { " (in hand)" } else { "" };
    [
        letter.position.to_string(),
        attempts.unwrap_or_else(|| "-".to_owned()),
        reason(letter).unwrap_or("-").to_owned(),
        origin,
        age.unwrap_or_else(|| "-".to_owned()),
        letter.type_id.to_string(),
        letter.payload.len().to_string(),
        format!("{}{note}", preview(&letter.payload)),
    ]
}

/// The first bytes of a payload, escaped so that they cannot control a terminal.
fn preview(payload: &[u8]) -> String {
    const BYTES: usize = 32;
    let start: String = payload
        .iter()
        .take(BYTES)
        .map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '.' })
        .collect();
    if payload.len() > BYTES { format!("{start}...") } else { start }
}

fn object(letter: &Letter) -> Value {
    json!({
        "position": letter.position,
        "queue": letter.queue,
        "attempts": letter.origin.map(|origin| origin.attempts),
        "reason": reason(letter),
        "origin": letter.origin.map(|origin| json!({
            "channel": format!("{:016x}", origin.channel.swap_bytes()),
            "incarnation": origin.incarnation,
            "position": origin.position,
        })),
        "in_hand": letter.in_hand,
        "published_ns": letter.published_ns.map(whole),
        "age_ns": letter.published_ns.map(|ns| realtime_ns().saturating_sub(ns)),
        "type_id": letter.type_id,
        "bytes": letter.payload.len(),
        "payload_base64": STANDARD.encode(&letter.payload),
    })
}

fn act(
    args: &ActArgs,
    [verb, done]: [&str; 2],
    act: impl Fn(&DeadLetters, Select, bool) -> railbus::Result<Retried>,
) -> Outcome {
    let letters = open::channel(&args.channel)?.dead_letters()?;
    let select = args.position.map_or(Select::All, Select::Position);
    let name = letters.channel().name();
    if !args.confirm.dry_run {
        args.confirm.ask(|| {
            let would = act(&letters, select, true)?;
            Ok(report(name, &would, &format!("would {verb}")))
        })?;
    }
    let dry_run = args.confirm.dry_run;
    let acted = act(&letters, select, dry_run)?;
    if args.json {
        let letter = |one: &Settled| {
            json!({
                "position": one.position,
                "queue": one.home.as_ref().map(|home| &home.queue),
                "new_position": one.home.as_ref().and_then(|home| home.position),
            })
        };
        print_json(&json!({
            "dead_letters": name.to_string(),
            "dry_run": dry_run,
            (done): acted.letters.iter().map(letter).collect::<Vec<_>>(),
            "left": acted.left.iter().map(|(position, why)| json!({ "position": position, "why": why })).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&report(name, &acted, &if dry_run { format!("would {verb}") } else { done.to_owned() }))?;
    }
    match acted.left.len() {
        0 => Ok(()),
        _ if dry_run => Ok(()),
        left => Err(Failure::new(format!("{left} of the dead letters that were meant are left"))),
    }
}

fn report(name: &ChannelName, acted: &Retried, verb: &str) -> String {
    let mut text = format!("{name}: {verb} {} dead letters\n", acted.letters.len());
    for Settled { position, home, .. } in &acted.letters {
        if let Some(Home { queue, position: new }) = home {
            let new = new.map(|new| format!(" as {new}")).unwrap_or_default();
            let _ = writeln!(text, "  {position} to {queue}{new}");
        }
    }
    for (position, why) in &acted.left {
        let _ = writeln!(text, "  {position} is left: {why}");
    }
    text
}
