//! `railbus stat`: rates, delays, and who holds whom up, for people and scripts.

use std::time::{Duration, Instant};

use railbus_os::pages::bytes_text;

use crate::commands::ls::align;
use crate::failure::{Failure, Outcome, note};
use crate::observe::text::{age_text, count_text, ns_text, rate_text};
use crate::observe::{ChannelView, LatencyView, ParticipantView, Sampled, Sampler, Wanted};
use crate::output::print;
use crate::units::parse_time;
use crate::{interrupt, open};

const EXAMPLES: &str = "\
Examples:
  railbus stat                          every channel, over one second
  railbus stat demo/ticks               with its participants
  railbus stat demo --watch             again every second, until Ctrl-C
  railbus stat --json | jq '.[] | {channel, events_per_second, p99: .latency_ns.p99}'
  railbus stat --json --watch | jq -c '.[] | select(.stuck > 0)'

Latencies are of the last five minutes, from publication to receipt, of channels made with --stamp. DEPTH and \
LAG are bytes of a stream, and events of a queue or topic. STATE says also when the channel's journal waits \
(disk full) or has failed. With --json a null is what is not known, or does not \
exist; --watch prints an array on a line each time.";

/// Show rates, depth, lag, losses and latencies of channels and their participants
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatArgs {
    /// Buses and channels, as BUS or BUS/CHANNEL [default: all]
    wanted: Vec<Wanted>,
    /// Print again and again, until SIGINT or SIGTERM
    #[arg(long)]
    watch: bool,
    /// Interval of the rates, and between looks of --watch
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_time)]
    interval: Duration,
    /// Print an array of channels, each with its participants
    #[arg(long)]
    json: bool,
}

/// Shows them.
pub(crate) fn run(args: &StatArgs) -> Outcome {
    if args.interval < Duration::from_millis(10) || args.interval > Duration::from_secs(3600) {
        return Err(Failure::usage("--interval: must be 10ms to 1h"));
    }
    interrupt::catch();
    let mut sampler = Sampler::new(&open::base_to_look_at()?, &args.wanted);
    let mut next = Instant::now();
    refuse_named(args, sampler.sample()?)?;
    loop {
        next += args.interval;
        if !interrupt::sleep_until(next) {
            return Ok(());
        }
        let sampled = if args.watch { sampler.sample_what_is_there()? } else { sampler.sample()? };
        for (name, why) in &sampled.failed {
            note(&format!("{name}: {why}"));
        }
        if args.json {
            print(&(json(&sampled.channels)? + "\n"))?;
        } else {
            print(&table(args, &sampled.channels))?;
        }
        if !args.watch {
            return Ok(());
        }
        // The time of a look that takes longer than the interval is not made up for.
        next = next.max(Instant::now());
    }
}

/// A channel that was requested by name must exist and be readable.
fn refuse_named(args: &StatArgs, sampled: Sampled) -> Outcome {
    let is_named = |name: &railbus::ChannelName| args.wanted.contains(&Wanted::Channel(name.clone()));
    match sampled.failed.into_iter().find(|(name, _)| is_named(name)) {
        Some((_, why)) => Err(why.into()),
        None => Ok(()),
    }
}

fn json(channels: &[ChannelView]) -> Result<String, Failure> {
    serde_json::to_string(channels).map_err(|error| Failure::new(format!("JSON: {error}")))
}

fn table(args: &StatArgs, channels: &[ChannelView]) -> String {
    if channels.is_empty() {
        return "no channels\n".to_owned();
    }
    let heads = [
        "CHANNEL", "KIND", "EVENTS/S", "BYTES/S", "DEPTH", "WAITING", "IN HAND", "LAG", "FULL", "DROPPED",
        "LOST", "AGAIN", "DEAD", "P50", "P99", "P99.9", "MAX", "STATE",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(channels.iter().map(channel_row));
    let mut text = align(&rows);
    let is_named = |view: &&ChannelView| {
        args.wanted
            .iter()
            .any(|wanted| matches!(wanted, Wanted::Channel(name) if name.to_string() == view.channel))
    };
    for channel in channels.iter().filter(is_named).filter(|channel| !channel.participants.is_empty()) {
        let heads = [
            "WHO", "ROLE", "NAME", "PID", "CORE", "STATE", "EVENTS/S", "LAG", "IN HAND", "MOVED", "P50",
            "P99", "P99.9", "MAX", "DONE P99",
        ];
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(channel.participants.iter().map(|one| participant_row(channel, one)));
        text.push_str(&format!("\n{}\n{}", channel.channel, align(&rows)));
    }
    if args.watch {
        text.push('\n');
    }
    text
}

fn channel_row(channel: &ChannelView) -> [String; 18] {
    let [p50, p99, p999, max] = latency_cells(channel.latency_ns);
    [
        channel.channel.clone(),
        channel.kind.clone(),
        rate_text(channel.events_per_second),
        rate_text(channel.bytes_per_second),
        format!("{:.0}%", channel.depth_percent),
        channel.waiting.map_or_else(|| "-".to_owned(), |waiting| count_text(waiting as f64)),
        channel.in_hand.map_or_else(|| "-".to_owned(), |in_hand| count_text(in_hand as f64)),
        channel.lag.map_or_else(|| "-".to_owned(), |lag| amount(channel, lag)),
        count_text(channel.full as f64),
        count_text(channel.dropped as f64),
        count_text(channel.lost as f64),
        count_text(channel.redelivered as f64),
        count_text(channel.dead_lettered as f64),
        p50,
        p99,
        p999,
        max,
        match (channel.journal_trouble(), channel.stuck, channel.under_pressure) {
            (Some(trouble), ..) => trouble.to_owned(),
            (None, 0, Some(true)) => "pressure".to_owned(),
            (None, 0, _) => "ok".to_owned(),
            (None, stuck, _) => format!("{stuck} stuck"),
        },
    ]
}

fn participant_row(channel: &ChannelView, one: &ParticipantView) -> [String; 15] {
    let [p50, p99, p999, max] = latency_cells(one.latency_ns);
    [
        one.who.clone(),
        one.role.to_owned(),
        if one.name.is_empty() { "-".to_owned() } else { one.name.clone() },
        one.pid.to_string(),
        one.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
        if one.stuck_ns.is_some() { "STUCK".to_owned() } else { one.state.to_owned() },
        rate_text(one.events_per_second),
        one.lag.map_or_else(|| "-".to_owned(), |lag| amount(channel, lag)),
        one.in_hand.to_string(),
        age_text(one.progress_age_ns),
        p50,
        p99,
        p999,
        max,
        age_text(one.done_ns.map(|done| done.p99)),
    ]
}

fn latency_cells(latency: Option<LatencyView>) -> [String; 4] {
    match latency {
        None => std::array::from_fn(|_| "-".to_owned()),
        Some(latency) => [latency.p50, latency.p99, latency.p999, latency.max].map(ns_text),
    }
}

/// Bytes of a stream, events of others.
fn amount(channel: &ChannelView, value: u64) -> String {
    if channel.kind == "stream" { bytes_text(value) } else { value.to_string() }
}
