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

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use railbus_log::shortage::Shortage;
use railbus_os::{clock, file_limit};

use crate::channel::ChannelName;
use crate::channel::journal_status::JournalState;
use crate::channel::open::Channel;
use crate::error::{Error, Result};
use crate::journal::open_report::OpenReport;
use crate::journal::options::{RecorderOptions, WhenFull};
use crate::journal::record::doorbell::{Bell, Sleep};
use crate::journal::record::opening;
use crate::journal::record::recording::{Figures, Round};
use crate::journal::record::waiting::{self, OpenedJournal};

/// Most channels of one thread: it sleeps on a word of each, and the kernel takes 128 words at once.
const CHANNELS_A_THREAD: usize = 120;
/// How long a thread polls after anything has moved, before it sleeps.
const SPIN_NS: u64 = 50_000;
/// Processor pauses between two polls that find nothing, because polling takes cache lines away from
/// publishers and readers.
const PAUSES: u32 = 32;
/// How long to wait for the disk at one time while events may come.
const DISK_SLICE: Duration = Duration::from_micros(50);
/// The longest sleep: something may be due although nothing was published.
const SLEEP_MAX: Duration = Duration::from_millis(8);
/// The longest sleep of a thread whose channels have all been quiet for [`QUIET_NS`].
const QUIET_SLEEP_MAX: Duration = Duration::from_millis(64);
const QUIET_NS: u64 = 1_000_000_000;

/// The state and the figures of a recording.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecorderStatus {
    /// The channel that is recorded.
    pub channel: ChannelName,
    /// The journal's directory.
    pub directory: PathBuf,
    /// The state of the journal.
    pub state: JournalState,
    /// Everything before this position survives the death of any process.
    pub written: u64,
    /// Everything before this position survives a power cut.
    pub durable: u64,
    /// Everything before this position was taken from the ring.
    pub end: u64,
    /// Number of events recorded since the journal was opened.
    pub events: u64,
    /// Size of those events, in bytes.
    pub bytes: u64,
    /// Number of events that are missing since the journal was opened, as far as they could be counted: a
    /// lossy journal was overrun, or the disk was full and the policy is to drop.
    pub lost: u64,
    /// The resource for which it waits at the moment: room on the disk, descriptors or memory.
    pub shortage: Option<Shortage>,
    /// Whether it drops events at the moment, because the disk is full and the policy is to drop.
    pub drops: bool,
    /// The last problem that is tried again, such as the removal of an old segment, or a suspicious clock.
    pub warning: Option<String>,
    /// Number of segments that retention has removed since the journal was opened.
    pub retired_segments: u64,
    /// Size of those segments, in bytes.
    pub retired_bytes: u64,
    /// Whether the channel has been removed.
    pub removed: bool,
    /// Whether retention should remove what all consumers have read
    /// ([`Retention::consumed`](crate::journal::Retention::consumed)) but removes nothing, because the
    /// channel has neither a durable subscription nor a checkpoint.
    pub waits_for_readers: bool,
    /// The error that poisoned it.
    pub error: Option<String>,
    /// Whether the recorder itself panicked, and neither the disk nor the channel failed. The staged events
    /// are kept, and a recorder that is started again continues with them.
    pub crashed: bool,
    /// The report of the journal's opening.
    pub report: OpenReport,
}

impl RecorderStatus {
    /// The status of a channel of which nothing is recorded yet. For tests of what shows it.
    #[doc(hidden)]
    pub fn of(channel: ChannelName) -> RecorderStatus {
        RecorderStatus {
            channel,
            directory: Default::default(),
            state: JournalState::Recording,
            written: 0,
            durable: 0,
            end: 0,
            events: 0,
            bytes: 0,
            lost: 0,
            shortage: None,
            drops: false,
            warning: None,
            retired_segments: 0,
            retired_bytes: 0,
            removed: false,
            waits_for_readers: false,
            error: None,
            crashed: false,
            report: Default::default(),
        }
    }
}

enum Command {
    Add(OpenedJournal, OpenReport),
    Adjust(ChannelName, Box<RecorderOptions>),
    Stop(ChannelName, mpsc::Sender<Result<()>>),
    Crash(ChannelName),
    CrashThread,
}

