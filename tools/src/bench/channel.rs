//! What carries the events of a run: made by the supervisor before the workers start, removed after they have ended.

use std::any::Any;

use railbus::error::{Error, Result};

use super::args::{ChannelArgs, Kind};

/// What a ring has by default: it fits the second-level caches, which is what large events need most.
const DEFAULT_BYTES: usize = 256 << 10;

/// A channel, or what stands in for it, while a repetition runs.
pub struct Stage {
    /// Its name, for the workers.
    pub channel: String,
    /// Bytes of its ring.
    pub capacity_bytes: usize,
    /// The pages it got.
    pub pages: String,
    /// Removes it when dropped.
    #[allow(dead_code, reason = "kept for what its drop does")]
    pub keep: Option<Box<dyn Any>>,
}

/// Makes what `args` ask for.
pub fn prepare(args: &ChannelArgs) -> Result<Stage> {
    match args.kind {
        Kind::Limit => {
            let room = args.payload.saturating_mul(8).next_power_of_two();
            let capacity_bytes = args.capacity.unwrap_or(DEFAULT_BYTES.max(room));
            Ok(Stage { channel: String::new(), capacity_bytes, pages: "4 KiB".into(), keep: None })
        }
        kind => Err(not_built(kind)),
    }
}

/// The error for a kind that this program was built without.
pub fn not_built(kind: Kind) -> Error {
    Error::invalid(format!("--kind {}", kind.name()), "this program was built without it; use --kind limit")
}
