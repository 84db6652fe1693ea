//! The stream's publisher: one writer of a byte ring whose header words are the commit flags.
//!
//! ```text
//! data:  ... | header payload | header payload | 0 | older laps ...
//!                                                ^ position: always an explicitly zeroed header
//! claim:   room for the padding, the frame and the header after it?   (cached limit; rescan when short)
//!          zero the next header
//! commit:  (the payload is written) store the header (COMMIT)
//! ```
//!
//! The next header is zeroed before a frame is committed, so a walk along the frames ends at `position` whenever
//! the publisher dies. It is zeroed when the frame is claimed, not between payload and header: stores leave a core in
//! order, and those that go to one line in a row leave it together. For the same reason what each event changes of the
//! private state lies in one line and is changed last. A frame never straddles the end of the ring: a padding frame
//! fills it up, and is committed after the frame behind it, so that both appear at once.
//!
//! **Lent bytes** of an evicted subscriber ([`crate::members::lent`]) are stepped over: a padding frame
//! spans it, which is committed at once. Nothing but header words is written there.
//!
//! **Limit.** The publisher may write up to `min(gates, floor) + capacity`. At a rescan it notes where it is,
//! raises the floor as far as it needs (never above a gate), publishes both places, fences, and reads the cursors:
//! the publisher's half of the JOIN pair. Limits are also kept short enough that the recent place is never more
//! than a stride, or one frame, behind.

use crate::members::gates::{Gates, Lowest};
use crate::members::lent::Lent;
use crate::members::peers::{Peers, Side};
use crate::members::pressure::{Pressure, Watermarks};
use crate::memory::{Edge, Memory};
use crate::stream::places::{self, History, Place};
use crate::stream::subscriber::walk;
use crate::tally::Tally;
use crate::{frame, layout};

/// How far ahead of its frames, in bytes, a publisher asks to own a line, so that several are fetched from the readers
/// at once. Not while a reader is closer behind than this, where it would only be in the way of the one event that
/// counts; and not for frames of less than [`LINE`], which are written no faster than lines come (*near*).
const PREFETCH: u64 = 512;
const LINE: u64 = 64;

/// A claimed frame: where its header word goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    start: u64,
    padding: u64,
    body_bytes: u64,
}

impl Claim {
    /// The event's position: where its header goes.
    #[inline(always)]
    pub fn position(self) -> u64 {
        self.start
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The frame is larger than half the ring allows.
    TooLong,
    /// The reader in this consumer entry is in the way.
    Gate(usize),
}

/// The part of the private state that each event changes or looks at: a line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Front {
    /// What is committed.
    written: Place,
    tally: Tally,
    /// A frame that ends at or before this position needs neither padding nor a rescan, nor a look at the pressure.
    fast_until: u64,
    /// The capacity less one.
    mask: u64,
    /// Whether to ask for lines ahead.
    is_behind: bool,
}

impl Front {
    /// Claims room where that takes a comparison or two, and puts the walk's end behind it.
    #[inline(always)]
    fn claim<M: Memory>(&self, data: &M, body_bytes: u64) -> Option<Claim> {
        let start = self.written.position;
        // No frame larger than half the ring ends before `fast_until`: the limit never runs that far ahead. The first
        // comparison keeps the sum from wrapping, and a body that is longer than a header can tell from a huge ring.
        let easy = body_bytes <= self.mask & u32::MAX as u64
            && start + frame::frame_bytes(body_bytes) <= self.fast_until;
        easy.then(|| self.begin(data, Claim { start, padding: 0, body_bytes }))
    }

    /// Puts the walk's end behind a frame that is about to be written.
    #[inline(always)]
    fn begin<M: Memory>(&self, data: &M, claim: Claim) -> Claim {
        // The walk must end here: the next header is empty before this frame exists. COMMIT orders it.
        let end = claim.start + frame::frame_bytes(claim.body_bytes);
        self.store_header(data, end, 0, Edge::Plain);
        claim
    }

    /// Commits all of a claim without padding, with a header without extensions.
    #[inline(always)]
    fn commit<M: Memory>(&mut self, data: &M, claim: Claim, header: u64) {
        debug_assert_eq!((frame::body_bytes(header) as u64, frame::flags(header)), (claim.body_bytes, 0));
        self.show(data, claim.start, header);
        self.count(data, claim.start + frame::frame_bytes(claim.body_bytes), claim.body_bytes);
    }

