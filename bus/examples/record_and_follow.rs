//! A stream is recorded on disk. A consumer that comes late reads from the journal, goes on into the live
//! stream, and gets every event once and in order.
//!
//! Run it with `cargo run --example record_and_follow`. The stream's ring has room for 64 KiB, so the first
//! events are in the journal only when the consumer begins.

use railbus::journal::Source;
use railbus::{
    Bus, ChannelOptions, FollowOptions, Followed, Kind, Recorder, RecorderOptions, Result, SendOptions,
};

/// Events that are published before the consumer comes.
const RECORDED: u64 = 20_000;
/// Events that are published while it follows.
const LIVE: u64 = 1_000;

fn main() -> Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let disk = tempfile::tempdir().expect("a directory on a disk");
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(64 << 10);
    let ticks = Bus::at(base.path(), "demo")?.create("ticks", &options)?;
    // `railbus journald` is such a recorder for many channels, in a process of its own.
    let recorder = Recorder::start(&ticks, disk.path(), &RecorderOptions::default())?;

    let mut publisher = ticks.publisher(&SendOptions::default())?;
    for number in 0..RECORDED {
        publisher.publish_pod(&number)?;
    }
    let oldest = ticks.info()?.positions.oldest;
    println!("the ring begins at position {oldest}, the journal at 0");

    let mut follower = ticks.follow(&FollowOptions::default())?;
    let mut from_journal = 0;
    for expected in 0..RECORDED + LIVE {
        if expected >= RECORDED {
            publisher.publish_pod(&expected)?;
        }
        match follower.recv()? {
            Followed::Event(event) => assert_eq!(event.pod::<u64>(), Some(expected), "none lost or twice"),
            other => panic!("{other:?} before event {expected}"),
        }
        from_journal += u64::from(follower.source() != Source::Ring);
    }
    println!("{} events in order, the first {from_journal} of them from the journal", RECORDED + LIVE);
    assert!(from_journal > 0 && oldest > 0);
    recorder.stop()
}
