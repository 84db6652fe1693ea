//! The stream's subscriber: a cursor that walks along committed frames.
//!
//! **Promise.** A reliable subscriber reads every event in place, and no event is overwritten
//! before the subscriber's cursor has passed it. A lossy subscriber returns whole events only, and
//! reports exactly how many it lost.
//!
//! ```text
//! poll:  w = header at position (COMMIT);  0 => empty;  padding => step over it;  else the event
//! ```
//!
//! **How it works.** The cursor of a *reliable* subscriber is a word in a cache line of its own in
//! `.acks`. It is a gate: the publisher overwrites nothing at or above it. The subscriber publishes
//! its cursor after each eighth of the ring. It does so at once when it finds the ring empty,
//! because a publisher may be waiting for exactly that room. Its entry also names the span of bytes
//! that it may read in place, an eighth of the ring at a time, for the case that it is evicted
//! ([`crate::members::lent`]).
//!
//! A *lossy* subscriber gates nobody. It copies each event and then reads the floor again. If the
//! floor has passed the event, the copy may be torn and is discarded. The subscriber then resumes
//! at the publisher's recent place, whose event count says how many events were lost.
//!
//! **Why joining is sound** (the joiner's half of the JOIN pair). The joiner stores the floor as
//! its cursor, executes a memory fence, and reads the places again. If they have not changed, every
//! later scan of the publisher sees the cursor. If they have, the joiner takes the new floor and
//! repeats. The first cursor that it stored gates the publisher, so this ends.
//!
//! **Left out.** It never waits and never wakes a publisher; its caller does both.

use crate::members::gates::NO_GATE;
use crate::members::join::{JoinError, StartAt};
use crate::members::lent::{self, LentSpan};
use crate::memory::{Edge, Memory};
use crate::opaque::opaque;
use crate::stream::places::{self, Place, PlacePair};
use crate::stream::view::StreamView;
use crate::{frame, layout};

/// A frame in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its position.
    pub position: u64,
    /// Its header word.
    pub header: u64,
}

/// The result of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// An event.
    Event(Frame),
    /// No event is there yet.
    Empty,
    /// A lossy subscriber was overrun and has resumed. The `events` events between the two
    /// positions are lost.
    Lost {
        /// The first lost position.
        from: u64,
        /// The position where it resumed.
        to: u64,
        /// How many events are lost.
        events: u64,
    },
    /// The ring holds a word that no publisher writes.
    Corrupt,
}

/// Walks along committed frames from `place` to the first empty header, or to the position `until`,
/// over at most one ring. Returns `None` if it finds a word that no publisher writes.
pub fn walk<M: Memory>(data: &M, capacity: u64, place: Place, until: Option<u64>) -> Option<Place> {
    walk_each(data, capacity, place, until, |_| {})
}

/// Does the same as [`walk`], and calls `each` with the header word of every event.
pub fn walk_each<M: Memory>(
    data: &M,
    capacity: u64,
    place: Place,
    until: Option<u64>,
    each: impl FnMut(u64),
) -> Option<Place> {
    walk_while(data, capacity, place, |at| until.is_none_or(|end| at.position < end), each)
}

