//! The result of a measurement, as the one JSON object that scripts read; `table` prints it for
//! people.
//!
//! The fields that scripts rely on are documented here and do not change their meaning: `kind`,
//! `payload_bytes`, `samples`, `rtt_ns`, `limit_rtt_ns`, `ratio`, `events_per_second`,
//! `bytes_per_second`, `pages`, `reliable`. Others may be added.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::args::{HandOver, JitterArgs, Kind, LatencyArgs, ThroughputArgs, WaitKind};
use super::channel::Stage;
use super::jitter::{CoreResult, Gap};
use super::judgement::Judgement;
use super::run::Run;
use super::setting::{Setting, setting};
use super::statistics::{Bin, Block, Medians, Percentiles, add_counts, histogram, medians, reported_bin};
use super::{latency, throughput};

/// The blocks of one bin.
#[derive(Debug, Serialize)]
pub struct BinReport {
    /// The bin.
    pub bin: Bin,
    /// Its medians.
    #[serde(flatten)]
    pub medians: Medians,
}

/// `bench latency --json`
#[derive(Debug, Serialize)]
pub struct LatencyReport {
    /// Kind of channel.
    pub kind: Kind,
    /// Bytes per event.
    pub payload_bytes: usize,
    /// Round trips in `rtt_ns`: those that were stamped. `events` of `bins` and `overall` counts
    /// all.
    pub samples: u64,
    /// Round trips over the channel, of the blocks in `bin`.
    pub rtt_ns: Percentiles,
    /// Round trips of the limit between the same processes, around the same blocks.
    pub limit_rtt_ns: Percentiles,
    /// Trimmed mean over trimmed mean, block by block; the median over blocks, then over repetitions.
    pub ratio: f64,
    /// The pages of the channel.
    pub pages: String,
    /// The blocks that `rtt_ns`, `limit_rtt_ns` and `ratio` are taken from.
    pub bin: Bin,
    /// Median of the blocks' trimmed means, in ns: the channel and the limit.
    pub trimmed_mean_ns: (f64, f64),
    /// Lowest and highest of the repetitions' ratios.
    pub ratio_range: (f64, f64),
    /// `ping-pong` or `open-loop`.
    pub mode: &'static str,
    /// The limit: `bare words`, or `futex` if both sides sleep.
    pub limit: &'static str,
    /// How the handles waited.
    pub wait: WaitKind,
    /// How events got into the ring.
    pub send: HandOver,
    /// Bytes of each of the two rings.
    pub capacity_bytes: usize,
    /// Events per second that were asked for, in an open loop.
    pub rate: Option<f64>,
    /// Events per second that were sent.
    pub achieved_rate: f64,
    /// How many repetitions there were.
    pub repetitions: usize,
    /// Every bin that has blocks.
    pub bins: Vec<BinReport>,
    /// All blocks, whatever their bin.
    pub overall: Medians,
    /// Whether the machine was quiet enough.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The run.
    #[serde(flatten)]
    pub setting: Setting,
}

/// The copy limit.
#[derive(Debug, Serialize)]
pub struct CopyLimit {
    /// Events of this payload per second.
    pub events_per_second: f64,
    /// Their bytes per second.
    pub bytes_per_second: f64,
    /// Size of the buffer, in bytes: the ring's.
    pub buffer_bytes: usize,
    /// Its pages.
    pub pages: String,
}

/// `bench throughput --json`
#[derive(Debug, Serialize)]
pub struct ThroughputReport {
    /// Kind of channel.
    pub kind: Kind,
    /// Bytes per event.
    pub payload_bytes: usize,
    /// Events published per second, by all producers together.
    pub events_per_second: f64,
    /// Their payload bytes per second.
    pub bytes_per_second: f64,
    /// The pages of the channel.
    pub pages: String,
    /// One core copying into a buffer of the ring's size that another reads, in the same run.
    pub copy_limit: CopyLimit,
    /// Rate over the copy limit's rate, block by block; the median over blocks, then over repetitions.
    pub ratio: f64,
    /// Lowest and highest of the repetitions' ratios.
    pub ratio_range: (f64, f64),
    /// The blocks that the figures are taken from.
    pub bin: Bin,
    /// Events that were sent and checked in them.
    pub samples: u64,
    /// Producing processes.
    pub producers: usize,
    /// Consuming processes.
    pub consumers: usize,
    /// Events per call.
    pub batch: usize,
    /// Pauses after an empty receive, if the loop polls.
    pub slip: u32,
    /// How the handles waited.
    pub wait: WaitKind,
    /// How events got into the ring.
    pub send: HandOver,
    /// Bytes of the ring.
    pub capacity_bytes: usize,
    /// How many repetitions there were.
    pub repetitions: usize,
    /// Every bin that has blocks.
    pub bins: Vec<BinReport>,
    /// All blocks, whatever their bin.
    pub overall: Medians,
    /// Whether the machine was quiet enough.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The run.
    #[serde(flatten)]
    pub setting: Setting,
}

/// One core of `bench jitter --json`.
#[derive(Debug, Serialize)]
pub struct CoreReport {
    /// The core.
    pub core: usize,
    /// For how long it was watched, in ns.
    pub watched_ns: f64,
    /// How many gaps there were.
    pub gaps: u64,
    /// How many gaps there were per second.
    pub gaps_per_second: f64,
    /// The sum of all gaps, in ns.
    pub taken_ns: f64,
    /// The share of the time that was taken away.
    pub taken_share: f64,
    /// Their distribution, in ns.
    pub gap_ns: Percentiles,
    /// The longest gaps, longest first.
    pub longest: Vec<Gap>,
    /// The distribution for `--hgrm`.
    #[serde(skip)]
    pub histogram: Histogram<u64>,
}

