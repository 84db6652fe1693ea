//! A registered participant of a channel: its maps, its registry entry, its proof of life, and its
//! view of its peers. Every handle owns one.

use std::sync::OnceLock;
use std::time::Duration;

use railbus_os::fork::ForkGuard;
use railbus_os::{clock, process, rseq};
use railbus_ring::layout;
use railbus_ring::members::fence::{self, Stores};
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::{self, Identity, Locks, RegisterError, Registered, Registry, Status};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::sequence::Sequences;
use railbus_ring::tally::Tally;

use crate::channel::file_locks::FileLocks;
use crate::channel::life::LifeLock;
use crate::channel::mapped::Trusted;
use crate::channel::memories::{Memories, TELLING};
use crate::channel::name::JOURNALLER;
use crate::channel::open::Channel;
use crate::channel::peers::{Kernel, registry_of};
use crate::channel::{Kind, Maps, Role};
use crate::error::{Error, Result};

/// A refused registration is tried again this many times, a millisecond apart. The locks of a
/// process that was just killed, or of a child between fork and exec, are released a moment later.
const RETRIES: u32 = 20;

/// A registered participant.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) memories: Memories,
    pub(crate) peers: Kernel,
    pub(crate) channel: Channel,
    pub(crate) registered: Registered,
    /// The offset of this participant's registry entry in its side's file.
    entry: usize,
    own: Trusted,
    side: Side,
    durable: bool,
    pub(crate) guard: ForkGuard,
    /// The entry of this participant in the table of sequences, if its name numbers its events.
    pub(crate) sequence: Option<usize>,
    /// The locks with which a worker repairs. They are opened when it registers, because it may
    /// have no right to do so later.
    locks: Option<FileLocks>,
    // The life lock goes before the maps, but after everything that `Drop` writes.
    _life: LifeLock,
    maps: Maps,
}

/// The part of its entry that a participant chooses itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Introduction {
    pub(crate) policy: u64,
    pub(crate) name: String,
}

impl Member {
    /// Registers on `side`. `sweep` repairs what the dead owner of an entry left, in the memories
    /// that it gets, and returns whether nothing remains.
    ///
    /// # Errors
    /// - [`Error::Busy`] when every entry or the name is in use, the table of numbering publishers is
    ///   full, or the channel is being made again;
    /// - [`Error::NotFound`] when it was removed;
    /// - [`Error::Invalid`] for the name;
    /// - [`Error::TimedOut`] after a second without the lock of names;
    /// - [`Error::NotAllowed`], and the errors of mapping.
    pub(crate) fn register(
        channel: &Channel,
        side: Side,
        who: &Introduction,
        sweep: impl Fn(&Memories, &Kernel, usize) -> bool,
    ) -> Result<Member> {
        let role = match side {
            Side::Producers => Role::Producer,
            Side::Consumers => Role::Consumer,
        };
        if who.name != JOURNALLER {
            let attached = channel.attached();
            let own = if side == Side::Producers { attached.ring_file() } else { attached.acks_file() };
            channel.bus().owner().check_channel(attached, own)?;
        }
        let maps = channel.map(role)?;
        // SAFETY: the maps are kept beside the memories and dropped after them; a side writes its own file.
        let memories = unsafe { Memories::of(&maps) };
        let peers = Kernel::of(channel, &memories)?;
        let locks = FileLocks::open_beside(channel, side, &memories)?;
        let registry = registry_of(&memories, channel, side);
        let identity = identity(who)?;
        let repairs = identity.policy & 0xFF == registry::ROLE_WORKER;
        let kept = repairs.then(|| FileLocks::open_beside(channel, side, &memories)).transpose()?;
        let durable = identity.policy & registry::DURABLE != 0;
        let sequenced = identity.policy & registry::SEQUENCED != 0;
        let is_named = durable || sequenced;
        let sequences = || Sequences::new(memories.ring, channel.header().producers_max as usize);
        let mut tries = 0;
        let (registered, sequence) = loop {
            if is_named {
                lock_names(&locks, channel)?;
            }
            let registered = registry.register(&locks, &identity, |index| sweep(&memories, &peers, index));
            let sequence = (sequenced && registered.is_ok()).then(|| sequences().enter(identity.name, 0));
            if is_named {
                locks.release_janitor(layout::NAMES_LOCK);
            }
            if registered.is_ok() || tries == RETRIES {
                break (registered, sequence);
            }
            tries += 1;
            // Without the lock of names, so that a registrant with another name gets it.
            std::thread::sleep(Duration::from_millis(1));
        };
        // If the locks returned an error, that is the reason, whatever the registry answered.
        let asked = locks.check();
        let registered = registered.map_err(|refused| match (asked, is_made_anew(&locks)) {
            (Err(error), _) => error,
            (Ok(()), true) => made_anew(channel),
            (Ok(()), false) => explain(refused, channel, side, &registry, &who.name),
        })?;
        if channel.is_removed()? {
            // The name may belong to another channel now. A handle to this one would find no peers.
            registry.leave(&registered, durable);
            let (what, path) = (channel.name().to_string(), channel.paths().ring.clone());
            if path.exists() {
                let why =
                    "it was made anew, or removed and created again, meanwhile; attach again".to_owned();
                return Err(Error::Busy { what: format!("channel {what}"), why });
            }
            return Err(Error::NotFound { what, path });
        }
        if sequence == Some(None) {
            registry.leave(&registered, durable);
            return Err(Error::Busy {
                what: format!("the table of numbering publishers of {}", channel.name()),
                why: format!("{} names are in it, and stay; use one of them", layout::SEQUENCES_MAX),
            });
        }
        let life = locks.into_life()?;
        let guard = life.guard();
        let channel = channel.clone();
        let own = match side {
            Side::Producers => memories.ring,
            Side::Consumers => memories.acks,
        };
        let entry = layout::entry(registered.index);
        Ok(Member {
            memories,
            peers,
            channel,
            registered,
            entry,
            own,
            side,
            durable,
            guard,
            sequence: sequence.flatten(),
            locks: kept,
            _life: life,
            maps,
        })
    }

