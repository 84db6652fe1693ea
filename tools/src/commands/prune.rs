//! `railbus prune`: removes channels and files that nobody uses any more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus::admin::{self as directory, list_buses};
use railbus::info::{Info, Life};
use railbus::{Bus, Error};
use serde_json::json;

use crate::commands::loss::Loss;
use crate::confirm::ConfirmArgs;
use crate::failure::{Failure, Outcome, note};
use crate::open;
use crate::output::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  railbus prune              every bus
  railbus prune demo         one bus
  railbus prune --dry-run    what would go
  railbus prune --all        also queues with events to do, and durable subscriptions

What dead creators left half-made goes, too, and so do buses that are empty then. With --all it asks if events would \
be lost that are not done, or that a durable subscription has not read.";

/// How long the lock of each bus is waited for when all are pruned.
const LOCK_WAIT: Duration = Duration::from_millis(250);

/// Remove channels that no live process uses, and the leftovers of dead creators
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PruneArgs {
    /// The bus [default: all]
    bus: Option<String>,
    /// Also channels that hold something: a queue's events that are not done, durable subscriptions
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prunes.
pub(crate) fn run(args: &PruneArgs) -> Outcome {
    let base = open::base_to_look_at()?;
    let buses = match &args.bus {
        Some(bus) => vec![bus.clone()],
        None => list_buses(&base)?,
    };
    if args.bus.is_none() {
        // A process that holds the lock of one bus does not keep the others from being pruned.
        directory::limit_lock_wait(LOCK_WAIT);
    }
    let outlook =
        if args.confirm.dry_run || args.all { look(args, &base, &buses)? } else { Outlook::default() };
    if args.confirm.dry_run {
        return tell(args, outlook);
    }
    if !outlook.losses.is_empty() {
        args.confirm.ask(|| Ok(outlook.losses.clone()))?;
    }
    let mut done = Outlook { losses: outlook.losses, ..Outlook::default() };
    for bus in buses {
        let pruned = holding_unless(args.all, &base, &bus)
            .and_then(|holding| directory::prune(&base, &bus, |path| holding.contains(path)));
        let pruned = match pruned {
            Err(Error::NotFound { .. }) if args.bus.is_none() => continue,
            Err(why) if args.bus.is_none() => {
                done.failed.push((bus, why));
                continue;
            }
            pruned => pruned?,
        };
        done.removed.extend(pruned.removed.iter().map(ToString::to_string));
        done.kept.extend(pruned.in_use.iter().map(ToString::to_string));
        done.failed.extend(pruned.failed.into_iter().map(|(channel, why)| (channel.to_string(), why)));
    }
    tell(args, done)
}

/// The result, done or predicted.
#[derive(Default)]
struct Outlook {
    removed: Vec<String>,
    kept: Vec<String>,
    /// Channels, or whole buses.
    failed: Vec<(String, Error)>,
    /// The losses with the removed channels, in lines.
    losses: String,
}

/// The channels that would be removed now, as an observer sees them: nothing is locked, and nothing
/// changed.
fn look(args: &PruneArgs, base: &Path, buses: &[String]) -> Result<Outlook, Failure> {
    let mut outlook = Outlook::default();
    for bus in buses {
        match look_at(args.all, base, bus, &mut outlook) {
            Err(Error::NotFound { .. }) if args.bus.is_none() => {}
            Err(why) if args.bus.is_none() => outlook.failed.push((bus.clone(), why)),
            looked => looked?,
        }
    }
    Ok(outlook)
}

fn look_at(all: bool, base: &Path, name: &str, outlook: &mut Outlook) -> railbus::Result<()> {
    let bus = Bus::at(base, name)?;
    let (channels, holding) = (bus.channels()?, holding_unless(all, base, name)?);
    for channel in channels {
        // A channel that cannot be opened is used by nobody who could go on.
        let info =
            bus.attach(channel.channel()).and_then(|one| Ok((one.observe()?.info()?, Loss::of(&one)?)));
        let (is_kept, loss) = info.map_or((false, Loss::default()), |(info, loss)| {
            let is_used = info.participants.iter().any(|one| matches!(one.life, Life::Live | Life::Evicted));
            (is_used || holding.contains(&info.paths.ring), loss)
        });
        if is_kept {
            outlook.kept.push(channel.to_string());
        } else {
            outlook.losses.push_str(&loss.lines(&channel));
            outlook.removed.push(channel.to_string());
        }
    }
    Ok(())
}

fn tell(args: &PruneArgs, outlook: Outlook) -> Outcome {
    let Outlook { removed, kept, failed, losses } = outlook;
    if args.json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(channel, why)| json!({ "channel": channel, "why": why.to_string() }))
            .collect();
        let losses: Vec<&str> = losses.lines().collect();
        print_json(&json!({
            "dry_run": args.confirm.dry_run,
            "removed": removed,
            "in_use": kept,
            "failed": failed,
            "lost": losses,
        }))?;
    } else {
        let mut text = String::new();
        let removes = if args.confirm.dry_run { "would go" } else { "removed" };
        for (what, names) in [(removes, &removed), ("in use", &kept)] {
            for name in names {
                text.push_str(&format!("{what:<8} {name}\n"));
            }
        }
        text.push_str(&losses);
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

/// The files of channels that hold events that may still be wanted.
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
    // A channel that cannot be opened holds nothing that could be read.
    let infos =
        channels.iter().filter_map(|name| bus.attach(name.channel()).ok()?.observe().ok()?.info().ok());
    Ok(infos.filter(holds).map(|info| info.paths.ring).collect())
}
