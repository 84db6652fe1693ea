//! Where a reader starts, and why it cannot start there.

/// Where to start.
///
/// A stream's reliable subscriber receives every event from its start on. A topic's reliable
/// subscriber receives every event that is published after its join. It receives the events between
/// an older start and the join as long as they are there. Publishers that had read the cursors
/// before the join may overwrite them, up to one ring behind the join. The reader reports which it
/// lost (`Lost`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// Behind the last event that is committed now.
    Live,
    /// At the last events that are retained at the join: this many, or fewer if the ring has fewer.
    /// 0 is the same as [`Self::Live`].
    Last(u64),
    /// At the oldest event that is retained at the join. A tap cannot start there.
    Oldest,
    /// At this position, which must be retained, and be the start of an event or the end. A tap
    /// cannot start there.
    Position(u64),
}

/// Why a start is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinError {
    /// The ring holds a word that no publisher writes, or its places never stop changing.
    Corrupt,
    /// The position is no longer retained. The value is the oldest that is.
    TooOld(u64),
    /// The position lies beyond the end. The value is the end.
    Beyond(u64),
    /// No event starts at the position.
    NoBoundary,
}
