//! Times that a step of the wall clock does not move.
//!
//! The wall clock may be wrong for a while, and be set right by a step in either direction. Two
//! things depend on it:
//!
//! - **The age of segments** ([`SteadyClock`]). A step forward must not make a journal remove what
//!   was recorded a minute ago. So the wall clock is read once and followed by the clock that
//!   counts since boot. A step back is accepted at once, since it makes everything younger. A step
//!   forward is accepted when it has lasted for as long as the age in question. Everything that was
//!   recorded before the step is really that old at that time.
//! - **The times of records** ([`Stamps`]). They never go back while a writer is at work. While the
//!   wall clock is behind the last recorded time, times continue from there. They run at half the
//!   pace, so that they stay distinct and the clock catches up; when it is more than a day behind,
//!   they run at full pace. A writer that begins in that case uses the time of the clock
//!   ([`was_ahead`]): the first segment that it makes records that times go back there.

use std::time::Duration;

use railbus_os::clock;

/// Smaller differences are no step.
const STEP_NS: u64 = 1_000_000_000;
/// From this difference on, it would take too long to let the wall clock catch up.
const HOPELESS_NS: u64 = 24 * 3600 * 1_000_000_000;

/// A wall clock that is before 2025 was not set since the machine was started.
const NOT_SET_NS: u64 = 1_735_689_600_000_000_000;

/// Whether a journal with this last time was recorded with a clock that was ahead. That is so if
/// the last time is a day or more ahead of the wall clock, and the wall clock was set. Both times
/// are in ns of CLOCK_REALTIME.
pub fn was_ahead(last_ns: u64, wall_ns: u64) -> bool {
    wall_ns >= NOT_SET_NS && last_ns.saturating_sub(wall_ns) >= HOPELESS_NS
}

/// The wall clock, without steps forward.
#[derive(Debug, Default)]
pub struct SteadyClock {
    /// The wall clock and the clock since boot when they were last compared.
    last: Option<(u64, u64)>,
    /// The time (clock since boot) since which the wall clock has been ahead.
    ahead_since_ns: Option<u64>,
    /// By how much the wall clock is ahead.
    ahead_ns: u64,
}

impl SteadyClock {
    /// Returns the time, CLOCK_REALTIME in ns. It is less while a step forward has not lasted for
    /// `patience`.
    pub fn now_ns(&mut self, patience: Duration) -> u64 {
        self.step(clock::realtime_ns(), clock::boottime_ns(), patience)
    }

    fn step(&mut self, wall_ns: u64, boot_ns: u64, patience: Duration) -> u64 {
        let Some((then_wall, then_boot)) = self.last else {
            self.last = Some((wall_ns, boot_ns));
            return wall_ns;
        };
        let expected_ns = then_wall.saturating_add(boot_ns.saturating_sub(then_boot));
        self.ahead_ns = wall_ns.saturating_sub(expected_ns);
        let lasted = self.ahead_since_ns.map(|since| Duration::from_nanos(boot_ns.saturating_sub(since)));
        if self.ahead_ns <= STEP_NS || lasted.is_some_and(|lasted| lasted >= patience) {
            (self.last, self.ahead_since_ns, self.ahead_ns) = (Some((wall_ns, boot_ns)), None, 0);
            return wall_ns;
        }
        self.ahead_since_ns.get_or_insert(boot_ns);
        expected_ns
    }

    /// Returns by how much the wall clock is ahead of the time that has passed, while that is not
    /// believed.
    pub fn suspicion(&self) -> Option<Duration> {
        (self.ahead_ns > 0).then(|| Duration::from_nanos(self.ahead_ns))
    }
}

/// The times of a journal's records.
#[derive(Debug)]
pub struct Stamps {
    last_ns: u64,
    /// CLOCK_MONOTONIC at the last stamp.
    at_ns: u64,
}

