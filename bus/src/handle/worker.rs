//! Working on a queue: each event goes to one worker, which says when it is done.
//!
//! A [`Worker`] is one registered consumer. It is used by one thread at a time (it is `Send`, not `Sync`), and not
//! after `fork`. Delivery is at least once: an event whose worker dies, or hands it back, is delivered again, with
//! its attempts counted; after the channel's `max_attempts` it goes to the dead-letter queue with its origin.
//!
//! [`Worker::take`] gives a [`Job`], which is handed back if it is dropped without [`Job::done`]. For several events
//! in hand at once there are tickets: [`Worker::take_ticket`], [`Worker::event`], [`Worker::done`].
//!
//! A worker may be **evicted** ([`Channel::evict`]) while it is stopped, hangs, or works for too long: what
//! it holds goes to others. From then on its `done` is refused (it returns false), and the next take says
//! [`RecvError::Evicted`]; open another worker to go on. An event that it still reads stays as it was until
//! its next call. Only a `done` that was not refused says that the work counted.
//!
//! A worker whose done words are refused although nobody has evicted it works on memory that somebody has harmed. It gives
//! up its place, as if it had been evicted, so that others get what it held; from then on its takes say
//! [`RecvError::Corrupt`].

mod rules;

use std::mem::ManuallyDrop;
use std::time::Duration;

use railbus_os::clock;
use railbus_os::fork::ForkGuard;
use railbus_ring::members::park::{Nudge, Waker};
use railbus_ring::members::{fence, registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::levels::Rank;
use railbus_ring::slots::redo::Backoff;
use railbus_ring::slots::word::Slots;
use railbus_ring::slots::worker::{Delivery, FIRST_DELIVERY, SlotWorker, TAKE_MAX, Taken};
use railbus_ring::tally::Tally;
use railbus_ring::{frame, layout};
use rules::{Rules, Sleepers};

use crate::SlotPublishEnd;
use crate::channel::memories::{Memories, SharedFutex};
use crate::error::{BLIND, RecvError, why_not_locked};
use crate::event::{Attributes, Event, Located, Origin};
use crate::handle::audit::Audit;
use crate::handle::bridge::Watch;
use crate::handle::latency_probe::LatencyProbe;
use crate::handle::member::{self, Member};
use crate::handle::read_end::ORPHANS_MAX;
use crate::handle::sender::Sender;
use crate::handle::wait::{Idle, Pace, Step, Wait, Waiting};

/// Most events between two looks at the clock; fewer when each takes its time.
const LOOK_EVERY_MAX: u64 = 256;
/// How many events a worker that is alone takes at once when more than [`LOOK_EVERY_MAX`] pass in a ms.
const GRAB: u32 = 16;
/// A busy worker looks for dead ones this often.
const SWEEP_EVERY_NS: u64 = 1_000_000;
/// Workers that sleep ask the kernel about the others this often, all together: half as often as each of them looks up.
const LOOK_TOGETHER_NS: u64 = 4_000_000;
/// An event waits this long in its slot while the dead-letter queue is full, before that is tried again.
const LETTER_AGAIN_NS: u64 = 10_000_000;

/// The top byte of a header word.
const TOP_BYTE: u64 = 0xFF << 56;

/// What became of a dead letter.
enum DeadLetter {
    Written,
    /// The dead-letter queue is full.
    NoRoom,
    /// The worker was evicted, and what it has read may be anything.
    Evicted,
}

/// Names an event in a worker's hands, by one delivery. A copy that was kept after the event was handed back names
/// nothing, also when the same worker gets the event again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    position: u64,
    delivery: Delivery,
    /// The header word that was checked: the one in the ring may be changed by a producer that runs wild.
    header: u64,
}

impl Ticket {
    /// The event's position.
    pub fn position(self) -> u64 {
        self.position
    }

    /// Which delivery this is, counted from 1; it stays at 64.
    pub fn attempt(self) -> u32 {
        self.delivery as u8 as u32 + 1
    }