    /// Whether a file was truncated under its mapping; see [`railbus_os::truncated`]. A few loads.
    pub(crate) fn is_lost(&self) -> bool {
        self.maps.is_lost()
    }

    /// Whether this handle was inherited over a `fork`. One load.
    #[inline(always)]
    pub(crate) fn is_forked(&self) -> bool {
        self.guard.is_forked()
    }

    pub(crate) fn registry(&self) -> Registry<Trusted> {
        registry_of(&self.memories, &self.channel, self.side)
    }

    /// The other side's file.
    #[inline(always)]
    pub(crate) fn others(&self) -> &Trusted {
        match self.side {
            Side::Producers => &self.memories.acks,
            Side::Consumers => &self.memories.ring,
        }
    }

    /// Stores a word of this participant's entry that only observers read.
    #[inline(always)]
    pub(crate) fn note(&self, field: usize, value: u64) {
        self.own.store(self.entry + field, value, Edge::Plain);
    }

    /// Reports to observers how much was delivered.
    #[inline(always)]
    pub(crate) fn note_tally(&self, tally: Tally) {
        self.note(layout::EVENTS, tally.events);
        self.note(layout::BYTES, tally.bytes);
    }

    /// Reports counts to observers together with the position that they belong to. It is a sequence
    /// lock whose sequence is the position.
    pub(crate) fn tell(&self, position: u64, tally: Tally) {
        let at = self.entry + layout::POSITION;
        self.own.store(at, TELLING, Edge::Plain);
        // OVERWRITE: an observer that sees one of the counts below also sees that they are being
        // changed.
        self.own.fence(Edge::Overwrite);
        self.note_tally(tally);
        // STATE: an observer that sees the position sees its counts.
        self.own.store(at, position, Edge::State);
    }

    /// A word of this participant's entry.
    pub(crate) fn word(&self, field: usize) -> u64 {
        self.own.load(self.entry + field, Edge::Plain)
    }

    /// Records the time, as a sign that the owner is moving.
    pub(crate) fn seen(&self) {
        self.note(layout::SEEN_NS, clock::coarse_ns());
    }

