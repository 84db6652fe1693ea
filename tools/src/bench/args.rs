//! The command line of `railbus bench`, and what of it can be checked before anything is measured.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use railbus::error::{Error, Result};
use serde::{Deserialize, Serialize};

use super::arena::MAX_WORKERS;
use super::payload;
use super::topology::{self, allowed_cores};

/// Measure latency, throughput or jitter on this machine, beside its physical limit
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub measure: Measure,
}

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum Measure {
    /// Round trip between two pinned processes, beside the round trip of two bare words
    Latency(LatencyArgs),
    /// Events per second, beside one core copying into a buffer that another core reads
    Throughput(ThroughputArgs),
    /// How often, and for how long, each core is taken away from a running process
    Jitter(JitterArgs),
    /// One process of a measurement; started by the others only.
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// A kind of channel, or the limit itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One publisher, any number of subscribers
    Stream,
    /// Many producers, many workers
    Queue,
    /// Many publishers, many subscribers
    Topic,
    /// The physical limit against itself: shows how exact the ratios are
    Limit,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Stream => "stream",
            Kind::Queue => "queue",
            Kind::Topic => "topic",
            Kind::Limit => "limit",
        }
    }
}

/// What all measurements take.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Cores to pin the processes to, such as 0,1 or 2-5 [default: the first allowed ones]
    #[arg(long, value_name = "LIST", value_parser = parse_cores)]
    pub cores: Option<CoreList>,
    /// How long to measure, all repetitions together
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub seconds: f64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How measurements between processes are cut up, and the channel they run over.
#[derive(Debug, Clone, Args)]
pub struct ChannelArgs {
    /// Kind of channel
    #[arg(long, value_enum, default_value_t = Kind::Stream)]
    pub kind: Kind,
    /// Bytes per event
    #[arg(long, value_name = "BYTES", default_value_t = 8)]
    pub payload: usize,
    /// Repetitions, each with new processes and a new channel
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repetitions: usize,
    /// Length of a block: one measurement of the channel and of the limit
    #[arg(long, value_name = "MS", default_value_t = 40.0)]
    pub block_ms: f64,
    /// Size of the ring in bytes (stream), such as 256KiB [default: fits the caches]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub capacity: Option<usize>,
    /// Slots of the ring (queue, topic) [default: 1024, fewer when events are large]
    #[arg(long, value_name = "N")]
    pub slots: Option<usize>,
}

/// `bench latency`
#[derive(Debug, Clone, Args)]
pub struct LatencyArgs {
    /// The channel.
    #[command(flatten)]
    pub channel: ChannelArgs,
    /// What all measurements take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Open loop: send N events per second and measure from the moment each was due [default: ping-pong]
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// Write the distribution in HdrHistogram's text format, and the limit's to FILE with .limit.hgrm
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
}

/// `bench throughput`
#[derive(Debug, Clone, Args)]
pub struct ThroughputArgs {
    /// The channel.
    #[command(flatten)]
    pub channel: ChannelArgs,
    /// What all measurements take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Producing processes (a stream has one)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub producers: usize,
    /// Consuming processes: subscribers, or workers of a queue
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub consumers: usize,
    /// Events per call
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch: usize,
    /// Pauses of a consumer after it found nothing; more lets the producer run ahead
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub slip: u32,
}

/// `bench jitter`
#[derive(Debug, Clone, Args)]
pub struct JitterArgs {
    /// What all measurements take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Gaps below this are not counted
    #[arg(long, value_name = "NS", default_value_t = 1000)]
    pub threshold_ns: u64,
    /// Write the distribution of the gaps in HdrHistogram's text format; with several cores, to FILE with .coreN.hgrm
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
}

/// One process of a measurement.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Its plan, as JSON.
    pub plan: String,
}

/// A list of cores; a type of its own because the order of the cores has a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreList(pub Vec<usize>);

fn parse_cores(text: &str) -> std::result::Result<CoreList, String> {
    let list = topology::parse_list(text).filter(|list| !list.is_empty());
    list.map(CoreList).ok_or_else(|| "expected a list of cores such as 0,1 or 2-5".to_string())
}

fn parse_bytes(text: &str) -> std::result::Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: usize = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}: use B, KiB, MiB or GiB")),
    };
    let number = digits.parse::<usize>().map_err(|_| "expected a size such as 256KiB".to_string())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_string())
}

impl CommonArgs {
    /// Checks the time and returns the cores for `wanted` processes, in the order of their roles. When there are
    /// fewer cores than processes, they are shared, and the second value is true.
    pub fn check(&self, wanted: usize) -> Result<(Vec<usize>, bool)> {
        range("--seconds", self.seconds, 0.05, 3600.0)?;
        let allowed = allowed_cores()?;
        let cores = match &self.cores {
            None => allowed.into_iter().take(wanted).collect(),
            Some(CoreList(cores)) => {
                if let Some(core) = cores.iter().find(|core| !allowed.contains(core)) {
                    let why = format!(
                        "this process may run on {allowed:?} only (see taskset, cpusets, containers)"
                    );
                    return Err(Error::invalid(format!("--cores: core {core}"), why));
                }
                if cores.len() > wanted {
                    let what = format!("--cores names {} cores", cores.len());
                    return Err(Error::invalid(what, format!("this measurement has {wanted} processes")));
                }
                cores.clone()
            }
        };
        let mut distinct = cores.clone();
        distinct.sort_unstable();
        distinct.dedup();
        Ok((cores.iter().copied().cycle().take(wanted).collect(), distinct.len() < wanted))
    }
}

