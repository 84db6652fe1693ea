//! `bench attach`: how long it takes to open a channel that exists, and to become one of its
//! consumers.
//!
//! One pinned process opens the channel, registers a subscriber (a worker, of a queue) and drops
//! both again, over and over. Dropping is not timed. The first time, when nothing is in the
//! process's caches yet, is reported separately.

use std::fmt::Write as _;

use railbus::{Error, Result, SubscribeOptions, WorkOptions};
use serde::{Deserialize, Serialize};

use super::args::{AttachArgs, Kind, RingArgs};
use super::clock::Clock;
use super::plan::{Plan, Role};
use super::run::Run;
use super::setting::{Setting, setting};
use super::statistics::{Counts, Percentiles, add_counts, histogram, to_counts};
use super::table::{percentile_header, percentile_row};
use super::transport::{Lane, Site};
use super::{channel, processes, rings};

/// Bytes of a slot of the channel that the process attaches to.
const SLOT_BYTES: usize = 256;

/// The times that the process measured, in ns.
#[derive(Debug, Serialize, Deserialize)]
struct FoundAttach {
    first_ns: f64,
    open: Counts,
    consumer: Counts,
    all: Counts,
}

/// `bench attach --json`
#[derive(Debug, Serialize)]
pub struct AttachReport {
    /// Kind of channel.
    pub kind: Kind,
    /// Bytes of its ring.
    pub capacity_bytes: usize,
    /// The pages of the channel.
    pub pages: String,
    /// How often it was attached to.
    pub samples: u64,
    /// Opening the channel and registering a consumer, in ns.
    pub attach_ns: Percentiles,
    /// Of this, opening the channel.
    pub open_ns: Percentiles,
    /// Of this, mapping it, registering and joining.
    pub consumer_ns: Percentiles,
    /// The first time, in ns.
    pub first_attach_ns: f64,
    /// The run.
    #[serde(flatten)]
    pub setting: Setting,
}

/// Supervisor.
pub fn measure(run: Run, args: &AttachArgs) -> Result<AttachReport> {
    let slots = args.kind != Kind::Stream;
    let ring = RingArgs {
        kind: args.kind,
        payload: 8,
        capacity: (!slots).then_some(args.size),
        slots: slots.then_some(args.size / SLOT_BYTES),
        slot_bytes: slots.then_some(SLOT_BYTES),
        pages: args.pages,
    };
    let stage = channel::prepare(&ring, &[Lane::There])?;
    let plan = Plan {
        kind: args.kind,
        channel: stage.channel.clone(),
        seconds: args.common.seconds,
        ..run.plan(Role::Attacher, 0, 0, 1)
    };
    let arena = super::arena::create(0, 0)?;
    let results = processes::run(&arena, &[plan], &run.interrupts, run.limit(args.common.seconds))?;
    let found: FoundAttach = results.into_iter().next().flatten().ok_or_else(no_result)?;
    let percentiles = |counts: &Counts| {
        let mut times = histogram();
        add_counts(&mut times, counts);
        (times.len(), Percentiles::of(&times))
    };
    let (samples, attach_ns) = percentiles(&found.all);
    Ok(AttachReport {
        kind: args.kind,
        capacity_bytes: stage.capacity_bytes,
        pages: stage.pages.clone(),
        samples,
        attach_ns,
        open_ns: percentiles(&found.open).1,
        consumer_ns: percentiles(&found.consumer).1,
        first_attach_ns: found.first_ns,
        setting: setting(run, std::iter::once("attacher".to_string())),
    })
}

fn no_result() -> Error {
    Error::corrupt("the result of the attacher", "there is none")
}

/// Worker: attaches.
pub fn work(site: Site<'_>) -> Result<serde_json::Value> {
    let plan = site.plan;
    let clock = plan.clock;
    let (mut open, mut consumer, mut all) = (histogram(), histogram(), histogram());
    let mut first_ns = None;
    let end = clock.now().wrapping_add(clock.ticks(plan.seconds * 1e9) as u64);
    while first_ns.is_none() || clock.now() < end {
        let start = clock.now();
        let channel = rings::open(&plan.channel, Lane::There)?;
        let opened = clock.now();
        let attached = match plan.kind {
            Kind::Queue => timed(clock, channel.worker(&WorkOptions::default())?),
            Kind::Topic => timed(clock, channel.topic_subscriber(&SubscribeOptions::default())?),
            Kind::Stream | Kind::Limit => timed(clock, channel.subscriber(&SubscribeOptions::default())?),
        };
        let ns = |from: u64, to: u64| clock.ns(to.wrapping_sub(from));
        first_ns.get_or_insert(ns(start, attached));
        open.saturating_record(ns(start, opened).round() as u64);
        consumer.saturating_record(ns(opened, attached).round() as u64);
        all.saturating_record(ns(start, attached).round() as u64);
    }
    let found = FoundAttach {
        first_ns: first_ns.unwrap_or_default(),
        open: to_counts(&open),
        consumer: to_counts(&consumer),
        all: to_counts(&all),
    };
    serde_json::to_value(found).map_err(|error| Error::corrupt("the result", error.to_string()))
}

/// The time at which the handle was there; then drops the handle.
fn timed<H>(clock: Clock, handle: H) -> u64 {
    let now = clock.now();
    drop(handle);
    now
}

impl AttachReport {
    /// The table.
    pub fn table(&self) -> String {
        let mut out = format!(
            "attaching to a {} of {} KiB, {} times\n{}pages    {}\n\n",
            self.kind.name(),
            self.capacity_bytes / 1024,
            self.samples,
            self.setting.lines(),
            self.pages
        );
        out += &percentile_header("ns");
        out += &percentile_row("attach", "", &self.attach_ns);
        out += &percentile_row("open", "", &self.open_ns);
        out += &percentile_row("consumer", "", &self.consumer_ns);
        let _ = writeln!(out, "\nthe first time: {:.0} us", self.first_attach_ns / 1e3);
        out
    }
}
