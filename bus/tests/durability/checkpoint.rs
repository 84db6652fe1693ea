//! Checkpoints: whole or not there, whatever is killed; and their purpose: an order book whose
//! feed, journaller and keeper are killed at random, and which ends exactly as one that nobody
//! touched.

#[path = "../../examples/order_book.rs"]
mod order_book;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use order_book::{Order, OrderBook};
use railbus::internal::checkpoint;
use railbus::journal::{Checkpoint, Journal, Retention};
use railbus::{Bus, ChannelOptions, Error, Kind, Recorder, RecorderOptions, Result, SendOptions};

use crate::children;
use crate::children::{Actor, say};

/// Orders of the test.
const ORDERS: u64 = if cfg!(debug_assertions) { 60_000 } else { 600_000 };

/// The meeting place of the processes of a test: buses in shared memory, and beside them a file
/// that names the journal.
fn journal_of(base: &Path) -> PathBuf {
    PathBuf::from(std::fs::read_to_string(base.join(".journal")).unwrap())
}

struct Place {
    base: tempfile::TempDir,
    disk: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let base = tempfile::Builder::new().prefix("railbus-book-").tempdir_in("/dev/shm").unwrap();
        let disk = tempfile::Builder::new().prefix("railbus-book-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let place = Place { base, disk: disk.unwrap() };
        std::fs::write(place.base.path().join(".journal"), place.disk.path().to_str().unwrap()).unwrap();
        place
    }

    fn bus(&self) -> Bus {
        Bus::at(self.base.path(), "market").unwrap()
    }
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = children::role() else { return };
    match role.as_str() {
        "save" => {
            let mut checkpoint = Checkpoint::open(journal_of(&base).join("market/orders"), "s").unwrap();
            let begin = checkpoint.load().unwrap().map_or(0, |saved| saved.position);
            for position in begin + 1.. {
                checkpoint.save(position, &position.to_le_bytes().repeat(1000)).unwrap();
                say(position.to_string().as_bytes());
            }
        }
        "feed" => {
            let channel = Bus::at(&base, "market").unwrap().attach("orders").unwrap();
            order_book::feed(&channel, ORDERS).unwrap();
            say(b"fed");
            children::stay();
        }
        "record" => {
            let channel = Bus::at(&base, "market").unwrap().attach("orders").unwrap();
            let options = RecorderOptions::default().segment_bytes(1 << 20);
            let _recorder = Recorder::start(&channel, journal_of(&base), &options).unwrap();
            say(b"recording");
            children::stay();
        }
        "book" => {
            let channel = Bus::at(&base, "market").unwrap().attach("orders").unwrap();
            let book = order_book::keep_book(&channel, ORDERS, |book| say(book.last.to_string().as_bytes()));
            std::fs::write(base.join(".book"), book.unwrap().encode()).unwrap();
            say(b"done");
            children::stay();
        }
        _ => panic!("no role {role}"),
    }
}

/// A journal with an event or two.
fn recorded(place: &Place) -> PathBuf {
    let channel = place.bus().create("orders", &ChannelOptions::new(Kind::Stream)).unwrap();
    let recorder = Recorder::start(&channel, place.disk.path(), &RecorderOptions::default()).unwrap();
    let position = channel.publisher(&SendOptions::default()).unwrap().publish(b"one").unwrap();
    channel.wait_durable(position, Duration::from_secs(60)).unwrap();
    recorder.stop().unwrap();
    place.disk.path().join("market/orders")
}

