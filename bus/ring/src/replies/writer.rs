//! The server's end: writing a reply in the slot that its client keeps for it.
//!
//! **Promise.** At any time at most one server writes in a reply slot, and only for the call that the
//! slot is used for. That holds also for a server that was stopped, evicted, and goes on later.
//!
//! ```text
//! WRITING = this slot;  (memory fence)        the slot is named before anything is looked at
//! is the call wanted?  is the own fence open?  on a later delivery: is no other live server writing here?
//! chunks into the ring;  STATE = delivery, bytes
//! WRITING = 0
//! ```
//!
//! **Why it is sound.** The queue gives a request to one server at a time, so two servers can meet in a
//! slot in two ways only.
//!
//! - The first one was evicted while it lives, and another one got the request. Its fence was closed
//!   before that. Both name the slot, fence, and look at the other's word: either the evicted one finds
//!   its fence closed, or the other one finds it writing, and waits.
//! - The client has withdrawn the call, and uses the slot for another. The client withdraws, fences, and
//!   looks which servers are writing: either it finds this one, and leaves the slot alone, or this one
//!   finds that the call is not wanted.
//!
//! A dead server writes nothing, whatever its word says.
//!
//! **Left out.** Waiting for room, and waking the client: the handles of `railbus` do both.

use crate::layout::{self, replies};
use crate::members::peers::{Peers, Side};
use crate::members::registry::{Status, status};
use crate::memory::{Edge, Memory};
use crate::replies::geometry::ReplyGeometry;
use crate::replies::word::{self, CallId};

/// The memories of a service's replies, and their geometry.
#[derive(Debug, Clone)]
pub struct ReplyView<M> {
    /// The control block of `.ring`.
    pub ring: M,
    /// The control block of `.acks`.
    pub acks: M,
    /// The done words, with the replies behind them.
    pub done: M,
    /// Where calls and replies lie.
    pub geometry: ReplyGeometry,
}

impl<M: Memory> ReplyView<M> {
    /// Whether a live server other than `own` is writing in a reply slot. The caller has stored a word
    /// and fenced.
    pub fn is_written<P: Peers>(&self, client: usize, slot: usize, own: Option<usize>, peers: &P) -> bool {
        let wanted = word::writing(client, slot);
        (0..self.geometry.servers()).filter(|&server| Some(server) != own).any(|server| {
            // WRITING: a server that is not found here finds what the caller has stored. One that has
            // taken its word back has made its last access to the slot.
            self.done.load(self.geometry.server(server) + replies::WRITING, Edge::Writing) == wanted
                && self.is_there(server)
                && !peers.is_dead(Side::Consumers, server)
        })
    }

    fn is_there(&self, server: usize) -> bool {
        // STATE: the entry of a server that has left, or was buried, is free.
        status(self.acks.load(layout::entry(server) + layout::STATE, Edge::State)) != Status::Free
    }

    /// Whether a call is wanted: its client has not withdrawn it.
    #[inline(always)]
    pub fn is_wanted(&self, call: CallId) -> bool {
        let at = self.geometry.call(call.client as usize, call.slot as usize) + replies::CALL_WANTED;
        // Plain: a hint by itself. Where it decides, a memory fence comes before it.
        word::is_from(call.number, self.ring.load(at, Edge::Plain))
    }
}

/// The continuation after the bytes of a [`ReplyWriter::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// More of the same part.
    More,
    /// Another part.
    Part,
    /// Nothing: the reply is complete.
    Complete,
    /// Nothing: the bytes say why the request has failed.
    Failed,
    /// Nothing: no server will reply.
    GivenUp,
}

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// The client does not want the reply any more.
    Withdrawn,
    /// This server was evicted.
    Fenced,
    /// An evicted server that lives is still writing in the slot.
    Occupied,
    /// There is no room until the client has read.
    Full,
}

