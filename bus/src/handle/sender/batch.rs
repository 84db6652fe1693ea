//! Publishing many events at once.
//!
//! A batch checks once for sleeping readers, and in a queue or topic it moves the shared tail once
//! for up to 64 events. It is not atomic: readers may see its events a few at a time.

use std::time::Duration;

use railbus_ring::frame;

use super::Sender;
use crate::channel::Overflow;
use crate::error::{BatchError, SendError};
use crate::handle::copy::copy;
use crate::handle::publish_end::PublishEnd;

impl<R: PublishEnd> Sender<R> {
    /// Publishes copies of all payloads, in order. It waits for room without end, whatever the
    /// channel's policy is. Readers may see the events a few at a time.
    ///
    /// # Errors
    /// As [`Self::publish`], but never dropped or diverted. [`BatchError`] has the number of
    /// payloads that were published before it. A payload that is too long is refused before
    /// anything is published.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let mut publisher = ticks.publisher(&SendOptions::default())?;
    /// match publisher.publish_batch(&["one", "two", "three"]) {
    ///     Ok(()) => assert_eq!(publisher.events(), 3),
    ///     Err(failed) => panic!("only {} are published: {failed}", failed.published),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<(), BatchError> {
        self.check_batch(payloads).map_err(|error| BatchError { published: 0, error })?;
        let mut published = 0;
        while published < payloads.len() {
            published += match self.put_batch(&payloads[published..]) {
                0 => {
                    let payload = payloads[published].as_ref();
                    let sent = match self.overflow {
                        Overflow::Block | Overflow::LossyReaders => self.publish(payload),
                        // A batch waits even where the policy would drop a single event, because it
                        // reports how many were published.
                        Overflow::DropNewest | Overflow::Divert => {
                            self.publish_timeout(payload, Duration::MAX)
                        }
                    };
                    sent.map_err(|error| BatchError { published, error })?;
                    1
                }
                count => count,
            };
        }
        Ok(())
    }

    /// Publishes copies of as many payloads as there is room for, in order. Returns how many were
    /// published.
    ///
    /// Never blocks. A batch checks once for sleeping readers. In a queue or topic it moves the
    /// shared tail once for up to 64 events.
    ///
    /// # Errors
    /// [`SendError::TooLong`] if any payload is too long, [`SendError::Removed`] and
    /// [`SendError::Forked`]; nothing was published then. A lack of room is no error.
    pub fn try_publish_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<usize, SendError> {
        self.check_batch(payloads)?;
        Ok(self.put_batch(payloads))
    }

    fn check_batch<P: AsRef<[u8]>>(&self, payloads: &[P]) -> Result<(), SendError> {
        match payloads.iter().map(|payload| payload.as_ref().len()).max() {
            Some(longest) => self.plain_header(longest).map(|_| ()),
            None if self.member.is_forked() => Err(SendError::Forked),
            None => Ok(()),
        }
    }

    /// Publishes as many payloads as there is room for, and returns how many. The caller has
    /// checked their lengths.
    fn put_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> usize {
        let batch = OpenBatch::begin(self, payloads.len());
        let sender = &mut *batch.sender;
        let mut published = 0;
        loop {
            published += sender.put_batch_fast(&payloads[published..]);
            let Some(payload) = payloads.get(published).map(AsRef::as_ref) else { break };
            // Fails only if the payload is longer than when it was checked. The caller then
            // publishes it by itself, and it is refused.
            let Ok(header) = sender.plain_header(payload.len()) else { break };
            sender.tell();
            match sender.ring.claim(frame::body_bytes(header) as u64) {
                Ok(claim) => sender.fill(claim, header, payload),
                Err(refused) => {
                    // A sender that publishes only in batches must get past dead participants, too.
                    // Its next call does.
                    sender.note_full(refused);
                    sender.ring.repair(refused, &sender.member.peers);
                    break;
                }
            }
            published += 1;
        }
        published
    }

    /// Publishes the first of `payloads` as far as the fast path goes, and returns how many were
    /// published.
    #[inline(always)]
    fn put_batch_fast<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> usize {
        if self.easy.is_forked() {
            return 0;
        }
        let data = self.member.memories.data;
        self.ring.publish_all_fast(payloads.iter().map(AsRef::as_ref), |body_offset, payload| {
            // SAFETY: as in `put_fast`.
            unsafe { copy(payload.as_ptr(), data.address(body_offset), payload.len()) };
        })
    }
}

/// A batch that is being published. Its destructor also runs when a caller's [`AsRef`] panics in
/// the middle. It aborts what was claimed and not committed, and wakes readers for what is visible.
struct OpenBatch<'a, R: PublishEnd> {
    sender: &'a mut Sender<R>,
    events_before: u64,
}

impl<'a, R: PublishEnd> OpenBatch<'a, R> {
    fn begin(sender: &'a mut Sender<R>, events: usize) -> Self {
        sender.prepare();
        let events_before = sender.ring.tally().events;
        sender.ring.begin_batch(events);
        OpenBatch { sender, events_before }
    }
}

impl<R: PublishEnd> Drop for OpenBatch<'_, R> {
    fn drop(&mut self) {
        self.sender.ring.end_batch();
        let published = self.sender.ring.tally().events - self.events_before;
        // Also if nothing was published: readers may wait behind what was aborted.
        self.sender.published(published.max(1));
    }
}
