//! Rates: one actor sends as fast as it can, and one or more receive and check every word.
//!
//! The limit is one core that copies into a buffer of 256 KiB which another reads, chunk after
//! chunk of the payload's size.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::arena::{Arena, COPY_BYTES, relax};
use crate::rival::{Result, Rival, Rx, Tx, Way};
use crate::{actors, content};

/// The time of one measured run of events, in seconds.
const RUN: f64 = 0.15;
/// The events that say how long one takes.
const WARM: u64 = 2000;

/// Measures the rate of `runs` runs, in events a second. With several readers it is the slowest
/// reader's.
pub fn measure<R: Rival<BYTES>, const BYTES: usize>(
    way: Way,
    place: &Path,
    readers: usize,
    runs: u64,
) -> Result<Vec<f64>> {
    let arena = Arena::new()?;
    let rival = R::prepare(place, 1, readers)?;
    let actors = readers as u64 + 1;
    let crowded = actors as usize > actors::processors().len();
    actors::run(way, arena, actors as usize, |actor| {
        if actor == 0 {
            arena.meet(actors, 1);
            let mut tx = rival.tx(0)?;
            send::<_, BYTES>(arena, &mut tx, actors, runs, crowded)
        } else {
            let mut rx = rival.rx(0, actor - 1)?;
            arena.meet(actors, 1);
            receive::<_, BYTES>(arena, &mut rx, actors, runs, crowded)
        }
    })?;
    drop(rival);
    let values = arena.take();
    // Each run has a rate of each reader.
    Ok(values.chunks_exact(readers).map(|run| run.iter().copied().fold(f64::MAX, f64::min)).collect())
}

fn send<T: Tx, const BYTES: usize>(
    arena: &Arena,
    tx: &mut T,
    actors: u64,
    runs: u64,
    crowded: bool,
) -> Result<()> {
    let mut payload = vec![0; BYTES];
    let mut number = 0;
    let mut burst = |count: u64| -> Result<()> {
        for _ in 0..count {
            content::fill(&mut payload, number);
            number += 1;
            let mut polls = 0;
            while !tx.try_send(&payload)? {
                polls = relax(polls, crowded);
                if polls.is_multiple_of(1 << 20) {
                    arena.check();
                }
            }
        }
        Ok(())
    };
    let start = Instant::now();
    burst(WARM)?;
    let each = start.elapsed().as_secs_f64() / WARM as f64;
    let count = ((RUN / each) as u64).clamp(500, 20_000_000);
    arena.count.0.store(count, Ordering::Release);
    arena.meet(actors, 2);
    for run in 0..runs {
        burst(count)?;
        arena.meet(actors, 3 + run);
    }
    Ok(())
}

fn receive<R: Rx, const BYTES: usize>(
    arena: &Arena,
    rx: &mut R,
    actors: u64,
    runs: u64,
    crowded: bool,
) -> Result<()> {
    let mut number = 0;
    let mut wrong = None;
    let mut until = |last: u64| -> Result<()> {
        let mut polls = 0;
        while number < last {
            let found = rx.poll(&mut |payload| {
                if !content::is_right(payload, BYTES, number) {
                    wrong.get_or_insert(number);
                }
                number += 1;
            })?;
            if !found {
                polls = relax(polls, crowded);
                if polls.is_multiple_of(1 << 20) {
                    arena.check();
                }
            }
        }
        wrong.map_or(Ok(()), |number| Err(format!("event {number} is wrong").into()))
    };
    until(WARM)?;
    arena.meet(actors, 2);
    let count = arena.count.0.load(Ordering::Acquire);
    for run in 0..runs {
        // From the first event to the last.
        let first = WARM + run * count + 1;
        until(first)?;
        let start = Instant::now();
        until(first - 1 + count)?;
        arena.push((count - 1) as f64 / start.elapsed().as_secs_f64());
        arena.meet(actors, 3 + run);
    }
    Ok(())
}

/// The limit: chunks copied on one core and read on another.
pub fn limit<const BYTES: usize>(runs: u64) -> Result<Vec<f64>> {
    let arena = Arena::new()?;
    let chunks = COPY_BYTES / BYTES;
    let laps = ((RUN * 2e9) as usize / COPY_BYTES).max(4) as u64;
    actors::run(Way::Processes, arena, 2, |actor| {
        let buffer = &arena.copies[0];
        for run in 0..runs {
            arena.meet(2, 1 + run);
            let start = Instant::now();
            for lap in run * laps..(run + 1) * laps {
                // One side is a buffer of half the size ahead of the other.
                for half in 0..2 {
                    let turn = 2 * lap + half;
                    let at = half as usize * COPY_BYTES / 16;
                    let words = &buffer[at..at + COPY_BYTES / 16];
                    if actor == 0 {
                        while turn >= 2 && arena.flags[1].0.load(Ordering::Acquire) < turn - 1 {}
                        words.iter().zip(turn..).for_each(|(word, n)| word.store(n, Ordering::Relaxed));
                        arena.flags[0].0.store(turn + 1, Ordering::Release);
                    } else {
                        while arena.flags[0].0.load(Ordering::Acquire) <= turn {}
                        let wrong = words
                            .iter()
                            .zip(turn..)
                            .fold(0, |wrong, (word, n)| wrong | (word.load(Ordering::Relaxed) ^ n));
                        if wrong != 0 {
                            return Err("the copy is wrong".into());
                        }
                        arena.flags[1].0.store(turn + 1, Ordering::Release);
                    }
                }
            }
            if actor == 1 {
                arena.push(laps as f64 * chunks as f64 / start.elapsed().as_secs_f64());
            }
        }
        Ok(())
    })?;
    Ok(arena.take())
}
