//! Models of the stream: publish and read, short commits, batches, padding, joins, lossy reading,
//! take-over.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loom::thread;
use railbus_ring::members::gates::NO_GATE;
use railbus_ring::members::join::StartAt;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::stream::publisher::{NoRoom, StreamPublisher};
use railbus_ring::stream::subscriber::{Poll, StreamSubscriber};
use railbus_ring::stream::view::StreamView;
use railbus_ring::{frame, layout};

use super::slot_rig::ACTIVE;
use crate::loom_memory::{Actor, LoomMemory, Weak, Words};

/// Capacity of the ring: four frames of one payload word.
pub const CAPACITY: u64 = 64;

/// How the bytes of the ring are modelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Frames of one payload word only, which is a cell.
    Cells,
    /// Frames of any size; every word is atomic.
    Words,
}

/// The files of a stream.
#[derive(Clone)]
pub struct StreamRig {
    /// `.ring` without its data.
    pub ring: Rc<Words>,
    /// `.acks`.
    pub acks: Rc<Words>,
    /// Frames.
    pub data: Rc<Words>,
    payload: Payload,
    consumers: usize,
    capacity: u64,
}

impl StreamRig {
    /// A stream that begins at `start` with no event before it.
    pub fn new(weak: Weak, payload: Payload, start: u64, consumers: usize) -> StreamRig {
        StreamRig::with_capacity(weak, payload, start, consumers, CAPACITY)
    }

    /// As [`Self::new`], with another capacity.
    pub fn with_capacity(
        weak: Weak,
        payload: Payload,
        start: u64,
        consumers: usize,
        capacity: u64,
    ) -> StreamRig {
        let ring = Words::new(weak)
            .shared(layout::ANCHOR_INDEX, 0)
            .shared(layout::ANCHOR_FLOOR, start)
            .silent(layout::entry(0) + layout::POSITION)
            .with(|ring| {
                (0..8).fold(ring, |ring, i| {
                    let word = if i % 2 == 0 { start } else { 0 };
                    ring.shared(layout::ANCHOR_ENTRIES + i * 8, word)
                })
            });
        // The word of a lossy reader, where no consumer is modelled.
        let acks = Words::new(weak)
            .silent(layout::entry(0) + layout::JOINED)
            .silent(layout::entry(0) + layout::LENT_FROM)
            .silent(layout::entry(0) + layout::LENT_TO)
            .fixed(layout::CONSUMERS_HIGH, consumers as u64)
            .with(|acks| {
                (0..consumers).fold(acks, |acks, i| {
                    let entry = layout::entry(i);
                    acks.silent(entry + layout::JOINED)
                        .silent(entry + layout::LENT_FROM)
                        .silent(entry + layout::LENT_TO)
                        .fixed(entry + layout::STATE, ACTIVE)
                        .shared(entry + layout::CURSOR, NO_GATE)
                })
            });
        let data = (0..capacity as usize / 8).fold(Words::new(weak), |data, i| match payload {
            Payload::Cells if i % 2 == 1 => data.cell(i * 8),
            _ => data.shared(i * 8, 0),
        });
        StreamRig { ring: ring.share(), acks: acks.share(), data: data.share(), payload, consumers, capacity }
    }

    /// Takes the stream over.
    pub fn publisher(&self, actor: &Rc<Actor>) -> RigPublisher {
        let data = LoomMemory::writable(&self.data, actor);
        let view = StreamView {
            ring: LoomMemory::writable(&self.ring, actor),
            acks: LoomMemory::read_only(&self.acks, actor),
            data: data.clone(),
            capacity: self.capacity,
            consumers: self.consumers,
        };
        let inner = StreamPublisher::take_over(view, 0);
        RigPublisher { inner: inner.expect("the stream is intact"), data, payload: self.payload }
    }

    /// A subscriber in entry `index` that has not joined.
    pub fn subscriber(&self, index: usize, lossy: bool, actor: &Rc<Actor>) -> RigSubscriber {
        let data = LoomMemory::read_only(&self.data, actor);
        let view = StreamView {
            ring: LoomMemory::read_only(&self.ring, actor),
            acks: LoomMemory::writable(&self.acks, actor),
            data: data.clone(),
            capacity: self.capacity,
            consumers: self.consumers,
        };
        RigSubscriber { inner: StreamSubscriber::new(view, index, lossy), data, payload: self.payload }
    }

    /// A subscriber that has joined at the oldest event.
    pub fn joined(&self, index: usize) -> RigSubscriber {
        let mut subscriber = self.subscriber(index, false, &Actor::immortal());
        subscriber.inner.join(StartAt::Oldest).expect("joins");
        subscriber
    }
}

/// A publisher whose every payload word is the number of the event.
pub struct RigPublisher {
    /// The protocol's publisher.
    pub inner: StreamPublisher<LoomMemory>,
    data: LoomMemory,
    payload: Payload,
}

