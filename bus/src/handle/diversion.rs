//! Diversion: where events go that find no room, on a channel whose policy is to divert them.
//!
//! It is a queue or topic of the same bus, and each sender of the diverting channel is a producer
//! of it, too. A diverted event is published there at once or not at all, whatever that channel's
//! own policy is. So channels that divert to each other make no circle.

use crate::channel::bus::Bus;
use crate::channel::open::Channel;
use crate::channel::{ChannelOptions, Kind};
use crate::error::{Error, Result};
use crate::handle::options::SendOptions;
use crate::handle::sender::Diversion;
use crate::handle::wait::Wait;

/// A sender to the channel that `channel` diverts to, if it does.
///
/// # Errors
/// Those of opening a sender there; [`Error::Invalid`] if it is a stream.
pub(crate) fn open(channel: &Channel, options: &SendOptions) -> Result<Option<Box<dyn Diversion>>> {
    let Some(name) = &channel.header().divert_to else { return Ok(None) };
    let other = channel.bus().attach(name)?;
    let options = SendOptions { name: options.name.clone(), wait: Wait::Spin, ..SendOptions::default() };
    Ok(Some(match other.header().kind {
        Kind::Queue => Box::new(other.slot_sender_undiverted::<false>(&options)?),
        Kind::Topic => Box::new(other.slot_sender_undiverted::<true>(&options)?),
        Kind::Stream | Kind::Table => return Err(takes_none(&other)),
    }))
}

/// Checks that the channel that `options` divert to exists, and takes every event that they allow,
/// with its origin. The events of a stream have no fixed size: those that are too long for the
/// other channel's slots will be dropped.
pub(crate) fn check(bus: &Bus, name: &str, options: &ChannelOptions) -> Result<()> {
    let Some(other) = &options.divert_to else { return Ok(()) };
    let what = || format!("channel {other} to divert to");
    if other == name {
        return Err(Error::invalid(what(), "a channel cannot divert to itself"));
    }
    let other = bus.attach(other)?;
    if !other.header().kind.has_slots() || other.header().is_service() {
        return Err(takes_none(&other));
    }
    let least = options.slot_size_bytes();
    if other.header().slot_bytes <= least {
        let why = format!("it must have slots of more than {least} bytes: an event carries its origin there");
        return Err(Error::invalid(what(), why));
    }
    Ok(())
}

fn takes_none(other: &Channel) -> Error {
    let why = match other.header().kind {
        Kind::Queue => "it is a service, whose requests have clients; divert to a queue or a topic",
        Kind::Table => "it is a table, which has no events; divert to a queue or a topic",
        _ => "it is a stream, which has one publisher; divert to a queue or a topic",
    };
    Error::invalid(format!("channel {} to divert to", other.name()), why)
}
