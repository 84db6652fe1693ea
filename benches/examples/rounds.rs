//! The cost of a publish and a receive on one core, with the ring in its first cache. It contains
//! no transfer between cores, so it hardly depends on the placement by the host, and a change of
//! some instructions is visible.
//!
//! `rounds [BYTES ...]`: ns per event, the tenth percentile and the median of 20,000 rounds of 64
//! events. They include a round's share of reading the clock, about 0.3 ns an event. One at a time,
//! then in batches.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use railbus::PublishEnd;
use railbus_benches::{Pair, Take, TemporaryBus, queue, stream, topic};

/// Events of a round: fewer than fit the ring, so that no call finds it full or empty.
const ROUND: u32 = 64;
const ROUNDS: usize = 20_000;

fn main() -> ExitCode {
    let sizes: Result<Vec<usize>, _> = std::env::args().skip(1).map(|word| word.parse()).collect();
    let sizes = match sizes {
        Ok(sizes) if sizes.is_empty() => vec![8, 56],
        Ok(sizes) if sizes.iter().all(|&bytes| bytes <= 240) => sizes,
        _ => {
            eprintln!("usage: rounds [BYTES ...] (at most 240)");
            return ExitCode::from(2);
        }
    };
    println!(
        "{:<7} {:>5} {:>16} {:>16} {:>16} {:>16}",
        "kind", "bytes", "publish p10 p50", "receive p10 p50", "batch: publish", "receive"
    );
    for bytes in sizes {
        let temporary = TemporaryBus::new();
        rounds("stream", stream(&temporary), bytes);
        rounds("topic", topic(&temporary), bytes);
        rounds("queue", queue(&temporary, 0), bytes);
    }
    ExitCode::SUCCESS
}

fn rounds<O: PublishEnd, R: Take>(kind: &str, mut pair: Pair<O, R>, bytes: usize) {
    let payloads = vec![vec![7u8; bytes]; ROUND as usize];
    let single = times(&mut pair, |pair| publish_round(pair, black_box(&payloads[0])), receive_round);
    let batch = times(&mut pair, |pair| publish_batch(pair, black_box(&payloads)), receive_batch);
    let [publish, receive, publish_batch, receive_batch] = [single.0, single.1, batch.0, batch.1];
    println!("{kind:<7} {bytes:>5} {publish:>16} {receive:>16} {publish_batch:>16} {receive_batch:>16}");
}

/// Percentiles of the times of a round of publishing, and of one of receiving.
fn times<P>(pair: &mut P, publish: impl Fn(&mut P), receive: impl Fn(&mut P)) -> (String, String) {
    let (mut publishing, mut receiving) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        let start = Instant::now();
        publish(pair);
        let published = Instant::now();
        receive(pair);
        publishing.push(published - start);
        receiving.push(published.elapsed());
    }
    (percentiles(publishing), percentiles(receiving))
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ns = |at: usize| times[at].as_nanos() as f64 / ROUND as f64;
    format!("{:.2}  {:.2}", ns(times.len() / 10), ns(times.len() / 2))
}

#[inline(never)]
fn publish_round<O: PublishEnd, R>(pair: &mut Pair<O, R>, payload: &[u8]) {
    for _ in 0..ROUND {
        pair.sender.try_publish(payload).expect("there is room");
    }
}

#[inline(never)]
fn receive_round<O: PublishEnd, R: Take>(pair: &mut Pair<O, R>) {
    for _ in 0..ROUND {
        black_box(pair.receiver.take_one());
    }
}

#[inline(never)]
fn publish_batch<O: PublishEnd, R>(pair: &mut Pair<O, R>, payloads: &[Vec<u8>]) {
    assert_eq!(pair.sender.try_publish_batch(payloads), Ok(payloads.len()));
}

#[inline(never)]
fn receive_batch<O: PublishEnd, R: Take>(pair: &mut Pair<O, R>) {
    assert_eq!(pair.receiver.take_batch(ROUND as usize), ROUND as usize);
}
