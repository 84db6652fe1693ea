//! Recording channels, by threads of the program that embeds a recorder.
//!
//! A [`Recorder`] records one channel with a thread of its own; programs embed it. [`Recorders`] records any
//! number of channels with a few threads, and takes further channels while it runs; `railbus journald` is
//! made of it. Both drain when they stop: what was published before is written, made durable and sealed.
//!
//! A thread gives each of its recordings a round in turn. It polls while there is something to do, and waits
//! for the disk when everything depends on that. When all channels are quiet it announces itself to their
//! publishers and sleeps.
//!
//! A recording that fails is poisoned alone, and the others go on. The same happens if its own code panics:
//! its status says [`crashed`](RecorderStatus::crashed), and its journal may be opened again. If a thread
//! itself panics, all its recordings get that status, and it receives no further ones.

mod status;
mod thread;

pub use status::RecorderStatus;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use thread::{Command, RecorderShared, Thread, lock, thread_gone};

use railbus_os::clock;

use crate::channel::ChannelName;
use crate::channel::open::Channel;
use crate::error::{Error, Result};
use crate::journal::open_report::OpenReport;
use crate::journal::options::{RecorderOptions, WhenFull};
use crate::journal::record::opening;
use crate::journal::record::waiting::{self, OpenedJournal};

/// Most channels of one thread: it sleeps on a word of each, and the kernel takes 128 words at once.
const CHANNELS_A_THREAD: usize = 120;

/// Records one channel, in a thread of this process, until it is stopped or dropped. Dropping it drains like
/// [`stop`](Recorder::stop), and ignores errors.
///
/// ```
/// # fn main() -> railbus::Result<()> {
/// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
/// # let disk = tempfile::tempdir().unwrap();
/// use railbus::{Bus, ChannelOptions, Kind, Recorder, RecorderOptions, SendOptions};
/// use std::time::Duration;
///
/// let bus = Bus::at(base.path(), "demo")?;
/// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
/// let recorder = Recorder::start(&ticks, disk.path(), &RecorderOptions::default())?;
///
/// let mut publisher = ticks.publisher(&SendOptions::default())?;
/// publisher.publish_durable(b"never lost", Duration::from_secs(10))?;
/// let position = publisher.publish(b"this one neither, once we have waited").unwrap();
/// ticks.wait_durable(position, Duration::from_secs(10))?;
/// recorder.stop()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Recorder {
    thread: Thread,
    channel: ChannelName,
    report: OpenReport,
}

impl Recorder {
    /// Recovers the channel's journal below the directory `journal` (`JOURNAL/BUS/CHANNEL`), or begins one,
    /// and records from now on. Blocks for recovery, and for writing what a killed journaller had staged.
    ///
    /// A full disk is an error, unless the policy is [`WhenFull::Drop`]. Then events are dropped until there
    /// is room, and recorded from then on.
    ///
    /// # Errors
    /// - [`Error::Busy`] while another journaller records the channel, or writes to the directory.
    /// - [`Error::Corrupt`] names what is damaged.
    /// - [`Error::Version`] when another version of railbus wrote the journal or its staging.
    /// - [`Error::Invalid`] for options out of range, or a lossy journal of a queue.
    /// - [`Error::NoSpace`] when the disk, or the shared memory, is full.
    /// - [`Error::NotAllowed`] and [`Error::Io`] when the files cannot be used.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # let disk = tempfile::tempdir().unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{Recorder, RecorderOptions};
    /// use std::time::Duration;
    ///
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let recorder = Recorder::start(&ticks, disk.path(), &RecorderOptions::default())?;
    /// let position = ticks.publisher(&SendOptions::default())?.publish(b"tick")?;
    /// ticks.wait_durable(position, Duration::from_secs(10))?;
    /// recorder.stop()?;
    /// assert!(disk.path().join("demo/ticks").is_dir());
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(
        channel: &Channel,
        journal: impl AsRef<Path>,
        options: &RecorderOptions,
    ) -> Result<Recorder> {
        Recorder::start_on(channel, journal, options, None)
    }

    /// Like [`start`](Self::start), with the thread pinned to a core.
    ///
    /// # Errors
    /// Those of [`start`](Self::start); [`Error::Invalid`] for a core that does not exist.
    pub fn start_on(
        channel: &Channel,
        journal: impl AsRef<Path>,
        options: &RecorderOptions,
        core: Option<usize>,
    ) -> Result<Recorder> {
        let thread = Thread::start(core)?;
        let (work, report) = match options.when_full {
            WhenFull::Drop => waiting::open_or_wait(channel, journal.as_ref(), options)?,
            WhenFull::Block => {
                let (recording, report) = opening::open(channel, journal.as_ref(), options, None)?;
                (OpenedJournal::Recording(Box::new(recording)), report)
            }
        };
        if !thread.add(work, &report) {
            return Err(thread_gone());
        }
        Ok(Recorder { thread, channel: channel.name().clone(), report })
    }

    /// The state in which the journal was found when it was opened, and how it writes.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Returns the state and figures of the recording. While the thread works they are about 20 ms old at
    /// most.
    pub fn status(&self) -> Option<RecorderStatus> {
        lock(&self.thread.shared.statuses).get(&self.channel).cloned()
    }

    /// Stops recording: records what was published before, makes it durable and seals the segment. Blocks
    /// until that is done. If publishers go on publishing, no more events are taken after about 1 s.
    ///
    /// # Errors
    /// [`Error::PeerGone`] with the reason when the journal has failed, now or earlier.
    pub fn stop(mut self) -> Result<()> {
        self.thread.stop()?;
        match self.status().and_then(|status| status.error) {
            Some(why) => Err(Error::PeerGone { what: format!("the journal of {}", self.channel), why }),
            None => Ok(()),
        }
    }
}

