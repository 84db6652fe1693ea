//! Events in a byte stream: how `pub` cuts its input into events, and how `sub`, `tap` and `work`
//! print them.
//!
//! ```text
//! lines             payload \n                a last line without its end is an event, too
//! chunks            N bytes each              the last one may be shorter
//! length-prefixed   u32 little-endian | payload
//! raw               the payloads and nothing between them
//! ```

use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use railbus::{Event, TraceContext};
use serde_json::{Map, Value, json};

use crate::units::whole;

/// How input is cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// One event a line; the line end is not part of it.
    Lines,
    /// Events of so many bytes.
    Chunks(usize),
    /// Each event after its length.
    LengthPrefixed,
}

/// Why input cannot be cut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CutError {
    /// This event is longer than the channel allows; its length as far as it is known.
    TooLong(usize),
    /// The input ends in the middle of an event; the number of missing bytes.
    Truncated(usize),
}

impl Cut {
    /// The payloads that are complete in `input`, at most `most`, and how many bytes of it they use
    /// up. `at_end` means that no more input follows. The error is about the event after those that
    /// were found.
    pub(crate) fn split(
        self,
        input: &[u8],
        at_end: bool,
        most: usize,
        payload_max: usize,
        found: &mut Vec<Range<usize>>,
    ) -> (usize, Option<CutError>) {
        let mut at = 0;
        while found.len() < most && at < input.len() {
            let rest = &input[at..];
            let (payload, next) = match self {
                Cut::Lines => match rest.iter().position(|&byte| byte == b'\n') {
                    Some(end) => (at..at + end, at + end + 1),
                    None if at_end => (at..input.len(), input.len()),
                    None if rest.len() > payload_max => return (at, Some(CutError::TooLong(rest.len()))),
                    None => break,
                },
                Cut::Chunks(bytes) if rest.len() >= bytes => (at..at + bytes, at + bytes),
                Cut::Chunks(_) if at_end => (at..input.len(), input.len()),
                Cut::Chunks(_) => break,
                Cut::LengthPrefixed => {
                    let Some((length, rest)) = rest.split_first_chunk::<4>() else {
                        let missing = at_end.then_some(CutError::Truncated(4 - rest.len()));
                        return (at, missing);
                    };
                    let bytes = u32::from_le_bytes(*length) as usize;
                    if bytes > payload_max {
                        return (at, Some(CutError::TooLong(bytes)));
                    }
                    if rest.len() < bytes {
                        let missing = at_end.then_some(CutError::Truncated(bytes - rest.len()));
                        return (at, missing);
                    }
                    (at + 4..at + 4 + bytes, at + 4 + bytes)
                }
            };
            if payload.len() > payload_max {
                return (at, Some(CutError::TooLong(payload.len())));
            }
            found.push(payload);
            at = next;
        }
        (at, None)
    }

