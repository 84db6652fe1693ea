//! The result of one look at a channel. The field names are those of `railbus stat --json`, which
//! scripts rely on.

use hdrhistogram::Histogram;
use railbus::internal::buckets::VALUE_MAX;
use railbus::latency::Distribution;
use serde::Serialize;

/// A channel. Positions, depth and lag are bytes of a stream, and events of a queue or topic. In a
/// table, changes of keys count as events, and the depth is the keys that have a value.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ChannelView {
    /// `BUS/CHANNEL`.
    pub(crate) channel: String,
    /// stream, queue, topic or table.
    pub(crate) kind: String,
    /// Whether events carry their publish time, so that there are latencies.
    pub(crate) stamp: bool,
    /// hugetlbfs, tmpfs-huge or tmpfs.
    pub(crate) backing: &'static str,
    /// Page size behind the data.
    pub(crate) page_bytes: u64,
    /// The most that fits.
    pub(crate) capacity: u64,
    /// The backlog of the slowest reader; of a queue, all events that are not done.
    pub(crate) depth: u64,
    /// Queues: events of the depth that no worker holds; else `null`.
    pub(crate) waiting: Option<u64>,
    /// Queues: of the waiting ones, those whose time has not come; else `null`.
    pub(crate) not_due: Option<u64>,
    /// Queues: events of the depth that workers hold; else `null`.
    pub(crate) in_hand: Option<u64>,
    /// The depth in percent of the capacity.
    pub(crate) depth_percent: f64,
    /// The largest depth that this observer has seen.
    pub(crate) high_water: u64,
    /// How far the slowest reader is behind; `null` when no reader has a lag.
    pub(crate) lag: Option<u64>,
    /// The next position.
    pub(crate) published: u64,
    /// Events published since the channel was made.
    pub(crate) events: u64,
    /// Since the look before; `null` at the first.
    pub(crate) events_per_second: Option<f64>,
    /// Payload bytes, since the look before.
    pub(crate) bytes_per_second: Option<f64>,
    /// How often the producers that are attached found no room.
    pub(crate) full: u64,
    /// Events dropped because there was no room.
    pub(crate) dropped: u64,
    /// Events published in the channel that this one diverts to, because there was no room.
    pub(crate) diverted: u64,
    /// Whether producers are under pressure, as they last found it; `null` without watermarks.
    pub(crate) under_pressure: Option<bool>,
    /// Events that the readers that are attached lost to overrun.
    pub(crate) lost: u64,
    /// Events delivered again.
    pub(crate) redelivered: u64,
    /// Events moved to the dead-letter queue.
    pub(crate) dead_lettered: u64,
    /// Queues: events that ended because their time was over.
    pub(crate) expired: u64,
    /// Live producers.
    pub(crate) producers: usize,
    /// Live consumers.
    pub(crate) consumers: usize,
    /// Participants that live, hold others up and do not move.
    pub(crate) stuck: usize,
    /// How long ago something was last published, while this observer looked; `null` if nothing was.
    pub(crate) progress_age_ns: Option<u64>,
    /// The state of the journal: recording, ...; `null` without a journal.
    pub(crate) journal: Option<&'static str>,
    /// How often a recorder of this channel has panicked; `null` without a journal.
    pub(crate) journal_crashes: Option<u64>,
    /// The resource that the journal waits for: space, descriptors, memory; `null` when for none.
    pub(crate) journal_waits_for: Option<&'static str>,
    /// Whether the journal's disk is full; `null` without a journal.
    pub(crate) journal_no_space: Option<bool>,
    /// Gaps since the journaller started; `null` without a journal.
    pub(crate) journal_gaps: Option<u64>,
    /// Events that are missing in the journal since its journaller started, as far as they could be
    /// counted.
    pub(crate) journal_lost: Option<u64>,
    /// The error that has stopped the journal, or after which it tries again.
    pub(crate) journal_error: Option<String>,
    /// How far the written position is behind; `null` without a journal.
    pub(crate) written_lag: Option<u64>,
    /// How far the durable position is behind; `null` without a journal.
    pub(crate) durable_lag: Option<u64>,
    /// Publication to receipt in the last five minutes, all consumers; `null` if nothing was
    /// measured.
    pub(crate) latency_ns: Option<LatencyView>,
    /// Taken to done in the last five minutes, all workers.
    pub(crate) done_ns: Option<LatencyView>,
    /// The participants: producers first.
    pub(crate) participants: Vec<ParticipantView>,
    /// Whether every user may read it.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "the page shows only such channels"))]
    #[serde(skip)]
    pub(crate) is_public: bool,
    /// The distributions themselves.
    #[serde(skip)]
    pub(crate) received: Distribution,
    #[serde(skip)]
    pub(crate) done: Distribution,
}

