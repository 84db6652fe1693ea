//! Mistakes that are made on purpose, to see that the oracle sees them.

use std::io;
use std::time::Duration;

use railbus_log::disk::store::{Begun, Completion, Pipeline, Store};
use railbus_log::disk::write_again::Unproven;
use railbus_log::format::SegmentHeader;

use crate::simulated::disk::{Disk, SimulatedPipeline};

/// A mistake that is made on purpose, to see that the oracle sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Nothing.
    None,
    /// Syncs end well, and nothing was synced.
    NoSync,
    /// Writes end well before they are done.
    EarlyAck,
    /// Only the newest segment is synced; for the others success is only reported.
    OldSegmentsUnsynced,
    /// Failed writes end well.
    HiddenErrors,
    /// Recovery does not make durable the records that it found.
    NoSyncInRecovery,
    /// Recovery takes the contents of the cache for those of the disk.
    TrustsCache,
    /// The writer puts states among the pieces of a large event.
    StatesAmongPieces,
    /// Retention takes the last durable segment when nothing of the next one is synced.
    PrunesBeforeSync,
    /// Retention does not wait for the states to be durable in a later segment.
    ForgetsStates,
    /// Retention takes a segment in which an unread event begins that ends in the next.
    PrunesBeginnings,
    /// A segment that was made counts before the directory that names it is synced.
    NamesUnsynced,
    /// A segment counts as removed before the directory is synced.
    RemovalsUnsynced,
    /// A sync that found no room is tried again, and the writes that it may have lost are not
    /// repeated.
    SyncsAgain,
}

/// The pipeline, with the mutation.
#[derive(Debug)]
pub(crate) struct Mutant {
    pub(crate) inner: SimulatedPipeline,
    pub(crate) mutation: Mutation,
    pub(crate) said: Vec<Completion>,
    pub(crate) newest: u64,
}

impl Pipeline for Mutant {
    fn depth(&self) -> usize {
        self.inner.depth()
    }

    fn staging(&mut self, block: usize) -> &mut [u8] {
        self.inner.staging(block)
    }

    fn staging_blocks(&self) -> usize {
        self.inner.staging_blocks()
    }

    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()> {
        self.newest = self.newest.max(segment);
        if self.mutation == Mutation::EarlyAck {
            self.said.push(Completion { begun: Begun::Write { block }, result: Ok(()) });
        }
        self.inner.write(segment, offset, block, bytes)
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        if self.mutation == Mutation::NoSync
            || (self.mutation == Mutation::OldSegmentsUnsynced && segment < self.newest)
        {
            self.said.push(Completion { begun: Begun::Sync { segment }, result: Ok(()) });
            return Ok(());
        }
        self.inner.sync(segment)
    }

    fn write_again(&mut self, part: &Unproven) -> io::Result<()> {
        if self.mutation == Mutation::SyncsAgain { Ok(()) } else { self.inner.write_again(part) }
    }

    fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        self.inner.prepare(header, channel_page)
    }

    fn close(&mut self, segment: u64) {
        self.inner.close(segment);
    }

    fn complete(&mut self, timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()> {
        let already = ended.len();
        self.inner.complete(timeout, ended)?;
        match self.mutation {
            Mutation::EarlyAck => ended.retain(|completion| !matches!(completion.begun, Begun::Write { .. })),
            Mutation::HiddenErrors => {
                for completion in &mut ended[already..] {
                    completion.result = Ok(());
                }
            }
            _ => {}
        }
        ended.append(&mut self.said);
        Ok(())
    }
}

/// The store, with the mutation.
pub(crate) struct MutantStore<'a>(pub(crate) &'a Disk, pub(crate) Mutation);

impl Store for MutantStore<'_> {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.0.segments()
    }
    fn length(&self, segment: u64) -> io::Result<u64> {
        self.0.length(segment)
    }
    fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(segment, offset, bytes)
    }
    fn write_at(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(segment, offset, bytes)
    }
    fn sync(&self, segment: u64) -> io::Result<()> {
        if self.1 == Mutation::NoSyncInRecovery { Ok(()) } else { self.0.sync(segment) }
    }
    fn create(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        self.0.create(header, channel_page)
    }
    fn remove(&self, segment: u64) -> io::Result<()> {
        self.0.remove(segment)
    }
    fn quarantine(&self, segment: u64) -> io::Result<()> {
        self.0.quarantine(segment)
    }
    fn reads_the_disk(&self) -> bool {
        self.1 == Mutation::TrustsCache || self.0.reads_the_disk()
    }
}
