//! `bench latency`: round trips between two pinned processes, beside those of two bare words.
//!
//! ```text
//! ping   limit | channel | limit | channel | limit ...     a block is a channel part between two limit parts
//! pong   limit | channel | limit | channel | limit ...
//! ```
//! The channel's parts are a ping-pong, or with `--rate` an open loop; the limit's are always a
//! ping-pong ([`super::pingpong`]). Samples are analysed between the parts, outside of the measured
//! time.
//!
//! For `bench wake` the limit is a futex ping-pong ([`super::futex`]), and ping rests before each
//! event so that pong is asleep. A round trip is then a wake-up there and a wake-up back. The bare
//! words get only a short part of each block, which shows how far apart the cores were.

use hdrhistogram::Histogram;
use railbus::{Error, Result};
use serde::{Deserialize, Serialize};

use super::args::LatencyArgs;
use super::channel::Stage;
use super::limit::{self, BareWords};
use super::pingpong::{self, Ends, Path, Trips};
use super::plan::{Plan, Role};
use super::rings::{self, Visitor};
use super::run::Run;
use super::statistics::{self, Bin, Block, Counts, add_counts, histogram, to_counts};
use super::transport::{Attempted, Chosen, Lane, Site, Transport};
use super::{futex, processes};

/// The modes of announced blocks.
mod mode {
    pub(super) const LIMIT: u64 = 0;
    pub(super) const CHANNEL: u64 = 1;
    pub(super) const FINISH: u64 = 2;
    pub(super) const BARE: u64 = 3;
}

/// Length of the bare words' part if the limit is not the bare words, in ns.
const BARE_NS: f64 = 2e6;
/// How long ping rests before each event of a wake-up run, in ns: many times as long as a handle
/// polls before it sleeps, and as falling asleep takes.
const REST_NS: f64 = 100e3;

/// The share of a block that the limit gets.
const LIMIT_SHARE: f64 = 0.25;

/// The result of ping.
#[derive(Debug, Serialize, Deserialize)]
pub struct PingResult {
    /// The blocks, in order.
    pub blocks: Vec<Block>,
    /// Per bin: the samples of the channel and of the limit.
    pub distributions: Vec<(Bin, Counts, Counts)>,
    /// Events per second that were sent in the channel's parts.
    pub rate: f64,
}

/// Everything that was measured, over all repetitions.
#[derive(Debug)]
pub struct MeasuredLatency {
    /// Per repetition: its blocks.
    pub repetitions: Vec<Vec<Block>>,
    /// Per bin: the distributions of the channel and of the limit.
    pub distributions: Vec<(Bin, Histogram<u64>, Histogram<u64>)>,
    /// Events per second that were sent, mean over the repetitions.
    pub rate: f64,
}

/// Supervisor: runs all repetitions.
pub fn measure(
    run: &Run,
    args: &LatencyArgs,
    stage: impl Fn() -> Result<Stage>,
) -> Result<(MeasuredLatency, Stage)> {
    let mut measured = MeasuredLatency {
        repetitions: Vec::new(),
        distributions: Bin::ALL.map(|bin| (bin, histogram(), histogram())).into(),
        rate: 0.0,
    };
    let repetitions = args.channel.repetitions;
    let mut last_stage = None;
    for _ in 0..repetitions {
        drop(last_stage.take());
        let stage = last_stage.insert(stage()?);
        let mut plan = run.plan(Role::Ping, 0, 0, 2);
        plan.seconds = args.common.seconds / repetitions as f64;
        plan.block_ns = args.channel.block_ms * 1e6;
        plan.kind = args.channel.ring.kind;
        plan.payload_bytes = args.channel.ring.payload;
        plan.rate = args.rate;
        plan.wait = args.wait();
        plan.hand_over = args.handles.hand_over;
        plan.futex_limit = args.futex_limit;
        plan.channel = stage.channel.clone();
        let pong = Plan { role: Role::Pong, worker: 1, core: run.cores[1], ..plan.clone() };
        let arena = super::arena::create(0, 0)?;
        let results = processes::run(&arena, &[plan, pong], &run.interrupts, run.limit(args.common.seconds))?;
        let result: PingResult = results.into_iter().next().flatten().ok_or_else(no_result)?;
        for (bin, channel, limit) in &result.distributions {
            if let Some((_, channel_sum, limit_sum)) = measured.distributions.iter_mut().find(|d| d.0 == *bin)
            {
                add_counts(channel_sum, channel);
                add_counts(limit_sum, limit);
            }
        }
        measured.repetitions.push(result.blocks);
        measured.rate += result.rate / repetitions as f64;
    }
    last_stage.map(|stage| (measured, stage)).ok_or_else(no_result)
}

fn no_result() -> Error {
    Error::corrupt("the result of ping", "there is none")
}

/// Worker: plays its role.
pub fn work(site: Site<'_>) -> Result<serde_json::Value> {
    rings::visit(site.plan, Work(site)).unwrap_or_else(|| Work(site).visit::<BareWords>())
}

/// Plays a role over the transport it is called with.
struct Work<'a>(Site<'a>);

impl Visitor for Work<'_> {
    type Output = Result<serde_json::Value>;

    fn visit<T: Transport>(self) -> Self::Output {
        let site = self.0;
        let pace = Chosen { yields: site.plan.yields, spins: 0 };
        match site.plan.role {
            Role::Ping => {
                let ends = (T::sender(site, Lane::There)?, T::receiver(site, Lane::Back)?);
                to_value(lead(site, Box::new(Ends::new(ends, pace))))
            }
            _ => {
                let ends = (T::sender(site, Lane::Back)?, T::receiver(site, Lane::There)?);
                to_value(follow(site, Box::new(Ends::new(ends, pace))))
            }
        }
    }
}

