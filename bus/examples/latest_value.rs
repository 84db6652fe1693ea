//! A table between two threads, as between two processes: one sets values, the other starts late,
//! reads what is there, and then learns what changes.
//!
//! `cargo run --example latest_value`

use railbus::{Bus, ChannelOptions, Kind, TableOptions};

fn main() -> railbus::Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "demo")?;
    let state = bus.create("state", &ChannelOptions::new(Kind::Table).keys(100).value_bytes(8))?;

    let mut writer = state.table_writer(&TableOptions::default().name("feed"))?;
    writer.set_pod("bid", &41.5f64)?;
    writer.set_pod("ask", &42.0f64)?;

    // It was not there when the values were set.
    let mut reader = state.table_reader(&TableOptions::default().name("screen"))?;
    while let Some(change) = reader.next_change()? {
        println!("{} was set before, version {}", change.key, change.version);
    }
    let feed = std::thread::spawn(move || -> railbus::Result<()> {
        let seen = writer.set_pod("bid", &41.75f64)?;
        // Only if nobody else has changed it since.
        writer.compare_and_set("bid", Some(seen), &41.8f64.to_le_bytes())?;
        writer.delete("ask")?;
        Ok(())
    });
    feed.join().expect("the feed ends")?;
    // Of two changes of one key, the last is there.
    while let Some(change) = reader.next_change()? {
        match change.value.and_then(|value| value.try_into().ok()).map(f64::from_le_bytes) {
            Some(price) => println!("{} is {price} now, version {}", change.key, change.version),
            None => println!("{} is deleted", change.key),
        }
    }
    Ok(())
}
