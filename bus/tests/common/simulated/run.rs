//! One seed: sessions of a writer with random options, events and failures, each ended by a crash,
//! each recovered, and after each the whole history compared.

use std::path::Path;
use std::time::Duration;

use railbus::Error;
use railbus::journal::Retention;
use railbus_log::block::{self, Assembler};
use railbus_log::disk::store::Store;
use railbus_log::format::{
    BLOCKS_OFFSET, Codec, Gap, GapReason, PositionUnit, RecordKind, SECTOR_BYTES, SegmentHeader,
};
use railbus_log::recover::{self as recovery, Checks, Recovered};
use railbus_log::retention::{Keeper, Now, Stand};
use railbus_log::stage::words::StageWords;
use railbus_log::write::{Identity, STAGING_BLOCKS_MIN, SyncPolicy, Writer, WriterOptions};
use railbus_ring::frame;

use crate::simulated::disk::{Disk, Faults, SimulatedPipeline};
use crate::simulated::mutants::{Mutant, MutantStore, Mutation};
use crate::simulated::names::LazyNames;
use crate::simulated::oracle::{self, Entry};
use crate::simulated::random::Random;

/// The owner of the journal.
pub(crate) fn identity(unit: PositionUnit, seed: u64) -> Identity {
    let header = SegmentHeader {
        channel_id: *b"a channel's name",
        incarnation: 3,
        created_ns: 1_000,
        owner: 1000,
        ring_group: 1001,
        ring_mode: 0o640,
        acks_group: 1002,
        acks_mode: 0o660,
        unit,
        ..SegmentHeader::default()
    };
    let channel_page = vec![0xA5; SECTOR_BYTES].into_boxed_slice();
    Identity { header, channel_page, path: "simulated".into(), id_seed: seed }
}

struct Run {
    random: Random,
    disk: Disk,
    mutation: Mutation,
    unit: PositionUnit,
    options: WriterOptions,
    /// Every entry that was appended and is not known to be cut.
    appended: Vec<Entry>,
    /// Everything before this position must be there.
    promised: u64,
    now_ns: u64,
    time_ns: u64,
    /// Events that were pruned.
    pruned: u64,
    /// The newest time in the journal when the session began.
    floor_ns: u64,
    /// The newest state of each kind that is durable.
    durable_states: [Option<Entry>; 3],
    /// The states that were appended since the last restart.
    session_states: [Vec<Entry>; 3],
    /// States that are to be repeated in a segment that has begun.
    due: Vec<RecordKind>,
}

/// How a session ended.
struct Ended {
    written: u64,
    durable: u64,
    kept: u64,
    leftovers: Vec<Entry>,
}

/// Runs a seed. An error names the failure.
pub(crate) fn run(seed: u64, mutation: Mutation) -> Result<(), String> {
    let mut random = Random::new(seed);
    let disk = Disk::new(random.next());
    disk.set_ways(random.once_in(3), random.once_in(2));
    disk.set_lazy_names(LazyNames {
        made: mutation == Mutation::NamesUnsynced,
        removed: mutation == Mutation::RemovalsUnsynced,
    });
    let block_bytes = SECTOR_BYTES * random.pick(&[1, 1, 2, 4]);
    let room = SECTOR_BYTES as u64 * random.below(12);
    let options = WriterOptions {
        first_segment_bytes: 4 << 20,
        sync: random.pick(&[
            SyncPolicy::Always,
            SyncPolicy::Always,
            SyncPolicy::Interval(Duration::from_nanos(5_000)),
            SyncPolicy::Never,
        ]),
        segment_bytes: BLOCKS_OFFSET + (block_bytes + SECTOR_BYTES) as u64 + room,
        block_bytes,
        codec: random.pick(&[Codec::None, Codec::None, Codec::None, Codec::Lz4, Codec::Zstd]),
        linger: Duration::from_nanos(random.below(2_000)),
        mark_after: Duration::from_nanos(random.below(5_000)),
        segments_ahead: 1 + random.index(2),
        states_wait: mutation != Mutation::StatesAmongPieces,
    };
    let unit = random.pick(&[PositionUnit::Bytes, PositionUnit::Events]);
    let sessions = 1 + random.below(4);
    let mut run = Run {
        random,
        disk,
        mutation,
        unit,
        options,
        appended: Vec::new(),
        promised: 0,
        now_ns: 0,
        time_ns: 0,
        floor_ns: 0,
        pruned: 0,
        durable_states: Default::default(),
        session_states: Default::default(),
        due: Vec::new(),
    };
    for _ in 0..sessions {
        let mut recovered = run.recover(None)?;
        if run.random.once_in(3) {
            run.prune()?;
            recovered = run.recover(None)?;
        }
        let ended = run.session(&recovered)?;
        run.crash(&ended)?;
    }
    run.recover(None).map(|_| ())
}

