//! Act 3: a queue with two producers and two workers, of which one each is killed with SIGKILL,
//! again and again.
//!
//! Jobs are numbered by their producer. A producer counts a job in the [`super::ledger`] after it
//! is published, and a worker notes it there before it marks it as done. So at the end: every job
//! that a producer had counted must be noted; beyond that, at most the one job during which it
//! died. A job that is noted twice must have been redelivered.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use railbus::{Channel, ChannelOptions, Kind, RecvError, SendOptions, WorkOptions};
use serde::{Deserialize, Serialize};

use super::ledger::{self, DemoPace, GENERATIONS, JOBS, Ledger};
use super::part::Part;
use super::say;
use super::stage::DemoStage;
use crate::failure::{Failure, Outcome, receive_failed, send_failed};
use crate::units::time_text;

const CHANNEL: &str = "jobs";
/// Seats: the producer and the worker that live through everything, and those that are killed and
/// replaced.
const PRODUCER: usize = 0;
const WORKER: usize = 1;
const DOOMED_PRODUCER: usize = 2;
const DOOMED_WORKER: usize = 3;
/// How long survivors are watched, with a death and without.
const WATCH: Duration = Duration::from_millis(120);
/// Jobs that a worker takes before it marks any as done.
const HANDS: usize = 8;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Job {
    generation: u64,
    number: u64,
}

/// The report of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobsReport {
    jobs: u64,
}

/// The books on one generation of producers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Audit {
    /// Jobs that were handled.
    handled: u64,
    /// Of these, handled as attempt 2 or more.
    redelivered: u64,
    /// Of these, handled before as attempt 1.
    twice: u64,
}

/// Plays the act.
pub(crate) fn play(stage: &mut DemoStage, kills: usize) -> Outcome {
    stage.channel(CHANNEL, &ChannelOptions::new(Kind::Queue).slots(1024).slot_bytes(64))?;
    say(&format!(
        "\n3  A queue under fire: 2 producers, 2 workers; {kills} times one of each dies by SIGKILL in mid-flight"
    ))?;
    let file = ledger::create()?;
    let books = Ledger::open(&file)?;
    stage.start("worker", WORKER, CHANNEL, Part::JobWorker(WORKER), Some(&file))?;
    stage.start("producer", PRODUCER, CHANNEL, Part::JobProducer(PRODUCER, 0), Some(&file))?;
    let (mut quiet_ns, mut kill_ns, mut reap_ns) = (Vec::new(), Vec::new(), Vec::new());
    let kills = kills.min(GENERATIONS - 1);
    for round in 0..kills {
        let generation = round + 1;
        let role = Part::JobWorker(DOOMED_WORKER);
        let worker = stage.start("doomed worker", DOOMED_WORKER, CHANNEL, role, Some(&file))?;
        let role = Part::JobProducer(DOOMED_PRODUCER, generation);
        let producer = stage.start("doomed producer", DOOMED_PRODUCER, CHANNEL, role, Some(&file))?;
        // A process that starts takes processors away from the others, so their gaps are counted
        // only from now on.
        for _ in 0..2000 {
            if books.published(generation).load(Relaxed) > 1000 {
                break;
            }
            stage.pause(Duration::from_millis(5))?;
        }
        quiet_ns.push(watch(stage, &books, 3 * round + 1, |stage| stage.pause(WATCH))?);
        kill_ns.push(watch(stage, &books, 3 * round + 2, |stage| {
            reap_ns.push(stage.kill(producer)?);
            stage.pause(WATCH / 2)?;
            reap_ns.push(stage.kill(worker)?);
            stage.pause(WATCH / 2)
        })?);
        books.window().store(3 * round as u64 + 3, Relaxed);
    }
    books.stop().store(1, Relaxed);
    let _: Vec<JobsReport> = stage.finish()?;
    let mut all = Audit::default();
    for generation in 0..=kills {
        let audit = audit(&books, generation)?;
        all.handled += audit.handled;
        all.redelivered += audit.redelivered;
        all.twice += audit.twice;
    }
    let longest = |gaps: &[u64]| time_text(gaps.iter().copied().max().unwrap_or(0));
    let middle = |mut gaps: Vec<u64>| {
        gaps.sort_unstable();
        time_text(gaps.get(gaps.len() / 2).copied().unwrap_or(0))
    };
    say(&format!(
        "   jobs    {} published by {} producers, each handled; none lost",
        all.handled,
        kills + 1
    ))?;
    say(&format!(
        "   again   {} were in the hands of a worker when it was killed, and came to another as attempt 2",
        all.redelivered
    ))?;
    say(&format!(
        "   twice   {} of these had been handled, but not said to be done, before the kill",
        all.twice
    ))?;
    say(&format!(
        "   still   longest pause of a survivor around a kill: {} (median of {kills} rounds {})",
        longest(&kill_ns),
        middle(kill_ns.clone())
    ))?;
    say(&format!(
        "           and without a kill, in as much time: {} (median {}): processes take turns on the processors",
        longest(&quiet_ns),
        middle(quiet_ns.clone())
    ))?;
    say("   OK      nobody was waited for, nothing was lost, duplicates are marked")
}

