//! `railbus journald`: records channels to disk until it is asked to stop.
//!
//! A thread of the library records (`railbus::Recorders`); this loop decides which channels. It
//! makes lost channels again, opens the journal of every channel that fits a pattern, and looks for
//! new ones whenever a bus directory changes. It lets go of channels that were removed, and reports
//! the state to systemd and the terminal.
//!
//! Trouble with one channel is reported, and the others are recorded. A channel that cannot be
//! opened is tried again every second. One whose disk has failed is not tried until the daemon is
//! asked to reload or starts again. A recorder that has panicked is started again; if the panics go
//! on, the daemon ends with exit code 1 (`crashes.rs`).

mod config;
mod crashes;
mod descriptors;
mod directory;
mod notify;
mod status;
mod troubles;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use config::{Config, Flags, Settings};
use crashes::Crashes;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use notify::Notify;
use railbus::journal::{self, OpenReport, Pattern, RecorderStatus, wishes};
use railbus::{Bus, ChannelName, Error, JournalState, RecorderOptions, Recorders};
use status::StatusLine;
use troubles::Troubles;
use watch::{Watch, is_table};

use crate::failure::{Failure, Outcome, note, say};
use crate::output::print;
use crate::{interrupt, open};

const EXAMPLES: &str = "\
Examples:
  railbus journald --journal /var/lib/railbus/journal --channels 'demo/*' --sync always
  railbus journald --journal DIR --channels demo/ticks --channels 'other/*' --sync interval=10ms --core 3
  railbus journald --journal DIR --channels '*/*' --mode lossy --max-bytes 10GiB --max-age 7d
  railbus journald --config /etc/railbus/journald.toml

