//! Round trips: two actors send an event there and back, and each checks every word of it.
//!
//! Blocks of round trips alternate with blocks of the limit, two bare words that bounce between the
//! same two cores. A block whose two neighbours differ is left out: the host has moved the cores.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::arena::Arena;
use crate::rival::{Result, Rival, Rx, Tx, Way};
use crate::{actors, clock, content};

/// Bare round trips of a block of the limit.
const BARE: u64 = 4000;
/// How long a block of the rival lasts.
const BLOCK_NS: f64 = 20e6;
/// Round trips that say how long one takes.
const WARM: u64 = 300;

/// A block: the means of the limit and of the rival in ns, without the slowest hundredth.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The bare round trip, the mean of the blocks before and after.
    pub limit_ns: f64,
    /// The rival's round trip.
    pub rival_ns: f64,
}

/// Measures `blocks` blocks.
pub fn measure<R: Rival<BYTES>, const BYTES: usize>(
    way: Way,
    place: &Path,
    blocks: u64,
) -> Result<Vec<Block>> {
    let arena = Arena::new()?;
    let tick_ns = clock::tick_ns();
    let rival = R::prepare(place, 2, 1)?;
    actors::run(way, arena, 2, |actor| {
        // The receiving ends come first: what a sender sends without a receiver may be lost.
        let mut rx = rival.rx(1 - actor, 0)?;
        arena.meet(2, 1);
        let mut tx = rival.tx(actor)?;
        arena.meet(2, 2);
        let mut end = Pinger::<_, _, BYTES>::new(arena, &mut tx, &mut rx);
        if actor == 0 { end.ping(blocks, tick_ns) } else { end.pong(blocks) }
    })?;
    drop(rival);
    let values = arena.take();
    let limits = values.chunks(2).map(|pair| pair[0]).collect::<Vec<_>>();
    let rivals = values.chunks(2).filter_map(|pair| pair.get(1).copied());
    let whole = limits.windows(2).zip(rivals);
    Ok(whole
        .filter(|(limits, _)| limits[0].max(limits[1]) < 1.3 * limits[0].min(limits[1]))
        .map(|(limits, rival_ns)| Block { limit_ns: (limits[0] + limits[1]) / 2.0, rival_ns })
        .collect())
}

struct Pinger<'a, T, R, const BYTES: usize> {
    arena: &'static Arena,
    tx: &'a mut T,
    rx: &'a mut R,
    sent: u64,
    received: u64,
    meetings: u64,
    payload: Box<[u8]>,
}

impl<'a, T: Tx, R: Rx, const BYTES: usize> Pinger<'a, T, R, BYTES> {
    fn new(arena: &'static Arena, tx: &'a mut T, rx: &'a mut R) -> Self {
        Pinger { arena, tx, rx, sent: 0, received: 0, meetings: 2, payload: vec![0; BYTES].into() }
    }

    #[inline(always)]
    fn send(&mut self) -> Result<()> {
        content::fill(&mut self.payload, self.sent);
        self.sent += 1;
        while !self.tx.try_send(&self.payload)? {}
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<()> {
        let mut polls = 0u32;
        let mut right = true;
        let number = self.received;
        while !self.rx.poll(&mut |payload| right &= content::is_right(payload, BYTES, number))? {
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(1 << 20) {
                self.arena.check();
            }
        }
        self.received += 1;
        if right { Ok(()) } else { Err(format!("event {number} is wrong").into()) }
    }

    fn meet(&mut self) {
        self.meetings += 1;
        self.arena.meet(2, self.meetings);
    }

    fn trips(&mut self, count: u64, tick_ns: f64) -> Result<f64> {
        let mut times = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let start = clock::ticks();
            self.send()?;
            self.receive()?;
            times.push(clock::ticks() - start);
        }
        Ok(trimmed(&mut times) * tick_ns)
    }

    fn ping(&mut self, blocks: u64, tick_ns: f64) -> Result<()> {
        let trip_ns = self.trips(WARM, tick_ns)?;
        let count = ((BLOCK_NS / trip_ns) as u64).clamp(50, 50_000);
        self.arena.count.0.store(count, Ordering::Release);
        self.meet();
        for _ in 0..blocks {
            self.arena.push(self.bare(tick_ns));
            let rival_ns = self.trips(count, tick_ns)?;
            self.arena.push(rival_ns);
        }
        self.arena.push(self.bare(tick_ns));
        Ok(())
    }

    fn pong(&mut self, blocks: u64) -> Result<()> {
        let echo = |end: &mut Self, count| {
            (0..count).try_for_each(|_| {
                end.receive()?;
                end.send()
            })
        };
        echo(self, WARM)?;
        self.meet();
        let count = self.arena.count.0.load(Ordering::Acquire);
        for _ in 0..blocks {
            self.bare_echo();
            echo(self, count)?;
        }
        self.bare_echo();
        Ok(())
    }

    /// The limit: both actors count the same words up.
    fn bare(&self, tick_ns: f64) -> f64 {
        let [there, back] = &self.arena.bare;
        let first = there.0.load(Ordering::Relaxed);
        let mut times = Vec::with_capacity(BARE as usize);
        for number in first + 1..=first + BARE {
            let start = clock::ticks();
            there.0.store(number, Ordering::Release);
            while back.0.load(Ordering::Acquire) != number {}
            times.push(clock::ticks() - start);
        }
        trimmed(&mut times) * tick_ns
    }

    fn bare_echo(&self) {
        let [there, back] = &self.arena.bare;
        let first = back.0.load(Ordering::Relaxed);
        for number in first + 1..=first + BARE {
            while there.0.load(Ordering::Acquire) != number {}
            back.0.store(number, Ordering::Release);
        }
    }
}

/// The mean without the slowest hundredth, which preemption made.
fn trimmed(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    let kept = &times[..times.len() - times.len() / 100];
    kept.iter().sum::<u64>() as f64 / kept.len() as f64
}
