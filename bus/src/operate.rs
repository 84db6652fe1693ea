//! What an operator may do to a channel from outside: repair what the dead left, and evict the living.
//!
//! Nobody needs [`Channel::repair`]: whoever waits repairs what is in the way. It is for a channel that nobody uses
//! at the moment, and for those who want to see it done.
//!
//! [`Channel::evict`] fences a participant that lives but does not move. A *reader* is evicted by a word in its
//! registry entry: it holds nobody back from then on, and its next call says so. So is a *worker*, whose events are handed
//! to others at once; each of its stores is made only while its fence is open ([`crate::ring::fence`]). A *producer* copies
//! into the ring in place, and no word can stop a copy that is under way: its process is killed, with SIGKILL, and exactly
//! that process, whatever its pid means by now, and only if it holds the participant's lock: a pid in a shared file is
//! another user's word. [`Channel::kill`] does that to workers, too.
//!
//! The bytes that an evicted participant has lent as `&[u8]` stay as they are. A reader or worker of
//! *another* process keeps the bytes that it may look at: producers step over them until it has noticed,
//! left or died ([`crate::ring::lent`]). Before one of the *own* process is evicted, what it reads is set
//! aside (`aside.rs`), which takes a copy of the channel's data, and as much memory.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::aside;
use crate::bus::Channel;
use crate::channel::{Kind, Maps};
use crate::error::{Error, Result};
use crate::info::Participant;
use crate::layout;
use crate::member::{FileLocks, Kernel, Memories, registry_of};
use crate::memory::{Edge, Memory, Trusted};
use crate::os::clock;
use crate::os::life::{holds_life, smallest_mapping_bytes};
use crate::os::process::{self, Killed};
use crate::os::quiesce::quiesce;
use crate::ring::fence::{self, Fenced};
use crate::ring::lent;
use crate::ring::orphan::{Swept, abort_orphan};
use crate::ring::peers::{Peers, Side};
use crate::ring::registry::{self, Locks, Registry, Status};
use crate::ring::word::Slots;
use crate::sweep::{sweep_entry_of, sweeper_of};

/// How long the lock of a process that has ended may take to go.
const GONE_PATIENCE: Duration = Duration::from_secs(1);

/// What [`Channel::repair`] did.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Registry entries of dead participants that were freed.
    pub buried: Vec<(Side, usize)>,
    /// Entries of dead participants that could not be freed yet: a live one announces the same tickets, or is
    /// repairing them at this moment. Try again.
    pub unsettled: Vec<(Side, usize)>,
    /// Tickets of dead producers that were marked as carrying no event (topic).
    pub aborted: u64,
    /// Events of dead workers that were handed back for redelivery, now or before (queue).
    pub redone: u64,
    /// Sides that this process may not write, and why.
    pub skipped: Vec<(Side, Error)>,
}

/// What [`Channel::evict`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evicted {
    /// The reader holds nobody back any more, and is told when it next looks.
    Told,
    /// A durable subscription without an owner is forgotten.
    Forgotten,
    /// The worker's events are handed to others, its `done` is refused, and it is told when it next looks.
    Fenced {
        /// Events that were handed back, also by others who died: what waits to be delivered again.
        events: u64,
    },
    /// The process was killed, and its lock is gone.
    Killed {
        /// Its pid.
        pid: u32,
    },
    /// Its process had died before; it was only buried, or will be by whoever meets it.
    Dead,
}

