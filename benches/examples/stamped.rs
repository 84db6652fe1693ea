//! The cost of stamps and histograms, in ns an event: plain channels beside stamped ones, in one
//! thread.
//!
//! `cargo run --release -p railbus-benches --example stamped`: rounds of 64 events are published
//! and received in turn, on both, interleaved; it prints the medians of the rounds. One thread
//! shows the cost of the calls, not of the transfer of lines between cores, beside which the cost
//! is the same.

use std::hint::black_box;
use std::time::Instant;

use railbus::{ChannelOptions, Kind, Pages, PublishEnd, SendOptions, Sender, SubscribeOptions, WorkOptions};
use railbus_benches::{Take, TemporaryBus};
use railbus_os::stamp::StampClock;

const EVENTS: usize = 64;
const ROUNDS: usize = 20_000;

fn main() {
    println!("{:<24} {:>8} {:>8} {:>8}", "ns an event", "plain", "stamped", "more");
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let temporary = TemporaryBus::new();
        let [plain, stamped] = [false, true].map(|stamp| {
            let options = ChannelOptions::new(kind).pages(Pages::Ordinary).stamp(stamp);
            let options = match kind {
                Kind::Stream => options.capacity_bytes(256 << 10),
                _ => options.slots(256).slot_bytes(64),
            };
            temporary.bus.create(&format!("{kind}-{stamp}"), &options).expect("a channel")
        });
        let sending = SendOptions::default();
        let reading = SubscribeOptions::default();
        macro_rules! pair {
            ($channel:expr, $send:ident, $receive:ident, $options:expr) => {
                (
                    $channel.$send(&sending).expect("a sender"),
                    $channel.$receive($options).expect("a receiver"),
                )
            };
        }
        let [publish, receive] = match kind {
            Kind::Stream => medians(
                pair!(plain, publisher, subscriber, &reading),
                pair!(stamped, publisher, subscriber, &reading),
            ),
            Kind::Topic => medians(
                pair!(plain, topic_publisher, topic_subscriber, &reading),
                pair!(stamped, topic_publisher, topic_subscriber, &reading),
            ),
            Kind::Queue => medians(
                pair!(plain, producer, worker, &WorkOptions::default()),
                pair!(stamped, producer, worker, &WorkOptions::default()),
            ),
            Kind::Table => unreachable!("it is not in the list above"),
        };
        for (what, [plain, stamped]) in [("publish", publish), ("receive", receive)] {
            println!(
                "{:<24} {plain:>8.1} {stamped:>8.1} {:>8.1}",
                format!("{kind}, {what}"),
                stamped - plain
            );
        }
    }
    let mut clock = StampClock::new();
    let started = Instant::now();
    while started.elapsed().as_millis() < 100 {
        black_box(clock.now_ns());
    }
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        for _ in 0..EVENTS {
            black_box(clock.now_ns());
        }
        started.elapsed().as_nanos() as f64 / EVENTS as f64
    });
    let each_ns = median(rounds.collect());
    let by = if clock.is_by_counter() { "the processor's counter" } else { "the kernel's clocks" };
    println!("a stamp, by {by}: {each_ns:.1} ns");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The times of publishing and receiving, each plain and stamped.
fn medians<O: PublishEnd, R: Take>(mut plain: (Sender<O>, R), mut stamped: (Sender<O>, R)) -> [[f64; 2]; 2] {
    let mut times: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (i, (sender, receiver)) in [&mut plain, &mut stamped].into_iter().enumerate() {
            let started = Instant::now();
            for n in 0..EVENTS as u64 {
                sender.try_publish(&n.to_le_bytes()).expect("there is room");
            }
            let published = Instant::now();
            for _ in 0..EVENTS {
                black_box(receiver.take_one());
            }
            let received = Instant::now();
            let each = |from: Instant, to: Instant| (to - from).as_nanos() as f64 / EVENTS as f64;
            times[0][i].push(each(started, published));
            times[1][i].push(each(published, received));
        }
    }
    times.map(|both| both.map(median))
}
