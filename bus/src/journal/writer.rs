//! The writer: copies events into staging blocks, writes them behind one another, and knows what is durable.
//!
//! ```text
//! append -> [open block] -> full, or the disk is idle -> [ready] -> write begun, in the chain's order -> [in flight]
//!        -> completed, without a hole before it: WRITTEN -> covered by a sync of its segment: DURABLE
//! ```
//!
//! It is a state machine over [`Pipeline`], which only begins things: [`append`](Writer::append) copies, and
//! [`turn`](Writer::turn) takes what has ended, begins what is due, and waits only as long as it is told to.
//!
//! - Blocks in flight are bounded by [`Pipeline::depth`]; when all staging is taken, `append` says [`Full`].
//! - A block that is not full is written as soon as the disk is idle, and after
//!   [`linger`](WriterOptions::linger) when it is not.
//! - `durable` is the end of the written blocks without a hole that had completed before the sync that covers them
//!   was begun; nothing of segment k + 1 counts before k is sealed and synced.
//! - When everything is durable and nothing more comes, a mark block carries that position to the disk, so that
//!   recovery knows what it may not lose.
//! - The first failed write or sync poisons the writer: every later call returns that error, and nothing is tried
//!   again, because a system that failed to sync may call clean what is lost.
//!
//! Left out: the clock, the thread, the ring. The recorder has those.

mod filling;
mod segments;
mod syncing;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::block::Link;
use super::compress::Compressor;
use super::format::{
    self, BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, Codec, FirstPiece, Gap,
    PIECE_OF_STATE, RECORD_HEADER_BYTES, RecordKind, SECTOR_BYTES, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX,
    Seal, seal_offset, sectors,
};
use super::staging::{StageWords, WRITING};
use super::store::{Begun, Completion, Pipeline};
use crate::ring::frame;
use crate::{Error, Result};

use filling::{Filling, Put};
pub use segments::Identity;
use segments::Segments;
pub(in crate::journal) use segments::random_id;
pub use syncing::SyncPolicy;
use syncing::Syncing;

/// The staging block that is kept for marks and seals.
const CONTROL: usize = 0;
/// The fewest staging blocks a writer works with: one for marks and seals, two to fill.
pub const STAGING_BLOCKS_MIN: usize = 3;

/// How to write.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// When what is written is made durable.
    pub sync: SyncPolicy,
    /// Size of the segment files in bytes, a multiple of 4 KiB. The first are smaller: 4 MiB, and each four times as
    /// large as the one before.
    pub segment_bytes: u64,
    /// The largest block in bytes, a multiple of 4 KiB, at most [`BLOCK_BYTES_MAX`].
    pub block_bytes: usize,
    /// Compression, each block by itself. It needs twice the staging.
    pub codec: Codec,
    /// How long a block that is not full may wait for more while writes are in flight.
    pub linger: Duration,
    /// How long everything must be durable, and nothing come, before a mark is written.
    pub mark_after: Duration,
    /// How many segments to have ready ahead of the one in use.
    pub segments_ahead: usize,
}

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        WriterOptions {
            sync: SyncPolicy::Always,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            block_bytes: BLOCK_BYTES_MAX,
            codec: Codec::None,
            linger: Duration::from_micros(50),
            mark_after: Duration::from_millis(10),
            segments_ahead: 1,
        }
    }
}

/// Where a journal ends, and a writer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Number of the first segment to be made.
    pub segment: u64,
    /// The writer's epoch: counts the times a writer opened this journal, from 1.
    pub epoch: u64,
    /// What the first block must fit to.
    pub link: Link,
}

impl Default for Start {
    /// Of a journal in which nothing is.
    fn default() -> Start {
        Start { segment: 1, epoch: 1, link: Link::default() }
    }
}

/// All staging is in flight, or the writer has stopped: call [`Writer::turn`], which says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal's staging is full")]
pub struct Full;

/// How far the writer is after a [`Writer::turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Everything before this position is written.
    pub written: u64,
    /// Everything before this position is durable.
    pub durable: u64,
    /// There is no room on the disk for the next segment. Writing goes on as long as the segments that are there
    /// last; the next segment is asked for every 100 ms.
    pub no_space: bool,
    /// A segment was begun in this turn: time to append the states anew.
    pub rotated: bool,
}

