//! Waiting until an event is in the journal.
//!
//! Any process that has the channel open, such as a publisher, can wait for a position. A *written*
//! event survives the death of every process of the machine, a *durable* one also a power cut.
//! Nothing here writes a shared word. A waiter reads `NAME.journal` and sleeps on it in bounded
//! slices. After each slice it asks the kernel whether the journaller lives. If the journaller is
//! dead, stopped, poisoned or never existed, the wait ends with an error at once. It also does if
//! the event is in a gap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use railbus_os::futex::Outcome;

use crate::channel::journal_status::{JournalPositions, JournalState, JournalView, Promise};
use crate::channel::open::Channel;
use crate::error::{Error, Result, SendError};
use crate::handle::publish_end::PublishEnd;
use crate::handle::sender::Sender;

/// How long to spin before the first sleep. A write takes some tens of us, so a shorter wait is not
/// worth a sleep.
const SPIN: Duration = Duration::from_micros(20);
/// The length of the first sleep. Each further one is twice as long, up to the longest.
const SLICE: Duration = Duration::from_millis(1);
const SLICE_MAX: Duration = Duration::from_millis(8);

impl Channel {
    /// Returns how far the journal of this channel is, and its state. Costs some system calls and
    /// does not block.
    ///
    /// # Errors
    /// [`Error::PeerGone`] when nothing has ever recorded this channel; [`Error::Forked`] after
    /// `fork`.
    pub fn journal_positions(&self) -> Result<JournalPositions> {
        Ok(self.journal_view()?.positions())
    }

    /// Waits until the event at `position` is in the journal so that it survives the death of any
    /// process, or until `timeout` has passed. A timeout of zero looks once. Returns the position
    /// before which everything is written, which is beyond `position`.
    ///
    /// # Errors
    /// Those of [`wait_durable`](Self::wait_durable).
    pub fn wait_written(&self, position: u64, timeout: Duration) -> Result<u64> {
        self.wait_for(Promise::Written, position, timeout)
    }

    /// Waits until the event at `position` (as `publish` returned it) is in the journal so that it
    /// survives a power cut, or until `timeout` has passed. A timeout of zero looks once. Returns
    /// the position before which everything is durable, which is beyond `position`.
    ///
    /// With the sync policy `never`, nothing is durable until a segment is full or the journal
    /// stops. Use [`wait_written`](Self::wait_written) there.
    ///
    /// # Errors
    /// - [`Error::TimedOut`] after `timeout`.
    /// - [`Error::PeerGone`] at once when nothing records this channel, when its journaller has
    ///   died or stopped, or when the event is in a gap of the journal.
    /// - [`Error::NoSpace`] at once when the event was dropped because the disk was full.
    /// - The error of the disk or of the recorder, at once, when the journal has failed.
    /// - [`Error::Forked`] after `fork`.
    pub fn wait_durable(&self, position: u64, timeout: Duration) -> Result<u64> {
        self.wait_for(Promise::Durable, position, timeout)
    }

    fn wait_for(&self, promise: Promise, position: u64, timeout: Duration) -> Result<u64> {
        let mut view = self.journal_view()?;
        if let Some(result) = look(&view, promise, position) {
            return result;
        }
        let started = Instant::now();
        let mut slice = SLICE;
        let mut reopened = false;
        loop {
            let waited = started.elapsed();
            if waited >= timeout {
                let what = match promise {
                    Promise::Written => "written",
                    Promise::Durable => "durable",
                };
                let reached = view.reached(promise);
                return Err(Error::TimedOut {
                    what: format!(
                        "event {position} of {} to be {what}; its journal is at {reached}",
                        self.name()
                    ),
                    after_ms: timeout.as_millis() as u64,
                });
            }
            if let Some(error) = self.is_over(&view) {
                // The last progress of the journaller came before its end was seen, so look once
                // more.
                if let Some(result) = look(&view, promise, position) {
                    return result;
                }
                // The file may have been replaced since it was mapped.
                if reopened {
                    return Err(error);
                }
                reopened = true;
                view = self.renew_journal_view()?;
                continue;
            }
            let spin_until = Instant::now() + SPIN.min(timeout - waited);
            while Instant::now() < spin_until {
                if let Some(result) = look(&view, promise, position) {
                    return result;
                }
                std::hint::spin_loop();
            }
            let wake = view.wake_word();
            if let Some(result) = look(&view, promise, position) {
                return result;
            }
            let rest = timeout.saturating_sub(started.elapsed());
            match view.sleep(wake, slice.min(rest)) {
                Outcome::TimedOut => slice = (slice * 2).min(SLICE_MAX),
                // Without futexes, sleep for a fixed time.
                Outcome::Failed(_) => std::thread::sleep(SLICE.min(rest)),
                Outcome::Woken | Outcome::Changed | Outcome::Interrupted => {}
            }
            if let Some(result) = look(&view, promise, position) {
                return result;
            }
        }
    }

    /// Returns why no more progress is to be expected of this journal, if that is so.
    fn is_over(&self, view: &JournalView) -> Option<Error> {
        let gone = |why: &str| {
            Some(Error::PeerGone { what: format!("the journal of {}", self.name()), why: why.to_owned() })
        };
        match view.state() {
            JournalState::Poisoned => Some(view.poison()),
            JournalState::Stopped => gone("its journaller was stopped; start it again"),
            _ if view.is_dead() => {
                gone("its journaller has died; what it had in hand is kept for the next one")
            }
            _ => None,
        }
    }

    /// Returns the view of `NAME.journal`, which is opened at the first use.
    pub(crate) fn journal_view(&self) -> Result<Arc<JournalView>> {
        let kept = self.journal_slot().lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        match kept {
            Some(view) if view.is_forked() => Err(Error::Forked),
            Some(view) => Ok(view),
            None => self.renew_journal_view(),
        }
    }

    fn renew_journal_view(&self) -> Result<Arc<JournalView>> {
        let view = Arc::new(JournalView::open(self.attached())?);
        *self.journal_slot().lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(Arc::clone(&view));
        Ok(view)
    }
}

/// Whether the promise holds for `position` now. Returns an error when the event is known to be
/// missing.
fn look(view: &JournalView, promise: Promise, position: u64) -> Option<Result<u64>> {
    let reached = view.reached(promise);
    if let Some(error) = view.missing(position) {
        return Some(Err(error));
    }
    (reached > position).then_some(Ok(reached))
}

impl<R: PublishEnd> Sender<R> {
    /// Publishes a copy of `payload` and waits until it is durable in the channel's journal, at
    /// most `timeout` in all. Returns its position.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when there was no room in time ([`Error::Busy`] with a timeout of zero),
    /// or other errors of [`publish_timeout`](Self::publish_timeout): nothing was published. Those of
    /// [`Channel::wait_durable`]: the event *was* published, and whether it will be durable is
    /// unknown.
    pub fn publish_durable(&mut self, payload: &[u8], timeout: Duration) -> Result<u64> {
        let started = Instant::now();
        let position = self.publish_timeout(payload, timeout).map_err(|error| match error {
            SendError::TimedOut => Error::TimedOut {
                what: format!("room in {}", self.channel().name()),
                after_ms: timeout.as_millis() as u64,
            },
            error => error.into(),
        })?;
        self.channel().wait_durable(position, timeout.saturating_sub(started.elapsed()))?;
        Ok(position)
    }
}