    /// Position, attempt and a token, from which [`Self::from_words`] makes the same ticket.
    #[inline]
    pub fn words(self) -> (u64, u32, u64) {
        // The top byte of an event's header is always the same: the high byte of the delivery goes there.
        let token = self.header & !TOP_BYTE | (self.delivery as u64 >> 8) << 56;
        (self.position, self.attempt(), token)
    }

    /// The ticket of these words. A worker knows what it holds: a ticket that was never given out names nothing.
    #[inline]
    pub fn from_words(position: u64, attempt: u32, token: u64) -> Ticket {
        let attempt = attempt.clamp(1, 64) as Delivery - 1;
        let delivery = attempt | ((token >> 56) as Delivery) << 8;
        Ticket { position, delivery, header: token & !TOP_BYTE | frame::COMMITTED }
    }
}

/// A registered worker of a queue. See the [module](self).
#[derive(Debug)]
pub struct Worker {
    core: SlotWorker<crate::channel::mapped::Trusted>,
    member: Member,
    waker: Waker,
    /// Wakes other workers.
    nudge: Nudge,
    /// How many producers to wake when there is room: one takes it; but of those that wait for a credit of their own
    /// nobody knows which.
    space_wakes: u32,
    wait: Wait,
    until_closed: bool,
    /// How many events are taken from the ring at once, and whether that follows the load.
    grab: u32,
    grab_follows_load: bool,
    /// How many the next take may ask for: one after an empty poll. To look beyond the event that was waited for would
    /// take the next slot's line away from the producer that is about to write it.
    eager: u32,
    max_attempts: u32,
    dead_letters: Option<Box<Sender<SlotPublishEnd<false>>>>,
    /// Priorities and the order of keys.
    rules: Option<Box<Rules>>,
    /// The member's guard; one that tells every address space for a fork when nothing is ever easy.
    easy: ForkGuard,
    swept_ns: u64,
    /// How long nobody must have asked the kernel about the workers for this one to ask.
    look_together_ns: u64,
    audit: Audit,
    tally: Tally,
    pace: Pace,
    idle: Idle,
    /// Events after which this worker looks around, and how many it lets pass before the next look.
    look_at: u64,
    look_every: u64,
    /// On stamped channels, whose events take the slow path.
    latency: Option<Box<LatencyProbe>>,
    /// It has given up its place because the channel's files were harmed.
    is_harmed: bool,
    /// Why the last look around could not hand on what a dead worker held.
    cannot_repair: Option<&'static str>,
}

impl Worker {
    pub(crate) fn new(
        member: Member,
        wait: Wait,
        until_closed: bool,
        grab: u32,
        rank: Rank,
        dead_letters: Option<Sender<SlotPublishEnd<false>>>,
    ) -> Worker {
        member.joined();
        let rules = Rules::of(rank, &member);
        let header = member.channel.header();
        let Memories { ring, acks, data, done } = member.memories;
        let core = SlotWorker::new(
            ring,
            acks,
            data,
            done,
            member.registered.index,
            Slots::new(header.slots, header.slot_bytes),
            header.producers_max as usize,
            header.consumers_max as usize,
        )
        .with(member::stores())
        .with_backoff(Backoff::of(header.max_attempts));
        Worker {
            core,
            waker: Waker::new(layout::SPACE_WAKE, layout::PRODUCERS_PARKED),
            nudge: Nudge::new(layout::EVENTS_WAKE, layout::CONSUMERS_PARKED)
                .with_others(layout::READERS_WAKE, layout::READERS_PARKED),
            space_wakes: if member.channel.header().credits > 0 { u32::MAX >> 1 } else { 1 },
            wait,
            until_closed,
            grab: grab.clamp(1, TAKE_MAX),
            eager: grab.clamp(1, TAKE_MAX),
            // A death counts an attempt for all that was in hand: with one attempt, that must be one event.
            grab_follows_load: grab == 0 && header.max_attempts != 1 && rules.is_none(),
            max_attempts: header.max_attempts,
            dead_letters: dead_letters.map(Box::new),
            easy: if rules.is_some() { member.guard.never() } else { member.guard },
            rules,
            swept_ns: 0,
            look_together_ns: if matches!(wait, Wait::Park { .. }) {
                LOOK_TOGETHER_NS
            } else {
                SWEEP_EVERY_NS
            },
            audit: Audit::default(),
            tally: Tally::default(),
            pace: Pace::default(),
            idle: Idle::default(),
            look_at: 1,
            look_every: 1,
            latency: LatencyProbe::open(&member, true),
            is_harmed: false,
            cannot_repair: None,
            member,
        }
    }

