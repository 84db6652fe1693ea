//! A pipe of the kernel, with sleeping ends.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

use crate::inherited::Inherited;
use crate::rival::{Result, Rival, Rx, Tx};

/// Pipes that the actors inherit.
pub struct Pipe(Inherited);

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
        let pipe = || {
            let (reader, writer) = nix::unistd::pipe()?;
            fcntl(&writer, FcntlArg::F_SETPIPE_SZ(256 << 10))?;
            Ok((reader, writer))
        };
        Ok(Pipe(Inherited::make(lanes, pipe)?))
    }

    fn started(&self) {
        self.0.close();
    }

    fn tx(&self, lane: usize) -> Result<Writing> {
        Ok(Writing(File::from(self.0.sending(lane)?)))
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<Reading> {
        Ok(Reading { file: File::from(self.0.receiving(lane)?), payload: vec![0; BYTES].into() })
    }
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
