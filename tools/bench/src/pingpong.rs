//! Round trips as the leader and the follower make them: ping-pong and open loop.
//!
//! *Ping-pong*: the next event is sent when the answer to the last one was read and checked. Two
//! thirds of a part are stretches of 16 round trips with a time stamp at each end. Ratios use their
//! trimmed mean, because a stamp costs a tenth of a round trip. In the last third every round trip
//! is stamped, which gives the percentiles. With a *rest* the leader polls the clock for a while
//! before each event, so that the follower has fallen asleep. Then every round trip is stamped, and
//! the rest is not part of it.
//!
//! *Open loop*: events are due at fixed times. Each is sent when it is due or as soon after as
//! possible, and answers are read in between. A sample is the time from when the event was *due* to
//! when its answer was read, so a stall shows in all events that it delayed.

use hdrhistogram::Histogram;
use railbus::Error;

use super::clock::Clock;
use super::payload::{Payload, tag};
use super::statistics::{KEPT, trimmed_mean};
use super::transport::{Attempted, Pace, Receiver, Sender, Tight, Yield};

/// The most samples of one part.
const MAX_SAMPLES: usize = 1 << 20;
/// The fewest samples of one part.
const MIN_SAMPLES: usize = 16;
/// Round trips of the first, discarded parts, which warm up and show how long one takes.
const PILOT_SAMPLES: usize = 2000;
/// Round trips between two time stamps, where only the mean is wanted.
const STRETCH: usize = 16;
/// The share of the samples that the mean keeps when the leader rests. The scheduler causes the
/// longest quarter of the wake-ups.
const RESTED_KEPT: f64 = 0.75;
/// The share of a part in which every round trip is stamped.
const STAMPED_SHARE: f64 = 1.0 / 3.0;

/// The ends of a path, and the loops over them. A loop is compiled for each kind of ends. The work
/// of each part is compiled once, in [`Path`].
pub(super) trait Trips {
    /// Leader: round trips from number `first` on. A sample is the time of `each` of them. Rests
    /// for `rest_ticks` before each sample.
    fn ping(
        &mut self,
        payload: &Payload,
        first: u64,
        samples: &mut [u64],
        each: usize,
        rest_ticks: u64,
        clock: Clock,
    ) -> Attempted<()>;

    /// Follower: answers `count` events from number `first` on, with the same tag.
    fn pong(&mut self, payload: &Payload, first: u64, count: u64) -> Attempted<()>;

    /// Leader: as many events as there are samples, at fixed times. Returns the length of the loop
    /// in ticks.
    fn open_loop(
        &mut self,
        payload: &Payload,
        first: u64,
        samples: &mut [u64],
        interval_ticks: f64,
        clock: Clock,
    ) -> Attempted<u64>;
}

/// The two ends that a process has.
pub(super) struct Ends<S, R, P> {
    /// `None` while a loop has the ends: it owns them, so that the compiler can keep them in
    /// registers.
    ends: Option<(S, R)>,
    pace: P,
}

impl<S: Sender, R: Receiver, P: Pace> Ends<S, R, P> {
    /// The ends of a path, with the way in which its loops wait.
    pub(super) fn new(ends: (S, R), pace: P) -> Ends<S, R, P> {
        Ends { ends: Some(ends), pace }
    }

    fn take(&mut self) -> Attempted<(S, R)> {
        Ok(self.ends.take().ok_or_else(no_ends)?)
    }
}

impl<S: Sender, R: Receiver, P: Pace> Trips for Ends<S, R, P> {
    fn ping(
        &mut self,
        payload: &Payload,
        first: u64,
        samples: &mut [u64],
        each: usize,
        rest_ticks: u64,
        clock: Clock,
    ) -> Attempted<()> {
        let ends = self.take()?;
        self.ends = Some(ping(ends, payload, first, samples, each, rest_ticks, clock, self.pace)?);
        Ok(())
    }

    fn pong(&mut self, payload: &Payload, first: u64, count: u64) -> Attempted<()> {
        let ends = self.take()?;
        self.ends = Some(pong(ends, payload, first, count, self.pace)?);
        Ok(())
    }

