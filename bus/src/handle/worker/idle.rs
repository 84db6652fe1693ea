//! A worker that waits, looks for dead workers, and gives its place up.

use std::time::Duration;

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::members::fence;

use super::rules::Sleepers;
use super::{LOOK_EVERY_MAX, SWEEP_EVERY_NS, Ticket, Worker};
use crate::channel::sweep::now;
use crate::error::{BLIND, RecvError, why_not_locked};
use crate::handle::member::Member;
use crate::handle::read_end::ORPHANS_MAX;
use crate::handle::wait::{Step, Waiting};

/// The number of events that the only worker of a queue takes at once, when more than
/// [`LOOK_EVERY_MAX`] pass in a millisecond.
const GRAB: u32 = 16;

impl Worker {
    /// If this worker was evicted, or refused although nobody has evicted it, closes its fence and
    /// hands back what it held, unless somebody has already done so. Returns whether it is such a
    /// worker.
    #[cold]
    #[inline(never)]
    pub(super) fn give_up(&mut self) -> bool {
        let given_up = !self.member.is_registered() || self.core.is_fenced() || self.core.has_refused();
        if given_up {
            // An evictor changes the worker's state before its fence, and its fence before its
            // words.
            if self.member.is_registered() {
                self.is_corrupted = true;
                self.member.give_up();
                self.core.hand_back_refused();
            }
            self.easy = self.member.guard.never();
            self.core.give_up(&self.member.peers, clock::host_ns());
        }
        given_up
    }

    /// The registered participant, for a handle that is built on this one.
    pub(crate) fn participant(&self) -> &Member {
        &self.member
    }

    /// Whether the fence of this worker is closed, so that what it holds goes to others.
    #[inline(always)]
    pub(crate) fn is_fenced(&self) -> bool {
        self.core.is_fenced()
    }

    /// The error for a worker that has given up.
    pub(super) fn why_given_up(&self) -> RecvError {
        match self.is_corrupted {
            true => {
                RecvError::Corrupt("a word of the worker's was changed by somebody else; remove the channel")
            }
            false => RecvError::Evicted,
        }
    }

    /// Looks around about once a millisecond, however long each event keeps this worker busy.
    #[cold]
    pub(super) fn look_by_the_way(&mut self) {
        let passed_ns = clock::coarse_ns().saturating_sub(self.swept_ns);
        let look_every = if passed_ns < SWEEP_EVERY_NS {
            self.look_every * 2
        } else {
            self.look_every * SWEEP_EVERY_NS / passed_ns
        };
        self.look_every = look_every.clamp(1, LOOK_EVERY_MAX);
        self.look_at = self.tally.events + self.look_every;
        if self.core.redo_due_ns() <= clock::host_ns() {
            self.core.look_again();
        }
        self.look_around(false);
        if self.grab_follows_load {
            // Takes several at once from a busy queue if no other worker could take them.
            self.grab = if self.look_every == LOOK_EVERY_MAX && self.is_alone() { GRAB } else { 1 };
        }
    }

    /// Looks for dead workers and repairs what they left, at most every millisecond unless
    /// `at_once`.
    #[cold]
    pub(super) fn look_around(&mut self, at_once: bool) {
        let now_ns = clock::coarse_ns();
        self.member.note(layout::SEEN_NS, now_ns);
        self.tell();
        if !at_once && now_ns.saturating_sub(self.swept_ns) < SWEEP_EVERY_NS {
            return;
        }
        // A new worker looks whatever others have seen: it may replace one that has just died.
        let is_first = std::mem::replace(&mut self.swept_ns, now_ns) == 0;
        self.look_again_by_rules();
        if !self.member.is_registered() {
            // The evictor has not closed the fence yet. The next poll reports the eviction.
            self.give_up();
            return;
        }
        // A worker that cannot repair leaves the turn to others.
        let every_ns = if at_once { self.look_together_ns } else { SWEEP_EVERY_NS };
        if !is_first && self.cannot_repair.is_none() && !self.member.is_turn_to_look(every_ns) {
            return;
        }
        let acks = self.member.memories.acks;
        let mut failed = Ok(());
        for index in 0..self.member.registry().used() {
            // Its evictor has not handed back everything, or is about to.
            let closed = fence::kind(fence::of(&acks, index)) == fence::CLOSED;
            if closed && index != self.member.registered.index {
                let gone_on = self.member.go_on_evicting(index, || {
                    self.core.sweeper(now()).sweep(&self.member.peers, Some(index)).unsettled == 0
                });
                failed = failed.and(gone_on);
            }
        }
        let dead: Vec<usize> = self.member.dead_of_own_side().collect();
        for index in dead {
            // Under the entry's janitor lock: one worker repairs, and the others go on. An entry
            // that cannot be settled yet, or that another worker has locked, is found again in a
            // millisecond.
            let buried = self.member.bury(index, |index| {
                self.core.sweeper(now()).sweep(&self.member.peers, Some(index)).unsettled == 0
            });
            failed = failed.and(buried.map(|_| ()));
        }
        let blind = self.member.peers.was_blind().then_some(BLIND);
        self.cannot_repair = failed.err().map(|error| why_not_locked(&error)).or(blind);
    }

