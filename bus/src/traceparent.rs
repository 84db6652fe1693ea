//! The text form of a trace context: the `traceparent` of the W3C recommendation "Trace Context".
//!
//! ```text
//! 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//! version  trace id, 16 bytes        parent id, 8    flags
//! ```
//!
//! All of it is lower-case hexadecimal. An id of all zeros is invalid, and version ff does not
//! exist. A version later than 00 may have more text after the flags. Of the flags of such a
//! version only "sampled" is used. Flags that the recommendation reserves are not passed on.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::event::TraceContext;

/// Flag: the publisher of the event records this trace.
pub(crate) const SAMPLED: u8 = 1;
/// Flag: the last 7 bytes of the trace id are random (second level of the recommendation).
pub(crate) const RANDOM: u8 = 2;

/// Bytes of version 00.
const TEXT_BYTES: usize = 55;

impl TraceContext {
    /// Whether it names a trace and a span: neither id is all zeros.
    pub fn is_valid(&self) -> bool {
        self.trace_id != [0; 16] && self.span_id != [0; 8]
    }

    /// Whether the publisher records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        f.write_str("00-")?;
        hex(f, &self.trace_id)?;
        f.write_str("-")?;
        hex(f, &self.span_id)?;
        write!(f, "-{:02x}", self.flags & (SAMPLED | RANDOM))
    }
}

impl FromStr for TraceContext {
    type Err = Error;

    fn from_str(text: &str) -> Result<TraceContext, Error> {
        let fail = |why: &str| Error::invalid(format!("trace context {:?}", shortened(text)), why);
        let bytes = text.as_bytes();
        let form =
            "must be VERSION-TRACE_ID-PARENT_ID-FLAGS of 2, 32, 16 and 2 lower-case hexadecimal digits";
        let fields = bytes.get(..TEXT_BYTES).ok_or_else(|| fail(form))?;
        if [2, 35, 52].iter().any(|&at| fields[at] != b'-') {
            return Err(fail(form));
        }
        let field = |at: usize, into: &mut [u8]| hex_of(&fields[at..at + 2 * into.len()], into);
        let (mut version, mut flags) = ([0], [0]);
        let mut context = TraceContext::default();
        let is_hex = field(0, &mut version)
            && field(3, &mut context.trace_id)
            && field(36, &mut context.span_id)
            && field(53, &mut flags);
        if !is_hex {
            return Err(fail(form));
        }
        match (version[0], bytes.get(TEXT_BYTES)) {
            (0xFF, _) => return Err(fail("there is no version ff")),
            (0, Some(_)) => return Err(fail("version 00 ends behind the flags")),
            (_, Some(&next)) if next != b'-' => return Err(fail("a dash must follow the flags, or nothing")),
            _ => {}
        }
        if !context.is_valid() {
            return Err(fail("an id of all zeros names nobody"));
        }
        context.flags = flags[0] & if version[0] == 0 { SAMPLED | RANDOM } else { SAMPLED };
        Ok(context)
    }
}

/// Lower-case hexadecimal into bytes; false if it is something else.
fn hex_of(text: &[u8], into: &mut [u8]) -> bool {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    text.chunks_exact(2).zip(into).all(|(pair, byte)| match (digit(pair[0]), digit(pair[1])) {
        (Some(high), Some(low)) => {
            *byte = high << 4 | low;
            true
        }
        _ => false,
    })
}

/// The part of an arbitrary text that an error repeats.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_example_of_the_recommendation() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
        assert_eq!(context.span_id, 0xb7ad_6b71_6920_3331u64.to_be_bytes());
        assert!(context.is_sampled() && context.is_valid());
        assert_eq!(context.to_string(), EXAMPLE);
    }

    #[test]
    fn what_the_recommendation_calls_invalid() {
        let zeros = "0".repeat(32);
        for (text, why) in [
            (String::new(), "must be"),
            (EXAMPLE.to_uppercase(), "must be"),
            (EXAMPLE.replace("0af", "0aF"), "must be"),
            (EXAMPLE.replace('-', "_"), "must be"),
            (EXAMPLE[..54].to_owned(), "must be"),
            (format!(" {EXAMPLE}"), "must be"),
            (EXAMPLE.replace("b7ad", "b7ag"), "must be"),
            (EXAMPLE.replace("b7ad", "b7\u{e9}"), "must be"),
            (EXAMPLE.replace("0af7651916cd43dd8448eb211c80319c", &zeros), "zeros"),
            (EXAMPLE.replace("b7ad6b7169203331", &zeros[..16]), "zeros"),
            (EXAMPLE.replacen("00", "ff", 1), "ff"),
            (format!("{EXAMPLE}-"), "ends"),
            (format!("{EXAMPLE}0"), "ends"),
            (format!("{}.", EXAMPLE.replacen("00", "cc", 1)), "dash"),
        ] {
            let error = text.parse::<TraceContext>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!("x".repeat(100_000).parse::<TraceContext>().unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn later_versions_and_reserved_flags() {
        let known: TraceContext = EXAMPLE.parse().unwrap();
        for text in [
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-what-ever",
            &EXAMPLE.replacen("00", "01", 1),
        ] {
            assert_eq!(text.parse::<TraceContext>().unwrap(), known, "{text}");
        }
        let flags = |text: &str| EXAMPLE.replace("-01", text).parse::<TraceContext>().unwrap().flags;
        assert_eq!((flags("-00"), flags("-02"), flags("-fe"), flags("-ff")), (0, RANDOM, RANDOM, 3));
        let all = TraceContext { flags: 0xFF, ..known };
        assert!(all.to_string().ends_with("-03"), "{all}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id: [u8; 16], span_id: [u8; 8], flags in 0u8..4) {
            let context = TraceContext { trace_id, span_id, flags };
            prop_assume!(context.is_valid());
            prop_assert_eq!(context.to_string().parse::<TraceContext>().unwrap(), context);
        }

        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,70}", at in 0usize..55, instead in "\\PC") {
            let _ = text.parse::<TraceContext>();
            let mut mangled = EXAMPLE.to_owned();
            mangled.replace_range(at..at + 1, &instead);
            let _ = mangled.parse::<TraceContext>();
        }
    }
}
