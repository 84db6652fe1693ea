//! Sleeping and waking, paid for by the sleeper.
//!
//! **Promise.** While nobody sleeps, a waker pays for one load of a line that does not change. No
//! sleeper sleeps beyond its time slice, even if its waker is killed.
//!
//! **How it works.** There are two words, each in the file of the side that writes it. Sleepers
//! count up `parked`, an epoch. Wakers count up `wake`, the futex.
//!
//! ```text
//! sleeper: s = wake;  parked += 1;  membarrier;  look at the ring again;  FUTEX_WAIT(wake, s)
//! waker:   change the ring;  (compiler fence)
//!          if parked != last seen { wake += 1; n = FUTEX_WAKE(asked); if n < asked { last seen = parked } }
//! ```
//!
//! **Why it is sound.** A wake between the sleeper's second look and its sleep changes the futex
//! word, so the sleep returns at once. A sleeper that is killed leaves an epoch that costs each
//! waker one system call, once. A waker that is killed before its wake leaves the sleeper asleep
//! until the end of its time slice. The caller bounds the slices.
//!
//! The membarrier makes every running thread of registered processes pass a full barrier. That
//! replaces the fence between the waker's store to the ring and its load of `parked`. A waker whose
//! process could not register fences each time ([`Memory::light_fence`]). A sleeper that may not
//! call membarrier fences itself, and sleeps at most a millisecond.
//!
//! **Left out.** Waiting across several slices, and the deadline: the caller has both.

use crate::memory::{Edge, Memory};

/// The operating system's part.
pub trait Futex {
    /// Sleeps while the low half of the word at `at` is `expected`, at most `slice_ns`. It may
    /// return at any time.
    fn wait(&self, at: usize, expected: u32, slice_ns: u64);
    /// Wakes up to `count` sleepers, and returns how many there were.
    fn wake(&self, at: usize, count: u32) -> u32;
    /// Executes a barrier on every processor that runs a registered waker. Returns false if that is
    /// refused.
    fn barrier(&self) -> bool;
}

/// A waker's private state.
#[derive(Debug)]
pub struct Waker {
    wake_at: usize,
    parked_at: usize,
    last_seen: u64,
    /// A second word, all of whose sleepers are woken, whichever sleepers of the first word are.
    others: Option<Others>,
}

/// Sleepers with words of their own, so that none of them takes a wake-up that was meant for a
/// sleeper of the first words. They count up their own word first, and then the first word, which
/// is all that a waker reads while nobody sleeps.
#[derive(Debug)]
struct Others {
    wake_at: usize,
    parked_at: usize,
    last_seen: u64,
}

impl Waker {
    /// Makes a waker that counts up `wake_at` in its own file when `parked_at` in the peers' file
    /// has moved.
    pub fn new(wake_at: usize, parked_at: usize) -> Waker {
        // No epoch has been seen: the first wake finds out whether there is a sleeper.
        Waker { wake_at, parked_at, last_seen: u64::MAX, others: None }
    }

    /// Returns the same waker, which also wakes every sleeper on a second word of its own file.
    /// Such a sleeper counts up a second word of the peers' file, before the first, when it goes to
    /// sleep.
    pub fn with_others(self, wake_at: usize, parked_at: usize) -> Waker {
        Waker { others: Some(Others { wake_at, parked_at, last_seen: u64::MAX }), ..self }
    }

    /// Wakes up to `asked` sleepers if there may be any, and returns whether there might have been.
    /// The caller has just changed the ring.
    #[inline(always)]
    pub fn wake<M: Memory, F: Futex>(
        &mut self,
        own: &M,
        peers: &M,
        futex: &F,
        asked: impl FnOnce() -> u32,
    ) -> bool {
        // PARK: the change of the ring comes before the load of `parked`. The sleeper's membarrier
        // makes sure of that.
        own.light_fence(Edge::Park);
        let parked = peers.load(self.parked_at, Edge::Plain);
        let moved = parked != self.last_seen;
        if moved {
            self.wake_slow(own, peers, futex, asked());
        }
        moved
    }

