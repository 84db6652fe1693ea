//! `bench jitter`: how often, and for how long, a core is taken away from a process that never
//! waits.
//!
//! On every core a pinned process reads the clock in a tight loop. Two readings that lie further
//! apart than the threshold are a gap: an interrupt, another task, the hypervisor. This measurement
//! cannot see which of them took the core; `railbus doctor` shows the usual causes.

use railbus::{Error, Result};
use serde::{Deserialize, Serialize};

use super::args::JitterArgs;
use super::plan::{Plan, Role};
use super::processes;
use super::run::Run;
use super::statistics::{Counts, histogram, to_counts};
use super::transport::Site;

/// How many of the longest gaps are kept.
const LONGEST: usize = 5;

/// One of the longest gaps.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Gap {
    /// When it ended, in ns since the beginning.
    pub at_ns: f64,
    /// How long it was, in ns.
    pub gap_ns: f64,
}

/// The result of one core.
#[derive(Debug, Serialize, Deserialize)]
pub struct CoreResult {
    /// The core.
    pub core: usize,
    /// For how long it was watched, in ns.
    pub watched_ns: f64,
    /// The sum of all gaps, in ns.
    pub taken_ns: f64,
    /// The longest gaps, longest first.
    pub longest: Vec<Gap>,
    /// The distribution of the gaps, in ns.
    pub gaps: Counts,
}

/// Supervisor: watches all cores at the same time.
pub fn measure(run: &Run, args: &JitterArgs) -> Result<Vec<CoreResult>> {
    let workers = run.cores.len();
    let plans: Vec<Plan> = (0..workers)
        .map(|worker| Plan {
            seconds: args.common.seconds,
            threshold_ns: args.threshold_ns,
            ..run.plan(Role::Watcher, worker, worker, workers)
        })
        .collect();
    let arena = super::arena::create(0, 0)?;
    let results = processes::run(&arena, &plans, &run.interrupts, run.limit(args.common.seconds))?;
    results
        .into_iter()
        .map(|result| result.ok_or_else(|| Error::corrupt("the result of a watcher", "there is none")))
        .collect()
}

/// Worker: watches its core.
pub fn work(site: Site<'_>) -> Result<serde_json::Value> {
    let Site { plan, arena } = site;
    let clock = plan.clock;
    let threshold = clock.ticks(plan.threshold_ns as f64).max(1.0) as u64;
    let length = clock.ticks(plan.seconds * 1e9) as u64;
    let mut gaps = histogram();
    let mut longest: Vec<Gap> = Vec::with_capacity(LONGEST + 1);
    let mut taken_ticks = 0;
    arena.meet(plan.worker, plan.workers);
    let start = clock.now();
    let mut before = start;
    loop {
        let mut now = clock.now();
        let gap = now.saturating_sub(before);
        if gap >= threshold {
            taken_ticks += gap;
            let gap_ns = clock.ns(gap);
            gaps.saturating_record(gap_ns.round() as u64);
            let shorter = longest.iter().position(|other| other.gap_ns < gap_ns);
            longest.insert(shorter.unwrap_or(longest.len()), Gap { at_ns: clock.ns(now - start), gap_ns });
            longest.truncate(LONGEST);
            // The bookkeeping above is not part of a gap.
            now = clock.now();
        }
        if now.wrapping_sub(start) >= length {
            break;
        }
        before = now;
    }
    let result = CoreResult {
        core: plan.core,
        watched_ns: clock.ns(clock.now() - start),
        taken_ns: clock.ns(taken_ticks),
        longest,
        gaps: to_counts(&gaps),
    };
    serde_json::to_value(result).map_err(|error| Error::corrupt("the result", error.to_string()))
}
