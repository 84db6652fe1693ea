//! Latencies of stamped channels: every event is in the right histogram, with the right value, and
//! nowhere else.
//!
//! No test here expects anything to be fast. Each brackets its measurement by its own readings of
//! the clock. The histogram must lie between the brackets, whatever the machine does in the
//! meantime.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use railbus::info::{Info, ParticipantRole};
use railbus::internal::buckets;
use railbus::internal::mapped::Mapped;
use railbus::internal::series::{Shape, Writer, copy, number};
use railbus::latency::{Distribution, Latencies, Measures};
use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Event, Kind, SendOptions, SubscribeOptions, WorkOptions,
};
use railbus_os::clock::realtime_ns;
use railbus_ring::layout::{INTERVAL_NS, INTERVALS, SERIES_BYTES};

/// How far the clocks of two handles may be from the kernel's, and from each other: some tens of
/// ns, or some us when the host interrupts a look at them. Far less than the delays of these tests.
const SLACK_NS: u64 = 200_000;
const MS: u64 = 1_000_000;

fn bus() -> (tempfile::TempDir, Bus) {
    let base = tempfile::Builder::new().prefix("railbus-latency-").tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "bus").unwrap();
    (base, bus)
}

fn stamped(kind: Kind) -> ChannelOptions {
    let options = ChannelOptions::new(kind).stamp(true);
    if kind == Kind::Stream { options.capacity_bytes(1 << 16) } else { options.slots(256).slot_bytes(128) }
}

fn latencies(channel: &Channel) -> Latencies {
    channel.latencies().unwrap().expect("it is stamped")
}

fn of<'a>(latencies: &'a Latencies, info: &Info, name: &str) -> &'a railbus::latency::ConsumerLatency {
    let one = info.participants.iter().find(|one| one.name == name).expect("registered");
    let found = latencies.consumers.iter().find(|found| found.index == one.index).expect("it measures");
    assert_eq!((found.generation, one.measures), (one.generation, Measures::Yes));
    found
}

/// Brackets of a measurement: its least and its greatest value.
#[derive(Default)]
struct Brackets(Vec<(u64, u64)>);

impl Brackets {
    /// An action began between the first pair of times, and ended between the second.
    fn add(&mut self, began: (u64, u64), ended: (u64, u64)) {
        let least = ended.0.saturating_sub(began.1).saturating_sub(SLACK_NS);
        self.0.push((least, ended.1.saturating_sub(began.0) + SLACK_NS));
    }

    /// Each value of the distribution can be given to a bracket of its own.
    fn enclose(mut self, distribution: &Distribution) {
        assert_eq!(distribution.count(), self.0.len() as u64);
        self.0.sort_unstable();
        let mut most: Vec<u64> = self.0.iter().map(|bracket| bracket.1).collect();
        most.sort_unstable();
        let values = distribution
            .buckets()
            .flat_map(|(low, high, count)| std::iter::repeat_n((low, high), count as usize));
        for ((low, high), (&(least, _), most)) in values.zip(self.0.iter().zip(most)) {
            assert!(high >= least && low <= most, "{low}..{high} is not in {least}..{most}");
        }
    }
}

/// `action`, and the times before and after it.
fn timed<T>(action: impl FnOnce() -> T) -> ((u64, u64), T) {
    let before = realtime_ns();
    let result = action();
    ((before, realtime_ns()), result)
}

