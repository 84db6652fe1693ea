//! Journal items as JSON, one object a line. Written by hand, because a journal has many items.
//!
//! Whole numbers above 2^53, which includes all times of the last decades, are strings: many
//! readers of JSON would round them.

use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use railbus::journal::Recorded;
use railbus_log::format::{Gap, GapReason};

use crate::units::JSON_NUMBER_MAX;

/// Appends `{"position":..,"time_ns":..,"type_id":..,"flags":..,"payload":"BASE64"}` and the fields
/// of its flags.
pub(crate) fn append_event(recorded: &Recorded<'_>, out: &mut Vec<u8>) {
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        "{{\"position\":{},\"time_ns\":{},\"type_id\":{},\"flags\":{}",
        Whole(recorded.position),
        Whole(recorded.time_ns),
        recorded.type_id(),
        recorded.flags()
    );
    if recorded.flags() != 0 {
        append_extensions(recorded, out);
    }
    out.extend_from_slice(b",\"payload\":\"");
    let payload = recorded.payload();
    let begin = out.len();
    out.resize(begin + payload.len().div_ceil(3) * 4, 0);
    let written = BASE64_STANDARD.encode_slice(payload, &mut out[begin..]).unwrap_or(0);
    out.truncate(begin + written);
    out.extend_from_slice(b"\"}\n");
}

fn append_extensions(recorded: &Recorded<'_>, out: &mut Vec<u8>) {
    let event = recorded.event();
    if let Some(ns) = event.published_ns() {
        let _ = write!(out, ",\"published_ns\":{}", Whole(ns));
    }
    if let Some(trace) = event.trace() {
        let trace_id = crate::framing::hex(&trace.trace_id);
        let span_id = crate::framing::hex(&trace.span_id);
        let _ = write!(
            out,
            ",\"trace\":{{\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\",\"flags\":{}}}",
            trace.flags
        );
        if let Some(text) = crate::framing::traceparent(&event) {
            let _ = write!(out, ",\"traceparent\":\"{text}\"");
        }
    }
    if let Some(origin) = event.origin() {
        let _ = write!(
            out,
            ",\"origin\":{{\"channel\":\"{}\",\"incarnation\":{},\"position\":{},\"attempts\":{}}}",
            crate::framing::hex(&origin.channel.to_le_bytes()),
            origin.incarnation,
            Whole(origin.position),
            origin.attempts
        );
    }
    if let Some(sequence) = event.sequence() {
        let _ = write!(
            out,
            ",\"sequence\":{{\"publisher\":{},\"number\":{}}}",
            Whole(sequence.publisher),
            Whole(sequence.number)
        );
    }
    if let Some(key) = event.key() {
        let _ = write!(out, ",\"key\":{}", Whole(key));
    }
}

/// Appends `{"gap":"REASON","from":..,"to":..,"events":..,"time_ns":..}`; `events` is null when the
/// number is not known.
pub(crate) fn append_gap(
    reason: &str,
    from: u64,
    to: u64,
    events: u64,
    time_ns: Option<u64>,
    out: &mut Vec<u8>,
) {
    let events = if events == u64::MAX { "null".to_owned() } else { events.to_string() };
    let time_ns = time_ns.map_or("null".to_owned(), |ns| Whole(ns).to_string());
    let (from, to) = (Whole(from), Whole(to));
    let _ = writeln!(
        out,
        "{{\"gap\":\"{reason}\",\"from\":{from},\"to\":{to},\"events\":{events},\"time_ns\":{time_ns}}}"
    );
}

/// A whole number as JSON: see [`crate::units::whole`].
struct Whole(u64);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 <= JSON_NUMBER_MAX { write!(f, "{}", self.0) } else { write!(f, "\"{}\"", self.0) }
    }
}

/// One word for the reason of a gap.
pub(crate) fn reason(gap: &Gap) -> &'static str {
    match gap.reason {
        GapReason::Overrun => "overrun",
        GapReason::DiskFull => "disk-full",
        GapReason::StagingLost => "staging-lost",
        GapReason::NotRecorded => "not-recorded",
        GapReason::Quarantined => "quarantined",
    }
}

/// The same word for segments that are gone.
pub(crate) const REMOVED: &str = "removed";
