//! One channel being recorded: from the ring into the staging, from the staging to the disk.
//!
//! ```text
//! ring --take--> staging (shared, NAME.stage) --writer--> segments      NAME.journal: how far
//!        |                                                     ^
//!        +-- the cursor follows: the ring is free              +-- gaps, acknowledgements, cursors of subscribers
//! ```
//!
//! [`Recording::round`] is one step of it, and never blocks but for the time it is given: many recordings share a
//! thread. An event is in the staging, and counted there, before the cursor passes it, so that there is no moment at
//! which killing this process loses one. While the staging is full, events stay in the ring; when the ring is full,
//! publishers wait (gating), or this reader is overrun and records what it missed (lossy). A full disk is the same,
//! unless the policy is to drop.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus_log::disk::choose::Disk;
use railbus_log::disk::files::Files;
use railbus_log::format::{Gap, GapReason, RecordKind};
use railbus_log::retention::{Keeper, Now, Settled, Stand};
use railbus_log::shortage::Shortage;
use railbus_log::steady::{Stamps, SteadyClock};
use railbus_log::write::{Full, Progress, Writer};
use railbus_os::clock;
use railbus_ring::frame;
use railbus_ring::slots::sequence::Sequences;
use railbus_ring::slots::word::Slots;

use crate::channel::Kind;
use crate::channel::journal_status::{JournalState, StatusPage};
use crate::channel::mapped::Trusted;
use crate::channel::open::Channel;
use crate::error::{Error, RecvError, Result};
use crate::journal::checkpoint;
use crate::journal::options::{RecorderOptions, WhenFull};
use crate::journal::record::doorbell::{Announced, Sleep};
use crate::journal::record::intake::{Intake, Taken};
use crate::journal::record::publisher_numbers::PublisherNumbers;
use crate::journal::record::recorded_state::{Acks, Cursors};
use crate::journal::record::remake::UnfinishedEvent;

/// Bytes taken from a ring in one round, so that many channels share a thread fairly and blocks are sent off soon.
const ROUND_BYTES: u64 = 256 << 10;
/// Events between two releases of the ring within a round.
const RELEASE_EVERY: u32 = 64;
/// A quiet channel's peers are asked after this often.
const PROBE_EVERY_NS: u64 = 1_000_000;
/// How often retention looks, and whether the channel still has its name.
const LOOK_EVERY_NS: u64 = 250_000_000;
/// A wall clock that was wrong at the start is set right within this time; only then are segments of earlier runs removed
/// for their age, unless that is less.
const TRUST_AFTER_NS: u64 = 600_000_000_000;
/// How long a stopping journal goes on taking what publishers go on publishing.
const DRAIN_NS: u64 = 1_000_000_000;

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    /// Something was taken, written or made durable.
    pub(crate) moved: bool,
    /// Writes or syncs are in flight: waiting for them is worth more than sleeping.
    pub(crate) in_flight: bool,
    /// When there is something to do although nothing happens, CLOCK_MONOTONIC.
    pub(crate) due_ns: Option<u64>,
}

/// A channel being recorded.
pub(crate) struct Recording {
    pub(crate) channel: Channel,
    options: RecorderOptions,
    directory: PathBuf,
    // The order of the fields is the order in which they go: the writer before its memory and the page that tells of it.
    writer: Writer<Disk>,
    files: std::sync::Arc<Files>,
    intake: Intake,
    page: StatusPage,
    /// An event that was taken while the staging was full.
    pending: Option<Taken>,
    /// What is missing and has not been recorded yet.
    gap: Option<Gap>,
    /// What a queue held before the first event that its tap gets.
    backlog: VecDeque<UnfinishedEvent>,
    /// Where the tap had joined: what lies before is the backlog's.
    joined_at: u64,
    /// Where the intake was when everything before was let go of.
    let_go_at: u64,
    /// Events before this position are in the journal already.
    skip_until: u64,
    /// The time of the last batch, and what gives the next one.
    time_ns: u64,
    stamps: Stamps,
    events: u64,
    bytes: u64,
    shortage: Option<Shortage>,
    /// What failed at the last look around, and is tried again.
    warning: Option<String>,
    /// Events that are missing since it was opened, as far as they could be counted.
    lost: u64,
    /// Written and durable after the last round.
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
    /// What the recorded cursors and acknowledgements say, and how many of each were appended.
    cursors_settled: (Settled, u64),
    acks_settled: (Settled, u64),
    /// What is read by all was to be removed, and there is nobody who reads durably.
    waits_for_readers: bool,
    steady: SteadyClock,
    /// CLOCK_MONOTONIC when it was opened.
    started_ns: u64,
    /// Segments that retention has removed since then, and their bytes.
    retired: (u64, u64),
    removed: bool,
    /// It ends: nothing more is taken but the event that is in hand.
    ending: bool,
}

/// How a recording stands; the fields are those of [`RecorderStatus`](crate::journal::record::recorder::RecorderStatus).
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

