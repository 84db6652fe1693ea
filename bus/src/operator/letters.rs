//! Dead letters: looking at them, publishing them again where they came from, and dropping them.
//!
//! A dead-letter queue is a queue like any other. Its events carry their origin: the channel, the
//! position, and how often the event was delivered. Several queues may share one. Looking takes
//! nothing. To retry or drop a letter, the administrator takes it as a worker does. Letters before
//! it that were not selected go back in the end.
//!
//! **At least once**: a letter is published again first, and finished after. If the administrator
//! is killed in between, it is still a letter, and may be published twice.

use std::time::Duration;

use railbus_ring::layout;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::outcome::Outcome;

use crate::channel::Kind;
use crate::channel::open::Channel;
use crate::channel::span::slots_of;
use crate::error::{Error, Result};
use crate::event::{Attributes, Event, Located, Origin, Sequence, TraceContext};
use crate::handle::open::Producer;
use crate::operator::look::{Where, copy, unfinished};
use crate::operator::purge::{Taker, publish, sending};

/// The letters to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// All of them.
    All,
    /// The one at this position of the dead-letter queue.
    Position(u64),
}

/// A dead letter, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Letter {
    /// Its position in the dead-letter queue.
    pub position: u64,
    /// Where it comes from; `None` for an event that was published there directly.
    pub origin: Option<Origin>,
    /// The queue of this bus that it comes from, if that exists.
    pub queue: Option<String>,
    /// Whether a worker of the dead-letter queue holds it.
    pub in_hand: bool,
    /// When the event was first published, in ns of CLOCK_REALTIME, if it was stamped.
    pub published_ns: Option<u64>,
    /// Its type id.
    pub type_id: u16,
    /// Its trace context.
    pub trace: Option<TraceContext>,
    /// The number that its publisher gave it.
    pub sequence: Option<Sequence>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Where a letter was published again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The queue that it came from.
    pub queue: String,
    /// Its position there now; `None` in a dry run.
    pub position: Option<u64>,
}

/// A letter that was retried or dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// Its position in the dead-letter queue.
    pub position: u64,
    /// Where it is now, if it was published again.
    pub home: Option<Home>,
}

/// Where a letter goes, or why it stays.
type Fate = std::result::Result<Option<Home>, String>;

/// The result of [`DeadLetters::retry`] or [`DeadLetters::drop_letters`], or what it would be in a
/// dry run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Retried {
    /// The letters that were retried or dropped.
    pub letters: Vec<Settled>,
    /// Letters that were selected and are left, with the reason.
    pub left: Vec<(u64, String)>,
}

/// The dead letters of a queue, or of all queues that share a dead-letter queue.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    letters: Channel,
    /// The queue whose letters these are; `None` for all queues.
    of: Option<Channel>,
}

impl Channel {
    /// The dead letters of this queue. If it has no dead-letter queue and is one itself, they are
    /// those in it. A queue is one if a queue of its bus names it as such, or if it holds an event
    /// that was delivered without success elsewhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a channel that is no queue, and for a queue that neither has a
    /// dead-letter queue nor is one, because its events are no dead letters; those of attaching to
    /// the dead-letter queue.
    pub fn dead_letters(&self) -> Result<DeadLetters> {
        if self.header().kind != Kind::Queue {
            let why = format!("it is a {}; only a queue has them", self.header().kind);
            return Err(Error::invalid(format!("dead letters of {}", self.name()), why));
        }
        if let Some(name) = &self.header().dead_letters {
            return Ok(DeadLetters { letters: self.bus().attach(name)?, of: Some(self.clone()) });
        }
        let letters = DeadLetters { letters: self.clone(), of: None };
        letters.refuse_other_queues()?;
        Ok(letters)
    }
}

impl DeadLetters {
    /// The dead-letter queue.
    pub fn channel(&self) -> &Channel {
        &self.letters
    }

    /// Refuses a queue whose events are work and no dead letters.
    fn refuse_other_queues(&self) -> Result<()> {
        let homes = Homes::of(self)?;
        if !homes.queues.is_empty() || self.list()?.iter().any(|letter| homes.is_letter(letter.origin)) {
            return Ok(());
        }
        let (name, bus) = (self.letters.name(), self.letters.bus().name());
        let why = format!(
            "it has no dead-letter queue, and is none: no queue of bus {bus} sends its dead letters there. A queue has \
             one if it is created with --max-attempts; `railbus purge` and `railbus skip` discard what waits in {name}"
        );
        Err(Error::invalid(format!("dead letters of {name}"), why))
    }

