//! Handles over corrupted memory: the body that the tests and the fuzz targets both run.
//!
//! A body is driven by bytes: each step corrupts some word of the channel's files, or uses a
//! handle, or attaches a new one. Whatever the bytes are, every call must come back with an event
//! inside the ring or an error: no panic, no access outside the mappings, no hang (every call that
//! could wait has a timeout). The contents of events are not checked here, because the bytes are
//! arbitrary.
#![allow(dead_code, reason = "each user takes a part")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use railbus::internal::FileRole;
use railbus::{
    Attributes, Bus, Channel, ChannelName, ChannelOptions, Event, Header, Kind, Pages, Producer, PublishEnd,
    Publisher, ReadEnd, Reader, RecvError, SendOptions, Sender, Start, SubscribeOptions, Subscriber, Tap,
    TopicPublisher, TopicSubscriber, TraceContext, Wait, WorkOptions, Worker,
};
use railbus_ring::layout;
use railbus_ring::slots::word::{Slots, seq};

/// Long enough for a probe of the peers and a sleep.
const MOMENT: Duration = Duration::from_micros(300);

/// Decodes a header page: an error or a header whose geometry fits its own lengths.
pub(crate) fn decode_header(data: &[u8]) {
    let mut page = [0; layout::HEADER_BYTES];
    let count = data.len().min(page.len());
    page[..count].copy_from_slice(&data[..count]);
    for role in [FileRole::Ring, FileRole::Acks] {
        if let Ok(header) = Header::decode(&page, role, Path::new("fuzzed")) {
            assert!(header.lengths().is_some_and(|lengths| lengths.ring >= header.data_offset));
            assert_eq!(Header::decode(&header.encode(role), role, Path::new("again")).ok(), Some(header));
        }
    }
}

/// Bytes that decide; they repeat, changed a little each time.
pub(crate) struct Dice<'a> {
    data: &'a [u8],
    at: usize,
    salt: u64,
}

impl Dice<'_> {
    pub(crate) fn new(data: &[u8]) -> Dice<'_> {
        Dice { data, at: 0, salt: 0 }
    }

    /// Whether there are bytes that have not been used.
    fn is_fresh(&self) -> bool {
        self.at < self.data.len()
    }

    fn byte(&mut self) -> u8 {
        let byte = self.data.get(self.at % self.data.len().max(1)).copied().unwrap_or(0);
        self.at += 1;
        self.salt = (self.salt ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7);
        if self.is_fresh() { byte } else { byte ^ self.salt as u8 }
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.word() as usize % bound.max(1)
    }
}

/// Writes to the files of a channel without the knowledge of its participants.
pub(crate) struct Harm {
    ring: File,
    acks: File,
    /// The lengths of both, in bytes.
    lengths: (u64, u64),
    header: Header,
}

