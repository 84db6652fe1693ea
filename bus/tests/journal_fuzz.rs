//! Corruption of every kind in small journals: each byte cut off, each bit turned, blocks
//! exchanged, false lengths.
//!
//! The verdict that the documents promise is computed here again, from a list of where everything
//! is. It is **corrupt** when the corrupted part was durable according to a block or a seal that is
//! intact, **torn** when the journal ends before it, **whole** when nothing that belongs to it was
//! corrupted. There is no panic, and no allocation of a size that a length on the disk chose.

#[path = "common/simulated/mod.rs"]
mod simulated;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use railbus::Error;
use railbus_log::disk::store::Store;
use railbus_log::format::{
    BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, Codec, PositionUnit, RecordKind, SECTOR_BYTES,
    Seal, SegmentHeader, checksum, seal_offset,
};
use railbus_log::recover::{self as recovery, Checks, Report};
use railbus_log::write::{SyncPolicy, WriterOptions};
use simulated::disk::{Disk, Faults};
use simulated::oracle::{self, Entry};
use simulated::plain::{Scribe, small};
use simulated::random::Random;

/// The largest single allocation so far.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Watching;

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// No buffer of recovery is larger.
const LARGEST_ALLOWED: usize = 4 << 20;

type Files = BTreeMap<u64, Vec<u8>>;

/// A corruption of one segment's file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Bit { segment: u64, byte: u64, bit: u8 },
    Cut { segment: u64, bytes: u64 },
}

/// The files as they are read, with one of them corrupted.
struct Harmed<'a> {
    files: &'a Files,
    harm: Harm,
}

impl Store for Harmed<'_> {
    fn segments(&self) -> io::Result<Vec<u64>> {
        Ok(self.files.keys().copied().collect())
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        let length = self.files[&segment].len() as u64;
        Ok(match self.harm {
            Harm::Cut { segment: cut, bytes } if cut == segment => bytes,
            _ => length,
        })
    }

    fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let length = self.length(segment)?;
        let (from, to) = (offset.min(length), (offset + bytes.len() as u64).min(length));
        let got = (to - from) as usize;
        bytes[..got].copy_from_slice(&self.files[&segment][from as usize..to as usize]);
        if let Harm::Bit { segment: harmed, byte, bit } = self.harm
            && harmed == segment
            && (from..to).contains(&byte)
        {
            bytes[(byte - from) as usize] ^= 1 << bit;
        }
        Ok(got)
    }

    fn write_at(&self, _segment: u64, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::other("only to be read"))
    }
    fn sync(&self, _segment: u64) -> io::Result<()> {
        Err(io::Error::other("only to be read"))
    }
    fn create(&self, _header: &SegmentHeader, _channel_page: &[u8]) -> io::Result<()> {
        Err(io::Error::other("only to be read"))
    }
    fn remove(&self, _segment: u64) -> io::Result<()> {
        Err(io::Error::other("only to be read"))
    }
    fn quarantine(&self, _segment: u64) -> io::Result<()> {
        Err(io::Error::other("only to be read"))
    }
}

impl Harm {
    fn segment(self) -> u64 {
        match self {
            Harm::Bit { segment, .. } | Harm::Cut { segment, .. } => segment,
        }
    }

    /// Whether it touches these bytes of its segment.
    fn touches(self, segment: u64, offset: u64, bytes: u64) -> bool {
        self.segment() == segment
            && match self {
                Harm::Bit { byte, .. } => (offset..offset + bytes).contains(&byte),
                Harm::Cut { bytes: end, .. } => offset + bytes > end,
            }
    }

    fn apply(self, files: &Files) -> Files {
        let mut files = files.clone();
        if let Some(file) = files.get_mut(&self.segment()) {
            match self {
                Harm::Bit { byte, bit, .. } => file[byte as usize] ^= 1 << bit,
                Harm::Cut { bytes, .. } => file.truncate(bytes as usize),
            }
        }
        files
    }
}

/// A block, or a seal, of a sound journal.
#[derive(Debug, Clone, Copy)]
struct Part {
    segment: u64,
    offset: u64,
    header: BlockHeader,
    seal: Option<Seal>,
    /// Where the positions before it end.
    start: u64,
}

