//! The rates that the journal gets from the disk, beside those of `fio` and of a plain `write` +
//! `fdatasync`, in one run.
//!
//! `cargo run --release -p railbus-benches --example journal_disk -- [DIRECTORY [MEBIBYTES]]`: a
//! directory on the disk in question (default: the current one; everything made there is removed),
//! and the size of the file (default 1024). Three rounds, the candidates in turn within each;
//! medians, with the least and the most.
//!
//! 1. Blocks of 256 KiB, 4 and 8 in flight, over a file that was written before, one sync at the
//!    end: the journal's pipeline (io_uring, and plain calls), and fio over the same file with the
//!    same numbers.
//! 2. The same into fresh segments of 64 MiB, each made while the one before is written: the cost
//!    of zeros.
//! 3. 4 KiB made durable: one write and fdatasync after the other; and events that come every 20
//!    us, each waited for until it is durable, with one sync in flight that covers the writes
//!    before it (group commit).

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use railbus_log::disk::choose::{self as disk, Disk, DiskOptions};
use railbus_log::disk::files::{Files, segment_name};
use railbus_log::disk::lock::{Lock, PATIENCE};
use railbus_log::disk::store::{Begun, Completion, Pipeline, Store};
use railbus_log::format::{BLOCK_BYTES_MAX, BLOCKS_OFFSET, SECTOR_BYTES, SegmentHeader};
use railbus_log::stage::buffers::StageMemory;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 3;
const BLOCKS: usize = 16;
const ROTATED_BYTES: u64 = BLOCKS_OFFSET + (64 << 20);
const EVENT_EVERY: Duration = Duration::from_micros(20);
const DURABLE_FOR: Duration = Duration::from_secs(1);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| ".".into());
    let mebibytes: u64 = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let place = tempfile::tempdir_in(directory)?;
    let files = Arc::new(Files::create(place.path().join("journal"))?);
    let journal = Journal { lock: Arc::new(files.lock(PATIENCE)?), files };
    journal.files.create(&header(1, BLOCKS_OFFSET + (mebibytes << 20)), b"")?;
    sequential(&journal)?;
    rotating(&journal, mebibytes)?;
    durable(&journal)
}

struct Journal {
    lock: Arc<Lock>,
    files: Arc<Files>,
}

impl Journal {
    fn pipeline(&self, depth: usize, io_uring: bool) -> Outcome<(Disk, String)> {
        let memory = StageMemory::anonymous(BLOCKS)?;
        let pages = memory.pages();
        let options = DiskOptions { depth, io_uring, ..DiskOptions::default() };
        let (mut pipeline, report) = disk::open(&self.files, &self.lock, memory, &options)?;
        for block in 0..BLOCKS {
            pipeline.staging(block).fill(block as u8 + 1);
        }
        Ok((pipeline, format!("{report}, {pages:?} pages")))
    }

    fn segment(&self, number: u64) -> String {
        self.files.path().join(segment_name(number)).display().to_string()
    }
}

fn header(number: u64, segment_bytes: u64) -> SegmentHeader {
    SegmentHeader {
        number,
        segment_id: number,
        incarnation: 1,
        epoch: 1,
        segment_bytes,
        ..Default::default()
    }
}

fn take(pipeline: &mut Disk, ended: &mut Vec<Completion>) -> Outcome<()> {
    ended.clear();
    pipeline.complete(None, ended)?;
    match ended.iter_mut().find(|completion| completion.result.is_err()) {
        Some(failed) => Err(std::mem::replace(&mut failed.result, Ok(())).unwrap_err().into()),
        None => Ok(()),
    }
}

/// One line of the table: median, least and most.
fn line(name: &str, unit: &str, values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    println!("{name:<64} {median:>8.2} {unit} ({:.2} to {:.2})", values[0], values[values.len() - 1]);
    median
}