fn to_value<R: Serialize>(outcome: Attempted<R>) -> Result<serde_json::Value> {
    let result = outcome.map_err(|error| *error)?;
    serde_json::to_value(result).map_err(|error| Error::corrupt("the result", error.to_string()))
}

/// Ping.
fn lead(site: Site<'_>, channel: Box<dyn Trips + '_>) -> Attempted<PingResult> {
    let Site { plan, arena } = site;
    let clock = plan.clock;
    let rest_ticks = if plan.futex_limit { clock.ticks(REST_NS) } else { 0.0 };
    let bare_words = || pingpong::of_limit(limit::leading_ends(site), plan.yields);
    let limit = if plan.futex_limit {
        pingpong::of_limit(futex::leading_ends(site), plan.yields)
    } else {
        bare_words()
    };
    let mut limit = Path::new(limit, 8).with_rest(rest_ticks);
    let mut bare = plan.futex_limit.then(|| Path::new(bare_words(), 8));
    let mut channel = Path::new(channel, plan.payload_bytes).with_rest(rest_ticks);
    arena.meet(plan.worker, plan.workers);
    let limit_ns = plan.block_ns * LIMIT_SHARE;
    let channel_ns = plan.block_ns - limit_ns;
    let mut number = 0;
    let mut announce = |mode, count| {
        number += 1;
        arena.announce(number, mode, count);
    };
    for _ in 0..2 {
        // Twice, because cold caches slow the first pilot, which would make the first block short.
        limit.part(limit_ns / 10.0, |count| announce(mode::LIMIT, count), clock)?;
        channel.part(channel_ns / 10.0, |count| announce(mode::CHANNEL, count), clock)?;
    }
    // The bare round trip now: that of the limit just measured, if the limit is the bare words.
    let mut bare_ns = |limit_ns: f64, announce: &mut dyn FnMut(u64, u64)| -> Attempted<f64> {
        let Some(bare) = &mut bare else { return Ok(limit_ns) };
        bare.part(BARE_NS, |count| announce(mode::BARE, count), clock)?;
        Ok(bare.trimmed_ns())
    };
    let mut found: Vec<_> = Bin::ALL.map(|bin| (bin, histogram(), histogram())).into();
    let mut blocks = Vec::new();
    let (mut events, mut length_ns) = (0, 0.0);
    let end = clock.now().wrapping_add(clock.ticks(plan.seconds * 1e9) as u64);
    limit.part(limit_ns, |count| announce(mode::LIMIT, count), clock)?;
    let mut limit_before_ns = limit.trimmed_ns();
    let mut bare_before_ns = bare_ns(limit_before_ns, &mut announce)?;
    while blocks.is_empty() || clock.now() < end {
        let first = channel.next;
        length_ns += match plan.rate {
            None => {
                channel.part(channel_ns, |count| announce(mode::CHANNEL, count), clock)?;
                channel.round_trip_ns * (channel.next - first) as f64
            }
            Some(rate) => {
                let announce = |count| announce(mode::CHANNEL, count);
                channel.open_loop_part(rate, channel_ns, announce, clock)?
            }
        };
        events += channel.next - first;
        limit.part(limit_ns, |count| announce(mode::LIMIT, count), clock)?;
        let limit_after_ns = limit.trimmed_ns();
        let bare_after_ns = bare_ns(limit_after_ns, &mut announce)?;
        let block = Block {
            bare_before_ns,
            bare_after_ns,
            value: channel.trimmed_ns(),
            limit: (limit_before_ns + limit_after_ns) / 2.0,
            events: channel.next - first,
        };
        if let Some((_, of_channel, of_limit)) = found.iter_mut().find(|found| found.0 == block.bin()) {
            channel.record(of_channel, clock);
            limit.record(of_limit, clock);
        }
        blocks.push(block);
        (limit_before_ns, bare_before_ns) = (limit_after_ns, bare_after_ns);
    }
    announce(mode::FINISH, 0);
    let distributions = found
        .iter()
        .filter(|found| !found.1.is_empty())
        .map(|(bin, of_channel, of_limit)| (*bin, to_counts(of_channel), to_counts(of_limit)))
        .collect();
    Ok(PingResult { blocks, distributions, rate: events as f64 / length_ns * 1e9 })
}

/// Pong.
fn follow(site: Site<'_>, channel: Box<dyn Trips + '_>) -> Attempted<()> {
    let Site { plan, arena } = site;
    let bare_words = || pingpong::of_limit(limit::following_ends(site), plan.yields);
    let limit = if plan.futex_limit {
        pingpong::of_limit(futex::following_ends(site), plan.yields)
    } else {
        bare_words()
    };
    let (mut limit, mut bare) = (Path::new(limit, 8), Path::new(bare_words(), 8));
    let mut channel = Path::new(channel, plan.payload_bytes);
    arena.meet(plan.worker, plan.workers);
    for block in 1.. {
        match arena.await_block(block, plan.yields) {
            (mode::LIMIT, count) => limit.answer(count)?,
            (mode::BARE, count) => bare.answer(count)?,
            (mode::CHANNEL, count) => channel.answer(count)?,
            _ => break,
        }
    }
    Ok(())
}

/// The distributions of the blocks that are reported: those of one bin.
pub fn distributions_of(measured: &MeasuredLatency, bin: Bin) -> (Histogram<u64>, Histogram<u64>) {
    let found = measured.distributions.iter().find(|found| found.0 == bin);
    found.map_or_else(
        || (statistics::histogram(), statistics::histogram()),
        |(_, channel, limit)| (channel.clone(), limit.clone()),
    )
}
