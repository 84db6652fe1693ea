//! Discarding a queue's events: all that wait, or the next few.
//!
//! The administrator registers as a worker without a dead-letter queue, so it gets an event that
//! was delivered too often like any other. It takes one event at a time, as workers do, and
//! finishes it. If it is killed in between, that one event is delivered again. Those that it has
//! finished are gone.
//!
//! It does not discard events that were published after it looked at the queue's end. If it takes
//! one, because another worker was faster, that event goes back as it was.
//!
//! Like any worker, it may be evicted while it waits for room in a dead-letter queue, or while it
//! is stopped. So it publishes a copy that was whole when it was made, and an event counts as
//! finished only if its fence was still open. As long as it moves, also while it waits, it notes
//! the time.

use std::time::{Duration, Instant};

use railbus_os::clock;
use railbus_ring::members::park::{Futex, Waker};
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::ROLE_WORKER;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::job::Due;
use railbus_ring::slots::outcome::Outcome;
use railbus_ring::slots::redo::{AT_ONCE, Redo};
use railbus_ring::slots::view::SlotView;
use railbus_ring::slots::word::{self, Slots, done};
use railbus_ring::slots::worker::{SlotWorker, Taken};
use railbus_ring::{frame, layout};

use super::ADMINISTRATOR;
use crate::channel::mapped::Trusted;
use crate::channel::memories::{Memories, SharedFutex};
use crate::channel::open::Channel;
use crate::channel::span::payload_bytes;
use crate::channel::sweep::sweep_entry;
use crate::channel::{Kind, Role};
use crate::error::{Error, Result, SendError};
use crate::event::{Attributes, Event, Located, Origin};
use crate::handle::member::{Introduction, Member};
use crate::handle::open::Producer;
use crate::handle::options::SendOptions;
use crate::handle::wait::Wait;
use crate::operator::look::{Where, unfinished};
use crate::operator::seek::{Moved, SeekTo};

/// How long to wait for a producer that is writing the event at the head.
const PATIENCE: Duration = Duration::from_millis(200);

/// The result of [`Channel::purge`], or what it would be in a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Purged {
    /// A queue's events that were finished.
    pub events: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// A queue's events that workers hold, which were left.
    pub in_hand: u64,
    /// A queue's events that could not be taken, because a live producer is writing them or an
    /// event before them.
    pub unpublished: u64,
    /// Durable subscriptions that were moved to the end.
    pub moved: Vec<Moved>,
    /// Durable subscriptions that were left, with the reason.
    pub left: Vec<(String, String)>,
}

/// The result of [`Channel::skip_events`], or what it would be in a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Skipped {
    /// Positions of the events, in the order in which they were taken.
    pub positions: Vec<u64>,
    /// Their payload bytes.
    pub bytes: u64,
    /// The queue that they went to, if they became dead letters.
    pub dead_letters: Option<String>,
}

