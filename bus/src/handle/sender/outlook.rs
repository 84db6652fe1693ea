//! Looking up from publishing: a sender that is never in anybody's way still notes the time for observers, and finds out
//! whether its channel was removed.
//!
//! Neither may cost an event anything. So a sender looks where it leaves the easy path anyway: when a sleeper was woken, when
//! there is no room, and else after some *events* (queue, topic) or *bytes* (stream). How many follows the rate: looks are about
//! [`EVERY_NS`] apart, unless that is more than [`EVENTS_MAX`] or [`BYTES_MAX`] at a time. Whoever publishes ten events a second
//! looks at each of them. A look is a glance at the clock; the system is asked every [`ASK_NS`].
//!
//! Who removes a channel by `rm`, and any consumer that finds it removed, sets a mark in the word that every publisher loads
//! after each event ([`layout::REMOVED_MARK`](railbus_ring::layout::REMOVED_MARK)): then the next event is followed by a look.

use railbus_os::clock;
use railbus_ring::layout;

use super::Sender;
use crate::error::SendError;
use crate::handle::publish_end::PublishEnd;

/// How far looks are to be apart: whoever publishes less often looks at each event.
const EVERY_NS: u64 = 20_000_000;
/// The system is asked at most this often whether the channel was removed: the only system call of a publisher that is never
/// in anybody's way.
const ASK_NS: u64 = 250_000_000;
/// Most events, and bytes, between two looks.
const EVENTS_MAX: u64 = 1024;
const BYTES_MAX: u64 = 256 << 10;
/// Bytes that go by before the first look of a stream.
const BYTES_MIN: u64 = 64;

/// When a sender looks up, and what it has found.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// The count of events, or the position, of the next look.
    due_at: u64,
    /// How many lie between two looks.
    every: u64,
    looked_ns: u64,
    asked_ns: u64,
    removed: bool,
}

impl Outlook {
    /// Whether a look is due at this count.
    #[inline(always)]
    pub(super) fn is_due(&self, at: u64) -> bool {
        at >= self.due_at
    }

    #[inline(always)]
    pub(super) fn is_removed(&self) -> bool {
        self.removed
    }

    /// Bytes until the next look of a stream.
    pub(super) fn ease(&self) -> u64 {
        self.every
    }

    /// Notes that the channel was removed.
    pub(super) fn removed(&mut self) -> SendError {
        self.removed = true;
        SendError::Removed
    }

    /// Sets the next look by the time that has passed since the last one.
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
    /// Whether the channel was removed, which publishing also says by [`SendError::Removed`], before or just after that event.
    /// One system call. False in a fork child.
    pub fn is_removed(&self) -> bool {
        self.outlook.is_removed() || self.member.is_removed()
    }

    /// Looks up at event, or position, `at`.
    #[cold]
    #[inline(never)]
    pub(super) fn look_up(&mut self, at: u64) {
        let bounds = if R::TELLS_EACH { (1, EVENTS_MAX) } else { (BYTES_MIN, BYTES_MAX) };
        let now_ns = clock::coarse_ns();
        self.outlook.pace(at, now_ns, bounds);
        self.member.note(layout::SEEN_NS, now_ns);
        self.look_for_removal(now_ns);
    }

    /// After sleepers were woken, or the mark was set.
    #[cold]
    #[inline(never)]
    pub(super) fn look_after_waking(&mut self) {
        self.look_for_removal(clock::coarse_ns());
    }

    /// When there is no room, and this call does not wait for it.
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
            // From now on nothing is easy: the slow paths say it.
            self.usual = self.member.guard.never();
            self.easy = self.usual;
        }
    }
}