/// Three readers, of which the last is a millisecond late for each event.
fn delay_in_one_of_three(kind: Kind, count: usize) {
    let (_base, bus) = bus();
    let channel = bus.create("c", &stamped(kind)).unwrap();
    let named = |name: &str| SubscribeOptions::default().name(name);
    let names = ["first", "second", "late"];
    let mut brackets: [Brackets; 3] = Default::default();
    macro_rules! run {
        ($sender:expr, $reader:ident) => {{
            let mut sender = $sender.unwrap();
            let mut readers = names.map(|name| channel.$reader(&named(name)).unwrap());
            for n in 0..count {
                let (published, _) = timed(|| sender.publish(&(n as u64).to_le_bytes()).unwrap());
                for (reader, (name, brackets)) in readers.iter_mut().zip(names.iter().zip(&mut brackets)) {
                    if *name == "late" {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    let (received, value) = timed(|| reader.recv().unwrap().pod::<u64>());
                    assert_eq!(value, Some(n as u64));
                    brackets.add(published, received);
                }
            }
            check(&channel, names, brackets);
            drop(readers);
        }};
    }
    match kind {
        Kind::Stream => run!(channel.publisher(&SendOptions::default()), subscriber),
        Kind::Topic => run!(channel.topic_publisher(&SendOptions::default()), topic_subscriber),
        Kind::Queue => {
            // Workers empty the queue, so that its taps can go on.
            let mut worker = channel.worker(&WorkOptions::default()).unwrap();
            run!(channel.producer(&SendOptions::default()), tap);
            while let Some(job) = worker.try_take().unwrap() {
                let _ = job.done();
            }
        }
        Kind::Table => unreachable!("a table has no events"),
    }
    // Participants that have left are still in the whole.
    assert_eq!(
        latencies(&channel).received().count(),
        (count * if kind == Kind::Queue { 4 } else { 3 }) as u64
    );
}

fn check(channel: &Channel, names: [&str; 3], brackets: [Brackets; 3]) {
    let (info, latencies) = (channel.info().unwrap(), latencies(channel));
    for (name, brackets) in names.iter().zip(brackets) {
        let one = of(&latencies, &info, name);
        brackets.enclose(&one.received);
        assert_eq!((one.unmeasured, one.done.is_none()), (0, true));
        let counted = info.participants.iter().find(|one| one.name == *name).unwrap();
        assert_eq!(counted.bytes, counted.events * 8, "payload bytes, without the stamps");
        let late = *name == "late";
        if late {
            assert!(one.received.quantile(0.001).unwrap() >= MS - SLACK_NS, "{name}");
        }
        assert!(one.received.max_ns() >= one.received.quantile(1.0).unwrap());
        assert_eq!(one.received.measured, one.received.count());
        let sum: u64 = one.received.buckets().map(|(low, _, count)| low * count).sum();
        assert!(sum <= one.received.sum_ns && one.received.sum_ns <= sum + sum / 100 + one.received.measured);
    }
    let all = latencies.received();
    assert_eq!(
        all.count(),
        names.len() as u64 * latencies.consumers.iter().map(|one| one.received.count()).max().unwrap()
    );
}

#[test]
fn a_late_subscriber_of_a_stream_is_late_alone() {
    delay_in_one_of_three(Kind::Stream, 200);
}

#[test]
fn a_late_subscriber_of_a_topic_is_late_alone() {
    delay_in_one_of_three(Kind::Topic, 200);
}

#[test]
fn a_late_tap_of_a_queue_is_late_alone() {
    delay_in_one_of_three(Kind::Queue, 200);
}

#[test]
fn a_batch_and_a_lossy_reader_measure_each_event() {
    let (_base, bus) = bus();
    for kind in [Kind::Stream, Kind::Topic] {
        let channel = bus.create(&kind.to_string(), &stamped(kind)).unwrap();
        let lossy = SubscribeOptions::default().name("lossy").lossy(true);
        let batch = SubscribeOptions::default().name("batch");
        macro_rules! run {
            ($sender:expr, $reader:ident) => {{
                let mut sender = $sender.unwrap();
                let mut lossy = channel.$reader(&lossy).unwrap();
                let mut batch = channel.$reader(&batch).unwrap();
                for _ in 0..20 {
                    sender.publish_batch(&[[1u8; 24]; 7]).unwrap();
                    assert_eq!(batch.batch(64).unwrap().len(), 7);
                    (0..7).for_each(|_| assert_eq!(&*lossy.recv().unwrap(), &[1; 24]));
                }
                let (info, latencies) = (channel.info().unwrap(), latencies(&channel));
                for name in ["lossy", "batch"] {
                    let one = of(&latencies, &info, name);
                    assert_eq!((one.received.count(), one.unmeasured), (140, 0), "{name}");
                }
            }};
        }
        match kind {
            Kind::Stream => run!(channel.publisher(&SendOptions::default()), subscriber),
            _ => run!(channel.topic_publisher(&SendOptions::default()), topic_subscriber),
        }
    }
}

#[test]
fn a_worker_that_takes_its_time_shows_it_in_take_to_done_alone() {
    let (_base, bus) = bus();
    let channel = bus.create("jobs", &stamped(Kind::Queue)).unwrap();
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let worker = |name: &str| {
        let options = WorkOptions::default().name(name).grab(1);
        channel.worker(&options).unwrap()
    };
    let (mut quick, mut slow) = (worker("quick"), worker("slow"));
    let mut brackets: [[Brackets; 2]; 2] = Default::default();
    for n in 0..150u64 {
        let (published, _) = timed(|| producer.publish(&n.to_le_bytes()).unwrap());
        let (worker, brackets) =
            if n % 3 == 0 { (&mut slow, &mut brackets[1]) } else { (&mut quick, &mut brackets[0]) };
        let (taken, ticket) = timed(|| worker.take_ticket().unwrap().unwrap());
        brackets[0].add(published, taken);
        if n % 3 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (done, held) = timed(|| worker.done(ticket));
        assert!(held);
        brackets[1].add(taken, done);
        assert!(!worker.done(ticket), "once");
    }
    let (info, latencies) = (channel.info().unwrap(), latencies(&channel));
    let [of_quick, of_slow] = brackets;
    for (name, [received, done]) in [("quick", of_quick), ("slow", of_slow)] {
        let one = of(&latencies, &info, name);
        received.enclose(&one.received);
        done.enclose(one.done.as_ref().unwrap());
    }
    let slow = of(&latencies, &info, "slow");
    assert!(slow.done.as_ref().unwrap().quantile(0.0).unwrap() >= MS - SLACK_NS);
    assert_eq!(latencies.done().count(), 150);
}

#[test]
fn an_event_that_is_delivered_again_counts_again_and_many_in_hand_are_measured() {
    let (_base, bus) = bus();
    let channel = bus.create("jobs", &stamped(Kind::Queue)).unwrap();
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    let mut worker = channel.worker(&WorkOptions::default()).unwrap();
    (0..100u64).for_each(|n| assert_eq!(producer.publish(&n.to_le_bytes()), Ok(n)));
    let tickets: Vec<_> = (0..100).map(|_| worker.take_ticket().unwrap().unwrap()).collect();
    for &ticket in &tickets[..10] {
        assert!(worker.retry(ticket));
    }
    for &ticket in tickets[10..].iter().rev() {
        assert!(worker.done(ticket));
    }
    for _ in 0..10 {
        let job = worker.take().unwrap();
        assert_eq!(job.attempt(), 2);
        let _ = job.done();
    }
    let latencies = latencies(&channel);
    assert_eq!((latencies.received().count(), latencies.done().count()), (110, 100));
}

#[test]
fn stamps_of_others_are_believed_and_impossible_ones_are_counted() {
    let (_base, bus) = bus();
    let channel = bus.create("s", &stamped(Kind::Stream)).unwrap();
    let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
    let mut reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
    let hour = 3600 * 1_000_000_000;
    let ages: [(u64, bool); 4] = [(hour, false), (2 * hour, false), (0, true), (0, false)];
    for (age_ns, replayed) in ages {
        let published_ns = Some(realtime_ns() - age_ns);
        publisher
            .publish_with(b"x", &Attributes::default().published_ns(published_ns).replayed(replayed))
            .unwrap();
    }
    let published_ns = Some(realtime_ns() + hour);
    publisher.publish_with(b"x", &Attributes::default().published_ns(published_ns)).unwrap();
    for _ in 0..5 {
        assert!(reader.recv().unwrap().published_ns().is_some());
    }
    let all = latencies(&channel);
    let one = &all.consumers[0];
    assert_eq!((one.received.count(), one.unmeasured), (3, 2));
    assert_eq!(
        one.received.buckets().last(),
        Some((buckets::bounds(railbus_ring::layout::BUCKETS - 1).0, buckets::VALUE_MAX, 1))
    );
    assert!(one.received.max_ns() >= 2 * hour);
}

#[test]
fn a_channel_without_stamps_has_no_histograms_and_one_with_has_a_file_with_rights() {
    let (base, bus) = bus();
    let plain = bus.create("plain", &ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 16)).unwrap();
    let mut publisher = plain.publisher(&SendOptions::default()).unwrap();
    let mut reader = plain.subscriber(&SubscribeOptions::default()).unwrap();
    let attributes = Attributes::default().published_ns(Some(1));
    publisher.publish_with(b"x", &attributes).unwrap();
    assert_eq!(reader.recv().unwrap().published_ns(), Some(1));
    assert!(plain.latencies().unwrap().is_none() && !plain.paths().latency.exists());
    assert!(plain.info().unwrap().participants.iter().all(|one| one.measures == Measures::Unstamped));
    let channel = bus.create("stamped", &stamped(Kind::Stream)).unwrap();
    let about = |path: &std::path::Path| std::fs::metadata(path).unwrap();
    assert_eq!(about(&channel.paths().latency).mode(), about(&channel.paths().acks).mode());
    // A hole: its header is all the room that it takes until a consumer measures, and observers
    // leave it so.
    let blocks = |channel: &Channel| about(&channel.paths().latency).blocks() * 512;
    assert_eq!(latencies(&channel).consumers.len(), 0);
    assert!(blocks(&channel) <= 65536, "{}", blocks(&channel));
    let _reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
    assert_eq!(latencies(&channel).consumers.len(), 1);
    let one = blocks(&channel);
    assert!(one >= SERIES_BYTES as u64);
    latencies(&channel);
    assert_eq!(blocks(&channel), one);
    bus.remove("stamped").unwrap();
    assert!(!channel.paths().latency.exists());
    // The leftover of a creator that died before its last step is removed.
    let half = bus.create("half", &stamped(Kind::Stream)).unwrap();
    std::fs::remove_file(&half.paths().ring).unwrap();
    bus.create("half", &stamped(Kind::Queue)).unwrap();
    std::fs::remove_file(&half.paths().ring).unwrap();
    drop((publisher, reader));
    railbus::admin::prune(base.path(), "bus", |_| false).unwrap();
    assert!(!half.paths().latency.exists() && !half.paths().acks.exists());
}

