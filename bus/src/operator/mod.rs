//! Changing a live bus: what an operator may do to the events and subscriptions of a channel while others use it.
//!
//! | what | how it is safe |
//! |---|---|
//! | [`purge`](crate::Channel::purge), [`skip_events`](crate::Channel::skip_events) | takes events as a worker does, and finishes them |
//! | [`skip_subscription`](crate::Channel::skip_subscription), [`seek_subscription`](crate::Channel::seek_subscription) | owns the subscription for the moment, and stores its cursor once |
//! | [`dead_letters`](crate::Channel::dead_letters) | looks read-only; retries and drops as a worker of the dead-letter queue |
//! | [`resize`](crate::Channel::resize)(crate::Channel::resize) | makes the channel anew while every place in it is locked |
//!
//! **Two administrators at once, and one that is killed anywhere**, need nothing of their own: an administrator *is* a
//! participant while it acts, registered under its life lock. What a killed one had in hand is handed back by whoever
//! meets it, as a dead worker's is; a durable subscription that it owned stands where its cursor says, which is
//! stored in one step: where it was, or where it was to go. A second administrator finds the name taken.
//!
//! Everything here has a dry run, which maps the channel read-only, registers nowhere, and says what would be done at
//! that moment.

pub(crate) mod letters;
pub(crate) mod look;
pub(crate) mod observe;
pub(crate) mod purge;
pub(crate) mod repair;
#[cfg(feature = "journal")]
pub(crate) mod resize;
pub(crate) mod seek;
pub(crate) mod still;

/// The name under which administrators register for the moment.
pub(crate) const ADMINISTRATOR: &str = "railbus admin";
