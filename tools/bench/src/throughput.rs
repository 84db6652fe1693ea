//! `bench throughput`: events per second between pinned processes, beside one core copying to
//! another.
//!
//! ```text
//! block    bare words (2 ms) | copy limit | channel | bare words | copy limit | channel ...
//! ```
//! The first producer leads: it announces a part and how many events each producer sends in it. The
//! part ends when the last consumer has them all, so a ring is empty before and after it and every
//! event is accounted for. Producers write every byte. Consumers check every sequence number and
//! sum every word. The leader checks, over all consumers, that the number of events and the sum of
//! their tags are those that were sent. The copy limit and the bare words run between the first
//! producer and the first consumer.

use std::sync::atomic::Ordering;

use railbus::{Error, Result};
use serde::{Deserialize, Serialize};

use super::args::{Kind, ThroughputArgs};
use super::channel::Stage;
use super::copy::{self, Copying};
use super::exchange::{Received, consume, consume_in_order, produce};
use super::payload::{Payload, tag};
use super::pingpong::{Path, of_limit};
use super::plan::{Plan, Role};
use super::rings::{self, Visitor};
use super::run::Run;
use super::statistics::Block;
use super::transport::{Attempted, Chosen, Lane, Sender, Site, Transport};
use super::{limit, processes};

/// The modes of announced parts.
mod mode {
    pub(super) const BARE: u64 = 0;
    pub(super) const COPY: u64 = 1;
    pub(super) const CHANNEL: u64 = 2;
    pub(super) const FINISH: u64 = 3;
}

/// Length of the bare words' part, in ns.
const BARE_NS: f64 = 2e6;
/// The share of a block that the copy limit gets.
const COPY_SHARE: f64 = 0.3;
/// Pauses of the copy limit's reader between looks at the other side: few, because it looks rarely.
const COPY_SLIP: u32 = 16;
/// Events of the first part.
const PILOT_EVENTS: u64 = 2000;

/// The result of the leader.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeaderResult {
    /// The blocks, in order; values and limits are events per second.
    pub blocks: Vec<Block>,
    /// The pages of the copy limit's buffer.
    pub copy_pages: String,
}

/// Everything that was measured, over all repetitions.
#[derive(Debug)]
pub struct MeasuredThroughput {
    /// Per repetition: its blocks.
    pub repetitions: Vec<Vec<Block>>,
    /// The pages of the copy limit's buffer.
    pub copy_pages: String,
}

/// Supervisor: runs all repetitions.
pub fn measure(
    run: &Run,
    args: &ThroughputArgs,
    stage: impl Fn() -> Result<Stage>,
) -> Result<(MeasuredThroughput, Stage)> {
    let mut measured = MeasuredThroughput { repetitions: Vec::new(), copy_pages: String::new() };
    let repetitions = args.channel.repetitions;
    let workers = args.producers + args.consumers;
    let mut last_stage = None;
    for _ in 0..repetitions {
        drop(last_stage.take());
        let stage: &Stage = last_stage.insert(stage()?);
        let plans: Vec<Plan> = (0..workers)
            .map(|worker| {
                let (role, index) = match worker.checked_sub(args.producers) {
                    None => (Role::Producer, worker),
                    Some(index) => (Role::Consumer, index),
                };
                Plan {
                    seconds: args.common.seconds / repetitions as f64,
                    block_ns: args.channel.block_ms * 1e6,
                    kind: args.channel.ring.kind,
                    payload_bytes: args.channel.ring.payload,
                    channel: stage.channel.clone(),
                    producers: args.producers,
                    consumers: args.consumers,
                    batch: args.batch,
                    slip: args.slip(),
                    wait: args.wait(),
                    hand_over: args.handles.hand_over,
                    copy_lanes: if args.channel.ring.kind == Kind::Limit { 2 } else { 1 },
                    copy_bytes: stage.capacity_bytes,
                    ..run.plan(role, index, worker, workers)
                }
            })
            .collect();
        let arena = super::arena::create(plans[0].copy_lanes, stage.capacity_bytes)?;
        let results = processes::run(&arena, &plans, &run.interrupts, run.limit(args.common.seconds))?;
        let result: LeaderResult = results.into_iter().next().flatten().ok_or_else(no_result)?;
        measured.repetitions.push(result.blocks);
        measured.copy_pages = result.copy_pages;
    }
    last_stage.map(|stage| (measured, stage)).ok_or_else(no_result)
}