    /// Whether the registration is still valid. An evicted participant finds out by this.
    #[inline(always)]
    pub(crate) fn is_registered(&self) -> bool {
        self.own.load(self.entry + layout::STATE, Edge::Plain) == self.registered.state
    }

    /// Whether the channel was removed. A consumer that finds out marks it for publishers, which
    /// check the mark more often than the file. One system call.
    #[cold]
    pub(crate) fn is_removed(&self) -> bool {
        // An error, or a fork child, is no proof of a removal.
        if self.is_forked() || !self.channel.is_removed().unwrap_or(false) {
            return false;
        }
        if self.side == Side::Consumers {
            let mut seen = self.own.load(layout::CONSUMERS_PARKED, Edge::Park);
            while seen & layout::REMOVED_MARK == 0 {
                let marked = seen | layout::REMOVED_MARK;
                // PARK: as the announcement of a sleeper, so that the next event's publisher takes
                // the slow path.
                match self.own.compare_exchange(layout::CONSUMERS_PARKED, seen, marked, Edge::Park) {
                    Ok(_) => break,
                    Err(found) => seen = found,
                }
            }
        }
        true
    }

    /// Whether a participant has marked the channel as removed.
    pub(crate) fn is_marked_removed(&self) -> bool {
        self.memories.acks.load(layout::CONSUMERS_PARKED, Edge::Plain) & layout::REMOVED_MARK != 0
    }

    /// Gives the entry up, as if it had been evicted. The next participant that registers in it or
    /// buries it sweeps first.
    pub(crate) fn give_up(&self) {
        // An evictor of this moment does the same.
        self.registry().mark_evicted(self.registered.index, self.registered.state);
    }

    /// Whether any wanted participant of the other side lives. `None` if none was ever registered,
    /// and in a fork child, which cannot find out.
    pub(crate) fn others_live(&self, is_wanted: impl Fn(u64) -> bool) -> Option<bool> {
        if self.is_forked() {
            return None;
        }
        let ever = registry_of(&self.memories, &self.channel, self.other_side()).used() > 0;
        // One that lives is enough: the kernel is not asked about the rest.
        ever.then(|| self.find_others(is_wanted).next().is_some())
    }

    /// The entries of the live participants of the other side that are wanted, by their policy
    /// word.
    fn find_others(&self, is_wanted: impl Fn(u64) -> bool) -> impl Iterator<Item = usize> {
        let side = self.other_side();
        let registry = registry_of(&self.memories, &self.channel, side);
        let used = registry.used();
        (0..used).filter(move |&index| {
            let policy = self.others().load(layout::entry(index) + layout::POLICY, Edge::Plain);
            matches!(registry::status(registry.state(index)), Status::Active | Status::Filling)
                && is_wanted(policy)
                && !self.peers.is_dead(side, index)
        })
    }

    /// The number of active or evicted entries of this side that are wanted, by their policy word,
    /// up to `most`. Dead participants that nobody has found yet count.
    pub(crate) fn count_own(&self, most: usize, is_wanted: impl Fn(u64) -> bool) -> usize {
        let registry = self.registry();
        let policy = |index| self.own.load(layout::entry(index) + layout::POLICY, Edge::Plain);
        let is_counted = |&index: &usize| {
            matches!(registry::status(registry.state(index)), Status::Active | Status::Evicted)
                && is_wanted(policy(index))
        };
        (0..registry.used()).filter(is_counted).take(most).count()
    }

    /// Reports to the other side that this participant is ready: it receives what is published from
    /// now on. Readers report it themselves when they have joined.
    pub(crate) fn joined(&self) {
        // STATE: as in the readers' join.
        self.own.store(self.entry + layout::JOINED, 1, Edge::State);
    }

