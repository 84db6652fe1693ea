//! Looking at the status page of a journal, from any process.

use std::os::fd::AsFd;
use std::path::PathBuf;

use railbus_log::format::GapReason;
use railbus_log::shortage::Shortage;
use railbus_os::file_id::FileId;
use railbus_os::fork::ForkGuard;
use railbus_os::futex;
use railbus_os::mapping::{Mapping, page_bytes};
use railbus_ring::layout::journal as layout;
use railbus_ring::memory::{Edge, Memory};

use super::{JournalPositions, JournalState, Promise, read_text, words};
use crate::channel::attach::Attached;
use crate::channel::life::{Liveness, Probe};
use crate::channel::mapped::Trusted;
use crate::channel::side_file::{self, Companion};
use crate::error::{Error, Result};

/// The end of `NAME.journal` that everybody else has. It is read-only.
#[derive(Debug)]
pub(crate) struct JournalView {
    pub(super) words: Trusted,
    pub(super) probe: std::sync::Mutex<Probe>,
    pub(super) guard: ForkGuard,
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) _mapping: Mapping,
}

impl JournalView {
    /// Opens the page.
    ///
    /// # Errors
    /// [`Error::PeerGone`] if the channel has no journal; [`Error::NotAllowed`]; [`Error::Io`].
    pub(crate) fn open(channel: &Attached) -> Result<JournalView> {
        let path = channel.paths.journal.clone();
        let none = |why: &str| Error::PeerGone {
            what: format!("the journal of {}", channel.name),
            why: format!("{why}; start `railbus journald`, or a Recorder"),
        };
        let Some(file) = side_file::open(&path, false)? else {
            return Err(none("nothing records this channel"));
        };
        let found =
            Companion::read(&file, layout::PAGE_MAGIC).map_err(|error| Error::io("read", &path, error))?;
        let found = found.filter(|found| found.file_bytes == layout::PAGE_BYTES as u64);
        if !found.is_some_and(|found| found.is_of(channel)) {
            return Err(none("what is there belongs to another channel, or another version"));
        }
        let id = FileId::of(file.as_fd()).map_err(|error| Error::io("examine", &path, error))?;
        let mapping = Mapping::of_file(&file, 0, layout::PAGE_BYTES, false, page_bytes())
            .map_err(|error| Error::io("map", &path, error))?;
        mapping.populate(true).map_err(|error| Error::io("fault in", &path, error))?;
        let guard = ForkGuard::current().map_err(|error| Error::io("watch for forks", &path, error))?;
        let probe = std::sync::Mutex::new(Probe::open(&path, id)?);
        let words = words(&mapping);
        Ok(JournalView { words, probe, guard, name: channel.name.to_string(), path, _mapping: mapping })
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.guard.is_forked()
    }

    /// Whether the journaller is dead, by proof. Two system calls.
    pub(crate) fn is_dead(&self) -> bool {
        self.probe.lock().unwrap_or_else(std::sync::PoisonError::into_inner).life(0) == Liveness::Dead
    }

    /// The position that a promise has reached.
    pub(crate) fn reached(&self, promise: Promise) -> u64 {
        self.words.load(promise.word(), Edge::State)
    }

    /// The state in the state word. It never says *dead*, which [`is_dead`](Self::is_dead) finds
    /// out.
    pub(crate) fn state(&self) -> JournalState {
        match self.words.load(layout::STATE, Edge::State) {
            2 => JournalState::Recording,
            3 => JournalState::Draining,
            4 => JournalState::Stopped,
            5 => JournalState::Poisoned,
            _ => JournalState::Starting,
        }
    }

    /// The word on which sleepers sleep.
    pub(crate) fn wake_word(&self) -> u32 {
        self.words.load(layout::WAKE, Edge::Wake) as u32
    }

    /// Sleeps until something has moved since `wake` was read, at most for `slice`.
    pub(crate) fn sleep(&self, wake: u32, slice: std::time::Duration) -> futex::Outcome {
        let word = self.words.address(layout::WAKE).cast();
        // SAFETY: the word is mapped as long as this view lives (its low half comes first:
        // little-endian), and is accessed atomically only.
        let word = unsafe { std::sync::atomic::AtomicU32::from_ptr(word) };
        futex::wait(word, wake, Some(slice))
    }

