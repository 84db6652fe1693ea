//! The times of a queue's event: before which it is not taken, and from which on it is worth nothing.
//!
//! **How it works.** They are two words of the event's job extension ([`crate::frame`]), in ns of
//! CLOCK_REALTIME, so that they mean the same after a reboot. A worker that has taken an event
//! compares them with the clock. An event that is not due goes into the index of events that wait
//! ([`crate::slots::redo`]), with its attempts as they were. The index runs on the host's
//! CLOCK_MONOTONIC, so the worker converts the rest of the wait. When that has passed, a worker
//! compares again.
//!
//! A dead letter keeps its times, but they are not applied to it: see [`Times::of`].
//!
//! **Left out.** What happens to an event whose time is over: the handles of `railbus` do that.

use crate::memory::{Edge, Memory};
use crate::slots::word::Slots;
use crate::{frame, layout};

/// The present moment by the two clocks that the protocol of a queue uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// CLOCK_MONOTONIC of the host, in ns.
    pub host_ns: u64,
    /// CLOCK_REALTIME, in ns; 0 if it is not known. Then no event counts as one that is not due.
    pub wall_ns: u64,
}

impl From<u64> for Now {
    /// A moment of the host's clock only.
    fn from(host_ns: u64) -> Now {
        Now { host_ns, wall_ns: 0 }
    }
}

/// The times of an event; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// It is not taken before this time, in ns of CLOCK_REALTIME.
    pub not_before_ns: u64,
    /// From this time on it is expired, in ns of CLOCK_REALTIME.
    pub expires_ns: u64,
}

/// The verdict of the clock about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It may be handed out.
    Now,
    /// It must wait for this many ns, and is to be looked at again then.
    In(u64),
    /// Its time is over.
    Expired,
}

impl Times {
    /// The times that apply to ticket `t`, which was published with this header word. The header
    /// was checked, or `None` is returned. A dead letter has none that apply.
    pub fn of<M: Memory>(data: &M, slots: Slots, t: u64, header: u64) -> Option<Times> {
        let flags = frame::flags(header);
        let body_max = slots.slot_bytes() - layout::SLOT_BODY as u64;
        if flags & frame::JOB == 0 || !frame::is_event(header, body_max) {
            return None;
        }
        let body = slots.offset(t) + layout::SLOT_BODY;
        // Plain: the ticket was seen published, and the slot is not overwritten before it is done.
        let word = |at: usize| data.load(body + at, Edge::Plain);
        if flags & frame::ORIGIN != 0 && word(frame::origin_offset(flags) + frame::ORIGIN_ATTEMPTS) != 0 {
            return None;
        }
        let at = frame::job_offset(flags);
        let (not_before_ns, expires_ns) = (word(at), word(at + 8));
        Some(Times { not_before_ns, expires_ns })
    }

    /// Compares with the clock. An expiry comes first, and ends a wait.
    pub fn due(self, wall_ns: u64) -> Due {
        let expires_ns = if self.expires_ns == 0 { u64::MAX } else { self.expires_ns };
        match self.not_before_ns.min(expires_ns) {
            _ if expires_ns <= wall_ns => Due::Expired,
            next_ns if next_ns > wall_ns && self.not_before_ns > wall_ns => Due::In(next_ns - wall_ns),
            _ => Due::Now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::plain::Plain;

    #[test]
    fn an_expiry_comes_first_and_ends_a_wait() {
        let due = |not_before_ns, expires_ns| Times { not_before_ns, expires_ns }.due(100);
        assert_eq!([due(0, 0), due(100, 0), due(0, 101), due(99, 200)], [Due::Now; 4]);
        assert_eq!([due(101, 0), due(150, 120), due(120, 150)], [Due::In(1), Due::In(20), Due::In(20)]);
        assert_eq!([due(0, 100), due(200, 100), due(0, 1)], [Due::Expired; 3]);
        assert_eq!(due(u64::MAX, 0), Due::In(u64::MAX - 100));
    }

    #[test]
    fn times_are_read_behind_the_other_extensions_and_not_from_a_dead_letter() {
        let slots = Slots::new(1, 256);
        let data = Plain::zeroed(32);
        let all = frame::JOB | frame::ORIGIN | frame::KEYED | frame::STAMPED;
        let at = layout::SLOT_BODY + frame::job_offset(all);
        data.store(at, 7, Edge::Plain);
        data.store(at + 8, 9, Edge::Plain);
        let of = |flags: u8, bytes: u32| Times::of(&data, slots, 3, frame::header(bytes, 0, flags));
        assert_eq!(of(all, 100), Some(Times { not_before_ns: 7, expires_ns: 9 }));
        let attempts = layout::SLOT_BODY + frame::origin_offset(all) + frame::ORIGIN_ATTEMPTS;
        data.store(attempts, 1, Edge::Plain);
        assert_eq!(of(all, 100), None, "a dead letter");
        assert_eq!(of(frame::KEYED, 8), None, "no job extension");
        assert_eq!(of(frame::JOB, 31), None, "a body that is shorter than its extensions");
        assert_eq!(of(frame::JOB, 4096), None, "a body that is longer than the slot");
    }
}
