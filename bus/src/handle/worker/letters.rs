//! Dead letters: events that were tried too often go to another queue.

use std::time::Duration;

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::worker::Taken;

use super::{Ticket, Worker};
use crate::SlotPublishEnd;
use crate::event::{Attributes, Event, Origin};
use crate::handle::sender::Sender;

/// An event waits this long in its slot while the dead-letter queue is full, before the worker
/// tries again.
const LETTER_AGAIN_NS: u64 = 10_000_000;

/// The fate of a dead letter.
pub(super) enum DeadLetter {
    Written,
    /// The dead-letter queue is full.
    NoRoom,
    /// The worker was evicted, and the bytes that it read may be anything.
    Evicted,
}

impl Worker {
    /// Whether an event that was delivered before is to be delivered again. Otherwise it has become
    /// a dead letter, or waits until the dead-letter queue has room for it.
    #[cold]
    pub(super) fn is_redelivered(&mut self, taken: Taken, ticket: Ticket) -> bool {
        if self.max_attempts == 0 || (taken.attempt as u32) < self.max_attempts {
            self.member.memories.acks.fetch_add(layout::REDELIVERED, 1, Edge::Plain);
            return true;
        }
        let Some(mut letters) = self.dead_letters.take() else { return true };
        let header = self.member.channel.header();
        // SAFETY: this worker holds the event, and its header was checked. If the worker was
        // evicted in the meantime, the slot holds other bytes, which are not published.
        let event: Event<'_> = unsafe { Event::new(self.locate(ticket)) };
        let origin = Origin {
            channel: header.channel_word(),
            incarnation: header.incarnation,
            position: taken.ticket,
            // Each return of the event while the dead-letter queue was full counted as an attempt,
            // too.
            attempts: (taken.attempt as u64).min(self.max_attempts as u64),
        };
        let attributes = Attributes::of(&event, origin);
        let letter = self.write_letter(&mut letters, &event, &attributes);
        self.dead_letters = Some(letters);
        match letter {
            DeadLetter::Written => {
                self.member.memories.acks.fetch_add(layout::DEAD_LETTERED, 1, Edge::Plain);
                self.finish(ticket.position, ticket.delivery);
            }
            DeadLetter::NoRoom => {
                // The event waits in its slot.
                self.core.put_back(taken, |_, _| clock::host_ns() + LETTER_AGAIN_NS);
                self.handed_back();
            }
            // The next check of the fence reports it.
            DeadLetter::Evicted => {}
        }
        false
    }

    /// Publishes an event that this worker holds in the dead-letter queue. That comes before the
    /// event is done. A worker that is killed between the two leaves an event that becomes a dead
    /// letter once more, with the same origin.
    pub(super) fn write_letter(
        &self,
        letters: &mut Sender<SlotPublishEnd<false>>,
        event: &Event<'_>,
        attributes: &Attributes,
    ) -> DeadLetter {
        let payload = event.payload();
        let Ok(mut claim) = letters.claim_with_timeout(payload.len(), attributes, Duration::ZERO) else {
            return DeadLetter::NoRoom;
        };
        claim.copy_from_slice(payload);
        // VALIDATE: the copying comes before the check of the fence. Once the fence is closed, the
        // event goes to other workers, and its slot to the next lap.
        self.member.memories.data.fence(Edge::Validate);
        if self.core.is_fenced() {
            claim.abort();
            return DeadLetter::Evicted;
        }
        claim.commit();
        DeadLetter::Written
    }
}
