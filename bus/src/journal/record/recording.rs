//! One channel being recorded: from the ring into the staging, and from the staging to the disk.
//!
//! ```text
//! ring --take--> staging (shared, NAME.stage) --writer--> segments      NAME.journal: how far
//!        |                                           ^
//!        +-- the cursor follows: the ring is free    +-- gaps, acknowledgements, cursors of subscribers
//! ```
//!
//! [`Recording::round`] is one step of it. It blocks no longer than its caller allows, because many
//! recordings share a thread. An event is in the staging, and counted there, before the cursor passes it, so
//! there is no moment at which a kill of this process loses one. While the staging is full, events stay in
//! the ring. When the ring is full, publishers wait (gating), or this reader is overrun and records what it
//! missed (lossy). A full disk has the same effect, unless the policy is to drop.

mod upkeep;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus_log::disk::choose::Disk;
use railbus_log::disk::files::Files;
use railbus_log::format::{Gap, GapReason, RecordKind};
use railbus_log::retention::{Keeper, Settled};
use railbus_log::shortage::Shortage;
use railbus_log::steady::{Stamps, SteadyClock};
use railbus_log::write::{Full, Progress, Writer};
use railbus_os::clock;
use railbus_ring::frame;
use railbus_ring::slots::sequence::Sequences;

use crate::channel::Kind;
use crate::channel::journal_status::{JournalState, StatusPage};
use crate::channel::mapped::Trusted;
use crate::channel::open::Channel;
use crate::error::{Error, RecvError, Result};
use crate::journal::options::{RecorderOptions, WhenFull};
use crate::journal::record::doorbell::{Announced, Sleep};
use crate::journal::record::intake::{Intake, Taken};
use crate::journal::record::publisher_numbers::PublisherNumbers;
use crate::journal::record::recorded_state::{Acks, Cursors};
use crate::journal::record::remake::UnfinishedEvent;

/// Bytes taken from a ring in one round, so that many channels share a thread fairly and blocks are sent off
/// soon.
const ROUND_BYTES: u64 = 256 << 10;
/// Number of events between two releases of the ring within a round.
const RELEASE_EVERY: u32 = 64;
/// How often a quiet channel is checked for what dead publishers left, in ns.
const PROBE_EVERY_NS: u64 = 1_000_000;
/// How often retention is checked, and whether the channel still has its name, in ns.
const LOOK_EVERY_NS: u64 = 250_000_000;
/// How long a stopping journal still takes new events while publishers go on, in ns.
const DRAIN_NS: u64 = 1_000_000_000;

/// The result of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    /// Whether anything was taken, written or made durable.
    pub(crate) moved: bool,
    /// Whether writes or syncs are in flight, so that waiting for them is better than sleeping.
    pub(crate) in_flight: bool,
    /// When the next round is due even if nothing happens, in ns of CLOCK_MONOTONIC.
    pub(crate) due_ns: Option<u64>,
}

/// A channel being recorded.
pub(crate) struct Recording {
    pub(crate) channel: Channel,
    options: RecorderOptions,
    directory: PathBuf,
    // The fields are dropped in this order: the writer before its memory and before the page that reports
    // it.
    writer: Writer<Disk>,
    files: std::sync::Arc<Files>,
    intake: Intake,
    page: StatusPage,
    /// An event that was taken while the staging was full.
    pending: Option<Taken>,
    /// The gap that has not been recorded yet.
    gap: Option<Gap>,
    /// The unfinished events that a queue held before the first event that its tap gets.
    backlog: VecDeque<UnfinishedEvent>,
    /// Where the tap joined: what lies before is the backlog's.
    joined_at: u64,
    /// The position of the intake when everything before it was last released.
    let_go_at: u64,
    /// Events before this position are in the journal already.
    skip_until: u64,
    /// The time of the last batch, and the source of the next one.
    time_ns: u64,
    stamps: Stamps,
    events: u64,
    bytes: u64,
    shortage: Option<Shortage>,
    /// The problem of the last look around, which is tried again.
    warning: Option<String>,
    /// Number of events that are missing since the journal was opened, as far as they could be counted.
    lost: u64,
    /// The written and durable positions after the last round.
    told: (u64, u64),
    announced: Announced,
    next_probe_ns: u64,
    next_look_ns: u64,
    next_state_ns: u64,
    acks: Option<Acks>,
    cursors: Option<Cursors>,
    numbers: PublisherNumbers,
    table: Sequences<Trusted>,
    keeper: Keeper,
    /// The positions that the recorded cursors and acknowledgements call unread, and how many of each were
    /// appended.
    cursors_settled: (Settled, u64),
    acks_settled: (Settled, u64),
    /// Whether retention by reading is on, and the channel has no durable readers.
    waits_for_readers: bool,
    steady: SteadyClock,
    /// CLOCK_MONOTONIC in ns when it was opened.
    started_ns: u64,
    /// Number of segments that retention has removed since then, and their bytes.
    retired: (u64, u64),
    removed: bool,
    /// Whether it ends: nothing more is taken except the pending event.
    ending: bool,
}

