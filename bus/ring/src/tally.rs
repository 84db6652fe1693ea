//! How many events and bytes have passed one end of a ring.

use crate::opaque::opaque;

/// The number of events and of their payload bytes since the end was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// The number of events.
    pub events: u64,
    /// The number of payload bytes.
    pub bytes: u64,
}

impl Tally {
    /// Counts one event.
    #[inline(always)]
    pub fn add(&mut self, payload_bytes: u64) {
        // The two are added one by one. Otherwise the compiler would make a vector of them, whose
        // load would have to wait for the store of the event before.
        self.events = opaque(self.events + 1);
        self.bytes += payload_bytes;
    }
}
