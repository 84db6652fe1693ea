//! A channel whose journal cannot be opened yet, because its disk is full.
//!
//! Opening may need room: for what a killed journaller had staged, for the next segment, and on a
//! copy-on-write file system for the seal. Until there is some, the channel has a journaller all
//! the same. It holds `NAME.journal`, which reports the shortage, and treats new events according
//! to the policy. With [`WhenFull::Block`] it leaves them in the ring. With [`WhenFull::Drop`] it
//! reads and releases them, and the journal gets a gap for them when it is opened. Staged events
//! stay in the staging.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use railbus_log::format::{Gap, GapReason, SEGMENT_BYTES_MIN};
use railbus_log::shortage::Shortage;
use railbus_os::clock;

use crate::channel::journal_status::{JournalState, StatusPage};
use crate::channel::open::Channel;
use crate::error::{Error, RecvError, Result};
use crate::journal::open_report::OpenReport;
use crate::journal::options::{RecorderOptions, WhenFull};
use crate::journal::record::doorbell::{Announced, Sleep};
use crate::journal::record::intake::Intake;
use crate::journal::record::opening::{self, directory_of};
use crate::journal::record::recording::{Figures, Recording, Round};
use crate::journal::record::stage_file::Stage;

/// How often to check at first whether there is room, and how often at last, in ns.
const RETRY_NS: u64 = 250_000_000;
const RETRY_NS_MAX: u64 = 4_000_000_000;
/// Most events that are dropped in one round.
const ROUND_EVENTS: u64 = 4096;

/// A journaller that waits for room on the disk.
pub(crate) struct WaitingJournal {
    channel: Channel,
    journal: PathBuf,
    directory: PathBuf,
    options: RecorderOptions,
    page: StatusPage,
    /// Reads the events to be dropped; `None` while publishers must wait.
    intake: Option<Intake>,
    /// The events that were dropped.
    gap: Option<Gap>,
    announced: Announced,
    /// How often it checks for room, in ns. The interval is doubled when there was some and it was
    /// not enough.
    retry_ns: u64,
    next_look_ns: u64,
    /// Whether there may be room.
    is_time: bool,
    removed: bool,
}

/// The result of an attempt to open a journal.
pub(crate) enum OpenedJournal {
    /// The journal is open and records.
    Recording(Box<Recording>),
    /// The disk of the journal is full.
    Waiting(Box<WaitingJournal>),
}

impl OpenedJournal {
    /// The state of the journal.
    pub(crate) fn state(&self) -> JournalState {
        match self {
            OpenedJournal::Recording(_) => JournalState::Recording,
            OpenedJournal::Waiting(_) => JournalState::Starting,
        }
    }

