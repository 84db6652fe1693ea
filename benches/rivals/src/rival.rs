//! The interface of a system that is measured: senders and receivers of events of a fixed size.

use std::error::Error;
use std::path::Path;

/// Any error: it is printed, and the measurement is left out.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The sending end of a lane.
pub trait Tx {
    /// Sends an event, or returns false if there is no room. It may also wait for room itself.
    fn try_send(&mut self, payload: &[u8]) -> Result<bool>;
}

/// The receiving end of a lane.
pub trait Rx {
    /// Passes what has come to `each`, at least one event if there is any. Returns whether there
    /// was one. It may also wait for an event itself.
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool>;
}

/// How a rival runs and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Between processes; both ends poll.
    Processes,
    /// Between processes; an end that waits sleeps in the kernel.
    Sleeping,
    /// Between threads of one process only; both ends poll.
    Threads,
}

/// A system that carries events of `BYTES` bytes in one or more lanes. A lane has one sender.
pub trait Rival<const BYTES: usize>: Sized + Sync {
    /// The sending end.
    type Tx: Tx;
    /// The receiving end.
    type Rx: Rx;

    /// Prepares `lanes` lanes with `readers` receivers each, in a directory that is removed later.
    /// The actors do not run yet.
    fn prepare(place: &Path, lanes: usize, readers: usize) -> Result<Self>;
    /// Opens the sending end of a lane, in the actor that uses it.
    fn tx(&self, lane: usize) -> Result<Self::Tx>;
    /// Opens a receiving end, in the actor that uses it.
    fn rx(&self, lane: usize, reader: usize) -> Result<Self::Rx>;
    /// Gives up what only the actors should hold open. Called in the supervisor when they run.
    fn started(&self) {}
}

/// The number of events that a ring of about 256 KiB holds, at least 64: every rival gets this
/// much.
pub const fn slots(bytes: usize) -> usize {
    let slots = (256 << 10) / bytes;
    if slots < 64 { 64 } else { slots }
}

/// A payload for rivals that carry values of a type.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Payload<const BYTES: usize>(pub [u8; BYTES]);

impl<const BYTES: usize> Payload<BYTES> {
    /// A copy of `bytes`, which must have this size.
    #[inline(always)]
    pub fn of(bytes: &[u8]) -> Payload<BYTES> {
        Payload(bytes.try_into().expect("a payload of the lane's size"))
    }
}
