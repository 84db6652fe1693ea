//! Opening channels for the commands.

use railbus::channel::directory::base_directory;
use railbus::{Bus, Channel, ChannelName, Result};
use std::path::PathBuf;

/// The directory of all buses: `$RAILBUS_DIR`, or the default.
pub(crate) fn base() -> Result<PathBuf> {
    base_directory()
}

/// The bus that a channel is on.
pub(crate) fn bus_of(name: &ChannelName) -> Result<Bus> {
    Bus::at(base()?, name.bus())
}

/// Attaches to a channel.
pub(crate) fn channel(name: &ChannelName) -> Result<Channel> {
    bus_of(name)?.attach(name.channel())
}
