//! Opening a channel's journal for recording: everything between two journallers, in the required order.
//!
//! ```text
//! lock the directory   no write of an earlier writer is in flight any more
//! whose journal?       another channel's of the same name is moved aside
//! claim NAME.journal   this process is the channel's journaller
//! recover              the torn tail is cut; the end is known, sealed and durable
//! take over            a writer of its own writes, syncs and seals what a killed predecessor had staged:
//!                      only then is the staging used again; after a kill in between, the next one repeats it
//! join the ring        at the end of the journal; what lies between is a gap, and is recorded as one
//! ```

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use railbus_log::block::{Assembler, Link, Record};
use railbus_log::disk::choose::{self as disk, Disk, DiskOptions};
use railbus_log::disk::files::Files;
use railbus_log::disk::lock::{Lock, PATIENCE};
use railbus_log::disk::store::Store;
use railbus_log::format::{
    BLOCK_BYTES_MAX, Gap, GapReason, PositionUnit, RecordKind, SECTOR_BYTES, SegmentHeader,
};
use railbus_log::read::stored::events_from;
use railbus_log::recover::{Recovered, recover};
use railbus_log::stage::buffers::StageMemory;
use railbus_log::stage::words::{Leftover, StageBlock, StageWords};
use railbus_log::steady;
use railbus_log::write::{Identity, Start, SyncPolicy, Writer, WriterOptions};
use railbus_os::random::hex;
use railbus_os::{act_as, clock, file_limit};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::word::{Slots, seq};
use railbus_ring::{frame, layout};

use crate::channel::directory::read_page;
use crate::channel::journal_status::{REMOVED, StatusPage};
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::span::end_of;
use crate::channel::{ChannelName, Header, Kind, Role};
use crate::error::{Error, Result};
use crate::journal::open_report::OpenReport;
use crate::journal::options::{Io, RecorderOptions};
use crate::journal::record::intake::{Intake, Joined};
use crate::journal::record::publisher_numbers::PublisherNumbers;
use crate::journal::record::recorded_state::{Acks, Sequences};
use crate::journal::record::recording::{Parts, Recording};
use crate::journal::record::remake::UnfinishedEvent;
use crate::journal::record::stage_file::Stage;

/// Number of staging blocks of the writer that takes over.
const TAKE_OVER_BLOCKS: usize = 8;

/// Returns the directory of a channel's journal, `JOURNAL/BUS/CHANNEL`, below the directory of all journals.
pub fn directory_of(journal: &Path, name: &ChannelName) -> PathBuf {
    journal.join(name.bus()).join(name.channel())
}

/// A journal's directory, locked.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) files: Arc<Files>,
    pub(crate) lock: Arc<Lock>,
    pub(crate) directory: PathBuf,
}

impl Locked {
    pub(crate) fn open(directory: &Path) -> Result<Locked> {
        let files = Arc::new(Files::create(directory)?);
        let lock = Arc::new(files.lock(PATIENCE)?);
        Ok(Locked { files, lock, directory: directory.to_owned() })
    }

    pub(crate) fn recover(&self) -> Result<Recovered> {
        recover(&*self.files, &self.directory)
    }