/// The figures of a recording; the fields are those of
/// [`RecorderStatus`](crate::journal::record::recorder::RecorderStatus).
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) written: u64,
    pub(crate) durable: u64,
    pub(crate) end: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    pub(crate) shortage: Option<Shortage>,
    pub(crate) drops: bool,
    pub(crate) warning: Option<String>,
    pub(crate) retired: (u64, u64),
}

/// The parts of a recording; see `opening.rs`.
pub(crate) struct Parts {
    pub(crate) channel: Channel,
    pub(crate) options: RecorderOptions,
    pub(crate) directory: PathBuf,
    pub(crate) writer: Writer<Disk>,
    pub(crate) files: std::sync::Arc<Files>,
    pub(crate) intake: Intake,
    pub(crate) page: StatusPage,
    pub(crate) gap: Option<Gap>,
    pub(crate) backlog: VecDeque<UnfinishedEvent>,
    pub(crate) time_ns: u64,
    pub(crate) numbers: PublisherNumbers,
}

impl Recording {
    pub(crate) fn new(parts: Parts) -> Recording {
        let Parts {
            channel,
            options,
            directory,
            writer,
            files,
            intake,
            page,
            gap,
            backlog,
            time_ns,
            numbers,
        } = parts;
        let mut numbers = numbers;
        // Each session records the numbers again, so that older segments can be removed.
        numbers.forget_saved();
        let (skip_until, intake_at) = (writer.end(), intake.position());
        let table = Sequences::new(intake.member().memories.ring, channel.header().producers_max as usize);
        page.set_state(JournalState::Recording);
        Recording {
            channel,
            options,
            directory,
            writer,
            files,
            intake,
            page,
            pending: None,
            gap,
            backlog,
            joined_at: intake_at,
            let_go_at: intake_at,
            skip_until,
            time_ns,
            stamps: Stamps::after(time_ns),
            events: 0,
            bytes: 0,
            shortage: None,
            warning: None,
            lost: gap.as_ref().map_or(0, |gap| if gap.events == u64::MAX { 0 } else { gap.events }),
            told: (0, 0),
            announced: Announced::default(),
            next_probe_ns: 0,
            next_look_ns: 0,
            next_state_ns: 0,
            acks: None,
            cursors: None,
            numbers,
            table,
            keeper: Keeper::default(),
            cursors_settled: Default::default(),
            acks_settled: Default::default(),
            waits_for_readers: false,
            steady: SteadyClock::default(),
            started_ns: clock::monotonic_ns(),
            retired: (0, 0),
            removed: false,
            ending: false,
        }
    }

    /// The journal's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the channel has been removed, so that nothing more will come.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }

    /// Whether retention should remove what all consumers have read, and no consumer reads durably.
    pub(crate) fn waits_for_readers(&self) -> bool {
        self.waits_for_readers
    }

    /// Changes the options that may change while it records: retention, the policy for a full disk, and how
    /// often states are recorded.
    pub(crate) fn adjust(&mut self, options: &RecorderOptions) {
        self.options.adjust(options);
    }

