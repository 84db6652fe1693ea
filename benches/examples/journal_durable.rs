//! How long an event takes from `publish` until it is durable, beside one 4 KiB `write` and
//! `fdatasync` at a time on the same disk, in turns.
//!
//! `cargo run --release -p railbus-benches --example journal_durable -- DIR [PUBLISHERS ...]`
//!
//! Each publisher of a topic publishes 64 bytes, waits until they are durable, and goes on
//! (`publish_durable`). The events of all are made durable together (group commit). One publisher
//! shows the way there and back, including two wake-ups.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use railbus::{Bus, Channel, ChannelOptions, Kind, Recorder, RecorderOptions, SendOptions};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(800);
const LONG: Duration = Duration::from_secs(60);

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let directory = words.next().ok_or("name a directory on the disk to be measured")?;
    let counts: Result<Vec<usize>, _> = words.map(|word| word.parse()).collect();
    let counts = counts.map(|counts| if counts.is_empty() { vec![1, 4, 16] } else { counts })?;
    let base = tempfile::tempdir_in("/dev/shm")?;
    let disk = tempfile::tempdir_in(&directory)?;
    let options = ChannelOptions::new(Kind::Topic).slots(1 << 12).slot_bytes(128);
    let channel = Bus::at(base.path(), "bench")?.create("c", &options)?;
    let recorder = Recorder::start(&channel, disk.path(), &RecorderOptions::default())?;
    println!("{}", recorder.report());
    let mut single = Vec::new();
    let mut groups = vec![Vec::new(); counts.len()];
    for _ in 0..ROUNDS {
        for (&publishers, group) in counts.iter().zip(&mut groups) {
            single.push(Times::of(one_by_one(&disk.path().join("single"))?));
            group.push(Times::of(together(&channel, publishers)?));
        }
    }
    println!("{:<40} {:>9} {:>9} {:>12} {:>14}", "", "p50 us", "p99 us", "events/s", "p99 / single's");
    let of_single = Times::median(&single);
    println!(
        "{:<40} {:>9.0} {:>9.0} {:>12.0}",
        "write 4 KiB, fdatasync", of_single.p50, of_single.p99, of_single.rate
    );
    for (publishers, group) in counts.iter().zip(&groups) {
        let times = Times::median(group);
        let name = format!("publish_durable, {publishers} publishers");
        let ratio = times.p99 / of_single.p99;
        println!("{name:<40} {:>9.0} {:>9.0} {:>12.0} {ratio:>14.2}", times.p50, times.p99, times.rate);
    }
    recorder.stop()?;
    Ok(())
}

/// The result of one round.
#[derive(Debug, Clone, Copy)]
struct Times {
    p50: f64,
    p99: f64,
    rate: f64,
}

impl Times {
    fn of(mut times_us: Vec<f64>) -> Times {
        times_us.sort_by(f64::total_cmp);
        let at = |part: f64| times_us[((times_us.len() - 1) as f64 * part) as usize];
        Times { p50: at(0.5), p99: at(0.99), rate: times_us.len() as f64 / ROUND.as_secs_f64() }
    }

    fn median(rounds: &[Times]) -> Times {
        let of = |field: fn(&Times) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Times { p50: of(|times| times.p50), p99: of(|times| times.p99), rate: of(|times| times.rate) }
    }
}

/// One write and sync after the other, over 16 MiB that were written before, in us.
fn one_by_one(path: &Path) -> Outcome<Vec<f64>> {
    #[repr(align(4096))]
    struct Aligned([u8; 4096]);
    let memory = Aligned([7; 4096]);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    const PAGES: u64 = 4096;
    if file.metadata()?.len() == 0 {
        for page in 0..PAGES {
            file.write_all_at(&memory.0, page * 4096)?;
        }
        file.sync_all()?;
    }
    let (mut times, began) = (Vec::new(), Instant::now());
    while began.elapsed() < ROUND {
        let start = Instant::now();
        file.write_all_at(&memory.0, times.len() as u64 % PAGES * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// Publishers that each wait for all of their events, in us.
fn together(channel: &Channel, publishers: usize) -> Outcome<Vec<f64>> {
    let one = || -> Outcome<Vec<f64>> {
        let mut sender = channel.topic_publisher(&SendOptions::default())?;
        let (mut times, began) = (Vec::new(), Instant::now());
        while began.elapsed() < ROUND {
            let start = Instant::now();
            sender.publish_durable(&[7; 64], LONG)?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..publishers).map(|_| scope.spawn(one)).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a publisher panicked")??);
        }
        Ok(all)
    })
}
