//! A file of the simulated disk, for the code that writes again what a failed sync may have lost.

use std::io;

use railbus_log::disk::write_again::BlockBytes;

use crate::simulated::disk::File;

impl BlockBytes for File {
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let from = (offset as usize).min(self.seen.len());
        let to = (from + bytes.len()).min(self.seen.len());
        bytes[..to - from].copy_from_slice(&self.seen[from..to]);
        Ok(to - from)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        File::write(self, offset as usize, bytes);
        Ok(())
    }
}