impl ChannelView {
    /// The trouble of the channel's journal, in two words for a column; `None` when there is none.
    pub(crate) fn journal_trouble(&self) -> Option<&'static str> {
        match (self.journal?, self.journal_waits_for) {
            ("poisoned", _) => Some("journal failed"),
            ("dead", _) => Some("journal dead"),
            ("stopped", _) | (_, None) => None,
            (_, Some("space")) => Some("disk full"),
            (_, Some(_)) => Some("journal waits"),
        }
    }
}

/// A participant of a channel.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ParticipantView {
    /// As `railbus evict` names it: `producer:0`, `consumer:2`.
    pub(crate) who: String,
    /// producer or consumer.
    pub(crate) side: &'static str,
    /// Its entry in its side's registry.
    pub(crate) index: usize,
    /// Counts the registrations in that entry.
    pub(crate) generation: u64,
    /// producer, subscriber, worker, tap.
    pub(crate) role: &'static str,
    /// Its name, may be empty.
    pub(crate) name: String,
    /// In its own PID namespace.
    pub(crate) pid: u32,
    /// The thread that made the handle.
    pub(crate) tid: u32,
    /// The core on which it last ran; `null` when that is not visible from here.
    pub(crate) core: Option<u32>,
    /// live, dead, held, evicted.
    pub(crate) state: &'static str,
    /// Whether its cursor outlives it.
    pub(crate) durable: bool,
    /// Whether it loses events rather than hold producers up.
    pub(crate) lossy: bool,
    /// Published, or received.
    pub(crate) events: u64,
    /// Their payload bytes.
    pub(crate) bytes: u64,
    /// Events a second since the look before.
    pub(crate) events_per_second: Option<f64>,
    /// Payload bytes a second since the look before.
    pub(crate) bytes_per_second: Option<f64>,
    /// Readers: how far behind.
    pub(crate) lag: Option<u64>,
    /// Tickets claimed and not finished.
    pub(crate) in_hand: u64,
    /// Producers: how often there was no room.
    pub(crate) full: u64,
    /// Producers: events dropped.
    pub(crate) dropped: u64,
    /// Readers: events lost to overrun.
    pub(crate) lost: u64,
    /// How long it has been waiting for room; `null` when it is not.
    pub(crate) waiting_ns: Option<u64>,
    /// How long ago it last stored the time.
    pub(crate) seen_ns: u64,
    /// How long ago it last moved, while this observer looked; `null` if it did not.
    pub(crate) progress_age_ns: Option<u64>,
    /// For how long it has been stuck; `null` when it is not.
    pub(crate) stuck_ns: Option<u64>,
    /// Consumers of stamped channels: yes, or the reason why not.
    pub(crate) measures: &'static str,
    /// Publication to receipt.
    pub(crate) latency_ns: Option<LatencyView>,
    /// Taken to done.
    pub(crate) done_ns: Option<LatencyView>,
    /// Events without a usable publish time.
    pub(crate) unmeasured: u64,
    /// How often the clock was set while it measured.
    pub(crate) clock_steps: u64,
    /// The distributions themselves.
    #[serde(skip)]
    pub(crate) received: Distribution,
    #[serde(skip)]
    pub(crate) done: Distribution,
}

/// Percentiles, in ns, over the last five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct LatencyView {
    pub(crate) p50: u64,
    pub(crate) p95: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) p9999: u64,
    /// The largest, exactly.
    pub(crate) max: u64,
    /// The number of events.
    pub(crate) count: u64,
}

impl LatencyView {
    /// `None` when nothing was measured.
    pub(crate) fn of(distribution: &Distribution) -> Option<LatencyView> {
        let at = |quantile| distribution.quantile(quantile);
        Some(LatencyView {
            p50: at(0.5)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            p999: at(0.999)?,
            p9999: at(0.9999)?,
            max: distribution.max_ns(),
            count: distribution.count(),
        })
    }
}

/// The distribution as a histogram of the hdrhistogram crate.
pub(crate) fn histogram(distribution: &Distribution) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, VALUE_MAX, 2).expect("bounds that hdrhistogram takes");
    for (low, _, count) in distribution.buckets() {
        histogram.saturating_record_n(low, count);
    }
    histogram
}
