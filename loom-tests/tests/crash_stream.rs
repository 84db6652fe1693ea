//! The stream under deaths, and under one preemption, at every access.
//!
//! A pass does not prove anything about weak memory or about two preemptions of one participant
//! (see the loom models), nor that a real kernel drops locks as `LockTable` does (see the tests
//! with real processes).

use std::cell::RefCell;
use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, Participant};
use railbus_loom_tests::loom_memory::is_deep;
use railbus_ring::frame;
use railbus_ring::members::join::StartAt;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity, Registered};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::stream::places::Place;
use railbus_ring::stream::publisher::{NoRoom, StreamPublisher};
use railbus_ring::stream::subscriber::{Poll, StreamSubscriber};

const CAPACITY: u64 = 128;

/// Where streams start: at 0, just below a wrap of the ring, and far out, where a sign could
/// matter.
const STARTS: [u64; 4] = [0, CAPACITY - 8, 5 * CAPACITY - 24, (1 << 63) - 16];

struct Publisher {
    channel: CrashChannel,
    inner: StreamPublisher<CrashMemory>,
    data: CrashMemory,
}

impl Publisher {
    fn take_over(channel: &CrashChannel, who: &Rc<Participant>) -> Publisher {
        let inner = StreamPublisher::take_over(channel.publishers_view(who), 0);
        let inner = inner.expect("the ring holds what a publisher wrote");
        Publisher { channel: channel.clone(), inner, data: CrashMemory::writable(&channel.data, who) }
    }

    /// Publishes one event of `words` words that all hold its number; claims `spare` words more
    /// than it commits.
    fn publish(&mut self, words: u64, spare: u64) -> bool {
        for _ in 0..4 {
            // The fast path first, as the handles do.
            let easy = self.inner.claim_fast((words + spare) * 8);
            match easy.map_or_else(|| self.inner.claim((words + spare) * 8), Ok) {
                Ok(claim) => {
                    let at = self.inner.body_offset(claim);
                    let number = self.inner.place().count;
                    for i in 0..(words + spare) as usize {
                        self.data.store(at + i * 8, number, Edge::Plain);
                    }
                    let header = frame::header(words as u32 * 8, 7, 0);
                    match easy {
                        Some(_) => self.inner.commit_fast(claim, header),
                        None => self.inner.commit(claim, header),
                    }
                    return true;
                }
                Err(NoRoom::Gate(reader)) => {
                    if !self.inner.pass_over_dead(reader, &self.channel.peers()) {
                        return false;
                    }
                }
                Err(NoRoom::TooLong) => panic!("{words} words fit"),
            }
        }
        false
    }
}

impl Publisher {
    /// Publishes a batch of events with these numbers of words, as far as there is room.
    fn publish_batch(&mut self, words: &[usize]) {
        let numbers = self.inner.place().count..;
        let payloads: Vec<_> =
            numbers.zip(words).map(|(number, &words)| number.to_le_bytes().repeat(words)).collect();
        let data = self.data.clone();
        let easy = self.inner.publish_all_fast(payloads.iter().map(Vec::as_slice), |at, payload| {
            for (i, word) in payload.as_chunks().0.iter().enumerate() {
                data.store(at + i * 8, u64::from_le_bytes(*word), Edge::Plain);
            }
        });
        for &words in &words[easy..] {
            self.publish(words as u64, 0);
        }
    }
}

/// A reliable subscriber that checks everything it reads.
struct Subscriber {
    inner: StreamSubscriber<CrashMemory>,
    data: CrashMemory,
    registered: Registered,
}

impl Subscriber {
    fn new(channel: &CrashChannel, who: &Rc<Participant>, policy: u64) -> Subscriber {
        let identity = Identity { policy, name: [7; 8], ..Identity::default() };
        let registered = channel.register(Side::Consumers, who, &identity).expect("there is an entry");
        let inner = StreamSubscriber::new(
            channel.subscribers_view(who),
            registered.index,
            policy & registry::LOSSY != 0,
        );
        Subscriber { inner, data: CrashMemory::read_only(&channel.data, who), registered }
    }