#[derive(Debug)]
struct Ready {
    filling: Filling,
    /// The staging block that holds it compressed, and how many bytes.
    packed: Option<(usize, usize)>,
    tried: bool,
}

#[derive(Debug)]
struct Flight {
    /// The staging block that is written from.
    block: usize,
    /// The staging block that holds the records, if it is another.
    raw: Option<usize>,
    kind: BlockKind,
    segment: u64,
    end_position: u64,
    unfinished: bool,
    completed: bool,
}

/// The segment in use.
#[derive(Debug, Clone, Copy)]
struct Current {
    number: u64,
    id: u64,
    /// Where its seal goes: nothing else reaches beyond it.
    seal_offset: u64,
    offset: u64,
    states: [u64; RecordKind::STATES.len()],
}

/// A record larger than a block, of which not every piece is in staging yet.
#[derive(Debug, Clone, Copy)]
struct Partial {
    position: u64,
    kind: RecordKind,
    done_bytes: usize,
}

#[derive(Debug, Clone)]
struct Poison {
    action: &'static str,
    segment: u64,
    kind: io::ErrorKind,
    text: String,
}

/// The writer of one journal. It does not touch the disk but through its pipeline.
#[derive(Debug)]
pub struct Writer<P: Pipeline> {
    pipeline: P,
    words: StageWords,
    options: WriterOptions,
    linger_ns: u64,
    mark_after_ns: u64,
    segments: Segments,
    syncing: Syncing,
    compressor: Compressor,
    epoch: u64,
    incarnation: u64,
    unit: format::PositionUnit,

    open: Option<Filling>,
    ready: VecDeque<Ready>,
    flights: VecDeque<Flight>,
    /// Written, but kept for a successor, because an event goes on behind them.
    held: Vec<usize>,
    free: Vec<usize>,
    /// Blocks for compressed records.
    targets: Vec<usize>,
    in_flight: usize,
    control_in_flight: bool,
    order: u64,
    partial: Option<Partial>,

    current: Option<Current>,
    link: Link,
    /// End of what was appended.
    end: u64,
    time_ns: u64,
    written: u64,
    durable: u64,
    durable_since_ns: u64,
    /// Position of an event that staging did not hold as a whole, until it is written.
    unkept: Option<u64>,
    rotated: bool,
    finished: bool,
    poison: Option<Poison>,
    ended: Vec<Completion>,
}

impl<P: Pipeline> Writer<P> {
    /// A writer that goes on where `start` says, and asks for its first segment. `words` are of the pipeline's
    /// staging blocks; they become free.
    ///
    /// # Errors
    /// `Invalid` for options out of range.
    pub fn new(
        pipeline: P,
        words: StageWords,
        start: Start,
        mut identity: Identity,
        options: WriterOptions,
    ) -> Result<Writer<P>> {
        check(&options, &pipeline, &words)?;
        identity.header.epoch = start.epoch;
        identity.header.segment_bytes = options.segment_bytes;
        let compressor = Compressor::new(options.codec)
            .map_err(|error| Error::io("set up compression for", identity.path.clone(), error))?;
        words.clear();
        let mut free: Vec<usize> = (1..pipeline.staging_blocks()).rev().collect();
        let targets = match options.codec {
            Codec::None => Vec::new(),
            _ => free.split_off(free.len() - (free.len() / 2).min(pipeline.depth())),
        };
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Ok(Writer {
            linger_ns: nanoseconds(options.linger),
            mark_after_ns: nanoseconds(options.mark_after),
            syncing: Syncing::new(options.sync),
            compressor,
            epoch: start.epoch,
            incarnation: identity.header.incarnation,
            unit: identity.header.unit,
            segments: Segments::new(identity, start.segment, options.segments_ahead),
            pipeline,
            words,
            options,
            open: None,
            ready: VecDeque::new(),
            flights: VecDeque::new(),
            held: Vec::new(),
            free,
            targets,
            in_flight: 0,
            control_in_flight: false,
            order: 0,
            partial: None,
            current: None,
            link: start.link,
            end: start.link.end_position,
            time_ns: start.link.time_ns,
            written: start.link.end_position,
            durable: start.link.end_position,
            durable_since_ns: 0,
            unkept: None,
            rotated: false,
            finished: false,
            poison: None,
            ended: Vec::new(),
        })
    }

