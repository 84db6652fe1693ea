//! `railbus journal prune`: removes the oldest segments.

use std::path::PathBuf;

use railbus::Error;
use railbus::internal::checkpoint;
use railbus::journal::{Journal, SegmentInfo, Until};
use railbus_log::disk::files::Files;
use railbus_log::disk::store::Store;
use railbus_log::recover as recovery;
use railbus_os::pages::bytes_text;
use serde_json::json;

use super::when::parse_until;
use crate::confirm::ConfirmArgs;
use crate::failure::{Outcome, note};
use crate::output::{print, print_json};
use crate::units::parse_bytes;

const EXAMPLES: &str = "\
Examples:
  railbus journal prune JOURNAL/demo/ticks --before -7d --dry-run
  railbus journal prune JOURNAL/demo/ticks --before 2026-01-01
  railbus journal prune JOURNAL/demo/ticks --keep 10GiB

Only whole segments go, oldest first, and only those that hold nothing that is to be kept. The newest two stay in any \
case, and what a power cut would need: segments go only when the files say that the next one is durable, with every \
state (cursors, acknowledgements) that the journal has. So this may be done beside a writer (which does the same by its \
own retention). What a consumer with a checkpoint has still to read stays, too, unless --ignore-checkpoints is given; \
then this asks before it removes that.";

/// Remove the oldest segments of a journal
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct JournalPruneArgs {
    /// The journal's directory, JOURNAL/BUS/CHANNEL
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Segments before this place may go: a position or a time (see `railbus journal cat --help`)
    #[arg(long, value_name = "WHERE", group = "what", value_parser = parse_until, allow_hyphen_values = true)]
    before: Option<Until>,
    /// Keep at most so many bytes of segments
    #[arg(long, value_name = "SIZE", group = "what", value_parser = parse_bytes)]
    keep: Option<u64>,
    /// Remove also events that consumers with a checkpoint have not read yet
    #[arg(long)]
    ignore_checkpoints: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prunes.
pub(crate) fn run(args: &JournalPruneArgs) -> Outcome {
    let journal = Journal::open(&args.directory)?;
    let segments = journal.segments()?;
    let wanted = args.doomed(&segments, u64::MAX);
    let checkpoints = checkpoint::positions(&journal)?;
    let behind = checkpoints.iter().min_by_key(|(_, position)| *position);
    let position = behind.map_or(u64::MAX, |(_, position)| *position);
    let read = args.doomed(&segments, position);
    let unread = behind.filter(|_| read.len() < wanted.len());
    let (doomed, kept_for, upto) =
        if args.ignore_checkpoints { (wanted, None, u64::MAX) } else { (read, unread, position) };
    let files = Files::open(&args.directory)?;
    let needed = doomed.len();
    let doomed = &doomed[..recovery::prunable(&files, &args.directory, doomed.len(), upto)?];
    let needed = needed - doomed.len();
    if let Some((name, position)) = unread
        && doomed.len() > read.len()
        && !args.confirm.dry_run
    {
        args.confirm.ask(|| {
            Ok(format!(
                "{} segments would go, of which the consumer with checkpoint {name} at position {position} has still to \
                 read {}\n",
                doomed.len(),
                doomed.len() - read.len()
            ))
        })?;
    }
    if !args.confirm.dry_run {
        for segment in doomed {
            let number = segment.header.number;
            match files.remove(number) {
                // The journaller's retention has removed it already.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(|error| Error::io("remove", &segment.path, error))?,
            }
        }
    }
    let bytes: u64 = doomed.iter().map(|segment| segment.file_bytes).sum();
    let first = segments[doomed.len()..].iter().find_map(|segment| segment.first);
    if args.json {
        let numbers: Vec<u64> = doomed.iter().map(|segment| segment.header.number).collect();
        return print_json(&json!({
            "removed": numbers,
            "bytes": bytes,
            "dry_run": args.confirm.dry_run,
            "first_position": first.map(|block| block.first_position),
            "kept_for_checkpoint": kept_for.map(|(name, _)| name),
            "kept_for_a_crash": needed,
        }));
    }
    if let Some((name, position)) = kept_for {
        note(&format!(
            "{} segments stay: checkpoint {name} is at position {position} (--ignore-checkpoints removes them)",
            wanted.len() - doomed.len()
        ));
    }
    if needed > 0 {
        note(&format!(
            "{needed} segments stay: until later ones are known to be durable, a crash would need them"
        ));
    }
    let verb = if args.confirm.dry_run { "would go" } else { "removed" };
    print(&format!(
        "{} segments {verb}, {}; the journal begins at position {}\n",
        doomed.len(),
        bytes_text(bytes),
        first.map_or_else(|| "-".to_owned(), |block| block.first_position.to_string()),
    ))
}

impl JournalPruneArgs {
    /// The segments that may go: a prefix of the journal, before position `unread`.
    fn doomed<'a>(&self, segments: &'a [SegmentInfo], unread: u64) -> &'a [SegmentInfo] {
        // Segments in preparation do not count.
        let used = segments.iter().take_while(|segment| segment.first.is_some()).count();
        let mut left: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
        let mut count = 0;
        while count + 2 < used {
            let (segment, next) = (&segments[count], &segments[count + 1]);
            let is_old = self.before.is_some_and(|before| match (before, next.first) {
                (_, None) => false,
                (Until::Position(position), Some(next)) => next.first_position <= position,
                (Until::Time(time_ns), Some(next)) => next.base_time_ns <= time_ns,
            });
            let is_much = self.keep.is_some_and(|keep| left > keep);
            let is_read = next.first.is_some_and(|next| next.first_position <= unread);
            if segment.sealed_bytes.is_none() || !is_read || !(is_old || is_much) {
                break;
            }
            left -= segment.file_bytes;
            count += 1;
        }
        &segments[..count]
    }
}
