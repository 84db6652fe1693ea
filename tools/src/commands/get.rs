//! `railbus get` and `railbus dump`: the values of a table.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use railbus::{ChannelName, TableEntry, TableError, TableOptions};

use crate::commands::keys::{KeyForm, object_of, print_key, table_failed};
use crate::failure::{Failure, Outcome};
use crate::open::{self, OwnerArgs};
use crate::output::{EventOutput, print_json};
use crate::units::parse_time;

const EXAMPLES: &str = "\
Examples:
  railbus get demo/state bid                    the value, byte by byte
  railbus get demo/state bid --json             {\"key\":\"bid\",\"version\":7,\"value\":\"NDI=\",\"bytes\":2,\"text\":\"42\"}
  railbus get demo/state bid --wait 5s          waits until the key has a value; exit code 8 if it gets none

Exit code 3: the key has no value.";

/// Print the value of a key of a table
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// The table, as BUS/CHANNEL
    channel: ChannelName,
    /// The key
    key: String,
    #[command(flatten)]
    keys: KeyForm,
    /// If the key has no value, wait for one, at most this long
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    wait: Option<Duration>,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Print one JSON object, with the value in base64
    #[arg(long)]
    json: bool,
}

/// Prints one value.
pub(crate) fn run(args: &GetArgs) -> Outcome {
    let key = args.keys.key(&args.key)?;
    let channel = open::channel_of(&args.channel, args.owner)?;
    let mut reader = channel.table_reader(&TableOptions::default())?;
    let found = match args.wait {
        Some(patience) => reader.wait_change(key, None, Some(patience)),
        None => reader.get(key),
    };
    let Some(value) = found.map_err(|error| table_failed(&args.channel, error))? else {
        let text = format!("{}: key {:?} has no value; see `railbus dump {0}`", args.channel, args.key);
        return Err(Failure::Told { text, code: 3 });
    };
    if args.json {
        return print_json(&object_of(&key, value.version(), Some(value.bytes())));
    }
    let mut output = EventOutput::new();
    output.append(value.bytes())?;
    if stdout().is_terminal() {
        output.append(b"\n")?;
    }
    output.flush()
}

const DUMP_EXAMPLES: &str = "\
Examples:
  railbus dump demo/state                       a line for each key: key, version, value with escapes
  railbus dump demo/state --json                a JSON object for each key, the value in base64";

/// Print all keys of a table with their values
#[derive(Debug, clap::Args)]
#[command(after_help = DUMP_EXAMPLES)]
pub(crate) struct DumpArgs {
    /// The table, as BUS/CHANNEL
    channel: ChannelName,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Print a JSON object for each key
    #[arg(long)]
    json: bool,
}

/// Prints every value, sorted by key.
pub(crate) fn dump(args: &DumpArgs) -> Outcome {
    let channel = open::channel_of(&args.channel, args.owner)?;
    let mut reader = channel.table_reader(&TableOptions::default())?;
    let all: Result<Vec<TableEntry>, TableError> = reader.get_all();
    let mut all = all.map_err(|error| table_failed(&args.channel, error))?;
    // Numbers come first, in their order.
    all.sort_by(|a, b| {
        let order = |one: &TableEntry| (one.key.number().is_none(), one.key.number());
        (order(a), a.key.as_bytes()).cmp(&(order(b), b.key.as_bytes()))
    });
    for TableEntry { key, version, value, .. } in &all {
        print_key(args.json, key, *version, Some(value))?;
    }
    Ok(())
}