/// What a recording is made of; see `opening.rs`.
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
        // Each session says it anew, so that older segments can go.
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

    /// Its journal's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the channel has been removed: nothing more will come.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }

    /// Whether retention was told to remove what is read by all, and there is nobody who reads durably.
    pub(crate) fn waits_for_readers(&self) -> bool {
        self.waits_for_readers
    }

    /// Changes what may change while it records: retention, what to do when the disk is full, how often states are
    /// recorded.
    pub(crate) fn adjust(&mut self, options: &RecorderOptions) {
        self.options.adjust(options);
    }

    /// One round: takes what is there, gives the writer its turn, and tells how far it is. Waits for the disk at most
    /// `wait`, and only when there was nothing to take.
    ///
    /// # Errors
    /// The disk's, after which nothing is recorded any more; [`Error::Corrupt`] of the channel.
    pub(crate) fn round(&mut self, wait: Duration) -> Result<Round> {
        let took = self.take()?;
        if self.intake.member().is_lost() {
            return Err(truncated(&self.channel));
        }
        let now_ns = clock::monotonic_ns();
        if took == 0 && now_ns >= self.next_probe_ns {
            self.next_probe_ns = now_ns + PROBE_EVERY_NS;
            // The next round lets go of what this steps over.
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
            // Each segment can speak for itself, so that older ones can go.
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
            // A state cannot stand among the pieces of an event: it came before the first one.
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

    /// Lets the ring have the room of everything that was taken, all of which is staged. A dead or a living producer may
    /// have given up the positions behind the last event.
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

    /// Stages what a queue held before its tap had joined. What is missing between was done, or carries no event. False
    /// while there is no room.
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

    /// Records that nothing is recorded up to `position`. False while there is no room.
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

    /// The next event that is not in the journal yet.
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

    /// Tells of a gap at once, and keeps it until it is recorded.
    fn note_gap(&mut self, gap: Gap) {
        self.page.note_gap(&gap);
        self.lost = self.lost.saturating_add(if gap.events == u64::MAX { 0 } else { gap.events });
        match &mut self.gap {
            Some(last) if last.to == gap.from && last.reason == gap.reason => {
                last.to = gap.to;
                last.events = last.events.saturating_add(gap.events);
            }
            Some(last) => {
                // Two reasons in one hole: the first stands for both.
                last.to = last.to.max(gap.to);
                last.events = last.events.saturating_add(gap.events);
            }
            None => self.gap = Some(gap),
        }
    }

    /// Records the gap that is noted, if there is one. False while there is no room.
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

    /// Records a publisher that numbers its events and is new, before its first event. False while there is no room.
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

    /// Takes events and lets them go. Returns how many.
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

    /// Records where the durable subscriptions stand and what of a queue is not done, if that has changed.
    fn record_states(&mut self, now_ns: u64) {
        self.next_state_ns = now_ns + self.options.state_every.as_nanos() as u64;
        let memories = self.intake.member().memories;
        self.time_ns = self.stamps.next_ns();
        let cursors = Cursors::read(&memories, &self.channel);
        // The first record comes even when there are none: a journal whose channel was never published to says whose it
        // is, too.
        if self.cursors.as_ref() != Some(&cursors)
            && self.writer.append_state(RecordKind::Cursors, &cursors.encode(), self.time_ns).is_ok()
        {
            note_state(&mut self.cursors_settled, unread_by(&cursors));
            self.cursors = Some(cursors);
        }
        if let Some(state) = self.numbers.unsaved()
            && self.writer.append_state(RecordKind::Sequences, &state.encode(), self.time_ns).is_ok()
        {
            self.numbers.saved();
        }
        let header = self.channel.header();
        if header.kind != Kind::Queue {
            return;
        }
        let slots = Slots::new(header.slots, header.slot_bytes);
        let from = self.acks.as_ref().map_or(0, |acks| acks.lowest);
        let acks = Acks::read(&memories, slots, from, self.writer.end());
        if self.acks.as_ref() != Some(&acks)
            && self.writer.append_state(RecordKind::Acks, &acks.encode(), self.time_ns).is_ok()
        {
            note_state(&mut self.acks_settled, acks.lowest);
            self.acks = Some(acks);
        }
        // A long row of unfinished events is not read over and over.
        let took_ns = clock::monotonic_ns().saturating_sub(now_ns);
        self.next_state_ns = self.next_state_ns.max(now_ns + 50 * took_ns);
    }

    /// What happens now and then: retention, and whether the channel is still there. No event depends on either, so a
    /// failure is told, and tried again at the next look.
    fn look_around(&mut self) {
        let removed = self.channel.is_removed().map(|removed| self.removed = removed);
        let failure = removed.and_then(|()| self.remove_old()).err().map(|error| error.to_string());
        let warning = failure.or_else(|| self.steady.suspicion().map(suspicious));
        if warning != self.warning {
            self.page.set_warning(warning.as_deref().unwrap_or(""));
            self.warning = warning;
        }
    }

    /// Removes the segments that may go.
    fn remove_old(&mut self) -> Result<()> {
        if !self.options.retention.is_active() {
            return Ok(());
        }
        let memories = self.intake.member().memories;
        let cursors = Cursors::read(&memories, &self.channel);
        // After a crash, what was recorded last counts.
        let recorded = self.cursors_settled.0.unread(self.writer.durable_states(RecordKind::Cursors));
        let mut unread = unread_by(&cursors).min(recorded);
        if self.channel.header().kind == Kind::Queue {
            unread = unread.min(self.acks_settled.0.unread(self.writer.durable_states(RecordKind::Acks)));
        }
        // Where a checkpoint cannot be read, it may need everything.
        let checkpoints = checkpoint::positions_in(&self.directory, self.channel.header().channel_id);
        let has_readers = self.channel.header().kind == Kind::Queue
            || !cursors.0.is_empty()
            || checkpoints.as_ref().is_ok_and(|all| !all.is_empty());
        unread =
            checkpoints.map_or(0, |all| all.iter().map(|&(_, position)| position).fold(unread, u64::min));
        // What nobody reads is not read by all: it stays, and the status says so.
        self.waits_for_readers = self.options.retention.consumed && !has_readers;
        let mut retention = self.options.retention;
        retention.consumed &= has_readers;
        let patience = self.options.retention.max_age.unwrap_or_default();
        let running_ns = clock::monotonic_ns().saturating_sub(self.started_ns);
        let now = Now {
            wall_ns: self.steady.now_ns(patience),
            boot_ns: clock::boottime_ns(),
            is_trusted: running_ns >= (patience.as_nanos() as u64).min(TRUST_AFTER_NS),
        };
        let stand =
            Stand { now, durable: self.writer.durable(), states_from: self.writer.states_from(), unread };
        let failed = |error| Error::io("look for segments to remove in", &self.directory, error);
        let removable = self.keeper.removable(&*self.files, &retention, stand).map_err(failed)?;
        for segment in removable {
            match self.files.retire(segment, self.options.segment_bytes) {
                // `railbus journal prune` was faster.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                retired => {
                    retired.map_err(|error| Error::io("remove a segment of", &self.directory, error))?;
                }
            }
            self.retired.0 += 1;
            self.retired.1 += self.keeper.forget(segment);
        }
        if let Some(first) = self.keeper.first_position() {
            self.page.set_first(first);
        }
        Ok(())
    }

    /// Announces the thread in the channel before it sleeps.
    pub(crate) fn announce(&mut self, sleep: &mut Sleep) {
        let member = self.intake.member();
        let is_queue = member.channel.header().kind == Kind::Queue;
        sleep.announce(&member.memories, is_queue, &mut self.announced);
    }

    /// Takes what is there, writes it, makes it durable, and seals. No more events are taken after about a second, even
    /// if publishers go on.
    ///
    /// # Errors
    /// The disk's; [`Error::NoSpace`] when it is full: what was staged stays staged for the next journaller.
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
            // What is in hand is recorded whole, however long that takes.
            self.ending |= now_ns >= until_ns;
        }
        let now_ns = clock::monotonic_ns();
        self.record_states(now_ns);
        self.writer.finish(now_ns)?;
        self.tell();
        // Nothing is in it that a successor would need; while this process has it mapped, its name is all that goes. A
        // channel that was removed may have a successor of its name by now, whose staging it would be.
        if !self.channel.is_removed().unwrap_or(true) {
            let _ = std::fs::remove_file(&self.channel.paths().stage);
        }
        self.page.set_state(JournalState::Stopped);
        Ok(())
    }

    /// The disk, the channel, or the recorder itself has failed: everybody who waits is told at once.
    pub(crate) fn poison(&mut self, error: &Error, crashed: bool) {
        self.tell();
        self.page.poison(error, crashed);
    }

    /// How far it is, and what it has recorded and lost.
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

/// The lowest position that a durable subscription has still to read; `u64::MAX` without any.
fn unread_by(cursors: &Cursors) -> u64 {
    cursors.0.iter().map(|cursor| cursor.position).min().unwrap_or(u64::MAX)
}

/// A state was appended that says what is unread.
fn note_state((settled, count): &mut (Settled, u64), unread: u64) {
    *count += 1;
    settled.appended(*count, unread);
}

/// Somebody who may write the channel's files has cut one short.
fn truncated(channel: &Channel) -> Error {
    let why = "a file of it was truncated while it was mapped; remove the channel and create it again";
    Error::corrupt(format!("channel {}", channel.name()), why)
}

/// What there is to say about a wall clock that was set forward.
fn suspicious(ahead: Duration) -> String {
    format!(
        "the wall clock has stepped forward by {} s; ages of segments are counted by the time that has passed, until the \
         step has lasted for as long as the age at which they are removed",
        ahead.as_secs()
    )
}

/// What of a gap lies at or behind `from`.
fn clipped(gap: Gap, from: u64) -> Option<Gap> {
    (gap.to > from).then(|| {
        let events = if gap.from < from { u64::MAX } else { gap.events };
        Gap { from: gap.from.max(from), events, ..gap }
    })
}