#[test]
fn the_last_two_are_kept_and_the_newest_whole_one_is_loaded() -> Result<()> {
    let place = Place::new();
    let directory = recorded(&place);
    let mut checkpoint = Checkpoint::open(&directory, "sum")?;
    assert_eq!(checkpoint.load()?, None);
    for position in 1..=5u64 {
        checkpoint.save(position, &vec![position as u8; position as usize * 1000])?;
        let saved = checkpoint.load()?.unwrap();
        assert_eq!(
            (saved.position, saved.number, saved.state.len()),
            (position, position, position as usize * 1000)
        );
    }
    assert!(matches!(Checkpoint::open(&directory, "sum"), Err(Error::Busy { .. })));
    checkpoint.save(0, b"")?;
    drop(checkpoint);
    let journal = Journal::open(&directory)?;
    // The older of the two counts: it remains if the newer is corrupted.
    assert_eq!(checkpoint::positions(&journal)?, [("sum".to_owned(), 0)]);
    // Whatever is done to the newest, the one before it is there.
    let files = [directory.join("checkpoints/sum.a"), directory.join("checkpoints/sum.b")];
    let newest = files.iter().find(|file| std::fs::metadata(file).unwrap().len() == 128).unwrap();
    let whole = std::fs::read(newest).unwrap();
    for harm in 0..whole.len() * 8 + 4 {
        let mut harmed = whole.clone();
        match harm.checked_sub(whole.len() * 8) {
            None => harmed[harm / 8] ^= 1 << (harm % 8),
            Some(0) => harmed.truncate(127),
            Some(1) => harmed.clear(),
            Some(2) => harmed.push(0),
            Some(_) => harmed.fill(0),
        }
        std::fs::write(newest, harmed).unwrap();
        let mut checkpoint = Checkpoint::open(&directory, "sum")?;
        assert_eq!(checkpoint.load()?.map(|saved| (saved.position, saved.number)), Some((5, 5)), "{harm}");
        if harm == 7 {
            // The next save replaces the damaged one, not the whole one.
            checkpoint.save(9, b"")?;
            assert_eq!(checkpoint.load()?.map(|saved| (saved.position, saved.number)), Some((9, 6)));
        }
    }
    // With both damaged, it reports that rather than begin again.
    for file in &files {
        std::fs::write(file, b"what is this").unwrap();
    }
    let checkpoint = Checkpoint::open(&directory, "sum")?;
    assert!(matches!(checkpoint.load(), Err(Error::Corrupt { .. })));
    assert!(matches!(Checkpoint::open(&directory, "../x"), Err(Error::Invalid { .. })));
    assert!(matches!(Checkpoint::open(place.disk.path(), "x"), Err(Error::NoJournal { .. })));
    Ok(())
}

#[test]
fn a_checkpoint_that_has_seen_more_than_the_journal_of_a_lost_channel_is_refused() -> Result<()> {
    let place = Place::new();
    let directory = recorded(&place);
    let channel = place.bus().attach("orders")?;
    let end = channel.journal_positions()?.end;
    let mut behind = channel.checkpoint("behind")?;
    behind.save(end, b"")?;
    let mut ahead = channel.checkpoint("ahead")?;
    ahead.save(end + 16, b"")?;
    assert_eq!(ahead.load()?.map(|saved| saved.position), Some(end + 16), "as long as the channel lives");
    drop((behind, ahead, channel));
    place.bus().remove("orders")?;
    railbus::journal::restore(&place.bus(), "orders", place.disk.path())?;
    let channel = place.bus().attach("orders")?;
    let recorder = Recorder::start(&channel, place.disk.path(), &RecorderOptions::default())?;
    assert_eq!(channel.checkpoint("behind")?.load()?.map(|saved| saved.position), Some(end));
    let refused = channel.checkpoint("ahead")?.load();
    assert!(
        matches!(&refused, Err(Error::Corrupt { why, .. }) if why.contains("not durable")),
        "{refused:?}"
    );
    recorder.stop()?;
    assert!(directory.exists());
    Ok(())
}

#[test]
fn a_checkpoint_of_a_lost_incarnation_is_refused_however_often_the_channel_was_made_again() -> Result<()> {
    let place = Place::new();
    let directory = recorded(&place);
    let channel = place.bus().attach("orders")?;
    let end = channel.journal_positions()?.end;
    channel.checkpoint("behind")?.save(end, b"")?;
    channel.checkpoint("ahead")?.save(end + 16, b"")?;
    drop(channel);
    for incarnation in 2..=4u64 {
        // The effect of a reboot.
        std::fs::remove_dir_all(place.base.path().join("market")).expect("the files of the bus");
        let channel = railbus::journal::restore(&place.bus(), "orders", place.disk.path())?.channel;
        assert_eq!(channel.header().incarnation, incarnation);
        // It comes to positions far beyond both checkpoints, except that incarnation 3 leaves
        // nothing at all.
        if incarnation != 3 {
            let recorder = Recorder::start(&channel, place.disk.path(), &RecorderOptions::default())?;
            let mut publisher = channel.publisher(&SendOptions::default())?;
            let position = (0..100).map(|_| publisher.publish(b"another")).last().expect("events")?;
            channel.wait_durable(position, Duration::from_secs(60))?;
            recorder.stop()?;
            assert!(channel.header().first_position < end + 16 || incarnation > 2);
            let positions = channel.journal_positions()?;
            assert!(positions.end > end + 16);
            let own = format!("of{incarnation}");
            channel.checkpoint(&own)?.save(positions.end, b"")?;
            assert_eq!(
                Checkpoint::open(&directory, &own)?.load()?.map(|saved| saved.incarnation),
                Some(incarnation)
            );
            let refused = channel.checkpoint("ahead")?.load();
            assert!(
                matches!(&refused, Err(Error::Corrupt { why, .. }) if why.contains("incarnation 2")),
                "{refused:?}"
            );
            assert_eq!(channel.checkpoint("behind")?.load()?.map(|saved| saved.position), Some(end));
            if incarnation == 4 {
                assert!(channel.checkpoint("of2")?.load()?.is_some(), "all of it was durable");
            }
        }
        let refused = Checkpoint::open(&directory, "ahead")?.load();
        assert!(
            matches!(&refused, Err(Error::Corrupt { why, .. }) if why.contains("not durable")),
            "{refused:?}"
        );
        assert!(Checkpoint::open(&directory, "behind")?.load()?.is_some());
    }
    Ok(())
}

