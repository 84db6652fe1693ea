//! The columns for channels and participants. Columns that do not fit are left out, the least
//! important first.

use crate::observe::text::{age_text, count_text, ns_text, rate_text};
use crate::observe::{ChannelView, LatencyView, ParticipantView};

/// A column of a table of `T`.
pub(crate) struct Column<T: 'static> {
    /// Its title.
    pub(crate) title: &'static str,
    /// Its width in cells.
    pub(crate) width: u16,
    /// Columns with a larger number are left out first.
    pub(crate) rank: u8,
    /// Its meaning.
    pub(crate) about: &'static str,
    /// Its text.
    pub(crate) cell: fn(&T) -> String,
    /// The value to sort by, the largest first; `None` for texts.
    pub(crate) key: Option<fn(&T) -> f64>,
}

/// The columns of a channel, after its name.
pub(crate) const CHANNELS: &[Column<ChannelView>] = &[
    Column {
        title: "KIND",
        width: 6,
        rank: 9,
        about: "stream, queue or topic",
        cell: |c| c.kind.clone(),
        key: None,
    },
    Column {
        title: "PAGES",
        width: 6,
        rank: 20,
        about: "page size behind the data",
        cell: |c| railbus_os::pages::bytes_text(c.page_bytes).replace(' ', ""),
        key: None,
    },
    Column {
        title: "EV/S",
        width: 6,
        rank: 1,
        about: "events published per second",
        cell: |c| rate_text(c.events_per_second),
        key: Some(|c| c.events_per_second.unwrap_or(0.0)),
    },
    Column {
        title: "MB/S",
        width: 6,
        rank: 2,
        about: "payload published per second, in 10^6 bytes",
        cell: |c| c.bytes_per_second.map_or_else(|| "-".to_owned(), |bytes| megabytes(bytes / 1e6)),
        key: Some(|c| c.bytes_per_second.unwrap_or(0.0)),
    },
    Column {
        title: "DEPTH",
        width: 5,
        rank: 3,
        about: "what is not read, or of a queue not done, of what fits",
        cell: |c| format!("{:.0}%", c.depth_percent),
        key: Some(|c| c.depth_percent),
    },
    Column {
        title: "HIGH",
        width: 5,
        rank: 12,
        about: "the largest depth since top began",
        cell: |c| format!("{:.0}%", c.high_water as f64 * 100.0 / c.capacity.max(1) as f64),
        key: Some(|c| c.high_water as f64 / c.capacity.max(1) as f64),
    },
    Column {
        title: "LAG",
        width: 6,
        rank: 5,
        about: "of the slowest reader: bytes of a stream, events of a queue or topic",
        cell: |c| c.lag.map_or_else(|| "-".to_owned(), |lag| count_text(lag as f64)),
        key: Some(|c| c.lag.unwrap_or(0) as f64),
    },
    Column {
        title: "LOSS",
        width: 5,
        rank: 6,
        about: "events dropped for want of room, or lost by lossy readers",
        cell: |c| count_text(c.dropped as f64 + c.lost as f64),
        key: Some(|c| c.dropped as f64 + c.lost as f64),
    },
    Column {
        title: "FULL",
        width: 5,
        rank: 11,
        about: "how often the producers found no room",
        cell: |c| count_text(c.full as f64),
        key: Some(|c| c.full as f64),
    },
    Column {
        title: "AGAIN",
        width: 5,
        rank: 13,
        about: "events delivered again",
        cell: |c| count_text(c.redelivered as f64),
        key: Some(|c| c.redelivered as f64),
    },
    Column {
        title: "DEAD",
        width: 5,
        rank: 14,
        about: "events moved to the dead-letter queue",
        cell: |c| count_text(c.dead_lettered as f64),
        key: Some(|c| c.dead_lettered as f64),
    },
    Column {
        title: "P/C",
        width: 5,
        rank: 10,
        about: "live producers and consumers",
        cell: |c| format!("{}/{}", c.producers, c.consumers),
        key: None,
    },
    Column {
        title: "WRITE",
        width: 6,
        rank: 18,
        about: "how far the journal's writing is behind; - without a journal",
        cell: |c| c.written_lag.map_or_else(|| "-".to_owned(), |lag| count_text(lag as f64)),
        key: Some(|c| c.written_lag.unwrap_or(0) as f64),
    },
    Column {
        title: "DURAB",
        width: 6,
        rank: 18,
        about: "how far what is durable is behind",
        cell: |c| c.durable_lag.map_or_else(|| "-".to_owned(), |lag| count_text(lag as f64)),
        key: Some(|c| c.durable_lag.unwrap_or(0) as f64),
    },
    Column {
        title: "P50",
        width: 6,
        rank: 7,
        about: "half of the last five minutes' events took no longer (n ns, u us, m ms)",
        cell: |c| percentile(c.latency_ns, |l| l.p50),
        key: Some(|c| c.latency_ns.map_or(0.0, |l| l.p50 as f64)),
    },
    Column {
        title: "P95",
        width: 6,
        rank: 15,
        about: "95 % of them took no longer",
        cell: |c| percentile(c.latency_ns, |l| l.p95),
        key: Some(|c| c.latency_ns.map_or(0.0, |l| l.p95 as f64)),
    },
    Column {
        title: "P99",
        width: 6,
        rank: 4,
        about: "99 % of them took no longer",
        cell: |c| percentile(c.latency_ns, |l| l.p99),
        key: Some(|c| c.latency_ns.map_or(0.0, |l| l.p99 as f64)),
    },
    Column {
        title: "P99.9",
        width: 6,
        rank: 8,
        about: "99.9 % of them took no longer",
        cell: |c| percentile(c.latency_ns, |l| l.p999),
        key: Some(|c| c.latency_ns.map_or(0.0, |l| l.p999 as f64)),
    },
    Column {
        title: "P99.99",
        width: 6,
        rank: 16,
        about: "99.99 % of them took no longer",
        cell: |c| percentile(c.latency_ns, |l| l.p9999),
        key: Some(|c| c.latency_ns.map_or(0.0, |l| l.p9999 as f64)),
    },
    Column {
        title: "MOVED",
        width: 6,
        rank: 17,
        about: "how long ago something was published, since top began",
        cell: |c| age_text(c.progress_age_ns),
        key: Some(|c| c.progress_age_ns.map_or(f64::MAX, |age| age as f64)),
    },
    Column {
        title: "STATE",
        width: 7,
        rank: 0,
        about: "ok, what is wrong with the journal, or how many participants are stuck",
        cell: |c| match (c.journal_trouble(), c.stuck) {
            (Some(trouble), _) => trouble.to_uppercase(),
            (None, 0) => "ok".to_owned(),
            (None, stuck) => format!("{stuck} STUCK"),
        },
        key: Some(|c| c.stuck as f64),
    },
];

