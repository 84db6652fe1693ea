//! Buses and channels: what a program opens.
//!
//! A bus is a directory under `$RAILBUS_DIR` (default `/dev/shm/railbus`); a channel is a pair of files in it. A
//! [`Channel`] is open but takes no part: its methods make the handles that do.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::channel::name::NAME_BYTES_MAX;
use crate::channel::options::SLOT_BYTES;
use crate::channel::{
    self, Attached, ChannelName, ChannelOptions, ChannelPaths, Header, Kind, Maps, Opened, Overflow, Owner,
};
use crate::diversion::{self, Diversion};
use crate::error::{Error, Result};
use crate::inlet::{Inlet, SlotInlet, StreamInlet};
use crate::journal::{self, shared::View, wishes};
use crate::layout;
use crate::member::{Introduction, Member, Memories};
use crate::memory::{Edge, Memory};
use crate::operate::StuckReader;
use crate::os::life::FileId;
use crate::os::pages::{PageReport, bytes_text};
use crate::outlet::{SlotOutlet, StreamOutlet};
use crate::reader::Reader;
use crate::ring::anchor::POSITION_MAX;
use crate::ring::levels::{IN_HAND_MAX, Rank};
use crate::ring::peers::Side;
use crate::ring::registry::{
    DURABLE, JOURNALLER, LOSSY, MANUAL, ROLE_PRODUCER, ROLE_SUBSCRIBER, ROLE_TAP, ROLE_WORKER, Registry,
    SEQUENCED,
};
use crate::ring::sequence::{Sequences, is_published};
use crate::ring::slot_producer::SlotProducer;
use crate::ring::slot_reader::SlotReader;
use crate::ring::stream_publisher::StreamPublisher;
use crate::ring::stream_subscriber::{From as Start, JoinError, StreamSubscriber};
use crate::ring::word::{Slots, seq};
use crate::sender::Sender;
use crate::sweep::sweep_entry;
use crate::wait::Wait;
use crate::worker::Worker;

/// Places in a dead-letter queue for producers that are no workers: administrators.
const LETTERS_SPARE: u32 = 8;

/// A stream's publisher: one at a time.
pub type Publisher = Sender<StreamOutlet>;
/// A topic's publisher: many at once, all in one order.
pub type TopicPublisher = Sender<SlotOutlet<true>>;
/// A queue's producer.
pub type Producer = Sender<SlotOutlet<false>>;
/// A stream's subscriber.
pub type Subscriber = Reader<StreamInlet>;
/// A topic's subscriber.
pub type TopicSubscriber = Reader<SlotInlet>;
/// A reader that sees every event of a queue, without taking any.
pub type Tap = Reader<SlotInlet>;

/// A bus: a named set of channels.
///
/// ```
/// # fn main() -> railbus::Result<()> {
/// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
/// use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
///
/// let bus = Bus::at(base.path(), "demo")?; // or Bus::open("demo")
/// let ticks = bus.create_or_attach("ticks", &ChannelOptions::new(Kind::Stream))?;
/// let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?;
/// let mut publisher = ticks.publisher(&SendOptions::default())?;
/// publisher.publish(b"hello")?;
/// assert_eq!(&*subscriber.recv()?, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Bus {
    base: PathBuf,
    name: String,
    owner: Owner,
}

impl Bus {
    /// The bus `name` under `$RAILBUS_DIR`. Nothing is made on disk before a channel is.
    pub fn open(name: &str) -> Result<Bus> {
        Bus::at(channel::directory::base_directory()?, name)
    }

    /// The bus `name` under the directory `base`, which must be on tmpfs. A relative `base` is taken from the present
    /// working directory, once: the program may change that later. Whose channels it takes part in, `$RAILBUS_OWNER` says;
    /// see [`Owner`].
    pub fn at(base: impl Into<PathBuf>, name: &str) -> Result<Bus> {
        // Checks the name; any channel name will do.
        ChannelName::new(name, "any")?;
        let base = base.into();
        let base = std::path::absolute(&base).map_err(|error| Error::io("find", &base, error))?;
        Ok(Bus { base, name: name.to_owned(), owner: Owner::from_environment()? })
    }

