//! A request that a server holds.

use std::mem::ManuallyDrop;
use std::time::Duration;

use railbus_os::clock;
use railbus_ring::replies::writer::{ReplyDelivery, Then};

use super::error::ReplyError;
use super::head;
use super::server::Server;
use crate::event::TraceContext;
use crate::handle::worker::Ticket;

/// A request that a server keeps while it goes on, as [`Request::keep`] returns it.
/// [`Server::resume`] makes a [`Request`] of it again.
#[derive(Debug)]
#[must_use = "the request stays with the server until it is resumed, or the server is dropped"]
pub struct Accepted {
    pub(super) ticket: Ticket,
    pub(super) delivery: ReplyDelivery,
    pub(super) deadline_ns: u64,
    /// When the kernel was last asked about the client.
    pub(super) asked_ns: u64,
}

impl Accepted {
    /// The position of the request in the service.
    pub fn position(&self) -> u64 {
        self.ticket.position()
    }
}

/// A request that a server holds. It dereferences to its bytes.
///
/// [`Request::reply`] or [`Request::fail`] ends its call. A request that is dropped without one of them is
/// handed back: another server gets it, or its call ends with
/// [`CallError::PeerGone`](crate::CallError::PeerGone) if it was delivered as often as the service allows.
#[derive(Debug)]
#[must_use = "a request that is dropped is handed back, and delivered again"]
pub struct Request<'a> {
    server: &'a mut Server,
    accepted: Accepted,
}

impl<'a> Request<'a> {
    pub(super) fn new(server: &'a mut Server, accepted: Accepted) -> Request<'a> {
        Request { server, accepted }
    }

    /// The bytes of the request, in place. Empty if the server was evicted.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let event = self.server.worker().event(self.accepted.ticket);
        event.and_then(|event| event.payload().get(head::BYTES..)).unwrap_or_default()
    }

    /// The number of this delivery, counted from 1. It is 1 in a service that is at most once.
    pub fn attempt(&self) -> u32 {
        self.accepted.ticket.attempt()
    }

    /// The position of the request in the service.
    pub fn position(&self) -> u64 {
        self.accepted.position()
    }

    /// How long the client still waits; `None` for a client that waits without end.
    pub fn deadline(&self) -> Option<Duration> {
        let deadline_ns = self.accepted.deadline_ns;
        (deadline_ns != 0).then(|| Duration::from_nanos(deadline_ns.saturating_sub(clock::host_ns())))
    }

    /// The trace context of the caller, the parent of this server's span.
    pub fn trace(&self) -> Option<TraceContext> {
        self.server.trace_of(&self.accepted)
    }

    /// Whether the client does not wait any more: it has cancelled the call, its time is over, or it is
    /// dead. Makes a system call about once a millisecond.
    pub fn is_cancelled(&mut self) -> bool {
        self.server.is_cancelled(&mut self.accepted)
    }

    /// Ends the call with this reply, or with this last part of it. An empty last part is none. Waits for
    /// the client to read if the reply is larger than the room for it.
    ///
    /// # Errors
    /// [`ReplyError::Cancelled`] if the client does not wait any more: the request is finished all the
    /// same. [`ReplyError::Evicted`] if another server may have the request; the client may have got this
    /// reply. [`ReplyError::Forked`].
    #[inline(always)]
    pub fn reply(self, bytes: &[u8]) -> Result<(), ReplyError> {
        let mut request = ManuallyDrop::new(self);
        let Request { server, accepted } = &mut *request;
        server.put(accepted, bytes, Then::Complete)
    }

    /// Sends a part of the reply. More parts follow, and [`Self::reply`] with the last one. Waits for the
    /// client to read if there is no room.
    ///
    /// # Errors
    /// As for [`Self::reply`].
    pub fn reply_part(&mut self, bytes: &[u8]) -> Result<(), ReplyError> {
        self.server.put(&mut self.accepted, bytes, Then::Part)
    }

    /// Ends the call with an error of the application: a code, which the client gets as
    /// [`CallError::Failed`](crate::CallError::Failed), and a text.
    ///
    /// # Errors
    /// As for [`Self::reply`].
    pub fn fail(self, code: u32, text: &str) -> Result<(), ReplyError> {
        let mut request = ManuallyDrop::new(self);
        let Request { server, accepted } = &mut *request;
        let bytes = [&code.to_le_bytes()[..], text.as_bytes()].concat();
        server.put(accepted, &bytes, Then::Failed)
    }

    /// Keeps the request with the server, so that the server can take another one.
    pub fn keep(self) -> Accepted {
        let request = ManuallyDrop::new(self);
        let Accepted { ticket, delivery, deadline_ns, asked_ns } = request.accepted;
        Accepted { ticket, delivery, deadline_ns, asked_ns }
    }
}

impl std::ops::Deref for Request<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.server.hand_back(&mut self.accepted);
    }
}
