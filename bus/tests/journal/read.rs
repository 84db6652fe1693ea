//! Reading a journal: in order, from anywhere, beside a writer, and when it is damaged.

use std::os::unix::fs::FileExt;
use std::path::Path;

use railbus::journal::{Events, Item, Journal, Replay, ReplayOptions, Seek, Until};
use railbus::{Error, Kind, Result};
use railbus_log::format::{BlockKind, Gap, GapReason, RecordKind};
use railbus_log::segment::index;

use crate::journal_hand;
use crate::journal_hand::Hand;

/// A test's description of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Event(u64, Vec<u8>),
    Gap(u64, u64, u64),
    Missing(u64, u64, u64),
    State(RecordKind, Vec<u8>),
}

fn seen(item: &Item<'_>) -> Seen {
    match item {
        Item::Event(event) => Seen::Event(event.position, event.payload().to_vec()),
        Item::Gap { gap, .. } => Seen::Gap(gap.from, gap.to, gap.events),
        Item::Missing { from, to, events } => Seen::Missing(*from, *to, *events),
        Item::State { kind, body, .. } => Seen::State(*kind, body.to_vec()),
    }
}

fn rest(events: &mut Events) -> Result<Vec<Seen>> {
    let mut all = Vec::new();
    while let Some(item) = events.next_item()? {
        all.push(seen(&item));
    }
    Ok(all)
}

fn all(directory: &Path, seek: Seek) -> Result<Vec<Seen>> {
    rest(&mut Journal::open(directory)?.events(seek)?)
}

fn payload(i: u64) -> Vec<u8> {
    format!("event {i} {}", "x".repeat((i * 7 % 300) as usize)).into_bytes()
}

/// Some segments of some blocks of some events, a ms apart. Returns the items to be read.
fn sample(hand: &mut Hand, segments: u64, blocks: u64, events: u64) -> Vec<(u64, u64, Vec<u8>)> {
    let mut written = Vec::new();
    for segment in 0..segments {
        for block in 0..blocks {
            for event in 0..events {
                hand.time_ns += 1_000_000;
                let payload = payload((segment * blocks + block) * events + event);
                written.push((hand.event(&payload), hand.time_ns, payload));
            }
            hand.block();
            hand.durable = hand.position;
        }
        if segment + 1 < segments {
            hand.rotate();
        }
    }
    written
}

fn events_of(written: &[(u64, u64, Vec<u8>)]) -> Vec<Seen> {
    written.iter().map(|(position, _, payload)| Seen::Event(*position, payload.clone())).collect()
}

#[test]
fn everything_is_read_in_order_for_every_kind() -> Result<()> {
    for kind in [Kind::Stream, Kind::Queue, Kind::Topic] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut hand = Hand::new(directory.path(), kind);
        let written = sample(&mut hand, 3, 4, 20);
        assert_eq!(all(directory.path(), Seek::Beginning)?, events_of(&written), "{kind}");
        let extent = Journal::open(directory.path())?.extent()?.expect("blocks");
        assert_eq!((extent.first_position, extent.end_position), (0, hand.position));
        assert_eq!((extent.events_before, extent.events_end, extent.is_sealed), (0, 240, false));
        hand.seal(true);
        let extent = Journal::open(directory.path())?.extent()?.expect("blocks");
        assert_eq!(
            (extent.events_end, extent.is_sealed, extent.durable_position),
            (240, true, hand.position)
        );
        assert_eq!(all(directory.path(), Seek::Beginning)?, events_of(&written), "{kind}, sealed");
    }
    Ok(())
}