    /// Copies an event into staging: its header word, its position, the position behind it, its body, and the time of
    /// its recording (ns of CLOCK_REALTIME; an older one than before counts as the newest so far).
    ///
    /// An event larger than a block goes in pieces: after `Full` the same call goes on where it stopped.
    ///
    /// # Panics
    /// When the position is before [`end`](Self::end): the recorder's books are wrong.
    #[inline]
    pub fn append(
        &mut self,
        header_word: u64,
        position: u64,
        end_position: u64,
        body: &[u8],
        time_ns: u64,
    ) -> std::result::Result<(), Full> {
        assert!(position >= self.end && end_position > position, "events are appended in order");
        debug_assert_eq!(end_position, self.unit.end(position, body.len() as u64));
        let record = Put {
            kind: RecordKind::Event,
            type_id: frame::type_id(header_word),
            flags: frame::flags(header_word),
            position,
            time_ns: time_ns.max(self.time_ns),
            prefix: &[],
            body,
        };
        self.append_record(&record, end_position)
    }

    /// Records that events are missing. A gap begins at or behind [`end`](Self::end). One that begins where a large
    /// event does of which [`append`](Self::append) took only some pieces drops that event.
    pub fn append_gap(&mut self, gap: &Gap, time_ns: u64) -> std::result::Result<(), Full> {
        assert!(gap.from >= self.end && gap.to >= gap.from, "gaps are appended in order");
        self.partial = self.partial.filter(|partial| partial.position != gap.from);
        let record = Put {
            kind: RecordKind::Gap,
            type_id: 0,
            flags: 0,
            position: gap.from,
            time_ns: time_ns.max(self.time_ns),
            prefix: &[],
            body: &gap.encode(),
        };
        self.append_record(&record, gap.to)
    }

    /// Records how things stand at [`end`](Self::end); `kind` is one of [`RecordKind::STATES`].
    pub fn append_state(
        &mut self,
        kind: RecordKind,
        body: &[u8],
        time_ns: u64,
    ) -> std::result::Result<(), Full> {
        assert!(kind.state_index().is_some(), "a kind of state");
        let record = Put {
            kind,
            type_id: 0,
            flags: 0,
            position: self.end,
            time_ns: time_ns.max(self.time_ns),
            prefix: &[],
            body,
        };
        self.append_record(&record, self.end)
    }

    #[inline(always)]
    fn append_record(&mut self, record: &Put<'_>, end_position: u64) -> std::result::Result<(), Full> {
        match &self.open {
            Some(open)
                if self.partial.is_none()
                    && open.takes(record.body.len(), record.position, record.time_ns) => {}
            _ => {
                if self.prepare_room(record, end_position)? {
                    return Ok(());
                }
            }
        }
        self.put(record);
        if let Some(open) = &mut self.open {
            open.events += u32::from(record.kind == RecordKind::Event);
            open.end_position = end_position;
        }
        self.end = end_position;
        Ok(())
    }

    #[inline(always)]
    fn put(&mut self, record: &Put<'_>) {
        if let Some(open) = &mut self.open {
            let used = open.put(self.pipeline.staging(open.block), record);
            self.words.blocks()[open.block].set_records(used);
            self.time_ns = record.time_ns;
            if let Some(state) = record.kind.state_index() {
                open.states[state] = true;
            }
        }
    }

    /// Opens a block that takes the record, or, when no block does, appends it in pieces and returns true.
    #[cold]
    fn prepare_room(&mut self, record: &Put<'_>, end_position: u64) -> std::result::Result<bool, Full> {
        if self.poison.is_some() || self.finished {
            return Err(Full);
        }
        let largest = self.options.block_bytes - BLOCK_HEADER_BYTES - RECORD_HEADER_BYTES;
        if self.partial.is_some() || record.body.len() > largest {
            return self.append_pieces(record, end_position).map(|()| true);
        }
        self.close_open();
        self.open_block(record)?;
        Ok(false)
    }

