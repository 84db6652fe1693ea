//! The three kinds of channel as [`Transport`]s: the measurements use the public interface that
//! applications use.
//!
//! ```text
//! kind    sending end      receiving end
//! stream  Publisher        Subscriber
//! queue   Producer         Worker: take, read, done
//! topic   TopicPublisher   TopicSubscriber
//! ```
//! A type ([`Way`]) says how an event gets into the ring, and who waits, so each combination is
//! compiled into loops of its own. By default an event lies in the sender's memory, its number is
//! changed, and `publish` copies it into the ring. The handles wait by themselves (`publish`,
//! `recv`, `take`).

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use railbus::{
    Bus, Channel, Error, PublishEnd, ReadEnd, Reader, RecvError, Result, SendError, SendOptions,
    SlotPublishEnd, SlotReadEnd, StreamPublishEnd, StreamReadEnd, SubscribeOptions, Wait, WorkOptions,
    Worker,
};

use super::args::{HandOver, Kind, WaitKind};
use super::payload::Payload;
use super::plan::Plan;
use super::transport::{Attempted, Lane, Receiver, Sender, Site, Transport};

/// The most events of one batch that a worker takes from the ring.
const GRAB_MAX: usize = 64;

/// How events get into the ring, and who waits.
pub trait Way {
    /// Whether the handles wait (`publish`, `recv`, `take`); otherwise they are polled
    /// (`try_publish` ...).
    const WAITS: bool;
    /// How an event gets into the ring.
    const HAND_OVER: HandOver;
}

/// An action with the transport that a plan names.
pub trait Visitor {
    /// The result.
    type Output;
    /// Does the action.
    fn visit<T: Transport>(self) -> Self::Output;
}

/// Calls the visitor with the transport for a kind that is a ring. `None` for the limit, which is
/// no ring.
pub fn visit<V: Visitor>(plan: &Plan, visitor: V) -> Option<V::Output> {
    match plan.kind {
        Kind::Stream => Some(visit_kind::<Stream, V>(plan, visitor)),
        Kind::Queue => Some(visit_kind::<Queue, V>(plan, visitor)),
        Kind::Topic => Some(visit_kind::<Topic, V>(plan, visitor)),
        Kind::Limit => None,
    }
}

fn visit_kind<K: RingKind, V: Visitor>(plan: &Plan, visitor: V) -> V::Output {
    match (plan.hand_over, plan.wait) {
        (HandOver::Copy, WaitKind::Poll) => visitor.visit::<Ring<K, PolledCopy>>(),
        (HandOver::Copy, _) => visitor.visit::<Ring<K, Copy>>(),
        (HandOver::Claim, _) => visitor.visit::<Ring<K, Claim>>(),
        (HandOver::Pod, _) => visitor.visit::<Ring<K, Pod>>(),
    }
}

