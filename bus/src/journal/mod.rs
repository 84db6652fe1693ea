//! The journal: events on disk, exactly as they were in the channel, and what is known to be
//! durable.
//!
//! A journal is a directory per channel (`JOURNAL/BUS/CHANNEL/`) of **segment files**, which hold
//! **blocks** of **records**. One writer at a time appends, and holds the directory's lock. Any
//! number of readers read, also while it writes. `docs/JOURNAL.md` describes the bytes;
//! `railbus-log` defines them.
//!
//! - [`Recorder`] and [`Recorders`] record channels.
//! - [`Journal`] and [`Events`] read a journal, [`Replay`] replays it, and [`Follower`] continues
//!   live.
//! - [`Checkpoint`] stores a consumer's state together with its position.
//! - [`restore()`] makes a lost channel again from its journal.

mod adopt;
#[doc(hidden)]
pub mod checkpoint;
mod durability;
mod events;
mod follow;
mod open_report;
mod options;
mod read;
pub(crate) mod record;
mod replay;
pub(crate) mod restore;

pub use adopt::{Adopted, adopt};
pub use checkpoint::{Checkpoint, Saved};
pub use events::{Events, Item, Recorded};
pub use follow::{Behind, FollowOptions, Followed, Follower, Source};
pub use open_report::OpenReport;
pub use options::{Io, RecorderOptions, WhenFull};
pub use railbus_log::retention::Retention;
pub use railbus_log::shortage::Shortage;
pub use railbus_log::write::SyncPolicy;
pub use read::{Extent, Journal, Seek, SegmentInfo};
pub use record::opening::directory_of;
pub use record::recorder::{Recorder, RecorderStatus, Recorders};
pub use replay::{Replay, ReplayOptions, Speed, Until};
pub use restore::{Restored, lost, restore};

pub use crate::channel::journal_status::{JournalPositions, JournalState};
pub use crate::channel::pattern::Pattern;
pub use crate::channel::wishes;

/// For the project's own program and tests; see `railbus::internal`.
pub(crate) mod internal {
    pub use super::checkpoint;
    pub use super::replay::wait_until;
}
