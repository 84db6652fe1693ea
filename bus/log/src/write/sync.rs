//! The parts of the segments that are written and not yet durable, and when to sync them.
//!
//! One sync is in flight at a time. It covers everything that had been written, without a hole,
//! when it was begun. A sync is of one file. So the oldest segment is synced, with its seal, before
//! anything in the next one counts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::disk::write_again::Unproven;
use crate::format::BLOCKS_OFFSET;
use crate::shortage::Shortage;

/// When written data is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// As soon as it is written. One sync covers everything written before it begins (group
    /// commit).
    #[default]
    Always,
    /// At most this long after it was written, as far as the disk keeps up.
    Interval(Duration),
    /// When the operating system decides. But a full segment is synced in the background, so that
    /// recovery after a crash has only the last segments to read whole.
    Never,
}

/// The end of what is written: everything before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) position: u64,
    /// The number of the next block.
    pub(super) sequence: u64,
}

/// A sync that has ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndedSync {
    /// Everything before this position is durable.
    pub(super) covers: u64,
    /// Everything before this block is durable.
    pub(super) sequence: u64,
    /// The segment, if it is whole and durable.
    pub(super) whole: Option<u64>,
}

#[derive(Debug)]
struct Unsynced {
    segment: u64,
    /// The end of what is written, in this segment or before.
    behind: Behind,
    /// Whether its seal, and so all of it, is written.
    sealed: bool,
    /// Whether something was written since the last sync began.
    dirty: bool,
    /// Where the blocks begin that no sync has covered, and where the written blocks end.
    from: u64,
    to: u64,
}

#[derive(Debug, Clone, Copy)]
struct BegunSync {
    segment: u64,
    covers: Behind,
    to: u64,
    sealed: bool,
}

#[derive(Debug)]
pub(super) struct Syncing {
    policy: SyncPolicy,
    unsynced: VecDeque<Unsynced>,
    begun: Option<BegunSync>,
    last_begun_ns: Option<u64>,
    /// A sync found no room: what was missing, and when (monotonic clock, ns) to try again.
    refused: Option<(Shortage, u64)>,
}

impl Syncing {
    pub(super) fn new(policy: SyncPolicy) -> Syncing {
        Syncing { policy, unsynced: VecDeque::new(), begun: None, last_begun_ns: None, refused: None }
    }

    /// Records how far is written. The last block of it belongs to `segment` and ends at
    /// `end_offset`.
    pub(super) fn written(
        &mut self,
        segment: u64,
        behind: Behind,
        end_offset: u64,
        seals: bool,
        dirties: bool,
    ) {
        if self.unsynced.back().is_none_or(|last| last.segment != segment) {
            self.unsynced.push_back(Unsynced {
                segment,
                behind,
                sealed: false,
                dirty: false,
                from: BLOCKS_OFFSET,
                to: BLOCKS_OFFSET,
            });
        }
        if let Some(last) = self.unsynced.back_mut() {
            last.behind = behind;
            last.sealed |= seals;
            last.dirty |= dirties;
            if !seals {
                last.to = end_offset;
            }
        }
    }

    /// Returns which segment to sync now. `flush` overrides the policy.
    pub(super) fn due(&self, now_ns: u64, flush: bool) -> Option<u64> {
        let front = self.unsynced.front().filter(|front| front.dirty && self.begun.is_none())?;
        if let Some((_, at_ns)) = self.refused {
            return (now_ns >= at_ns).then_some(front.segment);
        }
        let due = match self.policy {
            SyncPolicy::Always => true,
            SyncPolicy::Interval(_) => self.interval_ends_ns().is_none_or(|at| now_ns >= at),
            SyncPolicy::Never => false,
        };
        (due || front.sealed || flush).then_some(front.segment)
    }

    /// Returns when the next sync is due (monotonic clock, ns), if anything needs one and none is
    /// in flight.
    pub(super) fn deadline_ns(&self, now_ns: u64) -> Option<u64> {
        let front = self.unsynced.front().filter(|front| front.dirty && self.begun.is_none())?;
        if let Some((_, at_ns)) = self.refused {
            return Some(at_ns);
        }
        match self.policy {
            SyncPolicy::Never if !front.sealed => None,
            SyncPolicy::Interval(_) if !front.sealed => Some(self.interval_ends_ns().unwrap_or(now_ns)),
            _ => Some(now_ns),
        }
    }

    fn interval_ends_ns(&self) -> Option<u64> {
        let SyncPolicy::Interval(interval) = self.policy else { return None };
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self.last_begun_ns.map(|last| last.saturating_add(interval_ns))
    }

