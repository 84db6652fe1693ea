//! The topic, and the registry's entries that change hands, under deaths at every access.
//!
//! After each death, every subscriber has seen every published event, once, in one order. No
//! registry entry is lost. And everybody can go on through all slots.
//!
//! A pass does not prove anything about weak memory or about two preemptions of one participant
//! (see the loom models), nor that a real kernel drops locks as `LockTable` does (see the tests
//! with real processes).

use std::cell::RefCell;
use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashChannel, CrashMemory, Participant};
use railbus_ring::members::join::StartAt;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity, Registered};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::reader::{SlotPoll, SlotReader};
use railbus_ring::{frame, layout};

const SLOTS: u64 = 4;
const STARTS: [u64; 4] = [0, 5 * SLOTS - 2, (1 << 48) - 2, (SLOTS << 48) - 2];

struct Publisher {
    inner: SlotProducer<CrashMemory, true>,
    data: CrashMemory,
    channel: CrashChannel,
    registered: Registered,
}

impl Publisher {
    fn register(channel: &CrashChannel, who: &Rc<Participant>) -> Option<Publisher> {
        let identity = Identity { policy: registry::ROLE_PRODUCER, ..Identity::default() };
        let registered = channel.register(Side::Producers, who, &identity).ok()?;
        let data = CrashMemory::writable(&channel.data, who);
        let inner = SlotProducer::new(channel.producers_view(who), registered.index);
        Some(Publisher { inner, data, channel: channel.clone(), registered })
    }

    /// Publishes, repairing what dead publishers left in the way; false when a live participant is
    /// in the way.
    fn push(&mut self, value: u64, published: &RefCell<Vec<(u64, bool)>>) -> bool {
        for _ in 0..8 {
            // The fast path first, as the handles do.
            let easy = self.inner.claim_fast();
            match easy.map_or_else(|| self.inner.claim(1).map(|tickets| tickets.first), Ok) {
                Ok(t) => {
                    published.borrow_mut().push((value, false));
                    let at = self.inner.body_offset(t);
                    self.data.store(at, value, Edge::Plain);
                    self.inner.publish(t, frame::header(8, value as u16, 0));
                    if let Some(last) = published.borrow_mut().last_mut() {
                        last.1 = true;
                    }
                    return true;
                }
                Err(refused) => {
                    self.inner.repair(refused, &self.channel.peers());
                }
            }
        }
        false
    }
}

struct Subscriber {
    inner: SlotReader<CrashMemory>,
    data: CrashMemory,
    channel: CrashChannel,
    registered: Registered,
}

impl Subscriber {
    fn register(channel: &CrashChannel, who: &Rc<Participant>, policy: u64) -> Option<Subscriber> {
        let identity = Identity { policy, name: [9; 8], ..Identity::default() };
        let registered = channel.register(Side::Consumers, who, &identity).ok()?;
        let data = CrashMemory::read_only(&channel.data, who);
        let mut inner = SlotReader::new(channel.consumers_view(who), registered.index);
        match registered.resumed {
            Some(cursor) => inner.resume(cursor),
            None => inner.join(StartAt::Live, false).expect("live"),
        }
        Some(Subscriber { inner, data, channel: channel.clone(), registered })
    }