#[test]
fn a_consumer_without_its_file_works_and_says_that_it_does_not_measure() {
    let (_base, bus) = bus();
    let channel = bus.create("s", &stamped(Kind::Stream)).unwrap();
    let other = bus.create("other", &stamped(Kind::Stream)).unwrap();
    let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
    let mut measures = |expected: Measures| {
        let mut reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
        publisher.publish(b"x").unwrap();
        assert_eq!(&*reader.recv().unwrap(), b"x");
        let info = channel.info().unwrap();
        let one = info.participants.iter().find(|one| one.role == ParticipantRole::Subscriber).unwrap();
        assert_eq!(one.measures, expected);
    };
    let path = &channel.paths().latency;
    measures(Measures::Yes);
    std::fs::remove_file(path).unwrap();
    measures(Measures::NoFile);
    assert!(channel.latencies().is_err());
    std::fs::copy(&other.paths().latency, path).unwrap();
    measures(Measures::NoFile);
    let error = channel.latencies().unwrap_err().to_string();
    assert!(error.contains("another channel"), "{error}");
    std::fs::write(path, b"short").unwrap();
    measures(Measures::NoFile);
}

#[test]
fn harmed_histograms_harm_nobody() {
    let (_base, bus) = bus();
    let channel = bus.create("s", &stamped(Kind::Stream)).unwrap();
    let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
    let mut reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&channel.paths().latency).unwrap();
    let number = number(railbus_os::clock::monotonic_ns());
    for (byte, numbers) in [(0xFF, u64::MAX), (0xFF, number), (0, 0), (0x7F, number)] {
        let mut noise = vec![byte; SERIES_BYTES];
        for interval in 0..INTERVALS {
            let at = railbus_ring::layout::SERIES_INTERVALS + interval * railbus_ring::layout::INTERVAL_BYTES;
            noise[at..at + 8].copy_from_slice(&numbers.to_le_bytes());
        }
        file.write_all_at(&noise, railbus_ring::layout::slice(0) as u64).unwrap();
        for _ in 0..10 {
            publisher.publish(b"x").unwrap();
            assert_eq!(&*reader.recv().unwrap(), b"x");
        }
        let all = latencies(&channel);
        let received = all.received();
        received.quantile(0.5);
        assert!(received.buckets().count() <= railbus_ring::layout::BUCKETS);
    }
}

