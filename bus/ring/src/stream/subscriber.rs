//! The stream's subscriber: a cursor over committed frames.
//!
//! ```text
//! poll:  w = header at position (COMMIT);  0 => empty;  padding => step over it;  else the event
//! ```
//!
//! A *reliable* subscriber's cursor, in its own line of `.acks`, is a gate: what it has not passed is not
//! overwritten, and events are read in place. The cursor follows lazily, an eighth of the ring at a time,
//! and at once whenever the ring is found empty, because a publisher may be waiting for exactly that room.
//! It says in its entry what it may look at, an eighth of the ring at a time, for the case that it is
//! evicted ([`crate::members::lent`]).
//!
//! A *lossy* subscriber gates nobody. It copies each event and then looks at the floor again: if the floor has
//! passed the event, the copy may be torn and is thrown away, and the subscriber resumes at the publisher's recent
//! place, whose event count tells exactly how many events were lost.
//!
//! **Joining** (the joiner's half of the JOIN pair): store the floor as cursor, fence, read the places again. If
//! they have not changed, every later scan sees the cursor; if they have, take the new floor and repeat. The
//! publisher is gated by the cursor stored first, so this ends.

use crate::members::gates::NO_GATE;
use crate::members::join::{JoinError, StartAt};
use crate::members::lent::{self, LentSpan};
use crate::memory::{Edge, Memory};
use crate::opaque::opaque;
use crate::stream::places::{self, Place, PlacePair};
use crate::{frame, layout};

/// A frame in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its position.
    pub position: u64,
    /// Its header word.
    pub header: u64,
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// An event.
    Event(Frame),
    /// Nothing yet.
    Empty,
    /// A lossy subscriber was overrun and has resumed: `events` events between the two positions are lost.
    Lost {
        /// First lost position.
        from: u64,
        /// Where it resumed.
        to: u64,
        /// How many events.
        events: u64,
    },
    /// The ring holds what no publisher writes.
    Corrupt,
}

/// Walks along committed frames from `place` to the first empty header, or to `until`. At most one ring's worth.
/// `None` when it meets what no publisher writes.
pub fn walk<M: Memory>(data: &M, capacity: u64, place: Place, until: Option<u64>) -> Option<Place> {
    walk_each(data, capacity, place, until, |_| {})
}

/// As [`walk`], and shows each event's header word.
pub fn walk_each<M: Memory>(
    data: &M,
    capacity: u64,
    place: Place,
    until: Option<u64>,
    mut each: impl FnMut(u64),
) -> Option<Place> {
    let body_max = frame::frame_max(capacity) - frame::HEADER;
    let mut at = place;
    if !at.position.is_multiple_of(8) {
        return None;
    }
    while until.is_none_or(|end| at.position < end) {
        if at.position - place.position > capacity {
            return None;
        }
        let offset = at.position & (capacity - 1);
        // COMMIT: as in `poll`.
        let word = data.load(offset as usize, Edge::Commit);
        if word == 0 {
            break;
        }
        if word & frame::PADDING != 0 {
            at.position += frame::padding_bytes(word, offset, capacity)?;
        } else {
            let bytes = frame::frame_bytes(frame::body_bytes(word) as u64);
            if !frame::is_event(word, body_max) || offset + bytes > capacity {
                return None;
            }
            each(word);
            at = Place { position: at.position + bytes, count: at.count + 1 };
        }
    }
    Some(at)
}

/// The subscriber's private state.
#[derive(Debug)]
pub struct StreamSubscriber<M> {
    ring: M,
    acks: M,
    data: M,
    /// Own registry entry, as an offset.
    entry: usize,
    capacity: u64,
    /// The next frame.
    place: Place,
    /// What the cursor word says.
    published: u64,
    easy: Easy,
    /// The span that the entry names.
    lent: LentSpan,
    lossy: bool,
}

/// What the easy way to the next event needs to know.
#[derive(Debug, Clone, Copy)]
struct Easy {
    /// Events before this position may be read without publishing the cursor; 0 for lossy subscribers.
    until: u64,
    /// The capacity less one.
    mask: u64,
    /// Bytes of the last frame that was polled easily: what the next is expected to take.
    expected_bytes: u64,
}

