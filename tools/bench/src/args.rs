//! The command line of `railbus bench`, and the checks of it that need no measurement.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use railbus::{Error, Result};
use serde::{Deserialize, Serialize};

use super::arena::MAX_WORKERS;
use super::payload;
use super::topology::{self, allowed_cores};

/// Measure latency, throughput or jitter on this machine, beside its physical limit
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// The measurement.
    #[command(subcommand)]
    pub measure: Measure,
}

/// The measurement.
#[derive(Debug, Clone, Subcommand)]
pub enum Measure {
    /// Round trip between two pinned processes, beside the round trip of two bare words
    Latency(LatencyArgs),
    /// Events per second, beside one core copying into a buffer that another core reads
    Throughput(ThroughputArgs),
    /// Round trip between two processes that sleep while they wait, beside a bare futex ping-pong
    Wake(WakeArgs),
    /// How long it takes to attach to a channel that exists
    Attach(AttachArgs),
    /// Processor time of a consumer while no events come
    Idle(IdleArgs),
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

/// How the handles wait, for an event or for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitKind {
    /// Poll without end, in publish, recv and take
    Spin,
    /// Poll a little, then give the core away between polls
    Yield,
    /// Poll a little, then sleep until woken
    Park,
    /// Call try_publish, try_recv and try_take in a loop
    Poll,
}

impl WaitKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            WaitKind::Spin => "spin",
            WaitKind::Yield => "yield",
            WaitKind::Park => "park",
            WaitKind::Poll => "poll",
        }
    }
}

/// How an event gets into the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandOver {
    /// publish(&[u8]): a copy of bytes whose number the compiler does not know
    Copy,
    /// claim, write in place, commit
    Claim,
    /// publish_pod: a copy of a plain type (payloads of 8, 16, 32, 48, 56, 64, 128 or 256 bytes)
    Pod,
}

/// The payload sizes that `--send pod` is compiled for.
pub const POD_BYTES: [usize; 8] = [8, 16, 32, 48, 56, 64, 128, 256];

/// The pages that a channel should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PagesWanted {
    /// Huge pages if the system has them and the ring fills one, otherwise ordinary ones
    Auto,
    /// Ordinary ones
    Ordinary,
    /// Huge ones, or an error
    Huge,
}

/// The options of all measurements.
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

/// The channel that is measured.
#[derive(Debug, Clone, Args)]
pub struct RingArgs {
    /// Kind of channel
    #[arg(long, value_enum, default_value_t = Kind::Stream)]
    pub kind: Kind,
    /// Bytes per event
    #[arg(long, value_name = "BYTES", default_value_t = 8)]
    pub payload: usize,
    /// Size of the ring in bytes (stream), such as 4MiB [default: 256KiB, or 8 events if they are
    /// larger]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub capacity: Option<usize>,
    /// Slots of the ring (queue, topic) [default: 256KiB of them, within 64 and 1024]
    #[arg(long, value_name = "N")]
    pub slots: Option<usize>,
    /// Size of a slot in bytes (queue, topic) [default: the smallest that holds the payload]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub slot_bytes: Option<usize>,
    /// Pages of the ring
    #[arg(long, value_enum, default_value_t = PagesWanted::Auto)]
    pub pages: PagesWanted,
}

/// How measurements between processes are divided, and the channel they run over.
#[derive(Debug, Clone, Args)]
pub struct ChannelArgs {
    /// The channel.
    #[command(flatten)]
    pub ring: RingArgs,
    /// Repetitions, each with new processes and a new channel
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repetitions: usize,
    /// Length of a block: one measurement of the channel and of the limit; on a busy machine, short
    /// ones (3) lie between preemptions more often
    #[arg(long, value_name = "MS", default_value_t = 40.0)]
    pub block_ms: f64,
}

/// How the handles are used.
#[derive(Debug, Clone, Args)]
pub struct HandleArgs {
    /// How to wait, for an event or for room [default: spin; poll with --rate]
    #[arg(long, value_name = "HOW", value_enum)]
    pub wait: Option<WaitKind>,
    /// How an event gets into the ring
    #[arg(long = "send", value_name = "HOW", value_enum, default_value_t = HandOver::Copy)]
    pub hand_over: HandOver,
}

