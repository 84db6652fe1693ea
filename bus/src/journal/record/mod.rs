//! Recording: from a channel's ring into its journal.

pub(crate) mod doorbell;
pub(crate) mod intake;
pub(crate) mod opening;
pub(crate) mod publisher_numbers;
pub(crate) mod recorded_state;
pub(crate) mod recorder;
pub(crate) mod recording;
pub(crate) mod remake;
pub(crate) mod stage_file;
pub(crate) mod waiting;
