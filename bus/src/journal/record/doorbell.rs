//! Waiting for events of many channels at once.
//!
//! One thread may record hundreds of channels. When all are quiet it announces itself in each as a
//! sleeping consumer (`bus/ring/src/members/park.rs` has the protocol and its proof). Then it looks
//! at every ring once more, and sleeps on all their futexes with one `FUTEX_WAITV` (Linux 5.16).
//! Sleeps are bounded slices, like all sleeps of participants. Without that system call it sleeps
//! for 1 ms at a time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use railbus_os::{clock, membarrier};
use railbus_ring::layout;
use railbus_ring::memory::{Edge, Memory};

use crate::channel::memories::Memories;

/// Most channels in one sleep: the kernel takes 128 futexes at once, and one of them is the bell's.
pub(crate) const CHANNELS_MAX: usize = 127;
/// The longest sleep where a wake-up may be missed.
const SHORT_SLICE: Duration = Duration::from_millis(1);

const FUTEX_32: u32 = 2;

/// `struct futex_waitv` of `<linux/futex.h>`.
#[repr(C)]
#[derive(Clone, Copy)]
struct WaitVector {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// A word of this process that ends the sleep of the thread that owns the channels.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    word: AtomicU32,
}

impl Bell {
    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        // RING: pairs with the load in `count`. The reason for ringing was stored before.
        self.word.fetch_add(1, Ordering::Release);
        railbus_os::futex::wake(self.word.as_ptr(), 1);
    }

    /// Returns how often it was rung. The thread reads it before it looks for the reason.
    pub(crate) fn count(&self) -> u32 {
        // RING: pairs with the store in `ring`.
        self.word.load(Ordering::Acquire)
    }
}

/// The announcement in one channel.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Announced {
    /// The wake word when the announcement was made. It need not be made again before that word
    /// changes.
    wake: Option<u32>,
}

/// One round of falling asleep.
#[derive(Debug)]
pub(crate) struct Sleep {
    words: Vec<(u64, u32)>,
    short: bool,
}

impl Sleep {
    pub(crate) fn new(bell: &Bell, count: u32) -> Sleep {
        Sleep { words: vec![(bell.word.as_ptr().expose_provenance() as u64, count)], short: false }
    }

    /// Announces the sleeper in a channel.
    pub(crate) fn announce(&mut self, memories: &Memories, is_queue: bool, announced: &mut Announced) {
        // In a queue the thread is a tap, so it takes no worker's wake-up.
        let wake_at = if is_queue { layout::READERS_WAKE } else { layout::EVENTS_WAKE };
        // WAKE: read before the announcement.
        let wake = memories.ring.load(wake_at, Edge::Wake) as u32;
        if announced.wake != Some(wake) {
            if is_queue {
                memories.acks.fetch_add(layout::READERS_PARKED, 1, Edge::Park);
            }
            memories.acks.fetch_add(layout::CONSUMERS_PARKED, 1, Edge::Park);
            announced.wake = Some(wake);
        }
        if self.words.len() <= CHANNELS_MAX {
            let address = memories.ring.address(wake_at).expose_provenance();
            self.words.push((address as u64, wake));
        } else {
            self.short = true;
        }
    }

    /// Ends the announcements. After this the caller looks at the rings once more, and then calls
    /// `sleep`.
    pub(crate) fn settle(&mut self) {
        // The look that follows sees what a waker changed before the barrier. After the barrier,
        // the waker sees the announcement.
        if !membarrier::barrier() {
            self.short = true;
        }
        // PARK: the announcements come before the second look.
        std::sync::atomic::fence(Edge::Park.fence());
    }

    /// Sleeps until something is published, the bell rings, or `most` has passed.
    pub(crate) fn sleep(self, most: Duration) {
        let slice = if self.short { most.min(SHORT_SLICE) } else { most };
        let deadline_ns = clock::monotonic_ns() + slice.as_nanos() as u64;
        let deadline = libc::timespec {
            tv_sec: (deadline_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (deadline_ns % 1_000_000_000) as libc::c_long,
        };
        let vectors: Vec<WaitVector> = self
            .words
            .iter()
            .map(|&(address, value)| WaitVector {
                value: value.into(),
                address,
                flags: FUTEX_32,
                reserved: 0,
            })
            .collect();
        // SAFETY: the vectors and the deadline outlive the call. The kernel only reads the words at
        // the addresses, and checks the addresses.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                vectors.as_ptr(),
                vectors.len(),
                0,
                &raw const deadline,
                libc::CLOCK_MONOTONIC,
            )
        };
        let error = std::io::Error::last_os_error().raw_os_error();
        if result < 0 && !matches!(error, Some(libc::EAGAIN | libc::ETIMEDOUT | libc::EINTR)) {
            // The system call does not exist here, or a filter refuses it, so sleep for a fixed
            // time.
            std::thread::sleep(slice.min(SHORT_SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_bell_ends_the_sleep_and_one_that_has_rung_prevents_it() {
        let bell = Arc::new(Bell::default());
        let count = bell.count();
        bell.ring();
        Sleep::new(&bell, count).sleep(Duration::from_secs(60));
        let count = bell.count();
        let other = Arc::clone(&bell);
        let thread = std::thread::spawn(move || other.ring());
        while bell.count() == count {
            Sleep::new(&bell, count).sleep(Duration::from_secs(60));
        }
        assert!(thread.join().is_ok());
    }
}
