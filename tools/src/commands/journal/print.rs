//! Journal items on standard output, in one of four forms.

use railbus::journal::{Item, Journal};

use super::json::{self, append_event, append_gap};
use crate::failure::{Outcome, note};
use crate::framing::Print;
use crate::output::EventOutput;
use crate::progress::Progress;

/// Prints items, and counts.
pub(crate) struct ItemPrinter {
    print: Print,
    output: EventOutput,
    events: u64,
}

impl ItemPrinter {
    pub(crate) fn new(print: Print) -> ItemPrinter {
        ItemPrinter { print, output: EventOutput::new(), events: 0 }
    }

    /// Events printed so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Prints an item. Gaps are printed in JSON, and otherwise reported on stderr.
    #[inline]
    pub(crate) fn item(&mut self, item: &Item<'_>, progress: &mut Progress) -> Outcome {
        let out = &mut self.output.buffer;
        match item {
            Item::Event(event) => {
                self.events += 1;
                progress.count(1, event.end_position - event.position);
                match self.print {
                    Print::Raw => self.output.append(event.payload())?,
                    Print::Json => append_event(event, out),
                    print => print.append(&event.event(), None, out),
                }
                return self.output.flush_if_full();
            }
            Item::Gap { gap, time_ns } if self.print == Print::Json => {
                append_gap(json::reason(gap), gap.from, gap.to, gap.events, Some(*time_ns), out);
            }
            Item::Missing { from, to, events } if self.print == Print::Json => {
                append_gap(json::REMOVED, *from, *to, *events, None, out);
            }
            item => tell_item(item),
        }
        Ok(())
    }

    /// Writes everything out.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.output.flush()
    }
}

/// Reports on stderr which segment files are shorter than they were made. They come from an
/// interrupted copy, whose end would be taken for the journal's.
pub(crate) fn tell_truncated(journal: &Journal) -> railbus::Result<()> {
    for one in journal.segments()?.iter().filter(|one| one.file_bytes < one.header.segment_bytes) {
        note(&format!(
            "{} is truncated: it has {} bytes of {}, as after a copy that was interrupted; the events behind that are \
             missing here",
            one.path.display(),
            one.file_bytes,
            one.header.segment_bytes
        ));
    }
    Ok(())
}

/// Reports on stderr the meaning of an item that is no event.
pub(crate) fn tell_item(item: &Item<'_>) {
    match item {
        Item::Gap { gap, .. } => tell(json::reason(gap), gap.from, gap.to, gap.events),
        Item::Missing { from, to, events } => tell(json::REMOVED, *from, *to, *events),
        Item::Event(_) | Item::State { .. } => {}
    }
}

/// Reports on stderr that events are missing.
pub(crate) fn tell(reason: &str, from: u64, to: u64, events: u64) {
    let events = match events {
        u64::MAX => "events".to_owned(),
        1 => "1 event".to_owned(),
        count => format!("{count} events"),
    };
    note(&format!("{events} missing ({reason}): positions {from} up to {to}"));
}
