//! Opening channels for the commands.

use std::path::PathBuf;

use railbus::admin::base_directory;
use railbus::{Bus, Channel, ChannelName, Owner, Result};

use crate::failure::{Failure, note};

/// The owner of a channel in which a command takes part.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct OwnerArgs {
    /// Take part although the channel belongs to this user, by name or number, or to `any`
    /// [default: yourself or root]
    #[arg(long, value_name = "USER")]
    owner: Option<Owner>,
}

/// The directory of all buses: `$RAILBUS_DIR`, or the default. It must belong to the user, to root,
/// or to the user in `$RAILBUS_OWNER`.
pub(crate) fn base() -> Result<PathBuf> {
    let base = base_directory()?;
    Owner::from_environment()?.check_base(&base)?;
    Ok(base)
}

/// As [`base`], for commands that only look: reports that there is nothing if $RAILBUS_DIR names no
/// directory. An owner who truncates his channel's files does not end a process that only looks.
pub(crate) fn base_to_look_at() -> Result<PathBuf> {
    survive_truncation();
    let base = base()?;
    if std::env::var_os("RAILBUS_DIR").is_some() && !base.exists() {
        note(&format!("$RAILBUS_DIR is {}, and there is no such directory", base.display()));
    }
    Ok(base)
}

/// From now on the truncation of a mapped file ends this process with exit code 5 and a message
/// that names the file. This is for commands that take part in a channel, or do one thing and end.
pub(crate) fn end_at_truncation() {
    if let Err(error) = railbus_os::truncated::end_process(5) {
        note(&format!("the truncation of a channel's file ends this process by a signal: {error}"));
    }
}

/// From now on the truncation of a mapped file ends its mapping, and not this process. This is for
/// daemons, and for commands that look at many channels.
pub(crate) fn survive_truncation() {
    if let Err(error) = railbus_os::truncated::contain() {
        note(&format!("the truncation of a channel's file can end this process: {error}"));
    }
}

/// The bus that a channel is on.
pub(crate) fn bus_of(name: &ChannelName) -> Result<Bus> {
    Bus::at(base()?, name.bus())
}

/// Attaches to a channel, to look at it or to look after it, whichever user owns it.
pub(crate) fn channel(name: &ChannelName) -> Result<Channel> {
    bus_of(name)?.owned_by(Owner::Anybody).attach(name.channel())
}

/// Attaches to a channel to take part in it, whose owner may have been named.
pub(crate) fn channel_of(name: &ChannelName, owner: OwnerArgs) -> Result<Channel> {
    bus_for(name, owner)?.attach(name.channel())
}

/// Why a command about events does nothing with a table.
pub(crate) fn no_events(name: &ChannelName) -> Failure {
    Failure::usage(format!(
        "{name} is a table: it has values of keys, and no events; see `railbus get`, `set`, `dump` and `watch-key`"
    ))
}

/// The bus of a channel to take part in.
pub(crate) fn bus_for(name: &ChannelName, owner: OwnerArgs) -> Result<Bus> {
    let bus = bus_of(name)?;
    Ok(owner.owner.map_or(bus.clone(), |owner| bus.owned_by(owner)))
}
