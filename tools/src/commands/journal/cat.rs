//! `railbus journal cat`: the events of a journal on standard output.

use std::io::IsTerminal;

use railbus::journal::Speed;

use super::SelectionArgs;
use super::print::ItemPrinter;
use crate::failure::Outcome;
use crate::framing::Print;
use crate::interrupt;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  railbus journal cat JOURNAL/demo/ticks                       each payload with a line end
  railbus journal cat JOURNAL/demo/ticks --json | jq .position
  railbus journal cat JOURNAL/demo/ticks --raw --from 81920 -n 10
  railbus journal cat JOURNAL/demo/ticks --from -10m --type 7

JSON: one object a line with position, time_ns (when it was recorded), type_id, flags and payload (base64). A gap \
is an object with gap (why), from, to and events; in the other forms it is reported on stderr.";

/// Print a journal's events
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    form: FormArgs,
    /// No progress on the terminal
    #[arg(short, long)]
    quiet: bool,
}

/// How items are printed.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(crate) struct FormArgs {
    /// Each payload with a line end (the default)
    #[arg(long)]
    lines: bool,
    /// The payloads and nothing else
    #[arg(long)]
    raw: bool,
    /// Each payload behind its length, a 32-bit little-endian integer
    #[arg(long)]
    length_prefixed: bool,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
}

impl FormArgs {
    pub(crate) fn print(&self) -> Print {
        match self {
            FormArgs { json: true, .. } => Print::Json,
            FormArgs { raw: true, .. } => Print::Raw,
            FormArgs { length_prefixed: true, .. } => Print::LengthPrefixed,
            _ => Print::Lines,
        }
    }
}

/// Prints.
pub(crate) fn run(args: &CatArgs) -> Outcome {
    let (_, mut replay) = args.selection.replay(Speed::Max, false)?;
    let mut printer = ItemPrinter::new(args.form.print());
    let mut progress = Progress::begin(!args.quiet && !std::io::stdout().is_terminal(), None);
    let most = args.selection.count.unwrap_or(u64::MAX);
    interrupt::catch();
    let outcome = loop {
        if printer.events() >= most || interrupt::is_asked() {
            break Ok(());
        }
        match replay.next_due() {
            Ok(Some(due)) => printer.item(&due.item, &mut progress)?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    // Items that came before an error are printed, too.
    printer.flush()?;
    outcome
}
