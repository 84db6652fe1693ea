//! The calls of a client that are under way, one for each reply slot.

use std::collections::VecDeque;
use std::ops::Range;

use railbus_ring::members::peers::Peers;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::replies::reader::{Got, Incoming, ReplyReader};
use railbus_ring::slots::word::{Slots, done};

use super::error::CallError;
use crate::channel::mapped::Trusted;

/// A call that was started. Its client knows it until it has returned the call's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    pub(super) slot: u32,
    pub(super) number: u64,
}

impl Call {
    /// Two words that name this call. [`Self::from_words`] makes the same call from them.
    pub fn words(self) -> (u32, u64) {
        (self.slot, self.number)
    }

    /// The call of these words. A client knows its calls, so a call that was never started is unknown.
    pub fn from_words(slot: u32, number: u64) -> Call {
        Call { slot, number }
    }
}

/// The use of a reply slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing; nobody writes in it.
    Free,
    /// Its call has ended with what a server wrote. Unless its request is finished, another server may
    /// write once more.
    Over,
    /// Its call was withdrawn. A server may still be writing.
    Withdrawn,
    /// Its call is under way.
    Running,
}

/// The result of one look at a call that is under way.
pub(super) enum Arrival {
    /// It goes on.
    Nothing,
    /// The next part of its reply is complete: these bytes.
    Part(Range<usize>),
    /// It has ended.
    End(Result<(), CallError>),
}

/// A reply slot, and the call that uses it.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) incoming: Incoming,
    pub(super) used_for: Use,
    /// The position of the request.
    pub(super) position: u64,
    /// The time at which the call ends, in ns of the host's clock.
    pub(super) deadline_ns: u64,
    /// Since when no server is there, 0 if there is one.
    pub(super) alone_since_ns: u64,
    /// The bytes of the reply that were read.
    pub(super) reply: Vec<u8>,
    /// Where the parts end that are complete and were not handed out.
    parts: VecDeque<usize>,
    /// Where the first of them begins.
    parts_at: usize,
    /// Whether a part was handed out.
    has_given_parts: bool,
}

impl Flight {
    pub(super) fn new(incoming: Incoming) -> Flight {
        Flight {
            incoming,
            used_for: Use::Withdrawn,
            position: 0,
            deadline_ns: u64::MAX,
            alone_since_ns: 0,
            reply: Vec::new(),
            parts: VecDeque::new(),
            parts_at: 0,
            has_given_parts: false,
        }
    }

    /// Begins a call. The slot is free.
    pub(super) fn begin(&mut self, deadline_ns: u64) {
        self.deadline_ns = deadline_ns;
        self.alone_since_ns = 0;
        self.clear();
        self.has_given_parts = false;
    }

    fn clear(&mut self) {
        self.reply.clear();
        self.parts.clear();
        self.parts_at = 0;
    }

    /// The bytes of a part that [`Self::look`] has returned.
    pub(super) fn take_part(&mut self, part: Range<usize>) -> Vec<u8> {
        let bytes = self.reply.get(part).unwrap_or_default().to_vec();
        if self.parts.is_empty() {
            // Everything up to here was handed out.
            self.reply.drain(..self.parts_at);
            self.parts_at = 0;
        }
        bytes
    }

    /// Whether the slot may be used for the next call.
    #[inline(always)]
    pub(super) fn is_free(
        &mut self,
        slot: usize,
        replies: &ReplyReader<Trusted>,
        slots: Slots,
        peers: &impl Peers,
    ) -> bool {
        match self.used_for {
            Use::Free => true,
            Use::Running => false,
            Use::Over if is_finished(&replies.view.done, slots, self.position) => true,
            Use::Over => {
                self.withdraw(slot, replies);
                replies.is_free(slot, peers)
            }
            Use::Withdrawn => replies.is_free(slot, peers),
        }
    }