    pub(crate) fn channel(&self) -> &Channel {
        match self {
            OpenedJournal::Recording(one) => &one.channel,
            OpenedJournal::Waiting(one) => &one.channel,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        match self {
            OpenedJournal::Recording(one) => one.directory(),
            OpenedJournal::Waiting(one) => &one.directory,
        }
    }

    /// Whether the channel has been removed, so that nothing more will come.
    pub(crate) fn is_removed(&self) -> bool {
        match self {
            OpenedJournal::Recording(one) => one.is_removed(),
            OpenedJournal::Waiting(one) => one.removed,
        }
    }

    /// Whether retention should remove what all consumers have read, and no consumer reads durably.
    pub(crate) fn waits_for_readers(&self) -> bool {
        matches!(self, OpenedJournal::Recording(one) if one.waits_for_readers())
    }

    /// Changes the options that may change during recording.
    pub(crate) fn adjust(&mut self, options: &RecorderOptions) {
        match self {
            OpenedJournal::Recording(one) => one.adjust(options),
            OpenedJournal::Waiting(one) => one.adjust(options),
        }
    }

    pub(crate) fn round(&mut self, wait: Duration) -> Result<Round> {
        match self {
            OpenedJournal::Recording(one) => one.round(wait),
            OpenedJournal::Waiting(one) => one.round(),
        }
    }

    /// Whether it waits and there may be room now. If so, the caller calls [`open`](Self::open).
    pub(crate) fn is_time_to_open(&self) -> bool {
        matches!(self, OpenedJournal::Waiting(one) if one.is_time)
    }

    /// Tries to open the journal again. Dropped events become a gap in it.
    ///
    /// # Errors
    /// Those of [`open_or_wait`]. After an error this process no longer waits for the channel.
    pub(crate) fn open(self) -> Result<(OpenedJournal, OpenReport)> {
        match self {
            OpenedJournal::Recording(_) => Ok((self, OpenReport::default())),
            OpenedJournal::Waiting(one) => one.open(),
        }
    }

    pub(crate) fn announce(&mut self, sleep: &mut Sleep) {
        match self {
            OpenedJournal::Recording(one) => one.announce(sleep),
            OpenedJournal::Waiting(one) => one.announce(sleep),
        }
    }

    pub(crate) fn finish(&mut self) -> Result<()> {
        match self {
            OpenedJournal::Recording(one) => one.finish(),
            OpenedJournal::Waiting(one) => Err(one.unfinished()),
        }
    }

    pub(crate) fn poison(&mut self, error: &Error, crashed: bool) {
        match self {
            OpenedJournal::Recording(one) => one.poison(error, crashed),
            OpenedJournal::Waiting(one) => one.page.poison(error, crashed),
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        match self {
            OpenedJournal::Recording(one) => one.figures(),
            OpenedJournal::Waiting(one) => one.figures(),
        }
    }
}

/// Opens the journal of `channel` below `journal`, or waits for room on its disk.
///
/// # Errors
/// Those of [`opening::open`]; [`Error::NoSpace`] only when shared memory is full, and not the
/// journal's disk.
pub(crate) fn open_or_wait(
    channel: &Channel,
    journal: &Path,
    options: &RecorderOptions,
) -> Result<(OpenedJournal, OpenReport)> {
    channel.expect_events("journal")?;
    let journal = std::path::absolute(journal).map_err(|error| Error::io("find", journal, error))?;
    try_to_open(channel, &journal, options, None, RETRY_NS)
}

fn try_to_open(
    channel: &Channel,
    journal: &Path,
    options: &RecorderOptions,
    gap: Option<Gap>,
    retry_ns: u64,
) -> Result<(OpenedJournal, OpenReport)> {
    match opening::open(channel, journal, options, gap) {
        Ok((recording, report)) => Ok((OpenedJournal::Recording(Box::new(recording)), report)),
        // If shared memory is not full, the disk is.
        Err(Error::NoSpace { .. }) if Stage::open(channel, options.blocks(channel.header())).is_ok() => {
            let waiting = WaitingJournal::begin(channel, journal, options, gap, retry_ns)?;
            let report = OpenReport {
                directory: waiting.directory.clone(),
                waits_for: Some(Shortage::Space),
                ..OpenReport::default()
            };
            Ok((OpenedJournal::Waiting(Box::new(waiting)), report))
        }
        Err(error) => Err(error),
    }
}

/// Whether the disk of a journal's directory has room for a small segment. It tries that in a file
/// without a name.
fn has_room(directory: &Path) -> bool {
    let place = directory.ancestors().find(|path| path.is_dir()).unwrap_or(directory);
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    match open(place, flags, Mode::from_bits_truncate(0o600)) {
        Ok(descriptor) => {
            let file = File::from(descriptor);
            // SAFETY: allocates blocks of an open file that no other code has; touches no memory of
            // this process.
            let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, SEGMENT_BYTES_MIN as libc::off_t) };
            result == 0 || Shortage::of(&std::io::Error::last_os_error()).is_none()
        }
        // Where files without a name cannot be made, the only test is to open the journal.
        Err(error) => Shortage::of(&error.into()).is_none(),
    }
}

