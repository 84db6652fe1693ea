//! Participants that follow orders: each a process of its own, with one handle.
//!
//! Orders and answers are words in a pipe; a servant that is killed, or leaves, just stops
//! answering.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use railbus::{PublishEnd, ReadEnd, Reader, RecvError, SendError, Sender, Worker};

use crate::forks::{Forked, event, forked, number};
use crate::properties::HANG;

pub(crate) const PUBLISH: u64 = 0;
pub(crate) const BATCH: u64 = 1;
pub(crate) const SHORT_COMMIT: u64 = 2;
pub(crate) const ABORT: u64 = 3;
pub(crate) const LEAVE_OPEN: u64 = 4;
pub(crate) const READ: u64 = 5;
pub(crate) const READ_BATCH: u64 = 6;
pub(crate) const ACKNOWLEDGE: u64 = 7;
pub(crate) const TAKE: u64 = 8;
pub(crate) const DONE: u64 = 9;
pub(crate) const RETRY: u64 = 10;
pub(crate) const LEAVE: u64 = 11;

/// It is not known whether there is something to read.
pub(crate) const PERHAPS: u64 = u64::MAX;

/// The special values of an answer, besides numbers.
pub(crate) const FULL: u64 = u64::MAX;
pub(crate) const LOST: u64 = u64::MAX - 1;
pub(crate) const REFUSED: u64 = u64::MAX - 2;

/// A process with a handle.
pub(crate) struct Servant {
    process: Forked,
    pipe: UnixStream,
}

impl Servant {
    /// Forks one that opens its handle and reports success or a refusal.
    pub(crate) fn start(serve: impl FnOnce(&mut Pipe)) -> Servant {
        let (pipe, theirs) = UnixStream::pair().unwrap();
        pipe.set_read_timeout(Some(HANG * 2)).unwrap();
        let process = forked(move || serve(&mut Pipe(theirs)));
        Servant { process, pipe }
    }

    fn tell(&mut self, what: u64, a: u64, b: u64) {
        let mut bytes = Vec::new();
        [what, a, b].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        self.pipe.write_all(&bytes).unwrap();
    }

    pub(crate) fn answer(&mut self) -> Vec<u64> {
        let mut word = [0; 8];
        let mut next = || {
            self.pipe.read_exact(&mut word).expect("an answer");
            u64::from_le_bytes(word)
        };
        let count = next();
        (0..count).map(|_| next()).collect()
    }

    pub(crate) fn ask(&mut self, what: u64, a: u64, b: u64) -> Vec<u64> {
        self.tell(what, a, b);
        self.answer()
    }

    pub(crate) fn crash(mut self) {
        self.process.shoot();
        self.process.wait();
    }

    pub(crate) fn leave(mut self) {
        self.tell(LEAVE, 0, 0);
        self.process.wait();
    }
}

/// The servant's end.
pub(crate) struct Pipe(UnixStream);

impl Pipe {
    fn told(&mut self) -> [u64; 3] {
        let mut bytes = [0; 24];
        self.0.read_exact(&mut bytes).expect("orders");
        std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|j| bytes[i * 8 + j])))
    }

    fn say(&mut self, words: &[u64]) {
        let mut bytes = (words.len() as u64).to_le_bytes().to_vec();
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        self.0.write_all(&bytes).unwrap();
    }

    /// Opens a handle; reports whether that worked.
    pub(crate) fn open<T>(&mut self, handle: railbus::Result<T>) -> Option<T> {
        self.say(&[if handle.is_ok() { 0 } else { REFUSED }]);
        handle.ok()
    }
}

/// Reports how many events it has published, and the position of a single one; `bytes` is the size
/// of single events.
pub(crate) fn serve_sender<R: PublishEnd>(pipe: &mut Pipe, mut sender: Sender<R>) {
    loop {
        let [what, first, amount] = pipe.told();
        let bytes = 16 + amount as usize % (sender.payload_max() / 2);
        let mut said = Vec::new();
        let published = match what {
            PUBLISH => match sender.try_publish(&event(first, bytes)) {
                Ok(position) => {
                    said.push(position);
                    1
                }
                Err(SendError::Full | SendError::NoWorker) => FULL,
                Err(error) => panic!("{error}"),
            },
            BATCH => {
                let batch: Vec<_> = (0..1 + amount % 7).map(|n| event(first + n, 24)).collect();
                sender.try_publish_batch(&batch).unwrap() as u64
            }
            SHORT_COMMIT => match sender.try_claim(bytes) {
                Ok(mut claim) => {
                    claim[..16].copy_from_slice(&event(first, 16));
                    said.push(claim.commit_bytes(16));
                    1
                }
                Err(_) => FULL,
            },
            ABORT => {
                drop(sender.try_claim(bytes));
                0
            }
            LEAVE_OPEN => {
                std::mem::forget(sender.try_claim(bytes));
                0
            }
            _ => return,
        };
        said.insert(0, published);
        pipe.say(&said);
    }
}

/// Reports the number and the position of each event that it has read, and after [`LOST`] how many
/// it has lost.
pub(crate) fn serve_reader<R: ReadEnd>(pipe: &mut Pipe, mut reader: Reader<R>) {
    loop {
        let [what, most, mut there] = pipe.told();
        let mut words = Vec::new();
        match what {
            READ => {
                for i in 0..most {
                    // If the model knows of an event, an orphan in its way must be stepped over in
                    // time.
                    let timeout = match there {
                        PERHAPS => Duration::from_millis(20),
                        _ if i < there => HANG,
                        _ => Duration::ZERO,
                    };
                    match reader.recv_timeout(timeout) {
                        Ok(event) => words.extend([number(&event), event.position()]),
                        Err(RecvError::Lost { events, .. }) => {
                            words.extend([LOST, events]);
                            there = PERHAPS;
                        }
                        Err(RecvError::TimedOut) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            READ_BATCH => match reader.batch(most as usize) {
                Ok(batch) => words.extend(batch.iter().flat_map(|it| [number(&it), it.position()])),
                Err(RecvError::Lost { events, .. }) => words.extend([LOST, events]),
                Err(error) => panic!("{error}"),
            },
            ACKNOWLEDGE => reader.acknowledge(),
            _ => return,
        }
        pipe.say(&words);
    }
}

/// Reports the number and the attempt of its event, and how many more it has taken and not returned
/// yet.
pub(crate) fn serve_worker(pipe: &mut Pipe, mut worker: Worker) {
    let mut held = Vec::new();
    loop {
        let [what, which, there] = pipe.told();
        let mut words = Vec::new();
        match what {
            TAKE => {
                let timeout = if there > 0 { HANG } else { Duration::ZERO };
                match worker.take_ticket_timeout(timeout) {
                    Ok(ticket) => {
                        words.extend([number(&worker.event(ticket).unwrap()), ticket.attempt() as u64]);
                        held.push(ticket);
                        words.push((worker.in_hand() - held.len()) as u64);
                    }
                    Err(RecvError::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            DONE => {
                let ticket = held.remove(which as usize);
                words.push(worker.done(ticket).into());
                assert!(!worker.done(ticket) && worker.event(ticket).is_none());
            }
            RETRY => words.push(worker.retry(held.remove(which as usize)).into()),
            _ => return,
        }
        pipe.say(&words);
    }
}
