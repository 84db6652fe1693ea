//! The model of participants that read by cursor, of all kinds: a list of events, and a place in it
//! for each reader.

use std::collections::BTreeMap;
use std::time::Instant;

use railbus::{Bus, Channel, Kind, Start, SubscribeOptions};

use crate::properties::HANG;
use crate::properties::servant::{
    ACKNOWLEDGE, LOST, PERHAPS, READ, READ_BATCH, REFUSED, Servant, serve_reader,
};

struct Follower {
    servant: Option<Servant>,
    lossy: bool,
    durable: bool,
    /// The next event's place in the log; unknown after a join at the oldest and after a loss.
    next: Option<usize>,
    /// A durable subscription resumes at or after this.
    acknowledged: usize,
    /// It was killed: it resumes anywhere from there to where it was.
    resumes_by: Option<usize>,
    /// How many events, and tickets without one, were reported to it as lost before the next.
    may_skip: usize,
    /// The end of the log when it joined: from there on, a reliable reader loses nothing.
    joined: usize,
}

/// The events that were published, and their readers: one reliable, one lossy, one by a durable
/// name.
pub(crate) struct Readers<'a> {
    bus: &'a Bus,
    channel: Channel,
    kind: Kind,
    events: Vec<u64>,
    /// The position of each event, as far as a participant has reported it.
    positions: BTreeMap<u64, u64>,
    followers: [Follower; 3],
}

impl<'a> Readers<'a> {
    pub(crate) const COUNT: usize = 3;

    pub(crate) fn new(bus: &'a Bus, channel: Channel) -> Readers<'a> {
        let follower = |lossy, durable| Follower {
            servant: None,
            lossy,
            durable,
            next: None,
            acknowledged: 0,
            resumes_by: None,
            may_skip: 0,
            joined: 0,
        };
        let followers = [follower(false, false), follower(true, false), follower(false, true)];
        let kind = channel.header().kind;
        Readers { bus, channel, kind, events: Vec::new(), positions: BTreeMap::new(), followers }
    }

    /// How many events there are.
    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    /// `published` events from number `first` on were published, `said` being the positions of some
    /// of them.
    pub(crate) fn published(&mut self, first: u64, published: u64, said: &[u64]) {
        self.events.extend(first..first + published);
        for (number, &position) in (first..).zip(said) {
            self.locate(number, position);
        }
    }

    /// All reports of an event's position agree, and later events lie after earlier ones.
    fn locate(&mut self, number: u64, position: u64) {
        let known = *self.positions.entry(number).or_insert(position);
        assert_eq!(known, position, "event {number} lies at two places");
        let before = self.positions.range(..number).next_back();
        let after = self.positions.range(number + 1..).next();
        let rise = before.is_none_or(|(_, &p)| p < position) && after.is_none_or(|(_, &p)| p > position);
        assert!(rise, "event {number} at {position} between {before:?} and {after:?}");
    }

    pub(crate) fn follow(&mut self, which: usize, what: u8, amount: u8) {
        if self.followers[which].servant.is_none() {
            self.join(which, what, amount);
            return;
        }
        let most = 1 + amount as u64 % 40;
        let follower = &mut self.followers[which];
        let servant = follower.servant.as_mut().expect("joined");
        match what % 12 {
            0 => {
                follower.resumes_by = follower.next.or(Some(self.events.len()));
                if let Some(servant) = follower.servant.take() {
                    servant.crash();
                }
            }
            1 => {
                // Polled events are acknowledged by leaving.
                follower.acknowledged = follower.next.unwrap_or(follower.acknowledged);
                follower.resumes_by = follower.next.or(Some(self.events.len()));
                if let Some(servant) = follower.servant.take() {
                    servant.leave();
                }
            }
            2 => {
                servant.ask(ACKNOWLEDGE, 0, 0);
                follower.acknowledged = follower.next.unwrap_or(follower.acknowledged);
            }
            3..6 => {
                let words = servant.ask(READ_BATCH, most, 0);
                self.check(which, &words);
                let follower = &mut self.followers[which];
                follower.acknowledged = follower.next.unwrap_or(follower.acknowledged);
            }
            _ => {
                let known = follower.next.is_some() && !follower.lossy;
                let there = follower.next.map_or(0, |next| (self.events.len() - next) as u64);
                let words = servant.ask(READ, most, if follower.lossy { 0 } else { there });
                self.check(which, &words);
                let next = self.followers[which].next.unwrap_or(self.events.len());
                let ended = (words.len() as u64 / 2) < most && !words.contains(&LOST);
                // Otherwise it may be at an orphan, which takes a wait to step over.
                if ended && known {
                    assert_eq!(next, self.events.len(), "a reader does not see what was published");
                }
            }
        }
    }

    /// Where to join, whether that is possible, and the place of the first event then, if it is known.
    fn choose(&self, what: u8, amount: u8) -> (Start, bool, Option<usize>) {
        let end = self.events.len();
        match what % 4 {
            // A tap begins live.
            _ if self.kind == Kind::Queue && what.is_multiple_of(2) => (Start::Live, true, Some(end)),
            _ if self.kind == Kind::Queue => (Start::Position(self.positions().0), false, None),
            0 => (Start::Live, true, Some(end)),
            1 => (Start::Oldest, true, None),
            _ => {
                let (oldest, tail) = self.positions();
                let known: Vec<_> = self.positions.iter().rev().take(100).collect();
                match amount {
                    // A position at which no event starts.
                    0..4 => (Start::Position(tail + 8), false, None),
                    4..8 if self.kind == Kind::Stream => (Start::Position(tail - 4), false, None),
                    4..12 => (Start::Position(tail), true, Some(end)),
                    _ if known.is_empty() => (Start::Live, true, Some(end)),
                    _ => {
                        let (number, &position) = known[amount as usize % known.len()];
                        let place = self.events.binary_search(number).expect("it was published");
                        (Start::Position(position), position >= oldest, Some(place))
                    }
                }
            }
        }
    }

    /// The oldest position that is retained, and the end.
    fn positions(&self) -> (u64, u64) {
        let found = self.channel.info().unwrap().positions;
        (found.oldest, found.published)
    }

    fn join(&mut self, which: usize, what: u8, amount: u8) {
        let follower = &self.followers[which];
        let (lossy, durable) = (follower.lossy, follower.durable);
        let resumes = durable && follower.resumes_by.is_some();
        // One that resumes starts at its cursor, wherever it asks to start.
        let (start, possible, next) = match self.choose(what, amount) {
            (start, possible, next) if !resumes => (start, possible, next),
            _ => (Start::Live, true, None),
        };
        let name = if durable { "durable".to_owned() } else { String::new() };
        let options = SubscribeOptions::default().name(name).lossy(lossy).durable(durable).start(start);
        let (bus, kind) = (self.bus, self.kind);
        let mut servant = Servant::start(|pipe| {
            let channel = bus.attach("c").unwrap();
            match kind {
                Kind::Stream => pipe.open(channel.subscriber(&options)).map(|it| serve_reader(pipe, it)),
                Kind::Topic => pipe.open(channel.topic_subscriber(&options)).map(|it| serve_reader(pipe, it)),
                Kind::Queue => pipe.open(channel.tap(&options)).map(|it| serve_reader(pipe, it)),
                Kind::Table => unreachable!("a table has no events"),
            };
        });
        let said = servant.answer();
        if !possible {
            assert_eq!(said, [REFUSED], "nobody can start at {start:?}");
            return;
        }
        assert_eq!(said, [0], "a reader may join at any time, at {start:?}");
        let follower = &mut self.followers[which];
        follower.servant = Some(servant);
        follower.next = next;
        if !resumes {
            follower.may_skip = 0;
            follower.acknowledged = next.unwrap_or(0);
            follower.joined = self.events.len();
        }
    }

    /// The events that a reader has read follow those that it had read before.
    fn check(&mut self, which: usize, words: &[u64]) {
        let is_stream = self.kind == Kind::Stream;
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let follower = &mut self.followers[which];
            let with = *words.next().expect("words come in pairs");
            if word == LOST {
                let events = with as usize;
                // A reliable reader may lose events from before its join, if the ring has slots.
                let may = !is_stream && follower.next.is_none_or(|next| next < follower.joined);
                assert!(follower.lossy || may, "a reliable reader has lost {events} events");
                if is_stream {
                    follower.next = follower.next.map(|next| next + events);
                } else {
                    follower.may_skip += events;
                }
                continue;
            }
            let place = self.events.binary_search(&word).expect("nobody published it");
            let may_skip = std::mem::take(&mut follower.may_skip);
            match (follower.next, follower.resumes_by.take()) {
                (Some(next), _) => {
                    assert!((next..=next + may_skip).contains(&place), "read {place}, expected {next}");
                }
                (None, Some(by)) if follower.durable => {
                    let least = follower.acknowledged;
                    assert!((least..=by + may_skip).contains(&place), "resumed at {place}: {least} to {by}");
                }
                (None, _) => {}
            }
            if may_skip > 0 && !follower.lossy {
                let joined = follower.joined;
                assert!(place <= joined, "lost up to {place}, which is behind its join at {joined}");
            }
            follower.next = Some(place + 1);
            self.locate(word, with);
        }
    }

