//! Sending, receiving and checking events, as fast as producers and consumers can.
//!
//! The loops own their end while they run, so that the compiler can keep it in registers across the
//! atomic accesses, as it can for an application that owns its handle.

use std::sync::atomic::Ordering;

use railbus::Error;

use super::arena::MAX_WORKERS;
use super::payload::{Payload, SEQUENCE_BITS, tag};
use super::transport::{Attempted, Pace, Receiver, Sender, Site};

/// Empty polls after which a worker of a queue publishes its count and checks whether all events
/// are done.
const LOOKS: u32 = 64;

/// Sends `count` events of `producer`, from number `first` on.
#[inline(never)]
pub(super) fn produce<S: Sender, P: Pace>(
    mut sender: S,
    payload: &Payload,
    (producer, first): (usize, u64),
    count: u64,
    batch: usize,
    pace: P,
) -> Attempted<S> {
    let end = tag(producer, first + count);
    let mut next = tag(producer, first);
    if batch == 1 {
        while next < end {
            while !sender.send(payload, next)? {
                pace.full();
            }
            next += 1;
        }
    }
    while next < end {
        let count = (batch as u64).min(end - next) as usize;
        match sender.send_batch(payload, next, count)? {
            0 => pace.full(),
            sent => next += sent as u64,
        }
    }
    sender.flush()?;
    Ok(sender)
}

/// The state of a consumer about the events so far.
#[derive(Debug)]
pub(super) struct Received {
    /// The next sequence number of each producer.
    expected: [u64; MAX_WORKERS],
    /// Whether it sees every event. A worker of a queue among others sees only some, in order.
    all: bool,
    /// Events received.
    pub(super) events: u64,
    /// Wrapping sum of their tags.
    pub(super) tag_sum: u64,
}

impl Received {
    /// Nothing so far.
    pub(super) fn new(all: bool) -> Received {
        Received { expected: [0; MAX_WORKERS], all, events: 0, tag_sum: 0 }
    }

    /// Counts an event. Returns `false` when this event may not come now.
    #[inline(always)]
    fn note(&mut self, found: Option<u64>) -> bool {
        let Some(tag) = found else { return false };
        let (producer, sequence) = ((tag >> SEQUENCE_BITS) as usize, tag & ((1 << SEQUENCE_BITS) - 1));
        let Some(expected) = self.expected.get_mut(producer) else { return false };
        if sequence < *expected || (self.all && sequence != *expected) {
            return false;
        }
        *expected = sequence + 1;
        self.events += 1;
        self.tag_sum = self.tag_sum.wrapping_add(tag);
        true
    }

    fn wrong(&self, found: Option<u64>) -> Box<Error> {
        let why = match found {
            None => "an event's bytes are not what was written".to_string(),
            Some(tag) => {
                let producer = (tag >> SEQUENCE_BITS) as usize;
                let expected = self.expected.get(producer).copied().unwrap_or_default();
                let number = tag & ((1 << SEQUENCE_BITS) - 1);
                format!("expected event {expected} of producer {producer}, found {number}")
            }
        };
        Box::new(Error::corrupt("the channel", why))
    }
}

/// Receives until `received.events` is `target`, from one producer: the state is just the next tag.
#[inline(never)]
pub(super) fn consume_in_order<R: Receiver, P: Pace>(
    mut receiver: R,
    payload: &Payload,
    received: &mut Received,
    target: u64,
    batch: usize,
    pace: P,
) -> Attempted<R> {
    let (mut next, mut sum, mut wrong) = (received.events, 0u64, None);
    let mut check = |event: &[u8]| {
        let found = payload.read(event);
        if found == Some(next) {
            sum = sum.wrapping_add(next);
            next += 1;
        } else {
            wrong = Some(found);
        }
    };
    let mut left = target - received.events;
    while left > 0 {
        let got = if batch == 1 {
            u64::from(receiver.receive(&mut check)?)
        } else {
            receiver.receive_batch(batch.min(left as usize), &mut check)? as u64
        };
        left -= got;
        if got == 0 {
            pace.empty();
        }
    }
    received.tag_sum = received.tag_sum.wrapping_add(sum);
    (received.events, received.expected[0]) = (next, next);
    match wrong {
        Some(found) => Err(received.wrong(found)),
        None => Ok(receiver),
    }
}

/// Receives from several producers until this consumer has `target` events, or (when it sees only
/// some) all consumers together have `target` events.
#[inline(never)]
pub(super) fn consume<R: Receiver, P: Pace>(
    mut receiver: R,
    payload: &Payload,
    received: &mut Received,
    target: u64,
    site: Site<'_>,
    pace: P,
) -> Attempted<R> {
    let Site { plan, arena } = site;
    let consumers = &arena.control.workers[plan.producers..plan.producers + plan.consumers];
    let line = &consumers[plan.index];
    let mut empty = 0;
    let mut wrong = None;
    while received.events < target {
        let most = plan.batch.min((target - received.events) as usize);
        let got = receiver.receive_batch(most, |event| {
            let found = payload.read(event);
            if !received.note(found) {
                wrong = Some(found);
            }
        })?;
        if let Some(found) = wrong {
            return Err(received.wrong(found));
        }
        if got > 0 {
            empty = 0;
            continue;
        }
        pace.empty();
        empty += 1;
        if !received.all && empty >= LOOKS {
            empty = 0;
            line.received.store(received.events, Ordering::Release);
            let all = consumers.iter().map(|other| other.received.load(Ordering::Acquire)).sum::<u64>();
            if all >= target {
                break;
            }
        }
    }
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_of_everything_accepts_only_the_next_of_each_producer() {
        let mut received = Received::new(true);
        for (producer, sequence) in [(0, 0), (1, 0), (1, 1), (0, 1)] {
            assert!(received.note(Some(tag(producer, sequence))));
        }
        assert!(!received.note(Some(tag(0, 1))), "a duplicate");
        assert!(!received.note(Some(tag(0, 3))), "a gap");
        assert!(!received.note(None), "changed bytes");
        assert!(!received.note(Some(tag(MAX_WORKERS, 0))), "a producer that does not exist");
        assert_eq!(received.events, 4);
        assert_eq!(received.tag_sum, tag(0, 1).wrapping_add(tag(1, 1)).wrapping_add(tag(1, 0)));
    }

    #[test]
    fn a_worker_among_others_accepts_gaps_but_no_step_back() {
        let mut received = Received::new(false);
        assert!(received.note(Some(tag(0, 5))) && received.note(Some(tag(0, 9))));
        assert!(!received.note(Some(tag(0, 9))) && !received.note(Some(tag(0, 6))));
    }

    /// Ends over a list of tags, one event each.
    struct Script(Vec<u64>, Payload);

    impl Receiver for Script {
        fn receive(&mut self, read: impl FnOnce(&[u8])) -> Attempted<bool> {
            let mut event = vec![0; self.1.bytes()];
            self.1.write(&mut event, self.0.remove(0));
            read(&event);
            Ok(true)
        }
    }

    #[test]
    fn a_lost_or_repeated_event_stops_the_measurement() {
        let payload = Payload::new(16);
        for (tags, good) in [(vec![0, 1, 2, 3], true), (vec![0, 1, 1, 2], false), (vec![0, 2, 3, 4], false)] {
            for batch in [1, 3] {
                let script = Script(tags.clone(), payload.clone());
                let mut received = Received::new(true);
                let pace = crate::transport::Tight;
                let outcome = consume_in_order(script, &payload, &mut received, 4, batch, pace);
                assert_eq!(outcome.is_ok(), good, "{tags:?} in batches of {batch}");
            }
        }
    }
}