impl RigPublisher {
    /// One attempt to publish event `number` with `words` payload words, of `claimed` claimed.
    pub fn publish(&mut self, number: u64, words: usize, claimed: usize) -> bool {
        // The fast path first, as the handles do.
        let easy = self.inner.claim_fast(claimed as u64 * 8);
        let claim = match easy.map_or_else(|| self.inner.claim(claimed as u64 * 8), Ok) {
            Ok(claim) => claim,
            Err(NoRoom::Gate(_)) => return false,
            Err(NoRoom::TooLong) => panic!("{claimed} words fit"),
        };
        let at = self.inner.body_offset(claim);
        for i in 0..claimed {
            match self.payload {
                Payload::Cells => self.data.write_cell(at + i * 8, number),
                Payload::Words => self.data.store(at + i * 8, number, Edge::Plain),
            }
        }
        let header = frame::header(words as u32 * 8, 0, 0);
        match easy {
            Some(_) => self.inner.commit_fast(claim, header),
            None => self.inner.commit(claim, header),
        }
        true
    }

    /// One attempt to publish the next event, with one payload word.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> bool {
        let number = self.inner.place().count;
        self.publish(number, 1, 1)
    }

    /// One attempt to publish the next `events` events, with one payload word each, as a batch.
    /// Returns how many went on the fast path.
    pub fn batch(&mut self, events: usize) -> usize {
        let first = self.inner.place().count;
        let numbers: Vec<[u8; 8]> = (first..).take(events).map(u64::to_le_bytes).collect();
        let put = |at, number: &[u8]| match (self.payload, number.first_chunk()) {
            (Payload::Cells, Some(&number)) => self.data.write_cell(at, u64::from_le_bytes(number)),
            (Payload::Words, Some(&number)) => self.data.store(at, u64::from_le_bytes(number), Edge::Plain),
            (_, None) => panic!("numbers have eight bytes"),
        };
        self.inner.publish_all_fast(numbers.iter().map(<[u8; 8]>::as_slice), put)
    }
}

/// A subscriber that checks that each event's words are the event's number.
pub struct RigSubscriber {
    /// The protocol's subscriber.
    pub inner: StreamSubscriber<LoomMemory>,
    data: LoomMemory,
    payload: Payload,
}

impl RigSubscriber {
    /// One attempt to read in place. Returns whether there was an event.
    pub fn poll(&mut self) -> bool {
        // The fast path first, as the handles do.
        let found = self.inner.poll_fast().map_or_else(|| self.inner.poll(|| ()), Poll::Event);
        match found {
            Poll::Event(event) => {
                let at = self.inner.body_offset(event);
                for i in 0..frame::body_bytes(event.header) as usize / 8 {
                    let word = match self.payload {
                        Payload::Cells => self.data.read_cell(at + i * 8),
                        Payload::Words => self.data.load(at + i * 8, Edge::Plain),
                    };
                    assert_eq!(word, self.inner.place().count - 1);
                }
                true
            }
            Poll::Empty => {
                let _ = self.inner.acknowledge();
                false
            }
            other => panic!("{other:?}"),
        }
    }

    /// One attempt to read up to `most` events of one payload word, as a batch. Returns how many
    /// there were.
    pub fn poll_all(&mut self, most: usize) -> usize {
        // As the handle does before a batch: the events of the span that it names may be lent.
        self.inner.begin_batch();
        let mut number = self.inner.place().count;
        let found = self.inner.poll_all_fast(most, |_, at| {
            let word = match self.payload {
                Payload::Cells => self.data.read_cell(at),
                Payload::Words => self.data.load(at, Edge::Plain),
            };
            assert_eq!(word, number);
            number += 1;
        });
        assert_eq!(self.inner.place().count, number);
        found
    }

    /// One attempt to copy. Returns whether there was an event.
    pub fn poll_lossy(&mut self, copy: &mut Vec<u64>) -> bool {
        let before = self.inner.place();
        match self.inner.poll_lossy(copy) {
            Poll::Event(_) => {
                assert!(copy.iter().all(|&word| word == before.count), "torn: {copy:?} at {before:?}");
                true
            }
            Poll::Lost { from, to, events } => {
                let after = self.inner.place();
                assert!(from == before.position && to == after.position && to > from);
                assert_eq!(events, after.count - before.count);
                // Every frame of the models that lose events has 16 bytes: the count must fit the
                // place.
                assert_eq!(to - from, events * 16, "an exact count");
                false
            }
            Poll::Empty => false,
            Poll::Corrupt => panic!("nothing is corrupt"),
        }
    }

    /// Reads the remaining events and returns where they end.
    pub fn drain(&mut self) -> u64 {
        while self.poll() {}
        self.inner.place().count
    }
}

