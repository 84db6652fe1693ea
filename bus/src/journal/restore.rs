//! A channel that was lost with its shared memory, made again from its journal.
//!
//! After a reboot the channel's files are gone, and its journal still exists. Each segment's first
//! pages have the channel's identity, geometry and access rights. The journal has the events up to
//! its end, and the newest state of the queue and of the durable subscriptions. [`restore`]
//! recovers the journal. If the staging has survived, it takes that over, too. Then it makes the
//! channel again under its identity, in the next incarnation, beginning where the journal ends;
//! `remake.rs` describes its initial content.
//!
//! A channel that was removed on purpose is not lost: the removal leaves a note in the journal's
//! directory, for which [`lost`] looks. If the journal ends in a corrupt part, the channel is not
//! made again: that is an error which names the place.

use std::path::{Path, PathBuf};

use railbus_log::disk::store::Store;
use railbus_log::format::{RecordKind, SECTOR_BYTES, SegmentHeader};
use railbus_log::incarnations;
use railbus_log::read::stored::events_from;
use railbus_log::recover::Recovered;
use railbus_log::write::Identity;
use railbus_ring::layout::HEADER_BYTES;

use crate::channel::bus::Bus;
use crate::channel::journal_status::REMOVED;
use crate::channel::open::Channel;
use crate::channel::{ChannelName, FileRole, Header, Kind, Permissions};
use crate::error::{Error, Result};
use crate::journal::options::RecorderOptions;
use crate::journal::record::opening::{Locked, directory_of, numbers, take_over};
use crate::journal::record::recorded_state::{Acks, Cursors};
use crate::journal::record::remake::{Plan, UnfinishedEvent};
use crate::journal::record::stage_file::Stage;

/// A channel that was made again. `Display` prints one line.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The channel.
    pub channel: Channel,
    /// The position where it begins: the end of its journal.
    pub first_position: u64,
    /// Number of its durable subscriptions.
    pub subscriptions: usize,
    /// Number of a queue's unfinished events, which are delivered again.
    pub unfinished: usize,
    /// Number of bytes of a torn tail that were cut.
    pub torn_bytes: u64,
    /// Number of events that a killed journaller had staged and that were written now.
    pub taken_over: u64,
}

impl std::fmt::Display for Restored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header = self.channel.header();
        write!(
            f,
            "{} made again from its journal: incarnation {}, from position {}, {} durable subscriptions",
            self.channel.name(),
            header.incarnation,
            self.first_position,
            self.subscriptions
        )?;
        if header.kind == Kind::Queue {
            write!(f, ", {} unfinished events", self.unfinished)?;
        }
        if self.torn_bytes > 0 {
            write!(f, "; a torn tail of {} bytes was cut", self.torn_bytes)?;
        }
        Ok(())
    }
}

/// Returns the lost channels, sorted: those that have a journal below the directory `journal`, are
/// not on their bus below `base`, and were not removed on purpose.
///
/// # Errors
/// [`Error::Io`], [`Error::NotAllowed`]. A directory that does not exist has no journals, and is no
/// error.
pub fn lost(base: &Path, journal: &Path) -> Result<Vec<ChannelName>> {
    let mut lost = Vec::new();
    for bus in directories(journal)? {
        for channel in directories(&journal.join(&bus))? {
            let Ok(name) = ChannelName::new(&bus, &channel) else { continue };
            let directory = directory_of(journal, &name);
            let is_removed = directory.join(REMOVED).exists() || channel.contains('~');
            if !is_removed && has_segments(&directory)? && !name.paths(base).ring.exists() {
                lost.push(name);
            }
        }
    }
    lost.sort();
    Ok(lost)
}

/// Whether this channel is lost: it has a journal below the directory `journal`, as far as this
/// process may look, is not on its bus, and was not removed on purpose.
pub(crate) fn is_lost(base: &Path, journal: &Path, name: &ChannelName) -> bool {
    let directory = directory_of(journal, name);
    !name.paths(base).ring.exists()
        && !directory.join(REMOVED).exists()
        && has_segments(&directory).unwrap_or(false)
}

