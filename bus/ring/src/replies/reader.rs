//! The client's end: reading replies, withdrawing calls, and using reply slots again.
//!
//! **Promise.** A client reads whole chunks of its own call only, each once and in order. If another
//! server begins the reply again, the client finds that out before it takes a byte of the new reply for
//! one of the old.
//!
//! **How it works.** The state word of a slot has a delivery that changes whenever a server begins a
//! reply. The client copies a chunk, fences, and reads the state again: the copy counts if the delivery
//! is the same.
//!
//! **When a slot is used again.** A call that has ended leaves its slot to the next call in one of two
//! ways. If the queue says that its request is finished, nobody writes in the slot any more. Otherwise
//! the client withdraws the call, fences, and looks whether a live server is writing there. If none is,
//! none will: each server looks whether the call is wanted after it has named the slot.
//!
//! A new client in the entry of a dead one withdraws all calls of its predecessor: its generation is
//! part of the numbers of its calls.
//!
//! **Left out.** Waiting, deadlines, and what the queue says about a request: the handles have those.

use crate::layout::replies;
use crate::members::peers::Peers;
use crate::memory::{Edge, Memory};
use crate::replies::word::{self, CallId};
use crate::replies::writer::ReplyView;

/// The result of a look at a reply slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// Nothing new.
    Nothing,
    /// Bytes of a part, which goes on.
    Bytes,
    /// The rest of a part.
    Part,
    /// Another server has begun the reply again: what was read before is void.
    Again,
    /// The reply is complete.
    Complete,
    /// The request has failed: the last part says why.
    Failed,
    /// No server will reply.
    GivenUp,
    /// Words that no server writes.
    Broken,
}

/// The state of one reply slot, private to its client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Incoming {
    /// The number of the last call.
    number: u64,
    /// The delivery that was there before it.
    before: u64,
    /// The delivery that is being read.
    delivery: Option<u64>,
    read: u64,
    /// Whether the word that says how much was read is not 0.
    is_noted: bool,
}

impl Incoming {
    /// The number of the last call.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A client's end of the replies.
#[derive(Debug)]
pub struct ReplyReader<M> {
    /// The replies.
    pub view: ReplyView<M>,
    /// The client's own registry entry.
    index: usize,
}

impl<M: Memory> ReplyReader<M> {
    /// Makes the end of the client in registry entry `index`, and withdraws all calls of former clients
    /// in it. None of the slots is known to be free: see [`Self::is_free`].
    pub fn new(view: ReplyView<M>, index: usize, generation: u64) -> (ReplyReader<M>, Incoming) {
        let reader = ReplyReader { view, index };
        let first = generation << word::NUMBER_BITS;
        for slot in 0..reader.view.geometry.slots() {
            let call = reader.view.geometry.call(index, slot);
            // Plain: `is_free` fences.
            reader.view.ring.store(call + replies::CALL_WANTED, first, Edge::Plain);
            reader.view.ring.store(call + replies::CALL_READ, 0, Edge::Plain);
        }
        (reader, Incoming { number: first, ..Incoming::default() })
    }

    /// Begins the next call in a slot that is free.
    #[inline(always)]
    pub fn begin(&self, slot: usize, incoming: &mut Incoming) -> CallId {
        let state = self.view.geometry.reply(self.index, slot) + replies::REPLY_STATE;
        // REPLY: nobody writes here before the request is published.
        incoming.before = word::delivery(self.view.done.load(state, Edge::Reply));
        if incoming.is_noted {
            incoming.is_noted = false;
            // Plain: the publication of the request comes after it.
            let at = self.view.geometry.call(self.index, slot) + replies::CALL_READ;
            self.view.ring.store(at, 0, Edge::Plain);
        }
        incoming.number += 1;
        (incoming.delivery, incoming.read) = (None, 0);
        CallId { client: self.index as u32, slot: slot as u32, number: incoming.number }
    }

    /// Withdraws the last call of a slot: no server begins to write in the slot for it any more.
    pub fn withdraw(&self, slot: usize, incoming: &Incoming) {
        let at = self.view.geometry.call(self.index, slot) + replies::CALL_WANTED;
        // Plain: `is_free` fences.
        self.view.ring.store(at, incoming.number + 1, Edge::Plain);
    }

    /// Whether a slot whose last call was withdrawn is free. If not, it will be when a live server goes
    /// on or ends.
    pub fn is_free<P: Peers>(&self, slot: usize, peers: &P) -> bool {
        // WRITING: the call was withdrawn before.
        self.view.ring.fence(Edge::Writing);
        !self.view.is_written(self.index, slot, None, peers)
    }

