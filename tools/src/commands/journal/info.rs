//! `railbus journal info`: one journal, its channel and its segments.

use std::path::PathBuf;

use railbus::Error;
use railbus::journal::{Extent, Journal, SegmentInfo};
use railbus_log::disk::files::{Files, index_name};
use railbus_os::pages::bytes_text;
use serde_json::{Value, json};

use super::print::tell_truncated;
use crate::commands::ls::align;
use crate::failure::Outcome;
use crate::framing::hex;
use crate::output::{print, print_json};
use crate::units::{date_text, exact_time, time_text};

const EXAMPLES: &str = "\
Examples:
  railbus journal info JOURNAL/demo/ticks
  railbus journal info JOURNAL/demo/ticks --json | jq .durable_position

Reads the headers, not the events: `railbus journal verify` checks all, `railbus journal stats` counts.";

/// Show a journal: its channel, how far it goes, its segments
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JournalInfoArgs {
    /// The journal's directory, JOURNAL/BUS/CHANNEL
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows.
pub(crate) fn run(args: &JournalInfoArgs) -> Outcome {
    let directory = &args.directory;
    let journal = Journal::open(directory)?;
    let segments = journal.segments()?;
    tell_truncated(&journal)?;
    let extent = journal.extent()?;
    let writer = Files::open(directory)?.writer().map_err(|error| Error::io("ask", directory, error))?;
    if args.json {
        return print_json(&object(&journal, &segments, extent, writer));
    }
    print(&text(&journal, &segments, extent, writer))
}

fn object(
    journal: &Journal,
    segments: &[SegmentInfo],
    extent: Option<Extent>,
    writer: Option<String>,
) -> Value {
    let segment = |one: &SegmentInfo| {
        json!({
            "number": one.header.number,
            "file": one.path.display().to_string(),
            "file_bytes": one.file_bytes,
            "epoch": one.header.epoch,
            "incarnation": one.header.incarnation,
            "created_ns": one.header.created_ns,
            "created": exact_time(one.header.created_ns),
            "first_position": one.first.map(|block| block.first_position),
            "first_time_ns": one.first.map(|block| block.base_time_ns),
            "first_time": one.first.map(|block| exact_time(block.base_time_ns)),
            "events_before": one.first.map(|block| block.events_before),
            "sealed_bytes": one.sealed_bytes,
            "indexed": is_indexed(one),
        })
    };
    json!({
        "journal": journal.directory().display().to_string(),
        "channel": journal.channel().name,
        "kind": journal.channel().kind.to_string(),
        "channel_id": hex(&journal.channel().channel_id),
        "incarnation": journal.latest().incarnation,
        "epoch": journal.latest().epoch,
        "writer": writer,
        "events": extent.map(|extent| extent.events_end - extent.events_before),
        "events_before": extent.map(|extent| extent.events_before),
        "first_position": extent.map(|extent| extent.first_position),
        "end_position": extent.map(|extent| extent.end_position),
        "durable_position": extent.map(|extent| extent.durable_position),
        "first_time_ns": extent.map(|extent| extent.first_time_ns),
        "first_time": extent.map(|extent| exact_time(extent.first_time_ns)),
        "last_time_ns": extent.map(|extent| extent.last_time_ns),
        "last_time": extent.map(|extent| exact_time(extent.last_time_ns)),
        "sealed": extent.map(|extent| extent.is_sealed),
        "segments": segments.iter().map(segment).collect::<Vec<_>>(),
    })
}

fn is_indexed(segment: &SegmentInfo) -> bool {
    segment.path.with_file_name(index_name(segment.header.number)).exists()
}

fn text(
    journal: &Journal,
    segments: &[SegmentInfo],
    extent: Option<Extent>,
    writer: Option<String>,
) -> String {
    let channel = journal.channel();
    let mut text = format!(
        "{}: the {} {:?}, id {}, incarnation {}\n",
        journal.directory().display(),
        channel.kind,
        channel.name,
        hex(&channel.channel_id),
        journal.latest().incarnation,
    );
    match extent {
        None => text.push_str("nothing recorded yet\n"),
        Some(extent) => text.push_str(&format!(
            "{} events, positions {} up to {}, known to be durable up to {}\nfrom {} to {} ({}){}\n",
            extent.events_end - extent.events_before,
            extent.first_position,
            extent.end_position,
            extent.durable_position,
            date_text(extent.first_time_ns),
            date_text(extent.last_time_ns),
            time_text(extent.last_time_ns - extent.first_time_ns),
            if extent.is_sealed { ", ended in order" } else { "" },
        )),
    }
    match writer {
        Some(writer) => text.push_str(&format!("being written by {writer}\n")),
        None => text.push_str("nobody writes\n"),
    }
    let heads = ["SEGMENT", "SIZE", "EPOCH", "FROM", "SINCE", "STATE"];
    let mut cells: Vec<[String; 6]> = vec![heads.map(str::to_owned)];
    for one in segments {
        let state = match (one.first, one.sealed_bytes) {
            (None, _) => "prepared".to_owned(),
            (Some(_), None) => "open".to_owned(),
            (Some(_), Some(bytes)) => {
                let indexed = if is_indexed(one) { ", indexed" } else { "" };
                format!("sealed at {}{indexed}", bytes_text(bytes))
            }
        };
        cells.push([
            one.header.number.to_string(),
            bytes_text(one.file_bytes),
            one.header.epoch.to_string(),
            one.first.map_or_else(|| "-".to_owned(), |block| block.first_position.to_string()),
            one.first.map_or_else(|| "-".to_owned(), |block| date_text(block.base_time_ns)),
            state,
        ]);
    }
    text + &align(&cells)
}