/// Every block and seal, in order of the chain.
fn parts(files: &Files) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (&segment, file) in files {
        let segment_header = SegmentHeader::decode(file).expect("a sound segment");
        let mut offset = BLOCKS_OFFSET;
        let mut push = |offset: u64, header: BlockHeader, seal| {
            let start = parts.last().map_or(0, |last| last.header.end_position);
            parts.push(Part { segment, offset, header, seal, start });
        };
        while let Some(header) = file.get(offset as usize..).and_then(|bytes| BlockHeader::decode(bytes).ok())
        {
            if header.kind == BlockKind::Seal {
                break;
            }
            push(offset, header, None);
            offset += u64::from(header.block_bytes);
        }
        let at = seal_offset(segment_header.segment_bytes);
        if let Some(Ok(header)) = file.get(at as usize..).map(BlockHeader::decode) {
            let body = &file[at as usize + BLOCK_HEADER_BYTES..][..Seal::BYTES];
            push(at, header, Some(Seal::decode(body, segment_header.segment_bytes).expect("a sound seal")));
        }
    }
    parts
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    Torn { end: u64 },
    Corrupt { segment: u64, end: u64 },
}

/// The verdict that the documents promise for this corruption.
fn promised(files: &Files, parts: &[Part], harm: Harm) -> Verdict {
    let head_harmed = |segment: u64| harm.touches(segment, 0, BLOCKS_OFFSET);
    let header_harmed = |segment: u64| harm.touches(segment, 0, SECTOR_BYTES as u64);
    let harmed = |part: &Part| harm.touches(part.segment, part.offset, u64::from(part.header.block_bytes));
    let testifies = |part: &&Part| {
        let bytes = if part.seal.is_some() { SECTOR_BYTES } else { BLOCK_HEADER_BYTES };
        !header_harmed(part.segment) && !harm.touches(part.segment, part.offset, bytes as u64)
    };
    // Segments whose pages are corrupted break the chain before their first block.
    let broken_head = files.keys().copied().find(|&segment| head_harmed(segment));
    let first_bad = parts.iter().find(|part| harmed(part) || Some(part.segment) == broken_head);
    let (segment, end, by_head) = match (first_bad, broken_head) {
        (Some(bad), _) => (bad.segment, bad.start, Some(bad.segment) == broken_head),
        // A segment that holds nothing.
        (None, _) => return Verdict::Whole,
    };
    // Nobody misses a seal at the very end.
    let last = parts.last().expect("a journal that is not empty");
    if !by_head && last.seal.is_some() && harmed(last) && !parts[..parts.len() - 1].iter().any(harmed) {
        return Verdict::Whole;
    }
    let durable = parts.iter().filter(testifies).map(|part| part.header.durable_position).max().unwrap_or(0);
    let behind = || parts.iter().filter(|part| part.segment >= segment);
    let vouched = behind().filter(testifies).any(|part| part.seal.is_some_and(|seal| seal.last));
    let head_of_something =
        by_head && behind().any(|part| !harm.touches(part.segment, part.offset, BLOCK_HEADER_BYTES as u64));
    if durable > end || vouched || head_of_something {
        Verdict::Corrupt { segment, end }
    } else {
        Verdict::Torn { end }
    }
}

fn found(report: &Report, whole_end: u64) -> Verdict {
    match report.corrupt {
        Some(corruption) => Verdict::Corrupt { segment: corruption.segment, end: corruption.position },
        None if report.end_position == whole_end => Verdict::Whole,
        None => Verdict::Torn { end: report.end_position },
    }
}

