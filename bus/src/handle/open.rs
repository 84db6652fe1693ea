//! Opening handles: the methods of [`Channel`] that register a participant.

use railbus_ring::members::join::{JoinError, StartAt as Start};
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{ROLE_SUBSCRIBER, ROLE_TAP, ROLE_WORKER};
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::reader::SlotReader;
use railbus_ring::slots::sequence::{Sequences, is_published};
use railbus_ring::stream::publisher::StreamPublisher;
use railbus_ring::stream::subscriber::StreamSubscriber;

use crate::channel::open::Channel;
use crate::channel::sweep::sweep_entry;
use crate::channel::{Kind, Overflow};
use crate::error::{Error, Result};
use crate::handle::diversion;
use crate::handle::member::{Introduction, Member};
use crate::handle::options::{SendOptions, SubscribeOptions, WorkOptions};
use crate::handle::publish_end::{SlotPublishEnd, StreamPublishEnd};
use crate::handle::read_end::{ReadEnd, SlotReadEnd, StreamReadEnd};
use crate::handle::reader::Reader;
use crate::handle::sender::{Diversion, Sender};
use crate::handle::stuck::StuckReader;
use crate::handle::wait::Wait;
use crate::handle::worker::Worker;

/// The publisher of a stream. A stream has one at a time.
pub type Publisher = Sender<StreamPublishEnd>;
/// A publisher of a topic. A topic has many, whose events have one order.
pub type TopicPublisher = Sender<SlotPublishEnd<true>>;
/// A producer of a queue.
pub type Producer = Sender<SlotPublishEnd<false>>;
/// A subscriber of a stream.
pub type Subscriber = Reader<StreamReadEnd>;
/// A subscriber of a topic.
pub type TopicSubscriber = Reader<SlotReadEnd>;
/// A reader that sees every event of a queue and takes none.
pub type Tap = Reader<SlotReadEnd>;

/// Whether a reader starts behind everything published so far.
fn is_live(options: &SubscribeOptions, member: &Member) -> bool {
    options.start == Start::Live && member.registered.resumed.is_none()
}

impl Channel {
    pub(crate) fn expect(&self, kind: Kind, handle: &str) -> Result<()> {
        let (header, is_service) = (self.header(), self.header().is_service());
        if header.kind == kind && (!is_service || handle == "tap") {
            return Ok(());
        }
        let found = header.kind_name();
        let why = if is_service { "; it has clients and servers" } else { "" };
        Err(Error::invalid(
            format!("{handle} of {}", self.name()),
            format!("it is a {found}, not a {kind}{why}"),
        ))
    }

    /// The watch of a sender that evicts stuck readers. It needs a consumer's rights.
    fn stuck_reader(&self, options: &SendOptions) -> Result<Option<StuckReader>> {
        options.evict_stuck.then(|| StuckReader::open(self)).transpose()
    }

