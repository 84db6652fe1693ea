//! The writer: copies events into staging blocks, writes the blocks one after another, and tracks
//! what is durable.
//!
//! ```text
//! append -> [open block] -> full, or the disk is idle -> [ready] -> write begun, in the chain's order
//!        -> [in flight] -> completed, without a hole before it: WRITTEN
//!        -> covered by a sync of its segment: DURABLE
//! ```
//!
//! It is a state machine over [`Pipeline`], which only begins operations.
//! [`append`](Writer::append) copies. [`turn`](Writer::turn) takes what has ended, begins what is
//! due, and waits no longer than its argument allows.
//!
//! - [`Pipeline::depth`] limits the blocks in flight. When all staging is taken, `append` returns
//!   [`Full`].
//! - A block that is not full is written as soon as the disk is idle, and after
//!   [`linger`](WriterOptions::linger) when it is not.
//! - `durable` is the end of the written blocks without a hole that had completed before the
//!   covering sync was begun. Nothing of segment k + 1 counts before segment k is sealed and
//!   synced.
//! - When everything is durable and nothing more comes, a mark block carries that position to the
//!   disk, so that recovery knows what it must not lose.
//! - A write that finds no room on the disk, or no descriptors, is begun again after a while. So is
//!   the preparation of a segment. A sync that finds no room is tried again after everything that
//!   it should cover was written once more.
//! - Every other failed write or sync poisons the writer. Every later call returns that error, and
//!   nothing is tried again, because after a failed sync the system may report lost data as clean.
//!
//! Left out: the clock, the thread, the ring. The recorder has those.

mod append;
mod complete;
mod open_block;
mod options;
mod refused;
mod segments;
mod stated;
mod submit;
mod sync;

use std::collections::VecDeque;
use std::time::Duration;

use complete::Poison;
use open_block::Filling;
use railbus_os::{Error, Result};

use crate::block::Link;
use crate::compress::Compressor;
use crate::disk::store::{Completion, Pipeline};
use crate::format::{BLOCKS_OFFSET, BlockKind, Codec, PositionUnit, RecordKind};
use crate::shortage::Shortage;
use crate::stage::words::StageWords;

pub use options::WriterOptions;
use refused::Refused;
pub use segments::Identity;
use segments::NextSegments;
pub(crate) use segments::random_id;
use stated::Stated;
pub use sync::SyncPolicy;
use sync::Syncing;

/// The next segment is asked for when this fraction (one in so many) of the one in use is written.
/// So it is ready long before it is needed.
const NEXT_AT: u64 = 8;
/// The staging block that is kept for marks and seals.
const CONTROL: usize = 0;
/// The fewest staging blocks with which a writer works: one for marks and seals, two to fill.
pub const STAGING_BLOCKS_MIN: usize = 3;

/// Where a journal ends, and a writer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Number of the first segment to be made.
    pub segment: u64,
    /// The writer's epoch: counts the times a writer opened this journal, from 1.
    pub epoch: u64,
    /// The facts with which the first block must agree.
    pub link: Link,
    /// Which of [`RecordKind::STATES`] the journal has. Retention must keep each where it is until
    /// a newer one is appended.
    pub states: [bool; RecordKind::STATES.len()],
}

impl Default for Start {
    /// The start of an empty journal.
    fn default() -> Start {
        Start { segment: 1, epoch: 1, link: Link::default(), states: [false; RecordKind::STATES.len()] }
    }
}

/// All staging is in flight, or the writer has stopped. Call [`Writer::turn`], which distinguishes
/// the two.
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
    /// The shortage for which the next segment, or a write, waits. Without room for the next
    /// segment, writing continues as long as the prepared segments last. A refused operation is
    /// tried again every 100 ms.
    pub shortage: Option<Shortage>,
    /// Whether a segment was begun in this turn. If so, the caller must append the states again.
    pub rotated: bool,
}

#[derive(Debug)]
struct Ready {
    filling: Filling,
    /// The staging block that holds it compressed, and its size in bytes.
    packed: Option<(usize, usize)>,
    tried: bool,
}