impl Stamps {
    /// Continues from the last time in the journal.
    pub fn after(last_ns: u64) -> Stamps {
        Stamps { last_ns, at_ns: clock::monotonic_ns() }
    }

    /// Returns a time that is not before any other: CLOCK_REALTIME in ns, unless that is behind.
    pub fn next_ns(&mut self) -> u64 {
        self.step(clock::realtime_ns(), clock::monotonic_ns())
    }

    fn step(&mut self, wall_ns: u64, monotonic_ns: u64) -> u64 {
        let passed_ns = monotonic_ns.saturating_sub(self.at_ns);
        self.at_ns = monotonic_ns;
        let behind_ns = self.last_ns.saturating_sub(wall_ns);
        self.last_ns = match behind_ns {
            0 => wall_ns,
            HOPELESS_NS.. => self.last_ns.saturating_add(passed_ns),
            // Half the pace never goes beyond what the wall clock itself would have done.
            _ => self.last_ns.saturating_add(passed_ns / 2),
        };
        self.last_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_step_forward_is_believed_when_it_has_lasted_and_one_back_at_once() {
        let mut clock = SteadyClock::default();
        let year = 365 * 86_400 * S;
        assert_eq!(clock.step(1000 * S, 10 * S, HOUR), 1000 * S);
        assert_eq!(clock.step(1005 * S, 15 * S, HOUR), 1005 * S);
        // The clock is a year ahead, for a while.
        assert_eq!(clock.step(year, 16 * S, HOUR), 1006 * S);
        assert!(clock.suspicion().is_some());
        assert_eq!(clock.step(year + S, 17 * S, HOUR), 1007 * S);
        // The clock is set right again.
        assert_eq!((clock.step(1008 * S, 18 * S, HOUR), clock.suspicion()), (1008 * S, None));
        // The clock goes back by a day: everything is younger.
        assert_eq!(clock.step(100 * S, 19 * S, HOUR), 100 * S);
        // The clock goes forward, and stays: after an hour it is believed.
        assert_eq!(clock.step(year, 20 * S, HOUR), 101 * S);
        assert_eq!(clock.step(year + 3599 * S, 3619 * S, HOUR), 3700 * S);
        assert_eq!(clock.step(year + 3601 * S, 3621 * S, HOUR), year + 3601 * S);
        assert_eq!(clock.suspicion(), None);
    }

    #[test]
    fn a_clock_that_was_ahead_is_told_from_one_that_was_not_set() {
        let year = 365 * 86_400 * S;
        assert!(was_ahead(NOT_SET_NS + year, NOT_SET_NS));
        assert!(!was_ahead(NOT_SET_NS + HOPELESS_NS - 1, NOT_SET_NS), "it will have caught up");
        assert!(!was_ahead(NOT_SET_NS + year, 1000 * S), "the clock is not set yet");
        assert!(!was_ahead(NOT_SET_NS, NOT_SET_NS + year));
    }

    #[test]
    fn times_stay_apart_while_the_clock_is_behind_and_it_catches_up() {
        let mut stamps = Stamps { last_ns: 1000 * S, at_ns: 0 };
        assert_eq!(stamps.step(1001 * S, S), 1001 * S);
        // The clock goes back by ten seconds: times run at half the pace until the wall clock has
        // caught up.
        let mut last = 1001 * S;
        for passed in 1..=20 {
            let next = stamps.step(991 * S + passed * S, S + passed * S);
            assert!(next >= last, "{passed}");
            last = next;
        }
        assert_eq!(last, 1011 * S, "it has caught up");
        assert_eq!(stamps.step(1012 * S, 22 * S), 1012 * S);
        // The last time is a year ahead: from then on times run at the clock's pace.
        let mut stamps = Stamps { last_ns: 365 * 86_400 * S, at_ns: 0 };
        assert_eq!(stamps.step(1000 * S, 10 * S), 365 * 86_400 * S + 10 * S);
    }
}
