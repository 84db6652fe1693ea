//! What can go wrong outside the hot path, told so that a person can act on it.
//!
//! Every [`Error`] says what failed, on which object, why, and what to try. [`Error::exit_code`] maps it to the
//! stable exit codes of the `railbus` program. The hot path has small enums of its own
//! ([`SendError`], [`RecvError`]).

use std::io;
use std::path::{Path, PathBuf};

/// A result of the control plane.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the control plane: opening, creating, attaching, inspecting, removing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is out of its range or contradicts another.
    #[error("{what}: {why}")]
    Invalid {
        /// The argument, with its value.
        what: String,
        /// Its range, or the contradiction.
        why: String,
    },
    /// No such bus, channel, participant or file.
    #[error("{what} does not exist ({path}){advice}", path = path.display(), advice = how_to_have(what, path))]
    NotFound {
        /// What was looked for: "channel demo/ticks", "bus demo"; of those the text says how to have them.
        what: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// A directory holds no journal.
    #[error("there is no journal in {path}; name its directory, JOURNAL/BUS/CHANNEL (see `railbus journal ls JOURNAL`)", path = path.display())]
    NoJournal {
        /// The directory.
        path: PathBuf,
    },
    /// It exists and was to be made anew.
    #[error("{what} exists already ({path}); attach to it, or remove it with `railbus rm`", path = path.display())]
    Exists {
        /// What exists.
        what: String,
        /// Where it is.
        path: PathBuf,
    },
    /// The rights of this process do not allow it.
    #[error("not allowed to {action} {path}: {why}", path = path.display())]
    NotAllowed {
        /// The verb: "publish to", "open".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The mode and owner found, and what would help.
        why: String,
    },
    /// A file was made by another version of railbus.
    #[error("{path} has layout {found:#x} (version {found_version}), this program has {expected:#x} (version {expected_version}): use one version of railbus on both sides, or remove the channel and create it again", path = path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Its fingerprint.
        found: u64,
        /// Its version.
        found_version: u32,
        /// Our fingerprint.
        expected: u64,
        /// Our version.
        expected_version: u32,
    },
    /// Another version of railbus wrote something that this one does not understand. Nothing was changed.
    #[error("{what} is of another version of railbus: {why}")]
    Version {
        /// The journal or file.
        what: String,
        /// What is not understood, and which version to use.
        why: String,
    },
    /// Shared bytes are not what they must be.
    #[error("{what} is corrupt: {why}")]
    Corrupt {
        /// The file or channel.
        what: String,
        /// What was found and what was expected.
        why: String,
    },
    /// Memory or space is not there.
    #[error("no room for {what}: {why}")]
    NoSpace {
        /// What was to be allocated, and how much.
        what: String,
        /// What is missing and how to get it.
        why: String,
    },
    /// Pages were required that cannot be had.
    #[error("no huge pages for {what}: {why}")]
    NoHugePages {
        /// The channel.
        what: String,
        /// Every rung of the ladder that was tried, and why it failed.
        why: String,
    },
    /// Somebody holds what there is one of (the stream's publisher, a durable name, a registry entry).
    #[error("{what} is taken: {why}")]
    Busy {
        /// What is taken.
        what: String,
        /// By whom, and what to do.
        why: String,
    },
    /// A deadline passed.
    #[error("timed out{after} waiting for {what}", after = after(*after_ms))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long, in ms; 0 if that was not at all, or is not known.
        after_ms: u64,
    },
    /// A peer that is needed has died or left.
    #[error("{what} is gone: {why}")]
    PeerGone {
        /// Who.
        what: String,
        /// What that means.
        why: String,
    },
    /// The handle was inherited over `fork`.
    #[error("this handle was made before fork(): open the channel again in the child")]
    Forked,
    /// An operating system call failed for another reason.
    #[error("cannot {action} {path}: {source}{advice}", path = path.display(), advice = what_to_raise(source))]
    Io {
        /// The verb: "map", "lock".
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// The exit code of the `railbus` program: 1 failed, 2 usage, 3 not found, 4 not allowed, 5 corrupt or wrong
    /// layout, 6 no space or memory, 7 peer gone, 8 timed out.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Invalid { .. } => 2,
            Error::NotFound { .. } | Error::NoJournal { .. } => 3,
            Error::NotAllowed { .. } => 4,
            Error::Layout { .. } | Error::Version { .. } | Error::Corrupt { .. } => 5,
            Error::NoSpace { .. } | Error::NoHugePages { .. } => 6,
            Error::PeerGone { .. } => 7,
            Error::TimedOut { .. } => 8,
            Error::Exists { .. } | Error::Busy { .. } | Error::Forked | Error::Io { .. } => 1,
        }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// An [`Error::Corrupt`].
    pub fn corrupt(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Corrupt { what: what.into(), why: why.into() }
    }

    /// Classifies an operating system error: rights, space and absence have their own variants.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        let path = path.into();
        match source.raw_os_error() {
            Some(libc::EROFS) => Error::NotAllowed {
                action,
                path,
                why: format!("{source}; mount it writable, or use a directory on another file system"),
            },
            Some(libc::EACCES | libc::EPERM) => Error::NotAllowed {
                action,
                path,
                why: format!("{source}; ask the owner for the right, or run as another user"),
            },
            Some(libc::ENOENT) => Error::NotFound { what: format!("cannot {action}: the path"), path },
            Some(libc::ENOSPC | libc::ENOMEM | libc::EDQUOT) => {
                Error::NoSpace { what: path.display().to_string(), why: format!("{source} (to {action})") }
            }
            Some(libc::EFBIG) => Error::NoSpace {
                what: path.display().to_string(),
                why: format!(
                    "{source} (to {action}): the file would be larger than this process may write; raise the limit \
                     (`ulimit -f`, or LimitFSIZE= of a systemd unit)"
                ),
            },
            _ => Error::Io { action, path, source },
        }
    }
}

