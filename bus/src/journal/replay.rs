//! Replay: a journal's events again, all or some, as fast as they can be read or at a pace.
//!
//! The pace is kept against absolute deadlines. The first event is due when it is first returned.
//! At a speed, each later event is due as much later as it was recorded later, divided by the
//! speed. At a rate, its number decides. So a caller that is late once does not stay late. Times
//! are the journaller's: one for each batch that it drained, so the events of one batch are due at
//! the same time.
//!
//! ```no_run
//! # fn main() -> railbus::Result<()> {
//! use railbus::journal::{Item, Journal, Replay, ReplayOptions, Speed};
//!
//! let journal = Journal::open("/var/lib/railbus/demo/ticks")?;
//! let mut replay = Replay::new(&journal, ReplayOptions::default().speed(Speed::Times(1.0)))?;
//! while let Some(due) = replay.next_due()? {
//!     due.wait();
//!     if let Item::Event(event) = due.item {
//!         println!("{:?}", event.payload());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use railbus_os::clock;

use crate::error::{Error, Result};
use crate::journal::events::{Events, Item};
use crate::journal::read::{Journal, Seek};
use crate::setters::setters;

/// The last part of a wait is spun, in ns, because a sleep ends late by the time of a wake-up.
const SPIN_NS: u64 = 60_000;
/// The longest sleep before the caller is asked whether to go on, in ns.
const SLICE_NS: u64 = 20_000_000;

/// The speed of a replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as the events can be read.
    Max,
    /// So many times as fast as it was recorded, 0.000001 to 1000000.
    Times(f64),
    /// So many events a second, whatever their times, 0.001 to 1000000000.
    Rate(f64),
}

/// Where a replay ends, exclusively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Before this position.
    Position(u64),
    /// Before what was recorded at or after this time, in ns of CLOCK_REALTIME.
    Time(u64),
}

/// The options of a [`Replay`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplayOptions {
    /// Where to begin.
    pub from: Seek,
    /// Where to end; `None` means the end of the journal.
    pub to: Option<Until>,
    /// The type ids of the events to replay; empty means all. Gaps are always included.
    pub type_ids: Vec<u16>,
    /// The speed.
    pub speed: Speed,
    /// Whether to begin again at the end, without limit. A replay that finds nothing ends all the
    /// same.
    pub repeat: bool,
}

impl Default for ReplayOptions {
    fn default() -> ReplayOptions {
        ReplayOptions {
            from: Seek::Beginning,
            to: None,
            type_ids: Vec::new(),
            speed: Speed::Max,
            repeat: false,
        }
    }
}

setters!(ReplayOptions: from: Seek, to: impl Into<Option<Until>>, type_ids: impl Into<Vec<u16>>, speed: Speed, repeat: bool);

/// An item, and when it is due.
#[derive(Debug)]
pub struct Due<'a> {
    /// The event or gap.
    pub item: Item<'a>,
    /// When it is due, in ns of CLOCK_MONOTONIC; `None` means at once.
    pub deadline_ns: Option<u64>,
}

impl Due<'_> {
    /// Blocks until it is due. Returns by how much it is late, in ns.
    pub fn wait(&self) -> u64 {
        self.wait_while(|| true).unwrap_or(0)
    }

    /// Blocks until it is due, and calls `goes_on` at least every 20 ms. Returns by how much it is
    /// late, in ns, or `None` when `goes_on` returned false.
    pub fn wait_while(&self, goes_on: impl FnMut() -> bool) -> Option<u64> {
        match self.deadline_ns {
            Some(deadline_ns) => wait_until(deadline_ns, goes_on),
            None => Some(0),
        }
    }
}

/// Sleeps until shortly before `deadline_ns` (CLOCK_MONOTONIC), spins the rest, and returns by how
/// much it is late, in ns. Calls `goes_on` at least every 20 ms, and returns `None` when that
/// returned false.
pub fn wait_until(deadline_ns: u64, mut goes_on: impl FnMut() -> bool) -> Option<u64> {
    loop {
        let now = clock::monotonic_ns();
        let left = match deadline_ns.checked_sub(now) {
            None | Some(0) => return Some(now - deadline_ns),
            Some(left) => left,
        };
        if !goes_on() {
            return None;
        }
        if left > SPIN_NS {
            std::thread::sleep(Duration::from_nanos((left - SPIN_NS).min(SLICE_NS)));
            continue;
        }
        while clock::monotonic_ns() < deadline_ns {
            std::hint::spin_loop();
        }
    }
}

