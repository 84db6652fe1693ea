//! A pipe of the kernel, with sleeping ends.

use std::fs::File;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

use crate::rival::{Result, Rival, Rx, Tx};

/// Both ends. Each process closes what it does not use, so they are not closed when they are
/// dropped.
pub type PipePair = (ManuallyDrop<OwnedFd>, ManuallyDrop<OwnedFd>);

/// Pipes that the actors inherit.
pub struct Pipe {
    lanes: Vec<PipePair>,
}

/// The writing end.
pub struct Writing(File);

/// The reading end.
pub struct Reading {
    file: File,
    payload: Box<[u8]>,
}

impl<const BYTES: usize> Rival<BYTES> for Pipe {
    type Tx = Writing;
    type Rx = Reading;

    fn prepare(_place: &Path, lanes: usize, _readers: usize) -> Result<Pipe> {
        let pipe = || -> Result<_> {
            let (reader, writer) = nix::unistd::pipe()?;
            fcntl(&writer, FcntlArg::F_SETPIPE_SZ(256 << 10))?;
            Ok((ManuallyDrop::new(reader), ManuallyDrop::new(writer)))
        };
        Ok(Pipe { lanes: (0..lanes).map(|_| pipe()).collect::<Result<_>>()? })
    }

    fn started(&self) {
        for (one, other) in &self.lanes {
            close(one);
            close(other);
        }
    }

    fn tx(&self, lane: usize) -> Result<Writing> {
        // A writer that holds the reading end open, too, would never learn that its reader died.
        close(&self.lanes[lane].0);
        Ok(Writing(File::from(self.lanes[lane].1.try_clone()?)))
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<Reading> {
        Ok(Reading { file: File::from(self.lanes[lane].0.try_clone()?), payload: vec![0; BYTES].into() })
    }
}

/// Closes an inherited end that this process does not use. Its owner does not close it again.
pub fn close(end: &OwnedFd) {
    use std::os::fd::AsRawFd;
    // SAFETY: nothing in this process uses the descriptor after this.
    unsafe { libc::close(end.as_raw_fd()) };
}

impl Tx for Writing {
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        self.0.write_all(payload)?;
        Ok(true)
    }
}

impl Rx for Reading {
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        self.file.read_exact(&mut self.payload)?;
        each(&self.payload);
        Ok(true)
    }
}
