//! A channel as an observer sees it: a snapshot that disturbs no participant.
//!
//! The files are mapped read-only. The observer does not register and takes no lock: it asks the
//! kernel whether a life lock is held, and never takes one. The words of a snapshot are read one
//! after the other while participants go on, so they may be a few events apart. Other processes
//! wrote everything in shared memory. So names are decoded lossily, counts are bounded by the
//! geometry that was checked at attach, and differences saturate.
//!
//! *A participant is **stuck** if it lives, holds others up, and has not moved for longer than the
//! channel's `stuck_after`. A reliable reader with unread events holds others up, and so does the
//! owner of a claimed ticket that is not finished. Its work may simply take that long: stuck is a
//! fact about the ring, not a verdict. An [`Observer`] judges by what changed while it looked, by
//! its own clock (`operator/still.rs`), so at its first look no participant is stuck yet.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use railbus_os::clock;
use railbus_os::fork::ForkGuard;
use railbus_os::pages::PageReport;
use railbus_ring::members::gates::NO_GATE;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::pressure;
use railbus_ring::members::registry::{self, Status};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::levels::Rank;
use railbus_ring::slots::redo::Redo;
use railbus_ring::slots::word::{self, Slots, done};
use railbus_ring::stream::places::{self, POSITION_MAX, Place};
use railbus_ring::stream::subscriber::walk_each;
use railbus_ring::{frame, layout};

use crate::channel::mapped::Trusted;
use crate::channel::memories::{Memories, TELLING};
use crate::channel::open::Channel;
use crate::channel::peers::Kernel;
use crate::channel::settings::Access;
use crate::channel::{Header, Kind, Maps, Role};
use crate::error::{Error, Result};
use crate::handle::refusal::{self, Blocker};
use crate::latency::{Latencies, ObservedFile, measures};
use crate::operator::keys::KeysSeen;
use crate::operator::still::Stillness;
use crate::snapshot::{
    Counters, Info, KeysInUse, Life, Participant, ParticipantRole, Positions, PressureSeen, Waits,
};

/// The longest time that a program which shows a channel once looks for stuck participants: see
/// [`Channel::info_after`].
pub const LOOK_MAX: Duration = Duration::from_secs(2);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Channel {
    /// A snapshot for an observer. It needs the right to read both files, does not register, and
    /// writes nothing. It takes some system calls for each participant and does not wait.
    ///
    /// One look cannot show whether a participant moves, so [`Participant::stuck_ns`] is `None`.
    /// [`Participant::may_be_stuck`] marks those for which a longer look is worth while: see
    /// [`Channel::info_after`].
    ///
    /// # Errors
    /// [`Error::NotFound`] if the channel was removed, [`Error::NotAllowed`], [`Error::Io`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let jobs = bus.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    /// let mut producer = jobs.producer(&SendOptions::default().name("web"))?;
    /// producer.publish(b"resize cat.png")?;
    ///
    /// let info = jobs.info()?;
    /// assert_eq!((info.positions.events, info.positions.waiting), (1, Some(1)));
    /// assert_eq!(info.participants[0].name, "web");
    /// assert_eq!(info.participants[0].pid, std::process::id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn info(&self) -> Result<Info> {
        self.observe()?.info()
    }

    /// Like [`Channel::info`], but looks until it is known which participants are stuck. That takes
    /// no time if none seems to be, and otherwise the channel's `stuck_after`, at most `most`. If
    /// `stuck_after` is longer than `most`, it stays unknown for those that did not move in that
    /// time: [`Participant::may_be_stuck`]. No participant counts as stuck because of a time that
    /// it or another process has written, which may be by another clock.
    ///
    /// # Errors
    /// As [`Channel::info`].
    pub fn info_after(&self, most: Duration) -> Result<Info> {
        let observer = self.observe()?;
        let started = Instant::now();
        let mut info = observer.info()?;
        while let Some(undecided) = observer.undecided(&info) {
            let left = most.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(undecided.min(left).min(LOOK_EVERY));
            info = observer.info()?;
        }
        Ok(info)
    }

    /// The latencies that the consumers of a stamped channel measured over the last five minutes;
    /// `None` if the channel is not stamped.
    ///
    /// # Errors
    /// As [`Self::info`]; [`Error::Corrupt`] when the file with the histograms is not this channel's.
    pub fn latencies(&self) -> Result<Option<Latencies>> {
        self.observe()?.latencies()
    }

    /// An observer, for a program that looks again and again: it keeps the channel mapped.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub fn observe(&self) -> Result<Observer> {
        let maps = self.map(Role::Observer)?;
        // SAFETY: the observer keeps the maps beside the memories, and stores nothing through them.
        let memories = unsafe { Memories::of(&maps) };
        let pages = maps.pages()?;
        let guard = ForkGuard::current().map_err(|e| Error::io("notice forks of", &self.paths().ring, e))?;
        Ok(Observer {
            guard,
            channel: self.clone(),
            memories,
            peers: Kernel::of(self, &memories)?,
            pages,
            latency: None,
            still: RefCell::default(),
            maps,
        })
    }
}