/// What to do about what was not found, if that is what one creates.
fn how_to_have(what: &str, path: &Path) -> String {
    // BASE/BUS, or BASE/BUS/CHANNEL.ring
    let above = match what.split(' ').next() {
        Some("bus") => 1,
        Some("channel") => 2,
        _ => return String::new(),
    };
    match path.ancestors().nth(above).filter(|base| !base.as_os_str().is_empty()) {
        Some(base) if !base.exists() => format!(
            "; the directory of all buses, {}, does not exist: check $RAILBUS_DIR, or create the channel with `railbus \
             create`",
            base.display()
        ),
        _ => "; create it with `railbus create`, or check $RAILBUS_DIR".to_owned(),
    }
}

/// Which limit to raise, if the system's reason is one.
fn what_to_raise(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EMFILE) => {
            "; this process may open no more files: raise its limit (`ulimit -n`, LimitNOFILE= of a systemd unit)"
        }
        Some(libc::ENFILE) => "; the system may open no more files: raise it with `sysctl fs.file-max`",
        Some(libc::EFBIG) => "; raise the limit of file sizes (`ulimit -f`, LimitFSIZE= of a systemd unit)",
        _ => "",
    }
}

fn after(after_ms: u64) -> String {
    if after_ms == 0 { String::new() } else { format!(" after {after_ms} ms") }
}