Prints `ready` when it records. SIGTERM and SIGINT: what was published is written, made durable and sealed, exit code 0 \
(1 when a channel's journal had failed). A recorder that panics is started again after half a second, then one, then two; \
the fourth time within ten minutes the daemon seals the other channels and ends with exit code 1. SIGHUP: reads the config again. Channels that were lost with their shared \
memory are made again from their journals at the start. tools/dist/ has a commented config, a systemd unit and a \
tmpfiles entry.";

/// Record channels to disk
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JournaldArgs {
    /// Directory of all journals, on a local disk; each channel's is JOURNAL/BUS/CHANNEL
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Channels by name or pattern ('demo/*'), including those that are made later; can be repeated
    #[arg(long, value_name = "PATTERN")]
    channels: Vec<Pattern>,
    /// A TOML file with all this, and more for single channels; flags win over its defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Core that the recording thread is pinned to
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Do not make lost channels again
    #[arg(long)]
    no_restore: bool,
    #[command(flatten)]
    settings: Settings,
}

/// How often the loop looks around.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a channel that could not be opened is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long the lock of a bus is waited for: its owner may hold it without limit.
const LOCK_WAIT: Duration = Duration::from_millis(250);
/// How often the daemon checks whether there are descriptors for more channels.
const DESCRIPTORS_EVERY: Duration = Duration::from_secs(10);
/// The number of channels that are opened at the same time, and of the threads that do it.
const OPENED_AT_ONCE: usize = 32;
const OPENERS: usize = 4;
/// A recording thread without a round for this long is stuck in the disk: the watchdog is not fed.
const STUCK_AFTER: Duration = Duration::from_secs(10);

static RELOAD: AtomicBool = AtomicBool::new(false);

extern "C" fn reload(_signal: libc::c_int) {
    // Relaxed: the flag orders nothing else.
    RELOAD.store(true, Ordering::Relaxed);
}

/// Records until SIGTERM.
pub(crate) fn run(args: &JournaldArgs) -> Outcome {
    let flags = Flags {
        config: args.config.clone(),
        journal: args.journal.clone(),
        channels: args.channels.clone(),
        core: args.core,
        no_restore: args.no_restore,
        settings: args.settings.clone(),
    };
    let config = Config::load(&flags)?;
    interrupt::catch();
    let action = SigAction::new(SigHandler::Handler(reload), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler stores to an atomic and nothing else. SIGHUP can be caught, so there is
    // no error.
    let _ = unsafe { sigaction(Signal::SIGHUP, &action) };
    let files_max = descriptors::raise();
    let _lock = directory::lock(&config.journal)?;
    railbus::admin::limit_lock_wait(LOCK_WAIT);
    open::survive_truncation();
    let mut daemon = Daemon::new(config, files_max)?;
    daemon.announce();
    daemon.restore_lost();
    daemon.scan();
    if let Some(failure) = daemon.nothing_recorded() {
        return Err(failure);
    }
    daemon.await_recording();
    print("ready\n")?;
    daemon.notify.tell(&format!("READY=1\nSTATUS={}", daemon.summary()));
    while !interrupt::is_asked() && daemon.hopeless.is_none() {
        if RELOAD.swap(false, Ordering::Relaxed) {
            daemon.reload(&flags);
        }
        daemon.look();
        std::thread::sleep(LOOK_EVERY);
    }
    daemon.notify.tell("STOPPING=1\nSTATUS=draining");
    let hopeless = daemon.hopeless.take();
    if hopeless.is_none() {
        daemon.retract();
    }
    let stopped = daemon.stop();
    match hopeless {
        Some(text) => Err(Failure::new(text)),
        None => stopped,
    }
}

/// The state of a channel that fits.
#[derive(Debug)]
enum KnownChannel {
    /// It is recorded with these options.
    Recorded(RecorderOptions),
    /// Its disk has failed: it is not tried again before a reload.
    Failed,
    /// It could not be opened.
    Refused { text: String, code: u8, next: Instant },
}

struct Daemon {
    config: Config,
    base: PathBuf,
    recorders: Recorders,
    known: BTreeMap<ChannelName, KnownChannel>,
    watch: Watch,
    notify: Notify,
    line: StatusLine,
    troubles: Troubles,
    fed: Instant,
    failed_ever: bool,
    /// Channels for which the daemon has reported that retention removes nothing because there are
    /// no readers.
    waiting: BTreeSet<ChannelName>,
    /// The recorders that have panicked.
    crashes: BTreeMap<ChannelName, Crashes>,
    /// The reason why the daemon ends without a request.
    hopeless: Option<String>,
    /// The limit of open files.
    files_max: u64,
    /// The number of channels that are not opened because descriptors are missing, as last
    /// reported.
    left_out: usize,
    /// Whether creators of channels were asked for this journaller's subscription.
    announced: bool,
}

impl Daemon {
    fn new(config: Config, files_max: u64) -> Result<Daemon, Failure> {
        let base = open::base()?;
        Ok(Daemon {
            recorders: Recorders::start(config.core)?,
            watch: Watch::new(&base),
            base,
            config,
            known: BTreeMap::new(),
            notify: Notify::from_environment(),
            line: StatusLine::new(),
            troubles: Troubles::default(),
            fed: Instant::now(),
            failed_ever: false,
            waiting: BTreeSet::new(),
            crashes: BTreeMap::new(),
            hopeless: None,
            files_max,
            left_out: 0,
            announced: false,
        })
    }

    /// Prints a line and keeps the status line intact.
    fn say(&self, text: &str) {
        self.line.aside(|| note(text));
    }

    fn complain(&self, text: &str) {
        self.line.aside(|| say(text));
    }

    /// Asks all processes that make channels from now on to make them with this journaller's
    /// subscription.
    fn announce(&mut self) {
        let announced = wishes::announce(&self.base, &self.config.journal, &self.config.wishes());
        // Without a base directory there is no process to ask yet.
        self.announced = !matches!(announced, Err(Error::NotFound { .. }));
        if let Err(error) = announced.or_else(|error| if self.announced { Err(error) } else { Ok(()) }) {
            self.complain(&format!(
                "channels that are made from now on are recorded from when they are noticed, not from their first event: \
                 {error}"
            ));
        }
    }

    /// Withdraws that request: from now on nobody drains the rings of new channels.
    fn retract(&self) {
        if let Err(error) = wishes::retract(&self.base, &self.config.journal) {
            self.complain(&format!("new channels are still made with a journaller's subscription: {error}"));
        }
    }

    /// Makes the lost channels that fit again.
    fn restore_lost(&mut self) {
        if !self.config.restore {
            return;
        }
        let lost = match journal::lost(&self.base, &self.config.journal) {
            Ok(lost) => lost,
            Err(error) => return self.complain(&format!("cannot look for lost channels: {error}")),
        };
        for name in lost {
            if !self.config.wants(&name) || interrupt::is_asked() {
                continue;
            }
            self.feed();
            let bus = Bus::at(&self.base, name.bus());
            match bus.and_then(|bus| journal::restore(&bus, name.channel(), &self.config.journal)) {
                Ok(restored) => self.say(&restored.to_string()),
                // An earlier one has made it, together with its queue.
                Err(Error::Exists { .. }) => {}
                Err(error) => self.refuse(name, &error, "cannot be made again"),
            }
        }
    }

    fn refuse(&mut self, name: ChannelName, error: &Error, what: &str) {
        self.refuse_text(name.clone(), format!("{name} {what}: {error}"), error.exit_code());
    }

    fn refuse_text(&mut self, name: ChannelName, text: String, code: u8) {
        let is_new =
            !matches!(self.known.get(&name), Some(KnownChannel::Refused { text: old, .. }) if *old == text);
        if is_new {
            self.complain(&text);
        }
        let next = Instant::now() + RETRY_EVERY;
        self.known.insert(name, KnownChannel::Refused { text, code, next });
    }

    /// Looks for channels that fit and are not recorded, and records them.
    fn scan(&mut self) {
        self.watch.note();
        let names =
            self.watch.channels(|bus| self.config.channels.iter().any(|pattern| pattern.fits_bus(bus)));
        let now = Instant::now();
        let is_due = |name: &ChannelName| match self.known.get(name) {
            Some(KnownChannel::Recorded(_) | KnownChannel::Failed) => false,
            Some(KnownChannel::Refused { next, .. }) => now >= *next,
            None => !is_table(&self.base, name),
        };
        let due: Vec<ChannelName> =
            names.into_iter().filter(|name| self.config.wants(name) && is_due(name)).collect();
        let mut rest = &due[..];
        // A few at a time, so that a signal is noticed and the watchdog fed.
        while !rest.is_empty() && !interrupt::is_asked() {
            let most = descriptors::room(self.files_max).min(OPENED_AT_ONCE);
            if most == 0 {
                break;
            }
            let (some, later) = rest.split_at(rest.len().min(most));
            rest = later;
            self.record_some(some);
            self.feed();
        }
        self.leave_out(rest);
        self.tell_left_out();
    }

    /// Opens channels side by side: most of the time they wait for the disk.
    fn record_some(&mut self, names: &[ChannelName]) {
        let next = AtomicUsize::new(0);
        let opened = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..names.len().min(OPENERS) {
                // If the thread cannot be started, the others do its work.
                let _ = std::thread::Builder::new().spawn_scoped(scope, || {
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let report = self.open(name);
                        opened.lock().unwrap_or_else(PoisonError::into_inner).push((name.clone(), report));
                    }
                });
            }
        });
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let report = self.open(name);
            opened.lock().unwrap_or_else(PoisonError::into_inner).push((name.clone(), report));
        }
        let mut opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
        opened.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, report) in opened {
            self.note_opened(name, report);
        }
    }

    /// Puts off channels for which there are no descriptors, and reports all of them in one line.
    fn leave_out(&mut self, names: &[ChannelName]) {
        let next = Instant::now() + DESCRIPTORS_EVERY;
        for name in names.iter().filter(|_| !interrupt::is_asked()) {
            let text = descriptors::advice(self.files_max);
            self.known.insert(name.clone(), KnownChannel::Refused { text, code: 1, next });
        }
    }

    fn tell_left_out(&mut self) {
        let advice = descriptors::advice(self.files_max);
        let out =
            |known: &&KnownChannel| matches!(known, KnownChannel::Refused { text, .. } if *text == advice);
        let left_out = self.known.values().filter(out).count();
        if left_out > 0 && left_out != self.left_out {
            self.complain(&format!("{left_out} channels are not recorded: {advice}"));
        }
        self.left_out = left_out;
    }

    fn record(&mut self, name: ChannelName) {
        let report = self.open(&name);
        self.note_opened(name, report);
    }

    fn open(&self, name: &ChannelName) -> Result<OpenReport, Error> {
        let options = self.config.options(name);
        let channel = Bus::at(&self.base, name.bus()).and_then(|bus| bus.attach(name.channel()))?;
        self.recorders.record(&channel, &self.config.journal, &options)
    }

    fn note_opened(&mut self, name: ChannelName, report: Result<OpenReport, Error>) {
        let options = self.config.options(&name);
        match report {
            Err(error) if descriptors::are_missing(&error) => self.leave_out(&[name]),
            Ok(report) => {
                let what = if report.waits_for.is_some() { "" } else { "recording; " };
                self.say(&format!("{name}: {what}{report}"));
                crash_for_a_test(&self.recorders, &name);
                self.known.insert(name, KnownChannel::Recorded(options));
            }
            // It was removed again in the meantime.
            Err(Error::NotFound { .. }) if !name.paths(&self.base).ring.exists() => {
                self.known.remove(&name);
            }
            Err(error) => self.refuse(name, &error, "is not recorded"),
        }
    }

    /// The failure to end with when there is something to record, and none of it could be recorded.
    fn nothing_recorded(&self) -> Option<Failure> {
        let refused: Vec<(&str, u8)> = self
            .known
            .values()
            .filter_map(|known| match known {
                KnownChannel::Refused { text, code, .. } => Some((text.as_str(), *code)),
                _ => None,
            })
            .collect();
        let (_, code) = *refused.first()?;
        let text = match refused.len() {
            1 => "the only channel that fits cannot be recorded".to_owned(),
            count => format!("none of the {count} channels that fit can be recorded"),
        };
        (refused.len() == self.known.len()).then_some(Failure::Told { text, code })
    }

    /// Waits until every recording has made one round.
    fn await_recording(&self) {
        let recorded = self.known.values().filter(|known| matches!(known, KnownChannel::Recorded(_))).count();
        let patience = Instant::now() + Duration::from_secs(10);
        while self.recorders.statuses().len() < recorded
            && Instant::now() < patience
            && !interrupt::is_asked()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Does all the periodic work.
    fn look(&mut self) {
        let statuses = self.recorders.statuses();
        for text in self.troubles.see(&statuses) {
            self.complain(&text);
        }
        for status in &statuses {
            if let Some(error) = &status.error
                && matches!(self.known.get(&status.channel), Some(KnownChannel::Recorded(_)))
            {
                if status.crashed {
                    self.crashed(&status.channel, error);
                    continue;
                }
                if status.report.waits_for.is_some() {
                    // There was room, but it could not be opened.
                    let _ = self.recorders.stop_one(&status.channel);
                    self.refuse_text(status.channel.clone(), format!("{}: {error}", status.channel), 1);
                    continue;
                }
                self.complain(&format!("{}: {error}; it is not recorded any more", status.channel));
                self.known.insert(status.channel.clone(), KnownChannel::Failed);
                self.failed_ever = true;
            }
            if status.waits_for_readers && self.waiting.insert(status.channel.clone()) {
                self.complain(&format!(
                    "{}: --remove-consumed removes nothing: the channel has no durable subscription and no checkpoint",
                    status.channel
                ));
            }
            if status.removed {
                self.let_go(&status.channel, "was removed: its journal is drained and sealed");
            }
        }
        let is_retry_due = self.known.values().any(|known| match known {
            KnownChannel::Refused { next, .. } => Instant::now() >= *next,
            _ => false,
        });
        if !self.announced && self.base.is_dir() {
            self.announce();
        }
        if self.watch.has_changed() || is_retry_due {
            self.scan();
        }
        self.feed();
        self.line.show(&statuses);
    }

    /// Reports to systemd that this loop runs and that the threads record.
    fn feed(&mut self) {
        if let Some(limit) = self.notify.watchdog()
            && self.fed.elapsed() >= limit / 4
            && self.recorders.silence() < STUCK_AFTER.min(limit)
        {
            self.fed = Instant::now();
            self.notify.tell(&format!("WATCHDOG=1\nSTATUS={}", self.summary()));
        }
    }

    /// Deals with a recorder that has panicked: it is started again later, or the daemon ends.
    fn crashed(&mut self, name: &ChannelName, error: &str) {
        let now = Instant::now();
        let text = format!("{name}: {error}");
        // Forgets it: the events that it held are kept, and nothing is left to be drained.
        let _ = self.recorders.stop_one(name);
        let next = self.crashes.entry(name.clone()).or_default().note(now);
        match next {
            Some(next) => {
                let pause_ms = next.saturating_duration_since(now).as_millis();
                self.complain(&format!("{text}; its recorder is started again in {pause_ms} ms"));
                self.known.insert(name.clone(), KnownChannel::Refused { text, code: 1, next });
            }
            None => {
                self.complain(&format!("{text}; its recorder was started again too often"));
                self.known.insert(name.clone(), KnownChannel::Failed);
                self.failed_ever = true;
                let hopeless = format!("the recorder of {name} panics again and again, so journald ends");
                self.hopeless.get_or_insert(hopeless);
            }
        }
    }

    /// Drains, seals and forgets a channel.
    fn let_go(&mut self, name: &ChannelName, why: &str) {
        match self.recorders.stop_one(name) {
            Ok(()) => self.say(&format!("{name} {why}")),
            Err(error) => self.complain(&format!("{name} {why}, and that failed: {error}")),
        }
        self.known.remove(name);
        // Another channel may have its name already.
        self.watch.look_again();
    }

    /// Reads the config again, and applies the changes.
    fn reload(&mut self, flags: &Flags) {
        let now_us = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_or(0, |time| time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000);
        self.notify.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
        match Config::load(flags) {
            Err(failure) => {
                failure.tell();
                self.complain("the config was not reloaded: everything goes on as before");
            }
            Ok(new) if new.journal != self.config.journal || new.core != self.config.core => {
                self.complain(
                    "another journal directory, or core, needs a restart: everything goes on as before",
                );
            }
            Ok(new) => {
                self.config = new;
                self.announce();
                self.apply();
                self.say("the config was reloaded");
            }
        }
        self.notify.tell(&format!("READY=1\nSTATUS={}", self.summary()));
    }

    fn apply(&mut self) {
        let known: Vec<ChannelName> = self.known.keys().cloned().collect();
        for name in known {
            let new = self.config.options(&name);
            match self.known.get(&name) {
                Some(KnownChannel::Recorded(_)) if !self.config.wants(&name) => {
                    self.let_go(&name, "is not named any more: its journal is drained and sealed");
                }
                Some(KnownChannel::Recorded(old)) if *old != new => {
                    if old.clone() == adjusted(&new, old) {
                        self.recorders.adjust(&name, &new);
                        self.known.insert(name, KnownChannel::Recorded(new));
                    } else {
                        // The ring holds the events that are published in the meantime.
                        self.let_go(&name, "is recorded in another way from now on");
                        self.record(name);
                    }
                }
                Some(KnownChannel::Recorded(_)) => {}
                // A channel whose disk had failed is tried again.
                _ => {
                    let _ = self.recorders.stop_one(&name);
                    self.known.remove(&name);
                }
            }
        }
        self.scan();
    }

    fn summary(&self) -> String {
        let recorded = self.known.values().filter(|known| matches!(known, KnownChannel::Recorded(_))).count();
        let others = self.known.len() - recorded;
        match others {
            0 => format!("recording {recorded} channels"),
            _ => format!("recording {recorded} channels, {others} cannot be recorded"),
        }
    }

    fn stop(self) -> Outcome {
        let Daemon { recorders, line, failed_ever, .. } = self;
        line.clear();
        let mut failed = failed_ever;
        for status in recorders.stop() {
            let RecorderStatus { channel, state, error, end, .. } = status;
            match (state, error) {
                (JournalState::Stopped, _) => note(&format!("{channel}: sealed at position {end}")),
                // It was reported when it happened.
                (JournalState::Poisoned, _) if failed_ever => {}
                (_, error) => {
                    failed = true;
                    let error = error.unwrap_or_else(|| "its thread has ended without a word".to_owned());
                    say(&format!("{channel}: {error}"));
                }
            }
        }
        match failed {
            true => Err(Failure::new("not everything was recorded")),
            false => Ok(()),
        }
    }
}

/// `new`, but with the values of `old` for the options that may change while a channel is recorded.
/// It equals `old` when nothing else changed.
fn adjusted(new: &RecorderOptions, old: &RecorderOptions) -> RecorderOptions {
    new.clone().retention(old.retention).when_full(old.when_full).state_every(old.state_every)
}

/// In debug builds only: the recorder of the channel that the environment names panics, so that a
/// test sees the consequences. `thread:NAME` names the whole thread.
fn crash_for_a_test(recorders: &Recorders, name: &ChannelName) {
    if !cfg!(debug_assertions) {
        return;
    }
    match std::env::var("RAILBUS_TEST_CRASH_RECORDER") {
        Ok(asked) if asked == name.to_string() => recorders.crash(name),
        Ok(asked) if asked == format!("thread:{name}") => recorders.crash_thread(name),
        _ => {}
    }
}
