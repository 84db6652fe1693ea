//! A counter that epoll, asyncio and Go can wait for.
//!
//! [`EventFd`] owns a non-blocking, close-on-exec eventfd. It is readable from an
//! [`EventFd::signal`] until the next [`EventFd::drain`]. Signals add up and are never lost.
//! Nothing here blocks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd as Inner};

use super::descriptor;

/// An owned eventfd, closed on drop.
#[derive(Debug)]
pub struct EventFd {
    inner: Inner,
}

impl EventFd {
    /// Makes one that is not signalled. One system call; fails when the process has no descriptors
    /// left.
    pub fn new() -> io::Result<EventFd> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let made = descriptor::above_standard(OwnedFd::from(Inner::from_value_and_flags(0, flags)?))?;
        // SAFETY: it was an eventfd before it was moved.
        Ok(EventFd { inner: unsafe { Inner::from_owned_fd(made) } })
    }

    /// Makes it readable, and wakes every thread that polls it. One system call.
    pub fn signal(&self) -> io::Result<()> {
        match self.inner.write(1) {
            // EAGAIN: 2^64 - 2 signals are pending. It is readable, which is all that the caller
            // wants.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes all signals and returns how many there were; 0 if none. One system call.
    pub fn drain(&self) -> io::Result<u64> {
        match self.inner.read() {
            Ok(count) => Ok(count),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable(event: &EventFd) -> bool {
        let mut fds = [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn signals_add_up_until_drained() {
        let event = EventFd::new().unwrap();
        assert!(!readable(&event));
        assert_eq!(event.drain().unwrap(), 0);
        event.signal().unwrap();
        event.signal().unwrap();
        assert!(readable(&event));
        assert_eq!(event.drain().unwrap(), 2);
        assert!(!readable(&event));
    }

    #[test]
    fn a_full_counter_counts_as_signalled() {
        let event = EventFd::new().unwrap();
        event.inner.write(u64::MAX - 1).unwrap();
        event.signal().unwrap();
        assert!(readable(&event));
        assert_eq!(event.drain().unwrap(), u64::MAX - 1);
    }

    #[test]
    fn it_is_closed_on_exec() {
        let event = EventFd::new().unwrap();
        let flags = FdFlag::from_bits_retain(fcntl(&event, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}
