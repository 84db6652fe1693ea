//! Segments are made before they are needed, by a helper thread at a low pace.
//!
//! A file that is only allocated takes writes at a third of the speed and with stalls of tens of ms, because each
//! block's first write changes the file's map. So a segment is either **zero-filled** or a retired one **used again**:
//!
//! ```text
//! spare-zeroing-N.tmp: allocate, write zeros ─┐
//! spare-used-M.tmp:    take, if of this size ─┴─> headers with a fresh id, fsync, rename to N.seg, fsync directory
//! ```
//!
//! Killed anywhere, it leaves a spare, never a segment with half a header.
//!
//! **The pace.** The writer asks for segment k+1 when it begins k, and needs it when k is full. Zeros written at full
//! speed would take the disk from the writer, so the helper lets itself go on only while
//! `zeroed <= START + BASE * time + 2 * what the writer has written since it asked` (times the growth, where k+1 is larger
//! than k): it is done when k is half full, however fast that is, and an idle writer costs [`PACE_BASE_BYTES_PER_S`]. When the writer has no segment to write
//! to (the first of all, or it was faster than the disk can zero), there is nobody to spare, and it goes at full speed.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::files::Files;
use super::format::{BLOCK_BYTES_MAX, SECTOR_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SegmentHeader};
use super::segments::{progress, write_whole};
use super::stage_memory::StageMemory;
use crate::os::fork::ForkGuard;

/// Blocks of zeros of one call.
const ZERO_BLOCKS: usize = 8;
/// Zeros written without looking at the pace, in bytes.
const PACE_START_BYTES: u64 = 4 << 20;
/// The pace while the writer is idle, in bytes per second.
const PACE_BASE_BYTES_PER_S: u64 = 64 << 20;
/// The longest nap of the helper: as late it may notice that the writer has become faster.
const NAP_MAX: Duration = Duration::from_millis(2);
/// Through the page cache, zeros are handed to the disk after so many bytes, not all at the end.
const BUFFERED_SYNC_BYTES: u64 = 8 << 20;

/// A segment that was asked for.
pub(super) struct Prepared {
    /// Its number.
    pub(super) segment: u64,
    /// The file, open for writing, named and durable; or why there is none.
    pub(super) result: io::Result<File>,
}

struct Order {
    header: SegmentHeader,
    channel_page: Vec<u8>,
}

/// What the writer tells the helper while it works.
#[derive(Default)]
struct Pace {
    /// Bytes that the writer has begun to write, ever.
    consumed_bytes: AtomicU64,
    /// The writer has nothing to write to.
    urgent: AtomicBool,
    /// The pipeline is being dropped.
    stop: Mutex<bool>,
    changed: Condvar,
}

impl Pace {
    /// Waits until `zeroed` bytes are not too many; false when the helper should end.
    fn wait(&self, zeroed: u64, began: Instant, consumed_at_begin: u64, growth: u64) -> bool {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if *stop {
                return false;
            }
            // Relaxed: two numbers that steer a pace; nothing is published through them.
            let consumed = self.consumed_bytes.load(Ordering::Relaxed) - consumed_at_begin;
            let allowed = allowed_bytes(began.elapsed(), consumed.saturating_mul(growth));
            if zeroed <= allowed || self.urgent.load(Ordering::Relaxed) {
                return true;
            }
            let waited = self.changed.wait_timeout(stop, NAP_MAX);
            stop = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// As many bytes may be zeroed after `elapsed`, in which the writer has written `consumed` bytes.
fn allowed_bytes(elapsed: Duration, consumed: u64) -> u64 {
    let by_time = elapsed.as_nanos() * u128::from(PACE_BASE_BYTES_PER_S) / 1_000_000_000;
    let by_time = u64::try_from(by_time).unwrap_or(u64::MAX);
    consumed.saturating_mul(2).saturating_add(PACE_START_BYTES).saturating_add(by_time)
}

/// The helper thread of a pipeline. Dropped, it ends after the block it is writing, and removes what is half-made.
pub(super) struct Helper {
    pace: Arc<Pace>,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    guard: ForkGuard,
}

impl Helper {
    /// Starts it. `ended` is called in its thread for every order.
    pub(super) fn start(
        files: Arc<Files>,
        direct: bool,
        ended: impl Fn(Prepared) + Send + 'static,
    ) -> io::Result<Helper> {
        let guard = ForkGuard::current()?;
        let (orders, to_do): (_, Receiver<Order>) = channel();
        let pace = Arc::new(Pace::default());
        let theirs = pace.clone();
        let work = move || {
            let mut last_bytes = u64::MAX;
            for order in to_do {
                let growth = (order.header.segment_bytes / last_bytes).max(1);
                last_bytes = order.header.segment_bytes;
                let (began, consumed) = (Instant::now(), theirs.consumed_bytes.load(Ordering::Relaxed));
                let go_on = |zeroed| theirs.wait(zeroed, began, consumed, growth);
                let result = make(&files, &order, direct, &go_on);
                if matches!(&result, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
                    return; // Stopped: nobody listens any more.
                }
                ended(Prepared { segment: order.header.number, result });
            }
        };
        let thread = std::thread::Builder::new().name("railbus-prepare".into()).spawn(work)?;
        Ok(Helper { pace, orders: Some(orders), thread: Some(thread), guard })
    }

    /// Asks for a segment.
    pub(super) fn order(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        check(header, channel_page)?;
        let order = Order { header: *header, channel_page: channel_page.to_vec() };
        let gone = || io::Error::other("the thread that prepares segments has ended");
        self.orders.as_ref().and_then(|orders| orders.send(order).ok()).ok_or_else(gone)
    }

    /// The writer writes so many bytes.
    pub(super) fn consumed(&self, bytes: u64) {
        self.pace.consumed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether the writer has nothing to write to until an order is done.
    pub(super) fn urgent(&self, urgent: bool) {
        self.pace.urgent.store(urgent, Ordering::Relaxed);
        self.pace.changed.notify_all();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if self.guard.is_forked() {
            return; // The thread is the parent's, and so is what it holds.
        }
        *self.pace.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.pace.changed.notify_all();
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic of the helper was reported by its thread.
        }
    }
}

/// Makes a segment in the caller's thread, at full speed, through the page cache.
pub(super) fn make_now(files: &Files, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
    check(header, channel_page)?;
    let order = Order { header: *header, channel_page: channel_page.to_vec() };
    make(files, &order, false, &|_| true).map(drop)
}

fn check(header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
    let invalid = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let bytes = header.segment_bytes;
    if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) || !bytes.is_multiple_of(SECTOR_BYTES as u64)
    {
        return invalid(format!(
            "a segment of {bytes} B: it must have {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} B, in whole sectors"
        ));
    }
    if header.number == 0 {
        return invalid("segment 0: they are counted from 1".into());
    }
    if channel_page.len() > SECTOR_BYTES {
        return invalid(format!("a channel page of {} B: it has {SECTOR_BYTES} B", channel_page.len()));
    }
    Ok(())
}

/// `go_on(zeroed)` is asked before each write of zeros; false interrupts.
fn make(files: &Files, order: &Order, direct: bool, go_on: &dyn Fn(u64) -> bool) -> io::Result<File> {
    let number = order.header.number;
    if files.has_segment(number)? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("segment {number} exists already")));
    }
    if let Some((name, file)) = files.used_spare(order.header.segment_bytes, direct)? {
        finish(files, order, &name, &file)?;
        return Ok(file);
    }
    let (name, file) = files.new_spare(number, direct)?;
    let made = zero_fill(&file, order.header.segment_bytes, direct, go_on)
        .and_then(|()| finish(files, order, &name, &file));
    match made {
        Ok(()) => Ok(file),
        Err(error) => {
            // Its blocks are wanted elsewhere. If even this fails, the next writer removes it.
            let _ = files.remove_spare(&name);
            Err(error)
        }
    }
}