impl Easy {
    /// The event at `position`, the next, and where the one behind it starts.
    #[inline(always)]
    fn look<M: Memory>(&mut self, data: &M, position: u64) -> Option<(Frame, u64)> {
        let offset = position & self.mask;
        // COMMIT: as in `poll_held`.
        let header = data.load(offset as usize, Edge::Commit);
        let frame_bytes = frame::frame_bytes(frame::body_bytes(header) as u64);
        // Where the next frame starts depends on this header, and so would every read on the one before it. Most
        // frames are as long as the last: then the processor goes on without waiting for the header.
        let expected = position + opaque(self.expected_bytes);
        let next = if frame_bytes == self.expected_bytes {
            expected
        } else {
            self.expected_bytes = frame_bytes;
            position + frame_bytes
        };
        // Nothing easy reaches beyond the end of the lap.
        if next > self.until || !frame::is_plain(header) {
            return None;
        }
        Some((Frame { position, header }, next))
    }

    /// Byte offset in the data of a frame's body.
    #[inline(always)]
    fn body_offset(&self, frame: Frame) -> usize {
        (frame.position & self.mask) as usize + frame::HEADER as usize
    }
}

impl<M: Memory> StreamSubscriber<M> {
    /// A subscriber registered in entry `index`, which has not joined: [`Self::join`] or [`Self::resume`] follows.
    pub fn new(ring: M, acks: M, data: M, index: usize, capacity: u64, lossy: bool) -> Self {
        let entry = layout::entry(index);
        StreamSubscriber {
            ring,
            acks,
            data,
            entry,
            capacity,
            place: Place::default(),
            published: NO_GATE,
            easy: Easy { until: 0, mask: capacity - 1, expected_bytes: 0 },
            lent: LentSpan { from: 0, to: 0 },
            lossy,
        }
    }

    /// The next position to be read, and how many events lie before it.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Joins at `from`.
    pub fn join(&mut self, from: StartAt) -> Result<(), JoinError> {
        let mut places = places::read(&self.ring, 1000).ok_or(JoinError::Corrupt)?;
        if !self.lossy {
            // The publisher is gated by the first cursor stored, a ring at most ahead of it, and a ring holds at
            // most nine strides: more changes than that are not a publisher's doing.
            let mut tries = 64;
            loop {
                self.store_cursor(places.floor.position);
                // JOIN: pairs with the publisher's rescan.
                self.acks.fence(Edge::Join);
                let again = places::read(&self.ring, 1000).ok_or(JoinError::Corrupt)?;
                if again.index == places.index {
                    break;
                }
                places = again;
                tries -= 1;
                if tries == 0 {
                    return Err(JoinError::Corrupt);
                }
            }
        }
        // A lossy joiner that is lapped while it walks starts over: each time takes the publisher a whole ring.
        let mut tries = 64;
        while !self.start(places, from)? {
            tries -= 1;
            places = places::read(&self.ring, 1000).ok_or(JoinError::Corrupt)?;
            if tries == 0 {
                return Err(JoinError::TooOld(places.floor.position));
            }
        }
        if !self.lossy {
            self.store_cursor(self.place.position);
        }
        // STATE: the cursor is stored before; it protects what lies behind it.
        self.acks.store(self.entry + layout::JOINED, 1, Edge::State);
        Ok(())
    }

