//! Tickets: events that a worker keeps while it goes on.

use railbus_ring::frame;
use railbus_ring::slots::worker::Delivery;

/// The top byte of a header word.
const TOP_BYTE: u64 = 0xFF << 56;

/// Names an event that a worker holds, by one delivery. A copy of the ticket that was kept after
/// the event was handed back names nothing, even if the same worker gets the event again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(super) position: u64,
    pub(super) delivery: Delivery,
    /// The header word that was checked. A faulty producer may change the one in the ring.
    pub(super) header: u64,
}

impl Ticket {
    /// The event's position.
    pub fn position(self) -> u64 {
        self.position
    }

    /// The number of this delivery, counted from 1. It stays at 64.
    pub fn attempt(self) -> u32 {
        self.delivery as u8 as u32 + 1
    }

    /// Position, attempt and a token. [`Self::from_words`] makes the same ticket from them.
    #[inline]
    pub fn words(self) -> (u64, u32, u64) {
        // The top byte of an event's header is always the same, so the high byte of the delivery
        // goes there.
        let token = self.header & !TOP_BYTE | (self.delivery as u64 >> 8) << 56;
        (self.position, self.attempt(), token)
    }

    /// The ticket of these words. A worker knows what it holds, so a ticket that was never given
    /// out names nothing.
    #[inline]
    pub fn from_words(position: u64, attempt: u32, token: u64) -> Ticket {
        let attempt = attempt.clamp(1, 64) as Delivery - 1;
        let delivery = attempt | ((token >> 56) as Delivery) << 8;
        Ticket { position, delivery, header: token & !TOP_BYTE | frame::COMMITTED }
    }
}
