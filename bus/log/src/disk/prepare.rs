//! Segments are made before they are needed, by the threads of a pool (`prepare/pool.rs`), at a low
//! pace.
//!
//! A file that is only allocated takes writes at a third of the speed and with stalls of tens of
//! ms, because the first write to each block changes the file's map. So a segment is either
//! **zero-filled** or a retired one that is **used again**:
//!
//! ```text
//! spare-zeroing-N.tmp: allocate, write zeros ─┐
//! spare-used-M.tmp:    take, if of this size ─┴─> headers with a fresh id, fsync, rename to N.seg,
//!                                                 fsync the directory
//! ```
//!
//! A process that is killed anywhere in between leaves a spare, and never a segment with half a
//! header.
//!
//! **The pace.** The writer asks for the next segment when an eighth of the one in use is written,
//! and needs it when that one is full. Zeros written at full speed would take the disk from the
//! writer. So the helper writes more zeros only while `zeroed <= START + BASE * time + 2 *
//! written`. Here `time` and `written`, the number of bytes that the writer has written, count from
//! its request. If the next segment is larger, `written` is multiplied by the growth. So it is
//! ready when half the size of the one in use was written since the request, however fast that is.
//! An idle writer costs `PACE_BASE_BYTES_PER_S`.
//!
//! When the writer has no segment to write to, the helper goes at full speed, since no writes need
//! the disk. That is so for the first segment of all, and when the writer was faster than the disk
//! can zero.

mod pool;

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::disk::files::Files;
use crate::disk::whole::{progress, write_whole};
use crate::format::{BLOCK_BYTES_MAX, SECTOR_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SegmentHeader};
use crate::stage::buffers::StageMemory;

pub(crate) use pool::Helper;

/// Number of blocks of zeros in one call.
const ZERO_BLOCKS: usize = 8;
/// Zeros that are written without looking at the pace, in bytes.
const PACE_START_BYTES: u64 = 4 << 20;
/// The pace while the writer is idle, in bytes per second.
const PACE_BASE_BYTES_PER_S: u64 = 64 << 20;
/// Through the page cache, zeros are synced to the disk each time after so many bytes, not all at
/// the end.
const BUFFERED_SYNC_BYTES: u64 = 8 << 20;

/// A segment that was asked for.
pub(crate) struct Prepared {
    /// Its number.
    pub(crate) segment: u64,
    /// The file, which is open for writing, named and durable, or the reason why there is none.
    pub(crate) result: io::Result<File>,
}

struct Order {
    header: SegmentHeader,
    channel_page: Vec<u8>,
}

/// Returns how many bytes may be zeroed after `elapsed`, in which the writer wrote `consumed`
/// bytes.
fn allowed_bytes(elapsed: Duration, consumed: u64) -> u64 {
    let by_time = elapsed.as_nanos() * u128::from(PACE_BASE_BYTES_PER_S) / 1_000_000_000;
    let by_time = u64::try_from(by_time).unwrap_or(u64::MAX);
    consumed.saturating_mul(2).saturating_add(PACE_START_BYTES).saturating_add(by_time)
}

