//! The journal: events on disk, exactly as they were in the channel, and what is known to be there.
//!
//! A journal is a directory per channel (`JOURNAL/BUS/CHANNEL/`) of **segment files** of **blocks** of **records**.
//! One writer at a time, which holds the directory's lock, appends; any number of readers read, also while it writes.
//! `docs/JOURNAL.md` describes the bytes; [`format`] defines them.

pub mod block;
pub mod blocking;
pub mod blocks;
pub mod compress;
pub mod disk;
pub mod events;
pub mod files;
pub mod format;
pub mod index;
pub mod lock;
mod prepare;
pub mod probe;
pub mod reader;
pub mod recovery;
pub mod replay;
pub mod segment_file;
mod segments;
pub mod stage_memory;
pub mod staging;
pub mod store;
pub mod uring;
pub mod writer;

pub use events::{Events, Item, Recorded};
pub use reader::{Extent, Journal, Seek, SegmentInfo};
pub use replay::{Replay, ReplayOptions, Speed, Until};
