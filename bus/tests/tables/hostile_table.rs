//! Handles of a table whose memory another process fills with anything: no panic and no hang.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use railbus::TableOptions;

use super::basics::{directory, table};

#[test]
fn random_bytes_in_the_data_and_the_control_block_are_survived() {
    let rounds = if crate::forks::deep() { 2000 } else { 60 };
    let mut random = 0x1234_5678_9ABC_DEF1u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..rounds {
        let base = directory();
        let channel = table(base.path(), 9, 16);
        let mut writer = channel.table_writer(&TableOptions::default()).unwrap();
        let mut reader = channel.table_reader(&TableOptions::default()).unwrap();
        for key in 0..9u64 {
            writer.set(key, b"sound").unwrap();
        }
        let file = OpenOptions::new().write(true).open(&channel.paths().ring).unwrap();
        let from = channel.header().data_offset;
        for _ in 0..=next() % 400 {
            // Small numbers are links, lengths and flags; others are anything.
            let word = if next() % 2 == 0 { next() % 2048 } else { next() };
            let at = from + next() % channel.header().capacity_bytes / 8 * 8;
            file.write_all_at(&word.to_le_bytes(), at).unwrap();
        }
        if round % 3 == 0 {
            // TABLE_FLOOR and TABLE_HIGH.
            file.write_all_at(&next().to_le_bytes(), 4096 + 8).unwrap();
            file.write_all_at(&next().to_le_bytes(), 4096 + 16).unwrap();
        }
        for key in 0..12u64 {
            let _ = reader.get(key).map(|_| ());
            let _ = writer.set(key, b"value");
            let _ = writer.delete(key);
            let _ = reader.next_change().map(|_| ());
            let _ = reader.wait_change(key, None, Some(Duration::ZERO)).map(|_| ());
        }
        let _ = (reader.get_all(), reader.count(), reader.watch());
        channel.info().unwrap();
        channel.repair().unwrap();
    }
}
