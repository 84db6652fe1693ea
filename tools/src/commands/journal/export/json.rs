//! JSON lines: as `railbus journal cat --json` prints them.

use std::io::Write;

use railbus::journal::Recorded;

use super::{Absence, Sink};
use crate::commands::journal::json::{append_event, append_gap};
use crate::failure::{Outcome, output_failed};

pub(super) struct Json<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Json<W> {
    pub(super) fn begin(out: W) -> Json<W> {
        Json { out, line: Vec::new() }
    }

    fn put(&mut self) -> Outcome {
        let written = self.out.write_all(&self.line);
        self.line.clear();
        written.map_err(output_failed)
    }
}

impl<W: Write> Sink for Json<W> {
    fn event(&mut self, event: &Recorded<'_>) -> Outcome {
        append_event(event, &mut self.line);
        self.put()
    }

    fn absence(&mut self, absence: &Absence) -> Outcome {
        let Absence { reason, from, to, events, time_ns } = *absence;
        append_gap(reason, from, to, events, time_ns, &mut self.line);
        self.put()
    }

    fn finish(&mut self) -> Outcome {
        self.out.flush().map_err(output_failed)
    }
}
