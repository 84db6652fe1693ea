//! Reports as compact tables for people. Times are in ns.

use std::fmt::Write as _;

use super::report::{BinReport, JitterReport, LatencyReport, ThroughputReport};
use super::setting::Setting;
use super::statistics::{Medians, Percentiles};

impl Setting {
    /// Pins, machine and clock.
    pub fn lines(&self) -> String {
        let pins: Vec<String> =
            self.pin_map.iter().map(|(role, core)| format!("{role} on core {core}")).collect();
        format!(
            "pins     {}\nmachine  {}\nclock    {}\n",
            pins.join(", "),
            self.topology.describe(),
            self.clock.describe()
        )
    }
}

fn bins_line(bins: &[BinReport], overall: &Medians) -> String {
    let one = |name: &str, m: &Medians| format!("{name} {} (ratio {:.2})", m.blocks, m.ratio);
    let each: Vec<String> =
        bins.iter().map(|b| one(&format!("{:?}", b.bin).to_lowercase(), &b.medians)).collect();
    format!("blocks   {}; {}\n", each.join(", "), one("all", overall))
}

/// The head of a table of percentiles.
pub fn percentile_header(name: &str) -> String {
    format!(
        "{name:<10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>11}\n",
        "trimmed", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    )
}

/// A row of it.
pub fn percentile_row(name: &str, trimmed: &str, p: &Percentiles) -> String {
    let Percentiles { mean, p50, p90, p99, p999, p9999, max } = p;
    format!("{name:<10}{trimmed:>10}{mean:>9.1}{p50:>9}{p90:>9}{p99:>9}{p999:>9}{p9999:>9}{max:>11}\n")
}

impl LatencyReport {
    /// The table.
    pub fn table(&self) -> String {
        let (kind, bytes, mode) = (self.kind.name(), self.payload_bytes, self.mode);
        let wait = self.wait.name();
        let mut out = format!("{kind}, {bytes} B, {mode}, waiting by {wait}, limit: {}", self.limit);
        if let Some(rate) = self.rate {
            let _ = write!(
                out,
                " at {rate:.0} events/s ({:.0} sent), from when each was due",
                self.achieved_rate
            );
        }
        let _ = writeln!(out, "; {} round trips, {} repetitions", self.samples, self.repetitions);
        out += &self.setting.lines();
        let _ = writeln!(out, "pages    {}", self.pages);
        out += &bins_line(&self.bins, &self.overall);
        out.push('\n');
        out += &percentile_header("ns");
        let (channel, limit) = self.trimmed_mean_ns;
        out += &percentile_row("channel", &format!("{channel:.1}"), &self.rtt_ns);
        out += &percentile_row("limit", &format!("{limit:.1}"), &self.limit_rtt_ns);
        let ratio =
            |of: fn(&Percentiles) -> u64| of(&self.rtt_ns) as f64 / of(&self.limit_rtt_ns).max(1) as f64;
        let _ = writeln!(
            out,
            "{:<10}{:>10.2}{:>9.2}{:>9.2}{:>9.2}{:>9.2}   repetitions {:.2} to {:.2}",
            "ratio",
            self.ratio,
            self.rtt_ns.mean / self.limit_rtt_ns.mean,
            ratio(|p| p.p50),
            ratio(|p| p.p90),
            ratio(|p| p.p99),
            self.ratio_range.0,
            self.ratio_range.1
        );
        out + &self.judgement.line()
    }
}

impl ThroughputReport {
    /// The table.
    pub fn table(&self) -> String {
        let (kind, bytes) = (self.kind.name(), self.payload_bytes);
        let mut out = format!(
            "{kind}, {bytes} B, {} x {}, batches of {}, waiting by {}; {} events, {} repetitions\n",
            self.producers,
            self.consumers,
            self.batch,
            self.wait.name(),
            self.samples,
            self.repetitions
        );
        out += &self.setting.lines();
        let _ = writeln!(
            out,
            "pages    {}; ring {} KiB; copy limit: {}",
            self.pages,
            self.capacity_bytes / 1024,
            self.copy_limit.pages
        );
        out += &bins_line(&self.bins, &self.overall);
        let _ = writeln!(out, "\n{:<12}{:>14}{:>12}", "", "M events/s", "GB/s");
        let rows = [
            ("channel", self.events_per_second, self.bytes_per_second),
            ("copy limit", self.copy_limit.events_per_second, self.copy_limit.bytes_per_second),
        ];
        for (name, events, bytes) in rows {
            let _ = writeln!(out, "{name:<12}{:>14.2}{:>12.3}", events / 1e6, bytes / 1e9);
        }
        let (low, high) = self.ratio_range;
        let _ = writeln!(out, "{:<12}{:>14.2}   repetitions {low:.2} to {high:.2}", "ratio", self.ratio);
        out + &self.judgement.line()
    }
}

impl JitterReport {
    /// The table.
    pub fn table(&self) -> String {
        let mut out = format!("gaps of at least {} ns\n{}\n", self.threshold_ns, self.setting.lines());
        out += &percentile_header("ns");
        for core in &self.watched {
            out += &percentile_row(&format!("core {}", core.core), "", &core.gap_ns);
        }
        out.push('\n');
        for core in &self.watched {
            let longest: Vec<String> = core
                .longest
                .iter()
                .map(|gap| format!("{:.0} us at {:.3} s", gap.gap_ns / 1e3, gap.at_ns / 1e9))
                .collect();
            let _ = writeln!(
                out,
                "core {}: {} gaps ({:.0}/s), {:.3} % of the time; longest: {}",
                core.core,
                core.gaps,
                core.gaps_per_second,
                core.taken_share * 100.0,
                if longest.is_empty() { "none".to_string() } else { longest.join(", ") }
            );
        }
        out
    }
}
