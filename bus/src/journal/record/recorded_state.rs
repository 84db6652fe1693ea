//! The state of a channel that its journal records beside the events:
//!
//! - which events of a queue are not done yet;
//! - the cursors of the durable subscriptions;
//! - the last number of each publisher that numbers its events (`publisher_numbers.rs`).
//!
//! The first two are snapshots of shared words, taken now and then. If a change is missed, the only
//! effect is that something is delivered again.
//!
//! ```text
//! Acks      lowest 8 | upto 8 | runs 4 | 0 4 | run ...   run   varint skip | varint length | attempts 1
//! Cursors   count 8 | cursor ...            cursor   position 8 | role 1 | name bytes 1 | name
//! Sequences count 8 | sequence ...          sequence last 8 | name bytes 1 | name
//! ```
//!
//! [`Acks`]: every ticket from `lowest` up to `upto` that lies in a run is unfinished, and the
//! others are done. Tickets before `lowest` are done. If the runs do not fit a record (a hundred
//! thousand separate unfinished events), runs close to each other are merged: then the events that
//! were done between them are delivered again.

use railbus_ring::layout;
use railbus_ring::members::gates::NO_GATE;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{DURABLE, ROLE_SUBSCRIBER, ROLE_TAP, Registry};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::word::{self, Slots, done};

use crate::channel::memories::Memories;
use crate::channel::name::JOURNALLER;
use crate::channel::open::Channel;
use crate::channel::peers::registry_of;

/// Size of the longest body of a state record, in bytes. It fits every block.
pub(crate) const STATE_BYTES_MAX: usize = 128 << 10;

/// A row of unfinished tickets with the same count of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first ticket.
    pub first: u64,
    /// Number of tickets, at least 1.
    pub length: u64,
    /// Number of deliveries that have failed.
    pub attempts: u8,
}

/// The events of a queue that are not done: the body of an `Acks` record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Acks {
    /// Every ticket before this one is done.
    pub lowest: u64,
    /// The snapshot does not cover tickets from here on: they count as unfinished.
    pub upto: u64,
    /// The unfinished tickets between the two, ascending.
    pub runs: Vec<Run>,
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

impl Acks {
    /// Encodes it in at most [`STATE_BYTES_MAX`] bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A run takes at most 21 bytes, and usually 3.
        let mut slack = 0;
        loop {
            let runs = merged(&self.runs, slack);
            let mut bytes = Vec::with_capacity(24 + 4 * runs.len());
            bytes.extend_from_slice(&self.lowest.to_le_bytes());
            bytes.extend_from_slice(&self.upto.to_le_bytes());
            bytes.extend_from_slice(&(runs.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            let mut at = self.lowest;
            for run in &runs {
                put_varint(&mut bytes, run.first - at);
                put_varint(&mut bytes, run.length);
                bytes.push(run.attempts);
                at = run.first + run.length;
            }
            if bytes.len() <= STATE_BYTES_MAX {
                return bytes;
            }
            slack = slack * 2 + 1;
        }
    }

    /// Decodes and checks it. Returns `None` for bytes that no journaller writes.
    pub(crate) fn decode(mut body: &[u8]) -> Option<Acks> {
        let bytes = &mut body;
        let lowest = u64::from_le_bytes(take(bytes)?);
        let upto = u64::from_le_bytes(take(bytes)?);
        let count = u32::from_le_bytes(take(bytes)?);
        take::<4>(bytes)?;
        if upto < lowest || count as usize > bytes.len() / 3 {
            return None;
        }
        let mut at = lowest;
        let mut runs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let first = at.checked_add(take_varint(bytes)?)?;
            let length = take_varint(bytes)?;
            let [attempts] = take(bytes)?;
            at = first.checked_add(length)?;
            if length == 0 || at > upto {
                return None;
            }
            runs.push(Run { first, length, attempts });
        }
        bytes.is_empty().then_some(Acks { lowest, upto, runs })
    }

    /// Returns the attempts of `ticket` if it is not done.
    pub(crate) fn unfinished(&self, ticket: u64) -> Option<u8> {
        if ticket >= self.upto {
            return Some(0);
        }
        let after = self.runs.partition_point(|run| run.first <= ticket);
        let run = self.runs[..after].last()?;
        (ticket - run.first < run.length).then_some(run.attempts)
    }