#[derive(Debug)]
struct Flight {
    /// The staging block that is written from.
    block: usize,
    /// The staging block that holds the records, if it is another one.
    raw: Option<usize>,
    kind: BlockKind,
    segment: u64,
    offset: u64,
    bytes: usize,
    /// The block's number in the journal.
    sequence: u64,
    end_position: u64,
    unfinished: bool,
    completed: bool,
    /// It was refused for lack of a resource, and has not been written since.
    refused: bool,
    /// It is not being written at the moment, but waits to be begun again.
    parked: bool,
}

/// The segment in use.
#[derive(Debug, Clone, Copy)]
struct Current {
    number: u64,
    id: u64,
    /// The offset of its seal: no other block reaches beyond it.
    seal_offset: u64,
    offset: u64,
    states: [u64; RecordKind::STATES.len()],
}

impl Current {
    /// Whether enough is written to ask for the next segment. A channel that stays quiet never
    /// takes more of the disk than its first segment.
    fn wants_next(&self) -> bool {
        self.offset - BLOCKS_OFFSET >= (self.seal_offset - BLOCKS_OFFSET) / NEXT_AT
    }
}

/// A record larger than a block, of which not every piece is in staging.
#[derive(Debug, Clone, Copy)]
struct Partial {
    position: u64,
    kind: RecordKind,
    done_bytes: usize,
}

/// The writer of one journal. It accesses the disk only through its pipeline.
#[derive(Debug)]
pub struct Writer<P: Pipeline> {
    pipeline: P,
    words: StageWords,
    options: WriterOptions,
    linger_ns: u64,
    mark_after_ns: u64,
    segments: NextSegments,
    syncing: Syncing,
    stated: Stated,
    compressor: Compressor,
    epoch: u64,
    incarnation: u64,
    unit: PositionUnit,

    open: Option<Filling>,
    ready: VecDeque<Ready>,
    flights: VecDeque<Flight>,
    /// Blocks that are written, but kept for a successor, because an event continues after them.
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
    refused: Refused,
    /// The monotonic clock at the last call, in ns.
    now_ns: u64,
    poison: Option<Poison>,
    ended: Vec<Completion>,
}

