//! Publishers that number their events. One that was killed and comes back leaves out nothing and
//! publishes nothing twice.

use std::time::Duration;

use railbus_ring::slots::sequence::Sequences;

use super::Sender;
use crate::channel::Overflow;
use crate::channel::mapped::Trusted;
use crate::error::SendError;
use crate::event::{Attributes, Sequence};
use crate::handle::member::Member;
use crate::handle::publish_end::PublishEnd;

/// The sequence of a named publisher.
#[derive(Debug)]
pub(super) struct EventNumbers {
    table: Sequences<Trusted>,
    index: usize,
    /// The number that represents the name in its events.
    publisher: u64,
    last: u64,
}

impl EventNumbers {
    pub(super) fn of(member: &Member, name: &str) -> Option<EventNumbers> {
        let table = Sequences::new(member.memories.ring, member.channel.header().producers_max as usize);
        let index = member.sequence?;
        let last = table.last(index);
        Some(EventNumbers { table, index, publisher: Sequence::publisher_id(name), last })
    }
}

impl<R: PublishEnd> Sender<R> {
    /// The number of the last event of this handle's name in the channel, or 0 if there is none. A
    /// publisher that was killed continues after it. `None` unless the handle was opened with
    /// [`SendOptions::sequenced`](crate::SendOptions::sequenced).
    pub fn resume_point(&self) -> Option<u64> {
        self.numbers.as_ref().map(|numbers| numbers.last)
    }

    /// Publishes event `number` of this handle's name with attributes. Returns the event's
    /// position, or `None` if the number is not above [`Self::resume_point`]: that event was
    /// published before, and is dropped. Numbers must rise, with gaps or without. The event carries
    /// name and number ([`Event::sequence`](crate::Event::sequence)).
    ///
    /// When there is no room, it does what [`Self::publish`] does, except that the event is never
    /// diverted: on a channel that diverts, the call waits.
    ///
    /// The channel keeps the number. So a publisher that is killed at any instruction can open the
    /// channel again under its name and publish everything again: nothing is left out, and nothing
    /// is published twice. There is one exception: in a queue or topic whose other producers have
    /// gone round the whole ring in the meantime, the one event that was in work may come twice,
    /// with the same number. The number lives as long as the channel; with a journal it also
    /// survives when the channel is made again.
    ///
    /// # Errors
    /// [`SendError::NotSequenced`]; otherwise those of [`Self::publish`].
    pub fn publish_numbered(
        &mut self,
        number: u64,
        payload: &[u8],
        attributes: &Attributes,
    ) -> Result<Option<u64>, SendError> {
        self.publish_number(number, payload, attributes, None)
    }

    /// As [`Self::publish_numbered`], but it waits at most `timeout` for room. A timeout of zero
    /// never blocks.
    ///
    /// # Errors
    /// [`SendError::NotSequenced`]; otherwise those of [`Self::publish_timeout`], or with a timeout of
    /// zero those of [`Self::try_publish`].
    pub fn publish_numbered_timeout(
        &mut self,
        number: u64,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Duration,
    ) -> Result<Option<u64>, SendError> {
        self.publish_number(number, payload, attributes, Some(timeout))
    }

    fn publish_number(
        &mut self,
        number: u64,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Option<Duration>,
    ) -> Result<Option<u64>, SendError> {
        if self.member.is_forked() {
            return Err(SendError::Forked);
        }
        let numbers = self.numbers.as_ref().ok_or(SendError::NotSequenced)?;
        if number <= numbers.last {
            return Ok(None);
        }
        let sequence = Some(Sequence { publisher: numbers.publisher, number });
        let waits = self.overflow == Overflow::Divert && timeout.is_none();
        let timeout = if waits { Some(Duration::MAX) } else { timeout };
        let mut claim = self.claim_inner(payload.len(), &Attributes { sequence, ..*attributes }, timeout)?;
        claim.copy_from_slice(payload);
        let position = claim.position();
        claim.sender.number(|numbers| numbers.table.begin(numbers.index, position, number));
        let position = claim.commit();
        self.number(|numbers| {
            numbers.table.end(numbers.index, number);
            numbers.last = number;
        });
        Ok(Some(position))
    }

    fn number(&mut self, act: impl FnMut(&mut EventNumbers)) {
        self.numbers.iter_mut().for_each(act);
    }
}