/// An event whose time is further in the future than this, in ns, was recorded with a wrong clock.
const FUTURE_NS: u64 = 60_000_000_000;

/// Computes when events are due.
#[derive(Debug)]
pub(super) struct ReplayPace {
    speed: Speed,
    /// When the first event was returned (CLOCK_MONOTONIC, ns), and when it was recorded
    /// (CLOCK_REALTIME, ns).
    began: Option<(u64, u64)>,
    /// Number of events so far.
    count: u64,
    /// When the last event was recorded, in ns of CLOCK_REALTIME.
    last_ns: u64,
}

impl ReplayPace {
    /// Creates a pace that begins with the first event.
    pub(super) fn new(speed: Speed) -> Result<ReplayPace> {
        match speed {
            Speed::Times(factor) if !(1e-6..=1e6).contains(&factor) => Err(Error::invalid(
                format!("speed {factor}"),
                "must be 0.000001 to 1000000 times the recorded",
            )),
            Speed::Rate(rate) if !(1e-3..=1e9).contains(&rate) => {
                Err(Error::invalid(format!("rate {rate}"), "must be 0.001 to 1000000000 events a second"))
            }
            _ => Ok(ReplayPace { speed, began: None, count: 0, last_ns: 0 }),
        }
    }

    /// Returns when the next event, recorded at `time_ns`, is due; `None` means at once.
    ///
    /// Where the wall clock was stepped, the time between two events is unknown. An event is due at
    /// once, and the pace begins again with it, if it was recorded before the previous one, or if
    /// its time jumps into the future.
    #[inline]
    pub(super) fn deadline(&mut self, time_ns: u64) -> Option<u64> {
        if self.speed == Speed::Max {
            return None;
        }
        if let Speed::Times(_) = self.speed {
            let from_future = time_ns - self.last_ns.min(time_ns) > FUTURE_NS
                && time_ns > clock::realtime_ns().saturating_add(FUTURE_NS);
            if time_ns < self.last_ns || self.last_ns > 0 && from_future {
                self.began = None;
            }
            self.last_ns = time_ns;
        }
        let &mut (started, first) = self.began.get_or_insert_with(|| (clock::monotonic_ns(), time_ns));
        let after_ns = match self.speed {
            Speed::Max => return None,
            Speed::Times(factor) => time_ns.saturating_sub(first) as f64 / factor,
            Speed::Rate(rate) => self.count as f64 * (1e9 / rate),
        };
        self.count += 1;
        Some(started.saturating_add(after_ns as u64))
    }

    /// Makes the next event the first one again.
    pub(super) fn restart(&mut self) {
        (self.began, self.count, self.last_ns) = (None, 0, 0);
    }
}

/// A replay in progress. It yields the items of a journal with their deadlines; the caller waits
/// for them.
#[derive(Debug)]
pub struct Replay {
    journal: Journal,
    options: ReplayOptions,
    events: Events,
    pace: ReplayPace,
    /// Whether this pass has found anything, so that a loop over nothing ends.
    found: bool,
    passes: u64,
}

impl Replay {
    /// Opens a replay at its beginning. Blocks only for reading the journal's files.
    ///
    /// # Errors
    /// Those of [`Journal::events`]; [`Error::Invalid`] for a speed out of range.
    pub fn new(journal: &Journal, options: ReplayOptions) -> Result<Replay> {
        let pace = ReplayPace::new(options.speed)?;
        let events = journal.events(options.from)?;
        Ok(Replay { journal: journal.clone(), options, events, pace, found: false, passes: 0 })
    }

