//! Moving a durable subscription that has no owner: over events that are in its way, back to events
//! that are still there, or to the end.
//!
//! The administrator takes the subscription over as an owner does, under its life lock. So no other
//! process resumes it in the meantime, and its cursor is a gate all the time. The administrator
//! stores the new cursor in one step, and leaves. If it is killed before that step it has done
//! nothing, and after it everything.
//!
//! **Back** in a stream, the new cursor must protect the events before the old one from a publisher
//! that has already read the old one. A joiner has the same problem, so a joiner solves it: an
//! ordinary subscriber first joins at the wanted position and holds it. Then the cursor is stored,
//! and the fence of the JOIN pair follows. A scan that missed the new cursor had published its
//! floor before, and the joined subscriber keeps that floor at or below the wanted position. No
//! scan allows more than a ring beyond its floor. Only then does the subscriber leave.
//!
//! Back in a *topic*, producers may already be allowed to overwrite the events before the old
//! cursor. So they are copied, as any joiner reads old events, and those that were overwritten are
//! reported exactly. A queue's tap never copies, and so cannot go back.
//!
//! **Further back**, to events that only the channel's journal has, the cursor stays where it is
//! and holds what follows. The subscription notes its real position (`BEHIND`), like one that was
//! restored from the journal, and a [`Follower`](crate::Follower) of its name reads on from there.
//! A tap cannot do this, because followers of queues have no such names.

use std::time::Duration;

use railbus_ring::layout;
use railbus_ring::members::join::StartAt as Start;
use railbus_ring::members::park::Waker;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{DURABLE, ROLE_SUBSCRIBER, ROLE_TAP};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::stream::places;

use super::ADMINISTRATOR;
use crate::Channel;
use crate::channel::memories::{Memories, SharedFutex};
use crate::channel::peers::Kernel;
use crate::channel::span::{self, Span};
use crate::channel::sweep::sweep_entry;
use crate::channel::{Kind, Maps, Role};
use crate::error::{Error, Result};
use crate::handle::member::{Introduction, Member};
use crate::handle::open::Subscriber;
use crate::handle::options::SubscribeOptions;
use crate::journal::{Item, Journal, Seek};

#[cfg(feature = "journal")]
use crate::snapshot::{Life, Participant};

/// The name of the journaller's own subscription.
const JOURNALLER: &str = crate::channel::name::JOURNALLER;

/// Where to move a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTo {
    /// To the event at this position, which must still exist.
    Position(u64),
    /// To the first event that was recorded at or after this time, in ns of CLOCK_REALTIME; the
    /// channel must have a journal.
    Time(u64),
    /// To the oldest event that is in the ring.
    Oldest,
    /// Behind everything published so far.
    Live,
}

/// A durable subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Everything before this position was read.
    pub position: u64,
    /// The process that owns it, if one does.
    pub owner: Option<u32>,
}

/// The result of moving a subscription, or what it would be in a dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// The subscription.
    pub name: String,
    /// Its position before.
    pub from: u64,
    /// Its position now.
    pub to: u64,
    /// Events between the two: passed over, or to be read again.
    pub events: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Positions among them whose events were overwritten (topics).
    pub lost: u64,
    /// Whether it reads on from the journal now. Then `events` is not counted.
    pub from_journal: bool,
}

/// The subscription: owned, or only looked at in a dry run.
struct HeldSubscription {
    memories: Memories,
    peers: Kernel,
    index: usize,
    name: String,
    cursor: u64,
    behind: Option<u64>,
    // Dropped before the maps.
    member: Option<Member>,
    _maps: Option<Maps>,
}

impl Channel {
    /// The durable subscriptions of this channel, except the journaller's.
    ///
    /// # Errors
    /// As [`Channel::info`].
    pub fn subscriptions(&self) -> Result<Vec<Standing>> {
        let durable =
            |one: &Participant| one.durable && one.side == Side::Consumers && one.name != JOURNALLER;
        let standing = |one: Participant| {
            let owner = (one.life == Life::Live).then_some(one.pid);
            one.cursor.map(|position| Standing { name: one.name, position, owner })
        };
        Ok(self.info()?.participants.into_iter().filter(durable).filter_map(standing).collect())
    }

