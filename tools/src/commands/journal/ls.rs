//! `railbus journal ls`: the journals below a directory, a line each.

use std::path::{Path, PathBuf};

use railbus::Error;
use railbus::journal::{Extent, Journal};
use railbus_log::disk::files::Files;
use railbus_os::pages::bytes_text;
use serde_json::{Value, json};

use crate::commands::ls::align;
use crate::failure::Outcome;
use crate::output::{print, print_json};
use crate::units::{date_text, exact_time};

const EXAMPLES: &str = "\
Examples:
  railbus journal ls JOURNAL
  railbus journal ls JOURNAL --json | jq -r '.journals[] | select(.writer == null) | .channel'

A name with ~ and eight digits is that of a channel that was removed and made again.";

/// List the journals of a directory: kind, events, size, until when, who writes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JournalLsArgs {
    /// The directory of all journals
    #[arg(value_name = "JOURNAL")]
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A row about a journal.
struct JournalRow {
    channel: String,
    found: Result<FoundJournal, Error>,
}

struct FoundJournal {
    kind: String,
    segments: usize,
    file_bytes: u64,
    extent: Option<Extent>,
    writer: Option<String>,
}

/// Lists.
pub(crate) fn run(args: &JournalLsArgs) -> Outcome {
    let mut rows = Vec::new();
    for bus in directories(&args.directory)? {
        // An entry of a bus's directory that cannot be listed is no journal of ours.
        for channel in directories(&args.directory.join(&bus)).unwrap_or_default() {
            let directory = args.directory.join(&bus).join(&channel);
            match find(&directory) {
                Err(Error::NoJournal { .. }) => {}
                found => rows.push(JournalRow { channel: format!("{bus}/{channel}"), found }),
            }
        }
    }
    if args.json {
        let journals: Vec<Value> = rows.iter().map(object).collect();
        return print_json(
            &json!({ "directory": args.directory.display().to_string(), "journals": journals }),
        );
    }
    if rows.is_empty() {
        return print(&format!("no journals in {}\n", args.directory.display()));
    }
    print(&table(&rows))
}

/// The names of the directories in a directory, sorted.
fn directories(directory: &Path) -> Result<Vec<String>, Error> {
    let fail = |error| Error::io("list", directory, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

fn find(directory: &Path) -> Result<FoundJournal, Error> {
    let journal = Journal::open(directory)?;
    let segments = journal.segments()?;
    Ok(FoundJournal {
        kind: journal.channel().kind.to_string(),
        segments: segments.len(),
        file_bytes: segments.iter().map(|segment| segment.file_bytes).sum(),
        extent: journal.extent()?,
        writer: Files::open(directory)?.writer().map_err(|error| Error::io("ask", directory, error))?,
    })
}

fn object(row: &JournalRow) -> Value {
    let found = match &row.found {
        Ok(found) => found,
        Err(error) => return json!({ "channel": row.channel, "error": error.to_string() }),
    };
    json!({
        "channel": row.channel,
        "kind": found.kind,
        "segments": found.segments,
        "file_bytes": found.file_bytes,
        "events": found.extent.map(|extent| extent.events_end - extent.events_before),
        "first_position": found.extent.map(|extent| extent.first_position),
        "end_position": found.extent.map(|extent| extent.end_position),
        "first_time_ns": found.extent.map(|extent| extent.first_time_ns),
        "first_time": found.extent.map(|extent| exact_time(extent.first_time_ns)),
        "last_time_ns": found.extent.map(|extent| extent.last_time_ns),
        "last_time": found.extent.map(|extent| exact_time(extent.last_time_ns)),
        "writer": found.writer,
    })
}

fn table(rows: &[JournalRow]) -> String {
    let heads = ["CHANNEL", "KIND", "EVENTS", "FILES", "SIZE", "LAST", "WRITER"];
    let mut cells: Vec<[String; 7]> = vec![heads.map(str::to_owned)];
    for JournalRow { channel, found } in rows {
        cells.push(match found {
            Err(error) => {
                let mut cells: [String; 7] = Default::default();
                cells[0].clone_from(channel);
                cells[6] = error.to_string();
                cells
            }
            Ok(found) => [
                channel.clone(),
                found.kind.clone(),
                found.extent.map_or(0, |extent| extent.events_end - extent.events_before).to_string(),
                found.segments.to_string(),
                bytes_text(found.file_bytes),
                found.extent.map_or_else(|| "-".to_owned(), |extent| date_text(extent.last_time_ns)),
                found.writer.clone().unwrap_or_else(|| "-".to_owned()),
            ],
        });
    }
    align(&cells)
}
