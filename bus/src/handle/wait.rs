//! Waiting: spin, then yield or park, with a deadline, and with a look at the peers' health now and then.
//!
//! A wait is a loop of the caller's around [`Waiting::step`], which says what to do between two polls. The first
//! microseconds are spent polling. A reader that has been receiving without a break pauses a little at its first
//! empty poll ("slip"): its polling would take the line away from the publisher that is about to write it; a reader
//! that waits for single events polls tightly.

use std::cell::Cell;
use std::time::Duration;

use railbus_os::clock;

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Poll without end: the lowest latency, one core busy.
    Spin,
    /// Poll for `spin`, then yield the processor between polls.
    Yield {
        /// How long to poll first.
        spin: Duration,
    },
    /// Poll for `spin`, then sleep until woken: about no processor time while idle.
    Park {
        /// How long to poll first.
        spin: Duration,
    },
}

impl Default for Wait {
    /// Park after 50 us of polling.
    fn default() -> Wait {
        Wait::Park { spin: Duration::from_micros(50) }
    }
}

/// Waits are looked after this long: peers are probed when they last longer.
const PATIENCE_NS: u64 = 50_000;
/// Peers are probed at most this often.
const PROBE_EVERY_NS: u64 = 1_000_000;
/// A sleeper looks up after this long first, then after twice as long each time, but at least this often: the death of
/// a peer is met soon after the wait begins, and always within a few ms.
const FIRST_SLICE_NS: u64 = 1_000_000;
const SLICE_NS: u64 = 8_000_000;
/// Who only waits for events, and whom no death concerns as long as nothing comes, sleeps this long at a time when
/// nothing has come for [`LONG_NS`]: an eighth of the wake-ups. What comes wakes it, unless its publisher is killed
/// between making it visible and the wake; and a worker that was the only one learns of another at the end of a slice.
const LONG_SLICE_NS: u64 = 64_000_000;
const LONG_NS: u64 = 1_000_000_000;
/// Polls between two looks at the clock. The first that many are tight: a reply that takes no longer than a few
/// round trips of a cache line is met without a pause and without a look at the clock.
const POLLS_A_LOOK: u32 = 128;
/// Processor pauses of one slip.
const SLIP: u32 = 128;
/// Slips in a row after a run of events.
const SLIPS: u32 = 1;
/// How many events in a row make a run.
const RUN: u64 = 8;

#[cfg(test)]
std::thread_local! {
    /// Set by tests in whose threads nobody is to wake up by himself: a wake-up that goes missing is a hang there.
    pub(crate) static SLICES_ARE_ENDLESS: Cell<bool> = const { Cell::new(false) };
}

/// Paces the empty polls of a handle that has been receiving without a break: whoever publishes is about to write the
/// line that polling would take away from it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// How many events had been received at the last empty poll.
    events: u64,
    slips: u32,
}

impl Pace {
    /// An empty poll after `events` events in all. Returns whether any came since the last one.
    #[inline]
    pub(crate) fn empty(&mut self, events: u64) -> bool {
        let run = events - self.events;
        self.events = events;
        if run > 0 {
            self.slips = if run >= RUN { SLIPS } else { 0 };
        }
        if self.slips > 0 {
            self.slips -= 1;
            (0..SLIP).for_each(|_| std::hint::spin_loop());
        }
        run > 0
    }

    /// Whether the next empty polls are to be slow.
    #[inline(always)]
    pub(crate) fn is_slipping(&self) -> bool {
        self.slips > 0
    }
}

/// What to do before the next poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: poll again.
    Poll,
    /// Probe the peers, then poll again.
    Probe,
    /// Sleep for at most this many ns.
    Sleep(u64),
    /// The deadline has passed.
    TimedOut,
}

/// One wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    wait: Wait,
    polls: u32,
    started_ns: u64,
    deadline_ns: u64,
    next_probe_ns: u64,
    slice_ns: u64,
    /// Whether to sleep for long in the end.
    patient: bool,
    /// Since when nobody has woken this waiter, and when the slice ends that it sleeps.
    asleep_since_ns: u64,
    awake_ns: u64,
}

impl Waiting {
    /// Begins. `timeout` of `None` waits without end.
    #[inline]
    pub(crate) fn new(wait: Wait, timeout: Option<Duration>) -> Waiting {
        let timeout_ns = timeout.map_or(u64::MAX, |t| t.as_nanos().min(u64::MAX as u128) as u64);
        // A timeout of zero has its look at once.
        let polls = if timeout_ns == 0 { POLLS_A_LOOK - 1 } else { 0 };
        Waiting {
            wait,
            polls,
            started_ns: 0,
            deadline_ns: timeout_ns,
            next_probe_ns: 0,
            slice_ns: FIRST_SLICE_NS,
            patient: false,
            asleep_since_ns: 0,
            awake_ns: 0,
        }
    }

    /// Says that no death concerns this waiter as long as nobody wakes it.
    pub(crate) fn be_patient(&mut self, patient: bool) {
        self.patient = patient;
    }

    /// Whether the next poll need not look at more than what comes as a rule: all but the one behind a look at the clock.
    /// The sooner one follows the other, the sooner it sees what has come.
    #[inline(always)]
    pub(crate) fn is_quick(&self) -> bool {
        self.polls != 0
    }

    /// One step.
    #[inline]
    pub(crate) fn step(&mut self) -> Step {
        self.polls += 1;
        if self.polls < POLLS_A_LOOK {
            if self.started_ns != 0 {
                std::hint::spin_loop();
            }
            return Step::Poll;
        }
        self.polls = 0;
        self.look()
    }