/// Judges one corruption, and compares.
fn judge(files: &Files, parts: &[Part], entries: &[Entry], harm: Harm, repairs: bool) {
    let store = Harmed { files, harm };
    let whole_end = parts.last().expect("a journal that is not empty").header.end_position;
    let full = recovery::examine(&store, Path::new("fuzz"), Checks::FULL).expect("a store that reads");
    let quick = recovery::examine(&store, Path::new("fuzz"), Checks::QUICK).expect("a store that reads");
    let mut wanted = promised(files, parts, harm);
    if wanted == (Verdict::Torn { end: whole_end }) {
        wanted = Verdict::Whole; // what is cut holds nothing
    }
    assert_eq!(found(&full, whole_end), wanted, "{harm:?}: {full:?}");
    // Without a look at every block, corruption of vouched blocks may go unseen, but of no others.
    let quick = found(&quick, whole_end);
    let unseen = matches!(wanted, Verdict::Corrupt { .. }) && quick == Verdict::Whole;
    assert!(quick == wanted || unseen, "{harm:?}: {quick:?}, and should be {wanted:?}");
    if repairs {
        recover_or_repair(&harm.apply(files), entries, &wanted, unseen, harm);
    }
}

/// Recovers, or repairs, for real, and reads the remaining entries.
fn recover_or_repair(files: &Files, entries: &[Entry], wanted: &Verdict, unseen: bool, harm: Harm) {
    let disk = Disk::holding(files);
    let path = Path::new("fuzz");
    let recovered = recovery::recover(&disk, path);
    let end = match (wanted, &recovered) {
        (Verdict::Corrupt { end, .. }, Err(_)) => *end,
        (Verdict::Corrupt { end, .. }, Ok(_)) if unseen => *end,
        (Verdict::Torn { end }, Ok(recovered)) => {
            assert_eq!(recovered.end_position, *end, "{harm:?}");
            *end
        }
        (Verdict::Whole, Ok(_)) => u64::MAX,
        _ => panic!("{harm:?}: should be {wanted:?}, and recovery says {recovered:?}"),
    };
    if matches!(wanted, Verdict::Corrupt { .. }) {
        if recovered.is_err() {
            assert_eq!(&disk.contents(), files, "{harm:?}: a refusal changes nothing");
        }
        let repair = recovery::repair(&disk, path, 1).expect("a repair");
        let first = repair.bridges.first().map_or(repair.gap, |bridge| bridge.gap);
        assert!(first.is_none_or(|gap| gap.to >= end), "{harm:?}: {repair:?}");
        recovery::recover(&disk, path).unwrap_or_else(|error| panic!("{harm:?}: after {repair:?}: {error}"));
        assert_eq!(
            recovery::repair(&disk, path, 1).expect("a repair").corruption,
            None,
            "{harm:?}: once is enough"
        );
    }
    let mut left = oracle::read(&disk).unwrap_or_else(|why| panic!("{harm:?}: {why}"));
    left.retain(|entry| entry.kind != RecordKind::Gap || entries.contains(entry));
    is_part(&left, entries, end).unwrap_or_else(|why| panic!("{harm:?}: {why}"));
}

/// Checks that `left` is a part of `entries`, in order, in which nothing is missing before `end`.
fn is_part(left: &[Entry], entries: &[Entry], end: u64) -> Result<(), String> {
    let mut rest = left.iter().peekable();
    for entry in entries {
        if rest.next_if(|next| *next == entry).is_none() && !entry.is_state() && entry.end_position <= end {
            return Err(format!("{} is missing", entry.brief()));
        }
    }
    rest.next().map_or(Ok(()), |entry| Err(format!("{} was never appended", entry.brief())))
}

/// Two segments and the beginning of a third, well finished or left by a crash.
fn journal(finished: bool) -> (Files, Vec<Entry>) {
    let disk = Disk::new(1);
    let options =
        WriterOptions { sync: SyncPolicy::Interval(Duration::from_secs(3600)), ..small(3, Codec::None) };
    let mut scribe = Scribe::new(&disk, PositionUnit::Bytes, &options);
    for i in 0..4u8 {
        scribe.event(&vec![i; 1_000], u16::from(i));
        scribe.event(&[i; 7], 9);
        scribe.settle();
    }
    scribe.state(RecordKind::Acks, b"how things stand");
    scribe.event(&[0xEE; 6_000], 3); // in two pieces
    scribe.settle();
    if finished {
        scribe.finish();
    }
    let entries = scribe.entries.clone();
    drop(scribe);
    let mut files = disk.contents();
    // A segment that was only prepared does not count.
    files.retain(|_, file| BlockHeader::decode(&file[BLOCKS_OFFSET as usize..]).is_ok());
    (files, entries)
}

