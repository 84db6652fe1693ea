//! The state that all measurements of one invocation share: clock, cores, signals.

use std::time::Duration;

use railbus::Result;

use super::args::{CommonArgs, HandOver, Kind, WaitKind};
use super::clock::Clock;
use super::plan::{Plan, Role};
use super::processes::Interrupts;
use super::topology::Topology;

/// One invocation of `railbus bench`.
#[derive(Debug)]
pub struct Run {
    /// Calibrated once.
    pub clock: Clock,
    /// The core of each worker.
    pub cores: Vec<usize>,
    /// Whether workers share cores.
    pub shared_cores: bool,
    /// The machine.
    pub topology: Topology,
    /// Signals, as the supervisor sees them.
    pub interrupts: Interrupts,
    /// Warnings that the reader needs to judge the figures.
    pub warnings: Vec<String>,
}

impl Run {
    /// Checks the common arguments for `workers` processes and calibrates the clock.
    pub fn begin(common: &CommonArgs, workers: usize) -> Result<Run> {
        let (cores, shared_cores) = common.check(workers)?;
        let mut warnings = Vec::new();
        if shared_cores {
            warnings.push(format!(
                "{workers} processes share the cores {cores:?} and give them away when they wait: these figures show \
                 the scheduler, not the bus; use as many cores as processes"
            ));
        }
        let interrupts = Interrupts::block()?;
        let topology = Topology::read(&cores);
        Ok(Run { clock: Clock::calibrate(), cores, shared_cores, topology, interrupts, warnings })
    }

    /// A plan for one worker, without the fields of a particular measurement.
    pub fn plan(&self, role: Role, index: usize, worker: usize, workers: usize) -> Plan {
        Plan {
            role,
            index,
            worker,
            workers,
            core: self.cores[worker],
            yields: self.shared_cores,
            supervisor: std::process::id(),
            clock: self.clock,
            seconds: 1.0,
            block_ns: 40e6,
            kind: Kind::Limit,
            channel: String::new(),
            wait: WaitKind::Spin,
            hand_over: HandOver::Copy,
            futex_limit: false,
            payload_bytes: 8,
            rate: None,
            producers: 1,
            consumers: 1,
            batch: 1,
            slip: 0,
            copy_lanes: 0,
            copy_bytes: 0,
            threshold_ns: 0,
        }
    }

    /// The time limit after which a repetition that should take at most `seconds` is given up.
    pub fn limit(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(30.0 + 4.0 * seconds)
    }
}