    /// The same bus, used where it belongs to this owner.
    #[must_use]
    pub fn owned_by(mut self, owner: Owner) -> Bus {
        self.owner = owner;
        self
    }

    /// Whose channels are used.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of all buses that this one is in; absolute.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Its channels, sorted by name.
    pub fn channels(&self) -> Result<Vec<ChannelName>> {
        self.owner.check_base(&self.base)?;
        channel::directory::list_channels(&self.base, &self.name)
    }

    /// Makes a channel: allocates and faults in all its memory, about 0.3 s for a GiB. What was made on the way to a
    /// failure, directories and a dead-letter queue, is removed again. Refused while a channel of that name is lost, and has a
    /// journal below `$RAILBUS_JOURNAL`.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Invalid`], [`Error::NoSpace`], [`Error::NoHugePages`] when they are required,
    /// [`Error::NotAllowed`]; [`Error::NotFound`] for a channel to divert to that is not there.
    pub fn create(&self, name: &str, options: &ChannelOptions) -> Result<Channel> {
        self.owner.check_base(&self.base)?;
        let full = ChannelName::new(&self.name, name)?;
        if let Some(journal) = self.journal_of_lost(&full) {
            let why = format!(
                "a channel of that name was lost with its memory, and its journal is below {}: `railbus journald` makes it \
                 again at its start, and so does `railbus create --if-missing`; to give up what is in the journal, move it \
                 away, or unset RAILBUS_JOURNAL",
                journal.display()
            );
            return Err(Error::Busy { what: format!("the name {full}"), why });
        }
        let options = &self.with_journaller(&full, self.name_dead_letters(name, options)?);
        diversion::check(self, name, options)?;
        self.beside_dead_letters(&full, options, || {
            let created = channel::create(&self.base, &full, options, &|maps| initialise(maps, options))?;
            Channel::new(self, created.attached, Some(created.pages))
        })
    }

    /// Attaches to a channel.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotAllowed`], [`Error::Layout`], [`Error::Corrupt`].
    pub fn attach(&self, name: &str) -> Result<Channel> {
        self.owner.check_base(&self.base)?;
        let attached = channel::attach(&self.base, &ChannelName::new(&self.name, name)?)?;
        Channel::new(self, attached, None)
    }

