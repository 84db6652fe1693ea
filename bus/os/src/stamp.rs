//! The clock of publish times: CLOCK_REALTIME, read from the processor's counter, with its steps
//! known.
//!
//! **Promise.** The times are CLOCK_REALTIME to within some tens of ns. The one exception is a
//! step, when the clock is set: it is noticed up to a millisecond later.
//!
//! **How it works.** A [`StampClock`] reads the kernel's clocks once a millisecond. In between it
//! adds the counter's movement, at a rate measured against CLOCK_MONOTONIC over the last 50 ms or
//! more. If the counter cannot be trusted ([`counter::distrust`]), and for the first 50 ms, every
//! reading reads the kernel's clocks.
//!
//! **Steps.** Reading both clocks also shows how far CLOCK_REALTIME is from CLOCK_MONOTONIC. That
//! changes only when the clock is set: slewing moves both. [`StampClock::age_ns`] returns how long
//! ago an event was stamped, with steps taken into account:
//!
//! ```text
//! set forward, from B to A      ... stamps ... B |  no stamps  | A ... stamps ...     each has one meaning
//! set back, from B to A         stamps before A: before; after now: before; from A to now: taken for after
//! ```
//!
//! **Left out.** A step makes two kinds of ages wrong: those of events that were stamped within a
//! millisecond of it, and those of events that are read too soon after the clock was set back. The
//! second kind ends when as much time has passed as the clock was set back.

use super::{clock, counter};

/// How long, in ns, the counter is followed before the kernel's clocks are read again.
const LOOK_EVERY_NS: u64 = 1_000_000;
/// The shortest span over which the counter's rate is measured, in ns.
const RATE_OVER_NS: u64 = 50_000_000;
/// The change of CLOCK_REALTIME against CLOCK_MONOTONIC from which on it is a step, in ns.
const STEP_NS: u64 = 100_000;
/// Stamps up to this far in the future, in ns, count as now: the clocks of two processes are not
/// exactly the same.
const AHEAD_NS: u64 = 100_000;
/// A reading during which the counter moved less than this was not interrupted.
const LOOK_TICKS: u64 = 2000;
/// A rate differs from the last one by less than one part in this number, or it is measured again.
const RATE_TOLERANCE: u64 = 1000;

/// The values of the kernel's clocks and the counter at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    ticks: u64,
    real_ns: u64,
    monotonic_ns: u64,
}

/// A step: the clock just before it was set, and just after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    before_ns: u64,
    after_ns: u64,
}

/// A clock of one thread. See the [module](self).
#[derive(Debug, Clone)]
pub struct StampClock {
    by_counter: bool,
    last: Look,
    /// For how many ticks after the last reading the counter is followed; 0 if it is not.
    valid_ticks: u64,
    /// The rate in ns per tick, times 2^32; 0 while it is not known.
    rate: u64,
    /// The moment when the measurement of the rate began.
    base: Look,
    step: Option<Step>,
    steps: u64,
}

impl Default for StampClock {
    fn default() -> StampClock {
        StampClock::new()
    }
}

impl StampClock {
    /// Makes a clock by the counter, if that can be trusted.
    pub fn new() -> StampClock {
        StampClock::with(counter::distrust().is_none())
    }

    fn with(by_counter: bool) -> StampClock {
        let last = look();
        StampClock { by_counter, last, valid_ticks: 0, rate: 0, base: last, step: None, steps: 0 }
    }

    /// Whether it follows the counter. Otherwise every reading takes two readings of the kernel's
    /// clocks.
    pub fn is_by_counter(&self) -> bool {
        self.by_counter
    }

    /// CLOCK_REALTIME in ns. No system call.
    #[inline(always)]
    pub fn now_ns(&mut self) -> u64 {
        let moved = counter::read().wrapping_sub(self.last.ticks);
        if moved < self.valid_ticks {
            return self.last.real_ns.wrapping_add((moved.wrapping_mul(self.rate)) >> 32);
        }
        self.look()
    }

    /// CLOCK_MONOTONIC at the moment `now_ns`, which [`Self::now_ns`] returned last.
    #[inline(always)]
    pub fn monotonic_ns(&self, now_ns: u64) -> u64 {
        self.last.monotonic_ns.wrapping_add(now_ns.wrapping_sub(self.last.real_ns))
    }

