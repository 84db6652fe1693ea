//! An idle worker's look for events that the queue has neither kept nor given to anybody.
//!
//! Nobody who keeps to the rules leaves any: a worker announces what it takes, and what a dead one had announced is
//! handed back by who buries it. But if somebody has harmed the head, the events that it has passed are nobody's: workers
//! would wait for them, and producers for their slots, for ever.

use std::ops::Range;

use railbus_os::clock;
use railbus_ring::members::peers::Peers;
use railbus_ring::slots::orphan::Sweeper;

use crate::channel::mapped::Trusted;

/// A look through the queue begins at most this often.
const EVERY_NS: u64 = 1_000_000_000;
/// So many tickets are looked at in one step: some microseconds.
const STEP: u64 = 4096;

/// How far the look has come. There is one for each time that the worker has nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// What is still to be looked at.
    tickets: Range<u64>,
    began_ns: u64,
    /// How many events the worker had received when it began.
    events: Option<u64>,
}

impl Audit {
    /// One step, by a worker that has received so many events and finds nothing. What is nobody's is handed out again.
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
