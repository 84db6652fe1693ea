//! A run's judgement of itself: whether the machine was quiet enough for its figures to mean
//! anything.
//!
//! Trimmed means and bins hide a few preemptions. They cannot hide that a machine's processors do
//! other work most of the time. There the channel and its limit are measured at different moments
//! of different machines, and their ratio is an accident. Four signs show that:
//!
//! - *preempted*: the share of their time that the workers were runnable and did not run, as the
//!   kernel counts it;
//! - *drift*: how far apart the limit was in the blocks that are reported, which measure the same
//!   thing;
//! - *moved*: how many blocks were thrown away because the bare round trip changed within them;
//! - *impossible*: a round trip over the channel that is much shorter than that of two bare words.

use serde::{Deserialize, Serialize};

use super::statistics::{Bin, Block};

/// If the workers waited for a processor for more than this share of their time, they were
/// disturbed.
const PREEMPTED_MAX: f64 = 0.05;
/// The largest allowed quotient of the highest tenth of the limits over the lowest tenth.
const DRIFT_MAX: f64 = 2.0;
/// The share of blocks that may belong to no bin.
const MOVED_MAX: f64 = 0.5;
/// A lower ratio of round trips cannot be the channel's.
const RATIO_MIN: f64 = 0.7;
/// The largest allowed quotient of the highest ratio of a repetition over the lowest.
const RANGE_MAX: f64 = 2.0;

/// The processor time that the scheduler gave to workers, and the time for which they waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// Time on a processor, in ns.
    pub ran_ns: u64,
    /// Time runnable, but waiting for a processor, in ns.
    pub waited_ns: u64,
}

impl Scheduling {
    /// The times of this process from its beginning; zero if the kernel does not count.
    pub fn own() -> Scheduling {
        let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        Scheduling { ran_ns: numbers.next().unwrap_or(0), waited_ns: numbers.next().unwrap_or(0) }
    }

    /// The sum of both.
    pub fn and(self, other: Scheduling) -> Scheduling {
        Scheduling {
            ran_ns: self.ran_ns.saturating_add(other.ran_ns),
            waited_ns: self.waited_ns.saturating_add(other.waited_ns),
        }
    }

    fn preempted_share(self) -> Option<f64> {
        let all = self.ran_ns.saturating_add(self.waited_ns);
        (all > 0).then(|| self.waited_ns as f64 / all as f64)
    }
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Whether there is no sign against the figures.
    pub reliable: bool,
    /// The signs against them.
    pub unreliable_because: Vec<String>,
    /// Share of their time that the workers waited for a processor; `null` if the kernel does not
    /// count it.
    pub preempted_share: Option<f64>,
    /// The highest tenth of the limits of the reported blocks over the lowest tenth.
    pub limit_drift: f64,
    /// Share of all blocks during which the bare round trip changed by more than half.
    pub moved_share: f64,
}

impl Judgement {
    /// Judges the blocks of all repetitions, of which those in `bin` are reported with `ratio`.
    /// `is_round_trip` says whether a ratio below `RATIO_MIN` is impossible.
    pub fn of(
        scheduling: Scheduling,
        repetitions: &[Vec<Block>],
        bin: Bin,
        (ratio, range): (f64, (f64, f64)),
        is_round_trip: bool,
    ) -> Judgement {
        let blocks = || repetitions.iter().flatten();
        let moved = blocks().filter(|block| block.bin() == Bin::Moved).count();
        let moved_share = moved as f64 / blocks().count().max(1) as f64;
        let limit_drift =
            drift(blocks().filter(|block| block.bin() == bin).map(|block| block.limit).collect());
        let preempted_share = scheduling.preempted_share();
        let mut because = Vec::new();
        if let Some(share) = preempted_share.filter(|&share| share > PREEMPTED_MAX) {
            because.push(format!(
                "the processes waited for a processor for {:.0}% of their time: others use these cores",
                share * 100.0
            ));
        }
        if limit_drift > DRIFT_MAX {
            because.push(format!("the limit itself drifted by a factor of {limit_drift:.1}"));
        }
        if moved_share > MOVED_MAX {
            because.push(format!(
                "the bare round trip changed during {:.0}% of the blocks",
                moved_share * 100.0
            ));
        }
        if is_round_trip && ratio < RATIO_MIN {
            because.push(format!(
                "a ratio of {ratio:.2} is impossible: nothing is that much faster than bare words"
            ));
        }
        if range.1 > RANGE_MAX * range.0 {
            because.push(format!("the repetitions differ: ratios of {:.2} to {:.2}", range.0, range.1));
        }
        Judgement {
            reliable: because.is_empty(),
            unreliable_because: because,
            preempted_share,
            limit_drift,
            moved_share,
        }
    }