    /// How often the clock was set since this one was made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns how long before `now_ns` an event happened that was stamped `stamp_ns`.
    /// [`Self::now_ns`] returned `now_ns` last. Returns `None` if the stamp lies in the future.
    #[inline(always)]
    pub fn age_ns(&self, stamp_ns: u64, now_ns: u64) -> Option<u64> {
        if let Some(step) = self.step {
            return age_across(step, stamp_ns, now_ns);
        }
        age(stamp_ns, now_ns)
    }

    #[cold]
    fn look(&mut self) -> u64 {
        let new = look();
        let last = std::mem::replace(&mut self.last, new);
        // The time that the clock would show if it had not been set.
        let expected_ns = last.real_ns.wrapping_add(new.monotonic_ns.wrapping_sub(last.monotonic_ns));
        if expected_ns.abs_diff(new.real_ns) > STEP_NS {
            self.step = Some(Step { before_ns: expected_ns, after_ns: new.real_ns });
            self.steps += 1;
        }
        self.measure_rate();
        self.valid_ticks =
            if self.by_counter && self.rate != 0 { (LOOK_EVERY_NS << 32) / self.rate } else { 0 };
        new.real_ns
    }

    fn measure_rate(&mut self) {
        let ns = self.last.monotonic_ns.saturating_sub(self.base.monotonic_ns);
        let ticks = self.last.ticks.wrapping_sub(self.base.ticks);
        if ns < RATE_OVER_NS && ticks < u64::MAX / 2 {
            return;
        }
        let rate = ((ns as u128) << 32).checked_div(ticks as u128).unwrap_or(0);
        let rate = u64::try_from(rate).unwrap_or(0);
        // A machine that was suspended, or moved to another host, has one wrong rate. It is
        // measured again.
        let is_known = self.rate == 0 || rate.abs_diff(self.rate) < self.rate / RATE_TOLERANCE;
        self.rate = if is_known { rate } else { 0 };
        self.base = self.last;
    }
}

/// Returns the kernel's clocks and the counter at one moment: the narrowest of a few tries, if they
/// are interrupted.
fn look() -> Look {
    let mut best = (u64::MAX, Look::default());
    for _ in 0..4 {
        let monotonic_ns = clock::monotonic_ns();
        let before = counter::read();
        let real_ns = clock::realtime_ns();
        let after = counter::read();
        let between_ns = clock::monotonic_ns().saturating_sub(monotonic_ns);
        let width = after.wrapping_sub(before).max(between_ns);
        if width < best.0 {
            let monotonic_ns = monotonic_ns + between_ns / 2;
            best = (
                width,
                Look { ticks: before.wrapping_add(after.wrapping_sub(before) / 2), real_ns, monotonic_ns },
            );
        }
        if width < LOOK_TICKS {
            break;
        }
    }
    best.1
}

#[inline(always)]
fn age(stamp_ns: u64, now_ns: u64) -> Option<u64> {
    match now_ns.checked_sub(stamp_ns) {
        None if stamp_ns - now_ns > AHEAD_NS => None,
        None => Some(0),
        age => age,
    }
}

