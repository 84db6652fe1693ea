//! Recording by a thread of this process: published events are in the journal, whatever happens in
//! the meantime.

use std::time::{Duration, Instant};

use railbus::journal::{Io, Retention, WhenFull};
use railbus::{
    Channel, Error, JournalState, Kind, Overflow, PublishEnd, Recorder, Recorders, SendOptions, Sender,
    SubscribeOptions, SyncPolicy,
};
use railbus_log::format::{Codec, GapReason};

use crate::journals::{Place, held, publisher, quick, small};

const LONG: Duration = Duration::from_secs(60);

/// An event that contains its number and can be distinguished from a torn one.
fn event(number: u64, largest: usize) -> Vec<u8> {
    let length = 8 + (number * 7919) as usize % (largest - 7);
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(length, number as u8 ^ 0x5A);
    bytes
}

#[test]
fn everything_published_is_recorded_in_order_and_its_durability_can_be_waited_for() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        for io in [Io::Auto, Io::Blocking] {
            for sync in
                [SyncPolicy::Always, SyncPolicy::Interval(Duration::from_millis(5)), SyncPolicy::Never]
            {
                let place = Place::new();
                let channel = place.bus().create("c", &small(kind)).expect("a channel");
                let options = quick().io(io).sync(sync);
                let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
                let mut publish = publisher(&channel);
                let mut worker =
                    (kind == Kind::Queue).then(|| channel.worker(&Default::default()).expect("a worker"));
                let mut sent = Vec::new();
                for number in 0..20_000 {
                    let payload = event(number, 100);
                    let position = publish(&payload, LONG).expect("room");
                    sent.push((position, payload));
                    if let Some(worker) = &mut worker {
                        let _ = worker.take().expect("a job").done();
                    }
                    if number % 5000 == 17 {
                        let reached = channel.wait_written(position, LONG).expect("written");
                        assert!(reached > position);
                        if sync != SyncPolicy::Never {
                            assert!(channel.wait_durable(position, LONG).expect("durable") > position);
                        }
                    }
                }
                recorder.stop().expect("a clean end");
                let held = held(&place.directory("c"));
                assert!(held.gaps.is_empty(), "{:?}", held.gaps);
                assert!(
                    held.events == sent,
                    "{kind} {io:?} {sync:?}: {} of {}",
                    held.events.len(),
                    sent.len()
                );
                let positions = channel.journal_positions().expect("positions");
                assert_eq!(positions.state, JournalState::Stopped);
                assert_eq!(positions.durable, positions.end);
                assert!(matches!(channel.wait_durable(positions.end, LONG), Err(Error::PeerGone { .. })));
                channel.wait_durable(sent[0].0, Duration::ZERO).expect("what was durable stays so");
            }
        }
    }
}

#[test]
fn a_second_start_goes_on_where_the_first_ended_and_the_ring_holds_what_came_between() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let place = Place::new();
        let channel = place.bus().create("c", &small(kind)).expect("a channel");
        let mut publish = publisher(&channel);
        let mut worker =
            (kind == Kind::Queue).then(|| channel.worker(&Default::default()).expect("a worker"));
        let mut sent = Vec::new();
        for round in 0..5u64 {
            let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
            assert_eq!(recorder.report().events, sent.len() as u64 - u64::from(round > 0) * 50);
            for number in 0..550 {
                let payload = event(round * 1000 + number, 60);
                if number == 500 {
                    let last = sent.last().map_or(0, |&(position, _): &(u64, _)| position);
                    channel.wait_durable(last, LONG).expect("durable");
                }
                if number < 500 {
                    sent.push((publish(&payload, LONG).expect("room"), payload));
                    if let Some(worker) = &mut worker {
                        let _ = worker.take().expect("a job").done();
                    }
                }
            }
            recorder.stop().expect("a clean end");
            // Nobody records these now; the journaller's entry in the ring holds them.
            for number in 0..50 {
                let payload = event(round * 1000 + 500 + number, 60);
                sent.push((publish(&payload, LONG).expect("room"), payload));
                if let Some(worker) = &mut worker {
                    let _ = worker.take().expect("a job").done();
                }
            }
        }
        Recorder::start(&channel, place.journal(), &quick())
            .expect("a recorder")
            .stop()
            .expect("a clean end");
        let held = held(&place.directory("c"));
        assert!(held.gaps.is_empty(), "{:?}", held.gaps);
        assert!(held.events == sent, "{kind}: {} of {}", held.events.len(), sent.len());
    }
}