    /// Reads all events, stepping over orphans.
    fn drain(&mut self, seen: &mut Vec<u64>) {
        loop {
            let easy = self.inner.poll_fast().map(|(t, header)| SlotPoll::Event(t, header));
            match easy.unwrap_or_else(|| self.inner.poll(|| ())) {
                SlotPoll::Event(t, header) => {
                    let value = self.data.load(self.inner.body_offset(t), Edge::Plain);
                    assert_eq!(frame::type_id(header), value as u16);
                    seen.push(value);
                }
                SlotPoll::Empty => {
                    let _ = self.inner.acknowledge();
                    if !(self.inner.is_stuck() && self.inner.skip_orphan(&self.channel.peers())) {
                        return;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn ephemeral() -> u64 {
    registry::ROLE_SUBSCRIBER
}

/// A publisher, a second one that repairs after it, and a subscriber that stops reading may each
/// die.
fn run(start: u64, deaths: [Option<u32>; 3]) -> [bool; 3] {
    let channel = CrashChannel::slot_ring(SLOTS, start, 2, 2);
    let steady = Participant::immortal();
    let mut reader = Subscriber::register(&channel, &steady, ephemeral()).expect("an entry");
    let published = RefCell::new(Vec::new());
    let mut seen = Vec::new();
    let who = deaths.map(Participant::dying_at);
    who[2].live(|| {
        let mut subscriber = Subscriber::register(&channel, &who[2], ephemeral());
        if let Some(subscriber) = &mut subscriber {
            subscriber.drain(&mut Vec::new());
            channel.leave(Side::Consumers, &who[2], &subscriber.registered, false);
        }
    });
    for (i, who) in who[..2].iter().enumerate() {
        who.live(|| {
            if let Some(mut publisher) = Publisher::register(&channel, who) {
                for n in 0..3 {
                    publisher.push(100 * (i as u64 + 1) + n, &published);
                }
                if let Ok(tickets) = publisher.inner.claim(2) {
                    (0..tickets.count as u64).for_each(|n| publisher.inner.abort(tickets.first + n));
                }
                publisher.inner.retract();
                channel.leave(Side::Producers, who, &publisher.registered, false);
            }
        });
        reader.drain(&mut seen);
    }
    let died = [0, 1, 2].map(|i| who[i].is_dead());
    let last = Participant::immortal();
    let mut publisher = Publisher::register(&channel, &last).expect("the dead's entry is used again");
    for value in 1000..1000 + 3 * SLOTS {
        assert!(publisher.push(value, &published), "the topic goes on: {start} {deaths:?}");
        reader.drain(&mut seen);
    }
    let next = Participant::immortal();
    let mut late =
        Subscriber::register(&channel, &next, ephemeral()).expect("the dead's entry is used again");
    assert!(publisher.push(2000, &published));
    let mut seen_late = Vec::new();
    late.drain(&mut seen_late);
    reader.drain(&mut seen);
    assert_eq!(seen_late, [2000]);
    // In the order of publication, because they came one after the other. A publication that began
    // may or may not have ended.
    let must: Vec<_> = published.borrow().iter().filter(|event| event.1).map(|event| event.0).collect();
    assert!(seen.iter().all(|&value| published.borrow().iter().any(|event| event.0 == value)));
    let seen_must: Vec<_> = seen.iter().copied().filter(|value| must.contains(value)).collect();
    assert_eq!(seen_must, must, "{start} {deaths:?}");
    died
}

fn every_access(start: u64, deaths: [Option<u32>; 3], i: usize, mut then: impl FnMut([Option<u32>; 3])) {
    for k in 0.. {
        let mut deaths = deaths;
        deaths[i] = Some(k);
        if !run(start, deaths)[i] {
            return;
        }
        then(deaths);
    }
}

#[test]
fn one_or_two_die_at_every_access() {
    let mut runs = 0;
    for start in STARTS {
        assert_eq!(run(start, [None; 3]), [false; 3]);
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            every_access(start, [None; 3], i, |deaths| {
                every_access(start, deaths, j, |_| runs += 1);
            });
        }
    }
    assert!(runs > 10_000, "{runs} runs");
}

/// A durable subscriber dies at every access of its life, again and again under the same name, with
/// a publisher that goes on as far as it may. An event is read again only if the cursor had not
/// passed it, and nothing is skipped.
#[test]
fn a_durable_subscriber_misses_nothing_over_any_deaths() {
    let durable = ephemeral() | registry::DURABLE;
    for start in STARTS {
        for k in 0.. {
            let channel = CrashChannel::slot_ring(SLOTS, start, 1, 2);
            let publishing = Participant::immortal();
            let mut publisher = Publisher::register(&channel, &publishing).expect("an entry");
            let published = RefCell::new(Vec::new());
            let first = Participant::immortal();
            drop(Subscriber::register(&channel, &first, durable).expect("an entry"));
            first.kill();
            let (mut value, mut seen, mut died) = (0, Vec::new(), false);
            for _ in 0..4 {
                while publisher.push(value, &published) {
                    value += 1;
                }
                let reading = Participant::dying_at(Some(k));
                let mut read = Vec::new();
                let name = reading.live(|| {
                    let mut subscriber =
                        Subscriber::register(&channel, &reading, durable).expect("the dead keep no name");
                    assert!(subscriber.registered.resumed.is_some());
                    subscriber.drain(&mut read);
                    channel.leave(Side::Consumers, &reading, &subscriber.registered, true);
                });
                died |= name.is_none();
                // Redelivery begins at or before the end of what was read, without a gap.
                for value in read {
                    assert!(value <= seen.len() as u64, "a gap before {value}, killed at {k}");
                    if value == seen.len() as u64 {
                        seen.push(value);
                    }
                }
            }
            let last = Participant::immortal();
            let mut subscriber = Subscriber::register(&channel, &last, durable).expect("an entry");
            let mut read = Vec::new();
            subscriber.drain(&mut read);
            assert!(read.first().is_none_or(|&value| value <= seen.len() as u64));
            assert_eq!(read.last().copied().or(seen.last().copied()), value.checked_sub(1), "killed at {k}");
            if !died {
                break;
            }
        }
    }
}

/// Registering, leaving, burying and evicting, killed at every access and in pairs: no entry is
/// lost, and no two live participants share one.
#[test]
fn entries_survive_any_two_deaths() {
    let life = |channel: &CrashChannel, who: &Rc<Participant>| {
        let identity = Identity { policy: ephemeral(), ..Identity::default() };
        for index in 0..2 {
            channel.bury(Side::Consumers, who, index);
        }
        if let Ok(registered) = channel.register(Side::Consumers, who, &identity) {
            let locks = channel.locks_for(Side::Consumers, who);
            let (registry, other) = (channel.registry(Side::Consumers, who), 1 - registered.index);
            registry.evict(&locks, other, registry.state(other));
            channel.leave(Side::Consumers, who, &registered, false);
        }
    };
    let mut runs = 0;
    for first in 0.. {
        let mut first_died = false;
        for second in 0.. {
            let channel = CrashChannel::stream(128, Default::default(), 2);
            let one = Participant::dying_at(Some(first));
            let two = Participant::dying_at(Some(second));
            one.live(|| life(&channel, &one));
            two.live(|| life(&channel, &two));
            first_died = one.is_dead();
            let alive: Vec<_> = (0..2).map(|_| Participant::immortal()).collect();
            let identity = Identity { policy: ephemeral(), ..Identity::default() };
            let places: Vec<_> = alive
                .iter()
                .map(|who| channel.register(Side::Consumers, who, &identity).expect("no entry is lost"))
                .collect();
            assert_ne!(places[0].index, places[1].index);
            for place in &places {
                let state = channel.acks.get(layout::entry(place.index) + layout::STATE);
                assert_eq!(state, place.state);
            }
            let third = Participant::immortal();
            assert!(channel.register(Side::Consumers, &third, &identity).is_err(), "both entries are in use");
            runs += 1;
            if !two.is_dead() {
                break;
            }
        }
        if !first_died {
            break;
        }
    }
    assert!(runs > 500, "{runs} runs");
}