    /// Moves the durable subscription `name` over the next `events` events, or fewer if there are
    /// fewer.
    ///
    /// With `dry_run` it changes nothing, and returns what it would do.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Busy`] while a process owns it, or if it is the journaller's;
    /// [`Error::Invalid`] if it reads on from the journal; [`Error::NotAllowed`] without the right
    /// to consume.
    pub fn skip_subscription(&self, name: &str, events: u64, dry_run: bool) -> Result<Moved> {
        let held = HeldSubscription::of(self, name, dry_run)?;
        held.refuse_behind("skip")?;
        let end = span::end_of(self, &held.memories)?;
        held.forward(self, end, events)
    }

    /// Moves the durable subscription `name` to the position `to`. It can go back as far as the
    /// ring still has the events: in a stream to its floor, in a topic a ring before its end, in a
    /// queue not at all. In a stream or topic with a journal it can go back as far as that.
    ///
    /// With `dry_run` it changes nothing, and returns what it would do.
    ///
    /// # Errors
    /// As [`Self::skip_subscription`]; [`Error::Invalid`] for a position that does not exist, with
    /// the range of those that do.
    pub fn seek_subscription(&self, name: &str, to: SeekTo, dry_run: bool) -> Result<Moved> {
        let held = HeldSubscription::of(self, name, dry_run)?;
        let end = span::end_of(self, &held.memories)?;
        let oldest = self.oldest(&held.memories)?;
        let kind = self.header().kind;
        let range = || format!("positions {} to {end} can be gone to", oldest.min(held.cursor));
        let what = |position: u64| format!("position {position} of {}", self.name());
        let wanted = match to {
            SeekTo::Live => end,
            SeekTo::Oldest if kind == Kind::Queue => held.cursor,
            SeekTo::Oldest => oldest,
            SeekTo::Position(position) => position,
            SeekTo::Time(ns) => self.recorded_at(ns)?.min(end),
        };
        if wanted > end {
            return Err(Error::invalid(what(wanted), format!("the channel ends at {end}; {}", range())));
        }
        if wanted >= held.cursor {
            let moved = match to {
                SeekTo::Live => held.leap(self, end)?,
                _ => held.forward(self, wanted, u64::MAX)?,
            };
            if moved.to != wanted && to != SeekTo::Live {
                return Err(Error::invalid(
                    what(wanted),
                    format!("no event starts there, the nearest one at {}", moved.to),
                ));
            }
            return Ok(moved);
        }
        let is_in_ring = kind != Kind::Queue && held.behind.is_none() && wanted >= oldest;
        if !is_in_ring && kind != Kind::Queue && self.is_recorded(wanted, held.cursor)? {
            return Ok(held.fall_behind(wanted));
        }
        held.refuse_behind("go back")?;
        if kind == Kind::Queue {
            let why = format!(
                "a queue's tap cannot go back: the slots behind it may be in use again; positions {} to {end} can \
                 be gone to",
                held.cursor
            );
            return Err(Error::invalid(what(wanted), why));
        }
        if wanted < oldest {
            let why = format!("neither the ring nor a journal has it; {}", range());
            return Err(Error::invalid(what(wanted), why));
        }
        held.back(self, wanted, if to == SeekTo::Oldest { Start::Oldest } else { Start::Position(wanted) })
    }

    /// The oldest position that a subscription can go back to.
    fn oldest(&self, memories: &Memories) -> Result<u64> {
        let header = self.header();
        if header.kind == Kind::Stream {
            return Ok(places::read(&memories.ring, 1000).ok_or_else(|| span::corrupt(self))?.floor.position);
        }
        Ok(memories.ring.load(layout::TAIL, Edge::Tail).saturating_sub(header.slots))
    }

    /// Whether the channel's journal has the event at `position` and all events from there to
    /// `end`.
    #[cfg(feature = "journal")]
    fn is_recorded(&self, position: u64, end: u64) -> Result<bool> {
        let journal = match self.journal_positions() {
            Err(Error::PeerGone { .. }) => return Ok(false),
            journal => journal?,
        };
        if position < journal.first || journal.written < end {
            return Ok(false);
        }
        let mut events = Journal::open(&journal.directory)?.events(Seek::Position(position))?;
        let found = match events.next_event()? {
            Some(Item::Event(recorded)) => recorded.position,
            // A reader gets a report of events that are missing there.
            _ => position,
        };
        if found != position {
            let what = format!("position {position} of {}", self.name());
            return Err(Error::invalid(what, format!("no event starts there, the next one at {found}")));
        }
        Ok(true)
    }