#[test]
fn a_seek_finds_every_position_every_time_and_every_event() -> Result<()> {
    for indexed in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut hand = Hand::new(directory.path(), Kind::Stream);
        let written = sample(&mut hand, 3, 5, 7);
        if indexed {
            for number in 1..=3 {
                let built = index::build(directory.path(), number, false)?;
                assert_eq!(built == index::Built::Written, number < 3, "the last is not sealed");
            }
            assert_eq!(index::build(directory.path(), 1, false)?, index::Built::Present);
        }
        let journal = Journal::open(directory.path())?;
        for (i, (position, time_ns, _)) in written.iter().enumerate() {
            let expected = events_of(&written[i..]);
            assert_eq!(rest(&mut journal.events(Seek::Position(*position))?)?, expected, "{i}");
            assert_eq!(rest(&mut journal.events(Seek::Time(*time_ns))?)?, expected, "{i}");
            assert_eq!(rest(&mut journal.events(Seek::Time(*time_ns - 1))?)?, expected, "{i}");
            assert_eq!(rest(&mut journal.events(Seek::Event(i as u64))?)?, expected, "{i}");
            // Between two events: the next.
            let behind = events_of(&written[i + 1..]);
            assert_eq!(rest(&mut journal.events(Seek::Position(position + 1))?)?, behind, "{i}");
            assert_eq!(rest(&mut journal.events(Seek::Time(time_ns + 1))?)?, behind, "{i}");
        }
        assert_eq!(rest(&mut journal.events(Seek::End)?)?, []);
        assert_eq!(rest(&mut journal.events(Seek::Time(u64::MAX))?)?, []);
        assert_eq!(rest(&mut journal.events(Seek::Event(u64::MAX))?)?, []);
        let beyond = journal.events(Seek::Position(hand.position + 1));
        assert!(matches!(beyond, Err(Error::Invalid { why, .. }) if why.contains("ends at")));
    }
    Ok(())
}

#[test]
fn an_index_that_lies_is_not_believed() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Stream);
    let written = sample(&mut hand, 2, 30, 40);
    index::build(directory.path(), 1, false)?;
    let path = directory.path().join(format!("{:020}.idx", 1));
    let right = std::fs::read(&path).expect("an index");
    let (position, ..) = written[written.len() / 2 - 10];
    let expected = all(directory.path(), Seek::Position(position))?;
    // Of another segment, cut, corrupted, and one whose checksum fits but whose offsets do not.
    let mut others: Vec<Vec<u8>> = vec![Vec::new(), right[..right.len() - 1].to_vec()];
    for at in [0, 9, 20, 60, 70, right.len() - 9] {
        let mut harmed = right.clone();
        harmed[at] ^= 0x40;
        others.push(harmed);
    }
    let entry = index::Index::decode(&right).expect("an index").entries()[0];
    assert_eq!(entry.sequence, 0);
    let mut shifted = right.clone();
    shifted[65] = 0x10; // 4 KiB into the first block
    let sum =
        railbus_log::format::checksum_more(railbus_log::format::checksum(&shifted[..60]), &shifted[64..]);
    shifted[60..64].copy_from_slice(&sum.to_le_bytes());
    assert!(index::Index::decode(&shifted).is_ok(), "the checksum fits");
    others.push(shifted);
    for other in others {
        std::fs::write(&path, &other).expect("written");
        assert_eq!(all(directory.path(), Seek::Position(position))?, expected);
    }
    Ok(())
}

#[test]
fn pieces_are_put_together_across_blocks_and_segments() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let header = journal_hand::channel_header(Kind::Stream);
    let mut hand = Hand::of(directory.path(), header, 1 << 20);
    let small = (hand.event(b"small"), b"small".to_vec());
    let large: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let position = hand.position;
    hand.event_in_pieces(&large, 50_000);
    let after = (hand.event(b"after"), b"after".to_vec());
    hand.block();
    hand.state_in_pieces(RecordKind::Acks, b"of a queue");
    hand.state(RecordKind::Cursors, b"");
    hand.block();
    hand.rotate();
    let last = (hand.event(b"last"), b"last".to_vec());
    hand.block();
    let event = |(position, payload): &(u64, Vec<u8>)| Seen::Event(*position, payload.clone());
    let states =
        [Seen::State(RecordKind::Acks, b"of a queue".to_vec()), Seen::State(RecordKind::Cursors, Vec::new())];
    let whole = Seen::Event(position, large);
    let expected = [&[event(&small), whole.clone(), event(&after)], &states[..], &[event(&last)]].concat();
    // Not assert_eq: nobody reads 400 kB of difference.
    assert!(all(directory.path(), Seek::Beginning)? == expected);
    assert!(all(directory.path(), Seek::Position(position))? == expected[1..]);
    // If it is begun after its first piece, the whole event is passed over.
    assert_eq!(all(directory.path(), Seek::Position(position + 8))?, expected[2..]);
    assert_eq!(all(directory.path(), Seek::Event(2))?[0], event(&after));
    assert_eq!(Journal::open(directory.path())?.extent()?.map(|extent| extent.events_end), Some(4));
    Ok(())
}