#[test]
fn a_saver_that_is_killed_leaves_what_it_said_or_the_next() -> Result<()> {
    let place = Place::new();
    let directory = recorded(&place);
    let mut last = 0u64;
    for round in 0..15u64 {
        let mut saver = Actor::start("save", place.base.path());
        for _ in 0..round * 7 % 23 + 1 {
            last = saver.hear().parse().unwrap();
        }
        saver.kill();
        // The kernel drops the lock of a process that was killed before it can be waited for.
        let checkpoint = Checkpoint::open(&directory, "s")?;
        let saved = checkpoint.load()?.unwrap();
        assert!(saved.position >= last, "{} after {last}", saved.position);
        assert!(saved.state == saved.position.to_le_bytes().repeat(1000));
        last = saved.position;
    }
    Ok(())
}

#[test]
fn an_order_book_ends_the_same_whoever_is_killed() {
    let mut expected = OrderBook::default();
    for number in 1..=ORDERS {
        expected.apply(&Order::of_feed(number));
    }
    assert_eq!(OrderBook::decode(&expected.encode()).as_ref(), Some(&expected));
    let place = Place::new();
    order_book::channel(&place.bus()).unwrap();
    let base = place.base.path();
    let start = |role: &str, says: Option<&str>| {
        let mut actor = Actor::start(role, base);
        if let Some(word) = says {
            actor.expect(word);
        }
        actor
    };
    let mut recorder = start("record", Some("recording"));
    let mut feed = start("feed", None);
    let mut book = start("book", None);
    let mut random = 0x1234_5678_9ABC_DEF1u64;
    let (mut kills, mut last) = (0, 0u64);
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < deadline, "at order {last} after {kills} kills");
        match book.hear().as_str() {
            "done" => break,
            said => {
                let now: u64 = said.parse().unwrap();
                assert!(now > last || kills > 0, "{now} after {last}");
                last = now;
            }
        }
        // After a checkpoint now and then a process is killed; a moment later, so that it is
        // anywhere in its next steps.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 3000));
        kills += 1;
        match random >> 32 & 7 {
            0 | 1 => {
                book.kill();
                book = start("book", None);
            }
            2 => {
                feed.kill();
                feed = start("feed", None);
            }
            3 => {
                recorder.kill();
                recorder = start("record", Some("recording"));
            }
            _ => kills -= 1,
        }
    }
    assert!(kills > 5, "{kills} kills");
    let kept = std::fs::read(base.join(".book")).unwrap();
    assert!(OrderBook::decode(&kept) == Some(expected), "another book than without {kills} kills");
    println!("{kills} kills");
}

#[test]
fn retention_spares_what_a_checkpoint_has_still_to_read() -> Result<()> {
    let place = Place::new();
    let channel = place.bus().create("orders", &ChannelOptions::new(Kind::Stream))?;
    let retention = Retention::default().max_bytes(Some(3 << 20));
    let options = RecorderOptions::default().segment_bytes(1 << 20).retention(retention);
    let recorder = Recorder::start(&channel, place.disk.path(), &options)?;
    let mut publisher = channel.publisher(&SendOptions::default())?;
    let mut checkpoint = channel.checkpoint("sum")?;
    let mut fill = |megabytes| {
        let last = (0..megabytes * 1024).map(|_| publisher.publish(&[7; 1000])).last().unwrap()?;
        channel.wait_durable(last, Duration::from_secs(60))?;
        Ok::<u64, Error>(last)
    };
    let middle = fill(2)?;
    checkpoint.save(middle, b"an early state")?;
    checkpoint.save(middle, b"a state")?;
    fill(10)?;
    // The recorder checks four times a second.
    std::thread::sleep(Duration::from_secs(1));
    let first = channel.journal_positions()?.first;
    assert!(first <= middle, "{first} is behind the checkpoint at {middle}");
    let end = fill(1)?;
    checkpoint.save(end, b"a later state")?;
    checkpoint.save(end, b"a later state")?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while channel.journal_positions()?.first <= middle {
        assert!(Instant::now() < deadline, "nothing is removed");
        fill(1)?;
    }
    recorder.stop()?;
    Ok(())
}
