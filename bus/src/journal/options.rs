//! How a channel is to be recorded.

use std::time::Duration;

use railbus_log::format::{
    BLOCK_BYTES_MAX, BLOCKS_OFFSET, Codec, SECTOR_BYTES, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
};
use railbus_log::retention::Retention;

use crate::channel::Header;
use crate::error::{Error, Result};
use crate::journal::SyncPolicy;
use crate::journal::record::stage_file;
use crate::setters::setters;

/// The least and the most staging of a journal whose size nobody has said.
const STAGING_MIN: u64 = 1 << 20;
const STAGING_MAX: u64 = 16 << 20;
/// How long a block waits for more where nobody waits for it to be durable.
const QUIET_LINGER: Duration = Duration::from_millis(100);
/// The smallest first segment, in which the largest block has its place, and the largest.
const FIRST_SEGMENT_MIN: u64 = BLOCKS_OFFSET + (BLOCK_BYTES_MAX + SECTOR_BYTES) as u64;
const FIRST_SEGMENT_MAX: u64 = 4 << 20;

/// What to do while the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Keep events in the staging and then in the ring: publishers wait, as for any slow reader.
    #[default]
    Block,
    /// Let events go, and record how many are missing as soon as there is space again.
    Drop,
}

/// How to write to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// By io_uring, or, where that is refused, as `Blocking`; which, is said in the status.
    #[default]
    Auto,
    /// By io_uring; an error where that is refused.
    Uring,
    /// By `pwrite` and `fdatasync` in a thread.
    Blocking,
}

/// How a channel is to be recorded. See [`Recorder`](super::Recorder).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderOptions {
    /// When what is written is made durable. At once, unless said otherwise.
    pub sync: SyncPolicy,
    /// Whether to lose events, exactly reported, rather than ever hold a publisher back. Not for queues.
    pub lossy: bool,
    /// What to do while the disk is full.
    pub when_full: WhenFull,
    /// Compression of blocks; none unless said.
    pub codec: Codec,
    /// Size of a segment file in bytes: a multiple of 4 KiB, 272 KiB to 64 GiB; 256 MiB unless said.
    pub segment_bytes: u64,
    /// How much may be staged: taken from the ring and not yet written. Multiples of 256 KiB, 1 MiB to 1 GiB. 0, unless
    /// said: sized to the channel, as four of its rings, 1 to 16 MiB. A stall of the disk costs this much, and then the
    /// ring, before a publisher feels it.
    pub staging_bytes: u64,
    /// Writes in flight at most, 1 to 64; 6 unless said.
    pub depth: usize,
    /// How long a partly full block waits for more while writes are in flight. With a sync policy other than `always` it
    /// waits in any case, for the interval but not longer than 100 ms: so *written* comes that much later, and a quiet
    /// channel does not take 4 KiB of the disk for each event.
    pub linger: Duration,
    /// How to write.
    pub io: Io,
    /// Whether to write around the page cache where the file system can. Yes unless said.
    pub direct: bool,
    /// What is kept.
    pub retention: Retention,
    /// How often the state of queues and durable subscriptions is recorded, when it has changed; 100 ms unless said.
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
    pub fn check(&self) -> Result<()> {
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !sizes.contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return Err(Error::invalid(
                format!("segments of {} bytes", self.segment_bytes),
                format!("must be a multiple of 4096, {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"),
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

    /// Takes over what may change while a channel is recorded: retention, what to do when the disk is full, how often
    /// states are recorded.
    pub(crate) fn adjust(&mut self, new: &RecorderOptions) {
        self.retention = new.retention;
        self.when_full = new.when_full;
        self.state_every = new.state_every;
    }

    /// Staging blocks of a journal of this channel.
    pub(crate) fn blocks(&self, channel: &Header) -> usize {
        let bytes = match self.staging_bytes {
            0 => channel.capacity_bytes.saturating_mul(4).clamp(STAGING_MIN, STAGING_MAX),
            bytes => bytes,
        };
        (bytes / BLOCK_BYTES_MAX as u64) as usize
    }

    /// How long a block waits for more.
    pub(crate) fn linger_in_blocks(&self) -> Duration {
        match self.sync {
            SyncPolicy::Always => self.linger,
            SyncPolicy::Interval(interval) => self.linger.max(interval.min(QUIET_LINGER)),
            SyncPolicy::Never => self.linger.max(QUIET_LINGER),
        }
    }

    /// Size of the first segment of a journal of this channel: small for a small channel, of which there may be many.
    pub(crate) fn first_segment_bytes(&self, channel: &Header) -> u64 {
        let wanted = channel.capacity_bytes.saturating_mul(4).clamp(FIRST_SEGMENT_MIN, FIRST_SEGMENT_MAX);
        wanted.next_multiple_of(4096).min(self.segment_bytes)
    }
}