/// The columns of a participant, after its name.
pub(crate) const PARTICIPANTS: &[Column<ParticipantView>] = &[
    Column {
        title: "ROLE",
        width: 10,
        rank: 9,
        about: "what it does",
        cell: |p| p.role.to_owned(),
        key: None,
    },
    Column { title: "PID", width: 7, rank: 1, about: "its process", cell: |p| p.pid.to_string(), key: None },
    Column {
        title: "CORE",
        width: 4,
        rank: 6,
        about: "the core it last ran on",
        cell: |p| p.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
        key: None,
    },
    Column {
        title: "EV/S",
        width: 6,
        rank: 2,
        about: "events published or received per second",
        cell: |p| rate_text(p.events_per_second),
        key: Some(|p| p.events_per_second.unwrap_or(0.0)),
    },
    Column {
        title: "MB/S",
        width: 6,
        rank: 12,
        about: "payload per second, in 10^6 bytes",
        cell: |p| p.bytes_per_second.map_or_else(|| "-".to_owned(), |bytes| megabytes(bytes / 1e6)),
        key: Some(|p| p.bytes_per_second.unwrap_or(0.0)),
    },
    Column {
        title: "LAG",
        width: 6,
        rank: 3,
        about: "how far it is behind: bytes of a stream, events of a queue or topic",
        cell: |p| p.lag.map_or_else(|| "-".to_owned(), |lag| count_text(lag as f64)),
        key: Some(|p| p.lag.unwrap_or(0) as f64),
    },
    Column {
        title: "HAND",
        width: 5,
        rank: 8,
        about: "events claimed and not finished",
        cell: |p| p.in_hand.to_string(),
        key: Some(|p| p.in_hand as f64),
    },
    Column {
        title: "LOSS",
        width: 5,
        rank: 10,
        about: "events it dropped, or lost",
        cell: |p| count_text(p.dropped as f64 + p.lost as f64),
        key: Some(|p| p.dropped as f64 + p.lost as f64),
    },
    Column {
        title: "FULL",
        width: 5,
        rank: 11,
        about: "how often it found no room",
        cell: |p| count_text(p.full as f64),
        key: Some(|p| p.full as f64),
    },
    Column {
        title: "MOVED",
        width: 6,
        rank: 7,
        about: "how long ago it moved, since top began",
        cell: |p| age_text(p.progress_age_ns),
        key: Some(|p| p.progress_age_ns.map_or(f64::MAX, |age| age as f64)),
    },
    Column {
        title: "P50",
        width: 6,
        rank: 5,
        about: "latency of its events: the half",
        cell: |p| percentile(p.latency_ns, |l| l.p50),
        key: Some(|p| p.latency_ns.map_or(0.0, |l| l.p50 as f64)),
    },
    Column {
        title: "P95",
        width: 6,
        rank: 14,
        about: "95 %",
        cell: |p| percentile(p.latency_ns, |l| l.p95),
        key: Some(|p| p.latency_ns.map_or(0.0, |l| l.p95 as f64)),
    },
    Column {
        title: "P99",
        width: 6,
        rank: 4,
        about: "99 %",
        cell: |p| percentile(p.latency_ns, |l| l.p99),
        key: Some(|p| p.latency_ns.map_or(0.0, |l| l.p99 as f64)),
    },
    Column {
        title: "P99.9",
        width: 6,
        rank: 13,
        about: "99.9 %",
        cell: |p| percentile(p.latency_ns, |l| l.p999),
        key: Some(|p| p.latency_ns.map_or(0.0, |l| l.p999 as f64)),
    },
    Column {
        title: "P99.99",
        width: 6,
        rank: 16,
        about: "99.99 %",
        cell: |p| percentile(p.latency_ns, |l| l.p9999),
        key: Some(|p| p.latency_ns.map_or(0.0, |l| l.p9999 as f64)),
    },
    Column {
        title: "DONE99",
        width: 6,
        rank: 15,
        about: "99 % of a worker's events were done in this time",
        cell: |p| percentile(p.done_ns, |l| l.p99),
        key: Some(|p| p.done_ns.map_or(0.0, |l| l.p99 as f64)),
    },
    Column {
        title: "STATE",
        width: 7,
        rank: 0,
        about: "live, dead, held (a durable subscription without owner), evicted, STUCK, waits",
        cell: |p| match (p.stuck_ns, p.waiting_ns) {
            (Some(_), _) => "STUCK".to_owned(),
            (None, Some(_)) => "waits".to_owned(),
            (None, None) => p.state.to_owned(),
        },
        key: Some(|p| p.stuck_ns.unwrap_or(0) as f64),
    },
];

