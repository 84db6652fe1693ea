//! Retention decides which segments may be removed.
//!
//! Segments are judged from the oldest on, and the first that must stay ends the search, so a
//! journal never has a hole. The facts about a segment are read once: its first block and the size
//! of its file. Everything in it was recorded before the first block of the next segment, and lies
//! before that block's position.
//!
//! The rest must be a journal whatever happens next. So a segment is removed only
//!
//! - when something after the next segment's first position is durable: then that segment's first
//!   block is durable, and no power cut leaves a journal without a beginning;
//! - when every state that the journal has is durable in a later segment ([`Stand::states_from`]);
//! - when no event that is still to be read began in it: an event that continues in the next
//!   segment would be lost with its beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::block;
use crate::disk::store::Store;
use crate::format::{
    BLOCK_BYTES_MAX, BLOCKS_OFFSET, BlockHeader, PIECE_OF_STATE, SECTOR_BYTES, SegmentHeader,
};

/// Which part of the past a journal keeps.
///
/// A segment is removed only as a whole. The segment in use is never removed, nor is anything that
/// is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Removes the oldest segments while the journal has more bytes than this. `None`: no limit.
    pub max_bytes: Option<u64>,
    /// Removes segments in which everything was recorded longer ago than this. `None`: no limit.
    pub max_age: Option<Duration>,
    /// Removes segments that every durable subscription has read and that lie before every
    /// checkpoint. In a queue, all their events must also be done. If a stream or topic has neither
    /// a durable subscription nor a checkpoint, nothing is removed.
    pub consumed: bool,
    /// Whether the limits of size and age spare unread events: those that a durable subscription,
    /// or a consumer with a checkpoint, has still to read, and unfinished events of a queue. The
    /// default is true. Then a consumer that never comes back keeps the journal without end.
    pub keep_unread: bool,
}

impl Default for Retention {
    /// Keeps everything.
    fn default() -> Retention {
        Retention { max_bytes: None, max_age: None, consumed: false, keep_unread: true }
    }
}

impl Retention {
    /// Returns the rules with [`Self::max_bytes`] set.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = max_bytes.into();
        self
    }

    /// Returns the rules with [`Self::max_age`] set.
    #[must_use]
    pub fn max_age(mut self, max_age: impl Into<Option<Duration>>) -> Self {
        self.max_age = max_age.into();
        self
    }

    /// Returns the rules with [`Self::consumed`] set.
    #[must_use]
    pub fn consumed(mut self, consumed: bool) -> Self {
        self.consumed = consumed;
        self
    }

    /// Returns the rules with [`Self::keep_unread`] set.
    #[must_use]
    pub fn keep_unread(mut self, keep_unread: bool) -> Self {
        self.keep_unread = keep_unread;
        self
    }

    /// Whether any segment is ever removed.
    pub fn is_active(&self) -> bool {
        self.max_bytes.is_some() || self.max_age.is_some() || self.consumed
    }
}

/// The known facts about a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    bytes: u64,
    begins: Option<Begins>,
    /// CLOCK_BOOTTIME in ns when it appeared; `None` if it was there at the first look.
    appeared_ns: Option<u64>,
}

/// The readings of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_REALTIME in ns, without steps.
    pub wall_ns: u64,
    /// CLOCK_BOOTTIME in ns.
    pub boot_ns: u64,
    /// Whether the wall clock may be believed about what was recorded in earlier runs.
    pub is_trusted: bool,
}

impl Now {
    /// Readings with a wall clock that is right.
    pub fn wall(ns: u64) -> Now {
        Now { wall_ns: ns, boot_ns: 0, is_trusted: true }
    }

    /// Returns for how long, at least, everything before a segment has been recorded. A segment
    /// that appeared in this run is judged by the clock since boot, others by the wall clock if
    /// that is trusted.
    fn age(&self, known: &Known) -> Duration {
        let ns = match (known.appeared_ns, known.begins) {
            (Some(appeared_ns), _) => self.boot_ns.saturating_sub(appeared_ns),
            (None, Some(begins)) if self.is_trusted => self.wall_ns.saturating_sub(begins.time_ns),
            (None, _) => 0,
        };
        Duration::from_nanos(ns)
    }
}

/// The beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Begins {
    /// Position and time (ns of CLOCK_REALTIME) of its first block.
    position: u64,
    time_ns: u64,
    /// Whether its first record continues an event that began in the segment before.
    within_event: bool,
}

