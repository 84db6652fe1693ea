//! The times of events: a worker puts back those that are not due, and ends those that have expired.
//!
//! Both happen when a worker has taken the event and before it hands it out, so neither counts an
//! attempt. Only events that carry times come here.

use railbus_os::clock;
use railbus_ring::frame;
use railbus_ring::layout;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::job::Due;
use railbus_ring::slots::outcome::Outcome;
use railbus_ring::slots::redo::{AT_ONCE, DELAY_NS_MAX};
use railbus_ring::slots::worker::Taken;

use super::{Ticket, Worker};

/// One poll puts back, or ends, this many events at most, so that its caller can check its deadline
/// and its peers.
pub(super) const UNTIMELY_MAX: u32 = 256;

impl Worker {
    /// Whether the clock lets this event be handed out now. Otherwise it was put back until it is
    /// due, or has ended because its time is over.
    #[cold]
    #[inline(never)]
    pub(super) fn is_timely(&mut self, taken: Taken, ticket: Ticket) -> bool {
        let Some(times) = self.core.times(ticket.position, ticket.header) else { return true };
        match times.due(clock::realtime_ns()) {
            Due::Now => return true,
            Due::In(wait_ns) => {
                // If the wait is longer than the index can hold, a worker looks again then.
                let due_ns = clock::host_ns().saturating_add(wait_ns.min(DELAY_NS_MAX / 2));
                self.core.postpone(ticket.position, due_ns);
                self.handed_back();
            }
            Due::Expired => self.expire(taken, ticket),
        }
        false
    }

    /// Ends an event whose time is over.
    fn expire(&mut self, taken: Taken, ticket: Ticket) {
        let drops = self.member.channel.header().drop_expired;
        let letters = if drops { None } else { self.dead_letters.take() };
        let moved = match letters {
            Some(mut letters) => {
                let moved = self.move_to(&mut letters, taken, ticket, Outcome::ExpiredLetter);
                self.dead_letters = Some(letters);
                moved
            }
            None => {
                self.end(taken, ticket, Outcome::Expired);
                true
            }
        };
        if moved {
            self.member.memories.acks.fetch_add(layout::EXPIRED, 1, Edge::Plain);
        }
    }

    /// The time until which an event with times waits at most, if it is to wait until `due_ns`: its
    /// expiry is noticed when it comes.
    pub(super) fn until_expiry(&self, ticket: Ticket, due_ns: u64) -> u64 {
        if frame::flags(ticket.header) & frame::JOB == 0 {
            return due_ns;
        }
        let times = self.core.times(ticket.position, ticket.header);
        let Some(expires_ns) = times.map(|times| times.expires_ns).filter(|&ns| ns != 0) else {
            return due_ns;
        };
        let left_ns = expires_ns.saturating_sub(clock::realtime_ns());
        due_ns.min(clock::host_ns().saturating_add(left_ns)).max(AT_ONCE)
    }
}