    fn open_loop(
        &mut self,
        payload: &Payload,
        first: u64,
        samples: &mut [u64],
        interval_ticks: f64,
        clock: Clock,
    ) -> Attempted<u64> {
        let ends = self.take()?;
        let (ends, ticks) = open_loop(ends, payload, first, samples, interval_ticks, clock, self.pace)?;
        self.ends = Some(ends);
        Ok(ticks)
    }
}

/// The ends of a limit as a path has them. Its loops know when they are compiled how they wait, so
/// that the limit takes no instruction more than it needs.
pub(super) fn of_limit<'a>(
    ends: (impl Sender + 'a, impl Receiver + 'a),
    yields: bool,
) -> Box<dyn Trips + 'a> {
    if yields { Box::new(Ends::new(ends, Yield)) } else { Box::new(Ends::new(ends, Tight)) }
}

/// One path of events there and back, and the leader's progress on it.
pub(super) struct Path<'a> {
    ends: Box<dyn Trips + 'a>,
    payload: Payload,
    /// Sequence number of the next event.
    pub(super) next: u64,
    /// How long a round trip took in the last part; 0 before the first.
    pub(super) round_trip_ns: f64,
    /// Trimmed mean of the last part, in ns.
    trimmed_ns: f64,
    /// How long the leader rests before each event, in ticks.
    rest_ticks: u64,
    /// The stamped samples of the last part, in ticks.
    samples: Vec<u64>,
    /// How many of them are filled.
    filled: usize,
}

impl<'a> Path<'a> {
    /// A path that is not used yet.
    pub(super) fn new(ends: Box<dyn Trips + 'a>, payload_bytes: usize) -> Path<'a> {
        Path {
            ends,
            payload: Payload::new(payload_bytes),
            next: 0,
            rest_ticks: 0,
            round_trip_ns: 0.0,
            trimmed_ns: 0.0,
            // Written once now, so that no page is touched for the first time while it is measured.
            samples: vec![1; MAX_SAMPLES],
            filled: 0,
        }
    }

    /// The same with a rest before each event.
    pub(super) fn with_rest(mut self, rest_ticks: f64) -> Path<'a> {
        self.rest_ticks = rest_ticks as u64;
        self
    }

    /// How many stretches, and how many stamped round trips, fill `duration_ns`, judging by the
    /// last part.
    fn counts_for(&self, duration_ns: f64) -> (usize, usize) {
        if self.rest_ticks > 0 {
            let all = if self.round_trip_ns <= 0.0 { 0.0 } else { duration_ns / self.round_trip_ns };
            return (0, (all as usize).clamp(MIN_SAMPLES, MAX_SAMPLES));
        }
        if self.round_trip_ns <= 0.0 {
            return (PILOT_SAMPLES / STRETCH, PILOT_SAMPLES);
        }
        let all = duration_ns / self.round_trip_ns;
        let stamped = ((all * STAMPED_SHARE) as usize).clamp(MIN_SAMPLES, MAX_SAMPLES);
        ((((all - stamped as f64) / STRETCH as f64) as usize).clamp(1, MAX_SAMPLES), stamped)
    }

    /// Leader: a part of about `duration_ns`. `announce` sends the follower the number of events to
    /// answer.
    pub(super) fn part(
        &mut self,
        duration_ns: f64,
        announce: impl FnOnce(u64),
        clock: Clock,
    ) -> Attempted<()> {
        let (stretches, stamped) = self.counts_for(duration_ns);
        let count = stretches * STRETCH + stamped;
        announce(count as u64);
        let begin = clock.now();
        self.ping(stretches, STRETCH, clock)?;
        self.trimmed_ns =
            trimmed_mean(&mut self.samples[..stretches], KEPT) * clock.ns_per_tick / STRETCH as f64;
        self.ping(stamped, 1, clock)?;
        self.filled = stamped;
        if stretches == 0 {
            self.trimmed_ns = trimmed_mean(&mut self.samples[..stamped], RESTED_KEPT) * clock.ns_per_tick;
        }
        self.round_trip_ns = clock.ns(clock.now() - begin) / count as f64;
        Ok(())
    }

