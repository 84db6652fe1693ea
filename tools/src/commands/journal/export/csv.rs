//! CSV as of RFC 4180, with a header: `position,time_ns,type_id,flags,published_ns,payload_base64`,
//! or `payload` for text.

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use railbus::journal::Recorded;

use super::{Absence, Sink};
use crate::commands::journal::print::tell;
use crate::failure::{Failure, Outcome, output_failed};

pub(super) struct Csv<W> {
    out: W,
    text: bool,
}

impl<W: Write> Csv<W> {
    pub(super) fn begin(mut out: W, text: bool) -> Result<Csv<W>, Failure> {
        let payload = if text { "payload" } else { "payload_base64" };
        write!(out, "position,time_ns,type_id,flags,published_ns,{payload}\r\n").map_err(output_failed)?;
        Ok(Csv { out, text })
    }
}

impl<W: Write> Sink for Csv<W> {
    fn event(&mut self, event: &Recorded<'_>) -> Outcome {
        let published = event.event().published_ns().map_or_else(String::new, |ns| ns.to_string());
        let payload = if self.text {
            let text = std::str::from_utf8(event.payload()).map_err(|_| {
                Failure::new(format!(
                    "the payload at position {} is no text: leave --text out",
                    event.position
                ))
            })?;
            quoted(text)
        } else {
            BASE64_STANDARD.encode(event.payload())
        };
        write!(
            self.out,
            "{},{},{},{},{published},{payload}\r\n",
            event.position,
            event.time_ns,
            event.type_id(),
            event.flags()
        )
        .map_err(output_failed)
    }

    fn absence(&mut self, absence: &Absence) -> Outcome {
        tell(absence.reason, absence.from, absence.to, absence.events);
        Ok(())
    }

    fn finish(&mut self) -> Outcome {
        self.out.flush().map_err(output_failed)
    }
}

/// A field, in quotes if it needs them.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\r', '\n']) || text.starts_with(' ') || text.ends_with(' ') {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(
            ["a b", "", "a,b", "a\"b", "a\nb", " a"].map(quoted),
            ["a b", "", "\"a,b\"", "\"a\"\"b\"", "\"a\nb\"", "\" a\""]
        );
    }
}
