//! The work of a recording beside its events: states, and the removal of old segments.

use std::time::Duration;

use railbus_log::format::RecordKind;
use railbus_log::retention::{Now, Settled, Stand};
use railbus_os::clock;
use railbus_ring::slots::word::Slots;

use super::Recording;
use crate::channel::Kind;
use crate::error::{Error, Result};
use crate::journal::checkpoint;
use crate::journal::record::recorded_state::{Acks, Cursors};

/// A wall clock that was wrong at the start is assumed to be set right within this time, in ns. Only then
/// are segments of earlier runs removed for their age, unless the maximum age is less.
const TRUST_AFTER_NS: u64 = 600_000_000_000;

/// Returns the lowest position that a durable subscription has still to read; `u64::MAX` without any.
pub(super) fn unread_by(cursors: &Cursors) -> u64 {
    cursors.0.iter().map(|cursor| cursor.position).min().unwrap_or(u64::MAX)
}

/// Counts an appended state, which says that `unread` is the first unread position.
pub(super) fn note_state((settled, count): &mut (Settled, u64), unread: u64) {
    *count += 1;
    settled.appended(*count, unread);
}

/// Returns the warning about a wall clock that was set forward.
pub(super) fn suspicious(ahead: Duration) -> String {
    format!(
        "the wall clock has stepped forward by {} s; ages of segments are counted by the time that has passed, until the \
         step has lasted for as long as the age at which they are removed",
        ahead.as_secs()
    )
}

impl Recording {
    /// Records the cursors of the durable subscriptions, the numbers of publishers, and which events of a
    /// queue are not done, where they have changed.
    pub(super) fn record_states(&mut self, now_ns: u64) {
        self.next_state_ns = now_ns + self.options.state_every.as_nanos() as u64;
        let memories = self.intake.member().memories;
        self.time_ns = self.stamps.next_ns();
        let cursors = Cursors::read(&memories, &self.channel);
        // The first record of cursors is written even when there are none. So the journal of a channel to
        // which nothing was published also says to which channel it belongs.
        if self.cursors.as_ref() != Some(&cursors)
            && self.writer.append_state(RecordKind::Cursors, &cursors.encode(), self.time_ns).is_ok()
        {
            note_state(&mut self.cursors_settled, unread_by(&cursors));
            self.cursors = Some(cursors);
        }
        if let Some(state) = self.numbers.unsaved()
            && self.writer.append_state(RecordKind::Sequences, &state.encode(), self.time_ns).is_ok()
        {
            self.numbers.saved();
        }
        let header = self.channel.header();
        if header.kind != Kind::Queue {
            return;
        }
        let slots = Slots::new(header.slots, header.slot_bytes);
        let from = self.acks.as_ref().map_or(0, |acks| acks.lowest);
        let acks = Acks::read(&memories, slots, from, self.writer.end());
        if self.acks.as_ref() != Some(&acks)
            && self.writer.append_state(RecordKind::Acks, &acks.encode(), self.time_ns).is_ok()
        {
            note_state(&mut self.acks_settled, acks.lowest);
            self.acks = Some(acks);
        }
        // A long row of unfinished events must not be read too often.
        let took_ns = clock::monotonic_ns().saturating_sub(now_ns);
        self.next_state_ns = self.next_state_ns.max(now_ns + 50 * took_ns);
    }

    /// Does the rare work: retention, and the check whether the channel still exists. No event depends on
    /// either, so a failure is reported as a warning, and tried again at the next look.
    pub(super) fn look_around(&mut self) {
        let removed = self.channel.is_removed().map(|removed| self.removed = removed);
        let failure = removed.and_then(|()| self.remove_old()).err().map(|error| error.to_string());
        let warning = failure.or_else(|| self.steady.suspicion().map(suspicious));
        if warning != self.warning {
            self.page.set_warning(warning.as_deref().unwrap_or(""));
            self.warning = warning;
        }
    }

    /// Removes the segments that may be removed.
    pub(super) fn remove_old(&mut self) -> Result<()> {
        if !self.options.retention.is_active() {
            return Ok(());
        }
        let memories = self.intake.member().memories;
        let cursors = Cursors::read(&memories, &self.channel);
        // After a crash, only what was recorded last counts.
        let recorded = self.cursors_settled.0.unread(self.writer.durable_states(RecordKind::Cursors));
        let mut unread = unread_by(&cursors).min(recorded);
        if self.channel.header().kind == Kind::Queue {
            unread = unread.min(self.acks_settled.0.unread(self.writer.durable_states(RecordKind::Acks)));
        }
        // A checkpoint that cannot be read may need everything.
        let checkpoints = checkpoint::positions_in(&self.directory, self.channel.header().channel_id);
        let has_readers = self.channel.header().kind == Kind::Queue
            || !cursors.0.is_empty()
            || checkpoints.as_ref().is_ok_and(|all| !all.is_empty());
        unread =
            checkpoints.map_or(0, |all| all.iter().map(|&(_, position)| position).fold(unread, u64::min));
        // A segment that has no readers does not count as read by all: it stays, and the status reports
        // that.
        self.waits_for_readers = self.options.retention.consumed && !has_readers;
        let mut retention = self.options.retention;
        retention.consumed &= has_readers;
        let patience = self.options.retention.max_age.unwrap_or_default();
        let running_ns = clock::monotonic_ns().saturating_sub(self.started_ns);
        let now = Now {
            wall_ns: self.steady.now_ns(patience),
            boot_ns: clock::boottime_ns(),
            is_trusted: running_ns >= (patience.as_nanos() as u64).min(TRUST_AFTER_NS),
        };
        let stand =
            Stand { now, durable: self.writer.durable(), states_from: self.writer.states_from(), unread };
        let failed = |error| Error::io("look for segments to remove in", &self.directory, error);
        let removable = self.keeper.removable(&*self.files, &retention, stand).map_err(failed)?;
        for segment in removable {
            match self.files.retire(segment, self.options.segment_bytes) {
                // `railbus journal prune` has removed it already.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                retired => {
                    retired.map_err(|error| Error::io("remove a segment of", &self.directory, error))?;
                }
            }
            self.retired.0 += 1;
            self.retired.1 += self.keeper.forget(segment);
        }
        if let Some(first) = self.keeper.first_position() {
            self.page.set_first(first);
        }
        Ok(())
    }
}