impl Run {
    fn crash(&mut self, ended: &Ended) -> Result<(), String> {
        if self.random.once_in(2) {
            self.disk.cut_power();
            self.promised = self.promised.max(ended.durable);
            return Ok(());
        }
        self.disk.restart();
        self.promised = self.promised.max(ended.written);
        // A successor takes over the staging; a second crash before that does no damage.
        self.recover(Some(ended))?;
        if self.random.once_in(2) {
            self.disk.cut_power();
        }
        Ok(())
    }

    /// Recovers, with failures and crashes on the way, and checks the result.
    fn recover(&mut self, left: Option<&Ended>) -> Result<Recovered, String> {
        let path = Path::new("simulated");
        let mut tries = 0;
        let recovered = loop {
            let hard = tries < 6 && self.random.once_in(3);
            let faults = if hard { self.faults_of_recovery() } else { Faults::default() };
            self.disk.set_faults(faults);
            let result = recovery::recover(&MutantStore(&self.disk, self.mutation), path);
            match result {
                Ok(recovered) if !self.disk.has_crashed() => break recovered,
                Err(Error::Corrupt { why, .. }) => return Err(format!("called corrupt: {why}")),
                Err(error) if !hard => return Err(format!("recovery failed on a good disk: {error}")),
                _ if self.random.once_in(2) => {
                    if left.is_some() {
                        self.disk.restart(); // what a successor may count on
                    } else {
                        self.disk.cut_power();
                    }
                }
                _ => self.disk.restart(),
            }
            tries += 1;
        };
        self.disk.set_faults(Faults::default());
        self.check(&recovered, left)?;
        Ok(recovered)
    }

    fn faults_of_recovery(&mut self) -> Faults {
        Faults {
            read: self.random.pick(&[0, 0, 40]),
            write: self.random.pick(&[0, 0, 5]),
            sync: self.random.pick(&[0, 0, 3]),
            crash_after: self.random.once_in(2).then(|| self.random.below(60)),
            ..Faults::default()
        }
    }

    fn check(&mut self, recovered: &Recovered, left: Option<&Ended>) -> Result<(), String> {
        let path = Path::new("simulated");
        let found = oracle::read(&self.disk)?;
        let kept = oracle::is_prefix(&found, &self.appended, self.promised)?;
        let end = found.iter().map(|entry| entry.end_position).max().unwrap_or(0);
        // Pieces of an event that is cut may reach beyond a jump, but never beyond an event.
        let next = self.appended[kept..].iter().find(|entry| !entry.is_state());
        if recovered.end_position < end || next.is_some_and(|next| next.position < recovered.end_position) {
            return Err(format!("recovered up to {}, and read up to {end}", recovered.end_position));
        }
        let events = found.iter().filter(|entry| entry.kind == RecordKind::Event).count() as u64;
        let events = self.pruned + events;
        if recovered.events != events {
            return Err(format!("recovered {} events, and read {events}", recovered.events));
        }
        for (index, kind) in RecordKind::STATES.into_iter().enumerate() {
            let newest = found.iter().rfind(|entry| entry.kind == kind);
            let whole = newest.is_none_or(|entry| entry.body.len() < self.options.block_bytes - 200);
            let same =
                newest.map(|entry| &entry.body) == recovered.states[index].as_ref().map(|state| &state.body);
            if whole && !same {
                return Err(format!("the newest {kind:?} was not found"));
            }
        }
        self.check_states(recovered, kept)?;
        if let Some(ended) = left {
            check_leftovers(&found, &self.appended, recovered.end_position, ended)?;
        }
        let before = self.disk.contents();
        let again =
            recovery::recover(&self.disk, path).map_err(|error| format!("recovering twice: {error}"))?;
        // The epoch may be the same once more: everything that the one before left was removed.
        if (again.start.segment, again.start.link) != (recovered.start.segment, recovered.start.link)
            || again.states != recovered.states
            || again.cut.is_some()
        {
            let brief = |one: &Recovered| {
                format!(
                    "{:?} {:?} {:?}",
                    one.start,
                    one.cut,
                    one.states.each_ref().map(|state| state.as_ref().map(|state| state.position))
                )
            };
            return Err(format!("recovering twice differs: {}, then {}", brief(recovered), brief(&again)));
        }
        if self.disk.contents() != before {
            return Err("recovering twice changes the disk".into());
        }
        let report = recovery::examine(&self.disk, path, Checks::FULL).map_err(|error| error.to_string())?;
        if report.corrupt.is_some()
            || report.events != events
            || report.end_position != recovered.end_position
        {
            return Err(format!("verify says {report:?}"));
        }
        self.appended.truncate(kept);
        self.promised = recovered.end_position;
        Ok(())
    }