/// `bench latency`
#[derive(Debug, Clone, Args)]
pub struct LatencyArgs {
    /// The channel.
    #[command(flatten)]
    pub channel: ChannelArgs,
    /// The handles.
    #[command(flatten)]
    pub handles: HandleArgs,
    /// The options of all measurements.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Open loop: send N events per second and measure from the moment each was due [default:
    /// ping-pong]
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// Write the distribution in HdrHistogram's text format, and the limit's to FILE with .limit.hgrm
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Record the events of the way there at the same time, in a journal of its own below DIR that
    /// is removed afterwards; compare with a run without. It needs a third core, or it slows the
    /// channel
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// Whether the limit is a futex ping-pong: `bench wake`.
    #[arg(skip)]
    pub futex_limit: bool,
}

/// `bench wake`
#[derive(Debug, Clone, Args)]
pub struct WakeArgs {
    /// The channel.
    #[command(flatten)]
    pub channel: ChannelArgs,
    /// The options of all measurements.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Write the distribution in HdrHistogram's text format, and the limit's to FILE with .limit.hgrm
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
}

/// `bench attach`
#[derive(Debug, Clone, Args)]
pub struct AttachArgs {
    /// Kind of channel
    #[arg(long, value_enum, default_value_t = Kind::Stream)]
    pub kind: Kind,
    /// Bytes of the ring
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "64MiB")]
    pub size: usize,
    /// Pages of the ring
    #[arg(long, value_enum, default_value_t = PagesWanted::Auto)]
    pub pages: PagesWanted,
    /// The options of all measurements.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `bench idle`
#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Kind of channel
    #[arg(long, value_enum, default_value_t = Kind::Stream)]
    pub kind: Kind,
    /// How the consumer waits
    #[arg(long, value_enum, default_value_t = WaitKind::Park)]
    pub wait: WaitKind,
    /// The options of all measurements.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `bench throughput`
#[derive(Debug, Clone, Args)]
pub struct ThroughputArgs {
    /// The channel.
    #[command(flatten)]
    pub channel: ChannelArgs,
    /// The handles.
    #[command(flatten)]
    pub handles: HandleArgs,
    /// The options of all measurements.
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
    /// Pauses of a consumer that polls after an empty poll; more lets the producer run ahead
    /// [default: 0, because the handles pause by themselves; 64 for the limit]
    #[arg(long, value_name = "N")]
    pub slip: Option<u32>,
}

/// `bench jitter`
#[derive(Debug, Clone, Args)]
pub struct JitterArgs {
    /// The options of all measurements.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Gaps below this are not counted
    #[arg(long, value_name = "NS", default_value_t = 1000)]
    pub threshold_ns: u64,
    /// Write the distribution of the gaps in HdrHistogram's text format; with several cores, to
    /// FILE with .coreN.hgrm
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
    /// Checks the time and returns the cores for `wanted` processes, in the order of their roles.
    /// If there are fewer cores than processes, the processes share cores, and the second value is
    /// true.
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
    /// Checks everything that does not depend on the machine.
    pub fn check(&self) -> Result<()> {
        range("--repetitions", self.repetitions, 1, 1000)?;
        range("--block-ms", self.block_ms, 1.0, 1000.0)?;
        self.ring.check()
    }
}

impl RingArgs {
    /// The defaults for a kind.
    pub fn of(kind: Kind) -> RingArgs {
        let pages = PagesWanted::Auto;
        RingArgs { kind, payload: 8, capacity: None, slots: None, slot_bytes: None, pages }
    }

