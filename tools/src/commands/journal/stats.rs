//! `railbus journal stats`: reads everything and counts.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use railbus::journal::{Item, Speed};
use railbus_os::pages::bytes_text;
use serde_json::{Value, json};

use super::SelectionArgs;
use crate::commands::ls::align;
use crate::failure::Outcome;
use crate::interrupt;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::units::{exact_time, time_text};

const EXAMPLES: &str = "\
Examples:
  railbus journal stats JOURNAL/demo/ticks
  railbus journal stats JOURNAL/demo/ticks --from -1h --json | jq .by_type

The rate is over the time between the first and the last event; the peak is the fullest second.";

/// Count a journal's events: how many, how large, of which types, how fast they came
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The counts.
#[derive(Default)]
struct JournalCounts {
    events: u64,
    payload_bytes: u64,
    by_type: BTreeMap<u16, (u64, u64)>,
    sizes: Option<Histogram<u64>>,
    first_ns: Option<u64>,
    last_ns: u64,
    /// The second that is being counted, its events, and the most of any second.
    second: (u64, u64, u64),
    gaps: u64,
    missing: u64,
}

/// Counts.
pub(crate) fn run(args: &StatsArgs) -> Outcome {
    let (_, mut replay) = args.selection.replay(Speed::Max, false)?;
    let most = args.selection.count.unwrap_or(u64::MAX);
    let mut progress = Progress::begin(!args.json, None);
    let mut counts = JournalCounts { sizes: Histogram::new(3).ok(), ..JournalCounts::default() };
    interrupt::catch();
    while counts.events < most && !interrupt::is_asked() {
        let Some(due) = replay.next_due()? else { break };
        match &due.item {
            Item::Event(event) => {
                counts.event(event.time_ns, event.type_id(), event.payload().len() as u64);
                progress.count(1, event.body.len() as u64);
            }
            Item::Gap { gap, .. } => counts.gap(gap.events),
            Item::Missing { events, .. } => counts.gap(*events),
            Item::State { .. } => {}
        }
    }
    drop(progress);
    if args.json { print_json(&counts.object()) } else { print(&counts.text()) }
}

impl JournalCounts {
    fn event(&mut self, time_ns: u64, type_id: u16, bytes: u64) {
        self.events += 1;
        self.payload_bytes += bytes;
        let of_type = self.by_type.entry(type_id).or_default();
        *of_type = (of_type.0 + 1, of_type.1 + bytes);
        if let Some(sizes) = &mut self.sizes {
            sizes.saturating_record(bytes);
        }
        self.first_ns.get_or_insert(time_ns);
        self.last_ns = time_ns;
        let second = time_ns / 1_000_000_000;
        if self.second.0 != second {
            (self.second.0, self.second.1) = (second, 0);
        }
        self.second.1 += 1;
        self.second.2 = self.second.2.max(self.second.1);
    }

    fn gap(&mut self, events: u64) {
        self.gaps += 1;
        self.missing = self.missing.saturating_add(events);
    }

    fn duration_ns(&self) -> u64 {
        self.first_ns.map_or(0, |first| self.last_ns.saturating_sub(first))
    }

    /// Events a second, if they took any time.
    fn rate(&self) -> Option<f64> {
        let seconds = self.duration_ns() as f64 / 1e9;
        (seconds > 0.0).then(|| self.events as f64 / seconds)
    }

    fn quantile(&self, quantile: f64) -> u64 {
        self.sizes
            .as_ref()
            .filter(|sizes| !sizes.is_empty())
            .map_or(0, |sizes| sizes.value_at_quantile(quantile))
    }

    fn object(&self) -> Value {
        let by_type = |(type_id, (events, bytes)): (&u16, &(u64, u64))| json!({ "type_id": type_id, "events": events, "payload_bytes": bytes });
        json!({
            "events": self.events,
            "payload_bytes": self.payload_bytes,
            "smallest": self.quantile(0.0),
            "median": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "largest": self.quantile(1.0),
            "first_time_ns": self.first_ns,
            "first_time": self.first_ns.map(exact_time),
            "last_time_ns": self.first_ns.map(|_| self.last_ns),
            "last_time": self.first_ns.map(|_| exact_time(self.last_ns)),
            "events_per_second": self.rate(),
            "peak_events_per_second": self.second.2,
            "gaps": self.gaps,
            "events_missing": Some(self.missing).filter(|&missing| missing != u64::MAX),
            "by_type": self.by_type.iter().map(by_type).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} events, {} of payload, in {}\n",
            self.events,
            bytes_text(self.payload_bytes),
            time_text(self.duration_ns())
        );
        if self.events > 0 {
            text.push_str(&format!(
                "payloads of {} to {} B, half of them up to {}, 99 % up to {}\n",
                self.quantile(0.0),
                self.quantile(1.0),
                self.quantile(0.5),
                self.quantile(0.99)
            ));
        }
        if let Some(rate) = self.rate() {
            text.push_str(&format!("{rate:.0} events a second, at most {}\n", self.second.2));
        }
        if self.gaps > 0 {
            let missing = match self.missing {
                u64::MAX => "an unknown number of".to_owned(),
                count => count.to_string(),
            };
            text.push_str(&format!("{} gaps, {missing} events missing\n", self.gaps));
        }
        let mut rows = vec![["TYPE", "EVENTS", "PAYLOAD"].map(str::to_owned)];
        for (type_id, (events, bytes)) in &self.by_type {
            rows.push([type_id.to_string(), events.to_string(), bytes_text(*bytes)]);
        }
        text + &align(&rows)
    }
}
