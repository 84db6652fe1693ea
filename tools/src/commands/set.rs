//! `railbus set`: sets or deletes the value of a key of a table.

use std::io::Read;

use railbus::{ChannelName, Error, TableOptions};
use serde_json::json;

use crate::commands::keys::{KeyForm, table_failed};
use crate::failure::Outcome;
use crate::open::{self, OwnerArgs};
use crate::output::print_json;

const EXAMPLES: &str = "\
Examples:
  railbus create demo/state --kind table --keys 1024 --value-bytes 64
  railbus set demo/state bid 42                       the value is the two bytes 42
  railbus set demo/state config < config.json         all of standard input, byte by byte
  railbus set demo/state leader me --if-absent        only if the key has no value
  railbus set demo/state bid 43 --if-version 7        only if nobody has changed it since
  railbus set demo/state bid --delete

Exit code 1: the key is not as --if-absent or --if-version say; 6: all keys of the table are in use.";

/// Set the value of a key of a table: readers get the old value or the new one, whole
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SetArgs {
    /// The table, as BUS/CHANNEL
    channel: ChannelName,
    /// The key: 1 to 64 bytes
    key: String,
    /// The value [default: all of standard input]
    #[arg(conflicts_with = "delete", allow_hyphen_values = true)]
    value: Option<String>,
    /// Delete the key; it is no error if it has no value
    #[arg(long)]
    delete: bool,
    /// Only if the key has no value
    #[arg(long, conflicts_with_all = ["delete", "if_version"])]
    if_absent: bool,
    /// Only if the value has this version, as `railbus get --json` shows it
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    keys: KeyForm,
    /// A name for observers
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Print one JSON object with the new version
    #[arg(long)]
    json: bool,
}

/// Sets or deletes.
pub(crate) fn run(args: &SetArgs) -> Outcome {
    let key = args.keys.key(&args.key)?;
    let channel = open::channel_of(&args.channel, args.owner)?;
    let mut writer = channel.table_writer(&TableOptions::default().name(args.name.as_str()))?;
    let failed = |error| table_failed(&args.channel, error);
    let version = if args.delete {
        match args.if_version {
            Some(seen) => Some(writer.compare_and_delete(key, seen).map_err(failed)?),
            None => writer.delete(key).map_err(failed)?,
        }
    } else {
        let value = match &args.value {
            Some(value) => value.as_bytes().to_vec(),
            None => from_standard_input()?,
        };
        Some(if args.if_absent || args.if_version.is_some() {
            writer.compare_and_set(key, args.if_version, &value).map_err(failed)?
        } else {
            writer.set(key, &value).map_err(failed)?
        })
    };
    if args.json {
        return print_json(&json!({ "key": args.key, "version": version, "deleted": args.delete }));
    }
    Ok(())
}

fn from_standard_input() -> Result<Vec<u8>, Error> {
    let mut value = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut value);
    read.map_err(|error| Error::io("read", "standard input", error))?;
    Ok(value)
}