/// Why an event was not published. Small, because it is made on the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no room: the slowest reader, or worker, is a whole ring behind, or this producer is out of credits.
    /// Nothing was published. [`Sender::refusal`](crate::sender::Sender::refusal) tells who is in the way.
    #[error("the channel is full")]
    Full,
    /// There is no room, events wait to be taken, and the channel has no live worker.
    #[error("the channel is full and no worker is alive to take events")]
    NoWorker,
    /// There was no room for the whole time allowed. Nothing was published.
    #[error("timed out waiting for room in the channel")]
    TimedOut,
    /// The event is larger than a frame or slot of this channel may be.
    #[error(
        "the event has {bytes} bytes, the channel takes at most {max}; create it with a larger --capacity or --slot-bytes"
    )]
    TooLong {
        /// Bytes of the event.
        bytes: usize,
        /// The most this channel takes.
        max: usize,
    },
    /// The channel's policy is to drop the newest when full, or to divert it and the other channel has no room either
    /// (or its slots are too small): the event was counted as dropped.
    #[error("dropped: the channel is full")]
    Dropped,
    /// The channel's policy is to divert what finds no room: the event is in the other channel, and not in this one.
    #[error("diverted: the channel is full, the event is at position {position} of the one it diverts to")]
    Diverted {
        /// Its position there.
        position: u64,
    },
    /// This participant was evicted; attach again.
    #[error("this participant was evicted; attach again")]
    Evicted,
    /// The channel was removed while this participant was attached. Nobody finds it any more; what is published under its
    /// name now is another channel's. Nothing was published.
    #[error("the channel was removed while this participant was attached; attach again")]
    Removed,
    /// Somebody is in the way who may be dead, or is to be evicted, and this publisher cannot make sure of it: why.
    #[error("cannot deal with who is in the way: {0}")]
    CannotRepair(&'static str),
    /// The handle was inherited over `fork`: attach again in the child.
    #[error("this handle was made before fork(): attach again in the child")]
    Forked,
    /// Shared words hold what no correct peer writes.
    #[error("the channel is corrupt: {0}")]
    Corrupt(&'static str),
    /// The handle was not opened to number its events.
    #[error("this publisher does not number its events: open it with a name, and `sequenced`")]
    NotSequenced,
}

/// Why [`Reader::acknowledge_to`](crate::reader::Reader::acknowledge_to) acknowledged nothing. The cursor stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcknowledgeError {
    /// The reader was not opened with manual acknowledgement.
    #[error("this reader acknowledges by itself what it received: open it with manual acknowledgement")]
    NotManual,
    /// The position lies beyond what was received.
    #[error("position {position} was not received: only what lies before {received} was")]
    NotReceived {
        /// The position.
        position: u64,
        /// That of the next event.
        received: u64,
    },
    /// No event of the stream starts at the position.
    #[error("no event starts at position {position}: give the position of an event, or of the reader")]
    NoEvent {
        /// The position.
        position: u64,
    },
    /// The reader cannot be used any more: it was evicted, inherited over `fork`, or its channel is corrupt.
    #[error(transparent)]
    Reader(#[from] RecvError),
}

impl From<AcknowledgeError> for Error {
    fn from(error: AcknowledgeError) -> Error {
        match error {
            AcknowledgeError::Reader(error) => error.into(),
            error => Error::invalid("acknowledgement", error.to_string()),
        }
    }
}

/// Why there is no event. Small, because it is made on the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// A lossy reader was overrun, or a reliable one evicted from the past: exactly these events are missing. The
    /// next receive continues behind them.
    #[error("lost {events} events: positions {from} up to {to}")]
    Lost {
        /// First position that is missing.
        from: u64,
        /// First position after the gap.
        to: u64,
        /// How many events the gap holds.
        events: u64,
    },
    /// No event came in the time allowed.
    #[error("timed out waiting for an event")]
    TimedOut,
    /// Every publisher has left and everything was read.
    #[error("the last publisher has left and everything was read")]
    Closed,
    /// This participant was evicted; what it held may have been handed to another. Attach again.
    #[error("this participant was evicted; attach again")]
    Evicted,
    /// The channel was removed while this participant was attached, and everything in it was read. Nobody finds it any
    /// more: nothing new will come.
    #[error("the channel was removed while this participant was attached; attach again")]
    Removed,
    /// What a dead participant left is in the way, or may be, and this one cannot repair it: why.
    #[error("cannot repair what a dead participant may have left: {0}")]
    CannotRepair(&'static str),
    /// The handle was inherited over `fork`: attach again in the child.
    #[error("this handle was made before fork(): attach again in the child")]
    Forked,
    /// Shared words hold what no correct peer writes.
    #[error("the channel is corrupt: {0}")]
    Corrupt(&'static str),
    /// This worker has as many events in hand as it was opened for; it must finish one first.
    #[error(
        "as many events in hand as this worker was opened for (in_hand_max): finish one, or hand it back"
    )]
    HandsFull,
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Error {
        let text = error.to_string();
        match error {
            SendError::TooLong { .. } => Error::invalid("event", text),
            SendError::NotSequenced => Error::invalid("number of an event", text),
            SendError::TimedOut => Error::TimedOut { what: "room in the channel".into(), after_ms: 0 },
            SendError::Forked => Error::Forked,
            SendError::Corrupt(why) => Error::corrupt("channel", why),
            SendError::NoWorker => Error::PeerGone { what: "the channel's last worker".into(), why: text },
            SendError::Evicted => evicted(),
            SendError::Removed => removed(),
            SendError::CannotRepair(why) => may_not("deal with who is in the way in", why),
            SendError::Full | SendError::Dropped | SendError::Diverted { .. } => {
                Error::Busy { what: "all room in the channel".into(), why: text }
            }
        }
    }
}

