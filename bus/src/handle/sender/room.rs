//! The paths of a sender when there is no room: it repairs what dead participants left, waits, drops
//! or diverts the event, and reports which participant was in the way.

use std::time::Duration;

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::members::park::{Nudge, Sleeper};
use railbus_ring::members::{pressure, registry};
use railbus_ring::memory::{Edge, Memory};

use super::Sender;
use crate::channel::Overflow;
use crate::channel::memories::{Memories, SharedFutex};
use crate::error::{BLIND, SendError, why_not_locked};
use crate::event::{Attributes, Origin};
use crate::handle::member::Member;
use crate::handle::publish_end::{PublishEnd, Repair};
use crate::handle::refusal::{Refusal, RefusalView, journal_trouble};
use crate::handle::wait::{Step, Waiting};

/// The most repairs for one claim. It is more than there can be dead readers, or tickets of one
/// dead producer. There is a bound because the number of things to repair is read from shared
/// memory.
const REPAIRS_MAX: usize = 320;

/// A call for the same event that comes this soon after one that timed out continues its wait.
const SAME_WAIT_NS: u64 = 1_000_000_000;

/// A wait for room that ended without any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stalled {
    since_ns: u64,
    until_ns: u64,
    /// The count of the handle's events at that time.
    events: u64,
}

impl<R: PublishEnd> Sender<R> {
    /// The number of events that this handle dropped because the channel was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The number of this handle's events that went to the channel that this one diverts to.
    pub fn diverted(&self) -> u64 {
        self.diverted
    }

    /// Whether the channel is under pressure: it is from the moment when its depth reaches the high
    /// watermark until it has fallen to the low one. A channel without
    /// [`ChannelOptions::watermarks`](crate::ChannelOptions::watermarks) never is. False in a fork
    /// child.
    ///
    /// Without pressure the call is two loads of words that rarely change. Under pressure it
    /// measures the depth, so that a fall is seen even when nobody publishes: it reads the cursor
    /// of every reader and, in a queue, the state of each event published since the last
    /// measurement.
    ///
    /// The event that brings the depth to the high watermark raises the pressure before the call
    /// that publishes it returns, whichever producer publishes it. Pressure is a hint to slow down
    /// in time; it holds nobody back.
    #[inline]
    pub fn is_under_pressure(&mut self) -> bool {
        !self.member.is_forked()
            && pressure::is_high(pressure::load(&self.member.memories.ring))
            && self.ring.look_at_pressure()
    }

    /// Why the last call of this handle that found no room found none: which participant was in the
    /// way, and how far behind it is now. `None` when there always was room, and in a fork child.
    /// It takes about a microsecond and no system call, unless the journaller is in the way: then
    /// it makes some system calls to find out why.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::Blocker;
    ///
    /// let topic = bus.create("commands", &ChannelOptions::new(Kind::Topic).slots(64))?;
    /// let slow = SubscribeOptions::default().name("slow");
    /// let _subscriber = topic.topic_subscriber(&slow)?;
    /// let mut publisher = topic.topic_publisher(&SendOptions::default())?;
    /// while publisher.try_publish(b"event").is_ok() {}
    /// let refusal = publisher.refusal().expect("the last call found no room");
    /// assert!(matches!(&refusal.blocker, Blocker::Reader { peer, .. } if peer.name == "slow"));
    /// println!("{refusal}"); // for people
    /// # Ok(())
    /// # }
    /// ```
    pub fn refusal(&self) -> Option<Refusal> {
        let refused = self.refused.filter(|_| !self.member.is_forked())?;
        let Member { channel, memories, .. } = &self.member;
        let view =
            RefusalView { header: channel.header(), memories, published: self.ring.position_committed() };
        let refusal = Refusal::of(self.ring.obstacle(refused), &view);
        let journal = refusal.is_by_journaller().then(|| journal_trouble(channel)).flatten();
        Some(Refusal { journal, ..refusal })
    }

