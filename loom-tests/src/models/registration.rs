//! Models of registering, leaving, dying and entries that change hands, with the kernel's locks as
//! loom atomics.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use railbus_ring::layout;
use railbus_ring::members::fence::{self, Fenced};
use railbus_ring::members::join::StartAt;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::{self, Identity, Locks, Registered, Registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::producer::NoSlot;
use railbus_ring::slots::sequence::Sequences;

use super::slot_rig::{SLOTS, Shape, SlotRig, registry_words};
use crate::loom_memory::{Actor, LoomMemory, Weak, Words};

/// The byte locks of one side: 0 is free, else the holder's number plus one. Taking and dropping a
/// lock carry happens-before, as the kernel's do; a dead holder's lock is free.
struct LockTable {
    janitor: Vec<AtomicU64>,
    life: Vec<AtomicU64>,
    actors: Vec<Rc<Actor>>,
}

impl LockTable {
    fn new(entries: usize, actors: &[Rc<Actor>]) -> Rc<LockTable> {
        let bytes = || (0..entries).map(|_| AtomicU64::new(0)).collect();
        Rc::new(LockTable { janitor: bytes(), life: bytes(), actors: actors.to_vec() })
    }

    fn is_free(&self, holder: u64) -> bool {
        holder == 0 || self.actors[holder as usize - 1].is_dead()
    }

    fn take(&self, byte: &AtomicU64, me: usize) -> bool {
        let seen = byte.load(Ordering::Acquire);
        self.is_free(seen)
            && byte.compare_exchange(seen, me as u64 + 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn drop_life(&self, index: usize) {
        self.life[index].store(0, Ordering::Release);
    }
}

/// The locks as one actor requests them.
struct LoomLocks {
    table: Rc<LockTable>,
    me: usize,
}

impl Locks for LoomLocks {
    fn try_janitor(&self, index: usize) -> bool {
        self.table.take(&self.table.janitor[index], self.me)
    }

    fn release_janitor(&self, index: usize) {
        self.table.janitor[index].store(0, Ordering::Release);
    }

    fn try_life(&self, index: usize) -> bool {
        self.table.take(&self.table.life[index], self.me)
    }

    fn is_life_held(&self, index: usize) -> bool {
        let holder = self.table.life[index].load(Ordering::Acquire);
        holder != self.me as u64 + 1 && !self.table.is_free(holder)
    }
}

/// Proof of death through the life locks of one side.
struct LifePeers(Side, Rc<LockTable>);

impl Peers for LifePeers {
    fn is_dead(&self, side: Side, index: usize) -> bool {
        side == self.0 && self.1.is_free(self.1.life[index].load(Ordering::Acquire))
    }
}

/// One side's registry with its locks.
#[derive(Clone)]
struct Desk {
    rig: SlotRig,
    side: Side,
    entries: usize,
    locks: Rc<LockTable>,
}

impl Desk {
    fn registry(&self, actor: &Rc<Actor>) -> Registry<LoomMemory> {
        let (words, high) = match self.side {
            Side::Producers => (&self.rig.ring, layout::PRODUCERS_HIGH),
            Side::Consumers => (&self.rig.acks, layout::CONSUMERS_HIGH),
        };
        Registry::new(LoomMemory::writable(words, actor), self.entries, high)
    }

    fn register(&self, me: usize, policy: u64) -> Option<Registered> {
        let actor = &self.locks.actors[me];
        let locks = LoomLocks { table: self.locks.clone(), me };
        let mut name = [0; 8];
        name[0] = policy & registry::DURABLE;
        let is_worker = policy & 0xFF == registry::ROLE_WORKER;
        let fence = if is_worker { self.rig.stores().open() } else { fence::NONE };
        let identity = Identity { policy, name, fence, ..Identity::default() };
        self.registry(actor).register(&locks, &identity, |_| true).ok()
    }

    fn leave(&self, me: usize, registered: &Registered) {
        self.registry(&self.locks.actors[me]).leave(registered, false);
        self.locks.drop_life(registered.index);
    }

    fn peers(&self) -> LifePeers {
        LifePeers(self.side, self.locks.clone())
    }
}

fn actors(count: usize) -> Vec<Rc<Actor>> {
    (0..count).map(|_| Actor::immortal()).collect()
}

/// A producer publishes and leaves, another registers in its entry, while a worker looks for the
/// owner of the ticket: its event is not stepped over.
pub fn producers_change_hands(weak: Weak) {
    let shape = Shape { weak, producers: 1, consumers: 1, ..Shape::default() };
    let rig = SlotRig::new(Shape { registry: true, ..shape }, true);
    let desk =
        Desk { rig: rig.clone(), side: Side::Producers, entries: 1, locks: LockTable::new(1, &actors(2)) };
    let first = desk.register(0, registry::ROLE_PRODUCER).expect("the entry is free");
    let leaving = desk.clone();
    let one = thread::spawn(move || {
        let mut producer = leaving.rig.producer::<false>(0, &leaving.locks.actors[0]);
        assert!(producer.push(1).is_some());
        leaving.leave(0, &first);
    });
    let entering = desk.clone();
    let two = thread::spawn(move || {
        entering.register(1, registry::ROLE_PRODUCER);
    });
    let mut worker = rig.worker(0, &Actor::immortal());
    if let Some(t) = worker.inner.stuck_behind() {
        worker.inner.skip_orphan(t, &desk.peers());
    }
    one.join().unwrap();
    two.join().unwrap();
    assert_eq!(worker.take(1), Some((0, 1)), "the event was published");
}

/// A subscriber reads and leaves, another registers in its entry and gates nobody yet, while the
/// publisher laps. The publisher's store to the slot must come after the first subscriber's read.
pub fn readers_change_hands(weak: Weak) {
    let shape = Shape { weak, producers: 1, consumers: 1, ..Shape::default() };
    let mut rig = SlotRig::new(Shape { registry: true, ..shape }, false);
    // The publisher's side does not change owners here.
    rig.ring = SlotRig::new(shape, false).ring;
    let desk =
        Desk { rig: rig.clone(), side: Side::Consumers, entries: 1, locks: LockTable::new(1, &actors(2)) };
    let first = desk.register(0, registry::ROLE_SUBSCRIBER).expect("the entry is free");
    let mut reader = rig.reader(0, &desk.locks.actors[0]);
    reader.inner.join(StartAt::Live, false).expect("live");
    let mut publisher = rig.producer::<true>(0, &Actor::immortal());
    assert!(publisher.push(0).is_some() && publisher.push(1).is_some());
    let leaving = desk.clone();
    let one = thread::spawn(move || {
        assert_eq!(reader.poll(), Some((0, 0)));
        leaving.leave(0, &first);
    });
    let entering = desk.clone();
    let two = thread::spawn(move || {
        entering.register(1, registry::ROLE_SUBSCRIBER);
    });
    publisher.push(2);
    one.join().unwrap();
    two.join().unwrap();
    assert!(publisher.push(3).is_some(), "nobody gates");
}

/// A durable subscriber registers, joins and is killed at its k-th access. A publisher goes on
/// until it is gated and asks whether it may pass over the dead subscriber: never over a durable
/// cursor whose owner had finished its join. A successor that resumes misses nothing.
pub fn durable_subscriber_dies(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let shape = Shape { weak, producers: 1, consumers: 1, ..Shape::default() };
    let mut rig = SlotRig::new(Shape { registry: true, ..shape }, false);
    rig.ring = SlotRig::new(shape, false).ring;
    let dying = Actor::mortal(k, killed);
    let locks = LockTable::new(1, &[dying.clone(), Actor::immortal()]);
    let desk = Desk { rig: rig.clone(), side: Side::Consumers, entries: 1, locks };
    let policy = registry::ROLE_SUBSCRIBER | registry::DURABLE;
    let start = Rc::new(RefCell::new(None));
    let (entering, told, actor) = (desk.clone(), start.clone(), dying.clone());
    let one = thread::spawn(move || {
        actor.live(|| {
            entering.register(0, policy).expect("the entry is free");
            let mut reader = entering.rig.reader(0, &actor);
            reader.inner.join(StartAt::Live, false).expect("live");
            *told.borrow_mut() = Some(reader.inner.position());
        });
        actor.kill();
    });
    let mut publisher = rig.producer::<true>(0, &Actor::immortal());
    let peers = desk.peers();
    let mut pushed = 0;
    for _ in 0..4 {
        match publisher.inner.claim(1) {
            Ok(tickets) => {
                publisher.fill(tickets.first, pushed);
                pushed += 1;
            }
            Err(refused @ NoSlot::Gate(_)) => {
                if !publisher.inner.repair(refused, &peers) {
                    break;
                }
                assert!(start.borrow().is_none(), "a durable cursor was passed over");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    one.join().unwrap();
    let again = desk.register(1, policy).expect("the dead do not keep the name");
    let mut reader = rig.reader(0, &desk.locks.actors[1]);
    match again.resumed {
        Some(cursor) => reader.inner.resume(cursor),
        None => reader.inner.join(StartAt::Live, false).expect("live"),
    }
    if let Some(start) = *start.borrow() {
        assert_eq!(reader.inner.position(), start, "a durable cursor stays");
    }
    let seen: Vec<_> = std::iter::from_fn(|| reader.poll()).collect();
    assert!(seen.iter().all(|event| event.0 == event.1), "{seen:?}");
    assert_eq!(reader.inner.position(), pushed);
    let _ = reader.inner.acknowledge();
    for value in pushed..pushed + SLOTS {
        assert_eq!(publisher.push(value), Some(value), "everybody can go on");
    }
}

/// Three register for two entries, one of them killed at its k-th access: no two live ones share an
/// entry, and in the end there is room for all live ones.
pub fn registrants_race(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let shape = Shape { weak, producers: 2, consumers: 1, ..Shape::default() };
    let rig = SlotRig::new(Shape { registry: true, ..shape }, true);
    let dying = Actor::mortal(k, killed);
    let locks = LockTable::new(2, &[dying.clone(), Actor::immortal(), Actor::immortal()]);
    let desk = Desk { rig, side: Side::Producers, entries: 2, locks };
    let (entering, actor) = (desk.clone(), dying.clone());
    let one = thread::spawn(move || actor.live(|| entering.register(0, registry::ROLE_PRODUCER)).flatten());
    let second = desk.register(1, registry::ROLE_PRODUCER).expect("an entry is left for the second");
    let first = one.join().unwrap();
    if let Some(first) = first {
        assert_ne!(first.index, second.index);
        dying.live(|| desk.leave(0, &first));
    }
    let third = desk.register(2, registry::ROLE_PRODUCER).expect("the first is gone");
    assert_ne!(third.index, second.index);
    let registry = desk.registry(&desk.locks.actors[1]);
    assert!(registry.is_registered(&second) && registry.is_registered(&third));
}

/// A subscriber leaves while an operator evicts it and a janitor buries it: in the end the entry is
/// free for others and gates nobody.
pub fn leave_evict_bury(weak: Weak) {
    let shape = Shape { weak, producers: 1, consumers: 1, ..Shape::default() };
    let mut rig = SlotRig::new(Shape { registry: true, ..shape }, false);
    rig.ring = SlotRig::new(shape, false).ring;
    let locks = LockTable::new(1, &actors(4));
    let desk = Desk { rig: rig.clone(), side: Side::Consumers, entries: 1, locks };
    let first = desk.register(0, registry::ROLE_SUBSCRIBER).expect("the entry is free");
    let mut reader = rig.reader(0, &desk.locks.actors[0]);
    reader.inner.join(StartAt::Live, false).expect("live");
    let leaving = desk.clone();
    let one = thread::spawn(move || leaving.leave(0, &first));
    let evicting = desk.clone();
    let two = thread::spawn(move || {
        let locks = LoomLocks { table: evicting.locks.clone(), me: 1 };
        evicting.registry(&evicting.locks.actors[1]).evict(&locks, 0, first.state)
    });
    let locks = LoomLocks { table: desk.locks.clone(), me: 2 };
    desk.registry(&desk.locks.actors[2]).bury(&locks, 0, |_| true);
    one.join().unwrap();
    two.join().unwrap();
    let mut publisher = rig.producer::<true>(0, &Actor::immortal());
    for value in 0..SLOTS + 1 {
        assert_eq!(publisher.push(value), Some(value), "nobody gates");
    }
    assert!(desk.register(3, registry::ROLE_SUBSCRIBER).is_some(), "the entry is free again");
}

/// A subscriber leaves and another registers in its entry, while an operator evicts the one it has
/// seen: the other stays.
pub fn evict_whom_it_saw(weak: Weak) {
    let shape = Shape { weak, producers: 1, consumers: 1, ..Shape::default() };
    let rig = SlotRig::new(Shape { registry: true, ..shape }, false);
    let desk = Desk { rig, side: Side::Consumers, entries: 1, locks: LockTable::new(1, &actors(3)) };
    let first = desk.register(0, registry::ROLE_SUBSCRIBER).expect("the entry is free");
    let changing = desk.clone();
    let one = thread::spawn(move || {
        changing.leave(0, &first);
        changing.register(1, registry::ROLE_SUBSCRIBER)
    });
    let locks = LoomLocks { table: desk.locks.clone(), me: 2 };
    let registry = desk.registry(&desk.locks.actors[2]);
    let evicted = registry.evict(&locks, 0, first.state);
    let Some(second) = one.join().unwrap() else { return }; // It met the operator's lock.
    assert!(registry.is_registered(&second), "evicted in place of another: {evicted}");
}

/// A participant that sees that an entry is in use sees whose it is. A second registrant of a
/// durable name that has seen the first's entry does not get another one.
pub fn name_is_known(weak: Weak) {
    let shape = Shape { weak, producers: 1, consumers: 2, ..Shape::default() };
    let rig = SlotRig::new(Shape { registry: true, ..shape }, false);
    let desk = Desk { rig, side: Side::Consumers, entries: 2, locks: LockTable::new(2, &actors(2)) };
    let policy = registry::ROLE_SUBSCRIBER | registry::DURABLE;
    let entering = desk.clone();
    let one = thread::spawn(move || {
        let first = entering.register(0, policy).expect("an entry is free");
        assert_eq!(first.index, 0);
    });
    let seen = desk.registry(&desk.locks.actors[1]).state(0);
    if registry::status(seen) == registry::Status::Active {
        assert!(desk.register(1, policy).is_none(), "the name is taken, and its owner lives");
    }
    one.join().unwrap();
}

/// A worker was evicted and has left. Another registers in its entry and works, while a third
/// participant sweeps: the old worker's fence is not taken for the new one's.
pub fn an_evicted_workers_entry_changes_hands(weak: Weak) {
    let shape = Shape { weak, producers: 1, consumers: 2, ..Shape::default() };
    let mut rig = SlotRig::new(Shape { registry: true, ..shape }, true);
    rig.ring = SlotRig::new(shape, true).ring;
    let locks = LockTable::new(2, &actors(3));
    let desk = Desk { rig: rig.clone(), side: Side::Consumers, entries: 2, locks };
    let evicted = desk.register(0, registry::ROLE_WORKER).expect("the entry is free");
    let sweeper = &desk.locks.actors[2];
    let acks = LoomMemory::writable(&rig.acks, sweeper);
    let janitor = LoomLocks { table: desk.locks.clone(), me: 2 };
    let quiesce = || Ok::<(), std::convert::Infallible>(());
    let sweep = || rig.sweep(sweeper, &desk.peers(), Some(0));
    let fenced =
        fence::evict(&desk.registry(sweeper), &janitor, &acks, 0, evicted.state, quiesce, (|| (), sweep));
    assert_eq!(fenced, Ok(Fenced::Settled));
    desk.leave(0, &evicted);
    assert_eq!(desk.register(2, registry::ROLE_WORKER).map(|other| other.index), Some(1));
    assert!(rig.producer::<false>(0, &Actor::immortal()).push(1).is_some());
    let entering = desk.clone();
    let working = thread::spawn(move || {
        let registered = entering.register(1, registry::ROLE_WORKER).expect("the entry is free again");
        assert_eq!(registered.index, 0);
        let mut worker = entering.rig.worker(0, &entering.locks.actors[1]);
        let (ticket, value) = worker.take(1).expect("nobody else takes");
        assert!(worker.done(ticket));
        value
    });
    rig.sweep(sweeper, &desk.peers(), None);
    assert_eq!(working.join().unwrap(), 1);
    assert_eq!(rig.worker(1, sweeper).take(1), None, "it was done by who had it");
}

/// A publisher that sees that an entry of the table of sequences is used sees its owner, and the
/// next number.
pub fn sequence_is_known(weak: Weak) {
    let at = layout::sequences(1);
    let words = (0..layout::SEQUENCES_MAX).fold(Words::new(weak), |words, index| {
        let entry = at + index * layout::SEQUENCE_BYTES;
        if index > 0 {
            return words.fixed(entry + layout::SEQUENCE_USED, 0);
        }
        let fields =
            [layout::SEQUENCE_USED, layout::SEQUENCE_LAST, layout::SEQUENCE_NEXT, layout::SEQUENCE_AT];
        let names = (0..8).map(|i| layout::SEQUENCE_NAME + i * 8);
        names.chain(fields).fold(words, |words, field| words.shared(entry + field, 0))
    });
    let words = words.share();
    let entering = words.clone();
    let one = thread::spawn(move || {
        let table = Sequences::new(LoomMemory::writable(&entering, &Actor::immortal()), 1);
        assert_eq!(table.enter([7; 8], 41), Some(0));
    });
    let table = Sequences::new(LoomMemory::read_only(&words, &Actor::immortal()), 1);
    assert!(table.entries().all(|entry| entry == ([7; 8], 41)));
    one.join().unwrap();
}

/// Locks of a registrant that finds a stranger's shared lock on its byte. Its entry names the
/// process that proves its life, before it takes a shared lock itself.
struct SharedLife {
    locks: LoomLocks,
    memory: LoomMemory,
    namespace: u64,
}

impl Locks for SharedLife {
    fn try_janitor(&self, index: usize) -> bool {
        self.locks.try_janitor(index)
    }

    fn release_janitor(&self, index: usize) {
        self.locks.release_janitor(index);
    }

    fn try_life(&self, index: usize) -> bool {
        // As `member.rs` does: plain, before the lock.
        self.memory.store(layout::entry(index) + layout::PROOF, self.namespace, Edge::Plain);
        self.locks.try_life(index)
    }

    fn is_life_held(&self, index: usize) -> bool {
        self.locks.is_life_held(index)
    }
}

/// An entry whose owner died is used again, while another looks which process proves the owner's
/// life: the proof that it believes is of one owner.
pub fn proof_changes_hands(weak: Weak) {
    let words = registry_words(Words::new(weak), layout::CONSUMERS_HIGH, 1);
    let named = [layout::PID, layout::START_TIME, layout::PROOF];
    let words = named.into_iter().fold(words, |words, at| words.shared(layout::entry(0) + at, 0)).share();
    let table = LockTable::new(1, &actors(3));
    let register = |table: &Rc<LockTable>, words: &Rc<Words>, me: usize| {
        let memory = LoomMemory::writable(words, &table.actors[me]);
        let number = me as u64 + 1;
        let locks = LoomLocks { table: table.clone(), me };
        let locks = SharedLife { locks, memory: memory.clone(), namespace: number };
        let identity = Identity {
            policy: registry::ROLE_SUBSCRIBER,
            pid_tid: number,
            start_time: number,
            ..Identity::default()
        };
        Registry::new(memory, 1, layout::CONSUMERS_HIGH).register(&locks, &identity, |_| true)
    };
    register(&table, &words, 0).expect("the entry is free");
    table.actors[0].kill();
    let (its, entry) = (table.clone(), words.clone());
    let entering = thread::spawn(move || {
        register(&its, &entry, 1).expect("the one before is dead");
    });
    let memory = LoomMemory::read_only(&words, &table.actors[2]);
    let proof = registry::proof_of(&memory, 0);
    if let Some((pid, start_time)) = proof.process(&memory, 0)
        && !proof.is_filling()
    {
        assert_eq!((pid as u64, start_time), (proof.namespace, proof.namespace), "words of two owners");
    }
    entering.join().unwrap();
}