    /// Opens the publisher of this stream. It continues where the last publisher left or died.
    ///
    /// Opening blocks for about 20 ms at most while an entry or name is still in use; for a name
    /// that is numbered ([`SendOptions::sequenced`]) for a second at most.
    ///
    /// # Errors
    /// - [`Error::Busy`] while another publisher lives, or while the channel is being made again;
    /// - [`Error::Invalid`] if the channel is no stream, and for options that contradict each
    ///   other;
    /// - [`Error::NotFound`] if the channel was removed, or the channel that it diverts to does not
    ///   exist;
    /// - [`Error::NotAllowed`] if this process may not produce;
    /// - [`Error::TimedOut`] if another process holds the lock of names for a second;
    /// - [`Error::Corrupt`] if the stream's frames do not follow each other.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{Error, SendOptions};
    ///
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let options = SendOptions::default().name("feed");
    /// let mut publisher = ticks.publisher(&options)?;
    /// assert!(matches!(ticks.publisher(&options), Err(Error::Busy { .. })), "one at a time");
    /// assert_eq!(publisher.publish(b"tick")?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn publisher(&self, options: &SendOptions) -> Result<Publisher> {
        self.expect(Kind::Stream, "publisher")?;
        let stuck = self.stuck_reader(options)?;
        let diversion = diversion::open(self, options)?;
        let member = Member::register(self, Side::Producers, &options.introduction()?, |_, _, _| true)?;
        let header = self.header();
        let core = StreamPublisher::take_over(member.memories.stream(header), member.registered.index);
        let core = core.ok_or_else(|| {
            Error::corrupt(
                format!("stream {}", self.name()),
                "its frames do not follow each other; remove it and create it again",
            )
        })?;
        Sequences::new(member.memories.ring, header.producers_max as usize)
            .settle_before(core.place().position);
        let core = core.with_watermarks(header.marks());
        Ok(Sender::new(StreamPublishEnd::new(core), member, options, u32::MAX >> 1, diversion, stuck))
    }

    /// Opens a publisher of this topic. Opening blocks as for [`Self::publisher`].
    ///
    /// # Errors
    /// As for [`Self::publisher`]; [`Error::Busy`] means that every entry, or the name, is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{SendOptions, SubscribeOptions};
    ///
    /// let commands = bus.create("commands", &ChannelOptions::new(Kind::Topic))?;
    /// let mut subscriber = commands.topic_subscriber(&SubscribeOptions::default())?;
    /// let mut one = commands.topic_publisher(&SendOptions::default())?;
    /// let mut other = commands.topic_publisher(&SendOptions::default())?;
    /// one.publish(b"start")?;
    /// other.publish(b"stop")?;
    /// assert_eq!(&*subscriber.recv()?, b"start"); // every subscriber sees this order
    /// assert_eq!(&*subscriber.recv()?, b"stop");
    /// # Ok(())
    /// # }
    /// ```
    pub fn topic_publisher(&self, options: &SendOptions) -> Result<TopicPublisher> {
        self.expect(Kind::Topic, "topic publisher")?;
        // Every subscriber wants every event.
        self.slot_sender(options, u32::MAX >> 1, diversion::open(self, options)?)
    }

    /// Opens a producer of this queue. Opening blocks as for [`Self::publisher`].
    ///
    /// # Errors
    /// As for [`Self::publisher`]; [`Error::Busy`] means that every entry, or the name, is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::SendOptions;
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// let mut producer = jobs.producer(&SendOptions::default())?;
    /// producer.publish(b"resize cat.png")?; // it waits in the queue for the first worker
    /// assert_eq!(jobs.info()?.positions.depth, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn producer(&self, options: &SendOptions) -> Result<Producer> {
        self.expect(Kind::Queue, "producer")?;
        self.slot_sender(options, 1, diversion::open(self, options)?)
    }

    /// Opens a sender of a slot ring that diverts nothing itself, whatever the channel's policy is.
    pub(crate) fn slot_sender_undiverted<const TOPIC: bool>(
        &self,
        options: &SendOptions,
    ) -> Result<Sender<SlotPublishEnd<TOPIC>>> {
        self.slot_sender(options, if TOPIC { u32::MAX >> 1 } else { 1 }, None)
    }

    fn slot_sender<const TOPIC: bool>(
        &self,
        options: &SendOptions,
        wakes: u32,
        diversion: Option<Box<dyn Diversion>>,
    ) -> Result<Sender<SlotPublishEnd<TOPIC>>> {
        let stuck = self.stuck_reader(options)?;
        let member = Member::register(self, Side::Producers, &options.introduction()?, |_, _, _| true)?;
        let view = member.memories.slots(self.header());
        if let Some(own) = member.sequence {
            let numbers = Sequences::new(view.ring, view.producers);
            numbers.settle(own, |ticket| is_published(&view.data, view.slots, ticket));
        }
        let core = SlotProducer::<_, TOPIC>::new(view, member.registered.index);
        let mut core = core.with_limits(self.header().marks(), self.header().credits);
        if self.header().watermarks.is_some() {
            // Here, so that its first event does not have to.
            core.look_at_pressure();
        }
        Ok(Sender::new(SlotPublishEnd::new(core), member, options, wakes, diversion, stuck))
    }

    /// Opens a subscriber of this stream. Opening blocks for about 20 ms at most while an entry or
    /// name is still in use; for a durable name for a second at most.
    ///
    /// # Errors
    /// - [`Error::Busy`] when the durable name is in use, no entry is left, or the channel is being
    ///   made again;
    /// - [`Error::Invalid`] if the channel is no stream, when the position to start at is not
    ///   retained, when a durable subscription must first read from the journal, and for options
    ///   that contradict each other;
    /// - [`Error::NotFound`] if the channel was removed;
    /// - [`Error::NotAllowed`] if this process may not consume;
    /// - [`Error::TimedOut`] if another process holds the lock of names for a second;
    /// - [`Error::Corrupt`] if the stream's frames do not follow each other.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{Start, SubscribeOptions};
    ///
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// ticks.publisher(&SendOptions::default())?.publish(b"tick")?;
    ///
    /// let mut live = ticks.subscriber(&SubscribeOptions::default())?;
    /// assert!(live.try_recv()?.is_none(), "it starts behind what is there");
    /// let options = SubscribeOptions::default().start(Start::Oldest);
    /// assert_eq!(&*ticks.subscriber(&options)?.recv()?, b"tick");
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscriber(&self, options: &SubscribeOptions) -> Result<Subscriber> {
        self.in_the_ring(self.subscriber_behind(options)?)
    }

    /// As [`Self::subscriber`], but the events that it has still to read may be in the journal
    /// only; see [`Reader::behind`].
    pub(crate) fn subscriber_behind(&self, options: &SubscribeOptions) -> Result<Subscriber> {
        self.try_subscriber(options)?.map_err(|error| self.explain(error))
    }

    /// As [`Self::subscriber_behind`], but it returns an error of its own if the position to start
    /// at is not in the ring.
    pub(crate) fn try_subscriber(
        &self,
        options: &SubscribeOptions,
    ) -> Result<std::result::Result<Subscriber, JoinError>> {
        self.expect(Kind::Stream, "subscriber")?;
        let who = self.introduction(options, ROLE_SUBSCRIBER)?;
        let member = Member::register(self, Side::Consumers, &who, |_, _, _| true)?;
        let view = member.memories.stream(self.header());
        let mut core = StreamSubscriber::new(view, member.registered.index, options.lossy);
        let live = is_live(options, &member);
        let joined = match member.registered.resumed {
            Some(cursor) => core.resume(cursor),
            None => core.join(options.start),
        };
        Ok(joined.map(|()| {
            let inlet = StreamReadEnd { core, lossy: options.lossy };
            Reader::new(inlet, member, options, live)
        }))
    }

    /// Refuses a durable subscription that would silently skip events that are in the journal only.
    fn in_the_ring<R: ReadEnd>(&self, reader: Reader<R>) -> Result<Reader<R>> {
        let Some(behind) = reader.behind() else { return Ok(reader) };
        let what = format!("durable subscription at {behind} of {}", self.name());
        let why = format!(
            "what lies before {} is in the channel's journal only: join it from the journal",
            reader.position()
        );
        Err(Error::invalid(what, why))
    }

    fn introduction(&self, options: &SubscribeOptions, role: u64) -> Result<Introduction> {
        if self.header().overflow == Overflow::LossyReaders && !options.lossy {
            let why = "the channel was made for lossy readers only; ask for a lossy subscription";
            return Err(Error::invalid(format!("reliable subscription of {}", self.name()), why));
        }
        options.introduction(role)
    }

    /// Opens a subscriber of this topic. Opening blocks as for [`Self::subscriber`].
    ///
    /// # Errors
    /// As for [`Self::subscriber`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::SubscribeOptions;
    ///
    /// let commands = bus.create("commands", &ChannelOptions::new(Kind::Topic))?;
    /// let options = SubscribeOptions::default().name("audit").durable(true);
    /// drop(commands.topic_subscriber(&options)?); // the name stays, and holds events
    /// commands.topic_publisher(&SendOptions::default())?.publish(b"stop")?;
    /// assert_eq!(&*commands.topic_subscriber(&options)?.recv()?, b"stop");
    /// # Ok(())
    /// # }
    /// ```
    pub fn topic_subscriber(&self, options: &SubscribeOptions) -> Result<TopicSubscriber> {
        self.in_the_ring(self.topic_subscriber_behind(options)?)
    }

    /// As [`Self::topic_subscriber`], but the events that it has still to read may be in the
    /// journal only.
    pub(crate) fn topic_subscriber_behind(&self, options: &SubscribeOptions) -> Result<TopicSubscriber> {
        self.try_topic_subscriber(options)?.map_err(|error| self.explain(error))
    }

    /// As [`Self::topic_subscriber_behind`], but it returns an error of its own if the position to
    /// start at is not in the ring.
    pub(crate) fn try_topic_subscriber(
        &self,
        options: &SubscribeOptions,
    ) -> Result<std::result::Result<TopicSubscriber, JoinError>> {
        self.expect(Kind::Topic, "topic subscriber")?;
        self.slot_reader(options, ROLE_SUBSCRIBER)
    }

    /// Opens a reader that sees every event of this queue and takes none. It is a gate of the
    /// producers, as a topic's subscriber is. If it is lossy it holds nobody back: it copies
    /// events, and reports those that were overwritten before. A tap starts live or at the last
    /// events, or resumes by its durable name. Opening blocks as for [`Self::subscriber`].
    ///
    /// # Errors
    /// As for [`Self::subscriber`]; [`Error::Invalid`] also for another start than live or the last
    /// events.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::SubscribeOptions;
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// let mut tap = jobs.tap(&SubscribeOptions::default().lossy(true))?;
    /// jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
    /// assert_eq!(&*tap.recv()?, b"resize cat.png");
    /// let mut worker = jobs.worker(&WorkOptions::default())?;
    /// assert!(worker.take()?.done(), "the tap took nothing away");
    /// # Ok(())
    /// # }
    /// ```
    pub fn tap(&self, options: &SubscribeOptions) -> Result<Tap> {
        self.expect(Kind::Queue, "tap")?;
        self.in_the_ring(self.slot_reader(options, ROLE_TAP)?.map_err(|error| self.explain(error))?)
    }

    fn slot_reader(
        &self,
        options: &SubscribeOptions,
        role: u64,
    ) -> Result<std::result::Result<Reader<SlotReadEnd>, JoinError>> {
        if role == ROLE_TAP && !matches!(options.start, Start::Live | Start::Last(_)) {
            return Err(Error::invalid(
                "start of a tap",
                "a tap starts live or at the last events, or resumes by its durable name",
            ));
        }
        let who = self.introduction(options, role)?;
        let member = Member::register(self, Side::Consumers, &who, |memories, peers, index| {
            // The entry of a queue's consumer may have been that of a worker that held events.
            role != ROLE_TAP || sweep_entry(self, memories, peers, index)
        })?;
        let view = member.memories.slots(self.header());
        let mut core = SlotReader::new(view, member.registered.index);
        if role == ROLE_TAP {
            core = core.of_queue();
        }
        match member.registered.resumed {
            Some(cursor) => core.resume_before_tail(cursor),
            None => {
                if let Err(error) = core.join(options.start, options.lossy) {
                    return Ok(Err(error));
                }
            }
        }
        let inlet = SlotReadEnd { core, lossy: options.lossy };
        let live = is_live(options, &member);
        Ok(Ok(Reader::new(inlet, member, options, live)))
    }

    /// Opens a worker of this queue. Opening blocks for about 20 ms at most while no entry is free.
    ///
    /// # Errors
    /// - [`Error::Busy`] when no entry is left, also as a producer of the dead-letter queue;
    /// - [`Error::Invalid`] if the channel is no queue, or `in_hand_max` is out of range;
    /// - [`Error::NotFound`] if the channel was removed, or the dead-letter queue does not exist;
    /// - [`Error::NotAllowed`] if this process may not consume, or may not produce into the
    ///   dead-letter queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{RecvError, WorkOptions};
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
    ///
    /// let mut worker = jobs.worker(&WorkOptions::default().until_closed(true))?;
    /// assert!(worker.take()?.done());
    /// assert_eq!(worker.take().err(), Some(RecvError::Closed), "the producer has left");
    /// # Ok(())
    /// # }
    /// ```
    pub fn worker(&self, options: &WorkOptions) -> Result<Worker> {
        self.expect(Kind::Queue, "worker")?;
        self.worker_of_any(options)
    }

    /// Opens a worker of a queue or a service.
    pub(crate) fn worker_of_any(&self, options: &WorkOptions) -> Result<Worker> {
        let rank = options.rank()?;
        let letters = match &self.header().dead_letters {
            Some(name) => {
                let channel = self.bus().attach(name)?;
                let sending =
                    SendOptions { name: options.name.clone(), wait: Wait::Spin, ..SendOptions::default() };
                Some(channel.producer(&sending).map_err(|error| self.explain_letters(&channel, error))?)
            }
            None => None,
        };
        let who = Introduction { policy: ROLE_WORKER | rank.policy(), name: options.name.clone() };
        let member = Member::register(self, Side::Consumers, &who, |memories, peers, index| {
            sweep_entry(self, memories, peers, index)
        })?;
        Ok(Worker::new(member, options.wait, options.until_closed, options.grab, rank, letters))
    }

    /// The error of a worker that finds no entry as a producer of the dead-letter queue.
    fn explain_letters(&self, letters: &Channel, error: Error) -> Error {
        match error {
            Error::Busy { why, .. } => Error::Busy {
                what: format!("every place in {}, the dead-letter queue of {}", letters.name(), self.name()),
                why: format!("each worker of a queue with a limit of attempts needs one there: {why}"),
            },
            error => error,
        }
    }

    fn explain(&self, error: JoinError) -> Error {
        let what = format!("position to start at in {}", self.name());
        match error {
            JoinError::Corrupt => {
                Error::corrupt(format!("channel {}", self.name()), "its frames do not follow each other")
            }
            JoinError::TooOld(oldest) => {
                Error::invalid(what, format!("the oldest that is retained is {oldest}"))
            }
            JoinError::Beyond(end) => Error::invalid(what, format!("the channel ends at {end}")),
            JoinError::NoBoundary => Error::invalid(what, "no event starts there"),
        }
    }
}

/// Handles move between threads.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Publisher>();
    is_send::<TopicPublisher>();
    is_send::<Producer>();
    is_send::<Subscriber>();
    is_send::<TopicSubscriber>();
    is_send::<Worker>();
};