#[cold]
fn age_across(step: Step, stamp_ns: u64, now_ns: u64) -> Option<u64> {
    let Step { before_ns, after_ns } = step;
    if after_ns > before_ns {
        // Only a participant that has not noticed the step yet stamps between the two.
        let by_old_clock = stamp_ns < before_ns + (after_ns - before_ns) / 2;
        return age(if by_old_clock { stamp_ns + (after_ns - before_ns) } else { stamp_ns }, now_ns);
    }
    let back_ns = before_ns - after_ns;
    let was_before = stamp_ns < after_ns || stamp_ns > now_ns.saturating_add(AHEAD_NS);
    age(if was_before { stamp_ns.saturating_sub(back_ns) } else { stamp_ns }, now_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn enclosed(clock: &mut StampClock) {
        let before = (clock::realtime_ns(), clock::monotonic_ns());
        let ours = clock.now_ns();
        let monotonic = clock.monotonic_ns(ours);
        let after = (clock::realtime_ns(), clock::monotonic_ns());
        // The clock may be set between the readings. Then their order shows nothing.
        if before.0 <= after.0 && clock.steps() == 0 {
            // A reading may have been interrupted for some us by the host, unnoticed.
            const SLACK_NS: u64 = 200_000;
            assert!(before.0 <= ours + SLACK_NS && ours <= after.0 + SLACK_NS, "{before:?} {ours} {after:?}");
            let fits = before.1 <= monotonic + SLACK_NS && monotonic <= after.1 + SLACK_NS;
            assert!(fits, "{before:?} {monotonic} {after:?}");
        }
    }

    #[test]
    fn it_says_what_the_kernel_says() {
        for by_counter in [true, false] {
            let mut clock = StampClock::with(by_counter && counter::distrust().is_none());
            for _ in 0..200 {
                enclosed(&mut clock);
                std::thread::sleep(Duration::from_micros(700));
            }
            assert_eq!(clock.valid_ticks > 0, clock.by_counter, "{clock:?}");
            for _ in 0..10_000 {
                enclosed(&mut clock);
            }
        }
    }

    #[test]
    fn ages_without_a_step() {
        assert_eq!(age(100, 350), Some(250));
        assert_eq!(age(100 + AHEAD_NS, 100), Some(0));
        assert_eq!(age(101 + AHEAD_NS, 100), None);
        assert_eq!(age(u64::MAX, 0), None);
        assert_eq!(age(0, u64::MAX), Some(u64::MAX));
    }

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn a_clock_set_forward_spoils_no_age() {
        // At 10 h the clock is set to 11 h.
        let step = Step { before_ns: 10 * HOUR, after_ns: 11 * HOUR };
        let now = 11 * HOUR + 50;
        assert_eq!(age_across(step, 10 * HOUR - 200, now), Some(250), "stamped before, read after");
        assert_eq!(age_across(step, 11 * HOUR + 20, now), Some(30), "stamped after");
        assert_eq!(age_across(step, 10 * HOUR + 1000, now), Some(0), "by who has not noticed yet");
        assert_eq!(age_across(step, 12 * HOUR, now), None);
    }

    #[test]
    fn a_clock_set_back_spoils_no_age_at_once() {
        // At 10 h the clock is set to 9 h.
        let step = Step { before_ns: 10 * HOUR, after_ns: 9 * HOUR };
        let now = 9 * HOUR + 50;
        assert_eq!(age_across(step, 10 * HOUR - 200, now), Some(250), "stamped before, read after");
        assert_eq!(age_across(step, 9 * HOUR + 20, now), Some(30), "stamped after");
        assert_eq!(age_across(step, 9 * HOUR - 5, now), Some(HOUR + 55), "stamped long before");
        assert_eq!(age_across(step, 12 * HOUR, now), None);
    }

    #[test]
    fn a_look_notices_a_step_and_only_a_step() {
        let mut clock = StampClock::with(false);
        clock.now_ns();
        assert_eq!(clock.steps(), 0, "somebody set the clock during this test? {clock:?}");
        // As if the clock had been an hour ahead at the last look.
        clock.last.real_ns += HOUR;
        let now = clock.now_ns();
        assert_eq!(clock.steps(), 1);
        let age = clock.age_ns(now + HOUR, now).expect("stamped by the clock as it was before");
        assert!(age < HOUR / 2, "{age}");
    }

    #[test]
    fn a_counter_that_changes_its_rate_is_not_followed_before_it_is_known_again() {
        let mut clock = StampClock::with(true);
        let at = |ticks, monotonic_ns| Look { ticks, real_ns: monotonic_ns, monotonic_ns };
        (clock.base, clock.last) = (at(0, 0), at(100_000_000, 50_000_000));
        clock.measure_rate();
        assert_eq!(clock.rate, 1 << 31, "half a ns each");
        clock.last = at(200_000_000, 200_000_000);
        clock.measure_rate();
        assert_eq!(clock.rate, 0);
        clock.last = at(300_000_000, 300_000_000);
        clock.measure_rate();
        assert_eq!(clock.rate, 1 << 32, "1 ns each");
    }
}