impl ChannelArgs {
    /// Checks what does not depend on the machine.
    pub fn check(&self) -> Result<()> {
        range("--payload", self.payload, payload::MIN_BYTES, 64 << 20)?;
        range("--repetitions", self.repetitions, 1, 1000)?;
        range("--block-ms", self.block_ms, 1.0, 1000.0)?;
        if let Some(bytes) = self.capacity {
            range("--capacity", bytes, 4096, 1 << 36)?;
        }
        if let Some(slots) = self.slots {
            range("--slots", slots, 2, 1 << 30)?;
        }
        if self.capacity.is_some() && matches!(self.kind, Kind::Queue | Kind::Topic) {
            return Err(Error::invalid("--capacity", "a queue or topic is sized by --slots"));
        }
        if self.slots.is_some() && !matches!(self.kind, Kind::Queue | Kind::Topic) {
            return Err(Error::invalid("--slots", "a stream, and the limit, are sized by --capacity"));
        }
        Ok(())
    }
}

impl LatencyArgs {
    /// Checks the combination.
    pub fn check(&self) -> Result<()> {
        self.channel.check()?;
        if let Some(rate) = self.rate {
            range("--rate", rate, 100.0, 1e9)?;
            if self.channel.kind == Kind::Limit {
                let why = "the bare words hold one event at a time; an open loop needs a ring";
                return Err(Error::invalid("--rate with --kind limit", why));
            }
        }
        if self.channel.kind == Kind::Limit && self.channel.payload != 8 {
            return Err(Error::invalid("--payload with --kind limit", "a bare word has 8 bytes"));
        }
        Ok(())
    }
}

impl ThroughputArgs {
    /// Checks the combination.
    pub fn check(&self) -> Result<()> {
        self.channel.check()?;
        range("--producers", self.producers, 1, MAX_WORKERS - 1)?;
        range("--consumers", self.consumers, 1, MAX_WORKERS - self.producers)?;
        range("--batch", self.batch, 1, 1 << 20)?;
        range("--slip", self.slip, 0, 1_000_000)?;
        match self.channel.kind {
            Kind::Stream if self.producers > 1 => {
                Err(Error::invalid("--producers", "a stream has one publisher; use a queue or a topic"))
            }
            Kind::Limit if self.producers + self.consumers > 2 => {
                Err(Error::invalid("--kind limit", "the copy limit has one producer and one consumer"))
            }
            _ => Ok(()),
        }
    }
}

/// Checks that `low <= value <= high`.
pub fn range<T: PartialOrd + std::fmt::Display>(name: &str, value: T, low: T, high: T) -> Result<()> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} {value}"), format!("expected {low} to {high}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(line: &str) -> std::result::Result<Measure, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.bench.measure).map_err(|error| error.to_string())
    }

    /// What is wrong with a line that clap accepts.
    fn complaint(line: &str) -> String {
        let result = match parse(line).expect(line) {
            Measure::Latency(args) => args.check().and_then(|()| args.common.check(2).map(drop)),
            Measure::Throughput(args) => {
                args.check().and_then(|()| args.common.check(args.producers + args.consumers).map(drop))
            }
            Measure::Jitter(args) => args.common.check(MAX_WORKERS).map(drop),
            Measure::Worker(_) => Ok(()),
        };
        let error = result.expect_err(line);
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn the_documented_lines_are_accepted() {
        let line = "latency --kind stream --payload 8 --json";
        let Ok(Measure::Latency(args)) = parse(line) else { panic!("{line}") };
        args.check().expect(line);
        assert_eq!((args.channel.kind, args.channel.payload, args.common.json), (Kind::Stream, 8, true));
        let line = "throughput --kind queue --payload 64 --producers 1 --consumers 1 --json --cores 0,1";
        let Ok(Measure::Throughput(args)) = parse(line) else { panic!("{line}") };
        args.check().expect(line);
        assert_eq!(args.common.cores, Some(CoreList(vec![0, 1])));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("latency --payload 7", "--payload 7"),
            ("latency --payload 99999999999", "--payload"),
            ("latency --rate 1", "--rate 1"),
            ("latency --rate NaN", "--rate NaN"),
            ("latency --kind limit --rate 1000", "bare words"),
            ("latency --kind limit --payload 16", "--payload"),
            ("latency --seconds 0", "--seconds 0"),
            ("latency --seconds NaN", "--seconds NaN"),
            ("latency --cores 9999", "core 9999"),
            ("latency --repetitions 0", "--repetitions"),
            ("latency --kind queue --capacity 1MiB", "--slots"),
            ("latency --kind stream --slots 64", "--capacity"),
            ("throughput --kind stream --producers 2", "one publisher"),
            ("throughput --kind queue --producers 31 --consumers 2", "--consumers"),
            ("throughput --batch 0", "--batch"),
        ] {
            let complaint = complaint(line);
            assert!(complaint.contains(named), "{line}: {complaint}");
        }
        for line in
            ["latency --cores 1-", "latency --cores x", "latency --kind ring", "throughput --capacity 4XB"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn fewer_cores_than_processes_are_shared_and_said() {
        let first = allowed_cores().expect("affinity")[0];
        let Ok(Measure::Latency(args)) = parse(&format!("latency --cores {first}")) else { panic!() };
        assert_eq!(args.common.check(2).expect("one core is enough"), (vec![first, first], true));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("256KiB"), Ok(256 << 10));
        assert_eq!(parse_bytes("4MiB"), Ok(4 << 20));
        assert_eq!(parse_bytes("512"), Ok(512));
        for bad in ["", "KiB", "1.5MiB", "-1", "4XB", "99999999999999999999", "99999999999999G"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
