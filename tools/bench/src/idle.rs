//! `bench idle`: the cost of a consumer while no events come.
//!
//! One pinned process attaches a producer, which stays silent, and a consumer, which waits. The
//! cost is the time that the kernel charges to the process during the wait (getrusage). A parked
//! consumer costs almost nothing, a spinning one a core.

use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use railbus::{Error, RecvError, Result, SendOptions, SubscribeOptions, WorkOptions};
use serde::{Deserialize, Serialize};

use super::args::{IdleArgs, Kind, RingArgs, WaitKind};
use super::plan::{Plan, Role};
use super::run::Run;
use super::setting::{Setting, setting};
use super::transport::{Lane, Site};
use super::{channel, processes, rings};

/// The time that the kernel charged to the process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Charged {
    /// For how long it waited, in ns.
    pub waited_ns: f64,
    /// Processor time in user mode, in ns.
    pub user_ns: f64,
    /// Processor time in the kernel, in ns.
    pub system_ns: f64,
    /// How often it gave its core away by itself: each time is a sleep.
    pub sleeps: i64,
}

/// `bench idle --json`
#[derive(Debug, Serialize)]
pub struct IdleReport {
    /// Kind of channel.
    pub kind: Kind,
    /// How the consumer waited.
    pub wait: WaitKind,
    /// Share of a core that the consumer used.
    pub cpu_share: f64,
    /// How often per second it fell asleep.
    pub sleeps_per_second: f64,
    /// The charged time.
    #[serde(flatten)]
    pub charged: Charged,
    /// The pages of the channel.
    pub pages: String,
    /// The run.
    #[serde(flatten)]
    pub setting: Setting,
}

/// Supervisor.
pub fn measure(run: Run, args: &IdleArgs) -> Result<IdleReport> {
    let stage = channel::prepare(&RingArgs::of(args.kind), &[Lane::There])?;
    let plan = Plan {
        kind: args.kind,
        wait: args.wait,
        channel: stage.channel.clone(),
        seconds: args.common.seconds,
        ..run.plan(Role::Idler, 0, 0, 1)
    };
    let arena = super::arena::create(0, 0)?;
    let results = processes::run(&arena, &[plan], &run.interrupts, run.limit(args.common.seconds))?;
    let charged: Charged = results
        .into_iter()
        .next()
        .flatten()
        .ok_or_else(|| Error::corrupt("the result of the idler", "there is none"))?;
    Ok(IdleReport {
        kind: args.kind,
        wait: args.wait,
        cpu_share: (charged.user_ns + charged.system_ns) / charged.waited_ns,
        sleeps_per_second: charged.sleeps as f64 / charged.waited_ns * 1e9,
        charged,
        pages: stage.pages.clone(),
        setting: setting(run, std::iter::once("consumer".to_string())),
    })
}

/// Worker: waits.
pub fn work(site: Site<'_>) -> Result<serde_json::Value> {
    let plan = site.plan;
    let channel = rings::open(&plan.channel, Lane::There)?;
    let wait = rings::waiting(plan);
    let (sending, reading) = (SendOptions::default(), SubscribeOptions::default().wait(wait));
    let timeout = Duration::from_secs_f64(plan.seconds);
    let charged = match plan.kind {
        Kind::Queue => {
            let _silent = channel.producer(&sending)?;
            let mut worker = channel.worker(&WorkOptions::default().wait(wait))?;
            charge(site, || worker.take_timeout(timeout).map(drop))?
        }
        Kind::Topic => {
            let _silent = channel.topic_publisher(&sending)?;
            let mut subscriber = channel.topic_subscriber(&reading)?;
            charge(site, || subscriber.recv_timeout(timeout).map(drop))?
        }
        Kind::Stream | Kind::Limit => {
            let _silent = channel.publisher(&sending)?;
            let mut subscriber = channel.subscriber(&reading)?;
            charge(site, || subscriber.recv_timeout(timeout).map(drop))?
        }
    };
    serde_json::to_value(charged).map_err(|error| Error::corrupt("the result", error.to_string()))
}

/// Runs `wait`, which must time out, and returns its cost.
fn charge(site: Site<'_>, wait: impl FnOnce() -> std::result::Result<(), RecvError>) -> Result<Charged> {
    let (clock, before) = (site.plan.clock, usage()?);
    let start = clock.now();
    match wait() {
        Err(RecvError::TimedOut) => {}
        Err(error) => return Err(error.into()),
        Ok(()) => return Err(Error::corrupt("the channel", "an event came that nobody sent")),
    }
    let waited_ns = clock.ns(clock.now().wrapping_sub(start));
    let after = usage()?;
    let ns = |of: fn(&Usage) -> i64| (of(&after) - of(&before)) as f64 * 1e3;
    Ok(Charged {
        waited_ns,
        user_ns: ns(|usage| usage.user_time().num_microseconds()),
        system_ns: ns(|usage| usage.system_time().num_microseconds()),
        sleeps: after.voluntary_context_switches() - before.voluntary_context_switches(),
    })
}

fn usage() -> Result<Usage> {
    getrusage(UsageWho::RUSAGE_SELF)
        .map_err(|errno| Error::io("read the processor time of", "/proc/self", errno.into()))
}

impl IdleReport {
    /// The table.
    pub fn table(&self) -> String {
        format!(
            "an idle consumer of a {}, waiting by {}, for {:.2} s\n{}\nprocessor {:.3} % of a core ({:.0} us user, {:.0} us \
             system); {:.0} sleeps/s\n",
            self.kind.name(),
            self.wait.name(),
            self.charged.waited_ns / 1e9,
            self.setting.lines(),
            self.cpu_share * 100.0,
            self.charged.user_ns / 1e3,
            self.charged.system_ns / 1e3,
            self.sleeps_per_second
        )
    }
}
