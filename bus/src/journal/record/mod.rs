//! Recording: from a channel's ring into its journal. Three loops are nested:
//!
//! ```text
//! run (recorder/thread.rs): one thread               repeats until it is stopped
//!   obey commands
//!   for each channel: round (recording.rs)           waits 50 us, if alone and with I/O in flight
//!     take: ring -> staging                          at most about 256 KiB
//!     took nothing, 1 ms after the last time: step over what dead publishers left
//!     every state_every: append states;  every 250 ms: is the channel removed? retention
//!     turn (write/mod.rs)                            waits only if `take` took nothing
//!       begin what is due: refused writes, next segment, blocks, mark, sync
//!       take what has ended; if anything has, begin and take once more
//!     store written, durable and end in NAME.journal, wake waiters
//!   poison channels that failed; open journals that waited for room
//!   moved: repeat;  else I/O in flight: repeat (several channels: first wait 50 us for one of them)
//!   else moved in the last 50 us: pause;  else announce, round once more, sleep at most 8 or 64 ms
//! ```

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
