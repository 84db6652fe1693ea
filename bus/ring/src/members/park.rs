//! Sleeping and waking, paid for by the sleeper.
//!
//! Two words, each in the file of who writes it: `parked`, an epoch that sleepers count up, and `wake`, the futex,
//! that wakers count up.
//!
//! ```text
//! sleeper: s = wake;  parked += 1;  membarrier;  look at the ring again;  FUTEX_WAIT(wake, s)
//! waker:   change the ring;  (compiler fence)   if parked != last seen { wake += 1; n = FUTEX_WAKE(asked);
//!                                                                       if n < asked { last seen = parked } }
//! ```
//!
//! While nobody parks, a waker pays one load of a line that does not change. A wake between the sleeper's second
//! look and its sleep changes the futex word, so the sleep returns at once. A sleeper that is killed leaves an
//! epoch that costs each waker one system call, once. A waker that is killed before its wake leaves the sleeper to
//! the end of its time slice: slices are bounded by who calls this.
//!
//! The membarrier makes every running thread of registered processes pass a full barrier: that stands in for the
//! fence between the waker's store to the ring and its load of `parked`. A waker whose process could not register
//! fences each time ([`Memory::light_fence`]); a sleeper that may not call membarrier fences itself and sleeps at
//! most a millisecond.

use crate::memory::{Edge, Memory};

/// The operating system's part.
pub trait Futex {
    /// Sleeps while the low half of the word at `at` is `expected`, at most `slice_ns`. May return at any time.
    fn wait(&self, at: usize, expected: u32, slice_ns: u64);
    /// Wakes up to `count` sleepers and returns how many there were.
    fn wake(&self, at: usize, count: u32) -> u32;
    /// A barrier on every processor that runs a registered waker. False where that is refused.
    fn barrier(&self) -> bool;
}

/// A waker's private state.
#[derive(Debug)]
pub struct Waker {
    wake_at: usize,
    parked_at: usize,
    last_seen: u64,
    /// Those of whom each is to be woken, whoever else is.
    others: Option<Others>,
}

/// Sleepers that have words of their own, so that none of them takes a wake-up that was meant for one of the first. They
/// count up their own word first, then that of the first, which is all that a waker looks at while nobody parks.
#[derive(Debug)]
struct Others {
    wake_at: usize,
    parked_at: usize,
    last_seen: u64,
}

impl Waker {
    /// Counts up `wake_at` in the own file when `parked_at` in the peers' file has moved.
    pub fn new(wake_at: usize, parked_at: usize) -> Waker {
        // No epoch has been seen: the first wake finds out whether somebody sleeps.
        Waker { wake_at, parked_at, last_seen: u64::MAX, others: None }
    }

    /// The same, which also wakes everybody who sleeps on another word of the own file, and counts up another word of the
    /// peers' file, before the first, when it goes to sleep.
    pub fn with_others(self, wake_at: usize, parked_at: usize) -> Waker {
        Waker { others: Some(Others { wake_at, parked_at, last_seen: u64::MAX }), ..self }
    }

    /// Wakes up to `asked` sleepers if there may be any, and says whether there might have been. The caller has just changed
    /// the ring.
    #[inline(always)]
    pub fn wake<M: Memory, F: Futex>(
        &mut self,
        own: &M,
        peers: &M,
        futex: &F,
        asked: impl FnOnce() -> u32,
    ) -> bool {
        // PARK: the change of the ring comes before the look at `parked`; the sleeper's membarrier sees to it.
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
        // WAKE: whoever of the others is counted here has counted up its own word before.
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

/// The private state of one that wakes sleepers of its own side, on a futex word of the other side, which it cannot count
/// up: either it sees the announcement, and wakes, or the sleeper's second look finds what it stored. A wake that falls
/// between that look and the sleep is lost, and so are those that follow before the sleeper announces itself anew: made up
/// for at the end of the slice.
#[derive(Debug)]
pub struct Nudge {
    wake_at: usize,
    parked_at: usize,
    last_seen: u64,
    /// Those of whom each is to be woken, as for a [`Waker`].
    others: Option<Others>,
}

impl Nudge {
    /// Wakes on `wake_at` of the other side's file when `parked_at` in the own file has moved.
    pub fn new(wake_at: usize, parked_at: usize) -> Nudge {
        Nudge { wake_at, parked_at, last_seen: u64::MAX, others: None }
    }

    /// The same, which also wakes everybody who sleeps on another word of the other side's file, and counts
    /// up another word of the own file, before the first, when it goes to sleep.
    pub fn with_others(self, wake_at: usize, parked_at: usize) -> Nudge {
        Nudge { others: Some(Others { wake_at, parked_at, last_seen: u64::MAX }), ..self }
    }

    /// Wakes up to `asked` sleepers, if any may sleep. The caller has just stored what they are to find.
    pub fn wake<M: Memory, F: Futex>(&mut self, own: &M, futex: &F, asked: u32) {
        // PARK: what was stored comes before the look at `parked`.
        own.fence(Edge::Park);
        // WAKE: each of the others that is counted here has counted up its own word before.
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
    /// What the wake word was before this sleeper announced itself. As long as it is that, no waker has taken note of
    /// the announcement, and it need not be made again.
    announced: Option<u32>,
}

impl Sleeper {
    /// Sleeps on `wake_at` (in the wakers' file) until woken, `slice_ns` at most, unless `is_ready` after the sleeper
    /// has been announced in `parked_at` (in the own file), one word after the other.
    pub fn sleep<M: Memory, F: Futex>(
        &mut self,
        own: &M,
        peers: &M,
        futex: &F,
        (wake_at, parked_at): (usize, &[usize]),
        slice_ns: u64,
        is_ready: impl FnOnce() -> bool,
    ) {
        // WAKE: read before the announcement.
        let wake = peers.load(wake_at, Edge::Wake) as u32;
        let mut slice_ns = slice_ns;
        if self.announced != Some(wake) {
            for &parked_at in parked_at {
                own.fetch_add(parked_at, 1, Edge::Park);
            }
            // What a waker changed before the barrier is seen by `is_ready`; after it, the waker sees the announcement.
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