    /// Finds the place to start at. A reliable joiner is gated at the floor; a lossy one may be overtaken while it
    /// walks. Returns whether the walk saw nothing but what it was looking for: a header read where a later lap has
    /// put payload leads to a place where no frame begins, which no later look at the floor would notice.
    fn start(&mut self, places: PlacePair, from: StartAt) -> Result<bool, JoinError> {
        let PlacePair { floor, recent, .. } = places;
        if recent.position - floor.position > self.capacity {
            return Err(JoinError::Corrupt);
        }
        let place = match from {
            StartAt::Oldest => {
                self.place = floor;
                return Ok(true);
            }
            StartAt::Position(wanted) if wanted < floor.position => {
                return Err(JoinError::TooOld(floor.position));
            }
            StartAt::Position(wanted) if wanted < recent.position => floor,
            StartAt::Live | StartAt::Position(_) => recent,
        };
        let until = if let StartAt::Position(wanted) = from { Some(wanted) } else { None };
        let end = walk(&self.data, self.capacity, place, until);
        if self.lossy && self.is_overrun(place.position) {
            return Ok(false);
        }
        let end = end.ok_or(JoinError::Corrupt)?;
        if let Some(wanted) = until {
            match end.position.cmp(&wanted) {
                std::cmp::Ordering::Less => return Err(JoinError::Beyond(end.position)),
                std::cmp::Ordering::Greater => return Err(JoinError::NoBoundary),
                std::cmp::Ordering::Equal => {}
            }
        }
        self.place = end;
        Ok(true)
    }

    /// Resumes at a cursor that has gated the publisher all the time (a durable subscription's). The event count
    /// is found by walking from the places that are known.
    ///
    /// The cursor may lie below the floor: a publisher that looked at the cursors just before this one was stored
    /// raised the floor after. Its limit, read behind the JOIN fence, protects the events between all the same.
    pub fn resume(&mut self, cursor: u64) -> Result<(), JoinError> {
        self.published = cursor;
        // The publisher may raise the floor, up to the cursor, and overwrite what lies below while this walks there.
        // Then the places have changed; it is gated, so they come to rest (as in `join`).
        for _ in 0..64 {
            let PlacePair { index, floor, recent } =
                places::read(&self.ring, 1000).ok_or(JoinError::Corrupt)?;
            let walked = |from, until| {
                walk(&self.data, self.capacity, from, Some(until)).filter(|end| end.position == until)
            };
            let count = if cursor >= floor.position {
                let from = if cursor >= recent.position { recent } else { floor };
                walked(from, cursor).map(|end| end.count)
            } else {
                let between = walked(Place { position: cursor, count: 0 }, floor.position);
                between.and_then(|end| floor.count.checked_sub(end.count))
            };
            // VALIDATE: pairs with the JOIN fence between the publisher's places and what it overwrites then.
            self.data.fence(Edge::Validate);
            if self.ring.load(layout::ANCHOR_INDEX, Edge::Places) != index {
                continue;
            }
            self.place = Place { position: cursor, count: count.ok_or(JoinError::Corrupt)? };
            self.renew_fast_until(cursor);
            return Ok(());
        }
        Err(JoinError::Corrupt)
    }

    /// The next event, in place, where it is there, carries no flags, and the cursor need not be published.
    #[inline(always)]
    pub fn poll_fast(&mut self) -> Option<Frame> {
        let (frame, next) = self.easy.look(&self.data, self.place.position)?;
        self.place = Place { position: next, count: self.place.count + 1 };
        Some(frame)
    }

    /// Shows up to `most` of the next events, as far as [`Self::poll_fast`] gets them, with the byte offsets of their
    /// bodies; how many.
    #[inline(always)]
    pub fn poll_all_fast(&mut self, most: usize, mut each: impl FnMut(Frame, usize)) -> usize {
        let (mut position, mut count) = (self.place.position, 0);
        while count < most {
            let Some((frame, next)) = self.easy.look(&self.data, position) else { break };
            each(frame, self.body_offset(frame));
            (position, count) = (next, count + 1);
        }
        self.place = Place { position, count: self.place.count + count as u64 };
        count
    }

    /// The next event, in place. The event before it is released: the cursor may pass it. `released` is called
    /// where it does: the publisher may wait for that room.
    #[inline(always)]
    pub fn poll(&mut self, released: impl FnOnce()) -> Poll {
        if self.place.position - self.published >= self.capacity / 8 && self.acknowledge() {
            released();
        }
        self.poll_next(false)
    }

