//! An older copy of a channel's files that is brought back beside a newer journal is refused by its
//! journaller: the journal has other events at the positions that would be used again.

use std::path::Path;
use std::time::Duration;

use railbus::{Bus, Channel, ChannelOptions, Error, Kind, RecorderOptions, Recorders, SendOptions, journal};

const HANG: Duration = Duration::from_secs(60);

fn publish(channel: &Channel, count: usize) {
    match channel.header().kind {
        Kind::Stream => {
            let mut publisher = channel.publisher(&SendOptions::default()).unwrap();
            (0..count).for_each(|_| assert!(publisher.publish(b"event").is_ok()));
        }
        Kind::Topic => {
            let mut publisher = channel.topic_publisher(&SendOptions::default()).unwrap();
            (0..count).for_each(|_| assert!(publisher.publish(b"event").is_ok()));
        }
        Kind::Queue => {
            let mut producer = channel.producer(&SendOptions::default()).unwrap();
            (0..count).for_each(|_| assert!(producer.publish(b"event").is_ok()));
        }
        Kind::Table => unreachable!("a table has no events"),
    }
}

/// Records until everything is durable.
fn record(channel: &Channel, journal: &Path) -> railbus::Result<()> {
    let recorders = Recorders::start(None)?;
    recorders.record(channel, journal, &RecorderOptions::default())?;
    channel.wait_durable(channel.info()?.positions.published - 1, HANG)?;
    recorders.stop();
    Ok(())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn an_older_copy_of_a_channel_is_not_recorded() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let saved = tempfile::tempdir_in("/dev/shm").unwrap();
        let disk = tempfile::tempdir().unwrap();
        let bus = Bus::at(base.path(), "b").unwrap();
        let directory = base.path().join("b");
        let channel = bus.create("c", &ChannelOptions::new(kind)).unwrap();
        publish(&channel, 10);
        record(&channel, disk.path()).unwrap();
        copy(&directory, &saved.path().join("b"));
        // As it is after a start without anything new: not older.
        record(&channel, disk.path()).unwrap();
        publish(&channel, 10);
        record(&channel, disk.path()).unwrap();
        drop(channel);
        std::fs::remove_dir_all(&directory).unwrap();
        copy(&saved.path().join("b"), &directory);
        let older = bus.attach("c").unwrap();
        publish(&older, 1);
        let refused = record(&older, disk.path()).unwrap_err();
        assert!(matches!(refused, Error::Corrupt { .. }), "{kind}: {refused}");
        assert!(refused.to_string().contains("an older copy"), "{kind}: {refused}");
        assert_eq!(refused.exit_code(), 5, "{kind}: {refused}");
        let last = older.info().unwrap().positions.published - 1;
        let durable = older.wait_durable(last, Duration::ZERO).map(drop);
        assert!(durable.is_err(), "{kind}: nobody has recorded it: {durable:?}");
        // As the error advises.
        std::fs::remove_dir_all(&directory).unwrap();
        let again = journal::restore(&bus, "c", disk.path()).unwrap();
        assert_eq!(again.channel.header().incarnation, 2);
        publish(&again.channel, 1);
        record(&again.channel, disk.path()).unwrap();
    }
}
