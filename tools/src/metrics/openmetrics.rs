//! A look at the channels as OpenMetrics text.
//!
//! A value that only grows while a channel, or a participant, exists is a counter. The generation
//! distinguishes the participants of one entry. Percentiles are gauges with a `quantile` label:
//! they are those of the last five minutes, as they are, and cannot be added up over channels.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::observe::{ChannelView, LatencyView, ParticipantView, Sampled};

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Counters = Family<Labels, Counter<u64, AtomicU64>>;
type Seconds = Family<Labels, Counter<f64, AtomicU64>>;

/// The families, as they are filled.
struct Families {
    registry: Registry,
}

impl Families {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>) -> Gauges {
        let family = Gauges::default();
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, family.clone()),
            None => self.registry.register(name, help, family.clone()),
        }
        family
    }

    fn counter(&mut self, name: &str, help: &str) -> Counters {
        let family = Counters::default();
        self.registry.register(name, help, family.clone());
        family
    }
}

/// The text, with its `# EOF`.
pub(crate) fn text(sampled: &Sampled) -> String {
    let mut families = Families { registry: Registry::with_prefix("railbus") };
    of_channels(&mut families, &sampled.channels);
    of_participants(&mut families, &sampled.channels);
    let unreadable = families.gauge("unreadable", "1 for a channel that this observer cannot look at", None);
    for (name, _) in &sampled.failed {
        unreadable.get_or_create(&vec![("channel", name.to_string())]).set(1.0);
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &families.registry);
    text
}

fn of_channels(families: &mut Families, channels: &[ChannelView]) {
    let labels = |channel: &ChannelView| -> Labels {
        vec![("channel", channel.channel.clone()), ("kind", channel.kind.clone())]
    };
    type Value = fn(&ChannelView) -> Option<f64>;
    let gauges: [(&str, &str, Value); 18] = [
        (
            "depth",
            "What is not read (bytes of a stream, events of a topic) or not done (events of a queue); keys of a table",
            |c| Some(c.depth as f64),
        ),
        ("waiting", "Events of a queue that are not done and in nobody's hands", |c| Some(c.waiting? as f64)),
        ("not_due", "Events of a queue whose time has not come", |c| Some(c.not_due? as f64)),
        ("in_hand", "Events of a queue in the hands of workers", |c| Some(c.in_hand? as f64)),
        ("capacity", "The most that fits, as depth", |c| Some(c.capacity as f64)),
        ("high_water", "The largest depth since this exporter began", |c| Some(c.high_water as f64)),
        ("lag", "How far the slowest reader is behind, as depth", |c| Some(c.lag? as f64)),
        ("events_per_second", "Events or changes of keys, over the last interval", |c| c.events_per_second),
        ("bytes_per_second", "Payload published, over the last interval", |c| c.bytes_per_second),
        ("producers", "Live producers", |c| Some(c.producers as f64)),
        ("consumers", "Live consumers", |c| Some(c.consumers as f64)),
        ("stuck", "Participants that live, hold others up and do not move", |c| Some(c.stuck as f64)),
        ("page_bytes", "Page size behind the data", |c| Some(c.page_bytes as f64)),
        ("journal_written_lag", "How far the journal's writing is behind", |c| Some(c.written_lag? as f64)),
        ("under_pressure", "1 from the high watermark to the low one, as producers last found it", |c| {
            Some(f64::from(u8::from(c.under_pressure?)))
        }),
        ("journal_no_space", "1 while the journal's disk is full", |c| {
            Some(f64::from(u8::from(c.journal_no_space?)))
        }),
        ("journal_waits", "1 while the journal waits for room, descriptors or memory", |c| {
            c.journal.map(|_| f64::from(u8::from(c.journal_waits_for.is_some())))
        }),
        ("journal_durable_lag", "How far what is durable is behind, as depth", |c| {
            Some(c.durable_lag? as f64)
        }),
    ];
    for (name, help, value) in gauges {
        let family = families.gauge(name, help, None);
        for channel in channels {
            if let Some(value) = value(channel) {
                family.get_or_create(&labels(channel)).set(value);
            }
        }
    }
    type Count = fn(&ChannelView) -> u64;
    let counters: [(&str, &str, Count); 7] = [
        ("events", "Events published; changes of a table", |c| c.events),
        ("dropped", "Events dropped because there was no room", |c| c.dropped),
        ("diverted", "Events published in another channel because there was no room", |c| c.diverted),
        ("redelivered", "Events delivered again", |c| c.redelivered),
        ("dead_lettered", "Events moved to the dead-letter queue", |c| c.dead_lettered),
        ("expired", "Events that ended because their time was over", |c| c.expired),
        ("journal_crashes", "How often a recorder of the channel has panicked", |c| {
            c.journal_crashes.unwrap_or(0)
        }),
    ];
    for (name, help, value) in counters {
        let family = families.counter(name, help);
        for channel in channels {
            family.get_or_create(&labels(channel)).inc_by(value(channel));
        }
    }
    type Known = fn(&ChannelView) -> Option<u64>;
    let journals: [(&str, &str, Known); 2] = [
        ("journal_gaps", "Gaps in the journal since its journaller started", |c| c.journal_gaps),
        ("journal_lost", "Events missing in the journal since its journaller started", |c| c.journal_lost),
    ];
    for (name, help, value) in journals {
        let family = families.counter(name, help);
        for channel in channels {
            if let Some(value) = value(channel) {
                family.get_or_create(&labels(channel)).inc_by(value);
            }
        }
    }
    let latency = families.gauge("latency", "Publication to receipt, last five minutes", Some(Unit::Seconds));
    let done = families.gauge("done", "Taken to done, last five minutes", Some(Unit::Seconds));
    for channel in channels {
        quantiles(&latency, labels(channel), channel.latency_ns);
        quantiles(&done, labels(channel), channel.done_ns);
    }
}

