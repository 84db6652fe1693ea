//! The part of a journal to read: the arguments that cat, replay and export share.

use std::path::PathBuf;

use railbus::journal::{Journal, Replay, ReplayOptions, Seek, Speed, Until};

use super::print::tell_truncated;
use super::when::{parse_seek, parse_until};

/// Which events of which journal.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SelectionArgs {
    /// The journal's directory, JOURNAL/BUS/CHANNEL
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Where to begin: a position, a time (2026-01-31T12:34:56Z, or with +02:00), @SECONDS since
    /// 1970, -10m (ago), oldest, end
    #[arg(long, value_name = "WHERE", default_value = "oldest", value_parser = parse_seek, allow_hyphen_values = true)]
    pub(crate) from: Seek,
    /// Where to end; the event there is not included [default: the journal's end]
    #[arg(long, value_name = "WHERE", value_parser = parse_until, allow_hyphen_values = true)]
    pub(crate) to: Option<Until>,
    /// Only events of this type id; may be given again
    #[arg(long = "type", value_name = "ID")]
    pub(crate) types: Vec<u16>,
    /// Stop after so many events
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

impl SelectionArgs {
    /// The options of the replay.
    pub(crate) fn options(&self, speed: Speed, repeat: bool) -> ReplayOptions {
        ReplayOptions::default()
            .from(self.from)
            .to(self.to)
            .type_ids(self.types.clone())
            .speed(speed)
            .repeat(repeat)
    }

    /// Whether events of this type were requested.
    pub(crate) fn is_wanted(&self, type_id: u16) -> bool {
        self.types.is_empty() || self.types.contains(&type_id)
    }

    /// Opens the journal, and finds the beginning.
    pub(crate) fn replay(&self, speed: Speed, repeat: bool) -> railbus::Result<(Journal, Replay)> {
        let journal = Journal::open(&self.directory)?;
        tell_truncated(&journal)?;
        let replay = Replay::new(&journal, self.options(speed, repeat))?;
        Ok((journal, replay))
    }
}