fn deep() -> bool {
    std::env::var_os("RAILBUS_DEEP").is_some_and(|value| value == "1")
}

#[test]
fn every_byte_can_be_cut_off() {
    for finished in [true, false] {
        let (files, entries) = journal(finished);
        let parts = parts(&files);
        assert!(files.len() >= 3 && parts.len() >= 8, "{} segments, {} parts", files.len(), parts.len());
        for (&segment, file) in &files {
            for bytes in 0..file.len() as u64 {
                let near = bytes % SECTOR_BYTES as u64 % 128 < 2;
                if near || bytes % 7 == 0 || deep() {
                    let repairs = bytes % 128 == 0;
                    judge(&files, &parts, &entries, Harm::Cut { segment, bytes }, repairs);
                }
            }
        }
    }
    assert!(LARGEST.load(Ordering::Relaxed) <= LARGEST_ALLOWED);
}

#[test]
fn every_bit_can_be_turned() {
    for finished in [true, false] {
        let (files, entries) = journal(finished);
        let parts = parts(&files);
        for (&segment, file) in &files {
            for byte in 0..file.len() as u64 {
                // One bit of each byte, a different one from byte to byte; all bits of the first
                // bytes of every sector, where the headers are.
                let all = deep() || byte % (SECTOR_BYTES as u64) < 192;
                for bit in 0..8 {
                    if all || u64::from(bit) == byte % 8 {
                        let repairs = bit == 3 && byte % 64 == 3;
                        judge(&files, &parts, &entries, Harm::Bit { segment, byte, bit }, repairs);
                    }
                }
            }
        }
    }
    assert!(LARGEST.load(Ordering::Relaxed) <= LARGEST_ALLOWED);
}

/// Blocks that are sound by themselves, and in the wrong place. Returns whether every one was noticed.
fn misplaced_blocks_are_noticed(checks: Checks) -> bool {
    let (files, entries) = journal(true);
    let parts = parts(&files);
    // The same journal with other events, up to the last byte of the first one.
    let twin = {
        let disk = Disk::new(1);
        let options =
            WriterOptions { sync: SyncPolicy::Interval(Duration::from_secs(3600)), ..small(3, Codec::None) };
        let mut scribe = Scribe::new(&disk, PositionUnit::Bytes, &options);
        for i in 0..4u8 {
            scribe.event(&vec![i ^ 0x55; 1_000], u16::from(i));
            scribe.event(&[i; 7], 9);
            scribe.settle();
        }
        disk.contents()
    };
    let blocks: Vec<&Part> = parts.iter().filter(|part| part.seal.is_none()).collect();
    let bytes_of = |from: &Files, part: &Part| {
        from[&part.segment][part.offset as usize..][..part.header.block_bytes as usize].to_vec()
    };
    let mut harmed = Vec::new();
    for a in &blocks {
        for b in &blocks {
            if a.segment == b.segment && a.offset < b.offset && a.header.block_bytes == b.header.block_bytes {
                let mut swapped = files.clone();
                let (of_a, of_b) = (bytes_of(&files, a), bytes_of(&files, b));
                let file = swapped.get_mut(&a.segment).expect("a segment");
                file[a.offset as usize..][..of_b.len()].copy_from_slice(&of_b);
                let mut doubled = files.clone();
                let file_of_doubled = doubled.get_mut(&a.segment).expect("a segment");
                file_of_doubled[b.offset as usize..][..of_a.len()].copy_from_slice(&of_a);
                file[b.offset as usize..][..of_a.len()].copy_from_slice(&of_a);
                harmed.extend([swapped, doubled]);
            }
        }
    }
    for part in blocks.iter().filter(|part| part.segment == 1) {
        let mut spliced = files.clone();
        let other = bytes_of(&twin, part);
        let file = spliced.get_mut(&part.segment).expect("a segment");
        file[part.offset as usize..][..other.len()].copy_from_slice(&other);
        harmed.push(spliced);
    }
    let mut without_middle = files.clone();
    without_middle.remove(&2);
    harmed.push(without_middle);
    assert!(harmed.len() > 6, "{} cases", harmed.len());
    harmed.iter().all(|files| {
        let disk = Disk::holding(files);
        let report = recovery::examine(&disk, Path::new("fuzz"), checks).expect("a store that reads");
        // Everything here was durable: nothing but corruption is a right verdict.
        report.corrupt.is_some() || {
            let read = oracle::read(&disk);
            read.is_ok_and(|read| read == entries)
        }
    })
}

