//! The progress of a long transfer, and its total in the end, on stderr, if that is a terminal:
//! never in a pipe or a log.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use railbus_os::pages::bytes_text;

use crate::failure::note;

/// A bar with a known number of bytes, or a spinner without; nothing if stderr is no terminal.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    events: u64,
    bytes: u64,
}

impl Progress {
    /// Begins, if it is wanted and stderr is a terminal.
    pub(crate) fn begin(wanted: bool, total_bytes: Option<u64>) -> Progress {
        let bar = (wanted && std::io::stderr().is_terminal()).then(|| {
            let template = match total_bytes {
                Some(_) => {
                    "{bar:30} {percent:>3}% {bytes}/{total_bytes} {binary_bytes_per_sec} {msg} eta {eta}"
                }
                None => "{spinner} {bytes} {binary_bytes_per_sec} {msg} {elapsed}",
            };
            let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr_with_hz(5));
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Progress { bar, events: 0, bytes: 0 }
    }

    /// Counts.
    pub(crate) fn add(&mut self, events: u64, bytes: u64) {
        self.events += events;
        self.bytes += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.bytes);
            bar.set_message(format!("{} events", self.events));
        }
    }

    /// Counts, and shows it now and then: for callers that count often and one at a time.
    #[inline]
    pub(crate) fn count(&mut self, events: u64, bytes: u64) {
        self.events += events;
        self.bytes += bytes;
        if self.bar.is_some() && self.events.is_multiple_of(4096) {
            self.add(0, 0);
        }
    }

    /// Events so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends, with the counts as the last line on stderr, if it is wanted and that is a terminal:
    /// "17 events (3 KiB) from demo/ticks".
    pub(crate) fn tell(self, wanted: bool, about: &str) {
        let (events, bytes) = (self.events, self.bytes);
        drop(self);
        if wanted && std::io::stderr().is_terminal() {
            note(&format!("{events} events ({}) {about}", bytes_text(bytes)));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