    fn append_pieces(&mut self, record: &Put<'_>, end_position: u64) -> std::result::Result<(), Full> {
        let mut done = match self.partial {
            None => {
                self.close_open();
                0
            }
            Some(partial) => {
                let same = partial.position == record.position && partial.kind == record.kind;
                assert!(same, "after Full, the same record is appended again");
                partial.done_bytes
            }
        };
        let flags = if record.kind == RecordKind::Event { record.flags } else { PIECE_OF_STATE };
        loop {
            let time_ns = record.time_ns.max(self.time_ns);
            self.open_block(&Put { time_ns, ..*record })?;
            let first = FirstPiece { body_bytes: record.body.len() as u32, kind: record.kind }.encode();
            let prefix = if done == 0 { &first[..] } else { &[] };
            let room = self.options.block_bytes - BLOCK_HEADER_BYTES - RECORD_HEADER_BYTES - prefix.len();
            let rest = &record.body[done..];
            let body = &rest[..rest.len().min(room)];
            let last = body.len() == rest.len();
            let kind = match (done, last) {
                (0, _) => RecordKind::First,
                (_, false) => RecordKind::Middle,
                (_, true) => RecordKind::Last,
            };
            self.put(&Put { kind, flags, time_ns, prefix, body, ..*record });
            done += body.len();
            if let Some(open) = &mut self.open {
                open.unfinished = !last;
                if let Some(state) = record.kind.state_index() {
                    open.states[state] = done == body.len(); // the block of the first piece is the one to find
                }
                if last {
                    open.events += u32::from(record.kind == RecordKind::Event);
                    open.end_position = end_position;
                }
            }
            if last {
                self.partial = None;
                self.end = end_position;
                return Ok(());
            }
            self.partial = Some(Partial { position: record.position, kind: record.kind, done_bytes: done });
            self.close_open();
        }
    }

    fn open_block(&mut self, record: &Put<'_>) -> std::result::Result<(), Full> {
        if self.free.is_empty() && self.in_flight == 0 && self.ready.is_empty() {
            // What is held is written. Either its event is larger than staging, and cannot be kept for a successor as a
            // whole, or it was dropped.
            self.unkept = self.partial.map(|partial| partial.position).or(self.unkept);
            self.free_held();
        }
        let block = self.free.pop().ok_or(Full)?;
        self.order += 1;
        self.words.blocks()[block].begin(self.order, record.position, record.time_ns);
        self.open = Some(Filling::new(block, self.options.block_bytes, record.position, record.time_ns));
        Ok(())
    }

    fn close_open(&mut self) {
        if let Some(filling) = self.open.take() {
            self.words.blocks()[filling.block].set_state(WRITING);
            self.ready.push_back(Ready { filling, packed: None, tried: false });
        }
    }

    fn free_held(&mut self) {
        for block in self.held.drain(..) {
            self.words.blocks()[block].set_state(super::staging::FREE);
            self.free.push(block);
        }
    }

    /// One round: takes what has ended, begins what is due. `now_ns` is the monotonic clock. Waits for something to
    /// end, at most `wait`, when writes or a sync are in flight, or staging waits for a segment.
    ///
    /// # Errors
    /// The error that poisoned the writer, now and ever after.
    pub fn turn(&mut self, now_ns: u64, wait: Duration) -> Result<Progress> {
        self.rotated = false;
        self.check_poison()?;
        if self.finished {
            return Ok(self.progress());
        }
        self.begin_what_is_due(now_ns, false)?;
        let waits = self.in_flight > 0 || self.syncing.in_flight() || !self.ready.is_empty();
        if self.take_what_ended(now_ns, if waits { wait } else { Duration::ZERO })? {
            self.begin_what_is_due(now_ns, false)?;
            self.take_what_ended(now_ns, Duration::ZERO)?;
        }
        Ok(self.progress())
    }

    /// Writes and syncs everything appended, and waits for it. An event of which only some pieces were appended does
    /// not count.
    ///
    /// # Errors
    /// The error that poisoned the writer; `NoSpace` when there is no room for a segment, which does not poison.
    pub fn flush(&mut self, now_ns: u64) -> Result<Progress> {
        self.check_poison()?;
        while !self.finished && !self.is_settled() {
            self.close_open();
            self.begin_what_is_due(now_ns, true)?;
            self.take_what_ended(now_ns, Duration::from_millis(100))?;
            let stuck = !self.ready.is_empty() && self.in_flight == 0 && !self.segments.is_preparing();
            if stuck && self.segments.retry_at_ns().is_some() && !self.segments.is_ready() {
                let path = self.segments.identity().path.display();
                let why = "the disk is full, and the last events wait in memory; make room, or drop them";
                return Err(Error::NoSpace { what: format!("the next segment of {path}"), why: why.into() });
            }
        }
        Ok(self.progress())
    }

