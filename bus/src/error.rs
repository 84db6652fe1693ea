//! The errors of the data path. They are small enums, because they are made on the hot path.
//!
//! `?` turns each of them into an [`Error`] of the control plane with the same text.

pub use railbus_os::error::{Error, Result};

/// Why an event was not published. Small, because it is made on the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no room: the slowest reader or worker is a whole ring behind, or this producer is
    /// out of credits. Nothing was published.
    /// [`Sender::refusal`](crate::handle::sender::Sender::refusal) names the participant in the
    /// way.
    #[error("the channel is full")]
    Full,
    /// There is no room, events wait to be taken, and the channel has no live worker.
    #[error("the channel is full and no worker is alive to take events")]
    NoWorker,
    /// There was no room within the time allowed. Nothing was published.
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
    /// The channel was full, and the event was counted as dropped. Either the channel's policy is
    /// to drop the newest, or it diverts and the other channel has no room either (or its slots are
    /// too small).
    #[error("dropped: the channel is full")]
    Dropped,
    /// The channel was full, and its policy is to divert: the event is in the other channel, and
    /// not in this one.
    #[error("diverted: the channel is full, the event is at position {position} of the one it diverts to")]
    Diverted {
        /// Its position there.
        position: u64,
    },
    /// This participant was evicted; attach again.
    #[error("this participant was evicted; attach again")]
    Evicted,
    /// The channel was removed while this participant was attached, and no process can find it any
    /// more. A channel of that name is another one. Nothing was published.
    #[error("the channel was removed while this participant was attached; attach again")]
    Removed,
    /// A participant is in the way that may be dead, or is to be evicted, and this publisher cannot
    /// find out or do it. The text says why.
    #[error("cannot deal with who is in the way: {0}")]
    CannotRepair(&'static str),
    /// The handle was inherited over `fork`: attach again in the child.
    #[error("this handle was made before fork(): attach again in the child")]
    Forked,
    /// Shared words hold a value that no correct peer writes.
    #[error("the channel is corrupt: {0}")]
    Corrupt(&'static str),
    /// The queue holds an unfinished event with the same unique key. Nothing was published.
    #[error("an unfinished event with this unique key is in the queue, at position {position}")]
    Duplicate {
        /// Its position.
        position: u64,
    },
    /// The channel was made without a table of unique keys.
    #[error("the channel has no unique keys: create it with --unique (`ChannelOptions::unique`)")]
    NotUnique,
    /// The handle was not opened as `sequenced`, so it does not number its events.
    #[error("this publisher does not number its events: open it with a name, and `sequenced`")]
    NotSequenced,
}

/// Why a batch was not published to its end. The events before that are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{error}; the first {published} events of the batch are published")]
#[non_exhaustive]
pub struct BatchError {
    /// How many events of the batch are published: its first ones.
    pub published: usize,
    /// Why the next one is not.
    #[source]
    pub error: SendError,
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Error {
        error.error.into()
    }
}

/// Why [`Reader::acknowledge_to`](crate::handle::reader::Reader::acknowledge_to) acknowledged
/// nothing. The cursor did not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcknowledgeError {
    /// The reader was not opened with manual acknowledgement.
    #[error("this reader acknowledges by itself what it received: open it with manual acknowledgement")]
    NotManual,
    /// The position lies beyond the last event that was received.
    #[error("position {position} was not received: only what lies before {received} was")]
    NotReceived {
        /// The position.
        position: u64,
        /// The position of the next event.
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
    /// Exactly these events are missing: a lossy reader was overrun, or a reliable one joined at
    /// events that publishers overwrote before it read them. The next receive continues behind
    /// them.
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
    /// This participant was evicted, and its events may have gone to another. Attach again.
    #[error("this participant was evicted; attach again")]
    Evicted,
    /// The channel was removed while this participant was attached, and everything in it was read.
    /// No process can find it any more, so nothing new will come.
    #[error("the channel was removed while this participant was attached; attach again")]
    Removed,
    /// Something that a dead participant left is in the way, or may be, and this one cannot repair
    /// it. The text says why.
    #[error("cannot repair what a dead participant may have left: {0}")]
    CannotRepair(&'static str),
    /// The handle was inherited over `fork`: attach again in the child.
    #[error("this handle was made before fork(): attach again in the child")]
    Forked,
    /// Shared words hold a value that no correct peer writes.
    #[error("the channel is corrupt: {0}")]
    Corrupt(&'static str),
    /// This worker holds as many events as it was opened for. It must finish one first.
    #[error(
        "as many events in hand as this worker was opened for (in_hand_max): finish one, or hand it back"
    )]
    HandsFull,
}

/// Why a key of a table was not read or changed. It is as it was, unless the text says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The key is new, and as many keys have a value as the table was made for.
    #[error("every key of the table is in use: delete one, or create the table with more --keys")]
    Full,
    /// The value is longer than the table's values may be.
    #[error("the value has {bytes} bytes, the table takes at most {max}; create it with more --value-bytes")]
    TooLong {
        /// Bytes of the value.
        bytes: usize,
        /// The most this table takes.
        max: usize,
    },
    /// The key has no bytes, or more than 64.
    #[error("a key has 1 to 64 bytes, this one has {bytes}")]
    BadKey {
        /// Bytes of the key.
        bytes: usize,
    },
    /// The key is not as the caller of a compare-and-set had seen it.
    #[error("the key is not as it was seen: {}", match version {
        Some(version) => format!("it has version {version}"),
        None => "it has no value".to_owned(),
    })]
    Changed {
        /// The version that it has; `None` if it has no value.
        version: Option<u64>,
    },
    /// A live writer has held the key for longer than the channel's `stuck_after`. Perhaps its process
    /// is stopped.
    #[error(
        "writer {writer} has held the key for too long; see `railbus info`, and continue, end or evict it"
    )]
    Held {
        /// The entry of that writer in the producers' registry.
        writer: usize,
    },
    /// Nothing changed in the time allowed.
    #[error("timed out waiting for a change")]
    TimedOut,
    /// This participant was evicted; attach again.
    #[error("this participant was evicted; attach again")]
    Evicted,
    /// The channel was removed while this participant was attached. No other process can find it any
    /// more. A change that was made in it is lost.
    #[error("the channel was removed while this participant was attached; attach again")]
    Removed,
    /// A participant is in the way that may be dead, and this one cannot find out.
    #[error("cannot deal with who is in the way: {0}")]
    CannotRepair(&'static str),
    /// The handle was inherited over `fork`: attach again in the child.
    #[error("this handle was made before fork(): attach again in the child")]
    Forked,
    /// Shared words hold a value that no correct peer writes.
    #[error("the channel is corrupt: {0}")]
    Corrupt(&'static str),
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Error {
        let why = error.to_string();
        match error {
            TableError::Full => Error::NoSpace { what: "another key".into(), why },
            TableError::TooLong { .. } => Error::invalid("value", why),
            TableError::BadKey { .. } => Error::invalid("key", why),
            TableError::Changed { .. } => Error::Busy { what: "the key".into(), why },
            TableError::Held { .. } => Error::Busy { what: "the key".into(), why },
            TableError::TimedOut => Error::TimedOut { what: "a change".into(), after_ms: 0 },
            TableError::Evicted => evicted(),
            TableError::Removed => removed(),
            TableError::CannotRepair(why) => may_not("deal with who is in the way in", why),
            TableError::Forked => Error::Forked,
            TableError::Corrupt(why) => Error::corrupt("channel", why),
        }
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Error {
        let text = error.to_string();
        match error {
            SendError::TooLong { .. } => Error::invalid("event", text),
            SendError::Duplicate { position } => Error::Duplicate { position },
            SendError::NotUnique => Error::invalid("unique key", text),
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

/// Why a handle cannot find out any more whether its peers live.
pub(crate) const BLIND: &str = "other code of this process has closed its descriptors of the channel's files, and they cannot be \
    opened again, so that it cannot tell who is dead; open the handle again";

/// Why a handle's locks do not work any more. The errors of the hot path own no text, so it is
/// static.
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
