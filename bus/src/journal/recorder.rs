//! Recording channels: a thread in the program that wants it.
//!
//! A [`Recorder`] records one channel, with a thread of its own: what a program embeds. [`Recorders`] records any number
//! with a few threads, and takes further ones while it runs: what `railbus journald` is made of. Both stop by draining:
//! what was published before is written, made durable and sealed.
//!
//! A thread gives each of its recordings its round in turn. It polls while there is something to do, waits for the disk
//! when everything depends on that, and sleeps, announced to the publishers of all its channels, when all are quiet.
//! A recording that fails is poisoned, alone; the others go on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::bus::Channel;
use crate::channel::ChannelName;
use crate::error::{Error, Result};
use crate::journal::doorbell::{Bell, Sleep};
use crate::journal::opening::{self, OpenReport};
use crate::journal::options::RecorderOptions;
use crate::journal::recording::{Recording, Round};
use crate::journal::shared::JournalState;
use crate::os::clock;

/// Channels that one thread records at most.
const CHANNELS_A_THREAD: usize = 64;
/// How long a thread polls after something has moved, before it sleeps.
const SPIN_NS: u64 = 50_000;
/// Processor pauses between two polls that find nothing: publishers and readers need the lines that polling takes away.
const PAUSES: u32 = 32;
/// How long to wait at once for the disk while events may come.
const DISK_SLICE: Duration = Duration::from_micros(50);
/// The longest sleep: something may have to be done although nothing was published.
const SLEEP_MAX: Duration = Duration::from_millis(8);

/// How a recording stands.
#[derive(Debug, Clone)]
pub struct RecorderStatus {
    /// Which channel.
    pub channel: ChannelName,
    /// Its journal's directory.
    pub directory: PathBuf,
    /// What it does.
    pub state: JournalState,
    /// Everything before this position survives the death of any process.
    pub written: u64,
    /// Everything before this position survives the death of the machine.
    pub durable: u64,
    /// Everything before this position was taken from the ring.
    pub end: u64,
    /// Events recorded since it was opened.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether the disk is full at the moment.
    pub no_space: bool,
    /// Whether the channel has been removed.
    pub removed: bool,
    /// What poisoned it.
    pub error: Option<String>,
    /// How it was opened.
    pub report: OpenReport,
}

enum Command {
    Add(Box<Recording>, OpenReport),
    Adjust(ChannelName, Box<RecorderOptions>),
    Stop(ChannelName, mpsc::Sender<Result<()>>),
}

#[derive(Debug, Default)]
struct Shared {
    commands: Mutex<Vec<Command>>,
    statuses: Mutex<BTreeMap<ChannelName, RecorderStatus>>,
    bell: Bell,
    stop: AtomicBool,
    /// CLOCK_MONOTONIC when the thread last went round.
    seen_ns: AtomicU64,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::Add(..) => "Add",
            Command::Adjust(..) => "Adjust",
            Command::Stop(..) => "Stop",
        })
    }
}

/// What a panic elsewhere does not make less true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread that records.
#[derive(Debug)]
struct Thread {
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(core: Option<usize>) -> Result<Thread> {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let (told, tells) = mpsc::channel();
        let handle = std::thread::Builder::new()
            .name("railbus-journal".into())
            .spawn(move || {
                let pinned = core.map_or(Ok(()), pin);
                let go = pinned.is_ok();
                // Whoever started this waits for the answer.
                let _ = told.send(pinned);
                if go {
                    run(&for_thread);
                }
            })
            .map_err(|error| Error::io("start a thread for", "the journal", error))?;
        let thread = Thread { shared, handle: Some(handle) };
        match tells.recv() {
            Ok(result) => result.map(|()| thread),
            Err(_) => {
                Err(Error::PeerGone { what: "the journal's thread".into(), why: "it ended at once".into() })
            }
        }
    }

    fn send(&self, command: Command) {
        lock(&self.shared.commands).push(command);
        self.shared.bell.ring();
    }