    /// Durable subscriptions without an owner get one.
    pub(crate) fn resume_all(&mut self) {
        for which in 0..self.followers.len() {
            let durable = self.followers[which].durable && self.followers[which].resumes_by.is_some();
            if self.followers[which].servant.is_none() && durable {
                self.join(which, 1, 0);
            }
        }
    }

    /// The first reader joins here and there, at retained positions and others, and reads to the
    /// end.
    pub(crate) fn join_at_old_positions(&mut self) {
        for amount in (12..112).step_by(13) {
            if self.followers[0].servant.is_some() {
                self.follow(0, 1, 0);
            }
            self.join(0, 2, amount);
            self.read_to_the_end(0);
        }
    }

    /// All remaining readers read to the end.
    pub(crate) fn read_all(&mut self) {
        (0..self.followers.len()).for_each(|which| self.read_to_the_end(which));
    }

    fn read_to_the_end(&mut self, which: usize) {
        let start = Instant::now();
        while let Some(servant) = &mut self.followers[which].servant {
            let words = servant.ask(READ, 1, 0);
            self.check(which, &words);
            if words.is_empty() && self.followers[which].next == Some(self.events.len()) {
                return;
            }
            if words.is_empty() {
                // An orphan may be in its way.
                let words = self.followers[which].servant.as_mut().expect("there").ask(READ, 1, PERHAPS);
                self.check(which, &words);
                if words.is_empty() && self.followers[which].next.is_none() {
                    return;
                }
            }
            assert!(start.elapsed() < HANG, "reader {which} does not come to the end");
        }
    }
}