    /// The reason why the event at `position` will never be in the journal, if it is in a gap. To
    /// be called after a position was read that has passed it.
    pub(crate) fn missing(&self, position: u64) -> Option<Error> {
        let gone = |why: &str| {
            Some(Error::PeerGone { what: format!("event {position} of {}", self.name), why: why.to_owned() })
        };
        // STATE: an entry was filled before it counted.
        let count = self.words.load(layout::GAPS, Edge::State);
        let kept = count.min(layout::GAPS_KEPT as u64);
        let mut oldest = u64::MAX;
        for n in count - kept..count {
            let at = layout::GAP + (n % layout::GAPS_KEPT as u64) as usize * 24;
            let to = self.words.load(at + 8, Edge::State);
            let (from, reason) = (self.words.load(at, Edge::Plain), self.words.load(at + 16, Edge::Plain));
            self.words.fence(Edge::Validate);
            // A gap that grows in the meantime is as good as it was. An entry that is being used
            // again was the oldest.
            let is_whole = to != 0 && self.words.load(at + 8, Edge::Plain) >= to;
            oldest = oldest.min(from);
            if !is_whole || !(from..to).contains(&position) {
                continue;
            }
            return match reason {
                reason if reason == GapReason::DiskFull as u64 => Some(Error::NoSpace {
                    what: format!("event {position} of {} in its journal", self.name),
                    why: "the disk was full, and the journal's policy is to drop".to_owned(),
                }),
                reason if reason == GapReason::Overrun as u64 => {
                    gone("the lossy journal was overrun before it had read it")
                }
                reason if reason == GapReason::StagingLost as u64 => {
                    gone("the journaller died, and what it had in hand was lost")
                }
                _ => gone("the channel was not being recorded then"),
            };
        }
        if count > kept && position < oldest {
            return gone("there were too many gaps since to say whether it is in the journal");
        }
        None
    }

    /// The error that poisoned the journal.
    pub(crate) fn poison(&self) -> Error {
        let text =
            String::from_utf8_lossy(&read_text(&self.words, layout::ERROR, layout::ERROR_BYTES)).into_owned();
        let errno = self.words.load(layout::ERRNO, Edge::Plain) as i32;
        let class = self.words.load(layout::ERROR_CLASS, Edge::Plain);
        let what = format!("the journal of {}", self.name);
        match class {
            5 => Error::corrupt(what, text),
            6 => Error::NoSpace { what, why: text },
            4 => Error::NotAllowed {
                action: "go on with the journal of which tells",
                path: self.path.clone(),
                why: text,
            },
            7 => Error::PeerGone { what, why: format!("it has failed: {text}") },
            _ => {
                let kind = if errno == 0 {
                    std::io::ErrorKind::Other
                } else {
                    std::io::Error::from_raw_os_error(errno).kind()
                };
                let source = std::io::Error::new(kind, text);
                Error::Io { action: "go on with the journal of which tells", path: self.path.clone(), source }
            }
        }
    }

    /// The positions and counts of the journal.
    pub(crate) fn positions(&self) -> JournalPositions {
        use std::os::unix::ffi::OsStringExt;
        let word = |at| self.words.load(at, Edge::Plain);
        // Tries a few times, because a journaller that is just starting fills these words in.
        let mut directory = Vec::new();
        for _ in 0..1000 {
            // STATE: if the number is even and unchanged, the words read between are whole.
            let run = self.words.load(layout::RUN, Edge::State);
            directory = read_text(&self.words, layout::DIRECTORY, layout::DIRECTORY_BYTES);
            self.words.fence(Edge::Validate);
            if run & 1 == 0 && word(layout::RUN) == run {
                break;
            }
            std::hint::spin_loop();
        }
        // Durable first: a position that is read later is not less.
        let durable = self.reached(Promise::Durable);
        let written = self.reached(Promise::Written);
        let end = self.words.load(layout::END, Edge::State);
        let mut state = self.state();
        let at_work = [JournalState::Starting, JournalState::Recording, JournalState::Draining];
        if at_work.contains(&state) && self.is_dead() {
            state = JournalState::Dead;
        }
        let shortage = Shortage::from_code(word(layout::NO_SPACE));
        let warning = read_text(&self.words, layout::ERROR, layout::ERROR_BYTES);
        let warning = String::from_utf8_lossy(&warning).into_owned();
        JournalPositions {
            state,
            written,
            durable,
            end,
            first: word(layout::FIRST),
            directory: std::ffi::OsString::from_vec(directory).into(),
            pid: word(layout::PID) as u32,
            started_ns: word(layout::STARTED_NS),
            events: word(layout::EVENTS),
            bytes: word(layout::BYTES),
            gaps: self.words.load(layout::GAPS, Edge::State),
            lost: word(layout::LOST),
            crashes: word(layout::CRASHES),
            no_space: shortage == Some(Shortage::Space),
            shortage,
            warning: Some(warning).filter(|text| state != JournalState::Poisoned && !text.is_empty()),
            error: (state == JournalState::Poisoned).then(|| self.poison().to_string()),
        }
    }
}
