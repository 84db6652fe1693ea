//! `railbus stat` and `railbus hist`: they show what happened, in the right row.

mod program;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use program::{Base, eventually};
use railbus::latency::Distribution;
use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Kind, Overflow, RecvError, SendError, SendOptions,
    SubscribeOptions, WorkOptions,
};
use serde_json::Value;

fn bus(base: &Base) -> Bus {
    Bus::at(base.path(), "demo").expect("a bus")
}

fn named(name: &str) -> SubscribeOptions {
    SubscribeOptions::default().name(name)
}

/// The only channel of `stat --json`.
fn stat(base: &Base, channel: &str) -> Value {
    let all = base.json(&format!("stat {channel} --json --interval 20ms"));
    let all = all.as_array().expect("an array").clone();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn participant<'a>(channel: &'a Value, name: &str) -> &'a Value {
    let all = channel["participants"].as_array().expect("participants");
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} is not in {all:?}"))
}

/// Checks a row of percentiles.
fn assert_shows(row: &Value, expected: &Distribution) {
    let quantiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];
    for (field, quantile) in quantiles {
        assert_eq!(row[field].as_u64(), expected.quantile(quantile), "{field} of {row}");
    }
    assert_eq!(row["max"].as_u64(), Some(expected.max_ns()));
    assert_eq!(row["count"].as_u64(), Some(expected.count()));
}

/// Publishes, and receives with three readers, of which the last sleeps a millisecond before each
/// event.
fn with_a_late_reader(channel: &Channel, count: u64) -> impl Sized {
    let mut publisher = channel.publisher(&SendOptions::default().name("feed")).expect("one");
    let mut readers =
        ["first", "second", "late"].map(|name| channel.subscriber(&named(name)).expect("joined"));
    for n in 0..count {
        publisher.publish(&n.to_le_bytes()).expect("room");
        for (i, reader) in readers.iter_mut().enumerate() {
            if i == 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(reader.recv().expect("an event").pod::<u64>(), Some(n));
        }
    }
    // Observers see the counts now and then; acknowledging shows them at once.
    readers.iter_mut().for_each(|reader| reader.acknowledge());
    (publisher, readers)
}

#[test]
fn a_delay_in_one_of_three_is_in_its_row_and_nowhere_else() {
    let base = Base::new();
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 16).stamp(true);
    let channel = bus(&base).create("ticks", &options).expect("made");
    let handles = with_a_late_reader(&channel, 300);
    let shown = stat(&base, "demo/ticks");
    let measured = channel.latencies().expect("readable").expect("stamped");
    let info = channel.info().expect("readable");
    for name in ["first", "second", "late"] {
        let one = info.participants.iter().find(|one| one.name == name).expect("there");
        let own = measured.consumers.iter().find(|found| found.index == one.index).expect("it measures");
        let row = participant(&shown, name);
        assert_shows(&row["latency_ns"], &own.received);
        assert_eq!(
            (&row["measures"], &row["done_ns"], row["events"].as_u64(), row["bytes"].as_u64()),
            (&"yes".into(), &Value::Null, Some(300), Some(2400))
        );
        // No histogram has events of another participant: the late one's are all late.
        if name == "late" {
            assert!(own.received.quantile(0.0) >= Some(900_000), "{:?}", own.received.quantile(0.0));
        }
    }
    assert_shows(&shown["latency_ns"], &measured.received());
    assert_eq!(shown["latency_ns"]["count"], 900);
    // The late third of all events is beyond a millisecond.
    assert!(shown["latency_ns"]["p95"].as_u64() >= Some(900_000), "{shown}");
    let feed = participant(&shown, "feed");
    assert_eq!((&feed["latency_ns"], &feed["measures"]), (&Value::Null, &"unstamped".into()));
    assert_eq!(feed["pid"], std::process::id());
    assert!(feed["core"].is_u64() && feed["tid"].is_u64(), "{feed}");
    drop(handles);
    // A participant that has left is in the whole as long as its entry is not used again.
    let shown = stat(&base, "demo/ticks");
    assert_eq!(
        (shown["participants"].as_array().map(Vec::len), &shown["latency_ns"]["count"]),
        (Some(0), &900.into())
    );
}

