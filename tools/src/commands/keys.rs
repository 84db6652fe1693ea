//! Shared by the commands for tables: keys on the command line, and keys and values in the output.

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use railbus::{ChannelName, Error, Key, TableError, ToKey};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Outcome};
use crate::output::{print, print_json};
use crate::units::whole;

/// How a key is written on the command line.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct KeyForm {
    /// Keys are numbers, 0 to 2^64 - 1, and not text
    #[arg(long)]
    numbers: bool,
}

impl KeyForm {
    /// The key of a word.
    pub(crate) fn key(self, word: &str) -> Result<Key, Failure> {
        if self.numbers {
            let number: u64 = word.parse().map_err(|_| {
                Failure::usage(format!("key {word:?}: with --numbers it must be a number below 2^64"))
            })?;
            return Ok(Key::from(number));
        }
        word.to_key().map_err(|error| Failure::usage(format!("key {word:?}: {error}")))
    }
}

/// Why a key of `channel` was not read or set.
pub(crate) fn table_failed(channel: &ChannelName, error: TableError) -> Failure {
    let text = format!("{channel}: {error}");
    Failure::Told { text, code: Error::from(error).exit_code() }
}

/// A key and its value as JSON. The value is in base64, and also as text if it is text.
pub(crate) fn object_of(key: &Key, version: u64, value: Option<&[u8]>) -> Value {
    let mut object = Map::new();
    object.insert(
        "key".into(),
        match (key.number(), std::str::from_utf8(key.as_bytes())) {
            (Some(number), _) => whole(number),
            (None, Ok(text)) => text.into(),
            (None, Err(_)) => Value::Null,
        },
    );
    if key.number().is_none() && std::str::from_utf8(key.as_bytes()).is_err() {
        object.insert("key_base64".into(), BASE64_STANDARD.encode(key.as_bytes()).into());
    }
    object.insert("version".into(), whole(version));
    object.insert("value".into(), value.map(|value| BASE64_STANDARD.encode(value)).into());
    if let Some(value) = value {
        object.insert("bytes".into(), json!(value.len()));
        if let Ok(text) = std::str::from_utf8(value) {
            object.insert("text".into(), text.into());
        }
    } else {
        object.insert("deleted".into(), true.into());
    }
    Value::Object(object)
}

/// Prints a key and its value: as JSON or as a line, with `None` for a deletion.
pub(crate) fn print_key(as_json: bool, key: &Key, version: u64, value: Option<&[u8]>) -> Outcome {
    if as_json {
        return print_json(&object_of(key, version, value));
    }
    print(&line_of(key, version, value))
}

/// A key and its value in a line: the key, the version, and the value with escapes.
fn line_of(key: &Key, version: u64, value: Option<&[u8]>) -> String {
    let mut line = format!("{key}\t{version}\t");
    let _ = match value {
        Some(value) => writeln!(line, "{}", value.escape_ascii()),
        None => writeln!(line, "(deleted)"),
    };
    line
}
