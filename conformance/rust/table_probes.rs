//! The probes of tables.

use std::time::Duration;

use railbus::{Bus, Channel, ChannelOptions, Kind, SubscribeOptions, TableOptions};

use crate::{Failed, WAIT};

/// Runs a probe of tables; `None` for another one.
pub(crate) fn run(bus: &Bus, probe: &str) -> Option<Result<(), Failed>> {
    let is_known = probe.contains("table") && probe != "closed_table";
    is_known.then(|| steps(bus, probe))
}

fn table(bus: &Bus, name: &str) -> Result<Channel, Failed> {
    Ok(bus.create(name, &ChannelOptions::new(Kind::Table).keys(64).value_bytes(64))?)
}

fn steps(bus: &Bus, probe: &str) -> Result<(), Failed> {
    let options = TableOptions::default();
    if probe == "table_of_stream" {
        let stream = bus.create(probe, &ChannelOptions::new(Kind::Stream).capacity_bytes(4096))?;
        return Ok(stream.table_reader(&options).map(drop)?);
    }
    let channel = table(bus, probe)?;
    let mut writer = channel.table_writer(&options)?;
    let mut reader = channel.table_reader(&options)?;
    match probe {
        "table_absent" => reader.get("key")?.map(drop).ok_or(Failed("ABSENT", String::new())),
        "table_changed" => {
            writer.set("key", b"x")?;
            Ok(writer.compare_and_set("key", None, b"y").map(drop)?)
        }
        "table_full" => Ok((0..65u64).try_for_each(|key| writer.set(key, b"x").map(drop))?),
        "table_value_long" => Ok(writer.set("key", &[0; 65]).map(drop)?),
        "table_key_empty" => Ok(writer.set("", b"x").map(drop)?),
        "table_key_long" => Ok(writer.set([b'x'; 65], b"x").map(drop)?),
        "reader_of_table" => Ok(channel.subscriber(&SubscribeOptions::default()).map(drop)?),
        "table_no_change" => reader.next_change()?.map(drop).ok_or(Failed("EMPTY", String::new())),
        "table_timed_out" => {
            Ok(reader.wait_change("key", None, Some(Duration::from_millis(20))).map(drop)?)
        }
        _ => {
            bus.remove(probe)?;
            Ok(reader.wait_change("key", None, Some(WAIT)).map(drop)?)
        }
    }
}
