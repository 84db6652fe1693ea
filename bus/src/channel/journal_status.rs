//! `NAME.journal`: the progress of a channel's journal, which everybody may read.
//!
//! It is one page of words in the bus directory. Only the channel's journaller writes it; everybody
//! else maps it read-only ([`JournalView`]). A position in it is exclusive: everything *before* it
//! is written, durable, or taken from the ring.
//!
//! The journaller stores a position, counts `wake` up, and wakes the sleepers on that word. A
//! waiter reads `wake`, then the position, and then sleeps for a bounded slice. So no wake-up is
//! missed. A journaller that is killed between the store and the wake-up costs a slice.
//!
//! ```text
//! header page | written durable end first | wake | run state error pid ...
//!             | the last 16 gaps | error text | directory
//! ```
//!
//! The journaller proves its life by a lock on this file, as every participant does (`life.rs`). A
//! file without its lock belongs to a dead journaller. Gaps are stored before a position moves past
//! them. So nobody takes a position that has moved past a gap for a promise about the events that
//! are missing.

mod view;

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
pub(crate) use view::JournalView;

use railbus_log::disk::lock;
use railbus_log::format::Gap;
use railbus_log::shortage::Shortage;
use railbus_os::file_id::FileId;
use railbus_os::mapping::{Mapping, page_bytes};
use railbus_os::{act_as, clock, futex, process};
use railbus_ring::layout::journal as layout;
use railbus_ring::memory::{Edge, Memory};

use crate::channel::ChannelPaths;
use crate::channel::attach::Attached;
use crate::channel::life::{LifeClaim, LifeLock};
use crate::channel::mapped::Trusted;
use crate::channel::side_file::{self, Companion};
use crate::error::{Error, Result};

/// The most tries, a millisecond apart, for the lock of another journaller. One that was killed
/// keeps its lock only while the kernel tears it down.
const TAKE_OVER_TRIES: u32 = 100;

/// How often the page is made again when strangers have locked it.
const REMAKE_TRIES: u32 = 20;

/// The name of the file in a journal's directory that records that the channel was removed on
/// purpose, so that it is not made again.
pub(crate) const REMOVED: &str = "removed";

/// The activity of a journal at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JournalState {
    /// Its journaller recovers what is on disk.
    Starting,
    /// It records.
    Recording,
    /// Its journaller was asked to stop, and writes what it still holds.
    Draining,
    /// Its journaller has stopped. Everything that it took is durable.
    Stopped,
    /// The disk failed. Nothing more is recorded until a journaller starts again.
    Poisoned,
    /// Its journaller has died. The next one continues.
    Dead,
}

impl JournalState {
    /// The state in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            JournalState::Starting => "starting",
            JournalState::Recording => "recording",
            JournalState::Draining => "draining",
            JournalState::Stopped => "stopped",
            JournalState::Poisoned => "poisoned",
            JournalState::Dead => "dead",
        }
    }

    const fn code(self) -> u64 {
        match self {
            JournalState::Starting | JournalState::Dead => 1,
            JournalState::Recording => 2,
            JournalState::Draining => 3,
            JournalState::Stopped => 4,
            JournalState::Poisoned => 5,
        }
    }
}