/// Makes a segment in the caller's thread, at full speed, through the page cache.
pub(crate) fn make_now(files: &Files, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
    check(header, channel_page)?;
    let order = Order { header: *header, channel_page: channel_page.to_vec() };
    let mut making = Making::new(files, order, false);
    let mut memory = None;
    loop {
        if let Step::Ended(result) = making.step(&mut memory) {
            return result.map(drop);
        }
    }
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

/// A segment that is being made.
struct Making<F> {
    files: F,
    order: Order,
    direct: bool,
    /// The spare that is being filled with zeros, its name, and the number of bytes that are zero
    /// so far.
    filling: Option<(File, String, u64)>,
}

/// The result of a step.
enum Step {
    /// There is more to do.
    GoOn,
    /// The segment is ready, or it failed and nothing is left of it.
    Ended(io::Result<File>),
}

impl<F: Deref<Target = Files>> Making<F> {
    fn new(files: F, order: Order, direct: bool) -> Making<F> {
        Making { files, order, direct, filling: None }
    }

    fn segment(&self) -> u64 {
        self.order.header.number
    }

    fn zeroed_bytes(&self) -> u64 {
        self.filling.as_ref().map_or(0, |&(.., zeroed)| zeroed)
    }

    /// Writes some zeros, and the headers after the last of them. `memory` keeps a block of zeros
    /// between two steps.
    fn step(&mut self, memory: &mut Option<StageMemory>) -> Step {
        match self.try_step(memory) {
            Ok(None) => Step::GoOn,
            Ok(Some(file)) => Step::Ended(Ok(file)),
            Err(error) => {
                self.abandon();
                Step::Ended(Err(error))
            }
        }
    }

    fn try_step(&mut self, memory: &mut Option<StageMemory>) -> io::Result<Option<File>> {
        let files = &*self.files;
        let memory = match memory {
            Some(memory) => memory,
            none => none.insert(StageMemory::anonymous(1)?),
        };
        let header = &self.order.header;
        let Some((file, name, zeroed)) = &mut self.filling else {
            if files.has_segment(header.number)? {
                let why = format!("segment {} exists already", header.number);
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
            if let Some((name, file)) = files.used_spare(header.segment_bytes, self.direct)? {
                finish(files, &self.order, &name, &file, memory)?;
                return Ok(Some(file));
            }
            let (name, file) = files.new_spare(header.number, self.direct)?;
            let (file, ..) = self.filling.insert((file, name, 0));
            allocate(file, header.segment_bytes)?;
            return Ok(None);
        };
        let length = (header.segment_bytes - *zeroed).min((ZERO_BLOCKS * BLOCK_BYTES_MAX) as u64);
        write_zeros(file, memory.block(0), length, *zeroed)?;
        *zeroed += length;
        if !self.direct && zeroed.is_multiple_of(BUFFERED_SYNC_BYTES) {
            file.sync_data()?;
        }
        if *zeroed < header.segment_bytes {
            return Ok(None);
        }
        finish(files, &self.order, name, file, memory)?;
        Ok(self.filling.take().map(|(file, ..)| file))
    }

    /// Removes the half-made file, because its blocks may be needed elsewhere. If even this fails,
    /// the next writer removes it.
    fn abandon(&mut self) {
        if let Some((_, name, _)) = self.filling.take() {
            let _ = self.files.remove_spare(&name);
        }
    }
}

/// Writes `bytes` zeros at `at`. It passes one block of zeros several times in one call. So a call
/// has more than one block in flight, and a disk takes them at several times the speed.
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

/// Reserves the blocks, so that a full disk is noticed before the first zero and the file has few
/// extents.
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
            // Some file systems cannot reserve blocks. There, writing the zeros allocates them.
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(()),
            _ => return Err(error),
        }
    }
}

/// Makes the headers durable, and then the name.
fn finish(
    files: &Files,
    order: &Order,
    spare: &str,
    file: &File,
    memory: &mut StageMemory,
) -> io::Result<()> {
    let pages = &mut memory.block(0)[..2 * SECTOR_BYTES];
    pages[..SECTOR_BYTES].copy_from_slice(&order.header.encode()[..]);
    pages[SECTOR_BYTES..][..order.channel_page.len()].copy_from_slice(&order.channel_page);
    let written = write_whole(file, pages, 0);
    pages.fill(0);
    written?;
    file.sync_all()?;
    files.adopt_spare(spare, order.header.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SEGMENT_BYTES_DEFAULT;

    #[test]
    fn zeros_keep_ahead_of_any_writer_and_are_slow_for_an_idle_one() {
        // At half of its segment the next one may be ready, however fast the writer is, and never
        // later.
        assert!(allowed_bytes(Duration::ZERO, SEGMENT_BYTES_DEFAULT / 2) >= SEGMENT_BYTES_DEFAULT);
        for percent in 0..50 {
            let consumed = SEGMENT_BYTES_DEFAULT * percent / 100;
            assert!(allowed_bytes(Duration::ZERO, consumed) >= 2 * consumed);
        }
        let idle_for = |seconds| allowed_bytes(Duration::from_secs(seconds), 0);
        assert_eq!(idle_for(1), PACE_START_BYTES + PACE_BASE_BYTES_PER_S);
        assert_eq!(allowed_bytes(Duration::MAX, u64::MAX), u64::MAX);
    }
}
