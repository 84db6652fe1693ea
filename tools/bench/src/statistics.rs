//! From blocks of samples to numbers that can be compared.
//!
//! The machine changes while it is measured: the kernel takes a core away, a hypervisor moves a
//! virtual core. So a run is cut into short blocks, each between two measurements of the round trip
//! of two bare words. A block's value and its reference are means trimmed of the highest percent,
//! because preempted stretches are there. A block is sorted by the bare round trip around it into a
//! [`Bin`]. Only blocks of one bin are compared; a block during which the bare round trip changed
//! belongs to none. The reported figure is the median over the blocks of a repetition, then the
//! median over the repetitions.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The share of a block's samples that its trimmed mean keeps.
pub const KEPT: f64 = 0.99;

/// The highest value of the histograms: ten minutes, in ns.
pub const MAX_NS: u64 = 600_000_000_000;

/// The mean of the lowest `kept` share of the values (at least one). Reorders them. 0 for none.
pub fn trimmed_mean(values: &mut [u64], kept: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let keep = ((values.len() as f64 * kept).floor() as usize).clamp(1, values.len());
    if keep < values.len() {
        values.select_nth_unstable(keep);
    }
    values[..keep].iter().map(|&value| value as f64).sum::<f64>() / keep as f64
}

/// The median; the mean of the middle two when their number is even. `None` for none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// How far apart the two cores were, by the round trip of two bare words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bin {
    /// Below 80 ns: as SMT siblings are.
    Close,
    /// 80 to 180 ns: as two cores with a common cache are.
    Near,
    /// 180 ns and more: without a common cache.
    Far,
    /// The round trip changed by more than half during the block.
    Moved,
}

impl Bin {
    /// All bins, in order.
    pub const ALL: [Bin; 4] = [Bin::Close, Bin::Near, Bin::Far, Bin::Moved];

    /// The bin of a block between two bare round trips, in ns.
    pub fn of(before_ns: f64, after_ns: f64) -> Bin {
        let (low, high) = (before_ns.min(after_ns), before_ns.max(after_ns));
        match (low + high) / 2.0 {
            _ if high > 1.5 * low => Bin::Moved,
            mean if mean < 80.0 => Bin::Close,
            mean if mean < 180.0 => Bin::Near,
            _ => Bin::Far,
        }
    }
}

/// One block: a measured value and its reference, between two bare round trips.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Block {
    /// Trimmed mean round trip of the bare words before the block, in ns.
    pub bare_before_ns: f64,
    /// The same after it.
    pub bare_after_ns: f64,
    /// The measured value: a trimmed mean in ns, or a rate in events per second.
    pub value: f64,
    /// The physical limit of the same, from the measurements before and after the block.
    pub limit: f64,
    /// Events in the block: round trips, or one way; stamped or not.
    pub events: u64,
}

impl Block {
    /// Its bin.
    pub fn bin(&self) -> Bin {
        Bin::of(self.bare_before_ns, self.bare_after_ns)
    }

    /// Value over limit.
    pub fn ratio(&self) -> f64 {
        self.value / self.limit
    }
}

/// The medians of the blocks of one bin, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Medians {
    /// How many blocks there are, over all repetitions.
    pub blocks: usize,
    /// Events in them: round trips, or one way; stamped or not.
    pub events: u64,
    /// Median over repetitions of the median value.
    pub value: f64,
    /// The same of the limit.
    pub limit: f64,
    /// The same of the ratio, which is taken block by block.
    pub ratio: f64,
    /// The lowest and highest of the repetitions' median ratios.
    pub ratio_range: (f64, f64),
}

/// The medians over those blocks of the repetitions that `wanted` chooses; `None` when it chooses none.
pub fn medians(repetitions: &[Vec<Block>], wanted: impl Fn(&Block) -> bool) -> Option<Medians> {
    let chosen: Vec<Vec<&Block>> = repetitions
        .iter()
        .map(|blocks| blocks.iter().filter(|block| wanted(block)).collect::<Vec<_>>())
        .filter(|blocks| !blocks.is_empty())
        .collect();
    let each = |of: fn(&Block) -> f64| -> Vec<f64> {
        chosen.iter().filter_map(|blocks| median(blocks.iter().map(|block| of(block)).collect())).collect()
    };
    let ratios = each(Block::ratio);
    Some(Medians {
        blocks: chosen.iter().map(Vec::len).sum(),
        events: chosen.iter().flatten().map(|block| block.events).sum(),
        value: median(each(|block| block.value))?,
        limit: median(each(|block| block.limit))?,
        ratio_range: ratios.iter().fold((f64::MAX, f64::MIN), |(low, high), &r| (low.min(r), high.max(r))),
        ratio: median(ratios)?,
    })
}