#[test]
fn gaps_are_told_where_they_are() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Topic);
    hand.event(b"one");
    hand.gap(Gap { from: 1, to: 5, events: 4, reason: GapReason::Overrun });
    hand.event(b"six");
    hand.block();
    let expected = [Seen::Event(0, b"one".to_vec()), Seen::Gap(1, 5, 4), Seen::Event(5, b"six".to_vec())];
    assert_eq!(all(directory.path(), Seek::Beginning)?, expected);
    for inside in 1..5 {
        assert_eq!(all(directory.path(), Seek::Position(inside))?, expected[1..], "{inside}");
    }
    assert_eq!(all(directory.path(), Seek::Position(5))?, expected[2..]);
    Ok(())
}

#[test]
fn segments_that_are_gone_are_counted() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Stream);
    let written = sample(&mut hand, 5, 2, 3);
    let mut behind = Journal::open(directory.path())?.events(Seek::Beginning)?;
    assert!(behind.next_event()?.is_some());
    // Retention, while a reader is in the first segment; and one in the middle is put aside.
    std::fs::remove_file(hand.path(2)).expect("removed");
    std::fs::remove_file(hand.path(4)).expect("removed");
    let missing = |from: usize, to: usize| Seen::Missing(written[from].0, written[to].0, (to - from) as u64);
    let expected = [
        &events_of(&written[1..6])[..],
        &[missing(6, 12)],
        &events_of(&written[12..18]),
        &[missing(18, 24)],
        &events_of(&written[24..]),
    ];
    assert_eq!(rest(&mut behind)?, expected.concat());
    // The oldest is gone: the journal begins later.
    std::fs::remove_file(hand.path(1)).expect("removed");
    let journal = Journal::open(directory.path())?;
    assert_eq!(rest(&mut journal.events(Seek::Beginning)?)?, expected[2..].concat());
    let extent = journal.extent()?.expect("blocks");
    assert_eq!((extent.first_position, extent.events_before, extent.events_end), (written[12].0, 12, 30));
    let before = journal.events(Seek::Position(0));
    assert!(matches!(before, Err(Error::Invalid { why, .. }) if why.contains("begins at")));
    Ok(())
}

#[test]
fn a_recycled_segment_is_gone_for_its_reader() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Stream);
    let written = sample(&mut hand, 2, 4, 3);
    let mut behind = Journal::open(directory.path())?.events(Seek::Beginning)?;
    assert!(behind.next_event()?.is_some());
    // Its file becomes segment 3: a new header over old blocks.
    let mut segment = hand.segment;
    (segment.number, segment.segment_id) = (3, 77);
    hand.file(1).write_all_at(&segment.encode()[..], 0).expect("written");
    std::fs::rename(hand.path(1), hand.path(3)).expect("renamed");
    // The bytes in the reader's buffer are unchanged; then it goes on after them.
    let seen = rest(&mut behind)?;
    assert_eq!(seen.last(), events_of(&written).last());
    let journal = Journal::open(directory.path())?;
    assert_eq!(
        rest(&mut journal.events(Seek::Beginning)?)?,
        events_of(&written[12..]),
        "old blocks are foreign"
    );
    Ok(())
}

#[test]
fn a_reader_at_the_end_sees_what_comes_in_whatever_order_it_is_written() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Stream);
    let mut events = Journal::open(directory.path())?.events(Seek::Beginning)?;
    assert!(events.next_event()?.is_none(), "nothing yet");
    hand.event(b"first");
    hand.block();
    assert_eq!(rest(&mut events)?, [Seen::Event(0, b"first".to_vec())]);
    hand.durable = hand.position;
    // Four blocks in flight that land in any order, in halves; then the seal before the last of them.
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let mut expected = Vec::new();
        let made: Vec<_> = (0..4)
            .map(|i| {
                let payload = vec![i as u8; 6000];
                expected.push(Seen::Event(hand.event(&payload), payload));
                hand.make(BlockKind::Records)
            })
            .collect();
        let mut got = Vec::new();
        for which in order {
            let (one, two) = made[which].bytes.split_at(4096);
            let file = hand.file(made[which].segment);
            for (part, at) in [(two, made[which].offset + 4096), (one, made[which].offset)] {
                got.extend(rest(&mut events)?);
                file.write_all_at(part, at).expect("written");
            }
        }
        got.extend(rest(&mut events)?);
        assert_eq!(got, expected, "{order:?}");
        hand.durable = hand.position;
    }
    // A segment that is prepared, sealed after that, replaced and then used.
    hand.begin_segment();
    assert!(rest(&mut events)?.is_empty(), "no seal yet");
    hand.segment.number -= 1;
    hand.segment.segment_id -= 1;
    hand.offset = hand_end(&hand);
    hand.rotate();
    assert!(rest(&mut events)?.is_empty());
    std::fs::remove_file(hand.path(2)).expect("removed");
    hand.prepare(&hand.segment);
    hand.event(b"next");
    hand.block();
    assert_eq!(rest(&mut events)?.len(), 1);
    Ok(())
}

