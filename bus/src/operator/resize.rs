//! Making a channel again with another size, at a quiet point.
//!
//! The new channel has the same identity and the next incarnation. Its first position is where the
//! old one ended, so no position is used twice. Events that were not read or done are carried over:
//!
//! | | carried | under which positions |
//! |---|---|---|
//! | queue | the events that are not done, with their attempts; what durable taps have not read | as before |
//! | topic | from the lowest durable cursor on | as before |
//! | stream | from the lowest durable cursor on | new ones: a byte position belongs to a ring's size |
//!
//! Durable subscriptions, the numbers of publishers that number their events, and the attempts of a
//! queue's events are carried over, too. Events that the table does not name are not carried, even
//! if they are still in the old ring.
//!
//! **A quiet point** is a moment at which no participant is registered. Every janitor lock of the
//! channel is taken, and held until the end (`channel/quiet.rs`). A process that tries to join in
//! between gets an error that says so. If the locks cannot be had, the resize is refused, and the
//! error names the participants. `channel/replace.rs` explains why a crash leaves the old channel
//! or the new one.

use std::time::{Duration, Instant};

use railbus_log::incarnations;
use railbus_os::clock;
use railbus_ring::members::registry::{JOURNALLER, ROLE_SUBSCRIBER, ROLE_TAP, Registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::redo::Redo;
use railbus_ring::slots::sequence::{Sequences, is_published};
use railbus_ring::slots::word::{Slots, done, seq};
use railbus_ring::stream::places::Place;
use railbus_ring::stream::publisher::StreamPublisher;
use railbus_ring::stream::subscriber::walk_each;
use railbus_ring::stream::view::StreamView;
use railbus_ring::{frame, layout};

use crate::Channel;
use crate::channel::initial::{initialise, restore_unique};
use crate::channel::journal_status::{JournalNamed, JournalState};
use crate::channel::memories::Memories;
use crate::channel::quiet::Fence;
use crate::channel::replace::Replacement;
use crate::channel::settings::pages_of;
use crate::channel::span::{corrupt, end_of, payload_bytes, slots_of};
use crate::channel::{ChannelOptions, Kind, Maps, Permissions};
use crate::error::{Error, Result};
use crate::operator::look::{Where, unfinished};
use crate::snapshot::{Info, Life};

/// The changes. An option that is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resize {
    /// Bytes of a stream.
    pub capacity_bytes: Option<u64>,
    /// Slots of a queue or topic.
    pub slots: Option<u64>,
    /// Bytes of a slot.
    pub slot_bytes: Option<u64>,
    /// Most producers of a queue or topic.
    pub producers_max: Option<u32>,
    /// Most consumers.
    pub consumers_max: Option<u32>,
    /// Whether to discard events that were not read or done, rather than to carry them over.
    pub discard: bool,
    /// How long to wait for the participants to leave.
    pub wait: Duration,
}

/// The events that were not read or done, and the subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Carried {
    /// Events.
    pub events: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Durable subscriptions.
    pub subscriptions: u64,
}

/// The result of [`Channel::resize`], or what it would be in a dry run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resized {
    /// The channel as it is now; in a dry run the old one.
    pub channel: Channel,
    /// The new incarnation.
    pub incarnation: u64,
    /// The first position of that incarnation.
    pub first_position: u64,
    /// The events that were carried over, or discarded with [`Resize::discard`].
    pub carried: Carried,
}

/// An event to be carried.
struct Kept {
    position: u64,
    header: u64,
    body: Vec<u64>,
    /// The number of deliveries without success, for a queue's event that is not done.
    attempts: Option<u8>,
}

/// A durable subscription to be carried.
struct Cursor {
    policy: u64,
    name: [u64; 8],
    position: u64,
    behind: Option<u64>,
}

/// The old channel's state, read at the quiet point.
struct State {
    end: u64,
    cursors: Vec<Cursor>,
    events: Vec<Kept>,
    numbers: Vec<([u64; 8], u64)>,
}