    #[cold]
    pub(super) fn claim_at_once(
        &mut self,
        body_bytes: u64,
        refused: R::Refused,
    ) -> Result<R::Claim, SendError> {
        self.look_while_full()?;
        self.claim_past_the_dead(body_bytes, refused).map_err(|(refused, repair)| {
            self.note_full(refused);
            match repair {
                Repair::NeedsWorker if self.has_no_worker() => SendError::NoWorker,
                _ => SendError::Full,
            }
        })
    }

    /// Reports to observers that there was no room. An event that is tried again and again counts
    /// once.
    #[cold]
    pub(super) fn note_full(&mut self, refused: R::Refused) {
        self.refused = Some(refused);
        let events = self.events_before();
        if self.full_at != Some(events) {
            self.full_at = Some(events);
            self.full += 1;
            self.member.note(layout::FULL, self.full);
        }
    }

    /// The number of this handle's events so far, whether published, dropped or diverted.
    fn events_before(&self) -> u64 {
        self.ring.tally().events + self.dropped + self.diverted
    }

    /// The time since which the event that is about to wait has been waiting. If its last wait
    /// ended a moment ago, that wait continues.
    fn waits_since_ns(&mut self) -> u64 {
        let now_ns = clock::coarse_ns();
        let events = self.events_before();
        let stalled = self.stalled.take().filter(|stalled| {
            stalled.events == events && now_ns.saturating_sub(stalled.until_ns) < SAME_WAIT_NS
        });
        let Some(Stalled { since_ns, .. }) = stalled else { return now_ns };
        self.member.note(layout::WAIT_SINCE_NS, since_ns);
        since_ns
    }

    /// Repairs what is in the way and claims again, as long as that helps. One repair passes over
    /// one dead reader, or finishes one ticket, and there may be many.
    pub(super) fn claim_past_the_dead(
        &mut self,
        body_bytes: u64,
        mut refused: R::Refused,
    ) -> Result<R::Claim, (R::Refused, Repair)> {
        for _ in 0..REPAIRS_MAX {
            let repair = self.ring.repair(refused, &self.member.peers);
            if repair != Repair::Retry {
                return Err((refused, repair));
            }
            match self.ring.claim(body_bytes) {
                Ok(claim) => return Ok(claim),
                Err(again) => refused = again,
            }
        }
        Err((refused, Repair::Wait))
    }

    pub(super) fn has_no_worker(&self) -> bool {
        self.member.others_live(|policy| policy & 0xFF == registry::ROLE_WORKER) == Some(false)
    }

    #[cold]
    pub(super) fn claim_by_policy(
        &mut self,
        body_bytes: u64,
        refused: R::Refused,
    ) -> Result<R::Claim, SendError> {
        match self.overflow {
            // With lossy readers only, a claim is refused for a moment only, by a topic's slot that
            // is being written.
            Overflow::Block | Overflow::LossyReaders => self.claim_waiting(body_bytes, refused, None),
            Overflow::DropNewest | Overflow::Divert => {
                self.look_while_full()?;
                // Repair comes first. Otherwise a dead reader would make the channel drop events
                // without end.
                let (refused, _) = match self.claim_past_the_dead(body_bytes, refused) {
                    Ok(claim) => return Ok(claim),
                    Err(refused) => refused,
                };
                self.note_full(refused);
                Err(if self.overflow == Overflow::Divert { SendError::Full } else { self.drop_one() })
            }
        }
    }

    /// Counts an event that is lost because there was no room.
    pub(super) fn drop_one(&mut self) -> SendError {
        self.dropped += 1;
        self.member.note(layout::LOST_OR_DROPPED, self.dropped);
        // Counted for the channel, too. Other producers count in the same word. No order is needed.
        self.member.memories.ring.fetch_add(layout::DROPPED, 1, Edge::Plain);
        SendError::Dropped
    }

