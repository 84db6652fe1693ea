//! Models of janitor locks beside readers that hold shared locks on their bytes, with the kernel's
//! byte locks as a loom atomic that carries happens-before.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use railbus_ring::layout;
use railbus_ring::members::janitor::{self, ByteLocks, Hold};

use crate::loom_memory::{Actor, LoomMemory, Weak, Words};

/// The entry whose janitor lock is taken.
const ENTRY: usize = 0;
/// The word that a janitor changes.
const CHANGED: usize = layout::entry(ENTRY) + layout::CURSOR;
/// The holder of the exclusive lock is in the bits above this.
const EXCLUSIVE: u32 = 32;
/// The stranger's bit among those with a shared lock.
const STRANGER: u64 = 1 << 8;

/// The kernel's locks on one byte: a bit for each actor with a shared lock, and the one with the
/// exclusive lock, plus one. A dead actor's locks are free.
struct Byte {
    locks: AtomicU64,
    actors: Vec<Rc<Actor>>,
}

impl Byte {
    /// The locks of live actors.
    fn held(&self, seen: u64) -> u64 {
        let dead = |(i, actor): (usize, &Rc<Actor>)| if actor.is_dead() { 1 << i } else { 0 };
        let dead: u64 = self.actors.iter().enumerate().map(dead).sum();
        let holder = seen >> EXCLUSIVE;
        let is_gone = holder != 0 && dead & 1 << (holder - 1) != 0;
        (if is_gone { seen & !(u64::MAX << EXCLUSIVE) } else { seen }) & !dead
    }

    fn take(&self, is_free: impl Fn(u64) -> bool, add: u64) -> bool {
        let mut seen = self.locks.load(Ordering::Acquire);
        loop {
            let held = self.held(seen);
            if !is_free(held) {
                return false;
            }
            match self.locks.compare_exchange(seen, held | add, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(found) => seen = found,
            }
        }
    }
}

/// The byte as one actor requests it.
struct Asker {
    byte: Rc<Byte>,
    me: usize,
}

impl ByteLocks for Asker {
    type Error = Infallible;

    fn try_exclusive(&self, _: usize) -> Result<bool, Infallible> {
        Ok(self.byte.take(|held| held == 0, (self.me as u64 + 1) << EXCLUSIVE))
    }

    fn try_shared(&self, _: usize) -> Result<bool, Infallible> {
        Ok(self.byte.take(|held| held >> EXCLUSIVE == 0, 1 << self.me))
    }

    fn unlock(&self, _: usize) -> Result<(), Infallible> {
        let own = 1 << self.me | if self.is_exclusive() { u64::MAX << EXCLUSIVE } else { 0 };
        self.byte.locks.fetch_and(!own, Ordering::AcqRel);
        Ok(())
    }
}

impl Asker {
    fn is_exclusive(&self) -> bool {
        self.byte.locks.load(Ordering::Acquire) >> EXCLUSIVE == self.me as u64 + 1
    }
}

/// A janitor lock, and the entry that it protects.
#[derive(Clone)]
struct GuardedEntry {
    words: Rc<Words>,
    byte: Rc<Byte>,
}

impl GuardedEntry {
    fn new(weak: Weak, strangers: u64, actors: Vec<Rc<Actor>>) -> GuardedEntry {
        let words = Words::new(weak).shared(layout::janitor(ENTRY), 0).cell(CHANGED).share();
        GuardedEntry { words, byte: Rc::new(Byte { locks: AtomicU64::new(strangers), actors }) }
    }

    /// Takes the lock and changes the entry, if no other actor has it. Returns how it was held.
    fn try_change(&self, me: usize) -> Option<Hold> {
        let actor = &self.byte.actors[me];
        let memory = LoomMemory::writable(&self.words, actor);
        let kernel = Asker { byte: self.byte.clone(), me };
        let has_ended = |word: u64| self.byte.actors[word as usize - 1].is_dead();
        let Ok(held) = janitor::take(&memory, ENTRY, &kernel, || me as u64 + 1, has_ended);
        let hold = held?;
        memory.write_cell(CHANGED, memory.read_cell(CHANGED) + 1);
        let Ok(()) = janitor::give_back(&memory, ENTRY, &kernel, hold);
        Some(hold)
    }

    fn changes(&self) -> u64 {
        LoomMemory::read_only(&self.words, &Actor::immortal()).read_cell(CHANGED)
    }
}

fn immortals(count: usize) -> Vec<Rc<Actor>> {
    (0..count).map(|_| Actor::immortal()).collect()
}

/// Two janitors at once, beside a stranger that stays, or without one. They change the entry one
/// after the other, and one that comes when they have gone gets the lock.
pub fn one_at_a_time<const STAYS: bool>(weak: Weak) {
    let desk = GuardedEntry::new(weak, if STAYS { STRANGER } else { 0 }, immortals(3));
    let other = desk.clone();
    let one = thread::spawn(move || other.try_change(0).is_some());
    let second = desk.try_change(1).is_some();
    let first = one.join().unwrap();
    assert!(first || second, "both were refused");
    let hold = desk.try_change(2);
    assert_eq!(hold, Some(if STAYS { Hold::Word } else { Hold::Byte }), "nobody has it");
    assert_eq!(desk.changes(), 1 + u64::from(first) + u64::from(second));
}

/// A stranger comes and goes while two janitors work: a holder of the lock by its word and a holder
/// by its byte never exist together.
pub fn a_stranger_comes_and_goes(weak: Weak) {
    let desk = GuardedEntry::new(weak, 0, immortals(3));
    let byte = desk.byte.clone();
    let stranger = thread::spawn(move || {
        if byte.take(|held| held >> EXCLUSIVE == 0, STRANGER) {
            byte.locks.fetch_and(!STRANGER, Ordering::AcqRel);
        }
    });
    let other = desk.clone();
    let one = thread::spawn(move || u64::from(other.try_change(0).is_some()));
    let second = u64::from(desk.try_change(1).is_some());
    let first = one.join().unwrap();
    stranger.join().unwrap();
    assert_eq!(desk.try_change(2), Some(Hold::Byte), "nobody is in the way");
    assert_eq!(desk.changes(), 1 + first + second);
}

/// A janitor beside a stranger is killed at its k-th access: another takes the lock over.
pub fn a_janitor_dies(weak: Weak, k: u32, killed: &Arc<AtomicBool>) {
    let dying = Actor::mortal(k, killed);
    let desk = GuardedEntry::new(weak, STRANGER, vec![dying.clone(), Actor::immortal(), Actor::immortal()]);
    let (other, actor) = (desk.clone(), dying.clone());
    let one = thread::spawn(move || {
        actor.live(|| other.try_change(0));
        actor.kill();
    });
    desk.try_change(1);
    one.join().unwrap();
    assert_eq!(desk.try_change(2), Some(Hold::Word), "the dead keep nobody out");
    desk.byte.locks.fetch_and(!STRANGER, Ordering::AcqRel);
    assert_eq!(desk.try_change(1), Some(Hold::Byte), "nor without the stranger");
}
