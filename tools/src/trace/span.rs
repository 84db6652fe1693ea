//! A hop of an event as a span.
//!
//! A hop is one span, from the event's publication to its receipt, or to the journal; its parent is
//! the span that published. Its attributes are those of OpenTelemetry's conventions for messaging,
//! and `railbus.*` for the rest. Ids are made of the event's identity (channel, incarnation,
//! position), which is never used again. So the same hop has the same id, whichever exporter makes
//! it and however often.

use std::path::Path;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use railbus::journal::Journal;
use railbus::{Channel, Event, TraceContext};
use sha2::{Digest, Sha256};

/// `flags` of a span, beside the trace flags: it is known whether the parent is of another process,
/// and it is.
const REMOTE_PARENT: u32 = 0x300;

/// Where a span ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hop {
    /// A reader had it at this time, in ns of CLOCK_REALTIME.
    Delivered(u64),
    /// The journaller had it at this time.
    Recorded(u64),
}

/// Makes spans of one channel's events.
#[derive(Debug)]
pub(super) struct Maker {
    channel: String,
    channel_id: [u8; 16],
    incarnation: u64,
    kind: String,
}

impl Maker {
    pub(super) fn of_channel(name: String, channel: &Channel) -> Maker {
        let header = channel.header();
        Maker {
            channel: name,
            channel_id: header.channel_id,
            incarnation: header.incarnation,
            kind: header.kind.to_string(),
        }
    }

    pub(super) fn of_journal(journal: &Journal) -> Maker {
        let header = journal.channel();
        Maker {
            channel: name_of(journal.directory()),
            channel_id: header.channel_id,
            incarnation: header.incarnation,
            kind: header.kind.to_string(),
        }
    }

    /// The span of an event's hop, if it belongs to a trace that is sampled. `all`: events without
    /// a trace context are traces of their own. `ratio`: of all traces, those to be kept.
    pub(super) fn span(&self, event: &Event<'_>, hop: Hop, all: bool, ratio: f64) -> Option<Span> {
        let context = event.trace().filter(TraceContext::is_valid);
        if context.is_some_and(|context| !context.is_sampled()) || (context.is_none() && !all) {
            return None;
        }
        let (trace_id, span_id) = self.ids(event.position(), hop);
        let trace_id = context.map_or(trace_id, |context| context.trace_id);
        if !is_chosen(trace_id, ratio) {
            return None;
        }
        let (operation, end_ns) = match hop {
            Hop::Delivered(ns) => ("deliver", ns),
            Hop::Recorded(ns) => ("record", ns),
        };
        // Without a stamp the beginning is not known; and a clock that was set must not make a span
        // negative.
        let start_ns = event.published_ns().unwrap_or(end_ns);
        Some(Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: context.map_or(Vec::new(), |context| context.span_id.to_vec()),
            flags: context.map_or(0x101, |context| REMOTE_PARENT | u32::from(context.flags)),
            name: format!("{operation} {}", self.channel),
            kind: SpanKind::Consumer.into(),
            start_time_unix_nano: start_ns,
            end_time_unix_nano: end_ns.max(start_ns),
            attributes: self.attributes(event, operation),
            ..Span::default()
        })
    }

    /// The ids of a trace and of a span for this hop of the event.
    fn ids(&self, position: u64, hop: Hop) -> ([u8; 16], [u8; 8]) {
        let mut hash = Sha256::new();
        hash.update(self.channel_id);
        hash.update(self.incarnation.to_le_bytes());
        hash.update(position.to_le_bytes());
        let of_event: [u8; 32] = hash.clone().finalize().into();
        hash.update([matches!(hop, Hop::Recorded(_)) as u8]);
        let of_hop: [u8; 32] = hash.finalize().into();
        // Not all zeros, which means no span; any other of the 2^64 values will do.
        let mut span_id: [u8; 8] = std::array::from_fn(|i| of_hop[i]);
        span_id[7] |= (span_id == [0; 8]) as u8;
        let mut trace_id: [u8; 16] = std::array::from_fn(|i| of_event[i]);
        trace_id[15] |= (trace_id == [0; 16]) as u8;
        (trace_id, span_id)
    }

    fn attributes(&self, event: &Event<'_>, operation: &str) -> Vec<KeyValue> {
        let position = event.position();
        let mut attributes = vec![
            text("messaging.system", "railbus"),
            text("messaging.destination.name", &self.channel),
            text("messaging.operation.name", operation),
            text("messaging.operation.type", "receive"),
            text("messaging.message.id", &format!("{}.{position}", self.incarnation)),
            number("messaging.message.body.size", event.payload().len() as u64),
            text("railbus.kind", &self.kind),
            number("railbus.position", position),
            number("railbus.type_id", event.type_id().into()),
        ];
        if event.is_replayed() {
            attributes.push(attribute("railbus.replayed", Value::BoolValue(true)));
        }
        if let Some(origin) = event.origin() {
            let channel = crate::framing::hex(&origin.channel.to_le_bytes());
            attributes.push(text("railbus.origin.channel", &channel));
            attributes.push(number("railbus.origin.incarnation", origin.incarnation));
            attributes.push(number("railbus.origin.position", origin.position));
            attributes.push(number("railbus.attempts", origin.attempts));
        }
        if let Some(sequence) = event.sequence() {
            attributes.push(text("railbus.publisher", &format!("{:016x}", sequence.publisher)));
            attributes.push(number("railbus.number", sequence.number));
        }
        attributes
    }
}

/// BUS/CHANNEL of a journal's directory, JOURNAL/BUS/CHANNEL.
fn name_of(directory: &Path) -> String {
    let whole = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let parts: Vec<_> =
        whole.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Whether a trace is one of those to be kept. Its id alone decides, as in OpenTelemetry's
/// TraceIdRatioBased, so that all samplers with the same ratio keep the same traces.
fn is_chosen(trace_id: [u8; 16], ratio: f64) -> bool {
    let low: [u8; 8] = std::array::from_fn(|i| trace_id[8 + i]);
    ratio >= 1.0 || (u64::from_be_bytes(low) >> 1) < (ratio * (1u64 << 63) as f64) as u64
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// OTLP's integers are signed; positions reach 2^63 in thousands of years.
fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(incarnation: u64) -> Maker {
        Maker {
            channel: "demo/ticks".to_owned(),
            channel_id: [7; 16],
            incarnation,
            kind: "stream".to_owned(),
        }
    }

    #[test]
    fn ids_follow_from_the_identity_and_differ() {
        let mut seen = std::collections::HashSet::new();
        for incarnation in 1..4 {
            for position in 0..100 {
                let (trace, delivered) = maker(incarnation).ids(position, Hop::Delivered(1));
                let (same_trace, recorded) = maker(incarnation).ids(position, Hop::Recorded(1));
                assert_eq!((trace, delivered), maker(incarnation).ids(position, Hop::Delivered(2)));
                assert_eq!(trace, same_trace);
                assert!(seen.insert(delivered) && seen.insert(recorded));
            }
        }
    }

    #[test]
    fn a_ratio_keeps_about_that_part_and_always_the_same() {
        let ids: Vec<[u8; 16]> = (0..4000).map(|n| maker(1).ids(n, Hop::Delivered(0)).0).collect();
        let kept = |ratio| ids.iter().filter(|id| is_chosen(**id, ratio)).count();
        assert_eq!((kept(0.0), kept(1.0)), (0, 4000));
        assert!((800..1200).contains(&kept(0.25)), "{}", kept(0.25));
        assert!(ids.iter().all(|id| !is_chosen(*id, 0.25) || is_chosen(*id, 0.5)));
    }
}