/// A publisher and a subscriber, from just below the ring's wrap.
pub fn publish_next(weak: Weak) {
    let rig = StreamRig::new(weak, Payload::Cells, CAPACITY - 16, 1);
    let mut publisher = rig.publisher(&Actor::immortal());
    let mut reader = rig.joined(0);
    let reading = thread::spawn(move || {
        reader.poll();
        reader.poll();
        reader
    });
    assert!(publisher.next() && publisher.next());
    assert_eq!(reading.join().unwrap().drain(), 2);
}

/// A subscriber gates a publisher: events that it has not passed are not overwritten.
pub fn gate(weak: Weak) {
    let rig = StreamRig::new(weak, Payload::Cells, CAPACITY - 32, 1);
    let mut publisher = rig.publisher(&Actor::immortal());
    let mut reader = rig.joined(0);
    assert!(publisher.next() && publisher.next() && publisher.next());
    let reading = thread::spawn(move || {
        reader.poll();
        reader.poll();
        let _ = reader.inner.acknowledge();
        reader
    });
    let more = (0..3).filter(|_| publisher.next()).count() as u64;
    let mut reader = reading.join().unwrap();
    assert_eq!(reader.drain(), 3 + more);
    assert!(publisher.next(), "everybody can go on");
    assert_eq!(reader.drain(), 4 + more);
}

/// A batch is published and read as it comes: every visible part of it is whole.
pub fn batch(weak: Weak) {
    // One look at the cursors allows three frames here, and then the lap ends.
    let capacity = 512;
    let rig = StreamRig::with_capacity(weak, Payload::Cells, capacity - 48, 1, capacity);
    let mut publisher = rig.publisher(&Actor::immortal());
    let mut reader = rig.joined(0);
    assert!(publisher.next());
    let reading = thread::spawn(move || {
        let seen = reader.poll_all(2);
        assert!(seen >= 1, "the first was published before");
        reader.poll_all(2);
        reader
    });
    assert_eq!(publisher.batch(3), 2, "the third needs a look at the cursors");
    let mut reader = reading.join().unwrap();
    reader.poll_all(3);
    assert_eq!(reader.inner.place().count, 3);
    assert!(publisher.next() && publisher.batch(1) == 1, "everybody can go on");
    assert_eq!(reader.drain(), 5);
}

/// A commit of less than was claimed leaves no old header after it.
pub fn short_commit(weak: Weak) {
    let rig = StreamRig::new(weak, Payload::Words, 0, 1);
    let mut publisher = rig.publisher(&Actor::immortal());
    let mut reader = rig.joined(0);
    // A lap of old headers at every frame boundary.
    for number in 0..4 {
        assert!(publisher.publish(number, 1, 1));
        assert_eq!(reader.drain(), number + 1);
    }
    let reading = thread::spawn(move || {
        reader.poll();
        reader.poll();
        reader
    });
    assert!(publisher.publish(4, 1, 2));
    // In the room that the first claimed and did not use: looking for more would show the next
    // header.
    assert!(publisher.publish(5, 0, 0));
    assert_eq!(reading.join().unwrap().drain(), 6);
}

/// A frame that does not fit before the ring's end: padding and frame appear together.
pub fn padding(weak: Weak) {
    let rig = StreamRig::new(weak, Payload::Words, 3 * CAPACITY - 16, 1);
    let mut publisher = rig.publisher(&Actor::immortal());
    let mut reader = rig.joined(0);
    let reading = thread::spawn(move || {
        reader.poll();
        reader.poll();
        reader
    });
    assert!(publisher.publish(0, 2, 2));
    let second = publisher.publish(1, 1, 1);
    assert_eq!(reading.join().unwrap().drain(), 1 + second as u64);
}

/// A subscriber joins while the publisher, whom nobody gates, laps: it gets consecutive events with
/// the right numbers, intact.
pub fn join(weak: Weak, from: StartAt) {
    let rig = StreamRig::new(weak, Payload::Cells, CAPACITY - 16, 1);
    let mut publisher = rig.publisher(&Actor::immortal());
    assert!((0..3).all(|_| publisher.next()));
    let joining = rig.clone();
    let joiner = thread::spawn(move || {
        let mut reader = joining.subscriber(0, false, &Actor::immortal());
        reader.inner.join(from).expect("joins");
        reader.poll();
        reader
    });
    let more = (0..3).filter(|_| publisher.next()).count() as u64;
    let mut reader = joiner.join().unwrap();
    assert_eq!(reader.drain(), 3 + more);
    assert!(publisher.next(), "everybody can go on");
    assert_eq!(reader.drain(), 4 + more);
}

