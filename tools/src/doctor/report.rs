//! The report: a verdict over all checks, as text for people and as one JSON object for scripts.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::check::{Check, Status, bytes_text, count_text};
use super::cpu_list::in_words;
use super::huge_pages::Pages;

/// Everything that is reported. Serialises to the object of `railbus doctor --json`.
#[derive(Debug, Serialize)]
pub(crate) struct DoctorReport {
    /// The worst status of all.
    pub(crate) status: Status,
    /// Every check, in the order of the text.
    pub(crate) checks: Vec<Check>,
    /// The verdict.
    pub(crate) summary: Summary,
}

/// The verdict, and how many checks it rests on.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    ok: usize,
    warn: usize,
    fail: usize,
    /// How many of the warnings are caused by missing information.
    cannot_tell: usize,
    /// The rung of the ladder that a channel would get now: hugetlbfs, collapsed, small or none.
    pages: &'static str,
    /// Size of its pages in bytes; 0 if no channel could be made.
    page_bytes: u64,
    /// The CPUs that were judged.
    cores: Vec<u32>,
    /// $RAILBUS_DIR.
    directory: String,
    /// The last line of the text.
    verdict: String,
}

impl DoctorReport {
    /// Sums `checks` up for channels in `directory` on `pages`, used from `cores`.
    pub(crate) fn new(checks: Vec<Check>, pages: &Pages, cores: &[u32], directory: String) -> DoctorReport {
        let count = |status: Status| checks.iter().filter(|check| check.status == status).count();
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
        let (name, page_bytes) = match pages {
            _ if status == Status::Fail => ("none", 0),
            Pages::Hugetlbfs { page_bytes, .. } => ("hugetlbfs", *page_bytes),
            Pages::Collapsed { page_bytes } => ("collapsed", *page_bytes),
            Pages::Small => ("small", 4096),
        };
        let summary = Summary {
            ok: count(Status::Ok),
            warn: count(Status::Warn),
            fail: count(Status::Fail),
            cannot_tell: checks.iter().filter(|check| check.cannot_tell).count(),
            pages: name,
            page_bytes,
            cores: cores.to_vec(),
            directory,
            verdict: verdict(&checks, pages, cores),
        };
        DoctorReport { status, checks, summary }
    }

    /// Writes the JSON object and a newline.
    pub(crate) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    /// Writes the text. With `verbose` the reason is given for OK conditions as well.
    pub(crate) fn write_text(&self, out: &mut dyn Write, verbose: bool) -> io::Result<()> {
        let width = self.checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
        let indent = " ".repeat(2 + 4 + 2);
        let mut group = "";
        for check in &self.checks {
            if check.group() != group {
                group = check.group();
                let bold = Style::new().bold();
                writeln!(out, "{bold}{}{bold:#}", group.replace('_', " "))?;
            }
            let (style, word) = look(check.status);
            writeln!(out, "  {style}{word:<4}{style:#}  {:<width$}  {}", check.id, check.found)?;
            if verbose || check.status != Status::Ok {
                let dim = Style::new().dimmed();
                writeln!(out, "{indent}{dim}why{dim:#}  {}", check.why)?;
            }
            if let Some(fix) = &check.fix {
                let dim = Style::new().dimmed();
                writeln!(out, "{indent}{dim}fix{dim:#}  {fix}")?;
            }
        }
        let Summary { ok, warn, fail, cannot_tell, .. } = &self.summary;
        writeln!(out, "\n{ok} OK, {warn} WARN ({cannot_tell} for want of information), {fail} FAIL")?;
        let (style, _) = look(self.status);
        writeln!(out, "{style}{}{style:#}", self.summary.verdict)
    }
}

/// Colour and word of a status.
fn look(status: Status) -> (Style, &'static str) {
    let (colour, word) = match status {
        Status::Ok => (AnsiColor::Green, "OK"),
        Status::Warn => (AnsiColor::Yellow, "WARN"),
        Status::Fail => (AnsiColor::Red, "FAIL"),
    };
    (colour.on_default().bold(), word)
}

/// Checks in the order of their cost to the tail of the latency; the first ones that warn are named
/// in the verdict.
const WORST_FIRST: [&str; 11] = [
    "cpu.allowed",
    "cpu.quota",
    "topology.smt",
    "topology.numa_cpus",
    "topology.level3",
    "virtualization.steal",
    "memory.swap",
    "cpu.isolated",
    "cpu.nohz_full",
    "power.governor",
    "virtualization.hypervisor",
];