#[test]
fn the_curve_is_written_in_every_format() {
    let base = Base::new();
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 16).stamp(true);
    let channel = bus(&base).create("ticks", &options).expect("made");
    let (code, said) = base.fails("hist demo/ticks");
    assert!(code == 1 && said.contains("five minutes"), "{code} {said}");
    let _handles = with_a_late_reader(&channel, 200);
    let all = channel.latencies().expect("readable").expect("stamped").received();

    let text = base.fine("hist demo/ticks");
    assert!(text.contains("600 events") && text.contains("99.99"), "{text}");
    let hgrm = base.fine("hist demo/ticks --hgrm");
    assert!(hgrm.contains("       Value     Percentile TotalCount 1/(1-Percentile)"), "{hgrm}");
    assert!(hgrm.contains("Total count    =          600]"), "{hgrm}");
    let late = base.fine("hist demo/ticks --consumer late --hgrm");
    assert!(late.contains("Total count    =          200]"), "{late}");
    assert_eq!(late, base.fine("hist demo/ticks --consumer consumer:2 --hgrm"));

    let csv = base.fine("hist demo/ticks --csv");
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("value_ns,count,total,percentile"));
    let rows: Vec<Vec<f64>> =
        lines.map(|line| line.split(',').map(|cell| cell.parse().expect("a number")).collect()).collect();
    let expected: Vec<(u64, u64)> = all.buckets().map(|(_, high, count)| (high, count)).collect();
    assert_eq!(rows.iter().map(|row| (row[0] as u64, row[1] as u64)).collect::<Vec<_>>(), expected);
    assert_eq!(rows.last().map(|row| (row[2], row[3])), Some((600.0, 100.0)));

    let picture = base.file("ticks.svg");
    base.fine(&format!("hist demo/ticks --svg {}", picture.display()));
    let picture = std::fs::read_to_string(picture).expect("written");
    assert!(
        picture.starts_with("<svg ")
            && picture.trim_end().ends_with("</svg>")
            && picture.contains("600 events")
    );

    base.fine("create demo/plain");
    for (line, expected, word) in [
        ("hist demo/plain", 2, "--stamp"),
        ("hist demo/none", 3, "does not exist"),
        ("hist demo/ticks --consumer nobody", 3, "nobody"),
        ("hist demo/ticks --consumer late --done", 1, "done by a worker"),
        ("hist demo/ticks --svg /nowhere/x.svg", 3, "x.svg"),
        ("hist demo/ticks --hgrm --csv", 2, "cannot be used with"),
        ("hist ticks", 2, "BUS/CHANNEL"),
        ("stat demo/none", 3, "does not exist"),
        ("stat nowhere", 3, "nowhere"),
        ("stat --interval 1ms", 2, "10ms"),
        ("top demo/ticks", 2, "terminal"),
    ] {
        let (code, said) = base.fails(line);
        assert!(code == expected && said.contains(word), "{line}: {code} {said}");
    }
}

#[test]
fn a_consumer_that_does_not_measure_is_said() {
    let base = Base::new();
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 16).stamp(true);
    let channel = bus(&base).create("ticks", &options).expect("made");
    std::fs::remove_file(&channel.paths().latency).expect("removed");
    let _reader = channel.subscriber(&named("screen")).expect("joined all the same");
    let shown = stat(&base, "demo/ticks");
    assert_eq!(participant(&shown, "screen")["measures"], "no file");
    assert!(base.fine("info demo/ticks").contains("measures no latency: no file"));
    let (code, said) = base.fails("hist demo/ticks --consumer screen");
    assert!(code == 1 && said.contains("no file"), "{said}");
}

/// A small, good enough generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % bound
    }
}

/// The counts of a run, kept beside it.
#[derive(Debug, Default)]
struct Model {
    events: u64,
    bytes: u64,
    full: u64,
    dropped: u64,
    received: u64,
    received_bytes: u64,
    lost: u64,
    redelivered: u64,
    done: u64,
    measured: u64,
}

fn assert_is(shown: &Value, model: &Model, consumer: &str) {
    let counts = |of: &Value, field: &str| of[field].as_u64().unwrap_or_else(|| panic!("{field} of {of}"));
    let (sender, reader) = (participant(shown, "sender"), participant(shown, consumer));
    let found = [
        ("events", counts(shown, "events"), model.events),
        ("full", counts(shown, "full"), model.full),
        ("dropped", counts(shown, "dropped"), model.dropped),
        ("lost", counts(shown, "lost"), model.lost),
        ("redelivered", counts(shown, "redelivered"), model.redelivered),
        ("sender's events", counts(sender, "events"), model.events),
        ("sender's bytes", counts(sender, "bytes"), model.bytes),
        ("sender's full", counts(sender, "full"), model.full),
        ("sender's dropped", counts(sender, "dropped"), model.dropped),
        ("reader's events", counts(reader, "events"), model.received),
        ("reader's bytes", counts(reader, "bytes"), model.received_bytes),
        ("reader's lost", counts(reader, "lost"), model.lost),
        ("measured", reader["latency_ns"]["count"].as_u64().unwrap_or(0), model.measured),
        ("done", reader["done_ns"]["count"].as_u64().unwrap_or(0), model.done),
    ];
    for (what, found, expected) in found {
        assert_eq!(found, expected, "{what}: {model:?} {shown}");
    }
}

