//! How fast a channel is recorded: publishes as fast as gating allows, with a recorder in the same
//! process, and waits until all of it is written and durable.
//!
//! `cargo run --release -p railbus-benches --example journal_record -- DIR [BYTES] [MiB]
//! [stream|topic|queue] [always|never]`
//!
//! Prints the rate at which events were published, written and made durable, the processor time
//! used (CPU seconds of the whole process for each GB), and that nothing is missing.

use std::time::{Duration, Instant};

use railbus::{Bus, ChannelOptions, Kind, Recorder, RecorderOptions, SendOptions, SyncPolicy};

const LONG: Duration = Duration::from_secs(300);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let directory = words.next().ok_or("name a directory on the disk to be measured")?;
    let bytes: usize = words.next().map_or(Ok(64), |word| word.parse())?;
    let mib: usize = words.next().map_or(Ok(1024), |word| word.parse())?;
    let kind: Kind = words.next().as_deref().unwrap_or("stream").parse()?;
    let sync = match words.next().as_deref() {
        Some("never") => SyncPolicy::Never,
        _ => SyncPolicy::Always,
    };
    let base = tempfile::tempdir_in("/dev/shm")?;
    let disk = tempfile::tempdir_in(&directory)?;
    let options = match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(16 << 20),
        _ => ChannelOptions::new(kind)
            .slots(1 << 16)
            .slot_bytes((bytes + 16).next_power_of_two().max(64) as u64),
    };
    let channel = Bus::at(base.path(), "bench")?.create("c", &options)?;
    let recorder = Recorder::start(&channel, disk.path(), &RecorderOptions::default().sync(sync))?;
    println!("{}", recorder.report());
    let payload = vec![0x5A; bytes];
    let count = (mib << 20) / bytes;
    let started = Instant::now();
    let used = cpu_seconds();
    let mut last = 0;
    let send = SendOptions::default();
    match kind {
        Kind::Stream => {
            let mut sender = channel.publisher(&send)?;
            for _ in 0..count {
                last = sender.publish(&payload)?;
            }
        }
        Kind::Topic => {
            let mut sender = channel.topic_publisher(&send)?;
            for _ in 0..count {
                last = sender.publish(&payload)?;
            }
        }
        Kind::Table => return Err("a table has no events".into()),
        Kind::Queue => return Err("a queue needs a worker: measure a topic, whose slots are the same".into()),
    }
    let published = started.elapsed();
    channel.wait_written(last, LONG)?;
    let written = started.elapsed();
    let durable = match sync {
        SyncPolicy::Never => None,
        _ => channel.wait_durable(last, LONG).map(|_| Some(started.elapsed()))?,
    };
    let used = cpu_seconds() - used;
    let positions = channel.journal_positions()?;
    let rate = |time: Duration| count as f64 / time.as_secs_f64() / 1e6;
    let gigabytes = (count * bytes) as f64 / 1e9;
    println!(
        "{count} events of {bytes} B: published {:.2} M/s, written {:.2} M/s ({:.2} GB/s of payload)",
        rate(published),
        rate(written),
        gigabytes / written.as_secs_f64()
    );
    if let Some(durable) = durable {
        println!("durable {:.2} M/s", rate(durable));
    }
    println!(
        "{:.2} CPU seconds a GB, {} gaps, {} recorded",
        used / gigabytes,
        positions.gaps,
        positions.events
    );
    recorder.stop()?;
    Ok(())
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
