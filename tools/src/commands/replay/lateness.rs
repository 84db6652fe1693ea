//! By how much replayed events were late, and the report on it.

use std::time::Instant;

use hdrhistogram::Histogram;
use railbus::journal::Speed;
use railbus_os::clock::monotonic_ns;

use crate::failure::note;
use crate::units::time_text;

/// Counts events and records lateness.
pub(super) struct Lateness {
    started: Instant,
    events: u64,
    /// `None` for a replay at full speed, where no event is due.
    late: Option<Histogram<u64>>,
}

impl Lateness {
    pub(super) fn begin(speed: Speed) -> Lateness {
        // Three digits, growing as needed: the only possible error is a number of digits out of
        // range.
        let late = if speed == Speed::Max { None } else { Histogram::new(3).ok() };
        Lateness { started: Instant::now(), events: 0, late }
    }

    /// Counts an event that was late by this much.
    pub(super) fn note(&mut self, late_ns: u64) {
        if let Some(late) = &mut self.late {
            late.saturating_record(late_ns);
        }
    }

    /// Counts a replayed event.
    #[inline]
    pub(super) fn count(&mut self) {
        self.events += 1;
    }

    /// Reports on stderr how it went, if there was a pace to keep.
    pub(super) fn report(&self) {
        let Some(late) = self.late.as_ref().filter(|late| !late.is_empty()) else { return };
        note(&format!(
            "replayed {} events in {}; late by p50 {}, p99 {}, p99.9 {}, at most {}",
            self.events,
            time_text(self.started.elapsed().as_nanos() as u64),
            time_text(late.value_at_quantile(0.5)),
            time_text(late.value_at_quantile(0.99)),
            time_text(late.value_at_quantile(0.999)),
            time_text(late.max()),
        ));
    }
}

/// Whether the deadline is so far ahead that the buffered output should be written out first.
pub(super) fn is_ahead(deadline_ns: u64) -> bool {
    deadline_ns > monotonic_ns()
}