    /// Reads up to `most` events and returns how many; every word must be the event's number.
    fn read(&mut self, most: u64) -> u64 {
        for n in 0..most {
            match self.inner.poll_fast().map_or_else(|| self.inner.poll(|| ()), Poll::Event) {
                Poll::Event(event) => {
                    let at = self.inner.body_offset(event);
                    for i in 0..frame::body_bytes(event.header) as usize / 8 {
                        let number = self.data.load(at + i * 8, Edge::Plain);
                        assert_eq!(number, self.inner.place().count - 1, "at {}", event.position);
                    }
                }
                Poll::Empty => {
                    let _ = self.inner.acknowledge();
                    return n;
                }
                other => panic!("{other:?}"),
            }
        }
        most
    }
}

/// A live subscriber is evicted before its access `k`, and the publisher goes on for laps. The
/// events that it holds are not overwritten, and nobody waits for it. In batches it holds several
/// events. Returns whether it came to that access.
fn evicted_at(start: u64, words: u64, in_batches: bool, k: u32) -> bool {
    let channel = CrashChannel::stream(CAPACITY, Place { position: start, count: 7 }, 2);
    let publisher = Rc::new(RefCell::new(Publisher::take_over(&channel, &Participant::immortal())));
    let (its, evicting) = (publisher.clone(), channel.clone());
    let victim = Participant::interrupted_at(k, move || {
        let who = Participant::immortal();
        let registry = evicting.registry(Side::Consumers, &who);
        // It may not have registered yet.
        registry.evict(&evicting.locks_for(Side::Consumers, &who), 0, registry.state(0));
        for i in 0..40 {
            let published = its.borrow_mut().publish(1 + i % 2, 0);
            let is_evicted = registry::status(registry.state(0)) == registry::Status::Evicted;
            assert!(published || !is_evicted, "event {i}: {start}, {words} words, {in_batches}, access {k}");
        }
    });
    let mut reader = Subscriber::new(&channel, &victim, subscriber_policy());
    let registry = channel.registry(Side::Consumers, &victim);
    if reader.inner.join(StartAt::Live).is_err() {
        // Nothing protects the walk of a subscriber that is evicted while it joins.
        assert!(!registry.is_registered(&reader.registered));
        return !victim.is_yet_to_be_interrupted();
    }
    let full = |_: &u32| publisher.borrow_mut().publish(words, 0);
    let _ = (0..3).take_while(full).count();
    for _ in 0..3 {
        let mut held = Vec::new();
        if in_batches {
            reader.inner.begin_batch();
        }
        while held.len() < if in_batches { 3 } else { 1 } {
            let polled = match (in_batches, reader.inner.poll_fast()) {
                (_, Some(event)) => Poll::Event(event),
                (true, None) => reader.inner.poll_held(),
                (false, None) => reader.inner.poll(|| ()),
            };
            let Poll::Event(event) = polled else { break };
            held.push((event, reader.inner.place().count - 1));
        }
        if !registry.is_registered(&reader.registered) {
            reader.inner.take_back_lent();
            break;
        }
        for (event, number) in held {
            for i in 0..frame::body_bytes(event.header) as usize / 8 {
                let word = reader.data.load(reader.inner.body_offset(event) + i * 8, Edge::Plain);
                assert_eq!(word, number, "at {} of {start}, access {k}", event.position);
            }
        }
        let _ = reader.inner.acknowledge();
    }
    channel.leave(Side::Consumers, &victim, &reader.registered, false);
    victim.kill();
    // A reader can walk along the padding that the publisher left.
    let mut publisher = Publisher::take_over(&channel, &Participant::immortal());
    let mut other = Subscriber::new(&channel, &Participant::immortal(), subscriber_policy());
    other.inner.join(StartAt::Oldest).expect("the floor");
    other.read(u64::MAX);
    for i in 0..20 {
        assert!(publisher.publish(1 + i % 4, 0));
        assert_eq!(other.read(u64::MAX), 1);
    }
    !victim.is_yet_to_be_interrupted()
}

#[test]
fn what_a_subscriber_has_in_hand_stays_when_it_is_evicted_at_any_access() {
    let mut runs = 0;
    for start in STARTS {
        for words in [1, 2, 4] {
            // A batch of the largest events would hold the whole ring.
            for in_batches in [false, words < 4] {
                runs += (0..).take_while(|&k| evicted_at(start, words, in_batches, k)).count();
            }
        }
    }
    assert!(runs > 500, "{runs} runs");
}