#[test]
fn large_events_go_in_pieces() {
    let place = Place::new();
    let options = railbus::ChannelOptions::new(Kind::Stream).capacity_bytes(4 << 20);
    let channel = place.bus().create("c", &options).expect("a channel");
    let recorder =
        Recorder::start(&channel, place.journal(), &quick().segment_bytes(4 << 20)).expect("a recorder");
    let mut publish = publisher(&channel);
    let mut sent = Vec::new();
    for number in 0..40 {
        let payload = event(number, 1_500_000);
        sent.push((publish(&payload, LONG).expect("room"), payload));
    }
    recorder.stop().expect("a clean end");
    let held = held(&place.directory("c"));
    assert!(held.events == sent && held.gaps.is_empty(), "{} of {}", held.events.len(), sent.len());
}

/// A durable cursor moves, segments end and publishers that number their events appear while large
/// events are half staged: states are due among their pieces, and wait.
#[test]
fn states_wait_while_large_events_are_staged() {
    let place = Place::new();
    let options = railbus::ChannelOptions::new(Kind::Stream).capacity_bytes(16 << 20);
    let channel = place.bus().create("c", &options).expect("a channel");
    let options = quick().staging_bytes(1 << 20).state_every(Duration::from_micros(100)).depth(1);
    let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
    let named = SubscribeOptions::default().name("moves").durable(true);
    let mut subscriber = channel.subscriber(&named).expect("a subscriber");
    let numbered = SendOptions::default().name("numbers").sequenced(true);
    let mut sender = channel.publisher(&numbered).expect("a publisher");
    let mut sent = Vec::new();
    let reads = std::thread::spawn(move || {
        for _ in 0..60 {
            subscriber.recv_timeout(LONG).expect("an event");
        }
    });
    for number in 0..60u64 {
        // Some are larger than all staging.
        let payload = event(number, if number % 10 == 9 { 4_000_000 } else { 900_000 });
        let position = sender.publish_timeout(&payload, LONG).expect("room");
        sent.push((position, payload));
    }
    reads.join().expect("it reads all");
    let last = sent.last().expect("events").0;
    channel.wait_durable(last, LONG).expect("durable");
    let status = recorder.status().expect("a status");
    assert!(status.error.is_none() && !status.crashed, "{status:?}");
    recorder.stop().expect("a clean end");
    let held = held(&place.directory("c"));
    let held_payloads = held.events.iter().map(|(position, body)| (*position, &body[body.len() - 8..]));
    let sent_payloads = sent.iter().map(|(position, payload)| (*position, &payload[payload.len() - 8..]));
    assert!(
        held_payloads.eq(sent_payloads) && held.gaps.is_empty(),
        "{} of {}",
        held.events.len(),
        sent.len()
    );
    assert!(held.states > 2, "states were recorded: {}", held.states);
}

