//! A producer's watch over the reader that holds it back, for producers that evict stuck readers.

use std::time::Duration;

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry;
use railbus_ring::memory::{Edge, Memory};

use crate::channel::file_locks::FileLocks;
use crate::channel::mapped::Trusted;
use crate::channel::open::Channel;
use crate::channel::peers::Kernel;
use crate::error::{Error, Result};

/// A producer's watch over the reader that holds it back.
#[derive(Debug)]
pub(crate) struct StuckReader {
    /// The locks with which it evicts. They are opened with the sender, because the process may
    /// have no right to do so later.
    locks: FileLocks,
    /// Entry, state word, cursor and events of the reader when it was last seen to have moved.
    seen: Option<(usize, [u64; 3])>,
    since_ns: u64,
}

impl StuckReader {
    /// Opens the locks that an eviction needs.
    pub(crate) fn open(channel: &Channel) -> Result<StuckReader> {
        Ok(StuckReader { locks: FileLocks::open(channel, Side::Consumers)?, seen: None, since_ns: 0 })
    }

    /// Looks at the live reader in entry `index`. Evicts it if it has not moved for the channel's
    /// `stuck_after` and is not durable. The producer calls this about every millisecond while the
    /// reader holds it back. If another process is changing the entry, the next call tries again.
    ///
    /// # Errors
    /// Why the reader cannot be evicted.
    pub(crate) fn watch(
        &mut self,
        channel: &Channel,
        peers: &Kernel,
        acks: &Trusted,
        index: usize,
    ) -> Result<()> {
        let load = |field| acks.load(layout::entry(index) + field, Edge::Plain);
        let now_ns = clock::monotonic_ns();
        let state = load(layout::STATE);
        let seen = Some((index, [state, load(layout::CURSOR), load(layout::EVENTS)]));
        if self.seen != seen {
            (self.seen, self.since_ns) = (seen, now_ns);
        }
        let is_stuck = now_ns.saturating_sub(self.since_ns) > channel.header().stuck_after_ns;
        if !is_stuck || load(layout::POLICY) & registry::DURABLE != 0 {
            return Ok(());
        }
        self.since_ns = now_ns;
        // The producer's own maps of `.acks` are read-only, so the eviction makes another one. That
        // takes a while, in which this reader may leave and another one come.
        let who = (index, Some(registry::generation(state)));
        let evicted = self.locks.with(channel, Side::Consumers, |locks| {
            channel.evict_with((peers, Some(locks)), Side::Consumers, who, Duration::ZERO, false)
        });
        match evicted? {
            Err(error @ (Error::NotAllowed { .. } | Error::Io { .. } | Error::NoSpace { .. })) => Err(error),
            _ => Ok(()),
        }
    }
}
