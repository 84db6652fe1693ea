//! The stream's publisher: the one writer of a byte ring whose header words are the commit flags.
//!
//! **Promise.** An event is visible as a whole or not at all. No byte that a reliable subscriber
//! may still read is overwritten, and a publisher that dies at any instruction leaves a ring that
//! its successor can continue.
//!
//! ```text
//! data:  ... | header payload | header payload | 0 | older laps ...
//!                                                ^ position: always an explicitly zeroed header
//! claim:   room for the padding, the frame and the header after it?   (cached limit; rescan when short)
//!          zero the next header
//! commit:  (the payload is written) store the header (COMMIT)
//! ```
//!
//! **How it works.** The next header is zeroed before a frame is committed, so a walk along the
//! frames ends at `position`, whenever the publisher dies. It is zeroed when the frame is claimed,
//! not between payload and header: stores leave a core in order, and those that go to one line in a
//! row leave it together. For the same reason, the private state that changes with each event lies
//! in one line and is changed last.
//!
//! No frame crosses the end of the ring: a padding frame fills the rest of the lap. It is committed
//! after the frame that follows it, so that both appear at once.
//!
//! **Lent bytes** of an evicted subscriber ([`crate::members::lent`]) are stepped over. A padding
//! frame spans them and is committed at once. Nothing but header words is written there.
//!
//! **Limit, and why it is sound.** The publisher may write up to `min(gates, floor) + capacity`. A
//! rescan does four things, which are the publisher's half of the JOIN pair:
//!
//! - It adds its position to the places and raises the floor as far as it needs, but never above a
//!   gate.
//! - It publishes both places.
//! - It executes a memory fence.
//! - It reads the cursors.
//!
//! Limits are also kept so short that the recent place is never more than one stride, or one frame,
//! behind.
//!
//! **Left out.** Several publishers at a time, and frames larger than half the ring. Waiting and
//! waking are the caller's.

use crate::members::gates::{Gates, Lowest};
use crate::members::lent::Lent;
use crate::members::peers::{Peers, Side};
use crate::members::pressure::{Pressure, Watermarks};
use crate::memory::{Edge, Memory};
use crate::stream::places::{self, History, Place};
use crate::stream::subscriber::walk;
use crate::stream::view::StreamView;
use crate::tally::Tally;
use crate::{frame, layout};

/// How far ahead of its frames a publisher asks to own a cache line, in bytes. Several lines are
/// then fetched from the readers at once.
///
/// It does not ask while a reader is closer behind than this, because that would delay the one
/// event that the reader waits for. It does not ask for frames below [`LINE`] bytes either: those
/// are written no faster than the lines arrive, as measured between cores that are near each other.
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
pub enum NoRoom {
    /// The frame is larger than half the ring allows.
    TooLong,
    /// The reader in this consumer entry has not read far enough.
    Gate(usize),
}

/// The part of the private state that each event reads or changes. It fits in one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Front {
    /// The end of the committed frames.
    written: Place,
    tally: Tally,
    /// A frame that ends at or before this position needs no padding, no rescan and no check of the
    /// pressure.
    fast_until: u64,
    /// The capacity minus one.
    mask: u64,
    /// Whether to ask for lines ahead, because all readers are far enough behind.
    is_behind: bool,
}

impl Front {
    /// Claims room if one or two comparisons allow it, and ends the walk behind the frame.
    #[inline(always)]
    fn claim<M: Memory>(&self, data: &M, body_bytes: u64) -> Option<Claim> {
        let start = self.written.position;
        // No frame larger than half the ring ends before `fast_until`, because the limit never runs
        // that far ahead. The first comparison keeps the sum from wrapping. In a huge ring it also
        // excludes a body whose length does not fit in a header.
        let easy = body_bytes <= self.mask & u32::MAX as u64
            && start + frame::frame_bytes(body_bytes) <= self.fast_until;
        easy.then(|| self.begin(data, Claim { start, padding: 0, body_bytes }))
    }

    /// Ends the walk behind a frame that is about to be written.
    #[inline(always)]
    fn begin<M: Memory>(&self, data: &M, claim: Claim) -> Claim {
        // The walk must end here: the next header is empty before this frame exists. COMMIT orders
        // it.
        let end = claim.start + frame::frame_bytes(claim.body_bytes);
        self.store_header(data, end, 0, Edge::Plain);
        claim
    }

