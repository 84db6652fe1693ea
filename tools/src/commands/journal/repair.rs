//! `railbus journal repair`: does now what the next writer would do anyway and, if asked, puts
//! corrupt segments aside.

use std::path::PathBuf;

use railbus::journal::Journal;
use railbus_log::disk::files::{Files, QUARANTINE, segment_name};
use railbus_log::disk::lock::PATIENCE;
use railbus_log::format::Gap;
use railbus_log::recover::{self as recovery, Bridge, Checks, Recovered, Repair, Report};
use railbus_os::clock::realtime_ns;
use serde_json::{Value, json};

use crate::confirm::ConfirmArgs;
use crate::failure::{Outcome, note};
use crate::output::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  railbus journal repair JOURNAL/demo/ticks                cuts a torn tail off
  railbus journal repair JOURNAL/demo/ticks --quarantine   and puts aside what is corrupt

  railbus journal repair JOURNAL/demo/ticks --quarantine --dry-run

Nobody needs this for a torn tail: the next writer cuts it off itself. Corruption (damage to what had been durable) is \
never repaired unasked: without --quarantine nothing is changed, the place is named, and the exit code is 5. With it, \
damaged bytes are copied to the directory quarantine, and a gap is recorded in their place: what is sound behind them in \
the same segment, and in later ones, stays. Where nothing sound is behind them in their segment, it ends there, later \
segments move to quarantine, and the gap reaches to the end of all that is known. On a terminal it asks before. Their bytes are kept, so a script needs no --yes.";

