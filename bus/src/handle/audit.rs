//! An idle worker's search for events that the queue has lost track of.
//!
//! No correct participant leaves such events. A worker announces what it takes, and the process
//! that buries a dead worker hands back what it had announced. But if the head word was corrupted,
//! nobody owns the events that it passed over. Workers would wait for them without end, and
//! producers for their slots.

use std::ops::Range;

use railbus_os::clock;
use railbus_ring::members::peers::Peers;
use railbus_ring::slots::orphan::Sweeper;

use crate::channel::mapped::Trusted;

/// A search through the queue begins at most this often.
const EVERY_NS: u64 = 1_000_000_000;
/// The number of tickets that one step looks at. It takes some microseconds.
const STEP: u64 = 4096;

/// How far the search has come. There is one search each time that the worker has nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// The tickets that are still to be looked at.
    tickets: Range<u64>,
    began_ns: u64,
    /// The number of events that the worker had received when the search began.
    events: Option<u64>,
}

impl Audit {
    /// One step, by a worker that has received `events` events and finds none. Events that nobody
    /// owns are handed out again.
    pub(crate) fn step<P: Peers>(&mut self, sweeper: &Sweeper<'_, Trusted>, peers: &P, events: u64) {
        if self.tickets.is_empty() {
            let now_ns = clock::coarse_ns();
            if self.events == Some(events) || now_ns.saturating_sub(self.began_ns) < EVERY_NS {
                return;
            }
            *self = Audit { tickets: sweeper.tickets(), began_ns: now_ns, events: Some(events) };
        }
        let end = self.tickets.end.min(self.tickets.start.saturating_add(STEP));
        sweeper.audit(self.tickets.start..end, peers);
        self.tickets.start = end;
    }
}
