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
    /// The lowest position that a durable subscription has still to read, or that is not done; `u64::MAX` for none.
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
                entry.insert(look(store, segment)?);
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
