//! The journal's ways to a real disk: files, lock, io_uring, system calls, with real processes and
//! real SIGKILLs.
//!
//! The same contract is checked for each pipeline on the file system of the temporary directory (a
//! disk, usually) and on tmpfs. A pass means that the pipelines keep their contract on this kernel.
//! The effects of a power cut are for other tests.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use railbus::Error;
use railbus_log::disk::choose::{self as disk, Disk, DiskOptions, DiskReport};
use railbus_log::disk::files::{Files, RETIRED_MAX, index_name, segment_name};
use railbus_log::disk::lock::{Lock, PATIENCE};
use railbus_log::disk::store::{Begun, Completion, Pipeline, Store};
use railbus_log::format::{BLOCK_BYTES_MAX, BLOCKS_OFFSET, SECTOR_BYTES, SEGMENT_BYTES_MIN, SegmentHeader};
use railbus_log::stage::buffers::StageMemory;

use crate::children;
use crate::mounts;

const BLOCKS: usize = 6;
const SEGMENT_BYTES: u64 = BLOCKS_OFFSET + 8 * BLOCK_BYTES_MAX as u64;
const FIRST: u64 = BLOCKS_OFFSET;

/// A directory on a disk if the machine's temporary directory is on one, and one on tmpfs.
fn places() -> [tempfile::TempDir; 2] {
    [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()]
}

fn ways() -> [DiskOptions; 4] {
    let way = |io_uring, direct| DiskOptions { depth: 4, io_uring, direct, worker_cpus: None };
    [way(true, true), way(true, false), way(false, true), way(false, false)]
}

struct Journal {
    files: Arc<Files>,
    lock: Arc<Lock>,
}

impl Journal {
    fn open(path: &Path) -> Journal {
        let files = Arc::new(Files::create(path).unwrap());
        let lock = Arc::new(files.lock(PATIENCE).unwrap());
        Journal { files, lock }
    }

    fn pipeline(&self, options: &DiskOptions) -> (Disk, DiskReport) {
        let memory = StageMemory::anonymous(BLOCKS).unwrap();
        disk::open(&self.files, &self.lock, memory, options).unwrap()
    }
}

fn header(number: u64) -> SegmentHeader {
    SegmentHeader {
        number,
        segment_id: 1000 + number,
        incarnation: 1,
        epoch: 1,
        segment_bytes: SEGMENT_BYTES,
        ..SegmentHeader::default()
    }
}

/// All completions until `count` operations have ended.
fn ends(pipeline: &mut Disk, count: usize) -> Vec<Completion> {
    let mut ended = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while ended.len() < count {
        assert!(Instant::now() < deadline, "{count} things were begun, these have ended: {ended:?}");
        pipeline.complete(Some(Duration::from_millis(50)), &mut ended).unwrap();
    }
    ended
}

fn prepare(pipeline: &mut Disk, number: u64) {
    pipeline.prepare(&header(number), b"the channel's page").unwrap();
    let ended = ends(pipeline, 1);
    assert_eq!(ended[0].begun, Begun::Prepare { segment: number });
    ended[0].result.as_ref().unwrap();
}

fn read(files: &Files, segment: u64, offset: u64, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    assert_eq!(files.read_at(segment, offset, &mut read).unwrap(), bytes);
    read
}

#[test]
fn each_way_keeps_the_contract_on_each_file_system() {
    for place in &places() {
        for (number, options) in ways().iter().enumerate() {
            let journal = Journal::open(&place.path().join(format!("way{number}")));
            let (mut pipeline, report) = journal.pipeline(options);
            println!("{}: {report}", place.path().display());
            assert_eq!(report.io_uring, matches!(pipeline, Disk::Uring(_)));
            assert!(report.direct.is_none() || options.direct);
            assert_eq!((pipeline.depth(), pipeline.staging_blocks()), (4, BLOCKS));
            segments_come_named_and_zero(&journal, &mut pipeline);
            writes_and_syncs_end(&journal, &mut pipeline);
            wrong_arguments_are_errors_and_change_nothing(&journal, &mut pipeline);
            segments_are_closed_and_opened_again(&journal, &mut pipeline);
            drop(pipeline);
            // A pipeline that is dropped leaves a journal that the next one can go on with.
            let (mut next, _) = journal.pipeline(options);
            next.staging(0)[..SECTOR_BYTES].fill(77);
            next.write(2, FIRST, 0, SECTOR_BYTES).unwrap();
            ends(&mut next, 1)[0].result.as_ref().unwrap();
            assert_eq!(read(&journal.files, 2, FIRST, SECTOR_BYTES), [77; SECTOR_BYTES]);
        }
    }
}

