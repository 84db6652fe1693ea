//! How to wait, and for how long.

use std::time::Duration;

use railbus::Wait;

use crate::result::Failure;

/// A timeout, in ns, that never passes. Publishing with it does what the channel's creator chose
/// for a full channel: wait, or drop the event and return `RAILBUS_DROPPED`.
pub const RAILBUS_FOREVER: u64 = u64::MAX;

/// Wait: poll for 50 us, then sleep until woken. Uses almost no processor time while idle.
pub const RAILBUS_WAIT_DEFAULT: u32 = 0;
/// Wait: poll without end. The lowest latency; it uses a whole core.
pub const RAILBUS_WAIT_SPIN: u32 = 1;
/// Wait: poll for `spin_ns`, then give the processor to others between polls.
pub const RAILBUS_WAIT_YIELD: u32 = 2;
/// Wait: poll for `spin_ns`, then sleep until woken.
pub const RAILBUS_WAIT_PARK: u32 = 3;

/// The crate's way to wait, for one of `RAILBUS_WAIT_`.
pub(crate) fn wait(kind: u32, spin_ns: u64) -> Result<Wait, Failure> {
    let spin = Duration::from_nanos(spin_ns);
    match kind {
        RAILBUS_WAIT_DEFAULT => Ok(Wait::default()),
        RAILBUS_WAIT_SPIN => Ok(Wait::Spin),
        RAILBUS_WAIT_YIELD => Ok(Wait::Yield { spin }),
        RAILBUS_WAIT_PARK => Ok(Wait::Park { spin }),
        _ => Err(Failure::invalid(format!("wait {kind}: must be one of RAILBUS_WAIT_"))),
    }
}