    /// Returns the next event or gap, and when it is due; `None` at the end. Blocks for reading the
    /// journal's files, and does not wait until the item is due.
    ///
    /// # Errors
    /// Those of [`Events::next_event`].
    pub fn next_due(&mut self) -> Result<Option<Due<'_>>> {
        loop {
            if self.advance()? {
                break;
            }
            if !self.options.repeat || !self.found {
                return Ok(None);
            }
            self.events = self.journal.events(self.options.from)?;
            self.pace.restart();
            self.found = false;
            self.passes += 1;
        }
        self.found = true;
        // Returns the item that `advance` found.
        let Some(item) = self.events.again()? else { return Ok(None) };
        let deadline_ns = match item {
            Item::Event(event) => self.pace.deadline(event.time_ns),
            _ => None,
        };
        Ok(Some(Due { item, deadline_ns }))
    }

    /// Advances to the next item that is part of the replay. Returns whether there is one.
    fn advance(&mut self) -> Result<bool> {
        let Replay { options, events, journal, .. } = self;
        loop {
            let before = events.place().segment;
            let Some(item) = events.next_event()? else { return Ok(false) };
            let (position, time_ns) = match item {
                Item::Event(event) => (event.position, event.time_ns),
                Item::Gap { gap, time_ns } => (gap.from, time_ns),
                Item::Missing { from, .. } => (from, 0),
                Item::State { .. } => continue,
            };
            // After events of a clock that was ahead, there may be others that were recorded before
            // the end.
            let steps_back = before < journal.latest().clock_step;
            let is_over = match options.to {
                None => false,
                Some(Until::Position(end)) => position >= end,
                Some(Until::Time(end)) if steps_back && time_ns >= end => continue,
                Some(Until::Time(end)) => time_ns >= end,
            };
            if is_over {
                return Ok(false);
            }
            let is_wanted = match item {
                Item::Event(event) => {
                    options.type_ids.is_empty() || options.type_ids.contains(&event.type_id())
                }
                _ => true,
            };
            if is_wanted {
                return Ok(true);
            }
        }
    }

    /// Everything before this position was replayed or skipped.
    pub fn position(&self) -> u64 {
        self.events.position()
    }

    /// How often the replay has begun again.
    pub fn passes(&self) -> u64 {
        self.passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_absolute() -> Result<()> {
        let mut pace = ReplayPace::new(Speed::Times(2.0))?;
        let first = pace.deadline(1_000_000_000).unwrap_or_default();
        assert_eq!(pace.deadline(1_000_000_000), Some(first));
        assert_eq!(pace.deadline(1_000_000_500), Some(first + 250));
        let back = pace.deadline(900).unwrap_or_default();
        assert!(back >= first, "time that goes back: from there on it counts again");
        assert_eq!(pace.deadline(1_900), Some(back + 500));
        let future_ns = clock::realtime_ns() + 365 * 86_400 * 1_000_000_000;
        let future = pace.deadline(future_ns).unwrap_or(u64::MAX);
        assert!(future < back + 3_600_000_000_000, "nobody waits for an event of the future");
        assert_eq!(pace.deadline(future_ns + 1_000), Some(future + 500));
        pace.restart();
        assert!(pace.deadline(7) >= Some(first));
        let mut pace = ReplayPace::new(Speed::Rate(1000.0))?;
        let first = pace.deadline(0).unwrap_or_default();
        assert_eq!([pace.deadline(5), pace.deadline(5)], [Some(first + 1_000_000), Some(first + 2_000_000)]);
        assert_eq!(ReplayPace::new(Speed::Max)?.deadline(3), None);
        for bad in [Speed::Times(0.0), Speed::Times(f64::NAN), Speed::Rate(-1.0), Speed::Rate(f64::INFINITY)]
        {
            assert!(matches!(ReplayPace::new(bad), Err(Error::Invalid { .. })), "{bad:?}");
        }
        Ok(())
    }

    #[test]
    fn a_wait_ends_at_its_deadline_or_when_told() {
        let deadline = clock::monotonic_ns() + 300_000;
        assert!(wait_until(deadline, || true).is_some() && clock::monotonic_ns() >= deadline);
        assert_eq!(wait_until(u64::MAX, || false), None);
        assert_eq!(
            wait_until(clock::monotonic_ns() - 1, || panic!("not asked")).map(|late| late > 0),
            Some(true)
        );
    }
}