    /// The next event, in place, where nothing else is lent. As much as an eighth of the ring is easy, from
    /// the cursor on; with `unreleased`, from the position on.
    #[inline(always)]
    fn poll_next(&mut self, unreleased: bool) -> Poll {
        let before = self.place.position;
        let polled = self.poll_in_place();
        if self.place.position > self.lent.to && matches!(polled, Poll::Event(_)) {
            self.lend(before);
        }
        // It may have stepped into the next lap.
        self.renew_fast_until(if unreleased { self.place.position } else { self.published });
        polled
    }

    /// The next event, in place, without releasing those before it: they stay lent.
    #[inline(always)]
    pub fn poll_held(&mut self) -> Poll {
        let before = self.place.position;
        let polled = self.poll_in_place();
        if self.place.position > self.lent.to && matches!(polled, Poll::Event(_)) {
            self.lend(if self.lent.to == 0 { before } else { self.lent.from });
        }
        polled
    }

    /// To be called where nothing is lent, before several events are polled and held: says what they may be.
    pub fn begin_batch(&mut self) {
        if self.place.position >= self.easy.until && !self.lossy {
            self.lend(self.place.position);
            self.renew_fast_until(self.published);
        }
    }

    /// Says that what is lent begins at `from`, and may come to lie up to an eighth of the ring beyond the
    /// position.
    fn lend(&mut self, from: u64) {
        self.lent = LentSpan { from, to: self.place.position.saturating_add(self.capacity / 8) };
        lent::lend(&self.acks, self.entry, self.lent);
    }

    /// To be called by a subscriber that finds itself evicted: nothing is lent any more.
    pub fn take_back_lent(&mut self) {
        self.lent = LentSpan { from: 0, to: 0 };
        self.easy.until = 0;
        lent::take_back(&self.acks, self.entry);
    }

    #[inline(always)]
    fn poll_in_place(&mut self) -> Poll {
        let first = self.place.position;
        loop {
            let position = self.place.position;
            let offset = position & (self.capacity - 1);
            // COMMIT: pairs with the store in the publisher's `show`: a header that is not zero brings its bytes.
            let header = self.data.load(offset as usize, Edge::Commit);
            if header == 0 {
                return Poll::Empty;
            }
            let frame_bytes = frame::frame_bytes(frame::body_bytes(header) as u64);
            if frame::is_event(header, self.capacity / 2) && offset + frame_bytes <= self.capacity {
                self.place = Place { position: position + frame_bytes, count: self.place.count + 1 };
                return Poll::Event(Frame { position, header });
            }
            let Some(padding) = frame::padding_bytes(header, offset, self.capacity) else {
                return Poll::Corrupt;
            };
            self.place.position = position + padding;
            // No publisher fills a ring with padding.
            if self.place.position - first > self.capacity {
                return Poll::Corrupt;
            }
        }
    }

    /// Publishes the cursor: everything polled so far may be overwritten. Returns whether it moved: then producers that wait
    /// for room are to be woken.
    #[must_use]
    #[inline(always)]
    pub fn acknowledge(&mut self) -> bool {
        let behind = self.published != self.place.position;
        if behind {
            self.store_cursor(self.place.position);
        }
        behind
    }

    /// Publishes the cursor at `position`, where an event that was polled starts, or the last one ends. One that lies
    /// before the cursor changes nothing. Returns whether the cursor moved.
    ///
    /// Walks along the headers from the cursor on, to see that an event starts there: a cursor elsewhere would make
    /// its successor read payload as headers.
    pub fn acknowledge_to(&mut self, position: u64) -> Result<bool, JoinError> {
        if position > self.place.position {
            return Err(JoinError::Beyond(self.place.position));
        }
        if position <= self.published {
            return Ok(false);
        }
        if position < self.place.position {
            let from = Place { position: self.published, count: 0 };
            let end = walk(&self.data, self.capacity, from, Some(position)).ok_or(JoinError::Corrupt)?;
            if end.position != position {
                return Err(JoinError::NoBoundary);
            }
        }
        self.store_cursor(position);
        Ok(true)
    }

