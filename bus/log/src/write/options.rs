//! The options of a writer, and their ranges.

use std::time::Duration;

use railbus_os::{Error, Result};

use super::{STAGING_BLOCKS_MIN, SyncPolicy};
use crate::disk::store::Pipeline;
use crate::format::{
    BLOCK_BYTES_MAX, BLOCKS_OFFSET, Codec, SECTOR_BYTES, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX,
};
use crate::stage::words::StageWords;

/// The options of a writer.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// When written data is made durable.
    pub sync: SyncPolicy,
    /// Size of the segment files in bytes, a multiple of 4 KiB.
    pub segment_bytes: u64,
    /// Size of the first segment in bytes, unless all are smaller. Each segment is four times as
    /// large as the one before, up to `segment_bytes`.
    pub first_segment_bytes: u64,
    /// Size of the largest block in bytes, a multiple of 4 KiB, at most [`BLOCK_BYTES_MAX`].
    pub block_bytes: usize,
    /// Compression, each block by itself. It needs twice the staging.
    pub codec: Codec,
    /// How long a block that is not full may wait for more records while writes are in flight. With
    /// another policy than [`SyncPolicy::Always`] it also waits while none are.
    pub linger: Duration,
    /// How long everything must be durable, and nothing be appended, before a mark is written.
    pub mark_after: Duration,
    /// Number of segments to have ready ahead of the one in use, at least 1.
    pub segments_ahead: usize,
    /// Whether states wait for the end of a large event. Only a test that shows that this matters
    /// turns it off.
    #[doc(hidden)]
    pub states_wait: bool,
}

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        WriterOptions {
            sync: SyncPolicy::Always,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            first_segment_bytes: 4 << 20,
            block_bytes: BLOCK_BYTES_MAX,
            codec: Codec::None,
            linger: Duration::from_micros(50),
            mark_after: Duration::from_millis(10),
            segments_ahead: 1,
            states_wait: true,
        }
    }
}

/// Returns the size of the smallest segment that has room for the largest block and the seal.
pub(super) fn smallest_segment(options: &WriterOptions) -> u64 {
    BLOCKS_OFFSET + (options.block_bytes + SECTOR_BYTES) as u64
}

pub(super) fn check<P: Pipeline>(options: &WriterOptions, pipeline: &P, words: &StageWords) -> Result<()> {
    let blocks = pipeline.staging_blocks();
    let sector = SECTOR_BYTES as u64;
    let smallest = smallest_segment(options);
    if !(smallest..=SEGMENT_BYTES_MAX).contains(&options.segment_bytes)
        || !options.segment_bytes.is_multiple_of(sector)
    {
        let why = format!("must be a multiple of {sector} from {smallest} to {SEGMENT_BYTES_MAX}");
        return Err(Error::invalid(format!("segment size {}", options.segment_bytes), why));
    }
    if !(SECTOR_BYTES..=BLOCK_BYTES_MAX).contains(&options.block_bytes)
        || !options.block_bytes.is_multiple_of(SECTOR_BYTES)
    {
        let why = format!("must be a multiple of {sector} from {sector} to {BLOCK_BYTES_MAX}");
        return Err(Error::invalid(format!("block size {}", options.block_bytes), why));
    }
    if blocks < STAGING_BLOCKS_MIN + usize::from(options.codec != Codec::None)
        || words.blocks().len() != blocks
    {
        let why = format!("at least {STAGING_BLOCKS_MIN}, one more to compress, and as many state words");
        return Err(Error::invalid(format!("{blocks} staging blocks"), why));
    }
    if pipeline.depth() == 0 || options.segments_ahead == 0 {
        return Err(Error::invalid("writes in flight, segments ahead", "must be at least 1"));
    }
    Ok(())
}
