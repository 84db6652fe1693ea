//! Taking a worker's events away while it lives.
//!
//! A worker that is stopped, or hangs, may come back at any time and say that an event is done which somebody else works
//! on by then; or, worse, store its old word over that of another lap. So each of its stores to a done word is made only
//! while its *fence* is open, in one of two ways ([`Stores`]), which its registry entry tells:
//!
//! ```text
//! by compare-and-swap:  from the very word that says it holds the ticket. Once the word is another, it never succeeds.
//! by a restartable      looks at the fence and stores. A thread that loses its processor in between begins again, and
//! sequence:             finds the fence closed.
//!
//! evicting:   STATE: ACTIVE -> EVICTED
//!             FENCE: open -> CLOSING           from now on it stores nothing that it has not looked at the fence for, and
//!                                              hands out no event
//!                    quiesce                   it was off its processor: what it had looked at the fence for, is stored
//!                    note what it has in hand  producers leave those slots alone as long as it may look at them (lent.rs)
//!                    CLOSING -> CLOSED         nobody counts its claim, or its TAKEN words, any more
//!                    sweep, CLOSED -> SWEPT    what it held is handed back, its attempt counted
//! ```
//!
//! Where it swaps, on x86-64, there is nothing to wait for, unless somebody was killed between CLOSING and
//! CLOSED. Whoever evicts holds the entry's janitor lock, so that the entry has the same owner all the time.
//! Killed anywhere, it leaves an entry that the next one to evict goes on with; once it is CLOSED, any
//! worker does ([`go_on`]), under the same lock. The word counts closings, so that nobody calls SWEPT what
//! was closed again after the sweep had begun. The owner that finds itself evicted closes the fence, and
//! sweeps, itself: it knows best that it is in no sequence.
//!
//! A ticket that the evicted worker wins when it comes back (it had looked at the head before) is handed
//! back as soon as it looks at its fence, before it hands the event out. An event in hand stays as it was,
//! though others do the event again: only [`SlotWorker::done`](crate::slots::worker::SlotWorker::done)
//! says whether the work counted.

use crate::layout;
use crate::members::registry::{Locks, Registry, Status, status};
use crate::memory::{Edge, Memory};

/// Nobody's fence: this entry's owner cannot be fenced.
pub const NONE: u64 = 0;
/// Open; the owner stores by compare-and-swap.
pub const SWAPS: u64 = 1;
/// Open; the owner stores in restartable sequences.
pub const RESTARTS: u64 = 2;
/// Closed to the owner, which may still be in a sequence.
pub const CLOSING: u64 = 3;
/// The owner stores nothing any more; what it held is to be handed back. With the count of closings above it.
pub const CLOSED: u64 = 4;
/// What it held was handed back. With the same count.
pub const SWEPT: u64 = 5;

/// How a worker stores its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    /// By compare-and-swap.
    Swap,
    /// In restartable sequences.
    Restart {
        /// What [`railbus_os::rseq::offset`] gave.
        area: isize,
    },
}

impl Stores {
    /// What the entry's fence says while it is open.
    #[inline(always)]
    pub const fn open(self) -> u64 {
        match self {
            Stores::Swap => SWAPS,
            Stores::Restart { .. } => RESTARTS,
        }
    }
}

/// What the fence of entry `index` says.
#[inline(always)]
pub fn of<M: Memory>(acks: &M, index: usize) -> u64 {
    // STATE: pairs with the stores of those who close fences, and sweep behind them.
    acks.load(layout::entry(index) + layout::FENCE, Edge::State)
}

/// What a fence word says without the count of closings.
#[inline(always)]
pub const fn kind(fence: u64) -> u64 {
    fence & 0xFF
}

/// Whether the worker in entry `index` was evicted, and stores nothing any more: its claim and its TAKEN words count no
/// more than a dead one's. To be asked after its word was seen: a later owner has opened the fence before it stored one.
#[inline(always)]
pub fn is_closed<M: Memory>(acks: &M, index: usize) -> bool {
    matches!(kind(of(acks, index)), CLOSED | SWEPT)
}

/// Closes the fence of entry `index` once more, and returns what it says then. By whoever knows that its owner is in no
/// sequence, and that there may be something to hand back.
pub fn close<M: Memory>(acks: &M, index: usize) -> u64 {
    let at = layout::entry(index) + layout::FENCE;
    let mut seen = of(acks, index);
    // It begins at the owner's generation, so that no two owners' words are the same.
    let generation = acks.load(layout::entry(index) + layout::STATE, Edge::State) >> 8;
    let count = |seen: u64| if seen >> 8 == 0 { generation << 16 } else { seen >> 8 };
    loop {
        let closed = (count(seen) + 1) << 8 | CLOSED;
        // STATE: what the owner stored is visible to who sees this.
        match acks.compare_exchange(at, seen, closed, Edge::State) {
            Ok(_) => return closed,
            Err(found) => seen = found,
        }
    }
}

