//! Handles: the participants of a channel. Each handle is one registered participant.

pub(crate) mod audit;
pub(crate) mod bridge;
pub(crate) mod copy;
pub(crate) mod diversion;
pub(crate) mod latency_probe;
pub(crate) mod member;
pub(crate) mod open;
pub(crate) mod options;
pub(crate) mod progress;
pub(crate) mod publish_end;
pub(crate) mod read_end;
pub(crate) mod reader;
pub(crate) mod refusal;
pub(crate) mod sender;
pub(crate) mod service;
pub(crate) mod stuck;
pub(crate) mod table;
pub(crate) mod wait;
#[cfg(test)]
mod woken;
pub(crate) mod worker;