    #[inline(always)]
    fn show<M: Memory>(&self, data: &M, position: u64, word: u64) {
        // COMMIT: pairs with the load in the subscriber's `poll`: who sees this word sees the bytes and the empty
        // header behind them.
        self.store_header(data, position, word, Edge::Commit);
    }

    #[inline(always)]
    fn store_header<M: Memory>(&self, data: &M, position: u64, word: u64, edge: Edge) {
        data.store((position & self.mask) as usize, word, edge);
    }

    /// Steps over a frame that was written.
    #[inline(always)]
    fn count<M: Memory>(&mut self, data: &M, next: u64, payload_bytes: u64) {
        self.written = Place { position: next, count: self.written.count + 1 };
        self.tally.add(payload_bytes);
        if self.is_behind {
            data.prefetch_write(((next + PREFETCH) & self.mask) as usize);
        }
    }

    /// Byte offset in the data where a claim's body starts.
    #[inline(always)]
    fn body_offset(&self, claim: Claim) -> usize {
        (claim.start & self.mask) as usize + frame::HEADER as usize
    }
}

/// The publisher's private state.
#[derive(Debug)]
#[repr(C)]
pub struct StreamPublisher<M> {
    front: Front,
    ring: M,
    acks: M,
    data: M,
    capacity: u64,
    gates: Gates,
    history: History,
    limit: u64,
    /// The next bytes to be left alone, as the last look at the cursors found.
    lent: Option<Lent>,
    /// How many bytes may go by the easy path before its owner is to take the slow one.
    ease_bytes: u64,
    /// Cuts the easy path short where the depth may come to the high watermark.
    pressure: Pressure,
}

impl<M: Memory> StreamPublisher<M> {
    /// Takes over the stream where the last publisher left it. The caller holds the publisher's registry entry
    /// `index`. `data` is `capacity` bytes, a power of two. `None` when the ring holds what no publisher writes.
    pub fn take_over(
        ring: M,
        acks: M,
        data: M,
        index: usize,
        capacity: u64,
        consumers: usize,
    ) -> Option<Self> {
        let places = places::read(&ring, 1)?;
        // JOIN: the predecessor may have been killed between its last index and the fence that follows each: this
        // one stands in for it. The entry that is filled next is the one before that index, and who reads it
        // filled must see the index (see `places::read`).
        ring.fence(Edge::Join);
        // A predecessor killed between its index and its floor left the lone floor word behind.
        // PLACES: as in `History::publish`.
        ring.store(layout::ANCHOR_FLOOR, places.floor.position, Edge::Places);
        let end = walk(&data, capacity, places.recent, None)?;
        if end.position - places.floor.position > capacity {
            return None;
        }
        // STATE: no counts are told before it; see `Sender::tell`.
        ring.store(layout::entry(index) + layout::POSITION, end.position, Edge::State);
        Some(StreamPublisher {
            front: Front {
                written: end,
                tally: Tally::default(),
                fast_until: end.position,
                mask: capacity - 1,
                is_behind: false,
            },
            ring,
            acks,
            data,
            capacity,
            gates: Gates::new(consumers),
            history: History::resume(places),
            limit: end.position,
            lent: None,
            ease_bytes: u64::MAX,
            pressure: Pressure::new(None),
        })
    }

    /// The same, telling the pressure.
    pub fn with_watermarks(self, marks: Option<Watermarks>) -> Self {
        StreamPublisher { pressure: Pressure::new(marks), ..self }
    }

    /// From the next slow path on, at most `bytes` go by before the one after it.
    pub fn ease(&mut self, bytes: u64) {
        self.ease_bytes = bytes;
    }

    /// Where the next event will be committed, and how many were before it.
    pub fn place(&self) -> Place {
        self.front.written
    }

    /// What this publisher has committed.
    #[inline(always)]
    pub fn tally(&self) -> Tally {
        self.front.tally
    }

    /// Largest body, in bytes, that a frame may have.
    pub fn body_max(&self) -> u64 {
        frame::frame_max(self.capacity) - frame::HEADER
    }

    /// Claims room for a body of `body_bytes`. Nothing is visible until [`Self::commit`]; a claim is given up by
    /// making another or by doing nothing.
    #[inline(always)]
    pub fn claim(&mut self, body_bytes: u64) -> Result<Claim, Refused> {
        match self.claim_fast(body_bytes) {
            Some(claim) => Ok(claim),
            None => self.claim_slow(body_bytes),
        }
    }

