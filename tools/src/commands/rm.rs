//! `railbus rm`: removes channels.

use crate::failure::{Failure, Outcome};
use crate::open;
use railbus::channel::directory;
use railbus::info::Life;
use railbus::{Bus, ChannelName, Error};

const EXAMPLES: &str = "\
Examples:
  railbus rm demo/ticks
  railbus rm demo/ticks demo/jobs
  railbus rm --force demo/ticks      although somebody is attached
  railbus rm demo --all              every channel of a bus

Processes that are attached keep the channel's memory until they leave, but nobody finds it any more.";

/// Remove channels
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RmArgs {
    /// Channels, as BUS/CHANNEL; with --all, buses
    #[arg(required = true, value_name = "CHANNEL")]
    names: Vec<String>,
    /// Also when live processes are attached
    #[arg(short, long)]
    force: bool,
    /// Every channel of the buses named
    #[arg(long)]
    all: bool,
}

/// Removes what is named; goes on after a failure, and reports the last one.
pub(crate) fn run(args: &RmArgs) -> Outcome {
    let mut outcome = Ok(());
    for name in &args.names {
        if let Err(failure) = remove_named(args, name)
            && let Err(before) = std::mem::replace(&mut outcome, Err(failure))
        {
            before.tell();
        }
    }
    outcome
}

fn remove_named(args: &RmArgs, name: &str) -> Outcome {
    if !args.all {
        return remove(&name.parse::<ChannelName>()?, args.force);
    }
    let base = open::base()?;
    let channels = Bus::at(&base, name)?.channels()?;
    channels.iter().try_for_each(|channel| remove(channel, args.force))?;
    // The empty bus, too; whoever makes a channel there meanwhile keeps it.
    directory::prune(&base, name, |_| true)?;
    Ok(())
}

fn remove(name: &ChannelName, force: bool) -> Outcome {
    if !force {
        refuse_used(name)?;
    }
    open::bus_of(name)?.remove(name.channel())?;
    Ok(())
}

fn refuse_used(name: &ChannelName) -> Outcome {
    let info = match open::channel(name).and_then(|channel| channel.info()) {
        Ok(info) => info,
        Err(error @ Error::NotFound { .. }) => return Err(error.into()),
        // What cannot be opened is not used by anybody who could go on.
        Err(_) => return Ok(()),
    };
    let live: Vec<String> = info
        .participants
        .iter()
        .filter(|one| one.life == Life::Live)
        .map(|one| format!("{} {}", one.role.as_str(), one.pid))
        .collect();
    if live.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{name} is in use by {}: stop them, or remove it with --force",
        live.join(", ")
    )))
}
