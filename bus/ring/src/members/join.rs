//! Where a reader starts, and why it cannot.

/// Where to start.
///
/// A stream's reliable subscriber receives every event from its start on. A topic's receives every event that is
/// published from its join on; those from an older start to the join it receives as long as they are there: publishers
/// that had looked at the cursors before the join may overwrite them, up to a ring behind the join, before it comes to
/// them. It is told which (`Lost`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// Behind the last event that is committed now.
    Live,
    /// At the oldest event that is retained at the join. A tap cannot.
    Oldest,
    /// At this position, which must be retained and the start of an event, or the end. A tap cannot.
    Position(u64),
}

/// Why a start is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinError {
    /// The ring holds what no publisher writes, or its places never rest.
    Corrupt,
    /// The position is no longer retained; the oldest that is.
    TooOld(u64),
    /// The position lies beyond the end; the end.
    Beyond(u64),
    /// No event starts at the position.
    NoBoundary,
}