fn no_result() -> Error {
    Error::corrupt("the result of the leader", "there is none")
}

/// Worker: plays its role.
pub fn work(site: Site<'_>) -> Result<serde_json::Value> {
    rings::visit(site.plan, ThroughputWork(site)).unwrap_or_else(|| ThroughputWork(site).visit::<Copying>())
}

/// Plays a role over the transport it is called with.
struct ThroughputWork<'a>(Site<'a>);

impl Visitor for ThroughputWork<'_> {
    type Output = Result<serde_json::Value>;

    fn visit<T: Transport>(self) -> Self::Output {
        work_over::<T>(self.0)
    }
}

fn work_over<T: Transport>(site: Site<'_>) -> Result<serde_json::Value> {
    let pace = Chosen { yields: site.plan.yields, spins: site.plan.slip };
    let outcome = match (site.plan.role, site.plan.index) {
        (Role::Producer, 0) => return to_value(lead::<T>(site, pace)),
        (Role::Producer, _) => follow_producing::<T>(site, pace),
        _ => follow_consuming::<T>(site, pace, Chosen { spins: COPY_SLIP, ..pace }),
    };
    to_value(outcome)
}

fn to_value<R: Serialize>(outcome: Attempted<R>) -> Result<serde_json::Value> {
    let result = outcome.map_err(|error| *error)?;
    serde_json::to_value(result).map_err(|error| Error::corrupt("the result", error.to_string()))
}

/// Reports that part `number` is finished.
fn finish(site: Site<'_>, number: u64, received: &Received) {
    let line = &site.arena.control.workers[site.plan.worker];
    line.received.store(received.events, Ordering::Release);
    line.tag_sum.store(received.tag_sum, Ordering::Relaxed);
    line.end_ticks.store(site.plan.clock.now(), Ordering::Relaxed);
    line.finished.store(number, Ordering::Release); // FINISHED: pairs with the Acquire in `Leader::await_all`
}

/// A consumer.
fn follow_consuming<T: Transport>(site: Site<'_>, pace: Chosen, copy_pace: Chosen) -> Attempted<()> {
    let Site { plan, arena } = site;
    let mut receiver = T::receiver(site, Lane::There)?;
    let mut copy = copy::limit_receiver(site)?;
    let mut bare = Path::new(of_limit(limit::following_ends(site), plan.yields), 8);
    let payload = Payload::new(plan.payload_bytes);
    let all = plan.kind != Kind::Queue || plan.consumers == 1;
    let (mut received, mut copied) = (Received::new(all), Received::new(true));
    let mut target = 0;
    arena.meet(plan.worker, plan.workers);
    for number in 1.. {
        match arena.await_block(number, plan.yields) {
            (mode::BARE, count) if plan.index == 0 => bare.answer(count)?,
            (mode::COPY, count) if plan.index == 0 => {
                let target = copied.events + count;
                copy = consume_in_order(copy, &payload, &mut copied, target, 1, copy_pace)?;
            }
            (mode::CHANNEL, count) => {
                target += count * plan.producers as u64;
                if all && plan.producers == 1 {
                    receiver = consume_in_order(receiver, &payload, &mut received, target, plan.batch, pace)?;
                } else {
                    receiver = consume(receiver, &payload, &mut received, target, site, pace)?;
                }
            }
            (mode::FINISH, _) => break,
            _ => {}
        }
        finish(site, number, &received);
    }
    Ok(())
}