    #[cold]
    fn wake_slow<M: Memory, F: Futex>(&mut self, own: &M, peers: &M, futex: &F, asked: u32) {
        // WAKE: a sleeper of the second word that is counted here has counted up its own word
        // before.
        let parked = peers.load(self.parked_at, Edge::Wake);
        if let Some(others) = &mut self.others {
            let theirs = peers.load(others.parked_at, Edge::Plain);
            if theirs != others.last_seen {
                // WAKE: as below.
                own.fetch_add(others.wake_at, 1, Edge::Wake);
                futex.wake(others.wake_at, i32::MAX as u32);
                others.last_seen = theirs;
            }
        }
        // WAKE: a sleeper that read the word before this will not fall asleep on it.
        own.fetch_add(self.wake_at, 1, Edge::Wake);
        if futex.wake(self.wake_at, asked) < asked {
            self.last_seen = parked;
        }
    }
}

/// The private state of a participant that wakes sleepers of its own side. They sleep on a futex
/// word of the other side, which it cannot count up. Either it sees the announcement and wakes, or
/// the sleeper's second look finds its store.
///
/// A wake between that look and the sleep is lost. So are those that follow before the sleeper
/// announces itself again. The end of the slice makes up for them.
#[derive(Debug)]
pub struct Nudge {
    wake_at: usize,
    parked_at: usize,
    last_seen: u64,
    /// A second word, all of whose sleepers are woken, as for a [`Waker`].
    others: Option<Others>,
}

impl Nudge {
    /// Makes one that wakes on `wake_at` of the other side's file when `parked_at` in its own file
    /// has moved.
    pub fn new(wake_at: usize, parked_at: usize) -> Nudge {
        Nudge { wake_at, parked_at, last_seen: u64::MAX, others: None }
    }

    /// Returns the same one, which also wakes every sleeper on a second word of the other side's
    /// file. Such a sleeper counts up a second word of its own file, before the first, when it goes
    /// to sleep.
    pub fn with_others(self, wake_at: usize, parked_at: usize) -> Nudge {
        Nudge { others: Some(Others { wake_at, parked_at, last_seen: u64::MAX }), ..self }
    }

    /// Wakes up to `asked` sleepers, if there may be any. The caller has just stored what they are
    /// to find.
    pub fn wake<M: Memory, F: Futex>(&mut self, own: &M, futex: &F, asked: u32) {
        // PARK: the caller's store comes before the load of `parked`.
        own.fence(Edge::Park);
        // WAKE: a sleeper of the second word that is counted here has counted up its own word
        // before.
        let parked = own.load(self.parked_at, Edge::Wake);
        if parked == self.last_seen {
            return;
        }
        if let Some(others) = &mut self.others {
            let theirs = own.load(others.parked_at, Edge::Plain);
            if theirs != others.last_seen {
                futex.wake(others.wake_at, i32::MAX as u32);
                others.last_seen = theirs;
            }
        }
        if futex.wake(self.wake_at, asked) < asked {
            self.last_seen = parked;
        }
    }
}

/// A sleeper's private state, for one wait of several slices.
#[derive(Debug, Default)]
pub struct Sleeper {
    /// The wake word before this sleeper announced itself. As long as the word is unchanged, no
    /// waker has seen the announcement, and it need not be made again.
    announced: Option<u32>,
}

impl Sleeper {
    /// Sleeps on `wake_at` (in the wakers' file) until woken, `slice_ns` at most. The sleeper is
    /// first announced in `parked_at` (in its own file), one word after the other. It does not
    /// sleep if `is_ready` returns true after that.
    pub fn sleep<M: Memory, F: Futex>(
        &mut self,
        own: &M,
        peers: &M,
        futex: &F,
        (wake_at, parked_at): (usize, &[usize]),
        slice_ns: u64,
        is_ready: impl FnOnce() -> bool,
    ) {
        // WAKE: the word is read before the announcement.
        let wake = peers.load(wake_at, Edge::Wake) as u32;
        let mut slice_ns = slice_ns;
        if self.announced != Some(wake) {
            for &parked_at in parked_at {
                own.fetch_add(parked_at, 1, Edge::Park);
            }
            // A change that a waker made before the barrier is seen by `is_ready`. A waker that
            // makes one after it sees the announcement.
            if futex.barrier() {
                self.announced = Some(wake);
            } else {
                slice_ns = slice_ns.min(1_000_000);
            }
            // PARK: the announcement comes before the second look.
            own.fence(Edge::Park);
        }
        if !is_ready() {
            futex.wait(wake_at, wake, slice_ns);
        }
    }
}
