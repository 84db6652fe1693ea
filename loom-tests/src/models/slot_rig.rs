//! A slot ring for the models: two slots with one payload cell (or word) each, and participants of
//! both sides.

use std::rc::Rc;

use railbus_ring::members::fence::{self, Fenced, Stores};
use railbus_ring::members::gates::NO_GATE;
use railbus_ring::members::peers::Peers;
use railbus_ring::members::registry::{self, Locks, Registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::job::Now;
use railbus_ring::slots::key_order::KeyOrder;
use railbus_ring::slots::orphan::Sweeper;
use railbus_ring::slots::producer::SlotProducer;
use railbus_ring::slots::reader::{SlotPoll, SlotReader};
use railbus_ring::slots::redo::{Backoff, DELAY_NS_MAX};
use railbus_ring::slots::view::SlotView;
use railbus_ring::slots::word::Slots;
use railbus_ring::slots::worker::{SlotWorker, Taken};
use railbus_ring::{frame, layout};

use crate::loom_memory::{Actor, LoomMemory, LoomPeers, Weak, Words};

/// Slots of the ring.
pub const SLOTS: u64 = 2;
const SLOT_BYTES: u64 = 32;

/// The state word of an entry that is in use.
pub const ACTIVE: u64 = 0x102;

/// The parameters of the models.
#[derive(Clone, Copy, Default)]
pub struct Shape {
    /// The weakened end.
    pub weak: Weak,
    /// Producers' entries.
    pub producers: usize,
    /// Consumers' entries.
    pub consumers: usize,
    /// Consumers that gate, from the last entry down: their cursors are shared words.
    pub gates: usize,
    /// Whether participants register in this model. Otherwise every entry is always in use.
    pub registry: bool,
    /// Whether the payload is atomic words, for lossy readers, instead of cells.
    pub payload_words: bool,
    /// Whether the payload is a key word followed by a cell.
    pub keyed: bool,
    /// Whether workers store done words by compare-and-swap.
    pub swap: bool,
    /// Whether the worker in entry 0 is evicted in this model.
    pub evicts: bool,
}

impl Shape {
    /// How workers store done words.
    pub fn stores(self) -> Stores {
        if self.swap { Stores::Swap } else { Stores::Restart { area: 0 } }
    }
}

/// A registry that nobody has used yet.
pub fn registry_words(words: Words, high: usize, entries: usize) -> Words {
    (0..entries).fold(words.shared(high, 0), |words, i| {
        let entry = layout::entry(i);
        let shared = [
            (layout::CLAIM, 0),
            (layout::CURSOR, NO_GATE),
            (layout::STATE, 0),
            (layout::POLICY, 0),
            (layout::JOINED, 0),
            (layout::BEHIND, 0),
            (layout::FENCE, 0),
            (layout::NAME, 0),
        ];
        let words = shared.into_iter().fold(words, |words, (at, value)| words.shared(entry + at, value));
        let silent = [
            layout::EVENTS,
            layout::LOST_OR_DROPPED,
            layout::FULL,
            layout::BYTES,
            layout::WAIT_SINCE_NS,
            layout::IN_HAND,
            layout::LENT_FROM,
            layout::LENT_TO,
            layout::PID,
            layout::START_TIME,
            layout::ATTACHED_NS,
            layout::SEEN_NS,
        ];
        let words = silent.into_iter().fold(words, |words, at| words.silent(entry + at));
        (1..8).fold(words, |words, i| words.silent(entry + layout::NAME + i * 8))
    })
}

/// Locks of a registry in which nobody registers.
struct NoLocks;

impl Locks for NoLocks {
    fn try_janitor(&self, _: usize) -> bool {
        true
    }

    fn release_janitor(&self, _: usize) {}

    fn try_life(&self, _: usize) -> bool {
        unreachable!("nobody registers")
    }

    fn is_life_held(&self, _: usize) -> bool {
        true
    }
}

/// The files of a slot ring.
#[derive(Clone)]
pub struct SlotRig {
    /// `.ring` without its data.
    pub ring: Rc<Words>,
    /// `.acks` without its done words.
    pub acks: Rc<Words>,
    /// Slots.
    pub data: Rc<Words>,
    /// Done words.
    pub done: Rc<Words>,
    shape: Shape,
}

impl SlotRig {
    /// Makes the files; with `queue` also the words that only queues have.
    pub fn new(shape: Shape, queue: bool) -> SlotRig {
        let weak = shape.weak;
        let parking = [layout::EVENTS_WAKE, layout::READERS_WAKE, layout::PRODUCERS_PARKED];
        let ring = parking.into_iter().fold(Words::new(weak), |ring, at| ring.shared(at, 0));
        let ring = ring.shared(layout::TAIL, 0).with(|ring| match shape.registry {
            true => registry_words(ring, layout::PRODUCERS_HIGH, shape.producers),
            false => {
                let ring = ring.fixed(layout::PRODUCERS_HIGH, shape.producers as u64);
                (0..shape.producers).fold(ring, |ring, i| ring.shared(layout::entry(i) + layout::CLAIM, 0))
            }
        });
        // The word of a lossy reader, where no consumer is modelled.
        let parking = [layout::SPACE_WAKE, layout::CONSUMERS_PARKED, layout::READERS_PARKED];
        let acks = parking
            .into_iter()
            .fold(Words::new(weak), |acks, at| acks.shared(at, 0))
            .silent(layout::entry(0) + layout::JOINED)
            .with(|acks| match shape.evicts && queue {
                true => acks.shared(layout::LENT_CHANGES, 0),
                false => acks.fixed(layout::LENT_CHANGES, 0),
            })
            .with(|acks| if queue { acks.shared(layout::HEAD, 0).shared(layout::REDO_ROOT, 0) } else { acks })
            .with(|acks| {
                if shape.registry {
                    return registry_words(acks, layout::CONSUMERS_HIGH, shape.consumers);
                }
                let acks = acks.fixed(layout::CONSUMERS_HIGH, shape.consumers as u64);
                (0..shape.consumers).fold(acks, |acks, i| {
                    let entry = layout::entry(i);
                    let acks =
                        acks.silent(entry + layout::JOINED).with(|acks| match shape.evicts && i == 0 {
                            true => {
                                acks.shared(entry + layout::LENT_FROM, 0).shared(entry + layout::LENT_TO, 0)
                            }
                            false => acks.silent(entry + layout::LENT_FROM).silent(entry + layout::LENT_TO),
                        });
                    let acks = match shape.evicts && i == 0 {
                        true => acks
                            .shared(entry + layout::STATE, ACTIVE)
                            .shared(entry + layout::FENCE, shape.stores().open()),
                        false => acks
                            .fixed(entry + layout::STATE, ACTIVE)
                            .fixed(entry + layout::FENCE, shape.stores().open()),
                    };
                    let acks = acks.fixed(entry + layout::POLICY, registry::ROLE_TAP);
                    if i >= shape.consumers - shape.gates {
                        acks.fixed(entry + layout::CLAIM, 0).shared(entry + layout::CURSOR, NO_GATE)
                    } else {
                        acks.shared(entry + layout::CLAIM, 0).fixed(entry + layout::CURSOR, NO_GATE)
                    }
                })
            });
        let data = (0..SLOTS as usize).fold(Words::new(weak), |data, i| {
            let at = i * SLOT_BYTES as usize;
            let data = data.shared(at + layout::SLOT_SEQ, 0).shared(at + layout::SLOT_META, 0);
            match shape.payload_words {
                true => data.shared(at + layout::SLOT_BODY, 0).shared(at + layout::SLOT_BODY + 8, 0),
                false if shape.keyed => {
                    data.shared(at + layout::SLOT_BODY, 0).cell(at + layout::SLOT_BODY + 8)
                }
                false => data.cell(at + layout::SLOT_BODY),
            }
        });
        // The done words, then the leaves of the index of waiting events; its root is in `.acks`.
        let done = (0..2 * SLOTS as usize).fold(Words::new(weak), |done, i| done.shared(i * 8, 0));
        SlotRig { ring: ring.share(), acks: acks.share(), data: data.share(), done: done.share(), shape }
    }

    /// How workers store done words.
    pub fn stores(&self) -> Stores {
        self.shape.stores()
    }

    /// Geometry.
    pub fn slots(&self) -> Slots {
        Slots::new(SLOTS, SLOT_BYTES)
    }

    /// The memory of a producer.
    fn producers_view(&self, actor: &Rc<Actor>) -> SlotView<LoomMemory> {
        SlotView {
            ring: LoomMemory::writable(&self.ring, actor),
            acks: LoomMemory::read_only(&self.acks, actor),
            data: LoomMemory::writable(&self.data, actor),
            done: LoomMemory::read_only(&self.done, actor),
            slots: self.slots(),
            producers: self.shape.producers,
            consumers: self.shape.consumers,
        }
    }

    /// The memory of a reader or worker.
    fn consumers_view(&self, actor: &Rc<Actor>) -> SlotView<LoomMemory> {
        SlotView {
            ring: LoomMemory::read_only(&self.ring, actor),
            acks: LoomMemory::writable(&self.acks, actor),
            data: LoomMemory::read_only(&self.data, actor),
            done: LoomMemory::writable(&self.done, actor),
            slots: self.slots(),
            producers: self.shape.producers,
            consumers: self.shape.consumers,
        }
    }

    /// The producer in entry `index`.
    pub fn producer<const TOPIC: bool>(&self, index: usize, actor: &Rc<Actor>) -> RigProducer<TOPIC> {
        let view = self.producers_view(actor);
        let data = view.data.clone();
        RigProducer { inner: SlotProducer::new(view, index), data, payload_words: self.shape.payload_words }
    }

    /// The worker in entry `index`.
    pub fn worker(&self, index: usize, actor: &Rc<Actor>) -> RigWorker {
        let view = self.consumers_view(actor);
        let data = view.data.clone();
        RigWorker {
            inner: SlotWorker::new(view, index).with(self.shape.stores()),
            acks: LoomMemory::read_only(&self.acks, actor),
            data,
        }
    }

    /// The reader in entry `index`.
    pub fn reader(&self, index: usize, actor: &Rc<Actor>) -> RigReader {
        let view = self.consumers_view(actor);
        let data = view.data.clone();
        RigReader {
            inner: SlotReader::new(view, index),
            acks: LoomMemory::read_only(&self.acks, actor),
            index,
            data,
        }
    }

    /// Evicts the reader in entry 0.
    pub fn evict_reader(&self) {
        let acks = LoomMemory::writable(&self.acks, &Actor::immortal());
        let registry = Registry::new(acks, self.shape.consumers, layout::CONSUMERS_HIGH);
        assert!(registry.evict(&NoLocks, 0, ACTIVE));
    }

    /// Evicts the worker in entry 0, whose actor is `victim`.
    pub fn evict(&self, actor: &Rc<Actor>, victim: &Rc<Actor>) {
        let acks = LoomMemory::writable(&self.acks, actor);
        let registry = Registry::new(acks.clone(), self.shape.consumers, layout::CONSUMERS_HIGH);
        let quiesce = || {
            victim.quiesce();
            Ok::<(), std::convert::Infallible>(())
        };
        let note_lent = || {
            // The closing of the fence before this is a full barrier on x86-64; elsewhere the
            // quiescence is one.
            acks.fence(Edge::Lent);
            self.with_sweeper(actor, |sweeper| sweeper.note_lent(0));
        };
        let sweep = || self.sweep(actor, &LoomPeers::default(), Some(0));
        let fenced = fence::evict(&registry, &NoLocks, &acks, 0, ACTIVE, quiesce, (note_lent, sweep));
        assert_eq!(fenced, Ok(Fenced::Settled));
    }

    /// The worker in entry 0, which was evicted, leaves: it checks nothing any more.
    pub fn leave_evicted(&self, actor: &Rc<Actor>) {
        let acks = LoomMemory::writable(&self.acks, actor);
        acks.store(layout::entry(0) + layout::LENT_TO, 0, Edge::Cursor);
    }

    /// Whether the worker in entry 0 was evicted, and something that it held may be left.
    pub fn is_closed(&self, actor: &Rc<Actor>) -> bool {
        fence::kind(fence::of(&LoomMemory::read_only(&self.acks, actor), 0)) == fence::CLOSED
    }

    /// Sweeps as `actor`. Returns whether nothing of the worker in entry `dead` is left.
    pub fn sweep<P: Peers>(&self, actor: &Rc<Actor>, peers: &P, dead: Option<usize>) -> bool {
        self.with_sweeper(actor, |sweeper| sweeper.sweep(peers, dead).unsettled == 0)
    }

    fn with_sweeper<T>(&self, actor: &Rc<Actor>, then: impl FnOnce(Sweeper<'_, LoomMemory>) -> T) -> T {
        then(Sweeper { view: &self.consumers_view(actor), now: Now::default(), backoff: Backoff::of(0) })
    }
}

/// A producer that writes payloads.
pub struct RigProducer<const TOPIC: bool> {
    /// The protocol's producer.
    pub inner: SlotProducer<LoomMemory, TOPIC>,
    data: LoomMemory,
    payload_words: bool,
}

impl<const TOPIC: bool> RigProducer<TOPIC> {
    /// Writes and publishes ticket `t`.
    pub fn fill(&mut self, t: u64, value: u64) {
        let at = self.inner.body_offset(t);
        if self.payload_words {
            self.data.store(at, value, Edge::Plain);
            self.data.store(at + 8, value, Edge::Plain);
            self.inner.publish(t, frame::header(16, value as u16, 0));
        } else {
            self.data.write_cell(at, value);
            self.inner.publish(t, frame::header(8, value as u16, 0));
        }
    }

    /// Writes and publishes ticket `t` with a key.
    pub fn fill_keyed(&mut self, t: u64, key: u64, value: u64) {
        let at = self.inner.body_offset(t);
        self.data.store(at, key, Edge::Plain);
        self.data.write_cell(at + 8, value);
        self.inner.publish(t, frame::header(16, value as u16, frame::KEYED));
    }

    /// One attempt to push an event with a key. Returns the ticket.
    pub fn push_keyed(&mut self, key: u64, value: u64) -> Option<u64> {
        let t = self.inner.claim(1).ok()?.first;
        self.fill_keyed(t, key, value);
        Some(t)
    }

    /// Writes ticket `t`'s payload without publishing it.
    pub fn write_only(&mut self, t: u64, value: u64) {
        self.data.write_cell(self.inner.body_offset(t), value);
    }

    /// One attempt to push. Returns the ticket.
    pub fn push(&mut self, value: u64) -> Option<u64> {
        // The fast path first, as the handles do.
        let t = match self.inner.claim_fast() {
            Some(t) => t,
            None => self.inner.claim(1).ok()?.first,
        };
        self.fill(t, value);
        Some(t)
    }
}

/// A time at which every event that was handed back may be taken.
pub fn later() -> u64 {
    DELAY_NS_MAX
}

/// A worker that reads payloads.
pub struct RigWorker {
    /// The protocol's worker.
    pub inner: SlotWorker<LoomMemory>,
    acks: LoomMemory,
    data: LoomMemory,
}

impl RigWorker {
    /// One attempt to take, up to `most` at once. Returns ticket and payload.
    pub fn take(&mut self, most: u32) -> Option<(u64, u64)> {
        // The fast path first, as the handles do; batches only without it.
        let easy = if most == 1 { self.inner.take_fast(1) } else { None };
        let ticket = match easy {
            Some(ticket) => ticket,
            None => self.inner.take(most, later)?.ticket,
        };
        Some((ticket, self.read(ticket)))
    }

    /// Finishes a ticket, on the fast path first.
    pub fn done(&mut self, ticket: u64) -> bool {
        self.inner.done(ticket)
    }

    /// One attempt to take in the order of keys. Returns the taken event and the payload.
    pub fn take_in_order(&mut self, order: &mut KeyOrder, most: u32) -> Option<(Taken, u64)> {
        let taken = self.inner.take_in_order(order, most, later)?;
        Some((taken, self.read_keyed(taken.ticket)))
    }

    /// The payload of a held ticket that has a key.
    pub fn read_keyed(&self, ticket: u64) -> u64 {
        let value = self.data.read_cell(self.inner.body_offset(ticket) + 8);
        assert_eq!(frame::type_id(self.inner.header(ticket)), value as u16);
        value
    }

    /// Whether another worker announced an event for redelivery.
    pub fn hint_moved(&self) -> bool {
        self.acks.load(layout::REDO_ROOT, Edge::Index) != 0
    }

    /// Replaces the barrier between winning a ticket and a check of the fence: the swap that wins
    /// it, on x86-64, or the loss of the processor that its evictor waits for.
    pub fn barrier(&self) {
        self.acks.fence(Edge::Lent);
    }

    /// The payload of a ticket that was handed out, and that may belong to another worker already.
    pub fn read_lent(&self, ticket: u64) -> u64 {
        self.data.read_cell(self.inner.body_offset(ticket))
    }

    /// The payload of a held ticket.
    pub fn read(&self, ticket: u64) -> u64 {
        let value = self.data.read_cell(self.inner.body_offset(ticket));
        assert_eq!(frame::type_id(self.inner.header(ticket)), value as u16);
        value
    }
}

/// A reader that reads payloads.
pub struct RigReader {
    /// The protocol's reader.
    pub inner: SlotReader<LoomMemory>,
    acks: LoomMemory,
    index: usize,
    data: LoomMemory,
}

impl RigReader {
    /// Whether it was not evicted, as far as it can see.
    pub fn is_registered(&self) -> bool {
        self.acks.load(layout::entry(self.index) + layout::STATE, Edge::Plain) == ACTIVE
    }

    /// The payload of a ticket that it looks at.
    pub fn read(&self, ticket: u64) -> u64 {
        self.data.read_cell(self.inner.body_offset(ticket))
    }

    /// One attempt to read in place.
    pub fn poll(&mut self) -> Option<(u64, u64)> {
        // The fast path first, as the handles do.
        let found = match self.inner.poll_fast() {
            Some((t, header)) => SlotPoll::Event(t, header),
            None => self.inner.poll(|| ()),
        };
        match found {
            SlotPoll::Event(t, header) => {
                let value = self.data.read_cell(self.inner.body_offset(t));
                assert_eq!(frame::type_id(header), value as u16);
                Some((t, value))
            }
            SlotPoll::Empty => {
                let _ = self.inner.acknowledge();
                None
            }
            other => panic!("{other:?}"),
        }
    }
}