impl WaitingJournal {
    fn begin(
        channel: &Channel,
        journal: &Path,
        options: &RecorderOptions,
        gap: Option<Gap>,
        retry_ns: u64,
    ) -> Result<WaitingJournal> {
        let directory = directory_of(journal, channel.name());
        let page = StatusPage::claim(channel.attached(), &directory, opening::sync_word(options))?;
        page.set_shortage(Some(Shortage::Space));
        if let Some(gap) = &gap {
            page.note_gap(gap);
        }
        let intake = match options.when_full {
            WhenFull::Drop => Some(Intake::join(channel, None, options.lossy)?.0),
            WhenFull::Block => None,
        };
        Ok(WaitingJournal {
            channel: channel.clone(),
            journal: journal.to_owned(),
            directory,
            options: options.clone(),
            page,
            intake,
            gap,
            announced: Announced::default(),
            retry_ns,
            next_look_ns: clock::monotonic_ns() + retry_ns,
            is_time: false,
            removed: false,
        })
    }

    /// Takes over the options that may change. If the ring cannot be read now, dropping begins only
    /// when the journal is opened.
    fn adjust(&mut self, options: &RecorderOptions) {
        self.options.adjust(options);
        self.intake = match (self.options.when_full, self.intake.take()) {
            (WhenFull::Drop, None) => {
                Intake::join(&self.channel, None, self.options.lossy).ok().map(|(intake, _)| intake)
            }
            (WhenFull::Drop, intake) => intake,
            (WhenFull::Block, _) => None,
        };
    }

    /// Drops events, if that is the policy, and checks now and then whether there is room.
    fn round(&mut self) -> Result<Round> {
        let dropped = self.drop_events()?;
        let now_ns = clock::monotonic_ns();
        if now_ns >= self.next_look_ns {
            self.next_look_ns = now_ns + self.retry_ns;
            self.removed = self.channel.is_removed()?;
            self.is_time = !self.removed && has_room(&self.directory);
        }
        Ok(Round { moved: dropped > 0, in_flight: false, due_ns: Some(self.next_look_ns) })
    }

    fn drop_events(&mut self) -> Result<u64> {
        let Some(intake) = &mut self.intake else { return Ok(0) };
        let mut gap: Option<Gap> = None;
        let mut dropped = 0;
        while dropped < ROUND_EVENTS {
            let (from, to, events) = match intake.take() {
                Ok(Some(event)) => (event.position, event.end_position, 1),
                Ok(None) => break,
                Err(RecvError::Lost { from, to, events }) => (from, to, events),
                Err(error) => {
                    return Err(Error::PeerGone {
                        what: format!("the journaller's subscription of {}", self.channel.name()),
                        why: error.to_string(),
                    });
                }
            };
            dropped += 1;
            let (from, events) =
                gap.map_or((from, events), |gap| (gap.from, gap.events.saturating_add(events)));
            gap = Some(Gap { from, to, events, reason: GapReason::DiskFull });
        }
        if let Some(gap) = gap {
            self.page.note_gap(&gap);
            let before = self.gap.map_or((gap.from, 0), |before| (before.from, before.events));
            self.gap = Some(Gap { from: before.0, events: before.1.saturating_add(gap.events), ..gap });
            intake.release();
        } else {
            intake.step_over_the_dead();
        }
        Ok(dropped)
    }

    fn open(self) -> Result<(OpenedJournal, OpenReport)> {
        let WaitingJournal { channel, journal, options, page, intake, gap, retry_ns, .. } = self;
        // This process takes the same place again when it opens the journal.
        drop(intake);
        drop(page);
        try_to_open(&channel, &journal, &options, gap, (2 * retry_ns).min(RETRY_NS_MAX))
    }

    fn announce(&mut self, sleep: &mut Sleep) {
        if let Some(intake) = &self.intake {
            let member = intake.member();
            let is_queue = member.channel.header().kind == crate::channel::Kind::Queue;
            sleep.announce(&member.memories, is_queue, &mut self.announced);
        }
    }

    /// Returns the error when it must stop: nothing was recorded, and staged events wait for the
    /// next journaller.
    fn unfinished(&self) -> Error {
        Error::NoSpace {
            what: format!("the journal {}", self.directory.display()),
            why: "the disk is full; what a journaller had in hand before stays in memory for the next one"
                .into(),
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            lost: self.gap.map_or(0, |gap| gap.events),
            shortage: Some(Shortage::Space),
            drops: self.intake.is_some(),
            ..Figures::default()
        }
    }
}
