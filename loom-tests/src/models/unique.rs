//! Models of unique keys. Two producers have won a ticket each and publish an event with one key.
//! Whatever the other does, and wherever it dies, at most one event is published; and a producer that
//! is refused is refused by an event that is published.
//!
//! The key is in words of the slots without any ordering of their own, as payload is.
//!
//! Both would take the first entry of the key, and the swap of that one word would order them. So the
//! first entry holds an event of another key, which is done in the middle of the model. A producer that
//! has seen that takes the first entry, and one that has not takes the next.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loom::thread;
use railbus_ring::layout::UNIQUE_ENTRIES_A_SLOT;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::unique::{JobKey, Published, UniqueKeys, entry_at};
use railbus_ring::slots::view::SlotView;
use railbus_ring::slots::word::{Slots, done, seq};
use railbus_ring::{frame, layout};

use crate::loom_memory::{Actor, LoomMemory, Weak, Words};

const SLOTS: u64 = 4;
/// The ticket of the event that has another key, and those of the two producers.
const OTHERS: u64 = 0;
const FIRST: u64 = 1;
const SECOND: u64 = 2;
const SLOT_BYTES: u64 = 64;
const PRODUCERS: usize = 2;
const KEY: JobKey = JobKey([5, 3]);
const OTHER_KEY: JobKey = JobKey([6, 3]);
/// Where the key is in a slot.
const KEY_AT: usize = layout::SLOT_BODY + frame::JOB_UNIQUE;

/// The files of the queue, with both tickets won and neither published.
#[derive(Clone)]
struct UniqueRig {
    ring: Rc<Words>,
    data: Rc<Words>,
    done: Rc<Words>,
    slots: Slots,
}

impl UniqueRig {
    fn new(weak: Weak) -> UniqueRig {
        let slots = Slots::new(SLOTS, SLOT_BYTES);
        let ring = Words::new(weak).fixed(layout::TAIL, SECOND + 1).fixed(layout::UNIQUE_REACH, 0);
        let ring = (0..SLOTS * UNIQUE_ENTRIES_A_SLOT).fold(ring, |ring, n| {
            let at = entry_at(slots, PRODUCERS, KEY, n);
            match n {
                0 => ring.shared(at, OTHER_KEY.entry(OTHERS)),
                1 | 2 => ring.shared(at, 0),
                _ => ring.fixed(at, 0),
            }
        });
        let published = slots.state(OTHERS, seq::PUBLISHED);
        let data = Words::new(weak).fixed(slots.offset(OTHERS) + layout::SLOT_SEQ, published);
        let data = (FIRST..=SECOND).fold(data, |data, t| {
            let words = [layout::SLOT_SEQ, layout::SLOT_META, KEY_AT, KEY_AT + 8];
            words.into_iter().fold(data, |data, at| data.shared(slots.offset(t) + at, 0))
        });
        let done = Words::new(weak).shared(slots.done_offset(OTHERS), 0);
        let done = (FIRST..=SECOND).fold(done, |done, t| done.fixed(slots.done_offset(t), 0));
        UniqueRig { ring: ring.share(), data: data.share(), done: done.share(), slots }
    }

    /// Publishes `ticket` with the key, as the actor.
    fn publish(&self, ticket: u64, actor: &Rc<Actor>) -> Published {
        let view = SlotView {
            ring: LoomMemory::writable(&self.ring, actor),
            acks: LoomMemory::read_only(&self.done, actor),
            data: LoomMemory::writable(&self.data, actor),
            done: LoomMemory::read_only(&self.done, actor),
            slots: self.slots,
            producers: PRODUCERS,
            consumers: 0,
        };
        view.data.store(self.slots.offset(ticket) + KEY_AT, KEY.0[0], Edge::Plain);
        view.data.store(self.slots.offset(ticket) + KEY_AT + 8, KEY.0[1], Edge::Plain);
        let keys = UniqueKeys { view: &view };
        let published = keys.publish(ticket, frame::header(32, 0, frame::JOB), KEY, 0);
        if let Published::After(other) = published {
            assert!(self.is_published(other, actor), "{ticket} was refused by {other}, which is not there");
        }
        published
    }

    /// A worker finishes the event that has another key.
    fn finish_the_other(&self) {
        let done = LoomMemory::writable(&self.done, &Actor::immortal());
        let word = self.slots.state(OTHERS, done::DONE);
        done.store(self.slots.done_offset(OTHERS), word, Edge::Done);
    }

    fn is_published(&self, ticket: u64, actor: &Rc<Actor>) -> bool {
        let data = LoomMemory::read_only(&self.data, actor);
        let word = data.load(self.slots.offset(ticket) + layout::SLOT_SEQ, Edge::Publish);
        word == self.slots.state(ticket, seq::PUBLISHED)
    }

    /// Returns how many events are published.
    fn count(&self) -> usize {
        (FIRST..=SECOND).filter(|&t| self.is_published(t, &Actor::immortal())).count()
    }
}

/// Two producers at the same time.
pub fn two_producers(weak: Weak) {
    let rig = UniqueRig::new(weak);
    let its = rig.clone();
    let other = thread::spawn(move || its.publish(FIRST, &Actor::immortal()));
    rig.finish_the_other();
    let own = rig.publish(SECOND, &Actor::immortal());
    let other = other.join().expect("the other producer's checks hold");
    let alone = [own, other].iter().filter(|&&end| end == Published::Alone).count();
    assert!(alone <= 1, "{own:?} {other:?}");
    assert_eq!(rig.count(), alone, "{own:?} {other:?}");
}

/// The first of two producers dies before its access number `k`. The other one is refused only if
/// the first had published.
pub fn a_producer_dies(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let rig = UniqueRig::new(weak);
    let (its, killed) = (rig.clone(), killed.clone());
    let other = thread::spawn(move || {
        let actor = Actor::mortal(k, &killed);
        actor.live(|| its.publish(FIRST, &actor))
    });
    rig.finish_the_other();
    let own = rig.publish(SECOND, &Actor::immortal());
    let other = other.join().expect("the other producer's checks hold");
    let dead_one = rig.is_published(FIRST, &Actor::immortal());
    assert!(rig.count() <= 1, "{own:?} {other:?}");
    match own {
        Published::Alone => assert!(!dead_one, "{other:?}"),
        Published::After(t) => assert!(t == FIRST && dead_one, "{other:?}"),
        // The other one has aborted it: it had not died before that.
        Published::Crossed => {}
    }
}
