//! Recordings that wait for something: reported once when it begins and once when it is over.
//!
//! A disk that is full concerns every journal on it. So all troubles that begin or end at the same
//! look are one line, with the first few channels by name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use railbus::ChannelName;
use railbus::journal::{RecorderStatus, Shortage};
use railbus_os::pages::bytes_text;

/// How often removals are reported.
const REMOVALS_EVERY: Duration = Duration::from_secs(10);
/// The most channels that a line names.
const NAMED_MAX: usize = 3;

/// A recording that waits for something.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    shortage: Shortage,
    drops: bool,
    /// Events that were missing when it began.
    lost: u64,
}

/// Which recordings are in trouble.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    waiting: BTreeMap<ChannelName, Waiting>,
    warnings: BTreeMap<ChannelName, String>,
    /// Segments and bytes that were removed, as last reported, and when that was.
    removed: BTreeMap<ChannelName, (u64, u64)>,
    told: Option<Instant>,
}

impl Troubles {
    /// Compares with the last look. Returns the lines to report.
    pub(crate) fn see(&mut self, statuses: &[RecorderStatus]) -> Vec<String> {
        let mut lines = self.see_shortages(statuses);
        lines.extend(self.see_removals(statuses));
        let is_there = |name: &ChannelName| statuses.iter().any(|status| status.channel == *name);
        self.waiting.retain(|name, _| is_there(name));
        self.warnings.retain(|name, _| is_there(name));
        for status in statuses {
            let before = self.warnings.get(&status.channel);
            match &status.warning {
                Some(text) if before != Some(text) => {
                    lines.push(format!("{}: {text}; it is tried again", status.channel));
                    self.warnings.insert(status.channel.clone(), text.clone());
                }
                None if before.is_some() => {
                    lines.push(format!("{}: that has succeeded now", status.channel));
                    self.warnings.remove(&status.channel);
                }
                _ => {}
            }
        }
        lines
    }

    /// Reports what retention has removed, at most once every `REMOVALS_EVERY`.
    fn see_removals(&mut self, statuses: &[RecorderStatus]) -> Option<String> {
        if self.told.is_some_and(|told| told.elapsed() < REMOVALS_EVERY) {
            return None;
        }
        let (mut segments, mut bytes, mut names) = (0, 0, Vec::new());
        for status in statuses {
            let before =
                self.removed.insert(status.channel.clone(), (status.retired_segments, status.retired_bytes));
            let before = before.filter(|before| before.0 <= status.retired_segments).unwrap_or_default();
            if status.retired_segments > before.0 {
                segments += status.retired_segments - before.0;
                bytes += status.retired_bytes - before.1;
                names.push(&status.channel);
            }
        }
        if segments == 0 {
            return None;
        }
        self.told = Some(Instant::now());
        let names = named(names.into_iter());
        Some(format!("{names}: retention has removed {segments} segments, {}", bytes_text(bytes)))
    }

    fn see_shortages(&mut self, statuses: &[RecorderStatus]) -> Vec<String> {
        let mut began: BTreeMap<(&str, bool), Vec<&RecorderStatus>> = BTreeMap::new();
        let mut over: BTreeMap<&str, Vec<(&RecorderStatus, u64)>> = BTreeMap::new();
        for status in statuses {
            let before = self.waiting.get(&status.channel).copied();
            match (status.shortage, before) {
                (Some(shortage), before)
                    if before
                        .is_none_or(|before| (before.shortage, before.drops) != (shortage, status.drops)) =>
                {
                    began.entry((shortage.advice(), status.drops)).or_default().push(status);
                    // A recording that waits to be opened has dropped all missing events for this
                    // reason.
                    let first = if status.report.waits_for.is_some() { 0 } else { status.lost };
                    let lost = before.map_or(first, |before| before.lost);
                    let waiting = Waiting { shortage, drops: status.drops, lost };
                    self.waiting.insert(status.channel.clone(), waiting);
                }
                (None, Some(before)) => {
                    let missing = status.lost.saturating_sub(before.lost);
                    over.entry(before.shortage.as_str()).or_default().push((status, missing));
                    self.waiting.remove(&status.channel);
                }
                _ => {}
            }
        }
        let mut lines = Vec::new();
        for ((advice, drops), channels) in began {
            let what = if drops { "events are dropped" } else { "publishers wait once memory is full" };
            lines.push(format!("{}: {advice}; {what}", named(channels.iter().map(|one| &one.channel))));
        }
        for (_, channels) in over {
            let missing: u64 = channels.iter().map(|(_, missing)| missing).sum();
            let lost = match missing {
                0 => "nothing is missing".to_owned(),
                missing => format!("{missing} events are missing, as recorded in the journal"),
            };
            let names = named(channels.iter().map(|(one, _)| &one.channel));
            lines.push(format!("{names}: the shortage is over, recording goes on; {lost}"));
        }
        lines
    }
}

/// The first few by name, and the number of the others.
fn named<'a>(mut names: impl ExactSizeIterator<Item = &'a ChannelName>) -> String {
    let all = names.len();
    let first: Vec<String> = names.by_ref().take(NAMED_MAX).map(ToString::to_string).collect();
    let text = first.join(", ");
    if all > NAMED_MAX { format!("{text} and {} more channels", all - NAMED_MAX) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, shortage: Option<Shortage>, lost: u64) -> RecorderStatus {
        let mut status = RecorderStatus::of(name.parse().expect("a name"));
        (status.lost, status.shortage, status.drops) = (lost, shortage, lost > 0);
        status
    }

    #[test]
    fn a_full_disk_is_told_once_and_so_is_its_end() {
        let mut troubles = Troubles::default();
        let full = || -> Vec<RecorderStatus> {
            (0..5).map(|n| status(&format!("b/c{n}"), Some(Shortage::Space), 0)).collect()
        };
        let said = troubles.see(&full());
        let [line] = &said[..] else { panic!("{said:?}") };
        assert!(line.starts_with("b/c0, b/c1, b/c2 and 2 more channels: the disk is full"), "{line}");
        assert_eq!(troubles.see(&full()), [""; 0]);
        let over: Vec<RecorderStatus> =
            full().into_iter().map(|one| status(&one.channel.to_string(), None, one.lost)).collect();
        let said = troubles.see(&over);
        assert!(said.len() == 1 && said[0].contains("the shortage is over"), "{said:?}");
        assert_eq!(troubles.see(&over), [""; 0]);
    }

    #[test]
    fn what_is_dropped_is_counted_and_a_warning_is_told_with_its_end() {
        let mut troubles = Troubles::default();
        troubles.see(&[status("b/c", None, 10)]);
        let said = troubles.see(&[status("b/c", Some(Shortage::Space), 10)]);
        assert!(said[0].ends_with("events are dropped"), "{said:?}");
        let said = troubles.see(&[status("b/c", None, 17)]);
        assert!(said[0].contains("7 events are missing"), "{said:?}");
        let warned = || {
            let mut status = status("b/c", None, 17);
            status.warning = Some("cannot remove".into());
            status
        };
        assert_eq!(troubles.see(&[warned()]), ["b/c: cannot remove; it is tried again"]);
        assert_eq!(troubles.see(&[warned()]), [""; 0]);
        assert_eq!(troubles.see(&[status("b/c", None, 17)]).len(), 1);
    }
}
