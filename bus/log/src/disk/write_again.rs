//! Writing again the bytes that a failed sync may have lost.
//!
//! With a delayed allocation, a copy-on-write file system or a network, only the sync may find that
//! there is no room. The kernel then calls pages clean that the disk never got, and a second sync
//! would report success. So every block since the last successful sync is read back, checked and
//! written once more before the next sync. A block that cannot be read back is lost, and the writer
//! stops. With direct I/O the same holds for what the disk returns.

use std::fs::File;
use std::io;

use crate::disk::whole::{read_full, write_whole};
use crate::format::{BLOCK_BYTES_MAX, BlockHeader, BlockKind, SECTOR_BYTES, SegmentHeader, seal_offset};
use crate::stage::buffers::StageMemory;

/// A file, or a part of a test's disk, from which blocks are read and to which they are written.
pub trait BlockBytes {
    /// Reads from `offset` on, and returns fewer bytes than asked for only at the end.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;
    /// Writes whole sectors.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

impl BlockBytes for &File {
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        read_full(self, offset, bytes)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_whole(self, bytes, offset)
    }
}

/// The part of a segment that is written and not known to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unproven {
    /// The segment.
    pub segment: u64,
    /// The offset of its first block that is not known to be on the disk.
    pub from: u64,
    /// The end of its last such block.
    pub to: u64,
    /// Whether its seal is written, too.
    pub sealed: bool,
}

fn lost(offset: u64) -> io::Error {
    let why = format!(
        "the disk was full when it was synced, and the block at byte {offset} cannot be read back: it is lost"
    );
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Checks every block of a part of a file and writes it once more.
///
/// # Errors
/// `InvalidData` when a block is not there any more, and the errors of reads and writes.
pub(super) fn write_file_again(file: &File, part: &Unproven) -> io::Result<()> {
    // The memory is aligned, as direct I/O requires.
    let mut memory = StageMemory::anonymous(1)?;
    write_again(&mut { file }, part, memory.block(0))
}

/// Checks every block of a part and writes it once more, for any bytes. `buffer` must hold the largest block.
///
/// # Errors
/// `InvalidData` when a block is not there any more, and the errors of reads and writes.
pub fn write_again(bytes: &mut dyn BlockBytes, part: &Unproven, buffer: &mut [u8]) -> io::Result<()> {
    let read = bytes.read(0, &mut buffer[..SECTOR_BYTES])?;
    let own = SegmentHeader::decode(&buffer[..read]).map_err(|_| lost(0))?;
    let mut before: Option<BlockHeader> = None;
    let mut offset = part.from;
    while offset < part.to {
        let most = (part.to - offset).min(BLOCK_BYTES_MAX as u64) as usize;
        let read = bytes.read(offset, &mut buffer[..most])?;
        let header = sound(&buffer[..read], &own, before.as_ref()).ok_or_else(|| lost(offset))?;
        let block = header.block_bytes as usize;
        if block > read || header.kind == BlockKind::Seal {
            return Err(lost(offset));
        }
        bytes.write(offset, &buffer[..block])?;
        offset += block as u64;
        before = Some(header);
    }
    if part.sealed {
        let offset = seal_offset(own.segment_bytes);
        let read = bytes.read(offset, &mut buffer[..SECTOR_BYTES])?;
        let seal = sound(&buffer[..read], &own, before.as_ref());
        if seal.is_none_or(|seal| seal.kind != BlockKind::Seal) {
            return Err(lost(offset));
        }
        bytes.write(offset, &buffer[..SECTOR_BYTES])?;
    }
    Ok(())
}

/// Returns the header if `bytes` is a whole block of this segment that follows `before`.
fn sound(bytes: &[u8], own: &SegmentHeader, before: Option<&BlockHeader>) -> Option<BlockHeader> {
    let header = BlockHeader::decode(bytes).ok()?;
    let follows = before.is_none_or(|before| {
        header.sequence == before.sequence + 1 && header.previous_checksum == before.header_checksum
    });
    (header.segment_id == own.segment_id && follows && header.check_body(bytes).is_ok()).then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BLOCK_HEADER_BYTES, BLOCKS_OFFSET, checksum};
    use std::os::unix::fs::FileExt;

    /// Makes a segment of three marks.
    fn segment() -> (File, Vec<u8>) {
        let header = SegmentHeader {
            number: 1,
            segment_id: 5,
            incarnation: 1,
            epoch: 1,
            segment_bytes: BLOCKS_OFFSET + 5 * SECTOR_BYTES as u64,
            ..SegmentHeader::default()
        };
        let mut bytes = vec![0; header.segment_bytes as usize];
        bytes[..SECTOR_BYTES].copy_from_slice(&header.encode()[..]);
        let mut previous_checksum = 0;
        for (sequence, block) in bytes[BLOCKS_OFFSET as usize..].chunks_mut(SECTOR_BYTES).take(3).enumerate()
        {
            let header = BlockHeader {
                kind: BlockKind::Mark,
                block_bytes: SECTOR_BYTES as u32,
                segment_id: 5,
                sequence: sequence as u64,
                incarnation: 1,
                epoch: 1,
                previous_checksum,
                body_checksum: checksum(&block[BLOCK_HEADER_BYTES..]),
                ..BlockHeader::default()
            };
            previous_checksum = header.encode(block);
        }
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&bytes, 0).expect("room");
        (file, bytes)
    }

    #[test]
    fn what_is_there_is_written_again_and_what_is_lost_is_an_error() {
        let sector = SECTOR_BYTES as u64;
        let part =
            Unproven { segment: 1, from: BLOCKS_OFFSET, to: BLOCKS_OFFSET + 3 * sector, sealed: false };
        let (file, bytes) = segment();
        write_file_again(&file, &part).expect("all is there");
        let mut now = vec![0; bytes.len()];
        file.read_exact_at(&mut now, 0).expect("all is there");
        assert_eq!(now, bytes);
        let fails = |part: &Unproven| {
            write_file_again(&file, part).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData)
        };
        assert!(fails(&Unproven { sealed: true, ..part }), "there is no seal");
        assert!(fails(&Unproven { to: part.to + sector, ..part }), "there is no fourth block");
        // The second block becomes zeros again, as if its page had been dropped.
        file.write_all_at(&[0; SECTOR_BYTES], BLOCKS_OFFSET + sector).expect("room");
        assert!(fails(&part));
        write_file_again(&file, &Unproven { from: BLOCKS_OFFSET + 2 * sector, ..part })
            .expect("the third is there");
    }
}