    /// The position of the first event that was recorded at or after `ns`.
    #[cfg(feature = "journal")]
    fn recorded_at(&self, ns: u64) -> Result<u64> {
        let journal = self.journal_positions()?;
        let mut events = Journal::open(&journal.directory)?.events(Seek::Time(ns))?;
        Ok(match events.next_event()? {
            Some(Item::Event(recorded)) => recorded.position,
            Some(Item::Missing { to, .. }) => to,
            // No event that late was written.
            _ => journal.written,
        })
    }

    /// Without the feature `journal` nothing is recorded.
    #[cfg(not(feature = "journal"))]
    fn is_recorded(&self, _: u64, _: u64) -> Result<bool> {
        Ok(false)
    }

    /// Without the feature `journal` no time is known.
    #[cfg(not(feature = "journal"))]
    fn recorded_at(&self, _: u64) -> Result<u64> {
        Err(Error::invalid(
            "a time to seek to",
            "this program was built without the journal, which knows the times",
        ))
    }
}

impl HeldSubscription {
    fn of(channel: &Channel, name: &str, dry_run: bool) -> Result<HeldSubscription> {
        channel.expect_events("moving a subscription")?;
        let what = || format!("durable subscription {name:?} of {}", channel.name());
        if name == JOURNALLER {
            let why = "it is the journaller's: moving it would leave a gap in the journal";
            return Err(Error::Busy { what: what(), why: why.to_owned() });
        }
        let not_found = || Error::NotFound { what: what(), path: channel.paths().acks.clone() };
        let durable = |one: &Participant| one.durable && one.side == Side::Consumers && one.name == name;
        let found = channel.info()?.participants.into_iter().find(durable).ok_or_else(not_found)?;
        if found.life == Life::Live {
            let why = format!(
                "process {} holds it: stop that first, or evict it (`railbus evict {} {name}` forgets the \
                 subscription, too)",
                found.pid,
                channel.name()
            );
            return Err(Error::Busy { what: what(), why });
        }
        let (member, maps) = if dry_run {
            (None, Some(channel.map(Role::Observer)?))
        } else {
            let role = if channel.header().kind == Kind::Queue { ROLE_TAP } else { ROLE_SUBSCRIBER };
            let who = Introduction { policy: role | DURABLE, name: name.to_owned() };
            let member = Member::register(channel, Side::Consumers, &who, |memories, peers, index| {
                channel.header().kind != Kind::Queue || sweep_entry(channel, memories, peers, index)
            })?;
            // It was forgotten at this moment. The entry that was made for a new one is given back.
            member.registered.resumed.ok_or_else(not_found)?;
            (Some(member), None)
        };
        let memories = match (&member, &maps) {
            (Some(member), _) => member.memories,
            // SAFETY: the maps are kept beside the memories, and nothing is stored in a dry run.
            (None, Some(maps)) => unsafe { Memories::of(maps) },
            (None, None) => return Err(not_found()),
        };
        let index = member.as_ref().map_or(found.index, |member| member.registered.index);
        let load = |field, edge| memories.acks.load(layout::entry(index) + field, edge);
        Ok(HeldSubscription {
            memories,
            peers: Kernel::of(channel, &memories)?,
            index,
            name: name.to_owned(),
            cursor: load(layout::CURSOR, Edge::Cursor),
            behind: load(layout::BEHIND, Edge::Plain).checked_sub(1),
            member,
            _maps: maps,
        })
    }

    /// Refuses a subscription whose next events are in the journal only: they cannot be counted
    /// here.
    fn refuse_behind(&self, verb: &str) -> Result<()> {
        let Some(behind) = self.behind else { return Ok(()) };
        let why = format!(
            "it stands at {behind}, and reads on from the journal up to {}; one cannot {verb} before that: seek to \
             {} or later, or let its owner read on",
            self.cursor, self.cursor
        );
        Err(Error::invalid(format!("durable subscription {:?}", self.name), why))
    }

    /// Moves forward to `end` at most, over `events` events at most.
    fn forward(&self, channel: &Channel, end: u64, events: u64) -> Result<Moved> {
        let span = span::walk(channel, &self.memories, &self.peers, self.cursor, end, events)?;
        // A position within a frame leads to the place behind that frame.
        if events == u64::MAX && span.to > end {
            return Ok(self.moved(&span));
        }
        self.store(span.to);
        Ok(self.moved(&span))
    }

