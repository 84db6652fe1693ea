//! railbus: streams, topics and queues.

use std::path::Path;

use railbus::{
    Bus, ChannelOptions, Kind, Producer, Publisher, SendOptions, SubscribeOptions, Subscriber,
    TopicPublisher, TopicSubscriber, Wait, WorkOptions, Worker,
};

use crate::rival::{Result, Rival, Rx, Tx, slots};

/// A kind of channel.
pub struct Railbus<K> {
    bus: Bus,
    kind: std::marker::PhantomData<fn() -> K>,
}

/// Makes the ends of one kind.
pub trait Ends {
    /// The kind.
    const KIND: Kind;
    /// The sending end.
    type Tx: Tx;
    /// The receiving end.
    type Rx: Rx;
    /// Opens a sending end.
    fn tx(channel: &railbus::Channel) -> Result<Self::Tx>;
    /// Opens a receiving end.
    fn rx(channel: &railbus::Channel) -> Result<Self::Rx>;
}

/// A stream.
pub struct Stream;
/// A topic.
pub struct Topic;
/// A queue.
pub struct Queue;

impl<K: Ends, const BYTES: usize> Rival<BYTES> for Railbus<K> {
    type Tx = K::Tx;
    type Rx = K::Rx;

    fn prepare(place: &Path, lanes: usize, _readers: usize) -> Result<Railbus<K>> {
        let bus = Bus::at(place, "rivals")?;
        for lane in 0..lanes {
            let slots = (slots(BYTES) as u64).next_power_of_two();
            let options = match K::KIND {
                Kind::Stream => ChannelOptions::new(K::KIND)
                    .capacity_bytes((slots * (BYTES as u64 + 8)).next_power_of_two().max(256 << 10)),
                _ => ChannelOptions::new(K::KIND)
                    .slots(slots)
                    .slot_bytes((BYTES as u64 + 16).next_power_of_two().max(64) as _),
            };
            bus.create(&format!("lane{lane}"), &options)?;
        }
        Ok(Railbus { bus, kind: std::marker::PhantomData })
    }

    fn tx(&self, lane: usize) -> Result<K::Tx> {
        K::tx(&self.bus.attach(&format!("lane{lane}"))?)
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<K::Rx> {
        K::rx(&self.bus.attach(&format!("lane{lane}"))?)
    }
}

/// Spins, as the other rivals that poll.
fn spinning() -> SubscribeOptions {
    SubscribeOptions::default().wait(Wait::Spin)
}

impl Ends for Stream {
    const KIND: Kind = Kind::Stream;
    type Tx = Publisher;
    type Rx = Subscriber;

    fn tx(channel: &railbus::Channel) -> Result<Publisher> {
        Ok(channel.publisher(&SendOptions::default())?)
    }

    fn rx(channel: &railbus::Channel) -> Result<Subscriber> {
        Ok(channel.subscriber(&spinning())?)
    }
}

impl Ends for Topic {
    const KIND: Kind = Kind::Topic;
    type Tx = TopicPublisher;
    type Rx = TopicSubscriber;

    fn tx(channel: &railbus::Channel) -> Result<TopicPublisher> {
        Ok(channel.topic_publisher(&SendOptions::default())?)
    }

    fn rx(channel: &railbus::Channel) -> Result<TopicSubscriber> {
        Ok(channel.topic_subscriber(&spinning())?)
    }
}

impl Ends for Queue {
    const KIND: Kind = Kind::Queue;
    type Tx = Producer;
    type Rx = Worker;

    fn tx(channel: &railbus::Channel) -> Result<Producer> {
        Ok(channel.producer(&SendOptions::default())?)
    }

    fn rx(channel: &railbus::Channel) -> Result<Worker> {
        Ok(channel.worker(&WorkOptions::default().wait(Wait::Spin).grab(16))?)
    }
}

impl<R: railbus::PublishEnd> Tx for railbus::Sender<R> {
    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        match self.try_publish(payload) {
            Ok(_) => Ok(true),
            Err(railbus::SendError::Full) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl<R: railbus::ReadEnd> Rx for railbus::Reader<R> {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        match self.try_recv() {
            Ok(Some(event)) => {
                each(&event);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Rx for Worker {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        match self.try_take()? {
            Some(job) => {
                each(&job);
                if !job.done() {
                    return Err("the worker was evicted".into());
                }
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