/// Says that everything was handed back since the fence said `closed`, unless it was closed once more meanwhile: then what
/// has come up since may not have been met by the sweep.
pub fn settle<M: Memory>(acks: &M, index: usize, closed: u64) {
    let swept = closed & !0xFF | SWEPT;
    let _ = acks.compare_exchange(layout::entry(index) + layout::FENCE, closed, swept, Edge::State);
}

/// Hands back what the evicted worker in entry `index` held, where its fence is closed and whoever evicted it has not come to
/// the end of that. `sweep` as in [`evict`]. Does nothing where somebody else is at it.
pub fn go_on<M: Memory, L: Locks>(locks: &L, acks: &M, index: usize, sweep: impl FnOnce() -> bool) {
    if !locks.try_janitor(index) {
        return;
    }
    let closed = of(acks, index);
    if kind(closed) == CLOSED && sweep() {
        settle(acks, index, closed);
    }
    locks.release_janitor(index);
}

/// Closes the fence of entry `index` to its owner, which was marked as evicted and may still be in a sequence: from now on
/// it hands out no event.
pub fn begin_closing<M: Memory>(acks: &M, index: usize) {
    let seen = of(acks, index);
    if matches!(seen, SWAPS | RESTARTS) {
        // STATE: the owner may be closing it itself.
        let at = layout::entry(index) + layout::FENCE;
        let _ = acks.compare_exchange(at, seen, CLOSING, Edge::State);
    }
}

/// What became of an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    /// It was evicted, and what it held was handed back.
    Settled,
    /// It was evicted, but something could not be judged yet: the other workers will, or the next one to evict.
    Unsettled,
    /// The entry has another state than the one given, or none that can be fenced.
    Changed,
    /// Somebody else is changing the entry.
    Busy,
}

/// Evicts the live worker in entry `index`, whose state word is `state`. `quiesce` makes sure that each of
/// its threads was off its processor at some time after the call; it is called only where that is needed.
/// `note_lent` notes what the owner has in hand ([`crate::slots::orphan::Sweeper::note_lent`]). `sweep` hands
/// it back, and says whether nothing of it remains.
pub fn evict<M: Memory, L: Locks, E>(
    registry: &Registry<M>,
    locks: &L,
    acks: &M,
    index: usize,
    state: u64,
    quiesce: impl FnOnce() -> Result<(), E>,
    (note_lent, sweep): (impl FnOnce(), impl FnOnce() -> bool),
) -> Result<Fenced, E> {
    if !locks.try_janitor(index) {
        return Ok(Fenced::Busy);
    }
    let outcome = evict_locked(registry, acks, index, state, quiesce, (note_lent, sweep));
    locks.release_janitor(index);
    outcome
}

fn evict_locked<M: Memory, E>(
    registry: &Registry<M>,
    acks: &M,
    index: usize,
    state: u64,
    quiesce: impl FnOnce() -> Result<(), E>,
    (note_lent, sweep): (impl FnOnce(), impl FnOnce() -> bool),
) -> Result<Fenced, E> {
    let open = of(acks, index);
    let is_evicted = open != NONE
        && match status(state) {
            Status::Active => registry.mark_evicted(index, state),
            // By somebody who died before it came to an end; or once more.
            Status::Evicted => registry.state(index) == state,
            _ => false,
        };
    if !is_evicted {
        return Ok(Fenced::Changed);
    }
    begin_closing(acks, index);
    // A worker wins a ticket by a compare-and-swap, then looks at the fence, then hands the event out. Each
    // of its threads is off its processor between: so it finds the fence closing, or the ticket is seen
    // below. On x86-64 a compare-and-swap is a full barrier by itself, as the one above is: there a worker
    // that swaps is not waited for. An evictor that was killed before may have left a sequence under way.
    let is_barrier = cfg!(target_arch = "x86_64");
    if !(open == SWAPS && is_barrier) && of(acks, index) == CLOSING {
        quiesce()?;
    }
    note_lent();
    // Also where it was swept before: once more.
    let closed = close(acks, index);
    if !sweep() {
        return Ok(Fenced::Unsettled);
    }
    settle(acks, index, closed);
    Ok(Fenced::Settled)
}
