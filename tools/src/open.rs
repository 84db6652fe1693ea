//! Opening channels for the commands.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use railbus::admin::base_directory;
use railbus::{Bus, Channel, ChannelName, Error, Owner, Result};

use crate::failure::{Failure, note};
use crate::interrupt;
use crate::units::parse_time;

/// The owner of a channel in which a command takes part.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct OwnerArgs {
    /// Take part although the channel belongs to this user, by name or number, or to `any`
    /// [default: yourself or root]
    #[arg(long, value_name = "USER")]
    owner: Option<Owner>,
}

/// Whether a command waits for its channel.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct WaitArgs {
    /// Wait until the channel exists, at most TIME if it is given
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, value_parser = parse_time)]
    wait: Option<Option<Duration>>,
}

/// The same for a command that may go on in a channel that is made again.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct FollowArgs {
    #[command(flatten)]
    pub(crate) first: WaitArgs,
    /// When the channel is removed, wait until it is made again, and go on with its oldest event
    #[arg(long)]
    follow_remade: bool,
}

impl WaitArgs {
    /// Attaches to a channel to take part in it. `None` if a signal ended the wait.
    pub(crate) fn channel(
        self,
        name: &ChannelName,
        owner: OwnerArgs,
    ) -> std::result::Result<Option<Channel>, Failure> {
        match self.wait {
            None => Ok(Some(channel_of(name, owner)?)),
            Some(time) => arrival(name, owner, time),
        }
    }
}

impl FollowArgs {
    /// After an error that ended a part of the command: the channel that was made again in place of
    /// the removed one. `None` if the command ends.
    pub(crate) fn remade(
        self,
        failure: &Failure,
        old: &Channel,
        owner: OwnerArgs,
    ) -> std::result::Result<Option<Channel>, Failure> {
        let is_removed = matches!(failure, Failure::Told { .. }) && old.is_removed()?;
        if !self.follow_remade || !is_removed {
            return Ok(None);
        }
        note(&format!("{} was removed: waiting until it is made again", old.name()));
        arrival(old.name(), owner, None)
    }
}

/// Waits for a channel, at most for `time`. `None` if a signal ended the wait.
fn arrival(
    name: &ChannelName,
    owner: OwnerArgs,
    time: Option<Duration>,
) -> std::result::Result<Option<Channel>, Failure> {
    let begun = Instant::now();
    let bus = bus_for(name, owner)?;
    while !interrupt::is_asked() {
        let left = time.map_or(Duration::MAX, |time| time.saturating_sub(begun.elapsed()));
        match bus.attach_timeout(name.channel(), left.min(interrupt::LOOK_EVERY)) {
            Err(Error::TimedOut { what, .. }) if left.is_zero() => {
                let after_ms = begun.elapsed().as_millis() as u64;
                return Err(Error::TimedOut { what, after_ms }.into());
            }
            Err(Error::TimedOut { .. }) => {}
            found => return Ok(Some(found?)),
        }
    }
    Ok(None)
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
