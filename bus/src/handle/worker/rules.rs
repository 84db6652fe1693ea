//! The rules that some workers take by: priorities, a bound on what is in hand, and the order of keys. See
//! [`WorkOptions`](crate::WorkOptions) and [`ChannelOptions::keyed`](crate::ChannelOptions::keyed).
//!
//! A worker with rules takes the slow path always; one without never comes here.
//!
//! **Who wakes whom.** A worker whose turn it is not sleeps on a futex of its own side, `LEVELS_WAKE`, and is woken when
//! a worker above it becomes saturated or leaves. That one must have been opened with a bound; a plain worker wakes
//! nobody, and neither does one that is stopped or killed: those are found out at the end of a slice of sleep, 8 ms at
//! most. When its turn has come a worker sleeps where all do, on the producers' futex; if it is woken there and its turn
//! has gone, it passes the wake on. A worker whose `done` lets the next event of its key run, or that hands an event
//! back, wakes another, on the producers' futex, too. It cannot count that one up: a wake that falls between a sleeper's
//! last look and its sleep is lost, and made up for at the end of the slice.

use std::cell::RefCell;

use railbus_os::clock;
use railbus_ring::members::park::{Nudge, Sleeper, Waker};
use railbus_ring::slots::key_order::KeyOrder;
use railbus_ring::slots::levels::{Levels, Looks, Rank};
use railbus_ring::slots::word::Slots;
use railbus_ring::slots::worker::{Delivery, DoneInOrder};
use railbus_ring::{frame, layout};

use super::{TAKE_MAX, Taken, Ticket, Worker};
use crate::channel::mapped::Trusted;
use crate::channel::memories::SharedFutex;
use crate::error::RecvError;
use crate::handle::member::Member;

/// In [`layout::IN_HAND`]: takes no more.
const NO_MORE: u64 = u64::MAX;

/// Wakes up to `asked` workers, if any may sleep, where all do. The caller has just stored what they are to find.
fn wake(nudge: &mut Nudge, member: &Member, asked: u32) {
    nudge.wake(&member.memories.acks, &SharedFutex(member.memories.ring), asked);
}

/// A worker's rules, and its private state by them.
#[derive(Debug)]
pub(super) struct Rules {
    rank: Rank,
    /// In a keyed queue.
    order: Option<KeyOrder>,
    stuck_after_ns: u64,
    looks: RefCell<Looks>,
    /// What observers and workers of lower levels were told last.
    told_in_hand: u64,
    levels: Waker,
}

impl Rules {
    /// The rules for a worker of this rank, if there are any.
    pub(super) fn of(rank: Rank, member: &Member) -> Option<Box<Rules>> {
        let header = member.channel.header();
        (header.keyed || rank != Rank::default()).then(|| {
            Box::new(Rules {
                rank,
                order: header.keyed.then(KeyOrder::new),
                stuck_after_ns: header.stuck_after_ns,
                looks: RefCell::default(),
                told_in_hand: 0,
                levels: Waker::new(layout::LEVELS_WAKE, layout::LEVELS_PARKED),
            })
        })
    }

    fn is_turn(&self, member: &Member) -> bool {
        if self.rank.level == 0 {
            return true;
        }
        let header = member.channel.header();
        let levels = Levels {
            acks: &member.memories.acks,
            done: &member.memories.done,
            slots: Slots::new(header.slots, header.slot_bytes),
            consumers: header.consumers_max as usize,
            stuck_after_ns: self.stuck_after_ns,
        };
        levels.is_turn_of(self.rank.level, &mut self.looks.borrow_mut(), clock::coarse_ns())
    }

    fn tell_in_hand(&mut self, member: &Member, in_hand: u64) {
        if self.rank.in_hand_max == 0 || in_hand == self.told_in_hand {
            return;
        }
        let bound = self.rank.in_hand_max as u64;
        let is_news = in_hand >= bound && self.told_in_hand < bound;
        self.told_in_hand = in_hand;
        member.note(layout::IN_HAND, in_hand);
        if is_news {
            let own: Trusted = member.memories.acks;
            self.levels.wake(&own, &own, &SharedFutex(own), || i32::MAX as u32);
        }
    }
}

impl Worker {
    /// The next event by the rules.
    #[cold]
    pub(super) fn take_by_rules(&mut self) -> Result<Option<Taken>, RecvError> {
        let Some(rules) = &mut self.rules else { return Ok(self.core.take(self.eager, clock::host_ns)) };
        let mut most = self.grab;
        if rules.rank.in_hand_max > 0 && !self.core.has_waiting() {
            let room = (rules.rank.in_hand_max as usize).saturating_sub(self.core.in_hand());
            if room == 0 {
                return Err(RecvError::HandsFull);
            }
            most = most.min(room.min(TAKE_MAX as usize) as u32);
        }
        if !self.core.has_waiting() && !rules.is_turn(&self.member) {
            self.core.retract();
            return Ok(None);
        }
        let taken = match &mut rules.order {
            Some(order) => self.core.take_in_order(order, most, clock::host_ns),
            None => self.core.take(most, clock::host_ns),
        };
        if taken.is_some() {
            self.member.seen();
            rules.tell_in_hand(&self.member, self.core.in_hand() as u64);
        }
        Ok(taken)
    }

