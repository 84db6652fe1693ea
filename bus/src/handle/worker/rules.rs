//! The rules by which some workers take events: priorities, a bound on how many events a worker
//! holds, and the order of keys. See [`WorkOptions`](crate::WorkOptions) and
//! [`ChannelOptions::keyed`](crate::ChannelOptions::keyed).
//!
//! A worker with rules always takes the slow path. A worker without rules shares only the
//! code for finishing events, sleeping and waking.
//!
//! **Which worker wakes which.** A worker that waits for its turn sleeps on a futex of its own
//! side, `LEVELS_WAKE`. It is woken when a worker above it becomes saturated or leaves, if that one
//! was opened with a bound. A plain worker wakes nobody. Nor does a worker that is stopped or
//! killed; its peers find out at the end of a slice of sleep, after 8 ms at most.
//!
//! A worker whose turn has come sleeps on the producers' futex, as all do. If it is woken there and
//! its turn has gone, it passes the wake-up on. A worker wakes another one on the producers' futex,
//! too, when its `done` lets the next event of a key run, or when it hands an event back. It cannot
//! count that futex up. So a wake-up that falls between a sleeper's last look and its sleep is
//! lost, and the sleeper looks again at the end of its slice.

use std::cell::RefCell;

use railbus_os::clock;
use railbus_ring::members::park::{Nudge, Sleeper, Waker};
use railbus_ring::slots::key_order::KeyOrder;
use railbus_ring::slots::levels::{Levels, Looks, Rank};
use railbus_ring::slots::view::SlotView;
use railbus_ring::slots::worker::{Delivery, DoneInOrder};
use railbus_ring::{frame, layout};

use super::{TAKE_MAX, Taken, Ticket, Worker};
use crate::channel::mapped::Trusted;
use crate::channel::memories::SharedFutex;
use crate::error::RecvError;
use crate::handle::member::Member;

/// The value of [`layout::IN_HAND`] of a worker that takes no more events.
const NO_MORE: u64 = u64::MAX;

/// Wakes up to `asked` sleeping workers on the producers' futex. The caller has just stored what
/// they are to find.
fn wake(nudge: &mut Nudge, member: &Member, asked: u32) {
    nudge.wake(&member.memories.acks, &SharedFutex(member.memories.ring), asked);
}

/// A worker's rules, and the private state that they need.
#[derive(Debug)]
pub(super) struct Rules {
    rank: Rank,
    /// The order of keys, in a keyed queue.
    order: Option<KeyOrder>,
    stuck_after_ns: u64,
    looks: RefCell<Looks>,
    /// The count of held events in the last report to observers and to workers of lower levels.
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

    fn is_turn(&self, view: &SlotView<Trusted>) -> bool {
        if self.rank.level == 0 {
            return true;
        }
        let levels = Levels { view, stuck_after_ns: self.stuck_after_ns };
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
        if !self.core.has_waiting() && !rules.is_turn(self.core.view()) {
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

    /// As [`Worker::done`], where more is to be done than the fast path does. It takes no ticket,
    /// because an argument that is passed in memory would be kept in memory by its caller, too.
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
            self.give_up();
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

    /// To be called after an event was handed back.
    pub(super) fn handed_back(&mut self) {
        if let Some(rules) = &mut self.rules {
            rules.tell_in_hand(&self.member, self.core.in_hand() as u64);
        }
        // A sleeping worker takes it, or sleeps no longer than until its time has come.
        wake(&mut self.nudge, &self.member, 1);
    }

    /// To be called after this worker was woken and has an event. Wakes another worker if there is
    /// more to take. A wake-up is for one worker; and a later event may have become visible first,
    /// and woken somebody in vain.
    pub(super) fn pass_wake_on(&mut self) {
        if self.core.has_more() {
            wake(&mut self.nudge, &self.member, 1);
        }
    }

    /// To be called before this worker leaves: workers of lower levels need not wait for it any
    /// more.
    pub(super) fn leave_by_rules(&mut self) {
        if let Some(rules) = &mut self.rules {
            rules.tell_in_hand(&self.member, NO_MORE);
        }
        // Others take what it has handed back.
        wake(&mut self.nudge, &self.member, i32::MAX as u32);
    }

    /// Makes the next take look for events that may run, whatever was announced. To be called now
    /// and then.
    pub(super) fn look_again_by_rules(&mut self) {
        if let Some(order) = self.rules.as_mut().and_then(|rules| rules.order.as_mut()) {
            order.look_again();
        }
    }

    /// Whether this worker may not take the event at the head, because other workers come first.
    pub(super) fn is_barred(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| !rules.is_turn(self.core.view()))
    }

    /// Whether the last take ended because it had put many events aside, or back. The next take
    /// continues.
    pub(super) fn is_passing(&self) -> bool {
        if self.is_passing_untimely {
            return true;
        }
        let order = self.rules.as_ref().and_then(|rules| rules.order.as_ref());
        order.is_some_and(KeyOrder::is_passing) && !self.is_barred()
    }

    /// Sleeps on the futex that the rules choose.
    pub(super) fn sleep(
        &mut self,
        sleepers: &mut Sleepers,
        slice_ns: u64,
    ) -> Result<Option<Ticket>, RecvError> {
        let memories = self.member.memories;
        // The sleep ends when an event that was handed back may be taken again.
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
            // The wake-up reached this worker, but was meant for another.
            wake(&mut self.nudge, &self.member, i32::MAX as u32);
        }
        polled
    }
}

/// The state of a worker's sleep: for events, or for its turn.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    events: Sleeper,
    turn: Sleeper,
}
