//! The writer, step by step: a test decides which operation ends, when, and how.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use railbus::journal::Shortage;
use railbus_log::disk::store::{Begun, Completion, Pipeline};
use railbus_log::format::{
    BLOCK_BYTES_MAX, BLOCKS_OFFSET, BlockHeader, BlockKind, Codec, PositionUnit, RecordKind, SECTOR_BYTES,
    SegmentHeader, seal_offset,
};
use railbus_log::recover::{self as recovery, Checks};
use railbus_log::stage::words::StageWords;
use railbus_log::write::{Full, Progress, Start, SyncPolicy, Writer, WriterOptions};
use railbus_ring::frame;

use crate::simulated::disk::Disk;
use crate::simulated::plain::{Scribe, small};
use crate::simulated::run::identity;

/// An operation that was begun and has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Write { segment: u64, offset: u64, block: usize, bytes: usize, kind: BlockKind, durable: u64 },
    Sync { segment: u64 },
    Prepare { segment: u64 },
}

#[derive(Debug, Default)]
struct Script {
    open: Vec<Op>,
    ended: Vec<Completion>,
    closed: Vec<u64>,
    /// Sizes of the requested segments.
    asked_bytes: Vec<u64>,
    /// Preparations succeed at once.
    prepares: bool,
    /// Writes fail at once for lack of room.
    refuses: bool,
}

/// A pipeline in which nothing ends by itself, except preparations if the script allows it.
#[derive(Debug)]
struct Scripted {
    script: Rc<RefCell<Script>>,
    staging: Vec<Vec<u8>>,
    depth: usize,
}

impl Pipeline for Scripted {
    fn depth(&self) -> usize {
        self.depth
    }

    fn staging(&mut self, block: usize) -> &mut [u8] {
        &mut self.staging[block]
    }

    fn staging_blocks(&self) -> usize {
        self.staging.len()
    }

    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()> {
        let header = BlockHeader::decode(&self.staging[block]).expect("a block");
        let (kind, durable) = (header.kind, header.durable_position);
        if self.script.borrow().refuses {
            let result = Err(io::Error::from_raw_os_error(libc::ENOSPC));
            self.script.borrow_mut().ended.push(Completion { begun: Begun::Write { block }, result });
            return Ok(());
        }
        self.script.borrow_mut().open.push(Op::Write { segment, offset, block, bytes, kind, durable });
        Ok(())
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.script.borrow_mut().open.push(Op::Sync { segment });
        Ok(())
    }

    fn prepare(&mut self, header: &SegmentHeader, _channel_page: &[u8]) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        script.asked_bytes.push(header.segment_bytes);
        if script.prepares {
            script
                .ended
                .push(Completion { begun: Begun::Prepare { segment: header.number }, result: Ok(()) });
        } else {
            script.open.push(Op::Prepare { segment: header.number });
        }
        Ok(())
    }

    fn close(&mut self, segment: u64) {
        self.script.borrow_mut().closed.push(segment);
    }

    fn complete(&mut self, _timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()> {
        ended.append(&mut self.script.borrow_mut().ended);
        Ok(())
    }
}

/// A writer, and the control of its disk.
struct Stage {
    writer: Writer<Scripted>,
    script: Rc<RefCell<Script>>,
    now_ns: u64,
}

impl Stage {
    fn new(options: WriterOptions, blocks: usize, depth: usize) -> Stage {
        let script = Rc::new(RefCell::new(Script { prepares: true, ..Script::default() }));
        let staging = vec![vec![0; options.block_bytes]; blocks];
        let pipeline = Scripted { script: script.clone(), staging, depth };
        let identity = identity(PositionUnit::Events, 1);
        let writer = Writer::new(pipeline, StageWords::heap(blocks), Start::default(), identity, options);
        let mut stage = Stage { writer: writer.expect("a writer"), script, now_ns: 0 };
        stage.turn(); // the first segment is there
        stage
    }

