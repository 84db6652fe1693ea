//! Payloads, attributes and digests of the conformance suite, as `conformance/PROTOCOL.md`
//! defines them. Shared by the program and the driver.

use railbus::{Attributes, Event, TraceContext};

/// CRC-32 as in zlib, continued from `before`.
pub(crate) fn crc(before: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut value = i as u32;
            let mut bit = 0;
            while bit < 8 {
                value = value >> 1 ^ if value & 1 == 1 { 0xEDB8_8320 } else { 0 };
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!before, |value, &byte| TABLE[((value ^ byte as u32) & 255) as usize] ^ value >> 8)
}

/// The payload of event `event`.
pub(crate) fn payload(bytes: usize, event: u64, seed: u64) -> Vec<u8> {
    let byte = |j: usize| {
        (131u64.wrapping_mul(event) + 7 * j as u64 + (j as u64 >> 8) + 17u64.wrapping_mul(seed)) as u8
    };
    (0..bytes).map(byte).collect()
}

/// The attributes of event `event`.
pub(crate) fn attributes(event: u64) -> Attributes {
    Attributes::default().type_id(event as u16).published_ns(Some(1_000_000_007 * event + 1)).trace(Some(
        TraceContext {
            trace_id: std::array::from_fn(|k| (event + k as u64) as u8),
            span_id: std::array::from_fn(|k| (event + 100 + k as u64) as u8),
            flags: event as u8 & 1,
        },
    ))
}

/// The content of a record beside length and payload.
pub(crate) fn of_event(event: &Event<'_>) -> Attributes {
    Attributes::default().type_id(event.type_id()).trace(event.trace()).published_ns(event.published_ns())
}

/// The tally of published or received events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) digest: u32,
    pub(crate) sum: u64,
}

impl Tally {
    /// Adds an event.
    pub(crate) fn add(&mut self, payload: &[u8], position: u64, attributes: Option<&Attributes>) {
        let mut record = (payload.len() as u32).to_le_bytes().to_vec();
        record.extend_from_slice(payload);
        if let Some(attributes) = attributes {
            let trace = attributes.trace.unwrap_or_default();
            record.extend_from_slice(&attributes.type_id.to_le_bytes());
            record.extend_from_slice(&attributes.published_ns.unwrap_or(0).to_le_bytes());
            record.extend_from_slice(&trace.trace_id);
            record.extend_from_slice(&trace.span_id);
            record.push(trace.flags);
        }
        self.digest = crc(self.digest, &record);
        self.sum = self.sum.wrapping_add(crc(0, &record) as u64);
        if self.events == 0 {
            self.first = position;
        }
        self.last = position;
        self.events += 1;
    }
}