    /// Attaches to a channel, or makes it if there is none. Of several processes that do this, one creates. A channel that was
    /// lost with its memory, and has a journal below `$RAILBUS_JOURNAL`, is made again from it.
    ///
    /// A channel that is there must have every option as it was set; those that were not set are not compared, nor are
    /// those that [`channel::settings::NOT_COMPARED`] names.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::attach`]; [`Error::Exists`] when it is there with other options: it names each.
    pub fn create_or_attach(&self, name: &str, options: &ChannelOptions) -> Result<Channel> {
        self.owner.check_base(&self.base)?;
        let full = ChannelName::new(&self.name, name)?;
        if let Some(journal) = self.journal_of_lost(&full) {
            match journal::restore(self, name, &journal) {
                // Somebody else was faster.
                Ok(_) | Err(Error::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let options = &self.with_journaller(&full, self.name_dead_letters(name, options)?);
        diversion::check(self, name, options)?;
        self.beside_dead_letters(&full, options, || {
            match channel::create_or_attach(&self.base, &full, options, &|maps| initialise(maps, options))? {
                Opened::Created(created) => Channel::new(self, created.attached, Some(created.pages)),
                Opened::Found(attached) => Channel::new(self, attached, None),
            }
        })
    }

    /// The directory of all journals, if the environment names one (`$RAILBUS_JOURNAL`) and there is a journal of this channel,
    /// which is lost: whoever creates it would get another channel, and the journal would be set aside.
    fn journal_of_lost(&self, name: &ChannelName) -> Option<PathBuf> {
        let journal = PathBuf::from(std::env::var_os("RAILBUS_JOURNAL").filter(|path| !path.is_empty())?);
        journal::is_lost(&self.base, &journal, name).then_some(journal)
    }

    /// Removes a channel. Processes that are attached keep it until they leave, but nobody finds it any more.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.owner.check_base(&self.base)?;
        channel::directory::remove(&self.base, &ChannelName::new(&self.name, name)?)
    }

    /// Adds the journaller's subscription where a journaller asks for it.
    fn with_journaller(&self, full: &ChannelName, options: ChannelOptions) -> ChannelOptions {
        let may_have = options.overflow != Overflow::LossyReaders;
        let is_wanted = || wishes::is_wanted(&self.base, full, self.owner);
        ChannelOptions { journaled: options.journaled || may_have && is_wanted(), ..options }
    }

    /// Names the dead-letter queue of a queue that limits attempts: `NAME.dead` unless the options name one.
    fn name_dead_letters(&self, name: &str, options: &ChannelOptions) -> Result<ChannelOptions> {
        let mut options = options.clone();
        options.check()?;
        if options.kind() != Kind::Queue || options.max_attempts == 0 {
            return Ok(options);
        }
        let derived = format!("{name}.dead");
        if options.dead_letters.is_none() && derived.len() > NAME_BYTES_MAX {
            let why = format!(
                "its dead-letter queue would be {derived:?}, and a name has at most {NAME_BYTES_MAX} bytes; name that queue \
                 (--dead-letters), or choose a shorter name"
            );
            return Err(Error::invalid(format!("queue {name:?} with a limit of attempts"), why));
        }
        let slot_bytes_max = *SLOT_BYTES.end();
        if options.slot_size_bytes() * 2 > slot_bytes_max {
            let why = format!(
                "the slots of its dead-letter queue are twice as large, for the origin, and slots have at most {}; a queue \
                 with a limit of attempts has slots of at most {}",
                bytes_text(slot_bytes_max),
                bytes_text(slot_bytes_max / 2)
            );
            let what = format!("slots of {} with a limit of attempts", bytes_text(options.slot_size_bytes()));
            return Err(Error::invalid(what, why));
        }
        let letters_name = options.dead_letters.get_or_insert(derived);
        if letters_name == name {
            return Err(Error::invalid(format!("dead-letter queue of {name}"), "a queue cannot be its own"));
        }
        Ok(options)
    }

    /// Makes the channel `full` by `make`, and before that its dead-letter queue, if it has one that is not there.
    /// That one is removed again if the channel is refused.
    fn beside_dead_letters(
        &self,
        full: &ChannelName,
        options: &ChannelOptions,
        make: impl FnOnce() -> Result<Channel>,
    ) -> Result<Channel> {
        let letters = options.dead_letters.as_ref().filter(|_| options.max_attempts > 0);
        let letters = letters.filter(|_| options.kind() == Kind::Queue);
        let Some(letters) = letters else { return make() };
        let letters = ChannelName::new(&self.name, letters.clone())?;
        let ring = full.paths(&self.base).ring;
        let missing = channel::directory::missing_directories(&self.base, &self.name);
        // What is there already is found or refused below, and has its dead-letter queue.
        let made = !ring.exists() && self.make_dead_letters(&letters, options)?;
        let channel = make();
        match &channel {
            Ok(channel) if channel.created().is_some() => {
                // Another creator that was refused may have removed it.
                self.make_dead_letters(&letters, options)?;
            }
            Err(_) if made && !ring.exists() => {
                // The error that is told is the one that refused the channel.
                let _ = channel::directory::remove(&self.base, &letters);
                channel::directory::unmake_bus(&self.base, &self.name, &missing);
            }
            _ => {}
        }
        channel
    }

    /// Makes a dead-letter queue like the queue itself, with room for the origin; or checks the one that is there, and
    /// returns false.
    fn make_dead_letters(&self, full: &ChannelName, options: &ChannelOptions) -> Result<bool> {
        let mut letters = ChannelOptions::new(Kind::Queue).slots(options.slot_count());
        letters = letters.slot_bytes(options.slot_size_bytes() * 2).permissions(options.permissions.clone());
        // Each worker is a producer there, and administrators come to it.
        let workers = options.consumers().saturating_add(LETTERS_SPARE).min(layout::ENTRIES_MAX as u32);
        let most = workers.max(letters.producers());
        letters = letters.producers_max(most);
        let letters = self.with_journaller(full, letters);
        match channel::create(&self.base, full, &letters, &|maps| initialise(maps, &letters)) {
            Ok(_) => Ok(true),
            Err(Error::Exists { .. }) => {
                let found = channel::attach(&self.base, full)?.header;
                if found.kind != Kind::Queue || found.slot_bytes <= options.slot_size_bytes() {
                    return Err(Error::invalid(
                        format!("dead-letter queue {full}"),
                        format!(
                            "it must be a queue with slots of more than {} bytes",
                            options.slot_size_bytes()
                        ),
                    ));
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Writes what must not be zero at the start: the journaller's subscription, and positions, when they do not begin at 0.
pub(crate) fn initialise(maps: &Maps, options: &ChannelOptions) -> Result<()> {
    let first = options.first_position;
    if options.journaled {
        // SAFETY: the maps outlive these copies, and the creator has all of them writable.
        let memories = unsafe { Memories::of(maps) };
        register_journaller(&memories, options.kind(), options.consumers(), first);
    }
    if first == 0 {
        return Ok(());
    }
    if first > POSITION_MAX {
        return Err(Error::invalid(format!("first position {first}"), format!("at most {POSITION_MAX}")));
    }
    // SAFETY: the maps outlive these copies, and the creator has all of them writable.
    let memories = unsafe { Memories::of(maps) };
    let store = |at, value| memories.ring.store(at, value, Edge::Plain);
    if options.kind() == Kind::Stream {
        store(layout::ANCHOR_FLOOR, first);
        store(layout::ANCHOR_ENTRIES, first);
        store(layout::ANCHOR_ENTRIES + 16, first);
        return Ok(());
    }
    let slots = Slots::new(options.slot_count(), options.slot_size_bytes());
    store(layout::TAIL, first);
    memories.acks.store(layout::HEAD, first, Edge::Plain);
    for t in first..first + slots.count {
        if options.kind() == Kind::Queue {
            memories.done.store(slots.done_offset(t), slots.free_for(t), Edge::Plain);
        }
        if let Some(before) = t.checked_sub(slots.count) {
            let word = slots.state(before, seq::ABORTED);
            memories.data.store(slots.offset(t) + layout::SLOT_SEQ, word, Edge::Plain);
        }
    }
    Ok(())
}

/// Puts the journaller's subscription into a channel that nobody sees yet: it has read everything before `position`.
pub(crate) fn register_journaller(memories: &Memories, kind: Kind, consumers_max: u32, position: u64) {
    let registry = Registry::new(memories.acks, consumers_max as usize, layout::CONSUMERS_HIGH);
    let role = if kind == Kind::Queue { ROLE_TAP } else { ROLE_SUBSCRIBER };
    registry.restore(0, role, JOURNALLER, position, None);
}

/// Whether a reader starts behind everything published so far.
fn is_live(options: &SubscribeOptions, member: &Member) -> bool {
    options.start == Start::Live && member.registered.resumed.is_none()
}

/// How a producing handle behaves.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// A name for observers, at most 64 bytes.
    pub name: String,
    /// How to wait for room.
    pub wait: Wait,
    /// Whether to evict a live reader that has held this producer back, without moving, for longer than the
    /// channel's `stuck_after`. Such a reader gets [`RecvError::Evicted`](crate::RecvError::Evicted). Durable
    /// subscriptions are never evicted. Needs the right to write `.acks`, which opening checks.
    pub evict_stuck: bool,
    /// Whether this publisher numbers its events itself, under its name, which it must have and shares with no other
    /// live one: see [`Sender::publish_numbered`](crate::sender::Sender::publish_numbered).
    pub sequenced: bool,
}

impl SendOptions {
    fn introduction(&self) -> Result<Introduction> {
        if self.sequenced && self.name.is_empty() {
            return Err(Error::invalid("publisher that numbers its events", "it needs a name"));
        }
        let policy = ROLE_PRODUCER | if self.sequenced { SEQUENCED } else { 0 };
        Ok(Introduction { policy, name: self.name.clone() })
    }
}

/// How a subscriber or tap behaves.
#[derive(Debug, Clone)]
pub struct SubscribeOptions {
    /// A name, at most 64 bytes: for observers, or the identity of a durable subscription.
    pub name: String,
    /// Whether the subscription outlives its owner: its cursor holds events back until the name comes again.
    pub durable: bool,
    /// Whether to lose events, exactly reported, rather than ever hold a publisher back.
    pub lossy: bool,
    /// Whether the cursor moves by [`Reader::acknowledge_to`] only: what was received and not acknowledged stays in the
    /// ring, holds publishers back, and comes again to whoever resumes a durable subscription, after a kill and after an
    /// orderly exit. For programs that handle many events before the first of them is done. Not for lossy readers.
    pub manual: bool,
    /// Where to start; a durable subscription that exists resumes instead.
    pub start: Start,
    /// How to wait for events.
    pub wait: Wait,
    /// Whether receiving ends when the last publisher has left and everything was read. A subscriber that starts
    /// live and finds no publisher waits for the first one.
    pub until_closed: bool,
}

impl Default for SubscribeOptions {
    fn default() -> SubscribeOptions {
        SubscribeOptions {
            name: String::new(),
            durable: false,
            lossy: false,
            manual: false,
            start: Start::Live,
            wait: Wait::default(),
            until_closed: false,
        }
    }
}

impl SubscribeOptions {
    fn introduction(&self, role: u64) -> Result<Introduction> {
        if self.durable && (self.name.is_empty() || self.lossy) {
            return Err(Error::invalid("durable subscription", "it needs a name, and cannot be lossy"));
        }
        if self.manual && self.lossy {
            let why = "what it has not acknowledged would have to stay in the ring: it cannot be lossy";
            return Err(Error::invalid("subscription with manual acknowledgement", why));
        }
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        let flags = flag(self.durable, DURABLE) | flag(self.lossy, LOSSY) | flag(self.manual, MANUAL);
        let policy = role | flags;
        Ok(Introduction { policy, name: self.name.clone() })
    }
}

/// How a worker behaves.
#[derive(Debug, Clone, Default)]
pub struct WorkOptions {
    /// A name for observers, at most 64 bytes.
    pub name: String,
    /// How to wait for events.
    pub wait: Wait,
    /// Whether taking ends when the last producer has left and every event is done.
    pub until_closed: bool,
    /// How many events to take from the ring at once, 1 to 64: more is faster with one worker, and less fair
    /// between several, because what one has taken no other can. 0, the default, follows the load: 16 while this
    /// worker is the only one and takes more than 256 events a ms, otherwise 1 (and 1 by the rules of a priority, a bound
    /// or a keyed queue). Never more than [`Self::in_hand_max`] leaves room for.
    pub grab: u32,
    /// Priority level: 0, the default, is served first. A worker of a lower level, 1 to 255, gets events only while every
    /// worker of the levels above it is saturated (it has [`Self::in_hand_max`] events in hand; opened without a bound:
    /// an event of its last take is not done), or does not move: it has neither taken nor waited nor polled for longer
    /// than the channel's `stuck_after`, at least 100 ms. [`ring::levels`](crate::ring::levels) says which words decide.
    ///
    /// A worker that waits for its turn is woken when one above it, that has a bound, becomes saturated or leaves;
    /// otherwise it finds out within 8 ms (a worker above that has no bound, is stopped, or dies). Through a
    /// [`Bridge`](crate::Bridge) it looks every 4 ms; and a worker that waits by a bridge and does not poll for longer
    /// than `stuck_after` counts as one that does not move.
    pub priority: u8,
    /// Most events in this worker's hands at once, 1 to 65535: taking more is refused with
    /// [`RecvError::HandsFull`](crate::RecvError::HandsFull). 0, the default, is no bound on level 0 and 1 on the levels
    /// below.
    pub in_hand_max: u32,
}

impl WorkOptions {
    fn rank(&self) -> Result<Rank> {
        let most = if self.in_hand_max == 0 && self.priority > 0 { 1 } else { self.in_hand_max };
        match u16::try_from(most) {
            Ok(in_hand_max) => Ok(Rank { level: self.priority, in_hand_max }),
            Err(_) => {
                let what = format!("in_hand_max {most}");
                Err(Error::invalid(what, format!("must be 1 to {IN_HAND_MAX}, or 0 for the default")))
            }
        }
    }
}

/// A channel that is open. Cheap to clone; clones share the open files.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bus: Bus,
    attached: Attached,
    ring_id: FileId,
    acks_id: FileId,
    created: Option<PageReport>,
    /// How far the journal is, once somebody has asked.
    journal: Mutex<Option<Arc<View>>>,
}

impl Channel {
    pub(crate) fn new(bus: &Bus, attached: Attached, created: Option<PageReport>) -> Result<Channel> {
        let id = |file, path: &Path| FileId::of(file).map_err(|error| Error::io("examine", path, error));
        let ring_id = id(attached.ring_file(), &attached.paths.ring)?;
        let acks_id = id(attached.acks_file(), &attached.paths.acks)?;
        let journal = Mutex::default();
        let inner = Inner { bus: bus.clone(), attached, ring_id, acks_id, created, journal };
        Ok(Channel { inner: Arc::new(inner) })
    }

    /// `BUS/CHANNEL`.
    pub fn name(&self) -> &ChannelName {
        &self.inner.attached.name
    }

    /// What its creator decided.
    pub fn header(&self) -> &Header {
        &self.inner.attached.header
    }

    /// Its files.
    pub fn paths(&self) -> &ChannelPaths {
        &self.inner.attached.paths
    }

    /// The bus it is on.
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// Which pages its data got, when this handle made it.
    pub fn created(&self) -> Option<&PageReport> {
        self.inner.created.as_ref()
    }

    pub(crate) fn journal_slot(&self) -> &Mutex<Option<Arc<View>>> {
        &self.inner.journal
    }

    pub(crate) fn attached(&self) -> &Attached {
        &self.inner.attached
    }

    pub(crate) fn map(&self, role: channel::Role) -> Result<Maps> {
        self.inner.attached.map(role)
    }

    /// Whether the channel was removed since it was opened: its file has no name any more. What has its name now, if
    /// anything, is another channel. One system call; participants ask now and then, see
    /// [`RecvError::Removed`](crate::RecvError::Removed).
    ///
    /// # Errors
    /// [`Error::Io`] where nobody can tell.
    pub fn is_removed(&self) -> Result<bool> {
        let (file, path, id) = self.side_file(Side::Producers);
        match nix::sys::stat::fstat(file) {
            Ok(about) if (FileId { device: about.st_dev, inode: about.st_ino }) == id => {
                Ok(about.st_nlink == 0)
            }
            // Other code of this process has closed the descriptor. Then only the name can tell.
            _ => match std::fs::symlink_metadata(path) {
                Ok(about) => Ok(FileId::from(&about) != id),
                // In another root directory, as after chroot, nothing that is here would be found.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(self.bus().base().is_dir()),
                Err(error) => Err(Error::io("examine", path, error)),
            },
        }
    }

    /// The file of one side, as it was opened: where it was found, and which it is.
    pub(crate) fn side_file(&self, side: Side) -> (&File, &Path, FileId) {
        let Inner { attached, ring_id, acks_id, .. } = &*self.inner;
        match side {
            Side::Producers => (attached.ring_file(), &attached.paths.ring, *ring_id),
            Side::Consumers => (attached.acks_file(), &attached.paths.acks, *acks_id),
        }
    }

    fn expect(&self, kind: Kind, handle: &str) -> Result<()> {
        let found = self.header().kind;
        if found == kind {
            return Ok(());
        }
        Err(Error::invalid(format!("{handle} of {}", self.name()), format!("it is a {found}, not a {kind}")))
    }

    /// What a sender needs that evicts stuck readers, which is a consumer's right.
    fn stuck_reader(&self, options: &SendOptions) -> Result<Option<StuckReader>> {
        options.evict_stuck.then(|| StuckReader::open(self)).transpose()
    }

    fn slots(&self) -> Slots {
        Slots::new(self.header().slots, self.header().slot_bytes)
    }

    /// The publisher of this stream, continuing where the last one left it, or died.
    ///
    /// # Errors
    /// [`Error::Busy`] while another publisher lives; [`Error::NotAllowed`]; [`Error::Corrupt`].
    pub fn publisher(&self, options: &SendOptions) -> Result<Publisher> {
        self.expect(Kind::Stream, "publisher")?;
        let stuck = self.stuck_reader(options)?;
        let diversion = Diversion::open(self, options)?;
        let member = Member::register(self, Side::Producers, &options.introduction()?, |_, _, _| true)?;
        let Memories { ring, acks, data, .. } = member.memories;
        let header = self.header();
        let consumers = header.consumers_max as usize;
        let core = StreamPublisher::take_over(
            ring,
            acks,
            data,
            member.registered.index,
            header.capacity_bytes,
            consumers,
        );
        let core = core.ok_or_else(|| {
            Error::corrupt(
                format!("stream {}", self.name()),
                "its frames do not follow each other; remove it and create it again",
            )
        })?;
        Sequences::new(ring, header.producers_max as usize).settle_before(core.place().position);
        let core = core.with_watermarks(header.marks());
        Ok(Sender::new(StreamOutlet::new(core), member, options, u32::MAX >> 1, diversion, stuck))
    }

    /// A publisher of this topic.
    pub fn topic_publisher(&self, options: &SendOptions) -> Result<TopicPublisher> {
        self.expect(Kind::Topic, "topic publisher")?;
        // Every subscriber wants every event.
        self.slot_sender(options, u32::MAX >> 1, Diversion::open(self, options)?)
    }

    /// A producer of this queue.
    pub fn producer(&self, options: &SendOptions) -> Result<Producer> {
        self.expect(Kind::Queue, "producer")?;
        self.slot_sender(options, 1, Diversion::open(self, options)?)
    }

    /// A sender of a slot ring that diverts nothing itself, whatever the channel's policy.
    pub(crate) fn slot_sender_undiverted<const TOPIC: bool>(
        &self,
        options: &SendOptions,
    ) -> Result<Sender<SlotOutlet<TOPIC>>> {
        self.slot_sender(options, if TOPIC { u32::MAX >> 1 } else { 1 }, None)
    }

    fn slot_sender<const TOPIC: bool>(
        &self,
        options: &SendOptions,
        wakes: u32,
        diversion: Option<Box<Diversion>>,
    ) -> Result<Sender<SlotOutlet<TOPIC>>> {
        let stuck = self.stuck_reader(options)?;
        let member = Member::register(self, Side::Producers, &options.introduction()?, |_, _, _| true)?;
        let Memories { ring, acks, data, done, .. } = member.memories;
        let (producers, consumers) =
            (self.header().producers_max as usize, self.header().consumers_max as usize);
        if let Some(own) = member.sequence {
            Sequences::new(ring, producers).settle(own, |ticket| is_published(&data, self.slots(), ticket));
        }
        let index = member.registered.index;
        let core =
            SlotProducer::<_, TOPIC>::new(ring, acks, data, done, index, self.slots(), producers, consumers);
        let mut core = core.with_limits(self.header().marks(), self.header().credits);
        if self.header().watermarks.is_some() {
            // Here, rather than on the way of its first event.
            core.look_at_pressure();
        }
        Ok(Sender::new(SlotOutlet::new(core), member, options, wakes, diversion, stuck))
    }

    /// A subscriber of this stream.
    ///
    /// # Errors
    /// [`Error::Busy`] when the durable name is in use or no place is left; [`Error::Invalid`] when the position to
    /// start at is not retained; [`Error::NotAllowed`]; [`Error::Corrupt`].
    pub fn subscriber(&self, options: &SubscribeOptions) -> Result<Subscriber> {
        self.in_the_ring(self.subscriber_behind(options)?)
    }

    /// As [`Self::subscriber`]; but what it has still to read may lie in the journal only, see [`Reader::behind`].
    pub(crate) fn subscriber_behind(&self, options: &SubscribeOptions) -> Result<Subscriber> {
        self.try_subscriber(options)?.map_err(|error| self.explain(error))
    }

    /// As [`Self::subscriber_behind`]; says by itself that the position to start at is not in the ring.
    pub(crate) fn try_subscriber(
        &self,
        options: &SubscribeOptions,
    ) -> Result<std::result::Result<Subscriber, JoinError>> {
        self.expect(Kind::Stream, "subscriber")?;
        let who = self.introduction(options, ROLE_SUBSCRIBER)?;
        let member = Member::register(self, Side::Consumers, &who, |_, _, _| true)?;
        let Memories { ring, acks, data, .. } = member.memories;
        let index = member.registered.index;
        let mut core =
            StreamSubscriber::new(ring, acks, data, index, self.header().capacity_bytes, options.lossy);
        let live = is_live(options, &member);
        let joined = match member.registered.resumed {
            Some(cursor) => core.resume(cursor),
            None => core.join(options.start),
        };
        Ok(joined.map(|()| {
            let inlet = StreamInlet { core, lossy: options.lossy };
            Reader::new(inlet, member, options, live)
        }))
    }

    /// Refuses a durable subscription that would silently skip what is in the journal only.
    fn in_the_ring<R: Inlet>(&self, reader: Reader<R>) -> Result<Reader<R>> {
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

    /// A subscriber of this topic.
    pub fn topic_subscriber(&self, options: &SubscribeOptions) -> Result<TopicSubscriber> {
        self.in_the_ring(self.topic_subscriber_behind(options)?)
    }

    /// As [`Self::topic_subscriber`]; but what it has still to read may lie in the journal only.
    pub(crate) fn topic_subscriber_behind(&self, options: &SubscribeOptions) -> Result<TopicSubscriber> {
        self.try_topic_subscriber(options)?.map_err(|error| self.explain(error))
    }

    /// As [`Self::topic_subscriber_behind`]; says by itself that the position to start at is not in the ring.
    pub(crate) fn try_topic_subscriber(
        &self,
        options: &SubscribeOptions,
    ) -> Result<std::result::Result<TopicSubscriber, JoinError>> {
        self.expect(Kind::Topic, "topic subscriber")?;
        self.slot_reader(options, ROLE_SUBSCRIBER)
    }

    /// A reader that sees every event of this queue and takes none. It gates the producers as a topic's subscriber
    /// does, unless it is lossy: then it copies what is there, and is told what was overwritten before.
    pub fn tap(&self, options: &SubscribeOptions) -> Result<Tap> {
        self.expect(Kind::Queue, "tap")?;
        self.in_the_ring(self.slot_reader(options, ROLE_TAP)?.map_err(|error| self.explain(error))?)
    }

    fn slot_reader(
        &self,
        options: &SubscribeOptions,
        role: u64,
    ) -> Result<std::result::Result<Reader<SlotInlet>, JoinError>> {
        if role == ROLE_TAP && options.start != Start::Live {
            return Err(Error::invalid(
                "start of a tap",
                "a tap starts live, or resumes by its durable name",
            ));
        }
        let who = self.introduction(options, role)?;
        let member = Member::register(self, Side::Consumers, &who, |memories, peers, index| {
            // The entry of a queue's consumer may have been a worker's, with events in its hands.
            role != ROLE_TAP || sweep_entry(self, memories, peers, index)
        })?;
        let Memories { ring, acks, data, live, .. } = member.memories;
        let producers = self.header().producers_max as usize;
        let index = member.registered.index;
        let mut core = SlotReader::new(ring, acks, data, index, self.slots(), producers).with_live(live);
        if role == ROLE_TAP {
            core = core.of_queue();
        }
        match member.registered.resumed {
            Some(cursor) if role == ROLE_TAP => core.resume(cursor),
            Some(cursor) => core.resume_before_tail(cursor),
            None => {
                if let Err(error) = core.join(options.start, options.lossy) {
                    return Ok(Err(error));
                }
            }
        }
        let inlet = SlotInlet { core, lossy: options.lossy };
        let live = is_live(options, &member);
        Ok(Ok(Reader::new(inlet, member, options, live)))
    }

    /// A worker of this queue.
    ///
    /// # Errors
    /// [`Error::Busy`] when no place is left; [`Error::NotAllowed`], also when the queue has dead letters and this
    /// process may not produce into their queue.
    pub fn worker(&self, options: &WorkOptions) -> Result<Worker> {
        self.expect(Kind::Queue, "worker")?;
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

    /// Why a worker of this queue may not come: it needs a place as a producer of the dead-letter queue.
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