/// Without a durable subscription nobody has read anything: `consumed` removes nothing, and the
/// status reports that. With one, the events that it has read are removed.
#[test]
fn what_nobody_reads_durably_is_not_taken_for_read() {
    let place = Place::new();
    let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
    let retention = Retention::default().consumed(true);
    let options = quick().segment_bytes(512 << 10).retention(retention);
    let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
    let mut sender = channel.publisher(&SendOptions::default()).expect("a publisher");
    let mut last = 0;
    for number in 0..2000u64 {
        last = sender.publish_timeout(&event(number, 3000), LONG).expect("room");
    }
    channel.wait_durable(last, LONG).expect("durable");
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !is() {
            assert!(begin.elapsed() < LONG, "{what}: {:?}", recorder.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("it says so", &|| recorder.status().is_some_and(|status| status.waits_for_readers));
    let has_first = || place.directory("c").join("00000000000000000001.seg").exists();
    assert!(has_first(), "nothing was removed");
    let named = SubscribeOptions::default().name("reads").durable(true);
    let _subscriber = channel.subscriber(&named).expect("a subscriber that has read all before");
    until("the first segment goes", &|| !has_first());
    until("it says so no more", &|| recorder.status().is_some_and(|status| !status.waits_for_readers));
    recorder.stop().expect("a clean end");
}

/// Waits until a recorder of the channel reports that it has panicked.
fn await_crash(recorders: &Recorders, channel: &Channel) {
    let begin = Instant::now();
    let crashed = || recorders.statuses().iter().any(|one| one.channel == *channel.name() && one.crashed);
    while !crashed() {
        assert!(begin.elapsed() < LONG, "{:?}", recorders.statuses());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A recorder that panics reports it to every waiter, and other channels go on. Started again, it
/// has lost nothing, also when the whole thread panics.
#[test]
fn a_recorder_that_panics_says_so_and_started_anew_it_has_lost_nothing() {
    for whole_thread in [false, true] {
        let place = Place::new();
        let recorders = Recorders::start(None).expect("a thread");
        let channels =
            ["one", "other"].map(|name| place.bus().create(name, &small(Kind::Stream)).expect("one"));
        let [one, other] = &channels;
        for channel in &channels {
            recorders.record(channel, place.journal(), &quick()).expect("it is recorded");
        }
        let mut sender = one.publisher(&SendOptions::default()).expect("a publisher");
        sender.publish_durable(b"before", LONG).expect("durable");
        let waits = one.clone();
        // A position far beyond all that will be published.
        let waiting = std::thread::spawn(move || waits.wait_durable(1 << 40, LONG).map(drop));
        match whole_thread {
            false => recorders.crash(one.name()),
            true => recorders.crash_thread(one.name()),
        }
        await_crash(&recorders, one);
        let told = waiting.join().expect("it ends").expect_err("nothing was published there");
        assert!(matches!(told, Error::PeerGone { .. }), "who waited already: {told}");
        let position = sender.publish(b"meanwhile").expect("room");
        let error = one.wait_durable(position, LONG).expect_err("nothing records it");
        assert!(matches!(error, Error::PeerGone { .. }), "{error}");
        if whole_thread {
            await_crash(&recorders, other);
            recorders.stop_one(other.name()).expect("it is forgotten");
            recorders.record(other, place.journal(), &quick()).expect("it is recorded again");
        } else {
            assert!(error.to_string().contains("panicked"), "{error}");
            assert_eq!(one.journal_positions().expect("positions").crashes, 1);
        }
        let mut others = other.publisher(&SendOptions::default()).expect("a publisher");
        others.publish_durable(b"recorded", LONG).expect("durable");
        recorders.stop_one(one.name()).expect("it is forgotten");
        assert!(recorders.statuses().iter().all(|status| status.channel != *one.name()));
        recorders.record(one, place.journal(), &quick()).expect("it is recorded again");
        one.wait_durable(position, LONG).expect("nothing is lost");
        assert!(recorders.silence() < LONG);
        for status in recorders.stop() {
            assert!(status.error.is_none() && !status.crashed, "{status:?}");
        }
        let events = held(&place.directory("one")).events;
        let payloads: Vec<&[u8]> = events.iter().map(|(_, body)| &body[..]).collect();
        assert_eq!(payloads, [&b"before"[..], b"meanwhile"]);
    }
}

#[test]
fn a_lossy_journal_holds_nobody_and_says_what_it_missed() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = Place::new();
        let options = small(kind).overflow(Overflow::LossyReaders);
        let channel = place.bus().create("c", &options).expect("a channel");
        let options = quick().lossy(true);
        let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
        assert!(recorder.report().lossy);
        let mut publish = publisher(&channel);
        let mut sent = Vec::new();
        for number in 0..200_000 {
            let payload = event(number, 100);
            sent.push((publish(&payload, LONG).expect("room"), payload));
        }
        recorder.stop().expect("a clean end");
        let held = held(&place.directory("c"));
        let lost: u64 = held.gaps.iter().map(|gap| gap.events).sum();
        assert_eq!(held.events.len() as u64 + lost, sent.len() as u64, "{:?}", held.gaps.len());
        assert!(held.gaps.iter().all(|gap| gap.reason == GapReason::Overrun));
        let is_missing = |position| held.gaps.iter().any(|gap| (gap.from..gap.to).contains(&position));
        let kept: Vec<_> = sent.iter().filter(|(position, _)| !is_missing(*position)).cloned().collect();
        assert!(held.events == kept, "what is not in a gap is there");
        // A waiter for a missing event gets an error.
        if let Some(gap) = held.gaps.last() {
            let told = channel.wait_written(gap.from, Duration::ZERO);
            assert!(matches!(told, Err(Error::PeerGone { .. })), "{told:?}");
        }
    }
}

#[test]
fn waiting_without_a_journaller_is_an_error_at_once() {
    let place = Place::new();
    let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
    let started = Instant::now();
    let mut sender = channel.publisher(&SendOptions::default()).expect("a publisher");
    let told = sender.publish_durable(b"x", LONG);
    assert!(matches!(told, Err(Error::PeerGone { .. })), "{told:?}");
    assert!(matches!(channel.journal_positions(), Err(Error::PeerGone { .. })));
    assert!(started.elapsed() < LONG);
}

#[test]
fn one_journaller_at_a_time_and_another_channel_of_the_name_gets_its_own_journal() {
    let place = Place::new();
    let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
    let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
    let other = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let refused = Recorder::start(&channel, other.path(), &quick()).map(drop);
    assert!(matches!(&refused, Err(Error::Busy { .. })), "{refused:?}");
    let refused = Recorder::start(&channel, place.journal(), &quick()).map(drop);
    let text = refused.expect_err("the directory is locked").to_string();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    channel.publisher(&SendOptions::default()).expect("a publisher").publish(b"old").expect("room");
    recorder.stop().expect("a clean end");
    place.bus().remove("c").expect("removed");
    let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
    let recorder = Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
    let aside = recorder.report().moved_aside.clone().expect("the old journal was moved aside");
    channel.publisher(&SendOptions::default()).expect("a publisher").publish(b"new").expect("room");
    recorder.stop().expect("a clean end");
    assert_eq!(held(&aside).events[0].1, b"old");
    assert_eq!(held(&place.directory("c")).events[0].1, b"new");
}

#[test]
fn options_out_of_range_are_refused() {
    let place = Place::new();
    let queue = place.bus().create("q", &small(Kind::Queue)).expect("a channel");
    let bad = [
        quick().lossy(true),
        quick().segment_bytes(1 << 16),
        quick().segment_bytes((1 << 20) + 1),
        quick().staging_bytes(1),
        quick().staging_bytes(1 << 40),
        quick().depth(0),
    ];
    for options in bad {
        let refused = Recorder::start(&queue, place.journal(), &options).map(drop);
        assert!(matches!(&refused, Err(Error::Invalid { .. })), "{refused:?}: {options:?}");
    }
    // Nothing is left behind that would be in the way of a good one.
    let good = quick().when_full(WhenFull::Drop);
    Recorder::start(&queue, place.journal(), &good).expect("a recorder").stop().expect("a clean end");
}

#[test]
fn compressed_blocks_hold_the_same() {
    for codec in [Codec::Lz4, Codec::Zstd] {
        let place = Place::new();
        let channel = place.bus().create("c", &small(Kind::Stream)).expect("a channel");
        let options = quick().codec(codec);
        let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
        let mut publish = publisher(&channel);
        let sent: Vec<_> = (0..20_000)
            .map(|number| {
                let payload = event(number, 300);
                (publish(&payload, LONG).expect("room"), payload)
            })
            .collect();
        recorder.stop().expect("a clean end");
        let held = held(&place.directory("c"));
        assert!(held.gaps.is_empty() && held.events == sent, "{} of {}", held.events.len(), sent.len());
    }
}

#[test]
fn many_channels_share_a_few_threads_and_each_is_let_go_by_itself() {
    let place = Place::new();
    let recorders = Recorders::start(None).expect("a thread");
    let options = quick().segment_bytes(1 << 20).staging_bytes(1 << 20);
    let names: Vec<String> = (0..70).map(|number| format!("c{number}")).collect();
    let channels: Vec<Channel> =
        names.iter().map(|name| place.bus().create(name, &small(Kind::Stream)).expect("a channel")).collect();
    for channel in &channels {
        recorders.record(channel, place.journal(), &options).expect("it is recorded");
    }
    let mut senders: Vec<_> = channels
        .iter()
        .map(|channel| channel.publisher(&SendOptions::default()).expect("a publisher"))
        .collect();
    for number in 0..200u64 {
        for sender in &mut senders {
            sender.publish_timeout(&number.to_le_bytes(), LONG).expect("room");
        }
    }
    // A quiet thread sleeps, and an event wakes it.
    std::thread::sleep(Duration::from_millis(100));
    for sender in &mut senders {
        sender.publish_durable(b"the last one", LONG).expect("durable");
    }
    assert!(recorders.silence() < LONG);
    recorders.stop_one(channels[3].name()).expect("a clean end");
    assert_eq!(recorders.statuses().len(), 69);
    for status in recorders.stop() {
        assert_eq!((status.state, status.events), (JournalState::Stopped, 201), "{status:?}");
    }
    for name in &names {
        assert_eq!(held(&place.directory(name)).events.len(), 201);
    }
}

#[test]
fn old_segments_go_and_the_journal_begins_later() {
    let place = Place::new();
    let channel = place.bus().create("c", &small(Kind::Topic)).expect("a channel");
    let retention = Retention::default().max_bytes(Some(3 << 20));
    let options = quick().retention(retention);
    let recorder = Recorder::start(&channel, place.journal(), &options).expect("a recorder");
    let mut publish = publisher(&channel);
    let segments = || {
        let files = std::fs::read_dir(place.directory("c")).expect("the journal");
        files
            .filter(|file| {
                file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|e| e == "seg"))
            })
            .count()
    };
    let mut last = 0;
    for number in 0..100_000 {
        last = publish(&event(number, 100), LONG).expect("room");
    }
    channel.wait_durable(last, LONG).expect("durable");
    let deadline = Instant::now() + LONG;
    while segments() > 5 || channel.journal_positions().expect("positions").first == 0 {
        assert!(Instant::now() < deadline, "{} segments", segments());
        std::thread::sleep(Duration::from_millis(10));
    }
    recorder.stop().expect("a clean end");
    let first = channel.journal_positions().expect("positions").first;
    assert!(first > 0 && first < last);
    let journal = held(&place.directory("c"));
    assert_eq!(journal.events.first().map(|(position, _)| *position), Some(first));
    assert_eq!(journal.events.last().map(|(position, _)| *position), Some(last));
}

