//! A client: it calls, and waits for replies.

use std::time::Duration;

use railbus_os::clock;
use railbus_ring::layout::replies::{ROOM_PARKED, ROOM_WAKE};
use railbus_ring::members::park::Waker;
use railbus_ring::replies::reader::{Incoming, ReplyReader};
use railbus_ring::slots::word::Slots;

use super::call::{Arrival, Call, Flight, Use};
use super::error::CallError;
use super::head::{self, RequestHead};
use super::options::{CallOptions, ClientOptions};
use crate::SlotPublishEnd;
use crate::channel::mapped::Trusted;
use crate::channel::memories::SharedFutex;
use crate::channel::span::slots_of;
use crate::error::SendError;
use crate::event::Attributes;
use crate::handle::sender::Sender;
use crate::handle::wait::{Idle, Wait};

/// How long a wait for room lasts before the client reads what has come, and looks for servers again.
const ROOM_SLICE: Duration = Duration::from_millis(5);
const ROOM_SLICE_MIN: Duration = Duration::from_micros(50);

/// A registered client of a service, opened with [`Channel::client`](crate::Channel::client).
///
/// [`Client::call`] sends a request and waits for its reply. [`Client::start`] sends it and returns a
/// [`Call`], so that many calls can be under way: as many as the service has reply slots for each
/// client. [`Client::poll`] and [`Client::wait`] return how a call has ended, and
/// [`Client::next_part`] returns a reply part by part.
///
/// Each call ends in exactly one way: with its reply, or with a [`CallError`]. A call that has no
/// timeout ends, too, if its server dies or if no server is left.
///
/// # Threads and processes
/// A client is `Send` but not `Sync`: one thread uses it at a time. After `fork` it belongs to the
/// parent. In the child every call returns [`CallError::Forked`].
///
/// Dropping a client withdraws its calls.
#[derive(Debug)]
pub struct Client {
    pub(super) sender: Sender<SlotPublishEnd<false>>,
    pub(super) replies: ReplyReader<Trusted>,
    pub(super) flights: Box<[Flight]>,
    /// The slot to try first.
    next: usize,
    /// Wakes servers that wait until this client has read.
    room: Waker,
    pub(super) slots: Slots,
    pub(super) wait: Wait,
    pub(super) patience: Duration,
    pub(super) max_attempts: u32,
    /// The entry of a server that was there.
    pub(super) server: usize,
    pub(super) idle: Idle,
    calls: u64,
}

impl Client {
    pub(super) fn new(
        sender: Sender<SlotPublishEnd<false>>,
        replies: ReplyReader<Trusted>,
        incoming: Incoming,
        options: &ClientOptions,
    ) -> Client {
        let geometry = replies.view.geometry;
        let index = sender.member.registered.index;
        Client {
            flights: (0..geometry.slots()).map(|_| Flight::new(incoming)).collect(),
            next: 0,
            room: Waker::new(geometry.client(index) + ROOM_WAKE, geometry.inbox(index) + ROOM_PARKED),
            slots: slots_of(sender.channel()),
            wait: options.wait,
            patience: options.patience,
            max_attempts: sender.channel().header().max_attempts,
            server: 0,
            idle: Idle::default(),
            calls: 0,
            sender,
            replies,
        }
    }

    /// Sends a request and waits for the reply, without a limit in time.
    ///
    /// # Errors
    /// [`CallError::NoServer`], [`CallError::PeerGone`] and [`CallError::Failed`] say how the call has
    /// ended. [`CallError::TooLong`]; [`CallError::Busy`] while as many calls are under way as the
    /// service allows; [`CallError::Removed`]; [`CallError::Evicted`]; [`CallError::Forked`];
    /// [`CallError::CannotRepair`]; [`CallError::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::Bus;
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{CallError, ChannelOptions, ClientOptions};
    ///
    /// let calc = bus.create("calc", &ChannelOptions::service())?;
    /// let mut client = calc.client(&ClientOptions::default())?;
    /// assert_eq!(client.call(b"2 + 2"), Err(CallError::NoServer), "nobody serves it");
    /// # Ok(())
    /// # }
    /// ```
    pub fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, CallError> {
        self.call_with(request, &CallOptions::default())
    }

