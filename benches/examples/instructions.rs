//! Sends and receives this many events, to be counted by `instructions.sh` under callgrind.
//!
//! `instructions KIND BYTES EVENTS`: in rounds, each of which publishes [`ROUND`] events and then
//! receives them. The two halves of a round are functions of their own, whose instructions
//! callgrind collects one at a time.

use std::hint::black_box;
use std::process::ExitCode;

use railbus::PublishEnd;
use railbus_benches::{Pair, Take, TemporaryBus, queue, stream, topic};

/// Events of a round: fewer than fit the ring, so that no call finds it full or empty.
const ROUND: u64 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, bytes, events] = words.as_slice() else { return usage() };
    let (Ok(bytes), Ok(events)) = (bytes.parse::<usize>(), events.parse::<u64>()) else { return usage() };
    if bytes > 256 || !events.is_multiple_of(ROUND) {
        return usage();
    }
    let temporary = TemporaryBus::new();
    match kind.as_str() {
        "stream" => rounds(stream(&temporary), bytes, events),
        "topic" => rounds(topic(&temporary), bytes, events),
        "queue" => rounds(queue(&temporary, 1), bytes, events),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: instructions stream|queue|topic BYTES EVENTS (at most 256 bytes, a multiple of {ROUND} events)"
    );
    ExitCode::from(2)
}

fn rounds<O: PublishEnd, R: Take>(mut pair: Pair<O, R>, bytes: usize, events: u64) {
    let payload = vec![7u8; bytes];
    for _ in 0..events / ROUND {
        publish_round(&mut pair, black_box(&payload));
        receive_round(&mut pair);
    }
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