impl Harm {
    pub(crate) fn of(channel: &Channel) -> Harm {
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).open(path).expect("a channel's file");
        let (ring, acks) = (open(&channel.paths().ring), open(&channel.paths().acks));
        let bytes = |file: &File| file.metadata().expect("a channel's file").len();
        Harm { lengths: (bytes(&ring), bytes(&acks)), ring, acks, header: channel.header().clone() }
    }

    /// Corrupts one word. `targets` chooses where: control blocks, registries, data or done words.
    pub(crate) fn harm(&self, dice: &mut Dice<'_>) {
        let (file, at) = self.target(dice);
        let mut old = [0; 8];
        if file.read_exact_at(&mut old, at as u64).is_err() {
            return;
        }
        let old = u64::from_le_bytes(old);
        let new = match dice.below(12) {
            0 => dice.word(),
            1 => 0,
            2 => u64::MAX,
            3 => u64::MAX - 1 - dice.below(16) as u64,
            4 => old ^ 1 << dice.below(64),
            5 => old.wrapping_add(1),
            6 => old.wrapping_sub(1),
            7 => old.wrapping_add(1 << dice.below(64)),
            8 => 1 << 63 | dice.below(1 << 13) as u64,
            9 => (1 << 62 | 1 << 63) | dice.below(1 << 13) as u64,
            10 => dice.below(256) as u64,
            _ => old ^ (dice.below(4) as u64),
        };
        let _ = file.write_all_at(&new.to_le_bytes(), at as u64);
    }

    /// Whether a published event lies at the head of a queue, for the next worker that takes.
    fn has_event_at_head(&self) -> bool {
        let word = |file: &File, at: u64| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).is_ok().then(|| u64::from_le_bytes(bytes))
        };
        let slots = Slots::new(self.header.slots, self.header.slot_bytes);
        let head = word(&self.acks, (layout::HEADER_BYTES + layout::HEAD) as u64);
        head.is_some_and(|head| {
            let at = self.header.data_offset + (slots.offset(head) + layout::SLOT_SEQ) as u64;
            word(&self.ring, at) == Some(slots.state(head, seq::PUBLISHED))
        })
    }

    fn target(&self, dice: &mut Dice<'_>) -> (&File, usize) {
        let control = layout::HEADER_BYTES;
        let (ring_bytes, acks_bytes) = self.lengths;
        let ring_words = [
            layout::TAIL,
            layout::EVENTS_WAKE,
            layout::PRODUCERS_PARKED,
            layout::ANCHOR_INDEX,
            layout::ANCHOR_FLOOR,
            layout::ANCHOR_ENTRIES,
            layout::ANCHOR_ENTRIES + 8,
            layout::ANCHOR_ENTRIES + 16,
            layout::ANCHOR_ENTRIES + 24,
            layout::ANCHOR_ENTRIES + 32,
            layout::ANCHOR_ENTRIES + 40,
            layout::ANCHOR_ENTRIES + 48,
            layout::ANCHOR_ENTRIES + 56,
            layout::PRODUCERS_HIGH,
        ];
        let acks_words = [
            layout::HEAD,
            layout::SPACE_WAKE,
            layout::CONSUMERS_PARKED,
            layout::REDO_ROOT,
            layout::CONSUMERS_HIGH,
            layout::LEVELS_WAKE,
            layout::LEVELS_PARKED,
        ];
        let entry_words = [
            layout::CLAIM,
            layout::CURSOR,
            layout::STATE,
            layout::POLICY,
            layout::NAME,
            layout::PID,
            layout::IN_HAND,
        ];
        let entry = layout::entry(dice.below(4));
        match dice.below(10) {
            0 | 1 => (&self.ring, control + ring_words[dice.below(ring_words.len())]),
            2 => (&self.acks, control + acks_words[dice.below(acks_words.len())]),
            3 => (&self.ring, control + entry + entry_words[dice.below(entry_words.len())]),
            4 => (&self.acks, control + entry + entry_words[dice.below(entry_words.len())]),
            5 if self.header.done_offset != 0 => {
                // Done words, or the index of waiting events.
                let words = layout::done_bytes(self.header.slots) as usize / 8;
                (&self.acks, self.header.done_offset as usize + dice.below(words) * 8)
            }
            6 if self.header.slots != 0 => {
                let slot = dice.below(self.header.slots as usize) * self.header.slot_bytes as usize;
                (&self.ring, self.header.data_offset as usize + slot + dice.below(2) * 8)
            }
            7 => {
                let word = dice.below(self.header.capacity_bytes as usize / 8) * 8;
                (&self.ring, self.header.data_offset as usize + word)
            }
            // Any word after a header: control block, registry, table of sequences, done words,
            // data.
            any => {
                let (file, bytes) =
                    if any == 8 { (&self.ring, ring_bytes) } else { (&self.acks, acks_bytes) };
                (file, control + dice.below((bytes as usize - control) / 8) * 8)
            }
        }
    }
}

/// The options of the channels that are corrupted: small, so that every word matters.
pub(crate) fn options(kind: Kind, first_position: u64) -> ChannelOptions {
    let options = ChannelOptions::new(kind).lock_memory(false).pages(Pages::Ordinary).consumers_max(6);
    let options = options.watermarks(80, 40);
    let options = options.first_position(first_position & !7);
    match kind {
        Kind::Stream => options.capacity_bytes(4096),
        Kind::Queue => options.producers_max(4).slots(64).slot_bytes(64).max_attempts(3),
        Kind::Topic => options.producers_max(4).slots(64).slot_bytes(64),
        Kind::Table => unreachable!("a table has no events"),
    }
}

/// Uses a channel of `kind` while it is corrupted, as the bytes decide.
pub(crate) fn harmed_ring(bus: &Bus, name: &str, kind: Kind, data: &[u8]) {
    let mut dice = Dice::new(data);
    let first = if dice.byte() & 1 == 0 { 0 } else { 1 << 40 };
    let keyed = kind == Kind::Queue && dice.byte() & 1 == 0;
    let channel = bus.create(name, &options(kind, first).keyed(keyed)).expect("a channel");
    let harm = Harm::of(&channel);
    let mut user = User::alone(channel);
    while dice.is_fresh() {
        if dice.byte() & 3 == 0 {
            harm.harm(&mut dice);
        } else {
            user.act(&mut dice);
        }
    }
}

/// All handles that a channel can have, each opened when it is first used, and opened again now and
/// then.
pub(crate) struct User {
    channel: Channel,
    publisher: Option<Publisher>,
    subscribers: [Option<Subscriber>; 2],
    producer: Option<Producer>,
    /// And whether it takes every event at the head.
    worker: Option<(Worker, bool)>,
    tap: Option<Tap>,
    topic_publisher: Option<TopicPublisher>,
    topic_subscribers: [Option<TopicSubscriber>; 2],
    tickets: Vec<railbus::Ticket>,
    /// For a user that is alone: it must get the event at the head, or an error.
    watch: Option<Harm>,
    /// The sum of everything read, so that no read is optimised away.
    pub(crate) sum: u64,
}

