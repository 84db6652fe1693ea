//! The roles `set` and `read`: a table's writer and its reader.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use railbus::{Bridge, Key, TableError, TableOptions, TableReader, TableWriter};

use crate::payload::{Tally, payload};
use crate::{Arguments, Failed, WAIT, say, usage, wait_for_end};

impl From<TableError> for Failed {
    fn from(error: TableError) -> Failed {
        let symbol = match error {
            TableError::Full => "NO_SPACE",
            TableError::TooLong { .. } => "TOO_LONG",
            TableError::BadKey { .. } => "INVALID",
            TableError::Changed { .. } => "CHANGED",
            TableError::Held { .. } => "BUSY",
            TableError::TimedOut => "TIMED_OUT",
            TableError::Evicted => "EVICTED",
            TableError::Removed => "REMOVED",
            TableError::CannotRepair(_) => "NOT_ALLOWED",
            TableError::Forked => "FORKED",
            TableError::Corrupt(_) => "CORRUPT",
            _ => "IO",
        };
        Failed(symbol, error.to_string())
    }
}

/// Key `i` of the protocol.
fn key(i: u64) -> Key {
    if i.is_multiple_of(2) {
        return Key::from(i);
    }
    Key::bytes(format!("key-{i}").as_bytes()).expect("it is short")
}

fn named(name: &str) -> Key {
    Key::bytes(name.as_bytes()).expect("it is short")
}

pub(crate) fn set(arguments: &Arguments) -> Result<(), Failed> {
    let mut writer = arguments.channel()?.table_writer(&TableOptions::default())?;
    let (keys, rounds) = (arguments.number("keys", 0), arguments.number("rounds", 1));
    let size = |text: &str| text.parse().unwrap_or_else(|_| usage(&format!("size {text:?}")));
    let sizes: Vec<usize> = arguments.text("sizes", "8").split(',').map(size).collect();
    let compares = match arguments.text("mode", "set").as_str() {
        "set" => false,
        "compare" => true,
        other => usage(&format!("mode={other}")),
    };
    say("ready");
    let mut refused = 0;
    let mut versions = vec![None; keys as usize];
    for event in 0..rounds * keys {
        let key = key(event % keys);
        let value = payload(sizes[event as usize % sizes.len()], event, 0);
        let seen = &mut versions[(event % keys) as usize];
        let version = if compares {
            refused += u64::from(is_refused(&mut writer, &key, &value));
            writer.compare_and_set(key, *seen, &value)?
        } else {
            writer.set(key, &value)?
        };
        *seen = Some(version);
    }
    if let delete @ 1.. = arguments.number("delete", 0) {
        for i in (0..keys).step_by(delete as usize) {
            versions[i as usize] = None;
            writer.delete(key(i))?;
        }
    }
    writer.set("end", b"")?;
    let sum: u64 = versions.into_iter().flatten().sum();
    let word = if arguments.flag("busy") { "holding" } else { "done" };
    say(format_args!("{word} refused={refused} versions={sum}"));
    for round in 0u64.. {
        if !arguments.flag("busy") {
            break;
        }
        writer.set("busy", &payload(16, round, 0))?;
    }
    wait_for_end();
    Ok(())
}

/// Whether a compare-and-set from a version that no key has is refused.
fn is_refused(writer: &mut TableWriter, key: &Key, value: &[u8]) -> bool {
    matches!(writer.compare_and_set(*key, Some(1 << 40), value), Err(TableError::Changed { .. }))
}

pub(crate) fn read(arguments: &Arguments) -> Result<(), Failed> {
    let channel = arguments.channel()?;
    let mut reader = channel.table_reader(&TableOptions::default())?;
    let keys = arguments.number("keys", 0);
    let mut found: BTreeMap<String, (Vec<u8>, u64)> = BTreeMap::new();
    say("ready");
    let mode = arguments.text("mode", "get");
    match mode.as_str() {
        "get" | "all" => {
            reader.wait_change("end", None, Some(WAIT))?;
            if mode == "all" {
                for entry in reader.get_all()? {
                    found.insert(format!("{:?}", entry.key), (entry.value, entry.version));
                }
            }
            for key in (0..keys).map(key).filter(|_| mode == "get") {
                if let Some(value) = reader.get(key)? {
                    found.insert(format!("{key:?}"), (value.to_vec(), value.version()));
                }
            }
        }
        "changes" | "bridge" => {
            let bridge = if mode == "bridge" { Some(Bridge::new(&channel)?) } else { None };
            watch(&mut reader, bridge.as_ref(), &mut found)?;
        }
        other => usage(&format!("mode={other}")),
    }
    for name in ["end", "busy"] {
        found.remove(&format!("{:?}", named(name)));
    }
    let mut tally = Tally::default();
    found.values().for_each(|(value, _)| tally.add(value, 0, None));
    let versions: u64 = found.values().map(|(_, version)| version).sum();
    say(format_args!("done present={} sum={} versions={versions}", found.len(), tally.sum));
    wait_for_end();
    Ok(())
}

/// Collects changes until the key `end` was there, and no further change is.
fn watch(
    reader: &mut TableReader,
    bridge: Option<&Bridge>,
    found: &mut BTreeMap<String, (Vec<u8>, u64)>,
) -> Result<(), Failed> {
    let end = format!("{:?}", named("end"));
    loop {
        let change = match bridge {
            Some(_) => reader.next_change()?,
            None if found.contains_key(&end) => reader.next_change()?,
            None => Some(reader.wait_next_change(Some(WAIT))?),
        };
        match change {
            Some(change) => {
                let key = format!("{:?}", change.key);
                match change.value {
                    Some(value) => _ = found.insert(key, (value.to_vec(), change.version)),
                    None => _ = found.remove(&key),
                }
            }
            None if found.contains_key(&end) => return Ok(()),
            None => bridge.into_iter().try_for_each(|bridge| {
                bridge.arm(reader.watch());
                wait_for(bridge)
            })?,
        }
    }
}

fn wait_for(bridge: &Bridge) -> Result<(), Failed> {
    let mut wanted = libc::pollfd { fd: bridge.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor, which is open.
    if unsafe { libc::poll(&raw mut wanted, 1, 20_000) } == 0 {
        return Err(Failed("TIMED_OUT", "the descriptor did not become readable".into()));
    }
    bridge.drain();
    Ok(())
}
