//! Publishing into a queue with a unique key: at most one unfinished event has it.
//!
//! The protocol is in `railbus_ring::slots::unique`. Here is what it leaves out: the room, the
//! extensions, and waking.

use std::time::{Duration, Instant};

use railbus_ring::frame;
use railbus_ring::slots::unique::Published;

use super::Sender;
use crate::channel::Overflow;
use crate::error::SendError;
use crate::event::Attributes;
use crate::handle::publish_end::SlotPublishEnd;
use crate::unique_key::UniqueKey;

/// How often an older ticket of the same key, which is about to be published, is looked at before it
/// is aborted. Publishing takes less.
const PATIENCE: u32 = 200;
/// How often one event is tried. A try fails if other producers of the same key are at the same
/// instructions. It fails without end only if the table is corrupted.
const TRIES_MAX: u32 = 1000;

impl Sender<SlotPublishEnd<false>> {
    /// Publishes a copy of `payload` with a unique key, unless the queue holds an unfinished event
    /// with that key. Returns the event's position.
    ///
    /// An event is unfinished until a worker has done it, or it became a dead letter, expired or was
    /// purged. This is exact: of all producers that publish with one key at the same time, one
    /// succeeds, also if others are killed at any instruction. The others get
    /// [`SendError::Duplicate`] with the position of an event that was published and was not
    /// finished when this call looked. The queue must have been made with
    /// [`ChannelOptions::unique`](crate::ChannelOptions::unique). Keys of different queues have
    /// nothing to do with each other, nor with [`Attributes::key`].
    ///
    /// When there is no room, it does what [`Self::publish`] does, except that the event is never
    /// diverted: on a channel that diverts, the call waits.
    ///
    /// # Errors
    /// [`SendError::Duplicate`]; [`SendError::NotUnique`]; otherwise those of [`Self::publish`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{Attributes, SendError};
    ///
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue).unique(true))?;
    /// let mut producer = jobs.producer(&SendOptions::default())?;
    /// let plain = Attributes::default();
    /// let first = producer.publish_unique("user 7", b"rebuild the index", &plain)?;
    /// let again = producer.publish_unique("user 7", b"rebuild the index", &plain);
    /// assert_eq!(again, Err(SendError::Duplicate { position: first }));
    ///
    /// assert!(jobs.worker(&WorkOptions::default())?.take()?.done());
    /// producer.publish_unique("user 7", b"rebuild the index", &plain)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish_unique(
        &mut self,
        key: impl Into<UniqueKey>,
        payload: &[u8],
        attributes: &Attributes,
    ) -> Result<u64, SendError> {
        let waits = self.overflow == Overflow::Divert;
        self.put_unique(key.into(), payload, attributes, waits.then_some(Duration::MAX))
    }

    /// As [`Self::publish_unique`], but it waits at most `timeout` for room, whatever the channel's
    /// policy is. A timeout of zero never blocks.
    ///
    /// # Errors
    /// [`SendError::Duplicate`]; [`SendError::NotUnique`]; otherwise those of
    /// [`Self::publish_timeout`], or with a timeout of zero those of [`Self::try_publish`].
    pub fn publish_unique_timeout(
        &mut self,
        key: impl Into<UniqueKey>,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Duration,
    ) -> Result<u64, SendError> {
        self.put_unique(key.into(), payload, attributes, Some(timeout))
    }

    fn put_unique(
        &mut self,
        key: UniqueKey,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Option<Duration>,
    ) -> Result<u64, SendError> {
        if self.member.is_forked() {
            return Err(SendError::Forked);
        }
        if !self.member.channel.header().unique {
            return Err(SendError::NotUnique);
        }
        let started = timeout.filter(|timeout| !timeout.is_zero()).map(|_| Instant::now());
        for tried in 0..TRIES_MAX {
            if let Some(position) = self.ring.core.unique_keys().find(key.key()) {
                return Err(SendError::Duplicate { position });
            }
            let passed = started.map_or(Duration::ZERO, |started| started.elapsed());
            let left = timeout.map(|timeout| timeout.saturating_sub(passed));
            if tried > 0 && started.is_some() && left.is_some_and(|left| left.is_zero()) {
                return Err(SendError::TimedOut);
            }
            match self.try_unique(key, payload, attributes, left)? {
                (position, Published::Alone) => return Ok(position),
                (_, Published::After(position)) => return Err(SendError::Duplicate { position }),
                (_, Published::Crossed) => std::thread::yield_now(),
            }
        }
        Err(SendError::Corrupt("its table of unique keys has no entry for a key; remove the channel"))
    }

    /// One try: takes room, fills it, and publishes it unless another event has the key.
    fn try_unique(
        &mut self,
        key: UniqueKey,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Option<Duration>,
    ) -> Result<(u64, Published), SendError> {
        let attributes = Attributes { unique: Some(key), ..*attributes };
        let (ticket, header) = {
            let mut claim = self.claim_inner(payload.len(), &attributes, timeout)?;
            claim.copy_from_slice(payload);
            claim.keep()
        };
        let published = self.ring.core.unique_keys().publish(ticket, header, key.key(), PATIENCE);
        if published == Published::Alone {
            self.ring.count(frame::payload_bytes(header));
        }
        // Also if it was aborted: workers may wait behind it.
        self.published(1);
        Ok((ticket, published))
    }

    /// Publishes an event again that was in this queue before, as [`Self::try_publish_with`] does. If
    /// it had a unique key, it has it again.
    pub(crate) fn try_publish_again(
        &mut self,
        payload: &[u8],
        attributes: &Attributes,
    ) -> Result<u64, SendError> {
        match attributes.unique {
            Some(key) if attributes.origin.is_none() && self.member.channel.header().unique => {
                self.put_unique(key, payload, attributes, Some(Duration::ZERO))
            }
            _ => self.try_publish_with(payload, attributes),
        }
    }
}