    /// Retention: removes the oldest segments, but never the last.
    fn prune(&mut self) -> Result<(), String> {
        let numbers = self.disk.segments().map_err(|error| error.to_string())?;
        for &number in &numbers[..self.random.index(numbers.len().max(1))] {
            self.disk.remove(number).map_err(|error| error.to_string())?;
        }
        let left = oracle::read(&self.disk)?;
        let Some(behind) = self.appended.len().checked_sub(left.len()) else {
            return Err("pruning makes more records".into());
        };
        if self.appended[behind..] != left {
            return Err("pruning changes what is left".into());
        }
        self.forget(behind, u64::MAX)?;
        // This pruning knows nothing of states.
        for state in &mut self.durable_states {
            *state = state.take_if(|state| self.appended.contains(state));
        }
        Ok(())
    }

    /// This many records were removed, none of them an event at or after `unread`.
    fn forget(&mut self, records: usize, unread: u64) -> Result<(), String> {
        let gone: Vec<Entry> = self.appended.drain(..records).collect();
        let mut events = gone.iter().filter(|entry| entry.kind == RecordKind::Event);
        if let Some(taken) = events.clone().find(|entry| entry.position >= unread) {
            return Err(format!("retention took {}, and {unread} is unread", taken.brief()));
        }
        self.pruned += events.by_ref().count() as u64;
        Ok(())
    }

    /// The newest durable state of each kind is there, or a newer one.
    fn check_states(&self, recovered: &Recovered, kept: usize) -> Result<(), String> {
        for (index, durable) in self.durable_states.iter().enumerate() {
            let Some(durable) = durable else { continue };
            let Some(state) = &recovered.states[index] else {
                return Err(format!("the durable {:?} at {} is gone", durable.kind, durable.position));
            };
            let is_it = |entry: &Entry| {
                entry.kind == durable.kind && entry.position == state.position && entry.body == state.body
            };
            let present = self.appended[..kept].iter().rposition(is_it);
            let promised = self.appended.iter().position(|entry| entry == durable);
            if present.is_none() || present < promised {
                return Err(format!(
                    "an older {:?} than the durable one at {}",
                    durable.kind, durable.position
                ));
            }
        }
        Ok(())
    }

    /// Retention while a writer is at work. Returns whether anything was removed.
    fn prune_beside(&mut self, writer: &Writer<Mutant>, keeper: &mut Keeper) -> Result<bool, String> {
        let retention = Retention::default()
            .max_bytes(self.random.pick(&[Some(0), Some(100_000), None]))
            .max_age(self.random.pick(&[Some(Duration::from_secs(20)), None]))
            .consumed(self.random.once_in(3))
            .keep_unread(true);
        let ends = self.appended.iter().map(|entry| entry.end_position);
        let places: Vec<u64> = ends.chain([u64::MAX]).collect();
        let unread = if self.random.once_in(2) { u64::MAX } else { self.random.pick(&places) };
        // A reader in the middle of the unread part is at a beginning.
        let lenient = u64::from(self.mutation == Mutation::PrunesBeginnings);
        keeper.list_again();
        let stand = Stand {
            now: Now::wall(self.time_ns),
            durable: writer.durable() + u64::from(self.mutation == Mutation::PrunesBeforeSync),
            states_from: match self.mutation {
                Mutation::ForgetsStates => u64::MAX,
                _ => writer.states_from(),
            },
            unread: unread.saturating_add(lenient),
        };
        let doomed = keeper.removable(&self.disk, &retention, stand).map_err(|error| error.to_string())?;
        let Some(&last) = doomed.last() else { return Ok(false) };
        let records = oracle::begun_up_to(&self.disk, last)?;
        for segment in doomed {
            self.disk.remove(segment).map_err(|error| error.to_string())?;
            keeper.forget(segment);
        }
        self.forget(records, unread)?;
        Ok(true)
    }