    #[cold]
    fn look(&mut self) -> Step {
        let now = clock::monotonic_ns();
        if self.started_ns == 0 {
            self.started_ns = now;
            self.deadline_ns = now.saturating_add(self.deadline_ns);
        }
        if now >= self.deadline_ns {
            return Step::TimedOut;
        }
        let waited = now - self.started_ns;
        if waited >= PATIENCE_NS && now >= self.next_probe_ns {
            self.next_probe_ns = now + PROBE_EVERY_NS;
            // The next step looks again: a sleeper is not kept awake by the probe.
            self.polls = POLLS_A_LOOK - 1;
            return Step::Probe;
        }
        match self.wait {
            Wait::Yield { spin } if waited >= spin.as_nanos() as u64 => {
                std::thread::yield_now();
                self.polls = POLLS_A_LOOK - 1;
                Step::Poll
            }
            Wait::Park { spin } if waited >= spin.as_nanos() as u64 => {
                self.polls = POLLS_A_LOOK - 1;
                if now < self.awake_ns || self.awake_ns == 0 {
                    // Woken, if not by what it waits for: somebody is there, whose death would concern it.
                    self.slice_ns = FIRST_SLICE_NS;
                    self.asleep_since_ns = now;
                }
                #[cfg(test)]
                if SLICES_ARE_ENDLESS.get() {
                    return Step::Sleep((600 * LONG_NS).min(self.deadline_ns - now));
                }
                let long = self.patient && now - self.asleep_since_ns >= LONG_NS;
                let slice_ns = self.slice_ns;
                self.slice_ns = (2 * slice_ns).min(if long { LONG_SLICE_NS } else { SLICE_NS });
                self.awake_ns = now + slice_ns;
                Step::Sleep(slice_ns.min(self.deadline_ns - now))
            }
            _ => Step::Poll,
        }
    }
}

/// Empty polls between two looks at the clock of a handle that only polls.
const EMPTY_POLLS_A_LOOK: u32 = 16;

/// Tells a handle that is only ever polled, and so never comes to wait, when to probe its peers: what a dead peer
/// left would be in its way for ever otherwise.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    polls: Cell<u32>,
    next_probe_ns: Cell<u64>,
}

impl Idle {
    /// The handle found something in between.
    #[inline(always)]
    pub(crate) fn restart(&mut self) {
        *self = Idle::default();
    }

    /// The handle is not polled again before something wakes its owner, who waits elsewhere. If it is empty then, that one
    /// poll asks the clock.
    pub(crate) fn rest(&self) {
        self.polls.set(EMPTY_POLLS_A_LOOK - 1);
        if self.next_probe_ns.get() == 0 {
            self.next_probe_ns.set(clock::coarse_ns() + PROBE_EVERY_NS);
        }
    }

    /// A poll has found nothing. Whether a probe is due: at the first ticks of the coarse clock (1 to 10 ms) without
    /// an event, and at each tick after that.
    #[inline]
    pub(crate) fn is_due(&mut self) -> bool {
        let polls = self.polls.get_mut();
        *polls += 1;
        if *polls < EMPTY_POLLS_A_LOOK {
            return false;
        }
        *polls = 0;
        let now = clock::coarse_ns();
        let next_probe_ns = self.next_probe_ns.get_mut();
        let due = *next_probe_ns != 0 && now >= *next_probe_ns;
        if due || *next_probe_ns == 0 {
            *next_probe_ns = now + PROBE_EVERY_NS;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_timeout_ends_at_once_and_a_park_sleeps() {
        let mut waiting = Waiting::new(Wait::Spin, Some(Duration::ZERO));
        assert_eq!(waiting.step(), Step::TimedOut);
        let mut waiting = Waiting::new(Wait::Park { spin: Duration::ZERO }, Some(Duration::from_secs(9)));
        let steps: Vec<Step> = (0..300).map(|_| waiting.step()).collect();
        assert!(steps[..127].iter().all(|&step| step == Step::Poll), "{steps:?}");
        assert!(steps.iter().any(|step| matches!(step, Step::Sleep(1..=SLICE_NS))), "{steps:?}");
    }

    #[test]
    fn only_who_is_patient_and_not_woken_sleeps_for_long() {
        let longest = |patient, wakes_early: bool| {
            let mut waiting = Waiting::new(Wait::Park { spin: Duration::ZERO }, None);
            waiting.be_patient(patient);
            let mut longest = 0;
            let start = clock::monotonic_ns();
            while clock::monotonic_ns() - start < 3 * LONG_NS / 2 {
                if let Step::Sleep(slice_ns) = waiting.step() {
                    longest = longest.max(slice_ns);
                    std::thread::sleep(Duration::from_nanos(if wakes_early {
                        slice_ns / 2
                    } else {
                        slice_ns
                    }));
                }
            }
            longest
        };
        assert!(longest(true, false) > SLICE_NS);
        assert!(longest(false, false) <= SLICE_NS);
        assert!(longest(true, true) <= SLICE_NS);
    }

    #[test]
    fn a_handle_that_only_polls_probes_again_and_again() {
        let mut idle = Idle::default();
        for _ in 0..3 {
            while !idle.is_due() {}
            assert!(!idle.is_due(), "not at each poll");
        }
    }

    #[test]
    fn a_handle_whose_owner_waits_elsewhere_probes_at_its_next_empty_poll() {
        let mut idle = Idle::default();
        for _ in 0..3 {
            idle.rest();
            std::thread::sleep(Duration::from_nanos(20 * PROBE_EVERY_NS));
            assert!(idle.is_due());
        }
        idle.restart();
        assert!(!idle.is_due(), "it found something");
    }

    #[test]
    fn a_long_wait_probes_the_peers() {
        let mut waiting = Waiting::new(Wait::Spin, None);
        while waiting.step() != Step::Probe {}
    }
}