impl Channel {
    /// Frees the entries of all dead participants of both sides, after a full sweep for what they left. Durable
    /// subscriptions are not touched.
    ///
    /// Safe at any time, beside any number of participants and repairers. Sides that this process may not write are
    /// skipped, and said.
    pub fn repair(&self) -> Result<Repaired> {
        let mut repaired = Repaired::default();
        let may = |side| match side {
            Side::Producers => self.attached().ring.writable,
            Side::Consumers => self.attached().acks.writable,
        };
        let maps = self.attached().map_as(may(Side::Producers), may(Side::Consumers))?;
        // SAFETY: the maps outlive the memories, and a side is written only where it is mapped writable.
        let memories = unsafe { Memories::of(&maps) };
        let peers = Kernel::of(self, &memories)?;
        if may(Side::Producers) && self.header().kind == Kind::Topic && is_data_writable(&maps) {
            repaired.aborted = self.abort_orphans(&memories, &peers);
        }
        for side in [Side::Producers, Side::Consumers] {
            let locks = match FileLocks::open_beside(self, side, &memories) {
                Ok(locks) if may(side) => locks,
                Ok(_) => continue,
                Err(error) => {
                    repaired.skipped.push((side, error));
                    continue;
                }
            };
            let registry = registry_of(&memories, self, side);
            for index in 0..registry.used() {
                let is_free = registry::status(registry.state(index)) == Status::Free;
                if is_free || registry.is_durable(index) || !peers.is_dead(side, index) {
                    continue;
                }
                let mut redone = 0;
                let swept = registry.bury(&locks, index, |index| {
                    let swept = self.sweep_for_burial(&memories, &peers, side, index);
                    redone = swept.redone;
                    swept.unsettled == 0
                });
                if let Err(error) = locks.check() {
                    repaired.skipped.push((side, error));
                    break;
                }
                repaired.redone = repaired.redone.max(redone);
                if swept { &mut repaired.buried } else { &mut repaired.unsettled }.push((side, index));
            }
        }
        Ok(repaired)
    }

    /// Hands back what the dead owner of an entry held, if it was a queue's worker.
    fn sweep_for_burial(&self, memories: &Memories, peers: &Kernel, side: Side, index: usize) -> Swept {
        match side == Side::Consumers && self.header().kind == Kind::Queue {
            true => sweep_entry_of(self, memories, peers, index),
            false => Swept::default(),
        }
    }

