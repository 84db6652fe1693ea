//! The report about a journal when it is opened for recording.

use std::path::PathBuf;
use std::time::Duration;

use railbus_log::shortage::Shortage;

/// The state in which a journal was found when a journal was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// The journal's directory.
    pub directory: PathBuf,
    /// How it writes, in a line.
    pub disk: String,
    /// Events in the journal when it was opened, those removed by retention included.
    pub events: u64,
    /// Where it ended.
    pub end: u64,
    /// Bytes of a torn tail that were cut.
    pub torn_bytes: u64,
    /// Where the cut begins, and whether it may include what was acknowledged as durable.
    pub cut: Option<(u64, bool)>,
    /// Events that a killed journaller had in hand and that were written now.
    pub taken_over: u64,
    /// Events before the present end that are missing: from, to.
    pub gap: Option<(u64, u64)>,
    /// Where the journal of another channel of the same name was moved.
    pub moved_aside: Option<PathBuf>,
    /// Whether it is lossy, because it was asked to be, or because the channel has no other readers.
    pub lossy: bool,
    /// Whether the times of new events begin before the last time in the journal.
    pub stepped_back: bool,
    /// By how much the last time in the journal is ahead of the wall clock: one of the two was wrong.
    pub ahead: Option<Duration>,
    /// The shortage that it waits for; then nothing is recorded yet, and nothing else is known.
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