/// One line: which pages a channel would get now, and the performance to expect.
fn verdict(checks: &[Check], pages: &Pages, cores: &[u32]) -> String {
    let of = |status: Status| checks.iter().filter(move |check| check.status == status);
    let failed: Vec<&str> = of(Status::Fail).map(|check| check.id).collect();
    if !failed.is_empty() {
        return format!("railbus does not work here until this is repaired: {}", failed.join(", "));
    }
    let pages = match pages {
        Pages::Hugetlbfs { page_bytes, free, point } => format!(
            "{} pages of hugetlbfs ({}, {} free)",
            bytes_text(*page_bytes),
            point,
            count_text(*free, "page")
        ),
        Pages::Collapsed { page_bytes } => {
            format!("{} pages (MADV_COLLAPSE, seen in smaps)", bytes_text(*page_bytes))
        }
        Pages::Small => "ordinary 4 KiB pages (more TLB misses with rings beyond some MiB)".into(),
    };
    let is_ok = |id: &str| checks.iter().any(|check| check.id == id && check.status == Status::Ok);
    let speed = if cores.len() < 2 {
        format!("with only CPU {} every event waits for a context switch, some us", in_words(cores))
    } else if is_ok("topology.level3") {
        format!("CPUs {} share a cache, so the median is near the hardware's limit", in_words(cores))
    } else if checks.iter().any(|check| check.id == "topology.level3" && check.cannot_tell) {
        format!("how near CPUs {} are to each other is not known", in_words(cores))
    } else {
        format!("CPUs {} share no cache, which costs a multiple of the best latency", in_words(cores))
    };
    let known: Vec<&str> =
        of(Status::Warn).filter(|check| !check.cannot_tell).map(|check| check.id).collect();
    let mut named: Vec<&str> = WORST_FIRST.into_iter().filter(|id| known.contains(id)).take(3).collect();
    if named.is_empty() {
        named.extend(known.first());
    }
    let tail = match known.len() {
        0 => "and nothing known stands in the way of even latencies".to_owned(),
        count => format!(
            "but expect a longer tail for {}, first of all {}",
            count_text(count as u64, "warning"),
            named.join(", ")
        ),
    };
    format!("A channel of 2 MiB or more made now gets {pages}; {speed}, {tail}.")
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckTopic;
    use super::*;

    const LEVEL3: CheckTopic = CheckTopic { id: "topology.level3", why: "It is near." };
    const LOCKS: CheckTopic = CheckTopic { id: "storage.locks", why: "Death needs proof." };
    const SOURCE: CheckTopic = CheckTopic { id: "clock.source", why: "Time matters." };
    const COLLAPSED: Pages = Pages::Collapsed { page_bytes: 2 << 20 };

    fn text(report: &DoctorReport, verbose: bool) -> String {
        let mut bytes = Vec::new();
        report.write_text(&mut bytes, verbose).expect("a buffer takes everything");
        anstream::adapter::strip_str(&String::from_utf8(bytes).expect("text")).to_string()
    }

    #[test]
    fn the_worst_status_and_the_counts_are_summed_up() {
        let checks =
            vec![LEVEL3.ok("shared"), SOURCE.unknown("no file", "look"), LOCKS.fail("broken", "move")];
        let report = DoctorReport::new(checks, &COLLAPSED, &[0, 1], "/dev/shm/railbus".into());
        let json = serde_json::to_value(&report).expect("it serialises");
        assert_eq!(json["status"], "FAIL");
        assert_eq!((&json["summary"]["cannot_tell"], &json["summary"]["pages"]), (&1.into(), &"none".into()));
        assert!(text(&report, false).ends_with("until this is repaired: storage.locks\n"));
    }

    #[test]
    fn the_verdict_names_pages_and_speed() {
        let near = DoctorReport::new(vec![LEVEL3.ok("shared")], &COLLAPSED, &[0, 1], String::new());
        assert!(near.summary.verdict.contains("2 MiB pages (MADV_COLLAPSE"), "{}", near.summary.verdict);
        assert!(near.summary.verdict.contains("CPUs 0 and 1 share a cache"));
        let far =
            DoctorReport::new(vec![LEVEL3.warn("apart", "move")], &Pages::Small, &[0, 9], String::new());
        assert!(
            far.summary.verdict.contains("4 KiB pages") && far.summary.verdict.contains("1 warning, first")
        );
        let alone = DoctorReport::new(vec![], &Pages::Small, &[0], String::new());
        assert!(alone.summary.verdict.contains("context switch"));
        let pool = Pages::Hugetlbfs { page_bytes: 1 << 30, free: 1, point: "/h".into() };
        let reserved = DoctorReport::new(vec![], &pool, &[0, 1], String::new());
        assert!(reserved.summary.verdict.contains("1 GiB pages of hugetlbfs (/h, 1 page free)"));
    }

    #[test]
    fn the_text_gives_reasons_and_fixes_where_they_are_needed() {
        let checks = vec![LEVEL3.ok("shared"), SOURCE.warn("hpet", "echo tsc")];
        let report = DoctorReport::new(checks, &COLLAPSED, &[0, 1], String::new());
        let short = text(&report, false);
        assert!(short.contains("fix  echo tsc") && short.contains("why  Time matters."), "{short}");
        assert!(!short.contains("It is near."));
        assert!(text(&report, true).contains("It is near."));
        assert!(short.contains("  OK    topology.level3  shared\n"), "{short}");
    }
}
