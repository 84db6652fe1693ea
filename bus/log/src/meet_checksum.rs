//! Giving a block's header the checksum that the next block carries.

use crate::format::{BLOCK_HEADER_BYTES, checksum};

/// Where a repair puts the bytes that give a header the checksum that the next block carries.
const BRIDGE_OFFSET: usize = 104;

/// Sets four reserved bytes of an encoded header so that its checksum becomes `wanted`, which is
/// returned.
pub(super) fn meet_checksum(block: &mut [u8], wanted: u32) -> u32 {
    let header = &mut block[..BLOCK_HEADER_BYTES];
    let mut sum_with = |bits: u32| {
        header[BRIDGE_OFFSET..][..4].copy_from_slice(&bits.to_le_bytes());
        checksum(&header[..BLOCK_HEADER_BYTES - 4])
    };
    // Flipping an input bit always flips the same bits of the checksum, whatever the other bits
    // are. So the wanted checksum is the solution of 32 linear equations.
    let plain = sum_with(0);
    let mut rows: Vec<(u32, u32)> = (0..32).map(|bit| (sum_with(1 << bit) ^ plain, 1 << bit)).collect();
    let (mut rest, mut bits) = (plain ^ wanted, 0);
    for column in (0..32).rev() {
        let Some(at) = rows.iter().position(|(sum, _)| sum >> column == 1) else { continue };
        let (sum, choice) = rows.swap_remove(at);
        for row in rows.iter_mut().filter(|row| row.0 >> column & 1 == 1) {
            *row = (row.0 ^ sum, row.1 ^ choice);
        }
        if rest >> column & 1 == 1 {
            (rest, bits) = (rest ^ sum, bits ^ choice);
        }
    }
    let sum = sum_with(bits);
    header[BLOCK_HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BlockHeader, SECTOR_BYTES};

    #[test]
    fn a_header_can_be_given_any_checksum() {
        for wanted in [0, 1, 0xFFFF_FFFF, 0x8000_0000, 0xDEAD_BEEF, 0x1234_5678] {
            let mut block = vec![0; SECTOR_BYTES];
            let header =
                BlockHeader { block_bytes: SECTOR_BYTES as u32, sequence: 77, ..BlockHeader::default() };
            header.encode(&mut block);
            assert_eq!(meet_checksum(&mut block, wanted), wanted);
            let met = BlockHeader::decode(&block).map(|header| (header.header_checksum, header.sequence));
            assert_eq!(met, Ok((wanted, 77)));
        }
    }
}