/// A producer that does not lead.
fn follow_producing<T: Transport>(site: Site<'_>, pace: Chosen) -> Attempted<()> {
    let Site { plan, arena } = site;
    let mut sender = T::sender(site, Lane::There)?;
    let payload = Payload::new(plan.payload_bytes);
    let (mut next, nothing) = (0, Received::new(true));
    arena.meet(plan.worker, plan.workers);
    for number in 1.. {
        match arena.await_block(number, plan.yields) {
            (mode::CHANNEL, count) => {
                sender = produce(sender, &payload, (plan.index, next), count, plan.batch, pace)?;
                next += count;
            }
            (mode::FINISH, _) => break,
            _ => {}
        }
        finish(site, number, &nothing);
    }
    Ok(())
}

/// The counts of the leader.
struct Leader<'a> {
    site: Site<'a>,
    /// Number of the last announced part.
    number: u64,
    /// Events that each producer has sent over the channel.
    sent: u64,
}

impl Leader<'_> {
    /// Announces a part, does the leader's share of it, waits for all, and returns its duration in
    /// ns.
    fn part(&mut self, mode: u64, count: u64, own: impl FnOnce() -> Attempted<()>) -> Attempted<f64> {
        let Site { plan, arena } = self.site;
        self.number += 1;
        let start = plan.clock.now();
        arena.announce(self.number, mode, count);
        own()?;
        self.await_all();
        let mut end = start;
        for consumer in &arena.control.workers[plan.producers..plan.workers] {
            end = end.max(consumer.end_ticks.load(Ordering::Relaxed));
        }
        Ok(plan.clock.ns(end - start).max(1.0))
    }

    /// Waits until all others have finished the announced part.
    fn await_all(&self) {
        let Site { plan, arena } = self.site;
        for worker in &arena.control.workers[1..plan.workers] {
            while worker.finished.load(Ordering::Acquire) < self.number {
                if plan.yields {
                    std::thread::yield_now();
                } else {
                    std::hint::spin_loop();
                }
            }
        }
    }

    /// Checks that all consumers together have received what all producers have sent.
    fn check_totals(&self) -> Result<()> {
        let Site { plan, arena } = self.site;
        let consumers = arena.control.workers[plan.producers..plan.workers].iter();
        let (events, tag_sum) = consumers.fold((0, 0u64), |(events, sum), worker| {
            let received = worker.received.load(Ordering::Acquire);
            (events + received, sum.wrapping_add(worker.tag_sum.load(Ordering::Relaxed)))
        });
        let copies = if plan.kind == Kind::Queue { 1 } else { plan.consumers as u64 };
        let expected =
            (self.sent * plan.producers as u64 * copies, sum_of_tags(plan.producers, self.sent, copies));
        if (events, tag_sum) == expected {
            return Ok(());
        }
        let why = format!("{} events were sent, {events} arrived, or some arrived twice", expected.0);
        Err(Error::corrupt("the channel", why))
    }
}

/// Wrapping sum of the tags of `sent` events of each producer, delivered `copies` times.
fn sum_of_tags(producers: usize, sent: u64, copies: u64) -> u64 {
    let sequences = (u128::from(sent) * u128::from(sent.saturating_sub(1)) / 2) as u64;
    (0..producers)
        .map(|producer| tag(producer, 0).wrapping_mul(sent).wrapping_add(sequences))
        .fold(0u64, u64::wrapping_add)
        .wrapping_mul(copies)
}

/// How many events fill `duration_ns` at a rate in events per second.
fn count_for(rate: f64, duration_ns: f64) -> u64 {
    ((rate * duration_ns / 1e9) as u64).clamp(64, 1 << 40)
}

/// The leader's share of a part, with an end that is `None` only after a failure.
fn produce_with<S: Sender>(
    sender: &mut Option<S>,
    payload: &Payload,
    first: u64,
    count: u64,
    batch: usize,
    pace: Chosen,
) -> Attempted<()> {
    let owned =
        sender.take().ok_or_else(|| Error::corrupt("the measurement", "it goes on after a failure"))?;
    *sender = Some(produce(owned, payload, (0, first), count, batch, pace)?);
    Ok(())
}