/// `bench jitter --json`
#[derive(Debug, Serialize)]
pub struct JitterReport {
    /// Gaps below this were not counted.
    pub threshold_ns: u64,
    /// The cores.
    pub watched: Vec<CoreReport>,
    /// The run.
    #[serde(flatten)]
    pub setting: Setting,
}

/// The reported bin, its medians, all bins, and the medians of all blocks. There is at least one block.
fn binned(repetitions: &[Vec<Block>]) -> Option<(Bin, Medians, Vec<BinReport>, Medians)> {
    let bin = reported_bin(repetitions);
    let of = |bin| medians(repetitions, |block| block.bin() == bin);
    let bins =
        Bin::ALL.into_iter().filter_map(|bin| of(bin).map(|medians| BinReport { bin, medians })).collect();
    Some((bin, of(bin)?, bins, medians(repetitions, |_| true)?))
}

/// Builds the report of a latency run, and the two distributions for `--hgrm`. `None` when nothing
/// was measured.
pub fn of_latency(
    args: &LatencyArgs,
    mut run: Run,
    measured: &latency::MeasuredLatency,
    stage: &Stage,
) -> Option<(LatencyReport, Histogram<u64>, Histogram<u64>)> {
    let (bin, found, bins, overall) = binned(&measured.repetitions)?;
    let (channel, limit) = latency::distributions_of(measured, bin);
    if let Some(rate) = args.rate.filter(|rate| measured.rate < 0.98 * rate) {
        let sent = measured.rate;
        run.warnings
            .push(format!("{rate:.0} events/s were asked for, {sent:.0} were sent: the rate is too high"));
    }
    let judgement = Judgement::of(
        run.interrupts.scheduling(),
        &measured.repetitions,
        bin,
        (found.ratio, found.ratio_range),
        !args.futex_limit,
    );
    let report = LatencyReport {
        kind: args.channel.ring.kind,
        payload_bytes: args.channel.ring.payload,
        samples: channel.len(),
        rtt_ns: Percentiles::of(&channel),
        limit_rtt_ns: Percentiles::of(&limit),
        ratio: found.ratio,
        pages: stage.pages.clone(),
        bin,
        trimmed_mean_ns: (found.value, found.limit),
        ratio_range: found.ratio_range,
        mode: if args.rate.is_some() { "open-loop" } else { "ping-pong" },
        limit: if args.futex_limit { "futex" } else { "bare words" },
        wait: args.wait(),
        send: args.handles.hand_over,
        capacity_bytes: stage.capacity_bytes,
        rate: args.rate,
        achieved_rate: measured.rate,
        repetitions: args.channel.repetitions,
        bins,
        overall,
        judgement,
        setting: setting(run, ["ping", "pong"].into_iter().map(String::from)),
    };
    Some((report, channel, limit))
}

/// Builds the report of a throughput run. `None` when nothing was measured.
pub fn of_throughput(
    args: &ThroughputArgs,
    run: Run,
    measured: throughput::MeasuredThroughput,
    stage: &Stage,
) -> Option<ThroughputReport> {
    let (bin, found, bins, overall) = binned(&measured.repetitions)?;
    let bytes = args.channel.ring.payload as f64;
    let producers = (0..args.producers).map(|index| format!("producer {index}"));
    let roles = producers.chain((0..args.consumers).map(|index| format!("consumer {index}")));
    let scheduling = run.interrupts.scheduling();
    let ratios = (found.ratio, found.ratio_range);
    let judgement = Judgement::of(scheduling, &measured.repetitions, bin, ratios, false);
    Some(ThroughputReport {
        kind: args.channel.ring.kind,
        payload_bytes: args.channel.ring.payload,
        events_per_second: found.value,
        bytes_per_second: found.value * bytes,
        pages: if args.channel.ring.kind == Kind::Limit {
            measured.copy_pages.clone()
        } else {
            stage.pages.clone()
        },
        copy_limit: CopyLimit {
            events_per_second: found.limit,
            bytes_per_second: found.limit * bytes,
            buffer_bytes: stage.capacity_bytes,
            pages: measured.copy_pages,
        },
        ratio: found.ratio,
        ratio_range: found.ratio_range,
        bin,
        samples: found.events,
        producers: args.producers,
        consumers: args.consumers,
        batch: args.batch,
        slip: args.slip(),
        wait: args.wait(),
        send: args.handles.hand_over,
        capacity_bytes: stage.capacity_bytes,
        repetitions: args.channel.repetitions,
        bins,
        overall,
        judgement,
        setting: setting(run, roles),
    })
}

/// Builds the report of a jitter run.
pub fn of_jitter(args: &JitterArgs, run: Run, cores: Vec<CoreResult>) -> JitterReport {
    let watched = cores.into_iter().map(|result| {
        let mut gaps = histogram();
        add_counts(&mut gaps, &result.gaps);
        CoreReport {
            core: result.core,
            watched_ns: result.watched_ns,
            gaps: gaps.len(),
            gaps_per_second: gaps.len() as f64 / result.watched_ns * 1e9,
            taken_ns: result.taken_ns,
            taken_share: result.taken_ns / result.watched_ns,
            gap_ns: Percentiles::of(&gaps),
            longest: result.longest,
            histogram: gaps,
        }
    });
    let watched: Vec<CoreReport> = watched.collect();
    let roles = vec!["watcher".to_string(); watched.len()];
    JitterReport { threshold_ns: args.threshold_ns, watched, setting: setting(run, roles.into_iter()) }
}