    fn turn(&mut self) -> Progress {
        self.turn_after(1)
    }

    fn turn_after(&mut self, ns: u64) -> Progress {
        self.now_ns += ns;
        self.writer.turn(self.now_ns, Duration::ZERO).expect("a disk that works")
    }

    fn append(&mut self, bytes: usize) -> Result<(), Full> {
        let position = self.writer.end();
        let word = frame::header(bytes as u32, 1, 0);
        self.writer.append(word, position, position + 1, &vec![7; bytes], 1)
    }

    /// Appends an event that fills a block of one sector, and has it written.
    fn block(&mut self) {
        self.append(3_900).expect("room");
        self.turn();
        self.turn_after(1_000_000);
    }

    fn open(&self) -> Vec<Op> {
        self.script.borrow().open.clone()
    }

    fn writes(&self) -> Vec<Op> {
        self.open().into_iter().filter(|op| matches!(op, Op::Write { .. })).collect()
    }

    fn syncs(&self) -> Vec<u64> {
        let syncs = self.open().into_iter().filter_map(|op| match op {
            Op::Sync { segment } => Some(segment),
            _ => None,
        });
        syncs.collect()
    }

    fn end_with(&mut self, op: Op, result: io::Result<()>) {
        let mut script = self.script.borrow_mut();
        let index = script.open.iter().position(|open| *open == op).expect("it was begun");
        script.open.remove(index);
        let begun = match op {
            Op::Write { block, .. } => Begun::Write { block },
            Op::Sync { segment } => Begun::Sync { segment },
            Op::Prepare { segment } => Begun::Prepare { segment },
        };
        script.ended.push(Completion { begun, result });
    }

    fn end(&mut self, op: Op) {
        self.end_with(op, Ok(()));
    }

    /// Ends all operations that are begun, until there are none.
    fn settle(&mut self) -> Progress {
        while !self.open().is_empty() {
            for op in self.open() {
                self.end(op);
            }
            self.turn();
        }
        self.turn()
    }
}