    /// Commits the whole of a claim without padding. The header has no extensions.
    #[inline(always)]
    fn commit<M: Memory>(&mut self, data: &M, claim: Claim, header: u64) {
        debug_assert_eq!((frame::body_bytes(header) as u64, frame::flags(header)), (claim.body_bytes, 0));
        self.show(data, claim.start, header);
        self.count(data, claim.start + frame::frame_bytes(claim.body_bytes), claim.body_bytes);
    }

    #[inline(always)]
    fn show<M: Memory>(&self, data: &M, position: u64, word: u64) {
        // COMMIT: pairs with the load in the subscriber's `poll`. A reader that sees this word sees
        // the bytes, and the empty header behind them.
        self.store_header(data, position, word, Edge::Commit);
    }

    #[inline(always)]
    fn store_header<M: Memory>(&self, data: &M, position: u64, word: u64, edge: Edge) {
        data.store((position & self.mask) as usize, word, edge);
    }

    /// Moves past a frame that was written.
    #[inline(always)]
    fn count<M: Memory>(&mut self, data: &M, next: u64, payload_bytes: u64) {
        self.written = Place { position: next, count: self.written.count + 1 };
        self.tally.add(payload_bytes);
        if self.is_behind {
            data.prefetch_write(((next + PREFETCH) & self.mask) as usize);
        }
    }

    /// The byte offset in the data where a claim's body starts.
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
    view: StreamView<M>,
    gates: Gates,
    history: History,
    limit: u64,
    /// The next bytes that must not be written, as the last look at the cursors found them.
    lent: Option<Lent>,
    /// How many bytes may be written on the fast path before the caller is to take the slow path.
    ease_bytes: u64,
    /// Ends the fast path early where the depth may reach the high watermark.
    pressure: Pressure,
}

impl<M: Memory> StreamPublisher<M> {
    /// Takes over the stream where the last publisher left it. The caller holds the publisher's
    /// registry entry `index`. Returns `None` if the ring holds a word that no publisher writes.
    pub fn take_over(view: StreamView<M>, index: usize) -> Option<Self> {
        let StreamView { ring, data, capacity, .. } = &view;
        let capacity = *capacity;
        let places = places::read(ring, 1)?;
        // JOIN: the predecessor may have been killed between its last store of the index and the
        // fence that follows each such store. This fence replaces that one. The entry that is
        // filled next is the one before that index, and a reader that sees it filled must see the
        // index (see `places::read`).
        ring.fence(Edge::Join);
        // A predecessor that was killed between its index and its floor has left an old value in
        // the single floor word.
        // PLACES: as in `History::publish`.
        ring.store(layout::ANCHOR_FLOOR, places.floor.position, Edge::Places);
        let end = walk(data, capacity, places.recent, None)?;
        if end.position - places.floor.position > capacity {
            return None;
        }
        // STATE: no counts are published before it; see `Sender::tell`.
        ring.store(layout::entry(index) + layout::POSITION, end.position, Edge::State);
        Some(StreamPublisher {
            front: Front {
                written: end,
                tally: Tally::default(),
                fast_until: end.position,
                mask: capacity - 1,
                is_behind: false,
            },
            gates: Gates::new(view.consumers),
            view,
            history: History::resume(places),
            limit: end.position,
            lent: None,
            ease_bytes: u64::MAX,
            pressure: Pressure::new(None),
        })
    }

    /// Returns the same publisher, which publishes the pressure by these watermarks.
    pub fn with_watermarks(self, marks: Option<Watermarks>) -> Self {
        StreamPublisher { pressure: Pressure::new(marks), ..self }
    }

    /// After the next slow path, at most `bytes` bytes are written on the fast path before the slow
    /// path is taken again.
    pub fn ease(&mut self, bytes: u64) {
        self.ease_bytes = bytes;
    }

    /// The place where the next event will be committed.
    pub fn place(&self) -> Place {
        self.front.written
    }

    /// How much this publisher has committed.
    #[inline(always)]
    pub fn tally(&self) -> Tally {
        self.front.tally
    }

