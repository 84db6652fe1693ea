//! The limit of a wake-up: a bare futex ping-pong. Each side stores a word, wakes the other and
//! sleeps on its own.
//!
//! Nothing that sleeps in the kernel and is woken by another process can be faster than this. The
//! difference is the cost of a ring. There are no spins before the sleep, and every event is a
//! wake-up and a sleep.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use railbus_os::futex;

use super::payload::Payload;
use super::transport::{Attempted, Receiver, Sender, Site};

/// A sleeper wakes up this often. A wake-up is never missed, so this only serves when the other
/// side is gone.
const SLICE: Duration = Duration::from_millis(100);

/// The leader's ends.
pub fn leading_ends(site: Site<'_>) -> (FutexSender, FutexReceiver) {
    let pair = &site.arena.control.futex;
    (FutexSender(&pair[0]), FutexReceiver { word: &pair[1], seen: 0 })
}

/// The follower's ends.
pub fn following_ends(site: Site<'_>) -> (FutexSender, FutexReceiver) {
    let pair = &site.arena.control.futex;
    (FutexSender(&pair[1]), FutexReceiver { word: &pair[0], seen: 0 })
}

/// Stores a word and wakes the process that sleeps on it.
#[derive(Debug)]
pub struct FutexSender(&'static AtomicU32);

impl Sender for FutexSender {
    #[inline(always)]
    fn send(&mut self, _payload: &Payload, tag: u64) -> Attempted<bool> {
        // One more than the event, because 0 means that nothing was sent; a run has far fewer than
        // 2^32 wake-ups. FUTEX: pairs with the Acquire in `receive`.
        self.0.store(tag as u32 + 1, Ordering::Release);
        futex::wake(self.0.as_ptr(), 1);
        Ok(true)
    }
}

/// Sleeps until the word changes.
#[derive(Debug)]
pub struct FutexReceiver {
    word: &'static AtomicU32,
    seen: u32,
}

impl Receiver for FutexReceiver {
    #[inline(always)]
    fn receive(&mut self, read: impl FnOnce(&[u8])) -> Attempted<bool> {
        let value = self.word.load(Ordering::Acquire);
        if value == self.seen {
            futex::wait(self.word, self.seen, Some(SLICE));
            return Ok(false);
        }
        self.seen = value;
        read(&u64::from(value - 1).to_le_bytes());
        Ok(true)
    }
}