    /// The next event, if there is one. Never blocks; when there has been nothing for some ms, it asks the system
    /// whether peers live.
    ///
    /// A worker opened with `until_closed` gets [`RecvError::Closed`] as from [`Self::take`].
    #[inline(always)]
    pub fn try_take(&mut self) -> Result<Option<Job<'_>>, RecvError> {
        if let Some(ticket) = self.poll_fast() {
            return Ok(Some(Job { worker: self, ticket }));
        }
        Ok(self.take_ticket_slow()?.map(|ticket| Job { worker: self, ticket }))
    }

    /// The next event, waiting for it without end.
    ///
    /// A worker opened with `until_closed` gets [`RecvError::Closed`] when the last producer has left and every
    /// event is done.
    #[inline(always)]
    pub fn take(&mut self) -> Result<Job<'_>, RecvError> {
        if let Some(ticket) = self.poll_fast() {
            return Ok(Job { worker: self, ticket });
        }
        let ticket = self.wait(None)?;
        Ok(Job { worker: self, ticket })
    }

    /// The next event, waiting at most `timeout`.
    pub fn take_timeout(&mut self, timeout: Duration) -> Result<Job<'_>, RecvError> {
        if let Some(ticket) = self.poll_fast() {
            return Ok(Job { worker: self, ticket });
        }
        let ticket = self.wait(Some(timeout))?;
        Ok(Job { worker: self, ticket })
    }

    /// The next event as a ticket, if there is one: it stays in this worker's hands, beside others, until
    /// [`Self::done`] or [`Self::retry`], or until this handle is dropped.
    #[inline]
    pub fn take_ticket(&mut self) -> Result<Option<Ticket>, RecvError> {
        match self.poll_fast() {
            Some(ticket) => Ok(Some(ticket)),
            None => self.take_ticket_slow(),
        }
    }

    fn take_ticket_slow(&mut self) -> Result<Option<Ticket>, RecvError> {
        match self.poll_slow()? {
            Some(ticket) => Ok(Some(ticket)),
            None if self.idle.is_due() => self.probe(),
            None => Ok(None),
        }
    }

    /// What a [`crate::handle::bridge::Bridge`] is to be armed with.
    pub fn watch(&self) -> Watch {
        self.idle.rest();
        Watch {
            position: None,
            redo_seen: self.core.redo_seen(),
            redo_due_ns: self.core.redo_due_ns(),
            barred: self.is_barred(),
        }
    }

    /// As [`Self::take_ticket`], waiting at most `timeout`.
    pub fn take_ticket_timeout(&mut self, timeout: Duration) -> Result<Ticket, RecvError> {
        match self.poll()? {
            Some(ticket) => Ok(ticket),
            None => self.wait(Some(timeout)),
        }
    }

    /// The event a ticket names, in place. `None` when this worker does not hold it.
    #[inline]
    pub fn event(&self, ticket: Ticket) -> Option<Event<'_>> {
        // The header was checked when the ticket was made, but perhaps by a worker of another queue.
        let sound = frame::is_event(ticket.header, self.core.body_max());
        if self.member.is_forked() || !sound || !self.core.holds_delivery(ticket.position, ticket.delivery) {
            return None;
        }
        // SAFETY: held, so nobody overwrites it; the body that the header tells lies in the slot.
        Some(unsafe { Event::new(self.locate(ticket)) })
    }

    /// Says that an event is done: it will not be delivered again. False when this worker does not hold it, or was evicted
    /// ([`Worker::is_evicted`]): then the event goes to another worker, and the work does not count. False, too, when the
    /// channel turns out to be corrupt, as the next take says.
    #[inline(always)]
    #[must_use = "false says that the work did not count: another worker has the event"]
    pub fn done(&mut self, ticket: Ticket) -> bool {
        if self.easy.is_forked() {
            return self.done_by_rules(ticket.position, ticket.delivery, ticket.header);
        }
        let held = self.core.done_delivery(ticket.position, ticket.delivery);
        if !frame::is_plain(ticket.header) {
            self.measure_done(ticket.position, held);
        }
        if !held {
            self.give_way();
        }
        let own = self.member.memories.acks;
        self.waker.wake(&own, &self.member.memories.ring, &SharedFutex(own), || self.space_wakes);
        held
    }

    /// Hands an event back: it is delivered again, to this worker or another, with its attempts counted. The first time
    /// that is at once; after its second attempt it waits for about 1 ms, then for twice as long each time, for 1 s at most,
    /// and others go on. False when this worker does not hold it, or was evicted.
    pub fn retry(&mut self, ticket: Ticket) -> bool {
        if self.member.is_forked() {
            return false;
        }
        let backoff = Backoff::of(self.max_attempts);
        let due_ns = |ticket, attempts| backoff.due_ns(clock::host_ns(), ticket, attempts);
        let held = self.core.holds_delivery(ticket.position, ticket.delivery)
            && self.core.retry(ticket.position, due_ns);
        if held {
            self.handed_back();
        } else {
            self.give_way();
        }
        held
    }

    /// Whether this worker was evicted: nothing that it does counts any more.
    pub fn is_evicted(&self) -> bool {
        !self.is_harmed && !self.member.is_forked() && (self.core.is_fenced() || !self.member.is_registered())
    }

    /// A worker that was evicted, or that was refused though nobody has evicted it, closes its fence and hands back what it
    /// held, if nobody has done so yet. Whether it is such a one.
    #[cold]
    #[inline(never)]
    fn give_way(&mut self) -> bool {
        let given_up = !self.member.is_registered() || self.core.is_fenced() || self.core.has_refused();
        if given_up {
            // Whoever evicts it has changed its state before its fence, and its fence before its words.
            if self.member.is_registered() {
                self.is_harmed = true;
                self.member.give_up();
                self.core.redeem();
            }
            self.easy = self.member.guard.never();
            self.core.resign(&self.member.peers, clock::host_ns());
        }
        given_up
    }

    /// What a worker that has given way is told.
    fn why_given_way(&self) -> RecvError {
        match self.is_harmed {
            true => {
                RecvError::Corrupt("a word of the worker's was changed by somebody else; remove the channel")
            }
            false => RecvError::Evicted,
        }
    }

    /// Whether the channel was removed, which a wait also says by [`RecvError::Removed`]. One system call. False in a fork
    /// child.
    pub fn is_removed(&self) -> bool {
        self.member.is_removed()
    }

    /// How many events are in this worker's hands.
    pub fn in_hand(&self) -> usize {
        self.core.in_hand()
    }

    /// Events taken by this handle, redeliveries included.
    pub fn events(&self) -> u64 {
        self.tally.events
    }

    /// Whether every producer has left, after at least one was there.
    pub fn producers_left(&self) -> bool {
        self.member.others_live(|policy| policy & 0xFF == registry::ROLE_PRODUCER) == Some(false)
    }

    #[inline(always)]
    fn locate(&self, ticket: Ticket) -> Located {
        let Ticket { position, header, .. } = ticket;
        let body = self.member.memories.data.address(self.core.body_offset(position));
        Located { body, header, position }
    }

    #[inline(always)]
    fn poll(&mut self) -> Result<Option<Ticket>, RecvError> {
        match self.poll_fast() {
            Some(ticket) => Ok(Some(ticket)),
            None => self.poll_slow(),
        }
    }

    /// The next event where nothing is in the way.
    #[inline(always)]
    fn poll_fast(&mut self) -> Option<Ticket> {
        if self.easy.is_forked() {
            return None;
        }
        let ticket = self.core.take_fast(self.eager)?;
        self.eager = self.grab;
        let header = self.core.header(ticket);
        let sound = frame::is_plain(header) && frame::body_bytes(header) as u64 <= self.core.body_max();
        // The fence after the header: that of another lap is not taken for this event's.
        if sound && !self.core.is_fenced() {
            self.count(header);
            return Some(Ticket { position: ticket, delivery: FIRST_DELIVERY, header });
        }
        // To be handed out by the slow path, which looks closer.
        self.core.hand_out_again(ticket);
        None
    }

    #[inline(always)]
    fn count(&mut self, header: u64) {
        self.tally.add(frame::body_bytes(header) as u64);
        if self.tally.events >= self.look_at {
            self.look_by_the_way();
        }
    }

    #[inline(never)]
    fn poll_slow(&mut self) -> Result<Option<Ticket>, RecvError> {
        if self.member.is_forked() {
            return Err(RecvError::Forked);
        }
        loop {
            if self.core.is_fenced() {
                self.give_way();
                return Err(self.why_given_way());
            }
            let taken = match self.rules {
                Some(_) => self.take_by_rules()?,
                None => self.core.take(self.eager, clock::host_ns),
            };
            let Some(taken) = taken else {
                if self.core.has_refused() {
                    self.give_way();
                    return Err(self.why_given_way());
                }
                self.eager = 1;
                if self.pace.empty(self.tally.events) {
                    self.tell();
                    self.idle.restart();
                }
                return Ok(None);
            };
            let header = self.core.header(taken.ticket);
            if self.core.is_fenced() {
                self.core.hand_out_again(taken.ticket);
                continue;
            }
            if !frame::is_event(header, self.core.body_max()) {
                // It stays in hand: nobody can make sense of it.
                return Err(RecvError::Corrupt("an event that no producer writes; remove the channel"));
            }
            let delivery = self.core.delivery_of(taken);
            let ticket = Ticket { position: taken.ticket, delivery, header };
            if taken.attempt == 0 || self.is_redelivered(taken, ticket) {
                self.count(header);
                // What an event carries beside its payload does not count as payload.
                self.tally.bytes -= frame::extension_bytes(frame::flags(header)) as u64;
                self.measure(ticket);
                return Ok(Some(ticket));
            }
        }
    }

    /// Records how long an event took to come here, on a stamped channel.
    fn measure(&mut self, ticket: Ticket) {
        let located = self.locate(ticket);
        if let Some(latency) = &mut self.latency {
            // SAFETY: it was checked, and stays in this worker's hands.
            latency.taken(unsafe { Event::new(located) });
        }
    }

    /// Records how long an event was in hand, on a stamped channel. Apart, and without the ticket: what is handed to it
    /// in memory is kept in memory all the way.
    #[cold]
    #[inline(never)]
    fn measure_done(&mut self, position: u64, held: bool) {
        if let Some(latency) = self.latency.as_mut().filter(|_| held) {
            latency.done(position);
        }
    }

    /// Tells observers how far this worker has come.
    fn tell(&self) {
        self.member.note_tally(self.tally);
    }

    /// Whether an event that was delivered before is to be delivered again: otherwise it has become a dead letter,
    /// or waits until there is room for it.
    #[cold]
    fn is_redelivered(&mut self, taken: Taken, ticket: Ticket) -> bool {
        if self.max_attempts == 0 || (taken.attempt as u32) < self.max_attempts {
            self.member.memories.acks.fetch_add(layout::REDELIVERED, 1, Edge::Plain);
            return true;
        }
        let Some(mut letters) = self.dead_letters.take() else { return true };
        let header = self.member.channel.header();
        // SAFETY: the event is in this worker's hands, and its header was checked; if it is evicted by now, the slot holds
        // other bytes, which are not published.
        let event: Event<'_> = unsafe { Event::new(self.locate(ticket)) };
        let origin = Origin {
            channel: header.channel_word(),
            incarnation: header.incarnation,
            position: taken.ticket,
            // Putting it back while the dead-letter queue was full counted, too.
            attempts: (taken.attempt as u64).min(self.max_attempts as u64),
        };
        let attributes = Attributes::of(&event, origin);
        let letter = self.write_letter(&mut letters, &event, &attributes);
        self.dead_letters = Some(letters);
        match letter {
            DeadLetter::Written => {
                self.member.memories.acks.fetch_add(layout::DEAD_LETTERED, 1, Edge::Plain);
                self.finish(ticket.position, ticket.delivery);
            }
            DeadLetter::NoRoom => {
                // The event waits where it is.
                self.core.put_back(taken, |_, _| clock::host_ns() + LETTER_AGAIN_NS);
                self.handed_back();
            }
            // The next look at the fence says it.
            DeadLetter::Evicted => {}
        }
        false
    }

    /// Publishes an event in hand in the dead-letter queue. Before it is done: killed between the two, it is delivered as a
    /// dead letter once more, and its origin tells.
    fn write_letter(
        &self,
        letters: &mut Sender<SlotPublishEnd<false>>,
        event: &Event<'_>,
        attributes: &Attributes,
    ) -> DeadLetter {
        let payload = event.payload();
        let Ok(mut claim) = letters.claim_with_timeout(payload.len(), attributes, Duration::ZERO) else {
            return DeadLetter::NoRoom;
        };
        claim.copy_from_slice(payload);
        // VALIDATE: the copying comes before the look at the fence. Once that is closed the event goes to others, and its
        // slot to the next lap.
        self.member.memories.data.fence(Edge::Validate);
        if self.core.is_fenced() {
            claim.abort();
            return DeadLetter::Evicted;
        }
        claim.commit();
        DeadLetter::Written
    }

    /// Whether this is the only worker. One that was evicted counts until it has gone: what it held may come back late.
    fn is_alone(&self) -> bool {
        self.member.count_own(2, |policy| policy & 0xFF == registry::ROLE_WORKER) == 1
    }

    /// Looks around once a ms or so, however long this worker is busy with an event.
    #[cold]
    fn look_by_the_way(&mut self) {
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
            // Several at once from a queue that is busy, where nobody else could take them.
            self.grab = if self.look_every == LOOK_EVERY_MAX && self.is_alone() { GRAB } else { 1 };
        }
    }

    /// Looks for dead workers and repairs what they left, at most every ms unless `at_once`.
    #[cold]
    fn look_around(&mut self, at_once: bool) {
        let now = clock::coarse_ns();
        self.member.note(layout::SEEN_NS, now);
        self.tell();
        if !at_once && now.saturating_sub(self.swept_ns) < SWEEP_EVERY_NS {
            return;
        }
        // A new worker looks whatever others have seen: it may come in the place of one that has just died.
        let is_first = std::mem::replace(&mut self.swept_ns, now) == 0;
        self.look_again_by_rules();
        if !self.member.is_registered() {
            // Its evictor has not come to close the fence: the next poll says it.
            self.give_way();
            return;
        }
        // One that cannot repair leaves the turn to others.
        let every_ns = if at_once { self.look_together_ns } else { SWEEP_EVERY_NS };
        if !is_first && self.cannot_repair.is_none() && !self.member.is_turn_to_look(every_ns) {
            return;
        }
        let acks = self.member.memories.acks;
        let mut failed = Ok(());
        for index in 0..self.member.registry().used() {
            // Whoever evicted it has not handed back everything, or is about to.
            let closed = fence::kind(fence::of(&acks, index)) == fence::CLOSED;
            if closed && index != self.member.registered.index {
                let gone_on = self.member.go_on_evicting(index, || {
                    self.core.sweeper(clock::host_ns()).sweep(&self.member.peers, Some(index)).unsettled == 0
                });
                failed = failed.and(gone_on);
            }
        }
        let dead: Vec<usize> = self.member.dead_of_own_side().collect();
        for index in dead {
            // Under the entry's janitor lock: one worker repairs, the others go on. What cannot be settled yet, or
            // another one has locked, is met again in a ms.
            let buried = self.member.bury(index, |index| {
                self.core.sweeper(clock::host_ns()).sweep(&self.member.peers, Some(index)).unsettled == 0
            });
            failed = failed.and(buried.map(|_| ()));
        }
        let blind = self.member.peers.was_blind().then_some(BLIND);
        self.cannot_repair = failed.err().map(|error| why_not_locked(&error)).or(blind);
    }

    /// Repairs what the dead left, and finds out whether there is anything to wait for.
    #[cold]
    fn probe(&mut self) -> Result<Option<Ticket>, RecvError> {
        self.look_around(true);
        if !self.core.is_head_sound() {
            return Err(RecvError::Corrupt(
                "the queue's head or tail was changed by somebody else; remove the channel",
            ));
        }
        self.audit.step(&self.core.sweeper(clock::host_ns()), &self.member.peers, self.tally.events);
        let mut repaired = false;
        // A producer may have died with a whole batch in its hands. Bounded, because the tail is not to be trusted.
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
            // Others may be able to; this one would wait in silence for events that it can never hand out.
            return Err(RecvError::CannotRepair(why));
        }
        // What was published before the removal was seen is taken first.
        if self.member.is_removed() { self.poll()?.map(Some).ok_or(RecvError::Removed) } else { Ok(None) }
    }

    #[cold]
    fn wait(&mut self, timeout: Option<Duration>) -> Result<Ticket, RecvError> {
        let mut has_slept = false;
        let ticket = self.wait_for_one(timeout, &mut has_slept)?;
        if has_slept {
            self.pass_wake_on();
        }
        Ok(ticket)
    }

    fn wait_for_one(&mut self, timeout: Option<Duration>, has_slept: &mut bool) -> Result<Ticket, RecvError> {
        if let Some(ticket) = self.poll_slow()? {
            return Ok(ticket);
        }
        let mut waiting = Waiting::new(self.wait, timeout);
        let mut sleepers = Sleepers::default();
        // Events with stamps never are, nor is anything where there are rules.
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
                // Many short waits are polling: they never come to a probe.
                Step::TimedOut => return self.take_ticket()?.ok_or(RecvError::TimedOut),
                Step::Probe => {
                    if let Some(ticket) = self.probe()? {
                        return Ok(ticket);
                    }
                    // Another worker's death hands its events to this one.
                    waiting.be_patient(self.is_alone() && !self.until_closed);
                }
                // There may be one behind those that were just put aside.
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

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.member.is_forked() && !self.give_way() {
            self.core.hand_back();
            self.leave_by_rules();
            // It may have been refused just now.
            self.give_way();
        }
    }
}