impl Channel {
    /// Makes this channel again with another size. This `Channel` value and
    /// all that other processes have opened belong to the old channel from then on: attach again.
    ///
    /// With `dry_run` it changes nothing, and returns what it would do.
    ///
    /// # Errors
    /// [`Error::Busy`] if there still are participants after [`Resize::wait`], if the journaller
    /// did not end properly, or if the events to be carried do not fit. [`Error::Invalid`] for
    /// sizes that cannot be. [`Error::NoSpace`], because both channels exist for a moment.
    /// [`Error::NotAllowed`] without the rights to write both files, and to make files of that
    /// owner.
    pub fn resize(&self, resize: &Resize, dry_run: bool) -> Result<Resized> {
        self.expect_events("resizing")?;
        let info = self.info()?;
        let options = options_of(&info, resize);
        options.check()?;
        self.refuse_small_letters(&options)?;
        let fence = match dry_run {
            true => {
                refuse_used(&info)?;
                None
            }
            false => {
                self.repair()?;
                Some(self.quiet(resize.wait)?)
            }
        };
        let journal = self.quiet_journal()?;
        let (memories, _maps) = match dry_run {
            true => self.look()?,
            false => self.settle()?,
        };
        let mut state = self.state(&memories)?;
        let carried = state.carried();
        if resize.discard {
            state.discard();
        }
        let options = options.first_position(state.end);
        self.refuse_misfit(&options, &state)?;
        let (incarnation, first_position) = (self.header().incarnation + 1, state.end);
        let Some(fence) = fence else {
            return Ok(Resized { channel: self.clone(), incarnation, first_position, carried });
        };
        let replacement = Replacement::build(self.attached(), &options, &|maps| {
            initialise(maps, &options)?;
            self.fill(maps, &options, &state)
        })?;
        if let Some(journal) = journal {
            // Before any process can see a position of the new channel. If that is lost before it
            // is recorded, no later incarnation gets its number.
            journal.write(|at| incarnations::note(at, incarnation - 1, incarnation, first_position))?;
        }
        let created = replacement.commit(self.attached(), &fence)?;
        let channel = Channel::new(self.bus(), created.attached, Some(created.pages));
        Ok(Resized { channel, incarnation, first_position, carried })
    }

