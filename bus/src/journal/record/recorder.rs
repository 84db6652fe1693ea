//! Recording channels: a thread in the program that wants it.
//!
//! A [`Recorder`] records one channel, with a thread of its own: what a program embeds. [`Recorders`] records any number
//! with a few threads, and takes further ones while it runs: what `railbus journald` is made of. Both stop by draining:
//! what was published before is written, made durable and sealed.
//!
//! A thread gives each of its recordings its round in turn. It polls while there is something to do, waits for the disk
//! when everything depends on that, and sleeps, announced to the publishers of all its channels, when all are quiet.
//! A recording that fails is poisoned, alone; the others go on. So is one whose own code panics: its status says
//! [`crashed`](RecorderStatus::crashed), and it may be opened again. A thread that ends by a panic of its own says the
//! same of all its recordings, and gets no further ones.

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

/// Channels that one thread records at most: it sleeps on a word of each, and the kernel takes 128 words at once.
const CHANNELS_A_THREAD: usize = 120;
/// How long a thread polls after something has moved, before it sleeps.
const SPIN_NS: u64 = 50_000;
/// Processor pauses between two polls that find nothing: publishers and readers need the lines that polling takes away.
const PAUSES: u32 = 32;
/// How long to wait at once for the disk while events may come.
const DISK_SLICE: Duration = Duration::from_micros(50);
/// The longest sleep: something may have to be done although nothing was published.
const SLEEP_MAX: Duration = Duration::from_millis(8);
/// The longest sleep of a thread whose channels have all been quiet for [`QUIET_NS`].
const QUIET_SLEEP_MAX: Duration = Duration::from_millis(64);
const QUIET_NS: u64 = 1_000_000_000;

/// How a recording stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
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
    /// Events that are missing since it was opened, as far as they could be counted: a lossy journal was overrun, or the
    /// disk was full and the policy is to drop.
    pub lost: u64,
    /// What it waits for at the moment: room on the disk, descriptors, memory.
    pub shortage: Option<Shortage>,
    /// Whether it lets events go at the moment, because the disk is full and the policy says so.
    pub drops: bool,
    /// What went wrong last and is tried again, such as the removal of an old segment; or that the clock is suspicious.
    pub warning: Option<String>,
    /// Segments that retention has removed since it was opened.
    pub retired_segments: u64,
    /// Their bytes.
    pub retired_bytes: u64,
    /// Whether the channel has been removed.
    pub removed: bool,
    /// Whether retention was told to remove what is read by all ([`Retention::consumed`](crate::journal::Retention::consumed)),
    /// and removes nothing, because the channel has neither a durable subscription nor a checkpoint.
    pub waits_for_readers: bool,
    /// What poisoned it.
    pub error: Option<String>,
    /// Whether it was not the disk or the channel that failed, but the recorder itself, which panicked. What it had in
    /// hand is kept: a recorder that is started anew goes on.
    pub crashed: bool,
    /// How it was opened.
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
    /// The thread has ended by a panic: nobody obeys commands any more. Changed under the lock of `commands`.
    dead: AtomicBool,
    /// CLOCK_MONOTONIC when the thread last went round.
    seen_ns: AtomicU64,
}

impl RecorderShared {
    /// Sends a command; false, and the command is dropped, when the thread has ended by a panic.
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

