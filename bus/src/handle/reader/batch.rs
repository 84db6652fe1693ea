//! Receiving in batches.

use std::time::Duration;

use railbus_ring::frame;

use crate::error::RecvError;
use crate::event::{Event, Located};
use crate::handle::read_end::{Found, ReadEnd};
use crate::handle::reader::Reader;

impl<R: ReadEnd> Reader<R> {
    /// Returns up to `most` events that are there now. The batch holds them together, and dropping
    /// it releases all of them; with manual acknowledgement they stay until they are acknowledged.
    /// A lossy reader returns copies, and gets one event at a time. The batch is empty if nothing
    /// is there. Never blocks.
    ///
    /// # Errors
    /// Those of [`Self::try_recv`]. A loss or corruption behind the first event ends the batch, and
    /// the next call reports it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?;
    /// let mut publisher = ticks.publisher(&SendOptions::default())?;
    /// publisher.publish(b"one")?;
    /// publisher.publish(b"two")?;
    ///
    /// let batch = subscriber.batch(64)?;
    /// let payloads: Vec<&[u8]> = batch.iter().map(|event| event.payload()).collect();
    /// assert_eq!(payloads, [b"one", b"two"]);
    /// drop(batch); // here both are released
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&mut self, most: usize) -> Result<Batch<'_, R>, RecvError> {
        self.check()?;
        self.release_forgotten();
        self.ring.begin_batch();
        if !self.ring.is_protected() {
            let polled = self.poll_copy()?;
            self.held.extend(polled);
        }
        self.hold(most)?;
        if self.held.events().is_empty() {
            // Nothing is held, so the ordinary poll may release, and report an error.
            let mut polled = self.poll()?;
            if polled.is_none() {
                polled = self.look_when_idle()?;
            }
            self.held.extend(polled);
        }
        Ok(Batch { reader: self })
    }

    /// As [`Self::batch`], but it waits at most `timeout` for the first event.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`]; otherwise those of [`Self::recv`].
    pub fn batch_timeout(&mut self, most: usize, timeout: Duration) -> Result<Batch<'_, R>, RecvError> {
        self.check()?;
        self.release_forgotten();
        let first = match self.poll()? {
            Some(located) => located,
            None => self.wait(Some(timeout))?,
        };
        self.held.extend(Some(first));
        self.hold(most)?;
        Ok(Batch { reader: self })
    }

    /// Releases the events of a batch whose destructor did not run ([`std::mem::forget`]).
    #[inline]
    fn release_forgotten(&mut self) {
        if !self.held.events().is_empty() {
            self.held.clear();
            self.acknowledge();
        }
    }

    /// Adds events that are there now to those held, up to `most`.
    fn hold(&mut self, most: usize) -> Result<(), RecvError> {
        while self.held.count < most && self.ring.is_protected() {
            if self.hold_fast(most - self.held.count) {
                continue;
            }
            let found = if self.manual { self.ring.poll_held_unreleased() } else { self.ring.poll_held() };
            let Found::Event { position, header, body_offset } = found else { break };
            if !self.member.is_registered() {
                break; // The next call reports it, as in `receive`.
            }
            self.count(header);
            let body = self.member.memories.data.address(body_offset);
            let located = Located { body, header, position };
            if !frame::is_plain(header) {
                self.count_extensions(header);
                self.measure(located);
            }
            self.held.extend(Some(located));
        }
        // As in `poll_fast`, once for all of them.
        if !self.member.is_registered() {
            self.held.clear();
            return Err(self.evicted());
        }
        Ok(())
    }

    /// Adds up to `most` events on the fast path, and returns whether there was any.
    fn hold_fast(&mut self, most: usize) -> bool {
        let data = self.member.memories.data;
        let free = self.held.free(most);
        let most = free.len();
        let mut free = free.iter_mut();
        let mut bytes = 0;
        let found = self.ring.poll_all_fast(most, |position, header, body_offset| {
            if let Some(located) = free.next() {
                *located = Located { body: data.address(body_offset), header, position };
            }
            bytes += frame::body_bytes(header) as u64;
        });
        self.held.count += found;
        self.tally.events += found as u64;
        self.tally.bytes += bytes;
        found > 0
    }
}

/// Events that a reader holds together; see [`Reader::batch`]. Dropping the batch releases all of
/// them.
#[derive(Debug)]
pub struct Batch<'a, R: ReadEnd> {
    reader: &'a mut Reader<R>,
}

impl<R: ReadEnd> Batch<'_, R> {
    /// The number of events in the batch.
    #[inline]
    pub fn len(&self) -> usize {
        self.reader.held.count
    }

    /// Whether the batch holds no event.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Event `index` of the batch, counted from 0; `None` if there are fewer.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Event<'_>> {
        // SAFETY: neither is the cursor published nor the copy overwritten before the batch is
        // dropped.
        self.reader.held.events().get(index).map(|&located| unsafe { Event::new(located) })
    }

    /// The events, in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Event<'_>> {
        // SAFETY: as in `get`.
        self.reader.held.events().iter().map(|&located| unsafe { Event::new(located) })
    }
}

impl<R: ReadEnd> Drop for Batch<'_, R> {
    fn drop(&mut self) {
        self.reader.held.clear();
        self.reader.acknowledge();
    }
}

/// The events that an open batch holds. The list keeps its memory and its old entries when it is
/// cleared, so that adding an event is a store and nothing else.
#[derive(Debug, Default)]
pub(super) struct HeldEvents {
    /// The events, and behind them old entries.
    room: Vec<Located>,
    /// The number of events.
    count: usize,
}

/// The least number of entries by which the list grows.
const MORE: usize = 64;

impl HeldEvents {
    #[inline(always)]
    fn events(&self) -> &[Located] {
        &self.room[..self.count]
    }

    fn clear(&mut self) {
        self.count = 0;
    }

    /// Free entries behind the events: at least one if `most` is not 0, and at most `most`.
    #[inline]
    fn free(&mut self, most: usize) -> &mut [Located] {
        if self.count == self.room.len() {
            self.room.resize(self.count + self.count.max(MORE), Located::NOWHERE);
        }
        let end = self.room.len().min(self.count.saturating_add(most));
        &mut self.room[self.count..end]
    }

    fn extend(&mut self, located: Option<Located>) {
        if let Some(located) = located {
            self.free(1).fill(located);
            self.count += 1;
        }
    }
}