impl Begins {
    /// A reader that has read everything before this position needs nothing from earlier segments.
    fn behind(&self) -> u64 {
        self.position.saturating_add(u64::from(self.within_event))
    }
}

/// How far the journal and its readers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// The readings of the clocks.
    pub now: Now,
    /// Everything before this position is durable.
    pub durable: u64,
    /// Segments before this one hold no state that is needed: see
    /// [`Writer::states_from`](crate::write::Writer::states_from).
    pub states_from: u64,
    /// The lowest position that a durable subscription or a checkpoint has still to read, or that
    /// is not done; `u64::MAX` for none.
    pub unread: u64,
}

/// Number of looks between two listings of the directory, unless a segment was begun. Another
/// process may have removed segments.
const LOOKS_A_LISTING: u32 = 40;

/// Remembers what is in a journal's directory.
#[derive(Debug, Default)]
pub struct Keeper {
    known: BTreeMap<u64, Known>,
    /// The size of all known segments, in bytes.
    bytes: u64,
    listed: bool,
    looks: u32,
}

impl Keeper {
    /// Makes the next look list the directory, because a segment was begun.
    pub fn list_again(&mut self) {
        self.looks = LOOKS_A_LISTING;
    }

    /// Lists the directory. It keeps what is known of a segment, and reads a new one.
    fn list(&mut self, store: &dyn Store, boot_ns: u64) -> std::io::Result<()> {
        let appeared_ns = self.listed.then_some(boot_ns);
        let mut known = BTreeMap::new();
        for segment in store.segments()? {
            let before = self.known.get(&segment);
            let now = match before.filter(|before| before.begins.is_some()) {
                Some(before) => *before,
                None => match look(store, segment) {
                    // Another process removed it after it was listed.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    found => {
                        let appeared_ns = before.map_or(appeared_ns, |before| before.appeared_ns);
                        Known { appeared_ns, ..found? }
                    }
                },
            };
            known.insert(segment, now);
        }
        // A segment was recorded before every later one. So what a wrong clock recorded is at least
        // as old as what follows it.
        let mut earliest_ns = u64::MAX;
        for begins in known.values_mut().rev().filter_map(|known: &mut Known| known.begins.as_mut()) {
            earliest_ns = earliest_ns.min(begins.time_ns);
            begins.time_ns = earliest_ns;
        }
        self.bytes = known.values().map(|known| known.bytes).sum();
        (self.known, self.listed, self.looks) = (known, true, 0);
        Ok(())
    }

    /// Reads again the newest segments, those that had no block when they were last read.
    fn read_again(&mut self, store: &dyn Store) -> std::io::Result<()> {
        for (&segment, known) in self.known.iter_mut().rev().take_while(|(_, known)| known.begins.is_none()) {
            match look(store, segment) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.looks = LOOKS_A_LISTING,
                found => known.begins = found?.begins,
            }
        }
        Ok(())
    }

    /// Returns the segments that may be removed, the oldest first. The cost depends on the number
    /// of those segments only, except for a listing now and then.
    ///
    /// # Errors
    /// The error of the store.
    pub fn removable(
        &mut self,
        store: &dyn Store,
        retention: &Retention,
        stand: Stand,
    ) -> std::io::Result<Vec<u64>> {
        self.looks += 1;
        if !self.listed || self.looks >= LOOKS_A_LISTING {
            self.list(store, stand.now.boot_ns)?;
        }
        self.read_again(store)?;
        let mut bytes = self.bytes;
        let mut removable = Vec::new();
        for ((&segment, this), (_, behind)) in self.known.iter().zip(self.known.iter().skip(1)) {
            let Some(next) = behind.begins else { break };
            let large = retention.max_bytes.is_some_and(|most| bytes > most);
            let old = retention.max_age.is_some_and(|most| stand.now.age(behind) > most);
            let read = next.behind() <= stand.unread;
            let wanted = (large || old) && (read || !retention.keep_unread) || retention.consumed && read;
            if !wanted || next.position >= stand.durable || segment >= stand.states_from {
                break;
            }
            bytes -= this.bytes;
            removable.push(segment);
        }
        Ok(removable)
    }

    /// The first position of the oldest segment, if it is known.
    pub fn first_position(&self) -> Option<u64> {
        self.known.values().next()?.begins.map(|begins| begins.position)
    }

    /// Forgets a segment that was removed. Returns its size in bytes.
    pub fn forget(&mut self, segment: u64) -> u64 {
        let bytes = self.known.remove(&segment).map_or(0, |known| known.bytes);
        self.bytes -= bytes;
        bytes
    }
}

