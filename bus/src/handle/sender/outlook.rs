//! Tasks of a sender beside publishing. It records the time for observers, and finds out whether its
//! channel was removed, even if nothing is ever in its way.
//!
//! Neither may cost an event anything. So a sender does it where it leaves the fast path anyway:
//! when it has woken a sleeper, when there is no room, and otherwise after a number of *events*
//! (queue, topic) or *bytes* (stream). That number follows the rate. Two checks are about
//! [`EVERY_NS`] apart, but never more than [`EVENTS_MAX`] events or [`BYTES_MAX`] bytes. A sender
//! that publishes ten events a second checks after each of them. A check reads the clock; the
//! system is asked every [`ASK_NS`] at most.
//!
//! `railbus rm`, and any consumer that finds the channel removed, sets a mark in the word that
//! every publisher loads after each event
//! ([`layout::REMOVED_MARK`](railbus_ring::layout::REMOVED_MARK)). The next event is then followed
//! by a check.

use railbus_os::clock;
use railbus_ring::layout;

use super::Sender;
use crate::error::SendError;
use crate::handle::publish_end::PublishEnd;

/// The target distance of two checks. A sender that publishes less often checks after each event.
const EVERY_NS: u64 = 20_000_000;
/// The system is asked at most this often whether the channel was removed. It is the only system
/// call of a publisher that finds nothing in its way.
const ASK_NS: u64 = 250_000_000;
/// The most events, and the most bytes, between two checks.
const EVENTS_MAX: u64 = 1024;
const BYTES_MAX: u64 = 256 << 10;
/// The bytes before the first check of a stream.
const BYTES_MIN: u64 = 64;

/// When a sender checks next, and what it has found.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// The count of events, or the position, at which the next check is due.
    due_at: u64,
    /// The distance of two checks, in events or bytes.
    every: u64,
    looked_ns: u64,
    asked_ns: u64,
    removed: bool,
}

impl Outlook {
    /// Whether a check is due at this count.
    #[inline(always)]
    pub(super) fn is_due(&self, at: u64) -> bool {
        at >= self.due_at
    }

    #[inline(always)]
    pub(super) fn is_removed(&self) -> bool {
        self.removed
    }

    /// The number of bytes until the next check of a stream.
    pub(super) fn ease(&self) -> u64 {
        self.every
    }

    /// Records that the channel was removed, and returns the error for the caller.
    pub(super) fn removed(&mut self) -> SendError {
        self.removed = true;
        SendError::Removed
    }

    /// Sets the next check by the time that has passed since the last one.
    fn pace(&mut self, at: u64, now_ns: u64, (least, most): (u64, u64)) {
        let passed_ns = now_ns.saturating_sub(self.looked_ns);
        self.every = if passed_ns < EVERY_NS {
            (self.every * 2).clamp(least, most)
        } else {
            (self.every.saturating_mul(EVERY_NS) / passed_ns).min(most)
        };
        self.due_at = at + self.every;
        self.looked_ns = now_ns;
    }
}

impl<R: PublishEnd> Sender<R> {
    /// Whether the channel was removed. Publishing reports it, too, by [`SendError::Removed`], for
    /// that event or for the one after it. Makes one system call. False in a fork child.
    pub fn is_removed(&self) -> bool {
        self.outlook.is_removed() || self.member.is_removed()
    }

    /// The check that is due at event, or position, `at`.
    #[cold]
    #[inline(never)]
    pub(super) fn look_up(&mut self, at: u64) {
        let bounds = if R::TELLS_EACH { (1, EVENTS_MAX) } else { (BYTES_MIN, BYTES_MAX) };
        let now_ns = clock::coarse_ns();
        self.outlook.pace(at, now_ns, bounds);
        self.member.note(layout::SEEN_NS, now_ns);
        self.look_for_removal(now_ns);
    }

    /// A check after sleepers were woken, or after the mark was set.
    #[cold]
    #[inline(never)]
    pub(super) fn look_after_waking(&mut self) {
        self.look_for_removal(clock::coarse_ns());
    }

    /// A check when there is no room and this call does not wait for it.
    #[cold]
    pub(super) fn look_while_full(&mut self) -> Result<(), SendError> {
        self.member.seen();
        self.look_after_waking();
        if self.outlook.is_removed() { Err(SendError::Removed) } else { Ok(()) }
    }

    fn look_for_removal(&mut self, now_ns: u64) {
        let is_due =
            now_ns.saturating_sub(self.outlook.asked_ns) >= ASK_NS || self.member.is_marked_removed();
        if !is_due || self.outlook.is_removed() {
            return;
        }
        self.outlook.asked_ns = now_ns;
        if self.member.is_removed() {
            self.outlook.removed();
            // From now on no call takes the fast path. The slow paths report the error.
            self.usual = self.member.guard.never();
            self.easy = self.usual;
        }
    }
}
