//! What a publish and a receive cost one core, with the ring in its first cache: no transfer between cores is in it,
//! so that it hardly depends on where the host puts them, and a change of some instructions can be seen.
//!
//! `rounds [BYTES ...]`: ns per event, the tenth percentile and the median of 20,000 rounds of 64 events. A round's
//! share of reading the clock, about 0.3 ns an event, is in it.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use railbus::outlet::Outlet;
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
    println!("{:<7} {:>5} {:>18} {:>18}", "kind", "bytes", "publish p10 p50", "receive p10 p50");
    for bytes in sizes {
        let temporary = TemporaryBus::new();
        rounds("stream", stream(&temporary), bytes);
        rounds("topic", topic(&temporary), bytes);
        rounds("queue", queue(&temporary, 0), bytes);
    }
    ExitCode::SUCCESS
}

fn rounds<O: Outlet, R: Take>(kind: &str, mut pair: Pair<O, R>, bytes: usize) {
    let payload = vec![7u8; bytes];
    let (mut publishing, mut receiving) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        let start = Instant::now();
        publish_round(&mut pair, black_box(&payload));
        let published = Instant::now();
        receive_round(&mut pair);
        publishing.push(published - start);
        receiving.push(published.elapsed());
    }
    println!("{kind:<7} {bytes:>5} {:>18} {:>18}", percentiles(publishing), percentiles(receiving));
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ns = |at: usize| times[at].as_nanos() as f64 / ROUND as f64;
    format!("{:.2}  {:.2}", ns(times.len() / 10), ns(times.len() / 2))
}

#[inline(never)]
fn publish_round<O: Outlet, R>(pair: &mut Pair<O, R>, payload: &[u8]) {
    for _ in 0..ROUND {
        pair.sender.try_publish(payload).expect("there is room");
    }
}

#[inline(never)]
fn receive_round<O: Outlet, R: Take>(pair: &mut Pair<O, R>) {
    for _ in 0..ROUND {
        black_box(pair.receiver.take_one());
    }
}