/// The bin to report: `near` when it holds at least a fifth of the blocks, otherwise the fullest.
pub fn reported_bin(repetitions: &[Vec<Block>]) -> Bin {
    let count = |bin| repetitions.iter().flatten().filter(|block| block.bin() == bin).count();
    let all: usize = repetitions.iter().map(Vec::len).sum();
    if count(Bin::Near) > 0 && count(Bin::Near) * 5 >= all {
        return Bin::Near;
    }
    // A moved block is a last resort: it is compared only when there are no others.
    [Bin::Far, Bin::Close]
        .into_iter()
        .chain([Bin::Near])
        .max_by_key(|&bin| count(bin))
        .filter(|&bin| count(bin) > 0)
        .unwrap_or(Bin::Moved)
}

/// A distribution as the scripts read it, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Mean of all values.
    pub mean: f64,
    /// 50th percentile.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// 99.99th percentile.
    pub p9999: u64,
    /// The highest value.
    pub max: u64,
}

impl Percentiles {
    /// Reads them off a histogram of ns.
    pub fn of(histogram: &Histogram<u64>) -> Percentiles {
        Percentiles {
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            p9999: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
        }
    }
}

/// An empty histogram of ns, up to ten minutes, exact to a thousandth.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, 3).expect("constant bounds that the crate accepts")
}

/// A histogram as it travels from a worker to the supervisor: values and how often each was seen.
pub type Counts = Vec<(u64, u64)>;

/// Takes a histogram apart.
pub fn to_counts(histogram: &Histogram<u64>) -> Counts {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}

/// Adds the counts of a histogram that [`to_counts`] took apart.
pub fn add_counts(histogram: &mut Histogram<u64>, counts: &Counts) {
    for &(value, count) in counts {
        histogram.saturating_record_n(value, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bare: (f64, f64), value: f64, limit: f64) -> Block {
        Block { bare_before_ns: bare.0, bare_after_ns: bare.1, value, limit, events: 10 }
    }

    #[test]
    fn a_trimmed_mean_leaves_the_preempted_out() {
        let mut values = vec![100; 99];
        values.push(4_000_000);
        assert_eq!(trimmed_mean(&mut values, KEPT), 100.0);
        assert_eq!(trimmed_mean(&mut [5, 1, 3], 1.0), 3.0);
        assert_eq!(trimmed_mean(&mut [7], KEPT), 7.0, "one value is always kept");
        assert_eq!(trimmed_mean(&mut [], KEPT), 0.0);
    }

    #[test]
    fn a_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn blocks_are_sorted_by_the_bare_round_trip_around_them() {
        assert_eq!(Bin::of(55.0, 57.0), Bin::Close);
        assert_eq!(Bin::of(110.0, 115.0), Bin::Near);
        assert_eq!(Bin::of(540.0, 530.0), Bin::Far);
        assert_eq!(Bin::of(110.0, 540.0), Bin::Moved);
        assert_eq!(Bin::of(540.0, 55.0), Bin::Moved);
    }

    #[test]
    fn only_blocks_of_one_bin_are_compared() {
        let near = (110.0, 112.0);
        let repetitions = vec![
            vec![block(near, 120.0, 100.0), block((500.0, 510.0), 900.0, 500.0), block(near, 130.0, 100.0)],
            vec![block(near, 140.0, 100.0)],
            vec![block((110.0, 540.0), 300.0, 320.0)],
        ];
        assert_eq!(reported_bin(&repetitions), Bin::Near);
        let found = medians(&repetitions, |block| block.bin() == Bin::Near).expect("there are near blocks");
        assert_eq!((found.blocks, found.events), (3, 30));
        assert_eq!(found.ratio, (1.25 + 1.4) / 2.0);
        assert_eq!(found.ratio_range, (1.25, 1.4));
        assert_eq!(medians(&repetitions, |block| block.bin() == Bin::Close), None);
    }

    #[test]
    fn the_fullest_bin_is_reported_when_near_is_rare() {
        let far = block((500.0, 510.0), 1.0, 1.0);
        let near = block((110.0, 110.0), 1.0, 1.0);
        let moved = block((110.0, 510.0), 1.0, 1.0);
        assert_eq!(reported_bin(&[vec![far; 9], vec![near]]), Bin::Far);
        assert_eq!(reported_bin(&[vec![far; 3], vec![near]]), Bin::Near);
        assert_eq!(reported_bin(&[vec![moved; 9], vec![far]]), Bin::Far);
        assert_eq!(reported_bin(&[vec![moved]]), Bin::Moved);
    }

    #[test]
    fn a_histogram_survives_the_journey_between_processes() {
        let mut sent = histogram();
        for value in [1, 50, 120, 120, 5_000, 7_777_777, MAX_NS * 2] {
            sent.saturating_record(value);
        }
        let mut arrived = histogram();
        add_counts(&mut arrived, &to_counts(&sent));
        assert_eq!(Percentiles::of(&arrived), Percentiles::of(&sent));
        assert_eq!(arrived.len(), 7);
    }
}
