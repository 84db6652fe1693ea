//! The narrow interface between the measuring loops and the transports that they measure.
//!
//! A [`Transport`] gives each process its ends. The loops are generic over [`Sender`] and
//! [`Receiver`], so that every kind is compiled into loops of its own with no indirect call in
//! them. An end either waits by itself, as the ring's handles do, or returns `false` at once, and
//! then the loop decides how to wait ([`Pace`]).

use railbus::{Error, Result};

use super::arena::Arena;
use super::payload::Payload;
use super::plan::Plan;

/// A result of the hot path: boxed, so that the good case stays in two registers.
pub type Attempted<T> = std::result::Result<T, Box<Error>>;

/// The writing end.
pub trait Sender {
    /// Sends the event `tag` of this payload. `false`: there is no room now, nothing was sent.
    fn send(&mut self, payload: &Payload, tag: u64) -> Attempted<bool>;

    /// Sends up to `count` events at once, with the tags from `first` on. Returns how many were sent.
    #[inline(always)]
    fn send_batch(&mut self, payload: &Payload, first: u64, count: usize) -> Attempted<usize> {
        for index in 0..count {
            if !self.send(payload, first + index as u64)? {
                return Ok(index);
            }
        }
        Ok(count)
    }

    /// Makes everything sent so far visible, for transports that publish in steps.
    #[inline(always)]
    fn flush(&mut self) -> Attempted<()> {
        Ok(())
    }
}

/// The reading end.
pub trait Receiver {
    /// Passes the next event to `read`, in place. `false`: there is none now.
    fn receive(&mut self, read: impl FnOnce(&[u8])) -> Attempted<bool>;

    /// Passes up to `most` events to `read`. Returns how many there were.
    #[inline(always)]
    fn receive_batch(&mut self, most: usize, mut read: impl FnMut(&[u8])) -> Attempted<usize> {
        for index in 0..most {
            if !self.receive(&mut read)? {
                return Ok(index);
            }
        }
        Ok(most)
    }
}

/// One direction between the processes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// From the process that leads to the others.
    There,
    /// Back to the process that leads.
    Back,
}

/// Everything that a process needs to attach to its ends.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The plan of this process.
    pub plan: &'a Plan,
    /// The memory shared by the processes of the run.
    pub arena: &'a Arena,
}

/// A carrier of events between the processes of a run.
pub trait Transport {
    /// Its writing end.
    type Sender: Sender;
    /// Its reading end.
    type Receiver: Receiver;
    /// Attaches a writing end.
    fn sender(site: Site<'_>, lane: Lane) -> Result<Self::Sender>;
    /// Attaches a reading end.
    fn receiver(site: Site<'_>, lane: Lane) -> Result<Self::Receiver>;
}

/// How a loop waits when there is no event, or no room.
pub trait Pace: Copy {
    /// Called after every empty receive.
    fn empty(self);
    /// Called after every refused send.
    fn full(self);
}

/// Polls again at once. For processes with a core each.
#[derive(Debug, Clone, Copy)]
pub struct Tight;

impl Pace for Tight {
    #[inline(always)]
    fn empty(self) {}
    #[inline(always)]
    fn full(self) {
        std::hint::spin_loop();
    }
}

/// Gives the core away. For processes that share a core.
#[derive(Debug, Clone, Copy)]
pub struct Yield;

impl Pace for Yield {
    #[inline(always)]
    fn empty(self) {
        std::thread::yield_now();
    }
    #[inline(always)]
    fn full(self) {
        std::thread::yield_now();
    }
}

/// Chosen for each run: gives the core away, or pauses for some spins after an empty receive, so
/// that the reader's polling does not take the line from the writer.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// Whether it gives the core away.
    pub yields: bool,
    /// The spins after an empty receive otherwise.
    pub spins: u32,
}

impl Pace for Chosen {
    #[inline(always)]
    fn empty(self) {
        if self.yields {
            std::thread::yield_now();
        }
        for _ in 0..self.spins {
            std::hint::spin_loop();
        }
    }
    #[inline(always)]
    fn full(self) {
        if self.yields { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}
