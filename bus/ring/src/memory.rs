//! The memory that the ring protocols run on.
//!
//! **Promise.** Every ordering of the protocols has a name, an [`Edge`], and is defined here only.
//!
//! **How it works.** A protocol is written once, generic over [`Memory`]: words at byte offsets,
//! where every access names the [`Edge`] that it takes part in. There are three kinds of memory.
//! `railbus` has one over shared memory. The loom and crash memories of `loom-tests` run the same
//! code under every interleaving, and with its actor killed at every access.
//!
//! **Why it is sound.** An edge defines the ordering at both of its ends in one place, so that a
//! test can weaken one end and must see a failure.
//!
//! **Left out.** Payload bytes do not pass through here: they are plain bytes that an edge
//! publishes.

use std::sync::atomic::Ordering;

/// A happens-before edge of the protocols: a store that publishes and the load that relies on it,
/// or a pair of memory fences. The name is written at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// No ordering is needed. The comment at the access says why.
    Plain,
    /// Stream: a frame's header word is stored after its bytes and after the next header was
    /// zeroed. A reader that sees it may read the frame and then load the next header.
    Commit,
    /// Readers: a cursor is stored after the reader's last access to the bytes before it. A
    /// producer that sees it may overwrite them.
    Cursor,
    /// Stream: an entry of the places is filled before the index that names it.
    Places,
    /// Join and rescan (Dekker): a joiner stores its cursor, then reads the places (or the tail)
    /// again. A producer stores the places (or reads the tail), then scans the cursors. One of them
    /// sees the other.
    Join,
    /// Lossy reading, the writer's end: the floor (a busy sequence word, the tail) is stored before
    /// any byte is overwritten.
    Overwrite,
    /// Lossy reading, the reader's end: the bytes are copied before the floor (the sequence word,
    /// the tail) is read again.
    Validate,
    /// A claim word is stored before its tickets can be won. It moves on after everything that was
    /// done under it. A repairer that sees the newer claim word sees what was published under the
    /// older one.
    Announce,
    /// Tickets are won from the tail: the chain of read-modify-writes carries the announcements
    /// before them.
    Tail,
    /// Tickets are taken from the head, in the same way as from the tail.
    Head,
    /// A slot's sequence word is stored after the slot's bytes. A participant that sees it may read
    /// the slot.
    Publish,
    /// A done word is stored after the worker's last access to the slot. A producer that sees it
    /// may reuse the slot.
    Done,
    /// Keyed queues (Dekker): an event is put aside, and then the done word of the event before it
    /// is read again. An event is done, and then the done word of the next is read. One of the two
    /// sees the other.
    Aside,
    /// Unique keys (Dekker): a producer stores its ticket in the table, fences, and looks at the other
    /// entries of its key. Of two with one key, one sees the other. An entry is stored after the slot
    /// was written.
    Unique,
    /// The index of events that wait to be delivered again. A done word says REDO before its leaf
    /// shows the event, and the children of a node are stored before the node. When a node is
    /// renewed, it is read before its children.
    Index,
    /// A registry entry is written before its state makes it valid.
    State,
    /// Eviction (Dekker): a consumer stores the span that it may read, then checks whether it was
    /// evicted. A producer sees that it was, then loads the span. One of them sees the other.
    Lent,
    /// Table: the owner word of an entry is given back after everything that its owner changed. The
    /// next owner sees it.
    Owner,
    /// Table: a version is stored after the value that it names. A reader that sees the version may
    /// read the value.
    Version,
    /// Table: an entry is filled before a chain names it, and a chain's count goes up before an entry
    /// that left the chain is used again.
    Chain,
    /// Table: a group of entries is marked after an entry of it got its owner, and before its version
    /// changes. A watcher that sees the mark sees the owner or the version. And (Dekker): a watcher
    /// announces itself, then looks at every entry. A writer owns an entry, then looks for watchers.
    /// On the writer's side the watcher's membarrier replaces the fence.
    Mark,
    /// Service: the state of a reply is stored after the bytes that it counts. The client stores how
    /// much it has read after its last access to those bytes.
    Reply,
    /// Service (Dekker): a server names the reply slot in which it is about to write, fences, and looks
    /// whether the call is wanted and its own fence is open. A client withdraws a call, fences, and
    /// looks which servers are writing. So does another server that has got the request. The name is
    /// taken back after the last access to the slot.
    Writing,
    /// Park and wake (Dekker): a sleeper announces itself, then looks at the ring again. A waker
    /// changes the ring, then looks for sleepers. On the waker's side the sleeper's membarrier
    /// replaces the fence.
    Park,
    /// A waker counts up the wake word before it wakes. A sleeper reads the word before it
    /// announces itself.
    Wake,
}