impl User {
    pub(crate) fn new(channel: Channel) -> User {
        User {
            channel,
            publisher: None,
            subscribers: [None, None],
            producer: None,
            worker: None,
            tap: None,
            topic_publisher: None,
            topic_subscribers: [None, None],
            tickets: Vec::new(),
            watch: None,
            sum: 0,
        }
    }

    /// For a channel that nobody else uses, or corrupts except between two uses.
    pub(crate) fn alone(channel: Channel) -> User {
        let watch = (channel.header().kind == Kind::Queue).then(|| Harm::of(&channel));
        User { watch, ..User::new(channel) }
    }

    /// One use of one handle.
    pub(crate) fn act(&mut self, dice: &mut Dice<'_>) {
        let wait = if dice.byte() & 7 == 0 { Wait::Park { spin: Duration::ZERO } } else { Wait::Spin };
        let sequenced = dice.byte() & 7 == 0;
        let name = if sequenced { "numbers".to_owned() } else { String::new() };
        let sending = SendOptions::default().wait(wait).sequenced(sequenced).name(name);
        let reading = subscribe(dice, wait);
        let leave = dice.byte() & 31 == 0;
        match (self.channel.header().kind, dice.byte() & 1) {
            (Kind::Stream, 0) => {
                let publisher = kept(&mut self.publisher, leave, || self.channel.publisher(&sending));
                if let Some(sender) = publisher {
                    send(sender, dice);
                }
            }
            (Kind::Stream, _) => {
                let which = dice.below(2);
                let reader = kept(&mut self.subscribers[which], leave, || self.channel.subscriber(&reading));
                if let Some(reader) = reader {
                    add(&mut self.sum, read(reader, dice));
                }
            }
            (Kind::Topic, 0) => {
                let sender =
                    kept(&mut self.topic_publisher, leave, || self.channel.topic_publisher(&sending));
                if let Some(sender) = sender {
                    send(sender, dice);
                }
            }
            (Kind::Topic, _) => {
                let which = dice.below(2);
                let slot = &mut self.topic_subscribers[which];
                let reader = kept(slot, leave, || self.channel.topic_subscriber(&reading));
                if let Some(reader) = reader {
                    add(&mut self.sum, read(reader, dice));
                }
            }
            (Kind::Queue, 0) => {
                let sender = kept(&mut self.producer, leave, || self.channel.producer(&sending));
                if let Some(sender) = sender {
                    send(sender, dice);
                }
            }
            (Kind::Queue, _) if dice.byte() & 3 == 0 => {
                let reading = reading.lossy(false).start(Start::Live);
                let reader = kept(&mut self.tap, leave, || self.channel.tap(&reading));
                if let Some(reader) = reader {
                    add(&mut self.sum, read(reader, dice));
                }
            }
            (Kind::Queue, _) => {
                let grab = 1 + dice.below(5) as u32;
                let (priority, in_hand_max) = match dice.below(4) {
                    0 => (1, 3),
                    1 => (0, 2),
                    _ => (0, 0),
                };
                let working =
                    WorkOptions::default().wait(wait).grab(grab).priority(priority).in_hand_max(in_hand_max);
                if leave {
                    self.tickets.clear();
                }
                let takes_any = priority == 0 && !self.channel.header().keyed;
                let open = || Ok((self.channel.worker(&working)?, takes_any));
                if let Some((worker, takes_any)) = kept(&mut self.worker, leave, open) {
                    let watch = self.watch.as_ref().filter(|_| *takes_any);
                    add(&mut self.sum, work(worker, &mut self.tickets, watch, dice));
                }
            }
            (Kind::Table, _) => unreachable!("a table has no events"),
        }
    }
}

fn subscribe(dice: &mut Dice<'_>, wait: Wait) -> SubscribeOptions {
    let start = match dice.below(4) {
        0 => Start::Oldest,
        1 => Start::Position(dice.word()),
        _ => Start::Live,
    };
    let lossy = dice.byte() & 3 == 0;
    let durable = !lossy && dice.byte() & 3 == 0;
    let name = if durable { "durable".to_owned() } else { String::new() };
    let until_closed = dice.byte() & 7 == 0;
    let manual = !lossy && dice.byte() & 3 == 0;
    SubscribeOptions::default()
        .name(name)
        .durable(durable)
        .lossy(lossy)
        .manual(manual)
        .start(start)
        .wait(wait)
        .until_closed(until_closed)
}