    /// Checks everything that does not depend on the machine. The channel itself checks for powers
    /// of two.
    pub fn check(&self) -> Result<()> {
        range("--payload", self.payload, payload::MIN_BYTES, 64 << 20)?;
        if let Some(bytes) = self.capacity {
            range("--capacity", bytes, 4096, 1 << 36)?;
        }
        if let Some(slots) = self.slots {
            range("--slots", slots, 2, 1 << 30)?;
        }
        let slotted = matches!(self.kind, Kind::Queue | Kind::Topic);
        if self.capacity.is_some() && slotted {
            return Err(Error::invalid(
                "--capacity",
                "a queue or topic is sized by --slots and --slot-bytes",
            ));
        }
        if (self.slots.is_some() || self.slot_bytes.is_some()) && !slotted {
            return Err(Error::invalid(
                "--slots, --slot-bytes",
                "a stream, and the limit, are sized by --capacity",
            ));
        }
        if slotted && self.slot_bytes.is_none() && self.payload > SLOT_PAYLOAD_MAX {
            let why = format!("an event of a queue or topic has at most {SLOT_PAYLOAD_MAX} bytes");
            return Err(Error::invalid(format!("--payload {}", self.payload), why));
        }
        if let Some(slot_bytes) = self.slot_bytes {
            range("--slot-bytes", slot_bytes, 64, SLOT_PAYLOAD_MAX + 16)?;
            range("--payload", self.payload, payload::MIN_BYTES, slot_bytes - 16)?;
        }
        if self.kind == Kind::Limit && self.pages != PagesWanted::Auto {
            return Err(Error::invalid("--pages with --kind limit", "the limit has no channel"));
        }
        Ok(())
    }
}

/// The largest payload of a slot ring: a slot of 1 MiB without its header.
const SLOT_PAYLOAD_MAX: usize = (1 << 20) - 16;

impl HandleArgs {
    /// Checks the combination.
    pub fn check(&self, ring: &RingArgs) -> Result<()> {
        if ring.kind == Kind::Limit && (self.wait, self.hand_over) != (None, HandOver::Copy) {
            return Err(Error::invalid("--wait, --send with --kind limit", "the limit has no handles"));
        }
        if self.wait == Some(WaitKind::Poll) && self.hand_over != HandOver::Copy {
            return Err(Error::invalid("--wait poll", "it is compiled for --send copy only"));
        }
        if self.hand_over == HandOver::Pod && !POD_BYTES.contains(&ring.payload) {
            let why = format!("it is compiled for payloads of {POD_BYTES:?} bytes only");
            return Err(Error::invalid("--send pod", why));
        }
        Ok(())
    }
}

impl WakeArgs {
    /// The same as a latency run.
    pub fn as_latency(&self) -> Result<LatencyArgs> {
        if self.channel.ring.kind == Kind::Limit {
            return Err(Error::invalid("--kind limit", "the futex ping-pong is measured beside each kind"));
        }
        Ok(LatencyArgs {
            channel: self.channel.clone(),
            handles: HandleArgs { wait: Some(WaitKind::Park), hand_over: HandOver::Copy },
            common: self.common.clone(),
            rate: None,
            hgrm: self.hgrm.clone(),
            journal: None,
            futex_limit: true,
        })
    }
}

impl AttachArgs {
    /// Checks everything that does not depend on the machine.
    pub fn check(&self) -> Result<()> {
        check_is_ring(self.kind)?;
        range("--size", self.size, 16 << 10, 1 << 36)?;
        if !self.size.is_power_of_two() {
            return Err(Error::invalid(format!("--size {}", self.size), "expected a power of two"));
        }
        Ok(())
    }
}

impl IdleArgs {
    /// Checks everything that does not depend on the machine.
    pub fn check(&self) -> Result<()> {
        check_is_ring(self.kind)?;
        match self.wait {
            WaitKind::Poll => Err(Error::invalid("--wait poll", "a loop of one's own costs what it costs")),
            _ => Ok(()),
        }
    }
}

fn check_is_ring(kind: Kind) -> Result<()> {
    match kind {
        Kind::Limit => Err(Error::invalid("--kind limit", "it has no channel to attach to")),
        _ => Ok(()),
    }
}

impl LatencyArgs {
    /// How the handles wait.
    pub fn wait(&self) -> WaitKind {
        self.handles.wait.unwrap_or(if self.rate.is_some() { WaitKind::Poll } else { WaitKind::Spin })
    }

