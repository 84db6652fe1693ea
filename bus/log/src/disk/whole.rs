//! Reads and writes of whole buffers, which go on after a short read or write.

use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use crate::format::SECTOR_BYTES;

/// Writes all of `bytes`, which must be whole sectors. After a short write it continues at a whole
/// sector, as direct I/O requires; a write that makes no progress is an error.
pub(crate) fn write_whole(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], offset + written as u64) {
            Ok(more) => written = progress(written, more, bytes.len())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns how much of a write is done when `more` bytes of `all` were written after `done`:
/// everything, or whole sectors.
pub(crate) fn progress(done: usize, more: usize, all: usize) -> io::Result<usize> {
    let reached = done + more;
    let next = if reached >= all { all } else { reached - reached % SECTOR_BYTES };
    if next > done {
        return Ok(next);
    }
    Err(io::Error::new(io::ErrorKind::WriteZero, format!("the disk took {more} B of {}", all - done)))
}

pub(crate) fn read_full(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_writes_go_on_from_a_whole_sector_and_must_get_somewhere() {
        assert_eq!(progress(0, 16384, 16384).unwrap(), 16384);
        assert_eq!(progress(0, 8192, 16384).unwrap(), 8192);
        assert_eq!(progress(4096, 5000, 16384).unwrap(), 8192);
        for more in [0, 1, 4095] {
            assert_eq!(progress(4096, more, 16384).unwrap_err().kind(), io::ErrorKind::WriteZero);
        }
    }
}