    /// Whether the thread has ended by a panic. Relaxed: whoever sends a command looks under the lock of the commands.
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// The thread has panicked, outside of any one recording: its recordings have gone with it.
    fn die(&self, why: &str) {
        let commands = {
            let mut commands = lock(&self.commands);
            self.dead.store(true, Ordering::Relaxed);
            std::mem::take(&mut *commands)
        };
        // Whoever waits for an answer gets none, and learns so.
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

/// What a panic elsewhere does not make less true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does a step of a recording. A panic in it is an error of this recording alone; the second value says so.
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

/// What a panic said.
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
                // Whoever started this waits for the answer.
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

    /// Sends a command; false when the thread has ended by a panic.
    fn send(&self, command: Command) -> bool {
        self.shared.send(command)
    }

    fn is_dead(&self) -> bool {
        self.shared.is_dead()
    }

    /// Hands it a recording, of which there is a status from now on. False when the thread has ended by a panic.
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

    /// Stops it: everything is drained and sealed. The statuses tell what came of it.
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

/// One recording in a thread's hands, or one that waits for room to be opened.
struct HeldChannel {
    work: OpenedJournal,
    report: OpenReport,
    round: Round,
    /// What has failed, and whether that was a panic. It is poisoned in the next turn of the loop.
    trouble: Option<(Error, bool)>,
}

impl HeldChannel {
    /// Gives the recording a round; `None` when it fails, or has failed.
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

/// Opens the journals for which there may be room now. That happens in the recording thread: it is rare, and the other
/// channels of a full disk wait as well.
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
        // STOP: what was asked for before it was done above.
        if shared.stop.load(Ordering::Acquire) && lock(&shared.commands).is_empty() {
            break;
        }
        let mut moved = false;
        // The disk is waited for only where there is one to wait for.
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
            // With several, one of those that wait is waited for, each in its turn.
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
        // The status tells; the thread ends here.
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
    // The second look: whoever publishes from here on sees the announcement.
    for one in held.iter_mut() {
        match one.round(Duration::ZERO) {
            Some(round) if !round.moved && !round.in_flight => {
                if let Some(due_ns) = round.due_ns {
                    let now_ns = clock::monotonic_ns();
                    most = most.min(Duration::from_nanos(due_ns.saturating_sub(now_ns)));
                }
            }
            // Something to do, or to say that it has failed.
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
            // Whoever asked may have given up.
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

/// Gives a recording up: everybody who waits for it is told why.
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
    /// A disk that is full is an error, unless the policy is [`WhenFull::Drop`]: then events are let go at once, and
    /// recorded from when there is room.
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
    /// Records nothing yet. The first thread is pinned to `core`, further ones (one for every 120 channels) are not.
    pub fn start(core: Option<usize>) -> Result<Recorders> {
        Ok(Recorders { threads: Mutex::new(vec![Thread::start(core)?]), core })
    }

    /// The core of the first thread.
    pub fn core(&self) -> Option<usize> {
        self.core
    }

    /// Opens the channel's journal in the caller's thread, and records it from then on. Where its disk is full, it is
    /// opened when there is room: until then publishers wait, or events are let go, as the policy says
    /// ([`OpenReport::waits_for`]).
    ///
    /// # Errors
    /// As [`Recorder::start`].
    pub fn record(&self, channel: &Channel, journal: &Path, options: &RecorderOptions) -> Result<OpenReport> {
        let (work, report) = waiting::open_or_wait(channel, journal, options)?;
        let mut threads = lock(&self.threads);
        // One that has died goes with the last of its recordings that was not started anew.
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

    /// The thread that records a channel, or is about to.
    fn thread_of(&self, name: &ChannelName) -> Option<Arc<RecorderShared>> {
        let threads = lock(&self.threads);
        let found = threads.iter().find(|thread| lock(&thread.shared.statuses).contains_key(name));
        found.map(|thread| Arc::clone(&thread.shared))
    }

    /// Changes a recording's retention, its policy for a full disk, and how often states are recorded. The rest of
    /// `options` needs a new start.
    pub fn adjust(&self, name: &ChannelName, options: &RecorderOptions) {
        if let Some(shared) = self.thread_of(name) {
            shared.send(Command::Adjust(name.clone(), Box::new(options.clone())));
        }
    }

    /// Makes the recorder of a channel panic, as an unforeseen fault would: for tests of what comes of that.
    #[doc(hidden)]
    pub fn crash(&self, name: &ChannelName) {
        if let Some(shared) = self.thread_of(name) {
            shared.send(Command::Crash(name.clone()));
        }
    }

    /// Makes a recording thread itself panic, outside of any one recording.
    #[doc(hidden)]
    pub fn crash_thread(&self, name: &ChannelName) {
        if let Some(shared) = self.thread_of(name) {
            shared.send(Command::CrashThread);
        }
    }

    /// Drains and seals one channel's journal, and forgets it. Nothing happens when it is not recorded.
    ///
    /// # Errors
    /// The disk's.
    pub fn stop_one(&self, name: &ChannelName) -> Result<()> {
        let Some(shared) = self.thread_of(name) else { return Ok(()) };
        let (answer, answers) = mpsc::channel();
        // A thread that has died has nothing to stop, and drops the command; one that has gone has drained.
        shared.send(Command::Stop(name.clone(), answer));
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
        // Those that have died are no news to the watchdog: their recordings say so, and others go on with them.
        let alive = threads.iter().filter(|thread| !thread.is_dead());
        let oldest = alive.map(|thread| thread.shared.seen_ns.load(Ordering::Relaxed)).min();
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
