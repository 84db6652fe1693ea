//! Compression of a block's records with LZ4 or Zstandard. Each block is compressed by itself, so
//! that it can be read without others.
//!
//! A block that would not become smaller by at least a sector is stored as it is. Decompression
//! writes into a buffer whose size the header's checksum vouches for, and never beyond it.

use crate::format::{BLOCK_BYTES_MAX, Codec, Flaw};

/// The compression level of Zstandard: its fastest regular level.
const ZSTD_LEVEL: i32 = 1;

/// A compressor with its tables, which are kept for the journal's life.
pub struct Compressor {
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    target: Vec<u8>,
}

impl Compressor {
    /// Creates a compressor for blocks of a journal.
    ///
    /// # Errors
    /// When Zstandard cannot allocate its tables.
    pub fn new(codec: Codec) -> std::io::Result<Compressor> {
        let zstd = match codec {
            Codec::Zstd => Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
            Codec::None | Codec::Lz4 => None,
        };
        let bytes = match codec {
            Codec::None => 0,
            Codec::Lz4 => lz4_flex::block::get_maximum_output_size(BLOCK_BYTES_MAX),
            Codec::Zstd => BLOCK_BYTES_MAX,
        };
        Ok(Compressor { codec, zstd, target: vec![0; bytes] })
    }

    /// The codec that it was made for.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Compresses a block's records. Returns `None` when the result takes more than `most` bytes.
    pub fn compress(&mut self, records: &[u8], most: usize) -> Option<&[u8]> {
        let bytes = match (self.codec, &mut self.zstd) {
            (Codec::Lz4, _) => lz4_flex::block::compress_into(records, &mut self.target).ok(),
            (Codec::Zstd, Some(zstd)) => zstd.compress_to_buffer(records, &mut self.target[..]).ok(),
            _ => None,
        };
        self.target.get(..bytes.filter(|&bytes| bytes <= most)?)
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Compressor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// Decompresses `stored` into `records`, and fails unless the result fills `records` exactly.
///
/// # Errors
/// [`Flaw::Nonsense`] when the data do not decompress to exactly that size.
pub fn decompress(codec: Codec, stored: &[u8], records: &mut [u8]) -> Result<(), Flaw> {
    let bytes = match codec {
        Codec::None => return Err(Flaw::Nonsense("what is not compressed cannot be decompressed")),
        Codec::Lz4 => lz4_flex::block::decompress_into(stored, records).ok(),
        Codec::Zstd => zstd::bulk::decompress_to_buffer(stored, records).ok(),
    };
    match bytes {
        Some(bytes) if bytes == records.len() => Ok(()),
        _ => Err(Flaw::Nonsense("records that do not decompress")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back_and_nothing_else_does() {
        let records: Vec<u8> = (0..5000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for codec in [Codec::Lz4, Codec::Zstd] {
            let mut compressor = Compressor::new(codec).expect("a compressor");
            let stored = compressor.compress(&records, records.len()).expect("it becomes smaller");
            let mut back = vec![0; records.len()];
            decompress(codec, stored, &mut back).expect("it decompresses");
            assert_eq!(back, records);
            let mut longer = vec![0; records.len() + 1];
            assert!(decompress(codec, stored, &mut longer).is_err(), "another length is refused");
            let mut shorter = vec![0; records.len() - 1];
            assert!(decompress(codec, stored, &mut shorter).is_err(), "no byte beyond the buffer");
            assert!(
                decompress(codec, &stored[..stored.len() / 2], &mut back).is_err(),
                "half of it is refused"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_left_as_it_is() {
        let noise: Vec<u8> =
            (0..4096u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        for codec in [Codec::Lz4, Codec::Zstd] {
            assert_eq!(Compressor::new(codec).expect("a compressor").compress(&noise, 100), None);
        }
    }
}
