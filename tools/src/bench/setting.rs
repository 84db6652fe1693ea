//! What every report says about the run it is of.

use serde::Serialize;

use super::clock::Clock;
use super::run::Run;
use super::topology::Topology;

/// What every report says about the run.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// The cores, in the order of the roles.
    pub cores: Vec<usize>,
    /// Which process ran where.
    pub pin_map: Vec<(String, usize)>,
    /// The machine.
    pub topology: Topology,
    /// The clock.
    pub clock: Clock,
    /// What the reader must know to judge the figures.
    pub warnings: Vec<String>,
}

/// What every report says about the run.
pub fn setting(run: Run, roles: impl Iterator<Item = String>) -> Setting {
    Setting {
        pin_map: roles.zip(run.cores.iter().copied()).collect(),
        cores: run.cores,
        topology: run.topology,
        clock: run.clock,
        warnings: run.warnings,
    }
}