impl Edge {
    /// The ordering of a load at the receiving end of this edge.
    #[inline(always)]
    pub const fn load(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::Acquire,
        }
    }

    /// The ordering of a store at the publishing end of this edge.
    #[inline(always)]
    pub const fn store(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::Release,
        }
    }

    /// The ordering of a successful read-modify-write, which is both ends at once.
    #[inline(always)]
    pub const fn update(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::AcqRel,
        }
    }

    /// The ordering of a memory fence.
    #[inline(always)]
    pub const fn fence(self) -> Ordering {
        match self {
            Edge::Overwrite => Ordering::Release,
            Edge::Validate => Ordering::Acquire,
            _ => Ordering::SeqCst,
        }
    }
}

/// Words at byte offsets. Offsets are multiples of 8 and inside the memory. The protocols mask
/// positions by the geometry that was checked when the channel was attached, so no offset comes
/// from shared memory itself.
pub trait Memory: Clone {
    /// Loads the word at byte offset `at`.
    fn load(&self, at: usize, edge: Edge) -> u64;
    /// Stores the word at byte offset `at`.
    fn store(&self, at: usize, value: u64, edge: Edge);
    /// Replaces `current` by `new`. The error is the value that was found, loaded as by
    /// [`Memory::load`].
    fn compare_exchange(&self, at: usize, current: u64, new: u64, edge: Edge) -> Result<u64, u64>;
    /// Adds `value`, and returns the value before.
    fn fetch_add(&self, at: usize, value: u64, edge: Edge) -> u64;
    /// Stores the word at byte offset `at` if the word at `guard_at` of `guard` is
    /// [`RESTARTS`](crate::members::fence::RESTARTS). Returns whether it did. The check and the
    /// store are one step for a process that has changed the guard and then seen this thread off
    /// its processor. `area` is the offset of the thread's restartable sequences, as the system
    /// reported it.
    fn store_if(&self, at: usize, value: u64, edge: Edge, guard: &Self, guard_at: usize, area: isize)
    -> bool;
    /// Executes a memory fence.
    fn fence(&self, edge: Edge);
    /// Executes a fence that the other side's membarrier makes unnecessary. It is only a barrier
    /// for the compiler where membarrier works, and a full fence elsewhere.
    fn light_fence(&self, edge: Edge);
    /// Asks the processor to own the line at `at` for writing. It is a hint.
    #[inline(always)]
    fn prefetch_write(&self, _at: usize) {}
}

/// Words of one process, for tests.
#[cfg(test)]
pub(crate) mod plain {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Edge, Memory};

    /// Memory that no other process sees. Clones share the words.
    #[derive(Debug, Clone)]
    pub(crate) struct Plain(Arc<[AtomicU64]>);

    impl Plain {
        /// Makes a memory of `words` words, all zero.
        pub(crate) fn zeroed(words: usize) -> Plain {
            Plain((0..words).map(|_| AtomicU64::new(0)).collect())
        }
    }

    impl Memory for Plain {
        fn load(&self, at: usize, edge: Edge) -> u64 {
            self.0[at / 8].load(edge.load())
        }

        fn store(&self, at: usize, value: u64, edge: Edge) {
            self.0[at / 8].store(value, edge.store());
        }

        fn compare_exchange(&self, at: usize, current: u64, new: u64, edge: Edge) -> Result<u64, u64> {
            self.0[at / 8].compare_exchange(current, new, edge.update(), edge.load())
        }

        fn fetch_add(&self, at: usize, value: u64, edge: Edge) -> u64 {
            self.0[at / 8].fetch_add(value, edge.update())
        }

        fn store_if(
            &self,
            at: usize,
            value: u64,
            edge: Edge,
            guard: &Self,
            guard_at: usize,
            _: isize,
        ) -> bool {
            let is_open = guard.load(guard_at, Edge::Plain) == crate::members::fence::RESTARTS;
            if is_open {
                self.store(at, value, edge);
            }
            is_open
        }

        fn fence(&self, edge: Edge) {
            std::sync::atomic::fence(edge.fence());
        }

        fn light_fence(&self, _: Edge) {
            std::sync::atomic::fence(Ordering::SeqCst);
        }
    }
}