fn options(sync: SyncPolicy) -> WriterOptions {
    WriterOptions { sync, ..small(4, Codec::None) }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

#[test]
fn a_single_event_at_rest_is_written_and_synced_at_once() {
    let mut stage = Stage::new(options(SyncPolicy::Always), 8, 4);
    assert_eq!(stage.writer.deadline_ns(stage.now_ns), None, "nothing to do");
    stage.append(10).expect("room");
    assert!(stage.writer.deadline_ns(stage.now_ns).is_some_and(|at| at <= stage.now_ns), "at once");
    assert_eq!(stage.turn().written, 0);
    let [write @ Op::Write { segment: 1, offset: BLOCKS_OFFSET, bytes: SECTOR_BYTES, .. }] =
        stage.writes()[..]
    else {
        panic!("one sector: {:?}", stage.open());
    };
    assert!(stage.writer.is_busy());
    stage.end(write);
    assert_eq!(stage.turn(), Progress { written: 1, durable: 0, shortage: None, rotated: false });
    assert_eq!(stage.open(), [Op::Sync { segment: 1 }]);
    stage.end(Op::Sync { segment: 1 });
    assert_eq!(stage.turn().durable, 1);
    assert!(!stage.writer.is_busy());
}

#[test]
fn one_sync_covers_what_was_written_when_it_began_and_the_next_all_the_rest() {
    let mut stage = Stage::new(options(SyncPolicy::Always), 8, 4);
    stage.block();
    stage.end(stage.writes()[0]);
    stage.turn();
    assert_eq!(stage.syncs(), [1]);
    stage.block();
    stage.block();
    for write in stage.writes() {
        stage.end(write);
    }
    assert_eq!(stage.turn(), Progress { written: 3, durable: 0, shortage: None, rotated: false });
    assert_eq!(stage.syncs(), [1], "one at a time");
    stage.end(Op::Sync { segment: 1 });
    assert_eq!(stage.turn().durable, 1, "not what was written after it began");
    assert_eq!(stage.syncs(), [1]);
    stage.end(Op::Sync { segment: 1 });
    assert_eq!(stage.turn().durable, 3);
}

#[test]
fn a_write_that_ends_early_waits_for_those_before_it() {
    let mut stage = Stage::new(options(SyncPolicy::Always), 8, 4);
    stage.block();
    stage.block();
    let [first, second] = stage.writes()[..] else { panic!("two writes: {:?}", stage.open()) };
    stage.end(second);
    assert_eq!(stage.turn().written, 0);
    assert_eq!(stage.syncs(), [], "nothing without a hole to sync");
    stage.end(first);
    assert_eq!(stage.turn().written, 2);
    assert_eq!(stage.syncs(), [1]);
}

#[test]
fn rotation_does_not_wait_and_the_next_segment_counts_only_after_the_one_before() {
    let mut stage = Stage::new(options(SyncPolicy::Always), 12, 8);
    for _ in 0..5 {
        stage.block(); // four fill the first segment
    }
    let writes = stage.writes();
    assert_eq!(writes.len(), 6, "five blocks and a seal, all in flight: {writes:?}");
    let seal = writes[4];
    let segment_bytes = options(SyncPolicy::Always).segment_bytes;
    let Op::Write { segment: 1, offset, kind: BlockKind::Seal, .. } = seal else { panic!("{seal:?}") };
    assert_eq!(offset, seal_offset(segment_bytes));
    let Op::Write { segment: 2, offset: BLOCKS_OFFSET, .. } = writes[5] else { panic!("{:?}", writes[5]) };
    // All but the seal ends: segment 2 is not even written without a hole.
    for write in writes.into_iter().filter(|write| *write != seal) {
        stage.end(write);
    }
    assert_eq!(stage.turn().written, 4);
    assert_eq!(stage.syncs(), [1]);
    stage.end(seal);
    assert_eq!(stage.turn().written, 5);
    stage.end(Op::Sync { segment: 1 });
    assert_eq!(stage.turn().durable, 4);
    assert_eq!(stage.syncs(), [1], "that one did not cover the seal");
    stage.end(Op::Sync { segment: 1 });
    assert_eq!(stage.turn().durable, 4);
    assert_eq!(stage.script.borrow().closed, [1]);
    assert_eq!(stage.syncs(), [2]);
    stage.end(Op::Sync { segment: 2 });
    assert_eq!(stage.turn().durable, 5);
}

#[test]
fn writes_in_flight_and_staging_are_bounded_and_full_is_said() {
    let mut stage = Stage::new(options(SyncPolicy::Never), 6, 2);
    let mut appended = 0;
    while stage.append(3_900).is_ok() {
        stage.turn_after(1_000_000);
        appended += 1;
        assert!(appended < 100);
    }
    assert_eq!(appended, 5, "six blocks, one of them for marks and seals");
    assert_eq!(stage.writes().len(), 2, "as deep as the pipeline");
    assert_eq!(stage.append(3_900), Err(Full), "and again");
    let first = stage.writes()[0];
    stage.end(first);
    stage.turn();
    assert_eq!(stage.append(3_900), Ok(()), "a block is free");
    stage.settle();
    // Nobody requests durability: a block that is not full waits for more, for a while.
    stage.turn_after(1_000_000_000);
    stage.settle();
    assert_eq!(stage.writer.written(), 6);
}

#[test]
fn states_wait_for_the_end_of_a_large_event() {
    let mut stage = Stage::new(options(SyncPolicy::Never), 3, 1);
    let state = |stage: &mut Stage| stage.writer.append_state(RecordKind::Cursors, b"where they stand", 1);
    assert_eq!(stage.append(20_000), Err(Full), "two blocks of it are staged");
    assert!(stage.writer.is_within(0) && !stage.writer.is_within(1));
    assert_eq!(state(&mut stage), Err(Full), "not among its pieces");
    let mut tries = 0;
    while stage.append(20_000).is_err() {
        assert_eq!(state(&mut stage), Err(Full));
        stage.settle();
        tries += 1;
        assert!(tries < 100);
    }
    assert!(!stage.writer.is_within(0));
    stage.settle();
    assert_eq!(state(&mut stage), Ok(()), "behind its last piece");
    stage.settle();
    stage.turn_after(1_000_000_000);
    stage.settle();
    assert_eq!(stage.writer.written(), 1);
}

#[test]
fn a_partly_full_block_waits_for_more_while_writes_are_in_flight_but_not_for_long() {
    let mut stage =
        Stage::new(WriterOptions { linger: Duration::from_nanos(500), ..options(SyncPolicy::Always) }, 8, 4);
    stage.append(10).expect("room");
    stage.turn();
    stage.append(10).expect("room");
    stage.turn();
    assert_eq!(stage.writes().len(), 1, "the disk is busy: more may come");
    let deadline = stage.writer.deadline_ns(stage.now_ns).expect("a deadline");
    assert!(deadline > stage.now_ns && deadline <= stage.now_ns + 500);
    stage.turn_after(deadline - stage.now_ns);
    assert_eq!(stage.writes().len(), 2);
}

#[test]
fn a_failed_write_or_sync_stops_the_writer_for_good() {
    for fails_to_sync in [false, true] {
        let mut stage = Stage::new(options(SyncPolicy::Always), 8, 4);
        stage.block();
        stage.block();
        let writes = stage.writes();
        if fails_to_sync {
            stage.end(writes[0]);
            stage.turn();
            stage.end_with(Op::Sync { segment: 1 }, Err(eio()));
        } else {
            stage.end_with(writes[0], Err(eio()));
        }
        let error = stage.writer.turn(2, Duration::ZERO).expect_err("poison").to_string();
        assert!(
            error.contains("nothing again") && error.contains(if fails_to_sync { "sync" } else { "write" }),
            "{error}"
        );
        let begun = stage.open().len();
        stage.end(writes[1]); // ends well, and counts for nothing
        for _ in 0..3 {
            let again = stage.writer.turn(3_000_000_000, Duration::ZERO).expect_err("poison").to_string();
            assert_eq!(again, error);
            assert_eq!(stage.append(1), Err(Full));
        }
        assert!(stage.writer.flush(4).is_err() && stage.writer.finish(4).is_err());
        assert_eq!(stage.writer.durable(), 0);
        assert_eq!(stage.open().len(), begun - 1, "nothing is begun any more");
        assert_eq!(stage.writer.deadline_ns(5), None);
    }
}

#[test]
fn a_full_disk_is_no_poison_and_is_asked_again() {
    let mut stage = Stage::new(options(SyncPolicy::Always), 8, 4);
    // The segment ahead was prepared well; the one after it cannot be.
    stage.script.borrow_mut().prepares = false;
    let mut progress = Progress::default();
    for _ in 0..40 {
        if stage.append(3_900).is_err() {
            break;
        }
        progress = stage.turn_after(1_000_000);
        for op in stage.open() {
            match op {
                Op::Prepare { .. } => stage.end_with(op, Err(io::Error::from_raw_os_error(libc::ENOSPC))),
                op => stage.end(op),
            }
        }
    }
    assert_eq!(progress.shortage, Some(Shortage::Space));
    assert_eq!(stage.append(1), Err(Full));
    assert!(stage.writer.flush(stage.now_ns).is_err_and(|error| error.exit_code() == 6), "no space");
    let retry_at_ns = stage.writer.deadline_ns(stage.now_ns).expect("it is asked again");
    assert!(retry_at_ns > stage.now_ns && retry_at_ns <= stage.now_ns + 100_000_000);
    stage.script.borrow_mut().prepares = true; // somebody made room
    assert_eq!(stage.turn_after(200_000_000).shortage, None);
    stage.settle();
    assert_eq!(stage.writer.durable(), stage.writer.end());
    stage.append(1).expect("room");
}

#[test]
fn a_write_that_finds_no_room_is_written_again_and_nothing_overtakes_it() {
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EMFILE, libc::ENOMEM] {
        let mut stage = Stage::new(options(SyncPolicy::Always), 8, 4);
        stage.block();
        stage.block();
        let [first, second] = stage.writes()[..] else { panic!("two writes") };
        stage.end(second);
        stage.end_with(first, Err(io::Error::from_raw_os_error(errno)));
        let progress = stage.turn();
        assert_eq!((progress.written, progress.durable), (0, 0), "the second is behind a hole");
        assert!(progress.shortage.is_some());
        // Nothing new is begun, staging fills, and nobody spins.
        while stage.append(3_900).is_ok() {
            stage.turn_after(1_000_000);
        }
        assert_eq!(stage.writes(), [], "not before it is time");
        let retry_at_ns = stage.writer.deadline_ns(stage.now_ns).expect("it is tried again");
        assert!(retry_at_ns > stage.now_ns);
        assert!(stage.writer.flush(stage.now_ns).is_err_and(|error| error.exit_code() == 6), "no space");
        stage.turn_after(100_000_000);
        assert_eq!(stage.writes(), [first], "the same bytes at the same place");
        // Refused once more, and then written.
        stage.end_with(first, Err(io::Error::from_raw_os_error(errno)));
        assert!(stage.turn().shortage.is_some());
        stage.turn_after(100_000_000);
        stage.end(first);
        let progress = stage.turn();
        assert_eq!((progress.written, progress.shortage), (2, None));
        stage.settle();
        assert_eq!(stage.writer.written(), stage.writer.end());
        stage.writer.flush(stage.now_ns).expect("a disk with room");
    }
}

