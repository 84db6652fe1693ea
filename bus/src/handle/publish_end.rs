//! The producing end of a ring: what the three kinds of ring have in common for producers.

use railbus_ring::frame;
use railbus_ring::members::peers::Peers;
use railbus_ring::slots::producer::{NoSlot, SlotProducer, Tickets};
use railbus_ring::stream::publisher::{self as stream_publisher, NoRoom, StreamPublisher};
use railbus_ring::tally::Tally;

use crate::channel::mapped::Trusted;

/// The result of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Something changed: try again.
    Retry,
    /// There is nothing to repair: a live peer must move.
    Wait,
    /// Events wait to be taken: only a worker can help.
    NeedsWorker,
}

/// The obstacle in a producer's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The reader in this consumer entry; `None` if it has moved on in the meantime.
    Reader(Option<usize>),
    /// Queue: this event is not done.
    NotDone(u64),
    /// Topic: the event at this position is being written.
    Unpublished(u64),
    /// All credits of the producer are used up by unfinished events.
    OutOfCredits {
        /// The number of credits that it has.
        credits: usize,
        /// The oldest unfinished event.
        oldest: u64,
        /// Topic: the reader that holds that event back.
        reader: Option<usize>,
    },
}

/// The producing end of a ring. It is implemented by the three kinds, and not for users to
/// implement.
pub trait PublishEnd {
    /// Room for one event.
    type Claim: Copy + std::fmt::Debug;
    /// The reason why there is no room.
    type Refused: Copy + std::fmt::Debug;

    /// Whether the end reports each event to observers at once. Otherwise the handle reports its
    /// events when it takes a slow path, and observers count what was committed since.
    const TELLS_EACH: bool;

    /// Claims room for a body of `body_bytes`, at most [`Self::body_max`].
    fn claim(&mut self, body_bytes: u64) -> Result<Self::Claim, Self::Refused>;
    /// As [`Self::claim`], but only if that takes no more than a comparison or two, and not in a
    /// batch.
    fn claim_fast(&mut self, body_bytes: u64) -> Option<Self::Claim>;
    /// As [`Self::commit`], for a claim of [`Self::claim_fast`].
    fn commit_fast(&mut self, claim: Self::Claim, header: u64);
    /// Publishes `payloads`, without extensions, on the fast path until one needs the slow path.
    /// Returns how many were published. `put` copies a payload to a byte offset in the data. Rings
    /// for which batching gains nothing keep the default, which publishes none.
    #[inline(always)]
    fn publish_all_fast<'a>(
        &mut self,
        _payloads: impl Iterator<Item = &'a [u8]>,
        _put: impl Fn(usize, &[u8]),
    ) -> usize {
        0
    }
    /// Limits the fast path: after at most `bytes`, counted from the next claim, one claim takes
    /// the slow path. It has no effect on a kind that does not count bytes.
    fn ease(&mut self, _bytes: u64) {}
    /// Prepares for `events` events that are published together.
    fn begin_batch(&mut self, _events: usize) {}
    /// Ends a batch.
    fn end_batch(&mut self) {}
    /// The byte offset in the data where the claim's body begins.
    fn body_offset(&self, claim: Self::Claim) -> usize;
    /// The event's position.
    fn position(&self, claim: Self::Claim) -> u64;
    /// Makes the event visible.
    fn commit(&mut self, claim: Self::Claim, header: u64);
    /// Gives the room back.
    fn abort(&mut self, claim: Self::Claim);
    /// The counts of events and bytes that were committed through this end.
    fn tally(&self) -> Tally;
    /// The largest body, in bytes.
    fn body_max(&self) -> u64;
    /// Repairs the obstacle that refused a claim, if its owner is dead.
    fn repair<P: Peers>(&mut self, refused: Self::Refused, peers: &P) -> Repair;
    /// The next position. A stream's events are committed up to here.
    fn position_committed(&self) -> u64;
    /// Measures the pressure again, and returns whether the channel is under pressure.
    fn look_at_pressure(&mut self) -> bool;
    /// The obstacle that refused a claim, as far as the ring shows it.
    fn obstacle(&self, refused: Self::Refused) -> Obstacle;
    /// The position that everybody waits for when a claim is refused, for observers.
    fn blocked_at(&self, refused: Self::Refused) -> u64;
    /// The consumer entry of the reader that is in the way, if it is a reader.
    fn gate(&self, refused: Self::Refused) -> Option<usize>;
}

