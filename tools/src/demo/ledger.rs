//! Act 3's books: memory in which processes record their work, and which their deaths cannot
//! damage.
//!
//! ```text
//! 0          stop, window
//! 4 KiB      by generation of producers: how many jobs it has published
//! 8 KiB      by seat and window: the longest time between two of its events
//! 64 KiB     by generation and number: how often the job was handled;
//!            low half first deliveries, high half repeats
//! ```
//! It is a memfd, sparse, and given to every process as its standard input.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use railbus::{Error, Result};
use railbus_os::clock::monotonic_ns;
use railbus_os::mapping::Mapping;

/// Most generations of producers.
pub(crate) const GENERATIONS: usize = 8;
/// Most jobs of a generation.
pub(crate) const JOBS: u64 = 64 << 20;
/// Seats of participants.
pub(crate) const SEATS: usize = 4;
/// Most windows of time.
pub(crate) const WINDOWS: usize = 128;

const STOP: usize = 0;
const WINDOW: usize = 128;
const PUBLISHED: usize = 4096;
const GAPS: usize = 8192;
const HANDLED: usize = 65536;
const BYTES: usize = HANDLED + GENERATIONS * JOBS as usize;
const NAME: &str = "the memory of the demo's books";

/// The books, mapped.
pub(crate) struct Ledger {
    mapping: Mapping,
}

/// Makes the books' file.
pub(crate) fn create() -> Result<File> {
    let made = nix::sys::memfd::memfd_create(c"railbus-demo", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
    let file = File::from(made.map_err(|errno| Error::io("make", NAME, errno.into()))?);
    file.set_len(BYTES as u64).map_err(|error| Error::io("size", NAME, error))?;
    Ok(file)
}

impl Ledger {
    /// Opens the books.
    pub(crate) fn open(file: &File) -> Result<Ledger> {
        let length = file.metadata().map_err(|error| Error::io("examine", NAME, error))?.len();
        if length != BYTES as u64 {
            return Err(Error::invalid("the demo's books", format!("they have {length} bytes, not {BYTES}")));
        }
        let mapping = Mapping::of_file(file, 0, BYTES, true, 4096);
        Ok(Ledger { mapping: mapping.map_err(|error| Error::io("map", NAME, error))? })
    }

    /// Opens the books that are this process's standard input.
    pub(crate) fn inherited() -> Result<Ledger> {
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        Ledger::open(&File::from(input.map_err(|error| Error::io("open", NAME, error))?))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at + 8 <= HANDLED && at.is_multiple_of(8));
        // SAFETY: in bounds (above) and aligned, because mappings begin at pages; mapped as long as
        // `self`, and every process accesses the books by atomics only.
        unsafe { AtomicU64::from_ptr(self.mapping.base().as_ptr().add(at).cast()) }
    }

    /// How often a job was handled.
    pub(crate) fn handled(&self, generation: usize, number: u64) -> &AtomicU8 {
        assert!(generation < GENERATIONS && number < JOBS);
        let at = HANDLED + generation * JOBS as usize + number as usize;
        // SAFETY: in bounds (above); mapped as long as `self`, and accessed by atomics only.
        unsafe { AtomicU8::from_ptr(self.mapping.base().as_ptr().add(at)) }
    }

    /// Not zero: producers are to leave.
    pub(crate) fn stop(&self) -> &AtomicU64 {
        self.word(STOP)
    }

    /// The window of time in which gaps are counted now.
    pub(crate) fn window(&self) -> &AtomicU64 {
        self.word(WINDOW)
    }

    /// How many jobs a generation has published, at least: it may have died before it counted the
    /// last.
    pub(crate) fn published(&self, generation: usize) -> &AtomicU64 {
        assert!(generation < GENERATIONS);
        self.word(PUBLISHED + generation * 128)
    }

    /// The longest time between two events of a seat in a window, in ns.
    pub(crate) fn gap_ns(&self, seat: usize, window: usize) -> &AtomicU64 {
        assert!(seat < SEATS && window < WINDOWS);
        self.word(GAPS + (seat * WINDOWS + window) * 8)
    }
}

const _: () = assert!(PUBLISHED + GENERATIONS * 128 <= GAPS && GAPS + SEATS * WINDOWS * 8 <= HANDLED);

/// Watches the time between a participant's events.
pub(crate) struct DemoPace<'a> {
    ledger: &'a Ledger,
    seat: usize,
    last_ns: u64,
}

impl<'a> DemoPace<'a> {
    pub(crate) fn begin(ledger: &'a Ledger, seat: usize) -> DemoPace<'a> {
        DemoPace { ledger, seat, last_ns: monotonic_ns() }
    }

    /// Records an event.
    pub(crate) fn step(&mut self) {
        let now_ns = monotonic_ns();
        let gap_ns = now_ns.saturating_sub(std::mem::replace(&mut self.last_ns, now_ns));
        // Relaxed, here and in the others: counters that are read when the processes have ended, or
        // only for display.
        let window = self.ledger.window().load(Ordering::Relaxed) as usize % WINDOWS;
        let longest = self.ledger.gap_ns(self.seat, window);
        if gap_ns > longest.load(Ordering::Relaxed) {
            longest.store(gap_ns, Ordering::Relaxed);
        }
    }
}
