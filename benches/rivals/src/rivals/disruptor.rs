//! disruptor: the LMAX ring between threads, with pollers of our own.

use std::path::Path;
use std::sync::Mutex;

use disruptor::{
    BusySpin, EventPoller, MultiConsumerBarrier, Polling, Producer, SingleConsumerBarrier, SingleProducer,
    SingleProducerBarrier, build_single_producer,
};

use crate::rival::{Payload, Result, Rival, Rx, Tx, slots};

type Event<const BYTES: usize> = Payload<BYTES>;
type Poller<const BYTES: usize> = EventPoller<Event<BYTES>, SingleProducerBarrier>;

/// A producer, whose type depends on the number of readers.
pub enum Publisher<const BYTES: usize> {
    /// For one reader.
    One(SingleProducer<Event<BYTES>, SingleConsumerBarrier>),
    /// For several.
    Several(SingleProducer<Event<BYTES>, MultiConsumerBarrier>),
}

struct Lane<const BYTES: usize> {
    publisher: Option<Publisher<BYTES>>,
    pollers: Vec<Option<Poller<BYTES>>>,
}

/// Rings of values.
pub struct Disruptor<const BYTES: usize> {
    lanes: Vec<Mutex<Lane<BYTES>>>,
}

impl<const BYTES: usize> Rival<BYTES> for Disruptor<BYTES> {
    type Tx = Publisher<BYTES>;
    type Rx = Poller<BYTES>;

    fn prepare(_place: &Path, lanes: usize, readers: usize) -> Result<Self> {
        let size = slots(BYTES).next_power_of_two();
        let lane = || {
            let builder = build_single_producer(size, || Payload([0; BYTES]), BusySpin);
            let (first, builder) = builder.new_event_poller();
            if readers == 1 {
                return Lane { publisher: Some(Publisher::One(builder.build())), pollers: vec![Some(first)] };
            }
            let (second, builder) = builder.new_event_poller();
            let (third, builder) = builder.new_event_poller();
            let publisher = Some(Publisher::Several(builder.build()));
            Lane { publisher, pollers: vec![Some(first), Some(second), Some(third)] }
        };
        Ok(Disruptor { lanes: (0..lanes).map(|_| Mutex::new(lane())).collect() })
    }

    fn tx(&self, lane: usize) -> Result<Self::Tx> {
        self.lanes[lane].lock().expect("no panic").publisher.take().ok_or_else(|| "taken".into())
    }

    fn rx(&self, lane: usize, reader: usize) -> Result<Self::Rx> {
        self.lanes[lane].lock().expect("no panic").pollers[reader].take().ok_or_else(|| "taken".into())
    }
}

impl<const BYTES: usize> Tx for Publisher<BYTES> {
    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        let update = |event: &mut Event<BYTES>| event.0.copy_from_slice(payload);
        Ok(match self {
            Publisher::One(producer) => producer.try_publish(update).is_ok(),
            Publisher::Several(producer) => producer.try_publish(update).is_ok(),
        })
    }
}

impl<const BYTES: usize> Rx for Poller<BYTES> {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        match EventPoller::poll(self) {
            Ok(mut events) => {
                for event in &mut events {
                    each(&event.0);
                }
                Ok(true)
            }
            Err(Polling::NoEvents) => Ok(false),
            Err(Polling::Shutdown) => Err("the ring was shut down".into()),
        }
    }
}