fn subscriber_policy() -> u64 {
    registry::ROLE_SUBSCRIBER
}

/// A publisher's life: short commits, frames of several sizes that need padding at the wrap, a
/// batch, rescans.
fn publish_all_kinds(channel: &CrashChannel, who: &Rc<Participant>, reader: &RefCell<Subscriber>) {
    let mut publisher = Publisher::take_over(channel, who);
    for round in 0..3 {
        publisher.publish(1, 2);
        publisher.publish(4 - round, 0);
        reader.borrow_mut().read(u64::MAX);
        publisher.publish_batch(&[1, 2, 1]);
        reader.borrow_mut().read(1 + round);
    }
}

#[test]
fn a_successor_goes_on_wherever_two_publishers_die() {
    let mut runs = 0;
    for start in STARTS {
        for first in 0.. {
            let mut first_died = false;
            for second in (0..).map(Some).chain([None]) {
                let channel = CrashChannel::stream(CAPACITY, Place { position: start, count: 40 }, 4);
                let reading = Participant::immortal();
                let mut reader = Subscriber::new(&channel, &reading, subscriber_policy());
                reader.inner.join(StartAt::Oldest).expect("the oldest is retained");
                let reader = RefCell::new(reader);
                let one = Participant::dying_at(Some(first));
                one.live(|| publish_all_kinds(&channel, &one, &reader));
                first_died |= one.is_dead();
                let two = Participant::dying_at(second);
                two.live(|| publish_all_kinds(&channel, &two, &reader));

                let last = Participant::immortal();
                let mut publisher = Publisher::take_over(&channel, &last);
                reader.borrow_mut().read(u64::MAX);
                assert_eq!(reader.borrow().inner.place(), publisher.inner.place(), "{first} {second:?}");
                for n in 0..40 {
                    assert!(publisher.publish(1 + n % 5, n % 2), "room after {first} {second:?}");
                    assert_eq!(reader.borrow_mut().read(u64::MAX), 1);
                }
                runs += 1;
                if second.is_some() && !two.is_dead() {
                    break;
                }
            }
            if !first_died {
                break;
            }
        }
    }
    assert!(runs > 10_000, "{runs} runs");
}

/// Events that were committed before a death are read after it, and nothing else.
#[test]
fn what_was_committed_is_read_and_what_was_not_is_not() {
    for start in STARTS {
        for k in 0.. {
            let channel = CrashChannel::stream(CAPACITY, Place { position: start, count: 0 }, 2);
            let reading = Participant::immortal();
            let mut reader = Subscriber::new(&channel, &reading, subscriber_policy());
            reader.inner.join(StartAt::Oldest).expect("the oldest is retained");
            // The commits that returned to the publisher, and the commits that it had begun.
            let (committed, begun) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
            let one = Participant::dying_at(Some(k));
            one.live(|| {
                let mut publisher = Publisher::take_over(&channel, &one);
                for n in 0..3 {
                    begun.set(n + 1);
                    publisher.publish(1 + n, 0);
                    committed.set(publisher.inner.place().count);
                }
                begun.set(5);
                publisher.publish_batch(&[1, 1]);
                committed.set(publisher.inner.place().count);
            });
            let read = reader.read(u64::MAX);
            assert!((committed.get()..=begun.get()).contains(&read), "{read} were read, killed at {k}");
            let mut late = Subscriber::new(&channel, &reading, subscriber_policy());
            late.inner.join(StartAt::Last(2)).expect("the last are retained");
            assert_eq!(late.inner.place().count, read.saturating_sub(2), "killed at {k}");
            assert_eq!(late.read(u64::MAX), read.min(2), "killed at {k}");
            if !one.is_dead() {
                assert_eq!(read, 5);
                break;
            }
        }
    }
}