fn directories(path: &Path) -> Result<Vec<String>> {
    let fail = |error| Error::io("list", path, error);
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

fn has_segments(directory: &Path) -> Result<bool> {
    let fail = |error| Error::io("list", directory, error);
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let name: PathBuf = entry.map_err(fail)?.file_name().into();
        if name.extension().is_some_and(|extension| extension == "seg") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a lost channel again from its journal below the directory `journal`. Blocks for recovering
/// the journal, and for reading the unfinished events of a queue.
///
/// Its dead-letter queue, and the channel to which it diverts, are made again first if they are
/// lost, too.
///
/// # Errors
/// - [`Error::Exists`] when the channel exists.
/// - [`Error::NotFound`] when there is no journal.
/// - [`Error::Busy`] while another process writes to the journal.
/// - [`Error::Corrupt`] names the place where the journal is damaged.
/// - [`Error::Version`] when another version of railbus wrote the journal.
/// - Those of creating a channel.
pub fn restore(bus: &Bus, name: &str, journal: &Path) -> Result<Restored> {
    let name = ChannelName::new(bus.name(), name)?;
    let journal = std::path::absolute(journal).map_err(|error| Error::io("find", journal, error))?;
    restore_named(bus, &name, &journal, 2)
}

fn restore_named(bus: &Bus, name: &ChannelName, journal: &Path, depth: u32) -> Result<Restored> {
    let directory = directory_of(journal, name);
    let none = || Error::NotFound { what: format!("the journal of {name}"), path: directory.clone() };
    if !directory.is_dir() || !has_segments(&directory)? {
        return Err(none());
    }
    let paths = name.paths(bus.base());
    if paths.ring.exists() {
        return Err(Error::Exists { what: format!("channel {name}"), path: paths.ring });
    }
    let locked = Locked::open(&directory)?;
    let mut owner = locked.owner()?.ok_or_else(none)?;
    let mut recovered = locked.recover()?;
    let stage = Stage::find(paths.stage.clone(), owner.channel_id, owner.incarnation)?;
    let (header, page) = channel_of(&locked, &directory)?;
    if header.name != name.channel() {
        let why = format!("it is the journal of a channel {:?}: directories cannot be renamed", header.name);
        return Err(Error::corrupt(directory.display().to_string(), why));
    }
    let mut taken_over = 0;
    if let Some((stage, incarnation)) = stage {
        // The journaller may have died before it had written anything of its incarnation.
        owner.incarnation = incarnation;
        let identity = Identity::new(owner, &page, &directory)?;
        let options = RecorderOptions { segment_bytes: owner.segment_bytes, ..RecorderOptions::default() };
        taken_over = take_over(&locked, &mut recovered, &stage, &identity, owner.unit, &options)?;
    }
    // Incarnations that were begun after the last recorded one have left nothing, but their numbers
    // stay used.
    let recorded = owner.incarnation;
    let begun = incarnations::read(&directory)?.last().map_or(0, |begun| begun.incarnation);
    owner.incarnation = recorded.max(begun);
    for other in header.dead_letters.iter().chain(&header.divert_to) {
        let other = ChannelName::new(name.bus(), other)?;
        let is_there = other.paths(bus.base()).ring.exists();
        if !is_there && depth > 0 && has_segments(&directory_of(journal, &other)).unwrap_or(false) {
            restore_named(bus, &other, journal, depth - 1)?;
        }
    }
    let plan = plan(&locked, &directory, header, &owner, &recovered)?;
    let (subscriptions, unfinished) = (plan.cursors.0.len(), plan.unfinished.len());
    incarnations::note(&directory, recorded, plan.header.incarnation + 1, plan.end)?;
    let channel = plan.make(bus, name)?;
    Ok(Restored {
        channel,
        first_position: recovered.end_position,
        subscriptions,
        unfinished,
        torn_bytes: recovered.torn_bytes,
        taken_over,
    })
}

/// Returns the channel's header page in the newest segment that has one: decoded, and as raw bytes.
fn channel_of(locked: &Locked, directory: &Path) -> Result<(Header, Vec<u8>)> {
    let failed = |error| Error::io("read", directory, error);
    let segments = locked.files.segments().map_err(failed)?;
    for &segment in segments.iter().rev() {
        let mut pages = vec![0; SECTOR_BYTES + HEADER_BYTES];
        locked.files.read_at(segment, 0, &mut pages).map_err(failed)?;
        if SegmentHeader::decode(&pages).is_err() {
            continue;
        }
        let mut page = Box::new([0; HEADER_BYTES]);
        page.copy_from_slice(&pages[SECTOR_BYTES..]);
        let header = Header::decode(&page, FileRole::Ring, directory)?;
        return Ok((header, page.to_vec()));
    }
    Err(Error::corrupt(directory.display().to_string(), "no segment says whose journal it is"))
}

fn plan(
    locked: &Locked,
    directory: &Path,
    mut header: Header,
    owner: &SegmentHeader,
    recovered: &Recovered,
) -> Result<Plan> {
    let corrupt =
        |what: &str| Error::corrupt(format!("the journal {}", directory.display()), what.to_owned());
    let state = |kind: RecordKind| {
        kind.state_index().and_then(|i| recovered.states.get(i)).and_then(|state| state.as_ref())
    };
    let end = recovered.end_position;
    let cursors = match state(RecordKind::Cursors) {
        Some(state) => Cursors::decode(&state.body).ok_or_else(|| corrupt("the newest record of cursors"))?,
        None => Cursors::default(),
    };
    let mut unfinished = Vec::new();
    if header.kind == Kind::Queue {
        let acks = match state(RecordKind::Acks) {
            Some(state) => {
                Acks::decode(&state.body).ok_or_else(|| corrupt("the newest record of acknowledgements"))?
            }
            None => Acks::default(),
        };
        // At most one ring of events can be unfinished: no slot is used again before its event is
        // done.
        let from = end.saturating_sub(header.slots).max(acks.lowest.min(end));
        events_from(&*locked.files, directory, from, &mut |ticket, word, body| {
            if let Some(attempts) = acks.unfinished(ticket).filter(|_| (from..end).contains(&ticket)) {
                unfinished.push(UnfinishedEvent { ticket, header: word, body: body.to_vec(), attempts });
            }
        })?;
    }
    header.incarnation = header.incarnation.max(owner.incarnation);
    let permissions = Permissions {
        owner: Some(owner.owner),
        ring_group: Some(owner.ring_group),
        ring_mode: owner.ring_mode,
        acks_group: Some(owner.acks_group),
        acks_mode: owner.acks_mode,
    };
    let sequences = numbers(locked, recovered)?.state();
    Ok(Plan { header, permissions, end, cursors, sequences, unfinished })
}