    pub(super) fn withdraw(&mut self, slot: usize, replies: &ReplyReader<Trusted>) {
        replies.withdraw(slot, &self.incoming);
        self.used_for = Use::Withdrawn;
    }

    /// Reads what has come. With `by_parts` it reads one part, and returns it. `read` is called after each
    /// chunk: a server may wait for that.
    #[inline(always)]
    pub(super) fn look(
        &mut self,
        slot: usize,
        replies: &ReplyReader<Trusted>,
        by_parts: bool,
        mut read: impl FnMut(),
    ) -> Arrival {
        loop {
            if by_parts && let Some(part) = self.next_part(slot, replies) {
                self.has_given_parts = true;
                return Arrival::Part(part);
            }
            match replies.read(slot, &mut self.incoming, &mut self.reply) {
                Got::Nothing => return Arrival::Nothing,
                Got::Bytes => read(),
                Got::Part => {
                    self.parts.push_back(self.reply.len());
                    read();
                }
                Got::Again => {
                    self.clear();
                    if self.has_given_parts {
                        self.withdraw(slot, replies);
                        return Arrival::End(Err(CallError::PeerGone));
                    }
                }
                Got::Complete => return self.over(Ok(())),
                Got::Failed => return self.over(Err(self.failure())),
                Got::GivenUp => return self.over(Err(CallError::PeerGone)),
                Got::Broken => {
                    self.withdraw(slot, replies);
                    let why = "a reply that no server writes; remove the service";
                    return Arrival::End(Err(CallError::Corrupt(why)));
                }
            }
        }
    }

    /// Reads the chunks that have come, so that the server can go on. The end of the call is found later.
    /// Returns whether there were any.
    pub(super) fn absorb(
        &mut self,
        slot: usize,
        replies: &ReplyReader<Trusted>,
        mut read: impl FnMut(),
    ) -> bool {
        let mut has_read = false;
        while self.absorbs() && replies.has_unread(slot, &self.incoming) {
            match replies.read(slot, &mut self.incoming, &mut self.reply) {
                Got::Bytes => {}
                Got::Part => self.parts.push_back(self.reply.len()),
                Got::Again => self.clear(),
                // The next look finds it again.
                _ => break,
            }
            has_read = true;
            read();
        }
        has_read
    }

    /// Whether chunks are read before they are asked for. If parts were handed out, the caller decides how
    /// fast.
    pub(super) fn absorbs(&self) -> bool {
        !self.has_given_parts
    }

    /// Takes the next part that is complete, unless it is the last one of a request that has failed.
    fn next_part(&mut self, slot: usize, replies: &ReplyReader<Trusted>) -> Option<Range<usize>> {
        let is_failure = self.parts.len() == 1 && replies.has_failed(slot, &self.incoming);
        if is_failure {
            return None;
        }
        let end = self.parts.pop_front()?;
        Some(std::mem::replace(&mut self.parts_at, end)..end)
    }

    fn over(&mut self, end: Result<(), CallError>) -> Arrival {
        self.used_for = Use::Over;
        Arrival::End(end)
    }

    /// The failure that the last part describes.
    fn failure(&self) -> CallError {
        let mut ends = self.parts.iter().rev();
        let end = ends.next().copied().unwrap_or(0);
        let part = self.reply.get(ends.next().copied().unwrap_or(self.parts_at)..end).unwrap_or_default();
        let (code, text) = part.split_first_chunk::<4>().unwrap_or((&[0; 4], part));
        CallError::Failed {
            code: u32::from_le_bytes(*code),
            text: String::from_utf8_lossy(text).into_owned(),
        }
    }
}

/// Whether the request at a position is finished, so that no server writes a reply to it any more.
#[inline(always)]
fn is_finished(done_words: &Trusted, slots: Slots, position: u64) -> bool {
    // DONE: everything that the request's last holder wrote comes before it.
    let word = done_words.load(slots.done_offset(position), Edge::Done);
    word == slots.state(position, done::DONE) || slots.is_newer(word, position)
}