    /// As [`Self::call`], but the call takes `timeout` at most.
    ///
    /// # Errors
    /// [`CallError::TimedOut`]; otherwise those of [`Self::call`].
    pub fn call_timeout(&mut self, request: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError> {
        self.call_with(request, &CallOptions::default().timeout(timeout))
    }

    /// As [`Self::call`], with options.
    ///
    /// # Errors
    /// Those of [`Self::call_timeout`].
    pub fn call_with(&mut self, request: &[u8], options: &CallOptions) -> Result<Vec<u8>, CallError> {
        let call = self.start(request, options)?;
        self.wait(call)
    }

    /// Sends a request, and returns at once: the call is under way. It waits only while there is no room
    /// for the request.
    ///
    /// # Errors
    /// Those of [`Self::call_timeout`]. Then nothing is under way.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::Bus;
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{CallOptions, ChannelOptions, ClientOptions, ServerOptions};
    ///
    /// let calc = bus.create("calc", &ChannelOptions::service())?;
    /// let mut server = calc.server(&ServerOptions::default())?;
    /// let mut client = calc.client(&ClientOptions::default())?;
    /// let calls = [b"one", b"two"].map(|request| client.start(request, &CallOptions::default()));
    /// for _ in &calls {
    ///     let request = server.take()?;
    ///     let reply = request.to_ascii_uppercase();
    ///     request.reply(&reply)?;
    /// }
    /// for (call, reply) in calls.into_iter().zip([b"ONE", b"TWO"]) {
    ///     assert_eq!(client.wait(call?)?, reply);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(&mut self, request: &[u8], options: &CallOptions) -> Result<Call, CallError> {
        if self.sender.member.is_forked() {
            return Err(CallError::Forked);
        }
        let deadline_ns = match options.timeout {
            Some(timeout) => {
                let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
                clock::host_ns().saturating_add(timeout_ns)
            }
            None => u64::MAX,
        };
        let alone_since_ns = self.check_servers()?;
        let slot = self.free_slot()?;
        let flight = &mut self.flights[slot];
        flight.begin(deadline_ns);
        flight.alone_since_ns = alone_since_ns;
        let call = self.replies.begin(slot, &mut flight.incoming);
        let deadline_ns = if deadline_ns == u64::MAX { 0 } else { deadline_ns };
        let head = RequestHead { call, deadline_ns }.encode();
        // Nothing was published under this number unless `send` returns a position.
        flight.used_for = Use::Free;
        let position = self.send(slot, &head, request, options)?;
        let flight = &mut self.flights[slot];
        (flight.position, flight.used_for) = (position, Use::Running);
        self.calls += 1;
        Ok(Call { slot: slot as u32, number: call.number })
    }

    #[inline(always)]
    fn free_slot(&mut self) -> Result<usize, CallError> {
        let count = self.flights.len();
        for i in 0..count {
            let slot = (self.next + i) % count;
            let peers = &self.sender.member.peers;
            if self.flights[slot].is_free(slot, &self.replies, self.slots, peers) {
                self.next = slot + 1;
                return Ok(slot);
            }
        }
        Err(CallError::Busy)
    }