/// Walks along committed frames as long as `goes_on` returns true for the place that is reached.
fn walk_while<M: Memory>(
    data: &M,
    capacity: u64,
    place: Place,
    goes_on: impl Fn(Place) -> bool,
    mut each: impl FnMut(u64),
) -> Option<Place> {
    let body_max = frame::frame_max(capacity) - frame::HEADER;
    let mut at = place;
    if !at.position.is_multiple_of(8) {
        return None;
    }
    while goes_on(at) {
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
    view: StreamView<M>,
    /// The offset of its own registry entry.
    entry: usize,
    /// Where the next frame begins.
    place: Place,
    /// The value of the cursor word.
    published: u64,
    easy: Easy,
    /// The span that the entry names.
    lent: LentSpan,
    lossy: bool,
}

/// The state of the fast path to the next event.
#[derive(Debug, Clone, Copy)]
struct Easy {
    /// Events before this position may be read without publishing the cursor. It is 0 in a lossy
    /// subscriber.
    until: u64,
    /// The capacity minus one.
    mask: u64,
    /// How many bytes the last frame took that was polled on the fast path. The next one is
    /// expected to take as many.
    expected_bytes: u64,
}

impl Easy {
    /// Returns the event at `position`, and where the event after it starts.
    #[inline(always)]
    fn look<M: Memory>(&mut self, data: &M, position: u64) -> Option<(Frame, u64)> {
        let offset = position & self.mask;
        // COMMIT: as in `poll_held`.
        let header = data.load(offset as usize, Edge::Commit);
        let frame_bytes = frame::frame_bytes(frame::body_bytes(header) as u64);
        // The start of the next frame depends on this header, so each read would have to wait for
        // the one before it. Most frames are as long as the one before: then the processor goes on
        // with the expected position, without waiting for the header.
        let expected = position + opaque(self.expected_bytes);
        let next = if frame_bytes == self.expected_bytes {
            expected
        } else {
            self.expected_bytes = frame_bytes;
            position + frame_bytes
        };
        // The fast path never reaches beyond the end of the lap.
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
    /// Makes a subscriber for registry entry `index`. It has not joined yet: the caller calls
    /// [`Self::join`] or [`Self::resume`] next.
    pub fn new(view: StreamView<M>, index: usize, lossy: bool) -> Self {
        StreamSubscriber {
            entry: layout::entry(index),
            place: Place::default(),
            published: NO_GATE,
            easy: Easy { until: 0, mask: view.capacity - 1, expected_bytes: 0 },
            view,
            lent: LentSpan { from: 0, to: 0 },
            lossy,
        }
    }

    /// The next position to be read, with the number of events before it.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Joins at `from`.
    pub fn join(&mut self, from: StartAt) -> Result<(), JoinError> {
        let mut places = places::read(&self.view.ring, 1000).ok_or(JoinError::Corrupt)?;
        if !self.lossy {
            // The first cursor that is stored gates the publisher, which can get at most one ring
            // ahead of it. One ring holds at most nine strides, so a publisher does not change the
            // places more often than that.
            let mut tries = 64;
            loop {
                self.store_cursor(places.floor.position);
                // JOIN: pairs with the publisher's rescan.
                self.view.acks.fence(Edge::Join);
                let again = places::read(&self.view.ring, 1000).ok_or(JoinError::Corrupt)?;
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
        // A lossy joiner that is lapped while it walks starts over. The publisher needs a whole
        // ring for each such lap.
        let mut tries = 64;
        while !self.start(places, from)? {
            tries -= 1;
            places = places::read(&self.view.ring, 1000).ok_or(JoinError::Corrupt)?;
            if tries == 0 {
                return Err(JoinError::TooOld(places.floor.position));
            }
        }
        if !self.lossy {
            self.store_cursor(self.place.position);
        }
        // STATE: the cursor is stored before, and protects everything at or above it.
        self.view.acks.store(self.entry + layout::JOINED, 1, Edge::State);
        Ok(())
    }

    /// Finds the place to start at. A reliable joiner is gated at the floor; a lossy one may be
    /// overtaken while it walks.
    ///
    /// Returns false if the walk may have read bytes of a later lap. A payload that is read as a
    /// header leads to a place where no frame begins, and no later check of the floor would find
    /// that.
    fn start(&mut self, places: PlacePair, from: StartAt) -> Result<bool, JoinError> {
        let PlacePair { floor, recent, .. } = places;
        if recent.position - floor.position > self.view.capacity {
            return Err(JoinError::Corrupt);
        }
        let place = match from {
            StartAt::Oldest => {
                self.place = floor;
                return Ok(true);
            }
            StartAt::Last(events) => return self.start_before_end(places, events),
            StartAt::Position(wanted) if wanted < floor.position => {
                return Err(JoinError::TooOld(floor.position));
            }
            StartAt::Position(wanted) if wanted < recent.position => floor,
            StartAt::Live | StartAt::Position(_) => recent,
        };
        let until = if let StartAt::Position(wanted) = from { Some(wanted) } else { None };
        let end = walk(&self.view.data, self.view.capacity, place, until);
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

    /// Finds the place of the last event but `events`, or the floor if there are fewer. Returns false
    /// as [`Self::start`] does.
    ///
    /// Frames have no links back. So this walks to the end, which gives the number of all events,
    /// and then walks again up to the number of the wanted one.
    fn start_before_end(&mut self, places: PlacePair, events: u64) -> Result<bool, JoinError> {
        let PlacePair { floor, recent, .. } = places;
        let end = walk(&self.view.data, self.view.capacity, recent, None);
        if self.lossy && self.is_overrun(recent.position) {
            return Ok(false);
        }
        let end = end.ok_or(JoinError::Corrupt)?;
        let wanted = end.count.saturating_sub(events).max(floor.count);
        let from = if wanted >= recent.count { recent } else { floor };
        let found = walk_while(&self.view.data, self.view.capacity, from, |at| at.count < wanted, |_| {});
        if self.lossy && self.is_overrun(from.position) {
            return Ok(false);
        }
        self.place = found.filter(|found| found.count == wanted).ok_or(JoinError::Corrupt)?;
        Ok(true)
    }

    /// Resumes at a cursor that has gated the publisher all the time: that of a durable
    /// subscription. The event count is found by walking from one of the published places.
    ///
    /// The cursor may lie below the floor. A publisher that read the cursors just before this one
    /// was stored has raised the floor afterwards. The limit that it read after its JOIN fence
    /// still protects the events between the cursor and the floor.
    pub fn resume(&mut self, cursor: u64) -> Result<(), JoinError> {
        self.published = cursor;
        // The publisher may raise the floor up to the cursor and overwrite the bytes below it
        // during this walk. Then the places have changed. The publisher is gated, so they stop
        // changing (as in `join`).
        for _ in 0..64 {
            let PlacePair { index, floor, recent } =
                places::read(&self.view.ring, 1000).ok_or(JoinError::Corrupt)?;
            let walked = |from, until| {
                walk(&self.view.data, self.view.capacity, from, Some(until))
                    .filter(|end| end.position == until)
            };
            let count = if cursor >= floor.position {
                let from = if cursor >= recent.position { recent } else { floor };
                walked(from, cursor).map(|end| end.count)
            } else {
                let between = walked(Place { position: cursor, count: 0 }, floor.position);
                between.and_then(|end| floor.count.checked_sub(end.count))
            };
            // VALIDATE: pairs with the JOIN fence between the publisher's places and the bytes that
            // it overwrites after them.
            self.view.data.fence(Edge::Validate);
            if self.view.ring.load(layout::ANCHOR_INDEX, Edge::Places) != index {
                continue;
            }
            self.place = Place { position: cursor, count: count.ok_or(JoinError::Corrupt)? };
            self.renew_fast_until(cursor);
            return Ok(());
        }
        Err(JoinError::Corrupt)
    }

    /// Returns the next event, in place, if it is committed and has no flags and the cursor need
    /// not be published.
    #[inline(always)]
    pub fn poll_fast(&mut self) -> Option<Frame> {
        let (frame, next) = self.easy.look(&self.view.data, self.place.position)?;
        self.place = Place { position: next, count: self.place.count + 1 };
        Some(frame)
    }

    /// Calls `each` for up to `most` of the next events, as long as [`Self::poll_fast`] would
    /// return them. The second argument is the byte offset of the body. Returns how many events
    /// there were.
    #[inline(always)]
    pub fn poll_all_fast(&mut self, most: usize, mut each: impl FnMut(Frame, usize)) -> usize {
        let (mut position, mut count) = (self.place.position, 0);
        while count < most {
            let Some((frame, next)) = self.easy.look(&self.view.data, position) else { break };
            each(frame, self.body_offset(frame));
            (position, count) = (next, count + 1);
        }
        self.place = Place { position, count: self.place.count + count as u64 };
        count
    }

    /// Returns the next event, in place, and releases the one before it: the cursor may pass it. If
    /// the cursor moves, `released` is called, because the publisher may wait for that room.
    #[inline(always)]
    pub fn poll(&mut self, released: impl FnOnce()) -> Poll {
        if self.place.position - self.published >= self.view.capacity / 8 && self.acknowledge() {
            released();
        }
        self.poll_next(false)
    }

    /// Returns the next event, in place, while no other event is lent. The fast path then covers an
    /// eighth of the ring, counted from the cursor, or from the position if `unreleased`.
    #[inline(always)]
    fn poll_next(&mut self, unreleased: bool) -> Poll {
        let before = self.place.position;
        let polled = self.poll_in_place();
        if self.place.position > self.lent.to && matches!(polled, Poll::Event(_)) {
            self.lend(before);
        }
        // The poll may have stepped into the next lap.
        self.renew_fast_until(if unreleased { self.place.position } else { self.published });
        polled
    }

    /// Returns the next event, in place, and does not release those before it: they stay lent.
    #[inline(always)]
    pub fn poll_held(&mut self) -> Poll {
        let before = self.place.position;
        let polled = self.poll_in_place();
        if self.place.position > self.lent.to && matches!(polled, Poll::Event(_)) {
            self.lend(if self.lent.to == 0 { before } else { self.lent.from });
        }
        polled
    }

    /// Names the span that a batch may lend. The caller calls this while nothing is lent, before it
    /// polls several events and holds them.
    pub fn begin_batch(&mut self) {
        if self.place.position >= self.easy.until && !self.lossy {
            self.lend(self.place.position);
            self.renew_fast_until(self.published);
        }
    }

    /// Names a lent span that begins at `from` and ends an eighth of the ring after the position.
    fn lend(&mut self, from: u64) {
        self.lent = LentSpan { from, to: self.place.position.saturating_add(self.view.capacity / 8) };
        lent::lend(&self.view.acks, self.entry, self.lent);
    }

    /// Ends the lending. A subscriber that finds itself evicted calls this.
    pub fn take_back_lent(&mut self) {
        self.lent = LentSpan { from: 0, to: 0 };
        self.easy.until = 0;
        lent::take_back(&self.view.acks, self.entry);
    }

    #[inline(always)]
    fn poll_in_place(&mut self) -> Poll {
        let first = self.place.position;
        loop {
            let position = self.place.position;
            let offset = position & (self.view.capacity - 1);
            // COMMIT: pairs with the store in the publisher's `show`. A header that is not zero
            // brings the bytes of its frame.
            let header = self.view.data.load(offset as usize, Edge::Commit);
            if header == 0 {
                return Poll::Empty;
            }
            let frame_bytes = frame::frame_bytes(frame::body_bytes(header) as u64);
            if frame::is_event(header, self.view.capacity / 2) && offset + frame_bytes <= self.view.capacity {
                self.place = Place { position: position + frame_bytes, count: self.place.count + 1 };
                return Poll::Event(Frame { position, header });
            }
            let Some(padding) = frame::padding_bytes(header, offset, self.view.capacity) else {
                return Poll::Corrupt;
            };
            self.place.position = position + padding;
            // No publisher fills a ring with padding.
            if self.place.position - first > self.view.capacity {
                return Poll::Corrupt;
            }
        }
    }

    /// Publishes the cursor: everything polled so far may be overwritten. Returns whether the
    /// cursor moved. If it did, the caller wakes the producers that wait for room.
    #[must_use]
    #[inline(always)]
    pub fn acknowledge(&mut self) -> bool {
        let behind = self.published != self.place.position;
        if behind {
            self.store_cursor(self.place.position);
        }
        behind
    }

    /// Publishes `position` as the cursor. An event that was polled starts there, or the last one
    /// ends there. A position before the cursor changes nothing. Returns whether the cursor moved.
    ///
    /// The call walks along the headers from the cursor, to check that an event starts at
    /// `position`. If none did, the successor of this subscriber would read payload as headers.
    pub fn acknowledge_to(&mut self, position: u64) -> Result<bool, JoinError> {
        if position > self.place.position {
            return Err(JoinError::Beyond(self.place.position));
        }
        if position <= self.published {
            return Ok(false);
        }
        if position < self.place.position {
            let from = Place { position: self.published, count: 0 };
            let end =
                walk(&self.view.data, self.view.capacity, from, Some(position)).ok_or(JoinError::Corrupt)?;
            if end.position != position {
                return Err(JoinError::NoBoundary);
            }
        }
        self.store_cursor(position);
        Ok(true)
    }

    /// The value of the cursor word: everything before it is acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.published
    }

    /// Does the same as [`Self::poll`], but releases no event: the cursor stays.
    pub fn poll_unreleased(&mut self) -> Poll {
        self.poll_next(true)
    }

    /// Does the same as [`Self::poll_held`], with the cursor as in [`Self::poll_unreleased`].
    pub fn poll_held_unreleased(&mut self) -> Poll {
        let polled = self.poll_held();
        self.renew_fast_until(self.place.position);
        polled
    }

    /// Returns whether the cursor word lags behind the polled position.
    #[inline(always)]
    pub fn is_behind(&self) -> bool {
        self.published != self.place.position
    }

    #[inline(always)]
    fn store_cursor(&mut self, position: u64) {
        self.published = position;
        self.renew_fast_until(position);
        // CURSOR: pairs with the load in `Gates::lowest`: all reads of the bytes before this
        // position are done.
        self.view.acks.store(self.entry + layout::CURSOR, position, Edge::Cursor);
    }

    /// Lets the fast path go on up to the next eighth of the ring, the end of the lap, or the end
    /// of the lent span.
    #[inline(always)]
    fn renew_fast_until(&mut self, cursor: u64) {
        let lap_end = (self.place.position | self.easy.mask).saturating_add(1);
        self.easy.until = cursor.saturating_add(self.view.capacity / 8).min(lap_end).min(self.lent.to);
    }

    /// Byte offset in the data of a frame's body.
    #[inline(always)]
    pub fn body_offset(&self, frame: Frame) -> usize {
        self.easy.body_offset(frame)
    }

    /// Returns the next event of a lossy subscriber, copied into `copy`. The copy is of whole
    /// words; the body is the first [`frame::body_bytes`] of them.
    pub fn poll_lossy(&mut self, copy: &mut Vec<u64>) -> Poll {
        let first = self.place.position;
        loop {
            let position = self.place.position;
            let offset = position & (self.view.capacity - 1);
            // COMMIT: as in `poll_held`.
            let header = self.view.data.load(offset as usize, Edge::Commit);
            // An empty header may belong to a later lap, too. Without this check a lapped reader
            // would wait here without end.
            if self.is_overrun(position) {
                return self.skip_to_recent();
            }
            if header == 0 {
                return Poll::Empty;
            }
            if let Some(padding) = frame::padding_bytes(header, offset, self.view.capacity) {
                self.place.position = position + padding;
                if self.place.position - first > self.view.capacity {
                    return Poll::Corrupt; // No publisher fills a ring with padding.
                }
                continue;
            }
            let body_bytes = frame::body_bytes(header) as u64;
            let frame_bytes = frame::frame_bytes(body_bytes);
            if !frame::is_event(header, self.view.capacity / 2) || offset + frame_bytes > self.view.capacity {
                return Poll::Corrupt;
            }
            let body = offset as usize + frame::HEADER as usize;
            copy.clear();
            copy.extend(
                (0..body_bytes.div_ceil(8) as usize).map(|i| self.view.data.load(body + i * 8, Edge::Plain)),
            );
            if self.is_overrun(position) {
                return self.skip_to_recent();
            }
            self.place = Place { position: position + frame_bytes, count: self.place.count + 1 };
            return Poll::Event(Frame { position, header });
        }
    }

    /// Returns whether the bytes that were read at `position` before this call may have been
    /// overwritten.
    fn is_overrun(&self, position: u64) -> bool {
        // VALIDATE: pairs with the fence in the publisher's rescan. If any word that was read
        // before came from a later lap, this load finds the floor that was raised before that.
        self.view.data.fence(Edge::Validate);
        // PLACES: the places that are read next are not older than this floor.
        self.view.ring.load(layout::ANCHOR_FLOOR, Edge::Places) > position
    }

    fn skip_to_recent(&mut self) -> Poll {
        let Some(PlacePair { recent, .. }) = places::read(&self.view.ring, 1000) else {
            return Poll::Corrupt;
        };
        let lost = self.place;
        if recent.position < lost.position || recent.count < lost.count {
            return Poll::Corrupt;
        }
        self.place = recent;
        Poll::Lost { from: lost.position, to: recent.position, events: recent.count - lost.count }
    }
}