/// Where the first segment's blocks end.
fn hand_end(hand: &Hand) -> u64 {
    let journal = Journal::open(&hand.directory).expect("a journal");
    let segment =
        railbus_log::segment::file::Segment::open(journal.directory(), 1).expect("open").expect("there");
    let mut offset = railbus_log::format::BLOCKS_OFFSET;
    while let railbus_log::segment::file::Found::Block(block) = segment.look(offset).expect("read") {
        offset += u64::from(block.block_bytes);
    }
    offset
}

#[test]
fn damage_below_the_durable_position_is_named_and_above_it_is_the_end() -> Result<()> {
    // Each byte of interest of each block, with and without a later block that knows it was
    // durable.
    for (block, at) in [(0, 0), (0, 50), (1, 0), (1, 127), (1, 128), (1, 4000), (2, 130)] {
        for durable in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut hand = Hand::new(directory.path(), Kind::Stream);
            let mut made = Vec::new();
            let mut positions = Vec::new();
            for i in 0..4u8 {
                positions.push(hand.event(&[i; 4500]));
                made.push(hand.block());
                if durable {
                    hand.durable = hand.position;
                }
            }
            let place = made[block].offset + at;
            let mut byte = [0];
            hand.file(1).read_exact_at(&mut byte, place).expect("read");
            hand.file(1).write_all_at(&[byte[0] ^ 1], place).expect("harmed");
            let mut events = Journal::open(directory.path())?.events(Seek::Beginning)?;
            let mut count = 0;
            let end = loop {
                match events.next_event() {
                    Ok(Some(_)) => count += 1,
                    end => break end.map(|_| ()),
                }
            };
            assert_eq!(count, block, "the blocks before it are read");
            // The last block makes known that the last but one is durable; block 2 is, too.
            match end {
                Ok(()) => assert!(!durable, "block {block}, byte {at}"),
                Err(Error::Corrupt { what, why }) => {
                    assert!(durable, "{what}: {why}");
                    assert!(what.contains("00000000000000000001.seg"), "{what}");
                    assert!(what.contains(&format!("byte {}", made[block].offset)), "{what}");
                    assert!(block == 0 || what.contains(&format!("position {}", positions[block])), "{what}");
                    // It comes again.
                    assert!(matches!(events.next_event(), Err(Error::Corrupt { .. })));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    Ok(())
}

#[test]
fn damage_is_known_from_a_later_segment_or_a_last_seal() -> Result<()> {
    for seal in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut hand = Hand::new(directory.path(), Kind::Stream);
        hand.event(b"one");
        hand.block();
        hand.event(b"two");
        let two = hand.block();
        if seal {
            hand.seal(true);
        } else {
            hand.rotate();
            hand.durable = hand.position;
            hand.event(b"three");
            hand.block();
        }
        hand.file(1).write_all_at(&[0; 4096], two.offset).expect("harmed");
        let harmed = all(directory.path(), Seek::Beginning);
        assert!(matches!(harmed, Err(Error::Corrupt { .. })), "{harmed:?}");
    }
    Ok(())
}

#[test]
fn blocks_may_reach_the_seal_and_the_seal_may_come_after_what_follows() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let header = journal_hand::channel_header(Kind::Stream);
    let mut hand = Hand::of(directory.path(), header, 8192 + 4 * 4096);
    let mut events = Journal::open(directory.path())?.events(Seek::Beginning)?;
    for payload in [b"one", b"two", b"six"] {
        hand.event(payload);
        hand.block();
    }
    assert_eq!(rest(&mut events)?.len(), 3);
    // The reader is at the place of the seal, and the next segment shows that something was durable
    // here.
    hand.durable = hand.position;
    let seal = hand.seal(false);
    let sector = seal.bytes.clone();
    hand.file(1).write_all_at(&vec![0; sector.len()], seal.offset).expect("harmed");
    hand.begin_segment();
    hand.event(b"ten");
    hand.durable = hand.position;
    hand.block();
    hand.write(&seal);
    assert_eq!(rest(&mut events)?.len(), 1);
    assert_eq!(all(directory.path(), Seek::Beginning)?.len(), 4);
    Ok(())
}

#[test]
fn long_segments_are_read_ahead_and_their_ends_met_again() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let header = journal_hand::channel_header(Kind::Stream);
    let mut hand = Hand::of(directory.path(), header, 24 << 20);
    let mut events = Journal::open(directory.path())?.events(Seek::Beginning)?;
    let (mut written, mut seen) = (Vec::new(), Vec::new());
    let mut size = 1u64;
    for segment in 0..3 {
        for block in 0..150u64 {
            for _ in 0..3 {
                size = size.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let payload = vec![size as u8; (size >> 33) as usize % 70_000];
                written.push((hand.event(&payload), payload.len(), size as u8));
            }
            hand.block();
            hand.durable = hand.position;
            // Now and then it has caught up, so that the bytes read ahead are older than the file.
            if block % 40 == 39 || segment == 1 && block % 7 == 0 {
                while let Some(item) = events.next_event()? {
                    let Item::Event(event) = item else { panic!("{item:?}") };
                    let payload = event.payload();
                    let first = payload.first().copied().unwrap_or(0);
                    assert!(payload.iter().all(|&byte| byte == first));
                    seen.push((event.position, payload.len(), first));
                }
            }
        }
        if segment < 2 {
            hand.rotate();
        }
    }
    let mut again = Journal::open(directory.path())?.events(Seek::Beginning)?;
    let mut count = 0;
    while let Some(item) = again.next_event()? {
        let Item::Event(event) = item else { panic!("{item:?}") };
        assert_eq!((event.position, event.payload().len()), (written[count].0, written[count].1));
        count += 1;
    }
    assert_eq!(count, written.len());
    let same = |(seen, written): (&(u64, usize, u8), &(u64, usize, u8))| {
        seen.0 == written.0 && seen.1 == written.1 && (seen.1 == 0 || seen.2 == written.2)
    };
    assert!(seen.len() > 1200 && seen.iter().zip(&written).all(same), "{}", seen.len());
    Ok(())
}