#[test]
fn a_joiner_that_dies_anywhere_stops_nobody() {
    for start in STARTS {
        for from in [StartAt::Oldest, StartAt::Live, StartAt::Last(2), StartAt::Position(start)] {
            for k in 0.. {
                let channel = CrashChannel::stream(CAPACITY, Place { position: start, count: 0 }, 1);
                let publishing = Participant::immortal();
                let mut publisher = Publisher::take_over(&channel, &publishing);
                for n in 0..3 {
                    assert!(publisher.publish(1 + n % 2, 0));
                }
                let joining = Participant::dying_at(Some(k));
                joining.live(|| {
                    let mut reader = Subscriber::new(&channel, &joining, subscriber_policy());
                    reader.inner.join(from).expect("nothing was overwritten");
                    reader.read(2);
                });
                let dead = joining.is_dead();
                joining.kill();
                for n in 0..30 {
                    assert!(publisher.publish(1 + n % 3, 0), "stopped by a joiner killed at {k}");
                }
                // The dead joiner's entry is used again: it is the only one.
                let next = Participant::immortal();
                let mut reader = Subscriber::new(&channel, &next, subscriber_policy());
                reader.inner.join(StartAt::Live).expect("the end is retained");
                assert_eq!(reader.inner.place(), publisher.inner.place());
                assert!(publisher.publish(1, 0));
                assert_eq!(reader.read(u64::MAX), 1);
                if !dead {
                    break;
                }
            }
        }
    }
}

/// Runs `inside` at every access of a subscriber that joins at `from` (reliably), and checks what
/// it then reads.
fn join_with_a_publisher_inside(from: StartAt, publish: u64) {
    for start in STARTS {
        for k in 0.. {
            let channel = CrashChannel::stream(CAPACITY, Place { position: start, count: 0 }, 2);
            let publishing = Participant::immortal();
            let publisher = Rc::new(RefCell::new(Publisher::take_over(&channel, &publishing)));
            for n in 0..9 {
                assert!(publisher.borrow_mut().publish(1 + n % 3, 0));
            }
            let inside = publisher.clone();
            let joining = Participant::interrupted_at(k, move || {
                for n in 0..publish {
                    // The joiner's own cursor may refuse it.
                    inside.borrow_mut().publish(1 + n % 4, 0);
                }
            });
            let mut reader = Subscriber::new(&channel, &joining, subscriber_policy());
            reader.inner.join(from).expect("joins");
            if let StartAt::Last(events) = from {
                let (first, end) = (reader.inner.place().count, publisher.borrow().inner.place().count);
                assert!((9 - events..=end - events).contains(&first), "{first} of {end}, interrupted at {k}");
            }
            reader.read(u64::MAX);
            assert_eq!(reader.inner.place(), publisher.borrow().inner.place(), "interrupted at {k}");
            for n in 0..20 {
                assert!(publisher.borrow_mut().publish(1 + n % 5, 0), "interrupted at {k}");
                if reader.read(u64::MAX) == 0 {
                    panic!("an event was not seen");
                }
            }
            if joining.is_yet_to_be_interrupted() {
                break;
            }
        }
    }
}

#[test]
fn a_publisher_inside_every_step_of_a_join_takes_nothing_away() {
    for publish in [1, 3, 12] {
        join_with_a_publisher_inside(StartAt::Oldest, publish);
        join_with_a_publisher_inside(StartAt::Live, publish);
        for events in 0..3 {
            join_with_a_publisher_inside(StartAt::Last(events), publish);
        }
    }
}

