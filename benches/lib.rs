//! The common parts of the benches: a bus of their own, and the two ends of each kind in one
//! thread.
//!
//! One thread that sends and receives in turn shows the cost of the calls themselves: instructions,
//! not the transfer of lines between cores, which `railbus bench` measures.

use railbus::{
    Bus, Channel, ChannelOptions, Kind, PublishEnd, Reader, SendOptions, Sender, SlotPublishEnd,
    StreamPublishEnd, SubscribeOptions, WorkOptions, Worker,
};

/// A bus that is removed when this is dropped.
pub struct TemporaryBus {
    /// The bus.
    pub bus: Bus,
    _base: tempfile::TempDir,
}

impl TemporaryBus {
    /// A bus in a directory of its own below /dev/shm.
    ///
    /// # Panics
    /// When there is no room: a bench has nobody to report to.
    pub fn new() -> TemporaryBus {
        let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let bus = Bus::at(base.path(), "benches").expect("a bus in it");
        TemporaryBus { bus, _base: base }
    }

    /// A channel for events of up to 256 bytes, in ordinary pages: nothing of it lies outside of
    /// the directory.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn channel(&self, kind: Kind) -> Channel {
        let options = ChannelOptions::new(kind).pages(railbus::Pages::Ordinary);
        let options = match kind {
            Kind::Stream => options.capacity_bytes(256 << 10),
            Kind::Queue | Kind::Topic => options.slots(256).slot_bytes(512),
            Kind::Table => options.keys(256).value_bytes(64),
        };
        self.bus.create(&kind.to_string(), &options).expect("a channel")
    }
}

impl Default for TemporaryBus {
    fn default() -> TemporaryBus {
        TemporaryBus::new()
    }
}

/// A sending and a receiving end in one thread.
pub struct Pair<O: PublishEnd, R> {
    /// Sends.
    pub sender: Sender<O>,
    /// Receives.
    pub receiver: R,
}

/// Both ends of a stream.
///
/// # Panics
/// As [`TemporaryBus::new`], and so do the others.
pub fn stream(temporary: &TemporaryBus) -> Pair<StreamPublishEnd, railbus::Subscriber> {
    let channel = temporary.channel(Kind::Stream);
    Pair {
        sender: channel.publisher(&SendOptions::default()).expect("a publisher"),
        receiver: channel.subscriber(&SubscribeOptions::default()).expect("a subscriber"),
    }
}

/// Both ends of a topic.
pub fn topic(temporary: &TemporaryBus) -> Pair<SlotPublishEnd<true>, railbus::TopicSubscriber> {
    let channel = temporary.channel(Kind::Topic);
    Pair {
        sender: channel.topic_publisher(&SendOptions::default()).expect("a publisher"),
        receiver: channel.topic_subscriber(&SubscribeOptions::default()).expect("a subscriber"),
    }
}

/// Both ends of a queue; the worker takes `grab` events from the ring at once.
pub fn queue(temporary: &TemporaryBus, grab: u32) -> Pair<SlotPublishEnd<false>, Worker> {
    let channel = temporary.channel(Kind::Queue);
    let options = WorkOptions::default().grab(grab);
    Pair {
        sender: channel.producer(&SendOptions::default()).expect("a producer"),
        receiver: channel.worker(&options).expect("a worker"),
    }
}

/// A receiving end: takes one event and returns a word of it.
pub trait Take {
    /// Receives one event, which must be there, and returns its first word (0 when it is shorter).
    fn take_one(&mut self) -> u64;

    /// Receives up to `most` events at once; returns how many.
    fn take_batch(&mut self, most: usize) -> usize;
}

/// The first word of an event.
#[inline(always)]
fn first_word(event: &[u8]) -> u64 {
    event.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word))
}

impl<I: railbus::ReadEnd> Take for Reader<I> {
    #[inline(always)]
    fn take_one(&mut self) -> u64 {
        match self.try_recv() {
            Ok(Some(event)) => first_word(&event),
            other => unreachable!("an event was published before: {other:?}"),
        }
    }

    #[inline(always)]
    fn take_batch(&mut self, most: usize) -> usize {
        let batch = self.batch(most).expect("the channel is sound");
        batch.iter().for_each(|event| {
            std::hint::black_box(first_word(&event));
        });
        batch.len()
    }
}

impl Take for Worker {
    #[inline(always)]
    fn take_one(&mut self) -> u64 {
        match self.try_take() {
            Ok(Some(job)) => {
                let word = first_word(&job);
                let _ = job.done();
                word
            }
            other => unreachable!("an event was published before: {other:?}"),
        }
    }

    #[inline(always)]
    fn take_batch(&mut self, most: usize) -> usize {
        (0..most).for_each(|_| {
            std::hint::black_box(self.take_one());
        });
        most
    }
}