fn of_participants(families: &mut Families, channels: &[ChannelView]) {
    let all: Vec<(Labels, &ParticipantView)> = channels
        .iter()
        .flat_map(|channel| {
            channel.participants.iter().map(move |one| (participant_labels(channel, one), one))
        })
        .collect();
    type Value = fn(&ParticipantView) -> Option<f64>;
    let gauges: [(&str, &str, Value); 3] = [
        ("participant_live", "1 while its process lives", |p| Some(f64::from(u8::from(p.state == "live")))),
        ("participant_lag", "Readers: how far behind, as depth", |p| Some(p.lag? as f64)),
        ("participant_in_hand", "Events claimed and not finished", |p| Some(p.in_hand as f64)),
    ];
    for (name, help, value) in gauges {
        let family = families.gauge(name, help, None);
        for (labels, one) in &all {
            if let Some(value) = value(one) {
                family.get_or_create(labels).set(value);
            }
        }
    }
    let stuck = families.gauge(
        "participant_stuck",
        "For how long it has been stuck; 0 when it is not",
        Some(Unit::Seconds),
    );
    type Count = fn(&ParticipantView) -> u64;
    let counters: [(&str, &str, Count); 6] = [
        ("participant_events", "Events published or received", |p| p.events),
        ("participant_payload_bytes", "Their payload", |p| p.bytes),
        ("participant_full", "Producers: how often there was no room", |p| p.full),
        ("participant_dropped", "Producers: events dropped", |p| p.dropped),
        ("participant_lost", "Readers: events lost to overrun", |p| p.lost),
        ("participant_measured", "Consumers: events whose latency was measured", |p| p.received.measured),
    ];
    for (name, help, value) in counters {
        let family = families.counter(name, help);
        for (labels, one) in &all {
            family.get_or_create(labels).inc_by(value(one));
        }
    }
    let sum = Seconds::default();
    let help = "Consumers: the sum of the latencies measured";
    families.registry.register_with_unit("participant_latency_sum", help, Unit::Seconds, sum.clone());
    let help = "Publication to receipt, last five minutes";
    let latency = families.gauge("participant_latency", help, Some(Unit::Seconds));
    let done = families.gauge("participant_done", "Taken to done, last five minutes", Some(Unit::Seconds));
    for (labels, one) in all {
        stuck.get_or_create(&labels).set(one.stuck_ns.unwrap_or(0) as f64 / 1e9);
        sum.get_or_create(&labels).inc_by(one.received.sum_ns as f64 / 1e9);
        quantiles(&latency, labels.clone(), one.latency_ns);
        quantiles(&done, labels, one.done_ns);
    }
}

fn participant_labels(channel: &ChannelView, one: &ParticipantView) -> Labels {
    vec![
        ("channel", channel.channel.clone()),
        ("who", one.who.clone()),
        ("generation", one.generation.to_string()),
        ("role", one.role.to_owned()),
        ("name", one.name.clone()),
        ("pid", one.pid.to_string()),
    ]
}

fn quantiles(family: &Gauges, labels: Labels, latency: Option<LatencyView>) {
    let Some(latency) = latency else { return };
    let values = [
        ("0.5", latency.p50),
        ("0.95", latency.p95),
        ("0.99", latency.p99),
        ("0.999", latency.p999),
        ("0.9999", latency.p9999),
        ("1", latency.max),
    ];
    for (quantile, ns) in values {
        let mut labels = labels.clone();
        labels.push(("quantile", quantile.to_owned()));
        family.get_or_create(&labels).set(ns as f64 / 1e9);
    }
}
