//! `railbus rm`: removes channels.

use std::fmt::Write;

use railbus::info::Life;
use railbus::{Bus, Channel, ChannelName, Error, admin as directory};
use serde_json::{Value, json};

use crate::commands::loss::Loss;
use crate::confirm::ConfirmArgs;
use crate::failure::{Failure, Outcome};
use crate::open;
use crate::output::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  railbus rm demo/ticks
  railbus rm demo/ticks demo/jobs --dry-run      what would be lost
  railbus rm demo/jobs --yes         also its events that are not done
  railbus rm --force demo/ticks      although somebody is attached
  railbus rm demo --all              every channel of a bus

It asks if something would be lost: a queue's events that are not done, or what a durable subscription has not read. \
--force does not ask, and says what was lost. Nobody finds the channel any more. Processes that are attached read what is \
left in it, and end with exit code 7: its publishers at the next event, its readers and workers when they wait.";

/// Remove channels; asks if events would be lost that are not done, or not read by a durable
/// subscription
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RmArgs {
    /// Channels, as BUS/CHANNEL; with --all, buses
    #[arg(required = true, value_name = "CHANNEL")]
    names: Vec<String>,
    /// Also when live processes are attached, and whatever is lost
    #[arg(short, long, conflicts_with = "dry_run")]
    force: bool,
    /// Every channel of the buses named
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A channel to be removed.
struct Doomed {
    name: ChannelName,
    loss: Loss,
}

/// Removes the named channels. A channel that must not be removed is left and reported; the others
/// are removed all the same.
pub(crate) fn run(args: &RmArgs) -> Outcome {
    let (mut doomed, mut failures) = (Vec::new(), Vec::new());
    for name in &args.names {
        match channels_of(args, name) {
            Err(failure) => failures.push((name.clone(), failure)),
            Ok(channels) => {
                for name in channels {
                    match look(&name, args.force) {
                        Ok(loss) => doomed.push(Doomed { name, loss }),
                        Err(failure) => failures.push((name.to_string(), failure)),
                    }
                }
            }
        }
    }
    let dry_run = args.confirm.dry_run;
    if !dry_run && !args.force && doomed.iter().any(|one| !one.loss.is_nothing()) {
        args.confirm.ask(|| Ok(report(&doomed, true)))?;
    }
    let mut removed = Vec::new();
    for one in doomed {
        match if dry_run { Ok(()) } else { remove(&one.name) } {
            Ok(()) => removed.push(one),
            Err(failure) => failures.push((one.name.to_string(), failure)),
        }
    }
    if args.all && !dry_run {
        for bus in &args.names {
            if let Err(failure) = clear(bus) {
                failures.push((bus.clone(), failure));
            }
        }
    }
    tell(args, &removed, &failures)
}

fn channels_of(args: &RmArgs, name: &str) -> Result<Vec<ChannelName>, Failure> {
    if args.all { Ok(Bus::at(open::base()?, name)?.channels()?) } else { Ok(vec![name.parse()?]) }
}

/// Removes the leftovers of dead creators in the bus, and the bus itself if it is empty. A channel
/// that is made there in the meantime stays.
fn clear(bus: &str) -> Outcome {
    match directory::prune(&open::base()?, bus, |_| true) {
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn remove(name: &ChannelName) -> Outcome {
    Ok(open::bus_of(name)?.remove(name.channel())?)
}

/// The events that would be lost with a channel. Refuses a channel that is used, unless it is to be
/// removed by force.
fn look(name: &ChannelName, force: bool) -> Result<Loss, Failure> {
    let looked = open::channel(name).and_then(|channel| {
        let user = if force { None } else { user_of(&channel)? };
        Ok((user, Loss::of(&channel)?))
    });
    match looked {
        Ok((None, loss)) => Ok(loss),
        Ok((Some(users), _)) => {
            Err(Failure::new(format!("{name} is in use by {users}: stop them, or remove it with --force")))
        }
        Err(error @ Error::NotFound { .. }) => Err(error.into()),
        Err(error @ Error::NotAllowed { .. }) if !force => Err(Failure::Told {
            text: format!("{error}; so nobody can say what would be lost: --force removes it all the same"),
            code: error.exit_code(),
        }),
        // A channel that cannot be opened is used by nobody who could go on, and holds nothing that
        // could be read.
        Err(_) => Ok(Loss::default()),
    }
}

/// The live participants, if there are any.
fn user_of(channel: &Channel) -> railbus::Result<Option<String>> {
    let info = channel.info()?;
    let live = info.participants.iter().filter(|one| one.life == Life::Live);
    let live: Vec<String> = live.map(|one| format!("{} {}", one.role.as_str(), one.pid)).collect();
    Ok(Some(live.join(", ")).filter(|live| !live.is_empty()))
}

fn report(channels: &[Doomed], would: bool) -> String {
    let mut text = String::new();
    for Doomed { name, loss } in channels {
        let _ = writeln!(text, "{name}: {}", if would { "would be removed" } else { "removed" });
        text.push_str(&loss.lines(name));
    }
    text
}

/// Reports what was removed, and what was left; the last failure decides the exit code.
fn tell(args: &RmArgs, removed: &[Doomed], failures: &[(String, Failure)]) -> Outcome {
    let dry_run = args.confirm.dry_run;
    if args.json {
        let object = |one: &Doomed| {
            let mut object = one.loss.object();
            object["channel"] = one.name.to_string().into();
            object
        };
        let failed = failures.iter().map(|(name, failure)| json!({ "channel": name, "why": failure.text() }));
        print_json(&json!({
            "dry_run": dry_run,
            "removed": removed.iter().map(object).collect::<Vec<Value>>(),
            "failed": failed.collect::<Vec<Value>>(),
        }))?;
    } else {
        print(&report(removed, dry_run))?;
    }
    let Some(((_, last), others)) = failures.split_last() else { return Ok(()) };
    for (_, failure) in others {
        failure.tell();
    }
    Err(last.clone())
}