    /// Records that a sync of [`due`](Self::due)'s segment was begun.
    pub(super) fn begin(&mut self, now_ns: u64) {
        if let Some(front) = self.unsynced.front_mut() {
            front.dirty = false;
            self.begun = Some(BegunSync {
                segment: front.segment,
                covers: front.behind,
                to: front.to,
                sealed: front.sealed,
            });
            self.last_begun_ns = Some(now_ns);
        }
    }

    /// Takes the successful end of the sync in flight, and returns what is durable now. `None` if
    /// `segment` is not the one in flight.
    pub(super) fn end(&mut self, segment: u64) -> Option<EndedSync> {
        let begun = self.begun.take_if(|begun| begun.segment == segment)?;
        self.refused = None;
        if begun.sealed {
            self.unsynced.pop_front();
        } else if let Some(front) = self.unsynced.front_mut() {
            front.from = begun.to;
        }
        let Behind { position, sequence } = begun.covers;
        Some(EndedSync { covers: position, sequence, whole: begun.sealed.then_some(begun.segment) })
    }

    /// Records that the sync in flight, or the writes that must precede it, found no room. It is
    /// tried again.
    pub(super) fn refuse(&mut self, shortage: Shortage, retry_at_ns: u64) {
        self.begun = None;
        if let Some(front) = self.unsynced.front_mut() {
            front.dirty = true;
        }
        self.refused = Some((shortage, retry_at_ns));
    }

    /// The shortage that a sync waits for.
    pub(super) fn refused(&self) -> Option<Shortage> {
        self.refused.map(|(shortage, _)| shortage)
    }

    /// Returns the part of the oldest segment that no sync has covered, if it must be written again
    /// before the next sync.
    pub(super) fn unproven(&self) -> Option<Unproven> {
        let front = self.unsynced.front().filter(|_| self.refused.is_some())?;
        let &Unsynced { segment, from, to, sealed, .. } = front;
        Some(Unproven { segment, from, to, sealed })
    }

    /// Whether a block is written as soon as the disk is idle, because waiters want each event
    /// durable. Otherwise a block that is not full waits for more, and a quiet journal takes a
    /// block for many events.
    pub(super) fn is_eager(&self) -> bool {
        self.policy == SyncPolicy::Always
    }

    pub(super) fn in_flight(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether everything written is durable.
    pub(super) fn is_clean(&self) -> bool {
        self.begun.is_none() && self.unsynced.iter().all(|segment| !segment.dirty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each position is that of a block.
    fn behind(position: u64) -> Behind {
        Behind { position, sequence: position }
    }

    fn ended(covers: u64, whole: Option<u64>) -> Option<EndedSync> {
        Some(EndedSync { covers, sequence: covers, whole })
    }

    #[test]
    fn the_next_segment_counts_only_after_the_one_before_is_sealed_and_synced() {
        let mut syncing = Syncing::new(SyncPolicy::Always);
        syncing.written(1, behind(100), 0, false, true);
        assert_eq!(syncing.due(0, false), Some(1));
        syncing.begin(0);
        syncing.written(1, behind(200), 0, false, true);
        syncing.written(1, behind(200), 0, true, true); // the seal
        syncing.written(2, behind(300), 0, false, true);
        assert_eq!(syncing.due(0, true), None, "one sync in flight");
        assert_eq!(syncing.end(1), ended(100, None), "covers what was written when it began");
        assert_eq!(syncing.due(0, false), Some(1));
        syncing.begin(0);
        assert_eq!(syncing.end(1), ended(200, Some(1)));
        assert_eq!(syncing.due(0, false), Some(2));
        syncing.begin(0);
        assert_eq!(syncing.end(2), ended(300, None));
        assert!(syncing.is_clean());
    }

    #[test]
    fn policies_say_when() {
        let interval = Duration::from_nanos(50);
        let mut syncing = Syncing::new(SyncPolicy::Interval(interval));
        syncing.written(1, behind(1), 0, false, true);
        assert_eq!(syncing.due(1000, false), Some(1), "the first one at once");
        syncing.begin(1000);
        syncing.end(1);
        syncing.written(1, behind(2), 0, false, true);
        assert_eq!((syncing.due(1049, false), syncing.due(1050, false)), (None, Some(1)));
        assert_eq!(syncing.deadline_ns(1010), Some(1050));

        let mut syncing = Syncing::new(SyncPolicy::Never);
        syncing.written(1, behind(1), 0, false, true);
        assert_eq!((syncing.due(u64::MAX, false), syncing.deadline_ns(0)), (None, None));
        assert_eq!(syncing.due(0, true), Some(1), "but a flush is one");
        syncing.written(1, behind(1), 0, true, true);
        assert_eq!(syncing.due(0, false), Some(1), "and so is a full segment");
    }
}
