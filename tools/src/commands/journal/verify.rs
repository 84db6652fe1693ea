//! `railbus journal verify`: reads everything, checks every checksum, and says what is there.

use crate::failure::{Failure, Outcome};
use crate::output::{print, print_json};
use crate::progress::Progress;
use railbus::Error;
use railbus::journal::{Item, Journal, Seek};
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  railbus journal verify JOURNAL/demo/ticks
  railbus journal verify JOURNAL/demo/ticks --json | jq .durable_position

Exit code 5 when something is corrupt: damaged though it had been durable. A torn tail, which is what a crash leaves, is \
not corrupt: it is counted in torn_bytes, and the next writer cuts it off.";

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
    let journal = Journal::open(&args.directory)?;
    let mut reader = journal.events(Seek::Beginning)?;
    let mut progress = Progress::begin(!args.json, None);
    let (mut events, mut bytes, mut first, mut last) = (0u64, 0u64, None, None);
    let mut corrupt = Vec::new();
    loop {
        match reader.next_event() {
            Ok(None) => break,
            Ok(Some(Item::Event(event))) => {
                events += 1;
                bytes += event.payload().len() as u64;
                first.get_or_insert(event.position);
                last = Some(event.position);
                progress.count(1, event.body.len() as u64);
            }
            Ok(Some(_)) => {}
            Err(Error::Corrupt { what, why }) => {
                corrupt.push(json!({ "what": what, "why": why }));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    drop(progress);
    let durable = reader.durable_position();
    if args.json {
        print_json(&json!({
            "journal": args.directory.display().to_string(),
            "events": events,
            "bytes": bytes,
            "first_position": first,
            "last_position": last,
            "end_position": reader.position(),
            "durable_position": durable,
            "torn_bytes": 0,
            "corrupt": corrupt,
        }))?;
    } else {
        print(&format!("{events} events, {bytes} B of payload, durable up to position {durable}\n"))?;
    }
    match corrupt.first() {
        None => Ok(()),
        Some(first) => Err(Failure::Told { text: first.to_string(), code: 5 }),
    }
}