#[test]
fn a_seal_that_finds_no_room_is_no_poison_and_no_clean_end() {
    let mut stage = Stage::new(options(SyncPolicy::Always), 8, 4);
    stage.block();
    stage.settle();
    stage.script.borrow_mut().refuses = true;
    for _ in 0..2 {
        assert!(stage.writer.finish(stage.now_ns).is_err_and(|error| error.exit_code() == 6));
    }
    assert_eq!(stage.writer.durable(), 1, "what was told stays true");
}

#[test]
fn a_segment_waits_for_descriptors_as_for_room() {
    let mut stage = Stage::new(options(SyncPolicy::Always), 8, 4);
    stage.script.borrow_mut().prepares = false;
    for _ in 0..40 {
        if stage.append(3_900).is_err() {
            break;
        }
        stage.turn_after(1_000_000);
        for op in stage.open() {
            match op {
                Op::Prepare { .. } => stage.end_with(op, Err(io::Error::from_raw_os_error(libc::EMFILE))),
                op => stage.end(op),
            }
        }
    }
    assert_eq!(stage.turn().shortage, Some(Shortage::Descriptors));
    stage.script.borrow_mut().prepares = true; // somebody closed files
    assert_eq!(stage.turn_after(200_000_000).shortage, None);
    stage.settle();
    assert_eq!(stage.writer.durable(), stage.writer.end());
}

