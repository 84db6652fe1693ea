//! `bench latency`: round trips between two pinned processes, beside those of two bare words.
//!
//! ```text
//! ping   limit | channel | limit | channel | limit ...     a block is a channel part between two limit parts
//! pong   limit | channel | limit | channel | limit ...
//! ```
//! *Ping-pong*: the next event is sent when the answer to the last one was read and checked. Two thirds of a part are
//! stretches of 16 round trips with a time stamp at each end: their trimmed mean is what the ratio is made of, because
//! a stamp costs a tenth of a round trip. In the last third every round trip is stamped: these are the percentiles.
//! *Open loop* (`--rate`): events are due at
//! fixed times; each is sent when it is due or as soon after as possible, answers are read in between, and a sample is
//! the time from when the event was *due* to when its answer was read: a stall shows in all events that it delayed.
//! The limit is always a ping-pong. Samples are analysed between the parts, outside of what is measured.

use hdrhistogram::Histogram;
use railbus::error::{Error, Result};
use serde::{Deserialize, Serialize};

use super::args::{Kind, LatencyArgs};
use super::channel::Stage;
use super::clock::Clock;
use super::limit::{self, BareWords};
use super::payload::{Payload, tag};
use super::plan::{Plan, Role};
use super::processes;
use super::run::Run;
use super::statistics::{self, Bin, Block, Counts, KEPT, add_counts, histogram, to_counts, trimmed_mean};
use super::transport::{Lane, Outcome, Pace, Receiver, Sender, Site, Tight, Transport, Yield};

/// What the announced blocks are.
mod mode {
    pub(super) const LIMIT: u64 = 0;
    pub(super) const CHANNEL: u64 = 1;
    pub(super) const FINISH: u64 = 2;
}

/// The most samples of one part.
const MAX_SAMPLES: usize = 1 << 20;
/// The fewest samples of one part.
const MIN_SAMPLES: usize = 16;
/// Round trips of the first, discarded parts, which warm up and show how long one takes.
const PILOT_SAMPLES: usize = 2000;
/// The share of a block that the limit gets.
const LIMIT_SHARE: f64 = 0.25;
/// Round trips between two time stamps, where only the mean is wanted.
const STRETCH: usize = 16;
/// The share of a part in which every round trip is stamped.
const STAMPED_SHARE: f64 = 1.0 / 3.0;