    /// Does one round: takes events from the ring, gives the writer its turn, and publishes how far it is.
    /// Waits for the disk at most `wait`, and only when there was nothing to take.
    ///
    /// # Errors
    /// The error of the disk, after which nothing is recorded any more; [`Error::Corrupt`] for the channel.
    pub(crate) fn round(&mut self, wait: Duration) -> Result<Round> {
        let took = self.take()?;
        if self.intake.member().is_lost() {
            return Err(truncated(&self.channel));
        }
        let now_ns = clock::monotonic_ns();
        if took == 0 && now_ns >= self.next_probe_ns {
            self.next_probe_ns = now_ns + PROBE_EVERY_NS;
            // The next round releases what this steps over.
            self.intake.step_over_the_dead();
        }
        if now_ns >= self.next_state_ns {
            self.record_states(now_ns);
        }
        if now_ns >= self.next_look_ns {
            self.next_look_ns = now_ns + LOOK_EVERY_NS;
            self.look_around();
        }
        let wait = if took > 0 { Duration::ZERO } else { wait };
        let progress = self.turn(now_ns, wait)?;
        if progress.rotated {
            // The states are recorded again in each segment, so that older segments can be removed.
            (self.acks, self.cursors, self.next_state_ns) = (None, None, 0);
            self.numbers.forget_saved();
            self.keeper.list_again();
        }
        let told = (progress.written, progress.durable);
        let moved = took > 0 || told != std::mem::replace(&mut self.told, told);
        Ok(Round { moved, in_flight: self.writer.is_busy(), due_ns: self.writer.deadline_ns(now_ns) })
    }

    fn turn(&mut self, now_ns: u64, wait: Duration) -> Result<Progress> {
        let progress = self.writer.turn(now_ns, wait)?;
        if progress.shortage != self.shortage {
            self.shortage = progress.shortage;
            self.page.set_shortage(self.shortage);
        }
        self.tell();
        Ok(progress)
    }

    fn tell(&self) {
        self.page.advance(self.writer.written(), self.writer.durable(), self.writer.end());
    }

    /// Moves events from the ring to the staging. Returns how many.
    fn take(&mut self) -> Result<u64> {
        if !self.record_gap() {
            return if self.drops() { self.drop_events() } else { Ok(0) };
        }
        if !self.backlog.is_empty() && !self.take_backlog() {
            return Ok(0);
        }
        let (mut taken, mut bytes, mut since_release) = (0u64, 0u64, 0u32);
        // The ring keeps an event that the staging does not hold as a whole, until it is written.
        if self.pending.is_none() && self.writer.kept() < self.writer.end() {
            return Ok(0);
        }
        self.time_ns = self.stamps.next_ns();
        while bytes < ROUND_BYTES {
            let event = match self.pending.take() {
                Some(event) => event,
                None if self.ending => break,
                None => {
                    if since_release >= RELEASE_EVERY {
                        since_release = 0;
                        self.intake.release();
                    }
                    match self.next()? {
                        Some(event) => event,
                        None => break,
                    }
                }
            };
            if self.gap.is_some() && !self.record_gap() {
                self.pending = Some(event);
                break;
            }
            // SAFETY: the intake is asked for another event only after this one is staged or dropped.
            let body = unsafe { event.body() };
            // A state cannot lie among the pieces of an event; it was recorded before the first piece.
            if !self.writer.is_within(event.position) {
                self.numbers.expect(event.header, body, &self.table);
                if !self.record_new_number() {
                    self.pending = Some(event);
                    break;
                }
            }
            let staged =
                self.writer.append(event.header, event.position, event.end_position, body, self.time_ns);
            if let Err(Full) = staged {
                self.pending = Some(event);
                break;
            }
            self.numbers.note(event.header, body);
            let body_bytes = u64::from(frame::body_bytes(event.header));
            taken += 1;
            since_release += 1;
            bytes += body_bytes + 32;
            self.events += 1;
            self.bytes += body_bytes;
            if self.writer.kept() < self.writer.end() {
                break;
            }
        }
        if self.pending.is_none() && self.writer.kept() >= self.writer.end() {
            self.let_go();
        }
        if taken > 0 {
            self.page.count(self.events, self.bytes);
        }
        if self.pending.is_some() && self.drops() {
            taken += self.drop_events()?;
        }
        Ok(taken)
    }