    /// A line for people; empty if the run was reliable.
    pub fn line(&self) -> String {
        match self.reliable {
            true => String::new(),
            false => format!("UNRELIABLE: {}\n", self.unreliable_because.join("; ")),
        }
    }
}

/// The highest tenth over the lowest tenth; 1 for less than two values.
fn drift(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    match (values.get(last / 10), values.get(last - last / 10)) {
        (Some(&low), Some(&high)) if low > 0.0 => high / low,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bare: f64, limit: f64) -> Block {
        Block { bare_before_ns: bare, bare_after_ns: bare, value: limit, limit, events: 1 }
    }

    fn judge(scheduling: Scheduling, blocks: Vec<Block>, ratio: f64) -> Judgement {
        Judgement::of(scheduling, &[blocks], Bin::Near, (ratio, (ratio, ratio)), true)
    }

    const QUIET: Scheduling = Scheduling { ran_ns: 1_000_000, waited_ns: 10_000 };

    #[test]
    fn a_quiet_run_is_reliable() {
        let judged = judge(QUIET, vec![block(100.0, 100.0), block(101.0, 110.0), block(99.0, 90.0)], 1.02);
        assert!(judged.reliable && judged.line().is_empty(), "{judged:?}");
        assert!(judged.preempted_share.is_some_and(|share| share < 0.01) && judged.moved_share == 0.0);
        assert!(judge(Scheduling::default(), vec![block(100.0, 100.0)], 1.0).reliable, "nothing was counted");
    }

    #[test]
    fn each_sign_makes_it_unreliable() {
        let quiet = || vec![block(100.0, 100.0); 10];
        let moved = Block { bare_after_ns: 400.0, ..block(100.0, 100.0) };
        let busy = Scheduling { ran_ns: 1_000_000, waited_ns: 500_000 };
        for (judged, word) in [
            (judge(busy, quiet(), 1.0), "33%"),
            (judge(QUIET, vec![block(100.0, 100.0), block(100.0, 250.0)], 1.0), "factor of 2.5"),
            (judge(QUIET, vec![block(100.0, 100.0), moved, moved], 1.0), "67% of the blocks"),
            (judge(QUIET, quiet(), 0.16), "0.16 is impossible"),
            (Judgement::of(QUIET, &[quiet()], Bin::Near, (1.0, (0.5, 1.5)), true), "0.50 to 1.50"),
        ] {
            assert!(!judged.reliable && judged.unreliable_because.len() == 1, "{judged:?}");
            assert!(judged.line().starts_with("UNRELIABLE: ") && judged.line().contains(word), "{judged:?}");
        }
        assert!(
            Judgement::of(QUIET, &[quiet()], Bin::Near, (0.16, (0.16, 0.16)), false).reliable,
            "of a rate"
        );
    }

    #[test]
    fn the_kernel_counts_this_process() {
        let before = Scheduling::own();
        let mut sum = 0u64;
        (0..3_000_000u64).for_each(|n| sum = std::hint::black_box(sum.wrapping_add(n)));
        let both = Scheduling::own().and(before);
        assert!(before == Scheduling::default() || both.ran_ns > before.ran_ns);
    }
}