/// What ping reports.
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
pub struct Measured {
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
) -> Result<(Measured, Stage)> {
    let mut measured = Measured {
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
        plan.kind = args.channel.kind;
        plan.payload_bytes = args.channel.payload;
        plan.rate = args.rate;
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
    match site.plan.kind {
        Kind::Limit => work_over::<BareWords>(site),
        kind => Err(super::channel::not_built(kind)),
    }
}

fn work_over<T: Transport>(site: Site<'_>) -> Result<serde_json::Value> {
    match (site.plan.role, site.plan.yields) {
        (Role::Ping, false) => to_value(lead::<T, _>(site, Tight)),
        (Role::Ping, true) => to_value(lead::<T, _>(site, Yield)),
        (_, false) => to_value(follow::<T, _>(site, Tight)),
        (_, true) => to_value(follow::<T, _>(site, Yield)),
    }
}

fn to_value<R: Serialize>(outcome: Outcome<R>) -> Result<serde_json::Value> {
    let result = outcome.map_err(|error| *error)?;
    serde_json::to_value(result).map_err(|error| Error::corrupt("the result", error.to_string()))
}

/// One path of events there and back, and where the leader stands on it.
pub(super) struct Path<S, R> {
    /// `None` while a loop has them: it works on its own, so that the compiler can keep them in registers.
    ends: Option<(S, R)>,
    payload: Payload,
    /// Sequence number of the next event.
    next: u64,
    /// How long a round trip took in the last part; 0 before the first.
    round_trip_ns: f64,
    /// Trimmed mean of the last part, in ns.
    trimmed_ns: f64,
    /// The stamped samples of the last part, in ticks.
    samples: Vec<u64>,
    /// How many of them are filled.
    filled: usize,
}

impl<S: Sender, R: Receiver> Path<S, R> {
    /// A path that was not used yet.
    pub(super) fn new(ends: (S, R), payload_bytes: usize) -> Path<S, R> {
        Path {
            ends: Some(ends),
            payload: Payload::new(payload_bytes),
            next: 0,
            round_trip_ns: 0.0,
            trimmed_ns: 0.0,
            // Written once now, so that no page is touched for the first time while it is measured.
            samples: vec![1; MAX_SAMPLES],
            filled: 0,
        }
    }

    /// How many stretches, and how many stamped round trips, fill `duration_ns`, judging by the last part.
    fn counts_for(&self, duration_ns: f64) -> (usize, usize) {
        if self.round_trip_ns <= 0.0 {
            return (PILOT_SAMPLES / STRETCH, PILOT_SAMPLES);
        }
        let all = duration_ns / self.round_trip_ns;
        let stamped = ((all * STAMPED_SHARE) as usize).clamp(MIN_SAMPLES, MAX_SAMPLES);
        ((((all - stamped as f64) / STRETCH as f64) as usize).clamp(1, MAX_SAMPLES), stamped)
    }

    /// Leader: a part of about `duration_ns`. `announce` tells the follower how many events to answer.
    pub(super) fn part<P: Pace>(
        &mut self,
        duration_ns: f64,
        announce: impl FnOnce(u64),
        clock: Clock,
        pace: P,
    ) -> Outcome<()> {
        let (stretches, stamped) = self.counts_for(duration_ns);
        let count = stretches * STRETCH + stamped;
        announce(count as u64);
        let begin = clock.now();
        self.ping::<P, STRETCH>(stretches, clock, pace)?;
        self.trimmed_ns =
            trimmed_mean(&mut self.samples[..stretches], KEPT) * clock.ns_per_tick / STRETCH as f64;
        self.ping::<P, 1>(stamped, clock, pace)?;
        self.filled = stamped;
        self.round_trip_ns = clock.ns(clock.now() - begin) / count as f64;
        Ok(())
    }

    /// Leader: the same as an open loop at `rate` events per second. Returns how long it took, in ns.
    fn open_loop_part<P: Pace>(
        &mut self,
        rate: f64,
        duration_ns: f64,
        announce: impl FnOnce(u64),
        clock: Clock,
        pace: P,
    ) -> Outcome<f64> {
        let count = ((rate * duration_ns / 1e9) as usize).clamp(MIN_SAMPLES, MAX_SAMPLES);
        announce(count as u64);
        let ends = self.ends.take().ok_or_else(no_ends)?;
        let samples = &mut self.samples[..count];
        let interval = clock.ticks(1e9 / rate);
        let (ends, ticks) = open_loop(ends, &self.payload, self.next, samples, interval, clock, pace)?;
        self.ends = Some(ends);
        self.next += count as u64;
        self.filled = count;
        self.trimmed_ns = trimmed_mean(&mut self.samples[..count], KEPT) * clock.ns_per_tick;
        Ok(clock.ns(ticks))
    }

    fn ping<P: Pace, const EACH: usize>(&mut self, count: usize, clock: Clock, pace: P) -> Outcome<()> {
        let ends = self.ends.take().ok_or_else(no_ends)?;
        let samples = &mut self.samples[..count];
        self.ends = Some(ping::<S, R, P, EACH>(ends, &self.payload, self.next, samples, clock, pace)?);
        self.next += (count * EACH) as u64;
        Ok(())
    }

    /// Trimmed mean of the last part, in ns.
    pub(super) fn trimmed_ns(&self) -> f64 {
        self.trimmed_ns
    }

    fn record(&self, into: &mut Histogram<u64>, clock: Clock) {
        for &ticks in &self.samples[..self.filled] {
            into.saturating_record(clock.ns(ticks).round() as u64);
        }
    }
}

fn no_ends() -> Error {
    Error::corrupt("the measurement", "it goes on after a loop has failed")
}

/// The leader's loop of a ping-pong: a sample is the time of `EACH` round trips.
#[inline(never)]
fn ping<S: Sender, R: Receiver, P: Pace, const EACH: usize>(
    ends: (S, R),
    payload: &Payload,
    first: u64,
    samples: &mut [u64],
    clock: Clock,
    pace: P,
) -> Outcome<(S, R)> {
    let (mut there, mut back) = ends;
    let mut next = tag(0, first);
    for sample in samples {
        let start = clock.now();
        for _ in 0..EACH {
            while !there.send(payload.bytes(), |event| payload.write(event, next))? {
                pace.full();
            }
            let mut answer = None;
            while !back.receive(|event| answer = payload.read(event))? {
                pace.empty();
            }
            if answer != Some(next) {
                return Err(wrong("answer", next, answer));
            }
            next += 1;
        }
        *sample = clock.now().wrapping_sub(start);
    }
    Ok((there, back))
}

/// The follower's loop: answers `count` events with the same tag.
#[inline(never)]
pub(super) fn pong<S: Sender, R: Receiver, P: Pace>(
    ends: (S, R),
    payload: &Payload,
    first: u64,
    count: u64,
    pace: P,
) -> Outcome<(S, R)> {
    let (mut back, mut there) = ends;
    for tag in tag(0, first)..tag(0, first + count) {
        let mut found = None;
        while !there.receive(|event| found = payload.read(event))? {
            pace.empty();
        }
        if found != Some(tag) {
            return Err(wrong("event", tag, found));
        }
        while !back.send(payload.bytes(), |event| payload.write(event, tag))? {
            pace.full();
        }
    }
    Ok((back, there))
}

/// The leader's loop of an open loop. Returns its ends, and its length in ticks.
#[inline(never)]
fn open_loop<S: Sender, R: Receiver, P: Pace>(
    (mut there, mut back): (S, R),
    payload: &Payload,
    first: u64,
    samples: &mut [u64],
    interval_ticks: f64,
    clock: Clock,
    pace: P,
) -> Outcome<((S, R), u64)> {
    let start = clock.now();
    let due = |event: usize| start.wrapping_add((event as f64 * interval_ticks) as u64);
    let (mut sent, mut answered) = (0, 0);
    let mut next_due = start;
    while answered < samples.len() {
        let mut idle = true;
        if sent < samples.len() && clock.now() >= next_due {
            let tag = tag(0, first + sent as u64);
            if there.send(payload.bytes(), |event| payload.write(event, tag))? {
                sent += 1;
                next_due = due(sent);
                idle = false;
            }
        }
        let mut answer = None;
        if back.receive(|event| answer = payload.read(event))? {
            samples[answered] = clock.now().saturating_sub(due(answered));
            let tag = tag(0, first + answered as u64);
            if answer != Some(tag) {
                return Err(wrong("answer", tag, answer));
            }
            answered += 1;
            idle = false;
        }
        if idle {
            pace.empty();
        }
    }
    Ok(((there, back), clock.now().wrapping_sub(start)))
}

fn wrong(what: &str, expected: u64, found: Option<u64>) -> Box<Error> {
    let found = match found {
        Some(tag) => format!("number {tag}"),
        None => "one whose bytes are not what was written".to_string(),
    };
    Box::new(Error::corrupt("the channel", format!("expected {what} number {expected}, found {found}")))
}

/// Ping.
fn lead<T: Transport, P: Pace>(site: Site<'_>, pace: P) -> Outcome<PingResult> {
    let Site { plan, arena } = site;
    let clock = plan.clock;
    let mut limit = Path::new(limit::leading_ends(site), 8);
    let ends = (T::sender(site, Lane::There)?, T::receiver(site, Lane::Back)?);
    let mut channel = Path::new(ends, plan.payload_bytes);
    arena.meet(plan.worker, plan.workers);
    let limit_ns = plan.block_ns * LIMIT_SHARE;
    let channel_ns = plan.block_ns - limit_ns;
    let mut number = 0;
    let mut announce = |mode, count| {
        number += 1;
        arena.announce(number, mode, count);
    };
    for _ in 0..2 {
        // Twice, because the first pilot is slowed by cold caches and would make the first block short.
        limit.part(limit_ns / 10.0, |count| announce(mode::LIMIT, count), clock, pace)?;
        channel.part(channel_ns / 10.0, |count| announce(mode::CHANNEL, count), clock, pace)?;
    }
    let mut found: Vec<_> = Bin::ALL.map(|bin| (bin, histogram(), histogram())).into();
    let mut blocks = Vec::new();
    let (mut events, mut length_ns) = (0, 0.0);
    let end = clock.now().wrapping_add(clock.ticks(plan.seconds * 1e9) as u64);
    limit.part(limit_ns, |count| announce(mode::LIMIT, count), clock, pace)?;
    while blocks.is_empty() || clock.now() < end {
        let bare_before_ns = limit.trimmed_ns();
        let first = channel.next;
        length_ns += match plan.rate {
            None => {
                channel.part(channel_ns, |count| announce(mode::CHANNEL, count), clock, pace)?;
                channel.round_trip_ns * (channel.next - first) as f64
            }
            Some(rate) => {
                let announce = |count| announce(mode::CHANNEL, count);
                channel.open_loop_part(rate, channel_ns, announce, clock, pace)?
            }
        };
        events += channel.next - first;
        limit.part(limit_ns, |count| announce(mode::LIMIT, count), clock, pace)?;
        let bare_after_ns = limit.trimmed_ns();
        let block = Block {
            bare_before_ns,
            bare_after_ns,
            value: channel.trimmed_ns(),
            limit: (bare_before_ns + bare_after_ns) / 2.0,
            samples: channel.next - first,
        };
        if let Some((_, of_channel, of_limit)) = found.iter_mut().find(|found| found.0 == block.bin()) {
            channel.record(of_channel, clock);
            limit.record(of_limit, clock);
        }
        blocks.push(block);
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
fn follow<T: Transport, P: Pace>(site: Site<'_>, pace: P) -> Outcome<()> {
    let Site { plan, arena } = site;
    let mut limit = limit::following_ends(site);
    let mut channel = (T::sender(site, Lane::Back)?, T::receiver(site, Lane::There)?);
    let limit_payload = Payload::new(8);
    let payload = Payload::new(plan.payload_bytes);
    arena.meet(plan.worker, plan.workers);
    let (mut limit_next, mut channel_next) = (0, 0);
    for block in 1.. {
        match arena.await_block(block, plan.yields) {
            (mode::LIMIT, count) => {
                limit = pong(limit, &limit_payload, limit_next, count, pace)?;
                limit_next += count;
            }
            (mode::CHANNEL, count) => {
                channel = pong(channel, &payload, channel_next, count, pace)?;
                channel_next += count;
            }
            _ => break,
        }
    }
    Ok(())
}

/// The distributions of the blocks that are reported: those of one bin.
pub fn distributions_of(measured: &Measured, bin: Bin) -> (Histogram<u64>, Histogram<u64>) {
    let found = measured.distributions.iter().find(|found| found.0 == bin);
    found.map_or_else(
        || (statistics::histogram(), statistics::histogram()),
        |(_, channel, limit)| (channel.clone(), limit.clone()),
    )
}