    /// The largest body that a frame may have, in bytes.
    pub fn body_max(&self) -> u64 {
        frame::frame_max(self.view.capacity) - frame::HEADER
    }

    /// Claims room for a body of `body_bytes`. Nothing is visible before [`Self::commit`]. To give
    /// a claim up, make another one or do nothing.
    #[inline(always)]
    pub fn claim(&mut self, body_bytes: u64) -> Result<Claim, NoRoom> {
        match self.claim_fast(body_bytes) {
            Some(claim) => Ok(claim),
            None => self.claim_slow(body_bytes),
        }
    }

    /// Claims room if that needs neither padding nor a look at the cursors.
    #[inline(always)]
    pub fn claim_fast(&mut self, body_bytes: u64) -> Option<Claim> {
        self.front.claim(&self.view.data, body_bytes)
    }

    /// Commits the whole of a claim of [`Self::claim_fast`], without extensions.
    #[inline(always)]
    pub fn commit_fast(&mut self, claim: Claim, header: u64) {
        self.front.commit(&self.view.data, claim, header);
    }

    /// Publishes `payloads`, without extensions, until one does not fit the fast path of
    /// [`Self::claim_fast`]. Returns how many were published. `put` copies a payload to a byte
    /// offset in the data.
    #[inline(always)]
    pub fn publish_all_fast<'a>(
        &mut self,
        payloads: impl Iterator<Item = &'a [u8]>,
        put: impl Fn(usize, &[u8]),
    ) -> usize {
        let data = self.view.data.clone();
        // This is a copy, which the compiler may keep in registers. It is put back even if an
        // iterator panics.
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
    fn claim_slow(&mut self, body_bytes: u64) -> Result<Claim, NoRoom> {
        if body_bytes > self.body_max() {
            return Err(NoRoom::TooLong);
        }
        let frame_bytes = frame::frame_bytes(body_bytes);
        let begun = self.front.written.position;
        loop {
            let position = self.front.written.position;
            let to_end = self.view.capacity - (position & (self.view.capacity - 1));
            let padding = if frame_bytes > to_end { to_end } else { 0 };
            let need = padding + frame_bytes + frame::HEADER;
            let (start, end) = (position + padding, position + padding + frame_bytes);
            if (position + need > self.limit || self.pressure.is_due(end))
                && let Some(reader) = self.rescan(need)
            {
                return Err(NoRoom::Gate(reader));
            }
            let lent = self.lent.filter(|lent| lent.to > position);
            if let Some(lent) = lent.filter(|lent| lent.meets(start, end)) {
                if position - begun > self.view.capacity {
                    return Err(NoRoom::Gate(lent.entry)); // The ring has no room for so large a frame.
                }
                self.step_over(lent)?;
                continue;
            }
            if lent.is_some_and(|lent| lent.to <= start) {
                // The padding before the frame steps over the lent bytes. The next claim looks for
                // the lent bytes after them.
                self.limit = end + frame::HEADER;
            }
            self.front.fast_until = ((position | self.front.mask) + 1)
                .min(self.limit - frame::HEADER)
                .min(self.pressure.until)
                .min(end.saturating_add(self.ease_bytes))
                .min(lent.map_or(u64::MAX, |lent| lent.from.max(position)));
            return Ok(self.front.begin(&self.view.data, Claim { start, padding, body_bytes }));
        }
    }

    /// Commits padding over bytes that an evicted subscriber may read, at most up to the end of the
    /// lap.
    #[cold]
    fn step_over(&mut self, lent: Lent) -> Result<(), NoRoom> {
        let position = self.front.written.position;
        let lap_end = (position | self.front.mask) + 1;
        // Only whole words, whatever the entry says.
        let from = lent.from & !7;
        let to = if position < from { from } else { lent.to };
        let to = to.min(lap_end).next_multiple_of(8);
        let need = to - position + frame::HEADER;
        if position + need > self.limit
            && let Some(reader) = self.rescan(need)
        {
            return Err(NoRoom::Gate(if reader == usize::MAX { lent.entry } else { reader }));
        }
        if to - position >= self.view.capacity {
            return Err(NoRoom::Gate(lent.entry)); // All bytes of the ring are lent.
        }
        // The walk must end here, as in `begin`. This header lies behind the lent bytes, so it is
        // in no body that may be read.
        self.front.store_header(&self.view.data, to, 0, Edge::Plain);
        self.front.show(&self.view.data, position, frame::padding(to - position));
        self.front.written.position = to;
        // The next claim looks for the lent bytes after these.
        (self.front.fast_until, self.limit) = (to, to);
        Ok(())
    }

    /// Reads the cursors again. Returns the reader in the way if `need` more bytes do not fit, or
    /// `usize::MAX` if it is not a reader that is in the way.
    fn rescan(&mut self, need: u64) -> Option<usize> {
        let here = self.place();
        let stride = self.view.capacity / 8;
        // A first look finds the lowest gate, so that the floor is never raised above a reader's
        // cursor.
        let first = self.gates.lowest(&self.view.acks, here.position);
        self.history.note(here, stride);
        self.history
            .raise((here.position + need + stride).saturating_sub(self.view.capacity), first.position);
        self.front.is_behind = first.position + PREFETCH <= here.position && need >= LINE + frame::HEADER;
        self.history.publish(&self.view.ring);
        // JOIN: the places are published before the cursors are read. A joiner stores its cursor,
        // fences, and reads the index again. So either this scan sees its cursor, or the joiner
        // sees these places and starts at them. The fence also orders the floor before the bytes
        // that are overwritten next (OVERWRITE, for lossy readers).
        self.view.ring.fence(Edge::Join);
        let lowest = self.gates.lowest(&self.view.acks, self.history.floor().position);
        // A joiner's cursor may for a moment lie below the place that it will start from. The limit
        // may then be below `position`.
        let limit = lowest.position.saturating_add(self.view.capacity);
        let passed_evicted = first.passed_evicted || lowest.passed_evicted;
        self.lent = passed_evicted
            .then(|| self.gates.lent(&self.view.acks, here.position, self.view.capacity))
            .flatten();
        self.limit = limit.min(here.position + need.max(stride));
        self.front.fast_until = here.position;
        let (end, fits) = (here.position + need - frame::HEADER, here.position + need <= self.limit);
        // Where the floor is in the way, the ring is full before the slowest reader is a whole ring
        // behind.
        let slowest = if fits { first.position } else { end.saturating_sub(self.view.capacity) };
        self.pressure.look(&self.view.ring, || (slowest, end));
        if fits { None } else { Some(lowest.entry.or(first.entry).unwrap_or(usize::MAX)) }
    }

    /// Measures the pressure again and returns it. The next claim looks at the cursors.
    pub fn look_at_pressure(&mut self) -> bool {
        let here = self.place().position;
        self.front.fast_until = here;
        self.pressure.look(&self.view.ring, || (self.gates.lowest(&self.view.acks, here).position, here))
    }

    /// The slowest reader that holds events back, and its position.
    pub fn slowest(&self) -> Lowest {
        self.gates.lowest(&self.view.acks, self.place().position)
    }

    /// The byte offset in the data where a claim's body starts.
    #[inline(always)]
    pub fn body_offset(&self, claim: Claim) -> usize {
        self.front.body_offset(claim)
    }

    /// Commits a claim whose body has been written. The length in `header`, its header word, may be
    /// shorter than the claim.
    #[inline(always)]
    pub fn commit(&mut self, claim: Claim, header: u64) {
        debug_assert!(frame::body_bytes(header) as u64 <= claim.body_bytes);
        let (front, data) = (&mut self.front, &self.view.data);
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
            // The frame is invisible as long as the padding before it is.
            front.store_header(data, claim.start, header, Edge::Plain);
            frame::padding(claim.padding)
        };
        front.show(data, position, word);
        front.count(data, next, frame::payload_bytes(header) as u64);
    }

    /// Passes over the reader in the way if it is dead and holds no durable name. Returns true if
    /// the caller should try again.
    pub fn pass_over_dead<P: Peers>(&mut self, reader: usize, peers: &P) -> bool {
        reader != usize::MAX
            && self.gates.pass_over_dead(&self.view.acks, reader, || peers.is_dead(Side::Consumers, reader))
    }
}

/// Writes the copy of a publisher's [`Front`] back when it is dropped.
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
