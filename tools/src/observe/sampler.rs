//! Looking at channels again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus::admin::{list_buses, list_channels};
use railbus::info::{Info, Life, Observer, Participant};
use railbus::journal::{JournalPositions, JournalState, Shortage};
use railbus::latency::{Distribution, Latencies};
use railbus::{Bus, ChannelName, Error};
use railbus_os::clock::monotonic_ns;
use railbus_ring::members::peers::Side;

use super::Wanted;
use super::cores::core_of;
use super::view::{ChannelView, LatencyView, ParticipantView};
use crate::units::{backing_text, side_text};

/// One look at all channels that are wanted.
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    /// In the order of their names.
    pub(crate) channels: Vec<ChannelView>,
    /// Channels that could not be looked at, and why.
    pub(crate) failed: Vec<(ChannelName, Error)>,
    /// How much longer it takes to decide whether a participant is stuck.
    pub(crate) undecided: Option<Duration>,
}

/// Looks at channels. Holds each one mapped from its first look on.
#[derive(Debug)]
pub(crate) struct Sampler {
    base: PathBuf,
    wanted: Vec<Wanted>,
    watched: BTreeMap<ChannelName, Watched>,
}

/// A channel, and its state at the last look.
#[derive(Debug)]
struct Watched {
    observer: Observer,
    high_water: u64,
    last: Option<Look>,
    /// When the number of published events last changed.
    published_ns: Option<u64>,
}

#[derive(Debug)]
struct Look {
    at_ns: u64,
    events: u64,
    participants: BTreeMap<Key, Seen>,
}

/// Side, entry and generation: no other participant ever has the same.
type Key = (bool, usize, u64);

#[derive(Debug, Clone, Copy)]
struct Seen {
    events: u64,
    bytes: u64,
    progress: [u64; 4],
    changed_ns: Option<u64>,
}

impl Sampler {
    /// Looks at the channels of `wanted`, or at all when that is empty.
    pub(crate) fn new(base: &Path, wanted: &[Wanted]) -> Sampler {
        Sampler { base: base.to_owned(), wanted: wanted.to_vec(), watched: BTreeMap::new() }
    }

    /// Looks. Takes about 0.1 ms for a channel. Later looks show who is stuck.
    ///
    /// # Errors
    /// When a bus or channel that was requested by name does not exist, or the directory cannot be
    /// read. Other errors of a channel are in [`Sampled::failed`].
    pub(crate) fn sample(&mut self) -> Result<Sampled, Error> {
        let names = self.names()?;
        self.watched.retain(|name, _| names.contains(name));
        let mut sampled = Sampled::default();
        for name in names {
            match self.look(&name) {
                Ok((view, undecided)) => {
                    sampled.undecided = sampled.undecided.max(undecided);
                    sampled.channels.push(view);
                }
                // The channel was removed since it was listed.
                Err(Error::NotFound { .. }) if !self.is_named(&name) => {
                    self.watched.remove(&name);
                }
                Err(error) => {
                    self.watched.remove(&name);
                    sampled.failed.push((name, error));
                }
            }
        }
        Ok(sampled)
    }

    /// As [`Self::sample`], but a bus that does not exist yet, or no longer, has no channels: for
    /// programs that keep running.
    pub(crate) fn sample_what_is_there(&mut self) -> Result<Sampled, Error> {
        match self.sample() {
            Err(Error::NotFound { .. }) => {
                self.watched.clear();
                Ok(Sampled::default())
            }
            sampled => sampled,
        }
    }

    fn is_named(&self, name: &ChannelName) -> bool {
        self.wanted.contains(&Wanted::Channel(name.clone()))
    }