/// Looks at a channel again and again, with everything mapped read-only, and disturbs no
/// participant.
#[derive(Debug)]
pub struct Observer {
    guard: ForkGuard,
    channel: Channel,
    memories: Memories,
    peers: Kernel,
    pages: PageReport,
    latency: Option<ObservedFile>,
    still: RefCell<Stillness>,
    maps: Maps,
}

impl Observer {
    /// The channel that it observes.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether the channel was removed, or removed and made again, since it was opened.
    pub fn is_removed(&self) -> Result<bool> {
        self.channel.is_removed()
    }

    fn check(&self) -> Result<()> {
        if self.guard.is_forked() { Err(Error::Forked) } else { Ok(()) }
    }

    /// If a file was truncated under its mapping, the snapshot has read zeros there.
    fn check_mapped(&self) -> Result<()> {
        if self.maps.is_lost() {
            let why =
                "a file of it was truncated while it was mapped; remove the channel and create it again";
            return Err(Error::corrupt(format!("channel {}", self.channel.name()), why));
        }
        Ok(())
    }

    /// As [`Channel::latencies`]; [`Error::Forked`].
    pub fn latencies(&mut self) -> Result<Option<Latencies>> {
        self.check()?;
        if self.latency.is_none() {
            self.latency = ObservedFile::open(&self.channel)?;
        }
        match &mut self.latency {
            Some(observed) => observed.latencies(&self.channel).map(Some),
            None => Ok(None),
        }
    }

    /// For how much longer to look until it is known which participants of `info`, the last look,
    /// are stuck. `None` when that is known for all.
    pub fn undecided(&self, info: &Info) -> Option<Duration> {
        let after_ns = self.channel.header().stuck_after_ns;
        Stillness::undecided_ns(&info.participants, after_ns).map(Duration::from_nanos)
    }

    /// One look, as [`Channel::info`] takes it; it never waits. A look reports a participant as
    /// stuck if it comes more than the channel's `stuck_after` after the first look that saw it.
    ///
    /// # Errors
    /// As [`Channel::info`]; [`Error::Forked`].
    pub fn info(&self) -> Result<Info> {
        self.check()?;
        let Observer { channel, memories, peers, .. } = self;
        let header = channel.header();
        let keys = KeysSeen::of(header, memories);
        let view = ChannelWords { header, memories, peers, keys: keys.as_ref() };
        let mut positions = view.positions();
        let mut participants = view.participants(&positions);
        let (after_ns, now_ns) = (header.stuck_after_ns, clock::monotonic_ns());
        self.still.borrow_mut().look(&mut participants, |side| view.memory(side), after_ns, now_ns);
        self.check_mapped()?;
        positions.depth = keys.as_ref().map_or_else(|| depth(&positions, &participants), |seen| seen.keys);
        if let Some(unfinished) = positions.unfinished {
            let workers = participants.iter().filter(|one| one.side == Side::Consumers);
            // They go on during this look.
            let in_hand = workers.map(|one| one.in_hand).sum::<u64>().min(unfinished);
            (positions.in_hand, positions.waiting) = (Some(in_hand), Some(unfinished - in_hand));
        }
        let attached = channel.attached();
        Ok(Info {
            name: channel.name().clone(),
            header: header.clone(),
            paths: channel.paths().clone(),
            pages: self.pages.clone(),
            total_bytes: header.lengths().map_or(0, |lengths| {
                lengths.ring.saturating_add(lengths.acks).saturating_add(lengths.data.unwrap_or(0))
            }),
            ring_access: Access::of(attached.ring_file(), &channel.paths().ring)?,
            acks_access: Access::of(attached.acks_file(), &channel.paths().acks)?,
            positions,
            counters: Counters {
                dropped: memories.ring.load(layout::DROPPED, Edge::Plain),
                diverted: memories.ring.load(layout::DIVERTED, Edge::Plain),
                redelivered: memories.acks.load(layout::REDELIVERED, Edge::Plain),
                dead_lettered: memories.acks.load(layout::DEAD_LETTERED, Edge::Plain),
                expired: memories.acks.load(layout::EXPIRED, Edge::Plain),
            },
            keys: keys.as_ref().map(|seen| KeysInUse {
                keys: seen.keys,
                keys_max: header.keys,
                changes: seen.changes,
            }),
            pressure: header.watermarks.map(|_| {
                let changes = pressure::load(&memories.ring);
                PressureSeen { is_high: pressure::is_high(changes), changes }
            }),
            held_by: view.held_by(&positions, &participants),
            participants,
        })
    }
}

