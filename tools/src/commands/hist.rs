//! `railbus hist`: the latency distribution of a channel's last five minutes, as text, in the
//! formats of the HdrHistogram tools, or as a picture.

use std::path::PathBuf;

use hdrhistogram::Histogram;
use railbus::latency::Distribution;
use railbus::{ChannelName, Error};
use railbus_bench::hgrm;

use crate::commands::ls::align;
use crate::failure::{Failure, Outcome};
use crate::observe::text::ns_text;
use crate::observe::{ChannelView, Sampler, Wanted, curve, histogram};
use crate::open;
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  railbus hist demo/ticks                             percentiles, from publication to receipt
  railbus hist demo/ticks --consumer consumer:1       of one consumer; or by its name
  railbus hist demo/jobs --done                       how long workers had events in hand
  railbus hist demo/ticks --hgrm > ticks.hgrm         for the plotters of HdrHistogram
  railbus hist demo/ticks --csv                       a line for each bucket: value_ns,count,total,percentile
  railbus hist demo/ticks --svg ticks.svg

Latencies are measured on channels made with --stamp, by each consumer, and kept for five minutes.";

/// Show the latency distribution of a channel's last five minutes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HistArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    /// Only this consumer: consumer:N, or its name [default: all, including consumers that have
    /// left]
    #[arg(long, value_name = "WHO")]
    consumer: Option<String>,
    /// From being taken to being done, instead of from publication to receipt
    #[arg(long)]
    done: bool,
    /// In the format of the HdrHistogram tools
    #[arg(long, group = "format")]
    hgrm: bool,
    /// A line for each bucket
    #[arg(long, group = "format")]
    csv: bool,
    /// Draw the curve of the percentiles into this file
    #[arg(long, group = "format", value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Shows it.
pub(crate) fn run(args: &HistArgs) -> Outcome {
    let mut sampler = Sampler::new(&open::base()?, &[Wanted::Channel(args.channel.clone())]);
    let mut sampled = sampler.sample()?;
    if let Some((_, why)) = sampled.failed.pop() {
        return Err(why.into());
    }
    let channel = sampled.channels.pop().ok_or_else(|| Failure::new("the channel was removed just now"))?;
    if !channel.stamp {
        return Err(Failure::usage(format!(
            "{} is not stamped, so nothing is measured: create it with --stamp",
            args.channel
        )));
    }
    let distribution = chosen(args, &channel)?;
    let histogram = histogram(distribution);
    if histogram.is_empty() {
        let what = if args.done { "done by a worker" } else { "received by a consumer" };
        return Err(Failure::new(format!("{}: nothing was {what} in the last five minutes", args.channel)));
    }
    let title = format!(
        "{}{}: {}",
        args.channel,
        args.consumer.as_ref().map(|who| format!(" {who}")).unwrap_or_default(),
        if args.done { "taken to done" } else { "publication to receipt" }
    );
    match &args.svg {
        Some(path) => std::fs::write(path, curve::svg(&title, &histogram))
            .map_err(|error| Error::io("write", path, error).into()),
        None if args.hgrm => print(&hgrm::text(&histogram)),
        None if args.csv => print(&csv(&histogram)),
        None => print(&summary(&title, distribution)),
    }
}

/// The requested distribution.
fn chosen<'a>(args: &HistArgs, channel: &'a ChannelView) -> Result<&'a Distribution, Failure> {
    let Some(who) = &args.consumer else {
        return Ok(if args.done { &channel.done } else { &channel.received });
    };
    let mut found = channel.participants.iter().filter(|one| {
        one.side == "consumer" && (one.who == *who || !one.name.is_empty() && one.name == *who)
    });
    let one = found.next().ok_or_else(|| Error::NotFound {
        what: format!("consumer {who:?} of {}", channel.channel),
        path: args.channel.paths(&open::base().unwrap_or_default()).acks,
    })?;
    if let Some(other) = found.next() {
        let (one, other) = (&one.who, &other.who);
        return Err(Failure::usage(format!(
            "several consumers are called {who:?}: {one}, {other}; name one"
        )));
    }
    if one.measures != "yes" {
        return Err(Failure::new(format!("{} does not measure: {}", one.who, one.measures)));
    }
    Ok(if args.done { &one.done } else { &one.received })
}

fn csv(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("value_ns,count,total,percentile\n");
    let mut total = 0;
    for step in histogram.iter_recorded() {
        total += step.count_at_value();
        let percentile = total as f64 * 100.0 / histogram.len() as f64;
        let value = histogram.highest_equivalent(step.value_iterated_to());
        text.push_str(&format!("{value},{},{total},{percentile:.6}\n", step.count_at_value()));
    }
    text
}

fn summary(title: &str, distribution: &Distribution) -> String {
    let mut rows = vec![["PERCENTILE", "UP TO", ""].map(str::to_owned)];
    let max = distribution.max_ns().max(2) as f64;
    for percentile in [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999, 100.0] {
        let ns = distribution.quantile(percentile / 100.0).unwrap_or(0);
        let bar = (ns.max(1) as f64).ln() / max.ln() * 40.0;
        rows.push([format!("{percentile}"), ns_text(ns), "#".repeat(bar.clamp(0.0, 40.0) as usize)]);
    }
    format!("{title}, {} events in five minutes\n{}", distribution.count(), align(&rows))
}