/// Records many channels with a few threads. Dropping it drains and stops all of them.
#[derive(Debug)]
pub struct Recorders {
    threads: Mutex<Vec<Thread>>,
    core: Option<usize>,
}

impl Recorders {
    /// Starts the first thread, which is pinned to `core`, and records nothing yet. Further threads, one per
    /// 120 channels, are not pinned.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a core that does not exist; [`Error::Io`] when the thread cannot be started.
    pub fn start(core: Option<usize>) -> Result<Recorders> {
        Ok(Recorders { threads: Mutex::new(vec![Thread::start(core)?]), core })
    }

    /// The core of the first thread.
    pub fn core(&self) -> Option<usize> {
        self.core
    }

    /// Opens the channel's journal in the caller's thread, and records it from then on. If its disk is full,
    /// the journal is opened when there is room. Until then publishers wait, or events are dropped,
    /// according to the policy ([`OpenReport::waits_for`]). Blocks for recovery.
    ///
    /// # Errors
    /// Those of [`Recorder::start`], except for a full disk.
    pub fn record(&self, channel: &Channel, journal: &Path, options: &RecorderOptions) -> Result<OpenReport> {
        let (work, report) = waiting::open_or_wait(channel, journal, options)?;
        let mut threads = lock(&self.threads);
        // A thread that has died is removed with the last of its recordings that was not started again.
        for thread in threads.iter().filter(|thread| thread.is_dead()) {
            lock(&thread.shared.statuses).remove(channel.name());
        }
        threads.retain(|thread| !thread.is_dead() || !lock(&thread.shared.statuses).is_empty());
        let takes = |thread: &Thread| !thread.is_dead() && thread.channels() < CHANNELS_A_THREAD;
        let at = match threads.iter().position(takes) {
            Some(at) => at,
            None => {
                let core = self.core.filter(|_| threads.iter().all(Thread::is_dead));
                threads.push(Thread::start(core)?);
                threads.len() - 1
            }
        };
        match threads[at].add(work, &report) {
            true => Ok(report),
            false => Err(thread_gone()),
        }
    }

    /// Returns the thread that records a channel, or is about to.
    fn thread_of(&self, name: &ChannelName) -> Option<Arc<RecorderShared>> {
        let threads = lock(&self.threads);
        let found = threads.iter().find(|thread| lock(&thread.shared.statuses).contains_key(name));
        found.map(|thread| Arc::clone(&thread.shared))
    }

    /// Changes a recording's retention, its policy for a full disk, and how often states are recorded. The
    /// other `options` are ignored: they need a new start. Does nothing when the channel is not recorded.
    pub fn adjust(&self, name: &ChannelName, options: &RecorderOptions) {
        if let Some(shared) = self.thread_of(name) {
            shared.send(Command::Adjust(name.clone(), Box::new(options.clone())));
        }
    }

    /// Makes the recorder of a channel panic, as an unforeseen fault would, for tests.
    #[doc(hidden)]
    pub fn crash(&self, name: &ChannelName) {
        if let Some(shared) = self.thread_of(name) {
            shared.send(Command::Crash(name.clone()));
        }
    }

    /// Makes a recording thread itself panic, outside of any one recording, for tests.
    #[doc(hidden)]
    pub fn crash_thread(&self, name: &ChannelName) {
        if let Some(shared) = self.thread_of(name) {
            shared.send(Command::CrashThread);
        }
    }

    /// Drains and seals one channel's journal, and forgets it. Does nothing when the channel is not
    /// recorded. Blocks until it is done.
    ///
    /// # Errors
    /// The error of the disk.
    pub fn stop_one(&self, name: &ChannelName) -> Result<()> {
        let Some(shared) = self.thread_of(name) else { return Ok(()) };
        let (answer, answers) = mpsc::channel();
        // A dead thread has nothing to stop, and drops the command; a thread that has ended has drained.
        shared.send(Command::Stop(name.clone(), answer));
        let result = answers.recv().unwrap_or(Ok(()));
        lock(&shared.statuses).remove(name);
        result
    }

    /// Returns the state and figures of all recordings, failed ones included, sorted by channel. While the
    /// threads work they are about 20 ms old at most.
    pub fn statuses(&self) -> Vec<RecorderStatus> {
        let threads = lock(&self.threads);
        let mut all: Vec<RecorderStatus> = threads
            .iter()
            .flat_map(|thread| lock(&thread.shared.statuses).values().cloned().collect::<Vec<_>>())
            .collect();
        all.sort_by(|a, b| a.channel.cmp(&b.channel));
        all
    }

    /// Returns how long ago the slowest thread last ended a turn of its loop, for a watchdog.
    pub fn silence(&self) -> Duration {
        let now_ns = clock::monotonic_ns();
        let threads = lock(&self.threads);
        // Threads that have died are left out: their recordings report that, and other threads go on.
        let alive = threads.iter().filter(|thread| !thread.is_dead());
        let oldest = alive.map(|thread| thread.shared.seen_ns.load(Ordering::Relaxed)).min();
        Duration::from_nanos(now_ns.saturating_sub(oldest.unwrap_or(now_ns)))
    }

    /// Drains and seals everything, and blocks until that is done. Returns the final status of each
    /// recording.
    pub fn stop(self) -> Vec<RecorderStatus> {
        for thread in lock(&self.threads).iter_mut() {
            // The statuses report what a thread that panicked had not finished.
            let _ = thread.stop();
        }
        self.statuses()
    }
}
