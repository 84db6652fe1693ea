//! Dead letters: events that were tried too often go to another queue.

use std::time::Duration;

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::outcome::Outcome;
use railbus_ring::slots::worker::Taken;

use super::{Ticket, Worker};
use crate::SlotPublishEnd;
use crate::channel::memories::{Memories, SharedFutex};
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
        // Its last holder may have been killed when it had noted an outcome and not finished.
        self.core.reset_outcome(taken);
        if self.max_attempts == 0 || (taken.attempt as u32) < self.max_attempts {
            self.member.memories.acks.fetch_add(layout::REDELIVERED, 1, Edge::Plain);
            return true;
        }
        let Some(mut letters) = self.dead_letters.take() else { return true };
        self.move_to(&mut letters, taken, ticket, Outcome::DeadLetter);
        self.dead_letters = Some(letters);
        false
    }

    /// Moves an event that this worker holds to the dead-letter queue. Returns false if it waits in
    /// its slot until there is room, or if this worker was evicted, so that another one sees to it.
    pub(super) fn move_to(
        &mut self,
        letters: &mut Sender<SlotPublishEnd<false>>,
        taken: Taken,
        ticket: Ticket,
        outcome: Outcome,
    ) -> bool {
        let header = self.member.channel.header();
        let expired = outcome == Outcome::ExpiredLetter;
        // SAFETY: this worker holds the event, and its header was checked. If the worker was
        // evicted in the meantime, the slot holds other bytes, which are not published.
        let event: Event<'_> = unsafe { Event::new(self.locate(ticket)) };
        // Each return of the event while the dead-letter queue was full counted as an attempt, too.
        let attempts_max = if self.max_attempts == 0 { u64::MAX } else { self.max_attempts.into() };
        let origin = Origin {
            channel: header.channel_word(),
            incarnation: header.incarnation,
            position: taken.ticket,
            attempts: u64::from(taken.attempt).min(attempts_max),
            expired,
        };
        let attributes = Attributes::of(&event, origin);
        match self.write_letter(letters, &event, &attributes) {
            DeadLetter::Written => {
                self.member.memories.acks.fetch_add(layout::DEAD_LETTERED, 1, Edge::Plain);
                self.end(taken, ticket, outcome);
                true
            }
            DeadLetter::NoRoom => {
                // The event waits in its slot.
                let due_ns = clock::host_ns() + LETTER_AGAIN_NS;
                match expired {
                    true => self.core.postpone(taken.ticket, due_ns),
                    false => self.core.put_back(taken, |_, _| due_ns),
                };
                self.handed_back();
                false
            }
            // The next check of the fence reports it.
            DeadLetter::Evicted => false,
        }
    }

    /// Finishes an event that this worker holds and has not handed out.
    pub(super) fn end(&mut self, taken: Taken, ticket: Ticket, outcome: Outcome) {
        self.core.note_outcome(taken, outcome);
        self.finish(ticket.position, ticket.delivery);
        let Memories { ring, acks, .. } = self.member.memories;
        self.waker.wake(&acks, &ring, &SharedFutex(acks), || self.space_wakes);
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
