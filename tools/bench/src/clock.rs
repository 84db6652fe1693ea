//! The clock of the measurements: the processor's own counter if it is reliable, otherwise
//! `CLOCK_MONOTONIC`.
//!
//! The time stamp counter is used when the processor reports that it runs at one rate in every
//! power state, and the kernel has not fallen back to a slow clock (which it does when the counters
//! of the cores disagree). It is calibrated once against `CLOCK_MONOTONIC`. On Arm the generic
//! timer is constant by definition and its rate is known. Many machines advance the counter in
//! steps (often 10 ns): [`Clock::step_ns`] shows it. An offset between cores is not corrected. Both
//! ends of every difference are taken on one core, or the difference is so long (a block of many
//! ms) that an offset does not matter.

use std::time::{Duration, Instant};

use railbus_os::clock::monotonic_ns;
use railbus_os::counter::distrust;
use serde::{Deserialize, Serialize};

/// The source of ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSource {
    /// `rdtsc` on x86-64, `cntvct_el0` on aarch64.
    Counter,
    /// `clock_gettime(CLOCK_MONOTONIC)`; one tick is a nanosecond.
    Monotonic,
}

/// A calibrated clock, small enough to be passed to every process of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Clock {
    /// The source of ticks.
    pub source: ClockSource,
    /// Nanoseconds per tick.
    pub ns_per_tick: f64,
    /// How far apart two readings are that follow each other and differ, in ns: the median.
    pub step_ns: f64,
}

impl Clock {
    /// Chooses and calibrates a clock. Blocks for about 50 ms.
    pub fn calibrate() -> Clock {
        if distrust().is_some() {
            return Clock { source: ClockSource::Monotonic, ns_per_tick: 1.0, step_ns: 0.0 }.with_step();
        }
        let ns_per_tick = counter_period_ns().unwrap_or_else(|| {
            let (first_ticks, first) = paired_reading();
            std::thread::sleep(Duration::from_millis(50));
            let (last_ticks, last) = paired_reading();
            (last - first).as_nanos() as f64 / last_ticks.wrapping_sub(first_ticks).max(1) as f64
        });
        Clock { source: ClockSource::Counter, ns_per_tick, step_ns: 0.0 }.with_step()
    }

    /// The time in ticks since some moment in the past.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        match self.source {
            ClockSource::Counter => counter(),
            ClockSource::Monotonic => monotonic_ns(),
        }
    }

    /// Ticks as nanoseconds.
    #[inline]
    pub fn ns(&self, ticks: u64) -> f64 {
        ticks as f64 * self.ns_per_tick
    }

    /// Nanoseconds as ticks.
    pub fn ticks(&self, ns: f64) -> f64 {
        ns / self.ns_per_tick
    }

    /// The clock in words, for people: `tsc, 2596.1 MHz, readings 10.0 ns apart`.
    pub fn describe(&self) -> String {
        match self.source {
            ClockSource::Counter => format!(
                "{}, {:.1} MHz, readings {:.1} ns apart",
                if cfg!(target_arch = "aarch64") { "cntvct" } else { "tsc" },
                1e3 / self.ns_per_tick,
                self.step_ns
            ),
            ClockSource::Monotonic => format!("CLOCK_MONOTONIC, readings {:.1} ns apart", self.step_ns),
        }
    }

    /// Measures `step_ns`.
    fn with_step(mut self) -> Clock {
        let mut readings = vec![0; 10_000];
        for reading in &mut readings {
            *reading = self.now();
        }
        let mut steps: Vec<u64> = readings.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        steps.retain(|&step| step > 0);
        steps.sort_unstable();
        self.step_ns = steps.get(steps.len() / 2).map_or(0.0, |&step| self.ns(step));
        self
    }
}

/// A counter reading and the monotonic time of the same moment: the tightest of several tries.
fn paired_reading() -> (u64, Instant) {
    let mut best = (u64::MAX, 0, Instant::now());
    for _ in 0..16 {
        let before = counter();
        let time = Instant::now();
        let width = counter().wrapping_sub(before);
        if width < best.0 {
            best = (width, before.wrapping_add(width / 2), time);
        }
    }
    (best.1, best.2)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: rdtsc exists on every x86-64 processor and has no effect on memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: Linux lets user space read the virtual counter; the instruction has no effect on memory.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter() -> u64 {
    monotonic_ns()
}

/// The period of one tick, on architectures that report it.
#[cfg(target_arch = "aarch64")]
fn counter_period_ns() -> Option<f64> {
    let hertz: u64;
    // SAFETY: the frequency register is readable from user space; the instruction has no effect on
    // memory.
    unsafe { std::arch::asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack)) };
    (hertz > 0).then(|| 1e9 / hertz as f64)
}

#[cfg(not(target_arch = "aarch64"))]
fn counter_period_ns() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calibrated_clock_keeps_time_with_the_kernel() {
        let clock = Clock::calibrate();
        let outer = Instant::now();
        let ticks = clock.now();
        let inner = Instant::now();
        std::thread::sleep(Duration::from_millis(30));
        let inner_ns = inner.elapsed().as_nanos() as f64;
        let by_clock_ns = clock.ns(clock.now() - ticks);
        let outer_ns = outer.elapsed().as_nanos() as f64;
        // The kernel's readings enclose the clock's, so preemption between them does not matter.
        assert!(
            inner_ns * 0.98 <= by_clock_ns && by_clock_ns <= outer_ns * 1.02,
            "{clock:?}: {by_clock_ns} ns"
        );
    }
}
