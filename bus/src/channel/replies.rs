//! The room for the replies of a service.

use super::kind::Kind;

/// The default number of reply slots of each client.
pub(super) const SLOTS_DEFAULT: u64 = 16;
/// The default room for one reply, in bytes.
pub(super) const BYTES_DEFAULT: u64 = 4096;
/// The default size of a request's slot, in bytes.
pub(super) const REQUEST_BYTES_DEFAULT: u64 = 1024;

/// The room for replies of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replies {
    /// How many calls one client may have under way.
    pub slots: u64,
    /// The room for one reply, in bytes: a power of two. Longer replies pass through it in pieces.
    pub bytes: u64,
}

impl Replies {
    /// The fields of the header page; `None` unless it is that of a service.
    pub(super) fn of_words(slots: u64, bytes: u64) -> Option<Replies> {
        (slots | bytes != 0).then_some(Replies { slots, bytes })
    }
}

/// The name of a kind of channel, where a service has one of its own.
pub(super) fn kind_name(kind: Kind, replies: Option<Replies>) -> &'static str {
    match (kind, replies) {
        (Kind::Queue, Some(_)) => "service",
        (kind, _) => kind.name(),
    }
}
