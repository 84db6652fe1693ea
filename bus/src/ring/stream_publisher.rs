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
//! private state lies in one line and is changed last. A frame never straddles the end of the ring: a padding frame fills it up, and is committed
//! after the frame behind it, so that both appear at once. A batch is written behind an uncommitted first header
//! and appears when that is stored.
//!
//! **Limit.** The publisher may write up to `min(gates, floor) + capacity`. At a rescan it notes where it is,
//! raises the floor as far as it needs (never above a gate), publishes both places, fences, and reads the cursors:
//! the publisher's half of the JOIN pair. Limits are also kept short enough that the recent place is never more
//! than a stride, or one frame, behind.

use crate::layout;
use crate::memory::{Edge, Memory};
use crate::ring::anchor::{self, History, Place};
use crate::ring::frame;
use crate::ring::gates::{Gates, Lowest};
use crate::ring::peers::{Peers, Side};
use crate::ring::pressure::{Pressure, Watermarks};
use crate::ring::stream_subscriber::walk;
use crate::ring::tally::Tally;

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

/// An open batch.
#[derive(Debug, Clone, Copy)]
struct Batch {
    /// Its first header word, which is stored last.
    word: u64,
    /// Where that goes, which is where everything before it is committed.
    committed: Place,
}

/// The publisher's private state; first the line that each event changes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct StreamPublisher<M> {
    /// What is written; all of it is committed unless a batch is open.
    written: Place,
    tally: Tally,
    /// A frame that ends at or before this position needs neither padding nor a rescan, nor a look at the pressure.
    room_until: u64,
    /// The same, but 0 while a batch is open.
    easy_until: u64,
    /// The capacity less one.
    mask: u64,
    /// Whether to ask for lines ahead.
    is_behind: bool,
    ring: M,
    acks: M,
    data: M,
    capacity: u64,
    gates: Gates,
    history: History,
    batch: Option<Batch>,
    limit: u64,
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
        let anchors = anchor::read(&ring, 1)?;
        // JOIN: the predecessor may have been killed between its last index and the fence that follows each: this
        // one stands in for it. The entry that is filled next is the one before that index, and who reads it
        // filled must see the index (see `anchor::read`).
        ring.fence(Edge::Join);
        // A predecessor killed between its index and its floor left the lone floor word behind.
        // ANCHOR: as in `History::publish`.
        ring.store(layout::ANCHOR_FLOOR, anchors.floor.position, Edge::Anchor);
        let end = walk(&data, capacity, anchors.recent, None)?;
        if end.position - anchors.floor.position > capacity {
            return None;
        }
        // STATE: no counts are told before it; see `Sender::tell`.
        ring.store(layout::entry(index) + layout::POSITION, end.position, Edge::State);
        Some(StreamPublisher {
            written: end,
            tally: Tally::default(),
            room_until: end.position,
            easy_until: end.position,
            mask: capacity - 1,
            is_behind: false,
            ring,
            acks,
            data,
            capacity,
            gates: Gates::new(consumers),
            history: History::resume(anchors),
            batch: None,
            limit: end.position,
            pressure: Pressure::new(None),
        })
    }

    /// The same, telling the pressure.
    pub fn with_watermarks(self, marks: Option<Watermarks>) -> Self {
        StreamPublisher { pressure: Pressure::new(marks), ..self }
    }

    /// Where the next event will be committed, and how many were before it.
    pub fn place(&self) -> Place {
        self.batch.map_or(self.written, |batch| batch.committed)
    }

    /// What this publisher has written; all of it is committed unless a batch is open.
    #[inline(always)]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Largest body, in bytes, that a frame may have.
    pub fn body_max(&self) -> u64 {
        frame::frame_max(self.capacity) - frame::HEADER
    }

    /// Claims room for a body of `body_bytes`. Nothing is visible until [`Self::commit`]; a claim is given up by
    /// making another or by doing nothing.
    #[inline(always)]
    pub fn claim(&mut self, body_bytes: u64) -> Result<Claim, Refused> {
        let start = self.written.position;
        if body_bytes <= self.mask && start + frame::frame_bytes(body_bytes) <= self.room_until {
            return Ok(self.begin(Claim { start, padding: 0, body_bytes }));
        }
        self.claim_slowly(body_bytes)
    }

    /// Puts the walk's end behind a frame that is about to be written.
    #[inline(always)]
    fn begin(&self, claim: Claim) -> Claim {
        // The walk must end here: the next header is empty before this frame exists. COMMIT orders it.
        self.store_header(claim.start + frame::frame_bytes(claim.body_bytes), 0, Edge::Plain);
        claim
    }

    /// Claims room where neither padding, nor a look at the cursors, nor an open batch is in the way.
    #[inline(always)]
    pub fn claim_easily(&mut self, body_bytes: u64) -> Option<Claim> {
        let start = self.written.position;
        // No frame larger than allowed ends before `easy_until`: the limit never runs that far ahead. The first
        // comparison keeps the sum from wrapping.
        let easy = body_bytes <= self.mask && start + frame::frame_bytes(body_bytes) <= self.easy_until;
        easy.then(|| self.begin(Claim { start, padding: 0, body_bytes }))
    }

    /// Commits all of what [`Self::claim_easily`] claimed, without extensions.
    #[inline(always)]
    pub fn commit_easily(&mut self, claim: Claim, header: u64) {
        debug_assert_eq!((frame::body_bytes(header) as u64, frame::flags(header)), (claim.body_bytes, 0));
        self.show(claim.start, header);
        self.count(claim.start + frame::frame_bytes(claim.body_bytes), claim.body_bytes);
    }

    /// Steps over a frame that was written.
    #[inline(always)]
    fn count(&mut self, next: u64, payload_bytes: u64) {
        self.written = Place { position: next, count: self.written.count + 1 };
        self.tally.add(payload_bytes);
        if self.is_behind {
            self.data.prefetch_write(((next + PREFETCH) & self.mask) as usize);
        }
    }

    #[cold]
    fn claim_slowly(&mut self, body_bytes: u64) -> Result<Claim, Refused> {
        if body_bytes > self.body_max() {
            return Err(Refused::TooLong);
        }
        let frame_bytes = frame::frame_bytes(body_bytes);
        let position = self.written.position;
        let to_end = self.capacity - (position & (self.capacity - 1));
        let padding = if frame_bytes > to_end { to_end } else { 0 };
        let need = padding + frame_bytes + frame::HEADER;
        let end = position + padding + frame_bytes;
        if position + need > self.limit || self.pressure.is_due(end) {
            self.flush();
            if let Some(reader) = self.rescan(need) {
                return Err(Refused::Gate(reader));
            }
        }
        self.room_until =
            ((position | self.mask) + 1).min(self.limit - frame::HEADER).min(self.pressure.until);
        self.easy_until = if self.batch.is_none() { self.room_until } else { 0 };
        Ok(self.begin(Claim { start: position + padding, padding, body_bytes }))
    }

    /// Looks at the cursors anew. Returns the reader in the way if `need` more bytes do not fit.
    fn rescan(&mut self, need: u64) -> Option<usize> {
        let here = self.place();
        let stride = self.capacity / 8;
        // A first look bounds the floor by the gates, so that the floor is never above a reader's cursor.
        let first = self.gates.lowest(&self.acks, here.position);
        self.history.note(here, stride);
        self.history.raise((here.position + need + stride).saturating_sub(self.capacity), first.position);
        self.is_behind = first.position + PREFETCH <= here.position && need >= LINE + frame::HEADER;
        self.history.publish(&self.ring);
        // JOIN: the places are published before the cursors are read. A joiner stores its cursor, fences, and
        // reads the index again: either this scan sees its cursor, or it sees these places and starts at them.
        // It also orders the floor before the bytes that are overwritten next (OVERWRITE, for lossy readers).
        self.ring.fence(Edge::Join);
        let lowest = self.gates.lowest(&self.acks, self.history.floor().position);
        // A joiner's cursor may briefly lie below what it will start from: the limit may then be below `position`.
        let limit = lowest.position.saturating_add(self.capacity);
        self.limit = limit.min(here.position + need.max(stride));
        (self.room_until, self.easy_until) = (here.position, here.position);
        let (end, fits) = (here.position + need - frame::HEADER, here.position + need <= self.limit);
        // Where the floor is in the way, the ring is full before the slowest reader is a whole ring behind.
        let slowest = if fits { first.position } else { end.saturating_sub(self.capacity) };
        self.pressure.look(&self.ring, || (slowest, end));
        if fits { None } else { Some(lowest.entry.or(first.entry).unwrap_or(usize::MAX)) }
    }

    /// Measures the pressure anew. The next claim looks at the cursors.
    pub fn look_at_pressure(&mut self) -> bool {
        let here = self.place().position;
        (self.room_until, self.easy_until) = (self.written.position, self.written.position);
        self.pressure.look(&self.ring, || (self.gates.lowest(&self.acks, here).position, here))
    }

    /// The slowest reader that holds events back, and where it is.
    pub fn slowest(&self) -> Lowest {
        self.gates.lowest(&self.acks, self.place().position)
    }

    /// Byte offset in the data where a claim's body starts.
    #[inline(always)]
    pub fn body_offset(&self, claim: Claim) -> usize {
        (claim.start & self.mask) as usize + frame::HEADER as usize
    }

    /// Commits a claim whose body has been written, with `header` as its header word (whose length may be shorter
    /// than what was claimed). With `batch` it stays invisible until [`Self::flush`].
    #[inline(always)]
    pub fn commit(&mut self, claim: Claim, header: u64, batch: bool) {
        debug_assert!(frame::body_bytes(header) as u64 <= claim.body_bytes);
        let body = frame::body_bytes(header) as u64;
        let next = claim.start + frame::frame_bytes(body);
        let position = self.written.position;
        debug_assert_eq!(position + claim.padding, claim.start);
        if body < claim.body_bytes {
            // The walk must end here, as in `begin`.
            self.store_header(next, 0, Edge::Plain);
        }
        let (committed, word) = if claim.padding == 0 {
            (self.written, header)
        } else {
            // Invisible as long as the padding before it is.
            self.store_header(claim.start, header, Edge::Plain);
            (self.written, frame::padding(claim.padding))
        };
        self.count(next, frame::payload_bytes(header) as u64);
        match self.batch {
            None if batch => {
                self.batch = Some(Batch { word, committed });
                self.easy_until = 0;
            }
            None => self.show(position, word),
            Some(_) => {
                // Behind the batch's first header, which is still empty.
                self.store_header(position, word, Edge::Plain);
                if !batch {
                    self.flush();
                }
            }
        }
    }

    /// Makes an open batch visible.
    #[inline(always)]
    pub fn flush(&mut self) {
        if let Some(Batch { word, committed }) = self.batch.take() {
            self.easy_until = self.room_until;
            self.show(committed.position, word);
        }
    }

    /// Whether a batch is open.
    #[inline(always)]
    pub fn is_batching(&self) -> bool {
        self.batch.is_some()
    }

    /// Bytes written since the batch was opened.
    #[inline(always)]
    pub fn batch_bytes(&self) -> u64 {
        self.written.position - self.place().position
    }

    #[inline(always)]
    fn show(&mut self, position: u64, word: u64) {
        // COMMIT: pairs with the load in the subscriber's `poll`: who sees this word sees the bytes, the frames
        // behind it in the batch, and the empty header at the end.
        self.store_header(position, word, Edge::Commit);
    }

    #[inline(always)]
    fn store_header(&self, position: u64, word: u64, edge: Edge) {
        self.data.store((position & self.mask) as usize, word, edge);
    }

    /// Passes over the reader in the way if it is dead and holds no durable name. True: try again.
    pub fn pass_over_dead<P: Peers>(&mut self, reader: usize, peers: &P) -> bool {
        reader != usize::MAX
            && self.gates.pass_over_dead(&self.acks, reader, || peers.is_dead(Side::Consumers, reader))
    }
}
