//! Reads and changes of a table, beside a plain copy and a stream's publish in the same run.
//!
//! `cargo run --release --package railbus-benches --example table`
//!
//! Everything runs in one thread, over warm memory. The figures are medians of rounds in which all
//! take turns. They say nothing about contention.

use std::hint::black_box;
use std::time::Instant;

use railbus::{KeyHandle, Kind, SendOptions, SubscribeOptions, TableOptions};
use railbus_benches::TemporaryBus;

const CALLS: usize = 200;
const ROUNDS: usize = 20_000;
const NAMES: [&str; 8] = [
    "copy of 64 B",
    "get_at",
    "get(\"bid\")",
    "publish of 64 B",
    "set_at",
    "set(\"bid\")",
    "set_at, watched",
    "memcpy of 64 B",
];

#[inline(never)]
fn read(reader: &mut railbus::TableReader, bid: &KeyHandle) {
    let value = reader.get_at(bid).expect("a sound table").expect("it was set");
    black_box(value.bytes());
}

fn main() {
    let temporary = TemporaryBus::new();
    let channel = temporary.channel(Kind::Table);
    let mut writer = channel.table_writer(&TableOptions::default()).expect("a writer");
    let mut reader = channel.table_reader(&TableOptions::default()).expect("a reader");
    let watched = temporary.bus.create("watched", &railbus::ChannelOptions::new(Kind::Table));
    let watched = watched.expect("a channel");
    let mut watched_writer = watched.table_writer(&TableOptions::default()).expect("a writer");
    let mut watcher = watched.table_reader(&TableOptions::default()).expect("a reader");
    assert!(watcher.next_change().expect("a sound table").is_none());
    let stream = temporary.channel(Kind::Stream);
    let mut publisher = stream.publisher(&SendOptions::default()).expect("a publisher");
    let mut subscriber = stream.subscriber(&SubscribeOptions::default()).expect("a subscriber");
    let bid = KeyHandle::new("bid").expect("a key");
    let mut value = [7u8; 64];
    for key in 0..100u64 {
        writer.set(key, &value).expect("there is room");
    }
    writer.set_at(&bid, &value).expect("there is room");
    let mut copy = [0u8; 64];
    let mut times: [Vec<f64>; NAMES.len()] = Default::default();
    for round in 0..ROUNDS {
        value[0] = round as u8;
        let mut time = |i: usize, call: &mut dyn FnMut()| {
            let started = Instant::now();
            call();
            times[i].push(started.elapsed().as_nanos() as f64 / CALLS as f64);
        };
        time(0, &mut || {
            for _ in 0..CALLS {
                copy.copy_from_slice(black_box(&value));
                black_box(&mut copy);
            }
        });
        time(1, &mut || {
            for _ in 0..CALLS {
                read(&mut reader, &bid);
            }
        });
        time(2, &mut || {
            for _ in 0..CALLS {
                let value = reader.get(black_box("bid")).expect("a sound table").expect("it was set");
                black_box(value.bytes());
            }
        });
        time(3, &mut || {
            for _ in 0..CALLS {
                publisher.try_publish(black_box(&value)).expect("there is room");
            }
        });
        while subscriber.try_recv().expect("a sound stream").is_some() {}
        time(4, &mut || {
            for _ in 0..CALLS {
                black_box(writer.set_at(&bid, black_box(&value)).expect("it fits"));
            }
        });
        time(5, &mut || {
            for _ in 0..CALLS {
                black_box(writer.set(black_box("bid"), black_box(&value)).expect("it fits"));
            }
        });
        time(6, &mut || {
            for _ in 0..CALLS {
                black_box(watched_writer.set_at(&bid, black_box(&value)).expect("it fits"));
            }
        });
        time(7, &mut || {
            for _ in 0..CALLS {
                // Of a length that the compiler does not know, as a program copies a value.
                let length = black_box(64);
                copy[..length].copy_from_slice(&black_box(&value)[..length]);
                black_box(&mut copy);
            }
        });
    }
    print(times);
}

/// Prints the medians, each beside the plain copy or the publish.
fn print(times: [Vec<f64>; NAMES.len()]) {
    let medians = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    for (i, (name, ns)) in NAMES.iter().zip(medians).enumerate() {
        let base = if (3..7).contains(&i) { 3 } else { 0 };
        println!("{name:<18} {ns:>7.2} ns  {:>5.2} x {}", ns / medians[base], NAMES[base]);
    }
}
