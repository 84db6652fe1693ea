//! Pairs of descriptors that the actors inherit: a receiving and a sending end for each lane.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};

/// The pairs. Each process closes what it does not use, so dropping them closes nothing.
pub struct Inherited {
    lanes: Vec<(ManuallyDrop<OwnedFd>, ManuallyDrop<OwnedFd>)>,
}

impl Inherited {
    /// Makes a pair for each lane. `pair` returns the receiving end first.
    pub fn make(lanes: usize, pair: impl Fn() -> nix::Result<(OwnedFd, OwnedFd)>) -> nix::Result<Inherited> {
        let make = || pair().map(|(one, other)| (ManuallyDrop::new(one), ManuallyDrop::new(other)));
        Ok(Inherited { lanes: (0..lanes).map(|_| make()).collect::<nix::Result<_>>()? })
    }

    /// The receiving end of a lane, for this actor.
    pub fn receiving(&self, lane: usize) -> io::Result<OwnedFd> {
        self.lanes[lane].0.try_clone()
    }

    /// The sending end of a lane, for this actor, which does not receive from it. A sender that held
    /// the receiving end open, too, would never learn that its receiver died.
    pub fn sending(&self, lane: usize) -> io::Result<OwnedFd> {
        close(&self.lanes[lane].0);
        self.lanes[lane].1.try_clone()
    }

    /// Closes all ends of this process, which takes no part.
    pub fn close(&self) {
        for (one, other) in &self.lanes {
            close(one);
            close(other);
        }
    }
}

fn close(end: &OwnedFd) {
    // SAFETY: nothing in this process uses the descriptor after this, and it is not closed again.
    unsafe { libc::close(end.as_raw_fd()) };
}
