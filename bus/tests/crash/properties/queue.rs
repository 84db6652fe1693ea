//! Stories of a queue: each event waits, is held by a worker, or is done; and taps see all of them.

use std::collections::BTreeMap;

use railbus::{Bus, Kind, SendOptions, WorkOptions};

use crate::properties::create;
use crate::properties::readers::Readers;
use crate::properties::servant::{
    ABORT, BATCH, DONE, FULL, LEAVE_OPEN, PUBLISH, RETRY, SHORT_COMMIT, Servant, TAKE, serve_sender,
    serve_worker,
};

/// An event that a worker holds: number and attempt.
type Held = (u64, u64);

struct Hand {
    servant: Servant,
    /// How many it takes from the ring at once.
    grab: u64,
    held: Vec<Held>,
    /// Taken from the ring and not returned to it yet, in order. In the model they wait, but only
    /// this worker gets them.
    hidden: Vec<u64>,
}

pub(crate) struct Jobs<'a> {
    bus: &'a Bus,
    numbers: u64,
    /// Deliveries so far of each event that is not done and that nobody holds.
    waiting: BTreeMap<u64, u64>,
    producers: [Option<Servant>; 2],
    workers: [Option<Hand>; 2],
    taps: Readers<'a>,
}

impl<'a> Jobs<'a> {
    pub(crate) fn new(bus: &'a Bus) -> Jobs<'a> {
        let taps = Readers::new(bus, create(bus, Kind::Queue));
        let (producers, workers) = ([None, None], [None, None]);
        Jobs { bus, numbers: 0, waiting: BTreeMap::new(), producers, workers, taps }
    }

    pub(crate) fn tell(&mut self, steps: &[(u8, u8, u8)]) {
        for &(who, what, amount) in steps {
            match who as usize % (4 + Readers::COUNT) {
                which @ (0 | 1) => self.produce(which, what, amount),
                which @ (2 | 3) => self.work(which - 2, what, amount),
                which => self.taps.follow(which - 4, what, amount),
            }
        }
        self.settle();
    }

    fn producer(&mut self, which: usize) -> &mut Servant {
        let bus = self.bus;
        self.producers[which].get_or_insert_with(|| {
            let mut servant = Servant::start(|pipe| {
                let producer = bus.attach("c").unwrap().producer(&SendOptions::default());
                if let Some(producer) = pipe.open(producer) {
                    serve_sender(pipe, producer);
                }
            });
            assert_eq!(servant.answer(), [0]);
            servant
        })
    }

    fn produce(&mut self, which: usize, what: u8, amount: u8) {
        let first = self.numbers;
        let what = match what % 16 {
            0 => return self.producers[which].take().map_or((), Servant::crash),
            1 => return self.producers[which].take().map_or((), Servant::leave),
            2 => {
                self.producer(which).ask(LEAVE_OPEN, first, amount.into());
                return self.producers[which].take().map_or((), Servant::crash);
            }
            3 => ABORT,
            4 => SHORT_COMMIT,
            5..8 => BATCH,
            _ => PUBLISH,
        };
        let said = self.producer(which).ask(what, first, amount.into());
        let published = said[0];
        if published != FULL {
            self.taps.published(first, published, &said[1..]);
            self.waiting.extend((first..first + published).map(|n| (n, 0)));
            self.numbers += published;
        }
    }

    fn work(&mut self, which: usize, what: u8, amount: u8) {
        let bus = self.bus;
        let hand = self.workers[which].get_or_insert_with(|| {
            let grab = 1 + amount as u32 % 4;
            let mut servant = Servant::start(|pipe| {
                let options = WorkOptions::default().grab(grab);
                let worker = bus.attach("c").unwrap().worker(&options);
                if let Some(worker) = pipe.open(worker) {
                    serve_worker(pipe, worker);
                }
            });
            assert_eq!(servant.answer(), [0], "a worker may come at any time");
            Hand { servant, grab: grab.into(), held: Vec::new(), hidden: Vec::new() }
        });
        let some = |held: &Vec<Held>| amount as usize % held.len();
        match what % 16 {
            0 => self.crash(which),
            1 => self.leave(which),
            2 | 3 if !hand.held.is_empty() => {
                let at = some(&hand.held);
                assert_eq!(hand.servant.ask(RETRY, at as u64, 0), [1]);
                let (number, attempt) = hand.held.remove(at);
                self.waiting.insert(number, attempt);
            }
            4..9 if !hand.held.is_empty() => {
                let at = some(&hand.held);
                assert_eq!(hand.servant.ask(DONE, at as u64, 0), [1]);
                hand.held.remove(at);
            }
            _ => self.take(which),
        }
    }

    fn take(&mut self, which: usize) {
        let others = self.workers[1 - which].as_ref().map_or(Vec::new(), |hand| hand.hidden.clone());
        let hand = self.workers[which].as_mut().expect("there");
        let there = self.waiting.len() - others.len();
        let words = hand.servant.ask(TAKE, 0, there as u64);
        let [number, attempt, hidden] = words[..] else {
            assert!(words.is_empty() && there == 0, "{there} events wait, and a worker gets {words:?}");
            return;
        };
        let before = self.waiting.remove(&number);
        assert_eq!(before, Some(attempt - 1), "event {number} at attempt {attempt}");
        assert!(!others.contains(&number), "event {number} is in the hands of another");
        hand.held.push((number, attempt));
        if hand.hidden.is_empty() {
            // The others that it has taken are the next events.
            assert!(hidden < hand.grab, "{hidden} more in hand, of {} at once", hand.grab);
            let next = self.waiting.range(number..).map(|(&number, _)| number);
            hand.hidden = next.take(hidden as usize).collect();
        } else {
            assert_eq!(hand.hidden.remove(0), number, "what it has taken comes in order");
        }
        assert_eq!(hand.hidden.len() as u64, hidden);
    }

    /// The events that it holds are delivered again, with the attempt counted; also those that it
    /// had taken and not returned.
    fn crash(&mut self, which: usize) {
        let Some(hand) = self.workers[which].take() else { return };
        for number in hand.hidden {
            *self.waiting.get_mut(&number).expect("it waits") += 1;
        }
        self.waiting.extend(hand.held);
        hand.servant.crash();
    }

    /// The same, but the events that were not returned count no attempt.
    fn leave(&mut self, which: usize) {
        let Some(hand) = self.workers[which].take() else { return };
        self.waiting.extend(hand.held);
        hand.servant.leave();
    }

    /// Everything is done in the end, seen by all taps, and the ring is free for laps.
    fn settle(&mut self) {
        self.leave(1);
        self.taps.resume_all();
        for _ in 0..3 * 64 {
            let before = self.numbers;
            self.produce(0, PUBLISH as u8 + 15, 20);
            let full = self.numbers == before;
            while self.workers[0].as_ref().is_none_or(|hand| !hand.held.is_empty())
                || !self.waiting.is_empty()
            {
                let holds = self.workers[0].as_ref().is_some_and(|hand| !hand.held.is_empty());
                self.work(0, if holds { 4 } else { 15 }, 0);
            }
            if full {
                self.taps.read_all();
            }
        }
        assert!(self.numbers >= 64, "nobody was in the way, and there was no room");
        self.taps.read_all();
    }
}
