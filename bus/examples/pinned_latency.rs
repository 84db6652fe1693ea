//! The round trip of an event between two processes that are pinned to two processors.
//!
//! Run it with `cargo run --release --example pinned_latency`. It prints one line: the median and the best
//! of many short runs, in ns, and the processor. `railbus bench latency` measures with more care, beside the
//! limit of the machine.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use railbus::{
    Bus, ChannelOptions, Kind, Publisher, RecvError, Result, SendOptions, Start, SubscribeOptions,
    Subscriber, Wait,
};

/// Round trips of one run. Their mean is one sample.
const ROUNDS: u32 = 500;
const MEASURED_FOR: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [base, processor] = &words[..] {
        return echo(Path::new(base), processor.parse().expect("a processor"));
    }
    let allowed = sched_getaffinity(Pid::this()).expect("the processors of this process");
    let mut processors = (0..CpuSet::count()).filter(|&one| allowed.is_set(one).unwrap_or(false));
    let (Some(one), Some(other)) = (processors.next(), processors.next()) else {
        println!("no round trip: this process may run on one processor only");
        return Ok(());
    };
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "demo")?;
    let (ping, pong) = (bus.create("ping", &stream())?, bus.create("pong", &stream())?);
    let pongs = pong.subscriber(&spinning())?;
    let pings = ping.publisher(&SendOptions::default().wait(Wait::Spin))?;

    let this_program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(this_program);
    let mut echo = command.arg(base.path()).arg(other.to_string()).spawn().expect("a second process");
    pin(one);

    let measured = measure(pings, pongs); // which drops the publisher: that ends the second process
    assert!(echo.wait().expect("the second process ends").success());

    let mut samples = measured?;
    samples.sort_unstable();
    let (median, best) = (samples[samples.len() / 2], samples[0]);
    let build = if cfg!(debug_assertions) { ", not optimised" } else { "" };
    println!(
        "round trip {median} ns (best {best} ns) between processors {one} and {other} of {}{build}",
        model()
    );
    Ok(())
}

/// The nanoseconds of a round trip, again and again. Each is the mean of [`ROUNDS`].
fn measure(mut pings: Publisher, mut pongs: Subscriber) -> Result<Vec<u128>> {
    let mut round_trips = |rounds| -> Result<Duration> {
        let started = Instant::now();
        for round in 0..rounds {
            pings.publish_pod(&u64::from(round))?;
            assert_eq!(pongs.recv()?.pod(), Some(u64::from(round)));
        }
        Ok(started.elapsed() / rounds)
    };
    round_trips(1)?; // until the second process is there
    let mut samples = Vec::new();
    let until = Instant::now() + MEASURED_FOR;
    while Instant::now() < until {
        samples.push(round_trips(ROUNDS)?.as_nanos());
    }
    Ok(samples)
}

/// The second process: sends every event back.
fn echo(base: &Path, processor: usize) -> Result<()> {
    pin(processor);
    let bus = Bus::at(base, "demo")?;
    let mut pings = bus.attach("ping")?.subscriber(&spinning())?;
    let mut pongs = bus.attach("pong")?.publisher(&SendOptions::default().wait(Wait::Spin))?;
    loop {
        match pings.recv() {
            Ok(event) => pongs.publish(event.payload())?,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
    }
}

fn stream() -> ChannelOptions {
    ChannelOptions::new(Kind::Stream).capacity_bytes(64 << 10)
}

/// Polls without a pause, from the first event on, until the publisher has left.
fn spinning() -> SubscribeOptions {
    SubscribeOptions::default().start(Start::Oldest).wait(Wait::Spin).until_closed(true)
}

fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor).expect("a processor's number");
    sched_setaffinity(Pid::from_raw(0), &set).expect("this process may run there");
}

/// The kernel's name for the processor, or the architecture where it has none.
fn model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or(std::env::consts::ARCH, |(_, name)| name).to_owned()
}