/// The state of one reply, private to the server that writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyDelivery {
    /// The call.
    pub call: CallId,
    /// Whether the request was delivered before.
    is_again: bool,
    /// The delivery, once something was written.
    number: Option<u64>,
    written: u64,
    /// Up to here there is room, as far as is known.
    room_until: u64,
}

impl ReplyDelivery {
    /// A reply of which nothing was written. `call` was checked.
    pub fn new(call: CallId, is_again: bool) -> ReplyDelivery {
        ReplyDelivery { call, is_again, number: None, written: 0, room_until: 0 }
    }

    /// Whether anything was written.
    pub fn has_begun(&self) -> bool {
        self.number.is_some()
    }
}

/// A server's end of the replies.
#[derive(Debug)]
pub struct ReplyWriter<M> {
    /// The replies.
    pub view: ReplyView<M>,
    /// The server's own registry entry.
    index: usize,
}

impl<M: Memory> ReplyWriter<M> {
    /// Makes the end of the server in registry entry `index`.
    pub fn new(view: ReplyView<M>, index: usize) -> ReplyWriter<M> {
        let writer = ReplyWriter { view, index };
        // The last owner of the entry is dead or has left.
        writer.close();
        writer
    }

    /// The call with these numbers, if the service has such a client and slot.
    pub fn checked(&self, client: u32, slot: u32, number: u64) -> Option<CallId> {
        let geometry = &self.view.geometry;
        let fits = (client as usize) < geometry.clients() && (slot as usize) < geometry.slots();
        fits.then_some(CallId { client, slot, number })
    }

    /// Asks for the line of a reply, which this server is about to write.
    #[inline(always)]
    pub fn prepare(&self, call: CallId) {
        self.view.done.prefetch_write(self.view.geometry.reply(call.client as usize, call.slot as usize));
    }

    /// Writes as many of `bytes` as there is room for, and returns how many. When it has written all,
    /// `then` counts. `is_fenced` returns whether this server was evicted.
    #[inline(always)]
    pub fn put<P: Peers>(
        &self,
        delivery: &mut ReplyDelivery,
        bytes: &[u8],
        then: Then,
        is_fenced: impl Fn() -> bool,
        peers: &P,
    ) -> Result<usize, Unwritten> {
        let CallId { client, slot, .. } = delivery.call;
        let done = &self.view.done;
        let own = self.view.geometry.server(self.index) + replies::WRITING;
        // WRITING: the slot is named before the call, the fence and the others are looked at.
        done.store(own, word::writing(client as usize, slot as usize), Edge::Writing);
        done.fence(Edge::Writing);
        let written = match self.refusal(delivery, is_fenced, peers) {
            Some(refusal) => Err(refusal),
            None => self.append(delivery, bytes, then),
        };
        self.close();
        written
    }

    /// Why this server may not write now.
    #[inline(always)]
    fn refusal<P: Peers>(
        &self,
        delivery: &ReplyDelivery,
        is_fenced: impl Fn() -> bool,
        peers: &P,
    ) -> Option<Unwritten> {
        if !self.view.is_wanted(delivery.call) {
            return Some(Unwritten::Withdrawn);
        }
        if is_fenced() {
            return Some(Unwritten::Fenced);
        }
        let CallId { client, slot, .. } = delivery.call;
        let is_occupied = || self.view.is_written(client as usize, slot as usize, Some(self.index), peers);
        (delivery.is_again && is_occupied()).then_some(Unwritten::Occupied)
    }

    /// Takes the name of the slot back.
    #[inline(always)]
    fn close(&self) {
        let own = self.view.geometry.server(self.index) + replies::WRITING;
        // WRITING: everything that was written in the slot comes before.
        self.view.done.store(own, 0, Edge::Writing);
    }

