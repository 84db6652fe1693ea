//! `railbus prune`: removes what nobody uses any more.

use crate::failure::{Failure, Outcome, note};
use crate::open;
use crate::output::{print, print_json};
use railbus::channel::directory::{self, list_buses};
use railbus::info::{Info, Life};
use railbus::{Bus, Error};
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  railbus prune              every bus
  railbus prune demo         one bus
  railbus prune --all        also queues with events to do, and durable subscriptions

What dead creators left half-made goes, too, and so do buses that are empty then.";

/// How long the lock of each bus is waited for when all are pruned.
const LOCK_WAIT: Duration = Duration::from_millis(250);

/// Remove channels that no live process uses, and what dead creators left
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PruneArgs {
    /// The bus [default: all]
    bus: Option<String>,
    /// Also channels that hold something: a queue's events that are not done, durable subscriptions
    #[arg(long)]
    all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prunes.
pub(crate) fn run(args: &PruneArgs) -> Outcome {
    let base = open::base()?;
    let buses = match &args.bus {
        Some(bus) => vec![bus.clone()],
        None => list_buses(&base)?,
    };
    if args.bus.is_none() {
        // Whoever holds the lock of a bus keeps nobody from pruning the others.
        directory::limit_lock_wait(LOCK_WAIT);
    }
    let (mut removed, mut kept, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for bus in buses {
        let pruned = holding_unless(args.all, &base, &bus)
            .and_then(|holding| directory::prune(&base, &bus, |path| holding.contains(path)));
        let pruned = match pruned {
            Err(Error::NotFound { .. }) if args.bus.is_none() => continue,
            Err(why) if args.bus.is_none() => {
                failed.push((bus, why));
                continue;
            }
            pruned => pruned?,
        };
        removed.extend(pruned.removed.iter().map(ToString::to_string));
        kept.extend(pruned.in_use.iter().map(ToString::to_string));
        failed.extend(pruned.failed.into_iter().map(|(channel, why)| (channel.to_string(), why)));
    }
    if args.json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(channel, why)| json!({ "channel": channel, "why": why.to_string() }))
            .collect();
        print_json(&json!({ "removed": removed, "in_use": kept, "failed": failed }))?;
    } else {
        let mut text = String::new();
        for (what, names) in [("removed", &removed), ("in use", &kept)] {
            for name in names {
                text.push_str(&format!("{what:<8} {name}\n"));
            }
        }
        print(&text)?;
    }
    let mut failed = failed.into_iter();
    let first = failed.next();
    for (name, why) in failed {
        note(&format!("{name} is left: {why}"));
    }
    match first {
        None => Ok(()),
        Some((channel, why)) => {
            Err(Failure::Told { text: format!("{channel} is left: {why}"), code: why.exit_code() })
        }
    }
}

fn holding_unless(all: bool, base: &Path, bus: &str) -> Result<HashSet<PathBuf>, Error> {
    if all { Ok(HashSet::new()) } else { holding(base, bus) }
}

/// The files of channels that hold what somebody may still want.
pub(crate) fn holding(base: &Path, bus: &str) -> Result<HashSet<PathBuf>, Error> {
    let bus = Bus::at(base, bus)?;
    let holds = |info: &Info| {
        info.positions.unfinished.is_some_and(|unfinished| unfinished > 0)
            || info.participants.iter().any(|one| one.life == Life::Held)
    };
    let channels = match bus.channels() {
        Err(Error::NotFound { .. }) => Vec::new(),
        channels => channels?,
    };
    // What cannot be opened holds nothing that anybody could read.
    let infos = channels.iter().filter_map(|name| bus.attach(name.channel()).ok()?.info().ok());
    Ok(infos.filter(holds).map(|info| info.paths.ring).collect())
}