    /// Leader: the same as an open loop at `rate` events per second. Returns its duration in ns.
    pub(super) fn open_loop_part(
        &mut self,
        rate: f64,
        duration_ns: f64,
        announce: impl FnOnce(u64),
        clock: Clock,
    ) -> Attempted<f64> {
        let count = ((rate * duration_ns / 1e9) as usize).clamp(MIN_SAMPLES, MAX_SAMPLES);
        announce(count as u64);
        let samples = &mut self.samples[..count];
        let interval = clock.ticks(1e9 / rate);
        let ticks = self.ends.open_loop(&self.payload, self.next, samples, interval, clock)?;
        self.next += count as u64;
        self.filled = count;
        self.trimmed_ns = trimmed_mean(&mut self.samples[..count], KEPT) * clock.ns_per_tick;
        Ok(clock.ns(ticks))
    }

    fn ping(&mut self, count: usize, each: usize, clock: Clock) -> Attempted<()> {
        let samples = &mut self.samples[..count];
        self.ends.ping(&self.payload, self.next, samples, each, self.rest_ticks, clock)?;
        self.next += (count * each) as u64;
        Ok(())
    }

    /// Follower: answers the next `count` events.
    pub(super) fn answer(&mut self, count: u64) -> Attempted<()> {
        self.ends.pong(&self.payload, self.next, count)?;
        self.next += count;
        Ok(())
    }

    /// Trimmed mean of the last part, in ns.
    pub(super) fn trimmed_ns(&self) -> f64 {
        self.trimmed_ns
    }

    /// Adds the stamped samples of the last part to a histogram of ns.
    pub(super) fn record(&self, into: &mut Histogram<u64>, clock: Clock) {
        for &ticks in &self.samples[..self.filled] {
            into.saturating_record(clock.ns(ticks).round() as u64);
        }
    }
}

fn no_ends() -> Error {
    Error::corrupt("the measurement", "it goes on after a loop has failed")
}

/// The leader's loop of a ping-pong: a sample is the time of `each` round trips.
#[inline(never)]
#[allow(clippy::too_many_arguments, reason = "the loop owns everything that it uses")]
fn ping<S: Sender, R: Receiver, P: Pace>(
    ends: (S, R),
    payload: &Payload,
    first: u64,
    samples: &mut [u64],
    each: usize,
    rest_ticks: u64,
    clock: Clock,
    pace: P,
) -> Attempted<(S, R)> {
    let (mut there, mut back) = ends;
    let mut next = tag(0, first);
    for sample in samples {
        let mut start = clock.now();
        if rest_ticks > 0 {
            let rested = start.wrapping_add(rest_ticks);
            while start < rested {
                std::hint::spin_loop();
                start = clock.now();
            }
        }
        for _ in 0..each {
            while !there.send(payload, next)? {
                pace.full();
            }
            let mut answer = None;
            while !back.receive(|event| answer = payload.read(event))? {
                pace.empty();
            }
            if answer != Some(next) {
                return Err(wrong("answer", next, answer));
            }
            next += 1;
        }
        *sample = clock.now().wrapping_sub(start);
    }
    Ok((there, back))
}

/// The follower's loop: answers `count` events with the same tag.
#[inline(never)]
fn pong<S: Sender, R: Receiver, P: Pace>(
    ends: (S, R),
    payload: &Payload,
    first: u64,
    count: u64,
    pace: P,
) -> Attempted<(S, R)> {
    let (mut back, mut there) = ends;
    for tag in tag(0, first)..tag(0, first + count) {
        let mut found = None;
        while !there.receive(|event| found = payload.read(event))? {
            pace.empty();
        }
        if found != Some(tag) {
            return Err(wrong("event", tag, found));
        }
        while !back.send(payload, tag)? {
            pace.full();
        }
    }
    Ok((back, there))
}