#[derive(Debug, Default)]
struct RecorderShared {
    commands: Mutex<Vec<Command>>,
    statuses: Mutex<BTreeMap<ChannelName, RecorderStatus>>,
    bell: Bell,
    stop: AtomicBool,
    /// Whether the thread has ended by a panic, so that no command is obeyed any more. Changed under the
    /// lock of `commands`.
    dead: AtomicBool,
    /// CLOCK_MONOTONIC in ns when the thread last ended a turn of its loop.
    seen_ns: AtomicU64,
}

impl RecorderShared {
    /// Sends a command. When the thread has ended by a panic, drops the command and returns false.
    fn send(&self, command: Command) -> bool {
        let mut commands = lock(&self.commands);
        if self.is_dead() {
            return false;
        }
        commands.push(command);
        drop(commands);
        self.bell.ring();
        true
    }

    /// Whether the thread has ended by a panic. The load is Relaxed, because `send` checks it under the lock
    /// of the commands.
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Records that the thread has panicked, outside of any one recording. Its recordings have gone with it.
    fn die(&self, why: &str) {
        let commands = {
            let mut commands = lock(&self.commands);
            self.dead.store(true, Ordering::Relaxed);
            std::mem::take(&mut *commands)
        };
        // Callers that wait for an answer now find their channel closed.
        drop(commands);
        for status in lock(&self.statuses).values_mut().filter(|status| status.error.is_none()) {
            status.state = JournalState::Poisoned;
            status.error = Some(crash_error(&status.channel, why).to_string());
            status.crashed = true;
        }
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::Add(..) => "Add",
            Command::Adjust(..) => "Adjust",
            Command::Stop(..) => "Stop",
            Command::Crash(..) => "Crash",
            Command::CrashThread => "CrashThread",
        })
    }
}

/// Locks a mutex. A panic elsewhere does not invalidate the data behind it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does a step of a recording. A panic in it is an error of this recording alone; the second value of the
/// error says whether it was one.
fn guarded<T>(
    work: &mut OpenedJournal,
    step: impl FnOnce(&mut OpenedJournal) -> Result<T>,
) -> std::result::Result<T, (Error, bool)> {
    match catch_unwind(AssertUnwindSafe(|| step(work))) {
        Ok(result) => result.map_err(|error| (error, false)),
        Err(panic) => Err((crash_error(work.channel().name(), &panic_text(&*panic)), true)),
    }
}

fn thread_gone() -> Error {
    Error::PeerGone {
        what: "the journal's thread".into(),
        why: "it has panicked; what it had in hand is kept for the next journaller, so try again".into(),
    }
}

fn crash_error(channel: &ChannelName, why: &str) -> Error {
    Error::PeerGone {
        what: format!("the recorder of {channel}"),
        why: format!(
            "it has panicked: {why}. What it had in hand is kept for the next recorder; please report this fault"
        ),
    }
}

/// Returns the message of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given").to_owned()
}

/// A thread that records.
#[derive(Debug)]
struct Thread {
    shared: Arc<RecorderShared>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(core: Option<usize>) -> Result<Thread> {
        let shared = Arc::new(RecorderShared::default());
        let for_thread = Arc::clone(&shared);
        let (told, tells) = mpsc::channel();
        let handle = std::thread::Builder::new()
            .name("railbus-journal".into())
            .spawn(move || {
                file_limit::ignore_in_this_thread();
                let pinned = core.map_or(Ok(()), pin);
                let go = pinned.is_ok();
                // The caller of `start` waits for this answer.
                let _ = told.send(pinned);
                if go && let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&for_thread))) {
                    for_thread.die(&panic_text(&*panic));
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

    /// Sends a command. Returns false when the thread has ended by a panic.
    fn send(&self, command: Command) -> bool {
        self.shared.send(command)
    }

    fn is_dead(&self) -> bool {
        self.shared.is_dead()
    }

    /// Gives the thread a recording, whose status exists from now on. Returns false when the thread has
    /// ended by a panic.
    fn add(&self, work: OpenedJournal, report: &OpenReport) -> bool {
        let status = status_of(&work, report, work.state(), None);
        let name = status.channel.clone();
        lock(&self.shared.statuses).insert(name.clone(), status);
        let sent = self.send(Command::Add(work, report.clone()));
        if !sent {
            lock(&self.shared.statuses).remove(&name);
        }
        sent
    }

    fn channels(&self) -> usize {
        lock(&self.shared.statuses).len()
    }

    /// Stops the thread: everything is drained and sealed. The statuses report the results.
    fn stop(&mut self) -> Result<()> {
        // STOP: pairs with the load in `run`.
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
        match self.handle.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(thread_gone()),
            _ => Ok(()),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // A caller that needs the result calls `stop`.
        let _ = self.stop();
    }
}

/// Pins the calling thread to a core.
fn pin(core: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(core)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set))
        .map_err(|error| Error::invalid(format!("core {core}"), format!("{error}; see `railbus doctor`")))
}

