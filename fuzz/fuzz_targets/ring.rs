//! Handles over a channel whose files are harmed as the bytes say; the first byte chooses the kind.
#![no_main]

#[path = "../../bus/tests/common/hostile_body.rs"]
mod body;

use railbus::{Bus, Kind};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let kind = [Kind::Stream, Kind::Queue, Kind::Topic][*first as usize % 3];
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "fuzz").expect("a bus");
    body::harmed_ring(&bus, "c", kind, rest);
});
