//! The memory that the processes of one run share, beside the channel that is measured.
//!
//! ```text
//! 0        Control: the bare words, the block being run, a line per worker
//! 2 MiB    copy lane 0, copy lane 1, ...   (throughput only; each a multiple of 2 MiB)
//! ```
//! It is a memfd that the supervisor makes and every worker gets as its standard input: it has no
//! name, and it is gone with the last process. Words that different processes write are padded to
//! a pair of cache lines, because neighbouring lines are fetched in pairs. Huge pages are asked for the
//! copy lanes where the kernel can collapse them, so that the copy limit is not held down by small
//! pages.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use railbus::{Error, Result};

/// The most workers of one run.
pub const MAX_WORKERS: usize = 32;

const HUGE_BYTES: usize = 2 << 20;
const NAME: &str = "the shared memory of the measurement";

/// Two words of a ping-pong, each on lines of its own. 0 means that nothing was sent.
#[repr(C)]
#[derive(Debug)]
pub struct WordPair {
    /// Written by the process that leads.
    pub there: CachePadded<AtomicU64>,
    /// Written by the process that follows.
    pub back: CachePadded<AtomicU64>,
}

/// The flow control of one copy lane.
#[repr(C)]
#[derive(Debug)]
pub struct CopyLane {
    /// Records that the writer has published.
    pub written: CachePadded<AtomicU64>,
    /// Records that the reader has released.
    pub read: CachePadded<AtomicU64>,
}

/// The block that the leader announces. All workers run it and report in their own lines.
#[repr(C)]
#[derive(Debug)]
pub struct Announcement {
    /// The number of the block; stored last; counts from 1.
    pub number: AtomicU64,
    /// The task: an index into the mode list of the measurement.
    pub mode: AtomicU64,
    /// How many events each producer sends.
    pub count: AtomicU64,
}

/// The results of a worker, for the others. Only the worker writes it.
#[repr(C)]
#[derive(Debug)]
pub struct WorkerLine {
    /// 1 once it is attached to its ends.
    pub ready: AtomicU64,
    /// Events received in the current block, so far.
    pub received: AtomicU64,
    /// Wrapping sum of the tags of the events received in the last finished block.
    pub tag_sum: AtomicU64,
    /// Clock reading when it finished its last block.
    pub end_ticks: AtomicU64,
    /// Number of its last finished block; stored after the three above.
    pub finished: AtomicU64,
}

/// The words at the beginning of the arena. All zero is a valid beginning.
#[repr(C)]
#[derive(Debug)]
pub struct Control {
    /// The physical limit: two bare words.
    pub bare: WordPair,
    /// Two more, for `--kind limit`, which measures the limit against itself.
    pub words: WordPair,
    /// The limit of a wake-up: two words on which the leader and the follower sleep; each writes
    /// one.
    pub futex: [CachePadded<AtomicU32>; 2],
    /// Flow control of the copy limit, and of `--kind limit`.
    pub copy: [CopyLane; 2],
    /// The block being run; written by the leader.
    pub block: CachePadded<Announcement>,
    /// A line per worker.
    pub workers: [CachePadded<WorkerLine>; MAX_WORKERS],
}

const _: () = assert!(size_of::<Control>() <= HUGE_BYTES);

/// The arena as a worker sees it: mapped until the process ends.
#[derive(Debug)]
pub struct Arena {
    /// The shared words.
    pub control: &'static Control,
    copy: *mut u8,
    copy_bytes: usize,
    /// The pages that the copy lanes got: `2 MiB` or `4 KiB`.
    pub copy_pages: &'static str,
}

/// Bytes of an arena with `lanes` copy lanes of `lane_bytes`.
fn arena_bytes(lanes: usize, lane_bytes: usize) -> usize {
    HUGE_BYTES + lanes * lane_bytes.next_multiple_of(HUGE_BYTES)
}