/// A durable subscriber killed at any access, with a publisher inside every step of its join, is
/// resumed without loss. In this case the floor may be *above* its cursor: the publisher looked at
/// the cursors before the joiner stored its own, and published a higher floor after. The limit,
/// read after the memory fence, still protects it.
#[test]
fn a_durable_cursor_below_the_floor_is_resumed() {
    let durable = subscriber_policy() | registry::DURABLE;
    let mut below = 0;
    for start in STARTS {
        for joiner_inside in 0..60 {
            let channel = CrashChannel::stream(CAPACITY, Place { position: start, count: 0 }, 2);
            let warm = Participant::immortal();
            {
                let mut publisher = Publisher::take_over(&channel, &warm);
                for _ in 0..9 {
                    assert!(publisher.publish(1, 0));
                }
            }
            // The joiner's whole life, inside every step of the publisher: it joins at the floor
            // and is killed.
            let place = Rc::new(std::cell::Cell::new(None));
            let (told, its) = (place.clone(), channel.clone());
            let publishing = Participant::interrupted_at(joiner_inside, move || {
                let joining = Participant::immortal();
                let mut reader = Subscriber::new(&its, &joining, durable);
                reader.inner.join(StartAt::Oldest).expect("joins");
                told.set(Some(reader.inner.place()));
                joining.kill();
            });
            let mut publisher = Publisher::take_over(&channel, &publishing);
            for _ in 0..9 {
                publisher.publish(2, 0);
            }
            let Some(place) = place.get() else { continue };
            let next = Participant::immortal();
            let mut reader = Subscriber::new(&channel, &next, durable);
            let cursor = reader.registered.resumed.expect("the name is known");
            assert_eq!(cursor, place.position);
            let places = railbus_ring::stream::places::read(&CrashMemory::read_only(&channel.ring, &next), 1);
            below += (places.expect("untorn").floor.position > cursor) as u32;
            reader.inner.resume(cursor).expect("what a durable cursor gates is retained");
            assert_eq!(reader.inner.place(), place, "the event count is found again");
            let end = publisher.inner.place();
            assert_eq!(reader.read(u64::MAX), end.count - place.count);
        }
    }
    assert!(below > 0, "the case that this test is named for did not happen");
}

/// A durable subscriber is killed at any access of its join, with a publisher inside any access
/// before. A successor that resumes joins again, unless the dead subscriber had finished its join.
/// A cursor that is stored and not yet verified may lie where the publisher has already
/// overwritten.
#[test]
fn a_durable_subscriber_killed_while_it_joins_is_not_resumed_where_nothing_is_protected() {
    let durable = subscriber_policy() | registry::DURABLE;
    for start in STARTS {
        for inside in 0..80 {
            for k in inside + 1.. {
                let channel = CrashChannel::stream(CAPACITY, Place { position: start, count: 0 }, 2);
                let publishing = Participant::immortal();
                let publisher = Rc::new(RefCell::new(Publisher::take_over(&channel, &publishing)));
                (0..9).for_each(|_| assert!(publisher.borrow_mut().publish(1, 0)));
                let busy = publisher.clone();
                let inside_it = move || {
                    for _ in 0..9 {
                        busy.borrow_mut().publish(2, 0);
                    }
                };
                let joining = Participant::interrupted_and_dying(inside, inside_it, k);
                joining.live(|| {
                    let mut reader = Subscriber::new(&channel, &joining, durable);
                    reader.inner.join(StartAt::Oldest).expect("joins");
                });
                let survived = !joining.is_dead();
                joining.kill();
                let next = Participant::immortal();
                let mut reader = Subscriber::new(&channel, &next, durable);
                match reader.registered.resumed {
                    Some(cursor) => reader.inner.resume(cursor).expect("protected"),
                    None => reader.inner.join(StartAt::Oldest).expect("joins"),
                }
                reader.read(u64::MAX);
                assert_eq!(reader.inner.place(), publisher.borrow().inner.place());
                for n in 0..20 {
                    assert!(publisher.borrow_mut().publish(1 + n % 5, 0), "{inside} {k}");
                    assert_eq!(reader.read(u64::MAX), 1);
                }
                if survived {
                    break;
                }
            }
        }
    }
}

/// A busy publisher with another reader that keeps up moves its places between any two steps of a
/// joiner.
#[test]
fn a_joiner_is_not_starved_by_a_busy_publisher() {
    for start in STARTS {
        let channel = CrashChannel::stream(CAPACITY, Place { position: start, count: 0 }, 2);
        let steady = Participant::immortal();
        let mut keeper = Subscriber::new(&channel, &steady, subscriber_policy());
        keeper.inner.join(StartAt::Oldest).expect("joins");
        let publishing = Participant::immortal();
        let mut publisher = Publisher::take_over(&channel, &publishing);
        let joining = Participant::busy_at_joins(move || {
            publisher.publish(5, 0);
            keeper.read(u64::MAX);
        });
        let mut joiner = Subscriber::new(&channel, &joining, subscriber_policy());
        joiner.inner.join(StartAt::Oldest).expect("a joiner needs one look, not a quiet publisher");
    }
}