    /// Repairs what dead participants left, and finds out whether there is anything to wait for.
    #[cold]
    pub(super) fn probe(&mut self) -> Result<Option<Ticket>, RecvError> {
        self.look_around(true);
        if !self.core.is_head_sound() {
            return Err(RecvError::Corrupt(
                "the queue's head or tail was changed by somebody else; remove the channel",
            ));
        }
        self.audit.step(&self.core.sweeper(now()), &self.member.peers, self.tally.events);
        let mut repaired = false;
        // A producer may have died with a whole batch claimed. There is a bound because the tail
        // may be corrupted.
        for _ in 0..ORPHANS_MAX {
            let Some(ticket) = self.core.stuck_behind() else { break };
            if !self.core.skip_orphan(ticket, &self.member.peers) {
                break;
            }
            repaired = true;
        }
        if !repaired && self.until_closed && self.producers_left() && self.core.is_finished() {
            return self.poll()?.map(Some).ok_or(RecvError::Closed);
        }
        let polled = self.poll()?;
        if polled.is_some() {
            return Ok(polled);
        }
        if let Some(why) = self.cannot_repair {
            // Others may be able to repair. This worker would wait in silence for events that it
            // can never get.
            return Err(RecvError::CannotRepair(why));
        }
        // Events that were published before the removal was seen are taken first.
        if self.member.is_removed() { self.poll()?.map(Some).ok_or(RecvError::Removed) } else { Ok(None) }
    }

    #[cold]
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Ticket, RecvError> {
        let mut has_slept = false;
        let ticket = self.wait_for_one(timeout, &mut has_slept)?;
        if has_slept {
            self.pass_wake_on();
        }
        Ok(ticket)
    }

    pub(super) fn wait_for_one(
        &mut self,
        timeout: Option<Duration>,
        has_slept: &mut bool,
    ) -> Result<Ticket, RecvError> {
        if let Some(ticket) = self.poll_slow()? {
            return Ok(ticket);
        }
        let mut waiting = Waiting::new(self.wait, timeout);
        let mut sleepers = Sleepers::default();
        // Events with stamps never take the fast path, nor does anything if there are rules.
        let is_fast = self.latency.is_none() && !self.easy.is_forked();
        loop {
            match waiting.step() {
                Step::Poll if is_fast && waiting.is_quick() && !self.pace.is_slipping() => {
                    if let Some(ticket) = self.poll_fast() {
                        return Ok(ticket);
                    }
                    continue;
                }
                Step::Poll => {}
                // Many short waits are polling: they never last until a probe.
                Step::TimedOut => return self.take_ticket()?.ok_or(RecvError::TimedOut),
                Step::Probe => {
                    if let Some(ticket) = self.probe()? {
                        return Ok(ticket);
                    }
                    // Another worker's death makes its events available to this one.
                    waiting.be_patient(self.is_alone() && !self.until_closed);
                }
                // There may be an event behind those that were just put aside.
                Step::Sleep(_) if self.is_passing() => {}
                Step::Sleep(slice_ns) => {
                    *has_slept = true;
                    if let Some(ticket) = self.sleep(&mut sleepers, slice_ns)? {
                        return Ok(ticket);
                    }
                }
            }
            if let Some(ticket) = self.poll()? {
                return Ok(ticket);
            }
        }
    }
}