    fn channels(&self) -> usize {
        let waiting = lock(&self.shared.commands).iter().filter(|c| matches!(c, Command::Add(..))).count();
        lock(&self.shared.statuses).len() + waiting
    }

    /// Stops it: everything is drained and sealed. The statuses tell what came of it.
    fn stop(&mut self) -> Result<()> {
        // STOP: pairs with the load in `run`.
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
        match self.handle.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(Error::PeerGone {
                what: "the journal's thread".into(),
                why: "it has panicked; what it had in hand is kept for the next journaller".into(),
            }),
            _ => Ok(()),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Who wants to know calls `stop`.
        let _ = self.stop();
    }
}

/// Pins the calling thread.
fn pin(core: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(core)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set))
        .map_err(|error| Error::invalid(format!("core {core}"), format!("{error}; see `railbus doctor`")))
}

/// One recording in a thread's hands.
struct Held {
    recording: Recording,
    report: OpenReport,
    round: Round,
}

fn run(shared: &Shared) {
    let mut held: Vec<Held> = Vec::new();
    let mut moved_ns = 0;
    let mut told_ns = 0;
    let mut turn = 0usize;
    loop {
        let bell = shared.bell.count();
        for command in std::mem::take(&mut *lock(&shared.commands)) {
            obey(shared, &mut held, command);
        }
        // STOP: what was asked for before it was done above.
        if shared.stop.load(Ordering::Acquire) && lock(&shared.commands).is_empty() {
            break;
        }
        let mut moved = false;
        let mut failed = Vec::new();
        // The disk is waited for only where there is one to wait for.
        let alone = held.len() == 1;
        for (i, one) in held.iter_mut().enumerate() {
            let wait = if alone && one.round.in_flight { DISK_SLICE } else { Duration::ZERO };
            match one.recording.round(wait) {
                Ok(round) => {
                    moved |= round.moved;
                    one.round = round;
                }
                Err(error) => failed.push((i, error)),
            }
        }
        for (i, error) in failed.into_iter().rev() {
            poison(shared, held.swap_remove(i), &error);
        }
        let now_ns = clock::monotonic_ns();
        shared.seen_ns.store(now_ns, Ordering::Relaxed);
        if moved {
            moved_ns = now_ns;
        }
        if now_ns.saturating_sub(told_ns) > 20_000_000 {
            told_ns = now_ns;
            tell_all(shared, &held);
        }
        if moved {
            continue;
        }
        let waiting = held.iter().filter(|one| one.round.in_flight).count();
        if waiting > 0 {
            // With several, one of those that wait is waited for, each in its turn.
            if !alone {
                turn = turn.wrapping_add(1);
                if let Some(one) = held.iter_mut().filter(|one| one.round.in_flight).nth(turn % waiting)
                    && let Ok(round) = one.recording.round(DISK_SLICE)
                {
                    // An error comes again in the next round.
                    one.round = round;
                }
            }
            continue;
        }
        if now_ns.saturating_sub(moved_ns) < SPIN_NS && !held.is_empty() {
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
            continue;
        }
        tell_all(shared, &held);
        sleep(shared, &mut held, bell);
    }
    for one in held {
        // The status tells; the thread ends here.
        let _ = finish(shared, one);
    }
}

/// Sleeps until something is published in any of the channels, or is due.
fn sleep(shared: &Shared, held: &mut [Held], bell: u32) {
    let mut sleep = Sleep::new(&shared.bell, bell);
    for one in held.iter_mut() {
        one.recording.announce(&mut sleep);
    }
    sleep.settle();
    // The second look: whoever publishes from here on sees the announcement.
    let mut most = SLEEP_MAX;
    for one in held.iter_mut() {
        match one.recording.round(Duration::ZERO) {
            Ok(round) if !round.moved && !round.in_flight => {
                one.round = round;
                if let Some(due_ns) = round.due_ns {
                    let now_ns = clock::monotonic_ns();
                    most = most.min(Duration::from_nanos(due_ns.saturating_sub(now_ns)));
                }
            }
            // Something to do, or an error that comes again in the next round.
            _ => return,
        }
    }
    sleep.sleep(most);
}