fn look(store: &dyn Store, segment: u64) -> std::io::Result<Known> {
    // A segment that was only prepared holds zeros, or, if it was recycled, another segment's
    // blocks. So the block's segment id is compared.
    let mut first = [0; SECTOR_BYTES];
    store.read_at(segment, 0, &mut first)?;
    let mut bytes = vec![0; SECTOR_BYTES];
    let read = store.read_at(segment, BLOCKS_OFFSET, &mut bytes)?;
    bytes.truncate(read);
    let begins = match (BlockHeader::decode(&bytes), SegmentHeader::decode(&first)) {
        (Ok(block), Ok(own)) if block.segment_id == own.segment_id => Some(Begins {
            position: block.first_position,
            time_ns: block.base_time_ns,
            within_event: begins_within_event(store, segment, &block)?,
        }),
        _ => None,
    };
    Ok(Known { bytes: store.length(segment)?, begins, appeared_ns: None })
}

/// Whether the first record of a segment continues an event that began in the segment before. Also
/// true where this cannot be decided, because the block may be half written.
///
/// # Errors
/// The error of the store.
pub fn begins_within_event(store: &dyn Store, segment: u64, first: &BlockHeader) -> std::io::Result<bool> {
    let mut bytes = vec![0; (first.block_bytes as usize).min(BLOCK_BYTES_MAX)];
    let read = store.read_at(segment, BLOCKS_OFFSET, &mut bytes)?;
    let mut scratch = Vec::new();
    let Ok(records) = block::open(first, &bytes[..read], &mut scratch) else { return Ok(true) };
    Ok(match block::Records::new(first, records).next() {
        Some(Ok(record)) => record.kind.continues() && record.flags & PIECE_OF_STATE == 0,
        Some(Err(_)) => true,
        None => false,
    })
}

/// The first unread position according to the journal's own states: those that may be the newest
/// after a crash.
///
/// An appended state counts alone once it is durable. Until then the states before it count as
/// well.
#[derive(Debug, Default)]
pub struct Settled {
    durable: Option<u64>,
    /// States that were appended since and are not durable: the count of the last one, and the
    /// lowest position among them.
    next: Option<(u64, u64)>,
    later: Option<(u64, u64)>,
}

impl Settled {
    /// Records that the `count`-th state was appended, and that it says `unread` is the first
    /// unread position.
    pub fn appended(&mut self, count: u64, unread: u64) {
        match self.next {
            None => self.next = Some((count, unread)),
            Some(_) => {
                let lowest = self.later.map_or(unread, |(_, lowest)| lowest.min(unread));
                self.later = Some((count, lowest));
            }
        }
    }

