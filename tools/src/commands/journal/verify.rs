//! `railbus journal verify`: reads everything, checks every checksum, and reports the contents.
//!
//! Recovery itself makes the judgement ([`railbus_log::recover::examine`]). So the next writer cuts
//! off exactly the part that is called torn here, and refuses exactly the blocks that are called
//! corrupt.

use std::path::{Path, PathBuf};

use railbus::Error;
use railbus::journal::{Item, Journal, Seek};
use railbus_log::disk::files::{Files, segment_name};
use railbus_log::recover::{self as recovery, Checks, Corruption, Report};
use railbus_os::pages::bytes_text;
use serde_json::{Value, json};

use super::print::tell_truncated;
use crate::failure::Outcome;
use crate::output::{print, print_json};
use crate::units::exact_time;

const EXAMPLES: &str = "\
Examples:
  railbus journal verify JOURNAL/demo/ticks
  railbus journal verify JOURNAL/demo/ticks --json | jq .durable_position

Exit code 5 when something is corrupt: damaged though it had been durable. A torn tail, which is what a crash leaves, is \
not corrupt: it is counted in torn_bytes, and the next writer cuts it off. While a writer is at work, torn_bytes is what \
it is writing at the moment.";

/// Check a journal: every checksum, the chain, the positions
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// The journal's directory, JOURNAL/BUS/CHANNEL
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Verifies.
pub(crate) fn run(args: &VerifyArgs) -> Outcome {
    let directory = &args.directory;
    // Fails if this is no journal.
    let journal = Journal::open(directory);
    if let Err(error @ (Error::NoJournal { .. } | Error::Invalid { .. } | Error::NotAllowed { .. })) = journal
    {
        return Err(error.into());
    }
    let files = Files::open(directory)?;
    let mut report = recovery::examine(&files, directory, Checks::FULL)?;
    while let Some(first) = report.corrupt {
        // Beside a writer, a block may have been read before it was there, and a later one that
        // refers to it after. A corrupt block stays corrupt.
        report = recovery::examine(&files, directory, Checks::FULL)?;
        if report.corrupt.is_none_or(|again| (again.segment, again.offset) == (first.segment, first.offset)) {
            break;
        }
    }
    // Blocks that recovery would throw away unread, because no block vouches for them, may still be
    // wanted.
    let journal = match journal {
        Err(error) if report.corrupt.is_none() => return Err(error.into()),
        journal => journal,
    };
    if let Ok(journal) = &journal {
        tell_truncated(journal)?;
    }
    let (events, last) = journal.and_then(|journal| ends(&journal, &report)).unwrap_or((report.events, None));
    if args.json {
        print_json(&object(directory, &report, events, last))?;
    } else {
        print(&text(&report, events))?;
    }
    match report.corrupt {
        None => Ok(()),
        Some(corruption) => Err(recovery::corrupt(directory, &corruption).into()),
    }
}

/// How many events can be read, and the position of the last.
fn ends(journal: &Journal, report: &Report) -> Result<(u64, Option<u64>), Error> {
    let pruned = journal.first_block()?.map_or(0, |first| first.events_before);
    let events = report.events.saturating_sub(pruned).saturating_sub(report.quarantined_events);
    let mut last = None;
    if events > 0 {
        let mut reader = journal.events(Seek::Event(report.events - 1))?;
        while let Some(item) = reader.next_event()? {
            if let Item::Event(event) = item {
                last = Some(event.position);
                break;
            }
        }
    }
    Ok((events, last))
}

fn object(directory: &Path, report: &Report, events: u64, last: Option<u64>) -> Value {
    let corrupt: Vec<Value> = report.corrupt.iter().map(corruption).collect();
    json!({
        "journal": directory.display().to_string(),
        "segments": report.segments,
        "events": events,
        "bytes": report.bytes,
        "gaps": report.gaps,
        "first_position": report.first_position,
        "first_time_ns": report.first_time_ns,
        "first_time": exact_time(report.first_time_ns),
        "last_position": last,
        "last_time_ns": report.last_time_ns,
        "last_time": exact_time(report.last_time_ns),
        "end_position": report.end_position,
        "durable_position": report.durable_position,
        "torn_bytes": report.torn_bytes,
        "corrupt": corrupt,
    })
}

fn corruption(corruption: &Corruption) -> Value {
    json!({
        "segment": corruption.segment,
        "file": segment_name(corruption.segment),
        "offset": corruption.offset,
        "position": corruption.position,
        "durable_position": corruption.durable_position,
        "why": corruption.flaw.to_string(),
        "lost": corruption.lost.map(|lost| json!({
            "first_segment": lost.segments.0,
            "segments": lost.segments.1,
            "from": lost.from,
            "to": lost.to,
            "events": lost.events,
        })),
    })
}

fn text(report: &Report, events: u64) -> String {
    let mut text = format!(
        "{events} events in {} segments, {} of blocks: positions {} up to {}, durable up to {}\n",
        report.segments,
        bytes_text(report.bytes),
        report.first_position,
        report.end_position,
        report.durable_position.min(report.end_position),
    );
    if report.gaps > 0 {
        text.push_str(&format!("{} recorded gaps\n", report.gaps));
    }
    if report.torn_bytes > 0 {
        text.push_str(&format!(
            "{} behind the end are torn, or being written\n",
            bytes_text(report.torn_bytes)
        ));
    }
    text
}
