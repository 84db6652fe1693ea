//! A server: it takes requests, one at a time or several, and replies.

use std::time::Duration;

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::layout::replies::{REPLY_PARKED, REPLY_WAKE, ROOM_PARKED, ROOM_WAKE};
use railbus_ring::members::park::{Sleeper, Waker};
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::{Status, generation, status};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::replies::word::{CallId, NUMBER_BITS};
use railbus_ring::replies::writer::{ReplyDelivery, ReplyWriter, Then, Unwritten};

use super::error::ReplyError;
use super::head::RequestHead;
use super::request::{Accepted, Request};
use crate::channel::mapped::Trusted;
use crate::channel::memories::SharedFutex;
use crate::error::RecvError;
use crate::handle::wait::{Step, Wait, Waiting};
use crate::handle::worker::{Ticket, Worker};

/// How long a server polls for room before it sleeps.
const SPIN: Duration = Duration::from_micros(20);
/// The pause of a server that waits until an evicted one has left a reply slot.
const PAUSE: Duration = Duration::from_micros(200);
/// How often the kernel is asked whether a client lives, at most.
const ASK_NS: u64 = 1_000_000;

/// A registered server of a service, opened with [`Channel::server`](crate::Channel::server).
///
/// [`Server::take`] returns a [`Request`], which the server replies to. Requests whose clients do not wait
/// any more are passed over. If a server dies, another one gets its requests, or their calls end with
/// [`CallError::PeerGone`](crate::CallError::PeerGone), as the service was created.
///
/// # Eviction
/// A server may be evicted, as a [`Worker`](crate::Worker) may. From then on its replies are refused with
/// [`ReplyError::Evicted`].
///
/// # Threads and processes
/// A server is `Send` but not `Sync`: one thread uses it at a time. After `fork` it belongs to the parent.
///
/// Dropping a server hands back every request that it holds.
#[derive(Debug)]
pub struct Server {
    worker: Worker,
    replies: ReplyWriter<Trusted>,
    /// One for each client.
    wakers: Box<[Waker]>,
    max_attempts: u32,
    served: u64,
    withdrawn: u64,
}

impl Server {
    pub(super) fn new(worker: Worker, replies: ReplyWriter<Trusted>) -> Server {
        let geometry = replies.view.geometry;
        let waker =
            |client| Waker::new(geometry.inbox(client) + REPLY_WAKE, geometry.client(client) + REPLY_PARKED);
        Server {
            wakers: (0..geometry.clients()).map(waker).collect(),
            max_attempts: worker.participant().channel.header().max_attempts,
            served: 0,
            withdrawn: 0,
            worker,
            replies,
        }
    }