#[test]
fn policies_say_when_to_sync() {
    let interval = Duration::from_nanos(10_000_000);
    let mut stage = Stage::new(options(SyncPolicy::Interval(interval)), 8, 4);
    stage.block();
    stage.settle();
    assert_eq!(stage.writer.durable(), 1, "the first at once: none was begun for long");
    stage.block();
    stage.end(stage.writes()[0]);
    stage.turn();
    assert_eq!((stage.syncs(), stage.writer.written()), (vec![], 2), "not yet");
    let deadline = stage.writer.deadline_ns(stage.now_ns).expect("a deadline");
    assert!(deadline <= stage.now_ns + 10_000_000);
    stage.turn_after(deadline - stage.now_ns);
    assert_eq!(stage.syncs(), [1]);

    let mut stage = Stage::new(options(SyncPolicy::Never), 12, 8);
    for _ in 0..3 {
        stage.block();
    }
    stage.settle();
    assert_eq!((stage.writer.written(), stage.writer.durable()), (3, 0));
    for _ in 0..3 {
        stage.block();
    }
    stage.settle();
    assert_eq!(
        (stage.writer.written(), stage.writer.durable()),
        (6, 4),
        "a full segment is synced behind one's back"
    );
}

#[test]
fn when_all_is_durable_and_nothing_comes_a_mark_says_so_once() {
    let after = Duration::from_millis(10);
    let mut stage = Stage::new(WriterOptions { mark_after: after, ..options(SyncPolicy::Always) }, 8, 4);
    stage.block();
    let write = stage.writes()[0];
    assert!(
        matches!(write, Op::Write { kind: BlockKind::Records, durable: 0, .. }),
        "it cannot know: {write:?}"
    );
    stage.settle();
    assert_eq!(stage.writer.durable(), 1);
    let deadline = stage.writer.deadline_ns(stage.now_ns).expect("a mark is due");
    stage.turn_after(deadline - stage.now_ns - 1);
    assert_eq!(stage.open(), [], "not yet");
    stage.turn_after(1);
    let [mark @ Op::Write { kind: BlockKind::Mark, durable: 1, bytes: SECTOR_BYTES, .. }] = stage.open()[..]
    else {
        panic!("a mark: {:?}", stage.open());
    };
    stage.end(mark);
    stage.turn_after(3_000_000_000);
    assert_eq!(stage.open(), [], "no sync of a mark, and no second one");
    assert_eq!(stage.writer.deadline_ns(stage.now_ns), None);
}

