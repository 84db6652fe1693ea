//! `--manual` of `sub` and `tap`: the reader of the printed events reports its progress on standard
//! input.
//!
//! Each line is a position: that of the first event that is not done. A thread reads the lines,
//! because standard input cannot be waited for together with a ring. The command applies them
//! between events, and when it is idle.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};

use railbus::{Error, ReadEnd, Reader};

use crate::failure::{Failure, Outcome};
use crate::interrupt;

/// The positions that come on standard input.
pub(crate) struct Acknowledgements {
    positions: Receiver<Result<u64, Failure>>,
}

impl Acknowledgements {
    /// Begins to read standard input.
    pub(crate) fn from_standard_input() -> Acknowledgements {
        let (sender, positions) = channel();
        // The thread ends with standard input, or with the process.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let position = match line {
                    Ok(line) if line.trim().is_empty() => continue,
                    Ok(line) => line.trim().parse().map_err(|_| {
                        Failure::new(format!(
                            "standard input says {line:?}: with --manual each line is a position, that of the first event \
                             that is not done"
                        ))
                    }),
                    Err(error) => Err(Failure::new(format!("cannot read standard input: {error}"))),
                };
                let ends = position.is_err();
                if sender.send(position).is_err() || ends {
                    return;
                }
            }
        });
        Acknowledgements { positions }
    }

    /// Acknowledges the positions that came so far. Returns whether more may come.
    pub(crate) fn apply<R: ReadEnd>(&self, reader: &mut Reader<R>) -> Result<bool, Failure> {
        loop {
            match self.positions.try_recv() {
                Ok(position) => acknowledge(reader, position?)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    /// Acknowledges the positions that still come. Ends when standard input ends, when everything
    /// received is acknowledged, or at a request to finish.
    pub(crate) fn finish<R: ReadEnd>(&self, reader: &mut Reader<R>) -> Outcome {
        while self.apply(reader)? && reader.acknowledged() < reader.position() && !interrupt::is_asked() {
            match self.positions.recv_timeout(interrupt::LOOK_EVERY) {
                Ok(position) => acknowledge(reader, position?)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        Ok(())
    }
}

fn acknowledge<R: ReadEnd>(reader: &mut Reader<R>, position: u64) -> Outcome {
    Ok(reader.acknowledge_to(position).map_err(Error::from)?)
}