    /// Copies of the letters that are there, oldest first. Takes nothing and registers nowhere.
    ///
    /// # Errors
    /// As [`Channel::info`].
    pub fn list(&self) -> Result<Vec<Letter>> {
        let (memories, _maps) = self.letters.look()?;
        let slots = slots_of(&self.letters);
        let homes = Homes::of(self)?;
        let mut letters = Vec::new();
        for one in unfinished(&self.letters, &memories, u64::MAX) {
            if one.place == Where::Unpublished {
                continue;
            }
            let Some(body) = copy(&memories, slots, &one) else { continue };
            let located = Located { body: body.as_ptr().cast(), header: one.header, position: one.ticket };
            // SAFETY: the copy has as many bytes as the checked header says, and outlives the
            // event.
            let event: Event<'_> = unsafe { Event::new(located) };
            let origin = event.origin();
            if !homes.is_meant(origin) {
                continue;
            }
            letters.push(Letter {
                position: one.ticket,
                origin,
                queue: homes.find(origin).ok().map(|home| home.name().to_string()),
                in_hand: one.place == Where::InHand,
                published_ns: event.published_ns(),
                type_id: event.type_id(),
                trace: event.trace(),
                sequence: event.sequence(),
                payload: event.payload().to_vec(),
            });
        }
        Ok(letters)
    }

    /// Publishes letters again in the queues that they come from, as they were before they had an
    /// origin, but without the times of delayed and expiring events. A letter with a unique key is
    /// left if the queue holds an unfinished event with that key. Each is published at least once. It
    /// waits for room for `timeout` at most, once for each queue. Letters for which there is no room are
    /// left.
    ///
    /// With `dry_run` it changes nothing, and returns what it would do.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the selected letter is not there; [`Error::NotAllowed`];
    /// [`Error::Busy`] when no place is left in either queue; [`Error::PeerGone`] if this
    /// administrator is evicted on the way. Then the letters before have been retried, and the
    /// current one may have been, and still be a letter.
    pub fn retry(&self, select: Select, timeout: Duration, dry_run: bool) -> Result<Retried> {
        let homes = Homes::of(self)?;
        if dry_run {
            return self.would(select, &|letter| {
                homes
                    .find(letter.origin)
                    .map(|home| Some(Home { queue: home.name().to_string(), position: None }))
            });
        }
        let mut producers: Vec<(String, Producer, Duration)> = Vec::new();
        self.each(select, &homes, &mut |event, taker| {
            let home = match homes.find(event.origin()) {
                Ok(home) => home,
                Err(why) => return Ok(Err(why)),
            };
            let name = home.name().to_string();
            if !producers.iter().any(|(known, ..)| *known == name) {
                producers.push((name.clone(), home.producer(&sending())?, timeout));
            }
            let Some((_, producer, patience)) = producers.iter_mut().find(|(known, ..)| *known == name)
            else {
                return Ok(Err("its queue is gone".to_owned()));
            };
            let attributes = Attributes {
                type_id: event.type_id(),
                trace: event.trace(),
                replayed: event.is_replayed(),
                sequence: event.sequence(),
                key: event.key(),
                // Its times are over. Its unique key holds again.
                unique: event.unique_key(),
                ..Attributes::default()
            };
            Ok(match publish(producer, event.payload(), &attributes, *patience, taker) {
                Ok(position) => Ok(Some(Home { queue: name, position: Some(position) })),
                Err(error) => {
                    // Wait once only: a queue may be full of events that wait to become dead
                    // letters, and there is no room for those while these letters stay.
                    *patience = Duration::ZERO;
                    Err(error.to_string())
                }
            })
        })
    }

    /// Drops letters. Some events of the dead-letter queue are no dead letters, because they were
    /// published there directly or diverted. Those are left.
    ///
    /// With `dry_run` it changes nothing, and returns what it would do.
    ///
    /// # Errors
    /// As [`Self::retry`].
    pub fn drop_letters(&self, select: Select, dry_run: bool) -> Result<Retried> {
        let homes = Homes::of(self)?;
        if dry_run {
            return self.would(select, &|letter| homes.drop(letter.origin));
        }
        self.each(select, &homes, &mut |event, _| Ok(homes.drop(event.origin())))
    }

    fn not_found(&self, position: u64) -> Error {
        let what = match &self.of {
            Some(queue) => format!("dead letter {position} of {} in {}", queue.name(), self.letters.name()),
            None => format!("dead letter {position} in {}", self.letters.name()),
        };
        Error::NotFound { what, path: self.letters.paths().ring.clone() }
    }

    fn would(&self, select: Select, outcome: &dyn Fn(&Letter) -> Fate) -> Result<Retried> {
        let mut would = Retried::default();
        let is_meant = |letter: &Letter| match select {
            Select::All => true,
            Select::Position(position) => letter.position == position,
        };
        for letter in self.list()?.iter().filter(|letter| is_meant(letter)) {
            match outcome(letter) {
                _ if letter.in_hand => would.left.push((letter.position, IN_HAND.to_owned())),
                Ok(home) => would.letters.push(Settled { position: letter.position, home }),
                Err(why) => would.left.push((letter.position, why)),
            }
        }
        self.found(select, would)
    }

    fn found(&self, select: Select, retried: Retried) -> Result<Retried> {
        match select {
            Select::Position(position) if retried.letters.is_empty() && retried.left.is_empty() => {
                Err(self.not_found(position))
            }
            _ => Ok(retried),
        }
    }