    /// The number of live participants of the other side that have joined. The journaller does not
    /// count: it reads everything, and no publisher waits for it. 0 in a fork child, which cannot
    /// find out.
    pub(crate) fn count_joined(&self) -> usize {
        if self.is_forked() {
            return 0;
        }
        let side = self.other_side();
        let registry = registry_of(&self.memories, &self.channel, side);
        let is_ready = |&index: &usize| {
            let state = registry.state(index);
            // STATE: pairs with `joined`. The word is this generation's or a later one's. If it is
            // a later one's, the state has changed at the end.
            let joined = self.others().load(layout::entry(index) + layout::JOINED, Edge::State) != 0;
            registry::status(state) == Status::Active
                && joined
                && registry.name(index) != registry::JOURNALLER
                && !self.peers.is_dead(side, index)
                && registry.state(index) == state
        };
        (0..registry.used()).filter(is_ready).count()
    }

    /// The number of participants that have ever registered on the other side. One that is still
    /// filling in its entry does not count.
    pub(crate) fn others_ever(&self) -> u64 {
        let registry = registry_of(&self.memories, &self.channel, self.other_side());
        (0..registry.used())
            .fold(0, |sum, index| sum.wrapping_add(registry::generation(registry.state(index))))
    }

    fn other_side(&self) -> Side {
        match self.side {
            Side::Producers => Side::Consumers,
            Side::Consumers => Side::Producers,
        }
    }

    /// Whether it is this worker's turn to ask the kernel which participants of its side have died:
    /// nobody has asked for `every_ns`. So many idle workers together ask no more often than one
    /// does.
    pub(crate) fn is_turn_to_look(&self, every_ns: u64) -> bool {
        let now_ns = clock::host_ns();
        // Plain: it only decides which worker asks, and the locks order what is found. A time in
        // the future is not believed.
        let looked_ns = self.own.load(layout::LOOKED_NS, Edge::Plain);
        if looked_ns <= now_ns && now_ns - looked_ns < every_ns {
            return false;
        }
        self.own.compare_exchange(layout::LOOKED_NS, looked_ns, now_ns, Edge::Plain).is_ok()
    }

    /// The entries of this side whose owners have died, except durable names.
    pub(crate) fn dead_of_own_side(&self) -> impl Iterator<Item = usize> {
        let registry = self.registry();
        (0..registry.used()).filter(move |&index| {
            index != self.registered.index
                && registry::status(registry.state(index)) != Status::Free
                && !registry.is_durable(index)
                && self.peers.is_dead(self.side, index)
        })
    }

    /// Completes the eviction of a worker of this side whose fence is closed: `sweep` hands back
    /// what it held. For workers.
    pub(crate) fn go_on_evicting(&self, index: usize, sweep: impl FnOnce() -> bool) -> Result<()> {
        self.with_locks(|locks| fence::go_on(locks, &self.own, index, sweep))
    }

    /// Frees the entry of a dead participant of this side after `sweep`. For workers.
    pub(crate) fn bury(&self, index: usize, sweep: impl FnMut(usize) -> bool) -> Result<bool> {
        self.with_locks(|locks| self.registry().bury(locks, index, sweep))
    }