    /// Whether there is something to read: a few loads.
    #[inline(always)]
    pub fn is_ready(&self, slot: usize, incoming: &Incoming) -> bool {
        let at = self.view.geometry.reply(self.index, slot) + replies::REPLY_STATE;
        // REPLY: as in `read`.
        let found = self.view.done.load(at, Edge::Reply);
        self.has_unread(slot, incoming) || incoming.delivery.is_some() && word::state(found) != word::OPEN
    }

    /// Whether there are chunks to read.
    pub fn has_unread(&self, slot: usize, incoming: &Incoming) -> bool {
        let at = self.view.geometry.reply(self.index, slot) + replies::REPLY_STATE;
        // REPLY: as in `read`.
        let found = self.view.done.load(at, Edge::Reply);
        match incoming.delivery {
            None => word::delivery(found) != incoming.before,
            Some(delivery) => word::delivery(found) != delivery || word::bytes(found) != incoming.read,
        }
    }

    /// Whether the reply has failed, and everything was read: the last part says why.
    pub fn has_failed(&self, slot: usize, incoming: &Incoming) -> bool {
        let at = self.view.geometry.reply(self.index, slot) + replies::REPLY_STATE;
        // REPLY: as in `read`.
        let found = self.view.done.load(at, Edge::Reply);
        word::state(found) == word::FAILED
            && word::bytes(found) == incoming.read
            && incoming.delivery == Some(word::delivery(found))
    }

    /// Reads the next chunk of a reply, and appends it to `into`. After [`Got::Again`], `into` is as it
    /// was before this call, and what was appended before is void.
    #[inline(always)]
    pub fn read(&self, slot: usize, incoming: &mut Incoming, into: &mut Vec<u8>) -> Got {
        let reply = self.view.geometry.reply(self.index, slot);
        // REPLY: the chunks that the word counts are there.
        let found = self.view.done.load(reply + replies::REPLY_STATE, Edge::Reply);
        let delivery = word::delivery(found);
        if incoming.delivery != Some(delivery) {
            if delivery == incoming.before {
                return Got::Nothing;
            }
            let is_first = incoming.delivery.is_none();
            (incoming.delivery, incoming.read) = (Some(delivery), 0);
            if !is_first {
                return Got::Again;
            }
        }
        let bytes = word::bytes(found);
        if bytes == incoming.read {
            return match word::state(found) {
                word::OPEN => Got::Nothing,
                word::COMPLETE => Got::Complete,
                word::FAILED => Got::Failed,
                word::GIVEN_UP => Got::GivenUp,
                _ => Got::Broken,
            };
        }
        let got = self.copy(reply, bytes, incoming.read, into);
        // VALIDATE: the copy was made before the state is read again.
        self.view.done.fence(Edge::Validate);
        if word::delivery(self.view.done.load(reply + replies::REPLY_STATE, Edge::Plain)) != delivery {
            into.truncate(into.len() - got.map_or(0, |(content, _)| content));
            // The next look finds the new delivery.
            return self.read_again(slot, incoming);
        }
        let Some((content, got)) = got else { return Got::Broken };
        incoming.read += word::chunk_bytes(content);
        if word::state(found) == word::OPEN || incoming.read != bytes {
            incoming.is_noted = true;
            let at = self.view.geometry.call(self.index, slot) + replies::CALL_READ;
            // REPLY: the server that sees this may write over what was read.
            self.view.ring.store(at, word::state_word(delivery, 0, incoming.read), Edge::Reply);
        }
        got
    }

    #[cold]
    fn read_again(&self, slot: usize, incoming: &mut Incoming) -> Got {
        let at = self.view.geometry.reply(self.index, slot) + replies::REPLY_STATE;
        // REPLY: as in `read`.
        let found = self.view.done.load(at, Edge::Reply);
        (incoming.delivery, incoming.read) = (Some(word::delivery(found)), 0);
        Got::Again
    }

    /// Copies the chunk at `read`. `None` if no server writes such a chunk.
    #[inline(always)]
    fn copy(&self, reply: usize, bytes: u64, read: u64, into: &mut Vec<u8>) -> Option<(usize, Got)> {
        let (geometry, done) = (&self.view.geometry, &self.view.done);
        let there = bytes.checked_sub(read)?;
        // Plain, as below: REPLY has brought the chunk, and VALIDATE finds out whether it was one.
        let head = done.load(geometry.room(reply, read), Edge::Plain);
        let content = head as u32 as usize;
        let fits = there <= geometry.room_bytes() as u64 && word::chunk_bytes(content) <= there;
        if !fits {
            return None;
        }
        into.reserve(content.next_multiple_of(8));
        for at in (0..content).step_by(8) {
            let word = done.load(geometry.room(reply, read + 8 + at as u64), Edge::Plain);
            let take = (content - at).min(8);
            into.extend_from_slice(&word.to_le_bytes()[..take]);
        }
        Some((content, if head & word::ENDS_PART != 0 { Got::Part } else { Got::Bytes }))
    }
}