    /// Returns the next request, and waits for it without end, in the way that the handle's
    /// [`Wait`] sets.
    ///
    /// # Errors
    /// [`RecvError::Evicted`]; [`RecvError::Removed`]; [`RecvError::CannotRepair`];
    /// [`RecvError::Corrupt`]; [`RecvError::Forked`].
    pub fn take(&mut self) -> Result<Request<'_>, RecvError> {
        loop {
            let ticket = self.worker.take()?.keep();
            if let Some(accepted) = self.accept(ticket) {
                return Ok(Request::new(self, accepted));
            }
        }
    }

    /// Returns the next request if there is one. Never blocks.
    ///
    /// # Errors
    /// Those of [`Self::take`].
    pub fn try_take(&mut self) -> Result<Option<Request<'_>>, RecvError> {
        while let Some(ticket) = self.worker.take_ticket()? {
            if let Some(accepted) = self.accept(ticket) {
                return Ok(Some(Request::new(self, accepted)));
            }
        }
        Ok(None)
    }

    /// As [`Self::take`], but it waits at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`]; otherwise those of [`Self::take`].
    pub fn take_timeout(&mut self, timeout: Duration) -> Result<Request<'_>, RecvError> {
        let until_ns = clock::monotonic_ns().saturating_add(timeout.as_nanos().min(u64::MAX as u128) as u64);
        loop {
            let left = Duration::from_nanos(until_ns.saturating_sub(clock::monotonic_ns()));
            let ticket = self.worker.take_ticket_timeout(left)?;
            if let Some(accepted) = self.accept(ticket) {
                return Ok(Request::new(self, accepted));
            }
        }
    }

    /// Goes on with a request that was kept ([`Request::keep`]).
    pub fn resume(&mut self, accepted: Accepted) -> Request<'_> {
        Request::new(self, accepted)
    }

    /// The number of requests that this server has replied to, or failed.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// The number of requests that were passed over because their clients did not wait any more.
    pub fn withdrawn(&self) -> u64 {
        self.withdrawn
    }

    /// Whether this server was evicted.
    pub fn is_evicted(&self) -> bool {
        self.worker.is_evicted()
    }

    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The request of a ticket, if it is to be answered. Otherwise it is finished.
    #[inline(always)]
    fn accept(&mut self, ticket: Ticket) -> Option<Accepted> {
        let head = self.worker.event(ticket).and_then(|event| RequestHead::decode(event.payload()));
        let call = head.and_then(|RequestHead { call: CallId { client, slot, number }, .. }| {
            self.replies.checked(client, slot, number)
        });
        let (Some(call), Some(RequestHead { deadline_ns, .. })) = (call, head) else {
            // No client of this project writes such a request.
            return self.pass_over(ticket);
        };
        let is_again = ticket.attempt() > 1;
        let accepted =
            Accepted { ticket, delivery: ReplyDelivery::new(call, is_again), deadline_ns, asked_ns: 0 };
        if self.is_void(&accepted) {
            return self.pass_over(ticket);
        }
        if is_again && self.max_attempts > 0 && ticket.attempt() > self.max_attempts {
            // As often as the service allows: nobody gets it any more.
            let mut accepted = accepted;
            let _ = self.put_all(&mut accepted, b"", Then::GivenUp);
            return self.pass_over(ticket);
        }
        self.replies.prepare(call);
        Some(accepted)
    }

    #[cold]
    fn pass_over(&mut self, ticket: Ticket) -> Option<Accepted> {
        self.withdrawn += 1;
        // If it is refused, this worker was evicted, and finds that out at its next take.
        let _ = self.worker.done(ticket);
        None
    }

    /// Whether the client does not wait for a reply any more, as far as shared memory shows it.
    #[inline(always)]
    fn is_void(&self, accepted: &Accepted) -> bool {
        let call = accepted.delivery.call;
        let entry = layout::entry(call.client as usize) + layout::STATE;
        // STATE: the words of the client's generation are there.
        let state = self.replies.view.ring.load(entry, Edge::State);
        let is_of = (generation(state) << NUMBER_BITS) >> NUMBER_BITS == call.number >> NUMBER_BITS;
        let is_late = || accepted.deadline_ns != 0 && accepted.deadline_ns <= clock::host_ns();
        !self.replies.view.is_wanted(call) || !is_of || status(state) != Status::Active || is_late()
    }

    /// Whether the client does not wait any more. Asks the kernel about it now and then.
    pub(super) fn is_cancelled(&self, accepted: &mut Accepted) -> bool {
        if self.is_void(accepted) {
            return true;
        }
        let now_ns = clock::coarse_ns();
        if now_ns.saturating_sub(accepted.asked_ns) < ASK_NS {
            return false;
        }
        accepted.asked_ns = now_ns;
        self.is_client_dead(accepted.delivery.call)
    }

    fn is_client_dead(&self, call: CallId) -> bool {
        self.worker.participant().peers.is_dead(Side::Producers, call.client as usize)
    }

    /// Writes a part of a reply, and the end of the reply if `then` says so. Waits for room.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        accepted: &mut Accepted,
        bytes: &[u8],
        then: Then,
    ) -> Result<(), ReplyError> {
        let is_end = !matches!(then, Then::More | Then::Part);
        let written = self.put_all(accepted, bytes, then);
        match written {
            Ok(()) if is_end => {
                self.served += 1;
                if self.worker.done(accepted.ticket) { Ok(()) } else { Err(ReplyError::Evicted) }
            }
            Err(ReplyError::Cancelled) => {
                let _ = self.worker.done(accepted.ticket);
                written
            }
            _ => written,
        }
    }

    #[inline(always)]
    fn put_all(&mut self, accepted: &mut Accepted, bytes: &[u8], then: Then) -> Result<(), ReplyError> {
        let client = accepted.delivery.call.client as usize;
        let (mut at, mut waiting) = (0, None);
        loop {
            let member = self.worker.participant();
            if member.is_forked() {
                return Err(ReplyError::Forked);
            }
            let is_fenced = || self.worker.is_fenced();
            match self.replies.put(&mut accepted.delivery, &bytes[at..], then, is_fenced, &member.peers) {
                Ok(taken) => {
                    at += taken;
                    self.wake(client);
                    if at == bytes.len() {
                        return Ok(());
                    }
                }
                Err(Unwritten::Withdrawn) => return Err(ReplyError::Cancelled),
                Err(Unwritten::Fenced) => return Err(ReplyError::Evicted),
                Err(refused) => self.wait_for_room(accepted, refused, &mut waiting)?,
            }
        }
    }

    /// Wakes the client.
    #[inline(always)]
    fn wake(&mut self, client: usize) {
        let view = &self.replies.view;
        let (own, peers) = (view.done, view.ring);
        self.wakers[client].wake(&own, &peers, &SharedFutex(own), || i32::MAX as u32);
    }

    /// One step of a wait until the client has read, or until an evicted server has left the slot.
    #[cold]
    fn wait_for_room(
        &mut self,
        accepted: &mut Accepted,
        refused: Unwritten,
        waiting: &mut Option<(Waiting, Sleeper)>,
    ) -> Result<(), ReplyError> {
        let call = accepted.delivery.call;
        if refused == Unwritten::Occupied {
            std::thread::sleep(PAUSE);
        }
        let (waiting, sleeper) = waiting
            .get_or_insert_with(|| (Waiting::new(Wait::Park { spin: SPIN }, None), Sleeper::default()));
        match waiting.step() {
            Step::Probe => {
                let member = self.worker.participant();
                member.seen();
                let is_gone = self.is_client_dead(call) || member.is_removed();
                if is_gone || self.is_void(accepted) {
                    return Err(ReplyError::Cancelled);
                }
            }
            Step::Sleep(slice_ns) if refused == Unwritten::Full => {
                let (view, client) = (&self.replies.view, call.client as usize);
                let wake_at = view.geometry.client(client) + ROOM_WAKE;
                let parked_at = [view.geometry.inbox(client) + ROOM_PARKED];
                let words = (wake_at, &parked_at[..]);
                let has_room = || self.replies.has_room(&accepted.delivery);
                sleeper.sleep(&view.done, &view.ring, &SharedFutex(view.ring), words, slice_ns, has_room);
            }
            Step::Poll | Step::Sleep(_) | Step::TimedOut => {}
        }
        Ok(())
    }

    /// Hands a request back, for another server or this one. If nobody may get it any more, its call
    /// ends.
    pub(super) fn hand_back(&mut self, accepted: &mut Accepted) {
        let is_last = self.max_attempts > 0 && accepted.ticket.attempt() >= self.max_attempts;
        if is_last {
            let _ = self.put(accepted, b"", Then::GivenUp);
        } else {
            self.worker.retry(accepted.ticket);
        }
    }

    /// The trace context of a request.
    pub(super) fn trace_of(&self, accepted: &Accepted) -> Option<crate::TraceContext> {
        let event = self.worker.event(accepted.ticket)?;
        event.trace()
    }
}
