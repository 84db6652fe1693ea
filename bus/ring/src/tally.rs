//! How much an end of a ring has handed over.

use crate::opaque::opaque;

/// Events and their payload bytes, since the end was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Events.
    pub events: u64,
    /// Payload bytes.
    pub bytes: u64,
}

impl Tally {
    /// Counts one event.
    #[inline(always)]
    pub fn add(&mut self, payload_bytes: u64) {
        // One by one: the compiler would make a vector of the two, whose load after a load waits for the event before.
        self.events = opaque(self.events + 1);
        self.bytes += payload_bytes;
    }
}
