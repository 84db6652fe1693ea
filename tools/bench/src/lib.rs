//! `railbus bench`: measures latency, throughput and jitter on this machine, always beside its
//! physical limit.
//!
//! A figure without the limit of the same run says more about the machine than about the bus: cores
//! may be SMT siblings or lie in different sockets, and a hypervisor may move them every few
//! seconds. So each measurement alternates with its physical limit, in blocks of some tens of ms
//! and between the same pinned processes. The limit is two bare words bounced between the cores
//! (`limit`), or one core copying into a buffer that the other reads (`copy`). The figure that
//! can be compared between machines is `value / limit`, block by block (`statistics`).
//!
//! ```text
//! run        supervisor: arguments, clock, signals      processes   workers: started, watched, killed
//! latency    blocks of round trips (pingpong)           arena       memory shared by the workers
//! throughput blocks of events (exchange)                transport   the waist between loops and rings
//! attach     opening a channel, again and again         rings       streams, queues and topics as transports
//! idle       what waiting costs                         channel     the rings of a run, made and removed
//! jitter     gaps in the time a core gives              payload     what is written and checked
//! report     JSON; table, hgrm: for people, plotters     plan, args, clock, topology
//! ```
//! Left out: comparisons with other systems, and any judgement whether a figure is good.

#![allow(unreachable_pub, reason = "`pub` says what a file offers to the others")]

mod arena;
pub mod args;
mod attach;
mod channel;
mod clock;
mod copy;
mod exchange;
mod futex;
pub mod hgrm;
mod idle;
mod jitter;
mod judgement;
mod latency;
mod limit;
mod payload;
mod pingpong;
mod plan;
mod processes;
mod report;
mod rings;
mod run;
mod setting;
mod statistics;
mod table;
mod throughput;
mod topology;
mod transport;
mod worker;

use std::io::{ErrorKind, Write};
use std::path::Path;

use railbus::{Error, Result};
use serde::Serialize;

use self::args::{AttachArgs, BenchArgs, IdleArgs, JitterArgs, LatencyArgs, Measure, ThroughputArgs};
use self::run::Run;
use self::transport::Lane;

/// Runs `railbus bench`. Returns the exit code: 0 fine, otherwise that of the error, which was
/// printed.
///
/// Blocks for the time asked for. Call it in a thread that stays alive during that time: the
/// workers are killed when it ends.
pub fn run(args: &BenchArgs) -> u8 {
    let result = match &args.measure {
        Measure::Latency(args) => run_latency(args),
        Measure::Throughput(args) => run_throughput(args),
        Measure::Wake(args) => args.as_latency().and_then(|args| run_latency(&args)),
        Measure::Attach(args) => run_attach(args),
        Measure::Idle(args) => run_idle(args),
        Measure::Jitter(args) => run_jitter(args),
        Measure::Worker(args) => return worker::worker(args),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("railbus bench: {error}");
            error.exit_code()
        }
    }
}

fn run_latency(args: &LatencyArgs) -> Result<()> {
    args.check()?;
    let run = Run::begin(&args.common, 2)?;
    let stage = || {
        let stage = channel::prepare(&args.channel.ring, &[Lane::There, Lane::Back])?;
        match &args.journal {
            Some(directory) => stage.recorded(directory),
            None => Ok(stage),
        }
    };
    let (measured, stage) = latency::measure(&run, args, stage)?;
    let (report, channel, limit) =
        report::of_latency(args, run, &measured, &stage).ok_or_else(nothing_measured)?;
    if let Some(path) = &args.hgrm {
        hgrm::write(path, &channel)?;
        hgrm::write(&path.with_extension("limit.hgrm"), &limit)?;
    }
    warn(&report.setting.warnings);
    print(args.common.json, &report, || report.table())
}

fn run_throughput(args: &ThroughputArgs) -> Result<()> {
    args.check()?;
    let run = Run::begin(&args.common, args.producers + args.consumers)?;
    let (measured, stage) =
        throughput::measure(&run, args, || channel::prepare(&args.channel.ring, &[Lane::There]))?;
    let report = report::of_throughput(args, run, measured, &stage).ok_or_else(nothing_measured)?;
    warn(&report.setting.warnings);
    print(args.common.json, &report, || report.table())
}

fn run_attach(args: &AttachArgs) -> Result<()> {
    args.check()?;
    let report = attach::measure(Run::begin(&args.common, 1)?, args)?;
    print(args.common.json, &report, || report.table())
}

fn run_idle(args: &IdleArgs) -> Result<()> {
    args.check()?;
    let report = idle::measure(Run::begin(&args.common, 1)?, args)?;
    print(args.common.json, &report, || report.table())
}

fn run_jitter(args: &JitterArgs) -> Result<()> {
    args::range("--threshold-ns", args.threshold_ns, 50, 1_000_000_000)?;
    let cores = match &args.common.cores {
        Some(cores) => cores.0.len(),
        None => topology::allowed_cores()?.len().min(arena::MAX_WORKERS),
    };
    args::range("the number of cores", cores, 1, arena::MAX_WORKERS)?;
    let run = Run::begin(&args.common, cores)?;
    if run.shared_cores {
        return Err(Error::invalid("--cores", "a core is named twice; each is watched by one process"));
    }
    let results = jitter::measure(&run, args)?;
    let report = report::of_jitter(args, run, results);
    if let Some(path) = &args.hgrm {
        for core in &report.watched {
            let of_core = path.with_extension(format!("core{}.hgrm", core.core));
            let path: &Path = if cores == 1 { path } else { &of_core };
            hgrm::write(path, &core.histogram)?;
        }
    }
    warn(&report.setting.warnings);
    print(args.common.json, &report, || report.table())
}

fn nothing_measured() -> Error {
    Error::corrupt("the result", "there are no blocks in it")
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("railbus bench: warning: {warning}");
    }
}

fn print(json: bool, report: &impl Serialize, table: impl Fn() -> String) -> Result<()> {
    let text = if json {
        serde_json::to_string(report).map_err(|error| Error::corrupt("the report", error.to_string()))? + "\n"
    } else {
        table()
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that closes the pipe has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io("write to", "standard output", error))
        }
        _ => Ok(()),
    }
}
