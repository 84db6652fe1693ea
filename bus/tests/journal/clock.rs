//! A journal of which a part was recorded with a clock that was a year ahead: the part after it has
//! right times, and is found, replayed and judged by them.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use railbus::journal::{Item, Journal, Replay, ReplayOptions, Seek, Speed, Until};
use railbus::{Kind, Result};
use railbus_log::disk::files::Files;
use railbus_log::recover::{self as recovery, Checks};

use crate::journal_hand::Hand;

const MS: u64 = 1_000_000;
const YEAR_NS: u64 = 365 * 86_400 * 1_000 * MS;
/// Events of each run.
const RUN: u64 = 20;

/// Three runs of events a ms apart, in two segments each. The clock is a year ahead in the second.
/// Returns the times.
fn journal(directory: &Path) -> (Hand, Vec<u64>) {
    let mut hand = Hand::new(directory, Kind::Topic);
    let mut times = Vec::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that was set");
    let mut time_ns = now.as_nanos() as u64;
    for run in 0..3 {
        if run == 2 {
            // As a writer does that begins when the clock is right again.
            hand.segment.clock_step = hand.segment.number + 1;
        }
        for segment in 0..2 {
            if run + segment > 0 {
                hand.rotate();
            }
            for i in 0..RUN / 2 {
                time_ns += MS;
                hand.time_ns = time_ns + if run == 1 { YEAR_NS } else { 0 };
                times.push(hand.time_ns);
                hand.event(b"an event");
                if i % 4 == 3 {
                    hand.block();
                    hand.durable = hand.position;
                }
            }
            hand.block();
            hand.durable = hand.position;
        }
    }
    hand.seal(true);
    (hand, times)
}

fn positions(directory: &Path, options: ReplayOptions) -> Result<Vec<u64>> {
    let mut replay = Replay::new(&Journal::open(directory)?, options)?;
    let mut positions = Vec::new();
    while let Some(due) = replay.next_due()? {
        let Item::Event(event) = due.item else { panic!("{:?}", due.item) };
        positions.push(event.position);
    }
    Ok(positions)
}

#[test]
fn seeks_and_replays_by_time_are_right_behind_a_clock_that_was_ahead() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, times) = journal(directory.path());
    for checks in [Checks::QUICK, Checks::FULL] {
        let report = recovery::examine(&Files::open(directory.path())?, directory.path(), checks)?;
        assert_eq!((report.corrupt, report.end_position, report.events), (None, 3 * RUN, 3 * RUN));
    }
    let all: Vec<u64> = (0..3 * RUN).collect();
    assert_eq!(positions(directory.path(), ReplayOptions::default())?, all);
    // A seek finds the last place where the events recorded before that time end.
    for at in 0..RUN {
        for run in [0, 2] {
            let from = times[(run * RUN + at) as usize];
            let found = positions(directory.path(), ReplayOptions::default().from(Seek::Time(from)))?;
            let wanted: Vec<u64> = match run {
                0 => (at..3 * RUN).collect(),
                // From the first event of the run on, no event of it was recorded before.
                _ if at == 0 => (RUN..3 * RUN).collect(),
                _ => (2 * RUN + at..3 * RUN).collect(),
            };
            assert_eq!(found, wanted, "run {run}, event {at}");
        }
    }
    // An end in time passes over the events that were recorded with the wrong clock, and goes on
    // after them.
    let to = Some(Until::Time(times[(2 * RUN + 5) as usize]));
    let found = positions(directory.path(), ReplayOptions::default().to(to))?;
    assert_eq!(found, (0..RUN).chain(2 * RUN..2 * RUN + 5).collect::<Vec<_>>());
    let from = Seek::Time(times[2 * RUN as usize]);
    let found = positions(directory.path(), ReplayOptions::default().from(from).to(to))?;
    assert_eq!(found, (2 * RUN..2 * RUN + 5).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_replay_at_the_recorded_pace_waits_for_no_step_of_the_clock() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, _) = journal(directory.path());
    let options = ReplayOptions::default().speed(Speed::Times(1.0));
    let mut replay = Replay::new(&Journal::open(directory.path())?, options)?;
    let mut deadlines = Vec::new();
    while let Some(due) = replay.next_due()? {
        deadlines.extend(due.deadline_ns);
    }
    let runs: Vec<&[u64]> = deadlines.chunks(RUN as usize).collect();
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_eq!(run[run.len() - 1] - run[0], (RUN - 1) * MS, "{run:?}");
    }
    assert!(deadlines.iter().max() < deadlines.first().map(|first| first + 3_600_000 * MS).as_ref());
    Ok(())
}

/// Times that go back without such a segment are damage, as before.
#[test]
fn times_go_back_only_where_a_segment_says_so() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Topic);
    hand.time_ns += YEAR_NS;
    hand.event(b"an event");
    hand.block();
    hand.rotate();
    hand.time_ns -= YEAR_NS;
    hand.event(b"an event");
    hand.block();
    hand.seal(true);
    let report = recovery::examine(&Files::open(directory.path())?, directory.path(), Checks::FULL)?;
    assert_eq!(report.corrupt.map(|corruption| corruption.segment), Some(2));
    Ok(())
}
