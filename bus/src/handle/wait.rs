//! Waiting: a handle polls, then yields or parks, with a deadline, and probes its peers now and
//! then.
//!
//! A wait is a loop of the caller around [`Waiting::step`], which returns what to do before the
//! next poll. The first microseconds are spent polling. A reader that has received without a break
//! pauses a little at its first empty poll (a *slip*), because its polling would take the cache
//! line away from the publisher that is about to write it. A reader that waits for single events
//! polls without pauses.

use std::cell::Cell;
use std::time::Duration;

use railbus_os::clock;

/// How a handle waits, for events or for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Poll without end. This has the lowest latency and keeps one core busy.
    Spin,
    /// Poll for `spin`, then yield the processor between polls.
    Yield {
        /// How long to poll before the first yield.
        spin: Duration,
    },
    /// Poll for `spin`, then sleep until woken. An idle handle takes next to no processor time.
    Park {
        /// How long to poll before the first sleep.
        spin: Duration,
    },
}

impl Default for Wait {
    /// Park after 50 us of polling.
    fn default() -> Wait {
        Wait::Park { spin: Duration::from_micros(50) }
    }
}

/// A wait that lasts longer than this probes the peers.
const PATIENCE_NS: u64 = 50_000;
/// Peers are probed at most this often.
const PROBE_EVERY_NS: u64 = 1_000_000;
/// The first slice of sleep. Each further slice is twice as long, up to [`SLICE_NS`]. So the death
/// of a peer is found soon after the wait begins, and always within a few milliseconds.
const FIRST_SLICE_NS: u64 = 1_000_000;
const SLICE_NS: u64 = 8_000_000;
/// Slice of sleep of a consumer that has been idle for [`LONG_NS`] and does not depend on another
/// participant's death. It is eight times [`SLICE_NS`], so it takes an eighth of the wake-ups. An
/// event wakes the sleeper unless its publisher is killed between making it visible and the
/// wake-up. A worker that was the only one finds out about another worker at the end of a slice.
const LONG_SLICE_NS: u64 = 64_000_000;
const LONG_NS: u64 = 1_000_000_000;
/// Polls between two looks at the clock. The first that many polls have no pause between them. So a
/// reply that takes no longer than a few round trips of a cache line is received without a pause
/// and without a look at the clock.
const POLLS_A_LOOK: u32 = 128;
/// Processor pauses of one slip.
const SLIP: u32 = 128;
/// Slips in a row after a run of events.
const SLIPS: u32 = 1;
/// The number of events in a row that make a run.
const RUN: u64 = 8;

#[cfg(test)]
std::thread_local! {
    /// Set by tests in whose threads no sleeper may wake up by itself. A missing wake-up is a hang
    /// there.
    pub(crate) static SLICES_ARE_ENDLESS: Cell<bool> = const { Cell::new(false) };
}

/// Paces the empty polls of a handle that has been receiving without a break. The publisher is
/// about to write the line that polling would take away from it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The number of events that had been received at the last empty poll.
    events: u64,
    slips: u32,
}

impl Pace {
    /// Records an empty poll after `events` events in all. Returns whether any came since the last
    /// empty poll.
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

    /// Whether the next empty poll pauses.
    #[inline(always)]
    pub(crate) fn is_slipping(&self) -> bool {
        self.slips > 0
    }
}

/// The action before the next poll.
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
    /// Whether the slices of sleep become long in the end.
    patient: bool,
    /// The time since which nobody has woken this waiter, and the end of its current slice of
    /// sleep.
    asleep_since_ns: u64,
    awake_ns: u64,
}

impl Waiting {
    /// Begins a wait. A `timeout` of `None` waits without end.
    #[inline]
    pub(crate) fn new(wait: Wait, timeout: Option<Duration>) -> Waiting {
        let timeout_ns = timeout.map_or(u64::MAX, |t| t.as_nanos().min(u64::MAX as u128) as u64);
        // With a timeout of zero the first step looks at the clock.
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

    /// Sets whether this waiter depends on no other participant's death as long as nobody wakes it.
    pub(crate) fn be_patient(&mut self, patient: bool) {
        self.patient = patient;
    }

    /// Whether the next poll may check the common case only. True for each poll except the one
    /// right after the clock was read. The shorter the time between two polls, the sooner an event
    /// is seen.
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
            // The next step looks at the clock again, so that the probe does not keep a sleeper
            // awake.
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
                    // It was woken, even if not by what it waits for: a participant is there whose
                    // death would concern it.
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

/// Empty polls between two looks at the clock, of a handle that only polls.
const EMPTY_POLLS_A_LOOK: u32 = 16;

/// Decides when a handle that only polls, and so never waits, probes its peers. Without a probe it
/// would never get past what a dead peer left.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    polls: Cell<u32>,
    next_probe_ns: Cell<u64>,
}

impl Idle {
    /// The handle has found something in between.
    #[inline(always)]
    pub(crate) fn restart(&mut self) {
        *self = Idle::default();
    }

    /// The handle is not polled again before its owner, which waits elsewhere, is woken. If that
    /// next poll is empty, it reads the clock.
    pub(crate) fn rest(&self) {
        self.polls.set(EMPTY_POLLS_A_LOOK - 1);
        if self.next_probe_ns.get() == 0 {
            self.next_probe_ns.set(clock::coarse_ns() + PROBE_EVERY_NS);
        }
    }

    /// A poll has found nothing. Returns whether a probe is due: at the first ticks of the coarse
    /// clock (1 to 10 ms) without an event, and at each tick after that.
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