#[test]
fn a_snapshot_taken_while_events_are_recorded_holds_each_at_most_once() {
    let mut words = vec![0u64; SERIES_BYTES / 8];
    let base = words.as_mut_ptr().cast::<u8>();
    // SAFETY: the words outlive every copy of the memory, and are accessed through it only.
    let memory = unsafe { Mapped::new(base, SERIES_BYTES, false) };
    const EACH: u64 = 20_000;
    const TURNS: u64 = 60;
    let turn = AtomicU64::new(1);
    let turn = &turn;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut writer = Writer::begin(memory.part(0), Shape::REAL, 7, 1);
            // In interval n, EACH times the value n.
            for n in 1..=TURNS {
                turn.store(n, Ordering::Release);
                (0..EACH).for_each(|_| writer.record(n, n));
            }
        });
        let memory = memory.part(0);
        loop {
            let is_over = writer.is_finished();
            let current = turn.load(Ordering::Acquire) as usize;
            let copied = copy(&memory, Shape::REAL, 1, TURNS);
            for (value, &count) in copied.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                assert!((1..=TURNS as usize).contains(&value) && count <= EACH, "{value}: {count}");
            }
            for value in 1..current {
                // Over before the snapshot began: exact, or left out, because another interval has
                // its place.
                assert!(copied.counts[value] == EACH || copied.counts[value] == 0, "{value} of {current}");
            }
            if is_over {
                break;
            }
        }
        let last = copy(&memory, Shape::REAL, 1, TURNS);
        let expected: Vec<u64> =
            (0..=TURNS).map(|n| if n + INTERVALS as u64 > TURNS { EACH } else { 0 }).collect();
        assert_eq!(last.counts[..=TURNS as usize], expected);
        assert_eq!(last.max_ns, TURNS);
    });
    drop(words);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a model: hdrhistogram, with the values of the last intervals.
    #[test]
    fn the_window_holds_what_a_reference_model_holds(
        steps in proptest::collection::vec((0u64..4, 0u32..44, any::<u64>()), 1..400),
    ) {
        let mut words = vec![0u64; SERIES_BYTES / 8];
        // SAFETY: the words outlive the memory, and are accessed through it only.
        let memory = unsafe { Mapped::new(words.as_mut_ptr().cast(), SERIES_BYTES, false) };
        let mut writer = Writer::begin(memory, Shape::REAL, 1, 1);
        let mut now = 1;
        let mut recorded = Vec::new();
        for (advance, bits, value) in steps {
            // Sometimes a long pause: everything is old.
            now += if advance == 3 { value % 15 } else { advance / 2 };
            let value = value & ((1 << bits) - 1);
            writer.record(now, value);
            recorded.push((now, value));
        }
        let oldest = (now + 1).saturating_sub(INTERVALS as u64);
        let copied = copy(&memory, Shape::REAL, oldest, now);
        let mut model = hdrhistogram::Histogram::<u64>::new_with_bounds(1, buckets::VALUE_MAX, 2)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut largest = 0;
        for &(_, value) in recorded.iter().filter(|(n, _)| *n >= oldest) {
            model.saturating_record(value);
            largest = largest.max(value);
        }
        prop_assert_eq!(copied.max_ns, largest);
        for (index, &count) in copied.counts.iter().enumerate() {
            prop_assert_eq!(model.count_at(buckets::bounds(index).0), count, "bucket {}", index);
        }
        prop_assert_eq!(copied.counts.iter().sum::<u64>(), model.len());
        drop(words);
    }
}

