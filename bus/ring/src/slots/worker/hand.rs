//! The events that a worker holds, by ticket. Finding, adding and removing one takes the same time,
//! however many there are.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Delivery, TAKE_MAX};

/// Spreads tickets, which follow each other. They come from this worker's own takes, so nobody can
/// choose them to collide.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte as u64));
    }

    fn write_u64(&mut self, word: u64) {
        // The map uses the highest and the lowest bits.
        let product = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ product >> 32;
    }
}

/// Held tickets whose done word says TAKEN, with their deliveries.
#[derive(Debug)]
pub(super) struct Hand(HashMap<u64, Delivery, BuildHasherDefault<Spread>>);

impl Default for Hand {
    fn default() -> Hand {
        Hand(HashMap::with_capacity_and_hasher(2 * TAKE_MAX as usize, BuildHasherDefault::default()))
    }
}

impl Hand {
    pub(super) fn add(&mut self, ticket: u64, delivery: Delivery) {
        self.0.insert(ticket, delivery);
    }

    /// Removes a ticket. Returns the delivery by which it was held.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<Delivery> {
        self.0.remove(&ticket)
    }

    /// The delivery by which a ticket is held.
    pub(super) fn delivery(&self, ticket: u64) -> Option<Delivery> {
        self.0.get(&ticket).copied()
    }

    /// Any ticket that is held.
    pub(super) fn any(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_found_by_its_ticket_only() {
        let mut hand = Hand::default();
        for ticket in 0..1000 {
            hand.add(ticket << 10, ticket as Delivery);
        }
        assert_eq!(hand.len(), 1000);
        assert_eq!((hand.delivery(7 << 10), hand.delivery(7)), (Some(7), None));
        assert_eq!((hand.remove(7 << 10), hand.remove(7 << 10)), (Some(7), None));
        while let Some(ticket) = hand.any() {
            assert!(hand.remove(ticket).is_some());
        }
        assert_eq!(hand.len(), 0);
    }
}