/// A lossy subscriber, which joined before or joins live now, and a publisher that laps: no event
/// is torn, losses are exact, and nothing is called corrupt.
pub fn lossy(weak: Weak, joins_live: bool) {
    let rig = StreamRig::new(weak, Payload::Words, CAPACITY - 16, 0);
    let mut publisher = rig.publisher(&Actor::immortal());
    assert!((0..3).all(|_| publisher.next()));
    let mut reader = rig.subscriber(0, true, &Actor::immortal());
    if !joins_live {
        reader.inner.join(StartAt::Oldest).expect("joins");
    }
    let reader = thread::spawn(move || {
        let mut copy = Vec::new();
        if joins_live {
            reader.inner.join(StartAt::Live).expect("joins");
        } else {
            reader.poll_lossy(&mut copy);
        }
        reader.poll_lossy(&mut copy);
        reader
    });
    assert!((0..2).all(|_| publisher.next()));
    let mut reader = reader.join().unwrap();
    let mut copy = Vec::new();
    while reader.inner.place().count < 5 {
        reader.poll_lossy(&mut copy);
    }
    assert_eq!(reader.inner.place(), publisher.inner.place());
}

/// A lossy subscriber that has read beyond the recent place it knows of is overrun by a whole ring.
/// The place where it resumes must not be older than the floor that showed the overrun.
pub fn lossy_far_behind(weak: Weak) {
    let rig = StreamRig::new(weak, Payload::Words, CAPACITY - 16, 0);
    let mut publisher = rig.publisher(&Actor::immortal());
    let mut reader = rig.subscriber(0, true, &Actor::immortal());
    reader.inner.join(StartAt::Live).expect("joins");
    assert!(publisher.next() && publisher.next());
    let mut copy = Vec::new();
    assert!(reader.poll_lossy(&mut copy) && reader.poll_lossy(&mut copy));
    let reading = thread::spawn(move || {
        reader.poll_lossy(&mut Vec::new());
    });
    assert!((0..5).all(|_| publisher.next()));
    reading.join().unwrap();
}

/// The publisher is killed at its k-th access; a subscriber reads beside it; a successor goes on at
/// the very next event while another subscriber joins.
pub fn publisher_dies(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let rig = StreamRig::new(weak, Payload::Words, CAPACITY - 16, 2);
    let mut reader = rig.joined(0);
    let dying = Actor::mortal(k, killed);
    let (publishing, actor) = (rig.clone(), dying.clone());
    let first = thread::spawn(move || {
        actor.live(|| {
            let mut publisher = publishing.publisher(&actor);
            for _ in 0..2 {
                publisher.next();
            }
        });
        // The publisher's lock is free now: the process that takes it sees all that was stored.
        actor.kill();
    });
    reader.poll();
    if dying.is_dead() {
        let mut publisher = rig.publisher(&Actor::immortal());
        publisher.next();
    }
    let joining = rig.clone();
    first.join().unwrap();
    let joiner = thread::spawn(move || {
        let mut joiner = joining.subscriber(1, false, &Actor::immortal());
        joiner.inner.join(StartAt::Oldest).expect("joins");
        joiner
    });
    let mut publisher = rig.publisher(&Actor::immortal());
    let mut count = reader.drain();
    assert_eq!(count, publisher.inner.place().count);
    // The joiner's first cursor may be in the way.
    count += publisher.next() as u64;
    let mut joiner = joiner.join().unwrap();
    joiner.drain();
    reader.drain();
    assert!(publisher.next(), "everybody can go on");
    assert_eq!((reader.drain(), joiner.drain()), (count + 1, count + 1));
}

/// A publisher is killed between storing the index of the places and its memory fence. Its
/// successor refills the other entry, which a slow joiner may still be reading: the joiner must
/// notice.
pub fn successor_refills_the_places(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let rig = StreamRig::new(weak, Payload::Words, CAPACITY - 16, 0);
    {
        let mut warm = rig.publisher(&Actor::immortal());
        assert!(warm.next() && warm.next());
    }
    let dying = Actor::mortal(k, killed);
    let (publishing, actor) = (rig.clone(), dying.clone());
    let first = thread::spawn(move || {
        actor.live(|| {
            let mut publisher = publishing.publisher(&actor);
            publisher.next();
        });
        actor.kill();
    });
    let (taking_over, predecessor) = (rig.clone(), dying.clone());
    let second = thread::spawn(move || {
        if predecessor.is_dead() {
            let mut publisher = taking_over.publisher(&Actor::immortal());
            publisher.next();
        }
    });
    let mut reader = rig.subscriber(0, true, &Actor::immortal());
    reader.inner.join(StartAt::Live).expect("joins");
    let mut copy = Vec::new();
    reader.poll_lossy(&mut copy);
    first.join().unwrap();
    second.join().unwrap();
    let publisher = rig.publisher(&Actor::immortal());
    while reader.poll_lossy(&mut copy) {}
    assert_eq!(reader.inner.place(), publisher.inner.place());
}