    /// What the cursor word says: everything before it was acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.published
    }

    /// As [`Self::poll`]; but no event is released, and the cursor stays.
    pub fn poll_unreleased(&mut self) -> Poll {
        self.poll_next(true)
    }

    /// As [`Self::poll_held`], with the cursor as in [`Self::poll_unreleased`].
    pub fn poll_held_unreleased(&mut self) -> Poll {
        let polled = self.poll_held();
        self.renew_fast_until(self.place.position);
        polled
    }

    /// Whether the cursor word lags behind what was polled.
    #[inline(always)]
    pub fn is_behind(&self) -> bool {
        self.published != self.place.position
    }

    #[inline(always)]
    fn store_cursor(&mut self, position: u64) {
        self.published = position;
        self.renew_fast_until(position);
        // CURSOR: pairs with the load in `Gates::lowest`: all reads of what lies before are done.
        self.acks.store(self.entry + layout::CURSOR, position, Edge::Cursor);
    }

    /// Frames that end before the next eighth of the ring, and before the end of the lap, are easy.
    #[inline(always)]
    fn renew_fast_until(&mut self, cursor: u64) {
        let lap_end = (self.place.position | self.easy.mask).saturating_add(1);
        self.easy.until = cursor.saturating_add(self.capacity / 8).min(lap_end).min(self.lent.to);
    }

    /// Byte offset in the data of a frame's body.
    #[inline(always)]
    pub fn body_offset(&self, frame: Frame) -> usize {
        self.easy.body_offset(frame)
    }

    /// The next event of a lossy subscriber, copied into `copy` (whole words; the body's bytes are the first
    /// [`frame::body_bytes`] of them).
    pub fn poll_lossy(&mut self, copy: &mut Vec<u64>) -> Poll {
        let first = self.place.position;
        loop {
            let position = self.place.position;
            let offset = position & (self.capacity - 1);
            // COMMIT: as in `poll_held`.
            let header = self.data.load(offset as usize, Edge::Commit);
            // Also an empty header may be that of a later lap: a lapped reader must not wait here for ever.
            if self.is_overrun(position) {
                return self.skip_to_recent();
            }
            if header == 0 {
                return Poll::Empty;
            }
            if let Some(padding) = frame::padding_bytes(header, offset, self.capacity) {
                self.place.position = position + padding;
                if self.place.position - first > self.capacity {
                    return Poll::Corrupt; // No publisher fills a ring with padding.
                }
                continue;
            }
            let body_bytes = frame::body_bytes(header) as u64;
            let frame_bytes = frame::frame_bytes(body_bytes);
            if !frame::is_event(header, self.capacity / 2) || offset + frame_bytes > self.capacity {
                return Poll::Corrupt;
            }
            let body = offset as usize + frame::HEADER as usize;
            copy.clear();
            copy.extend(
                (0..body_bytes.div_ceil(8) as usize).map(|i| self.data.load(body + i * 8, Edge::Plain)),
            );
            if self.is_overrun(position) {
                return self.skip_to_recent();
            }
            self.place = Place { position: position + frame_bytes, count: self.place.count + 1 };
            return Poll::Event(Frame { position, header });
        }
    }

    /// Whether what was read at `position` before this call may have been overwritten.
    fn is_overrun(&self, position: u64) -> bool {
        // VALIDATE: pairs with the fence in the publisher's rescan: if any word read above came from a later lap,
        // the floor that was raised before it is seen here.
        self.data.fence(Edge::Validate);
        // PLACES: the places that are read next are not older than this floor.
        self.ring.load(layout::ANCHOR_FLOOR, Edge::Places) > position
    }

    fn skip_to_recent(&mut self) -> Poll {
        let Some(PlacePair { recent, .. }) = places::read(&self.ring, 1000) else { return Poll::Corrupt };
        let lost = self.place;
        if recent.position < lost.position || recent.count < lost.count {
            return Poll::Corrupt;
        }
        self.place = recent;
        Poll::Lost { from: lost.position, to: recent.position, events: recent.count - lost.count }
    }
}
