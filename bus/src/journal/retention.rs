//! Which segments may go.
//!
//! Segments are judged from the oldest on, and the first that must stay ends it: a journal never has a hole. What is
//! known of a segment is read once: its own first block and the size of its file. Everything in it was recorded before
//! the first block of the next one, and lies before that block's position.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::journal::format::{BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader};
use crate::journal::options::Retention;
use crate::journal::store::Store;

/// What is known of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    bytes: u64,
    /// Position and time of its first block.
    begins: Option<(u64, u64)>,
}

/// Where the journal and those who read it stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stand {
    /// CLOCK_REALTIME in ns.
    pub(crate) now_ns: u64,
    /// Everything before this is durable.
    pub(crate) durable: u64,
    /// The lowest position that a durable subscription or a checkpoint has still to read, or that is not done;
    /// `u64::MAX` for none.
    pub(crate) unread: u64,
}

/// Remembers what is in a journal's directory.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    known: BTreeMap<u64, Known>,
}

impl Keeper {
    /// The segments that may go, oldest first.
    pub(crate) fn removable(
        &mut self,
        store: &dyn Store,
        retention: &Retention,
        stand: Stand,
    ) -> std::io::Result<Vec<u64>> {
        let segments = store.segments()?;
        self.known.retain(|segment, known| known.begins.is_some() && segments.contains(segment));
        for &segment in &segments {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.known.entry(segment) {
                match look(store, segment) {
                    // Somebody else removed it since it was listed: the next look sees what is left.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                    known => entry.insert(known?),
                };
            }
        }
        let mut bytes: u64 = self.known.values().map(|known| known.bytes).sum();
        let mut removable = Vec::new();
        for pair in segments.windows(2) {
            let (Some(this), Some(Known { begins: Some((position, time_ns)), .. })) =
                (self.known.get(&pair[0]), self.known.get(&pair[1]))
            else {
                break;
            };
            let large = retention.max_bytes.is_some_and(|most| bytes > most);
            let old = retention.max_age.is_some_and(|most| age(stand.now_ns, *time_ns) > most);
            let read = *position <= stand.unread;
            let wanted = (large || old) && (read || !retention.keep_unread) || retention.consumed && read;
            if !wanted || *position > stand.durable {
                break;
            }
            bytes -= this.bytes;
            removable.push(pair[0]);
        }
        Ok(removable)
    }

    /// The position at which the oldest segment begins, as far as it is known.
    pub(crate) fn first_position(&self) -> Option<u64> {
        self.known.values().next()?.begins.map(|(position, _)| position)
    }

    /// Forgets a segment that has gone.
    pub(crate) fn forget(&mut self, segment: u64) {
        self.known.remove(&segment);
    }
}

fn age(now_ns: u64, then_ns: u64) -> Duration {
    Duration::from_nanos(now_ns.saturating_sub(then_ns))
}

fn look(store: &dyn Store, segment: u64) -> std::io::Result<Known> {
    let mut header = [0; BLOCK_HEADER_BYTES];
    let read = store.read_at(segment, BLOCKS_OFFSET, &mut header)?;
    // A segment that was only prepared holds zeros, or, recycled, another segment's blocks: is it the writer's?
    let mut first = [0; crate::journal::format::SECTOR_BYTES];
    store.read_at(segment, 0, &mut first)?;
    let block = BlockHeader::decode(&header[..read]).ok();
    let own = crate::journal::format::SegmentHeader::decode(&first).ok();
    let begins = match (block, own) {
        (Some(block), Some(own)) if block.segment_id == own.segment_id => {
            Some((block.first_position, block.base_time_ns))
        }
        _ => None,
    };
    Ok(Known { bytes: store.length(segment)?, begins })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::{
        BlockKind, PositionUnit, SECTOR_BYTES, SEGMENT_BYTES_DEFAULT, SegmentHeader,
    };
    use std::io;

    /// Segments 1 to 5: number n begins at position 100 n, and at second n; each has 1000 bytes.
    struct Five;

    impl Store for Five {
        fn segments(&self) -> io::Result<Vec<u64>> {
            Ok((1..=5).collect())
        }

        fn length(&self, _segment: u64) -> io::Result<u64> {
            Ok(1000)
        }

        fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
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
                let block = BlockHeader {
                    kind: BlockKind::Records,
                    block_bytes: SECTOR_BYTES as u32,
                    segment_id: segment,
                    first_position: 100 * segment,
                    end_position: 100 * segment + 100,
                    base_time_ns: segment * 1_000_000_000,
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
        let stand = Stand { now_ns: 10_000_000_000, durable, unread };
        Keeper::default().removable(&Five, &retention, stand).unwrap()
    }

    #[test]
    fn what_is_too_large_or_old_or_read_goes_from_the_oldest_on() {
        let nothing = Retention::default();
        assert_eq!(removable(nothing, 600, u64::MAX), [0u64; 0]);
        let large = Retention { max_bytes: Some(3000), ..nothing };
        assert_eq!(removable(large, 600, u64::MAX), [1, 2]);
        let old = Retention { max_age: Some(Duration::from_millis(6500)), ..nothing };
        // Everything in the second was recorded before the third began, at 3 s: 7 s ago.
        assert_eq!(removable(old, 600, u64::MAX), [1, 2]);
        let read = Retention { consumed: true, ..nothing };
        assert_eq!(removable(read, 600, 399), [1, 2]);
        assert_eq!(removable(read, 600, 400), [1, 2, 3]);
        assert_eq!(removable(read, 600, u64::MAX), [1, 2, 3, 4], "never the one in use");
    }

    #[test]
    fn what_is_unread_or_not_durable_stays() {
        let all = Retention { max_bytes: Some(0), ..Retention::default() };
        assert_eq!(removable(all, 600, u64::MAX), [1, 2, 3, 4]);
        assert_eq!(removable(all, 350, u64::MAX), [1, 2]);
        assert_eq!(removable(all, 600, 250), [1]);
        assert_eq!(removable(Retention { keep_unread: false, ..all }, 600, 250), [1, 2, 3, 4]);
    }
}
