//! `railbus watch-key`: prints the keys of a table as they change.

use std::time::{Duration, Instant};

use railbus::{ChannelName, Error, Key, TableError, TableOptions};

use crate::commands::keys::{KeyForm, print_key, table_failed};
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::open::{self, OwnerArgs};
use crate::units::parse_time;

const EXAMPLES: &str = "\
Examples:
  railbus watch-key demo/state                  a line for each key that has a value, then for each change
  railbus watch-key demo/state bid ask --json   of these keys only, as JSON with the value in base64
  railbus watch-key demo/state bid -n 1         the value that there is, or the next one

Of several changes of a key between two looks, the last is printed: there is no queue, and a slow terminal holds \
nobody up.";

/// Print the keys of a table, and again each time that they change
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchKeyArgs {
    /// The table, as BUS/CHANNEL
    channel: ChannelName,
    /// The keys [default: all]
    keys: Vec<String>,
    #[command(flatten)]
    sort: KeyForm,
    /// Do not print what is there at the start
    #[arg(long)]
    changes_only: bool,
    /// End after this many lines
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// End with exit code 8 after this long without a line
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// A name for observers
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Print a JSON object for each change
    #[arg(long)]
    json: bool,
}

/// Prints changes until it is asked to end.
pub(crate) fn run(args: &WatchKeyArgs) -> Outcome {
    let wanted: Vec<Key> = args.keys.iter().map(|word| args.sort.key(word)).collect::<Result<_, _>>()?;
    let channel = open::channel_of(&args.channel, args.owner)?;
    let mut reader = channel.table_reader(&TableOptions::default().name(args.name.as_str()))?;
    let failed = |error| table_failed(&args.channel, error);
    interrupt::catch();
    if args.changes_only {
        while reader.next_change().map_err(failed)?.is_some() {}
    }
    let mut printed = 0;
    let mut last = Instant::now();
    while !interrupt::is_asked() && args.count.is_none_or(|count| printed < count) {
        let patience = args.timeout.map_or(interrupt::LOOK_EVERY, |t| t.min(interrupt::LOOK_EVERY));
        match reader.wait_next_change(Some(patience)) {
            Ok(change) if wanted.is_empty() || wanted.contains(&change.key) => {
                print_key(args.json, &change.key, change.version, change.value)?;
                printed += 1;
                last = Instant::now();
            }
            Ok(_) => {}
            Err(TableError::TimedOut) => refuse_to_wait(args, last)?,
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn refuse_to_wait(args: &WatchKeyArgs, last: Instant) -> Result<(), Failure> {
    match args.timeout.filter(|&timeout| last.elapsed() >= timeout) {
        Some(timeout) => {
            let what = format!("a change of {}", args.channel);
            Err(Error::TimedOut { what, after_ms: timeout.as_millis() as u64 }.into())
        }
        None => Ok(()),
    }
}