    /// Claims room where neither padding nor a look at the cursors is in the way.
    #[inline(always)]
    pub fn claim_fast(&mut self, body_bytes: u64) -> Option<Claim> {
        self.front.claim(&self.data, body_bytes)
    }

    /// Commits all of what [`Self::claim_fast`] claimed, without extensions.
    #[inline(always)]
    pub fn commit_fast(&mut self, claim: Claim, header: u64) {
        self.front.commit(&self.data, claim, header);
    }

    /// Publishes `payloads`, without extensions, until one is not as easy as for [`Self::claim_fast`]; how many.
    /// `put` puts a payload at a byte offset in the data.
    #[inline(always)]
    pub fn publish_all_fast<'a>(
        &mut self,
        payloads: impl Iterator<Item = &'a [u8]>,
        put: impl Fn(usize, &[u8]),
    ) -> usize {
        let data = self.data.clone();
        // A copy, which the compiler may keep in registers; it is put back also when an iterator panics.
        let mut back = PutBack { front: self.front, to: &mut self.front };
        let before = back.front.written.count;
        for payload in payloads {
            let Some(claim) = back.front.claim(&data, payload.len() as u64) else { break };
            put(back.front.body_offset(claim), payload);
            back.front.commit(&data, claim, frame::header(payload.len() as u32, 0, 0));
        }
        (back.front.written.count - before) as usize
    }

    #[cold]
    fn claim_slow(&mut self, body_bytes: u64) -> Result<Claim, Refused> {
        if body_bytes > self.body_max() {
            return Err(Refused::TooLong);
        }
        let frame_bytes = frame::frame_bytes(body_bytes);
        let begun = self.front.written.position;
        loop {
            let position = self.front.written.position;
            let to_end = self.capacity - (position & (self.capacity - 1));
            let padding = if frame_bytes > to_end { to_end } else { 0 };
            let need = padding + frame_bytes + frame::HEADER;
            let (start, end) = (position + padding, position + padding + frame_bytes);
            if (position + need > self.limit || self.pressure.is_due(end))
                && let Some(reader) = self.rescan(need)
            {
                return Err(Refused::Gate(reader));
            }
            let lent = self.lent.filter(|lent| lent.to > position);
            if let Some(lent) = lent.filter(|lent| lent.meets(start, end)) {
                if position - begun > self.capacity {
                    return Err(Refused::Gate(lent.entry)); // Nowhere is there room for so large a frame.
                }
                self.step_over(lent)?;
                continue;
            }
            if lent.is_some_and(|lent| lent.to <= start) {
                // The padding before the frame steps over it: the next claim looks for what comes then.
                self.limit = end + frame::HEADER;
            }
            self.front.fast_until = ((position | self.front.mask) + 1)
                .min(self.limit - frame::HEADER)
                .min(self.pressure.until)
                .min(end.saturating_add(self.ease_bytes))
                .min(lent.map_or(u64::MAX, |lent| lent.from.max(position)));
            return Ok(self.front.begin(&self.data, Claim { start, padding, body_bytes }));
        }
    }

    /// Commits padding over what an evicted subscriber may look at, up to the end of the lap at most.
    #[cold]
    fn step_over(&mut self, lent: Lent) -> Result<(), Refused> {
        let position = self.front.written.position;
        let lap_end = (position | self.front.mask) + 1;
        // Whole words, whatever the entry says.
        let from = lent.from & !7;
        let to = if position < from { from } else { lent.to };
        let to = to.min(lap_end).next_multiple_of(8);
        let need = to - position + frame::HEADER;
        if position + need > self.limit
            && let Some(reader) = self.rescan(need)
        {
            return Err(Refused::Gate(if reader == usize::MAX { lent.entry } else { reader }));
        }
        if to - position >= self.capacity {
            return Err(Refused::Gate(lent.entry)); // The whole ring is to be left alone.
        }
        // The walk must end here, as in `begin`: the header behind, in whose place no body lies that may be
        // looked at.
        self.front.store_header(&self.data, to, 0, Edge::Plain);
        self.front.show(&self.data, position, frame::padding(to - position));
        self.front.written.position = to;
        // The next claim looks for what comes then.
        (self.front.fast_until, self.limit) = (to, to);
        Ok(())
    }

    /// Looks at the cursors anew. Returns the reader in the way if `need` more bytes do not fit.
    fn rescan(&mut self, need: u64) -> Option<usize> {
        let here = self.place();
        let stride = self.capacity / 8;
        // A first look bounds the floor by the gates, so that the floor is never above a reader's cursor.
        let first = self.gates.lowest(&self.acks, here.position);
        self.history.note(here, stride);
        self.history.raise((here.position + need + stride).saturating_sub(self.capacity), first.position);
        self.front.is_behind = first.position + PREFETCH <= here.position && need >= LINE + frame::HEADER;
        self.history.publish(&self.ring);
        // JOIN: the places are published before the cursors are read. A joiner stores its cursor, fences, and
        // reads the index again: either this scan sees its cursor, or it sees these places and starts at them.
        // It also orders the floor before the bytes that are overwritten next (OVERWRITE, for lossy readers).
        self.ring.fence(Edge::Join);
        let lowest = self.gates.lowest(&self.acks, self.history.floor().position);
        // A joiner's cursor may briefly lie below what it will start from: the limit may then be below `position`.
        let limit = lowest.position.saturating_add(self.capacity);
        let passed_evicted = first.passed_evicted || lowest.passed_evicted;
        self.lent =
            passed_evicted.then(|| self.gates.lent(&self.acks, here.position, self.capacity)).flatten();
        self.limit = limit.min(here.position + need.max(stride));
        self.front.fast_until = here.position;
        let (end, fits) = (here.position + need - frame::HEADER, here.position + need <= self.limit);
        // Where the floor is in the way, the ring is full before the slowest reader is a whole ring behind.
        let slowest = if fits { first.position } else { end.saturating_sub(self.capacity) };
        self.pressure.look(&self.ring, || (slowest, end));
        if fits { None } else { Some(lowest.entry.or(first.entry).unwrap_or(usize::MAX)) }
    }

    /// Measures the pressure anew. The next claim looks at the cursors.
    pub fn look_at_pressure(&mut self) -> bool {
        let here = self.place().position;
        self.front.fast_until = here;
        self.pressure.look(&self.ring, || (self.gates.lowest(&self.acks, here).position, here))
    }

    /// The slowest reader that holds events back, and where it is.
    pub fn slowest(&self) -> Lowest {
        self.gates.lowest(&self.acks, self.place().position)
    }

    /// Byte offset in the data where a claim's body starts.
    #[inline(always)]
    pub fn body_offset(&self, claim: Claim) -> usize {
        self.front.body_offset(claim)
    }

    /// Commits a claim whose body has been written, with `header` as its header word (whose length may be shorter
    /// than what was claimed).
    #[inline(always)]
    pub fn commit(&mut self, claim: Claim, header: u64) {
        debug_assert!(frame::body_bytes(header) as u64 <= claim.body_bytes);
        let (front, data) = (&mut self.front, &self.data);
        let body = frame::body_bytes(header) as u64;
        let next = claim.start + frame::frame_bytes(body);
        let position = front.written.position;
        debug_assert_eq!(position + claim.padding, claim.start);
        if body < claim.body_bytes {
            // The walk must end here, as in `begin`.
            front.store_header(data, next, 0, Edge::Plain);
        }
        let word = if claim.padding == 0 {
            header
        } else {
            // Invisible as long as the padding before it is.
            front.store_header(data, claim.start, header, Edge::Plain);
            frame::padding(claim.padding)
        };
        front.show(data, position, word);
        front.count(data, next, frame::payload_bytes(header) as u64);
    }

    /// Passes over the reader in the way if it is dead and holds no durable name. True: try again.
    pub fn pass_over_dead<P: Peers>(&mut self, reader: usize, peers: &P) -> bool {
        reader != usize::MAX
            && self.gates.pass_over_dead(&self.acks, reader, || peers.is_dead(Side::Consumers, reader))
    }
}

/// Puts the copy of a publisher's [`Front`] back when it is dropped.
struct PutBack<'a> {
    front: Front,
    to: &'a mut Front,
}

impl Drop for PutBack<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.to = self.front;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::plain::Plain;

    #[test]
    fn what_a_header_cannot_hold_takes_the_slow_path_in_a_huge_ring() {
        let data = Plain::zeroed(2);
        let front = Front {
            written: Place::default(),
            tally: Tally::default(),
            fast_until: 1 << 39,
            mask: (1 << 40) - 1,
            is_behind: false,
        };
        assert_eq!(front.claim(&data, u32::MAX as u64 + 1), None);
        assert_eq!(front.claim(&data, u64::MAX), None);
        assert!(front.claim(&data, 0).is_some());
    }
}
