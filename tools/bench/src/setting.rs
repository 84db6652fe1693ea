//! The part of every report that describes the run.

use serde::Serialize;

use super::clock::Clock;
use super::run::Run;
use super::topology::Topology;

/// The part of every report that describes the run.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// The cores, in the order of the roles.
    pub cores: Vec<usize>,
    /// The core of each process.
    pub pin_map: Vec<(String, usize)>,
    /// The machine.
    pub topology: Topology,
    /// The clock.
    pub clock: Clock,
    /// Warnings that the reader needs to judge the figures.
    pub warnings: Vec<String>,
}

/// The part of a report that describes the run.
pub fn setting(run: Run, roles: impl Iterator<Item = String>) -> Setting {
    Setting {
        pin_map: roles.zip(run.cores.iter().copied()).collect(),
        cores: run.cores,
        topology: run.topology,
        clock: run.clock,
        warnings: run.warnings,
    }
}