#[test]
fn counters_of_streams_and_topics_equal_a_model_after_random_runs() {
    let base = Base::new();
    for seed in 0..12u64 {
        let mut dice = Dice(seed);
        let kind = if seed % 2 == 0 { Kind::Stream } else { Kind::Topic };
        let (lossy, stamp) = (seed % 3 == 0, seed % 4 != 3);
        let name = format!("random-{seed}");
        let options = ChannelOptions::new(kind).stamp(stamp).overflow(Overflow::DropNewest);
        let options = if kind == Kind::Stream {
            options.capacity_bytes(1 << 12)
        } else {
            options.slots(64).slot_bytes(64)
        };
        let channel = bus(&base).create(&name, &options).expect("made");
        let mut model = Model::default();
        macro_rules! run {
            ($sender:ident, $reader:ident) => {{
                let mut sender = channel.$sender(&SendOptions::default().name("sender")).expect("attached");
                let options = named("reader").lossy(lossy);
                let mut reader = channel.$reader(&options).expect("joined");
                for _ in 0..3000 {
                    if dice.below(100) < 55 {
                        let payload = vec![7u8; dice.below(33) as usize];
                        match sender.publish(&payload) {
                            Ok(_) => {
                                model.events += 1;
                                model.bytes += payload.len() as u64;
                            }
                            Err(SendError::Dropped) => {
                                model.dropped += 1;
                                model.full += 1;
                            }
                            Err(error) => panic!("{error}"),
                        }
                    } else {
                        match reader.try_recv() {
                            Ok(None) => {}
                            Ok(Some(event)) => {
                                model.received += 1;
                                model.received_bytes += event.payload().len() as u64;
                                model.measured += u64::from(stamp);
                            }
                            Err(RecvError::Lost { events, .. }) => model.lost += events,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                // Observers see it at the latest when the reader finds nothing.
                loop {
                    match reader.try_recv() {
                        Ok(None) => break,
                        Ok(Some(event)) => {
                            model.received += 1;
                            model.received_bytes += event.payload().len() as u64;
                            model.measured += u64::from(stamp);
                        }
                        Err(RecvError::Lost { events, .. }) => model.lost += events,
                        Err(error) => panic!("{error}"),
                    }
                }
                reader.acknowledge();
                assert_eq!(model.received + model.lost, model.events);
                assert_is(&stat(&base, &format!("demo/{name}")), &model, "reader");
                assert!(lossy || model.dropped > 0, "the run was too tame");
                drop((sender, reader));
            }};
        }
        if kind == Kind::Stream {
            run!(publisher, subscriber)
        } else {
            run!(topic_publisher, topic_subscriber)
        }
        bus(&base).remove(&name).expect("removed");
    }
}

#[test]
fn counters_of_queues_equal_a_model_after_random_runs() {
    let base = Base::new();
    for seed in 0..6u64 {
        let mut dice = Dice(seed + 100);
        let stamp = seed % 2 == 0;
        let name = format!("random-{seed}");
        let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64).stamp(stamp);
        let channel = bus(&base).create(&name, &options.overflow(Overflow::DropNewest)).expect("made");
        let mut model = Model::default();
        let options = SendOptions::default().name("sender");
        let mut sender = channel.producer(&options).expect("attached");
        let options = WorkOptions::default().name("worker");
        let mut worker = channel.worker(&options).expect("attached");
        let mut hand = Vec::new();
        for _ in 0..4000 {
            match dice.below(10) {
                0..5 => {
                    let payload = vec![7u8; dice.below(33) as usize];
                    match sender.publish(&payload) {
                        Ok(_) => {
                            model.events += 1;
                            model.bytes += payload.len() as u64;
                        }
                        Err(SendError::Dropped) => {
                            model.dropped += 1;
                            model.full += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                5..8 => {
                    if let Some(ticket) = worker.take_ticket().expect("whole") {
                        model.received += 1;
                        model.received_bytes += worker.event(ticket).expect("in hand").payload().len() as u64;
                        model.redelivered += u64::from(ticket.attempt() > 1);
                        model.measured += u64::from(stamp);
                        hand.push(ticket);
                    }
                }
                _ if hand.is_empty() => {}
                put => {
                    let ticket = hand.swap_remove(dice.below(hand.len() as u64) as usize);
                    // Only once: an event that is handed back again waits, and producers find the
                    // queue full until it is done.
                    if put == 8 && ticket.attempt() == 1 {
                        assert!(worker.retry(ticket));
                    } else {
                        assert!(worker.done(ticket));
                        model.done += u64::from(stamp);
                    }
                }
            }
        }
        for ticket in hand.drain(..) {
            assert!(worker.done(ticket));
            model.done += u64::from(stamp);
        }
        while let Some(ticket) = worker.take_ticket().expect("whole") {
            model.received += 1;
            model.received_bytes += worker.event(ticket).expect("in hand").payload().len() as u64;
            model.redelivered += u64::from(ticket.attempt() > 1);
            model.measured += u64::from(stamp);
            model.done += u64::from(stamp);
            assert!(worker.done(ticket));
        }
        assert_is(&stat(&base, &format!("demo/{name}")), &model, "worker");
        assert!(model.redelivered > 100 && model.dropped > 0, "the run was too tame: {model:?}");
    }
}

#[test]
fn dead_letters_rates_and_watching_are_shown() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64 --slot-bytes 128 --max-attempts 2");
    base.fine_fed("pub demo/jobs --lines", b"bad\n");
    assert!(base.run("work demo/jobs --exec false --until-closed --quiet").status.success());
    let shown = stat(&base, "demo/jobs");
    assert_eq!(
        (&shown["dead_lettered"], &shown["redelivered"], &shown["events"]),
        (&1.into(), &1.into(), &1.into())
    );

    base.fine("create demo/ticks --stamp --capacity 64KiB");
    let mut publisher = base.start_fed("pub demo/ticks");
    let mut input = publisher.child().stdin.take().expect("a pipe");
    let is_over = Arc::new(AtomicBool::new(false));
    let feeding = {
        let is_over = Arc::clone(&is_over);
        // All the time, so that some come between any two looks.
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                std::io::Write::write_all(&mut input, b"event\n").expect("it reads");
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    };
    let _reader = base.start_to_file("sub demo/ticks --name screen");
    base.await_live("demo/ticks", "consumer", 1);
    base.await_live("demo/ticks", "producer", 1);
    eventually("a rate and a latency are shown", || {
        let shown = stat(&base, "demo/ticks");
        shown["events_per_second"].as_f64().is_some_and(|rate| rate > 0.0)
            && shown["bytes_per_second"].as_f64().is_some_and(|rate| rate > 0.0)
            && shown["latency_ns"]["p50"].as_u64() > Some(0)
            && participant(&shown, "screen")["progress_age_ns"].is_u64()
    });
    let mut watching = base.start("stat demo/ticks --watch --json --interval 30ms");
    let mut lines = watching.read_line() + &watching.read_line();
    watching.signal(libc::SIGTERM);
    lines.push_str(&String::from_utf8(watching.fine()).expect("text"));
    for line in lines.lines() {
        let all: Value = serde_json::from_str(line).expect("an array on each line");
        assert_eq!(all[0]["channel"], "demo/ticks");
    }
    let table = base.fine("stat demo/ticks --interval 20ms");
    assert!(table.contains("CHANNEL") && table.contains("screen") && table.contains("producer:0"), "{table}");
    is_over.store(true, Ordering::Relaxed);
    feeding.join().expect("no panic");
    publisher.fine();
}

#[test]
fn a_channel_made_anew_is_another_one_and_stamps_of_others_count() {
    let base = Base::new();
    let options = ChannelOptions::new(Kind::Topic).slots(64).slot_bytes(128).stamp(true);
    for round in 0..3u64 {
        let channel = bus(&base).create("t", &options).expect("made");
        let mut publisher = channel.topic_publisher(&SendOptions::default()).expect("attached");
        let mut reader = channel.topic_subscriber(&named("reader")).expect("joined");
        let published_ns = Some(1 + round);
        let attributes = Attributes::default().published_ns(published_ns);
        publisher.publish_with(b"old", &attributes).expect("room");
        assert_eq!(reader.recv().expect("an event").published_ns(), published_ns);
        let shown = stat(&base, "demo/t");
        assert_eq!((&shown["events"], &shown["latency_ns"]["count"]), (&1.into(), &1.into()));
        bus(&base).remove("t").expect("removed");
    }
}
