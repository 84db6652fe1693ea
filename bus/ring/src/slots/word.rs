//! The words of a slot ring: sequence words, done words and claim words.
//!
//! **Promise.** A word of one ticket is never mistaken for the word of another ticket in the same
//! slot.
//!
//! **How it works.** Ticket `t` of a ring of `N` slots lies in slot `t mod N`, on lap `t / N`. A
//! state word holds the lap; the slot index is implied:
//!
//! ```text
//!  63..16            15..8    7..2      1..0
//! | lap + 1 mod 2^48 | worker | attempt | kind |
//! ```
//!
//! Zeroed memory reads as "lap -1 is done", which is right for a new ring. A claim word announces a
//! range of tickets: `ticket mod 2^48 << 16 | count`. A count of 0 announces nothing.
//!
//! **Why it is sound.** Laps are compared by equality, and only words of neighbouring laps are ever
//! compared, so the 48 bits may wrap.
//!
//! **Left out.** Loads and stores: this module computes with values only.

const LAP_MASK: u64 = (1 << 48) - 1;

/// The kinds of a sequence word.
pub mod seq {
    /// The slot's bytes are the event of that lap.
    pub const PUBLISHED: u64 = 1;
    /// The ticket of that lap carries no event.
    pub const ABORTED: u64 = 2;
    /// The owner of that lap's ticket is writing the slot (topics only).
    pub const BUSY: u64 = 3;
}

/// The kinds of a done word.
pub mod done {
    /// The ticket of that lap is finished: the slot is free for the next lap.
    pub const DONE: u64 = 0;
    /// The event of that lap waits to be delivered again.
    pub const REDO: u64 = 1;
    /// The event of that lap is held by the worker that the word names.
    pub const TAKEN: u64 = 2;
}

/// The highest attempt that is counted. Later attempts keep this number.
pub const ATTEMPT_MAX: u8 = 63;

/// The geometry of a slot ring: how many slots there are, and where a ticket lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// The number of slots, a power of two.
    pub count: u64,
    /// The count minus one.
    mask: u64,
    shift: u32,
    bytes_shift: u32,
}

impl Slots {
    /// Makes the geometry of `count` slots of `slot_bytes` bytes each. Both are powers of two;
    /// `count` is at most 2^24, `slot_bytes` is at least 16.
    pub fn new(count: u64, slot_bytes: u64) -> Slots {
        debug_assert!(count.is_power_of_two() && slot_bytes.is_power_of_two() && slot_bytes >= 16);
        Slots {
            count,
            mask: count - 1,
            shift: count.trailing_zeros(),
            bytes_shift: slot_bytes.trailing_zeros(),
        }
    }

    /// The size of a slot, in bytes.
    pub fn slot_bytes(self) -> u64 {
        1 << self.bytes_shift
    }

    /// The slot index of ticket `t`.
    #[inline(always)]
    pub fn index(self, t: u64) -> usize {
        (t & self.mask) as usize
    }

    /// The byte offset of ticket `t`'s slot.
    #[inline(always)]
    pub fn offset(self, t: u64) -> usize {
        self.index(t) << self.bytes_shift
    }

    /// The byte offset of ticket `t`'s done word.
    #[inline(always)]
    pub fn done_offset(self, t: u64) -> usize {
        self.index(t) * 8
    }

    /// The last ticket before `end` that lies in this slot. In the first lap there may be none;
    /// then the result is a ticket that was never won.
    pub fn last_in(self, slot: usize, end: u64) -> u64 {
        let last = end.wrapping_sub(1);
        last.wrapping_sub(last.wrapping_sub(slot as u64) & self.mask)
    }

    #[inline(always)]
    fn lap(self, t: u64) -> u64 {
        ((t >> self.shift) + 1) & LAP_MASK
    }

    /// The state word of ticket `t` with this kind.
    #[inline(always)]
    pub fn state(self, t: u64, kind: u64) -> u64 {
        self.lap(t) << 16 | kind
    }

    /// The done word of ticket `t` with this kind, attempt count and worker.
    #[inline(always)]
    pub fn held(self, t: u64, kind: u64, attempt: u8, worker: u8) -> u64 {
        self.lap(t) << 16 | (worker as u64) << 8 | (attempt.min(ATTEMPT_MAX) as u64) << 2 | kind
    }

    /// The done word under which ticket `t` may be won: it says that the previous lap's ticket in
    /// the slot is done.
    #[inline(always)]
    pub fn previous_lap_done(self, t: u64) -> u64 {
        ((t >> self.shift) & LAP_MASK) << 16
    }

