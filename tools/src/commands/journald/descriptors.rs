//! File descriptors: every recorded channel takes about a dozen.
//!
//! The limit of the process is raised as far as it may be. Channels that would take the last
//! descriptors are not opened, so that the recorded channels can go on: each needs one now and
//! then, for its next segment.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use railbus::Error;

/// Descriptors that stay free for the channels that are recorded already.
const RESERVE: u64 = 64;
/// The most descriptors that one more channel takes.
const A_CHANNEL: u64 = 16;

/// Raises the limit of open files to what this process may have. Returns the limit.
pub(crate) fn raise() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    // If raising it is refused, the old limit stays, and is reported when it is reached.
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return hard;
    }
    soft
}

/// The number of further channels for which there are enough.
pub(crate) fn room(limit: u64) -> usize {
    // If they cannot be counted, none are assumed to be left.
    let used = std::fs::read_dir("/proc/self/fd").map_or(limit, |entries| entries.count() as u64);
    (limit.saturating_sub(used + RESERVE) / A_CHANNEL) as usize
}

/// Whether an error means that no descriptors are left.
pub(crate) fn are_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)))
}

/// Advice for people.
pub(crate) fn advice(limit: u64) -> String {
    format!(
        "the limit of open files is {limit}, and a channel takes about a dozen: raise it (`ulimit -n`, LimitNOFILE= of \
         the unit), and start again"
    )
}