/// The producing end of a stream.
#[derive(Debug)]
pub struct StreamPublishEnd {
    pub(crate) core: StreamPublisher<Trusted>,
}

impl StreamPublishEnd {
    pub(crate) fn new(core: StreamPublisher<Trusted>) -> StreamPublishEnd {
        StreamPublishEnd { core }
    }
}

impl PublishEnd for StreamPublishEnd {
    type Claim = stream_publisher::Claim;
    type Refused = NoRoom;
    const TELLS_EACH: bool = false;

    #[inline(always)]
    fn claim(&mut self, body_bytes: u64) -> Result<Self::Claim, Self::Refused> {
        self.core.claim(body_bytes)
    }

    #[inline(always)]
    fn claim_fast(&mut self, body_bytes: u64) -> Option<Self::Claim> {
        self.core.claim_fast(body_bytes)
    }

    #[inline(always)]
    fn commit_fast(&mut self, claim: Self::Claim, header: u64) {
        self.core.commit_fast(claim, header);
    }

    #[inline(always)]
    fn publish_all_fast<'a>(
        &mut self,
        payloads: impl Iterator<Item = &'a [u8]>,
        put: impl Fn(usize, &[u8]),
    ) -> usize {
        self.core.publish_all_fast(payloads, put)
    }

    fn ease(&mut self, bytes: u64) {
        self.core.ease(bytes);
    }

    #[inline(always)]
    fn body_offset(&self, claim: Self::Claim) -> usize {
        self.core.body_offset(claim)
    }

    #[inline(always)]
    fn position(&self, claim: Self::Claim) -> u64 {
        claim.position()
    }

    #[inline(always)]
    fn commit(&mut self, claim: Self::Claim, header: u64) {
        self.core.commit(claim, header);
    }

    fn abort(&mut self, _claim: Self::Claim) {
        // Nothing was visible. The next claim takes the same room.
    }

    #[inline(always)]
    fn tally(&self) -> Tally {
        self.core.tally()
    }

    fn body_max(&self) -> u64 {
        self.core.body_max()
    }

    fn repair<P: Peers>(&mut self, refused: Self::Refused, peers: &P) -> Repair {
        match refused {
            NoRoom::Gate(reader) if self.core.pass_over_dead(reader, peers) => Repair::Retry,
            _ => Repair::Wait,
        }
    }

    fn position_committed(&self) -> u64 {
        self.core.place().position
    }

    fn look_at_pressure(&mut self) -> bool {
        self.core.look_at_pressure()
    }

    fn obstacle(&self, refused: Self::Refused) -> Obstacle {
        Obstacle::Reader(self.gate(refused).or_else(|| self.core.slowest().entry))
    }

    fn blocked_at(&self, _refused: Self::Refused) -> u64 {
        self.core.place().position
    }

    fn gate(&self, refused: Self::Refused) -> Option<usize> {
        match refused {
            NoRoom::Gate(reader) => Some(reader).filter(|&reader| reader != usize::MAX),
            NoRoom::TooLong => None,
        }
    }
}

/// The producing end of a slot ring: a queue's or a topic's.
#[derive(Debug)]
pub struct SlotPublishEnd<const TOPIC: bool> {
    pub(crate) core: SlotProducer<Trusted, TOPIC>,
    /// Tickets that were won for a batch and not used yet.
    won: Tickets,
    /// The number of events that the batch still needs.
    wanted: usize,
    /// The largest body, in bytes.
    body_max: u64,
    tally: Tally,
}

impl<const TOPIC: bool> SlotPublishEnd<TOPIC> {
    pub(crate) fn new(core: SlotProducer<Trusted, TOPIC>) -> Self {
        let body_max = core.body_max();
        SlotPublishEnd {
            core,
            won: Tickets { first: 0, count: 0 },
            wanted: 0,
            body_max,
            tally: Tally::default(),
        }
    }

    /// The oldest ticket of this producer that has not given its credit back.
    fn oldest_unfinished(&self) -> u64 {
        self.core.credits().and_then(|(_, oldest)| oldest).unwrap_or_else(|| self.core.tail())
    }

    /// Counts an event that was published past this end.
    pub(crate) fn count(&mut self, payload_bytes: u32) {
        self.tally.add(payload_bytes.into());
    }