    /// [`flush`](Self::flush), then seals the segment: nothing can be appended any more.
    pub fn finish(&mut self, now_ns: u64) -> Result<()> {
        self.flush(now_ns)?;
        if self.finished {
            return Ok(());
        }
        self.finished = true;
        let Some(current) = self.current.filter(|current| current.offset > BLOCKS_OFFSET) else {
            return Ok(()); // nothing was ever written
        };
        self.begin_seal(current, true)?;
        while !self.is_settled() {
            self.begin_sync(now_ns, true)?;
            self.take_what_ended(now_ns, Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.open.is_none() && self.ready.is_empty() && self.flights.is_empty() && self.syncing.is_clean()
    }

    /// Everything before this position is written: it survives this process.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Everything before this position is durable: it survives the machine.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Everything before this position was appended.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Everything before this position is in staging or written: a successor finds it, the ring need not keep it.
    pub fn kept(&self) -> u64 {
        match self.unkept {
            Some(position) => position.min(self.end),
            None => self.end,
        }
    }

    /// Writes, or a sync, are in flight: a [`turn`](Self::turn) that waits is not in vain.
    pub fn is_busy(&self) -> bool {
        self.in_flight > 0 || self.syncing.in_flight()
    }

    /// When (monotonic, ns) `turn` must be called at the latest if nothing ends and nothing is appended before;
    /// `None` when there is nothing to do.
    pub fn deadline_ns(&self, now_ns: u64) -> Option<u64> {
        if self.poison.is_some() || self.finished {
            return None;
        }
        let block =
            self.open.filter(|open| open.records > 0 && self.in_flight < self.pipeline.depth()).map(|open| {
                if self.in_flight == 0 { now_ns } else { open.seen_ns.unwrap_or(now_ns) + self.linger_ns }
            });
        let mark = self.wants_mark().then(|| self.durable_since_ns + self.mark_after_ns);
        let sync = self.syncing.deadline_ns(now_ns);
        [block, mark, sync, self.segments.retry_at_ns()].into_iter().flatten().min()
    }

    /// The pipeline, for its owner's questions.
    pub fn pipeline(&self) -> &P {
        &self.pipeline
    }

    /// The pipeline, for its owner's settings.
    pub fn pipeline_mut(&mut self) -> &mut P {
        &mut self.pipeline
    }

    /// Ends without finishing, as a crash would, and hands back the pipeline.
    pub fn into_pipeline(self) -> P {
        self.pipeline
    }

    fn progress(&self) -> Progress {
        Progress {
            written: self.written,
            durable: self.durable,
            no_space: self.segments.retry_at_ns().is_some(),
            rotated: self.rotated,
        }
    }

    fn begin_what_is_due(&mut self, now_ns: u64, flush: bool) -> Result<()> {
        let idle = self.in_flight == 0;
        if let Some(open) = &mut self.open
            && open.records > 0
        {
            let seen_ns = *open.seen_ns.get_or_insert(now_ns);
            let waited = now_ns.saturating_sub(seen_ns) >= self.linger_ns;
            if self.ready.is_empty() && self.in_flight < self.pipeline.depth() && (idle || waited) {
                self.close_open();
            }
        }
        let asked = self.segments.ask(&mut self.pipeline, now_ns, self.time_ns);
        asked.map_err(|error| self.poison("prepare a segment of", 0, &error))?;
        while self.begin_block()? {}
        self.begin_mark(now_ns)?;
        self.begin_sync(now_ns, flush)
    }

    /// Begins to write the oldest ready block; false when there is none, or it must wait.
    fn begin_block(&mut self) -> Result<bool> {
        if self.in_flight >= self.pipeline.depth() || !self.pack() {
            return Ok(false);
        }
        let Some(ready) = self.ready.front() else { return Ok(false) };
        let stored = ready.packed.map_or(ready.filling.used_bytes, |(_, bytes)| bytes);
        let bytes = sectors(BLOCK_HEADER_BYTES + stored);
        let Some(current) = self.segment_for(bytes as u64)? else { return Ok(false) };
        if self.in_flight >= self.pipeline.depth() {
            return Ok(false); // the seal took the last place
        }
        let Some(Ready { filling, packed, .. }) = self.ready.pop_front() else { return Ok(false) };
        for (offset, here) in
            self.current.iter_mut().flat_map(|current| current.states.iter_mut()).zip(filling.states)
        {
            if here {
                *offset = current.offset;
            }
        }
        let block = packed.map_or(filling.block, |(block, _)| block);
        let header = BlockHeader {
            kind: BlockKind::Records,
            codec: if packed.is_some() { self.options.codec } else { Codec::None },
            stored_bytes: stored as u32,
            records_bytes: filling.used_bytes as u32,
            records: filling.records,
            first_position: filling.first_position,
            end_position: filling.end_position,
            base_time_ns: filling.base_time_ns,
            ..self.header(current, bytes)
        };
        let flight = Flight {
            block,
            raw: packed.is_some().then_some(filling.block),
            kind: BlockKind::Records,
            segment: current.number,
            end_position: filling.end_position,
            unfinished: filling.unfinished,
            completed: false,
        };
        self.begin_write(header, current.offset, flight)?;
        if let Some(current) = &mut self.current {
            current.offset += bytes as u64;
        }
        self.link.events += u64::from(filling.events);
        self.link.time_ns = filling.last_time_ns;
        Ok(true)
    }

    /// Compresses the oldest ready block, if that is wanted; false when it must wait for a staging block.
    fn pack(&mut self) -> bool {
        let Some(ready) = self.ready.front_mut().filter(|ready| !ready.tried) else { return true };
        if self.compressor.codec() == Codec::None {
            return true;
        }
        let Some(block) = self.targets.pop() else { return false };
        ready.tried = true;
        let used = ready.filling.used_bytes;
        // It must become smaller by a sector at least, or it is not worth the reader's time.
        let most = sectors(BLOCK_HEADER_BYTES + used) - SECTOR_BYTES;
        let records = &self.pipeline.staging(ready.filling.block)[BLOCK_HEADER_BYTES..][..used];
        match self.compressor.compress(records, most.saturating_sub(BLOCK_HEADER_BYTES)) {
            Some(stored) => {
                self.pipeline.staging(block)[BLOCK_HEADER_BYTES..][..stored.len()].copy_from_slice(stored);
                ready.packed = Some((block, stored.len()));
            }
            None => self.targets.push(block),
        }
        true
    }

    /// The segment that has room for so many bytes; a new one if need be. `None` when it is not there yet.
    fn segment_for(&mut self, bytes: u64) -> Result<Option<Current>> {
        let fits = |current: &Current| current.offset + bytes <= current.seal_offset;
        if let Some(current) = self.current {
            if fits(&current) {
                return Ok(Some(current));
            }
            if !self.segments.is_ready() || self.control_in_flight {
                return Ok(None);
            }
            self.begin_seal(current, false)?;
        }
        self.current = self.segments.take().map(|prepared| Current {
            number: prepared.number,
            id: prepared.id,
            seal_offset: seal_offset(prepared.bytes),
            offset: BLOCKS_OFFSET,
            states: [0; RecordKind::STATES.len()],
        });
        self.rotated |= self.current.is_some();
        Ok(self.current)
    }

    fn begin_seal(&mut self, current: Current, last: bool) -> Result<()> {
        let seal = Seal { blocks_end: current.offset, last, states: current.states };
        let header = BlockHeader {
            kind: BlockKind::Seal,
            stored_bytes: Seal::BYTES as u32,
            records_bytes: Seal::BYTES as u32,
            ..self.header(current, SECTOR_BYTES)
        };
        let staging = self.pipeline.staging(CONTROL);
        staging[BLOCK_HEADER_BYTES..][..Seal::BYTES].copy_from_slice(&seal.encode());
        self.begin_control(header, current.seal_offset, current)
    }

    /// A mark says on the disk what is durable, when nothing else comes to say it.
    fn begin_mark(&mut self, now_ns: u64) -> Result<()> {
        if !self.wants_mark() || now_ns.saturating_sub(self.durable_since_ns) < self.mark_after_ns {
            return Ok(());
        }
        let Some(current) = self.current else { return Ok(()) };
        let header = BlockHeader { kind: BlockKind::Mark, ..self.header(current, SECTOR_BYTES) };
        self.begin_control(header, current.offset, current)?;
        if let Some(current) = &mut self.current {
            current.offset += SECTOR_BYTES as u64;
        }
        Ok(())
    }

    fn wants_mark(&self) -> bool {
        let fits = |current: Current| current.offset + (SECTOR_BYTES as u64) <= current.seal_offset;
        self.link.durable_position < self.durable
            && self.durable == self.end
            && self.flights.is_empty()
            && !self.syncing.in_flight()
            && self.current.is_some_and(fits)
    }

    fn begin_control(&mut self, header: BlockHeader, offset: u64, current: Current) -> Result<()> {
        self.control_in_flight = true;
        let flight = Flight {
            block: CONTROL,
            raw: None,
            kind: header.kind,
            segment: current.number,
            end_position: header.end_position,
            unfinished: false,
            completed: false,
        };
        self.begin_write(header, offset, flight)
    }

    /// A header with what all kinds of blocks have in common.
    fn header(&self, current: Current, bytes: usize) -> BlockHeader {
        BlockHeader {
            unit: self.unit,
            block_bytes: bytes as u32,
            segment_id: current.id,
            sequence: self.link.sequence,
            first_position: self.link.end_position,
            end_position: self.link.end_position,
            durable_position: self.durable,
            events_before: self.link.events,
            base_time_ns: self.link.time_ns,
            incarnation: self.incarnation,
            epoch: self.epoch,
            previous_checksum: self.link.checksum,
            ..BlockHeader::default()
        }
    }

    fn begin_write(&mut self, mut header: BlockHeader, offset: u64, flight: Flight) -> Result<()> {
        let bytes = header.block_bytes as usize;
        let staging = &mut self.pipeline.staging(flight.block)[..bytes];
        staging[BLOCK_HEADER_BYTES + header.stored_bytes as usize..].fill(0);
        header.body_checksum = format::checksum(&staging[BLOCK_HEADER_BYTES..]);
        self.link.checksum = header.encode(staging);
        self.link.sequence += 1;
        self.link.end_position = header.end_position;
        self.link.durable_position = header.durable_position;
        let (segment, block) = (flight.segment, flight.block);
        self.flights.push_back(flight);
        self.in_flight += 1;
        let begun = self.pipeline.write(segment, offset, block, bytes);
        begun.map_err(|error| self.poison("write", segment, &error))
    }

    fn begin_sync(&mut self, now_ns: u64, flush: bool) -> Result<()> {
        let Some(segment) = self.syncing.due(now_ns, flush) else { return Ok(()) };
        self.syncing.begin(now_ns);
        let begun = self.pipeline.sync(segment);
        begun.map_err(|error| self.poison("sync", segment, &error))
    }

    /// Takes what has ended; whether anything has.
    fn take_what_ended(&mut self, now_ns: u64, wait: Duration) -> Result<bool> {
        let mut ended = std::mem::take(&mut self.ended);
        let completed = self.pipeline.complete(Some(wait), &mut ended);
        let any = !ended.is_empty();
        let mut taken = completed.map_err(|error| self.poison("wait for", 0, &error));
        for completion in ended.drain(..) {
            taken = taken.and_then(|()| self.take(completion, now_ns)); // nothing counts after a failure
        }
        self.ended = ended;
        taken.map(|()| any)
    }

    fn take(&mut self, completion: Completion, now_ns: u64) -> Result<()> {
        match (completion.begun, completion.result) {
            (Begun::Write { block }, Ok(())) => {
                let flight =
                    self.flights.iter_mut().find(|flight| flight.block == block && !flight.completed);
                let Some(flight) = flight else {
                    let error = io::Error::other("a write ended that was never begun");
                    return Err(self.poison("write", 0, &error));
                };
                flight.completed = true;
                self.in_flight -= 1;
                self.advance_written();
                Ok(())
            }
            (Begun::Write { block }, Err(error)) => {
                let segment = self
                    .flights
                    .iter()
                    .find(|flight| flight.block == block)
                    .map_or(0, |flight| flight.segment);
                Err(self.poison("write", segment, &error))
            }
            (Begun::Sync { segment }, Ok(())) => match self.syncing.end(segment) {
                Some((durable, whole)) => {
                    self.durable = durable;
                    self.durable_since_ns = now_ns;
                    if let Some(segment) = whole {
                        self.pipeline.close(segment);
                    }
                    Ok(())
                }
                None => {
                    Err(self.poison("sync", segment, &io::Error::other("a sync ended that was never begun")))
                }
            },
            (Begun::Sync { segment }, Err(error)) => Err(self.poison("sync", segment, &error)),
            (Begun::Prepare { segment }, result) => {
                let prepared = self.segments.prepared(segment, result, now_ns);
                prepared.map_err(|error| self.poison("prepare", segment, &error))
            }
        }
    }

    fn advance_written(&mut self) {
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.completed) {
            let seals = flight.kind == BlockKind::Seal;
            self.syncing.written(flight.segment, flight.end_position, seals, flight.kind != BlockKind::Mark);
            self.written = flight.end_position;
            match (flight.block, flight.raw) {
                (CONTROL, _) => {
                    self.control_in_flight = false;
                    continue;
                }
                (block, None) => self.held.push(block),
                (block, Some(raw)) => {
                    self.targets.push(block);
                    self.held.push(raw);
                }
            }
            if !flight.unfinished {
                self.free_held();
                self.unkept = None;
            }
        }
    }

    fn check_poison(&self) -> Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(poison) => Err(self.poison_error(poison)),
        }
    }

    /// Stops the writer for good.
    fn poison(&mut self, action: &'static str, segment: u64, error: &io::Error) -> Error {
        let poison = self.poison.get_or_insert_with(|| Poison {
            action,
            segment,
            kind: error.kind(),
            text: error.to_string(),
        });
        let poison = poison.clone();
        self.open = None;
        self.poison_error(&poison)
    }

    fn poison_error(&self, poison: &Poison) -> Error {
        let directory = &self.segments.identity().path;
        let path = match poison.segment {
            0 => directory.clone(),
            segment => directory.join(format!("{segment:020}.seg")),
        };
        let text = format!(
            "{}; the journal has stopped at position {} and tries nothing again: see to the disk, then start the \
             journaller anew",
            poison.text, self.durable
        );
        Error::Io { action: poison.action, path, source: io::Error::new(poison.kind, text) }
    }
}

