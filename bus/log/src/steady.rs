//! Times that a step of the wall clock does not move.
//!
//! The wall clock may be wrong for a while, and be set right by a step, in either direction. Two things depend on it:
//!
//! - **The age of segments** ([`SteadyClock`]). A step forward must not make a journal remove what was recorded a minute
//!   ago. So the wall clock is read once and followed by the clock that counts since boot. A step back is taken at once:
//!   it makes everything younger. A step forward is taken when it has lasted for as long as the age in question: by then
//!   everything that was recorded before it is that old in truth.
//! - **The times of records** ([`Stamps`]), which never go back while a writer is at work. While the wall
//!   clock is behind the last time that was recorded, times go on from there, at half the pace, so that they
//!   stay apart and the clock catches up; when it is more than a day behind, at full pace. A writer that
//!   begins then takes the time of the clock ([`was_ahead`]): the first segment that it makes says that times
//!   go back there.

use std::time::Duration;

use railbus_os::clock;

/// Smaller differences are no step.
const STEP_NS: u64 = 1_000_000_000;
/// From here on it would take too long to let the wall clock catch up.
const HOPELESS_NS: u64 = 24 * 3600 * 1_000_000_000;

/// A wall clock that is before 2025 was not set since the machine was started.
const NOT_SET_NS: u64 = 1_735_689_600_000_000_000;

/// Whether a journal whose last time is this was recorded with a clock that was ahead: it is more than a day
/// ahead of the wall clock, and that was set.
pub fn was_ahead(last_ns: u64, wall_ns: u64) -> bool {
    wall_ns >= NOT_SET_NS && last_ns.saturating_sub(wall_ns) >= HOPELESS_NS
}

/// The wall clock, without steps forward.
#[derive(Debug, Default)]
pub struct SteadyClock {
    /// The wall clock and the clock since boot when they were last compared.
    last: Option<(u64, u64)>,
    /// Since when (clock since boot) the wall clock has been ahead.
    ahead_since_ns: Option<u64>,
    /// By how much it is ahead.
    ahead_ns: u64,
}

impl SteadyClock {
    /// The time, CLOCK_REALTIME in ns, or less while a step forward has not lasted for `patience`.
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

    /// By how much the wall clock is ahead of what has passed, while that is not believed.
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
    /// Goes on from the last time in the journal.
    pub fn after(last_ns: u64) -> Stamps {
        Stamps { last_ns, at_ns: clock::monotonic_ns() }
    }

    /// A time that is not before any other: CLOCK_REALTIME in ns, unless that is behind.
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
            // Never beyond what the wall clock itself would have done.
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
        // A year forward, for a while.
        assert_eq!(clock.step(year, 16 * S, HOUR), 1006 * S);
        assert!(clock.suspicion().is_some());
        assert_eq!(clock.step(year + S, 17 * S, HOUR), 1007 * S);
        // Set right again.
        assert_eq!((clock.step(1008 * S, 18 * S, HOUR), clock.suspicion()), (1008 * S, None));
        // Back by a day: everything is younger.
        assert_eq!(clock.step(100 * S, 19 * S, HOUR), 100 * S);
        // Forward, and it stays: after an hour it is true.
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
        // Ten seconds back: half the pace, until the wall clock is there again.
        let mut last = 1001 * S;
        for passed in 1..=20 {
            let next = stamps.step(991 * S + passed * S, S + passed * S);
            assert!(next >= last, "{passed}");
            last = next;
        }
        assert_eq!(last, 1011 * S, "it has caught up");
        assert_eq!(stamps.step(1012 * S, 22 * S), 1012 * S);
        // A year ahead once: from then on at the clock's pace.
        let mut stamps = Stamps { last_ns: 365 * 86_400 * S, at_ns: 0 };
        assert_eq!(stamps.step(1000 * S, 10 * S), 365 * 86_400 * S + 10 * S);
    }
}