    /// The action of a recorder when a segment has begun: every state is written again.
    fn repeat_states(&mut self, writer: &mut Writer<Mutant>) {
        while let Some(&kind) = self.due.last() {
            let newest = self.appended.iter().rfind(|entry| entry.kind == kind);
            let Some(body) = newest.map(|entry| entry.body.clone()) else {
                self.due.pop();
                continue;
            };
            let position = writer.end();
            // A large one may stop half way: then it is the only one that may go on.
            if body.len() < self.options.block_bytes / 2 {
                if writer.append_state(kind, &body, self.time_ns).is_err() {
                    return;
                }
                self.note_state(kind, position, body);
            }
            self.due.pop();
        }
    }

    fn session(&mut self, recovered: &Recovered) -> Result<Ended, String> {
        // The fewest a writer works with, and a few more: large events find all of them in use.
        let fewest = STAGING_BLOCKS_MIN + usize::from(self.options.codec != Codec::None);
        let blocks = fewest + self.random.index(7);
        let depth = 1 + self.random.index(5);
        let mut inner = SimulatedPipeline::new(&self.disk, blocks, depth, self.random.next());
        inner.lazy = self.random.once_in(3);
        inner.slow_syncs = self.random.once_in(3);
        let (prunes, mut keeper) = (self.random.once_in(2), Keeper::default());
        self.session_states = Default::default();
        self.due.clear();
        inner.strict = self.mutation == Mutation::None;
        let words = StageWords::heap(blocks);
        let pipeline = Mutant { inner, mutation: self.mutation, said: Vec::new(), newest: 0 };
        let identity = identity(self.unit, self.random.next());
        let mut writer =
            Writer::new(pipeline, words.clone(), recovered.start, identity, self.options.clone())
                .map_err(|error| format!("no writer: {error}"))?;
        let faults = if self.random.once_in(3) {
            Faults {
                write: self.random.pick(&[0, 0, 60]),
                sync: self.random.pick(&[0, 0, 20]),
                prepare: self.random.pick(&[0, 0, 10]),
                no_space: self.random.pick(&[0, 0, 2]),
                ..Faults::default()
            }
        } else {
            Faults::default()
        };
        self.disk.set_faults(faults);
        let may_fail = faults.write + faults.sync + faults.prepare > 0;
        self.floor_ns = recovered.start.link.time_ns;
        self.time_ns = self.time_ns.max(self.floor_ns);
        let block_bytes = self.options.block_bytes as u64;
        let sizes = self.random.pick(&[100, 100, 3_000, 3 * block_bytes, 14 * block_bytes]);
        let (mut written, mut durable) = (recovered.end_position, recovered.end_position);
        let mut failed = None;
        // As many steps as make about 300 KiB.
        for _ in 0..self.random.below((300_000 / (sizes + 100)).clamp(10, 100)) {
            let step = self.step(&mut writer, sizes);
            let step = step.and_then(|()| self.turn(&mut writer));
            if let Err(error) = step {
                failed = Some(error);
                break;
            }
            self.repeat_states(&mut writer);
            // A crash right after it is the worst.
            if prunes
                && self.random.once_in(2)
                && self.prune_beside(&writer, &mut keeper)?
                && self.random.once_in(4)
            {
                break;
            }
            if writer.durable() < durable || writer.written() < written || writer.durable() > writer.written()
            {
                return Err("positions that go back".into());
            }
            (written, durable) = (writer.written(), writer.durable());
        }
        if failed.is_none() && self.random.once_in(4) {
            match writer.finish(self.now_ns) {
                Ok(()) if writer.durable() != writer.end() => return Err("finished, and not durable".into()),
                Ok(()) | Err(Error::NoSpace { .. }) => {}
                Err(error) => failed = Some(error.to_string()),
            }
        }
        if let Some(error) = failed {
            if !may_fail {
                return Err(format!("the writer failed on a good disk: {error}"));
            }
            let still = writer.turn(self.now_ns, Duration::ZERO).err().map(|error| error.to_string());
            if still != Some(error)
                || writer
                    .append(frame::header(1, 0, 0), u64::MAX - 20, end(self.unit, u64::MAX - 20, 1), b"x", 0)
                    .is_ok()
            {
                return Err("a poisoned writer that goes on".into());
            }
        }
        let (written, durable, kept) = (writer.written(), writer.durable(), writer.kept());
        let mut pipeline = writer.into_pipeline();
        pipeline.inner.stop();
        let leftovers = leftovers(&words, &pipeline.inner, self.unit)?;
        Ok(Ended { written, durable, kept, leftovers })
    }

