//! Deaths: a receiver is killed while its sender sends. How long does the sender not get on, and
//! what is left when everything has ended?

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::actors::Actor;
use crate::arena::Arena;
use crate::content;
use crate::rival::{Result, Rival, Rx, Tx};

/// How long the sender is given to get on.
const PATIENCE: Duration = Duration::from_secs(3);

/// The result of a death.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Death {
    /// The longest time between two events after the kill, in ms; none if the sender did not get on.
    pub gap_ms: Option<f64>,
    /// The error that the sender got, if it got one.
    pub error: Option<String>,
    /// The files that were left, and their bytes.
    pub left: (usize, u64),
}

/// Kills the receiver of a lane after 200 ms of sending.
pub fn measure<R: Rival<BYTES>, const BYTES: usize>(place: &Path) -> Result<Death> {
    let arena = Arena::new()?;
    let before = shared_files();
    let rival = R::prepare(place, 1, 1)?;
    let receiver = Actor::fork(arena, 1, || {
        let mut rx = rival.rx(0, 0)?;
        arena.meet(2, 1);
        loop {
            rx.poll(&mut |payload| {
                std::hint::black_box(payload);
            })?;
        }
    })?;
    let sender = Actor::fork(arena, 0, || {
        arena.meet(2, 1);
        let mut tx = rival.tx(0)?;
        let mut payload = vec![0; BYTES];
        // The supervisor reads the number of events, as the sender gets on.
        for number in 0.. {
            content::fill(&mut payload, number);
            while !tx.try_send(&payload)? {
                if arena.count.0.load(Ordering::Relaxed) != 0 {
                    return Ok(());
                }
            }
            arena.results.0.store(number, Ordering::Relaxed);
            if arena.count.0.load(Ordering::Relaxed) != 0 {
                break;
            }
        }
        Ok(())
    })?;
    rival.started();
    let gap_ms = watch(arena, &receiver);
    arena.count.0.store(1, Ordering::Relaxed);
    let error = arena.error();
    std::thread::sleep(Duration::from_millis(50));
    sender.kill();
    let _ = sender.wait();
    drop(rival);
    let left: Vec<(PathBuf, u64)> =
        shared_files().into_iter().filter(|file| !before.iter().any(|known| known.0 == file.0)).collect();
    Ok(Death { gap_ms, error, left: (left.len(), left.iter().map(|file| file.1).sum()) })
}

/// Kills the receiver and returns the longest pause of the sender after that, in ms.
fn watch(arena: &Arena, receiver: &Actor) -> Option<f64> {
    let start = Instant::now();
    while arena.results.0.load(Ordering::Relaxed) < 1000 && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(200));
    receiver.kill();
    let _ = receiver.wait();
    let killed = Instant::now();
    let (mut sent, mut since, mut gap) = (arena.results.0.load(Ordering::Relaxed), killed, Duration::ZERO);
    let mut moved = false;
    while killed.elapsed() < PATIENCE && arena.failed.0.load(Ordering::Relaxed) == 0 {
        let now = arena.results.0.load(Ordering::Relaxed);
        if now != sent {
            gap = gap.max(since.elapsed());
            moved = true;
            (sent, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    // A sender that only filled the room that was left has not got on.
    let stands_still = since.elapsed() > PATIENCE / 2;
    (moved && !stands_still).then_some(gap.as_secs_f64() * 1e3)
}

/// The files in which systems of this kind keep what they share.
fn shared_files() -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from("/dev/shm"), PathBuf::from("/tmp/iceoryx2")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => files.push((entry.path(), about.len())),
                Err(_) => {}
            }
        }
    }
    files
}
