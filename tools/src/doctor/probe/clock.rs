//! The monotonic clock, measured: its step, and the cost of a reading.

use nix::time::{ClockId, clock_gettime};

/// The measured values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProbedClock {
    /// The smallest difference between two readings that differ, in ns.
    pub(crate) step_ns: u64,
    /// Mean time of a reading, in ns.
    pub(crate) read_ns: u64,
}

/// Readings taken: some hundred us with a good clock, some 10 ms where each is a system call.
const READINGS: u64 = 20_000;

/// Reads the clock many times over. A clock that never moves has a step of 0 (and so does one that
/// cannot be read).
pub(crate) fn measure() -> ProbedClock {
    let first = now_ns();
    let mut last = first;
    let mut step_ns = u64::MAX;
    for _ in 0..READINGS {
        let now = now_ns();
        if now > last {
            step_ns = step_ns.min(now - last);
        }
        last = last.max(now);
    }
    ProbedClock { step_ns: if step_ns == u64::MAX { 0 } else { step_ns }, read_ns: (last - first) / READINGS }
}

fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec()).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves() {
        assert!(measure().step_ns > 0);
    }
}