/// Payload words that look like a frame's header and, every other one, like the end of the stream:
/// they mislead a reader that reads where no frame begins.
fn tempting(i: usize, number: u64) -> u64 {
    if i.is_multiple_of(2) { frame::header(296, number as u16, 0) } else { 0 }
}

/// A publisher with such a payload; it never waits, because nobody gates it.
fn publish_tempting(publisher: &mut Publisher, words: u64) {
    let number = publisher.inner.place().count;
    let claim = publisher.inner.claim(words * 8).expect("nobody gates");
    let at = publisher.inner.body_offset(claim);
    for i in 0..words as usize {
        publisher.data.store(at + i * 8, tempting(i, number), Edge::Plain);
    }
    publisher.inner.commit(claim, frame::header(words as u32 * 8, number as u16, 0));
}

/// Runs the publisher inside every step of a lossy subscriber that joins and reads: no event is
/// torn, no event is invented, and losses are counted exactly.
fn lossy_with_a_publisher_inside(capacity: u64, from: StartAt, before: u64, publish: u64) {
    for start in STARTS {
        for k in 0.. {
            let channel = CrashChannel::stream(capacity, Place { position: start, count: 0 }, 1);
            let publishing = Participant::immortal();
            let publisher = Rc::new(RefCell::new(Publisher::take_over(&channel, &publishing)));
            for n in 0..before {
                publish_tempting(&mut publisher.borrow_mut(), 1 + n % 3);
            }
            let inside = publisher.clone();
            let reading = Participant::interrupted_at(k, move || {
                for n in 0..publish {
                    publish_tempting(&mut inside.borrow_mut(), 1 + n % 4);
                }
            });
            let mut reader = Subscriber::new(&channel, &reading, subscriber_policy() | registry::LOSSY);
            reader.inner.join(from).expect("joins");
            let mut copy = Vec::new();
            loop {
                let quiet = reading.is_yet_to_be_interrupted();
                let before = reader.inner.place();
                match reader.inner.poll_lossy(&mut copy) {
                    Poll::Event(event) => {
                        assert!(!copy.is_empty(), "every event has a payload");
                        let whole =
                            copy.iter().enumerate().all(|(i, &word)| word == tempting(i, before.count));
                        assert!(whole, "interrupted at {k}");
                        assert_eq!(frame::type_id(event.header) as u64, before.count, "interrupted at {k}");
                    }
                    Poll::Lost { from, to, events } => {
                        let after = reader.inner.place();
                        // The reader may have passed over padding before it noticed the loss.
                        assert!(from >= before.position && to == after.position);
                        assert_eq!(events, after.count - before.count);
                    }
                    // Events may arrive inside the poll that finds nothing: the next sees them.
                    Poll::Empty if quiet == reading.is_yet_to_be_interrupted() => break,
                    Poll::Empty => {}
                    Poll::Corrupt => panic!("corrupt at {before:?}, interrupted at {k}"),
                }
            }
            assert_eq!(reader.inner.place(), publisher.borrow().inner.place(), "interrupted at {k}");
            if reading.is_yet_to_be_interrupted() {
                break;
            }
        }
    }
}

#[test]
fn a_publisher_inside_every_step_of_a_lossy_reader_tears_nothing() {
    for publish in 1..20 {
        lossy_with_a_publisher_inside(CAPACITY, StartAt::Oldest, 9, publish);
    }
}

/// The walk of a lossy joiner is not protected: headers that it finds may be a later lap's payload
/// already.
#[test]
fn a_lossy_joiner_that_is_lapped_while_it_walks_starts_where_a_frame_begins() {
    for publish in 1..20 {
        lossy_with_a_publisher_inside(CAPACITY, StartAt::Live, 9, publish);
        lossy_with_a_publisher_inside(CAPACITY, StartAt::Last(2), 9, publish);
    }
    // A ring whose publisher rescans seldom, so that the walk is longer, and a first lap of any length.
    for before in 1..40 {
        for publish in (35..55).step_by(if is_deep() { 1 } else { 2 }) {
            lossy_with_a_publisher_inside(1024, StartAt::Live, before, publish);
            lossy_with_a_publisher_inside(1024, StartAt::Last(9), before, publish);
        }
    }
}