/// The positions and counts of a journal: the result of
/// [`Channel::journal_positions`](crate::Channel::journal_positions).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalPositions {
    /// The activity of the journal.
    pub state: JournalState,
    /// Everything before this position is in the journal and survives the death of any process.
    pub written: u64,
    /// Everything before this position survives the death of the machine.
    pub durable: u64,
    /// Everything before this position was taken from the ring.
    pub end: u64,
    /// The oldest position in the journal.
    pub first: u64,
    /// The directory of the journal.
    pub directory: PathBuf,
    /// The journaller's process, in its own PID namespace.
    pub pid: u32,
    /// The time when it started, CLOCK_REALTIME in ns.
    pub started_ns: u64,
    /// The number of events that it has recorded since then.
    pub events: u64,
    /// The bytes of those events.
    pub bytes: u64,
    /// The number of gaps since then: lossy overruns, a full disk, events that a dead journaller
    /// lost.
    pub gaps: u64,
    /// The number of events in those gaps, as far as they could be counted.
    pub lost: u64,
    /// Whether the disk is full at the moment.
    pub no_space: bool,
    /// How often a recorder of this channel has panicked since the channel was made, or made again.
    pub crashes: u64,
    /// The resource for which the journal waits at the moment: room on the disk, descriptors,
    /// memory.
    pub shortage: Option<Shortage>,
    /// The last failure that is tried again, such as the removal of an old segment; `None` once it
    /// has succeeded.
    pub warning: Option<String>,
    /// The error that poisoned the journal, if it is poisoned.
    pub error: Option<String>,
}

/// One of the two promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    Written,
    Durable,
}

impl Promise {
    fn word(self) -> usize {
        match self {
            Promise::Written => layout::WRITTEN,
            Promise::Durable => layout::DURABLE,
        }
    }
}

/// Records in the journal's directory that the channel was removed on purpose, so that it is not
/// taken for lost and made again. A failure is ignored: a user who may remove a channel need not
/// have a right to its journal.
pub(crate) fn note_removal(paths: &ChannelPaths) {
    if let Some(journal) = JournalNamed::by(paths) {
        // Never through a link, and never over a file.
        let _ = journal.write(|directory| {
            let path = directory.join(REMOVED);
            let made = OpenOptions::new().write(true).create_new(true).open(&path);
            made.map(|_| ()).map_err(|error| Error::io("create", &path, error))
        });
    }
}

/// The directory of a channel's journal, as `NAME.journal` names it, and the user who wrote that
/// name.
#[derive(Debug)]
pub(crate) struct JournalNamed {
    directory: PathBuf,
    /// The owner (uid, gid) of the file that names it.
    owner: (u32, u32),
    /// Whether this process's user or root wrote the name, and nobody else can have.
    is_own_word: bool,
}

impl JournalNamed {
    /// The journal that a channel has, or had in an earlier incarnation, as far as its files show.
    pub(crate) fn by(paths: &ChannelPaths) -> Option<JournalNamed> {
        use std::os::unix::ffi::OsStringExt;
        let file = side_file::open(&paths.journal, false).ok()??;
        let about = file.metadata().ok()?;
        let found = Companion::read(&file, layout::PAGE_MAGIC).ok()??;
        if found.file_bytes != layout::PAGE_BYTES as u64 {
            return None;
        }
        let mut directory = vec![0; layout::DIRECTORY_BYTES];
        file.read_exact_at(&mut directory, (layout::HEADER_BYTES + layout::DIRECTORY) as u64).ok()?;
        directory.truncate(directory.iter().position(|&byte| byte == 0).unwrap_or(0));
        let directory = PathBuf::from(std::ffi::OsString::from_vec(directory));
        directory.join(lock::LOCK_NAME).exists().then_some(JournalNamed {
            directory,
            owner: (about.uid(), about.gid()),
            is_own_word: act_as::is_own_word(&about),
        })
    }

    /// Writes into the directory. If another user named it, root writes with that user's rights. So
    /// nothing is written that this user could not write himself.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] if another user named it and this process is not root; those of
    /// `write`.
    pub(crate) fn write(&self, write: impl FnOnce(&Path) -> Result<()> + Send) -> Result<()> {
        if self.is_own_word {
            return write(&self.directory);
        }
        let (uid, gid) = self.owner;
        let refused = || Error::NotAllowed {
            action: "write into the journal directory",
            path: self.directory.clone(),
            why: format!(
                "user {uid} wrote that the channel's journal is there, and this process is user {}; do it as that \
                 user, or as root, which then uses that user's rights",
                act_as::user()
            ),
        };
        match act_as::as_user(uid, gid, || write(&self.directory)) {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(refused()),
            Err(error) => Err(Error::io("start a thread for", &self.directory, error)),
        }
    }
}