    /// Takes the selected letters, acts on each, and finishes it if that succeeded.
    fn each(
        &self,
        select: Select,
        homes: &Homes,
        act: &mut dyn FnMut(&Event<'_>, &Taker) -> Result<Fate>,
    ) -> Result<Retried> {
        self.letters.repair()?;
        let (memories, _maps) = self.letters.look()?;
        let tail = memories.ring.load(layout::TAIL, Edge::Tail);
        let end = match select {
            Select::All => tail,
            Select::Position(position) => tail.min(position.saturating_add(1)),
        };
        let mut taker = Taker::register(&self.letters)?;
        let mut retried = Retried::default();
        // Events that this process holds and that were not selected. They go back in the end;
        // earlier, they would be taken again.
        let mut others = Vec::new();
        while let Some(taken) = taker.next(end)? {
            let copied = taker.copy(taken)?;
            let event = copied.event();
            let is_selected = match select {
                Select::All => true,
                Select::Position(position) => taken.ticket == position,
            };
            if !is_selected || !homes.is_meant(event.origin()) {
                others.push(taken);
                continue;
            }
            match act(&event, &taker)? {
                Ok(home) => {
                    // A letter that went home was dealt with; one that was dropped was not.
                    let outcome = if home.is_some() { None } else { Some(Outcome::Purged) };
                    taker.finish(taken, outcome)?;
                    retried.letters.push(Settled { position: taken.ticket, home });
                }
                Err(why) => {
                    others.push(taken);
                    retried.left.push((taken.ticket, why));
                }
            }
        }
        for taken in others {
            taker.give_back(taken);
        }
        drop(taker);
        // Letters that workers of the dead-letter queue hold.
        for letter in self.list()?.iter().filter(|letter| letter.in_hand && letter.position < end) {
            if select == Select::All || select == Select::Position(letter.position) {
                retried.left.push((letter.position, IN_HAND.to_owned()));
            }
        }
        self.found(select, retried)
    }
}

const IN_HAND: &str = "a worker of the dead-letter queue has it in hand";
const STRAY: &str = "it has no origin: it was published there directly";

/// The queues that letters come from.
struct Homes {
    /// The queue whose letters are selected, if it is one only.
    of: Option<u64>,
    queues: Vec<(u64, Channel)>,
    /// Whether a channel of the bus diverts events to the dead-letter queue.
    is_diverted_to: bool,
}

impl Homes {
    fn of(letters: &DeadLetters) -> Result<Homes> {
        let id = |channel: &Channel| channel.header().channel_word();
        if let Some(queue) = &letters.of {
            let queues = vec![(id(queue), queue.clone())];
            return Ok(Homes { of: Some(id(queue)), queues, is_diverted_to: false });
        }
        let (bus, name) = (letters.letters.bus(), letters.letters.name().channel());
        // Letters cannot be published to a channel that cannot be attached to.
        let channels = bus.channels()?.into_iter().filter_map(|name| bus.attach(name.channel()).ok());
        let channels: Vec<Channel> = channels.collect();
        let is_diverted_to = channels.iter().any(|one| one.header().divert_to.as_deref() == Some(name));
        let is_home = |channel: &Channel| channel.header().dead_letters.as_deref() == Some(name);
        let queues = channels.into_iter().filter(is_home).map(|channel| (id(&channel), channel)).collect();
        Ok(Homes { of: None, queues, is_diverted_to })
    }

    /// Whether a letter of this origin is one of those selected by queue.
    fn is_meant(&self, origin: Option<Origin>) -> bool {
        self.of.is_none() || origin.map(|origin| origin.channel) == self.of
    }

    /// Whether an event of this origin came as a dead letter. A diverted event has an origin, too,
    /// with no attempts. The same is true of an event that `skip_events` made a letter before it
    /// was delivered.
    fn is_letter(&self, origin: Option<Origin>) -> bool {
        origin.is_some_and(|origin| {
            let is_known = self.queues.iter().any(|(id, _)| *id == origin.channel);
            origin.attempts > 0
                || origin.expired
                || is_known
                || !self.queues.is_empty() && !self.is_diverted_to
        })
    }

    /// `Ok` if a letter may be dropped, or else the reason why it is left.
    fn drop(&self, origin: Option<Origin>) -> Fate {
        match self.is_letter(origin) {
            true => Ok(None),
            false if origin.is_none() => {
                Err(format!("{STRAY}; `railbus skip` or `railbus purge` discards it"))
            }
            false => Err("it was diverted to this queue, and is no dead letter".to_owned()),
        }
    }

    fn find(&self, origin: Option<Origin>) -> std::result::Result<&Channel, String> {
        let origin = origin.ok_or(STRAY)?;
        let found = self.queues.iter().find(|(id, _)| *id == origin.channel);
        found.map(|(_, channel)| channel).ok_or_else(|| {
            format!(
                "the queue that it comes from (id {:016x}) is not on this bus",
                origin.channel.swap_bytes()
            )
        })
    }
}