    /// Moves to `end`, over everything in between, also over an event that is being written now.
    fn leap(&self, channel: &Channel, end: u64) -> Result<Moved> {
        let span = span::walk(channel, &self.memories, &self.peers, self.cursor, end, u64::MAX)?;
        self.store(end);
        Ok(Moved { to: end, ..self.moved(&span) })
    }

    /// Moves back to `wanted`. A stream's oldest place may move on until it is held.
    fn back(&self, channel: &Channel, wanted: u64, start: Start) -> Result<Moved> {
        let is_stream = channel.header().kind == Kind::Stream;
        if is_stream && self.member.is_none() {
            return self.look_back(channel, wanted, start);
        }
        let gate = if is_stream { Some(gate_at(channel, start)?) } else { None };
        let wanted = gate.as_ref().map_or(wanted, |gate| gate.position());
        let span = span::walk(channel, &self.memories, &self.peers, wanted, self.cursor, u64::MAX)?;
        if self.member.is_some() {
            self.store(wanted);
            // JOIN: pairs with the producers' rescan; see the head of this file.
            self.memories.acks.fence(Edge::Join);
        }
        drop(gate);
        Ok(Moved { from: self.cursor, to: wanted, ..self.moved(&span) })
    }

    /// Returns what [`Self::back`] would do in a stream. A dry run holds nothing, so the publisher
    /// may overwrite what it walks over.
    fn look_back(&self, channel: &Channel, mut wanted: u64, start: Start) -> Result<Moved> {
        let walk = |from, to| span::walk(channel, &self.memories, &self.peers, from, to, u64::MAX);
        for _ in 0..1000 {
            let floor = channel.oldest(&self.memories)?;
            if start == Start::Oldest {
                wanted = floor.min(self.cursor);
            }
            let walked = walk(floor, wanted).and_then(|before| Ok((before, walk(wanted, self.cursor)?)));
            // VALIDATE: as a lossy reader does. The events that were walked over are whole if the
            // floor has not passed them.
            self.memories.data.fence(Edge::Validate);
            if channel.oldest(&self.memories)? != floor {
                continue;
            }
            let (before, span) = walked?;
            if before.to != wanted {
                let what = format!("position {wanted} of {}", channel.name());
                return Err(Error::invalid(what, "no event starts there"));
            }
            return Ok(Moved { from: self.cursor, to: wanted, ..self.moved(&span) });
        }
        let why = "its publisher is faster than this can follow; try again";
        Err(Error::Busy { what: format!("stream {}", channel.name()), why: why.to_owned() })
    }

    /// Moves the subscription to before the ring's events. The cursor stays, and holds what
    /// follows.
    fn fall_behind(&self, wanted: u64) -> Moved {
        if let Some(member) = &self.member {
            member.note(layout::BEHIND, wanted + 1);
        }
        let nothing = Span { to: wanted, ..Span::default() };
        Moved { from_journal: true, ..self.moved(&nothing) }
    }

    /// Stores the cursor, and wakes producers that wait for room.
    fn store(&self, to: u64) {
        let Some(member) = &self.member else { return };
        let entry = layout::entry(self.index);
        // CURSOR: as a reader that has read so far, in one step. Events that only the journal has
        // are passed over, too.
        member.memories.acks.store(entry + layout::CURSOR, to, Edge::Cursor);
        if self.behind.is_some() {
            member.note(layout::BEHIND, 0);
        }
        let own = member.memories.acks;
        let mut waker = Waker::new(layout::SPACE_WAKE, layout::PRODUCERS_PARKED);
        waker.wake(&own, &member.memories.ring, &SharedFutex(own), || u32::MAX >> 1);
    }

    fn moved(&self, span: &Span) -> Moved {
        Moved {
            name: self.name.clone(),
            from: self.behind.unwrap_or(self.cursor),
            to: span.to,
            events: span.events,
            bytes: span.bytes,
            lost: span.lost,
            from_journal: false,
        }
    }
}

/// A subscriber that holds a stream from `start` on.
fn gate_at(channel: &Channel, start: Start) -> Result<Subscriber> {
    let options = SubscribeOptions { name: ADMINISTRATOR.to_owned(), start, ..SubscribeOptions::default() };
    let started = std::time::Instant::now();
    loop {
        // Others take places and leave them, so a short wait is enough.
        match channel.subscriber(&options) {
            Err(Error::Busy { .. }) if started.elapsed() < Duration::from_millis(200) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}