    /// Claims for a batch, and where credits are counted.
    #[cold]
    fn claim_counted(&mut self) -> Result<u64, NoSlot> {
        if self.won.count == 0 {
            // Only up to 64 at a time, so that a batch does not keep readers of its first events
            // waiting.
            let wanted = self.core.credit(self.wanted.clamp(1, 64) as u32)?;
            self.won = self.core.claim(wanted)?;
            self.core.spend(self.won);
        }
        let ticket = self.won.first;
        self.won = Tickets { first: ticket + 1, count: self.won.count - 1 };
        self.wanted = self.wanted.saturating_sub(1);
        Ok(ticket)
    }
}

impl<const TOPIC: bool> PublishEnd for SlotPublishEnd<TOPIC> {
    type Claim = u64;
    type Refused = NoSlot;
    const TELLS_EACH: bool = true;

    #[inline(always)]
    fn claim(&mut self, _body_bytes: u64) -> Result<u64, Self::Refused> {
        if self.wanted > 0 || self.won.count > 0 || self.core.has_credits() {
            return self.claim_counted();
        }
        self.core.claim(1).map(|tickets| tickets.first)
    }

    #[inline(always)]
    fn claim_fast(&mut self, body_bytes: u64) -> Option<u64> {
        // A batch is over, and its tickets are used up, when it ends.
        if body_bytes > self.body_max { None } else { self.core.claim_fast() }
    }

    #[inline(always)]
    fn commit_fast(&mut self, ticket: u64, header: u64) {
        self.core.publish(ticket, header);
        self.tally.add(frame::body_bytes(header) as u64);
    }

    fn begin_batch(&mut self, events: usize) {
        self.wanted = events;
    }

    fn end_batch(&mut self) {
        self.wanted = 0;
        for i in 0..self.won.count as u64 {
            self.core.abort(self.won.first + i);
        }
        self.won.count = 0;
    }

    #[inline(always)]
    fn body_offset(&self, ticket: u64) -> usize {
        self.core.body_offset(ticket)
    }

    #[inline(always)]
    fn position(&self, ticket: u64) -> u64 {
        ticket
    }

    #[inline(always)]
    fn commit(&mut self, ticket: u64, header: u64) {
        self.core.publish(ticket, header);
        self.tally.add(frame::payload_bytes(header) as u64);
    }

    #[inline(always)]
    fn tally(&self) -> Tally {
        self.tally
    }

    fn abort(&mut self, ticket: u64) {
        self.core.abort(ticket);
    }

    fn body_max(&self) -> u64 {
        self.core.body_max()
    }

    fn repair<P: Peers>(&mut self, refused: Self::Refused, peers: &P) -> Repair {
        match refused {
            NoSlot::NotDone(_) => Repair::NeedsWorker,
            NoSlot::OutOfCredits if !TOPIC => Repair::NeedsWorker,
            _ if self.core.repair(refused, peers) => Repair::Retry,
            _ => Repair::Wait,
        }
    }

    fn position_committed(&self) -> u64 {
        self.core.tail()
    }

    fn blocked_at(&self, refused: Self::Refused) -> u64 {
        match refused {
            NoSlot::NotDone(t) | NoSlot::NotPublished(t) => t,
            NoSlot::Gate(_) => self.core.tail(),
            NoSlot::OutOfCredits => self.oldest_unfinished(),
        }
    }

    fn look_at_pressure(&mut self) -> bool {
        self.core.look_at_pressure()
    }

    fn obstacle(&self, refused: Self::Refused) -> Obstacle {
        match refused {
            NoSlot::NotDone(t) => Obstacle::NotDone(t),
            NoSlot::NotPublished(t) => Obstacle::Unpublished(t),
            NoSlot::Gate(reader) => Obstacle::Reader(Some(reader)),
            NoSlot::OutOfCredits => Obstacle::OutOfCredits {
                credits: self.core.credits().map_or(0, |(credits, _)| credits),
                oldest: self.oldest_unfinished(),
                reader: self.gate(refused),
            },
        }
    }

    fn gate(&self, refused: Self::Refused) -> Option<usize> {
        match refused {
            NoSlot::Gate(reader) => Some(reader),
            NoSlot::OutOfCredits if TOPIC => self.core.slowest(self.oldest_unfinished()).entry,
            _ => None,
        }
    }
}