/// The columns that fit into `width` beside the first, which wants `first` cells: each takes a
/// space, too.
pub(crate) fn fitting<T>(columns: &'static [Column<T>], first: u16, width: u16) -> Vec<&'static Column<T>> {
    let mut by_rank: Vec<usize> = (0..columns.len()).collect();
    by_rank.sort_by_key(|&i| columns[i].rank);
    let mut left = width.saturating_sub(first);
    by_rank.retain(|&i| {
        let needs = columns[i].width + 1;
        let fits = needs <= left;
        // A less important column is not shown if a more important one did not fit.
        left = if fits { left - needs } else { 0 };
        fits
    });
    by_rank.sort_unstable();
    by_rank.into_iter().map(|i| &columns[i]).collect()
}

fn percentile(latency: Option<LatencyView>, of: fn(&LatencyView) -> u64) -> String {
    latency.map_or_else(|| "-".to_owned(), |latency| ns_text(of(&latency)))
}

fn megabytes(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..0.01 => "<0.01".to_owned(),
        ..9.995 => format!("{value:.2}"),
        _ => count_text(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_the_most_important_in_the_order_of_the_table() {
        let titles =
            |width| fitting(CHANNELS, 16, width).iter().map(|column| column.title).collect::<Vec<_>>();
        assert_eq!(titles(80), ["EV/S", "MB/S", "DEPTH", "LAG", "LOSS", "P50", "P99", "P99.9", "STATE"]);
        assert_eq!(titles(30), ["STATE"]);
        assert!(titles(0).is_empty());
        assert_eq!(titles(400).len(), CHANNELS.len());
        for width in 0..200 {
            let used: u16 = fitting(PARTICIPANTS, 12, width).iter().map(|column| column.width + 1).sum();
            assert!(used + 12 <= width.max(12));
        }
    }

    #[test]
    fn rates_in_megabytes() {
        for (value, text) in
            [(0.0, "0"), (0.001, "<0.01"), (0.5, "0.50"), (123.4, "123"), (12_345.0, "12.3k")]
        {
            assert_eq!(megabytes(value), text);
        }
    }
}