/// The first producer.
fn lead<T: Transport>(site: Site<'_>, pace: Chosen) -> Attempted<LeaderResult> {
    let Site { plan, arena } = site;
    let clock = plan.clock;
    let mut sender = Some(T::sender(site, Lane::There)?);
    let mut copy = Some(copy::limit_sender(site)?);
    let mut bare = Path::new(of_limit(limit::leading_ends(site), plan.yields), 8);
    let payload = Payload::new(plan.payload_bytes);
    let mut copied = 0;
    arena.meet(plan.worker, plan.workers);
    let mut leader = Leader { site, number: 0, sent: 0 };
    let mut bare_part = |leader: &mut Leader<'_>| -> Attempted<f64> {
        leader.number += 1;
        let number = leader.number;
        bare.part(BARE_NS, |count| arena.announce(number, mode::BARE, count), clock)?;
        leader.await_all();
        Ok(bare.trimmed_ns())
    };
    let mut copy_part = |leader: &mut Leader<'_>, count: u64| -> Attempted<f64> {
        let own = || produce_with(&mut copy, &payload, copied, count, 1, pace);
        let ns = leader.part(mode::COPY, count, own)?;
        copied += count;
        Ok(count as f64 / ns * 1e9)
    };
    let mut channel_part = |leader: &mut Leader<'_>, count: u64| -> Attempted<f64> {
        let first = leader.sent;
        let own = || produce_with(&mut sender, &payload, first, count, plan.batch, pace);
        let ns = leader.part(mode::CHANNEL, count, own)?;
        leader.sent += count;
        leader.check_totals()?;
        Ok((count * plan.producers as u64) as f64 / ns * 1e9)
    };
    let copy_ns = plan.block_ns * COPY_SHARE;
    let channel_ns = plan.block_ns - copy_ns;
    let (mut copy_rate, mut rate) = (0.0, 0.0);
    for pilot in 0..3 {
        // The first part warms up; the others are longer and give the rates that size the blocks.
        let count = |rate| if pilot == 0 { PILOT_EVENTS } else { count_for(rate, 2e6) };
        bare_part(&mut leader)?;
        copy_rate = copy_part(&mut leader, count(copy_rate))?;
        rate = channel_part(&mut leader, count(rate / plan.producers as f64))?;
    }
    let mut blocks = Vec::new();
    let end = clock.now().wrapping_add(clock.ticks(plan.seconds * 1e9) as u64);
    let mut before = (bare_part(&mut leader)?, copy_part(&mut leader, count_for(copy_rate, copy_ns))?);
    while blocks.is_empty() || clock.now() < end {
        let count = count_for(rate / plan.producers as f64, channel_ns);
        rate = channel_part(&mut leader, count)?;
        let after = (bare_part(&mut leader)?, copy_part(&mut leader, count_for(before.1, copy_ns))?);
        blocks.push(Block {
            bare_before_ns: before.0,
            bare_after_ns: after.0,
            value: rate,
            limit: (before.1 + after.1) / 2.0,
            events: count * plan.producers as u64,
        });
        before = after;
    }
    arena.announce(leader.number + 1, mode::FINISH, 0);
    Ok(LeaderResult { blocks, copy_pages: arena.copy_pages.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_all_tags_is_that_of_adding_them() {
        for (producers, sent, copies) in [(1, 0, 1), (1, 1, 1), (3, 100, 2), (31, 7, 4)] {
            let all =
                (0..producers).flat_map(|producer| (0..sent).map(move |sequence| tag(producer, sequence)));
            let sum = all.fold(0u64, u64::wrapping_add).wrapping_mul(copies);
            assert_eq!(sum_of_tags(producers, sent, copies), sum);
        }
    }
}
