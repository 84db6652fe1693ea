//! Waiting until an event is in the journal.
//!
//! A publisher, or anybody, waits for a position: *written* survives the death of every process of the machine,
//! *durable* the death of the machine. Nothing here writes a shared word: a waiter reads `NAME.journal` and sleeps on
//! it in bounded slices, and after each slice it asks the kernel whether the journaller lives. A journaller that is
//! dead, stopped, poisoned, or was never there, is an error at once, and an event that is in a gap is one, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use railbus_os::futex::Outcome;

use crate::channel::journal_status::{JournalPositions, JournalState, JournalView, Promise};
use crate::channel::open::Channel;
use crate::error::{Error, Result, SendError};
use crate::handle::publish_end::PublishEnd;
use crate::handle::sender::Sender;

/// A write takes some tens of us: shorter than this is not worth a sleep.
const SPIN: Duration = Duration::from_micros(20);
/// The first sleep, and then each is twice as long, up to the longest.
const SLICE: Duration = Duration::from_millis(1);
const SLICE_MAX: Duration = Duration::from_millis(8);

impl Channel {
    /// How far the journal of this channel is, and what it does. Some system calls.
    ///
    /// # Errors
    /// [`Error::PeerGone`] when nothing has ever recorded this channel; [`Error::Forked`].
    pub fn journal_positions(&self) -> Result<JournalPositions> {
        Ok(self.journal_view()?.positions())
    }

    /// Waits until the event at `position` is in the journal so that it survives the death of any process, or until
    /// `timeout` has passed. Returns the position before which everything is.
    ///
    /// # Errors
    /// As [`wait_durable`](Self::wait_durable).
    pub fn wait_written(&self, position: u64, timeout: Duration) -> Result<u64> {
        self.wait_for(Promise::Written, position, timeout)
    }

    /// Waits until the event at `position` (as `publish` returned it) is in the journal so that it survives the death
    /// of the machine, or until `timeout` has passed; a timeout of zero looks once. Returns the position before which
    /// everything is durable, which is beyond `position`.
    ///
    /// With the sync policy `never`, nothing is durable before the journal stops: wait for
    /// [`written`](Self::wait_written) there.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::PeerGone`] at once when nothing records this channel, when its journaller has
    /// died or stopped, or when the event is in a gap of the journal; the disk's own error at once when the journal
    /// has failed; [`Error::NoSpace`] when the event was dropped for want of space.
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
                // What it did last, it did before it was seen to be over.
                if let Some(result) = look(&view, promise, position) {
                    return result;
                }
                // Somebody may have replaced the file since it was mapped.
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
                // Without futexes there is still the clock.
                Outcome::Failed(_) => std::thread::sleep(SLICE.min(rest)),
                Outcome::Woken | Outcome::Changed | Outcome::Interrupted => {}
            }
            if let Some(result) = look(&view, promise, position) {
                return result;
            }
        }
    }

    /// Why nothing more is to be expected of this journal, if so.
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

    /// The view of `NAME.journal`, opened at the first use.
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

/// Whether the promise holds for `position` by now; an error when the event is known to be missing.
fn look(view: &JournalView, promise: Promise, position: u64) -> Option<Result<u64>> {
    let reached = view.reached(promise);
    if let Some(error) = view.missing(position) {
        return Some(Err(error));
    }
    (reached > position).then_some(Ok(reached))
}

impl<R: PublishEnd> Sender<R> {
    /// Publishes a copy of `payload` and waits until it is durable in the channel's journal, `timeout` in all. Returns
    /// its position.
    ///
    /// # Errors
    /// Those of [`publish_timeout`](Self::publish_timeout), when nothing was published; and those of
    /// [`Channel::wait_durable`], when it *was* published, and whether it will be durable is not known.
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