    /// Whether this sequence word says that ticket `t` is published or aborted.
    #[inline(always)]
    pub fn is_finished(self, word: u64, t: u64) -> bool {
        word == self.state(t, seq::PUBLISHED) || word == self.state(t, seq::ABORTED)
    }

    /// Whether this sequence word belongs to the lap before ticket `t`'s and is published or
    /// aborted, so that no owner of an older ticket writes the slot any more. A slot that was never
    /// used counts, too.
    #[inline(always)]
    pub fn is_settled_before(self, word: u64, t: u64) -> bool {
        let previous = ((t >> self.shift) & LAP_MASK) << 16;
        word == previous | seq::PUBLISHED || word == previous | seq::ABORTED || (word == 0 && previous == 0)
    }

    /// Whether this word belongs to a lap after ticket `t`'s.
    #[inline(always)]
    pub fn is_newer(self, word: u64, t: u64) -> bool {
        // The signed distance of the laps modulo 2^48.
        (((word >> 16).wrapping_sub(self.lap(t))) << 16) as i64 > 0
    }

    /// Whether this word belongs to ticket `t`'s lap.
    #[inline(always)]
    pub fn is_of(self, word: u64, t: u64) -> bool {
        word >> 16 == self.lap(t)
    }
}

/// The kind in a state word.
#[inline(always)]
pub const fn kind(word: u64) -> u64 {
    word & 3
}

/// The attempt count in a done word.
#[inline(always)]
pub const fn attempt(word: u64) -> u8 {
    (word >> 2) as u8 & 63
}

/// The worker in a done word.
#[inline(always)]
pub const fn worker(word: u64) -> u8 {
    (word >> 8) as u8
}

pub use crate::members::registry::NO_CLAIM;

/// The claim word that announces `count` tickets, beginning with `first`.
#[inline(always)]
pub const fn claim(first: u64, count: u32) -> u64 {
    first << 16 | (count as u64 & 0xFFFF)
}

/// Whether a claim word announces ticket `t`.
#[inline(always)]
pub const fn covers(claim: u64, t: u64) -> bool {
    (t.wrapping_sub(claim >> 16)) & LAP_MASK < claim & 0xFFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_memory_is_a_free_ring() {
        let slots = Slots::new(8, 64);
        for t in 0..8 {
            assert_eq!(slots.previous_lap_done(t), 0);
            assert!(slots.is_settled_before(0, t) && !slots.is_finished(0, t));
        }
        assert_ne!(slots.previous_lap_done(8), 0);
        assert!(!slots.is_settled_before(0, 8));
    }

    #[test]
    fn the_last_ticket_of_a_slot_lies_in_it_and_before_the_end() {
        let slots = Slots::new(8, 64);
        for end in [8, 9, 15, 16, 1000] {
            for slot in 0..8 {
                let t = slots.last_in(slot, end);
                assert!(slots.index(t) == slot && t < end && t + 8 >= end, "{slot} before {end}: {t}");
            }
        }
        // No ticket has ever been in the last slot.
        assert_eq!(slots.index(slots.last_in(7, 3)), 7);
    }

    #[test]
    fn laps_follow_each_other_also_across_the_wrap() {
        let slots = Slots::new(4, 64);
        for t in [0, 5, (4 << 48) - 9, (4 << 48) - 1, (4 << 48) + 3] {
            assert_eq!(slots.state(t, done::DONE), slots.previous_lap_done(t + 4));
            assert!(slots.is_settled_before(slots.state(t, seq::PUBLISHED), t + 4));
            assert!(!slots.is_settled_before(slots.state(t, seq::BUSY), t + 4));
            assert!(
                slots.is_newer(slots.state(t + 4, seq::BUSY), t) && !slots.is_newer(slots.state(t, 1), t + 4)
            );
            assert!(!slots.is_newer(slots.state(t, 1), t));
        }
    }

    #[test]
    fn done_words_carry_attempt_and_worker() {
        let slots = Slots::new(64, 64);
        let word = slots.held(1000, done::TAKEN, 7, 255);
        assert_eq!((kind(word), attempt(word), worker(word)), (done::TAKEN, 7, 255));
        assert!(slots.is_of(word, 1000) && !slots.is_of(word, 1064));
        assert_eq!(attempt(slots.held(0, done::REDO, 200, 0)), ATTEMPT_MAX);
    }

    #[test]
    fn claims_cover_their_range_modulo_2_48() {
        assert!(!covers(NO_CLAIM, 0));
        for first in [0u64, 7, (1 << 48) - 2, u64::MAX >> 8] {
            let word = claim(first, 4);
            assert!((0..4).all(|i| covers(word, first + i)));
            assert!(!covers(word, first + 4) && !covers(word, first.wrapping_sub(1)));
        }
    }
}
