//! The reading end of a ring: what streams, topics and a queue's tap have in common for readers by
//! cursor.

use railbus_ring::frame;
use railbus_ring::members::join::JoinError;
use railbus_ring::members::peers::Peers;
use railbus_ring::slots::reader::{SlotPoll, SlotReader};
use railbus_ring::stream::subscriber::{self as stream_subscriber, StreamSubscriber};

use crate::channel::mapped::Trusted;

/// The most orphans that are stepped over at once: those of a batch.
pub(crate) const ORPHANS_MAX: usize = 64;

/// The result of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// An event.
    Event {
        /// Its position.
        position: u64,
        /// Its header word.
        header: u64,
        /// The byte offset of its body in the data; not meaningful for a copy.
        body_offset: usize,
    },
    /// Nothing has come yet.
    Empty,
    /// The reader was overrun.
    Lost {
        /// The first lost position.
        from: u64,
        /// The position where reading continues.
        to: u64,
        /// The number of lost events.
        events: u64,
    },
    /// The ring holds bytes that no publisher writes.
    Corrupt,
}

/// The reading end of a ring. It is implemented by the kinds, and not for users to implement.
pub trait ReadEnd {
    /// Returns position, header and the byte offset of the body of the next event, in place, if
    /// that takes no more than a few comparisons. Releases the events before it.
    fn poll_fast(&mut self) -> Option<(u64, u64, usize)>;
    /// Passes up to `most` of the next events to `each`, as far as [`Self::poll_fast`] finds them.
    /// Returns how many there were.
    fn poll_all_fast(&mut self, most: usize, each: impl FnMut(u64, u64, usize)) -> usize;
    /// Returns the next event, in place. Releases those before it, and calls `released` if that
    /// makes room for publishers.
    fn poll(&mut self, released: impl FnOnce()) -> Found;
    /// Returns the next event, in place, without releasing those before it.
    fn poll_held(&mut self) -> Found;
    /// Returns the next event, in place. The published cursor stays where it is.
    fn poll_unreleased(&mut self) -> Found;
    /// As [`Self::poll_held`], with the cursor as in [`Self::poll_unreleased`].
    fn poll_held_unreleased(&mut self) -> Found;
    /// To be called while nothing is lent, before several events are polled and held.
    fn begin_batch(&mut self);
    /// To be called when this reader finds itself evicted: it lends nothing any more.
    fn take_back_lent(&mut self);
    /// Returns the next event, copied.
    fn poll_copy(&mut self, copy: &mut Vec<u64>) -> Found;
    /// Whether the next event may be read in place.
    fn is_protected(&self) -> bool;
    /// Publishes the cursor. Returns whether it moved.
    fn acknowledge(&mut self) -> bool;
    /// Publishes the cursor at `position`. That must not lie beyond what was polled, and an event
    /// must start or the last one end there. Returns whether the cursor moved: it never moves back.
    fn acknowledge_to(&mut self, position: u64) -> Result<bool, JoinError>;
    /// The published cursor.
    fn acknowledged(&self) -> u64;
    /// The next position.
    fn position(&self) -> u64;
    /// Steps over an event whose publisher died before it was published. Returns whether there was
    /// any.
    fn repair<P: Peers>(&mut self, peers: &P) -> bool;
}

/// The reading end of a stream.
#[derive(Debug)]
pub struct StreamReadEnd {
    pub(crate) core: StreamSubscriber<Trusted>,
    pub(crate) lossy: bool,
}

impl StreamReadEnd {
    #[inline(always)]
    fn found(&self, poll: stream_subscriber::Poll) -> Found {
        match poll {
            stream_subscriber::Poll::Event(event) => Found::Event {
                position: event.position,
                header: event.header,
                body_offset: self.core.body_offset(event),
            },
            stream_subscriber::Poll::Empty => Found::Empty,
            stream_subscriber::Poll::Lost { from, to, events } => Found::Lost { from, to, events },
            stream_subscriber::Poll::Corrupt => Found::Corrupt,
        }
    }
}

impl ReadEnd for StreamReadEnd {
    #[inline(always)]
    fn poll_fast(&mut self) -> Option<(u64, u64, usize)> {
        let frame = self.core.poll_fast()?;
        Some((frame.position, frame.header, self.core.body_offset(frame)))
    }

    #[inline(always)]
    fn poll_all_fast(&mut self, most: usize, mut each: impl FnMut(u64, u64, usize)) -> usize {
        self.core.poll_all_fast(most, |frame, body_offset| each(frame.position, frame.header, body_offset))
    }

