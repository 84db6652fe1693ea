//! `railbus journal tail`: the last events and, with `-f`, those that follow.

use std::path::PathBuf;
use std::time::Duration;

use railbus::journal::{Journal, Seek};

use super::cat::FormArgs;
use super::print::{ItemPrinter, tell_truncated};
use crate::failure::Outcome;
use crate::interrupt;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  railbus journal tail JOURNAL/demo/ticks              the last 10 events
  railbus journal tail JOURNAL/demo/ticks -f --json    and what comes, until Ctrl-C
  railbus journal tail JOURNAL/demo/ticks -n 0 -f

What is printed is in the journal's file; it may not be durable yet (see durable_position of `railbus journal info`).";

/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Print the last events of a journal, and follow it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TailArgs {
    /// The journal's directory, JOURNAL/BUS/CHANNEL
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How many of the last events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    count: u64,
    /// Go on with the events that follow
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    form: FormArgs,
}

/// Prints.
pub(crate) fn run(args: &TailArgs) -> Outcome {
    let journal = Journal::open(&args.directory)?;
    tell_truncated(&journal)?;
    let seek = match journal.extent()? {
        Some(extent) if args.count > 0 => Seek::Event(extent.events_end.saturating_sub(args.count)),
        Some(_) => Seek::End,
        None => Seek::Beginning,
    };
    let mut events = journal.events(seek)?;
    let mut printer = ItemPrinter::new(args.form.print());
    let mut progress = Progress::begin(false, None);
    let mut pause = Duration::from_millis(1);
    interrupt::catch();
    while !interrupt::is_asked() {
        match events.next_event() {
            Ok(Some(item)) => {
                printer.item(&item, &mut progress)?;
                pause = Duration::from_millis(1);
            }
            Ok(None) => {
                printer.flush()?;
                if !args.follow {
                    break;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) => {
                printer.flush()?;
                return Err(error.into());
            }
        }
    }
    printer.flush()
}
