//! The state of the recording, in one line on the terminal: never in a pipe or a log.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use railbus::JournalState;
use railbus::journal::{RecorderStatus, Shortage};

const SHOW_EVERY: Duration = Duration::from_millis(500);

/// The line; nothing if stderr is no terminal.
pub(crate) struct StatusLine {
    bar: Option<ProgressBar>,
    shown: Instant,
    events: u64,
    bytes: u64,
}

impl StatusLine {
    /// An empty line.
    pub(crate) fn new() -> StatusLine {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        StatusLine { bar, shown: Instant::now(), events: 0, bytes: 0 }
    }

    /// Shows the rates since it was last shown, at most twice a second.
    pub(crate) fn show(&mut self, statuses: &[RecorderStatus]) {
        let Some(bar) = &self.bar else { return };
        let since = self.shown.elapsed();
        if since < SHOW_EVERY {
            return;
        }
        let events: u64 = statuses.iter().map(|status| status.events).sum();
        let bytes: u64 = statuses.iter().map(|status| status.bytes).sum();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / since.as_secs_f64();
        let full = statuses.iter().filter(|status| status.shortage == Some(Shortage::Space)).count();
        let failed = statuses.iter().filter(|status| status.state == JournalState::Poisoned).count();
        let mut text = format!(
            "{} channels, {:.0} events/s, {:.1} MB/s, {events} events",
            statuses.len(),
            rate(events, self.events),
            rate(bytes, self.bytes) / 1e6
        );
        for (count, what) in [(full, "without space"), (failed, "failed")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        bar.set_message(text);
        bar.tick();
        (self.shown, self.events, self.bytes) = (Instant::now(), events, bytes);
    }

    /// Runs `print` with the line out of the way.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Clears the line.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
