//! The report about a journal that was opened for recording.

use std::path::PathBuf;
use std::time::Duration;

use railbus_log::shortage::Shortage;

/// The state in which a journal was found when it was opened for recording. `Display` prints one
/// line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// The journal's directory.
    pub directory: PathBuf,
    /// How it writes to the disk, in one line.
    pub disk: String,
    /// Number of events in the journal when it was opened, those removed by retention included.
    pub events: u64,
    /// The position where the journal ended.
    pub end: u64,
    /// Number of bytes of a torn tail that were cut.
    pub torn_bytes: u64,
    /// The position where the cut begins, and whether it may include data that were acknowledged as
    /// durable. `None` when nothing was cut.
    pub cut: Option<(u64, bool)>,
    /// Number of events that a killed journaller had staged and that were written now.
    pub taken_over: u64,
    /// The positions before the present end that are missing: the first one, and the first one
    /// after them. `None` when nothing is missing.
    pub gap: Option<(u64, u64)>,
    /// The directory to which the journal of another channel of the same name was moved.
    pub moved_aside: Option<PathBuf>,
    /// Whether the journal is lossy, either by its options or because the channel has only lossy
    /// readers.
    pub lossy: bool,
    /// Whether the times of new events begin before the last time in the journal.
    pub stepped_back: bool,
    /// By how much the last time in the journal is ahead of the wall clock, if by more than 1 s.
    /// Then one of the two was wrong.
    pub ahead: Option<Duration>,
    /// The shortage for which the journal waits. If it is set, nothing is recorded yet and, except
    /// for the directory, no other field is known.
    pub waits_for: Option<Shortage>,
}

impl std::fmt::Display for OpenReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(shortage) = self.waits_for {
            return write!(f, "not recorded yet: {}", shortage.advice());
        }
        write!(f, "{} events up to {}, by {}", self.events, self.end, self.disk)?;
        if self.lossy {
            write!(f, "; lossy")?;
        }
        if self.torn_bytes > 0 {
            write!(f, "; a torn tail of {} bytes was cut", self.torn_bytes)?;
        }
        if let Some((from, true)) = self.cut {
            write!(f, ", which may include what was acknowledged, from position {from} on")?;
        }
        if self.taken_over > 0 {
            write!(f, "; {} events were taken over from a journaller that died", self.taken_over)?;
        }
        if let Some((from, to)) = self.gap {
            write!(f, "; positions {from} to {to} are missing")?;
        }
        if let Some(ahead) = self.ahead {
            let ahead = ahead.as_secs();
            write!(
                f,
                "; its last event was recorded {ahead} s in the future: the clock was wrong then, or is now"
            )?;
            f.write_str(match self.stepped_back {
                true => "; new events have the time of the clock as it is now",
                false => ", and times go on from there until the clock has caught up",
            })?;
        }
        if let Some(path) = &self.moved_aside {
            write!(f, "; the journal of an earlier channel of this name is now {}", path.display())?;
        }
        Ok(())
    }
}
