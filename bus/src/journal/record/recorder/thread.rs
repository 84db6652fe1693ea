//! A thread that records channels in turn: its orders, its rounds and its end.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use railbus_os::{clock, file_limit};

use super::RecorderStatus;
use super::status::status_of;
use crate::channel::ChannelName;
use crate::channel::journal_status::JournalState;
use crate::error::{Error, Result};
use crate::journal::open_report::OpenReport;
use crate::journal::options::RecorderOptions;
use crate::journal::record::doorbell::{Bell, Sleep};
use crate::journal::record::recording::Round;
use crate::journal::record::waiting::OpenedJournal;

const QUIET_NS: u64 = 1_000_000_000;

/// The longest sleep of a thread whose channels have all been quiet for [`QUIET_NS`].
const QUIET_SLEEP_MAX: Duration = Duration::from_millis(64);

/// The longest sleep: something may be due although nothing was published.
const SLEEP_MAX: Duration = Duration::from_millis(8);

/// How long to wait for the disk at one time while events may come.
const DISK_SLICE: Duration = Duration::from_micros(50);

/// Processor pauses between two polls that find nothing, because polling takes cache lines away from
/// publishers and readers.
const PAUSES: u32 = 32;

/// How long a thread polls after anything has moved, before it sleeps.
const SPIN_NS: u64 = 50_000;

pub(super) enum Command {
    Add(OpenedJournal, OpenReport),
    Adjust(ChannelName, Box<RecorderOptions>),
    Stop(ChannelName, mpsc::Sender<Result<()>>),
    Crash(ChannelName),
    CrashThread,
}

#[derive(Debug, Default)]
pub(super) struct RecorderShared {
    pub(super) commands: Mutex<Vec<Command>>,
    pub(super) statuses: Mutex<BTreeMap<ChannelName, RecorderStatus>>,
    pub(super) bell: Bell,
    pub(super) stop: AtomicBool,
    /// Whether the thread has ended by a panic, so that no command is obeyed any more. Changed under the
    /// lock of `commands`.
    pub(super) dead: AtomicBool,
    /// CLOCK_MONOTONIC in ns when the thread last ended a turn of its loop.
    pub(super) seen_ns: AtomicU64,
}

impl RecorderShared {
    /// Sends a command. When the thread has ended by a panic, drops the command and returns false.
    pub(super) fn send(&self, command: Command) -> bool {
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
    pub(super) fn is_dead(&self) -> bool {
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
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does a step of a recording. A panic in it is an error of this recording alone; the second value of the
/// error says whether it was one.
pub(super) fn guarded<T>(
    work: &mut OpenedJournal,
    step: impl FnOnce(&mut OpenedJournal) -> Result<T>,
) -> std::result::Result<T, (Error, bool)> {
    match catch_unwind(AssertUnwindSafe(|| step(work))) {
        Ok(result) => result.map_err(|error| (error, false)),
        Err(panic) => Err((crash_error(work.channel().name(), &panic_text(&*panic)), true)),
    }
}

pub(super) fn thread_gone() -> Error {
    Error::PeerGone {
        what: "the journal's thread".into(),
        why: "it has panicked; what it had in hand is kept for the next journaller, so try again".into(),
    }
}

pub(super) fn crash_error(channel: &ChannelName, why: &str) -> Error {
    Error::PeerGone {
        what: format!("the recorder of {channel}"),
        why: format!(
            "it has panicked: {why}. What it had in hand is kept for the next recorder; please report this fault"
        ),
    }
}

/// Returns the message of a panic.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given").to_owned()
}

/// A thread that records.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) shared: Arc<RecorderShared>,
    pub(super) handle: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn start(core: Option<usize>) -> Result<Thread> {
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
    pub(super) fn send(&self, command: Command) -> bool {
        self.shared.send(command)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.shared.is_dead()
    }

    /// Gives the thread a recording, whose status exists from now on. Returns false when the thread has
    /// ended by a panic.
    pub(super) fn add(&self, work: OpenedJournal, report: &OpenReport) -> bool {
        let status = status_of(&work, report, work.state(), None);
        let name = status.channel.clone();
        lock(&self.shared.statuses).insert(name.clone(), status);
        let sent = self.send(Command::Add(work, report.clone()));
        if !sent {
            lock(&self.shared.statuses).remove(&name);
        }
        sent
    }

    pub(super) fn channels(&self) -> usize {
        lock(&self.shared.statuses).len()
    }

    /// Stops the thread: everything is drained and sealed. The statuses report the results.
    pub(super) fn stop(&mut self) -> Result<()> {
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
pub(super) fn pin(core: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(core)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set))
        .map_err(|error| Error::invalid(format!("core {core}"), format!("{error}; see `railbus doctor`")))
}

/// One recording of a thread, or a journal that waits for room to be opened.
pub(super) struct HeldChannel {
    pub(super) work: OpenedJournal,
    pub(super) report: OpenReport,
    pub(super) round: Round,
    /// The error of a failed recording, and whether it was a panic. The next turn of the loop poisons it.
    pub(super) trouble: Option<(Error, bool)>,
}

impl HeldChannel {
    fn new(work: OpenedJournal, report: OpenReport) -> HeldChannel {
        let round = Round { moved: false, in_flight: false, due_ns: None };
        HeldChannel { work, report, round, trouble: None }
    }

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

/// Opens the journals for which there may be room now. This is done in the recording thread, because it is
/// rare and the other channels of a full disk wait as well.
pub(super) fn open_waiting(shared: &RecorderShared, held: &mut Vec<HeldChannel>) {
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

pub(super) fn run(shared: &RecorderShared) {
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
pub(super) fn sleep(shared: &RecorderShared, held: &mut [HeldChannel], bell: u32, mut most: Duration) {
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

pub(super) fn obey(shared: &RecorderShared, held: &mut Vec<HeldChannel>, command: Command) {
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

pub(super) fn finish(shared: &RecorderShared, mut one: HeldChannel) -> Result<()> {
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
pub(super) fn poison(shared: &RecorderShared, mut one: HeldChannel, (error, crashed): &(Error, bool)) {
    // A recorder that has panicked may do so again.
    let _ = guarded(&mut one.work, |work| {
        work.poison(error, *crashed);
        Ok(())
    });
    tell(shared, &one, JournalState::Poisoned, Some((error.to_string(), *crashed)));
    let _ = catch_unwind(AssertUnwindSafe(|| drop(one)));
}

pub(super) fn tell_all(shared: &RecorderShared, held: &[HeldChannel]) {
    for one in held {
        tell(shared, one, one.work.state(), None);
    }
}

pub(super) fn tell(
    shared: &RecorderShared,
    one: &HeldChannel,
    state: JournalState,
    trouble: Option<(String, bool)>,
) {
    let status = status_of(&one.work, &one.report, state, trouble);
    lock(&shared.statuses).insert(status.channel.clone(), status);
}