impl<P: Pipeline> Writer<P> {
    /// Creates a writer that continues at `start`; its first turn asks for its first segment.
    /// `words` belong to the pipeline's staging blocks; they become free.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options out of range; [`Error::Io`] when compression cannot be set
    /// up.
    pub fn new(
        pipeline: P,
        words: StageWords,
        start: Start,
        mut identity: Identity,
        options: WriterOptions,
    ) -> Result<Writer<P>> {
        options::check(&options, &pipeline, &words)?;
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
            stated: Stated::new(start.states),
            compressor,
            epoch: start.epoch,
            incarnation: identity.header.incarnation,
            unit: identity.header.unit,
            segments: NextSegments::new(
                identity,
                start.segment,
                // The largest block has room in the smallest segment.
                options.first_segment_bytes.max(options::smallest_segment(&options)),
                options.segments_ahead,
            ),
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
            refused: Refused::default(),
            now_ns: 0,
            poison: None,
            ended: Vec::new(),
        })
    }

    /// Does one round: takes what has ended, and begins what is due. `now_ns` is the monotonic
    /// clock.
    ///
    /// Waits at most `wait` for an operation to end, and only when writes or a sync are in flight,
    /// or when staging waits for a segment.
    ///
    /// # Errors
    /// The error that poisoned the writer; every later call returns it as well.
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

    /// Writes and syncs everything appended, and blocks until that is done. An event of which only
    /// some pieces were appended does not count.
    ///
    /// # Errors
    /// The error that poisoned the writer. [`Error::NoSpace`] when there is no room for a segment
    /// or a write, which does not poison.
    pub fn flush(&mut self, now_ns: u64) -> Result<Progress> {
        self.check_poison()?;
        while !self.finished && !self.is_settled() {
            self.close_open();
            self.begin_what_is_due(now_ns, true)?;
            self.take_what_ended(now_ns, Duration::from_millis(100))?;
            let idle = self.in_flight == 0 && !self.segments.is_preparing();
            let waits =
                !self.ready.is_empty() && self.segments.shortage().is_some() && !self.segments.is_ready();
            let unsynced = self.syncing.refused().is_some() && !self.syncing.in_flight();
            if idle && (waits || unsynced || self.refused_retry_at_ns().is_some()) {
                return Err(self.no_room());
            }
        }
        Ok(self.progress())
    }

    fn no_room(&self) -> Error {
        let path = self.segments.identity().path.display();
        let shortage = self.shortage().unwrap_or(Shortage::Space);
        let why = format!("{}; the last events wait in memory", shortage.advice());
        Error::NoSpace { what: format!("the next blocks of {path}"), why }
    }

    /// Does a [`flush`](Self::flush), then seals the segment: nothing can be appended any more.
    /// Blocks until the seal is durable.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush).
    pub fn finish(&mut self, now_ns: u64) -> Result<()> {
        self.flush(now_ns)?;
        if self.finished {
            return if self.is_settled() { Ok(()) } else { Err(self.no_room()) };
        }
        self.finished = true;
        let Some(current) = self.current.filter(|current| current.offset > BLOCKS_OFFSET) else {
            return Ok(()); // nothing was ever written
        };
        self.begin_seal(current, true)?;
        while !self.is_settled() {
            self.begin_sync(now_ns, true)?;
            self.take_what_ended(now_ns, Duration::from_millis(100))?;
            let unsynced = self.syncing.refused().is_some() && !self.syncing.in_flight();
            if unsynced || self.refused_retry_at_ns().is_some() {
                return Err(self.no_room());
            }
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

    /// Everything before this position is durable: it survives a power cut.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The oldest segment with a state that a crash may make the newest: retention removes neither
    /// it nor any later one. `u64::MAX` when there is none.
    pub fn states_from(&self) -> u64 {
        self.stated.needed_from()
    }

    /// Returns how many of the states of a kind that this writer took are durable.
    ///
    /// # Panics
    /// When the kind is not one of [`RecordKind::STATES`].
    pub fn durable_states(&self, kind: RecordKind) -> u64 {
        kind.state_index().map(|index| self.stated.durable_count(index)).expect("a kind of state")
    }

    /// Everything before this position was appended.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Everything before this position is in staging or written. A successor finds it there, so the
    /// ring need not keep it.
    pub fn kept(&self) -> u64 {
        match self.unkept {
            Some(position) => position.min(self.end),
            None => self.end,
        }
    }

    /// Whether writes or a sync are in flight. Only then can a [`turn`](Self::turn) wait for
    /// something.
    pub fn is_busy(&self) -> bool {
        self.in_flight > 0 || self.syncing.in_flight()
    }

    /// Returns when (monotonic clock, ns) `turn` must be called at the latest, if nothing ends and
    /// nothing is appended before. `None` when there is nothing to do.
    pub fn deadline_ns(&self, now_ns: u64) -> Option<u64> {
        if self.poison.is_some() || self.finished {
            return None;
        }
        let may_begin =
            self.in_flight < self.pipeline.depth() && self.ready.is_empty() && self.refused().is_none();
        let block = self.open.filter(|open| open.records > 0 && may_begin).map(|open| {
            let idle = self.in_flight == 0 && self.syncing.is_eager();
            if idle { now_ns } else { open.seen_ns.unwrap_or(now_ns) + self.linger_ns }
        });
        let mark = self.wants_mark().then(|| self.durable_since_ns + self.mark_after_ns);
        let sync = self.syncing.deadline_ns(now_ns);
        let retries = [self.segments.retry_at_ns(), self.refused_retry_at_ns()];
        [block, mark, sync].into_iter().chain(retries).flatten().min()
    }

    /// The shortage for which the next segment, or a write, waits.
    fn shortage(&self) -> Option<Shortage> {
        self.refused().or_else(|| self.segments.shortage())
    }

    /// The pipeline, for reading.
    pub fn pipeline(&self) -> &P {
        &self.pipeline
    }

    /// The pipeline, for changes by the owner.
    pub fn pipeline_mut(&mut self) -> &mut P {
        &mut self.pipeline
    }

    /// Ends without finishing, as a crash would, and returns the pipeline.
    pub fn into_pipeline(self) -> P {
        self.pipeline
    }

    fn progress(&self) -> Progress {
        Progress {
            written: self.written,
            durable: self.durable,
            shortage: self.shortage(),
            rotated: self.rotated,
        }
    }
}