/// One recording of a thread, or a journal that waits for room to be opened.
struct HeldChannel {
    work: OpenedJournal,
    report: OpenReport,
    round: Round,
    /// The error of a failed recording, and whether it was a panic. The next turn of the loop poisons it.
    trouble: Option<(Error, bool)>,
}

impl HeldChannel {
    /// Gives the recording a round. Returns `None` when it fails, or has failed before.
    fn round(&mut self, wait: Duration) -> Option<Round> {
        if self.trouble.is_some() {
            return None;
        }
        match guarded(&mut self.work, |work| work.round(wait)) {
            Ok(round) => {
                self.round = round;
                Some(round)
            }
            Err(trouble) => {
                self.trouble = Some(trouble);
                None
            }
        }
    }
}

impl HeldChannel {
    fn new(work: OpenedJournal, report: OpenReport) -> HeldChannel {
        let round = Round { moved: false, in_flight: false, due_ns: None };
        HeldChannel { work, report, round, trouble: None }
    }
}

/// Opens the journals for which there may be room now. This is done in the recording thread, because it is
/// rare and the other channels of a full disk wait as well.
fn open_waiting(shared: &RecorderShared, held: &mut Vec<HeldChannel>) {
    for i in (0..held.len()).rev() {
        if !held[i].work.is_time_to_open() {
            continue;
        }
        let HeldChannel { work, report, .. } = held.swap_remove(i);
        let mut status = status_of(&work, &report, JournalState::Poisoned, None);
        match work.open() {
            Ok((work, report)) => held.push(HeldChannel::new(work, report)),
            Err(error) => {
                status.error = Some(error.to_string());
                lock(&shared.statuses).insert(status.channel.clone(), status);
            }
        }
    }
}

fn run(shared: &RecorderShared) {
    let mut held: Vec<HeldChannel> = Vec::new();
    let mut moved_ns = 0;
    let mut told_ns = 0;
    let mut turn = 0usize;
    loop {
        let bell = shared.bell.count();
        for command in std::mem::take(&mut *lock(&shared.commands)) {
            obey(shared, &mut held, command);
        }
        // STOP: pairs with the store in `stop`. Commands that were sent before it were obeyed above.
        if shared.stop.load(Ordering::Acquire) && lock(&shared.commands).is_empty() {
            break;
        }
        let mut moved = false;
        // The thread waits for the disk here only when it has a single recording.
        let alone = held.len() == 1;
        for one in &mut held {
            let wait = if alone && one.round.in_flight { DISK_SLICE } else { Duration::ZERO };
            moved |= one.round(wait).is_some_and(|round| round.moved);
        }
        for i in (0..held.len()).rev() {
            if let Some(trouble) = held[i].trouble.take() {
                poison(shared, held.swap_remove(i), &trouble);
            }
        }
        open_waiting(shared, &mut held);
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
            // With several recordings, the thread waits for one of those with I/O in flight, each in its
            // turn.
            if !alone {
                turn = turn.wrapping_add(1);
                if let Some(one) = held.iter_mut().filter(|one| one.round.in_flight).nth(turn % waiting) {
                    one.round(DISK_SLICE);
                }
            }
            continue;
        }
        if now_ns.saturating_sub(moved_ns) < SPIN_NS && !held.is_empty() {
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
            continue;
        }
        tell_all(shared, &held);
        let is_quiet = now_ns.saturating_sub(moved_ns) > QUIET_NS;
        sleep(shared, &mut held, bell, if is_quiet { QUIET_SLEEP_MAX } else { SLEEP_MAX });
    }
    for one in held {
        // The status reports the error; the thread ends here.
        let _ = finish(shared, one);
    }
}

