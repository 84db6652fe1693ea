//! Unique keys: at most one unfinished event of a queue has a key.
//!
//! **Promise.** Of all tickets that carry one key, at most one is published and not done. A producer
//! that is killed or stopped at any instruction neither blocks its key nor lets a second event in. A
//! producer that is refused learns the ticket of an event that was published with its key.
//!
//! **How it works.** A table in the producers' file names tickets. An entry holds the low 48 bits of
//! a ticket and 15 bits of its key's hash. The key itself, 128 bits, is in the ticket's slot:
//!
//! ```text
//! find:     an entry of the key whose ticket is published and not done?      refused, and nothing is won
//! claim:    win ticket t as always;  write body, key and meta into the slot
//! insert:   CAS a free entry of the key: -> t                                (UNIQUE)
//! contend:  fence (UNIQUE);  look at all entries of the key:
//!             published and not done     CAS seq[t]: old -> ABORTED          refused
//!             not published yet          CAS seq[other]: old -> ABORTED      the other one has lost
//! publish:  CAS seq[t]: old -> PUBLISHED;  if that fails, another has aborted t: begin again
//! ```
//!
//! - **An entry is free** when its ticket is done or aborted, or so old that its slot was won again.
//!   Nobody clears entries, so workers write nothing for this.
//! - **The entries of a key** are those from its home on, as many as `UNIQUE_REACH` says. A producer
//!   that finds none of them free raises that word before it inserts further on. The table has twice
//!   as many entries as the ring has slots, so there is a free one.
//!
//! **Why it is sound.** Suppose that two tickets with one key are published. Each producer had
//! inserted its ticket, fenced, and then looked. By the fences (Dekker), one of them saw the other's
//! entry. It went on only after it had seen the other ticket done, or had aborted it. An aborted
//! ticket is never published, because the sequence word decides by compare-and-swap. An entry of a
//! ticket that may still be published is never free.
//!
//! **A dead producer** needs no proof of death here. A ticket that is in the table and not published
//! is aborted by the next producer with its key, alive or not. A live producer that lost its ticket
//! in this way begins again.
//!
//! **A slot that is used again while its key is read** belongs to a ticket that was done. The reader
//! compares the key, fences (VALIDATE), and then finds that out from the ticket's words.
//!
//! **Left out.** How a program's key becomes 128 bits.

use crate::frame;
use crate::layout::{self, UNIQUE_ENTRIES_A_SLOT, UNIQUE_REACH_MIN};
use crate::memory::{Edge, Memory};
use crate::slots::view::SlotView;
use crate::slots::word::{Slots, done, seq};

/// The bits of an entry that hold a ticket.
const TICKET_BITS: u32 = 48;
const TICKET_MASK: u64 = (1 << TICKET_BITS) - 1;
/// How often a word that changes at the same time is read again.
const LOOKS_MAX: u32 = 64;

/// A unique key. Two keys are the same if both words are. Both words 0 is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobKey(pub [u64; 2]);

impl JobKey {
    /// A hash of the key, whose high bits choose its home and whose low bits mark its entries.
    fn hash(self) -> u64 {
        let mixed = (self.0[0] ^ self.0[1].rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ mixed >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }

    /// The entry of a ticket with this key.
    pub fn entry(self, ticket: u64) -> u64 {
        (self.hash() << 1 & 0xFFFF | 1) << TICKET_BITS | ticket & TICKET_MASK
    }
}

/// The result for a ticket that was to be published with a unique key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is published.
    Alone,
    /// It was aborted, because this ticket was published with the same key and is not done.
    After(u64),
    /// It was aborted, because another producer published, or tried to publish, at the same time.
    /// The caller begins again.
    Crossed,
}

/// The state of a ticket in the table, as its words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is done, aborted, or its slot was used again.
    Over,
    /// It is published and not done.
    Open,
    /// It may still be published. This is its sequence word.
    Pending(u64),
}

/// The table of unique keys, in the files of a queue.
#[derive(Debug)]
pub struct UniqueKeys<'a, M> {
    /// The queue, with `ring` and `data` writable.
    pub view: &'a SlotView<M>,
}

/// The offset of entry `n` from the home of `key`, in the table of a queue with these slots and this
/// many entries for producers.
#[inline]
pub fn entry_at(slots: Slots, producers: usize, key: JobKey, n: u64) -> usize {
    let index = (key.hash() >> 16).wrapping_add(n) & (slots.count * UNIQUE_ENTRIES_A_SLOT - 1);
    layout::unique(producers) + index as usize * 8
}