fn obey(shared: &Shared, held: &mut Vec<Held>, command: Command) {
    match command {
        Command::Add(recording, report) => {
            let round = Round { moved: false, in_flight: false, due_ns: None };
            held.push(Held { recording: *recording, report, round });
            tell_all(shared, held);
        }
        Command::Adjust(name, options) => {
            for one in held.iter_mut().filter(|one| *one.recording.channel.name() == name) {
                one.recording.adjust(&options);
            }
        }
        Command::Stop(name, answer) => {
            let at = held.iter().position(|one| *one.recording.channel.name() == name);
            let result = match at {
                Some(i) => finish(shared, held.swap_remove(i)),
                None => Ok(()),
            };
            // Whoever asked may have given up.
            let _ = answer.send(result);
        }
    }
}

fn finish(shared: &Shared, mut one: Held) -> Result<()> {
    match one.recording.finish() {
        Ok(()) => {
            tell(shared, &one, JournalState::Stopped, None);
            Ok(())
        }
        Err(error) => {
            let text = error.to_string();
            one.recording.poison(&error);
            tell(shared, &one, JournalState::Poisoned, Some(text));
            Err(error)
        }
    }
}

fn poison(shared: &Shared, mut one: Held, error: &Error) {
    one.recording.poison(error);
    tell(shared, &one, JournalState::Poisoned, Some(error.to_string()));
}

fn tell_all(shared: &Shared, held: &[Held]) {
    for one in held {
        tell(shared, one, JournalState::Recording, None);
    }
}

fn tell(shared: &Shared, one: &Held, state: JournalState, error: Option<String>) {
    let (written, durable, end, events, bytes, no_space) = one.recording.figures();
    let status = RecorderStatus {
        channel: one.recording.channel.name().clone(),
        directory: one.recording.directory().to_owned(),
        state,
        written,
        durable,
        end,
        events,
        bytes,
        no_space,
        removed: one.recording.is_removed(),
        error,
        report: one.report.clone(),
    };
    lock(&shared.statuses).insert(status.channel.clone(), status);
}

/// Records one channel, in a thread of this process, until it is stopped or dropped.
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
    /// Recovers the channel's journal below the directory `journal` (`JOURNAL/BUS/CHANNEL`), or begins one, and records
    /// from now on. Takes as long as recovery, and the first segment file, take.
    ///
    /// # Errors
    /// [`Error::Busy`] while another journaller records the channel, or writes to the directory; [`Error::Corrupt`]
    /// names what is damaged; [`Error::Invalid`], [`Error::NoSpace`], [`Error::NotAllowed`].
    pub fn start(
        channel: &Channel,
        journal: impl AsRef<Path>,
        options: &RecorderOptions,
    ) -> Result<Recorder> {
        Recorder::start_on(channel, journal, options, None)
    }

    /// As [`start`](Self::start), with the thread pinned to a core.
    pub fn start_on(
        channel: &Channel,
        journal: impl AsRef<Path>,
        options: &RecorderOptions,
        core: Option<usize>,
    ) -> Result<Recorder> {
        let thread = Thread::start(core)?;
        let (recording, report) = opening::open(channel, journal.as_ref(), options)?;
        thread.send(Command::Add(Box::new(recording), report.clone()));
        Ok(Recorder { thread, channel: channel.name().clone(), report })
    }

    /// What was found when the journal was opened, and how it writes.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// How it stands; a few ms old at most.
    pub fn status(&self) -> Option<RecorderStatus> {
        lock(&self.thread.shared.statuses).get(&self.channel).cloned()
    }

    /// Records what was published before, makes it durable, seals, and ends.
    ///
    /// # Errors
    /// What poisoned it, or the disk's error.
    pub fn stop(mut self) -> Result<()> {
        self.thread.stop()?;
        match self.status().and_then(|status| status.error) {
            Some(why) => Err(Error::PeerGone { what: format!("the journal of {}", self.channel), why }),
            None => Ok(()),
        }
    }
}

