//! The options for recording a channel.

use std::time::Duration;

use railbus_log::format::{
    BLOCK_BYTES_MAX, BLOCKS_OFFSET, Codec, SECTOR_BYTES, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX,
};
use railbus_log::retention::Retention;

use crate::channel::Header;
use crate::error::{Error, Result};
use crate::journal::SyncPolicy;
use crate::journal::record::stage_file;
use crate::setters::setters;

/// The least and the most staging in bytes when the option leaves the size open.
const STAGING_MIN: u64 = 1 << 20;
const STAGING_MAX: u64 = 16 << 20;
/// How long a block waits for more records where nobody waits for each event to be durable.
const QUIET_LINGER: Duration = Duration::from_millis(100);
/// Size of the smallest segment that a recorder writes, in bytes: it has room for the largest block.
const SEGMENT_MIN: u64 = BLOCKS_OFFSET + (BLOCK_BYTES_MAX + SECTOR_BYTES) as u64;
/// Size of the largest first segment, in bytes.
const FIRST_SEGMENT_MAX: u64 = 4 << 20;

/// The policy while the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Keep events in the staging and then in the ring. Publishers wait, as for any slow reader.
    #[default]
    Block,
    /// Drop events, and record how many are missing as soon as there is room again.
    Drop,
}

/// The way to write to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// By io_uring, or like `Blocking` where io_uring is refused.
    /// [`OpenReport::disk`](super::OpenReport::disk) reports which.
    #[default]
    Auto,
    /// By io_uring. It is an error where io_uring is refused.
    Uring,
    /// By `pwrite` and `fdatasync` in a thread.
    Blocking,
}

/// The options for recording a channel. See [`Recorder`](super::Recorder).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderOptions {
    /// When written events are made durable. The default is at once.
    pub sync: SyncPolicy,
    /// Whether to lose events, and record exactly which, rather than ever hold a publisher back.
    /// Not for queues. The default is false.
    pub lossy: bool,
    /// The policy while the disk is full. The default is to block.
    pub when_full: WhenFull,
    /// Compression of blocks. The default is none.
    pub codec: Codec,
    /// Size of a segment file in bytes: a multiple of 4 KiB, 268 KiB to 64 GiB. The default is 256
    /// MiB.
    pub segment_bytes: u64,
    /// How many bytes may be staged: taken from the ring and not yet written. It is a multiple of
    /// 256 KiB, 1 MiB to 1 GiB. The default 0 sizes it to the channel: four times its ring, but 1
    /// to 16 MiB. A stall of the disk uses this much, and then the ring, before a publisher waits.
    pub staging_bytes: u64,
    /// Most writes in flight, 1 to 64. The default is 6.
    pub depth: usize,
    /// How long a partly full block waits for more records while writes are in flight. The default
    /// is 100 us.
    ///
    /// With a sync policy other than `always` such a block waits in any case: for the interval, or
    /// for 100 ms if that is shorter or the policy is `never`. So an event is *written* that much
    /// later, and a quiet channel does not take 4 KiB of the disk for each event.
    pub linger: Duration,
    /// The way to write to the disk.
    pub io: Io,
    /// Whether to bypass the page cache where the file system can. The default is true.
    pub direct: bool,
    /// Which part of the past is kept. The default is everything.
    pub retention: Retention,
    /// How often the state of queues and durable subscriptions is recorded when it has changed. The
    /// default is 100 ms.
    pub state_every: Duration,
}

impl Default for RecorderOptions {
    fn default() -> RecorderOptions {
        RecorderOptions {
            sync: SyncPolicy::Always,
            lossy: false,
            when_full: WhenFull::Block,
            codec: Codec::None,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            staging_bytes: 0,
            depth: 6,
            linger: Duration::from_micros(100),
            io: Io::Auto,
            direct: true,
            retention: Retention::default(),
            state_every: Duration::from_millis(100),
        }
    }
}

setters!(RecorderOptions: sync: SyncPolicy, lossy: bool, when_full: WhenFull, codec: Codec, segment_bytes: u64, staging_bytes: u64, depth: usize, linger: Duration, io: Io, direct: bool, retention: Retention, state_every: Duration);

impl RecorderOptions {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the value and its range.
    pub fn check(&self) -> Result<()> {
        let sizes = SEGMENT_MIN..=SEGMENT_BYTES_MAX;
        if !sizes.contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return Err(Error::invalid(
                format!("segments of {} bytes", self.segment_bytes),
                format!("must be a multiple of 4096, {SEGMENT_MIN} to {SEGMENT_BYTES_MAX}"),
            ));
        }
        let unit = BLOCK_BYTES_MAX as u64;
        let blocks = (self.staging_bytes / unit) as usize;
        if self.staging_bytes != 0
            && (!self.staging_bytes.is_multiple_of(unit)
                || !(stage_file::BLOCKS_MIN..=stage_file::BLOCKS_MAX).contains(&blocks))
        {
            return Err(Error::invalid(
                format!("staging of {} bytes", self.staging_bytes),
                format!(
                    "must be a multiple of {unit}, {} to {}",
                    stage_file::BLOCKS_MIN as u64 * unit,
                    stage_file::BLOCKS_MAX as u64 * unit
                ),
            ));
        }
        if !(1..=64).contains(&self.depth) {
            return Err(Error::invalid(format!("depth {}", self.depth), "must be 1 to 64"));
        }
        Ok(())
    }

    /// Takes over the options that may change while a channel is recorded: retention, the policy
    /// for a full disk, and how often states are recorded.
    pub(crate) fn adjust(&mut self, new: &RecorderOptions) {
        self.retention = new.retention;
        self.when_full = new.when_full;
        self.state_every = new.state_every;
    }

    /// Returns the number of staging blocks for a journal of this channel.
    pub(crate) fn blocks(&self, channel: &Header) -> usize {
        let bytes = match self.staging_bytes {
            0 => channel.capacity_bytes.saturating_mul(4).clamp(STAGING_MIN, STAGING_MAX),
            bytes => bytes,
        };
        (bytes / BLOCK_BYTES_MAX as u64) as usize
    }

    /// Returns how long a block waits for more records.
    pub(crate) fn linger_in_blocks(&self) -> Duration {
        match self.sync {
            SyncPolicy::Always => self.linger,
            SyncPolicy::Interval(interval) => self.linger.max(interval.min(QUIET_LINGER)),
            SyncPolicy::Never => self.linger.max(QUIET_LINGER),
        }
    }

    /// Returns the size of the first segment of a journal of this channel, in bytes. It is small
    /// for a small channel, because there may be many of those.
    pub(crate) fn first_segment_bytes(&self, channel: &Header) -> u64 {
        let wanted = channel.capacity_bytes.saturating_mul(4).clamp(SEGMENT_MIN, FIRST_SEGMENT_MAX);
        wanted.next_multiple_of(4096).min(self.segment_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{RecorderOptions, SEGMENT_MIN};

    #[test]
    fn a_segment_has_room_for_the_largest_block() {
        let of = |bytes| RecorderOptions::default().segment_bytes(bytes).check();
        assert!(of(SEGMENT_MIN).is_ok());
        let text = of(SEGMENT_MIN - 4096).expect_err("too small").to_string();
        assert!(text.contains("274432 to 68719476736"), "{text}");
    }
}