#[test]
fn a_journal_of_100_gb_is_opened_and_sought_without_reading_it() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let header = journal_hand::channel_header(Kind::Stream);
    // Sparse: 400 segments of 256 MiB, of which next to nothing is written.
    let mut hand = Hand::of(directory.path(), header, 256 << 20);
    let written = sample(&mut hand, 400, 3, 4);
    let bytes: u64 =
        (1..=400).map(|number| std::fs::metadata(hand.path(number)).expect("a file").len()).sum();
    assert!(bytes >= 100 << 30);
    let started = std::time::Instant::now();
    let mut looks = 0u32;
    for (i, (position, time_ns, _)) in written.iter().enumerate().step_by(97) {
        let journal = Journal::open(directory.path())?;
        for seek in [Seek::Time(*time_ns), Seek::Position(*position), Seek::Event(i as u64)] {
            let mut events = journal.events(seek)?;
            let first = events.next_event()?.map(|item| seen(&item));
            assert_eq!(first, Some(events_of(&written[i..=i]).remove(0)), "{seek:?}");
            looks += 1;
        }
    }
    println!("{:?} for opening, seeking and reading an event", started.elapsed() / looks);
    Ok(())
}

#[test]
fn what_a_cut_left_behind_its_seal_is_not_read() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Stream);
    let written = sample(&mut hand, 1, 3, 2);
    let (offset, sequence, previous) = (hand.offset, hand.sequence, hand.previous);
    let (position, events, time_ns) = (hand.position, hand.events, hand.time_ns);
    // Blocks after a hole, which recovery cuts off; the seal says where.
    hand.event(b"lost");
    hand.make(BlockKind::Records);
    for _ in 0..4 {
        hand.event(&[9; 5000]);
        hand.block();
    }
    (hand.offset, hand.sequence, hand.previous) = (offset, sequence, previous);
    (hand.position, hand.events, hand.time_ns) = (position, events, time_ns);
    hand.rotate();
    hand.segment.epoch += 1;
    hand.time_ns += 1_000_000;
    hand.event(b"after");
    hand.block();
    let mut expected = events_of(&written);
    expected.push(Seen::Event(position, b"after".to_vec()));
    assert_eq!(all(directory.path(), Seek::Beginning)?, expected);
    assert_eq!(all(directory.path(), Seek::Position(position))?, expected[6..]);
    assert_eq!(all(directory.path(), Seek::Time(time_ns + 1))?, expected[6..]);
    Ok(())
}

