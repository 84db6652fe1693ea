//! Evicting: taking the rights of a live participant that does not move, so that it holds nobody
//! back.
//!
//! A *reader* is evicted by a word in its registry entry. So is a *worker*, whose events go to
//! others at once; each of its stores is made only while its fence is open
//! ([`railbus_ring::members::fence`]). A *producer* copies into the ring in place, and no word can
//! stop a copy that is under way. So its process is killed with SIGKILL. It is killed only if it
//! holds the participant's lock, because the pid in a shared file was written by another user. A
//! *server* of a service that is writing a reply at that moment is killed, too.
//!
//! The bytes that an evicted participant has lent as `&[u8]` do not change. An evicted reader or
//! worker keeps the bytes that it may read: producers step over them until it has noticed, left or
//! died ([`railbus_ring::members::lent`]). This holds for participants of this process and of any
//! other.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use railbus_os::process::{self, Killed};
use railbus_os::quiesce::quiesce;
use railbus_ring::layout;
use railbus_ring::members::fence::{self, Fenced};
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::{self, Status};
use railbus_ring::memory::{Edge, Memory};

use crate::channel::file_locks::FileLocks;
use crate::channel::life::{holds_life, smallest_mapping_bytes};
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::peers::{Kernel, registry_of};
use crate::channel::sweep::{sweep_entry_of, sweeper_of};
use crate::error::{Error, Result};

/// The longest time to wait for the lock of a process that has ended.
const GONE_PATIENCE: Duration = Duration::from_secs(1);

/// The result of [`Channel::evict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evicted {
    /// The reader holds nobody back any more. It finds out at its next call.
    Told,
    /// A durable subscription without an owner was removed.
    Forgotten,
    /// The worker's events go to others, and its `done` is refused. It finds out at its next call.
    Fenced {
        /// The number of events that wait to be delivered again, including those of other workers
        /// that died.
        events: u64,
    },
    /// The process was killed, and its lock is gone.
    Killed {
        /// Its pid.
        pid: u32,
    },
    /// Its process had died before. The entry was buried, or will be by the next participant that
    /// finds it.
    Dead,
}

impl Channel {
    /// Evicts the participant in entry `index`. With a generation, only the participant of that
    /// generation.
    pub(crate) fn evict_with(
        &self,
        (peers, locks): (&Kernel, Option<&FileLocks>),
        side: Side,
        (index, generation): (usize, Option<u64>),
        timeout: Duration,
        kill: bool,
    ) -> Result<Evicted> {
        let write =
            self.attached().map_as(false, side == Side::Consumers && self.attached().acks.writable)?;
        // SAFETY: the maps outlive the memories; only `.acks` is written, if it is mapped writable.
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
        // From here on it is the owner of this state, or nobody.
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
            if registry::status(state) != Status::Evicted && !registry.evict(locks, index, state) {
                locks.check()?;
                if registry.state(index) != state {
                    return changed_hands();
                }
                let why = "somebody else is registering or sweeping there at this moment; try again";
                return Err(Error::Busy { what: what(), why: why.to_owned() });
            }
            let lives = !peers.is_dead(side, index);
            if !lives {
                // If the entry belongs to another owner now, which died, its events must not be lost.
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
        if is_worker && !kill && !self.is_writing_a_reply(&memories, index, pid) {
            let tools = (peers, locks()?);
            let fenced = self.fence(&memories, tools, (index, state), (pid, start_time), timeout);
            return fenced.map_err(|error| match error {
                Error::Busy { why, .. } => Error::Busy { what: what(), why },
                error => error,
            });
        }
        // VALIDATE: the process was read before the second check of the entry's owner.
        memory.fence(Edge::Validate);
        if registry.state(index) != state {
            return changed_hands();
        }
        let started = Instant::now();
        let killed = process::kill_proven(pid, start_time, timeout, || self.prove_life(side, index, pid))?;
        // The lock goes with the address space, a moment after the process has ended. A process that was
        // gone before may be none of the channel's, so the wait is short.
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

    /// Whether the server in entry `index` is in the middle of writing a reply. It writes in place, as a
    /// producer does, and another server could not write there before it goes on.
    /// A server of this process is never killed.
    fn is_writing_a_reply(&self, memories: &Memories, index: usize, pid: u32) -> bool {
        let geometry = self.header().reply_geometry().filter(|_| pid != process::pid());
        geometry.is_some_and(|geometry| {
            // Plain: a server that begins to write later finds its fence closed.
            memories.done.load(geometry.server(index) + layout::replies::WRITING, Edge::Plain) != 0
        })
    }

    /// Proves that process `pid` is the participant in entry `index`. Others wrote the pid, so only
    /// the mapping that holds the participant's lock shows which process it is.
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

    /// Evicts the worker in entry `index` with this state word, of the process with this pid and
    /// start time.
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
            // An impossible eviction must be found before anything is changed.
            quiesce(pid, start_time, timeout)?;
        }
        let view = memories.slots(self.header());
        let note_lent = || sweeper_of(self, &view).note_lent(index);
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

    fn side_path(&self, side: Side) -> &std::path::Path {
        match side {
            Side::Producers => &self.paths().ring,
            Side::Consumers => &self.paths().acks,
        }
    }
}

fn side_text(side: Side) -> &'static str {
    match side {
        Side::Producers => "producers",
        Side::Consumers => "consumers",
    }
}