    /// Reads a queue's done words for the tickets before `upto`, which is at most the queue's tail.
    /// Tickets before `from` are known to be done.
    pub(crate) fn read(memories: &Memories, slots: Slots, from: u64, upto: u64) -> Acks {
        let from = from.max(upto.saturating_sub(slots.count)).min(upto);
        let mut acks = Acks { lowest: upto, upto, runs: Vec::new() };
        for ticket in from..upto {
            // DONE: the word is only observed; one that is read too early says unfinished.
            let seen = memories.done.load(slots.done_offset(ticket), Edge::Plain);
            let finished =
                slots.is_newer(seen, ticket) || slots.is_of(seen, ticket) && word::kind(seen) == done::DONE;
            if finished {
                continue;
            }
            let attempts = if slots.is_of(seen, ticket) { word::attempt(seen) } else { 0 };
            acks.lowest = acks.lowest.min(ticket);
            match acks.runs.last_mut() {
                Some(run) if run.first + run.length == ticket && run.attempts == attempts => run.length += 1,
                _ => acks.runs.push(Run { first: ticket, length: 1, attempts }),
            }
        }
        acks
    }
}

/// Merges runs with at most `slack` done tickets between them.
fn merged(runs: &[Run], slack: u64) -> Vec<Run> {
    if slack == 0 {
        return runs.to_vec();
    }
    let mut merged: Vec<Run> = Vec::new();
    for run in runs {
        match merged.last_mut() {
            Some(last) if run.first - (last.first + last.length) <= slack => {
                last.length = run.first + run.length - last.first;
                last.attempts = last.attempts.min(run.attempts);
            }
            _ => merged.push(*run),
        }
    }
    merged
}

/// The cursor of a durable subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedCursor {
    /// The subscription's name.
    pub name: String,
    /// Everything before this position was read.
    pub position: u64,
    /// Whether it is a queue's tap rather than a subscriber.
    pub is_tap: bool,
}

/// The cursors of the durable subscriptions: the body of a `Cursors` record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cursors(
    /// In the order of the registry.
    pub Vec<RecordedCursor>,
);

impl Cursors {
    /// Encodes them: at most 255 of at most 74 bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.0.len() as u64).to_le_bytes().to_vec();
        for cursor in &self.0 {
            bytes.extend_from_slice(&cursor.position.to_le_bytes());
            bytes.push(if cursor.is_tap { ROLE_TAP } else { ROLE_SUBSCRIBER } as u8);
            let name = &cursor.name.as_bytes()[..cursor.name.len().min(64)];
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name);
        }
        bytes
    }

    /// Decodes and checks them. Returns `None` for bytes that no journaller writes.
    pub(crate) fn decode(mut body: &[u8]) -> Option<Cursors> {
        let bytes = &mut body;
        let count = u64::from_le_bytes(take(bytes)?);
        if count > layout::ENTRIES_MAX as u64 {
            return None;
        }
        let mut cursors = Vec::new();
        for _ in 0..count {
            let position = u64::from_le_bytes(take(bytes)?);
            let [role, length] = take(bytes)?;
            let is_tap = match role as u64 {
                ROLE_TAP => true,
                ROLE_SUBSCRIBER => false,
                _ => return None,
            };
            let (name, rest) = bytes.split_at_checked(length as usize)?;
            *bytes = rest;
            let name =
                std::str::from_utf8(name).ok().filter(|name| (1..=64).contains(&name.len()))?.to_owned();
            cursors.push(RecordedCursor { name, position, is_tap });
        }
        bytes.is_empty().then_some(Cursors(cursors))
    }

    /// Reads the registry of a channel's consumers. The journaller's own registration is left out.
    pub(crate) fn read(memories: &Memories, channel: &Channel) -> Cursors {
        let registry = registry_of(memories, channel, Side::Consumers);
        Cursors((0..registry.used()).filter_map(|index| read_cursor(memories, &registry, index)).collect())
    }
}

