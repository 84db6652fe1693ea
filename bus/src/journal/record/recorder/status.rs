//! The status of a recorded channel, for the program that records it.

use std::path::PathBuf;

use railbus_log::shortage::Shortage;

use crate::channel::ChannelName;
use crate::channel::journal_status::JournalState;
use crate::journal::open_report::OpenReport;
use crate::journal::record::recording::Figures;
use crate::journal::record::waiting::OpenedJournal;

/// The state and the figures of a recording.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecorderStatus {
    /// The channel that is recorded.
    pub channel: ChannelName,
    /// The journal's directory.
    pub directory: PathBuf,
    /// The state of the journal.
    pub state: JournalState,
    /// Everything before this position survives the death of any process.
    pub written: u64,
    /// Everything before this position survives a power cut.
    pub durable: u64,
    /// Everything before this position was taken from the ring.
    pub end: u64,
    /// Number of events recorded since the journal was opened.
    pub events: u64,
    /// Size of those events, in bytes.
    pub bytes: u64,
    /// Number of events that are missing since the journal was opened, as far as they could be counted: a
    /// lossy journal was overrun, or the disk was full and the policy is to drop.
    pub lost: u64,
    /// The resource for which it waits at the moment: room on the disk, descriptors or memory.
    pub shortage: Option<Shortage>,
    /// Whether it drops events at the moment, because the disk is full and the policy is to drop.
    pub drops: bool,
    /// The last problem that is tried again, such as the removal of an old segment, or a suspicious clock.
    pub warning: Option<String>,
    /// Number of segments that retention has removed since the journal was opened.
    pub retired_segments: u64,
    /// Size of those segments, in bytes.
    pub retired_bytes: u64,
    /// Whether the channel has been removed.
    pub removed: bool,
    /// Whether retention should remove what all consumers have read
    /// ([`Retention::consumed`](crate::journal::Retention::consumed)) but removes nothing, because the
    /// channel has neither a durable subscription nor a checkpoint.
    pub waits_for_readers: bool,
    /// The error that poisoned it.
    pub error: Option<String>,
    /// Whether the recorder itself panicked, and neither the disk nor the channel failed. The staged events
    /// are kept, and a recorder that is started again continues with them.
    pub crashed: bool,
    /// The report of the journal's opening.
    pub report: OpenReport,
}

impl RecorderStatus {
    /// The status of a channel of which nothing is recorded yet. For tests of what shows it.
    #[doc(hidden)]
    pub fn of(channel: ChannelName) -> RecorderStatus {
        RecorderStatus {
            channel,
            directory: Default::default(),
            state: JournalState::Recording,
            written: 0,
            durable: 0,
            end: 0,
            events: 0,
            bytes: 0,
            lost: 0,
            shortage: None,
            drops: false,
            warning: None,
            retired_segments: 0,
            retired_bytes: 0,
            removed: false,
            waits_for_readers: false,
            error: None,
            crashed: false,
            report: Default::default(),
        }
    }
}

pub(super) fn status_of(
    work: &OpenedJournal,
    report: &OpenReport,
    state: JournalState,
    trouble: Option<(String, bool)>,
) -> RecorderStatus {
    let Figures { written, durable, end, events, bytes, lost, shortage, drops, warning, retired } =
        work.figures();
    RecorderStatus {
        channel: work.channel().name().clone(),
        directory: work.directory().to_owned(),
        state,
        written,
        durable,
        end,
        events,
        bytes,
        lost,
        shortage,
        drops,
        warning,
        retired_segments: retired.0,
        retired_bytes: retired.1,
        removed: work.is_removed(),
        waits_for_readers: work.waits_for_readers(),
        crashed: trouble.as_ref().is_some_and(|(_, crashed)| *crashed),
        error: trouble.map(|(error, _)| error),
        report: report.clone(),
    }
}
