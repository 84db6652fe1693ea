//! Writes that were refused for lack of room, descriptors or memory, and are begun again.
//!
//! A copy-on-write file system needs room for each write, also into a file that was filled with
//! zeros. A write that it refuses has changed nothing that was there before. Its block keeps its
//! staging, its place and its bytes, and the same write is begun again after a while. Until all
//! such writes have ended no new block is begun, so staging fills and the recorder's policy
//! decides.
//!
//! A *sync* that finds no room may have lost pages that look written. It is not simply tried again.
//! Everything that no sync has covered is read back, checked and written once more before the next
//! one (`write_again.rs`). Any other failure of a sync poisons the writer, and so does a block that
//! cannot be read back.

use std::io;

use railbus_os::Result;

use super::segments::RETRY_NS;
use super::{Flight, Writer};
use crate::disk::store::Pipeline;
use crate::shortage::Shortage;

/// The state of refused writes.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// The resource that was missing at the last refusal; `None` once every refused write has ended
    /// well.
    shortage: Option<Shortage>,
    /// When (monotonic clock, ns) to begin them again.
    retry_at_ns: u64,
}

impl<P: Pipeline> Writer<P> {
    /// The shortage for which refused writes, or a refused sync, wait.
    pub(super) fn refused(&self) -> Option<Shortage> {
        self.refused.shortage.or_else(|| self.syncing.refused())
    }

    /// When refused writes are due again, if any waits.
    pub(super) fn refused_retry_at_ns(&self) -> Option<u64> {
        self.flights.iter().any(|flight| flight.parked).then_some(self.refused.retry_at_ns)
    }

    /// Records that a write has failed and is no longer in flight. Returns any error that is no
    /// shortage.
    pub(super) fn refuse(&mut self, block: usize, error: io::Error) -> io::Result<()> {
        let Some(shortage) = Shortage::of(&error) else { return Err(error) };
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.block == block && !flight.completed)
        else {
            return Err(error);
        };
        (flight.parked, flight.refused) = (true, true);
        self.in_flight -= 1;
        self.refused =
            Refused { shortage: Some(shortage), retry_at_ns: self.now_ns.saturating_add(RETRY_NS) };
        Ok(())
    }

    /// Handles the failure of a sync, or of the writes before it. A sync without room is tried
    /// again after a while; any other error poisons.
    pub(super) fn refuse_sync(
        &mut self,
        action: &'static str,
        segment: u64,
        error: &io::Error,
    ) -> Result<()> {
        match Shortage::of(error) {
            Some(shortage @ Shortage::Space) => {
                self.syncing.refuse(shortage, self.now_ns.saturating_add(RETRY_NS));
                Ok(())
            }
            _ => Err(self.poison(action, segment, error)),
        }
    }

    /// Clears the shortage if no refused write is left. The caller has just seen a write end well.
    pub(super) fn forget_refusal(&mut self) {
        if self.refused.shortage.is_some() && !self.flights.iter().any(|flight| flight.refused) {
            self.refused = Refused::default();
        }
    }

    /// Begins the refused writes again when it is time.
    pub(super) fn begin_refused(&mut self) -> Result<()> {
        if self.refused.shortage.is_none() || self.now_ns < self.refused.retry_at_ns {
            return Ok(());
        }
        for i in 0..self.flights.len() {
            let Flight { parked, segment, offset, block, bytes, .. } = self.flights[i];
            if !parked || self.in_flight >= self.pipeline.depth() {
                continue;
            }
            self.flights[i].parked = false;
            self.in_flight += 1;
            if let Err(error) = self.pipeline.write(segment, offset, block, bytes) {
                self.refuse(block, error).map_err(|error| self.poison("write", segment, &error))?;
                break;
            }
        }
        Ok(())
    }
}
