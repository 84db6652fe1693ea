//! Credits: how many unfinished events one producer may have in a slot ring.
//!
//! **Promise.** A producer never has more unfinished events than credits.
//!
//! **How it works.** The count is private to the producer: nothing is shared, and nothing outlives
//! the handle. The tickets that it has won lie in a ring of as many places as there are credits:
//!
//! ```text
//!          hand          hand + free
//! ... open | free  free | open  open  open ...      (around)
//! ```
//!
//! The producer looks at an open ticket only when the free places are used up, the oldest first. If
//! that ticket is finished, its place is free. If it is not, the ticket is passed over, and its
//! turn comes again after all others. So an event that is held for a long time costs one look in
//! each round, not one in each claim.
//!
//! **Why it is sound.** A finished ticket stays finished, so a place that was found free stays
//! free.
//!
//! **Left out.** Whether a ticket is finished: the caller answers that.

/// The tickets of a producer that are not known to be finished.
#[derive(Debug)]
pub struct Credits {
    places: Box<[u64]>,
    hand: usize,
    free: usize,
}

impl Credits {
    /// Makes `count` credits, at least one.
    pub fn new(count: u32) -> Credits {
        let count = count.max(1) as usize;
        Credits { places: vec![0; count].into_boxed_slice(), hand: 0, free: count }
    }

    /// How many credits there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Returns how many credits are free, at most `wanted`. It looks at open tickets as long as
    /// fewer are free, and at each open ticket at most once.
    pub fn available(&mut self, wanted: u32, mut is_finished: impl FnMut(u64) -> bool) -> u32 {
        let open = self.places.len() - self.free;
        for _ in 0..open {
            if self.free >= wanted as usize {
                break;
            }
            let at = self.around(self.hand + self.free);
            let ticket = self.places[at];
            if is_finished(ticket) {
                self.free += 1;
            } else {
                // The free places move on by one: the ticket behind them goes before them.
                self.places[self.hand] = ticket;
                self.hand = self.around(self.hand + 1);
            }
        }
        self.free.min(wanted as usize) as u32
    }

    /// Uses one credit that was available.
    pub fn spend(&mut self, ticket: u64) {
        debug_assert!(self.free > 0);
        self.places[self.hand] = ticket;
        self.hand = self.around(self.hand + 1);
        self.free = self.free.saturating_sub(1);
    }

    /// The oldest ticket that is not known to be finished.
    pub fn oldest(&self) -> Option<u64> {
        let open = (self.free..self.places.len()).map(|i| self.places[self.around(self.hand + i)]);
        open.min()
    }

    fn around(&self, place: usize) -> usize {
        if place >= self.places.len() { place - self.places.len() } else { place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_ticket_that_is_held_costs_one_credit_and_few_looks() {
        let mut credits = Credits::new(8);
        let mut looks = 0u64;
        for ticket in 0..8000 {
            // Ticket 0 is never finished, each other one after four more.
            let available = credits.available(1, |t| {
                looks += 1;
                t != 0 && t + 4 < ticket
            });
            assert_eq!(available, 1);
            credits.spend(ticket);
        }
        assert_eq!(credits.oldest(), Some(0));
        assert!(looks < 2 * 8000, "{looks}");
    }

    proptest! {
        /// Compares with a set of open tickets: exactly the credits that are left are available.
        #[test]
        fn credits_are_what_is_not_open(
            count in 1u32..40,
            steps in proptest::collection::vec((1u32..12, any::<prop::sample::Index>(), 0usize..6), 1..200),
        ) {
            let mut credits = Credits::new(count);
            let (mut open, mut next) = (BTreeSet::new(), 0u64);
            for (wanted, which, finished) in steps {
                for _ in 0..finished.min(open.len()) {
                    let ticket: u64 = *open.iter().nth(which.index(open.len())).unwrap_or(&0);
                    open.remove(&ticket);
                }
                let available = credits.available(wanted, |ticket| !open.contains(&ticket));
                prop_assert_eq!(available as usize, (count as usize - open.len()).min(wanted as usize));
                for _ in 0..available {
                    credits.spend(next);
                    open.insert(next);
                    next += 1 + u64::from(wanted);
                }
                let oldest = credits.oldest();
                prop_assert!(oldest <= open.first().copied() || open.is_empty());
            }
        }
    }
}