#[test]
fn a_replay_takes_what_it_is_asked_for() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Topic);
    for i in 0..30u16 {
        hand.time_ns += 1000;
        hand.event_of(i % 3, 0, &i.to_le_bytes());
        if i % 4 == 0 {
            hand.block();
        }
    }
    hand.block();
    let journal = Journal::open(directory.path())?;
    let positions = |options: ReplayOptions, most: usize| -> Result<Vec<u64>> {
        let mut replay = Replay::new(&journal, options)?;
        let mut positions = Vec::new();
        while positions.len() < most
            && let Some(due) = replay.next_due()?
        {
            let Item::Event(event) = due.item else { panic!("{:?}", due.item) };
            positions.push(event.position);
        }
        Ok(positions)
    };
    let options = || ReplayOptions::default().from(Seek::Position(5)).to(Some(Until::Position(12)));
    assert_eq!(positions(options(), 100)?, (5..12).collect::<Vec<_>>());
    let typed = options().type_ids(vec![0, 2]);
    assert_eq!(positions(typed, 100)?, [5, 6, 8, 9, 11]);
    let repeated = options().repeat(true);
    assert_eq!(positions(repeated, 16)?, [5, 6, 7, 8, 9, 10, 11, 5, 6, 7, 8, 9, 10, 11, 5, 6]);
    let nothing = options().repeat(true).type_ids(vec![9]);
    assert_eq!(positions(nothing, 100)?, []);
    let until = ReplayOptions::default().to(Some(Until::Time(1_000_000_000 + 3000)));
    assert_eq!(positions(until, 100)?, [0, 1]);
    Ok(())
}

#[test]
fn what_is_no_journal_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = |path: &Path| Journal::open(path).map(|_| ());
    assert!(matches!(open(directory.path()), Err(Error::NoJournal { .. })));
    assert!(matches!(open(&directory.path().join("none")), Err(Error::NoJournal { .. })));
    let file = directory.path().join("file");
    std::fs::write(&file, b"hello").expect("written");
    assert!(matches!(open(&file), Err(Error::Invalid { .. })));
    // Foreign bytes under a segment's name.
    let name = directory.path().join(format!("{:020}.seg", 1));
    std::fs::write(&name, vec![7; 10_000]).expect("written");
    assert!(matches!(open(directory.path()), Err(Error::Corrupt { .. })));
    std::fs::write(&name, vec![0; 10_000]).expect("written");
    assert!(matches!(open(directory.path()), Err(Error::NoJournal { .. })), "one that is only prepared");
    std::fs::write(&name, b"short").expect("written");
    assert!(matches!(open(directory.path()), Err(Error::NoJournal { .. })));
}

#[test]
fn a_segment_of_another_channel_or_number_is_refused() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Stream);
    sample(&mut hand, 2, 1, 3);
    let other = tempfile::tempdir().expect("a directory");
    let mut foreign = Hand::new(other.path(), Kind::Stream);
    sample(&mut foreign, 2, 1, 3);
    std::fs::copy(foreign.path(2), hand.path(2)).expect("copied");
    let journal = Journal::open(directory.path())?;
    let read = journal.events(Seek::Beginning).and_then(|mut events| rest(&mut events));
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    std::fs::copy(foreign.path(1), foreign.path(2)).expect("copied");
    let renamed = Journal::open(other.path()).map(|_| ());
    assert!(matches!(&renamed, Err(Error::Corrupt { why, .. }) if why.contains("renamed")), "{renamed:?}");
    Ok(())
}

#[test]
fn a_journal_cut_anywhere_ends_or_is_corrupt_but_nothing_is_invented() -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hand = Hand::new(directory.path(), Kind::Stream);
    let written = events_of(&sample(&mut hand, 1, 3, 4));
    hand.seal(true);
    let whole = std::fs::read(hand.path(1)).expect("read");
    let end = 8192 + 4096 * 3;
    for length in (0..=end + 4096).step_by(97).chain([4095, 4096, 8191, 8192, end - 1, end]) {
        std::fs::write(hand.path(1), &whole[..length]).expect("cut");
        match all(directory.path(), Seek::Beginning) {
            Ok(seen) => assert_eq!(seen, written[..seen.len()], "{length}"),
            Err(Error::Corrupt { .. } | Error::NoJournal { .. }) => {}
            Err(error) => panic!("{length}: {error}"),
        }
    }
    Ok(())
}