    /// Waits until there are no participants, and keeps new ones out.
    fn quiet(&self, wait: Duration) -> Result<Fence> {
        let started = Instant::now();
        let fence = Fence::open(self)?;
        loop {
            if self.is_removed()? {
                let why = "it was removed, or made anew, meanwhile; attach again".to_owned();
                return Err(Error::Busy { what: format!("channel {}", self.name()), why });
            }
            if fence.try_take()? {
                return Ok(fence);
            }
            // A process that registers, or was just killed, also holds a lock for a moment.
            if started.elapsed() >= wait.max(Duration::from_millis(20)) {
                refuse_used(&self.info()?)?;
                let why = "somebody registers, or changes it, just now; try again";
                return Err(Error::Busy { what: format!("channel {}", self.name()), why: why.to_owned() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its journal, if it has one. Its journaller must have written everything that it took.
    fn quiet_journal(&self) -> Result<Option<JournalNamed>> {
        match self.journal_positions() {
            Ok(journal) if journal.state != JournalState::Stopped => {
                let why = format!(
                    "its journal is {}, and what its journaller had in hand is not written: start `railbus journald` once \
                     more, and stop it with SIGTERM",
                    journal.state.as_str()
                );
                return Err(Error::Busy { what: format!("channel {}", self.name()), why });
            }
            Ok(_) | Err(Error::PeerGone { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(JournalNamed::by(&self.name().paths(self.bus().base())))
    }

    /// Finishes what dead publishers that number their events left open, as their successors would.
    fn settle(&self) -> Result<(Memories, Maps)> {
        let maps = self.attached().map_as(true, false)?;
        // SAFETY: the maps are returned with the memories; only `.ring` is written.
        let memories = unsafe { Memories::of(&maps) };
        let numbers = Sequences::new(memories.ring, self.header().producers_max as usize);
        let end = end_of(self, &memories)?;
        match self.header().kind {
            Kind::Stream => numbers.settle_before(end),
            _ => (0..layout::SEQUENCES_MAX).for_each(|index| {
                numbers.settle(index, |t| is_published(&memories.data, slots_of(self), t));
            }),
        }
        Ok((memories, maps))
    }

    fn state(&self, memories: &Memories) -> Result<State> {
        let end = end_of(self, memories)?;
        let registry =
            Registry::new(memories.acks, self.header().consumers_max as usize, layout::CONSUMERS_HIGH);
        let mut cursors = Vec::new();
        for index in (0..registry.used()).filter(|&index| registry.is_durable(index)) {
            let load = |field| memories.acks.load(layout::entry(index) + field, Edge::Cursor);
            let role = if load(layout::POLICY) & 0xFF == ROLE_TAP { ROLE_TAP } else { ROLE_SUBSCRIBER };
            cursors.push(Cursor {
                policy: role,
                name: registry.name(index),
                position: load(layout::CURSOR).min(end),
                behind: load(layout::BEHIND).checked_sub(1),
            });
        }
        let lowest = cursors.iter().map(|cursor| cursor.position).min().unwrap_or(end);
        let events = match self.header().kind {
            Kind::Stream => self.frames(memories, lowest, end)?,
            _ => self.slots_from(memories, lowest, end),
        };
        let numbers = Sequences::new(memories.ring, self.header().producers_max as usize).entries().collect();
        Ok(State { end, cursors, events, numbers })
    }

    /// A stream's events between two cursors.
    fn frames(&self, memories: &Memories, from: u64, end: u64) -> Result<Vec<Kept>> {
        let capacity = self.header().capacity_bytes;
        // The cursor has held the publisher back, so it cannot have reached an end that is further
        // away.
        if end - from > capacity {
            return Err(corrupt(self));
        }
        let mut events = Vec::new();
        let mut at = from;
        while at < end {
            let mut found = None;
            let place = Place { position: at, count: 0 };
            let step =
                walk_each(&memories.data, capacity, place, Some(at + 1), |header| found = Some(header));
            let next = step.filter(|next| next.position > at).ok_or_else(|| corrupt(self))?.position;
            if let Some(header) = found {
                let words = frame::body_bytes(header).div_ceil(8) as u64;
                let start = (at & (capacity - 1)) + frame::HEADER;
                let load = |i| memories.data.load((start + i * 8) as usize, Edge::Plain);
                let body = (0..words).map(load).collect();
                events.push(Kept { position: at, header, body, attempts: None });
            }
            at = next;
        }
        Ok(events)
    }

    /// A topic's or queue's events from `from` on, and a queue's events before that are not done.
    fn slots_from(&self, memories: &Memories, from: u64, end: u64) -> Vec<Kept> {
        let slots = slots_of(self);
        let body_max = slots.slot_bytes() - layout::SLOT_BODY as u64;
        let mut attempts = std::collections::HashMap::new();
        if self.header().kind == Kind::Queue {
            for one in unfinished(self, memories, end) {
                // The worker that held it is dead, so that delivery had no success.
                let more = u8::from(one.place == Where::InHand);
                attempts.insert(one.ticket, one.attempts.saturating_add(more));
            }
        }
        let is_kept = |t: &u64| *t >= from || attempts.contains_key(t);
        let kept = (end.saturating_sub(slots.count)..end).filter(is_kept).filter_map(|t| {
            let at = slots.offset(t);
            let header = memories.data.load(at + layout::SLOT_META, Edge::Plain);
            if !is_published(&memories.data, slots, t) || !frame::is_event(header, body_max) {
                return None;
            }
            let words = frame::body_bytes(header).div_ceil(8) as usize;
            let load = |i| memories.data.load(at + layout::SLOT_BODY + i * 8, Edge::Plain);
            let body = (0..words).map(load).collect();
            Some(Kept { position: t, header, body, attempts: attempts.get(&t).copied() })
        });
        kept.collect()
    }

    /// Refuses options with which the state cannot be carried over.
    fn refuse_misfit(&self, options: &ChannelOptions, state: &State) -> Result<()> {
        let busy = |why: String| {
            let what = format!("what was not read or done in {}", self.name());
            Err(Error::Busy { what, why: format!("{why}; or give it up with --discard") })
        };
        if state.cursors.len() > options.consumers() as usize {
            let why = format!(
                "it has {} durable subscriptions; leave room for them, or evict some",
                state.cursors.len()
            );
            return Err(Error::Busy { what: format!("channel {}", self.name()), why });
        }
        let largest =
            state.events.iter().map(|event| u64::from(frame::body_bytes(event.header))).max().unwrap_or(0);
        if self.header().kind == Kind::Stream {
            if state.events.is_empty() {
                return Ok(());
            }
            if state.cursors.iter().any(|cursor| cursor.name == JOURNALLER || cursor.behind.is_some()) {
                return busy(
                    "a recorded stream's events cannot be given new positions: let its subscriptions read on \
                     to the end first"
                        .to_owned(),
                );
            }
            let capacity = options.data_capacity_bytes();
            let bytes: u64 =
                state.events.iter().map(|one| frame::frame_bytes(frame::body_bytes(one.header).into())).sum();
            // Padding takes at most a frame, and an empty header follows.
            let need = bytes + frame::frame_bytes(largest) + frame::HEADER;
            if need > capacity || frame::frame_bytes(largest) > frame::frame_max(capacity) {
                return busy(format!(
                    "it takes {need} bytes, and the new ring has {capacity}: let it be read, or take a larger --capacity"
                ));
            }
            return Ok(());
        }
        let body_max = options.slot_size_bytes() - layout::SLOT_BODY as u64;
        if largest > body_max {
            return busy(format!(
                "an event has {largest} bytes, and the new slots take {body_max}: let it be read, or take larger --slot-bytes"
            ));
        }
        let oldest = state.events.iter().map(|event| event.position);
        let oldest = oldest.chain(state.cursors.iter().map(|cursor| cursor.position)).min();
        if let Some(oldest) = oldest.filter(|&oldest| state.end - oldest > options.slot_count()) {
            return busy(format!(
                "it begins at position {oldest}, {} before the end, and the new ring has {} slots: let it be read, or take \
                 more --slots",
                state.end - oldest,
                options.slot_count()
            ));
        }
        Ok(())
    }

    /// Checks the slots of queues for dead letters and diverted events, which are larger than the
    /// events that they were.
    fn refuse_small_letters(&self, options: &ChannelOptions) -> Result<()> {
        let header = self.header();
        for name in [&header.dead_letters, &header.divert_to].into_iter().flatten() {
            let other = self.bus().attach(name)?;
            let grows = options.slot_size_bytes() > header.slot_bytes;
            if grows && other.header().slot_bytes <= options.slot_size_bytes() {
                let why = format!(
                    "{} takes its dead letters or diverted events, and has slots of {} bytes, which must be larger than \
                     these: resize that first",
                    other.name(),
                    other.header().slot_bytes
                );
                let what = format!("slots of {} bytes", options.slot_size_bytes());
                return Err(Error::invalid(what, why));
            }
        }
        if options.slot_size_bytes() >= header.slot_bytes {
            return Ok(());
        }
        for user in self.bus().channels()? {
            // A channel that cannot be attached to sends nothing.
            let Ok(user) = self.bus().attach(user.channel()) else { continue };
            let names = [&user.header().dead_letters, &user.header().divert_to].into_iter().flatten();
            let is_user = names.into_iter().any(|name| *name == header.name);
            if is_user && user.header().slot_bytes >= options.slot_size_bytes() {
                let why = format!(
                    "{} sends its dead letters or diverted events here, and has slots of {} bytes: these must be larger",
                    user.name(),
                    user.header().slot_bytes
                );
                return Err(Error::invalid(format!("slots of {} bytes", options.slot_size_bytes()), why));
            }
        }
        Ok(())
    }

    /// Writes the state that is carried over into the new channel, which no process sees yet.
    fn fill(&self, maps: &Maps, options: &ChannelOptions, state: &State) -> Result<()> {
        // SAFETY: the maps outlive these copies, and the creator has all of them writable.
        let memories = unsafe { Memories::of(maps) };
        let table = Sequences::new(memories.ring, options.producers() as usize);
        for &(name, last) in &state.numbers {
            // It has as many places as before.
            table.enter(name, last);
        }
        let registry = Registry::new(memories.acks, options.consumers() as usize, layout::CONSUMERS_HIGH);
        for (index, cursor) in state.cursors.iter().enumerate() {
            registry.restore(index, cursor.policy, cursor.name, cursor.position, cursor.behind);
        }
        if options.kind() == Kind::Stream {
            return self.fill_stream(&memories, options, state);
        }
        let slots = Slots::new(options.slot_count(), options.slot_size_bytes());
        for event in &state.events {
            let t = event.position;
            let at = slots.offset(t);
            memories.data.store(at + layout::SLOT_META, event.header, Edge::Plain);
            for (i, &word) in event.body.iter().enumerate() {
                memories.data.store(at + layout::SLOT_BODY + i * 8, word, Edge::Plain);
            }
            memories.data.store(at + layout::SLOT_SEQ, slots.state(t, seq::PUBLISHED), Edge::Publish);
            if let Some(attempts) = event.attempts {
                let redo = slots.held(t, done::REDO, attempts, 0);
                memories.done.store(slots.done_offset(t), redo, Edge::Done);
            }
        }
        let waiting: Vec<u64> =
            state.events.iter().filter(|e| e.attempts.is_some()).map(|e| e.position).collect();
        let redo = Redo { acks: &memories.acks, done: &memories.done, slots };
        redo.announce_in_order(waiting.into_iter(), clock::host_ns());
        if options.unique {
            let tickets = state.events.iter().map(|event| event.position);
            restore_unique(&memories, options.producers(), slots, tickets);
        }
        Ok(())
    }

    /// Publishes a stream's events again, from the new first position on, and moves the cursors
    /// along.
    fn fill_stream(&self, memories: &Memories, options: &ChannelOptions, state: &State) -> Result<()> {
        let store_cursor = |index: usize, position: u64| {
            memories.acks.store(layout::entry(index) + layout::CURSOR, position, Edge::Cursor);
        };
        // The cursors hold the ring from its beginning while it is filled.
        (0..state.cursors.len()).for_each(|index| store_cursor(index, state.end));
        if state.events.is_empty() {
            return Ok(());
        }
        let Memories { ring, acks, data, .. } = *memories;
        let capacity = options.data_capacity_bytes();
        let view = StreamView { ring, acks, data, capacity, consumers: options.consumers() as usize };
        let publisher = StreamPublisher::take_over(view, 0);
        let mut publisher = publisher.ok_or_else(|| corrupt(self))?;
        let mut starts = Vec::with_capacity(state.events.len());
        for event in &state.events {
            let claim = publisher.claim(frame::body_bytes(event.header).into()).map_err(|_| Error::Busy {
                what: format!("what was not read in {}", self.name()),
                why: "it does not fit the new ring: take a larger --capacity, or give it up with --discard"
                    .to_owned(),
            })?;
            let at = publisher.body_offset(claim);
            for (i, &word) in event.body.iter().enumerate() {
                data.store(at + i * 8, word, Edge::Plain);
            }
            starts.push((event.position, claim.position()));
            publisher.commit(claim, event.header);
        }
        let end = publisher.place().position;
        for (index, cursor) in state.cursors.iter().enumerate() {
            let next = starts.iter().find(|(old, _)| *old >= cursor.position);
            store_cursor(index, next.map_or(end, |&(_, new)| new));
        }
        Ok(())
    }
}

impl State {
    fn carried(&self) -> Carried {
        let is_wanted = |event: &&Kept| {
            event.attempts.is_some() || self.cursors.iter().any(|cursor| cursor.position <= event.position)
        };
        let events: Vec<&Kept> = self.events.iter().filter(is_wanted).collect();
        Carried {
            events: events.len() as u64,
            bytes: events.iter().map(|event| payload_bytes(event.header)).sum(),
            subscriptions: self.cursors.iter().filter(|cursor| cursor.name != JOURNALLER).count() as u64,
        }
    }

    fn discard(&mut self) {
        self.events.clear();
        for cursor in &mut self.cursors {
            (cursor.position, cursor.behind) = (self.end, None);
        }
    }
}

/// The options that make a channel like the one of `info`, except for its identity and first
/// position.
pub(crate) fn options_of(info: &Info, resize: &Resize) -> ChannelOptions {
    let header = &info.header;
    let mut options = header.next_incarnation().pages(pages_of(header)).permissions(Permissions {
        owner: Some(info.ring_access.uid),
        ring_group: Some(info.ring_access.gid),
        ring_mode: info.ring_access.mode & 0o666,
        acks_group: Some(info.acks_access.gid),
        acks_mode: info.acks_access.mode & 0o666,
    });
    if let Some(most) = resize.consumers_max {
        options = options.consumers_max(most);
    }
    if let Some(most) = resize.producers_max {
        options = options.producers_max(most);
    }
    // An option that does not belong to the kind is refused when the options are checked.
    if let Some(bytes) = resize.capacity_bytes {
        options = options.capacity_bytes(bytes);
    }
    if let Some(slots) = resize.slots {
        options = options.slots(slots);
    }
    if let Some(bytes) = resize.slot_bytes {
        options = options.slot_bytes(bytes);
    }
    options
}

fn refuse_used(info: &Info) -> Result<()> {
    let used = info.participants.iter().filter(|one| matches!(one.life, Life::Live | Life::Evicted));
    let who: Vec<String> = used
        .map(|one| {
            let name = if one.name.is_empty() { String::new() } else { format!(" ({})", one.name) };
            format!("{} {}{name}", one.role.as_str(), one.pid)
        })
        .collect();
    if who.is_empty() {
        return Ok(());
    }
    let why = format!("{} take part: stop them, or wait for them with --wait", who.join(", "));
    Err(Error::Busy { what: format!("channel {}", info.name), why })
}