    /// The channels that are wanted, each once, in order.
    fn names(&self) -> Result<Vec<ChannelName>, Error> {
        let mut names = Vec::new();
        if self.wanted.is_empty() {
            for bus in list_buses(&self.base)? {
                match list_channels(&self.base, &bus) {
                    // The bus was removed since it was listed.
                    Err(Error::NotFound { .. }) => {}
                    channels => names.extend(channels?),
                }
            }
        }
        for wanted in &self.wanted {
            match wanted {
                Wanted::Bus(bus) => names.extend(list_channels(&self.base, bus)?),
                Wanted::Channel(name) => names.push(name.clone()),
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// One more look at a channel: a participant that was stuck at the last look, and has not moved
    /// since, is still stuck.
    pub(crate) fn look_again(&self, name: &ChannelName) -> Option<Result<Info, Error>> {
        Some(self.watched.get(name)?.observer.info())
    }

    fn look(&mut self, name: &ChannelName) -> Result<(ChannelView, Option<Duration>), Error> {
        let watched = match self.watched.remove(name) {
            Some(watched) if !watched.observer.is_removed()? => watched,
            _ => {
                let observer = Bus::at(&self.base, name.bus())?.attach(name.channel())?.observe()?;
                Watched { observer, high_water: 0, last: None, published_ns: None }
            }
        };
        self.watched.entry(name.clone()).or_insert(watched).look()
    }
}

impl Watched {
    fn look(&mut self) -> Result<(ChannelView, Option<Duration>), Error> {
        let info = self.observer.info()?;
        let undecided = self.observer.undecided(&info);
        // Latencies that cannot be read count as absent: the consumers report the reason in
        // `measures`.
        let latencies = self.observer.latencies().ok().flatten().unwrap_or_default();
        let at_ns = monotonic_ns();
        let positions = &info.positions;
        self.high_water = self.high_water.max(positions.depth);
        let last = self.last.as_ref();
        let seconds = last.map(|last| at_ns.saturating_sub(last.at_ns).max(1) as f64 / 1e9);
        let rate = |now: u64, before: u64| Some(now.saturating_sub(before) as f64 / seconds?);
        if last.is_some_and(|last| last.events != positions.events) {
            self.published_ns = Some(at_ns);
        }
        let mut seen = BTreeMap::new();
        let mut participants = Vec::new();
        let mut bytes_published = 0;
        for one in &info.participants {
            let key = (one.side == Side::Consumers, one.index, one.generation);
            let before = last.and_then(|last| last.participants.get(&key)).copied();
            let now = seen_now(one, before, at_ns);
            seen.insert(key, now);
            // A participant that came since the last look began at 0.
            let (events_before, bytes_before) = before.map_or((0, 0), |before| (before.events, before.bytes));
            if one.side == Side::Producers {
                bytes_published += one.bytes.saturating_sub(bytes_before);
            }
            let rates = (rate(one.events, events_before), rate(one.bytes, bytes_before));
            participants.push(participant(one, rates, now.changed_ns, at_ns, &latencies));
        }
        let events_per_second = last.and_then(|last| rate(positions.events, last.events));
        let bytes_per_second = rate(bytes_published, 0);
        self.last = Some(Look { at_ns, events: positions.events, participants: seen });
        let rates = (events_per_second, bytes_per_second);
        Ok((self.view(&info, &latencies, rates, at_ns, participants), undecided))
    }

    /// How far the channel's journal is, if it has one.
    fn journal(&self) -> Option<JournalPositions> {
        let channel = self.observer.channel();
        let known = channel.journal_positions().ok()?;
        if known.state == JournalState::Recording {
            return Some(known);
        }
        // There may be another journaller now; a new attachment sees it.
        let anew = channel.bus().attach(channel.name().channel()).and_then(|anew| anew.journal_positions());
        Some(anew.unwrap_or(known))
    }

    fn view(
        &self,
        info: &Info,
        latencies: &Latencies,
        (events_per_second, bytes_per_second): (Option<f64>, Option<f64>),
        at_ns: u64,
        participants: Vec<ParticipantView>,
    ) -> ChannelView {
        let Info { header, positions, counters, .. } = info;
        let live =
            |side: &str| participants.iter().filter(|one| one.side == side && one.state == "live").count();
        let (received, done) = (latencies.received(), latencies.done());
        let journal = self.journal();
        ChannelView {
            channel: info.name.to_string(),
            kind: header.kind_name().to_owned(),
            stamp: header.stamp,
            backing: backing_text(info.pages.got),
            page_bytes: info.pages.page_bytes,
            capacity: positions.capacity,
            depth: positions.depth,
            waiting: positions.waiting,
            not_due: positions.not_due,
            in_hand: positions.in_hand,
            depth_percent: positions.depth as f64 * 100.0 / positions.capacity.max(1) as f64,
            high_water: self.high_water,
            lag: participants.iter().filter_map(|one| one.lag).max(),
            published: positions.published,
            events: positions.events,
            events_per_second,
            bytes_per_second,
            full: participants.iter().fold(0, |sum, one| sum.saturating_add(one.full)),
            dropped: counters.dropped,
            diverted: counters.diverted,
            under_pressure: info.pressure.map(|seen| seen.is_high),
            lost: participants.iter().fold(0, |sum, one| sum.saturating_add(one.lost)),
            redelivered: counters.redelivered,
            dead_lettered: counters.dead_lettered,
            expired: counters.expired,
            producers: live("producer"),
            consumers: live("consumer"),
            stuck: participants.iter().filter(|one| one.stuck_ns.is_some()).count(),
            progress_age_ns: self.published_ns.map(|then| at_ns - then),
            written_lag: journal.as_ref().map(|journal| positions.published.saturating_sub(journal.written)),
            durable_lag: journal.as_ref().map(|journal| positions.published.saturating_sub(journal.durable)),
            journal_crashes: journal.as_ref().map(|journal| journal.crashes),
            journal_waits_for: journal.as_ref().and_then(waits_for),
            journal_no_space: journal.as_ref().map(|journal| waits_for(journal) == Some("space")),
            journal_gaps: journal.as_ref().map(|journal| journal.gaps),
            journal_lost: journal.as_ref().map(|journal| journal.lost),
            journal_error: journal.as_ref().and_then(|one| one.error.clone().or(one.warning.clone())),
            journal: journal.map(|journal| journal.state.as_str()),
            latency_ns: LatencyView::of(&received),
            done_ns: LatencyView::of(&done),
            participants,
            is_public: is_public(info),
            received,
            done,
        }
    }
}

/// Whether every user may read the channel's files, and reach them.
fn is_public(info: &Info) -> bool {
    use std::os::unix::fs::MetadataExt;
    let bus = std::fs::metadata(&info.paths.directory).map_or(0, |about| about.mode());
    info.ring_access.mode & info.acks_access.mode & 0o004 != 0 && bus & 0o001 != 0
}

/// The resource that a working journal waits for.
fn waits_for(journal: &JournalPositions) -> Option<&'static str> {
    let is_over =
        matches!(journal.state, JournalState::Dead | JournalState::Stopped | JournalState::Poisoned);
    journal.shortage.filter(|_| !is_over).map(Shortage::as_str)
}

fn seen_now(one: &Participant, before: Option<Seen>, at_ns: u64) -> Seen {
    let progress = [one.events, one.cursor.unwrap_or(0), one.position.unwrap_or(0), one.in_hand];
    let changed_ns = match before {
        Some(before) if before.progress == progress => before.changed_ns,
        Some(_) => Some(at_ns),
        // The first look cannot decide it.
        None => None,
    };
    Seen { events: one.events, bytes: one.bytes, progress, changed_ns }
}

fn participant(
    one: &Participant,
    (events_per_second, bytes_per_second): (Option<f64>, Option<f64>),
    changed_ns: Option<u64>,
    at_ns: u64,
    latencies: &Latencies,
) -> ParticipantView {
    let is_producer = one.side == Side::Producers;
    let measured = latencies.consumers.iter().find(|measured| {
        !is_producer && measured.index == one.index && measured.generation == one.generation
    });
    let received = measured.map_or_else(Distribution::default, |measured| measured.received.clone());
    let done = measured.and_then(|measured| measured.done.clone()).unwrap_or_default();
    ParticipantView {
        who: format!("{}:{}", side_text(one.side), one.index),
        side: side_text(one.side),
        index: one.index,
        generation: one.generation,
        role: one.role.as_str(),
        name: one.name.clone(),
        pid: one.pid,
        tid: one.tid,
        core: core_of(one),
        state: one.life.as_str(),
        durable: one.durable,
        lossy: one.lossy,
        events: one.events,
        bytes: one.bytes,
        events_per_second,
        bytes_per_second,
        lag: one.lag.filter(|_| one.life != Life::Evicted && one.life != Life::Dead),
        in_hand: one.in_hand,
        full: one.full,
        dropped: one.dropped,
        lost: one.lost,
        waiting_ns: one.waits.map(|waits| waits.for_ns),
        seen_ns: one.seen_ns,
        progress_age_ns: changed_ns.map(|then| at_ns - then),
        stuck_ns: one.stuck_ns,
        measures: one.measures.as_str(),
        latency_ns: LatencyView::of(&received),
        done_ns: LatencyView::of(&done),
        unmeasured: measured.map_or(0, |measured| measured.unmeasured),
        clock_steps: measured.map_or(0, |measured| measured.clock_steps),
        received,
        done,
    }
}