    #[inline(always)]
    fn append(&self, delivery: &mut ReplyDelivery, bytes: &[u8], then: Then) -> Result<usize, Unwritten> {
        let (geometry, done) = (&self.view.geometry, &self.view.done);
        let CallId { client, slot, .. } = delivery.call;
        let reply = geometry.reply(client as usize, slot as usize);
        let number = match delivery.number {
            Some(number) => number,
            None => self.begin(delivery, reply),
        };
        let has_chunk = !bytes.is_empty() || matches!(then, Then::Part | Then::Failed);
        let content = if has_chunk { self.room(delivery, number, bytes.len())? } else { 0 };
        let is_whole = content == bytes.len();
        if has_chunk {
            let ends = if is_whole && then != Then::More { word::ENDS_PART } else { 0 };
            done.store(geometry.room(reply, delivery.written), content as u64 | ends, Edge::Plain);
            for (at, word) in (delivery.written + 8..).step_by(8).zip(words(&bytes[..content])) {
                done.store(geometry.room(reply, at), word, Edge::Plain);
            }
            delivery.written += word::chunk_bytes(content);
        }
        let state = match then {
            Then::Complete if is_whole => word::COMPLETE,
            Then::Failed if is_whole => word::FAILED,
            Then::GivenUp if is_whole => word::GIVEN_UP,
            _ => word::OPEN,
        };
        let word = word::state_word(number, state, delivery.written);
        // REPLY: the client that sees this may read the chunks.
        done.store(reply + replies::REPLY_STATE, word, Edge::Reply);
        Ok(content)
    }

    /// Begins the delivery.
    #[inline(always)]
    fn begin(&self, delivery: &mut ReplyDelivery, reply: usize) -> u64 {
        let done = &self.view.done;
        // Plain: servers write here one after the other, as the queue hands the request on.
        let before = done.load(reply + replies::REPLY_STATE, Edge::Plain);
        let number = word::next_delivery(word::delivery(before));
        if delivery.is_again {
            done.store(reply + replies::REPLY_STATE, word::state_word(number, word::OPEN, 0), Edge::Plain);
            // OVERWRITE: a client that sees one of the bytes below also sees that the last delivery is
            // over.
            done.fence(Edge::Overwrite);
        }
        delivery.number = Some(number);
        delivery.room_until = self.view.geometry.room_bytes() as u64;
        number
    }

    /// Whether the client has read since there was no room.
    pub fn has_room(&self, delivery: &ReplyDelivery) -> bool {
        let CallId { client, slot, .. } = delivery.call;
        let at = self.view.geometry.call(client as usize, slot as usize) + replies::CALL_READ;
        // REPLY: as in `room`.
        let read = self.view.ring.load(at, Edge::Reply);
        let is_this = delivery.number == Some(word::delivery(read));
        is_this && word::bytes(read) + self.view.geometry.room_bytes() as u64 > delivery.room_until
    }

    /// How many of `bytes` bytes there is room for now.
    #[inline(always)]
    fn room(&self, delivery: &mut ReplyDelivery, number: u64, bytes: usize) -> Result<usize, Unwritten> {
        if delivery.written + word::chunk_bytes(bytes) > delivery.room_until {
            let CallId { client, slot, .. } = delivery.call;
            let at = self.view.geometry.call(client as usize, slot as usize) + replies::CALL_READ;
            // REPLY: the client has made its last access to what it has read.
            let read = self.view.ring.load(at, Edge::Reply);
            let is_this = word::delivery(read) == number && word::bytes(read) <= delivery.written;
            let read = if is_this { word::bytes(read) } else { 0 };
            delivery.room_until = read + self.view.geometry.room_bytes() as u64;
        }
        let room = (delivery.room_until - delivery.written.min(delivery.room_until)) as usize;
        if bytes == 0 {
            return if room >= 8 { Ok(0) } else { Err(Unwritten::Full) };
        }
        let content = room.saturating_sub(8).min(bytes);
        if content == 0 { Err(Unwritten::Full) } else { Ok(content) }
    }
}

/// The words of these bytes, the last one padded with zeros.
#[inline(always)]
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}
