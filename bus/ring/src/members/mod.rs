//! Participants of a channel: how they enter and leave, what they owe each other, how they sleep
//! and wake.
//!
//! | file | idea |
//! |---|---|
//! | [`registry`] | entries: registering, leaving, sweeping |
//! | [`peers`] | the one question to the operating system: is that participant dead? |
//! | [`gates`] | the cursors that a producer must not overrun |
//! | [`pressure`], [`credits`] | how full a channel is, and how much of it one producer may fill |
//! | [`fence`] | taking the events of a live worker away |
//! | [`janitor`] | the right to change the entry of another participant |
//! | [`lent`] | the bytes that evicted participants may still read |
//! | [`join`] | where a reader starts |
//! | [`park`] | sleeping and waking at no cost to the waker |

pub mod credits;
pub mod fence;
pub mod gates;
pub mod janitor;
pub mod join;
pub mod lent;
pub mod park;
pub mod peers;
pub mod pressure;
pub mod registry;
