//! Errors outside the hot path, with texts on which a person can act.
//!
//! Every [`Error`] says what failed, on which object, why, and what to try. [`Error::exit_code`]
//! maps it to the stable exit codes of the `railbus` program. The data path has small enums of its
//! own, which can hold this one.

use std::io;
use std::path::{Path, PathBuf};

/// A result of the control plane.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the control plane: opening, creating, attaching, inspecting, removing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is out of its range, or contradicts another one.
    #[error("{what}: {why}")]
    Invalid {
        /// The argument, with its value.
        what: String,
        /// Its range, or the contradiction.
        why: String,
    },
    /// There is no such bus, channel, participant or file.
    #[error("{what} does not exist ({path}){advice}", path = path.display(), advice = how_to_have(what, path))]
    NotFound {
        /// The object that was looked for: "channel demo/ticks", "bus demo". For these two the text
        /// says how to create it.
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
    /// The object exists already and was to be created.
    #[error("{what} exists already ({path}); attach to it, or remove it with `railbus rm`", path = path.display())]
    Exists {
        /// The object that exists.
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
        /// The mode and owner that were found, and what would help.
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
        /// The fingerprint of this program.
        expected: u64,
        /// The version of this program.
        expected_version: u32,
    },
    /// Another version of railbus wrote something that this one does not understand. Nothing was
    /// changed.
    #[error("{what} is of another version of railbus: {why}")]
    Version {
        /// The journal or file.
        what: String,
        /// The part that is not understood, and which version to use.
        why: String,
    },
    /// Shared bytes do not have a valid value.
    #[error("{what} is corrupt: {why}")]
    Corrupt {
        /// The file or channel.
        what: String,
        /// The values that were found and expected.
        why: String,
    },
    /// There is not enough memory or space.
    #[error("no room for {what}: {why}")]
    NoSpace {
        /// The object that was to be allocated, and its size.
        what: String,
        /// The missing part, and how to get it.
        why: String,
    },
    /// Pages were required that are not available.
    #[error("no huge pages for {what}: {why}")]
    NoHugePages {
        /// The channel.
        what: String,
        /// Every rung of the ladder that was tried, and why it failed.
        why: String,
    },
    /// Another participant holds an object of which there is only one: the stream's publisher, a
    /// durable name, a registry entry.
    #[error("{what} is taken: {why}")]
    Busy {
        /// The object that is taken.
        what: String,
        /// The participant that has it, and what to do.
        why: String,
    },
    /// A queue holds an unfinished event with the unique key that was to be published.
    #[error("an unfinished event with this unique key is in the queue, at position {position}")]
    Duplicate {
        /// Its position.
        position: u64,
    },
    /// A deadline passed.
    #[error("timed out{after} waiting for {what}", after = after(*after_ms))]
    TimedOut {
        /// The event that was waited for.
        what: String,
        /// The waiting time in ms; 0 if there was none, or if it is not known.
        after_ms: u64,
    },
    /// A peer that is needed has died or left.
    #[error("{what} is gone: {why}")]
    PeerGone {
        /// The peer.
        what: String,
        /// The consequence.
        why: String,
    },
    /// A service has no server.
    #[error("no server: {why}")]
    NoServer {
        /// The advice how to have one.
        why: String,
    },
    /// A server reports that a request has failed.
    #[error("the request has failed with code {code}: {text}")]
    Failed {
        /// The code that the server chose.
        code: u32,
        /// Its text.
        text: String,
    },
    /// The handle was inherited over `fork`.
    #[error("this handle was made before fork(): open the channel again in the child")]
    Forked,
    /// An operating system call failed for another reason.
    #[error("cannot {action} {path}: {source}{advice}", path = path.display(), advice = what_to_raise(source))]
    Io {
        /// The verb: "map", "lock".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// The exit code of the `railbus` program: 1 failed, 2 usage, 3 not found, 4 not allowed, 5
    /// corrupt or wrong layout, 6 no space or memory, 7 peer gone, 8 timed out, 10 an unfinished
    /// event with that unique key exists.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Invalid { .. } => 2,
            Error::NotFound { .. } | Error::NoJournal { .. } | Error::NoServer { .. } => 3,
            Error::NotAllowed { .. } => 4,
            Error::Layout { .. } | Error::Version { .. } | Error::Corrupt { .. } => 5,
            Error::NoSpace { .. } | Error::NoHugePages { .. } => 6,
            Error::PeerGone { .. } => 7,
            Error::TimedOut { .. } => 8,
            Error::Duplicate { .. } => 10,
            Error::Exists { .. } | Error::Busy { .. } | Error::Failed { .. } => 1,
            Error::Forked | Error::Io { .. } => 1,
        }
    }

    /// Makes an [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// Makes an [`Error::Corrupt`].
    pub fn corrupt(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Corrupt { what: what.into(), why: why.into() }
    }

    /// Classifies an operating system error: rights, space and absence have variants of their own.
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

/// The advice about an object that was not found, if it is one that can be created.
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

/// The advice which limit to raise, if the system's reason is a limit.
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
}