#[test]
fn a_block_in_the_wrong_place_is_noticed() {
    assert!(misplaced_blocks_are_noticed(Checks::FULL));
}

/// Mutation gate: without the check that blocks follow one another, the test above fails.
#[test]
fn without_the_chain_a_block_in_the_wrong_place_goes_unnoticed() {
    assert!(!misplaced_blocks_are_noticed(Checks { chain: false, ..Checks::FULL }));
}

fn file_claims_much(files: &Files) -> bool {
    files.values().any(|file| SegmentHeader::decode(file).is_ok_and(|header| header.segment_bytes > 1 << 20))
}

/// False lengths, offsets and counts, under checksums that fit.
#[test]
fn no_length_is_believed() {
    let (files, _) = journal(false);
    let parts = parts(&files);
    let mut random = Random::new(5);
    for round in 0..if deep() { 200_000 } else { 6_000 } {
        let mut files = files.clone();
        let part = &parts[random.index(parts.len())];
        let file = files.get_mut(&part.segment).expect("a segment");
        let huge = random.pick(&[u64::MAX, u64::from(u32::MAX), 1 << 31, 1 << 20, 4097, 0]);
        if random.once_in(4) {
            // The segment's header: sizes and numbers.
            let at = random.pick(&[16, 24, 56, 72]);
            file[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            let sum = checksum(&file[..SECTOR_BYTES - 4]);
            file[SECTOR_BYTES - 4..SECTOR_BYTES].copy_from_slice(&sum.to_le_bytes());
        } else {
            let block = &mut file[part.offset as usize..][..part.header.block_bytes as usize];
            if random.once_in(2) {
                let at = 8 + 4 * random.index(23);
                block[at..at + 4].copy_from_slice(&(huge as u32).to_le_bytes());
            } else {
                // Records, or the seal's body: any word of the first ones.
                let at = BLOCK_HEADER_BYTES + 4 * random.index(24);
                block[at..at + 4].copy_from_slice(&(huge as u32).to_le_bytes());
                if random.once_in(3) {
                    block[6] = random.below(4) as u8; // as if it were compressed
                }
            }
            let sum = checksum(&block[BLOCK_HEADER_BYTES..]);
            block[100..104].copy_from_slice(&sum.to_le_bytes());
            let sum = checksum(&block[..BLOCK_HEADER_BYTES - 4]);
            block[BLOCK_HEADER_BYTES - 4..BLOCK_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        }
        let disk = Disk::holding(&files);
        for checks in [Checks::QUICK, Checks::FULL] {
            // Any verdict will do; it is only required that there is one.
            let report = recovery::examine(&disk, Path::new("fuzz"), checks);
            assert!(report.is_ok(), "round {round}: {report:?}");
        }
        if file_claims_much(&files) {
            continue; // its seal would be far behind its end, in a file with a hole
        }
        let repaired = recovery::recover(&disk, Path::new("fuzz"))
            .map(|_| ())
            .or_else(|_| recovery::repair(&disk, Path::new("fuzz"), 1).map(|_| ()));
        // A file that looks like another version's is refused, and stays.
        let is_refused = matches!(repaired, Err(Error::Version { .. })) && disk.contents() == files;
        assert!(repaired.is_ok() || is_refused, "round {round}: {repaired:?}");
    }
    assert!(
        LARGEST.load(Ordering::Relaxed) <= LARGEST_ALLOWED,
        "{} B at once",
        LARGEST.load(Ordering::Relaxed)
    );
}

/// A repair may be killed anywhere, by a power cut too, and is then run again.
#[test]
fn a_repair_can_be_killed_anywhere() {
    let (files, entries) = journal(true);
    let parts = parts(&files);
    let path = Path::new("fuzz");
    let in_second = |inside: bool| {
        let place = |part: &&Part| part.segment == 2 && (part.offset > BLOCKS_OFFSET) == inside;
        *parts.iter().find(place).expect("a block")
    };
    // A block in the middle of a segment, the first one, and the segment's header.
    let (inside, first) = (in_second(true), in_second(false));
    for (part, byte) in [(inside, inside.offset + 200), (first, first.offset + 200), (first, 20)] {
        let harmed = Harm::Bit { segment: 2, byte, bit: 1 }.apply(&files);
        kill_repairs(&harmed, &entries, (byte > BLOCKS_OFFSET).then_some(&part.header), path);
    }
    // Everything after a place, with the seal, and a byte of every later block: there is nothing to
    // go on with.
    let mut harmed = files.clone();
    let file = harmed.get_mut(&2).expect("segment 2");
    file[inside.offset as usize..].fill(0xEE);
    for part in parts.iter().filter(|part| part.segment > 2 && part.seal.is_none()) {
        harmed.get_mut(&part.segment).expect("a segment")[part.offset as usize + 130] ^= 1;
    }
    cut_repairs(&harmed, &entries, inside.start, path);
}

/// A disk after a repair that was killed after `steps`, if it has so many, and a second repair.
/// Returns whether the first was killed.
fn repaired_twice(harmed: &Files, steps: u64, path: &Path) -> (Disk, bool) {
    let disk = Disk::holding(harmed);
    disk.set_faults(Faults { crash_after: Some(steps), ..Faults::default() });
    let first = recovery::repair(&disk, path, 1);
    let crashed = disk.has_crashed();
    disk.cut_power();
    assert_eq!(first.is_err(), crashed, "{first:?}");
    let second = recovery::repair(&disk, path, 2).expect("a repair");
    assert!(crashed || second.corruption.is_none(), "once is enough");
    (disk, crashed)
}

/// Of the appended entries, only those in this block are missing afterwards, whenever the repair is
/// killed.
fn kill_repairs(harmed: &Files, entries: &[Entry], lost: Option<&BlockHeader>, path: &Path) {
    let mut steps = 0;
    loop {
        let (disk, crashed) = repaired_twice(harmed, steps, path);
        recovery::recover(&disk, path).expect("a repaired journal");
        let report = recovery::examine(&disk, path, Checks::FULL).expect("a report");
        assert!(report.corrupt.is_none() && report.torn_bytes == 0, "{report:?}");
        let mut read = oracle::read(&disk).expect("a repaired journal");
        read.retain(|entry| entry.kind != RecordKind::Gap);
        let is_lost = |entry: &Entry| {
            lost.is_some_and(|block| {
                entry.position < block.end_position && entry.end_position > block.first_position
            })
        };
        let wanted: Vec<Entry> = entries.iter().filter(|entry| !is_lost(entry)).cloned().collect();
        assert!(
            read.iter().filter(|e| !e.is_state()).eq(wanted.iter().filter(|e| !e.is_state())),
            "step {steps}"
        );
        let events = entries.iter().filter(|entry| entry.kind == RecordKind::Event).count() as u64;
        assert_eq!(report.events, events, "those in the gap were counted, and are");
        assert!(
            disk.quarantined().is_empty() && !disk.aside().is_empty(),
            "nothing was moved, and all was kept"
        );
        if !crashed {
            break;
        }
        steps += 1;
    }
    assert!(steps > 10, "only {steps} steps: is the crash still injected?");
}

fn cut_repairs(harmed: &Files, entries: &[Entry], start: u64, path: &Path) {
    let mut steps = 0;
    loop {
        let (disk, crashed) = repaired_twice(harmed, steps, path);
        let recovered = recovery::recover(&disk, path).expect("a repaired journal");
        let read = oracle::read(&disk).expect("a repaired journal");
        let gap = read.last().expect("the gap");
        assert_eq!((gap.kind, gap.position), (RecordKind::Gap, start), "after {steps} steps");
        assert_eq!(gap.end_position, recovered.end_position);
        let kept = oracle::is_prefix(&read[..read.len() - 1], entries, start);
        kept.unwrap_or_else(|why| panic!("after {steps} steps: {why}"));
        assert!(disk.quarantined().contains(&3), "segment 3 was moved, not removed");
        if !crashed {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "only {steps} steps: is the crash still injected?");
}
