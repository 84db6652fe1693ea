//! Which of the oldest segments can be removed by hand so that what is left is a journal after any crash.
//!
//! A writer's own retention asks the writer (`retention.rs`). Here, only the files tell what is durable, which is less.

use std::path::Path;

use railbus_os::{Error, Result};

use super::segment::Segment;
use super::survey::{Checks, Survey, survey};
use crate::disk::store::Store;
use crate::retention::begins_within_event;

/// How many of the `wanted` oldest segments can go, also beside a writer: the files must say of the next one that its
/// beginning is durable, each kind of state must stand in a later segment that is durable as a whole, and no event
/// may begin before `unread`, the first position that somebody has still to read, and end behind it. `path` is for messages.
///
/// # Errors
/// `Io` when it cannot be read; `Corrupt` and `Version` for a journal that is so: nothing of it should be removed.
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
    let is_whole = |segment: &Segment| segment.is_vouched_for(durable);
    if first.first_position >= durable && !left.iter().any(is_whole) {
        return Ok(false);
    }
    if first.first_position == unread && begins_within_event(store, oldest.number, &first)? {
        return Ok(false);
    }
    Ok(survey.states.iter().enumerate().all(|(kind, state)| {
        let has_it = |segment: &Segment| segment.seal.is_some_and(|(_, seal)| seal.states[kind] != 0);
        state.is_none() || left.iter().any(|segment| is_whole(segment) && has_it(segment))
    }))
}