/// Runs `scene` in a window of its own and returns the longest gap of the survivors in it, in ns.
fn watch(
    stage: &mut DemoStage,
    books: &Ledger,
    window: usize,
    scene: impl FnOnce(&mut DemoStage) -> Outcome,
) -> Result<u64, Failure> {
    books.window().store(window as u64, Relaxed);
    scene(stage)?;
    books.window().store(0, Relaxed);
    let gap = |seat| books.gap_ns(seat, window).load(Relaxed);
    Ok(gap(PRODUCER).max(gap(WORKER)))
}

/// Checks the books of one generation of producers. All processes have ended.
fn audit(books: &Ledger, generation: usize) -> Result<Audit, Failure> {
    let published = books.published(generation).load(Relaxed);
    let mut audit = Audit::default();
    for number in 0..JOBS.min(published + 1000) {
        let noted = books.handled(generation, number).load(Relaxed);
        let (first, repeats) = (u64::from(noted & 15), u64::from(noted >> 4));
        let complaint = if number < published && noted == 0 {
            "it was published, and nobody handled it"
        } else if number > published && noted != 0 {
            "it was handled, and never published"
        } else if first > 1 {
            "it was delivered twice as attempt 1"
        } else {
            audit.handled += u64::from(noted != 0);
            audit.redelivered += u64::from(repeats > 0);
            audit.twice += u64::from(repeats > 0 && first > 0);
            continue;
        };
        return Err(Failure::new(format!("act 3: job {number} of producer {generation}: {complaint}")));
    }
    Ok(audit)
}

/// A producer.
pub(crate) fn produce(channel: &Channel, seat: usize, generation: usize) -> Result<JobsReport, Failure> {
    let books = Ledger::inherited()?;
    let name = format!("producer {generation}");
    let mut producer = channel.producer(&SendOptions::default().name(name))?;
    while producer.readers() == 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
    let mut pace = DemoPace::begin(&books, seat);
    let mut number = 0;
    while books.stop().load(Relaxed) == 0 {
        if number == JOBS {
            // The books are full. The producer stays all the same: the others end when no producer
            // is left.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        producer
            .publish_pod(&Job { generation: generation as u64, number })
            .map_err(|error| send_failed(channel.name(), error))?;
        number += 1;
        books.published(generation).store(number, Relaxed);
        pace.step();
    }
    Ok(JobsReport { jobs: number })
}

/// A worker.
pub(crate) fn work(channel: &Channel, seat: usize) -> Result<JobsReport, Failure> {
    let books = Ledger::inherited()?;
    let mut worker = channel.worker(&WorkOptions::default().until_closed(true))?;
    let mut pace = DemoPace::begin(&books, seat);
    let mut jobs = 0;
    let mut hands = Vec::with_capacity(HANDS);
    loop {
        // The worker holds several jobs, so that a kill finds some that are noted and not done.
        match worker.take_ticket_timeout(Duration::MAX) {
            Ok(ticket) => hands.push(ticket),
            Err(RecvError::Closed) => return Ok(JobsReport { jobs }),
            Err(error) => return Err(receive_failed(channel.name(), error)),
        }
        while hands.len() < HANDS
            && let Some(ticket) =
                worker.take_ticket().map_err(|error| receive_failed(channel.name(), error))?
        {
            hands.push(ticket);
        }
        for &ticket in &hands {
            let job = worker.event(ticket).and_then(|event| event.pod::<Job>());
            let Some(job) = job.filter(|job| job.generation < GENERATIONS as u64 && job.number < JOBS) else {
                return Err(Failure::new(format!("event {} is no job", ticket.position())));
            };
            let note = if ticket.attempt() == 1 { 1 } else { 16 };
            books.handled(job.generation as usize, job.number).fetch_add(note, Relaxed);
        }
        jobs += hands.len() as u64;
        for ticket in hands.drain(..) {
            // Nobody evicts in the demo; a killed worker never comes here.
            let _ = worker.done(ticket);
        }
        pace.step();
    }
}
