//! Publishers that number their events, so that one that was killed leaves out nothing and publishes nothing twice.

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
    /// What stands for the name in its events.
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
    /// The number of the last event that the channel has from this handle's name, 0 if none: where a publisher that was
    /// killed goes on. `None` unless the handle was opened with [`SendOptions::sequenced`](crate::SendOptions::sequenced).
    pub fn resume_point(&self) -> Option<u64> {
        self.numbers.as_ref().map(|numbers| numbers.last)
    }

    /// Publishes event `number` of this handle's name with attributes, waiting as [`Self::publish`] does. Numbers count
    /// up, with gaps or without. An event whose number is not above [`Self::resume_point`] was published before: it is
    /// dropped, and the result is `None`; otherwise the event's position. The event carries name and number
    /// ([`Event::sequence`](crate::Event::sequence)).
    ///
    /// The number is kept in the channel, so that a publisher which is killed at any instruction, opens again under its
    /// name and publishes everything anew leaves out nothing and publishes nothing twice. (In a queue or topic whose
    /// other producers have gone round the whole ring in between, the one event that was in work may come twice, with
    /// the same number.) As long as the channel exists; with a journal also when it is made again. It is never diverted:
    /// where others would be, it waits.
    ///
    /// # Errors
    /// [`SendError::NotSequenced`]; otherwise as [`Self::publish`].
    pub fn publish_numbered(
        &mut self,
        number: u64,
        payload: &[u8],
        attributes: &Attributes,
    ) -> Result<Option<u64>, SendError> {
        self.publish_number(number, payload, attributes, None)
    }

    /// As [`Self::publish_numbered`], waiting at most `timeout` for room; zero says at once when there is none.
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