impl From<RecvError> for Error {
    fn from(error: RecvError) -> Error {
        let text = error.to_string();
        match error {
            RecvError::TimedOut => Error::TimedOut { what: "an event".into(), after_ms: 0 },
            RecvError::Forked => Error::Forked,
            RecvError::Corrupt(why) => Error::corrupt("channel", why),
            RecvError::Closed => Error::PeerGone { what: "the last publisher".into(), why: text },
            RecvError::Evicted => evicted(),
            RecvError::Removed => removed(),
            RecvError::CannotRepair(why) => may_not("repair what a dead participant may have left in", why),
            RecvError::Lost { .. } => Error::Busy { what: "the place of unread events".into(), why: text },
            RecvError::HandsFull => Error::Busy { what: "every hand of this worker".into(), why: text },
        }
    }
}

fn evicted() -> Error {
    let why = "it was evicted, by an operator or because it held others up; attach again";
    Error::PeerGone { what: "this participant".into(), why: why.into() }
}

fn removed() -> Error {
    let why = "it was removed while this participant was attached, and what has its name now is another channel; attach again";
    Error::PeerGone { what: "the channel".into(), why: why.into() }
}

fn may_not(action: &'static str, why: &str) -> Error {
    Error::NotAllowed { action, path: "the channel".into(), why: why.to_owned() }
}

/// Why a handle cannot tell any more whether its peers live.
pub(crate) const BLIND: &str = "other code of this process has closed its descriptors of the channel's files, and they cannot be \
    opened again, so that it cannot tell who is dead; open the handle again";

/// Why a handle's locks do not work any more, for the errors of the hot path, which hold no text of their own.
pub(crate) fn why_not_locked(error: &Error) -> &'static str {
    match error {
        Error::NotAllowed { .. } => {
            "its descriptor of the channel's file was closed by other code of this process, which may not open it again; \
             open the handle again as a user who may"
        }
        Error::NotFound { .. } | Error::Busy { .. } => {
            "its descriptor of the channel's file was closed by other code of this process, and the file has lost its name; \
             open the handle again"
        }
        Error::Io { source, .. } if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            "the channel's file must be opened again, and there are too many open files; raise the limit (ulimit -n)"
        }
        _ => "the system refuses its locks on the channel's file; open the handle again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_create_is_said_of_channels_only() {
        let text = |what: &str| Error::NotFound { what: what.into(), path: "/p".into() }.to_string();
        assert!(text("channel demo/ticks").contains("railbus create"));
        assert!(text("bus demo").contains("$RAILBUS_DIR"));
        assert_eq!(text("consumer:3 of demo/ticks"), "consumer:3 of demo/ticks does not exist (/p)");
        let lost =
            Error::NotFound { what: "channel demo/x".into(), path: "/no-such-base/demo/x.ring".into() };
        assert!(
            lost.to_string().contains("the directory of all buses, /no-such-base, does not exist"),
            "{lost}"
        );
        let missing = Error::io("open", "/p", io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(missing.to_string(), "cannot open: the path does not exist (/p)");
        assert_eq!(missing.exit_code(), 3);
    }

    #[test]
    fn a_limit_that_is_reached_is_named_with_what_raises_it() {
        let text = |code| Error::io("open", "/p", io::Error::from_raw_os_error(code)).to_string();
        assert!(text(libc::EMFILE).contains("`ulimit -n`"), "{}", text(libc::EMFILE));
        assert!(text(libc::ENFILE).contains("fs.file-max"), "{}", text(libc::ENFILE));
        let read_only = Error::io("create", "/p", io::Error::from_raw_os_error(libc::EROFS));
        assert_eq!(read_only.exit_code(), 4);
        assert!(read_only.to_string().contains("mount it writable"), "{read_only}");
        assert!(!read_only.to_string().contains("ask the owner"), "{read_only}");
        assert!(text(libc::EACCES).contains("ask the owner"), "{}", text(libc::EACCES));
    }

    #[test]
    fn who_was_evicted_is_not_told_that_something_is_taken() {
        for error in [Error::from(SendError::Evicted), Error::from(RecvError::Evicted)] {
            assert_eq!(error.exit_code(), 7);
            assert!(error.to_string().starts_with("this participant is gone: it was evicted"), "{error}");
        }
    }

    #[test]
    fn a_time_that_is_not_known_is_not_told() {
        assert_eq!(Error::from(RecvError::TimedOut).to_string(), "timed out waiting for an event");
        assert_eq!(Error::from(SendError::TimedOut).to_string(), "timed out waiting for room in the channel");
        let known = Error::TimedOut { what: "an event of demo/ticks".into(), after_ms: 20 };
        assert_eq!(known.to_string(), "timed out after 20 ms waiting for an event of demo/ticks");
    }
}
