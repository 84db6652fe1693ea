//! The latencies as observers see them: a snapshot that disturbs no participant.
//!
//! The file is opened for reading. A slice that was never allocated is never mapped, because a look
//! at a hole of a tmpfs file through a mapping would allocate it. Other processes wrote everything
//! in shared memory, so a number may have any value, and all are added without overflow.

use std::fs::File;
use std::os::unix::fs::FileExt;

use railbus_os::clock;
use railbus_os::mapping::page_bytes;
use railbus_ring::layout::{self, INTERVALS};
use railbus_ring::memory::{Edge, Memory};

use super::buckets;
use super::series::{Shape, number, observe};
use crate::channel::Region;
use crate::channel::mapped::Trusted;
use crate::channel::open::Channel;
use crate::error::{Error, Result};

/// Whether a consumer measures latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measures {
    /// The channel is not stamped, or this is no consumer, or it is one that does not measure.
    Unstamped,
    /// It measures.
    Yes,
    /// It does not measure: there was no space for its histograms when it registered.
    NoSpace,
    /// It does not measure: it may not write the file.
    NotAllowed,
    /// It does not measure: the file does not exist, or is not this channel's.
    NoFile,
}

impl Measures {
    pub(crate) const fn code(self) -> u64 {
        match self {
            Measures::Unstamped => 0,
            Measures::Yes => 1,
            Measures::NoSpace => 2,
            Measures::NotAllowed => 3,
            Measures::NoFile => 4,
        }
    }

    /// Its name, for people and scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Measures::Unstamped => "unstamped",
            Measures::Yes => "yes",
            Measures::NoSpace => "no space",
            Measures::NotAllowed => "not allowed",
            Measures::NoFile => "no file",
        }
    }
}

/// Decodes the word in a registry entry.
pub(crate) fn measures(code: u64) -> Measures {
    match code {
        1 => Measures::Yes,
        2 => Measures::NoSpace,
        3 => Measures::NotAllowed,
        4 => Measures::NoFile,
        _ => Measures::Unstamped,
    }
}

/// The clock from which a consumer reads the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The processor's counter.
    Counter,
    /// The kernel's clocks, at each reading.
    Kernel,
}

/// A distribution of latencies, in the buckets of HdrHistogram with two digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    counts: Vec<u64>,
    max_ns: u64,
    /// Events measured since the consumer registered, not only in the window.
    pub measured: u64,
    /// The sum of their latencies, in ns.
    pub sum_ns: u64,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { counts: vec![0; layout::BUCKETS], max_ns: 0, measured: 0, sum_ns: 0 }
    }
}

impl Distribution {
    /// Adds another.
    pub fn add(&mut self, other: &Distribution) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.max_ns = self.max_ns.max(other.max_ns);
        self.measured = self.measured.saturating_add(other.measured);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// The number of events in the window.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The largest latency in the window, in ns, exactly.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The latency that the share `quantile` (0 to 1) of the events did not exceed, in ns. It is
    /// the upper bound of its bucket, at most 0.8 % too large, and never more than the largest
    /// latency. `None` when there are no events.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        let wanted = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0u64;
        let at = self.counts.iter().position(|&count| {
            seen = seen.saturating_add(count);
            seen >= wanted
        })?;
        // A snapshot may be older in its largest value than in its counts.
        let (low, high) = buckets::bounds(at);
        Some(high.min(self.max_ns.max(low)))
    }

    /// The buckets that are not empty: smallest value, largest value, number of events.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(index, &count)| {
            let (low, high) = buckets::bounds(index);
            (low, high, count)
        })
    }
}

/// The latencies that one consumer measured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerLatency {
    /// Its entry in the consumer registry.
    pub index: usize,
    /// Which registration in that entry; see
    /// [`Participant::generation`](crate::snapshot::Participant::generation).
    pub generation: u64,
    /// The clock from which it reads the time.
    pub clock: Clock,
    /// Events without a usable publish time: replayed, or stamped in the future.
    pub unmeasured: u64,
    /// How often somebody set CLOCK_REALTIME while it measured.
    pub clock_steps: u64,
    /// From publication to receipt.
    pub received: Distribution,
    /// From being taken to being done: workers only.
    pub done: Option<Distribution>,
}

