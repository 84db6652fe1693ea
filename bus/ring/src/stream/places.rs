//! The two places that a stream's publisher keeps for others.
//!
//! **Promise.** [`read`] returns two places of one and the same update, each with the
//! number of events before it.
//!
//! **How it works.** A ring of bytes can be entered only where a frame begins. The publisher
//! therefore keeps two places in its own file:
//!
//! - the **floor**: the publisher overwrites nothing at or above it before it has moved it, and
//!   nothing below it is promised;
//! - the **recent** place: where the publisher was at its last rescan.
//!
//! A joiner starts at the floor or walks from the recent place. A lossy reader that was overrun
//! resumes at the recent place, and learns from the counts how many events it lost. The successor
//! of a dead publisher walks from the recent place to the end.
//!
//! ```text
//! index = k      entry[k & 1] = { floor position, floor count, recent position, recent count }
//! ```
//!
//! **Why it is sound.** There are two entries and an index, so that no reader takes half of an
//! update for a whole one. The publisher fills the entry that is not in use, and then stores the
//! index that names it. A reader that finds the index unchanged after a memory fence has read one
//! update.
//!
//! **Left out.** A reader that is overtaken again and again gives up after a number of
//! attempts that its caller chooses.

use crate::layout;
use crate::memory::{Edge, Memory};

/// A place in a stream where a frame begins (or will begin), and how many events lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Its position, in bytes.
    pub position: u64,
    /// How many events lie before it.
    pub count: u64,
}

/// The two places as the publisher has published them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacePair {
    /// The number of the update.
    pub index: u64,
    /// The lowest place that is intact.
    pub floor: Place,
    /// Where the publisher was at its last rescan.
    pub recent: Place,
}

fn entry(index: u64) -> usize {
    layout::ANCHOR_ENTRIES + (index as usize & 1) * 32
}

/// The highest position, count or ticket that is accepted. No participant comes near it, so a
/// larger one means that the memory is corrupt. It is so far from the end of the range that no sum
/// of a position and the size of a ring overflows.
pub const POSITION_MAX: u64 = u64::MAX - (1 << 48);

/// Reads both places of one update. Returns `None` if the publisher changed them during each of
/// `tries` attempts, or if they are not places that a publisher writes.
pub fn read<M: Memory>(ring: &M, tries: usize) -> Option<PlacePair> {
    for _ in 0..tries {
        // PLACES: the entry was filled before its index was stored.
        let index = ring.load(layout::ANCHOR_INDEX, Edge::Places);
        let at = entry(index);
        let word = |i: usize| ring.load(at + i * 8, Edge::Plain);
        let floor = Place { position: word(0), count: word(1) };
        let recent = Place { position: word(2), count: word(3) };
        // VALIDATE: pairs with the JOIN fence that follows each store of the index. If the entry
        // had been refilled for index + 2, this load would find at least index + 1.
        ring.fence(Edge::Validate);
        if ring.load(layout::ANCHOR_INDEX, Edge::Plain) == index {
            let highest = recent.position.max(floor.count).max(recent.count);
            let sound = floor.position <= recent.position
                && (floor.position | recent.position).is_multiple_of(8)
                && highest <= POSITION_MAX;
            return sound.then_some(PlacePair { index, floor, recent });
        }
    }
    None
}

/// The places that the publisher remembers, oldest first. The first is the floor, the last is the
/// recent place.
#[derive(Debug)]
pub struct History {
    places: [Place; History::MOST],
    length: usize,
    index: u64,
    published: (Place, Place),
}

impl History {
    const MOST: usize = 16;

    /// Continues from the published places.
    pub fn resume(places: PlacePair) -> History {
        let mut history = History {
            places: [Place::default(); History::MOST],
            length: 1,
            index: places.index,
            published: (places.floor, places.recent),
        };
        history.places[0] = places.floor;
        if places.recent.position > places.floor.position {
            history.places[1] = places.recent;
            history.length = 2;
        }
        history
    }

    /// The oldest place.
    pub fn floor(&self) -> Place {
        self.places[0]
    }

    /// Adds the place `here`, where the publisher is now. Places stay about `stride` bytes apart.
    pub fn note(&mut self, here: Place, stride: u64) {
        let last = self.places[self.length - 1];
        if here.position == last.position {
            return;
        }
        let crowded = self.length >= 2 && last.position - self.places[self.length - 2].position < stride
            || self.length == History::MOST;
        if !crowded {
            self.length += 1;
        }
        self.places[self.length - 1] = here;
    }

    /// Raises the floor to at least `wanted`, if a remembered place at or below `bound` allows
    /// that.
    pub fn raise(&mut self, wanted: u64, bound: u64) {
        let mut first = 0;
        while first + 1 < self.length
            && self.places[first].position < wanted
            && self.places[first + 1].position <= bound
        {
            first += 1;
        }
        self.places.copy_within(first..self.length, 0);
        self.length -= first;
    }

    /// Publishes both places if they have changed. The caller executes an [`Edge::Join`] fence
    /// before it reads a cursor or overwrites a byte.
    pub fn publish<M: Memory>(&mut self, ring: &M) {
        let (floor, recent) = (self.places[0], self.places[self.length - 1]);
        if (floor, recent) == self.published {
            return;
        }
        self.published = (floor, recent);
        // The sum wraps only if another process has written the word. Only the lowest bit matters,
        // and that the word changes.
        self.index = self.index.wrapping_add(1);
        let at = entry(self.index);
        for (i, value) in [floor.position, floor.count, recent.position, recent.count].into_iter().enumerate()
        {
            ring.store(at + i * 8, value, Edge::Plain);
        }
        // PLACES: the entry is filled before the index names it.
        ring.store(layout::ANCHOR_INDEX, self.index, Edge::Places);
        // The floor is also stored on its own, for lossy readers. It only grows.
        // PLACES: a reader that sees it sees the index, too, and therefore a recent place that is
        // not below this floor. The caller's JOIN fence orders this store before the bytes that are
        // overwritten then.
        ring.store(layout::ANCHOR_FLOOR, floor.position, Edge::Places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Place {
        Place { position, count: position / 8 }
    }

    #[test]
    fn history_keeps_its_distance_and_its_ends() {
        let mut history = History::resume(PlacePair { index: 0, floor: at(0), recent: at(0) });
        for position in (0..=4096).step_by(24) {
            history.note(at(position), 512);
        }
        assert_eq!(history.floor(), at(0));
        assert_eq!(history.places[history.length - 1].position, 4080);
        assert!(history.length <= 10);
        history.raise(1000, u64::MAX);
        assert!(history.floor().position >= 1000 && history.floor().position < 1700);
        let floor = history.floor();
        history.raise(u64::MAX, floor.position + 1);
        assert_eq!(history.floor(), floor, "the bound holds it");
        history.raise(u64::MAX, u64::MAX);
        assert_eq!(history.floor().position, 4080);
    }
}