    /// Bytes of input that hold at least one event of `payload_max` bytes.
    pub(crate) fn input_bytes(self, payload_max: usize) -> usize {
        match self {
            Cut::Chunks(bytes) => bytes,
            _ => payload_max + 5,
        }
    }
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Print {
    /// The payload and a line end.
    Lines,
    /// The payload alone.
    Raw,
    /// The length, then the payload.
    LengthPrefixed,
    /// A JSON object a line.
    Json,
}

impl Print {
    /// Appends an event. `attempt` is for workers: which delivery it is.
    pub(crate) fn append(self, event: &Event<'_>, attempt: Option<u32>, out: &mut Vec<u8>) {
        let payload = event.payload();
        match self {
            Print::Raw => out.extend_from_slice(payload),
            Print::Lines => {
                out.extend_from_slice(payload);
                out.push(b'\n');
            }
            Print::LengthPrefixed => {
                // A payload has at most u32::MAX bytes: the header word holds its length in 32 bits.
                out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
                out.extend_from_slice(payload);
            }
            Print::Json => {
                out.extend_from_slice(object_of(event, attempt).to_string().as_bytes());
                out.push(b'\n');
            }
        }
    }
}

fn object_of(event: &Event<'_>, attempt: Option<u32>) -> Value {
    let mut object = Map::new();
    object.insert("position".into(), whole(event.position()));
    object.insert("type_id".into(), event.type_id().into());
    object.insert("published_ns".into(), event.published_ns().map(whole).into());
    if let Some(attempt) = attempt {
        object.insert("attempt".into(), attempt.into());
    }
    if let Some(trace) = event.trace() {
        let trace =
            json!({ "trace_id": hex(&trace.trace_id), "span_id": hex(&trace.span_id), "flags": trace.flags });
        object.insert("trace".into(), trace);
        if let Some(text) = traceparent(event) {
            object.insert("traceparent".into(), text.into());
        }
    }
    if let Some(origin) = event.origin() {
        let origin = json!({
            "channel": hex(&origin.channel.to_le_bytes()), "incarnation": origin.incarnation,
            "position": whole(origin.position), "attempts": origin.attempts,
        });
        object.insert("origin".into(), origin);
    }
    if let Some(key) = event.key() {
        object.insert("key".into(), whole(key));
    }
    match std::str::from_utf8(event.payload()) {
        Ok(text) => object.insert("payload".into(), text.into()),
        Err(_) => object.insert("payload_base64".into(), BASE64_STANDARD.encode(event.payload()).into()),
    };
    Value::Object(object)
}

/// The event's trace context as W3C writes it, if it names a trace.
pub(crate) fn traceparent(event: &Event<'_>) -> Option<String> {
    event.trace().filter(TraceContext::is_valid).map(|trace| trace.to_string())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `piece` bytes, as a pipe would.
    fn cut(cut: Cut, input: &[u8], piece: usize, payload_max: usize) -> Result<Vec<Vec<u8>>, CutError> {
        let (mut payloads, mut pending) = (Vec::new(), Vec::new());
        let mut pieces = input.chunks(piece);
        loop {
            let piece = pieces.next();
            pending.extend_from_slice(piece.unwrap_or_default());
            loop {
                let mut found = Vec::new();
                let (used, error) = cut.split(&pending, piece.is_none(), 3, payload_max, &mut found);
                payloads.extend(found.iter().map(|range| pending[range.clone()].to_vec()));
                pending.drain(..used);
                if let Some(error) = error {
                    return Err(error);
                }
                if found.is_empty() {
                    break;
                }
            }
            if piece.is_none() {
                assert!(pending.is_empty(), "{pending:?} is left");
                return Ok(payloads);
            }
        }
    }

    #[test]
    fn lines_chunks_and_lengths_in_pieces_of_any_size() {
        for piece in 1..20 {
            let lines = cut(Cut::Lines, b"one\n\ntwo\nlast", piece, 5);
            assert_eq!(lines.unwrap(), [&b"one"[..], b"", b"two", b"last"]);
            assert_eq!(cut(Cut::Chunks(3), b"abcdefgh", piece, 5).unwrap(), [&b"abc"[..], b"def", b"gh"]);
            let framed = b"\x03\0\0\0abc\0\0\0\0\x01\0\0\0x";
            assert_eq!(cut(Cut::LengthPrefixed, framed, piece, 5).unwrap(), [&b"abc"[..], b"", b"x"]);
            assert!(cut(Cut::Lines, b"", piece, 5).unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_too_long_or_cut_off_is_an_error() {
        for piece in 1..9 {
            assert!(matches!(cut(Cut::Lines, b"abcdef\n", piece, 5), Err(CutError::TooLong(_))));
            assert_eq!(
                cut(Cut::LengthPrefixed, b"\xff\xff\xff\xff", piece, 5),
                Err(CutError::TooLong(0xFFFF_FFFF))
            );
            assert_eq!(cut(Cut::LengthPrefixed, b"\x03\0\0\0ab", piece, 5), Err(CutError::Truncated(1)));
            assert_eq!(cut(Cut::LengthPrefixed, b"\x03\0", piece, 5), Err(CutError::Truncated(2)));
        }
    }
}