/// The words of a mapped `NAME.journal`.
fn words(mapping: &Mapping) -> Trusted {
    // SAFETY: the file has two pages, of which the second holds the words; it is mapped whole.
    let at = unsafe { mapping.base().as_ptr().add(layout::HEADER_BYTES) };
    // SAFETY: the owner of the mapping keeps it as long as the words, and only the journaller
    // stores.
    unsafe { Trusted::trusted(at, layout::PAGE_BYTES - layout::HEADER_BYTES, false) }
}

fn read_text(words: &Trusted, at: usize, bytes: usize) -> Vec<u8> {
    let mut text: Vec<u8> =
        (0..bytes / 8).flat_map(|i| words.load(at + i * 8, Edge::Plain).to_le_bytes()).collect();
    text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(bytes));
    text
}

fn write_text(words: &Trusted, at: usize, bytes: usize, text: &[u8]) {
    let mut padded = vec![0u8; bytes];
    let length = text.len().min(bytes - 1);
    padded[..length].copy_from_slice(&text[..length]);
    for (i, word) in padded.chunks_exact(8).enumerate() {
        let mut long = [0; 8];
        long.copy_from_slice(word);
        words.store(at + i * 8, u64::from_le_bytes(long), Edge::Plain);
    }
}

/// The journaller's end of `NAME.journal`. Only one exists at a time, because it holds the lock.
#[derive(Debug)]
pub(crate) struct StatusPage {
    words: Trusted,
    reason_of_poison: bool,
    // The lock goes after the last word was stored.
    _life: LifeLock,
    _mapping: Mapping,
}

