//! Models of the keyed queue. Events with one key are held one after the other, in their order,
//! whichever worker retries or dies; and a worker that looks when nothing is held finds the next.
//!
//! The work on an event is an access of a cell that all events with the key share. Loom reports two
//! workers that access it at once, and one that does not see the work of the one before it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loom::thread;
use railbus_ring::slots::key_order::KeyOrder;
use railbus_ring::slots::redo::AT_ONCE;
use railbus_ring::slots::worker::Taken;

use super::slot_rig::{RigWorker, Shape, SlotRig, later};
use crate::loom_memory::{Actor, LoomMemory, LoomPeers, Weak, Words};

const KEY: u64 = 7;

type Log = Rc<RefCell<Vec<u64>>>;

/// The queue, the cell of the key's events, and the order in which they were handed out.
#[derive(Clone)]
struct Shop {
    rig: SlotRig,
    account: Rc<Words>,
    log: Log,
}

struct Clerk {
    worker: RigWorker,
    order: KeyOrder,
    account: LoomMemory,
    log: Log,
    /// Whether the rule is kept: a model that breaks it must fail.
    in_order: bool,
    /// Whether the last take found nothing.
    found_nothing: bool,
}

impl Shop {
    fn new(weak: Weak, consumers: usize) -> Shop {
        let rig =
            SlotRig::new(Shape { weak, producers: 1, consumers, keyed: true, ..Shape::default() }, true);
        let account = Words::new(None).cell(0).share();
        let mut producer = rig.producer::<false>(0, &Actor::immortal());
        for value in 1..=2 {
            assert!(producer.push_keyed(KEY, value).is_some(), "the queue is empty");
        }
        Shop { rig, account, log: Log::default() }
    }

    fn clerk(&self, index: usize, actor: &Rc<Actor>, in_order: bool) -> Clerk {
        Clerk {
            worker: self.rig.worker(index, actor),
            order: KeyOrder::new(),
            account: LoomMemory::writable(&self.account, actor),
            log: self.log.clone(),
            in_order,
            found_nothing: false,
        }
    }

    /// Each event was handed out, and again only before the next one was.
    fn judge(&self) {
        let log = self.log.borrow();
        assert!(log.is_sorted(), "a later event came before an earlier one was done: {log:?}");
        assert!(log.contains(&1) && log.contains(&2), "{log:?}");
    }
}

impl Clerk {
    fn take(&mut self) -> Option<Taken> {
        let taken = if self.in_order {
            self.worker.inner.take_in_order(&mut self.order, 1, later)
        } else {
            self.worker.inner.take(1, later)
        };
        self.found_nothing = taken.is_none();
        let taken = taken?;
        // Nothing can happen between the take and this line.
        self.log.borrow_mut().push(self.worker.read_keyed(taken.ticket));
        self.account.write_cell(0, taken.ticket);
        Some(taken)
    }

    fn finish(&mut self, taken: Taken) {
        let delivery = self.worker.inner.delivery_of(taken);
        assert!(self.worker.inner.done_in_order(&mut self.order, taken.ticket, delivery).held);
    }

    /// Takes and finishes up to `most`.
    fn work(&mut self, most: u32) {
        for _ in 0..most {
            let Some(taken) = self.take() else { return };
            self.finish(taken);
        }
    }
}

fn two(weak: Weak, in_order: bool) {
    let shop = Shop::new(weak, 2);
    let clerks: Vec<_> = (0..2)
        .map(|index| {
            let shop = shop.clone();
            thread::spawn(move || {
                let mut clerk = shop.clerk(index, &Actor::immortal(), in_order);
                clerk.work(1);
                // A worker that found nothing, or put an event aside, is notified of events that
                // may be taken now.
                if !clerk.found_nothing {
                    clerk.order.look_again();
                }
                clerk
            })
        })
        .collect();
    let mut clerks: Vec<_> = clerks.into_iter().map(|clerk| clerk.join().unwrap()).collect();
    // A worker that found nothing goes first: the remaining events must not be hidden from it.
    clerks.sort_by_key(|clerk| !clerk.found_nothing);
    clerks[0].work(2);
    shop.judge();
    assert_eq!(*shop.log.borrow(), [1, 2], "each came once");
}

/// Two workers, two events with one key.
pub fn two_workers(weak: Weak) {
    two(weak, true);
}

/// The same without the rule: this model fails.
pub fn two_workers_without_the_rule(weak: Weak) {
    two(weak, false);
}

/// A worker hands the first event back while another takes all that it can get.
pub fn retry(weak: Weak) {
    let shop = Shop::new(weak, 2);
    let its = shop.clone();
    let first = thread::spawn(move || {
        let mut clerk = its.clerk(0, &Actor::immortal(), true);
        if let Some(taken) = clerk.take() {
            assert!(clerk.worker.inner.retry(taken.ticket, |_, _| AT_ONCE));
        }
        clerk.work(1);
    });
    let mut clerk = shop.clerk(1, &Actor::immortal(), true);
    clerk.work(1);
    first.join().unwrap();
    clerk.work(3);
    shop.judge();
}

/// A worker is killed at its k-th access while it takes, works and finishes; another sweeps and
/// takes beside it.
pub fn worker_dies(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let shop = Shop::new(weak, 3);
    let dying = Actor::mortal(k, killed);
    let (its, actor) = (shop.clone(), dying.clone());
    let first = thread::spawn(move || {
        actor.live(|| its.clerk(0, &actor, true).work(2));
    });
    let peers = LoomPeers { producers: vec![], consumers: vec![Some(dying.clone()), None, None] };
    let other = Actor::immortal();
    let mut clerk = shop.clerk(1, &other, true);
    clerk.work(1);
    shop.rig.sweep(&other, &peers, None);
    clerk.work(1);
    first.join().unwrap();
    assert!(shop.rig.sweep(&other, &peers, Some(0)), "nobody else announces anything");
    clerk.work(3);
    shop.judge();
    let most = 2 + dying.is_dead() as usize;
    assert!(shop.log.borrow().len() <= most, "one death is one redelivery: {:?}", shop.log.borrow());
}

/// A worker takes both events at once, puts the second aside, and the producer laps.
pub fn batch_then_lap(weak: Weak) {
    let shop = Shop::new(weak, 2);
    let its = shop.clone();
    let first = thread::spawn(move || {
        let mut clerk = its.clerk(0, &Actor::immortal(), true);
        let taken = clerk.worker.inner.take_in_order(&mut clerk.order, 2, later);
        let Some(taken) = taken else { return };
        clerk.log.borrow_mut().push(clerk.worker.read_keyed(taken.ticket));
        clerk.account.write_cell(0, taken.ticket);
        // The worker has taken the second event, which waits for the first.
        assert!(clerk.take().is_none());
        clerk.finish(taken);
        clerk.work(1);
    });
    let mut producer = shop.rig.producer::<false>(0, &Actor::immortal());
    let third = producer.push_keyed(KEY, 3).is_some();
    let mut clerk = shop.clerk(1, &Actor::immortal(), true);
    first.join().unwrap();
    clerk.work(3);
    shop.judge();
    assert_eq!(shop.log.borrow().len(), 2 + third as usize);
}