/// Records many channels with a few threads. Dropped, it stops all of them.
#[derive(Debug)]
pub struct Recorders {
    threads: Mutex<Vec<Thread>>,
    core: Option<usize>,
}

impl Recorders {
    /// Records nothing yet. The first thread is pinned to `core`, further ones (one for every 64 channels) are not.
    pub fn start(core: Option<usize>) -> Result<Recorders> {
        Ok(Recorders { threads: Mutex::new(vec![Thread::start(core)?]), core })
    }

    /// The core of the first thread.
    pub fn core(&self) -> Option<usize> {
        self.core
    }

    /// Opens the channel's journal in the caller's thread, and records it from then on.
    ///
    /// # Errors
    /// As [`Recorder::start`].
    pub fn record(&self, channel: &Channel, journal: &Path, options: &RecorderOptions) -> Result<OpenReport> {
        let (recording, report) = opening::open(channel, journal, options)?;
        let mut threads = lock(&self.threads);
        let at = match threads.iter().position(|thread| thread.channels() < CHANNELS_A_THREAD) {
            Some(at) => at,
            None => {
                threads.push(Thread::start(None)?);
                threads.len() - 1
            }
        };
        threads[at].send(Command::Add(Box::new(recording), report.clone()));
        Ok(report)
    }

    fn thread_of(&self, name: &ChannelName) -> Option<Arc<Shared>> {
        let threads = lock(&self.threads);
        let found = threads.iter().find(|thread| lock(&thread.shared.statuses).contains_key(name));
        found.map(|thread| Arc::clone(&thread.shared))
    }

    /// Changes a recording's retention, its policy for a full disk, and how often states are recorded. The rest of
    /// `options` needs a new start.
    pub fn adjust(&self, name: &ChannelName, options: &RecorderOptions) {
        if let Some(shared) = self.thread_of(name) {
            lock(&shared.commands).push(Command::Adjust(name.clone(), Box::new(options.clone())));
            shared.bell.ring();
        }
    }

    /// Drains and seals one channel's journal, and forgets it. Nothing happens when it is not recorded.
    ///
    /// # Errors
    /// The disk's.
    pub fn stop_one(&self, name: &ChannelName) -> Result<()> {
        let Some(shared) = self.thread_of(name) else { return Ok(()) };
        let (answer, answers) = mpsc::channel();
        lock(&shared.commands).push(Command::Stop(name.clone(), answer));
        shared.bell.ring();
        // A thread that has gone has drained.
        let result = answers.recv().unwrap_or(Ok(()));
        lock(&shared.statuses).remove(name);
        result
    }

    /// How all recordings stand, those that have failed included; a few ms old at most.
    pub fn statuses(&self) -> Vec<RecorderStatus> {
        let threads = lock(&self.threads);
        let mut all: Vec<RecorderStatus> = threads
            .iter()
            .flat_map(|thread| lock(&thread.shared.statuses).values().cloned().collect::<Vec<_>>())
            .collect();
        all.sort_by(|a, b| a.channel.cmp(&b.channel));
        all
    }

    /// How long ago the slowest thread last went round, for a watchdog.
    pub fn silence(&self) -> Duration {
        let now_ns = clock::monotonic_ns();
        let threads = lock(&self.threads);
        let oldest = threads.iter().map(|thread| thread.shared.seen_ns.load(Ordering::Relaxed)).min();
        Duration::from_nanos(now_ns.saturating_sub(oldest.unwrap_or(now_ns)))
    }

    /// Drains and seals everything. Returns how each ended.
    pub fn stop(self) -> Vec<RecorderStatus> {
        for thread in lock(&self.threads).iter_mut() {
            // The statuses tell what a thread that panicked had not finished.
            let _ = thread.stop();
        }
        self.statuses()
    }
}