fn segments_come_named_and_zero(journal: &Journal, pipeline: &mut Disk) {
    let mut ended = Vec::new();
    pipeline.complete(Some(Duration::ZERO), &mut ended).unwrap();
    pipeline.complete(None, &mut ended).unwrap(); // Nothing is in flight: this does not wait.
    assert!(ended.is_empty());
    prepare(pipeline, 1);
    assert_eq!(journal.files.segments().unwrap(), [1]);
    assert_eq!(journal.files.length(1).unwrap(), SEGMENT_BYTES);
    let page = read(&journal.files, 1, 0, SECTOR_BYTES);
    assert_eq!(SegmentHeader::decode(&page).unwrap(), header(1));
    let page = read(&journal.files, 1, SECTOR_BYTES as u64, SECTOR_BYTES);
    assert!(page.starts_with(b"the channel's page\0"));
    let rest = read(&journal.files, 1, FIRST, (SEGMENT_BYTES - FIRST) as usize);
    assert!(rest.iter().all(|&byte| byte == 0));
}

fn writes_and_syncs_end(journal: &Journal, pipeline: &mut Disk) {
    // As many as may be in flight, of different sizes, not in the order of the file; and the next
    // segment at the same time.
    pipeline.prepare(&header(2), b"").unwrap();
    for block in 0..4 {
        pipeline.staging(block).fill(block as u8 + 1);
        let offset = FIRST + (3 - block) as u64 * BLOCK_BYTES_MAX as u64;
        pipeline.write(1, offset, block, BLOCK_BYTES_MAX - block * SECTOR_BYTES).unwrap();
    }
    let refused = pipeline.write(1, FIRST + 4 * BLOCK_BYTES_MAX as u64, 4, SECTOR_BYTES).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    let mut blocks = Vec::new();
    for completion in ends(pipeline, 5) {
        completion.result.unwrap();
        match completion.begun {
            Begun::Write { block } => blocks.push(block),
            Begun::Prepare { segment } => assert_eq!(segment, 2),
            Begun::Sync { .. } => panic!("nobody asked for a sync"),
        }
    }
    blocks.sort_unstable();
    assert_eq!(blocks, [0, 1, 2, 3]);
    // Syncs of two segments, and a write beside them.
    pipeline.staging(5)[..SECTOR_BYTES].fill(9);
    pipeline.write(2, SEGMENT_BYTES - SECTOR_BYTES as u64, 5, SECTOR_BYTES).unwrap();
    pipeline.sync(1).unwrap();
    pipeline.sync(2).unwrap();
    let mut begun: Vec<Begun> = Vec::new();
    for completion in ends(pipeline, 3) {
        completion.result.unwrap();
        begun.push(completion.begun);
    }
    for expected in [Begun::Write { block: 5 }, Begun::Sync { segment: 1 }, Begun::Sync { segment: 2 }] {
        assert!(begun.contains(&expected), "{expected:?} of {begun:?}");
    }
    for block in 0..4 {
        let bytes = BLOCK_BYTES_MAX - block * SECTOR_BYTES;
        let found =
            read(&journal.files, 1, FIRST + (3 - block) as u64 * BLOCK_BYTES_MAX as u64, BLOCK_BYTES_MAX);
        assert!(found[..bytes].iter().all(|&byte| byte == block as u8 + 1));
        assert!(found[bytes..].iter().all(|&byte| byte == 0));
    }
    assert_eq!(read(&journal.files, 2, SEGMENT_BYTES - SECTOR_BYTES as u64, SECTOR_BYTES), [9; SECTOR_BYTES]);
}