    /// Releases the room in the ring of everything that was taken, all of which is staged. A dead or living
    /// producer may have given up the positions after the last event.
    fn let_go(&mut self) {
        let (end, at) = (self.writer.end(), self.intake.position());
        if at == self.let_go_at || self.gap.is_some() {
            return;
        }
        if at > end && !self.intake.is_lossy() {
            self.page.note_skipped(end, at);
        }
        self.let_go_at = at;
        self.intake.release();
    }

    /// Stages what a queue held before its tap joined. Positions that are missing in between were done, or
    /// carry no event. Returns false while there is no room.
    fn take_backlog(&mut self) -> bool {
        self.time_ns = self.stamps.next_ns();
        while let Some(event) = self.backlog.pop_front() {
            let end = event.ticket + 1;
            if !self.skip_to(event.ticket)
                || self.writer.append(event.header, event.ticket, end, &event.body, self.time_ns).is_err()
            {
                self.backlog.push_front(event);
                return false;
            }
            self.events += 1;
            self.bytes += event.body.len() as u64;
        }
        self.skip_to(self.joined_at)
    }

    /// Records that nothing is recorded up to `position`. Returns false while there is no room.
    fn skip_to(&mut self, position: u64) -> bool {
        let end = self.writer.end();
        if position <= end {
            return true;
        }
        let gap = Gap { from: end, to: position, events: position - end, reason: GapReason::NotRecorded };
        let recorded = self.writer.append_gap(&gap, self.time_ns).is_ok();
        if recorded {
            self.page.note_gap(&gap);
        }
        recorded
    }