    /// Appends a record. An error is the writer's poison.
    fn step(&mut self, writer: &mut Writer<Mutant>, sizes: u64) -> Result<(), String> {
        for _ in 0..self.random.below(6) {
            self.time_ns += self.random.pick(&[0, 1, 1_000, 6_000_000_000]);
            match self.random.below(40) {
                0 => self.append_gap(writer)?,
                1 => self.append_state(writer, sizes)?,
                _ => self.append_event(writer, sizes)?,
            }
        }
        Ok(())
    }

    fn append_event(&mut self, writer: &mut Writer<Mutant>, sizes: u64) -> Result<(), String> {
        let bytes = self.random.below(sizes + 1) as usize;
        let body = self.body(bytes);
        let jump = match self.random.below(100) {
            0 => 5 << 32,
            1..20 => 8 * self.random.below(100),
            _ => 0,
        };
        let position = writer.end() + jump;
        let flags = if bytes >= 8 && self.random.once_in(4) { frame::STAMPED } else { 0 };
        let type_id = self.random.next() as u16;
        let word = frame::header(bytes as u32, type_id, flags);
        let end_position = end(self.unit, position, bytes as u64);
        // An older time counts as the newest so far.
        let said_ns = self.time_ns - self.random.pick(&[0, 0, self.time_ns / 2]);
        let mut tries = 0;
        while writer.append(word, position, end_position, &body, said_ns).is_err() {
            if self.random.once_in(3) {
                self.try_state(writer, position)?;
            }
            self.turn(writer)?;
            tries += 1;
            if tries > 200 {
                return self.drop_event(writer, position, end_position);
            }
        }
        let time_ns = self.newest_time(said_ns);
        let kind = RecordKind::Event;
        self.appended.push(Entry { position, end_position, time_ns, kind, type_id, flags, body });
        Ok(())
    }

    /// The action of a recorder while an event waits for staging: a cursor has moved, or a segment
    /// has begun, and a state is due. It is appended, or refused because pieces of the event came
    /// before it.
    fn try_state(&mut self, writer: &mut Writer<Mutant>, waits_at: u64) -> Result<(), String> {
        let is_within = writer.is_within(waits_at);
        let kind = self.random.pick(&RecordKind::STATES);
        let bytes = self.random.index(100);
        let (body, position) = (self.body(bytes), writer.end());
        if writer.append_state(kind, &body, self.time_ns).is_ok() {
            self.note_state(kind, position, body);
            if is_within && self.mutation == Mutation::None {
                return Err("a state among the pieces of an event".into());
            }
        }
        Ok(())
    }

    /// The policy for a full disk: drop, and record it.
    fn drop_event(&mut self, writer: &mut Writer<Mutant>, from: u64, to: u64) -> Result<(), String> {
        let gap = Gap { from, to, events: 1, reason: GapReason::DiskFull };
        for _ in 0..50 {
            if writer.append_gap(&gap, self.time_ns).is_ok() {
                self.note_gap(&gap);
                return Ok(());
            }
            self.turn(writer)?;
        }
        self.disk.set_faults(Faults::default()); // somebody made room
        for _ in 0..2_000 {
            self.now_ns += 200_000_000;
            self.turn(writer)?;
            if writer.append_gap(&gap, self.time_ns).is_ok() {
                self.note_gap(&gap);
                return Ok(());
            }
        }
        Err("staging stays full on a good disk".into())
    }

    fn append_gap(&mut self, writer: &mut Writer<Mutant>) -> Result<(), String> {
        let from = writer.end() + 8 * self.random.below(3);
        let to = from + self.random.pick(&[8, 64, 9 << 32]);
        let gap = Gap { from, to, events: u64::MAX, reason: GapReason::Overrun };
        for _ in 0..200 {
            if writer.append_gap(&gap, self.time_ns).is_ok() {
                self.note_gap(&gap);
                return Ok(());
            }
            self.turn(writer)?;
        }
        Ok(())
    }

    fn note_gap(&mut self, gap: &Gap) {
        let time_ns = self.newest_time(self.time_ns);
        self.appended.push(Entry {
            position: gap.from,
            end_position: gap.to,
            time_ns,
            kind: RecordKind::Gap,
            type_id: 0,
            flags: 0,
            body: gap.encode().to_vec(),
        });
    }

