//! The cost of watermarks and credits, in ns an event: plain channels beside others, in one thread.
//!
//! `cargo run --release -p railbus-benches --example overload`: rounds of 64 events are published
//! and received in turn, on all of them, interleaved; it prints the medians of the rounds. With
//! `watermarks` the depth comes to 25 % and the marks are far; with `pressed` it is high all the
//! time, and each round asks once. With `credits` each producer has 128.

use std::hint::black_box;
use std::time::Instant;

use railbus::{ChannelOptions, Kind, Pages, PublishEnd, SendOptions, Sender, SubscribeOptions, WorkOptions};
use railbus_benches::{Take, TemporaryBus};

const EVENTS: usize = 64;
const ROUNDS: usize = 20_000;

fn main() {
    println!(
        "{:<24} {:>10} {:>10} {:>10} {:>10}",
        "ns an event", "plain", "watermarks", "pressed", "credits"
    );
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let temporary = TemporaryBus::new();
        let plain = match kind {
            Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096),
            _ => ChannelOptions::new(kind).slots(256).slot_bytes(64),
        };
        let plain = plain.pages(Pages::Ordinary);
        let mut all = vec![
            ("plain", plain.clone()),
            ("watermarks", plain.clone().watermarks(80, 50)),
            ("pressed", plain.clone().watermarks(20, 0)),
        ];
        if kind != Kind::Stream {
            all.push(("credits", plain.clone().credits(128)));
        }
        let channels = all.into_iter().map(|(name, options)| {
            temporary.bus.create(name, &options).unwrap_or_else(|error| panic!("{kind}, {name}: {error}"))
        });
        let (sending, reading) = (SendOptions::default(), SubscribeOptions::default());
        macro_rules! pairs {
            ($send:ident, $receive:ident, $options:expr) => {
                channels
                    .map(|channel| {
                        let receiver = channel.$receive($options).expect("a receiver");
                        (channel.$send(&sending).expect("a sender"), receiver)
                    })
                    .collect()
            };
        }
        let [publish, receive] = match kind {
            Kind::Stream => medians(pairs!(publisher, subscriber, &reading)),
            Kind::Topic => medians(pairs!(topic_publisher, topic_subscriber, &reading)),
            Kind::Queue => medians(pairs!(producer, worker, &WorkOptions::default())),
            Kind::Table => unreachable!("it is not in the list above"),
        };
        for (what, times) in [("publish", publish), ("receive", receive)] {
            let cells: String = times.iter().map(|ns| format!(" {ns:>10.1}")).collect();
            println!("{:<24}{cells}", format!("{kind}, {what}"));
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The times of publishing and receiving, of each pair.
fn medians<O: PublishEnd, R: Take>(mut pairs: Vec<(Sender<O>, R)>) -> [Vec<f64>; 2] {
    let mut times = [vec![Vec::new(); pairs.len()], vec![Vec::new(); pairs.len()]];
    for _ in 0..ROUNDS {
        for (i, (sender, receiver)) in pairs.iter_mut().enumerate() {
            let started = Instant::now();
            for n in 0..EVENTS as u64 {
                sender.try_publish(&n.to_le_bytes()).expect("there is room");
            }
            black_box(sender.is_under_pressure());
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
    times.map(|all| all.into_iter().map(median).collect())
}