fn sequential(journal: &Journal) -> Outcome<()> {
    let bytes = journal.files.length(1)? - BLOCKS_OFFSET;
    for depth in [4, 8] {
        let fio = fio_line(&journal.segment(1), bytes, depth);
        let (mut ring, mut calls, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        let mut how = Vec::new();
        for _ in 0..ROUNDS {
            for (io_uring, rates) in [(true, &mut ring), (false, &mut calls)] {
                let (mut pipeline, report) = journal.pipeline(depth, io_uring)?;
                rates.push(write_over(&mut pipeline, bytes)?);
                if !how.contains(&report) {
                    how.push(report);
                }
            }
            match run_fio(&fio) {
                Ok(rate) => theirs.push(rate),
                Err(why) => println!("no fio: {why}"),
            }
        }
        println!("\n256 KiB, {depth} in flight, {} MiB written before", bytes >> 20);
        for report in how {
            println!("  {report}");
        }
        println!("  {}", fio.join(" "));
        let ours = line("the journal's pipeline", "GB/s", &mut ring);
        line("the journal's pipeline, plain calls in a thread", "GB/s", &mut calls);
        if !theirs.is_empty() {
            let theirs = line("fio", "GB/s", &mut theirs);
            println!("{:<64} {:>8.2}", "pipeline / fio", ours / theirs);
        }
    }
    Ok(())
}

/// Writes `bytes` bytes, whole blocks, into segment 1 and syncs; in GB/s.
fn write_over(pipeline: &mut Disk, bytes: u64) -> Outcome<f64> {
    let mut free: Vec<usize> = (0..pipeline.depth()).collect();
    let depth = free.len();
    let mut ended = Vec::new();
    let mut at = 0;
    let began = Instant::now();
    while at < bytes || free.len() < depth {
        while at < bytes
            && let Some(block) = free.pop()
        {
            pipeline.write(1, BLOCKS_OFFSET + at, block, BLOCK_BYTES_MAX)?;
            at += BLOCK_BYTES_MAX as u64;
        }
        take(pipeline, &mut ended)?;
        free.extend(ended.iter().filter_map(written_block));
    }
    pipeline.sync(1)?;
    take(pipeline, &mut ended)?;
    Ok(bytes as f64 / 1e9 / began.elapsed().as_secs_f64())
}

fn written_block(completion: &Completion) -> Option<usize> {
    match completion.begun {
        Begun::Write { block } => Some(block),
        _ => None,
    }
}

fn fio_line(file: &str, bytes: u64, depth: usize) -> Vec<String> {
    let text = format!(
        "fio --name=journal --filename={file} --offset={BLOCKS_OFFSET} --size={bytes} --rw=write --bs=256k \
         --iodepth={depth} --ioengine=io_uring --direct=1 --fixedbufs=1 --registerfiles=1 --end_fsync=1 \
         --output-format=json"
    );
    text.split(' ').map(str::to_owned).collect()
}

/// In GB/s, the sync at the end included.
fn run_fio(line: &[String]) -> Outcome<f64> {
    let output = Command::new(&line[0]).args(&line[1..]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let job = &answer["jobs"][0];
    // `job_runtime` (ms) includes the sync; `runtime` of the writes alone does not.
    let (bytes, ms) = (job["write"]["io_bytes"].as_f64(), job["job_runtime"].as_f64());
    match (bytes, ms) {
        (Some(bytes), Some(ms)) if ms > 0.0 => Ok(bytes / 1e6 / ms),
        _ => Err("fio's answer has no bytes and run time".into()),
    }
}

fn rotating(journal: &Journal, mebibytes: u64) -> Outcome<()> {
    let segments = mebibytes / 64;
    let (mut fresh, mut used) = (Vec::new(), Vec::new());
    let mut number = 2;
    for _ in 0..ROUNDS {
        for (rates, again) in [(&mut fresh, false), (&mut used, true)] {
            let (mut pipeline, _) = journal.pipeline(8, true)?;
            rates.push(rotate(journal, &mut pipeline, &mut number, segments, again)?);
            drop(pipeline);
            for segment in journal.files.segments()?.into_iter().filter(|&segment| segment > 1) {
                journal.files.remove(segment)?;
            }
        }
    }
    println!(
        "\n256 KiB, 8 in flight, {segments} segments of 64 MiB, each made while the one before is written"
    );
    line("filled with zeros", "GB/s", &mut fresh);
    line("used again", "GB/s", &mut used);
    Ok(())
}

/// Writes `segments` full segments and syncs each before the next; in GB/s. With `again`, segments
/// are retired when the second one after them is begun, and used again.
fn rotate(
    journal: &Journal,
    pipeline: &mut Disk,
    number: &mut u64,
    segments: u64,
    again: bool,
) -> Outcome<f64> {
    let mut ended = Vec::new();
    let depth = pipeline.depth();
    pipeline.prepare(&header(*number, ROTATED_BYTES), b"")?;
    take(pipeline, &mut ended)?;
    let mut began = Instant::now();
    for index in 0..segments {
        if index == 2 {
            began = Instant::now(); // The first two are made from nothing either way.
        }
        let segment = *number;
        *number += 1;
        pipeline.prepare(&header(*number, ROTATED_BYTES), b"")?;
        let mut free: Vec<usize> = (0..depth).collect();
        let (mut at, mut ready) = (BLOCKS_OFFSET, false);
        while at < ROTATED_BYTES || free.len() < depth || !ready {
            while at < ROTATED_BYTES
                && let Some(block) = free.pop()
            {
                pipeline.write(segment, at, block, BLOCK_BYTES_MAX)?;
                at += BLOCK_BYTES_MAX as u64;
            }
            take(pipeline, &mut ended)?;
            free.extend(ended.iter().filter_map(written_block));
            ready |= ended.iter().any(|completion| matches!(completion.begun, Begun::Prepare { .. }));
        }
        pipeline.sync(segment)?;
        take(pipeline, &mut ended)?;
        pipeline.close(segment);
        if again {
            journal.files.retire(segment, ROTATED_BYTES)?;
        } else {
            journal.files.remove(segment)?;
        }
    }
    let bytes = (segments.saturating_sub(2)) as f64 * (ROTATED_BYTES - BLOCKS_OFFSET) as f64;
    let rate = bytes / 1e9 / began.elapsed().as_secs_f64();
    *number += 1;
    Ok(rate)
}

fn durable(journal: &Journal) -> Outcome<()> {
    let mut single = [Vec::new(), Vec::new()];
    let mut group = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (times, into) in [(one_by_one(journal)?, &mut single), (group_commit(journal)?, &mut group)] {
            into[0].push(percentile(&times, 0.5));
            into[1].push(percentile(&times, 0.99));
        }
    }
    println!("\n4 KiB made durable; events every {} us", EVENT_EVERY.as_micros());
    line("p50 of one write + fdatasync after the other (O_DIRECT)", "us", &mut single[0]);
    let one = line("p99", "us", &mut single[1]);
    line("p50 from an event's arrival until it is durable, group commit", "us", &mut group[0]);
    let many = line("p99", "us", &mut group[1]);
    println!("{:<64} {:>8.2}", "p99, group commit / single", many / one);
    Ok(())
}

fn percentile(sorted_us: &[f64], part: f64) -> f64 {
    sorted_us[((sorted_us.len() - 1) as f64 * part) as usize]
}

/// In us, sorted.
fn one_by_one(journal: &Journal) -> Outcome<Vec<f64>> {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    let path = journal.segment(1);
    let file = std::fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(Path::new(&path))?;
    let memory = Aligned([7; SECTOR_BYTES]);
    let (mut times, mut at) = (Vec::new(), BLOCKS_OFFSET);
    let end = file.metadata()?.len();
    let began = Instant::now();
    while began.elapsed() < DURABLE_FOR {
        let start = Instant::now();
        file.write_all_at(&memory.0, at)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        at = if at + 2 * SECTOR_BYTES as u64 > end { BLOCKS_OFFSET } else { at + SECTOR_BYTES as u64 };
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

#[repr(align(4096))]
struct Aligned([u8; SECTOR_BYTES]);

/// Events come by the clock. Those that have come are written as one sector each time there is room
/// for a write, and a sync is begun whenever none is in flight and something was written. In us,
/// sorted.
fn group_commit(journal: &Journal) -> Outcome<Vec<f64>> {
    let (mut pipeline, _) = journal.pipeline(8, true)?;
    let end = journal.files.length(1)?;
    let mut ended = Vec::new();
    let mut at = BLOCKS_OFFSET;
    let mut times = Vec::new();
    let mut free: Vec<usize> = (0..8).collect();
    let mut in_block = vec![Vec::new(); BLOCKS];
    let (mut written, mut syncing): (Vec<Instant>, Option<Vec<Instant>>) = (Vec::new(), None);
    let began = Instant::now();
    let mut next = began;
    while began.elapsed() < DURABLE_FOR {
        let now = Instant::now();
        let mut come = Vec::new();
        while next <= now && come.len() < SECTOR_BYTES / 80 {
            come.push(next);
            next += EVENT_EVERY;
        }
        if !come.is_empty() {
            match free.pop() {
                Some(block) => {
                    pipeline.write(1, at, block, SECTOR_BYTES)?;
                    in_block[block] = come;
                    at = if at + 2 * SECTOR_BYTES as u64 > end {
                        BLOCKS_OFFSET
                    } else {
                        at + SECTOR_BYTES as u64
                    };
                }
                None => next = come[0], // They wait, and their time counts.
            }
        }
        if syncing.is_none() && !written.is_empty() {
            pipeline.sync(1)?;
            syncing = Some(std::mem::take(&mut written));
        }
        ended.clear();
        pipeline.complete(Some(Duration::ZERO), &mut ended)?;
        for completion in ended.drain(..) {
            completion.result?;
            match completion.begun {
                Begun::Write { block } => {
                    written.append(&mut in_block[block]);
                    free.push(block);
                }
                _ => times
                    .extend(syncing.take().into_iter().flatten().map(|at| at.elapsed().as_secs_f64() * 1e6)),
            }
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