/// Makes an arena, in the supervisor, which does not map it itself.
pub fn create(lanes: usize, lane_bytes: usize) -> Result<File> {
    let bytes = arena_bytes(lanes, lane_bytes);
    // SAFETY: the name is a C string; the call makes a new descriptor.
    let descriptor = unsafe { libc::memfd_create(c"railbus-bench".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(Error::io("make", NAME, std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    file.set_len(bytes as u64).map_err(|error| Error::io("size", NAME, error))?;
    nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, bytes as libc::off_t)
        .map_err(|errno| Error::io("allocate", NAME, errno.into()))?;
    Ok(file)
}

impl Arena {
    /// Maps the arena that the supervisor passed on.
    pub fn attach(file: BorrowedFd<'_>, lanes: usize, lane_bytes: usize) -> Result<Arena> {
        let bytes = arena_bytes(lanes, lane_bytes);
        let found = nix::sys::stat::fstat(file).map_err(|errno| Error::io("inspect", NAME, errno.into()))?;
        if found.st_size != bytes as libc::off_t {
            return Err(Error::invalid(
                "bench worker",
                "it is started by `railbus bench` only, which hands it shared memory as standard input",
            ));
        }
        let base = map_aligned(file, bytes)?;
        // SAFETY: inside the mapping made just now.
        let copy = unsafe { base.add(HUGE_BYTES) };
        // SAFETY: the mapping is longer than Control, aligned to 2 MiB, never unmapped, and all of
        // Control's fields are atomics, for which every bit pattern is valid.
        let control = unsafe { &*base.cast::<Control>() };
        let copy_bytes = bytes - HUGE_BYTES;
        Ok(Arena { control, copy, copy_bytes, copy_pages: collapse(copy, copy_bytes) })
    }

    /// The bytes of copy lane `lane` of `lanes`: address and length.
    pub fn copy_lane(&self, lane: usize, lanes: usize) -> (*mut u8, usize) {
        assert!(lane < lanes, "the lanes are numbered by the code");
        let bytes = self.copy_bytes / lanes;
        // SAFETY: `lane * bytes` is inside the copy part of the mapping.
        (unsafe { self.copy.add(lane * bytes) }, bytes)
    }

    /// Reports that this worker is attached, and waits until all workers are.
    pub fn meet(&self, worker: usize, workers: usize) {
        self.control.workers[worker].ready.store(1, Ordering::Release);
        for other in &self.control.workers[..workers] {
            while other.ready.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Leader: announces the next block.
    pub fn announce(&self, number: u64, mode: u64, count: u64) {
        let block = &self.control.block;
        block.mode.store(mode, Ordering::Relaxed);
        block.count.store(count, Ordering::Relaxed);
        block.number.store(number, Ordering::Release); // BLOCK: pairs with the Acquire in `await_block`
    }

    /// Waits for block `number`; returns its mode and count.
    pub fn await_block(&self, number: u64, yields: bool) -> (u64, u64) {
        let block = &self.control.block;
        while block.number.load(Ordering::Acquire) < number {
            if yields { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        (block.mode.load(Ordering::Relaxed), block.count.load(Ordering::Relaxed))
    }
}

/// Maps the file at an address that is a multiple of 2 MiB.
fn map_aligned(file: BorrowedFd<'_>, bytes: usize) -> Result<*mut u8> {
    let failed = || Error::io("map", NAME, std::io::Error::last_os_error());
    let reserve = bytes + HUGE_BYTES;
    // SAFETY: a new private reservation at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            reserve,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(failed());
    }
    let offset = start.addr().next_multiple_of(HUGE_BYTES) - start.addr();
    // SAFETY: `offset` is below 2 MiB, inside the reservation.
    let aligned = unsafe { start.byte_add(offset) };
    // SAFETY: replaces a part of the reservation made just now, which nobody else uses.
    let mapped = unsafe {
        libc::mmap(
            aligned,
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_POPULATE,
            file.as_raw_fd(),
            0,
        )
    };
    if mapped == libc::MAP_FAILED { Err(failed()) } else { Ok(mapped.cast()) }
}

/// Asks for huge pages. Returns the pages that the kernel gave.
fn collapse(start: *mut u8, bytes: usize) -> &'static str {
    const MADV_COLLAPSE: libc::c_int = 25;
    // SAFETY: the range is part of our mapping; collapsing keeps its contents.
    let refused = bytes == 0 || unsafe { libc::madvise(start.cast(), bytes, MADV_COLLAPSE) } != 0;
    if refused { "4 KiB" } else { "2 MiB" }
}
