//! Completion: advances what is written and what is durable, and stops everything when something
//! fails.

use std::io;
use std::time::Duration;

use railbus_os::{Error, Result};

use super::sync::{Behind, EndedSync};
use super::{CONTROL, Writer};
use crate::disk::store::{Begun, Completion, Pipeline};
use crate::format::BlockKind;

/// The reason why the writer has stopped.
#[derive(Debug, Clone)]
pub(super) struct Poison {
    action: &'static str,
    segment: u64,
    kind: io::ErrorKind,
    text: String,
}

impl<P: Pipeline> Writer<P> {
    /// Takes the operations that have ended. Returns whether there were any.
    pub(super) fn take_what_ended(&mut self, now_ns: u64, wait: Duration) -> Result<bool> {
        self.now_ns = now_ns;
        let mut ended = std::mem::take(&mut self.ended);
        let completed = self.pipeline.complete(Some(wait), &mut ended);
        let any = !ended.is_empty();
        let mut taken = completed.map_err(|error| self.poison("wait for", 0, &error));
        for completion in ended.drain(..) {
            taken = taken.and_then(|()| self.take(completion, now_ns)); // nothing counts after a failure
        }
        self.ended = ended;
        taken.map(|()| any)
    }

    fn take(&mut self, completion: Completion, now_ns: u64) -> Result<()> {
        match (completion.begun, completion.result) {
            (Begun::Write { block }, Ok(())) => {
                let flight =
                    self.flights.iter_mut().find(|flight| flight.block == block && !flight.completed);
                let Some(flight) = flight else {
                    let error = io::Error::other("a write ended that was never begun");
                    return Err(self.poison("write", 0, &error));
                };
                flight.completed = true;
                flight.refused = false;
                self.in_flight -= 1;
                self.forget_refusal();
                self.advance_written();
                Ok(())
            }
            (Begun::Write { block }, Err(error)) => {
                let segment = self
                    .flights
                    .iter()
                    .find(|flight| flight.block == block)
                    .map_or(0, |flight| flight.segment);
                self.refuse(block, error).map_err(|error| self.poison("write", segment, &error))
            }
            (Begun::Sync { segment }, Ok(())) => match self.syncing.end(segment) {
                Some(EndedSync { covers, sequence, whole }) => {
                    self.durable = covers;
                    self.stated.durable(sequence);
                    self.durable_since_ns = now_ns;
                    if let Some(segment) = whole {
                        self.pipeline.close(segment);
                    }
                    Ok(())
                }
                None => {
                    Err(self.poison("sync", segment, &io::Error::other("a sync ended that was never begun")))
                }
            },
            (Begun::Sync { segment }, Err(error)) => self.refuse_sync("sync", segment, &error),
            (Begun::Prepare { segment }, result) => {
                let prepared = self.segments.prepared(segment, result, now_ns);
                prepared.map_err(|error| self.poison("prepare", segment, &error))
            }
        }
    }

    fn advance_written(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.completed)
            && let Some(flight) = self.flights.pop_front()
        {
            let seals = flight.kind == BlockKind::Seal;
            let behind = Behind { position: flight.end_position, sequence: flight.sequence + 1 };
            let end_offset = flight.offset + flight.bytes as u64;
            let dirties = flight.kind != BlockKind::Mark;
            self.syncing.written(flight.segment, behind, end_offset, seals, dirties);
            self.written = flight.end_position;
            match (flight.block, flight.raw) {
                (CONTROL, _) => {
                    self.control_in_flight = false;
                    continue;
                }
                (block, None) => self.held.push(block),
                (block, Some(raw)) => {
                    self.targets.push(block);
                    self.held.push(raw);
                }
            }
            if !flight.unfinished {
                self.free_held();
                self.unkept = None;
            }
        }
    }

    pub(super) fn check_poison(&self) -> Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(poison) => Err(self.poison_error(poison)),
        }
    }

    /// Stops the writer for good.
    pub(super) fn poison(&mut self, action: &'static str, segment: u64, error: &io::Error) -> Error {
        let poison = self.poison.get_or_insert_with(|| Poison {
            action,
            segment,
            kind: error.kind(),
            text: error.to_string(),
        });
        let poison = poison.clone();
        self.open = None;
        self.poison_error(&poison)
    }

    fn poison_error(&self, poison: &Poison) -> Error {
        let directory = &self.segments.identity().path;
        let path = match poison.segment {
            0 => directory.clone(),
            segment => directory.join(format!("{segment:020}.seg")),
        };
        let text = format!(
            "{}; the journal has stopped at position {} and tries nothing again: see to the disk, then start the \
             journaller anew",
            poison.text, self.durable
        );
        Error::Io { action: poison.action, path, source: io::Error::new(poison.kind, text) }
    }
}