/// The handle, opened if there is none; an error is an outcome like any other.
fn kept<T>(handle: &mut Option<T>, leave: bool, open: impl FnOnce() -> railbus::Result<T>) -> Option<&mut T> {
    if leave {
        *handle = None;
    }
    if handle.is_none() {
        *handle = open().inspect_err(|error| assert!(!error.to_string().is_empty())).ok();
    }
    handle.as_mut()
}

fn send<R: PublishEnd>(sender: &mut Sender<R>, dice: &mut Dice<'_>) {
    let payload = [dice.byte(); 4096];
    let bytes = match dice.below(8) {
        0 => dice.below(sender.payload_max() + 2),
        1 => sender.payload_max(),
        _ => dice.below(49),
    };
    let payload = &payload[..bytes];
    match dice.below(8) {
        0 => {
            let _ = sender.publish_timeout(payload, MOMENT);
        }
        // Handles that do not number refuse it.
        6 => {
            let number = sender.resume_point().map_or(1, |last| last.wrapping_add(1));
            let _ = sender.publish_numbered_timeout(number, payload, &Attributes::default(), MOMENT);
        }
        7 => _ = (sender.is_under_pressure(), sender.refusal()),
        1 => {
            let _ = sender.try_publish_batch(&[payload, &payload[..bytes / 2], &[]]);
        }
        2 => {
            if let Ok(mut claim) = sender.try_claim(bytes) {
                claim.fill(1);
                claim.commit_bytes(bytes / 2);
            }
        }
        3 => drop(sender.try_claim(bytes)),
        4 => {
            let key = (dice.byte() & 1 == 0).then(|| dice.below(3) as u64);
            let trace = (dice.byte() & 1 == 0).then(TraceContext::default);
            let attributes = Attributes::typed(7).trace(trace).key(key);
            let _ = sender.try_publish_with(payload, &attributes);
        }
        _ => {
            let _ = sender.try_publish(payload);
        }
    }
    let _ = (sender.readers(), sender.events());
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.wrapping_add(more);
}

/// Reads every byte of an event.
fn sum(event: &Event<'_>) -> u64 {
    let payload: u64 = event.payload().iter().map(|&byte| byte as u64).sum();
    let origin = event.origin().map_or(0, |origin| origin.position);
    let trace = event.trace().map_or(0, |trace| trace.flags as u64);
    payload ^ origin ^ trace ^ event.published_ns().unwrap_or(0)
}

fn read<R: ReadEnd>(reader: &mut Reader<R>, dice: &mut Dice<'_>) -> u64 {
    match dice.below(4) {
        0 => reader.recv_timeout(MOMENT).map_or(0, |event| sum(&event)),
        1 => reader
            .batch(dice.below(40))
            .map_or(0, |batch| batch.iter().fold(0, |all, event| all ^ sum(&event))),
        2 => {
            reader.acknowledge();
            reader.position()
        }
        _ => reader.try_recv().map_or(0, |event| event.map_or(0, |event| sum(&event))),
    }
}

fn work(
    worker: &mut Worker,
    tickets: &mut Vec<railbus::Ticket>,
    watch: Option<&Harm>,
    dice: &mut Dice<'_>,
) -> u64 {
    let waits = watch.is_some_and(Harm::has_event_at_head);
    let nothing = |how| {
        assert!(!waits, "an event lies at the head, and a worker gets neither it nor an error from {how}");
        0
    };
    match dice.below(6) {
        0 => match worker.take_timeout(MOMENT) {
            Ok(job) => {
                let sum = sum(&job.event());
                let _ = job.done();
                sum
            }
            Err(RecvError::TimedOut) => nothing("take_timeout"),
            Err(_) => 0,
        },
        1 => match worker.try_take() {
            Ok(Some(job)) => sum(&job.event()),
            Ok(None) => nothing("try_take"),
            Err(_) => 0,
        },
        2 | 3 => {
            match worker.take_ticket() {
                Ok(Some(ticket)) => tickets.push(ticket),
                Ok(None) => _ = nothing("take_ticket"),
                Err(_) => {}
            }
            tickets.iter().filter_map(|&ticket| worker.event(ticket)).fold(0, |all, event| all ^ sum(&event))
        }
        4 => tickets.pop().map_or(0, |ticket| worker.done(ticket).into()),
        _ => tickets.pop().map_or(0, |ticket| worker.retry(ticket).into()),
    }
}

/// Attaches to `name`, whatever its files contain at that moment.
pub(crate) fn attach(bus: &Bus, name: &str) -> Option<Channel> {
    let full: ChannelName = format!("{}/{name}", bus.name()).parse().expect("a name");
    assert_eq!(full.channel(), name);
    bus.attach(name).inspect_err(|error| assert!(!error.to_string().is_empty())).ok()
}