fn check<P: Pipeline>(options: &WriterOptions, pipeline: &P, words: &StageWords) -> Result<()> {
    let blocks = pipeline.staging_blocks();
    let sector = SECTOR_BYTES as u64;
    let smallest = BLOCKS_OFFSET + options.block_bytes as u64 + sector;
    if !(smallest..=SEGMENT_BYTES_MAX).contains(&options.segment_bytes)
        || !options.segment_bytes.is_multiple_of(sector)
    {
        let why = format!("must be a multiple of {sector} from {smallest} to {SEGMENT_BYTES_MAX}");
        return Err(Error::invalid(format!("segment size {}", options.segment_bytes), why));
    }
    if !(SECTOR_BYTES..=BLOCK_BYTES_MAX).contains(&options.block_bytes)
        || !options.block_bytes.is_multiple_of(SECTOR_BYTES)
    {
        let why = format!("must be a multiple of {sector} from {sector} to {BLOCK_BYTES_MAX}");
        return Err(Error::invalid(format!("block size {}", options.block_bytes), why));
    }
    if blocks < STAGING_BLOCKS_MIN + usize::from(options.codec != Codec::None)
        || words.blocks().len() != blocks
    {
        let why = format!("at least {STAGING_BLOCKS_MIN}, one more to compress, and as many state words");
        return Err(Error::invalid(format!("{blocks} staging blocks"), why));
    }
    if pipeline.depth() == 0 || options.segments_ahead == 0 {
        return Err(Error::invalid("writes in flight, segments ahead", "must be at least 1"));
    }
    Ok(())
}
