//! Changing a live bus: operations on the events and subscriptions of a channel while others use
//! it.
//!
//! | operation | why it is safe |
//! |---|---|
//! | [`purge`], [`skip_events`] | takes events as a worker does, and finishes them |
//! | [`skip_subscription`], [`seek_subscription`] | owns the subscription, and stores its cursor once |
//! | [`dead_letters`] | looks read-only; retries and drops as a worker of the dead-letter queue |
//! | [`resize`] | makes the channel again while every place in it is locked |
//!
//! [`purge`]: crate::Channel::purge
//! [`skip_events`]: crate::Channel::skip_events
//! [`skip_subscription`]: crate::Channel::skip_subscription
//! [`seek_subscription`]: crate::Channel::seek_subscription
//! [`dead_letters`]: crate::Channel::dead_letters
//! [`resize`]: crate::Channel::resize
//!
//! Two administrators at once, and one that is killed anywhere, need no protocol of their own.
//! While it acts, an administrator *is* a participant, registered under its life lock. If it is
//! killed, the next participant that finds the events it held hands them back, as those of a dead
//! worker. A durable subscription that it owned is where it was, or where it was to go, because its
//! cursor is stored in one step. A second administrator finds the name taken.
//!
//! Everything here has a dry run. It maps the channel read-only, registers nowhere, and returns
//! what would be done at that moment.

pub(crate) mod keys;
pub(crate) mod letters;
mod look;
pub(crate) mod observe;
pub(crate) mod purge;
pub(crate) mod repair;
#[cfg(feature = "journal")]
pub(crate) mod resize;
pub(crate) mod seek;
pub(crate) mod still;

/// The name under which administrators register while they act.
pub(crate) const ADMINISTRATOR: &str = "railbus admin";
