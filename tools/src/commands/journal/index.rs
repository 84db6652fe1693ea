//! `railbus journal index`: makes the indexes that are missing.

use std::path::PathBuf;

use railbus::journal::Journal;
use railbus_log::segment::index::{self, Built};
use serde_json::json;

use crate::failure::Outcome;
use crate::output::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  railbus journal index JOURNAL/demo/ticks
  railbus journal index JOURNAL/demo/ticks --anew

An index makes seeks faster; without it the blocks themselves are searched. It is never trusted: what it names is \
checked, and a damaged one is passed over. Only sealed segments are indexed.";

/// Make the indexes of a journal's segments
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct IndexArgs {
    /// The journal's directory, JOURNAL/BUS/CHANNEL
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Also the indexes that exist already
    #[arg(long)]
    anew: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Indexes.
pub(crate) fn run(args: &IndexArgs) -> Outcome {
    let journal = Journal::open(&args.directory)?;
    let (mut written, mut present, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for segment in journal.segments()? {
        let number = segment.header.number;
        match index::build(&args.directory, number, args.anew)? {
            Built::Written => written.push(number),
            Built::Present => present.push(number),
            Built::NotSealed => open.push(number),
        }
    }
    if args.json {
        return print_json(&json!({ "written": written, "present": present, "not_sealed": open }));
    }
    print(&format!(
        "{} indexes written, {} were there, {} segments are not sealed yet\n",
        written.len(),
        present.len(),
        open.len()
    ))
}
