//! The view of the channels that `stat`, `top`, `hist`, `metrics` and `watch` share.
//!
//! A [`Sampler`] keeps every wanted channel mapped read-only and looks at it again and again; each
//! look gives a [`ChannelView`], with rates since the previous look. Nothing is written anywhere
//! that a participant reads.

mod cores;
pub(crate) mod curve;
mod sampler;
pub(crate) mod text;
mod view;

pub(crate) use sampler::{Sampled, Sampler};
pub(crate) use view::{ChannelView, LatencyView, ParticipantView, histogram};

use railbus::internal::check_name;
use railbus::{ChannelName, Error};
use std::str::FromStr;

/// Which channels: a whole bus, or one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Every channel of a bus.
    Bus(String),
    /// One channel.
    Channel(ChannelName),
}

impl FromStr for Wanted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Wanted, Error> {
        if text.contains('/') {
            return text.parse().map(Wanted::Channel);
        }
        check_name("bus name", text)?;
        Ok(Wanted::Bus(text.to_owned()))
    }
}