    #[inline(always)]
    fn poll(&mut self, released: impl FnOnce()) -> Found {
        let poll = self.core.poll(released);
        self.found(poll)
    }

    #[inline(always)]
    fn poll_held(&mut self) -> Found {
        let poll = self.core.poll_held();
        self.found(poll)
    }

    fn poll_unreleased(&mut self) -> Found {
        let poll = self.core.poll_unreleased();
        self.found(poll)
    }

    fn poll_held_unreleased(&mut self) -> Found {
        let poll = self.core.poll_held_unreleased();
        self.found(poll)
    }

    fn begin_batch(&mut self) {
        self.core.begin_batch();
    }

    fn take_back_lent(&mut self) {
        self.core.take_back_lent();
    }

    fn poll_copy(&mut self, copy: &mut Vec<u64>) -> Found {
        let poll = self.core.poll_lossy(copy);
        self.found(poll)
    }

    #[inline(always)]
    fn is_protected(&self) -> bool {
        !self.lossy
    }

    #[inline(always)]
    fn acknowledge(&mut self) -> bool {
        !self.lossy && self.core.acknowledge()
    }

    fn acknowledge_to(&mut self, position: u64) -> Result<bool, JoinError> {
        self.core.acknowledge_to(position)
    }

    fn acknowledged(&self) -> u64 {
        self.core.acknowledged()
    }

    fn position(&self) -> u64 {
        self.core.place().position
    }

    fn repair<P: Peers>(&mut self, _peers: &P) -> bool {
        // A dead publisher leaves nothing in the way: an uncommitted frame is invisible.
        false
    }
}

/// The reading end of a slot ring.
#[derive(Debug)]
pub struct SlotReadEnd {
    pub(crate) core: SlotReader<Trusted>,
    pub(crate) lossy: bool,
}

impl SlotReadEnd {
    #[inline(always)]
    fn found(&self, poll: SlotPoll) -> Found {
        match poll {
            SlotPoll::Event(position, header) => {
                // In place the header is the producer's word, and has not been checked yet.
                if frame::is_event(header, self.core.body_max()) {
                    Found::Event { position, header, body_offset: self.core.body_offset(position) }
                } else {
                    Found::Corrupt
                }
            }
            SlotPoll::Empty => Found::Empty,
            SlotPoll::Lost { from, to } => Found::Lost { from, to, events: to - from },
            SlotPoll::Corrupt => Found::Corrupt,
        }
    }
}

impl ReadEnd for SlotReadEnd {
    #[inline(always)]
    fn poll_fast(&mut self) -> Option<(u64, u64, usize)> {
        let (ticket, header) = self.core.poll_fast()?;
        Some((ticket, header, self.core.body_offset(ticket)))
    }

    #[inline(always)]
    fn poll_all_fast(&mut self, most: usize, each: impl FnMut(u64, u64, usize)) -> usize {
        self.core.poll_all_fast(most, each)
    }

    #[inline(always)]
    fn poll(&mut self, released: impl FnOnce()) -> Found {
        let poll = self.core.poll(released);
        self.found(poll)
    }

    #[inline(always)]
    fn poll_held(&mut self) -> Found {
        let poll = self.core.poll_held();
        self.found(poll)
    }

    fn poll_unreleased(&mut self) -> Found {
        let poll = self.core.poll_unreleased();
        self.found(poll)
    }

    fn poll_held_unreleased(&mut self) -> Found {
        let poll = self.core.poll_held_unreleased();
        self.found(poll)
    }

    fn begin_batch(&mut self) {
        self.core.begin_batch();
    }

    fn take_back_lent(&mut self) {
        self.core.take_back_lent();
    }

    fn poll_copy(&mut self, copy: &mut Vec<u64>) -> Found {
        let poll = self.core.poll_lossy(copy);
        self.found(poll)
    }

    #[inline(always)]
    fn is_protected(&self) -> bool {
        self.core.is_protected()
    }

    #[inline(always)]
    fn acknowledge(&mut self) -> bool {
        !self.lossy && self.core.acknowledge()
    }

    fn acknowledge_to(&mut self, position: u64) -> Result<bool, JoinError> {
        self.core.acknowledge_to(position)
    }

    fn acknowledged(&self) -> u64 {
        self.core.acknowledged()
    }

    fn position(&self) -> u64 {
        self.core.position()
    }

    fn repair<P: Peers>(&mut self, peers: &P) -> bool {
        // A producer may have died with a whole batch claimed. There is a bound because the tail
        // may be corrupted.
        (0..ORPHANS_MAX).take_while(|_| self.core.is_stuck() && self.core.skip_orphan(peers)).count() > 0
    }
}