    fn with_locks<T>(&self, work: impl FnOnce(&FileLocks) -> T) -> Result<T> {
        match &self.locks {
            Some(locks) => locks.with(&self.channel, self.side, work),
            None => FileLocks::open_beside(&self.channel, self.side, &self.memories)?.with(
                &self.channel,
                self.side,
                work,
            ),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The maps do not exist in a fork child.
        if !self.is_forked() {
            self.registry().leave(&self.registered, self.durable);
            if self.word(layout::PROOF) != 0 {
                // The process may live on, and strangers may keep the byte locked. Nobody else gets
                // the entry before this life is given up, even if it was evicted.
                self.note(layout::PROOF, 0);
            }
            // It holds nobody back any more, or it was the last one that a peer waited for.
            match self.side {
                Side::Producers => self.memories.wake_consumers(),
                Side::Consumers => self.memories.wake_producers(),
            }
        }
    }
}

/// How this process's workers store done words: in restartable sequences where the system has them,
/// unless the environment variable `RAILBUS_FENCE` is `swap`.
pub(crate) fn stores() -> Stores {
    static ASKED: OnceLock<bool> = OnceLock::new();
    let swap = *ASKED.get_or_init(|| std::env::var_os("RAILBUS_FENCE").is_some_and(|how| how == "swap"));
    match rseq::offset() {
        Some(area) if !swap => Stores::Restart { area },
        _ => Stores::Swap,
    }
}

fn identity(who: &Introduction) -> Result<Identity> {
    let bytes = who.name.as_bytes();
    if bytes.len() > 64 || bytes.contains(&0) {
        return Err(Error::invalid(
            format!("participant name '{}'", who.name.escape_debug()),
            "at most 64 bytes of UTF-8 without zero bytes",
        ));
    }
    let mut padded = [0u8; 64];
    padded[..bytes.len()].copy_from_slice(bytes);
    let pid = process::pid();
    Ok(Identity {
        policy: who.policy,
        pid_tid: pid as u64 | (process::tid() as u32 as u64) << 32,
        start_time: process::start_time_ticks(pid).unwrap_or(0),
        now_ns: clock::monotonic_ns(),
        name: std::array::from_fn(|i| {
            let mut word = [0; 8];
            word.copy_from_slice(&padded[i * 8..][..8]);
            u64::from_le_bytes(word)
        }),
        fence: if who.policy & 0xFF == registry::ROLE_WORKER { stores().open() } else { fence::NONE },
    })
}

/// Registering a durable name is rare and quick, so a wait of more than a second means that a
/// registrant is stopped.
fn lock_names(locks: &FileLocks, channel: &Channel) -> Result<()> {
    for tries in 0..1000 {
        if locks.try_janitor(layout::NAMES_LOCK) {
            return Ok(());
        }
        if tries >= RETRIES && is_made_anew(locks) {
            return Err(made_anew(channel));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(Error::TimedOut { what: "another process that registers a durable name".into(), after_ms: 1000 })
}

/// Whether a process holds every lock of the channel, also those that no participant has, because
/// it makes the channel again.
fn is_made_anew(locks: &FileLocks) -> bool {
    locks.is_life_held(layout::NAMES_LOCK)
}

fn made_anew(channel: &Channel) -> Error {
    let why = "an administrator is making it anew at this moment (`railbus resize`); attach again";
    Error::Busy { what: format!("channel {}", channel.name()), why: why.to_owned() }
}

fn explain(
    refused: RegisterError,
    channel: &Channel,
    side: Side,
    registry: &Registry<Trusted>,
    name: &str,
) -> Error {
    let header = channel.header();
    let (who, option, entries) = match (side, header.kind) {
        (Side::Producers, Kind::Table) => ("writers", "--producers-max", header.producers_max),
        (Side::Producers, Kind::Queue) => ("producers", "--producers-max", header.producers_max),
        (Side::Producers, _) => ("publishers", "--producers-max", header.producers_max),
        (Side::Consumers, Kind::Table) => ("readers", "--consumers-max", header.consumers_max),
        (Side::Consumers, Kind::Queue) => ("workers and taps", "--consumers-max", header.consumers_max),
        (Side::Consumers, _) => ("subscribers", "--consumers-max", header.consumers_max),
    };
    let channel = channel.name();
    match refused {
        RegisterError::Full if side == Side::Producers && header.kind == Kind::Stream => {
            let pid = registry.pid(0);
            Error::Busy {
                what: format!("the publisher of {channel}"),
                why: format!(
                    "process {pid} is publishing; a stream has one publisher at a time (use a topic for many)"
                ),
            }
        }
        RegisterError::Full => {
            let held = match entries {
                1 => format!("1 is registered, by process {}", registry.pid(0)),
                entries => format!("{entries} are registered"),
            };
            Error::Busy {
                what: format!("every place for {who} of {channel}"),
                why: format!(
                    "it was created for at most {entries} ({option}), and {held}; see `railbus info {channel}`, end one \
                     of them, or `railbus resize` it with a larger {option}"
                ),
            }
        }
        RegisterError::NameTaken(index) => Error::Busy {
            what: format!("the name {name:?} in {channel}"),
            why: format!("process {} uses it; end that one, or choose another name", registry.pid(index)),
        },
    }
}