    /// If `error` is a lack of room, publishes the event in the channel that this one diverts to.
    /// Returns the error for the caller.
    #[cold]
    pub(super) fn divert(&mut self, error: SendError, payload: &[u8], attributes: &Attributes) -> SendError {
        let Some(diversion) = self.diversion.as_mut().filter(|_| error == SendError::Full) else {
            return error;
        };
        let header = self.member.channel.header();
        let mut attributes = *attributes;
        if let Some(clock) = &mut self.stamp {
            attributes.published_ns.get_or_insert_with(|| clock.now_ns());
        }
        attributes.origin.get_or_insert(Origin {
            channel: header.channel_word(),
            incarnation: header.incarnation,
            position: self.ring.position_committed(),
            attempts: 0,
            expired: false,
        });
        match diversion.try_divert(payload, &attributes) {
            Ok(position) => {
                self.diverted += 1;
                // Counted for the channel, as `DROPPED` is.
                self.member.memories.ring.fetch_add(layout::DIVERTED, 1, Edge::Plain);
                SendError::Diverted { position }
            }
            Err(_) => self.drop_one(),
        }
    }

    /// Waits for room, at most `timeout`. A timeout of zero is a try without a wait, which refuses
    /// with [`SendError::Full`].
    #[cold]
    pub(super) fn claim_waiting(
        &mut self,
        body_bytes: u64,
        refused: R::Refused,
        timeout: Option<Duration>,
    ) -> Result<R::Claim, SendError> {
        if timeout == Some(Duration::ZERO) {
            return self.claim_at_once(body_bytes, refused);
        }
        self.note_full(refused);
        let since_ns = self.waits_since_ns();
        let mut waiting = Waiting::new(self.wait, timeout);
        let mut sleeper = Sleeper::default();
        let mut has_slept = false;
        let mut refused = refused;
        let result = loop {
            match waiting.step() {
                Step::Poll => {}
                Step::TimedOut => break Err(self.timed_out(refused)),
                Step::Probe => {
                    match self.claim_past_the_dead(body_bytes, refused) {
                        Ok(claim) => break Ok(claim),
                        Err((again, _)) => refused = again,
                    }
                    if let (Some(stuck), Some(reader)) = (&mut self.stuck, self.ring.gate(refused)) {
                        let Member { channel, peers, memories, .. } = &self.member;
                        if let Err(error) = stuck.watch(channel, peers, &memories.acks, reader) {
                            break Err(SendError::CannotRepair(why_not_locked(&error)));
                        }
                    }
                    if self.member.is_removed() {
                        break Err(self.outlook.removed());
                    }
                    if self.member.peers.was_blind() {
                        break Err(SendError::CannotRepair(BLIND));
                    }
                    self.member.seen();
                    self.member.note(layout::WAIT_SINCE_NS, since_ns);
                    self.member.note(layout::WAIT_POSITION, self.ring.blocked_at(refused));
                }
                Step::Sleep(slice_ns) => {
                    has_slept = true;
                    let mut claim = Err(refused);
                    self.member.memories.sleep_for_space(&mut sleeper, slice_ns, || {
                        claim = self.ring.claim(body_bytes);
                        claim.is_ok()
                    });
                    if let Ok(claim) = claim {
                        break Ok(claim);
                    }
                }
            }
            match self.ring.claim(body_bytes) {
                Ok(claim) => break Ok(claim),
                Err(again) => refused = again,
            }
            if self.member.is_forked() {
                break Err(SendError::Forked);
            }
        };
        if !self.member.is_forked() {
            self.member.note(layout::WAIT_SINCE_NS, 0);
        }
        if matches!(result, Err(SendError::TimedOut | SendError::NoWorker)) {
            let (until_ns, events) = (clock::coarse_ns(), self.events_before());
            self.stalled = Some(Stalled { since_ns, until_ns, events });
        }
        if has_slept && result.is_ok() {
            // A worker wakes one producer for each event that it finishes, but one may make room for several.
            let Memories { ring, acks, .. } = self.member.memories;
            Nudge::new(layout::SPACE_WAKE, layout::PRODUCERS_PARKED).wake(&ring, &SharedFutex(acks), 1);
        }
        result
    }

    /// The error of a wait that ended without room.
    fn timed_out(&mut self, refused: R::Refused) -> SendError {
        self.refused = Some(refused);
        let hopeless = self.ring.repair(refused, &self.member.peers) == Repair::NeedsWorker;
        if hopeless && self.has_no_worker() { SendError::NoWorker } else { SendError::TimedOut }
    }
}
