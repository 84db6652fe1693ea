//! Repairs of a channel from outside: removing what dead participants left, and evicting live ones.
//!
//! No participant needs [`Channel::repair`]: one that waits repairs what is in its way. It is for a
//! channel that is not in use at the moment, and for operators who want to see the result.
//!
//! [`Channel::evict`] fences a participant that lives but does not move:
//!
//! - A *reader* is evicted by a word in its registry entry. It holds nobody back from then on, and
//!   its next call returns an error.
//! - A *worker* is evicted in the same way, and its events go to others at once. It stores only
//!   while its fence is open ([`railbus_ring::members::fence`]).
//! - A *producer* copies into the ring in place, and no word can stop a copy that is under way. So
//!   its process is killed with SIGKILL, but only if it holds the participant's lock, because
//!   another user may have written the pid in a shared file. The signal goes to exactly that
//!   process, and never to another one that has got its pid. [`Channel::kill`] does that to
//!   workers, too.
//!
//! A program may evict its own readers and workers while it borrows events from them: producers
//! leave the bytes of these events alone (`channel/evict.rs`).

use std::time::Duration;

use railbus_ring::layout;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::{self, Status};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::orphan::abort_orphan;
use railbus_ring::table::writer::KeyWriter;

use crate::channel::evict::Evicted;
use crate::channel::file_locks::FileLocks;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::peers::{Kernel, registry_of};
use crate::channel::{Kind, Maps};
use crate::error::{Error, Result};
use crate::snapshot::Participant;

/// The result of [`Channel::repair`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Repaired {
    /// Registry entries of dead participants that were freed.
    pub buried: Vec<(Side, usize)>,
    /// Entries of dead participants that could not be freed yet, because a live one announces the
    /// same tickets or is repairing them at this moment. Try again.
    pub unsettled: Vec<(Side, usize)>,
    /// Tickets of dead producers that were marked as carrying no event (topic).
    pub aborted: u64,
    /// Keys that a dead writer held (table).
    pub keys: u64,
    /// Events of dead workers that were handed back for redelivery, now or before (queue).
    pub redone: u64,
    /// Sides that this process may not write, with the reason.
    pub skipped: Vec<(Side, Error)>,
}

impl Channel {
    /// Frees the entries of all dead participants of both sides, after a full sweep of what they
    /// left. Durable subscriptions are not touched.
    ///
    /// It is safe at any time, beside any number of participants and repairers. Sides that this
    /// process may not write are skipped and reported.
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
        if may(Side::Producers) && self.header().kind == Kind::Table && is_data_writable(&maps) {
            // An administrator has no registry entry, and owns no key: it only frees them.
            let writer = KeyWriter::new(
                self.table_of(&memories)?,
                memories.acks,
                layout::ENTRIES_MAX,
                0,
                self.header().producers_max as usize,
            );
            repaired.keys = writer.repair(&peers) as u64;
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

    fn abort_orphans(&self, memories: &Memories, peers: &Kernel) -> u64 {
        let header = self.header();
        let view = memories.slots(header);
        let slots = view.slots;
        let tail = memories.ring.load(layout::TAIL, Edge::Tail);
        let first = tail.saturating_sub(header.slots).max(header.first_position.min(tail));
        let is_unfinished = |&t: &u64| {
            let word = memories.data.load(slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
            !slots.is_finished(word, t) && !slots.is_newer(word, t)
        };
        let abort = |&t: &u64| abort_orphan(&view, t, peers);
        (first..tail).filter(is_unfinished).filter(abort).count() as u64
    }

    /// Evicts the participant that is in entry `index` of `side` now. [`Channel::evict_exactly`]
    /// evicts one that was seen before. A reader gets an error at its next call. A worker's events
    /// go to others, and its `done` is refused from then on. A producer is killed, and its end is
    /// waited for, at most `timeout`.
    ///
    /// On a system with restartable sequences, a worker must be seen off its processor first. That
    /// takes some ms at most, unless it runs at a real-time priority. To evict a worker again hands
    /// back the events that it may have won in the meantime.
    ///
    /// # Errors
    /// - [`Error::NotFound`] if the entry is free.
    /// - [`Error::Invalid`] for a producer of this process itself, and for a worker in another PID
    ///   namespace or on a processor where this process may not run.
    /// - [`Error::NotAllowed`] without the right to write the side's file, or to kill.
    /// - [`Error::TimedOut`] if the participant has not gone, or a worker was not seen off its
    ///   processor. Such a worker may be evicted already, and then learns it at its next call;
    ///   evict it again.
    /// - [`Error::Busy`] if another process is changing the entry, or a live participant announces
    ///   the same events.
    /// - [`Error::NoSpace`] or [`Error::Io`] if there is no memory for a copy of what a consumer of
    ///   this process reads.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{RecvError, Side};
    /// use std::time::Duration;
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
    /// let mut hung = jobs.worker(&WorkOptions::default())?;
    /// let ticket = hung.take()?.keep();
    ///
    /// jobs.evict(Side::Consumers, 0, Duration::from_secs(1))?;
    /// assert!(!hung.done(ticket), "too late");
    /// assert_eq!(hung.take().err(), Some(RecvError::Evicted));
    /// assert_eq!(jobs.worker(&WorkOptions::default())?.take()?.attempt(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn evict(&self, side: Side, index: usize, timeout: Duration) -> Result<Evicted> {
        self.evict_or_kill(side, (index, None), timeout, false)
    }

    /// Like [`Channel::evict`], for exactly the participant that [`Channel::info`] has shown. It
    /// never evicts a later one that has taken over the entry.
    ///
    /// # Errors
    /// As [`Channel::evict`]; [`Error::Busy`] if the entry has another owner now.
    pub fn evict_exactly(&self, one: &Participant, timeout: Duration) -> Result<Evicted> {
        self.evict_or_kill(one.side, (one.index, Some(one.generation)), timeout, false)
    }

    /// Kills the process of the producer or worker in entry `index` of `side` with SIGKILL, and
    /// waits at most `timeout` until it has gone. The next participant that finds its events hands
    /// them to others. A reader is evicted instead.
    ///
    /// # Errors
    /// As [`Channel::evict`] for a producer.
    pub fn kill(&self, side: Side, index: usize, timeout: Duration) -> Result<Evicted> {
        self.evict_or_kill(side, (index, None), timeout, true)
    }

    /// Like [`Channel::kill`], for exactly the participant that [`Channel::info`] has shown.
    ///
    /// # Errors
    /// As [`Channel::kill`]; [`Error::Busy`] if the entry has another owner now.
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
}

fn is_data_writable(maps: &Maps) -> bool {
    maps.data.writable()
}