    /// Returns the next event that is not in the journal yet.
    fn next(&mut self) -> Result<Option<Taken>> {
        loop {
            match self.intake.take() {
                Ok(Some(event)) if event.position < self.skip_until => {}
                Ok(event) => return Ok(event),
                Err(RecvError::Lost { from, to, events }) => {
                    let gap = Gap { from, to, events, reason: GapReason::Overrun };
                    if let Some(gap) = clipped(gap, self.skip_until) {
                        self.note_gap(gap);
                        return Ok(None);
                    }
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
    }

    fn explain(&self, error: RecvError) -> Error {
        match error {
            RecvError::Corrupt(why) => Error::corrupt(format!("channel {}", self.channel.name()), why),
            RecvError::Forked => Error::Forked,
            error => Error::PeerGone {
                what: format!("the journaller's subscription of {}", self.channel.name()),
                why: error.to_string(),
            },
        }
    }

    /// Publishes a gap at once, and keeps it until it is recorded.
    fn note_gap(&mut self, gap: Gap) {
        self.page.note_gap(&gap);
        self.lost = self.lost.saturating_add(if gap.events == u64::MAX { 0 } else { gap.events });
        match &mut self.gap {
            Some(last) if last.to == gap.from && last.reason == gap.reason => {
                last.to = gap.to;
                last.events = last.events.saturating_add(gap.events);
            }
            Some(last) => {
                // If a hole has two reasons, the first is recorded for both.
                last.to = last.to.max(gap.to);
                last.events = last.events.saturating_add(gap.events);
            }
            None => self.gap = Some(gap),
        }
    }

    /// Records the gap that is kept, if there is one. Returns false while there is no room.
    fn record_gap(&mut self) -> bool {
        if let Some(gap) = &self.gap {
            self.time_ns = self.stamps.next_ns();
            if self.writer.append_gap(gap, self.time_ns).is_err() {
                return false;
            }
            self.gap = None;
        }
        true
    }

    /// Records a new publisher that numbers its events, before its first event. Returns false while there is
    /// no room.
    fn record_new_number(&mut self) -> bool {
        let Some(state) = self.numbers.urgent() else { return true };
        let recorded = self.writer.append_state(RecordKind::Sequences, &state.encode(), self.time_ns).is_ok();
        if recorded {
            self.numbers.saved();
        }
        recorded
    }

    /// Whether events are to be dropped now.
    fn drops(&self) -> bool {
        self.shortage == Some(Shortage::Space) && self.options.when_full == WhenFull::Drop
    }

    /// Takes events and drops them. Returns how many.
    fn drop_events(&mut self) -> Result<u64> {
        let mut dropped = 0u64;
        let mut gap: Option<Gap> = None;
        while dropped < 4096 {
            let event = match self.pending.take() {
                Some(event) => event,
                None => match self.next()? {
                    Some(event) => event,
                    None => break,
                },
            };
            let from = gap.map_or(event.position, |gap| gap.from);
            dropped += 1;
            gap = Some(Gap { from, to: event.end_position, events: dropped, reason: GapReason::DiskFull });
        }
        if let Some(gap) = gap {
            self.note_gap(gap);
            self.intake.release();
        }
        Ok(dropped)
    }

    /// Announces the thread in the channel before it sleeps.
    pub(crate) fn announce(&mut self, sleep: &mut Sleep) {
        let member = self.intake.member();
        let is_queue = member.channel.header().kind == Kind::Queue;
        sleep.announce(&member.memories, is_queue, &mut self.announced);
    }

    /// Takes what is in the ring, writes it, makes it durable, and seals the segment. After about 1 s no
    /// more events are taken, even if publishers go on.
    ///
    /// # Errors
    /// The error of the disk; [`Error::NoSpace`] when it is full: staged events stay in the staging for the
    /// next journaller.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.page.set_state(JournalState::Draining);
        let until_ns = clock::monotonic_ns() + DRAIN_NS;
        loop {
            let took = self.take()?;
            self.intake.step_over_the_dead();
            let now_ns = clock::monotonic_ns();
            let progress = self.turn(now_ns, Duration::from_millis(u64::from(took == 0)))?;
            if progress.shortage.is_some() && (self.pending.is_some() || self.gap.is_some()) {
                break;
            }
            let is_empty = took == 0 && self.pending.is_none() && self.gap.is_none();
            if is_empty {
                break;
            }
            // A pending event is recorded whole, however long that takes.
            self.ending |= now_ns >= until_ns;
        }
        let now_ns = clock::monotonic_ns();
        self.record_states(now_ns);
        self.writer.finish(now_ns)?;
        self.tell();
        // The staging holds nothing that a successor would need. This removes only its name, while this
        // process still has it mapped. If the channel was removed, the staging of that name may belong to a
        // successor.
        if !self.channel.is_removed().unwrap_or(true) {
            let _ = std::fs::remove_file(&self.channel.paths().stage);
        }
        self.page.set_state(JournalState::Stopped);
        Ok(())
    }

    /// Reports at once to everybody who waits that the disk, the channel, or the recorder itself has failed.
    pub(crate) fn poison(&mut self, error: &Error, crashed: bool) {
        self.tell();
        self.page.poison(error, crashed);
    }

    /// Returns how far it is, and what it has recorded and lost.
    pub(crate) fn figures(&self) -> Figures {
        let writer = &self.writer;
        Figures {
            written: writer.written(),
            durable: writer.durable(),
            end: writer.end(),
            events: self.events,
            bytes: self.bytes,
            lost: self.lost,
            shortage: self.shortage,
            drops: self.drops(),
            warning: self.warning.clone(),
            retired: self.retired,
        }
    }
}

/// Returns the error for a file of the channel that a process with the right to write it has cut short.
fn truncated(channel: &Channel) -> Error {
    let why = "a file of it was truncated while it was mapped; remove the channel and create it again";
    Error::corrupt(format!("channel {}", channel.name()), why)
}

/// Returns the part of a gap that lies at or after `from`.
fn clipped(gap: Gap, from: u64) -> Option<Gap> {
    (gap.to > from).then(|| {
        let events = if gap.from < from { u64::MAX } else { gap.events };
        Gap { from: gap.from.max(from), events, ..gap }
    })
}