/// Cut a torn tail off, and put corrupt segments aside
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JournalRepairArgs {
    /// The journal's directory, JOURNAL/BUS/CHANNEL
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Put damaged segments aside; a gap is recorded in their place
    #[arg(long)]
    quarantine: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Repairs.
pub(crate) fn run(args: &JournalRepairArgs) -> Outcome {
    let directory = &args.directory;
    if !args.quarantine {
        // Recovery throws away blocks that nothing vouches for, so a person is shown first what
        // they are.
        Journal::open(directory)?;
    }
    let files = Files::open(directory)?;
    if args.confirm.dry_run {
        return would(args, &recovery::examine(&files, directory, Checks::FULL)?);
    }
    if args.quarantine {
        let report = recovery::examine(&files, directory, Checks::FULL)?;
        if report.corrupt.is_some() {
            args.confirm.ask_at_terminal(|| Ok(would_text(args, &report)))?;
        }
    }
    let _lock = files.lock(PATIENCE)?;
    let repaired = if args.quarantine {
        recovery::repair(&files, directory, realtime_ns())?
    } else {
        // A writer checks the newest segment and the blocks that vouch for the others. Here
        // everything is checked.
        if let Some(corruption) = recovery::examine(&files, directory, Checks::FULL)?.corrupt {
            return Err(recovery::corrupt(directory, &corruption).into());
        }
        Repair::default()
    };
    let recovered = recovery::recover(&files, directory)?;
    if args.json {
        return print_json(&json!({
            "journal": directory.display().to_string(),
            "dry_run": false,
            "bridged": repaired.bridges.iter().map(bridge_object).collect::<Vec<_>>(),
            "made": repaired.made,
            "quarantined": repaired.quarantined,
            "shortened": repaired.shortened,
            "gap": repaired.gap.map(gap_object),
            "cut_from": recovered.cut.map(|cut| cut.from),
            "torn_bytes": recovered.torn_bytes,
            "end_position": recovered.end_position,
            "events": recovered.events,
        }));
    }
    print(&text(&repaired, &recovered))?;
    if recovered.cut.is_some_and(|cut| cut.may_be_acknowledged) {
        note("what was cut may include events that were acknowledged, if the disk lost what it had promised");
    }
    Ok(())
}

/// Prints what a repair would do. Nothing is locked or changed.
fn would(args: &JournalRepairArgs, report: &Report) -> Outcome {
    match &report.corrupt {
        Some(corruption) if !args.quarantine || corruption.flaw.is_of_another_version() => {
            Err(recovery::corrupt(&args.directory, corruption).into())
        }
        _ if args.json => print_json(&json!({
            "journal": args.directory.display().to_string(),
            "dry_run": true,
            "quarantined_from": report.corrupt.map(|corruption| corruption.segment),
            "corrupt_position": report.corrupt.map(|corruption| corruption.position),
            "cut_from": report.cut.map(|cut| cut.from),
            "torn_bytes": report.torn_bytes,
            "end_position": report.end_position,
        })),
        _ => print(&would_text(args, report)),
    }
}

fn would_text(args: &JournalRepairArgs, report: &Report) -> String {
    let directory = args.directory.display();
    match (&report.corrupt, report.cut) {
        (Some(corruption), _) => format!(
            "{directory}: what is damaged behind position {} in {}{} would be copied to {QUARANTINE}, and a gap recorded in \
             its place; where nothing sound is behind it, later segments would move there, too\n",
            corruption.position,
            segment_name(corruption.segment),
            corruption.lost.map(|lost| lost.to_string()).unwrap_or_default()
        ),
        (None, Some(cut)) => format!(
            "{directory}: it would be cut at position {}, {} B behind it are torn\n",
            cut.from, report.torn_bytes
        ),
        (None, None) => format!("{directory}: it is sound up to position {}\n", report.end_position),
    }
}

/// A number of events, if it is known.
fn known(events: u64) -> Option<u64> {
    Some(events).filter(|&events| events != u64::MAX)
}

fn gap_object(gap: Gap) -> Value {
    json!({ "from": gap.from, "to": gap.to, "events": known(gap.events) })
}

fn bridge_object(bridge: &Bridge) -> Value {
    json!({
        "segment": bridge.segment,
        "offset": bridge.offset,
        "bytes": bridge.bytes,
        "gap": bridge.gap.map(gap_object),
    })
}

fn gap_text(gap: &Gap) -> String {
    let events = known(gap.events).map_or_else(|| "some".to_owned(), |events| events.to_string());
    format!("{events} events, positions {} up to {}", gap.from, gap.to)
}

fn bridge_text(bridge: &Bridge, made: bool) -> String {
    let name = segment_name(bridge.segment);
    let Bridge { bytes, offset, .. } = bridge;
    match (&bridge.gap, made) {
        (Some(gap), true) => {
            format!("{name} was gone; it was made again, with a gap in its place: {}\n", gap_text(gap))
        }
        (None, true) => format!("{name} was gone; it was made again, behind the gap, and holds nothing\n"),
        (Some(gap), false) => format!(
            "{name}: {bytes} B at offset {offset} are in {QUARANTINE} now, and a gap in their place: {}\n",
            gap_text(gap)
        ),
        (None, false) => format!(
            "{name}: {bytes} B at offset {offset} are in {QUARANTINE} now; they were written again, and nothing is missing\n"
        ),
    }
}

fn text(repaired: &Repair, recovered: &Recovered) -> String {
    let mut text = String::new();
    for bridge in &repaired.bridges {
        text.push_str(&bridge_text(bridge, repaired.made.contains(&bridge.segment)));
    }
    for &segment in &repaired.quarantined {
        text.push_str(&format!("{} is in {QUARANTINE} now\n", segment_name(segment)));
    }
    if let Some(segment) = repaired.shortened {
        text.push_str(&format!("{} ends before its corrupt place now\n", segment_name(segment)));
    }
    if let Some(gap) = repaired.gap {
        text.push_str(&format!("a gap is recorded: {}\n", gap_text(&gap)));
    }
    if let Some(cut) = recovered.cut {
        text.push_str(&format!(
            "cut at position {}, {} B behind it were torn\n",
            cut.from, recovered.torn_bytes
        ));
    }
    text.push_str(&format!("the journal is sound up to position {}\n", recovered.end_position));
    text
}