/// Acknowledged by a sync, killed before a block carried that position: without the mark, a hole
/// there would pass for a torn tail.
#[test]
fn a_hole_below_a_mark_is_corruption() {
    for marked in [false, true] {
        let disk = Disk::new(1);
        let mark_after = if marked { Duration::from_nanos(1) } else { Duration::from_secs(3600) };
        let options = WriterOptions { mark_after, ..small(6, Codec::None) };
        let mut scribe = Scribe::new(&disk, PositionUnit::Bytes, &options);
        scribe.event(&[1; 100], 1);
        scribe.settle();
        assert_eq!(scribe.writer.durable(), scribe.writer.end());
        let mut files = disk.contents();
        files.get_mut(&1).expect("a segment")[BLOCKS_OFFSET as usize + 300] ^= 1;
        let report =
            recovery::examine(&Disk::holding(&files), Path::new("marked"), Checks::QUICK).expect("it reads");
        assert_eq!(report.corrupt.is_some(), marked, "{report:?}");
        if let Some(cut) = report.cut {
            assert_eq!((cut.from, cut.to), (0, scribe.writer.end()), "the range, by the word of the header");
        }
        let doubt = report.cut.is_some_and(|cut| cut.may_be_acknowledged);
        assert_eq!(doubt, !marked, "what is cut may have been acknowledged, and that is said");
    }
}

#[test]
fn segments_grow_to_their_size_and_each_is_sealed_in_its_own_last_sector() {
    let block_bytes = 64 << 10;
    let sync = SyncPolicy::Never;
    let options = WriterOptions { segment_bytes: 40 << 20, block_bytes, sync, ..WriterOptions::default() };
    let mut stage = Stage::new(options, 8, 6);
    let mut seals = Vec::new();
    while seals.len() < 3 {
        stage.append(block_bytes - 1_000).expect("room");
        stage.turn();
        for op in stage.open() {
            if let Op::Write { segment, offset, kind: BlockKind::Seal, .. } = op {
                seals.push((segment, offset));
            }
            stage.end(op);
        }
        stage.turn_after(1_000_000);
    }
    let sizes = [4 << 20, 16 << 20, 40 << 20];
    assert_eq!(stage.script.borrow().asked_bytes[..4], [sizes[0], sizes[1], sizes[2], sizes[2]]);
    assert_eq!(seals, [1, 2, 3].map(|number| (number, seal_offset(sizes[number as usize - 1]))));
}