    /// Returns the lowest unread position in any state that may be the newest after a crash; 0
    /// before the first state is durable.
    pub fn unread(&mut self, durable: u64) -> u64 {
        while let Some((_, unread)) = self.next.take_if(|(count, _)| *count <= durable) {
            self.durable = Some(unread);
            self.next = self.later.take();
        }
        let pending = self.next.iter().chain(&self.later).map(|&(_, unread)| unread);
        self.durable.map_or(0, |unread| pending.fold(unread, u64::min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{
        BLOCK_HEADER_BYTES, BlockKind, PositionUnit, RecordHeader, RecordKind, SEGMENT_BYTES_DEFAULT,
        checksum,
    };
    use std::cell::Cell;
    use std::io;

    /// Segments 1 to 5, of 1000 bytes each. Number n begins at position 100 n, and at second n. If
    /// `within_event`, each begins with the last piece of an event.
    struct Five {
        within_event: bool,
        /// This segment, if any, was recorded with a clock that was a year ahead.
        ahead: u64,
        /// The number of segments instead of five.
        count: u64,
        /// Number of operations so far.
        calls: Cell<u64>,
    }

    impl Five {
        fn within(within_event: bool) -> Five {
            Five { within_event, ahead: 0, count: 5, calls: Cell::new(0) }
        }
    }

    const YEAR_NS: u64 = 365 * 86_400 * 1_000_000_000;

    impl Store for Five {
        fn segments(&self) -> io::Result<Vec<u64>> {
            self.calls.set(self.calls.get() + 1);
            Ok((1..=self.count).collect())
        }

        fn length(&self, _segment: u64) -> io::Result<u64> {
            self.calls.set(self.calls.get() + 1);
            Ok(1000)
        }

        fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
            self.calls.set(self.calls.get() + 1);
            let own = SegmentHeader {
                number: segment,
                segment_id: segment,
                incarnation: 1,
                epoch: 1,
                segment_bytes: SEGMENT_BYTES_DEFAULT,
                ..SegmentHeader::default()
            };
            let mut page = [0; SECTOR_BYTES];
            if offset == 0 {
                page = *own.encode();
            } else {
                let piece = RecordHeader {
                    body_bytes: 0,
                    type_id: 0,
                    flags: 0,
                    kind: RecordKind::Last,
                    position_delta: 0,
                    time_delta_ns: 0,
                };
                let bytes = if self.within_event { piece.encode().len() as u32 } else { 0 };
                page[BLOCK_HEADER_BYTES..][..bytes as usize]
                    .copy_from_slice(&piece.encode()[..bytes as usize]);
                let block = BlockHeader {
                    kind: BlockKind::Records,
                    stored_bytes: bytes,
                    records_bytes: bytes,
                    records: u32::from(self.within_event),
                    body_checksum: checksum(&page[BLOCK_HEADER_BYTES..]),
                    block_bytes: SECTOR_BYTES as u32,
                    segment_id: segment,
                    first_position: 100 * segment,
                    end_position: 100 * segment + 100,
                    base_time_ns: segment * 1_000_000_000 + if segment == self.ahead { YEAR_NS } else { 0 },
                    incarnation: 1,
                    epoch: 1,
                    unit: PositionUnit::Events,
                    ..BlockHeader::default()
                };
                block.encode(&mut page);
            }
            let length = bytes.len().min(page.len());
            bytes[..length].copy_from_slice(&page[..length]);
            Ok(length)
        }

        fn write_at(&self, _segment: u64, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync(&self, _segment: u64) -> io::Result<()> {
            Ok(())
        }

        fn create(&self, _header: &SegmentHeader, _channel_page: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn remove(&self, _segment: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn quarantine(&self, _segment: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn removable(retention: Retention, durable: u64, unread: u64) -> Vec<u64> {
        let stand = Stand { now: Now::wall(10_000_000_000), durable, states_from: u64::MAX, unread };
        Keeper::default().removable(&Five::within(false), &retention, stand).unwrap()
    }

    #[test]
    fn what_a_power_cut_would_need_stays() {
        let all = Retention { max_bytes: Some(0), ..Retention::default() };
        assert_eq!(removable(all, 300, u64::MAX), [1], "of segment 3, nothing is known to be durable");
        assert_eq!(removable(all, 301, u64::MAX), [1, 2]);
        let stand = Stand { now: Now::wall(10_000_000_000), durable: 600, states_from: 3, unread: u64::MAX };
        let mut keeper = Keeper::default();
        assert_eq!(keeper.removable(&Five::within(false), &all, stand).unwrap(), [1, 2]);
    }

    #[test]
    fn an_event_that_goes_on_in_the_next_segment_is_unread_until_it_is_read() {
        let all = Retention { max_bytes: Some(0), ..Retention::default() };
        for (within_event, unread, expected) in
            [(false, 300, vec![1, 2]), (true, 300, vec![1]), (true, 301, vec![1, 2])]
        {
            let stand = Stand { now: Now::wall(10_000_000_000), durable: 600, states_from: u64::MAX, unread };
            assert_eq!(
                Keeper::default().removable(&Five::within(within_event), &all, stand).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn what_is_unread_is_what_any_state_says_that_may_be_the_newest() {
        let mut settled = Settled::default();
        settled.appended(1, 50);
        assert_eq!(settled.unread(0), 0, "nothing is durable");
        settled.appended(2, 40);
        settled.appended(3, 70);
        assert_eq!(settled.unread(1), 40, "the second may be durable by now");
        assert_eq!(settled.unread(2), 40);
        assert_eq!(settled.unread(3), 40, "told of together");
        settled.appended(4, 70);
        assert_eq!((settled.unread(3), settled.unread(4)), (40, 70));
    }

    #[test]
    fn what_is_too_large_or_old_or_read_goes_from_the_oldest_on() {
        let nothing = Retention::default();
        assert_eq!(removable(nothing, 600, u64::MAX), [0u64; 0]);
        let large = Retention { max_bytes: Some(3000), ..nothing };
        assert_eq!(removable(large, 600, u64::MAX), [1, 2]);
        let old = Retention { max_age: Some(Duration::from_millis(6500)), ..nothing };
        // Everything in the second segment was recorded before the third began, at 3 s: 7 s ago.
        assert_eq!(removable(old, 600, u64::MAX), [1, 2]);
        let read = Retention { consumed: true, ..nothing };
        assert_eq!(removable(read, 600, 399), [1, 2]);
        assert_eq!(removable(read, 600, 400), [1, 2, 3]);
        assert_eq!(removable(read, 600, u64::MAX), [1, 2, 3, 4], "never the one in use");
    }

    #[test]
    fn what_a_wrong_clock_recorded_is_as_old_as_what_is_behind_it() {
        let old = Retention { max_age: Some(Duration::from_millis(5500)), ..Retention::default() };
        let stand =
            Stand { now: Now::wall(10_000_000_000), durable: 600, states_from: u64::MAX, unread: u64::MAX };
        // Everything before segment 3 was recorded before segment 4 began, at 4 s: 6 s ago.
        let five = Five { ahead: 3, ..Five::within(false) };
        assert_eq!(Keeper::default().removable(&five, &old, stand).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn the_cost_of_retention_grows_with_the_segments_and_not_with_their_pairs() {
        let many = Five { count: 9_000, ..Five::within(false) };
        let stand = Stand { now: Now::wall(0), durable: u64::MAX, states_from: u64::MAX, unread: u64::MAX };
        let nothing = Retention { max_bytes: Some(u64::MAX), ..Retention::default() };
        let mut keeper = Keeper::default();
        assert_eq!(keeper.removable(&many, &nothing, stand).unwrap(), [0u64; 0]);
        let first = many.calls.replace(0);
        assert!(first <= 5 * 9_000, "{first} operations to get to know 9,000 segments");
        for _ in 0..1_000 {
            assert_eq!(keeper.removable(&many, &nothing, stand).unwrap(), [0u64; 0]);
        }
        let later = many.calls.replace(0);
        assert!(later <= 1_000, "{later} operations in 1,000 looks at the same segments");
        let all = Retention { max_bytes: Some(0), ..Retention::default() };
        let doomed = keeper.removable(&many, &all, stand).unwrap();
        assert_eq!(doomed.len(), 8_999);
        doomed.into_iter().for_each(|segment| assert_eq!(keeper.forget(segment), 1000));
        assert!(many.calls.get() <= 4, "{} operations to choose 8,999 segments", many.calls.get());
    }

    #[test]
    fn what_is_unread_or_not_durable_stays() {
        let all = Retention { max_bytes: Some(0), ..Retention::default() };
        assert_eq!(removable(all, 600, u64::MAX), [1, 2, 3, 4]);
        assert_eq!(removable(all, 350, u64::MAX), [1, 2]);
        assert_eq!(removable(all, 600, 250), [1]);
        assert_eq!(removable(Retention { keep_unread: false, ..all }, 600, 250), [1, 2, 3, 4]);
    }

    #[test]
    fn a_wrong_clock_makes_nothing_old_and_what_appeared_in_this_run_ages_as_time_passes() {
        let retention = Retention { max_age: Some(Duration::from_secs(3600)), ..Retention::default() };
        let five = Five::within(false);
        let mut keeper = Keeper::default();
        let now = Now { wall_ns: 365 * 86_400 * 1_000_000_000, boot_ns: 0, is_trusted: false };
        let mut stand = Stand { now, durable: 600, states_from: u64::MAX, unread: u64::MAX };
        assert_eq!(keeper.removable(&five, &retention, stand).unwrap(), [0u64; 0], "not trusted yet");
        // Makes all of them look as if they had appeared just now.
        keeper.known.values_mut().for_each(|known| known.appeared_ns = Some(0));
        stand.now.is_trusted = true;
        assert_eq!(keeper.removable(&five, &retention, stand).unwrap(), [0u64; 0], "recorded just now");
        stand.now.boot_ns = 3_601_000_000_000;
        assert_eq!(keeper.removable(&five, &retention, stand).unwrap(), [1, 2, 3, 4]);
    }
}