fn depth(positions: &Positions, participants: &[Participant]) -> u64 {
    if let Some(unfinished) = positions.unfinished {
        return unfinished;
    }
    let holding = participants.iter().filter(|one| matches!(one.life, Life::Live | Life::Held));
    holding.filter_map(|one| one.lag).max().unwrap_or(0).min(positions.capacity)
}

/// The words from which a snapshot is taken.
struct ChannelWords<'a> {
    header: &'a Header,
    memories: &'a Memories,
    peers: &'a Kernel,
    keys: Option<&'a KeysSeen>,
}

impl ChannelWords<'_> {
    fn slots(&self) -> Slots {
        Slots::new(self.header.slots, self.header.slot_bytes)
    }

    fn positions(&self) -> Positions {
        let ring = &self.memories.ring;
        if let Some(keys) = self.keys {
            return Positions {
                published: keys.changes,
                events: keys.changes,
                oldest: 0,
                head: None,
                depth: keys.keys,
                waiting: None,
                not_due: None,
                in_hand: None,
                capacity: self.header.keys,
                unfinished: None,
                places: None,
            };
        }
        if self.header.kind == Kind::Stream {
            let places = places::read(ring, 1000).map(|places| (places.floor, places.recent));
            let (floor, recent) = places.unwrap_or_default();
            let end =
                self.committed_since(recent.position).map_or(Place { count: 0, ..recent }, |(end, _)| end);
            return Positions {
                published: end.position,
                events: recent.count.saturating_add(end.count),
                oldest: floor.position,
                head: None,
                depth: 0,
                waiting: None,
                not_due: None,
                in_hand: None,
                capacity: self.header.capacity_bytes,
                unfinished: None,
                places,
            };
        }
        let queue = self.header.kind == Kind::Queue;
        let head = queue.then(|| self.memories.acks.load(layout::HEAD, Edge::Head));
        let tail = ring.load(layout::TAIL, Edge::Tail);
        Positions {
            published: tail,
            events: tail.saturating_sub(self.header.first_position),
            oldest: tail.saturating_sub(self.header.slots).max(self.header.first_position),
            head,
            depth: 0,
            waiting: None,
            not_due: queue.then(|| self.not_due(tail)),
            in_hand: None,
            capacity: self.header.slots,
            unfinished: queue.then(|| self.retained(tail).filter(|&t| !self.is_done(t)).count() as u64),
            places: None,
        }
    }

    /// The events that wait in the index of a queue for a time that has not come.
    fn not_due(&self, tail: u64) -> u64 {
        let Memories { acks, done: words, .. } = &self.memories;
        let slots = self.slots();
        let redo = Redo { acks, done: words, slots };
        if redo.is_empty() {
            return 0;
        }
        let now_ns = clock::host_ns();
        let is_later = |&t: &u64| {
            let word = self.done_word(t);
            slots.is_of(word, t) && word::kind(word) == done::REDO && redo.due(t) > now_ns
        };
        self.retained(tail).filter(is_later).count() as u64
    }

    /// The events that a stream's publisher has committed behind `position`: where they end, how
    /// many they are, and how many bytes of payload they have. `None` when they are overwritten in
    /// the meantime.
    fn committed_since(&self, position: u64) -> Option<(Place, u64)> {
        let mut bytes = 0;
        let capacity = self.header.capacity_bytes;
        let place = Some(Place { position, count: 0 }).filter(|_| position <= POSITION_MAX)?;
        let end = walk_each(&self.memories.data, capacity, place, None, |word| {
            bytes += u64::from(frame::body_bytes(word)) - frame::extension_bytes(frame::flags(word)) as u64;
        });
        // VALIDATE: as a lossy reader does.
        self.memories.data.fence(Edge::Validate);
        let floor = self.memories.ring.load(layout::ANCHOR_FLOOR, Edge::Places);
        end.filter(|_| floor <= position).map(|end| (end, bytes))
    }

    /// Position, events and bytes of a stream's publisher: those that it last published, and what
    /// is committed behind them.
    fn publisher_counts(&self, entry: usize) -> (u64, u64, u64) {
        let load = |field, edge| self.memories.ring.load(layout::entry(entry) + field, edge);
        let counts = || (load(layout::EVENTS, Edge::Plain), load(layout::BYTES, Edge::Plain));
        for _ in 0..100 {
            // STATE: pairs with `Member::tell`, as does the fence.
            let position = load(layout::POSITION, Edge::State);
            let (events, bytes) = counts();
            self.memories.ring.fence(Edge::Validate);
            if position == TELLING || load(layout::POSITION, Edge::Plain) != position {
                continue;
            }
            if let Some((end, more)) = self.committed_since(position) {
                return (end.position, events.wrapping_add(end.count), bytes.wrapping_add(more));
            }
        }
        // It was killed while it published them, or goes round the ring faster than this can
        // follow.
        let (events, bytes) = counts();
        (self.positions().published, events, bytes)
    }

    /// The tickets whose words the ring holds. Some may lie before the channel's first position: a
    /// channel that was made again may have taken them over from the one before it. The words of
    /// all others before that position say DONE.
    fn retained(&self, tail: u64) -> std::ops::Range<u64> {
        tail.saturating_sub(self.header.slots)..tail
    }

    fn done_word(&self, t: u64) -> u64 {
        self.memories.done.load(self.slots().done_offset(t), Edge::Done)
    }

    fn is_done(&self, t: u64) -> bool {
        self.done_word(t) == self.slots().state(t, done::DONE)
    }

    fn held_by(&self, positions: &Positions, participants: &[Participant]) -> Option<Blocker> {
        let view = refusal::RefusalView {
            header: self.header,
            memories: self.memories,
            published: positions.published,
        };
        let holding = participants.iter().filter(|one| matches!(one.life, Life::Live | Life::Held));
        let slowest = holding.filter_map(|one| Some((one.cursor?, one.index))).min();
        let oldest = positions.unfinished.filter(|&count| count > 0);
        let oldest = oldest.and_then(|_| self.retained(positions.published).find(|&t| !self.is_done(t)));
        let blocker = match (oldest, slowest) {
            (Some(oldest), slowest) if slowest.is_none_or(|(cursor, _)| oldest <= cursor) => {
                view.event(oldest)
            }
            (_, Some((_, index))) => view.reader(index),
            _ => return None,
        };
        Some(blocker).filter(|blocker| *blocker != Blocker::Gone)
    }

    fn participants(&self, positions: &Positions) -> Vec<Participant> {
        let taken = self.taken_by_worker(positions.published);
        let mut participants = Vec::new();
        for side in [Side::Producers, Side::Consumers] {
            let memory = self.memory(side);
            let (high, entries) = match side {
                Side::Producers => (layout::PRODUCERS_HIGH, self.header.producers_max as usize),
                Side::Consumers => (layout::CONSUMERS_HIGH, self.header.consumers_max as usize),
            };
            let used = usize::try_from(memory.load(high, Edge::State)).unwrap_or(usize::MAX).min(entries);
            participants
                .extend((0..used).filter_map(|index| self.participant(side, index, positions, &taken)));
        }
        participants
    }

    fn memory(&self, side: Side) -> &Trusted {
        match side {
            Side::Producers => &self.memories.ring,
            Side::Consumers => &self.memories.acks,
        }
    }

    fn participant(
        &self,
        side: Side,
        index: usize,
        positions: &Positions,
        taken: &[u64],
    ) -> Option<Participant> {
        let memory = self.memory(side);
        let load = |field| memory.load(layout::entry(index) + field, Edge::Plain);
        let state = memory.load(layout::entry(index) + layout::STATE, Edge::State);
        let policy = load(layout::POLICY);
        let durable = policy & registry::DURABLE != 0;
        let life = self.life(side, index, state, durable)?;
        let role = role_of(policy, self.header.is_service());
        let cursor = Some(load(layout::CURSOR)).filter(|&c| side == Side::Consumers && c != NO_GATE);
        let now = clock::monotonic_ns();
        let ago = |field| match load(field) {
            0 => 0,
            then => now.saturating_sub(then),
        };
        let wait_since = load(layout::WAIT_SINCE_NS);
        let ids = load(layout::PID);
        let (position, events, bytes) = if side == Side::Producers && self.header.kind == Kind::Stream {
            let (position, events, bytes) = self.publisher_counts(index);
            (Some(position), events, bytes)
        } else {
            (None, load(layout::EVENTS), load(layout::BYTES))
        };
        let manual = side == Side::Consumers && policy & registry::MANUAL != 0;
        let rank = if role == ParticipantRole::Worker { Rank::of(policy) } else { Rank::default() };
        Some(Participant {
            side,
            index,
            generation: registry::generation(state),
            role,
            name: self.name(side, index),
            pid: ids as u32,
            tid: (ids >> 32) as u32,
            start_time: load(layout::START_TIME),
            life,
            durable,
            lossy: policy & registry::LOSSY != 0,
            manual,
            unacknowledged: cursor
                .filter(|_| manual && life == Life::Live)
                .map(|cursor| load(layout::POSITION).min(positions.published).saturating_sub(cursor)),
            cursor,
            position,
            lag: cursor.map(|cursor| positions.published.saturating_sub(cursor)),
            in_hand: self.claimed(side, index)
                + taken.get(index).filter(|_| side == Side::Consumers).unwrap_or(&0),
            events,
            bytes,
            priority: rank.level,
            in_hand_max: Some(u32::from(rank.in_hand_max)).filter(|&most| most > 0),
            lost: if side == Side::Consumers { load(layout::LOST_OR_DROPPED) } else { 0 },
            dropped: if side == Side::Producers { load(layout::LOST_OR_DROPPED) } else { 0 },
            full: load(layout::FULL),
            measures: measures(load(layout::MEASURES)),
            attached_ns: ago(layout::ATTACHED_NS),
            seen_ns: ago(layout::SEEN_NS),
            waits: (wait_since != 0 && life == Life::Live).then(|| Waits {
                for_ns: now.saturating_sub(wait_since),
                position: load(layout::WAIT_POSITION),
            }),
            unmoved_ns: 0,
            stuck_ns: None,
            may_be_stuck: false,
        })
    }

    /// Whether the owner of an entry lives; `None` if the entry is free.
    fn life(&self, side: Side, index: usize, state: u64, durable: bool) -> Option<Life> {
        let status = registry::status(state);
        Some(match status {
            Status::Free => return None,
            _ if self.peers.is_dead(side, index) => match status {
                Status::Held => Life::Held,
                Status::Active if durable => Life::Held,
                _ => Life::Dead,
            },
            Status::Evicted => Life::Evicted,
            _ => Life::Live,
        })
    }

    fn name(&self, side: Side, index: usize) -> String {
        refusal::name_of(self.memory(side), index)
    }

    /// Counts the tickets that the claim word of an entry announces, that were won and are not
    /// finished.
    fn claimed(&self, side: Side, index: usize) -> u64 {
        if let Some(keys) = self.keys {
            return if side == Side::Producers { keys.held_by(index) } else { 0 };
        }
        if self.header.kind == Kind::Stream {
            return 0;
        }
        let slots = self.slots();
        let claim = self.memory(side).load(layout::entry(index) + layout::CLAIM, Edge::Announce);
        let end = match side {
            Side::Producers => self.memories.ring.load(layout::TAIL, Edge::Tail),
            Side::Consumers => self.memories.acks.load(layout::HEAD, Edge::Head),
        };
        let is_open = |&t: &u64| match side {
            Side::Producers => {
                let word = self.memories.data.load(slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
                !slots.is_finished(word, t) && !slots.is_newer(word, t)
            }
            // TAKEN tickets are counted by their done words.
            Side::Consumers => {
                self.header.kind == Kind::Queue && self.done_word(t) == slots.previous_lap_done(t)
            }
        };
        // The claim has 48 bits of the ticket: count back from the end that was won.
        let first = end.saturating_sub(end.wrapping_sub(claim >> 16) & ((1 << 48) - 1));
        let count = (claim & 0xFFFF).min(self.header.slots);
        (first..first.saturating_add(count).min(end)).filter(is_open).count() as u64
    }

    /// Counts the events marked TAKEN, by worker. Looks at every done word.
    fn taken_by_worker(&self, tail: u64) -> Vec<u64> {
        let mut taken = vec![0; 256];
        if self.header.kind == Kind::Queue {
            for t in self.retained(tail) {
                let seen = self.done_word(t);
                if self.slots().is_of(seen, t) && word::kind(seen) == done::TAKEN {
                    taken[word::worker(seen) as usize] += 1;
                }
            }
        }
        taken
    }
}

/// The role in a policy word.
fn role_of(policy: u64, is_service: bool) -> ParticipantRole {
    match policy & 0xFF {
        registry::ROLE_PRODUCER if is_service => ParticipantRole::Client,
        registry::ROLE_WORKER if is_service => ParticipantRole::Server,
        registry::ROLE_PRODUCER => ParticipantRole::Producer,
        registry::ROLE_SUBSCRIBER => ParticipantRole::Subscriber,
        registry::ROLE_WORKER => ParticipantRole::Worker,
        registry::ROLE_TAP => ParticipantRole::Tap,
        _ => ParticipantRole::Unknown,
    }
}
