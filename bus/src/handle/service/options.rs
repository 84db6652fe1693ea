//! How clients and servers behave.

use std::time::Duration;

use crate::event::TraceContext;
use crate::handle::wait::Wait;
use crate::setters::setters;

/// How a client behaves.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// A name for observers: at most 64 bytes of UTF-8 without zero bytes.
    pub name: String,
    /// How to wait for replies.
    pub wait: Wait,
    /// How long a call waits for a server if there is none, or none that lives. After that it ends with
    /// [`CallError::NoServer`](crate::CallError::NoServer). The default, zero, means at once.
    pub patience: Duration,
}

/// How one call is made.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// How long the call may take. The server can ask for this time
    /// ([`Request::deadline`](crate::Request::deadline)). After it the call ends with
    /// [`CallError::TimedOut`](crate::CallError::TimedOut). The default, `None`, means without end.
    pub timeout: Option<Duration>,
    /// The trace context that the server gets: the span of the caller, which becomes the parent of the
    /// server's.
    pub trace: Option<TraceContext>,
}

/// How a server behaves.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServerOptions {
    /// A name for observers: at most 64 bytes of UTF-8 without zero bytes.
    pub name: String,
    /// How to wait for requests.
    pub wait: Wait,
}

setters!(ClientOptions: name: impl Into<String>, wait: Wait, patience: Duration);
setters!(CallOptions: timeout: impl Into<Option<Duration>>, trace: impl Into<Option<TraceContext>>);
setters!(ServerOptions: name: impl Into<String>, wait: Wait);
