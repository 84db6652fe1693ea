//! The journal: events on disk, exactly as they were in the channel, and what is known to be there.
//!
//! A journal is a directory per channel (`JOURNAL/BUS/CHANNEL/`) of **segment files** of **blocks** of **records**.
//! One writer at a time, which holds the directory's lock, appends; any number of readers read, also while it writes.
//! `docs/JOURNAL.md` describes the bytes; [`mod@format`] defines them.

pub mod adopt;
pub mod block;
pub mod blocking;
pub mod blocks;
pub mod checkpoint;
pub(crate) mod companion;
pub mod compress;
pub mod disk;
mod disk_threads;
pub(crate) mod doorbell;
mod durability;
pub mod events;
pub mod files;
pub mod format;
pub(crate) mod incarnations;
pub mod index;
pub(crate) mod intake;
pub mod live;
pub mod lock;
mod meet_checksum;
pub(crate) mod numbers;
mod open_report;
pub mod opening;
pub mod options;
pub mod pattern;
mod prepare;
pub mod probe;
mod read_ahead;
pub mod reader;
pub mod recorder;
pub(crate) mod recording;
pub mod recovery;
pub(crate) mod remake;
pub mod replay;
pub mod restore;
#[doc(hidden)]
pub mod retention;
pub mod segment_file;
mod segments;
pub mod shared;
pub mod shortage;
pub(crate) mod stage;
pub mod stage_memory;
pub mod staging;
pub mod state;
pub(crate) mod steady;
pub mod store;
pub mod uring;
pub(crate) mod waiting;
pub mod wishes;
pub mod write_again;
pub mod writer;

pub use adopt::{Adopted, adopt};
pub use checkpoint::{Checkpoint, Saved};
pub use events::{Events, Item, Recorded};
pub use live::{Behind, FollowOptions, Followed, Follower, Source};
pub use opening::{OpenReport, directory_of};
pub use options::{Io, RecorderOptions, Retention, WhenFull};
pub use reader::{Extent, Journal, Seek, SegmentInfo};
pub use recorder::{Recorder, RecorderStatus, Recorders};
pub use replay::{Replay, ReplayOptions, Speed, Until};
pub(crate) use restore::is_lost;
pub use restore::{Restored, lost, restore};
pub(crate) use shared::{JournalNamed, note_removal};
pub use shared::{JournalPositions, JournalState};
pub use shortage::Shortage;
pub use writer::SyncPolicy;