/// The leader's loop of an open loop. Returns its ends, and its length in ticks.
#[inline(never)]
fn open_loop<S: Sender, R: Receiver, P: Pace>(
    (mut there, mut back): (S, R),
    payload: &Payload,
    first: u64,
    samples: &mut [u64],
    interval_ticks: f64,
    clock: Clock,
    pace: P,
) -> Attempted<((S, R), u64)> {
    let start = clock.now();
    let due = |event: usize| start.wrapping_add((event as f64 * interval_ticks) as u64);
    let (mut sent, mut answered) = (0, 0);
    let mut next_due = start;
    while answered < samples.len() {
        let mut idle = true;
        if sent < samples.len() && clock.now() >= next_due {
            let tag = tag(0, first + sent as u64);
            if there.send(payload, tag)? {
                sent += 1;
                next_due = due(sent);
                idle = false;
            }
        }
        let mut answer = None;
        if back.receive(|event| answer = payload.read(event))? {
            samples[answered] = clock.now().saturating_sub(due(answered));
            let tag = tag(0, first + answered as u64);
            if answer != Some(tag) {
                return Err(wrong("answer", tag, answer));
            }
            answered += 1;
            idle = false;
        }
        if idle {
            pace.empty();
        }
    }
    Ok(((there, back), clock.now().wrapping_sub(start)))
}

fn wrong(what: &str, expected: u64, found: Option<u64>) -> Box<Error> {
    let found = match found {
        Some(tag) => format!("number {tag}"),
        None => "one whose bytes are not what was written".to_string(),
    };
    Box::new(Error::corrupt("the channel", format!("expected {what} number {expected}, found {found}")))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use super::*;

    /// Both ends of a queue in one thread: an event that is sent is its own answer. Refuses to send
    /// for `stall` ticks after the first attempt.
    #[derive(Clone)]
    struct Loopback {
        events: Rc<RefCell<VecDeque<Vec<u8>>>>,
        clock: Clock,
        stall: u64,
        first_attempt: Option<u64>,
    }

    impl Sender for Loopback {
        fn send(&mut self, payload: &Payload, tag: u64) -> Attempted<bool> {
            let now = self.clock.now();
            if now < *self.first_attempt.get_or_insert(now) + self.stall {
                return Ok(false);
            }
            let mut event = vec![0; payload.bytes()];
            payload.write(&mut event, tag);
            self.events.borrow_mut().push_back(event);
            Ok(true)
        }
    }

    impl Receiver for Loopback {
        fn receive(&mut self, read: impl FnOnce(&[u8])) -> Attempted<bool> {
            Ok(self.events.borrow_mut().pop_front().map(|event| read(&event)).is_some())
        }
    }

    fn loopback(clock: Clock, stall: u64) -> (Loopback, Loopback) {
        let end = Loopback { events: Rc::default(), clock, stall, first_attempt: None };
        (end.clone(), end)
    }

    #[test]
    fn a_stall_shows_in_every_event_that_it_delayed() {
        let clock = Clock::calibrate();
        let stall = clock.ticks(2e6) as u64;
        let interval = stall as f64 / 10.0;
        let mut samples = vec![0; 15];
        let payload = Payload::new(16);
        open_loop(loopback(clock, stall), &payload, 0, &mut samples, interval, clock, Tight)
            .expect("answers");
        for (event, &sample) in samples.iter().enumerate().take(10) {
            let at_least = stall as f64 - event as f64 * interval;
            assert!(sample as f64 >= at_least - 1.0, "event {event}: {sample} of {samples:?}");
        }
    }

    #[test]
    fn an_answer_of_another_event_is_an_error() {
        let clock = Clock::calibrate();
        let ends = loopback(clock, 0);
        let payload = Payload::new(8);
        ends.0.events.borrow_mut().push_back(7u64.to_le_bytes().to_vec());
        let error = ping(ends, &payload, 0, &mut [0; 4], 1, 0, clock, Tight).err().expect("7 is not 0");
        assert!(error.to_string().contains("expected answer number 0, found number 7"), "{error}");
    }

    #[test]
    fn a_part_counts_every_round_trip() {
        let clock = Clock::calibrate();
        let mut path = Path::new(of_limit(loopback(clock, 0), false), 24);
        let mut announced = 0;
        path.part(1e5, |count| announced = count, clock).expect("all are answered");
        assert_eq!((path.next, announced), (2 * PILOT_SAMPLES as u64, 2 * PILOT_SAMPLES as u64));
        path.part(1e5, |count| announced += count, clock).expect("all are answered");
        assert_eq!(path.next, announced);
        assert!(path.trimmed_ns() > 0.0 && path.round_trip_ns > 0.0);
    }
}