    /// Checks the combination.
    pub fn check(&self) -> Result<()> {
        self.channel.check()?;
        self.handles.check(&self.channel.ring)?;
        if let Some(rate) = self.rate {
            range("--rate", rate, 100.0, 1e9)?;
            if self.wait() != WaitKind::Poll {
                let why = "an open loop sends while it waits for answers; it needs --wait poll";
                return Err(Error::invalid(format!("--rate with --wait {}", self.wait().name()), why));
            }
            if self.handles.hand_over != HandOver::Copy {
                return Err(Error::invalid("--rate", "an open loop is compiled for --send copy only"));
            }
            if self.channel.ring.kind == Kind::Limit {
                let why = "the bare words hold one event at a time; an open loop needs a ring";
                return Err(Error::invalid("--rate with --kind limit", why));
            }
        }
        if self.channel.ring.kind == Kind::Limit && self.journal.is_some() {
            return Err(Error::invalid("--journal with --kind limit", "the limit has no channel to record"));
        }
        if self.channel.ring.kind == Kind::Limit && self.channel.ring.payload != 8 {
            return Err(Error::invalid("--payload with --kind limit", "a bare word has 8 bytes"));
        }
        Ok(())
    }
}

impl ThroughputArgs {
    /// How the handles wait.
    pub fn wait(&self) -> WaitKind {
        self.handles.wait.unwrap_or(WaitKind::Spin)
    }

    /// Pauses of a consumer that polls.
    pub fn slip(&self) -> u32 {
        self.slip.unwrap_or(if self.channel.ring.kind == Kind::Limit { 64 } else { 0 })
    }

    /// Checks the combination.
    pub fn check(&self) -> Result<()> {
        self.channel.check()?;
        self.handles.check(&self.channel.ring)?;
        range("--producers", self.producers, 1, MAX_WORKERS - 1)?;
        range("--consumers", self.consumers, 1, MAX_WORKERS - self.producers)?;
        range("--batch", self.batch, 1, 1 << 20)?;
        range("--slip", self.slip.unwrap_or(0), 0, 1_000_000)?;
        let bytes = self.channel.ring.payload.saturating_mul(self.batch);
        range("--batch times --payload: bytes", bytes, 0, 1 << 30)?;
        if self.batch > 1 && self.handles.hand_over != HandOver::Copy {
            return Err(Error::invalid("--batch", "batches are published by copy: use --send copy"));
        }
        if self.consumers > 1 && self.wait() == WaitKind::Park && self.channel.ring.kind == Kind::Queue {
            let why = "a worker that sleeps does not see that the others have taken the last event of a part";
            return Err(Error::invalid("--wait park with several workers", why));
        }
        match self.channel.ring.kind {
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

    /// The complaint about a command line that clap accepts.
    fn complaint(line: &str) -> String {
        let result = match parse(line).expect(line) {
            Measure::Latency(args) => args.check().and_then(|()| args.common.check(2).map(drop)),
            Measure::Throughput(args) => {
                args.check().and_then(|()| args.common.check(args.producers + args.consumers).map(drop))
            }
            Measure::Wake(args) => args.as_latency().and_then(|args| args.check()),
            Measure::Attach(args) => args.check(),
            Measure::Idle(args) => args.check(),
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
        assert_eq!(
            (args.channel.ring.kind, args.channel.ring.payload, args.common.json),
            (Kind::Stream, 8, true)
        );
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
            ("latency --kind limit --journal x", "--journal"),
            ("latency --seconds 0", "--seconds 0"),
            ("latency --seconds NaN", "--seconds NaN"),
            ("latency --cores 9999", "core 9999"),
            ("latency --repetitions 0", "--repetitions"),
            ("latency --kind queue --capacity 1MiB", "--slots"),
            ("latency --kind stream --slots 64", "--capacity"),
            ("throughput --kind stream --producers 2", "one publisher"),
            ("throughput --kind queue --producers 31 --consumers 2", "--consumers"),
            ("latency --kind topic --payload 2000000", "at most 1048560"),
            ("latency --kind queue --payload 100 --slot-bytes 64", "--payload 100"),
            ("latency --kind stream --slot-bytes 64", "--capacity"),
            ("latency --kind limit --wait park", "no handles"),
            ("latency --send pod --payload 24", "--send pod"),
            ("latency --send claim --wait poll", "--wait poll"),
            ("latency --rate 1000 --wait spin", "--wait poll"),
            ("wake --kind limit", "futex"),
            ("attach --kind limit", "limit"),
            ("attach --size 65MiB", "power of two"),
            ("idle --wait poll", "--wait poll"),
            ("throughput --batch 0", "--batch"),
            ("throughput --batch 4 --send claim", "--send copy"),
            ("throughput --batch 1000000 --payload 65536", "--batch"),
            ("throughput --kind queue --consumers 2 --wait park", "several workers"),
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