    /// Returns the header of the newest segment that has one. It says to which channel the journal belongs.
    pub(crate) fn owner(&self) -> Result<Option<SegmentHeader>> {
        let failed = |error| Error::io("read", &self.directory, error);
        for segment in self.files.segments().map_err(failed)?.into_iter().rev() {
            let mut page = vec![0; SECTOR_BYTES];
            self.files.read_at(segment, 0, &mut page).map_err(failed)?;
            match SegmentHeader::decode(&page) {
                Ok(header) => return Ok(Some(header)),
                Err(flaw) if flaw.is_of_another_version() => {
                    return Err(Error::Version {
                        what: format!("journal {}", self.directory.display()),
                        why: format!("segment {segment}: {flaw}. Nothing was changed"),
                    });
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Opens a way to the disk, and creates a writer on it. Also returns the report of the disk, in one
    /// line.
    pub(crate) fn writer(
        &self,
        memory: StageMemory,
        words: StageWords,
        start: Start,
        identity: Identity,
        options: &RecorderOptions,
        first_segment_bytes: u64,
    ) -> Result<(Writer<Disk>, String)> {
        let disk_options = DiskOptions {
            depth: options.depth,
            io_uring: options.io != Io::Blocking,
            direct: options.direct,
            ..DiskOptions::default()
        };
        let (disk, report) = disk::open(&self.files, &self.lock, memory, &disk_options)?;
        if options.io == Io::Uring && !report.io_uring {
            return Err(Error::invalid("io_uring", format!("it was asked for, and refused: {report}")));
        }
        let writer_options = WriterOptions {
            sync: options.sync,
            segment_bytes: options.segment_bytes,
            first_segment_bytes,
            codec: options.codec,
            linger: options.linger_in_blocks(),
            ..WriterOptions::default()
        };
        Ok((Writer::new(disk, words, start, identity, writer_options)?, report.to_string()))
    }
}

/// Refuses a channel of another user than the owner of the journal's channel. Another user may make a bus of
/// the same name while the owner has none. That user must neither continue the owner's journal nor cause it
/// to be set aside.
fn refuse_another_users(channel: &Channel, locked: &Locked, directory: &Path) -> Result<()> {
    let path = &channel.paths().ring;
    let about = channel.attached().ring_file().metadata();
    let found = about.map_err(|error| Error::io("examine", path, error))?.uid();
    let Some(journal) = locked.owner()?.filter(|journal| journal.owner != found) else { return Ok(()) };
    // A restored channel that could not be given to its owner belongs to this process, and root's is
    // trusted.
    if found == act_as::user() || found == 0 || directory.join(REMOVED).exists() {
        return Ok(());
    }
    Err(Error::NotAllowed {
        action: "record",
        path: path.clone(),
        why: format!(
            "it belongs to user {found}, and its journal {} to user {}; remove the channel, or move that directory away \
             if the channel is the right one",
            directory.display(),
            journal.owner
        ),
    })
}

/// Encodes the policy for the word in `NAME.journal`.
pub(crate) fn sync_word(options: &RecorderOptions) -> u64 {
    match options.sync {
        SyncPolicy::Always => u64::MAX,
        SyncPolicy::Interval(interval) => interval.as_nanos() as u64,
        SyncPolicy::Never => 0,
    }
}

/// Opens the journal of `channel` below `journal`. `dropped` describes the events that were read and dropped
/// before, for lack of room: they become a gap.
pub(crate) fn open(
    channel: &Channel,
    journal: &Path,
    options: &RecorderOptions,
    dropped: Option<Gap>,
) -> Result<(Recording, OpenReport)> {
    options.check()?;
    let journal = std::path::absolute(journal).map_err(|error| Error::io("find", journal, error))?;
    let directory = directory_of(&journal, channel.name());
    file_limit::check(options.segment_bytes, &directory)?;
    let mut report = OpenReport { directory: directory.clone(), ..OpenReport::default() };
    let mut locked = Locked::open(&directory)?;
    let header = channel.header();
    refuse_another_users(channel, &locked, &directory)?;
    if let Some(owner) = locked.owner()?.filter(|owner| owner.channel_id != header.channel_id) {
        let aside = move_aside(&directory, &owner)?;
        // The lock went with the directory.
        locked = Locked::open(&directory)?;
        report.moved_aside = Some(aside);
    }
    let page = StatusPage::claim(channel.attached(), &directory, sync_word(options))?;
    let unit = if header.kind == Kind::Stream { PositionUnit::Bytes } else { PositionUnit::Events };
    let mut identity = identity(channel, &directory, unit)?;
    let mut recovered = locked.recover()?;
    identity.header.clock_step = step_in(&locked, &recovered)?;
    (report.torn_bytes, report.cut) =
        (recovered.torn_bytes, recovered.cut.map(|cut| (cut.from, cut.may_be_acknowledged)));
    let mut stage = Stage::open(channel, options.blocks(channel.header()))?;
    report.taken_over = take_over(&locked, &mut recovered, &stage, &identity, unit, options)?;
    if stage.blocks() != options.blocks(channel.header()) {
        stage = Stage::make(channel, options.blocks(channel.header()))?;
    }
    check_incarnation(channel, &recovered)?;
    check_not_older(channel, &recovered)?;
    let wanted = recovered.header.is_some().then_some(recovered.end_position);
    let (intake, joined) = Intake::join(channel, wanted, options.lossy)?;
    report.lossy = intake.is_lossy();
    let numbers = numbers(&locked, &recovered)?;
    let backlog = backlog(channel, &intake, wanted, joined);
    let skipped = page.skipped(recovered.end_position);
    let (mut start, gap) = begin(channel, &recovered, wanted, joined, skipped, &backlog);
    let gap = gap.map(|gap| explained(gap, dropped));
    if let Some(gap) = &gap {
        page.note_gap(gap);
        report.gap = Some((gap.from, gap.to));
    }
    judge_clock(&mut start, &mut identity, &mut report);
    (report.events, report.end) = (recovered.events, start.link.end_position);
    // SAFETY: the stage's blocks are mapped as long as the keeper lives. This journaller has claimed the
    // page, so no other one uses them, and it refers to them through this memory only.
    let memory = unsafe { StageMemory::new(stage.base(), stage.blocks(), Box::new(stage.keeper())) };
    let memory = memory.map_err(|error| Error::io("use", stage.path(), error))?;
    let first_bytes = options.first_segment_bytes(header);
    let (writer, disk) = locked.writer(memory, stage.state_words(), start, identity, options, first_bytes)?;
    report.disk = disk;
    // The note that the channel was removed is obsolete, because the channel exists.
    match std::fs::remove_file(directory.join(REMOVED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", directory.join(REMOVED), error));
        }
        _ => {}
    }
    let end = start.link.end_position;
    page.start_at(if wanted.is_some() { recovered.first_position } else { end }, end, end, end);
    let parts = Parts {
        channel: channel.clone(),
        options: options.clone(),
        directory,
        writer,
        files: Arc::clone(&locked.files),
        intake,
        page,
        gap,
        backlog,
        time_ns: start.link.time_ns,
        numbers,
    };
    Ok((Recording::new(parts), report))
}

/// Compares the last time in the journal with the clock.
fn judge_clock(start: &mut Start, identity: &mut Identity, report: &mut OpenReport) {
    let now_ns = clock::realtime_ns();
    let ahead_ns = start.link.time_ns.saturating_sub(now_ns);
    report.ahead = (ahead_ns > 1_000_000_000).then(|| Duration::from_nanos(ahead_ns));
    if steady::was_ahead(start.link.time_ns, now_ns) {
        // The clock is right again. The first segment that is made now records that.
        (start.link.time_ns, identity.header.clock_step) = (0, start.segment);
        report.stepped_back = true;
    }
}

/// Returns the `clock_step` of the next segment: where the times of the journal go back; 0 when no segment
/// before that is left.
fn step_in(locked: &Locked, recovered: &Recovered) -> Result<u64> {
    let step = recovered.header.map_or(0, |header| header.clock_step);
    let segments = locked.files.segments().map_err(|error| Error::io("list", &locked.directory, error))?;
    Ok(if segments.first().is_some_and(|&oldest| oldest < step) { step } else { 0 })
}

/// Returns the last numbers of publishers that number their events: the newest record, and later events.
pub(crate) fn numbers(locked: &Locked, recovered: &Recovered) -> Result<PublisherNumbers> {
    let state = RecordKind::Sequences.state_index().and_then(|i| recovered.states.get(i));
    let Some(state) = state.and_then(|state| state.as_ref()) else { return Ok(PublisherNumbers::default()) };
    let recorded = Sequences::decode(&state.body).ok_or_else(|| {
        Error::corrupt(
            format!("the journal {}", locked.directory.display()),
            "the newest record of sequences",
        )
    })?;
    let mut numbers = PublisherNumbers::recorded(recorded);
    events_from(&*locked.files, &locked.directory, state.position, &mut |_, word, body| {
        numbers.note(word, body)
    })?;
    Ok(numbers)
}

/// Decides where the writer begins, and what is missing between there and the first event that it will get.
/// If the subscription existed already, no event lies between the journal's end and `skipped`.
fn begin(
    channel: &Channel,
    recovered: &Recovered,
    wanted: Option<u64>,
    joined: Joined,
    skipped: u64,
    backlog: &VecDeque<UnfinishedEvent>,
) -> (Start, Option<Gap>) {
    let first = backlog.front().map_or(joined.at, |event| event.ticket);
    let Some(end) = wanted else {
        // Events that were published before there was a journal are recorded as a gap.
        let from = channel.header().first_position.min(first);
        let link = Link { end_position: from, ..Link::default() };
        let is_stream = channel.header().kind == Kind::Stream;
        let gap = (first > from).then(|| Gap {
            from,
            to: first,
            events: if is_stream { u64::MAX } else { first - from },
            reason: GapReason::NotRecorded,
        });
        return (Start { link, ..recovered.start }, gap);
    };
    let gap = (first > if joined.resumed { skipped } else { end }).then(|| Gap {
        from: end,
        to: first,
        events: if channel.header().kind == Kind::Stream { u64::MAX } else { first - end },
        // The cursor held the events for an earlier journaller, which had staged them and lost them.
        reason: if joined.resumed { GapReason::StagingLost } else { GapReason::NotRecorded },
    });
    (recovered.start, gap)
}

/// Returns the gap before a journal that is opened, with the reason that its events were dropped for lack of
/// room, if that is known.
fn explained(gap: Gap, dropped: Option<Gap>) -> Gap {
    match dropped {
        Some(dropped) if dropped.to > gap.from => {
            // Positions between them that carry no event are no loss.
            let is_all = dropped.from >= gap.from && dropped.to >= gap.to && gap.events == u64::MAX;
            let events = if is_all { dropped.events } else { gap.events };
            Gap { events, reason: GapReason::DiskFull, ..gap }
        }
        _ => gap,
    }
}

/// Collects the events of a queue that lie before the first one that its tap will get, are not done, and are
/// not in the journal: without them the queue could not be made again. An event that is not done stays where
/// it is. So if an event is still not done after it was copied, the copy is whole.
fn backlog(
    channel: &Channel,
    intake: &Intake,
    wanted: Option<u64>,
    joined: Joined,
) -> VecDeque<UnfinishedEvent> {
    let header = channel.header();
    let mut backlog = VecDeque::new();
    if header.kind != Kind::Queue {
        return backlog;
    }
    let slots = Slots::new(header.slots, header.slot_bytes);
    let body_max = slots.slot_bytes() - layout::SLOT_BODY as u64;
    let memories = intake.member().memories;
    let from = wanted.unwrap_or(0).max(joined.at.saturating_sub(slots.count));
    let acks = |ticket| Acks::read(&memories, slots, ticket, ticket + 1);
    for ticket in from..joined.at {
        let at = slots.offset(ticket);
        // PUBLISH: as in the readers.
        let seen = memories.data.load(at + layout::SLOT_SEQ, Edge::Publish);
        let header = memories.data.load(at + layout::SLOT_META, Edge::Plain);
        let attempts = acks(ticket).unfinished(ticket);
        if seen != slots.state(ticket, seq::PUBLISHED)
            || !frame::is_event(header, body_max)
            || attempts.is_none()
        {
            continue;
        }
        let bytes = frame::body_bytes(header) as usize;
        let words =
            (0..bytes.div_ceil(8)).map(|i| memories.data.load(at + layout::SLOT_BODY + i * 8, Edge::Plain));
        let mut body: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        body.truncate(bytes);
        // VALIDATE: if its slot had been used again, the event would be done now.
        memories.done.fence(Edge::Validate);
        if let Some(attempts) = acks(ticket).unfinished(ticket) {
            backlog.push_back(UnfinishedEvent { ticket, header, body, attempts });
        }
    }
    backlog
}

/// Checks that the channel is the one with which the journal continues.
fn check_incarnation(channel: &Channel, recovered: &Recovered) -> Result<()> {
    let header = channel.header();
    let Some(last) = &recovered.header else { return Ok(()) };
    let what = || format!("channel {} (incarnation {})", channel.name(), header.incarnation);
    if header.incarnation < last.incarnation {
        return Err(Error::corrupt(
            what(),
            format!(
                "its journal is of incarnation {} already: remove the channel, and let it be made again",
                last.incarnation
            ),
        ));
    }
    if header.incarnation > last.incarnation && header.first_position < recovered.end_position {
        return Err(Error::corrupt(
            what(),
            format!(
                "it was made again at position {}, and its journal ends at {}: positions would be used twice; move \
                 the journal away, or let `railbus journald` make the channel again",
                header.first_position, recovered.end_position
            ),
        ));
    }
    Ok(())
}

/// Refuses a channel that ends before its journal does. It is an older copy of the recorded channel. Events
/// published to it would get positions that the journal has given to other events.
fn check_not_older(channel: &Channel, recovered: &Recovered) -> Result<()> {
    let Some(last) = &recovered.header else { return Ok(()) };
    let maps = channel.map(Role::Observer)?;
    // SAFETY: the maps outlive the memories, and nothing is stored through them.
    let memories = unsafe { Memories::of(&maps) };
    let end = end_of(channel, &memories)?;
    if channel.header().incarnation != last.incarnation || end >= recovered.end_position {
        return Ok(());
    }
    Err(Error::corrupt(
        format!("channel {} (incarnation {})", channel.name(), last.incarnation),
        format!(
            "it ends at {end}, and its journal at {}: it is an older copy, brought back beside the newer journal, and is not \
             recorded, because the journal has other events at these positions. Move its files ({}.*) away, and the next start \
             of `railbus journald` makes the channel again from its journal; or move the journal away to keep the copy",
            recovered.end_position,
            channel.paths().ring.with_extension("").display()
        ),
    ))
}

/// Builds the description of the channel that every segment carries.
fn identity(channel: &Channel, directory: &Path, unit: PositionUnit) -> Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let paths = channel.paths();
    let (ring, acks) = (channel.attached().ring_file(), channel.attached().acks_file());
    let about = |file: &std::fs::File, path: &Path| {
        file.metadata().map_err(|error| Error::io("examine", path, error))
    };
    let (ring_about, acks_about) = (about(ring, &paths.ring)?, about(acks, &paths.acks)?);
    let header: &Header = channel.header();
    let segment = SegmentHeader {
        channel_id: header.channel_id,
        incarnation: header.incarnation,
        created_ns: clock::realtime_ns(),
        owner: ring_about.uid(),
        ring_group: ring_about.gid(),
        ring_mode: ring_about.mode() & 0o666,
        acks_group: acks_about.gid(),
        acks_mode: acks_about.mode() & 0o666,
        unit,
        ..SegmentHeader::default()
    };
    let page = read_page(ring, &paths.ring)?;
    Identity::new(segment, &page[..], directory)
}

/// Moves the journal of another channel of the same name out of the way.
pub(crate) fn move_aside(directory: &Path, owner: &SegmentHeader) -> Result<PathBuf> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = hex(&owner.channel_id);
    for try_ in 0..1000u32 {
        let suffix = if try_ == 0 { String::new() } else { format!(".{try_}") };
        let aside = directory.with_file_name(format!("{name}~{}{suffix}", &id[..8]));
        if aside.exists() {
            continue;
        }
        return std::fs::rename(directory, &aside)
            .map(|()| aside)
            .map_err(|error| Error::io("move aside", directory, error));
    }
    Err(Error::Busy {
        what: format!("every name beside {}", directory.display()),
        why: "clear some away".into(),
    })
}

/// Writes what a killed journaller had staged and the journal does not have. Returns the number of events.
/// Afterwards nothing in the staging is needed any more.
pub(crate) fn take_over(
    locked: &Locked,
    recovered: &mut Recovered,
    stage: &Stage,
    identity: &Identity,
    unit: PositionUnit,
    options: &RecorderOptions,
) -> Result<u64> {
    let words = stage.state_words();
    let leftovers = if stage.is_fresh() { Vec::new() } else { words.leftovers() };
    let first_position = leftovers.iter().map(|leftover| leftover.first_position).min();
    let mut events = 0;
    if let Some(first) = first_position {
        let mut start = recovered.start;
        if recovered.header.is_none() {
            // Nothing had reached the disk yet.
            start.link.end_position = first;
        }
        let memory = StageMemory::anonymous(TAKE_OVER_BLOCKS)
            .map_err(|error| Error::io("get memory to take over", stage.path(), error))?;
        let heap = StageWords::heap(TAKE_OVER_BLOCKS);
        let options = RecorderOptions { sync: SyncPolicy::Always, ..options.clone() };
        let (mut writer, _) = locked.writer(
            memory,
            heap,
            start,
            identity.clone(),
            &options,
            options.segment_bytes.min(4 << 20),
        )?;
        events = append_leftovers(&mut writer, stage, &leftovers, unit)?;
        writer.finish(clock::monotonic_ns())?;
        drop(writer);
        *recovered = locked.recover()?;
    }
    words.clear();
    Ok(events)
}

fn append_leftovers(
    writer: &mut Writer<Disk>,
    stage: &Stage,
    leftovers: &[Leftover],
    unit: PositionUnit,
) -> Result<u64> {
    let mut assembler = Assembler::new();
    let mut events = 0;
    for leftover in leftovers {
        // SAFETY: the journaller that wrote these blocks is dead, and the staging is not used again before
        // this ends.
        let bytes = unsafe { stage.bytes(leftover.block) };
        for record in leftover.records(unit, bytes) {
            // A faulty process may have written here. The damage becomes a gap, because of the cursor that
            // the dead journaller left.
            let Ok(record) = record else { return Ok(events) };
            if record.kind.continues() && !assembler.is_pending() {
                continue;
            }
            match assembler.push(record, unit) {
                Ok(Some(whole)) => events += append_again(writer, &whole)?,
                Ok(None) => {}
                Err(_) => return Ok(events),
            }
        }
    }
    Ok(events)
}

/// Appends a record if the journal does not have it. Returns how many events that were.
fn append_again(writer: &mut Writer<Disk>, record: &Record<'_>) -> Result<u64> {
    loop {
        let end = writer.end();
        let (appended, events) = match record.kind {
            RecordKind::Event if record.position >= end => {
                let word = frame::header(record.body.len() as u32, record.type_id, record.flags);
                let appended =
                    writer.append(word, record.position, record.end_position, record.body, record.time_ns);
                (appended, 1)
            }
            RecordKind::Gap => match Gap::decode(record.body) {
                Ok(gap) if gap.to > end => {
                    let gap = Gap { from: gap.from.max(end), ..gap };
                    (writer.append_gap(&gap, record.time_ns), 0)
                }
                _ => return Ok(0),
            },
            kind if kind.state_index().is_some() && record.position >= end => {
                (writer.append_state(kind, record.body, record.time_ns), 0)
            }
            _ => return Ok(0),
        };
        if appended.is_ok() {
            return Ok(events);
        }
        let progress = writer.turn(clock::monotonic_ns(), Duration::from_millis(10))?;
        if progress.shortage.is_some() {
            return Err(Error::NoSpace {
                what: "what a killed journaller had in hand".into(),
                why:
                    "the disk of the journal is full: make room, and start again; nothing is lost until then"
                        .into(),
            });
        }
    }
}

impl Stage {
    /// Returns the state words for the writer.
    pub(crate) fn state_words(&self) -> StageWords {
        let first = self.words_base().cast::<StageBlock>();
        // SAFETY: the words begin at a page and there is one of 64 bytes for each block. They are mapped as
        // long as the keeper lives, and all code uses them as atomics.
        unsafe { StageWords::from_raw(first, self.blocks(), self.keeper()) }
    }
}

const _: () = {
    use railbus_ring::layout::journal as layout;
    assert!(
        size_of::<StageBlock>() == layout::BLOCK_WORDS_BYTES && BLOCK_BYTES_MAX.is_multiple_of(SECTOR_BYTES)
    );
};