    /// Publishes a request. Returns its position.
    #[inline(always)]
    fn send(
        &mut self,
        slot: usize,
        head: &[u8; head::BYTES],
        request: &[u8],
        options: &CallOptions,
    ) -> Result<u64, CallError> {
        let bytes = head::BYTES + request.len();
        if options.trace.is_none()
            && let Ok(mut claim) = self.sender.try_claim(bytes)
        {
            claim[..head::BYTES].copy_from_slice(head);
            claim[head::BYTES..].copy_from_slice(request);
            return Ok(claim.commit());
        }
        let attributes = Attributes::default().trace(options.trace);
        let mut slice = Duration::ZERO;
        loop {
            let left_ns = match self.flights[slot].deadline_ns {
                u64::MAX => u64::MAX,
                deadline_ns => deadline_ns.saturating_sub(clock::host_ns()),
            };
            // The server that is to make room may wait until this client has read.
            slice =
                if self.absorb() { ROOM_SLICE_MIN } else { (slice * 2).clamp(ROOM_SLICE_MIN, ROOM_SLICE) };
            let slice = slice.min(Duration::from_nanos(left_ns));
            let refused = match self.sender.claim_with_timeout(bytes, &attributes, slice) {
                Ok(mut claim) => {
                    claim[..head::BYTES].copy_from_slice(head);
                    claim[head::BYTES..].copy_from_slice(request);
                    return Ok(claim.commit());
                }
                Err(refused) => refused,
            };
            match refused {
                SendError::TimedOut | SendError::Full | SendError::NoWorker if left_ns > 0 => {
                    self.check_patience(slot)?;
                }
                SendError::TooLong { max, .. } => {
                    let max = max.saturating_sub(head::BYTES);
                    return Err(CallError::TooLong { bytes: request.len(), max });
                }
                SendError::Full | SendError::NoWorker => return Err(CallError::TimedOut),
                error => return Err(error.into()),
            }
        }
    }

    /// The slot of a call that is under way.
    pub(super) fn slot_of(&self, call: Call) -> Result<usize, CallError> {
        if self.sender.member.is_forked() {
            return Err(CallError::Forked);
        }
        let slot = call.slot as usize;
        match self.flights.get(slot) {
            Some(flight) if flight.used_for == Use::Running && flight.incoming.number() == call.number => {
                Ok(slot)
            }
            _ => Err(CallError::Unknown),
        }
    }

    /// Reads what has come for a call.
    #[inline(always)]
    pub(super) fn look(&mut self, slot: usize, by_parts: bool) -> Arrival {
        let Client { flights, replies, room, .. } = self;
        let (own, peers) = (replies.view.ring, replies.view.done);
        flights[slot].look(slot, replies, by_parts, || {
            room.wake(&own, &peers, &SharedFutex(own), || i32::MAX as u32);
        })
    }

    /// Reads what has come for all calls, so that no server waits for this client while this client waits
    /// for a server. Returns whether anything has come.
    pub(super) fn absorb(&mut self) -> bool {
        let Client { flights, replies, room, .. } = self;
        let (own, peers) = (replies.view.ring, replies.view.done);
        let mut has_read = false;
        for (slot, flight) in flights.iter_mut().enumerate() {
            if flight.used_for == Use::Running {
                has_read |= flight.absorb(slot, replies, || {
                    room.wake(&own, &peers, &SharedFutex(own), || i32::MAX as u32);
                });
            }
        }
        has_read
    }

    /// The whole reply of a call that has ended.
    pub(super) fn reply_of(&mut self, slot: usize, end: Result<(), CallError>) -> Result<Vec<u8>, CallError> {
        let reply = std::mem::take(&mut self.flights[slot].reply);
        end.map(|()| reply)
    }

    /// Ends a call for which nothing is waited any more.
    pub(super) fn end(&mut self, slot: usize) {
        self.flights[slot].withdraw(slot, &self.replies);
    }

    /// Cancels a call. Its request is withdrawn: no server gets it any more, and one that has it can find
    /// out ([`Request::is_cancelled`](crate::Request::is_cancelled)). Returns false if the call has ended
    /// before.
    pub fn cancel(&mut self, call: Call) -> bool {
        let Ok(slot) = self.slot_of(call) else { return false };
        self.end(slot);
        true
    }

    /// The number of calls under way.
    pub fn under_way(&self) -> usize {
        self.flights.iter().filter(|flight| flight.used_for == Use::Running).count()
    }

    /// The number of calls that this client has made.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The most bytes that a request may have, without a trace context.
    pub fn request_max(&self) -> usize {
        self.sender.payload_max().saturating_sub(head::BYTES)
    }

    /// The number of servers that live. Makes a system call for each.
    pub fn servers(&self) -> usize {
        self.sender.readers()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.sender.member.is_forked() {
            for slot in 0..self.flights.len() {
                if self.flights[slot].used_for == Use::Running {
                    self.end(slot);
                }
            }
        }
    }
}
