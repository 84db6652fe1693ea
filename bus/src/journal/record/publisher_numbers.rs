//! The last recorded number of each publisher that numbers its events.
//!
//! These are not the numbers in the channel's table, but those that the events in the journal
//! carry: a publisher of a channel that is made again continues after the last event that is *in
//! the journal*. A name is looked up in the table when its publisher is first seen, and a state
//! record is put before its first event. So the journal from the newest such record on has
//! everything that is needed.

use std::collections::{HashMap, HashSet};

use railbus_ring::frame::{self, SEQUENCED};
use railbus_ring::slots::sequence::Sequences;

use crate::channel::mapped::Trusted;
use crate::event::{Event, Located, Sequence};
use crate::journal::record::recorded_state::Sequences as Recorded;

/// The name and the last number of a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    name: String,
    last: u64,
}

/// The publishers of a channel that number their events.
#[derive(Debug, Default)]
pub(crate) struct PublisherNumbers {
    known: HashMap<u64, Known>,
    /// Publishers of other channels, whose events were replayed into this one or came here as dead
    /// letters.
    foreign: HashSet<u64>,
    /// Whether any known number is not in a state record.
    unsaved: bool,
    /// Whether a publisher is new, so that a state record must come before its event.
    urgent: bool,
}

/// Returns the number that an event carries.
fn number_of(header: u64, body: &[u8]) -> Option<Sequence> {
    if frame::flags(header) & SEQUENCED == 0 {
        return None;
    }
    // SAFETY: the body has as many bytes as its header says, and lives as long as the event that is
    // made of it here.
    let event = unsafe { Event::new(Located { body: body.as_ptr(), header, position: 0 }) };
    (body.len() == frame::body_bytes(header) as usize).then(|| event.sequence()).flatten()
}

impl PublisherNumbers {
    /// Restores the numbers from a state record.
    pub(crate) fn recorded(recorded: Recorded) -> PublisherNumbers {
        let known =
            recorded.0.into_iter().map(|(name, last)| (Sequence::publisher_id(&name), Known { name, last }));
        PublisherNumbers { known: known.collect(), ..PublisherNumbers::default() }
    }

    /// Examines an event that is about to be recorded.
    #[inline]
    pub(crate) fn expect(&mut self, header: u64, body: &[u8], table: &Sequences<Trusted>) {
        if frame::flags(header) & SEQUENCED != 0 {
            self.expect_numbered(header, body, table);
        }
    }

    #[cold]
    fn expect_numbered(&mut self, header: u64, body: &[u8], table: &Sequences<Trusted>) {
        let Some(Sequence { publisher, number }) = number_of(header, body) else { return };
        if self.known.contains_key(&publisher) || self.foreign.contains(&publisher) {
            return;
        }
        let names = table.entries().filter_map(|(name, _)| text(name));
        match names.into_iter().find(|name| Sequence::publisher_id(name) == publisher) {
            Some(name) => {
                self.known.insert(publisher, Known { name, last: number.saturating_sub(1) });
                (self.unsaved, self.urgent) = (true, true);
            }
            None => {
                // The set is bounded, because a publisher may make up any number of ids.
                if self.foreign.len() < 4096 {
                    self.foreign.insert(publisher);
                }
            }
        }
    }

    /// Records the number of an event that was recorded.
    #[inline]
    pub(crate) fn note(&mut self, header: u64, body: &[u8]) {
        if frame::flags(header) & SEQUENCED == 0 {
            return;
        }
        if let Some(Sequence { publisher, number }) = number_of(header, body)
            && let Some(known) = self.known.get_mut(&publisher)
            && number > known.last
        {
            known.last = number;
            self.unsaved = true;
        }
    }

    /// Returns the state record that must come before the next event, if there is one.
    pub(crate) fn urgent(&self) -> Option<Recorded> {
        self.urgent.then(|| self.state())
    }

    /// Returns the state record that is due, if anything has changed.
    pub(crate) fn unsaved(&self) -> Option<Recorded> {
        self.unsaved.then(|| self.state())
    }

    /// Marks the state as recorded.
    pub(crate) fn saved(&mut self) {
        (self.unsaved, self.urgent) = (false, false);
    }

    /// Makes the state due again, because a new segment has begun.
    pub(crate) fn forget_saved(&mut self) {
        self.unsaved = !self.known.is_empty();
    }

    /// Returns all of them, sorted by name.
    pub(crate) fn state(&self) -> Recorded {
        let mut all: Vec<(String, u64)> =
            self.known.values().map(|known| (known.name.clone(), known.last)).collect();
        all.sort();
        Recorded(all)
    }
}

fn text(name: [u64; 8]) -> Option<String> {
    let bytes: Vec<u8> = name.iter().flat_map(|word| word.to_le_bytes()).collect();
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..length].to_vec()).ok().filter(|name| !name.is_empty())
}
