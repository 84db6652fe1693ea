//! Taking the events of a live worker away.
//!
//! **Promise.** After an eviction, a store of the evicted worker no longer takes effect on the
//! events that it held, and these events are delivered again.
//!
//! **Why it is needed.** A worker that is stopped, or hangs, may come back at any time. It may then
//! mark an event as done that another worker works on. It may even store its old word over the word
//! of another lap. So each of its stores to a done word is made only while its *fence* is open.
//! There are two ways ([`Stores`]), and its registry entry says which:
//!
//! ```text
//! by compare-and-swap:  from the very word that says that it holds the ticket. Once that word has
//!                       changed, the swap never succeeds.
//! by a restartable      checks the fence and stores. A thread that loses its processor in between
//! sequence:             begins again, and finds the fence closed.
//!
//! evicting:   STATE: ACTIVE -> EVICTED
//!             FENCE: open -> CLOSING         from here on every store checks the fence and is refused,
//!                                            and no event is handed out
//!                    quiesce                 each of its threads was off its processor since: a store
//!                                            that had passed the check has completed
//!                    note what it holds      producers leave those slots alone while it may read them
//!                                            (lent.rs)
//!                    CLOSING -> CLOSED       its claim and TAKEN words no longer count
//!                    sweep, CLOSED -> SWEPT  what it held is handed back, with its attempt counted
//! ```
//!
//! **Why it is sound.** A worker that swaps need not be waited for on x86-64, unless an evictor was
//! killed between CLOSING and CLOSED. The evictor holds the entry's janitor lock, so the entry has
//! the same owner all the time. If it is killed anywhere, it leaves an entry that the next evictor
//! completes. Once the entry is CLOSED, any worker completes it ([`go_on`]), under the same lock.
//! The word counts closings. So an entry that was closed again after a sweep had begun is not
//! marked SWEPT by that sweep. An owner that finds itself evicted closes the fence, and sweeps, by
//! itself: it knows that it is in no sequence.
//!
//! A worker that comes back may win one more ticket, because it had read the head before. It hands
//! that ticket back when it checks its fence, before it hands the event out.
//!
//! **Left out.** An event that the evicted worker holds does not change, although another worker
//! does it again. Only [`SlotWorker::done`](crate::slots::worker::SlotWorker::done) reports whether
//! the work counted.

use crate::layout;
use crate::members::registry::{Locks, Registry, Status, status};
use crate::memory::{Edge, Memory};

/// The fence word of an entry whose owner cannot be fenced.
pub const NONE: u64 = 0;
/// Open; the owner stores by compare-and-swap.
pub const SWAPS: u64 = 1;
/// Open; the owner stores in restartable sequences.
pub const RESTARTS: u64 = 2;
/// Closed to the owner, which may still be in a sequence.
pub const CLOSING: u64 = 3;
/// The owner stores nothing any more, and its events are to be handed back. The count of closings
/// is above this.
pub const CLOSED: u64 = 4;
/// The owner's events were handed back. The same count is above this.
pub const SWEPT: u64 = 5;

/// How a worker stores its done words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    /// By compare-and-swap.
    Swap,
    /// In restartable sequences.
    Restart {
        /// The value that `railbus_os::rseq::offset` returned.
        area: isize,
    },
}

impl Stores {
    /// The entry's fence word while it is open.
    #[inline(always)]
    pub const fn open(self) -> u64 {
        match self {
            Stores::Swap => SWAPS,
            Stores::Restart { .. } => RESTARTS,
        }
    }
}

/// The fence word of entry `index`.
#[inline(always)]
pub fn of<M: Memory>(acks: &M, index: usize) -> u64 {
    // STATE: pairs with the stores of the participants that close fences and sweep.
    acks.load(layout::entry(index) + layout::FENCE, Edge::State)
}

/// A fence word without the count of closings.
#[inline(always)]
pub const fn kind(fence: u64) -> u64 {
    fence & 0xFF
}