/// Sleeps until something is published in any of the channels, or is due.
fn sleep(shared: &RecorderShared, held: &mut [HeldChannel], bell: u32, mut most: Duration) {
    let mut sleep = Sleep::new(&shared.bell, bell);
    for one in held.iter_mut() {
        one.work.announce(&mut sleep);
    }
    sleep.settle();
    // The second look: publishers that publish from here on see the announcement.
    for one in held.iter_mut() {
        match one.round(Duration::ZERO) {
            Some(round) if !round.moved && !round.in_flight => {
                if let Some(due_ns) = round.due_ns {
                    let now_ns = clock::monotonic_ns();
                    most = most.min(Duration::from_nanos(due_ns.saturating_sub(now_ns)));
                }
            }
            // There is something to do, or a failure to report.
            _ => return,
        }
    }
    sleep.sleep(most);
}

fn obey(shared: &RecorderShared, held: &mut Vec<HeldChannel>, command: Command) {
    match command {
        Command::Add(work, report) => {
            held.push(HeldChannel::new(work, report));
            tell_all(shared, held);
        }
        Command::Adjust(name, options) => {
            for one in held.iter_mut().filter(|one| *one.work.channel().name() == name) {
                one.work.adjust(&options);
            }
        }
        Command::Stop(name, answer) => {
            let at = held.iter().position(|one| *one.work.channel().name() == name);
            let result = match at {
                Some(i) => finish(shared, held.swap_remove(i)),
                None => Ok(()),
            };
            // The caller may have given up.
            let _ = answer.send(result);
        }
        Command::Crash(name) => {
            for one in held.iter_mut().filter(|one| *one.work.channel().name() == name) {
                let crash = guarded(&mut one.work, |_| -> Result<()> { panic!("a test asked for it") });
                one.trouble = crash.err();
            }
        }
        Command::CrashThread => panic!("a test asked for it"),
    }
}

fn finish(shared: &RecorderShared, mut one: HeldChannel) -> Result<()> {
    let finished = match one.trouble.take() {
        Some(trouble) => Err(trouble),
        None => guarded(&mut one.work, OpenedJournal::finish),
    };
    match finished {
        Ok(()) => {
            tell(shared, &one, JournalState::Stopped, None);
            Ok(())
        }
        Err(trouble) => {
            poison(shared, one, &trouble);
            Err(trouble.0)
        }
    }
}

/// Gives a recording up, and reports the reason to everybody who waits for it.
fn poison(shared: &RecorderShared, mut one: HeldChannel, (error, crashed): &(Error, bool)) {
    // A recorder that has panicked may do so again.
    let _ = guarded(&mut one.work, |work| {
        work.poison(error, *crashed);
        Ok(())
    });
    tell(shared, &one, JournalState::Poisoned, Some((error.to_string(), *crashed)));
    let _ = catch_unwind(AssertUnwindSafe(|| drop(one)));
}

fn tell_all(shared: &RecorderShared, held: &[HeldChannel]) {
    for one in held {
        tell(shared, one, one.work.state(), None);
    }
}

fn tell(shared: &RecorderShared, one: &HeldChannel, state: JournalState, trouble: Option<(String, bool)>) {
    let status = status_of(&one.work, &one.report, state, trouble);
    lock(&shared.statuses).insert(status.channel.clone(), status);
}

fn status_of(
    work: &OpenedJournal,
    report: &OpenReport,
    state: JournalState,
    trouble: Option<(String, bool)>,
) -> RecorderStatus {
    let Figures { written, durable, end, events, bytes, lost, shortage, drops, warning, retired } =
        work.figures();
    RecorderStatus {
        channel: work.channel().name().clone(),
        directory: work.directory().to_owned(),
        state,
        written,
        durable,
        end,
        events,
        bytes,
        lost,
        shortage,
        drops,
        warning,
        retired_segments: retired.0,
        retired_bytes: retired.1,
        removed: work.is_removed(),
        waits_for_readers: work.waits_for_readers(),
        crashed: trouble.as_ref().is_some_and(|(_, crashed)| *crashed),
        error: trouble.map(|(error, _)| error),
        report: report.clone(),
    }
}

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
