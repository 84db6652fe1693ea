//! How a call ends without a reply, and why a server cannot reply.

use crate::error::{Error, RecvError, SendError};

/// Why a call has no reply. Each call ends in exactly one way: with its reply, or with one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No server lived, for the client's patience. The request is withdrawn. A server that came at the
    /// same moment may have begun with it.
    #[error("nobody serves it; start a server, or wait for one")]
    NoServer,
    /// The server that had the request is dead or has given it up, and the request was delivered as
    /// often as the service allows. It is not known how far the server had come. It is also the end of a
    /// call whose request an operator has purged, and of one that has handed out parts of a reply when
    /// another server begins again.
    #[error(
        "the server that had the request is gone, and nobody else may have it; ask again if that is safe"
    )]
    PeerGone,
    /// The time of the call is over. The request is withdrawn; a server may be working on it.
    #[error("timed out waiting for the reply")]
    TimedOut,
    /// The server reports that the request has failed.
    #[error("the request has failed with code {code}: {text}")]
    Failed {
        /// The code that the server chose.
        code: u32,
        /// Its text.
        text: String,
    },
    /// The request is longer than the service takes.
    #[error("the request has {bytes} bytes, the service takes at most {max}; create it with larger slots")]
    TooLong {
        /// Bytes of the request.
        bytes: usize,
        /// The most that the service takes.
        max: usize,
    },
    /// This client has as many calls under way as the service allows.
    #[error("this client has as many calls under way as the service allows; wait for one of them")]
    Busy,
    /// The call has ended before, or is another client's.
    #[error("this call has ended before, or is another client's")]
    Unknown,
    /// This participant was evicted; attach again.
    #[error("this client was evicted; attach again")]
    Evicted,
    /// The service was removed while this client was attached.
    #[error("the service was removed while this client was attached; attach again")]
    Removed,
    /// A participant is in the way that may be dead, and this one cannot find out.
    #[error("cannot deal with who is in the way: {0}")]
    CannotRepair(&'static str),
    /// The handle was inherited over `fork`: attach again in the child.
    #[error("this handle was made before fork(): attach again in the child")]
    Forked,
    /// Shared words hold a value that no correct peer writes.
    #[error("the service is corrupt: {0}")]
    Corrupt(&'static str),
}

impl From<SendError> for CallError {
    fn from(error: SendError) -> CallError {
        match error {
            SendError::TooLong { bytes, max } => CallError::TooLong { bytes, max },
            SendError::NoWorker => CallError::NoServer,
            SendError::Evicted => CallError::Evicted,
            SendError::Removed => CallError::Removed,
            SendError::CannotRepair(why) => CallError::CannotRepair(why),
            SendError::Forked => CallError::Forked,
            SendError::Corrupt(why) => CallError::Corrupt(why),
            _ => CallError::TimedOut,
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        let why = error.to_string();
        let gone = |what: &str| Error::PeerGone { what: what.into(), why: why.clone() };
        match error {
            CallError::NoServer => Error::NoServer { why },
            CallError::PeerGone => gone("the server"),
            CallError::TimedOut => Error::TimedOut { what: "the reply".into(), after_ms: 0 },
            CallError::Failed { code, text } => Error::Failed { code, text },
            CallError::TooLong { .. } => Error::invalid("request", why),
            CallError::Busy => Error::Busy { what: "every call of this client".into(), why },
            CallError::Unknown => Error::invalid("call", why),
            CallError::Evicted => gone("this client"),
            CallError::Removed => gone("the service"),
            CallError::CannotRepair(_) => Error::NotAllowed {
                action: "deal with who is in the way in",
                path: "the service".into(),
                why,
            },
            CallError::Forked => Error::Forked,
            CallError::Corrupt(why) => Error::corrupt("service", why),
        }
    }
}

/// Why a server could not reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The client does not wait any more: it has cancelled the call, its time is over, or it is dead. The
    /// request is finished.
    #[error("the client does not wait for this reply any more")]
    Cancelled,
    /// This server was evicted. Another one gets the request.
    #[error("this server was evicted; attach again")]
    Evicted,
    /// The handle was inherited over `fork`: attach again in the child.
    #[error("this handle was made before fork(): attach again in the child")]
    Forked,
}

impl From<ReplyError> for Error {
    fn from(error: ReplyError) -> Error {
        let why = error.to_string();
        match error {
            ReplyError::Cancelled => Error::PeerGone { what: "the client".into(), why },
            ReplyError::Evicted => RecvError::Evicted.into(),
            ReplyError::Forked => Error::Forked,
        }
    }
}
