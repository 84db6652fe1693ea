//! The journal: events on disk, exactly as they were in the channel, and what is known to be there.
//!
//! A journal is a directory per channel (`JOURNAL/BUS/CHANNEL/`) of **segment files** of **blocks** of **records**.
//! One writer at a time, which holds the directory's lock, appends; any number of readers read, also while it writes.
//! `docs/JOURNAL.md` describes the bytes; [`format`] defines them.

pub mod block;
pub mod blocking;
pub mod compress;
pub mod disk;
pub mod files;
pub mod format;
pub mod lock;
mod prepare;
pub mod probe;
pub mod recovery;
mod segments;
pub mod stage_memory;
pub mod staging;
pub mod store;
pub mod uring;
pub mod writer;
pub mod blocks;
pub mod events;
pub mod format;
pub mod index;
pub mod reader;
pub mod replay;
pub mod segment_file;
pub mod store;

pub use events::{Events, Item, Recorded};
pub use reader::{Extent, Journal, Seek, SegmentInfo};
pub use replay::{Replay, ReplayOptions, Speed, Until};

/// The records of a compressed block, into `plain`.
fn unpack(
    header: &format::BlockHeader,
    _stored: &[u8],
    _plain: &mut Vec<u8>,
) -> Result<(), format::Flaw> {
    match header.codec {
        format::Codec::None => Ok(()),
        _ => Err(format::Flaw::Nonsense("compression that this build does not know")),
    }
}
