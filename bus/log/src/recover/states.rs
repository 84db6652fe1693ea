//! The newest states. When no walked block had one, it is read from where the seals point.

use std::io;

use super::segment::{FoundSegment, is_of};
use super::window::Window;
use crate::block::{self, Assembler, Record};
use crate::disk::store::Store;
use crate::format::{BLOCKS_OFFSET, BlockHeader, Flaw, RecordKind, SECTOR_BYTES};

/// A state record that recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The position at which the state is valid: it describes all events before it.
    pub position: u64,
    /// When it was recorded, in ns of CLOCK_REALTIME.
    pub time_ns: u64,
    /// The body of the record.
    pub body: Vec<u8>,
}

/// The newest states, indexed by [`RecordKind::state_index`].
pub type States = [Option<State>; RecordKind::STATES.len()];

pub(super) fn take_state(states: &mut States, record: &Record<'_>) {
    if let Some(kind) = record.kind.state_index() {
        states[kind] =
            Some(State { position: record.position, time_ns: record.time_ns, body: record.body.to_vec() });
    }
}

/// Reads the newest state of a kind that begins in the first segment, in the blocks from `offset`
/// on. If `suffices`, returns the first one found. Its last pieces may be in later segments.
pub(super) fn read_state(
    store: &dyn Store,
    segments: &[FoundSegment],
    mut offset: u64,
    kind: usize,
    suffices: bool,
) -> io::Result<Option<State>> {
    let (mut states, mut scratch, mut assembler) = (States::default(), Vec::new(), Assembler::new());
    for (index, segment) in segments.iter().enumerate() {
        let (Ok(header), Ok(first)) = (segment.header, segments[0].header) else { break };
        if index > 0 && (!assembler.is_pending() || header.epoch != first.epoch) {
            break;
        }
        let mut window = Window::new(store, header.number, segment.end_offset);
        while offset < segment.end_offset && (index == 0 || assembler.is_pending()) {
            let Ok(block) = BlockHeader::decode(window.at(offset, SECTOR_BYTES)?) else { return Ok(None) };
            if !is_of(&block, &header) {
                return Ok(None);
            }
            let bytes = window.at(offset, block.block_bytes as usize)?;
            let Ok(records) = block::open(&block, bytes, &mut scratch) else { return Ok(None) };
            if take_states(&block, records, &mut assembler, &mut states).is_err() {
                return Ok(None);
            }
            offset += u64::from(block.block_bytes);
            if suffices && states[kind].is_some() && !assembler.is_pending() {
                break;
            }
        }
        offset = BLOCKS_OFFSET;
    }
    Ok(states[kind].take())
}

fn take_states(
    block: &BlockHeader,
    records: &[u8],
    assembler: &mut Assembler,
    states: &mut States,
) -> Result<(), Flaw> {
    for record in block::Records::new(block, records) {
        let record = record?;
        if record.kind.continues() && !assembler.is_pending() {
            continue; // it continues a record that began before
        }
        if let Some(whole) = assembler.push(record, block.unit)? {
            take_state(states, &whole);
        }
    }
    Ok(())
}