#[test]
fn options_out_of_range_are_refused() {
    let refused = |options: WriterOptions, blocks: usize, depth: usize| {
        let pipeline =
            Scripted { script: Rc::default(), staging: vec![vec![0; SECTOR_BYTES]; blocks], depth };
        let identity = identity(PositionUnit::Events, 1);
        Writer::new(pipeline, StageWords::heap(blocks), Start::default(), identity, options)
            .is_err_and(|error| error.exit_code() == 2)
    };
    let good = || options(SyncPolicy::Always);
    assert!(!refused(good(), 3, 1));
    assert!(refused(good(), 2, 1) && refused(good(), 3, 0));
    assert!(refused(WriterOptions { codec: Codec::Lz4, ..good() }, 3, 1));
    assert!(refused(WriterOptions { block_bytes: 0, ..good() }, 8, 1));
    assert!(refused(WriterOptions { block_bytes: 5_000, ..good() }, 8, 1));
    assert!(refused(WriterOptions { block_bytes: 2 * BLOCK_BYTES_MAX, ..WriterOptions::default() }, 8, 1));
    assert!(refused(WriterOptions { segment_bytes: BLOCKS_OFFSET + SECTOR_BYTES as u64, ..good() }, 8, 1));
    assert!(refused(WriterOptions { segment_bytes: u64::MAX, ..good() }, 8, 1));
    assert!(refused(WriterOptions { segments_ahead: 0, ..good() }, 8, 1));
}

/// A working writer has a state in its first segment only. That segment stays until the state was
/// repeated in one that is durable; and the newest durable one stays while nothing of the next is.
#[test]
fn what_is_pruned_by_hand_leaves_what_a_crash_would_need() {
    let disk = Disk::new(1);
    let mut scribe = Scribe::new(&disk, PositionUnit::Events, &small(3, Codec::None));
    let prunable = |unread| {
        recovery::prunable(&disk, Path::new("journal"), usize::MAX, unread).expect("a sound journal")
    };
    scribe.state(RecordKind::Cursors, b"where they stand");
    for _ in 0..12 {
        scribe.event(&[1; 3_000], 1);
        scribe.settle();
    }
    assert_eq!(prunable(u64::MAX), 0, "the state is in the first segment");
    assert_eq!(scribe.writer.states_from(), 1);
    scribe.state(RecordKind::Cursors, b"where they stand now");
    for _ in 0..6 {
        scribe.event(&[1; 3_000], 1);
        scribe.settle();
    }
    let states_from = scribe.writer.states_from();
    assert!(states_from > 3, "{states_from}");
    assert_eq!(prunable(u64::MAX) as u64, states_from - 1, "up to the segment of the repeated state");
    scribe.finish();
    assert_eq!(prunable(u64::MAX) as u64, states_from - 1);
    // An event that goes on in the next segment is unread until it is read.
    let large = Disk::new(2);
    let mut scribe = Scribe::new(&large, PositionUnit::Events, &small(3, Codec::None));
    scribe.event(&[1; 20_000], 1);
    scribe.event(&[2; 100], 1);
    scribe.finish();
    let path = Path::new("journal");
    assert_eq!(recovery::prunable(&large, path, 1, 0).expect("a sound journal"), 0);
    assert_eq!(recovery::prunable(&large, path, 1, 1).expect("a sound journal"), 1);
}