impl StatusPage {
    /// Becomes the journaller of `channel`, whose journal is in `directory`. The state is
    /// *starting*.
    ///
    /// # Errors
    /// [`Error::Busy`] while another one lives; [`Error::NotAllowed`] if this process may not make
    /// files in the bus's directory, or the file belongs to another user.
    pub(crate) fn claim(channel: &Attached, directory: &Path, sync: u64) -> Result<StatusPage> {
        let path = &channel.paths.journal;
        let header = &channel.header;
        let wanted = Companion {
            magic: layout::PAGE_MAGIC,
            channel_id: header.channel_id,
            incarnation: header.incarnation,
            file_bytes: layout::PAGE_BYTES as u64,
            blocks: 0,
            blocks_offset: 0,
        };
        let mut keep = true;
        for _ in 0..REMAKE_TRIES {
            let (mapping, mut claim) = StatusPage::open(channel, wanted, keep)?;
            let words = words(&mapping);
            let mut tries = 0;
            loop {
                if claim.try_life(0)? {
                    let life = claim.into_life()?;
                    let page = StatusPage { words, reason_of_poison: false, _life: life, _mapping: mapping };
                    page.begin(directory, sync);
                    return Ok(page);
                }
                if !claim.is_life_locked(0)? {
                    // There are only shared locks of strangers, who may read the file. They stay
                    // with the old file.
                    keep = false;
                    break;
                }
                tries += 1;
                if tries > TAKE_OVER_TRIES {
                    let pid = words.load(layout::PID, Edge::Plain);
                    return Err(Error::Busy {
                        what: format!("the journal of {}", channel.name),
                        why: format!("process {pid} records it; a channel has one journaller at a time"),
                    });
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        Err(Error::Busy {
            what: format!("the journal of {}", channel.name),
            why: format!("somebody who may read {} locks it all the time", path.display()),
        })
    }

    /// Opens the page, or makes it. An existing page is replaced if it is not to be kept.
    fn open(channel: &Attached, wanted: Companion, keep: bool) -> Result<(Mapping, LifeClaim)> {
        let path = &channel.paths.journal;
        // Positions are no secret, and both producers and consumers wait for them.
        let is_kept = |found: &Companion| keep && *found == wanted;
        let (file, _) = side_file::open_or_make(channel, path, wanted, 0o644, is_kept)?;
        let id = FileId::of(file.as_fd()).map_err(|error| Error::io("examine", path, error))?;
        let mapping = Mapping::of_file(&file, 0, layout::PAGE_BYTES, true, page_bytes())
            .map_err(|error| Error::io("map", path, error))?;
        mapping.populate(true).map_err(|error| Error::io("fault in", path, error))?;
        Ok((mapping, LifeClaim::open(path, id)?))
    }

    fn begin(&self, directory: &Path, sync: u64) {
        use std::os::unix::ffi::OsStrExt;
        let words = &self.words;
        let run = words.load(layout::RUN, Edge::Plain) & !1;
        // STATE: odd while the words that it guards are being filled in.
        words.store(layout::RUN, run + 1, Edge::State);
        words.fence(Edge::Overwrite);
        words.store(layout::STATE, JournalState::Starting.code(), Edge::State);
        for word in [layout::ERROR_CLASS, layout::ERRNO, layout::EVENTS, layout::BYTES, layout::LOST] {
            words.store(word, 0, Edge::Plain);
        }
        words.store(layout::GAPS, 0, Edge::Plain);
        words.store(layout::NO_SPACE, 0, Edge::Plain);
        words.store(layout::PID, process::pid() as u64, Edge::Plain);
        words.store(layout::STARTED_NS, clock::realtime_ns(), Edge::Plain);
        words.store(layout::SYNC, sync, Edge::Plain);
        write_text(words, layout::ERROR, layout::ERROR_BYTES, b"");
        write_text(words, layout::DIRECTORY, layout::DIRECTORY_BYTES, directory.as_os_str().as_bytes());
        // STATE: everything above is whole when the even number is seen.
        words.store(layout::RUN, run + 2, Edge::State);
    }

    /// Stores the positions of the journal at the start.
    pub(crate) fn start_at(&self, first: u64, written: u64, durable: u64, end: u64) {
        self.words.store(layout::FIRST, first, Edge::Plain);
        self.words.store(layout::END, end, Edge::State);
        self.words.store(layout::WRITTEN, written, Edge::State);
        self.words.store(layout::DURABLE, durable, Edge::State);
        self.wake();
    }

    /// Stores the present positions, and wakes waiters if something moved. Two system calls at
    /// most.
    pub(crate) fn advance(&self, written: u64, durable: u64, end: u64) {
        let words = &self.words;
        if words.load(layout::END, Edge::Plain) != end {
            words.store(layout::END, end, Edge::State);
        }
        let moved = words.load(layout::WRITTEN, Edge::Plain) != written
            || words.load(layout::DURABLE, Edge::Plain) != durable;
        if moved {
            // STATE: gaps before these positions were stored before.
            words.store(layout::WRITTEN, written, Edge::State);
            words.store(layout::DURABLE, durable, Edge::State);
            self.wake();
        }
    }

    /// Stores the counts of what was recorded.
    pub(crate) fn count(&self, events: u64, bytes: u64) {
        self.words.store(layout::EVENTS, events, Edge::Plain);
        self.words.store(layout::BYTES, bytes, Edge::Plain);
    }

    /// Stores the oldest position that is still in the journal.
    pub(crate) fn set_first(&self, first: u64) {
        self.words.store(layout::FIRST, first, Edge::Plain);
    }

    /// Stores the resource for which the journal waits.
    pub(crate) fn set_shortage(&self, shortage: Option<Shortage>) {
        self.words.store(layout::NO_SPACE, Shortage::code(shortage), Edge::Plain);
    }

    /// Stores a warning about what is tried again; empty if there is none. Nobody waits for it, and
    /// a reader may find half of it.
    pub(crate) fn set_warning(&self, text: &str) {
        if !self.reason_of_poison {
            write_text(&self.words, layout::ERROR, layout::ERROR_BYTES, text.as_bytes());
        }
    }

    /// Records that no position from `from`, the end of the journal, to `to` carries an event. It
    /// is called before the cursor passes them, because afterwards nobody could find out. The words
    /// outlive this journaller.
    pub(crate) fn note_skipped(&self, from: u64, to: u64) {
        // STATE: a reader that finds an end also finds its beginning.
        self.words.store(layout::SKIPPED_TO, 0, Edge::State);
        self.words.store(layout::SKIPPED_FROM, from, Edge::State);
        self.words.store(layout::SKIPPED_TO, to, Edge::State);
    }

    /// The first position behind `end`, where the journal ends, that may have carried an event, as
    /// far as the journaller before this one recorded it.
    pub(crate) fn skipped(&self, end: u64) -> u64 {
        let to = self.words.load(layout::SKIPPED_TO, Edge::State);
        if self.words.load(layout::SKIPPED_FROM, Edge::State) <= end { end.max(to) } else { end }
    }

    /// Records a gap, before any position moves past it. A gap that continues the last one extends
    /// it.
    pub(crate) fn note_gap(&self, gap: &Gap) {
        let words = &self.words;
        let count = words.load(layout::GAPS, Edge::Plain);
        let at = |n: u64| layout::GAP + (n % layout::GAPS_KEPT as u64) as usize * 24;
        let lost = words.load(layout::LOST, Edge::Plain);
        let events = if gap.events == u64::MAX { 0 } else { gap.events };
        words.store(layout::LOST, lost.saturating_add(events), Edge::Plain);
        if count > 0 {
            let last = at(count - 1);
            let same = words.load(last + 16, Edge::Plain) == gap.reason as u64;
            if same && words.load(last + 8, Edge::Plain) == gap.from {
                words.store(last + 8, gap.to, Edge::State);
                self.wake();
                return;
            }
        }
        let next = at(count);
        // STATE: an entry whose end is 0 is being changed.
        words.store(next + 8, 0, Edge::State);
        words.fence(Edge::Overwrite);
        words.store(next, gap.from, Edge::Plain);
        words.store(next + 16, gap.reason as u64, Edge::Plain);
        words.store(next + 8, gap.to, Edge::State);
        // STATE: the entry is filled before it counts.
        words.store(layout::GAPS, count + 1, Edge::State);
        self.wake();
    }

    /// Stores the activity of the journal.
    pub(crate) fn set_state(&self, state: JournalState) {
        if !self.reason_of_poison {
            self.words.store(layout::STATE, state.code(), Edge::State);
            self.wake();
        }
    }

    /// Records that the disk failed or, if `crashed`, the recorder itself. Only another journaller
    /// changes that.
    pub(crate) fn poison(&mut self, error: &Error, crashed: bool) {
        if self.reason_of_poison {
            return;
        }
        self.reason_of_poison = true;
        if crashed {
            let before = self.words.load(layout::CRASHES, Edge::Plain);
            self.words.store(layout::CRASHES, before.saturating_add(1), Edge::Plain);
        }
        let errno = match error {
            Error::Io { source, .. } => source.raw_os_error().unwrap_or(0),
            _ => 0,
        };
        write_text(&self.words, layout::ERROR, layout::ERROR_BYTES, error.to_string().as_bytes());
        self.words.store(layout::ERROR_CLASS, error.exit_code().into(), Edge::Plain);
        self.words.store(layout::ERRNO, errno as u64, Edge::Plain);
        // STATE: the error is stored before the state.
        self.words.store(layout::STATE, JournalState::Poisoned.code(), Edge::State);
        self.wake();
    }

    fn wake(&self) {
        // WAKE: the position was stored before. A sleeper that read this word earlier does not fall
        // asleep on it.
        self.words.fetch_add(layout::WAKE, 1, Edge::Wake);
        futex::wake(self.words.address(layout::WAKE).cast_const().cast(), u32::MAX >> 1);
    }
}

// SAFETY: the words are shared memory that is accessed atomically only, and mapped as long as the
// view lives.
unsafe impl Sync for JournalView {}
