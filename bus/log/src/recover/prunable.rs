//! Which of the oldest segments a person can remove so that the rest is a journal after any crash.
//!
//! A writer's own retention asks the writer (`retention.rs`). Here only the files show what is
//! durable, which is less.

use std::path::Path;

use railbus_os::{Error, Result};

use super::segment::FoundSegment;
use super::survey::{Checks, Survey, survey};
use crate::disk::store::Store;
use crate::retention::begins_within_event;

/// Returns how many of the `wanted` oldest segments can be removed, also while a writer is at work.
///
/// - The files must show that the beginning of the next segment is durable.
/// - Each kind of state must be in a later segment that is durable as a whole.
/// - No event may begin before `unread`, the first position that some consumer has still to read,
///   and end after it.
///
/// `path` is for messages.
///
/// # Errors
/// [`Error::Io`] when the journal cannot be read. [`Error::Corrupt`] and [`Error::Version`] for a
/// corrupt journal or one of another version: nothing of it should be removed.
pub fn prunable(store: &dyn Store, path: &Path, wanted: usize, unread: u64) -> Result<usize> {
    let failed = |error| Error::io("read", path, error);
    let survey = survey(store, Checks::QUICK).map_err(failed)?;
    if let Some(corruption) = survey.corrupt {
        return Err(super::corrupt(path, &corruption));
    }
    for count in (1..=wanted.min(survey.used.saturating_sub(1))).rev() {
        if stands_alone(store, &survey, count, unread).map_err(failed)? {
            return Ok(count);
        }
    }
    Ok(0)
}

/// Whether the journal is whole without its first `count` segments.
fn stands_alone(store: &dyn Store, survey: &Survey, count: usize, unread: u64) -> std::io::Result<bool> {
    let left = &survey.segments[count..survey.used];
    let durable = survey.durable_position;
    let Some((oldest, Ok(first))) = left.first().map(|oldest| (oldest, oldest.first)) else {
        return Ok(false);
    };
    let is_whole = |segment: &FoundSegment| segment.is_vouched_for(durable);
    if first.first_position >= durable && !left.iter().any(is_whole) {
        return Ok(false);
    }
    if first.first_position == unread && begins_within_event(store, oldest.number, &first)? {
        return Ok(false);
    }
    Ok(survey.states.iter().enumerate().all(|(kind, state)| {
        let has_it = |segment: &FoundSegment| segment.seal.is_some_and(|(_, seal)| seal.states[kind] != 0);
        state.is_none() || left.iter().any(|segment| is_whole(segment) && has_it(segment))
    }))
}
