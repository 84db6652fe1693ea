//! The part of a process of the demo.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The plan of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartPlan {
    pub(crate) role: Part,
    /// The directory of all buses of the demo.
    pub(crate) base: PathBuf,
    pub(crate) bus: String,
    pub(crate) channel: String,
    /// The processor to be pinned to.
    pub(crate) core: usize,
    /// The process that started it.
    pub(crate) supervisor: u32,
}

/// The parts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Publishes a file.
    FilePublisher(PathBuf),
    /// Receives it.
    FileSubscriber,
    /// Publishes ticks: which publisher, and how many.
    TickPublisher(u32, u64),
    /// Receives the ticks of all publishers: how many.
    TickSubscriber(u64),
    /// Produces numbered jobs: its seat and its generation.
    JobProducer(usize, usize),
    /// Works on them: its seat.
    JobWorker(usize),
}