impl<M: Memory> UniqueKeys<'_, M> {
    fn entries(&self) -> u64 {
        self.view.slots.count * UNIQUE_ENTRIES_A_SLOT
    }

    fn entry_at(&self, key: JobKey, n: u64) -> usize {
        entry_at(self.view.slots, self.view.producers, key, n)
    }

    /// How many entries from a key's home on may be of that key.
    fn reach(&self) -> u64 {
        // UNIQUE: it was raised before an entry was inserted beyond the old reach, and is read after
        // the fence that follows an insertion.
        self.view.ring.load(layout::UNIQUE_REACH, Edge::Unique).max(UNIQUE_REACH_MIN).min(self.entries())
    }

    /// The ticket of an entry; `None` if the entry is empty or its ticket is more than a ring old.
    fn ticket(&self, entry: u64) -> Option<u64> {
        if entry == 0 {
            return None;
        }
        // TAIL: the ticket was won before its entry was inserted.
        let last = self.view.ring.load(layout::TAIL, Edge::Tail).wrapping_sub(1);
        let age = last.wrapping_sub(entry) & TICKET_MASK;
        // The slot of an older ticket was won again, so it was done before.
        (age < self.view.slots.count).then(|| last.wrapping_sub(age))
    }

    fn state(&self, t: u64) -> State {
        // DONE: the event was finished before this.
        let word = self.view.done.load(self.view.slots.done_offset(t), Edge::Done);
        if word == self.view.slots.state(t, done::DONE) || self.view.slots.is_newer(word, t) {
            return State::Over;
        }
        // PUBLISH: as in a worker.
        let word = self.view.data.load(self.view.slots.offset(t) + layout::SLOT_SEQ, Edge::Publish);
        if word == self.view.slots.state(t, seq::PUBLISHED) {
            State::Open
        } else if word == self.view.slots.state(t, seq::ABORTED) || self.view.slots.is_newer(word, t) {
            State::Over
        } else {
            State::Pending(word)
        }
    }

    /// The key in the slot of ticket `t`, as its job extension has it.
    fn key(&self, t: u64) -> Option<JobKey> {
        let at = self.view.slots.offset(t);
        // Plain: the entry (UNIQUE) brings what its producer wrote before. Later bytes are those of
        // a later ticket.
        let header = self.view.data.load(at + layout::SLOT_META, Edge::Plain);
        let body_max = self.view.slots.slot_bytes() - layout::SLOT_BODY as u64;
        let flags = frame::flags(header);
        if flags & frame::JOB == 0 || !frame::is_event(header, body_max) {
            return None;
        }
        let at = at + layout::SLOT_BODY + frame::job_offset(flags) + frame::JOB_UNIQUE;
        Some(JobKey([self.view.data.load(at, Edge::Plain), self.view.data.load(at + 8, Edge::Plain)]))
    }

    /// Whether the slot of ticket `t` holds `key`. If it does not, the ticket is not of that key, or
    /// is over.
    fn has_key(&self, t: u64, key: JobKey) -> bool {
        let found = self.key(t);
        // VALIDATE: pairs with OVERWRITE in the producer that wins the slot next. If any of its
        // bytes were read, the words that are read from here on show that the ticket is over.
        self.view.data.fence(Edge::Validate);
        found == Some(key)
    }

    /// The first ticket other than `own` that has `key` and is not over, with its state.
    fn other(&self, key: JobKey, own: Option<u64>) -> Option<(u64, State)> {
        for n in 0..self.reach() {
            // UNIQUE: pairs with the insertion: body, key and meta of the ticket are visible.
            let entry = self.view.ring.load(self.entry_at(key, n), Edge::Unique);
            if entry >> TICKET_BITS != key.entry(0) >> TICKET_BITS {
                continue;
            }
            let Some(t) = self.ticket(entry).filter(|&t| Some(t) != own) else { continue };
            if !self.has_key(t, key) {
                continue;
            }
            match self.state(t) {
                State::Over => {}
                state => return Some((t, state)),
            }
        }
        None
    }

    /// The ticket that was published with this key and is not done, if there is one.
    pub fn find(&self, key: JobKey) -> Option<u64> {
        match self.other(key, None) {
            Some((t, State::Open)) => Some(t),
            _ => None,
        }
    }

    /// Puts ticket `t` into a free entry of its key. Returns false if there is none, which can only
    /// be if the table was corrupted.
    fn insert(&self, key: JobKey, t: u64) -> bool {
        let mut n = 0;
        while n < self.entries() {
            let at = self.entry_at(key, n);
            let seen = self.view.ring.load(at, Edge::Unique);
            let is_free = self.ticket(seen).is_none_or(|t| self.state(t) == State::Over);
            if !is_free || !self.extend_reach(n + 1) {
                n += 1;
                continue;
            }
            // UNIQUE: the slot is written before.
            if self.view.ring.compare_exchange(at, seen, key.entry(t), Edge::Unique).is_ok() {
                return true;
            }
            // Another key's ticket is there now.
            n += 1;
        }
        false
    }

    /// Puts ticket `t` into the table if it is published, not done, and has a unique key. To be called
    /// when a channel was made again with the events of another, before others see it.
    pub fn put_back(&self, t: u64) {
        if let Some(key) = self.key(t).filter(|key| key.0 != [0, 0] && self.state(t) == State::Open) {
            self.insert(key, t);
        }
    }

    /// Raises the reach to `reach` entries at least. Returns whether that is so.
    fn extend_reach(&self, reach: u64) -> bool {
        for _ in 0..LOOKS_MAX {
            if self.reach() >= reach {
                return true;
            }
            let seen = self.view.ring.load(layout::UNIQUE_REACH, Edge::Unique);
            // UNIQUE: this comes before the insertion.
            let _ =
                self.view.ring.compare_exchange(layout::UNIQUE_REACH, seen, reach.max(seen), Edge::Unique);
        }
        false
    }

    /// Looks for other tickets with the key of ticket `t`, which is in the table, and aborts those
    /// that are not published. Returns what forbids to publish `t`, if anything does. `patience` is
    /// how often an older ticket is looked at again before it is aborted.
    fn contend(&self, key: JobKey, t: u64, patience: u32) -> Option<Published> {
        let mut looks = 0;
        while let Some((other, state)) = self.other(key, Some(t)) {
            let State::Pending(seen) = state else { return Some(Published::After(other)) };
            looks += 1;
            if other < t && looks < patience {
                // The older one is to win, so that two do not abort each other without end.
                std::hint::spin_loop();
                continue;
            }
            if looks >= patience.saturating_add(LOOKS_MAX) {
                return Some(Published::Crossed);
            }
            // PUBLISH: if this fails, the other one was published, or aborted by a third.
            let aborted = self.view.slots.state(other, seq::ABORTED);
            let at = self.view.slots.offset(other) + layout::SLOT_SEQ;
            let _ = self.view.data.compare_exchange(at, seen, aborted, Edge::Publish);
        }
        None
    }

    /// Publishes ticket `t`, which the caller has won, unless an event with its key is published and
    /// not done. The caller has written the body, with the key in its job extension. `header` is the
    /// header word.
    pub fn publish(&self, t: u64, header: u64, key: JobKey, patience: u32) -> Published {
        let at = self.view.slots.offset(t) + layout::SLOT_SEQ;
        // Plain: no other participant writes this word before the ticket is in the table.
        let before = self.view.data.load(at, Edge::Plain);
        self.view.data.store(self.view.slots.offset(t) + layout::SLOT_META, header, Edge::Plain);
        let refused = if self.insert(key, t) {
            // UNIQUE: the own entry comes before the look at the others.
            self.view.ring.fence(Edge::Unique);
            self.contend(key, t, patience)
        } else {
            Some(Published::Crossed)
        };
        let kind = if refused.is_some() { seq::ABORTED } else { seq::PUBLISHED };
        // PUBLISH: as in `SlotProducer::publish`. It fails if another producer has aborted the
        // ticket. A worker may have stepped over it since, and the slot may be another ticket's.
        let stored =
            self.view.data.compare_exchange(at, before, self.view.slots.state(t, kind), Edge::Publish);
        match refused {
            Some(refused) => refused,
            None if stored.is_ok() => Published::Alone,
            None => Published::Crossed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::plain::Plain;

    const SLOTS: u64 = 64;
    const PRODUCERS: usize = 1;

    struct Rig(SlotView<Plain>);

    impl std::ops::Deref for Rig {
        type Target = SlotView<Plain>;

        fn deref(&self) -> &SlotView<Plain> {
            &self.0
        }
    }

    impl Rig {
        fn new() -> Rig {
            let ring = layout::unique(PRODUCERS) + layout::unique_bytes(SLOTS) as usize;
            Rig(SlotView {
                ring: Plain::zeroed(ring / 8),
                acks: Plain::zeroed(1),
                data: Plain::zeroed(SLOTS as usize * 8),
                done: Plain::zeroed(SLOTS as usize),
                slots: Slots::new(SLOTS, 64),
                producers: PRODUCERS,
                consumers: 1,
            })
        }

        fn keys(&self) -> UniqueKeys<'_, Plain> {
            UniqueKeys { view: &self.0 }
        }

        /// Wins the next ticket, and writes this key into its slot.
        fn win(&self, key: JobKey) -> u64 {
            let t = self.ring.fetch_add(layout::TAIL, 1, Edge::Tail);
            let at = self.slots.offset(t) + layout::SLOT_BODY + frame::JOB_UNIQUE;
            self.data.store(at, key.0[0], Edge::Plain);
            self.data.store(at + 8, key.0[1], Edge::Plain);
            t
        }

        fn publish(&self, key: JobKey) -> (u64, Published) {
            let t = self.win(key);
            (t, self.keys().publish(t, frame::header(32, 0, frame::JOB), key, 4))
        }

        fn finish(&self, t: u64) {
            self.done.store(self.slots.done_offset(t), self.slots.state(t, done::DONE), Edge::Done);
        }
    }

    #[test]
    fn one_at_a_time_has_a_key_through_many_laps() {
        let rig = Rig::new();
        let keys: Vec<JobKey> = (1..=20).map(|k| JobKey([k, 7])).collect();
        let mut open: Vec<Option<u64>> = vec![None; keys.len()];
        let mut dice = 1u64;
        for _ in 0..20_000 {
            dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let which = (dice >> 33) as usize % keys.len();
            assert_eq!(rig.keys().find(keys[which]), open[which]);
            match (open[which], dice >> 62) {
                (Some(t), 0 | 1) => {
                    rig.finish(t);
                    open[which] = None;
                }
                (Some(t), _) => {
                    let (aborted, published) = rig.publish(keys[which]);
                    assert_eq!(published, Published::After(t));
                    rig.finish(aborted);
                }
                (None, _) => {
                    let (t, published) = rig.publish(keys[which]);
                    assert_eq!(published, Published::Alone);
                    open[which] = Some(t);
                }
            }
            // The ring's bound: no ticket is won whose slot is not done.
            let tail = rig.ring.load(layout::TAIL, Edge::Tail);
            for held in open.iter_mut().filter(|held| held.is_some_and(|t| tail - t >= SLOTS - 1)) {
                rig.finish(held.take().unwrap_or(0));
            }
        }
    }

    #[test]
    fn a_ring_that_is_full_of_keys_of_one_home_is_reached() {
        let rig = Rig::new();
        let entries = rig.keys().entries();
        // Keys whose entries begin at one place.
        let home = |key: &JobKey| key.hash() >> 16 & (entries - 1) == 3;
        let keys: Vec<JobKey> = (1..).map(|k| JobKey([k, 1])).filter(home).take(SLOTS as usize).collect();
        let tickets: Vec<u64> = keys.iter().map(|&key| rig.publish(key).0).collect();
        assert_eq!(rig.ring.load(layout::UNIQUE_REACH, Edge::Unique), SLOTS);
        for (&key, &t) in keys.iter().zip(&tickets) {
            assert_eq!(rig.keys().find(key), Some(t));
            rig.finish(t);
            assert_eq!(rig.keys().find(key), None);
        }
    }

    #[test]
    fn a_producer_that_was_killed_or_is_slow_blocks_no_key_and_lets_no_second_in() {
        let rig = Rig::new();
        let key = JobKey([9, 9]);
        // As if its producer had been killed, or stopped, before it published.
        let slow = rig.win(key);
        let header = frame::header(32, 0, frame::JOB);
        rig.data.store(rig.slots.offset(slow) + layout::SLOT_META, header, Edge::Plain);
        assert!(rig.keys().insert(key, slow));
        assert_eq!(rig.keys().find(key), None, "it is not published");
        let (t, published) = rig.publish(key);
        assert_eq!(published, Published::Alone);
        // The slow one goes on.
        let at = rig.slots.offset(slow) + layout::SLOT_SEQ;
        assert_eq!(rig.data.load(at, Edge::Publish), rig.slots.state(slow, seq::ABORTED));
        assert_eq!(rig.keys().contend(key, slow, 4), Some(Published::After(t)));
        rig.finish(t);
        assert_eq!(rig.publish(key).1, Published::Alone);
    }

    #[test]
    fn a_table_of_any_bytes_ends_every_call() {
        let rig = Rig::new();
        let mut dice = 3u64;
        for round in 0..200 {
            for at in (0..layout::unique_bytes(SLOTS) as usize).step_by(8) {
                dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let entry = if round % 2 == 0 { dice } else { JobKey([5, 5]).entry(dice >> 58) };
                rig.ring.store(layout::unique(PRODUCERS) + at, entry, Edge::Plain);
            }
            rig.ring.store(layout::UNIQUE_REACH, dice, Edge::Plain);
            let (t, _) = rig.publish(JobKey([5, 5]));
            rig.finish(t);
        }
    }
}