/// The latencies of a channel over the last five to five and a half minutes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Latencies {
    /// All consumers that measured, by index. One that has left is included until its entry in the
    /// registry is used again.
    pub consumers: Vec<ConsumerLatency>,
}

impl Latencies {
    /// Publication to receipt, all consumers.
    pub fn received(&self) -> Distribution {
        sum(self.consumers.iter().map(|one| &one.received))
    }

    /// Taken to done, all workers.
    pub fn done(&self) -> Distribution {
        sum(self.consumers.iter().filter_map(|one| one.done.as_ref()))
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a Distribution>) -> Distribution {
    all.fold(Distribution::default(), |mut sum, one| {
        sum.add(one);
        sum
    })
}

/// The file as an observer keeps it open.
#[derive(Debug)]
pub(crate) struct ObservedFile {
    file: File,
    /// The series that were found allocated, by consumer. They stay allocated.
    received: Vec<Option<Region>>,
    done: Vec<Option<Region>>,
}

impl ObservedFile {
    /// Opens the file, if the channel is stamped.
    pub(crate) fn open(channel: &Channel) -> Result<Option<ObservedFile>> {
        if !channel.header().stamp {
            return Ok(None);
        }
        let file = channel.attached().latency_file(false)?;
        Ok(Some(ObservedFile { file, received: Vec::new(), done: Vec::new() }))
    }

    /// A snapshot.
    pub(crate) fn latencies(&mut self, channel: &Channel) -> Result<Latencies> {
        let newest = number(clock::monotonic_ns());
        let oldest = newest.saturating_sub(INTERVALS as u64 - 1);
        let entries = channel.header().consumers_max as usize;
        self.received.resize_with(entries, || None);
        self.done.resize_with(entries, || None);
        let mut consumers = Vec::new();
        for index in 0..entries {
            let at = layout::slice(index);
            let Some(memory) = memory(&self.file, channel, &mut self.received[index], at)? else { continue };
            let Some((owner, received)) = distribution(&memory, oldest, newest) else { continue };
            let load = |field| memory.load(field, Edge::Plain);
            let (clock, unmeasured, clock_steps) = (
                if load(layout::SERIES_CLOCK) == 1 { Clock::Counter } else { Clock::Kernel },
                load(layout::SERIES_UNMEASURED),
                load(layout::SERIES_STEPS),
            );
            let at = at + layout::SERIES_BYTES;
            let done = match self::memory(&self.file, channel, &mut self.done[index], at)? {
                Some(memory) => distribution(&memory, oldest, newest).filter(|done| done.0 == owner),
                None => None,
            };
            let done = done.map(|(_, done)| done);
            consumers.push(ConsumerLatency {
                index,
                generation: owner >> 8,
                clock,
                unmeasured,
                clock_steps,
                received,
                done,
            });
        }
        Ok(Latencies { consumers })
    }
}

/// The memory of the series at `at`, if it is allocated.
fn memory(file: &File, channel: &Channel, region: &mut Option<Region>, at: usize) -> Result<Option<Trusted>> {
    let path = &channel.paths().latency;
    if region.is_none() {
        let mut owner = [0; 8];
        file.read_exact_at(&mut owner, at as u64).map_err(|error| Error::io("read", path, error))?;
        if u64::from_le_bytes(owner) == 0 {
            return Ok(None);
        }
        let range = (at as u64, layout::SERIES_BYTES as u64);
        *region = Some(Region::of(file, path, range, false, page_bytes())?);
    }
    // SAFETY: the region stays in its place as long as the observer. The memory does not outlive
    // that, and nothing is stored through it.
    Ok(region.as_ref().map(|region| unsafe { region.trusted(false) }))
}

/// The owner of a series, and what it has measured.
fn distribution(memory: &Trusted, oldest: u64, newest: u64) -> Option<(u64, Distribution)> {
    // It may be taken over during a look. The next owner has it soon, so look again.
    let seen = (0..10).find_map(|_| observe(memory, Shape::REAL, oldest, newest))?;
    let (counts, max_ns) = (seen.copied.counts, seen.copied.max_ns);
    Some((seen.owner, Distribution { counts, max_ns, measured: seen.count, sum_ns: seen.sum_ns }))
}