    /// As [`Worker::done`], where something is to be done beside it. Without the ticket: what is handed to it in memory is
    /// kept in memory all the way.
    #[cold]
    #[inline(never)]
    pub(super) fn done_by_rules(&mut self, position: u64, delivery: Delivery, header: u64) -> bool {
        if self.member.is_forked() {
            return false;
        }
        let held = self.finish(position, delivery);
        if !frame::is_plain(header) {
            self.measure_done(position, held);
        }
        if !held {
            self.give_way();
        }
        let own = self.member.memories.acks;
        self.waker.wake(&own, &self.member.memories.ring, &SharedFutex(own), || self.space_wakes);
        held
    }

    /// Finishes an event in the core, by the rules if there are any.
    pub(super) fn finish(&mut self, position: u64, delivery: Delivery) -> bool {
        let Some(rules) = &mut self.rules else { return self.core.done_delivery(position, delivery) };
        let done = match &mut rules.order {
            Some(order) => self.core.done_in_order(order, position, delivery),
            None => DoneInOrder { held: self.core.done_delivery(position, delivery), frees: false },
        };
        rules.tell_in_hand(&self.member, self.core.in_hand() as u64);
        if done.frees {
            wake(&mut self.nudge, &self.member, 1);
        }
        done.held
    }

    /// After an event was handed back.
    pub(super) fn handed_back(&mut self) {
        if let Some(rules) = &mut self.rules {
            rules.tell_in_hand(&self.member, self.core.in_hand() as u64);
        }
        // Who sleeps takes it, or sleeps no longer than until its time has come.
        wake(&mut self.nudge, &self.member, 1);
    }

    /// After this worker was woken and has an event: another one is woken where there is more to take. A wake-up is for one
    /// worker, and the event behind the one that it was for may have come, and woken somebody in vain, before it.
    pub(super) fn pass_wake_on(&mut self) {
        if self.core.has_more() {
            wake(&mut self.nudge, &self.member, 1);
        }
    }

    /// Before this worker leaves: those behind it need not wait for it.
    pub(super) fn leave_by_rules(&mut self) {
        if let Some(rules) = &mut self.rules {
            rules.tell_in_hand(&self.member, NO_MORE);
        }
        // Others take what it has handed back.
        wake(&mut self.nudge, &self.member, i32::MAX as u32);
    }

    /// Looks for what may run, whatever was announced: now and then.
    pub(super) fn look_again_by_rules(&mut self) {
        if let Some(order) = self.rules.as_mut().and_then(|rules| rules.order.as_mut()) {
            order.look_again();
        }
    }

    /// Whether this worker may not take what lies at the head: others are before it.
    pub(super) fn is_barred(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| !rules.is_turn(&self.member))
    }

    /// Whether the last take ended because it had put many events aside: the next one goes on.
    pub(super) fn is_passing(&self) -> bool {
        let order = self.rules.as_ref().and_then(|rules| rules.order.as_ref());
        order.is_some_and(KeyOrder::is_passing) && !self.is_barred()
    }

    /// Sleeps where the rules say.
    pub(super) fn sleep(
        &mut self,
        sleepers: &mut Sleepers,
        slice_ns: u64,
    ) -> Result<Option<Ticket>, RecvError> {
        let memories = self.member.memories;
        // Not beyond the time from which on an event that was handed back may be taken.
        let slice_ns = match self.core.redo_due_ns() {
            u64::MAX => slice_ns,
            due_ns => slice_ns.min(due_ns.saturating_sub(clock::host_ns())),
        };
        if slice_ns == 0 {
            return self.poll();
        }
        let waits_for_turn = self.is_barred();
        let mut polled = Ok(None);
        let look = || {
            polled = self.poll();
            !matches!(polled, Ok(None)) || self.is_passing()
        };
        if waits_for_turn {
            memories.sleep_for_turn(&mut sleepers.turn, slice_ns, look);
            return polled;
        }
        memories.sleep_for_events(&mut sleepers.events, slice_ns, look);
        if !matches!(polled, Ok(None)) {
            return polled;
        }
        let polled = self.poll();
        if matches!(polled, Ok(None)) && self.is_barred() {
            // It was this worker that was woken, and another should have been.
            wake(&mut self.nudge, &self.member, i32::MAX as u32);
        }
        polled
    }
}

/// A worker's sleep: for events, or for its turn.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    events: Sleeper,
    turn: Sleeper,
}