/// Takes tickets and gives them up, and waits until the journaller's cursor has passed them.
/// Returns that position.
fn give_up<O: PublishEnd>(channel: &Channel, sender: &mut Sender<O>, tickets: u64) -> u64 {
    let deadline = Instant::now() + LONG;
    let pause = || {
        assert!(Instant::now() < deadline, "the journaller holds what carries no event");
        std::thread::sleep(Duration::from_micros(200));
    };
    for _ in 0..tickets {
        while sender.try_claim(8).map(drop).is_err() {
            pause();
        }
    }
    let end = sender.try_claim(8).map(|claim| claim.position()).expect("room") + 1;
    let cursor = || {
        let info = channel.info().expect("information");
        info.participants.iter().find(|one| one.name == ".journal").and_then(|one| one.cursor)
    };
    while cursor() != Some(end) {
        pause();
    }
    end
}

#[test]
fn tickets_that_were_given_up_are_no_gap_to_the_next_journaller() {
    for (kind, tickets) in [(Kind::Topic, 1), (Kind::Topic, 1000), (Kind::Queue, 1)] {
        let place = Place::new();
        let channel = place.bus().create("c", &small(kind)).expect("a channel");
        let mut publish = publisher(&channel);
        let record = || Recorder::start(&channel, place.journal(), &quick()).expect("a recorder");
        let recorder = record();
        let mut positions = vec![publish(b"first", LONG).expect("room")];
        channel.wait_written(positions[0], LONG).expect("written");
        let options = SendOptions::default();
        let end = match kind {
            Kind::Topic => give_up(&channel, &mut channel.topic_publisher(&options).expect("one"), tickets),
            _ => give_up(&channel, &mut channel.producer(&options).expect("one"), tickets),
        };
        recorder.stop().expect("a clean end");
        let recorder = record();
        assert_eq!(recorder.report().gap, None, "{kind}");
        positions.push(publish(b"second", LONG).expect("room"));
        assert_eq!(positions[1], end);
        channel.wait_written(end, LONG).expect("written");
        recorder.stop().expect("a clean end");
        let held = held(&place.directory("c"));
        assert!(held.gaps.is_empty(), "{:?}", held.gaps);
        assert_eq!(held.events.iter().map(|(position, _)| *position).collect::<Vec<_>>(), positions);
    }
}