fn wrong_arguments_are_errors_and_change_nothing(journal: &Journal, pipeline: &mut Disk) {
    let before = read(&journal.files, 1, 0, SEGMENT_BYTES as usize);
    let sector = SECTOR_BYTES as u64;
    let wrong = [
        (FIRST, BLOCKS, SECTOR_BYTES),                 // no such block
        (FIRST, usize::MAX, SECTOR_BYTES),             // likewise
        (FIRST, 0, 0),                                 // nothing
        (FIRST, 0, SECTOR_BYTES + 1),                  // no whole sectors
        (FIRST, 0, BLOCK_BYTES_MAX + SECTOR_BYTES),    // more than a block
        (FIRST + 512, 0, SECTOR_BYTES),                // not at a sector
        (0, 0, SECTOR_BYTES),                          // the header
        (sector, 0, SECTOR_BYTES),                     // the channel's page
        (SEGMENT_BYTES, 0, SECTOR_BYTES),              // behind the end
        (SEGMENT_BYTES - sector, 0, 2 * SECTOR_BYTES), // over the end
        (u64::MAX - sector + 1, 0, SECTOR_BYTES),      // far behind it
    ];
    for (offset, block, bytes) in wrong {
        let refused = pipeline.write(1, offset, block, bytes).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{offset} {block} {bytes}: {refused}");
    }
    for refused in [pipeline.write(99, FIRST, 0, SECTOR_BYTES), pipeline.sync(99)] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
    pipeline.close(99);
    let too_small = SegmentHeader { segment_bytes: SEGMENT_BYTES_MIN - sector, ..header(7) };
    let odd = SegmentHeader { segment_bytes: SEGMENT_BYTES + 1, ..header(7) };
    for wrong in [too_small, odd, SegmentHeader { number: 0, ..header(7) }] {
        let refused = pipeline.prepare(&wrong, b"").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{refused}");
    }
    assert_eq!(pipeline.prepare(&header(7), &[0; 4097]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    // A segment that exists is left as it is, and the error comes as a completion.
    pipeline.prepare(&header(1), b"").unwrap();
    assert_eq!(pipeline.prepare(&header(1), b"").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let ended = ends(pipeline, 1);
    assert_eq!(ended[0].begun, Begun::Prepare { segment: 1 });
    assert_eq!(ended[0].result.as_ref().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    let mut more = Vec::new();
    pipeline.complete(Some(Duration::ZERO), &mut more).unwrap();
    assert!(more.is_empty(), "{more:?}");
    assert_eq!(journal.files.segments().unwrap(), [1, 2]);
    assert!(before == read(&journal.files, 1, 0, SEGMENT_BYTES as usize));
}

fn segments_are_closed_and_opened_again(journal: &Journal, pipeline: &mut Disk) {
    // Closed with a write and a sync in flight: they end all the same.
    pipeline.staging(0)[..SECTOR_BYTES].fill(42);
    pipeline.write(1, FIRST, 0, SECTOR_BYTES).unwrap();
    pipeline.sync(1).unwrap();
    pipeline.close(1);
    for completion in ends(pipeline, 2) {
        completion.result.unwrap();
    }
    assert_eq!(read(&journal.files, 1, FIRST, SECTOR_BYTES), [42; SECTOR_BYTES]);
    // More segments than may be open at once, one after the other.
    for number in 3..23 {
        prepare(pipeline, number);
        pipeline.staging(1)[..SECTOR_BYTES].fill(number as u8);
        pipeline.write(number, FIRST, 1, SECTOR_BYTES).unwrap();
        ends(pipeline, 1)[0].result.as_ref().unwrap();
        assert_eq!(read(&journal.files, number, FIRST, SECTOR_BYTES), [number as u8; SECTOR_BYTES]);
        pipeline.close(number);
        if number > 10 {
            // Also segments that were used before come with a fresh header.
            journal.files.retire(number, SEGMENT_BYTES).unwrap();
        }
    }
    pipeline.write(5, FIRST, 1, SECTOR_BYTES).unwrap();
    ends(pipeline, 1)[0].result.as_ref().unwrap();
    pipeline.close(5);
}

#[test]
fn the_kernels_workers_are_kept_on_their_processors_and_waits_may_be_endless() {
    let place = tempfile::tempdir().unwrap();
    let journal = Journal::open(place.path());
    let allowed = railbus_os::process::allowed_cpus().unwrap();
    let on = |cpu| DiskOptions { worker_cpus: Some(vec![cpu]), ..ways()[0].clone() };
    let (mut pipeline, report) = journal.pipeline(&on(allowed[0]));
    prepare(&mut pipeline, 1);
    pipeline.staging(0)[..SECTOR_BYTES].fill(1);
    pipeline.write(1, FIRST, 0, SECTOR_BYTES).unwrap();
    for limit in [None, Some(Duration::MAX)] {
        pipeline.sync(1).unwrap();
        let mut ended = Vec::new();
        while !ended.iter().any(|one: &Completion| one.begun == Begun::Sync { segment: 1 }) {
            pipeline.complete(limit, &mut ended).unwrap();
        }
    }
    drop(pipeline);
    if !report.io_uring {
        return println!("skipped the rest: {report}");
    }
    let (mut pipeline, _) = journal.pipeline(&on(1 << 20));
    let refused = pipeline.prepare(&header(2), b"").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{refused}");
    let memory = StageMemory::anonymous(1).unwrap();
    let none = DiskOptions { depth: 0, ..ways()[0].clone() };
    let refused = disk::open(&journal.files, &journal.lock, memory, &none).err().unwrap();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
}

#[test]
fn a_retired_segment_is_used_again_under_a_fresh_header() {
    use std::os::unix::fs::MetadataExt;
    let place = tempfile::tempdir().unwrap();
    let journal = Journal::open(place.path());
    let (mut pipeline, _) = journal.pipeline(&ways()[0]);
    let inode = |segment| place.path().join(segment_name(segment)).metadata().unwrap().ino();
    prepare(&mut pipeline, 1);
    pipeline.staging(0).fill(0xab);
    pipeline.write(1, FIRST, 0, BLOCK_BYTES_MAX).unwrap();
    ends(&mut pipeline, 1)[0].result.as_ref().unwrap();
    pipeline.close(1);
    let used = inode(1);
    std::fs::write(place.path().join(index_name(1)), "index").unwrap();
    journal.files.retire(1, SEGMENT_BYTES).unwrap();
    assert!(journal.files.segments().unwrap().is_empty());
    assert!(!place.path().join(index_name(1)).exists());
    // One of another size is not taken.
    pipeline.prepare(&SegmentHeader { segment_bytes: SEGMENT_BYTES + 4096, ..header(2) }, b"").unwrap();
    ends(&mut pipeline, 1)[0].result.as_ref().unwrap();
    assert_ne!(inode(2), used);
    prepare(&mut pipeline, 3);
    assert_eq!(inode(3), used);
    assert_eq!(SegmentHeader::decode(&read(&journal.files, 3, 0, SECTOR_BYTES)).unwrap(), header(3));
    assert_eq!(read(&journal.files, 3, FIRST, BLOCK_BYTES_MAX), vec![0xab; BLOCK_BYTES_MAX]);
    // No more are kept than are worth their room, and none with holes.
    for number in 4..10 {
        prepare(&mut pipeline, number);
        pipeline.close(number);
    }
    std::fs::File::create(place.path().join(segment_name(10))).unwrap().set_len(SEGMENT_BYTES).unwrap();
    journal.files.retire(10, SEGMENT_BYTES).unwrap();
    assert_eq!(spares(place.path()).len(), 0);
    for number in 4..10 {
        journal.files.retire(number, SEGMENT_BYTES).unwrap();
    }
    assert_eq!(spares(place.path()).len(), RETIRED_MAX);
}

#[test]
fn a_pipeline_that_is_dropped_stops_its_helper_and_leaves_nothing_half_made() {
    let place = tempfile::tempdir().unwrap();
    let journal = Journal::open(place.path());
    for options in [&ways()[0], &ways()[3]] {
        let (mut pipeline, _) = journal.pipeline(options);
        prepare(&mut pipeline, 1);
        // With a segment to write to there is no hurry: at its pace this takes four seconds.
        let large = SegmentHeader { segment_bytes: 256 << 20, ..header(2) };
        pipeline.prepare(&large, b"").unwrap();
        children::eventually("begun", || !spares(place.path()).is_empty());
        drop(pipeline);
        assert!(spares(place.path()).is_empty());
        assert_eq!(journal.files.segments().unwrap(), [1]);
        journal.files.remove(1).unwrap();
    }
}

fn spares(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "tmp")).collect()
}

#[test]
fn the_store_is_what_it_says() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/b/c");
    assert!(matches!(Files::open(&path), Err(Error::NotFound { .. })));
    let journal = Journal::open(&path);
    let files = &journal.files;
    assert!(files.segments().unwrap().is_empty());
    for number in [7, 2, 30] {
        files.create(&header(number), b"page").unwrap();
    }
    for stranger in ["00000000000000000000.seg", "1.seg", "0000000000000000000x.seg", "notes"] {
        std::fs::write(path.join(stranger), "").unwrap();
    }
    assert_eq!(files.segments().unwrap(), [2, 7, 30]);
    assert_eq!(files.create(&header(7), b"").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(SegmentHeader::decode(&read(files, 7, 0, SECTOR_BYTES)).unwrap(), header(7));
    files.write_at(7, FIRST, &[5; SECTOR_BYTES]).unwrap();
    files.sync(7).unwrap();
    assert_eq!(read(files, 7, FIRST, SECTOR_BYTES), [5; SECTOR_BYTES]);
    for (offset, bytes) in [(FIRST + 1, SECTOR_BYTES), (FIRST, 1)] {
        let refused = files.write_at(7, offset, &vec![6; bytes]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    // At the end of the file there is less, and after it nothing.
    let mut bytes = [1; 100];
    assert_eq!(files.read_at(7, SEGMENT_BYTES - 40, &mut bytes).unwrap(), 40);
    assert_eq!(files.read_at(7, SEGMENT_BYTES + 40, &mut bytes).unwrap(), 0);
    // Renamed under us, it is still the same journal.
    let aside = place.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    assert_eq!(files.segments().unwrap(), [2, 7, 30]);
    files.remove(30).unwrap();
    files.quarantine(2).unwrap();
    assert_eq!(files.segments().unwrap(), [7]);
    assert!(aside.join("quarantine").join(segment_name(2)).exists());
    files.create(&header(2), b"").unwrap();
    files.quarantine(2).unwrap();
    assert!(aside.join("quarantine").join(format!("{}.1", segment_name(2))).exists());
    for refused in [files.remove(2), files.quarantine(2), files.length(2).map(drop)] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn the_second_writer_is_told_who_the_first_is() {
    let place = tempfile::tempdir().unwrap();
    let journal = Journal::open(place.path());
    let other = Files::open(place.path()).unwrap();
    let busy = other.lock(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    let me = format!("process {}", std::process::id());
    assert!(busy.to_string().contains(&me), "{busy}");
    assert!(other.writer().unwrap().unwrap().contains(&me));
    drop(journal);
    // Not at once: a child that another test starts has a copy of every descriptor from fork to
    // exec.
    children::eventually("free", || other.writer().unwrap().is_none());
    let lock = other.lock(PATIENCE).unwrap();
    assert!(matches!(other.lock(Duration::ZERO), Err(Error::Busy { .. })));
    drop(lock);
}

/// Entry of the child processes.
#[test]
#[ignore = "runs in child processes only"]
fn child() {
    let Some((role, path)) = children::role() else { return };
    match role.as_str() {
        "write without end" => write_without_end(&path, &ways()[0]),
        "write without end, no io_uring" => write_without_end(&path, &ways()[3]),
        "fork" => fork_and_stay(&path, &ways()[0]),
        "fork, no io_uring" => fork_and_stay(&path, &ways()[3]),
        "refuse io_uring" => refused(&path),
        other => panic!("no role {other:?}"),
    }
}

/// Writes over and over, several blocks in flight, and asks for segments without end.
fn write_without_end(path: &Path, options: &DiskOptions) {
    let journal = Journal::open(path);
    let (mut pipeline, _) = journal.pipeline(options);
    prepare(&mut pipeline, 1);
    let mut next = 2;
    pipeline.prepare(&header(next), b"").unwrap();
    let (mut ended, mut free) = (Vec::new(), vec![0, 1, 2, 3]);
    children::say(b"writing");
    for turn in 0u64.. {
        while let Some(block) = free.pop() {
            let offset = FIRST + (turn % 7) * BLOCK_BYTES_MAX as u64;
            pipeline.staging(block).fill(turn as u8);
            pipeline.write(1, offset, block, BLOCK_BYTES_MAX).unwrap();
        }
        pipeline.complete(None, &mut ended).unwrap();
        for completion in ended.drain(..) {
            completion.result.unwrap();
            match completion.begun {
                Begun::Write { block } => free.push(block),
                Begun::Sync { .. } => {}
                Begun::Prepare { segment } => {
                    pipeline.close(segment);
                    journal.files.remove(segment).unwrap();
                    next += 1;
                    pipeline.prepare(&header(next), b"").unwrap();
                }
            }
        }
        if turn % 16 == 0 {
            let _ = pipeline.sync(1); // Refused when too many are in flight.
        }
    }
}

#[test]
fn after_sigkill_the_lock_is_free_when_nothing_is_in_flight_any_more() {
    for role in ["write without end", "write without end, no io_uring"] {
        let place = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            let mut writer = children::Actor::start(role, place.path());
            writer.expect("writing");
            let files = Files::open(place.path()).unwrap();
            assert!(files.writer().unwrap().unwrap().contains(&format!("process {}", writer.pid())));
            writer.kill();
            let lock = files.lock(PATIENCE).unwrap();
            // A write that the dead process still had in flight would show here.
            let file = std::fs::File::open(place.path().join(segment_name(1))).unwrap();
            let contents = || {
                let mut bytes = vec![0; SEGMENT_BYTES as usize];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            };
            let before = contents();
            std::thread::sleep(Duration::from_millis(20));
            assert!(before == contents());
            // Half-made spares are gone, and every file with a segment's name is whole.
            assert!(spares(place.path()).is_empty());
            for segment in files.segments().unwrap() {
                let page = read(&files, segment, 0, SECTOR_BYTES);
                assert_eq!(SegmentHeader::decode(&page).unwrap(), header(segment));
                files.remove(segment).unwrap();
            }
            drop(lock);
        }
    }
}

/// Opens the journal and forks a child that outlives this process. The child first drops the
/// handles that it inherited.
fn fork_and_stay(path: &Path, options: &DiskOptions) {
    let journal = Journal::open(path);
    let (mut pipeline, _) = journal.pipeline(options);
    prepare(&mut pipeline, 1);
    // SAFETY: the child has one thread, and what it calls takes no lock of another.
    if let nix::unistd::ForkResult::Child = unsafe { nix::unistd::fork() }.unwrap() {
        let refused = pipeline.write(1, FIRST, 0, SECTOR_BYTES).and(pipeline.sync(1));
        drop((pipeline, journal));
        children::say(if refused.is_err() { b"forked" } else { b"wrote in the child" });
        children::stay();
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(0) };
    }
    // The parent's is not disturbed.
    pipeline.write(1, FIRST, 0, SECTOR_BYTES).unwrap();
    ends(&mut pipeline, 1)[0].result.as_ref().unwrap();
    children::stay();
}

#[test]
fn a_forked_child_does_not_keep_the_lock_of_its_dead_parent() {
    for role in ["fork", "fork, no io_uring"] {
        let place = tempfile::tempdir().unwrap();
        let mut writer = children::Actor::start(role, place.path());
        writer.expect("forked");
        let files = Files::open(place.path()).unwrap();
        assert!(files.writer().unwrap().is_some(), "the parent has it, whatever its child did");
        writer.kill();
        // The child stays until its standard input ends, at the same time as `writer`.
        drop(files.lock(PATIENCE).unwrap());
        drop(writer);
    }
}

/// Refuses io_uring_setup with EPERM from here on, as the seccomp profiles of container engines do.
fn forbid_io_uring() {
    let rule = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut rules = [
        rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // the system call's number
        rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
    // SAFETY: these flags take integers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let filter = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program is as long as it says, and is copied by the kernel.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program) }, 0);
}

fn refused(path: &Path) {
    forbid_io_uring();
    let journal = Journal::open(path);
    let (mut pipeline, report) = journal.pipeline(&ways()[0]);
    assert!(!report.io_uring && matches!(pipeline, Disk::Blocking(_)));
    prepare(&mut pipeline, 1);
    pipeline.staging(0)[..SECTOR_BYTES].fill(3);
    pipeline.write(1, FIRST, 0, SECTOR_BYTES).unwrap();
    pipeline.sync(1).unwrap();
    for completion in ends(&mut pipeline, 2) {
        completion.result.unwrap();
    }
    children::say(report.to_string().as_bytes());
    children::stay();
}

#[test]
fn where_io_uring_is_refused_that_is_said_and_the_journal_writes_all_the_same() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = children::Actor::start("refuse io_uring", place.path());
    let report = writer.hear();
    assert!(report.starts_with("pwrite and fdatasync in a thread"), "{report}");
    assert!(report.contains("no io_uring: refused"), "{report}");
    assert!(writer.finish().success());
    let files = Files::open(place.path()).unwrap();
    assert_eq!(read(&files, 1, FIRST, SECTOR_BYTES), [3; SECTOR_BYTES]);
}

#[test]
fn a_full_disk_is_told_and_leaves_room_for_what_is_there() {
    mounts::apart(|place| {
        let image = place.join("image");
        mounts::make_ext4(&image, 24)?;
        let mounted = mounts::Mounted::at(&image, &place.join("disk"), false)?;
        let disk = mounted.path();
        for (number, options) in ways().iter().enumerate() {
            let path = disk.join(format!("way{number}"));
            let journal = Journal::open(&path);
            let (mut pipeline, report) = journal.pipeline(options);
            println!("{report}");
            let mut last = 0;
            let refused = loop {
                pipeline.prepare(&header(last + 1), b"").unwrap();
                let ended = ends(&mut pipeline, 1).remove(0);
                assert_eq!(ended.begun, Begun::Prepare { segment: last + 1 });
                match ended.result {
                    Ok(()) => {
                        pipeline.close(last);
                        last += 1;
                    }
                    Err(error) => break error,
                }
            };
            assert_eq!(refused.kind(), io::ErrorKind::StorageFull, "{refused}");
            assert!((3..20).contains(&last), "{last} segments of {SEGMENT_BYTES} B");
            assert!(spares(&path).is_empty());
            // The blocks of a segment belong to it: a full disk does not stop writes to it.
            pipeline.staging(0).fill(1);
            pipeline.write(last, SEGMENT_BYTES - BLOCK_BYTES_MAX as u64, 0, BLOCK_BYTES_MAX).unwrap();
            pipeline.sync(last).unwrap();
            for completion in ends(&mut pipeline, 2) {
                completion.result.unwrap();
            }
            // Nor does it stop the next pipeline from being opened; and a segment that is removed
            // makes room for another.
            drop(pipeline);
            let (mut pipeline, _) = journal.pipeline(options);
            pipeline.close(1);
            journal.files.remove(1).unwrap();
            prepare(&mut pipeline, last + 1);
            drop((pipeline, journal));
            std::fs::remove_dir_all(&path).unwrap();
        }
        Ok(())
    });
}