    fn abort_orphans(&self, memories: &Memories, peers: &Kernel) -> u64 {
        let header = self.header();
        let slots = Slots::new(header.slots, header.slot_bytes);
        let tail = memories.ring.load(layout::TAIL, Edge::Tail);
        let first = tail.saturating_sub(header.slots).max(header.first_position.min(tail));
        let is_unfinished = |&t: &u64| {
            let word = memories.data.load(slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
            !slots.is_finished(word, t) && !slots.is_newer(word, t)
        };
        let producers = header.producers_max as usize;
        let abort = |&t: &u64| abort_orphan(&memories.ring, &memories.data, slots, producers, t, peers);
        (first..tail).filter(is_unfinished).filter(abort).count() as u64
    }

    /// Evicts the participant that is in entry `index` of `side` now, whoever that is; [`Channel::evict_exactly`] evicts one
    /// that was seen. Readers are told; a worker's events are handed to others, and its
    /// `done` refused from then on; a producer is killed, and waited for at most `timeout`.
    ///
    /// A worker whose system has restartable sequences must be seen off its processor, which takes some ms at most, unless
    /// it runs at a real-time priority. Evicting one again hands back what it may have won meanwhile.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the entry is free; [`Error::Invalid`] for a producer of this process itself, and for a worker
    /// in another PID namespace, or where this process may not run; [`Error::NotAllowed`] without the right to write the
    /// side's file, or to kill; [`Error::TimedOut`] if the participant has not gone, or a worker not made place (it is
    /// evicted by then, and told when it next looks; evict it again); [`Error::Busy`] if somebody else is changing the
    /// entry, or a live participant announces the same events; [`Error::NoSpace`] or [`Error::Io`] if there is no memory for
    /// a copy of what a consumer of this process reads.
    pub fn evict(&self, side: Side, index: usize, timeout: Duration) -> Result<Evicted> {
        self.evict_or_kill(side, (index, None), timeout, false)
    }

    /// As [`Channel::evict`], the very participant that [`Channel::info`] has shown: never another one that has its entry by
    /// now, as a participant that leaves makes place for the next.
    ///
    /// # Errors
    /// As [`Channel::evict`]; [`Error::Busy`] if the entry is another's by now.
    pub fn evict_exactly(&self, one: &Participant, timeout: Duration) -> Result<Evicted> {
        self.evict_or_kill(one.side, (one.index, Some(one.generation)), timeout, false)
    }

    /// Kills the process of the producer or worker in entry `index` of `side`, with SIGKILL, and waits at most `timeout`
    /// until it has gone. What it held is handed to others by whoever meets it. A reader is evicted.
    ///
    /// # Errors
    /// As [`Channel::evict`] for a producer.
    pub fn kill(&self, side: Side, index: usize, timeout: Duration) -> Result<Evicted> {
        self.evict_or_kill(side, (index, None), timeout, true)
    }

    /// As [`Channel::kill`], the very participant that [`Channel::info`] has shown.
    ///
    /// # Errors
    /// As [`Channel::kill`]; [`Error::Busy`] if the entry is another's by now.
    pub fn kill_exactly(&self, one: &Participant, timeout: Duration) -> Result<Evicted> {
        self.evict_or_kill(one.side, (one.index, Some(one.generation)), timeout, true)
    }

    fn evict_or_kill(
        &self,
        side: Side,
        who: (usize, Option<u64>),
        timeout: Duration,
        kill: bool,
    ) -> Result<Evicted> {
        let maps = self.attached().map_as(false, false)?;
        // SAFETY: the maps outlive the memories, of which nothing is written.
        let memories = unsafe { Memories::of(&maps) };
        let peers = Kernel::of(self, &memories)?;
        // Killing takes no lock, and needs no right to write the file.
        let locks = (side == Side::Consumers && self.attached().acks.writable)
            .then(|| FileLocks::open(self, side))
            .transpose()?;
        self.evict_with((&peers, locks.as_ref()), side, who, timeout, kill)
    }

    /// With a generation, only the participant of this generation.
    fn evict_with(
        &self,
        (peers, locks): (&Kernel, Option<&FileLocks>),
        side: Side,
        (index, generation): (usize, Option<u64>),
        timeout: Duration,
        kill: bool,
    ) -> Result<Evicted> {
        let write =
            self.attached().map_as(false, side == Side::Consumers && self.attached().acks.writable)?;
        // SAFETY: the maps outlive the memories; only `.acks` is written, and only where it is mapped writable.
        let memories = unsafe { Memories::of(&write) };
        let _words = locks.map(|locks| locks.lend(self, side, &memories));
        let registry = registry_of(&memories, self, side);
        let what =
            || format!("participant {index} on the side of the {} of {}", side_text(side), self.name());
        let state = (index < registry.used()).then(|| registry.state(index));
        let Some(state) = state.filter(|&state| registry::status(state) != Status::Free) else {
            return Err(Error::NotFound { what: what(), path: self.side_path(side).to_owned() });
        };
        let changed_hands = || {
            let why = "it changed hands just now; look again with `railbus info`";
            Err(Error::Busy { what: what(), why: why.to_owned() })
        };
        // From here on it is this state's owner, or nobody.
        if generation.is_some_and(|generation| registry::generation(state) != generation) {
            return changed_hands();
        }
        let locks = || locks.ok_or_else(|| self.may_not_evict());
        let memory = if side == Side::Producers { &memories.ring } else { &memories.acks };
        let word = |field| memory.load(layout::entry(index) + field, Edge::Plain);
        let is_reader = matches!(word(layout::POLICY) & 0xFF, registry::ROLE_SUBSCRIBER | registry::ROLE_TAP);
        if side == Side::Consumers && is_reader {
            if registry.name(index) == registry::JOURNALLER && !peers.is_dead(side, index) {
                let why = "it copies events in place, and the journal would be torn; stop it instead";
                return Err(Error::Busy {
                    what: format!("the journaller of {}", self.name()),
                    why: why.into(),
                });
            }
            let locks = locks()?;
            let is_own = registry::status(state) != Status::Evicted
                && self.set_aside(locks, &registry, index, state)?;
            if registry::status(state) != Status::Evicted && !registry.evict(locks, index, state) {
                locks.check()?;
                if registry.state(index) != state {
                    return changed_hands();
                }
                let why = "somebody else is registering or sweeping there at this moment; try again";
                return Err(Error::Busy { what: what(), why: why.to_owned() });
            }
            // It looks at a copy of its own.
            is_own.then(|| lent::take_back(&memories.acks, layout::entry(index)));
            let lives = !peers.is_dead(side, index);
            if !lives {
                // If it is another's by now, who has died: what that one left is not to be lost.
                registry.bury(locks, index, |index| {
                    self.sweep_for_burial(&memories, peers, side, index).unsettled == 0
                });
                locks.check()?;
            }
            // Its cursor holds nobody back any more.
            memories.wake_producers();
            return Ok(if lives { Evicted::Told } else { Evicted::Forgotten });
        }
        if peers.is_dead(side, index) {
            return Ok(Evicted::Dead);
        }
        let (pid, start_time) = (word(layout::PID) as u32, word(layout::START_TIME));
        let is_worker = side == Side::Consumers && fence::of(memory, index) != fence::NONE;
        if is_worker && !kill {
            let tools = (peers, locks()?);
            let fenced = self.fence(&memories, tools, (index, state), (pid, start_time), timeout);
            return fenced.map_err(|error| match error {
                Error::Busy { why, .. } => Error::Busy { what: what(), why },
                error => error,
            });
        }
        // VALIDATE: whose process it is was read before the second look at whose entry it is.
        memory.fence(Edge::Validate);
        if registry.state(index) != state {
            return changed_hands();
        }
        let started = Instant::now();
        let killed = process::kill_proven(pid, start_time, timeout, || self.prove_life(side, index, pid))?;
        // The lock goes with the address space, which may take a moment after the process has ended. A process that was
        // gone before is perhaps none of the channel's: nobody waits long for what its entry says.
        let patience = if killed == Killed::Now { timeout } else { timeout.min(GONE_PATIENCE) };
        while !peers.is_dead(side, index) && registry.state(index) == state {
            if started.elapsed() >= patience {
                return Err(match killed {
                    Killed::Now => Error::TimedOut { what: what(), after_ms: timeout.as_millis() as u64 },
                    Killed::Before => Error::invalid(
                        what(),
                        format!(
                            "it lives, but process {pid} here is another: it runs in another PID namespace \
                             (a container); evict it from there"
                        ),
                    ),
                });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(if killed == Killed::Now { Evicted::Killed { pid } } else { Evicted::Dead })
    }

    /// Proves that process `pid` is the participant in entry `index`. The pid was written by others: only the mapping
    /// that holds the participant's lock says whose it is.
    fn prove_life(&self, side: Side, index: usize, pid: u32) -> Result<()> {
        let (file, path, id) = self.side_file(side);
        let page_bytes = smallest_mapping_bytes(file.as_fd(), path)?;
        let what = || format!("process {pid}");
        match holds_life(pid, id, index, page_bytes) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let why = format!(
                    "the entry of participant {index} of the {} of {} names it, but it does not hold that \
                     participant's lock; nothing was killed. Either that participant runs in another PID namespace \
                     (a container; evict it from there), or somebody has written a wrong process into the channel",
                    side_text(side),
                    self.name()
                );
                Err(Error::invalid(what(), why))
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                let why = "this process may not read its maps, which prove that it is the participant; \
                           nothing was killed. Do it as that user or as root (with CAP_SYS_PTRACE)"
                    .to_owned();
                Err(Error::NotAllowed { action: "examine", path: format!("/proc/{pid}/maps").into(), why })
            }
            Err(error) => Err(Error::io("read", format!("/proc/{pid}/maps"), error)),
        }
    }

    /// Evicts the worker in entry `index` with this state word, of the process with this pid and start time.
    fn fence(
        &self,
        memories: &Memories,
        (peers, locks): (&Kernel, &FileLocks),
        (index, state): (usize, u64),
        (pid, start_time): (u32, u64),
        timeout: Duration,
    ) -> Result<Evicted> {
        let started = Instant::now();
        let registry = registry_of(memories, self, Side::Consumers);
        let acks = memories.acks;
        let busy = |why: &str| Error::Busy { what: String::new(), why: why.to_owned() };
        if fence::of(&acks, index) == fence::RESTARTS {
            // What cannot be done is to be found before anything is changed.
            quiesce(pid, start_time, timeout)?;
        }
        // A worker that looks at a copy of its own lends nothing of the ring.
        let is_own = self.is_own(self.aside_key(index, state))?;
        let state = self.close_own(locks, &registry, (index, state), || {
            quiesce(pid, start_time, timeout.saturating_sub(started.elapsed()))
        })?;
        let note_lent = || {
            if !is_own {
                sweeper_of(self, memories).note_lent(index);
            }
        };
        let mut events = 0;
        let mut sweep = || loop {
            let swept = sweep_entry_of(self, memories, peers, index);
            events = swept.redone;
            if swept.unsettled == 0 {
                return true;
            }
            if started.elapsed() >= timeout {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let quiesce = || match quiesce(pid, start_time, timeout.saturating_sub(started.elapsed())) {
            // It has died since.
            Err(_) if peers.is_dead(Side::Consumers, index) => Ok(()),
            other => other,
        };
        let fenced = fence::evict(&registry, locks, &acks, index, state, quiesce, (note_lent, &mut sweep))?;
        locks.check()?;
        match fenced {
            Fenced::Settled => Ok(Evicted::Fenced { events }),
            Fenced::Unsettled => Err(busy(
                "it is evicted, but a live worker announces the same events, or their producer lives and does not \
                 publish them; they are handed on when it moves",
            )),
            Fenced::Changed => Err(busy("it changed hands just now; look again with `railbus info`")),
            Fenced::Busy => {
                Err(busy("somebody else is registering or sweeping there at this moment; try again"))
            }
        }
    }

    fn may_not_evict(&self) -> Error {
        let why = "evicting is a consumer's right: it writes this file; run as a user who may".to_owned();
        Error::NotAllowed { action: "evict through", path: self.paths().acks.clone(), why }
    }

    /// Before a reader is evicted: if it is one of this process, sets aside what it looks at, and returns
    /// true. The entry's janitor lock is held then, for evicting it at once: one that was not evicted then
    /// would see no new events.
    ///
    /// # Errors
    /// [`Error::Busy`] where somebody else holds the lock; that there is no memory for the copy. Nothing is changed then.
    fn set_aside(
        &self,
        locks: &FileLocks,
        registry: &Registry<Trusted>,
        index: usize,
        state: u64,
    ) -> Result<bool> {
        let key = self.aside_key(index, state);
        if !self.is_own(key)? {
            return Ok(false);
        }
        self.hold(locks, index)?;
        if registry.state(index) != state {
            return Ok(false); // It is not evicted either.
        }
        // Under the lock nobody else evicts it. If it leaves, it looks at nothing any more.
        aside::set_aside(key).map_err(|error| {
            locks.release_janitor(index);
            self.not_set_aside(error)
        })?;
        Ok(true)
    }

    /// The first half of evicting a worker of this process: marks it, closes its fence and sets aside what it looks at, with
    /// the entry's janitor lock held for the rest. From then on it hands out no event, so that it does not matter that it
    /// sees no new ones. Returns the state word to go on with.
    ///
    /// # Errors
    /// As [`Self::set_aside`]. Without memory for the copy it is evicted by then, is told, and gives its place up itself;
    /// until then nobody takes what it holds.
    fn close_own(
        &self,
        locks: &FileLocks,
        registry: &Registry<Trusted>,
        (index, state): (usize, u64),
        quiesce: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
        let key = self.aside_key(index, state);
        if !self.is_own(key)? {
            return Ok(state);
        }
        self.hold(locks, index)?;
        let is_marked = match registry::status(state) {
            Status::Active => registry.mark_evicted(index, state),
            // By somebody who had no memory for the copy.
            _ => registry.state(index) == state,
        };
        if !is_marked {
            return Ok(state); // It changed hands, as whoever goes on finds.
        }
        fence::begin_closing(registry.memory(), index);
        let aside = quiesce().and_then(|()| aside::set_aside(key).map_err(|error| self.not_set_aside(error)));
        match aside {
            Ok(()) => Ok(registry.state(index)),
            Err(error) => {
                locks.release_janitor(index);
                Err(error)
            }
        }
    }

    fn aside_key(&self, index: usize, state: u64) -> aside::Key {
        (self.side_file(Side::Consumers).2, index, registry::generation(state))
    }

    fn is_own(&self, key: aside::Key) -> Result<bool> {
        aside::is_own(key).map_err(|error| self.not_set_aside(error))
    }

    fn not_set_aside(&self, error: std::io::Error) -> Error {
        Error::io("set aside what is looked at of", &self.paths().ring, error)
    }

    /// Takes the janitor lock of a consumer's entry.
    fn hold(&self, locks: &FileLocks, index: usize) -> Result<()> {
        if locks.try_janitor(index) {
            return Ok(());
        }
        let why = "somebody else is registering or sweeping there at this moment; try again".to_owned();
        Err(Error::Busy { what: format!("consumer {index} of {}", self.name()), why })
    }

    fn side_path(&self, side: Side) -> &std::path::Path {
        match side {
            Side::Producers => &self.paths().ring,
            Side::Consumers => &self.paths().acks,
        }
    }
}

/// A producer's watch over the reader that holds it back.
#[derive(Debug)]
pub(crate) struct StuckReader {
    /// What it evicts with: opened with the sender, because the process may have no right to do so later.
    locks: FileLocks,
    /// Entry, state word, cursor and events of the reader when it was last seen to have moved.
    seen: Option<(usize, [u64; 3])>,
    since_ns: u64,
}

impl StuckReader {
    /// Opens what evicting takes.
    pub(crate) fn open(channel: &Channel) -> Result<StuckReader> {
        Ok(StuckReader { locks: FileLocks::open(channel, Side::Consumers)?, seen: None, since_ns: 0 })
    }

    /// Looks at the live reader in entry `index`, and evicts it if it has not moved for too long and is not
    /// durable. Called about every ms while it holds a producer back; what another one is changing is tried again then.
    ///
    /// # Errors
    /// Why it cannot be evicted.
    pub(crate) fn watch(
        &mut self,
        channel: &Channel,
        peers: &Kernel,
        acks: &Trusted,
        index: usize,
    ) -> Result<()> {
        let load = |field| acks.load(layout::entry(index) + field, Edge::Plain);
        let now_ns = clock::monotonic_ns();
        let state = load(layout::STATE);
        let seen = Some((index, [state, load(layout::CURSOR), load(layout::EVENTS)]));
        if self.seen != seen {
            (self.seen, self.since_ns) = (seen, now_ns);
        }
        let is_stuck = now_ns.saturating_sub(self.since_ns) > channel.header().stuck_after_ns;
        if !is_stuck || load(layout::POLICY) & registry::DURABLE != 0 {
            return Ok(());
        }
        self.since_ns = now_ns;
        // The producer's own maps of `.acks` are read-only: another one is made for the occasion.
        // It takes a while, in which this reader may leave and another one come.
        let who = (index, Some(registry::generation(state)));
        let evicted = self.locks.with(channel, Side::Consumers, |locks| {
            channel.evict_with((peers, Some(locks)), Side::Consumers, who, Duration::ZERO, false)
        });
        match evicted? {
            Err(error @ (Error::NotAllowed { .. } | Error::Io { .. } | Error::NoSpace { .. })) => Err(error),
            _ => Ok(()),
        }
    }
}

fn side_text(side: Side) -> &'static str {
    match side {
        Side::Producers => "producers",
        Side::Consumers => "consumers",
    }
}

fn is_data_writable(maps: &Maps) -> bool {
    maps.data.writable()
}