/// An event in a worker's hands. It dereferences to the payload, and is handed back for redelivery when dropped
/// without [`Job::done`].
#[derive(Debug)]
#[must_use = "a job that is dropped is handed back, and delivered again"]
pub struct Job<'a> {
    worker: &'a mut Worker,
    ticket: Ticket,
}

impl Job<'_> {
    /// The event, in place.
    #[inline(always)]
    pub fn event(&self) -> Event<'_> {
        // SAFETY: in this worker's hands until the job is dropped; its header was checked when it was taken.
        unsafe { Event::new(self.worker.locate(self.ticket)) }
    }

    /// Which delivery this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.ticket.attempt()
    }

    /// The event's position.
    pub fn position(&self) -> u64 {
        self.ticket.position
    }

    /// Says that the event is done. False when the worker was evicted, or the channel is corrupt: then the event goes to
    /// another, and the work does not count. The next take says so, too.
    #[inline(always)]
    #[must_use = "false says that the work did not count: another worker has the event"]
    pub fn done(self) -> bool {
        // Without a drop at the end, also in case of a panic, the job stays in registers.
        let mut job = ManuallyDrop::new(self);
        let ticket = job.ticket;
        job.worker.done(ticket)
    }

    /// Hands the event back for redelivery.
    pub fn retry(self) {}

    /// Keeps the event in the worker's hands and returns its ticket.
    pub fn keep(self) -> Ticket {
        ManuallyDrop::new(self).ticket
    }
}

impl std::ops::Deref for Job<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.event().payload()
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.worker.retry(self.ticket);
    }
}