impl Channel {
    /// Discards everything that waits in this channel at this moment: a queue's events, and what
    /// the durable subscriptions without an owner have not read. Events that workers hold, and what
    /// owned subscriptions and the journaller have still to read, are left and reported. Dead
    /// letters are not touched.
    ///
    /// With `dry_run` it changes nothing, and returns what it would do.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] without the right to consume; [`Error::Busy`] when no place for a
    /// worker is left; [`Error::PeerGone`] if this administrator is evicted on the way: the events
    /// before stay discarded; [`Error::Corrupt`].
    pub fn purge(&self, dry_run: bool) -> Result<Purged> {
        self.expect_events("purge")?;
        let mut purged = Purged::default();
        if self.header().kind == Kind::Queue {
            self.purge_queue(&mut purged, dry_run)?;
        }
        for standing in self.subscriptions()? {
            if let Some(pid) = standing.owner {
                purged.left.push((standing.name, format!("process {pid} holds it")));
                continue;
            }
            match self.seek_subscription(&standing.name, SeekTo::Live, dry_run) {
                Ok(moved) => purged.moved.push(moved),
                // It was resumed, or forgotten, at this moment.
                Err(error @ (Error::Busy { .. } | Error::NotFound { .. })) => {
                    purged.left.push((standing.name, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(purged)
    }

    fn purge_queue(&self, purged: &mut Purged, dry_run: bool) -> Result<()> {
        let (memories, _maps) = self.look()?;
        let end = memories.ring.load(layout::TAIL, Edge::Tail);
        if dry_run {
            for one in unfinished(self, &memories, end) {
                match one.place {
                    Where::Waiting => {
                        purged.events += 1;
                        purged.bytes += payload_bytes(one.header);
                    }
                    Where::InHand => purged.in_hand += 1,
                    Where::Unpublished => purged.unpublished += 1,
                }
            }
            return Ok(());
        }
        // Events that dead workers held wait from now on.
        self.repair()?;
        let mut taker = Taker::register(self)?;
        while let Some(taken) = taker.next(end)? {
            let bytes = payload_bytes(taker.header(taken)?);
            taker.finish(taken, Some(Outcome::Purged))?;
            purged.events += 1;
            purged.bytes += bytes;
        }
        drop(taker);
        for one in unfinished(self, &memories, end) {
            match one.place {
                Where::InHand => purged.in_hand += 1,
                Where::Waiting | Where::Unpublished => purged.unpublished += 1,
            }
        }
        Ok(())
    }

    /// Takes the next `events` events that wait in this queue, or fewer if there are fewer, and
    /// finishes them. Events that were handed back come first. With `to_dead_letters`, each is
    /// published in the dead-letter queue before it is finished.
    ///
    /// If this process is killed between the two, that event is a dead letter and is delivered
    /// again as well. The letter's origin shows it.
    ///
    /// With `dry_run` it changes nothing, and returns what it would do.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a channel that is no queue, or has no dead-letter queue to publish
    /// in; [`Error::NotAllowed`]; [`Error::Busy`] when no place for a worker is left.
    /// [`Error::TimedOut`] when the dead-letter queue stays full for `timeout`, and
    /// [`Error::PeerGone`] if this administrator is evicted on the way: the events before stay
    /// skipped.
    pub fn skip_events(
        &self,
        events: u64,
        to_dead_letters: bool,
        timeout: Duration,
        dry_run: bool,
    ) -> Result<Skipped> {
        if self.header().kind != Kind::Queue {
            self.expect_events("skipping")?;
            let why = format!("a {} has subscriptions: name the one that is to skip", self.header().kind);
            return Err(Error::invalid(format!("skipping in {}", self.name()), why));
        }
        let letters = if to_dead_letters { Some(self.letters_name()?) } else { None };
        let (memories, _maps) = self.look()?;
        let end = memories.ring.load(layout::TAIL, Edge::Tail);
        let mut skipped = Skipped { dead_letters: letters.clone(), ..Skipped::default() };
        if dry_run {
            // Events that were handed back come first: they have the lower positions.
            let waiting =
                unfinished(self, &memories, end).into_iter().filter(|one| one.place == Where::Waiting);
            for one in waiting.take(usize::try_from(events).unwrap_or(usize::MAX)) {
                skipped.positions.push(one.ticket);
                skipped.bytes += payload_bytes(one.header);
            }
            return Ok(skipped);
        }
        self.repair()?;
        let mut letters = match &letters {
            Some(name) => Some(self.bus().attach(name)?.producer(&sending())?),
            None => None,
        };
        let mut taker = Taker::register(self)?;
        while (skipped.positions.len() as u64) < events
            && let Some(taken) = taker.next(end)?
        {
            let bytes = payload_bytes(taker.header(taken)?);
            if let Some(letters) = &mut letters {
                let copied = taker.copy(taken)?;
                let event = copied.event();
                let attributes = self.letter_of(&event, taken.attempt);
                publish(letters, event.payload(), &attributes, timeout, &taker)?;
                taker.member.memories.acks.fetch_add(layout::DEAD_LETTERED, 1, Edge::Plain);
            }
            let outcome = if letters.is_some() { Outcome::DeadLetter } else { Outcome::Purged };
            taker.finish(taken, Some(outcome))?;
            skipped.positions.push(taken.ticket);
            skipped.bytes += bytes;
        }
        Ok(skipped)
    }

    /// Maps everything read-only.
    pub(super) fn look(&self) -> Result<(Memories, crate::channel::Maps)> {
        let maps = self.map(Role::Observer)?;
        // SAFETY: the maps are returned with the memories, and dropped after them; nothing is stored.
        let memories = unsafe { Memories::of(&maps) };
        Ok((memories, maps))
    }

    pub(super) fn letters_name(&self) -> Result<String> {
        self.header().dead_letters.clone().ok_or_else(|| {
            Error::invalid(
                format!("dead letters of {}", self.name()),
                "it has no dead-letter queue: it was created without --max-attempts",
            )
        })
    }

    /// The attributes of a dead letter: those of the event, with its origin.
    fn letter_of(&self, event: &Event<'_>, attempt: u8) -> Attributes {
        let header = self.header();
        let origin = Origin {
            channel: header.channel_word(),
            incarnation: header.incarnation,
            position: event.position(),
            attempts: u64::from(attempt),
            expired: false,
        };
        Attributes::of(event, origin)
    }
}

/// The options with which an administrator publishes.
pub(super) fn sending() -> SendOptions {
    SendOptions { name: ADMINISTRATOR.to_owned(), wait: Wait::Spin, ..SendOptions::default() }
}

/// Publishes, and waits for room for `timeout` at most, whatever the channel's overflow policy is.
/// It drops nothing, and publishes nothing once `taker` is evicted.
pub(super) fn publish(
    producer: &mut Producer,
    payload: &[u8],
    attributes: &Attributes,
    timeout: Duration,
    taker: &Taker,
) -> Result<u64> {
    let started = Instant::now();
    let mut tries = 0u32;
    loop {
        taker.go_on()?;
        match producer.try_publish_again(payload, attributes) {
            Ok(position) => return Ok(position),
            Err(SendError::Full | SendError::NoWorker) if started.elapsed() < timeout => {
                // Others wait for the same room, and look often.
                match tries {
                    0..1000 => std::thread::yield_now(),
                    _ => std::thread::sleep(Duration::from_micros(20)),
                }
                tries += 1;
            }
            Err(SendError::Full | SendError::NoWorker) => {
                let what = format!("room in {}", producer.channel().name());
                return Err(Error::TimedOut { what, after_ms: timeout.as_millis() as u64 });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A copy of an event that an administrator holds.
pub(super) struct CopiedEvents {
    body: Vec<u64>,
    header: u64,
    position: u64,
}

impl CopiedEvents {
    /// The event.
    pub(super) fn event(&self) -> Event<'_> {
        let body = self.body.as_ptr().cast();
        // SAFETY: the copy has as many bytes as the checked header says, and is borrowed.
        unsafe { Event::new(Located { body, header: self.header, position: self.position }) }
    }
}

/// An administrator at work in a queue. When it is dropped, it hands back the events that it holds.
pub(super) struct Taker {
    core: SlotWorker<Trusted>,
    slots: Slots,
    waker: Waker,
    /// No event is at or behind this ticket. The tail that producers store may be corrupt.
    end_max: u64,
    /// How far the done words were searched for events that were handed back, and whether anything
    /// was taken since that search began.
    looked_to: u64,
    has_taken: bool,
    // Dropped after the core, which hands back what it holds.
    member: Member,
}

impl Taker {
    pub(super) fn register(channel: &Channel) -> Result<Taker> {
        let who = Introduction { policy: ROLE_WORKER, name: ADMINISTRATOR.to_owned() };
        let member = Member::register(channel, Side::Consumers, &who, |memories, peers, index| {
            sweep_entry(channel, memories, peers, index)
        })?;
        let view = member.memories.slots(channel.header());
        let SlotView { acks, slots, .. } = view;
        Ok(Taker {
            core: SlotWorker::new(view, member.registered.index),
            slots,
            waker: Waker::new(layout::SPACE_WAKE, layout::PRODUCERS_PARKED)
                .with_others(layout::FINISHED_WAKE, layout::WAITERS_PARKED),
            end_max: acks.load(layout::HEAD, Edge::Head).saturating_add(slots.count),
            looked_to: 0,
            has_taken: false,
            member,
        })
    }

    fn is_evicted(&self) -> bool {
        self.core.is_fenced() || !self.member.is_registered()
    }

    /// Notes for observers that this administrator moves, and checks that its work still counts.
    pub(super) fn go_on(&self) -> Result<()> {
        self.member.seen();
        if self.is_evicted() {
            return Err(Error::PeerGone {
                what: format!("the place of this administrator in {}", self.member.channel.name()),
                why: "it was evicted, by an operator or `railbus watch`; what it had in hand goes to others, what it \
                      finished before is finished: look, and try again"
                    .to_owned(),
            });
        }
        if self.core.has_refused() {
            let what = format!("the done words of {}", self.member.channel.name());
            return Err(Error::corrupt(
                what,
                "one that says what is in hand was changed; remove the channel",
            ));
        }
        Ok(())
    }

    /// The next event before `end` that waits, those that were handed back first. `None` when there
    /// is none, or when a live producer stays in the way.
    ///
    /// All calls together take one pass over the done words, and one more for each time that events
    /// are handed back in between.
    pub(super) fn next(&mut self, end: u64) -> Result<Option<Taken>> {
        let end = end.min(self.end_max);
        let mut stuck_since: Option<Instant> = None;
        loop {
            self.go_on()?;
            if let Some(taken) = self.next_handed_back(end) {
                return Ok(Some(taken));
            }
            if self.member.memories.acks.load(layout::HEAD, Edge::Head) < end {
                match self.core.take_without_redo(1) {
                    Some(taken) if taken.ticket < end => {
                        self.has_taken = true;
                        return Ok(Some(taken));
                    }
                    // Another worker has taken the one that was seen.
                    Some(taken) => {
                        self.give_back(taken);
                        continue;
                    }
                    None => {}
                }
                self.go_on()?;
                let stuck = self.core.stuck_behind();
                if stuck.is_some_and(|ticket| self.core.skip_orphan(ticket, &self.member.peers)) {
                    continue;
                }
                if stuck_since.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                }
            }
            if !self.has_taken {
                return Ok(None);
            }
            // Events that the search has passed may have been handed back since.
            (self.looked_to, self.has_taken) = (0, false);
        }
    }

    /// An event before `end` that was handed back, or put aside. It does not rely on the hint,
    /// which is counted up a moment later, and not at all for an event that is put aside.
    fn next_handed_back(&mut self, end: u64) -> Option<Taken> {
        let Memories { acks, done: words, .. } = self.member.memories;
        let head = acks.load(layout::HEAD, Edge::Head);
        let oldest = head.saturating_sub(self.slots.count);
        let mut looked_to = self.looked_to.max(oldest);
        let mut found = None;
        while found.is_none() && looked_to < head.min(end) {
            let ticket = looked_to;
            looked_to += 1;
            let seen = words.load(self.slots.done_offset(ticket), Edge::Done);
            let waits = self.slots.is_of(seen, ticket) && word::kind(seen) == done::REDO;
            let attempt = word::attempt(seen);
            if waits && self.core.pick_up(ticket, seen, attempt) {
                self.has_taken = true;
                found = Some(Taken { ticket, attempt });
            }
        }
        self.looked_to = looked_to;
        found
    }

    /// The header word of an event that is held. The body that it describes is checked to lie in
    /// the slot.
    pub(super) fn header(&self, taken: Taken) -> Result<u64> {
        let header = self.core.header(taken.ticket);
        // The header of another lap is not taken for this event's.
        self.go_on()?;
        if !frame::is_event(header, self.core.body_max()) {
            return Err(Error::corrupt(
                format!("event {} of {}", taken.ticket, self.member.channel.name()),
                "no producer writes it; remove the channel",
            ));
        }
        Ok(header)
    }

    /// A copy of an event that is held: its slot may be used again before the copy is used.
    pub(super) fn copy(&self, taken: Taken) -> Result<CopiedEvents> {
        let header = self.header(taken)?;
        let data = self.member.memories.data;
        let at = self.core.body_offset(taken.ticket);
        let words = frame::body_bytes(header).div_ceil(8) as usize;
        let body = (0..words).map(|i| data.load(at + i * 8, Edge::Plain)).collect();
        // VALIDATE: the slot is used again only after the fence was closed, so the copy is whole if
        // the fence is still open.
        data.fence(Edge::Validate);
        self.go_on()?;
        Ok(CopiedEvents { body, header, position: taken.ticket })
    }

    /// Marks the event as done, with this outcome if it was not done.
    pub(super) fn finish(&mut self, taken: Taken, outcome: Option<Outcome>) -> Result<()> {
        match outcome {
            Some(outcome) => self.core.note_outcome(taken, outcome),
            None => self.core.reset_outcome(taken),
        }
        let is_done = self.core.done(taken.ticket);
        let Memories { ring, acks, .. } = self.member.memories;
        if self.member.channel.header().keyed {
            // After the DONE word. A worker may have put the next event with its key aside, and is
            // woken here.
            let done = &self.member.memories.done;
            Redo { acks: &acks, done, slots: self.slots }.touch();
            SharedFutex(ring).wake(layout::EVENTS_WAKE, 1);
        }
        self.waker.wake(&acks, &ring, &SharedFutex(acks), || 1);
        if is_done {
            return Ok(());
        }
        self.go_on()?;
        let what = format!("event {} of {}", taken.ticket, self.member.channel.name());
        Err(Error::corrupt(what, "it was in hand, and is not any more; remove the channel"))
    }

    /// Gives the event back: as it was, if it was never marked as taken or is not due, and otherwise
    /// with its attempt counted.
    pub(super) fn give_back(&mut self, taken: Taken) {
        let times = self.core.times(taken.ticket, self.core.header(taken.ticket));
        if let Some(Due::In(_)) = times.map(|times| times.due(clock::realtime_ns())) {
            // A worker that takes it puts it back until it is due.
            self.core.postpone(taken.ticket, AT_ONCE);
            return;
        }
        let seen = self.member.memories.done.load(self.slots.done_offset(taken.ticket), Edge::Done);
        if self.slots.is_of(seen, taken.ticket) {
            self.core.retry(taken.ticket, |_, _| AT_ONCE);
        } else {
            self.core.put_back(taken, |_, _| AT_ONCE);
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        if self.member.is_forked() {
            return;
        }
        if self.is_evicted() {
            self.core.give_up(&self.member.peers, clock::host_ns());
        } else {
            self.core.hand_back();
        }
    }
}