#[test]
fn who_takes_the_place_of_another_begins_anew() {
    let (_base, bus) = bus();
    let channel = bus.create("jobs", &stamped(Kind::Queue)).unwrap();
    let mut producer = channel.producer(&SendOptions::default()).unwrap();
    for round in 1..=3u64 {
        let mut worker = channel.worker(&WorkOptions::default()).unwrap();
        for _ in 0..round * 10 {
            producer.publish(b"job").unwrap();
            let _ = worker.take().unwrap().done();
        }
        let all = latencies(&channel);
        let info = channel.info().unwrap();
        assert_eq!((all.consumers.len(), all.consumers[0].index), (1, 0));
        assert_eq!(all.consumers[0].generation, info.participants.last().unwrap().generation);
        assert_eq!((all.received().count(), all.done().count()), (round * 10, round * 10));
        assert_eq!(all.consumers[0].received.measured, round * 10);
        drop(worker);
        // A tap in a worker's entry holds no events, and none of the worker's.
        let tap = channel.tap(&SubscribeOptions::default()).unwrap();
        let all = latencies(&channel);
        assert_eq!((all.received().count(), all.done().count()), (0, 0));
        assert!(all.consumers[0].done.is_none());
        drop(tap);
    }
}

#[test]
fn intervals_are_numbered_from_one() {
    assert_eq!((number(0), number(INTERVAL_NS - 1), number(INTERVAL_NS)), (1, 1, 2));
}

/// The histogram is made of the values that the events themselves carry.
#[test]
fn the_time_of_an_event_is_the_time_of_day() {
    let (_base, bus) = bus();
    let channel = bus.create("s", &stamped(Kind::Stream)).unwrap();
    let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
    let mut reader = channel.subscriber(&SubscribeOptions::default()).unwrap();
    // Long enough for the clock to follow the processor's counter.
    for _ in 0..100 {
        let ((before, after), _) = timed(|| publisher.publish(b"x").unwrap());
        let stamp = reader.recv().map(|event: Event<'_>| event.published_ns().unwrap()).unwrap();
        // The clock may be set: then the order of its readings means nothing.
        if before <= after {
            assert!(before <= stamp + SLACK_NS && stamp <= after + SLACK_NS, "{before} {stamp} {after}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