fn zero_fill(file: &File, bytes: u64, direct: bool, go_on: &dyn Fn(u64) -> bool) -> io::Result<()> {
    allocate(file, bytes)?;
    let mut zeros = StageMemory::anonymous(1)?;
    let zeros = zeros.block(0);
    let mut at = 0;
    while at < bytes {
        if !go_on(at) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = (bytes - at).min((ZERO_BLOCKS * BLOCK_BYTES_MAX) as u64);
        write_zeros(file, zeros, length, at)?;
        at += length;
        if !direct && at.is_multiple_of(BUFFERED_SYNC_BYTES) {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Writes `bytes` zeros at `at`: one block of them, named several times. A call has more than one block in flight that way,
/// and a disk takes them at several times the speed.
fn write_zeros(file: &File, zeros: &[u8], bytes: u64, at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes {
        let mut rest = bytes - done;
        let slices: [IoSlice<'_>; ZERO_BLOCKS] = std::array::from_fn(|_| {
            let length = rest.min(zeros.len() as u64);
            rest -= length;
            IoSlice::new(&zeros[..length as usize])
        });
        let offset =
            libc::off_t::try_from(at + done).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        match nix::sys::uio::pwritev(file, &slices, offset) {
            Ok(written) => done = progress(done as usize, written, bytes as usize)? as u64,
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reserves the blocks, so that a full disk is met before the first zero and the file lies in few pieces.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        // SAFETY: the descriptor is open; the call takes integers only.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // Not every file system can: the zeros allocate.
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(()),
            _ => return Err(error),
        }
    }
}

/// Headers, durable; then the name, durable.
fn finish(files: &Files, order: &Order, spare: &str, file: &File) -> io::Result<()> {
    let mut memory = StageMemory::anonymous(1)?;
    let pages = &mut memory.block(0)[..2 * SECTOR_BYTES];
    pages[..SECTOR_BYTES].copy_from_slice(&order.header.encode()[..]);
    pages[SECTOR_BYTES..][..order.channel_page.len()].copy_from_slice(&order.channel_page);
    write_whole(file, pages, 0)?;
    file.sync_all()?;
    files.adopt_spare(spare, order.header.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::SEGMENT_BYTES_DEFAULT;

    #[test]
    fn zeros_keep_ahead_of_any_writer_and_are_slow_for_an_idle_one() {
        // However fast the writer is: at half of its segment the next one may be ready, and never later.
        assert!(allowed_bytes(Duration::ZERO, SEGMENT_BYTES_DEFAULT / 2) >= SEGMENT_BYTES_DEFAULT);
        for percent in 0..50 {
            let consumed = SEGMENT_BYTES_DEFAULT * percent / 100;
            assert!(allowed_bytes(Duration::ZERO, consumed) >= 2 * consumed);
        }
        let idle_for = |seconds| allowed_bytes(Duration::from_secs(seconds), 0);
        assert_eq!(idle_for(1), PACE_START_BYTES + PACE_BASE_BYTES_PER_S);
        assert_eq!(allowed_bytes(Duration::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_writer_without_a_segment_is_not_kept_waiting_and_a_stop_is_heeded() {
        let pace = Pace::default();
        pace.urgent.store(true, Ordering::Relaxed);
        assert!(pace.wait(u64::MAX, Instant::now(), 0, 1));
        pace.urgent.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pace.wait(u64::MAX, Instant::now(), 0, 1));
            *pace.stop.lock().unwrap() = true;
            assert!(!waiting.join().unwrap());
        });
    }
}