/// Whether the worker in entry `index` was evicted and stores nothing any more. Its claim and its
/// TAKEN words then count no more than those of a dead worker. The caller has loaded such a word
/// before: a later owner opens the fence before it stores one.
#[inline(always)]
pub fn is_closed<M: Memory>(acks: &M, index: usize) -> bool {
    matches!(kind(of(acks, index)), CLOSED | SWEPT)
}

/// Closes the fence of entry `index` once more, and returns the new word. The caller knows that the
/// entry's owner is in no sequence, and that there may be events to hand back.
pub fn close<M: Memory>(acks: &M, index: usize) -> u64 {
    let at = layout::entry(index) + layout::FENCE;
    let mut seen = of(acks, index);
    // The count begins at the owner's generation, so that no two owners' words are equal.
    let generation = acks.load(layout::entry(index) + layout::STATE, Edge::State) >> 8;
    let count = |seen: u64| if seen >> 8 == 0 { generation << 16 } else { seen >> 8 };
    loop {
        let closed = (count(seen) + 1) << 8 | CLOSED;
        // STATE: the owner's stores are visible to a participant that sees this.
        match acks.compare_exchange(at, seen, closed, Edge::State) {
            Ok(_) => return closed,
            Err(found) => seen = found,
        }
    }
}

/// Marks that everything was handed back since the fence word was `closed`. If the fence was closed
/// once more in the meantime, nothing is marked: the sweep may not have found events that came
/// later.
pub fn settle<M: Memory>(acks: &M, index: usize, closed: u64) {
    let swept = closed & !0xFF | SWEPT;
    let _ = acks.compare_exchange(layout::entry(index) + layout::FENCE, closed, swept, Edge::State);
}

/// Hands back the events of the evicted worker in entry `index`, if its fence is closed and its
/// evictor has not completed that. `sweep` is as in [`evict`]. Does nothing if another process is
/// doing it.
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

/// Closes the fence of entry `index` to its owner, which was marked as evicted and may still be in
/// a sequence. From then on the owner hands out no event.
pub fn begin_closing<M: Memory>(acks: &M, index: usize) {
    let seen = of(acks, index);
    if matches!(seen, SWAPS | RESTARTS) {
        // STATE: the owner may be closing it at the same time.
        let at = layout::entry(index) + layout::FENCE;
        let _ = acks.compare_exchange(at, seen, CLOSING, Edge::State);
    }
}

/// The result of an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    /// The worker was evicted, and the events that it held were handed back.
    Settled,
    /// The worker was evicted, but something could not be judged yet. The other workers will judge
    /// it, or the next evictor.
    Unsettled,
    /// The entry's state word has changed, or its owner cannot be fenced.
    Changed,
    /// Another process is changing the entry.
    Busy,
}

/// Evicts the live worker in entry `index`, whose state word is `state`. `quiesce` returns when
/// each of its threads has been off its processor at some time after the call. It is called only if
/// that is needed. `note_lent` notes which events the owner holds
/// ([`crate::slots::orphan::Sweeper::note_lent`]). `sweep` hands them back, and returns whether
/// nothing of them remains.
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
            // An evictor died before it had finished, or the worker is evicted once more.
            Status::Evicted => registry.state(index) == state,
            _ => false,
        };
    if !is_evicted {
        return Ok(Fenced::Changed);
    }
    begin_closing(acks, index);
    // A worker wins a ticket by a compare-and-swap, then checks the fence, then hands the event
    // out. Each of its threads was off its processor in between. So either it finds the fence
    // closing, or the ticket is seen below. On x86-64 a compare-and-swap is a full barrier by
    // itself, and so is the one above: a worker that swaps is not waited for there. An evictor that
    // was killed before this may have left a sequence under way.
    let is_barrier = cfg!(target_arch = "x86_64");
    if !(open == SWAPS && is_barrier) && of(acks, index) == CLOSING {
        quiesce()?;
    }
    note_lent();
    // This is also done if it was swept before: the fence is closed once more.
    let closed = close(acks, index);
    if !sweep() {
        return Ok(Fenced::Unsettled);
    }
    settle(acks, index, closed);
    Ok(Fenced::Settled)
}