macro_rules! ways {
    ($($(#[doc = $about:literal])+ $name:ident: $waits:literal, $hand_over:ident;)+) => {
        $($(#[doc = $about])+
        pub struct $name;

        impl Way for $name {
            const WAITS: bool = $waits;
            const HAND_OVER: HandOver = HandOver::$hand_over;
        })+
    };
}

ways! {
    /// `publish(&[u8])`; the handles wait.
    Copy: true, Copy;
    /// `try_publish(&[u8])`; the loop polls.
    PolledCopy: false, Copy;
    /// `claim`, written in place, `commit`.
    Claim: true, Claim;
    /// `publish_pod` of a type whose size the compiler knows.
    Pod: true, Pod;
}

/// A kind of ring.
pub trait RingKind {
    /// Its sending end.
    type PublishEnd: PublishEnd;
    /// Its receiving end.
    type Receiver<W: Way>: Receiver;
    /// Attaches a sending end.
    fn sender(channel: &Channel, options: &SendOptions) -> Result<railbus::Sender<Self::PublishEnd>>;
    /// Attaches a receiving end.
    fn receiver<W: Way>(channel: &Channel, plan: &Plan) -> Result<Self::Receiver<W>>;
}

/// `--kind stream`
pub struct Stream;
/// `--kind queue`
pub struct Queue;
/// `--kind topic`
pub struct Topic;

impl RingKind for Stream {
    type PublishEnd = StreamPublishEnd;
    type Receiver<W: Way> = ReaderEnd<StreamReadEnd, W>;

    fn sender(channel: &Channel, options: &SendOptions) -> Result<railbus::Publisher> {
        channel.publisher(options)
    }

    fn receiver<W: Way>(channel: &Channel, plan: &Plan) -> Result<Self::Receiver<W>> {
        Ok(ReaderEnd { reader: channel.subscriber(&subscribing(plan))?, way: PhantomData })
    }
}

impl RingKind for Topic {
    type PublishEnd = SlotPublishEnd<true>;
    type Receiver<W: Way> = ReaderEnd<SlotReadEnd, W>;

    fn sender(channel: &Channel, options: &SendOptions) -> Result<railbus::TopicPublisher> {
        channel.topic_publisher(options)
    }

    fn receiver<W: Way>(channel: &Channel, plan: &Plan) -> Result<Self::Receiver<W>> {
        Ok(ReaderEnd { reader: channel.topic_subscriber(&subscribing(plan))?, way: PhantomData })
    }
}

impl RingKind for Queue {
    type PublishEnd = SlotPublishEnd<false>;
    type Receiver<W: Way> = WorkerEnd<W>;

    fn sender(channel: &Channel, options: &SendOptions) -> Result<railbus::Producer> {
        channel.producer(options)
    }

    fn receiver<W: Way>(channel: &Channel, plan: &Plan) -> Result<Self::Receiver<W>> {
        // With one event at a time, the handle chooses.
        let grab = if plan.batch == 1 { 0 } else { plan.batch.min(GRAB_MAX) as u32 };
        let options = WorkOptions::default().wait(waiting(plan)).grab(grab);
        Ok(WorkerEnd { worker: channel.worker(&options)?, alone: plan.consumers == 1, way: PhantomData })
    }
}

/// How the handles of a plan wait.
pub fn waiting(plan: &Plan) -> Wait {
    match plan.wait {
        // Processes that share a core give it to the other.
        WaitKind::Spin | WaitKind::Poll if plan.yields => Wait::Yield { spin: Duration::ZERO },
        WaitKind::Spin | WaitKind::Poll => Wait::Spin,
        WaitKind::Yield => Wait::Yield { spin: Duration::ZERO },
        WaitKind::Park => Wait::Park { spin: Duration::ZERO },
    }
}

fn subscribing(plan: &Plan) -> SubscribeOptions {
    SubscribeOptions::default().wait(waiting(plan))
}

/// Opens one of the channels of a run. `stage` is the path of their bus.
pub fn open(stage: &str, lane: Lane) -> Result<Channel> {
    let path = Path::new(stage);
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(base), Some(name)) => Bus::at(base, name)?.attach(lane.channel()),
        _ => Err(Error::invalid(format!("bus {stage:?}"), "expected the path of a directory")),
    }
}

/// A kind of ring, used in some way.
pub struct Ring<K, W>(PhantomData<(K, W)>);

impl<K: RingKind, W: Way> Transport for Ring<K, W> {
    type Sender = SenderEnd<K::PublishEnd, W>;
    type Receiver = K::Receiver<W>;

    fn sender(site: Site<'_>, lane: Lane) -> Result<Self::Sender> {
        let plan = site.plan;
        let options = SendOptions::default().wait(waiting(plan));
        let sender = K::sender(&open(&plan.channel, lane)?, &options)?;
        let payload = Payload::new(plan.payload_bytes);
        let events = match W::HAND_OVER {
            HandOver::Copy => plan.batch,
            HandOver::Claim | HandOver::Pod => 1,
        };
        let batch = vec![payload.event(); events];
        Ok(SenderEnd { sender, event: payload.event(), batch, way: PhantomData })
    }

    fn receiver(site: Site<'_>, lane: Lane) -> Result<Self::Receiver> {
        K::receiver::<W>(&open(&site.plan.channel, lane)?, site.plan)
    }
}

/// A sending end.
pub struct SenderEnd<O: PublishEnd, W> {
    sender: railbus::Sender<O>,
    /// The application's own event, changed before each `publish`.
    event: Box<[u8]>,
    /// The application's own events, for batches.
    batch: Vec<Box<[u8]>>,
    way: PhantomData<W>,
}

impl<O: PublishEnd, W: Way> SenderEnd<O, W> {
    #[inline(always)]
    fn publish(&mut self) -> std::result::Result<u64, SendError> {
        if W::WAITS { self.sender.publish(&self.event) } else { self.sender.try_publish(&self.event) }
    }

    /// Publishes the event as a type of `BYTES` bytes.
    #[inline(always)]
    fn publish_pod<const BYTES: usize>(&mut self) -> std::result::Result<u64, SendError> {
        match self.event.first_chunk::<BYTES>() {
            Some(value) if W::WAITS => self.sender.publish(value),
            Some(value) => self.sender.try_publish(value),
            None => self.publish(),
        }
    }

    #[inline(always)]
    fn publish_sized(&mut self) -> std::result::Result<u64, SendError> {
        match self.event.len() {
            8 => self.publish_pod::<8>(),
            16 => self.publish_pod::<16>(),
            32 => self.publish_pod::<32>(),
            48 => self.publish_pod::<48>(),
            56 => self.publish_pod::<56>(),
            64 => self.publish_pod::<64>(),
            128 => self.publish_pod::<128>(),
            256 => self.publish_pod::<256>(),
            _ => self.publish(),
        }
    }

    #[inline(always)]
    fn publish_claim(&mut self, payload: &Payload, tag: u64) -> std::result::Result<u64, SendError> {
        let bytes = payload.bytes();
        let mut claim = if W::WAITS { self.sender.claim(bytes)? } else { self.sender.try_claim(bytes)? };
        payload.write(&mut claim, tag);
        Ok(claim.commit())
    }
}

impl<O: PublishEnd, W: Way> Sender for SenderEnd<O, W> {
    #[inline(always)]
    fn send(&mut self, payload: &Payload, tag: u64) -> Attempted<bool> {
        let sent = match W::HAND_OVER {
            HandOver::Claim => self.publish_claim(payload, tag),
            HandOver::Copy => {
                payload.stamp(&mut self.event, tag);
                self.publish()
            }
            HandOver::Pod => {
                payload.stamp(&mut self.event, tag);
                self.publish_sized()
            }
        };
        match sent {
            Ok(_) => Ok(true),
            Err(SendError::Full) => Ok(false),
            Err(error) => Err(send_failed(error)),
        }
    }

    #[inline(always)]
    fn send_batch(&mut self, payload: &Payload, first: u64, count: usize) -> Attempted<usize> {
        let count = count.min(self.batch.len());
        let events = &mut self.batch[..count];
        for (index, event) in events.iter_mut().enumerate() {
            payload.stamp(event, first + index as u64);
        }
        let sent = if W::WAITS {
            self.sender.publish_batch(events).map(|()| count).map_err(|failed| failed.error)
        } else {
            self.sender.try_publish_batch(events)
        };
        sent.map_err(send_failed)
    }
}

#[cold]
fn send_failed(error: SendError) -> Box<Error> {
    Box::new(Error::from(error))
}

#[cold]
fn receive_failed(error: RecvError) -> Box<Error> {
    Box::new(Error::from(error))
}

/// A receiving end that reads by cursor.
pub struct ReaderEnd<I: ReadEnd, W> {
    reader: Reader<I>,
    way: PhantomData<W>,
}

impl<I: ReadEnd, W: Way> Receiver for ReaderEnd<I, W> {
    #[inline(always)]
    fn receive(&mut self, read: impl FnOnce(&[u8])) -> Attempted<bool> {
        let received = if W::WAITS { self.reader.recv().map(Some) } else { self.reader.try_recv() };
        match received {
            Ok(Some(event)) => {
                read(&event);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(receive_failed(error)),
        }
    }

    #[inline(always)]
    fn receive_batch(&mut self, most: usize, mut read: impl FnMut(&[u8])) -> Attempted<usize> {
        let batch = self.reader.batch(most).map_err(receive_failed)?;
        batch.iter().for_each(|event| read(&event));
        let received = batch.len();
        drop(batch);
        if received == 0 && W::WAITS {
            return self.receive(read).map(usize::from);
        }
        Ok(received)
    }
}

/// A worker of a queue.
pub struct WorkerEnd<W> {
    worker: Worker,
    /// Whether every event comes to this worker. With others it must not wait: the last event may
    /// go to one of them.
    alone: bool,
    way: PhantomData<W>,
}

impl<W: Way> Receiver for WorkerEnd<W> {
    #[inline(always)]
    fn receive(&mut self, read: impl FnOnce(&[u8])) -> Attempted<bool> {
        // Each way has its own branch, so that the job stays in registers.
        if W::WAITS && self.alone {
            return match self.worker.take() {
                Ok(job) => Ok(handle(job, read)),
                Err(error) => Err(receive_failed(error)),
            };
        }
        match self.worker.try_take() {
            Ok(Some(job)) => Ok(handle(job, read)),
            Ok(None) => Ok(false),
            Err(error) => Err(receive_failed(error)),
        }
    }
}

#[inline(always)]
fn handle(job: railbus::Job<'_>, read: impl FnOnce(&[u8])) -> bool {
    read(&job);
    job.done()
}

impl Lane {
    /// The channel of this direction.
    pub fn channel(self) -> &'static str {
        match self {
            Lane::There => "there",
            Lane::Back => "back",
        }
    }
}