    fn append_state(&mut self, writer: &mut Writer<Mutant>, sizes: u64) -> Result<(), String> {
        let kind = self.random.pick(&RecordKind::STATES);
        let bytes = self.random.below(sizes + 1) as usize;
        let body = self.body(bytes);
        let position = writer.end();
        let mut tries = 0;
        while writer.append_state(kind, &body, self.time_ns).is_err() {
            self.turn(writer)?;
            tries += 1;
            if tries > 200 {
                self.disk.set_faults(Faults { no_space: 0, ..Faults::default() });
                self.now_ns += 200_000_000;
            }
            if tries > 2_000 {
                return Err("staging stays full on a good disk".into());
            }
        }
        self.note_state(kind, position, body);
        Ok(())
    }

    fn note_state(&mut self, kind: RecordKind, position: u64, body: Vec<u8>) {
        let time_ns = self.newest_time(self.time_ns);
        let end_position = position;
        let entry = Entry { position, end_position, time_ns, kind, type_id: 0, flags: 0, body };
        if let Some(index) = kind.state_index() {
            self.session_states[index].push(entry.clone());
        }
        self.appended.push(entry);
    }

    fn turn(&mut self, writer: &mut Writer<Mutant>) -> Result<(), String> {
        self.now_ns += self.random.below(3_000);
        let wait = Duration::from_nanos(self.random.below(2));
        let progress = writer.turn(self.now_ns, wait).map_err(|error| error.to_string())?;
        if progress.rotated {
            self.due = RecordKind::STATES.to_vec();
        }
        self.note_durable_states(writer);
        Ok(())
    }

    fn note_durable_states(&mut self, writer: &Writer<Mutant>) {
        for (index, kind) in RecordKind::STATES.into_iter().enumerate() {
            if let Some(newest) = (writer.durable_states(kind) as usize).checked_sub(1) {
                self.durable_states[index] = self.session_states[index].get(newest).cloned();
            }
        }
    }

    fn newest_time(&self, said_ns: u64) -> u64 {
        self.appended.last().map_or(said_ns, |last| last.time_ns.max(said_ns)).max(self.floor_ns)
    }

    fn body(&mut self, bytes: usize) -> Vec<u8> {
        let (word, dull) = (self.random.next(), self.random.once_in(2));
        let mut body = vec![0; bytes];
        if dull {
            body.fill(word as u8);
        } else {
            let mut random = Random::new(word);
            for chunk in body.chunks_mut(8) {
                chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
            }
        }
        body
    }
}

fn end(unit: PositionUnit, position: u64, bytes: u64) -> u64 {
    match unit {
        PositionUnit::Bytes => position.saturating_add(frame::frame_bytes(bytes)),
        PositionUnit::Events => position + 1,
    }
}

/// The entries that a successor finds in staging.
fn leftovers(
    words: &StageWords,
    pipeline: &SimulatedPipeline,
    unit: PositionUnit,
) -> Result<Vec<Entry>, String> {
    let mut assembler = Assembler::new();
    let mut found = Vec::new();
    for left in words.leftovers() {
        for record in left.records(unit, pipeline.staging_bytes(left.block)) {
            let record = record.map_err(|flaw| format!("in staging: {flaw}"))?;
            if record.kind.continues() && !assembler.is_pending() {
                continue;
            }
            let whole: Option<block::Record<'_>> =
                assembler.push(record, unit).map_err(|flaw| format!("in staging: {flaw}"))?;
            found.extend(whole.as_ref().map(Entry::of));
        }
    }
    Ok(found)
}

/// After a kill: the journal, followed by the staging, is all that was kept.
fn check_leftovers(
    found: &[Entry],
    appended: &[Entry],
    journal_end: u64,
    ended: &Ended,
) -> Result<(), String> {
    let events = |entries: &[Entry], from: u64| -> Vec<Entry> {
        entries.iter().filter(|entry| !entry.is_state() && entry.position >= from).cloned().collect()
    };
    let mut both = events(found, 0);
    both.extend(events(&ended.leftovers, journal_end));
    let all = events(appended, 0);
    for (i, entry) in all.iter().enumerate() {
        if entry.end_position <= ended.kept && both.get(i) != Some(entry) {
            let has = both.get(i).map_or_else(|| "nothing".into(), Entry::brief);
            return Err(format!(
                "kept before {}: {}, and a successor finds {has}",
                ended.kept,
                entry.brief()
            ));
        }
    }
    Ok(())
}