fn read_cursor<M: Memory>(
    memories: &Memories,
    registry: &Registry<M>,
    index: usize,
) -> Option<RecordedCursor> {
    if !registry.is_durable(index) {
        return None;
    }
    let state = registry.state(index);
    let entry = layout::entry(index);
    let acks = &memories.acks;
    let (cursor, behind) =
        (acks.load(entry + layout::CURSOR, Edge::Cursor), acks.load(entry + layout::BEHIND, Edge::Plain));
    let policy = acks.load(entry + layout::POLICY, Edge::Plain);
    let name: Vec<u8> = registry.name(index).iter().flat_map(|word| word.to_le_bytes()).collect();
    // The entry may have changed its owner in between.
    if registry.state(index) != state || cursor == NO_GATE || policy & DURABLE == 0 {
        return None;
    }
    let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    let name = std::str::from_utf8(&name[..length]).ok().filter(|name| !name.is_empty())?;
    let position = if behind == 0 { cursor } else { cursor.min(behind - 1) };
    let is_tap = policy & 0xFF == ROLE_TAP;
    (name != JOURNALLER).then(|| RecordedCursor { name: name.to_owned(), position, is_tap })
}

/// The last number of each publisher that numbers its events: the body of a `Sequences` record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sequences(
    /// Name and last number, sorted by name.
    pub Vec<(String, u64)>,
);

impl Sequences {
    /// Encodes them: at most 64 of at most 73 bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.0.len() as u64).to_le_bytes().to_vec();
        for (name, last) in &self.0 {
            bytes.extend_from_slice(&last.to_le_bytes());
            let name = &name.as_bytes()[..name.len().min(64)];
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name);
        }
        bytes
    }

    /// Decodes and checks them. Returns `None` for bytes that no journaller writes.
    pub(crate) fn decode(mut body: &[u8]) -> Option<Sequences> {
        let bytes = &mut body;
        let count = u64::from_le_bytes(take(bytes)?);
        if count > layout::SEQUENCES_MAX as u64 {
            return None;
        }
        let mut all = Vec::new();
        for _ in 0..count {
            let last = u64::from_le_bytes(take(bytes)?);
            let [length] = take(bytes)?;
            let (name, rest) = bytes.split_at_checked(length as usize)?;
            *bytes = rest;
            let name = std::str::from_utf8(name).ok().filter(|name| (1..=64).contains(&name.len()))?;
            all.push((name.to_owned(), last));
        }
        bytes.is_empty().then_some(Sequences(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(lengths: &[(u64, u64, u8)]) -> Acks {
        let mut acks = Acks { lowest: 1 << 40, upto: 1 << 40, runs: Vec::new() };
        for &(skip, length, attempts) in lengths {
            let first = acks.upto + skip;
            acks.runs.push(Run { first, length, attempts });
            acks.upto = first + length;
        }
        acks.upto += 7;
        acks
    }

    #[test]
    fn too_many_runs_are_merged_and_nothing_unfinished_is_lost() {
        let acks = runs(&vec![(1, 1, 3); 200_000]);
        let bytes = acks.encode();
        assert!(bytes.len() <= STATE_BYTES_MAX);
        let decoded = Acks::decode(&bytes).unwrap();
        assert!(decoded.runs.len() < acks.runs.len());
        for run in &acks.runs {
            assert_eq!(decoded.unfinished(run.first), Some(3));
        }
        assert_eq!(decoded.unfinished(acks.lowest - 1), None);
        assert_eq!(decoded.unfinished(acks.upto), Some(0));
    }

    proptest! {
        #[test]
        fn acks_come_back_as_they_were(
            lengths in proptest::collection::vec((1u64..1000, 1u64..100_000, 0u8..64), 0..200),
        ) {
            let acks = runs(&lengths);
            prop_assert_eq!(Acks::decode(&acks.encode()), Some(acks));
        }

        #[test]
        fn cursors_come_back_as_they_were(
            names in proptest::collection::vec(("[a-zé]{1,30}", any::<u64>(), any::<bool>()), 0..20),
        ) {
            let cursors =
                names.into_iter().map(|(name, position, is_tap)| RecordedCursor { name, position, is_tap }).collect();
            let cursors = Cursors(cursors);
            let sequences = Sequences(cursors.0.iter().map(|one| (one.name.clone(), one.position)).collect());
            prop_assert_eq!(Cursors::decode(&cursors.encode()), Some(cursors));
            prop_assert_eq!(Sequences::decode(&sequences.encode()), Some(sequences));
        }

        #[test]
        fn wild_bytes_are_refused_or_sound(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(acks) = Acks::decode(&bytes) {
                prop_assert!(acks.runs.iter().all(|run| run.first >= acks.lowest && run.first < acks.upto));
            }
            let _ = (Cursors::decode(&bytes), Sequences::decode(&bytes));
        }
    }
}
