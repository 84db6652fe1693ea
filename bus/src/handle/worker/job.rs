//! Jobs: one event in the hands of a worker.

use std::mem::ManuallyDrop;
use std::time::Duration;

use super::{Ticket, Worker};
use crate::event::Event;

/// An event that a worker holds. It dereferences to the payload. Dropping it without [`Job::done`]
/// hands the event back, to be delivered again.
#[derive(Debug)]
#[must_use = "a job that is dropped is handed back, and delivered again"]
pub struct Job<'a> {
    pub(super) worker: &'a mut Worker,
    pub(super) ticket: Ticket,
}

impl Job<'_> {
    /// The event, in place.
    #[inline(always)]
    pub fn event(&self) -> Event<'_> {
        // SAFETY: the worker holds the event until the job is dropped; its header was checked when
        // it was taken.
        unsafe { Event::new(self.worker.locate(self.ticket)) }
    }

    /// The number of this delivery, counted from 1. It stays at 64.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
    /// let mut worker = jobs.worker(&WorkOptions::default())?;
    /// worker.take()?.retry(); // or its worker was killed
    /// assert_eq!(worker.take()?.attempt(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attempt(&self) -> u32 {
        self.ticket.attempt()
    }

    /// The event's position.
    pub fn position(&self) -> u64 {
        self.ticket.position
    }

    /// Marks the event as done: it is not delivered again. Never blocks. Returns false in the cases
    /// of [`Worker::done`]: then the event goes to another worker, and the work does not count. If
    /// the worker was evicted or the channel is corrupt, the next take returns that error.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, WorkOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
    /// let mut worker = jobs.worker(&WorkOptions::default())?;
    /// let job = worker.take()?;
    /// let result = String::from_utf8_lossy(&job).to_uppercase();
    /// if job.done() {
    ///     println!("{result}"); // a worker that was evicted must not report its result
    /// }
    /// assert_eq!(jobs.info()?.positions.depth, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[inline(always)]
    #[must_use = "false says that the work did not count: another worker has the event"]
    pub fn done(self) -> bool {
        // Without a destructor that runs at the end, also in case of a panic, the job stays in
        // registers.
        let mut job = ManuallyDrop::new(self);
        let ticket = job.ticket;
        job.worker.done(ticket)
    }

    /// Hands the event back, as [`Worker::retry`] does. Dropping the job does the same.
    pub fn retry(self) {}

    /// Hands the event back, to be delivered again after `delay`, as [`Worker::retry_after`] does.
    pub fn retry_after(self, delay: Duration) {
        let mut job = ManuallyDrop::new(self);
        let ticket = job.ticket;
        job.worker.retry_after(ticket, delay);
    }

    /// Keeps the event with the worker, and returns its ticket.
    pub fn keep(self) -> Ticket {
        ManuallyDrop::new(self).ticket
    }
}

impl std::ops::Deref for Job<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.event().payload()
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.worker.retry(self.ticket);
    }
}
